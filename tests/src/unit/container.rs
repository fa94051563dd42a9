//! Builds in real containers, in the control groups that podman and a kubelet have systemd make.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::rows::{Ran, job};
use super::systemd::until;
use crate::lab::Lab;
use crate::scenario::Scenario;
use crate::toolchain::Toolchain;

/// The uid of a pod.
const POD: &str = "2f5d1c9e-7a3b-4c1d-9e8f-0a1b2c3d4e5f";

/// A container.
struct Container {
    /// Who has one like it.
    name: &'static str,
    id: &'static str,
    /// Its group, for those that systemd makes: `SLICE:PREFIX:NAME`, for `SLICE/PREFIX-NAME.scope`.
    group: &'static str,
    pod: &'static str,
}

const CONTAINERS: [Container; 2] = [
    Container {
        name: "podman",
        id: "2b4a1f3ee5d0c6b7a8990f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a",
        group: "machine.slice:libpod:",
        pod: "",
    },
    Container {
        name: "kubelet",
        id: "9c4a1f3ee5d0c6b7a8990f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5b",
        group: "kubepods-burstable-pod2f5d1c9e_7a3b_4c1d_9e8f_0a1b2c3d4e5f.slice:cri-containerd:",
        pod: POD,
    },
];

/// Its program, which outlives the build: who is above it tells of its configuration.
const SCRIPT: &str = "/go/bin/go mod download; code=$?; busybox sleep 3; exit $code";
/// The shell, as it is outside.
const SHELL: &str = "/usr/local/bin/busybox";
/// What is not as outside of the lab.
const LAB_FILES: [&str; 3] = ["/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf"];
/// Its namespaces; the network is the lab's.
const NAMESPACES: [&str; 5] = ["pid", "mount", "ipc", "uts", "cgroup"];

/// Has builds run in each, with a `go` that nobody else has.
pub(super) fn check(toolchain: &Toolchain) -> Result<()> {
    for container in &CONTAINERS {
        let bundle = tempfile::tempdir()?;
        fill(&bundle.path().join("rootfs"), toolchain)?;
        let known = super::state()?.health.executables;
        // The beginning of the first is over before its `go` is known.
        container.build("met", bundle.path(), toolchain)?;
        until("known the go of a container", || {
            Ok((super::state()?.health.executables > known).then_some(()))
        })?;
        let ran = container.build("known", bundle.path(), toolchain)?;
        let build = ran.is_seen(toolchain)?.build;
        let place = (&*build.container, &*build.pod);
        ensure!(place == (container.id, container.pod), "{}: {build:?}", container.name);
    }
    Ok(())
}

/// The root of a container.
fn fill(root: &Path, toolchain: &Toolchain) -> Result<()> {
    for name in ["bin", "dev", "etc", "go/bin", "go/pkg/tool", "proc", "tmp"] {
        fs::create_dir_all(root.join(name))?;
    }
    fs::copy(SHELL, root.join("bin/busybox"))?;
    for name in ["bin/go", "VERSION", "go.env"] {
        fs::copy(toolchain.goroot.join(name), root.join("go").join(name))?;
    }
    Ok(())
}

impl Container {
    /// Has it run a build to its end.
    fn build(&self, what: &str, bundle: &Path, toolchain: &Toolchain) -> Result<Ran> {
        let run = format!("unit-{}-{what}", self.name);
        let scenario = Scenario::find("redirect-403").context("no such scenario")?;
        let lab = Lab::start(scenario, toolchain)?;
        let config = File::create(bundle.join("config.json"))?;
        serde_json::to_writer(config, &self.config(&lab, &run))?;
        let mut runc = lab.command("runc");
        runc.args(["--systemd-cgroup", "run", "--bundle"]).arg(bundle).arg(self.id);
        let output = lab.output(runc)?;
        ensure!(output.status.success() == scenario.succeeds, "{}: {output:?}", self.name);
        ensure!(!lab.log().is_empty(), "{}: no server was asked: {output:?}", self.name);
        Ok(Ran { run, scenario, lab, code: output.status.code() })
    }

    /// As the specification of the Open Container Initiative has it (runtime-spec, `config.md`).
    fn config(&self, lab: &Lab, run: &str) -> Value {
        let mut go: Command = lab.command("go");
        go.envs(job(run)).env("PATH", "/bin").env("GOROOT", "/go");
        let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
        let environment: Vec<String> = go
            .get_envs()
            .filter_map(|(name, value)| Some(format!("{}={}", text(name), text(value?))))
            .collect();
        let bind = |path: &Path| json!({"destination": path, "source": path, "type": "bind", "options": ["rbind"]});
        let mut mounts = vec![
            json!({"destination": "/proc", "source": "proc", "type": "proc"}),
            json!({"destination": "/dev", "source": "tmpfs", "type": "tmpfs"}),
            bind(lab.dir()),
        ];
        mounts.extend(LAB_FILES.iter().map(Path::new).filter(|path| path.exists()).map(bind));
        json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": ["/bin/busybox", "sh", "-c", SCRIPT],
                "env": environment,
                "cwd": lab.module_dir(),
                "noNewPrivileges": true,
            },
            "root": {"path": "rootfs"},
            "hostname": "container",
            "mounts": mounts,
            "linux": {
                "cgroupsPath": format!("{}{}", self.group, self.id),
                "namespaces": NAMESPACES.map(|kind| json!({"type": kind})),
            },
        })
    }
}
