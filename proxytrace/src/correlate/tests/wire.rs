//! What sockets saw, beside what go says and where go says nothing.

use std::net::SocketAddr;

use super::script::{GO, Script, chain, draw, plain_error};
use crate::diagnose;
use crate::event::{Goroutine, Headers, TcpState, What};
use crate::model::{Cause, Outcome, Request, Trace, Witness, Witnesses};

const HTTP: &str = "http://proxy.lab";
const LIST: &str = "http://proxy.lab/x.lab/m/@v/list";
const TASK: Option<Goroutine> = Some(Goroutine { id: 7, parent: 1 });

/// This end of the connection of a socket, and the other.
fn ends(socket: u64) -> [Option<SocketAddr>; 2] {
    let port = 5000 + u16::try_from(socket).unwrap();
    [([127, 0, 0, 1], port), ([127, 0, 0, 2], 80)].map(|end| Some(end.into()))
}

fn connect(script: &mut Script, pid: u32, socket: u64) {
    let [local, remote] = ends(socket);
    script.push(pid, None, What::Tcp { socket, local: None, remote, state: TcpState::Connecting });
    let state = TcpState::Established;
    script.push(pid, None, What::Tcp { socket, local, remote, state });
}

fn seen(script: &mut Script, pid: u32, (socket, number): (u64, u32), method: &str, url: &str) {
    let (method, url, headers) = (method.into(), url.into(), Headers::new());
    script.push(pid, None, What::WireRequest { socket, number, method, url, headers, cut: vec![] });
}

fn answered(
    script: &mut Script,
    pid: u32,
    (socket, number): (u64, u32),
    status: u16,
    location: Option<&str>,
) {
    let location = location.map(|location| ("Location".into(), location.to_owned()));
    script.push(
        pid,
        None,
        What::WireResponse {
            socket,
            number,
            status,
            protocol: "HTTP/1.1".into(),
            headers: location.into_iter().collect(),
            content_length: Some(5),
            cut: vec![],
        },
    );
}

/// go asks, on the connection of `socket`; without a status there is no answer.
fn asked(script: &mut Script, socket: u64, url: &str, status: Option<u16>) {
    let request = What::RequestEnter {
        method: "GET".into(),
        url: url.into(),
        headers: Headers::new(),
        credentials: None,
        cut: vec![],
    };
    let [local, remote] = ends(socket);
    let on = What::Try { protocol: "HTTP/1.1".into(), local, remote, tls: false };
    let end = What::RequestReturn {
        status,
        protocol: None,
        headers: Headers::new(),
        content_length: None,
        body: None,
        error: None,
        cut: vec![],
    };
    for what in [request, on, end] {
        script.push(GO, TASK, what);
    }
}

fn witnesses(trace: &Trace) -> Witnesses {
    trace.capture.witnesses.expect("the sockets were asked")
}

fn requests<'a>(trace: &'a Trace, name: &str) -> Vec<&'a Request> {
    chain(trace, name).attempts.iter().flat_map(|attempt| &attempt.requests).collect()
}

#[test]
fn both_say_the_same() {
    let mut script = Script::new(HTTP, 0);
    connect(&mut script, GO, 1);
    seen(&mut script, GO, (1, 0), "GET", LIST);
    // What go does not hear of: it gave up, or the connection broke.
    asked(&mut script, 1, "http://u:p@proxy.lab/x.lab/m/@v/list", None);
    asked(&mut script, 1, "http://REDACTED@proxy.lab/x.lab/m/@v/list", Some(200));
    answered(&mut script, GO, (1, 0), 200, None);
    asked(&mut script, 1, "http://proxy.lab?go-get=1", Some(404));
    seen(&mut script, GO, (1, 1), "GET", "http://proxy.lab/?go-get=1");
    answered(&mut script, GO, (1, 1), 404, None);
    // An empty query, a name in punycode, an address without its zone.
    for (number, (by_go, by_wire)) in (2..).zip([
        ("http://proxy.lab/x.zip", "http://proxy.lab/x.zip?"),
        ("http://bücher.lab/x.zip", "http://xn--bcher-kva.lab/x.zip"),
        ("http://[fe80::1%eth0]:3000/x.zip", "http://[fe80::1]:3000/x.zip"),
    ]) {
        asked(&mut script, 1, by_go, Some(200));
        seen(&mut script, GO, (1, number), "GET", by_wire);
        answered(&mut script, GO, (1, number), 200, None);
    }
    let trace = script.trace();
    assert_eq!(witnesses(&trace), Witnesses { agreed: 5, ..Witnesses::default() });
    assert!(requests(&trace, "proxy.lab go-get").iter().all(|r| r.witness == Witness::Both));
}

