//! What each finding must be triggered by, and what must not trigger it.

use crate::correlate::tests::scenarios::{self, A, B, failing, got, url, zip};
use crate::correlate::tests::script::{
    GO, Hop, Script, Task, bad_status, broken, config, failure, hop, no_such_host, plain_error,
    refused,
};
use crate::event::{Failure, What};
use crate::model::{Confidence, Finding, Role, Trace};

mod answers;
mod checksums;
mod others;
mod redirects;
mod run;
mod transport;
mod walks;

use super::{CATALOGUE, class, diagnose, explain};

/// `PT006 error root ×3`, one a finding.
fn brief(findings: &[Finding]) -> Vec<String> {
    let line = |finding: &Finding| {
        let severity = format!("{:?}", finding.severity).to_lowercase();
        let role = format!("{:?}", finding.role).to_lowercase();
        format!("{} {severity} {role} ×{}", finding.code, finding.chains.len())
    };
    findings.iter().map(line).collect()
}

fn found(trace: &Trace) -> Vec<String> {
    brief(&diagnose(trace))
}

fn of_script(script: &Script) -> Vec<String> {
    found(&script.trace())
}

fn only(script: &Script, code: &str) -> Finding {
    let findings = diagnose(&script.trace());
    let mut of_code = findings.into_iter().filter(|finding| finding.code == code);
    let finding = of_code.next().unwrap_or_else(|| panic!("no {code}"));
    assert!(of_code.next().is_none(), "{code} twice");
    finding
}

/// One walk of one zip at one entry.
fn one(goproxy: &str, exit: i32, hops: &[Hop], error: Failure) -> Script {
    let task = Task::new(7).walk().lookup(A, "x.lab/m").fetch(hops).failed(error);
    let mut script = Script::new(goproxy, exit);
    script.run(&[task]);
    script
}

#[test]
fn healthy_runs_have_no_findings() {
    assert!(of_script(&scenarios::healthy()).is_empty());
    assert!(of_script(&scenarios::probes([200, 404, 404], 0)).is_empty());
    assert!(of_script(&scenarios::probes([200, 500, 404], 0)).is_empty());
    let retried = [hop(&zip(A, "x.lab/m"), 200).retried()];
    let mut script = Script::new(A, 0);
    script.run(&[got(7, "x.lab/m", &retried)]);
    assert_eq!(of_script(&script), ["PT209 note contributing ×1"]);
}

#[test]
fn normal_fallbacks_are_notes_at_most() {
    assert_eq!(
        of_script(&scenarios::missing_then_next()),
        ["PT102 note contributing ×1", "PT002 note contributing ×1"]
    );
    assert_eq!(
        of_script(&scenarios::redirect_to_missing_then_next()),
        ["PT012 note contributing ×1", "PT102 note contributing ×1", "PT002 note contributing ×1"]
    );
}

#[test]
fn pt101_needs_an_entry_that_was_kept_from_being_asked() {
    let bad = |goproxy| failing(goproxy, 3, |module| vec![hop(&zip(A, module), 502)]);
    let script = bad("https://proxy.lab,https://next.lab");
    assert_eq!(of_script(&script), ["PT409 error root ×3", "PT101 error contributing ×3"]);
    let message = only(&script, "PT101").message;
    assert!(message.contains("proxy.lab answered 502"), "{message}");
    assert!(message.contains("kept go from asking https://next.lab"), "{message}");
    for goproxy in ["https://proxy.lab", "https://proxy.lab,off", "https://proxy.lab,"] {
        assert_eq!(of_script(&bad(goproxy)), ["PT409 error root ×3"], "{goproxy}");
    }
    // A policy is not to be gone round.
    let forbidden =
        failing("https://proxy.lab,direct", 1, |module| vec![hop(&zip(A, module), 403)]);
    assert!(only(&forbidden, "PT101").advice.contains("policy"));
    // Nor are names to be sent to all the world.
    assert!(only(&script, "PT101").advice.contains("or write `|`"));
    for goproxy in ["https://proxy.lab,https://proxy.golang.org,direct", "https://proxy.lab,direct"]
    {
        let advice = only(&bad(goproxy), "PT101").advice;
        assert!(advice.starts_with("Repair the proxy") && !advice.contains("or write"), "{advice}");
    }
}

