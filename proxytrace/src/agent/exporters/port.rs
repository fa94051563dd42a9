//! The port that Prometheus asks.
//!
//! Whoever can reach it must not make it allocate or hang: heads are small and come soon, bodies are
//! not read, connections are few and end. All metrics are written out once a second at most, however
//! many ask, and there are two such pages at most, however slowly they are read.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use ring::digest::{Digest, SHA256, digest};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::options::Options;
use super::shared::Shared;
use crate::export::prometheus;

/// Connections at a time. For one more the oldest has to go, whatever it does, as soon as it has had
/// its time: so many have their turn in that, in order, however many ask and however little they say.
const CONNECTIONS: usize = 32;
/// See [`CONNECTIONS`]: on the same machine or one near it, enough to ask for the page and to read it.
const TURN: Duration = Duration::from_millis(250);
/// A handshake, and the head of a request, may take so long.
const HEAD: Duration = Duration::from_secs(5);
/// A connection takes no other request when it has lasted so long.
const LIFE: Duration = Duration::from_secs(5);
/// The last answer has to be read within this time: Prometheus waits no longer itself.
const LAST: Duration = Duration::from_secs(10);
/// A head may be so long, in bytes (the least that hyper allows), and have so many fields.
const HEAD_BYTES: usize = 8_192;
const HEAD_FIELDS: usize = 64;
/// What was written out is good for so long.
const FRESH: Duration = Duration::from_secs(1);
/// A token is no shorter, in bytes: it stands against guessing.
const TOKEN: usize = 16;

/// Where the port is to be, and who may ask: what is in files has been read.
#[derive(Clone)]
pub(super) struct Access {
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    token: Option<Digest>,
}

/// The port, open from the start.
pub(super) struct Port {
    listener: std::net::TcpListener,
    address: SocketAddr,
    access: Access,
}

impl Access {
    /// Whether the options go together, if a port is wanted, whatever is in their files.
    pub(super) fn check(options: &Options) -> anyhow::Result<()> {
        let Some(address) = options.listen() else { return Ok(()) };
        let has_certificate = options.metrics_certificate.is_some();
        ensure!(
            has_certificate == options.metrics_key.is_some(),
            "--metrics-certificate and --metrics-key go together; give both"
        );
        ensure!(
            address.ip().is_loopback() || (has_certificate && options.metrics_token.is_some()),
            "{address} can be reached from elsewhere: give --metrics-certificate, --metrics-key and \
             --metrics-token, or an address of this host alone such as 127.0.0.1:{}",
            address.port(),
        );
        Ok(())
    }

    /// As the options have it, if a port is wanted.
    pub(super) fn read(options: &Options) -> anyhow::Result<Option<Self>> {
        Self::check(options)?;
        let Some(address) = options.listen() else { return Ok(None) };
        let pair = options.metrics_certificate.as_deref().zip(options.metrics_key.as_deref());
        let tls = pair.map(|(certificate, key)| tls(certificate, key)).transpose()?;
        let token = options.metrics_token.as_deref().map(token).transpose()?;
        Ok(Some(Access { address, tls, token }))
    }
}

impl Port {
    /// Opens it.
    pub(super) fn open(access: &Access) -> anyhow::Result<Self> {
        let listener = std::net::TcpListener::bind(access.address).with_context(|| {
            format!("cannot serve metrics at {}; name another --metrics", access.address)
        })?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Port { listener, address, access: access.clone() })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers, for ever.
    pub(super) async fn serve(self, shared: Arc<Shared>) -> io::Result<Infallible> {
        let listener = TcpListener::from_std(self.listener)?;
        let mut connections = Connections::default();
        let Access { tls, token, .. } = self.access;
        let page = Arc::new(Page { shared, token, written: std::sync::Mutex::default() });
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // No descriptor is free, most likely: that passes.
                sleep(Duration::from_millis(100)).await;
                continue;
            };
            connections.make_room().await;
            let (tls, page) = (tls.clone(), Arc::clone(&page));
            connections.add(tokio::spawn(async move {
                match tls {
                    Some(tls) => {
                        if let Ok(Ok(stream)) = timeout(HEAD, tls.accept(stream)).await {
                            converse(stream, page).await;
                        }
                    }
                    None => converse(stream, page).await,
                }
            }));
        }
    }
}

