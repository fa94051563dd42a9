//! As docker and containerd make them, each with the layers of an image as it keeps them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use proxytrace_tests::lab::{Daemon, Lab};
use proxytrace_tests::toolchain::Toolchain;

use super::{GROUPS, OF_DOCKER, OF_POD, POD, Ran, Setting, USER, environment, fill};
use crate::running::Agent;

/// The daemon, which brings containerd: `$1` is where it keeps all it has.
const DAEMON: &str = r#"
set -e
mount -t tmpfs tmpfs /run
exec dockerd --host "$DOCKER_HOST" --data-root "$1/data" --exec-root "$1/run" --pidfile "$1/pid" \
  --storage-driver overlay2 --exec-opt native.cgroupdriver=cgroupfs \
  --bridge none --iptables=false --ip-forward=false --userland-proxy=false >"$1/log" 2>&1
"#;
/// Where it listens, in the lab's network.
const ADDRESS: &str = "127.0.0.1/2375";
const HOST: &str = "tcp://127.0.0.1:2375";

/// An image of two layers, of which the toolchain is in the lower one: `$1` is what is in that,
/// `$2` is for the rest, `$3` the user.
const IMAGE: &str = r#"
set -e
tar --create --directory "$1" . | docker import - toolchain
mkdir "$2"
printf 'FROM toolchain\nCOPY motd /etc/motd\nUSER %s\nWORKDIR /src\n' "$3" >"$2/Dockerfile"
echo built >"$2/motd"
docker build --tag builder "$2"
docker save builder | ctr --address "$CONTAINERD" image import -
"#;
/// What containerd calls it.
const IMAGE_OF_CONTAINERD: &str = "docker.io/library/builder:latest";
/// What is not in it.
const NSSWITCH: &str = "/etc/nsswitch.conf";

/// A container of one of them.
struct Container {
    by: By,
    name: &'static str,
    group: &'static str,
    pod: Option<&'static str>,
    /// Whether nobody has run the file before: each engine has its own.
    first: bool,
}

#[derive(Clone, Copy)]
enum By {
    Docker,
    /// With an id, as who uses it gives.
    Containerd(&'static str),
}

#[rustfmt::skip]
const CONTAINERS: [Container; 5] = [
    Container { by: By::Docker, name: "docker-1", group: OF_DOCKER, pod: None, first: true },
    Container { by: By::Docker, name: "docker-2", group: OF_DOCKER, pod: None, first: false },
    Container { by: By::Docker, name: "docker-3", group: OF_POD, pod: Some(POD), first: false },
    Container {
        by: By::Containerd("c1a0b7e2a9d4c3b8e6f7a1029384756abcdef0123456789fedcba98765432c1a"),
        name: "containerd-1", group: OF_POD, pod: Some(POD), first: true,
    },
    Container {
        by: By::Containerd("c2a0b7e2a9d4c3b8e6f7a1029384756abcdef0123456789fedcba98765432c2a"),
        name: "containerd-2", group: OF_POD, pod: Some(POD), first: false,
    },
];

#[test]
fn builds_under_docker_and_containerd_say_which() {
    let Some(setting) = Setting::new() else { return };
    let Setting { engines, lab, toolchain, .. } = &setting;
    let engine = Engine::start(lab, engines, toolchain);
    // It knows the toolchains on PATH, and not those in the images.
    let agent = Agent::start(toolchain, &["--sample", "1"]);
    let before = agent.state().health.executables;
    for container in &CONTAINERS {
        let from = lab.log().len();
        let id = &*engine.run(container);
        let Container { name, pod, first, .. } = *container;
        Ran { id, pod, name, from, first }.is_seen(&agent, &setting);
    }
    let health = agent.state().health;
    assert_eq!(health.lost, 0);
    // Each engine has one file for all containers of the image.
    assert_eq!(health.executables, before + 2);
    engine.daemon.stop().unwrap();
}

/// Both engines, in the lab.
struct Engine<'a> {
    lab: &'a Lab,
    daemon: Daemon,
    programs: PathBuf,
    /// Where they keep what they have: overlays cannot be above an overlay, which the root of a
    /// machine may be.
    dir: tempfile::TempDir,
}

