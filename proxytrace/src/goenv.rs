//! The effective configuration of a go command: from which of its four sources each setting came.
//!
//! Precedence, as `cmd/go/internal/cfg/cfg.go` has it from Go 1.21 on: a non-empty variable of the
//! environment, the user's file (`go env -w`), `$GOROOT/go.env`, the default built into go. From then
//! on the defaults of GOPROXY, GOSUMDB and GOTOOLCHAIN stand in `go.env` alone: without that file
//! they are empty. Up to Go 1.20 there is no such file, and the first two are built in.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use crate::event::{Origin, Setting};
use crate::redact;

/// Settings that go looks for in all four places, and their built-in defaults.
const SETTINGS: &[(&str, BuiltIn)] = &[
    ("GOPROXY", BuiltIn::Before(GO_ENV_SINCE, "https://proxy.golang.org,direct")),
    ("GOPRIVATE", BuiltIn::Empty),
    ("GONOPROXY", BuiltIn::Same("GOPRIVATE")),
    ("GONOSUMDB", BuiltIn::Same("GOPRIVATE")),
    ("GOSUMDB", BuiltIn::Before(GO_ENV_SINCE, "sum.golang.org")),
    ("GOINSECURE", BuiltIn::Empty),
    ("GOFLAGS", BuiltIn::Empty),
    ("GOAUTH", BuiltIn::Value("netrc")),
    ("GOTOOLCHAIN", BuiltIn::Empty),
    ("GOMODCACHE", BuiltIn::InGopath("pkg/mod")),
    ("GOWORK", BuiltIn::Empty),
];

/// The first minor release that reads `$GOROOT/go.env`.
const GO_ENV_SINCE: u16 = 21;

/// The first minor release that knows GOAUTH. Before, go reads netrc, whatever is set.
const GOAUTH_SINCE: u16 = 24;

/// The setting that may be there and empty: an empty line hides the default in `go.env`, and go then
/// refuses what it has to verify.
const EMPTIED: &str = "GOSUMDB";

/// What decides whom go asks, and with what.
pub(crate) const OF_THE_WAY: &[&str] =
    &["GOPROXY", "GOPRIVATE", "GONOPROXY", "GOSUMDB", "GONOSUMDB", "GOAUTH", "GOINSECURE"];

/// Settings that only the environment has, each with the names that are asked in turn
/// (`golang.org/x/net/http/httpproxy.FromEnvironment`).
const ENVIRONMENT: &[(&str, &[&str])] = &[
    ("HTTP_PROXY", &["HTTP_PROXY", "http_proxy"]),
    ("HTTPS_PROXY", &["HTTPS_PROXY", "https_proxy"]),
    ("NO_PROXY", &["NO_PROXY", "no_proxy"]),
];

