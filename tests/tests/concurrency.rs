//! Many `go` commands at once, on the kernel that we run on.

use anyhow::{Context as _, Result, ensure};
use proxytrace_tests::toolchain::Toolchain;
use proxytrace_tests::{cases, crowd};

#[test]
fn eighty_at_once() -> Result<()> {
    if !cases::can_start() {
        return Ok(());
    }
    let trace = crowd::download(&cases::proxytrace(), &Toolchain::newest()?, 80)?;
    // A silent fall back to perf events would be a defect: this is where it would show.
    ensure!(trace.capture.backend == expected_backend(&trace.kernel)?, "{}", trace.capture.backend);
    Ok(())
}

/// What the kernel's release promises: `uprobe_multi` came with Linux 6.6.
fn expected_backend(release: &str) -> Result<&'static str> {
    let mut numbers = release.split('.').map(str::parse::<u32>);
    let (major, minor) =
        (numbers.next().context("no release")??, numbers.next().context("no minor")??);
    Ok(if (major, minor) >= (6, 6) { "uprobe-multi" } else { "perf" })
}
