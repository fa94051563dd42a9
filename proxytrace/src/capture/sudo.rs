//! The sudo above a process: who called the one that runs us, and what that was given for us.

use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::unistd::{Gid, Uid, User, geteuid, getgrouplist};

use super::caller::executable;
use super::credentials::{Credentials, groups_of, status};
use super::environment::{arguments, parse_environment};

pub(super) const OURSELVES: &str = "/proc/self";

impl Credentials {
    /// Who called sudo to run us. None if that is ourselves.
    pub(super) fn of_caller() -> Option<Self> {
        // What is above us may be gone later.
        static CALLER: OnceLock<Option<Credentials>> = OnceLock::new();
        CALLER.get_or_init(Self::from_sudo).clone()
    }

    /// Who sudo says has called it to run us, itself or through wrappers (`sudo env …`). In a shell
    /// or a script of root's (`sudo -s`, `sudo ./build.sh`) the same is said, and there the command
    /// would be root's without us, too, whether the shell waits for us or becomes us.
    fn from_sudo() -> Option<Self> {
        let ours = Path::new(OURSELVES);
        let is_for_us = || {
            let command = std::env::var_os("SUDO_COMMAND").unwrap_or_default();
            let words: Vec<OsString> = std::env::args_os().collect();
            let above = || parent(&outermost_wrapper(ours)).map(|it| Above::at(&it));
            let all = our_sudo(ours).and_then(|sudo| arguments(&sudo).zip(arguments(ours)));
            let given = all.as_ref().and_then(|(theirs, own)| before_own(theirs, own));
            names(&command, &ours.join("exe"))
                || (is_wrapped(&command, &words, given)
                    && above().is_none_or(|it| !it.is_of_root()))
        };
        if !geteuid().is_root() || !is_for_us() {
            return None;
        }
        let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
        let (uid, gid) = (Uid::from_raw(number("SUDO_UID")?), Gid::from_raw(number("SUDO_GID")?));
        if uid.is_root() {
            return None;
        }
        let groups = groups_above(ours, uid).or_else(|| groups_of_user(uid, gid));
        Some(Self { uid, gid, groups: groups.unwrap_or_else(|| vec![gid]) })
    }
}

/// The groups of whoever called the sudo above ourselves: sudo itself has root's.
fn groups_above(ours: &Path, caller: Uid) -> Option<Vec<Gid>> {
    let above = parent(&our_sudo(ours)?)?;
    let is_callers = status(&above, "Uid:")?.split_whitespace().next()? == caller.to_string();
    is_callers.then(|| groups_of(&above)).flatten()
}

/// The groups that a user would have after a login.
fn groups_of_user(uid: Uid, gid: Gid) -> Option<Vec<Gid>> {
    let name = User::from_uid(uid).ok()??.name;
    getgrouplist(&CString::new(name).ok()?, gid).ok()
}

/// The sudo that runs us, itself or through wrappers. Above whatever else is there (a shell, `su`)
/// another sudo had another caller.
pub(super) fn our_sudo(ours: &Path) -> Option<PathBuf> {
    sudo_above(&outermost_wrapper(ours), 0)
}

/// The first of the wrappers of root's each of which runs the next, and the last ourselves; without
/// any, ourselves.
fn outermost_wrapper(ours: &Path) -> PathBuf {
    // By what it was run as: its file may have many names, as busybox has.
    let is_wrapper = |process: &PathBuf| {
        Above::at(process).is_of_root()
            && status(process, "Name:").is_some_and(|name| is_one_of(WRAPPERS, name.as_bytes()))
    };
    let mut process = ours.to_owned();
    while let Some(wrapper) = parent(&process).filter(is_wrapper) {
        process = wrapper;
    }
    process
}

/// The outermost of the processes of the sudo nearest above a process (with a pseudo-terminal it is
/// two, of the same arguments; another sudo has others), with so many others in between at most.
pub(super) fn sudo_above(process: &Path, others: usize) -> Option<PathBuf> {
    let (mut found, mut between): (Option<PathBuf>, usize) = (None, 0);
    let mut process = process.to_owned();
    while between <= others
        && let Some(above) = parent(&process)
    {
        let is_sudo = Above::at(&above).is_sudo() == Some(true);
        if let Some(sudo) = &found {
            if !is_sudo || arguments(sudo) != arguments(&above) {
                break;
            }
        } else if !is_sudo {
            between += 1;
        }
        if is_sudo {
            found = Some(above.clone());
        }
        process = above;
    }
    found
}

fn parent(process: &Path) -> Option<PathBuf> {
    let parent = status(process, "PPid:").filter(|pid| pid != "0")?;
    Some(PathBuf::from(format!("/proc/{parent}")))
}

