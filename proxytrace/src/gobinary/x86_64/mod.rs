//! Proofs over x86-64 machine code: which addresses of a function may be probed.
//!
//! Another architecture is another file with the same [`Function`] (see [`machine`](super::machine)).

mod dispatch;
mod emulated;
mod nil;
mod references;
mod settle;

use iced_x86::{
    Code, ConditionCode, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory,
    OpAccess, OpKind, Register, UsedMemory,
};

pub(super) use self::references::{DISPLACEMENT, displacements};
use super::{Unproven, placement::Landing};

/// Registers of integer arguments and results, in Go's order (`cmd/compile/abi-internal.md`).
const INTEGERS: [Register; 9] = [
    Register::RAX,
    Register::RBX,
    Register::RCX,
    Register::RDI,
    Register::RSI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
];
/// Where the running goroutine is.
const GOROUTINE: Register = Register::R14;
/// Bytes of a register.
const WORD: i64 = 8;

/// The scratch register that stack checks of larger frames compute in; never an argument
/// (`cmd/compile/abi-internal.md`).
const SCRATCH: Register = Register::R12;
/// Instructions from the slow path of a stack check to its call: spills of argument registers.
const SPILLS_MAX: usize = 32;

/// One function, decoded from its first byte to its last.
pub(super) struct Function {
    start: u64,
    end: u64,
    instructions: Vec<Instruction>,
    /// Where its branches go, ascending.
    targets: Vec<u64>,
}

impl Function {
    /// Decodes all of it, padding included, and proves that no branch in it goes between the
    /// boundaries found.
    pub(super) fn decode(code: &[u8], start: u64) -> Result<Self, Unproven> {
        let mut decoder = Decoder::with_ip(64, code, start, DecoderOptions::NONE);
        let mut instructions = Vec::new();
        while decoder.can_decode() {
            let instruction = decoder.decode();
            if instruction.is_invalid() {
                return Err(Unproven::Undecodable { address: instruction.ip() });
            }
            instructions.push(instruction);
        }
        let mut function = Self { start, end: decoder.ip(), instructions, targets: Vec::new() };
        function.targets = function.branches().map(Instruction::near_branch_target).collect();
        function.targets.sort_unstable();
        for branch in function.branches() {
            let target = branch.near_branch_target();
            if function.contains(target) && function.position(target).is_none() {
                return Err(Unproven::SplitInstruction { address: branch.ip() });
            }
        }
        Ok(function)
    }

    /// Where all arguments are still in their registers and no restart by a growing stack can come
    /// between: after the stack check, or the first instruction if there is none.
    pub(super) fn entry(&self, is_morestack: impl Fn(u64) -> bool) -> Result<u64, Unproven> {
        let mut info = InstructionInfoFactory::new();
        let mut probe = self.start;
        for instruction in &self.instructions {
            match instruction.flow_control() {
                FlowControl::Next if writes_only_scratch(&mut info, instruction) => {}
                FlowControl::ConditionalBranch
                    if matches!(
                        instruction.condition_code(),
                        ConditionCode::b | ConditionCode::be
                    ) && self.grows_stack(instruction.near_branch_target(), &is_morestack) =>
                {
                    probe = instruction.next_ip();
                }
                _ => break,
            }
        }
        if probe == self.start && self.calls().any(|call| is_morestack(call.near_branch_target())) {
            return Err(Unproven::StackCheck);
        }
        if self.is_target(probe) {
            return Err(Unproven::Loop { address: probe });
        }
        Ok(probe)
    }

    /// Every way out of the function: its returns, provided that it has no other.
    pub(super) fn returns(&self) -> Result<Vec<u64>, Unproven> {
        let mut returns = Vec::new();
        for instruction in &self.instructions {
            let address = instruction.ip();
            match instruction.flow_control() {
                FlowControl::Return if instruction.code() == Code::Retnq => returns.push(address),
                FlowControl::Return => return Err(Unproven::OtherExit { address }),
                FlowControl::IndirectBranch if !is_jump_table(instruction) => {
                    return Err(Unproven::OtherExit { address });
                }
                _ => {}
            }
        }
        if let Some(exit) = self.branches().find(|b| !self.contains(b.near_branch_target())) {
            return Err(Unproven::OtherExit { address: exit.ip() });
        }
        if returns.is_empty() { Err(Unproven::NoReturn) } else { Ok(returns) }
    }

