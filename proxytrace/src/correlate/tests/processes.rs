//! The command's tree, connections, and how complete it all is.

use std::net::SocketAddr;

use crate::event::{Goroutine, TcpState, What};
use crate::model::Outcome;

use super::scenarios::{A, got, zip};
use super::script::{GO, Script, Task, chain, config, hop};

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
        What::FetchEnter,
        What::SendEnter,
        What::RequestEnter {
            method: "GET".into(),
            url: zip(A, "x.lab/m"),
            headers: [].into(),
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
    assert!(!complete(|script| script.attach(&["net/http.(*Client).do"], false)));
    assert!(!complete(|script| script.attach(&[], true)));
}
