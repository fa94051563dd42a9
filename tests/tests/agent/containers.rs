//! Builds in containers, as runc makes them of an image: with an overlay for root, in a control group
//! of their own.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Output;

use proxytrace_tests::check;
use proxytrace_tests::lab::Lab;
use proxytrace_tests::scenario::Scenario;
use proxytrace_tests::toolchain::Toolchain;
use serde_json::{Value, json};

use crate::engines::engines;
use crate::running::{self, Agent, Build, RUN, alone, can_run};

/// Of a container's id, all but the first two digits.
const ID: &str = "5f0c1b7e2a9d4c3b8e6f7a1029384756abcdef0123456789fedcba98765432";
/// Where these tests have their control groups.
const GROUPS: &str = "proxytrace-tests";
/// Nobody in particular.
const USER: u32 = 1000;

/// An image, a container of it: `$1` is the image, `$2` the bundle, `$3` the id.
const CONTAINER: &str = r#"
set -e
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o "lowerdir=$1,upperdir=/mnt/upper,workdir=/mnt/work" /mnt/root
exec "$RUNC" --root /mnt/state run --bundle "$2" "$3"
"#;

/// Where a container is in the tree of control groups.
struct Place {
    number: &'static str,
    /// The path below [`GROUPS`], without its id.
    group: &'static str,
    pod: Option<&'static str>,
}

const PLACES: [Place; 3] = [
    Place { number: "10", group: "docker", pod: None },
    Place { number: "11", group: "docker", pod: None },
    Place {
        number: "12",
        group: "kubepods/burstable/pod7a3b4c1d-2f5d-4c9e-9e8f-0a1b2c3d4e5f",
        pod: Some("7a3b4c1d-2f5d-4c9e-9e8f-0a1b2c3d4e5f"),
    },
];

#[test]
fn builds_in_containers_say_which() {
    if !can_run() {
        return;
    }
    let Some(engines) = engines() else { return };
    let _alone = alone();
    let toolchain = Toolchain::newest().unwrap();
    let scenario = Scenario::find("redirect-404-next").expect("it is in the table");
    let lab = Lab::start(scenario, &toolchain).unwrap();
    let image = tempfile::tempdir().unwrap();
    fill(image.path(), &lab, &toolchain);
    let runc = engines.join("usr/sbin/runc");
    let _groups = Groups;
    // It knows the toolchains on PATH, and not the one in the image.
    let agent = Agent::start(&toolchain, &["--sample", "1"]);
    let before = agent.state().health.executables;
    for place in &PLACES {
        let from = lab.log().len();
        let output = place.run(&lab, &runc, image.path());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let is_it = |build: &Build| build.container.as_deref() == Some(&*place.id());
        agent.until("seen the build", || agent.builds().iter().any(is_it));
        let builds: Vec<Build> = agent.builds().into_iter().filter(is_it).collect();
        assert_eq!(builds.len(), 1);
        let Build { pod, job, trace, .. } = &builds[0];
        assert_eq!(pod.as_deref(), place.pod);
        assert_eq!(job.get(RUN), Some(&place.name()));
        let go = &trace.processes[0];
        assert_eq!(go.exe, "/usr/local/go/bin/go");
        // The first one makes the image known: something of it may be missing, which is said.
        if place.number == PLACES[0].number && !trace.capture.complete {
            assert!(trace.capture.attach.iter().any(|attach| attach.late), "{:?}", trace.capture);
            continue;
        }
        assert_eq!(go.config["GOPROXY"].value, scenario.goproxy);
        // Each has a module cache of its own, and asks for everything.
        let log = lab.log().split_off(from);
        assert!(!log.is_empty());
        check::equals_as_go_saw_it(trace, &log).unwrap();
        check::walks(trace, scenario.goproxy).unwrap();
    }
    let health = agent.state().health;
    assert_eq!(health.lost, 0);
    // All three run the image's own file, which stays.
    assert_eq!(health.executables, before + 1);
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

impl Place {
    fn id(&self) -> String {
        format!("{}{ID}", self.number)
    }

    fn name(&self) -> String {
        format!("container-{}", self.number)
    }

    /// Runs `go mod download` in a new container of an image.
    fn run(&self, lab: &Lab, runc: &Path, image: &Path) -> Output {
        let mut environment: BTreeMap<String, String> = lab
            .command("go")
            .get_envs()
            .filter_map(|(name, value)| Some((text(name), text(value?))))
            .chain(running::job(&self.name()).map(|(name, value)| (name.to_owned(), value)))
            .collect();
        for (name, value) in [
            ("PATH", "/usr/local/go/bin"),
            ("HOME", "/home"),
            ("SSL_CERT_FILE", "/etc/ca.pem"),
            ("GOPATH", "/home/go"),
            ("GOMODCACHE", "/home/go/pkg/mod"),
            ("GOCACHE", "/home/cache"),
        ] {
            environment.insert(name.to_owned(), value.to_owned());
        }
        let environment: Vec<String> =
            environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
        // As the lab has them.
        let files = ["/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf"];
        let files = files.into_iter().filter(|file| Path::new(file).exists());
        let mut mounts: Vec<Value> = files
            .map(|file| {
                let options = ["bind", "ro"];
                json!({ "destination": file, "source": file, "type": "bind", "options": options })
            })
            .collect();
        mounts.push(json!({ "destination": "/proc", "type": "proc", "source": "proc" }));
        mounts.push(json!({ "destination": "/dev", "type": "tmpfs", "source": "tmpfs" }));
        // The network is the lab's.
        let namespaces = ["pid", "mount", "ipc", "uts"].map(|kind| json!({ "type": kind }));
        let config = json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": { "uid": USER, "gid": USER },
                "args": ["go", "mod", "download"],
                "env": environment,
                "cwd": "/src",
                "noNewPrivileges": true,
            },
            "root": { "path": "/mnt/root" },
            "hostname": "builder",
            "mounts": mounts,
            "linux": {
                "cgroupsPath": format!("/{GROUPS}/{}/{}", self.group, self.id()),
                "namespaces": namespaces,
            },
        });
        let bundle = tempfile::tempdir().unwrap();
        fs::write(bundle.path().join("config.json"), config.to_string()).unwrap();
        let mut command = lab.command("unshare");
        command.args(["--mount", "sh", "-c", CONTAINER, "sh"]).args([image, bundle.path()]);
        command.arg(self.id()).env("RUNC", runc);
        lab.output(command).unwrap()
    }
}

/// Takes away what runc leaves: the groups above those of its containers.
struct Groups;

impl Drop for Groups {
    fn drop(&mut self) {
        let mounted = Path::new("/sys/fs/cgroup");
        // With version 1, each controller has its own.
        let below = fs::read_dir(mounted).into_iter().flatten().flatten().map(|it| it.path());
        for root in below.chain([mounted.to_owned()]) {
            for place in &PLACES {
                let group = Path::new(GROUPS).join(place.group);
                for group in group.ancestors().filter(|it| !it.as_os_str().is_empty()) {
                    // The other places may still be in it.
                    let _ = fs::remove_dir(root.join(group));
                }
            }
        }
    }
}

fn text(text: &OsStr) -> String {
    text.to_str().unwrap().to_owned()
}
