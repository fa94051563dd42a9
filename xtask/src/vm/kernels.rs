//! The kernels that proxytrace must run on, and what each of them has, as data.

use std::time::Duration;

use super::image::Arch;

/// A kernel of Debian's, for machines in a cloud: small, and with all that is needed built in.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) arch: Arch,
    /// Of all releases that begin so, the newest.
    pub(super) version: &'static str,
    pub(super) suite: &'static str,
    /// How probes are attached there: another way is a silent fallback, and a failure.
    pub(super) backend: &'static str,
    /// How what goes over sockets is seen there; likewise.
    pub(super) wire: &'static str,
    /// Whether probes on the kernel's own functions (kprobes) are there. Nothing needs them.
    pub(super) kprobes: bool,
    /// Whether the mirror may have dropped it: a suite that is no longer supported, or one that
    /// moves on to newer kernels.
    pub(super) may_be_gone: bool,
}

impl Kernel {
    /// `amd64 5.10`.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.arch.debian(), self.version)
    }
}

const AMD64: Kernel = Kernel {
    arch: Arch::Amd64,
    version: "",
    suite: "",
    backend: "uprobe-multi",
    wire: "socket",
    kprobes: true,
    may_be_gone: false,
};
const ARM64: Kernel = Kernel { arch: Arch::Arm64, ..AMD64 };
/// Before Linux 6.3.
const OLD_AMD64: Kernel = Kernel { backend: "perf", wire: "kprobe", ..AMD64 };
const OLD_ARM64: Kernel = Kernel { arch: Arch::Arm64, ..OLD_AMD64 };

#[rustfmt::skip]
pub(super) const KERNELS: [Kernel; 9] = [
    // No cookies before 5.15, no tracepoints of sockets before 6.3, no `uprobe_multi` before 6.6.
    Kernel { version: "5.10", suite: "bullseye", may_be_gone: true, ..OLD_AMD64 },
    Kernel { version: "6.1", suite: "bookworm", ..OLD_AMD64 },
    Kernel { version: "6.12", suite: "trixie", ..AMD64 },
    Kernel { version: "6.18", suite: "trixie-backports", may_be_gone: true, ..AMD64 },
    Kernel { version: "7.3", suite: "trixie-backports", may_be_gone: true, ..AMD64 },
    Kernel { version: "5.10", suite: "bullseye", may_be_gone: true, ..OLD_ARM64 },
    Kernel { version: "6.1", suite: "bookworm", ..OLD_ARM64 },
    Kernel { version: "6.12", suite: "trixie", ..ARM64 },
    Kernel { version: "7.3", suite: "trixie-backports", may_be_gone: true, ..ARM64 },
];

/// What is different about a machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Variant {
    /// Nothing: the scenarios as root.
    Plain,
    /// A small `RLIMIT_MEMLOCK`, against which kernels before 5.11 count maps.
    Memlock,
    /// `lockdown=integrity`, under which everything works.
    Integrity,
    /// `lockdown=confidentiality`, under which nothing does.
    Confidentiality,
    /// The kernel does not show its types.
    NoTypes,
    /// A user with the capabilities that are enough.
    Capabilities,
    /// A user with those that are enough before Linux 6.6, and not with fewer.
    Administrator,
    /// Probes are attached one by one, although there is a better way.
    OneByOne,
    /// A user without any.
    NoCapabilities,
    /// A whole system: systemd is the first program and runs the agent, from its package.
    Systemd,
}

impl Variant {
    /// In the table, and for the guest (`init.sh`).
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Memlock => "memlock",
            Self::Integrity => "integrity",
            Self::Confidentiality => "confidentiality",
            Self::NoTypes => "no-types",
            Self::Capabilities => "capabilities",
            Self::Administrator => "administrator",
            Self::OneByOne => "one-by-one",
            Self::NoCapabilities => "no-capabilities",
            Self::Systemd => "systemd",
        }
    }

    /// What is added to the kernel's command line.
    pub(super) fn parameters(self) -> &'static str {
        match self {
            Self::Integrity => "lockdown=integrity",
            Self::Confidentiality => "lockdown=confidentiality",
            // Nobody logs in; and devices without udev are never ready.
            Self::Systemd => "systemd.show_status=false systemd.mask=serial-getty@ttyS0.service",
            _ => "",
        }
    }

    /// Of its memory in MiB, the archive takes a fifth; a system is there twice for a moment.
    pub(super) fn memory(self) -> u32 {
        if self == Self::Systemd { 2048 } else { 768 }
    }

    /// How long such a machine has. Emulated, on a machine that does other things too, it may need
    /// minutes; a watchdog that waits does so besides.
    pub(super) fn limit(self) -> Duration {
        Duration::from_mins(if self == Self::Systemd { 20 } else { 12 })
    }
}

