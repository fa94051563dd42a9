//! Logs of real releases, shortened, and nonsense.

use super::lines::{Line, read as line, result};
use super::*;
use crate::model::{Confidence, Severity};

fn log(text: &str) -> Trace {
    read(text.as_bytes()).unwrap().0
}

fn brief(trace: &Trace) -> Vec<String> {
    let attempt = |attempt: &Attempt| {
        let statuses = attempt.requests.iter().map(|request| {
            request.status.map_or(format!("{:?}", request.outcome), |status| status.to_string())
        });
        format!("{} {}", attempt.proxy, statuses.collect::<Vec<_>>().join(" "))
    };
    let chain = |chain: &Chain| {
        let attempts: Vec<String> = chain.attempts.iter().map(attempt).collect();
        let module = chain.module.as_deref().unwrap_or("-");
        format!("{:?} {module}: {}", chain.artifact, attempts.join(", "))
    };
    trace.chains.iter().map(chain).collect()
}

fn codes(trace: &Trace) -> Vec<&str> {
    let loud = trace.findings.iter().filter(|finding| finding.severity > Severity::Note);
    loud.map(|finding| finding.code.as_str()).collect()
}

#[test]
fn lines_are_told_apart_whatever_stands_before_them() {
    for (text, expected) in [
        ("# get https://p.lab/a", Line::Begin("https://p.lab/a")),
        ("2026-11-23T10:00:00.1Z # get https://p.lab/a\r\n", Line::Begin("https://p.lab/a")),
        ("#12 3.4 # get https://p.lab/a", Line::Begin("https://p.lab/a")),
        (
            "# get https://p.lab/a: 200 OK (0.1s)",
            Line::End { url: "https://p.lab/a", result: "200 OK (0.1s)" },
        ),
        ("# get a coffee", Line::Other),
        ("# get https://p.lab/a b", Line::Other),
        (
            "0.012s # cd /m/vcs/1; git ls-remote -q origin",
            Line::Command { seconds: 0.012, command: "git ls-remote -q origin" },
        ),
        ("0.012s # cd /m/vcs/1; rm -rf /", Line::Other),
        ("nans # cd /m; git init", Line::Other),
        ("go: downloading x.lab/m v1.0.0", Line::Other),
        (
            "go: x.lab/m@v1: reading https://p: 403 Forbidden",
            Line::Error("x.lab/m@v1: reading https://p: 403 Forbidden"),
        ),
        (
            "go: module x.lab/m: reading https://p/x.lab/m/@v/list: 403 Forbidden",
            Line::Error("module x.lab/m: reading https://p/x.lab/m/@v/list: 403 Forbidden"),
        ),
        ("go: module x.lab/m is deprecated: use x.lab/n", Line::Other),
        (
            "go: module x.lab/m@latest found (v1.0.0), but: does not contain package x.lab/m/p",
            Line::Other,
        ),
        (
            "build\tRun go build\t2026-11-23T10:00:00.1234567Z go: x.lab/m@v1: reading https://p: 403 Forbidden",
            Line::Error("x.lab/m@v1: reading https://p: 403 Forbidden"),
        ),
        ("app-1  | go: x.lab/m@main: no such thing", Line::Error("x.lab/m@main: no such thing")),
        ("cargo: x: y", Line::Other),
        ("Then let it go: it says: no", Line::Other),
        ("    x_test.go:7: go: x: y", Line::Other),
        ("build 7 go: downloading x.lab/m v1.0.0: x", Line::Other),
        ("", Line::Other),
    ] {
        assert_eq!(line(text), expected, "{text}");
    }
}

