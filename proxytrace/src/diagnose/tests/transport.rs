//! How things are sent, and how long they take.

use std::net::SocketAddr;

use crate::correlate::tests::scenarios::{A, got, tunnel_without_answer, tunneled, url, zip};
use crate::correlate::tests::script::{
    GO, Hop, Script, Task, bad_status, broken, failure, hop, plain_error, refused,
};
use crate::diagnose::{Class, class, diagnose};
use crate::event::{Event, Failure, What};
use crate::model::{Confidence, Connection, Request, Tls, Trace};

use super::{brief, found, of_script, one, only};

#[test]
fn pt011_is_another_host_than_the_location_names() {
    let hops =
        [hop(&zip(A, "x.lab/m"), 302).to("https://cdn.lab/m"), hop("https://other.lab/m", 200)];
    let mut script = Script::new(A, 0);
    script.run(&[got(7, "x.lab/m", &hops)]);
    assert_eq!(of_script(&script), ["PT011 warning contributing ×1"]);
    assert_eq!(
        only(&script, "PT011").message,
        "proxy.lab redirected to cdn.lab, and other.lab was asked instead"
    );
    // Case and the default port make no other host.
    let hops =
        [hop(&zip(A, "x.lab/m"), 302).to("https://CDN.lab:443/m"), hop("https://cdn.lab/m", 200)];
    let mut script = Script::new(A, 0);
    script.run(&[got(7, "x.lab/m", &hops)]);
    assert!(of_script(&script).is_empty());
    // Nor does a scheme in capitals, nor a third slash, before which there is no host.
    for (location, led) in
        [("HTTPS://cdn.lab:443/m", "https://cdn.lab:443/m"), ("///m", "https://proxy.lab///m")]
    {
        let hops = [hop(&zip(A, "x.lab/m"), 302).to(location), hop(led, 200)];
        let mut script = Script::new(A, 0);
        script.run(&[got(7, "x.lab/m", &hops)]);
        assert!(of_script(&script).is_empty(), "{location}");
    }
}

#[test]
fn pt206_is_told_by_the_alert() {
    let steps = |operation| [("*url.Error", "Get"), ("*net.OpError", operation), ("tls.alert", "")];
    let script = |operation, number, connected| {
        let alert = || failure(&steps(operation), Some(number));
        one(A, 1, &[broken(&zip(A, "x.lab/m"), alert(), connected)], alert())
    };
    let of = |number, connected| of_script(&script("remote error", number, connected));
    assert_eq!(of(116, true), ["PT206 error root ×1"]);
    assert_eq!(of(40, false), ["PT205 error root ×1"]);
    // After the handshake it is of something else.
    assert_eq!(of(40, true), ["PT208 error root ×1"]);
    // What is negotiated anew before TLS 1.3 may be something else, too.
    let anew = only(&script("local error", 100, true), "PT206");
    assert_eq!(anew.confidence, Confidence::Possible);
    assert_eq!(
        anew.message,
        "proxy.lab wants to negotiate TLS anew, as for a certificate from the client, which go does \
         not do"
    );
}

/// Each handshake was asked for a certificate.
fn wanting_a_certificate(trace: &mut Trace) {
    for connection in &mut trace.connections {
        connection.tls = Some(Tls {
            server_name: "proxy.lab".into(),
            version: None,
            protocol: None,
            certificate_wanted: true,
            error: None,
        });
    }
}

