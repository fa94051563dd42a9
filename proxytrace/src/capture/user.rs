//! The user who called sudo, and what their environment was.
//!
//! sudo resets the environment and HOME, and with them GOPROXY, `go env -w`, netrc and the module
//! cache. sudo's own process still has the environment of whoever called it, and its umask.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::unistd::{Gid, Uid, User, geteuid, getgrouplist};

use super::credentials::{Credentials, groups_of, status};

/// The longest environment that a process begins with (three quarters of `_STK_LIM`: the kernel's
/// `fs/exec.c`).
const ENVIRONMENT_MAX: u64 = 6 << 20;

/// The longest that is read of whoever runs on the machine: apart it takes some fifty times as much
/// memory, where it has many short names.
pub(super) const ENVIRONMENT_OF_OTHERS_MAX: u64 = 512 << 10;

/// Whom the command runs as.
#[derive(Clone, Debug)]
pub(super) struct Invoker {
    /// None: as we run ourselves.
    pub(super) credentials: Option<Credentials>,
    /// The whole environment.
    pub(super) environment: Vec<(OsString, OsString)>,
    /// None: as ours is.
    pub(super) umask: Option<u32>,
}

impl Invoker {
    /// The user who called sudo; without sudo, ourselves.
    pub(super) fn find() -> Self {
        let ours: Vec<_> = std::env::vars_os().collect();
        let Some(credentials) = Credentials::of_caller() else {
            return Self { credentials: None, environment: ours, umask: None };
        };
        if let Some(sudo) = our_sudo(Path::new(OURSELVES))
            && let Some(environment) = kept_environment(&sudo, ENVIRONMENT_MAX)
        {
            let mut environment = parse_environment(&environment);
            let given = given_to(&sudo, &ours);
            environment.retain(|(name, _)| given.iter().all(|(other, _)| other != name));
            environment.extend(given);
            return Self { credentials: Some(credentials), environment, umask: umask(&sudo) };
        }
        // No sudo process above us (it was replaced, or /proc is hidden): the next best is what a
        // login would have.
        let environment = login_environment(ours, credentials.uid);
        Self { credentials: Some(credentials), environment, umask: None }
    }

    /// A variable of the environment.
    pub(super) fn variable(&self, name: &str) -> Option<&OsStr> {
        let found = self.environment.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_os_str())
    }

    /// The executable that the command name stands for, as `execvp` would find it for this user, who
    /// may look into fewer directories than root, or on a network into more. To be called while
    /// there is one thread.
    pub(super) fn resolve(&self, command: &OsStr) -> io::Result<PathBuf> {
        let (found, is_refused) = self.look_for(command)?;
        match &self.credentials {
            // Without an answer from there, this is one.
            Some(user) if is_refused => user.ask(|| self.find_command(command).0).unwrap_or(found),
            _ => found,
        }
    }

    /// The same, whenever: on some file systems the user may be given what is not found by this.
    pub(super) fn foresee(&self, command: &OsStr) -> io::Result<PathBuf> {
        self.look_for(command)?.0
    }

    fn look_for(&self, command: &OsStr) -> io::Result<Looked> {
        let find = || self.find_command(command);
        self.credentials.as_ref().map_or_else(|| Ok(find()), |user| user.act(find))
    }

    fn find_command(&self, command: &OsStr) -> Looked {
        let is_refusal = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
        if command.as_bytes().contains(&b'/') {
            let found = executable(Path::new(command));
            let is_refused = found.as_ref().is_err_and(is_refusal);
            return (found, is_refused);
        }
        let path = self.variable("PATH").unwrap_or(OsStr::new("/usr/local/bin:/bin:/usr/bin"));
        let mut refused = io::Error::from(io::ErrorKind::NotFound);
        for directory in std::env::split_paths(path) {
            match executable(&directory.join(command)) {
                Ok(found) => return (Ok(found), is_refusal(&refused)),
                Err(error) if is_refusal(&error) => refused = error,
                Err(_) => {}
            }
        }
        let is_refused = is_refusal(&refused);
        (Err(refused), is_refused)
    }
}

/// What was found, and whether something was refused on the way there.
type Looked = (io::Result<PathBuf>, bool);

