//! The program: runs a command or reads a recording, and reports.
#![forbid(unsafe_code)]

mod apart;
mod audience;
mod cli;
mod command;
mod complaint;
mod live;
mod outputs;
mod session;

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, IsTerminal as _, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::error::ErrorKind;
use proxytrace::capture::Cost;
use proxytrace::diagnose::Class;
use proxytrace::model::{Severity, Trace};
use proxytrace::report::escape::{LONG, escape};
use proxytrace::report::{self, explain, github, json, markdown, terminal};
use proxytrace::{capture, diagnose};

use audience::Audience;
use cli::{Action, Color, Replayed, Report};
use complaint::{complain, say};
use outputs::{Claims, GITHUB, Opened, STDOUT, Stderr, Stdout, Wanted};
use session::Session;

/// Exit codes of our own; the help explains them.
mod exit {
    pub(crate) const FAILED: u8 = 1;
    pub(crate) const USAGE: u8 = 2;
    pub(crate) const FINDINGS: u8 = 10;
    /// `EX_TEMPFAIL` and `EX_CONFIG` of sysexits.h.
    pub(crate) const TRANSIENT: u8 = 75;
    pub(crate) const PERMANENT: u8 = 78;
    pub(crate) const CANNOT_TRACE: u8 = 125;
    pub(crate) const NOT_EXECUTABLE: u8 = 126;
    pub(crate) const NO_SUCH_COMMAND: u8 = 127;
}

fn main() -> ExitCode {
    let code = match cli::parse(std::env::args_os()) {
        Ok((Action::Run { command, record }, report)) => run(&command, record.as_deref(), &report),
        Ok((Action::Replay { file, how }, report)) => match how {
            Replayed::Whole => replay(&file, &report),
            Replayed::ByBuild => command::builds::replay(&file, &report),
            Replayed::Under(list) => command::files::replay_under(&list, &file, &report),
        },
        Ok((Action::Agent(agent), _)) => command::agent::run(&agent),
        Ok((Action::Preflight(preflight), report)) => command::preflight::run(&preflight, &report),
        Ok((Action::Diff { a, b }, report)) => command::files::diff(&a, &b, &report),
        Ok((Action::Log { file }, report)) => log(&file, &report),
        Ok((Action::Doctor, report)) => command::doctor::run(&report),
        Ok((Action::Limit { command }, _)) => limit(&command),
        Ok((Action::Schema, _)) => print(json::SCHEMA.as_bytes()),
        Ok((Action::Completions { shell }, _)) => command::generate::completions(shell),
        Ok((Action::Man { directory }, _)) => command::generate::man(&directory),
        Ok((Action::Explain { code }, _)) => explain(code.as_deref()),
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
    let around = Audience::find();
    let files = People::open(report, &around).and_then(|people| {
        let mut claims = Claims::default();
        let recording = claims.open_any(record)?;
        let counts = claims.open_any(report.cost.as_deref())?;
        let outputs = Opened::open(&report.outputs, true, &mut claims)?;
        Ok((people, outputs, recording, counts, claims))
    });
    let (people, mut outputs, recording, counts, claims) = match files {
        Ok(files) => files,
        Err(error) => return complain(&error, exit::USAGE),
    };
    let mut session = Session::new(recording, outputs.take_stream())
        .watched(!report.quiet && !around.is_dumb() && !around.in_ci())
        .settling(claims);
    session.cost = counts.is_some().then(Cost::default);
    let end = match capture::run(command, &mut session) {
        Ok(end) => end,
        Err(error) => return complain(&error, exit_code_of(&error)),
    };
    let cost = session.cost.take();
    let code = end.exit_code.and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::FAILED);
    let code = match session.finish(end) {
        Ok((trace, unwritten)) => {
            let failed = unwritten.map(|error| complain(&error, exit::FAILED));
            let reported = write_reports(&trace, outputs, people, report, &mut Stderr::open());
            let class = report.exit_class.then(|| class_code(&trace)).flatten();
            first_failure([class.unwrap_or(code), reported, failed.unwrap_or(0)])
        }
        Err(error) => first_failure([code, complain(&error, exit::FAILED)]),
    };
    let counted = counts.zip(cost).map_or(0, |((file, path), cost)| {
        // Last, so that the report's memory is counted too.
        let written = serde_json::to_writer(file, &cost.at_the_end());
        let told = |error| anyhow!("cannot write {}: {error}", path.display());
        written.map_err(told).map_or_else(|error| complain(&error, exit::FAILED), |()| 0)
    });
    first_failure([code, counted])
}

