//! The files that an agent is run by, read by those who will read them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use proxytrace_tests::cases::{self, skip};
use proxytrace_tests::python::python;

use crate::engines::engines;

/// The most exposure that systemd may find, in tenths; 5.0 is where it says "medium".
const EXPOSURE_MAX: u32 = 35;
/// The oldest release of Kubernetes of which the manifest is one, and the newest that is known.
const RELEASES: [&str; 2] = ["1.30", "1.37"];

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../proxytrace/agent").join(name)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `systemd-analyze` on the unit, as if the program were installed.
fn analyze(arguments: &[&str], change: impl Fn(String) -> String) -> Option<Output> {
    let dir = tempfile::tempdir().unwrap();
    let unit = dir.path().join("proxytrace-agent.service");
    let program = cases::proxytrace();
    let installed = fs::read_to_string(file("proxytrace-agent.service")).unwrap();
    assert!(installed.contains("ExecStart=/usr/bin/proxytrace agent\n"));
    let here = installed.replace("/usr/bin/proxytrace", program.to_str().unwrap());
    fs::write(&unit, change(here)).unwrap();
    let output = Command::new("systemd-analyze").args(arguments).arg(&unit).output();
    if output.is_err() {
        skip("no systemd-analyze: `cargo xtask test` installs it");
    }
    output.ok()
}

#[test]
fn systemd_has_nothing_to_say_of_the_unit() {
    let verify = ["verify", "--man=no"];
    let Some(output) = analyze(&verify, |unit| unit) else { return };
    assert_eq!((output.status.success(), &*text(&output.stderr)), (true, ""));
    // That it would say something.
    let broken = analyze(&verify, |unit| unit.replace("ProtectClock=", "ProtectClocks=")).unwrap();
    assert!(text(&broken.stderr).contains("ProtectClocks"), "{broken:?}");
}

#[test]
fn the_unit_is_hardened() {
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let security = ["security", "--offline=true", "--no-pager", &threshold];
    let Some(output) = analyze(&security, |unit| unit) else { return };
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}");
    eprintln!("{}", said.lines().last().unwrap_or_default());
    let open =
        analyze(&security, |unit| unit.replace("CapabilityBoundingSet", "#CapabilityBoundingSet"));
    assert!(!open.unwrap().status.success(), "with all capabilities it is not");
}

/// Validates every document of a manifest against the schemas of some releases, members that no
/// schema has included.
const VALIDATE: &str = "
import sys, yaml
from kubernetes_validate import validate
kinds = []
for document in yaml.safe_load_all(sys.stdin):
    for release in sys.argv[1:]:
        validate(document, release, strict=True)
    kinds.append(document['kind'])
print(*kinds)
";

#[test]
fn the_manifest_is_one_of_kubernetes() {
    let Some(engines) = engines() else { return };
    let validate = |manifest: &str| {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("manifest");
        fs::write(&file, manifest).unwrap();
        let mut python = python();
        python.args(["-c", VALIDATE]).args(RELEASES).env("PYTHONPATH", engines.join("kubernetes"));
        python.stdin(fs::File::open(file).unwrap()).output().unwrap()
    };
    let manifest = fs::read_to_string(file("daemonset.yaml")).unwrap();
    let output = validate(&manifest);
    let kinds = "Namespace ConfigMap DaemonSet\n";
    assert_eq!(text(&output.stdout), kinds, "{}", text(&output.stderr));
    // Builds come first; and outside of kube-system some clusters refuse these classes.
    assert!(!manifest.contains("system-node-critical") && !manifest.contains("system-cluster-"));
    for (right, wrong) in [("hostPID: true", "hostPid: true"), ("cpu: 10m", "cpu: [10]")] {
        assert!(manifest.contains(right));
        let output = validate(&manifest.replace(right, wrong));
        assert!(!output.status.success(), "{wrong} was accepted");
    }
}

/// What the manifest and the unit say to the agent is what it understands.
#[test]
fn the_agent_takes_its_settings() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = fs::read_to_string(file("daemonset.yaml")).unwrap();
    let (_, settings) = manifest.split_once("  agent.toml: |\n").unwrap();
    let (settings, _) = settings.split_once("\n---\n").unwrap();
    let in_manifest: String = settings
        .lines()
        .map(|line| line.strip_prefix("    ").unwrap_or(line).to_owned() + "\n")
        .collect();
    let example = fs::read_to_string(file("agent.toml")).unwrap();
    // What is commented out, too.
    let all: String = example
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|line| line.contains(" = \"")).unwrap_or(line))
        .map(|line| line.to_owned() + "\n")
        .collect();
    assert!(all.contains("\notlp = ") && all.contains("\nhost-group = "));
    for (name, text) in [("manifest", in_manifest), ("example", example), ("all", all)] {
        let config = dir.path().join(name);
        fs::write(&config, text).unwrap();
        let options = proxytrace::agent::options::Options {
            config: Some(config),
            ..proxytrace::agent::options::Options::default()
        };
        options.settings().unwrap_or_else(|error| panic!("{name}: {error:#}"));
    }
}

/// Wrong settings have an exit code of their own, which the unit does not start anew after.
#[test]
fn wrong_settings_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("agent.toml");
    let unit = fs::read_to_string(file("proxytrace-agent.service")).unwrap();
    assert!(unit.lines().any(|line| line == "RestartPreventExitStatus=2"));
    let ran = || {
        let mut agent = Command::new(cases::proxytrace());
        agent.args(["agent", "--once", "--for", "1s", "--config"]).arg(&config);
        agent.output().unwrap()
    };
    let missing = ran();
    for (text, said) in [
        ("sample = 7", ["agent.toml is wrong", "sample"]),
        ("simple = 1", ["agent.toml is wrong", "unknown field `simple`"]),
        ("export.otlp = \"collector:4318\"", ["--otlp", "is no URL"]),
        ("export.metrics = \"0.0.0.0:9478\"", ["0.0.0.0:9478", "reached from elsewhere"]),
    ] {
        fs::write(&config, text).unwrap();
        let output = ran();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(said.iter().all(|said| stderr.contains(*said)), "{stderr}");
    }
    assert_eq!(missing.status.code(), Some(2), "{missing:?}");
}
