//! Which instructions the kernel simulates under a probe, and the data-flow over the few before one of
//! them that shows what is in registers still.
//!
//! All branches, `ret` among them, are simulated, and so is the computing of an address (`adr`,
//! `adrp`): `arm_probe_decode_insn` in `arch/arm64/kernel/probes/decode-insn.c`, the same from Linux
//! 4.10 to 7.3. So what a function returns is read at its returns, at no cost of a step; its arguments,
//! at the first of these after its stack check. Left out: `nop` and the `stp` of a frame, which are
//! simulated on younger kernels alone.

use super::{Flow, Function, GOROUTINE, SIZE, ZERO_OR_SP, bits};
use crate::gobinary::placement::{Landing, Step};

/// How many instructions are looked at: the frame is made, and some arguments are put aside.
const WINDOW: usize = 24;
const NOP: u32 = 0xd503_201f;

impl Function {
    /// The same place as [`entry`](Self::entry), or one that the kernel simulates, that nothing but the
    /// instructions from there leads to, and that sees the wanted arguments (by the numbers of their
    /// registers) all the same.
    pub(in crate::gobinary) fn entry_landing(&self, entry: u64, wanted: &[u8]) -> Landing {
        self.settle(entry, wanted).map_or(Landing::stepped(entry), simulated)
    }

    /// The place of a return.
    pub(in crate::gobinary) fn return_landing(address: u64) -> Landing {
        simulated(address)
    }

    fn settle(&self, entry: u64, wanted: &[u8]) -> Option<u64> {
        // A switch may go anywhere.
        if self.flows().any(|(_, flow)| matches!(flow, Flow::IndirectJump(_))) {
            return None;
        }
        for address in (entry..).step_by(usize::try_from(SIZE).ok()?).take(WINDOW) {
            if address != entry && self.branches().any(|(_, target)| target == address) {
                return None;
            }
            let flow = self.flow_at(address)?;
            let word = self.word_at(address)?;
            if is_simulated(word, flow) {
                return Some(address);
            }
            if flow != Flow::Next || !survives(word, wanted) {
                return None;
            }
        }
        None
    }

    fn word_at(&self, address: u64) -> Option<u32> {
        let offset = address.checked_sub(self.start)?;
        self.words.get(usize::try_from(offset / SIZE).ok()?).copied()
    }
}

fn simulated(address: u64) -> Landing {
    Landing { step: Step::Emulated, ..Landing::stepped(address) }
}

/// Whether a probe on it costs no single step, on every kernel.
fn is_simulated(word: u32, flow: Flow) -> bool {
    match flow {
        Flow::Jump(_) | Flow::Call(_) | Flow::Return => true,
        // Of conditional branches, not those with a hint (`bc.cond`).
        Flow::Branch { condition, .. } => condition.is_none() || bits(word, 4, 1) == 0,
        // blr, without authentication.
        Flow::IndirectCall => word & 0xffff_fc1f == 0xd63f_0000,
        // adr, adrp.
        Flow::Next => word & 0x1f00_0000 == 0x1000_0000,
        Flow::Trap | Flow::IndirectJump(_) | Flow::OtherReturn => false,
    }
}

/// Whether after an instruction the wanted registers and the goroutine's are as they were, and all
/// memory but the stack.
fn survives(word: u32, wanted: &[u8]) -> bool {
    let keeps = |register: u32| {
        register == ZERO_OR_SP
            || register != GOROUTINE && !wanted.iter().any(|&wanted| u32::from(wanted) == register)
    };
    let (to, second, base) = (bits(word, 0, 5), bits(word, 10, 5), bits(word, 5, 5));
    let is_vector = bits(word, 26, 1) == 1;
    match bits(word, 25, 4) {
        // Data processing: of immediates, of registers, of vectors (which may write a register of
        // that number, or another).
        0b1000 | 0b1001 | 0b0101 | 0b1101 | 0b0111 | 0b1111 => keeps(to),
        // Loads and stores.
        0b0100 | 0b0110 | 0b1100 | 0b1110 => {
            // Of a pair; of one register, by an immediate without and with a sign.
            let (is_store, writes_base) = match (bits(word, 27, 3), bits(word, 24, 2)) {
                (0b101, _) => (bits(word, 22, 1) == 0, bits(word, 23, 1) == 1),
                (0b111, 0b01) => (is_store(word), false),
                (0b111, 0b00) if bits(word, 21, 1) == 0 => {
                    (is_store(word), bits(word, 10, 1) == 1)
                }
                _ => return false,
            };
            let is_pair = bits(word, 27, 3) == 0b101;
            let loads = !is_store && !is_vector;
            (!is_store || base == ZERO_OR_SP)
                && (!writes_base || keeps(base))
                && (!loads || keeps(to) && (!is_pair || keeps(second)))
        }
        _ => word == NOP,
    }
}

