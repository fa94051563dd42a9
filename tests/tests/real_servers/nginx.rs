//! nginx as a reverse proxy, configured in the ways that break go.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use proxytrace::diagnose::CATALOGUE;
use proxytrace::model::Outcome;
use proxytrace_tests::check;
use proxytrace_tests::lab::{Daemon, Lab};
use proxytrace_tests::log::Entry;
use proxytrace_tests::scenario::Action::{Hang, Redirect, Serve, Status};
use proxytrace_tests::scenario::{Host, Protocol, Rule, Scenario};
use serde::Deserialize;

use crate::{scenario, trace, with_each_go};

pub(crate) const PROGRAM: &str = "/usr/sbin/nginx";

/// What every configuration has: one process in the foreground that writes below the lab alone.
const COMMON: &str = r#"
    daemon off;
    master_process off;
    pid DIR/nginx.pid;
    events {}
    http {
        log_format lab escape=json '{"method":"$request_method","scheme":"$scheme",'
            '"host":"$http_host","uri":"$request_uri","status":$status,'
            '"location":"$sent_http_location","peer":"$remote_addr:$remote_port",'
            '"protocol":"$server_protocol","referer":"$http_referer"}';
        access_log DIR/access.log lab;
        client_body_temp_path DIR/body;
        proxy_temp_path DIR/proxy;
        fastcgi_temp_path DIR/fastcgi;
        uwsgi_temp_path DIR/uwsgi;
        scgi_temp_path DIR/scgi;
        ssl_certificate DIR/identity.pem;
        ssl_certificate_key DIR/identity.pem;
        SERVERS
    }"#;

/// Starts nginx with these `server` blocks, in which `DIR` stands for the lab's directory.
pub(crate) fn start(lab: &Lab, servers: &str, address: &str) -> Result<Daemon> {
    let dir = lab.dir().to_str().context("a path that is no text")?;
    let path = lab.dir().join("nginx.conf");
    fs::write(&path, COMMON.replace("SERVERS", servers).replace("DIR", dir))?;
    let mut command = lab.command(PROGRAM);
    command.args(["-e", "stderr", "-p", dir, "-c"]).arg(path);
    lab.spawn(command, address)
}

/// A line of the access log.
#[derive(Deserialize)]
struct Line {
    method: String,
    scheme: String,
    host: String,
    uri: String,
    status: u16,
    location: String,
    peer: String,
    protocol: String,
    referer: String,
}