/// One that has its probes since it was running already has not said that it is a go command.
#[test]
fn what_a_late_go_asks_is_there_once() {
    let mut script = Script::new(HTTP, 0);
    script.events.retain(|event| !matches!(event.what, What::GoStart { .. }));
    connect(&mut script, GO, 1);
    seen(&mut script, GO, (1, 0), "GET", LIST);
    asked(&mut script, 1, LIST, Some(200));
    answered(&mut script, GO, (1, 0), 200, None);
    let trace = script.trace();
    assert_eq!(witnesses(&trace), Witnesses { agreed: 1, ..Witnesses::default() });
    let requests = trace.chains.iter().flat_map(|chain| &chain.attempts);
    assert_eq!(requests.map(|attempt| attempt.requests.len()).sum::<usize>(), 1);
}

/// Each is one lie of one of them.
#[test]
fn what_they_do_not_agree_on_is_counted() {
    let nothing = Witnesses::default();
    let other = "http://proxy.lab/x.lab/n/@v/list";
    for (url, status, go, expected) in [
        (Some(LIST), 200, Some(LIST), Witnesses { agreed: 1, ..nothing }),
        (Some(LIST), 404, Some(LIST), Witnesses { disagreed: 1, ..nothing }),
        (Some(other), 200, Some(LIST), Witnesses { disagreed: 1, ..nothing }),
        (None, 200, Some(LIST), Witnesses { go_only: 1, ..nothing }),
        (Some(LIST), 200, None, Witnesses { wire_only: 1, ..nothing }),
    ] {
        let mut script = Script::new(HTTP, 0);
        connect(&mut script, GO, 1);
        if let Some(go) = go {
            asked(&mut script, 1, go, Some(200));
        }
        if let Some(url) = url {
            seen(&mut script, GO, (1, 0), "GET", url);
            answered(&mut script, GO, (1, 0), status, None);
        }
        let trace = script.attach(&[], false).trace();
        assert_eq!(witnesses(&trace), expected);
        assert_eq!(trace.capture.complete, expected.disagreed == 0);
    }
}

#[test]
fn what_could_not_be_seen_is_not_compared() {
    let mut script = Script::new(HTTP, 0);
    connect(&mut script, GO, 1);
    script.push(GO, None, What::WireLost { socket: 1 });
    asked(&mut script, 1, LIST, Some(200));
    // A connection of which the kernel did not tell.
    asked(&mut script, 2, LIST, Some(200));
    let trace = script.trace();
    assert_eq!(witnesses(&trace), Witnesses { unread: 1, ..Witnesses::default() });
}

fn exec(line: &str) -> What {
    What::Exec { exe: "/usr/bin/git".into(), argv: line.split(' ').map(str::to_owned).collect() }
}

/// Each of these is a git that go runs, whose helper gets a redirect and this answer; git ends so.
fn git(runs: &[(&str, u16, i32)]) -> Trace {
    let mut script = Script::new("direct", runs.last().map_or(0, |run| run.2));
    script.push(GO, TASK, What::WalkEnter);
    script.push(GO, TASK, What::Lookup { proxy: "direct".into(), module: "x.lab/m".into() });
    for (run, (line, answer, exit)) in (1..).zip(runs) {
        let (child, helper, socket) = (200 + 2 * run, 201 + 2 * run, u64::from(run));
        script.push(GO, None, What::Fork { child });
        script.push(child, None, exec(line));
        script.push(child, None, What::Fork { child: helper });
        script.push(helper, None, exec("git-remote-http origin http://git.lab/m"));
        connect(&mut script, helper, socket);
        let refs = "http://git.lab/m/info/refs?service=git-upload-pack";
        seen(&mut script, helper, (socket, 0), "GET", refs);
        answered(&mut script, helper, (socket, 0), 301, Some("/m.git/info/refs"));
        seen(&mut script, helper, (socket, 1), "GET", "http://git.lab/m.git/info/refs");
        answered(&mut script, helper, (socket, 1), *answer, None);
        // go tells of the child when it has long been at work.
        script.push(GO, TASK, What::Spawn { child });
        script.push(helper, None, What::Exit { code: Some(*exit), signal: None });
        script.push(child, None, What::Exit { code: Some(*exit), signal: None });
    }
    let failed = runs.last().is_some_and(|run| run.2 != 0);
    let error = failed.then(|| plain_error("exit status 128"));
    script.push(GO, TASK, What::WalkReturn { error }).trace()
}

