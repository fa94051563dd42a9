//! The program as it is called: exit codes, streams, files.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use proxytrace::event::{End, Event, Start, What};
use proxytrace::model::{Severity, Trace};
use proxytrace::preflight;
use proxytrace::recording::{Reader, Writer};
use tempfile::TempDir;

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_proxytrace"));
    command
        .args(args)
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR_FORCE")
        .env_remove("GITHUB_ACTIONS")
        .env_remove("GITHUB_STEP_SUMMARY");
    command
}

fn proxytrace(args: &[&str]) -> Output {
    command(args).output().expect("the program runs")
}

#[track_caller]
fn check(output: &Output, code: i32, stdout: &str, stderr: &str) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "stdout: {out}\nstderr: {err}");
    assert!(out.contains(stdout), "stdout: {out}");
    assert!(err.contains(stderr), "stderr: {err}");
    assert_eq!(stderr.is_empty(), err.is_empty(), "stderr: {err}");
}

/// A recording of a command that did nothing.
fn recording(directory: &TempDir) -> PathBuf {
    let path = directory.path().join("recording");
    let start = Start { argv: vec!["true".into()], ..Start::default() };
    let mut writer = Writer::new(fs::File::create(&path).unwrap(), &start).unwrap();
    let what = What::Exec { exe: "/bin/true".into(), argv: vec!["true".into()] };
    writer.event(&Event { time: 1, pid: 7, goroutine: None, what }).unwrap();
    let end = End { time: 100_000_000, exit_code: Some(0), signal: None };
    writer.finish(end).unwrap();
    path
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn a_healthy_replay_is_one_line() {
    let directory = TempDir::new().unwrap();
    let output = proxytrace(&["replay", path(&recording(&directory))]);
    let line =
        "proxytrace: 0 modules, 0 requests, 0 redirects, 0 fallbacks; nothing wrong (0.1 s)\n";
    check(&output, 0, line, "");
    assert_eq!(output.stdout, line.as_bytes());
    let quiet = proxytrace(&["replay", "-q", path(&recording(&directory))]);
    check(&quiet, 0, "", "");
    assert!(quiet.stdout.is_empty());
}

#[test]
fn a_cut_recording_is_said_to_be_incomplete() {
    let directory = TempDir::new().unwrap();
    let recording = recording(&directory);
    let text = fs::read_to_string(&recording).unwrap();
    fs::write(&recording, &text[..text.len() - 5]).unwrap();
    let output = proxytrace(&["replay", path(&recording)]);
    check(&output, 0, "note[PT900]: 1 event was lost; the watch ended", "");
    check(&output, 0, "(the recording stops before its end)", "");
    check(&output, 0, "how the command ended is not known", "");
}

#[test]
fn a_broken_recording_is_reported_as_far_as_it_goes() {
    let directory = TempDir::new().unwrap();
    let recording = recording(&directory);
    let text = fs::read_to_string(&recording).unwrap();
    fs::write(&recording, text.replace("{\"end\"", "garbage\n{\"end\"")).unwrap();
    let output = proxytrace(&["replay", path(&recording)]);
    check(&output, 1, "PT900", "is broken; the report ends there: line 3 is no event");
}

#[test]
fn what_is_no_recording_is_refused() {
    let directory = TempDir::new().unwrap();
    let other = directory.path().join("other");
    check(&proxytrace(&["replay", path(&other)]), 2, "", "proxytrace: error: cannot read");
    fs::write(&other, "{\"schema\":\"proxytrace.recording/v9\"}\n").unwrap();
    check(&proxytrace(&["replay", path(&other)]), 2, "", "proxytrace.recording/v9");
}

#[test]
fn json_is_written_beside_the_report() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("trace.json");
    let replayed = recording(&directory);
    check(&proxytrace(&["replay", "--json", path(&file), path(&replayed)]), 0, "nothing wrong", "");
    let trace: Trace = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(trace.command.argv, ["true"]);
    assert_eq!(trace.command.duration_ns, Some(100_000_000));
}

