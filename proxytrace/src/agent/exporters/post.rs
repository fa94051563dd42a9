//! HTTP to collectors: one POST at a time, on connections that are kept.

use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, anyhow, ensure};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{
    CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use hyper::{HeaderMap, Method, Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use tokio::time::timeout;

use crate::url::decode;
use crate::{redact, roots};

/// What is shorter is sent as it is.
const WORTH_PACKING: usize = 1_024;
/// No more of an answer is read, in bytes.
const ANSWER: usize = 64 << 10;
/// So much is told of why there was none, in characters.
const WHY: usize = 200;
/// A receiver that asks for more patience does not get it.
const PATIENCE: Duration = Duration::from_mins(10);

/// A place that takes POSTs.
#[derive(Clone)]
pub(super) struct Receiver {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    headers: HeaderMap,
    limit: Duration,
    /// Whether no authority is known, by which certificates could be verified.
    trusts_nobody: bool,
}

/// What came of a POST.
pub(super) enum Answer {
    /// It is taken; the body of the answer.
    Taken(Bytes),
    /// It failed with this status, or without one, and why; perhaps with a time to wait.
    Failed { status: Option<u16>, why: String, retry_after: Option<Duration> },
}

impl Answer {
    /// There was none, for this reason.
    pub(super) fn none(why: &str) -> Self {
        Answer::Failed { status: None, why: format!("no answer: {why}"), retry_after: None }
    }
}

impl Receiver {
    /// `headers` is a file with one a line. `limit` is for a POST as a whole.
    pub(super) fn new(headers: Option<&Path>, limit: Duration) -> anyhow::Result<Self> {
        let (file, directories) = authorities();
        let roots = roots::load(&file, &directories);
        let trusts_nobody = roots.is_empty();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_mins(1))
            .pool_max_idle_per_host(1)
            .build(connector);
        let headers = headers.map(read_headers).transpose()?.unwrap_or_default();
        Ok(Receiver { client, headers, limit, trusts_nobody })
    }

    /// Sends it, packed.
    pub(super) async fn post(&self, to: &Uri, kind: &'static str, payload: &[u8]) -> Answer {
        let request = match self.request(to, kind, payload) {
            Ok(request) => request,
            Err(error) => return Answer::none(&error.to_string()),
        };
        let answer = timeout(self.limit, self.send(request)).await;
        answer.unwrap_or_else(|_| Answer::none(&format!("not within {:?}", self.limit)))
    }

    fn request(
        &self,
        to: &Uri,
        kind: &'static str,
        payload: &[u8],
    ) -> anyhow::Result<Request<Full<Bytes>>> {
        let packed = (payload.len() >= WORTH_PACKING).then(|| gzip(payload)).transpose()?;
        let is_packed = packed.is_some();
        let body = Bytes::from(packed.unwrap_or_else(|| payload.to_vec()));
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = to.clone();
        let headers = request.headers_mut();
        headers.extend(self.headers.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        let agent = concat!("proxytrace/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        if is_packed {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Ok(request)
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        let is_secured = request.uri().scheme_str() == Some("https");
        let answer = match self.client.request(request).await {
            Ok(answer) => answer,
            Err(error) => {
                let mut why = cause(&error);
                if is_secured && self.trusts_nobody {
                    why += "; there are no certificates of authorities here (SSL_CERT_FILE)";
                }
                return Answer::none(&why);
            }
        };
        let status = answer.status();
        if !status.is_success() {
            let retry_after = answer.headers().get(RETRY_AFTER);
            let retry_after = retry_after.and_then(|when| patience(when, SystemTime::now()));
            let status = status.as_u16();
            let why = format!("answered {status}");
            return Answer::Failed { status: Some(status), why, retry_after };
        }
        // Whoever answers with a page, as where one has to log in, is no receiver.
        let kind = answer.headers().get(CONTENT_TYPE);
        let is_page = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
        if is_page {
            let why = format!("answered {} with a page, as no receiver does", status.as_u16());
            return Answer::Failed { status: None, why, retry_after: None };
        }
        // The connection is good for another one when the answer has been read.
        let body = Limited::new(answer.into_body(), ANSWER).collect().await;
        Answer::Taken(body.map(http_body_util::Collected::to_bytes).unwrap_or_default())
    }
}

/// What an error comes from: a socket, a name that is not found, a certificate.
fn cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(of) = cause.source() {
        cause = of;
    }
    // A certificate, which others have made, may be in it.
    redact::text(&cause.to_string()).chars().take(WHY).collect()
}

/// `SSL_CERT_FILE` and `SSL_CERT_DIR`, empty if not set.
pub(super) fn authorities() -> (String, String) {
    let of = |name: &str| std::env::var(name).unwrap_or_default();
    (of("SSL_CERT_FILE"), of("SSL_CERT_DIR"))
}

/// How long `Retry-After` asks to wait (RFC 9110, 10.2.3): seconds, or a date. By a clock that has
/// jumped it is no longer than by one that has not.
fn patience(value: &HeaderValue, now: SystemTime) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(PATIENCE))
}

