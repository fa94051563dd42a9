//! The collector is gone, the disk is full, the queue too small, the agent killed: what is lost is
//! counted, nothing else is, and nothing comes twice but what was under way.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use proxytrace::agent::exporters::{Exporters, Options, Pace};
use proxytrace::export::{Build, Delivery};
use proxytrace_tests::cases::skip;
use tempfile::TempDir;

use crate::builds::{self, FAST};
use crate::clickhouse::read;
use crate::engines::{curl, free_port, wait_for};
use crate::otlp::{spans, to};
use crate::sink::Sink;

/// Names the queue of the agent that is to be killed, and the collector.
const VICTIM: &str = "MONITORING_VICTIM";

/// An agent that does not wait for the end of what it has.
const HASTY: Pace = Pace { end: Duration::from_millis(100), ..FAST };

fn of(exporters: &Exporters, name: &str) -> Delivery {
    let deliveries: BTreeMap<_, _> = exporters.deliveries().into_iter().collect();
    deliveries[name]
}

/// Waits for the worker, for which nobody who is hasty waits long.
fn all_are_taken_in(exporters: &Exporters) {
    let all = builds::all().len() as u64;
    wait_for("all builds", || (of(exporters, "intake").sent == all).then_some(()));
}

fn with_queue(url: String, queue: &Path) -> Options {
    Options { queue: Some(queue.to_owned()), ..to(url) }
}

/// How many spans came, and how many different ones.
fn came(sink: &Sink) -> (u64, u64) {
    let all = spans(&sink.taken("/v1/traces"));
    let ids: BTreeSet<_> =
        all.iter().map(|(_, span)| (span.trace_id.clone(), span.span_id.clone())).collect();
    (all.len() as u64, ids.len() as u64)
}

fn expected() -> u64 {
    let builds = builds::all();
    let requests: usize = builds::attempts(&builds).map(|attempt| attempt.requests.len()).sum();
    let chains: usize = builds.iter().map(|build| build.trace.chains.len()).sum();
    (builds.len() + chains + requests) as u64
}

#[test]
fn a_collector_that_is_gone_for_long_gets_everything_when_it_is_back() {
    let directory = TempDir::new().unwrap();
    let port = free_port();
    let options = with_queue(format!("http://127.0.0.1:{port}"), &directory.path().join("q"));
    let exporters = Exporters::start_at(&options, FAST).unwrap();
    for build in builds::all() {
        exporters.observe(build);
    }
    // Ten minutes of a day, on this clock: as many tries as there are in an hour.
    wait_for("failures", || (of(&exporters, "otlp-spans").failures > 25).then_some(()));
    let waiting = of(&exporters, "otlp-spans");
    assert!(waiting.queued_bytes.unwrap() > 0 && waiting.sent == 0, "{waiting:?}");
    let sink = Sink::start_at(port, |_| 200);
    wait_for("the rest", || (of(&exporters, "otlp-spans").queued_bytes == Some(0)).then_some(()));
    let deliveries: BTreeMap<_, _> = exporters.finish().into_iter().collect();
    assert_eq!(came(&sink), (expected(), expected()));
    let delivery = deliveries["otlp-spans"];
    assert_eq!((delivery.sent, delivery.dropped.all()), (expected(), 0));
}

#[test]
fn what_is_in_the_queue_outlives_the_agent() {
    let directory = TempDir::new().unwrap();
    let queue = directory.path().join("q");
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let before = Exporters::start_at(&with_queue(nobody, &queue), HASTY).unwrap();
    for build in builds::all() {
        before.observe(build);
    }
    all_are_taken_in(&before);
    let deliveries: BTreeMap<_, _> = before.finish().into_iter().collect();
    assert_eq!((deliveries["otlp-spans"].sent, deliveries["otlp-spans"].dropped.all()), (0, 0));
    assert!(deliveries["otlp-spans"].queued_bytes.unwrap() > 0);
    let sink = Sink::start(|_| 200);
    let after = Exporters::start_at(&with_queue(sink.url(), &queue), FAST).unwrap();
    after.finish();
    assert_eq!(came(&sink), (expected(), expected()));
}

