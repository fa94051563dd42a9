//! What a chain of Go errors comes to.

use crate::event::{Failure, FailureStep};
use crate::model::{Outcome, RequestError};

/// One row of the table: every condition given must hold for one error of the chain.
struct Rule {
    /// Go types, one of which it has; none means any.
    types: &'static [&'static str],
    /// A part of its text.
    text: Option<&'static str>,
    /// Its number: an errno.
    number: Option<u64>,
    outcome: Outcome,
}

const fn types(types: &'static [&'static str], outcome: Outcome) -> Rule {
    Rule { types, text: None, number: None, outcome }
}

const fn text(text: &'static str, outcome: Outcome) -> Rule {
    Rule { types: &[], text: Some(text), number: None, outcome }
}

const fn operation(text: &'static str, outcome: Outcome) -> Rule {
    Rule { types: &["*net.OpError"], text: Some(text), number: None, outcome }
}

const fn errno(number: u64, outcome: Outcome) -> Rule {
    Rule { types: &["syscall.Errno"], text: None, number: Some(number), outcome }
}

/// Tried from top to bottom, each row on all errors of the chain: an earlier row is the more
/// telling one, wherever in the chain it holds.
const RULES: &[Rule] = &[
    // cmd/go/internal/modfetch/fetch.go:checkSumDB. First, as any text may be in a checksum.
    text("checksum mismatch", Outcome::Checksum),
    text("checksum missing from sumdb response", Outcome::Checksum),
    text("SECURITY ERROR", Outcome::Checksum),
    // net/http/client.go:do and cmd/go/internal/web/http.go: before the transport is asked.
    text("redirected from secure URL", Outcome::RedirectRefused),
    text("stopped after 10 redirects", Outcome::RedirectLimit),
    text("failed to parse Location header", Outcome::RedirectInvalid),
    // net/http/transport.go:dialConn: the forward proxy, not the server, is what failed.
    operation("proxyconnect", Outcome::ProxyRefused),
    operation("socks connect", Outcome::ProxyRefused),
    text("Proxy Authentication Required", Outcome::ProxyRefused),
    types(&["*net.DNSError"], Outcome::Dns),
    types(&["x509.UnknownAuthorityError", "x509.SystemRootsError"], Outcome::TlsUnknownAuthority),
    types(
        &[
            "*tls.CertificateVerificationError",
            "x509.HostnameError",
            "x509.CertificateInvalidError",
            "tls.RecordHeaderError",
            "*tls.RecordHeaderError",
            "tls.AlertError",
            "tls.alert",
            "*tls.permanentError",
            "http.tlsHandshakeTimeoutError",
        ],
        Outcome::TlsOther,
    ),
    text("server gave HTTP response to HTTPS client", Outcome::TlsOther),
    text("TLS handshake timeout", Outcome::TlsOther),
    text("tls: ", Outcome::TlsOther),
    // include/uapi/asm-generic/errno.h.
    errno(111, Outcome::ConnectRefused),
    errno(110, Outcome::ConnectTimeout),
    errno(113, Outcome::Unreachable),
    errno(101, Outcome::Unreachable),
    errno(99, Outcome::Unreachable),
    errno(104, Outcome::Reset),
    errno(103, Outcome::Reset),
    errno(32, Outcome::Reset),
    // An HTTP/2 stream or connection that the server ended.
    types(
        &[
            "http.http2StreamError",
            "http.http2ConnectionError",
            "http.http2GoAwayError",
            "http2.StreamError",
            "http2.ConnectionError",
            "http2.GoAwayError",
        ],
        Outcome::Reset,
    ),
    text("server closed idle connection", Outcome::Reset),
    text("client connection lost", Outcome::Reset),
    text("server sent GOAWAY", Outcome::Reset),
    text("unexpected EOF", Outcome::Truncated),
    text("EOF", Outcome::Reset),
    // Contents.
    types(
        &[
            "*json.SyntaxError",
            "*json.UnmarshalTypeError",
            "*modfile.Error",
            "*http.badStringError",
        ],
        Outcome::BadContent,
    ),
    text("not a valid zip file", Outcome::BadContent),
    text("missing module line", Outcome::BadContent),
    // golang.org/x/mod/sumdb/{client,note,tlog}.
    text("malformed record data", Outcome::BadContent),
    text("cannot authenticate record data", Outcome::BadContent),
    text("cannot validate record", Outcome::BadContent),
    text("malformed note", Outcome::BadContent),
    text("no verifiable signatures", Outcome::BadContent),
    text("invalid signature for key", Outcome::BadContent),
    text("malformed tree", Outcome::BadContent),
    text("downloaded inconsistent tile", Outcome::BadContent),
    text("invalid response from proxy", Outcome::BadContent),
    text("proxy returned info for version", Outcome::BadContent),
    text("gzip: invalid header", Outcome::BadContent),
    // Given up, or timed out: the dialer's deadline looks like any other.
    types(&["context.canceled", "*net.canceledError"], Outcome::Canceled),
    text("context canceled", Outcome::Canceled),
    operation("dial", Outcome::ConnectTimeout),
    types(&["context.deadlineExceededError", "*http.timeoutError"], Outcome::Canceled),
    // The entry has none of it: errors that equal fs.ErrNotExist.
    types(&["modfetch.notExistError", "*modfetch.notExistError"], Outcome::NotFound),
];

