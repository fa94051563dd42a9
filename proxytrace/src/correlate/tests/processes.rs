//! The command's tree, connections, and how complete it all is.

use std::net::SocketAddr;

use crate::event::{Goroutine, Headers, TcpState, What};
use crate::model::{Cause, Outcome, Role, Trace};

use super::scenarios::{A, got, to_squid, tunnel, tunnel_without_answer, unanswered, zip};
use super::script::{GO, Script, Task, chain, config, hop, plain_error};

#[test]
fn processes_keep_their_requests_apart() {
    let mut script = Script::new(A, 0);
    script.push(GO, None, What::Fork { child: 200 });
    script.go(200, "/go/bin/go", &config(&[("GOPROXY", "https://other.lab")]));
    let hops = [hop(&zip(A, "x.lab/m"), 200)];
    let other = Task::of(200, 7, 1)
        .walk()
        .lookup("https://other.lab", "x.lab/m")
        .fetch(&[hop(&zip("https://other.lab", "x.lab/m"), 404)])
        .failed(super::script::bad_status(404));
    let trace = script.run(&[got(7, "x.lab/m", &hops), other]).trace();
    let outcomes: Vec<_> =
        trace.chains.iter().map(|chain| (chain.process, chain.outcome)).collect();
    assert_eq!(outcomes, [(0, Outcome::Ok), (1, Outcome::NotFound)]);
    assert_eq!(trace.processes[1].parent, Some(0));
    assert_eq!(trace.processes[0].exit_code, Some(0));
    assert_eq!(trace.processes[0].config["GOPROXY"].value, A);
}

#[test]
fn another_toolchain_in_the_same_pid_is_another_process() {
    let mut script = Script::new(A, 0);
    let hops = [hop(&zip(A, "x.lab/m"), 200)];
    script.run(&[got(1, "x.lab/m", &hops)]);
    script.push(GO, None, What::Toolchain { exe: "/mod/go/bin/go".into() });
    script.go(GO, "/mod/go/bin/go", &config(&[("GOPROXY", A)]));
    let trace = script.run(&[got(1, "x.lab/m", &hops)]).trace();
    let [before, after] = &trace.processes[..] else { panic!("{:?}", trace.processes) };
    assert_eq!((before.pid, before.exit_code, after.parent), (GO, None, Some(before.id)));
    assert_eq!((before.ended_ns, after.exit_code), (Some(after.started_ns), Some(0)));
    let chains: Vec<_> = trace.chains.iter().map(|chain| chain.process).collect();
    assert_eq!(chains, [0, 1]);
}

#[test]
fn a_pid_that_comes_back_is_another_process() {
    let mut script = Script::new(A, 0);
    for _ in 0..2 {
        script.push(GO, None, What::Fork { child: 200 });
        script.go(200, "/go/bin/go", &config(&[]));
        script.push(200, None, What::Exit { code: Some(0), signal: None });
    }
    let trace = script.trace();
    assert_eq!(trace.processes.len(), 3);
    assert!(trace.processes[1..].iter().all(|process| process.parent == Some(0)));
}

#[test]
fn the_telemetry_child_and_what_it_runs_are_no_chains() {
    let mut script = Script::new(A, 0);
    script.push(GO, None, What::Fork { child: 200 });
    let argv = vec!["go".to_owned(), "** telemetry **".to_owned()];
    script.push(200, None, What::Exec { exe: "/go/bin/go".into(), argv });
    script.push(200, None, What::Fork { child: 201 });
    script.go(201, "/go/bin/go", &config(&[("GOPROXY", A)]));
    let list = "https://proxy.lab/golang.org/x/telemetry/config/@v/list";
    let walk = |pid| Task::of(pid, 7, 1).walk().lookup(A, "t").fetch(&[hop(list, 404)]).found();
    let trace = script.run(&[walk(200), walk(201)]).trace();
    assert_eq!((trace.chains.len(), trace.processes.len()), (0, 3));
}

