//! What is done with files alone: traces and recordings, read back.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context as _, anyhow, bail, ensure};
use proxytrace::compare::compare;
use proxytrace::diagnose::diagnose;
use proxytrace::golog;
use proxytrace::model::{SCHEMA, Trace};
use proxytrace::preflight;
use proxytrace::recording::{Reader, if_newer};
use proxytrace::replay::replay;
use proxytrace::report::escape::{LONG, escape};
use proxytrace::report::{compare as differences, json, rewalk as text, terminal};
use proxytrace::rewalk::rewalk;
use serde::Serialize;

use crate::audience::Audience;
use crate::cli::Report;
use crate::outputs::{Claims, Output, STDOUT, Stderr, Stdout, TEXT, Wanted};
use crate::{People, complain, exit, first_failure};

/// How much of a file is looked at to tell what it is.
const HEAD: usize = 256;

/// Reads a file: the trace in it, and what is wrong with the file where it is broken.
pub(crate) type Load = fn(&Path) -> anyhow::Result<(Trace, Option<anyhow::Error>)>;

/// The trace in a file that `--record` or `--json` has written, and what is wrong with it where the
/// recording is broken.
pub(crate) fn load(path: &Path) -> anyhow::Result<(Trace, Option<anyhow::Error>)> {
    let load = || {
        let mut input = BufReader::new(File::open(path)?);
        let head = input.fill_buf()?;
        let head = String::from_utf8_lossy(&head[..head.len().min(HEAD)]);
        if member(&head, "schema") != Some(SCHEMA) {
            let (trace, broken) = replay(Reader::new(input)?);
            return Ok((trace, broken.map(Into::into)));
        }
        let newer = if_newer(member(&head, "proxytrace").unwrap_or_default());
        let trace: Trace = serde_json::from_reader(input).map_err(|error| {
            let error = escape(&error.to_string(), LONG);
            anyhow!("this is no trace as \"{SCHEMA}\" has it: {error}{newer}")
        })?;
        ensure!(trace.schema == SCHEMA, "this is no \"{SCHEMA}\"");
        // Whoever made these knew more than is in them: what of it is certain, or has come to pass.
        if [golog::BACKEND, preflight::BACKEND].contains(&&*trace.capture.backend) {
            return Ok((trace, None));
        }
        let findings = diagnose(&trace);
        Ok((Trace { findings, ..trace }, None))
    };
    load().with_context(|| format!("cannot read {}", path.display()))
}

/// The value of a member of an object, by its beginning; the first of that name.
fn member<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split_once(&format!("\"{name}\""))?.1.split('"').nth(1)
}

/// The trace that a log of go's allows; `-` is stdin.
pub(crate) fn load_log(path: &Path) -> anyhow::Result<(Trace, Option<anyhow::Error>)> {
    let read = || {
        if path == Path::new("-") {
            return golog::read(io::stdin().lock());
        }
        golog::read(BufReader::new(File::open(path)?))
    };
    let (trace, lines) = read().with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(
        lines > 0,
        "nothing in {} is of go: run it as `go mod download -x 2>FILE`",
        path.display()
    );
    Ok((trace, None))
}

/// Says what is wrong with a recording that is broken; the exit code.
pub(crate) fn say_broken(path: &Path, broken: Option<anyhow::Error>) -> u8 {
    broken.map_or(0, |error| {
        let error = error.context(format!("{} is broken; the report ends there", path.display()));
        complain(&error, exit::FAILED)
    })
}

/// `replay --goproxy`: what would have come of a run under another list.
pub(crate) fn replay_under(list: &str, file: &Path, report: &Report) -> u8 {
    let opened = load(file).and_then(|(trace, broken)| {
        let prediction = rewalk(&trace, list)?;
        Ok((prediction, broken, Written::open(report, &[file])?))
    });
    let (prediction, broken, written) = match opened {
        Ok(opened) => opened,
        Err(error) => return complain(&error, exit::USAGE),
    };
    let broken = say_broken(file, broken);
    let text = text::render(&prediction, &written.options);
    first_failure([broken, written.write(&text, &prediction)])
}