/// A collector that takes connections and says nothing keeps neither the end nor other options
/// waiting: a POST may take far longer than they may.
#[test]
fn a_collector_that_says_nothing_is_not_waited_for() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let pace = Pace { post: Duration::from_mins(1), end: Duration::from_secs(2), ..FAST };
    let exporters = Exporters::start_at(&to(url.clone()), pace).unwrap();
    exporters.observe(builds::all().remove(0));
    // It is under way.
    let taken = silent.accept().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let began = Instant::now();
    exporters.reload(to(url), move |result| sender.send(result).unwrap());
    receiver.recv_timeout(Duration::from_secs(20)).expect("an answer").unwrap();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    exporters.observe(builds::all().remove(0));
    let taken = (taken, silent.accept().unwrap());
    let began = Instant::now();
    let deliveries: BTreeMap<_, _> = exporters.finish().into_iter().collect();
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(deliveries["otlp-spans"].dropped.ended > 0, "{deliveries:#?}");
    drop(taken);
}

/// Each queue by itself, and the sums: no sooner than it asks for, nor than [`FAST`] has it.
#[test]
fn a_collector_that_is_busy_is_given_time() {
    for (retry_after, least) in [(0, &[20, 40, 80, 160, 200][..]), (1, &[1_000, 1_000])] {
        let times: Arc<Mutex<BTreeMap<String, Vec<Instant>>>> = Arc::default();
        let asked = Arc::clone(&times);
        let sink = Sink::listen(0, None, retry_after, move |_, post| {
            // Each batch of rows has a token of its own.
            let to = post.path.split("&insert_deduplication_token").next().unwrap().to_owned();
            let mut times = asked.lock().unwrap();
            let times = times.entry(to).or_default();
            times.push(Instant::now());
            match times.len() {
                count if count > least.len() => 200,
                count if count % 2 == 0 => 429,
                _ => 503,
            }
        });
        let options = Options { clickhouse: Some(sink.url()), ..to(sink.url()) };
        let exporters = Exporters::start_at(&options, FAST).unwrap();
        let builds = builds::all();
        let found = builds.iter().find(|build| !build.trace.findings.is_empty());
        exporters.observe(found.expect("a build with a finding").clone());
        // Spans, log records, sums; builds, chains, findings.
        let is_done = || {
            let times = times.lock().unwrap();
            times.len() == 6 && times.values().all(|times| times.len() > least.len())
        };
        wait_for("all of it", || is_done().then_some(()));
        exporters.finish();
        for (to, times) in &*times.lock().unwrap() {
            let waits: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let mut all = waits.iter().zip(least);
            let is_kept = all.all(|(wait, least)| *wait >= Duration::from_millis(*least));
            assert!(is_kept, "{retry_after} s, {to}: {waits:?}");
        }
    }
}

/// Whether the file can be written is known at once, and that it cannot any more is told.
#[test]
fn a_textfile_that_cannot_be_written_is_told() {
    let directory = TempDir::new().unwrap();
    let dir = directory.path().join("collector");
    let options = Options {
        metrics: Some("off".parse().unwrap()),
        textfile: Some(dir.join("p.prom")),
        ..Options::default()
    };
    let error = Exporters::start_at(&options, FAST).err().expect("there is no directory");
    assert!(format!("{error:#}").contains("p.prom"), "{error:#}");
    fs::create_dir(&dir).unwrap();
    let exporters = Exporters::start_at(&options, FAST).unwrap();
    assert!(exporters.failures().is_empty());
    fs::remove_dir_all(&dir).unwrap();
    let failures = wait_for("a failure", || exporters.failures().pop());
    assert_eq!(failures.0, "textfile");
    assert!(failures.2.contains("No such file"), "{failures:?}");
    exporters.finish();
}

/// In memory it does not, and that is counted.
#[test]
fn what_is_in_memory_is_lost_and_counted() {
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let exporters = Exporters::start_at(&to(nobody), HASTY).unwrap();
    for build in builds::all() {
        exporters.observe(build);
    }
    all_are_taken_in(&exporters);
    let deliveries: BTreeMap<_, _> = exporters.finish().into_iter().collect();
    assert_eq!(deliveries["otlp-spans"].dropped.ended, expected());
    assert_eq!(deliveries["otlp-spans"].queued_bytes, Some(0));
}

