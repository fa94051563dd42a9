use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use crate::correlate::status;
use crate::model::{Chain, ChainId, Finding, Next, Outcome, Request, Role, Severity, Trace};

/// The finding that says what capture missed.
pub(super) const INCOMPLETE: &str = "PT900";
/// How many modules of a finding are named.
const NAMED: usize = 3;

/// The last line: what was seen, what is wrong, how long it took.
pub(super) fn summary(trace: &Trace) -> String {
    let chains = || trace.chains.iter();
    let attempts = || chains().flat_map(|chain| &chain.attempts);
    let requests = || attempts().flat_map(|attempt| &attempt.requests);
    // Prefixes of a path that go tried as modules, and which are none, do not count.
    let modules: BTreeSet<&str> = chains()
        .filter(|chain| chain.version.is_some() || chain.outcome == Outcome::Ok)
        .filter_map(|chain| chain.module.as_deref())
        .collect();
    let cached = modules_all_cached(trace);
    let redirects = requests().filter(|request| is_redirected(request)).count();
    let fallbacks = attempts()
        .filter(|attempt| matches!(attempt.next, Some(Next::NextEntry | Next::Direct)))
        .count();
    let time =
        trace.command.duration_ns.map_or_else(String::new, |ns| format!(" ({})", seconds(ns)));
    format!(
        "proxytrace: {}{}, {}, {}, {}; {}{time}",
        count(modules.len(), "module"),
        match cached {
            0 => String::new(),
            all if all == modules.len() => " (all cached)".to_owned(),
            some => format!(" ({some} cached)"),
        },
        count(requests().count(), "request"),
        count(redirects, "redirect"),
        count(fallbacks, "fallback"),
        verdict(trace),
    )
}

/// Whether a request was answered with a redirect: 300 and 304 are answers like others to go.
pub(super) fn is_redirected(request: &Request) -> bool {
    request.after_redirect.is_some() && request.status.is_some_and(status::redirects)
}

/// How many modules had all that was wanted of them in the module cache.
fn modules_all_cached(trace: &Trace) -> usize {
    let mut cached: BTreeMap<&str, bool> = BTreeMap::new();
    for chain in &trace.chains {
        if let Some(module) = chain.module.as_deref() {
            *cached.entry(module).or_insert(true) &= chain.outcome == Outcome::Cached;
        }
    }
    cached.values().filter(|cached| **cached).count()
}

fn verdict(trace: &Trace) -> String {
    let related = Related::of(trace);
    let told = related.told(trace);
    let of = |severity| told.iter().filter(|(found, _)| found.severity == severity).count();
    let counts: Vec<String> = [(Severity::Error, "error"), (Severity::Warning, "warning")]
        .into_iter()
        .map(|(severity, name)| (of(severity), name))
        .filter(|(number, _)| *number > 0)
        .map(|(number, name)| count(number, name))
        .collect();
    let command = match (trace.command.signal, trace.command.exit_code) {
        (Some(signal), _) => Some(format!("the command was ended by signal {signal}")),
        (None, Some(0)) => None,
        (None, Some(code)) => Some(format!("the command exited with {code}")),
        (None, None) => Some("how the command ended is not known".to_owned()),
    };
    match (counts.is_empty(), command) {
        (true, None) if trace.capture.complete => "nothing wrong".to_owned(),
        (true, None) => "nothing wrong in what was seen".to_owned(),
        (true, Some(command)) => format!("nothing wrong seen, but {command}"),
        (false, None) => counts.join(", "),
        (false, Some(command)) => format!("{}; {command}", counts.join(", ")),
    }
}

/// What has a finding that follows from another one: an error that contributes to roots, and to nothing
/// else, is told with the first of them, and is no second error.
pub(super) struct Related<'a> {
    /// By the place of the root among the findings.
    beneath: HashMap<usize, Vec<&'a Finding>>,
    /// By its own place.
    places: HashSet<usize>,
}

impl<'a> Related<'a> {
    pub(super) fn of(trace: &'a Trace) -> Self {
        let mut roots: HashMap<ChainId, usize> = HashMap::new();
        for (place, root) in trace.findings.iter().enumerate() {
            if root.role == Role::Root && root.severity == Severity::Error {
                root.chains.iter().for_each(|chain| _ = roots.entry(*chain).or_insert(place));
            }
        }
        let mut related = Self { beneath: HashMap::new(), places: HashSet::new() };
        for (place, finding) in trace.findings.iter().enumerate() {
            let follows = finding.role == Role::Contributing
                && finding.severity == Severity::Error
                && finding.chains.iter().all(|chain| roots.contains_key(chain));
            if let Some(root) = finding.chain.filter(|_| follows).and_then(|id| roots.get(&id)) {
                related.beneath.entry(*root).or_default().push(finding);
                related.places.insert(place);
            }
        }
        related
    }

