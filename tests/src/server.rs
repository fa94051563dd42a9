//! The virtual servers: each answers by its rules and logs what it was asked.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::pending;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{self, Poll};
use std::time::Duration;
use std::{fmt, io};

use anyhow::{Context, Result};
use bytes::Bytes;
use h2::Reason;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::header::{AUTHORIZATION, HOST, HeaderName, LOCATION, REFERER, USER_AGENT};
use hyper::http::response::Builder;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use crate::forward::{self, Forward};
use crate::log::{Accepted, Entry, Log};
use crate::scenario::{Action, Host, Protocol, Trouble};

/// A certificate authority for one lab.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    provider: Arc<CryptoProvider>,
}

impl Authority {
    /// Makes one.
    pub(crate) fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        Ok(Self { issuer, provider: Arc::new(ring::default_provider()) })
    }

    /// What a client has to trust.
    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// The identity for servers that are not ours, certificate and key, under all these names.
    pub(crate) fn identity_pem(&self, names: Vec<String>) -> Result<String> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(names)?.signed_by(&key, &self.issuer)?;
        Ok(certificate.pem() + &key.serialize_pem())
    }

    /// TLS for a host that speaks these protocols, with what is wrong with it.
    fn acceptor(&self, host: &Host, protocols: &[&[u8]]) -> Result<TlsAcceptor> {
        let name = if host.trouble == Some(Trouble::WrongName) { "other.lab" } else { host.name };
        let mut params = CertificateParams::new([name.to_owned()])?;
        if host.trouble == Some(Trouble::Expired) {
            params.not_after = date_time_ymd(2020, 1, 1);
        }
        let key = KeyPair::generate()?;
        let certificate = match host.trouble {
            Some(Trouble::UnknownAuthority) => params.signed_by(&key, &Self::new()?.issuer)?,
            _ => params.signed_by(&key, &self.issuer)?,
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?;
        let wants = host.trouble == Some(Trouble::WantsCertificate);
        let builder = if wants || host.trouble == Some(Trouble::TakesCertificate) {
            let mut roots = RootCertStore::empty();
            roots.add(self.issuer.der().clone())?;
            let (roots, provider) = (Arc::new(roots), Arc::clone(&self.provider));
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            let verifier = if wants { verifier } else { verifier.allow_unauthenticated() };
            builder.with_client_cert_verifier(verifier.build()?)
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let mut config = builder.with_single_cert(vec![certificate.der().clone()], key)?;
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(Arc::new(config).into())
    }
}

/// A host on the air.
pub(crate) struct Server {
    host: &'static Host,
    tls: Option<TlsAcceptor>,
    files: Arc<HashMap<String, Bytes>>,
    /// The paths that were asked for.
    asked: Mutex<HashSet<String>>,
    log: Log,
}

impl Server {
    /// Binds the host's port at `address` and serves from a task of the current runtime. A host
    /// without a route to it is not there.
    pub(crate) async fn start(
        host: &'static Host,
        addresses: &Arc<BTreeMap<&'static str, Ipv4Addr>>,
        authority: &Authority,
        files: Arc<HashMap<String, Bytes>>,
        log: Log,
    ) -> Result<()> {
        let protocols: &[&[u8]] = match host.protocol {
            Protocol::H2 | Protocol::H2At8443 => &[b"h2", b"http/1.1"],
            Protocol::H1 | Protocol::Plain | Protocol::Forward => &[b"http/1.1"],
            Protocol::Other => return Ok(()),
        };
        let address = addresses[host.name];
        let (port, secure) = match host.protocol {
            Protocol::Plain => (80, false),
            Protocol::Forward => (forward::PORT, false),
            Protocol::H2At8443 => (8443, true),
            _ => (443, true),
        };
        let tls = secure && host.trouble != Some(Trouble::NoTls);
        let tls = tls.then(|| authority.acceptor(host, protocols)).transpose()?;
        let on = || format!("cannot listen as {} on {address}:{port}", host.name);
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind((address, port).into()).with_context(on)?;
        match host.trouble {
            Some(Trouble::NoRoute) => return Ok(()),
            Some(Trouble::Deaf) => return deafen(socket).await.with_context(on),
            _ => {}
        }
        let listener = socket.listen(1024).with_context(on)?;
        if host.protocol == Protocol::Forward {
            serve_forward(listener, Forward { host, addresses: Arc::clone(addresses), log });
            return Ok(());
        }
        if host.trouble == Some(Trouble::SilentIpv6) {
            let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await;
            stay_silent(listener.context("cannot listen over IPv6")?, host.name, log.clone());
        }
        let server = Arc::new(Self { host, tls, files, asked: Mutex::default(), log });
        tokio::spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                server.log.accept(Accepted { host: host.name, peer });
                tokio::spawn(Arc::clone(&server).connection(stream, peer));
            }
        });
        Ok(())
    }

    /// Serves one connection to its end. How it ends is the client's business.
    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        // An answer must not wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        match self.host.trouble {
            Some(Trouble::Silent) => return hold(stream).await,
            Some(Trouble::Resets) => _ = stream.set_zero_linger(),
            _ => {}
        }
        match &self.tls {
            None => self.http(stream, peer, false).await,
            Some(tls) => {
                match tls.accept(stream).into_fallible().await {
                    Ok(stream) => {
                        let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                        self.http(stream, peer, h2).await;
                    }
                    // To close what has not been read would reset the connection, and the client
                    // might never read the alert.
                    Err((_, mut stream)) => {
                        let _ = stream.shutdown().await;
                        hold(stream).await;
                    }
                }
            }
        }
    }

    async fn http<S>(&self, stream: S, peer: SocketAddr, h2: bool)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let earlier = AtomicUsize::new(0);
        let retire = Notify::new();
        let service = service_fn(|request| {
            let reused = earlier.fetch_add(1, Ordering::Relaxed) > 0;
            let answer = self.receive(&request, peer, reused, &retire);
            async move {
                let (wait, answer) = answer;
                // Sleeping for no time at all takes a tick of the timer, a millisecond a request.
                if !wait.is_zero() {
                    sleep(wait).await;
                }
                answer
            }
        });
        let io = TokioIo::new(stream);
        if !h2 {
            let _ = http1::Builder::new().serve_connection(io, service).await;
            return;
        }
        let serve = http2::Builder::new(TokioExecutor::new()).serve_connection(io, service);
        let mut serve = pin!(serve);
        tokio::select! {
            _ = serve.as_mut() => {}
            () = retire.notified() => {
                serve.as_mut().graceful_shutdown();
                let _ = serve.await;
            }
        }
    }

    /// Answers a request and logs both.
    fn receive(
        &self,
        request: &Request<Incoming>,
        peer: SocketAddr,
        reused: bool,
        retire: &Notify,
    ) -> (Duration, Result<Response<Body>, Closed>) {
        let header = |name: HeaderName| {
            let value = request.headers().get(name)?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let uri = request.uri();
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        // HTTP/2 has the authority in the URI, HTTP/1.1 in a header.
        let authority = uri.authority().map(ToString::to_string).or_else(|| header(HOST));
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let known = header(AUTHORIZATION).as_deref() == Some(USER);
        let rule = self.host.rules.iter().find(|rule| rule.matches(path));
        let action = rule.map_or(&Action::Status(404, &[]), |rule| &rule.action);
        let (wait, answer) = self.answer(action, path, (reused, known), retire);
        let location = answer.as_ref().ok().and_then(|answer| answer.headers().get(LOCATION));
        // An empty one is none to go.
        let location = location.filter(|value| !value.is_empty());
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

    fn go_import(&self, path: &str, kind: &str, root: &str) -> Response<Body> {
        let module = format!("{}{}", self.host.name, path.split('?').next().unwrap_or(path));
        let meta = format!(r#"<meta name="go-import" content="{module} {kind} {root}">"#);
        respond(200, &[HTML], format!("<!DOCTYPE html>\n<head>{meta}</head>\n"))
    }

    /// How long to wait, and what then to answer: to a connection that has been used before or not,
    /// to a user who is known or not.
    fn answer(
        &self,
        action: &Action,
        path: &str,
        (reused, known): (bool, bool),
        retire: &Notify,
    ) -> (Duration, Result<Response<Body>, Closed>) {
        let answer = match action {
            Action::First(first) => {
                let again = !self.asked.lock().expect("no panic while locked").insert(path.into());
                let action = if again { &Action::Serve } else { *first };
                return self.answer(action, path, (reused, known), retire);
            }
            Action::Slow(milliseconds) => {
                let (_, answer) = self.answer(&Action::Serve, path, (reused, known), retire);
                return (Duration::from_millis(*milliseconds), answer);
            }
            Action::ServeUser if known => {
                return self.answer(&Action::Serve, path, (reused, known), retire);
            }
            Action::ServeUser => {
                respond(401, &[("WWW-Authenticate", "Basic realm=\"lab\"")], "who are you?\n")
            }
            Action::Gzip => match file(&self.files, path) {
                Some(content) => respond(200, &[("Content-Encoding", "gzip")], gzip(&content)),
                None => respond(404, &[], "not found: no such module\n"),
            },
            Action::Body(headers, body) => respond(200, headers, *body),
            Action::Page(status, headers) => {
                let headers: Vec<_> = headers.iter().copied().chain([HTML]).collect();
                respond(*status, &headers, PAGE)
            }
            Action::Forward => respond(400, &[], "this is no forward proxy\n"),
            Action::Close => return (Duration::ZERO, Err(Closed(None))),
            Action::Refuse => {
                return (Duration::ZERO, Err(Closed(Some(Reason::REFUSED_STREAM.into()))));
            }
            Action::Hang(milliseconds) => {
                return (Duration::from_millis(*milliseconds), Err(Closed(None)));
            }
            Action::ServeOncePerConnection if reused => return (Duration::ZERO, Err(Closed(None))),
            Action::Truncate => match file(&self.files, path) {
                Some(content) => truncated(&content, &[]),
                None => return (Duration::ZERO, Err(Closed(None))),
            },
            Action::TruncateGzip => match file(&self.files, path) {
                Some(content) => truncated(&gzip(&content), &[("Content-Encoding", "gzip")]),
                None => return (Duration::ZERO, Err(Closed(None))),
            },
            serve @ (Action::Serve | Action::ServeOncePerConnection | Action::ServeLast) => {
                if matches!(serve, Action::ServeLast) {
                    retire.notify_one();
                }
                match file(&self.files, path) {
                    Some(content) => respond(200, &[], content),
                    None => respond(404, &[], "not found: no such module\n"),
                }
            }
            Action::Status(status, headers) => {
                respond(*status, headers, format!("{} answers {status}\n", self.host.name))
            }
            Action::Redirect(status, location) => {
                respond(*status, &[("Location", &location.replace("{path}", path))], "")
            }
            Action::GoImport(proxy) => self.go_import(path, "mod", proxy),
            Action::GoImportGit(repository) => self.go_import(path, "git", repository),
            Action::Html => respond(200, &[HTML], PAGE),
        };
        (Duration::ZERO, Ok(answer))
    }
}

/// `user:secret`.
const USER: &str = "Basic dXNlcjpzZWNyZXQ=";
const PAGE: &str = "<!DOCTYPE html>\n<title>Sign in</title>\n";
const HTML: (&str, &str) = ("Content-Type", "text/html; charset=utf-8");

/// Headers are those of the table, or host names and paths that were received: always valid.
fn respond(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Response<Body> {
    head(status, headers).body(whole(body.into())).expect("a valid status and valid headers")
}

/// RFC 1952, in blocks that are stored as they are.
fn gzip(content: &[u8]) -> Bytes {
    let mut whole = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    // Of nothing there is one block, too.
    let blocks = content.chunks(usize::from(u16::MAX)).chain(content.is_empty().then_some(content));
    for (place, block) in blocks.enumerate() {
        let last = (place + 1) * usize::from(u16::MAX) >= content.len();
        let length = u16::try_from(block.len()).expect("a block of 16 bits");
        whole.push(u8::from(last));
        whole.extend(length.to_le_bytes());
        whole.extend((!length).to_le_bytes());
        whole.extend(block);
    }
    whole.extend(crc32(content).to_le_bytes());
    whole.extend(u32::try_from(content.len()).expect("a small file").to_le_bytes());
    whole.into()
}

fn crc32(content: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !content.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc)))
}