/// Whether what sudo was told to run is this program: a path, and arguments.
fn names(command: &OsStr, program: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    let Some(ours) = identity(program) else { return false };
    let command = command.as_bytes();
    // A path may have spaces.
    let ends = command.iter().enumerate().filter(|(_, byte)| **byte == b' ').map(|(at, _)| at);
    let mut paths = ends.chain([command.len()]).map(|end| OsStr::from_bytes(&command[..end]));
    paths.any(|path| identity(Path::new(path)) == Some(ours))
}

/// Programs that do nothing but run the command that they are given as words.
const WRAPPERS: &[&str] = &[
    "cgexec",
    "choom",
    "chpst",
    "chrt",
    "eatmydata",
    "env",
    "faketime",
    "flock",
    "ionice",
    "ip",
    "linux32",
    "linux64",
    "ltrace",
    "nice",
    "nohup",
    "nsenter",
    "numactl",
    "perf",
    "prlimit",
    "proxychains",
    "proxychains4",
    "runcon",
    "setarch",
    "setpriv",
    "setsid",
    "stdbuf",
    "strace",
    "systemd-inhibit",
    "systemd-run",
    "taskset",
    "time",
    "timeout",
    "torsocks",
    "tsocks",
    "uclampset",
    "unshare",
    "xargs",
];

/// Programs in which root runs what they like: shells, and what starts one.
const SHELLS: &[&str] =
    &["ash", "bash", "busybox", "csh", "dash", "fish", "ksh", "mksh", "sh", "su", "tcsh", "zsh"];

/// The name of a program, by whatever path.
fn base_name(word: &[u8]) -> &[u8] {
    word.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
}

fn is_one_of(programs: &[&str], word: &[u8]) -> bool {
    programs.iter().any(|program| program.as_bytes() == base_name(word))
}

/// Whether what sudo was told to run is wrappers and, at the end, ourselves with our arguments.
/// `given` is what stands before these among sudo's own arguments, if it is there: in `SUDO_COMMAND`
/// nothing says where a word ends.
fn is_wrapped(command: &OsStr, arguments: &[OsString], given: Option<&[u8]>) -> bool {
    let Some(before) = words_before(command.as_bytes(), arguments) else { return false };
    let split: Vec<&[u8]> = before.split(|&byte| byte == b' ').collect();
    let is_name = |word: &[u8], name: &[u8]| base_name(word) == base_name(name);
    let exact = given.and_then(|given| {
        let given = given.strip_suffix(b"\0").unwrap_or(given);
        let mut words: Vec<&[u8]> = given.split(|&byte| byte == 0).collect();
        // The name by which we were called.
        words.pop_if(|last| is_name(last, arguments[0].as_bytes()));
        // Before that are options of sudo.
        let first = words.iter().position(|word| is_name(word, split[0]))?;
        Some(words.split_off(first))
    });
    let words = exact.unwrap_or(split);
    // It gives that to a shell; taskset has CPUs behind it.
    let is_script = words.iter().any(|word| is_one_of(&["flock"], word))
        && words
            .windows(2)
            .any(|two| matches!(two[1], b"-c" | b"--command") && !is_one_of(&["taskset"], two[0]));
    words.first().is_some_and(|first| is_one_of(WRAPPERS, first))
        && !is_script
        && !words.iter().any(|word| is_program(word))
}

/// What stands before our own arguments in what sudo was told to run.
///
/// Their beginning is enough, as sudo cuts what is longer than 4,096 bytes, and some programs
/// (`xargs`) append more. But our name alone may be anything, such as a target of make's.
fn words_before<'a>(command: &'a [u8], arguments: &[OsString]) -> Option<&'a [u8]> {
    let name = arguments.first()?;
    let all = arguments.join(OsStr::new(" "));
    let spaces = command.iter().enumerate().filter(|(_, byte)| **byte == b' ');
    let at = spaces.map(|(at, _)| at).find(|&at| {
        let end = &command[at + 1..];
        end.len() > name.len() && all.as_bytes().starts_with(end)
    })?;
    Some(&command[..at])
}

/// Whether a word is a shell, or a script or another program by its path, and no wrapper. In a
/// variable it is none.
fn is_program(word: &[u8]) -> bool {
    let is_file = || word.contains(&b'/') && executable(Path::new(OsStr::from_bytes(word))).is_ok();
    let is_one = || is_one_of(SHELLS, word) || is_file();
    !word.contains(&b'=') && !is_one_of(WRAPPERS, word) && is_one()
}

/// The variables that sudo, or a program that it was told to run, was given for us (`sudo A=b …`,
/// `sudo env A=b …`), and that have come to us.
pub(super) fn given_to(sudo: &Path, ours: &[(OsString, OsString)]) -> Vec<(OsString, OsString)> {
    let all = arguments(sudo).zip(arguments(Path::new(OURSELVES)));
    all.map_or_else(Vec::new, |(theirs, own)| given(&theirs, &own, ours))
}

