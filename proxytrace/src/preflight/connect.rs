//! A connection: name, TCP, forward proxy, TLS, each with its time and its own way to fail.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::client::ResolvesClientCert;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

use super::address::Address;
use super::failure::Failure;
use super::trust::Roots;
use crate::model::Outcome;

/// `net/http.DefaultTransport`: `Dialer.Timeout` and `TLSHandshakeTimeout`.
const DIAL: Duration = Duration::from_secs(30);
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long the addresses of one family are tried before the other's as well (RFC 6555;
/// `net.Dialer.FallbackDelay`).
const FALLBACK: Duration = Duration::from_millis(300);
/// The least that an address is given, as long as there is that much (`net.partialDeadline`).
const LEAST: Duration = Duration::from_secs(2);

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What TLS is made with.
pub(super) struct Tls {
    roots: Arc<Roots>,
}

/// TLS on a connection.
pub(super) struct Secured {
    pub(super) stream: Box<dyn Stream>,
    /// `TLS 1.3`.
    pub(super) version: Option<String>,
    /// What was agreed upon (ALPN).
    pub(super) protocol: Option<String>,
}

/// Whether the server asked for a certificate of the client.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked(Arc<AtomicBool>);

impl Asked {
    pub(super) fn yes(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl ResolvesClientCert for Asked {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.store(true, Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The addresses of a host, in the order to try them.
pub(super) async fn resolve(
    host: &str,
    port: u16,
    limit: Duration,
) -> Result<Vec<SocketAddr>, Failure> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![(address, port).into()]);
    }
    let name = host.to_owned();
    let lookup = tokio::task::spawn_blocking(move || {
        let hints = dns_lookup::AddrInfoHints { socktype: libc::SOCK_STREAM, ..Default::default() };
        let found = dns_lookup::getaddrinfo(Some(&name), None, Some(hints));
        found.map(|found| found.flatten().map(|info| info.sockaddr.ip()).collect::<Vec<_>>())
    });
    match timeout(limit.min(DIAL), lookup).await {
        Ok(Ok(Ok(addresses))) if !addresses.is_empty() => {
            Ok(addresses.into_iter().map(|address| (address, port).into()).collect())
        }
        Ok(Ok(Err(error))) => Err(Failure::of_name(&error)),
        Ok(_) => Err(Failure::new(Outcome::Dns)),
        Err(_) => {
            Err(Failure::because(Outcome::Dns, "has no address: the name server did not answer"))
        }
    }
}

/// Connects to the first address that answers, as Go does: the family of the first address has a
/// start over the other (`net.sysDialer.dialParallel`).
pub(super) async fn connect(
    addresses: &[SocketAddr],
    limit: Duration,
) -> Result<TcpStream, Failure> {
    let first_family = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (primary, fallback): (Vec<SocketAddr>, Vec<SocketAddr>) =
        addresses.iter().partition(|address| address.is_ipv4() == first_family);
    let end = Instant::now() + limit.min(DIAL);
    let dialled = async {
        if fallback.is_empty() {
            return one_of(&primary, end).await;
        }
        let mut first = std::pin::pin!(one_of(&primary, end));
        // Whoever fails first starts the other at once.
        let early = timeout(FALLBACK, first.as_mut()).await;
        match early {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => one_of(&fallback, end).await.map_err(|_| error),
            Err(_) => either(first, one_of(&fallback, end)).await,
        }
    };
    match timeout(limit.min(DIAL), dialled).await {
        Ok(result) => result.map_err(|error| Failure::of_connect(&error)),
        Err(_) => Err(Failure::new(Outcome::ConnectTimeout)),
    }
}

/// One address after the other, each with its part of the time that is left
/// (`net.partialDeadline`).
async fn one_of(addresses: &[SocketAddr], end: Instant) -> io::Result<TcpStream> {
    let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
    let remaining = (1..=u32::try_from(addresses.len()).unwrap_or(u32::MAX)).rev();
    for (place, (address, remaining)) in addresses.iter().zip(remaining).enumerate() {
        let left = end.saturating_duration_since(Instant::now());
        let part = (left / remaining).max(LEAST).min(left);
        let tried = timeout(part, TcpStream::connect(address)).await;
        match tried.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => return Ok(stream),
            Err(error) if place == 0 => failed = error,
            Err(_) => {}
        }
    }
    Err(failed)
}