/// `diff`: what is different between two runs.
pub(crate) fn diff(a: &Path, b: &Path, report: &Report) -> u8 {
    let opened = load(a).and_then(|first| Ok((first, load(b)?, Written::open(report, &[a, b])?)));
    let ((first, first_broken), (second, second_broken), written) = match opened {
        Ok(opened) => opened,
        Err(error) => return complain(&error, exit::USAGE),
    };
    let broken = [say_broken(a, first_broken), say_broken(b, second_broken)];
    let comparison = compare(&first, &second);
    let names = (&*a.to_string_lossy(), &*b.to_string_lossy());
    let text = differences::render(&comparison, names, &written.options);
    first_failure(broken.into_iter().chain([written.write(&text, &comparison)]))
}

/// Where something else than a trace is written: a text for people and, if it is wanted, the same
/// as JSON.
struct Written {
    options: terminal::Options,
    json: Vec<Output>,
    /// Whether stdout is taken by the JSON.
    on_stdout: bool,
}

impl Written {
    /// Opens what is written of these files.
    fn open(report: &Report, inputs: &[&Path]) -> anyhow::Result<Self> {
        let mut claims = Claims::beside(inputs.iter().map(fs::metadata));
        let mut json = Vec::new();
        for Wanted { format, file } in report.outputs.all() {
            match &*format {
                TEXT => {}
                format if format == json::FORMAT.name => {
                    json.push(claims.open(&file.unwrap_or_else(|| STDOUT.into()))?);
                }
                other => bail!("there is no {other} of this: only a text, and --json"),
            }
        }
        let on_stdout = json.iter().any(Output::is_stdout);
        let people = People::without_ci(report, &Audience::find());
        let options =
            if on_stdout { people.options(&io::stderr()) } else { people.options(&io::stdout()) };
        claims.settle()?;
        Ok(Self { options, json, on_stdout })
    }

    fn write(self, text: &str, value: &impl Serialize) -> u8 {
        let write = |people: &mut dyn io::Write| {
            people.write_all(text.as_bytes()).and_then(|()| people.flush())
        };
        let people =
            if self.on_stdout { write(&mut Stderr::open()) } else { write(&mut Stdout::open()) };
        let mut written = people.context("cannot write the report");
        for output in self.json {
            let path = output.path().to_owned();
            let mut file = BufWriter::new(output);
            let json = json::value(value, &mut file)
                .and_then(|()| file.write_all(b"\n"))
                .and_then(|()| file.flush());
            written = written.and(json.with_context(|| format!("cannot write {}", path.display())));
        }
        written.err().map_or(0, |error| complain(&error, exit::FAILED))
    }
}

#[cfg(test)]
mod tests {
    use proxytrace::event::{End, Start};
    use proxytrace::recording::Writer;

    use super::*;

    #[test]
    fn a_trace_that_a_newer_version_wrote_is_said_to_be_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("trace.json");
        let ours = env!("CARGO_PKG_VERSION");
        for (version, is_said) in [("99.0.0", true), (ours, false)] {
            let text = format!(r#"{{"schema":"{SCHEMA}","proxytrace":"{version}","kernel":7}}"#);
            fs::write(&path, text).unwrap();
            let error = format!("{:#}", load(&path).unwrap_err());
            let said = format!("; proxytrace 99.0.0 wrote it, and this is {ours}");
            assert!(error.contains("this is no trace as"), "{error}");
            assert_eq!(error.ends_with(&said), is_said, "{error}");
        }
    }

    #[test]
    fn the_first_member_says_what_a_file_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("recording");
        let argv = ["grep", "-q", SCHEMA, "old.json"].map(str::to_owned).into();
        let start = Start { argv, ..Start::default() };
        let writer = Writer::new(File::create(&path).unwrap(), &start).unwrap();
        writer.finish(End::default()).unwrap();
        assert_eq!(load(&path).unwrap().0.command.argv, start.argv);
        // As other programs lay it out.
        let text = format!("{{\n  \"schema\": \"{SCHEMA}\"\n}}");
        fs::write(&path, text).unwrap();
        let error = format!("{:#}", load(&path).unwrap_err());
        assert!(error.contains("this is no trace as"), "{error}");
    }
}
