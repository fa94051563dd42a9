//! What is wrong with the configuration of a real go is found, and nothing else is.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use proxytrace::model::{Finding, Role, Severity, Trace};
use proxytrace_tests::cases;
use proxytrace_tests::lab::Lab;
use proxytrace_tests::modules::Modules;
use proxytrace_tests::scenario::{Action, Host, Protocol, Rule, Scenario, Trouble};
use proxytrace_tests::toolchain::Toolchain;

const SERVED: &[Rule] = &[Rule { pattern: "/mod.lab/*", action: Action::Serve }];

/// One proxy that has everything, below its root alone.
const WELL: Scenario = Scenario {
    name: "configuration",
    about: "one proxy that has everything",
    modules: Modules { prefix: "mod.lab/m", count: 2, others: &[] },
    goproxy: "https://proxy.lab",
    hosts: &[Host { name: "proxy.lab", protocol: Protocol::H2, rules: SERVED, trouble: None }],
    ..Scenario::BASE
};

/// The same, below a path with a space.
const IN_A_SPACE: Scenario = Scenario {
    goproxy: "https://proxy.lab/go proxy,direct",
    hosts: &[Host {
        rules: &[Rule { pattern: "/go%20proxy/mod.lab/*", action: Action::Serve }],
        ..WELL.hosts[0]
    }],
    ..WELL
};

/// The same, with a certificate that nobody knows.
const UNKNOWN_AUTHORITY: Scenario = Scenario {
    hosts: &[Host { trouble: Some(Trouble::UnknownAuthority), ..WELL.hosts[0] }],
    succeeds: false,
    ..WELL
};

/// A run of `go mod download` with something in its configuration.
struct Case {
    scenario: Scenario,
    environment: &'static [(&'static str, &'static str)],
    /// What `go env -w` would have written; none if there is no such file.
    user_file: &'static str,
    /// Runs it; `go mod download` follows.
    through: &'static [&'static str],
    succeeds: bool,
    /// All warnings and errors, and the notes about configuration.
    findings: &'static [(&'static str, Severity, Role)],
    /// What one of the messages says.
    says: &'static str,
}

const PLAIN: Case = Case {
    scenario: WELL,
    environment: &[],
    user_file: "",
    through: &[],
    succeeds: true,
    findings: &[],
    says: "",
};

/// A shell that is called sudo, and takes what sudo takes. It is `nobody` who calls it.
const THROUGH_SUDO: &[&str] = &[
    "sh",
    "-c",
    "cp -L /bin/sh ./sudo && exec ./sudo -c 'SUDO_UID=65534 GOPRIVATE= GOPROXY=https://nowhere.lab \"$@\"; exit $?' sudo \"$@\"",
    "sudo",
];
const THROUGH_SUDO_THAT_KEEPS: &[&str] = &[
    "sh",
    "-c",
    "cp -L /bin/sh ./sudo && exec ./sudo -c 'SUDO_UID=65534 \"$@\"; exit $?' sudo \"$@\"",
    "sudo",
];

use Role::{Contributing, Root};
use Severity::{Error, Note, Warning};