#[test]
fn the_last_whole_lines_of_stderr_are_kept() {
    let mut script = Script::new(A, 0);
    script.push(GO, None, What::Stderr { text: "go: é".into() });
    script.push(GO, None, What::Stderr { text: "rror\n".into() });
    assert_eq!(script.trace().processes[0].stderr_tail.as_deref(), Some("go: érror\n"));

    let mut script = Script::new(A, 0);
    for number in 0..100 {
        let text = format!("{number:03} {}\n", "é".repeat(30));
        script.push(GO, None, What::Stderr { text });
    }
    let trace = script.trace();
    let tail = trace.processes[0].stderr_tail.as_deref().unwrap();
    // Lines of 65 bytes: 63 of them fit.
    assert_eq!((tail.len(), &tail[..4]), (63 * 65, "037 "));
    assert!(tail.ends_with("é\n"));
}

fn tcp(script: &mut Script, socket: u64, state: TcpState, local: Option<SocketAddr>, remote: &str) {
    let remote = remote.parse().ok();
    script.push(GO, None, What::Tcp { socket, local, remote, state });
}

#[test]
fn sockets_and_requests_make_one_connection() {
    let (local, mapped) = ("10.0.0.1:5000", "[::ffff:10.0.0.1]:5000");
    let mut script = Script::new(A, 0);
    tcp(&mut script, 9, TcpState::Connecting, None, "10.0.0.2:443");
    tcp(&mut script, 9, TcpState::Established, mapped.parse().ok(), "[::ffff:10.0.0.2]:443");
    let goroutine = Some(Goroutine { id: 7, parent: 1 });
    for what in [
        What::RequestEnter {
            method: "GET".into(),
            url: zip(A, "x.lab/m"),
            headers: Headers::new(),
            credentials: None,
            cut: Vec::new(),
        },
        What::Try {
            protocol: "HTTP/1.1".into(),
            local: local.parse().ok(),
            remote: "10.0.0.2:443".parse().ok(),
            tls: true,
        },
    ] {
        script.push(GO, goroutine, what);
    }
    tcp(&mut script, 9, TcpState::Closed { errno: 104 }, local.parse().ok(), "10.0.0.2:443");
    tcp(&mut script, 8, TcpState::Connecting, None, "10.0.0.3:9");
    tcp(&mut script, 8, TcpState::Closed { errno: 111 }, None, "10.0.0.3:9");
    let trace = script.trace();
    let [carried, failed] = &trace.connections[..] else { panic!("{:?}", trace.connections) };
    assert_eq!(carried.local_addr.as_deref(), Some(local));
    assert_eq!((carried.connect_ns, carried.requests, carried.errno), (Some(1_000), 1, Some(104)));
    assert_eq!(
        (carried.host.as_deref(), carried.protocol.as_deref()),
        (Some("proxy.lab"), Some("HTTP/1.1"))
    );
    assert_eq!((failed.errno, failed.connect_ns, failed.requests), (Some(111), None, 0));
    let request = &chain(&trace, "x.lab/m@v1.0.0 zip").attempts[0].requests[0];
    assert_eq!(
        (request.connection, request.remote_addr.as_deref()),
        (Some(0), Some("10.0.0.2:443"))
    );
}

/// The end of a socket was not seen, and the kernel has put that of a server in its place.
#[test]
fn a_socket_with_other_ends_is_another() {
    let (own, server) = ("10.0.0.1:5000", "10.0.0.2:443");
    let mut script = Script::new(A, 0);
    tcp(&mut script, 9, TcpState::Connecting, None, server);
    tcp(&mut script, 9, TcpState::Established, own.parse().ok(), server);
    tcp(&mut script, 9, TcpState::Closed { errno: 0 }, server.parse().ok(), "10.0.0.9:6000");
    let trace = script.trace();
    let [connection] = &trace.connections[..] else { panic!("{:?}", trace.connections) };
    assert_eq!(connection.local_addr.as_deref(), Some(own));
    assert_eq!(connection.remote_addr.as_deref(), Some(server));
    assert!(connection.ended_ns.is_none());
}

