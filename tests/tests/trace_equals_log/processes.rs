//! Every way in which a `go` comes to run: the trace equals the log, process by process.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{Cursor, Write as _};
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use proxytrace::event::Origin;
use proxytrace::model::{Process, Severity, Trace};
use proxytrace_tests::cases::Chosen;
use proxytrace_tests::lab::Lab;
use proxytrace_tests::log::Entry;
use proxytrace_tests::scenario::Scenario;
use proxytrace_tests::toolchain::{Toolchain, VERSIONS};
use proxytrace_tests::{cases, check};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// One way. Scripts are for `sh`, in the directory of the main module; `$ROOT` is the toolchain's
/// GOROOT, `$OTHER` that of another, of version `$OTHER_VERSION`.
struct Way {
    name: &'static str,
    /// What is done beforehand, unseen.
    before: &'static str,
    script: &'static str,
    /// The arguments of each `go`, and its exit code; none of what became another program.
    go: &'static [(&'static str, Option<i32>)],
    /// The exit code of the script.
    exit: i32,
    /// The first minor version of Go that has what it needs.
    since: u16,
}

const DOWNLOAD: (&str, Option<i32>) = ("mod download", Some(0));

/// Where what is compiled is kept for the next run, a directory for each release.
const BUILT: &str = env!("CARGO_TARGET_TMPDIR");

/// Gives what was compiled there to the owner of the directory, who called us through sudo and
/// could not remove it: when this is dropped, however the test ends.
struct Returned;

impl Drop for Returned {
    fn drop(&mut self) {
        let mut chown = Command::new("chown");
        let status = chown.args(["--recursive", "--reference", BUILT, BUILT]).status();
        if !status.is_ok_and(|status| status.success()) {
            eprintln!("{BUILT} still has files of root's");
        }
    }
}

/// A toolchain that is not on PATH, where nothing can hold it.
const UNFORESEEN: &str = "unforeseen in other namespaces";

const WAYS: &[Way] = &[
    way("make", "printf 'all:\\n\\tgo mod download\\n' | make -s -f -", &[DOWNLOAD]),
    way("shell", "sh -c '(go mod download)'", &[DOWNLOAD]),
    way("env, exec", "exec env X=1 go mod download", &[DOWNLOAD]),
    // Debian has no such launcher.
    Way {
        since: 21,
        ..way("python", "PYTHONPATH=\"$ROOT/..\" \"$ROOT/../bin/go\" mod download", &[DOWNLOAD])
    },
    way(
        "python, subprocess",
        "python3 -c 'import subprocess; subprocess.check_call([\"go\", \"mod\", \"download\"])'",
        &[DOWNLOAD],
    ),
    way(
        "several at once",
        "go mod download mod.lab/m01 & go mod download mod.lab/m02 & go mod download mod.lab/m03 &
         go mod download mod.lab/m04 & wait",
        &[
            ("mod download mod.lab/m01", Some(0)),
            ("mod download mod.lab/m02", Some(0)),
            ("mod download mod.lab/m03", Some(0)),
            ("mod download mod.lab/m04", Some(0)),
        ],
    ),
    way(
        "workspace",
        "export GOFLAGS=; mkdir other; cd other; go mod init x.lab/x; cd ..
         go work init . ./other; go mod download",
        &[("mod init x.lab/x", Some(0)), ("work init . ./other", Some(0)), DOWNLOAD],
    ),
    way("get", "go get mod.lab/m02@v1.0.0", &[("get mod.lab/m02@v1.0.0", Some(0))]),
    way("list -u", "go list -m -u all", &[("list -m -u all", Some(0))]),
    way("tidy", "go mod tidy", &[("mod tidy", Some(0))]),
    way("build", "go build -n . 2>/dev/null", &[("build -n .", Some(0))]),
    Way {
        before: "go mod tidy && go mod vendor",
        ..way("vendor", "go list -mod=vendor -deps .", &[("list -mod=vendor -deps .", Some(0))])
    },
    way("telemetry", "echo on > $HOME/.config/go/telemetry/mode; go mod download", &[DOWNLOAD]),
    way("other namespaces", "unshare --mount --pid --fork go mod download", &[DOWNLOAD]),
    way(UNFORESEEN, "unshare --mount --pid --fork $OTHER/bin/go mod download", &[DOWNLOAD]),
    Way {
        exit: 7,
        ..way(
            "exit codes",
            "go no-such-command 2>/dev/null; go mod download; exit 7",
            &[("no-such-command", Some(2)), DOWNLOAD],
        )
    },
    Way {
        since: 21,
        ..way(
            "toolchain by PATH",
            "mkdir tools; ln -s $OTHER/bin/go tools/go$OTHER_VERSION
             PATH=$PWD/tools:$PATH GOTOOLCHAIN=go$OTHER_VERSION+path go mod download",
            &[("mod download", None), DOWNLOAD],
        )
    },
    // The variable is go's own exception to the rule that toolchains are looked up in the checksum
    // database whatever GOSUMDB says (`modfetch/sumdb.go:useSumDB`).
    Way {
        since: 21,
        ..way(
            "toolchain by proxy",
            "GIT_HTTP_USER_AGENT=proxy.golang.org GOTOOLCHAIN=go$OTHER_VERSION go mod download",
            &[("mod download", None), DOWNLOAD],
        )
    },
    // They compile, for the standard library into a cache that is kept.
    way(
        "build, install, run",
        "export GOCACHE=$BUILT; go build -o /dev/null . && go install mod.lab/m01/cmd@v1.0.0 &&
         go run mod.lab/m02/cmd@v1.0.0",
        &[
            ("build -o /dev/null .", Some(0)),
            ("install mod.lab/m01/cmd@v1.0.0", Some(0)),
            ("run mod.lab/m02/cmd@v1.0.0", Some(0)),
        ],
    ),
];

