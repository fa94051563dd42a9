//! The steps for CIs that the README has, checked by readers that others wrote (`readme.py`), and run
//! in the lab as a runner would.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Output;

use proxytrace_tests::cases;
use proxytrace_tests::lab::Lab;
use proxytrace_tests::python::python;
use proxytrace_tests::scenario::Scenario;
use proxytrace_tests::toolchain::Toolchain;
use tempfile::TempDir;

use crate::readers;

/// Its scripts in a directory, and programs that stand for those of a runner: `sudo`, whose own ways
/// are tried elsewhere, as it would not find a program that is not installed; and `sleep`.
struct Runner {
    directory: TempDir,
}

impl Runner {
    fn new() -> Option<Self> {
        let packages = readers::packages()?;
        let directory = TempDir::new().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reports/readme.py");
        let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
        let mut python = python();
        python.arg(script).arg(readme).arg(directory.path()).env("PYTHONPATH", packages);
        let output = python.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let runner = Self { directory };
        fs::create_dir(runner.path("bin")).unwrap();
        symlink(cases::proxytrace(), runner.path("bin/proxytrace")).unwrap();
        let slept = runner.path("slept").display().to_string();
        for (name, text) in
            [("sudo", "exec \"$@\"".to_owned()), ("sleep", format!("echo $1 >> {slept}"))]
        {
            let file = runner.path("bin").join(name);
            fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Some(runner)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs a script in a scenario, in the directory of its module.
    fn run(&self, script: &str, scenario: &str, environment: &[(&str, &str)]) -> (Lab, Output) {
        let lab = Lab::start(Scenario::find(scenario).unwrap(), &Toolchain::newest().unwrap());
        let lab = lab.unwrap();
        // As GitHub's runner and GitLab's start theirs.
        let mut bash = lab.command("bash");
        let path = bash.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, value)| value);
        let path = format!("{}:{}", self.path("bin").display(), path.unwrap().display());
        bash.args(["-e", "-o", "pipefail"]).arg(self.path(script)).env("PATH", path);
        bash.env("CI", "true").envs(environment.iter().copied());
        let output = lab.output(bash).unwrap();
        (lab, output)
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &output.stderr].concat()).into_owned()
}

#[test]
fn the_steps_of_the_readme_do_what_it_says() {
    let Some(runner) = Runner::new() else { return };
    if !cases::can_start() {
        return;
    }
    let summary = runner.path("summary");
    let github = [("GITHUB_ACTIONS", "true"), ("GITHUB_STEP_SUMMARY", summary.to_str().unwrap())];
    let (lab, output) = runner.run("github", "redirect-403", &github);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("\n::error "), "{}", said(&output));
    assert!(fs::read_to_string(&summary).unwrap().contains("PT006"));
    assert!(
        fs::read_to_string(lab.module_dir().join("proxytrace.html")).unwrap().contains("PT006")
    );
    let (_, output) = runner.run("github", "healthy-h1", &github);
    assert!(output.status.success() && !said(&output).contains("\n::"), "{}", said(&output));

    let root = std::env::temp_dir();
    let gitlab = [("GITLAB_CI", "true"), ("CI_PROJECT_DIR", root.to_str().unwrap())];
    let (lab, output) = runner.run("gitlab", "redirect-403", &gitlab);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    for file in ["quality.json", "modules.xml", "proxytrace.html"] {
        assert!(
            fs::read_to_string(lab.module_dir().join(file)).unwrap().contains("PT006"),
            "{file}"
        );
    }

    // As GitLab finds it in the repository.
    let go_mod = lab.module_dir().join("go.mod");
    let path = go_mod.strip_prefix(&root).unwrap().to_str().unwrap();
    let quality = fs::read_to_string(lab.module_dir().join("quality.json")).unwrap();
    assert!(quality.contains(&format!("\"path\":\"{path}\"")), "{quality}");

    // What stays is not tried again, and what may pass is, after a while.
    let slept = || fs::read_to_string(runner.path("slept")).unwrap_or_default();
    let (_, output) = runner.run("retry", "redirect-403", &[]);
    assert_eq!((output.status.code(), &*slept()), (Some(78), ""), "{}", said(&output));
    let (_, output) = runner.run("retry", "bad-gateway-comma", &[]);
    assert_eq!((output.status.code(), &*slept()), (Some(75), "10\n60\n0\n"), "{}", said(&output));
}
