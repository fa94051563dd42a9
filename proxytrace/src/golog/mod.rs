//! What can be rebuilt from the output of `go mod download -x`, `go get -x` or `go build -x` alone.
//!
//! Such a log has a line when go begins to get a URL and one when it has it
//! (`cmd/go/internal/web/http.go:get`, Go 1.12 to 1.27), and the commands of version control tools
//! with their times. It has no redirects, no resends, no retries of the transport, no CONNECT, no
//! connections and no configuration; a status may be that of a host which it does not name. So every
//! finding is a possibility, and those that need what is missing are not made.
//!
//! The result is a trace in which times count lines, and durations are those that go printed.
#![forbid(unsafe_code)]

mod lines;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{self, BufRead, Read as _};

use crate::correlate::story::{answer, failed};
use crate::correlate::target::{self, Target};
use crate::diagnose::diagnose;
use crate::event::{Origin, Setting, Surroundings};
use crate::goproxy::{List, is_keyword, is_off_alone};
use crate::model::{
    Artifact, Attempt, Capture, Cause, Chain, Command, Next, Outcome, Process, Request,
    RequestError, SCHEMA, Trace,
};
use crate::redact;
use crate::url::Url;

use self::lines::Line;

/// What the log is not able to show, as the trace says it.
pub const LIMITS: &str = "this is what go printed: redirects, resends, retries, CONNECT, connections \
                          and the configuration are not in it, and a status may be that of another \
                          host than the one named";

/// What such a trace says of how it was made, in place of the kind of probes.
pub const BACKEND: &str = "log";

/// What is read of a line; URLs are far shorter.
const MAX_LINE: u64 = 1 << 16;
/// How many requests and commands are kept.
const MAX_REQUESTS: usize = 1 << 18;
/// How much of go's errors is kept.
const MAX_STDERR: usize = 4096;

/// Findings that hold on what a log has. The others need a header, a connection, the list, or to
/// know that nothing else was asked.
pub const POSSIBLE: &[&str] = &[
    "PT003", "PT004", "PT005", "PT007", "PT201", "PT202", "PT203", "PT204", "PT205", "PT208",
    "PT211", "PT301", "PT302", "PT402", "PT408", "PT409", "PT410", "PT502", "PT503", "PT505",
    "PT900",
];

/// What a log says, as a trace with its findings; how many lines of `-x` it has.
pub fn read(mut input: impl BufRead) -> io::Result<(Trace, usize)> {
    let mut log = Log::default();
    while let Some(line) = next_line(&mut input)? {
        log.time += 1;
        log.line(&redact::text(&String::from_utf8_lossy(&line)));
    }
    let lines = log.understood;
    Ok((log.into_trace(), lines))
}

/// The next line, or what is read of it; none at the end.
fn next_line(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    if input.take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') && line.len() as u64 == MAX_LINE {
        input.skip_until(b'\n')?;
    }
    Ok(Some(line))
}

/// A log as it is read.
#[derive(Default)]
struct Log {
    time: u64,
    understood: usize,
    requests: u32,
    chains: Vec<Chain>,
    keys: HashMap<Key, usize>,
    /// Where the requests that have not ended are, by URL.
    open: HashMap<String, VecDeque<(usize, usize, usize)>>,
    /// The hosts and the modules that go asked for.
    asked: HashSet<String>,
    commands: Vec<Process>,
    stderr: String,
    /// Whether go said more than is in `stderr`.
    cut: bool,
    failed: bool,
    dropped: u64,
}

type Key = (Artifact, Option<String>, Option<String>, Option<String>);

impl Log {
    fn line(&mut self, line: &str) {
        let full = self.requests as usize + self.commands.len() >= MAX_REQUESTS;
        match lines::read(line) {
            Line::Begin(_) | Line::Command { .. } if full => self.dropped += 1,
            Line::Begin(url) => self.begin(url),
            Line::End { url, result } => self.end(url, &lines::result(result), result),
            Line::Command { seconds, command } => self.command(seconds, command),
            Line::Error(said) => self.error(&["go: ", said, "\n"]),
            Line::Named { url, module, said } if self.has_asked(url, module) => {
                self.error(&[said, "\n"]);
            }
            Line::Other | Line::Named { .. } => return,
        }
        self.understood += 1;
    }

    /// Whether go asked for any of these.
    fn has_asked(&self, url: Option<&str>, module: Option<&str>) -> bool {
        let host = url.and_then(host);
        [host.as_deref(), module].into_iter().flatten().any(|name| self.asked.contains(name))
    }

    fn error(&mut self, said: &[&str]) {
        self.failed = true;
        let room = MAX_STDERR.saturating_sub(self.stderr.len());
        if said.iter().map(|part| part.len()).sum::<usize>() <= room {
            self.stderr.extend(said.iter().copied());
        } else {
            self.cut = true;
        }
    }

