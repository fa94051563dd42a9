//! Chains, attempts, causes, and what came after redirects.

use crate::event::{Failure, What};
use crate::model::{AfterRedirect, Artifact, Cause, Next, Outcome, Role, Severity, Trace};

use super::scenarios::{self, A, B, got, url, zip};
use super::script::{
    GO, Hop, Script, Task, bad_status, broken, chain, config, draw, failure, hop, label,
    no_such_host, plain_error, refused, unverified,
};

fn drawn(trace: &Trace, name: &str) -> Vec<String> {
    draw(chain(trace, name))
}

#[test]
fn forty_modules_at_once_are_told_apart() {
    let trace = scenarios::healthy().trace();
    assert_eq!(trace.chains.len(), 120);
    for n in 0..40 {
        let name = |artifact: &str| format!("x.lab/m{n}@v1.0.0 {artifact}");
        assert_eq!(
            drawn(&trace, &name("info")),
            ["https://proxy.lab[0] ok → -: initial proxy.lab 200"]
        );
        assert_eq!(
            drawn(&trace, &name("zip")),
            [
                "https://proxy.lab[0] ok → -: initial proxy.lab 302 (followed), redirect storage.lab 200"
            ]
        );
        let requests = &chain(&trace, &name("zip")).attempts[0].requests;
        assert_eq!(requests[1].url, format!("https://storage.lab/{n}"));
        assert_eq!(requests[1].follows, Some(requests[0].id));
    }
    let mut ids: Vec<u32> = trace
        .chains
        .iter()
        .flat_map(|chain| &chain.attempts)
        .flat_map(|attempt| attempt.requests.iter().map(|request| request.id))
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..160).collect::<Vec<_>>());
    let carried: Vec<u32> =
        trace.connections.iter().map(|connection| connection.requests).collect();
    assert_eq!(carried, [120, 40]);
    assert!(trace.capture.complete);
}

#[test]
fn a_missing_module_is_asked_twice_and_then_of_the_next_entry() {
    let trace = scenarios::missing_then_next().trace();
    let chain = chain(&trace, "x.lab/m@v1.0.0 zip");
    assert_eq!(
        draw(chain),
        [
            "https://proxy.lab[0] not-found → next-entry: initial proxy.lab 404, auth-resend proxy.lab 404",
            "https://next.lab[1] ok → -: initial next.lab 200",
        ]
    );
    assert_eq!(chain.outcome, Outcome::Ok);
    let asked = &chain.attempts[0].requests;
    assert_eq!(asked[1].follows, Some(asked[0].id));
    assert_eq!(chain.attempts[0].reason, "proxy.lab answered 404; after 404 and 410 go asks on");
}

#[test]
fn what_came_after_a_redirect_is_the_most_telling_thing() {
    let trace = scenarios::redirect_to_missing_then_next().trace();
    assert_eq!(
        drawn(&trace, "x.lab/m@v1.0.0 zip"),
        [
            "https://proxy.lab[0] not-found → next-entry: initial proxy.lab 302 (same-host-retry), \
         redirect cdn.lab 404, auth-resend proxy.lab 302 (fallback), redirect cdn.lab 404",
            "https://next.lab[1] ok → -: initial next.lab 200",
        ]
    );
    let requests = &chain(&trace, "x.lab/m@v1.0.0 zip").attempts[0].requests;
    assert_eq!(requests[2].follows, Some(requests[1].id));
}

#[test]
fn a_redirect_chain_is_one_attempt() {
    let hops = [
        hop(&zip(A, "x.lab/m"), 301).to("/other"),
        hop("https://proxy.lab/other", 307).to("//cdn.lab/a/b?sig=1"),
        hop("https://cdn.lab/a/b?sig=1", 302).to("../c"),
        hop("https://cdn.lab/c", 200),
    ];
    let trace = Script::new("https://proxy.lab", 0).run(&[got(7, "x.lab/m", &hops)]).trace();
    let chain = chain(&trace, "x.lab/m@v1.0.0 zip");
    let follows: Vec<_> =
        chain.attempts[0].requests.iter().map(|request| request.follows).collect();
    assert_eq!(follows, [None, Some(0), Some(1), Some(2)]);
    assert_eq!(chain.attempts[0].reason, "proxy.lab redirected to cdn.lab, which answered 200");
}

#[test]
fn a_redirect_that_leads_elsewhere_is_not_said_to_be_obeyed() {
    let hops =
        [hop(&zip(A, "x.lab/m"), 302).to("https://cdn.lab/a"), hop("https://cdn.lab/b", 200)];
    let trace = Script::new("https://proxy.lab", 0).run(&[got(7, "x.lab/m", &hops)]).trace();
    let request = &chain(&trace, "x.lab/m@v1.0.0 zip").attempts[0].requests[1];
    assert_eq!((request.cause, request.follows), (Cause::Redirect, None));
}

/// net/http looks at it once it is asked to go there (`transport.go:roundTrip`).
#[test]
fn a_redirect_to_what_nobody_can_be_asked_for_leads_nowhere() {
    let outcome = |entry: &str, hops: &[Hop], said: &str| {
        let task = Task::new(7).walk().lookup(entry, "x.lab/m").fetch(hops);
        let trace = Script::new(entry, 1).run(&[task.failed(plain_error(said))]).trace();
        chain(&trace, "x.lab/m@v1.0.0 zip").attempts[0].clone()
    };
    let no_host = "http: no Host in request URL";
    for (location, url, said) in [
        ("https:/cdn.lab/z", "https:///cdn.lab/z", no_host),
        ("cdn.lab:8443/z", "cdn.lab://", "unsupported protocol scheme \"cdn.lab\""),
    ] {
        let entry = "http://proxy.lab";
        let from = hop(&zip(entry, "x.lab/m"), 302).to(location);
        let attempt = outcome(entry, &[from, broken(url, plain_error(said), false)], said);
        assert_eq!((attempt.outcome, attempt.next), (Outcome::RedirectInvalid, Some(Next::Stop)));
        assert_eq!(
            attempt.reason,
            "proxy.lab answered 302 and redirected to nowhere; there is nothing left to ask"
        );
        let [from, to] = &attempt.requests[..] else { panic!("{attempt:?}") };
        assert_eq!(from.after_redirect, Some(AfterRedirect::Refused));
        assert_eq!((to.follows, to.outcome), (Some(from.id), Outcome::RedirectInvalid));
    }
    // An entry may have no host, too.
    let entry = "https:///go";
    let asked = broken(&zip(entry, "x.lab/m"), plain_error(no_host), false);
    assert_eq!(outcome(entry, &[asked], no_host).outcome, Outcome::Unknown);
}

