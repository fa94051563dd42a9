//! Plans of earlier runs: the `go` that was analysed once is not analysed again.
//!
//! A plan is one file's: of its device, inode, size and time of change, which nobody can set
//! (inode(7)) but who serves the file system itself, as with FUSE. Not of its build id: whoever gives
//! that of a release to a file of their own would have probes put where nothing was proven. At every
//! address there must be the code that was there when it was proven, too.
//!
//! The files are in the cache directory of the user that we are, and nobody else may write there.
//! Where the program has rights that this user lacks, the user is somebody else, too. What is not
//! as we wrote it is no plan. What cannot be written is not: nothing depends on it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::unistd::{Uid, User, geteuid, getuid};
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use serde::{Deserialize, Serialize};

use super::executables::Identity;
use super::rights;
use crate::gobinary::{BuildInfo, Plan};

/// Below the user's caches.
const PLACE: [&str; 2] = ["proxytrace", "plans"];
/// Set by systemd to the directory of `CacheDirectory=`.
const OF_SERVICE: &str = "CACHE_DIRECTORY";
const EXTENSION: &str = "plan";
/// The largest file that is read, in bytes; a plan of Go 1.27 has about 17 KB.
const SIZE_MAX: u64 = 1 << 20;
/// So many files stay, those used last: containers bring new files of the same `go` without end.
const FILES_MAX: usize = 64;
/// A file can be written to again within the same time of change, as its clock has it. After so
/// long it cannot.
const SETTLED: Duration = Duration::from_secs(2);
/// Bytes of code that are compared at an address.
const CODE: usize = 8;

/// The plans of the user that we are.
#[derive(Debug)]
pub(super) struct Plans {
    directory: PathBuf,
    /// Ours: another planner is another program.
    program: Identity,
}

/// A file's content, after the digest of the rest.
#[derive(Deserialize, Serialize)]
struct Kept<P> {
    program: Identity,
    executable: Identity,
    code: Vec<[u8; CODE]>,
    plan: P,
}

impl Plans {
    /// None where there is no place that is ours alone.
    pub(super) fn of_user() -> Option<Self> {
        Self::below(&caches()?, getuid(), rights::are_of_the_file())
    }

    /// None for a user to whom the program's file gave rights: a plan that they forge would do what
    /// they may not. Root's start may be secure as well, by a transition of `SELinux`; root may do it
    /// anyway.
    fn below(caches: &Path, user: Uid, is_secure: bool) -> Option<Self> {
        if is_secure && !user.is_root() {
            return None;
        }
        let program = Identity::of(&File::open("/proc/self/exe").ok()?).ok()?;
        Some(Self { directory: private(caches).ok()?, program })
    }

    /// The plan of a file that has been built so, if one was kept.
    pub(super) fn find(&self, file: Identity, build: &BuildInfo, data: &[u8]) -> Option<Plan> {
        let bytes = read(&self.path(file)).ok()?;
        let (sum, payload) = bytes.split_at_checked(SHA256_OUTPUT_LEN)?;
        if digest(&SHA256, payload).as_ref() != sum {
            return None;
        }
        let kept: Kept<Plan> = postcard::from_bytes(payload).ok()?;
        let is_ours = kept.program == self.program
            && kept.executable == file
            && kept.plan.build == *build
            && code(&kept.plan, data).as_ref() == Some(&kept.code);
        if !is_ours {
            return None;
        }
        // Others make room for it that nobody has used for longer.
        let _ = File::open(self.path(file)).and_then(|plan| plan.set_modified(SystemTime::now()));
        Some(kept.plan)
    }

    /// Keeps the plan of a file that nobody has written to lately.
    pub(super) fn keep(&self, file: Identity, plan: &Plan, data: &[u8]) {
        let Some(code) = code(plan, data).filter(|_| file.is_settled()) else { return };
        let kept = Kept { program: self.program, executable: file, code, plan };
        let Ok(payload) = postcard::to_stdvec(&kept) else { return };
        let bytes = [digest(&SHA256, &payload).as_ref(), &payload].concat();
        // It would not be read.
        if bytes.len() as u64 > SIZE_MAX {
            return;
        }
        // Without it the next run takes longer.
        let _ = write(&self.path(file), &bytes).and_then(|()| self.prune());
    }

    fn path(&self, file: Identity) -> PathBuf {
        let name = format!("{:x}-{:x}", file.device, file.inode);
        self.directory.join(name).with_extension(EXTENSION)
    }

