//! The executable of a process that has become another program since, or that an interpreter runs,
//! by its path alone; and the path of one that could not be opened.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::executables::Identity;
use super::regular;

/// Opens what a process, where /proc has it, executed under this path. It and the links on the way
/// lead to where they lead to the process, which may have another root than we.
pub(super) fn open(process: &Path, exe: &Path) -> io::Result<File> {
    let path = if exe.is_absolute() { exe.to_owned() } else { directory(process)?.join(exe) };
    regular::try_open_below(&process.join("root"), &path)
}

/// The `go` that a process, where /proc has it, executed under this path, if it runs in another
/// file: the kernel has put an interpreter in its place, such as an emulator (`binfmt_misc`). A
/// script is no `go` command (`is_go`).
pub(super) fn interpreted(
    process: &Path,
    exe: &Path,
    runs: &File,
    is_go: impl Fn(&File) -> bool,
) -> Option<File> {
    if exe.file_name()? != "go" {
        return None;
    }
    let named = open(process, exe).ok()?;
    let is_other = Identity::of(&named).ok()? != Identity::of(runs).ok()?;
    // A `go` whose file was replaced meanwhile runs on.
    (is_other && is_go(&named) && !is_go(runs)).then_some(named)
}

/// By which path a process, where /proc has it, runs in what it executed under this one (`still`),
/// or has run in it. None if it has gone, or cannot be looked at: then that is what was refused,
/// whatever the file is like.
pub(super) fn path_of(process: &Path, exe: &str, still: bool) -> Option<PathBuf> {
    let link = |name: &str| fs::read_link(process.join(name)).ok();
    if still { link("exe") } else { link("root").map(|_| exe.into()) }
}

/// The working directory of a process, from its root.
fn directory(process: &Path) -> io::Result<PathBuf> {
    let (root, directory) =
        (fs::read_link(process.join("root"))?, fs::read_link(process.join("cwd"))?);
    let below = directory.strip_prefix(root).map_err(io::Error::other)?;
    Ok(Path::new("/").join(below))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    use super::*;

    /// `go` is a link in many an image.
    #[test]
    fn links_lead_to_where_they_lead_to_the_process() {
        let directory = tempfile::tempdir().unwrap();
        let (process, root) = (directory.path().join("process"), directory.path().join("root"));
        for made in [&process, &root.join("usr/bin"), &root.join("opt/go"), &root.join("work")] {
            fs::create_dir_all(made).unwrap();
        }
        fs::write(root.join("opt/go/go"), "theirs").unwrap();
        symlink("/opt/go/go", root.join("usr/bin/go")).unwrap();
        symlink("/../../opt", root.join("work/up")).unwrap();
        symlink(&root, process.join("root")).unwrap();
        symlink(root.join("work"), process.join("cwd")).unwrap();
        for exe in ["/usr/bin/go", "../usr/bin/go", "up/go/go", "/../../opt/go/go"] {
            let mut text = String::new();
            open(&process, exe.as_ref()).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "theirs", "{exe}");
        }
        // Of ours there is nothing to be had.
        symlink("/etc/passwd", root.join("work/link")).unwrap();
        for exe in ["link", "../../../../../../etc/passwd", "/work"] {
            assert!(open(&process, exe.as_ref()).is_err(), "{exe}");
        }
    }

    #[test]
    fn what_is_executed_may_run_in_an_interpreter() {
        let directory = tempfile::tempdir().unwrap();
        let (process, root) = (directory.path().join("process"), directory.path().join("root"));
        for made in [&process, &root] {
            fs::create_dir_all(made).unwrap();
        }
        let files =
            [("go", "theirs"), ("replaced", "theirs"), ("gofmt", "theirs"), ("emulator", "")];
        for (name, text) in files {
            fs::write(root.join(name), text).unwrap();
        }
        // As version managers have it.
        fs::create_dir_all(root.join("shims")).unwrap();
        fs::write(root.join("shims/go"), "").unwrap();
        symlink(&root, process.join("root")).unwrap();
        let is_go = |file: &File| file.metadata().unwrap().len() > 0;
        for (exe, runs, is_found) in [
            ("/go", "emulator", true),
            ("/go", "go", false),
            ("/go", "replaced", false),
            ("/shims/go", "emulator", false),
            ("/gofmt", "emulator", false),
            ("/nowhere/go", "emulator", false),
        ] {
            let runs = File::open(root.join(runs)).unwrap();
            let text = interpreted(&process, exe.as_ref(), &runs, is_go).map(|mut file| {
                let mut text = String::new();
                file.read_to_string(&mut text).unwrap();
                text
            });
            assert_eq!(text.as_deref(), is_found.then_some("theirs"), "{exe}");
        }
    }

    #[test]
    fn what_has_gone_has_no_path() {
        let process = tempfile::tempdir().unwrap();
        let named = || [true, false].map(|still| path_of(process.path(), "bin/go", still));
        let path = |name: &str| Some(PathBuf::from(name));
        assert_eq!(named(), [None, None]);
        symlink("/", process.path().join("root")).unwrap();
        assert_eq!(named(), [None, path("bin/go")]);
        // As on a server that lets root have the name alone.
        symlink("/opt/go/bin/go", process.path().join("exe")).unwrap();
        assert_eq!(named(), [path("/opt/go/bin/go"), path("bin/go")]);
    }
}