#[test]
fn what_is_said_of_a_package_names_a_url_or_a_module() {
    let url = "https://p.lab/x.lab/m/@v/v1.0.0.zip";
    let said = format!("x.lab/m@v1.0.0: reading {url}: 403 Forbidden");
    let expected = Line::Named { url: Some(url), module: Some("x.lab/m"), said: &said };
    for before in ["main.go:3:8: ", "\t", "build\tRun go\t2026-11-23T10:00:00.1Z a/main.go:3:8: "] {
        assert_eq!(line(&format!("{before}{said}\r\n")), expected, "{before}");
    }
    for (said, url, module) in [
        ("module x.lab/m: reading https://p.lab/a: 404", Some("https://p.lab/a"), Some("x.lab/m")),
        ("a.go:1:2: x: Get \"https://p.lab/a\": EOF", Some("https://p.lab/a"), None),
        ("a.go:1:2: x: Get https://p.lab/a: EOF", Some("https://p.lab/a"), None),
        ("x.lab/m@v1.0.0-rc.1+incompatible: git fetch: exit status 128", None, Some("x.lab/m")),
        (
            "module x.lab/m: git ls-remote -q --end-of-options origin in /m/vcs/1: exit status 128:",
            None,
            Some("x.lab/m"),
        ),
    ] {
        assert_eq!(line(said), Line::Named { url, module, said }, "{said}");
    }
    for said in [
        "go: warning: x.lab/m@v1.0.0: retracted by module author: broken",
        "warning: verifying x.lab/m@v1.0.0: unknown hashes in go.sum: h2:x; adding h1:y",
        "\t\"Err\": \"module x.lab/m: reading https://p.lab/x.lab/m/@v/list: 404 Not Found\"",
        "cd /root/go/pkg/mod/x.lab/m@v1.0.0",
        "/root/go/pkg/mod/x.lab/m@v1.0.0/a.go:3:8: undefined: x",
        "reading https://p.lab/a",
        "x.lab/m@v1: y",
        "x.lab/m@v1.0.0:",
        "@v1.0.0: x",
        ": reading : Get \": @: ",
    ] {
        assert_eq!(line(said), Line::Other, "{said}");
    }
}

#[test]
fn results_are_a_status_or_an_error() {
    let known = |text| {
        let result = result(text);
        (result.status, result.seconds, result.outcome)
    };
    assert_eq!(known("404 Not Found (0.5s)"), (Some(404), Some(0.5), Outcome::NotFound));
    assert_eq!(known("502 Bad Gateway (12.000s)"), (Some(502), Some(12.0), Outcome::HttpError));
    for (text, outcome) in [
        ("Get \"https://p\": dial tcp: lookup p on 127.0.0.1:53: no such host", Outcome::Dns),
        (
            "Get \"https://p\": dial tcp: lookup p on 1.1.1.1:53: read udp: i/o timeout",
            Outcome::Dns,
        ),
        ("Get \"https://p\": dial tcp 10.0.0.1:443: i/o timeout", Outcome::ConnectTimeout),
        (
            "Get \"https://p\": dial tcp 10.0.0.1:443: connect: connection refused",
            Outcome::ConnectRefused,
        ),
        ("Get \"https://p\": net/http: TLS handshake timeout", Outcome::TlsOther),
        (
            "Get \"https://p\": x509: certificate signed by unknown authority",
            Outcome::TlsUnknownAuthority,
        ),
        (
            "Get \"https://p\": tls: failed to verify certificate: x509: certificate signed by unknown authority",
            Outcome::TlsUnknownAuthority,
        ),
        ("Get \"https://p\": x509: certificate has expired", Outcome::TlsOther),
        ("Get \"https://p\": http: server gave HTTP response to HTTPS client", Outcome::TlsOther),
        ("Get \"https://p\": EOF", Outcome::Reset),
        ("Get \"https://p\": unexpected EOF", Outcome::Reset),
        ("Get \"/\": stopped after 10 redirects", Outcome::RedirectLimit),
        (
            "Get \"https://p\": proxyconnect tcp: dial tcp: lookup squid on 1.1.1.1:53: no such host",
            Outcome::ProxyRefused,
        ),
        (
            "Get \"https://p\": proxyconnect tcp: dial tcp 10.0.0.1:3128: i/o timeout",
            Outcome::ProxyRefused,
        ),
        (
            "Get \"https://p\": proxyconnect tcp: tls: first record does not look like a TLS handshake",
            Outcome::ProxyRefused,
        ),
        (
            "Get \"https://p\": socks connect tcp 10.0.0.1:1080->p:443: dial tcp 10.0.0.1:1080: connect: connection refused",
            Outcome::ProxyRefused,
        ),
        (
            "Get \"https://p\": dial tcp: lookup proxyconnect on 1.1.1.1:53: no such host",
            Outcome::Dns,
        ),
        ("something nobody has heard of", Outcome::Unknown),
        ("9999 Odd (1s)", Outcome::Unknown),
    ] {
        assert_eq!(known(text).2, outcome, "{text}");
    }
}