#[test]
fn a_report_that_cannot_be_written_is_said() {
    let directory = TempDir::new().unwrap();
    let replayed = recording(&directory);
    let full = proxytrace(&["replay", "--json", "/dev/full", path(&replayed)]);
    check(&full, 1, "nothing wrong", "proxytrace: error: cannot write /dev/full");
}

/// As `head` has when it ends.
#[test]
fn whoever_reads_stdout_may_have_seen_enough() {
    let list = "https://proxy.lab,https://mirror.lab";
    for (arguments, code, stderr) in [
        (&["replay", "-v", FAILED][..], 0, ""),
        (&["replay", "--fail-on", "error", FAILED], 10, ""),
        (&["replay", "--json", "-", FAILED], 0, "error[PT409]"),
        (&["replay", "--by-build", FAILED], 0, ""),
        (&["replay", "--by-build", "--ndjson", "-", FAILED], 0, "proxytrace: 1 build"),
        (&["replay", "--goproxy", list, FAILED], 0, ""),
        (&["diff", "--json", "-", STOPPED, FAILED], 0, "changed first"),
        (&["diff", STOPPED, FAILED], 0, ""),
        (&["schema"], 0, ""),
        (&["completions", "bash"], 0, ""),
        (&["explain"], 0, ""),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command(arguments).stdout(writer).output().unwrap();
        check(&output, code, "", stderr);
    }
}

#[test]
fn what_goes_to_stdout_leaves_the_report_to_stderr() {
    let directory = TempDir::new().unwrap();
    let replayed = recording(&directory);
    for arguments in [
        &["--format", "json"][..],
        &["--json", "-"],
        &["--format", "json=-"],
        &["--json", "/dev/stdout"],
    ] {
        let output = proxytrace(&[&["replay", path(&replayed)], arguments].concat());
        check(&output, 0, "{", "nothing wrong");
        serde_json::from_slice::<Trace>(&output.stdout).unwrap();
    }
}

/// The runs of two recordings as builds of one, a minute apart.
fn two_builds(directory: &TempDir) -> PathBuf {
    let path = directory.path().join("two");
    let start = Start { argv: vec!["make".into()], ..Start::default() };
    let mut writer = Writer::new(fs::File::create(&path).unwrap(), &start).unwrap();
    for (number, name) in (0..).zip(["cross-host-redirect", "bad-gateway-comma"]) {
        let golden = fs::File::open(format!("tests/golden/{name}.ndjson")).unwrap();
        for event in Reader::new(BufReader::new(golden)).unwrap() {
            let event = event.unwrap();
            let pid = if event.pid == 0 { 0 } else { event.pid + number * 100_000 };
            let time = event.time + u64::from(number) * 60_000_000_000;
            writer.event(&Event { time, pid, ..event }).unwrap();
        }
    }
    let end = End { time: 90_000_000_000, exit_code: Some(2), signal: None };
    writer.finish(end).unwrap();
    path
}

