//! A watch that fails is no reason for the command to end otherwise, nor for us to end before it.

use std::ffi::OsString;
use std::fs;

use anyhow::{Result, bail, ensure};
use proxytrace::capture::{self, Sink};
use proxytrace::event::{Event, Start, What};
use proxytrace_tests::cases;

/// Fails once, at the first exec.
#[derive(Default)]
struct Failing {
    failed: bool,
    after: Vec<What>,
}

impl Sink for Failing {
    fn start(&mut self, _: &Start) -> Result<()> {
        Ok(())
    }

    fn event(&mut self, event: Event) -> Result<()> {
        if self.failed {
            self.after.push(event.what);
        } else if matches!(event.what, What::Exec { .. }) {
            self.failed = true;
            bail!("no room");
        }
        Ok(())
    }
}

fn main() -> Result<()> {
    if !cases::can_trace() {
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("end");
    // Programs are executed after the failure, too: nothing may hold them.
    let script = format!("sleep 0.3; env true && echo well > {}; exit 7", file.display());
    let command = ["sh", "-c", &script].map(OsString::from);

    let mut sink = Failing::default();
    let end = capture::run(&command, &mut sink)?;
    ensure!((end.exit_code, end.signal) == (Some(7), None), "{end:?}");
    ensure!(fs::read_to_string(&file)? == "well\n", "the command did not come to its end");
    let reason = "no room".to_owned();
    ensure!(sink.after == [What::WatchEnded { reason }], "{:?}", sink.after);
    Ok(())
}
