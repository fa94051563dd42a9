//! The half of the benchmark that runs inside the lab.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::wait::wait;
use serde_json::{Value, json};
use xtask::process::{cannot_run, shown, which};

use super::parts::{Part, Way, Work};
use super::series::{Runner, Series, interleaved};
use super::tools::{Companion, Memory, bpftrace, read_text, strace};

/// Measures one part and prints the measurements as JSON. Arguments: the part's name, proxytrace,
/// the directory of mitmproxy's packages.
pub(crate) fn measure(arguments: &[OsString]) -> Result<()> {
    let [part, proxytrace, mitmproxy] = arguments else {
        anyhow::bail!("this is a half of `cargo xtask bench`")
    };
    let part = part.to_str().and_then(Part::find).context("no such part")?;
    // Whoever outlives its parent is to be waited for, and accounted for, here.
    set_child_subreaper(true)?;
    let mut place = Place {
        work: part.work,
        go: which("go").context("the lab has a go on its PATH")?,
        proxytrace: proxytrace.into(),
        mitmproxy: mitmproxy.into(),
        memory: Memory::new()?,
        functions: Vec::new(),
    };
    // Counting is in nobody's time.
    let mut traced = place.count()?;
    for _ in 1..COUNTED {
        keep_most(&mut traced, &place.count()?);
    }
    place.functions = entries(&traced["counts"]);
    let groups = part.groups.iter().map(|(rounds, ways)| {
        let all = interleaved(*rounds, ways, &mut place)?;
        Ok(all.iter().map(Series::to_json).collect::<Value>())
    });
    let groups = groups.collect::<Result<Vec<_>>>()?;
    let traced = if part.is_counted { traced } else { Value::Null };
    println!("{}", json!({ "groups": groups, "traced": traced }));
    Ok(())
}

/// Of a run that is counted again, what is more than before: counts repeat, but what two threads have
/// in memory at a time does not, nor what is lost.
fn keep_most(traced: &mut Value, again: &Value) {
    for pointer in ["/counts/peak_memory", "/capture/lost"] {
        if let (Some(most), Some(new)) = (traced.pointer_mut(pointer), again.pointer(pointer))
            && new.as_u64() > most.as_u64()
        {
            *most = new.clone();
        }
    }
}

/// The functions that are probed at their entries, and were entered.
fn entries(counts: &Value) -> Vec<String> {
    let probes = counts["probes"].as_array().into_iter().flatten();
    let mut names: Vec<String> = probes
        .filter(|probe| probe["hits"].as_u64() > Some(0))
        .filter_map(|probe| Some(probe["hook"].as_str()?.to_owned()))
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Runs of which the most memory counts, and the most that was lost.
const COUNTED: u32 = 5;
const DOWNLOAD: &[&str] = &["go", "mod", "download"];

/// What the runs need.
struct Place {
    work: Work,
    go: PathBuf,
    proxytrace: PathBuf,
    mitmproxy: PathBuf,
    memory: Memory,
    /// Those of the go command that bpftrace is to probe.
    functions: Vec<String>,
}

impl Place {
    fn words(&self) -> &'static [&'static str] {
        match self.work {
            Work::Version => &["go", "version"],
            Work::Download | Work::Crowded => DOWNLOAD,
        }
    }

    fn command(&self, way: Way) -> Command {
        let words = self.words();
        let mut command = match way {
            Way::Bare | Way::Control | Way::Tcpdump | Way::Mitmproxy => {
                let mut command = Command::new("go");
                command.args(&words[1..]);
                command
            }
            Way::Verbose => {
                let mut command = Command::new("go");
                command.args(&words[1..]).arg("-x");
                command
            }
            Way::Proxytrace => self.traced(&["--"]),
            Way::Limit => self.traced(&["limit", "--"]),
            Way::Strace => strace(self.memory.path(), words),
            Way::BpftraceOne => bpftrace(&self.go, &["main.main".to_owned()], words),
            Way::BpftraceAll => bpftrace(&self.go, &self.functions, words),
        };
        self.around(&mut command);
        command
    }

    fn traced(&self, before: &[&str]) -> Command {
        let mut command = Command::new(&self.proxytrace);
        command.args(before).args(self.words());
        command
    }

    /// One traced download: what it took in counts, and how much of it was lost.
    fn count(&mut self) -> Result<Value> {
        self.prepare()?;
        let (counts, trace) = (self.memory.fresh("cost")?, self.memory.fresh("trace")?);
        let mut command = Command::new(&self.proxytrace);
        command.arg("--cost").arg(&counts).arg("--json").arg(&trace).arg("--").args(DOWNLOAD);
        succeed(self.around(&mut command))?;
        self.settle();
        let trace: Value = serde_json::from_str(&read_text(&trace)?)?;
        let counts: Value = serde_json::from_str(&read_text(&counts)?)?;
        Ok(json!({ "counts": counts, "capture": {
            "events": trace["capture"]["events"],
            "lost": trace["capture"]["lost"],
            "complete": trace["capture"]["complete"],
        }}))
    }

    /// The environment of every way.
    fn around<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        if self.work == Work::Crowded {
            command.env("GOMAXPROCS", "8");
        }
        command.env("GOMODCACHE", self.memory.path().join("modules"))
    }
}

impl Runner for Place {
    /// A module cache that is empty.
    fn prepare(&mut self) -> Result<()> {
        let modules = self.memory.path().join("modules");
        if modules.exists() {
            fs::remove_dir_all(&modules)?;
        }
        Ok(())
    }

    fn run(&mut self, way: Way) -> Result<()> {
        let mut command = self.command(way);
        let companion = match way {
            Way::Tcpdump => Some(Companion::tcpdump(self.memory.path())?),
            Way::Mitmproxy => {
                let (companion, environment) =
                    Companion::mitmproxy(&self.mitmproxy, self.memory.path())?;
                command.envs(environment);
                Some(companion)
            }
            _ => None,
        };
        let succeeded = succeed(&mut command);
        let stopped = companion.map_or(Ok(()), Companion::stop);
        succeeded.and(stopped)
    }

    /// Neither the CPU time of who is late nor what it still holds may be the next one's.
    fn settle(&mut self) {
        while !matches!(wait(), Err(Errno::ECHILD)) {}
    }
}

/// Runs a command to its end, its output dropped.
fn succeed(command: &mut Command) -> Result<()> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status().with_context(|| cannot_run(command.get_program()))?;
    ensure!(status.success(), "`{}` ended with {status}", shown(command));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_of_all_runs_is_kept() {
        let run = |peak: u32, lost: u32| {
            let counts = json!({"peak_memory": peak, "records": 5});
            json!({"counts": counts, "capture": {"lost": lost}})
        };
        let mut traced = run(20, 0);
        keep_most(&mut traced, &run(19, 7));
        keep_most(&mut traced, &run(21, 3));
        assert_eq!(traced, run(21, 7));
    }
}