#[test]
fn a_refused_downgrade_is_no_request() {
    let trace = scenarios::downgrade("https://proxy.lab,direct").trace();
    assert_eq!(
        drawn(&trace, "x.lab/m@v1.0.0 zip"),
        ["https://proxy.lab[0] redirect-refused → stop: initial proxy.lab 302 (refused)"]
    );
}

#[test]
fn a_circle_is_ten_requests() {
    let trace = scenarios::circle().trace();
    let attempt = &chain(&trace, "x.lab/m@v1.0.0 zip").attempts[0];
    assert_eq!((attempt.outcome, attempt.requests.len()), (Outcome::RedirectLimit, 10));
    let line = &drawn(&trace, "x.lab/m@v1.0.0 zip")[0];
    assert_eq!(line.matches("(followed)").count(), 9);
    assert!(line.ends_with("redirect mirror.lab 302 (refused)"), "{line}");
}

#[test]
fn a_refusal_is_told_apart_without_its_text() {
    let untold = || failure(&[("*url.Error", ""), ("", "")], None);
    for (location, hops, expected) in [
        ("http://plain.lab/z", 1, Outcome::RedirectRefused),
        ("https://proxy.lab/z", 10, Outcome::RedirectLimit),
        ("https://[", 1, Outcome::RedirectInvalid),
        ("cdn.lab:8443/z", 1, Outcome::RedirectInvalid),
    ] {
        let hops = vec![hop(&zip(A, "x.lab/m"), 302).to(location); hops];
        let task = Task::new(7).walk().lookup(A, "x.lab/m").fetch_refused(&hops, untold());
        let trace = Script::new(A, 1).run(&[task.failed(untold())]).trace();
        assert_eq!(chain(&trace, "x.lab/m@v1.0.0 zip").outcome, expected);
    }
}

/// The page that a header stands on can be one that is not there when it is read.
#[test]
fn a_location_that_was_not_seen_is_not_said_to_be_missing() {
    let go_says = "failed to parse Location header \"https://[\": missing ']' in host";
    for (said, expected) in [("", Outcome::Unknown), (go_says, Outcome::RedirectInvalid)] {
        let error = || failure(&[("*fmt.wrapError", said)], None);
        let hops = [hop(&zip(A, "x.lab/m"), 302).to("https://[")];
        let task = Task::new(7).walk().lookup(A, "x.lab/m").fetch_refused(&hops, error());
        let mut script = Script::new(A, 1);
        script.run(&[task.failed(error())]);
        for event in &mut script.events {
            if let What::RequestReturn { headers, cut, .. } = &mut event.what {
                headers.clear();
                cut.push("headers".to_owned());
            }
        }
        let trace = script.trace();
        assert_eq!(chain(&trace, "x.lab/m@v1.0.0 zip").outcome, expected);
        let findings = crate::diagnose::diagnose(&trace);
        assert!(findings.iter().all(|finding| !finding.message.contains("without a Location")));
        assert_eq!(findings.iter().any(|it| it.code == "PT005"), !said.is_empty(), "{findings:#?}");
    }
    // go hands back what leads nowhere.
    let task = Task::new(7).walk().lookup(A, "x.lab/m").fetch(&[hop(&zip(A, "x.lab/m"), 302)]);
    let mut script = Script::new(A, 1);
    script.run(&[task.failed(failure(&[("*web.HTTPError", "302 Found")], None))]);
    for event in &mut script.events {
        if let What::RequestReturn { cut, .. } = &mut event.what {
            cut.push("headers".to_owned());
        }
    }
    let trace = script.trace();
    let attempt = &chain(&trace, "x.lab/m@v1.0.0 zip").attempts[0];
    assert_eq!((attempt.outcome, attempt.next), (Outcome::Unknown, Some(Next::Stop)));
    assert!(attempt.reason.contains("was not seen"), "{attempt:?}");
    // Where it was followed, it led there.
    let hops = [hop(&zip(A, "x.lab/m"), 302), hop("https://cdn.lab/b", 200)];
    let mut script = Script::new(A, 0);
    script.run(&[got(7, "x.lab/m", &hops)]);
    for event in &mut script.events {
        if let What::RequestReturn { status: Some(302), cut, .. } = &mut event.what {
            cut.push("headers".to_owned());
        }
    }
    let trace = script.trace();
    let requests = &chain(&trace, "x.lab/m@v1.0.0 zip").attempts[0].requests;
    assert_eq!(requests.iter().map(|it| it.outcome).collect::<Vec<_>>(), [Outcome::Ok; 2]);
}

/// One that could not be read is told apart like one without a text.
#[test]
fn an_error_that_was_not_read_ends_its_send_all_the_same() {
    let hops = [hop(&zip(A, "x.lab/m"), 302).to("http://plain.lab/z")];
    let error = plain_error("refused");
    let task = Task::new(7).walk().lookup(A, "x.lab/m").fetch_refused(&hops, error.clone());
    let mut script = Script::new(A, 1);
    script.run(&[task.failed(error)]);
    for event in &mut script.events {
        if let What::SendFailed { error } = &mut event.what {
            *error = None;
        }
    }
    let outcome = chain(&script.trace(), "x.lab/m@v1.0.0 zip").outcome;
    assert_eq!(outcome, Outcome::RedirectRefused);
}

#[test]
fn a_target_that_refuses_never_had_a_connection() {
    let trace = scenarios::failing(A, 1, scenarios::redirect_to_closed_port).trace();
    assert_eq!(
        drawn(&trace, "x.lab/m0@v1.0.0 zip"),
        ["https://proxy.lab[0] connect-refused → stop: initial proxy.lab 302 (followed), \
         redirect storage.lab:9 connect-refused"]
    );
    let request = &chain(&trace, "x.lab/m0@v1.0.0 zip").attempts[0].requests[1];
    assert_eq!(request.connection, None);
    let error = request.error.as_ref().expect("an error");
    assert_eq!(error.types[1], "*net.OpError");
    assert_eq!(error.detail.as_deref(), Some("Get: dial: connect: connection refused (errno 111)"));
}

#[test]
fn comma_stops_and_pipe_goes_on() {
    let comma =
        scenarios::failing("https://proxy.lab,direct", 1, |m| vec![hop(&zip(A, m), 502)]).trace();
    let attempt = &chain(&comma, "x.lab/m0@v1.0.0 zip").attempts[0];
    assert_eq!(
        attempt.reason,
        "proxy.lab answered 502; `,` lets go ask on after 404 and 410 alone"
    );
    let pipe = scenarios::outage_behind_pipe().trace();
    assert_eq!(
        drawn(&pipe, "x.lab/m0@v1.0.0 zip"),
        [
            "https://proxy.lab[0] http-error → next-entry: initial proxy.lab 502",
            "https://next.lab[1] ok → -: initial next.lab 200",
        ]
    );
    let reason = &chain(&pipe, "x.lab/m0@v1.0.0 zip").attempts[0].reason;
    assert_eq!(reason, "proxy.lab answered 502; `|` lets go ask on after any error");
}

