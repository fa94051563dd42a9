//! Scenarios that nobody thought of: drawn from what the tables are made of, by a seed.

use std::env;

use fastrand::Rng;

use crate::modules::Modules;
use crate::scenario::Action::{
    Body, Close, First, Forward, GoImport, Gzip, Hang, Html, Page, Redirect, Refuse, Serve,
    ServeLast, ServeOncePerConnection, ServeUser, Slow, Status, Truncate, TruncateGzip,
};
use crate::scenario::Protocol::{self, H1, H2, Plain};
use crate::scenario::Sumdb::{At, Grown, Honest, Lying, Off};
use crate::scenario::Trouble::{
    DeadIpv6, Expired, NameServerFails, NoRoute, NoSuchName, NoTls, Resets, SlowName,
    TakesCertificate, UnknownAuthority, WantsCertificate, WrongName,
};
use crate::scenario::{Action, GoSum, Host, Rule, Scenario, Sumdb, Trouble};

/// In the order of GOPROXY.
const PROXIES: [&str; 3] = ["proxy.lab", "mirror.lab", "third.lab"];
/// Where redirects may lead, over TLS and without.
const STORAGE: &str = "storage.lab";
const OPEN_STORAGE: &str = "open.lab";
/// Where the modules come from without a proxy, and what serves them there.
const VANITY: &str = "mod.lab";
const ORIGIN: &str = "origin.lab";

/// The checksum database, asked by itself alone.
const AT: Sumdb = At("https://sum.lab");

/// What is asked to pass requests on.
const FORWARD: &str = "forward.lab";
/// What it may be asked for.
const TUNNELS: [&str; 4] = ["*", "proxy.lab*", "mirror.lab*", "storage.lab*"];

/// Modules with names of other kinds: one below another, one in capitals, one of another host.
const OTHERS: [&[&str]; 8] =
    [&[], &[], &[], &[], &[], &["mod.lab/m01/sub"], &["mod.lab/Upper"], &["other.lab/x"]];
