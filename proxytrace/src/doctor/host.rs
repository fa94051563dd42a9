//! What the machine allows: privileges, namespaces, lockdown, containers.

use std::fs;
use std::path::Path;

use super::{Check, State};

/// Capabilities that matter (`include/uapi/linux/capability.h`), and what each is for.
const CAPABILITIES: [(u32, &str, &str); 4] = [
    (39, "CAP_BPF", "loads the programs"),
    (38, "CAP_PERFMON", "lets them read memory and be put into executables"),
    (21, "CAP_SYS_ADMIN", "holds each go until it has its probes; before Linux 6.6 it is needed"),
    (19, "CAP_SYS_PTRACE", "reads the settings of processes of other users"),
];

const LOCKDOWN: &str = "lockdown";
const LOCKED: &str = "locked memory";
/// Raises limits.
const SYS_RESOURCE: u32 = 24;

/// What is read once.
pub(super) struct Host {
    pub(super) kernel: String,
    /// Effective capabilities; none if they cannot be read.
    capabilities: Option<u64>,
    uid: Option<u32>,
    initial_users: bool,
    lockdown: String,
    /// To how much the limit of what may be locked can be raised; `unlimited` if there is none.
    locked: String,
    container: Option<&'static str>,
    has_btf: bool,
}

impl Host {
    pub(super) fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let status = text("/proc/self/status");
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        Self {
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            capabilities: field("CapEff:").and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()),
            uid: field("Uid:").and_then(|ids| ids.split_whitespace().nth(1)?.parse().ok()),
            initial_users: is_initial(&text("/proc/self/uid_map")),
            lockdown: text("/sys/kernel/security/lockdown"),
            locked: locked(&text("/proc/self/limits")).to_owned(),
            container: container(),
            has_btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
        }
    }

    fn has(&self, bit: u32) -> bool {
        self.capabilities.is_some_and(|all| all >> bit & 1 == 1)
    }

    fn has_all(&self) -> bool {
        CAPABILITIES.iter().all(|(bit, ..)| self.has(*bit))
    }

    /// What is needed: `CAP_SYS_ADMIN`, which has the other two in it, or these.
    fn is_privileged(&self) -> bool {
        self.has(21) || (self.has(38) && self.has(39))
    }

    pub(super) fn privileges(&self) -> Check {
        let user = self.uid.map_or_else(|| "?".to_owned(), |uid| uid.to_string());
        let (has, lacks): (Vec<_>, Vec<_>) =
            CAPABILITIES.iter().partition(|(bit, ..)| self.has(*bit));
        let names = |some: &[(u32, &str, &str)]| {
            some.iter().map(|(_, name, _)| *name).collect::<Vec<_>>().join(", ")
        };
        let what = "privileges";
        if !self.is_privileged() {
            let detail = format!("user {user} may not trace: no CAP_BPF and CAP_PERFMON");
            return Check::new(what, State::Missing, detail).advise(
                "run it as `sudo proxytrace -- …`: the command still runs as you. Or give the \
                 program what it needs, which lets everybody who may run it trace: \
                 `sudo setcap cap_bpf,cap_perfmon,cap_sys_admin,cap_sys_ptrace+ep $(which proxytrace)`. \
                 From Linux 6.6 on the first two are enough, for a go that is on PATH",
            );
        }
        if lacks.is_empty() {
            let within = if self.initial_users { "" } else { ", within this user namespace" };
            let detail = format!("user {user} has all that is needed{within}");
            return Check::new(what, State::Ok, detail);
        }
        let why: Vec<String> = lacks.iter().map(|(_, name, why)| format!("{name} {why}")).collect();
        // `CAP_SYS_ADMIN` stands for two of the others.
        let state = if self.has(21) && self.has(19) { State::Ok } else { State::Lacking };
        let detail = format!("user {user} has {}; {}", names(&has), why.join("; "));
        Check::new(what, state, detail)
    }

    /// Before Linux 5.11 maps count as locked memory.
    pub(super) fn locked_memory(&self) -> Option<Check> {
        let mut numbers = self.kernel.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        let release: (u32, u32) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        if release >= (5, 11) {
            return None;
        }
        Some(if self.has(SYS_RESOURCE) || self.locked == "unlimited" {
            Check::new(LOCKED, State::Ok, "it may lock what its maps take")
        } else {
            let detail = format!(
                "{} bytes, and before Linux 5.11 maps are locked memory; no CAP_SYS_RESOURCE to \
                 raise that",
                self.locked
            );
            // It may be enough: our programs tell.
            Check::new(LOCKED, State::Lacking, detail).advise(
                "`ulimit -l unlimited` as root, or give the program cap_sys_resource besides",
            )
        })
    }

    pub(super) fn namespace(&self) -> Option<Check> {
        (!self.initial_users).then(|| {
            let detail = "this is a user namespace of its own, whose root may not trace the kernel";
            Check::new("user namespace", State::Missing, detail).advise(
                "run proxytrace outside of it: not in a rootless container, nor under unshare",
            )
        })
    }

    pub(super) fn lockdown(&self) -> Option<Check> {
        let mode = self.lockdown.split('[').nth(1)?.split(']').next()?;
        Some(if mode == "confidentiality" {
            let detail = "confidentiality: the kernel forbids programs that read memory";
            Check::new(LOCKDOWN, State::Missing, detail)
                .advise("boot with lockdown=integrity, or without lockdown")
        } else {
            Check::new(LOCKDOWN, State::Ok, format!("{mode}, which allows tracing"))
        })
    }

    /// What to do where a trial failed.
    pub(super) fn advice(&self, what: &str, privileged: bool) -> Option<&'static str> {
        match what {
            "kernel types (BTF)" if !self.has_btf && self.container.is_some() => {
                Some("mount it into the container: -v /sys/kernel/btf:/sys/kernel/btf:ro")
            }
            "kernel types (BTF)" if !self.has_btf => {
                Some("take a kernel with CONFIG_DEBUG_INFO_BTF=y, as all larger distributions have")
            }
            // What the privileges lack has been said.
            _ if !privileged => None,
            "holding execs (fanotify)" => Some(
                "without it a go that is not the first on PATH may be met late, and the trace says \
                 so; it wants CAP_SYS_ADMIN and CONFIG_FANOTIFY_ACCESS_PERMISSIONS=y",
            ),
            _ => None,
        }
    }

    /// What a container takes away, and the flags that give it back.
    pub(super) fn container(&self, checks: &[Check]) -> Option<Check> {
        // Of a namespace of users no flag leads out.
        let kind = self.container.filter(|_| self.initial_users)?;
        if checks.iter().all(|check| check.state == State::Ok) {
            return Some(Check::new(
                "container",
                State::Ok,
                format!("{kind}; it is in nobody's way"),
            ));
        }
        let flags = CAPABILITIES
            .iter()
            .filter(|(bit, ..)| !self.has(*bit))
            .map(|(_, name, _)| format!("--cap-add {}", name.trim_start_matches("CAP_")));
        let mut flags: Vec<String> = flags.collect();
        if !self.has_btf {
            flags.push("-v /sys/kernel/btf:/sys/kernel/btf:ro".to_owned());
        }
        if checks.iter().any(|check| check.what == LOCKED && check.state != State::Ok) {
            flags.push("--cap-add SYS_RESOURCE".to_owned());
        }
        // Docker gives capabilities to root alone.
        let is_user = self.uid.is_some_and(|uid| uid != 0);
        let user = if is_user && !self.has_all() { "--user 0 " } else { "" };
        if flags.is_empty() {
            // No flag is the way around lockdown.
            if checks.iter().any(|check| check.what == LOCKDOWN && check.state != State::Ok) {
                return None;
            }
            flags.push(
                "--security-opt seccomp=unconfined --security-opt apparmor=unconfined".into(),
            );
        }
        let flags = flags.join(" ");
        let advice = format!("start it with {user}--privileged, or with {user}{flags}");
        let check =
            Check::new("container", State::Lacking, format!("this is a container ({kind})"));
        Some(check.advise(advice))
    }
}

