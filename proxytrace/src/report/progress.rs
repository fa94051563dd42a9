//! How far a run is, in a line: what there was, and what go waits for.
//!
//! Reads the same events as [`crate::correlate`], and keeps of them what a line needs.

use std::fmt::Write as _;
use std::time::Duration;

use foldhash::HashMap;

use super::escape::escape;
use super::summary::count;
use crate::event::{Event, What};
use crate::status;
use crate::url::host_name;

/// What a wait has to last to be worth a word, in nanoseconds.
const WORTH_TELLING: u64 = 2_000_000_000;
/// Room for the name of a host.
const HOST: usize = 60;

/// A goroutine of a process.
type Place = (u32, u64);

/// What a run has come to so far.
#[derive(Debug, Default)]
pub struct Progress {
    /// Walks through GOPROXY that run, by module.
    modules: HashMap<(u32, String), usize>,
    walks: HashMap<Place, Vec<Walk>>,
    requests: usize,
    redirects: usize,
    fallbacks: usize,
    /// Requests that have not ended.
    open: HashMap<Place, Wait>,
    /// Bodies that are being read.
    bodies: HashMap<(u32, u64), Wait>,
    /// What those who make connections are at.
    dials: HashMap<Place, Wait>,
}

#[derive(Debug, Default)]
struct Walk {
    entry: Option<String>,
    module: Option<(u32, String)>,
}

#[derive(Clone, Debug)]
struct Wait {
    host: String,
    since: u64,
    stage: Stage,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Connection,
    Name,
    Connect,
    Tls,
    Answer,
    Body,
}

impl Stage {
    /// What follows the name of the host: how long go would wait (`http.DefaultTransport`, which
    /// limits nothing after the handshake).
    fn limit(self) -> &'static str {
        match self {
            Stage::Connection => "",
            Stage::Name => " to be resolved",
            Stage::Connect => " to accept a connection, go gives up after 30 s",
            Stage::Tls => " to shake hands, go gives up after 10 s",
            Stage::Answer => ", go has no timeout here",
            Stage::Body => " to send the rest, go has no timeout here",
        }
    }
}

impl Progress {
    /// Takes the next event.
    pub fn push(&mut self, event: &Event) {
        let place = (event.pid, event.goroutine.map_or(0, |goroutine| goroutine.id));
        let wait = |host: &str, stage| Wait { host: host.to_owned(), since: event.time, stage };
        match &event.what {
            What::WalkEnter => self.walks.entry(place).or_default().push(Walk::default()),
            What::Lookup { proxy, module } => self.look_up(place, proxy, module),
            What::WalkReturn { .. } => {
                let walk = self.walks.get_mut(&place).and_then(Vec::pop);
                if let Some(key) = walk.and_then(|walk| walk.module)
                    && let Some(running) = self.modules.get_mut(&key)
                {
                    *running = running.saturating_sub(1);
                }
            }
            What::RequestEnter { url, .. } => {
                self.requests += 1;
                self.open.insert(place, wait(host_of(url), Stage::Connection));
            }
            What::Try { .. } => {
                if let Some(open) = self.open.get_mut(&place) {
                    (open.since, open.stage) = (event.time, Stage::Answer);
                }
                self.forget_dials();
            }
            What::RequestReturn { status, headers, body, .. } => {
                let is_redirect = status.is_some_and(status::redirects);
                // An empty one leads nowhere (`client.go:do`).
                let leads = headers.get("Location").is_some_and(|to| !to.is_empty());
                self.redirects += usize::from(is_redirect && leads);
                if let (Some(open), Some(body)) = (self.open.remove(&place), body) {
                    let reads = Wait { since: event.time, stage: Stage::Body, ..open };
                    self.bodies.insert((event.pid, *body), reads);
                }
            }
            What::BodyEnd { body, .. } => _ = self.bodies.remove(&(event.pid, *body)),
            What::Resolve { host } => _ = self.dials.insert(place, wait(host, Stage::Name)),
            What::Dial { host, .. } => _ = self.dials.insert(place, wait(host, Stage::Connect)),
            What::TlsEnter { server_name, .. } => {
                let tls = wait(server_name, Stage::Tls);
                // Others dialed for it, where IPv6 and IPv4 are tried side by side.
                self.dials.retain(|(pid, _), dial| {
                    *pid != event.pid || dial.stage != Stage::Connect || !dial.is_to(&tls)
                });
                self.dials.insert(place, tls);
            }
            What::Resolved { .. } | What::TlsState { .. } | What::TlsReturn { .. } => {
                self.dials.remove(&place);
            }
            What::Exit { .. } | What::Exec { .. } => self.forget(event.pid),
            _ => {}
        }
    }

    fn look_up(&mut self, place: Place, proxy: &str, module: &str) {
        let walk = self.walks.get_mut(&place).and_then(|walks| walks.last_mut());
        let Some(walk) = walk else { return };
        // The entry that stands before every list is passed by.
        let before = walk.entry.replace(proxy.to_owned());
        let moved = before.is_some_and(|before| before != proxy && before != "noproxy");
        self.fallbacks += usize::from(moved);
        if walk.module.is_none() {
            let key = (place.0, module.to_owned());
            *self.modules.entry(key.clone()).or_default() += 1;
            walk.module = Some(key);
        }
    }

