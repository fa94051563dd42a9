//! What go would read here: the modules that are required, and the sums that it has of them.

use std::cell::RefCell;
use std::collections::HashSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use super::Error;
use super::settings::{Module, Settings, required};
use super::trace::WALKER;
use crate::event::Surroundings;
use crate::gomod::sources::{Read, main_files};
use crate::model::Process;

/// What the files say that go is told by in the working directory.
#[derive(Debug, Default)]
pub(super) struct Here {
    /// The go.mod and go.work files.
    pub(super) files: Vec<PathBuf>,
    /// The first modules that they require, and that are no part of the workspace.
    pub(super) modules: Vec<Module>,
    /// The lines of `go.sum`, `go.work.sum` and their like.
    pub(super) sums: String,
}

impl Here {
    /// Reads them, and of the required modules so many at most. A file that is there and cannot be
    /// read is an error, but for a run whose modules are named (`named`): a go that is told them may
    /// read none of these files (`go install`).
    pub(super) fn read(settings: &Settings, most: usize, named: bool) -> Result<Self, Error> {
        match env::current_dir().map(|found| as_named(settings.variable("PWD"), found)) {
            Ok(directory) => Self::read_in(&directory, settings, most, named),
            Err(_) if named => Ok(Self::default()),
            Err(error) => Err(error.into()),
        }
    }

    fn read_in(
        directory: &Path,
        settings: &Settings,
        most: usize,
        named: bool,
    ) -> Result<Self, Error> {
        let failed = RefCell::new(None);
        let read = |path: &Path| {
            text_of(path).unwrap_or_else(|error| {
                failed.borrow_mut().get_or_insert((path.to_owned(), error));
                None
            })
        };
        let here = Self::of(&process(settings, directory), most, &read);
        match failed.take().filter(|_| !named) {
            Some((path, error)) => Err(Error::Unreadable(path, error)),
            None => Ok(here),
        }
    }

    fn of(process: &Process, most: usize, read: Read<'_>) -> Self {
        // What is given by -modfile or GOWORK may not be there.
        let found = main_files(process, read).into_iter();
        let (files, texts): (Vec<PathBuf>, Vec<String>) =
            found.filter_map(|file| read(&file).map(|text| (file, text))).unzip();
        let own: HashSet<&str> = texts.iter().filter_map(|text| module_of(text)).collect();
        // Together, as the lines of go.work replace for all.
        let mut modules = required(&texts.join("\n"));
        let mut seen = HashSet::new();
        modules.retain(|Module { path, query }| {
            !own.contains(path.as_str()) && seen.insert((path.clone(), query.clone()))
        });
        modules.truncate(most);
        let sums = files.iter().filter_map(|file| read(&sums_of(file))).collect::<Vec<_>>();
        Self { files, modules, sums: sums.join("\n") }
    }
}

/// The working directory by the name that go has for it: that in PWD, if it is one
/// (`os/getwd.go:Getwd`).
fn as_named(pwd: &str, directory: PathBuf) -> PathBuf {
    let pwd = Path::new(pwd);
    let id = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    let is_same = pwd.is_absolute() && id(pwd).is_some_and(|it| id(&directory) == Some(it));
    if is_same { pwd.to_owned() } else { directory }
}

/// A go command that would run in this directory.
fn process(settings: &Settings, directory: &Path) -> Process {
    let directory = Some(directory.to_string_lossy().into_owned());
    Process {
        id: WALKER,
        pid: 0,
        parent: None,
        argv: Vec::new(),
        exe: String::new(),
        go_version: None,
        config: settings.redacted(),
        started_ns: 0,
        ended_ns: None,
        exit_code: None,
        signal: None,
        stderr_tail: None,
        surroundings: Surroundings { directory, ..Surroundings::default() },
    }
}

/// The text of a file; none where there is no such file, or no way to it: go looks on above. Bytes that
/// are no text may stand in a comment.
fn text_of(path: &Path) -> io::Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if path.is_file() => Err(error),
        Err(_) => Ok(None),
    }
}

/// Where go keeps the sums of a go.mod or a go.work (`modload/init.go:loadModFile`).
fn sums_of(file: &Path) -> PathBuf {
    if file.extension().is_some_and(|extension| extension == "mod") {
        return file.with_extension("sum");
    }
    let mut name = file.as_os_str().to_owned();
    name.push(".sum");
    name.into()
}

