//! An agent as those who run it see it: a service manager, a shell, a person.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use proxytrace_tests::cases;
use serde_json::Value;

use crate::running::{Agent, alone, changed, job, lines, version};
use crate::sink::Sink;

/// The capabilities that an agent keeps (capability.h), and the one that it keeps where each probe is
/// an event of its own.
const CAPABILITIES: [(&str, u32); 4] =
    [("CAP_DAC_READ_SEARCH", 2), ("CAP_SYS_PTRACE", 19), ("CAP_PERFMON", 38), ("CAP_BPF", 39)];
const ADMINISTRATOR: (&str, u32) = ("CAP_SYS_ADMIN", 21);

/// A set of capabilities of a thread, as `/proc` has it.
fn capabilities(status: &Path, set: &str) -> u64 {
    let text = fs::read_to_string(status).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{set}:\t"))).unwrap();
    u64::from_str_radix(line, 16).unwrap()
}

fn status(state: &Path) -> Output {
    let mut command = Command::new(cases::proxytrace());
    command.args(["agent", "status", "--state"]).arg(state).output().unwrap()
}

/// What systemd waits for, and what `agent status` says and exits with, from the start to the end;
/// and what the agent may do meanwhile: what the unit lets it have, and no more.
#[test]
fn those_who_run_it_are_told_how_it_does() {
    let Some((_alone, toolchain)) = alone() else { return };
    let dir = tempfile::tempdir().unwrap();
    let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let told = |what: &str| {
        let mut message = [0; 256];
        loop {
            let length = socket.recv(&mut message).unwrap_or_else(|_| panic!("never told {what}"));
            if String::from_utf8_lossy(&message[..length]).lines().any(|line| line == what) {
                return;
            }
        }
    };
    let path = dir.path().join("notify");
    let environment = [("NOTIFY_SOCKET", path.as_os_str())];
    let agent = Agent::begin_with(&toolchain, &["--sample", "1"], &environment);
    told("READY=1");
    told("WATCHDOG=1");
    agent.signal(libc::SIGHUP);
    told("RELOADING=1");
    told("READY=1");

    version(&toolchain, "status");
    agent.until("seen it", || agent.builds_of("status").len() == 1);
    let backend = agent.builds_of("status")[0].trace.capture.backend.clone();
    let unit = include_str!("../../../proxytrace/agent/proxytrace-agent.service");
    let bounding = unit.lines().find_map(|it| it.strip_prefix("CapabilityBoundingSet=")).unwrap();
    let more = (backend == "perf").then_some(ADMINISTRATOR);
    let bits = CAPABILITIES.into_iter().chain(more).map(|(name, bit)| {
        assert!(bounding.split(' ').any(|word| word == name), "{name} is kept from it");
        1_u64 << bit
    });
    let ours = capabilities(Path::new("/proc/self/status"), "CapPrm");
    let expected = ours & bits.sum::<u64>();
    assert!(expected != 0 && ours != expected, "there is something to give up");
    for task in fs::read_dir(format!("/proc/{}/task", agent.pid())).unwrap() {
        let status = task.unwrap().path().join("status");
        for set in ["CapEff", "CapPrm", "CapBnd"] {
            assert_eq!(capabilities(&status, set), expected, "{set} of {}", status.display());
        }
        assert_eq!((capabilities(&status, "CapInh"), capabilities(&status, "CapAmb")), (0, 0));
        let status = fs::read_to_string(&status).unwrap();
        assert!(
            status.contains("NoNewPrivs:\t1\n") && status.contains("Seccomp:\t2\n"),
            "{status}"
        );
    }

    agent.state();
    let state = agent.dir().join("state.json");
    let (running, text) = (status(&state), |output: &Output| {
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr)
    });
    assert!(running.status.success(), "{running:?}");
    for part in [&*format!("(pid {}, version ", agent.pid()), "running for", "100.000% of builds"] {
        assert!(text(&running).contains(part), "no {part}: {}", text(&running));
    }
    let kept = dir.path().join("kept.json");
    agent.signal(libc::SIGTERM);
    told("STOPPING=1");
    agent_has_ended(&agent);
    fs::copy(&state, &kept).unwrap();
    let ended = status(&kept);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(text(&ended).contains("not running: ended at "), "{}", text(&ended));
    let never = status(&dir.path().join("none.json"));
    assert_eq!(never.status.code(), Some(1), "{never:?}");
    assert!(text(&never).contains("it was never started"), "{}", text(&never));
}