/// A host that would take a certificate asks for one in every handshake, and serves all the same.
#[test]
fn pt206_is_a_hypothesis_without_an_alert_and_none_of_who_was_served() {
    let steps = [("*url.Error", "Get"), ("*net.OpError", "read"), ("syscall.Errno", "")];
    let reset = || failure(&steps, Some(104));
    let info = || got(7, "x.lab/m", &[hop(&url(A, "x.lab/m", "v1.0.0.info"), 200)]);
    let asked = |before: &[Task], last: Hop, error: Failure| {
        let task = Task::new(8).walk().lookup(A, "x.lab/m").fetch(&[last]).failed(error);
        let mut script = Script::new(A, 1);
        script.run(before);
        script.run(&[task]);
        let mut trace = script.trace();
        wanting_a_certificate(&mut trace);
        let findings = diagnose(&trace);
        (findings[0].code.clone(), findings[0].confidence)
    };
    let zip = zip(A, "x.lab/m");
    let possible = |code: &str| (code.to_owned(), Confidence::Possible);
    let certain = |code: &str| (code.to_owned(), Confidence::Certain);
    assert_eq!(asked(&[], broken(&zip, reset(), true), reset()), possible("PT206"));
    assert_eq!(asked(&[], hop(&zip, 400), bad_status(400)), possible("PT206"));
    assert_eq!(asked(&[], hop(&zip, 496), bad_status(496)), certain("PT206"));
    assert_eq!(asked(&[info()], broken(&zip, reset(), true), reset()), certain("PT208"));
    assert_eq!(asked(&[info()], hop(&zip, 400), bad_status(400)), certain("PT402"));
}

/// Through a forward proxy a connection has its name; and that a certificate is wanted stays so.
#[test]
fn pt206_is_also_seen_through_a_forward_proxy() {
    let steps = [("*url.Error", "Get"), ("*net.OpError", "remote error"), ("tls.alert", "")];
    let handshake = || failure(&steps, Some(40));
    let of = |name: &str| {
        let script = one(A, 1, &[broken(&zip(A, "x.lab/m"), handshake(), false)], handshake());
        let mut trace = script.trace();
        let process = trace.chains[0].process;
        connections(&mut trace, process, 1);
        let connection = trace.connections.last_mut().expect("just pushed");
        connection.host = Some("squid.lab:3128".into());
        connection.tls = Some(Tls {
            server_name: name.into(),
            version: None,
            protocol: None,
            certificate_wanted: true,
            error: None,
        });
        found(&trace)
    };
    assert_eq!(of("proxy.lab"), ["PT206 error root ×1"]);
    assert_eq!(of("other.lab"), ["PT205 error root ×1"]);
    // A handshake does not name the port.
    let of_port = |tunneled: &str| {
        let mut trace = tunnel_without_answer(&handshake(), 1).trace();
        let requests = &mut trace.chains[0].attempts[0].requests;
        requests[0].host = "a.lab:8443".into();
        requests[1].host = tunneled.into();
        trace.connections[0].tls = Some(Tls {
            server_name: "a.lab".into(),
            version: None,
            protocol: None,
            certificate_wanted: true,
            error: None,
        });
        diagnose(&trace)[0].code.clone()
    };
    assert_eq!(of_port("a.lab:8443"), "PT206");
    assert_eq!(of_port("a.lab:9443"), "PT205");
}

/// A connection that breaks off may pass; one that breaks for a certificate does not.
#[test]
fn pt206_is_nothing_to_try_again() {
    let steps = [("*url.Error", "Get"), ("*net.OpError", "read"), ("syscall.Errno", "")];
    let reset = || failure(&steps, Some(104));
    let script = one(A, 1, &[broken(&zip(A, "x.lab/m"), reset(), true)], reset());
    let mut trace = script.trace();
    trace.findings = diagnose(&trace);
    assert_eq!(class(&trace), Some(Class::Transient));
    wanting_a_certificate(&mut trace);
    trace.findings = diagnose(&trace);
    assert_eq!(brief(&trace.findings), ["PT206 error root ×1"]);
    assert_eq!(class(&trace), None);
}

