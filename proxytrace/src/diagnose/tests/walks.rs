//! The walk through GOPROXY, and the modules that are asked for.

use crate::correlate::tests::scenarios::{A, B, probes, probes_ending, sums, url, zip};
use crate::correlate::tests::script::{
    GO, Script, Task, bad_status, broken, config, draw, failure, hop, no_such_host, plain_error,
    unverified,
};
use crate::diagnose::{Class, class, diagnose};
use crate::event::{Origin, Setting, What};
use crate::model::{Attempt, Confidence, Finding, Severity};

use super::{of_script, one, only, with_git};

/// So many modules that the first entry does not have.
fn missing(count: u64, found: u64) -> Script {
    let task = |n: u64| {
        let module = format!("x.lab/m{n}");
        let task = Task::new(n + 10).walk().lookup(A, &module);
        if n < found {
            return task.fetch(&[hop(&zip(A, &module), 200)]).found();
        }
        task.fetch(&[hop(&zip(A, &module), 404)])
            .lookup(B, &module)
            .fetch(&[hop(&zip(B, &module), 200)])
            .found()
    };
    let mut script = Script::new("https://proxy.lab,https://next.lab", 0);
    script.run(&(0..count).map(task).collect::<Vec<_>>());
    script
}

#[test]
fn pt102_warns_of_an_entry_that_never_has_anything() {
    // One for private modules is asked first for all, whether any of them is its own or not.
    assert_eq!(of_script(&missing(20, 1)), ["PT102 note contributing ×19"]);
    assert_eq!(of_script(&missing(20, 0)), ["PT102 note contributing ×20"]);
    assert!(of_script(&missing(3, 3)).is_empty());
    // go fails for want of something that this one might have had.
    let lacking = |count, found| {
        let module = "x.lab/own";
        let task = Task::new(7).walk().lookup(A, module).fetch(&[hop(&zip(A, module), 404)]);
        let task = task.lookup(B, module).fetch(&[hop(&zip(B, module), 404)]);
        let mut script = missing(count, found).exits(1);
        script.run(&[task.failed(bad_status(404))]);
        script
    };
    let finding = only(&lacking(19, 0), "PT102");
    assert_eq!(finding.severity, Severity::Warning);
    assert_eq!(
        finding.message,
        "https://proxy.lab answered 404 or 410 to 20 of 20 fetches: its path may be wrong"
    );
    assert!(!finding.advice.contains("GONOPROXY") && !finding.advice.contains("follow"));
    assert_eq!(only(&lacking(18, 0), "PT102").severity, Severity::Note);
    assert_eq!(only(&lacking(20, 1), "PT102").severity, Severity::Note);
}

#[test]
fn pt106_is_a_probe_that_spoils_the_query() {
    // The paths are x.lab/a/b, x.lab/a, x.lab; a bare host is hardly a module.
    let spoilt = probes([404, 404, 500], 1);
    assert_eq!(of_script(&spoilt), ["PT106 error root ×3"]);
    let finding = only(&spoilt, "PT106");
    assert_eq!(finding.confidence, Confidence::Possible);
    assert_eq!(
        finding.message,
        "proxy.lab answered 500 when go asked whether x.lab is a module, and so ended the query"
    );
    let spoilt = probes([404, 500, 200], 1);
    assert_eq!(of_script(&spoilt), ["PT106 error root ×2"]);
    assert_eq!(only(&spoilt, "PT106").confidence, Confidence::Certain);
    // What may be the module itself is no probe.
    assert_eq!(of_script(&probes([404, 500, 404], 1)), ["PT409 error root ×2"]);
    // Of several go reports the longest path's, which is all that is wrong.
    assert_eq!(of_script(&probes([401, 401, 401], 1)), ["PT301 error root ×3"]);
    assert_eq!(of_script(&probes([502, 404, 502], 1)), ["PT409 error root ×2"]);
    // Nor is anything wrong where go went on.
    assert!(of_script(&probes([200, 500, 404], 0)).is_empty());
}

/// `go get x.lab/a/b@v1.0.0`, where `x.lab/a` is there and has no such package.
#[test]
fn what_a_query_did_without_is_no_failure() {
    for name in ["PackageNotInModuleError", "NoMatchingVersionError", "NoPatchBaseError"] {
        let error = || Some(failure(&[(&format!("*modload.{name}"), "")], None));
        for statuses in [[404, 200, 404], [404, 200, 500], [404, 200, 429]] {
            assert_eq!(of_script(&probes_ending(statuses, error())), [""; 0], "{statuses:?}");
        }
    }
}

