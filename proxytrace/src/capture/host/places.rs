//! Where Go toolchains usually are.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use glob::Pattern;

use crate::capture::regular;
use crate::goenv::{self, Go};

/// On every machine.
const SYSTEM: [&str; 9] = [
    "/usr/bin/go",
    "/usr/local/bin/go",
    "/usr/local/go*/bin/go",
    "/usr/lib/go/bin/go",
    "/usr/lib/go-*/bin/go",
    "/usr/lib/golang/bin/go",
    "/opt/go*/bin/go",
    // Runners of GitHub and of Azure.
    "/opt/hostedtoolcache/go/*/*/bin/go",
    "/snap/go/current/bin/go",
];

/// Among the directories of users, which may be on another machine.
const BREW: &str = "/home/linuxbrew/.linuxbrew/opt/go*/bin/go";

/// Below the directory of a user: the module cache where nobody says otherwise, golang.org/dl, and
/// version managers.
const HOME: [&str; 7] = [
    "go/pkg/mod/golang.org/toolchain@*/bin/go",
    "sdk/go*/bin/go",
    ".gvm/gos/*/bin/go",
    ".goenv/versions/*/bin/go",
    ".asdf/installs/golang/*/go/bin/go",
    ".local/share/mise/installs/go/*/bin/go",
    ".local/go*/bin/go",
];

/// Below a module cache: those that go itself downloads.
const DOWNLOADED: &str = "/golang.org/toolchain@*/bin/go";

/// So many entries of a directory are looked at: anybody may have more than there is memory for.
const ENTRIES_MAX: usize = 1 << 16;
/// So many toolchains are found in all, and in the directory of one user. The others get probes
/// when somebody executes them, as most of these do.
const PLACES_MAX: usize = 4096;
/// See [`PLACES_MAX`].
const OF_HOME_MAX: usize = 1024;

/// The `go` commands of the machine below a root that can be found without being executed. With ours,
/// those that the environment names.
pub(crate) fn of_machine(root: &Path) -> BTreeSet<PathBuf> {
    let usual = SYSTEM.iter().flat_map(|path| below(root, path)).take(PLACES_MAX);
    if root != Path::new("/") {
        return usual.collect();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let goroot = env::var_os("GOROOT").filter(|goroot| !goroot.is_empty());
    let named = env::split_paths(&path)
        .chain(goroot.map(|goroot| Path::new(&goroot).join("bin")))
        .map(|directory| directory.join("go"))
        .filter(|go| go.is_file());
    whole(named.chain(usual))
}

/// Those of its users. With ours, those in our own module cache.
pub(super) fn of_users(root: &Path) -> BTreeSet<PathBuf> {
    let passwd = fs::read_to_string(root.join("etc/passwd")).unwrap_or_default();
    let homes = homes(&passwd);
    let of_home = |home: &&str| {
        let environment = [("HOME".to_owned(), (*home).to_owned())];
        let usual = HOME.iter().flat_map(|path| below(root, &format!("{home}/{path}")));
        let found = usual.chain(in_module_cache(&environment, root));
        found.take(OF_HOME_MAX).collect::<Vec<_>>()
    };
    let of_homes = homes.iter().flat_map(of_home);
    let all = below(root, BREW).into_iter().chain(of_homes).take(PLACES_MAX);
    if root != Path::new("/") {
        return all.collect();
    }
    let environment: Vec<(String, String)> = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    whole(all.chain(in_module_cache(&environment, root)))
}

/// What there is of a pattern below a root.
fn below(root: &Path, pattern: &str) -> Vec<PathBuf> {
    let mut found = vec![root.to_owned()];
    for name in pattern.split('/').filter(|name| !name.is_empty()) {
        found = match Pattern::new(name) {
            Ok(pattern) if name.contains('*') => {
                let within = found.iter().flat_map(|place| matching(place, &pattern));
                within.take(PLACES_MAX).collect()
            }
            _ => found.into_iter().map(|place| place.join(name)).collect(),
        };
    }
    found.retain(|path| path.exists());
    found
}

/// A link and what it leads to are one.
fn whole(paths: impl Iterator<Item = PathBuf>) -> BTreeSet<PathBuf> {
    paths.filter_map(|path| fs::canonicalize(path).ok()).collect()
}

/// The `go` commands in the module cache of one with this environment.
fn in_module_cache(environment: &[(String, String)], root: &Path) -> Vec<PathBuf> {
    let Some(cache) = module_cache(environment, root) else { return Vec::new() };
    // It is the user's word: no part of a pattern, which could have us look through all directories.
    below(&root.join(cache.trim_start_matches('/')), DOWNLOADED)
}

/// Where the module cache of a `go` with this environment is. The file of its user (`go env -w`) is
/// found below the root.
fn module_cache(environment: &[(String, String)], root: &Path) -> Option<String> {
    let read = |path: &Path| regular::small_file(regular::open_below(root, path)?);
    let go = Go { exe: Path::new(""), version: "" };
    let (cache, _) = goenv::secret(environment, go, &read).remove("GOMODCACHE")?;
    cache.starts_with('/').then_some(cache)
}

/// What is in a directory under such a name.
fn matching(directory: &Path, pattern: &Pattern) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().take(ENTRIES_MAX).flatten();
    let is_one = move |entry: &fs::DirEntry| {
        entry.file_name().to_str().is_some_and(|name| pattern.matches(name))
    };
    entries.filter(is_one).map(|entry| entry.path())
}

