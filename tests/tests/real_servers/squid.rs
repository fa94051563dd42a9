//! squid as the forward proxy that `HTTPS_PROXY` and `HTTP_PROXY` name.

use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use proxytrace::model::{Cause, Outcome, Request, Witness};
use proxytrace_tests::lab::{Daemon, Lab};
use proxytrace_tests::scenario::Action::Serve;
use proxytrace_tests::scenario::{Host, Protocol, Rule, Scenario};

use crate::{Traced, scenario, trace, with_each_go};

const PROGRAM: &str = "/usr/sbin/squid";

const ALL: &[Rule] = &[Rule { pattern: "*", action: Serve }];
const SQUID: Host =
    Host { name: "squid.lab", protocol: Protocol::Other, rules: &[], trouble: None };

const HTTPS: Scenario = scenario(
    "squid",
    "https://proxy.lab",
    "mod.lab/m",
    &[SQUID, Host { name: "proxy.lab", protocol: Protocol::H2, rules: ALL, trouble: None }],
);

const HTTP: Scenario = scenario(
    "squid-plain",
    "http://proxy.lab",
    "mod.lab/m",
    &[SQUID, Host { name: "proxy.lab", protocol: Protocol::Plain, rules: ALL, trouble: None }],
);

/// One process that keeps nothing. A tunnel is logged at its end.
const COMMON: &str = "
    http_port squid.lab:3128
    visible_hostname squid.lab
    cache_effective_user proxy
    pid_filename DIR/squid.pid
    coredump_dir DIR
    cache deny all
    cache_mem 0 MB
    memory_pools off
    pinger_enable off
    netdb_filename none
    shutdown_lifetime 0 seconds
    logformat lab %>a:%>p %rm %ru %>Hs
    access_log stdio:DIR/squid.log lab
    cache_log DIR/cache.log
    ";

/// Who may pass.
const ANYBODY: &str = "http_access allow all";
const NOT_TO_PROXY: &str = "
    acl proxy dstdomain proxy.lab
    http_access deny proxy
    http_access allow all";
const WITH_PASSWORD: &str = "
    auth_param basic program /bin/sh DIR/password.sh
    auth_param basic children 1
    acl known proxy_auth REQUIRED
    http_access allow known";
/// Answers squid's helper protocol: a line with user and password, a line with the verdict.
const PASSWORD: &str = r#"while read -r line; do
    if [ "$line" = "gopher sesame" ]; then echo OK; else echo ERR; fi
done"#;

fn start(lab: &Lab, access: &str) -> Result<Daemon> {
    // It refuses to stay root.
    fs::set_permissions(lab.dir(), Permissions::from_mode(0o755))?;
    let dir = lab.dir().join("squid");
    fs::create_dir(&dir)?;
    fs::set_permissions(&dir, Permissions::from_mode(0o777))?;
    let configuration = dir.join("squid.conf");
    fs::write(dir.join("password.sh"), PASSWORD)?;
    let dir = dir.to_str().context("a path that is no text")?;
    // A line that begins with a space would go on with the one before.
    let lines =
        COMMON.lines().chain(access.lines()).map(|line| line.trim_start().to_owned() + "\n");
    fs::write(&configuration, lines.collect::<String>().replace("DIR", dir))?;
    let mut command = lab.command(PROGRAM);
    // What it shares in memory is named by this, in 32 characters at most, for the whole machine.
    let name = lab.dir().file_name().unwrap_or_default().to_string_lossy();
    let service: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    command.args(["-N", "-n", &service, "-f"]).arg(configuration);
    lab.spawn(command, "squid.lab/3128")
}

/// A line of squid's log: client, method, URL or `host:port`, status.
#[derive(Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Line {
    client: String,
    method: String,
    url: String,
    status: Option<u16>,
}

fn log(lab: &Lab) -> Result<Vec<Line>> {
    let text = fs::read_to_string(lab.dir().join("squid/squid.log"))?;
    let mut lines = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [client, method, url, status] = *fields else { anyhow::bail!("log: {line}") };
        // The probe of the lab that squid listens.
        if url.starts_with("error:") {
            continue;
        }
        let status = status.parse().ok();
        lines.push(Line { client: client.into(), method: method.into(), url: url.into(), status });
    }
    lines.sort();
    Ok(lines)
}