impl Credentials {
    /// Who called sudo to run us. None if that is ourselves.
    fn of_caller() -> Option<Self> {
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

/// The environment of whoever called us, through sudo or not.
pub fn environment_of_caller() -> Vec<(OsString, OsString)> {
    Invoker::find().environment
}

/// Opens a file for output, which is created if there is none, as the user who called sudo: it belongs
/// to them, and it is where they may write. What is in it stays. Whether it is new is told, too.
pub fn open_output(path: &Path) -> io::Result<(File, bool)> {
    let new = open_as_caller(path, OpenOptions::new().write(true).create_new(true));
    new.map(|file| (file, true)).or_else(|_| {
        let mut options = OpenOptions::new();
        let file = open_as_caller(path, options.write(true).create(true).truncate(false))?;
        Ok((file, false))
    })
}

/// The same, to add to what is in it.
pub fn append_output(path: &Path) -> io::Result<File> {
    open_as_caller(path, OpenOptions::new().append(true).create(true))
}

/// Removes an output that was new, as the same user, if it is still there, and empty.
pub fn remove_output(path: &Path, file: &File) -> io::Result<()> {
    let remove = || {
        let (there, ours) = (fs::symlink_metadata(path)?, file.metadata()?);
        let is_ours = (there.dev(), there.ino()) == (ours.dev(), ours.ino());
        if is_ours && there.len() == 0 { fs::remove_file(path) } else { Ok(()) }
    };
    Credentials::of_caller().map_or_else(remove, |user| user.act(remove)?)
}

fn open_as_caller(path: &Path, options: &OpenOptions) -> io::Result<File> {
    let create = || options.open(path);
    Credentials::of_caller().map_or_else(create, |user| user.act(create)?)
}

fn executable(path: &Path) -> io::Result<PathBuf> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let name = CString::new(path.as_os_str().as_bytes())?;
    // As whom this thread looks at files: the library's function may ask for the real user.
    let (call, flags) = (libc::SYS_faccessat2, libc::AT_EACCESS);
    // SAFETY: the name ends with a NUL.
    match unsafe { libc::syscall(call, libc::AT_FDCWD, name.as_ptr(), libc::X_OK, flags) } {
        0 => Ok(path.to_owned()),
        _ => Err(io::Error::last_os_error()),
    }
}

const OURSELVES: &str = "/proc/self";

/// The sudo that runs us, itself or through wrappers. Above whatever else is there (a shell, `su`)
/// another sudo had another caller.
fn our_sudo(ours: &Path) -> Option<PathBuf> {
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
fn given_to(sudo: &Path, ours: &[(OsString, OsString)]) -> Vec<(OsString, OsString)> {
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

fn umask(process: &Path) -> Option<u32> {
    u32::from_str_radix(&status(process, "Umask:")?, 8).ok()
}

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
fn arguments(process: &Path) -> Option<Vec<u8>> {
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

fn login_environment(ours: Vec<(OsString, OsString)>, uid: Uid) -> Vec<(OsString, OsString)> {
    let mut environment: BTreeMap<OsString, OsString> = ours.into_iter().collect();
    environment.retain(|name, _| !name.as_bytes().starts_with(b"SUDO_"));
    if let Ok(Some(user)) = User::from_uid(uid) {
        environment.insert("HOME".into(), user.dir.into_os_string());
        environment.insert("SHELL".into(), user.shell.into_os_string());
        environment.insert("USER".into(), user.name.clone().into());
        environment.insert("LOGNAME".into(), user.name.into());
    }
    environment.into_iter().collect()
}

#[cfg(test)]
mod tests {
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
        std::os::unix::fs::symlink("/dev/zero", &place).unwrap();
        assert_eq!(environment(process.path()), None);
        assert_eq!(kept_environment(process.path(), ENVIRONMENT_MAX), None);
        fs::remove_file(&place).unwrap();
        for (text, is_kept) in [("A=1\0", true), ("A=12\0", false)] {
            fs::write(&place, text).unwrap();
            let kept = kept_environment(process.path(), 4);
            assert_eq!(kept.is_some(), is_kept, "{text:?}");
        }
    }

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

    #[test]
    fn commands_are_found_on_the_path_of_the_user() {
        let invoker = Invoker {
            credentials: None,
            environment: vec![("PATH".into(), "/nonexistent:/usr/bin:/bin".into())],
            umask: None,
        };
        assert!(invoker.resolve(OsStr::new("sh")).unwrap().ends_with("sh"));
        let missing = invoker.resolve(OsStr::new("no-such-command")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        let directory = invoker.resolve(OsStr::new("/usr")).unwrap_err();
        assert_eq!(directory.kind(), io::ErrorKind::PermissionDenied);
    }

    /// What is refused to whom we look as may be given to the user.
    #[test]
    fn a_refusal_on_the_way_is_not_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("sh")).unwrap();
        let path = |first: &Path| format!("{}:/usr/bin:/bin", first.display()).into();
        for (first, command, is_found, is_refused) in [
            (directory.path(), "sh", true, true),
            (Path::new("/nonexistent"), "sh", true, false),
            (Path::new("/nonexistent"), "no-such-command", false, false),
            (directory.path(), "/usr", false, true),
            (directory.path(), "/nonexistent/sh", false, false),
        ] {
            let environment = vec![("PATH".into(), path(first))];
            let invoker = Invoker { credentials: None, environment, umask: None };
            let looked = invoker.find_command(OsStr::new(command));
            assert_eq!((looked.0.is_ok(), looked.1), (is_found, is_refused), "{command}");
        }
    }
}