/// `go list -m x.lab/m@latest`: the first entry has the list, and not the version in it; what the
/// second lacks is not why.
#[test]
fn a_list_that_came_is_no_reason() {
    let of = |entry, file| url(entry, "x.lab/m", file);
    let task = Task::new(7)
        .walk()
        .lookup(A, "x.lab/m")
        .fetch(&[hop(&of(A, "list"), 200)])
        .fetch(&[hop(&of(A, "v1.0.0.info"), 400)])
        .lookup(B, "x.lab/m")
        .fetch(&[hop(&of(B, "list"), 404)])
        .failed(bad_status(400));
    let mut script = Script::new("https://proxy.lab|https://next.lab", 1);
    script.run(&[task]);
    let findings = diagnose(&script.trace());
    let roots = findings.iter().filter(|finding| finding.severity == Severity::Error);
    assert_eq!(roots.map(|finding| &*finding.code).collect::<Vec<_>>(), ["PT402"]);
}

/// `go list -m -u all` asks once for what it shows, and again, of another entry, for what is newer.
#[test]
fn what_another_walk_had_is_no_excuse() {
    let asked = |entry| url(entry, "x.lab/m", "v1.0.0.info");
    let run = |said: &str| {
        let first = Task::new(7).walk().lookup(A, "x.lab/m").fetch(&[hop(&asked(A), 418)]);
        let second = Task::new(8).walk().lookup(B, "x.lab/m").fetch(&[hop(&asked(B), 200)]);
        let mut script = Script::new("https://proxy.lab,https://next.lab", 1);
        script.run(&[first.failed(bad_status(418))]);
        script.run(&[second.found()]);
        script.push(GO, None, What::Stderr { text: said.to_owned() });
        script
    };
    let told = "go: x.lab/m@v1.0.0: reading https://proxy.lab/x.lab/m/@v/v1.0.0.info: 418\n";
    let root = only(&run(told), "PT402");
    assert_eq!(root.message, "proxy.lab answered 418");
    for said in [
        "go: x.lab/n@v1.0.0: something else\n",
        "go: x.lab/m@v1.0.0: reading https://next.lab/x.lab/m/@v/v1.0.0.zip: 500\n",
    ] {
        assert_eq!(of_script(&run(said)), [""; 0], "{said}");
    }
}

/// In a second walk go remembers what the first one failed with, and asks nobody.
#[test]
fn what_go_tells_again_is_of_the_walk_before() {
    let list = "https://proxy.lab,https://next.lab";
    let mut trace = one(list, 1, &[hop(&zip(A, "x.lab/m"), 403)], bad_status(403)).trace();
    let told = |findings: Vec<Finding>| {
        findings.into_iter().map(|it| (it.code, it.message, it.requests)).collect::<Vec<_>>()
    };
    let once = told(diagnose(&trace));
    let codes: Vec<&str> = once.iter().map(|(code, ..)| &**code).collect();
    assert_eq!(codes, ["PT302", "PT101"]);
    let again = Attempt { requests: Vec::new(), ..trace.chains[0].attempts[0].clone() };
    trace.chains[0].attempts.push(again);
    assert_eq!(told(diagnose(&trace)), once);
}

/// Before Go 1.21 it may not be known of a walk that it ended; go says whose failure it was.
#[test]
fn what_go_says_of_a_url_is_a_failure() {
    let list = url(A, "x.lab/Up", "list").replace("Up", "%21up");
    let mut trace = one("https://proxy.lab,direct", 1, &[hop(&list, 403)], bad_status(403)).trace();
    trace.chains[0].attempts[0].next = None;
    let mut found = |said: &str| {
        trace.processes[0].stderr_tail = Some(said.to_owned());
        diagnose(&trace).into_iter().map(|finding| finding.code).collect::<Vec<_>>()
    };
    let said = "go: module x.lab/Up: Get \"/else/x.lab/%21up/@v/list\": stopped after 10 redirects";
    assert_eq!(found(said), ["PT302"]);
    let asked = "# get https://proxy.lab/x.lab/%21up/@v/list: 403 Forbidden (0.004s)";
    let sent = "http2: Transport encoding header \":path\" = \"/x.lab/%21up/@v/list\"";
    for other in ["", asked, sent, "go: x.lab/%21up/@v/list.old: 403", "go: y.lab/Up/@v/list: 403"]
    {
        assert_eq!(found(other), [""; 0], "{other}");
    }
}