    fn prune(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == EXTENSION) {
                // One that is gone meanwhile was another's to prune.
                let Ok(metadata) = path.symlink_metadata() else { continue };
                files.push((metadata.modified()?, path));
            }
        }
        files.sort();
        let surplus = files.len().saturating_sub(FILES_MAX);
        files[..surplus].iter().try_for_each(|(_, path)| fs::remove_file(path))
    }
}

impl Identity {
    fn is_settled(self) -> bool {
        let (Ok(seconds), Ok(nanoseconds)) = (self.changed.0.try_into(), self.changed.1.try_into())
        else {
            return false;
        };
        let changed = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds);
        SystemTime::now().duration_since(changed).is_ok_and(|age| age > SETTLED)
    }
}

/// What is at the addresses of a plan.
fn code(plan: &Plan, data: &[u8]) -> Option<Vec<[u8; CODE]>> {
    let at = |offset: u64| {
        let (_, rest) = data.split_at_checked(usize::try_from(offset).ok()?)?;
        rest.first_chunk().copied()
    };
    plan.sites.iter().map(|site| at(site.offset)).collect()
}

/// Where the user that we are has caches, or the service that we are. What sudo left in the environment
/// is another's, as is what a service has that started us.
fn caches() -> Option<PathBuf> {
    let of_service = std::env::var_os(OF_SERVICE).map(PathBuf::from);
    let of_service = of_service.filter(|path| path.is_absolute() && path.ends_with(PLACE[0]));
    if let Some(above) = of_service.as_deref().and_then(Path::parent) {
        return Some(above.to_owned());
    }
    let chosen = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let is_ours = std::env::var_os("SUDO_UID").is_none();
    chosen
        .filter(|path| is_ours && path.is_absolute())
        .or_else(|| Some(User::from_uid(geteuid()).ok()??.dir.join(".cache")))
}

