//! Proofs over A64 machine code: which addresses of a function may be probed.
//!
//! Every instruction is one word, so that there is no doubt about where one begins, and few have to
//! be told apart: what changes the flow of control, what a stack check is made of, and what makes
//! words data. That is why there is no decoder of a library's here.
//! Encodings: Arm Architecture Reference Manual for A-profile (DDI 0487), C4.1 and C6.2.

mod settle;

use std::ops::Range;

use super::Unproven;

/// Bytes of an instruction.
const SIZE: u64 = 4;
/// The goroutine (`cmd/compile/abi-internal.md`).
const GOROUTINE: u32 = 28;
/// The registers that stack checks compute in; never arguments (`cmd/internal/obj/arm64/obj7.go`).
const SCRATCH: [u32; 3] = [16, 17, 27];
/// The zero register where flags are set, the stack pointer elsewhere.
const ZERO_OR_SP: u32 = 31;
/// What jump tables are read into (`ssaGenBlock` in `cmd/compile/internal/arm64`).
const JUMP: u32 = 27;
/// Words from the slow path of a stack check to its call: spills of argument registers.
const SPILLS_MAX: usize = 64;

/// `ret`, to the link register.
const RET: u32 = 0xd65f_03c0;

/// How control goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Flow {
    /// To the next instruction.
    Next,
    /// Not at all: a trap.
    Trap,
    /// To an address.
    Jump(u64),
    /// To an address if `condition` holds, where that is one of flags; otherwise to the next.
    Branch { target: u64, condition: Option<u32> },
    /// To an address and back.
    Call(u64),
    /// To what a register says and back.
    IndirectCall,
    /// To what a register says.
    IndirectJump(u32),
    /// `ret`.
    Return,
    /// A return by another register, or one from an exception.
    OtherReturn,
}

/// Conditions: unsigned lower, and unsigned lower or the same.
const LOWER: u32 = 3;
const LOWER_OR_SAME: u32 = 9;

/// One function, from its first word to its last.
pub(super) struct Function {
    start: u64,
    end: u64,
    words: Vec<u32>,
    /// What each word does; none where it is data.
    flows: Vec<Option<Flow>>,
}

impl Function {
    /// Decodes all of it, padding included, and proves which words are data: those that an
    /// instruction before them loads by their address.
    pub(super) fn decode(code: &[u8], start: u64) -> Result<Self, Unproven> {
        let end = start.checked_add(code.len() as u64).ok_or(Unproven::Extent)?;
        let (chunks, rest) = code.as_chunks();
        if !start.is_multiple_of(SIZE) || !rest.is_empty() {
            return Err(Unproven::Undecodable { address: end - rest.len() as u64 });
        }
        let words: Vec<u32> = chunks.iter().copied().map(u32::from_le_bytes).collect();
        let mut function = Self { start, end, words, flows: Vec::new() };
        let mut is_data = vec![false; function.words.len()];
        for index in 0..function.words.len() {
            let (address, word) = (function.address(index), function.words[index]);
            if is_data[index] {
                function.flows.push(None);
                continue;
            }
            if !is_allocated(word) {
                return Err(Unproven::Undecodable { address });
            }
            if let Some(read) = literal(word, address) {
                // What is behind us has been taken for code.
                if read.start <= address && read.end > start {
                    return Err(Unproven::Undecodable { address });
                }
                // What is in front of the function, or behind it, is no word of it.
                let words = read.step_by(4).filter_map(|data| data.checked_sub(start));
                for word in words.filter_map(|offset| usize::try_from(offset / SIZE).ok()) {
                    if let Some(is_data) = is_data.get_mut(word) {
                        *is_data = true;
                    }
                }
            }
            function.flows.push(Some(flow(word, address)));
        }
        if let Some(address) = function.data_address() {
            return Err(Unproven::Undecodable { address });
        }
        for (index, flow) in function.flows() {
            let (Flow::Jump(target) | Flow::Branch { target, .. }) = flow else { continue };
            if function.contains(target) && function.flow_at(target).is_none() {
                return Err(Unproven::SplitInstruction { address: function.address(index) });
            }
        }
        Ok(function)
    }