/// The first of two dials that succeeds; the error of the first one if none does.
async fn either(
    mut first: std::pin::Pin<&mut impl Future<Output = io::Result<TcpStream>>>,
    second: impl Future<Output = io::Result<TcpStream>>,
) -> io::Result<TcpStream> {
    let mut second = std::pin::pin!(second);
    let (mut one, mut other) = (None, None);
    std::future::poll_fn(|context| {
        if one.is_none()
            && let std::task::Poll::Ready(result) = first.as_mut().poll(context)
        {
            one = Some(result);
        }
        if other.is_none()
            && let std::task::Poll::Ready(result) = second.as_mut().poll(context)
        {
            other = Some(result);
        }
        match (one.take(), other.take()) {
            (Some(Ok(stream)), _) | (_, Some(Ok(stream))) => std::task::Poll::Ready(Ok(stream)),
            (Some(Err(error)), Some(Err(_))) => std::task::Poll::Ready(Err(error)),
            (left, right) => {
                (one, other) = (left, right);
                std::task::Poll::Pending
            }
        }
    })
    .await
}

impl Tls {
    pub(super) fn new(roots: RootCertStore) -> Self {
        Self { roots: Arc::new(Roots::new(roots)) }
    }

    /// TLS with `url`'s host over `stream`; `asked` is told if it asks for a certificate.
    pub(super) async fn secure(
        &self,
        url: &Address,
        stream: Box<dyn Stream>,
        protocols: &[&[u8]],
        limit: Duration,
        asked: &Asked,
    ) -> Result<Secured, Failure> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::new(Outcome::TlsOther).detailed(error))?
            .dangerous()
            .with_custom_certificate_verifier(self.roots.clone())
            .with_client_cert_resolver(Arc::new(asked.clone()));
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from(url.host.clone())
            .map_err(|error| Failure::new(Outcome::TlsOther).detailed(error))?;
        let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let stream = match timeout(limit.min(HANDSHAKE), handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(Failure::of_handshake(&error, asked.yes())),
            Err(_) => {
                // As of go where it had as long as there; how long it had else says nothing of it.
                let reason = if limit >= HANDSHAKE {
                    "did not answer the TLS handshake in 10 seconds"
                } else {
                    "did not answer the TLS handshake in the time that was left"
                };
                return Err(Failure::because(Outcome::TlsOther, reason));
            }
        };
        let session = stream.get_ref().1;
        let version = session.protocol_version().and_then(|version| version.as_str());
        let protocol = session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into());
        Ok(Secured {
            version: version.map(|version| version.replace("TLSv1_", "TLS 1.")),
            protocol,
            stream: Box::new(stream),
        })
    }
}

/// How long to wait between two tries.
pub(super) async fn pause(failures: u32) {
    sleep(Duration::from_millis(300) * failures.min(10)).await;
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::net::TcpSocket;

    use super::*;

    /// The first address of a host is behind something that drops every packet.
    #[test]
    fn an_address_that_does_not_answer_leaves_time_for_the_next() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let full = TcpSocket::new_v4().unwrap();
            full.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let full = full.listen(1).unwrap();
            let silent = full.local_addr().unwrap();
            // Whoever comes when its queue is full gets no answer.
            let mut queued = Vec::new();
            while let Ok(Ok(stream)) =
                timeout(Duration::from_millis(300), TcpStream::connect(silent)).await
            {
                queued.push(stream);
            }
            let well = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let answers = well.local_addr().unwrap();
            let limit = Duration::from_secs(6);
            let (began, peer) = (Instant::now(), connect(&[silent, answers], limit).await);
            assert_eq!(peer.ok().and_then(|stream| stream.peer_addr().ok()), Some(answers));
            assert!(began.elapsed() >= LEAST, "{:?}", began.elapsed());
            // Alone it has all the time, and what is told of it stays the same.
            let failure = connect(&[silent], Duration::from_millis(500)).await.err().unwrap();
            assert_eq!(failure.outcome, Outcome::ConnectTimeout);
            let failure = connect(&[silent, silent], LEAST * 2).await.err().unwrap();
            assert_eq!(failure.outcome, Outcome::ConnectTimeout);
        });
    }
}