/// Of a load or store of one register.
fn is_store(word: u32) -> bool {
    let is_vector = bits(word, 26, 1) == 1;
    let operation = bits(word, 22, 2);
    operation == 0 || (is_vector && operation == 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 0x1000;
    /// str x30, [sp, #-32]!; stur x29, [sp, #-8]; sub x29, sp, #8
    const FRAME: [u32; 3] = [0xf81e_0ffe, 0xf81f_83fd, 0xd100_23fd];
    const CBZ: u32 = 0xb400_0040; // cbz x0, two words on
    const RET: u32 = 0xd65f_03c0;

    /// Where arguments in `x0` and `x1` are read, if these are the function's instructions.
    fn landing(words: &[u32]) -> Landing {
        let code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        Function::decode(&code, START).expect("decodes").entry_landing(START, &[0, 1])
    }

    fn at(index: u64) -> Landing {
        simulated(START + SIZE * index)
    }

    #[test]
    fn the_first_branch_after_the_frame_is_probed() {
        let with = |rest: &[u32]| landing(&[&FRAME[..], rest, &[CBZ, NOP, RET]].concat());
        assert_eq!(with(&[]), at(3));
        for between in [
            0xf900_07e0, // str x0, [sp, #8]
            0xa901_07e0, // stp x0, x1, [sp, #16]
            0xf940_0403, // ldr x3, [x0, #8]
            0xaa01_03e2, // mov x2, x1
            0xd280_0002, // mov x2, #0
            0xfd00_07e0, // str d0, [sp, #8]
            0x3d80_07e0, // str q0, [sp, #16]
            NOP,
        ] {
            assert_eq!(with(&[between]), at(4), "{between:#x}");
        }
        // adrp x27, a page; bl; blr x2
        for simulated in [0x9000_001b, 0x9400_0100, 0xd63f_0040] {
            assert_eq!(with(&[simulated]), at(3), "{simulated:#x}");
        }
    }

    #[test]
    fn what_is_lost_is_read_at_once() {
        for between in [
            0xaa02_03e0, // mov x0, x2
            0xd280_0001, // mov x1, #0
            0xf940_0041, // ldr x1, [x2]
            0xa940_0043, // ldp x3, x0, [x2]
            0xaa02_03fc, // mov x28, x2: the goroutine
            0xf900_0001, // str x1, [x0]
            0xa900_0003, // stp x3, x0, [x0]
            0xf800_8401, // str x1, [x0], #8
            0xf840_8403, // ldr x3, [x0], #8
            0xf822_6be1, // str x1, [sp, x2]
            0xf820_0002, // ldadd x0, x2, [x0]
            0xc85f_7c02, // ldxr x2, [x0]
            0x9e66_0000, // fmov x0, d0
            0xd53b_d040, // mrs x0, tpidr_el0
            0xd503_3bbf, // dmb ish
            0xd61f_0040, // br x2
        ] {
            let found = landing(&[&FRAME[..], &[between, CBZ, NOP, RET]].concat());
            assert_eq!(found, Landing::stepped(START), "{between:#x}");
        }
    }

    #[test]
    fn nothing_behind_a_join_is_probed() {
        // b, three words back, to the cbz
        let found = landing(&[FRAME[0], FRAME[1], FRAME[2], CBZ, NOP, RET, 0x17ff_fffd]);
        assert_eq!(found, Landing::stepped(START));
    }
}
