//! `direct` over ssh: git of go's, ssh of git's, and OpenSSH's own server with git's own program.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use proxytrace::model::{Outcome, Process};
use proxytrace_tests::lab::{Daemon, Lab};
use proxytrace_tests::scenario::Scenario;
use proxytrace_tests::toolchain::Toolchain;

use crate::git::{GIT, MAKE, commands, found_at, vanity, vcs};
use crate::{Traced, scenario, trace, with_each_go};

const SSH: &str = "/usr/bin/ssh";
const SSHD: &str = "/usr/sbin/sshd";

const PRESENT: Scenario =
    scenario("ssh", "direct", "mod.lab/m", &[vanity(&[found_at("ssh://git.lab/m01.git")]), GIT]);

const MISSING: Scenario = scenario(
    "ssh-missing",
    "direct",
    "mod.lab/m",
    &[vanity(&[found_at("ssh://git.lab/other.git")]), GIT],
);

/// A key for the server, one for its user and one for nobody; a directory of sshd's that is Debian's
/// business elsewhere.
const KEYS: &str = "set -e
    for key in host user stranger; do ssh-keygen -q -t ed25519 -N '' -C lab -f $key; done
    cp user.pub authorized";

/// Whatever is asked for is git's, below the lab's directory.
const SERVE: &str = r#"path=${SSH_ORIGINAL_COMMAND#*\'}
exec git upload-pack "DIR/git${path%\'}"
"#;

const SERVER: &str = "
    ListenAddress git.lab
    HostKey DIR/host
    PidFile none
    AuthorizedKeysFile DIR/authorized
    ForceCommand sh DIR/serve.sh
    PermitRootLogin yes
    PasswordAuthentication no
    KbdInteractiveAuthentication no
    StrictModes no
    UsePAM no
    LogLevel VERBOSE";

const CLIENT: &str = "
    IdentityFile DIR/KEY
    IdentitiesOnly yes
    UserKnownHostsFile DIR/known
    StrictHostKeyChecking accept-new
    BatchMode yes";

/// Writes a file, in which `DIR` stands for the lab's directory.
fn write(lab: &Lab, name: &str, text: &str) -> Result<String> {
    let dir = lab.dir().to_str().context("a path that is no text")?;
    let path = lab.dir().join(name);
    fs::write(&path, text.replace("DIR", dir))?;
    Ok(path.to_string_lossy().into_owned())
}

fn start(lab: &Lab) -> Result<Daemon> {
    let mut make = lab.command("sh");
    make.args(["-c", &format!("{KEYS}\n{}", MAKE.trim_start_matches("set -e"))]);
    make.current_dir(lab.dir());
    let output = lab.output(make)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    write(lab, "serve.sh", SERVE)?;
    let configuration = write(lab, "sshd.conf", SERVER)?;
    // It wants an empty directory there, which the system makes where it starts it.
    let run = "mount -t tmpfs none /run && mkdir /run/sshd && exec \"$0\" \"$@\"";
    let mut command = lab.command("unshare");
    command.args(["--mount", "sh", "-c", run, SSHD, "-D", "-f", &configuration, "-E"]);
    command.arg(lab.dir().join("sshd.log"));
    lab.spawn(command, "git.lab/22")
}

/// Runs go in the scenario with a key of its user's.
fn run(lab: &Lab, key: &str) -> Result<Traced> {
    let configuration = write(lab, "ssh.conf", &CLIENT.replace("KEY", key))?;
    trace(lab, |command| {
        command.env("GIT_SSH_COMMAND", format!("{SSH} -F {configuration}"));
    })
}

fn served(scenario: &Scenario, key: &str, toolchain: &Toolchain) -> Result<(Lab, Traced)> {
    let lab = Lab::start(scenario, toolchain)?;
    let sshd = start(&lab)?;
    let traced = run(&lab, key)?;
    sshd.stop()?;
    Ok((lab, traced))
}

/// The ssh of each git, with its arguments and what it ended with.
fn children(traced: &Traced, exit_code: i32) -> Result<Vec<&Process>> {
    let chain = vcs(traced)?;
    let mut all = Vec::new();
    for git in commands(traced, chain) {
        let all_processes = &traced.trace.processes;
        let above = |process: &Process| process.parent.map(|id| &all_processes[id as usize]);
        // git may be a script that becomes git, and run ssh by a shell.
        let of_git = |process: &&Process| {
            let parents = std::iter::successors(Some(*process), |process| above(process));
            process.exe == SSH && parents.into_iter().any(|parent| parent.id == git.id)
        };
        let ssh: Vec<&Process> = all_processes.iter().filter(of_git).collect();
        ensure!(!ssh.is_empty(), "{git:?} ran no ssh: {all_processes:?}");
        all.extend(ssh);
    }
    for ssh in &all {
        let line = ssh.argv.join(" ");
        let told = line.contains("git.lab") && line.contains("git-upload-pack '/");
        ensure!(told && line.starts_with(&format!("{SSH} -F ")), "{ssh:?}");
        ensure!(ssh.exit_code == Some(exit_code), "{ssh:?}");
    }
    Ok(all)
}

