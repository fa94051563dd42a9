//! Where results are read: after each call of the function, where the kernel emulates an instruction
//! that sees them still, or else at the function's returns.
//!
//! A probe on a return is single-stepped, which costs ten microseconds; half a one where the kernel
//! emulates the instruction. Compilers leave none between the last of the results and the return,
//! but after the call there is nearly always the branch of a test for an error. All calls must be
//! known for that: nothing but calls may refer to the function, in code or in data. What remains are
//! reflection and interfaces made at run time, which can call exported methods only.

use std::collections::{BTreeMap, BTreeSet};

use proxytrace_common::plan::{BASE, KEPT, Operand, Read, Recipe, SPILLS_MAX, Spill};
use serde::{Deserialize, Serialize};

use super::{Code, Unproven, machine::Function, types::ITAB_HEADER};

/// Code that checks its own bytes (see `hooks`): none of it is probed.
const SELF_CHECKING: &str = "crypto/internal/fips140";

/// What a probe at an instruction costs.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Step {
    /// The kernel emulates it.
    Emulated,
    /// The kernel executes it elsewhere, in a single step.
    Stepped,
}

/// A place for a probe.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Landing {
    pub(super) address: u64,
    pub(super) step: Step,
    /// What is on the stack there instead of in its register.
    pub(super) spills: [Spill; SPILLS_MAX],
    /// The register, by its number in Go's order, that must be zero there: otherwise the way that is
    /// meant is not the one that is taken.
    pub(super) zero: Option<u8>,
}

impl Landing {
    /// A place where everything is in its register.
    pub(super) const fn stepped(address: u64) -> Self {
        Self { address, step: Step::Stepped, spills: [Spill::NONE; SPILLS_MAX], zero: None }
    }

    /// What the program does there, given what is read.
    pub(super) fn recipe(&self, recipe: Recipe) -> Recipe {
        let recipe = Recipe { address: self.address, spills: self.spills, ..recipe };
        match self.zero {
            Some(register) => {
                let filter = Operand { read: Read::Register as u8, register, ..Operand::ABSENT };
                Recipe { filter, filter_mask: u64::MAX, filter_value: 0, ..recipe }
            }
            None => recipe,
        }
    }
}

/// What something in code that could lead to a function is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reference {
    /// A call, at this address.
    Call(u64),
    /// None at all, or how the function begins again.
    None,
    /// Anything else, such as its address being taken.
    Other,
}

/// A function that another one hands its results on from, and that is called through an interface.
///
/// That nothing else calls the interface's method is known from Go's source, not proven.
#[derive(Clone, Copy, Debug)]
pub(super) struct Through {
    /// The one that calls the function, and returns what it returned.
    pub(super) wrapper: &'static str,
    /// The one that calls the wrapper, by the first method of an interface.
    pub(super) caller: &'static str,
    /// The parameter of the caller that is the interface: its first register, in Go's order.
    pub(super) parameter: u8,
}

/// Who calls the functions that have probes on what they return.
pub(super) struct Callers<'a> {
    code: &'a Code<'a>,
    /// The functions with calls in them, by their first address.
    functions: BTreeMap<u64, Function>,
    /// For each function called: the calls, by the function that they are in.
    calls: BTreeMap<u64, Result<Calls, Unproven>>,
    /// The functions to which data points.
    pointed: BTreeSet<u64>,
    /// Bytes of code that were decoded.
    decoded: u32,
}

/// So much code may be decoded to find calls, in bytes, each of which can be an instruction: what says
/// that it is a go command may be anybody's. Of a real one it is a few hundred functions.
const DECODED_MAX: u32 = 1 << 20;
/// So many calls of one function may be in another one.
const CALLS_MAX: usize = 64;

/// Addresses of calls, by the first address of the function that they are in.
type Calls = BTreeMap<u64, Vec<u64>>;

impl<'a> Callers<'a> {
    /// Searches the code and the data for references to functions, by their first address.
    pub(super) fn find(code: &'a Code<'a>, called: &[u64]) -> Self {
        let pointed = code.image.words_among(called);
        let mut found =
            Self { code, functions: BTreeMap::new(), calls: BTreeMap::new(), pointed, decoded: 0 };
        let mut calls: BTreeMap<u64, Result<Calls, Unproven>> =
            called.iter().map(|called| (*called, Ok(Calls::new()))).collect();
        for (place, called) in code.image.machine.displacements(code.image, called) {
            let known = calls.get_mut(&called).expect("one of those asked for");
            if let Ok(of_function) = known
                && let Err(unproven) = found.note(place, called, of_function)
            {
                *known = Err(unproven);
            }
        }
        found.calls = calls;
        found
    }

