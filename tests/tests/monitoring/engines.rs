//! Where the engines are, and how they are started and ended.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use proxytrace_tests::cases::skip;
use serde_json::Value;

/// No engine takes longer for anything, however busy the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Where they are installed; skips aloud if they are not.
pub(crate) fn engines() -> Option<PathBuf> {
    let named = env::var_os("PROXYTRACE_ENGINES_DIR").map(PathBuf::from);
    let found = named.or_else(|| Some(env::home_dir()?.join(".cache/proxytrace/engines")));
    let found = found.filter(|directory| directory.join("usr/bin/promtool").is_file());
    if found.is_none() {
        skip("no engines: `cargo xtask test` installs them");
    }
    found
}

/// What is kept beside the crate for those who run the engines.
pub(crate) fn monitoring() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../proxytrace/monitoring")
}

/// A process that ends with the test, however that ends.
pub(crate) struct Engine(pub(crate) Child);

impl Engine {
    pub(crate) fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null());
        Engine(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// Starts one that says its port in its first line.
    pub(crate) fn start_on_port(command: &mut Command) -> (Self, u16) {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (Engine(child), line.trim().parse().unwrap())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that is free now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Asks again and again until there is an answer.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// curl's answer; none where it failed.
pub(crate) fn curl(arguments: &[&str]) -> Option<String> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "20", "--noproxy", "*"]);
    let output = curl.args(arguments).output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// The same as JSON.
pub(crate) fn curl_json(arguments: &[&str]) -> Option<Value> {
    serde_json::from_str(&curl(arguments)?).ok()
}