    /// Where all arguments are still in their registers and no restart by a growing stack can come
    /// between: after the stack check, or the first instruction if there is none.
    pub(super) fn entry(&self, is_morestack: impl Fn(u64) -> bool) -> Result<u64, Unproven> {
        let mut probe = self.start;
        for (index, flow) in self.flows() {
            match flow {
                Flow::Next if writes_only_scratch(self.words[index]) => {}
                Flow::Branch { target, condition: Some(LOWER | LOWER_OR_SAME) }
                    if self.grows_stack(target, &is_morestack) =>
                {
                    probe = self.address(index + 1);
                }
                _ => break,
            }
        }
        let mut calls = self.flows();
        let calls_morestack = calls.any(|(_, f)| matches!(f, Flow::Call(to) if is_morestack(to)));
        if probe == self.start && calls_morestack {
            return Err(Unproven::StackCheck);
        }
        if self.flow_at(probe).is_none() {
            return Err(Unproven::Undecodable { address: probe });
        }
        if self.branches().any(|(_, target)| target == probe) {
            return Err(Unproven::Loop { address: probe });
        }
        Ok(probe)
    }

    /// Every way out of the function: its returns, provided that it has no other.
    pub(super) fn returns(&self) -> Result<Vec<u64>, Unproven> {
        let mut returns = Vec::new();
        for (index, flow) in self.flows() {
            let address = self.address(index);
            match flow {
                Flow::Return => returns.push(address),
                Flow::OtherReturn => return Err(Unproven::OtherExit { address }),
                Flow::IndirectJump(register) if !self.is_jump_table(index, register) => {
                    return Err(Unproven::OtherExit { address });
                }
                _ => {}
            }
        }
        if let Some((index, _)) = self.branches().find(|(_, target)| !self.contains(*target)) {
            return Err(Unproven::OtherExit { address: self.address(index) });
        }
        if returns.is_empty() { Err(Unproven::NoReturn) } else { Ok(returns) }
    }

    /// What may be data for all that is known: an address in the function is computed, and it is not
    /// where a call returns to (which Go computes for frames of `runtime.duffzero`).
    fn data_address(&self) -> Option<u64> {
        let mut computed = self
            .flows()
            .filter_map(|(index, _)| computed_address(self.words[index], self.address(index)));
        computed.find(|&address| {
            let call = address.checked_sub(SIZE).and_then(|address| self.flow_at(address));
            self.contains(address) && !matches!(call, Some(Flow::Call(_)))
        })
    }

    fn address(&self, index: usize) -> u64 {
        self.start + SIZE * index as u64
    }

    fn contains(&self, address: u64) -> bool {
        (self.start..self.end).contains(&address)
    }

    /// The instructions, by their place among the words.
    fn flows(&self) -> impl Iterator<Item = (usize, Flow)> {
        self.flows.iter().enumerate().filter_map(|(index, flow)| Some((index, (*flow)?)))
    }

    /// Branches and where they lead.
    fn branches(&self) -> impl Iterator<Item = (usize, u64)> {
        self.flows().filter_map(|(index, flow)| match flow {
            Flow::Jump(target) | Flow::Branch { target, .. } => Some((index, target)),
            _ => None,
        })
    }

    fn flow_at(&self, address: u64) -> Option<Flow> {
        let offset = address.checked_sub(self.start)?;
        let index = usize::try_from(offset / SIZE).ok()?;
        if offset.is_multiple_of(SIZE) { *self.flows.get(index)? } else { None }
    }

    /// Whether the code there spills registers and then calls `runtime.morestack`.
    fn grows_stack(&self, address: u64, is_morestack: impl Fn(u64) -> bool) -> bool {
        (address..).step_by(4).take(SPILLS_MAX).map(|address| self.flow_at(address)).find_map(
            |flow| match flow {
                Some(Flow::Next) => None,
                Some(Flow::Call(target)) => Some(is_morestack(target)),
                _ => Some(false),
            },
        ) == Some(true)
    }

