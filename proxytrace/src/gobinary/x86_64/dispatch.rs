//! Data-flow through a whole function: which of its calls is that of a method of an interface which
//! came in as a parameter.

use iced_x86::{Code, FlowControl, Instruction, InstructionInfoFactory, OpKind, Register};

use super::{Function, INTEGERS, is_on_stack, is_write, overlaps, stack_operand};
use crate::gobinary::Unproven;

/// How many instructions from the entry the parameter is put on the stack within.
const SPILLED_WITHIN: usize = 24;
/// General registers.
const REGISTERS: usize = 16;

/// What a register holds for certain.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Value {
    Unknown,
    /// The parameter: the itab of the interface.
    Itab,
    /// The method's address.
    Method,
}

/// What is certain before an instruction, on all ways to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct State {
    registers: [Value; REGISTERS],
    /// Whether the parameter's place on the stack holds it.
    spilled: bool,
}

/// Where the parameter is put on the stack, and the method's offset in an itab.
struct Dispatch {
    slot: u64,
    method: u64,
}

impl Function {
    /// The one call of a method of an interface that came in as a parameter (the number of its first
    /// register in Go's order); `method` is the method's offset in an itab.
    pub(in crate::gobinary) fn interface_call(
        &self,
        entry: u64,
        parameter: u8,
        method: u64,
    ) -> Result<u64, Unproven> {
        if self.has_jump_tables() {
            return Err(Unproven::JumpTable);
        }
        let register = *INTEGERS.get(usize::from(parameter)).ok_or(Unproven::Dispatch)?;
        let entry = self.position(entry).ok_or(Unproven::Dispatch)?;
        let first = self.instructions[entry..].iter().take(SPILLED_WITHIN);
        let slot = first
            .filter(|it| it.code() == Code::Mov_rm64_r64 && it.op1_register() == register)
            .find_map(|it| stack_operand(it, 0))
            .ok_or(Unproven::Dispatch)?;
        let mut escaping = self.instructions.iter().filter(|it| it.code() == Code::Lea_r64_m);
        if escaping.any(|it| stack_operand(it, 1) == Some(slot)) {
            return Err(Unproven::Dispatch);
        }

        let states = self.flow(entry, register, &Dispatch { slot, method });
        let mut calls = self.instructions.iter().zip(&states).filter(|(instruction, state)| {
            instruction.code() == Code::Call_rm64
                && instruction.op0_kind() == OpKind::Register
                && state.is_some_and(|state| state.of(instruction.op0_register()) == Value::Method)
        });
        match (calls.next(), calls.next()) {
            (Some((call, _)), None) => Ok(call.ip()),
            _ => Err(Unproven::Dispatch),
        }
    }

    /// What is certain before each instruction that the entry leads to.
    fn flow(&self, entry: usize, parameter: Register, dispatch: &Dispatch) -> Vec<Option<State>> {
        let mut states = vec![None; self.instructions.len()];
        let mut start = State { registers: [Value::Unknown; REGISTERS], spilled: false };
        start.registers[parameter.number()] = Value::Itab;
        let mut open = vec![(entry, start)];
        let mut info = InstructionInfoFactory::new();
        while let Some((position, state)) = open.pop() {
            let Some(instruction) = self.instructions.get(position) else { continue };
            // Each turn makes less certain: there is an end to that.
            let known = states[position].map_or(state, |known: State| known.and(state));
            if states[position] == Some(known) {
                continue;
            }
            states[position] = Some(known);
            let after = known.after(instruction, dispatch, &mut info);
            let branches = matches!(
                instruction.flow_control(),
                FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
            );
            if branches && let Some(target) = self.position(instruction.near_branch_target()) {
                open.push((target, after));
            }
            if !matches!(
                instruction.flow_control(),
                FlowControl::UnconditionalBranch | FlowControl::Return | FlowControl::Interrupt
            ) {
                open.push((position + 1, after));
            }
        }
        states
    }
}

impl State {
    fn of(&self, register: Register) -> Value {
        if register.is_gpr64() { self.registers[register.number()] } else { Value::Unknown }
    }

    /// What is certain if either may be so.
    fn and(self, other: Self) -> Self {
        let mut both = self;
        for (value, other) in both.registers.iter_mut().zip(other.registers) {
            if *value != other {
                *value = Value::Unknown;
            }
        }
        both.spilled &= other.spilled;
        both
    }

