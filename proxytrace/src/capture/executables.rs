//! The executables that were met, and which of them have probes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::mapped::Mapped;
use super::plans::Plans;
use super::program::Programs;
use super::regular;
use crate::event::{Attach, MissingHook};
use crate::gobinary::{self, BuildInfo, Machine, Plan};

/// Bytes of the largest executable that is read: ten times a go command. Any user may have one that
/// is larger than all memory, for nothing (sparse), and each page of it that is read costs some.
const EXECUTABLE_MAX: u64 = 256 << 20;

/// What makes an executable the same one: the file, and that nobody has written to it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub(super) struct Identity {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) size: u64,
    pub(super) changed: (i64, i64),
}

/// Names of types, by link-time address of their descriptors.
pub(super) type TypeNames = BTreeMap<u64, String>;

/// A `go` command that has probes.
#[derive(Debug)]
pub(super) struct Probed {
    identity: Identity,
    /// In the mount namespace of whoever executed it.
    pub(super) path: PathBuf,
    pub(super) go_version: String,
    pub(super) type_names: TypeNames,
}

/// All executables met so far.
#[derive(Default)]
pub(super) struct Executables {
    met: HashSet<Identity>,
    /// By their index in records.
    probed: Vec<Option<Probed>>,
    /// The indices of files, by device and inode, as they were when they got their probes.
    of_files: HashMap<(u64, u64), u32>,
    /// What became of those that have probes and have not been executed yet.
    foreseen: HashMap<Identity, Attach>,
    /// By process: the path by which it executes what has probes by another, too.
    paths: HashMap<u32, PathBuf>,
    /// What is called as a `go` command is, and could not be opened.
    unread: HashSet<PathBuf>,
}

/// What an executable turned out to be.
pub(super) enum Met {
    /// A `go` command that had no probes yet, and what became of it.
    New(Identity, Attach),
    /// One that was met before, of whatever kind.
    Before(Identity),
    /// No `go` command, or nothing that can be read.
    Other,
}

/// A plan made ahead, while other things were set up.
pub(super) struct Prepared {
    file: File,
    identity: Identity,
    plan: Result<Plan, gobinary::Error>,
}

impl Prepared {
    /// Where probes go: offsets in the file, each with a number; none without a plan.
    pub(super) fn sites(&self) -> Option<(&File, Vec<(u64, u64)>)> {
        let sites = self.plan.as_ref().ok()?.sites.iter().zip(0..);
        Some((&self.file, sites.map(|(site, number)| (site.offset, number)).collect()))
    }

    /// Puts its probes in; yields how many they are.
    pub(super) fn probe(&self, programs: &mut Programs) -> anyhow::Result<usize> {
        let plan = self.plan.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?;
        programs.probe(&self.file, plan)?;
        Ok(plan.sites.len())
    }
}

/// Why a `go` command has no probes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unprobed {
    /// No such release is known.
    Release,
    /// It is for another machine.
    Machine,
    /// The kernel did not take them.
    Kernel,
}

impl Executables {
    /// Reads an executable ahead of its probes; none if it is no `go` command.
    pub(super) fn prepare(path: &Path) -> Option<Prepared> {
        let file = regular::open(path).ok()?;
        let identity = Identity::of(&file).ok()?;
        let plan = read_once(&file, identity)?;
        Some(Prepared { file, identity, plan })
    }

    /// Puts probes into an executable before anyone executes it: they hold wherever that is done,
    /// in another mount namespace, too. What became of it is to be [recalled](Self::recall).
    pub(super) fn foresee(&mut self, prepared: Prepared, programs: &mut Programs) {
        let Prepared { file, identity, plan } = prepared;
        self.met.insert(identity);
        let attach = self.attach_anew(&file, identity, plan, programs);
        self.foreseen.insert(identity, attach);
    }

    /// What became of an executable that was foreseen, the first time that it is executed.
    pub(super) fn recall(&mut self, file: &File) -> Option<Attach> {
        self.foreseen.remove(&Identity::of(file).ok()?)
    }

    /// The index of what this file was, if it was written to since that got its probes: they stand at
    /// places of the new contents that nobody has proven. It is told once.
    pub(super) fn written_over(&mut self, file: &File) -> Option<u32> {
        let identity = Identity::of(file).ok()?;
        let is_new = !self.met.contains(&identity);
        is_new.then(|| self.of_files.remove(&identity.file())).flatten()
    }

    /// Puts probes into an executable, if it is a `go` command that has none yet.
    pub(super) fn see(&mut self, file: BorrowedFd<'_>, programs: &mut Programs) -> Met {
        let Ok(file) = file.try_clone_to_owned().map(File::from) else { return Met::Other };
        let Ok(identity) = Identity::of(&file) else { return Met::Other };
        if !self.met.insert(identity) {
            return Met::Before(identity);
        }
        match read_once(&file, identity) {
            Some(plan) => Met::New(identity, self.attach_anew(&file, identity, plan, programs)),
            None => Met::Other,
        }
    }