fn replay(file: &Path, report: &Report) -> u8 {
    report_on(file, command::files::load, report)
}

fn log(file: &Path, report: &Report) -> u8 {
    report_on(file, command::files::load_log, report)
}

/// Reports from a file.
fn report_on(file: &Path, load: command::files::Load, report: &Report) -> u8 {
    let around = Audience::find();
    let opened = load(file).and_then(|read| {
        let people = People::open(report, &around)?;
        let mut claims = Claims::beside([input(file)]);
        let outputs = Opened::open(&report.outputs, false, &mut claims)?;
        claims.settle()?;
        Ok((read, people, outputs))
    });
    let ((trace, broken), people, outputs) = match opened {
        Ok(opened) => opened,
        Err(error) => return complain(&error, exit::USAGE),
    };
    let broken = command::files::say_broken(file, broken);
    let reported = if outputs.on_stdout {
        write_reports(&trace, outputs, people, report, &mut Stderr::open())
    } else {
        write_reports(&trace, outputs, people, report, &mut Stdout::open())
    };
    let class = report.exit_class.then(|| class_code(&trace)).flatten();
    first_failure([class.unwrap_or(0), reported, broken])
}

/// Which file a command reads; `-` is stdin.
fn input(file: &Path) -> io::Result<Metadata> {
    fs::metadata(if file == Path::new("-") { Path::new("/dev/stdin") } else { file })
}

fn limit(command: &[OsString]) -> u8 {
    match capture::limit(command) {
        Ok(code) => u8::try_from(code).unwrap_or(exit::FAILED),
        Err(error) => complain(&error, exit::CANNOT_TRACE),
    }
}

/// Writes all that a command has to say to stdout; the exit code.
fn print(text: &[u8]) -> u8 {
    let mut stdout = Stdout::open();
    let written = stdout.write_all(text).and_then(|()| stdout.flush()).context("cannot write");
    written.err().map_or(0, |error| complain(&error, exit::FAILED))
}

/// What `--exit-class` says of a command that failed. One that succeeded did not, whatever failed
/// below it; one that a signal ended was ended for another reason, and its code says so.
fn class_code(trace: &Trace) -> Option<u8> {
    let failed = trace.command.exit_code != Some(0) && trace.command.signal.is_none();
    match diagnose::class(trace).filter(|_| failed)? {
        Class::Transient => Some(exit::TRANSIENT),
        Class::Permanent => Some(exit::PERMANENT),
    }
}

/// One kind of finding at length, or all in a line each.
fn explain(code: Option<&str>) -> u8 {
    let kind = code.map(diagnose::explain);
    let text = match kind {
        None => explain::list(),
        Some(Some(kind)) => explain::page(kind),
        Some(None) => {
            let code = code.unwrap_or_default();
            let error = anyhow!("no finding {code:?}; `proxytrace explain` lists them all");
            return complain(&error, exit::USAGE);
        }
    };
    print(text.as_bytes())
}

/// The first of several exit codes that is a failure.
fn first_failure(codes: impl IntoIterator<Item = u8>) -> u8 {
    codes.into_iter().find(|code| *code != 0).unwrap_or(0)
}

/// The report for people, and what a CI reads beside it.
struct People {
    options: terminal::Options,
    colors: (bool, bool),
    github: bool,
    summary: Option<(File, PathBuf)>,
}