/// The zip of what was found was fetched in a walk of its own, and is what is wrong.
#[test]
fn a_query_is_not_wrong_where_what_it_found_is() {
    let error = plain_error("zip: not a valid zip file");
    assert_eq!(of_script(&probes_ending([404, 404, 200], Some(error))), [""; 0]);
}

/// `go install x.lab/a/b@latest`: behind a redirect nobody gives the zip of the module that was found.
/// The shorter and longer paths that are none are not wrong, and not what makes it fail for good.
#[test]
fn probes_are_no_reason_where_a_zip_is() {
    let (module, there) = ("x.lab/a", "https://storage.lab/z");
    let walker = Task::of(GO, 1, 0);
    let probe = |id, module, status| {
        Task::new(id).lookup(A, module).fetch(&[hop(&url(A, module, "list"), status)])
    };
    let hops = [hop(&zip(A, module), 302).to(there), hop(there, 503)];
    let fetch = Task::new(21).walk().lookup(A, module).fetch(&hops).failed(bad_status(503));
    let mut script = Script::new(A, 1);
    script.run(&[walker.clone().walk()]);
    script.run(&[probe(20, "x.lab/a/b", 404), probe(21, module, 200), probe(22, "x.lab", 404)]);
    script.run(&[fetch]).run(&[walker.failed(bad_status(503))]);
    assert_eq!(of_script(&script), ["PT006 error root ×1"]);
    let mut trace = script.trace();
    trace.findings = diagnose(&trace);
    assert_eq!(class(&trace), Some(Class::Transient));
    // A probe that failed is the reason of all.
    let spoilt = probes_ending([404, 404, 500], Some(bad_status(500)));
    assert_eq!(of_script(&spoilt), ["PT106 error root ×3"]);
    // And so is absence, where there is nothing else.
    let absent = probes_ending([404, 404, 404], Some(bad_status(404)));
    assert_eq!(of_script(&absent), ["PT410 error root ×3"]);
}

/// go reads a page whatever its status (`vcs.go:repoRootForImportDynamic`), and git failed.
#[test]
fn a_page_that_led_to_a_repository_is_no_failure() {
    for status in [401, 403, 500] {
        let script = with_git(status, 128, plain_error("exit status 128"));
        let expected = ["PT704 error root ×1", "PT702 note contributing ×1"];
        assert_eq!(of_script(&script), expected, "{status}");
    }
}

/// Modules within one another are none of them probes.
#[test]
fn pt106_is_not_of_a_module_that_go_has() {
    let walk = |id, module, file, status| {
        let task = Task::new(id).walk().lookup(A, module);
        let task = task.fetch(&[hop(&url(A, module, file), status)]);
        if status == 200 { task.found() } else { task.failed(bad_status(status)) }
    };
    let mut script = Script::new(A, 1);
    script.run(&[walk(7, "x.lab/o", "v1.0.0.info", 200), walk(8, "x.lab/o/k", "v1.0.0.mod", 200)]);
    script.run(&[walk(9, "x.lab/o/k", "v1.0.0.info", 429)]);
    assert_eq!(of_script(&script), ["PT408 error root ×1"]);
}

/// `vcs.go` asks for the page of a prefix for each path below it, and outside of any group.
#[test]
fn pt001_is_not_of_pages_that_are_asked_for_twice() {
    let page = "https://x.lab/a?go-get=1";
    let hops =
        [hop(page, 301).to("https://x.lab/a/?go-get=1"), hop("https://x.lab/a/?go-get=1", 200)];
    let task = Task::new(7).walk().lookup("direct", "x.lab/a").fetch(&hops).fetch(&hops).found();
    let mut script = Script::new("direct", 0);
    script.run(&[task]);
    let found = of_script(&script);
    assert!(!found.iter().any(|line| line.starts_with("PT001")), "{found:?}");
    let trace = script.trace();
    let drawn: String = trace.chains.iter().flat_map(draw).collect();
    assert!(drawn.contains("301 (followed)") && !drawn.contains("retry"), "{drawn}");
}