/// The same, of the arguments of both as the kernel keeps them: what stands before our own, and is
/// in our environment.
fn given(theirs: &[u8], own: &[u8], ours: &[(OsString, OsString)]) -> Vec<(OsString, OsString)> {
    let words = parse_environment(before_own(theirs, own).unwrap_or_default());
    words.into_iter().filter(|variable| ours.contains(variable)).collect()
}

/// What stands before our own arguments. Who runs us may call us by another name, or append some
/// (`xargs`), but not both.
fn before_own<'a>(theirs: &'a [u8], own: &[u8]) -> Option<&'a [u8]> {
    let name = own.iter().position(|&byte| byte == 0).map_or(own.len(), |end| end + 1);
    let (name, others) = own.split_at(name);
    theirs.strip_suffix(others).or_else(|| {
        let words = || theirs.split_inclusive(|&byte| byte == 0);
        let at = words().position(|word| word == name)?;
        let length: usize = words().take(at).map(<[u8]>::len).sum();
        Some(&theirs[..length])
    })
}

/// What can be told of a process above ours.
#[derive(Clone, Debug, Default)]
struct Above {
    /// Its effective user, if that can be read.
    user: Option<u32>,
    /// What it runs: the name, and whether everybody may run it as root (set-user-ID). None if that
    /// cannot be read, as without `CAP_SYS_PTRACE`.
    program: Option<(OsString, bool)>,
}

/// Who runs as root for everybody, and says nothing of a `SUDO_UID`.
const OTHERS: &[&str] = &["doas", "pkexec", "su"];

impl Above {
    fn at(process: &Path) -> Self {
        let users = status(process, "Uid:");
        let exe = process.join("exe");
        let program = || {
            let path = fs::read_link(&exe).ok()?;
            // Of the file itself, also where it has no name any more.
            let file = fs::metadata(&exe).ok()?;
            Some((
                path.file_name()?.to_owned(),
                file.uid() == 0 && file.mode() & libc::S_ISUID != 0,
            ))
        };
        Self {
            user: users.and_then(|users| users.split_whitespace().nth(1)?.parse().ok()),
            program: program(),
        }
    }

    /// Whether it is a sudo, by whatever name (`sudo-rs`, `sudo (deleted)`); none if that cannot be
    /// told.
    fn is_sudo(&self) -> Option<bool> {
        let (name, is_for_everybody) = self.program.as_ref()?;
        let is_other = OTHERS.iter().any(|other| name == other);
        Some(name.as_bytes().starts_with(b"sudo") || (*is_for_everybody && !is_other))
    }

    /// Whether it is certainly root's own, and no sudo. A sudo that was replaced by us leaves the
    /// shell that called it above us: not root's.
    fn is_of_root(&self) -> bool {
        self.user == Some(0) && self.is_sudo() == Some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Go that runs as root by mistake leaves a module cache that is root's.
    #[test]
    fn what_is_not_known_to_be_roots_own_is_not() {
        let program = |name: &str, for_everybody| Some((OsString::from(name), for_everybody));
        for (user, program, of_root) in [
            (Some(0), program("bash", false), true),
            (Some(0), program("su", true), true),
            (Some(0), program("sudo", true), false),
            // Another sudo; one that was upgraded while it runs; one that is known by its file alone.
            (Some(0), program("sudo-rs", true), false),
            (Some(0), program("sudo (deleted)", true), false),
            (Some(0), program("elevate", true), false),
            // Somebody's shell; who cannot be looked at.
            (Some(1000), program("bash", false), false),
            (None, program("bash", false), false),
            (Some(0), None, false),
        ] {
            let above = Above { user, program };
            assert_eq!(above.is_of_root(), of_root, "{above:?}");
        }
    }

    #[test]
    fn sudo_says_what_it_runs() {
        let directory = tempfile::tempdir().unwrap();
        let ours = directory.path().join("a tool");
        fs::write(&ours, "").unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&ours, &link).unwrap();
        for (command, named) in [
            (format!("{} -- go mod download", ours.display()), true),
            (link.display().to_string(), true),
            (format!("/bin/sh -c {}", ours.display()), false),
            (String::new(), false),
        ] {
            assert_eq!(names(command.as_ref(), &ours), named, "{command}");
        }
    }

