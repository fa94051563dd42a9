//! The virtual servers: each answers by its rules and logs what it was asked.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{HOST, HeaderName, LOCATION, REFERER, USER_AGENT};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use crate::log::{Entry, Log};
use crate::scenario::{Action, Host, Protocol};

/// A certificate authority for one lab, and the identity that it gave to all hosts together.
pub(crate) struct Authority {
    /// What a client has to trust.
    pub(crate) pem: String,
    identity: Arc<ServerConfig>,
}

impl Authority {
    /// Makes one for these host names.
    pub(crate) fn new(names: Vec<String>) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(names)?.signed_by(&key, &issuer)?;
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let identity = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        Ok(Self { pem: issuer.pem(), identity: Arc::new(identity) })
    }

    fn acceptor(&self, protocols: &[&[u8]]) -> TlsAcceptor {
        let mut config = ServerConfig::clone(&self.identity);
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Arc::new(config).into()
    }
}

/// A host on the air.
pub(crate) struct Server {
    host: &'static Host,
    tls: Option<TlsAcceptor>,
    files: Arc<HashMap<String, Bytes>>,
    log: Log,
}

impl Server {
    /// Binds the host's port at `address` and serves from a task of the current runtime.
    pub(crate) async fn start(
        host: &'static Host,
        address: IpAddr,
        authority: &Authority,
        files: Arc<HashMap<String, Bytes>>,
        log: Log,
    ) -> Result<()> {
        let (port, tls) = match host.protocol {
            Protocol::H2 => (443, Some(authority.acceptor(&[b"h2", b"http/1.1"]))),
            Protocol::H1 => (443, Some(authority.acceptor(&[b"http/1.1"]))),
            Protocol::Plain => (80, None),
        };
        let listener = TcpListener::bind((address, port))
            .await
            .with_context(|| format!("cannot listen as {} on {address}:{port}", host.name))?;
        let server = Arc::new(Self { host, tls, files, log });
        tokio::spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                tokio::spawn(Arc::clone(&server).connection(stream, peer));
            }
        });
        Ok(())
    }

    /// Serves one connection to its end. How it ends is the client's business.
    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        // An answer must not wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        match &self.tls {
            None => self.http(stream, peer, false).await,
            Some(tls) => {
                if let Ok(stream) = tls.accept(stream).await {
                    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    self.http(stream, peer, h2).await;
                }
            }
        }
    }

    async fn http<S>(&self, stream: S, peer: SocketAddr, h2: bool)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let earlier = AtomicUsize::new(0);
        let service = service_fn(|request| {
            let reused = earlier.fetch_add(1, Ordering::Relaxed) > 0;
            let answer = self.receive(&request, peer, reused);
            async move {
                let (wait, answer) = answer;
                sleep(wait).await;
                answer
            }
        });
        let io = TokioIo::new(stream);
        let _ = if h2 {
            http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await
        } else {
            http1::Builder::new().serve_connection(io, service).await
        };
    }

    /// Answers a request and logs both.
    fn receive(
        &self,
        request: &Request<Incoming>,
        peer: SocketAddr,
        reused: bool,
    ) -> (Duration, Result<Response<Full<Bytes>>, Closed>) {
        let header = |name: HeaderName| {
            let value = request.headers().get(name)?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let uri = request.uri();
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        // HTTP/2 has the authority in the URI, HTTP/1.1 in a header.
        let authority = uri.authority().map(ToString::to_string).or_else(|| header(HOST));
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let (wait, answer) = self.answer(path, reused);
        let location = answer.as_ref().ok().and_then(|answer| answer.headers().get(LOCATION));
        self.log.push(Entry {
            sequence: 0,
            host: self.host.name,
            scheme,
            protocol: format!("{:?}", request.version()),
            method: request.method().to_string(),
            url: format!("{scheme}://{}{path}", authority.unwrap_or_default()),
            status: answer.as_ref().ok().map(|answer| answer.status().as_u16()),
            location: location.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
            peer,
            user_agent: header(USER_AGENT),
            referer: header(REFERER),
        });
        (wait, answer)
    }

    /// How long to wait, and what then to answer.
    fn answer(
        &self,
        path: &str,
        reused: bool,
    ) -> (Duration, Result<Response<Full<Bytes>>, Closed>) {
        let rule = self.host.rules.iter().find(|rule| rule.matches(path));
        let answer = match rule.map_or(&Action::Status(404, &[]), |rule| &rule.action) {
            Action::Close => return (Duration::ZERO, Err(Closed)),
            Action::Hang(milliseconds) => {
                return (Duration::from_millis(*milliseconds), Err(Closed));
            }
            Action::ServeOncePerConnection if reused => return (Duration::ZERO, Err(Closed)),
            Action::Serve | Action::ServeOncePerConnection => match file(&self.files, path) {
                Some(content) => respond(200, &[], content),
                None => respond(404, &[], "not found: no such module\n"),
            },
            Action::Status(status, headers) => {
                respond(*status, headers, format!("{} answers {status}\n", self.host.name))
            }
            Action::Redirect(status, location) => {
                respond(*status, &[("Location", &location.replace("{path}", path))], "")
            }
            Action::GoImport(proxy) => {
                let module =
                    format!("{}{}", self.host.name, path.split('?').next().unwrap_or(path));
                let meta = format!(r#"<meta name="go-import" content="{module} mod {proxy}">"#);
                respond(200, &[HTML], format!("<!DOCTYPE html>\n<head>{meta}</head>\n"))
            }
            Action::Html => respond(200, &[HTML], "<!DOCTYPE html>\n<title>Sign in</title>\n"),
        };
        (Duration::ZERO, Ok(answer))
    }
}

const HTML: (&str, &str) = ("Content-Type", "text/html; charset=utf-8");

/// Headers are those of the table, or host names and paths that were received: always valid.
fn respond(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    headers
        .iter()
        .fold(Response::builder().status(status), |response, (name, value)| {
            response.header(*name, *value)
        })
        .header("Server", "lab")
        .body(Full::new(body.into()))
        .expect("a valid status and valid headers")
}

/// The file that a path ends in, wherever the root of the proxy is.
fn file(files: &HashMap<String, Bytes>, path: &str) -> Option<Bytes> {
    // The go command writes the `!` of case-encoding like this, and nothing else.
    let path = path.split('?').next()?.replace("%21", "!");
    path.match_indices('/').find_map(|(slash, _)| files.get(&path[slash + 1..])).cloned()
}

/// There is no answer; hyper closes the connection, or resets the stream, for it.
#[derive(Debug)]
struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("closed on purpose")
    }
}

impl std::error::Error for Closed {}
