//! What go does at misbehaving proxies, shared with the tests of the findings.

use std::net::SocketAddr;

use crate::event::{Failure, Headers, What};

use super::script::{
    GO, Hop, Script, Task, bad_status, broken, hop, no_such_host, plain_error, refused,
};

pub(crate) const A: &str = "https://proxy.lab";
pub(crate) const B: &str = "https://next.lab";

pub(crate) fn url(proxy: &str, module: &str, file: &str) -> String {
    format!("{proxy}/{module}/@v/{file}")
}

pub(crate) fn zip(proxy: &str, module: &str) -> String {
    url(proxy, module, "v1.0.0.zip")
}

/// One walk at one entry that gives `hops`, and finds it.
pub(crate) fn got(id: u64, module: &str, hops: &[Hop]) -> Task {
    Task::new(id).walk().lookup(A, module).fetch(hops).found()
}

/// 40 modules at once, every zip redirected to another host.
pub(crate) fn healthy() -> Script {
    let task = |n: u64| {
        let module = format!("x.lab/m{n}");
        let mut task = Task::new(n + 10);
        for file in ["v1.0.0.info", "v1.0.0.mod"] {
            let url = url(A, &module, file);
            task = task.walk().lookup(A, &module).fetch(&[hop(&url, 200)]).found();
        }
        let target = format!("https://storage.lab/{n}");
        let hops = [hop(&zip(A, &module), 302).to(&target), hop(&target, 200)];
        task.walk().lookup(A, &module).fetch(&hops).found()
    };
    let tasks: Vec<Task> = (0..40).map(task).collect();
    let mut script = Script::new("https://proxy.lab,direct", 0);
    script.run(&tasks);
    script
}

/// 404 at the first entry, twice as Go ≥ 1.24 asks, and found at the next.
pub(crate) fn missing_then_next() -> Script {
    let task = Task::new(7)
        .walk()
        .lookup(A, "x.lab/m")
        .fetch_twice(&[hop(&zip(A, "x.lab/m"), 404)])
        .lookup(B, "x.lab/m")
        .fetch(&[hop(&zip(B, "x.lab/m"), 200)])
        .found();
    let mut script = Script::new("https://proxy.lab,https://next.lab", 0);
    script.run(&[task]);
    script
}

/// 302 → 404, again as an auth-resend, and found at the next entry.
pub(crate) fn redirect_to_missing_then_next() -> Script {
    let hops =
        [hop(&zip(A, "x.lab/m"), 302).to("https://cdn.lab/m"), hop("https://cdn.lab/m", 404)];
    let task = Task::new(7)
        .walk()
        .lookup(A, "x.lab/m")
        .fetch_twice(&hops)
        .lookup(B, "x.lab/m")
        .fetch(&[hop(&zip(B, "x.lab/m"), 200)])
        .found();
    let mut script = Script::new("https://proxy.lab,https://next.lab", 0);
    script.run(&[task]);
    script
}

/// Several modules whose zip ends the same way at the only entry asked.
pub(crate) fn failing(goproxy: &str, modules: u64, hops: fn(&str) -> Vec<Hop>) -> Script {
    let task = |n: u64| {
        let module = format!("x.lab/m{n}");
        let hops = hops(&module);
        let error = hops.last().and_then(|hop| hop.error()).cloned();
        Task::new(n + 10)
            .walk()
            .lookup(A, &module)
            .fetch(&hops)
            .failed(error.unwrap_or_else(|| bad_status(403)))
    };
    let tasks: Vec<Task> = (0..modules).map(task).collect();
    let mut script = Script::new(goproxy, 1);
    script.run(&tasks);
    script
}

pub(crate) fn redirect_to_forbidden(module: &str) -> Vec<Hop> {
    vec![hop(&zip(A, module), 302).to("https://storage.lab/z"), hop("https://storage.lab/z", 403)]
}

pub(crate) fn redirect_to_closed_port(module: &str) -> Vec<Hop> {
    let target = "https://storage.lab:9/z";
    vec![hop(&zip(A, module), 302).to(target), broken(target, refused(), false)]
}