    #[test]
    fn wrappers_run_us_and_shells_run_what_root_likes() {
        let arguments = ["proxytrace", "--", "go", "build", "a b"].map(OsString::from);
        for (before, is_ours) in [
            ("/usr/bin/timeout 600", true),
            ("timeout -s KILL 600 /usr/bin/nice -n 5", true),
            ("/usr/bin/env A=b SHELL=/bin/bash PATH=/my sh/bin:/bin", true),
            ("/usr/sbin/ip netns exec vpn", true),
            ("/usr/bin/taskset -c 0,1", true),
            ("/usr/bin/flock /etc/passwd", true),
            ("/usr/bin/flock /etc/passwd taskset -c 0,1", true),
            ("/usr/bin/proxychains4", true),
            // It is root's shell or script, whatever runs that.
            ("/bin/sh -c", false),
            ("/usr/bin/su -c", false),
            ("/usr/bin/timeout 600 bash -c", false),
            ("/usr/bin/env PATH=/bin bash -c cd /src &&", false),
            ("/usr/bin/strace -f /bin/bash -c", false),
            ("/usr/bin/flock /etc/passwd -c", false),
            ("/bin/cat", false),
            ("/usr/bin/env A=b /bin/cat", false),
            ("/usr/bin/make CMD=x", false),
        ] {
            let command = format!("{before} proxytrace -- go build a b");
            assert_eq!(is_wrapped(command.as_ref(), &arguments, None), is_ours, "{command}");
        }
    }

    /// In a value there may be the name of a program.
    #[test]
    fn words_end_where_they_do_among_those_of_sudo() {
        let arguments = ["proxytrace", "--", "go"].map(OsString::from);
        let command = "/usr/bin/env CC=ccache /bin/cat proxytrace -- go";
        for (given, is_ours) in [
            (None, false),
            (Some("sudo\0-E\0env\0CC=ccache /bin/cat\0proxytrace\0"), true),
            (Some("sudo\0env\0CC=ccache /bin/cat\0"), true),
            (Some("sudo\0env\0CC=ccache\0/bin/cat\0proxytrace\0"), false),
            (Some("sudo\0something\0else\0"), false),
        ] {
            let found = is_wrapped(command.as_ref(), &arguments, given.map(str::as_bytes));
            assert_eq!(found, is_ours, "{given:?}");
        }
    }

    #[test]
    fn our_arguments_are_found_at_the_end() {
        let arguments = ["proxytrace", "--", "go", "build", "a b"].map(OsString::from);
        for (command, before) in [
            ("/usr/bin/timeout 600 proxytrace -- go build a b", Some("/usr/bin/timeout 600")),
            // It is cut, or more was appended.
            ("/usr/bin/timeout 600 proxytrace -- go bu", Some("/usr/bin/timeout 600")),
            // Cut within the name, or a target of that name.
            ("/usr/bin/make proxy", None),
            ("/usr/bin/make proxytrace", None),
            ("/usr/bin/make CMD=proxytrace -- go build a b", None),
            ("/usr/bin/make proxytrace -- go build a b install", None),
            ("/home/ci/build.sh", None),
            ("", None),
        ] {
            let found = words_before(command.as_bytes(), &arguments);
            assert_eq!(found, before.map(str::as_bytes), "{command}");
        }
        assert_eq!(words_before(b"/usr/bin/env proxytrace", &[]), None);
    }

    #[test]
    fn variables_given_to_sudo_are_those_that_have_come_to_us() {
        let pair = |(name, value): (&str, &str)| (OsString::from(name), OsString::from(value));
        let ours = [("A", "b"), ("GOFLAGS", "-mod=mod"), ("PATH", "/bin"), ("X", "y")].map(pair);
        let own = b"proxytrace\0--\0env\0X=y\0go\0";
        for (theirs, expected) in [
            ("sudo A=b proxytrace -- env X=y go", &[("A", "b")][..]),
            // Another name of ours, and a program in between.
            (
                "sudo -E env GOFLAGS=-mod=mod A=b timeout 600 ./pt -- env X=y go",
                &[("GOFLAGS", "-mod=mod"), ("A", "b")],
            ),
            // sudo has a PATH of its own, and of two the last counts.
            ("sudo PATH=/home/ci env A=a A=b proxytrace -- env X=y go", &[("A", "b")]),
            ("sudo proxytrace -- env X=y go", &[]),
            // More was appended to ours.
            ("sudo A=b xargs proxytrace -- env", &[("A", "b")]),
            // It is not known which are ours.
            ("sudo A=b xargs ./pt -- env X=y", &[]),
        ] {
            let theirs = theirs.replace(' ', "\0") + "\0";
            let expected: Vec<_> = expected.iter().copied().map(pair).collect();
            assert_eq!(given(theirs.as_bytes(), own, &ours), expected, "{theirs}");
        }
    }

    #[test]
    fn processes_are_looked_at() {
        let ourselves = Above::at(Path::new(OURSELVES));
        assert_eq!(ourselves.user, Some(geteuid().as_raw()));
        assert_eq!(ourselves.is_sudo(), Some(false));
        assert_eq!(Above::at(Path::new("/proc/nobody")).is_sudo(), None);
    }
}
