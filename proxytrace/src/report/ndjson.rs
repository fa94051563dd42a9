//! The trace as lines of JSON, for whoever does not want to wait for its end.
//!
//! Each line is an object with one member, which says what it is: `start` first, then each `chain`
//! when it has ended, then the rest of the trace: each `process`, `connection`, `lookup`,
//! `requirement` and `finding`, each line of `netrc`, and `end` with `command` and `capture`. What
//! is in them is what the JSON contract says. A chain that comes again replaces the one before with
//! its `id`: go can ask for the same once more. Without `end` the stream was cut.

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
    Requirement(&'a T),
    Netrc(&'a T),
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
        trace.requirements.iter().try_for_each(|one| self.item(&Line::Requirement(one)))?;
        trace.netrc.iter().try_for_each(|one| self.item(&Line::Netrc(one)))?;
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

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::write;
    use crate::model::{NetrcLine, Requirement};
    use crate::report::samples;

    /// Every member of the JSON that is a list has a line for each of its items, and all else is in
    /// the first line or the last.
    #[test]
    fn nothing_of_the_trace_is_left_out() {
        let mut trace = samples::comma();
        trace.requirements = vec![Requirement {
            file: "/m/go.mod".to_owned(),
            line: 3,
            module: "example.com/fine".to_owned(),
            version: "v1.0.0".to_owned(),
            path: None,
        }];
        let (file, host) = ("/home/.netrc".to_owned(), "proxy.example".to_owned());
        trace.netrc = vec![NetrcLine { file, line: 1, host }];
        let mut text = Vec::new();
        write(&trace, &mut text).unwrap();
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let lines: Vec<Value> = lines.map(|line| serde_json::from_slice(line).unwrap()).collect();
        let of = |name: &str| lines.iter().filter_map(|one| one.get(name)).collect::<Vec<&Value>>();
        let whole = serde_json::to_value(&trace).unwrap();
        for (member, value) in whole.as_object().unwrap() {
            let Some(items) = value.as_array() else {
                let [start, end] = [of("start")[0], of("end")[0]];
                assert!(start.get(member).is_some() || end.get(member).is_some(), "{member}");
                continue;
            };
            let name = match member.as_str() {
                "processes" => "process",
                member => member.trim_end_matches('s'),
            };
            assert_eq!(of(name), items.iter().collect::<Vec<_>>(), "{member}");
        }
    }
}
