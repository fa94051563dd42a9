//! What is true beside the one reason: one small function a code.

mod access;
mod answers;
mod checksums;
mod cost;
mod redirects;
mod run;
mod transport;
mod walk;

use crate::model::{Attempt, Chain, Next, Request, RequestId};

pub(super) use self::access::is_password_in_clear;
pub(super) use self::answers::REMOVE;
pub(super) use self::redirects::strayed;
pub(super) use self::run::is_guessed;
use super::sent::Sent;
use super::sign::Sign;
use super::view::View;

/// Looks at one chain.
pub(super) type Rule = fn(&View<'_>, &Chain) -> Vec<Sign>;

/// Looks at the whole trace.
pub(super) type General = fn(&View<'_>) -> Vec<Sign>;

/// Of which chains a rule can be true.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Of {
    /// Of those that did not simply go well ([`View::is_well`]).
    Trouble,
    /// Of each.
    Any,
}

/// All rules that look at one chain at a time.
pub(super) const RULES: &[(Of, Rule)] = &[
    (Of::Trouble, redirects::origin_retry),
    (Of::Trouble, redirects::credentials_across_hosts),
    (Of::Trouble, redirects::host_mismatch),
    (Of::Trouble, redirects::then_fallback),
    (Of::Trouble, walk::comma_stops),
    (Of::Trouble, walk::pipe_hides_outage),
    (Of::Trouble, walk::masked_root_cause),
    (Of::Trouble, walk::error_from_off),
    (Of::Trouble, transport::v6_path),
    (Of::Any, access::private_leak),
    (Of::Trouble, access::netrc_port),
    (Of::Trouble, answers::cache_poison_risk),
    (Of::Trouble, answers::negative_cache),
    (Of::Trouble, checksums::asked_directly),
    (Of::Trouble, checksums::triggered_fallback),
    (Of::Any, cost::silent_wait),
];

/// All rules that look at everything at once.
pub(super) const GENERAL: &[General] = &[
    redirects::long_chain,
    walk::fallback_404,
    walk::fallback_fanout,
    transport::goaway,
    transport::forward_proxy_in_use,
    transport::conn_churn,
    access::creds_over_http,
    access::secret_in_url,
    answers::goauth_resend,
    answers::case_encoding,
    cost::slow,
    run::toolchain_switch,
    run::all_cached,
    run::direct_vcs,
    run::unused_tool,
    run::incomplete_capture,
];

/// Whether go went on to another entry after this one.
fn moved(attempt: &Attempt) -> bool {
    matches!(attempt.next, Some(Next::NextEntry | Next::Direct))
}

/// Whether a request went over HTTP/2.
fn is_h2(request: &Request) -> bool {
    request.protocol.as_deref() == Some("HTTP/2.0")
}

/// The requests of the last send of an attempt.
fn evidence(attempt: &Attempt) -> Vec<RequestId> {
    Sent::last_of(attempt).map_or_else(Vec::new, |send| send.ids())
}

/// `1 fetch`, `3 fetches`: the noun as one and as many.
fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
