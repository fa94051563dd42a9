//! PT008, PT401, PT403, PT405: a good status, and something else than what was asked for.

use crate::correlate::story::answer;
use crate::model::{Artifact, Attempt, Chain, Outcome};

use super::sent::Sent;
use super::speaker::is_page;
use super::view::View;

/// What `modfetch/proxy.go:(*proxyRepo).Stat` says of a `.info` file with another version in it.
const WRONG_VERSION: &str = "proxy returned info for version";

pub(super) fn root(
    view: &View<'_>,
    chain: &Chain,
    send: &Sent<'_>,
    attempt: &Attempt,
) -> Option<(&'static str, String)> {
    let last = send.last();
    let bad = attempt.outcome == Outcome::BadContent || view.unread_mod(chain).is_some();
    let file = match chain.artifact {
        Artifact::List => "a list of versions",
        Artifact::Latest | Artifact::Info => "a version",
        Artifact::Mod => "a go.mod file",
        Artifact::Zip => "a zip",
        _ => return None,
    };
    if !bad {
        return None;
    }
    let detail = last.error.as_ref().and_then(|error| error.detail.as_deref()).unwrap_or_default();
    let (host, status) = (&last.host, last.status?);
    if is_page(last) && send.redirected() {
        let asked = &send.first().host;
        let portal = send.first().url.starts_with("http://") && send.crossed();
        let like = if portal { ", as the login of a network does (captive portal)" } else { "" };
        let way = if send.crossed() {
            format!("{asked} redirected to {host}, which answered")
        } else {
            format!("{asked} redirected within itself and answered")
        };
        return Some((
            "PT008",
            format!("{way} {status} with a page for people in place of {file}{like}"),
        ));
    }
    if is_page(last) {
        return Some((
            "PT401",
            format!("{host} answered {status} with a page for people in place of {file}"),
        ));
    }
    if view.unread_mod(chain).is_some() {
        return Some((
            "PT401",
            format!("{host} answered {status} with something that is no go.mod file"),
        ));
    }
    if detail.contains(WRONG_VERSION) {
        let (_, told) = detail.split_once(WRONG_VERSION)?;
        let told = told.split(' ').nth(1).unwrap_or_default();
        let told = if told.is_empty() { "no version" } else { &format!("version {told}") };
        return Some(("PT405", format!("{host} told of {told}, and was asked for another")));
    }
    if chain.artifact == Artifact::Zip {
        return Some(("PT403", format!("what {host} sent as a zip cannot be used as one")));
    }
    Some(("PT401", answer(attempt)))
}
