//! Returns of nothing but nil: `if err == nil { return nil }` is told at the branch of the test, which
//! the kernel emulates, in place of the return, which it does not.

use iced_x86::{Code, ConditionCode, FlowControl, Instruction, Register};
use proxytrace_common::plan::{Operand, Read, Recipe};

use super::{Function, INTEGERS, emulated::is_emulated};
use crate::gobinary::placement::{Landing, Step, registers};

/// Instructions of a block that zeroes results and returns.
const BLOCK_MAX: usize = 12;

impl Function {
    /// The place to read what the return at an address returns: the return, or the branch that alone
    /// leads to it.
    pub(in crate::gobinary) fn return_landing(&self, address: u64, recipe: &Recipe) -> Landing {
        let is_free = recipe.filter.read == Read::Absent as u8 && !self.has_jump_tables();
        let branch = nil(recipe).filter(|_| is_free).and_then(|nil| self.nil_branch(address, nil));
        branch.unwrap_or(Landing::stepped(address))
    }

    /// The branch after which both registers of an interface (by their number in Go's order) are set to
    /// zero and then returned at this address, if there is one; it is taken if and only if the first of
    /// them is zero there already. What is in the second then is of no interest.
    fn nil_branch(&self, returns: u64, interface: [u8; 2]) -> Option<Landing> {
        let end = self.position(returns)?;
        let mut begin = end;
        while !self.is_target(self.instructions[begin].ip()) {
            let before = self.instructions.get(begin.checked_sub(1)?)?;
            if before.flow_control() != FlowControl::Next {
                break;
            }
            begin -= 1;
        }
        let block = self.instructions.get(begin..end).filter(|it| it.len() <= BLOCK_MAX)?;
        let mut zeroed = Vec::new();
        for instruction in block {
            match zeroes(instruction) {
                Some(register) => zeroed.push(register),
                None if is_epilogue(instruction) => {}
                None => return None,
            }
        }
        let [is_nil, _] = interface;
        let all = interface.iter().all(|number| zeroed.contains(&INTEGERS[usize::from(*number)]));
        let branch = self.way_into(begin).filter(|_| all)?;
        let (test, branch) = (self.instructions[branch.checked_sub(1)?], self.instructions[branch]);
        let is_test =
            test.code() == Code::Test_rm64_r64 && test.op0_register() == test.op1_register();
        let is_of_it = is_test && test.op0_register() == INTEGERS[usize::from(is_nil)];
        (is_of_it && is_emulated(&branch) && !self.is_target(branch.ip())).then_some(Landing {
            step: Step::Emulated,
            zero: Some(is_nil),
            ..Landing::stepped(branch.ip())
        })
    }

    /// The position of the conditional branch that leads to an instruction if what was tested is zero,
    /// provided that nothing else leads there.
    fn way_into(&self, position: usize) -> Option<usize> {
        let address = self.instructions[position].ip();
        let before = position.checked_sub(1)?;
        let mut jumps = self.branches().filter(|branch| branch.near_branch_target() == address);
        match (self.instructions[before].flow_control(), jumps.next(), jumps.next()) {
            (FlowControl::ConditionalBranch, None, None) => {
                (self.instructions[before].condition_code() == ConditionCode::ne).then_some(before)
            }
            (FlowControl::UnconditionalBranch | FlowControl::Return, Some(only), None) => {
                let is_zero = only.condition_code() == ConditionCode::e;
                is_zero.then(|| self.position(only.ip())).flatten()
            }
            _ => None,
        }
    }
}

/// The registers of the error, if nothing else is read of what is returned: where the first is zero,
/// there is none.
fn nil(recipe: &Recipe) -> Option<[u8; 2]> {
    let error = &recipe.error;
    let alone = registers(&Recipe { error: Operand::ABSENT, ..*recipe }).is_empty();
    let in_registers = error.read == Read::RegisterInterface as u8;
    (in_registers && alone).then_some([error.register, error.length_register])
}

/// The register that an instruction sets to zero, as the compiler does it.
fn zeroes(instruction: &Instruction) -> Option<Register> {
    let is_xor = matches!(instruction.code(), Code::Xor_r32_rm32 | Code::Xor_rm32_r32);
    let itself = instruction.op0_register() == instruction.op1_register();
    (is_xor && itself).then(|| instruction.op0_register().full_register())
}

