//! The command line, as `--help` has it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use proxytrace::model::Severity;
use proxytrace::redact;
use proxytrace::report::escape::escape;

use crate::command::agent::Agent;
use crate::command::preflight::Preflight;
use crate::outputs::{GITHUB, Outputs, STDOUT, TEXT, Wanted};

const USAGE: &str = "proxytrace [run] [OPTIONS] -- COMMAND...\n       proxytrace replay [OPTIONS] FILE\n       proxytrace preflight [OPTIONS] [MODULE@VERSION]...\n       proxytrace agent [OPTIONS]\n       proxytrace explain [CODE]\n       proxytrace doctor";

/// The subcommand that is the default.
const RUN: &str = "run";

const EXIT_CODES: &str = "\
Exit codes:
  that of COMMAND (128 + N after signal N), or
    1  a report could not be written, though COMMAND succeeded
    2  wrong usage, or a file that cannot be opened; COMMAND was not run
   10  findings, with --fail-on, though COMMAND succeeded
   75  COMMAND failed for what may pass: try again (with --exit-class)
   78  COMMAND failed for what stays (with --exit-class)
  125  this machine cannot be traced; COMMAND was not run
  126  COMMAND cannot be executed
  127  there is no COMMAND
  For `replay` and `log`: 0, 1 for a broken recording, 2, 10, 75 and 78.
  For `diff`: 0, 1 for a broken recording, and 2.
  For `doctor`: 0, 125 if it cannot be traced, 1 and 2.
  For `preflight`: 0, 1 if go would fail or the time was over, 2, 10, 75 and 78.
  For `agent`: 0, 2 for a wrong file of settings as well, 125 if it cannot watch or export.
  For `agent status`: 0, 1 if none runs, and 2.

Without --fail-on and --exit-class findings never change the exit code.

The help of each command lists the options of all; one that does nothing for it is refused.
As a FILE to write, `-` is stdout; a report that would be there goes to stderr then.";

/// See which Go module proxy was asked, who answered, and why the go command went on.
///
/// Runs COMMAND as it would have run without `sudo proxytrace --` in front, watches every go
/// command in it, and reports to stderr when it has ended: one line if all is well.
#[derive(Debug, Parser)]
#[command(
    name = "proxytrace",
    version,
    override_usage = USAGE,
    after_help = EXIT_CODES,
    arg_required_else_help = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    action: Option<Subcommands>,
    #[command(flatten)]
    run: Run,
    #[command(flatten)]
    report: Report,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Trace a command (the default).
    Run(Run),
    /// The report again, from a recording, to stdout.
    #[command(override_usage = "proxytrace replay [OPTIONS] FILE")]
    Replay {
        /// Tell instead what would have come of it under this GOPROXY, by go's rules and with the
        /// same answers; --json then writes that.
        #[arg(long, value_name = "LIST")]
        goproxy: Option<String>,
        /// Report each build by itself, as it ends: each `go` that no other one started, with all that
        /// it starts.
        ///
        /// In memory are those that ran at a time, however long the recording is. There is a text, and
        /// --ndjson: a stream for each build. What capture lost is said of each, as it may be of any.
        /// The file must be a recording; it is read twice.
        #[arg(long, conflicts_with = "goproxy")]
        by_build: bool,
        /// A file that `--record` or `--json` has written.
        file: PathBuf,
    },
    Agent(Box<Agent>),
    Preflight(Preflight),
    /// What is different between two recordings or traces, causes before effects.
    ///
    /// For a run that worked yesterday and fails on the runner: the first difference is what
    /// changed first. The exit code is 0 whether or not there is one.
    #[command(override_usage = "proxytrace diff [OPTIONS] A B")]
    Diff {
        /// A file that `--record` or `--json` has written.
        a: PathBuf,
        /// Another one.
        b: PathBuf,
    },
    /// What can be rebuilt from the output of `go mod download -x` alone.
    ///
    /// `go get -x` and `go build -x` do as well. Redirects, resends, connections and the
    /// configuration are not in it, so every finding is a possibility.
    #[command(override_usage = "proxytrace log [OPTIONS] FILE|-")]
    Log {
        /// The output, `-` for stdin.
        file: PathBuf,
    },
    /// Can this machine trace? Tries what tracing needs, changes nothing, and says what to do.
    ///
    /// Exits with 0 if it can, with 125 if not. --json is for bug reports.
    #[command(override_usage = "proxytrace doctor [--json FILE]")]
    Doctor,
    /// Run COMMAND with probes that do nothing: for the benchmark.
    #[command(hide = true)]
    Limit {
        /// The command, after `--`.
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Print the JSON schema of what --json writes.
    Schema,
    /// Print completions for a shell.
    #[command(override_usage = "proxytrace completions SHELL")]
    Completions {
        /// Whose.
        shell: Shell,
    },
    /// Write man pages into DIRECTORY.
    #[command(hide = true)]
    Man {
        /// Where to.
        directory: PathBuf,
    },
    /// One finding at length; without CODE, all of them in a line each.
    #[command(override_usage = "proxytrace explain [CODE]")]
    Explain {
        /// A code, such as PT006.
        code: Option<String>,
    },
}

