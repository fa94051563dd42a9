//! The port stands: slow and huge requests, many connections, strangers.

use std::fs;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use proxytrace::agent::exporters::{Exporters, Options};
use proxytrace::export::Build;
use proxytrace_tests::cases;
use proxytrace_tests::toolchain::Toolchain;
use tempfile::TempDir;

use crate::builds::{self, FAST};
use crate::engines::{Engine, curl, wait_for};

/// The most resident memory that an agent may have, and by how much that may grow here, in KiB.
const MEMORY_MAX: u64 = 32 << 10;
const GROWTH_MAX: u64 = 8 << 10;

fn start() -> (Exporters, SocketAddr) {
    let metrics = Some("127.0.0.1:0".parse().unwrap());
    let exporters = Exporters::start_at(&Options { metrics, ..Options::default() }, FAST).unwrap();
    let address = exporters.metrics_address().unwrap();
    (exporters, address)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Everything until the server ends the connection.
fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // It may be reset, if the server has not read all that it was sent.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn is_well(address: SocketAddr) {
    let text = wait_for("metrics", || curl(&[&format!("http://{address}/metrics")]));
    assert!(text.contains("proxytrace_build_info{"));
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

/// Has so many connections until then, each of which sends `begin`, and then `more` time and again;
/// where one is closed, another takes its place. Yields how many there were.
fn attack(address: SocketAddr, end: Instant, count: usize, begin: &str, more: &str) -> usize {
    let is_open = |mut stream: &TcpStream| {
        let goes_on = |done: io::Result<()>| match done {
            Ok(()) => true,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        };
        // What it answers is never read.
        let there = match stream.peek(&mut [0]) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            other => other.map(drop),
        };
        goes_on(there) && goes_on(stream.write_all(more.as_bytes()))
    };
    let (mut streams, mut all) = (Vec::new(), 0);
    while Instant::now() < end {
        while streams.len() < count {
            let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1))
            else {
                break;
            };
            stream.set_nonblocking(true).unwrap();
            let _ = stream.write_all(begin.as_bytes());
            streams.push(stream);
            all += 1;
        }
        streams.retain(is_open);
        thread::sleep(Duration::from_millis(100));
    }
    all
}

#[test]
fn a_slow_head_is_not_waited_for() {
    let (exporters, address) = start();
    let began = Instant::now();
    let mut slow = connect(address);
    slow.write_all(b"GET /metrics HTTP/1.1\r\nHost: h\r\n").unwrap();
    // A byte now and then keeps it from being idle; that must not help.
    let mut trickle = slow.try_clone().unwrap();
    let drip = thread::spawn(move || {
        while trickle.write_all(b"X").is_ok() && began.elapsed() < Duration::from_mins(1) {
            thread::sleep(Duration::from_millis(300));
        }
    });
    let said = rest(&mut slow);
    let took = began.elapsed();
    assert!(!said.contains("200 OK"), "{said}");
    assert!(took > Duration::from_secs(3) && took < Duration::from_secs(30), "{took:?}");
    is_well(address);
    drop(slow);
    drip.join().unwrap();
    exporters.finish();
}

#[test]
fn a_huge_request_is_not_read() {
    let (exporters, address) = start();
    is_well(address);
    let before = resident();
    for head in [
        format!("GET /{} HTTP/1.1\r\n", "x".repeat(1 << 20)),
        format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1 << 20)),
        format!("GET /metrics HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(1_000)),
    ] {
        let mut stream = connect(address);
        // The server may end the connection in between.
        let _ = stream.write_all(head.as_bytes());
        let said = rest(&mut stream);
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
    }
    // A body without end.
    let mut stream = connect(address);
    stream
        .write_all(b"POST /metrics HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999999\r\n\r\n")
        .unwrap();
    let block = vec![0; 1 << 20];
    let mut sent = 0;
    while sent < 64 && stream.write_all(&block).is_ok() {
        sent += 1;
    }
    assert!(rest(&mut stream).starts_with("HTTP/1.1 405") || sent < 64);
    is_well(address);
    let grown = resident().saturating_sub(before);
    // Tests beside this one allocate, too.
    assert!(grown < 200 << 10, "{grown} KiB");
    exporters.finish();
}

