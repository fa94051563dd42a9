//! What go sent: the attempts of a walk, and the sends of an attempt.

use crate::correlate::story::{first_of_last_send, last_asked};
use crate::model::{Attempt, Cause, Chain, Next, Outcome, Request};

/// The attempts of the chain's last walk: one ends where `next` is `stop` or null. In a later one
/// go may tell again, asking nobody, what it remembers of the walk before.
pub(super) fn last_walk(chain: &Chain) -> &[Attempt] {
    last_of(&chain.attempts)
}

fn last_of(attempts: &[Attempt]) -> &[Attempt] {
    let (_, others) = attempts.split_last().unwrap_or((&NONE, &[]));
    let ends = |attempt: &Attempt| matches!(attempt.next, None | Some(Next::Stop));
    let start = others.iter().rposition(ends).map_or(0, |at| at + 1);
    let (before, walk) = attempts.split_at(start);
    let told_again = |was: &Attempt, is: &Attempt| {
        was.next == Some(Next::Stop) && was.outcome == is.outcome && was.proxy == is.proxy
    };
    match (before.last(), walk.last()) {
        (Some(was), Some(is))
            if told_again(was, is) && walk.iter().all(|it| it.requests.is_empty()) =>
        {
            last_of(before)
        }
        _ => walk,
    }
}

const NONE: Attempt = Attempt {
    proxy: String::new(),
    index: None,
    separator: None,
    outcome: Outcome::Unknown,
    next: None,
    reason: String::new(),
    requests: Vec::new(),
};

/// All sends of an attempt.
pub(super) fn sends(attempt: &Attempt) -> impl Iterator<Item = Sent<'_>> {
    let begins = |request: &Request| matches!(request.cause, Cause::Initial | Cause::AuthResend);
    attempt.requests.chunk_by(move |_, next| !begins(next)).map(|requests| Sent { requests })
}

/// One send: its first request, and its last.
pub(super) struct Sent<'a> {
    pub(super) requests: &'a [Request],
}

impl<'a> Sent<'a> {
    /// The last send of an attempt.
    pub(super) fn last_of(attempt: &'a Attempt) -> Option<Self> {
        let first =
            (!attempt.requests.is_empty()).then(|| first_of_last_send(&attempt.requests))?;
        let start = attempt.requests.iter().position(|request| request.id == first.id)?;
        Some(Self { requests: &attempt.requests[start..] })
    }

    pub(super) fn first(&self) -> &'a Request {
        &self.requests[0]
    }

    pub(super) fn last(&self) -> &'a Request {
        last_asked(self.requests).unwrap_or(&self.requests[0])
    }

    /// Whether a redirect led to another host.
    pub(super) fn crossed(&self) -> bool {
        self.last().cause != Cause::Initial && self.first().host != self.last().host
    }

    /// The same, or to the same host by another scheme: another server answers there.
    pub(super) fn changed_server(&self) -> bool {
        let scheme = |request: &'a Request| request.url.split("://").next();
        self.crossed() || (self.redirected() && scheme(self.first()) != scheme(self.last()))
    }

    pub(super) fn redirected(&self) -> bool {
        self.requests.iter().any(|request| request.cause == Cause::Redirect)
    }

    pub(super) fn ids(&self) -> Vec<u32> {
        self.requests.iter().map(|request| request.id).collect()
    }
}
