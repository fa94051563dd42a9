//! Why a chain failed: the one reason.

mod content;

use std::borrow::Cow;

use crate::correlate::failure::WANTS_CERTIFICATE;
use crate::correlate::story::{answer, is_of_tool, last_asked, unverified, why, words};
use crate::event::Origin;
use crate::goproxy::is_word;
use crate::model::{Artifact, Attempt, Cause, Chain, Contradiction, Next, Outcome, Request};
use crate::status;
use crate::url;

use crate::redact::REDACTED;

use super::rules::{is_password_in_clear, strayed};
use super::sign::Sign;
use super::speaker::{self, is_page};
use super::view::{self, Send, Unused, View, is_of_go, is_query, last_walk};

/// An outcome that stands for a code by itself.
const BY_OUTCOME: &[(Outcome, &str)] = &[
    (Outcome::RedirectLimit, "PT003"),
    (Outcome::RedirectRefused, "PT004"),
    (Outcome::RedirectInvalid, "PT005"),
    (Outcome::Dns, "PT201"),
    (Outcome::ConnectRefused, "PT202"),
    (Outcome::ConnectTimeout, "PT203"),
    (Outcome::Unreachable, "PT203"),
    (Outcome::TlsUnknownAuthority, "PT204"),
    (Outcome::TlsOther, "PT205"),
    (Outcome::Reset, "PT208"),
    (Outcome::Truncated, "PT210"),
    (Outcome::ProxyRefused, "PT211"),
    (Outcome::BadContent, "PT401"),
    (Outcome::NotFound, "PT410"),
    (Outcome::Checksum, "PT507"),
];

/// A status that stands for a code, by the range that it is in; the first that fits.
const BY_STATUS: &[(u16, u16, &str)] = &[
    (401, 401, "PT301"),
    (403, 403, "PT302"),
    // Asked for with the whole URL, a forward proxy answers in place of the host.
    (407, 407, "PT211"),
    (429, 429, "PT408"),
    (500, 599, "PT409"),
    (0, u16::MAX, "PT402"),
];

/// The attempt that is to blame for a failed chain, or the search for a repository that is.
pub(super) fn culprit<'a>(view: &View<'a>, chain: &'a Chain) -> Option<&'a Attempt> {
    let culprit = view::culprit(chain)?;
    let search = culprit.requests.is_empty().then(|| view.search(chain)).flatten();
    Some(search.filter(|search| search.outcome == culprit.outcome).unwrap_or(culprit))
}

/// The root of a failed chain. None where the reason was not seen.
pub(super) fn root(view: &View<'_>, chain: &Chain) -> Option<Sign> {
    if let Some(by) = chain.contradicted_by {
        return Some(contradicted(chain, by));
    }
    let culprit = culprit(view, chain)?;
    let Some(send) = Send::last_of(culprit).filter(|_| !is_of_tool(culprit)) else {
        // `direct` without HTTP that it failed in, a `file://` entry, `off`.
        return password_in_clear(chain, culprit)
            .or_else(|| absent(view, chain))
            .or_else(|| {
                let code = by_outcome(culprit.outcome)?;
                Some(Sign::of(code, chain, format!("{} {}", culprit.proxy, words(culprit.outcome))))
            })
            .or_else(|| command(view, chain));
    };
    if unverified(culprit) {
        return unverifiable(view, chain).map(|sign| sign.with(send.ids()));
    }
    let sign = without_forward_proxy(view, chain, &send, culprit)
        .or_else(|| tunnel(&send, culprit))
        .or_else(|| looped(&send, culprit))
        .or_else(|| refused(&send, culprit))
        .or_else(|| authorization_dropped(&send))
        .or_else(|| strayed(view, &send).map(|(_, message)| ("PT011", message)))
        .or_else(|| target(&send, culprit))
        .or_else(|| checksums(view, chain, culprit))
        .or_else(|| content::root(view, chain, &send, culprit))
        .map(|(code, message)| Sign::of(code, chain, message))
        .or_else(|| client_certificate(view, chain, &send, culprit));
    let sign = sign.map(|sign| doubt(view, chain, culprit, sign));
    let sign = sign
        .or_else(|| probe(view, chain, culprit))
        .or_else(|| if culprit.outcome == Outcome::NotFound { absent(view, chain) } else { None });
    let sign = sign.or_else(|| {
        let message = match chain.artifact {
            Artifact::SumdbLookup | Artifact::SumdbTile => {
                format!("{} when go asked for checksums", answer(culprit))
            }
            _ if culprit.outcome == Outcome::Checksum => format!(
                "what came from {} has another checksum than the checksum database has for it",
                send.last().host
            ),
            _ => answer(culprit) + &remark(&send, culprit) + offered(&send) + pause(send.last()),
        };
        let sign = Sign::of(plain(&send, culprit)?, chain, message);
        let of_page = chain.artifact == Artifact::GoGet && culprit.outcome == Outcome::BadContent;
        Some(if of_page { sign.advising(PAGE) } else { sign })
    });
    // A page where the repository is has not served the tool.
    let sign = sign.or_else(|| command(view, chain));
    let sign = by_status(sign?, &send, culprit);
    // Absence has the evidence of the whole walk.
    Some(if sign.requests.is_empty() { sign.with(send.ids()) } else { sign })
}