#[test]
fn pt103_groups_all_modules_of_an_outage() {
    let script = scenarios::outage_behind_pipe();
    assert_eq!(of_script(&script), ["PT103 warning contributing ×3"]);
    // A 404 is no outage, whatever the separator.
    let task = Task::new(7)
        .walk()
        .lookup(A, "x.lab/m")
        .fetch(&[hop(&zip(A, "x.lab/m"), 404)])
        .lookup(B, "x.lab/m")
        .fetch(&[hop(&zip(B, "x.lab/m"), 200)])
        .found();
    let mut script = Script::new("https://proxy.lab|https://next.lab", 0);
    script.run(&[task]);
    assert_eq!(of_script(&script), ["PT102 note contributing ×1"]);
}

/// 300 and 304 are answers like others (`net/http/client.go:redirectBehavior`).
#[test]
fn a_3xx_that_go_does_not_follow_is_no_redirect() {
    for status in [300, 304] {
        let task = Task::new(7)
            .walk()
            .lookup(A, "x.lab/m")
            .fetch(&[hop(&zip(A, "x.lab/m"), status)])
            .lookup(B, "x.lab/m")
            .fetch(&[hop(&zip(B, "x.lab/m"), 200)])
            .found();
        let mut script = Script::new("https://proxy.lab|https://next.lab", 0);
        script.run(&[task]);
        assert_eq!(of_script(&script), ["PT103 warning contributing ×1"]);
        let expected = format!("proxy.lab answered {status}; `|` let go ask on without a word");
        assert_eq!(only(&script, "PT103").message, expected);
    }
}

/// go prints the error of `noproxy`, whatever comes after it.
#[test]
fn pt108_is_not_of_what_was_asked_for_directly() {
    let module = "corp.lab/m";
    let task = Task::new(7)
        .walk()
        .lookup("noproxy", module)
        .fetch(&[hop("https://corp.lab/m?go-get=1", 404)])
        .lookup("off", module)
        .failed(bad_status(404));
    let mut script = Script::new("https://proxy.lab,off", 1);
    for event in &mut script.events {
        if let What::GoStart { config: theirs, .. } = &mut event.what {
            theirs.extend(config(&[("GOPRIVATE", "corp.lab")]));
        }
    }
    script.run(&[task]);
    let found = of_script(&script);
    assert!(found.contains(&"PT410 error root ×1".to_owned()), "{found:?}");
    assert!(!found.iter().any(|line| line.starts_with("PT108")), "{found:?}");
}

#[test]
fn pt104_brings_the_first_failure_back() {
    let script = scenarios::direct_fails("https://proxy.lab|direct", 500);
    assert_eq!(
        of_script(&script),
        ["PT409 error root ×2", "PT103 warning contributing ×1", "PT104 warning contributing ×1"]
    );
    let message = only(&script, "PT104").message;
    assert_eq!(message, "proxy.lab answered 500; go's own message tells of `direct` alone");
    // After a 404 the failure of `direct` is the reason, and go says so itself.
    let script = scenarios::direct_fails("https://proxy.lab,direct", 404);
    assert_eq!(of_script(&script), ["PT201 error root ×2", "PT102 note contributing ×1"]);
    assert_eq!(only(&script, "PT201").modules, ["x.lab/m@v1.0.0"]);
}