/// What is in the module cache before.
const CACHED: [&[&str]; 6] = [&[], &[], &[], &[], &["mod.lab/m01@v1.0.0"], &["all"]];
const WAYS: [&str; 8] = ["*", "*", "*.info", "*.mod", "*.zip", "*/m01/*", "*/m02/*", "*/m01/*.zip"];
/// The same of the checksum database, at a proxy or by itself.
const WAYS_OF_SUMS: [&str; 4] = ["*/supported", "*/lookup/*", "*/lookup/*m01*", "*/tile/*"];
/// `go mod download` as often as all others.
const COMMANDS: [&[&str]; 34] = [
    &["timeout", "-s", "KILL", "0.03", "go", "mod", "download"],
    &["timeout", "-s", "INT", "0.06", "go", "mod", "download"],
    &["sh", "-c", "go mod graph; go mod download"],
    &["go", "mod", "download", "-json"],
    &["go", "mod", "download", "mod.lab/m01@latest"],
    &["go", "mod", "vendor"],
    &["go", "mod", "why", "mod.lab/m01"],
    &["go", "list", "-m", "all"],
    &["go", "list", "-m", "-json", "-versions", "mod.lab/m01", "mod.lab/m02"],
    &["go", "get", "-u", "./..."],
    &["go", "get", "mod.lab/m01@v1.9.0"],
    &["go", "get", "mod.lab/m01@branch"],
    &["sh", "-c", "go mod download; go mod download"],
    &["sh", "-c", "go mod download; go list -m -u all"],
    &["sh", "-c", "go mod download & go mod graph; wait"],
    &["go", "mod", "tidy"],
    &["go", "mod", "graph"],
    &["go", "mod", "verify"],
    &["go", "list", "./..."],
    &["go", "list", "-m", "-u", "all"],
    &["go", "list", "-m", "-versions", "mod.lab/m01"],
    &["go", "list", "-m", "mod.lab/m01@latest"],
    &["go", "get", "mod.lab/m01@latest"],
    &["go", "get", "mod.lab/m02/deeper@v1.0.0"],
    &["go", "mod", "download", "-x"],
    &["go", "mod", "download", "-json", "mod.lab/m01@v1.0.0", "mod.lab/m02@v1.0.0"],
    &["go", "list", "-deps", "-test", "./..."],
    &["go", "list", "-m", "-json", "all"],
    &["go", "list", "-e", "-m", "mod.lab/m01@v1.0.0", "mod.lab/m01@v9.0.0"],
    &["go", "get", "mod.lab/m01@>=v1.0.0"],
    &["go", "get", "mod.lab/m01@patch"],
    &["go", "get", "mod.lab/m01@none"],
    &["go", "install", "mod.lab/m01@v1.0.0"],
    &["go", "run", "mod.lab/m01@latest"],
];
/// What is not as it is with most people, besides.
const ENVIRONMENTS: [&[(&str, &str)]; 14] = [
    &[("GOPRIVATE", "mod.lab/m01")],
    &[("GONOPROXY", "mod.lab/m02")],
    &[("GODEBUG", "netdns=go+2,http2debug=1")],
    &[("GONOSUMDB", "mod.lab")],
    &[("GOINSECURE", "*.lab")],
    &[("GOFLAGS", "-mod=mod -x")],
    &[("GOFLAGS", "-mod=mod -modcacherw")],
    &[("GODEBUG", "http2client=0")],
    &[("GOMAXPROCS", "1")],
    &[("GOMAXPROCS", "8")],
    &[("HTTPS_PROXY", "http://forward.lab:3128")],
    &[("HTTP_PROXY", "http://forward.lab:3128"), ("HTTPS_PROXY", "http://forward.lab:3128")],
    &[("HTTPS_PROXY", "http://forward.lab:3128"), ("NO_PROXY", "mirror.lab,storage.lab")],
    &[("GOAUTH", "{home}/goauth")],
];
/// For [`ServeUser`].
const HOMES: [&[(&str, &str)]; 4] = [&[], &[], &[], &[(".netrc", NETRC)]];
const NETRC: &str = "machine proxy.lab login user password secret\n\
                     machine storage.lab login user password secret\n";
/// The same for GOAUTH.
const GOAUTH: (&str, &str) = (
    "goauth",
    "#!/bin/sh\nprintf 'https://proxy.lab\\n\\nAuthorization: Basic dXNlcjpzZWNyZXQ=\\n\\n'\n",
);
const GO_SUMS: [GoSum; 8] = [
    GoSum::Absent,
    GoSum::Absent,
    GoSum::Absent,
    GoSum::Absent,
    GoSum::Right,
    GoSum::Right,
    GoSum::WrongMod,
    GoSum::WrongZip,
];
const STATUSES: [u16; 20] = [
    404, 404, 404, 410, 403, 403, 400, 401, 407, 418, 429, 500, 500, 502, 503, 504, 204, 206, 304,
    300,
];
const REDIRECTS: [u16; 6] = [301, 302, 302, 303, 307, 308];
const LOCATIONS: [&str; 11] = [
    "https://storage.lab{path}",
    "https://storage.lab{path}",
    "https://storage.lab{path}",
    "https://storage.lab/login",
    "//storage.lab{path}",
    "http://open.lab{path}",
    "https://mirror.lab{path}",
    "https://nowhere.lab{path}",
    "/elsewhere{path}",
    "{path}",
    "",
];
const TROUBLES: [Trouble; 7] =
    [NoSuchName, NameServerFails, SlowName, DeadIpv6, NoRoute, Resets, NoSuchName];
const TROUBLES_OF_TLS: [Trouble; 6] =
    [NoTls, UnknownAuthority, WrongName, Expired, WantsCertificate, TakesCertificate];