const fn way(
    name: &'static str,
    script: &'static str,
    go: &'static [(&'static str, Option<i32>)],
) -> Way {
    Way { name, before: "", script, go, exit: 0, since: 0 }
}

#[test]
fn however_go_is_run() {
    let Some(toolchains) = toolchains() else { return };
    let newest: Vec<_> =
        VERSIONS.iter().rev().flat_map(|release| Toolchain::find(release)).collect();
    let _returned = Returned;
    let chosen = Chosen::scenarios();
    let has =
        |way: &Way, toolchain: &Toolchain| toolchain.minor() >= way.since && chosen.has(way.name);
    let cases = toolchains
        .iter()
        .flat_map(|toolchain| WAYS.iter().map(move |way| (way, toolchain)))
        .filter(|(way, toolchain)| has(way, toolchain));
    cases::check_all(
        cases,
        |way| way.name,
        |_| false,
        |way, toolchain| {
            let other = newest.iter().find(|other| other.version != toolchain.version);
            run_and_check(way, toolchain, other.unwrap_or(toolchain))
        },
    );
}

/// Whoever runs proxytrace in a container need not know.
#[test]
fn however_deep_in_pid_namespaces() {
    let Some(toolchains) = toolchains() else { return };
    let scenario = Scenario::find("healthy-h1").expect("it is in the table");
    let one = ["unshare", "--pid", "--fork", "--mount-proc"];
    let cases = [("one", one.to_vec()), ("two", one.repeat(2))];
    for toolchain in &toolchains {
        for (depth, around) in &cases {
            let lab = Lab::start(scenario, toolchain).unwrap();
            let script =
                "go mod download mod.lab/m01; unshare --pid --fork go mod download; exit 5";
            let (output, trace) = traced_within(around, &lab, script, |_| {}).unwrap();
            let about = || format!("{depth} {}: {trace:#?}", toolchain.version);
            assert_eq!(output.status.code(), Some(5), "{}", about());
            check::equals(&trace, &lab.log()).with_context(about).unwrap();
            let gos = trace.processes.iter().filter(|process| process.go_version.is_some());
            let gos: Vec<_> = gos.filter(|go| go.exe.ends_with("/go")).collect();
            assert!(gos.len() == 2 && gos.iter().all(|go| go.exit_code == Some(0)), "{}", about());
            // Its /proc is read by other numbers than the kernel's.
            let of_go = gos[0].config.get("GOPROXY").map(|setting| setting.origin);
            assert_eq!(of_go, Some(Origin::Environment), "{}", about());
            assert!(gos[0].surroundings.directory.is_some(), "{}", about());
        }
    }
}

