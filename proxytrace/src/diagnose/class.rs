//! Whether it is of use to run a failed command again.

use foldhash::{HashMap, HashSet};

use crate::correlate::failure::WANTS_HTTP_1_1;
use crate::correlate::story::last_asked;
use crate::model::{
    Artifact, Attempt, Cause, Chain, ChainId, Finding, Outcome, Process, RequestError, Role,
    Severity, Trace,
};

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
/// one of which it is not known. What was made good within the run is none of them: the command
/// failed for another reason.
pub fn class(trace: &Trace) -> Option<Class> {
    let view = View::new(trace);
    let made_good = made_good(&view);
    let is_left = |finding: &&Finding| {
        let chains = &finding.chains;
        chains.is_empty() || chains.iter().any(|chain| !made_good.contains(chain))
    };
    let mut roots = trace
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error && finding.role == Role::Root)
        .filter(is_left)
        .map(|finding| class_of(&view, finding))
        .peekable();
    roots.peek()?;
    let all: Vec<Option<Class>> = roots.collect();
    if all.contains(&Some(Class::Permanent)) {
        return Some(Class::Permanent);
    }
    all.into_iter().all(|class| class == Some(Class::Transient)).then_some(Class::Transient)
}

/// The chains that were tried again with success: when their process had ended, the same command
/// began in the same place, and got the artifact. Any other may be another build, which says
/// nothing of why this one failed.
fn made_good(view: &View<'_>) -> HashSet<ChainId> {
    // When the last of them began.
    let mut got: HashMap<Tried<'_>, u64> = HashMap::default();
    let is_got = |chain: &&Chain| matches!(chain.outcome, Outcome::Ok | Outcome::Cached);
    for chain in view.trace.chains.iter().filter(is_got) {
        let Some(process) = view.process(chain.process) else { continue };
        if let Some(tried) = Tried::of(chain, process) {
            let last = got.entry(tried).or_default();
            *last = process.started_ns.max(*last);
        }
    }
    let is_got_later = |chain: &&Chain| {
        let is_later = || {
            let process = view.process(chain.process)?;
            let last = got.get(&Tried::of(chain, process)?)?;
            Some(*last >= process.ended_ns?)
        };
        is_later() == Some(true) && !is_kept(view, chain)
    };
    view.trace.chains.iter().filter(is_got_later).map(|chain| chain.id).collect()
}

/// What a chain is about, and who asked for it.
#[derive(Eq, Hash, PartialEq)]
struct Tried<'a> {
    artifact: Artifact,
    module: &'a str,
    version: Option<&'a str>,
    argv: &'a [String],
    directory: &'a str,
}

impl<'a> Tried<'a> {
    /// None where that is not known.
    fn of(chain: &'a Chain, process: &'a Process) -> Option<Self> {
        Some(Self {
            artifact: chain.artifact,
            module: chain.module.as_deref()?,
            version: chain.version.as_deref(),
            argv: &process.argv,
            directory: process.surroundings.directory.as_deref()?,
        })
    }
}

/// By the attempt that the finding is about, as what `direct` came to may be known of the search for a
/// repository alone. But what is in the module cache stays there, contradicted or a page; and an
/// entry that is none stays so, however it failed.
fn class_of(view: &View<'_>, finding: &Finding) -> Option<Class> {
    let chain = view.trace.chains.iter().find(|chain| Some(chain.id) == finding.chain)?;
    if is_kept(view, chain) || finding.code == "PT604" {
        return Some(Class::Permanent);
    }
    // A certificate that is wanted will be wanted again; that it is, is not sure there.
    let class = of_attempt(chain, culprit(view, chain)?.as_ref())?;
    (finding.code != "PT206" || class == Class::Permanent).then_some(class)
}

/// Whether what is wrong is in the module cache.
fn is_kept<'a>(view: &View<'a>, chain: &'a Chain) -> bool {
    chain.contradicted_by.is_some() || view.unread_mod(chain).is_some() || view.is_kept_badly(chain)
}

fn of_attempt(chain: &Chain, attempt: &Attempt) -> Option<Class> {
    let last = last_asked(&attempt.requests);
    let status = last.and_then(|request| request.status);
    let error = last.and_then(|request| request.error.as_ref());
    match attempt.outcome {
        // It will want that again.
        Outcome::Reset
            if error.is_some_and(|error| error.reason.as_deref() == Some(WANTS_HTTP_1_1)) =>
        {
            Some(Class::Permanent)
        }
        Outcome::ConnectRefused
        | Outcome::ConnectTimeout
        | Outcome::Unreachable
        | Outcome::Reset
        | Outcome::Truncated => Some(Class::Transient),
        // A name that does not exist, and a name server that does not answer, are both `dns`.
        Outcome::Dns => {
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
        Outcome::TlsOther if error.is_some_and(is_handshake_timeout) => Some(Class::Transient),
        Outcome::ProxyRefused => {
            let refused = attempt.requests.iter().rev().find(|request| {
                request.cause == Cause::ConnectTunnel && request.outcome == Outcome::ProxyRefused
            });
            // Why one was not answered is not known.
            refused.map_or(status, |request| request.status).map(of_status)
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