/// Says which are drawn: the first seed, and how many from there on, such as `1000+500`.
const SEEDS_VAR: &str = "LAB_SEEDS";

/// So many of those that suit, with their seeds; if somebody says which, those of them that suit.
///
/// # Panics
///
/// If what is said makes no sense, or none suits.
pub fn drawn(count: usize, suits: impl Fn(&Scenario) -> bool) -> Vec<(usize, Scenario)> {
    let said = env::var(SEEDS_VAR).ok().map(|seeds| {
        let (first, count) = seeds.split_once('+').expect("FIRST+COUNT");
        let first: usize = first.parse().expect("a number");
        first..first + count.parse::<usize>().expect("a number")
    });
    let (seeds, most) = said.map_or((0..usize::MAX, count), |seeds| (seeds, usize::MAX));
    let drawn = seeds.map(|seed| (seed, scenario(seed))).filter(|(_, it)| suits(it));
    let drawn: Vec<_> = drawn.take(most).collect();
    assert!(!drawn.is_empty(), "{SEEDS_VAR}: none is drawn that suits");
    drawn
}

/// The scenario of this seed. What goes with it is never given back.
#[must_use]
pub(crate) fn scenario(seed: usize) -> Scenario {
    let mut draw = Draw(Rng::with_seed(seed as u64));
    let sumdb =
        draw.one_of(&[Off, Off, Off, Off, Off, Off, Honest, Honest, Honest, AT, Lying, Grown]);
    let ways: &[&str] = if sumdb != Off && draw.one_in(2) { &WAYS_OF_SUMS } else { &WAYS };
    let proxies = &PROXIES[..draw.one_of(&[1, 2, 2, 3])];
    let mut hosts = Vec::new();
    let mut goproxy = String::new();
    for (place, name) in proxies.iter().enumerate() {
        if place > 0 {
            goproxy += draw.one_of(&[",", ",", "|"]);
        }
        let host = draw.host(name, &[H2, H2, H2, H1, H1, Plain], 4, ways);
        goproxy += if host.protocol == Plain { "http://" } else { "https://" };
        if draw.one_in(20) {
            goproxy += "user:secret@";
        }
        goproxy += name;
        goproxy += draw.one_of(&["", "", "", "/goproxy", "/a/b/"]);
        hosts.push(host);
    }
    goproxy += draw.one_of(&["", "", "", "", ",direct", "|direct", ",off"]);
    hosts.push(draw.host(STORAGE, &[H2, H1], 10, &WAYS));
    hosts.push(draw.host(OPEN_STORAGE, &[Plain], 10, &WAYS));
    if draw.one_in(2) {
        let rules = vec![Rule { pattern: "*?go-get=1", action: GoImport("https://origin.lab") }];
        hosts.push(Host { name: VANITY, protocol: H2, rules: rules.leak(), trouble: None });
        hosts.push(draw.host(ORIGIN, &[H2], 10, &WAYS));
    }
    if sumdb != Off {
        hosts.push(draw.host("sum.lab", &[H2], 12, ways));
    }
    let command = if draw.one_in(2) { Scenario::BASE.command } else { draw.one_of(&COMMANDS) };
    let environment = if draw.one_in(2) { draw.one_of(&ENVIRONMENTS) } else { &[] };
    let is_set = |name: &str| environment.iter().any(|(set, _)| *set == name);
    let home = if is_set("GOAUTH") { &[GOAUTH] } else { draw.one_of(&HOMES) };
    if is_set("HTTPS_PROXY") {
        hosts.push(draw.forward_proxy());
    }
    let modules = Modules {
        prefix: "mod.lab/m",
        count: draw.one_of(&[1, 2, 3, 5]),
        others: draw.one_of(&OTHERS),
    };
    // With a wrong one go ends at once, whatever its servers are about to do for other modules.
    let several = modules.paths().count() > 1;
    let go_sums = if several { &GO_SUMS[..6] } else { &GO_SUMS[..] };
    let sumdb = if several && sumdb == Lying { Honest } else { sumdb };
    Scenario {
        name: format!("chance-{seed}").leak(),
        command,
        environment,
        home,
        about: "drawn",
        modules,
        goproxy: goproxy.leak(),
        sumdb,
        cached: if sumdb == Off { draw.one_of(&CACHED) } else { &[] },
        go_sum: draw.one_of(go_sums),
        hosts: hosts.leak(),
        ..Scenario::BASE
    }
}

