//! What was answered, and by whom.

use crate::correlate::tests::scenarios::{
    A, B, failing, got, tunnel, tunneled, unanswered, url, zip,
};
use crate::correlate::tests::script::{
    GO, Hop, Script, Task, bad_status, broken, config, failure, hop, no_such_host, plain_error,
};
use crate::event::{Failure, What};
use crate::model::{Chain, Confidence, Outcome, Process};

use super::super::{Class, class, diagnose};
use super::{of_script, one, only};

fn unreadable() -> Failure {
    failure(&[("*json.SyntaxError", "invalid character '<'")], None)
}

#[test]
fn pt008_is_a_page_behind_a_redirect() {
    let asked = url(A, "x.lab/m", "v1.0.0.info");
    let login = "https://login.lab/?back";
    let script = |last| one(A, 1, &[hop(&asked, 302).to(login), last], unreadable());
    let found = script(hop(login, 200).page());
    assert_eq!(of_script(&found), ["PT008 error root ×1"]);
    assert_eq!(
        only(&found, "PT008").message,
        "proxy.lab redirected to login.lab, which answered 200 with a page for people in place of \
         a version"
    );
    // Without the redirect, or without the page, it is something else.
    assert_eq!(of_script(&script(hop(login, 200))), ["PT401 error root ×1"]);
    let page = one(A, 1, &[hop(&asked, 200).page()], unreadable());
    assert_eq!(of_script(&page), ["PT401 error root ×1"]);
    assert_eq!(
        only(&page, "PT401").message,
        "proxy.lab answered 200 with a page for people in place of a version"
    );
}

#[test]
fn who_speaks_is_told_by_headers() {
    let asked = zip(A, "x.lab/m");
    let of = |last| {
        let script = one(A, 1, &[last], bad_status(403));
        let finding = only(&script, "PT302");
        (finding.message, finding.advice)
    };
    let (message, _) = of(hop(&asked, 403));
    assert_eq!(message, "proxy.lab answered 403");
    let (message, advice) = of(hop(&asked, 403).with("Cf-Ray", "7-FRA").page());
    assert_eq!(message, "proxy.lab answered 403; it came through Cloudflare, as a page for people");
    assert!(advice.starts_with("The page is of the CDN"), "{advice}");
    let (message, advice) = of(hop(&asked, 403).with("Server", "UploadServer"));
    assert_eq!(message, "proxy.lab answered 403; it is Google Cloud Storage");
    assert!(advice.contains("signed URL"), "{advice}");
    let (message, advice) = of(hop(&asked, 403).page());
    assert_eq!(
        message,
        "proxy.lab answered 403; it is a page for people, as no module proxy sends"
    );
    assert!(advice.contains("plain text"), "{advice}");
    // Who passed it on did not give it.
    let passed = |hop: Hop| hop.with("Via", "1.1 gate (squid/6.6)");
    let (message, advice) = of(passed(hop(&asked, 403)));
    assert_eq!(message, "proxy.lab answered 403; it came through Squid");
    assert!(!advice.contains("NO_PROXY"), "{advice}");
    let (message, advice) = of(passed(hop(&asked, 403)).with("Server", "Artifactory/7.77.5"));
    assert_eq!(message, "proxy.lab answered 403; it is Artifactory");
    assert!(advice.contains("curation policy"), "{advice}");
    let (message, advice) = of(passed(hop(&asked, 403)).with("Server", "squid/6.6"));
    assert_eq!(message, "proxy.lab answered 403; it came through Squid");
    assert!(advice.contains("NO_PROXY"), "{advice}");
    let unauthorized = passed(hop(&asked, 401)).with("Server", "Artifactory/7.77.5");
    let advice = only(&one(A, 1, &[unauthorized], bad_status(401)), "PT301").advice;
    assert!(advice.contains("Create a token"), "{advice}");
}

#[test]
fn statuses_of_a_forward_proxy_and_of_limits() {
    let asked = zip(A, "x.lab/m");
    let of = |hop| of_script(&one(A, 1, &[hop], bad_status(500)));
    assert_eq!(of(hop(&asked, 503)), ["PT409 error root ×1"]);
    assert_eq!(of(hop(&asked, 503).with("Retry-After", "7")), ["PT408 error root ×1"]);
}

