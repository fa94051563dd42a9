//! The comparison itself: a true trace passes, and one lie anywhere does not.

use proxytrace::model::{
    Artifact, Cause, Finding, Outcome, Request, Separator, Severity, Trace, Witness, Witnesses,
};
use proxytrace_tests::check;
use proxytrace_tests::log::{Entry, Query};
use proxytrace_tests::scenario::{self, Scenario};
use proxytrace_tests::toolchain::Toolchain;
use serde_json::{Value, json};
use std::path::PathBuf;

const ZIP: &str = "https://proxy.lab/mod.lab/%21m01/@v/v1.0.0.zip";
const STORED: &str = "https://storage.lab/mod.lab/%21m01/@v/v1.0.0.zip";
const MIRRORED: &str = "https://mirror.lab/mod.lab/%21m01/@v/v1.0.0.zip";

/// Two sends of a zip that ended 302 → 404, and a retry at the next entry.
fn log() -> Vec<Entry> {
    let entry = |(sequence, (host, url, status, port))| Entry {
        sequence,
        host,
        scheme: "https",
        protocol: "HTTP/2.0".to_owned(),
        method: "GET".to_owned(),
        url: str::to_owned(url),
        status,
        location: (status == Some(302)).then(|| STORED.to_owned()),
        peer: ([127, 0, 0, 1], port).into(),
        user_agent: None,
        referer: (host == "storage.lab").then(|| ZIP.to_owned()),
    };
    [
        ("proxy.lab", ZIP, Some(302), 1001),
        ("storage.lab", STORED, Some(404), 1002),
        ("proxy.lab", ZIP, Some(302), 1001),
        ("storage.lab", STORED, Some(404), 1002),
        ("mirror.lab", MIRRORED, None, 1003),
        ("mirror.lab", MIRRORED, Some(200), 1004),
    ]
    .into_iter()
    .enumerate()
    .map(entry)
    .collect()
}

/// The trace of [`log`].
fn trace() -> Trace {
    let causes = [
        ("initial", None, Some("followed")),
        ("redirect", Some(0), None),
        ("auth-resend", Some(1), Some("fallback")),
        ("redirect", Some(2), None),
        ("initial", None, None),
        ("transport-retry", Some(4), None),
    ];
    let request = |(entry, (cause, follows, after)): (Entry, (&str, Option<u32>, Option<&str>))| {
        let headers =
            entry.referer.map_or_else(|| json!({}), |referer| json!({"Referer": referer}));
        json!({
            "id": entry.sequence, "cause": cause, "follows": follows, "method": entry.method,
            "url": entry.url, "host": entry.host, "status": entry.status,
            "location": entry.location, "protocol": entry.protocol, "headers": headers,
            "connection": entry.peer.port(), "remote_addr": null, "started_ns": 0,
            "duration_ns": null, "error": null, "after_redirect": after,
            "outcome": if entry.status.is_some() { "ok" } else { "reset" },
        })
    };
    let requests: Vec<Value> = log().into_iter().zip(causes).map(request).collect();
    let attempt = |index, proxy, separator: Option<&str>, requests: &[Value]| {
        json!({
            "proxy": proxy, "index": index, "separator": separator, "reason": "",
            "outcome": if separator.is_some() { "not-found" } else { "ok" },
            "next": separator.map(|_| "next-entry"), "requests": requests,
        })
    };
    let connection = |port| {
        json!({
            "id": port, "process": 0, "local_addr": format!("127.0.0.1:{port}"),
            "remote_addr": null, "host": null, "dns_ns": null, "connect_ns": null, "tls_ns": null,
            "protocol": null, "requests": 1, "errno": null, "started_ns": null, "ended_ns": null,
        })
    };
    serde_json::from_value(json!({
        "schema": "proxytrace.trace/v1", "proxytrace": "0", "kernel": "", "started_at": "",
        "command": {"argv": [], "exit_code": 0, "signal": null, "duration_ns": null},
        "processes": [],
        "chains": [{
            "id": 0, "process": 0, "module": "mod.lab/M01", "version": "v1.0.0",
            "artifact": "zip", "outcome": "ok", "started_ns": 0, "duration_ns": null,
            "attempts": [
                attempt(0, "https://proxy.lab", Some(","), &requests[..4]),
                attempt(1, "https://mirror.lab", None, &requests[4..]),
            ],
        }],
        "connections": (1001..=1004).map(connection).collect::<Vec<_>>(),
        "findings": [{
            "code": "PT012", "slug": "redirect-then-fallback", "severity": "note",
            "role": "contributing", "chain": 0, "chains": [0], "module": null, "version": null,
            "modules": [], "requests": [], "message": "", "advice": "", "confidence": "certain",
        }],
        "capture": {
            "events": 1, "lost": 0, "attach": [], "backend": "uprobe-multi", "complete": true,
            "wire": "socket",
            "witnesses": {
                "agreed": 0, "wire_only": 0, "go_only": 0, "disagreed": 0, "unread": 0,
            },
        },
    }))
    .expect("a trace as in the model")
}

/// What makes one detail of a trace untrue.
type Lie = fn(&mut Trace);

