//! Everything that is open but lines: queues, the network, the textfile.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use ring::digest::{SHA256, digest};

use super::Pace;
use super::disk::is_full;
use super::ledger::{Ledger, lock};
use super::lines::Rows;
use super::network::{self, Network};
use super::options::Options;
use super::port::{Access, Port};
use super::remote::{Destinations, Remotes, Signal};
use super::shared::{Shared, now_ns};
use super::spool::Spool;
use crate::agent::{machine, replace};
use crate::export::{Build, Host, hex, otlp};

/// No piece of a queue is much longer, in bytes, unless one row is.
const PIECE: usize = 256 << 10;

/// Options, and what was in the files that they name: nothing has to be read again to open it.
pub(super) struct Ready {
    options: Options,
    host: Host,
    access: Option<Access>,
    destinations: Destinations,
}

impl Ready {
    /// Reads everything that the options name.
    pub(super) fn read(options: &Options, pace: Pace) -> anyhow::Result<Self> {
        let access = Access::read(options)?;
        let destinations = Destinations::read(options, pace)?;
        Ok(Ready { options: options.clone(), host: host(options), access, destinations })
    }

    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    /// Looks again what the machine is called: it may get its name after the agent has started.
    pub(super) fn look_at_name(&mut self) {
        self.host = named(&self.host);
    }

    /// Whether rows are sent anywhere.
    pub(super) fn needs_rows(&self) -> bool {
        self.options.clickhouse.is_some()
    }
}

/// What is open.
pub(super) struct Outlets {
    queues: Vec<(Signal, Arc<Mutex<Spool>>)>,
    textfile: Option<(PathBuf, Ledger)>,
    network: Option<Network>,
}

impl Outlets {
    /// Opens everything that the options name.
    pub(super) fn open(ready: &Ready, pace: Pace, shared: &Arc<Shared>) -> anyhow::Result<Self> {
        let Ready { options, host, access, destinations } = ready;
        let port = access.as_ref().map(Port::open).transpose()?;
        let remotes = Remotes::open(destinations, options, |name| shared.ledger(name))?;
        let queues = remotes.queues.iter().map(|one| (one.signal, Arc::clone(&one.spool)));
        let queues = queues.collect();
        let textfile = options.textfile.clone().map(|path| (path, shared.ledger("textfile")));
        shared.serve_at(port.as_ref().map(Port::address));
        let network = network::start(port, remotes, host.clone(), shared, pace)?;
        Ok(Outlets { queues, textfile, network })
    }

    /// Puts a build, and its rows where they are wanted, into the queues.
    pub(super) fn build(&mut self, build: &Build, host: &Host, rows: &Rows) {
        for (signal, spool) in &self.queues {
            match signal {
                Signal::Spans => {
                    let messages = otlp::spans(build, host);
                    let messages = messages.iter().map(|one| (&*one.bytes, one.count));
                    lock(spool).push(messages);
                }
                Signal::Logs => {
                    let message = otlp::logs(build, host, now_ns());
                    lock(spool).push(message.iter().map(|one| (&*one.bytes, one.count)));
                }
                // They are sums, which wait in no queue.
                Signal::Metrics => {}
                Signal::Rows(record) => lock(spool).push(rows[*record as usize].pieces(PIECE)),
            }
        }
    }

    /// What was added may be sent.
    pub(super) fn flush(&mut self) {
        for (_, spool) in &self.queues {
            lock(spool).complete();
        }
    }

    /// Writes the sums.
    pub(super) fn write_textfile(&self, shared: &Shared) {
        let Some((path, ledger)) = &self.textfile else { return };
        match replace::replace(path, &shared.text()) {
            Ok(()) => ledger.book().sent += 1,
            Err(error) => ledger.failed(error.to_string()),
        }
    }

    /// Where the sums are written.
    pub(super) fn textfile(&self) -> Option<PathBuf> {
        self.textfile.as_ref().map(|(path, _)| path.clone())
    }

    /// Sends what there is, as far as there is time for it, and closes everything; but the sums may
    /// still be written.
    pub(super) fn end(&mut self, time: Duration) {
        self.flush();
        if let Some(network) = self.network.take() {
            network.end(time);
        }
        for (_, spool) in &self.queues {
            lock(spool).end();
        }
    }
}

/// Whether the sums can be written where they are to go: that is to be known at once, but for a disk
/// that is full, which passes. What is there already may be of another agent, or of this one.
pub(super) fn try_textfile(options: &Options) -> anyhow::Result<()> {
    let Some(path) = &options.textfile else { return Ok(()) };
    match replace::try_at(path) {
        Err(error) if is_full(&error) => Ok(()),
        tried => tried.with_context(|| {
            format!(
                "cannot write {}; name a --textfile in a directory that the agent may write to",
                path.display()
            )
        }),
    }
}

/// Removes a file of sums that nobody writes any more: what is in it would look as if it were so still.
pub(super) fn remove_textfile(path: &Path, shared: &Shared) {
    if let Err(error) = std::fs::remove_file(path) {
        shared.ledger("textfile").failed(error.to_string());
    }
}

/// A host as it is called now.
pub(super) fn named(host: &Host) -> Host {
    let name = Some(machine::name()).filter(|name| !name.is_empty());
    Host { name: name.unwrap_or_else(|| host.name.clone()), ..host.clone() }
}

/// This machine.
fn host(options: &Options) -> Host {
    let id = machine::id().map(|id| {
        let sum = digest(&SHA256, format!("proxytrace\0{id}").as_bytes());
        hex(&sum.as_ref()[..16])
    });
    Host { name: machine::name(), id, group: options.host_group.clone().unwrap_or_default() }
}
