//! A scenario on the air, and commands that run in it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, Permissions};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{env, ffi::OsStr, io};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::process::{Child, Command as Spawn};
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::log::{Accepted, Entry, Log, Query};
use crate::names::{NAME_SERVER, Names};
use crate::namespace;
use crate::scenario::{Scenario, Sumdb, Trouble};
use crate::server::{Authority, Server};
use crate::sumdb;
use crate::toolchain::Toolchain;

/// How long [`Lab::output`] waits. The servers answer at once, and go has no limit of its own.
const LIMIT: Duration = Duration::from_mins(1);
/// Says otherwise, in seconds: for machines that are emulated.
const LIMIT_VAR: &str = "LAB_LIMIT";
/// Tell proxytrace to do something in another way than the best.
const WAYS: [&str; 2] = ["PROXYTRACE_WIRE", "PROXYTRACE_PERF"];
/// For how long, and at what intervals, [`Lab::spawn`] looks whether a server listens: some start
/// others, on a machine that may be busy.
const LISTEN_LIMIT: Duration = Duration::from_mins(1);
const LISTEN_INTERVAL: Duration = Duration::from_millis(50);

/// The hosts of a scenario, in namespaces of their own, until this is dropped.
pub struct Lab {
    dir: TempDir,
    goroot: PathBuf,
    goproxy: &'static str,
    environment: Vec<(&'static str, String)>,
    gosumdb: String,
    log: Log,
    jobs: Option<mpsc::UnboundedSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread that is in the namespaces is to do.
enum Job {
    /// Run a command to its end.
    Run { command: Spawn, limit: Option<Duration>, result: oneshot::Sender<io::Result<Output>> },
    /// Start a command.
    Spawn { command: Command, result: oneshot::Sender<io::Result<process::Child>> },
}

/// A server of somebody else's in the lab, until this is dropped.
pub struct Daemon(process::Child);

impl Daemon {
    /// Asks it to end, and waits until it has.
    pub fn stop(mut self) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.0.id())?);
        kill(pid, Signal::SIGTERM)?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Neither fails but for a process that has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Lab {
    /// Puts the hosts of `scenario` on the air and writes its main module. Needs root.
    pub fn start(scenario: &Scenario, toolchain: &Toolchain) -> Result<Self> {
        Self::serving(scenario, toolchain, HashMap::new())
    }

    /// The same, but its proxies have these files as well, by the path below their root.
    pub fn serving(
        scenario: &Scenario,
        toolchain: &Toolchain,
        more: HashMap<String, Bytes>,
    ) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("proxytrace-lab-").tempdir()?;
        fs::create_dir(dir.path().join("module"))?;
        fs::create_dir(dir.path().join("caches"))?;
        scenario.modules.write_main_module(&dir.path().join("module"))?;
        // In this mode go neither counts what it does nor starts its telemetry child.
        let telemetry = dir.path().join("home/.config/go/telemetry");
        fs::create_dir_all(&telemetry)?;
        fs::write(telemetry.join("mode"), "off")?;
        for (name, content) in scenario.home {
            let path = dir.path().join("home").join(name);
            fs::write(&path, content)?;
            fs::set_permissions(&path, Permissions::from_mode(0o700))?;
        }

        let log = Log::default();
        let (jobs, queue) = mpsc::unbounded_channel();
        let (started, start) = oneshot::channel();
        let thread = thread::Builder::new().name(format!("lab {}", scenario.name)).spawn({
            let (scenario, path, log) = (*scenario, dir.path().to_owned(), log.clone());
            move || {
                let runtime = runtime::Builder::new_current_thread().enable_all().build();
                let runtime = runtime.expect("a runtime, as there is a reactor and memory");
                runtime.block_on(async {
                    let result = go_on_air(&scenario, &path, more, log).await;
                    let on_air = result.is_ok();
                    // Nobody waits if the caller has gone.
                    let _ = started.send(result);
                    if on_air {
                        work(queue).await;
                    }
                });
            }
        })?;
        start.blocking_recv().context("the lab's thread has died")??;
        let environment = environment(scenario, toolchain, dir.path())?;
        let lab = Self {
            dir,
            goroot: toolchain.goroot.clone(),
            goproxy: scenario.goproxy,
            environment,
            gosumdb: gosumdb(scenario.sumdb),
            log,
            jobs: Some(jobs),
            thread: Some(thread),
        };
        lab.fill_cache(scenario)?;
        if let Some(sums) = sumdb::go_sum(&scenario.modules, scenario.go_sum) {
            fs::write(lab.module_dir().join("go.sum"), sums)?;
        }
        Ok(lab)
    }