#[test]
fn what_this_machine_refuses_is_nobodys_silence() {
    let script = |errno, address: &str| {
        let steps = [
            ("*url.Error", "Get"),
            ("*net.OpError", "dial"),
            ("*os.SyscallError", "connect"),
            ("syscall.Errno", ""),
        ];
        let mut error = failure(&steps, Some(errno));
        error.steps[1].address = address.parse().ok();
        one(A, 1, &[broken(&zip(A, "x.lab/m"), error.clone(), false)], error)
    };
    // Of IPv6 it may have no address.
    assert_eq!(of_script(&script(99, "[2001:db8::1]:443")), ["PT203 error root ×1"]);
    for errno in [1, 13, 24, 99, 105] {
        let script = script(errno, "10.0.0.1:443");
        assert!(of_script(&script).is_empty(), "{errno}");
        let mut trace = script.trace();
        trace.findings = diagnose(&trace);
        assert_eq!(class(&trace), None);
    }
}

/// go asks for the versions of a module that it has, to learn of retractions, and can do without.
#[test]
fn what_go_did_without_is_no_reason() {
    let module = "x.lab/m";
    let script = |said: &str| {
        let asks = |id, file, status| {
            let task = Task::new(id).walk().lookup(A, module);
            let task = task.fetch(&[hop(&url(A, module, file), status)]);
            if status == 200 { task.found() } else { task.failed(bad_status(status)) }
        };
        let latest = format!("{A}/{module}/@latest");
        let retracted = Task::new(11).walk().lookup(A, module).fetch(&[hop(&latest, 404)]);
        let mut script = Script::new(A, 1);
        script.run(&[asks(8, "v1.0.0.info", 200), asks(9, "v1.0.0.mod", 200)]);
        script.run(&[asks(10, "list", 200), retracted.failed(bad_status(404))]);
        script.run(&[Task::new(12)
            .walk()
            .lookup(A, "x.lab/n")
            .fetch(&[hop(&zip(A, "x.lab/n"), 502)])
            .failed(bad_status(502))]);
        script.push(GO, None, What::Stderr { text: said.to_owned() });
        script
    };
    let other = script("go: x.lab/n@v1.0.0: 502 Bad Gateway\n");
    assert_eq!(of_script(&other), ["PT409 error root ×1"]);
    // What go says of the module itself counts, and so does what is not known whole.
    for said in [
        "go: module x.lab/m: not found\n",
        "go: x.lab/m@v1.0.0: not found\n",
        "go: reading https://proxy.lab/x.lab/m/@v/list: 404\n",
    ] {
        let named = script(said);
        assert_eq!(of_script(&named), ["PT410 error root ×1", "PT409 error root ×1"], "{said}");
    }
    // How far it is says nothing of it, nor does what is said of a path that begins with its own.
    let other = script(
        "go: downloading x.lab/m v1.0.0\ngo: added x.lab/m v1.0.0\ngo: found x.lab/m in x.lab/m \
         v1.0.0\ngo: x.lab/m2@v1.0.0: not found\ngo: x.lab/m/v2@v2.0.0: not found\n",
    );
    assert_eq!(of_script(&other), ["PT409 error root ×1"]);
    assert_eq!(of_script(&script(&"x\n".repeat(2000))).len(), 2);
}

/// What go says of `off` is of every module whose list ended there.
#[test]
fn what_off_ended_is_told_of_without_a_name() {
    const MODULE: &str = "x.lab/m";
    let error = failure(&[("modfetch.notExistError", ""), ("*errors.errorString", "off")], None);
    let found = |said: &str| {
        let mut script = Script::new("https://proxy.lab,off", 1);
        let had = hop(&url(A, MODULE, "v1.0.0.info"), 200);
        script.run(&[Task::new(8).walk().lookup(A, MODULE).fetch(&[had]).found()]);
        let list = hop(&url(A, MODULE, "list"), 404);
        let task = Task::new(7).walk().lookup(A, MODULE).fetch(&[list]).lookup("off", MODULE);
        script.run(&[task.failed(error.clone())]);
        script.push(GO, None, What::Stderr { text: said.to_owned() });
        of_script(&script).into_iter().filter(|line| line.contains(" error ")).collect::<Vec<_>>()
    };
    assert_eq!(found("go: module lookup disabled by GOPROXY=off\n"), ["PT410 error root ×1"]);
    for said in [
        "go: x.lab/n@v1.0.0: not found\n",
        "go: x.lab/n@v1.0.0: module lookup disabled by GOPROXY=off\n",
    ] {
        assert_eq!(found(said), [""; 0], "{said}");
    }
}