#[test]
fn builds_are_reported_one_by_one() {
    let directory = TempDir::new().unwrap();
    let recording = two_builds(&directory);
    let by_build =
        |more: &[&str]| proxytrace(&[&["replay", "--by-build", path(&recording)], more].concat());
    let output = by_build(&[]);
    check(&output, 0, "build 1, at 0.0 s: go mod download\nproxytrace: ", "");
    check(&output, 0, "\nbuild 2, at 60.0 s: go mod download\nerror[PT", "");
    check(&output, 0, "\nproxytrace: 2 builds\n", "");
    // Of what is healthy nothing is said; and what is wrong decides.
    let output = by_build(&["-q", "--fail-on", "error"]);
    check(&output, 10, "build 2, at 60.0 s", "");
    assert!(output.stdout.starts_with(b"build 2"));
    check(&by_build(&["--exit-class"]), 75, "", "");

    let lines = by_build(&["--ndjson", "-"]);
    check(&lines, 0, "", "proxytrace: 2 builds");
    let lines: Vec<serde_json::Value> =
        lines.stdout.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    let places = |name| -> Vec<usize> {
        (0..lines.len()).filter(|&line| lines[line].get(name).is_some()).collect()
    };
    let [first, second] = places("start")[..] else { panic!("two starts") };
    let [end, last] = places("end")[..] else { panic!("two ends") };
    assert_eq!((first, end + 1, last + 1), (0, second, lines.len()));

    check(&by_build(&["--json", "-"]), 2, "", "there is no json of builds");
    let before = fs::read(&recording).unwrap();
    check(&by_build(&["--ndjson", path(&recording)]), 2, "", "is what is to be read");
    assert_eq!(fs::read(&recording).unwrap(), before);
    let whole = directory.path().join("trace.json");
    proxytrace(&["replay", "--json", path(&whole), path(&recording)]);
    check(&proxytrace(&["replay", "--by-build", path(&whole)]), 2, "", "can be replayed");
    check(&proxytrace(&["replay", "--by-build", "/dev/null"]), 2, "", "it must be a file");
}

#[test]
fn builds_of_a_broken_recording_are_reported_as_far_as_it_goes() {
    let directory = TempDir::new().unwrap();
    let recording = two_builds(&directory);
    let text = fs::read_to_string(&recording).unwrap();
    fs::write(&recording, text.replace("{\"end\"", "garbage\n{\"end\"")).unwrap();
    let output = proxytrace(&["replay", "--by-build", path(&recording)]);
    let line = text.lines().count();
    let broken = format!("is broken; the report ends there: line {line}");
    check(&output, 1, "proxytrace: 2 builds", &broken);
    check(&output, 1, "PT900", "is broken");
}

#[test]
fn the_schema_is_printed() {
    let output = proxytrace(&["schema"]);
    check(&output, 0, "proxytrace.trace/v1", "");
    serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap();
}

#[test]
fn github_gets_annotations_and_a_summary() {
    let directory = TempDir::new().unwrap();
    let summary = directory.path().join("summary");
    fs::write(&summary, "before\n").unwrap();
    let run = |recording: &Path, more: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_proxytrace"))
            .args(["replay", path(recording)])
            .args(more)
            .env("GITHUB_ACTIONS", "true")
            .env("GITHUB_STEP_SUMMARY", &summary)
            .output()
            .unwrap()
    };
    // A healthy run is one line there too.
    let healthy = run(&recording(&directory), &[]);
    assert_eq!(String::from_utf8(healthy.stdout).unwrap().lines().count(), 1);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let failed = golden.join("redirect-403.ndjson");
    let file = directory.path().join("file");
    let [github, sarif] = ["github", "sarif"].map(|name| format!("{name}={}", path(&file)));
    for format in ["text", "sarif", "sarif=-", github.as_str()] {
        let output = run(&failed, &["--format", format]);
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(said.contains("error[PT006]") && !said.contains("\n::error "), "{format}: {said}");
    }
    assert_eq!(fs::read_to_string(&summary).unwrap(), "before\n");
    // What goes to a file leaves the log as it is.
    check(&run(&failed, &["--format", &sarif]), 0, "\n::error title=PT006", "");
    check(&run(&failed, &[]), 0, "\n::error title=PT006", "");
    let summary = fs::read_to_string(&summary).unwrap();
    assert!(summary.starts_with("before\n### proxytrace: 4 modules"), "{summary}");
}

