//! One run: the events go into the recording and into the trace, as they come.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use proxytrace::capture::{self, Cost, Sink};
use proxytrace::correlate::Correlator;
use proxytrace::diagnose::diagnose;
use proxytrace::event::{End, Event, Start, What};
use proxytrace::gomod::sources;
use proxytrace::model::{Chain, Trace};
use proxytrace::netrc;
use proxytrace::recording::Writer;
use proxytrace::report::ndjson;

use crate::apart::Apart;
use crate::audience::Audience;
use crate::live::Live;
use crate::outputs::{Claims, Output};

/// Takes the events of one run.
pub(crate) struct Session<'a> {
    stream: Option<Stream>,
    /// Whether a terminal is to show how far it is, and what does.
    is_watched: bool,
    live: Option<Live>,
    /// What the outputs are to begin with, and what was said before they did.
    pending: Option<(Start, Vec<Event>)>,
    /// What is to be emptied then.
    claims: Option<Claims>,
    output: Option<(Output, &'a Path)>,
    recording: Option<(Writer<Apart<Output>>, &'a Path)>,
    correlator: Option<Correlator>,
    /// Why the recording stopped. The trace goes on: it is no reason to disturb the command.
    unwritten: Option<anyhow::Error>,
    /// What watching took, if that is to be counted.
    pub(crate) cost: Option<Cost>,
}

impl<'a> Session<'a> {
    /// A session that has not begun. `output` is for the recording, `stream` for chains as they
    /// end.
    pub(crate) fn new(output: Option<(Output, &'a Path)>, stream: Option<Output>) -> Self {
        Session {
            stream: stream.map(Stream::new),
            is_watched: false,
            live: None,
            pending: None,
            claims: None,
            output,
            recording: None,
            correlator: None,
            unwritten: None,
            cost: None,
        }
    }

    /// The same, with somebody who looks at a terminal meanwhile.
    pub(crate) fn watched(self, is_watched: bool) -> Self {
        Session { is_watched, ..self }
    }

    /// The same, whose outputs keep what is in them until the command runs (one that looks at once
    /// may still see it): one that cannot be run, or not be traced, costs nobody the files of the
    /// run before.
    pub(crate) fn settling(self, claims: Claims) -> Self {
        Session { claims: Some(claims), ..self }
    }

    /// The trace with its findings, and why something that was written meanwhile is not complete,
    /// if it is not.
    pub(crate) fn finish(mut self, end: End) -> anyhow::Result<(Trace, Option<anyhow::Error>)> {
        self.live = None;
        self.begin();
        let correlator = self.correlator.take();
        let trace = correlator.map(|correlator| sourced(diagnosed(correlator.finish(&end))));
        if let Some((mut writer, path)) = self.recording.take() {
            let mut found = trace.iter().flat_map(|trace| {
                let requirements = trace.requirements.iter().cloned().map(What::Requirement);
                requirements.chain(trace.netrc.iter().cloned().map(What::Netrc))
            });
            let written = found
                .try_for_each(|what| {
                    writer.event(&Event { time: end.time, pid: 0, goroutine: None, what })
                })
                .and_then(|()| writer.finish(end).map(drop));
            if let Err(error) = written {
                self.unwritten = Some(failed(path, error));
            }
        }
        let trace = trace.context("the command ran, but capture saw no start")?;
        let unstreamed = self.stream.take().and_then(|stream| stream.finish(&trace).err());
        Ok((trace, self.unwritten.or(unstreamed)))
    }

    /// The command runs: what was in the outputs goes, and what has been said comes. It is too late
    /// to refuse the command for what fails here.
    fn begin(&mut self) {
        let Some((start, events)) = self.pending.take() else { return };
        if let Some(claims) = self.claims.take() {
            claims.settle_late();
        }
        if let Some((file, path)) = self.output.take() {
            match Writer::new(Apart::new(file), &start) {
                Ok(writer) => self.recording = Some((writer, path)),
                Err(error) => self.unwritten = Some(failed(path, error)),
            }
        }
        if let Some(stream) = &mut self.stream {
            stream.start(&start);
        }
        for event in &events {
            self.record(event);
        }
    }

    fn record(&mut self, event: &Event) {
        if let Some((writer, path)) = &mut self.recording
            && let Err(error) = writer.event(event)
        {
            self.unwritten = Some(failed(path, error));
            self.recording = None;
        }
    }
}

/// Whether the command has become what it is: before that there is what we do ourselves, and at
/// most its end.
fn is_of_command(event: &Event) -> bool {
    event.pid != 0 && !matches!(event.what, What::Exit { .. })
}

impl Sink for Session<'_> {
    fn start(&mut self, start: &Start) -> anyhow::Result<()> {
        self.pending = Some((start.clone(), Vec::new()));
        self.correlator = Some(Correlator::new(start));
        // Not before: the command has been forked by now, from a process with one thread.
        self.live = self.is_watched.then(Live::start).flatten();
        Ok(())
    }

    fn event(&mut self, event: Event) -> anyhow::Result<()> {
        if self.pending.is_some() && is_of_command(&event) {
            self.begin();
        }
        match &mut self.pending {
            Some((_, events)) => events.push(event.clone()),
            None => self.record(&event),
        }
        if let Some(live) = &self.live {
            live.event(&event);
        }
        if let Some(correlator) = &mut self.correlator {
            correlator.push(event);
            if let Some(stream) = &mut self.stream {
                stream.chains(&correlator.take_ended());
            }
        }
        Ok(())
    }

    fn cost(&mut self) -> Option<&mut Cost> {
        self.cost.as_mut()
    }
}

fn failed(path: &Path, error: std::io::Error) -> anyhow::Error {
    let what = format!("cannot write {}; the recording is not complete", path.display());
    anyhow::Error::from(error).context(what)
}

/// Chains are written as they end. What cannot be written is told at the end: it is no reason to
/// disturb the command.
struct Stream {
    writer: ndjson::Writer<Apart<Output>>,
    path: PathBuf,
    broken: Option<std::io::Error>,
}

impl Stream {
    fn new(output: Output) -> Self {
        let path = output.path().to_owned();
        Stream { writer: ndjson::Writer::new(Apart::new(output)), path, broken: None }
    }

    fn keep(
        &mut self,
        write: impl FnOnce(&mut ndjson::Writer<Apart<Output>>) -> std::io::Result<()>,
    ) {
        if self.broken.is_none() {
            self.broken = write(&mut self.writer).err();
        }
    }

    fn start(&mut self, start: &Start) {
        self.keep(|writer| writer.start(start));
    }

    fn chains(&mut self, chains: &[Chain]) {
        self.keep(|writer| chains.iter().try_for_each(|chain| writer.chain(chain)));
    }

    fn finish(mut self, trace: &Trace) -> anyhow::Result<()> {
        self.keep(|writer| writer.output().wait().and_then(|()| writer.finish(trace)));
        let written = self.broken.map_or(Ok(()), Err);
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// With the lines that asked for the modules of its findings, and those that have credentials in
/// vain, as the files are now.
fn sourced(mut trace: Trace) -> Trace {
    trace.requirements = sources::find(&trace, &capture::read_file);
    let around = Audience::find();
    for requirement in &mut trace.requirements {
        requirement.path = around.in_repository(Path::new(&requirement.file));
    }
    trace.netrc = netrc::lines_without_port(&trace, &capture::read_file);
    let nothing = trace.requirements.is_empty() && trace.netrc.is_empty();
    if nothing { trace } else { diagnosed(trace) }
}

fn diagnosed(mut trace: Trace) -> Trace {
    trace.findings = diagnose(&trace);
    trace
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::BufReader;
    use std::os::fd::AsRawFd as _;
    use std::path::{Path, PathBuf};

    use proxytrace::capture::Sink as _;
    use proxytrace::event::{Attach, End, Event, Start, What};
    use proxytrace::recording::Reader;
    use proxytrace::replay::replay;

    use super::Session;
    use crate::outputs::{Claims, Output};

    const END: End = End { time: 9, exit_code: Some(3), signal: None };

    fn start() -> Start {
        Start { kernel: "6.1".into(), argv: vec!["go".into()], ..Start::default() }
    }

    fn open(path: &Path) -> Option<(Output, &Path)> {
        let mut claims = Claims::default();
        let opened = claims.open_any(Some(path)).unwrap();
        claims.settle().unwrap();
        opened
    }

    fn event() -> Event {
        Event { time: 5, pid: 1, goroutine: None, what: What::Lost { count: 4 } }
    }

    #[test]
    fn a_recording_replays_to_the_same_trace() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("recording");
        let mut session = Session::new(open(&path), None);
        session.start(&start()).unwrap();
        session.event(event()).unwrap();
        let (trace, unwritten) = session.finish(END).unwrap();
        assert!(unwritten.is_none());
        assert_eq!((trace.capture.lost, trace.command.exit_code), (4, Some(3)));

        let reader = Reader::new(BufReader::new(File::open(&path).unwrap())).unwrap();
        let (again, broken) = replay(reader);
        assert!(broken.is_none());
        assert_eq!(again, trace);
    }

    #[test]
    fn a_recording_that_cannot_be_written_ends_and_the_trace_goes_on() {
        let (reader, writer) = std::io::pipe().unwrap();
        let pipe = PathBuf::from(format!("/proc/self/fd/{}", writer.as_raw_fd()));
        let (output, _) = open(&pipe).unwrap();
        let mut session = Session::new(Some((output, Path::new("f"))), None);
        session.start(&start()).unwrap();
        drop(reader);
        session.event(event()).unwrap();
        session.event(event()).unwrap();
        let (trace, unwritten) = session.finish(END).unwrap();
        assert_eq!(trace.capture.lost, 8);
        assert_eq!(unwritten.unwrap().to_string(), "cannot write f; the recording is not complete");
    }

    #[test]
    fn what_was_in_an_output_stays_until_the_command_runs() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("old");
        std::fs::write(&path, "of yesterday").unwrap();
        let mut claims = Claims::default();
        let recording = claims.open_any(Some(&path)).unwrap();
        let mut session = Session::new(recording, None).settling(claims);
        session.start(&start()).unwrap();
        // Its execve has failed: the gate was asked for it all the same, and it ended.
        let said = |pid, what| Event { time: 1, pid, goroutine: None, what };
        session.event(said(0, What::Attach(Attach::default()))).unwrap();
        session.event(said(1, What::Exit { code: Some(127), signal: None })).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"of yesterday");
        let exec = What::Exec { exe: "/bin/go".into(), argv: vec!["go".into()] };
        session.event(said(1, exec)).unwrap();
        session.finish(END).unwrap();
        let written = std::fs::read_to_string(&path).unwrap();
        assert!(written.starts_with("{\"schema\""), "{written}");
        let place = |name: &str| written.find(&format!("\"{name}\""));
        let order = ["attach", "exit", "exec"].map(|name| place(name).expect(name));
        assert!(order.is_sorted(), "{written}");
    }

    /// Who is run by nobody that we could see has ended all the same.
    #[test]
    fn without_a_word_of_the_command_the_outputs_begin_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("recording");
        let mut session = Session::new(open(&path), None);
        session.start(&start()).unwrap();
        session.finish(END).unwrap();
        let reader = Reader::new(BufReader::new(File::open(&path).unwrap())).unwrap();
        assert!(replay(reader).1.is_none());
    }

    #[test]
    fn without_a_start_there_is_no_trace() {
        assert!(Session::new(None, None).finish(END).is_err());
    }
}