#[derive(Args, Debug)]
#[command(override_usage = "proxytrace run [OPTIONS] -- COMMAND...")]
struct Run {
    /// Write what was seen to FILE, for `proxytrace replay`.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// The command to trace, after `--`.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// How to report.
#[derive(Args, Clone, Debug)]
pub(crate) struct Report {
    #[command(flatten)]
    pub(crate) outputs: Outputs,
    /// Exit with 10 if there are findings of this severity or worse, though COMMAND succeeded.
    #[arg(long, global = true, value_name = "SEVERITY")]
    pub(crate) fail_on: Option<FailOn>,
    /// Let the exit code of a COMMAND that failed say whether to try again: 75 or 78.
    #[arg(long, global = true)]
    pub(crate) exit_class: bool,
    /// Report errors, warnings and what was missed; no summary.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Report notes, every chain of requests and all details as well.
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    /// Write what watching took, in counts, to FILE: for the benchmark.
    #[arg(long, global = true, value_name = "FILE", hide = true)]
    pub(crate) cost: Option<PathBuf>,
    /// When to use colours; `auto` also respects `NO_COLOR`.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
}

impl Report {
    /// The options that were given, and that not every command has a use for.
    fn given(&self) -> impl Iterator<Item = Given> {
        let Self { outputs, fail_on, exit_class, quiet, verbose, cost, color: _ } = self;
        let Outputs { json, ndjson, html, har, format } = outputs;
        let all = [
            (Given::Json, json.is_some()),
            (Given::Ndjson, ndjson.is_some()),
            (Given::Html, html.is_some()),
            (Given::Har, har.is_some()),
            (Given::Format, !format.is_empty()),
            (Given::FailOn, fail_on.is_some()),
            (Given::ExitClass, *exit_class),
            (Given::Quiet, *quiet),
            (Given::Verbose, *verbose),
            (Given::Cost, cost.is_some()),
        ];
        all.into_iter().filter_map(|(option, is_given)| is_given.then_some(option))
    }
}

/// An option that can stand everywhere.
#[derive(Clone, Copy)]
enum Given {
    Json,
    Ndjson,
    Html,
    Har,
    Format,
    FailOn,
    ExitClass,
    Quiet,
    Verbose,
    Cost,
}

impl Given {
    const fn name(self) -> &'static str {
        match self {
            Self::Json => "--json",
            Self::Ndjson => "--ndjson",
            Self::Html => "--html",
            Self::Har => "--har",
            Self::Format => "--format",
            Self::FailOn => "--fail-on",
            Self::ExitClass => "--exit-class",
            Self::Quiet => "--quiet",
            Self::Verbose => "--verbose",
            Self::Cost => "--cost",
        }
    }
}

/// From which severity on findings are a failure.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum FailOn {
    Error,
    Warning,
}

impl From<FailOn> for Severity {
    fn from(fail_on: FailOn) -> Self {
        match fail_on {
            FailOn::Error => Severity::Error,
            FailOn::Warning => Severity::Warning,
        }
    }
}

/// When to use colours.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

/// What to do.
#[derive(Debug)]
pub(crate) enum Action {
    /// Trace a command.
    Run { command: Vec<OsString>, record: Option<PathBuf> },
    /// Report from a recording.
    Replay { file: PathBuf, how: Replayed },
    /// Watch the host, or ask who does.
    Agent(Box<Agent>),
    /// Ask the entries of GOPROXY.
    Preflight(Preflight),
    /// Compare two runs.
    Diff { a: PathBuf, b: PathBuf },
    /// Report from a log.
    Log { file: PathBuf },
    /// Examine this machine.
    Doctor,
    /// Run a command with probes that do nothing.
    Limit { command: Vec<OsString> },
    /// Print the JSON schema.
    Schema,
    /// Print completions.
    Completions { shell: Shell },
    /// Write man pages.
    Man { directory: PathBuf },
    /// Say more of a kind of finding.
    Explain { code: Option<String> },
}

/// What is made of a recording.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Replayed {
    /// One report.
    Whole,
    /// One for each build.
    ByBuild,
    /// What would have come of it under this GOPROXY.
    Under(String),
}

/// Characters of an argument that a message repeats at most.
const ROOM: usize = 10_000;

/// Reads the arguments, the program's name first. The message of an error can be shown to anybody.
pub(crate) fn parse(
    args: impl IntoIterator<Item = OsString>,
) -> Result<(Action, Report), clap::Error> {
    let args: Vec<OsString> = args.into_iter().collect();
    read(&args).map_err(|error| {
        // A message repeats arguments, of which one may be a whole command: it is made anew of such
        // as have no secrets, and as a terminal and a CI do not obey.
        let clean = args.iter().map(|arg| redact::argument(&arg.to_string_lossy()));
        let safe: Vec<OsString> = clean.map(|arg| OsString::from(escape(&arg, ROOM))).collect();
        let kind = || clap::Error::new(error.kind()).with_cmd(&definition());
        read(&safe).err().unwrap_or_else(kind)
    })
}

