//! Traces made by hand, for the tests of the reports.

use crate::event::{Attach, MissingHook, Origin, Setting, Surroundings};
use crate::model::{
    AfterRedirect, Artifact, Attempt, Capture, Cause, Chain, Command, Confidence, Finding, Next,
    Outcome, Process, Request, RequestError, Role, SCHEMA, Separator, Severity, Trace,
};

/// The URL that fails in [`comma`].
pub(crate) const LONG_URL: &str = "https://proxy.example/golang.org/x/some/quite/long/module/path/@v/v0.1.2-20240102030405-abcdefabcdef.info";

const MS: u64 = 1_000_000;

fn setting(value: &str, origin: Origin) -> Setting {
    Setting { value: value.into(), origin }
}

fn trace(chains: Vec<Chain>, findings: Vec<Finding>, exit_code: i32) -> Trace {
    Trace {
        schema: SCHEMA.into(),
        proxytrace: "0.1.0".into(),
        kernel: "6.12.0".into(),
        started_at: "2026-01-02T03:04:05Z".into(),
        command: Command {
            argv: vec!["go".into(), "mod".into(), "download".into()],
            exit_code: Some(exit_code),
            signal: None,
            duration_ns: Some(812 * MS),
        },
        processes: vec![Process {
            id: 1,
            pid: 4711,
            parent: None,
            argv: vec!["go".into(), "mod".into(), "download".into()],
            exe: "/usr/lib/go/bin/go".into(),
            go_version: Some("go1.27.3".into()),
            config: [
                ("GOPROXY".into(), setting("https://proxy.example,direct", Origin::Environment)),
                ("GOSUMDB".into(), setting("sum.golang.org", Origin::GorootFile)),
                ("GOAUTH".into(), setting("netrc", Origin::Default)),
            ]
            .into(),
            surroundings: Surroundings::default(),
            started_ns: 0,
            ended_ns: Some(800 * MS),
            exit_code: Some(exit_code),
            signal: None,
            stderr_tail: None,
        }],
        chains,
        connections: vec![],
        lookups: vec![],
        requirements: vec![],
        netrc: vec![],
        findings,
        capture: Capture { events: 900, complete: true, ..Capture::default() },
    }
}

fn chain(id: u32, module: &str, artifact: Artifact, attempts: Vec<Attempt>) -> Chain {
    Chain {
        id,
        process: 1,
        module: Some(module.into()),
        version: Some("v1.0.0".into()),
        artifact,
        outcome: attempts.last().map_or(Outcome::Unknown, |attempt| attempt.outcome),
        started_ns: 0,
        duration_ns: Some(31 * MS),
        contradicted_by: None,
        commands: Vec::new(),
        attempts,
    }
}

fn attempt(proxy: &str, outcome: Outcome, requests: Vec<Request>) -> Attempt {
    Attempt {
        proxy: proxy.into(),
        index: Some(0),
        separator: Some(Separator::Comma),
        outcome,
        next: (outcome != Outcome::Ok).then_some(Next::Stop),
        reason: String::new(),
        requests,
    }
}

fn request(id: u32, url: &str, status: u16) -> Request {
    Request {
        status: Some(status),
        protocol: Some("HTTP/2.0".into()),
        connection: Some(1),
        remote_addr: Some("192.0.2.1:443".into()),
        duration_ns: Some(12 * MS + 345_678),
        outcome: if status < 400 { Outcome::Ok } else { Outcome::HttpError },
        ..Request::begun(id, "GET".into(), url.into(), "proxy.example".into(), 0)
    }
}

fn redirect(id: u32, url: &str, location: &str, after: AfterRedirect) -> Request {
    Request {
        location: Some(location.into()),
        after_redirect: Some(after),
        ..request(id, url, 302)
    }
}

fn finding(code: &str, severity: Severity, message: &str, advice: &str) -> Finding {
    Finding {
        code: code.into(),
        slug: String::new(),
        severity,
        role: Role::Root,
        chain: Some(0),
        chains: vec![0],
        module: None,
        version: None,
        modules: vec![],
        requests: vec![],
        message: message.into(),
        advice: advice.into(),
        confidence: Confidence::Certain,
        sources: vec![],
    }
}

fn module(number: u32) -> String {
    format!("example.com/m{number:02}")
}

/// Forty modules, each by three requests; of three the zip was elsewhere.
pub(crate) fn healthy() -> Trace {
    let chains = (0..40).flat_map(|number| {
        let name = module(number);
        [Artifact::Info, Artifact::Mod, Artifact::Zip].into_iter().zip(0..).map(
            move |(artifact, n)| {
                let id = number * 3 + n;
                let url = format!("https://proxy.example/{name}/@v/v1.0.0");
                let first = if artifact == Artifact::Zip && number < 3 {
                    redirect(id, &url, "https://storage.example/x", AfterRedirect::Followed)
                } else {
                    request(id, &url, 200)
                };
                let proxy = attempt("https://proxy.example", Outcome::Ok, vec![first]);
                chain(id, &name, artifact, vec![proxy])
            },
        )
    });
    let prefix = Chain { version: None, ..chain(990, "example.com", Artifact::List, vec![]) };
    trace(chains.chain([prefix]).collect(), vec![], 0)
}