/// Where /proc has other processes, nothing is guessed, and nothing run.
#[test]
fn with_the_proc_of_another_pid_namespace() {
    let Some(toolchains) = toolchains() else { return };
    let scenario = Scenario::find("healthy-h1").expect("it is in the table");
    let lab = Lab::start(scenario, toolchains.last().expect("not empty")).unwrap();
    let mut command = lab.command("unshare");
    command.args(["--pid", "--fork"]).arg(cases::proxytrace()).args(["--", "touch", "ran"]);
    let output = lab.output(command).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{stderr}");
    assert!(stderr.contains("/proc shows the processes of another pid namespace"), "{stderr}");
    assert!(!lab.module_dir().join("ran").exists());
}

/// What each go was told is what it says itself, asked in the same place.
#[test]
fn the_configuration_is_what_go_env_says() {
    let Some(toolchains) = toolchains() else { return };
    let scenario = Scenario::find("healthy-h1").expect("it is in the table");
    for toolchain in &toolchains {
        let lab = Lab::start(scenario, toolchain).unwrap();
        let file = lab.module_dir().join("user.env");
        fs::write(&file, "GONOSUMDB=private.lab\nGOPRIVATE=*.corp.lab\nGOPROXY=https://no.lab\n")
            .unwrap();
        let (_, trace) = traced(&lab, "go mod download", |command| {
            command.env("GOENV", &file).env_remove("GOMODCACHE").env("HTTPS_PROXY", "");
        })
        .unwrap();
        let mut command = lab.command("go");
        command.args(["env", "-json"]).env("GOENV", &file).env_remove("GOMODCACHE");
        let said = lab.output(command).unwrap();
        let said: BTreeMap<String, String> = serde_json::from_slice(&said.stdout).unwrap();

        let go = trace.processes.iter().find(|process| process.go_version.is_some());
        let config = &go.expect("it ran").config;
        let differ: Vec<_> = config
            .iter()
            .filter(|(name, setting)| said.get(*name).is_some_and(|said| *said != setting.value))
            .collect();
        assert!(differ.is_empty(), "{}: {differ:?}", toolchain.version);
        for (name, value, origin) in [
            ("GOPROXY", "https://proxy.lab", Origin::Environment),
            ("GOPRIVATE", "*.corp.lab", Origin::UserFile),
            ("GONOSUMDB", "private.lab", Origin::UserFile),
            ("GOSUMDB", "off", Origin::Environment),
            ("GOFLAGS", "-mod=mod", Origin::Environment),
            ("GOTOOLCHAIN", "local", Origin::Environment),
        ] {
            let setting = config.get(name).map(|found| (found.value.as_str(), found.origin));
            assert_eq!(setting, Some((value, origin)), "{}: {name}", toolchain.version);
        }
    }
}

/// Where go is, it says from its own root.
#[test]
fn the_configuration_is_that_of_its_own_root() {
    // The first one waits after it has entered `main.main`, so that it can be looked at.
    const SCRIPT: &str = "mkdir -p root/opt/go root/proc root/dev; touch root/dev/null
        mount --bind $ROOT root/opt/go; mount --bind /dev/null root/dev/null
        mount -t proc proc root/proc; mkfifo root/wait; export GOPROXY=
        chroot root /opt/go/bin/go mod edit -json /wait >edited & sleep 1
        echo module m >root/wait; wait
        exec chroot root /opt/go/bin/go env GOPROXY";
    let Some(toolchains) = toolchains() else { return };
    let scenario = Scenario::find("healthy-h1").expect("it is in the table");
    // Older ones have no file of their own.
    for toolchain in toolchains.iter().filter(|toolchain| toolchain.minor() >= 21) {
        let lab = Lab::start(scenario, toolchain).unwrap();
        let (output, trace) = traced(&lab, SCRIPT, |command| {
            command.env("ROOT", &toolchain.goroot);
        })
        .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let about = format!("{}: {}", toolchain.version, String::from_utf8_lossy(&output.stderr));
        assert!(said.starts_with("https://"), "{about}");
        let go = trace.processes.iter().find(|process| process.go_version.is_some());
        let found = go.expect("it ran").config.get("GOPROXY");
        let found = found.map(|found| (found.value.as_str(), found.origin));
        assert_eq!(found, Some((said.trim(), Origin::GorootFile)), "{about}");
    }
}