#[test]
fn a_queue_that_is_full_loses_the_oldest_and_counts_them() {
    let directory = TempDir::new().unwrap();
    let port = free_port();
    let options = Options {
        queue_size: Some("100KiB".parse().unwrap()),
        ..with_queue(format!("http://127.0.0.1:{port}"), &directory.path().join("q"))
    };
    let exporters = Exporters::start_at(&options, FAST).unwrap();
    let golden = builds::all();
    for turn in 0..5 {
        for build in builds::at(&golden, &builds::ago(100 * turn)) {
            exporters.observe(build);
        }
        // Most are in files of their own then: no more than the oldest of them go.
        thread::sleep(FAST.flush * 2);
    }
    wait_for("an overflow", || (of(&exporters, "otlp-spans").dropped.full > 0).then_some(()));
    wait_for("all builds", || {
        (of(&exporters, "intake").sent == 5 * golden.len() as u64).then_some(())
    });
    assert!(of(&exporters, "otlp-spans").queued_bytes.unwrap() <= 100 << 10);
    let size: u64 = fs::read_dir(directory.path().join("q/otlp-spans"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(size <= 100 << 10, "{size}");
    let sink = Sink::start_at(port, |_| 200);
    let deliveries: BTreeMap<_, _> = exporters.finish().into_iter().collect();
    let delivery = deliveries["otlp-spans"];
    let (all, different) = came(&sink);
    assert_eq!((all, different), (delivery.sent, delivery.sent));
    assert_eq!(delivery.sent + delivery.dropped.full, 5 * expected());
}

/// Hands everything over and waits for its end: run by [`agent`] in a process of its own.
#[test]
#[ignore = "a half of other tests, which start it"]
fn victim() {
    let Some(told) = env::var_os(VICTIM).and_then(|told| told.into_string().ok()) else { return };
    let (queue, url) = told.split_once(' ').unwrap();
    let exporters =
        Exporters::start_at(&with_queue(url.to_owned(), Path::new(queue)), FAST).unwrap();
    let builds = builds::all();
    for build in &builds {
        exporters.observe(build.clone());
    }
    wait_for("all builds", || (of(&exporters, "intake").sent == builds.len() as u64).then_some(()));
    eprintln!("handed over");
    thread::sleep(Duration::from_mins(1));
}

/// An agent that is to be killed.
fn agent(queue: &Path, url: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "faults::victim", "--ignored", "--nocapture"]);
    command.env(VICTIM, format!("{} {url}", queue.display()));
    command
}

/// Kills an agent when it has everything and has come so far.
fn killed(queue: &Path, url: &str, has_come: impl FnOnce() -> bool) {
    let mut command = agent(queue, url);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let handed = lines.map_while(Result::ok).any(|line| line == "handed over");
    let has_come = has_come();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(handed && has_come, "{handed}, {has_come}");
}

#[test]
fn an_agent_that_is_killed_loses_nothing_that_it_had() {
    let directory = TempDir::new().unwrap();
    let queue = directory.path().join("q");
    killed(&queue, &format!("http://127.0.0.1:{}", free_port()), || true);
    let sink = Sink::start(|_| 200);
    let after = Exporters::start_at(&with_queue(sink.url(), &queue), FAST).unwrap();
    let deliveries: BTreeMap<_, _> = after.finish().into_iter().collect();
    assert_eq!(came(&sink), (expected(), expected()));
    assert_eq!(deliveries["otlp-spans"].dropped.all(), 0, "{deliveries:#?}");
}

/// What was sent and not yet known to be taken comes again: at least once, and by its ids it can be
/// told.
#[test]
fn an_agent_that_is_killed_while_it_sends_may_send_twice() {
    let directory = TempDir::new().unwrap();
    let queue = directory.path().join("q");
    let (sender, asked) = std::sync::mpsc::channel();
    // It answers when whoever asks is gone.
    let slow = Sink::listen(0, None, 0, move |_, post| {
        if post.path == "/v1/traces" {
            let _ = sender.send(());
            thread::sleep(Duration::from_mins(1));
        }
        200
    });
    killed(&queue, &slow.url(), || asked.recv_timeout(Duration::from_mins(1)).is_ok());
    let sink = Sink::start(|_| 200);
    let after = Exporters::start_at(&with_queue(sink.url(), &queue), FAST).unwrap();
    after.finish();
    assert_eq!(came(&sink), (expected(), expected()), "what was under way stayed in the queue");
}