/// What is run in each machine: scenarios of the lab, builds beside the agent, and many downloads at
/// once, which shows that no function which begins again is taken for two calls.
const QUICK: &[&str] =
    &["healthy-plain", "forward-proxy", "demo", "redirect-403", "agent=3", "crowd=2"];
const ALL: &[&str] = &[
    "agent=6",
    "healthy-h1",
    "healthy-plain",
    "demo",
    "bad-gateway-comma",
    "cross-host-redirect",
    "redirect-403",
    "sumdb-direct",
    "forward-proxy",
    "crowd=4",
    "times",
];
/// Where kprobes are there, and what would be done without them.
const WITHOUT_KPROBES: &[&str] = &["healthy-plain@syscall", "forward-proxy@syscall"];
/// Where the machine is what is different.
const ONE: &[&str] = &["healthy-plain"];
/// Where the agent is run by systemd.
const UNIT: &[&str] = &["unit"];

/// One machine to be started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) kernel: &'static Kernel,
    pub(super) variant: Variant,
    pub(super) quick: bool,
}

impl Run {
    /// How probes are attached in it.
    pub(super) fn backend(&self) -> &'static str {
        if self.variant == Variant::OneByOne { "perf" } else { self.kernel.backend }
    }

    /// What is run in it.
    pub(super) fn scenarios(&self) -> Vec<&'static str> {
        let scenarios = match self {
            Self { quick: true, .. } => QUICK,
            Self { variant: Variant::Plain, .. } => ALL,
            Self { variant: Variant::Systemd, .. } => UNIT,
            _ => ONE,
        };
        let old = self.kernel.wire == "kprobe" && self.variant == Variant::Plain;
        let others = if old { WITHOUT_KPROBES } else { &[] };
        let others = if self.quick { &others[..others.len().min(1)] } else { others };
        [scenarios, others].concat()
    }
}

/// Those that `cargo xtask test` runs.
const QUICK_KERNELS: [&str; 4] = ["amd64 5.10", "amd64 6.1", "amd64 7.3", "arm64 6.1"];

/// Where the variants run.
const VARIANTS: [(&str, Variant); 13] = [
    ("amd64 5.10", Variant::Memlock),
    ("amd64 5.10", Variant::Administrator),
    ("amd64 6.1", Variant::Administrator),
    ("amd64 6.1", Variant::Systemd),
    ("amd64 6.12", Variant::Integrity),
    ("amd64 6.12", Variant::Confidentiality),
    ("amd64 6.12", Variant::NoTypes),
    ("amd64 6.12", Variant::OneByOne),
    ("amd64 6.12", Variant::NoCapabilities),
    ("amd64 6.12", Variant::Capabilities),
    ("amd64 6.18", Variant::Capabilities),
    ("amd64 6.18", Variant::Systemd),
    ("amd64 7.3", Variant::Capabilities),
];

/// All machines, or the quick ones.
pub(super) fn runs(all: bool) -> Vec<Run> {
    let plain = KERNELS.iter().map(|kernel| {
        let quick = QUICK_KERNELS.contains(&&*kernel.name());
        Run { kernel, variant: Variant::Plain, quick: quick && !all }
    });
    let variants = VARIANTS.iter().filter_map(|&(name, variant)| {
        let kernel = KERNELS.iter().find(|kernel| kernel.name() == name)?;
        Some(Run { kernel, variant, quick: false })
    });
    plain.chain(variants).filter(|run| all || run.quick).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_of_a_kernel() {
        assert_eq!(runs(true).len(), KERNELS.len() + VARIANTS.len());
        assert_eq!(runs(false).len(), QUICK_KERNELS.len());
    }

    #[test]
    fn what_is_expected_follows_the_version() {
        for kernel in &KERNELS {
            let parts: Vec<u32> = kernel.version.split('.').map(|n| n.parse().unwrap()).collect();
            let expected = if parts[..] >= [6, 6][..] { "uprobe-multi" } else { "perf" };
            assert_eq!(kernel.backend, expected, "{}", kernel.name());
            let expected = if parts[..] >= [6, 3][..] { "socket" } else { "kprobe" };
            assert_eq!(kernel.wire, expected, "{}", kernel.name());
        }
    }
}