/// What to do where the page of a module names no repository.
const PAGE: &str = "Look for a login or a catch-all behind the page (`curl -i \
                    'https://MODULE?go-get=1'`), and check the path of the module: its page must \
                    name the repository in a `go-import`.";

/// Who spoke, where it was with a status.
fn remark(send: &Send<'_>, attempt: &Attempt) -> String {
    let said = matches!(attempt.outcome, Outcome::HttpError | Outcome::NotFound);
    if said { speaker::remark(send.last()) } else { String::new() }
}

/// What a host that wants credentials had got, where that is known.
fn offered(send: &Send<'_>) -> &'static str {
    let last = send.last();
    let names = last.credentials.as_deref().filter(|_| last.status == Some(401));
    match names {
        None => "",
        Some([]) if is_in_clear(send) => "; go sends credentials over https alone",
        Some([]) if is_redirect_of_user(send) => {
            "; the user in the URL of the entry goes to no redirect with a whole URL"
        }
        Some([]) => "; go had no credentials for it",
        Some(_) => "; the credentials that go sent are not good",
    }
}

/// Whether go adds no credentials, whatever it has: it goes by the scheme of the first URL
/// (`web/http.go:get`).
fn is_in_clear(send: &Send<'_>) -> bool {
    is_of_go(send.first()) && send.first().url.starts_with("http://")
}

/// Whether a redirect has lost the user that the first URL has: net/http makes a header of it for
/// that request alone (`net/http/client.go:send`).
fn is_redirect_of_user(send: &Send<'_>) -> bool {
    send.last().cause == Cause::Redirect && has_user(send)
}

/// Whether go takes the credentials from the URL. Since Go 1.24 it finds no others then: it looks
/// for them by the whole URL (`cmd/go/internal/auth/auth.go:AddCredentials`).
fn has_user(send: &Send<'_>) -> bool {
    let first = send.first();
    let rest = first.url.strip_prefix("https://").filter(|_| is_of_go(first));
    rest.and_then(|rest| rest.split(['/', '?']).next()).is_some_and(|it| it.contains('@'))
}

/// Whether a host that is asked too much wants to be left alone, if it says so in seconds. How many
/// is another number in each answer, and the reason is the same.
fn pause(request: &Request) -> &'static str {
    let seconds = request.headers.get("Retry-After").map(|text| text.trim().parse::<u64>());
    if matches!((request.status, seconds), (Some(429 | 503), Some(Ok(_)))) {
        "; it asks for a pause (Retry-After), which go does not make"
    } else {
        ""
    }
}

