//! What a scenario is: hosts, the rules they answer by, and what must come of it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::modules::Modules;
use crate::table::SCENARIOS;
use crate::toolchain::Toolchain;

/// One way for module proxies to behave, and what is expected of go and of proxytrace then.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name, as `lab run` takes it.
    pub name: &'static str,
    /// What happens in it, in a line.
    pub about: &'static str,
    /// The first minor release of Go with which it is run.
    pub since: u16,
    /// What is run: `go mod download` where nothing is said. A first word `sh` has a script behind
    /// it, in which `go` is the one under test.
    pub command: &'static [&'static str],
    /// What the environment has beside that of the lab, or in its place. `{home}` stands for the
    /// home directory, `{other}` for the GOROOT of another release, `{other_version}` for that.
    pub environment: &'static [(&'static str, &'static str)],
    /// Files in the home directory, which may be run.
    pub home: &'static [(&'static str, &'static str)],
    /// What the main module requires.
    pub modules: Modules,
    /// The value of GOPROXY.
    pub goproxy: &'static str,
    /// Whether the checksum database is asked, and what it says.
    pub sumdb: Sumdb,
    /// What is in the main module's `go.sum`.
    pub go_sum: GoSum,
    /// Modules that `go mod download` puts into the module cache before anything is logged, and
    /// before there is a `go.sum`.
    pub cached: &'static [&'static str],
    /// Files of the caches that are cut to half of their length then, by their paths below them.
    pub cut: &'static [&'static str],
    /// The servers.
    pub hosts: &'static [Host],
    /// Whether `go mod download` succeeds.
    pub succeeds: bool,
    /// What the log holds after `go mod download`, in full.
    pub answers: &'static [Answers],
    /// The findings of proxytrace, all of them: code and severity. Where an [answer](Answers::resent)
    /// is resent there is PT002 besides, with a Go that does this.
    pub findings: &'static [(&'static str, Severity)],
    /// Notes that depend on which of two things that go does at once comes first.
    pub sometimes: &'static [&'static str],
}

/// The checksum database that go asks for the hashes of modules: GOSUMDB.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sumdb {
    /// None: `off`.
    Off,
    /// `sum.lab`, through a proxy that supports it or directly.
    Honest,
    /// The same; its hashes are of other modules.
    Lying,
    /// The same as `Honest`, always at this URL.
    At(&'static str),
    /// Honest; it got the last module after it had answered for the others.
    Grown,
    /// The same, but what it has of the others is not any more what it was when it answered.
    Forked,
}

/// What `go.sum` says of the modules.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GoSum {
    /// There is none.
    Absent,
    /// The truth.
    Right,
    /// Another checksum of each `go.mod`.
    WrongMod,
    /// Another checksum of each zip.
    WrongZip,
}

/// How bad a finding is, by the names of the JSON contract.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// `note`.
    Note,
    /// `warning`.
    Warning,
    /// `error`.
    Error,
}

/// A server. The lab's name server has its name, with a loopback address of its own.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// Host name; several hosts may share one if they differ in scheme.
    pub name: &'static str,
    /// What it speaks, and with that its port.
    pub protocol: Protocol,
    /// How it answers: the first rule that matches. Without a match, 404.
    pub rules: &'static [Rule],
    /// What is wrong before there is a request to answer.
    pub trouble: Option<Trouble>,
}

/// What is wrong with a host before there is a request to answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Trouble {
    /// The name server does not know the name.
    NoSuchName,
    /// The name server answers SERVFAIL.
    NameServerFails,
    /// The name server does not answer.
    NameServerSilent,
    /// The name server takes [`SLOW_NAME`] to answer.
    SlowName,
    /// The name has an IPv6 address besides, and there nobody listens.
    DeadIpv6,
    /// Its address is one to which there is no route.
    NoRoute,
    /// It does not answer to SYN.
    Deaf,
    /// It accepts connections and says nothing.
    Silent,
    /// The name has an IPv6 address besides, and there connections are accepted and nothing said.
    SilentIpv6,
    /// It speaks HTTP without TLS on the port for TLS.
    NoTls,
    /// Its certificate is from another authority.
    UnknownAuthority,
    /// Its certificate is for another name.
    WrongName,
    /// Its certificate has expired.
    Expired,
    /// It wants a certificate from the client.
    WantsCertificate,
    /// It asks for one, and serves whoever has none.
    TakesCertificate,
    /// It ends connections by RST.
    Resets,
}

/// What [`Trouble::SlowName`] takes.
pub const SLOW_NAME: Duration = Duration::from_millis(150);