#[test]
fn pt207_is_a_hypothesis_until_ipv4_is_seen_to_do() {
    let timeout = || failure(&[("http.tlsHandshakeTimeoutError", "")], None);
    let script = one(A, 1, &[broken(&zip(A, "x.lab/m"), timeout(), false)], timeout());
    let mut trace = script.trace();
    assert_eq!(found(&trace), ["PT205 error root ×1"]);
    let error = trace.chains[0].attempts[0].requests[0].error.clone();
    let connection = |id, remote: SocketAddr, error| Connection {
        id,
        process: trace.chains[0].process,
        local_addr: None,
        remote_addr: Some(remote.to_string()),
        host: Some("proxy.lab".into()),
        dns_ns: None,
        connect_ns: Some(1),
        tls_ns: None,
        tls: Some(Tls {
            server_name: "proxy.lab".into(),
            version: None,
            protocol: None,
            certificate_wanted: false,
            error,
        }),
        protocol: None,
        requests: 0,
        errno: None,
        started_ns: None,
        ended_ns: None,
    };
    let stalled = connection(100, ([0, 0, 0, 0, 0, 0, 0, 1], 443).into(), error);
    let well = connection(101, ([127, 0, 0, 1], 443).into(), None);
    trace.connections.push(stalled);
    let findings = diagnose(&trace);
    assert_eq!(brief(&findings), ["PT205 error root ×1", "PT207 warning contributing ×1"]);
    assert_eq!(findings[1].confidence, Confidence::Possible);
    trace.connections.push(well);
    assert_eq!(diagnose(&trace)[1].confidence, Confidence::Certain);
}

/// One module, whose answers take so long to begin.
fn taking(seconds: &[u64]) -> Script {
    let mut script = Script::new(A, 0);
    for (n, &seconds) in seconds.iter().enumerate() {
        let asked = url(A, "x.lab/m", &format!("v1.0.{n}.info"));
        script.run(&[got(7, "x.lab/m", &[hop(&asked, 200).after(seconds)])]);
    }
    script
}

#[test]
fn pt508_and_pt801_share_no_silence() {
    assert_eq!(of_script(&taking(&[11])), ["PT508 warning contributing ×1"]);
    assert_eq!(of_script(&taking(&[5, 5, 5, 5, 5])), ["PT801 warning contributing ×5"]);
    assert_eq!(of_script(&taking(&[11, 11, 11, 11, 11])), ["PT508 warning contributing ×5"]);
    // Slow, but bearable; or too few to judge by.
    assert!(of_script(&taking(&[3, 3, 3, 3, 3])).is_empty());
    assert!(of_script(&taking(&[9, 9, 9, 9])).is_empty());
}

#[test]
fn pt508_also_where_go_was_ended_waiting() {
    let asked = url(A, "x.lab/m", "v1.0.0.info");
    let task = Task::new(7).walk().lookup(A, "x.lab/m").fetch(&[hop(&asked, 200)]).found();
    let mut script = Script::new(A, 1);
    script.run(&[task]);
    // The answer never came.
    let answered =
        script.events.iter().position(|event| matches!(event.what, What::RequestReturn { .. }));
    script.events.truncate(answered.expect("an answer"));
    script.push(GO, None, What::Stderr { text: String::new() });
    script.events.last_mut().expect("just pushed").time += 12_000_000_000;
    assert_eq!(of_script(&script), ["PT508 warning contributing ×1"]);
}

/// HTTP/2 waits before it asks again, and the server has answered at once.
#[test]
fn pt508_is_not_of_who_refuses_a_stream() {
    let mut script = Script::new(A, 0);
    script.run(&[got(7, "x.lab/m", &[hop(&zip(A, "x.lab/m"), 200).retried()])]);
    let is_try = |event: &Event| matches!(event.what, What::Try { .. });
    let first = script.events.iter().position(is_try).expect("it is sent");
    let again = script.events.iter().rposition(is_try).expect("it is sent again");
    for event in &mut script.events[again..] {
        event.time += 16_000_000_000;
    }
    assert_eq!(of_script(&script), ["PT209 note contributing ×1"]);
    let retired = "proxy.lab retired HTTP/2 connections, and a request was sent again on another";
    assert_eq!(only(&script, "PT209").message, retired);
    // On the same connection.
    script.events[again].what = script.events[first].what.clone();
    assert_eq!(of_script(&script), ["PT209 note contributing ×1"]);
    let refused = "proxy.lab refused HTTP/2 streams, and a request was sent again";
    assert_eq!(only(&script, "PT209").message, refused);
}

