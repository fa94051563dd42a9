//! Redirects, and what go sends twice.

use crate::correlate::tests::scenarios::{self, A, B, failing, got, zip};
use crate::correlate::tests::script::{
    GO, Hop, Script, Task, bad_status, broken, hop, plain_error, refused,
};
use crate::model::{Confidence, Severity};

use super::{of_script, one, only};

#[test]
fn pt001_needs_a_second_fetch_that_nothing_explains() {
    let again = || {
        let hops =
            [hop(&zip(A, "x.lab/m"), 302).to("https://cdn.lab/m"), hop("https://cdn.lab/m", 200)];
        Task::new(7).walk().lookup(A, "x.lab/m").fetch(&hops).fetch(&hops).found()
    };
    let mut script = Script::new(A, 0);
    script.run(&[again()]);
    assert_eq!(of_script(&script), ["PT001 warning contributing ×1"]);
    assert_eq!(only(&script, "PT001").requests, [0, 2]);
    // Not with losses, which may have been the explanation.
    script.lose();
    assert_eq!(of_script(&script), ["PT900 note contributing ×0"]);
    // Nor for an auth-resend, nor for a second walk.
    let codes = of_script(&scenarios::redirect_to_missing_then_next());
    assert!(!codes.iter().any(|line| line.starts_with("PT001")));
    let hops =
        [hop(&zip(A, "x.lab/m"), 302).to("https://cdn.lab/m"), hop("https://cdn.lab/m", 200)];
    let mut script = Script::new(A, 0);
    script.run(&[got(7, "x.lab/m", &hops)]).run(&[got(7, "x.lab/m", &hops)]);
    assert!(of_script(&script).is_empty());
    // Nor for a HEAD, which go makes up to three times.
    let sent = [hop(A, 302).to("https://proxy.lab/ui/"), hop("https://proxy.lab/ui/", 404)];
    let sent = sent.map(Hop::head);
    let mut script = Script::new(A, 0);
    script.run(&[Task::of(GO, 30, 7).sends(&[&sent, &sent])]);
    let found = of_script(&script);
    assert!(!found.iter().any(|line| line.starts_with("PT001")), "{found:?}");
}

#[test]
fn pt002_is_one_note_for_all() {
    let task = |n: u64| {
        let module = format!("x.lab/m{n}");
        Task::new(n + 10)
            .walk()
            .lookup(A, &module)
            .fetch_twice(&[hop(&zip(A, &module), 404)])
            .lookup(B, &module)
            .fetch(&[hop(&zip(B, &module), 200)])
            .found()
    };
    let mut script = Script::new("https://proxy.lab,https://next.lab", 0);
    script.run(&(0..5).map(task).collect::<Vec<_>>());
    let finding = only(&script, "PT002");
    assert_eq!((finding.severity, finding.chains.len()), (Severity::Note, 5));
    assert!(finding.message.contains("5 of 15 requests"), "{}", finding.message);
}

#[test]
fn pt003_names_the_circle() {
    let script = scenarios::circle();
    assert_eq!(of_script(&script), ["PT003 error root ×1"]);
    let message = only(&script, "PT003").message;
    assert!(message.starts_with("proxy.lab → mirror.lab → proxy.lab"), "{message}");
    // What net/http sends again is no circle, nor is a tunnel.
    let there = "https://cdn.lab/m";
    let hops = [hop(&zip(A, "x.lab/m"), 302).to(there), hop(there, 503).retried().retried()];
    let again = one(A, 1, &hops, bad_status(503));
    assert_eq!(of_script(&again), ["PT006 error root ×1", "PT209 note contributing ×1"]);
    // A way that does not end need not be one.
    let at = |n: usize| format!("https://h{n}.lab/m");
    let mut hops = vec![hop(&zip(A, "x.lab/m"), 302).to(&at(1))];
    hops.extend((1..10).map(|n| hop(&at(n), 302).to(&at(n + 1))));
    let error = || plain_error("stopped after 10 redirects");
    let task = Task::new(7).walk().lookup(A, "x.lab/m").fetch_refused(&hops, error());
    let mut endless = Script::new(A, 1);
    endless.run(&[task.failed(error())]);
    assert_eq!(
        only(&endless, "PT003").message,
        "proxy.lab → h1.lab → h2.lab → h3.lab redirect each to the next; go gave up after ten \
         redirects"
    );
    // A way that is long, but ends, is none.
    let step = |n: usize| format!("https://proxy.lab/{n}");
    let mut hops: Vec<Hop> = vec![hop(&zip(A, "x.lab/m"), 302).to(&step(0))];
    hops.extend((0..8).map(|n| hop(&step(n), 302).to(&step(n + 1))));
    hops.push(hop(&step(8), 200));
    let mut script = Script::new(A, 0);
    script.run(&[got(7, "x.lab/m", &hops)]);
    assert_eq!(of_script(&script), ["PT020 note contributing ×1"]);
}

