//! Why a chain failed: the one reason.

use std::borrow::Cow;

use crate::correlate::failure::{NEGOTIATES_ANEW, WANTS_CERTIFICATE, WANTS_HTTP_1_1};
use crate::correlate::story::{
    answer, goes_elsewhere, is_of_tool, last_asked, unverified, why, words,
};
use crate::forward::ForwardProxy;
use crate::model::{
    Artifact, Attempt, Cause, Chain, Contradiction, Next, Outcome, Process, Request,
};
use crate::redact::REDACTED;
use crate::{status, url};

use super::checksums::toolchain;
use super::rules::{REMOVE, is_password_in_clear, strayed};
use super::said::{Unused, telling};
use super::sent::{Sent, last_walk, sends};
use super::sign::Sign;
use super::view::{self, View, is_query};
use super::{checksums, content, credentials, speaker};

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

/// The attempt that is to blame for a failed chain, or the search for a repository that is; up to
/// where https failed, if go then asked over http.
pub(super) fn culprit<'a>(view: &View<'a>, chain: &'a Chain) -> Option<Cow<'a, Attempt>> {
    let culprit = view::culprit(chain)?;
    let search = culprit.requests.is_empty().then(|| view.search(chain)).flatten();
    let culprit = search.filter(|search| search.outcome == culprit.outcome).unwrap_or(culprit);
    Some(up_to_http(culprit).map_or(Cow::Borrowed(culprit), Cow::Owned))
}

/// What failed over https and then, as GOINSECURE lets go try that, over http too
/// (`web/http.go:get`): go tells of http alone.
fn over_both(attempt: &Attempt) -> Option<(Sent<'_>, Sent<'_>)> {
    let mut sends: Vec<Sent<'_>> = sends(attempt).collect();
    let (plain, secure) = (sends.pop()?, sends.pop()?);
    let rest = plain.first().url.strip_prefix("http://")?;
    let same = secure.first().url.strip_prefix("https://") == Some(rest);
    let unanswered = plain.last().status.is_none() && secure.last().status.is_none();
    (same && unanswered).then_some((secure, plain))
}

/// An attempt as it was before go asked over http, where that says why it failed.
fn up_to_http(attempt: &Attempt) -> Option<Attempt> {
    let (secure, plain) = over_both(attempt)?;
    let outcome = secure.last().outcome;
    by_outcome(outcome)?;
    let requests = attempt.requests[..attempt.requests.len() - plain.requests.len()].to_vec();
    Some(Attempt { outcome, requests, ..attempt.clone() })
}

/// A sign with a word of the way over http, where go tried that.
fn of_both(sign: Sign, attempt: &Attempt, is_of_https: bool) -> Sign {
    let said = if is_of_https {
        "; http, which GOINSECURE lets go try then, failed too"
    } else if over_both(attempt).is_some() {
        "; that was over http, which GOINSECURE lets go try where https fails"
    } else {
        return sign;
    };
    Sign { message: sign.message + said, ..sign }
}

/// The root of a failed chain. None where the reason was not seen.
pub(super) fn root(view: &View<'_>, chain: &Chain) -> Option<Sign> {
    if let Some(by) = chain.contradicted_by {
        return Some(contradicted(chain, by));
    }
    if view.is_kept_badly(chain) {
        return kept_badly(view, chain);
    }
    let culprit = culprit(view, chain)?;
    let is_of_https = matches!(culprit, Cow::Owned(_));
    let culprit = &*culprit;
    if culprit.outcome == Outcome::NotFound
        && let Some(sign) = unsent_before(chain)
    {
        return Some(sign);
    }
    let Some(send) = Sent::last_of(culprit).filter(|_| !is_of_tool(culprit)) else {
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
        return checksums::unverifiable(view, chain).map(|sign| sign.with(send.ids()));
    }
    let sign = without_forward_proxy(view, chain, &send, culprit)
        .or_else(|| tunnel(view, chain, &send, culprit))
        .or_else(|| looped(&send, culprit))
        .or_else(|| refused(&send, culprit))
        .or_else(|| authorization_dropped(&send))
        .or_else(|| strayed(view, &send).map(|(_, message)| ("PT011", message)))
        .or_else(|| target(view, &send, culprit))
        .or_else(|| checksums::root(view, chain, culprit))
        .or_else(|| content::root(view, chain, &send, culprit))
        .map(|(code, message)| Sign::of(code, chain, message))
        .or_else(|| checksums::unknown_toolchain(chain, culprit))
        .or_else(|| client_certificate(view, chain, &send, culprit));
    let sign = checksums::other_key(view, chain, culprit).or(sign);
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
            _ => {
                let offered = credentials::offered(&send);
                answer(culprit) + &remark(&send, culprit) + offered + pause(send.last())
            }
        };
        let sign = Sign::of(plain(&send, culprit)?, chain, message);
        let of_page = chain.artifact == Artifact::GoGet
            && culprit.outcome == Outcome::BadContent
            && send.last().status.is_some();
        Some(match reason(send.last()) {
            _ if of_page => sign.advising(PAGE),
            Some(WANTS_HTTP_1_1) => sign.advising(HTTP_1_1),
            _ => sign,
        })
    });
    // A page where the repository is has not served the tool.
    let sign = sign.or_else(|| command(view, chain));
    let sign = checksums::of_database(view, chain, culprit, sign?);
    let sign = checksums::doubt(view, chain, culprit, sign);
    let sign = by_status(view.process(chain.process), sign, &send, culprit);
    let sign = of_both(sign, culprit, is_of_https);
    // Absence has the evidence of the whole walk.
    Some(if sign.requests.is_empty() { sign.with(send.ids()) } else { sign })
}

