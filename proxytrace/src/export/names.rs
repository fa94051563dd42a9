//! The words of the JSON contract as they stand in labels and rows.

use std::borrow::Cow;

use crate::model::{Artifact, Cause, Next, Outcome, Request, Severity};

/// What was wanted, as in `artifact` of the JSON contract.
pub(crate) fn kind(artifact: Artifact) -> &'static str {
    match artifact {
        Artifact::List => "list",
        Artifact::Latest => "latest",
        Artifact::Info => "info",
        Artifact::Mod => "mod",
        Artifact::Zip => "zip",
        Artifact::SumdbSupported => "sumdb-supported",
        Artifact::SumdbLookup => "sumdb-lookup",
        Artifact::SumdbTile => "sumdb-tile",
        Artifact::GoGet => "go-get",
        Artifact::Vcs => "vcs",
    }
}

/// How it ended, as in `outcome` of the JSON contract.
pub(crate) fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "ok",
        Outcome::NotFound => "not-found",
        Outcome::HttpError => "http-error",
        Outcome::RedirectRefused => "redirect-refused",
        Outcome::RedirectLimit => "redirect-limit",
        Outcome::RedirectInvalid => "redirect-invalid",
        Outcome::Dns => "dns",
        Outcome::ConnectRefused => "connect-refused",
        Outcome::ConnectTimeout => "connect-timeout",
        Outcome::Unreachable => "unreachable",
        Outcome::TlsUnknownAuthority => "tls-unknown-authority",
        Outcome::TlsOther => "tls-other",
        Outcome::ProxyRefused => "proxy-refused",
        Outcome::Reset => "reset",
        Outcome::Truncated => "truncated",
        Outcome::BadContent => "bad-content",
        Outcome::Checksum => "checksum",
        Outcome::Canceled => "canceled",
        Outcome::Cached => "cached",
        Outcome::Unfinished => "unfinished",
        Outcome::Unknown => "unknown",
    }
}

/// Why a request was made, as in `cause` of the JSON contract.
pub(crate) fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Initial => "initial",
        Cause::Redirect => "redirect",
        Cause::AuthResend => "auth-resend",
        Cause::TransportRetry => "transport-retry",
        Cause::ConnectTunnel => "connect-tunnel",
    }
}

/// Where the walk went, as in `next` of the JSON contract.
pub(crate) fn next(next: Next) -> &'static str {
    match next {
        Next::Stop => "stop",
        Next::NextEntry => "next-entry",
        Next::Direct => "direct",
    }
}

/// How bad a finding is, as in `severity` of the JSON contract.
pub(crate) fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

/// `error.type` of OpenTelemetry, of low cardinality: the status where a server answered, else a
/// word; none where nothing is known to have failed.
pub(crate) fn error_type(outcome: Outcome, last: Option<&Request>) -> Option<Cow<'static, str>> {
    let http2 = || last.and_then(|last| last.protocol.as_deref()) == Some("HTTP/2.0");
    let word = match outcome {
        Outcome::Ok | Outcome::Cached | Outcome::Unfinished | Outcome::Unknown => return None,
        Outcome::NotFound | Outcome::HttpError | Outcome::ProxyRefused | Outcome::BadContent => {
            let failed = |status: &u16| *status != 200;
            return Some(match last.and_then(|last| last.status).filter(failed) {
                Some(status) => status.to_string().into(),
                None => match outcome {
                    Outcome::NotFound => "not_found",
                    Outcome::HttpError => "http_error",
                    Outcome::BadContent => "bad_content",
                    _ => "proxy_refused",
                }
                .into(),
            });
        }
        Outcome::RedirectRefused => "redirect_insecure",
        Outcome::RedirectLimit => "redirect_limit",
        Outcome::RedirectInvalid => "redirect_invalid",
        Outcome::Dns => "dns",
        Outcome::ConnectRefused => "connect_refused",
        Outcome::ConnectTimeout => "connect_timeout",
        Outcome::Unreachable => "unreachable",
        Outcome::TlsUnknownAuthority => "tls_unknown_ca",
        Outcome::TlsOther => "tls_other",
        Outcome::Reset if http2() => "h2_reset",
        Outcome::Reset => "reset",
        Outcome::Truncated => "truncated",
        Outcome::Checksum => "checksum",
        Outcome::Canceled => "canceled",
    };
    Some(word.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each word leads back to what it stands for.
    #[test]
    fn the_words_are_those_of_the_contract() {
        fn back<T: serde::de::DeserializeOwned>(word: &str) -> T {
            serde_json::from_value(word.into()).unwrap()
        }
        let schema: serde_json::Value = serde_json::from_str(crate::report::json::SCHEMA).unwrap();
        let words = |of: &str| -> Vec<String> {
            let one_of = schema["$defs"][of]["oneOf"].as_array().unwrap().clone();
            one_of.iter().map(|one| one["const"].as_str().unwrap().to_owned()).collect()
        };
        for word in words("Artifact") {
            assert_eq!(kind(back(&word)), word);
        }
        for word in words("Outcome") {
            assert_eq!(outcome(back(&word)), word);
        }
        for word in words("Cause") {
            assert_eq!(cause(back(&word)), word);
        }
        for word in words("Next") {
            assert_eq!(next(back(&word)), word);
        }
        for word in words("Severity") {
            assert_eq!(severity(back(&word)), word);
        }
    }

    #[test]
    fn error_types_are_statuses_and_words() {
        let mut trace = crate::report::samples::forbidden();
        let last = trace.chains[0].attempts[0].requests.last_mut().unwrap();
        assert_eq!(error_type(Outcome::HttpError, Some(last)).as_deref(), Some("403"));
        assert_eq!(error_type(Outcome::Dns, None).as_deref(), Some("dns"));
        assert_eq!(error_type(Outcome::BadContent, None).as_deref(), Some("bad_content"));
        assert_eq!(error_type(Outcome::Ok, Some(last)), None);
        last.protocol = Some("HTTP/2.0".into());
        assert_eq!(error_type(Outcome::Reset, Some(last)).as_deref(), Some("h2_reset"));
        assert_eq!(error_type(Outcome::Reset, None).as_deref(), Some("reset"));
    }
}