const CASES: &[Case] = &[
    PLAIN,
    // A full-width comma: one long URL, which the proxy does not have.
    Case {
        environment: &[("GOPROXY", "https://proxy.lab/x，https://mirror.lab")],
        succeeds: false,
        findings: &[("PT604", Error, Root)],
        says: "`，` within `https://proxy.lab/x，https://mirror.lab`",
        ..PLAIN
    },
    // The same with `;`: a host by an odd name.
    Case {
        environment: &[("GOPROXY", "https://proxy.lab;https://mirror.lab")],
        succeeds: false,
        findings: &[("PT604", Error, Root)],
        says: "`;` within",
        ..PLAIN
    },
    // Lists that go refuses to walk.
    Case {
        environment: &[("GOPROXY", "https://proxy.lab direct")],
        succeeds: false,
        findings: &[("PT604", Warning, Contributing)],
        says: "a space within",
        ..PLAIN
    },
    Case {
        environment: &[("GOPROXY", "proxy")],
        succeeds: false,
        findings: &[("PT604", Warning, Contributing)],
        says: "`proxy` in GOPROXY is neither",
        ..PLAIN
    },
    // A path may have a space.
    Case { scenario: IN_A_SPACE, ..PLAIN },
    // Spaces around entries, empty entries and a missing scheme are well.
    Case { environment: &[("GOPROXY", " proxy.lab , ,direct ")], ..PLAIN },
    Case {
        environment: &[("GOPROXY", "https://proxy.lab,direct,https://mirror.lab")],
        findings: &[("PT105", Warning, Contributing)],
        says: "after `direct` (https://mirror.lab)",
        ..PLAIN
    },
    Case {
        environment: &[("GOPROXY", "https://proxy.lab,off|https://mirror.lab")],
        findings: &[("PT105", Warning, Contributing)],
        says: "after `off` (https://mirror.lab)",
        ..PLAIN
    },
    // What the environment hides is a note while all is well, and a warning where something fails.
    Case {
        user_file: "GOPROXY=https://other.lab\nGOFLAGS=-v\n",
        findings: &[("PT601", Note, Contributing)],
        says: "hides `https://other.lab`",
        ..PLAIN
    },
    Case {
        environment: &[("GOPROXY", "https://nowhere.lab")],
        user_file: "GOPROXY=https://proxy.lab\n",
        succeeds: false,
        findings: &[("PT201", Error, Root), ("PT601", Warning, Contributing)],
        says: "GOPROXY is `https://nowhere.lab` by the environment",
        ..PLAIN
    },
    Case { user_file: "GOPROXY=https://proxy.lab\nGONOPROXY=\n", ..PLAIN },
    // sudo.
    Case {
        environment: &[("GOPRIVATE", "corp.lab")],
        through: THROUGH_SUDO,
        succeeds: false,
        findings: &[("PT201", Error, Root), ("PT602", Warning, Contributing)],
        says: "GOPROXY is `https://nowhere.lab` (for nobody `https://proxy.lab`)",
        ..PLAIN
    },
    Case { through: THROUGH_SUDO_THAT_KEEPS, ..PLAIN },
    // GOINSECURE.
    Case {
        scenario: UNKNOWN_AUTHORITY,
        environment: &[("GOINSECURE", "*.lab")],
        succeeds: false,
        findings: &[("PT204", Error, Root), ("PT605", Warning, Contributing)],
        says: "GOINSECURE=`*.lab` does nothing for https://proxy.lab",
        ..PLAIN
    },
    Case {
        scenario: UNKNOWN_AUTHORITY,
        succeeds: false,
        findings: &[("PT204", Error, Root)],
        ..PLAIN
    },
    Case { environment: &[("GOINSECURE", "*.lab")], ..PLAIN },
];

#[test]
fn configuration_is_found_wrong_where_it_is() {
    if cases::built().is_none() {
        return;
    }
    cases::for_each_of(&[WELL], &["1.21.13", "1.27.3"], |_, toolchain| {
        for (number, case) in CASES.iter().enumerate() {
            check(case, toolchain).with_context(|| format!("case {number}"))?;
        }
        Ok(())
    });
}