/// The advice for what spoke, where that is known.
fn by_status(sign: Sign, send: &Send<'_>, attempt: &Attempt) -> Sign {
    const CHANGED: &str = "Renew the credentials: the line for this host in ~/.netrc, or what the \
                           command of GOAUTH gives. `curl -sI --netrc URL` shows whether they do.";
    const IN_CLEAR: &str = "go sends what ~/.netrc and GOAUTH have over https alone: serve the \
                            host over TLS and name it so in GOPROXY, or let it answer this \
                            network without credentials.";
    const OF_ENTRY: &str = "Renew user and password in the URL of this entry, or take them out of \
                            it and put good ones into ~/.netrc: since Go 1.24 go looks for no \
                            others where an entry has a user.";
    const LOST: &str = "Take user and password out of the URL of this entry and put them into \
                        ~/.netrc: what go has from there goes along to redirects of the same host.";
    if sign.kind.code == "PT211" {
        return by_forward_proxy(sign, send);
    }
    let of_status =
        matches!(sign.kind.code, "PT006" | "PT301" | "PT302" | "PT402" | "PT408" | "PT409");
    let offered = send.last().credentials.as_ref().is_some_and(|names| !names.is_empty());
    let unauthorized = sign.kind.code == "PT301";
    let in_clear = (unauthorized && !offered && is_in_clear(send)).then_some(IN_CLEAR);
    let renew = (unauthorized && offered).then_some(CHANGED);
    let lost = unauthorized && !offered && is_redirect_of_user(send);
    let of_entry = unauthorized && offered && has_user(send);
    let of_user = lost.then_some(LOST).or(of_entry.then_some(OF_ENTRY));
    let advice = in_clear.or(of_user).or_else(|| speaker::advice(send.last())).or(renew);
    let advice = advice.filter(|_| of_status);
    match advice {
        Some(advice) if attempt.outcome == Outcome::HttpError => sign.advising(advice),
        _ => sign,
    }
}

/// The advice for what the forward proxy answered: credentials are of use for 407 alone.
fn by_forward_proxy(sign: Sign, send: &Send<'_>) -> Sign {
    const CHECK: &str = "Check HTTPS_PROXY and HTTP_PROXY: name, port and scheme of the forward \
                         proxy; and whether it may reach the host.";
    match refused_tunnel(send).map_or(send.last().status, |tunnel| tunnel.status) {
        Some(407) => sign,
        status => sign.advising(status.and_then(speaker::of_forward_proxy).unwrap_or(CHECK)),
    }
}

/// PT304: go refuses before anything is sent (`cmd/go/internal/web/http.go:get`).
fn password_in_clear(chain: &Chain, attempt: &Attempt) -> Option<Sign> {
    let unsent = attempt.next == Some(Next::Stop) || attempt.outcome == Outcome::Unknown;
    (unsent && is_password_in_clear(&attempt.proxy)).then(|| {
        let message = format!(
            "the entry {} has credentials, which go does not send over http",
            attempt.proxy
        );
        Sign::of("PT304", chain, message)
    })
}

/// PT206. Under TLS 1.3 the alert comes after the handshake and races with the request: what is told
/// then is that the connection broke. A server that looks later answers 400. Neither is sure: one
/// that would take a certificate asks for it in every handshake, and serves whoever has none.
fn client_certificate(
    view: &View<'_>,
    chain: &Chain,
    send: &Send<'_>,
    attempt: &Attempt,
) -> Option<Sign> {
    let last = send.last();
    let reason = last.error.as_ref().and_then(|error| error.reason.as_deref());
    let alert = attempt.outcome == Outcome::TlsOther && reason == Some(WANTS_CERTIFICATE);
    let wanted = || view.wants_certificate(chain, last);
    let told = alert || (last.status == Some(NO_CERTIFICATE) && wanted());
    let fits =
        matches!(attempt.outcome, Outcome::TlsOther | Outcome::Reset) || last.status == Some(400);
    let likely = || fits && wanted() && !view.is_served(chain.process, &last.host);
    (told || likely()).then(|| {
        let message = format!("{} {WANTS_CERTIFICATE}, and go has none", last.host);
        let sign = Sign::of("PT206", chain, message);
        if told { sign } else { sign.possibly() }
    })
}