/// A go that was told of none may ask a host that has one behind it.
#[test]
fn a_407_is_of_a_forward_proxy_only_where_go_has_one() {
    const PLAIN: &str = "http://proxy.lab";
    const HTTP: (&str, &str) = ("HTTP_PROXY", "http://REDACTED@squid.lab");
    const HTTPS: (&str, &str) = ("HTTPS_PROXY", "squid.lab:3128");
    const SOCKS: (&str, &str) = ("HTTPS_PROXY", "socks5://s.lab");
    let of = |entry: &str, settings: &[(&str, &str)], port: u16| {
        let asked = [hop(&zip(entry, "x.lab/m"), 407)];
        let task =
            Task::new(7).walk().lookup(entry, "x.lab/m").fetch(&asked).failed(bad_status(407));
        let mut script = Script::new(entry, 1);
        for event in &mut script.events {
            if let What::GoStart { config: theirs, .. } = &mut event.what {
                theirs.extend(config(settings));
            }
        }
        script.run(&[task]);
        let mut trace = script.trace();
        trace.chains[0].attempts[0].requests[0].remote_addr = Some(format!("10.0.0.5:{port}"));
        let root = diagnose(&trace).remove(0);
        (root.code, root.message)
    };
    for (entry, settings, port, code, said) in [
        (A, &[HTTPS, ("NO_PROXY", ".lab")][..], 443, "PT402", ", and go asked it without one"),
        (
            PLAIN,
            &[HTTP, ("NO_PROXY", "proxy.lab:80")],
            80,
            "PT402",
            ", and go asked it without one",
        ),
        (PLAIN, &[HTTPS], 80, "PT402", ", and go asked it without one"),
        (PLAIN, &[], 80, "PT402", ", and go was told of none"),
        (A, &[HTTP], 443, "PT402", ", and go asked it without one"),
        (A, &[], 443, "PT402", ", and go was told of none"),
        (A, &[SOCKS], 1080, "PT402", "proxy.lab answered 407, as forward proxies do"),
        (A, &[HTTPS], 3128, "PT211", "the forward proxy squid.lab:3128 answered 407 in place of "),
        // Whose port is that of its URL.
        (PLAIN, &[HTTP], 80, "PT211", "the forward proxy squid.lab answered 407 in place of "),
        // That no setting names it is no reason to doubt what was connected to.
        (PLAIN, &[], 3128, "PT211", "the forward proxy 10.0.0.5:3128 answered 407 in place of "),
    ] {
        let (found, message) = of(entry, settings, port);
        assert_eq!(found, code, "{entry} {settings:?}");
        assert!(message.contains(said), "{entry} {settings:?}: {message}");
    }
}

/// Credentials are of use for 407 alone.
#[test]
fn pt211_advises_by_what_the_forward_proxy_said() {
    for (status, part) in [
        (407, "Give it the credentials"),
        (403, "ask for the host to be allowed"),
        (503, "got no answer from the host"),
        (400, "Check HTTPS_PROXY"),
    ] {
        let mut script = tunnel(&zip(A, "x.lab/m"), status);
        let error = plain_error("No");
        let done = What::SendFailed { error: Some(error.clone()) };
        script.run(&[Task::new(7).step(unanswered(&error)).step(done).failed(error)]);
        let advice = only(&script, "PT211").advice;
        assert!(advice.contains(part), "{status}: {advice}");
    }
    let steps = [("*net.OpError", "proxyconnect"), ("*net.OpError", "dial"), ("syscall.Errno", "")];
    let error = failure(&steps, Some(111));
    let script = one(A, 1, &[broken(&zip(A, "x.lab/m"), error.clone(), false)], error);
    let advice = only(&script, "PT211").advice;
    assert!(advice.contains("Check HTTPS_PROXY"), "{advice}");
}

/// What is said of the forward proxy is not said of the host that was to be reached through it.
#[test]
fn a_forward_proxy_without_an_address_is_named() {
    let steps = [
        ("*url.Error", "Get"),
        ("*net.OpError", "proxyconnect"),
        ("*net.OpError", "dial"),
        ("*net.DNSError", "no such host"),
    ];
    let error = failure(&steps, None);
    let script = one(A, 1, &[broken(&zip(A, "x.lab/m"), error.clone(), false)], error);
    assert_eq!(of_script(&script), ["PT211 error root ×1"]);
    let message = only(&script, "PT211").message;
    assert!(
        message.contains("the forward proxy has no address: its name does not exist"),
        "{message}"
    );
}

/// Nobody has refused.
#[test]
fn a_forward_proxy_that_is_not_reached_is_named() {
    let opened = ("*net.OpError", "proxyconnect");
    let silent = [opened, ("*net.OpError", "dial"), ("*poll.DeadlineExceededError", "")];
    let unknown =
        [opened, ("*tls.CertificateVerificationError", ""), ("x509.UnknownAuthorityError", "")];
    for (steps, address, said, advice) in [
        (
            silent,
            "10.9.9.9:3128",
            "the forward proxy 10.9.9.9:3128 did not answer the connection attempt",
            "Check HTTPS_PROXY",
        ),
        (
            unknown,
            "",
            "the forward proxy has a certificate of an unknown authority",
            "SSL_CERT_FILE",
        ),
    ] {
        let mut error = failure(&steps, None);
        error.steps[1].address = address.parse().ok();
        let script = one(A, 1, &[broken(&zip(A, "x.lab/m"), error.clone(), false)], error);
        assert_eq!(of_script(&script), ["PT211 error root ×1"]);
        let finding = only(&script, "PT211");
        assert_eq!(finding.message, format!("proxy.lab was not reached: {said}"));
        assert!(finding.advice.contains(advice), "{}", finding.advice);
    }
}

