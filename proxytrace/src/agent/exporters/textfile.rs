//! Metrics in a file, for the textfile collector of `node_exporter`: whole at every moment.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Replaces the file. The collector runs as a user of its own and reads what ends in `.prom`.
pub(super) fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let partial = path.with_extension("prom.partial");
    // The directory may be that of another user, who may have put a link there: it is not followed.
    let _ = fs::remove_file(&partial);
    let written = (|| {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o644).open(&partial)?;
        file.write_all(contents)?;
        fs::rename(&partial, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn nothing_else_is_left() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("proxytrace.prom");
        replace(&path, b"a 1\n").unwrap();
        replace(&path, b"a 2\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"a 2\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(replace(&dir.path().join("no/such.prom"), b"").is_err());

        let victim = dir.path().join("victim");
        fs::write(&victim, "mine").unwrap();
        std::os::unix::fs::symlink(&victim, dir.path().join("proxytrace.prom.partial")).unwrap();
        replace(&path, b"a 3\n").unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"mine");
    }
}
