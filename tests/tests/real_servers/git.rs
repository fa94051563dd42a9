//! `direct`: modules in git repositories that git's own server program serves, through nginx.

use std::collections::{BTreeSet, HashSet};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use proxytrace::model::{Artifact, Chain, Outcome, Process, Request, Witness};
use proxytrace_tests::lab::{Daemon, Lab};
use proxytrace_tests::scenario::Action::GoImportGit;
use proxytrace_tests::scenario::{Host, Protocol, Rule, Scenario};
use proxytrace_tests::toolchain::Toolchain;

use crate::{Traced, nginx, scenario, trace, trace_command, with_each_go};

const FCGIWRAP: &str = "/usr/sbin/fcgiwrap";

pub(crate) const fn vanity(rules: &'static [Rule]) -> Host {
    Host { name: "mod.lab", protocol: Protocol::H2, rules, trouble: None }
}

pub(crate) const fn found_at(repository: &'static str) -> Rule {
    Rule { pattern: "*?go-get=1", action: GoImportGit(repository) }
}

/// A host where nothing listens, unless a test starts something there.
pub(crate) const GIT: Host =
    Host { name: "git.lab", protocol: Protocol::Other, rules: &[], trouble: None };

const PRESENT: Scenario =
    scenario("git", "direct", "mod.lab/m", &[vanity(&[found_at("https://git.lab/m01.git")]), GIT]);

const MISSING: Scenario = scenario(
    "git-missing",
    "direct",
    "mod.lab/m",
    &[vanity(&[found_at("https://git.lab/other.git")]), GIT],
);

/// Makes `git/m01.git` in the lab's directory, with the tag `v1.0.0`.
pub(crate) const MAKE: &str = "set -e
    mkdir -p git work && cd work
    git init --quiet
    printf 'module mod.lab/m01\\n\\ngo 1.21\\n' >go.mod
    echo 'package lab' >lab.go
    git add .
    git -c user.name=lab -c user.email=lab@mod.lab commit --quiet --message lab
    git tag v1.0.0
    git clone --quiet --bare . ../git/m01.git";

/// The same without TLS.
const PLAIN: Scenario = scenario(
    "git-plain",
    "direct",
    "mod.lab/m",
    &[vanity(&[found_at("http://git.lab/m01.git")]), GIT],
);

const PLAIN_MISSING: Scenario = scenario(
    "git-plain-missing",
    "direct",
    "mod.lab/m",
    &[vanity(&[found_at("http://git.lab/other.git")]), GIT],
);

const SERVER: &str = "
    server {
        listen git.lab:443 ssl http2;
        listen git.lab:80;
        location / {
            fastcgi_pass 127.0.0.1:9000;
            fastcgi_param SCRIPT_FILENAME CORE/git-http-backend;
            fastcgi_param GIT_PROJECT_ROOT DIR/git;
            fastcgi_param GIT_HTTP_EXPORT_ALL 1;
            fastcgi_param PATH_INFO $uri;
            fastcgi_param QUERY_STRING $query_string;
            fastcgi_param REQUEST_METHOD $request_method;
            fastcgi_param CONTENT_TYPE $content_type;
            fastcgi_param CONTENT_LENGTH $content_length;
            fastcgi_param SERVER_PROTOCOL $server_protocol;
        }
    }";

fn start(lab: &Lab) -> Result<(Daemon, Daemon)> {
    let mut make = lab.command("sh");
    make.args(["-c", MAKE]).current_dir(lab.dir());
    let output = lab.output(make)?;
    ensure!(output.status.success(), "git: {}", String::from_utf8_lossy(&output.stderr));
    let core = lab.output({
        let mut core = lab.command("git");
        core.arg("--exec-path");
        core
    })?;
    let core = String::from_utf8(core.stdout)?;
    let mut wrap = lab.command(FCGIWRAP);
    wrap.args(["-s", "tcp:127.0.0.1:9000"]);
    let wrap = lab.spawn(wrap, "127.0.0.1/9000")?;
    let nginx = nginx::start(lab, &SERVER.replace("CORE", core.trim()), "git.lab/443")?;
    Ok((wrap, nginx))
}