#[test]
fn pt004_names_who_redirected_and_where() {
    let script = scenarios::downgrade(A);
    assert_eq!(of_script(&script), ["PT004 error root ×1"]);
    assert_eq!(
        only(&script, "PT004").message,
        "proxy.lab redirected (302) from https to http://plain.lab, which go refuses to follow"
    );
    // The comma contributes where there was another entry.
    assert_eq!(
        of_script(&scenarios::downgrade("https://proxy.lab,direct")),
        ["PT004 error root ×1", "PT101 error contributing ×1"]
    );
    // From http to http nothing is refused.
    let plain = "http://proxy.lab";
    let hops =
        [hop(&zip(plain, "x.lab/m"), 302).to("http://plain.lab/z"), hop("http://plain.lab/z", 200)];
    let task = Task::new(7).walk().lookup(plain, "x.lab/m").fetch(&hops).found();
    let mut script = Script::new(plain, 0);
    script.run(&[task]);
    assert!(of_script(&script).is_empty());
}

#[test]
fn pt005_is_a_redirect_without_location_and_no_other_3xx() {
    let with = |status| one(A, 1, &[hop(&zip(A, "x.lab/m"), status)], bad_status(status));
    assert_eq!(of_script(&with(307)), ["PT005 error root ×1"]);
    assert_eq!(only(&with(307), "PT005").message, "proxy.lab answered 307 without a Location");
    assert_eq!(of_script(&with(304)), ["PT402 error root ×1"]);
    // An empty one is none.
    let empty = one(A, 1, &[hop(&zip(A, "x.lab/m"), 302).to("")], bad_status(302));
    assert_eq!(of_script(&empty), ["PT005 error root ×1"]);
    assert_eq!(only(&empty, "PT005").message, "proxy.lab answered 302 without a Location");
}

/// A slash is lost, or the scheme, or http is not what it is.
#[test]
fn pt005_is_a_location_that_go_reads_otherwise() {
    let insecure = "redirected from secure URL https://proxy.lab to insecure URL s3://bucket";
    let no_host = "http: no Host in request URL";
    let unsupported = "unsupported protocol scheme \"storage.lab\"";
    let other = "whose scheme go takes to be `storage.lab`";
    let plain = "http://proxy.lab";
    for (entry, location, led, said, is) in [
        (A, "https:/storage.lab/z", "https:///storage.lab/z", no_host, "that names no host"),
        (A, "storage.lab:8443/z", "", insecure, other),
        (A, "s3://bucket/z", "", insecure, "whose scheme go takes to be `s3`"),
        (plain, "storage.lab:8443/z", "storage.lab://", unsupported, other),
        (plain, "http:///z", "http:///z", no_host, "that names no host"),
    ] {
        let error = || plain_error(said);
        let from = hop(&zip(entry, "x.lab/m"), 302).to(location);
        let task = Task::new(7).walk().lookup(entry, "x.lab/m");
        let task = match led {
            "" => task.fetch_refused(&[from], error()),
            led => task.fetch(&[from, broken(led, error(), false)]),
        };
        let mut script = Script::new(entry, 1);
        script.run(&[task.failed(error())]);
        assert_eq!(of_script(&script), ["PT005 error root ×1"], "{location}");
        let message = only(&script, "PT005").message;
        assert_eq!(message, format!("proxy.lab answered 302 with a Location {is}"));
    }
}

#[test]
fn pt006_names_the_host_that_answered() {
    let script = failing("https://proxy.lab", 40, scenarios::redirect_to_forbidden);
    assert_eq!(of_script(&script), ["PT006 error root ×40"]);
    let finding = only(&script, "PT006");
    assert_eq!(
        finding.message,
        "proxy.lab redirected to storage.lab, which answered 403; go's own message names proxy.lab"
    );
    assert_eq!((finding.modules.len(), finding.requests.len()), (40, 80));
    assert_eq!(finding.modules[39], "x.lab/m39@v1.0.0");
    assert_eq!((finding.chain, finding.module.as_deref()), (Some(0), Some("x.lab/m0")));
    assert_eq!(finding.confidence, Confidence::Certain);
    // A redirect within the host blames nobody wrongly.
    let hops = [hop(&zip(A, "x.lab/m"), 302).to("/z"), hop("https://proxy.lab/z", 403)];
    assert_eq!(of_script(&one(A, 1, &hops, bad_status(403))), ["PT302 error root ×1"]);
}

