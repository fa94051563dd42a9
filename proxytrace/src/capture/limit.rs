//! The least that tracing can cost: a program that does nothing at the addresses that a trace
//! probes. For the benchmark, which holds it against the real one.

use std::ffi::OsString;

use anyhow::Context as _;

use super::caller::Invoker;
use super::child::{Change, Child};
use super::executables::{Executables, Prepared};
use super::leave::leave;
use super::multi;
use super::signals::Signals;

/// Runs a command, of which `go` on the PATH is a part, with probes that do nothing; its exit code.
pub fn limit(argv: &[OsString]) -> anyhow::Result<i32> {
    let invoker = Invoker::find();
    let command = invoker.resolve(argv.first().context("no command given")?)?;
    let signals = Signals::take()?;
    let mut child = Child::fork(&command, argv, &invoker, signals.original())?;
    let link = || {
        let go = invoker.resolve("go".as_ref()).context("no go on the PATH")?;
        let prepared = Executables::prepare(&go);
        let sites = prepared.as_ref().and_then(Prepared::sites);
        let (file, sites) = sites.context("no plan for that go")?;
        anyhow::Ok(multi::nothing()?.attach(file, &sites)?)
    };
    let link = match link() {
        Ok(link) => link,
        Err(error) => {
            child.abandon();
            return Err(error.context("no probes can be put in"));
        }
    };
    child.start()?;
    let ended = child.end()?;
    leave(&[link], None);
    match ended {
        Some(Change::Exited(code)) => Ok(code),
        Some(Change::Killed(signal)) => Ok(128 + signal),
        other => anyhow::bail!("the command has not ended, but {other:?}"),
    }
}