fn whole(content: Bytes) -> Body {
    Body { piece: (!content.is_empty()).then_some(content), end: End::Clean }
}

/// Half of the content, announced as the whole.
fn truncated(content: &Bytes, headers: &[(&str, &str)]) -> Response<Body> {
    let length = content.len().to_string();
    head(200, headers)
        .header("Content-Length", length)
        .body(Body { piece: Some(content.slice(..content.len() / 2)), end: End::BreakLater })
        .expect("a valid length")
}

fn head(status: u16, headers: &[(&str, &str)]) -> Builder {
    headers
        .iter()
        .fold(Response::builder().status(status), |response, (name, value)| {
            response.header(*name, *value)
        })
        .header("Server", "lab")
}

/// A body of one piece, after which it ends or breaks off.
struct Body {
    piece: Option<Bytes>,
    end: End,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum End {
    Clean,
    /// It breaks off once the piece has been sent: hyper sends when there is nothing to wait for.
    BreakLater,
    Break,
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        if let Some(piece) = self.piece.take() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match self.end {
            End::Clean => Poll::Ready(None),
            End::Break => Poll::Ready(Some(Err(Closed(None)))),
            End::BreakLater => {
                self.end = End::Break;
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.piece.is_none() && self.end == End::Clean
    }

    fn size_hint(&self) -> SizeHint {
        match self.end {
            End::Clean => SizeHint::with_exact(self.piece.as_ref().map_or(0, Bytes::len) as u64),
            _ => SizeHint::default(),
        }
    }
}

fn serve_forward(listener: TcpListener, forward: Forward) {
    let forward = Arc::new(forward);
    tokio::spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            forward.log.accept(Accepted { host: forward.host.name, peer });
            let forward = Arc::clone(&forward);
            // How it ends is the client's business.
            tokio::spawn(async move { drop(forward.serve(stream, peer).await) });
        }
    });
}