    /// Notes what is at a place that could be a reference to a function.
    fn note(&mut self, place: u64, called: u64, calls: &mut Calls) -> Result<(), Unproven> {
        let reference = Unproven::Reference { address: place };
        let Some(range) = self.code.function_around(place) else { return Err(reference) };
        let start = self.code.text + u64::from(range.start);
        if !self.functions.contains_key(&start) {
            let decoded = self.decoded.saturating_add(range.end - range.start);
            if decoded > DECODED_MAX {
                return Err(Unproven::Crowded);
            }
            self.decoded = decoded;
            self.functions.insert(start, self.code.decode(range)?);
        }
        match self.functions[&start].reference(place, called) {
            Reference::Call(_) if self.code.is_named(range, SELF_CHECKING) => Err(reference),
            Reference::Call(address) => {
                let calls = calls.entry(start).or_default();
                calls.push(address);
                if calls.len() > CALLS_MAX { Err(Unproven::Crowded) } else { Ok(()) }
            }
            Reference::None => Ok(()),
            Reference::Other => Err(reference),
        }
    }

    /// The places that see what a function returns, each time that it does, or that it does to those
    /// functions alone whose names begin so.
    pub(super) fn landings(
        &self,
        called: u64,
        within: Option<&str>,
        recipe: &Recipe,
    ) -> Result<Vec<Landing>, Unproven> {
        let wanted = registers(recipe);
        let mut landings = Vec::new();
        for (start, calls) in self.calls_within(called, within)? {
            landings.extend(self.functions[start].after_calls(calls, &wanted)?);
        }
        if landings.is_empty() { Err(Unproven::Uncalled) } else { Ok(landings) }
    }

    /// The calls themselves in functions whose names begin so: what is passed is in its registers.
    /// The kernel emulates direct calls.
    pub(super) fn calls(&self, called: u64, within: &str) -> Result<Vec<Landing>, Unproven> {
        let calls = self.calls_within(called, Some(within))?;
        let landing = |&address| Landing { step: Step::Emulated, ..Landing::stepped(address) };
        let landings: Vec<Landing> = calls.flat_map(|(_, calls)| calls).map(landing).collect();
        if landings.is_empty() { Err(Unproven::Uncalled) } else { Ok(landings) }
    }

    fn calls_within<'s>(
        &'s self,
        called: u64,
        within: Option<&'s str>,
    ) -> Result<impl Iterator<Item = (&'s u64, &'s Vec<u64>)>, Unproven> {
        let calls = self.calls_alone_of(called)?;
        let is_meant = move |start: u64| match (within, self.code.offset(start)) {
            (Some(name), Some(offset)) => self.code.table.starts_with(offset, name),
            (within, _) => within.is_none(),
        };
        Ok(calls.iter().filter(move |(start, _)| is_meant(**start)))
    }

    /// The same where the results are handed on through a wrapper that is called by an interface.
    pub(super) fn landings_through(
        &self,
        called: u64,
        wrapper: u64,
        parameter: u8,
        (dispatcher, entry): (&Function, u64),
        recipe: &Recipe,
    ) -> Result<Vec<Landing>, Unproven> {
        let wanted = registers(recipe);
        let calls = self.calls_alone_of(called)?;
        let only = calls.first_key_value().filter(|_| calls.len() == 1);
        let Some((&start, &[call])) = only.map(|(start, calls)| (start, calls.as_slice())) else {
            return Err(Unproven::Uncalled);
        };
        if start != wrapper || !self.calls_of(wrapper)?.is_empty() {
            return Err(Unproven::Reference { address: call });
        }
        self.functions[&start].passes_on(call, &wanted)?;
        let call = dispatcher.interface_call(entry, parameter, ITAB_HEADER)?;
        dispatcher.after_calls(&[call], &wanted)
    }

    /// The calls of a function to which no data points: there are no others.
    fn calls_alone_of(&self, called: u64) -> Result<&Calls, Unproven> {
        if self.pointed.contains(&called) {
            return Err(Unproven::Pointer { address: called });
        }
        self.calls_of(called)
    }

    fn calls_of(&self, called: u64) -> Result<&Calls, Unproven> {
        match self.calls.get(&called) {
            Some(Ok(calls)) => Ok(calls),
            Some(Err(unproven)) => Err(unproven.clone()),
            None => Err(Unproven::Uncalled),
        }
    }
}

/// The registers that a recipe reads, by their number in Go's order.
pub(super) fn registers(recipe: &Recipe) -> Vec<u8> {
    let others = [recipe.base, recipe.several, recipe.error, recipe.interface, recipe.filter];
    let operands = recipe.fields[..usize::from(recipe.field_count)].iter().chain(&others);
    let mut registers: Vec<u8> = operands
        .filter(|operand| operand.read != Read::Absent as u8)
        .flat_map(|operand| {
            let second = is_pair(operand).then_some(operand.length_register);
            [Some(operand.register), second]
        })
        .flatten()
        .filter(|&register| ![KEPT, BASE].contains(&register))
        .collect();
    registers.sort_unstable();
    registers.dedup();
    registers
}

fn is_pair(operand: &Operand) -> bool {
    [Read::RegisterString, Read::RegisterStringEnd, Read::RegisterInterface]
        .iter()
        .any(|read| *read as u8 == operand.read)
}