/// Whether users are those of the machine.
fn is_initial(uid_map: &str) -> bool {
    let mut words = uid_map.split_whitespace();
    // Without user namespaces there is no such file.
    uid_map.is_empty()
        || (words.next(), words.next(), words.next()) == (Some("0"), Some("0"), Some("4294967295"))
}

/// The hard limit (proc(5)).
fn locked(limits: &str) -> &str {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"));
    line.and_then(|line| line.split_whitespace().nth(1)).unwrap_or("unlimited")
}

fn container() -> Option<&'static str> {
    if Path::new("/.dockerenv").exists() {
        return Some("Docker");
    }
    if Path::new("/run/.containerenv").exists() {
        return Some("Podman");
    }
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        return Some("Kubernetes");
    }
    std::env::var_os("container").map(|_| "as the variable `container` says")
}

#[cfg(test)]
mod tests {
    use super::{CAPABILITIES, Check, Host, SYS_RESOURCE, State, is_initial, locked};

    fn host(capabilities: u64) -> Host {
        Host {
            kernel: "6.18".into(),
            capabilities: Some(capabilities),
            uid: Some(1000),
            initial_users: true,
            lockdown: "none [integrity] confidentiality\n".into(),
            locked: "65536".into(),
            container: None,
            has_btf: true,
        }
    }