    /// Downloads modules before anybody watches: where the checksum database is not asked, from
    /// files, as the servers may be such that nothing can be had from them.
    fn fill_cache(&self, scenario: &Scenario) -> Result<()> {
        let modules = scenario.cached;
        if modules.is_empty() {
            return Ok(());
        }
        let mut command = self.command("go");
        command.args(["mod", "download"]).args(modules);
        if scenario.sumdb == Sumdb::Off {
            let root = self.dir().join("files");
            for (path, content) in scenario.modules.files()? {
                let path = root.join(path);
                fs::create_dir_all(path.parent().context("a directory")?)?;
                fs::write(path, content)?;
            }
            command.env("GOPROXY", format!("file://{}", root.display())).env("GONOPROXY", "none");
        }
        let output = self.output(command)?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the cache cannot be filled: {stderr}");
        for path in scenario.cut {
            let mut command = self.command("sh");
            let half = "truncate -s $(($(stat -c %s \"$0\") / 2)) \"$0\"";
            command.args(["-euc", half]).arg(self.dir().join("caches").join(path));
            let output = self.output(command)?;
            let stderr = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "{path} cannot be cut: {stderr}");
        }
        // go has written what it verified to it.
        let _ = fs::remove_file(self.module_dir().join("go.sum"));
        self.log.clear();
        Ok(())
    }

    /// Where the main module is.
    pub fn module_dir(&self) -> PathBuf {
        self.dir.path().join("module")
    }

    /// A command in the module's directory whose environment is the lab's alone: GOPROXY of the
    /// scenario, trust in the lab's authority, caches of its own, the scenario's checksum database,
    /// the toolchain first in PATH. Of the caller's environment only the rest of PATH, TERM and what
    /// proxytrace is told remain.
    ///
    /// The caches are in memory, so that no time taken here is the disk's, and only commands of the
    /// lab see them.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let dir = |name| self.dir.path().join(name);
        let inherited = env::var_os("PATH").unwrap_or_default();
        let path = [self.goroot.join("bin")].into_iter().chain(env::split_paths(&inherited));
        let mut command = Command::new(program);
        command
            .current_dir(self.module_dir())
            .env_clear()
            .envs(env::var_os("TERM").map(|term| ("TERM", term)))
            .envs(WAYS.iter().filter_map(|name| Some((name, env::var_os(name)?))))
            .env("PATH", env::join_paths(path).expect("paths that came from PATH"))
            .env("HOME", dir("home"))
            .env("SSL_CERT_FILE", dir("ca.pem"))
            .env("GIT_SSL_CAINFO", dir("ca.pem"))
            .env("GOPROXY", self.goproxy)
            .env("GOSUMDB", &self.gosumdb)
            .env("GOFLAGS", "-mod=mod")
            .env("GOENV", "off")
            .env("GOTOOLCHAIN", "local")
            .env("GOPATH", dir("caches/gopath"))
            .env("GOMODCACHE", dir("caches/mod"))
            .env("GOCACHE", dir("caches/build"));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The command of a scenario; `before` are a program and its arguments that are to run it.
    pub fn command_of(&self, scenario: &Scenario, before: &[&OsStr]) -> Command {
        let mut words = before.iter().copied().chain(scenario.command.iter().map(OsStr::new));
        let mut command = self.command(words.next().expect("a scenario has a command"));
        command.args(words);
        command
    }

    /// Runs a command in the lab, with its standard streams as they are, to its end.
    pub fn status(&self, command: Command) -> Result<ExitStatus> {
        Ok(self.run(command, None)?.status)
    }

    /// Runs a command in the lab and collects what it writes. After a minute, or what `LAB_LIMIT`
    /// says, it is killed, and that is an error.
    pub fn output(&self, mut command: Command) -> Result<Output> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let limit = env::var(LIMIT_VAR).ok().and_then(|seconds| seconds.parse().ok());
        self.run(command, Some(limit.map_or(LIMIT, Duration::from_secs)))
    }

    /// Starts a server in the lab, and waits until it listens at `address`, such as
    /// `proxy.lab/443`. Its output goes where ours does.
    pub fn spawn(&self, mut command: Command, address: &str) -> Result<Daemon> {
        command.stdin(Stdio::null());
        let program = command.get_program().to_owned();
        let (result, started) = oneshot::channel();
        let child = self.ask(Job::Spawn { command, result }, started)?;
        let mut daemon =
            Daemon(child.with_context(|| format!("cannot run {}", program.display()))?);
        let begun = Instant::now();
        while begun.elapsed() < LISTEN_LIMIT {
            let mut probe = self.command("bash");
            probe.args(["-c", &format!("exec 3<>/dev/tcp/{address}")]);
            if self.output(probe)?.status.success() {
                return Ok(daemon);
            }
            if let Some(status) = daemon.0.try_wait()? {
                bail!("{} has ended: {status}", program.display());
            }
            thread::sleep(LISTEN_INTERVAL);
        }
        bail!("{} does not listen at {address}", program.display())
    }

    /// The lab's own directory: certificates, and what servers keep there.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What the servers have been asked since the start.
    pub fn log(&self) -> Vec<Entry> {
        self.log.entries()
    }

    /// The connections that the servers have accepted since the start.
    pub fn connections(&self) -> Vec<Accepted> {
        self.log.connections()
    }

    /// What the name server has been asked since the start.
    pub fn queries(&self) -> Vec<Query> {
        self.log.queries()
    }

    fn run(&self, command: Command, limit: Option<Duration>) -> Result<Output> {
        let program = command.get_program().to_owned();
        let (result, end) = oneshot::channel();
        let output = self.ask(Job::Run { command: command.into(), limit, result }, end)?;
        output.with_context(|| format!("cannot run {}", program.display()))
    }
}