#[test]
fn pt007_names_the_target_that_was_not_reached() {
    let script = failing("https://proxy.lab", 2, scenarios::redirect_to_closed_port);
    assert_eq!(of_script(&script), ["PT007 error root ×2"]);
    let message = only(&script, "PT007").message;
    assert_eq!(message, "proxy.lab redirected to storage.lab:9, which refused the connection");
    // A filter that goes by the name lets TCP through, and answers the handshake with RST.
    let led = |to: Hop| [hop(&zip(A, "x.lab/m"), 302).to("https://cdn.lab/z"), to];
    let to_cdn = |connected| broken("https://cdn.lab/z", plain_error("EOF"), connected);
    let filtered = one(A, 1, &led(to_cdn(false)), plain_error("EOF"));
    assert_eq!(of_script(&filtered), ["PT007 error root ×1"]);
    let reached = one(A, 1, &led(to_cdn(true)), plain_error("EOF"));
    assert_eq!(of_script(&reached), ["PT208 error root ×1"]);
    // By another scheme another server is asked.
    let (entry, there) = ("http://proxy.lab", "https://proxy.lab/z");
    let hops = [hop(&zip(entry, "x.lab/m"), 301).to(there), broken(there, refused(), false)];
    let task = Task::new(7).walk().lookup(entry, "x.lab/m").fetch(&hops).failed(refused());
    let mut script = Script::new(entry, 1);
    script.run(&[task]);
    assert_eq!(
        only(&script, "PT007").message,
        "proxy.lab redirected to https://proxy.lab, which refused the connection"
    );
    // The proxy itself being down is no redirect's fault.
    let down = [broken(&zip(A, "x.lab/m"), refused(), false)];
    assert_eq!(of_script(&one(A, 1, &down, refused())), ["PT202 error root ×1"]);
}

#[test]
fn pt012_warns_where_the_answer_behind_the_redirect_was_no_404() {
    let task = |status| {
        let hops = [
            hop(&zip(A, "x.lab/m"), 302).to("https://cdn.lab/m"),
            hop("https://cdn.lab/m", status),
        ];
        Task::new(7)
            .walk()
            .lookup(A, "x.lab/m")
            .fetch(&hops)
            .lookup(B, "x.lab/m")
            .fetch(&[hop(&zip(B, "x.lab/m"), 200)])
            .found()
    };
    let script = |status| {
        let mut script = Script::new("https://proxy.lab|https://next.lab", 0);
        script.run(&[task(status)]);
        script
    };
    let (hidden, absent) = (script(500), script(404));
    assert_eq!(
        of_script(&hidden),
        ["PT012 warning contributing ×1", "PT103 warning contributing ×1"]
    );
    assert_eq!(of_script(&absent), ["PT012 note contributing ×1", "PT102 note contributing ×1"]);
    // Each says what the other does not.
    let says = |code| only(&hidden, code).message;
    assert_eq!(
        says("PT012"),
        "proxy.lab redirected to cdn.lab, which answered 500; for that, not for the redirect, go \
         asked the next entry"
    );
    assert_eq!(says("PT103"), "https://proxy.lab fails; `|` let go ask on without a word");
}

/// go went nowhere, and there is no answer behind it.
#[test]
fn pt012_is_not_of_a_redirect_that_go_refuses() {
    let said = "redirected from secure URL https://proxy.lab to insecure URL http://plain.lab";
    let hops = [hop(&zip(A, "x.lab/m"), 302).to("http://plain.lab/z")];
    let task = Task::new(7)
        .walk()
        .lookup(A, "x.lab/m")
        .fetch_refused(&hops, plain_error(said))
        .lookup(B, "x.lab/m")
        .fetch(&[hop(&zip(B, "x.lab/m"), 200)])
        .found();
    let mut script = Script::new("https://proxy.lab|https://next.lab", 0);
    script.run(&[task]);
    assert_eq!(of_script(&script), ["PT103 warning contributing ×1"]);
    assert_eq!(
        only(&script, "PT103").message,
        "proxy.lab answered 302 and redirected from https to http, which go refuses; `|` let go \
         ask on without a word"
    );
}
