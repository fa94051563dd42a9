//! Building the programs.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use xtask::process::{cannot_run, in_ci};
use xtask::workspace;

/// What was built.
#[derive(Debug)]
pub(crate) struct Programs {
    /// `proxytrace` itself.
    pub(crate) proxytrace: PathBuf,
    /// `lab`, the misbehaving proxies.
    pub(crate) lab: PathBuf,
}

/// Cargo, in the workspace.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace());
    // What the cargo that runs us says of our package is not to be taken for what others' builds
    // depend on: they would be built anew each time that one calls the other.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&*name);
        }
    }
    if in_ci() {
        // Gigabytes that only a second build would read.
        cargo.env("CARGO_INCREMENTAL", "0");
    }
    cargo
}

/// Builds proxytrace and the lab.
pub(crate) fn programs(release: bool) -> Result<Programs> {
    let mut cargo = cargo();
    cargo
        .args(["build", "--package", "proxytrace", "--package", "proxytrace-tests", "--bins"])
        .args(release.then_some("--release"));
    let [proxytrace, lab] = executables(&mut cargo, ["proxytrace", "lab"])?;
    Ok(Programs { proxytrace, lab })
}

/// Runs `cargo build`, and says where it put the programs of these names.
pub(crate) fn executables<const N: usize>(
    cargo: &mut Command,
    names: [&str; N],
) -> Result<[PathBuf; N]> {
    // Where the programs are is for cargo to say; messages for people go to stderr as ever.
    let output = cargo
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| cannot_run(cargo.get_program()))?;
    if !output.status.success() {
        bail!("{} does not build", names[0]);
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let mut paths = [const { PathBuf::new() }; N];
    for (path, name) in paths.iter_mut().zip(names) {
        *path = executable(&messages, name).with_context(|| format!("no program `{name}`"))?;
    }
    Ok(paths)
}

/// The path of a program, from cargo's messages.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact")
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| Some(message["executable"].as_str()?.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_told_from_the_library_of_its_name() {
        let messages = r#"
{"reason":"build-script-executed","package_id":"p"}
{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"p"},"executable":null}
{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"q"},"executable":"/t/q"}
{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"p"},"executable":"/t/p"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages, "p"), Some("/t/p".into()));
        assert_eq!(executable(messages, "r"), None);
    }
}