#[test]
fn a_handshake_that_nobody_answers_may_pass() {
    for (name, expected) in
        [("http.tlsHandshakeTimeoutError", Class::Transient), ("tls.alert", Class::Permanent)]
    {
        let error = failure(&[("*url.Error", "Get"), (name, "")], None);
        let script = one(A, 1, &[broken(&zip(A, "x.lab/m"), error.clone(), false)], error);
        let mut trace = script.trace();
        trace.findings = diagnose(&trace);
        assert_eq!(class(&trace), Some(expected), "{name}");
    }
}

/// As in `go mod download || go mod download`, after which something else fails.
#[test]
fn what_was_made_good_is_not_why_the_command_failed() {
    let script = one(A, 1, &[hop(&zip(A, "x.lab/m"), 503)], bad_status(503));
    let mut trace = script.trace();
    trace.findings = diagnose(&trace);
    assert_eq!(class(&trace), Some(Class::Transient));
    let failed = trace.chains.iter().find(|chain| chain.outcome == Outcome::HttpError).unwrap();
    let failed = failed.clone();
    let first = trace.processes.iter_mut().find(|process| process.id == failed.process).unwrap();
    first.surroundings.directory = Some("/src/a".to_owned());
    let first = first.clone();
    let ended = first.ended_ns.unwrap();
    let class_after = |next: Process, outcome, version: &str| {
        let mut trace = trace.clone();
        let (process, started_ns) = (next.id, next.started_ns);
        trace.processes.push(next);
        let version = Some(version.to_owned());
        let again = Chain { id: 900, process, outcome, version, started_ns, ..failed.clone() };
        trace.chains.push(again);
        class(&trace)
    };
    for (started_ns, outcome, version, expected) in [
        (ended, Outcome::Ok, "v1.0.0", None),
        (ended, Outcome::Cached, "v1.0.0", None),
        (ended, Outcome::HttpError, "v1.0.0", Some(Class::Transient)),
        (ended, Outcome::Ok, "v1.1.0", Some(Class::Transient)),
        // Another build, at the same time.
        (ended - 1, Outcome::Ok, "v1.0.0", Some(Class::Transient)),
    ] {
        let next = Process { id: 901, started_ns, ..first.clone() };
        assert_eq!(class_after(next, outcome, version), expected, "{outcome:?} {started_ns}");
    }
    // Another build, afterwards.
    let others: [fn(&mut Process); 3] = [
        |next| next.argv.push("./b".to_owned()),
        |next| next.surroundings.directory = Some("/src/b".to_owned()),
        |next| next.surroundings.directory = None,
    ];
    for change in others {
        let mut next = Process { id: 901, started_ns: ended, ..first.clone() };
        change(&mut next);
        let found = class_after(next.clone(), Outcome::Ok, "v1.0.0");
        assert_eq!(found, Some(Class::Transient), "{next:?}");
    }
}

/// What `direct` came to is known of the search for a repository.
#[test]
fn what_a_second_try_comes_to_is_up_to_the_search() {
    let page = "https://x.lab/m?go-get=1";
    let timeout = || failure(&[("*url.Error", "Get"), ("http.tlsHandshakeTimeoutError", "")], None);
    for (last, error, expected) in [
        (broken(page, no_such_host(), false), no_such_host(), Class::Permanent),
        (broken(page, timeout(), false), timeout(), Class::Transient),
        (hop(page, 503), bad_status(503), Class::Transient),
        (hop(page, 403), bad_status(403), Class::Permanent),
    ] {
        let task = Task::new(7)
            .walk()
            .lookup(A, "x.lab/m")
            .fetch(&[hop(&url(A, "x.lab/m", "v1.0.0.info"), 404)])
            .lookup("direct", "x.lab/m")
            .fetch(&[last])
            .failed(error);
        let mut script = Script::new("https://proxy.lab,direct", 1);
        script.run(&[task]);
        let mut trace = script.trace();
        trace.findings = diagnose(&trace);
        assert_eq!(class(&trace), Some(expected), "{:?}", trace.findings);
    }
}

/// A `.mod` that is a page: the walk is well, and go then says that it cannot read it.
fn page_as_go_mod(goproxy: &str, said: &str) -> Script {
    sent_as_go_mod(goproxy, said, Hop::page)
}

