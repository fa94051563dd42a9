//! Stands for the real thing.
#![forbid(unsafe_code)]
#![allow(clippy::needless_pass_by_value)]

use crate::event::{End, Event, Start, What};
use crate::model::{Capture, Command, SCHEMA, Trace};

/// Stands for the real thing.
pub struct Correlator(Start, Capture);

impl Correlator {
    /// Stands for the real thing.
    pub fn new(start: &Start) -> Self {
        Self(start.clone(), Capture { complete: true, ..Capture::default() })
    }
    /// Stands for the real thing.
    pub fn push(&mut self, event: &Event) {
        self.1.events += 1;
        if let What::Lost { count } = event.what {
            self.1.lost += count;
            self.1.complete = false;
        }
    }
    /// Stands for the real thing.
    pub fn finish(self, end: &End) -> Trace {
        Trace {
            schema: SCHEMA.into(),
            proxytrace: self.0.proxytrace,
            kernel: self.0.kernel,
            started_at: self.0.started_at,
            command: Command {
                argv: self.0.argv,
                exit_code: end.exit_code,
                signal: end.signal,
                duration_ns: Some(end.time),
            },
            processes: vec![],
            chains: vec![],
            connections: vec![],
            findings: vec![],
            capture: self.1,
        }
    }
}
