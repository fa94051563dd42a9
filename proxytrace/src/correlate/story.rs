//! What an attempt came to, in words; and what came after each redirect.

use std::net::SocketAddr;

use foldhash::HashMap;

use crate::model::{
    AfterRedirect, Artifact, Attempt, Cause, Next, Outcome, Request, Separator, Witness,
};

use crate::goproxy::{List, asks_on, asks_repositories};
use crate::status;
use crate::url::Url;

/// Whether go was redirected, and did not go there.
pub(crate) fn is_unfollowed(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::RedirectRefused | Outcome::RedirectLimit | Outcome::RedirectInvalid)
}

/// Whether an attempt with this outcome is known to have failed.
pub(crate) fn failed(outcome: Outcome) -> bool {
    !matches!(outcome, Outcome::Ok | Outcome::Cached | Outcome::Unfinished | Outcome::Unknown)
}

/// Whether what an attempt brought was good, as far as is known, and could not be verified.
pub(crate) fn unverified(attempt: &Attempt) -> bool {
    let good = |last: &Request| last.outcome == Outcome::Ok;
    attempt.outcome == Outcome::Checksum && last_asked(&attempt.requests).is_some_and(good)
}

/// Whether an attempt failed for a connection that its last answer did not come on: that of a
/// version control tool, which may have asked another host.
pub(crate) fn is_of_tool(attempt: &Attempt) -> bool {
    let Some(last) = last_asked(&attempt.requests) else { return false };
    last.status.is_some_and(|status| !status::redirects(status))
        && match attempt.outcome {
            Outcome::ConnectRefused | Outcome::ConnectTimeout | Outcome::Unreachable => true,
            // An answer to go that broke off says so itself; of one to a tool that is not known.
            Outcome::Reset => last.outcome == Outcome::Ok && last.witness != Witness::Wire,
            _ => false,
        }
}

/// Whether go's rule ends the walk at this attempt (`modfetch/proxy.go:TryProxies`).
pub(super) fn must_stop(attempt: &Attempt, list: &List) -> bool {
    let Some(index) = attempt.index else { return false };
    index as usize + 1 >= list.entries.len() || !asks_on(attempt.outcome, attempt.separator)
}

/// Whether go walks the list for such artifacts, rather than asking one place.
pub(crate) fn walks_the_list(artifact: Artifact) -> bool {
    !matches!(
        artifact,
        Artifact::SumdbLookup | Artifact::SumdbTile | Artifact::GoGet | Artifact::Vcs
    )
}

/// Fills in the reason, and what came after each 3xx.
pub(crate) fn tell(attempt: &mut Attempt, artifact: Artifact, list: &List) {
    let asks_on = walks_the_list(artifact);
    let consequence = match attempt.next {
        Some(Next::Stop) if !asks_on => "; there is nothing left to ask",
        _ => consequence(attempt, list),
    };
    let mut reason = answer(attempt);
    reason.push_str(consequence);
    attempt.reason = reason;
    after_redirects(attempt, artifact);
}

/// What the entry answered: who really did, and what.
pub(crate) fn answer(attempt: &Attempt) -> String {
    let Some(last) = last_asked(&attempt.requests).filter(|_| !is_of_tool(attempt)) else {
        return match (attempt.proxy.as_str(), attempt.outcome) {
            ("off", _) => "`off` ends the list".to_owned(),
            (proxy, Outcome::NotFound) if asks_repositories(proxy) => {
                format!("{proxy} found nothing")
            }
            // It asks others, which are in a chain of their own.
            (proxy, outcome) if asks_repositories(proxy) && failed(outcome) => {
                format!("{proxy} asked a host that {}", words(outcome))
            }
            (proxy, outcome) => format!("{proxy} {}", words(outcome)),
        };
    };
    let first = first_of_last_send(&attempt.requests);
    let said = match (last.status, attempt.outcome) {
        // Nearly all that is ever said.
        (Some(200), Outcome::Ok) => "answered 200".to_owned(),
        (Some(status), Outcome::Ok | Outcome::NotFound | Outcome::HttpError) => {
            format!("answered {status}")
        }
        (Some(status), _) if unverified(attempt) => {
            format!("answered {status}, but what came could not be verified")
        }
        (Some(status), outcome @ (Outcome::Reset | Outcome::Truncated)) => {
            format!("answered {status}, but then {}", why(last, outcome))
        }
        (Some(status), Outcome::BadContent) => {
            format!("answered {status} with something else than what was asked for")
        }
        (Some(status), Outcome::Checksum) => {
            format!("answered {status} with contents of another checksum")
        }
        (Some(status), Outcome::ProxyRefused) if is_forwarded(last) => {
            format!("was not reached: the forward proxy answered {status}")
        }
        (Some(status), Outcome::ProxyRefused) => {
            format!("answered {status}, as forward proxies do")
        }
        (Some(status), outcome) => format!("answered {status} and {}", words(outcome)),
        (None, outcome) => why(last, outcome).to_owned(),
    };
    // Who of them did, go does not know.
    let is_of_either = matches!(attempt.outcome, Outcome::HttpError | Outcome::Reset);
    let either =
        if is_of_either && is_forwarded(last) { " or the forward proxy before it" } else { "" };
    let (first_host, last_host) = (first.host.as_str(), last.host.as_str());
    if last_host != first_host {
        [first_host, " redirected to ", last_host, either, ", which ", &said].concat()
    } else if last.id != first.id && last.cause == Cause::Redirect {
        ["after a redirect ", last_host, either, " ", &said].concat()
    } else {
        [last_host, either, " ", &said].concat()
    }
}