/// Whether it takes the frame down, or does nothing.
fn is_epilogue(instruction: &Instruction) -> bool {
    match instruction.code() {
        Code::Add_rm64_imm8 | Code::Add_rm64_imm32 => instruction.op0_register() == Register::RSP,
        Code::Pop_r64 | Code::Mov_r64_rm64 => instruction.op0_register() == Register::RBP,
        Code::Nopd | Code::Nop_rm16 | Code::Nop_rm32 | Code::Nop_rm64 => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proxytrace_common::record::{Kind, Tag};

    use super::*;

    const START: u64 = 0x1000;
    /// test rax, rax
    const TEST: &[u8] = b"\x48\x85\xc0";
    /// xor eax, eax; xor ebx, ebx; add rsp, 0x70; pop rbp; ret
    const NIL: &[u8] = b"\x31\xc0\x31\xdb\x48\x83\xc4\x70\x5d\xc3";

    /// A recipe that reads an error.
    fn of_error() -> Recipe {
        let error = Operand::register(Tag::Error, Read::RegisterInterface, 0);
        Recipe { error, ..Recipe::marker(Kind::WalkReturn) }
    }

    /// What is read at the return that ends `code`, with another behind it: an error.
    fn landing(code: &[&[u8]]) -> Landing {
        landing_of(code, &of_error())
    }

    fn landing_of(code: &[&[u8]], recipe: &Recipe) -> Landing {
        let code = code.concat();
        let function = Function::decode(&[&code[..], b"\xc3"].concat(), START).expect("decodes");
        function.return_landing(START + code.len() as u64 - 1, recipe)
    }

    fn at(address: u64) -> Landing {
        Landing { step: Step::Emulated, zero: Some(0), ..Landing::stepped(address) }
    }

    #[test]
    fn the_branch_that_alone_leads_there_tells_it() {
        // je to the block behind a return; jne past the block, which is next.
        assert_eq!(landing(&[TEST, b"\x74\x01\xc3", NIL]), at(START + 3));
        let next = landing(&[b"\xeb\x00", TEST, b"\x75\x0a", NIL]);
        assert_eq!(next, at(START + 5));
        let recipe = next.recipe(Recipe::marker(Kind::WalkReturn));
        assert_eq!(
            (recipe.address, recipe.filter.register, recipe.filter_value),
            (START + 5, 0, 0)
        );
    }

    #[test]
    fn whatever_else_may_lead_there_is_read_at_the_return() {
        for code in [
            // Another test; no test; the other way round; a test of half a register.
            &[b"\x48\x39\xd8\x74\x01\xc3", NIL][..],
            &[b"\x74\x01\xc3", NIL],
            &[TEST, b"\x75\x01\xc3", NIL],
            &[b"\x85\xc0\x74\x01\xc3", NIL],
            // A test of another register than the one that is read there.
            &[b"\x48\x85\xc9\x74\x01\xc3", NIL],
            &[b"\x48\x85\xdb\x74\x01\xc3", NIL],
            // Fallen into, too; jumped to from elsewhere, too; to the branch, not by way of the test.
            &[TEST, b"\x74\x01\x90", NIL],
            &[b"\x74\x06", TEST, b"\x74\x01\xc3", NIL],
            &[b"\x74\x03", TEST, b"\x74\x01\xc3", NIL],
            // One of the two alone is zero; something is written; something is called.
            &[TEST, b"\x74\x01\xc3\x31\xc0\xc3"],
            &[TEST, b"\x74\x01\xc3\x89\x03", NIL],
            &[TEST, b"\x74\x01\xc3\xff\xd2", NIL],
        ] {
            let found = landing(code);
            assert_eq!((found.step, found.zero), (Step::Stepped, None), "{code:x?}");
        }
    }

    /// Before the block has set it to zero, there is anything in it.
    #[test]
    fn what_else_is_read_is_read_at_the_return() {
        let code: &[&[u8]] = &[TEST, b"\x74\x01\xc3\x31\xc9", NIL];
        let mut recipe = of_error();
        assert_eq!(landing_of(code, &recipe).zero, Some(0));
        recipe.fields[0] = Operand::register(Tag::Status, Read::Register, 2);
        recipe.field_count = 1;
        assert_eq!(landing_of(code, &recipe).step, Step::Stepped);
        let none = Recipe { error: Operand::ABSENT, ..of_error() };
        assert_eq!(landing_of(code, &none).step, Step::Stepped);
        let in_memory = Operand::memory(Tag::Error, Read::Interface, 0, &[8]);
        let deep = Recipe { error: in_memory, ..of_error() };
        assert_eq!(landing_of(code, &deep).step, Step::Stepped);
    }
}