    fn attach_anew(
        &mut self,
        file: &File,
        identity: Identity,
        plan: Result<Plan, gobinary::Error>,
        programs: &mut Programs,
    ) -> Attach {
        // The name in the mount namespace of whoever executes it.
        let link = link_to(file);
        let path = std::fs::read_link(&link).unwrap_or(link);
        let (index, attach) = self.attach(file, identity, path, plan, programs);
        if let Ok(index) = index {
            self.of_files.insert(identity.file(), index);
        }
        attach
    }

    /// Forgets an executable whose probes were taken out.
    pub(super) fn forget(&mut self, index: u32) {
        if let Some(probed) = self.probed.get_mut(index as usize) {
            *probed = None;
        }
    }

    /// Puts probes into a `go` command, which is executed by this path. Yields its index in records,
    /// if it has them.
    pub(super) fn attach(
        &mut self,
        file: &File,
        identity: Identity,
        path: PathBuf,
        plan: Result<Plan, gobinary::Error>,
        programs: &mut Programs,
    ) -> (Result<u32, Unprobed>, Attach) {
        let mut attach = Attach {
            exe: path.to_string_lossy().into_owned(),
            go_version: None,
            hooks: Vec::new(),
            missing: Vec::new(),
            late: false,
            nearest: None,
        };
        let found;
        let failed = |reason: String| MissingHook { hook: "*".to_owned(), reason };
        match plan {
            Err(error) => {
                found = Err(Unprobed::Release);
                attach.missing.push(failed(error.to_string()));
            }
            // Run by an emulator, whose registers are not those of the machine that it emulates.
            Ok(plan) if plan.machine != Machine::HOST => {
                found = Err(Unprobed::Machine);
                attach.missing.push(failed("it is for another machine than this one".to_owned()));
            }
            Ok(plan) => {
                attach.go_version = Some(plan.build.go_version.clone());
                match programs.probe(file, &plan) {
                    Err(error) => {
                        found = Err(Unprobed::Kernel);
                        attach.missing.push(failed(format!("{error:#}")));
                    }
                    Ok(index) => {
                        found = Ok(index);
                        attach.hooks = plan.hooks;
                        attach.missing = plan.missing;
                        attach.nearest = plan.nearest;
                        let probed = Probed {
                            identity,
                            path,
                            go_version: plan.build.go_version,
                            type_names: plan.type_names,
                        };
                        let place = index as usize;
                        self.probed.resize_with(self.probed.len().max(place + 1), || None);
                        self.probed[place] = Some(probed);
                    }
                }
            }
        }
        (found, attach)
    }

    /// What is to be said, once, of an executable that somebody runs and that we may not open, as
    /// on a server that gives root less than its user; none if it is no `go` command, by its name,
    /// if it has gone, or if it has its probes and it is we who have too many files open.
    pub(super) fn unread(&mut self, path: &Path, error: &io::Error) -> Option<Attach> {
        let is_ours = is_ours(error);
        let is_probed = is_ours && self.probed.iter().flatten().any(|probed| probed.path == path);
        let is_go = path.file_name()? == "go";
        if has_gone(error) || is_probed || !is_go || !self.unread.insert(path.to_owned()) {
            return None;
        }
        Some(unreadable(path, error))
    }

    /// The executable that a record names.
    pub(super) fn get(&self, index: u32) -> Option<&Probed> {
        self.probed.get(index as usize)?.as_ref()
    }

    /// A process runs in this file.
    pub(super) fn runs(&mut self, pid: u32, file: &File) {
        let path = Identity::of(file).ok().filter(|identity| self.has_twin_of(identity));
        let path = path.and_then(|_| std::fs::read_link(link_to(file)).ok());
        match path {
            Some(path) => self.paths.insert(pid, path),
            None => self.paths.remove(&pid),
        };
    }

    /// The path by which a process, where /proc has it, executes this. Where two mounts show one
    /// file, the probes of either may speak for both.
    pub(super) fn path_of(&self, probed: &Probed, pid: u32, process: &Path) -> PathBuf {
        let noted = self.paths.get(&pid).cloned();
        let path = noted.or_else(|| {
            let link = process.join("exe");
            let there = Identity::from(&std::fs::metadata(&link).ok()?);
            there.is_twin_of(&probed.identity).then(|| std::fs::read_link(link).ok())?
        });
        path.unwrap_or_else(|| probed.path.clone())
    }