#[test]
fn direct_is_an_attempt_without_requests_and_a_chain_of_its_own() {
    let trace = scenarios::direct_fails("https://proxy.lab,direct", 404).trace();
    assert_eq!(
        drawn(&trace, "x.lab/m@v1.0.0 info"),
        ["https://proxy.lab[0] not-found → direct: initial proxy.lab 404", "direct[1] dns → stop:",]
    );
    assert_eq!(drawn(&trace, "x.lab/m go-get"), ["direct[1] dns → stop: initial x.lab dns"]);
}

#[test]
fn direct_that_succeeds_ends_the_walk() {
    let task = Task::new(7)
        .walk()
        .lookup(A, "x.lab/m")
        .fetch(&[hop(&url(A, "x.lab/m", "v1.0.0.info"), 410)])
        .lookup("direct", "x.lab/m")
        .fetch(&[hop("https://x.lab/m?go-get=1", 200)])
        .found();
    let trace = Script::new("https://proxy.lab,direct", 0).run(&[task]).trace();
    assert_eq!(
        drawn(&trace, "x.lab/m@v1.0.0 info"),
        ["https://proxy.lab[0] not-found → direct: initial proxy.lab 410", "direct[1] ok → -:",]
    );
    let chain = chain(&trace, "x.lab/m@v1.0.0 info");
    assert_eq!((chain.outcome, chain.duration_ns.is_some()), (Outcome::Ok, true));
}

#[test]
fn a_proxy_named_by_go_import_serves_the_attempt_direct() {
    let file = "https://mods.lab/base/x.lab/m/@v/v1.0.0.info";
    let task = Task::new(7)
        .walk()
        .lookup(A, "x.lab/m")
        .fetch(&[hop(&url(A, "x.lab/m", "v1.0.0.info"), 404)])
        .lookup("direct", "x.lab/m")
        .fetch(&[hop("https://x.lab/m?go-get=1", 200)])
        .fetch(&[hop(file, 200)])
        .found();
    let trace = Script::new("https://proxy.lab,direct", 0).run(&[task]).trace();
    assert_eq!(drawn(&trace, "x.lab/m@v1.0.0 info")[1], "direct[1] ok → -: initial mods.lab 200");
    assert_eq!(trace.chains.len(), 2);
}

/// The page was well; what it led to was not, whatever that came to.
#[test]
fn a_page_is_not_to_blame_for_what_it_led_to() {
    let file = "https://mods.lab/base/x.lab/m/@v/v1.0.0.mod";
    for (status, error, of_file) in [
        (404, bad_status(404), "not-found → stop: initial mods.lab 404"),
        (200, plain_error("malformed record data"), "ok → stop: initial mods.lab 200"),
    ] {
        let task = Task::new(7)
            .walk()
            .lookup("direct", "x.lab/m")
            .fetch(&[hop(file, status)])
            .fetch(&[hop("https://x.lab/m?go-get=1", 200)])
            .failed(error);
        let trace = Script::new("direct", 1).run(&[task]).trace();
        assert_eq!(drawn(&trace, "x.lab/m@v1.0.0 mod"), [format!("direct[0] {of_file}")]);
        let page = &chain(&trace, "x.lab/m go-get").attempts[0];
        assert_eq!(page.outcome, Outcome::Ok);
        assert!(page.next.is_none() || status == 200, "{}", page.reason);
    }
}

/// Of several paths that are asked for at once, one was broken off: of the other, which nobody was
/// asked for there, that is not known.
#[test]
fn what_another_path_failed_with_is_not_told_of_one() {
    let info = |entry, module| url(entry, module, "v1.0.0.info");
    let broken_off = || failure(&[("*url.Error", "Get"), ("syscall.Errno", "")], Some(104));
    let walker = Task::of(GO, 1, 0);
    let ask = |id, entry, module, hop| Task::new(id).lookup(entry, module).fetch(&[hop]);
    let mut script = Script::new("https://proxy.lab|https://next.lab", 1);
    script.run(&[walker.clone().walk()]);
    script.run(&[
        ask(2, A, "x.lab/a/b", hop(&info(A, "x.lab/a/b"), 500)),
        ask(3, A, "x.lab/a", hop(&info(A, "x.lab/a"), 500)),
    ]);
    let last = broken(&info(B, "x.lab/a/b"), broken_off(), true);
    script.run(&[ask(4, B, "x.lab/a/b", last), Task::new(5).lookup(B, "x.lab/a")]);
    script.run(&[walker.failed(broken_off())]);
    let trace = script.trace();
    let at_last = |name| drawn(&trace, name).pop().unwrap();
    assert_eq!(
        at_last("x.lab/a/b@v1.0.0 info"),
        "https://next.lab[1] reset → stop: initial next.lab reset"
    );
    let of_other = at_last("x.lab/a@v1.0.0 info");
    assert!(!of_other.contains("reset"), "{of_other}");
}

#[test]
fn a_retried_request_is_two_requests() {
    let hops = [hop(&zip(A, "x.lab/m"), 200).retried()];
    let trace = Script::new(A, 0).run(&[got(7, "x.lab/m", &hops)]).trace();
    assert_eq!(
        drawn(&trace, "x.lab/m@v1.0.0 zip"),
        ["https://proxy.lab[0] ok → -: initial proxy.lab reset, transport-retry proxy.lab 200"]
    );
    let requests = &chain(&trace, "x.lab/m@v1.0.0 zip").attempts[0].requests;
    assert_eq!((requests[0].id, requests[1].id, requests[1].follows), (0, 1, Some(0)));
    assert_ne!(requests[0].connection, requests[1].connection);
    assert_eq!(requests[0].protocol.as_deref(), Some("HTTP/2.0"));
}

#[test]
fn probes_of_prefixes_are_parts_of_their_parents_walk() {
    let trace = scenarios::probes([200, 404, 404], 0).trace();
    assert_eq!(
        drawn(&trace, "x.lab/a/b list"),
        ["https://proxy.lab[0] ok → -: initial proxy.lab 200"]
    );
    assert_eq!(
        drawn(&trace, "x.lab list"),
        ["https://proxy.lab[0] not-found → -: initial proxy.lab 404"]
    );
    assert_eq!(
        chain(&trace, "x.lab list").attempts[0].reason,
        "proxy.lab answered 404; go did without it"
    );
    let trace = scenarios::probes([404, 404, 404], 1).trace();
    assert_eq!(
        drawn(&trace, "x.lab/a list"),
        ["https://proxy.lab[0] not-found → stop: initial proxy.lab 404"]
    );
}

