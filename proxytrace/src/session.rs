//! One run: the events go into the recording and into the trace, as they come.

use std::fs::File;
use std::io::BufRead;
use std::path::Path;

use anyhow::Context as _;
use proxytrace::capture::Sink;
use proxytrace::correlate::Correlator;
use proxytrace::event::{End, Event, Start};
use proxytrace::model::Trace;
use proxytrace::recording::{Reader, Writer};

/// Takes the events of one run.
pub(crate) struct Session<'a> {
    output: Option<(File, &'a Path)>,
    recording: Option<(Writer<File>, &'a Path)>,
    correlator: Option<Correlator>,
    /// Why the recording stopped. The trace goes on: it is no reason to disturb the command.
    unwritten: Option<anyhow::Error>,
}

impl<'a> Session<'a> {
    /// A session that has not begun. `output` is for the recording.
    pub(crate) fn new(output: Option<(File, &'a Path)>) -> Self {
        Session { output, recording: None, correlator: None, unwritten: None }
    }

    /// The trace, and why the recording is not complete, if it is not.
    pub(crate) fn finish(mut self, end: End) -> anyhow::Result<(Trace, Option<anyhow::Error>)> {
        if let Some((writer, path)) = self.recording.take() {
            self.unwritten = writer.finish(end).err().map(|error| failed(path, error));
        }
        let correlator = self.correlator.context("the command ran, but capture saw no start")?;
        Ok((correlator.finish(&end), self.unwritten))
    }
}

impl Sink for Session<'_> {
    fn start(&mut self, start: &Start) -> anyhow::Result<()> {
        if let Some((file, path)) = self.output.take() {
            let writer = Writer::new(file, start).map_err(|error| failed(path, error))?;
            self.recording = Some((writer, path));
        }
        self.correlator = Some(Correlator::new(start));
        Ok(())
    }

    fn event(&mut self, event: Event) -> anyhow::Result<()> {
        if let Some((writer, path)) = &mut self.recording
            && let Err(error) = writer.event(&event)
        {
            self.unwritten = Some(failed(path, error));
            self.recording = None;
        }
        if let Some(correlator) = &mut self.correlator {
            correlator.push(&event);
        }
        Ok(())
    }
}

fn failed(path: &Path, error: std::io::Error) -> anyhow::Error {
    anyhow::Error::from(error).context(format!("cannot write {}", path.display()))
}

/// The trace of a recording, and what is wrong with the recording, if anything. It is complete if
/// nothing is, and if it was not cut.
pub(crate) fn replay(mut reader: Reader<impl BufRead>) -> (Trace, Option<anyhow::Error>) {
    let mut correlator = Correlator::new(reader.start());
    let mut broken = None;
    for event in &mut reader {
        match event {
            Ok(event) => correlator.push(&event),
            Err(error) => broken = Some(error.into()),
        }
    }
    (correlator.finish(&reader.end()), broken)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::BufReader;
    use std::os::fd::OwnedFd;
    use std::path::Path;

    use proxytrace::capture::Sink as _;
    use proxytrace::event::{End, Event, Start, What};
    use proxytrace::recording::Reader;

    use super::{Session, replay};

    const END: End = End { time: 9, exit_code: Some(3), signal: None };

    fn start() -> Start {
        Start { kernel: "6.1".into(), argv: vec!["go".into()], ..Start::default() }
    }

    fn event() -> Event {
        Event { time: 5, pid: 1, goroutine: None, what: What::Lost { count: 4 } }
    }

    #[test]
    fn a_recording_replays_to_the_same_trace() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("recording");
        let mut session = Session::new(Some((File::create(&path).unwrap(), &path)));
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
        let output = File::from(OwnedFd::from(writer));
        let mut session = Session::new(Some((output, Path::new("f"))));
        session.start(&start()).unwrap();
        drop(reader);
        session.event(event()).unwrap();
        session.event(event()).unwrap();
        let (trace, unwritten) = session.finish(END).unwrap();
        assert_eq!(trace.capture.lost, 8);
        assert_eq!(unwritten.unwrap().to_string(), "cannot write f");
    }

    #[test]
    fn without_a_start_there_is_no_trace() {
        assert!(Session::new(None).finish(END).is_err());
    }
}
