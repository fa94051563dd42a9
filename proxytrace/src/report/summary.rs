//! The last line of the report, and what reports in every format say of findings alike.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use crate::diagnose::fruitless_probes;
use crate::model::{
    Chain, ChainId, Confidence, Finding, Next, Outcome, Request, Requirement, Role, Severity, Trace,
};
use crate::status;

/// The finding that says what capture missed.
pub(super) const INCOMPLETE: &str = "PT900";
/// How many modules of a finding are named.
const NAMED: usize = 3;
/// The files of a module, or of several, that people write.
const MODULE_FILES: [&str; 2] = ["go.mod", "go.work"];
/// The findings whose messages count something, which is another number in each run.
const COUNTING: [&str; 4] = ["PT102", "PT107", "PT406", INCOMPLETE];

/// The last line: what was seen, what is wrong, how long it took.
pub(super) fn summary(trace: &Trace) -> String {
    let chains = || trace.chains.iter();
    let attempts = || chains().flat_map(|chain| &chain.attempts);
    let requests = || attempts().flat_map(|attempt| &attempt.requests);
    // Prefixes of a path that go tried as modules, and which are none, do not count.
    let probes = fruitless_probes(trace);
    let modules: BTreeSet<&str> = chains()
        .filter(|chain| chain.version.is_some() || chain.outcome == Outcome::Ok)
        .filter(|chain| !probes.contains(&chain.id))
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

/// Of the lines that asked for a module of a finding the one that says most to a CI: one in the
/// repository before any other, and in a file that people write before one of the module cache, which
/// can be in the repository as well.
pub(super) fn source(finding: &Finding) -> Option<&Requirement> {
    let is_written = |one: &Requirement| MODULE_FILES.contains(&file_name(one));
    finding.sources.iter().min_by_key(|one| (one.path.is_none(), !is_written(one)))
}

/// Where a finding is in the sources. Where that is not known, the beginning of a go.mod, as some CIs
/// want a place for everything.
pub(super) fn place(finding: &Finding) -> (&str, u32) {
    let known = source(finding).and_then(|one| {
        // Outside of a repository a path of this machine's is of no use to them.
        let name = || Some(file_name(one)).filter(|name| MODULE_FILES.contains(name));
        Some((one.path.as_deref().or_else(name)?, one.line))
    });
    known.unwrap_or(("go.mod", 1))
}

fn file_name(source: &Requirement) -> &str {
    source.file.rsplit('/').next().unwrap_or(&source.file)
}

/// What is wrong, for readers that have no other place to say that it is a hypothesis.
pub(super) fn statement(finding: &Finding) -> String {
    match finding.confidence {
        Confidence::Certain => finding.message.clone(),
        Confidence::Possible => format!("possible: {}", finding.message),
    }
}

/// What is wrong and what to do, for readers that have one text of a finding.
pub(super) fn sentences(finding: &Finding) -> String {
    let statement = statement(finding);
    match finding.advice.as_str() {
        "" => statement,
        advice => format!("{}. {advice}", statement.trim_end_matches('.')),
    }
}

/// What tells a finding from all others of a document, and is the same for the same problem in
/// another run, so that a CI can tell new ones from old: its code and what it is about, hashed; of
/// equal ones the second has its number behind that. In the order of the findings.
pub(super) fn fingerprints(findings: &[&Finding]) -> Vec<String> {
    let mut seen: HashMap<String, u32> = HashMap::new();
    let unique = |finding: &&Finding| {
        let print = format!("{}-{:016x}", finding.code, hash(finding));
        let number = seen.entry(print.clone()).or_default();
        *number += 1;
        if *number == 1 { print } else { format!("{print}-{number}") }
    };
    findings.iter().map(unique).collect()
}

/// FNV-1a of what stays from run to run: how many there are of something does not, nor which modules
/// had come to it when go gave up, unless it is about one alone.
fn hash(finding: &Finding) -> u64 {
    let words = lasting_words(finding);
    let module = match finding.modules.as_slice() {
        [only] => only.as_str(),
        _ => "",
    };
    let parts = [finding.code.as_str(), finding.slug.as_str(), module].into_iter().chain(words);
    parts.flat_map(|part| part.bytes().chain([0])).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The words of a message without those that are others in each run.
pub(crate) fn lasting_words(finding: &Finding) -> impl Iterator<Item = &str> {
    let counts = COUNTING.contains(&finding.code.as_str());
    finding.message.split(' ').filter(move |word| !counts || !is_number(word))
}

/// Whether a word of a message is a number, whatever stands behind it.
fn is_number(word: &str) -> bool {
    let digits = word.trim_end_matches([',', ';']);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
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
    use super::{fingerprints, milliseconds, place, sentences, summary};
    use crate::model::{Artifact, Attempt, Confidence, Finding, Next, Outcome, Requirement};
    use crate::report::samples::{forbidden, probed};
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

    /// `go install golang.org/x/some/cmd@v1.0.0` asks for that version of each prefix.
    #[test]
    fn prefixes_that_are_no_modules_do_not_count() {
        let mut trace = probed();
        assert!(summary(&trace).contains(": 1 module, 4 requests,"), "{}", summary(&trace));
        // A zip is asked of what is a module.
        trace.chains[0].artifact = Artifact::Zip;
        assert!(summary(&trace).contains(": 2 modules, 4 requests,"), "{}", summary(&trace));
    }

    #[test]
    fn what_go_does_not_follow_is_no_redirect() {
        let mut trace = forbidden();
        assert!(summary(&trace).contains(" 40 redirects,"), "{}", summary(&trace));
        trace.chains[0].attempts[0].requests[0].status = Some(304);
        assert!(summary(&trace).contains(" 39 redirects,"), "{}", summary(&trace));
    }

    #[test]
    fn a_hypothesis_says_that_it_is_one() {
        let mut finding = forbidden().findings.remove(0);
        assert!(sentences(&finding).starts_with("storage.example answered 403"));
        finding.confidence = Confidence::Possible;
        assert!(sentences(&finding).starts_with("possible: storage.example answered 403"));
    }

    /// Lines are in the order of their files, and the module cache may be before the repository, or in
    /// it.
    #[test]
    fn a_place_is_in_the_repository_if_any_is() {
        let cached = ("/cache/x.lab/m/@v/v1.0.0.mod", None);
        let cached_within = ("/repo/.cache/x.lab/m/@v/v1.0.0.mod", Some(".cache/v1.0.0.mod"));
        let elsewhere = ("/home/go.mod", None);
        let own = ("/repo/sub/go.mod", Some("sub/go.mod"));
        let named = ("/repo/tools.mod", Some("tools.mod"));
        for (sources, expected) in [
            (&[][..], ("go.mod", 1)),
            (&[cached], ("go.mod", 1)),
            (&[cached, elsewhere], ("go.mod", 2)),
            (&[cached, elsewhere, named], ("tools.mod", 3)),
            (&[cached, cached_within, own], ("sub/go.mod", 3)),
        ] {
            let source = |(line, (file, path)): (u32, &(&str, Option<&str>))| Requirement {
                file: (*file).to_owned(),
                line,
                module: "x.lab/m".to_owned(),
                version: "v1.0.0".to_owned(),
                path: path.map(str::to_owned),
            };
            let sources = (1..).zip(sources).map(source).collect();
            let finding = Finding { sources, ..forbidden().findings.remove(0) };
            assert_eq!(place(&finding), expected);
        }
    }

    #[test]
    fn a_problem_has_the_same_fingerprint_in_each_run() {
        let finding = forbidden().findings.remove(0);
        let print = |finding: &Finding| fingerprints(&[finding]).remove(0);
        let told = |code: &str, message: &str, modules: &[&str]| {
            print(&Finding {
                code: code.to_owned(),
                message: message.to_owned(),
                modules: modules.iter().map(|module| (*module).to_owned()).collect(),
                ..finding.clone()
            })
        };
        let lost = |number: u32| told("PT900", &format!("{number} events were lost"), &[]);
        assert_eq!(lost(12), lost(900));
        let fan = "https://proxy2.lab failed, and `|` sent go to 9 different hosts by itself";
        assert_eq!(told("PT107", fan, &[]), told("PT107", &fan.replace('9', "12"), &[]));
        assert_ne!(told("PT107", fan, &[]), told("PT107", &fan.replace("proxy2", "proxy3"), &[]));
        // Elsewhere a number says what it is about.
        assert_ne!(told("PT409", "h answered 502", &[]), told("PT409", "h answered 503", &[]));
        // How far go came is chance; which one it is about, if it is one, is not.
        let about = |modules: &[&str]| told("PT409", "h answered 502", modules);
        assert_eq!(about(&["a@v1", "b@v1"]), about(&["b@v1", "a@v1", "c@v1"]));
        assert_ne!(about(&["a@v1"]), about(&["b@v1"]));
        // No two of a document are the same.
        let twice = fingerprints(&[&finding, &finding]);
        assert_eq!(twice[1], format!("{}-2", twice[0]));
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
