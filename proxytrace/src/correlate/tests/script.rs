//! A small language for writing down what go does, as events.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::correlate::Correlator;
use crate::event::{
    Attach, End, Event, Failure, FailureStep, Goroutine, Headers, MissingHook, Origin, Setting,
    Start, What,
};
use crate::model::{Chain, Trace};
use crate::url::Url;

/// The pid of the go command that a script begins with.
pub(crate) const GO: u32 = 100;

/// Events in time order, one every microsecond.
pub(crate) struct Script {
    pub(crate) events: Vec<Event>,
    exit: Option<i32>,
}

/// What one goroutine of go does.
#[derive(Clone)]
pub(crate) struct Task {
    pid: u32,
    goroutine: Goroutine,
    steps: Vec<(u64, What)>,
}

/// One request and its end.
#[derive(Clone)]
pub(crate) struct Hop {
    method: &'static str,
    url: String,
    status: Option<u16>,
    location: Option<String>,
    headers: Headers,
    credentials: Vec<String>,
    error: Option<Failure>,
    tries: usize,
    /// Until the answer, in nanoseconds.
    takes: u64,
}

/// A request that is answered.
pub(crate) fn hop(url: &str, status: u16) -> Hop {
    let (url, status) = (url.into(), Some(status));
    Hop {
        method: "GET",
        url,
        status,
        location: None,
        headers: Headers::new(),
        credentials: Vec::new(),
        error: None,
        tries: 1,
        takes: 0,
    }
}

impl Hop {
    pub(crate) fn to(self, location: &str) -> Self {
        Self { location: Some(location.into()), ..self }
    }

    /// Without a body.
    pub(crate) fn head(self) -> Self {
        Self { method: "HEAD", ..self }
    }

    /// With a header.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_owned().into(), value.into());
        self
    }

    /// The request has a header with credentials.
    pub(crate) fn sending(mut self, name: &str) -> Self {
        self.credentials.push(name.into());
        self
    }

    /// As a page for people.
    pub(crate) fn page(self) -> Self {
        self.with("Content-Type", "text/html; charset=utf-8")
    }

    /// Not before so many seconds.
    pub(crate) fn after(self, seconds: u64) -> Self {
        Self { takes: seconds * 1_000_000_000, ..self }
    }

    pub(crate) fn error(&self) -> Option<&Failure> {
        self.error.as_ref()
    }

    /// It breaks on its connection, and is sent on another.
    pub(crate) fn retried(self) -> Self {
        Self { tries: self.tries + 1, ..self }
    }
}

/// A request that fails on a connection, or (`connected` false) before it has one.
pub(crate) fn broken(url: &str, error: Failure, connected: bool) -> Hop {
    let tries = usize::from(connected);
    Hop { status: None, error: Some(error), tries, ..hop(url, 0) }
}

/// A chain of errors: type and text, outermost first; the innermost may carry a number.
pub(crate) fn failure(steps: &[(&str, &str)], number: Option<u64>) -> Failure {
    let mut steps: Vec<FailureStep> = steps
        .iter()
        .map(|(name, text)| FailureStep {
            type_name: (*name).into(),
            text: (!text.is_empty()).then(|| (*text).into()),
            ..FailureStep::default()
        })
        .collect();
    if let Some(last) = steps.last_mut() {
        last.number = number;
    }
    Failure { steps }
}

pub(crate) fn plain_error(text: &str) -> Failure {
    failure(&[("*url.Error", "Get"), ("*errors.errorString", text)], None)
}

pub(crate) fn refused() -> Failure {
    let steps = [
        ("*url.Error", "Get"),
        ("*net.OpError", "dial"),
        ("*os.SyscallError", "connect"),
        ("syscall.Errno", ""),
    ];
    failure(&steps, Some(111))
}

pub(crate) fn no_such_host() -> Failure {
    failure(
        &[("*url.Error", "Get"), ("*net.OpError", "dial"), ("*net.DNSError", "no such host")],
        None,
    )
}

/// What a walk ends with after a bad status.
pub(crate) fn bad_status(status: u16) -> Failure {
    failure(&[("*module.ModuleError", ""), ("*web.HTTPError", "")], Some(status.into()))
}

/// What `checkSumDB` says where the checksum database has another hash.
pub(crate) fn mismatch() -> Failure {
    let text = "verifying go.mod: checksum mismatch\n\tdownloaded: h1:tls: EOF";
    failure(&[("*module.ModuleError", ""), ("*errors.errorString", text)], None)
}

/// What it says where the checksum database could not be asked.
pub(crate) fn unverified() -> Failure {
    let text = "verifying go.mod: x.lab/m@v1.0.0/go.mod: reading https://s.lab/lookup: 500";
    failure(&[("*module.ModuleError", ""), ("*errors.errorString", text)], None)
}

pub(crate) fn setting(value: &str) -> Setting {
    Setting { value: value.into(), origin: Origin::Environment }
}

