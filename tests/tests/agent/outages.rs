//! Those to whom the agent hands what it has seen are gone, or there is no room: builds go on, the
//! agent lives, everything arrives once there is somebody, and what is lost is counted.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, thread};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use prost::Message as _;
use proxytrace::agent::state::State;
use proxytrace::model::Witness;
use proxytrace_tests::cases;
use proxytrace_tests::lab::Lab;
use proxytrace_tests::scenario::Scenario;
use proxytrace_tests::toolchain::Toolchain;

use crate::engines::free_port;
use crate::running::{Agent, Build, RUN, alone, job, version};
use crate::sink::Sink;

/// Seconds become tens of milliseconds.
const HASTE: &str = "50";

/// Has a collector be gone for so many seconds, at the agent's own pace.
const OUTAGE_VAR: &str = "AGENT_OUTAGE";

fn outage() -> Option<Duration> {
    let seconds = env::var(OUTAGE_VAR).ok()?;
    Some(Duration::from_secs(seconds.parse().expect("a number of seconds")))
}

/// Somewhere to build, and how.
struct Place {
    lab: Lab,
    toolchain: Toolchain,
}

impl Place {
    fn new(toolchain: Toolchain) -> Self {
        let scenario = Scenario::find("healthy-40").expect("it is in the table");
        Self { lab: Lab::start(scenario, &toolchain).unwrap(), toolchain }
    }

    /// A download of forty modules, which succeeds whatever becomes of the agent.
    fn build(&self, agent: &Agent, name: &str) {
        let mut command = self.lab.command("go");
        command.args(["mod", "download"]).envs(job(name));
        command.env("GOMODCACHE", self.lab.dir().join("caches").join(name));
        let output = self.lab.output(command).unwrap();
        assert!(output.status.success(), "{output:?}");
        agent.until("seen the build", || agent.builds_of(name).len() == 1);
        assert!(agent.builds_of(name)[0].trace.capture.complete);
    }

    /// An agent that watches all, and sends to a port of this machine.
    fn agent(&self, port: u16, options: &[&str]) -> Agent {
        let otlp = format!("http://127.0.0.1:{port}");
        let haste = if outage().is_some() { "1" } else { HASTE };
        let ours = ["--sample", "1", "--metrics", "off", "--haste", haste, "--otlp", &otlp];
        Agent::start(&self.toolchain, &[&ours[..], options].concat())
    }
}

/// How many spans builds are.
pub(crate) fn spans_of(builds: &[Build]) -> usize {
    let spans = builds.iter().map(|build| {
        let attempts = build.trace.chains.iter().flat_map(|chain| &chain.attempts);
        let requests = attempts.flat_map(|attempt| &attempt.requests);
        let sent = requests.filter(|request| request.witness != Witness::Wire).count();
        1 + build.trace.chains.len() + sent
    });
    spans.sum()
}

/// How many spans came, and how many different ones.
pub(crate) fn came(sink: &Sink) -> (usize, usize) {
    came_of(sink, |_| true)
}

/// The same, of the builds of which the CI job has an id: of those that others start on this machine,
/// the one or the other may be under way when an agent is killed.
fn came_of_ours(sink: &Sink) -> (usize, usize) {
    came_of(sink, |resource| {
        let attributes = resource.resource.iter().flat_map(|resource| &resource.attributes);
        attributes.into_iter().any(|attribute| attribute.key == RUN)
    })
}

fn came_of(sink: &Sink, is_counted: impl Fn(&ResourceSpans) -> bool) -> (usize, usize) {
    let ids: Vec<_> = sink
        .taken("/v1/traces")
        .iter()
        .flat_map(|post| ExportTraceServiceRequest::decode(&*post.body).unwrap().resource_spans)
        .filter(is_counted)
        .flat_map(|resource| resource.scope_spans)
        .flat_map(|scope| scope.spans)
        .map(|span| (span.trace_id, span.span_id))
        .collect();
    (ids.len(), ids.iter().collect::<BTreeSet<_>>().len())
}

/// What metrics say of the records of an exporter: `sent`, or why they were given up.
fn counted(textfile: &Path, exporter: &str, what: &str) -> usize {
    let text = fs::read_to_string(textfile).unwrap();
    let series = match what {
        "sent" => format!("proxytrace_export_records_total{{exporter=\"{exporter}\"}} "),
        reason => format!(
            "proxytrace_export_dropped_total{{exporter=\"{exporter}\",reason=\"{reason}\"}} "
        ),
    };
    let value = text.lines().find_map(|line| line.strip_prefix(&*series));
    value.unwrap_or_else(|| panic!("no {series}: {text}")).parse().unwrap()
}

/// Waits until all builds that an agent tells of are in its queue: then they are counted.
fn until_kept(agent: &Agent, textfile: &Path) {
    let all = agent.builds().len();
    // At its own pace it seldom writes metrics, and shows new ones as 0 for a minute.
    let most = Duration::from_mins(if outage().is_some() { 3 } else { 1 });
    agent.until_within(most, "kept all", || counted(textfile, "intake", "sent") >= all);
}

