//! Tries what tracing needs, one thing after another, and takes it back at once: for
//! `proxytrace doctor`. Nothing of it outlives the call but what was proven of a `go`.

use std::fs;
use std::path::Path;
use std::thread;

use anyhow::Context as _;
use aya::maps::MapType;
use aya::programs::ProgramType;
use aya::sys::{is_map_supported, is_program_supported};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;

use super::btf;
use super::executables::Executables;
use super::gate::Gate;
use super::pids;
use super::program::Programs;

/// One thing that was tried.
#[derive(Debug)]
pub struct Trial {
    /// What it is.
    pub what: &'static str,
    /// Whether there is no trace without it.
    pub needed: bool,
    /// What came of it: how it works here, or why not.
    pub result: Result<String, String>,
}

/// Tries everything. `go` is an executable to put probes into, for a moment.
pub fn trials(go: Option<&Path>) -> Vec<Trial> {
    let mut trials = Vec::new();
    let mut tried = |what, needed, result: anyhow::Result<String>| {
        let result = result.map_err(|error| format!("{error:#}"));
        let worked = result.is_ok();
        trials.push(Trial { what, needed, result });
        worked
    };
    let offsets = btf::kernel_offsets();
    let there = offsets.as_ref().map(|_| "there, and its structures are known".to_owned());
    tried("kernel types (BTF)", true, there.map_err(|error| anyhow::anyhow!("{error}")));
    tried("ring buffer", true, supported(is_map_supported(MapType::RingBuf).map_err(Into::into)));
    tried(
        "raw tracepoints",
        true,
        supported(is_program_supported(ProgramType::RawTracePoint).map_err(Into::into)),
    );
    tried("uprobes", true, uprobes());
    let programs = Programs::load(|| Ok(btf::kernel_offsets()?), || {}, false);
    let (programs, loaded) = match programs {
        Ok(programs) => {
            let how = match programs.backend() {
                "uprobe-multi" => "all at once (uprobe_multi)",
                _ => "one by one (perf), as before Linux 6.6: it starts and stops slower",
            };
            (Some(programs), Ok(format!("loaded; probes are put in {how}")))
        }
        Err(error) => (None, Err(error)),
    };
    tried("our programs", true, loaded);
    if let Some(mut programs) = programs {
        let followed = pids::our_namespace()
            .map_err(anyhow::Error::from)
            .and_then(|namespace| programs.follow(std::process::id(), namespace));
        tried("following processes", true, followed.map(|()| "works".to_owned()));
        if let Some(go) = go {
            let probed = Executables::prepare(go)
                .context("no go command that can be read")
                .and_then(|prepared| prepared.probe(&mut programs))
                .with_context(|| go.display().to_string());
            let probed = probed.map(|sites| format!("{sites} put into {}", go.display()));
            tried("probes in a go", true, probed);
        }
        programs.leave(None);
    }
    tried("holding execs (fanotify)", false, holding());
    trials
}

fn supported(answer: anyhow::Result<bool>) -> anyhow::Result<String> {
    match answer {
        Ok(true) => Ok("works".to_owned()),
        Ok(false) => anyhow::bail!("this kernel has none"),
        Err(error) => Err(error),
    }
}

fn uprobes() -> anyhow::Result<String> {
    // Needs no privileges, so that everybody learns of it.
    fs::read_to_string("/sys/bus/event_source/devices/uprobe/type")
        .context("this kernel has none (CONFIG_UPROBE_EVENTS)")?;
    Ok("there".to_owned())
}

/// A mount namespace of its own, and the right to hold what is executed in it: in a thread that
/// ends with it.
fn holding() -> anyhow::Result<String> {
    let thread = thread::spawn(|| own_gate().map(|_| "works".to_owned()));
    thread.join().unwrap_or_else(|_| anyhow::bail!("the trial broke off"))
}

/// The calling thread moves into a mount namespace, and watches that one alone: the process is
/// still in that of the machine.
fn own_gate() -> anyhow::Result<Gate> {
    unshare(CloneFlags::CLONE_NEWNS).context("a mount namespace of its own")?;
    Gate::new(gettid().as_raw()).context("fanotify")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::os::fd::{AsFd as _, AsRawFd as _};

    use xtask::process::skip;

    use super::*;

    /// Nobody answers who is held there.
    #[test]
    fn the_mounts_of_the_machine_are_left_alone() {
        let marked = thread::spawn(|| {
            let gate = own_gate()?;
            let about = format!("/proc/self/fdinfo/{}", gate.as_fd().as_raw_fd());
            anyhow::Ok(fs::read_to_string(about)?)
        });
        let Ok(marked) = marked.join().unwrap() else { return skip("execs cannot be held") };
        // proc_pid_fdinfo(5): in hexadecimal there, in decimal in mountinfo.
        let marked: HashSet<u32> = marked
            .lines()
            .filter_map(|line| line.strip_prefix("fanotify mnt_id:")?.split(' ').next())
            .map(|number| u32::from_str_radix(number, 16).unwrap())
            .collect();
        assert!(!marked.is_empty());
        let mounts = fs::read("/proc/self/mountinfo").unwrap();
        let mounts = String::from_utf8_lossy(&mounts);
        let of_machine = mounts.lines().filter_map(|line| line.split(' ').next()?.parse().ok());
        let both: Vec<u32> = of_machine.filter(|mount| marked.contains(mount)).collect();
        assert!(both.is_empty(), "{both:?}");
    }
}
