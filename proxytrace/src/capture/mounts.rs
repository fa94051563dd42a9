//! The mounts that a process sees, as `/proc/PID/mountinfo` has them (`proc_pid_mountinfo(5)`).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

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