/// PT404, PT509: how it came there was not seen. What a directory has in place of the checksum
/// database nobody has kept.
fn kept_badly(view: &View<'_>, chain: &Chain) -> Option<Sign> {
    if chain.artifact == Artifact::Mod {
        let message = "what the module cache has as go.mod is none, and go asks nobody for another";
        return Some(Sign::of("PT404", chain, message.to_owned()).advising(REMOVE));
    }
    if view.reads_sums_from_files(chain) {
        return None;
    }
    let message = "go can make nothing of what it has kept of the checksum database, and asks nobody \
                   for another";
    let sign = Sign::of("PT509", chain, message.to_owned());
    // Of several tiles go does not know which one is not of the tree, nor whether the tree is.
    Some(if chain.artifact == Artifact::SumdbTile { sign.possibly() } else { sign })
}

/// What to do where HTTP/2 is of no use.
const HTTP_1_1: &str = "Set GODEBUG=http2client=0, with which go speaks HTTP/1.1 to every host; or \
                        take from the server what HTTP/2 has not: NTLM, or a certificate that it \
                        asks for by the path.";

/// Why a request got no whole answer, in words that can follow the name of its host.
fn reason(request: &Request) -> Option<&str> {
    request.error.as_ref().and_then(|error| error.reason.as_deref())
}

/// What to do where the page of a module names no repository.
const PAGE: &str = "Look for a login or a catch-all behind the page (`curl -i \
                    'https://MODULE?go-get=1'`), and check the path of the module: its page must \
                    name the repository in a `go-import`, which with a fourth word, a \
                    sub-directory, is none before Go 1.25.";