/// https → http: go sends nothing to the target.
pub(crate) fn downgrade(goproxy: &str) -> Script {
    let error = plain_error(
        "redirected from secure URL https://proxy.lab to insecure URL http://plain.lab",
    );
    let hops = [hop(&zip(A, "x.lab/m"), 302).to("http://plain.lab/z")];
    let task =
        Task::new(7).walk().lookup(A, "x.lab/m").fetch_refused(&hops, error.clone()).failed(error);
    let mut script = Script::new(goproxy, 1);
    script.run(&[task]);
    script
}

/// Two hosts that redirect to each other: ten requests, and then no more.
pub(crate) fn circle() -> Script {
    let (there, back) = (zip(A, "x.lab/m"), "https://mirror.lab/z");
    let hops: Vec<Hop> = (0..10)
        .map(|n| if n % 2 == 0 { hop(&there, 302).to(back) } else { hop(back, 302).to(&there) })
        .collect();
    let error = plain_error("stopped after 10 redirects");
    let task =
        Task::new(7).walk().lookup(A, "x.lab/m").fetch_refused(&hops, error.clone()).failed(error);
    let mut script = Script::new("https://proxy.lab", 1);
    script.run(&[task]);
    script
}

/// 502 at the first entry, which is followed by `|`, and found at the next.
pub(crate) fn outage_behind_pipe() -> Script {
    let task = |n: u64| {
        let module = format!("x.lab/m{n}");
        Task::new(n + 10)
            .walk()
            .lookup(A, &module)
            .fetch(&[hop(&zip(A, &module), 502)])
            .lookup(B, &module)
            .fetch(&[hop(&zip(B, &module), 200)])
            .found()
    };
    let mut script = Script::new("https://proxy.lab|https://next.lab", 0);
    script.run(&(0..3).map(task).collect::<Vec<_>>());
    script
}

/// `status` at the proxy, and then `direct`, which does not find its host.
pub(crate) fn direct_fails(goproxy: &str, status: u16) -> Script {
    let page = "https://x.lab/m?go-get=1";
    let task = Task::new(7)
        .walk()
        .lookup(A, "x.lab/m")
        .fetch(&[hop(&url(A, "x.lab/m", "v1.0.0.info"), status)])
        .lookup("direct", "x.lab/m")
        .fetch(&[broken(page, no_such_host(), false)])
        .failed(super::script::failure(
            &[("modfetch.notExistError", ""), ("*net.DNSError", "")],
            None,
        ));
    let mut script = Script::new(goproxy, 1);
    script.run(&[task]);
    script
}

/// Where the only entry is asked for the checksum database.
pub(crate) fn sums(path: &str) -> String {
    format!("{A}/sumdb/s.lab/{path}")
}

/// Two modules whose `go.mod` files come, while lookups at the proxy, which says that it supports
/// the checksum database, end with `status`.
pub(crate) fn unverified(goproxy: &str, status: u16) -> Script {
    let mut script = Script::new(goproxy, 1);
    script.run(&[Task::new(6).walk().fetch(&[hop(&sums("supported"), 200)]).found()]);
    let task = |n: u64| {
        let module = format!("x.lab/m{n}");
        Task::new(n + 10)
            .walk()
            .lookup(A, &module)
            .fetch(&[hop(&url(A, &module, "v1.0.0.mod"), 200)])
            .fetch(&[hop(&sums(&format!("lookup/{module}@v1.0.0")), status)])
            .verify(&module, "v1.0.0/go.mod", Some(super::script::unverified()))
            .failed(super::script::unverified())
    };
    script.run(&[task(0), task(1)]);
    script
}

/// A query asks every prefix of a package path at once, in children of the goroutine that walks.
pub(crate) fn probes(statuses: [u16; 3], exit: i32) -> Script {
    probes_ending(statuses, (exit != 0).then(|| bad_status(404)))
}

