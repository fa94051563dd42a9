//! PT501, PT506.

use crate::correlate::story::{answer, last_asked, unverified};
use crate::model::{Artifact, Attempt, Chain, Next, Outcome};

use super::super::sign::Sign;
use super::super::view::View;
use super::{evidence, moved};

/// PT501. That it works is known by a lookup that was answered.
pub(super) fn asked_directly(view: &View<'_>, chain: &Chain) -> Vec<Sign> {
    let unsupported = chain.artifact == Artifact::SumdbSupported
        && chain.outcome == Outcome::NotFound
        && chain.attempts.last().is_some_and(|last| last.next == Some(Next::Direct));
    if !unsupported {
        return Vec::new();
    }
    let lookup =
        |other: &&&Chain| other.artifact == Artifact::SumdbLookup && other.outcome == Outcome::Ok;
    let answered = || {
        last_asked(&view.chains_of(chain.process).iter().find(lookup)?.attempts.last()?.requests)
    };
    let Some(answered) = answered() else { return Vec::new() };
    let message = format!(
        "no entry of GOPROXY forwards the checksum database; go asks {} itself",
        answered.host
    );
    let asked = chain.attempts.iter().flat_map(|attempt| &attempt.requests);
    vec![Sign::of("PT501", chain, message).with(asked.map(|request| request.id).collect())]
}

/// PT506.
pub(super) fn triggered_fallback(_: &View<'_>, chain: &Chain) -> Vec<Sign> {
    let sign = |attempt: &Attempt| {
        (unverified(attempt) && moved(attempt)).then(|| {
            let message = format!("{}; so go asked the next entry for the same", answer(attempt));
            Sign::of("PT506", chain, message).with(evidence(attempt))
        })
    };
    chain.attempts.iter().filter_map(sign).collect()
}
