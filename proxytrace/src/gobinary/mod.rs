//! What a Go executable tells: version, functions, layouts, and from them a [`Plan`].
//!
//! Nothing is taken on trust: an address becomes a [`Site`] only when disassembly of the whole
//! function proves it, and an executable whose tables contradict one another has no plan.
#![forbid(unsafe_code)]

mod aarch64;
mod buildinfo;
mod error;
mod hooks;
mod image;
mod layout;
mod machine;
mod moduledata;
mod offsets;
mod pclntab;
mod placement;
mod restarts;
mod rules;
#[cfg(test)]
mod tests;
mod types;
mod x86_64;

use std::collections::BTreeMap;

use proxytrace_common::plan::{Layout, Recipe, TypeRule};
use serde::{Deserialize, Serialize};

pub use self::{error::Error, machine::Machine, placement::Step};
use self::{
    error::Unproven,
    hooks::{HOOKS, Hook, Point},
    image::Image,
    layout::Version,
    machine::Function,
    moduledata::ModuleData,
    pclntab::{FunctionTable, Range},
    placement::{Callers, Landing, registers},
};
use crate::event::MissingHook;

/// The program that has hooks.
const GO_COMMAND: &str = "cmd/go";
/// Names of the functions that grow the stack begin so.
const MORESTACK: &str = "runtime.morestack";
/// The longest function that is disassembled; those with hooks have about 5,000 bytes.
const FUNCTION_MAX: u32 = 64 << 10;

/// So many probes a hook may need, and so many returns its function may have: 16 is the most in the
/// releases that are known.
const LANDINGS_MAX: usize = 64;

/// Who built an executable, read from its build info.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct BuildInfo {
    /// `go1.27.3`.
    pub go_version: String,
    /// Import path of the main package: `cmd/go` for the go command. Empty if unknown.
    pub main_package: String,
}

/// Everything needed to put probes into one executable.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Plan {
    /// Who built it.
    pub build: BuildInfo,
    /// Whose registers the recipes name.
    pub machine: Machine,
    /// Offsets that every probe needs.
    pub layout: Layout,
    /// The probed addresses, each proven, in the order in which they are to be put in: who enters
    /// `main.main` has met none of the others too late.
    pub sites: Vec<Site>,
    /// What to read of types that can be an error or a connection, by link-time address of their
    /// descriptors, ascending; of those of which there is something to read.
    pub types: Vec<(u64, TypeRule)>,
    /// Names of all of them, by the same addresses.
    pub type_names: BTreeMap<u64, String>,
    /// Functions that have probes.
    pub hooks: Vec<String>,
    /// Functions that have none.
    pub missing: Vec<MissingHook>,
    /// The version of the layout table used, when it is not the executable's own (`go1.27`).
    pub nearest: Option<String>,
}

/// One address to probe.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Site {
    /// The function.
    pub hook: String,
    /// Offset in the file, as the kernel wants it.
    pub offset: u64,
    /// What to read there; `recipe.address` is set, `recipe.executable` is for capture to set.
    pub recipe: Recipe,
    /// What a probe there costs.
    pub step: Step,
}

/// Reads who built an executable. None if it is no Go executable.
///
/// Touches only the ELF headers and one small section: cheap on a mapped file of any size.
pub fn identify(file: &[u8]) -> Result<Option<BuildInfo>, Error> {
    buildinfo::read(file)
}

/// Finds and proves all that the probes need to know about a go command.
pub fn plan(file: &[u8]) -> Result<Plan, Error> {
    plan_sparing(file, &|_| ())
}

