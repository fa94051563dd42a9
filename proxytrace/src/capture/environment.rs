//! What a process began with, as the kernel keeps it: its environment, and its arguments.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

/// The longest environment that a process begins with (three quarters of `_STK_LIM`: the kernel's
/// `fs/exec.c`).
pub(super) const ENVIRONMENT_MAX: u64 = 6 << 20;

/// The longest that is read of whoever runs on the machine: apart it takes some fifty times as much
/// memory, where it has many short names.
pub(super) const ENVIRONMENT_OF_OTHERS_MAX: u64 = 512 << 10;

/// The environment that a process began with.
pub(super) fn environment(process: &Path) -> Option<Vec<(OsString, OsString)>> {
    Some(parse_environment(&kept_environment(process, ENVIRONMENT_OF_OTHERS_MAX)?))
}

/// The same as the kernel keeps it; none if it is longer than that: the process may have put one in
/// its place to which there is no end (prctl(2), `PR_SET_MM`).
pub(super) fn kept_environment(process: &Path, max: u64) -> Option<Vec<u8>> {
    kept(&process.join("environ"), max)
}

/// The arguments that a process began with, as the kernel keeps them: each ended by a NUL.
pub(super) fn arguments(process: &Path) -> Option<Vec<u8>> {
    kept(&process.join("cmdline"), ENVIRONMENT_MAX)
}

fn kept(file: &Path, max: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file).ok()?.take(max + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= max).then_some(bytes)
}

/// Splits an environment as the kernel keeps it: `name=value`, each ended by a NUL.
pub(super) fn parse_environment(bytes: &[u8]) -> Vec<(OsString, OsString)> {
    bytes
        .split(|&byte| byte == 0)
        .filter_map(|variable| {
            // A name may begin with `=`, so the separator is looked for after the first byte.
            let equals = 1 + variable.get(1..)?.iter().position(|&byte| byte == b'=')?;
            let (name, value) = (&variable[..equals], &variable[equals + 1..]);
            Some((OsString::from_vec(name.to_vec()), OsString::from_vec(value.to_vec())))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn environments_are_split_at_the_first_equals_sign() {
        let parsed = parse_environment(b"A=1\0B=x=y\0EMPTY=\0broken\0=C:=d\0");
        let pairs: Vec<_> =
            parsed.iter().map(|(n, v)| (n.to_str().unwrap(), v.to_str().unwrap())).collect();
        assert_eq!(pairs, [("A", "1"), ("B", "x=y"), ("EMPTY", ""), ("=C:", "d")]);
    }

    #[test]
    fn an_environment_without_an_end_is_none() {
        let process = tempfile::tempdir().unwrap();
        let place = process.path().join("environ");
        symlink("/dev/zero", &place).unwrap();
        assert_eq!(environment(process.path()), None);
        assert_eq!(kept_environment(process.path(), ENVIRONMENT_MAX), None);
        fs::remove_file(&place).unwrap();
        for (text, is_kept) in [("A=1\0", true), ("A=12\0", false)] {
            fs::write(&place, text).unwrap();
            let kept = kept_environment(process.path(), 4);
            assert_eq!(kept.is_some(), is_kept, "{text:?}");
        }
    }
}