/// To look a name up, and to connect, is no silence of the host.
#[test]
fn pt508_not_before_the_request_was_sent() {
    let asked = url(A, "x.lab/m", "v1.0.0.info");
    let task = Task::new(7).walk().lookup(A, "x.lab/m").fetch(&[hop(&asked, 200)]).found();
    let mut script = Script::new(A, 1);
    script.run(&[task]);
    let sent = script.events.iter().position(|event| matches!(event.what, What::Try { .. }));
    let sent = sent.expect("it is sent");
    script.events.truncate(sent + 1);
    script.events[sent].time += 12_000_000_000;
    script.push(GO, None, What::Stderr { text: String::new() });
    assert!(of_script(&script).is_empty());
}

/// What CONNECT comes to, go tells without a word of the forward proxy.
#[test]
fn pt211_is_also_a_forward_proxy_that_gives_no_answer() {
    let read = [("*net.OpError", "read"), ("syscall.Errno", "")];
    let malformed = [("*errors.errorString", "malformed HTTP response \"SSH-2.0\"")];
    let deadline = [("context.deadlineExceededError", "")];
    let broken_off = "broke the connection off in place of an answer to CONNECT a.lab:443";
    for (error, seconds, did) in [
        (plain_error("unexpected EOF"), 1, broken_off),
        (failure(&read, Some(104)), 1, broken_off),
        (failure(&malformed, None), 1, "answered CONNECT a.lab:443 with something else than HTTP"),
        (failure(&deadline, None), 60, "did not answer CONNECT a.lab:443"),
    ] {
        let script = tunnel_without_answer(&error, seconds);
        let expected = ["PT211 error root ×1", "PT212 note contributing ×1"];
        assert_eq!(of_script(&script), expected, "{did}");
        let message = only(&script, "PT211").message;
        assert_eq!(message, format!("the forward proxy 127.0.0.9:3128 {did}"));
        let mut trace = script.trace();
        trace.findings = diagnose(&trace);
        assert_eq!(class(&trace), None, "{did}");
    }
    // That comes from inside of a tunnel.
    let unknown = failure(&[("x509.UnknownAuthorityError", "")], None);
    let found = of_script(&tunnel_without_answer(&unknown, 1));
    assert_eq!(found[0], "PT204 error root ×1");
}

/// One zip whose body ends for this.
fn broken_off(error: Failure) -> Script {
    let end = What::BodyEnd { body: 5, remaining: None, short: false, error: Some(error) };
    let asked = [hop(&zip(A, "x.lab/m"), 200)];
    let task = Task::new(7).walk().lookup(A, "x.lab/m").fetch(&asked).step(end);
    let mut script = Script::new(A, 1);
    script.run(&[task.failed(bad_status(500))]);
    for event in &mut script.events {
        if let What::RequestReturn { body, .. } = &mut event.what {
            *body = Some(5);
        }
    }
    script
}

/// go has the same words for a connection of HTTP/2 that ends before the answer, and within it.
#[test]
fn pt210_is_an_answer_that_has_begun() {
    let ended = || plain_error("unexpected EOF");
    let asked = || broken(&zip(A, "x.lab/m"), ended(), true);
    assert_eq!(of_script(&one(A, 1, &[asked()], ended())), ["PT208 error root ×1"]);
    let late = one(A, 1, &[asked().after(12)], ended());
    assert_eq!(of_script(&late), ["PT208 error root ×1", "PT508 warning contributing ×1"]);
    for (error, did) in [
        ("unexpected EOF", "ended its answer early"),
        ("malformed chunked encoding", "sent a body whose chunks are broken"),
    ] {
        let script = broken_off(plain_error(error));
        assert_eq!(of_script(&script), ["PT210 error root ×1"]);
        let message = only(&script, "PT210").message;
        assert_eq!(message, format!("proxy.lab answered 200, but then {did}"));
    }
}