/// Where nobody asked for a summary of the job, its file may be out of reach, as in a container; and it
/// is left alone by what tells of something else.
#[test]
fn a_summary_that_cannot_be_written_is_done_without() {
    let directory = TempDir::new().unwrap();
    let run = |arguments: &[&str], summary: &Path| {
        let mut command = command(arguments);
        command.env("GITHUB_ACTIONS", "true").env("GITHUB_STEP_SUMMARY", summary).output().unwrap()
    };
    let nowhere = directory.path().join("missing/summary");
    let output = run(&["replay", FAILED], &nowhere);
    check(&output, 0, "\n::error ", "proxytrace: warning: cannot add to ");
    let asked_for = run(&["replay", "--format", "github", FAILED], &nowhere);
    check(&asked_for, 2, "", "proxytrace: error: cannot add to ");
    for arguments in [
        &["diff", STOPPED, FAILED][..],
        &["replay", "--goproxy", "https://mirror.lab", FAILED],
        &["replay", "--by-build", FAILED],
    ] {
        check(&run(arguments, &nowhere), 0, "", "");
        let summary = directory.path().join("summary");
        check(&run(arguments, &summary), 0, "", "");
        assert!(!summary.exists(), "{arguments:?}");
    }
}

#[test]
fn the_exit_code_says_whether_to_try_again() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for (name, code) in [
        ("redirect-403", 78),
        ("redirect-loop", 78),
        ("bad-gateway-comma", 75),
        ("redirect-closed-port", 75),
        ("demo", 0),
    ] {
        let recording = golden.join(name).with_extension("ndjson");
        let output = proxytrace(&["replay", "--exit-class", path(&recording)]);
        assert_eq!(output.status.code(), Some(code), "{name}");
        assert_eq!(proxytrace(&["replay", path(&recording)]).status.code(), Some(0), "{name}");
    }
    // A command may do without the go that failed below it.
    let directory = TempDir::new().unwrap();
    let succeeded = directory.path().join("succeeded");
    let text = fs::read_to_string(FAILED).unwrap();
    assert!(text.contains("\"exit_code\":1"));
    fs::write(&succeeded, text.replace("\"exit_code\":1", "\"exit_code\":0")).unwrap();
    check(&proxytrace(&["replay", "--exit-class", path(&succeeded)]), 0, "error[PT409]", "");
    // Whoever sent it a signal had another reason, and 128 + N tells of that.
    let end = "\"exit_code\":1,\"signal\":null";
    assert!(text.contains(end));
    let killed = directory.path().join("killed");
    fs::write(&killed, text.replace(end, "\"exit_code\":130,\"signal\":2")).unwrap();
    check(&proxytrace(&["replay", "--exit-class", path(&killed)]), 0, "error[PT409]", "");
}

#[test]
fn an_output_that_cannot_be_created_keeps_the_command_from_running() {
    let directory = TempDir::new().unwrap();
    let witness = directory.path().join("witness");
    let nowhere = directory.path().join("missing/file");
    for option in ["--json", "--record", "--har", "--ndjson"] {
        let output = proxytrace(&[option, path(&nowhere), "--", "touch", path(&witness)]);
        check(&output, 2, "", "proxytrace: error: cannot create");
        assert!(!witness.exists());
    }
}

/// As in the settings of a CI that wants a list of words.
#[test]
fn a_command_in_one_word_is_told_without_its_secrets() {
    let command = "tool --password S3cr3t -H 'Authorization: Bearer abc' h";
    let clean = "tool --password REDACTED -H 'Authorization: REDACTED' h";
    for (argv, code, before) in
        [(&["--", command][..], 127, "no such command: "), (&[command], 2, "unexpected argument '")]
    {
        check(&proxytrace(argv), code, "", &format!("{before}{clean}"));
    }
}