/// Who spoke, where it was with a status.
fn remark(send: &Sent<'_>, attempt: &Attempt) -> String {
    let said = matches!(attempt.outcome, Outcome::HttpError | Outcome::NotFound);
    if said { speaker::remark(send.last()) } else { String::new() }
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
fn by_status(process: Option<&Process>, sign: Sign, send: &Sent<'_>, attempt: &Attempt) -> Sign {
    const CHANGED: &str = "Renew the credentials: the line for this host in ~/.netrc, or what the \
                           command of GOAUTH gives. `curl -sI --netrc URL` shows whether they do.";
    if sign.kind.code == "PT211" {
        return by_forward_proxy(sign, send);
    }
    let of_status =
        matches!(sign.kind.code, "PT006" | "PT301" | "PT302" | "PT402" | "PT408" | "PT409");
    let unauthorized = sign.kind.code == "PT301";
    let renew = (unauthorized && credentials::is_offered(send)).then_some(CHANGED);
    let advice = if unauthorized { credentials::advice(process, send) } else { None };
    let advice = advice.or_else(|| speaker::advice(send.last()).or(renew).map(Cow::Borrowed));
    match advice.filter(|_| of_status) {
        Some(advice) if attempt.outcome == Outcome::HttpError => sign.advising(&advice),
        _ => sign,
    }
}

/// The advice for what the forward proxy answered: credentials are of use for 407 alone.
fn by_forward_proxy(sign: Sign, send: &Sent<'_>) -> Sign {
    const CHECK: &str = "Check HTTPS_PROXY and HTTP_PROXY: name, port and scheme of the forward \
                         proxy; and whether it may reach the host.";
    const TRUST: &str = "Install the certificate of the forward proxy's authority on this machine, \
                         or name it in SSL_CERT_FILE.";
    let types = send.last().error.as_ref().map_or(&[][..], |error| &error.types[..]);
    if types.iter().any(|name| name == "x509.UnknownAuthorityError") {
        return sign.advising(TRUST);
    }
    match refused_tunnel(send).map_or(send.last().status, |tunnel| tunnel.status) {
        Some(407) => sign,
        status => sign.advising(status.and_then(speaker::of_forward_proxy).unwrap_or(CHECK)),
    }
}

/// PT304 at an entry that `|` lets go ask on after: of absence it tells only where nothing else is
/// wrong.
fn unsent_before(chain: &Chain) -> Option<Sign> {
    let walk = last_walk(chain).iter();
    let unknown = |attempt: &&Attempt| attempt.outcome == Outcome::Unknown;
    walk.filter(unknown).find_map(|attempt| password_in_clear(chain, attempt))
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
    send: &Sent<'_>,
    attempt: &Attempt,
) -> Option<Sign> {
    let last = send.last();
    let reason = reason(last).filter(|_| attempt.outcome == Outcome::TlsOther);
    let (alert, anew) = (reason == Some(WANTS_CERTIFICATE), reason == Some(NEGOTIATES_ANEW));
    let wanted = || view.wants_certificate(chain, last);
    let told = alert || (last.status == Some(NO_CERTIFICATE) && wanted());
    let fits =
        matches!(attempt.outcome, Outcome::TlsOther | Outcome::Reset) || last.status == Some(400);
    let likely = || anew || (fits && wanted() && !view.is_served(chain.process, &last.host));
    (told || likely()).then(|| {
        let message = if anew {
            format!("{} {NEGOTIATES_ANEW}", last.host)
        } else {
            format!("{} {WANTS_CERTIFICATE}, and go has none", last.host)
        };
        let sign = Sign::of("PT206", chain, message);
        if told { sign } else { sign.possibly() }
    })
}

/// What nginx calls "SSL certificate required" (`ngx_http_request.h`).
const NO_CERTIFICATE: u16 = 496;

/// PT010. A URL that is signed carries its own right.
fn authorization_dropped(send: &Sent<'_>) -> Option<(&'static str, String)> {
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
    // Where the checksum database has refused something before, that is what go compares.
    let refused = chain.attempts.iter().find(|attempt| attempt.outcome == Outcome::Checksum);
    let culprit = refused.or(chain.attempts.last());
    let of = culprit.and_then(|attempt| last_asked(&attempt.requests));
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
    let ids = culprit.and_then(Sent::last_of).map_or_else(Vec::new, |send| send.ids());
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

/// PT402: 407 from a host that go asked itself, as it was told of no forward proxy, or of one that
/// `NO_PROXY` excepts the host from.
fn without_forward_proxy(
    view: &View<'_>,
    chain: &Chain,
    send: &Sent<'_>,
    attempt: &Attempt,
) -> Option<(&'static str, String)> {
    let last = send.last();
    if attempt.outcome != Outcome::ProxyRefused || last.status != Some(407) {
        return None;
    }
    let process = view.process(chain.process)?;
    let tunneled = attempt.requests.iter().any(|it| it.cause == Cause::ConnectTunnel);
    let forward = view.forward_proxy(chain, last);
    if tunneled || forward.is_some_and(ForwardProxy::speaks_http) {
        return None;
    }
    // Whatever the settings say.
    if forward.is_none() && goes_elsewhere(last) {
        return None;
    }
    let is_told = |name| process.config.get(name).is_some_and(|it| !it.value.is_empty());
    let went = match process.go_version {
        // That passes on what the host says.
        Some(_) if forward.is_some() => "",
        Some(_) if ["HTTP_PROXY", "HTTPS_PROXY"].into_iter().any(is_told) => {
            ", and go asked it without one"
        }
        Some(_) => ", and go was told of none",
        // What go is told is not in its output. Behind TLS it is the host that answers.
        None if last.url.starts_with("https://") => "",
        None => return None,
    };
    Some(("PT402", format!("{} answered 407, as forward proxies do{went}", last.host)))
}

/// The last tunnel that the forward proxy did not open.
fn refused_tunnel<'a>(send: &Sent<'a>) -> Option<&'a Request> {
    send.requests.iter().rev().find(|request| {
        request.cause == Cause::ConnectTunnel && request.outcome == Outcome::ProxyRefused
    })
}