/// HTTP/2 is refused for what was asked, and will be again.
#[test]
fn pt208_is_permanent_where_http_1_1_is_wanted() {
    let error = || failure(&[("*url.Error", "Get"), ("http2.StreamError", "")], Some(13));
    let script = one(A, 1, &[broken(&zip(A, "x.lab/m"), error(), true)], error());
    assert_eq!(of_script(&script), ["PT208 error root ×1"]);
    let finding = only(&script, "PT208");
    assert_eq!(
        finding.message,
        "proxy.lab wants HTTP/1.1 for this, which go does not turn to by itself"
    );
    assert!(finding.advice.contains("http2client=0"), "{}", finding.advice);
    let mut trace = script.trace();
    trace.findings = diagnose(&trace);
    assert_eq!(class(&trace), Some(Class::Permanent));
}

/// GOINSECURE lets go ask over http where https has failed, and go tells of that alone.
#[test]
fn what_failed_over_https_is_not_hidden_by_http() {
    let finding = |error: Failure, code: &str| {
        let secure = [broken("https://git.lab/m?go-get=1", error, false)];
        let plain = [broken("http://git.lab/m?go-get=1", refused(), false)];
        let task = Task::new(7).walk().lookup("direct", "git.lab/m").sends(&[&secure, &plain]);
        let mut script = Script::new("direct", 1);
        script.run(&[task.failed(refused())]);
        assert_eq!(of_script(&script), [format!("{code} error root ×1")]);
        only(&script, code)
    };
    let steps = [("*url.Error", "Get"), ("*net.OpError", "remote error"), ("tls.alert", "")];
    let old = finding(failure(&steps, Some(70)), "PT205");
    assert_eq!(
        old.message,
        "git.lab speaks no version of TLS that go speaks; http, which GOINSECURE lets go try then, \
         failed too"
    );
    assert_eq!(old.requests, [0]);
    // That nobody answered in five seconds has no name of its own.
    let late = failure(&[("*url.Error", "Get"), ("*http.timeoutError", "")], None);
    assert_eq!(
        finding(late, "PT202").message,
        "git.lab refused the connection; that was over http, which GOINSECURE lets go try where \
         https fails"
    );
}

/// After the handshake what is wrong with TLS, or with the way, ends the connection.
#[test]
fn pt208_is_an_answer_that_breaks_off_for_whatever_reason() {
    let alert = |operation| {
        failure(
            &[("*tls.permanentError", ""), ("*net.OpError", operation), ("tls.alert", "")],
            Some(20),
        )
    };
    let no_route = || failure(&[("*net.OpError", "read"), ("syscall.Errno", "")], Some(113));
    let asked = zip(A, "x.lab/m");
    for (error, did) in [
        (alert("local error"), "sent what TLS does not allow, so that go ended the connection"),
        (alert("remote error"), "broke the connection off"),
        (no_route(), "broke the connection off"),
    ] {
        let script = broken_off(error);
        assert_eq!(of_script(&script), ["PT208 error root ×1"]);
        let message = only(&script, "PT208").message;
        assert_eq!(message, format!("proxy.lab answered 200, but then {did}"));
    }
    // Before the head it is the same.
    for error in [alert("local error"), alert("remote error"), no_route()] {
        let script = one(A, 1, &[broken(&asked, error.clone(), true)], error);
        assert_eq!(of_script(&script), ["PT208 error root ×1"]);
    }
    let error = alert("local error");
    let script = one(A, 1, &[broken(&asked, error.clone(), false)], error);
    assert_eq!(of_script(&script), ["PT205 error root ×1"]);
}

/// It is no silence of the host, and not without a time limit.
#[test]
fn pt508_is_not_of_connect() {
    let mut script = tunnel_without_answer(&plain_error("unexpected EOF"), 30);
    let end = script.events.iter().position(|it| matches!(it.what, What::RequestReturn { .. }));
    script.events.truncate(end.expect("it ends"));
    script.push(GO, None, What::Stderr { text: String::new() });
    script.events.last_mut().expect("just pushed").time += 30_000_000_000;
    assert_eq!(of_script(&script), ["PT212 note contributing ×1"]);
}