fn read(args: &[OsString]) -> Result<(Action, Report), clap::Error> {
    let Cli { action, run, report } =
        Cli::try_parse_from(args).map_err(|error| point_at_dashes(error, args))?;
    let action = match action {
        None => Action::Run { command: run.command, record: run.record },
        Some(Subcommands::Run(inner)) => {
            Action::Run { command: inner.command, record: inner.record.or(run.record) }
        }
        Some(_) if run.record.is_some() => {
            return Err(conflict("--record is for `run` alone: it records the traced command"));
        }
        Some(Subcommands::Replay { file, goproxy, by_build }) => {
            let how = match goproxy {
                Some(list) => Replayed::Under(list),
                None if by_build => Replayed::ByBuild,
                None => Replayed::Whole,
            };
            Action::Replay { file, how }
        }
        Some(Subcommands::Agent(agent)) => Action::Agent(agent),
        Some(Subcommands::Preflight(preflight)) => Action::Preflight(preflight),
        Some(Subcommands::Diff { a, b }) => Action::Diff { a, b },
        Some(Subcommands::Log { file }) => Action::Log { file },
        Some(Subcommands::Doctor) => Action::Doctor,
        Some(Subcommands::Limit { command }) => Action::Limit { command },
        Some(Subcommands::Schema) => Action::Schema,
        Some(Subcommands::Completions { shell }) => Action::Completions { shell },
        Some(Subcommands::Man { directory }) => Action::Man { directory },
        Some(Subcommands::Explain { code }) => Action::Explain { code },
    };
    if let Some(option) = report.given().find(|option| !has_use_for(&action, *option)) {
        return Err(conflict(&format!("{} does nothing for this command", option.name())));
    }
    check_outputs(&action, &report.outputs.all())?;
    Ok((action, report))
}

/// The whole definition, for what is made from it.
pub(crate) fn definition() -> clap::Command {
    Cli::command()
}

/// Whether an option that can stand everywhere does something.
fn has_use_for(action: &Action, option: Given) -> bool {
    use Given::{Cost, ExitClass, FailOn, Json, Ndjson};
    match action {
        Action::Run { .. } => true,
        Action::Replay { how: Replayed::Whole | Replayed::ByBuild, .. }
        | Action::Log { .. }
        | Action::Preflight(_) => !matches!(option, Cost),
        // Something else than a trace is told. What they have no format for, they say themselves.
        Action::Replay { how: Replayed::Under(_), .. } | Action::Diff { .. } => {
            !matches!(option, FailOn | ExitClass | Cost)
        }
        Action::Doctor => matches!(option, Json),
        // The agent's own.
        Action::Agent(_) => matches!(option, Ndjson),
        Action::Limit { .. }
        | Action::Schema
        | Action::Completions { .. }
        | Action::Man { .. }
        | Action::Explain { .. } => false,
    }
}

/// No file is written twice, and none of what is the command's.
fn check_outputs(action: &Action, outputs: &[Wanted]) -> Result<(), clap::Error> {
    let record = match action {
        Action::Run { record, .. } => record.as_ref(),
        _ => None,
    };
    let own = |one: &&Wanted| one.file.is_none() && ![GITHUB, TEXT].contains(&&*one.format);
    let stdout = PathBuf::from(STDOUT);
    let named = outputs.iter().filter_map(|one| {
        let on_stdout = own(&one).then_some(&stdout);
        one.file.as_ref().or(on_stdout)
    });
    let for_shell = matches!(action, Action::Preflight(preflight) if preflight.shell);
    if for_shell && named.clone().any(|file| *file == stdout) {
        return Err(conflict("with --shell stdout is for `eval`: name a file, as in --json FILE"));
    }
    let mut files = record.into_iter().chain(named);
    while let Some(file) = files.next() {
        if files.clone().any(|other| other == file) {
            return Err(conflict(&format!("two outputs name the same file, {}", file.display())));
        }
    }
    match outputs.iter().find(own) {
        Some(Wanted { format, .. }) if matches!(action, Action::Run { .. }) => {
            Err(conflict(&format!(
                "stdout and stderr are the command's: name a file, as in --format {format}=FILE"
            )))
        }
        _ => Ok(()),
    }
}

/// Tells whoever wrote `proxytrace go mod download` where the command belongs.
fn point_at_dashes(mut error: clap::Error, args: &[OsString]) -> clap::Error {
    let definition = definition();
    let of_another = |args: &[OsString]| {
        let mut names = definition.get_subcommands().map(clap::Command::get_name);
        names.any(|name| name != RUN && args.iter().any(|word| word == name))
    };
    if let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg)
        && error.kind() == ErrorKind::UnknownArgument
        && !word.starts_with('-')
        && let Some(at) = args.iter().position(|arg| arg == word.as_str())
        && !of_another(&args[..at])
    {
        let tip = "the command comes after `--`, as in `proxytrace -- go mod download`";
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

fn conflict(message: &str) -> clap::Error {
    Cli::command().error(ErrorKind::ArgumentConflict, message)
}

#[cfg(test)]
mod tests;