/// The zip of what was found was refused, in a walk of its own.
#[test]
fn a_query_reports_absence_only_where_nothing_else_is_wrong() {
    for error in [bad_status(403), refused(), no_such_host(), unverified()] {
        let trace = scenarios::probes_ending([404, 200, 404], Some(error)).trace();
        for name in ["x.lab/a/b list", "x.lab list"] {
            let drawn = drawn(&trace, name);
            assert_eq!(drawn, ["https://proxy.lab[0] not-found → -: initial proxy.lab 404"]);
        }
    }
    // What failed here is the reason of all.
    let trace = scenarios::probes_ending([404, 404, 500], Some(bad_status(500))).trace();
    assert!(trace.chains.iter().all(|chain| chain.attempts[0].next == Some(Next::Stop)));
}

/// Whoever it is that ends go: what a query has not found may be what it would have done without.
#[test]
fn a_walk_that_go_ended_within_tells_of_no_absence() {
    let half = || {
        let mut script = scenarios::probes_ending([404, 200, 404], Some(bad_status(404)));
        script.events.pop();
        script
    };
    for script in [half(), half().killed(15)] {
        let trace = script.trace();
        let probe = chain(&trace, "x.lab list");
        assert_eq!(draw(probe), ["https://proxy.lab[0] not-found → -: initial proxy.lab 404"]);
        let reason = "proxy.lab answered 404; what became of it is not known";
        assert_eq!(probe.attempts[0].reason, reason);
        assert!(roots(&trace).is_empty());
    }
    // Its end may have been lost, too, but for a go that was killed.
    let next = |mut script: Script| {
        let trace = script.lose().trace();
        chain(&trace, "x.lab list").attempts[0].next
    };
    assert_eq!(next(half()), Some(Next::Stop));
    assert_eq!(next(half().killed(15)), None);
    // Pages above that of the repository, which git is fetching.
    let page = |id, path: &str| {
        let asked = hop(&format!("https://{path}?go-get=1"), 404);
        Task::new(id).lookup("direct", path).fetch(&[asked])
    };
    let mut script = Script::new("direct", 1);
    script.run(&[Task::of(GO, 1, 0).walk()]).run(&[page(20, "git.lab/m"), page(21, "git.lab")]);
    assert!(roots(&script.killed(15).trace()).is_empty());
}

/// go has what it goes on to read.
#[test]
fn direct_may_have_one_of_several_modules_alone() {
    let paths = ["x.lab/a/b", "x.lab/a", "x.lab"];
    let probe = |n: usize| Task::new(20 + n as u64);
    let at_proxy =
        |n: usize| probe(n).lookup(A, paths[n]).fetch(&[hop(&url(A, paths[n], "list"), 404)]);
    let direct = |n: usize| probe(n).lookup("direct", paths[n]);
    let (module, version) = (paths[1].to_owned(), "v1.0.0".to_owned());
    let has = direct(1).step(What::SumEnter { module, version });
    let walker = Task::of(GO, 1, 0);
    let mut script = Script::new("https://proxy.lab,direct", 0);
    script.run(&[walker.clone().walk()]).run(&[at_proxy(0), at_proxy(1), at_proxy(2)]);
    script.run(&[direct(0), has, direct(2)]).run(&[walker.found()]);
    let trace = script.trace();
    assert_eq!(trace.chains.len(), 3);
    for (name, outcome) in
        [("x.lab/a/b list", "unknown"), ("x.lab/a list", "ok"), ("x.lab list", "unknown")]
    {
        let before = "https://proxy.lab[0] not-found → direct: initial proxy.lab 404";
        let direct = format!("direct[1] {outcome} → -:");
        assert_eq!(drawn(&trace, name), [before.to_owned(), direct]);
    }
    assert_eq!(
        chain(&trace, "x.lab list").attempts[1].reason,
        "direct has some of the modules that go tried at once; whether this one is not known"
    );
    let findings = crate::diagnose::diagnose(&trace);
    assert!(findings.iter().all(|it| it.severity == Severity::Note), "{findings:#?}");
    // Of the others nothing is counted, neither as good nor as bad.
    let mut probes: Vec<_> = crate::diagnose::fruitless_probes(&trace).into_iter().collect();
    probes.sort_unstable();
    assert_eq!(probes, [chain(&trace, "x.lab/a/b list").id, chain(&trace, "x.lab list").id]);
}

/// Of several prefixes one has a repository, and others are looked up before git runs. Where git
/// has failed, go asks for the repository itself (`codehost/git.go:loadRefs`).
#[test]
fn a_repository_that_is_not_there_is_an_absence_of_its_module() {
    let paths = ["x.lab/a/b", "x.lab/a", "x.lab"];
    let probe = |n: usize| Task::new(20 + n as u64);
    let at_proxy =
        |n: usize| probe(n).lookup(A, paths[n]).fetch(&[hop(&url(A, paths[n], "list"), 404)]);
    let direct = |n: usize| probe(n).lookup("direct", paths[n]);
    let walker = Task::of(GO, 1, 0);
    let mut script = Script::new("https://proxy.lab,direct", 1);
    script.run(&[walker.clone().walk()]).run(&[at_proxy(0), at_proxy(1), at_proxy(2)]);
    script.run(&[direct(0), direct(1), direct(2)]);
    script.push(GO, None, What::Fork { child: 200 });
    let argv = ["git", "ls-remote", "-q", "origin"].map(str::to_owned).to_vec();
    script.push(200, None, What::Exec { exe: "/usr/bin/git".into(), argv });
    script.run(&[probe(0).step(What::Spawn { child: 200 })]);
    script.push(200, None, What::Exit { code: Some(128), signal: None });
    script.run(&[probe(0).fetch(&[hop("https://git.lab/b.git", 404)])]);
    let steps = ["*module.ModuleError", "codehost.notExistError", "*codehost.RunError"];
    let trace = script.run(&[walker.failed(failure(&steps.map(|step| (step, "")), None))]).trace();
    assert_eq!(trace.chains.len(), 4);
    for name in paths {
        let before = "https://proxy.lab[0] not-found → direct: initial proxy.lab 404";
        let drawn = drawn(&trace, &format!("{name} list"));
        assert_eq!(drawn, [before, "direct[1] not-found → stop:"]);
    }
    let vcs = chain(&trace, "x.lab/a/b vcs");
    assert_eq!(draw(vcs), ["direct[1] not-found → stop: initial git.lab 404"]);
    assert_eq!(vcs.commands, [1]);
    let findings = crate::diagnose::diagnose(&trace);
    let mut roots = findings.iter().filter(|it| it.role == Role::Root).peekable();
    assert!(roots.peek().is_some() && roots.all(|it| it.code == "PT410"), "{findings:#?}");
}