    /// That a connection without TLS was made, no event tells: what no request waits for is over.
    fn forget_dials(&mut self) {
        // As nearly always: to find what a request waits for, all requests are gone through.
        if self.dials.is_empty() {
            return;
        }
        let open = &self.open;
        self.dials.retain(|(pid, _), dial| {
            open.iter().any(|((of, _), open)| of == pid && dial.is_for(open))
        });
    }

    fn forget(&mut self, pid: u32) {
        self.walks.retain(|place, _| place.0 != pid);
        self.open.retain(|place, _| place.0 != pid);
        self.bodies.retain(|place, _| place.0 != pid);
        self.dials.retain(|place, _| place.0 != pid);
        let of_pid = self.modules.iter_mut().filter(|((owner, _), _)| *owner == pid);
        of_pid.for_each(|(_, running)| *running = 0);
    }

    /// The line, at a time of the trace; none as long as no go has asked for anything.
    pub fn line(&self, now: u64) -> Option<String> {
        if self.requests == 0 && self.dials.is_empty() {
            return None;
        }
        let done = self.modules.values().filter(|running| **running == 0).count();
        let mut line = "proxytrace: ".to_owned();
        // First, as it is what one wants to know where there is no room for more.
        if let Some(wait) = self.longest().filter(|wait| now >= wait.since + WORTH_TELLING) {
            let seconds = Duration::from_nanos(now - wait.since).as_secs();
            let (host, limit) = (escape(&wait.host, HOST), wait.stage.limit());
            let _ = write!(line, "waiting {seconds} s for {host}{limit}; ");
        }
        let _ = write!(
            line,
            "{done} of {} done, {}, {}, {}",
            count(self.modules.len(), "module"),
            count(self.requests, "request"),
            count(self.redirects, "redirect"),
            count(self.fallbacks, "fallback"),
        );
        Some(line)
    }

    /// What has been waited for the longest. A request that has no connection waits for what whoever
    /// makes one is at.
    fn longest(&self) -> Option<Wait> {
        let waits = self.open.iter().map(|((pid, _), open)| {
            let made = self.dials.iter().filter(|((of, _), dial)| of == pid && dial.is_for(open));
            let dial = made.map(|(_, dial)| dial).min_by_key(|dial| dial.since);
            dial.unwrap_or(open)
        });
        waits.chain(self.bodies.values()).min_by_key(|wait| wait.since).cloned()
    }
}

impl Wait {
    /// Whether a connection that is being made may be for a request: it has none, and asked before.
    fn is_for(&self, open: &Wait) -> bool {
        open.stage == Stage::Connection && self.since >= open.since && self.is_to(open)
    }

    fn is_to(&self, other: &Wait) -> bool {
        host_name(&self.host) == host_name(&other.host)
    }
}

