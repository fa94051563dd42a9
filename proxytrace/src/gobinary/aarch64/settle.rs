//! Which instructions the kernel simulates under a probe, and the data-flow over the few before one of
//! them that shows what is in registers still.
//!
//! All branches, `ret` among them, are simulated, and so is the computing of an address (`adr`,
//! `adrp`): `arm_probe_decode_insn` in `arch/arm64/kernel/probes/decode-insn.c`, the same from Linux
//! 4.10 to 7.3. So what a function returns is read at its returns, at no cost of a step; its arguments,
//! at the first of these after its stack check that is executed once. Left out: `nop` and the `stp`
//! of a frame, which are simulated on younger kernels alone.

use proxytrace_common::plan::{SPILLS_MAX, Spill};

use super::{Flow, Function, GOROUTINE, SIZE, ZERO_OR_SP, bits};
use crate::gobinary::placement::{Landing, Step};

/// How many instructions are looked at: the frame is made, and some arguments are put aside.
const WINDOW: usize = 24;
/// The assembler's own register. Of instructions that it makes of one with it, Go goes back to the
/// first when it preempts the goroutine at another (`isRestartable` in `cmd/internal/obj/arm64`): a
/// probe there is hit twice, as one was in `net/http.(*persistConn).roundTrip` of Go 1.27 in nearly
/// every run. The executable says which they are, too (see `restarts`): that is the proof, and this
/// finds a place behind them.
const TEMPORARY: u32 = 27;
const NOP: u32 = 0xd503_201f;

impl Function {
    /// The same place as [`entry`](Self::entry), or one that the kernel simulates, that nothing but the
    /// instructions from there leads to, and that sees the wanted arguments (by the numbers of their
    /// registers) all the same.
    pub(in crate::gobinary) fn entry_landing(&self, entry: u64, wanted: &[u8]) -> Landing {
        self.settle(entry, wanted).unwrap_or(Landing::stepped(entry))
    }