#[test]
fn a_port_used_again_is_another_connection() {
    let mut script = Script::new(A, 0);
    for socket in [1, 2] {
        tcp(&mut script, socket, TcpState::Connecting, None, "10.0.0.2:443");
        tcp(&mut script, socket, TcpState::Established, "10.0.0.1:5".parse().ok(), "10.0.0.2:443");
        tcp(&mut script, socket, TcpState::Closed { errno: 0 }, None, "10.0.0.2:443");
    }
    let trace = script.trace();
    assert_eq!(trace.connections.len(), 2);
    assert!(trace.connections.iter().all(|c| c.errno.is_none() && c.ended_ns.is_some()));
}

#[test]
fn capture_is_complete_only_if_nothing_is_amiss() {
    let complete = |amiss: fn(&mut Script) -> &mut Script| {
        let mut script = Script::new(A, 0);
        script.attach(&[], false);
        amiss(&mut script);
        script.trace().capture.complete
    };
    assert!(complete(|script| script));
    assert!(!complete(|script| script.lose()));
    assert!(!complete(|script| script.attach(&["net/http.(*Transport).roundTrip"], false)));
    assert!(!complete(|script| script.attach(&[], true)));
}

/// The addresses of a connection to a forward proxy.
#[test]
fn a_tunnel_is_a_request_of_the_chain_that_opened_it() {
    let mut script = tunnel(&zip(A, "x.lab/m"), 200);
    let (local, remote) = to_squid();
    let on = What::Try { protocol: "HTTP/2.0".into(), local, remote, tls: true };
    let answer = What::RequestReturn {
        body: None,
        status: Some(200),
        protocol: Some("HTTP/2.0".into()),
        headers: Headers::new(),
        content_length: None,
        error: None,
        cut: Vec::new(),
    };
    script.run(&[Task::new(7).step(on).step(answer).found()]);
    let trace = script.trace();
    let [request, tunnel] = &trace.chains[0].attempts[0].requests[..] else {
        panic!("{:#?}", trace.chains)
    };
    assert_eq!(trace.chains[0].outcome, Outcome::Ok);
    assert_eq!((tunnel.cause, &*tunnel.method), (Cause::ConnectTunnel, "CONNECT"));
    assert_eq!((&*tunnel.url, &*tunnel.host, tunnel.status), ("a.lab:443", "a.lab", Some(200)));
    assert_eq!(tunnel.remote_addr.as_deref(), Some("127.0.0.9:3128"));
    assert!(tunnel.connection.is_some() && tunnel.connection == request.connection);
    assert_eq!(trace.connections[0].protocol.as_deref(), Some("HTTP/2.0"));
}

#[test]
fn a_tunnel_that_was_refused_is_why_its_request_failed() {
    for (status, phrase) in [
        (403, "Forbidden"),
        (407, "Proxy Authentication Required"),
        (503, "Service Unavailable"),
        (502, "EOF"),
        (502, "checksum mismatch\n"),
    ] {
        let mut script = tunnel(&zip(A, "x.lab/m"), status);
        // All that go's error says is the reason phrase, which may be any.
        let error = plain_error(phrase);
        let done = What::SendFailed { error: Some(error.clone()) };
        script.run(&[Task::new(7).step(unanswered(&error)).step(done).failed(error)]);
        let trace = script.trace();
        assert_eq!(trace.chains[0].outcome, Outcome::ProxyRefused, "{status}");
        let requests = &trace.chains[0].attempts[0].requests;
        assert!(requests.iter().all(|r| r.outcome == Outcome::ProxyRefused), "{requests:#?}");
        let findings = crate::diagnose::diagnose(&trace);
        let root = findings.iter().find(|finding| finding.role == Role::Root).expect("a root");
        assert_eq!(root.code, "PT211");
        assert!(
            root.message.starts_with(&format!(
                "the forward proxy 127.0.0.9:3128 answered {status} to CONNECT a.lab:443"
            )),
            "{root:?}"
        );
    }
}

