//! Readers of the formats that reports come in, which others wrote: the tests have them read ours.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::go;
use crate::process::{run, status, succeeds};

/// Packages of the Python package index: HAR, JSON schema, `JUnit`.
const PACKAGES: [&str; 3] = ["haralyzer==2.4.0", "jsonschema==4.26.0", "junitparser==5.0.3"];

/// Names the directory that they are in, to the tests.
pub const DIR_VAR: &str = "PROXYTRACE_READERS_DIR";

/// The directory, filled first where it is not yet.
pub fn install() -> Result<PathBuf> {
    let dir = go::root_dir()?.with_file_name("readers");
    if is_whole(&dir) {
        return Ok(dir);
    }
    status("Installing", format_args!("{} (pip)", PACKAGES.join(" ")));
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    run(go::pip()?.arg("--target").arg(&dir).args(PACKAGES))
        .with_context(|| format!("cannot install readers in {}", dir.display()))?;
    Ok(dir)
}

/// Whether the Python that would run them can read them.
fn is_whole(dir: &std::path::Path) -> bool {
    let python = go::with_pip().unwrap_or("python3");
    let import = ["-c", "import haralyzer, jsonschema, junitparser"];
    succeeds(Command::new(python).args(import).env("PYTHONPATH", dir))
}