fn gzip(payload: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(payload)?;
    encoder.finish()
}

/// A URL with `path` after it, where it has none of its own to end in.
pub(super) fn url(option: &str, text: &str) -> anyhow::Result<Uri> {
    let broken = || format!("--{option} is no URL, such as http://localhost:4318");
    let url: Uri = text.parse().map_err(|_| anyhow!(broken()))?;
    ensure!(matches!(url.scheme_str(), Some("http" | "https")), broken());
    let authority = url.authority().with_context(broken)?;
    // The path stays: who wants a token there takes it nowhere else.
    let query = url.query().unwrap_or_default();
    ensure!(
        !authority.as_str().contains('@') && !query.split('&').any(has_credentials),
        "--{option} has credentials in it, which others can see; put them into --{option}-headers"
    );
    Ok(url)
}

/// Ends of the names of parameters in which receivers take credentials.
const CREDENTIALS: [&str; 6] = ["password", "passwd", "token", "apikey", "secret", "signature"];

/// Whether a parameter has credentials in it, or an URL with some. Others with names like those of
/// secrets have none, as `quota_key` and `session_id` of `ClickHouse`.
fn has_credentials(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else { return false };
    let (name, value) = (decode(name), decode(value));
    let mut plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    plain.make_ascii_lowercase();
    let named = CREDENTIALS.iter().any(|it| plain.ends_with(it)) && !value.is_empty();
    named || redact::url(&value) != value
}