/// `go get` asks for what it needs to find the newest version, and for that, as well.
#[test]
fn what_go_get_did_without_is_no_reason() {
    const MODULE: &str = "x.lab/m";
    type Asks = fn(&mut Script);
    let roots = |asks: Asks, command: &str, said: &str| {
        let mut script = Script::new("https://proxy.lab,direct", 1);
        for event in &mut script.events {
            if let What::GoStart { argv, .. } = &mut event.what {
                *argv = format!("go {command}").split(' ').map(str::to_owned).collect();
            }
        }
        let had = hop(&url(A, MODULE, "v1.0.0.info"), 200);
        script.run(&[Task::new(8).walk().lookup(A, MODULE).fetch(&[had]).found()]);
        asks(&mut script);
        let other = Task::new(12).walk().lookup(A, "x.lab/n");
        let other = other.fetch(&[hop(&zip(A, "x.lab/n"), 502)]).failed(bad_status(502));
        script.run(&[other]).push(GO, None, What::Stderr { text: said.to_owned() });
        let mut found = of_script(&script);
        found.retain(|line| line.contains(" root "));
        found
    };
    let ways: [(Asks, &str); 3] = [
        (
            |script| {
                let page = broken("https://x.lab/m?go-get=1", no_such_host(), false);
                let task = Task::new(7).walk().lookup(A, MODULE);
                let task = task.fetch(&[hop(&url(A, MODULE, "list"), 404)]);
                let task = task.lookup("direct", MODULE).fetch(&[page]);
                let error = failure(&[("modfetch.notExistError", ""), ("*net.DNSError", "")], None);
                script.run(&[task.failed(error)]);
            },
            "PT201",
        ),
        (
            |script| {
                script.run(&[Task::new(7).walk().lookup("direct", MODULE)]);
                run_git(script, 128);
                script.run(&[Task::new(7).failed(plain_error("exit status 128"))]);
            },
            "PT704",
        ),
        (
            |script| {
                let task = Task::new(7).walk().lookup(A, MODULE);
                let task = task.fetch(&[hop(&url(A, MODULE, "list"), 200)]);
                let task = task.fetch(&[hop(&url(A, MODULE, "v1.2.0.info"), 403)]);
                script.run(&[task.failed(bad_status(403))]);
            },
            "PT302",
        ),
    ];
    let other = "# get https://proxy.lab/x.lab/m/@v/list: 404 Not Found (0.1s)\n\
                 go: x.lab/n@v1.0.0: 502 Bad Gateway\n";
    let named = "go: x.lab/m@v1.2.0: not found\n";
    for (asks, code) in ways {
        for command in ["get", "-C x get", "--C=x get", "list -m -u all"] {
            let found = roots(asks, command, other);
            assert_eq!(found, ["PT409 error root ×1"], "{code} {command}");
        }
        // Other commands need what they ask for.
        for (command, said) in [("get", named), ("mod", other)] {
            let found = roots(asks, command, said);
            let told = found.iter().any(|line| line.starts_with(code));
            assert!(told && found.len() == 2, "{code} {command}: {found:?}");
        }
    }
    // What is below may have failed for the same repository.
    let below = roots(ways[1].0, "get", "go: x.lab/m/sub@v1.0.0: exit status 128\n");
    assert!(below.iter().any(|line| line.starts_with("PT704")), "{below:?}");
    let upgraded = "go: upgraded x.lab/m v1.0.0 => v1.2.0: error finding sum for x.lab/m@v1.2.0: exit status 128\n";
    let upgraded = roots(ways[1].0, "get", upgraded);
    assert!(upgraded.iter().any(|line| line.starts_with("PT704")), "{upgraded:?}");
    // The only version that is wanted is not one of several.
    let alone: Asks = |script| {
        let task = Task::new(7).walk().lookup(A, MODULE);
        let task = task.fetch(&[hop(&url(A, MODULE, "v1.2.0.info"), 403)]);
        script.run(&[task.failed(bad_status(403))]);
    };
    assert_eq!(roots(alone, "get", other).len(), 2);
}

