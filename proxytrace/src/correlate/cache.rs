//! What a path in the module cache is the artifact of.
//!
//! Its layout: `cmd/go/internal/modfetch/cache.go:CachePath` and `DownloadDir`, the same from Go
//! 1.19 to 1.27, and named in <https://go.dev/ref/mod#module-cache>.

use crate::model::Artifact;

use super::target::{module_file, unescape};

/// What is kept at `file`: artifact, module, version. The directory that a zip was extracted to
/// stands for the zip; it is known for what it is below `root` (GOMODCACHE) alone.
pub(super) fn kept(file: &str, root: Option<&str>) -> Option<(Artifact, String, String)> {
    if let Some((_, rest)) = file.rsplit_once("/cache/download/") {
        let (artifact, module, version) = module_file(&format!("/{rest}"))?;
        return Some((artifact, module?, version?));
    }
    let dir = file.strip_prefix(root?.trim_end_matches('/'))?.strip_prefix('/')?;
    let (module, version) = dir.rsplit_once('@')?;
    Some((Artifact::Zip, unescape(module), unescape(version)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_say_what_they_hold() {
        let kept = |file| {
            kept(file, Some("/go/pkg/mod/")).map(|(artifact, module, version)| {
                format!("{} {module} {version}", format!("{artifact:?}").to_lowercase())
            })
        };
        for (file, expected) in [
            ("/go/pkg/mod/cache/download/x.lab/!m/@v/v1.0.0.info", Some("info x.lab/M v1.0.0")),
            ("/c/cache/download/x.lab/m/@v/v1.0.0-!r!c.mod", Some("mod x.lab/m v1.0.0-RC")),
            ("/c/cache/download/x.lab/m/@v/v1.0.0.zip", Some("zip x.lab/m v1.0.0")),
            ("/go/pkg/mod/x.lab/!m@v1.0.0", Some("zip x.lab/M v1.0.0")),
            ("/other/x.lab/m@v1.0.0", None),
            ("/go/pkg/mod/x.lab/m", None),
            ("/c/cache/download/x.lab/m/@v/v1.0.0.ziphash", None),
            ("/c/cache/download/x.lab/m/@v/list", None),
            ("", None),
        ] {
            assert_eq!(kept(file).as_deref(), expected, "{file}");
        }
    }
}