fn queued(queue: &Path) -> u64 {
    let files = fs::read_dir(queue.join("otlp-spans")).into_iter().flatten().flatten();
    files.map(|file| file.metadata().map_or(0, |metadata| metadata.len())).sum()
}

#[test]
fn a_collector_that_is_gone_gets_everything_when_it_is_back() {
    let Some((_alone, toolchain)) = alone() else { return };
    let place = Place::new(toolchain);
    let dir = tempfile::tempdir().unwrap();
    let queue = dir.path().join("q");
    let options = ["--queue", queue.to_str().unwrap()];
    let port = free_port();

    // Nobody is there, and the agent ends and is there again, twice: the second time it is killed.
    let ours = |agent: &Agent| {
        let mut builds = agent.builds();
        builds.retain(|build| build.job.contains_key(RUN));
        builds
    };
    let mut builds = Vec::new();
    for (turn, is_killed) in [("first", false), ("second", true)] {
        // Each has its own: in that of the one before there are other counts.
        let textfile = dir.path().join(format!("{turn}.prom"));
        let files = ["--textfile", textfile.to_str().unwrap()];
        let agent = place.agent(port, &[&options[..], &files].concat());
        for number in 0..2 {
            place.build(&agent, &format!("{turn}-{number}"));
        }
        let before = queued(&queue);
        if is_killed {
            // What was handed over is written down before long.
            let spans = spans_of(&agent.builds()) as u64;
            agent.until("kept them", || queued(&queue) > spans * 100);
            until_kept(&agent, &textfile);
            builds.extend(ours(&agent));
            agent.signal(libc::SIGKILL);
            drop(agent);
        } else {
            builds.extend(ours(&agent));
            let (status, _, log) = agent.end();
            assert!(status.success(), "{log:#?}");
        }
        assert!(queued(&queue) >= before && before > 0);
    }

    // Builds go on meanwhile.
    let agent = place.agent(port, &options);
    if let Some(outage) = outage() {
        let until = Instant::now() + outage;
        for number in 0.. {
            if Instant::now() >= until {
                break;
            }
            place.build(&agent, &format!("meanwhile-{number}"));
            // As often as somebody builds.
            thread::sleep(Duration::from_secs(20));
        }
    }
    // It comes back, has too much to do at first, and then takes everything, once each.
    let sink = Sink::start_at(port, |number| if number < 5 { 503 } else { 200 });
    // At its own pace it asks once a minute or two by now, and has been refused five times more.
    let most = Duration::from_mins(if outage().is_some() { 15 } else { 1 });
    for name in ["third", "fourth"] {
        place.build(&agent, name);
        let expected = spans_of(&builds) + spans_of(&ours(&agent));
        agent.until_within(most, "sent everything", || came_of_ours(&sink).0 >= expected);
    }
    builds.extend(ours(&agent));
    agent.until_within(most, "an empty queue", || queued(&queue) == 0);
    let (status, _, log) = agent.end();
    assert!(status.success(), "{log:#?}");
    assert!(builds.len() >= 6, "{}", builds.len());
    assert_eq!(came_of_ours(&sink), (spans_of(&builds), spans_of(&builds)));
    assert!(sink.posts().iter().filter(|post| post.status == 503).count() == 5);
    assert!(!log.iter().any(|line| line.contains("records were dropped")), "{log:#?}");
}

#[test]
fn a_queue_that_overflows_is_counted() {
    let Some((_alone, toolchain)) = alone() else { return };
    let place = Place::new(toolchain);
    let dir = tempfile::tempdir().unwrap();
    let (queue, textfile) = (dir.path().join("q"), dir.path().join("p.prom"));
    let port = free_port();
    let options = ["--queue", queue.to_str().unwrap(), "--queue-size", "200KiB"];
    let files = ["--textfile", textfile.to_str().unwrap()];
    let agent = place.agent(port, &[&options[..], &files].concat());
    let lost = || counted(&textfile, "otlp-spans", "full");
    let mut number = 0;
    while number < 2 || lost() == 0 {
        assert!(number < 10, "no overflow");
        place.build(&agent, &format!("overflow-{number}"));
        until_kept(&agent, &textfile);
        assert!(queued(&queue) <= 200 << 10);
        number += 1;
    }
    let sink = Sink::start_at(port, |_| 200);
    agent.until("sent the rest", || queued(&queue) == 0);
    let (status, builds, log) = agent.end();
    assert!(status.success(), "{log:#?}");
    let (all, different) = came(&sink);
    assert_eq!((all, different), (counted(&textfile, "otlp-spans", "sent"), all));
    assert_eq!(all + lost(), spans_of(&builds));
    assert!(log.iter().any(|line| line.contains("records were dropped")), "{log:#?}");
}