/// Runs go in the scenario, with the repository on the air.
fn served(scenario: &Scenario, toolchain: &Toolchain) -> Result<(Lab, Traced)> {
    served_to(&["go", "mod", "download"], scenario, toolchain)
}

/// The same for another command.
fn served_to(
    command: &[&str],
    scenario: &Scenario,
    toolchain: &Toolchain,
) -> Result<(Lab, Traced)> {
    let lab = Lab::start(scenario, toolchain)?;
    let (wrap, nginx) = start(&lab)?;
    let traced = trace_command(&lab, command, |_| {})?;
    nginx.stop()?;
    wrap.stop()?;
    Ok((lab, traced))
}

pub(crate) fn vcs(traced: &Traced) -> Result<&Chain> {
    let of = |chain: &&Chain| chain.artifact == Artifact::Vcs;
    let chain = traced
        .trace
        .chains
        .iter()
        .find(of)
        .with_context(|| format!("no chain of what git fetched: {:?}", traced.trace))?;
    ensure!(chain.module.as_deref() == Some("mod.lab/m01"), "{chain:?}");
    ensure!(!chain.commands.is_empty(), "no command: {chain:?}");
    Ok(chain)
}

pub(crate) fn commands<'a>(traced: &'a Traced, chain: &Chain) -> Vec<&'a Process> {
    let of = |process: &&Process| chain.commands.contains(&process.id);
    traced.trace.processes.iter().filter(of).collect()
}

/// The connections to the repository, made by go and by git's children, are those that nginx saw.
fn connections_are_those_of(lab: &Lab, traced: &Traced) -> Result<()> {
    let seen: BTreeSet<String> =
        nginx::log(lab)?.into_iter().map(|entry| entry.peer.to_string()).collect();
    let helpers: HashSet<_> = traced
        .trace
        .processes
        .iter()
        .filter(|process| process.argv.first().is_some_and(|name| name.ends_with("remote-https")))
        .map(|process| process.id)
        .collect();
    ensure!(!helpers.is_empty(), "no git-remote-https: {:#?}", traced.trace.processes);
    let by_go: BTreeSet<u32> = vcs(traced)?
        .attempts
        .iter()
        .flat_map(|a| &a.requests)
        .filter_map(|r| r.connection)
        .collect();
    let told: BTreeSet<String> = traced
        .trace
        .connections
        .iter()
        .filter(|connection| {
            helpers.contains(&connection.process) || by_go.contains(&connection.id)
        })
        .filter_map(|connection| connection.local_addr.clone())
        .collect();
    ensure!(told == seen, "the trace has {told:?}, nginx has {seen:?}");
    Ok(())
}

#[test]
fn a_repository() {
    with_each_go(&[nginx::PROGRAM, FCGIWRAP], |toolchain| {
        let (lab, traced) = served(&PRESENT, toolchain)?;
        traced.is_healthy(&["PT702"])?;
        let chain = vcs(&traced)?;
        ensure!(chain.outcome == Outcome::Ok, "{chain:?}");
        for command in commands(&traced, chain) {
            ensure!(command.argv[0] == "git" && command.exit_code == Some(0), "{command:?}");
        }
        connections_are_those_of(&lab, &traced)
    });
}

#[test]
fn a_repository_that_is_not_there() {
    with_each_go(&[nginx::PROGRAM, FCGIWRAP], |toolchain| {
        let (lab, traced) = served(&MISSING, toolchain)?;
        let chain = vcs(&traced)?;
        let commands = commands(&traced, chain);
        ensure!(commands.iter().all(|git| git.exit_code == Some(128)), "{commands:?}");
        for git in commands {
            let said = git.stderr_tail.as_deref().unwrap_or_default();
            ensure!(
                said.contains("fatal: repository 'https://git.lab/other.git/' not found"),
                "{git:?}"
            );
        }
        // Where go asks the server itself, its answer tells more than git's exit code.
        let asked = chain.attempts.iter().any(|attempt| !attempt.requests.is_empty());
        let (outcome, code) =
            if asked { (Outcome::NotFound, "PT410") } else { (Outcome::Unknown, "PT704") };
        ensure!(chain.outcome == outcome, "{chain:?}");
        ensure!(traced.root(&["PT702"])?.code == code, "{:?}", traced.trace.findings);
        connections_are_those_of(&lab, &traced)
    });
}