fn sent_as_go_mod(goproxy: &str, said: &str, how: impl Fn(Hop) -> Hop) -> Script {
    let asked = url(A, "x.lab/m", "v1.0.0.mod");
    let mut script = Script::new(goproxy, 1);
    script.run(&[got(7, "x.lab/m", &[how(hop(&asked, 200))])]);
    script.push(GO, None, What::Stderr { text: said.to_owned() });
    script
}

/// What is no page may be what its author wrote: then there is a line with a module in it.
#[test]
fn what_is_no_go_mod_need_not_be_a_page() {
    let said =
        "go: x.lab/n@v1.0.0 requires\n\tx.lab/m@v1.0.0: parsing go.mod: missing module line\n";
    let script = sent_as_go_mod(A, said, |hop| hop);
    assert_eq!(of_script(&script), ["PT401 error root ×1", "PT404 error contributing ×1"]);
    let root = only(&script, "PT401");
    assert_eq!(root.message, "proxy.lab answered 200 with something that is no go.mod file");
    for said in [
        "go: x.lab/m@v1.0.0: parsing go.mod:\n\tgo.mod:5: unknown directive: toolchain\n",
        "go: x.lab/n@v1.0.0: parsing go.mod: missing module line\n",
    ] {
        assert_eq!(of_script(&sent_as_go_mod(A, said, |hop| hop)), [""; 0], "{said}");
    }
}

/// A run after that asks nobody.
#[test]
fn what_is_no_go_mod_stays_in_the_module_cache() {
    let (module, version) = ("x.lab/m".to_owned(), "v1.0.0/go.mod".to_owned());
    let said = |text: &str| {
        let task =
            Task::new(7).step(What::SumEnter { module: module.clone(), version: version.clone() });
        let mut script = Script::new(A, 1);
        script.run(&[task.step(What::Stderr { text: text.to_owned() })]);
        script
    };
    let script = said("go: x.lab/m@v1.0.0: parsing go.mod: missing module line\n");
    assert_eq!(of_script(&script), ["PT404 error root ×1"]);
    let mut trace = script.trace();
    trace.findings = diagnose(&trace);
    assert_eq!(class(&trace), Some(Class::Permanent));
    assert_eq!(of_script(&said("go: something else\n")), [""; 0]);
}

/// `go mod tidy -e` tells of it, and ends well.
#[test]
fn what_is_no_go_mod_is_a_warning_where_go_ended_well() {
    let said = "go: x.lab/m@v1.0.0: parsing go.mod: missing module line\n";
    let script = sent_as_go_mod(A, said, |hop| hop).exits(0);
    let expected = ["PT401 warning root ×1", "PT404 warning contributing ×1"];
    assert_eq!(of_script(&script), expected);
}

/// `go list -m -u` and `go get` look at the newest version as well, and do without its files.
#[test]
fn what_go_asks_for_to_learn_is_no_loss() {
    let of = |file| url(A, "x.lab/m", file);
    for (status, said) in [
        (404, String::new()),
        (403, "go: downloading x.lab/n v1.0.0\n".to_owned()),
        (403, "go: downloading x.lab/n v1.0.0\n".repeat(100)),
    ] {
        let had = got(7, "x.lab/m", &[hop(&of("v1.0.0.mod"), 200)]);
        let list = got(8, "x.lab/m", &[hop(&of("list"), 200)]);
        let info = got(9, "x.lab/m", &[hop(&of("v1.1.0.info"), 200)]);
        let newest = Task::new(10).walk().lookup(A, "x.lab/m");
        let newest = newest.fetch(&[hop(&of("v1.1.0.mod"), status)]).failed(bad_status(status));
        for command in [&["go", "list", "-m", "-u", "all"][..], &["go", "get", "x.lab/m@v1.0.0"]] {
            let mut script = Script::new(A, 0);
            for task in [&had, &list, &info, &newest] {
                script.run(std::slice::from_ref(task));
            }
            script.push(GO, None, What::Stderr { text: said.clone() });
            let mut trace = script.trace();
            trace.processes[0].argv = command.iter().map(|word| (*word).to_owned()).collect();
            let findings = diagnose(&trace);
            assert!(findings.is_empty(), "{command:?} {}: {findings:?}", said.len());
        }
    }
}

/// `go list` and others end well without what they could not have.
#[test]
fn what_go_did_without_is_a_warning() {
    let asked = zip(A, "x.lab/m");
    let script = one(A, 0, &[hop(&asked, 403)], bad_status(403));
    assert_eq!(of_script(&script), ["PT302 warning root ×1"]);
    let looked_for = url(A, "x.lab/m", "list");
    assert_eq!(of_script(&one(A, 0, &[hop(&looked_for, 404)], bad_status(404))), [""; 0]);
}