/// What nginx calls "SSL certificate required" (`ngx_http_request.h`).
const NO_CERTIFICATE: u16 = 496;

/// PT010. A URL that is signed carries its own right.
fn authorization_dropped(send: &Send<'_>) -> Option<(&'static str, String)> {
    const NAME: &str = "Authorization";
    let (first, last) = (send.first(), send.last());
    let has = |request: &Request| {
        request.credentials.as_ref().map(|names| names.iter().any(|name| name == NAME))
    };
    let dropped = send.crossed() && has(first) == Some(true) && has(last) == Some(false);
    let status = last.status.filter(|status| dropped && matches!(status, 401 | 403))?;
    if last.url.contains(REDACTED) {
        return None;
    }
    let (asked, host) = (&first.host, &last.host);
    Some((
        "PT010",
        format!(
            "{asked} got {NAME} and redirected to {host}, which got none and answered {status}; \
             go's own message names {asked}"
        ),
    ))
}

/// PT106: the error of a probe ends the query, where nothing longer was found. That it was a probe
/// is sure where the query found something else, or where the path is no more than a host.
fn probe(view: &View<'_>, chain: &Chain, attempt: &Attempt) -> Option<Sign> {
    let spoils = attempt.outcome == Outcome::HttpError && is_query(chain.artifact);
    let elsewhere = spoils && view.is_found_elsewhere(chain);
    let bare = chain.module.as_deref().is_some_and(|module| !module.contains('/'));
    // Of several failures go reports that of the longest path.
    let first = !view.is_overshadowed(chain);
    (elsewhere || (spoils && bare && first && view.is_probe(chain))).then(|| {
        let message = format!(
            "{} when go asked whether {} is a module, and so ended the query",
            answer(attempt),
            chain.module.as_deref().unwrap_or_default()
        );
        let sign = Sign::of("PT106", chain, message);
        if elsewhere { sign } else { sign.possibly() }
    })
}

/// PT507: `go.sum`, or the checksum database of before, says otherwise.
fn contradicted(chain: &Chain, by: Contradiction) -> Sign {
    let of = chain.attempts.last().and_then(|last| last_asked(&last.requests));
    let whose = of.map_or("the module cache", |request| request.host.as_str());
    let message = match by {
        Contradiction::GoSum => {
            format!("what came from {whose} has another checksum than go.sum has for it")
        }
        Contradiction::SumdbBefore => format!(
            "what came from {whose} contradicts what the checksum database said before: its tree \
             has forked"
        ),
    };
    let ids = chain.attempts.last().and_then(Send::last_of).map_or_else(Vec::new, |s| s.ids());
    Sign::of("PT507", chain, message).with(ids)
}

/// PT704: a version control tool failed, and only it knows why; or go did not run it.
fn command(view: &View<'_>, chain: &Chain) -> Option<Sign> {
    if let Some((tool, why)) = view.unused_tool(chain) {
        let (message, advice) = not_run(tool, why);
        return Some(Sign::of("PT704", chain, message).advising(advice));
    }
    let process = view.failed_command(chain)?;
    let (line, code) = (process.argv.join(" "), process.exit_code?);
    let said = process.stderr_tail.as_deref().and_then(telling);
    let said = said.map_or_else(String::new, |said| {
        format!(": {}", &said[..said.floor_char_boundary(STDERR_LINE_MAX)])
    });
    Some(Sign::of("PT704", chain, format!("`{line}` ended with exit code {code}{said}")))
}