/// Runs a test beside a small disk, which only the test and what it starts can see.
fn with_small_disk(test: impl FnOnce(&Path) + Send) {
    let small = tempfile::tempdir().unwrap();
    // A thread has namespaces of its own, and what it starts has them too.
    thread::scope(|scope| {
        scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
            let (small, size) = (small.path(), Some("size=512k"));
            mount(Some("tmpfs"), small, Some("tmpfs"), MsFlags::empty(), size).unwrap();
            test(small);
        });
    });
}

#[test]
fn a_full_disk_costs_what_does_not_fit() {
    let Some((_alone, toolchain)) = alone() else { return };
    let dir = tempfile::tempdir().unwrap();
    with_small_disk(|small| on_a_full_disk(toolchain, small, &dir.path().join("p.prom")));
}

fn on_a_full_disk(toolchain: Toolchain, small: &Path, textfile: &Path) {
    let place = Place::new(toolchain);
    let filler = small.join("filler");
    fs::write(&filler, vec![0; 400 << 10]).unwrap();
    let (queue, files) = (small.join("q"), small.join("files"));
    let port = free_port();
    let options = [
        ["--queue", queue.to_str().unwrap()],
        ["--ndjson", files.to_str().unwrap()],
        ["--textfile", textfile.to_str().unwrap()],
    ];
    let agent = place.agent(port, &options.concat());
    for number in 0..2 {
        place.build(&agent, &format!("full-{number}"));
    }
    agent.until("lost something", || {
        counted(textfile, "otlp-spans", "disk") > 0 && counted(textfile, "ndjson", "disk") > 0
    });
    fs::remove_file(filler).unwrap();
    // There is room again, and it goes on.
    place.build(&agent, "room");
    let sink = Sink::start_at(port, |_| 200);
    agent.until("sent the rest", || queued(&queue) == 0);
    let (status, builds, log) = agent.end();
    assert!(status.success(), "{log:#?}");
    let (all, different) = came(&sink);
    assert_eq!((all, different), (counted(textfile, "otlp-spans", "sent"), all));
    assert_eq!(all + counted(textfile, "otlp-spans", "disk"), spans_of(&builds));
    assert!(all > 0);
    let lines = fs::read_dir(&files).unwrap().map(|file| {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        let whole = |line| serde_json::from_str::<serde_json::Value>(line).expect("a whole line");
        text.lines().map(whole).collect::<Vec<_>>().len()
    });
    let lines: usize = lines.sum();
    assert_eq!(lines, counted(textfile, "ndjson", "sent"));
    let rows = |build: &Build| 1 + build.trace.chains.len() + build.trace.findings.len();
    let all: usize = builds.iter().map(rows).sum();
    assert_eq!(lines + counted(textfile, "ndjson", "disk"), all);
}

/// By its state others know how it does: the last that there was room for stays.
#[test]
fn a_state_for_which_there_is_no_room_is_told_once() {
    let Some((_alone, toolchain)) = alone() else { return };
    with_small_disk(|small| without_room_for_the_state(&toolchain, small));
}

fn without_room_for_the_state(toolchain: &Toolchain, small: &Path) {
    let dir = tempfile::tempdir_in(small).unwrap();
    let state = dir.path().join("state.json");
    let program = Command::new(cases::proxytrace());
    let agent = Agent::spawn(program, toolchain, &["--sample", "1"], &[], Some(dir));
    agent.watches();
    let before = agent.state();

    let filler = small.join("filler");
    let file = File::create(&filler).unwrap();
    let said = |what: &str| agent.log().iter().filter(|line| line.contains(what)).count();
    // Again and again: what is replaced makes room.
    agent.until("said that there is no room", || {
        while (&file).write_all(&[0; 1024]).is_ok() {}
        said("the state cannot be written") > 0
    });
    // Each has it written, or not.
    for number in 1..=5 {
        let reread = said("settings read again");
        agent.signal(libc::SIGHUP);
        agent.until("read its settings", || said("settings read again") > reread);
        let name = format!("full-{number}");
        version(toolchain, &name);
        agent.until("seen the build", || agent.builds_of(&name).len() == 1);
    }
    assert_eq!(said("the state cannot be written"), 1, "{:#?}", agent.log());
    let kept = State::read(&state).expect("it is whole");
    assert_eq!((kept.pid, kept.has_ended), (before.pid, false));
    let partial = state.with_extension("json.partial");
    agent.until("taken away what did not fit", || !partial.exists());

    drop(file);
    fs::remove_file(filler).unwrap();
    assert!(agent.state().handed_on >= before.handed_on + 5);
    let (status, _, log, dir) = agent.end_by(libc::SIGTERM);
    assert!(status.success(), "{log:#?}");
    assert!(State::read(&state).unwrap().has_ended);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "something is left beside it");
    let told = log.iter().filter(|line| line.contains("the state cannot be written"));
    let told: Vec<&String> = told.collect();
    assert_eq!(told.len(), 1, "{log:#?}");
    for part in ["level=warn", "No space left on device", state.to_str().unwrap()] {
        assert!(told[0].contains(part), "no {part}: {}", told[0]);
    }
}