/// What go printed is kept as it was.
#[test]
fn stderr_is_what_go_wrote() {
    let Some(toolchains) = toolchains() else { return };
    let scenario = Scenario::find("redirect-403").expect("it is in the table");
    for toolchain in &toolchains {
        let lab = Lab::start(scenario, toolchain).unwrap();
        let (output, trace) = traced(&lab, "exec go mod download 2>stderr", |_| {}).unwrap();
        let written = fs::read_to_string(lab.module_dir().join("stderr")).unwrap();
        assert!(written.contains("403 Forbidden"), "{written}");
        let go = trace.processes.iter().rfind(|process| process.go_version.is_some());
        assert_eq!(go.unwrap().stderr_tail.as_deref(), Some(&*written), "{}", toolchain.version);
        let report = String::from_utf8(output.stderr).unwrap();
        assert!(report.contains("go printed `go: mod.lab/m0"), "{report}");
        assert!(report.contains("403 Forbidden`; what failed was storage.lab"), "{report}");
    }
}

fn toolchains() -> Option<Vec<Toolchain>> {
    if !cases::can_start() {
        return None;
    }
    cases::built()?;
    Some(cases::toolchains(&VERSIONS)).filter(|toolchains| !toolchains.is_empty())
}

fn run_and_check(way: &Way, toolchain: &Toolchain, other: &Toolchain) -> Result<()> {
    let scenario = Scenario::find("healthy-h1").context("it is in the table")?;
    let switches = way.name == "toolchain by proxy";
    let files = if switches { toolchain_module(other)? } else { HashMap::new() };
    let lab = Lab::serving(scenario, toolchain, files)?;
    if !way.before.is_empty() {
        let mut command = lab.command("sh");
        command.args(["-c", way.before]);
        let output = lab.output(command)?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let before = lab.log().len();
    let (output, trace) = traced(&lab, way.script, |command| {
        command
            .env("ROOT", &toolchain.goroot)
            .env("OTHER", &other.goroot)
            .env("OTHER_VERSION", other.version.trim_start_matches("go"))
            .env("BUILT", Path::new(BUILT).join(&toolchain.version));
    })?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(way.exit), "{}: {stderr}", output.status);

    // go's telemetry child asks for its configuration whenever it likes, and is none of ours.
    let log: Vec<Entry> = lab.log().split_off(before);
    let log: Vec<Entry> = log.into_iter().filter(|e| !e.url.contains("/x/telemetry/")).collect();
    let late = trace.capture.attach.iter().any(|attach| attach.late);
    if way.name == UNFORESEEN {
        // What cannot be held is met at its exec; what may have been missed is said.
        ensure!(late != trace.capture.complete, "{:?}", trace.capture);
        ensure!(late == stderr.contains("PT900"), "not said: {stderr}");
        return if late { Ok(()) } else { check::equals(&trace, &log) };
    }
    check::equals(&trace, &log).and_then(|()| check::walks(&trace, scenario.goproxy))?;
    ensure!(!late, "late: {:?}", trace.capture.attach);
    let loud = trace.findings.iter().find(|finding| finding.severity > Severity::Note);
    ensure!(loud.is_none(), "false alarm: {loud:?}");
    if log.is_empty() {
        ensure!(stderr.lines().count() == 1, "not a report of one line: {stderr}");
    }
    let versions = [
        &toolchain.version,
        if way.name.starts_with("toolchain") { &other.version } else { &toolchain.version },
    ];
    processes_are(&trace, way, versions).with_context(|| format!("{:#?}", trace.processes))
}

/// Runs a script under proxytrace.
fn traced(lab: &Lab, script: &str, with: impl FnOnce(&mut Command)) -> Result<(Output, Trace)> {
    traced_within(&["env"], lab, script, with)
}

