//! The Python that readers and engines are installed for.

use std::env;
use std::process::Command;

/// It, to be told what to run: `$PROXYTRACE_PYTHON`, or the first `python3` on the path, which may be
/// another one.
pub fn python() -> Command {
    Command::new(env::var_os("PROXYTRACE_PYTHON").unwrap_or_else(|| "python3".into()))
}