/// `A|A`: to try again.
#[test]
fn an_entry_that_is_twice_in_the_list_is_two_attempts() {
    let there = "https://cdn.lab/m";
    let hops = |status| [hop(&zip(A, "x.lab/m"), 302).to(there), hop(there, status)];
    let once = Task::new(7).walk().lookup(A, "x.lab/m").fetch(&hops(503));
    let task = once.clone().lookup(A, "x.lab/m").fetch(&hops(200)).found();
    let list = "https://proxy.lab|https://proxy.lab|direct";
    let trace = Script::new(list, 0).run(&[task]).trace();
    let name = "x.lab/m@v1.0.0 zip";
    let first = "https://proxy.lab[0] http-error → next-entry: initial proxy.lab 302 (fallback), \
                 redirect cdn.lab 503";
    assert_eq!(
        drawn(&trace, name),
        [
            first,
            "https://proxy.lab[1] ok → -: initial proxy.lab 302 (followed), redirect cdn.lab 200"
        ]
    );
    let findings = crate::diagnose::diagnose(&trace);
    assert!(findings.iter().all(|it| it.code != "PT001"), "{findings:#?}");
    // Of all but zips go remembers the failure.
    let task = once.lookup(A, "x.lab/m").lookup("direct", "x.lab/m").found();
    let trace = Script::new(list, 0).run(&[task]).trace();
    let second = "https://proxy.lab[1] unknown → direct:";
    assert_eq!(drawn(&trace, name), [first, second, "direct[2] ok → -:"]);
    // Other modules are looked up at the same entry, and this one where it did not fail.
    let twice = [hop(&zip(A, "x.lab/m"), 200), hop(&zip(A, "x.lab/m"), 200)];
    let [task, again] = twice.map(|hop| Task::new(7).lookup(A, "x.lab/m").fetch(&[hop]));
    let probe = |id, status| {
        let module = format!("x.lab/{id}");
        Task::new(id).lookup(A, &module).fetch(&[hop(&url(A, &module, "list"), status)])
    };
    let walker = Task::of(GO, 1, 0);
    let mut script = Script::new(list, 0);
    script.run(&[walker.clone().walk()]).run(&[probe(20, 500)]).run(&[probe(21, 404)]);
    let trace = script.run(&[task]).run(&[again]).run(&[walker.found()]).trace();
    let mut attempts = trace.chains.iter().flat_map(|chain| &chain.attempts);
    assert!(attempts.all(|attempt| attempt.index == Some(0)), "{:#?}", trace.chains);
}

/// go asks anew for the leaf alone where a query before it has asked for the rest.
#[test]
fn a_query_that_asks_for_one_module_may_be_of_several() {
    let next = |looked_up: &[&str], error| {
        let walker = Task::of(GO, 1, 0);
        let look = |(id, module): (u64, &&str)| Task::new(id).lookup(A, module);
        let leaf = Task::new(19).lookup(A, "x.lab/a/c");
        let leaf = leaf.fetch(&[hop(&url(A, "x.lab/a/c", "list"), 404)]);
        let mut script = Script::new(A, 1);
        script.run(&[walker.clone().walk()]).run(&[leaf]);
        script.run(&(20..).zip(looked_up).map(look).collect::<Vec<_>>());
        let trace = script.run(&[walker.failed(error)]).trace();
        chain(&trace, "x.lab/a/c list").attempts[0].next
    };
    let shorter = ["x.lab/a", "x.lab"];
    assert_eq!(next(&shorter, bad_status(403)), None);
    assert_eq!(next(&shorter, bad_status(404)), Some(Next::Stop));
    assert_eq!(next(&[], bad_status(403)), Some(Next::Stop));
}

/// What go calls `go` is one module, under whatever name it looks it up.
#[test]
fn a_query_for_a_toolchain_is_of_one_module() {
    let toolchain = "golang.org/toolchain";
    let task = Task::new(7)
        .walk()
        .lookup(A, "go")
        .lookup(A, toolchain)
        .fetch(&[hop(&url(A, toolchain, "list"), 404)])
        .failed(bad_status(403));
    let trace = Script::new(A, 1).run(&[task]).trace();
    let drawn = drawn(&trace, "golang.org/toolchain list");
    assert_eq!(drawn, ["https://proxy.lab[0] not-found → stop: initial proxy.lab 404"]);
}

/// `GOAUTH=git`: go tells git whether its credentials are good, while it asks on with them.
#[test]
fn a_head_is_no_part_of_a_walk() {
    let asked = url(A, "x.lab/m", "v1.0.0.info");
    let check = Task::of(GO, 30, 7).sends(&[&[hop(A, 404).head()], &[hop(A, 404).head()]]);
    let ask = Task::new(7).walk().lookup(A, "x.lab/m").fetch(&[hop(&asked, 401)]);
    let again = |status| Task::new(7).fetch(&[hop(&asked, status)]);
    for (task, outcome, last) in [
        (again(200).found(), "ok → -", 200),
        (again(401).failed(bad_status(401)), "http-error → stop", 401),
    ] {
        let mut script = Script::new("https://proxy.lab,direct", i32::from(last != 200));
        script.run(std::slice::from_ref(&ask)).run(std::slice::from_ref(&check));
        let trace = script.run(&[task]).trace();
        let requests = format!("initial proxy.lab 401, auth-resend proxy.lab {last}");
        assert_eq!(
            drawn(&trace, "x.lab/m@v1.0.0 info"),
            [format!("https://proxy.lab[0] {outcome}: {requests}")]
        );
        assert_eq!(
            drawn(&trace, "- vcs"),
            ["direct[1] not-found → -: initial proxy.lab 404, initial proxy.lab 404"]
        );
        assert_eq!(
            chain(&trace, "- vcs").attempts[0].reason,
            "proxy.lab answered 404; go did without it"
        );
    }
}