#[test]
fn pt404_needs_the_page_and_what_go_says_of_it() {
    // The entry that comes after a `,` was not kept from being asked: the walk was well.
    for goproxy in [A, "https://proxy.lab,direct", "https://proxy.lab|direct"] {
        let said = "go: x.lab/m@v1.0.0: parsing go.mod: missing module line\n";
        let script = page_as_go_mod(goproxy, said);
        let expected = ["PT401 error root ×1", "PT404 error contributing ×1"];
        assert_eq!(of_script(&script), expected, "{goproxy}");
        // It is in the module cache, and will be there the next time.
        let mut trace = script.trace();
        trace.findings = diagnose(&trace);
        assert_eq!(class(&trace), Some(Class::Permanent), "{goproxy}");
    }
    let other = page_as_go_mod(A, "go: x.lab/n@v1.0.0: parsing go.mod: missing module line\n");
    assert!(of_script(&other).is_empty());
    assert!(of_script(&page_as_go_mod(A, "go: x.lab/m@v1.0.0: something else\n")).is_empty());
}

/// What is in the module cache is another than go.sum has: nobody was asked.
#[test]
fn what_go_sum_contradicts_stays_so() {
    let (module, version) = ("x.lab/m".to_owned(), "v1.0.0".to_owned());
    let said = "verifying x.lab/m@v1.0.0: checksum mismatch\n\tdownloaded: h1:\n\nSECURITY ERROR\n";
    let task = Task::new(7).step(What::SumEnter { module, version });
    let mut script = Script::new(A, 1);
    script.run(&[task.step(What::Stderr { text: said.to_owned() })]);
    assert_eq!(of_script(&script), ["PT507 error root ×1"]);
    let mut trace = script.trace();
    trace.findings = diagnose(&trace);
    assert_eq!(class(&trace), Some(Class::Permanent));
}

/// What an entry before it failed with has nothing to do with the checksum.
#[test]
fn what_go_sum_contradicts_is_what_came() {
    let asked = |entry| url(entry, "x.lab/m", "v1.0.0.mod");
    let (module, version) = ("x.lab/m".to_owned(), "v1.0.0/go.mod".to_owned());
    let said = "verifying x.lab/m@v1.0.0/go.mod: checksum mismatch\n\nSECURITY ERROR\n";
    let task = Task::new(7)
        .walk()
        .lookup(A, "x.lab/m")
        .fetch(&[hop(&asked(A), 400)])
        .lookup(B, "x.lab/m")
        .fetch(&[hop(&asked(B), 200)])
        .step(What::SumEnter { module, version })
        .step(What::Stderr { text: said.to_owned() });
    let mut script = Script::new("https://proxy.lab|https://next.lab", 1);
    script.run(&[task]);
    let root = only(&script, "PT507");
    assert_eq!(root.message, "what came from next.lab has another checksum than go.sum has for it");
}

#[test]
fn pt405_names_the_version_that_was_told() {
    for (version, told) in [("v1.0.1", "version v1.0.1"), ("", "no version")] {
        let text =
            format!("proxy returned info for version {version} instead of requested version");
        let error = failure(&[("*module.ModuleError", ""), ("*errors.errorString", &text)], None);
        let script = one(A, 1, &[hop(&url(A, "x.lab/m", "v1.0.0.info"), 200)], error);
        assert_eq!(of_script(&script), ["PT405 error root ×1"]);
        let message = only(&script, "PT405").message;
        assert_eq!(message, format!("proxy.lab told of {told}, and was asked for another"));
    }
}

#[test]
fn pt406_needs_capitals_that_are_never_there_and_others_that_are() {
    let script = |capitals: [u16; 2], other: u16| {
        let task = |n: u64, name: &str, status: u16| {
            let module = format!("x.lab/{name}{n}");
            let path = module.replace('M', "%21m");
            let task =
                Task::new(n + 10).walk().lookup(A, &module).fetch(&[hop(&zip(A, &path), status)]);
            if status == 200 {
                return task.found();
            }
            task.lookup(B, &module).fetch(&[hop(&zip(B, &path), 200)]).found()
        };
        let mut script = Script::new("https://proxy.lab,https://next.lab", 0);
        script.run(&[task(0, "M", capitals[0]), task(1, "M", capitals[1]), task(2, "m", other)]);
        script
    };
    let found = |script: Script| of_script(&script).iter().any(|line| line.starts_with("PT406"));
    let certain = script([404, 404], 200);
    assert_eq!(only(&certain, "PT406").confidence, Confidence::Certain);
    assert!(!found(script([404, 200], 200)));
    assert!(!found(script([404, 404], 404)));
    // An entry for private modules lacks whatever is public.
    let mut private = script([404, 404], 404);
    private.run(&[got(20, "x.lab/own", &[hop(&zip(A, "x.lab/own"), 200)])]);
    assert!(!found(private));
}

