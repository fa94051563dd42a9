//! Builds in containers: with an overlay for root, in a control group of their own.

mod docker;
mod runc;

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::MutexGuard;

use proxytrace_tests::check;
use proxytrace_tests::lab::Lab;
use proxytrace_tests::scenario::Scenario;
use proxytrace_tests::toolchain::Toolchain;

use crate::engines::engines;
use crate::running::{self, Agent, Build, RUN, alone};

/// What the containers do.
const SCENARIO: &str = "redirect-404-next";
/// Where these tests have their control groups.
const GROUPS: &str = "proxytrace-tests";
/// Those below: docker's own, and those of a pod of Kubernetes.
const OF_DOCKER: &str = "docker";
const OF_POD: &str = "kubepods/burstable/pod7a3b4c1d-2f5d-4c9e-9e8f-0a1b2c3d4e5f";
const POD: &str = "7a3b4c1d-2f5d-4c9e-9e8f-0a1b2c3d4e5f";
/// Nobody in particular.
const USER: u32 = 1000;

/// What builds in containers run against, alone on this machine.
struct Setting {
    engines: PathBuf,
    scenario: &'static Scenario,
    lab: Lab,
    toolchain: Toolchain,
    _groups: Groups,
    _alone: MutexGuard<'static, ()>,
}

impl Setting {
    /// None, and said aloud, where there is none to be had.
    fn new() -> Option<Self> {
        let (alone, toolchain) = alone()?;
        let engines = engines()?;
        let scenario = Scenario::find(SCENARIO).expect("it is in the table");
        let lab = Lab::start(scenario, &toolchain).unwrap();
        Some(Self { engines, scenario, lab, toolchain, _groups: Groups, _alone: alone })
    }
}

/// A build that has run in a container.
struct Ran<'a> {
    /// The container's id.
    id: &'a str,
    pod: Option<&'a str>,
    /// What its CI job is called.
    name: &'a str,
    /// How many requests the servers had had before.
    from: usize,
    /// Whether it makes the image known, so that something of it may be missing.
    first: bool,
}

impl Ran<'_> {
    /// The agent has seen all of it, or if it is the first, says that it has not.
    fn is_seen(&self, agent: &Agent, setting: &Setting) {
        let Setting { lab, scenario, .. } = setting;
        let is_it = |build: &Build| build.container.as_deref() == Some(self.id);
        agent.until("seen the build", || agent.builds().iter().any(is_it));
        let builds: Vec<Build> = agent.builds().into_iter().filter(is_it).collect();
        assert_eq!(builds.len(), 1);
        let Build { pod, job, trace, .. } = &builds[0];
        assert_eq!(pod.as_deref(), self.pod);
        assert_eq!(job.get(RUN).map(String::as_str), Some(self.name));
        let go = &trace.processes[0];
        assert_eq!(go.exe, "/usr/local/go/bin/go");
        if self.first && !trace.capture.complete {
            assert!(trace.capture.attach.iter().any(|attach| attach.late), "{:?}", trace.capture);
            return;
        }
        assert_eq!(go.config["GOPROXY"].value, scenario.goproxy);
        // Each has a module cache of its own, and asks for everything.
        let log = lab.log().split_off(self.from);
        assert!(!log.is_empty());
        check::equals_as_go_saw_it(trace, &log).unwrap();
        check::walks(trace, scenario.goproxy).unwrap();
    }
}

/// What an image of a toolchain has, as far as `go mod download` needs it, and a module.
fn fill(image: &Path, lab: &Lab, toolchain: &Toolchain) {
    let put = |from: &Path, to: &str| {
        let to = image.join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    };
    for file in ["bin/go", "VERSION", "go.env"] {
        put(&toolchain.goroot.join(file), &format!("usr/local/go/{file}"));
    }
    put(&lab.module_dir().join("go.mod"), "src/go.mod");
    put(&lab.dir().join("ca.pem"), "etc/ca.pem");
    // By which go knows its root.
    fs::create_dir_all(image.join("usr/local/go/pkg/tool")).unwrap();
    for directory in ["proc", "dev", "tmp", "home", "src"] {
        let directory = image.join(directory);
        fs::create_dir_all(&directory).unwrap();
        fs::set_permissions(&directory, Permissions::from_mode(0o777)).unwrap();
    }
    chown(image.join("src/go.mod"), Some(USER), Some(USER)).unwrap();
    // The container's user comes as far as this.
    fs::set_permissions(image, Permissions::from_mode(0o755)).unwrap();
}

/// The environment of a build, as `NAME=VALUE`.
fn environment(lab: &Lab, name: &str) -> Vec<String> {
    let mut go = lab.command("go");
    go.envs(running::job(name)).envs([
        ("PATH", "/usr/local/go/bin"),
        ("HOME", "/home"),
        ("SSL_CERT_FILE", "/etc/ca.pem"),
        ("GOPATH", "/home/go"),
        ("GOMODCACHE", "/home/go/pkg/mod"),
        ("GOCACHE", "/home/cache"),
    ]);
    let all = go.get_envs().filter_map(|(name, value)| Some((text(name), text(value?))));
    all.map(|(name, value)| format!("{name}={value}")).collect()
}

/// Takes away what is left: the groups above those of the containers.
struct Groups;

impl Drop for Groups {
    fn drop(&mut self) {
        let mounted = Path::new("/sys/fs/cgroup");
        // With version 1, each controller has its own.
        let below = fs::read_dir(mounted).into_iter().flatten().flatten().map(|it| it.path());
        for root in below.chain([mounted.to_owned()]) {
            for below in [OF_DOCKER, OF_POD] {
                let group = Path::new(GROUPS).join(below);
                for group in group.ancestors().filter(|it| !it.as_os_str().is_empty()) {
                    // Others may still be in it.
                    let _ = fs::remove_dir(root.join(group));
                }
            }
        }
    }
}

fn text(text: &OsStr) -> String {
    text.to_str().unwrap().to_owned()
}
