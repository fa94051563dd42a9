//! Asks as go asks: `net/http.Client` with the redirect rules of `cmd/go/internal/web`.
//!
//! Each request has a connection of its own: what is kept alive between them is of no interest
//! here. What go would do once more (GOAUTH after a 4xx) is left out: with netrc it changes no answer,
//! and where commands may change it, that is said.

mod body;
mod line;

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, HOST, LOCATION, PROXY_AUTHORIZATION, REFERER,
    USER_AGENT,
};
use hyper::{Method, Request as Ask, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::Semaphore;
use tokio::time::timeout;

pub(super) use self::body::Body;
use self::line::To;
use super::address::Address;
use super::connect::{Stream, Tls};
use super::failure::Failure;
use super::forward::Forward;
use crate::event::Headers;
use crate::model::{Cause, Connection, NameLookup, Outcome, Request, RequestId};
use crate::netrc;
use crate::public;
use crate::redact;
use crate::status;

/// After so many requests go gives up (`web/http.go:checkRedirect`).
const REDIRECTS: usize = 10;
/// So many sends at a time: about as many as go makes.
const AT_A_TIME: usize = 8;
/// No more of a body is kept, unless it is a zip; more is read and counted.
pub(super) const KEPT: usize = 1 << 20;
/// No more of a zip is kept, and the sum of a larger one is not known.
pub(super) const KEPT_ZIP: usize = 64 << 20;
/// The only coding of bodies that go asks for.
const GZIP: &[u8] = b"gzip";
/// No more of a body is read.
const READ: u64 = 512 << 20;
/// Whence go may have credentials that preflight lacks.
const COMMANDS: &str = "the commands of GOAUTH may have: preflight does not run them";
const NETRC: &str = "only some releases of go find in netrc: its line is for more than a host";
const BYTES: &str = "netrc has in bytes that are no UTF-8: preflight does not send them";

/// Everything that asking needs.
pub(super) struct Client {
    tls: Tls,
    forward: Forward,
    credentials: Credentials,
    /// For one step of one request.
    limit: Duration,
    /// For everything.
    end: Instant,
    book: Mutex<Book>,
    /// go keeps connections, and so resolves a name a few times at most.
    names: Mutex<HashMap<String, Vec<SocketAddr>>>,
    room: Semaphore,
    began: Instant,
}

/// What GOAUTH gives.
#[derive(Default)]
pub(super) struct Credentials {
    /// The text of the netrc file.
    pub(super) netrc: Option<String>,
    /// Whether there are commands as well, which are not run.
    pub(super) commands: bool,
    /// What is wrong with it, so that go ends for it.
    pub(super) fault: Option<&'static str>,
}

/// What was made on the way, for the trace.
#[derive(Default)]
pub(super) struct Book {
    requests: RequestId,
    pub(super) connections: Vec<Connection>,
    pub(super) lookups: Vec<NameLookup>,
}

/// One send: a request, and the redirects that it led through.
pub(super) struct Send {
    pub(super) requests: Vec<Request>,
    pub(super) outcome: Outcome,
    /// The body of the last response.
    pub(super) body: Body,
}

/// What one request came to.
struct Exchange {
    request: Request,
    tunnel: Option<Request>,
    location: Option<String>,
    body: Body,
}

impl Client {
    /// `limit` is for everything, `step` for one step of one request.
    pub(super) fn new(
        tls: Tls,
        forward: Forward,
        credentials: Credentials,
        (limit, step): (Duration, Duration),
    ) -> Self {
        let (book, names) = (Mutex::default(), Mutex::default());
        let (room, began) = (Semaphore::new(AT_A_TIME), Instant::now());
        let end = began + limit;
        Self { tls, forward, credentials, limit: step, end, book, names, room, began }
    }

    fn limit(&self) -> Duration {
        self.limit.min(self.end.saturating_duration_since(Instant::now()))
    }

    /// Whether the time for everything is over.
    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    /// Nanoseconds since the start.
    pub(super) fn now(&self) -> u64 {
        nanoseconds(self.began.elapsed())
    }

    /// What was made so far.
    pub(super) fn take_book(&self) -> Book {
        std::mem::take(&mut *self.book())
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn names(&self) -> std::sync::MutexGuard<'_, HashMap<String, Vec<SocketAddr>>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// GETs a URL, and keeps so many bytes of the body. The outcome is `unknown` where go might fare
    /// otherwise; what was asked last then says why.
    pub(super) async fn get(&self, url: &Address, kept: usize) -> Send {
        let mut send = self.follow(url, kept).await;
        if let Some(whence) = self.may_be_let_in(url, &send)
            && let Some(last) = send.requests.last_mut()
        {
            let reason = format!("wants credentials, which {whence}");
            send.outcome = Outcome::Unknown;
            last.error = Some(Failure::because(Outcome::Unknown, reason).error());
        }
        send
    }

    /// Whence go may have credentials before it believes this answer: from the commands of GOAUTH
    /// (`web/http.go:get`), or from netrc. Who is open to all wants none.
    fn may_be_let_in(&self, url: &Address, send: &Send) -> Option<&'static str> {
        let refused = match send.requests.last().and_then(|last| last.status) {
            Some(401 | 403) => true,
            // Of the checksum database nothing is hidden.
            Some(404) => is_of_module(url),
            _ => false,
        };
        let is_open = public::is_public(&url.authority());
        if !url.secure || !refused || is_open || !is_bare(&send.requests) {
            return None;
        }
        let text = self.credentials.netrc.as_deref().unwrap_or_default();
        let some = netrc::is_found_by_some(text, &(url.written.clone() + &url.path));
        let bytes = netrc::find(text, &url.written).as_ref().is_some_and(has_replaced);
        let whence = [(self.credentials.commands, COMMANDS), (some, NETRC), (bytes, BYTES)];
        whence.into_iter().find_map(|(may_be, whence)| may_be.then_some(whence))
    }

    /// The requests that a URL leads to; none where no time is left for the first.
    async fn follow(&self, url: &Address, kept: usize) -> Send {
        let (requests, outcome) = (Vec::new(), Outcome::Unknown);
        let mut send = Send { requests, outcome, body: Body::default() };
        // It is never closed.
        let _room = self.room.acquire().await;
        let (first, mut url) = (url.clone(), url.clone());
        let mut authorization = self.authorization(&url);
        let mut before: Option<(RequestId, Address)> = None;
        loop {
            if self.is_over() {
                send.outcome = Outcome::Unknown;
                return send;
            }
            let exchange =
                self.exchange(&url, before.as_ref(), authorization.as_deref(), kept).await;
            let Exchange { request, tunnel, location, body } = exchange;
            send.requests.extend(tunnel);
            send.outcome = request.outcome;
            send.body = body;
            let id = request.id;
            let redirect = request.status.is_some_and(status::redirects) && request.error.is_none();
            send.requests.push(request);
            let Some(location) = location.filter(|_| redirect) else { return send };
            let Some(next) = url.join(&location) else {
                send.outcome = Outcome::RedirectInvalid;
                return send;
            };
            let asked = send.requests.iter().filter(|r| r.cause != Cause::ConnectTunnel).count();
            if asked >= REDIRECTS {
                send.outcome = Outcome::RedirectLimit;
                return send;
            }
            if first.secure && !next.secure {
                send.outcome = Outcome::RedirectRefused;
                return send;
            }
            // Once dropped it stays so (`net/http/client.go:makeHeadersCopier`).
            if !within(&next.host, &first.host) {
                authorization = None;
            }
            before = Some((id, url));
            url = next;
        }
    }

    /// From netrc, for https alone.
    fn authorization(&self, url: &Address) -> Option<String> {
        let text =
            self.credentials.netrc.as_deref().filter(|_| url.secure && url.user.is_none())?;
        let found = netrc::find(text, &url.written).filter(|found| !has_replaced(found));
        let (name, password) = found?;
        Some(basic(name.as_bytes(), password.as_bytes()))
    }

    async fn exchange(
        &self,
        url: &Address,
        before: Option<&(RequestId, Address)>,
        authorization: Option<&str>,
        kept: usize,
    ) -> Exchange {
        let mut request = self.begin("GET", url.redacted(), url.authority(), Cause::Initial);
        if let Some((before, _)) = before {
            (request.cause, request.follows) = (Cause::Redirect, Some(*before));
        }
        let referer = before.map(|(_, address)| address.plain());
        let mut exchange =
            Exchange { request, tunnel: None, location: None, body: Body::default() };
        let late = self.limit() < self.limit / 2;
        let asking = self.ask(url, &mut exchange, authorization, (referer.as_deref(), kept));
        if let Err(failure) = asking.await {
            // Who had little of the time of a step has not failed.
            let failure = if late && self.is_over() {
                Failure::because(Outcome::Unknown, "had not answered when the time was over")
            } else {
                failure
            };
            let request = &mut exchange.request;
            (request.outcome, request.error) = (failure.outcome, Some(failure.error()));
            if request.duration_ns.is_none() {
                request.duration_ns = Some(self.now().saturating_sub(request.started_ns));
            }
        }
        exchange
    }

    fn begin(&self, method: &'static str, url: String, host: String, cause: Cause) -> Request {
        let mut book = self.book();
        book.requests += 1;
        let begun = Request::begun(book.requests, method.into(), url, host, self.now());
        Request { cause, outcome: Outcome::Unknown, ..begun }
    }

    async fn ask(
        &self,
        url: &Address,
        exchange: &mut Exchange,
        authorization: Option<&str>,
        (referer, kept): (Option<&str>, usize),
    ) -> Result<(), Failure> {
        let line = self.line(url, exchange).await?;
        exchange.tunnel = line.tunnel;
        let request = &mut exchange.request;
        request.connection = Some(line.id);
        request.remote_addr.clone_from(&line.remote);
        let credentials = match &line.to {
            To::Origin => None,
            To::Forward { credentials } => credentials.as_deref(),
        };
        let whole = line.h2 || matches!(line.to, To::Forward { .. });
        let target = if whole { url.plain() } else { url.path.clone() };
        let mut ask = Ask::builder().method(Method::GET).uri(target);
        if !line.h2 {
            ask = ask.header(HOST, url.authority());
        }
        // As go's transport, which unpacks what comes so.
        ask = ask.header(USER_AGENT, user_agent(line.h2)).header(ACCEPT_ENCODING, GZIP);
        let user = url.user.as_ref().map(|(name, password)| basic(name, password));
        for (name, value) in [
            (REFERER, referer),
            (AUTHORIZATION, user.as_deref().or(authorization)),
            (PROXY_AUTHORIZATION, credentials),
        ] {
            if let Some(value) = value {
                ask = ask.header(name, value);
            }
        }
        let carries = ask.headers_ref().is_some_and(|headers| headers.contains_key(AUTHORIZATION));
        let names = carries.then(|| "Authorization".to_owned());
        request.credentials = Some(names.into_iter().collect());
        let ask = ask.body(Empty::<Bytes>::new()).map_err(|error| {
            Failure::because(Outcome::BadContent, "has no valid URL").detailed(error)
        })?;
        request.sent_ns = Some(self.now());
        let response = match timeout(self.limit(), send(line.stream, line.h2, ask)).await {
            Ok(response) => response.map_err(|error| Failure::of_http(&error, Outcome::Reset))?,
            Err(_) => return Err(self.silent()),
        };
        self.read(exchange, response, kept).await
    }

    /// The head and the body of a response.
    async fn read(
        &self,
        exchange: &mut Exchange,
        response: Response<Incoming>,
        most: usize,
    ) -> Result<(), Failure> {
        let request = &mut exchange.request;
        let came = self.now();
        request.status = Some(response.status().as_u16());
        request.protocol = Some(format!("{:?}", response.version()).into());
        request.duration_ns = Some(came.saturating_sub(request.started_ns));
        request.ttfb_ns = request.sent_ns.map(|sent| came.saturating_sub(sent));
        request.headers = headers(&response);
        let location = response.headers().get(LOCATION);
        let location = location.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        request.location = location.as_deref().map(|value| redact::url(value).into_owned());
        let has_location = location.as_deref().is_some_and(|value| !value.is_empty());
        request.outcome = status::of_request(response.status().as_u16(), has_location);
        exchange.location = location.filter(|_| has_location);
        let packed = response.headers().get(CONTENT_ENCODING);
        let packed = packed.is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(GZIP));
        let mut body = response.into_body();
        request.content_length = hyper::body::Body::size_hint(&body).exact();
        let (mut kept, mut read, mut ended) = (BytesMut::new(), 0_u64, false);
        while read < READ {
            let waiting = Instant::now();
            let frame = match timeout(self.limit(), body.frame()).await {
                Ok(None) => {
                    ended = true;
                    break;
                }
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Err(Failure::of_http(&error, Outcome::Truncated)),
                // The end of all, not of its patience.
                Err(_) if self.is_over() && waiting.elapsed() < self.limit / 2 => {
                    let reason = "was still sending when the time was over";
                    return Err(Failure::because(Outcome::Unknown, reason));
                }
                Err(_) => return Err(self.silent()),
            };
            if let Ok(data) = frame.into_data() {
                read += data.len() as u64;
                let room = most.saturating_sub(kept.len()).min(data.len());
                kept.extend_from_slice(&data[..room]);
            }
        }
        exchange.request.body_bytes = Some(read);
        exchange.request.body_ns = Some(self.now().saturating_sub(came));
        let whole = ended && read == kept.len() as u64;
        let body = Body { bytes: kept.freeze(), whole };
        if !packed {
            exchange.body = body;
            return Ok(());
        }
        match body.unpacked(most) {
            Ok(body) => exchange.body = body,
            // go reads no others to their end.
            Err(failure) if exchange.request.outcome == Outcome::Ok => return Err(failure),
            Err(_) => {}
        }
        Ok(())
    }

    /// go has no limit here, and would wait on.
    fn silent(&self) -> Failure {
        let how_long = if self.is_over() {
            "in the time that was left".to_owned()
        } else {
            format!("for {:.0} seconds", self.limit.as_secs_f64())
        };
        let reason = format!("said nothing {how_long}, where go waits without limit");
        Failure::because(Outcome::Unfinished, reason)
    }
}

