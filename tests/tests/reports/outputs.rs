//! All that one run under a real proxytrace can write.

use std::fs;
use std::path::Path;
use std::process::Command;

use proxytrace::report::FORMATS;
use proxytrace_tests::cases;
use proxytrace_tests::lab::Lab;
use tempfile::TempDir;

/// What is written beside the formats: by `--record`, and for the summary of a job.
const MORE: [&str; 2] = ["record", "summary"];
/// The report at the terminal.
const REPORT: &str = "report";

/// Traces `go mod download` with these arguments and this environment, and has everything written:
/// the name of each output, and what is in it.
pub(crate) fn of_download(
    lab: &Lab,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Vec<(&'static str, String)> {
    let directory = TempDir::new().unwrap();
    let file = |name: &str| directory.path().join(name);
    let mut command: Command = lab.command(cases::proxytrace());
    for format in &FORMATS {
        command.arg(format!("--format={}={}", format.name, file(format.name).display()));
    }
    command.arg("--record").arg(file("record"));
    command.args(["-v", "--format=github", "--", "go", "mod", "download"]).args(arguments);
    command.envs(environment.iter().copied()).env("GITHUB_STEP_SUMMARY", file("summary"));
    let output = lab.output(command).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    // What go itself prints is its own, and nobody's business but the user's.
    let at = stderr.find("\ngo pid ").unwrap_or_else(|| panic!("no report in {stderr}"));
    let read = |name| (name, text(&file(name)));
    let mut outputs: Vec<_> = FORMATS.iter().map(|one| read(one.name)).collect();
    outputs.extend(MORE.map(read));
    outputs.push((REPORT, stderr[at..].to_owned()));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count() + 1, outputs.len());
    outputs
}

fn text(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    assert!(!text.is_empty(), "{}", file.display());
    text
}

/// The output of that name.
pub(crate) fn named<'a>(outputs: &'a [(&'static str, String)], name: &str) -> &'a str {
    &outputs.iter().find(|one| one.0 == name).expect("an output").1
}