    /// A `switch`: the target has just been read from a table of the compiler's
    /// (`OpARM64JUMPTABLE` in `cmd/compile`), and nothing else leads there.
    fn is_jump_table(&self, index: usize, register: u32) -> bool {
        // ldr x27, [xN, xM, lsl #3]
        let reads_table = |word: u32| word & 0xffe0_fc1f == 0xf860_7800 | JUMP;
        let before = index.checked_sub(1);
        let read = before.is_some_and(|i| self.flows[i].is_some() && reads_table(self.words[i]));
        let address = self.address(index);
        register == JUMP && read && !self.branches().any(|(_, target)| target == address)
    }
}

/// Bits `from` to `from + count - 1`.
fn bits(word: u32, from: u32, count: u32) -> u32 {
    (word >> from) & ((1 << count) - 1)
}

/// `address` and a signed number of words.
fn relative(address: u64, words: u32, width: u32) -> u64 {
    let extended = (words << (32 - width)).cast_signed() >> (32 - width);
    address.wrapping_add_signed(i64::from(extended) * SIZE.cast_signed())
}

/// Whether the word is in a part of the encoding space that has instructions (C4.1): `udf` among the
/// reserved.
fn is_allocated(word: u32) -> bool {
    match bits(word, 25, 4) {
        0b0000 => word >> 16 == 0,
        0b0001 | 0b0011 => false,
        _ => true,
    }
}

/// The bytes that an instruction loads by their distance from itself (`ldr` and `ldrsw` of a literal).
fn literal(word: u32, address: u64) -> Option<Range<u64>> {
    if word & 0x3b00_0000 != 0x1800_0000 {
        return None;
    }
    let vector = bits(word, 26, 1) == 1;
    let size = match (bits(word, 30, 2), vector) {
        (0, _) | (2, false) => 4,
        (1, _) => 8,
        (2, true) => 16,
        // A prefetch, or nothing.
        _ => return None,
    };
    let start = relative(address, bits(word, 5, 19), 19);
    Some(start..start.saturating_add(size))
}

/// The address that an `adr` computes.
fn computed_address(word: u32, address: u64) -> Option<u64> {
    let offset = bits(word, 5, 19) << 2 | bits(word, 29, 2);
    let extended = (offset << 11).cast_signed() >> 11;
    (word & 0x9f00_0000 == 0x1000_0000).then(|| address.wrapping_add_signed(extended.into()))
}

fn flow(word: u32, address: u64) -> Flow {
    // `udf`, `brk`, and the word that Go's assembler writes where nothing may come
    // (`AUNDEF` in `cmd/internal/obj/arm64/asm7.go`).
    if word >> 16 == 0 || word & 0xffe0_001f == 0xd420_0000 || word == 0xbea7_1700 {
        return Flow::Trap;
    }
    match bits(word, 26, 5) {
        0b00101 if bits(word, 31, 1) == 0 => {
            return Flow::Jump(relative(address, bits(word, 0, 26), 26));
        }
        0b00101 => return Flow::Call(relative(address, bits(word, 0, 26), 26)),
        _ => {}
    }
    if word & 0xff00_0000 == 0x5400_0000 {
        let target = relative(address, bits(word, 5, 19), 19);
        // With bit 4, it is a hint of the condition's consistency (`bc.cond`).
        return Flow::Branch { target, condition: Some(bits(word, 0, 4)) };
    }
    // cbz, cbnz; tbz, tbnz.
    if word & 0x7e00_0000 == 0x3400_0000 {
        return Flow::Branch { target: relative(address, bits(word, 5, 19), 19), condition: None };
    }
    if word & 0x7e00_0000 == 0x3600_0000 {
        return Flow::Branch { target: relative(address, bits(word, 5, 14), 14), condition: None };
    }
    // Unconditional branches to a register; with authentication they have other operands.
    if word & 0xfe00_0000 == 0xd600_0000 {
        let plain = word & 0x001f_fc1f == 0x001f_0000;
        return match (bits(word, 21, 4), plain) {
            (0b0000, true) => Flow::IndirectJump(bits(word, 5, 5)),
            (0b0001 | 0b1001, _) => Flow::IndirectCall,
            (0b0010, true) if word == RET => Flow::Return,
            _ => Flow::OtherReturn,
        };
    }
    Flow::Next
}