#[test]
fn a_disk_that_is_full_costs_what_does_not_fit() {
    let directory = TempDir::new().unwrap();
    let place = directory.path().to_owned();
    // Threads have namespaces of their own; the exporters' are children of this one.
    let test =
        thread::spawn(move || {
            let small = unshare(CloneFlags::CLONE_NEWNS).and_then(|()| {
                let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
                mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
                mount(Some("tmpfs"), &place, Some("tmpfs"), MsFlags::empty(), Some("size=512k"))
            });
            if let Err(error) = small {
                return skip(&format!("no small disk: {error}"));
            }
            let filler = place.join("filler");
            fs::write(&filler, vec![0; 300 << 10]).unwrap();
            let port = free_port();
            let options = Options {
                ndjson: Some(place.join("files")),
                textfile: Some(place.join("p.prom")),
                ..with_queue(format!("http://127.0.0.1:{port}"), &place.join("q"))
            };
            let exporters = Exporters::start_at(&options, FAST).unwrap();
            let golden = builds::all();
            let hand_over = |turn: u64| {
                for build in builds::at(&golden, &builds::ago(100 * turn)) {
                    exporters.observe(build);
                }
                let all = (turn + 1) * golden.len() as u64;
                wait_for("all builds", || (of(&exporters, "intake").sent == all).then_some(()));
            };
            hand_over(0);
            hand_over(1);
            let full = (of(&exporters, "otlp-spans"), of(&exporters, "ndjson"));
            assert!(full.0.dropped.disk > 0 && full.1.dropped.disk > 0, "{full:?}");
            // The log has no other way to tell of it. (Of spans it tells what came last: that nobody
            // answers.)
            let why = exporters.failures().into_iter().find(|(name, ..)| *name == "ndjson");
            assert!(why.as_ref().is_some_and(|it| it.2.contains("No space left")), "{why:?}");
            // There is room again, and it goes on.
            fs::remove_file(&filler).unwrap();
            hand_over(2);
            let sink = Sink::start_at(port, |_| 200);
            let deliveries: BTreeMap<_, _> = exporters.finish().into_iter().collect();
            let delivery = deliveries["otlp-spans"];
            assert_eq!(came(&sink), (delivery.sent, delivery.sent));
            assert_eq!(delivery.sent + delivery.dropped.all(), 3 * expected());
            assert_eq!(delivery.dropped.all(), delivery.dropped.disk);

            let mut lines = 0;
            for entry in fs::read_dir(place.join("files")).unwrap() {
                for line in read(&entry.unwrap().path()).lines() {
                    serde_json::from_str::<serde_json::Value>(line).expect("a whole line");
                    lines += 1;
                }
            }
            let written = deliveries["ndjson"];
            assert_eq!(lines, written.sent);
            let of_one: usize = golden
                .iter()
                .map(|build| 1 + build.trace.chains.len() + build.trace.findings.len())
                .sum();
            assert_eq!(written.sent + written.dropped.disk, 3 * of_one as u64);
            let text = fs::read_to_string(place.join("p.prom")).unwrap();
            assert!(text.contains(
                "proxytrace_export_dropped_total{exporter=\"otlp-spans\",reason=\"disk\"}"
            ));
        });
    test.join().unwrap();
}

/// Whoever hands builds over never waits.
#[test]
fn a_burst_is_counted_whole() {
    let exporters = Exporters::start_at(&to(format!("http://127.0.0.1:{}", free_port())), FAST);
    let exporters = exporters.unwrap();
    let builds = builds::all();
    let all: Vec<_> = (0..5_000).map(|number| builds[number % builds.len()].clone()).collect();
    let began = Instant::now();
    for build in all {
        exporters.observe(build);
    }
    let took = began.elapsed();
    let deliveries: BTreeMap<_, _> = exporters.finish().into_iter().collect();
    let intake = deliveries["intake"];
    assert_eq!(intake.sent + intake.dropped.busy, 5_000, "{intake:?}");
    assert!(intake.dropped.busy > 0, "no burst");
    assert!(took < Duration::from_secs(5), "{took:?}");
}

