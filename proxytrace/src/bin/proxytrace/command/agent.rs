//! `proxytrace agent`.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use proxytrace::agent;
use proxytrace::agent::options::{Options, STATE};
use proxytrace::agent::state::State;

use crate::{complain, exit, exit_code_of};

/// Sample every go process of this host for monitoring.
///
/// Watches a share of all builds (a go command and all that it starts), in containers too, until it
/// is told to end. Nobody is held up by it.
#[derive(Args, Debug)]
#[command(
    override_usage = "proxytrace agent [OPTIONS]\n       proxytrace agent status [--state FILE]",
    args_conflicts_with_subcommands = true
)]
pub(crate) struct Agent {
    #[command(subcommand)]
    ask: Option<Ask>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Subcommand)]
enum Ask {
    /// How the agent of this host does.
    ///
    /// Exits with 1 if it does not run.
    #[command(override_usage = "proxytrace agent status [--state FILE]")]
    Status {
        /// What the agent was told to write.
        #[arg(long, value_name = "FILE", default_value = STATE)]
        state: PathBuf,
    },
}

/// Runs the agent, or asks it.
pub(crate) fn run(agent: &Agent) -> u8 {
    match &agent.ask {
        Some(Ask::Status { state }) => status(state),
        None => match agent.options.settings() {
            Ok(settings) => match agent::run(&agent.options, settings) {
                Ok(()) => 0,
                Err(error) => complain(&error, exit_code_of(&error)),
            },
            Err(error) => complain(&error, exit::USAGE),
        },
    }
}

fn status(path: &Path) -> u8 {
    let state = State::read(path).with_context(|| {
        format!(
            "no agent has written {}: it was never started, or with another --state",
            path.display()
        )
    });
    match state {
        Ok(state) => {
            let (now, lives) =
                (Timestamp::now(), Path::new("/proc").join(state.pid.to_string()).exists());
            // A reader that has seen enough is no failure.
            let _ = io::stdout().write_all(state.render(now, lives).as_bytes());
            if state.is_running(now, lives) { 0 } else { exit::FAILED }
        }
        Err(error) => complain(&error, exit::FAILED),
    }
}