/// Whether the instruction writes no memory and no register but those of stack checks, and flags.
fn writes_only_scratch(word: u32) -> bool {
    let to = bits(word, 0, 5);
    let to_scratch = SCRATCH.contains(&to);
    let sets_flags = bits(word, 29, 1) == 1;
    match bits(word, 23, 6) {
        // Additions and subtractions of an immediate: cmp, and where the frame will end.
        0b10_0010 => to_scratch || (sets_flags && to == ZERO_OR_SP),
        // Moves of an immediate.
        0b10_0101 => to_scratch,
        _ => {
            // The same of registers, shifted or extended.
            let of_registers = bits(word, 24, 5) == 0b01011;
            // orr xD, xzr, xM: a move.
            let is_move = word & 0xffe0_ffe0 == 0xaa00_03e0;
            // ldr xD, [g, #offset]: the stack's guard.
            let guard = word & 0xffc0_03e0 == 0xf940_0000 | GOROUTINE << 5;
            (of_registers && (to_scratch || (sets_flags && to == ZERO_OR_SP)))
                || ((is_move || guard) && to_scratch)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 0x1000;
    const NOP: u32 = 0xd503_201f;
    /// ldr x16, [x28, #16]
    const GUARD: u32 = 0xf940_0b90;
    /// cmp sp, x16
    const COMPARE: u32 = 0xeb30_63ff;
    /// str x30, [sp, #-32]!
    const PUSH: u32 = 0xf81e_0ffe;

    fn function(words: &[u32]) -> Result<Function, Unproven> {
        let code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        Function::decode(&code, START)
    }

    /// An instruction with a displacement of so many words.
    fn to(word: u32, words: i32, from: u32, width: u32) -> u32 {
        word | (words.cast_unsigned() & ((1 << width) - 1)) << from
    }

    fn b(words: i32) -> u32 {
        to(0x1400_0000, words, 0, 26)
    }

    fn bl(words: i32) -> u32 {
        to(0x9400_0000, words, 0, 26)
    }

    fn b_if(condition: u32, words: i32) -> u32 {
        to(0x5400_0000 | condition, words, 5, 19)
    }

    /// The address of the word that a [`bl`] of so many words at `index` leads to.
    fn at(index: u64) -> u64 {
        START + SIZE * index
    }

    #[test]
    fn the_probe_comes_after_the_stack_check() {
        // mov x3, x30
        let code = [GUARD, COMPARE, b_if(LOWER_OR_SAME, 3), PUSH, RET, 0xaa1e_03e3, bl(100), b(-7)];
        let function = function(&code).expect("decodes");
        assert_eq!(function.entry(|address| address == at(106)).expect("proven"), at(3));
        assert_eq!(function.returns().expect("proven"), [at(4)]);
    }

    #[test]
    fn frames_of_any_size() {
        // sub x17, sp, #0x90; cmp x17, x16
        let large =
            [GUARD, 0xd102_43f1, 0xeb10_023f, b_if(LOWER_OR_SAME, 3), PUSH, RET, bl(100), b(-7)];
        let proven = function(&large).expect("decodes").entry(|address| address == at(106));
        assert_eq!(proven.expect("proven"), at(4));
        // mov x27, #0x20000; subs x17, sp, x27; b.lo; cmp x17, x16
        let huge = [
            GUARD,
            0xd2a0_005b,
            0xeb3b_63f1,
            b_if(LOWER, 5),
            0xeb10_023f,
            b_if(LOWER_OR_SAME, 3),
            PUSH,
            RET,
            bl(100),
            b(-9),
        ];
        let proven = function(&huge).expect("decodes").entry(|address| address == at(108));
        assert_eq!(proven.expect("proven"), at(6));
    }

    #[test]
    fn without_a_stack_check_the_first_instruction_is_the_entry() {
        assert_eq!(function(&[NOP, RET]).expect("decodes").entry(|_| true).expect("proven"), START);
    }

    #[test]
    fn a_check_behind_a_written_argument_is_refused() {
        // mov x0, #0
        let code = [0xd280_0000, GUARD, COMPARE, b_if(LOWER_OR_SAME, 2), RET, bl(100)];
        let refused = function(&code).expect("decodes").entry(|address| address == at(105));
        assert_eq!(refused, Err(Unproven::StackCheck));
    }

    #[test]
    fn a_compare_that_grows_no_stack_is_no_stack_check() {
        let code = [COMPARE, b_if(LOWER_OR_SAME, 2), NOP, RET];
        assert_eq!(function(&code).expect("decodes").entry(|_| true).expect("proven"), START);
    }

    #[test]
    fn a_loop_to_the_entry_is_refused() {
        for back in [b(-1), to(0xb400_0000, -1, 5, 19), to(0x3600_0000, -1, 5, 14)] {
            let refused = function(&[NOP, back]).expect("decodes").entry(|_| false);
            assert_eq!(refused, Err(Unproven::Loop { address: START }), "{back:#x}");
        }
    }

    #[test]
    fn every_return_is_found_and_padding_is_none() {
        let found = function(&[NOP, RET, NOP, RET, 0, 0]).expect("decodes").returns();
        assert_eq!(found.expect("proven"), [at(1), at(3)]);
    }

    #[test]
    fn other_ways_out_are_refused() {
        let table = 0xf861_785b; // ldr x27, [x2, x1, lsl #3]
        for exit in [
            b(100),
            b_if(0, 100),
            to(0xb400_0000, -3, 5, 19),
            0xd61f_0000, // br x0
            0xd61f_0360, // br x27, which comes from nowhere
            0xd65f_0000, // ret x0
            0xd65f_0bff, // retaa
            0xd69f_03e0, // eret
        ] {
            let found = function(&[RET, exit]).expect("decodes").returns();
            assert_eq!(found, Err(Unproven::OtherExit { address: at(1) }), "{exit:#x}");
        }
        let switch = function(&[RET, table, 0xd61f_0360]).expect("decodes").returns();
        assert_eq!(switch.expect("proven"), [START]);
        // Nobody says that it comes from the table.
        let entered = function(&[RET, table, 0xd61f_0360, b(-1)]).expect("decodes").returns();
        assert_eq!(entered, Err(Unproven::OtherExit { address: at(2) }));
        assert_eq!(function(&[NOP, 0]).expect("decodes").returns(), Err(Unproven::NoReturn));
    }

    #[test]
    fn what_is_read_as_data_is_no_code() {
        // ldr x0, [pc, #12]; ret; and eight bytes that look like returns
        let literal = to(0x5800_0000, 2, 5, 19);
        let found = function(&[literal, RET, RET, RET, RET]).expect("decodes").returns();
        assert_eq!(found.expect("proven"), [at(1), at(4)]);
        let into = function(&[literal, b(2), RET, RET]).err();
        assert_eq!(into, Some(Unproven::SplitInstruction { address: at(1) }));
        let backwards = function(&[NOP, to(0x5800_0000, -1, 5, 19)]).err();
        assert_eq!(backwards, Some(Unproven::Undecodable { address: at(1) }));
        // adr x27, where the call returns to; and where it is
        let (after, call) = (to(0x1000_001b, 2, 5, 19), to(0x1000_001b, 1, 5, 19));
        assert!(function(&[after, bl(100), RET]).is_ok());
        let refused = function(&[call, bl(100), RET]).err();
        assert_eq!(refused, Some(Unproven::Undecodable { address: at(1) }));
    }

    #[test]
    fn what_does_not_decode_whole_is_refused() {
        for word in [0x0200_0000, 0x0600_0000, 0x0001_0000] {
            let refused = function(&[NOP, word]).err();
            assert_eq!(refused, Some(Unproven::Undecodable { address: at(1) }), "{word:#x}");
        }
        let odd = Function::decode(&[0x1f, 0x20, 0x03, 0xd5, 0xc0], START).err();
        assert_eq!(odd, Some(Unproven::Undecodable { address: at(1) }));
        let misplaced = Function::decode(&NOP.to_le_bytes(), START + 2).err();
        assert!(misplaced.is_some());
    }
}