pub(crate) fn config(pairs: &[(&str, &str)]) -> BTreeMap<String, Setting> {
    pairs.iter().map(|(name, value)| ((*name).into(), setting(value))).collect()
}

impl Script {
    /// A `go mod download` with this GOPROXY that ends with `exit`.
    pub(crate) fn new(goproxy: &str, exit: i32) -> Self {
        let mut script = Self { events: Vec::new(), exit: Some(exit) };
        script.go(GO, "/go/bin/go", &config(&[("GOPROXY", goproxy)]));
        script
    }

    /// The same that ends with another code.
    pub(crate) fn exits(self, code: i32) -> Self {
        Self { exit: Some(code), ..self }
    }

    /// The same that a signal ends.
    pub(crate) fn killed(mut self, signal: i32) -> Self {
        self.push(GO, None, What::Exit { code: None, signal: Some(signal) });
        Self { exit: None, ..self }
    }

    /// `pid` becomes a go command.
    pub(crate) fn go(&mut self, pid: u32, exe: &str, config: &BTreeMap<String, Setting>) {
        let argv = vec!["go".to_owned(), "mod".to_owned(), "download".to_owned()];
        self.push(pid, None, What::Exec { exe: exe.into(), argv: argv.clone() });
        let go_version = "go1.27.3".to_owned();
        let (exe, config, surroundings) = (exe.into(), config.clone(), Box::default());
        self.push(pid, None, What::GoStart { go_version, exe, argv, config, surroundings });
    }

    pub(crate) fn push(&mut self, pid: u32, goroutine: Option<Goroutine>, what: What) -> &mut Self {
        let time = 1_000 + self.events.last().map_or(0, |event| event.time);
        self.events.push(Event { time, pid, goroutine, what });
        self
    }

    /// Tasks that run at once, one step each in turn.
    pub(crate) fn run(&mut self, tasks: &[Task]) -> &mut Self {
        let longest = tasks.iter().map(|task| task.steps.len()).max().unwrap_or(0);
        for step in 0..longest {
            for task in tasks {
                if let Some((takes, what)) = task.steps.get(step) {
                    self.push(task.pid, Some(task.goroutine), what.clone());
                    self.events.last_mut().expect("just pushed").time += takes;
                }
            }
        }
        self
    }

    /// Something was not captured.
    pub(crate) fn lose(&mut self) -> &mut Self {
        self.push(GO, None, What::Lost { count: 3 })
    }

    pub(crate) fn attach(&mut self, missing: &[&str], late: bool) -> &mut Self {
        let missing = missing
            .iter()
            .map(|hook| MissingHook { hook: (*hook).into(), reason: "gone".into() })
            .collect();
        let (exe, go_version) = ("/go/bin/go".into(), Some("go1.27.3".into()));
        let hooks = vec!["net/http.(*Transport).roundTrip".to_owned()];
        self.push(
            GO,
            None,
            What::Attach(Attach { exe, go_version, hooks, missing, late, nearest: None }),
        )
    }

    /// The trace, after the command has ended.
    pub(crate) fn trace(&self) -> Trace {
        let start = Start { wire: Some("socket".to_owned()), ..Start::default() };
        let mut correlator = Correlator::new(&start);
        let mut time = 0;
        for event in &self.events {
            correlator.push(event.clone());
            time = event.time + 1_000;
        }
        if let Some(code) = self.exit {
            let what = What::Exit { code: Some(code), signal: None };
            correlator.push(Event { time, pid: GO, goroutine: None, what });
        }
        correlator.finish(&End { time, exit_code: self.exit, signal: None })
    }
}

impl Task {
    /// A goroutine of [`GO`], started by the main goroutine.
    pub(crate) fn new(id: u64) -> Self {
        Self::of(GO, id, 1)
    }

    pub(crate) fn of(pid: u32, id: u64, parent: u64) -> Self {
        Self { pid, goroutine: Goroutine { id, parent }, steps: Vec::new() }
    }

    pub(crate) fn step(mut self, what: What) -> Self {
        self.steps.push((0, what));
        self
    }

    pub(crate) fn walk(self) -> Self {
        self.step(What::WalkEnter)
    }

    pub(crate) fn lookup(self, proxy: &str, module: &str) -> Self {
        self.step(What::Lookup { proxy: proxy.into(), module: module.into() })
    }

    /// A comparison with the checksum database; `version` ends in `/go.mod` if it is that file's.
    pub(crate) fn verify(self, module: &str, version: &str, error: Option<Failure>) -> Self {
        self.step(What::VerifyEnter { module: module.into(), version: version.into() })
            .step(What::VerifyReturn { error })
    }

    pub(crate) fn found(self) -> Self {
        self.step(What::WalkReturn { error: None })
    }

    pub(crate) fn failed(self, error: Failure) -> Self {
        self.step(What::WalkReturn { error: Some(error) })
    }

