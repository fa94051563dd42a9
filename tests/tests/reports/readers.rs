//! HAR, the JSON schema, `JUnit`, SARIF and GitLab's report as independent readers have them
//! (`readers.py`).

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use proxytrace::model::Outcome;
use proxytrace::report::json::SCHEMA;
use proxytrace_tests::cases::{not_here, skip};
use proxytrace_tests::golden;
use proxytrace_tests::python::python;
use tempfile::TempDir;

use crate::hostile;
use crate::traces::{grown, written};

/// The directory of the readers; none, aloud, where they are not installed.
pub(crate) fn packages() -> Option<PathBuf> {
    let packages = env::var_os("PROXYTRACE_READERS_DIR").map(PathBuf::from);
    let packages = packages
        .or_else(|| Some(env::home_dir()?.join(".cache/proxytrace/readers")))
        .filter(|directory| directory.is_dir());
    if packages.is_none() {
        skip("no readers: `cargo xtask test` installs them");
    }
    packages
}

#[test]
fn others_can_read_it() {
    let Some(packages) = packages() else { return };
    let directory = TempDir::new().unwrap();
    let mut traces: Vec<_> = golden::recordings().iter().map(|file| golden::replay(file)).collect();
    traces.push(grown(&golden::named("redirect-403"), 1000));
    let mut given_up = golden::named("redirect-403");
    given_up.findings.clear();
    for chain in &mut given_up.chains {
        chain.outcome = Outcome::Unfinished;
    }
    traces.push(given_up);
    for text in hostile::TEXTS {
        let mut trace = golden::named("redirect-403");
        hostile::spoil(&mut trace, text);
        traces.push(trace);
    }
    for (number, trace) in traces.iter().enumerate() {
        for format in ["json", "har", "junit", "gitlab", "sarif"] {
            let file = directory.path().join(number.to_string()).with_extension(format);
            fs::write(file, written(format, trace)).unwrap();
        }
    }
    let schema = directory.path().join("schema");
    fs::write(&schema, SCHEMA).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reports/readers.py");
    let output = python()
        .arg(script)
        .args([directory.path(), &schema])
        .env("PYTHONPATH", packages)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(stdout.lines().last(), Some(&*traces.len().to_string()), "{stdout}");
    if cfg!(not(target_arch = "x86_64")) {
        not_here("the validator of SARIF's editors is there for x86-64 alone");
    }
}
