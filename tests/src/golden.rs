//! The golden recordings: what real `go` commands did in the lab, to be reported again.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use proxytrace::model::Trace;
use proxytrace::recording::Reader;
use proxytrace::replay;

/// Every golden recording, by name.
///
/// # Panics
///
/// If there are hardly any.
pub fn recordings() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proxytrace/tests/golden");
    let files = fs::read_dir(directory).expect("recordings");
    let mut files: Vec<_> = files
        .map(|entry| entry.expect("a file").path())
        .filter(|file| file.extension().is_some_and(|extension| extension == "ndjson"))
        .collect();
    files.sort();
    assert!(files.len() >= 15, "{files:?}");
    files
}

/// The trace of the golden recording of that name.
///
/// # Panics
///
/// If there is none.
pub fn named(name: &str) -> Trace {
    let recordings = recordings();
    let file = recordings.iter().find(|file| file.file_stem().is_some_and(|stem| stem == name));
    replay(file.unwrap_or_else(|| panic!("no recording {name}")))
}

/// The trace of a recording, with its findings.
///
/// # Panics
///
/// If it is none, or a broken one.
pub fn replay(file: &Path) -> Trace {
    let input = BufReader::new(File::open(file).expect("a recording"));
    let (trace, broken) = replay::replay(Reader::new(input).expect("a recording"));
    assert!(broken.is_none(), "{}: {broken:?}", file.display());
    trace
}