    fn settle(&self, entry: u64, wanted: &[u8]) -> Option<Landing> {
        // A switch may go anywhere.
        if self.flows().any(|(_, flow)| matches!(flow, Flow::IndirectJump(_))) {
            return None;
        }
        let mut values = Values::new(wanted);
        for address in (entry..).step_by(usize::try_from(SIZE).ok()?).take(WINDOW) {
            if address != entry && self.branches().any(|(_, target)| target == address) {
                return None;
            }
            let flow = self.flow_at(address)?;
            let word = self.word_at(address)?;
            if is_simulated(word, flow) {
                return Some(Landing { spills: values.spills()?, ..simulated(address) });
            }
            if flow != Flow::Next || !values.survive(word) {
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
        // By flags, not those with a hint (`bc.cond`).
        Flow::Branch { condition: Some(_), .. } => bits(word, 4, 1) == 0,
        // By a register.
        Flow::Branch { condition: None, .. } => bits(word, 0, 5) != TEMPORARY,
        // blr, without authentication.
        Flow::IndirectCall => word & 0xffff_fc1f == 0xd63f_0000 && bits(word, 5, 5) != TEMPORARY,
        // adr, adrp.
        Flow::Next => word & 0x1f00_0000 == 0x1000_0000 && bits(word, 0, 5) != TEMPORARY,
        Flow::Trap | Flow::IndirectJump(_) | Flow::OtherReturn => false,
    }
}

/// Where the wanted values are.
struct Values {
    /// Its register, whether that still holds it, and how far above the stack pointer it is stored.
    wanted: Vec<(u32, bool, Option<u32>)>,
    /// Whether the goroutine is in its register.
    goroutine: bool,
    /// Registers, a bit each, that hold an address in the frame: large frames are made by one.
    in_frame: u32,
}

impl Values {
    fn new(wanted: &[u8]) -> Self {
        let wanted = wanted.iter().map(|&register| (register.into(), true, None)).collect();
        Self { wanted, goroutine: true, in_frame: 0 }
    }

    /// What is no more in its register, but on the stack; none if something is lost, or too much.
    fn spills(&self) -> Option<[Spill; SPILLS_MAX]> {
        let mut spills = [Spill::NONE; SPILLS_MAX];
        let moved = self.wanted.iter().filter(|(_, held, _)| !held);
        for (place, (register, _, slot)) in moved.enumerate() {
            let (register, offset) = (u16::try_from(*register), u16::try_from((*slot)?));
            *spills.get_mut(place)? = Spill { register: register.ok()?, offset: offset.ok()? };
        }
        Some(spills)
    }

    /// Follows one instruction; says whether all values, and what they point to, are as they were.
    fn survive(&mut self, word: u32) -> bool {
        let (to, second, base) = (bits(word, 0, 5), bits(word, 10, 5), bits(word, 5, 5));
        let is_vector = bits(word, 26, 1) == 1;
        match bits(word, 25, 4) {
            // Additions and subtractions of an immediate, with the stack pointer among them.
            0b1000 if bits(word, 23, 3) == 0b010 && bits(word, 29, 1) == 0 => {
                let in_frame = base == ZERO_OR_SP;
                self.write(to);
                if to == ZERO_OR_SP {
                    self.move_stack();
                } else if in_frame {
                    self.in_frame |= 1 << to;
                }
            }
            // Data processing: of immediates, of registers, of vectors (which may write a register
            // of that number, or another).
            0b1000 | 0b1001 | 0b0101 | 0b1101 | 0b0111 | 0b1111 => self.write(to),
            // Loads and stores.
            0b0100 | 0b0110 | 0b1100 | 0b1110 => {
                let is_pair = bits(word, 27, 3) == 0b101;
                // Of a pair; of one register, by an immediate without and with a sign.
                let (stores, writes_base) = match (bits(word, 27, 3), bits(word, 24, 2)) {
                    (0b101, _) => (bits(word, 22, 1) == 0, bits(word, 23, 1) == 1),
                    (0b111, 0b01) => (is_store(word), false),
                    (0b111, 0b00) if bits(word, 21, 1) == 0 => {
                        (is_store(word), bits(word, 10, 1) == 1)
                    }
                    _ => return false,
                };
                if stores {
                    // What an argument points to must not change before it is read.
                    if base != ZERO_OR_SP && self.in_frame & (1 << base) == 0 {
                        return false;
                    }
                    self.store(word, to, base);
                } else if !is_vector {
                    self.write(to);
                    if is_pair {
                        self.write(second);
                    }
                }
                if writes_base && base == ZERO_OR_SP {
                    self.move_stack();
                } else if writes_base {
                    self.write(base);
                }
            }
            _ if word != NOP => return false,
            _ => {}
        }
        self.goroutine && self.wanted.iter().all(|(_, held, slot)| *held || slot.is_some())
    }

    fn write(&mut self, register: u32) {
        self.in_frame &= !(1 << register);
        self.goroutine &= register != GOROUTINE;
        for (wanted, held, _) in &mut self.wanted {
            *held &= *wanted != register;
        }
    }

    /// The places are counted from the stack pointer.
    fn move_stack(&mut self) {
        for (.., slot) in &mut self.wanted {
            *slot = None;
        }
    }

    /// A store to the stack: of a whole register to a place that is known, it puts a value aside.
    fn store(&mut self, word: u32, from: u32, base: u32) {
        // str xT, [sp, #8 * N]
        let aside = word & 0xffc0_0000 == 0xf900_0000 && base == ZERO_OR_SP;
        let place = 8 * bits(word, 10, 12);
        // stp xzr, xzr, [sp, #8 * N], or of others, and smaller ones: where they end.
        for (wanted, held, slot) in &mut self.wanted {
            if aside {
                slot.take_if(|slot| *slot == place);
                if *held && *wanted == from {
                    *slot = Some(place);
                }
            } else if slot.is_some_and(|slot| !is_clear_of(word, base, slot)) {
                *slot = None;
            }
        }
    }
}

/// Whether a store to the stack leaves the eight bytes alone that are so far above its pointer.
fn is_clear_of(word: u32, base: u32, slot: u32) -> bool {
    if base != ZERO_OR_SP {
        return false;
    }
    let (start, size) = if word & 0xffc0_0000 == 0xa900_0000 {
        // stp xT, xT, [sp, #8 * N]
        let places = (bits(word, 15, 7) << 25).cast_signed() >> 25;
        (8 * places, 16)
    } else if word & 0x3fc0_0000 == 0x3900_0000 {
        // str, of 1 to 8 bytes
        let size = 1 << bits(word, 30, 2);
        ((size * bits(word, 10, 12)).cast_signed(), size.cast_signed())
    } else {
        return false;
    };
    let slot = slot.cast_signed();
    start + size <= slot || slot + 8 <= start
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
        // adrp x3, a page; bl; blr x2
        for simulated in [0x9000_0003, 0x9400_0100, 0xd63f_0040] {
            assert_eq!(with(&[simulated]), at(3), "{simulated:#x}");
        }
        // adrp x27, a page; ldr x27, [x27]: Go may go back to the first
        assert_eq!(with(&[0x9000_001b, 0xf940_037b]), at(5));
        // cbz x27; tbz x27, #0; blr x27
        for temporary in [0xb400_005b, 0x3600_005b, 0xd63f_0360] {
            assert_eq!(with(&[temporary]), Landing::stepped(START), "{temporary:#x}");
        }
    }

    #[test]
    fn a_large_frame_is_made_by_another_register() {
        // sub x20, sp, #688; stp x29, x30, [x20, #-8]; mov sp, x20; cbz
        assert_eq!(landing(&[0xd10a_c3f4, 0xa93f_fa9d, 0x9100_029f, CBZ, NOP, RET]), at(3));
        // sub x20, x2, #688: not of the stack
        let other = landing(&[0xd10a_c054, 0xa93f_fa9d, 0x9100_029f, CBZ, NOP, RET]);
        assert_eq!(other, Landing::stepped(START));
    }

    #[test]
    fn what_has_left_its_register_is_read_from_the_stack() {
        let with = |rest: &[u32]| landing(&[&FRAME[..], rest, &[CBZ, NOP, RET]].concat());
        // str x0, [sp, #8]; mov x0, x2
        let moved = with(&[0xf900_07e0, 0xaa02_03e0]);
        let mut spills = [Spill::NONE; SPILLS_MAX];
        spills[0] = Spill { register: 0, offset: 8 };
        assert_eq!(moved, Landing { spills, ..at(5) });
        // strb wzr, [sp, #7]; stp xzr, xzr, [sp, #16]: beside it
        for beside in [0x3900_1fff, 0xa901_7fff] {
            let found = with(&[0xf900_07e0, beside, 0xaa02_03e0]);
            assert_eq!(found, Landing { spills, ..at(6) }, "{beside:#x}");
        }
        for over in [
            0xf900_07e2, // str x2, [sp, #8]
            0x3900_3fff, // strb wzr, [sp, #15]
            0xa900_7fff, // stp xzr, xzr, [sp, #0]
            0x3d80_03e0, // str q0, [sp, #0]
            0xf81f_0fe2, // str x2, [sp, #-16]!
        ] {
            let found = with(&[0xf900_07e0, over, 0xaa02_03e0]);
            assert_eq!(found, Landing::stepped(START), "{over:#x}");
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