/// What is said of a tool that go did not run, and what helps.
pub(super) fn not_run(tool: &str, why: Unused) -> (String, &'static str) {
    const INSTALL: &str = "Install it where go runs, or let a proxy serve the module.";
    const ALLOW: &str = "Allow it in GOVCS, or let a proxy serve the module.";
    let (why, advice) = match why {
        Unused::Missing => ("it is not in PATH", INSTALL),
        Unused::Forbidden => ("GOVCS forbids it", ALLOW),
    };
    (format!("go could not run `{tool}`: {why}"), advice)
}

/// How much of a line of stderr is shown.
const STDERR_LINE_MAX: usize = 200;

/// What git ends with whatever the reason (`connect.c:die_initial_contact`): what ssh or the server
/// said comes before.
const OF_NO_USE: &[&str] = &[
    "fatal: Could not read from remote repository.",
    "fatal: the remote end hung up unexpectedly",
    "Please make sure you have the correct access rights",
    "and the repository exists.",
];

/// The last line that says why, or if there is none, the last.
fn telling(tail: &str) -> Option<&str> {
    let lines = || tail.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    lines().find(|line| !OF_NO_USE.contains(line)).or_else(|| lines().next())
}

/// PT402: 407 from a host that go asked itself, as it was told of no forward proxy.
fn without_forward_proxy(
    view: &View<'_>,
    chain: &Chain,
    send: &Send<'_>,
    attempt: &Attempt,
) -> Option<(&'static str, String)> {
    let last = send.last();
    if attempt.outcome != Outcome::ProxyRefused || last.status != Some(407) {
        return None;
    }
    let process = view.process(chain.process).filter(|process| process.go_version.is_some())?;
    let told = process.config.get("HTTPS_PROXY").is_some_and(|it| !it.value.is_empty());
    let tunneled = attempt.requests.iter().any(|it| it.cause == Cause::ConnectTunnel);
    let alone = last.url.starts_with("https://") && !told && !tunneled;
    alone.then(|| {
        let message =
            format!("{} answered 407, as forward proxies do, and go was told of none", last.host);
        ("PT402", message)
    })
}

/// The last tunnel that the forward proxy did not open.
fn refused_tunnel<'a>(send: &Send<'a>) -> Option<&'a Request> {
    send.requests.iter().rev().find(|request| {
        request.cause == Cause::ConnectTunnel && request.outcome == Outcome::ProxyRefused
    })
}

/// PT211: the forward proxy did not open the way.
fn tunnel(send: &Send<'_>, attempt: &Attempt) -> Option<(&'static str, String)> {
    if attempt.outcome != Outcome::ProxyRefused {
        return None;
    }
    let wants = |status| if status == 407 { ": it wants credentials" } else { "" };
    // Without TLS it is asked with the whole URL, and answers itself.
    let asked = send.last();
    if let (Some(status), Some(proxy)) = (asked.status, asked.remote_addr.as_deref()) {
        let message =
            format!("the forward proxy {proxy} answered {status} in place of {}", asked.host);
        return Some(("PT211", message + wants(status)));
    }
    let tunnel = refused_tunnel(send)?;
    let (proxy, target) = (tunnel.remote_addr.as_deref()?, &tunnel.url);
    let did = match tunnel.status {
        Some(status) => format!("answered {status} to CONNECT {target}{}", wants(status)),
        None => match tunnel.error.as_ref()?.kind {
            Outcome::Canceled => format!("did not answer CONNECT {target}"),
            Outcome::Reset | Outcome::Truncated => {
                format!("broke the connection off in place of an answer to CONNECT {target}")
            }
            Outcome::BadContent => {
                format!("answered CONNECT {target} with something else than HTTP")
            }
            Outcome::Unknown => format!("gave no good answer to CONNECT {target}"),
            _ => return None,
        },
    };
    Some(("PT211", format!("the forward proxy {proxy} {did}")))
}