/// The directories of those who can log in, root first.
fn homes(passwd: &str) -> BTreeSet<&str> {
    let home = |line| {
        let mut fields = str::split(line, ':').skip(2);
        let (uid, home) = (fields.next()?.parse::<u32>().ok()?, fields.nth(2)?);
        let is_person = uid == 0 || (1000..60_000).contains(&uid);
        // A pattern in it would be one of ours.
        let is_plain = home.len() > 1 && home.starts_with('/') && !home.contains(['*', '?', '[']);
        (is_person && is_plain).then_some(home)
    };
    passwd.lines().filter_map(home).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::{OF_HOME_MAX, homes, in_module_cache, module_cache, of_machine, of_users};

    #[test]
    fn people_have_homes() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/usr/sbin:/bin/false\n\
            a:x:1000:1000:A,,,:/home/a:/bin/sh\nb:x:1001:1001::/home/*:/bin/sh\n\
            nobody:x:65534:65534::/nonexistent:/bin/false\nbroken\n:::\n";
        assert_eq!(homes(passwd).into_iter().collect::<Vec<_>>(), ["/home/a", "/root"]);
    }

    #[test]
    fn toolchains_are_found_below_a_root() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| -> PathBuf {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            path
        };
        put(
            "etc/passwd",
            "root:x:0:0::/root:/bin/sh\na:x:1000:1000::/home/a:/bin/sh\n\
             b:x:1001:1001::/home/b:/bin/sh\nc:x:1002:1002::/home/c:/bin/sh\n\
             daemon:x:2:2::/var/daemon:/bin/false\n",
        );
        // What `go env -w` writes. A file that is elsewhere is one below the same root.
        put("home/a/.config/go/env", "GOPATH=/srv/a:/srv/more\n");
        put("home/b/.config/go/env", "GOMODCACHE=/cache/[b]*\n");
        put("etc/c.env", "GOPATH=/opt/ignored\nGOMODCACHE=/cache/c\n");
        fs::create_dir_all(root.path().join("home/c/.config/go")).unwrap();
        let link = root.path().join("home/c/.config/go/env");
        symlink("/etc/c.env", link).unwrap();
        let expected = [
            "usr/bin/go",
            "usr/local/bin/go",
            "usr/local/go/bin/go",
            "usr/local/go1.26.6/bin/go",
            "usr/lib/go/bin/go",
            "usr/lib/go-1.24/bin/go",
            "usr/lib/golang/bin/go",
            "opt/go1.27.3/bin/go",
            "opt/hostedtoolcache/go/1.27.3/x64/bin/go",
            "snap/go/current/bin/go",
            "home/linuxbrew/.linuxbrew/opt/go@1.26/bin/go",
            "root/go/pkg/mod/golang.org/toolchain@v0.0.1-go1.27.3.linux-amd64/bin/go",
            "root/sdk/go1.27.3/bin/go",
            "home/a/.gvm/gos/go1.27.3/bin/go",
            "home/a/.goenv/versions/1.27.3/bin/go",
            "home/a/.asdf/installs/golang/1.27.3/go/bin/go",
            "home/b/.local/share/mise/installs/go/1.27.3/bin/go",
            "home/b/.local/go/bin/go",
            "srv/a/pkg/mod/golang.org/toolchain@v0.0.1-go1.27.3.linux-amd64/bin/go",
            "cache/[b]*/golang.org/toolchain@v0.0.1-go1.27.3.linux-amd64/bin/go",
            "cache/c/golang.org/toolchain@v0.0.1-go1.27.3.linux-amd64/bin/go",
        ];
        let expected = expected.map(|path| put(path, ""));
        for other in [
            "var/daemon/sdk/go1.27.3/bin/go",
            "cache/b1/golang.org/toolchain@v0.0.1-go1.27.3.linux-amd64/bin/go",
            "srv/more/pkg/mod/golang.org/toolchain@v0.0.1-go1.27.3.linux-amd64/bin/go",
            "usr/bin/gofmt",
        ] {
            put(other, "");
        }
        let found = of_machine(root.path()).into_iter().chain(of_users(root.path()));
        assert_eq!(found.collect::<BTreeSet<_>>(), BTreeSet::from(expected));
    }

    /// As anybody can have them, for nothing.
    #[test]
    fn one_user_does_not_take_all_places() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        let passwd = "a:x:1000:1000::/home/a:/bin/sh\nb:x:1001:1001::/home/b:/bin/sh\n";
        fs::write(root.path().join("etc/passwd"), passwd).unwrap();
        let (a, b) = (root.path().join("home/a/sdk"), root.path().join("home/b/sdk"));
        for sdk in [&a, &b] {
            fs::create_dir_all(sdk.join("go1.27.3/bin")).unwrap();
            fs::write(sdk.join("go1.27.3/bin/go"), "").unwrap();
        }
        for number in 0..OF_HOME_MAX {
            symlink("go1.27.3", a.join(format!("go{number}"))).unwrap();
        }
        let found = of_users(root.path());
        assert_eq!(found.iter().filter(|path| path.starts_with(&a)).count(), OF_HOME_MAX);
        assert!(found.contains(&b.join("go1.27.3/bin/go")));
    }

    #[test]
    fn the_environment_says_where_the_module_cache_is() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/go.env"), "GOPATH=/f\n").unwrap();
        let cache = |environment: &[(&str, &str)]| {
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            let environment: Vec<_> = environment.iter().map(owned).collect();
            module_cache(&environment, root.path())
        };
        let (home, gopath) = (("HOME", "/h"), ("GOPATH", "/p:/q"));
        assert_eq!(cache(&[home, gopath, ("GOMODCACHE", "/m")]).as_deref(), Some("/m"));
        assert_eq!(cache(&[home, gopath, ("GOMODCACHE", "")]).as_deref(), Some("/p/pkg/mod"));
        assert_eq!(cache(&[home]).as_deref(), Some("/h/go/pkg/mod"));
        let file = ("GOENV", "/etc/go.env");
        assert_eq!(cache(&[home, file]).as_deref(), Some("/f/pkg/mod"));
        assert_eq!(cache(&[home, file, gopath]).as_deref(), Some("/p/pkg/mod"));
        // Anybody may say so, of a directory of theirs.
        for hostile in ["/".repeat(1 << 20), "/*".repeat(1 << 16), "/[/..".repeat(1 << 12)] {
            let environment = [("GOMODCACHE".to_owned(), hostile)];
            assert!(in_module_cache(&environment, root.path()).is_empty());
        }
        // go takes none of these.
        for wrong in [&[("GOMODCACHE", "m")][..], &[("GOPATH", "~/go")], &[]] {
            assert_eq!(cache(wrong), None, "{wrong:?}");
        }
    }
}
