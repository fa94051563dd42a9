//! Where what a finding is about was asked for: file and line.
//!
//! Looked up when a trace ends, for the modules of its findings alone: in the go.mod of the process's
//! working directory (or what `-modfile` names), in the go.mod files that go.work uses, and else in
//! the go.mod files that the process had of other modules, from the module cache. Of each the lines
//! that go heeds.
#![forbid(unsafe_code)]

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::path::escape;
use super::{Role, TOOLCHAIN, requirements, uses};
use crate::model::{Artifact, Outcome, Process, Requirement, Severity, Trace};
use crate::redact;

/// How many files of the module cache are looked into, and how many lines are told.
const MAX_FILES: usize = 2048;
const MAX_FOUND: usize = 1024;

/// Gives the text of a file, or none.
pub type Read<'a> = &'a dyn Fn(&Path) -> Option<String>;

/// The lines that asked for the modules of the findings, by file and line.
pub fn find(trace: &Trace, read: Read<'_>) -> Vec<Requirement> {
    let mut wanted: HashMap<u32, HashSet<Wanted<'_>>> = HashMap::new();
    let loud = trace.findings.iter().filter(|finding| finding.severity > Severity::Note);
    let about: HashSet<u32> = loud.flat_map(|finding| finding.chains.iter().copied()).collect();
    for chain in trace.chains.iter().filter(|chain| about.contains(&chain.id)) {
        if let Some(module) = chain.module.as_deref() {
            let of_process = wanted.entry(chain.process).or_default();
            of_process.insert((module, chain.version.as_deref()));
        }
    }
    let mut found = BTreeSet::new();
    for process in &trace.processes {
        let Some(wanted) = wanted.get(&process.id) else { continue };
        let mut missing = wanted.clone();
        let role = if is_outside_module(process) { Role::Toolchain } else { Role::Main };
        for file in main_files(process, read) {
            look((&file, role), wanted, &mut missing, &mut found, read);
        }
        // What is asked for in the main module is not looked for elsewhere.
        let mut files = cached_files(trace, process);
        while !missing.is_empty()
            && let Some(file) = files.next()
        {
            let still = missing.clone();
            look((&file, Role::Dependency), &still, &mut missing, &mut found, read);
        }
    }
    found.into_iter().take(MAX_FOUND).collect()
}

/// A module, at a version or at any.
type Wanted<'a> = (&'a str, Option<&'a str>);

/// Adds the lines of one file that ask for something that is wanted.
fn look<'a>(
    (file, role): (&Path, Role),
    wanted: &HashSet<Wanted<'a>>,
    missing: &mut HashSet<Wanted<'a>>,
    found: &mut BTreeSet<Requirement>,
    read: Read<'_>,
) {
    let Some(text) = read(file) else { return };
    for asked in requirements(&text, role) {
        let (line, module) = (asked.line, asked.path);
        let version = asked.version.unwrap_or_default();
        let file = redact::argument(&file.to_string_lossy());
        let requirement = Requirement { file, line, module, version, path: None };
        let mut fits = false;
        for (module, version) in wanted {
            if asks_for(&requirement, module, *version) {
                missing.remove(&(*module, *version));
                fits = true;
            }
        }
        if fits {
            found.insert(requirement);
        }
    }
}

/// Whether a line asks for this module at this version; a toolchain is a version of a module too.
pub fn asks_for(asked: &Requirement, module: &str, version: Option<&str>) -> bool {
    asked.module == module
        && version.is_none_or(|version| {
            let toolchain = || module == TOOLCHAIN && is_toolchain(version, &asked.version);
            version == asked.version || toolchain()
        })
}

/// Whether a line `toolchain goX` or `go X` asks for this version, in which the system stands behind
/// the release. `go 1.22` is a language, and asks for its first release, `1.22.0`
/// (`toolchain/select.go:Select`).
fn is_toolchain(version: &str, asked: &str) -> bool {
    let release = asked.strip_prefix("go");
    let rest = version.strip_prefix("v0.0.1-go");
    let rest = rest.and_then(|rest| rest.strip_prefix(release.unwrap_or(asked)));
    rest.is_some_and(|rest| {
        let first = rest.strip_prefix(".0").filter(|_| release.is_none());
        let system = first.unwrap_or(rest).strip_prefix('.');
        system.is_some_and(|system| !system.starts_with(|c: char| c.is_ascii_digit()))
    })
}