/// What the trace says that squid was asked.
fn asked<'a>(traced: &'a Traced, of: impl Fn(&&'a Request) -> bool) -> Vec<Line> {
    let local: HashMap<_, _> = traced
        .trace
        .connections
        .iter()
        .map(|connection| (connection.id, connection.local_addr.clone()))
        .collect();
    let mut lines: Vec<_> = traced
        .requests()
        .filter(of)
        .map(|request| Line {
            client: request
                .connection
                .and_then(|id| local.get(&id).cloned().flatten())
                .unwrap_or_default(),
            method: request.method.to_string(),
            url: request.url.clone(),
            status: request.status,
        })
        .collect();
    lines.sort();
    lines
}

/// Runs go through squid.
fn run(
    scenario: &Scenario,
    toolchain: &proxytrace_tests::toolchain::Toolchain,
    access: &str,
    proxy: &str,
) -> Result<Traced> {
    let lab = Lab::start(scenario, toolchain)?;
    let squid = start(&lab, access)?;
    let traced = trace(&lab, |command: &mut Command| {
        command.env("HTTPS_PROXY", proxy).env("HTTP_PROXY", proxy);
    })?;
    squid.stop()?;

    let tunneled = scenario.goproxy.starts_with("https:");
    let tunnels = |request: &&Request| !tunneled || request.cause == Cause::ConnectTunnel;
    let (trace, log) = (asked(&traced, tunnels), log(&lab)?);
    ensure!(trace == log, "the trace has {trace:#?}, squid has {log:#?}");
    // What squid was asked over its plain socket, that socket saw as go did; in a tunnel, nothing.
    for request in traced.requests().filter(|request| request.status.is_some()) {
        let plain = !tunneled || request.cause == Cause::ConnectTunnel;
        let witness = if plain { Witness::Both } else { Witness::Go };
        ensure!(request.witness == witness, "{request:?}");
    }
    let agreed = traced.trace.capture.witnesses.map(|witnesses| witnesses.agreed);
    ensure!(agreed == Some(log.len() as u64), "{agreed:?} of {log:#?}");
    // What went through reached the lab.
    let mut reached: Vec<_> = lab.log().into_iter().map(|e| (e.url, e.status)).collect();
    let mut sent: Vec<_> = traced
        .requests()
        .filter(|request| request.cause != Cause::ConnectTunnel)
        .filter(|request| request.outcome != Outcome::ProxyRefused)
        // The lab refuses nothing.
        .filter(|request| request.status != Some(403))
        .map(|request| (request.url.clone(), request.status))
        .collect();
    reached.sort();
    sent.sort();
    ensure!(sent == reached, "the trace has {sent:#?}, the lab has {reached:#?}");
    for request in traced.requests().filter(|request| request.connection.is_some()) {
        let remote = request.remote_addr.as_deref();
        ensure!(remote.is_some_and(|r| r.ends_with(":3128")), "not squid: {request:?}");
    }
    Ok(traced)
}

#[test]
fn tunnels() {
    with_each_go(&[PROGRAM], |toolchain| {
        let traced = run(&HTTPS, toolchain, ANYBODY, "http://squid.lab:3128")?;
        traced.is_healthy(&["PT212"])?;
        ensure!(traced.requests().any(|request| request.cause == Cause::ConnectTunnel));
        Ok(())
    });
}

#[test]
fn tunnels_with_a_password_that_nobody_is_told() {
    with_each_go(&[PROGRAM], |toolchain| {
        let proxy = "http://gopher:sesame@squid.lab:3128";
        let traced = run(&HTTPS, toolchain, WITH_PASSWORD, proxy)?;
        traced.is_healthy(&["PT212"])?;
        ensure!(!traced.json.contains("sesame"), "the password is in the trace");
        Ok(())
    });
}

