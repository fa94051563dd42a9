//! `cargo xtask golden`: records the scenarios that the report is tested on.
//!
//! What the kernel saw of a real `go` is kept as a small file; `proxytrace/tests/golden.rs` replays
//! it, without privileges, and compares the report with a snapshot.

use std::fs;

use anyhow::{Context as _, Result, bail};
use xtask::process::{as_root, status};
use xtask::{bpf, go, workspace};

use crate::build;

/// Where the recordings are kept.
const DIRECTORY: &str = "proxytrace/tests/golden";

/// Scenarios of the lab that differ in what there is to say about them.
const SCENARIOS: [&str; 20] = [
    "demo",
    "cross-host-redirect",
    "redirect-404-next",
    "redirect-403",
    "redirect-403-pipe",
    "redirect-downgrade",
    "redirect-loop",
    "redirect-closed-port",
    "redirect-no-location",
    "bad-gateway-comma",
    "bad-gateway-pipe",
    "all-direct",
    "all-direct-fails",
    "retry-h1",
    "sumdb-direct",
    "sumdb-refused",
    "sumdb-pipe-fallback",
    "cached-part",
    "html-info-pipe",
    "netrc-without-port",
];

/// Records every scenario anew, with the newest Go.
pub(crate) fn golden() -> Result<()> {
    bpf::setup()?;
    let programs = build::programs(true)?;
    let goroot = go::install(go::NEWEST)?;
    let directory = workspace().join(DIRECTORY);
    fs::create_dir_all(&directory)?;
    for scenario in SCENARIOS {
        let file = directory.join(scenario).with_extension("ndjson");
        // It would be taken for what this run has recorded.
        if file.exists() {
            fs::remove_file(&file)?;
        }
        let mut lab = as_root(&programs.lab);
        lab.args(["run", scenario, "--go"]).arg(&goroot).arg("--").arg(&programs.proxytrace);
        lab.arg("--quiet").arg("--record").arg(&file).args(["--", "go", "mod", "download"]);
        // That go fails is what most scenarios are about.
        let output = lab.output().context("cannot run the lab")?;
        let Ok(text) = fs::read_to_string(&file) else {
            bail!("{scenario} left no recording:\n{}", String::from_utf8_lossy(&output.stderr));
        };
        // By sudo it is root's, in a directory that is not.
        fs::remove_file(&file)?;
        // A recording says where go is; where that is on this machine is of no interest.
        fs::write(&file, text.replace(&*goroot.to_string_lossy(), "/usr/local/go"))
            .with_context(|| format!("cannot write {}", file.display()))?;
        status("Recorded", scenario);
    }
    let test = "cargo test --package proxytrace --test golden";
    status("Next", format!("INSTA_UPDATE=always {test}, and review the difference"));
    Ok(())
}
