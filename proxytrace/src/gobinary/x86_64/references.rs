//! Everything in code that refers to a function: by a displacement from where the next instruction is.

use iced_x86::FlowControl;

use super::Function;
use crate::gobinary::placement::Reference;

/// Bytes of a displacement.
pub(in crate::gobinary) const DISPLACEMENT: usize = 4;
/// How many of its values, by the remainder, are told apart at a glance: few enough for the cache that
/// is nearest.
const MARKS: usize = 1 << 12;

/// More references than a stretch of any go command's code has to functions with probes: in all of it
/// there are some dozens.
const PLACES_MAX: usize = 1 << 10;
/// No byte is ever here (`Image::parse`), so no function: nothing is proven of what refers from here.
const NOWHERE: u64 = u64::MAX;

/// The bytes that come before a displacement from the next instruction: the opcodes of `call`, `jmp`
/// and, after 0F, the conditional jumps; the `ModRM` byte of an operand in memory relative to RIP, and
/// that of `xbegin` (Intel's manual, volume 2, tables 2-2, 2-7 and A-2).
const PRECEDES: [bool; 256] = {
    let mut all = [false; 256];
    let mut byte = 0;
    while byte < all.len() {
        all[byte] = matches!(byte, 0xe8 | 0xe9 | 0x80..=0x8f | 0xf8) || byte & 0xc7 == 0x05;
        byte += 1;
    }
    all
};

/// The places in `code`, which is at `start`, whose four bytes would be a displacement to one of the
/// targets, with that: every reference by code is among them, and some are none. Where there are more
/// than any go command has, they all are as one reference to each target, from [`NOWHERE`].
pub(in crate::gobinary) fn displacements(
    code: &[u8],
    start: u64,
    targets: &[u64],
) -> Vec<(u64, u64)> {
    // A displacement and where it ends, counted from the start, have the same sum wherever the one
    // leads to the same target from the other.
    let sum = |target: u64| low(target.wrapping_sub(start));
    let mut marks = [false; MARKS];
    for target in targets {
        marks[sum(*target) as usize % MARKS] = true;
    }
    let mut found = Vec::new();
    // Byte by byte: this loop goes over all code there is.
    for (place, bytes) in (1..).zip(code.windows(1 + DISPLACEMENT)) {
        let &[before, ref bytes @ ..] = bytes else { continue };
        if !PRECEDES[usize::from(before)] {
            continue;
        }
        let Ok(bytes) = bytes.try_into() else { continue };
        let here = u32::from_le_bytes(bytes).wrapping_add(low(place + DISPLACEMENT as u64));
        if marks[here as usize % MARKS]
            && let Some(target) = targets.iter().find(|target| sum(**target) == here)
        {
            if found.len() == PLACES_MAX {
                return targets.iter().map(|target| (NOWHERE, *target)).collect();
            }
            found.push((start + place, *target));
        }
    }
    found
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is meant")]
fn low(value: u64) -> u32 {
    value as u32
}

impl Function {
    /// What the displacement at an address is, that leads to `target` if it is one.
    pub(in crate::gobinary) fn reference(&self, displacement: u64, target: u64) -> Reference {
        let place = self.instructions.partition_point(|it| it.ip() <= displacement);
        let Some(instruction) = place.checked_sub(1).and_then(|at| self.instructions.get(at))
        else {
            return Reference::Other;
        };
        match instruction.flow_control() {
            FlowControl::Call if instruction.near_branch_target() == target => {
                Reference::Call(instruction.ip())
            }
            // Begun again, with a larger stack.
            FlowControl::UnconditionalBranch
                if instruction.near_branch_target() == target && target == self.start =>
            {
                Reference::None
            }
            _ if instruction.near_branch_target() == target
                || instruction.is_ip_rel_memory_operand()
                    && instruction.ip_rel_memory_address() == target =>
            {
                Reference::Other
            }
            _ => Reference::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 0x1000;

    #[test]
    fn a_displacement_is_found_wherever_it_is() {
        // call 0x1000; a displacement that leads nowhere; lea rax, [rip-0x12] (0x1000)
        let code = b"\xe8\xfb\xff\xff\xff\xe8\x00\x00\x00\x00\x90\x48\x8d\x05\xee\xff\xff\xff";
        let found = displacements(code, START, &[0x1000, 0x2000]);
        assert_eq!(found, [(0x1001, 0x1000), (0x100e, 0x1000)]);
        assert_eq!(displacements(b"\xe8\xfb", START, &[START]), []);
    }

    #[test]
    fn more_than_any_go_command_has_prove_nothing() {
        // call START, again and again
        let calls = |count: i32| -> Vec<u8> {
            let call = |number: i32| {
                let [a, b, c, d] = (-5 * number).to_le_bytes();
                [0xe8, a, b, c, d]
            };
            (1..=count).flat_map(call).collect()
        };
        let most = i32::try_from(PLACES_MAX).expect("small");
        let targets = [START, 0x2000];
        assert_eq!(displacements(&calls(most), START, &targets).len(), PLACES_MAX);
        let crowded = displacements(&calls(most + 1), START, &targets);
        assert_eq!(crowded, [(NOWHERE, START), (NOWHERE, 0x2000)]);
    }

    #[test]
    fn a_reference_is_a_call_or_something_else() {
        // call START; lea rax, [START]; add eax, imm that looks like a displacement; jmp START
        let code = b"\xe8\xfb\xff\xff\xff\x48\x8d\x05\xf4\xff\xff\xff\x05\xef\xff\xff\xff\xe9\xea\xff\xff\xff";
        let function = Function::decode(code, START).expect("decodes");
        let found = displacements(code, START, &[START]);
        let found: Vec<_> =
            found.into_iter().map(|(at, target)| (at, function.reference(at, target))).collect();
        let expected = [
            (0x1001, Reference::Call(START)),
            (0x1008, Reference::Other),
            (0x100d, Reference::None),
            (0x1012, Reference::None),
        ];
        assert_eq!(found, expected);
        // The same jump from another function is none of a function that begins again.
        let jump = Function::decode(b"\xe9\xfb\xff\xff\xff", 0x2000).expect("decodes");
        assert_eq!(jump.reference(0x2001, 0x2000), Reference::None);
        let away = Function::decode(b"\xe9\xfb\xef\xff\xff", 0x2000).expect("decodes");
        assert_eq!(away.reference(0x2001, 0x1000), Reference::Other);
    }
}