const LS_REMOTE: &str = "git ls-remote -q origin";
const FETCH: &str = "git fetch -f --depth=1 origin";

#[test]
fn what_git_asks_belongs_to_the_attempt_that_ran_it() {
    let trace = git(&[(LS_REMOTE, 200, 0)]);
    assert_eq!(
        draw(chain(&trace, "x.lab/m vcs")),
        ["direct[0] ok → -: initial git.lab 301 (followed), redirect git.lab 200"]
    );
    for request in requests(&trace, "x.lab/m vcs") {
        assert_eq!((request.witness, request.connection), (Witness::Wire, Some(0)));
        assert_eq!(request.remote_addr.as_deref(), Some("127.0.0.2:80"));
        assert_eq!((request.duration_ns, request.content_length), (Some(1_000), Some(5)));
    }
    assert_eq!((trace.connections[0].requests, trace.chains.len()), (2, 1));
    assert_eq!(witnesses(&trace), Witnesses::default());

    let trace = git(&[(LS_REMOTE, 404, 128)]);
    assert_eq!(
        draw(chain(&trace, "x.lab/m vcs")),
        ["direct[0] not-found → stop: initial git.lab 301 (followed), redirect git.lab 404"]
    );
}

/// One attempt, of which the order of a map would tell something else every other time.
#[test]
fn the_last_of_several_programs_tells() {
    for (runs, outcome) in [
        ([(LS_REMOTE, 200, 0), (FETCH, 500, 128)], "http-error → stop"),
        ([(LS_REMOTE, 404, 0), (FETCH, 200, 0)], "ok → -"),
        ([(LS_REMOTE, 404, 128), (FETCH, 200, 128)], "unknown → stop"),
        ([(LS_REMOTE, 500, 128), (FETCH, 404, 128)], "not-found → stop"),
    ] {
        for _ in 0..16 {
            let drawn = draw(chain(&git(&runs), "x.lab/m vcs")).remove(0);
            assert!(drawn.starts_with(&format!("direct[0] {outcome}: ")), "{drawn}");
        }
    }
}

#[test]
fn what_others_ask_is_a_chain_of_theirs_and_no_failure() {
    for (exit, outcome) in [(0, Outcome::Ok), (22, Outcome::Unknown)] {
        let mut script = Script::new(HTTP, 1);
        script.push(GO, None, What::Fork { child: 200 });
        let argv = vec!["curl".to_owned(), "-f".to_owned()];
        script.push(200, None, What::Exec { exe: "/usr/bin/curl".into(), argv });
        connect(&mut script, 200, 1);
        seen(&mut script, 200, (1, 0), "CONNECT", "x.lab:443");
        answered(&mut script, 200, (1, 0), 403, None);
        connect(&mut script, 200, 2);
        seen(&mut script, 200, (2, 0), "GET", "http://x.lab/");
        answered(&mut script, 200, (2, 0), 404, None);
        seen(&mut script, 200, (2, 1), "GET", "http://x.lab/cut");
        script.push(200, None, What::WireLost { socket: 2 });
        script.push(200, None, What::Exit { code: Some(exit), signal: None });
        let trace = script.trace();
        let own = chain(&trace, "- vcs");
        assert_eq!((own.process, own.outcome), (1, outcome));
        let told: Vec<_> = requests(&trace, "- vcs")
            .into_iter()
            .map(|r| (r.cause, &*r.url, &*r.host, r.status, r.outcome))
            .collect();
        let refused =
            (Cause::ConnectTunnel, "x.lab:443", "x.lab", Some(403), Outcome::ProxyRefused);
        let absent = (Cause::Initial, "http://x.lab/", "x.lab", Some(404), Outcome::NotFound);
        let cut = (Cause::Initial, "http://x.lab/cut", "x.lab", None, Outcome::Unknown);
        assert_eq!(told, [refused, absent, cut]);
        assert_eq!(diagnose::diagnose(&trace), []);
    }
}
