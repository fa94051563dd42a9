//! Recordings: the events of a trace as a file, to be correlated and diagnosed again.
//!
//! Newline-delimited JSON: a first line `{"schema":"proxytrace.recording/v1","start":{…}}`, one
//! [`Event`] a line, a last line `{"end":{…}}`. A line counts once its newline is written; a
//! tracer that is killed leaves a recording that is cut, and usable.
#![forbid(unsafe_code)]

use std::io::{self, BufRead, Read, Write};

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::event::{End, Event, Start, What};
use crate::report::escape::{LONG, escape};
use crate::report::json;

/// The name and version of the format.
pub const SCHEMA: &str = "proxytrace.recording/v1";

/// The longest line a [`Reader`] takes, in bytes: above what arguments and environment of a Linux
/// process come to when every byte of them is escaped (6 MiB, `fs/exec.c:bprm_stack_limits`).
pub const MAX_LINE: u64 = 16 << 20;

#[derive(Deserialize, Serialize)]
struct FirstLine {
    schema: String,
    start: Start,
}

#[derive(Deserialize, Serialize)]
struct LastLine {
    end: End,
}

/// Writes a recording.
///
/// Each line is handed over in one piece as soon as it is complete: give it an unbuffered file, and
/// nothing that was written is lost when the process is killed.
pub struct Writer<W> {
    output: W,
    line: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins a recording.
    pub fn new(output: W, start: &Start) -> io::Result<Self> {
        let mut writer = Writer { output, line: Vec::new() };
        writer.line(&FirstLine { schema: SCHEMA.to_owned(), start: start.clone() })?;
        Ok(writer)
    }

    /// Adds an event.
    pub fn event(&mut self, event: &Event) -> io::Result<()> {
        self.line(event)
    }

    /// Ends the recording and gives the output back.
    pub fn finish(mut self, end: End) -> io::Result<W> {
        self.line(&LastLine { end })?;
        self.output.flush()?;
        Ok(self.output)
    }

    fn line(&mut self, value: &impl Serialize) -> io::Result<()> {
        self.line.clear();
        // Somebody may look at it in a terminal.
        json::value(value, &mut self.line)?;
        self.line.push(b'\n');
        self.output.write_all(&self.line)
    }
}

/// Why a recording cannot be read, or not further.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The first line is not that of a recording.
    #[error("this is no recording: its first line does not say \"schema\": \"{SCHEMA}\"")]
    NotARecording,
    /// Another format, or a version of this one that came later.
    #[error("this is \"{0}\", and only \"{SCHEMA}\" can be replayed")]
    Schema(String),
    /// A line that is no event.
    #[error("line {line} is no event: {wrong}")]
    Line {
        /// 1-based.
        line: u64,
        /// What is wrong with it, of whose words some may be the line's.
        wrong: String,
    },
    /// A line that is longer than [`MAX_LINE`].
    #[error("line {line} is longer than {MAX_LINE} bytes")]
    TooLong {
        /// 1-based.
        line: u64,
    },
    /// Something follows the end.
    #[error("line {line} comes after the end of the recording")]
    AfterEnd {
        /// 1-based.
        line: u64,
    },
    /// The file could not be read.
    #[error("line {line} could not be read")]
    Read {
        /// 1-based.
        line: u64,
        /// Why not.
        source: io::Error,
    },
}

impl Error {
    fn no_event(line: u64, error: &serde_json::Error, writer: &str) -> Self {
        Self::Line { line, wrong: escape(&error.to_string(), LONG) + &if_newer(writer) }
    }
}

/// What else to say of a file that cannot be read, by the version of proxytrace that wrote it: a
/// newer one may have words that this one does not know.
pub fn if_newer(writer: &str) -> String {
    let ours = env!("CARGO_PKG_VERSION");
    match (Version::parse(writer), Version::parse(ours)) {
        (Ok(theirs), Ok(own)) if theirs > own => {
            format!("; proxytrace {} wrote it, and this is {ours}", escape(writer, 80))
        }
        _ => String::new(),
    }
}

/// Reads a recording: an iterator over its events, then [`Reader::end`].
///
/// A recording that is cut yields as its last event a [`What::Lost`] of one (at least one event is
/// missing: the end), so that whoever reads the events knows that they are incomplete. So does one
/// that is broken, after the error; nothing behind the error is read.
pub struct Reader<R> {
    input: R,
    start: Start,
    line: u64,
    time: u64,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    Reading,
    Ended(End),
    /// Its end is missing, which is still to be said.
    Broken,
    Cut,
}

