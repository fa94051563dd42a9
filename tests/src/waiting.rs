//! A `go` that waits, in which probes can be counted.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::process::{Child, Command, Stdio};

use anyhow::Result;
use proxytrace::gobinary::{self, Site};
use tempfile::TempDir;

use crate::toolchain::Toolchain;

/// A `go` that waits for an answer until this is dropped.
pub struct Waiting {
    child: Child,
    /// What the `go` executes, and the places there where an agent would put probes.
    file: Vec<u8>,
    sites: Vec<Site>,
    /// Open as long as this lives.
    _silent: (TcpListener, TcpStream),
    _home: TempDir,
}

impl Waiting {
    /// Starts one, with this in its environment.
    pub fn start(
        toolchain: &Toolchain,
        environment: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Result<Self> {
        let go = toolchain.goroot.join("bin/go");
        let file = fs::read(&go)?;
        let sites = gobinary::plan(&file)?.sites;
        let silent = TcpListener::bind("127.0.0.1:0")?;
        let home = tempfile::tempdir()?;
        let child = Command::new(go)
            .args(["list", "-m", "example.com/m@latest"])
            .envs(environment)
            .env("HOME", home.path())
            .env("GOPROXY", format!("http://{}", silent.local_addr()?))
            .env("GOSUMDB", "off")
            .current_dir(home.path())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let (connection, _) = silent.accept()?;
        Ok(Self { child, file, sites, _silent: (silent, connection), _home: home })
    }

    /// How many of the places where the agent would put probes have one in this process.
    pub fn probes(&self) -> Result<usize> {
        let memory = File::open(format!("/proc/{}/mem", self.child.id()))?;
        let mut probes = 0;
        for site in &self.sites {
            let mut byte = [0];
            memory.read_exact_at(&mut byte, site.recipe.address)?;
            probes += usize::from(byte[0] != self.file[usize::try_from(site.offset)?]);
        }
        Ok(probes)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // Neither fails but for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