/// Before Go 1.21 nobody knows who started a goroutine.
#[test]
fn a_probe_of_an_unknown_parent_is_part_of_the_only_walk_that_lets_others_ask() {
    let probe = |id| {
        let asked = hop(&url(A, "x.lab", "v1.0.0.info"), 404);
        Task::of(GO, id, 0).lookup(A, "x.lab").fetch(&[asked])
    };
    let query = |id| Task::of(GO, id, 0).walk();
    let next = |before: &[&[Task]], id| {
        let mut script = Script::new(A, 0);
        for tasks in before {
            script.run(tasks);
        }
        script.run(&[probe(id)]).run(&[Task::of(GO, 7, 0).found()]);
        let trace = script.trace();
        let attempt = chain(&trace, "x.lab@v1.0.0 info").attempts[0].clone();
        (attempt.next, attempt.reason)
    };
    let without = |rest: &str| format!("proxy.lab answered 404; {rest}");
    assert_eq!(next(&[&[query(7)]], 9), (None, without("go did without it")));
    // Who asks by himself needs nobody else; another probe may have come to walk for a file.
    let fetch = Task::of(GO, 8, 0).walk().lookup(A, "x.lab/a");
    assert_eq!(next(&[&[query(7), fetch]], 9), (None, without("go did without it")));
    let sibling = Task::of(GO, 8, 0).lookup(A, "x.lab/a").walk();
    assert_eq!(next(&[&[query(7)], &[sibling]], 9), (None, without("go did without it")));
    // Of two queries it may be either; of the main goroutine it is known that nobody started it.
    let unknown = without("what became of it is not known");
    assert_eq!(next(&[&[query(7), query(8)]], 9), (None, unknown));
    assert_eq!(next(&[&[query(7)]], 1).0, Some(Next::Stop));
}

/// Of all prefixes there is none: go tells of what was wrong at the entry before, and that is no
/// query that came to something.
#[test]
fn what_was_wrong_before_is_why_a_query_failed() {
    let probe = |entry, id, module, status| {
        let asked = hop(&url(entry, module, "branch.info"), status);
        Task::of(GO, id, 7).lookup(entry, module).fetch(&[asked])
    };
    let mut script = Script::new(&format!("{A}|{B}"), 1);
    script.run(&[Task::new(7).walk()]);
    for (entry, id, status) in [(A, 8, 502), (B, 18, 404)] {
        script.run(&[probe(entry, id, "x.lab", status)]);
        script.run(&[probe(entry, id + 1, "x.lab/m", status)]);
    }
    let trace = script.run(&[Task::new(7).failed(bad_status(502))]).trace();
    for module in ["x.lab", "x.lab/m"] {
        let drawn = drawn(&trace, &format!("{module}@branch info"));
        assert_eq!(drawn[1], "https://next.lab[1] not-found → stop: initial next.lab 404");
    }
}

/// A list that came is none the worse for what was asked for next.
#[test]
fn what_was_not_answered_is_not_what_is_wrong_with_an_answer() {
    let list = hop(&url(A, "x.lab/m", "list"), 200);
    let error = |steps: &[(&str, &str)]| {
        let task = Task::new(7).walk().lookup(A, "x.lab/m").fetch(std::slice::from_ref(&list));
        let trace = Script::new(A, 1).run(&[task.failed(failure(steps, None))]).trace();
        chain(&trace, "x.lab/m list").attempts[0].outcome
    };
    let cut = ("*errors.errorString", "unexpected EOF");
    assert_eq!(error(&[cut]), Outcome::Truncated);
    assert_eq!(error(&[("*url.Error", "read"), cut]), Outcome::Truncated);
    let of_send = ("*url.Error", "Get");
    assert_eq!(error(&[("*module.ModuleError", "x.lab/m: v1.0.0"), of_send, cut]), Outcome::Ok);
}

#[test]
fn one_modules_fetch_on_anothers_goroutine_is_still_its_own() {
    let task = Task::new(7)
        .walk()
        .lookup(A, "x.lab/one")
        .fetch(&[hop(&url(A, "x.lab/%21two", "v1.0.0-%21r%21c1.mod"), 200)])
        .found();
    let trace = Script::new(A, 0).run(&[task]).trace();
    assert_eq!(label(&trace.chains[0]), "x.lab/Two@v1.0.0-RC1 mod");
}

#[test]
fn a_second_walk_appends_to_the_chain() {
    let asked = |status| [hop(&url(A, "x.lab/m", "v1.0.0.info"), status)];
    let task = Task::new(7)
        .walk()
        .lookup(A, "x.lab/m")
        .fetch(&asked(404))
        .failed(bad_status(404))
        .walk()
        .lookup(A, "x.lab/m")
        .fetch(&asked(200))
        .found();
    let trace = Script::new(A, 0).run(&[task]).trace();
    assert_eq!(
        drawn(&trace, "x.lab/m@v1.0.0 info"),
        [
            "https://proxy.lab[0] not-found → stop: initial proxy.lab 404",
            "https://proxy.lab[0] ok → -: initial proxy.lab 200",
        ]
    );
}

#[test]
fn the_checksum_database_is_walked_for_without_lookups() {
    let support = |proxy: &str| format!("{proxy}/sumdb/sum.golang.org/supported");
    let task = Task::new(7)
        .walk()
        .lookup(A, "x.lab/m")
        .fetch(&[hop(&url(A, "x.lab/m", "v1.0.0.mod"), 200)])
        .walk()
        .fetch(&[hop(&support(A), 404)])
        .fetch(&[hop(&support(B), 404)])
        .failed(bad_status(404))
        .fetch(&[hop("https://sum.golang.org/lookup/x.lab/m@v1.0.0", 200)])
        .fetch(&[hop("https://sum.golang.org/tile/8/0/000", 200)])
        .fetch(&[hop("https://sum.golang.org/tile/8/0/001", 200)])
        .found();
    let trace = Script::new("https://proxy.lab,https://next.lab,direct", 0).run(&[task]).trace();
    assert_eq!(
        drawn(&trace, "- sumdb-supported"),
        [
            "https://proxy.lab[0] not-found → next-entry: initial proxy.lab 404",
            "https://next.lab[1] not-found → direct: initial next.lab 404",
        ]
    );
    assert_eq!(
        drawn(&trace, "x.lab/m@v1.0.0 sumdb-lookup"),
        ["direct[2] ok → -: initial sum.golang.org 200"]
    );
    assert_eq!(
        drawn(&trace, "x.lab/m@v1.0.0 mod"),
        ["https://proxy.lab[0] ok → -: initial proxy.lab 200"]
    );
    let tiles = trace.chains.iter().filter(|chain| chain.artifact == Artifact::SumdbTile);
    assert_eq!(tiles.count(), 2);
}

#[test]
fn a_private_module_goes_to_noproxy_alone() {
    let mut script = private("https://proxy.lab,direct", "corp.lab");
    let page = "https://corp.lab/m?go-get=1";
    let private = Task::new(7)
        .walk()
        .lookup("noproxy", "corp.lab/m")
        .fetch(&[broken(page, no_such_host(), false)])
        .lookup(A, "corp.lab/m")
        .lookup("direct", "corp.lab/m")
        .failed(failure(&[("modfetch.notExistError", "")], None));
    let public = Task::new(8)
        .walk()
        .lookup("noproxy", "x.lab/m")
        .lookup(A, "x.lab/m")
        .fetch(&[hop(&zip(A, "x.lab/m"), 200)])
        .found();
    let trace = script.run(&[private, public]).trace();
    assert_eq!(
        drawn(&trace, "corp.lab/m go-get"),
        ["noproxy[0] dns → next-entry: initial corp.lab dns", "direct[2] not-found → stop:"]
    );
    assert_eq!(
        drawn(&trace, "x.lab/m@v1.0.0 zip"),
        ["https://proxy.lab[1] ok → -: initial proxy.lab 200"]
    );
    assert_eq!(trace.chains.len(), 2);
}