/// Those that are open, the oldest first, and since when.
#[derive(Default)]
struct Connections(VecDeque<(Instant, JoinHandle<()>)>);

impl Connections {
    /// Waits until there may be one more.
    async fn make_room(&mut self) {
        self.0.retain(|(_, connection)| !connection.is_finished());
        while self.0.len() >= CONNECTIONS
            && let Some((since, mut oldest)) = self.0.pop_front()
        {
            // It may end by itself.
            if timeout(TURN.saturating_sub(since.elapsed()), &mut oldest).await.is_err() {
                oldest.abort();
            }
        }
    }

    fn add(&mut self, connection: JoinHandle<()>) {
        self.0.push_back((Instant::now(), connection));
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, page: Arc<Page>) {
    let answer = service_fn(move |request| {
        let page = Arc::clone(&page);
        async move { Ok::<_, Infallible>(page.answer(&request)) }
    });
    let mut connection = http1::Builder::new();
    connection.timer(TokioTimer::new()).header_read_timeout(HEAD);
    connection.max_buf_size(HEAD_BYTES).max_headers(HEAD_FIELDS);
    let mut connection = pin!(connection.serve_connection(TokioIo::new(stream), answer));
    // How it ends is the business of whoever asked.
    if timeout(LIFE, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(LAST, connection).await;
    }
}

struct Page {
    shared: Arc<Shared>,
    token: Option<Digest>,
    written: std::sync::Mutex<Option<Written>>,
}

/// All metrics, as of then.
struct Written {
    at: Instant,
    text: Bytes,
    /// What was written before, if somebody still reads it.
    before: Option<Bytes>,
}

impl Page {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !self.may_ask(request) {
            let mut answer = said(StatusCode::UNAUTHORIZED, "a token is needed\n");
            answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return answer;
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return said(StatusCode::METHOD_NOT_ALLOWED, "GET alone\n");
        }
        match request.uri().path() {
            "/metrics" => {
                let mut answer = Response::new(Full::new(self.metrics()));
                let kind = HeaderValue::from_static(prometheus::CONTENT_TYPE);
                answer.headers_mut().insert(CONTENT_TYPE, kind);
                answer
            }
            "/" => said(StatusCode::OK, "proxytrace: /metrics\n"),
            _ => said(StatusCode::NOT_FOUND, "there is /metrics alone\n"),
        }
    }

    /// Digests are compared: how long that takes says nothing of the token.
    fn may_ask(&self, request: &Request<Incoming>) -> bool {
        let Some(token) = &self.token else { return true };
        let sent = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
        let sent = sent.and_then(|value| value.split_at_checked("Bearer ".len()));
        sent.is_some_and(|(scheme, sent)| {
            scheme.eq_ignore_ascii_case(b"Bearer ")
                && digest(&SHA256, sent).as_ref() == token.as_ref()
        })
    }

    /// While somebody still reads the page before the last one, there is no newer than the last.
    fn metrics(&self) -> Bytes {
        let is_read = |text: &Bytes| !text.is_unique();
        let mut written = super::ledger::lock(&self.written);
        if let Some(Written { at, text, before }) = &*written
            && (at.elapsed() < FRESH || before.as_ref().is_some_and(is_read))
        {
            return text.clone();
        }
        let before = written.take().map(|written| written.text).filter(is_read);
        let text = Bytes::from(self.shared.text());
        *written = Some(Written { at: Instant::now(), text: text.clone(), before });
        text
    }
}

fn said(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    answer
}

fn tls(certificate: &Path, key: &Path) -> anyhow::Result<TlsAcceptor> {
    let certificates = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("cannot read certificates from {}", certificate.display()))?;
    let secret = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("cannot read a private key from {}", key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, secret)
        .with_context(|| format!("{} does not go with {}", key.display(), certificate.display()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn token(path: &Path) -> anyhow::Result<Digest> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read a token from {}", path.display()))?;
    let token = text.trim();
    ensure!(token.len() >= TOKEN, "the token in {} is shorter than {TOKEN}", path.display());
    Ok(digest(&SHA256, token.as_bytes()))
}
