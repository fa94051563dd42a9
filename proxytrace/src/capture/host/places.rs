//! Where Go toolchains usually are.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// On every machine.
const SYSTEM: [&str; 10] = [
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
    "/home/linuxbrew/.linuxbrew/opt/go*/bin/go",
];

/// Below the directory of a user: the module cache, golang.org/dl, and version managers.
const HOME: [&str; 7] = [
    "go/pkg/mod/golang.org/toolchain@*/bin/go",
    "sdk/go*/bin/go",
    ".gvm/gos/*/bin/go",
    ".goenv/versions/*/bin/go",
    ".asdf/installs/golang/*/go/bin/go",
    ".local/share/mise/installs/go/*/bin/go",
    ".local/go*/bin/go",
];

/// The `go` commands below a root that can be found without being executed. With ours, those that
/// the environment names.
pub(super) fn find(root: &Path) -> BTreeSet<PathBuf> {
    let passwd = fs::read_to_string(root.join("etc/passwd")).unwrap_or_default();
    let homes = homes(&passwd);
    let below = homes.iter().flat_map(|home| HOME.iter().map(move |path| format!("{home}/{path}")));
    let patterns = SYSTEM.iter().map(|path| (*path).to_owned()).chain(below);
    if root != Path::new("/") {
        let patterns = patterns.map(|pattern| format!("{}{pattern}", root.display()));
        return patterns
            .filter_map(|pattern| glob::glob(&pattern).ok())
            .flatten()
            .flatten()
            .collect();
    }
    let caches = ["GOMODCACHE", "GOROOT"].map(|name| env::var(name).ok());
    let [cache, root] = caches;
    let patterns = patterns
        .chain(cache.map(|cache| format!("{cache}/golang.org/toolchain@*/bin/go")))
        .chain(root.map(|root| format!("{root}/bin/go")));
    let found = patterns.filter_map(|pattern| glob::glob(&pattern).ok()).flatten().flatten();
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).map(|directory| directory.join("go"));
    let on_path: Vec<PathBuf> = on_path.filter(|go| go.is_file()).collect();
    // A link and what it leads to are one.
    on_path.into_iter().chain(found).filter_map(|path| fs::canonicalize(path).ok()).collect()
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
    use super::homes;

    #[test]
    fn people_have_homes() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/usr/sbin:/bin/false\n\
            a:x:1000:1000:A,,,:/home/a:/bin/sh\nb:x:1001:1001::/home/*:/bin/sh\n\
            nobody:x:65534:65534::/nonexistent:/bin/false\nbroken\n:::\n";
        assert_eq!(homes(passwd).into_iter().collect::<Vec<_>>(), ["/home/a", "/root"]);
    }
}