    /// The same place as [`entry`](Self::entry), or one that the kernel emulates and that sees the
    /// wanted arguments (by their number in Go's order) all the same.
    pub(super) fn entry_landing(&self, entry: u64, wanted: &[u8]) -> Landing {
        let settled =
            (!self.has_jump_tables()).then(|| self.settle(self.position(entry)?, wanted)).flatten();
        settled.unwrap_or(Landing::stepped(entry))
    }

    fn has_jump_tables(&self) -> bool {
        let mut instructions = self.instructions.iter();
        instructions.any(|it| it.flow_control() == FlowControl::IndirectBranch)
    }

    /// Whether a branch of this function goes there.
    fn is_target(&self, address: u64) -> bool {
        self.targets.binary_search(&address).is_ok()
    }

    fn branches(&self) -> impl Iterator<Item = &Instruction> {
        self.instructions.iter().filter(|instruction| {
            matches!(
                instruction.flow_control(),
                FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
            )
        })
    }

    fn calls(&self) -> impl Iterator<Item = &Instruction> {
        self.instructions
            .iter()
            .filter(|instruction| instruction.flow_control() == FlowControl::Call)
    }

    fn contains(&self, address: u64) -> bool {
        (self.start..self.end).contains(&address)
    }

    fn position(&self, address: u64) -> Option<usize> {
        self.instructions.binary_search_by_key(&address, Instruction::ip).ok()
    }

    /// Whether the code there spills registers and then calls `runtime.morestack`.
    fn grows_stack(&self, address: u64, is_morestack: impl Fn(u64) -> bool) -> bool {
        let Some(position) = self.position(address) else { return false };
        let mut slow_path = self.instructions[position..].iter().take(SPILLS_MAX);
        let call = slow_path.find(|instruction| instruction.flow_control() != FlowControl::Next);
        call.is_some_and(|call| {
            call.flow_control() == FlowControl::Call && is_morestack(call.near_branch_target())
        })
    }
}

/// The offset from the stack pointer of a memory operand that is on the stack.
fn stack_operand(instruction: &Instruction, operand: u32) -> Option<u64> {
    (instruction.op_kind(operand) == OpKind::Memory
        && instruction.memory_base() == Register::RSP
        && instruction.memory_index() == Register::None)
        .then(|| instruction.memory_displacement64())
}

fn is_on_stack(memory: &UsedMemory) -> bool {
    memory.base() == Register::RSP && memory.index() == Register::None
}

/// Whether a place in memory, on the stack, shares bytes with the word at `slot`.
fn overlaps(memory: &UsedMemory, slot: u64) -> bool {
    let start = memory.displacement().cast_signed();
    let size = i64::try_from(memory.memory_size().size()).unwrap_or(i64::MAX);
    let slot = slot.cast_signed();
    start < slot.saturating_add(WORD) && slot < start.saturating_add(size)
}

/// Whether an access can change what is accessed.
fn is_write(access: OpAccess) -> bool {
    !matches!(access, OpAccess::None | OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess)
}

fn writes_only_scratch(info: &mut InstructionInfoFactory, instruction: &Instruction) -> bool {
    let info = info.info(instruction);
    info.used_memory().iter().all(|memory| !is_write(memory.access()))
        && info
            .used_registers()
            .iter()
            .all(|used| !is_write(used.access()) || used.register().full_register() == SCRATCH)
}