/// A go with these settings that fails.
fn private(goproxy: &str, goprivate: &str) -> Script {
    let mut script = Script::new(goproxy, 1);
    script.events.clear();
    let settings = config(&[("GOPROXY", goproxy), ("GOPRIVATE", goprivate)]);
    script.go(GO, "/go/bin/go", &settings);
    script
}

fn roots(trace: &Trace) -> Vec<(String, Vec<String>)> {
    let findings = crate::diagnose::diagnose(trace).into_iter();
    findings.filter(|it| it.role == Role::Root).map(|it| (it.code, it.modules)).collect()
}

/// Where neither `direct` nor `off` ends the list, nobody is asked for it again.
#[test]
fn a_private_module_may_end_at_noproxy() {
    let (module, page) = ("corp.lab/m", "https://corp.lab/m?go-get=1");
    let unknown_authority =
        || failure(&[("*url.Error", "Get"), ("x509.UnknownAuthorityError", "")], None);
    let unrecognized = |why: &str| {
        let text = format!("unrecognized import path \"{module}\": {why}");
        let steps = [
            ("modfetch.notExistError", ""),
            ("*vcs.importError", module),
            ("*errors.errorString", text.as_str()),
        ];
        failure(&steps, None)
    };
    for (asked, error, drawn_as, code) in [
        (
            broken(page, no_such_host(), false),
            unrecognized("https fetch: dial tcp: lookup corp.lab: no such host"),
            "dns → stop: initial corp.lab dns",
            "PT201",
        ),
        (
            hop(page, 404),
            unrecognized("reading https://corp.lab/m?go-get=1: 404 Not Found"),
            "not-found → stop: initial corp.lab 404",
            "PT410",
        ),
        (
            hop(page, 200),
            unrecognized("parse https://corp.lab/m?go-get=1: no go-import meta tags ()"),
            "bad-content → stop: initial corp.lab 200",
            "PT401",
        ),
        (
            hop(page, 200),
            unrecognized("parsing corp.lab/m: XML syntax error on line 7: unexpected EOF"),
            "bad-content → stop: initial corp.lab 200",
            "PT401",
        ),
        // go's words for absence may be those of anything.
        (
            broken(page, unknown_authority(), false),
            unrecognized("https fetch: tls: failed to verify certificate: x509: unknown authority"),
            "tls-unknown-authority → stop: initial corp.lab tls-unknown-authority",
            "PT204",
        ),
        (
            broken(page, plain_error("EOF"), true),
            unrecognized("https fetch: Get \"https://corp.lab/m?go-get=1\": EOF"),
            "reset → stop: initial corp.lab reset",
            "PT208",
        ),
    ] {
        let task = Task::new(7).walk().lookup("noproxy", module).fetch(&[asked]);
        let task = task.lookup(A, module).failed(error);
        let trace = private(A, "corp.lab").run(&[task]).trace();
        assert_eq!(drawn(&trace, "corp.lab/m go-get"), [format!("noproxy[0] {drawn_as}")]);
        assert_eq!(roots(&trace), [(code.to_owned(), vec![module.to_owned()])]);
    }
    // Found, and elsewhere, as another of several: nothing is wrong.
    let task = Task::new(7).walk().lookup("noproxy", module).fetch(&[hop(page, 404)]);
    let task = task.lookup(A, "corp.lab").fetch(&[hop(&url(A, "corp.lab", "list"), 200)]).found();
    let trace = private(A, "corp.lab/m").run(&[task]).trace();
    let expected = "noproxy[0] not-found → next-entry: initial corp.lab 404";
    assert_eq!(drawn(&trace, "corp.lab/m go-get"), [expected]);
    assert!(roots(&trace).is_empty());
}

/// Of all that is absent go tells of the longest path, which a private module has: what its
/// repository was asked for at `noproxy` it remembers at `direct`.
#[test]
fn a_private_module_is_missed_before_its_prefixes() {
    let paths = ["git.lab/acme/app", "git.lab/acme", "git.lab"];
    let probe = |n: usize| Task::new(20 + n as u64);
    let all = |proxy: &str| [0, 1, 2].map(|n| probe(n).lookup(proxy, paths[n]));
    let list = |n: usize, status| probe(n).fetch(&[hop(&url(A, paths[n], "list"), status)]);
    let walker = Task::of(GO, 1, 0);
    let run = |code: i32, ended: fn(&mut Script), then: &dyn Fn(&mut Script), error: Failure| {
        let mut script = private("https://proxy.lab,direct", "git.lab/acme/*");
        script.run(&[walker.clone().walk()]).run(&all("noproxy"));
        script.push(GO, None, What::Fork { child: 200 });
        let argv = ["git", "ls-remote", "-q", "origin"].map(str::to_owned).to_vec();
        script.push(200, None, What::Exec { exe: "/usr/bin/git".into(), argv });
        script.run(&[probe(0).step(What::Spawn { child: 200 })]);
        script.push(200, None, What::Exit { code: Some(code), signal: None });
        ended(&mut script);
        script.run(&all(A));
        then(&mut script);
        script.run(&[walker.clone().failed(error)]).trace()
    };
    let gone: fn(&mut Script) = |script| {
        script.run(&[Task::new(20).fetch(&[hop("https://git.lab/acme/app", 404)])]);
    };
    // It is there, and lacks the revision.
    let there: fn(&mut Script) = |_| {};
    let to_direct = |script: &mut Script| {
        script.run(&[list(1, 404), list(2, 404)]).run(&all("direct"));
    };
    let steps = ["*module.ModuleError", "codehost.notExistError", "*codehost.RunError"];
    let steps = steps.map(|step| (step, ""));
    let unknown = [("*module.ModuleError", ""), ("*codehost.UnknownRevisionError", "v1.0.0")];
    for (code, ended, error, asked) in [
        (128, gone, failure(&steps, None), " initial git.lab 404"),
        (0, there, failure(&unknown, None), ""),
    ] {
        let trace = run(code, ended, &to_direct, error);
        let expected = format!("noproxy[0] not-found → stop:{asked}");
        assert_eq!(drawn(&trace, "git.lab/acme/app vcs"), [expected]);
        for prefix in &paths[1..] {
            let before = "https://proxy.lab[1] not-found → direct: initial proxy.lab 404";
            let drawn = drawn(&trace, &format!("{prefix} list"));
            assert_eq!(drawn, [before, "direct[2] not-found → -:"]);
        }
        assert_eq!(roots(&trace), [("PT410".to_owned(), vec![paths[0].to_owned()])]);
    }
    // Whatever else is wrong with the prefixes: at a proxy, where it ends the walk, or with a page.
    let at_proxy = |script: &mut Script| {
        script.run(&[list(1, 500), list(2, 404)]);
    };
    let at_direct = |script: &mut Script| {
        to_direct(script);
        script.run(&[probe(2).fetch(&[hop("https://git.lab/?go-get=1", 401)])]);
    };
    for (then, name, expected) in [
        (
            &at_proxy as &dyn Fn(&mut Script),
            "git.lab/acme list",
            "https://proxy.lab[1] http-error → -: initial proxy.lab 500",
        ),
        (&at_direct, "git.lab go-get", "direct[2] http-error → -: initial git.lab 401"),
    ] {
        let trace = run(128, gone, then, failure(&steps, None));
        assert_eq!(drawn(&trace, name), [expected]);
        assert_eq!(roots(&trace), [("PT410".to_owned(), vec![paths[0].to_owned()])], "{name}");
    }
}

