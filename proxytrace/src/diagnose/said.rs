//! What is read out of stderr: of go's own lines, and of those of the tools that it runs.

/// How lines begin that tell how far go is, after `go: `.
const PROGRESS: &[&str] =
    &["downloading", "finding", "found", "trying", "added", "removed", "upgraded", "downgraded"];

/// Whether a line of go's says something of a module, other than how far it is, or with `-x` what
/// it asks for: it has the path, and not one that begins with it, or the URL of one of its files.
/// What is below may be in the same repository, and counts where that was looked for.
pub(super) fn names(line: &str, module: &str, below: bool) -> bool {
    let first = line.strip_prefix("go: ").and_then(|line| line.split(' ').next());
    let ends = |at: usize| {
        let rest = &line[at + module.len()..];
        let goes_on = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_' | '~' | '/');
        let separated = if below { "/" } else { "/@" };
        rest.starts_with(separated) || !rest.starts_with(goes_on)
    };
    // `upgraded` goes on so where go.sum lacks what cannot be had.
    let is_error = line.contains(": error finding sum for ");
    (is_error || first.is_none_or(|word| !PROGRESS.contains(&word)))
        && !line.starts_with("# get ")
        && line.match_indices(module).any(|(at, _)| ends(at))
}

/// Whether a line of go's is about what became of a file, by the end of its URL: not one that says with
/// `-x` or `http2debug` that it was asked for.
pub(super) fn tells_of(line: &str, file: &str) -> bool {
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric());
    !line.starts_with("# get ")
        && !line.contains("\":path\"")
        && line.match_indices(file).any(|(at, _)| ends(&line[at + file.len()..]))
}

/// The version control tool that go did not run, as a line of its stderr says it, and why.
pub(super) fn unused(line: &str) -> Option<(&str, Unused)> {
    if let Some((_, rest)) = line.split_once("GOVCS disallows using ") {
        return rest.split(' ').next().map(|tool| (tool, Unused::Forbidden));
    }
    let (before, _) = line.split_once("\": executable file not found in $PATH")?;
    before.rsplit_once("exec: \"").map(|(_, tool)| (tool, Unused::Missing))
}

/// Why go did not run a version control tool.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Unused {
    Missing,
    Forbidden,
}

/// What git ends with whatever the reason (`connect.c:die_initial_contact`): what ssh or the server
/// said comes before.
const OF_NO_USE: &[&str] = &[
    "fatal: Could not read from remote repository.",
    "fatal: the remote end hung up unexpectedly",
    "Please make sure you have the correct access rights",
    "and the repository exists.",
];

/// The last line that says why, or if there is none, the last.
pub(super) fn telling(tail: &str) -> Option<&str> {
    let lines = || tail.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    lines().find(|line| !OF_NO_USE.contains(line)).or_else(|| lines().next())
}