/// The same, and tells of parts of the file that were read from end to end, and of which little is
/// read again: nearly all of it is, once, and whoever has it mapped may not want it all in memory.
pub fn plan_sparing(file: &[u8], spare: &dyn Fn(&[u8])) -> Result<Plan, Error> {
    let build = identify(file)?.ok_or(Error::NotGo)?;
    if build.main_package != GO_COMMAND {
        return Err(Error::NotGoCommand { main_package: build.main_package });
    }
    let mut image = Image::parse(file)?;
    image.spare = spare;
    let choice = layout::choose(&build.go_version)?;
    let version = choice.version;

    let (table_address, table) = pclntab::locate(&image)?;
    let table = FunctionTable::parse(table)?;
    let module = ModuleData::find(&image, table_address, table.len(), version)?;
    let code = Code { image: &image, table: &table, text: module.text };
    let Proven { sites, hooks, missing } = code.prove(version);

    let nearest = choice.is_nearest.then(|| format!("go1.{}", version.minor()));
    if let (Some(nearest), Some(MissingHook { hook, reason })) = (&nearest, missing.first()) {
        return Err(Error::NearestVersion {
            go_version: build.go_version,
            nearest: nearest.clone(),
            missing: format!("{hook}: {reason}"),
        });
    }
    let type_names = types::implementers(&image, &module, version)?;
    let types = rules_of(&type_names, version);
    let (layout, machine) = (version.layout(), image.machine);
    Ok(Plan { build, machine, layout, sites, types, type_names, hooks, missing, nearest })
}

/// The functions of an executable.
struct Code<'a> {
    image: &'a Image<'a>,
    table: &'a FunctionTable<'a>,
    text: u64,
}

/// The hooks of one version, found or not.
#[derive(Default)]
struct Proven {
    sites: Vec<Site>,
    hooks: Vec<String>,
    missing: Vec<MissingHook>,
}

impl Code<'_> {
    /// A function has all of its probes or none.
    fn prove(&self, version: Version) -> Proven {
        let rows: Vec<&Hook> =
            HOOKS.iter().filter(|hook| hook.go.contain(version.minor())).collect();
        let mut names = Vec::new();
        for hook in &rows {
            if !names.contains(&hook.function) {
                names.push(hook.function);
            }
        }
        let hooked = names.len();
        names.extend(
            rows.iter().filter_map(|hook| hook.through).flat_map(|it| [it.wrapper, it.caller]),
        );
        let found: BTreeMap<&str, Vec<Range>> =
            names.iter().copied().zip(self.table.find(&names)).collect();
        (self.image.spare)(self.table.section);
        let functions = Named { code: self, found };

        let returning = rows.iter().filter(|hook| hook.point == Point::Return);
        let called =
            returning.flat_map(|hook| [Some(hook.function), hook.through.map(|it| it.wrapper)]);
        let called: Vec<u64> =
            called.flatten().filter_map(|name| functions.start(name).ok()).collect();
        let callers = Callers::find(self, &called);

        let mut proven = Proven::default();
        for &function in &names[..hooked] {
            let rows = rows.iter().copied().filter(|hook| hook.function == function);
            match functions.sites(function, rows, &callers, version) {
                Ok(sites) => {
                    proven.sites.extend(sites);
                    proven.hooks.push(function.to_owned());
                }
                Err(unproven) => proven
                    .missing
                    .push(MissingHook { hook: function.to_owned(), reason: unproven.to_string() }),
            }
        }
        proven
    }

    fn decode(&self, range: Range) -> Result<Function, Unproven> {
        let length = range.end.checked_sub(range.start).ok_or(Unproven::Extent)?;
        if length == 0 || length > FUNCTION_MAX {
            return Err(Unproven::Extent);
        }
        let start = self.text.checked_add(range.start.into()).ok_or(Unproven::Extent)?;
        let bytes = self.image.bytes(start, length.into()).ok_or(Unproven::Extent)?;
        self.image.machine.decode(bytes, start)
    }

    /// The function that an address is in.
    fn function_around(&self, address: u64) -> Option<Range> {
        self.table.around(self.offset(address)?)
    }

    /// Whether a function's name begins so.
    fn is_named(&self, range: Range, prefix: &str) -> bool {
        self.table.starts_with(range.start, prefix)
    }

    /// Whether an instruction of a function is executed once where it is come to once.
    fn is_once(&self, range: Range, address: u64) -> bool {
        self.offset(address).is_some_and(|offset| self.table.is_executed_once(range, offset))
    }

    /// From the beginning of the text.
    fn offset(&self, address: u64) -> Option<u32> {
        address.checked_sub(self.text).and_then(|offset| u32::try_from(offset).ok())
    }

    fn is_morestack(&self, address: u64) -> bool {
        self.offset(address).is_some_and(|offset| self.table.starts_with(offset, MORESTACK))
    }
}