    /// What is certain after an instruction.
    fn after(
        self,
        instruction: &Instruction,
        dispatch: &Dispatch,
        info: &mut InstructionInfoFactory,
    ) -> Self {
        let mut after = self;
        // Go saves no registers over a call.
        if matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall) {
            after.registers = [Value::Unknown; REGISTERS];
            return after;
        }
        let info = info.info(instruction);
        let mut memory = info.used_memory().iter().filter(|memory| is_write(memory.access()));
        after.spilled &=
            !memory.any(|memory| is_on_stack(memory) && overlaps(memory, dispatch.slot));
        for used in info.used_registers().iter().filter(|used| is_write(used.access())) {
            let register = used.register().full_register();
            // The place is counted from there.
            after.spilled &= register != Register::RSP;
            if register.is_gpr64() {
                after.registers[register.number()] = Value::Unknown;
            }
        }
        match instruction.code() {
            Code::Mov_rm64_r64 | Code::Mov_r64_rm64 => {}
            _ => return after,
        }
        let value = match instruction.op1_kind() {
            OpKind::Register => self.of(instruction.op1_register()),
            _ if stack_operand(instruction, 1) == Some(dispatch.slot) && self.spilled => {
                Value::Itab
            }
            _ if self.of(instruction.memory_base()) == Value::Itab
                && instruction.memory_index() == Register::None
                && instruction.memory_displacement64() == dispatch.method =>
            {
                Value::Method
            }
            _ => Value::Unknown,
        };
        if instruction.op0_kind() == OpKind::Register {
            after.registers[instruction.op0_register().number()] = value;
        } else if stack_operand(instruction, 0) == Some(dispatch.slot) {
            after.spilled = value == Value::Itab;
        }
        after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 0x1000;
    /// push rbp; mov rbp, rsp; sub rsp, 16
    const ENTER: &[u8] = b"\x55\x48\x89\xe5\x48\x83\xec\x10";
    /// mov [rsp+0x28], rbx
    const SPILL: &[u8] = b"\x48\x89\x5c\x24\x28";
    const CALL: &[u8] = b"\xe8\x00\x00\x00\x00";
    /// mov rdx, [rsp+0x28]
    const LOAD: &[u8] = b"\x48\x8b\x54\x24\x28";
    /// mov rdx, [rdx+24]; xchg ax, ax; call rdx
    const DISPATCH: &[u8] = b"\x48\x8b\x52\x18\x66\x90\xff\xd2";
    const LEAVE: &[u8] = b"\x48\x83\xc4\x10\x5d\xc3";

    /// Where the method at 24 of the interface in BX and CX is called.
    fn call(code: &[&[u8]]) -> Result<u64, Unproven> {
        Function::decode(&code.concat(), START).expect("decodes").interface_call(START, 1, 24)
    }

    #[test]
    fn the_method_is_followed_from_the_parameter_to_the_call() {
        let expected = START + (ENTER.len() + 5 + 5 + 5 + 6) as u64;
        assert_eq!(call(&[ENTER, SPILL, CALL, LOAD, DISPATCH, LEAVE]), Ok(expected));
        // Spilled once more while it still is in its register: test rbx, rbx; je over it.
        let again = [b"\x48\x85\xdb\x74\x05", SPILL].concat();
        let found = call(&[ENTER, SPILL, &again, CALL, LOAD, DISPATCH, LEAVE]);
        assert_eq!(found, Ok(expected + again.len() as u64));
    }

    #[test]
    fn what_is_not_certain_is_refused() {
        let after_spill = |code: &[u8]| call(&[ENTER, SPILL, code, CALL, LOAD, DISPATCH, LEAVE]);
        for code in [
            &b"\x48\x89\x4c\x24\x28"[..],                // mov [rsp+0x28], rcx
            b"\x48\x85\xdb\x74\x05\x48\x89\x4c\x24\x28", // the same on one of two ways
            b"\xc6\x44\x24\x2a\x00",                     // mov byte [rsp+0x2a], 0
            b"\x48\x8d\x44\x24\x28",                     // lea rax, [rsp+0x28]
            b"\x48\x83\xec\x08",                         // sub rsp, 8
            b"\xff\x24\xca",                             // jmp [rdx+rcx*8]
        ] {
            assert!(after_spill(code).is_err(), "{code:x?}");
        }
        let other = b"\x48\x8b\x52\x20\xff\xd2"; // the method at 32
        assert!(call(&[ENTER, SPILL, CALL, LOAD, other, LEAVE]).is_err());
        let lost = b"\x48\x8b\x52\x18\x48\x89\xc2\xff\xd2"; // mov rdx, rax before the call
        assert!(call(&[ENTER, SPILL, CALL, LOAD, lost, LEAVE]).is_err());
        let twice = call(&[ENTER, SPILL, CALL, LOAD, DISPATCH, LOAD, DISPATCH, LEAVE]);
        assert_eq!(twice, Err(Unproven::Dispatch));
        assert_eq!(call(&[ENTER, CALL, LOAD, DISPATCH, LEAVE]), Err(Unproven::Dispatch));
    }
}
