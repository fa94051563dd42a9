use std::ffi::OsString;
use std::path::Path;

use clap::CommandFactory;
use clap::error::ErrorKind;

use super::{Action, Cli, Color, FailOn, Report};

fn parse(line: &str) -> Result<(Action, Report), clap::Error> {
    let words = line.split_whitespace().map(OsString::from);
    super::parse([OsString::from("proxytrace")].into_iter().chain(words))
}

#[track_caller]
fn command(line: &str) -> (Vec<OsString>, Option<String>, Report) {
    match parse(line) {
        Ok((Action::Run { command, record }, report)) => {
            (command, record.map(|file| file.display().to_string()), report)
        }
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn nothing_in_an_argument_is_obeyed_by_who_shows_the_message() {
    for (args, shown) in [
        (&["replay", "--format", "\x1b[31mx", "f"][..], "\\x1b[31mx"),
        (&["agent", "--sample=1\n::error::x"], "1\\n::error::x"),
        (&["replay", "--json=a\u{202e}b", "--ndjson=a\u{202e}b", "f"], "a\\u{202e}b"),
    ] {
        let args = ["proxytrace"].iter().chain(args).map(OsString::from);
        let message = super::parse(args).expect_err("wrong").to_string();
        assert!(message.contains(shown), "{message}");
        assert!(!message.contains(['\x1b', '\u{202e}']) && !message.contains("\n::"), "{message}");
    }
}

/// A whole command in one word, and a value that clap quotes without its option.
#[test]
fn no_message_has_a_secret_in_it() {
    for (args, shown) in [
        (&["tool --password S3cr3t -H 'Authorization: Bearer S3cr3t' h\n"][..], "REDACTED"),
        (&["GOPROXY=https://ci:S3cr3t@proxy.corp,direct\r"], "REDACTED@proxy.corp"),
        (&["agent", "--metrics=https://ci:S3cr3t@push.corp:9091"], "REDACTED@push.corp:9091"),
        (&["agent", "--metrics", "https://ci:S3cr3t@push.corp:9091"], "REDACTED@push.corp:9091"),
        (&["replay", "--format=https://ci:S3cr3t@h", "f"], "REDACTED@h"),
    ] {
        let args = ["proxytrace"].iter().chain(args).map(OsString::from);
        let message = super::parse(args).expect_err("wrong").to_string();
        assert!(message.contains(shown) && !message.contains("S3cr3t"), "{message}");
    }
}

#[test]
fn run_is_the_default() {
    for line in ["-- go mod download", "run -- go mod download"] {
        let (argv, record, report) = command(line);
        assert_eq!(argv, ["go", "mod", "download"], "{line}");
        assert_eq!((record, report.outputs.json, report.fail_on), (None, None, None));
        assert_eq!((report.quiet, report.verbose, report.color), (false, false, Color::Auto));
    }
}

#[test]
fn options_stand_before_or_after_run() {
    for line in [
        "--json j --record r --fail-on warning -v --color never -- go",
        "run --json j --record r --fail-on warning -v --color never -- go",
        "--json j --record r run --fail-on=warning --verbose --color=never -- go",
    ] {
        let (argv, record, report) = command(line);
        assert_eq!(argv, ["go"], "{line}");
        assert_eq!(record.as_deref(), Some("r"), "{line}");
        assert_eq!(report.outputs.json.as_deref(), Some(Path::new("j")), "{line}");
        assert_eq!(report.fail_on, Some(FailOn::Warning), "{line}");
        assert_eq!((report.verbose, report.color), (true, Color::Never), "{line}");
    }
}

#[test]
fn what_follows_the_dashes_is_the_commands_own() {
    for line in
        ["-- replay --json -v -- x", "-q -- replay --json -v -- x", "run -- replay --json -v -- x"]
    {
        let (argv, _, report) = command(line);
        assert_eq!(argv, ["replay", "--json", "-v", "--", "x"], "{line}");
        assert_eq!((report.outputs.json, report.verbose), (None, false), "{line}");
    }
    assert_eq!(command("-- run").0, ["run"]);
}

#[test]
fn replay_takes_a_file_and_the_same_report() {
    let (action, report) = parse("replay -q --json j --fail-on error f").unwrap();
    assert!(matches!(action, Action::Replay { file, .. } if file == Path::new("f")));
    assert_eq!((report.quiet, report.fail_on), (true, Some(FailOn::Error)));
    assert_eq!(report.outputs.json.as_deref(), Some(Path::new("j")));
}

#[test]
fn options_are_taken_where_they_do_something() {
    for line in [
        "replay --fail-on error --exit-class -v f",
        "log --fail-on error --format github f",
        "preflight --exit-class --fail-on warning --json j -q",
        "preflight --json -",
        "preflight --shell --json j --format github --format sarif=s",
        "diff --json j -v a b",
        "diff --format json=j --format text a b",
        "replay --goproxy l --json j -v f",
        "doctor --json j",
        "agent --ndjson d",
        "--cost c -- go",
    ] {
        if let Err(error) = parse(line) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn formats_go_to_files() {
    let (.., report) =
        command("--format sarif=s --har h --html t --format github --ndjson - --json j -- go");
    let all: Vec<_> = report
        .outputs
        .all()
        .into_iter()
        .map(|one| (one.format, one.file.map(|file| file.display().to_string())))
        .collect();
    let some = |format: &str, file: &str| (format.to_owned(), Some(file.to_owned()));
    let github = ("github".to_owned(), None);
    let files = [("json", "j"), ("ndjson", "-"), ("html", "t"), ("har", "h"), ("sarif", "s")];
    let files: Vec<_> = files.into_iter().map(|(format, file)| some(format, file)).collect();
    assert_eq!(all, [&files[..], &[github]].concat());
    assert!(parse("replay --format sarif f").is_ok());
    assert!(parse("--format text -- go").is_ok());
}

#[test]
fn wrong_usage_is_refused() {
    use ErrorKind::{
        ArgumentConflict, DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion,
        InvalidValue, MissingRequiredArgument, UnknownArgument, ValueValidation,
    };
    for (line, kind) in [
        ("", DisplayHelpOnMissingArgumentOrSubcommand),
        ("--", DisplayHelpOnMissingArgumentOrSubcommand),
        ("run", MissingRequiredArgument),
        ("--json j", MissingRequiredArgument),
        ("go mod download", UnknownArgument),
        ("--fail-on note -- go", InvalidValue),
        ("--color sometimes -- go", InvalidValue),
        ("-q -v -- go", ArgumentConflict),
        ("--no-such -- go", UnknownArgument),
        ("replay", MissingRequiredArgument),
        ("replay f --record r", UnknownArgument),
        ("explain PT006 PT007", UnknownArgument),
        ("--record r replay f", ArgumentConflict),
        ("--json x --record x -- go", ArgumentConflict),
        ("--json x --har x -- go", ArgumentConflict),
        ("--json - --format sarif=- -- go", ArgumentConflict),
        ("--json - --record - -- go", ArgumentConflict),
        ("replay --format json --format html f", ArgumentConflict),
        ("replay --format json --json - f", ArgumentConflict),
        ("preflight --shell --json -", ArgumentConflict),
        ("preflight --ndjson - --shell", ArgumentConflict),
        ("preflight --shell --format sarif", ArgumentConflict),
        ("preflight --shell --format github=-", ArgumentConflict),
        ("diff --fail-on error a b", ArgumentConflict),
        ("diff --exit-class a b", ArgumentConflict),
        ("replay --goproxy l --exit-class f", ArgumentConflict),
        ("replay --goproxy l --fail-on error f", ArgumentConflict),
        ("replay --cost c f", ArgumentConflict),
        ("doctor --html h", ArgumentConflict),
        ("doctor --exit-class", ArgumentConflict),
        ("agent --json j", ArgumentConflict),
        ("agent -v", ArgumentConflict),
        ("schema --json j", ArgumentConflict),
        ("explain -q PT006", ArgumentConflict),
        ("--format sarif -- go", ArgumentConflict),
        ("--format xml -- go", ValueValidation),
        ("--format text=f -- go", ValueValidation),
        ("--help", DisplayHelp),
        ("--version", DisplayVersion),
    ] {
        let error = parse(line).unwrap_err();
        assert_eq!(error.kind(), kind, "{line}: {error}");
    }
}

#[test]
fn a_forgotten_pair_of_dashes_is_pointed_at() {
    let told =
        |line| parse(line).unwrap_err().to_string().contains("proxytrace -- go mod download");
    assert!(told("go mod download") && told("-v make"));
    assert!(told("run go") && told("go replay"));
    assert!(!told("--jsn -- go") && !told("explain PT006 PT007") && !told("replay -q a b"));
}

#[test]
fn help_names_every_exit_code_and_stdout() {
    let help = parse("--help").unwrap_err().to_string();
    assert!(help.contains("`-` is stdout"), "{help}");
    for code in
        ["    1  ", "    2  ", "   10  ", "   75  ", "   78  ", "  125  ", "  126  ", "  127  "]
    {
        assert!(help.contains(code), "{code}: {help}");
    }
}