#[test]
fn without_credentials() {
    with_each_go(&[PROGRAM], |toolchain| {
        refused(&run(&HTTPS, toolchain, WITH_PASSWORD, "http://squid.lab:3128")?, 407)
    });
}

#[test]
fn to_a_denied_host() {
    with_each_go(&[PROGRAM], |toolchain| {
        refused(&run(&HTTPS, toolchain, NOT_TO_PROXY, "http://squid.lab:3128")?, 403)
    });
}

/// Each request ended at a tunnel that squid refused.
fn refused(traced: &Traced, status: u16) -> Result<()> {
    let root = traced.root(&["PT212"])?;
    ensure!(root.code == "PT211", "{root:#?}");
    ensure!(root.message.contains(&format!("{status} to CONNECT proxy.lab:443")), "{root:#?}");
    for request in traced.requests() {
        ensure!(request.outcome == Outcome::ProxyRefused, "{request:?}");
    }
    for chain in &traced.trace.chains {
        ensure!(chain.outcome == Outcome::ProxyRefused, "{chain:?}");
    }
    Ok(())
}

#[test]
fn plain_http_to_a_denied_host() {
    with_each_go(&[PROGRAM], |toolchain| {
        let traced = run(&HTTP, toolchain, NOT_TO_PROXY, "http://squid.lab:3128")?;
        ensure!(traced.requests().all(|request| request.status == Some(403)), "{:?}", traced.trace);
        Ok(())
    });
}

#[test]
fn plain_http() {
    with_each_go(&[PROGRAM], |toolchain| {
        let traced = run(&HTTP, toolchain, ANYBODY, "http://squid.lab:3128")?;
        traced.is_healthy(&["PT212"])?;
        let traced = run(&HTTP, toolchain, WITH_PASSWORD, "http://squid.lab:3128")?;
        ensure!(traced.root(&["PT212"])?.code == "PT211", "{:#?}", traced.trace.findings);
        Ok(())
    });
}

/// preflight takes the same ways as go: through squid, and around it.
#[test]
fn preflight_goes_through() {
    with_each_go(&[PROGRAM], |toolchain| {
        // It does not run go.
        if toolchain.version != newest() {
            return Ok(());
        }
        let (open, known) = ("http://squid.lab:3128", "http://gopher:sesame@squid.lab:3128");
        for (scenario, access, proxy, around, expected) in [
            (&HTTPS, ANYBODY, open, "", None),
            (&HTTP, ANYBODY, open, "", None),
            (&HTTPS, WITH_PASSWORD, known, "", None),
            (&HTTP, WITH_PASSWORD, known, "", None),
            (&HTTPS, WITH_PASSWORD, open, "", Some("PT211")),
            (&HTTPS, NOT_TO_PROXY, open, "", Some("PT211")),
            (&HTTPS, NOT_TO_PROXY, open, ".proxy.lab,proxy.lab:443", None),
            (&HTTPS, ANYBODY, "http://squid.lab:3129", "", Some("PT211")),
        ] {
            let lab = Lab::start(scenario, toolchain)?;
            let squid = start(&lab, access)?;
            let mut preflight = lab.command(proxytrace_tests::cases::proxytrace());
            preflight.args(["preflight", "--failures", "1", "mod.lab/m01@v1.0.0"]);
            preflight.env("HTTPS_PROXY", proxy).env("HTTP_PROXY", proxy).env("NO_PROXY", around);
            let output = lab.output(preflight)?;
            squid.stop()?;
            let said = String::from_utf8_lossy(&output.stdout);
            let passed = log(&lab)?.iter().any(|line| line.status.is_some_and(|s| s < 400));
            ensure!(output.status.success() == expected.is_none(), "{access} {proxy}: {said}");
            ensure!(expected.is_none_or(|code| said.contains(code)), "{access} {proxy}: {said}");
            ensure!(
                passed == (expected.is_none() && around.is_empty()),
                "{access} {proxy}: {said}"
            );
            ensure!(!said.contains("sesame"), "the password is told: {said}");
        }
        Ok(())
    });
}

fn newest() -> String {
    let versions = proxytrace_tests::toolchain::VERSIONS;
    format!("go{}", versions[versions.len() - 1])
}