/// The same, proxytrace itself under another command.
pub(super) fn traced_within(
    around: &[&str],
    lab: &Lab,
    script: &str,
    with: impl FnOnce(&mut Command),
) -> Result<(Output, Trace)> {
    let json = lab.module_dir().join("trace.json");
    let mut command = lab.command(around[0]);
    command
        .args(&around[1..])
        .arg(cases::proxytrace())
        .arg("--json")
        .arg(&json)
        .args(["--", "sh", "-c", script]);
    with(&mut command);
    let output = lab.output(command)?;
    let json = fs::read(&json)
        .with_context(|| format!("no trace: {}", String::from_utf8_lossy(&output.stderr)))?;
    Ok((output, serde_json::from_slice(&json).context("the trace is not as in the model")?))
}

/// Whether each `go` of a way is there once, as a descendant of the command, with its version: the
/// first of `versions`, or the second if it is what another became.
fn processes_are(trace: &Trace, way: &Way, versions: [&String; 2]) -> Result<()> {
    let is_telemetry = |process: &&Process| process.argv.iter().any(|a| a == "** telemetry **");
    let by_id: BTreeMap<_, _> = trace.processes.iter().map(|p| (p.id, p)).collect();
    let under_telemetry = |process: &&Process| {
        let parents = std::iter::successors(Some(*process), |p| by_id.get(&p.parent?).copied());
        parents.into_iter().any(|process| is_telemetry(&process))
    };
    let gos: Vec<&Process> = trace
        .processes
        .iter()
        .filter(|process| process.go_version.is_some() && !under_telemetry(process))
        .collect();
    let mut found: Vec<_> = gos.iter().map(|go| (go.argv[1..].join(" "), go.exit_code)).collect();
    let mut expected: Vec<_> = way.go.iter().map(|(go, code)| ((*go).to_owned(), *code)).collect();
    found.sort();
    expected.sort();
    ensure!(found == expected, "{found:?} ran, not {expected:?}");
    for go in gos {
        let parent = go.parent.and_then(|parent| by_id.get(&parent));
        let became = parent.is_some_and(|p| p.pid == go.pid && p.go_version.is_some());
        let version = versions[usize::from(became)];
        ensure!(go.go_version.as_ref() == Some(version), "not {version}: {go:?}");
        let root = std::iter::successors(Some(go), |p| by_id.get(&p.parent?).copied()).last();
        ensure!(root.is_some_and(|root| root.id == 0), "no descendant of the command: {go:?}");
        ensure!(go.ended_ns.is_some() && go.exe.ends_with("/go"), "{go:?}");
        let proxy = go.config.get("GOPROXY").map(|found| (&*found.value, found.origin));
        ensure!(proxy == Some(("https://proxy.lab", Origin::Environment)), "{proxy:?}");
    }
    Ok(())
}

/// A toolchain as a module (<https://go.dev/doc/toolchain#download>), of what `go mod download`
/// needs of one.
fn toolchain_module(toolchain: &Toolchain) -> Result<HashMap<String, Bytes>> {
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let version = format!("v0.0.1-{}.linux-{arch}", toolchain.version);
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let read = |name| fs::read(toolchain.goroot.join(name));
    let files = [
        ("bin/go", read("bin/go")?),
        ("VERSION", read("VERSION")?),
        ("go.env", read("go.env")?),
        // go looks for them, to make what is there executable.
        ("bin/gofmt", Vec::new()),
        ("lib/none", Vec::new()),
        ("pkg/tool/none", Vec::new()),
    ];
    for (name, content) in files {
        archive.start_file(format!("golang.org/toolchain@{version}/{name}"), options)?;
        archive.write_all(&content)?;
    }
    let base = format!("golang.org/toolchain/@v/{version}");
    let info = format!(r#"{{"Version":"{version}"}}"#);
    Ok([
        (format!("{base}.info"), info.into()),
        (format!("{base}.mod"), "module golang.org/toolchain\n".into()),
        (format!("{base}.zip"), archive.finish()?.into_inner().into()),
    ]
    .into())
}