/// Whether a request without TLS went to a forward proxy, which may answer in place of the host.
fn is_forwarded(request: &Request) -> bool {
    request.url.starts_with("http://") && goes_elsewhere(request)
}

/// Whether a request went to another port than that of its URL, as to a forward proxy.
pub(crate) fn goes_elsewhere(request: &Request) -> bool {
    let remote = request.remote_addr.as_deref().and_then(|addr| addr.parse::<SocketAddr>().ok());
    let (Some(url), Some(remote)) = (Url::parse(&request.url), remote) else { return false };
    url.port() != Some(remote.port())
}

/// The request that the last send of an attempt began with.
pub(crate) fn first_of_last_send(requests: &[Request]) -> &Request {
    let starts = |request: &&Request| {
        !matches!(request.cause, Cause::Redirect | Cause::TransportRetry | Cause::ConnectTunnel)
    };
    requests.iter().rev().find(starts).unwrap_or(&requests[0])
}

/// The last request that was made for its own sake, not to open a tunnel.
pub(crate) fn last_asked(requests: &[Request]) -> Option<&Request> {
    requests.iter().rev().find(|request| is_asked(request))
}

fn is_asked(request: &Request) -> bool {
    request.cause != Cause::ConnectTunnel && !leads_nowhere(request)
}

/// Whether it is where a redirect led to, and net/http sends nothing there.
pub(crate) fn leads_nowhere(request: &Request) -> bool {
    request.cause == Cause::Redirect
        && request.status.is_none()
        && request.outcome == Outcome::RedirectInvalid
}

fn consequence(attempt: &Attempt, list: &List) -> &'static str {
    let later = attempt.index.is_some_and(|index| index as usize + 1 < list.entries.len());
    match (attempt.next, attempt.outcome, attempt.separator) {
        (None, outcome, _) if failed(outcome) => "; go did without it",
        (None, ..) => "",
        (Some(Next::Stop), Outcome::Checksum, _) if !unverified(attempt) => "; go ends there",
        (Some(Next::Stop), outcome, Some(Separator::Comma))
            if later && failed(outcome) && outcome != Outcome::NotFound =>
        {
            "; `,` lets go ask on after 404 and 410 alone"
        }
        (Some(Next::Stop), Outcome::Ok, _) => "; what was made of the answer failed",
        // What stands after it is not known.
        (Some(Next::Stop), ..) if attempt.index.is_none() => "",
        (Some(Next::Stop), ..) => "; there is nothing left to ask",
        (Some(_), Outcome::NotFound, _) => "; after 404 and 410 go asks on",
        (Some(_), Outcome::Ok | Outcome::Cached, _) => "; it did not serve, so go asked on",
        (Some(_), _, Some(Separator::Pipe)) => "; `|` lets go ask on after any error",
        (Some(_), ..) => "; go asked on",
    }
}

/// Why a request got no whole answer, in words that can follow the name of its host.
pub(crate) fn why(request: &Request, outcome: Outcome) -> &str {
    let error = request.error.as_ref().filter(|error| error.kind == outcome);
    error.and_then(|error| error.reason.as_deref()).unwrap_or_else(|| words(outcome))
}