/// Nothing but the end of its request tells that a tunnel was not opened.
#[test]
fn a_tunnel_without_an_answer_ends_with_its_request() {
    let trace = tunnel_without_answer(&plain_error("unexpected EOF"), 1).trace();
    let [request, tunnel] = &trace.chains[0].attempts[0].requests[..] else {
        panic!("{:#?}", trace.chains)
    };
    assert_eq!(trace.chains[0].outcome, Outcome::ProxyRefused);
    assert!(trace.chains[0].duration_ns.is_some() && tunnel.duration_ns >= Some(1_000_000_000));
    let refused = Outcome::ProxyRefused;
    assert_eq!((request.outcome, tunnel.outcome, tunnel.status), (refused, refused, None));
    assert_eq!(tunnel.error.as_ref().map(|error| error.kind), Some(Outcome::Truncated));
    assert_eq!(
        trace.chains[0].attempts[0].reason,
        "a.lab was not reached: the forward proxy opened no tunnel; there is nothing left to ask"
    );
    // One whose request was given up for something else may still be opened.
    let trace = tunnel_without_answer(&plain_error("context canceled"), 1).trace();
    let tunnel = &trace.chains[0].attempts[0].requests[1];
    assert_eq!((trace.chains[0].outcome, tunnel.outcome), (Outcome::Canceled, Outcome::Unfinished));
}

/// Three goroutines, 7 to 9, that wait for a connection to one host, and those of unknown parents
/// that have asked for a tunnel.
fn of_unknown_parents(dialing: &[u64]) -> Script {
    let mut script = Script::new("https://a.lab", 1);
    for (id, module) in [(7, "x.lab/m"), (8, "x.lab/n"), (9, "x.lab/o")] {
        let enter = What::RequestEnter {
            method: "GET".into(),
            url: zip("https://a.lab", module),
            headers: Headers::new(),
            credentials: None,
            cut: Vec::new(),
        };
        let asking = Task::of(GO, id, 0).walk().lookup("https://a.lab", module);
        script.run(&[asking.step(enter)]);
    }
    for (id, port) in dialing.iter().zip(40_001..) {
        let local = Some(([127, 0, 0, 1], port).into());
        let connect = What::TunnelEnter { target: "a.lab:443".into(), local, remote: to_squid().1 };
        script.run(&[Task::of(GO, *id, 0).step(connect)]);
    }
    script
}

/// Where none was opened, the first that fails did so for one that was asked for, though others wait
/// that have not come to ask.
#[test]
fn who_waits_while_no_tunnel_is_opened_fails_for_one_that_was_not() {
    for (opened, expected) in [(None, Outcome::ProxyRefused), (Some(200), Outcome::Reset)] {
        let mut script = of_unknown_parents(&[17, 18]);
        if let Some(status) = opened {
            let answer = What::TunnelReturn { status: Some(status), headers: Headers::new() };
            script.run(&[Task::of(GO, 17, 0).step(answer)]);
        }
        let error = plain_error("unexpected EOF");
        let done = What::SendFailed { error: Some(error.clone()) };
        let failed = Task::of(GO, 7, 0).step(unanswered(&error)).step(done).failed(error);
        let trace = script.run(&[failed]).trace();
        assert_eq!(chain(&trace, "x.lab/m@v1.0.0 zip").outcome, expected, "{opened:?}");
    }
}

/// Before Go 1.21 nothing tells for which of several that wait a tunnel is asked for. Those that were
/// not opened are why the others failed, one each.
#[test]
fn tunnels_of_unknown_parents_are_why_those_failed_that_waited() {
    let mut script = of_unknown_parents(&[17, 18, 19]);
    // One is opened; of another nobody hears.
    for (id, status) in [(17, 200), (18, 504)] {
        let answer = What::TunnelReturn { status: Some(status), headers: Headers::new() };
        script.run(&[Task::of(GO, id, 0).step(answer)]);
    }
    let (local, remote) = to_squid();
    let on = What::Try { protocol: "HTTP/2.0".into(), local, remote, tls: true };
    script.run(&[Task::of(GO, 7, 0).step(on)]);
    for (id, phrase) in [(8, "Gateway Timeout"), (9, "unexpected EOF")] {
        let error = plain_error(phrase);
        let done = What::SendFailed { error: Some(error.clone()) };
        let failed = Task::of(GO, id, 0).step(unanswered(&error)).step(done).failed(error);
        script.run(&[failed]);
    }
    let trace = script.trace();
    let tunnels = |module: &str| {
        let requests = &chain(&trace, &format!("{module}@v1.0.0 zip")).attempts[0].requests;
        requests[1..].iter().map(|it| (it.status, it.outcome)).collect::<Vec<_>>()
    };
    let refused = Outcome::ProxyRefused;
    assert_eq!(tunnels("x.lab/m"), []);
    assert_eq!(tunnels("x.lab/n"), [(Some(504), refused)]);
    assert_eq!(tunnels("x.lab/o"), [(None, refused)]);
}