    /// The same as the process itself names it, from its own root: next to that `go` looks for its
    /// `go.env`.
    pub(super) fn path_within(&self, probed: &Probed, pid: u32, process: &Path) -> PathBuf {
        let link = process.join("exe");
        let is_it = |file: &Metadata| {
            let there = Identity::from(file);
            there == probed.identity || there.is_twin_of(&probed.identity)
        };
        let file = std::fs::metadata(&link).ok().filter(is_it);
        let named = file.and_then(|_| std::fs::read_link(&link).ok());
        let path = named.unwrap_or_else(|| self.path_of(probed, pid, process));
        let below = std::fs::read_link(process.join("root")).ok().and_then(|root| {
            let below = path.strip_prefix(root).ok()?;
            Some(Path::new("/").join(below))
        });
        below.unwrap_or(path)
    }

    fn has_twin_of(&self, identity: &Identity) -> bool {
        self.probed.iter().flatten().any(|probed| probed.identity.is_twin_of(identity))
    }

    /// Whether these paths may lead to one file with probes.
    pub(super) fn are_one(&self, one: &str, other: &str) -> bool {
        let named = |it: &&Probed, path| it.path == Path::new(path);
        let all = || self.probed.iter().flatten();
        let is_one = |it: &Probed| {
            all().any(|that| named(&that, other) && that.identity.is_twin_of(&it.identity))
        };
        one == other || all().any(|it| named(&it, one) && is_one(it))
    }
}

impl Identity {
    /// Device and inode: the file, whatever is in it.
    fn file(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// Whether a process, where /proc has it, runs in this file, whatever is in it.
    pub(super) fn is_run_by(&self, process: &Path) -> bool {
        let file = std::fs::metadata(process.join("exe"));
        file.is_ok_and(|file| Self::from(&file).file() == self.file())
    }

    pub(super) fn of(file: &File) -> io::Result<Self> {
        Ok(Self::from(&file.metadata()?))
    }

    /// Whether an overlay may show this file as that. Where its layers are on several file systems,
    /// it adds to the inode's number which one that is.
    pub(super) fn is_shown_as(&self, shown: &Self) -> bool {
        (self.size, self.changed) == (shown.size, shown.changed)
    }

    /// Whether another may be the same file, as an overlay shows it: on a device of its own.
    fn is_twin_of(&self, other: &Self) -> bool {
        self.device != other.device && Self { device: self.device, ..*other } == *self
    }
}

impl From<&Metadata> for Identity {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Whether a file that could not be opened has gone: nobody runs in what is no file, another is
/// there now.
pub(super) fn has_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory | InvalidInput)
        || error.raw_os_error() == Some(libc::ESRCH)
}