/// go is not allowed to use what the repository needs, and asks on as after a 404.
#[test]
fn a_tool_that_is_not_allowed_is_no_absence() {
    let said = "GOVCS disallows using svn for public x.lab/m; see 'go help vcs'";
    let task = Task::new(7)
        .walk()
        .lookup(A, "x.lab/m")
        .fetch(&[hop(&url(A, "x.lab/m", "v1.0.0.info"), 404)])
        .lookup("direct", "x.lab/m")
        .fetch(&[hop("https://x.lab/m?go-get=1", 200)])
        .failed(failure(&[("modfetch.notExistError", ""), ("*errors.errorString", said)], None));
    let mut script = Script::new("https://proxy.lab,direct", 1);
    script.run(&[task]);
    let found = of_script(&script);
    assert!(!found.iter().any(|line| line.contains(" root ")), "{found:?}");
    let text = format!("go: x.lab/m@v1.0.0: {said}\n");
    script.push(GO, None, What::Stderr { text });
    let finding = only(&script, "PT704");
    assert_eq!(finding.message, "go could not run `svn`: GOVCS forbids it");
}

/// go runs nothing where there is no git, and says so.
#[test]
fn pt704_is_a_tool_that_is_not_there() {
    let script = |said: &str| {
        let steps =
            [("*codehost.VCSError", ""), ("*codehost.RunError", ""), ("*exec.Error", "git")];
        let task = Task::new(7)
            .walk()
            .lookup(A, "x.lab/m")
            .fetch(&[hop(&url(A, "x.lab/m", "v1.0.0.info"), 404)])
            .lookup("direct", "x.lab/m")
            .fetch(&[hop("https://x.lab/m?go-get=1", 200)])
            .failed(failure(&steps, None));
        let mut script = Script::new("https://proxy.lab,direct", 1);
        script.run(&[task]).push(GO, None, What::Stderr { text: said.to_owned() });
        script
    };
    let missing = "git init --bare in /vcs/1: exec: \"git\": executable file not found in $PATH\n";
    let finding = only(&script(&format!("go: x.lab/m@v1.0.0: {missing}")), "PT704");
    assert_eq!(finding.message, "go could not run `git`: it is not in PATH");
    assert!(finding.advice.starts_with("Install it"), "{}", finding.advice);
    // Of another module, or for another reason.
    for said in [
        format!("go: x.lab/m2@v1.0.0: {missing}"),
        "go: x.lab/m@v1.0.0: exec: \"git\": permission denied\n".to_owned(),
    ] {
        let found = of_script(&script(&said));
        assert!(!found.iter().any(|line| line.contains(" root ")), "{found:?}");
    }
}

/// Where nobody else was asked, the page is all that is known; and not even that where the path names
/// the repository.
#[test]
fn pt704_needs_no_proxy() {
    let script = |asked: &[Hop], said: &str| {
        let steps =
            [("*codehost.VCSError", ""), ("*codehost.RunError", ""), ("*exec.Error", "git")];
        let task = Task::new(7).walk().lookup("direct", "x.lab/m");
        let task = if asked.is_empty() { task } else { task.fetch(asked) };
        let mut script = Script::new("direct", 1);
        script.run(&[task.failed(failure(&steps, None))]);
        script.push(GO, None, What::Stderr { text: said.to_owned() });
        of_script(&script)
    };
    let page = [hop("https://x.lab/m?go-get=1", 200)];
    let missing = "exec: \"git\": executable file not found in $PATH\n";
    for said in [
        format!("go: x.lab/m@v1.0.0: git init --bare in /mod/cache/vcs/1: {missing}"),
        format!("go: x.lab/m@v1.0.0: failed to execute git version: {missing}"),
        "go: x.lab/m@v1.0.0: GOVCS disallows using git for private x.lab/m\n".to_owned(),
    ] {
        assert_eq!(script(&page, &said), ["PT704 error root ×1"], "{said}");
        assert_eq!(script(&[], &said), ["PT704 warning contributing ×0"], "{said}");
    }
    // Other programs are not there either, and other reasons there are.
    for said in ["go: x.lab/m: exec: \"gcc\": executable file not found in $PATH\n", "go: x\n"] {
        assert_eq!(script(&[], said), [""; 0], "{said}");
    }
    assert_eq!(script(&page, "go: x.lab/m@v1.0.0: something else\n"), [""; 0]);
}