/// The go.mod and go.work files that a process is told by.
pub(crate) fn main_files(process: &Process, read: Read<'_>) -> Vec<PathBuf> {
    let Some(directory) = directory(process) else { return Vec::new() };
    let setting = |name: &str| process.config.get(name).map(|setting| setting.value.as_str());
    let argv: Vec<&str> = process.argv.iter().map(String::as_str).collect();
    let flags = setting("GOFLAGS").unwrap_or_default().split_whitespace();
    let flags: Vec<&str> = flags.chain(argv.iter().copied()).collect();
    let mut files = Vec::new();
    match flag(&flags, "modfile").filter(|file| !file.is_empty()) {
        Some(file) => files.push(directory.join(file)),
        None => files.extend(above(&directory, "go.mod", read)),
    }
    let work = match setting("GOWORK") {
        Some("off") => None,
        None | Some("" | "auto") => above(&directory, "go.work", read),
        Some(file) => Some(directory.join(file)),
    };
    if let Some(work) = work {
        let text = read(&work).unwrap_or_default();
        let of = work.parent().unwrap_or(Path::new("/"));
        files.extend(uses(&text).iter().map(|used| clean(&of.join(&used.path)).join("go.mod")));
        files.push(work.clone());
    }
    let mut seen = HashSet::new();
    files.retain(|file| seen.insert(file.clone()));
    files
}

/// The words of a go from its command on: `get`, `-u`. `-C DIR` may stand before it
/// (`cmd/go/main.go:handleChdirFlag`).
pub(crate) fn command(argv: &[String]) -> &[String] {
    let words = argv.get(1..).unwrap_or_default();
    let place = match words.first().map(String::as_str) {
        Some("-C" | "--C") => 2,
        Some(first) if first.starts_with("-C=") || first.starts_with("--C=") => 1,
        _ => 0,
    };
    words.get(place..).unwrap_or_default()
}

/// Whether a go builds what it is told with a version, outside of any module: `install M@V`, `run M@V`
/// (`work/build.go:runInstall`, `run/run.go:shouldUseOutsideModuleMode`). A word of the program that
/// is run is taken for it, too.
fn is_outside_module(process: &Process) -> bool {
    let Some((first, words)) = command(&process.argv).split_first() else { return false };
    let versioned = |word: &String| word.contains('@') && !word.starts_with(['-', '.', '/']);
    matches!(first.as_str(), "install" | "run") && words.iter().any(versioned)
}

/// Where a process works: `go -C DIR` changes it at once. That is the first flag, right behind the
/// words of the command (`cmd/go/main.go:handleChdirFlag`); a later one is a program's.
fn directory(process: &Process) -> Option<PathBuf> {
    let directory = PathBuf::from(process.surroundings.directory.as_deref()?);
    let words: Vec<&str> = process.argv.iter().skip(1).map(String::as_str).collect();
    let place = match words.as_slice() {
        ["mod" | "work", second, ..] if !second.starts_with('-') => 2,
        [first, ..] if !first.starts_with('-') => 1,
        _ => 0,
    };
    Some(match words.get(place..).and_then(|flags| first_flag(flags, "C")) {
        Some(other) => clean(&directory.join(other)),
        None => directory,
    })
}

/// What follows the one or two dashes of a flag.
fn flag_name(word: &str) -> Option<&str> {
    let name = word.strip_prefix('-')?;
    Some(name.strip_prefix('-').unwrap_or(name))
}

/// The value of the last `-name=value` or `-name value`: go lets a later one replace it.
fn flag<'a>(arguments: &[&'a str], name: &str) -> Option<&'a str> {
    (0..arguments.len()).rev().find_map(|place| first_flag(&arguments[place..], name))
}