impl People {
    /// For who reads of a trace. A summary of the job that nobody asked for, and that cannot be
    /// written, is done without, aloud.
    fn open(report: &Report, around: &Audience) -> anyhow::Result<Self> {
        let formats = &report.outputs.format;
        let is_asked_for = formats.iter().any(|one| one.file.is_none() && one.format == GITHUB);
        // What goes to a file leaves the log as it is, but for what GitHub reads of one.
        let is_file = |one: &Wanted| one.file.as_ref().is_some_and(|it| it != Path::new(STDOUT));
        let is_beside = |one: &Wanted| is_file(one) && one.format != GITHUB;
        let github = is_asked_for || (formats.iter().all(is_beside) && around.in_github());
        let summary = around.github_summary().filter(|_| github).map(|path| {
            let file = capture::append_output(&path)
                .with_context(|| format!("cannot add to {}", path.display()))?;
            anyhow::Ok((file, path))
        });
        let summary = match summary.transpose() {
            Err(error) if !is_asked_for => {
                warn(&error);
                None
            }
            opened => opened?,
        };
        Ok(People { github, summary, ..Self::without_ci(report, around) })
    }

    /// For who reads of anything else: no CI does.
    fn without_ci(report: &Report, around: &Audience) -> Self {
        let colors = match report.color {
            Color::Always => (true, true),
            Color::Never => (false, false),
            Color::Auto => (around.welcome_colors(true), around.welcome_colors(false)),
        };
        let options = terminal::Options {
            verbose: report.verbose,
            quiet: report.quiet,
            ..terminal::Options::default()
        };
        People { options, colors, github: false, summary: None }
    }

    /// How to write for people to this stream.
    fn options(&self, stream: &impl AsFd) -> terminal::Options {
        let is_terminal = stream.as_fd().is_terminal();
        terminal::Options {
            color: if is_terminal { self.colors.0 } else { self.colors.1 },
            width: terminal_size::terminal_size()
                .filter(|_| is_terminal)
                .map(|(width, _)| usize::from(width.0)),
            ..self.options
        }
    }

    fn write(
        self,
        trace: &Trace,
        render: &dyn Fn(&terminal::Options) -> String,
        stream: &mut (impl Write + AsFd),
    ) -> anyhow::Result<()> {
        let options = self.options(stream);
        let mut text = render(&options);
        if self.github {
            text += &github::annotations(trace);
        }
        let written = stream
            .write_all(text.as_bytes())
            .and_then(|()| stream.flush())
            .context("cannot write the report");
        let summed =
            self.summary.filter(|_| markdown::is_worth_reading(trace)).map(|(file, path)| {
                report::write(&markdown::FORMAT, trace, file)
                    .with_context(|| format!("cannot add to {}", path.display()))
            });
        written.and(summed.unwrap_or(Ok(())))
    }
}

/// Says what will be missing; the command goes on.
fn warn(error: &anyhow::Error) {
    say(&format!("warning: {}\n", escape(&format!("{error:#}"), 2 * LONG)));
}

/// Writes every report, the one for people as [`terminal`] has it; the exit code says whether that
/// failed, or whether findings are a failure.
fn write_reports(
    trace: &Trace,
    outputs: Opened,
    people: People,
    report: &Report,
    stream: &mut (impl Write + AsFd),
) -> u8 {
    write_with(trace, outputs, people, report, &|options| terminal::render(trace, options), stream)
}

/// The same with another report for people.
fn write_with(
    trace: &Trace,
    outputs: Opened,
    people: People,
    report: &Report,
    render: &dyn Fn(&terminal::Options) -> String,
    stream: &mut (impl Write + AsFd),
) -> u8 {
    let written = [people.write(trace, render, stream), outputs.write(trace)];
    let complaints = written.into_iter().filter_map(Result::err);
    let failed = complaints.map(|error| complain(&error, exit::FAILED)).max().unwrap_or(0);
    let found = report
        .fail_on
        .map(Severity::from)
        .is_some_and(|limit| trace.findings.iter().any(|finding| finding.severity >= limit));
    first_failure([if found { exit::FINDINGS } else { 0 }, failed])
}

fn exit_code_of(error: &anyhow::Error) -> u8 {
    match error.downcast_ref() {
        Some(capture::Error::NoSuchCommand(_)) => exit::NO_SUCH_COMMAND,
        Some(capture::Error::NotExecutable(..)) => exit::NOT_EXECUTABLE,
        Some(capture::Error::CannotTrace { .. }) | None => exit::CANNOT_TRACE,
    }
}
