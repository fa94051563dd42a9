//! The port stands: slow and huge requests, many connections, strangers.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use proxytrace::agent::exporters::{Exporters, Options};
use proxytrace::export::Build;
use proxytrace_tests::cases;
use proxytrace_tests::toolchain::Toolchain;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use crate::builds::{self, FAST};
use crate::engines::{Engine, curl, wait_for};

/// The most resident memory that an agent may have, and by how much that may grow here, in KiB.
const MEMORY_MAX: u64 = 32 << 10;
const GROWTH_MAX: u64 = 8 << 10;

/// Who has it may ask, where there is TLS.
const TOKEN: &str = "cAnArY-0123456789";

/// What a port behind TLS has in files, and those who trust it.
struct Secured {
    directory: TempDir,
    client: Arc<ClientConfig>,
}

impl Secured {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let secured = Secured { directory, client: Arc::new(client) };
        secured.write("certificate", &made.cert.pem());
        secured.write("key", &made.signing_key.serialize_pem());
        secured.write("token", &format!("{TOKEN}\n"));
        secured
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// The options with it.
    fn with(&self, options: Options) -> Options {
        Options {
            metrics_certificate: Some(self.path("certificate")),
            metrics_key: Some(self.path("key")),
            metrics_token: Some(self.path("token")),
            ..options
        }
    }
}

/// A port, and how it is spoken to.
struct Door {
    address: SocketAddr,
    secured: Option<Secured>,
}

/// What a connection is written to and read by: no descriptor more than the socket has.
trait Speak: Read + Write {
    fn socket(&self) -> &TcpStream;
}

impl Speak for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Speak for StreamOwned<ClientConnection, TcpStream> {
    fn socket(&self) -> &TcpStream {
        &self.sock
    }
}

impl Door {
    fn open(secured: Option<Secured>) -> (Exporters, Self) {
        let metrics = Some("127.0.0.1:0".parse().unwrap());
        let plain = Options { metrics, ..Options::default() };
        let options = secured.as_ref().map(|secured| secured.with(plain.clone())).unwrap_or(plain);
        let exporters = Exporters::start_at(&options, FAST).unwrap();
        let address = exporters.metrics_address().unwrap();
        (exporters, Door { address, secured })
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Hands are shaken with the first that is written or read.
    fn speak(&self, stream: TcpStream) -> Box<dyn Speak> {
        let Some(Secured { client, .. }) = &self.secured else { return Box::new(stream) };
        let name = "localhost".try_into().unwrap();
        let session = ClientConnection::new(Arc::clone(client), name).unwrap();
        Box::new(StreamOwned::new(session, stream))
    }

    /// curl's answer, with this header.
    fn get(&self, header: &str) -> Option<String> {
        let port = self.address.port();
        let Some(secured) = &self.secured else {
            return curl(&["--header", header, &format!("http://127.0.0.1:{port}/metrics")]);
        };
        let (certificate, url) = (secured.path("certificate"), format!("localhost:{port}/metrics"));
        let trust = ["--cacert", certificate.to_str().unwrap()];
        curl(&[&trust[..], &["--header", header, &format!("https://{url}")]].concat())
    }

    /// What whoever may ask is answered.
    fn metrics(&self) -> Option<String> {
        self.get(&format!("Authorization: Bearer {TOKEN}"))
    }

    fn is_well(&self) {
        let text = wait_for("metrics", || self.metrics());
        assert!(text.contains("proxytrace_build_info{"));
        if self.secured.is_some() {
            assert_eq!(self.get("Authorization: Bearer cAnArY-9876543210"), None);
        }
    }
}

/// Does the same at a port and at one behind TLS, beside one another.
fn at_each(test: impl Fn(Option<Secured>) + Sync) {
    thread::scope(|scope| {
        let test = &test;
        for secured in [None, Some(Secured::new())] {
            scope.spawn(move || test(secured));
        }
    });
}

/// The head of a request but for its end, of whoever may ask.
fn head(method: &str) -> String {
    format!("{method} /metrics HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {TOKEN}\r\n")
}

/// Everything until the server ends the connection.
fn rest(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    // It may be reset, if the server has not read all that it was sent.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Resident memory of this process in KiB.
pub(crate) fn resident() -> u64 {
    memory("self", "VmRSS:")
}

/// What the status of a process says of its memory, in KiB.
fn memory(pid: &str, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Where a process listens, as `/proc` has it.
fn listens_at(pid: &str) -> Option<SocketAddr> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
    let files = files.filter_map(|file| fs::read_link(file.path()).ok());
    let files: Vec<String> = files.map(|file| file.display().to_string()).collect();
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).ok()?;
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (address, state, inode) = (fields[1], fields[3], fields[9]);
        let is_it = state == "0A" && files.contains(&format!("socket:[{inode}]"));
        let (_, port) = address.rsplit_once(':').filter(|_| is_it)?;
        Some(SocketAddr::from(([127, 0, 0, 1], u16::from_str_radix(port, 16).ok()?)))
    })
}

