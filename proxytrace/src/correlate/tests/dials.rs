//! Names resolved, connections made, handshakes: whose they are, and how long they took.

use std::net::{Ipv4Addr, SocketAddr};

use crate::correlate::Correlator;
use crate::event::{End, Event, Failure, FailureStep, Goroutine, Start, TcpState, What};
use crate::model::{Connection, Outcome, Trace};

const PID: u32 = 7;

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// Events at 1, 2, 3, … microseconds, in a `go` process; goroutine zero is the kernel's word.
fn trace(events: impl IntoIterator<Item = (u64, u64, What)>) -> Trace {
    let mut correlator = Correlator::new(&Start::default());
    let exec = What::Exec { exe: "/go".into(), argv: vec!["go".into()] };
    correlator.push(Event { time: 0, pid: PID, goroutine: None, what: exec });
    for (time, (id, parent, what)) in (1..).zip(events) {
        let goroutine = (id != 0).then_some(Goroutine { id, parent });
        correlator.push(Event { time: time * 1000, pid: PID, goroutine, what });
    }
    correlator.finish(&End::default())
}

fn resolve(host: &str) -> What {
    What::Resolve { host: host.into() }
}

fn resolved(addresses: u32) -> What {
    let answers = (1..=addresses.min(2)).map(|n| Ipv4Addr::from(0x0a00_0000 + n).into()).collect();
    What::Resolved { addresses, answers, error: None }
}

fn dial(host: &str, remote: &str) -> What {
    What::Dial { host: host.into(), remote: addr(remote) }
}

fn tcp(socket: u64, local: Option<&str>, remote: &str, state: TcpState) -> What {
    What::Tcp { socket, local: local.map(addr), remote: Some(addr(remote)), state }
}

fn tls_enter(local: &str, remote: &str) -> What {
    let (local, remote) = (Some(addr(local)), Some(addr(remote)));
    What::TlsEnter { server_name: "a.lab".into(), local, remote }
}

fn hosts(connections: &[Connection]) -> Vec<Option<&str>> {
    connections.iter().map(|connection| connection.host.as_deref()).collect()
}

#[test]
fn a_connection_says_how_long_it_took_to_make() {
    let (local, remote) = ("127.0.0.1:50000", "10.0.0.1:443");
    let state = What::TlsState { version: 0x304, protocol: Some("h2".into()) };
    let trace = trace([
        (5, 1, resolve("a.lab")),
        (5, 1, resolved(2)),
        (5, 1, dial("a.lab:443", remote)),
        (0, 0, tcp(1, None, remote, TcpState::Connecting)),
        (0, 0, tcp(1, Some(local), remote, TcpState::Established)),
        (5, 1, tls_enter(local, remote)),
        (5, 1, state.clone()),
        (5, 1, What::TlsReturn { error: None }),
        // Somebody asks again.
        (5, 1, state),
    ]);
    let [connection] = &*trace.connections else { panic!("{:?}", trace.connections) };
    assert_eq!(connection.host.as_deref(), Some("a.lab"));
    let times = (connection.dns_ns, connection.connect_ns, connection.tls_ns);
    assert_eq!(times, (Some(1000), Some(1000), Some(1000)));
    let tls = connection.tls.as_ref().expect("TLS");
    assert_eq!((tls.version.as_deref(), tls.protocol.as_deref()), (Some("TLS 1.3"), Some("h2")));
    assert_eq!(tls.error, None);
    let [lookup] = &*trace.lookups else { panic!("{:?}", trace.lookups) };
    assert_eq!((lookup.host.as_str(), lookup.addresses), ("a.lab", Some(2)));
    assert_eq!(lookup.answers.as_ref().map(Vec::len), Some(2));
    assert_eq!((lookup.servers.as_ref(), lookup.cut.len()), (None, 0));
}

fn query(host: &str) -> What {
    What::Query { host: host.into() }
}

fn exchange(server: &str) -> What {
    What::Exchange { server: server.into() }
}

fn servers(trace: &Trace) -> Vec<(&str, Option<String>)> {
    let servers = |l: &crate::model::NameLookup| l.servers.as_ref().map(|all| all.join(" "));
    trace.lookups.iter().map(|lookup| (lookup.host.as_str(), servers(lookup))).collect()
}

/// All who want a name wait for one query; of more answers than are read, that is said.
#[test]
fn name_servers_are_those_of_all_who_wait() {
    let trace = trace([
        (5, 1, resolve("a.lab")),
        (6, 1, resolve("b.lab")),
        (7, 5, query("a.lab")),
        (8, 6, query("b.lab")),
        (9, 7, exchange("1.1.1.1:53")),
        (10, 7, exchange("1.1.1.1:53")),
        (11, 8, exchange("2.2.2.2:53")),
        (12, 1, resolve("a.lab")),
        (9, 7, exchange("3.3.3.3:53")),
        // Nobody knows for what.
        (13, 99, exchange("4.4.4.4:53")),
        (14, 0, exchange("5.5.5.5:53")),
        (5, 1, resolved(3)),
        (12, 1, resolved(3)),
        (6, 1, resolved(1)),
        (9, 7, exchange("6.6.6.6:53")),
    ]);
    let of_a = Some("1.1.1.1:53 3.3.3.3:53".to_owned());
    assert_eq!(
        servers(&trace),
        [("a.lab", of_a.clone()), ("b.lab", Some("2.2.2.2:53".to_owned())), ("a.lab", of_a)]
    );
    assert_eq!(trace.lookups[0].cut, ["answers"]);
    assert!(trace.lookups[1].cut.is_empty());
}

