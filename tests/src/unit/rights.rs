//! What the agent may do, and what it takes.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::rows::{CACHE, LOGS};
use super::{AGENT, PROBES};

/// The capabilities that remain, by their numbers in `include/uapi/linux/capability.h`:
/// `DAC_READ_SEARCH`, `SYS_PTRACE`, `PERFMON`, `BPF`; and `SYS_ADMIN` where each probe is an event.
const KEPT: [u32; 4] = [2, 19, 38, 39];
const ADMINISTRATOR: u32 = 21;
/// Filtered system calls, in `/proc/PID/status`.
const FILTERED: &str = "2";
/// The memory that the unit may have is far above this.
const MEMORY: u64 = 160 << 20;

/// A field of `/proc/PID/status`.
fn field(status: &str, name: &str) -> Result<String> {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    Ok(value.with_context(|| format!("no {name} in {status}"))?.to_owned())
}

pub(super) fn privileges(backend: &str) -> Result<()> {
    let pid = AGENT.shown()?.pid()?;
    let more = (backend == "perf").then_some(ADMINISTRATOR);
    let kept: u64 = KEPT.into_iter().chain(more).map(|bit| 1_u64 << bit).sum();
    let mut tasks = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        for (set, expected) in
            [("CapEff", kept), ("CapPrm", kept), ("CapBnd", kept), ("CapInh", 0), ("CapAmb", 0)]
        {
            let found = u64::from_str_radix(&field(&status, set)?, 16)?;
            ensure!(found == expected, "{set} is {found:x} and not {expected:x}");
        }
        ensure!(field(&status, "NoNewPrivs")? == "1", "it may get new privileges");
        ensure!(field(&status, "Seccomp")? == FILTERED, "its system calls are not filtered");
        tasks += 1;
    }
    ensure!(tasks > 0, "it has no thread");
    // It sees the file systems of its unit, and may write to its own directories alone.
    let mounts = fs::read_to_string(format!("/proc/{pid}/mounts"))?;
    let options = |place: &str| {
        // What was mounted last is what is there.
        let mut lines = mounts.lines().rev().map(|line| line.split(' ').collect::<Vec<_>>());
        lines.find(|words| words[1] == place).map(|words| words[3].to_owned())
    };
    for (place, expected) in [("/", "ro"), (LOGS, "rw"), (CACHE, "rw"), ("/run/proxytrace", "rw")] {
        let options = options(place).with_context(|| format!("{place} is no mount: {mounts}"))?;
        ensure!(options.split(',').any(|word| word == expected), "{place} is {options}");
    }
    let plans = fs::read_dir(Path::new(CACHE).join("plans"))?.count();
    ensure!(plans > 0, "nothing is kept of toolchains");
    Ok(())
}

/// How probes are attached, by the descriptors that hold them.
pub(super) fn attached(expected: &str) -> Result<()> {
    const EACH: [&str; 2] = ["anon_inode:[perf_event]", "anon_inode:bpf_link"];
    let mut held = 0;
    for descriptor in fs::read_dir(format!("/proc/{}/fd", AGENT.shown()?.pid()?))? {
        // Closed meanwhile.
        let Ok(target) = fs::read_link(descriptor?.path()) else { continue };
        held += usize::from(EACH.iter().any(|kind| target.as_os_str() == *kind));
    }
    // There are a few links beside those of probes.
    let found = if held > 2 * PROBES { "perf" } else { "uprobe-multi" };
    ensure!(found == expected, "attached by {found} and not {expected}: {held} descriptors");
    Ok(())
}

pub(super) fn resources() -> Result<()> {
    let current = AGENT.number("memory.current").context("memory is not counted")?;
    // Since Linux 5.19.
    let peak = AGENT.number("memory.peak").unwrap_or(current);
    let tasks = AGENT.number("pids.peak").or(AGENT.number("pids.current")).unwrap_or(0);
    let mib = |bytes: u64| bytes >> 20;
    println!("ok unit: {} MiB, at most {} MiB, {tasks} threads", mib(current), mib(peak));
    let events = fs::read_to_string(AGENT.group()?.join("memory.events"))?;
    let killed = events.lines().any(|line| line.starts_with("oom_kill ") && line != "oom_kill 0");
    ensure!(!killed && current < MEMORY, "{current} bytes: {events}");
    Ok(())
}