/// How many strangers there are, whether they shake hands where there is TLS, and what each sends
/// at first and then time and again.
type Attack<'a> = (usize, bool, &'a str, &'a str);

/// Has strangers be there until then; where one is turned away, another comes. Yields how many.
fn attack<'a>(door: &Door, end: Instant, attack: Attack<'a>) -> usize {
    let (count, shakes, begin, more) = attack;
    let goes_on = |done: io::Result<()>| match done {
        Ok(()) => true,
        // There is no room for it now, or the handshake is not over.
        Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::WriteZero),
    };
    let is_open = |(speaks, next): &mut (Box<dyn Speak>, &'a str)| {
        // What it answers is never read.
        let there = match speaks.socket().peek(&mut [0]) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            other => other.map(drop),
        };
        let said = speaks.write_all(next.as_bytes());
        if said.is_ok() {
            *next = more;
        }
        goes_on(there) && goes_on(said)
    };
    let (mut strangers, mut all) = (Vec::new(), 0);
    while Instant::now() < end {
        while strangers.len() < count {
            let Ok(stream) = TcpStream::connect_timeout(&door.address, Duration::from_secs(1))
            else {
                break;
            };
            stream.set_nonblocking(true).unwrap();
            let speaks = if shakes { door.speak(stream) } else { Box::new(stream) };
            strangers.push((speaks, begin));
            all += 1;
        }
        strangers.retain_mut(is_open);
        thread::sleep(Duration::from_millis(100));
    }
    all
}

