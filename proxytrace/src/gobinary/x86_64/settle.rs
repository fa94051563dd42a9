//! Data-flow over the few instructions after a point where values are in registers: which of them
//! may be probed in its place.

use iced_x86::{Code, FlowControl, Instruction, InstructionInfoFactory, Register};
use proxytrace_common::plan::{SPILLS_MAX, Spill};

use super::{
    Function, GOROUTINE, INTEGERS, emulated::is_emulated, is_on_stack, is_write, overlaps,
    stack_operand,
};
use crate::gobinary::{
    Unproven,
    placement::{Landing, Step},
};

/// How many instructions are looked at: what follows a call is a test of its error.
const WINDOW: usize = 24;

/// Where the wanted values are, and the goroutine.
struct Values {
    /// Number in Go's order, whether its register still holds it, and where the stack does.
    wanted: Vec<(u8, bool, Option<u64>)>,
    info: InstructionInfoFactory,
}

impl Function {
    /// The place to read the values that are in registers (by their number in Go's order) before the
    /// instruction at `from`: the first after it that the kernel emulates and that nothing but the
    /// instructions from there leads to, all values being where they were, or on the stack.
    /// None if there is no such place.
    pub(super) fn settle(&self, from: usize, wanted: &[u8]) -> Option<Landing> {
        let mut values = Values::new(wanted);
        for (index, instruction) in self.instructions[from..].iter().take(WINDOW).enumerate() {
            if index > 0 && self.is_target(instruction.ip()) {
                return None;
            }
            if is_emulated(instruction) && instruction.flow_control() != FlowControl::Call {
                let address = instruction.ip();
                let spills = values.spills()?;
                return Some(Landing { step: Step::Emulated, spills, ..Landing::stepped(address) });
            }
            if instruction.flow_control() != FlowControl::Next || !values.survive(instruction) {
                return None;
            }
        }
        None
    }

    /// The places to read what the calls at these addresses returned: one for each time that one of
    /// them returns. All calls of one function must be given at once.
    pub(in crate::gobinary) fn after_calls(
        &self,
        calls: &[u64],
        wanted: &[u8],
    ) -> Result<Vec<Landing>, Unproven> {
        if self.has_jump_tables() {
            return Err(Unproven::JumpTable);
        }
        let mut landings = Vec::new();
        for &call in calls {
            let position =
                self.position(call).ok_or(Unproven::SplitInstruction { address: call })?;
            let next = self.instructions.get(position + 1).ok_or(Unproven::Extent)?;
            for branch in self.branches().filter(|b| b.near_branch_target() == next.ip()) {
                let follows = calls.iter().any(|&other| self.next_of(other) == Some(branch.ip()));
                if !follows || branch.flow_control() != FlowControl::UnconditionalBranch {
                    return Err(Unproven::Join { address: next.ip() });
                }
            }
            if next.code() == Code::Jmp_rel8_64 || next.code() == Code::Jmp_rel32_64 {
                // Another call may be followed by where this jumps to, and stand for both.
                let target = next.near_branch_target();
                if calls.iter().any(|&other| self.next_of(other) == Some(target)) {
                    continue;
                }
            }
            let stepped = Landing::stepped(next.ip());
            landings.push(self.settle(position + 1, wanted).unwrap_or(stepped));
        }
        Ok(landings)
    }

    /// Proves that this function returns what the call at an address in it returned, and in no other
    /// way.
    pub(in crate::gobinary) fn passes_on(&self, call: u64, wanted: &[u8]) -> Result<(), Unproven> {
        let unproven = Unproven::Changed { address: call };
        let position = self.position(call).ok_or(Unproven::Extent)?;
        let mut values = Values::new(wanted);
        for instruction in self.instructions[position + 1..].iter().take(WINDOW) {
            if self.is_target(instruction.ip()) {
                break;
            }
            if instruction.flow_control() == FlowControl::Return {
                let only = self.returns()? == [instruction.ip()];
                let held = values.wanted.iter().all(|(_, held, _)| *held);
                return if only && held { Ok(()) } else { Err(unproven) };
            }
            if instruction.flow_control() != FlowControl::Next || !values.survive(instruction) {
                break;
            }
        }
        Err(unproven)
    }