/// The zips of forty modules redirect to a host that forbids them.
pub(crate) fn forbidden() -> Trace {
    let chains = (0..40).map(|number| {
        let from = format!("https://proxy.example/{}/@v/v1.0.0.zip", module(number));
        let to = format!("https://storage.example/o/{number}?X-Goog-Signature=REDACTED");
        let requests = vec![
            redirect(number * 2, &from, &to, AfterRedirect::Followed),
            Request {
                cause: Cause::Redirect,
                follows: Some(number * 2),
                ..request(number * 2 + 1, &to, 403)
            },
        ];
        let reason = "403 is neither 404 nor 410, and `,` follows: go stops";
        let stop = Attempt {
            reason: reason.into(),
            ..attempt("https://proxy.example", Outcome::HttpError, requests)
        };
        chain(number, &module(number), Artifact::Zip, vec![stop])
    });
    let found = Finding {
        chains: (0..40).collect(),
        modules: (0..40).map(|number| format!("{}@v1.0.0", module(number))).collect(),
        requests: vec![1],
        ..finding(
            "PT006",
            Severity::Error,
            "storage.example answered 403 to what proxy.example redirected there",
            "allow this machine to fetch from storage.example; go's own message names proxy.example",
        )
    };
    trace(chains.collect(), vec![found], 1)
}

/// One module stops at a 502; another one is fine.
pub(crate) fn comma() -> Trace {
    let stop = Attempt {
        reason: "502 is neither 404 nor 410, and `,` follows: go stops".into(),
        ..attempt("https://proxy.example", Outcome::HttpError, vec![request(0, LONG_URL, 502)])
    };
    let fine = attempt(
        "https://proxy.example",
        Outcome::Ok,
        vec![request(1, "https://proxy.example/example.com/fine/@v/v1.0.0.info", 200)],
    );
    let chains = vec![
        chain(0, "golang.org/x/some/quite/long/module/path", Artifact::Info, vec![stop]),
        chain(1, "example.com/fine", Artifact::Info, vec![fine]),
    ];
    let findings = vec![
        Finding { chain: Some(1), ..finding("PT102", Severity::Note, "an ordinary fallback", "") },
        Finding {
            requests: vec![0],
            ..finding("PT409", Severity::Error, "proxy.example answered 502", "")
        },
        Finding {
            role: Role::Contributing,
            requests: vec![0],
            ..finding(
                "PT101",
                Severity::Error,
                "`direct` was not asked: after a 502, `,` ends the list",
                "write `|` after the entry, or repair the proxy",
            )
        },
    ];
    trace(chains, findings, 1)
}

/// One module is there, and go asked for its version of the paths above and below it, too.
pub(crate) fn probed() -> Trace {
    let asked = [
        ("golang.org/x/some/cmd", 404),
        ("golang.org/x/some", 200),
        ("golang.org/x", 404),
        ("golang.org", 404),
    ];
    let probe = |(id, (module, status)): (u32, (&str, u16))| {
        let url = format!("https://proxy.example/{module}/@v/v1.0.0.info");
        let outcome = if status == 200 { Outcome::Ok } else { Outcome::NotFound };
        let requests = vec![request(id, &url, status)];
        let asked = Attempt { next: None, ..attempt("https://proxy.example", outcome, requests) };
        chain(id, module, Artifact::Info, vec![asked])
    };
    trace((0..).zip(asked).map(probe).collect(), vec![], 0)
}

/// All is well in what was seen, and not everything was.
pub(crate) fn incomplete() -> Trace {
    let capture = Capture {
        events: 900,
        lost: 12,
        attach: vec![Attach {
            exe: "/usr/lib/go/bin/go".into(),
            go_version: Some("go1.27.3".into()),
            hooks: vec![],
            missing: vec![MissingHook {
                hook: "modfetch.Lookup".into(),
                reason: "not found in the symbol table".into(),
            }],
            late: true,
            nearest: None,
        }],
        backend: "perf".into(),
        wire: None,
        witnesses: None,
        watch_ended: None,
        complete: false,
    };
    Trace { capture, ..healthy() }
}

/// Everything that others may choose is chosen to deceive, and as long as `padding` makes it.
pub(crate) fn hostile(padding: usize) -> Trace {
    let padding = "x".repeat(padding);
    let evil = format!("\u{1b}]0;owned\u{7}\r\nFAKE: all is well\u{202e}\u{2028}{padding}");
    let failed = Request {
        status: None,
        duration_ns: None,
        outcome: Outcome::Reset,
        error: Some(RequestError {
            kind: Outcome::Reset,
            types: vec![evil.clone()],
            detail: Some(evil.clone()),
            reason: None,
        }),
        cut: vec!["url\n".into()],
        ..request(1, &evil, 0)
    };
    let attempts = vec![Attempt {
        reason: evil.clone(),
        ..attempt(
            &evil,
            Outcome::Reset,
            vec![redirect(0, "https://proxy.example/", &evil, AfterRedirect::Refused), failed],
        )
    }];
    let chains =
        vec![Chain { version: Some(evil.clone()), ..chain(0, &evil, Artifact::Mod, attempts) }];
    let findings = vec![Finding {
        modules: vec![evil.clone(), evil.clone()],
        ..finding(&evil, Severity::Error, &evil, &evil)
    }];
    let mut trace = trace(chains, findings, 1);
    trace.processes[0].argv = vec![evil.clone()];
    trace.processes[0].go_version = Some(evil.clone());
    trace.processes[0].config = [(evil.clone(), setting(&evil, Origin::UserFile))].into();
    trace.capture = Capture {
        attach: vec![Attach {
            exe: evil.clone(),
            go_version: None,
            hooks: vec![],
            missing: vec![MissingHook { hook: evil.clone(), reason: evil }],
            late: true,
            nearest: None,
        }],
        ..Capture::default()
    };
    trace
}
