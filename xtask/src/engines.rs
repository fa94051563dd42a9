//! Engines that the tests of monitoring run: what people have, as others built it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::process::{run, status, succeeds};
use crate::{apt, go};

/// Packages of the Python package index: an OTLP collector, and `ClickHouse`'s engine with what it
/// imports.
const PACKAGES: [&str; 3] = ["rotel==0.0.1a15", "chdb-core==26.9.0", "pyarrow==26.0.1"];

/// What knows the schemas of Kubernetes, release by release, with all that it imports.
const KUBERNETES: &str = "kubernetes-validate==1.37.0";

/// Packages of Debian, and programs in them. They are taken out of the packages: installed, they
/// would serve on this machine.
const PROGRAMS: [(&str, &[&str]); 5] = [
    ("prometheus", &["usr/bin/prometheus", "usr/bin/promtool"]),
    // They make containers.
    ("runc", &["usr/sbin/runc"]),
    ("containerd", &["usr/bin/containerd", "usr/bin/ctr"]),
    ("docker.io", &["usr/sbin/dockerd", "usr/bin/docker"]),
    ("prometheus-node-exporter", &["usr/bin/prometheus-node-exporter"]),
];

/// The same for libraries, found by the last part of their path: sets the clock of one program.
const LIBRARIES: [(&str, &str); 1] = [("libfaketime", "faketime/libfaketime.so.1")];

/// `ZooKeeper`, that replicas of `ClickHouse` meet in: packages, and of them what a server of it loads.
const JARS: [(&str, &[&str]); 4] = [
    ("libzookeeper-java", &["zookeeper.jar", "zookeeper-jute.jar"]),
    ("libslf4j-java", &["slf4j-api.jar"]),
    ("libdropwizard-metrics-java", &["metrics-core.jar"]),
    ("libsnappy-java", &["snappy-java.jar"]),
];

/// Names the directory that they are in, to the tests.
pub const DIR_VAR: &str = "PROXYTRACE_ENGINES_DIR";

/// The directory, filled first where it is not yet.
pub fn install() -> Result<PathBuf> {
    let dir = go::root_dir()?.with_file_name("engines");
    fs::create_dir_all(&dir)?;
    let python = dir.join("python");
    if !has_engines(&python) {
        status("Installing", format_args!("{} (pip)", PACKAGES.join(" ")));
        if python.exists() {
            fs::remove_dir_all(&python)?;
        }
        // What chdb names besides is for data frames.
        run(go::pip()?.arg("--no-deps").arg("--target").arg(&python).args(PACKAGES))
            .with_context(|| format!("cannot install engines in {}", python.display()))?;
        if !has_engines(&python) {
            bail!("the engines in {} do not run", python.display());
        }
    }
    let kubernetes = dir.join("kubernetes");
    if !imports(&kubernetes, "kubernetes_validate") {
        status("Installing", format_args!("{KUBERNETES} (pip)"));
        run(go::pip()?.arg("--upgrade").arg("--target").arg(&kubernetes).arg(KUBERNETES))
            .with_context(|| format!("cannot install it in {}", kubernetes.display()))?;
    }
    for (package, programs) in PROGRAMS {
        if programs.iter().all(|program| runs(&dir.join(program))) {
            continue;
        }
        extract(package, &dir)?;
        if let Some(broken) = programs.iter().find(|program| !runs(&dir.join(program))) {
            bail!("{broken} of {package} does not run");
        }
    }
    for (package, library) in LIBRARIES {
        let path = format!("usr/lib/{}-linux-gnu/{library}", std::env::consts::ARCH);
        if !dir.join(&path).is_file() {
            extract(package, &dir)?;
        }
        if !dir.join(&path).is_file() {
            bail!("{package} has no {path}");
        }
    }
    // It serves nobody unless it is told to, and does not run from elsewhere.
    apt::provide("java", "default-jre-headless")?;
    let java = dir.join("usr/share/java");
    for (package, jars) in JARS {
        let missing = || jars.iter().find(|jar| !java.join(jar).is_file());
        if missing().is_some() {
            extract(package, &dir)?;
        }
        if let Some(jar) = missing() {
            bail!("{package} has no {jar}");
        }
    }
    Ok(dir)
}

/// Whether what is in a directory runs here.
fn has_engines(python: &Path) -> bool {
    imports(python, "chdb") && runs(&python.join("rotel/rotel-agent"))
}

fn imports(directory: &Path, module: &str) -> bool {
    let mut python = Command::new(go::with_pip().unwrap_or("python3"));
    python.args(["-c", &format!("import {module}")]).env("PYTHONPATH", directory);
    succeeds(&mut python)
}

fn runs(program: &Path) -> bool {
    succeeds(Command::new(program).arg("--version"))
}

/// Takes a package apart.
fn extract(package: &str, dir: &Path) -> Result<()> {
    status("Fetching", format_args!("{package} (apt)"));
    let packages = dir.join("packages");
    fs::create_dir_all(&packages)?;
    let download = |quiet: &str| {
        let mut apt = Command::new("apt-get");
        // apt's own user could not write there.
        apt.args([quiet, "--option", "APT::Sandbox::User=root", "download", package]);
        run(apt.current_dir(&packages))
    };
    if download("--quiet=2").is_err() {
        apt::update()?;
        download("--quiet=2")?;
    }
    let prefix = format!("{package}_");
    for entry in fs::read_dir(&packages)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)) {
            run(Command::new("dpkg-deb").arg("--extract").arg(path).arg(dir))?;
        }
    }
    Ok(fs::remove_dir_all(packages)?)
}