    /// The instruction after the one at an address.
    fn next_of(&self, address: u64) -> Option<u64> {
        Some(self.instructions[self.position(address)?].next_ip())
    }
}

impl Values {
    fn new(wanted: &[u8]) -> Self {
        let wanted = wanted.iter().map(|&number| (number, true, None)).collect();
        Self { wanted, info: InstructionInfoFactory::new() }
    }

    /// What is no more in its register, but on the stack; none if something is lost, or too much.
    fn spills(&self) -> Option<[Spill; SPILLS_MAX]> {
        let mut spills = [Spill::NONE; SPILLS_MAX];
        let moved = self.wanted.iter().filter(|(_, held, _)| !held);
        for (place, (number, _, slot)) in moved.enumerate() {
            let offset = u16::try_from((*slot)?).ok()?;
            *spills.get_mut(place)? = Spill { register: u16::from(*number), offset };
        }
        Some(spills)
    }

    /// Follows one instruction; says whether all values, and what they point to, are as they were.
    fn survive(&mut self, instruction: &Instruction) -> bool {
        let info = self.info.info(instruction);
        for memory in info.used_memory().iter().filter(|memory| is_write(memory.access())) {
            // What a result points to must not change before it is read.
            if !is_on_stack(memory) || memory.memory_size().size() == 0 {
                return false;
            }
            for (_, _, slot) in &mut self.wanted {
                slot.take_if(|slot| overlaps(memory, *slot));
            }
        }
        let written = info.used_registers().iter().filter(|used| is_write(used.access()));
        for register in written.map(|used| used.register().full_register()) {
            if register == GOROUTINE {
                return false;
            }
            for (number, held, slot) in &mut self.wanted {
                *held &= INTEGERS[usize::from(*number)] != register;
                // The places are counted from there.
                slot.take_if(|_| register == Register::RSP);
            }
        }
        if instruction.code() == Code::Mov_rm64_r64
            && let Some(offset) = stack_operand(instruction, 0)
        {
            for (number, held, slot) in &mut self.wanted {
                if *held && INTEGERS[usize::from(*number)] == instruction.op1_register() {
                    *slot = Some(offset);
                }
            }
        }
        self.wanted.iter().all(|(_, held, slot)| *held || slot.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 0x1000;
    const CALL: &[u8] = b"\xe8\x00\x00\x00\x00";
    /// Where the instruction after that call is.
    const NEXT: u64 = 0x1005;
    /// jne to the ret; nop; ret
    const TEST: &[u8] = b"\x75\x01\x90\xc3";
    /// AX, BX, CX: a pointer and an error.
    const RESULTS: &[u8] = &[0, 1, 2];

    fn function(code: &[&[u8]]) -> Function {
        Function::decode(&code.concat(), START).expect("decodes")
    }

    /// Where what the call returned is read, if these instructions are between it and the test.
    fn landing(between: &[u8]) -> Landing {
        let landings = function(&[CALL, between, TEST]).after_calls(&[START], RESULTS);
        let [landing] = landings.expect("proven")[..] else { panic!("one") };
        landing
    }

    #[test]
    fn the_branch_of_the_test_is_probed() {
        let emulated = Landing { step: Step::Emulated, ..Landing::stepped(NEXT + 3) };
        assert_eq!(landing(b"\x48\x85\xdb"), emulated); // test rbx, rbx
        // What is stored on the stack, and a change of the frame, do not matter.
        assert_eq!(landing(b"\x48\x89\x44\x24\x10").address, NEXT + 5); // mov [rsp+16], rax
        assert_eq!(landing(b"\x48\x83\xc4\x10").address, NEXT + 4); // add rsp, 16
        assert_eq!(landing(b"").address, NEXT);
    }

    #[test]
    fn what_has_left_its_register_is_read_from_the_stack() {
        // mov [rsp+16], rcx; mov rcx, [rsp+32]
        let moved = landing(b"\x48\x89\x4c\x24\x10\x48\x8b\x4c\x24\x20");
        assert_eq!((moved.address, moved.step), (NEXT + 10, Step::Emulated));
        let mut spills = [Spill::NONE; SPILLS_MAX];
        spills[0] = Spill { register: 2, offset: 16 };
        assert_eq!(moved.spills, spills);
    }

    #[test]
    fn what_is_lost_is_read_at_once() {
        for between in [
            &b"\x31\xc0"[..],                                            // xor eax, eax
            b"\x88\xd8",                                                 // mov al, bl
            b"\x4d\x89\xc6",         // mov r14, r8: the goroutine
            b"\x48\x89\x43\x08",     // mov [rbx+8], rax
            b"\x48\x89\x44\xcc\x10", // mov [rsp+8*rcx+16], rax
            b"\xf3\x48\xab",         // rep stosq
            b"\xff\xd2",             // call rdx
            b"\xe8\x00\x00\x00\x00", // call
            b"\x48\x89\x4c\x24\x10\x31\xc9\x48\xc7\x44\x24\x14\0\0\0\0", // spilled, then half of it overwritten
            b"\x48\x89\x4c\x24\x10\x31\xc9\x48\x83\xc4\x08",             // spilled, then add rsp, 8
        ] {
            assert_eq!(landing(between), Landing::stepped(NEXT), "{between:x?}");
        }
    }

    #[test]
    fn nothing_behind_a_join_is_probed() {
        // The test is where a jump from elsewhere goes.
        let joined = function(&[CALL, b"\x48\x85\xdb", TEST, b"\xeb\xfa"]);
        let landings = joined.after_calls(&[START], RESULTS).expect("proven");
        assert_eq!(landings, [Landing::stepped(NEXT)]);
        // So is what follows the call.
        let joined = function(&[CALL, b"\x48\x85\xdb", TEST, b"\xeb\xf7"]);
        let refused = joined.after_calls(&[START], RESULTS);
        assert_eq!(refused, Err(Unproven::Join { address: NEXT }));
        // A switch may go anywhere: jmp [rdx+rcx*8]
        let table = function(&[CALL, TEST, b"\xff\x24\xca"]);
        assert_eq!(table.after_calls(&[START], RESULTS), Err(Unproven::JumpTable));
    }

    #[test]
    fn two_calls_share_what_follows_them() {
        // call; jmp 1f; call; 1f: test rbx, rbx; jne
        let shared: &[&[u8]] = &[CALL, b"\xeb\x05", CALL, b"\x48\x85\xdb", TEST];
        // jne to the jmp, behind the first call
        let joined = function(&[shared, &[&b"\x75\xf0"[..]]].concat());
        let refused = joined.after_calls(&[START, 0x1007], RESULTS);
        assert_eq!(refused, Err(Unproven::Join { address: NEXT }));
        let function = function(shared);
        let landings = function.after_calls(&[START, 0x1007], RESULTS).expect("proven");
        assert_eq!(landings, [Landing { step: Step::Emulated, ..Landing::stepped(0x100f) }]);
        // What the jump comes from is another call.
        let refused = function.after_calls(&[0x1007], RESULTS);
        assert_eq!(refused, Err(Unproven::Join { address: 0x100c }));
        // A call on its own, followed by a jump, is read there.
        let landings = function.after_calls(&[START], RESULTS).expect("proven");
        assert_eq!(landings, [Landing { step: Step::Emulated, ..Landing::stepped(NEXT) }]);
    }

    #[test]
    fn a_wrapper_hands_on_what_it_got() {
        // add rsp, 16; pop rbp; ret
        let plain = function(&[CALL, b"\x48\x83\xc4\x10\x5d\xc3"]);
        assert_eq!(plain.passes_on(START, RESULTS), Ok(()));
        let changed = Err(Unproven::Changed { address: START });
        for rest in [
            &b"\x48\x89\xd8\xc3"[..], // mov rax, rbx; ret
            b"\x5d\xc3\xc3",          // another return
            b"\xff\xd2\xc3",          // another call
            b"\x5d\xc3\xeb\xfc",      // a jump behind the call
        ] {
            assert_eq!(function(&[CALL, rest]).passes_on(START, RESULTS), changed, "{rest:x?}");
        }
    }
}
