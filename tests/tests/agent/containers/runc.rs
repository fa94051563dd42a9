//! As runc makes them.

use std::fs;
use std::path::Path;
use std::process::Output;

use proxytrace_tests::lab::Lab;
use serde_json::{Value, json};

use super::{GROUPS, OF_DOCKER, OF_POD, POD, Ran, Setting, USER, environment, fill};
use crate::running::Agent;

/// Of a container's id, all but the first two digits.
const ID: &str = "5f0c1b7e2a9d4c3b8e6f7a1029384756abcdef0123456789fedcba98765432";

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
    Place { number: "10", group: OF_DOCKER, pod: None },
    Place { number: "11", group: OF_DOCKER, pod: None },
    Place { number: "12", group: OF_POD, pod: Some(POD) },
];

#[test]
fn builds_in_containers_say_which() {
    let Some(setting) = Setting::new() else { return };
    let Setting { engines, lab, toolchain, .. } = &setting;
    let image = tempfile::tempdir().unwrap();
    fill(image.path(), lab, toolchain);
    let runc = engines.join("usr/sbin/runc");
    // It knows the toolchains on PATH, and not the one in the image.
    let agent = Agent::start(toolchain, &["--sample", "1"]);
    let before = agent.state().health.executables;
    for (index, place) in PLACES.iter().enumerate() {
        let from = lab.log().len();
        let output = place.run(lab, &runc, image.path());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let (id, name, first) = (&*place.id(), &*place.name(), index == 0);
        Ran { id, pod: place.pod, name, from, first }.is_seen(&agent, &setting);
    }
    let health = agent.state().health;
    assert_eq!(health.lost, 0);
    // All three run the image's own file, which stays.
    assert_eq!(health.executables, before + 1);
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
                "env": environment(lab, &self.name()),
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