/// PT003: ten redirects, or one URL three times in a send.
fn looped(send: &Send<'_>, attempt: &Attempt) -> Option<(&'static str, String)> {
    // What net/http sent again, and tunnels, no redirect led to.
    let led = |it: &&Request| !matches!(it.cause, Cause::TransportRetry | Cause::ConnectTunnel);
    let times = |url: &str| send.requests.iter().filter(led).filter(|it| it.url == url).count();
    // A send has ten requests at most (and retries), so counting them is cheap.
    let again = send.requests.iter().take(16).any(|request| times(&request.url) >= 3);
    let endless = attempt.outcome == Outcome::RedirectLimit;
    let circles = endless || (again && send.redirected());
    if !circles {
        return None;
    }
    let mut hosts: Vec<&str> = send.requests.iter().map(|request| request.host.as_str()).collect();
    hosts.dedup();
    hosts.truncate(4);
    let way = if hosts.len() > 1 {
        format!("{} redirect in a circle", hosts.join(" → "))
    } else {
        format!("{} redirects to itself", hosts.join(""))
    };
    let end = if endless { "; go gave up after ten redirects" } else { "" };
    Some(("PT003", format!("{way}{end}")))
}

/// PT004, PT005: a redirect that go does not follow.
fn refused(send: &Send<'_>, attempt: &Attempt) -> Option<(&'static str, String)> {
    let last = send.last();
    let status = last.status.filter(|&status| status::redirects(status))?;
    match attempt.outcome {
        Outcome::RedirectRefused => Some((
            "PT004",
            format!(
                "{} redirected ({status}) from https to {}, which go refuses to follow",
                last.host,
                target_of(last).map_or_else(
                    || "http".to_owned(),
                    |target| {
                        let host = url::Url::parse(&target)
                            .map_or_else(String::new, |url| url.named_host());
                        format!("http://{host}")
                    }
                ),
            ),
        )),
        Outcome::RedirectInvalid => Some((
            "PT005",
            match &last.location {
                None if last.cut.is_empty() => {
                    format!("{} answered {status} without a Location", last.host)
                }
                // Whether there was one is not known.
                None => {
                    format!("{} answered {status} with no Location that go can follow", last.host)
                }
                Some(_) => {
                    format!("{} answered {status} with a Location that is no URL", last.host)
                }
            },
        )),
        _ => None,
    }
}

fn target_of(request: &Request) -> Option<String> {
    url::resolve(&request.url, request.location.as_deref()?).map(Cow::into_owned)
}

/// PT006, PT007: another host than the one that was asked is to blame.
fn target(send: &Send<'_>, attempt: &Attempt) -> Option<(&'static str, String)> {
    if !send.crossed() {
        return None;
    }
    let (asked, answered) = (&send.first().host, send.last());
    if attempt.outcome.is_unreached() && answered.status.is_none() {
        let why = why(answered, attempt.outcome);
        return Some(("PT007", format!("{asked} redirected to {}, which {why}", answered.host)));
    }
    let status = answered.status.filter(|&status| status >= 400)?;
    let who = remark(send, attempt);
    Some((
        "PT006",
        format!(
            "{asked} redirected to {}, which answered {status}{who}; go's own message names {asked}",
            answered.host
        ),
    ))
}

/// A proxy that forwarded nothing of the checksum database yet may as well not forward it at all:
/// that the database does not know a module is then a hypothesis.
fn doubt(view: &View<'_>, chain: &Chain, attempt: &Attempt, sign: Sign) -> Sign {
    let forwarded = |other: &Chain| {
        other.process == chain.process
            && matches!(other.artifact, Artifact::SumdbLookup | Artifact::SumdbTile)
            && other.outcome == Outcome::Ok
            && other.attempts.last().is_some_and(|last| last.proxy == attempt.proxy)
    };
    let sure = sign.kind.code != "PT505"
        || is_word(&attempt.proxy)
        || view.trace.chains.iter().any(forwarded);
    if sure { sign } else { sign.possibly() }
}

