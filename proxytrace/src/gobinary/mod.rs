//! What a Go executable tells: version, functions, layouts, and from them a [`Plan`].
#![forbid(unsafe_code)]

use proxytrace_common::plan::{Layout, Recipe, TypeRule};

use crate::event::MissingHook;

/// Who built an executable, read from its build info.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BuildInfo {
    /// `go1.27.3`.
    pub go_version: String,
    /// Import path of the main package: `cmd/go` for the go command.
    pub main_package: String,
}

/// Everything needed to put probes into one executable.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Who built it.
    pub build: BuildInfo,
    /// Offsets that every probe needs.
    pub layout: Layout,
    /// The probed addresses, each proven.
    pub sites: Vec<Site>,
    /// Link-time addresses of the type descriptors that have a rule.
    pub types: Vec<(u64, TypeRule)>,
    /// Names of types; a [`TypeRule::id`] is an index, and the first is empty.
    pub type_names: Vec<String>,
    /// Functions that have probes.
    pub hooks: Vec<String>,
    /// Functions that have none.
    pub missing: Vec<MissingHook>,
    /// The version of the layout table used, when it is not the executable's own (`go1.27`).
    pub nearest: Option<String>,
}

/// One address to probe.
#[derive(Clone, Debug)]
pub struct Site {
    /// The function.
    pub hook: String,
    /// Offset in the file, as the kernel wants it.
    pub offset: u64,
    /// What to read there; `recipe.address` is set, `recipe.executable` is for capture to set.
    pub recipe: Recipe,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {}

/// Reads who built an executable, cheaply. None if it is no Go executable.
pub fn identify(file: &[u8]) -> Result<Option<BuildInfo>, Error> {
    let _ = file;
    Ok(None)
}

/// Reads what is needed to put probes into a `go` command.
pub fn plan(file: &[u8]) -> Result<Plan, Error> {
    let _ = file;
    unimplemented!()
}