/// A process that has ended has no executable any more, though nobody has waited for it.
fn agent_has_ended(agent: &Agent) {
    let began = Instant::now();
    while fs::read_link(format!("/proc/{}/exe", agent.pid())).is_ok() {
        assert!(began.elapsed() < Duration::from_secs(20), "{:#?}", agent.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    // Until the test has waited for it, its pid is taken.
    assert!(Path::new("/proc").join(agent.pid().to_string()).exists());
}

#[test]
fn once_ends_by_itself() {
    let Some((_alone, toolchain)) = alone() else { return };
    let dir = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let child = Command::new(cases::proxytrace())
        .args(["agent", "--once", "--for", "3s", "--sample", "1", "--metrics", "off"])
        .arg("--state")
        .arg(dir.path().join("state.json"))
        .env("PATH", toolchain.goroot.join("bin"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // From there on it watches, and has three seconds; to come there may take as long.
    while !dir.path().join("state.json").exists() {
        assert!(began.elapsed() < Duration::from_mins(1), "it never watched");
        std::thread::sleep(Duration::from_millis(20));
    }
    version(&toolchain, "once");
    let output = child.wait_with_output().unwrap();
    let took = began.elapsed();
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{log}");
    assert!(took >= Duration::from_secs(3) && took < Duration::from_secs(90), "{took:?}");
    let lines: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).expect("a build a line"))
        .collect();
    let ours = lines.iter().filter(|build| build["job"]["cicd.pipeline.run.id"] == "once");
    let ours: Vec<&Value> = ours.collect();
    assert_eq!(ours.len(), 1, "{lines:#?}");
    assert_eq!(
        (&ours[0]["schema"], &ours[0]["share"]),
        (&"proxytrace.build/v1".into(), &1.0.into())
    );
    assert_eq!(ours[0]["trace"]["command"]["exit_code"], 0);
    let said = format!("msg=ended chosen={0} passed_over=0 handed_on={0} ", lines.len());
    assert!(log.contains(&said), "{log}");
}

/// Each budget by itself; the agents run beside one another, as each looks for ten seconds first.
#[test]
fn a_budget_lowers_the_share_and_says_so() {
    // In per cent: with builds one after the other an agent takes some.
    const CPU: f64 = 0.2;
    let Some((_alone, toolchain)) = alone() else { return };
    let cpu = format!("{CPU}%");
    let budgets = [
        ("--max-events", "5/s", "share lowered: too many events"),
        ("--max-cpu", cpu.as_str(), "share lowered: too much processor time"),
    ];
    let agents = budgets.map(|(budget, most, why)| {
        let options = ["--sample", "1", "--log-format", "json", budget, most];
        (Agent::begin(&toolchain, &options), why)
    });
    for (agent, _) in &agents {
        agent.watches();
    }
    for (agent, why) in agents {
        let lowered = || json(&agent.log()).into_iter().find(|line| line["msg"] == why);
        agent.until("lowered its share", || {
            version(&toolchain, "budget");
            lowered().is_some()
        });
        let line = lowered().unwrap();
        assert_eq!((&line["level"], &line["from"]), (&"warn".into(), &1.0.into()), "{line}");
        if why.contains("processor") {
            let cpu = line["cpu"].as_str().unwrap().strip_suffix('%').unwrap();
            assert!(cpu.parse::<f64>().unwrap() >= CPU, "{line}");
        }
        let health = agent.state().health;
        assert!(health.share < 1.0, "{health:?}");
        let said = status(&agent.dir().join("state.json"));
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.contains("(lowered from 100.000% to keep within the budgets)"), "{said}");
        // The kernel chooses by it.
        agent.until("passed over a build", || {
            version(&toolchain, "budget");
            agent.state().health.passed_over > 0
        });
        let (status, _, log) = agent.end();
        assert!(status.success(), "{log:#?}");
        let log = json(&log);
        for line in &log {
            assert!(["time", "level", "msg"].iter().all(|it| line[*it].is_string()), "{line}");
        }
        assert_eq!(log.last().unwrap()["msg"], "ended", "{log:#?}");
    }
}

/// The lines of a log, each an object of JSON.
fn json(log: &[String]) -> Vec<Value> {
    let parse = |line: &String| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
    log.iter().map(parse).collect()
}

#[test]
fn files_of_lines_are_changed_and_compressed_under_way() {
    let Some((_alone, toolchain)) = alone() else { return };
    let dir = tempfile::tempdir().unwrap();
    let files = dir.path().join("files");
    // An hour is 1.8 s.
    let outlets = ["--ndjson", files.to_str().unwrap(), "--metrics", "off", "--haste", "2000"];
    let agent = Agent::start(&toolchain, &[&["--sample", "1"], &outlets[..]].concat());
    for count in 1..=2 {
        version(&toolchain, "changed");
        agent.until("changed its file", || changed(&files).len() >= count);
    }
    version(&toolchain, "last");
    agent.until("seen the last", || agent.builds_of("last").len() == 1);
    let (status, builds, log) = agent.end();
    assert!(status.success(), "{log:#?}");
    let text = lines(&files);
    let runs = |run: &str| {
        let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        rows.filter(|row| row["job"]["cicd.pipeline.run.id"] == run).count()
    };
    assert_eq!((runs("changed"), runs("last")), (2, 1));
    assert_eq!(text.lines().count(), builds.len());
}

/// No more is kept than is asked for.
#[test]
fn files_of_lines_are_kept_as_asked_for() {
    let Some((_alone, toolchain)) = alone() else { return };
    let dir = tempfile::tempdir().unwrap();
    let files = dir.path().join("files");
    // An hour is 18 s.
    let keep = ["--sample", "1", "--metrics", "off", "--haste", "200", "--ndjson-keep", "1B"];
    let outlet = ["--ndjson", files.to_str().unwrap()];
    let agent = Agent::start(&toolchain, &[&keep[..], &outlet].concat());
    // Compressed by now, or not yet.
    let are_changed = || {
        let mut names = fs::read_dir(&files).unwrap().map(|file| file.unwrap().file_name());
        names.any(|name| name.to_str().unwrap().starts_with("builds-"))
    };
    let grows = || fs::read_to_string(files.join("builds.ndjson")).unwrap_or_default();
    version(&toolchain, "kept");
    agent.until("written it", || grows().contains("\"kept\"") || are_changed());
    agent.until("removed it", || !are_changed() && !grows().contains("\"kept\""));
    let (status, _, log) = agent.end();
    assert!(status.success(), "{log:#?}");
}

/// Its stdout is a pipe, and who should read it does not.
#[test]
fn a_reader_that_stalls_holds_nobody() {
    const BUILDS: usize = 120;
    let Some((_alone, toolchain)) = alone() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (state, textfile) = (dir.path().join("state.json"), dir.path().join("p.prom"));
    let mut agent = Command::new(cases::proxytrace())
        .args(["agent", "--sample", "1", "--metrics", "off", "--haste", "20", "--ndjson", "-"])
        .arg("--textfile")
        .arg(&textfile)
        .arg("--state")
        .arg(&state)
        .env("PATH", toolchain.goroot.join("bin"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let until = |what: &str, reached: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !reached() {
            assert!(began.elapsed() < Duration::from_mins(1), "never {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    until("watching", &|| state.exists());
    for _ in 0..BUILDS {
        let mut command = Command::new(toolchain.goroot.join("bin/go"));
        // Lines are long, so that the pipe is full.
        command.arg("version").arg("x".repeat(1_000)).envs(job("stalled"));
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    }
    // It is shown as 0 for a while.
    let taken = "proxytrace_export_records_total{exporter=\"intake\"} ";
    let counted = || {
        let text = fs::read_to_string(&textfile).unwrap_or_default();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(taken))
            .map(|value| value.parse::<usize>().unwrap());
        value.is_some_and(|value| value >= BUILDS)
    };
    until("counted all builds", &counted);
    let pid = agent.id().cast_signed();
    let began = Instant::now();
    // SAFETY: a system call on a process that this test started and has not reaped.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
    let status = loop {
        if let Some(status) = agent.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > Duration::from_secs(10) {
            agent.kill().unwrap();
            agent.wait().unwrap();
            panic!("it did not end within 10 s");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success(), "{status}");
    // That there was something to wait for.
    let text = fs::read_to_string(&textfile).unwrap();
    let ended = "proxytrace_export_dropped_total{exporter=\"ndjson\",reason=\"ended\"} ";
    let ended = text.lines().find_map(|line| line.strip_prefix(ended)).unwrap();
    assert_ne!(ended, "0", "the pipe had room for everything, or nothing was counted");
}

/// Those that go itself downloads, where it puts them, and the one that the environment names.
#[test]
fn toolchains_in_the_module_cache_are_found() {
    let Some((_alone, toolchain)) = alone() else { return };
    let go = toolchain.goroot.join("bin/go");
    let dir = tempfile::tempdir().unwrap();
    let put = |place: &str, root: &str| {
        let (place, root) = (dir.path().join(place), Path::new(root));
        fs::create_dir_all(place.join(root).join("bin")).unwrap();
        fs::copy(&go, place.join(root).join("bin/go")).unwrap();
        place
    };
    let toolchain_in = |cache: &str| put(cache, "golang.org/toolchain@v0.0.1-go1.27.0.linux-amd64");
    // Whoever runs the test may have set something.
    let plain = ["GOENV", "GOMODCACHE", "GOPATH", "GOROOT", "HOME", "XDG_CONFIG_HOME"];
    let plain = plain.map(|name| (name, OsStr::new("")));
    let found = |environment: &[(&str, &Path)]| {
        let environment = environment.iter().map(|(name, path)| (*name, path.as_os_str()));
        let environment: Vec<_> = plain.into_iter().chain(environment).collect();
        let options = ["--sample", "1", "--metrics", "off"];
        let agent = Agent::begin_with(&toolchain, &options, &environment);
        agent.watches();
        agent.state().health.executables
    };
    let before = found(&[]);
    let (cache, root) = (toolchain_in("cache"), put("root", ""));
    let both = [("GOMODCACHE", cache.as_path()), ("GOROOT", root.as_path())];
    assert_eq!(found(&both), before + 2);
    // Where nobody says otherwise.
    toolchain_in("home/go/pkg/mod");
    let home = dir.path().join("home");
    assert_eq!(found(&[("HOME", home.as_path())]), before + 1);
    // Where the user has said so, for good.
    toolchain_in("gopath/pkg/mod");
    let gopath = format!("GOPATH={}", dir.path().join("gopath").display());
    let home = dir.path().join("other");
    let mut set = Command::new(&go);
    set.args(["env", "-w", &gopath]).envs(plain).env("HOME", &home);
    assert!(set.status().unwrap().success());
    assert_eq!(found(&[("HOME", home.as_path())]), before + 1);
}

/// The bundle of authorities is renewed under its name, as distributions do.
#[test]
fn renewed_authorities_are_read_again() {
    let Some((_alone, toolchain)) = alone() else { return };
    let dir = tempfile::tempdir().unwrap();
    let made = || rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (before, now) = (made(), made());
    let bundle = dir.path().join("authorities.pem");
    fs::write(&bundle, before.cert.pem()).unwrap();
    let sink = Sink::start_tls(now.cert.der().to_vec(), now.signing_key.serialize_der());
    let environment =
        [("SSL_CERT_FILE", bundle.as_os_str()), ("SSL_CERT_DIR", OsStr::new("/nowhere"))];
    let url = sink.tls_url();
    let options = ["--sample", "1", "--metrics", "off", "--haste", "50", "--otlp", &url];
    let agent = Agent::begin_with(&toolchain, &options, &environment);
    agent.watches();
    version(&toolchain, "stranger");
    let told = |what: &str| agent.log().iter().any(|line| line.contains(what));
    agent.until("failed", || told("records could not be handed over"));
    fs::write(&bundle, now.cert.pem()).unwrap();
    agent.signal(libc::SIGHUP);
    agent.until("read them", || told("exporters have other settings"));
    version(&toolchain, "known");
    agent.until("sent spans", || !sink.taken("/v1/traces").is_empty());
}