/// The module that a go.mod is of.
fn module_of(go_mod: &str) -> Option<&str> {
    let mut modules = go_mod.lines().filter_map(|line| {
        let rest = line.trim_start().strip_prefix("module")?;
        let rest = rest.starts_with(char::is_whitespace).then_some(rest)?;
        rest.split_whitespace().next()
    });
    modules.next().map(|module| module.trim_matches(['"', '`']))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// What go would be told in `/w/sub` with this value of GOFLAGS and these files: the files, the
    /// modules, and the sums.
    fn told(flags: &str, texts: &[(&str, &str)]) -> (String, String, String) {
        let environment = [("GOFLAGS".to_owned(), flags.to_owned())];
        let settings = Settings::of(environment.into(), Path::new(""), &|_| None);
        let read = |path: &Path| {
            let found = texts.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| (*text).to_owned())
        };
        let here = Here::of(&process(&settings, Path::new("/w/sub")), 3, &read);
        let files: Vec<_> = here.files.iter().map(|file| file.to_string_lossy()).collect();
        let modules: Vec<_> =
            here.modules.iter().map(|it| format!("{}@{}", it.path, it.query)).collect();
        (files.join(" "), modules.join(" "), here.sums)
    }

    #[test]
    fn the_files_are_those_of_go() {
        let go_mod = "module m.lab/m\nrequire a.lab/a v1.0.0\n";
        let files = [("/w/go.mod", go_mod), ("/w/go.sum", "sums"), ("/w/ci.sum", "others")];
        let of = |files: &str, modules: &str, sums: &str| {
            (files.to_owned(), modules.to_owned(), sums.to_owned())
        };
        assert_eq!(told("", &files), of("/w/go.mod", "a.lab/a@v1.0.0", "sums"));
        let ci = ("/w/ci.mod", "require b.lab/b v1.0.0\n");
        let with = [&files[..], &[ci]].concat();
        assert_eq!(told("-modfile=/w/ci.mod", &with), of("/w/ci.mod", "b.lab/b@v1.0.0", "others"));
        assert_eq!(told("", &[]), of("", "", ""));
    }

    #[test]
    fn modules_of_a_workspace_are_asked_of_nobody() {
        let files = [
            ("/w/go.work", "use ./a\nuse ./b\nreplace r.lab/r => ./r\n"),
            ("/w/go.work.sum", "work"),
            ("/w/a/go.mod", "module w.lab/a\nrequire w.lab/b v1.0.0\nrequire r.lab/r v1.0.0\n"),
            ("/w/b/go.mod", "module \"w.lab/b\"\nrequire c.lab/c v1.0.0\n"),
            ("/w/b/go.sum", "b"),
        ];
        let (_, modules, sums) = told("", &files);
        assert_eq!((&*modules, &*sums), ("c.lab/c@v1.0.0", "b\nwork"));
    }

    /// What go finds above depends on it.
    #[test]
    fn the_working_directory_has_the_name_of_pwd() {
        let root = tempfile::tempdir().unwrap();
        let (app, link) = (root.path().join("app"), root.path().join("ws/app"));
        fs::create_dir_all(&app).unwrap();
        fs::create_dir(root.path().join("ws")).unwrap();
        symlink(&app, &link).unwrap();
        for (pwd, expected) in [
            (link.to_str().unwrap(), &link),
            (app.to_str().unwrap(), &app),
            (root.path().to_str().unwrap(), &app),
            ("/nonexistent", &app),
            (".", &app),
            ("", &app),
        ] {
            assert_eq!(as_named(pwd, app.clone()), *expected, "{pwd}");
        }
    }

    #[test]
    fn what_is_there_and_cannot_be_read_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("go.mod");
        assert!(matches!(text_of(&file), Ok(None)));
        assert!(matches!(text_of(directory.path()), Ok(None)));
        fs::write(&file, b"// \xff\nmodule m\n").unwrap();
        assert_eq!(text_of(&file).unwrap().as_deref(), Some("// \u{fffd}\nmodule m\n"));
        fs::remove_file(&file).unwrap();
        // Nothing is at the beginning of our memory, whoever we are.
        symlink("/proc/self/mem", &file).unwrap();
        assert!(text_of(&file).is_err());
        let settings = Settings::of(Vec::new(), Path::new(""), &|_| None);
        let read = |named| Here::read_in(directory.path(), &settings, 3, named);
        assert!(matches!(read(false), Err(Error::Unreadable(path, _)) if path == file));
        assert!(read(true).is_ok());
    }
}