/// `noproxy` and then `direct` ask the same host.
#[test]
fn pt104_is_not_of_a_host_that_was_asked_twice() {
    let ask = || broken("https://x.lab/m?go-get=1", no_such_host(), false);
    let error = failure(&[("*module.ModuleError", ""), ("modfetch.notExistError", "")], None);
    let task = Task::new(7).walk().lookup("noproxy", "x.lab/m").fetch(&[ask()]);
    let task = task.lookup("direct", "x.lab/m").fetch(&[ask()]).failed(error);
    let mut script = Script::new("https://proxy.lab,direct", 1);
    script.run(&[task]);
    let found = of_script(&script);
    assert!(found.iter().any(|line| line.starts_with("PT201 error root")), "{found:?}");
    assert!(!found.iter().any(|line| line.starts_with("PT104")), "{found:?}");
}

#[test]
fn pt107_needs_five_hosts_and_one_failure() {
    let script = |hosts: u64, status| {
        let task = |n: u64| {
            let module = format!("v{n}.lab/m");
            Task::new(n + 10)
                .walk()
                .lookup(A, &module)
                .fetch(&[hop(&zip(A, &module), status)])
                .lookup("direct", &module)
                .fetch(&[hop(&format!("https://{module}?go-get=1"), 200)])
                .found()
        };
        let mut script = Script::new("https://proxy.lab|direct", 0);
        script.run(&(0..hosts).map(task).collect::<Vec<_>>());
        of_script(&script)
    };
    let found = script(5, 500);
    assert!(found.contains(&"PT107 warning contributing ×5".to_owned()), "{found:?}");
    for found in [script(4, 500), script(9, 404)] {
        assert!(!found.iter().any(|line| line.starts_with("PT107")), "{found:?}");
    }
}

#[test]
fn pt108_brings_the_404_back() {
    let task = Task::new(7)
        .walk()
        .lookup(A, "x.lab/m")
        .fetch(&[hop(&zip(A, "x.lab/m"), 404)])
        .lookup("off", "x.lab/m")
        .failed(plain_error("module lookup disabled by GOPROXY=off"));
    let mut script = Script::new("https://proxy.lab,off", 1);
    script.run(&[task]);
    assert_eq!(
        of_script(&script),
        ["PT410 error root ×1", "PT108 note contributing ×1", "PT102 note contributing ×1"]
    );
    let message = only(&script, "PT108").message;
    assert_eq!(message, "proxy.lab answered 404; go's own message tells of `off` alone");
}

#[test]
fn pt701_is_about_names_that_are_nobody_elses() {
    const PUBLIC: &str = "https://proxy.golang.org";
    let script = |module: &str, goprivate: &str| {
        let task = Task::new(7)
            .walk()
            .lookup(PUBLIC, module)
            .fetch(&[hop(&zip(PUBLIC, module), 404)])
            .lookup(B, module)
            .fetch(&[hop(&zip(B, module), 200)])
            .found();
        let mut script = Script::new("https://proxy.golang.org,https://next.lab", 0);
        for event in &mut script.events {
            if let crate::event::What::GoStart { config: theirs, .. } = &mut event.what {
                theirs.extend(config(&[("GOPRIVATE", goprivate), ("GONOPROXY", "none")]));
            }
        }
        script.run(&[task]);
        script
    };
    let leaks = |script: &Script| of_script(script).iter().any(|line| line.starts_with("PT701"));
    let internal = script("git.corp.internal/m", "");
    assert!(leaks(&internal));
    assert_eq!(
        only(&internal, "PT701").message,
        "proxy.golang.org was asked for a private module: its host is an internal name"
    );
    // In place of an empty GOPRIVATE it is in force, too.
    let advised = |script: &Script| only(script, "PT701").advice;
    let instead =
        "GONOPROXY is `none`, which is in force in place of GOPRIVATE: name the modules there";
    assert_eq!(advised(&internal), format!("{instead}."));
    // Unset, it helps where GOPRIVATE has the module.
    for (module, private) in
        [("x.example/m", "x.example"), ("git.corp.internal/m", "corp.internal,*.corp.internal")]
    {
        assert_eq!(advised(&script(module, private)), format!("{instead}, or unset it."));
    }
    assert!(!leaks(&script("x.example/m", "")));
    // Of a toolchain there is nothing private, and no setting keeps its checksum from being asked for.
    let toolchain = script("golang.org/toolchain", "*");
    assert!(!leaks(&toolchain));
    let asked = "https://sum.golang.org/lookup/golang.org/toolchain@v0.0.1-go1.99.0.linux-amd64";
    let mut healthy = Script::new(A, 0);
    for event in &mut healthy.events {
        if let What::GoStart { config: theirs, .. } = &mut event.what {
            theirs.extend(config(&[("GOPRIVATE", "*")]));
        }
    }
    healthy.run(&[Task::new(7).fetch(&[hop(asked, 200)])]);
    assert!(of_script(&healthy).is_empty());
    // A proxy of one's own may know.
    let task = Task::new(7).walk().lookup(A, "git.corp.internal/m");
    let task = task.fetch(&[hop(&zip(A, "git.corp.internal/m"), 200)]).found();
    let mut own = Script::new(A, 0);
    own.run(&[task]);
    assert!(of_script(&own).is_empty());
}