    /// One fetch of one send.
    pub(crate) fn fetch(self, hops: &[Hop]) -> Self {
        self.sends(&[hops])
    }

    /// One fetch that is resent as Go ≥ 1.24 does after a 4xx.
    pub(crate) fn fetch_twice(self, hops: &[Hop]) -> Self {
        self.sends(&[hops, hops])
    }

    pub(crate) fn sends(self, sends: &[&[Hop]]) -> Self {
        sends.iter().fold(self, |task, hops| {
            let task = hops.iter().fold(task, Self::hop);
            match &hops.last().expect("a send has a request").error {
                Some(error) => task.step(What::SendFailed { error: Some(error.clone()) }),
                None => task,
            }
        })
    }

    /// One fetch whose last redirect go does not follow.
    pub(crate) fn fetch_refused(self, hops: &[Hop], error: Failure) -> Self {
        let task = hops.iter().fold(self, Self::hop);
        task.step(What::SendFailed { error: Some(error) })
    }

    fn hop(mut self, hop: &Hop) -> Self {
        let agent = Headers::from_iter([("User-Agent".into(), "GoCommand/1".to_owned())]);
        let (url, method) = (hop.url.clone(), hop.method.into());
        let credentials = Some(hop.credentials.clone());
        self = self.step(What::RequestEnter {
            method,
            url,
            headers: agent,
            credentials,
            cut: Vec::new(),
        });
        for attempt in 0..hop.tries {
            let (local, remote) = ends(&hop.url, attempt);
            self = self.step(What::Try {
                protocol: "HTTP/2.0".into(),
                local: Some(local),
                remote: Some(remote),
                tls: true,
            });
        }
        let mut headers = hop.headers.clone();
        headers.extend(hop.location.iter().map(|l| ("Location".into(), l.clone())));
        let ending = What::RequestReturn {
            status: hop.status,
            protocol: hop.status.map(|_| "HTTP/2.0".into()),
            headers,
            content_length: None,
            body: None,
            error: hop.error.clone(),
            cut: Vec::new(),
        };
        self.steps.push((hop.takes, ending));
        self
    }
}

/// One connection per host; each retry goes onto another.
fn ends(url: &str, attempt: usize) -> (SocketAddr, SocketAddr) {
    let host = Url::parse(url).map_or("", |url| url.host);
    let number = host.bytes().fold(0_u16, |sum, b| sum.wrapping_mul(31).wrapping_add(b.into()));
    let attempt = u16::try_from(attempt).unwrap_or(0);
    let local = ([127, 0, 0, 1], 32_768 + (number % 16_384) * 2 + attempt).into();
    (local, ([127, 0, 1, 1], 1 + number % 1_000).into())
}

/// The chain with this module (`-` for none), version and artifact.
pub(crate) fn chain<'a>(trace: &'a Trace, name: &str) -> &'a Chain {
    let named = |chain: &&Chain| label(chain) == name;
    let mut found = trace.chains.iter().filter(named);
    let chain = found.next().unwrap_or_else(|| {
        panic!("no chain {name} in {:?}", trace.chains.iter().map(label).collect::<Vec<_>>())
    });
    assert!(found.next().is_none(), "two chains {name}");
    chain
}

pub(crate) fn label(chain: &Chain) -> String {
    let artifact = serde_json::to_value(chain.artifact).expect("an artifact is a word");
    let version = chain.version.as_ref().map_or_else(String::new, |version| format!("@{version}"));
    let module = chain.module.as_deref().unwrap_or("-");
    format!("{module}{version} {}", artifact.as_str().unwrap_or_default())
}

/// A chain drawn in one line per attempt: `proxy[index] outcome → next: requests`.
pub(crate) fn draw(chain: &Chain) -> Vec<String> {
    let word = |value: serde_json::Value| value.as_str().unwrap_or("-").to_owned();
    let json = |value| word(serde_json::to_value(value).expect("a plain value"));
    chain
        .attempts
        .iter()
        .map(|attempt| {
            let index = attempt.index.map_or_else(|| "-".to_owned(), |index| index.to_string());
            let next = word(serde_json::to_value(attempt.next).expect("a plain value"));
            let requests: Vec<String> = attempt
                .requests
                .iter()
                .map(|request| {
                    let status =
                        request.status.map_or_else(|| json(request.outcome), |s| s.to_string());
                    let cause = word(serde_json::to_value(request.cause).expect("a plain value"));
                    let after = request.after_redirect.map_or_else(String::new, |after| {
                        format!(" ({})", word(serde_json::to_value(after).expect("a plain value")))
                    });
                    format!("{cause} {} {status}{after}", request.host)
                })
                .collect();
            let outcome = json(attempt.outcome);
            let line =
                format!("{}[{index}] {outcome} → {next}: {}", attempt.proxy, requests.join(", "));
            line.trim_end().to_owned()
        })
        .collect()
}