struct Draw(Rng);

impl Draw {
    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.0.usize(..choices.len())]
    }

    fn one_in(&mut self, chances: u32) -> bool {
        self.0.u32(..chances) == 0
    }

    /// A host; something is wrong with it before it answers once in so many times.
    /// It does something else than to serve in some of these ways.
    fn host(
        &mut self,
        name: &'static str,
        protocols: &[Protocol],
        sound: u32,
        ways: &[&'static str],
    ) -> Host {
        let protocol = self.one_of(protocols);
        let mut rules = Vec::new();
        for _ in 0..self.one_of(&[0, 1, 1, 2]) {
            rules.push(Rule { pattern: self.one_of(ways), action: self.action() });
        }
        if !self.one_in(8) {
            rules.push(Rule { pattern: "*", action: Serve });
        }
        let trouble = self.one_in(sound * 2).then(|| {
            if protocol != Plain && self.one_in(2) {
                self.one_of(&TROUBLES_OF_TLS)
            } else {
                self.one_of(&TROUBLES)
            }
        });
        Host { name, protocol, rules: rules.leak(), trouble }
    }

    fn forward_proxy(&mut self) -> Host {
        let mut rules = Vec::new();
        if self.one_in(3) {
            let status = self.one_of(&[403, 403, 407, 502, 503, 504]);
            rules.push(Rule { pattern: self.one_of(&TUNNELS), action: Status(status, &[]) });
        }
        rules.push(Rule { pattern: "*", action: Forward });
        Host { name: FORWARD, protocol: Protocol::Forward, rules: rules.leak(), trouble: None }
    }

    fn action(&mut self) -> Action {
        match self.0.u32(..20) {
            0..5 => self.status(),
            5..11 => Redirect(self.one_of(&REDIRECTS), self.one_of(&LOCATIONS)),
            11 => Close,
            12 => Truncate,
            13 => Html,
            14 => First(Box::leak(Box::new(self.first()))),
            15 => ServeOncePerConnection,
            16 => ServeLast,
            17 => ServeUser,
            18 => Slow(30),
            _ => self.rare(),
        }
    }

    fn status(&mut self) -> Action {
        let status = self.one_of(&STATUSES);
        let headers: &[(&str, &str)] = match status {
            401 => &[("WWW-Authenticate", "Basic realm=\"lab\"")],
            429 | 503 => &[("Retry-After", "7")],
            _ => &[],
        };
        Status(status, headers)
    }

    fn first(&mut self) -> Action {
        match self.0.u32(..4) {
            0 => Close,
            1 => Redirect(302, self.one_of(&LOCATIONS)),
            2 => Refuse,
            _ => self.status(),
        }
    }

    fn rare(&mut self) -> Action {
        match self.0.u32(..7) {
            // net/http sends again what was refused, for minutes.
            0 => First(&Refuse),
            1 => Hang(50),
            2 => Gzip,
            3 => TruncateGzip,
            4 => Page(self.one_of(&[403, 404, 407, 502]), &[]),
            5 => Body(&[], "not what was asked for\n"),
            _ => Body(&[("Content-Type", "application/json")], "{}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_scenario_again() {
        for seed in 0..100 {
            let text = || format!("{:?}", scenario(seed));
            assert_eq!(text(), text());
        }
        assert_ne!(format!("{:?}", scenario(1)), format!("{:?}", scenario(2)));
    }
}