/// PT502 to PT505: the checksum database, or the proxy that stands for it.
fn checksums(view: &View<'_>, chain: &Chain, attempt: &Attempt) -> Option<(&'static str, String)> {
    let said = answer(attempt);
    let direct = is_word(&attempt.proxy);
    let supported = || view.supported(chain, &attempt.proxy);
    let page = || supported().is_some_and(is_page);
    match (chain.artifact, attempt.outcome) {
        (Artifact::SumdbSupported, Outcome::HttpError) => Some((
            "PT503",
            format!("{said} when go asked whether it forwards the checksum database"),
        )),
        (Artifact::SumdbLookup | Artifact::SumdbTile, outcome)
            if direct && outcome.is_unreached() && !is_of_certificate(view, chain, attempt) =>
        {
            Some(("PT502", format!("{said}; it is the checksum database, which go asks itself")))
        }
        (Artifact::SumdbLookup | Artifact::SumdbTile, outcome)
            if !direct
                && (outcome == Outcome::BadContent
                    || outcome == Outcome::NotFound && (page() || chain.module.is_none())) =>
        {
            supported().map(|_| {
                ("PT504", format!("{said}, though it says that it forwards the checksum database"))
            })
        }
        (Artifact::SumdbLookup, Outcome::NotFound) => {
            Some(("PT505", format!("{said}: the checksum database does not know the module")))
        }
        _ => None,
    }
}

/// Whether a handshake failed for a certificate: somebody answered it, and what helps is what helps
/// with any other host.
fn is_of_certificate(view: &View<'_>, chain: &Chain, attempt: &Attempt) -> bool {
    let last = last_asked(&attempt.requests);
    let told = || {
        last.and_then(|last| last.error.as_ref()).is_some_and(|error| {
            let mut types = error.types.iter();
            types.any(|it| it.contains("x509.") || it == "*tls.CertificateVerificationError")
                || error.reason.as_deref() == Some(WANTS_CERTIFICATE)
        })
    };
    // Before TLS 1.3 the alert is one of many.
    let wanted = || {
        last.is_some_and(|last| {
            view.wants_certificate(chain, last) && !view.is_served(chain.process, &last.host)
        })
    };
    match attempt.outcome {
        Outcome::TlsUnknownAuthority => true,
        Outcome::TlsOther => told() || wanted(),
        _ => false,
    }
}

/// PT410, PT703: everybody who was asked had none of it.
fn absent(view: &View<'_>, chain: &Chain) -> Option<Sign> {
    let walk = last_walk(chain);
    let asked = |attempt: &&Attempt| !attempt.requests.is_empty();
    let none = walk.iter().all(|attempt| {
        matches!(attempt.outcome, Outcome::NotFound)
            || (attempt.proxy == "direct" && !asked(&attempt))
    });
    let found_nothing = walk.iter().any(|attempt| attempt.outcome == Outcome::NotFound);
    let known = walk.last().is_some_and(|last| matches!(last.outcome, Outcome::NotFound));
    if !none || !found_nothing || !known {
        return None;
    }
    let of_search = |attempt: &Attempt| {
        let search = view.search(chain).filter(|_| attempt.proxy == "direct" && !asked(&attempt));
        let search = search.filter(|search| !search.requests.is_empty());
        search.map_or_else(
            || answer(attempt),
            |search| format!("{}: {}", answer(attempt), answer(search)),
        )
    };
    let answers: Vec<String> = walk.iter().map(of_search).collect();
    let ids = walk.iter().flat_map(|attempt| attempt.requests.iter().map(|request| request.id));
    let (code, message) = match toolchain(chain) {
        Some(what) => ("PT703", format!("{what} cannot be had: {}", answers.join("; "))),
        None => ("PT410", answers.join("; ")),
    };
    Some(Sign::of(code, chain, message).with(ids.collect()))
}