/// PT211: the forward proxy did not open the way.
fn tunnel(
    view: &View<'_>,
    chain: &Chain,
    send: &Sent<'_>,
    attempt: &Attempt,
) -> Option<(&'static str, String)> {
    if attempt.outcome != Outcome::ProxyRefused {
        return None;
    }
    let wants = |status| if status == 407 { ": it wants credentials" } else { "" };
    // Without TLS it is asked with the whole URL, and answers itself.
    let asked = send.last();
    if let (Some(status), Some(proxy)) = (asked.status, view.forward_proxy_name(chain, asked)) {
        let message =
            format!("the forward proxy {proxy} answered {status} in place of {}", asked.host);
        return Some(("PT211", message + wants(status)));
    }
    let tunnel = refused_tunnel(send)?;
    let (proxy, target) = (view.forward_proxy_name(chain, tunnel)?, &tunnel.url);
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
fn looped(send: &Sent<'_>, attempt: &Attempt) -> Option<(&'static str, String)> {
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
    let once = send.requests.iter().filter(led).all(|request| times(&request.url) == 1);
    let way = if hosts.len() > 1 && once {
        format!("{} redirect each to the next", hosts.join(" → "))
    } else if hosts.len() > 1 {
        format!("{} redirect in a circle", hosts.join(" → "))
    } else {
        format!("{} redirects to itself", hosts.join(""))
    };
    let end = if endless { "; go gave up after ten redirects" } else { "" };
    Some(("PT003", format!("{way}{end}")))
}

/// PT004, PT005: a redirect that go does not follow.
fn refused(send: &Sent<'_>, attempt: &Attempt) -> Option<(&'static str, String)> {
    let last = send.last();
    let Some(status) = last.status.filter(|&status| status::redirects(status)) else {
        // A log has the error alone.
        let told = attempt.outcome == Outcome::RedirectInvalid && last.status.is_none();
        let message = || format!("{} redirected with a Location that is no URL", last.host);
        return told.then(|| ("PT005", message()));
    };
    let location = last.location.as_deref().filter(|location| !location.is_empty());
    let target = location.and_then(|location| url::resolve(&last.url, location));
    let target = target.as_deref().and_then(url::Url::parse);
    let (host, other) = (&last.host, target.filter(|url| !matches!(url.scheme, "http" | "https")));
    if attempt.outcome == Outcome::RedirectRefused && other.is_none() {
        let to = target
            .map_or_else(|| "http".to_owned(), |target| format!("http://{}", target.named_host()));
        let message =
            format!("{host} redirected ({status}) from https to {to}, which go refuses to follow");
        return Some(("PT004", message));
    }
    if !matches!(attempt.outcome, Outcome::RedirectRefused | Outcome::RedirectInvalid) {
        return None;
    }
    let said = match (location, target, other) {
        (None, ..) if last.cut.is_empty() => "without a Location".to_owned(),
        // Whether there was one is not known.
        (None, ..) => "with no Location that go can follow".to_owned(),
        (.., Some(other)) => {
            format!("with a Location whose scheme go takes to be `{}`", other.scheme)
        }
        (_, Some(target), _) if target.host.is_empty() => {
            "with a Location that names no host".to_owned()
        }
        _ => "with a Location that is no URL".to_owned(),
    };
    Some(("PT005", format!("{host} answered {status} {said}")))
}

/// PT006, PT007: another host than the one that was asked is to blame.
fn target(view: &View<'_>, send: &Sent<'_>, attempt: &Attempt) -> Option<(&'static str, String)> {
    let (asked, answered) = (&send.first().host, send.last());
    if send.changed_server() && is_unreached(view, attempt, answered) && answered.status.is_none() {
        let scheme = answered.url.split("://").next().filter(|_| !send.crossed());
        let scheme = scheme.map_or_else(String::new, |scheme| format!("{scheme}://"));
        let (host, why) = (&answered.host, why(answered, attempt.outcome));
        return Some(("PT007", format!("{asked} redirected to {scheme}{host}, which {why}")));
    }
    let status = answered.status.filter(|&status| status >= 400 && send.crossed())?;
    let who = remark(send, attempt);
    Some((
        "PT006",
        format!(
            "{asked} redirected to {}, which answered {status}{who}; go's own message names {asked}",
            answered.host
        ),
    ))
}

/// Whether nothing was sent to who was asked last: it was not reached, or broke off in the
/// handshake, as where a filter on the way goes by the name. That it was sent may not have been seen.
pub(super) fn is_unreached(view: &View<'_>, attempt: &Attempt, last: &Request) -> bool {
    let unsent = last.sent_ns.is_none() && view.trace.capture.complete;
    attempt.outcome.is_unreached() || (attempt.outcome == Outcome::Reset && unsent)
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

/// What a status or an outcome stands for where no redirect is to blame.
fn plain(send: &Sent<'_>, attempt: &Attempt) -> Option<&'static str> {
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