#[test]
fn a_version_that_is_not_there() {
    with_each_go(&[nginx::PROGRAM, FCGIWRAP], |toolchain| {
        let other = ["go", "list", "-m", "mod.lab/m01@v9.9.9"];
        let (_lab, traced) = served_to(&other, &PRESENT, toolchain)?;
        let chain = vcs(&traced)?;
        let commands = commands(&traced, chain);
        ensure!(commands.iter().all(|git| git.exit_code == Some(0)), "{commands:?}");
        ensure!(traced.root(&["PT702"])?.code == "PT410", "{:?}", traced.trace.findings);
        Ok(())
    });
}

/// go needs to be told that it may; what git then asks is what nginx saw, in the chain of go's for
/// which it did.
#[test]
fn without_tls() {
    with_each_go(&[nginx::PROGRAM, FCGIWRAP], |toolchain| {
        for (scenario, outcome) in [(&PLAIN, Outcome::Ok), (&PLAIN_MISSING, Outcome::NotFound)] {
            let lab = Lab::start(scenario, toolchain)?;
            let (wrap, nginx) = start(&lab)?;
            let traced = trace(&lab, |command| {
                command.env("GOINSECURE", "mod.lab,git.lab");
            })?;
            nginx.stop()?;
            wrap.stop()?;
            let chain = vcs(&traced)?;
            ensure!(chain.outcome == outcome, "{chain:#?}");
            match outcome {
                Outcome::Ok => traced.is_healthy(&["PT702"])?,
                _ => ensure!(
                    traced.root(&["PT702"])?.code == "PT410",
                    "{:#?}",
                    traced.trace.findings
                ),
            }
            let of_git = asked(&traced, |request| request.witness == Witness::Wire);
            ensure!(!of_git.is_empty(), "nothing of git: {chain:#?}");
            let at_git = asked(&traced, |request| request.host == "git.lab");
            let seen = nginx::log(&lab)?;
            let seen = seen.into_iter().map(|e| (e.method, e.url, e.status, e.peer.to_string()));
            let mut seen: Vec<_> = seen.collect();
            seen.sort();
            ensure!(at_git == seen, "the trace has {at_git:#?}, nginx has {seen:#?}");
            let in_chain = chain.attempts.iter().flat_map(|attempt| &attempt.requests);
            let in_chain = in_chain.filter(|request| request.witness == Witness::Wire).count();
            ensure!(in_chain == of_git.len(), "in another chain: {:#?}", traced.trace.chains);
        }
        Ok(())
    });
}

/// Method, URL, status and this end of the connection of some requests.
fn asked(
    traced: &Traced,
    of: impl Fn(&Request) -> bool,
) -> Vec<(String, String, Option<u16>, String)> {
    let requests = traced.requests().filter(|request| of(request));
    let mut asked: Vec<_> = requests
        .map(|request| {
            let connection = request.connection.map(|id| &traced.trace.connections[id as usize]);
            let local = connection.and_then(|connection| connection.local_addr.clone());
            let (method, url) = (request.method.to_string(), request.url.clone());
            (method, url, request.status, local.unwrap_or_default())
        })
        .collect();
    asked.sort();
    asked
}

#[test]
fn a_host_that_refuses_git() {
    with_each_go(&[], |toolchain| {
        let lab = Lab::start(&PRESENT, toolchain)?;
        let traced = trace(&lab, |_: &mut Command| {})?;
        let chain = vcs(&traced)?;
        ensure!(chain.outcome == Outcome::ConnectRefused, "{chain:?}");
        for git in commands(&traced, chain) {
            let said = git.stderr_tail.as_deref().unwrap_or_default();
            ensure!(said.contains("fatal: unable to access 'https://git.lab/m01.git/'"), "{git:?}");
        }
        ensure!(traced.root(&["PT702"])?.code == "PT202", "{:?}", traced.trace.findings);
        Ok(())
    });
}