fn stay_silent(listener: TcpListener, host: &'static str, log: Log) {
    tokio::spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            log.accept(Accepted { host, peer });
            tokio::spawn(hold(stream));
        }
    });
}

/// Keeps a connection open, until the other side closes it.
async fn hold(mut stream: TcpStream) {
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
}

/// Listens with no room for a second connection, and fills the room: the kernel ignores every
/// further SYN.
async fn deafen(socket: TcpSocket) -> io::Result<()> {
    let listener = socket.listen(0)?;
    let first = TcpStream::connect(listener.local_addr()?).await?;
    tokio::spawn(async move {
        let _kept = (listener, first);
        pending::<()>().await;
    });
    Ok(())
}

/// The file that a path ends in, wherever the root of the proxy is.
fn file(files: &HashMap<String, Bytes>, path: &str) -> Option<Bytes> {
    // The go command writes the `!` of case-encoding like this, and nothing else.
    let path = path.split('?').next()?.replace("%21", "!");
    path.match_indices('/').find_map(|(slash, _)| files.get(&path[slash + 1..])).cloned()
}

/// There is no answer; hyper closes the connection, or resets the stream, for it, with the reason of
/// the error that is in it.
#[derive(Debug)]
struct Closed(Option<h2::Error>);

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("closed on purpose")
    }
}

impl std::error::Error for Closed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.as_ref().map(|error| error as _)
    }
}