impl Lab {
    fn ask<T>(&self, job: Job, answer: oneshot::Receiver<T>) -> Result<T> {
        let jobs = self.jobs.as_ref().context("the lab is closing")?;
        jobs.send(job).ok().context("the lab's thread has died")?;
        answer.blocking_recv().context("the lab's thread has died")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Without a sender the thread ends, and with the thread the namespaces.
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed; here it would only abort.
            let _ = thread.join();
        }
    }
}

fn environment(
    scenario: &Scenario,
    toolchain: &Toolchain,
    dir: &Path,
) -> Result<Vec<(&'static str, String)>> {
    let home = dir.join("home").display().to_string();
    let other = scenario.environment.iter().any(|(_, value)| value.contains("{other"));
    let other = other.then(|| toolchain.other()).transpose()?;
    let value = |value: &str| {
        let value = value.replace("{home}", &home);
        other.iter().fold(value, |value, other| {
            let goroot = other.goroot.display().to_string();
            value.replace("{other}", &goroot).replace("{other_version}", &other.version)
        })
    };
    Ok(scenario.environment.iter().map(|&(name, text)| (name, value(text))).collect())
}

/// Whether somebody said that all takes longer here.
pub(crate) fn is_slow() -> bool {
    env::var_os(LIMIT_VAR).is_some()
}

fn gosumdb(sumdb: Sumdb) -> String {
    match sumdb {
        Sumdb::Off => "off".to_owned(),
        Sumdb::At(url) => format!("{} {url}", sumdb::verifier_key()),
        _ => sumdb::verifier_key(),
    }
}

/// A loopback address of its own for each name.
fn addresses(scenario: &Scenario) -> BTreeMap<&'static str, Ipv4Addr> {
    let names: BTreeSet<_> = scenario.hosts.iter().map(|host| host.name).collect();
    names.into_iter().zip(2..).map(|(name, n)| (name, Ipv4Addr::new(127, 0, 0, n))).collect()
}

/// Moves this thread into namespaces where the names of the scenario exist, and serves them.
async fn go_on_air(
    scenario: &Scenario,
    dir: &Path,
    more: HashMap<String, Bytes>,
    log: Log,
) -> Result<()> {
    let addresses = addresses(scenario);
    // Seconds, until go takes the name server for silent: with many at once even ours takes its time.
    let is_silent =
        scenario.hosts.iter().any(|host| host.trouble == Some(Trouble::NameServerSilent));
    let patience = match (is_slow(), is_silent) {
        (true, _) => 10,
        (false, true) => 1,
        (false, false) => 5,
    };
    let files = [
        ("/etc/hosts", "127.0.0.1 localhost\n".to_owned()),
        // One attempt, and no other names than those that are asked for.
        (
            "/etc/resolv.conf",
            format!("nameserver {NAME_SERVER}\nsearch .\noptions timeout:{patience} attempts:1\n"),
        ),
        ("/etc/nsswitch.conf", "hosts: files dns\n".to_owned()),
    ];
    namespace::enter(dir, &files, &dir.join("caches"))?;
    Names::of(scenario, &addresses, log.clone()).serve().await?;

    let authority = Authority::new()?;
    fs::write(dir.join("ca.pem"), authority.pem())?;
    let names = addresses.keys().copied().map(str::to_owned).collect();
    fs::write(dir.join("identity.pem"), authority.identity_pem(names)?)?;
    let mut files = scenario.modules.files()?;
    files.extend(sumdb::files(&scenario.modules, scenario.sumdb));
    files.extend(more);
    let files = Arc::new(files);
    let addresses = Arc::new(addresses);
    for host in scenario.hosts {
        let (files, log) = (Arc::clone(&files), log.clone());
        Server::start(host, &addresses, &authority, files, log).await?;
    }
    Ok(())
}

/// Spawns commands from this thread, so that they inherit its namespaces.
async fn work(mut queue: mpsc::UnboundedReceiver<Job>) {
    while let Some(job) = queue.recv().await {
        // Nobody waits for a result if the caller has gone.
        match job {
            Job::Run { mut command, limit, result } => {
                let child = command.kill_on_drop(true).spawn();
                tokio::spawn(async move {
                    let _ = result.send(wait(child, limit).await);
                });
            }
            Job::Spawn { mut command, result } => _ = result.send(command.spawn()),
        }
    }
}

async fn wait(child: io::Result<Child>, limit: Option<Duration>) -> io::Result<Output> {
    let output = child?.wait_with_output();
    if let Some(limit) = limit {
        return timeout(limit, output).await?;
    }
    // From the terminal these reach the command as well, which decides what they mean; the lab goes
    // on to the command's end.
    let _kept = (signal(SignalKind::interrupt())?, signal(SignalKind::quit())?);
    output.await
}