/// The files of the run before outlive one that comes to nothing.
#[test]
fn what_is_refused_empties_no_output() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("old");
    fs::write(&file, "of yesterday").unwrap();
    let nothing = directory.path().join("nothing");
    for option in ["--json", "--record", "--html", "--ndjson", "--cost"] {
        let output = proxytrace(&[option, path(&file), "--", path(&nothing)]);
        check(&output, 127, "", "proxytrace: error: no such command");
    }
    let no_module = proxytrace(&["preflight", "--json", path(&file), "x.lab//m"]);
    check(&no_module, 2, "", "is no version of a module");
    assert_eq!(fs::read(&file).unwrap(), b"of yesterday");
}

#[test]
fn wrong_usage_exits_with_two() {
    check(&proxytrace(&["go", "mod", "download"]), 2, "", "proxytrace: error: unexpected argument");
    check(&proxytrace(&["--version"]), 0, "proxytrace 0.", "");
    check(&proxytrace(&["--help"]), 0, "Exit codes:", "");
    check(&proxytrace(&[]), 2, "", "Usage: proxytrace [run] [OPTIONS] -- COMMAND...");
}

#[test]
fn colours_are_for_terminals_or_on_demand() {
    let directory = TempDir::new().unwrap();
    let recording = recording(&directory);
    let text = fs::read_to_string(&recording).unwrap();
    fs::write(&recording, &text[..text.len() - 5]).unwrap();
    let colored = |args: &[&str]| proxytrace(args).stdout.contains(&0x1b);
    assert!(!colored(&["replay", path(&recording)]));
    assert!(colored(&["replay", "--color", "always", path(&recording)]));
    assert!(!colored(&["replay", "--color", "never", path(&recording)]));
}

/// A run whose first entry answers 502, before a `,`.
const STOPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/bad-gateway-pipe.ndjson");

#[test]
fn a_recording_is_walked_under_another_list() {
    let directory = TempDir::new().unwrap();
    let (json, trace) = (directory.path().join("json"), directory.path().join("trace"));
    let list = "https://proxy.lab,https://mirror.lab";
    let output = proxytrace(&["replay", "--goproxy", list, "--json", path(&json), STOPPED]);
    check(&output, 0, "4 modules would fail now", "");
    let prediction: serde_json::Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    assert_eq!(prediction["schema"], "proxytrace.rewalk/v1");
    assert_eq!(prediction["walks"][0]["end"]["kind"], "failed");
    // A trace does as well.
    check(&proxytrace(&["replay", "--json", path(&trace), STOPPED]), 0, "4 modules", "");
    let again = proxytrace(&["replay", "--goproxy", list, path(&trace)]);
    assert_eq!(again.stdout, output.stdout);
    check(&proxytrace(&["replay", path(&trace)]), 0, "4 modules", "");

    check(&proxytrace(&["replay", "--goproxy", "foo", STOPPED]), 2, "", "go refuses this list");
    let cut = directory.path().join("cut");
    fs::write(&cut, &fs::read(&trace).unwrap()[..900]).unwrap();
    check(&proxytrace(&["replay", path(&cut)]), 2, "", "this is no trace");
}

#[test]
fn explain_says_everything_of_one_and_a_line_of_all() {
    let one = proxytrace(&["explain", "pt006"]);
    check(&one, 0, "# PT006 redirect-target-status (error)\n", "");
    check(&one, 0, "https://go.dev/issue/48107", "");
    let all = proxytrace(&["explain"]);
    check(&all, 0, "PT900  note     not everything was seen\n", "");
    let none = proxytrace(&["explain", "PT999"]);
    check(&none, 2, "", "`proxytrace explain` lists them all");
}

/// The same modules; their proxy fails before a `,`.
const FAILED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/bad-gateway-comma.ndjson");