/// Whether a send began without credentials.
pub(super) fn is_bare(requests: &[Request]) -> bool {
    let first = requests.iter().find(|request| request.cause != Cause::ConnectTunnel);
    first.and_then(|first| first.credentials.as_ref()).is_some_and(Vec::is_empty)
}

/// Whether name or password in netrc have bytes that are no UTF-8, and so were not read.
fn has_replaced((name, password): &(String, String)) -> bool {
    [name, password].iter().any(|text| text.contains(char::REPLACEMENT_CHARACTER))
}

/// Whether it is a module's file, or whether somebody forwards the checksum database; nothing of the
/// database itself.
fn is_of_module(url: &Address) -> bool {
    let path = url.path.split('?').next().unwrap_or_default();
    path.contains("/@v/") || path.ends_with("/@latest") || path.ends_with("/supported")
}

/// Sends a request on a stream of its own.
async fn send(
    stream: Box<dyn Stream>,
    h2: bool,
    ask: Ask<Empty<Bytes>>,
) -> Result<Response<Incoming>, hyper::Error> {
    let io = TokioIo::new(stream);
    if h2 {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(connection);
        return sender.send_request(ask).await;
    }
    let (mut sender, connection) = http1::handshake(io).await?;
    tokio::spawn(connection.with_upgrades());
    sender.send_request(ask).await
}

