//! One virtual machine, from start to end.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use xtask::process::cannot_run;

use super::image::Arch;
use super::kernels::Run;

/// What the guest says at its end (`init.sh`).
const MARKER: &str = "PROXYTRACE-VM: ";
const PASSED: &str = "passed";
/// What the kernel says at its.
const PANIC: &str = "Kernel panic";
/// How a machine ended.
pub(super) struct Outcome {
    /// What is wrong; none if it passed.
    pub(super) failure: Option<String>,
    /// What the lab said of each scenario.
    pub(super) lines: Vec<String>,
    pub(super) took: Duration,
    /// All that the machine said.
    pub(super) log: PathBuf,
}

/// Boots a machine and waits for its verdict. The log of one that passed is not kept.
pub(super) fn boot(run: &Run, kernel: &Path, archive: &Path, log: PathBuf) -> Result<Outcome> {
    let begun = Instant::now();
    let mut qemu = qemu(run, kernel, archive);
    let program = qemu.get_program().to_owned();
    let mut child = Killed(qemu.spawn().with_context(|| cannot_run(&program))?);
    let serial = child.0.stdout.take().context("it has a serial line")?;
    let (send, lines) = mpsc::channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(serial);
        let mut line = Vec::new();
        // Whoever stops listening has heard enough.
        while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            if send.send(text).is_err() {
                break;
            }
        }
    });

    let mut kept = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut said = Vec::new();
    let limit = run.variant.limit();
    let verdict = loop {
        let left = limit.saturating_sub(begun.elapsed());
        match lines.recv_timeout(left) {
            Ok(line) => {
                writeln!(kept, "{line}")?;
                if let Some((_, verdict)) = line.split_once(MARKER) {
                    break verdict.to_owned();
                }
                if line.contains(PANIC) {
                    break format!("failed: {line}");
                }
                if line.starts_with("ok ") || line.contains("proxytrace: ") {
                    said.push(line);
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                break format!("failed: it took more than {} s", limit.as_secs());
            }
            Err(RecvTimeoutError::Disconnected) => break "failed: it went out".to_owned(),
        }
    };
    let failure = (verdict != PASSED).then_some(verdict);
    if failure.is_none() {
        fs::remove_file(&log)?;
    }
    Ok(Outcome { failure, lines: said, took: begun.elapsed(), log })
}

/// Ends with us.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Neither fails but for a process that has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn qemu(run: &Run, kernel: &Path, archive: &Path) -> Command {
    let (program, machine, console): (_, &[&str], _) = match run.kernel.arch {
        Arch::Amd64 => {
            ("qemu-system-x86_64", &["-cpu", "Nehalem-v1"], "console=ttyS0 no_timer_check")
        }
        Arch::Arm64 => {
            ("qemu-system-aarch64", &["-M", "virt", "-cpu", "cortex-a72"], "console=ttyAMA0")
        }
    };
    let mut qemu = Command::new(program);
    // Without hardware's help, which is not to be had everywhere.
    qemu.args(["-accel", "tcg,thread=multi", "-smp", "2"]).args(machine);
    qemu.arg("-m").arg(run.variant.memory().to_string());
    qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    qemu.args(["-serial", "stdio", "-kernel"]).arg(kernel).arg("-initrd").arg(archive);
    qemu.arg("-append").arg(format!(
        "{console} quiet panic=-1 mitigations=off {} lab.variant={} lab.backend={} \
         lab.kprobes={} lab.wire={} lab.run={}",
        run.variant.parameters(),
        run.variant.name(),
        run.backend(),
        run.kernel.kprobes,
        run.kernel.wire,
        run.scenarios().join(",")
    ));
    qemu.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    qemu
}