#[test]
fn an_entry_that_is_a_directory_is_tried_without_requests() {
    let task = Task::new(7)
        .walk()
        .lookup("file:///srv", "x.lab/m")
        .lookup(A, "x.lab/m")
        .fetch(&[hop(&zip(A, "x.lab/m"), 404)])
        .lookup("off", "x.lab/m")
        .failed(bad_status(404));
    let trace = Script::new("file:///srv,https://proxy.lab,off", 1).run(&[task]).trace();
    assert_eq!(
        drawn(&trace, "x.lab/m@v1.0.0 zip"),
        [
            "file:///srv[0] not-found → next-entry:",
            "https://proxy.lab[1] not-found → next-entry: initial proxy.lab 404",
            "off[2] not-found → stop:",
        ]
    );
}

/// Of a directory, or of what go remembers.
#[test]
fn the_last_entry_may_fail_without_a_request() {
    let of_file = |status: u64, errno| {
        let steps = [
            ("*module.ModuleError", ""),
            ("*web.HTTPError", ""),
            ("*fs.PathError", "open"),
            ("syscall.Errno", ""),
        ];
        let mut error = failure(&steps, Some(errno));
        error.steps[1].number = Some(status);
        error
    };
    let info = url(A, "x.lab/m", "v1.0.0.info");
    let found = |list: &str, asked: Hop, last: &str, error: Failure| {
        let task = Task::new(7).walk().lookup(A, "x.lab/m").fetch(&[asked]);
        let task = task.step(What::EntryFailed { error: error.clone() });
        let task = task.lookup(last, "x.lab/m").failed(error);
        let trace = Script::new(list, 1).run(&[task]).trace();
        let findings = crate::diagnose::diagnose(&trace);
        let root = findings.into_iter().find(|finding| finding.role == Role::Root);
        let drawn = drawn(&trace, "x.lab/m@v1.0.0 info").pop().unwrap_or_default();
        (drawn, root.map(|finding| finding.code).unwrap_or_default())
    };
    let file = "file:///srv";
    for (list, status, last, error, outcome, root) in [
        ("https://proxy.lab,file:///srv", 404, file, of_file(404, 2), "not-found", "PT410"),
        ("https://proxy.lab,file:///srv", 404, file, of_file(403, 13), "http-error", ""),
        // go tells of the last error that is no absence.
        ("https://proxy.lab|file:///srv", 500, file, bad_status(500), "not-found", "PT409"),
        ("https://proxy.lab|https://proxy.lab", 500, A, bad_status(500), "http-error", "PT409"),
        // It may be that of either.
        ("https://proxy.lab|https://next.lab", 500, B, bad_status(500), "unknown", ""),
    ] {
        let expected = (format!("{last}[1] {outcome} → stop:"), root.to_owned());
        assert_eq!(found(list, hop(&info, status), last, error), expected, "{list} {status}");
    }
    // What the entry before broke off, or could not be read, is not of the file.
    let reset = failure(&[("*url.Error", "read"), ("syscall.Errno", "")], Some(104));
    let page = failure(&[("*json.SyntaxError", "invalid character '<'")], None);
    for (asked, error, root) in
        [(broken(&info, reset.clone(), true), reset, "PT208"), (hop(&info, 200), page, "PT401")]
    {
        let expected = (format!("{file}[1] not-found → stop:"), root.to_owned());
        assert_eq!(found("https://proxy.lab|file:///srv", asked, file, error), expected);
    }
}

#[test]
fn contents_that_do_not_serve_spoil_a_good_answer() {
    let error = failure(&[("*module.ModuleError", ""), ("*json.SyntaxError", "")], None);
    let task = Task::new(7)
        .walk()
        .lookup(A, "x.lab/m")
        .fetch(&[hop(&url(A, "x.lab/m", "v1.0.0.info"), 200)])
        .failed(error);
    let trace = Script::new(A, 1).run(&[task]).trace();
    let attempt = &chain(&trace, "x.lab/m@v1.0.0 info").attempts[0];
    assert_eq!(
        (attempt.outcome, attempt.requests[0].outcome),
        (Outcome::BadContent, Outcome::BadContent)
    );
    assert_eq!(attempt.requests[0].status, Some(200));
}

#[test]
fn a_read_that_fails_is_not_mistaken_for_a_send_that_does() {
    let hops = [broken(&zip(A, "x.lab/m"), plain_error("EOF"), true)];
    let task = Task::new(7).walk().lookup(A, "x.lab/m").fetch(&hops).failed(plain_error("EOF"));
    let trace = Script::new(A, 1).run(&[task]).trace();
    let request = &chain(&trace, "x.lab/m@v1.0.0 zip").attempts[0].requests[0];
    assert_eq!((request.outcome, request.connection), (Outcome::Reset, Some(0)));
}

#[test]
fn what_did_not_end_is_unfinished() {
    let script = &mut Script::new(A, 1);
    let whole = got(7, "x.lab/m", &[hop(&zip(A, "x.lab/m"), 200)]);
    let half = script.run(&[whole]).events.len() - 3;
    script.events.truncate(half);
    let trace = script.trace();
    let chain = chain(&trace, "x.lab/m@v1.0.0 zip");
    assert_eq!((chain.outcome, chain.duration_ns), (Outcome::Unfinished, None));
    assert_eq!(chain.attempts[0].requests[0].outcome, Outcome::Unfinished);
}
