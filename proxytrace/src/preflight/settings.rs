//! What go would be told here: its settings, with their secrets, and the modules to ask about.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use super::address::{Address, is_encoded, is_international};
use super::query::Query;
use crate::event::{Origin, Setting};
use crate::gomod::{self, Asked};
use crate::goproxy::{self, List, is_keyword};
use crate::gosumdb::Database;
use crate::{capture, goenv, redact};

/// A release that has no `go.env`: the defaults are built in.
const WITHOUT_GO_ENV: &str = "go1.20";

/// The settings of the go command that would run here.
pub(super) struct Settings {
    values: BTreeMap<String, (String, Origin)>,
    environment: BTreeMap<String, String>,
    /// GOPROXY as it is, secrets and all.
    pub(super) list: List,
}

/// A module, and which version of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Module {
    pub(super) path: String,
    /// A version, or what go calls a query: `latest`, a branch, a commit.
    pub(super) query: String,
}

impl Settings {
    pub(super) fn read() -> Self {
        // Of whoever called sudo, should somebody have thought that it needs root.
        let environment: Vec<(String, String)> = capture::environment_of_caller()
            .into_iter()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let path = environment.iter().find(|(name, _)| name == "PATH");
        let exe = path.and_then(|(_, path)| find_go(path.as_ref())).unwrap_or_default();
        Self::of(environment, &exe, &text_of)
    }

    /// Of a go at `exe` with this environment; `read` gives the texts of files.
    pub(super) fn of(
        environment: Vec<(String, String)>,
        exe: &Path,
        read: &dyn Fn(&Path) -> Option<String>,
    ) -> Self {
        // Without a `go.env` go is an older one or was not found: it has the defaults as well.
        let mut go = goenv::Go { exe, version: "" };
        if !goenv::has_go_env(&environment, go, read) {
            go.version = WITHOUT_GO_ENV;
        }
        let values = goenv::secret(&environment, go, read);
        let raw = values.iter().map(|(name, (value, origin))| {
            (name.clone(), Setting { value: value.clone(), origin: *origin })
        });
        let list = List::of(&raw.collect());
        Self { values, environment: environment.into_iter().collect(), list }
    }

    pub(super) fn get(&self, name: &str) -> &str {
        self.values.get(name).map_or("", |(value, _)| value.as_str())
    }

    pub(super) fn variable(&self, name: &str) -> &str {
        self.environment.get(name).map_or("", String::as_str)
    }

    /// As they may be shown.
    pub(super) fn redacted(&self) -> BTreeMap<String, Setting> {
        let shown = self.values.iter().map(|(name, (value, origin))| {
            (name.clone(), Setting { value: redact::setting(name, value), origin: *origin })
        });
        shown.collect()
    }

    /// The text of the netrc file, if go would read it.
    pub(super) fn netrc(&self) -> Option<String> {
        let file = self.netrc_file().filter(|_| goenv::reads_netrc(self.get("GOAUTH")))?;
        text_of(&file)
    }

    /// None where nothing says where it is: not the one of the working directory then
    /// (`auth/netrc.go:netrcPath`).
    fn netrc_file(&self) -> Option<PathBuf> {
        match (self.variable("NETRC"), self.variable("HOME")) {
            ("", "") => None,
            ("", home) => Some(Path::new(home).join(".netrc")),
            (file, _) => Some(PathBuf::from(file)),
        }
    }

    /// Whether GOAUTH names commands that may have credentials.
    pub(super) fn has_credential_commands(&self) -> bool {
        let commands = self.get("GOAUTH").split(';');
        let mut methods = commands.filter_map(|command| command.split_whitespace().next());
        methods.any(|method| !matches!(method, "netrc" | "off"))
    }