fn witnesses(trace: &mut Trace) -> &mut Witnesses {
    trace.capture.witnesses.as_mut().expect("the sockets were asked")
}

/// One of the requests is there once more, and its host was not reached.
fn fail_again(requests: &mut Vec<Request>, at: usize) {
    let mut twin = requests[at].clone();
    (twin.id, twin.status, twin.outcome) = (9, None, Outcome::ConnectRefused);
    requests.push(twin);
}

fn check(trace: &Trace) -> anyhow::Result<()> {
    check::equals(trace, &log())?;
    let scenario = Scenario::find("redirect-404-next").expect("it is in the table");
    let scenario = Scenario { findings: &[("PT012", scenario::Severity::Note)], ..*scenario };
    check::walks(trace, scenario.goproxy)?;
    let toolchain = Toolchain { version: "go1.23.9".to_owned(), goroot: PathBuf::new() };
    check::findings(trace, &scenario, &toolchain)
}

#[test]
fn the_true_trace_passes() {
    check(&trace()).unwrap();
}

#[test]
fn one_lie_does_not() {
    let lies: [(&str, Lie); 34] = [
        ("no chain", |t| t.chains.clear()),
        ("chain twice", |t| {
            let mut twin = t.chains[0].clone();
            twin.attempts.clear();
            t.chains.push(twin);
        }),
        ("module", |t| t.chains[0].module = Some("mod.lab/m01".to_owned())),
        ("version", |t| t.chains[0].version = None),
        ("artifact", |t| t.chains[0].artifact = Artifact::Mod),
        ("chain's outcome", |t| t.chains[0].outcome = Outcome::NotFound),
        ("attempt's proxy", |t| t.chains[0].attempts[0].proxy = "https://one.lab".to_owned()),
        ("index", |t| t.chains[0].attempts[1].index = None),
        ("separator", |t| t.chains[0].attempts[0].separator = Some(Separator::Pipe)),
        ("next", |t| t.chains[0].attempts[0].next = None),
        ("attempt's outcome", |t| t.chains[0].attempts[0].outcome = Outcome::Ok),
        ("order", |t| t.chains[0].attempts.reverse()),
        ("request missing", |t| drop(t.chains[0].attempts[1].requests.pop())),
        ("unanswered missing", |t| {
            t.chains[0].attempts[1].requests.remove(0);
        }),
        ("failed dial twice", |t| fail_again(&mut t.chains[0].attempts[1].requests, 0)),
        ("failed redirect twice", |t| fail_again(&mut t.chains[0].attempts[0].requests, 1)),
        ("method", |t| t.chains[0].attempts[0].requests[0].method = "HEAD".into()),
        ("url", |t| t.chains[0].attempts[0].requests[1].url.push('x')),
        ("status", |t| t.chains[0].attempts[0].requests[0].status = Some(301)),
        ("location", |t| t.chains[0].attempts[0].requests[0].location = None),
        ("protocol", |t| t.chains[0].attempts[0].requests[0].protocol = None),
        ("referer", |t| t.chains[0].attempts[0].requests[1].headers.clear()),
        ("cause", |t| t.chains[0].attempts[0].requests[2].cause = Cause::Redirect),
        ("follows", |t| t.chains[0].attempts[0].requests[3].follows = Some(1)),
        ("after_redirect", |t| t.chains[0].attempts[0].requests[0].after_redirect = None),
        ("connection", |t| t.chains[0].attempts[0].requests[0].connection = None),
        ("address", |t| t.connections[0].local_addr = Some("127.0.0.1:9".to_owned())),
        ("lost", |t| t.capture.lost = 1),
        ("incomplete", |t| t.capture.complete = false),
        ("witness", |t| t.chains[0].attempts[0].requests[0].witness = Witness::Both),
        ("no second witness", |t| t.capture.witnesses = None),
        ("missed by its socket", |t| witnesses(t).go_only = 1),
        ("missed by go", |t| witnesses(t).wire_only = 1),
        ("witnesses disagree", |t| witnesses(t).disagreed = 1),
    ];
    for (name, lie) in lies {
        let mut trace = trace();
        lie(&mut trace);
        assert!(check(&trace).is_err(), "not rejected: {name}");
    }
}

#[test]
fn other_findings_do_not() {
    let mut missing = trace();
    missing.findings.clear();
    assert!(check(&missing).is_err());

    let mut louder = trace();
    louder.findings[0].severity = Severity::Warning;
    assert!(check(&louder).is_err());

    let mut extra = trace();
    extra.findings.push(Finding {
        code: "PT001".to_owned(),
        severity: Severity::Warning,
        ..extra.findings[0].clone()
    });
    assert!(check(&extra).is_err());
}

/// Also of a go that failed, which may end before it has an answer: then that it asked is known.
#[test]
fn a_lookup_that_is_missing_is_missed() {
    let mut trace = trace();
    trace.command.exit_code = Some(1);
    check::lookups(&trace, &[]).unwrap();
    let asked = Query { name: "proxy.lab".to_owned(), kind: "A".to_owned(), code: Some(3) };
    assert!(check::lookups(&trace, &[asked]).is_err());
}