impl<R: BufRead> Reader<R> {
    /// Reads the first line.
    pub fn new(mut input: R) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Schema {
            schema: String,
        }
        let text = read_line(&mut input, 1)?;
        match serde_json::from_slice::<Schema>(&text) {
            Ok(Schema { schema }) if schema == SCHEMA => {}
            Ok(Schema { schema }) => return Err(Error::Schema(escape(&schema, 80))),
            Err(_) => return Err(Error::NotARecording),
        }
        let first: FirstLine =
            serde_json::from_slice(&text).map_err(|error| Error::no_event(1, &error, ""))?;
        Ok(Reader { input, start: first.start, line: 1, time: 0, state: State::Reading })
    }

    /// What the trace began with.
    pub fn start(&self) -> &Start {
        &self.start
    }

    /// Whether the recording stops before its end; known once the iterator is exhausted.
    pub fn is_cut(&self) -> bool {
        matches!(self.state, State::Broken | State::Cut)
    }

    /// What the trace ended with. For a recording that is cut: the time of the last event, and no
    /// exit code.
    pub fn end(&self) -> End {
        match self.state {
            State::Ended(end) => end,
            State::Reading | State::Broken | State::Cut => {
                End { time: self.time, ..End::default() }
            }
        }
    }

    fn read(&mut self) -> Result<Option<Event>, Error> {
        self.line += 1;
        let line = self.line;
        let text = read_line(&mut self.input, line)?;
        let error = match serde_json::from_slice::<Event>(&text) {
            Ok(event) => {
                self.time = self.time.max(event.time);
                return Ok(Some(event));
            }
            Err(error) => error,
        };
        if let Ok(LastLine { end }) = serde_json::from_slice(&text) {
            self.state = State::Ended(end);
            return if read_line(&mut self.input, line + 1)?.is_empty() {
                Ok(None)
            } else {
                Err(Error::AfterEnd { line: line + 1 })
            };
        }
        if text.last() == Some(&b'\n') {
            return Err(Error::no_event(line, &error, &self.start.proxytrace));
        }
        Ok(Some(self.cut()))
    }

    fn cut(&mut self) -> Event {
        self.state = State::Cut;
        let what = What::Lost { count: 1 };
        Event { time: self.time, pid: 0, goroutine: None, what }
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Event, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.state {
            State::Reading => {}
            State::Broken => return Some(Ok(self.cut())),
            State::Ended(_) | State::Cut => return None,
        }
        let event = self.read();
        if event.is_err() && matches!(self.state, State::Reading) {
            self.state = State::Broken;
        }
        event.transpose()
    }
}