/// go tries every prefix of every package that is missing.
#[test]
fn pt406_is_not_of_the_paths_of_one_module() {
    let paths = ["x.lab/Org/lib/a", "x.lab/Org/lib/b", "x.lab/Org/lib", "x.lab/Org"];
    for paths in [&paths[..], &paths[2..]] {
        let walker = Task::of(GO, 1, 0);
        let probe = |(id, path): (u64, &&str)| {
            let list = url(A, &path.replace('O', "%21o"), "list");
            Task::new(id).lookup(A, path).fetch(&[hop(&list, 404)])
        };
        let mut script = Script::new(A, 1);
        script.run(&[got(7, "x.lab/n", &[hop(&zip(A, "x.lab/n"), 200)])]);
        script.run(&[walker.clone().walk()]);
        script.run(&(20..).zip(paths).map(probe).collect::<Vec<_>>());
        script.run(&[walker.failed(bad_status(404))]);
        let found = of_script(&script);
        assert!(found.iter().any(|line| line.starts_with("PT410")), "{found:?}");
        assert!(!found.iter().any(|line| line.starts_with("PT406")), "{found:?}");
    }
}

#[test]
fn a_page_that_came_through_a_tunnel_is_a_page() {
    let asked = url(A, "x.lab/m", "v1.0.0.mod");
    let mut script = tunneled(&asked, 200, &[("Content-Type", "text/html")]).exits(1);
    script.run(&[Task::new(7).found()]);
    let text = "go: x.lab/m@v1.0.0: parsing go.mod: missing module line\n".to_owned();
    script.push(GO, None, What::Stderr { text });
    let found = of_script(&script);
    assert_eq!(found[..2], ["PT401 error root ×1", "PT404 error contributing ×1"]);
    // And what cannot be read is what was asked for, not the tunnel.
    let mut script = tunneled(&url(A, "x.lab/m", "v1.0.0.info"), 200, &[]).exits(1);
    script.run(&[Task::new(7).failed(failure(&[("*json.SyntaxError", "bad")], None))]);
    let trace = script.trace();
    let [request, tunnel] = &trace.chains[0].attempts[0].requests[..] else { panic!("two") };
    assert_eq!((request.outcome, tunnel.outcome), (Outcome::BadContent, Outcome::Ok));
}

#[test]
fn what_a_second_try_comes_to_is_not_up_to_the_tunnel() {
    for (status, expected) in [(503, Class::Transient), (403, Class::Permanent)] {
        let mut script = tunneled(&zip(A, "x.lab/m"), status, &[]).exits(1);
        script.run(&[Task::new(7).failed(bad_status(status))]);
        let mut trace = script.trace();
        trace.findings = diagnose(&trace);
        assert_eq!(class(&trace), Some(expected), "{status}");
    }
}

#[test]
fn pt407_is_certain_only_where_it_was_there_later() {
    let asked = url(A, "x.lab/m", "v1.0.0.info");
    let old = || hop(&asked, 404).with("Age", "600");
    let failed = one(A, 1, &[old()], bad_status(404));
    assert_eq!(of_script(&failed), ["PT410 error root ×1", "PT407 warning contributing ×1"]);
    assert_eq!(only(&failed, "PT407").confidence, Confidence::Possible);
    // A 404 that is fresh, and one that go did without.
    let fresh = one(A, 1, &[hop(&asked, 404).with("Age", "0")], bad_status(404));
    assert_eq!(of_script(&fresh), ["PT410 error root ×1"]);
    assert!(of_script(&one(A, 0, &[old()], bad_status(404))).is_empty());
    let mut script = Script::new(A, 0);
    let first = Task::new(7).walk().lookup(A, "x.lab/m").fetch(&[old()]).failed(bad_status(404));
    script.run(&[first]).run(&[got(7, "x.lab/m", &[hop(&asked, 200)])]);
    assert_eq!(only(&script, "PT407").confidence, Confidence::Certain);
    // A host that hides what it has until it is sent credentials.
    let sends = [[old()], [hop(&asked, 200).sending("Authorization")]];
    let task = Task::new(7).walk().lookup(A, "x.lab/m").sends(&[&sends[0], &sends[1]]).found();
    let mut script = Script::new(A, 0);
    script.run(&[task]);
    let found = of_script(&script);
    assert!(!found.iter().any(|line| line.starts_with("PT407")), "{found:?}");
}