    /// The findings that are told for themselves, and what is told with each.
    pub(super) fn told(&self, trace: &'a Trace) -> Vec<(&'a Finding, &[&'a Finding])> {
        let own = trace.findings.iter().enumerate().filter(|(at, _)| !self.places.contains(at));
        own.map(|(at, one)| (one, self.beneath.get(&at).map_or(&[][..], Vec::as_slice))).collect()
    }
}

/// Whether a CI hears of a finding: notes are for who asks for them, but for what was missed.
pub(super) fn is_shown(finding: &Finding) -> bool {
    finding.severity > Severity::Note || finding.code == INCOMPLETE
}

/// Where a finding is in the sources: the first line that asked for one of its modules. Where that is
/// not known, the beginning of a go.mod, as some CIs want a place for everything.
pub(super) fn place(finding: &Finding) -> (&str, u32) {
    let Some(first) = finding.sources.first() else { return ("go.mod", 1) };
    // Where the root is not known, a path of this machine's is of no use to them.
    let name = || first.file.rsplit('/').next().unwrap_or(&first.file);
    (first.path.as_deref().unwrap_or_else(name), first.line)
}

/// What is wrong and what to do, for readers that have one text of a finding.
pub(super) fn sentences(finding: &Finding) -> String {
    match finding.advice.as_str() {
        "" => finding.message.clone(),
        advice => format!("{}. {advice}", finding.message.trim_end_matches('.')),
    }
}

/// The same for the same problem in another run, so that a CI can tell new ones from old: its code
/// and what it is about, hashed (FNV-1a).
pub(super) fn fingerprint(finding: &Finding) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    // Which module was first is chance.
    let modules: BTreeSet<&String> = finding.modules.iter().collect();
    let parts = [&finding.code, &finding.message].into_iter().chain(modules);
    for byte in parts.flat_map(|part| part.bytes().chain([0])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{}-{hash:016x}", finding.code)
}

/// `example.com/m@v1.0.0`, or the module alone where there is no version.
pub(super) fn module_name(chain: &Chain) -> Option<String> {
    let module = chain.module.as_ref()?;
    Some(chain.version.as_ref().map_or(module.clone(), |version| format!("{module}@{version}")))
}

/// The modules of a finding: `a@v1, b@v1, c@v1 and 37 more`.
pub(super) fn modules(finding: &Finding) -> String {
    let named = finding.modules.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>();
    match finding.modules.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// `1 module`, `2 modules`.
pub(super) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// A duration of the scale of requests: `0.4 ms`, `12 ms`, `1.2 s`.
pub(crate) fn milliseconds(ns: u64) -> String {
    match ns {
        0..10_000_000 => format!("{:.1} ms", Duration::from_nanos(ns).as_secs_f64() * 1e3),
        10_000_000..1_000_000_000 => format!("{} ms", ns / 1_000_000),
        1_000_000_000.. => seconds(ns),
    }
}

pub(super) fn seconds(ns: u64) -> String {
    format!("{:.1} s", Duration::from_nanos(ns).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::{milliseconds, summary};
    use crate::model::{Attempt, Next, Outcome};
    use crate::report::samples::forbidden;
    use crate::report::terminal::{Options, render};

    /// go asks it of private modules alone: where it is in a trace, it was asked.
    #[test]
    fn an_attempt_of_noproxy_is_shown_as_any_other() {
        let mut trace = forbidden();
        let noproxy = Attempt {
            proxy: "noproxy".to_owned(),
            outcome: Outcome::Dns,
            next: Some(Next::NextEntry),
            reason: "noproxy asked a host that has no address".to_owned(),
            requests: vec![],
            ..trace.chains[0].attempts[0].clone()
        };
        assert!(summary(&trace).contains(" 0 fallbacks"), "{}", summary(&trace));
        trace.chains[0].attempts.insert(0, noproxy);
        assert!(summary(&trace).contains(" 1 fallback;"), "{}", summary(&trace));
        let text = render(&trace, &Options { verbose: true, ..Options::default() });
        assert!(text.contains("= dns: noproxy asked a host that has no address"), "{text}");
    }

    #[test]
    fn what_go_does_not_follow_is_no_redirect() {
        let mut trace = forbidden();
        assert!(summary(&trace).contains(" 40 redirects,"), "{}", summary(&trace));
        trace.chains[0].attempts[0].requests[0].status = Some(304);
        assert!(summary(&trace).contains(" 39 redirects,"), "{}", summary(&trace));
    }

    #[test]
    fn durations() {
        for (ns, text) in [
            (0, "0.0 ms"),
            (449_000, "0.4 ms"),
            (12_900_000, "12 ms"),
            (999_999_999, "999 ms"),
            (1_000_000_000, "1.0 s"),
            (83_400_000_000, "83.4 s"),
        ] {
            assert_eq!(milliseconds(ns), text);
        }
    }
}