    /// What GOAUTH has, so that go since 1.24 ends before it asks anybody over https
    /// (`auth/auth.go:runGoAuth`).
    pub(super) fn goauth_fault(&self) -> Option<&'static str> {
        let commands: Vec<&str> = self.get("GOAUTH").split(';').collect();
        commands.iter().find_map(|command| {
            let words: Vec<&str> = command.split_whitespace().collect();
            match words.as_slice() {
                [] => Some("an empty command"),
                ["off", ..] if commands.len() > 1 => Some("`off` beside another command"),
                ["git", directory] if is_directory(Path::new(directory)) => None,
                ["git", ..] => Some("`git` without the absolute path of a directory"),
                _ => None,
            }
        })
    }

    /// The checksum database; none if it is off.
    pub(super) fn database(&self) -> Option<Database> {
        Database::parse(self.get("GOSUMDB"))
    }

    /// Whether go does not ask the checksum database about a module.
    pub(super) fn is_unsummed(&self, module: &str) -> bool {
        goproxy::matches(self.get("GONOSUMDB"), module)
    }
}

fn is_directory(path: &Path) -> bool {
    path.is_absolute() && path.is_dir()
}

/// The text of a file. go reads bytes: some that are no text may stand in a comment.
fn text_of(path: &Path) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The go on PATH, without the links to it.
fn find_go(path: &OsStr) -> Option<PathBuf> {
    let found = env::split_paths(path).map(|dir| dir.join("go")).find(|file| file.is_file())?;
    found.canonicalize().ok()
}

impl Module {
    /// From `path@version`, `path@query` or `path`; none if it is none of them.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (path, query) = text.split_once('@').unwrap_or((text, "latest"));
        let sound = |word: &str| {
            !word.is_empty()
                && word.bytes().all(|b| b.is_ascii_graphic() && !b"\\?#%!\"'".contains(&b))
        };
        let rooted = path.starts_with('/') || path.ends_with('/') || path.contains("//");
        let well = sound(path) && sound(query) && Query::parse(query).is_some();
        (well && !rooted && !path.split('/').any(|e| e == "." || e == ".."))
            .then(|| Self { path: path.to_owned(), query: query.to_owned() })
    }
}

/// The modules that a `go.mod` requires, as far as they are not replaced.
pub(super) fn required(go_mod: &str) -> Vec<Module> {
    let asked = gomod::required(go_mod).into_iter();
    let modules = asked.filter_map(|Asked { path, version, .. }| {
        Module::parse(&format!("{path}@{}", version.unwrap_or_default()))
    });
    modules.collect()
}

/// Whether `go.sum` has both sums of a module, so that nobody is asked for them.
pub(super) fn has_sums(go_sum: &str, path: &str, version: &str) -> bool {
    let has = |what: &str| {
        go_sum.lines().any(|line| {
            let mut words = line.split_whitespace();
            words.next() == Some(path) && words.next() == Some(what)
        })
    };
    has(version) && has(&format!("{version}/go.mod"))
}