/// The connections of the ssh processes are those that sshd saw.
fn connections_are_those_of(lab: &Lab, traced: &Traced, children: &[&Process]) -> Result<()> {
    let log = fs::read_to_string(lab.dir().join("sshd.log"))?;
    let seen: BTreeSet<String> = log
        .lines()
        .filter_map(|line| {
            let mut words = line.strip_prefix("Connection from ")?.split(' ');
            Some(format!("{}:{}", words.next()?, words.nth(1)?))
        })
        .collect();
    let connections = traced.trace.connections.iter();
    let of_ssh: Vec<_> = connections
        .filter(|connection| children.iter().any(|ssh| ssh.id == connection.process))
        .collect();
    for connection in &of_ssh {
        let remote = connection.remote_addr.as_deref();
        ensure!(remote.is_some_and(|remote| remote.ends_with(":22")), "{connection:?}");
    }
    let told: BTreeSet<String> =
        of_ssh.iter().filter_map(|connection| connection.local_addr.clone()).collect();
    // What looked whether sshd listens came first, and asked nothing.
    ensure!(!told.is_empty() && told.is_subset(&seen), "the trace has {told:?}, sshd has {seen:?}");
    let asked: BTreeSet<String> = log
        .lines()
        .filter_map(|line| {
            let (_, from) = line.split_once(" from ").filter(|_| line.starts_with("Starting"))?;
            let mut words = from.split(' ');
            Some(format!("{}:{}", words.next()?, words.nth(1)?))
        })
        .collect();
    ensure!(asked.is_subset(&told), "the trace has {told:?}, sshd served {asked:?}");
    Ok(())
}

/// What git says of a failed ssh comes after what ssh says.
fn said<'a>(traced: &'a Traced, words: &str) -> Result<&'a str> {
    let chain = vcs(traced)?;
    let tails = commands(traced, chain).into_iter().filter_map(|git| git.stderr_tail.as_deref());
    let mut tails = tails.filter(|tail| tail.contains(words));
    tails.next().with_context(|| format!("nobody said {words}: {:#?}", traced.trace.processes))
}

#[test]
fn a_repository() {
    with_each_go(&[SSHD, SSH], |toolchain| {
        let (lab, traced) = served(&PRESENT, "user", toolchain)?;
        traced.is_healthy(&["PT702"])?;
        ensure!(vcs(&traced)?.outcome == Outcome::Ok);
        // It succeeds, and has something to say all the same.
        said(&traced, "Warning: Permanently added 'git.lab'")?;
        connections_are_those_of(&lab, &traced, &children(&traced, 0)?)
    });
}

#[test]
fn a_repository_that_is_not_there() {
    with_each_go(&[SSHD, SSH], |toolchain| {
        let (lab, traced) = served(&MISSING, "user", toolchain)?;
        let root = traced.root(&["PT702"])?;
        ensure!(root.code == "PT704", "{root:?}");
        ensure!(root.message.contains("does not appear to be a git repository"), "{root:?}");
        said(&traced, "fatal: Could not read from remote repository.")?;
        connections_are_those_of(&lab, &traced, &children(&traced, 128)?)
    });
}

#[test]
fn a_key_that_the_server_does_not_know() {
    with_each_go(&[SSHD, SSH], |toolchain| {
        let (lab, traced) = served(&PRESENT, "stranger", toolchain)?;
        let root = traced.root(&["PT702"])?;
        ensure!(root.code == "PT704" && root.message.contains("Permission denied"), "{root:?}");
        connections_are_those_of(&lab, &traced, &children(&traced, 255)?)
    });
}

#[test]
fn a_host_that_refuses_ssh() {
    with_each_go(&[SSH], |toolchain| {
        let lab = Lab::start(&PRESENT, toolchain)?;
        let traced = run(&lab, "none")?;
        let root = traced.root(&["PT702"])?;
        ensure!(root.code == "PT202", "{root:?}");
        said(&traced, "connect to host git.lab port 22: Connection refused")?;
        for ssh in children(&traced, 255)? {
            let connections = &traced.trace.connections;
            let refused = connections.iter().find(|connection| connection.process == ssh.id);
            ensure!(refused.is_some_and(|it| it.errno == Some(111)), "{ssh:?}: {refused:?}");
        }
        Ok(())
    });
}
