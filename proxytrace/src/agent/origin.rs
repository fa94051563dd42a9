//! Container and Kubernetes pod of a process, from `/proc/PID/cgroup`.

/// Digits of a container's id: docker, containerd, CRI-O and podman all use SHA-256.
const ID_DIGITS: usize = 64;

/// Where a process runs, as its control groups tell: container and pod.
pub(super) fn of_cgroup(text: &str) -> (Option<String>, Option<String>) {
    // `hierarchy:controllers:path`; with cgroup v2 there is one line, `0::path`.
    let paths = || text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    (paths().find_map(container), paths().find_map(pod))
}

/// The id in the last component that has one: a container can have groups of its own below.
fn container(path: &str) -> Option<String> {
    path.rsplit('/').find_map(|component| {
        let name = component.strip_suffix(".scope").unwrap_or(component);
        // `docker-ID`, `cri-containerd-ID`, `crio-ID`, `libpod-ID`, `SLICE:cri-containerd:ID`.
        let (before, id) = name.rsplit_once(['-', ':']).unwrap_or(("", name));
        let is_id = id.len() == ID_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        // The process that watches a container is not in it.
        (is_id && !before.ends_with("conmon")).then(|| id.to_owned())
    })
}

/// The uid of a pod: `pod2f5d….slice`, `kubepods-burstable-pod2f5d_….slice`, `pod2f5d-…`. That of a
/// static pod is a hash without dashes.
fn pod(path: &str) -> Option<String> {
    // In a control group namespace of its own, as a container has with cgroup v2, the agent sees what is
    // above its own group as `..`, and `kubepods` may be among that.
    if !path.contains("kubepods") && !path.starts_with("/../") {
        return None;
    }
    path.split(['/', ':']).find_map(|component| {
        let name = component.strip_suffix(".slice").unwrap_or(component);
        let (before, uid) = name.rsplit_once("pod")?;
        let uid = uid.replace('_', "-");
        let digits = uid.bytes().filter(u8::is_ascii_hexdigit).count();
        let dashes = uid.bytes().filter(|byte| *byte == b'-').count();
        let is_uid = digits == 32 && digits + dashes == uid.len() && [0, 4].contains(&dashes);
        (is_uid && (before.is_empty() || before.ends_with('-'))).then_some(uid)
    })
}

#[cfg(test)]
mod tests {
    use super::of_cgroup;

    const ID: &str = "2b4a1f3ee5d0c6b7a8990f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a";
    const UID: &str = "2f5d1c9e-7a3b-4c1d-9e8f-0a1b2c3d4e5f";
    const STATIC: &str = "8d3bff1c0a5e4f7b9c2d6e1f3a4b5c6d";

    /// As they are found on hosts: name, the file (`ID`, `UID`, `U_ID` with underscores, `STATIC`),
    /// whether there is a container, and the pod.
    const CASES: [(&str, &str, bool, Option<&str>); 23] = [
        ("v2, a session", "0::/user.slice/user-1000.slice/session-3.scope", false, None),
        ("v2, a service", "0::/system.slice/actions.runner.service", false, None),
        ("v2, the root", "0::/", false, None),
        ("v2, docker, systemd", "0::/system.slice/docker-ID.scope", true, None),
        ("v2, docker, cgroupfs", "0::/docker/ID", true, None),
        ("v2, docker in docker", "0::/docker/ID/docker/ID", true, None),
        ("v1, docker", "12:pids:/docker/ID\n11:cpu,cpuacct:/docker/ID\n0::/", true, None),
        ("v1, docker, systemd", "5:devices:/system.slice/docker-ID.scope", true, None),
        ("v2, podman, root", "0::/machine.slice/libpod-ID.scope/container", true, None),
        (
            "v2, podman, a user",
            "0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container",
            true,
            None,
        ),
        ("v2, podman's monitor", "0::/machine.slice/libpod-conmon-ID.scope", false, None),
        ("v2, nerdctl", "0::/system.slice/nerdctl-ID.scope", true, None),
        ("v1, ECS", "9:memory:/ecs/9b1d6c0e1f2a3b4c5d6e7f8091a2b3c4/ID", true, None),
        (
            "v2, Kubernetes, containerd, systemd",
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_ID.slice/cri-containerd-ID.scope",
            true,
            Some(UID),
        ),
        (
            "v2, Kubernetes, guaranteed, CRI-O",
            "0::/kubepods.slice/kubepods-podU_ID.slice/crio-ID.scope",
            true,
            Some(UID),
        ),
        (
            "v2, Kubernetes, CRI-O's monitor",
            "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podU_ID.slice/crio-conmon-ID.scope",
            false,
            Some(UID),
        ),
        (
            "v1, Kubernetes, cgroupfs",
            "11:pids:/kubepods/burstable/podUID/ID\n1:name=systemd:/kubepods/burstable/podUID/ID",
            true,
            Some(UID),
        ),
        (
            "v1, Kubernetes, containerd below its service",
            "9:cpuset:/system.slice/containerd.service/kubepods-burstable-podU_ID.slice:cri-containerd:ID",
            true,
            Some(UID),
        ),
        (
            "v2, Kubernetes in a container (kind)",
            "0::/system.slice/docker-ID.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-podU_ID.slice/cri-containerd-ID.scope",
            true,
            Some(UID),
        ),
        (
            "v2, cgroupfs, for an agent in a container",
            "0::/../../../besteffort/podUID/ID",
            true,
            Some(UID),
        ),
        ("the same, of the same class", "0::/../../podUID/ID", true, Some(UID)),
        ("v2, docker, for an agent in a container", "0::/../ID", true, None),
        ("v1, a static pod", "2:memory:/kubepods/burstable/podSTATIC/ID", true, Some(STATIC)),
    ];

    #[test]
    fn containers_and_pods_are_known_by_their_groups() {
        for (name, text, has_container, pod) in CASES {
            let text = text.replace("U_ID", &UID.replace('-', "_")).replace("UID", UID);
            let text = text.replace("STATIC", STATIC).replace("ID", ID);
            let expected = (has_container.then_some(ID), pod);
            let (container, found) = of_cgroup(&text);
            assert_eq!((container.as_deref(), found.as_deref()), expected, "{name}: {text}");
        }
    }

    #[test]
    fn nonsense_is_nowhere() {
        for text in ["", "\n", "0:", "::", "0::/kubepods/pod", "0::/docker/é", "0::/kubepods/podé-"]
        {
            assert_eq!(of_cgroup(text), (None, None), "{text}");
        }
    }
}
