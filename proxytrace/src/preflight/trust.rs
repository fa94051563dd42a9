//! Whether the certificate of a server is one that go trusts.
//!
//! The library refuses an authority's certificate as that of a server. To go a root that a server has
//! is its own chain (`crypto/x509/verify.go:Certificate.Verify`).

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// The authorities that are trusted.
#[derive(Debug)]
pub(super) struct Roots {
    store: RootCertStore,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Roots {
    pub(super) fn new(store: RootCertStore) -> Self {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        Self { store, algorithms }
    }

    /// Whether a server may have this certificate of an authority; `refused` where that is not known.
    fn authority(&self, certificate: &CertificateDer<'_>, refused: Error) -> Result<(), Error> {
        let mut alone = RootCertStore::empty();
        alone.add(certificate.clone())?;
        match alone.roots.first() {
            // go compares the whole certificate; with the same name and key it is a chain of two.
            Some(anchor) if self.store.roots.contains(anchor) => Ok(()),
            Some(anchor) if is_self_issued(certificate, &anchor.subject) => {
                Err(CertificateError::UnknownIssuer.into())
            }
            _ => Err(refused),
        }
    }
}

/// Whether a certificate is refused for being an authority's. The library looks at its validity before
/// it says so (`webpki/verify_cert.rs:check_issuer_independent_properties`), and has no name for it.
pub(super) fn is_authority(bad: &CertificateError) -> bool {
    matches!(bad, CertificateError::Other(other) if other.to_string() == "CaUsedAsEndEntity")
}

/// Whether the issuer of a certificate is its subject: that name stands in it twice.
fn is_self_issued(certificate: &[u8], subject: &[u8]) -> bool {
    !subject.is_empty()
        && certificate.windows(subject.len()).filter(|it| *it == subject).count() > 1
}

impl ServerCertVerifier for Roots {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let signed = verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.store,
            intermediates,
            now,
            self.algorithms.all,
        );
        match signed {
            Err(Error::InvalidCertificate(bad)) if is_authority(&bad) => {
                verify_server_name(&certificate, server_name)?;
                self.authority(end_entity, bad.into())?;
            }
            signed => {
                signed?;
                verify_server_name(&certificate, server_name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use rustls::pki_types::pem::PemObject as _;

    use super::*;
    use crate::model::Outcome;
    use crate::preflight::failure::Failure;

    /// Of proxy.lab, self-signed, and an authority (`openssl req -x509`, from 2026 to 2126).
    const SELF_SIGNED: &str = "-----BEGIN CERTIFICATE-----\n\
        MIIBlDCCATugAwIBAgIUNriFjA/ahbQCFHMjwNsT/lAkkiUwCgYIKoZIzj0EAwIw\n\
        FDESMBAGA1UEAwwJcHJveHkubGFiMCAXDTI2MTEyODA3MTE0NFoYDzIxMjYxMTA0\n\
        MDcxMTQ0WjAUMRIwEAYDVQQDDAlwcm94eS5sYWIwWTATBgcqhkjOPQIBBggqhkjO\n\
        PQMBBwNCAAS9G40rlys6VBMEuYpQmE9opwz9REtQYDEw/FRp7MbSgZSCdz/pQnAH\n\
        DvqhRvtKWWvH2ZyKU21Yg9nlo84nXzmSo2kwZzAdBgNVHQ4EFgQUZ82KEpGY8CIO\n\
        /aVn41NEIpfjL4wwHwYDVR0jBBgwFoAUZ82KEpGY8CIO/aVn41NEIpfjL4wwFAYD\n\
        VR0RBA0wC4IJcHJveHkubGFiMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwID\n\
        RwAwRAIgVYlt3j1oIY0apeFo44z+m18fmUgo8AvYTxJTWhBuCkoCIAysUeadTg+7\n\
        wuVQFM167W8rXPmp7ADvGee29o6YXd4Y\n\
        -----END CERTIFICATE-----\n";

    /// Another authority.
    const AUTHORITY: &str = "-----BEGIN CERTIFICATE-----\n\
        MIIBjDCCATGgAwIBAgIUapCyybx30QcS73R0gScL5R/pGg8wCgYIKoZIzj0EAwIw\n\
        GjEYMBYGA1UEAwwPb3RoZXIgYXV0aG9yaXR5MCAXDTI2MTEyODA3MTE0NFoYDzIx\n\
        MjYxMTA0MDcxMTQ0WjAaMRgwFgYDVQQDDA9vdGhlciBhdXRob3JpdHkwWTATBgcq\n\
        hkjOPQIBBggqhkjOPQMBBwNCAAT/ezLIDQ3Lrft6vzbcGekE+vlrfANJk0ylOPYB\n\
        yVkmCioBJP18/DOZzaqIpwV6oj2J0D+OlMah6++72VoZTOwjo1MwUTAdBgNVHQ4E\n\
        FgQU7JAmNEd2I7WSJ+Z8NM5QtSaFIAIwHwYDVR0jBBgwFoAU7JAmNEd2I7WSJ+Z8\n\
        NM5QtSaFIAIwDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNJADBGAiEAnqkZ\n\
        qjqw4ybPN4IKw7aa1RJ/iArEgtG6Zh7BJ2FSp+YCIQDtqxyXGgb4DtHrYU5sbekF\n\
        Kgy2voE5wYv7HAQbMC6vRQ==\n\
        -----END CERTIFICATE-----\n";

    /// Of proxy.lab, from that authority, and an authority itself.
    const ISSUED: &str = "-----BEGIN CERTIFICATE-----\n\
        MIIBmzCCAUGgAwIBAgIUc19AJuTRydC2WZ9kEFOrgIWDZzswCgYIKoZIzj0EAwIw\n\
        GjEYMBYGA1UEAwwPb3RoZXIgYXV0aG9yaXR5MCAXDTI2MTEyODA3MTE0NFoYDzIx\n\
        MjYxMTA0MDcxMTQ0WjAUMRIwEAYDVQQDDAlwcm94eS5sYWIwWTATBgcqhkjOPQIB\n\
        BggqhkjOPQMBBwNCAAThmjk5M3dTE5sHRsH5q2i2fkUnPgfI8dWJWVdEevf7CP70\n\
        ehMJSZk7+3n3Ms/UHWx5f8wa5ypqE6m6Wq20A10eo2kwZzAUBgNVHREEDTALgglw\n\
        cm94eS5sYWIwDwYDVR0TAQH/BAUwAwEB/zAdBgNVHQ4EFgQUzVmqoH1DN3thBTni\n\
        P7vfMt72Hy8wHwYDVR0jBBgwFoAU7JAmNEd2I7WSJ+Z8NM5QtSaFIAIwCgYIKoZI\n\
        zj0EAwIDSAAwRQIgGx3FCJrYihilHWanSTAaM5FKmEwqgchnVsQEPoP+8pICIQDN\n\
        vLQw36jZqvCw6kfn9Vx/8GvqDWShTJw0WlSygMe6yA==\n\
        -----END CERTIFICATE-----\n";

    /// In seconds since 1970.
    const IN_2030: u64 = 1_893_456_000;
    const IN_2130: u64 = 5_049_216_000;

    /// What a server with this certificate comes to where these are trusted; none if all is well.
    fn outcome(certificate: &str, trusted: &[&str], name: &str, now: u64) -> Option<Outcome> {
        let parse = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let mut store = RootCertStore::empty();
        for root in trusted {
            store.add(parse(root)).unwrap();
        }
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
        let roots = Roots::new(store);
        let error = roots.verify_server_cert(&parse(certificate), &[], &name, &[], now).err()?;
        let error = io::Error::new(io::ErrorKind::InvalidData, error);
        Some(Failure::of_handshake(&error, false).outcome)
    }

    #[test]
    fn a_root_is_its_own_chain() {
        let outcome_of = |trusted: &[&str]| outcome(SELF_SIGNED, trusted, "proxy.lab", IN_2030);
        assert_eq!(outcome_of(&[SELF_SIGNED]), None);
        assert_eq!(outcome_of(&[AUTHORITY, SELF_SIGNED]), None);
        assert_eq!(outcome_of(&[AUTHORITY]), Some(Outcome::TlsUnknownAuthority));
        assert_eq!(outcome_of(&[]), Some(Outcome::TlsUnknownAuthority));
        // Its name and its time count all the same.
        let trusted = &[SELF_SIGNED];
        let other = outcome(SELF_SIGNED, trusted, "mirror.lab", IN_2030);
        let late = outcome(SELF_SIGNED, trusted, "proxy.lab", IN_2130);
        assert_eq!([other, late], [Some(Outcome::TlsOther); 2]);
    }

    #[test]
    fn an_authority_below_another_is_not_judged() {
        let outcome = outcome(ISSUED, &[AUTHORITY], "proxy.lab", IN_2030);
        assert_eq!(outcome, Some(Outcome::Unknown));
    }
}
