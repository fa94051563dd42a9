//! The others: where they come from, and how they are put beside or around a go command.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xtask::process::{cannot_run, run, status, succeeds};
use xtask::{apt, go};

/// Programs, and Debian's packages of them.
const PROGRAMS: [(&str, &str); 3] =
    [("bpftrace", "bpftrace"), ("strace", "strace"), ("tcpdump", "tcpdump")];
/// Of the Python package index: the last for Python 3.10 and 3.11.
const MITMPROXY: &str = "mitmproxy==11.0.2";
/// What mitmproxy needs in a version that is there as source alone.
const SOURCE_ONLY: &str = "--no-binary=pyperclip";
/// How long a companion may take until it is ready.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// Where mitmproxy listens, in the lab's network.
const MITMPROXY_PORT: u16 = 8081;

/// Installs them all; yields the directory of mitmproxy's packages.
pub(crate) fn install() -> Result<PathBuf> {
    for (program, package) in PROGRAMS {
        apt::provide(program, package)?;
    }
    let dir = go::root_dir()?.with_file_name("mitmproxy");
    let works = |dir: &Path| succeeds(python(dir)?.arg("--version")).then_some(());
    if works(&dir).is_none() {
        status("Installing", format_args!("{MITMPROXY} (pip)"));
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(&dir)?;
        run(go::pip()?.arg("--target").arg(&dir).args([SOURCE_ONLY, MITMPROXY]))
            .with_context(|| format!("cannot install mitmproxy in {}", dir.display()))?;
    }
    Ok(dir)
}

/// mitmdump, by the Python that it was installed with.
fn python(dir: &Path) -> Option<Command> {
    let mut command = Command::new(go::with_pip()?);
    command.arg(dir.join("bin/mitmdump")).env("PYTHONPATH", dir);
    Some(command)
}

/// A tool that runs beside the command.
pub(crate) struct Companion(Child);

impl Companion {
    /// Writes what goes over the loopback interface to a file.
    pub(crate) fn tcpdump(dir: &Path) -> Result<Self> {
        let mut command = Command::new("tcpdump");
        command.args(["-i", "lo", "-Z", "root", "-w"]).arg(dir.join("pcap"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| cannot_run(command.get_program()))?;
        let stderr = child.stderr.take().context("stderr is a pipe")?;
        let mut said = String::new();
        let mut lines = BufReader::new(stderr);
        while !said.contains("listening on") {
            ensure!(lines.read_line(&mut said)? != 0, "tcpdump has ended: {said}");
        }
        // It writes to its end.
        thread::spawn(move || lines.read_to_end(&mut Vec::new()));
        Ok(Self(child))
    }

    /// A reverse proxy in front of the lab's first proxy, which writes a HAR; with it, what a go
    /// command's environment must say.
    pub(crate) fn mitmproxy(
        packages: &Path,
        dir: &Path,
    ) -> Result<(Self, [(&'static str, String); 2])> {
        let trusted = std::env::var("SSL_CERT_FILE").context("this runs in the lab alone")?;
        let mut command = python(packages).context("no Python with pip")?;
        command.arg("--quiet");
        command.args(["--mode", &format!("reverse:https://proxy.lab@{MITMPROXY_PORT}")]);
        // OpenSSL takes the lab's certificates for self-signed, as their issuer has the same name.
        command.arg("--ssl-insecure");
        for (name, file) in [("confdir", dir.to_owned()), ("hardump", dir.join("har"))] {
            command.args(["--set", &format!("{name}={}", file.display())]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().with_context(|| cannot_run(command.get_program()))?;
        let mut companion = Self(child);
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", MITMPROXY_PORT)).is_err() {
            if let Some(status) = companion.0.try_wait()? {
                bail!("mitmdump has ended: {status}");
            }
            ensure!(start.elapsed() < READY_LIMIT, "mitmdump does not listen");
            thread::sleep(Duration::from_millis(2));
        }
        // Its own authority beside the lab's, for what is redirected elsewhere.
        let both = dir.join("both.pem");
        if !both.exists() {
            let theirs = fs::read_to_string(dir.join("mitmproxy-ca-cert.pem"))?;
            fs::write(&both, fs::read_to_string(trusted)? + &theirs)?;
        }
        let proxy = format!("https://localhost:{MITMPROXY_PORT}");
        Ok((companion, [("SSL_CERT_FILE", both.display().to_string()), ("GOPROXY", proxy)]))
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(mut self) -> Result<()> {
        kill(Pid::from_raw(self.0.id().try_into()?), Signal::SIGINT)?;
        self.0.wait()?;
        Ok(())
    }
}

/// strace of what goes over sockets, by a filter in the kernel, into a file.
pub(crate) fn strace(dir: &Path, command: &[&str]) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-f", "--seccomp-bpf", "-e", "trace=%network,read,write", "-o"]);
    strace.arg(dir.join("strace")).args(command);
    strace
}

/// bpftrace with an empty action at the entries of these functions.
pub(crate) fn bpftrace(go: &Path, functions: &[String], command: &[&str]) -> Command {
    let probe = |function: &String| format!("uprobe:{}:\"{function}\"", go.display());
    let probes: Vec<String> = functions.iter().map(probe).collect();
    let mut bpftrace = Command::new("bpftrace");
    bpftrace.args(["-e", &format!("{} {{}}", probes.join(","))]);
    bpftrace.args(["-c", &command.join(" ")]).env("BPFTRACE_MAX_PROBES", "4096");
    bpftrace
}

/// Where nothing is written to a disk: a directory in memory, until this is dropped.
pub(crate) struct Memory(tempfile::TempDir);

impl Memory {
    pub(crate) fn new() -> Result<Self> {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        Ok(Self(tempfile::Builder::new().prefix("proxytrace-bench-").tempdir_in(dir)?))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// A file in it that is not there yet.
    pub(crate) fn fresh(&self, name: &str) -> Result<PathBuf> {
        let path = self.path().join(name);
        if path.exists() {
            fs::remove_file(&path)?;
        }
        Ok(path)
    }
}

/// The text of a file that a tool has written.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    let mut text = String::new();
    let file = File::open(path).and_then(|mut file| file.read_to_string(&mut text));
    file.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text)
}
