//! `proxytrace doctor`.

use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::Context as _;
use proxytrace::doctor;
use proxytrace::report::json;

use crate::cli::Report;
use crate::outputs::{Claims, Output, Stderr, Stdout};
use crate::{complain, exit};

/// Examines the machine; the exit code says whether it can trace.
pub(crate) fn run(report: &Report) -> u8 {
    let open = |path: &Path| {
        let mut claims = Claims::default();
        let output = claims.open(path)?;
        claims.settle().map(|()| output)
    };
    let json = match report.outputs.json.as_deref().map(open).transpose() {
        Ok(json) => json,
        Err(error) => return complain(&error, exit::USAGE),
    };
    let found = doctor::examine();
    let on_stderr = json.as_ref().is_some_and(Output::is_stdout);
    let text = doctor::render(&found);
    let written = if on_stderr {
        Stderr::open().write_all(text.as_bytes())
    } else {
        Stdout::open().write_all(text.as_bytes())
    };
    let mut written = written.context("cannot write");
    if let Some(output) = json {
        let mut output = BufWriter::new(output);
        let document = json::value(&found, &mut output)
            .and_then(|()| output.write_all(b"\n"))
            .and_then(|()| output.flush());
        written = written.and(document.context("cannot write the JSON"));
    }
    match written {
        Err(error) => complain(&error, exit::FAILED),
        Ok(()) if found.can_trace => 0,
        Ok(()) => exit::CANNOT_TRACE,
    }
}