/// So many connections of a process to one host, of a request each.
fn connections(trace: &mut Trace, process: u32, count: u32) {
    let new = |number| Connection {
        id: number,
        process,
        local_addr: None,
        remote_addr: None,
        host: Some("proxy.lab".into()),
        dns_ns: None,
        connect_ns: None,
        tls_ns: None,
        tls: None,
        protocol: Some("HTTP/1.1".into()),
        requests: 1,
        errno: None,
        started_ns: None,
        ended_ns: None,
    };
    trace.connections.extend((0..count).map(new));
}

#[test]
fn pt802_is_about_one_go() {
    let mut script = Script::new(A, 0);
    script.push(GO, None, What::Fork { child: 200 });
    script.push(200, None, What::Exec { exe: "/usr/bin/git".into(), argv: vec!["git".into()] });
    script.push(GO, None, What::Fork { child: 300 });
    let start = script.events.iter().find(|it| matches!(it.what, What::GoStart { .. }));
    let start = start.expect("a go").what.clone();
    script.push(300, None, start);
    let trace = |counts: [u32; 3]| {
        let mut trace = script.trace();
        for (pid, count) in [GO, 200, 300].into_iter().zip(counts) {
            let process = trace.processes.iter().rev().find(|process| process.pid == pid);
            let id = process.expect("it is there").id;
            connections(&mut trace, id, count);
        }
        found(&trace)
    };
    assert_eq!(trace([10, 0, 0]), ["PT802 note contributing ×0"]);
    assert!(trace([6, 0, 6]).is_empty());
    assert!(trace([0, 20, 0]).is_empty());
    assert_eq!(trace([12, 20, 15]), ["PT802 note contributing ×0"]);
}

/// What CONNECT leads to, not the forward proxy; and CONNECT itself is no request of that.
#[test]
fn pt802_names_the_host_behind_a_forward_proxy() {
    let mut trace = tunneled(&zip(A, "x.lab/m"), 200, &[]).trace();
    let tunnel = trace.chains[0].attempts[0].requests[1].clone();
    let process = trace.chains[0].process;
    trace.connections.clear();
    connections(&mut trace, process, 10);
    for connection in &mut trace.connections {
        connection.host = Some("squid.lab:3128".into());
        connection.protocol = Some("HTTP/1.1".into());
        connection.requests = 3;
        connection.tls = Some(Tls {
            server_name: "proxy.lab".into(),
            version: None,
            protocol: None,
            certificate_wanted: false,
            error: None,
        });
    }
    let churn = |trace: &Trace| {
        let findings = diagnose(trace);
        findings.into_iter().find(|it| it.code == "PT802").map(|finding| finding.message)
    };
    assert_eq!(churn(&trace), None);
    let tunnels = (1..10).map(|id| Request { connection: Some(id), ..tunnel.clone() });
    trace.chains[0].attempts[0].requests.extend(tunnels);
    assert_eq!(
        churn(&trace).as_deref(),
        Some("proxy.lab speaks HTTP/1.1: 10 connections for 20 requests")
    );
}

#[test]
fn pt020_counts_fetches_that_arrived() {
    let way = |hops: usize| {
        let at = |n: usize| format!("https://h{n}.lab/m");
        let mut all = vec![hop(&zip(A, "x.lab/m"), 302).to(&at(0))];
        all.extend((1..hops).map(|n| hop(&at(n - 1), 302).to(&at(n))));
        all.push(hop(&at(hops - 1), 200));
        let mut script = Script::new(A, 0);
        script.run(&[got(7, "x.lab/m", &all)]);
        of_script(&script)
    };
    assert!(way(2).is_empty());
    assert_eq!(way(3), ["PT020 note contributing ×1"]);
}
