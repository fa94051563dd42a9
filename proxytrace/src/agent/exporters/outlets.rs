//! Everything that is open: files, queues, the network.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use ring::digest::{SHA256, digest};

use super::files::{Files, Rotation};
use super::ledger::{Ledger, lock};
use super::network::{self, Network};
use super::options::Options;
use super::port::Port;
use super::remote::{Remotes, Signal};
use super::shared::{Shared, now_ns};
use super::spool::Spool;
use super::{Pace, textfile};
use crate::export::rows::{self, Record};
use crate::export::{Build, Host, hex, otlp};

/// What is open.
pub(super) struct Outlets {
    host: Host,
    lines: Option<(Lines, Ledger)>,
    queues: Vec<(Signal, Arc<Mutex<Spool>>)>,
    textfile: Option<(PathBuf, Ledger)>,
    network: Option<Network>,
}

/// Where lines go.
enum Lines {
    Stdout,
    Files(Box<Files>),
}

impl Outlets {
    /// Opens everything that the options name.
    pub(super) fn open(
        options: &Options,
        pace: Pace,
        shared: &Arc<Shared>,
    ) -> anyhow::Result<Self> {
        let host = host(options);
        let port = Port::open(options)?;
        let remotes = Remotes::open(options, pace, |name| shared.ledger(name))?;
        let lines = match &options.ndjson {
            Some(dir) => Some(lines(dir, options, pace, shared.ledger("ndjson"))?),
            None => None,
        };
        let queues = remotes.queues.iter().map(|one| (one.signal, Arc::clone(&one.spool)));
        let queues = queues.collect();
        let textfile = options.textfile.clone().map(|path| (path, shared.ledger("textfile")));
        shared.serve_at(port.as_ref().map(Port::address));
        let network = network::start(port, remotes, host.clone(), shared, pace)?;
        Ok(Outlets { host, lines, queues, textfile, network })
    }

    /// Writes a build wherever it is to go.
    pub(super) fn build(&mut self, build: &Build) {
        let needs_rows =
            self.lines.is_some() || self.queues.iter().any(|(signal, _)| signal.is_rows());
        let all = if needs_rows { rows::lines(build, &self.host) } else { Default::default() };
        for (record, lines) in Record::ALL.into_iter().zip(&all) {
            self.write(record, lines);
        }
        for (signal, spool) in &self.queues {
            let push = |payload: &[u8], count| lock(spool).push(payload, count);
            match signal {
                Signal::Spans => {
                    for message in otlp::spans(build, &self.host) {
                        push(&message.bytes, message.count);
                    }
                }
                Signal::Logs => {
                    if let Some(message) = otlp::logs(build, &self.host, now_ns()) {
                        push(&message.bytes, message.count);
                    }
                }
                Signal::Rows(record) => {
                    let lines = &all[*record as usize];
                    push(&lines.bytes, lines.count);
                }
            }
        }
    }

    fn write(&mut self, record: Record, lines: &rows::Lines) {
        match &mut self.lines {
            Some((Lines::Files(files), _)) => files.write(record, lines),
            Some((Lines::Stdout, ledger)) => {
                let mut stdout = io::stdout().lock();
                match stdout.write_all(&lines.bytes).and_then(|()| stdout.flush()) {
                    Ok(()) => ledger.book().sent += lines.count,
                    Err(_) => ledger.book().dropped.disk += lines.count,
                }
            }
            None => {}
        }
    }

    /// What was added may be sent; what is old enough is changed.
    pub(super) fn flush(&mut self) {
        for (_, spool) in &self.queues {
            lock(spool).complete();
        }
        if let Some((Lines::Files(files), _)) = &mut self.lines {
            files.tick();
        }
    }

    /// Writes the sums.
    pub(super) fn write_textfile(&self, shared: &Shared) {
        let Some((path, ledger)) = &self.textfile else { return };
        match textfile::replace(path, &shared.text()) {
            Ok(()) => ledger.book().sent += 1,
            Err(error) => ledger.failed(error.to_string()),
        }
    }

    /// Sends what there is, as far as there is time for it, and closes everything.
    pub(super) fn end(mut self, time: Duration, shared: &Shared) {
        self.flush();
        if let Some(network) = self.network.take() {
            network.end(time);
        }
        for (_, spool) in &self.queues {
            lock(spool).end();
        }
        self.write_textfile(shared);
    }
}

/// Writes the sums where they are to go: whether that can be done is to be known at once.
pub(super) fn try_textfile(options: &Options, shared: &Shared) -> anyhow::Result<()> {
    let Some(path) = &options.textfile else { return Ok(()) };
    textfile::replace(path, &shared.text()).with_context(|| {
        format!(
            "cannot write {}; name a --textfile in a directory that the agent may write to",
            path.display()
        )
    })
}

fn lines(
    dir: &std::path::Path,
    options: &Options,
    pace: Pace,
    ledger: Ledger,
) -> anyhow::Result<(Lines, Ledger)> {
    if dir.as_os_str() == "-" {
        return Ok((Lines::Stdout, ledger));
    }
    let (bytes, age, keep) = (pace.file_bytes, pace.file_age, options.keep());
    let files = Files::open(dir.to_owned(), Rotation { bytes, age, keep }, ledger.clone())
        .with_context(|| format!("cannot write files in {}", dir.display()))?;
    Ok((Lines::Files(Box::new(files)), ledger))
}

/// This machine.
fn host(options: &Options) -> Host {
    let read = |path: &str| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let name = read("/proc/sys/kernel/hostname").unwrap_or_default();
    // The id itself is not for others (machine-id(5)).
    let id = read("/etc/machine-id").filter(|id| !id.is_empty()).map(|id| {
        let sum = digest(&SHA256, format!("proxytrace\0{id}").as_bytes());
        hex(&sum.as_ref()[..16])
    });
    Host { name, id, group: options.host_group.clone().unwrap_or_default() }
}
