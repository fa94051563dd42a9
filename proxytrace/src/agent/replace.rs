//! Files that are written again and again, and are whole at every moment: how the agent does, and
//! metrics for the textfile collector of `node_exporter`.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Replaces the file. Whoever reads it may be any user; the collector reads what ends in `.prom`.
pub(super) fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    write(path, contents, |partial| fs::rename(partial, path))
}

/// Whether it could be replaced, as far as that can be known without.
pub(super) fn try_at(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    write(path, b"", |partial| fs::remove_file(partial))
}

/// Writes a file beside it, and does `then` with that.
fn write(
    path: &Path,
    contents: &[u8],
    then: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let partial = path.with_added_extension("partial");
    // The directory may be that of another user, who may have put a link there: it is not followed.
    let _ = fs::remove_file(&partial);
    let written = (|| {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).open(&partial)?;
        // Whatever the umask is.
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.write_all(contents)?;
        then(&partial)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sched::{CloneFlags, unshare};
    use nix::sys::stat::{Mode, umask};
    use tempfile::TempDir;

    /// As the unit of the agent has it.
    #[test]
    fn everybody_may_read_it_whatever_the_umask() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("proxytrace.prom");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // The umask is that of all threads otherwise.
                unshare(CloneFlags::CLONE_FS).unwrap();
                umask(Mode::from_bits_truncate(0o027));
                replace(&path, b"a 1\n").unwrap();
            });
        });
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    }

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
