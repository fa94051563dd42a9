//! `cargo xtask vm`: the lab on the kernels of distributions, in virtual machines.

pub(crate) mod cross;
mod image;
mod kernels;
mod machine;
pub(crate) mod mirror;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context as _, Result, bail};
use xtask::process::{in_ci, status, warning, which};
use xtask::{apt, bpf, go, workspace};

use crate::{build, dist};
use image::{Arch, System};
use kernels::{Kernel, Run, Variant, runs};
use machine::{Outcome, boot};
use mirror::{Found, Mirror};

/// How many machines run at a time.
const PARALLEL: usize = 2;
/// The Go that runs in them.
const GO: &str = go::NEWEST;
/// What is not here yet: programs, and Debian's packages of them. The firmware has none to look for.
const PROGRAMS: [(&str, &[&str]); 3] = [
    ("qemu-system-x86_64", &["qemu-system-x86", "seabios"]),
    ("qemu-system-aarch64", &["qemu-system-arm", "ipxe-qemu"]),
    ("strip", &["binutils"]),
];

/// Runs the machines, all or the quick ones, of which the names begin with these words; prints a
/// table, and fails if one failed.
pub(crate) fn vm(all: bool, beginning: &str) -> Result<()> {
    let runs = chosen(all, beginning)?;
    bpf::setup()?;
    for (program, packages) in PROGRAMS {
        if which(program).is_none() {
            apt::install(packages)?;
        }
    }
    let (runs, elsewhere): (Vec<Run>, Vec<Run>) =
        runs.into_iter().partition(|run| run.kernel.arch.can_be_built_for());
    let mirror = Mirror::open()?;
    let dir = workspace().join("target/vm");
    fs::create_dir_all(&dir)?;

    let (mut jobs, mut rows, mut failed) = (Vec::new(), Vec::new(), 0);
    for run in elsewhere {
        warning(format_args!("skipped: {} is built for on x86-64 alone", name(&run)));
        rows.push(row(&run, "-", "skipped: not built for here", ""));
    }
    for run in runs {
        let (what, fails) = match mirror.kernel(run.kernel) {
            Ok(Found::Image(image, release)) => {
                jobs.push((run, image, release));
                continue;
            }
            Ok(Found::Nothing { is_sure }) => missing(run.kernel, is_sure, in_ci()),
            // Others may be had. A row is short; this is not.
            Err(error) => {
                warning(format_args!("{error:#}"));
                (error.to_string(), true)
            }
        };
        if fails {
            status("Failed", format_args!("{}: {what}", name(&run)));
            rows.push(row(&run, "-", &what, ""));
            failed += 1;
        } else {
            warning(format_args!("skipped: {}: {what}", name(&run)));
            rows.push(row(&run, "-", &format!("skipped: {what}"), ""));
        }
    }
    let archives = archives(&jobs, &mirror, &dir);
    let mut ready = Vec::new();
    for (run, kernel, release) in jobs {
        match &archives[&kind(&run)] {
            Ok(archive) => ready.push((run, kernel, release, archive)),
            Err(error) => {
                status("Failed", format_args!("{}: {error:#}", name(&run)));
                rows.push(row(&run, &release, &error.to_string(), ""));
                failed += 1;
            }
        }
    }
    let queue = Mutex::new(ready.iter());
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(|| {
                loop {
                    let job = queue.lock().expect("no panic while locked").next();
                    let Some((run, kernel, release, archive)) = job else { break };
                    status("Booting", format_args!("{} ({release})", name(run)));
                    let log = dir.join(format!("{}.log", name(run).replace(' ', "-")));
                    let outcome = boot(run, kernel, archive, log);
                    tell(run, outcome.as_ref());
                    done.lock().expect("no panic while locked").push((*run, release, outcome));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no panic while locked");
    let place = |run: &Run| ready.iter().position(|(job, ..)| name(job) == name(run));
    done.sort_by_key(|(run, ..)| place(run));
    for (run, release, outcome) in done {
        let outcome = outcome?;
        failed += usize::from(outcome.failure.is_some());
        let result = outcome.failure.unwrap_or_else(|| "passed".to_owned());
        let took = format!("{} s", outcome.took.as_secs());
        rows.push(row(&run, release, &result, &took));
    }
    let table = table(&rows);
    print!("{table}");
    fs::write(dir.join("kernels.md"), table)?;
    if failed > 0 {
        bail!("{failed} machines failed; their logs are in {}", dir.display());
    }
    Ok(())
}

/// The machines, all or the quick ones, of which the names begin with these words; at least one.
fn chosen(all: bool, beginning: &str) -> Result<Vec<Run>> {
    let runs: Vec<Run> = runs(all);
    let runs: Vec<Run> = runs.into_iter().filter(|run| begins(&name(run), beginning)).collect();
    if runs.is_empty() {
        bail!("no machine's name begins with `{beginning}`");
    }
    Ok(runs)
}

/// `amd64 6.12 integrity`.
fn name(run: &Run) -> String {
    format!("{} {}", run.kernel.name(), run.variant.name())
}

/// What is said of a kernel that the mirror does not have, and whether that is a failure. In CI it
/// is, unless it may be gone and the mirror says so: that it was not heard of may be the network's
/// fault.
fn missing(kernel: &Kernel, is_sure: bool, in_ci: bool) -> (String, bool) {
    let what = if is_sure {
        "not on the mirror".to_owned()
    } else {
        format!("the suite {} could not be fetched", kernel.suite)
    };
    (what, in_ci && !(is_sure && kernel.may_be_gone))
}

/// Architecture, and whether there is a whole system.
type Kind = (Arch, bool);

fn kind(run: &Run) -> Kind {
    (run.kernel.arch, run.variant == Variant::Systemd)
}

/// What each kind of machine boots. Where one has nothing, others may have theirs.
fn archives(
    jobs: &[(Run, PathBuf, String)],
    mirror: &Mirror,
    dir: &Path,
) -> BTreeMap<Kind, Result<PathBuf>> {
    let kinds: BTreeSet<Kind> = jobs.iter().map(|(run, ..)| kind(run)).collect();
    kinds.into_iter().map(|kind| (kind, archive(kind, mirror, dir))).collect()
}

/// What machines of a kind boot.
fn archive((arch, is_system): Kind, mirror: &Mirror, dir: &Path) -> Result<PathBuf> {
    let (programs, goroot) = if arch == Arch::HOST {
        (build::programs(false)?, go::install(GO)?)
    } else {
        // See `Arch::can_be_built_for`.
        (cross::programs(mirror)?, go::install_arm64(GO)?)
    };
    let (name, system) = if is_system {
        ("-system", Some(System { root: mirror.system()?, package: dist::quick_package(dir)? }))
    } else {
        ("", None)
    };
    let path = dir.join(format!("{}{name}.cpio", arch.debian()));
    image::write(&path, arch, (&programs, &goroot), mirror, system.as_ref())
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Tells the user how a machine ended, while others run.
fn tell(run: &Run, outcome: Result<&Outcome, &anyhow::Error>) {
    match outcome {
        Ok(Outcome { failure: None, lines, took, .. }) => {
            status("Passed", format_args!("{}, {} s", name(run), took.as_secs()));
            for line in lines {
                eprintln!("{:>14}{line}", "");
            }
        }
        Ok(Outcome { failure: Some(failure), log, .. }) => {
            status("Failed", format_args!("{}: {failure}; see {}", name(run), log.display()));
        }
        Err(error) => status("Failed", format_args!("{}: {error:#}", name(run))),
    }
}

/// Whether it begins with these words: `amd64 6.1` is not the beginning of `amd64 6.12`.
fn begins(name: &str, words: &str) -> bool {
    let mut of_it = name.split_whitespace();
    words.split_whitespace().all(|word| of_it.next() == Some(word))
}

/// A row of the table.
fn row(run: &Run, release: &str, result: &str, took: &str) -> String {
    let (kernel, backend, wire) = (run.kernel.name(), run.backend(), run.kernel.wire);
    let (variant, scenarios) = (run.variant.name(), run.scenarios().join(", "));
    format!(
        "| {kernel} | {release} | {variant} | {backend} | {wire} | {scenarios} | {result} | {took} |"
    )
}

fn table(rows: &[String]) -> String {
    let mut text = format!(
        "| kernel | release | variant | attached by | sockets by | scenarios, go{GO} | result | time |\n\
         |---|---|---|---|---|---|---|---|\n"
    );
    for row in rows {
        writeln!(text, "{row}").expect("a string takes all");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::kernels::KERNELS;
    use super::*;

    #[test]
    fn a_name_that_no_machine_has_is_said() {
        let error = chosen(true, "amd46").unwrap_err();
        assert_eq!(error.to_string(), "no machine's name begins with `amd46`");
        let found = chosen(false, "amd64 6.1").unwrap();
        assert!(found.iter().all(|run| run.kernel.name() == "amd64 6.1"), "{found:?}");
    }

    #[test]
    fn a_kernel_is_excused_where_the_mirror_says_that_it_is_gone() {
        let kernel = |gone: bool| KERNELS.iter().find(|kernel| kernel.may_be_gone == gone).unwrap();
        let fails = |gone, is_sure, in_ci| missing(kernel(gone), is_sure, in_ci).1;
        assert!(!fails(true, true, true));
        assert!(fails(true, false, true), "its suite could not be fetched");
        assert!(fails(false, true, true) && fails(false, false, true));
        assert!(!fails(false, false, false), "it is skipped elsewhere");
    }
}