/// An entry of the list, as it can be asked.
pub(super) enum Target {
    Url(Address),
    File(PathBuf),
    /// `direct`, `off`, `noproxy`.
    Word,
    /// What go says of it.
    Invalid(&'static str),
    /// Why preflight does not ask it, though go would.
    Barred(&'static str),
}

const UNENCODED: &str = "go cannot read it: a `%` or another sign in it has to be percent-encoded";
const INTERNATIONAL: &str =
    "preflight does not ask a host whose name is not ASCII: go asks for it in Punycode";

/// Whether go refuses a list for this entry before it asks anyone (`modfetch/proxy.go:proxyList`);
/// credentials it refuses when it comes to them.
pub(super) fn spoils(entry: &str) -> bool {
    matches!(target(entry), Target::Invalid(_)) && Address::parse(entry).is_none()
}

/// What an entry is (`modfetch/proxy.go:newProxyRepo`, `proxyList`).
pub(super) fn target(entry: &str) -> Target {
    if is_keyword(entry) {
        return Target::Word;
    }
    if let Some(path) = goproxy::file(entry) {
        return Target::File(PathBuf::from(OsString::from_vec(path)));
    }
    match Address::parse(entry) {
        Some(url) if url.user.is_some() && !url.secure => {
            Target::Invalid("go refuses to pass credentials to an insecure URL")
        }
        Some(url) => Target::Url(url),
        None => match goproxy::refusal(entry) {
            Some(why) if is_encoded(entry) || goproxy::scheme(entry).is_none() => {
                Target::Invalid(why)
            }
            _ if !is_encoded(entry) => Target::Invalid(UNENCODED),
            _ if is_international(entry) => Target::Barred(INTERNATIONAL),
            _ => Target::Invalid("no valid URL: go wants https, http or file"),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::{
        Database, INTERNATIONAL, Module, Settings, Target, UNENCODED, has_sums, required, spoils,
        target, text_of,
    };

    fn settings(environment: &[(&str, &str)]) -> Settings {
        let environment =
            environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Settings::of(environment, Path::new(""), &|_| None)
    }

    #[test]
    fn a_file_is_a_path_and_nothing_else() {
        for (entry, expected) in [
            ("file:///srv/p", Some("/srv/p")),
            ("file:/srv/p", Some("/srv/p")),
            ("file:///srv/go%20proxy", Some("/srv/go proxy")),
            ("file://./cache", None),
            ("file://localhost/srv/p", None),
            ("file:///srv/p?x", None),
            ("file:srv", None),
            ("file:///srv/100%", None),
        ] {
            let found = match target(entry) {
                Target::File(path) => Some(path),
                _ => None,
            };
            assert_eq!(found.as_deref(), expected.map(Path::new), "{entry}");
            assert_eq!(spoils(entry), expected.is_none(), "{entry}");
        }
        for (entry, expected) in [
            ("direkt", true),
            ("ftp://x", true),
            ("https://x", false),
            ("http://u:p@x", false),
            ("direct", false),
            ("https://ci:100%@x", true),
            ("https://x/100%", true),
            ("https://bücher.example", false),
        ] {
            assert_eq!(spoils(entry), expected, "{entry}");
        }
    }

    #[test]
    fn what_is_wrong_with_an_entry_is_told() {
        for (entry, expected) in [
            ("https://ci:100%@proxy.lab", UNENCODED),
            ("https://ci:p^w@proxy.lab", UNENCODED),
            ("https://proxy.lab/100%/go", UNENCODED),
            ("file:///a%zz", UNENCODED),
            ("https://bücher.example", INTERNATIONAL),
            ("ftp://proxy.lab", "no valid URL: go wants https, http or file"),
            ("100%", "no URL: its scheme is missing"),
            ("https://ci:100%25@proxy.lab", ""),
        ] {
            let said = match target(entry) {
                Target::Invalid(why) | Target::Barred(why) => why,
                _ => "",
            };
            assert_eq!(said, expected, "{entry}");
        }
    }

    /// Since Go 1.21 the defaults stand in `go.env`, which an empty value in the user's file hides.
    #[test]
    fn a_default_that_is_hidden_is_none() {
        let go_env = "GOPROXY=https://proxy.golang.org,direct\nGOSUMDB=sum.golang.org\n";
        let none = Database { name: String::new(), url: "https://".into(), given: true };
        let url = "https://sum.golang.org".to_owned();
        let usual = Database { name: "sum.golang.org".into(), url, given: false };
        for (user, go_env, entries, database) in [
            ("", Some(go_env), 2, &usual),
            ("GOPROXY=\nGOSUMDB=\n", Some(go_env), 0, &none),
            ("", Some(""), 0, &none),
            ("GOPROXY=\nGOSUMDB=\n", None, 2, &usual),
            ("GOPROXY=direct\nGOSUMDB= \n", None, 1, &none),
        ] {
            let read = |path: &Path| match path.to_str() {
                Some("/h/.config/go/env") => Some(user.to_owned()),
                Some("/usr/lib/go/go.env") => go_env.map(str::to_owned),
                _ => None,
            };
            let environment = vec![("HOME".to_owned(), "/h".to_owned())];
            let settings = Settings::of(environment, Path::new("/usr/lib/go/bin/go"), &read);
            assert_eq!(settings.list.entries.len(), entries, "{user:?} {go_env:?}");
            assert_eq!(settings.database().as_ref(), Some(database), "{user:?} {go_env:?}");
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let settings = settings(&[("GOPROXY", "https://u:s3cret@h,direct")]);
        assert_eq!(settings.list.entries[0].proxy, "https://u:s3cret@h");
        assert_eq!(settings.redacted()["GOPROXY"].value, "https://REDACTED@h,direct");
    }

    #[test]
    fn modules_of_the_command_line() {
        let parse = |text| Module::parse(text).map(|m| format!("{} {}", m.path, m.query));
        assert_eq!(parse("a.lab/x@v1.2.3").as_deref(), Some("a.lab/x v1.2.3"));
        assert_eq!(parse("a.lab/x").as_deref(), Some("a.lab/x latest"));
        assert_eq!(parse("a.lab/x@>=v1.2.0").as_deref(), Some("a.lab/x >=v1.2.0"));
        for broken in ["", "@v1", "a.lab/x@", "/a", "a//b", "a/../b", "a b", "a\n", "a?x"] {
            assert_eq!(parse(broken), None, "{broken:?}");
        }
        for refused in ["a.lab/x@patch", "a.lab/x@<=v1", "a.lab/x@>main"] {
            assert_eq!(parse(refused), None, "{refused}");
        }
    }

    #[test]
    fn netrc_is_where_something_says_that_it_is() {
        for (environment, expected) in [
            (&[][..], None),
            (&[("HOME", "")], None),
            (&[("HOME", "/home/me")], Some("/home/me/.netrc")),
            (&[("HOME", "/home/me"), ("NETRC", "/n")], Some("/n")),
            (&[("NETRC", "/n")], Some("/n")),
        ] {
            let file = settings(environment).netrc_file();
            assert_eq!(file.as_deref(), expected.map(Path::new), "{environment:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_hide_no_line() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("netrc");
        assert_eq!(text_of(&file), None);
        fs::write(&file, b"# f\xfcr CI\nmachine h login u password p\n").unwrap();
        let text = settings(&[("NETRC", file.to_str().unwrap())]).netrc();
        assert_eq!(text.as_deref(), Some("# f\u{fffd}r CI\nmachine h login u password p\n"));
    }

    #[test]
    fn what_goauth_names_besides_netrc_is_a_command() {
        for (value, expected) in [
            ("", false),
            ("netrc", false),
            ("off", false),
            ("netrc; ", false),
            ("netrc x", false),
            ("git /home/me", true),
            ("netrc;git /home/me", true),
            ("/bin/auth", true),
        ] {
            let found = settings(&[("GOAUTH", value)]).has_credential_commands();
            assert_eq!(found, expected, "{value}");
        }
    }

    #[test]
    fn a_goauth_for_which_go_ends_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let git = format!("git {}", directory.path().display());
        for (value, expected) in [
            ("", None),
            ("netrc", None),
            ("off", None),
            ("/bin/auth -x; netrc", None),
            (git.as_str(), None),
            ("netrc;", Some("an empty command")),
            ("netrc; ;/bin/auth", Some("an empty command")),
            ("off;netrc", Some("`off` beside another command")),
            ("git", Some("`git` without the absolute path of a directory")),
            ("git src", Some("`git` without the absolute path of a directory")),
            ("git /nonexistent", Some("`git` without the absolute path of a directory")),
        ] {
            assert_eq!(settings(&[("GOAUTH", value)]).goauth_fault(), expected, "{value}");
        }
    }

    #[test]
    fn what_a_go_mod_requires() {
        let text = "module m\n\ngo 1.21\n\nrequire a.lab/a v1.0.0 // indirect\nrequire (\n\t\"b.lab/b\" v2.0.0\n\tc.lab/c v3.0.0\n)\nreplace c.lab/c => ../c\nreplace (\n\tz.lab/z v1.0.0 => y.lab/y v1.0.0\n)\nrequire(d.lab/d v4.0.0)\nrequire(\n\te.lab/e v5.0.0\n)\n";
        let found: Vec<String> = required(text).into_iter().map(|module| module.path).collect();
        assert_eq!(found.join(" "), "a.lab/a b.lab/b e.lab/e");
    }

    #[test]
    fn sums_are_both_or_none() {
        let text =
            "a.lab/a v1.0.0 h1:x=\na.lab/a v1.0.0/go.mod h1:y=\nb.lab/b v1.0.0/go.mod h1:z=\n";
        assert!(has_sums(text, "a.lab/a", "v1.0.0"));
        assert!(!has_sums(text, "b.lab/b", "v1.0.0"));
        assert!(!has_sums(text, "a.lab/a", "v1.0.1"));
    }
}