/// net/http asks for the tunnel in the words of the URL.
#[test]
fn a_tunnel_to_a_host_in_capitals_is_that_of_its_request() {
    let mut script = tunnel_without_answer(&plain_error("unexpected EOF"), 1);
    for event in &mut script.events {
        match &mut event.what {
            What::RequestEnter { url, .. } => *url = url.replace("a.lab", "A.Lab"),
            What::TunnelEnter { target, .. } => *target = target.replace("a.lab", "A.Lab"),
            _ => {}
        }
    }
    let trace = script.trace();
    let [request, tunnel] = &trace.chains[0].attempts[0].requests[..] else {
        panic!("{:#?}", trace.chains)
    };
    assert_eq!((&*request.host, &*tunnel.host), ("a.lab", "a.lab"));
    let refused = Outcome::ProxyRefused;
    assert_eq!((request.outcome, tunnel.outcome), (refused, refused));
}

/// `direct`, where go runs git in a child that ends with a code, after a connection that ends
/// with an errno.
fn git(code: i32, errno: i32, late_exec: bool) -> Trace {
    let mut script = Script::new("direct", i32::from(code != 0));
    script.run(&[Task::new(7).walk().lookup("direct", "x.lab/m")]);
    script.push(GO, None, What::Fork { child: 200 });
    let argv = ["git", "ls-remote", "-q", "origin"].map(str::to_owned).to_vec();
    let exec = What::Exec { exe: "/usr/bin/git".into(), argv };
    let spawn = [Task::new(7).step(What::Spawn { child: 200 })];
    if late_exec {
        script.run(&spawn).push(200, None, exec);
    } else {
        script.push(200, None, exec).run(&spawn);
    }
    script.push(200, None, What::Fork { child: 201 });
    let argv = vec!["git-remote-https".to_owned()];
    script.push(201, None, What::Exec { exe: "/usr/lib/git-remote-https".into(), argv });
    for state in [TcpState::Connecting, TcpState::Closed { errno }] {
        let remote = Some(([127, 0, 0, 9], 443).into());
        script.push(201, None, What::Tcp { socket: 1, local: None, remote, state });
    }
    for pid in [201, 200] {
        script.push(pid, None, What::Exit { code: Some(code), signal: None });
    }
    let task = Task::new(7);
    let task = if code == 0 { task.found() } else { task.failed(plain_error("exit status")) };
    script.run(&[task]).trace()
}

#[test]
fn what_git_fetches_is_a_chain_of_the_module() {
    for (code, errno, late_exec, outcome, root) in [
        (0, 0, false, Outcome::Ok, None),
        (0, 0, true, Outcome::Ok, None),
        (128, 0, false, Outcome::Unknown, Some("PT704")),
        (128, 111, true, Outcome::ConnectRefused, Some("PT202")),
    ] {
        let trace = git(code, errno, late_exec);
        let vcs = chain(&trace, "x.lab/m vcs");
        assert_eq!((vcs.outcome, &vcs.commands[..]), (outcome, &[1][..]), "{code} {errno}");
        let findings = crate::diagnose::diagnose(&trace);
        let codes: Vec<_> = findings.iter().map(|finding| &*finding.code).collect();
        assert_eq!(codes, root.into_iter().chain(["PT702"]).collect::<Vec<_>>(), "{code} {errno}");
    }
}

