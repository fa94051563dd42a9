//! The program: runs a command or reads a recording, and reports.
#![forbid(unsafe_code)]

mod cli;
mod command;
mod session;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::error::ErrorKind;
use proxytrace::model::{Severity, Trace};
use proxytrace::recording::Reader;
use proxytrace::report::{json, terminal};
use proxytrace::{capture, diagnose};

use command::preflight::Preflight;

use cli::{Action, Color, Report};
use session::Session;

/// Exit codes of our own; the help explains them.
mod exit {
    pub(crate) const FAILED: u8 = 1;
    pub(crate) const USAGE: u8 = 2;
    pub(crate) const FINDINGS: u8 = 10;
    pub(crate) const CANNOT_TRACE: u8 = 125;
    pub(crate) const NOT_EXECUTABLE: u8 = 126;
    pub(crate) const NO_SUCH_COMMAND: u8 = 127;
}

fn main() -> ExitCode {
    let code = match cli::parse(std::env::args_os()) {
        Ok((Action::Run { command, record }, report)) => run(&command, record.as_deref(), &report),
        Ok((Action::Replay { file }, report)) => replay(&file, &report),
        Ok((Action::Preflight(preflight), report)) => ask(&preflight, &report),
        Err(error) => return usage(&error),
    };
    ExitCode::from(code)
}

/// Help that was asked for, or what is wrong with the arguments.
fn usage(error: &clap::Error) -> ExitCode {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand || !error.use_stderr() {
        let _ = error.print();
    } else {
        say(&error.to_string());
    }
    ExitCode::from(if error.use_stderr() { exit::USAGE } else { 0 })
}

fn run(command: &[OsString], record: Option<&Path>, report: &Report) -> u8 {
    let files = open(report.json.as_deref()).and_then(|json| Ok((json, open(record)?)));
    let (json, recording) = match files {
        Ok(files) => files,
        Err(error) => return complain(&error, exit::USAGE),
    };
    let mut session = Session::new(recording);
    let end = match capture::run(command, &mut session) {
        Ok(end) => end,
        Err(error) => return complain(&error, exit_code_of(&error)),
    };
    let code = end.exit_code.and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::FAILED);
    match session.finish(end) {
        Ok((trace, unwritten)) => {
            let unwritten = unwritten.map(|error| error.context("the recording is not complete"));
            let failed = unwritten.map(|error| complain(&error, exit::FAILED));
            let reported = write_reports(&diagnosed(trace), json, report, &mut io::stderr());
            first_failure([code, reported, failed.unwrap_or(0)])
        }
        Err(error) => first_failure([code, complain(&error, exit::FAILED)]),
    }
}

fn replay(file: &Path, report: &Report) -> u8 {
    let opened = File::open(file)
        .map_err(anyhow::Error::from)
        .and_then(|input| Ok(Reader::new(BufReader::new(input))?))
        .with_context(|| format!("cannot replay {}", file.display()))
        .and_then(|reader| Ok((reader, open(report.json.as_deref())?)));
    let (reader, json) = match opened {
        Ok(opened) => opened,
        Err(error) => return complain(&error, exit::USAGE),
    };
    let (trace, broken) = session::replay(reader);
    let broken = broken.map(|error| {
        let error = error.context(format!("{} is broken; the report ends there", file.display()));
        complain(&error, exit::FAILED)
    });
    let reported = write_reports(&diagnosed(trace), json, report, &mut io::stdout());
    first_failure([reported, broken.unwrap_or(0)])
}

fn ask(preflight: &Preflight, report: &Report) -> u8 {
    let json = match open(report.json.as_deref()) {
        Ok(json) => json,
        Err(error) => return complain(&error, exit::USAGE),
    };
    command::preflight::run(preflight, report, json, &|is_terminal| style(report, is_terminal))
}

/// The first of several exit codes that is a failure.
fn first_failure(codes: impl IntoIterator<Item = u8>) -> u8 {
    codes.into_iter().find(|code| *code != 0).unwrap_or(0)
}

fn diagnosed(mut trace: Trace) -> Trace {
    trace.findings = diagnose::diagnose(&trace);
    trace
}

/// Writes every report; the exit code says whether that failed, or whether findings are a failure.
fn write_reports(
    trace: &Trace,
    json_file: Option<(File, &Path)>,
    report: &Report,
    people: &mut (impl Write + IsTerminal),
) -> u8 {
    let text = terminal::render(trace, &style(report, people.is_terminal()));
    let mut written = people
        .write_all(text.as_bytes())
        .and_then(|()| people.flush())
        .context("cannot write the report");
    if let Some((file, path)) = json_file {
        let json = json::write(trace, file);
        written = written.and(json.with_context(|| format!("cannot write {}", path.display())));
    }
    let failed = written.err().map_or(0, |error| complain(&error, exit::FAILED));
    let found = report
        .fail_on
        .map(Severity::from)
        .is_some_and(|limit| trace.findings.iter().any(|finding| finding.severity >= limit));
    first_failure([if found { exit::FINDINGS } else { 0 }, failed])
}

fn style(report: &Report, is_terminal: bool) -> terminal::Options {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    terminal::Options {
        color: match report.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => is_terminal && !set("NO_COLOR") && !dumb,
        },
        width: terminal_size::terminal_size()
            .filter(|_| is_terminal)
            .map(|(width, _)| usize::from(width.0)),
        verbose: report.verbose,
        quiet: report.quiet,
    }
}

/// Creates an output file, before anything is run.
fn open(path: Option<&Path>) -> anyhow::Result<Option<(File, &Path)>> {
    let Some(path) = path else { return Ok(None) };
    let file = capture::create_output(path).map_err(|error| {
        anyhow!("cannot create {}: {error}; name a file that can be written", path.display())
    })?;
    Ok(Some((file, path)))
}

fn exit_code_of(error: &anyhow::Error) -> u8 {
    match error.downcast_ref() {
        Some(capture::Error::NoSuchCommand(_)) => exit::NO_SUCH_COMMAND,
        Some(capture::Error::NotExecutable(..)) => exit::NOT_EXECUTABLE,
        Some(capture::Error::CannotTrace(_)) | None => exit::CANNOT_TRACE,
    }
}

/// Says what went wrong, and gives the exit code back.
fn complain(error: &anyhow::Error, code: u8) -> u8 {
    say(&format!("error: {error:#}\n"));
    code
}

fn say(message: &str) {
    // Where nobody reads, there is nobody to tell.
    let _ = write!(io::stderr(), "proxytrace: {message}");
}