/// What go sends before 1.27, so that whoever looks at it treats us as it treats go.
fn user_agent(h2: bool) -> &'static str {
    if h2 { "Go-http-client/2.0" } else { "Go-http-client/1.1" }
}

fn basic(name: &[u8], password: &[u8]) -> String {
    format!("Basic {}", BASE64_STANDARD.encode([name, b":", password].concat()))
}

fn headers(response: &Response<Incoming>) -> Headers {
    let mut found = HashMap::new();
    for (name, value) in response.headers() {
        let Some(known) =
            redact::HEADERS.iter().find(|known| known.eq_ignore_ascii_case(name.as_str()))
        else {
            continue;
        };
        let value = String::from_utf8_lossy(value.as_bytes());
        if *known != "Location"
            && let Some(value) = redact::header(known, &value)
        {
            found.entry(Cow::Borrowed(*known)).or_insert_with(|| value.into_owned());
        }
    }
    found.into_iter().collect()
}

/// Whether `host` is `parent` or below it (`net/http/client.go:isDomainOrSubdomain`).
fn within(host: &str, parent: &str) -> bool {
    host == parent
        || host
            .strip_suffix(parent)
            .is_some_and(|rest| rest.ends_with('.') && !parent.contains(':'))
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use rustls::RootCertStore;

    use super::*;

    /// A client that has so much time, and as much for a step.
    fn client(limit: Duration, netrc: Option<String>, commands: bool) -> Client {
        let tls = Tls::new(RootCertStore::empty());
        let credentials = Credentials { netrc, commands, fault: None };
        Client::new(tls, Forward::default(), credentials, (limit, limit))
    }

    /// What came of a request for `url` with these credentials.
    fn refused(url: &str, status: u16, credentials: &[&str]) -> Send {
        let mut request = Request::begun(1, "GET".into(), url.to_owned(), String::new(), 0);
        request.status = Some(status);
        request.credentials = Some(credentials.iter().map(|&name| name.to_owned()).collect());
        Send { requests: vec![request], outcome: Outcome::HttpError, body: Body::default() }
    }

    /// The end of our time is no failure of who sends.
    #[test]
    fn who_is_still_sending_has_not_failed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/m/@v/v1.0.0.zip", listener.local_addr().unwrap());
        // It ends when we break off.
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n").unwrap();
            while stream.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(10));
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = client(Duration::from_secs(2), None, false);
        let url = Address::parse(&url).unwrap();
        let send = runtime.block_on(client.get(&url, KEPT));
        let last = send.requests.last().unwrap();
        let reason = last.error.as_ref().and_then(|error| error.reason.as_deref());
        assert_eq!((send.outcome, last.status), (Outcome::Unknown, Some(200)));
        assert_eq!(reason, Some("was still sending when the time was over"));
        // Nobody is asked any more.
        let send = runtime.block_on(client.get(&url, KEPT));
        assert_eq!((send.outcome, send.requests.len()), (Outcome::Unknown, 0));
        drop(runtime);
        server.join().unwrap();
    }

    /// go would ask the commands of GOAUTH for credentials.
    #[test]
    fn what_is_refused_without_credentials_may_be_let_in() {
        let is_open = |url: &str, commands, status, credentials: &[&str]| {
            let send = refused(url, status, credentials);
            let url = Address::parse(url).unwrap();
            let client = client(Duration::from_secs(1), None, commands);
            client.may_be_let_in(&url, &send) == Some(COMMANDS)
        };
        let url = "https://proxy.lab/m/@v/list?x=y";
        for status in [401, 403, 404] {
            assert!(is_open(url, true, status, &[]), "{status}");
            assert!(!is_open(url, false, status, &[]), "{status}");
            assert!(!is_open("http://proxy.lab/m/@v/list", true, status, &[]), "{status}");
            assert!(!is_open(url, true, status, &["Authorization"]), "{status}");
            for public in ["proxy.golang.org", "sum.golang.org", "sum.golang.google.cn"] {
                let url = format!("https://{public}/m/@latest");
                assert!(!is_open(&url, true, status, &[]), "{status} {public}");
            }
        }
        assert!(is_open("https://proxy.lab/m/@latest", true, 404, &[]));
        assert!(!is_open(url, true, 502, &[]));
        assert!(!is_open(url, true, 200, &[]));
        assert!(is_open("https://proxy.lab/sumdb/s.lab/supported", true, 404, &[]));
        // What the checksum database does not know it does not know.
        for path in ["sumdb/s.lab/lookup/m@v1.0.0", "lookup/m@v1.0.0"] {
            let url = format!("https://proxy.lab/{path}");
            assert!(!is_open(&url, true, 404, &[]), "{path}");
            assert!(is_open(&url, true, 401, &[]), "{path}");
        }
    }

    /// What all releases find was sent where it can be, and what none finds makes no difference.
    #[test]
    fn what_some_releases_find_in_netrc_may_let_them_in() {
        for (machine, credentials, expected) in [
            ("https://Proxy.lab", &[][..], Some(NETRC)),
            ("Proxy.lab/m", &[], Some(NETRC)),
            ("Proxy.lab/m", &["Authorization"], None),
            ("https://proxy.lab", &[], None),
            ("proxy.lab", &[], None),
            ("Proxy.lab password \u{fffd}", &[], Some(BYTES)),
        ] {
            let netrc = format!("machine {machine} login u password p\n");
            let client = client(Duration::from_secs(1), Some(netrc), false);
            let url = "https://Proxy.lab/m/@v/list";
            let send = refused(url, 401, credentials);
            let url = Address::parse(url).unwrap();
            assert_eq!(client.may_be_let_in(&url, &send), expected, "{machine}");
            assert_eq!(client.authorization(&url), None, "{machine}");
        }
        let netrc = Some("machine Proxy.lab login u password p\n".to_owned());
        let client = client(Duration::from_secs(1), netrc, false);
        let sent = |url| client.authorization(&Address::parse(url).unwrap());
        assert_eq!(sent("https://Proxy.lab/m").as_deref(), Some("Basic dTpw"));
        assert_eq!(sent("https://proxy.lab/m"), None);
    }
}