/// Where git has failed, go looks whether the repository is absent, and heeds no other answer.
#[test]
fn a_page_in_place_of_a_repository_is_not_what_git_came_to() {
    let (there, page) = ("https://git.lab/m.git", "https://git.lab/login");
    let git_ended = "direct: git ended with exit code 128";
    let refused = "direct asked a host that refused the connection";
    let reset = "direct asked a host that broke the connection off";
    for (sends, errno, outcome, reason, root) in [
        (
            &[&[hop(there, 302).to(page), hop(page, 200)][..]][..],
            0,
            Outcome::Unknown,
            git_ended,
            "PT704",
        ),
        (&[&[hop(there, 401)], &[hop(there, 200)]], 0, Outcome::Unknown, git_ended, "PT704"),
        (&[&[hop(there, 404)]], 0, Outcome::NotFound, "git.lab answered 404", "PT410"),
        // git may have been told to ask elsewhere.
        (&[&[hop(there, 200)]], 111, Outcome::ConnectRefused, refused, "PT202"),
        (
            &[&[hop(there, 302).to(page), hop(page, 200)]],
            111,
            Outcome::ConnectRefused,
            refused,
            "PT202",
        ),
        (&[&[hop(there, 200)]], 104, Outcome::Reset, reset, "PT208"),
    ] {
        let mut script = Script::new("direct", 1);
        script.run(&[Task::new(7).walk().lookup("direct", "x.lab/m")]);
        script.push(GO, None, What::Fork { child: 200 });
        let argv = ["git", "ls-remote", "-q", "origin"].map(str::to_owned).to_vec();
        script.push(200, None, What::Exec { exe: "/usr/bin/git".into(), argv });
        script.run(&[Task::new(7).step(What::Spawn { child: 200 })]);
        for state in [TcpState::Connecting, TcpState::Closed { errno }] {
            let remote = Some(([127, 0, 0, 9], 22).into());
            script.push(200, None, What::Tcp { socket: 1, local: None, remote, state });
        }
        script.push(200, None, What::Exit { code: Some(128), signal: None });
        let task = Task::new(7).sends(sends).failed(plain_error("exit status 128"));
        let trace = script.run(&[task]).trace();
        let vcs = chain(&trace, "x.lab/m vcs");
        assert_eq!(vcs.outcome, outcome);
        assert!(vcs.attempts[0].reason.starts_with(reason), "{vcs:?}");
        let findings = crate::diagnose::diagnose(&trace);
        let found = findings.iter().find(|finding| finding.role == Role::Root);
        assert_eq!(found.map(|finding| &*finding.code), Some(root));
        let said = found.map_or("", |finding| finding.message.as_str());
        assert!(errno == 0 || !said.contains("git.lab"), "{said}");
    }
}

#[test]
fn what_git_does_with_its_own_copy_is_no_chain() {
    let mut script = Script::new("direct", 0);
    script.run(&[Task::new(7).walk().lookup("direct", "x.lab/m")]);
    for (child, line) in [(200, "git cat-file blob v1"), (201, "vi fetch")] {
        script.push(GO, None, What::Fork { child });
        let argv = line.split(' ').map(str::to_owned).collect();
        script.push(child, None, What::Exec { exe: "/usr/bin/git".into(), argv });
        script.run(&[Task::new(7).step(What::Spawn { child })]);
    }
    // Nor is a pid that is no child of its own: go may live in another pid namespace.
    script.run(&[Task::new(7).step(What::Spawn { child: GO }).step(What::Spawn { child: 9 })]);
    assert!(script.trace().chains.is_empty());
}

/// Several goroutines run tools at once; each waits for its own.
#[test]
fn what_a_tool_wrote_is_that_of_the_goroutine_that_ran_it() {
    let mut script = Script::new("direct", 1);
    for child in [200, 201] {
        script.push(GO, None, What::Fork { child });
        let argv = vec!["git".to_owned(), "fetch".to_owned()];
        script.push(child, None, What::Exec { exe: "/usr/bin/git".into(), argv });
    }
    let failed = |text: &str| What::CommandEnded { stderr: text.into() };
    let trace = script
        .run(&[
            Task::new(7).step(What::Spawn { child: 200 }).step(failed("fatal: one\n")),
            Task::new(8).step(What::Spawn { child: 201 }).step(failed("fatal: other\n")),
            // It has run nothing.
            Task::new(9).step(failed("fatal: whose?\n")),
        ])
        .trace();
    let said: Vec<_> = trace.processes.iter().map(|p| p.stderr_tail.as_deref()).collect();
    assert_eq!(said, [None, Some("fatal: one\n"), Some("fatal: other\n")]);
}