/// Before Go 1.21 no goroutine has a parent.
#[test]
fn what_can_only_be_one_name_is_that() {
    let remote = "10.0.0.1:443";
    let trace = trace([
        (5, 0, resolve("a.lab")),
        (9, 0, exchange("1.1.1.1:53")),
        (5, 0, resolved(1)),
        (6, 0, dial("a.lab:443", remote)),
        (0, 0, tcp(1, None, remote, TcpState::Connecting)),
        // Two lookups, of which either may be the one.
        (7, 0, resolve("a.lab")),
        (7, 0, resolved(1)),
        (8, 0, dial("a.lab:443", remote)),
        (0, 0, tcp(2, None, remote, TcpState::Connecting)),
    ]);
    assert_eq!(servers(&trace)[0], ("a.lab", Some("1.1.1.1:53".to_owned())));
    let times: Vec<_> = trace.connections.iter().map(|connection| connection.dns_ns).collect();
    assert_eq!(times, [Some(2000), None]);
}

#[test]
fn both_that_race_have_the_name_and_its_time() {
    let (v6, v4) = ("[2001:db8::1]:443", "10.0.0.1:443");
    let trace = trace([
        (5, 1, resolve("a.lab")),
        (5, 1, resolved(2)),
        (6, 5, dial("a.lab:443", v6)),
        (0, 0, tcp(1, None, v6, TcpState::Connecting)),
        (7, 5, dial("a.lab:443", v4)),
        (0, 0, tcp(2, None, v4, TcpState::Connecting)),
        (0, 0, tcp(1, None, v6, TcpState::Closed { errno: 111 })),
        (0, 0, tcp(2, Some("10.0.0.9:50000"), v4, TcpState::Established)),
    ]);
    assert_eq!(hosts(&trace.connections), [Some("a.lab"), Some("a.lab")]);
    assert!(trace.connections.iter().all(|connection| connection.dns_ns == Some(1000)));
    assert_eq!(trace.connections[0].errno, Some(111));
    assert!(crate::diagnose::diagnose(&trace).is_empty());
}

#[test]
fn what_two_hosts_share_is_not_guessed() {
    let shared = "10.0.0.1:443";
    let trace = trace([
        (5, 1, dial("a.lab:443", shared)),
        (6, 1, dial("b.lab:443", shared)),
        (0, 0, tcp(1, None, shared, TcpState::Connecting)),
        (7, 1, dial("c.lab:8443", "10.0.0.2:8443")),
        (0, 0, tcp(2, None, "10.0.0.2:8443", TcpState::Connecting)),
        // The other of the two.
        (0, 0, tcp(3, None, shared, TcpState::Connecting)),
        // Nobody else wants to go there now.
        (8, 1, resolve("b.lab")),
        (8, 1, resolved(1)),
        (8, 1, dial("b.lab:443", shared)),
        (0, 0, tcp(4, None, shared, TcpState::Connecting)),
    ]);
    assert_eq!(hosts(&trace.connections), [None, Some("c.lab:8443"), None, Some("b.lab")]);
    assert_eq!(trace.connections[3].dns_ns, Some(1000));
}

#[test]
fn an_address_takes_no_time_of_a_name_before() {
    let trace = trace([
        (5, 1, resolve("a.lab")),
        (5, 1, resolved(1)),
        // The end of a lookup of an address, whose beginning is not told.
        (5, 1, resolved(9)),
        (5, 1, dial("10.0.0.2:80", "10.0.0.2:80")),
        (0, 0, tcp(1, None, "10.0.0.2:80", TcpState::Connecting)),
    ]);
    assert_eq!(trace.connections[0].dns_ns, None);
    assert_eq!(trace.lookups[0].addresses, Some(1));
}

#[test]
fn failures_stand_where_they_happened() {
    let failure = |type_name: &str, text: &str| {
        let step = FailureStep {
            type_name: type_name.into(),
            text: Some(text.into()),
            ..FailureStep::default()
        };
        Some(Failure { steps: vec![step] })
    };
    let (local, remote) = ("127.0.0.1:50000", "10.0.0.1:443");
    let trace = trace([
        (5, 1, resolve("b.lab")),
        (
            5,
            1,
            What::Resolved {
                addresses: 0,
                answers: Vec::new(),
                error: failure("*net.DNSError", "no such host"),
            },
        ),
        (6, 1, tls_enter(local, remote)),
        (6, 1, What::TlsReturn { error: failure("x509.HostnameError", "a.lab") }),
        // Nonsense: what never began.
        (9, 1, What::TlsReturn { error: None }),
        (9, 1, resolved(1)),
    ]);
    let lookup = &trace.lookups[0];
    assert_eq!((lookup.addresses, lookup.duration_ns), (None, Some(1000)));
    assert_eq!(lookup.error.as_ref().map(|error| error.kind), Some(Outcome::Dns));
    let connection = &trace.connections[0];
    assert_eq!(connection.tls_ns, Some(1000));
    let error = connection.tls.as_ref().and_then(|tls| tls.error.as_ref());
    assert_eq!(error.map(|error| error.kind), Some(Outcome::TlsOther));
}