#[test]
fn two_runs_are_compared() {
    let directory = TempDir::new().unwrap();
    let json = directory.path().join("json");
    let output = proxytrace(&["diff", "--json", path(&json), STOPPED, FAILED]);
    check(&output, 0, "changed first: configuration: GOPROXY\n", "");
    check(&output, 0, "    + https://proxy.lab: 502 proxy.lab (http-error)\n", "");
    let comparison: serde_json::Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    assert_eq!(comparison["schema"], "proxytrace.diff/v1");
    assert_eq!(comparison["differences"][0]["topic"], "configuration");
    check(&proxytrace(&["diff", FAILED, FAILED]), 0, "no difference\n", "");
    check(&proxytrace(&["diff", FAILED, "/nonexistent"]), 2, "", "cannot read /nonexistent");
    check(&proxytrace(&["diff", "--har", "-", FAILED, FAILED]), 2, "", "there is no har of this");
}

#[test]
fn a_log_is_read() {
    let directory = TempDir::new().unwrap();
    let (log, json) = (directory.path().join("log"), directory.path().join("json"));
    let url = "https://proxy.lab/mod.lab/m/@v/v1.0.0.mod";
    let text = format!(
        "# get {url}\n# get {url}: 502 Bad Gateway (0.1s)\ngo: mod.lab/m@v1.0.0: reading {url}: 502\n"
    );
    fs::write(&log, text).unwrap();
    let output = proxytrace(&["log", "--json", path(&json), path(&log)]);
    check(&output, 0, "error[PT409] (possible): proxy.lab answered 502", "");
    check(&output, 0, "this is what go printed: redirects, resends", "");
    check(&proxytrace(&["log", "--fail-on", "error", path(&log)]), 10, "PT409", "");
    // The trace of it stays one of a log.
    let again = proxytrace(&["replay", path(&json)]);
    assert_eq!(again.stdout, output.stdout);
    fs::write(&log, "make: nothing\n").unwrap();
    check(&proxytrace(&["log", path(&log)]), 2, "", "go mod download -x");
}

/// Preflight knows which of its failures go would come to.
#[test]
fn a_trace_of_preflight_keeps_its_findings() {
    let directory = TempDir::new().unwrap();
    let [file, again] = ["file", "again"].map(|name| directory.path().join(name));
    check(&proxytrace(&["replay", "--json", path(&file), FAILED]), 0, "error[PT409]", "");
    let mut trace: Trace = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    preflight::BACKEND.clone_into(&mut trace.capture.backend);
    for finding in &mut trace.findings {
        finding.severity = finding.severity.min(Severity::Warning);
    }
    fs::write(&file, serde_json::to_vec(&trace).unwrap()).unwrap();
    let read = ["replay", "--fail-on", "error", "--json", path(&again), path(&file)];
    check(&proxytrace(&read), 0, "warning[PT409]", "");
    let kept: Trace = serde_json::from_slice(&fs::read(&again).unwrap()).unwrap();
    assert_eq!(kept, trace);
    check(&proxytrace(&["diff", path(&file), path(&again)]), 0, "no difference\n", "");
}

/// What a file of somebody else has in it must not reach the terminal by way of an error.
#[test]
fn errors_show_nothing_that_a_terminal_or_a_runner_obeys() {
    let directory = TempDir::new().unwrap();
    let evil = r"\u001b]0;pwned\u0007\u009b2J\u202e\n::error::owned";
    let file = directory.path().join("file");
    let good = fs::read_to_string(recording(&directory)).unwrap();
    let name = directory.path().join("\u{1b}]0;x\u{7}");
    for (contents, arguments) in [
        (format!("{{\"schema\":\"{evil}\"}}\n"), vec!["replay", path(&file)]),
        (
            good.replace("{\"end\"", &format!("{{\"{evil}\":1}}\n{{\"end\"")),
            vec!["replay", path(&file)],
        ),
        (good.replace("\"exec\"", &format!("\"{evil}\"")), vec!["replay", path(&file)]),
        (
            format!("{{\"schema\":\"proxytrace.trace/v1\",\"{evil}\":1,\"command\":\"{evil}\"}}"),
            vec!["diff", path(&file), path(&file)],
        ),
        (String::new(), vec!["replay", path(&name)]),
        (String::new(), vec!["log", path(&name)]),
        (String::new(), vec!["explain", path(&name)]),
    ] {
        fs::write(&file, &contents).unwrap();
        let output = proxytrace(&arguments);
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(said.contains("proxytrace: error: "), "{contents}: {said}");
        let obeyed = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!said.contains(obeyed), "{contents}: {said:?}");
        assert!(!said.lines().any(|line| line.starts_with("::")), "{said}");
    }
}

