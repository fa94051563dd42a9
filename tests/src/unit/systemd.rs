//! What systemd says of a unit, and does with it.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

/// How long something may take that is to happen at once, in a machine that is emulated.
pub(super) const PATIENCE: Duration = Duration::from_mins(2);
const GLANCE: Duration = Duration::from_millis(100);

/// A unit, by its name.
#[derive(Clone, Copy)]
pub(super) struct Unit(pub(super) &'static str);

/// What is shown of it (systemctl(1), `show`).
pub(super) struct Shown(HashMap<String, String>);

impl Shown {
    /// A property.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Its main process.
    pub(super) fn pid(&self) -> Result<i32> {
        let pid = self.get("MainPID").parse()?;
        ensure!(pid > 0, "there is no main process: {:?}", self.0);
        Ok(pid)
    }

    /// Whether these properties have these values.
    pub(super) fn ensure(&self, wanted: &[(&str, &str)]) -> Result<()> {
        for (name, value) in wanted {
            ensure!(self.get(name) == *value, "{name} is not {value}: {:?}", self.0);
        }
        Ok(())
    }
}

impl Unit {
    /// All of its properties.
    pub(super) fn shown(self) -> Result<Shown> {
        let text = read(Command::new("systemctl").args(["show", self.0]))?;
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Ok(Shown(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
    }

    /// `systemctl VERB`, which succeeds.
    pub(super) fn control(self, words: &[&str]) -> Result<()> {
        read(Command::new("systemctl").args(words).arg(self.0)).map(drop)
    }

    /// What `systemctl is-enabled` or its like answers, whatever it exits with.
    pub(super) fn is(self, verb: &str) -> Result<String> {
        let output = Command::new("systemctl").args([verb, self.0]).output()?;
        Ok(text(&output.stdout).trim().to_owned())
    }

    /// What it has said, and systemd of it.
    pub(super) fn journal(self) -> Result<String> {
        read(Command::new("journalctl").arg("--sync"))?;
        read(Command::new("journalctl").args(["--no-pager", "--output=cat", "--unit", self.0]))
    }

    /// Its control group.
    pub(super) fn group(self) -> Result<PathBuf> {
        let shown = self.shown()?;
        let path = shown.get("ControlGroup").trim_start_matches('/');
        ensure!(!path.is_empty(), "it has no control group");
        Ok(Path::new("/sys/fs/cgroup").join(path))
    }

    /// A number of its control group; of kernels that have it.
    pub(super) fn number(self, name: &str) -> Option<u64> {
        let text = fs::read_to_string(self.group().ok()?.join(name)).ok()?;
        text.trim().parse().ok()
    }

    /// Waits until it is like this; yields that, and how long it took.
    pub(super) fn until(
        self,
        what: &str,
        patience: Duration,
        reached: impl Fn(&Shown) -> bool,
    ) -> Result<(Shown, Duration)> {
        let begun = Instant::now();
        loop {
            let shown = self.shown()?;
            if reached(&shown) {
                return Ok((shown, begun.elapsed()));
            }
            if begun.elapsed() > patience {
                let state = ["ActiveState", "SubState", "Result", "MainPID", "NRestarts"];
                let state = state.map(|name| format!("{name}={}", shown.get(name)));
                bail!("never {what}: {}", state.join(" "));
            }
            thread::sleep(GLANCE);
        }
    }
}

/// Waits until there is something.
pub(super) fn until<T>(what: &str, mut find: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = find().with_context(|| what.to_owned())? {
            return Ok(found);
        }
        ensure!(begun.elapsed() < PATIENCE, "never {what}");
        thread::sleep(GLANCE);
    }
}

/// Runs a command that succeeds, and yields what it wrote to stdout.
pub(super) fn read(command: &mut Command) -> Result<String> {
    let Output { status, stdout, stderr } =
        command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}: {}{}", text(&stdout), text(&stderr));
    Ok(text(&stdout))
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
