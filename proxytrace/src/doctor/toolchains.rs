//! The go commands of this machine, and whether they can be traced.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::capture;
use crate::capture::host::toolchains_of_machine;
use crate::gobinary;

/// So many are looked at.
const MOST: usize = 12;

/// A go command.
#[derive(Debug, Serialize)]
pub struct Toolchain {
    /// The executable, without links to it.
    pub path: String,
    /// `go1.27.3`.
    pub version: Option<String>,
    /// How many addresses get a probe; none if it cannot be traced.
    pub probes: Option<usize>,
    /// Functions that have none.
    pub missing: Vec<String>,
    /// Whose layout is used, if it has none of its own.
    pub nearest: Option<String>,
    /// Why it cannot be traced.
    pub problem: Option<String>,
}

/// The go commands on PATH, in GOROOT, in `~/sdk`, and those that go has downloaded for itself, as
/// whoever called sudo has them; then those where they are usually installed.
pub(super) fn find() -> Vec<Toolchain> {
    let environment = capture::environment_of_caller();
    let mut seen = BTreeSet::new();
    let found = candidates(&environment).into_iter().filter_map(|path| {
        let path = path.canonicalize().ok().filter(|path| path.is_file())?;
        seen.insert(path.clone()).then_some(path)
    });
    found.take(MOST).map(|path| examine(&path)).collect()
}

fn candidates(environment: &[(OsString, OsString)]) -> Vec<PathBuf> {
    let value = |name: &str| {
        let found = environment.iter().find(|(key, value)| key == name && !value.is_empty());
        found.map(|(_, value)| value.as_os_str())
    };
    let home = value("HOME").map(Path::new);
    let mut places: Vec<PathBuf> = value("PATH")
        .map(|path| std::env::split_paths(path).map(|directory| directory.join("go")).collect())
        .unwrap_or_default();
    places.extend(value("GOROOT").map(|root| Path::new(root).join("bin/go")));
    places.extend(home.map(|home| home.join("sdk")).iter().flat_map(|sdk| below(sdk, "bin/go")));
    let cache = value("GOMODCACHE").map(PathBuf::from).or_else(|| {
        let list = value("GOPATH").and_then(|list| std::env::split_paths(list).next());
        Some(list.or_else(|| Some(home?.join("go")))?.join("pkg/mod"))
    });
    places.extend(cache.iter().flat_map(|cache| below(&cache.join("golang.org"), "bin/go")));
    // Where the agent looks, too. They may be many, and are not all this user's.
    places.extend(toolchains_of_machine(Path::new("/")));
    places
}

/// `file` in each directory of `directory`, by name.
fn below(directory: &Path, file: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path().join(file)).collect();
    found.sort();
    found
}

fn examine(path: &Path) -> Toolchain {
    let mut toolchain = Toolchain {
        path: path.to_string_lossy().into_owned(),
        version: None,
        probes: None,
        missing: Vec::new(),
        nearest: None,
        problem: None,
    };
    let file = match capture::in_memory(path) {
        Ok(file) => file,
        Err(error) => return Toolchain { problem: Some(error.to_string()), ..toolchain },
    };
    toolchain.version = gobinary::identify(&file).ok().flatten().map(|build| build.go_version);
    match gobinary::plan(&file) {
        Ok(plan) => {
            toolchain.probes = Some(plan.sites.len());
            toolchain.missing = plan.missing.into_iter().map(|missing| missing.hook).collect();
            toolchain.nearest = plan.nearest;
        }
        Err(error) => toolchain.problem = Some(error.to_string()),
    }
    toolchain
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::{candidates, examine, toolchains_of_machine};

    #[test]
    fn looks_where_go_commands_are() {
        let home = tempfile::tempdir().unwrap();
        for directory in ["sdk/go1.99/bin", "go/pkg/mod/golang.org/toolchain@v0.0.1-go1.98/bin"] {
            fs::create_dir_all(home.path().join(directory)).unwrap();
        }
        let environment =
            [("PATH", "/a:/b"), ("HOME", home.path().to_str().unwrap()), ("GOROOT", "/r")]
                .map(|(name, value)| (name.into(), value.into()));
        let places = candidates(&environment);
        let found: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
        for end in ["/a/go", "/b/go", "/r/bin/go", "sdk/go1.99/bin/go", "go1.98/bin/go"] {
            assert!(found.iter().any(|path| path.ends_with(end)), "{end}: {found:?}");
        }
        // Some alone are looked at: the user's own come first.
        let of_machine: Vec<_> = toolchains_of_machine(Path::new("/")).into_iter().collect();
        assert!(places.ends_with(&of_machine), "{of_machine:?}: {found:?}");
    }

    #[test]
    fn a_go_that_is_none_is_said_to_be() {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("go");
        fs::write(&script, "#!/bin/sh\n").unwrap();
        let found = examine(&script);
        assert!(found.probes.is_none() && found.problem.is_some() && found.version.is_none());
    }
}
