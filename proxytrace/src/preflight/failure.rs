//! Why there is no answer: the errors of sockets, TLS and HTTP in the words of the model.

use std::error::Error;
use std::fmt::Display;
use std::io;

use rustls::{AlertDescription, CertificateError};

use super::trust;
use crate::correlate::failure::of_errno;
use crate::model::{Outcome, RequestError};

const CIPHERS: &str = "was not asked: it refused the TLS handshake; it may let go in, which has \
                       more ciphers, or refuse it as well";

/// Why there is no answer, or not the whole of one.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) outcome: Outcome,
    /// In words that can follow the name of a host.
    reason: Option<String>,
    detail: Option<String>,
}

impl Failure {
    pub(super) fn new(outcome: Outcome) -> Self {
        Self { outcome, reason: None, detail: None }
    }

    pub(super) fn because(outcome: Outcome, reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..Self::new(outcome) }
    }

    pub(super) fn detailed(self, detail: impl Display) -> Self {
        let detail = detail.to_string();
        // Where it is documented is for who calls rustls.
        let said = detail.split(": https://docs.rs/").next().unwrap_or(&detail);
        Self { detail: Some(said.to_owned()), ..self }
    }

    pub(super) fn error(&self) -> RequestError {
        RequestError {
            kind: self.outcome,
            types: Vec::new(),
            detail: self.detail.clone(),
            reason: self.reason.clone(),
        }
    }

    /// What the resolver of the C library said (getaddrinfo(3)).
    pub(super) fn of_name(error: &dns_lookup::LookupError) -> Self {
        use dns_lookup::LookupErrorKind::{Again, Fail, NoData, NoName};
        let reason = match error.kind() {
            NoName | NoData => "has no address: its name does not exist",
            Again => "has no address: the name server failed, or did not answer",
            Fail => "has no address: the name server failed",
            _ => "has no address: its name was not resolved",
        };
        Self::because(Outcome::Dns, reason)
    }

    pub(super) fn of_connect(error: &io::Error) -> Self {
        let errno = error.raw_os_error();
        let outcome = match errno.map_or(Outcome::Unknown, of_errno) {
            Outcome::Unknown if error.kind() == io::ErrorKind::TimedOut => Outcome::ConnectTimeout,
            // What else a connect can come to is that the host cannot be reached from here.
            Outcome::Unknown => Outcome::Unreachable,
            outcome => outcome,
        };
        Self::new(outcome).detailed(error)
    }

    /// A handshake that failed; `wanted` is whether the server asked for a certificate.
    pub(super) fn of_handshake(error: &io::Error, wanted: bool) -> Self {
        match tls(error) {
            Some(error) if !wanted && may_be_for_ciphers(error) => {
                Self::because(Outcome::Unknown, CIPHERS).detailed(error)
            }
            Some(error) => of_tls(error),
            None => of_stream(error, Outcome::Reset),
        }
    }

    /// A request that got no head of a response, or a body that did not end: `end` is what the end
    /// of the stream means there.
    pub(super) fn of_http(error: &(dyn Error + 'static), end: Outcome) -> Self {
        let mut cause: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<io::Error>() {
                return tls(error).map_or_else(|| of_stream(error, end), of_tls);
            }
            if let Some(error) = error.downcast_ref::<hyper::Error>() {
                if error.is_incomplete_message() {
                    return Self::new(end);
                }
                if error.is_parse() {
                    return Self::because(Outcome::BadContent, "does not speak HTTP there")
                        .detailed(error);
                }
            }
            cause = error.source();
        }
        // What is left are the errors of HTTP/2: a stream or a connection that was reset.
        Self::because(Outcome::Reset, "reset the stream (HTTP/2)").detailed(error)
    }
}

fn of_stream(error: &io::Error, end: Outcome) -> Failure {
    let outcome = match error.kind() {
        io::ErrorKind::UnexpectedEof => end,
        _ => Outcome::Reset,
    };
    Failure::new(outcome).detailed(error)
}

fn tls(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// Whether a server may have refused a handshake for the ciphers that it was offered. go offers
/// those with CBC as well (`crypto/tls/cipher_suites.go`).
fn may_be_for_ciphers(error: &rustls::Error) -> bool {
    use AlertDescription::{HandshakeFailure, InsufficientSecurity};
    matches!(error, rustls::Error::AlertReceived(HandshakeFailure | InsufficientSecurity))
}

/// What keeps preflight from a judgement of its own, and go perhaps not.
fn unverifiable(what: &str) -> Failure {
    let reason = format!("was not asked: preflight cannot verify {what}");
    Failure::because(Outcome::Unknown, reason)
}

fn of_tls(error: &rustls::Error) -> Failure {
    use CertificateError as Bad;
    use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage};
    let reason = match error {
        // A signature of somebody else of the same name: to go an unknown authority as well.
        InvalidCertificate(Bad::UnknownIssuer | Bad::BadSignature) => {
            return Failure::new(Outcome::TlsUnknownAuthority);
        }
        InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
            "has a certificate for another name"
        }
        InvalidCertificate(
            Bad::Expired
            | Bad::ExpiredContext { .. }
            | Bad::NotValidYet
            | Bad::NotValidYetContext { .. },
        ) => "has a certificate that has expired or is not yet valid",
        // go may be able to.
        InvalidCertificate(
            Bad::UnsupportedSignatureAlgorithmContext { .. }
            | Bad::UnsupportedSignatureAlgorithmForPublicKeyContext { .. },
        ) => return unverifiable("how its certificate is signed").detailed(error),
        InvalidCertificate(bad) if trust::is_authority(bad) => {
            return unverifiable("its certificate, an authority's").detailed(error);
        }
        InvalidCertificate(_) => "has a certificate that is not valid",
        AlertReceived(AlertDescription::CertificateRequired) => {
            "wants a certificate from the client"
        }
        AlertReceived(AlertDescription::UnrecognisedName) => {
            "does not know the name that was asked for (SNI)"
        }
        AlertReceived(AlertDescription::ProtocolVersion) => {
            "speaks no version of TLS that go speaks"
        }
        AlertReceived(AlertDescription::BadCertificate) => {
            "found the client's certificate missing or bad"
        }
        AlertReceived(_) => "refused the TLS handshake",
        InvalidMessage(_) => "does not speak TLS on this port",
        _ => return Failure::new(Outcome::TlsOther).detailed(error),
    };
    Failure::because(Outcome::TlsOther, reason).detailed(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who wants a certificate has found a cipher.
    #[test]
    fn a_handshake_may_be_refused_for_the_ciphers() {
        use AlertDescription::{AccessDenied, HandshakeFailure, InsufficientSecurity};
        for (alert, wanted, expected) in [
            (HandshakeFailure, false, Outcome::Unknown),
            (InsufficientSecurity, false, Outcome::Unknown),
            (HandshakeFailure, true, Outcome::TlsOther),
            (AccessDenied, false, Outcome::TlsOther),
        ] {
            let error = io::Error::other(rustls::Error::AlertReceived(alert));
            let found = Failure::of_handshake(&error, wanted).outcome;
            assert_eq!(found, expected, "{alert:?} {wanted}");
        }
    }
}
