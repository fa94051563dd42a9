//! The trace as lines of JSON, for whoever does not want to wait for its end.
//!
//! Each line is an object with one member, which says what it is: `start` first, then each `chain`
//! when it has ended, then the rest of the trace: each `process`, `connection`, `lookup` and
//! `finding`, and `end` with `command` and `capture`. What is in them is what the JSON contract
//! says. A chain that comes again replaces the one before with its `id`: go can ask for the same
//! once more. Without `end` the stream was cut.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::io::{self, Write};

use serde::Serialize;

use super::{Format, json};
use crate::event;
use crate::model::{Capture, Chain, ChainId, Command, SCHEMA, Trace};

/// The whole trace at once; chains come first here too.
pub const FORMAT: Format = Format { name: "ndjson", write };

fn write(trace: &Trace, output: &mut dyn Write) -> io::Result<()> {
    let mut writer = Writer::new(output);
    writer.line(&Line::Start(Start {
        schema: SCHEMA,
        proxytrace: &trace.proxytrace,
        kernel: &trace.kernel,
        started_at: &trace.started_at,
        argv: &trace.command.argv,
    }))?;
    writer.finish(trace)
}

/// Writes lines, each in one piece.
pub struct Writer<W> {
    output: W,
    line: Vec<u8>,
    /// What was said of each chain.
    told: HashMap<ChainId, u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum Line<'a, T> {
    Start(Start<'a>),
    Chain(&'a T),
    Process(&'a T),
    Connection(&'a T),
    Lookup(&'a T),
    Finding(&'a T),
    End(End<'a>),
}

#[derive(Serialize)]
struct Start<'a> {
    schema: &'static str,
    proxytrace: &'a str,
    kernel: &'a str,
    started_at: &'a str,
    argv: &'a [String],
}

#[derive(Serialize)]
struct End<'a> {
    command: &'a Command,
    capture: &'a Capture,
}

impl<W: Write> Writer<W> {
    /// Begins a stream.
    pub fn new(output: W) -> Self {
        Writer { output, line: Vec::new(), told: HashMap::new() }
    }

    /// The trace begins.
    pub fn start(&mut self, start: &event::Start) -> io::Result<()> {
        self.line(&Line::Start(Start {
            schema: SCHEMA,
            proxytrace: &start.proxytrace,
            kernel: &start.kernel,
            started_at: &start.started_at,
            argv: &start.argv,
        }))
    }

    /// A chain has ended.
    pub fn chain(&mut self, chain: &Chain) -> io::Result<()> {
        self.compose(&Line::Chain(chain))?;
        let mut hasher = DefaultHasher::new();
        self.line.hash(&mut hasher);
        let now = hasher.finish();
        if self.told.insert(chain.id, now) == Some(now) {
            return Ok(());
        }
        self.output.write_all(&self.line)
    }

    /// The trace has ended: what is not written yet, or has changed since.
    pub fn finish(&mut self, trace: &Trace) -> io::Result<()> {
        trace.chains.iter().try_for_each(|chain| self.chain(chain))?;
        trace.processes.iter().try_for_each(|one| self.item(&Line::Process(one)))?;
        trace.connections.iter().try_for_each(|one| self.item(&Line::Connection(one)))?;
        trace.lookups.iter().try_for_each(|one| self.item(&Line::Lookup(one)))?;
        trace.findings.iter().try_for_each(|one| self.item(&Line::Finding(one)))?;
        self.line(&Line::End(End { command: &trace.command, capture: &trace.capture }))?;
        self.output.flush()
    }

    /// The output, as it is now.
    pub fn output(&mut self) -> &mut W {
        &mut self.output
    }

    /// The output.
    pub fn into_inner(self) -> W {
        self.output
    }

    fn line(&mut self, line: &Line<'_, ()>) -> io::Result<()> {
        self.item(line)
    }

    fn item<T: Serialize>(&mut self, line: &Line<'_, T>) -> io::Result<()> {
        self.compose(line)?;
        self.output.write_all(&self.line)
    }

    fn compose<T: Serialize>(&mut self, line: &Line<'_, T>) -> io::Result<()> {
        self.line.clear();
        json::value(line, &mut self.line)?;
        self.line.push(b'\n');
        Ok(())
    }
}
