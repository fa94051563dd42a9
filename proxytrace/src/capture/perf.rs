//! Probes through perf events, one each, for kernels without `uprobe_multi` (before 6.6).
//!
//! A program learns which probe was hit from the cookie of the link that attached it. Kernels before
//! 5.15 have no cookies, and on arm64 those before 6.0 refuse the program that takes them: there each
//! probe has a program of its own, of a dozen instructions, that leaves the number where the common
//! program finds it, and jumps there.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd, OwnedFd};

use anyhow::Context as _;
use aya_obj::generated::bpf_prog_type;

use super::bpf::{link_event, load_uprobe, map_fd, path_to, probe_event, set_program, update};
use super::object::Loaded;
use super::turn::PuttingIn;

/// The program that takes cookies, and the one that finds a number.
const COOKIES: &str = "go";
const NUMBERS: &str = "go_numbered";
/// As the object says it of the common program.
const LICENSE: &CStr = c"Dual MIT/GPL";
/// Where the kernel says its number for events of a kind.
const PMUS: &str = "/sys/bus/event_source/devices";

/// Probes, and how more are attached.
pub(super) struct Events {
    pmu: u32,
    pub(super) program: OwnedFd,
    way: Way,
}

/// How a program learns which probe was hit.
enum Way {
    /// By the cookie of a link.
    Cookie,
    /// By a program in front: maps for the number, and for the jump.
    Number { place: OwnedFd, jump: OwnedFd },
}

impl Events {
    /// Loads the common program, in the way that this kernel knows.
    pub(super) fn load(object: &Loaded) -> anyhow::Result<Self> {
        let pmu = pmu("uprobe")?;
        let (program, way) = match load(object, COOKIES) {
            Ok(program) => (program, Way::Cookie),
            Err(refused) => {
                let program = load(object, NUMBERS).context(format!("{refused:#}"))?;
                let place = map_fd(object.map("NUMBER")?)?.try_clone_to_owned()?;
                let jump = map_fd(object.map("PROGRAMS")?)?.try_clone_to_owned()?;
                update(jump.as_fd(), 0, &program.as_raw_fd().to_ne_bytes())?;
                (program, Way::Number { place, jump })
            }
        };
        Ok(Self { pmu, program, way })
    }

    /// Puts probes at `sites` (offset in the file, number) of an executable. What is returned holds
    /// them in place: links, or events.
    pub(super) fn attach(&self, file: &File, sites: &[(u64, u64)]) -> io::Result<Vec<OwnedFd>> {
        let _turn = PuttingIn::say();
        let mut held = Vec::with_capacity(sites.len());
        let path = path_to(file)?;
        for &(offset, number) in sites {
            let event = probe_event(self.pmu, &path, offset).map_err(explained)?;
            match &self.way {
                Way::Cookie => held.push(link_event(&self.program, &event, number)?),
                Way::Number { place, jump } => {
                    let number = i32::try_from(number).map_err(io::Error::other)?;
                    let front = load_uprobe(&front(number, place, jump), 0, LICENSE)?;
                    set_program(&event, &front)?;
                    // The event holds the program.
                    held.push(event);
                }
            }
        }
        Ok(held)
    }
}

/// Says which privilege is missing, where one is.
fn explained(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            let text = "this kernel lets CAP_SYS_ADMIN alone put a probe in (before Linux 6.6)";
            io::Error::new(io::ErrorKind::PermissionDenied, format!("{text}: {error}"))
        }
        _ => error,
    }
}

/// The kernel's number for events on `uprobe` or `kprobe`.
fn pmu(name: &str) -> anyhow::Result<u32> {
    let file = format!("{PMUS}/{name}/type");
    let number = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
    number.trim().parse().with_context(|| format!("{file} has no number"))
}

/// Has a program run where a function of the kernel begins, as long as what is returned is open.
pub(super) fn on_function(program: &OwnedFd, function: &str) -> anyhow::Result<OwnedFd> {
    let _turn = PuttingIn::say();
    let event = probe_event(pmu("kprobe")?, &CString::new(function)?, 0)?;
    set_program(&event, program)?;
    Ok(event)
}

fn load(object: &Loaded, name: &str) -> anyhow::Result<OwnedFd> {
    object.program(name, bpf_prog_type::BPF_PROG_TYPE_KPROBE, 0)
}

/// The program in front of the common one: leaves the number, and jumps.
///
/// A program on a uprobe is not preempted on the kernels that need this (`__uprobe_perf_func` in
/// `kernel/trace/trace_uprobe.c`, Linux 5.7 to 5.19), so that one place for each CPU is enough.
fn front(number: i32, place: &OwnedFd, jump: &OwnedFd) -> [u64; 16] {
    const MOVE: u8 = 0xbf; // rD = rS
    const SET: u8 = 0xb7; // rD = number
    const ADD: u8 = 0x07; // rD += number
    const STORE: u8 = 0x62; // *(u32 *)(rD + offset) = number
    const LOAD: u8 = 0x18; // rD = a map, in two words
    const MAP: u8 = 1;
    const SKIP_IF_ZERO: u8 = 0x15; // if rD == number, skip so many
    const CALL: u8 = 0x85;
    const EXIT: u8 = 0x95;
    const LOOKUP: i32 = 1; // bpf_map_lookup_elem
    const TAIL_CALL: i32 = 12; // bpf_tail_call
    let word = |code: u8, to: u8, from: u8, offset: i16, number: i32| {
        let [low, high] = offset.to_le_bytes();
        let [a, b, c, d] = number.to_le_bytes();
        u64::from_ne_bytes([code, to | from << 4, low, high, a, b, c, d])
    };
    [
        word(MOVE, 6, 1, 0, 0),
        word(STORE, 10, 0, -4, 0),
        word(LOAD, 1, MAP, 0, place.as_raw_fd()),
        0,
        word(MOVE, 2, 10, 0, 0),
        word(ADD, 2, 0, 0, -4),
        word(CALL, 0, 0, 0, LOOKUP),
        word(SKIP_IF_ZERO, 0, 0, 6, 0),
        word(STORE, 0, 0, 0, number),
        word(MOVE, 1, 6, 0, 0),
        word(LOAD, 2, MAP, 0, jump.as_raw_fd()),
        0,
        word(SET, 3, 0, 0, 0),
        word(CALL, 0, 0, 0, TAIL_CALL),
        word(SET, 0, 0, 0, 0),
        word(EXIT, 0, 0, 0, 0),
    ]
}