impl<'a> Engine<'a> {
    /// Starts them, and has them make an image.
    fn start(lab: &'a Lab, engines: &Path, toolchain: &Toolchain) -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let mut daemon = command(lab, engines, dir.path(), "unshare");
        daemon.args(["--mount", "sh", "-c", DAEMON, "sh"]).arg(dir.path());
        let daemon = lab.spawn(daemon, ADDRESS).unwrap_or_else(|error| {
            panic!("{error:#}: {}", fs::read_to_string(dir.path().join("log")).unwrap_or_default())
        });
        let engine = Self { lab, daemon, programs: engines.to_owned(), dir };
        let image = engine.dir.path().join("image");
        fs::create_dir(&image).unwrap();
        fill(&image, lab, toolchain);
        let mut make = engine.command("sh");
        make.args(["-c", IMAGE, "sh"]).arg(&image).arg(engine.dir.path().join("context"));
        make.arg(format!("{USER}:{USER}"));
        engine.succeeds(make);
        engine
    }

    /// Has one run a build to its end; yields its id.
    fn run(&self, container: &Container) -> String {
        let Container { by, name, group, .. } = container;
        let file = |kind: &str| self.dir.path().join(format!("{name}.{kind}"));
        let (environment_file, id_file) = (file("env"), file("id"));
        fs::write(&environment_file, environment(self.lab, name).join("\n")).unwrap();
        let group = format!("/{GROUPS}/{group}");
        let mount = |more: &str| format!("type=bind,src={NSSWITCH},dst={NSSWITCH},{more}");
        let mut run;
        match by {
            By::Docker => {
                run = self.command("docker");
                run.args(["run", "--rm", "--network", "host", "--cgroup-parent", &group]);
                run.arg("--env-file").arg(&environment_file).arg("--cidfile").arg(&id_file);
                if Path::new(NSSWITCH).exists() {
                    run.args(["--mount", &mount("readonly")]);
                }
                run.arg("builder");
            }
            By::Containerd(id) => {
                run = self.command("ctr");
                run.arg("--address").arg(containerd(self.dir.path()));
                run.args(["run", "--rm", "--net-host", "--cgroup", &format!("{group}/{id}")]);
                run.arg("--env-file").arg(&environment_file);
                // Where both of them see it: the shim is with the daemon.
                run.arg("--fifo-dir").arg(self.dir.path());
                if Path::new(NSSWITCH).exists() {
                    run.args(["--mount", &mount("options=rbind:ro")]);
                }
                run.args([IMAGE_OF_CONTAINERD, id]);
            }
        }
        run.args(["go", "mod", "download"]);
        self.succeeds(run);
        match by {
            By::Docker => fs::read_to_string(&id_file).unwrap(),
            By::Containerd(id) => (*id).to_owned(),
        }
    }

    fn command(&self, program: &str) -> Command {
        command(self.lab, &self.programs, self.dir.path(), program)
    }

    fn succeeds(&self, command: Command) {
        let output = self.lab.output(command).unwrap();
        let log = || fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        assert!(output.status.success(), "{output:?}: {}", log());
    }
}

/// A command that finds the engines' programs and their daemons.
fn command(lab: &Lab, engines: &Path, dir: &Path, program: &str) -> Command {
    let mut command = lab.command(program);
    let path = command.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, path)| path);
    let path = path.expect("it has one").to_owned();
    let programs = ["usr/sbin", "usr/bin"].map(|programs| engines.join(programs));
    let path = programs.into_iter().chain(std::env::split_paths(&path));
    let path = std::env::join_paths(path).unwrap();
    command.env("PATH", path).env("DOCKER_HOST", HOST).env("CONTAINERD", containerd(dir));
    command
}

fn containerd(dir: &Path) -> PathBuf {
    dir.join("run/containerd/containerd.sock")
}
