//! Programs that are not go: what they ask by plain HTTP equals the log of who was asked.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Result, ensure};
use proxytrace::model::{Artifact, Outcome, Request, Witness};
use proxytrace_tests::cases;
use proxytrace_tests::lab::Lab;
use proxytrace_tests::scenario::Action::{Close, Redirect, Serve};
use proxytrace_tests::scenario::{Host, Protocol, Rule, Scenario};
use proxytrace_tests::toolchain::Toolchain;

use crate::{Traced, scenario, trace_command};

const CURL: &str = "/usr/bin/curl";
const PYTHON: &str = "/usr/bin/python3";

const SCENARIO: Scenario = scenario(
    "children",
    "http://proxy.lab",
    "mod.lab/m",
    &[Host {
        name: "proxy.lab",
        protocol: Protocol::Plain,
        rules: &[
            Rule {
                pattern: "/moved",
                action: Redirect(302, "http://proxy.lab/mod.lab/m01/@v/list"),
            },
            Rule { pattern: "/closed", action: Close },
            Rule { pattern: "*", action: Serve },
        ],
        trouble: None,
    }],
);

/// One after the other over a connection, over several, a redirect, a head alone, bodies that wait
/// for 100 and that do not, an answer that never comes; a 404, which is no failure of curl's.
const WITH_CURL: &str = "set -e
    curl() { /usr/bin/curl --silent --output /dev/null \"$@\"; }
    curl http://proxy.lab/mod.lab/m01/@v/list http://proxy.lab/mod.lab/m01/@v/v1.0.0.zip \
        http://proxy.lab/none
    curl --location http://proxy.lab/moved
    curl --head http://proxy.lab/mod.lab/m01/@v/v1.0.0.zip http://proxy.lab/mod.lab/m01/@v/list
    curl --data a=1 http://proxy.lab/post http://proxy.lab/post-again
    head -c 300000 /dev/zero >body
    curl --header 'Expect: 100-continue' --data-binary @body http://proxy.lab/upload \
        http://proxy.lab/upload-again
    curl --user gopher:sesame 'http://proxy.lab/secret?token=sesame'
    curl http://proxy.lab/closed || test $? = 52";

/// Heads in pieces, in several buffers, two at once; answers read in pieces, and looked at before.
const WITH_PYTHON: &str = r#"
import http.client, os, socket, time
def get(path):
    return b"GET " + path + b" HTTP/1.1\r\nHost: proxy.lab\r\n\r\n"
def until(answers, read):
    got = b""
    while got.count(b"no such module\n") < answers:
        got += read()
keep = http.client.HTTPConnection("proxy.lab")
for method, path in [("GET", "/mod.lab/m01/@v/list"), ("HEAD", "/a"), ("GET", "/b?x=1")]:
    keep.request(method, path)
    keep.getresponse().read()
s = socket.create_connection(("proxy.lab", 80))
head = get(b"/split")
s.sendall(head[:9])
time.sleep(0.02)
s.sendmsg([head[9:20], head[20:]])
s.recv(4, socket.MSG_PEEK)
until(1, lambda: s.recv(7))
os.writev(s.fileno(), [get(b"/one"), get(b"/two")[:30], get(b"/two")[30:]])
def gather():
    one, other = bytearray(10), bytearray(50)
    count = os.readv(s.fileno(), [one, other])
    return bytes(one + other)[:count]
until(2, gather)
"#;

/// Runs a program in the lab. Its requests are those that the lab saw, and in a chain of its own.
fn run(argv: &[&str], program: &str) -> Result<Traced> {
    let lab = Lab::start(&SCENARIO, &Toolchain::newest()?)?;
    let traced = trace_command(&lab, argv, |_| {})?;
    ensure!(traced.trace.command.exit_code == Some(0), "failed: {:#?}", traced.trace);
    let local: HashMap<_, _> = traced
        .trace
        .connections
        .iter()
        .map(|connection| (connection.id, connection.local_addr.clone().unwrap_or_default()))
        .collect();
    let line = |request: &Request| {
        let client = request.connection.map(|id| local[&id].clone()).unwrap_or_default();
        (client, request.method.to_string(), request.url.clone(), request.status)
    };
    let mut told: Vec<_> = traced.requests().map(line).collect();
    let seen = lab.log().into_iter();
    let redacted = |url: String| url.replace("token=sesame", "token=REDACTED");
    let mut seen: Vec<_> =
        seen.map(|e| (e.peer.to_string(), e.method, redacted(e.url), e.status)).collect();
    // On one connection in their order.
    told.sort_by(|one, other| one.0.cmp(&other.0));
    seen.sort_by(|one, other| one.0.cmp(&other.0));
    ensure!(told == seen, "the trace has {told:#?}, the lab has {seen:#?}");
    for chain in &traced.trace.chains {
        ensure!(chain.artifact == Artifact::Vcs && chain.module.is_none(), "{chain:?}");
        let asking = &traced.trace.processes[chain.process as usize];
        ensure!(asking.exe == program, "{asking:?}");
    }
    ensure!(traced.requests().all(|request| request.witness == Witness::Wire));
    // Whatever was answered, go has no part in it.
    ensure!(traced.trace.findings.is_empty(), "false alarm: {:#?}", traced.trace.findings);
    ensure!(!traced.json.contains("gopher:"), "credentials are in the trace");
    Ok(traced)
}

fn can_run(program: &str) -> bool {
    let is_there = Path::new(program).is_file();
    if !is_there {
        cases::skip(&format!("no {program}"));
    }
    is_there && cases::built().is_some() && cases::can_start()
}

#[test]
fn curl() -> Result<()> {
    if !can_run(CURL) {
        return Ok(());
    }
    let traced = run(&["sh", "-c", WITH_CURL], CURL)?;
    let redirected = traced.requests().find(|request| request.location.is_some());
    ensure!(redirected.is_some_and(|request| request.after_redirect.is_some()), "{redirected:?}");
    let closed = traced.trace.chains.last().map(|chain| chain.outcome);
    ensure!(closed == Some(Outcome::Unknown), "{closed:?}");
    Ok(())
}

#[test]
fn python() -> Result<()> {
    if can_run(PYTHON) {
        run(&[PYTHON, "-c", WITH_PYTHON], "/usr/bin/python3")?;
    }
    Ok(())
}