/// A login: the page came well, and names no repository.
#[test]
fn pt401_is_the_page_of_a_module_that_leads_nowhere() {
    let page = "https://x.lab/m?go-get=1";
    let login = "https://x.lab/login";
    let hops = [hop(page, 302).to(login), hop(login, 200).page()];
    let script = |list: &str, error: Failure| {
        let task = Task::new(7).walk();
        let task = list.split(',').fold(task, |task, proxy| {
            let task = task.lookup(proxy, "x.lab/m");
            if proxy == A { task } else { task.fetch(&hops) }
        });
        let mut script = Script::new("https://proxy.lab,direct", 1);
        script.run(&[task.failed(error)]);
        script
    };
    let said = "unrecognized import path \"x.lab/m\": parse https://x.lab/login: no go-import \
                meta tags ()";
    let steps = [
        ("modfetch.notExistError", ""),
        ("*vcs.importError", "x.lab/m"),
        ("*errors.errorString", said),
    ];
    let nowhere = || failure(&steps, None);
    let direct = script("direct", nowhere());
    assert_eq!(of_script(&direct), ["PT401 error root ×1"]);
    let finding = only(&direct, "PT401");
    assert_eq!(
        finding.message,
        "after a redirect x.lab answered 200 with something else than what was asked for"
    );
    assert!(finding.advice.contains("go-import"), "{}", finding.advice);
    let twice = script("noproxy,https://proxy.lab,direct", nowhere());
    assert_eq!(of_script(&twice), ["PT401 error root ×1"]);
    // It led to a repository that go remembers, and that lacks the version.
    let unknown = failure(&[("*codehost.UnknownRevisionError", "v9.9.9")], None);
    assert_eq!(of_script(&script("direct", unknown)), [""; 0]);
}

/// git answered, and has no such version.
#[test]
fn what_a_repository_does_not_have_is_absent() {
    let task = Task::new(7)
        .walk()
        .lookup(A, "x.lab/m")
        .fetch(&[hop(&url(A, "x.lab/m", "v9.9.9.info"), 404)])
        .lookup("direct", "x.lab/m")
        .failed(failure(
            &[
                ("*module.ModuleError", ""),
                ("*module.InvalidVersionError", ""),
                ("*codehost.UnknownRevisionError", ""),
            ],
            None,
        ));
    let mut script = Script::new("https://proxy.lab,direct", 1);
    script.run(&[task]);
    assert_eq!(of_script(&script), ["PT410 error root ×1", "PT102 note contributing ×1"]);
    // Where nobody else was asked, only the repository can say so.
    let error =
        failure(&[("*module.ModuleError", ""), ("*codehost.UnknownRevisionError", "")], None);
    let alone = with_git(200, 0, error);
    assert_eq!(of_script(&alone), ["PT410 error root ×1", "PT702 note contributing ×1"]);
}

/// `direct`: a page, and then git, which ends with a code.
fn with_git(status: u16, code: i32, error: Failure) -> Script {
    let page = "https://x.lab/m?go-get=1";
    let mut script = Script::new("direct", 1);
    script.run(&[Task::new(7).walk().lookup("direct", "x.lab/m").fetch(&[hop(page, status)])]);
    run_git(&mut script, code);
    script.run(&[Task::new(7).failed(error)]);
    script
}

