//! The mounts that a process sees, as `/proc/PID/mountinfo` has them (`proc_pid_mountinfo(5)`).

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// Bytes that are read of what a process sees, and of one mount of it. Whoever has a user namespace
/// may mount as much as the kernel allows, under the longest names; a hundred thousand ordinary
/// mounts, which is the kernel's default limit, have some 20 MB.
const ALL_MAX: u64 = 64 << 20;
const LINE_MAX: u64 = 1 << 20;

/// One line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mount<'a> {
    root: &'a str,
    point: &'a str,
    /// Of this mount, separated by commas.
    pub(super) options: &'a str,
    /// The type of the file system, such as `ext4` or `fuse.sshfs`.
    pub(super) kind: &'a str,
    of_file_system: &'a str,
}

impl<'a> Mount<'a> {
    /// None if it is no such line.
    pub(super) fn parse(line: &'a str) -> Option<Self> {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point, options) = (fields.next()?, fields.next()?, fields.next()?);
        let mut fields = file_system.split(' ');
        let (kind, _source) = (fields.next()?, fields.next());
        let of_file_system = fields.next().unwrap_or_default();
        Some(Self { root, point, options, kind, of_file_system })
    }

    /// Where it is, below the root of the process.
    pub(super) fn point(&self) -> PathBuf {
        unescape(self.point).into()
    }

    /// The directory of the file system that is shown there.
    pub(super) fn root(&self) -> PathBuf {
        unescape(self.root).into()
    }

    /// Options of the file system that have a value, in their order.
    pub(super) fn settings(&self) -> impl Iterator<Item = (&'a str, OsString)> + use<'a> {
        let options = self.of_file_system.split(',');
        options.filter_map(|option| option.split_once('=')).map(|(name, it)| (name, unescape(it)))
    }
}

/// The line of the mount that a path is in; none where there is too much to find it.
pub(super) fn around(mountinfo: impl Read, path: &Path) -> Option<String> {
    // A mount whose name is no text is around no such path.
    let path = Path::new(path.to_str()?);
    let mut lines = BufReader::new(mountinfo.take(ALL_MAX));
    let (mut found, mut longest, mut line) = (None, 0, Vec::new());
    loop {
        line.clear();
        let length = lines.by_ref().take(LINE_MAX).read_until(b'\n', &mut line).ok()?;
        if length == 0 {
            break;
        }
        if length as u64 == LINE_MAX {
            return None;
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches('\n');
        // Of two at one place the later one is seen.
        if let Some(point) = Mount::parse(text).map(|mount| mount.point())
            && path.starts_with(&point)
            && point.as_os_str().len() >= longest
        {
            longest = point.as_os_str().len();
            found = Some(text.to_owned());
        }
    }
    // Of those that were not read one may be around it, too.
    found.filter(|_| lines.get_ref().limit() > 0)
}

/// Undoes octal escapes (space, tab, newline, backslash; in options comma and equals sign, too).
fn unescape(text: &str) -> OsString {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = (first == b'\\')
            .then(|| after.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_path_is_in_the_innermost_mount() {
        let mounts = b"1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:1 / /a\\040b rw - tmpfs t rw\n\
            3 1 0:2 / /\xe4 rw - tmpfs t rw\n4 2 0:3 / /a\\040b rw - overlay o rw,lowerdir=/l";
        let kind = |path: &str| {
            let line = around(&mounts[..], Path::new(path))?;
            Some(Mount::parse(&line)?.kind.to_owned())
        };
        assert_eq!(kind("/bin/go").as_deref(), Some("ext4"));
        assert_eq!(kind("/a b/go").as_deref(), Some("overlay"));
        assert_eq!(kind("bin/go"), None);
    }

    /// As anybody can make them who has a user namespace.
    #[test]
    fn mounts_without_an_end_are_not_read() {
        let go = Path::new("/bin/go");
        assert_eq!(around(io::repeat(b'a'), go), None);
        let line = format!("1 0 8:1 / / rw - ext4 {} rw\n", "x".repeat(1 << 19));
        for (count, is_found) in [(2, true), (129, false)] {
            assert_eq!(around(line.repeat(count).as_bytes(), go).is_some(), is_found, "{count}");
        }
    }
}
