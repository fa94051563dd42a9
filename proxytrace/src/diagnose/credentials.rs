//! PT301: what a host that wants credentials had got, and what helps.

use std::borrow::Cow;

use crate::goenv;
use crate::model::{Cause, Process};

use super::sent::Sent;
use super::view::is_of_go;

/// What a host that wants credentials had got, where that is known.
pub(super) fn offered(send: &Sent<'_>) -> &'static str {
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

/// Whether credentials were sent to whoever answered.
pub(super) fn is_offered(send: &Sent<'_>) -> bool {
    send.last().credentials.as_ref().is_some_and(|names| !names.is_empty())
}

/// What to do about a 401 where it is known why go sent what it sent, or nothing.
pub(super) fn advice(process: Option<&Process>, send: &Sent<'_>) -> Option<Cow<'static, str>> {
    const IN_CLEAR: &str = "go sends what ~/.netrc and GOAUTH have over https alone: serve the \
                            host over TLS and name it so in GOPROXY, or let it answer this \
                            network without credentials.";
    const OF_ENTRY: &str = "Renew user and password in the URL of this entry, or take them out of \
                            it and put good ones into ~/.netrc: since Go 1.24 go looks for no \
                            others where an entry has a user.";
    const BEFORE: &str = "Renew the credentials: the line for this host in ~/.netrc, if there is \
                          one, or else user and password in the URL of this entry. Before Go 1.24 \
                          go sends what ~/.netrc has, even where an entry has a user.";
    const ALONE: &str = "Renew user and password in the URL of this entry: with this GOAUTH go \
                         reads no ~/.netrc.";
    const OFF: &str = "GOAUTH is `off`: go sends no credentials but those in a URL. Set it to \
                       netrc, or unset it, and put the credentials for exactly this host, with its \
                       port if the URL has one, into ~/.netrc.";
    const LOST: &str = "Take user and password out of the URL of this entry and put them into \
                        ~/.netrc: what go has from there goes along to redirects of the same host.";
    const LOST_ALONE: &str = "Take user and password out of the URL of this entry and put them into \
                              ~/.netrc, which go reads with `netrc` in GOAUTH alone: what it has \
                              from there goes along to redirects of the same host.";
    let without_netrc = process.and_then(goauth_without_netrc).filter(|_| is_of_go(send.first()));
    if is_offered(send) {
        let old = process.is_some_and(|process| !knows_goauth(process));
        let advice = match without_netrc {
            _ if old => BEFORE,
            Some(_) => ALONE,
            None => OF_ENTRY,
        };
        return has_user(send).then_some(Cow::Borrowed(advice));
    }
    if is_in_clear(send) {
        return Some(Cow::Borrowed(IN_CLEAR));
    }
    if is_redirect_of_user(send) {
        let lost = if without_netrc.is_some() { LOST_ALONE } else { LOST };
        return Some(Cow::Borrowed(lost));
    }
    let goauth = without_netrc.filter(|_| send.last().credentials.is_some())?;
    Some(match goauth {
        "off" => Cow::Borrowed(OFF),
        goauth => Cow::Owned(format!(
            "GOAUTH is `{goauth}`, with which go reads no ~/.netrc: let that give credentials for \
             exactly this host, or add `;netrc` to it and put them there."
        )),
    })
}

/// GOAUTH, where it keeps go from ~/.netrc.
fn goauth_without_netrc(process: &Process) -> Option<&str> {
    let goauth = process.config.get("GOAUTH").filter(|_| knows_goauth(process))?;
    Some(goauth.value.trim()).filter(|goauth| !goenv::reads_netrc(goauth))
}

/// One of which the release is not known is taken for one of today.
fn knows_goauth(process: &Process) -> bool {
    process.go_version.as_deref().is_none_or(goenv::knows_goauth)
}

/// Whether go adds no credentials, whatever it has: it goes by the scheme of the first URL
/// (`web/http.go:get`).
fn is_in_clear(send: &Sent<'_>) -> bool {
    is_of_go(send.first()) && send.first().url.starts_with("http://")
}

/// Whether a redirect has lost the user that the first URL has: net/http makes a header of it for
/// that request alone (`net/http/client.go:send`).
pub(super) fn is_redirect_of_user(send: &Sent<'_>) -> bool {
    send.last().cause == Cause::Redirect && has_user(send)
}

/// Whether there are credentials in the URL. Since Go 1.24 it finds no others then: it looks for
/// them by the whole URL (`cmd/go/internal/auth/auth.go:AddCredentials`). Before, it looks for those
/// of the host, and they come first.
fn has_user(send: &Sent<'_>) -> bool {
    let first = send.first();
    let rest = first.url.strip_prefix("https://").filter(|_| is_of_go(first));
    rest.and_then(|rest| rest.split(['/', '?']).next()).is_some_and(|it| it.contains('@'))
}