/// Our directory there, made if it is not there; an error if others could have a hand in it.
fn private(caches: &Path) -> io::Result<PathBuf> {
    let mut directory = caches.to_owned();
    for name in [None].into_iter().chain(PLACE.map(Some)) {
        directory.extend(name);
        match DirBuilder::new().mode(0o700).create(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        // Where the caches are may be a link of ours, as many have them on another disk.
        let metadata =
            if name.is_none() { directory.metadata()? } else { directory.symlink_metadata()? };
        let is_ours = metadata.is_dir() && metadata.uid() == geteuid().as_raw();
        if !is_ours || metadata.mode() & 0o022 != 0 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
    }
    Ok(directory)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.uid() != geteuid().as_raw() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let mut bytes = Vec::new();
    file.take(SIZE_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whole or not at all, whoever else writes the same.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let _ = fs::remove_file(&beside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)
        .and_then(|()| fs::rename(&beside, path))
        .inspect_err(|_| drop(fs::remove_file(&beside)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use proxytrace_common::plan::{Layout, Recipe};
    use proxytrace_common::record::Kind;
    use tempfile::TempDir;

    use super::*;
    use crate::event::MissingHook;
    use crate::gobinary::{Machine, Site, Step};

    const DATA: &[u8; 64] = &[0x55; 64];

    fn build() -> BuildInfo {
        BuildInfo { go_version: "go1.27.3".into(), main_package: "cmd/go".into() }
    }

    fn plan() -> Plan {
        let site = |offset| Site {
            hook: "main.main".into(),
            offset,
            recipe: Recipe::marker(Kind::Start),
            step: Step::Emulated,
        };
        Plan {
            build: build(),
            machine: Machine::HOST,
            layout: Layout { goid: 152, parent_goid: 272, map: 1 },
            sites: vec![site(3), site(40)],
            types: Vec::new(),
            type_names: [(0x1000, "*net.OpError".into())].into(),
            hooks: vec!["main.main".into()],
            missing: vec![MissingHook { hook: "f".into(), reason: "absent".into() }],
            nearest: None,
        }
    }

    fn file(inode: u64) -> Identity {
        Identity { device: 1, inode, size: 64, changed: (1_700_000_000, 5) }
    }

    fn plans() -> (TempDir, Plans) {
        let home = tempfile::tempdir().unwrap();
        let directory = private(&home.path().join(".cache")).unwrap();
        (home, Plans { directory, program: file(1) })
    }

    #[test]
    fn a_plan_comes_back_as_it_was() {
        let (_home, plans) = plans();
        assert!(plans.find(file(2), &build(), DATA).is_none());
        plans.keep(file(2), &plan(), DATA);
        assert_eq!(plans.find(file(2), &build(), DATA).unwrap(), plan());
    }

    #[test]
    fn a_file_that_is_not_the_one_has_none() {
        let (_home, mut plans) = plans();
        plans.keep(file(2), &plan(), DATA);
        for other in [
            Identity { device: 2, ..file(2) },
            Identity { size: 65, ..file(2) },
            Identity { changed: (1_700_000_000, 6), ..file(2) },
            file(3),
        ] {
            // Even where it has come to be under the name of that file.
            let _ = fs::copy(plans.path(file(2)), plans.path(other));
            assert!(plans.find(other, &build(), DATA).is_none(), "{other:?}");
        }
        let mut patched = *DATA;
        patched[44] = 0xcc;
        assert!(plans.find(file(2), &build(), &patched).is_none());
        assert!(plans.find(file(2), &build(), &DATA[..41]).is_none());
        let older = BuildInfo { go_version: "go1.27.2".into(), ..build() };
        assert!(plans.find(file(2), &older, DATA).is_none());
        plans.program = file(9);
        assert!(plans.find(file(2), &build(), DATA).is_none());
    }

    #[test]
    fn one_that_was_written_to_just_now_is_not_kept() {
        let (_home, plans) = plans();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let fresh = Identity { changed: (now.try_into().unwrap(), 0), ..file(2) };
        plans.keep(fresh, &plan(), DATA);
        assert!(!plans.path(fresh).exists());
    }

    #[test]
    fn what_is_not_as_it_was_written_is_no_plan() {
        let (_home, plans) = plans();
        plans.keep(file(2), &plan(), DATA);
        let path = plans.path(file(2));
        let whole = fs::read(&path).unwrap();
        for place in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[place] ^= 1;
            fs::write(&path, &damaged).unwrap();
            assert!(plans.find(file(2), &build(), DATA).is_none(), "byte {place}");
            fs::write(&path, &whole[..place]).unwrap();
            assert!(plans.find(file(2), &build(), DATA).is_none(), "cut at {place}");
        }
        fs::write(&path, &whole).unwrap();
        assert!(plans.find(file(2), &build(), DATA).is_some());
    }

    #[test]
    fn nothing_that_another_may_write_to_is_ours() {
        let home = tempfile::tempdir().unwrap();
        let caches = home.path().join(".cache");
        let directory = private(&caches).unwrap();
        assert_eq!(directory.metadata().unwrap().mode() & 0o777, 0o700);
        let above = directory.parent().unwrap();
        for path in [caches.as_path(), above, directory.as_path()] {
            let before = path.metadata().unwrap().permissions();
            fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
            assert!(private(&caches).is_err(), "{}", path.display());
            fs::set_permissions(path, before).unwrap();
        }
        // A link to anywhere, in place of a directory and in place of a plan.
        for path in [above, directory.as_path()] {
            let elsewhere = home.path().join("elsewhere");
            fs::rename(path, &elsewhere).unwrap();
            symlink(&elsewhere, path).unwrap();
            assert!(private(&caches).is_err(), "{}", path.display());
            fs::remove_file(path).unwrap();
            fs::rename(&elsewhere, path).unwrap();
        }
        assert!(private(&caches).is_ok());

        let (_home, plans) = plans();
        plans.keep(file(2), &plan(), DATA);
        let path = plans.path(file(2));
        fs::rename(&path, path.with_extension("moved")).unwrap();
        symlink(path.with_extension("moved"), &path).unwrap();
        assert!(plans.find(file(2), &build(), DATA).is_none());
    }

    #[test]
    fn whoever_has_their_rights_from_the_program_is_not_believed() {
        let home = tempfile::tempdir().unwrap();
        let cases = [(0, false, true), (0, true, true), (1000, false, true), (1000, true, false)];
        for (user, is_secure, is_believed) in cases {
            let plans = Plans::below(home.path(), Uid::from_raw(user), is_secure);
            assert_eq!(plans.is_some(), is_believed, "{user} {is_secure}");
        }
    }

    #[test]
    fn the_youngest_stay() {
        let (_home, plans) = plans();
        for inode in 0..FILES_MAX as u64 + 3 {
            plans.keep(file(inode), &plan(), DATA);
            let age = Duration::from_secs(1_000 + inode);
            let written = File::open(plans.path(file(inode))).unwrap();
            written.set_modified(SystemTime::UNIX_EPOCH + age).unwrap();
        }
        let files = fs::read_dir(&plans.directory).unwrap().count();
        assert_eq!(files, FILES_MAX);
        assert!(plans.find(file(2), &build(), DATA).is_none());
        assert!(plans.find(file(3), &build(), DATA).is_some());
    }
}