    #[test]
    fn two_capabilities_are_enough_and_four_are_better() {
        let state = |bits: &[u32]| host(bits.iter().map(|bit| 1 << bit).sum()).privileges().state;
        assert_eq!(state(&[]), State::Missing);
        assert_eq!(state(&[39]), State::Missing);
        assert_eq!(state(&[19, 38]), State::Missing);
        assert_eq!(state(&[38, 39]), State::Lacking);
        assert_eq!(state(&[21]), State::Lacking);
        assert_eq!(state(&[19, 21]), State::Ok);
        assert_eq!(state(&[19, 21, 38, 39]), State::Ok);
    }

    #[test]
    fn old_kernels_count_maps_as_locked_memory() {
        let state = |kernel: &str, capabilities, locked: &str| {
            let (kernel, locked) = (kernel.into(), locked.into());
            let check = Host { kernel, locked, ..host(capabilities) }.locked_memory();
            check.map(|check| check.state)
        };
        assert_eq!(state("5.10.0-32-cloud-amd64", 0, "65536"), Some(State::Lacking));
        assert_eq!(state("5.10.0", 0, "unlimited"), Some(State::Ok));
        assert_eq!(state("5.10.0", 1 << SYS_RESOURCE, "65536"), Some(State::Ok));
        for kernel in ["5.11.0", "6.18", "unknown", ""] {
            assert_eq!(state(kernel, 0, "65536"), None);
        }
        let limits =
            "Limit  Soft Limit  Hard Limit  Units\nMax locked memory  65536  131072  bytes\n";
        assert_eq!(locked(limits), "131072");
        assert_eq!(locked(""), "unlimited");
    }

    #[test]
    fn only_confidentiality_is_in_the_way() {
        let state = |lockdown: &str| {
            let host = Host { lockdown: lockdown.into(), ..host(0) };
            host.lockdown().map(|check| check.state)
        };
        assert_eq!(state("[none] integrity confidentiality\n"), Some(State::Ok));
        assert_eq!(state("none [integrity] confidentiality\n"), Some(State::Ok));
        assert_eq!(state("none integrity [confidentiality]\n"), Some(State::Missing));
        assert_eq!(state(""), None);
    }

    #[test]
    fn a_container_is_told_its_flags() {
        let all: u64 = CAPABILITIES.iter().map(|(bit, ..)| 1_u64 << bit).sum();
        let (root, user) = (Some(0), Some(1000));
        for (uid, capabilities, has_btf, expected) in [
            (
                root,
                1 << 19,
                false,
                "start it with --privileged, or with --cap-add BPF --cap-add PERFMON \
                 --cap-add SYS_ADMIN -v /sys/kernel/btf:/sys/kernel/btf:ro",
            ),
            (
                user,
                0,
                true,
                "start it with --user 0 --privileged, or with --user 0 --cap-add BPF \
                 --cap-add PERFMON --cap-add SYS_ADMIN --cap-add SYS_PTRACE",
            ),
            (
                user,
                all,
                false,
                "start it with --privileged, or with -v /sys/kernel/btf:/sys/kernel/btf:ro",
            ),
        ] {
            let inside = Host { container: Some("Docker"), uid, has_btf, ..host(capabilities) };
            let failed = Check::new("our programs", State::Missing, "");
            let check = inside.container(&[failed]).unwrap();
            assert_eq!(check.advice.as_deref(), Some(expected));
        }
        assert!(host(0).container(&[]).is_none());
        // Lockdown is the machine's.
        let lockdown = "none integrity [confidentiality]".to_owned();
        let inside = Host { container: Some("Docker"), lockdown, ..host(all) };
        assert!(inside.container(&[inside.lockdown().unwrap()]).is_none());
    }

    #[test]
    fn a_mapped_root_is_not_root() {
        assert!(is_initial("         0          0 4294967295\n"));
        assert!(!is_initial("         0       1000          1\n"));
        assert!(is_initial(""));
    }
}
