//! Completions and man pages, from the definition of the command line.

use std::path::Path;

use anyhow::Context as _;
use clap_complete::Shell;

use crate::{cli, complain, exit, print};

/// Writes the completions of a shell to stdout.
pub(crate) fn completions(shell: Shell) -> u8 {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut cli::definition(), "proxytrace", &mut text);
    print(&text)
}

/// Writes a man page for each command into a directory.
pub(crate) fn man(directory: &Path) -> u8 {
    let written = std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(cli::definition(), directory))
        .with_context(|| format!("cannot write to {}", directory.display()));
    match written {
        Ok(()) => 0,
        Err(error) => complain(&error, exit::FAILED),
    }
}

#[cfg(test)]
mod tests {
    use clap::Command;
    use clap_complete::Shell;

    use crate::cli;

    /// Every command with its visible options, and the options that all have.
    fn options(command: &Command) -> Vec<String> {
        let own = command.get_arguments().filter(|argument| !argument.is_hide_set());
        own.filter_map(|argument| Some(format!("--{}", argument.get_long()?))).collect()
    }

    #[test]
    fn every_shell_completes_every_command_and_option() {
        for shell in [Shell::Bash, Shell::Elvish, Shell::Fish, Shell::PowerShell, Shell::Zsh] {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut cli::definition(), "proxytrace", &mut text);
            let text = String::from_utf8(text).expect("UTF-8");
            let definition = cli::definition();
            for command in definition.get_subcommands() {
                assert!(text.contains(command.get_name()), "{shell} {}", command.get_name());
                for option in options(command) {
                    // fish writes `-l json` for `--json`.
                    let name = option.trim_start_matches('-');
                    let there = text.contains(&option) || text.contains(&format!("-l {name}"));
                    assert!(there, "{shell} {} {option}", command.get_name());
                }
            }
        }
    }

    #[test]
    fn every_command_has_a_page_with_its_options() {
        let directory = tempfile::tempdir().expect("a directory");
        clap_mangen::generate_to(cli::definition(), directory.path()).expect("pages");
        let page = |name: &str| {
            std::fs::read_to_string(directory.path().join(format!("{name}.1"))).expect("a page")
        };
        let definition = cli::definition();
        let top = page("proxytrace");
        assert!(top.contains("Exit codes"), "{top}");
        for command in definition.get_subcommands().filter(|command| !command.is_hide_set()) {
            let text = page(&format!("proxytrace-{}", command.get_name()));
            for option in options(command) {
                let written = option.replace('-', "\\-");
                assert!(text.contains(&written), "{} {option}", command.get_name());
            }
            assert!(top.contains(&format!("proxytrace\\-{}", command.get_name())));
        }
    }
}