#[test]
fn a_slow_head_is_not_waited_for() {
    at_each(|secured| {
        let (exporters, door) = Door::open(secured);
        let began = Instant::now();
        let mut slow = door.speak(door.connect());
        slow.write_all(head("GET").as_bytes()).unwrap();
        slow.socket().set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let (mut said, mut block) = (Vec::new(), [0; 1 << 10]);
        // A byte now and then keeps it from being idle; that must not help.
        while slow.write_all(b"X").is_ok() && began.elapsed() < Duration::from_mins(1) {
            match slow.read(&mut block) {
                Ok(0) => break,
                Ok(length) => said.extend(&block[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
        let (said, took) = (String::from_utf8_lossy(&said), began.elapsed());
        assert!(!said.contains("200 OK"), "{said}");
        assert!(took > Duration::from_secs(3) && took < Duration::from_secs(30), "{took:?}");
        door.is_well();
        exporters.finish();
    });
}

/// There is room for all of these: none has to go for another.
#[test]
fn a_handshake_that_stalls_is_ended() {
    let (exporters, door) = Door::open(Some(Secured::new()));
    let began = Instant::now();
    let mut silent: Vec<_> = (0..10).map(|_| door.connect()).collect();
    // The beginning of a record that is never whole.
    silent[0].write_all(b"\x16\x03\x01\x3f\xff\x01").unwrap();
    door.is_well();
    for stream in &mut silent {
        let end = stream.read(&mut [0]);
        assert!(!end.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "it still waits");
    }
    assert!(began.elapsed() > Duration::from_secs(3), "{:?}", began.elapsed());
    door.is_well();
    exporters.finish();
}

#[test]
fn a_huge_request_is_not_read() {
    at_each(|secured| {
        let (exporters, door) = Door::open(secured);
        door.is_well();
        let before = resident();
        for request in [
            format!("GET /{} HTTP/1.1\r\n", "x".repeat(1 << 20)),
            format!("{}X: {}\r\n\r\n", head("GET"), "x".repeat(1 << 20)),
            format!("{}{}\r\n", head("GET"), "X: y\r\n".repeat(1_000)),
        ] {
            let mut stream = door.speak(door.connect());
            // The server may end the connection in between.
            let _ = stream.write_all(request.as_bytes());
            let said = rest(&mut stream);
            assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
        }
        // A body without end.
        let mut stream = door.speak(door.connect());
        let request = format!("{}Content-Length: 9999999999\r\n\r\n", head("POST"));
        stream.write_all(request.as_bytes()).unwrap();
        let block = vec![0; 1 << 20];
        let mut sent = 0;
        while sent < 64 && stream.write_all(&block).is_ok() {
            sent += 1;
        }
        assert!(rest(&mut stream).starts_with("HTTP/1.1 405") || sent < 64);
        door.is_well();
        let grown = resident().saturating_sub(before);
        // Tests beside this one allocate, too.
        assert!(grown < 200 << 10, "{grown} KiB");
        exporters.finish();
    });
}

/// They say nothing, where there is TLS not even the first word of a handshake.
#[test]
fn many_connections_end() {
    at_each(|secured| {
        let (exporters, door) = Door::open(secured);
        let idle: Vec<_> = (0..100).map(|_| door.connect()).collect();
        // The first ones have all the room there is, and go for those that come after them.
        let began = Instant::now();
        door.is_well();
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
        let ended = idle.into_iter().filter(|stream| {
            stream.set_nonblocking(true).unwrap();
            let mut stream = stream;
            !matches!(stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
        });
        assert!(ended.count() > 60);
        exporters.finish();
    });
}

/// Whoever does not read what it asked for, keeps nobody.
#[test]
fn an_answer_that_nobody_reads() {
    at_each(|secured| {
        let (exporters, door) = Door::open(secured);
        let mut streams: Vec<_> = (0..20).map(|_| door.speak(door.connect())).collect();
        let request = head("GET") + "\r\n";
        for stream in &mut streams {
            stream.write_all(request.repeat(500).as_bytes()).unwrap();
        }
        // There is room for one more, so that it need not wait until they have had their time.
        let began = Instant::now();
        door.is_well();
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
        exporters.finish();
    });
}

/// An agent that is attacked in all these ways at once: it grows by next to nothing, goes on with its
/// work, and can be asked.
#[test]
fn an_attack_does_not_make_an_agent_grow() {
    if cases::can_start() {
        at_each(attack_an_agent);
    }
}

fn attack_an_agent(secured: Option<Secured>) {
    const LASTS: Duration = Duration::from_secs(8);
    let toolchain = Toolchain::newest().unwrap();
    let directory = TempDir::new().unwrap();
    let mut command = Command::new(cases::proxytrace());
    command
        .args(["agent", "--once", "--for", "5m", "--sample", "1", "--metrics", "127.0.0.1:0"])
        .args(["--haste", "60"])
        .arg("--state")
        .arg(directory.path().join("state.json"))
        .env("PATH", toolchain.goroot.join("bin"))
        .stderr(Stdio::null());
    if let Some(secured) = &secured {
        for name in ["certificate", "key", "token"] {
            command.arg(format!("--metrics-{name}")).arg(secured.path(name));
        }
    }
    let agent = Engine::start(&mut command);
    let pid = agent.0.id().to_string();
    let door = Door { address: wait_for("a port", || listens_at(&pid)), secured };
    // What it needs to answer at all is in memory then.
    door.is_well();
    let before = memory(&pid, "VmRSS:");
    // The peak is counted anew (proc(5), clear_refs).
    fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();

    let huge = "x".repeat(1 << 20);
    let requests = (head("GET").replace(TOKEN, &TOKEN[1..]) + "\r\n").repeat(500);
    let attacks = [
        (8, true, "GET /metrics HTTP/1.1\r\n", "X"),
        (2, true, "GET /metrics HTTP/1.1\r\nX: ", &*huge),
        (2, true, "GET /", &*huge),
        (12, true, "", &*requests),
        // A record that is never whole.
        (4, false, "\x16\x03\x01\x3f\x7f\x01", "X"),
        // What room the others leave is theirs.
        (100, false, "", ""),
    ];
    let began = Instant::now();
    let mut served = 0;
    thread::scope(|scope| {
        let attackers = attacks.map(|all| {
            let door = &door;
            (all.0, scope.spawn(move || attack(door, began + LASTS, all)))
        });
        let mut version = Command::new(toolchain.goroot.join("bin/go"));
        assert!(version.arg("version").stdout(Stdio::null()).status().unwrap().success());
        while began.elapsed() < LASTS {
            served += usize::from(door.metrics().is_some());
            thread::sleep(Duration::from_millis(100));
        }
        for (count, attacker) in attackers {
            assert!(attacker.join().unwrap() >= count, "there was no attack");
        }
    });
    let over = Instant::now();
    door.is_well();
    assert!(over.elapsed() < Duration::from_secs(10), "{:?}", over.elapsed());
    assert!(began.elapsed() < Duration::from_mins(1), "{:?}", began.elapsed());
    let most = memory(&pid, "VmHWM:");
    assert!(served > 0, "nobody else was served");
    let is_secured = door.secured.is_some();
    eprintln!(
        "TLS: {is_secured}; answered {served} times; {before} KiB before, {most} KiB at most"
    );
    assert!(most <= before + GROWTH_MAX, "{before} KiB before, {most} KiB at most");
    // A debug build is larger from the start.
    if !cfg!(debug_assertions) {
        assert!(most <= MEMORY_MAX, "{most} KiB");
    }
    // It is shown as 0 for a while.
    let taken = "proxytrace_export_records_total{exporter=\"intake\"} ";
    let has_seen = |text: &String| {
        text.lines().any(|line| line.strip_prefix(taken).is_some_and(|count| count != "0"))
    };
    wait_for("the build", || door.metrics().filter(has_seen));
}

/// Secrets of URLs are gone before; that is not relied upon.
#[test]
fn nothing_secret_is_served() {
    let directory = TempDir::new().unwrap();
    let textfile = Some(directory.path().join("p.prom"));
    let metrics = Some("127.0.0.1:0".parse().unwrap());
    let options = Options { metrics, textfile, label_module: true, ..Options::default() };
    let exporters = Exporters::start_at(&options, FAST).unwrap();
    let mut builds = builds::all();
    let attempts = builds.iter_mut().flat_map(|build| &mut build.trace.chains);
    for attempt in attempts.flat_map(|chain| &mut chain.attempts) {
        attempt.proxy =
            "https://cAnArYuser:cAnArYpass@proxy.lab/x?token=cAnArYquery#cAnArY".to_owned();
        for request in &mut attempt.requests {
            request.url = "https://cAnArY:cAnArY@h/cAnArY?sig=cAnArY".to_owned();
            request.location =
                request.location.as_ref().map(|_| "https://cAnArY:x@h/?s=cAnArY".to_owned());
            request.headers.insert("X".into(), "cAnArY".to_owned());
        }
    }
    let mut count = 0;
    for build in builds {
        count += 1;
        exporters.observe(Build { share: 1.0, ..build });
    }
    let url = format!("http://{}/metrics", exporters.metrics_address().unwrap());
    let expected = format!("proxytrace_builds_observed_total {count}");
    let text = wait_for("metrics", || curl(&[&url]).filter(|text| text.contains(&expected)));
    assert!(text.contains("proxy=\"https://proxy.lab/x\"") && !text.contains("cAnArY"), "{text}");
    exporters.finish();
    let text = fs::read_to_string(directory.path().join("p.prom")).unwrap();
    assert!(!text.contains("cAnArY"));
}

#[test]
fn others_need_tls_and_a_token() {
    let secured = Secured::new();
    let open = Options { metrics: Some("0.0.0.0:0".parse().unwrap()), ..Options::default() };
    let complete = secured.with(open.clone());
    for incomplete in [
        open.clone(),
        Options { metrics_token: None, ..complete.clone() },
        Options { metrics_certificate: None, metrics_key: None, ..complete.clone() },
        Options { metrics_key: None, ..complete.clone() },
        Options { metrics_token: Some(secured.write("short", "x\n")), ..complete.clone() },
        Options { metrics_key: Some(secured.write("broken", "x\n")), ..complete.clone() },
    ] {
        let error = Exporters::start_at(&incomplete, FAST).err().expect("it must be refused");
        assert!(!format!("{error:#}").contains("cAnArY"), "{error:#}");
    }
    let exporters = Exporters::start_at(&complete, FAST).unwrap();
    let port = exporters.metrics_address().unwrap().port();
    let door = Door { address: ([127, 0, 0, 1], port).into(), secured: Some(secured) };
    assert!(door.metrics().unwrap().contains("proxytrace_"));
    assert!(door.get("authorization: bearer cAnArY-0123456789").is_some());
    for header in
        ["Authorization: Bearer cAnArY-012345678", "Authorization: Basic cAnArY-0123456789", "X: y"]
    {
        assert_eq!(door.get(header), None, "{header}");
    }
    assert_eq!(curl(&[&format!("http://localhost:{port}/metrics")]), None);
    exporters.finish();
}