/// An outcome in words that can follow the name of a host.
pub(crate) fn words(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "succeeded",
        Outcome::NotFound => "has none of it",
        Outcome::HttpError => "answered with an error",
        Outcome::RedirectRefused => "redirected from https to http, which go refuses",
        Outcome::RedirectLimit => "redirected ten times, after which go gives up",
        Outcome::RedirectInvalid => "redirected to nowhere",
        Outcome::Dns => "has no address: its name was not resolved",
        Outcome::ConnectRefused => "refused the connection",
        Outcome::ConnectTimeout => "did not answer the connection attempt",
        Outcome::Unreachable => "cannot be reached: there is no route",
        Outcome::TlsUnknownAuthority => "has a certificate of an unknown authority",
        Outcome::TlsOther => "failed the TLS handshake",
        Outcome::ProxyRefused => "was not reached: the forward proxy refused",
        Outcome::Reset => "broke the connection off",
        Outcome::Truncated => "ended its answer early",
        Outcome::BadContent => "answered with something else than what was asked for",
        Outcome::Checksum => "answered with contents of another checksum",
        Outcome::Canceled => "was given up",
        Outcome::Cached => "was not asked: the answer was known",
        Outcome::Unfinished => "had not answered when the process ended",
        Outcome::Unknown => "failed for a reason that was not seen",
    }
}

/// What came after each 3xx response. Where several things did, the most telling one counts:
/// refused, the same URL asked of the same host again by a later send, a fallback, followed.
fn after_redirects(attempt: &mut Attempt, artifact: Artifact) {
    let is_redirect = |request: &Request| {
        request.cause != Cause::ConnectTunnel && matches!(request.status, Some(300..=399))
    };
    if !attempt.requests.iter().any(is_redirect) {
        return;
    }
    // With its place among all, and the send that it is of.
    let mut send = 0_usize;
    let asked: Vec<(usize, &Request, usize)> = attempt
        .requests
        .iter()
        .enumerate()
        .filter(|(_, request)| is_asked(request))
        .enumerate()
        .map(|(order, (place, request))| {
            let starts = !matches!(request.cause, Cause::Redirect | Cause::TransportRetry);
            send += usize::from(starts && order > 0);
            (place, request, send)
        })
        .collect();
    let last_send = send;
    let mut last_asked: HashMap<&str, usize> = HashMap::default();
    // Of a page go asks again for another path below it, whatever it was answered.
    if last_send > 0 && artifact != Artifact::GoGet {
        last_asked.extend(asked.iter().map(|(_, request, send)| (request.url.as_str(), *send)));
    }
    let moved = matches!(attempt.next, Some(Next::NextEntry | Next::Direct));
    let refused = is_unfollowed(attempt.outcome);
    let after = |order: usize| {
        let (_, request, send) = asked[order];
        let next = asked.get(order + 1);
        let located = request.status.is_some_and(status::redirects) && request.location.is_some();
        if next.is_none() && refused && located {
            AfterRedirect::Refused
        } else if last_asked.get(request.url.as_str()).is_some_and(|&last| last > send) {
            AfterRedirect::SameHostRetry
        } else if moved && send == last_send {
            AfterRedirect::Fallback
        } else if next.is_some_and(|(.., next)| *next == send) {
            AfterRedirect::Followed
        } else {
            AfterRedirect::Nothing
        }
    };
    let redirects = (0..asked.len()).filter(|&order| is_redirect(asked[order].1));
    let found: Vec<_> = redirects.map(|order| (asked[order].0, after(order))).collect();
    for (place, after) in found {
        attempt.requests[place].after_redirect = Some(after);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::event::{Origin, Setting};

    #[test]
    fn of_a_list_that_is_not_known_nothing_is_said() {
        let list = |goproxy: &str| {
            let setting = Setting { value: goproxy.to_owned(), origin: Origin::Environment };
            List::of(&BTreeMap::from([("GOPROXY".to_owned(), setting)]))
        };
        for (goproxy, index, said) in [
            ("https://p.lab", Some(0), "; there is nothing left to ask"),
            ("https://p.lab,direct", Some(0), "; `,` lets go ask on after 404 and 410 alone"),
            ("https://other.lab,direct", None, ""),
            ("", None, ""),
        ] {
            let list = list(goproxy);
            let separator = index.and_then(|index: u32| list.entries[index as usize].separator);
            let mut attempt = Attempt {
                proxy: "https://p.lab".to_owned(),
                index,
                separator,
                outcome: Outcome::ConnectRefused,
                next: Some(Next::Stop),
                reason: String::new(),
                requests: Vec::new(),
            };
            tell(&mut attempt, Artifact::Info, &list);
            assert_eq!(attempt.reason, format!("https://p.lab refused the connection{said}"));
        }
    }
}