/// A line with its newline, if it has one; empty at the end of the file.
fn read_line(input: &mut impl BufRead, line: u64) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    input
        .take(MAX_LINE)
        .read_until(b'\n', &mut text)
        .map_err(|source| Error::Read { line, source })?;
    if text.len() as u64 == MAX_LINE && text.last() != Some(&b'\n') {
        return Err(Error::TooLong { line });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::io::{self, BufReader, Read};

    use super::{Error, MAX_LINE, Reader, SCHEMA, Writer};
    use crate::event::{End, Event, Goroutine, Start, What};

    fn start() -> Start {
        Start {
            proxytrace: "0.1.0".into(),
            argv: vec!["go".into(), "ä\n".into()],
            ..Start::default()
        }
    }

    fn events() -> Vec<Event> {
        let goroutine = Some(Goroutine { id: 7, parent: 1 });
        vec![
            Event { time: 1, pid: 10, goroutine: None, what: What::Fork { child: 11 } },
            Event { time: 2, pid: 11, goroutine, what: What::WalkEnter },
            Event {
                time: 9,
                pid: 11,
                goroutine,
                what: What::Lookup { proxy: "https://p".into(), module: "m\u{2028}".into() },
            },
        ]
    }

    const END: End = End { time: 12, exit_code: Some(1), signal: None };

    fn recording() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), &start()).unwrap();
        for event in events() {
            writer.event(&event).unwrap();
        }
        writer.finish(END).unwrap()
    }

    /// The events, the end, whether it is cut, and the error if there was one.
    fn read(bytes: &[u8]) -> Result<(Vec<Event>, End, bool, Option<Error>), Error> {
        let mut reader = Reader::new(bytes)?;
        let mut events = Vec::new();
        let mut failure = None;
        for event in &mut reader {
            match event {
                Ok(event) => events.push(event),
                Err(error) => assert!(failure.replace(error).is_none(), "went on after an error"),
            }
        }
        Ok((events, reader.end(), reader.is_cut(), failure))
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = recording();
        assert_eq!(bytes.split(|byte| *byte == b'\n').count(), 5 + 1);
        assert_eq!(*Reader::new(&bytes[..]).unwrap().start(), start());
        let (read, end, cut, error) = read(&bytes).unwrap();
        assert_eq!((read, end, cut), (events(), END, false));
        assert!(error.is_none());
    }

    #[test]
    fn a_recording_cut_at_any_byte_yields_what_is_there() {
        let bytes = recording();
        let first = bytes.iter().position(|byte| *byte == b'\n').unwrap();
        for length in 0..bytes.len() {
            let result = read(&bytes[..length]);
            if length < first {
                assert!(matches!(result, Err(Error::NotARecording)), "{length}: {result:?}");
                continue;
            }
            let (mut read, end, cut, error) = result.unwrap();
            assert!(error.is_none(), "{length}: {error:?}");
            // Of the whole recording only the last newline may be missing.
            assert_eq!(cut, length < bytes.len() - 1, "{length}");
            if cut {
                let lost = read.pop().unwrap();
                assert_eq!(lost.what, What::Lost { count: 1 });
                assert_eq!(end, End { time: lost.time, ..End::default() });
                assert_eq!(lost.time, read.last().map_or(0, |event| event.time));
            }
            assert_eq!(read, events()[..read.len()], "{length}");
        }
    }

    #[test]
    fn garbage_in_the_middle_stops_with_its_line() {
        let text = String::from_utf8(recording()).unwrap();
        for garbage in ["", "{}", "null", "\u{0}", "{\"t\":1}", "[[[[", "{\"end\":3}"] {
            let mut lines: Vec<&str> = text.lines().collect();
            lines.insert(2, garbage);
            let (read, _, cut, error) = read(lines.join("\n").as_bytes()).unwrap();
            assert_eq!(read[..1], events()[..1]);
            assert_eq!((read.len(), &read[1].what), (2, &What::Lost { count: 1 }));
            assert!(cut);
            assert!(matches!(error, Some(Error::Line { line: 3, .. })), "{garbage}: {error:?}");
        }
    }

    #[test]
    fn what_a_newer_version_wrote_is_said() {
        let ours = env!("CARGO_PKG_VERSION");
        for (version, is_newer) in
            [("99.0.0-rc.1", true), ("0.0.1", false), (ours, false), ("9", false), ("", false)]
        {
            let start = Start { proxytrace: version.into(), ..start() };
            let mut bytes = Writer::new(Vec::new(), &start).unwrap().output;
            bytes.extend(b"{\"t\":1,\"pid\":1,\"e\":\"of-tomorrow\"}\n");
            let (.., error) = read(&bytes).unwrap();
            let error = error.unwrap().to_string();
            let said = format!("; proxytrace {version} wrote it, and this is {ours}");
            assert!(error.starts_with("line 2 is no event: unknown variant"), "{error}");
            assert_eq!((error.ends_with(&said), error.contains("wrote")), (is_newer, is_newer));
        }
    }

    /// An error is a line, whatever the recording has in it.
    #[test]
    fn what_a_recording_says_is_escaped() {
        let hostile = r"\u001b]0;x\u0007\nhelp";
        let schema = read(format!("{{\"schema\":\"{hostile}\"}}\n").as_bytes()).unwrap_err();
        let mut bytes = recording();
        bytes.truncate(bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1);
        bytes.extend(format!("{{\"t\":1,\"pid\":1,\"e\":\"{hostile}\"}}\n").bytes());
        let (.., event) = read(&bytes).unwrap();
        for error in [schema.to_string(), event.unwrap().to_string()] {
            assert!(error.contains(r"\x1b]0;x\x07\nhelp"), "{error}");
            assert!(!error.contains(char::is_control), "{error}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_an_error() {
        let mut bytes = recording();
        let at = bytes.len() - 20;
        bytes[at] = 0xff;
        let (read, _, cut, error) = read(&bytes).unwrap();
        assert_eq!((&read[..3], cut), (&events()[..], true));
        assert!(matches!(error, Some(Error::Line { line: 5, .. })), "{error:?}");
    }

    #[test]
    fn nothing_comes_after_the_end() {
        let mut bytes = recording();
        bytes.extend(b"{}");
        let (read, end, cut, error) = read(&bytes).unwrap();
        assert_eq!((read, end, cut), (events(), END, false));
        assert!(matches!(error, Some(Error::AfterEnd { line: 6 })), "{error:?}");
    }

    #[test]
    fn other_formats_are_named() {
        for (text, message) in [
            ("", "no recording"),
            ("hello\n", "no recording"),
            ("[]\n", "no recording"),
            ("{\"schema\":\"proxytrace.recording/v2\",\"events\":[]}\n", "proxytrace.recording/v2"),
            ("{\"schema\":\"proxytrace.trace/v1\"}\n", "proxytrace.trace/v1"),
        ] {
            let error = read(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
        let error = read(format!("{{\"schema\":\"{SCHEMA}\",\"start\":7}}\n").as_bytes());
        assert!(matches!(error, Err(Error::Line { line: 1, .. })));
    }

    #[test]
    fn lines_are_bounded() {
        let endless = BufReader::new(io::repeat(b'x'));
        assert!(matches!(Reader::new(endless), Err(Error::TooLong { line: 1 })));
        let mut first = recording();
        first.truncate(first.iter().position(|byte| *byte == b'\n').unwrap() + 1);
        let endless = BufReader::new((&first[..]).chain(io::repeat(b' ').take(MAX_LINE * 2)));
        let mut reader = Reader::new(endless).unwrap();
        assert!(matches!(reader.next(), Some(Err(Error::TooLong { line: 2 }))));
        assert!(matches!(reader.next(), Some(Ok(Event { what: What::Lost { .. }, .. }))));
        assert!(reader.next().is_none());
    }

    #[test]
    fn every_line_is_handed_over_at_once() {
        struct Lines(Vec<Vec<u8>>);
        impl io::Write for Lines {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.push(bytes.to_vec());
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut writer = Writer::new(Lines(Vec::new()), &start()).unwrap();
        writer.event(&events()[0]).unwrap();
        let lines = writer.finish(END).unwrap().0;
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.ends_with(b"\n")));
    }
}