/// What go takes when nothing is set.
#[derive(Clone, Copy)]
enum BuiltIn {
    Empty,
    Value(&'static str),
    /// In minor releases before this one.
    Before(u16, &'static str),
    Same(&'static str),
    InGopath(&'static str),
}

/// A go command.
#[derive(Clone, Copy, Debug)]
pub struct Go<'a> {
    /// Its executable, below GOROOT.
    pub exe: &'a Path,
    /// `go1.27.3`; anything else, such as nothing, is taken for a release of today.
    pub version: &'a str,
}

/// The effective configuration of a go command with this environment, redacted. `environment` is in
/// the order of `/proc/PID/environ`.
///
/// `read` gives the text of a file as that process would read it (its root, its working directory
/// for relative paths), or none. A setting that nothing sets is absent; GOSUMDB is there and empty
/// where a file has an empty line for it. The names: GOPROXY GOPRIVATE GONOPROXY GONOSUMDB GOSUMDB
/// GOINSECURE GOFLAGS GOAUTH GOTOOLCHAIN GOMODCACHE GOWORK GOENV `HTTP_PROXY` `HTTPS_PROXY`
/// `NO_PROXY`.
pub fn effective(
    environment: &[(String, String)],
    go: Go<'_>,
    read: &dyn Fn(&Path) -> Option<String>,
) -> BTreeMap<String, Setting> {
    let redacted = |(name, (value, origin)): (String, (String, Origin))| {
        let value = redact::setting(&name, &value);
        (name, Setting { value, origin })
    };
    secret(environment, go, read).into_iter().map(redacted).collect()
}

/// The same with the secrets in it, for those who act on it and tell nobody.
pub(crate) fn secret(
    environment: &[(String, String)],
    go: Go<'_>,
    read: &dyn Fn(&Path) -> Option<String>,
) -> BTreeMap<String, (String, Origin)> {
    let sources = Sources::read(environment, go, read);
    let settings = SETTINGS.iter().filter_map(|(name, default)| {
        let found = sources.get(name).or_else(|| sources.default(*default));
        let emptied = || (*name == EMPTIED).then(|| sources.emptied(name)).flatten();
        found.or_else(emptied).map(|found| (*name, found))
    });
    let proxies = ENVIRONMENT.iter().filter_map(|(name, asked)| {
        let value = asked.iter().find_map(|name| sources.environment(name))?;
        Some((*name, (value.to_owned(), Origin::Environment)))
    });
    settings
        .chain(proxies)
        .chain(sources.file.clone().map(|file| ("GOENV", file)))
        .map(|(name, found)| (name.to_owned(), found))
        .collect()
}

/// Whether there is a `go.env` beside this go command, so that its defaults stand there.
pub(crate) fn has_go_env(
    environment: &[(String, String)],
    go: Go<'_>,
    read: &dyn Fn(&Path) -> Option<String>,
) -> bool {
    Sources::read(environment, go, read).goroot.is_some()
}

/// What the user's file says of settings to which the environment gives another value, redacted.
pub fn hidden(
    environment: &[(String, String)],
    go: Go<'_>,
    read: &dyn Fn(&Path) -> Option<String>,
) -> BTreeMap<String, String> {
    let sources = Sources::read(environment, go, read);
    let hidden = |name: &str| {
        let (theirs, ours) = (sources.user.get(name)?, sources.environment(name)?);
        (theirs != ours && !theirs.is_empty())
            .then(|| (name.to_owned(), redact::setting(name, theirs)))
    };
    SETTINGS.iter().filter_map(|(name, _)| hidden(name)).collect()
}

/// Whether go reads netrc with this GOAUTH (`auth/auth.go:runGoAuth`).
pub(crate) fn reads_netrc(goauth: &str) -> bool {
    goauth.split(';').any(|command| command.split_whitespace().next() == Some("netrc"))
}

/// Whether a go of this version knows GOAUTH.
pub(crate) fn knows_goauth(version: &str) -> bool {
    minor(version).is_none_or(|minor| minor >= GOAUTH_SINCE)
}

/// 19 of `go1.19.8` and of `go1.19rc1`.
fn minor(version: &str) -> Option<u16> {
    let rest = version.strip_prefix("go1.")?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

type Variables = HashMap<String, String>;

struct Sources {
    environment: Variables,
    user: Variables,
    /// None without a `go.env`.
    goroot: Option<Variables>,
    /// The name of the user's file, or `off`.
    file: Option<(String, Origin)>,
    /// The minor release of go.
    minor: Option<u16>,
}

impl Sources {
    fn read(
        environment: &[(String, String)],
        go: Go<'_>,
        read: &dyn Fn(&Path) -> Option<String>,
    ) -> Self {
        let mut variables = Variables::new();
        for (name, value) in environment {
            // The first of two counts (`syscall.copyenv`).
            variables.entry(name.clone()).or_insert_with(|| value.clone());
        }
        let mut sources = Sources {
            environment: variables,
            user: Variables::new(),
            goroot: None,
            file: None,
            minor: minor(go.version),
        };
        sources.file = sources.user_file();
        if let Some((file, _)) = &sources.file
            && file != "off"
        {
            sources.user = read(Path::new(file)).map_or_else(Variables::new, |text| parse(&text));
        }
        sources.goroot = sources
            .goroots(go.exe)
            .iter()
            .find_map(|root| read(&root.join("go.env")))
            .map(|text| parse(&text));
        sources
    }

    /// A variable of the environment; an empty one is as good as none.
    fn environment(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A setting from the strongest source that has it. An empty value in the user's file hides
    /// the one in `go.env` (`cfg.readEnvFile`).
    fn get(&self, name: &str) -> Option<(String, Origin)> {
        let of = |value: &String, origin| (value.clone(), origin);
        self.environment(name)
            .map(|value| (value.to_owned(), Origin::Environment))
            .or_else(|| self.user.get(name).map(|value| of(value, Origin::UserFile)))
            .or_else(|| {
                let value = self.goroot.as_ref()?.get(name)?;
                Some(of(value, Origin::GorootFile))
            })
            .filter(|(value, _)| !value.is_empty())
    }

    /// A setting that [`Self::get`] does not find, where the file that counts has it: empty.
    fn emptied(&self, name: &str) -> Option<(String, Origin)> {
        let of_goroot = || self.goroot.as_ref().is_some_and(|file| file.contains_key(name));
        let origin = if self.user.contains_key(name) {
            Origin::UserFile
        } else if of_goroot() {
            Origin::GorootFile
        } else {
            return None;
        };
        Some((String::new(), origin))
    }

    fn default(&self, default: BuiltIn) -> Option<(String, Origin)> {
        let value = match default {
            BuiltIn::Empty => return None,
            BuiltIn::Value(value) => value.to_owned(),
            BuiltIn::Before(end, value) => {
                self.minor.filter(|minor| *minor < end)?;
                value.to_owned()
            }
            BuiltIn::Same(name) => self.get(name)?.0,
            BuiltIn::InGopath(directory) => {
                let gopath = match self.get("GOPATH") {
                    Some((list, _)) => list.split(':').next().unwrap_or_default().to_owned(),
                    None => format!("{}/go", self.environment("HOME")?),
                };
                if gopath.is_empty() {
                    return None;
                }
                Path::new(&gopath).join(directory).to_string_lossy().into_owned()
            }
        };
        Some((value, Origin::Default))
    }

    /// The name of the user's file (`cfg.EnvFile`, `os.UserConfigDir`).
    fn user_file(&self) -> Option<(String, Origin)> {
        if let Some(file) = self.environment("GOENV") {
            return Some((file.to_owned(), Origin::Environment));
        }
        let directory = match self.environment("XDG_CONFIG_HOME") {
            // Newer releases of go take no relative directory, older ones do; neither is sure.
            Some(directory) if !directory.starts_with('/') => return None,
            Some(directory) => PathBuf::from(directory),
            None => Path::new(self.environment("HOME")?).join(".config"),
        };
        Some((directory.join("go/env").to_string_lossy().into_owned(), Origin::Default))
    }

    /// Where GOROOT may be, likeliest first (`cfg.findGOROOT`): the user's file comes before the
    /// environment there; a cross-compiled go is in `bin/<os>_<arch>`.
    fn goroots(&self, exe: &Path) -> Vec<PathBuf> {
        let set = self.user.get("GOROOT").map(String::as_str).filter(|value| !value.is_empty());
        match set.or_else(|| self.environment("GOROOT")) {
            Some(root) => vec![PathBuf::from(root)],
            None => exe.ancestors().skip(2).take(2).map(Path::to_path_buf).collect(),
        }
    }
}

/// Lines `NAME=value`; the name begins with a capital letter, and the last of two counts
/// (`cfg.readEnvFile`). Anything else is skipped; spaces and quotes belong to the value.
fn parse(text: &str) -> Variables {
    text.split('\n')
        .filter(|line| line.starts_with(|first: char| first.is_ascii_uppercase()))
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Go, effective, knows_goauth, reads_netrc};
    use crate::event::Origin::{self, Default, Environment, GorootFile, UserFile};

    const GO_ENV: (&str, &str) = (
        "/usr/lib/go/go.env",
        "# comment\nGOPROXY=https://proxy.golang.org,direct\nGOSUMDB=sum.golang.org\n\nGOTOOLCHAIN=auto\n",
    );

    /// Checks settings by name against value and origin; none for a setting that must be absent.
    #[track_caller]
    fn check(
        environment: &[(&str, &str)],
        files: &[(&str, &str)],
        expected: &[(&str, Option<(&str, Origin)>)],
    ) {
        check_of("go1.27.3", environment, files, expected);
    }

    #[track_caller]
    fn check_of(
        version: &str,
        environment: &[(&str, &str)],
        files: &[(&str, &str)],
        expected: &[(&str, Option<(&str, Origin)>)],
    ) {
        let environment: Vec<_> =
            environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let read = |path: &Path| {
            files
                .iter()
                .find(|(name, _)| Path::new(name) == path)
                .map(|(_, text)| (*text).to_owned())
        };
        let config =
            effective(&environment, Go { exe: Path::new("/usr/lib/go/bin/go"), version }, &read);
        for (name, expected) in expected {
            let found = config.get(*name).map(|found| (found.value.as_str(), found.origin));
            assert_eq!(found, *expected, "{name}");
        }
    }

    #[test]
    fn each_source_hides_the_next() {
        let user = ("/home/me/.config/go/env", "GOPROXY=https://user\nGOSUMDB=off\n");
        let home = ("HOME", "/home/me");
        check(
            &[home, ("GOPROXY", "https://env,direct")],
            &[user, GO_ENV],
            &[
                ("GOPROXY", Some(("https://env,direct", Environment))),
                ("GOSUMDB", Some(("off", UserFile))),
                ("GOTOOLCHAIN", Some(("auto", GorootFile))),
                ("GOAUTH", Some(("netrc", Default))),
                ("GOENV", Some(("/home/me/.config/go/env", Default))),
                ("GOMODCACHE", Some(("/home/me/go/pkg/mod", Default))),
                ("GOPRIVATE", None),
                ("GONOPROXY", None),
                ("HTTPS_PROXY", None),
            ],
        );
        check(
            &[home, ("GOPROXY", "")],
            &[user, GO_ENV],
            &[("GOPROXY", Some(("https://user", UserFile)))],
        );
        check(
            &[home],
            &[GO_ENV],
            &[("GOPROXY", Some(("https://proxy.golang.org,direct", GorootFile)))],
        );
        check(&[home], &[], &[("GOPROXY", None), ("GOSUMDB", None), ("GOTOOLCHAIN", None)]);
    }

    #[test]
    fn older_releases_have_their_defaults_within() {
        let expected = |goproxy, gosumdb| [("GOPROXY", goproxy), ("GOSUMDB", gosumdb)];
        let built_in = expected(
            Some(("https://proxy.golang.org,direct", Default)),
            Some(("sum.golang.org", Default)),
        );
        check_of("go1.19.8", &[], &[], &built_in);
        check_of("go1.20", &[], &[], &built_in);
        check_of("go1.20rc1", &[], &[], &built_in);
        check_of("go1.21.0", &[], &[], &expected(None, None));
        check_of("devel", &[], &[], &expected(None, None));
        let set = [("GOPROXY", "off"), ("GOENV", "/f")];
        let off = expected(Some(("off", Environment)), Some(("off", UserFile)));
        check_of("go1.19.8", &set, &[("/f", "GOSUMDB=off\n")], &off);
    }

    #[test]
    fn the_user_file_has_a_name_of_its_own() {
        let files = [("/etc/goenv", "GOFLAGS=-x\n"), ("/xdg/go/env", "GOFLAGS=-v\n"), GO_ENV];
        check(
            &[("GOENV", "/etc/goenv"), ("XDG_CONFIG_HOME", "/xdg")],
            &files,
            &[("GOFLAGS", Some(("-x", UserFile))), ("GOENV", Some(("/etc/goenv", Environment)))],
        );
        check(
            &[("XDG_CONFIG_HOME", "/xdg"), ("HOME", "/home/me")],
            &files,
            &[("GOFLAGS", Some(("-v", UserFile))), ("GOENV", Some(("/xdg/go/env", Default)))],
        );
        check(
            &[("GOENV", "off"), ("XDG_CONFIG_HOME", "/xdg")],
            &files,
            &[("GOFLAGS", None), ("GOENV", Some(("off", Environment)))],
        );
        check(&[], &files, &[("GOENV", None), ("GOMODCACHE", None), ("GOFLAGS", None)]);
        check(&[("XDG_CONFIG_HOME", "xdg"), ("HOME", "/h")], &files, &[("GOENV", None)]);
    }

    #[test]
    fn goroot_may_be_elsewhere() {
        let other = ("/other/go.env", "GOPROXY=direct\n");
        let user = ("/h/.config/go/env", "GOROOT=/other\n");
        check(
            &[("GOROOT", "/other")],
            &[other, GO_ENV],
            &[("GOPROXY", Some(("direct", GorootFile)))],
        );
        check(
            &[("GOROOT", "/third"), ("HOME", "/h")],
            &[user, other, GO_ENV],
            &[("GOPROXY", Some(("direct", GorootFile)))],
        );
        check(&[("GOROOT", "/third")], &[other, GO_ENV], &[("GOPROXY", None)]);
        check(
            &[],
            &[("/usr/lib/go.env", "GOPROXY=off")],
            &[("GOPROXY", Some(("off", GorootFile)))],
        );
    }

    #[test]
    fn lines_of_a_file() {
        let file = "#GOPROXY=a\ngoproxy=b\n GOPROXY=c\n=d\nGOPROXY\nGOFLAGS=-a\nGOFLAGS=-b=c d \nGOSUMDB=\nGOPRIVATE=x\r\nGOINSECURE=last";
        check(
            &[("GOENV", "/f")],
            &[("/f", file), GO_ENV],
            &[
                ("GOPROXY", Some(("https://proxy.golang.org,direct", GorootFile))),
                ("GOFLAGS", Some(("-b=c d ", UserFile))),
                ("GOSUMDB", Some(("", UserFile))),
                ("GOPRIVATE", Some(("x\r", UserFile))),
                ("GOINSECURE", Some(("last", UserFile))),
            ],
        );
    }

    /// Without it go verifies nothing. What else is empty is as good as not set.
    #[test]
    fn an_empty_gosumdb_is_one() {
        let empty = "GOPROXY=\nGOSUMDB=\nGOTOOLCHAIN=\nGOAUTH=\nGONOSUMDB=\n";
        let user = ("/f", empty);
        let settings = [("GOENV", "/f"), ("GOPROXY", "direct"), ("GOPRIVATE", "corp.example")];
        let of_user = [
            ("GOPROXY", Some(("direct", Environment))),
            ("GOSUMDB", Some(("", UserFile))),
            ("GOTOOLCHAIN", None),
            ("GOAUTH", Some(("netrc", Default))),
            ("GONOSUMDB", Some(("corp.example", Default))),
        ];
        check(&settings, &[user, GO_ENV], &of_user);
        // Whatever is in a `go.env` that was not found.
        check(&settings, &[user], &of_user);
        check(&[("GOENV", "/f")], &[user, GO_ENV], &[("GOPROXY", None)]);
        let set = [settings[0], ("GOSUMDB", "off")];
        check(&set, &[user, GO_ENV], &[("GOSUMDB", Some(("off", Environment)))]);
        let here = ("/usr/lib/go/go.env", "GOSUMDB=\n");
        check(&[], &[here], &[("GOSUMDB", Some(("", GorootFile)))]);
        check(&[], &[("/usr/lib/go/go.env", "")], &[("GOSUMDB", None)]);
        // The default of before is built in.
        let built_in = [("GOSUMDB", Some(("sum.golang.org", Default)))];
        check_of("go1.20", &settings, &[user], &built_in);
    }

    #[test]
    fn goauth_is_of_a_release() {
        for (version, expected) in
            [("go1.23.9", false), ("go1.24rc1", true), ("go1.27.3", true), ("", true)]
        {
            assert_eq!(knows_goauth(version), expected, "{version}");
        }
        for (goauth, expected) in [
            ("netrc", true),
            ("/bin/auth; netrc ", true),
            ("off", false),
            ("git /src", false),
            ("netrcs", false),
        ] {
            assert_eq!(reads_netrc(goauth), expected, "{goauth}");
        }
    }

    #[test]
    fn private_is_the_default_of_two() {
        check(
            &[("GOPRIVATE", "corp.example"), ("GONOSUMDB", "other.example")],
            &[GO_ENV],
            &[
                ("GOPRIVATE", Some(("corp.example", Environment))),
                ("GONOPROXY", Some(("corp.example", Default))),
                ("GONOSUMDB", Some(("other.example", Environment))),
            ],
        );
    }

    #[test]
    fn the_environment_alone_has_proxies_and_its_first_mention_counts() {
        check(
            &[
                ("https_proxy", "http://u:p@lower:1"),
                ("HTTP_PROXY", ""),
                ("http_proxy", "lower:2"),
                ("NO_PROXY", "upper"),
                ("no_proxy", "lower"),
                ("GOPROXY", "https://first"),
                ("GOPROXY", "https://second"),
                ("GOENV", "/f"),
                ("GOPATH", "/a:/b"),
            ],
            &[("/f", "HTTPS_PROXY=http://file\nGOMODCACHE=\n"), GO_ENV],
            &[
                ("HTTPS_PROXY", Some(("http://REDACTED@lower:1", Environment))),
                ("HTTP_PROXY", Some(("lower:2", Environment))),
                ("NO_PROXY", Some(("upper", Environment))),
                ("GOPROXY", Some(("https://first", Environment))),
                ("GOMODCACHE", Some(("/a/pkg/mod", Default))),
            ],
        );
    }
}