/// Other options, while builds come: nothing is lost, sums go on, and what is wrong changes nothing.
#[test]
fn options_change_under_way() {
    let directory = TempDir::new().unwrap();
    let (first, second) = (Sink::start(|_| 200), Sink::start(|_| 200));
    let queue = directory.path().join("q");
    let metrics = |options: Options| Options {
        metrics: Some("127.0.0.1:0".parse().unwrap()),
        ndjson: Some(directory.path().join("files")),
        ..options
    };
    let before = metrics(with_queue(first.url(), &queue));
    let exporters = Exporters::start_at(&before, FAST).unwrap();
    let reload = |options: Options| {
        let (sender, receiver) = std::sync::mpsc::channel();
        exporters.reload(options, move |result| sender.send(result).unwrap());
        receiver.recv_timeout(Duration::from_secs(30)).unwrap()
    };
    let golden = builds::all();
    let hand_over = |builds: Vec<Build>| {
        for build in builds {
            exporters.observe(build);
        }
    };
    hand_over(golden.clone());
    reload(metrics(with_queue(second.url(), &queue))).unwrap();
    hand_over(builds::at(&golden, &builds::ago(0)));
    let broken = Options { otlp: Some("nonsense".to_owned()), ..before.clone() };
    assert!(reload(broken).unwrap_err().to_string().contains("--otlp"));
    hand_over(builds::at(&golden, &builds::ago(9)));
    let url = format!("http://{}/metrics", exporters.metrics_address().unwrap());
    let expected = format!("proxytrace_builds_observed_total {}", 3 * golden.len());
    wait_for("all builds", || curl(&[&url]).filter(|text| text.contains(&expected)));
    // As many as somebody in a hurry sends; some are too many, and say so.
    let (sender, receiver) = std::sync::mpsc::channel();
    for _ in 0..300 {
        let sender = sender.clone();
        exporters.reload(before.clone(), move |result| sender.send(result.is_ok()).unwrap());
    }
    let answers: Vec<bool> = receiver.iter().take(300).collect();
    assert!(answers.contains(&true));
    let deliveries: BTreeMap<_, _> = exporters.finish().into_iter().collect();
    let ((one, _), (two, _)) = (came(&first), came(&second));
    assert!(two > 0);
    assert_eq!(one + two, 3 * self::expected());
    assert_eq!(deliveries["otlp-spans"].dropped.all(), 0, "{deliveries:#?}");
    assert_eq!(deliveries["intake"].sent, 3 * golden.len() as u64);
}

/// Of two files beside one another the collector would read both, and one would never change.
#[test]
fn the_textfile_is_where_the_options_have_it_and_nowhere_else() {
    let directory = TempDir::new().unwrap();
    let to = |name: &str| Options {
        metrics: Some("off".parse().unwrap()),
        textfile: Some(directory.path().join(name)),
        ..Options::default()
    };
    let files = || {
        let entries = fs::read_dir(directory.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    // Somebody else's, until it is known that this agent can start.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    fs::write(directory.path().join("a.prom"), "theirs").unwrap();
    let refused = Options { metrics: Some(listen.parse().unwrap()), ..to("a.prom") };
    assert!(Exporters::start_at(&refused, FAST).is_err());
    assert_eq!(fs::read(directory.path().join("a.prom")).unwrap(), b"theirs");

    let exporters = Exporters::start_at(&to("a.prom"), FAST).unwrap();
    let reload = |options: Options| {
        let (sender, receiver) = std::sync::mpsc::channel();
        exporters.reload(options, move |result| sender.send(result).unwrap());
        receiver.recv_timeout(Duration::from_secs(30)).unwrap()
    };
    let broken = Options { ndjson: Some("/dev/null/x".into()), ..to("b.prom") };
    assert!(reload(broken).is_err());
    assert_eq!(files(), ["a.prom"]);
    reload(to("b.prom")).unwrap();
    assert_eq!(files(), ["b.prom"]);
    reload(Options { textfile: None, ..to("b.prom") }).unwrap();
    assert!(files().is_empty(), "{:?}", files());
    exporters.finish();
}

/// The authorities are those of the system, or of `SSL_CERT_FILE`.
#[test]
fn a_collector_behind_tls_has_to_be_known() {
    let directory = TempDir::new().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let sink = Sink::start_tls(made.cert.der().to_vec(), made.signing_key.serialize_der());
    let url = sink.tls_url();
    let stranger = Exporters::start_at(&to(url.clone()), HASTY).unwrap();
    stranger.observe(builds::all().remove(0));
    wait_for("a failure", || (of(&stranger, "otlp-spans").failures > 1).then_some(()));
    let failures = stranger.failures();
    assert!(failures.iter().any(|(_, _, why)| why.contains("certificate")), "{failures:?}");
    stranger.finish();
    assert!(sink.posts().is_empty());

    let authorities = directory.path().join("authorities.pem");
    fs::write(&authorities, made.cert.pem()).unwrap();
    let mut command = agent(&directory.path().join("q"), &url);
    command.env("SSL_CERT_FILE", authorities).stdout(Stdio::null()).stderr(Stdio::null());
    let _agent = crate::engines::Engine::start(&mut command);
    wait_for("all spans", || (came(&sink).0 == expected()).then_some(()));
}