/// What a host speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// HTTP/2 over TLS, port 443.
    H2,
    /// HTTP/1.1 over TLS, port 443; h2 is not offered.
    H1,
    /// HTTP/1.1 without TLS, port 80.
    Plain,
    /// A forward proxy: HTTP/1.1 without TLS, port 3128.
    Forward,
    /// HTTP/2 over TLS, port 8443.
    H2At8443,
    /// Whatever another program speaks, which a test starts there (see
    /// [`Lab::spawn`](crate::lab::Lab::spawn)): it has a name and an address, and is in the lab's
    /// certificate.
    Other,
}

/// An action for the paths that a pattern matches.
#[derive(Debug)]
pub struct Rule {
    /// Path and query; `*` stands for any text.
    pub pattern: &'static str,
    /// What to do.
    pub action: Action,
}

/// How a request is answered. `{path}` in a location stands for the path of the request.
#[derive(Debug)]
pub enum Action {
    /// The file of the module proxy protocol that the path ends in, or 404.
    Serve,
    /// Like `Serve` for the first request on a connection; any later one is cut off. That is what
    /// a server does that closes idle connections just as the client sends again.
    ServeOncePerConnection,
    /// A status and these headers.
    Status(u16, &'static [(&'static str, &'static str)]),
    /// A redirect: status and location.
    Redirect(u16, &'static str),
    /// The connection, or the stream of HTTP/2, is closed without an answer.
    Close,
    /// Like `Serve`, and then the connection of HTTP/2 takes no more requests (GOAWAY).
    ServeLast,
    /// The stream of HTTP/2 is refused, as one that was not looked at.
    Refuse,
    /// The half of the file, and its length as if it were whole; then the connection, or the
    /// stream of HTTP/2, ends.
    Truncate,
    /// The same after so many milliseconds.
    Hang(u64),
    /// Like `Truncate`, compressed.
    TruncateGzip,
    /// Like `Serve` after so many milliseconds.
    Slow(u64),
    /// Like `Serve`, compressed.
    Gzip,
    /// Like `Serve` for the user `user` with the password `secret`, and 401 for others.
    ServeUser,
    /// 200 with these headers and this body.
    Body(&'static [(&'static str, &'static str)], &'static str),
    /// A page for people, with this status and these headers.
    Page(u16, &'static [(&'static str, &'static str)]),
    /// This for the first request of a path, and `Serve` for any later one.
    First(&'static Action),
    /// A forward proxy's: it opens a tunnel to the host that is asked for, and passes on requests
    /// for whole URLs.
    Forward,
    /// The answer to `?go-get=1` that names a module proxy.
    GoImport(&'static str),
    /// The answer to `?go-get=1` that names a git repository.
    GoImportGit(&'static str),
    /// A page for people, with status 200.
    Html,
}

/// An amount of entries in the log that are alike.
#[derive(Clone, Copy, Debug)]
pub struct Answers {
    /// Name of the host.
    pub host: &'static str,
    /// What it answered; none if it closed instead.
    pub status: Option<u16>,
    /// How many; none for one or more.
    pub count: Option<usize>,
    /// Whether a Go that [resends](crate::toolchain::Toolchain::resends) asked twice as often.
    pub resent: bool,
}

impl Scenario {
    /// What most scenarios have in common.
    pub const BASE: Self = Self {
        name: "",
        about: "",
        since: 19,
        command: &["go", "mod", "download"],
        environment: &[],
        home: &[],
        modules: Modules { prefix: "mod.lab/m", count: 0, others: &[] },
        goproxy: "",
        sumdb: Sumdb::Off,
        go_sum: GoSum::Absent,
        cached: &[],
        cut: &[],
        hosts: &[],
        succeeds: true,
        answers: &[],
        findings: &[],
        sometimes: &[],
    };

    /// Whether it is a `go mod download` with nothing but a GOPROXY, of which more is known.
    pub fn is_plain(&self) -> bool {
        let odd = ["@", "，", "direct,", ":8443"].iter().any(|part| self.goproxy.contains(part));
        let list = !odd && self.goproxy != "direct";
        list && self.command == Self::BASE.command && self.environment.is_empty()
    }

    /// Whether something may come that the checksum database contradicts. Where go asks on all the
    /// same, what it compared stays in its `go.sum`, and may contradict what comes next.
    #[must_use]
    pub fn has_wrong_sums(&self) -> bool {
        use Action::{Body, Html, Page};
        let mut rules = self.hosts.iter().flat_map(|host| host.rules);
        let is_other = |rule: &Rule| matches!(rule.action, Html | Page(..) | Body(..));
        self.sumdb == Sumdb::Lying || (self.sumdb != Sumdb::Off && rules.any(is_other))
    }

    /// Whether hosts have an answer of their own for something of the checksum database.
    #[must_use]
    pub fn breaks_sums(&self) -> bool {
        const PLACES: [&str; 3] = ["/supported", "/lookup/", "/tile/"];
        let mut rules = self.hosts.iter().flat_map(|host| host.rules);
        rules.any(|rule| PLACES.iter().any(|place| rule.pattern.contains(place)))
    }

    /// Whether hosts have an answer of their own for tiles of the checksum database.
    #[must_use]
    pub fn breaks_tiles(&self) -> bool {
        let mut rules = self.hosts.iter().flat_map(|host| host.rules);
        rules.any(|rule| rule.pattern.contains("/tile/"))
    }

    /// Whether it is [plain](Self::is_plain), and a second run of it meets the same answers, in the
    /// same time, with nothing but its URLs.
    pub fn is_repeatable(&self) -> bool {
        let rules = || self.hosts.iter().flat_map(|host| host.rules);
        let fickle = |rule: &Rule| {
            matches!(
                rule.action,
                Action::Slow(_)
                    | Action::First(_)
                    | Action::Refuse
                    | Action::Gzip
                    | Action::TruncateGzip
            )
        };
        self.is_plain() && self.home.is_empty() && !rules().any(fickle)
    }

    /// Whether what becomes of a request depends on which of its connections go takes for it, or on
    /// whether an alert comes before the answer.
    pub fn is_up_to_connections(&self) -> bool {
        let mut rules = self.hosts.iter().flat_map(|host| host.rules);
        let counts = |rule: &Rule| matches!(rule.action, Action::ServeOncePerConnection);
        let alerts = [Trouble::WantsCertificate, Trouble::TakesCertificate];
        let may_alert = |host: &Host| host.trouble.is_some_and(|it| alerts.contains(&it));
        rules.any(counts) || self.hosts.iter().any(may_alert)
    }

    /// All of them.
    pub fn all() -> &'static [Self] {
        &SCENARIOS
    }

    /// The one of a name.
    pub fn find(name: &str) -> Option<&'static Self> {
        SCENARIOS.iter().find(|scenario| scenario.name == name)
    }

    /// Whether nothing is out of the ordinary: every request is answered with the file it wants.
    pub fn is_healthy(&self) -> bool {
        let well = self.answers.iter().all(|answers| answers.status == Some(200));
        self.succeeds && well && self.findings.is_empty()
    }

    /// Whether a run of it is mostly waiting, for seconds.
    pub fn waits(&self) -> bool {
        let silent = |trouble| {
            use Trouble::{Deaf, NameServerSilent, Silent, SilentIpv6};
            matches!(trouble, NameServerSilent | Deaf | Silent | SilentIpv6)
        };
        let slow = |rule: &Rule| matches!(rule.action, Action::Hang(1000..) | Action::Slow(1000..));
        self.hosts
            .iter()
            .any(|host| host.trouble.is_some_and(silent) || host.rules.iter().any(slow))
    }

    /// Whether there is nothing to warn of: a warning, of whatever code, is a false alarm.
    pub fn is_quiet(&self) -> bool {
        self.succeeds && self.findings.iter().all(|(_, severity)| *severity == Severity::Note)
    }

    /// The findings, of this toolchain: code and severity.
    pub fn expected(&self, toolchain: &Toolchain) -> BTreeSet<(&'static str, Severity)> {
        let resent = toolchain.resends() && self.answers.iter().any(|answers| answers.resent);
        let resent = resent.then_some(("PT002", Severity::Note));
        self.findings.iter().copied().chain(resent).collect()
    }
}

impl Rule {
    /// Whether this rule is for a path and query.
    pub(crate) fn matches(&self, path: &str) -> bool {
        let Some((start, rest)) = self.pattern.split_once('*') else {
            return path == self.pattern;
        };
        let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
        let Some(path) = path.strip_prefix(start).and_then(|path| path.strip_suffix(end)) else {
            return false;
        };
        middle
            .split('*')
            .try_fold(path, |path, part| path.find(part).map(|at| &path[at + part.len()..]))
            .is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_paths() {
        for (pattern, path, expected) in [
            ("*", "/anything?go-get=1", true),
            ("/a/*.zip", "/a/mod.lab/m01/@v/v1.0.0.zip", true),
            ("/a/*.zip", "/b/mod.lab/m01/@v/v1.0.0.zip", false),
            ("*/m02/*", "/mod.lab/m02/@v/list", true),
            ("*/m02/*", "/mod.lab/m03/@v/list", false),
            ("*.mod", "/mod.lab/m01/@v/v1.0.0.mod", true),
            ("*.mod", "/mod.lab/m01/@v/v1.0.0.mod?a=b", false),
            ("/aa*a", "/aa", false),
            ("/exact", "/exact", true),
            ("/exact", "/exactly", false),
        ] {
            let rule = Rule { pattern, action: Action::Serve };
            assert_eq!(rule.matches(path), expected, "{pattern} on {path}");
        }
    }

    #[test]
    fn names_are_unique() {
        for scenario in Scenario::all() {
            let found = Scenario::find(scenario.name).unwrap();
            assert!(std::ptr::eq(found, scenario), "{} is there twice", scenario.name);
        }
    }
}