/// The host of an URL, with its port.
fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    host.rsplit_once('@').map_or(host, |(_, host)| host)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::Progress;
    use crate::event::{Event, Goroutine, Headers, What};

    fn at(seconds: u64, goroutine: u64, what: What) -> Event {
        let goroutine = Some(Goroutine { id: goroutine, parent: 0 });
        Event { time: seconds * 1_000_000_000, pid: 7, goroutine, what }
    }

    fn lookup(proxy: &str) -> What {
        What::Lookup { proxy: proxy.into(), module: "example.com/m".into() }
    }

    fn request(url: &str) -> What {
        What::RequestEnter {
            method: "GET".into(),
            url: url.into(),
            headers: Headers::new(),
            credentials: None,
            cut: vec![],
        }
    }

    fn answer(status: u16, location: Option<&str>, body: Option<u64>) -> What {
        What::RequestReturn {
            status: Some(status),
            protocol: None,
            headers: location.map(|to| ("Location".into(), to.to_owned())).into_iter().collect(),
            content_length: None,
            body,
            error: None,
            cut: vec![],
        }
    }

    const TRY: What =
        What::Try { protocol: Cow::Borrowed(""), local: None, remote: None, tls: true };

    #[test]
    fn a_line_says_what_is_waited_for() {
        let mut progress = Progress::default();
        assert_eq!(progress.line(0), None);
        let mut say = |event: Event, now: u64| {
            progress.push(&event);
            progress.line(now * 1_000_000_000).unwrap_or_default()
        };
        say(at(0, 1, What::WalkEnter), 0);
        say(at(0, 1, lookup("https://proxy.example")), 0);
        say(at(0, 1, request("https://user@proxy.example/m")), 0);
        let line = say(at(1, 2, What::Resolve { host: "proxy.example".into() }), 5);
        assert_eq!(
            line,
            "proxytrace: waiting 4 s for proxy.example to be resolved; 0 of 1 module done, 1 request, 0 redirects, 0 fallbacks"
        );
        let dial =
            What::Dial { host: "proxy.example:443".into(), remote: ([192, 0, 2, 1], 443).into() };
        assert!(say(at(6, 2, dial), 10).contains(
            "waiting 4 s for proxy.example:443 to accept a connection, go gives up after 30 s"
        ));
        let tls = What::TlsEnter { server_name: "proxy.example".into(), local: None, remote: None };
        assert!(say(at(10, 2, tls), 13).contains("to shake hands, go gives up after 10 s;"));
        say(at(14, 2, What::TlsReturn { error: None }), 14);
        assert!(!say(at(14, 1, TRY), 15).contains("waiting"));
        let line = say(at(14, 9, What::WalkEnter), 38);
        assert!(
            line.contains(": waiting 24 s for proxy.example, go has no timeout here; "),
            "{line}"
        );
        say(at(39, 1, answer(302, Some("https://storage.example/"), None)), 39);
        say(at(39, 1, request("https://storage.example/")), 39);
        say(at(39, 1, TRY), 39);
        let line = say(at(40, 1, answer(200, None, Some(4))), 50);
        assert!(line.contains("waiting 10 s for storage.example to send the rest, go has no timeout here; 0 of 1 module done, 2 requests, 1 redirect, 0 fallbacks"), "{line}");
        let end = What::BodyEnd { body: 4, remaining: None, short: false, error: None };
        say(at(51, 1, end), 51);
        say(at(51, 1, lookup("direct")), 51);
        let line = say(at(52, 1, What::WalkReturn { error: None }), 60);
        assert_eq!(line, "proxytrace: 1 of 1 module done, 2 requests, 1 redirect, 1 fallback");
    }

    /// The URL has its address without the port, who dials with it.
    #[test]
    fn who_dials_an_ipv6_address_is_waited_for() {
        let mut progress = Progress::default();
        progress.push(&at(0, 1, request("https://[::1]/m")));
        let remote = "[::1]:443".parse().unwrap();
        progress.push(&at(0, 2, What::Dial { host: "[::1]:443".into(), remote }));
        let line = progress.line(9_000_000_000).unwrap();
        assert!(line.contains("waiting 9 s for [::1]:443 to accept a connection"), "{line}");
        let tls = What::TlsEnter { server_name: "[::1]".into(), local: None, remote: None };
        progress.push(&at(0, 2, tls));
        let line = progress.line(9_000_000_000).unwrap();
        assert!(line.contains("waiting 9 s for [::1] to shake hands"), "{line}");
    }

    /// Nothing tells that a connection without TLS was made, nor which of those that raced was.
    #[test]
    fn who_dialed_long_ago_is_not_waited_for() {
        let dial = |host: &str| {
            let remote = ([192, 0, 2, 1], 3000).into();
            What::Dial { host: host.into(), remote }
        };
        let mut progress = Progress::default();
        progress.push(&at(0, 1, request("http://athens.example:3000/m")));
        progress.push(&at(0, 2, dial("athens.example:3000")));
        // The second asks for a connection of its own.
        progress.push(&at(60, 3, request("http://athens.example:3000/n")));
        progress.push(&at(60, 1, TRY));
        progress.push(&at(60, 1, answer(200, None, None)));
        assert!(!progress.line(61_000_000_000).unwrap().contains("waiting"));
        assert!(progress.dials.is_empty());
        progress.push(&at(60, 4, dial("athens.example:3000")));
        let line = progress.line(64_000_000_000).unwrap();
        assert!(line.contains("waiting 4 s for athens.example:3000 to accept"), "{line}");

        let mut progress = Progress::default();
        progress.push(&at(0, 1, request("https://proxy.example/m")));
        progress.push(&at(0, 3, dial("proxy.example:443")));
        let tls = What::TlsEnter { server_name: "proxy.example".into(), local: None, remote: None };
        progress.push(&at(1, 2, tls));
        let line = progress.line(4_000_000_000).unwrap();
        assert!(line.contains("waiting 3 s for proxy.example to shake hands"), "{line}");
    }

    #[test]
    fn what_go_does_not_follow_is_no_redirect() {
        let mut progress = Progress::default();
        for status in [300, 304, 307] {
            progress.push(&at(0, 1, request("https://a/")));
            progress.push(&at(1, 1, answer(status, Some("https://b/"), None)));
        }
        assert!(progress.line(0).unwrap().contains("3 requests, 1 redirect,"));
    }

    #[test]
    fn hosts_are_text() {
        let mut progress = Progress::default();
        progress.push(&at(0, 1, request("https://a\u{1b}[2J\nb/")));
        progress.push(&at(0, 1, TRY));
        let line = progress.line(9_000_000_000).unwrap();
        assert!(line.contains("a\\x1b[2J\\nb") && !line.chars().any(char::is_control), "{line}");
    }

    #[test]
    fn what_has_ended_is_not_waited_for() {
        let mut progress = Progress::default();
        progress.push(&at(0, 1, request("https://a/")));
        progress.push(&at(1, 1, What::Exit { code: Some(1), signal: None }));
        assert!(!progress.line(9_000_000_000).unwrap().contains("waiting"));
    }
}