    fn begin(&mut self, url: &str) {
        let list = list_for(url);
        let Target { artifact, module, version, proxy, place } = target::read(url, None, &list);
        let module = module.map(Cow::into_owned);
        let version = version.map(Cow::into_owned);
        let key = (artifact, module.clone(), version.clone(), place);
        let place = *self.keys.entry(key).or_insert(self.chains.len());
        if place == self.chains.len() {
            self.chains.push(Chain {
                id: u32::try_from(place).unwrap_or(u32::MAX),
                process: 0,
                module,
                version,
                artifact,
                outcome: Outcome::Unfinished,
                contradicted_by: None,
                started_ns: self.time,
                duration_ns: None,
                commands: Vec::new(),
                attempts: Vec::new(),
            });
        }
        let request = self.request(url);
        self.asked.extend(self.chains[place].module.clone());
        let attempts = &mut self.chains[place].attempts;
        // The list is not known; one entry after the other was asked.
        let again = attempts.last().is_some_and(|last| last.proxy == proxy);
        if !again {
            attempts.push(attempt(&proxy));
        }
        let attempt = attempts.len() - 1;
        let requests = &mut attempts[attempt].requests;
        requests.push(request);
        let at = (place, attempt, requests.len() - 1);
        self.open.entry(url.to_owned()).or_default().push_back(at);
    }

    fn request(&mut self, url: &str) -> Request {
        let id = self.requests;
        self.requests = self.requests.saturating_add(1);
        let host = host(url).unwrap_or_default();
        self.asked.insert(host.clone());
        Request::begun(id, "GET".into(), url.to_owned(), host, self.time)
    }

    fn end(&mut self, url: &str, result: &lines::Result<'_>, text: &str) {
        let Some((chain, attempt, place)) = self.open.get_mut(url).and_then(VecDeque::pop_front)
        else {
            return;
        };
        // An error names the URL that it is about: that of a redirect which go does not print.
        let redirected = result.target.filter(|target| host(target) != host(url));
        let refused = result.outcome == Outcome::RedirectRefused;
        self.asked.extend(redirected.and_then(host));
        let target = redirected.filter(|_| !refused).map(|target| self.request(target));
        let attempt = &mut self.chains[chain].attempts[attempt];
        attempt.outcome = result.outcome;
        let request = &mut attempt.requests[place];
        request.duration_ns = result.seconds.map(nanoseconds);
        request.status = result.status;
        let error = || RequestError {
            kind: result.outcome,
            types: Vec::new(),
            detail: Some(text.to_owned()),
            reason: None,
        };
        if let Some(mut target) = target {
            request.outcome = Outcome::Unknown;
            target.cause = Cause::Redirect;
            target.follows = Some(request.id);
            // It answered, and what it redirected to is no place to blame.
            let is_end = result.outcome != Outcome::RedirectInvalid;
            target.outcome = if is_end { result.outcome } else { Outcome::Unknown };
            target.error = Some(error());
            // It is put in its place at the end: until then places name requests.
            attempt.requests.push(target);
        } else {
            request.outcome = result.outcome;
            request.error = result.status.is_none().then(error);
        }
    }

    fn command(&mut self, seconds: f64, command: &str) {
        let argv: Vec<String> = command.split(' ').map(str::to_owned).collect();
        self.commands.push(Process {
            id: u32::try_from(self.commands.len() + 1).unwrap_or(u32::MAX),
            parent: Some(0),
            started_ns: self.time,
            ended_ns: Some(self.time.saturating_add(nanoseconds(seconds))),
            ..process(redact::arguments(&argv))
        });
    }

    fn into_trace(mut self) -> Trace {
        self.settle();
        let Self { time, chains, commands, stderr, failed: wrong, dropped, .. } = self;
        let mut go = process(vec!["go".to_owned()]);
        go.stderr_tail = (!stderr.is_empty()).then_some(stderr);
        // Not a word of an error is as good as success for what is found; it is not known.
        go.exit_code = (!wrong).then_some(0);
        let mut processes = vec![go];
        processes.extend(commands);
        let mut trace = Trace {
            schema: SCHEMA.to_owned(),
            proxytrace: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: String::new(),
            started_at: String::new(),
            command: Command { argv: vec!["go".to_owned()], ..Command::default() },
            processes,
            chains,
            connections: Vec::new(),
            lookups: Vec::new(),
            requirements: Vec::new(),
            netrc: Vec::new(),
            findings: Vec::new(),
            capture: Capture {
                events: time,
                lost: dropped,
                backend: BACKEND.to_owned(),
                ..Capture::default()
            },
        };
        trace.findings = diagnose(&trace);
        trace.findings.retain(|finding| POSSIBLE.contains(&finding.code.as_str()));
        for finding in trace.findings.iter_mut().filter(|finding| finding.code == "PT900") {
            LIMITS.clone_into(&mut finding.message);
            "Trace the command instead: `sudo proxytrace -- go …`.".clone_into(&mut finding.advice);
        }
        trace.processes[0].exit_code = None;
        trace
    }