/// The same, with what the query fails for.
pub(crate) fn probes_ending(statuses: [u16; 3], error: Option<Failure>) -> Script {
    let paths = ["x.lab/a/b", "x.lab/a", "x.lab"];
    let walker = Task::of(super::script::GO, 1, 0);
    let probe = |n: usize| {
        Task::new(20 + n as u64)
            .lookup(A, paths[n])
            .fetch(&[hop(&url(A, paths[n], "list"), statuses[n])])
    };
    let mut script = Script::new("https://proxy.lab", i32::from(error.is_some()));
    script.run(&[walker.clone().walk()]);
    script.run(&[probe(0), probe(1), probe(2)]);
    script.run(&[match error {
        None => walker.found(),
        Some(error) => walker.failed(error),
    }]);
    script
}

/// This end of a connection to a forward proxy, and the other.
pub(crate) fn to_squid() -> (Option<SocketAddr>, Option<SocketAddr>) {
    (Some(([127, 0, 0, 1], 40_000).into()), Some(([127, 0, 0, 9], 3128).into()))
}

/// A URL asked through a tunnel, up to the tunnel's answer: the request is made by goroutine 7,
/// which starts 8 to dial, which starts 9 to send CONNECT.
pub(crate) fn tunnel(url: &str, status: u16) -> Script {
    let mut script = Script::new(A, i32::from(status != 200));
    let enter = What::RequestEnter {
        method: "GET".into(),
        url: url.into(),
        headers: Headers::new(),
        credentials: None,
        cut: Vec::new(),
    };
    let asking = Task::new(7).walk().lookup(A, "x.lab/m");
    script.run(&[asking.step(enter)]);
    script.run(&[Task::of(GO, 8, 7).step(What::NewConnection)]);
    let (local, remote) = to_squid();
    let connect = What::TunnelEnter { target: "a.lab:443".into(), local, remote };
    let answer = What::TunnelReturn { status: Some(status), headers: Headers::new() };
    script.run(&[Task::of(GO, 9, 8).step(connect).step(answer)]);
    script
}

/// The same with an answer to the request: the tunnel comes after it in the attempt.
pub(crate) fn tunneled(url: &str, status: u16, headers: &[(&str, &str)]) -> Script {
    let mut script = tunnel(url, 200);
    let (local, remote) = to_squid();
    let on = What::Try { protocol: "HTTP/2.0".into(), local, remote, tls: true };
    let header = |(name, value): &(&str, &str)| ((*name).to_owned().into(), (*value).to_owned());
    let answer = What::RequestReturn {
        body: None,
        status: Some(status),
        protocol: Some("HTTP/2.0".into()),
        headers: headers.iter().map(header).collect(),
        content_length: None,
        error: None,
        cut: Vec::new(),
    };
    script.run(&[Task::new(7).step(on).step(answer)]);
    script
}

/// The end of a request to which there was no answer.
pub(crate) fn unanswered(error: &Failure) -> What {
    What::RequestReturn {
        body: None,
        status: None,
        protocol: None,
        headers: Headers::new(),
        content_length: None,
        error: Some(error.clone()),
        cut: Vec::new(),
    }
}

/// A URL of `a.lab` that fails for this after so many seconds in which nobody answers CONNECT.
pub(crate) fn tunnel_without_answer(error: &Failure, seconds: u64) -> Script {
    let proxy = "https://a.lab";
    let mut script = Script::new(proxy, 1);
    let enter = What::RequestEnter {
        method: "GET".into(),
        url: zip(proxy, "x.lab/m"),
        headers: Headers::new(),
        credentials: None,
        cut: Vec::new(),
    };
    script.run(&[Task::new(7).walk().lookup(proxy, "x.lab/m").step(enter)]);
    script.run(&[Task::of(GO, 8, 7).step(What::NewConnection)]);
    let (local, remote) = to_squid();
    let connect = What::TunnelEnter { target: "a.lab:443".into(), local, remote };
    script.run(&[Task::of(GO, 9, 8).step(connect)]);
    script.run(&[Task::new(7).step(unanswered(error))]);
    script.events.last_mut().expect("just pushed").time += seconds * 1_000_000_000;
    let done = What::SendFailed { error: Some(error.clone()) };
    script.run(&[Task::new(7).step(done).failed(error.clone())]);
    script
}