/// `-` is stdout everywhere, and never a file of that name.
#[test]
fn a_dash_is_stdout() {
    let directory = TempDir::new().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_proxytrace"));
        let output = command.args(arguments).current_dir(directory.path()).output().unwrap();
        assert!(!directory.path().join("-").exists(), "{arguments:?}");
        output
    };
    let list = "https://proxy.lab,https://mirror.lab";
    for (arguments, schema, text) in [
        (&["diff", "--json", "-", STOPPED, FAILED][..], "proxytrace.diff/v1", "changed first"),
        (&["diff", "--format", "json", STOPPED, FAILED], "proxytrace.diff/v1", "changed first"),
        (
            &["replay", "--goproxy", list, "--json", "-", STOPPED],
            "proxytrace.rewalk/v1",
            "4 modules would fail now",
        ),
    ] {
        let output = run(arguments);
        check(&output, 0, schema, text);
        let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(value["schema"], schema);
    }
    // Whether it can be traced here or not.
    run(&["--record", "-", "--", "true"]);
}

#[test]
fn a_comparison_goes_where_a_format_names_a_file() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("out.json");
    let format = format!("json={}", path(&file));
    let output = proxytrace(&["diff", "--format", &format, STOPPED, FAILED]);
    check(&output, 0, "changed first", "");
    let value: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(value["schema"], "proxytrace.diff/v1");
}

/// By whatever names; and what was in it stays.
#[test]
fn two_outputs_are_never_one_file() {
    let directory = TempDir::new().unwrap();
    let replayed = recording(&directory);
    let file = directory.path().join("a");
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    fs::write(&file, "old").unwrap();
    for other in [format!("{}/./a", path(directory.path())), path(&link).to_owned()] {
        let output =
            proxytrace(&["replay", "--json", path(&file), "--html", &other, path(&replayed)]);
        check(&output, 2, "", "two outputs name the same file");
    }
    let witness = directory.path().join("witness");
    let record = ["--record", path(&file), "--json", path(&link), "--", "touch", path(&witness)];
    check(&proxytrace(&record), 2, "", "two outputs name the same file");
    let cost = ["--cost", path(&file), "--json", path(&link), "--", "touch", path(&witness)];
    check(&proxytrace(&cost), 2, "", "two outputs name the same file");
    assert!(!witness.exists());
    let (replayed, again) = (path(&replayed), format!("json={}", path(&link)));
    let twice = ["--json", path(&file), "--format", &again];
    for command in [
        &["preflight", "--json", path(&file), "--html", path(&link)][..],
        &[&["diff", replayed, replayed][..], &twice].concat(),
        &[&["replay", "--goproxy", "off", replayed][..], &twice].concat(),
    ] {
        check(&proxytrace(command), 2, "", "two outputs name the same file");
    }
    assert_eq!(fs::read(&file).unwrap(), b"old");
    // What takes everything does.
    let nowhere = ["replay", "--json", "/dev/null", "--html", "/dev/../dev/null", replayed];
    check(&proxytrace(&nowhere), 0, "nothing wrong", "");
}

