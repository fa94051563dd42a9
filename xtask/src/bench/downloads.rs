//! The part of the benchmark that runs inside the lab.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, process};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::DOWNLOAD_ROUNDS;
use super::series::{Series, interleaved};

/// Downloads the lab's modules again and again, bare and traced, each time into an empty cache, and
/// prints the measurements as JSON.
pub(crate) fn measure(arguments: &[OsString]) -> Result<()> {
    let [proxytrace] = arguments else { bail!("this is a part of `cargo xtask bench`") };
    let cache = Cache::new();
    let download = |program: &str| {
        let mut command = Command::new(program);
        command.args(["mod", "download"]).env("GOMODCACHE", &cache.0);
        command
    };
    let traced = || {
        let mut command = Command::new(proxytrace);
        command.args(["--", "go", "mod", "download"]).env("GOMODCACHE", &cache.0);
        command
    };
    let series = interleaved(
        DOWNLOAD_ROUNDS,
        &[
            ("bare", &|| download("go")),
            // The same once more: what differs here is noise.
            ("bare, control", &|| download("go")),
            ("proxytrace", &traced),
        ],
        || cache.empty(),
    )?;
    // Counts repeat, so that once is enough; and counting is in nobody's time.
    let file = cache.0.with_extension("cost");
    cache.empty()?;
    let mut command = Command::new(proxytrace);
    command.arg("--cost").arg(&file).args(["--", "go", "mod", "download"]);
    let status = command.env("GOMODCACHE", &cache.0).stderr(Stdio::null()).status()?;
    let counts = fs::read_to_string(&file);
    let _ = fs::remove_file(&file);
    if !status.success() {
        bail!("proxytrace --cost ended with {status}");
    }
    let counts: Value = serde_json::from_str(&counts?)?;
    let series: Value = series.iter().map(Series::to_json).collect();
    println!("{}", json!({ "series": series, "counts": counts }));
    Ok(())
}

/// A module cache in memory, so that no disk is measured.
struct Cache(PathBuf);

impl Cache {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        Self(dir.join(format!("proxytrace-bench-{}", process::id())))
    }

    fn empty(&self) -> Result<()> {
        if self.0.exists() {
            fs::remove_dir_all(&self.0)?;
        }
        Ok(())
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        // What is left behind is a temporary directory.
        let _ = self.empty();
    }
}