/// The value of `-name=value` or `-name value`, if the arguments begin with it.
fn first_flag<'a>(arguments: &[&'a str], name: &str) -> Option<&'a str> {
    let value = flag_name(arguments.first()?)?.strip_prefix(name)?;
    if value.is_empty() { arguments.get(1).copied() } else { value.strip_prefix('=') }
}

/// The file of this name in a directory or the nearest above it.
fn above(directory: &Path, name: &str, read: Read<'_>) -> Option<PathBuf> {
    directory.ancestors().map(|above| above.join(name)).find(|file| read(file).is_some())
}

/// Without `.` and `..`, which no link is looked up for.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => _ = clean.pop(),
            std::path::Component::CurDir => {}
            part => clean.push(part),
        }
    }
    clean
}

/// The go.mod files of other modules that a process had.
fn cached_files<'a>(
    trace: &'a Trace,
    process: &'a Process,
) -> impl Iterator<Item = PathBuf> + use<'a> {
    let cache = process.config.get("GOMODCACHE").map(|setting| PathBuf::from(&setting.value));
    let had = trace.chains.iter().filter(|chain| {
        chain.process == process.id
            && chain.artifact == Artifact::Mod
            && matches!(chain.outcome, Outcome::Ok | Outcome::Cached)
    });
    let file = move |(module, version): (&str, &str)| {
        let names = format!("cache/download/{}/@v/{}.mod", escape(module), escape(version));
        Some(clean(&cache.as_ref()?.join(names)))
    };
    had.filter_map(|chain| Some((chain.module.as_deref()?, chain.version.as_deref()?)))
        .filter(|(module, _)| !module.contains(".."))
        .filter_map(file)
        .take(MAX_FILES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::correlate::tests::scenarios::{A, failing, redirect_to_forbidden};
    use crate::correlate::tests::script::config;
    use crate::diagnose::diagnose;

    /// The modules x.lab/m0 and x.lab/m1 at v1.0.0 cannot be had, in `/w/sub`.
    fn trace(argv: &[&str], settings: &[(&str, &str)]) -> Trace {
        let mut trace = failing(A, 2, redirect_to_forbidden).trace();
        let go = &mut trace.processes[0];
        go.surroundings.directory = Some("/w/sub".to_owned());
        go.argv = argv.iter().map(|&argument| argument.to_owned()).collect();
        go.config.extend(config(settings));
        trace.findings = diagnose(&trace);
        trace
    }

    #[track_caller]
    fn check(trace: &Trace, files: &[(&str, &str)], expected: &[&str]) {
        let read = |path: &Path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| (*text).to_owned())
        };
        let found = find(trace, &read);
        let line = |r: &Requirement| format!("{}:{} {}@{}", r.file, r.line, r.module, r.version);
        assert_eq!(found.iter().map(line).collect::<Vec<_>>(), expected);
    }

    /// With a go.mod of another module that was had; its file in the module cache `/c`.
    fn with_cached(trace: &mut Trace) -> &'static str {
        let mut had = trace.chains[0].clone();
        had.module = Some("x.lab/Parent".to_owned());
        had.version = Some("v2.0.0".to_owned());
        had.artifact = Artifact::Mod;
        had.outcome = Outcome::Ok;
        had.id = 99;
        trace.chains.push(had);
        "/c/cache/download/x.lab/!parent/@v/v2.0.0.mod"
    }

    fn module(trace: &Trace, number: usize) -> (String, String) {
        let chain = trace.chains.iter().filter(|chain| chain.module.is_some()).nth(number).unwrap();
        (chain.module.clone().unwrap(), chain.version.clone().unwrap())
    }

    #[test]
    fn the_main_module_and_what_go_is_told_instead() {
        let plain = trace(&["go", "mod", "download"], &[]);
        let (name, version) = module(&plain, 0);
        let text = format!("module w\n\nrequire {name} {version}\n");
        let shown = |file: &str| format!("{file}:3 {name}@{version}");
        check(&plain, &[("/w/go.mod", &text)], &[&shown("/w/go.mod")]);
        check(&plain, &[("/w/sub/go.mod", &text), ("/w/go.mod", "x")], &[&shown("/w/sub/go.mod")]);
        check(&plain, &[("/elsewhere/go.mod", &text)], &[]);
        // Another version is not what was asked for.
        let other = format!("module w\n\nrequire {name} v0.9.0\n");
        check(&plain, &[("/w/go.mod", &other)], &[]);

        for argv in [
            &["go", "-C", "../other", "mod", "download"][..],
            &["go", "mod", "-C=../other", "download"],
            &["go", "mod", "download", "-C", "../other"],
            &["go", "run", "--C", "../other", "."],
        ] {
            let there = trace(argv, &[]);
            let files = [("/w/other/go.mod", text.as_str()), ("/w/go.mod", text.as_str())];
            check(&there, &files, &[&shown("/w/other/go.mod")]);
        }
        for argv in [&["go", "run", ".", "-C", "../other"][..], &["go", "mod", "download", "-C"]] {
            let here = trace(argv, &[]);
            let files = [("/w/other/go.mod", text.as_str()), ("/w/go.mod", text.as_str())];
            check(&here, &files, &[&shown("/w/go.mod")]);
        }
        let file = trace(&["go", "mod", "download", "-modfile=/m/ci.mod"], &[]);
        check(&file, &[("/m/ci.mod", &text), ("/w/go.mod", &text)], &[&shown("/m/ci.mod")]);
        let file = trace(&["go", "build"], &[("GOFLAGS", "-v -modfile=ci.mod")]);
        check(&file, &[("/w/sub/ci.mod", &text)], &[&shown("/w/sub/ci.mod")]);
    }

    #[test]
    fn what_is_built_outside_of_any_module_no_go_mod_asks_for() {
        for (argv, outside) in [
            (&["go", "install", "x.lab/m0/cmd@v1.0.0"][..], true),
            (&["go", "install", "-tags", "x", "x.lab/m0/cmd@latest"], true),
            (&["go", "-C", "/w/sub", "run", "x.lab/m0@v1.0.0", "-v"], true),
            (&["go", "install", "x.lab/m0/cmd"], false),
            (&["go", "run", "./a@b"], false),
            (&["go", "build", "-ldflags=-X=m.v=a@b"], false),
            (&["go", "get", "x.lab/m0@v1.0.0"], false),
        ] {
            let mut trace = trace(argv, &[("GOMODCACHE", "/c")]);
            let (name, version) = module(&trace, 0);
            let text = format!("go 1.99.0\nrequire {name} {version}\n");
            let cached = with_cached(&mut trace);
            let files = [("/w/go.mod", text.as_str()), (cached, text.as_str())];
            let file = if outside { cached } else { "/w/go.mod" };
            check(&trace, &files, &[&format!("{file}:2 {name}@{version}")]);
            // It says which toolchain is used all the same.
            let chain = trace.chains.iter_mut().find(|chain| chain.module.is_some()).unwrap();
            chain.module = Some(TOOLCHAIN.to_owned());
            chain.version = Some("v0.0.1-go1.99.0.linux-amd64".to_owned());
            let files = [("/w/go.mod", "go 1.99.0\n")];
            check(&trace, &files, &["/w/go.mod:1 golang.org/toolchain@1.99.0"]);
        }
    }

    /// What a dependency replaces, and which toolchain it would like, go does not heed.
    #[test]
    fn a_dependency_asks_by_its_requirements_alone() {
        let mut trace = trace(&["go", "build"], &[("GOMODCACHE", "/c")]);
        let (name, version) = module(&trace, 0);
        let file = with_cached(&mut trace);
        let replaces = format!("replace x.lab/x => {name} {version}\n");
        check(&trace, &[(file, &replaces)], &[]);
        let both = format!("{replaces}require {name} {version}\n");
        check(&trace, &[(file, &both)], &[&format!("{file}:2 {name}@{version}")]);
        check(&trace, &[("/w/go.mod", &replaces)], &[&format!("/w/go.mod:1 {name}@{version}")]);
    }

    #[test]
    fn the_last_mention_of_a_flag_counts() {
        for (argv, used) in [
            (&["go", "build"][..], "a.mod"),
            (&["go", "build", "-modfile=b.mod"], "b.mod"),
            (&["go", "build", "-modfile=b.mod", "--modfile", "c.mod"], "c.mod"),
            (&["go", "build", "-modfile="], "go.mod"),
        ] {
            let trace = trace(argv, &[("GOFLAGS", "-modfile=a.mod")]);
            let (name, version) = module(&trace, 0);
            let text = format!("require {name} {version}\n");
            let files = ["a.mod", "b.mod", "c.mod", "go.mod"].map(|file| format!("/w/sub/{file}"));
            let files = files.each_ref().map(|file| (file.as_str(), text.as_str()));
            check(&trace, &files, &[&format!("/w/sub/{used}:1 {name}@{version}")]);
        }
    }

    #[test]
    fn workspaces_and_the_modules_that_require_it() {
        let plain = trace(&["go", "build"], &[]);
        let (name, version) = module(&plain, 0);
        let text = format!("module w\n\nrequire {name} {version}\n");
        let work = "go 1.22\nuse ./a\n";
        check(
            &plain,
            &[("/w/go.work", work), ("/w/a/go.mod", &text)],
            &[&format!("/w/a/go.mod:3 {name}@{version}")],
        );
        let auto = trace(&["go", "build"], &[("GOWORK", "auto")]);
        check(
            &auto,
            &[("/w/go.work", work), ("/w/a/go.mod", &text)],
            &[&format!("/w/a/go.mod:3 {name}@{version}")],
        );
        let off = trace(&["go", "build"], &[("GOWORK", "off")]);
        check(&off, &[("/w/go.work", work), ("/w/a/go.mod", &text)], &[]);

        let mut cached = trace(&["go", "build"], &[("GOMODCACHE", "/c")]);
        let file = with_cached(&mut cached);
        check(&cached, &[(file, &text)], &[&format!("{file}:3 {name}@{version}")]);
        // What the main module asks for itself is not looked for in others.
        let main = format!("require {name} {version}\n");
        let shown = format!("/w/go.mod:1 {name}@{version}");
        let both = [("/w/go.mod", main.as_str()), (file, text.as_str())];
        check(&cached, &both, &[&shown]);
    }

    #[test]
    fn a_toolchain_is_asked_for_by_its_release() {
        let asked = |version: &str| Requirement {
            file: "go.mod".to_owned(),
            line: 1,
            module: TOOLCHAIN.to_owned(),
            version: version.to_owned(),
            path: None,
        };
        let version = Some("v0.0.1-go1.22.3.linux-amd64");
        assert!(asks_for(&asked("go1.22.3"), TOOLCHAIN, version));
        assert!(asks_for(&asked("1.22.3"), TOOLCHAIN, version));
        assert!(!asks_for(&asked("1.22"), TOOLCHAIN, Some("v0.0.1-go1.221.linux-amd64")));
        assert!(!asks_for(&asked("go1.22.4"), TOOLCHAIN, version));
        for (line, release, expected) in [
            ("1.22", "1.22.3", false),
            ("1.22", "1.22.0", true),
            ("1.22", "1.22rc1", false),
            ("1.22rc1", "1.22rc1", true),
            ("go1.22rc1", "1.22rc1", true),
            ("go1.22rc1", "1.22rc12", false),
            ("1.22.0", "1.22.0", true),
            ("1.20", "1.20", true),
            ("1.2", "1.20", false),
            ("go1.22", "1.22", true),
            ("go1.22", "1.22.0", false),
            ("go1.22.3-corp", "1.22.3-corp", true),
            ("", "1.22.3", false),
        ] {
            let version = format!("v0.0.1-go{release}.linux-amd64");
            let asks = asks_for(&asked(line), TOOLCHAIN, Some(&version));
            assert_eq!(asks, expected, "{line}: {version}");
        }
    }

    #[test]
    fn nothing_is_read_where_the_directory_is_not_known() {
        let mut unknown = trace(&["go", "build"], &[]);
        unknown.processes[0].surroundings.directory = None;
        let read = |path: &Path| -> Option<String> { panic!("{} was read", path.display()) };
        assert!(find(&unknown, &read).is_empty());
    }
}