/// By whatever names.
#[test]
fn what_is_read_is_not_written() {
    let directory = TempDir::new().unwrap();
    let file = recording(&directory);
    let [link, log] = ["link", "log"].map(|name| directory.path().join(name));
    fs::hard_link(&file, &link).unwrap();
    let url = "https://proxy.lab/mod.lab/m/@v/v1.0.0.mod";
    fs::write(&log, format!("# get {url}\n# get {url}: 502 Bad Gateway (0.1s)\n")).unwrap();
    let before = [&file, &log].map(|path| fs::read(path).unwrap());
    let (file, link, log) = (path(&file), path(&link), path(&log));
    for arguments in [
        &["replay", "--html", file, file][..],
        &["replay", "--json", link, file],
        &["replay", "--goproxy", "off", "--json", link, file],
        &["diff", "--json", link, file, FAILED],
        &["diff", "--json", link, FAILED, file],
        &["log", "--json", log, log],
    ] {
        check(&proxytrace(arguments), 2, "", "is what is to be read");
    }
    let stdin = fs::File::open(log).unwrap();
    let output = command(&["log", "--json", log, "-"]).stdin(stdin).output().unwrap();
    check(&output, 2, "", "is what is to be read");
    assert_eq!([file, log].map(|path| fs::read(path).unwrap()), before);
}

/// Whichever option asks for it: what is known of the entries is in no trace.
#[test]
fn preflight_has_one_kind_of_json() {
    let directory = TempDir::new().unwrap();
    let [named, of_format] = ["named", "of-format"].map(|name| directory.path().join(name));
    let format = format!("json={}", path(&of_format));
    let run = |arguments: &[&str]| {
        let arguments = [&["preflight", "--failures", "1", "--timeout", "5"], arguments].concat();
        let mut command = command(&arguments);
        command.current_dir(directory.path()).env("GOENV", "off");
        command.env("GOPROXY", "https://127.0.0.1:1,off").output().unwrap()
    };
    let on_stdout = run(&["--format", "json"]).stdout;
    run(&["--json", path(&named), "--format", &format]);
    for text in [on_stdout, fs::read(&named).unwrap(), fs::read(&of_format).unwrap()] {
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(value["schema"], "proxytrace.preflight/v1");
    }
}

#[test]
fn doctor_writes_nothing_that_a_terminal_obeys() {
    let directory = TempDir::new().unwrap();
    let bin = directory.path().join("b\u{9b}2J\u{202e}");
    fs::create_dir(&bin).unwrap();
    fs::write(bin.join("go"), "no executable").unwrap();
    fs::set_permissions(bin.join("go"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_proxytrace"));
    let output = command.args(["doctor", "--json", "-"]).env("PATH", &bin).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\\u009b2J"), "{text}");
    assert!(!text.contains(['\u{9b}', '\u{202e}']), "{text:?}");
    serde_json::from_str::<serde_json::Value>(&text).unwrap();
}

/// Later steps of the job show what they have in their environment.
#[test]
fn github_is_told_what_to_hide() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("env");
    let run = |github: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_proxytrace"));
        command
            .args(["preflight", "--failures", "1", "--timeout", "5", "--github-env"])
            .current_dir(directory.path())
            .env("GOPROXY", "https://name:c%25AnArY@127.0.0.1:1,off")
            .env("GOENV", "off")
            .env("GITHUB_ENV", &file)
            .env("GITHUB_ACTIONS", github)
            .env_remove("GITHUB_STEP_SUMMARY");
        let output = command.output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let said = run("true");
    let (hidden, shown): (Vec<&str>, Vec<&str>) =
        said.lines().partition(|line| line.starts_with("::add-mask::"));
    assert!(hidden.contains(&"::add-mask::c%2525AnArY"), "{said}");
    assert!(hidden.contains(&"::add-mask::c%25AnArY"), "{said}");
    assert!(hidden.contains(&"::add-mask::https://name:c%2525AnArY@127.0.0.1:1"), "{said}");
    assert!(!shown.iter().any(|line| line.contains("AnArY")), "{said}");
    let written = fs::read_to_string(&file).unwrap();
    assert_eq!(written, "GOPROXY=https://name:c%25AnArY@127.0.0.1:1,off\n");
    assert!(!run("false").contains("AnArY"));
}