fn read_headers(path: &Path) -> anyhow::Result<HeaderMap> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read headers from {}", path.display()))?;
    let mut headers = HeaderMap::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        // What is in the line is secret.
        let broken = || format!("{}:{}: no `Name: value`", path.display(), number + 1);
        let (name, value) = line.split_once(':').with_context(broken)?;
        let name: HeaderName = name.trim().parse().ok().with_context(broken)?;
        let mut value = HeaderValue::from_str(value.trim()).ok().with_context(broken)?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    // As in a pipe that somebody has read; a file may be empty where nothing is asked for.
    ensure!(!headers.is_empty() || path.is_file(), "no header in {}", path.display());
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use tempfile::TempDir;

    #[test]
    fn urls_have_no_credentials() {
        assert!(url("otlp", "http://localhost:4318").is_ok());
        assert!(url("otlp", "https://collector.example/otlp").is_ok());
        for broken in ["", "localhost:4318", "ftp://h", "/v1", "http://"] {
            assert!(url("otlp", broken).is_err(), "{broken}");
        }
        for harmless in ["user=ci&async_insert=1", "quota_key=ci", "session_id=ci", "password="] {
            let text = format!("http://h:8123/?database=p&{harmless}");
            assert!(url("clickhouse", &text).is_ok(), "{text}");
        }
        for secret in [
            "http://me:cAnArY@h",
            "http://h/?user=ci&password=cAnArY",
            "http://h/?token=cAnArY",
            "http://h/?api-token=cAnArY",
            "http://h/?client_secret=cAnArY",
            "http://h/?Api_Key=cAnArY",
            "http://h/?pass%77ord=cAnArY",
            "http://h/?to=http://me:cAnArY@g",
        ] {
            let error = url("otlp", secret).unwrap_err().to_string();
            assert!(error.contains("--otlp-headers") && !error.contains("cAnArY"), "{error}");
        }
    }

    /// A server that answers one POST, of this type.
    fn answers(kind: &'static str) -> Uri {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\nrows") {
                let mut piece = [0; 512];
                let length = stream.read(&mut piece).unwrap();
                asked.extend(&piece[..length]);
            }
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: 2\r\n\r\nok");
            stream.write_all(head.as_bytes()).unwrap();
        });
        format!("http://{address}/").parse().unwrap()
    }

    /// What came of a POST within this time: why it failed, if it did.
    fn failed(to: &Uri, limit: Duration) -> Option<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let receiver = Receiver::new(None, limit).unwrap();
        match runtime.block_on(receiver.post(to, "text/plain", b"rows")) {
            Answer::Taken(_) => None,
            Answer::Failed { why, .. } => Some(why),
        }
    }

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn a_page_is_no_answer() {
        assert_eq!(failed(&answers("application/x-protobuf"), LIMIT), None);
        let why = failed(&answers("text/html; charset=utf-8"), LIMIT).unwrap();
        assert!(why.starts_with("answered 200 with a page"), "{why}");
    }

    #[test]
    fn why_there_is_no_answer_is_told() {
        let at = |scheme: &str, listener: &TcpListener| -> Uri {
            format!("{scheme}://{}/", listener.local_addr().unwrap()).parse().unwrap()
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let closed = at("http", &listener);
        drop(listener);
        let why = failed(&closed, LIMIT).unwrap();
        assert!(why.starts_with("no answer: ") && why.contains("refused"), "{why}");

        // The kernel takes connections for it.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let why = failed(&at("http", &silent), Duration::from_millis(50)).unwrap();
        assert_eq!(why, "no answer: not within 50ms");

        // It does not speak TLS.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let plain = at("https", &listener);
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
            // Whoever closes it has it reset.
            let _ = stream.read(&mut [0; 4096]);
        });
        let why = failed(&plain, LIMIT).unwrap();
        assert!(why.starts_with("no answer: ") && why.contains("corrupt message"), "{why}");
    }

    #[test]
    fn a_time_to_wait_is_a_number_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (text, expected) in [
            ("7", Some(7)),
            ("100000", Some(600)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
            ("Sun Nov  6 08:49:38 1994", Some(1)),
            // Over already, and further away than anybody waits: by a clock that jumps, too.
            ("Sun, 06 Nov 1994 08:49:36 GMT", Some(0)),
            ("Sat, 06 Nov 2094 08:49:37 GMT", Some(600)),
            ("-1", None),
            ("soon", None),
            ("", None),
        ] {
            let said = patience(&HeaderValue::from_static(text), now);
            assert_eq!(said, expected.map(Duration::from_secs), "{text}");
        }
        assert_eq!(patience(&HeaderValue::from_bytes(&[0xff]).unwrap(), now), None);
    }

    #[test]
    fn a_broken_line_is_not_shown() {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("headers");
        std::fs::write(&file, "A: b\n\nX-Key : c:d\n").unwrap();
        let headers = read_headers(&file).unwrap();
        assert_eq!(
            (headers["a"].as_bytes(), headers["x-key"].as_bytes()),
            (&b"b"[..], &b"c:d"[..])
        );
        std::fs::write(&file, "A: b\ncAnArY\n").unwrap();
        let error = read_headers(&file).unwrap_err().to_string();
        assert!(error.contains(":2:") && !error.contains("cAnArY"), "{error}");
    }

    /// A file may be for receivers that ask for nothing; a pipe was read before.
    #[test]
    fn no_headers_are_an_error_in_a_pipe_alone() {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("headers");
        std::fs::write(&file, "\n").unwrap();
        assert!(read_headers(&file).unwrap().is_empty());
        let error = read_headers(Path::new("/dev/null")).unwrap_err().to_string();
        assert!(error.starts_with("no header in "), "{error}");
    }
}