/// A `switch` (`jmp [table + 8 × index]`), whose targets the compiler takes from the function itself
/// (`OpAMD64JUMPTABLE` in `cmd/compile`).
fn is_jump_table(jump: &Instruction) -> bool {
    jump.code() == Code::Jmp_rm64
        && jump.memory_index() != Register::None
        && jump.memory_index_scale() == 8
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 0x1000;
    const MORESTACK: u64 = 0x100c;

    fn function(code: &[u8]) -> Result<Function, Unproven> {
        Function::decode(code, START)
    }

    fn entry(code: &[u8]) -> Result<u64, Unproven> {
        function(code)?.entry(|address| address == MORESTACK)
    }

    #[test]
    fn the_probe_comes_after_the_stack_check() {
        let code = b"\x49\x3b\x66\x10\x76\x03\x55\x5d\xc3\xe8\x00\x00\x00\x00\xeb\xf0";
        let function = function(code).expect("decodes");
        assert_eq!(function.entry(|address| address == 0x100e).expect("proven"), 0x1006);
        assert_eq!(function.returns().expect("proven"), [0x1008]);
    }

    #[test]
    fn frames_of_any_size() {
        // lea r12, [rsp-0x88]; cmp r12, [r14+0x10]; jbe; push rbp; pop rbp; ret; call; jmp
        let large = b"\x4c\x8d\xa4\x24\x78\xff\xff\xff\x4d\x3b\x66\x10\x76\x03\x55\x5d\xc3\xe8\x00\x00\x00\x00\xeb\xe8";
        let proven = function(large).expect("decodes").entry(|address| address == 0x1016);
        assert_eq!(proven.expect("proven"), 0x100e);
        // mov r12, rsp; sub r12, 0x20000; jb; cmp r12, [r14+0x10]; jbe; push rbp; pop rbp; ret; call; jmp
        let huge = b"\x49\x89\xe4\x49\x81\xec\x00\x00\x02\x00\x72\x09\x4d\x3b\x66\x10\x76\x03\x55\x5d\xc3\xe8\x00\x00\x00\x00\xeb\xe4";
        let proven = function(huge).expect("decodes").entry(|address| address == 0x101a);
        assert_eq!(proven.expect("proven"), 0x1012);
    }

    #[test]
    fn without_a_stack_check_the_first_instruction_is_the_entry() {
        assert_eq!(entry(b"\x48\x89\xd8\xc3").expect("proven"), START);
    }

    #[test]
    fn a_check_behind_a_written_argument_is_refused() {
        // xor eax, eax; cmp rsp, [r14+0x10]; jbe; ret; call MORESTACK
        let code = b"\x31\xc0\x49\x3b\x66\x10\x76\x01\xc3\xe8\xfe\xff\xff\xff";
        assert_eq!(entry(code), Err(Unproven::StackCheck));
    }

    #[test]
    fn a_compare_that_grows_no_stack_is_no_stack_check() {
        // cmp rax, rbx; jbe 1f; push rbp; 1f: ret
        assert_eq!(entry(b"\x48\x39\xd8\x76\x01\x55\xc3").expect("proven"), START);
    }

    #[test]
    fn a_loop_to_the_entry_is_refused() {
        assert_eq!(entry(b"\x90\xeb\xfd"), Err(Unproven::Loop { address: START }));
    }

    #[test]
    fn every_return_is_found_and_padding_is_none() {
        let found = function(b"\x90\xc3\x90\xc3\xcc\xcc").expect("decodes").returns();
        assert_eq!(found.expect("proven"), [0x1001, 0x1003]);
    }

    #[test]
    fn other_ways_out_are_refused() {
        for (code, address) in [
            (&b"\xc3\xeb\x10"[..], 0x1001),            // jmp behind the end
            (b"\xc3\xff\xe0", 0x1001),                 // jmp rax
            (b"\xc3\xc2\x08\x00", 0x1001),             // ret 8
            (b"\xc3\xff\x25\x00\x00\x00\x00", 0x1001), // jmp [rip]
        ] {
            let found = function(code).expect("decodes").returns();
            assert_eq!(found, Err(Unproven::OtherExit { address }), "{code:x?}");
        }
        // A switch: jmp [rdx+rcx*8].
        assert_eq!(
            function(b"\xc3\xff\x24\xca").expect("decodes").returns().expect("proven"),
            [START]
        );
        assert_eq!(function(b"\x0f\x0b").expect("decodes").returns(), Err(Unproven::NoReturn));
    }

    #[test]
    fn what_does_not_decode_whole_is_refused() {
        assert_eq!(function(b"\x90\x06").err(), Some(Unproven::Undecodable { address: 0x1001 }));
        assert_eq!(
            function(b"\x90\xe8\x00").err(),
            Some(Unproven::Undecodable { address: 0x1001 })
        );
        // jmp into the immediate of the mov that follows
        let split = function(b"\xeb\x01\xb8\x90\x90\x90\x90").err();
        assert_eq!(split, Some(Unproven::SplitInstruction { address: START }));
    }
}