/// The functions that were searched by name.
struct Named<'a> {
    code: &'a Code<'a>,
    found: BTreeMap<&'a str, Vec<Range>>,
}

impl Named<'_> {
    fn range(&self, name: &str) -> Result<Range, Unproven> {
        match self.found.get(name).map_or(&[][..], Vec::as_slice) {
            [] => Err(Unproven::Absent),
            [range] => Ok(*range),
            ranges => Err(Unproven::Ambiguous { count: ranges.len() }),
        }
    }

    /// Its first address.
    fn start(&self, name: &str) -> Result<u64, Unproven> {
        self.code.text.checked_add(self.range(name)?.start.into()).ok_or(Unproven::Extent)
    }

    fn sites<'h>(
        &self,
        name: &str,
        rows: impl Iterator<Item = &'h Hook>,
        callers: &Callers<'_>,
        version: Version,
    ) -> Result<Vec<Site>, Unproven> {
        let range = self.range(name)?;
        let function = self.code.decode(range)?;
        let mut sites = Vec::new();
        for hook in rows {
            let recipe = hook.recipe(version);
            let calls = |within| callers.calls(self.start(name).ok()?, within).ok();
            let landings = match hook.point {
                Point::Entry if let Some(calls) = hook.within.and_then(calls) => calls,
                Point::Entry => {
                    let entry = function.entry(|address| self.code.is_morestack(address))?;
                    let landing = function.entry_landing(entry, &registers(&recipe));
                    let once =
                        landing.address == entry || self.code.is_once(range, landing.address);
                    vec![if once { landing } else { Landing::stepped(entry) }]
                }
                Point::Return => {
                    let returns = function.return_landings(&recipe)?;
                    match self.after_calls(hook, callers, &recipe) {
                        Ok(after_calls) if !are_better(&returns, &after_calls) => after_calls,
                        _ => returns,
                    }
                }
            };
            if landings.len() > LANDINGS_MAX {
                return Err(Unproven::Crowded);
            }
            for landing in landings {
                let offset =
                    self.code.image.code_offset(landing.address).ok_or(Unproven::Extent)?;
                let recipe = landing.recipe(recipe);
                let hook = hook.function.to_owned();
                sites.push(Site { hook, offset, recipe, step: landing.step });
            }
        }
        Ok(sites)
    }

    /// The places after its calls for a hook on a function's results.
    fn after_calls(
        &self,
        hook: &Hook,
        callers: &Callers<'_>,
        recipe: &Recipe,
    ) -> Result<Vec<Landing>, Unproven> {
        let function = self.start(hook.function)?;
        let Some(through) = hook.through else {
            return callers.landings(function, hook.within, recipe);
        };
        let caller = self.code.decode(self.range(through.caller)?)?;
        let entry = caller.entry(|address| self.code.is_morestack(address))?;
        let wrapper = self.start(through.wrapper)?;
        callers.landings_through(function, wrapper, through.parameter, (&caller, entry), recipe)
    }
}

/// Whether returns cost less than what follows the calls: where a call is single-stepped, but the
/// return without an error, which is that of nearly all, is not.
fn are_better(returns: &[Landing], after_calls: &[Landing]) -> bool {
    let is_emulated = |landing: &Landing| landing.step == Step::Emulated;
    returns.iter().any(is_emulated) && !after_calls.iter().all(is_emulated)
}

/// The rules of the types that have one: rows of [`Plan::types`].
///
/// Go prints the types of two packages of one name alike: such types are named, but not looked into.
fn rules_of(types: &BTreeMap<u64, String>, version: Version) -> Vec<(u64, TypeRule)> {
    let mut count = BTreeMap::new();
    for name in types.values() {
        *count.entry(name).or_insert(0_usize) += 1;
    }
    let only = types.iter().filter(|(_, name)| count[name] == 1);
    let rules = only.map(|(address, name)| (*address, rules::rule_for(name, version)));
    rules.filter(|(_, rule)| *rule != TypeRule::NAMED).collect()
}