#[test]
fn pt305_shows_the_entry_and_never_its_secret() {
    let script = |entry: &str| {
        let asked = zip(entry, "x.lab/m");
        let task = Task::new(7).walk().lookup(entry, "x.lab/m").fetch(&[hop(&asked, 200)]).found();
        let mut script = Script::new(entry, 0);
        script.run(&[task]);
        script
    };
    let secret = script("https://REDACTED@proxy.lab");
    assert_eq!(of_script(&secret), ["PT305 warning contributing ×0"]);
    assert!(of_script(&script("https://proxy.lab")).is_empty());
    assert!(of_script(&script("http://REDACTED@proxy.lab")).is_empty());
}

#[test]
fn forty_modules_with_one_reason_are_one_finding() {
    let script =
        failing(A, 40, |module| vec![hop(&zip(A, module), 403).with("Cf-Ray", module).page()]);
    assert_eq!(of_script(&script), ["PT302 error root ×40"]);
    // How long a pause it asks for is another number in each answer.
    let script = failing(A, 40, |module| {
        let seconds = module.trim_start_matches("x.lab/m");
        vec![hop(&zip(A, module), 429).with("Retry-After", seconds)]
    });
    assert_eq!(of_script(&script), ["PT408 error root ×40"]);
    assert_eq!(
        only(&script, "PT408").message,
        "proxy.lab answered 429; it asks for a pause (Retry-After), which go does not make"
    );
}

#[test]
fn pt009_is_a_header_that_net_http_does_not_take_away() {
    let script = |target: &str, name: &str| {
        let hops =
            [hop(&zip(A, "x.lab/m"), 302).to(target).sending(name), hop(target, 200).sending(name)];
        let mut script = Script::new(A, 0);
        script.run(&[got(7, "x.lab/m", &hops)]);
        script
    };
    let leak = script("https://cdn.lab/m", "Private-Token");
    assert_eq!(of_script(&leak), ["PT009 warning contributing ×1"]);
    assert_eq!(
        only(&leak, "PT009").message,
        "proxy.lab redirected to cdn.lab, which got the header Private-Token that was meant for \
         proxy.lab"
    );
    for (target, name) in [
        ("https://cdn.lab/m", "Authorization"),
        ("https://store.proxy.lab/m", "Private-Token"),
        ("https://proxy.lab/store/m", "Private-Token"),
    ] {
        assert!(of_script(&script(target, name)).is_empty(), "{target} {name}");
    }
    // Two addresses are two hosts.
    let (entry, target) = ("https://[2001:db8::1]:8443", "https://[2001:db8::2]/m");
    let first = hop(&zip(entry, "x.lab/m"), 302).to(target).sending("Private-Token");
    let hops = [first, hop(target, 200).sending("Private-Token")];
    let task = Task::new(7).walk().lookup(entry, "x.lab/m").fetch(&hops).found();
    let mut script = Script::new(entry, 0);
    script.run(&[task]);
    assert_eq!(
        only(&script, "PT009").message,
        "[2001:db8::1] redirected to [2001:db8::2], which got the header Private-Token that was \
         meant for [2001:db8::1]"
    );
}

#[test]
fn pt010_is_a_target_without_the_credentials_of_the_first_host() {
    let script = |target: &str, status: u16, with: bool| {
        let last = hop(target, status);
        let last = if with { last.sending("Authorization") } else { last };
        let first = hop(&zip(A, "x.lab/m"), 302).to(target).sending("Authorization");
        of_script(&one(A, 1, &[first, last], bad_status(status)))
    };
    assert_eq!(script("https://cdn.lab/m", 401, false), ["PT010 error root ×1"]);
    assert_eq!(script("https://cdn.lab/m", 403, false), ["PT010 error root ×1"]);
    assert_eq!(script("https://cdn.lab/m", 500, false), ["PT006 error root ×1"]);
    assert_eq!(script("https://cdn.lab/m", 401, true), ["PT006 error root ×1"]);
    assert_eq!(script("https://cdn.lab/m?sig=REDACTED", 403, false), ["PT006 error root ×1"]);
}

#[test]
fn pt301_says_whether_credentials_were_sent() {
    let asked = zip(A, "x.lab/m");
    let message = |hop| only(&one(A, 1, &[hop], bad_status(401)), "PT301").message;
    assert_eq!(message(hop(&asked, 401)), "proxy.lab answered 401; go had no credentials for it");
    assert_eq!(
        message(hop(&asked, 401).sending("Authorization")),
        "proxy.lab answered 401; the credentials that go sent are not good"
    );
}

