//! What `proxytrace doctor` says to root, to an ordinary user, in a user namespace, and of a go that
//! nobody knows.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use proxytrace_tests::cases;
use proxytrace_tests::toolchain::{Toolchain, VERSIONS};
use serde_json::Value;
use tempfile::TempDir;

/// A directory that everybody can read, with the program in it, and a `go`.
struct Bench {
    dir: TempDir,
}

impl Bench {
    /// None, aloud, where it cannot be tried.
    fn new() -> Option<Self> {
        let proxytrace = cases::built()?;
        if !cases::can_trace() {
            return None;
        }
        let dir = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir();
        let dir = dir.expect("a directory");
        fs::copy(proxytrace, dir.path().join("proxytrace")).expect("a copy of the program");
        Some(Self { dir })
    }

    fn go(&self, contents: &[u8]) {
        let go = self.dir.path().join("go");
        fs::write(&go, contents).expect("a go");
        fs::set_permissions(&go, fs::Permissions::from_mode(0o755)).expect("an executable");
    }

    /// What it says when it is started by `prefix`, and its exit code.
    fn doctor(&self, prefix: &[&str]) -> (Value, i32) {
        let json = self.dir.path().join("doctor.json");
        // Whoever asks may write it.
        fs::write(&json, "").expect("a file");
        fs::set_permissions(&json, fs::Permissions::from_mode(0o666)).expect("a file for all");
        let program = self.dir.path().join("proxytrace");
        let mut argv: Vec<PathBuf> = prefix.iter().map(PathBuf::from).collect();
        argv.extend([program, "doctor".into(), "--json".into(), json.clone()]);
        let mut command = Command::new(&argv[0]);
        command.args(&argv[1..]).env_clear().env("PATH", self.path());
        let output = command.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.starts_with("proxytrace ") && said.lines().count() < 50, "{said}");
        let document = serde_json::from_slice(&fs::read(&json).expect("the file"));
        (document.unwrap_or_else(|error| panic!("{error}: {said}")), output.status.code().unwrap())
    }

    fn path(&self) -> String {
        format!("{}:/usr/bin:/bin", self.dir.path().display())
    }
}

fn state<'a>(document: &'a Value, what: &str) -> &'a str {
    let checks = document["checks"].as_array().expect("checks");
    let check = checks.iter().find(|check| check["what"] == what);
    check.and_then(|check| check["state"].as_str()).unwrap_or("absent")
}

fn go_command() -> Option<Vec<u8>> {
    let newest = VERSIONS[VERSIONS.len() - 1];
    match Toolchain::find(newest) {
        Ok(toolchain) => Some(fs::read(toolchain.goroot.join("bin/go")).expect("a go command")),
        Err(error) => {
            cases::skip(&format!("Go {newest}: {error:#}"));
            None
        }
    }
}

#[test]
fn root_can_trace_and_an_ordinary_user_cannot() {
    let (Some(bench), Some(go)) = (Bench::new(), go_command()) else { return };
    bench.go(&go);
    let (root, code) = bench.doctor(&["/usr/bin/env"]);
    assert_eq!((root["can_trace"].as_bool(), code), (Some(true), 0), "{root:#}");
    for what in ["privileges", "our programs", "following processes", "probes in a go"] {
        assert_eq!(state(&root, what), "ok", "{root:#}");
    }
    assert_eq!(root["toolchains"][0]["version"], format!("go{}", VERSIONS[VERSIONS.len() - 1]));

    let nobody = ["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let (ordinary, code) = bench.doctor(&nobody);
    assert_eq!((ordinary["can_trace"].as_bool(), code), (Some(false), 125), "{ordinary:#}");
    assert_eq!(state(&ordinary, "privileges"), "missing");
    assert!(ordinary["checks"][0]["advice"].as_str().is_some_and(|text| text.contains("sudo")));
    assert_eq!(ordinary["toolchains"][0]["probes"], root["toolchains"][0]["probes"]);
}

#[test]
fn two_capabilities_are_enough() {
    let (Some(bench), Some(go)) = (Bench::new(), go_command()) else { return };
    bench.go(&go);
    let (found, code) = bench.doctor(&[
        "/usr/bin/setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--inh-caps=-all,+bpf,+perfmon",
        "--ambient-caps=-all,+bpf,+perfmon",
    ]);
    // Before Linux 6.6 probes are perf events, which may want CAP_SYS_ADMIN.
    let multi = found["checks"].to_string().contains("uprobe_multi");
    assert!(code == 0 || !multi, "{found:#}");
    assert_eq!(state(&found, "privileges"), "lacking");
}

#[test]
fn root_of_a_user_namespace_is_not_root() {
    let Some(bench) = Bench::new() else { return };
    let (found, code) = bench.doctor(&["/usr/bin/unshare", "--user", "--map-root-user"]);
    assert_eq!((found["can_trace"].as_bool(), code), (Some(false), 125), "{found:#}");
    assert_eq!(state(&found, "user namespace"), "missing");
}

#[test]
fn a_go_that_nobody_knows_is_said_to_be_unknown() {
    let Some(bench) = Bench::new() else { return };
    bench.go(b"#!/bin/sh\n");
    let (found, _) = bench.doctor(&["/usr/bin/env"]);
    let ours = bench.dir.path().canonicalize().expect("a path").join("go");
    let toolchains = found["toolchains"].as_array().expect("toolchains");
    let go = toolchains.iter().find(|go| go["path"].as_str().map(Path::new) == Some(&*ours));
    let go = go.unwrap_or_else(|| panic!("{found:#}"));
    assert!(go["probes"].is_null() && go["problem"].is_string(), "{go:#}");
}