fn check(case: &Case, toolchain: &Toolchain) -> Result<()> {
    let lab = Lab::start(&case.scenario, toolchain)?;
    let (json, record) = (lab.dir().join("trace.json"), lab.dir().join("recording"));
    let mut command = lab.command(cases::proxytrace());
    command.arg("--json").arg(&json).arg("--record").arg(&record).arg("--").args(case.through);
    command.args(["go", "mod", "download"]).envs(case.environment.iter().copied());
    if !case.user_file.is_empty() {
        let file = lab.dir().join("user-file");
        fs::write(&file, case.user_file)?;
        command.env("GOENV", file);
    }
    let output = lab.output(command)?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() == case.succeeds, "{}: {stderr}", output.status);
    let trace: Trace = serde_json::from_slice(&fs::read(&json)?)?;
    let worth =
        |f: &&Finding| f.severity > Note || f.code.starts_with("PT1") || f.code.starts_with("PT6");
    let mut found: Vec<_> = trace
        .findings
        .iter()
        .filter(worth)
        .map(|finding| (finding.code.as_str(), finding.severity, finding.role))
        .collect();
    found.sort_unstable_by_key(|(code, ..)| *code);
    ensure!(found == case.findings, "{found:?} and not {:?}: {stderr}", case.findings);
    ensure!(
        trace.findings.iter().any(|f| f.message.contains(case.says)) || case.says.is_empty(),
        "nothing says {}: {:?}",
        case.says,
        trace.findings
    );
    // The recording knows the same.
    let again = lab.dir().join("again.json");
    let mut replay = Command::new(cases::proxytrace());
    let replayed = replay.arg("replay").arg("--json").arg(&again).arg(&record).output()?;
    ensure!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
    let again: Trace = serde_json::from_slice(&fs::read(&again)?)?;
    ensure!(again.findings == trace.findings, "the recording says {:?}", again.findings);
    Ok(())
}

/// The zips of all modules are redirected to a host that refuses them.
const FORBIDDEN: Scenario = Scenario {
    hosts: &[Host {
        rules: &[
            Rule { pattern: "*.zip", action: Action::Status(403, &[]) },
            Rule { pattern: "*", action: Action::Serve },
        ],
        ..WELL.hosts[0]
    }],
    succeeds: false,
    ..WELL
};

/// The lines of go.mod that asked for what failed are named, and kept in the recording.
#[test]
fn failures_name_the_lines_that_asked_for_them() {
    if cases::built().is_none() {
        return;
    }
    cases::for_each_of(&[FORBIDDEN], &["1.21.13", "1.27.3"], |scenario, toolchain| {
        // From elsewhere: `-C`, and a file of another name.
        for how in [&["go", "mod", "download"][..], &["go", "-C", "../module", "mod", "download"]] {
            lines(scenario, toolchain, how)?;
        }
        Ok(())
    });
}

fn lines(scenario: &Scenario, toolchain: &Toolchain, how: &[&str]) -> Result<()> {
    let lab = Lab::start(scenario, toolchain)?;
    let (json, record) = (lab.dir().join("trace.json"), lab.dir().join("recording"));
    let mut command = lab.command(cases::proxytrace());
    command.arg("--json").arg(&json).arg("--record").arg(&record).arg("--").args(how);
    let stderr = lab.output(command)?.stderr;
    let stderr = String::from_utf8_lossy(&stderr);
    let trace: Trace = serde_json::from_slice(&fs::read(&json)?)?;
    let file = lab.module_dir().join("go.mod");
    let text = fs::read_to_string(&file)?;
    let found = trace.findings.iter().find(|finding| finding.code == "PT302");
    let found = found.with_context(|| format!("nothing is forbidden: {stderr}"))?;
    ensure!(found.sources.len() == scenario.modules.count, "{:?}: {text}", found.sources);
    for source in &found.sources {
        ensure!(fs::canonicalize(&source.file)? == fs::canonicalize(&file)?, "{source:?}");
        let line = text.lines().nth(source.line as usize - 1).context("a line of the file")?;
        let asked = format!("{} {}", source.module, source.version);
        ensure!(line.contains(&asked), "{source:?}, but there is {line}");
    }
    let shown = format!("{}:{}", found.sources[0].file, found.sources[0].line);
    ensure!(stderr.contains(&shown), "no {shown} in {stderr}");

    // Elsewhere the file is another, or none; what was found stays.
    fs::remove_file(&file)?;
    let again = lab.dir().join("again.json");
    let mut replay = Command::new(cases::proxytrace());
    replay.arg("replay").arg("--json").arg(&again).arg(&record).output()?;
    let again: Trace = serde_json::from_slice(&fs::read(&again)?)?;
    ensure!(again == trace, "the recording says {:?}", again.findings);
    Ok(())
}
