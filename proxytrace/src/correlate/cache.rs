//! What go has of a module, wherever it came from.
//!
//! `cmd/go/internal/modfetch`: `InfoFile` ends, `checkModSum` begins, with what has been fetched and
//! with what was in the module cache alike. What came from a proxy has a chain with requests by then.
//! What came from a repository or from `file://` has none, but a `Lookup` there: of such modules
//! nothing is said. The rest was in the cache.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::FinderRev;

use crate::model::Artifact;

use super::target::module_file;

/// Artifact, module, version.
pub(super) type Had<'a> = (Artifact, Cow<'a, str>, Cow<'a, str>);

/// Where in the module cache downloads are.
static DOWNLOADS: LazyLock<FinderRev<'static>> =
    LazyLock::new(|| FinderRev::new("/cache/download/"));

/// The `.info` file at a path of the module cache (`cache.go:CachePath`).
pub(super) fn of_file(file: &str) -> Option<Had<'_>> {
    // The last: a module may be called like it.
    let found = DOWNLOADS.rfind(file)?;
    let after = found + DOWNLOADS.needle().len();
    let (artifact, module, version) = module_file(&file[after - 1..])?;
    Some((artifact, module?, version?))
}

/// What a line of `go.sum` is about: the file alone where the version says so, or else the zip.
pub(super) fn of_sum<'a>(module: &'a str, version: &'a str) -> Had<'a> {
    let (artifact, version) = match version.strip_suffix("/go.mod") {
        Some(version) => (Artifact::Mod, version),
        None => (Artifact::Zip, version),
    };
    (artifact, module.into(), version.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_sums_say_what_they_are_about() {
        let line = |had: Option<Had<'_>>| {
            had.map(|(a, module, version)| format!("{a:?} {module} {version}"))
        };
        for (file, expected) in [
            ("/c/cache/download/x.lab/!m/@v/v1.0.0-!r!c.info", Some("Info x.lab/M v1.0.0-RC")),
            (
                "/c/cache/download/cache/download/x.lab/m/@v/v1.0.0.info",
                Some("Info x.lab/m v1.0.0"),
            ),
            ("/c/cache/download/x.lab/m/@v/v1.0.0.ziphash", None),
            ("/c/cache/download/x.lab/m/@v/list", None),
            ("/c/x.lab/m@v1.0.0", None),
            ("", None),
        ] {
            assert_eq!(line(of_file(file)).as_deref(), expected, "{file}");
        }
        let of = |version| line(Some(of_sum("x.lab/M", version)));
        assert_eq!(of("v1.0.0").as_deref(), Some("Zip x.lab/M v1.0.0"));
        assert_eq!(of("v1.0.0/go.mod").as_deref(), Some("Mod x.lab/M v1.0.0"));
    }
}