/// What `failure` comes to; `unknown` if the table does not tell.
pub(super) fn outcome(failure: &Failure) -> Outcome {
    let rule = RULES.iter().find(|rule| failure.steps.iter().any(|step| rule.holds(step)));
    rule.map_or(Outcome::Unknown, |rule| rule.outcome)
}

/// Whether go takes `failure` for absence and asks on: it equals `fs.ErrNotExist`
/// (`cmd/go/internal/web/api.go:HTTPError.Is`).
pub(super) fn is_absence(failure: &Failure) -> bool {
    let says = |step: &FailureStep| {
        step.type_name == "*web.HTTPError" && matches!(step.number, Some(404 | 410))
    };
    outcome(failure) == Outcome::NotFound || failure.steps.iter().any(says)
}

impl Rule {
    fn holds(&self, step: &FailureStep) -> bool {
        (self.types.is_empty() || self.types.contains(&step.type_name.as_str()))
            && self.text.is_none_or(|part| step.text.as_deref().is_some_and(|t| t.contains(part)))
            && self.number.is_none_or(|number| step.number == Some(number))
    }
}

/// The error as the model has it.
pub(super) fn error(failure: &Failure) -> RequestError {
    RequestError {
        kind: outcome(failure),
        types: failure.steps.iter().map(|step| step.type_name.clone()).collect(),
        detail: detail(failure),
    }
}

/// Texts, names, addresses and numbers, outermost first.
fn detail(failure: &Failure) -> Option<String> {
    let words: Vec<String> = failure.steps.iter().flat_map(said).collect();
    (!words.is_empty()).then(|| words.join(": "))
}

fn said(step: &FailureStep) -> impl Iterator<Item = String> + '_ {
    let number = step.number.map(|number| match step.type_name.as_str() {
        "syscall.Errno" => format!("errno {number}"),
        _ => number.to_string(),
    });
    let address = step.address.map(|address| address.to_string());
    [step.text.clone(), step.name.clone(), address, number].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(type_name: &str, text: Option<&str>, number: Option<u64>) -> FailureStep {
        FailureStep {
            type_name: type_name.into(),
            text: text.map(Into::into),
            number,
            ..FailureStep::default()
        }
    }

    #[test]
    fn names_what_go_errors_come_to() {
        let url = || step("*url.Error", Some("Get"), None);
        let dial = || step("*net.OpError", Some("dial"), None);
        let plain = |text| step("*errors.errorString", Some(text), None);
        let errno = |number| step("syscall.Errno", None, Some(number));
        for (steps, expected) in [
            (
                vec![url(), dial(), step("*os.SyscallError", Some("connect"), None), errno(111)],
                Outcome::ConnectRefused,
            ),
            (vec![url(), dial(), step("*net.DNSError", Some("no such host"), None)], Outcome::Dns),
            (
                vec![url(), dial(), step("*poll.DeadlineExceededError", None, None)],
                Outcome::ConnectTimeout,
            ),
            (
                vec![url(), dial(), step("*os.SyscallError", Some("connect"), None), errno(113)],
                Outcome::Unreachable,
            ),
            (vec![url(), step("*net.OpError", Some("read"), None), errno(104)], Outcome::Reset),
            (
                vec![url(), step("*net.OpError", Some("proxyconnect"), None), errno(111)],
                Outcome::ProxyRefused,
            ),
            (
                vec![
                    url(),
                    step("*tls.CertificateVerificationError", None, None),
                    step("x509.UnknownAuthorityError", None, None),
                ],
                Outcome::TlsUnknownAuthority,
            ),
            (
                vec![
                    url(),
                    step("*tls.CertificateVerificationError", None, None),
                    step("x509.HostnameError", None, None),
                ],
                Outcome::TlsOther,
            ),
            (vec![url(), step("http2.StreamError", None, Some(2))], Outcome::Reset),
            (vec![url(), plain("EOF")], Outcome::Reset),
            (vec![url(), plain("unexpected EOF")], Outcome::Truncated),
            (vec![url(), plain("stopped after 10 redirects")], Outcome::RedirectLimit),
            (
                vec![url(), plain("redirected from secure URL https://a to insecure URL http://b")],
                Outcome::RedirectRefused,
            ),
            (
                vec![
                    step("*module.ModuleError", None, None),
                    step("*json.SyntaxError", None, None),
                ],
                Outcome::BadContent,
            ),
            (vec![step("", None, None)], Outcome::Unknown),
            (vec![], Outcome::Unknown),
        ] {
            let failure = Failure { steps };
            assert_eq!(outcome(&failure), expected, "{failure:?}");
        }
    }

    #[test]
    fn tells_what_the_errors_carry() {
        let address = "127.0.0.1:9".parse().ok();
        let dial = FailureStep { address, ..step("*net.OpError", Some("dial"), None) };
        let failure = Failure { steps: vec![dial, step("syscall.Errno", None, Some(111))] };
        let error = error(&failure);
        assert_eq!(error.types, ["*net.OpError", "syscall.Errno"]);
        assert_eq!(error.detail.as_deref(), Some("dial: 127.0.0.1:9: errno 111"));
    }
}
