//! Whether it is of use to run a failed command again.

use crate::correlate::story::last_asked;
use crate::model::{Attempt, Cause, Chain, Finding, Outcome, RequestError, Role, Severity, Trace};

use super::cause::culprit;
use super::view::View;

/// What a second try would come to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    /// What failed may pass: a name server, a server or a network that does not answer, a limit.
    Transient,
    /// It will fail again until somebody repairs something.
    Permanent,
}

/// The class of all errors together: permanent if one of them is; none where there is no error, or
/// one of which it is not known.
pub fn class(trace: &Trace) -> Option<Class> {
    let view = View::new(trace);
    let mut roots = trace
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error && finding.role == Role::Root)
        .map(|finding| class_of(&view, finding))
        .peekable();
    roots.peek()?;
    let all: Vec<Option<Class>> = roots.collect();
    if all.contains(&Some(Class::Permanent)) {
        return Some(Class::Permanent);
    }
    all.into_iter().all(|class| class == Some(Class::Transient)).then_some(Class::Transient)
}

/// By the attempt that the finding is about, as what `direct` came to may be known of the search for a
/// repository alone. But what is in the module cache stays there, contradicted or a page; and an
/// entry that is none stays so, however it failed.
fn class_of(view: &View<'_>, finding: &Finding) -> Option<Class> {
    let chain = view.trace.chains.iter().find(|chain| Some(chain.id) == finding.chain)?;
    let kept = chain.contradicted_by.is_some() || view.unread_page(chain).is_some();
    if kept || finding.code == "PT604" {
        return Some(Class::Permanent);
    }
    of_attempt(chain, culprit(view, chain)?)
}

fn of_attempt(chain: &Chain, attempt: &Attempt) -> Option<Class> {
    let last = last_asked(&attempt.requests);
    let status = last.and_then(|request| request.status);
    match attempt.outcome {
        Outcome::ConnectRefused
        | Outcome::ConnectTimeout
        | Outcome::Unreachable
        | Outcome::Reset
        | Outcome::Truncated => Some(Class::Transient),
        // A name that does not exist, and a name server that does not answer, are both `dns`.
        Outcome::Dns => {
            let error = last.and_then(|request| request.error.as_ref());
            let unknown = error.is_some_and(|error| {
                let said = |text: &Option<String>, part| {
                    text.as_deref().is_some_and(|text| text.contains(part))
                };
                said(&error.detail, "no such host") || said(&error.reason, "does not exist")
            });
            Some(if unknown { Class::Permanent } else { Class::Transient })
        }
        Outcome::HttpError => status.map(of_status),
        // Nobody answered the handshake.
        Outcome::TlsOther
            if last
                .and_then(|request| request.error.as_ref())
                .is_some_and(is_handshake_timeout) =>
        {
            Some(Class::Transient)
        }
        Outcome::ProxyRefused => {
            let tunnels = attempt.requests.iter().rev();
            let mut refused = tunnels.filter(|request| request.cause == Cause::ConnectTunnel);
            refused.find_map(|request| request.status).or(status).map(of_status)
        }
        Outcome::Ok | Outcome::Cached | Outcome::Canceled | Outcome::Unfinished => None,
        Outcome::Unknown => {
            // `direct` has the reason elsewhere, if anywhere.
            (chain.outcome != Outcome::Unknown).then_some(Class::Permanent)
        }
        Outcome::NotFound
        | Outcome::RedirectRefused
        | Outcome::RedirectLimit
        | Outcome::RedirectInvalid
        | Outcome::TlsUnknownAuthority
        | Outcome::TlsOther
        | Outcome::BadContent
        | Outcome::Checksum => Some(Class::Permanent),
    }
}

/// What `net/http` ends a handshake with after ten seconds (`transport.go:addTLS`).
fn is_handshake_timeout(error: &RequestError) -> bool {
    error.types.iter().any(|name| name == "http.tlsHandshakeTimeoutError")
        || error
            .reason
            .as_deref()
            .is_some_and(|why| why.contains("did not answer the TLS handshake"))
}

/// Statuses that ask for another try, by their own definition (RFC 9110, RFC 6585, RFC 8470).
fn of_status(status: u16) -> Class {
    match status {
        408 | 425 | 429 | 500 | 502..=504 | 507 | 520..=599 => Class::Transient,
        _ => Class::Permanent,
    }
}