/// git asks a server for goroutine 7, and ends with a code.
fn run_git(script: &mut Script, code: i32) {
    script.push(GO, None, What::Fork { child: 200 });
    let argv = ["git", "ls-remote", "-q", "origin"].map(str::to_owned).to_vec();
    script.push(200, None, What::Exec { exe: "/usr/bin/git".into(), argv });
    script.run(&[Task::new(7).step(What::Spawn { child: 200 })]);
    script.push(200, None, What::Exit { code: Some(code), signal: None });
}

/// A page that was not found and names a repository all the same, which then fails.
#[test]
fn a_page_that_led_to_a_repository_is_no_absence() {
    let script = with_git(404, 128, plain_error("exit status 128"));
    assert_eq!(of_script(&script), ["PT704 error root ×1", "PT702 note contributing ×1"]);
}

#[test]
fn pt410_is_absence_everywhere() {
    let task = Task::new(7)
        .walk()
        .lookup(A, "x.lab/m")
        .fetch_twice(&[hop(&zip(A, "x.lab/m"), 404)])
        .lookup(B, "x.lab/m")
        .fetch(&[hop(&zip(B, "x.lab/m"), 410)])
        .failed(bad_status(404));
    let mut script = Script::new("https://proxy.lab,https://next.lab", 1);
    script.run(&[task]);
    assert_eq!(
        of_script(&script),
        ["PT410 error root ×1", "PT102 note contributing ×1", "PT002 note contributing ×1"]
    );
    let finding = only(&script, "PT410");
    assert_eq!(finding.message, "proxy.lab answered 404; next.lab answered 410");
    assert_eq!(finding.requests, [0, 1, 2]);
    // go ended well without it.
    let script = one(A, 0, &[hop(&zip(A, "x.lab/m"), 404)], bad_status(404));
    assert_eq!(of_script(&script), ["PT410 warning root ×1"]);
}

#[test]
fn probes_whose_failure_go_does_not_report_are_no_failures() {
    assert_eq!(of_script(&scenarios::probes([403, 404, 404], 1)), ["PT302 error root ×1"]);
    assert_eq!(of_script(&scenarios::probes([404, 404, 404], 1)), ["PT410 error root ×3"]);
}

#[test]
fn every_way_to_fail_has_one_root() {
    let at = |hop: Hop| vec![hop];
    let asked = zip(A, "x.lab/m");
    let answered = |status| at(hop(&asked, status));
    let tls = failure(
        &[("*tls.CertificateVerificationError", ""), ("x509.UnknownAuthorityError", "")],
        None,
    );
    let handshake = failure(&[("http.tlsHandshakeTimeoutError", "")], None);
    let timeout = failure(&[("*net.OpError", "dial"), ("*poll.DeadlineExceededError", "")], None);
    let tunnel = failure(&[("*url.Error", ""), ("*net.OpError", "proxyconnect")], None);
    for (hops, code) in [
        (answered(401), "PT301"),
        (answered(403), "PT302"),
        (answered(418), "PT402"),
        (answered(204), "PT402"),
        (answered(429), "PT408"),
        (answered(503), "PT409"),
        (answered(404), "PT410"),
        (at(broken(&asked, no_such_host(), false)), "PT201"),
        (at(broken(&asked, refused(), false)), "PT202"),
        (at(broken(&asked, timeout, false)), "PT203"),
        (at(broken(&asked, tls, false)), "PT204"),
        (at(broken(&asked, handshake, false)), "PT205"),
        (at(broken(&asked, plain_error("EOF"), true)), "PT208"),
        (at(broken(&asked, plain_error("malformed HTTP response \"SSH-2.0\""), true)), "PT401"),
        (at(broken(&asked, tunnel, false)), "PT211"),
    ] {
        let error = hops[0].error().cloned().unwrap_or_else(|| bad_status(500));
        let script = one(A, 1, &hops, error);
        assert_eq!(of_script(&script), [format!("{code} error root ×1")]);
    }
    for (name, code) in [("*json.SyntaxError", "PT401"), ("", "")] {
        let answer = [hop(&url(A, "x.lab/m", "v1.0.0.info"), 200)];
        let script = one(A, 1, &answer, failure(&[(name, "")], None));
        let expected: &[_] =
            if code.is_empty() { &[] } else { &[format!("{code} error root ×1")] };
        assert_eq!(of_script(&script), expected);
    }
    let said = "verifying module: checksum mismatch\n\tdownloaded: h1:";
    let mismatch = failure(&[("*errors.errorString", said)], None);
    let script = one(A, 1, &[hop(&url(A, "x.lab/m", "v1.0.0.mod"), 200)], mismatch);
    assert_eq!(of_script(&script), ["PT507 error root ×1"]);
}

