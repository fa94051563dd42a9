//! Which instructions the kernel emulates under a probe, at a twentieth of what it costs to execute
//! one out of line and to single-step it.
//!
//! Source: `arch/x86/kernel/uprobes.c`, `branch_setup_xol_ops` and `push_setup_xol_ops`, the same
//! from Linux 5.10 to 7.3. Left out: NOPs of several bytes, emulated since 6.17 alone, of which that
//! of five is rewritten into a call besides; and anything with a prefix other than the REX that a
//! `push` of R8 to R15 needs.

use iced_x86::{Code, Instruction};

/// Whether a probe on it costs no single step, on every kernel.
pub(super) fn is_emulated(instruction: &Instruction) -> bool {
    let length = match instruction.code() {
        Code::Nopd => 1,
        Code::Push_r64 => return instruction.len() <= 2,
        Code::Jmp_rel8_64 => 2,
        Code::Jmp_rel32_64 | Code::Call_rel32_64 => 5,
        _ if instruction.is_jcc_short() => 2,
        _ if instruction.is_jcc_near() => 6,
        _ => return false,
    };
    // No room for a prefix.
    instruction.len() == length
}

#[cfg(test)]
mod tests {
    use iced_x86::{Decoder, DecoderOptions};

    use super::*;

    fn emulated(code: &[u8]) -> bool {
        let instruction = Decoder::new(64, code, DecoderOptions::NONE).decode();
        assert_eq!(instruction.len(), code.len(), "{code:x?}");
        is_emulated(&instruction)
    }

    #[test]
    fn branches_pushes_and_the_nop_are() {
        for code in [
            &b"\x90"[..],
            b"\x55",
            b"\x54",
            b"\x41\x57",
            b"\xeb\x10",
            b"\xe9\0\0\0\0",
            b"\xe8\0\0\0\0",
            b"\x70\x10",
            b"\x7f\x10",
            b"\x0f\x80\0\0\0\0",
            b"\x0f\x8f\0\0\0\0",
        ] {
            assert!(emulated(code), "{code:x?}");
        }
    }

    #[test]
    fn nothing_else_is() {
        for code in [
            &b"\xc3"[..],            // ret
            b"\x5d",                 // pop rbp
            b"\x48\x89\xe5",         // mov rbp,rsp
            b"\x48\x83\xec\x10",     // sub rsp,16
            b"\x48\x85\xc0",         // test rax,rax
            b"\xff\xd2",             // call rdx
            b"\xff\x75\x00",         // push [rbp]
            b"\x6a\x01",             // push 1
            b"\x66\x90",             // nop of two bytes
            b"\x0f\x1f\x44\x00\x00", // nop of five
            b"\xf3\x90",             // pause
            b"\x2e\x74\x10",         // je with a prefix
            b"\x0f\x95\xc0",         // setne
        ] {
            assert!(!emulated(code), "{code:x?}");
        }
    }
}