/// PT502 where go can ask no database, as it has no GOSUMDB or makes no key of it. PT703: go
/// verifies toolchains whatever GOSUMDB is, and has nobody to ask where it is `off`
/// (`modfetch/sumdb.go:useSumDB`, `dbDial`).
fn unverifiable(view: &View<'_>, chain: &Chain) -> Option<Sign> {
    const KEY: &str = "Write the key of the database in full, `name+hash+key`, and behind it, if \
                       need be, its URL; or unset GOSUMDB for sum.golang.org.";
    const MISSING: &str = "Set GOSUMDB to sum.golang.org, to the key of your own database or to \
                           `off`; or take out of your go/env what empties it: `go env -u GOSUMDB`.";
    const ADVICE: &str = "Leave GOSUMDB as it is by default, and name your own modules in \
                          GONOSUMDB; or install the release and set GOTOOLCHAIN=local.";
    let config = &view.process(chain.process)?.config;
    let gosumdb = config.get("GOSUMDB").map_or("", |set| set.value.as_str());
    // The default stands in go.env: where that was not read, it may be there.
    let is_read = || config.values().any(|set| set.origin == Origin::GorootFile);
    if gosumdb.trim().is_empty() && (!gosumdb.is_empty() || is_read()) {
        let message = "GOSUMDB is empty: it names no checksum database that go could ask";
        return Some(Sign::of("PT502", chain, message.to_owned()).advising(MISSING));
    }
    if !has_key(gosumdb) {
        let message =
            format!("GOSUMDB is `{gosumdb}`, of which go makes no key of a checksum database");
        return Some(Sign::of("PT502", chain, message).advising(KEY));
    }
    let what = toolchain(chain)?;
    (gosumdb == "off").then(|| {
        let message =
            format!("{what} cannot be had: GOSUMDB is `off`, and go verifies every toolchain");
        Sign::of("PT703", chain, message).advising(ADVICE)
    })
}

/// Whether go may make a key of this GOSUMDB, or needs none: a name that it knows, or a key as
/// `x/mod/sumdb/note:NewVerifier` reads it, and at most a URL. What an empty one means is up to the
/// release.
pub(crate) fn has_key(gosumdb: &str) -> bool {
    let mut words = gosumdb.split_whitespace();
    let Some(key) = words.next() else { return true };
    let known = matches!(key, "off" | "sum.golang.org") || gosumdb == "sum.golang.google.cn";
    (known || key.matches('+').count() > 1) && words.nth(1).is_none()
}

/// What a chain wants of the toolchains, in words; none if that is something else. Which there are
/// has no version.
fn toolchain(chain: &Chain) -> Option<String> {
    if chain.module.as_deref() != Some(TOOLCHAIN) {
        return None;
    }
    Some(match chain.version.as_deref() {
        Some(version) => {
            let name = version.split_once('-').map_or(version, |(_, name)| name);
            format!("the toolchain {name}")
        }
        None if chain.artifact == Artifact::List => "the list of toolchains".to_owned(),
        None => TOOLCHAIN.to_owned(),
    })
}

/// The module whose versions are toolchains (`cmd/go/internal/gover/mod.go`).
const TOOLCHAIN: &str = "golang.org/toolchain";

/// What a status or an outcome stands for where no redirect is to blame.
fn plain(send: &Send<'_>, attempt: &Attempt) -> Option<&'static str> {
    if attempt.outcome != Outcome::HttpError {
        return by_outcome(attempt.outcome);
    }
    let status = send.last().status?;
    if status == 503 && send.last().headers.contains_key("Retry-After") {
        return Some("PT408");
    }
    let row = BY_STATUS.iter().find(|(from, to, _)| (from..=to).contains(&&status))?;
    Some(row.2)
}

fn by_outcome(outcome: Outcome) -> Option<&'static str> {
    BY_OUTCOME.iter().find(|row| row.0 == outcome).map(|row| row.1)
}
