//! Where the report will be read: a terminal, a log of a CI, a file.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use proxytrace::capture;

/// What the environment of whoever called us says; sudo drops most of it from ours.
pub(crate) struct Audience(HashMap<OsString, OsString>);

impl Audience {
    pub(crate) fn find() -> Self {
        Audience(capture::environment_of_caller().into_iter().collect())
    }

    fn value(&self, name: &str) -> Option<&OsString> {
        self.0.get(&OsString::from(name)).filter(|value| !value.is_empty())
    }

    /// Whether colours are welcome: <https://no-color.org>, <https://bixense.com/clicolors>.
    pub(crate) fn welcome_colors(&self, is_terminal: bool) -> bool {
        let forced = self.value("CLICOLOR_FORCE").is_some_and(|value| value != "0");
        self.value("NO_COLOR").is_none() && (forced || (is_terminal && !self.is_dumb()))
    }

    /// Whether the terminal, if there is one, is no more than a printer.
    pub(crate) fn is_dumb(&self) -> bool {
        self.value("TERM").is_none_or(|term| term == "dumb")
    }

    /// Whether nobody watches.
    pub(crate) fn in_ci(&self) -> bool {
        self.value("CI").is_some_and(|value| value != "false")
    }

    /// Whether GitHub Actions reads what we write.
    pub(crate) fn in_github(&self) -> bool {
        self.value("GITHUB_ACTIONS").is_some_and(|value| value == "true")
    }

    /// A file as a CI names it, from the root of the repository: of the one that the CI says it has
    /// checked out, or the nearest above it that git has.
    pub(crate) fn in_repository(&self, file: &Path) -> Option<String> {
        let roots = ["GITHUB_WORKSPACE", "CI_PROJECT_DIR"].into_iter();
        let mut named = roots.filter_map(|name| self.value(name)).map(Path::new);
        let root = named.find(|root| file.starts_with(root));
        let above = || file.ancestors().skip(1).find(|above| above.join(".git").exists());
        let path = file.strip_prefix(root.or_else(above)?).ok()?;
        Some(path.to_str()?.to_owned())
    }

    /// The file from which GitHub Actions gives the environment to later steps.
    pub(crate) fn github_env(&self) -> Option<PathBuf> {
        self.value("GITHUB_ENV").map(PathBuf::from)
    }

    /// The file that GitHub Actions shows beside the job.
    pub(crate) fn github_summary(&self) -> Option<PathBuf> {
        self.value("GITHUB_STEP_SUMMARY").map(PathBuf::from)
    }
}

#[cfg(test)]
mod tests {
    use super::Audience;

    fn of(variables: &[(&str, &str)]) -> Audience {
        Audience(variables.iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    #[test]
    fn colours_where_they_are_welcome() {
        let xterm = ("TERM", "xterm");
        for (variables, terminal, file) in [
            (&[xterm][..], true, false),
            (&[xterm, ("NO_COLOR", "")], true, false),
            (&[xterm, ("NO_COLOR", "1")], false, false),
            (&[xterm, ("CLICOLOR_FORCE", "1")], true, true),
            (&[xterm, ("CLICOLOR_FORCE", "0")], true, false),
            (&[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")], false, false),
            (&[("TERM", "dumb")], false, false),
            (&[], false, false),
        ] {
            let around = of(variables);
            let welcome = (around.welcome_colors(true), around.welcome_colors(false));
            assert_eq!(welcome, (terminal, file), "{variables:?}");
        }
    }

    #[test]
    fn files_are_named_from_the_root_of_the_repository() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("sub/go.mod");
        std::fs::create_dir_all(root.path().join("sub")).unwrap();
        let within = |variables: &[(&str, &str)]| of(variables).in_repository(&file);
        assert_eq!(within(&[]), None);
        let path = root.path().to_str().unwrap();
        assert_eq!(within(&[("CI_PROJECT_DIR", path)]).as_deref(), Some("sub/go.mod"));
        assert_eq!(within(&[("GITHUB_WORKSPACE", "/elsewhere")]), None);
        std::fs::create_dir(root.path().join(".git")).unwrap();
        assert_eq!(within(&[]).as_deref(), Some("sub/go.mod"));
    }

    #[test]
    fn github_says_that_it_is_there() {
        assert!(of(&[("GITHUB_ACTIONS", "true")]).in_github());
        assert!(!of(&[("GITHUB_ACTIONS", "false")]).in_github() && !of(&[("CI", "1")]).in_github());
        let env = |path| of(&[("GITHUB_ENV", path)]).github_env();
        assert_eq!((env("/f"), env("")), (Some("/f".into()), None));
    }
}
