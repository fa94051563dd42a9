//! From a trace to what is wrong with it.
//!
//! A failed chain has one root: of its last walk, the first attempt that failed for another reason
//! than absence, and of that attempt the redirect before the status or the transport (see
//! [`cause`]). What else is true of it contributes (see [`rules`]). A chain whose reason was not
//! seen (`unknown`, `canceled`, `unfinished`) has no root: right or silent. Signs with the same
//! message are one finding. Texts that came from the network stay as they are; who prints them
//! escapes them.
#![forbid(unsafe_code)]

mod catalogue;
mod cause;
mod checksums;
mod class;
mod configuration;
mod content;
mod credentials;
mod rules;
mod said;
mod sent;
mod sign;
mod speaker;
mod view;

#[cfg(test)]
mod tests;

use foldhash::{HashMap, HashSet};
use std::collections::BTreeMap;
use std::hash::Hash;

use crate::gomod::sources::asks_for;
use crate::model::{Chain, ChainId, Confidence, Finding, Requirement, Role, Severity, Trace};

pub use self::catalogue::{CATALOGUE, Kind, explain};
pub use self::class::{Class, class};
pub(crate) use self::view::culprit;

use self::sign::Sign;
use self::view::View;

/// What is wrong, worst first: roots before what contributes, then by first chain.
pub fn diagnose(trace: &Trace) -> Vec<Finding> {
    let view = View::new(trace);
    let mut grouped = Grouped::default();
    for chain in &trace.chains {
        let well = view.is_well(chain);
        let most = match well {
            false if view.failed(chain) => Some(Severity::Error),
            false if view.failed_unheeded(chain) => Some(Severity::Warning),
            _ => None,
        };
        if let Some(most) = most
            && let subject = view.subject(chain)
            && let Some(root) =
                configuration::root(&view, subject).or_else(|| cause::root(&view, subject))
        {
            // What explains the failure is what is shown of it.
            let root = Sign { chains: vec![subject.id, chain.id], ..root };
            grouped.add(Role::Root, root.at_most(most));
        }
        if !well
            && most.is_none()
            && let Some(before) = view.failed_before(chain)
            && let Some(root) = cause::root(&view, &before)
        {
            grouped.add(Role::Root, root);
        }
        let rules = rules::RULES.iter().filter(|(of, _)| !well || *of == rules::Of::Any);
        for sign in rules.flat_map(|(_, rule)| rule(&view, chain)) {
            grouped.add(Role::Contributing, sign);
        }
    }
    let general = rules::GENERAL.iter().flat_map(|rule| rule(&view));
    for sign in configuration::signs(&view).into_iter().chain(general) {
        grouped.add(Role::Contributing, sign);
    }
    let mut findings = grouped.findings(trace);
    findings.sort_by_key(|finding| {
        (std::cmp::Reverse(finding.severity), finding.role == Role::Contributing, finding.chain)
    });
    findings
}

/// Queries that go makes of all prefixes of a path at once, and that found nothing though another
/// did, or might have: their absence says nothing of a proxy.
pub(crate) fn fruitless_probes(trace: &Trace) -> HashSet<ChainId> {
    let view = View::new(trace);
    let fruitless = trace.chains.iter().filter(|chain| view.is_fruitless_probe(chain));
    fruitless.map(|chain| chain.id).collect()
}

/// Queries that came to nothing, and that go did without.
pub(crate) fn done_without(trace: &Trace) -> HashSet<ChainId> {
    let view = View::new(trace);
    let idle = trace.chains.iter().filter(|chain| view.is_done_without(chain));
    idle.map(|chain| chain.id).collect()
}

/// What equal signs have in common: code, severity, whether it is a root and whether a hypothesis,
/// message and advice.
type Key = (&'static str, Severity, bool, bool, String, String);

/// Signs put together by what they say.
#[derive(Default)]
struct Grouped {
    signs: Vec<(Role, Sign)>,
    places: BTreeMap<Key, usize>,
}

impl Grouped {
    fn add(&mut self, role: Role, sign: Sign) {
        let root = role == Role::Root;
        let (message, advice) = (sign.message.clone(), sign.advice.clone());
        let key = (sign.kind.code, sign.severity, root, sign.possible, message, advice);
        let place = *self.places.entry(key).or_insert(self.signs.len());
        match self.signs.get_mut(place) {
            Some((_, same)) => {
                same.chains.extend(sign.chains);
                same.requests.extend(sign.requests);
            }
            None => self.signs.push((role, sign)),
        }
    }

    fn findings(self, trace: &Trace) -> Vec<Finding> {
        let chains: HashMap<u32, &Chain> = trace.chains.iter().map(|c| (c.id, c)).collect();
        self.signs.into_iter().map(|(role, sign)| finding(role, sign, &chains, trace)).collect()
    }
}

fn finding(role: Role, sign: Sign, chains: &HashMap<u32, &Chain>, trace: &Trace) -> Finding {
    let sound = trace.capture.complete && !rules::is_guessed(&trace.capture);
    let certain = (sound && !sign.possible) || sign.kind.code == "PT900";
    let about: Vec<&Chain> =
        unique(sign.chains).iter().filter_map(|id| chains.get(id).copied()).collect();
    let first = about.first();
    let module = about.iter().find(|chain| chain.module.is_some());
    Finding {
        code: sign.kind.code.to_owned(),
        slug: sign.kind.slug.to_owned(),
        severity: sign.severity,
        role,
        chain: first.map(|chain| chain.id),
        chains: about.iter().map(|chain| chain.id).collect(),
        module: module.and_then(|chain| chain.module.clone()),
        version: module.and_then(|chain| chain.version.clone()),
        modules: modules(&about),
        requests: unique(sign.requests),
        message: sign.message,
        advice: sign.advice,
        confidence: if certain { Confidence::Certain } else { Confidence::Possible },
        sources: sources(&about, trace),
    }
}

/// The lines that asked for what chains are about.
fn sources(chains: &[&Chain], trace: &Trace) -> Vec<Requirement> {
    let asked = |requirement: &&Requirement| {
        chains.iter().any(|chain| {
            let module = chain.module.as_deref();
            module.is_some_and(|module| asks_for(requirement, module, chain.version.as_deref()))
        })
    };
    trace.requirements.iter().filter(asked).cloned().collect()
}

/// The modules that chains are about. A chain without a version (a list, a go-get) names its module
/// alone, unless others name it with one.
fn modules(chains: &[&Chain]) -> Vec<String> {
    let versioned: HashSet<&String> = chains
        .iter()
        .filter(|chain| chain.version.is_some())
        .filter_map(|chain| chain.module.as_ref())
        .collect();
    let names = chains.iter().filter_map(|chain| {
        let module = chain.module.as_ref()?;
        match &chain.version {
            Some(version) => Some(format!("{module}@{version}")),
            None => (!versioned.contains(module)).then(|| module.clone()),
        }
    });
    unique(names.collect())
}

/// Without repetitions, in the order of first appearance.
fn unique<T: Clone + Eq + Hash>(items: Vec<T>) -> Vec<T> {
    let mut seen = HashSet::default();
    items.into_iter().filter(|item| seen.insert(item.clone())).collect()
}
