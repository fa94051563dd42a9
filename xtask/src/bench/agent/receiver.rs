//! Who gets what an agent exports.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;

const LOOPBACK: &str = "127.0.0.1:0";
/// How often Prometheus asks.
const SCRAPE: Duration = Duration::from_secs(15);

/// A collector, and a Prometheus, until this process ends.
pub(super) struct Receiver {
    /// Where the collector takes what is posted.
    pub(super) address: SocketAddr,
    /// Where the agent is to be asked for metrics.
    pub(super) metrics: SocketAddr,
    posts: Arc<AtomicU64>,
    scrapes: Arc<AtomicU64>,
}

impl Receiver {
    pub(super) fn start() -> Result<Self> {
        let listener = TcpListener::bind(LOOPBACK)?;
        let receiver = Self {
            address: listener.local_addr()?,
            metrics: TcpListener::bind(LOOPBACK)?.local_addr()?,
            posts: Arc::default(),
            scrapes: Arc::default(),
        };
        let posts = Arc::clone(&receiver.posts);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let posts = Arc::clone(&posts);
                // One that breaks off ends with its connection.
                thread::spawn(move || answer(&stream, &posts).unwrap_or_default());
            }
        });
        let (metrics, scrapes) = (receiver.metrics, Arc::clone(&receiver.scrapes));
        thread::spawn(move || {
            loop {
                thread::sleep(SCRAPE);
                if scrape(metrics).is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200 ")) {
                    scrapes.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Ok(receiver)
    }

    /// How much has come: POSTs, and answers with metrics.
    pub(super) fn got(&self) -> (u64, u64) {
        (self.posts.load(Ordering::Relaxed), self.scrapes.load(Ordering::Relaxed))
    }
}

/// Takes every POST and says nothing.
fn answer(stream: &TcpStream, posts: &AtomicU64) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut length, mut line) = (0, String::new());
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(("content-length", value)) = line.to_lowercase().split_once(':') {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
        posts.fetch_add(u64::from(length > 0), Ordering::Relaxed);
        (&mut &*stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
    }
}

fn scrape(metrics: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(metrics)?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}