#[test]
fn many_connections_end() {
    let (exporters, address) = start();
    let idle: Vec<_> = (0..300).map(|_| connect(address)).collect();
    // The first ones have all the room there is, and go for those that come after them.
    let began = Instant::now();
    is_well(address);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    let ended = idle.into_iter().filter(|stream| {
        stream.set_nonblocking(true).unwrap();
        let mut stream = stream;
        !matches!(stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
    });
    assert!(ended.count() > 250);
    exporters.finish();
}

/// Whoever does not read what it asked for, keeps nobody.
#[test]
fn an_answer_that_nobody_reads() {
    let (exporters, address) = start();
    let mut streams: Vec<_> = (0..20).map(|_| connect(address)).collect();
    for stream in &mut streams {
        stream.write_all(&b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n".repeat(500)).unwrap();
    }
    // There is room for one more, so that it need not wait until they have had their time.
    let began = Instant::now();
    is_well(address);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    exporters.finish();
}

/// An agent that is attacked in all these ways at once: it grows by next to nothing, goes on with its
/// work, and can be asked.
#[test]
fn an_attack_does_not_make_an_agent_grow() {
    const LASTS: Duration = Duration::from_secs(8);
    if !cases::can_start() {
        return;
    }
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
    let agent = Engine::start(&mut command);
    let pid = agent.0.id().to_string();
    let address = wait_for("a port", || listens_at(&pid));
    let url = format!("http://{address}/metrics");
    // What it needs to answer at all is in memory then.
    is_well(address);
    let before = memory(&pid, "VmRSS:");
    // The peak is counted anew (proc(5), clear_refs).
    fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();

    let huge = "x".repeat(1 << 20);
    let requests = "GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n".repeat(500);
    let attacks = [
        (8, "GET /metrics HTTP/1.1\r\n", "X"),
        (2, "GET /metrics HTTP/1.1\r\nX: ", &*huge),
        (2, "GET /", &*huge),
        (12, "", &*requests),
        // What room the others leave is theirs.
        (100, "", ""),
    ];
    let began = Instant::now();
    let mut served = 0;
    thread::scope(|scope| {
        let attackers = attacks.map(|(count, begin, more)| {
            let run = move || attack(address, began + LASTS, count, begin, more);
            (count, scope.spawn(run))
        });
        let mut version = Command::new(toolchain.goroot.join("bin/go"));
        assert!(version.arg("version").stdout(Stdio::null()).status().unwrap().success());
        while began.elapsed() < LASTS {
            served += usize::from(curl(&[&url]).is_some());
            thread::sleep(Duration::from_millis(100));
        }
        for (count, attacker) in attackers {
            assert!(attacker.join().unwrap() >= count, "there was no attack");
        }
    });
    let over = Instant::now();
    is_well(address);
    assert!(over.elapsed() < Duration::from_secs(10), "{:?}", over.elapsed());
    assert!(began.elapsed() < Duration::from_mins(1), "{:?}", began.elapsed());
    let most = memory(&pid, "VmHWM:");
    assert!(served > 0, "nobody else was served");
    eprintln!("answered {served} times meanwhile; {before} KiB before, {most} KiB at most");
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
    wait_for("the build", || curl(&[&url]).filter(has_seen));
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
    let directory = TempDir::new().unwrap();
    let write = |name: &str, text: &str| -> PathBuf {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = write("cert.pem", &key.cert.pem());
    let secret = write("key.pem", &key.signing_key.serialize_pem());
    let token = write("token", "cAnArY-0123456789\n");
    let open = Options { metrics: Some("0.0.0.0:0".parse().unwrap()), ..Options::default() };
    let complete = Options {
        metrics_certificate: Some(certificate.clone()),
        metrics_key: Some(secret),
        metrics_token: Some(token),
        ..open.clone()
    };
    for incomplete in [
        open.clone(),
        Options { metrics_token: None, ..complete.clone() },
        Options { metrics_certificate: None, metrics_key: None, ..complete.clone() },
        Options { metrics_key: None, ..complete.clone() },
        Options { metrics_token: Some(write("short", "x\n")), ..complete.clone() },
        Options { metrics_key: Some(write("broken", "x\n")), ..complete.clone() },
    ] {
        let error = Exporters::start_at(&incomplete, FAST).err().expect("it must be refused");
        assert!(!format!("{error:#}").contains("cAnArY"), "{error:#}");
    }
    let exporters = Exporters::start_at(&complete, FAST).unwrap();
    let port = exporters.metrics_address().unwrap().port();
    let url = format!("https://localhost:{port}/metrics");
    let trust = ["--cacert", certificate.to_str().unwrap()];
    let with = |header: &str| curl(&[trust[0], trust[1], "--header", header, &url]);
    assert!(with("Authorization: Bearer cAnArY-0123456789").unwrap().contains("proxytrace_"));
    assert_eq!(with("Authorization: Bearer cAnArY-012345678"), None);
    assert_eq!(with("Authorization: Basic cAnArY-0123456789"), None);
    assert_eq!(with("X: y"), None);
    assert_eq!(curl(&[&format!("http://localhost:{port}/metrics")]), None);
    // A handshake that does not come on, beside those that do.
    let _silent: Vec<_> =
        (0..10).map(|_| connect(SocketAddr::from(([127, 0, 0, 1], port)))).collect();
    assert!(with("authorization: bearer cAnArY-0123456789").is_some());
    exporters.finish();
}
