//! A collector that says what it likes, and remembers what it was sent.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

use flate2::read::GzDecoder;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A POST that came.
#[derive(Clone)]
pub(crate) struct Post {
    pub(crate) path: String,
    /// `name: value`, names in lower case.
    pub(crate) headers: Vec<String>,
    /// Unpacked.
    pub(crate) body: Vec<u8>,
    /// What was answered.
    pub(crate) status: u16,
}

/// The collector. Its threads end with the test's process.
pub(crate) struct Sink {
    port: u16,
    posts: Arc<Mutex<Vec<Post>>>,
}

impl Sink {
    /// Answers the POST of each number with this status.
    pub(crate) fn start(answer: impl Fn(usize) -> u16 + Send + Sync + 'static) -> Self {
        Self::start_at(0, answer)
    }

    /// The same at a port; 0 is any.
    pub(crate) fn start_at(
        port: u16,
        answer: impl Fn(usize) -> u16 + Send + Sync + 'static,
    ) -> Self {
        Self::listen(port, None, 0, move |number, _| answer(number))
    }

    /// Takes everything, behind TLS.
    pub(crate) fn start_tls(certificate: Vec<u8>, key: Vec<u8>) -> Self {
        let certificates = vec![CertificateDer::from(certificate)];
        let key = PrivateKeyDer::try_from(key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .unwrap();
        Self::listen(0, Some(Arc::new(config)), 0, |_, _| 200)
    }

    /// Answers by the number and what is in it, and asks to come again after so many seconds.
    pub(crate) fn listen(
        port: u16,
        tls: Option<Arc<ServerConfig>>,
        retry_after: u32,
        answer: impl Fn(usize, &Post) -> u16 + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let posts = Arc::new(Mutex::new(Vec::new()));
        let (all, answer) = (Arc::clone(&posts), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (all, answer, tls) = (Arc::clone(&all), Arc::clone(&answer), tls.clone());
                let stream = stream.unwrap();
                thread::spawn(move || match tls {
                    Some(tls) => {
                        let session = ServerConnection::new(tls).unwrap();
                        serve(StreamOwned::new(session, stream), &all, retry_after, &*answer);
                    }
                    None => serve(stream, &all, retry_after, &*answer),
                });
            }
        });
        Sink { port, posts }
    }

    /// Of the name that its certificate is for.
    pub(crate) fn tls_url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What came so far.
    pub(crate) fn posts(&self) -> Vec<Post> {
        self.posts.lock().unwrap().clone()
    }

    /// What came and was taken, for a path.
    pub(crate) fn taken(&self, path: &str) -> Vec<Post> {
        let taken = |post: &Post| post.status == 200 && post.path.starts_with(path);
        self.posts().into_iter().filter(taken).collect()
    }
}

fn serve(
    stream: impl Read + Write,
    posts: &Mutex<Vec<Post>>,
    retry_after: u32,
    answer: &dyn Fn(usize, &Post) -> u16,
) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line == "\r\n" {
                break;
            }
            lines.push(line.trim_end().to_owned());
        }
        let path = lines[0].split(' ').nth(1).unwrap().to_owned();
        let headers: Vec<String> = lines[1..]
            .iter()
            .map(|line| {
                let (name, value) = line.split_once(':').unwrap();
                format!("{}: {}", name.to_lowercase(), value.trim())
            })
            .collect();
        let of = |name: &str| headers.iter().find_map(|header| header.strip_prefix(name));
        let length: usize = of("content-length: ").unwrap().parse().unwrap();
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        if of("content-encoding: ") == Some("gzip") {
            let mut plain = Vec::new();
            GzDecoder::new(&*body).read_to_end(&mut plain).unwrap();
            body = plain;
        }
        let status = {
            let mut posts = posts.lock().unwrap();
            let mut post = Post { path, headers, body, status: 0 };
            post.status = answer(posts.len(), &post);
            let status = post.status;
            posts.push(post);
            status
        };
        let again = format!("Content-Length: 0\r\nRetry-After: {retry_after}\r\n");
        let head = format!("HTTP/1.1 {status} said\r\n{again}\r\n");
        if reader.get_mut().write_all(head.as_bytes()).is_err() {
            return;
        }
    }
}