#[test]
fn a_switch_to_another_toolchain_is_a_success() {
    let mut script = one(A, 1, &[hop(&zip(A, "x.lab/m"), 404)], bad_status(404));
    script.go(crate::correlate::tests::script::GO, "/mod/go/bin/go", &config(&[("GOPROXY", A)]));
    assert!(of_script(&script).is_empty());
}

#[test]
fn pt900_makes_everything_possible_and_nothing_certain() {
    let mut script = failing("https://proxy.lab", 1, scenarios::redirect_to_forbidden);
    script.attach(&["net/http.(*Transport).roundTrip"], true);
    script.lose();
    let findings = diagnose(&script.trace());
    assert_eq!(brief(&findings), ["PT006 error root ×1", "PT900 note contributing ×0"]);
    assert_eq!(findings[0].confidence, Confidence::Possible);
    assert_eq!(findings[1].confidence, Confidence::Certain);
    let message = &findings[1].message;
    for part in [
        "3 events were lost",
        "no probe in net/http.(*Transport).roundTrip",
        "before it had its probes",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn failed_chains_have_exactly_one_root() {
    let scripts = [
        scenarios::circle(),
        scenarios::downgrade("https://proxy.lab,direct"),
        scenarios::direct_fails("https://proxy.lab|direct", 500),
        scenarios::direct_fails("https://proxy.lab,direct", 404),
        failing("https://proxy.lab,direct", 5, scenarios::redirect_to_forbidden),
        failing("https://proxy.lab,direct", 5, scenarios::redirect_to_closed_port),
    ];
    for script in scripts {
        let trace = script.trace();
        let findings = diagnose(&trace);
        for chain in &trace.chains {
            let roots =
                findings.iter().filter(|f| f.role == Role::Root && f.chains.contains(&chain.id));
            assert_eq!(roots.count(), 1, "{:?}", brief(&findings));
        }
    }
}

#[test]
fn the_catalogue_is_in_order_and_complete() {
    assert!(CATALOGUE.is_sorted_by(|a, b| a.code < b.code));
    for kind in CATALOGUE {
        let texts = [kind.slug, kind.title, kind.explanation, kind.advice];
        assert!(texts.iter().all(|text| !text.is_empty()), "{}", kind.code);
        let sections =
            ["## On the wire", "## Why", "## Confirm", "## On the client", "## On the server"];
        let found: Vec<&str> = kind.page.lines().filter(|line| line.starts_with("##")).collect();
        assert_eq!(found, sections, "{}", kind.code);
        assert!(kind.links.iter().all(|link| link.starts_with("https://")), "{}", kind.code);
    }
    assert_eq!(explain("pt006").map(|kind| kind.slug), Some("redirect-target-status"));
    assert!(explain("PT999").is_none());
}

#[test]
fn the_readme_lists_the_catalogue() {
    let readme = include_str!("../../../../README.md");
    for kind in CATALOGUE {
        let severity = format!("{:?}", kind.severity).to_lowercase();
        let row = format!("| {} | {severity} | {} |", kind.code, kind.title);
        assert!(readme.contains(&row), "the README has no row `{row}`");
    }
}