#[test]
fn pt703_is_a_toolchain_that_nobody_has() {
    let module = "golang.org/toolchain";
    let asked = url(A, module, "v0.0.1-go1.99.0.linux-amd64.zip");
    let task =
        Task::new(7).walk().lookup(A, module).fetch(&[hop(&asked, 404)]).failed(bad_status(404));
    let mut script = Script::new(A, 1);
    script.run(&[task]);
    assert_eq!(of_script(&script), ["PT703 error root ×1"]);
    let finding = only(&script, "PT703");
    assert_eq!(
        (&*finding.message, finding.confidence),
        (
            "the toolchain go1.99.0.linux-amd64 cannot be had: proxy.lab answered 404",
            Confidence::Certain,
        )
    );
    // What a dependency needs is looked for among all.
    let asked = url(A, module, "list");
    let task =
        Task::new(7).walk().lookup(A, module).fetch(&[hop(&asked, 404)]).failed(bad_status(404));
    let mut script = Script::new(A, 1);
    script.run(&[task]);
    let message = only(&script, "PT703").message;
    assert_eq!(message, "the list of toolchains cannot be had: proxy.lab answered 404");
}

/// go verifies toolchains all the same.
#[test]
fn pt703_is_a_toolchain_without_a_checksum_database() {
    let script = |module: &str, gosumdb: &str| {
        let version = "v0.0.1-go1.99.0.linux-amd64";
        let asked = url(A, module, &format!("{version}.zip"));
        let said = "verifying module: checksum database disabled by GOSUMDB=off";
        let error = failure(&[("*module.ModuleError", ""), ("*errors.errorString", said)], None);
        let task = Task::new(7).walk().lookup(A, module).fetch(&[hop(&asked, 200)]).found();
        let mut script = Script::new(A, 1);
        for event in &mut script.events {
            if let crate::event::What::GoStart { config: theirs, .. } = &mut event.what {
                theirs.extend(config(&[("GOSUMDB", gosumdb)]));
            }
        }
        script.run(&[task.verify(module, version, Some(error))]);
        script
    };
    let off = script("golang.org/toolchain", "off");
    assert_eq!(of_script(&off), ["PT703 error root ×1"]);
    let finding = only(&off, "PT703");
    assert_eq!(
        finding.message,
        "the toolchain go1.99.0.linux-amd64 cannot be had: GOSUMDB is `off`, and go verifies every \
         toolchain"
    );
    assert!(finding.advice.starts_with("Leave GOSUMDB as it is"), "{}", finding.advice);
    // Why else something was not verified is not known.
    assert!(of_script(&script("golang.org/toolchain", "sum.golang.org")).is_empty());
    assert!(of_script(&script("x.lab/m", "off")).is_empty());
    // Of a name that it does not know, go makes no database.
    for gosumdb in [
        "sum.lab",
        "sum.lab https://sum.lab",
        "sum.golang.org https://a.lab b",
        // What is `off` is nothing else, white space included.
        "off ",
        "off\r",
        "off https://a.lab",
    ] {
        for module in ["golang.org/toolchain", "x.lab/m"] {
            let script = script(module, gosumdb);
            assert_eq!(of_script(&script), ["PT502 error root ×1"], "{module} {gosumdb}");
            let message = only(&script, "PT502").message;
            assert!(message.starts_with(&format!("GOSUMDB is `{gosumdb}`, ")), "{message}");
        }
    }
    for gosumdb in
        ["sum.golang.google.cn", "sum.golang.org https://a.lab", "sum.lab+033de0ae+Ac4zctda"]
    {
        assert!(of_script(&script("x.lab/m", gosumdb)).is_empty(), "{gosumdb}");
    }
}