    /// Says where each walk went, as far as the order of the lines tells.
    fn settle(&mut self) {
        // The whole of what a run that failed said.
        let said = Some(self.stderr.as_str()).filter(|said| !said.is_empty() && !self.cut);
        let searches: HashMap<String, (u64, Outcome)> = self
            .chains
            .iter()
            .filter(|chain| chain.artifact == Artifact::GoGet)
            .filter_map(|chain| {
                let outcome = chain.attempts.last()?.outcome;
                Some((chain.module.clone()?, (chain.started_ns, outcome)))
            })
            .collect();
        for chain in &mut self.chains {
            if chain.artifact != Artifact::GoGet
                && let Some(module) = &chain.module
                && let Some(last) = chain.attempts.last().filter(|last| failed(last.outcome))
                && !is_keyword(&last.proxy)
            {
                let prefixes = module.match_indices('/').map(|(at, _)| &module[..at]);
                // What was asked after the search is what the page named.
                let asked = last.requests.first().map_or(chain.started_ns, |it| it.started_ns);
                let after = |(started, _): &&(u64, Outcome)| *started > asked;
                let search = prefixes
                    .chain([module.as_str()])
                    .filter_map(|path| searches.get(path).filter(after))
                    .next_back();
                if let Some((_, outcome)) = search {
                    let direct = Attempt {
                        outcome: if failed(*outcome) { *outcome } else { Outcome::Unknown },
                        ..attempt("direct")
                    };
                    chain.attempts.push(direct);
                }
            }
            // After a 404 go may have had it from a version control tool, of which little is printed: what
            // no error names has not failed.
            let module = chain.module.as_deref();
            let names =
                |said: &str, module| said.contains(module) || said.lines().any(is_off_alone);
            let unnamed = said.zip(module).is_some_and(|(said, module)| !names(said, module));
            let count = chain.attempts.len();
            for place in 0..count {
                let next = chain.attempts.get(place + 1).map(|next| next.proxy.clone());
                let attempt = &mut chain.attempts[place];
                // What a redirect led to stands after it.
                attempt.requests.sort_by_key(|it| (it.follows.unwrap_or(it.id), it.id));
                attempt.next = match next.as_deref() {
                    Some("direct") => Some(Next::Direct),
                    Some(_) => Some(Next::NextEntry),
                    None if unnamed && attempt.outcome == Outcome::NotFound => None,
                    None => failed(attempt.outcome).then_some(Next::Stop),
                };
                attempt.reason = answer(attempt);
            }
            chain.outcome = chain.attempts.last().map_or(Outcome::Unknown, |last| last.outcome);
        }
    }
}

/// The entry that was asked, as far as the URL tells: what is before the checksum database, or
/// before the first element of a path that can begin a module's, one with a dot in it.
fn list_for(url: &str) -> List {
    let entry = || {
        let (scheme, rest) = url.split_once("://")?;
        let (host, path) = rest.split_once('/')?;
        let base = if let Some(at) = path.find("sumdb/") {
            &path[..at]
        } else {
            let module = &path[..path.find("/@")?];
            let begins = |element: &&str| element.contains('.');
            let before = module.split('/').take_while(|element| !begins(element));
            let before: usize = before.map(|element| element.len() + 1).sum();
            path.get(..before).filter(|_| before < module.len()).unwrap_or_default()
        };
        Some(format!("{scheme}://{host}/{base}").trim_end_matches('/').to_owned())
    };
    let setting = |value| Setting { value, origin: Origin::Default };
    let config = entry().map(|entry| ("GOPROXY".to_owned(), setting(entry)));
    List::of(&config.into_iter().collect())
}

fn attempt(proxy: &str) -> Attempt {
    Attempt {
        proxy: proxy.to_owned(),
        index: None,
        separator: None,
        outcome: Outcome::Unfinished,
        next: None,
        reason: String::new(),
        requests: Vec::new(),
    }
}

fn process(argv: Vec<String>) -> Process {
    Process {
        id: 0,
        pid: 0,
        parent: None,
        exe: argv.first().cloned().unwrap_or_default(),
        argv,
        go_version: None,
        config: std::collections::BTreeMap::new(),
        surroundings: Surroundings::default(),
        started_ns: 0,
        ended_ns: None,
        exit_code: None,
        signal: None,
        stderr_tail: None,
    }
}

fn host(url: &str) -> Option<String> {
    Some(Url::parse(url)?.named_host())
}

/// Seconds as go prints them; an absurd number is the longest there is.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast saturates, and durations are not negative"
)]
fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}
