//! Where the Go toolchains are that the lab runs.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result, bail};
pub use xtask::go::VERSIONS;

/// Those of them that the tests run as position-independent executables too.
pub const POSITION_INDEPENDENT: [&str; 1] = ["1.27.3-pie"];

/// A Go installation.
#[derive(Clone, Debug)]
pub struct Toolchain {
    /// `go1.27.3`.
    pub version: String,
    /// Its root, with `bin/go` below.
    pub goroot: PathBuf,
}

impl Toolchain {
    /// The one in `dir`: a GOROOT, or a directory with a GOROOT named `go` in it.
    pub fn at(dir: &Path) -> Result<Self> {
        let roots = [dir.to_owned(), dir.join("go")];
        let Some(goroot) = roots.into_iter().find(|root| root.join("VERSION").is_file()) else {
            bail!("no Go toolchain in {}", dir.display());
        };
        // Of more than a line since Go 1.21.
        let stamp = fs::read_to_string(goroot.join("VERSION"))?;
        let version = stamp.lines().next().context("empty file VERSION")?.trim().to_owned();
        let goroot = goroot.canonicalize()?;
        Ok(Self { version, goroot })
    }

    /// The one of a release such as `1.27.3`, in `$PROXYTRACE_GO_ROOT_DIR/1.27.3` or, without that
    /// variable, in `~/.cache/proxytrace/go/1.27.3`.
    pub fn find(release: &str) -> Result<Self> {
        let dir = match env::var_os("PROXYTRACE_GO_ROOT_DIR") {
            Some(dir) => PathBuf::from(dir),
            None => env::home_dir().context("no home directory")?.join(".cache/proxytrace/go"),
        };
        Self::at(&dir.join(release))
    }

    /// The newest of [`VERSIONS`] that is there.
    pub fn newest() -> Result<Self> {
        VERSIONS
            .iter()
            .rev()
            .find_map(|release| Self::find(release).ok())
            .context("no Go toolchain found: name one with --go DIR")
    }

    /// One of [`VERSIONS`] that is there and is another release than this one, the newest.
    pub fn other(&self) -> Result<Self> {
        let mut others = VERSIONS.iter().rev().filter_map(|release| Self::find(release).ok());
        others.find(|other| other.minor() != self.minor()).context("no other Go toolchain found")
    }

    /// Its minor release: 27 of `go1.27.3`.
    pub fn minor(&self) -> u16 {
        let minor = self.version.trim_start_matches("go1.").split('.').next();
        minor.and_then(|minor| minor.parse().ok()).unwrap_or(0)
    }

    /// Whether it sends every https request that ended 4xx a second time (GOAUTH, since Go 1.24:
    /// `fetch` in `cmd/go/internal/web/http.go`).
    pub fn resends(&self) -> bool {
        self.minor() >= 24
    }
}