/// What a company builds itself, the database does not know, and no setting keeps go from asking it.
#[test]
fn pt703_is_a_toolchain_that_the_checksum_database_does_not_know() {
    let (module, version) = ("golang.org/toolchain", "v0.0.1-go1.27.3-corp.linux-amd64");
    let script = |forwarded: bool, lookup: &str| {
        let mut script = Script::new("https://proxy.lab,direct", 1);
        if forwarded {
            script.run(&[Task::new(6).walk().fetch(&[hop(&sums("supported"), 200)]).found()]);
        }
        let task = Task::new(7)
            .walk()
            .lookup(A, module)
            .fetch(&[hop(&url(A, module, &format!("{version}.mod")), 200)])
            .fetch(&[hop(lookup, 404)])
            .verify(module, &format!("{version}/go.mod"), Some(unverified()))
            .failed(unverified());
        script.run(&[task]);
        script
    };
    let path = format!("lookup/{module}@{version}");
    for (forwarded, lookup, host, confidence) in [
        // A proxy that forwarded nothing yet may not forward at all.
        (true, sums(&path), "proxy.lab", Confidence::Possible),
        (false, format!("https://s.lab/{path}"), "s.lab", Confidence::Certain),
    ] {
        let script = script(forwarded, &lookup);
        assert_eq!(of_script(&script), ["PT703 error root ×2"], "{host}");
        let finding = only(&script, "PT703");
        assert_eq!(finding.confidence, confidence);
        assert_eq!(
            finding.message,
            format!(
                "the toolchain go1.27.3-corp.linux-amd64 cannot be had: {host} answered 404: the \
                 checksum database does not know it, and go verifies every toolchain"
            )
        );
        assert!(finding.advice.starts_with("No setting keeps go from"), "{}", finding.advice);
    }
}

/// An empty line in the user's file hides the default, which stands in `go.env`.
#[test]
fn pt502_is_a_checksum_database_that_nothing_names() {
    let script = |module: &str, settings: &[(&str, &str, Origin)]| {
        let version = "v1.0.0";
        let said = "verifying module: missing GOSUMDB";
        let error = failure(&[("*module.ModuleError", ""), ("*errors.errorString", said)], None);
        let task =
            Task::new(7).walk().lookup(A, module).fetch(&[hop(&zip(A, module), 200)]).found();
        let mut script = Script::new(A, 1);
        for event in &mut script.events {
            if let What::GoStart { config: theirs, .. } = &mut event.what {
                for &(name, value, origin) in settings {
                    theirs.insert(name.to_owned(), Setting { value: value.to_owned(), origin });
                }
            }
        }
        script.run(&[task.verify(module, version, Some(error))]);
        script
    };
    let empty: [&[(&str, &str, Origin)]; 3] = [
        &[("GOTOOLCHAIN", "auto", Origin::GorootFile)],
        &[("GOSUMDB", " ", Origin::UserFile)],
        // The environment has both other defaults of `go.env`.
        &[("GOSUMDB", "", Origin::UserFile), ("GOTOOLCHAIN", "local", Origin::Environment)],
    ];
    for settings in empty {
        // go verifies toolchains with `off`, too.
        for (module, may_be_off) in [("x.lab/m", true), ("golang.org/toolchain", false)] {
            let script = script(module, settings);
            assert_eq!(of_script(&script), ["PT502 error root ×1"], "{settings:?}");
            let Finding { message, advice, .. } = only(&script, "PT502");
            assert_eq!(
                message,
                "GOSUMDB is empty: it names no checksum database that go could ask"
            );
            assert_eq!(advice.contains("`off`"), may_be_off, "{advice}");
        }
    }
    // It may stand in a `go.env` that was not found.
    let unknown: [&[(&str, &str, Origin)]; 2] =
        [&[], &[("GOTOOLCHAIN", "local", Origin::Environment)]];
    for settings in unknown {
        assert!(of_script(&script("x.lab/m", settings)).is_empty(), "{settings:?}");
    }
}