#[test]
fn walks_are_rebuilt_and_all_is_well() {
    let trace = log("\
# get https://proxy.lab/mod.lab/m01/@v/v1.0.0.mod
# get https://proxy.lab/mod.lab/m02/@v/v1.0.0.mod
# get https://proxy.lab/mod.lab/m02/@v/v1.0.0.mod: 404 Not Found (0.005s)
# get https://mirror.lab/mod.lab/m02/@v/v1.0.0.mod
# get https://proxy.lab/mod.lab/m01/@v/v1.0.0.mod: 200 OK (0.079s)
# get https://mirror.lab/mod.lab/m02/@v/v1.0.0.mod: 200 OK (0.010s)
go: downloading mod.lab/m01 v1.0.0
");
    assert_eq!(
        brief(&trace),
        [
            "Mod mod.lab/m01: https://proxy.lab 200",
            "Mod mod.lab/m02: https://proxy.lab 404, https://mirror.lab 200",
        ]
    );
    assert_eq!(codes(&trace), [] as [&str; 0]);
    let first = &trace.chains[0].attempts[0].requests[0];
    assert_eq!(first.duration_ns, Some(79_000_000));
    // That nothing failed is not known, and not said.
    assert_eq!(trace.processes[0].exit_code, None);
}

#[test]
fn an_error_that_names_another_host_shows_the_redirect() {
    let trace = log("\
# get https://proxy.lab/mod.lab/m/@v/v1.0.0.zip
# get https://proxy.lab/mod.lab/m/@v/v1.0.0.zip: Get \"https://storage.lab:4443/m\": dial tcp 127.0.0.3:4443: connect: connection refused
go: mod.lab/m@v1.0.0: Get \"https://storage.lab:4443/m\": dial tcp 127.0.0.3:4443: connect: connection refused
");
    assert_eq!(codes(&trace), ["PT007"]);
    let finding = &trace.findings[0];
    assert!(finding.message.starts_with("proxy.lab redirected to storage.lab:4443"), "{finding:?}");
    assert_eq!(finding.confidence, Confidence::Possible);
}

#[test]
fn requests_under_way_keep_their_answers() {
    let url = "https://proxy.lab/x.lab/m/@v/list";
    let trace = log(&format!(
        "# get {url}\n# get {url}\n\
         # get {url}: Get \"https://cdn.lab/m\": dial tcp 127.0.0.3:443: connect: connection refused\n\
         # get {url}: 403 Forbidden (0.1s)\n"
    ));
    let requests = &trace.chains[0].attempts[0].requests;
    let told: Vec<_> = requests.iter().map(|it| (&*it.host, it.status, it.outcome)).collect();
    let expected = [
        ("proxy.lab", None, Outcome::Unknown),
        ("cdn.lab", None, Outcome::ConnectRefused),
        ("proxy.lab", Some(403), Outcome::HttpError),
    ];
    assert_eq!(told, expected);
}

#[test]
fn what_go_get_says_of_a_module_is_an_error() {
    let url = "https://proxy.lab/x.lab/m/@v/list";
    let trace = log(&format!(
        "# get {url}\n# get {url}: 403 Forbidden (0.1s)\n\
         go: module x.lab/m: reading {url}: 403 Forbidden\n"
    ));
    assert_eq!(codes(&trace), ["PT302"]);
}

#[test]
fn what_go_says_of_a_package_is_an_error() {
    let url = "https://proxy.lab/x.lab/m/@v/v1.0.0.zip";
    let said = format!("x.lab/m@v1.0.0: reading {url}: 403 Forbidden");
    for said in [
        format!("main.go:3:8: {said}"),
        format!("go: main.lab/main imports\n\tx.lab/m: {said}"),
        format!("build\tRun go build\t2026-11-23T10:00:00.1234567Z go: {said}"),
    ] {
        let trace = log(&format!("# get {url}\n# get {url}: 403 Forbidden (0.1s)\n{said}\n"));
        assert_eq!(codes(&trace), ["PT302"], "{said}");
    }
    // The target of a redirect is in no other line.
    let trace = log(&format!(
        "# get {url}\n# get {url}: Get \"https://storage.lab/z\": dial tcp 127.0.0.3:443: connect: connection refused\n\
         main.go:3:8: module x.lab/m: Get \"https://storage.lab/z\": dial tcp 127.0.0.3:443: connect: connection refused\n"
    ));
    assert_eq!(codes(&trace), ["PT007"]);
}

#[test]
fn what_a_program_says_is_none() {
    let url = "https://proxy.lab/x.lab/m/@v/list";
    for said in [
        "    x_test.go:7: Get \"http://127.0.0.1:4/\": EOF",
        "--- FAIL: other.lab/n@v1.0.0: not good",
        "I can not let go: it is mine: all of it",
    ] {
        let trace = log(&format!("# get {url}\n# get {url}: 404 Not Found (0.1s)\n{said}\n"));
        assert_eq!(codes(&trace), [] as [&str; 0], "{said}");
        assert_eq!(trace.processes[0].stderr_tail, None, "{said}");
    }
}

/// Errors are read to the end, as they say what was wrong.
#[test]
fn what_is_too_much_is_counted() {
    let mut log = Log { requests: u32::try_from(MAX_REQUESTS).unwrap() - 1, ..Log::default() };
    let url = "https://proxy.lab/x.lab/m/@v/list";
    for line in [
        format!("# get {url}"),
        format!("# get {url}"),
        format!("# get {url}: 403 Forbidden (0.1s)"),
        "0.1s # cd /m/vcs/1; git ls-remote -q origin".to_owned(),
        format!("go: module x.lab/m: reading {url}: 403 Forbidden"),
    ] {
        log.line(&line);
    }
    assert_eq!((log.dropped, log.commands.len()), (2, 0));
    let trace = log.into_trace();
    assert_eq!(trace.capture.lost, 2);
    assert_eq!(trace.chains[0].attempts[0].requests.len(), 1);
    assert!(codes(&trace).contains(&"PT302"), "{:?}", codes(&trace));
}

#[test]
fn what_no_error_names_came_from_elsewhere() {
    let git = "https://proxy.lab/git.lab/o/r/@v/v1.0.0.info";
    let url = "https://proxy.lab/x.lab/m/@v/v1.0.0.zip";
    let asked = format!(
        "# get {git}\n# get {git}: 404 Not Found (0.1s)\n0.1s # cd /m/vcs/1; git ls-remote -q origin\n\
         # get {url}\n# get {url}: 403 Forbidden (0.1s)\n"
    );
    let forbidden = format!("main.go:3:8: x.lab/m@v1.0.0: reading {url}: 403 Forbidden\n");
    assert_eq!(codes(&log(&format!("{asked}{forbidden}"))), ["PT302"]);
    let missing = format!("go: git.lab/o/r@v1.0.0: reading {git}: 404 Not Found\n");
    assert_eq!(codes(&log(&format!("{asked}{missing}{forbidden}"))), ["PT410", "PT302"]);
    // What is not kept may have named it.
    let long = format!("go: x.lab/m@v1.0.0: {}\n", "x".repeat(MAX_STDERR));
    assert_eq!(codes(&log(&format!("{asked}{long}{forbidden}"))), ["PT410", "PT302"]);
}

#[test]
fn a_secret_in_the_query_hides_no_answer() {
    let url = "https://proxy.lab/go/x.lab/m/@v/list?token=abc";
    let trace = log(&format!("# get {url}\n# get {url}: 403 Forbidden (0.1s)\n"));
    assert_eq!(trace.chains[0].attempts[0].requests[0].status, Some(403));
    assert!(!format!("{trace:?}").contains("abc"));
}

#[test]
fn a_search_that_fails_is_the_end_of_the_walk() {
    let trace = log("\
# get https://proxy.lab/vanity.lab/m/@v/v1.0.0.mod
# get https://proxy.lab/vanity.lab/m/@v/v1.0.0.mod: 404 Not Found (0.05s)
# get https://vanity.lab/m?go-get=1
# get https://vanity.lab/m?go-get=1: Get \"https://vanity.lab/m?go-get=1\": dial tcp: lookup vanity.lab: no such host
go: vanity.lab/m@v1.0.0: unrecognized import path \"vanity.lab/m\"
");
    let last = trace.chains[0].attempts.last().unwrap();
    assert_eq!((last.proxy.as_str(), last.outcome), ("direct", Outcome::Dns));
    assert_eq!(trace.chains[0].attempts[0].next, Some(Next::Direct));
    assert_eq!(codes(&trace), ["PT201"]);
}

/// What was asked after the search is what the page named, and the end of the walk.
#[test]
fn what_a_page_named_is_asked_for_direct() {
    let file = "x.lab/m/@v/v1.0.0.zip";
    let (entry, origin) = (format!("https://proxy.lab/{file}"), format!("https://o.lab/{file}"));
    let error = "stopped after 10 redirects";
    let trace = log(&format!(
        "# get {entry}\n# get {entry}: 500 Internal Server Error (0.1s)\n\
         # get https://x.lab/m?go-get=1\n# get https://x.lab/m?go-get=1: 200 OK (0.1s)\n\
         # get {origin}\n# get {origin}: Get \"{origin}\": {error}\n\
         go: x.lab/m@v1.0.0: Get \"{origin}\": {error}\n"
    ));
    let attempts: Vec<_> =
        trace.chains[0].attempts.iter().map(|it| (&*it.proxy, it.outcome, it.next)).collect();
    assert_eq!(
        attempts,
        [
            ("https://proxy.lab", Outcome::HttpError, Some(Next::NextEntry)),
            ("https://o.lab", Outcome::RedirectLimit, Some(Next::Stop)),
        ]
    );
    assert_eq!(codes(&trace), ["PT409"]);
}

#[test]
fn what_a_status_means_is_possible_at_most() {
    for (status, code) in [
        ("403 Forbidden", "PT302"),
        ("401 Unauthorized", "PT301"),
        ("502 Bad Gateway", "PT409"),
        // A redirect with somewhere to go is followed, and its status not told.
        ("302 Found", "PT005"),
        ("407 Proxy Authentication Required", "PT402"),
    ] {
        let url = "https://proxy.lab/mod.lab/m/@v/v1.0.0.mod";
        let trace = log(&format!(
            "# get {url}\n# get {url}: {status} (0.1s)\ngo: mod.lab/m@v1.0.0: reading {url}: {status}\n"
        ));
        assert_eq!(codes(&trace), [code]);
        assert!(
            trace
                .findings
                .iter()
                .all(|f| f.confidence == Confidence::Possible || f.code == "PT900")
        );
        let limits = trace.findings.iter().find(|finding| finding.code == "PT900").unwrap();
        assert_eq!(limits.message, LIMITS);
    }
}

/// What `off` ended is told of without a name, and is the end of whatever was not found.
#[test]
fn what_off_ended_is_an_error() {
    let url = "https://proxy.lab/x.lab/m/@v/v1.0.0.info";
    let asked = format!("# get {url}\n# get {url}: 404 Not Found (0.1s)\n");
    let off = "module lookup disabled by GOPROXY=off";
    assert_eq!(codes(&log(&format!("{asked}go: {off}\n"))), ["PT410"]);
    assert_eq!(codes(&log(&format!("{asked}go: y.lab/n@v1.0.0: {off}\n"))), [""; 0]);
}

#[test]
fn a_location_that_is_no_url_leads_nowhere() {
    let url = "https://proxy.lab/x.lab/m/@v/v1.0.0.zip";
    let error = format!(
        "Get \"{url}\": failed to parse Location header \"https://[::1/\": missing ']' in host"
    );
    let trace = log(&format!("# get {url}\n# get {url}: {error}\ngo: x.lab/m@v1.0.0: {error}\n"));
    assert_eq!(codes(&trace), ["PT005"]);
}

#[test]
fn probes_of_a_run_that_says_no_error_are_none() {
    let url = "https://proxy.lab/mod.lab/@v/list";
    let trace = log(&format!("# get {url}\n# get {url}: 404 Not Found (0.1s)\n"));
    assert_eq!(codes(&trace), [] as [&str; 0]);
}

#[test]
fn entries_end_where_a_module_can_begin() {
    for (url, expected) in [
        ("https://a.lab/api/go/x.lab/m/@v/list", "List x.lab/m: https://a.lab/api/go Unfinished"),
        ("https://a.lab/x.lab/m/@latest", "Latest x.lab/m: https://a.lab Unfinished"),
        ("http://a.lab/odd/@v/list", "List odd: http://a.lab Unfinished"),
        ("https://a.lab/b/sumdb/s.lab/supported", "SumdbSupported -: https://a.lab/b Unfinished"),
        ("https://s.lab/lookup/x.lab/m@v1.0.0", "SumdbLookup x.lab/m: direct Unfinished"),
    ] {
        assert_eq!(brief(&log(&format!("# get {url}\n"))), [expected]);
    }
}

#[test]
fn commands_are_kept_with_their_times() {
    let trace = log("0.250s # cd /m/vcs/1; git fetch -f https://u:hunter2@x.lab/r.git\n");
    let git = &trace.processes[1];
    assert_eq!(git.argv[..2], ["git", "fetch"]);
    assert_eq!(git.ended_ns.unwrap() - git.started_ns, 250_000_000);
    assert!(!format!("{trace:?}").contains("hunter2"));
}

#[test]
fn nonsense_is_read_to_its_end() {
    let long = "# get https://p.lab/".to_owned() + &"x".repeat(1 << 20);
    for text in [
        "# get https://p.lab/x/@v/list: 200 OK (1e999s)\n# get https://p.lab/x/@v/list: 200\n",
        "# get https://\n# get https://: 404\n# get http://[: x\n",
        "# get https://p.lab/a/@v/list\n# get https://p.lab/a/@v/list\n",
        "go: \u{1b}[2J: x\n\0\0\0# get file:///x\n",
        &long,
    ] {
        let (trace, _) = read(text.as_bytes()).unwrap();
        serde_json::to_string(&trace).unwrap();
    }
    let (_, lines) = read(&b"make: hello\n# get nothing\n"[..]).unwrap();
    assert_eq!(lines, 0);
    // What follows a line that is too long is a line again.
    let (trace, _) = read(format!("{long}\n# get https://p.lab/a/@v/list\n").as_bytes()).unwrap();
    assert!(trace.chains.iter().any(|chain| chain.module.as_deref() == Some("a")));
}