/// Since Go 1.24 what ~/.netrc has is for no entry with a user.
#[test]
fn pt301_is_of_the_user_in_the_entry() {
    let entry = "https://REDACTED@proxy.lab";
    let finding = |hops: &[Hop]| {
        let task = Task::new(7).walk().lookup(entry, "x.lab/m").fetch(hops).failed(bad_status(401));
        let mut script = Script::new(entry, 1);
        script.run(&[task]);
        only(&script, "PT301")
    };
    let refused = hop(&zip(entry, "x.lab/m"), 401).sending("Authorization");
    let advice = finding(&[refused.with("Server", "Artifactory/7.77.5")]).advice;
    assert!(advice.contains("in the URL of this entry"), "{advice}");
    let target = "https://proxy.lab/other";
    let first = hop(&zip(entry, "x.lab/m"), 302).to(target).sending("Authorization");
    let lost = finding(&[first, hop(target, 401)]);
    assert_eq!(
        lost.message,
        "after a redirect proxy.lab answered 401; the user in the URL of the entry goes to no \
         redirect with a whole URL"
    );
    assert!(lost.advice.starts_with("Take user and password out"), "{}", lost.advice);
}

/// With `off`, or a command alone, what is in ~/.netrc is of no use; before Go 1.24 nobody looks at
/// GOAUTH, and a user in the entry comes last.
#[test]
fn pt301_advises_by_goauth_and_release() {
    let advice = |version: &str, goauth: &str, asked: &[Hop], entry: &str| {
        let task =
            Task::new(7).walk().lookup(entry, "x.lab/m").fetch(asked).failed(bad_status(401));
        let mut script = Script::new(entry, 1);
        for event in &mut script.events {
            if let What::GoStart { go_version, config: theirs, .. } = &mut event.what {
                version.clone_into(go_version);
                theirs.extend(config(&[("GOAUTH", goauth)]));
            }
        }
        script.run(&[task]);
        only(&script, "PT301").advice
    };
    let user = "https://REDACTED@proxy.lab";
    let unsent = || hop(&zip(A, "x.lab/m"), 401).with("Server", "Artifactory/7.77.5");
    let refused = || hop(&zip(user, "x.lab/m"), 401).sending("Authorization");
    let of_repository = "Create a token";
    for (version, goauth, entry, expected) in [
        ("go1.27.3", "off", A, "GOAUTH is `off`: go sends no credentials"),
        ("go1.24.0", "/opt/auth", A, "GOAUTH is `/opt/auth`, with which go reads no ~/.netrc"),
        ("go1.24.0", "/opt/auth; netrc", A, of_repository),
        ("go1.23.9", "off", A, of_repository),
        ("go1.27.3", "netrc", user, "Renew user and password in the URL of this entry, or take"),
        ("go1.27.3", "off", user, "Renew user and password in the URL of this entry: with this"),
        ("go1.22.0", "off", user, "Renew the credentials: the line for this host in ~/.netrc, if"),
    ] {
        let asked = if entry == user { refused() } else { unsent() };
        let advice = advice(version, goauth, &[asked], entry);
        assert!(advice.starts_with(expected), "{version} {goauth} {entry}: {advice}");
    }
    // What a redirect loses stands in the URL, and GOAUTH keeps go from where it is to stand.
    let target = "https://proxy.lab/other";
    let first = hop(&zip(user, "x.lab/m"), 302).to(target).sending("Authorization");
    let lost = [first, hop(target, 401)];
    for (goauth, named) in [("netrc", false), ("off", true), ("/opt/auth", true)] {
        let advice = advice("go1.27.3", goauth, &lost, user);
        assert!(advice.starts_with("Take user and password out"), "{goauth}: {advice}");
        assert_eq!(advice.contains("`netrc` in GOAUTH"), named, "{goauth}: {advice}");
    }
}

/// It adds none, whatever it has.
#[test]
fn pt301_is_not_of_what_netrc_lacks_where_go_asks_over_http() {
    let entry = "http://proxy.lab:3000";
    let asked = [hop(&zip(entry, "x.lab/m"), 401)];
    let task = Task::new(7).walk().lookup(entry, "x.lab/m").fetch(&asked).failed(bad_status(401));
    let mut script = Script::new(entry, 1);
    script.run(&[task]);
    let mut trace = script.trace();
    // What a forward proxy answers for itself and what it passes on is the same to go.
    for (remote, who) in
        [("10.0.0.5:3000", ""), ("10.0.0.9:3128", " or the forward proxy before it")]
    {
        trace.chains[0].attempts[0].requests[0].remote_addr = Some(remote.to_owned());
        let finding = diagnose(&trace).remove(0);
        let expected = "answered 401; go sends credentials over https alone";
        assert_eq!(finding.message, format!("proxy.lab:3000{who} {expected}"));
        assert!(finding.advice.contains("over TLS"), "{}", finding.advice);
    }
    let asked = [hop(&zip(A, "x.lab/m"), 401)];
    let advice = only(&one(A, 1, &asked, bad_status(401)), "PT301").advice;
    assert!(advice.starts_with("Put the credentials"), "{advice}");
}
