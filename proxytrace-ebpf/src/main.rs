//! The kernel side of proxytrace: one recipe-driven program for Go, and what the kernel tells of
//! processes and sockets. Portable by raw tracepoints and uprobes; before Linux 6.3, which has no
//! tracepoints for what goes over sockets, by three kprobes. No fentry.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]
#![cfg_attr(
    target_arch = "bpf",
    expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        reason = "a checked conversion can panic, which there is no way to do; what matters is masked"
    ),
    expect(clippy::cast_ptr_alignment, reason = "BPF reads and writes at any address"),
    expect(clippy::inline_always, reason = "a call costs registers, stack and verification"),
    expect(clippy::needless_pass_by_value, reason = "the macros of aya pass contexts by value")
)]

#[cfg(target_arch = "bpf")]
mod go;
#[cfg(target_arch = "bpf")]
mod headers;
#[cfg(target_arch = "bpf")]
mod host;
#[cfg(target_arch = "bpf")]
mod interface;
#[cfg(target_arch = "bpf")]
mod kernel;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod once;
#[cfg(target_arch = "bpf")]
mod process;
#[cfg(target_arch = "bpf")]
mod scratch;
#[cfg(target_arch = "bpf")]
mod tcp;
#[cfg(target_arch = "bpf")]
mod user;
#[cfg(target_arch = "bpf")]
mod verifier;
#[cfg(target_arch = "bpf")]
mod wire;

/// The whole workspace builds for the host, too, so that clippy and the tests run over all of it.
#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