/// What nginx logged, as the lab would have.
pub(crate) fn log(lab: &Lab) -> Result<Vec<Entry>> {
    let some = |text: String| (!text.is_empty()).then_some(text);
    let text = fs::read_to_string(lab.dir().join("access.log"))?;
    text.lines()
        // A connection that ends without a request.
        .filter(|line| !line.contains(r#""method":"""#))
        .enumerate()
        .map(|(sequence, line)| {
            let line: Line = serde_json::from_str(line).with_context(|| line.to_owned())?;
            Ok(Entry {
                sequence,
                host: "nginx",
                scheme: if line.scheme == "https" { "https" } else { "http" },
                url: format!("{}://{}{}", line.scheme, line.host, line.uri),
                protocol: line.protocol,
                method: line.method,
                status: Some(line.status),
                location: some(line.location),
                peer: line.peer.parse()?,
                user_agent: None,
                referer: some(line.referer),
            })
        })
        .collect()
}

const PROXY: Host =
    Host { name: "proxy.lab", protocol: Protocol::Other, rules: &[], trouble: None };

const fn origin(rules: &'static [Rule]) -> Host {
    Host { name: "origin.lab", protocol: Protocol::Plain, rules, trouble: None }
}

const fn on(pattern: &'static str, action: proxytrace_tests::scenario::Action) -> Rule {
    Rule { pattern, action }
}

const HEALTHY: Scenario = scenario(
    "nginx",
    "https://proxy.lab",
    "mod.lab/Upper",
    &[PROXY, origin(&[on("*!*", Status(404, &[])), on("*", Serve)])],
);

const LEAKY: Scenario = scenario(
    "nginx-location",
    "https://proxy.lab",
    "mod.lab/m",
    &[
        PROXY,
        origin(&[on("*.zip", Redirect(302, "https://origin.internal{path}")), on("*", Serve)]),
    ],
);

const SLOW: Scenario = scenario(
    "nginx-timeout",
    "https://proxy.lab",
    "mod.lab/m",
    &[PROXY, origin(&[on("*.zip", Hang(1500)), on("*", Serve)])],
);

const FOLLOWED: Scenario = scenario(
    "nginx-follow",
    "https://proxy.lab",
    "mod.lab/m",
    &[
        PROXY,
        origin(&[on("*.zip", Redirect(302, "https://storage.lab{path}")), on("*", Serve)]),
        Host {
            name: "storage.lab",
            protocol: Protocol::H1,
            rules: &[on("*", Serve)],
            trouble: None,
        },
    ],
);

/// TLS for `proxy.lab`, with this in `location /`.
fn front(location: &str) -> String {
    front_with("", location)
}

/// The same, with this beside it.
fn front_with(beside: &str, location: &str) -> String {
    format!("server {{ listen proxy.lab:443 ssl http2; {beside}\n location / {{ {location} }} }}")
}

/// What the page of a finding has for the server.
fn advised(code: &str) -> Result<String> {
    let kind = CATALOGUE.iter().find(|kind| kind.code == code).context("no such finding")?;
    let (_, server) = kind.page.split_once("## On the server").context("nothing for the server")?;
    let lines: Vec<&str> = server.lines().filter(|line| line.starts_with("    ")).collect();
    Ok(lines.join("\n"))
}

/// A server that builds URLs of its own from what it is told: each file is redirected once.
const APPLICATION: &str = "
    map $http_x_forwarded_proto $public { default http; https https; }
    server {
        listen 127.0.0.1:8080;
        access_log off;
        location /files/ { proxy_pass http://origin.lab; }
        location / { return 302 $public://$host/files$request_uri; }
    }";

/// Runs go against nginx; the trace equals the log. Yields the root's code and message, if any.
fn run(
    scenario: &Scenario,
    servers: &str,
    toolchain: &proxytrace_tests::toolchain::Toolchain,
) -> Result<Option<(String, String)>> {
    let lab = Lab::start(scenario, toolchain)?;
    let nginx = start(&lab, servers, "proxy.lab/443")?;
    let traced = trace(&lab, |_| {})?;
    nginx.stop()?;
    check::equals(&unresolved_aside(traced.trace.clone()), &log(&lab)?)?;
    check::walks(&traced.trace, scenario.goproxy)?;
    check::cached(&traced.trace, scenario)?;
    if traced.trace.command.exit_code == Some(0) {
        check::findings(&traced.trace, scenario, toolchain)?;
        traced.is_healthy(&[])?;
        return Ok(None);
    }
    let root = traced.root(&[])?;
    Ok(Some((root.code.clone(), root.message.clone())))
}

/// No server saw what was asked of a host without an address.
fn unresolved_aside(mut trace: proxytrace::model::Trace) -> proxytrace::model::Trace {
    for attempt in trace.chains.iter_mut().flat_map(|chain| &mut chain.attempts) {
        attempt.requests.retain(|request| request.outcome != Outcome::Dns);
    }
    trace
}

#[test]
fn healthy() {
    with_each_go(&[PROGRAM], |toolchain| {
        let servers = front("proxy_pass http://origin.lab;");
        ensure!(run(&HEALTHY, &servers, toolchain)?.is_none());
        let told = "proxy_pass http://127.0.0.1:8080; proxy_set_header Host $host; \
                    proxy_set_header X-Forwarded-Proto $scheme;";
        ensure!(run(&HEALTHY, &(front(told) + APPLICATION), toolchain)?.is_none());
        Ok(())
    });
}

#[test]
fn a_location_that_is_not_rewritten() {
    with_each_go(&[PROGRAM], |toolchain| {
        let servers = front("proxy_pass http://origin.lab; proxy_redirect off;");
        let root = run(&LEAKY, &servers, toolchain)?;
        let (code, message) = root.context("no root")?;
        ensure!(code == "PT007" && message.contains("origin.internal"), "{code} {message}");
        Ok(())
    });
}

#[test]
fn redirects_are_followed_as_the_page_says() {
    with_each_go(&[PROGRAM], |toolchain| {
        let follow = advised("PT006")?;
        ensure!(follow.contains("@follow"), "{follow}");
        let servers = front_with(&follow, "proxy_pass http://origin.lab;");
        ensure!(run(&FOLLOWED, &servers, toolchain)?.is_none());
        Ok(())
    });
}

#[test]
fn a_server_behind_tls_that_is_not_told() {
    with_each_go(&[PROGRAM], |toolchain| {
        let untold = "proxy_pass http://127.0.0.1:8080; proxy_set_header Host $host;";
        let root = run(&HEALTHY, &(front(untold) + APPLICATION), toolchain)?;
        let (code, message) = root.context("no root")?;
        ensure!(code == "PT004" && message.contains("http://proxy.lab"), "{code} {message}");
        Ok(())
    });
}

#[test]
fn capitals_that_are_decoded_on_the_way() {
    with_each_go(&[PROGRAM], |toolchain| {
        // With a path here, nginx passes on what it has decoded.
        let servers = front("proxy_pass http://origin.lab/;");
        let root = run(&HEALTHY, &servers, toolchain)?;
        let (code, message) = root.context("no root")?;
        ensure!(code == "PT410" && message.contains("404"), "{code} {message}");
        Ok(())
    });
}

#[test]
fn a_time_limit_shorter_than_the_answer() {
    with_each_go(&[PROGRAM], |toolchain| {
        let servers = front("proxy_pass http://origin.lab; proxy_read_timeout 300ms;");
        let root = run(&SLOW, &servers, toolchain)?;
        let (code, message) = root.context("no root")?;
        ensure!(code == "PT409" && message.contains("504"), "{code} {message}");
        Ok(())
    });
}