/// Whether a file could not be opened as we have too many of them open.
pub(super) fn is_ours(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// What is said of a `go` command that we may not open.
pub(super) fn unreadable(path: &Path, error: &io::Error) -> Attach {
    let reason = format!("it cannot be read: {error}");
    Attach {
        exe: path.to_string_lossy().into_owned(),
        missing: vec![MissingHook { hook: "*".to_owned(), reason }],
        ..Attach::default()
    }
}

/// Leads to an open file, whatever it is called.
pub(super) fn link_to(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// The plan for a `go` command, made once for all runs; none for any other file.
pub(super) fn read_once(file: &File, identity: Identity) -> Option<Result<Plan, gobinary::Error>> {
    read_with(file, |build, data| {
        let plans = Plans::of_user();
        if let Some(plan) = plans.as_ref().and_then(|plans| plans.find(identity, build, data)) {
            return Ok(plan);
        }
        let plan = plan(data)?;
        // One that was written to meanwhile is another file by now.
        if let Some(plans) = plans
            && data.is_whole()
            && Identity::of(file).is_ok_and(|now| now == identity)
        {
            plans.keep(identity, &plan, data);
        }
        Ok(plan)
    })
}

/// An executable of a size that is read, in memory.
pub(crate) fn in_memory(path: &Path) -> io::Result<Mapped> {
    let file = regular::open(path)?;
    if file.metadata()?.len() > EXECUTABLE_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Mapped::of(&file)
}

/// Whether this is a `go` command, of whatever release.
pub(super) fn is_go_command(file: &File) -> bool {
    read_with(file, |_, _| ()).is_some()
}

fn plan(data: &Mapped) -> Result<Plan, gobinary::Error> {
    gobinary::plan_sparing(data, &|bytes| data.release(bytes))
}

fn read_with<T>(file: &File, read: impl FnOnce(&BuildInfo, &Mapped) -> T) -> Option<T> {
    let mut magic = [0; 4];
    file.read_exact_at(&mut magic, 0).ok()?;
    if magic != *b"\x7fELF" || file.metadata().ok()?.len() > EXECUTABLE_MAX {
        return None;
    }
    let data = Mapped::of(file).ok()?;
    let found = match gobinary::identify(&data) {
        Ok(Some(build)) if build.main_package == "cmd/go" => read(&build, &data),
        // Not Go, not the go command, or nothing that can be read: none of ours.
        _ => return None,
    };
    // One that was cut off meanwhile is another file by now.
    data.is_whole().then_some(found)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::{env, fs};

    use xtask::process::skip;

    use super::*;

    fn read(file: &File) -> Option<Result<Plan, gobinary::Error>> {
        read_with(file, |_, data| plan(data))
    }

    /// As by `chroot`, or where a container has a toolchain of the host under another name.
    #[test]
    fn a_go_is_named_from_its_own_root() {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| directory.path().join(name);
        let (root, process, elsewhere) = (place("root"), place("process"), place("go"));
        let exe = root.join("opt/go/bin/go");
        for made in [&process, &root.join("opt/go/bin")] {
            fs::create_dir_all(made).unwrap();
        }
        fs::write(&elsewhere, "").unwrap();
        fs::hard_link(&elsewhere, &exe).unwrap();
        symlink(&root, process.join("root")).unwrap();
        let identity = Identity::from(&fs::metadata(&exe).unwrap());
        let executables = Executables::default();
        let named = |path: &Path, runs: &Path| {
            let _ = fs::remove_file(process.join("exe"));
            symlink(runs, process.join("exe")).unwrap();
            let (go_version, type_names) = (String::new(), TypeNames::new());
            let probed = Probed { identity, path: path.to_owned(), go_version, type_names };
            let path = executables.path_of(&probed, 1, &process);
            (path, executables.path_within(&probed, 1, &process))
        };
        let within = PathBuf::from("/opt/go/bin/go");
        assert_eq!(named(&exe, &exe), (exe.clone(), within.clone()));
        assert_eq!(named(&elsewhere, &exe), (elsewhere.clone(), within.clone()));
        // It has become another program since.
        let other = Path::new("/proc/self/exe");
        assert_eq!(named(&exe, other), (exe.clone(), within));
        assert_eq!(named(&elsewhere, other), (elsewhere.clone(), elsewhere.clone()));
    }

    #[test]
    fn a_file_is_run_by_whoever_runs_it() {
        let ourselves = Path::new("/proc/self");
        let ours = Identity::from(&fs::metadata("/proc/self/exe").unwrap());
        assert!(Identity { changed: (0, 0), ..ours }.is_run_by(ourselves));
        assert!(!Identity { inode: 0, ..ours }.is_run_by(ourselves));
        assert!(!ours.is_run_by(Path::new("/proc/0")));
    }

    /// As on a network, where root is nobody.
    #[test]
    fn a_go_that_may_not_be_opened_is_told_of_once() {
        let identity = Identity::from(&fs::metadata("/proc/self/exe").unwrap());
        let path = PathBuf::from("/usr/lib/go/bin/go");
        let (go_version, type_names) = (String::new(), TypeNames::new());
        let probed = vec![Some(Probed { identity, path, go_version, type_names })];
        let mut executables = Executables { probed, ..Executables::default() };
        let mut told = |path: &str, number| {
            let error = io::Error::from_raw_os_error(number);
            executables.unread(Path::new(path), &error).map(|attach| attach.exe)
        };
        for (path, number, is_told) in [
            ("/home/me/go/bin/go", libc::ENOENT, false),
            ("/home/me/go/bin/go", libc::ENOTDIR, false),
            ("/home/me/go/bin/go", libc::ESRCH, false),
            ("/home/me/go/bin/gofmt", libc::EACCES, false),
            ("/home/me/go/bin/go", libc::EACCES, true),
            ("/home/me/go/bin/go", libc::EACCES, false),
            ("/home/me/sdk/bin/go", libc::ESTALE, true),
            // We have too many files open, and know it.
            ("/usr/lib/go/bin/go", libc::EMFILE, false),
            // In another root.
            ("/usr/lib/go/bin/go", libc::EACCES, true),
        ] {
            let expected = is_told.then(|| path.to_owned());
            assert_eq!(told(path, number), expected, "{path} {number}");
        }
    }

    /// As any user may make one: a `go` command, and after it more zeros than there is memory.
    #[test]
    fn what_is_larger_than_any_go_command_is_not_read() {
        let toolchains = env::var_os("PROXYTRACE_GO_ROOT_DIR").map_or_else(
            || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache/proxytrace/go"),
            PathBuf::from,
        );
        let Ok(go) = fs::read(toolchains.join("1.27.3/go/bin/go")) else {
            return skip("no Go 1.27.3");
        };
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&go, 0).unwrap();
        assert!(read(&file).unwrap().is_ok());
        file.set_len(64 << 30).unwrap();
        assert!(read(&file).is_none());
    }
}
