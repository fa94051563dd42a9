//! The trace of what was asked: the walks that go would make, as chains.
//!
//! An entry beyond them which fails has a process of its own, whose list it is alone, so that it is
//! judged by itself.

use std::collections::{BTreeMap, HashMap};

use super::client::Book;
use super::probe::{Answer, Base, Question, fails};
use super::walk::{Asked, End, NEEDED, Step};
use crate::correlate::story;
use crate::event::{Origin, Setting, Surroundings};
use crate::goproxy::{Entry, ends_list, is_keyword};
use crate::model::{
    Artifact, Attempt, Capture, Chain, ChainId, Command, Contradiction, Next, Outcome, Process,
    ProcessId, RequestId, SCHEMA, Trace,
};
use crate::redact;

/// What surrounds the answers in the trace.
pub(super) struct Frame {
    pub(super) argv: Vec<String>,
    pub(super) config: BTreeMap<String, Setting>,
    pub(super) kernel: String,
    pub(super) started_at: String,
    pub(super) duration_ns: u64,
    pub(super) succeeded: bool,
}

/// The process in which the walks are made; those of entries beyond them come after it.
pub(super) const WALKER: ProcessId = 0;

/// The trace, without findings. What came of an entry that nobody reaches is in each walk that go would
/// come to it in.
pub(super) fn trace(asked: &Asked, book: Book, frame: &Frame) -> Trace {
    let code = Some(i32::from(!frame.succeeded));
    let mut walks = Walks { asked, made: Vec::new(), reached: Vec::new() };
    walks.entries();
    let beyond = walks.beyond();
    let process = |id, config, exit_code| Process {
        id,
        // Nobody's: nothing was run.
        pid: 0,
        parent: None,
        argv: frame.argv.clone(),
        exe: String::new(),
        go_version: None,
        config,
        started_ns: 0,
        ended_ns: Some(frame.duration_ns),
        exit_code,
        signal: None,
        stderr_tail: None,
        surroundings: Surroundings::default(),
    };
    let mut processes = vec![process(WALKER, frame.config.clone(), code)];
    for (place, id) in beyond {
        let mut config = frame.config.clone();
        let alone = Setting {
            value: redact::setting("GOPROXY", &asked.list.entries[place].proxy),
            origin: Origin::Default,
        };
        config.insert("GOPROXY".to_owned(), alone);
        processes.push(process(id, config, Some(1)));
    }
    Trace {
        schema: SCHEMA.to_owned(),
        proxytrace: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: frame.kernel.clone(),
        started_at: frame.started_at.clone(),
        command: Command {
            argv: frame.argv.clone(),
            exit_code: code,
            signal: None,
            duration_ns: Some(frame.duration_ns),
        },
        processes,
        chains: walks.made,
        connections: book.connections,
        lookups: book.lookups,
        requirements: Vec::new(),
        netrc: Vec::new(),
        findings: Vec::new(),
        capture: Capture {
            backend: super::BACKEND.to_owned(),
            complete: true,
            ..Capture::default()
        },
    }
}

/// Leaves each request in one chain: the one that a finding shows it of, or else the first.
pub(super) fn tell_once(trace: &mut Trace) {
    let mut shown: HashMap<RequestId, ChainId> = HashMap::new();
    for finding in &trace.findings {
        let chain = trace.chains.iter().find(|chain| Some(chain.id) == finding.chain);
        let attempts = chain.into_iter().flat_map(|chain| &chain.attempts);
        for request in attempts.flat_map(|attempt| &attempt.requests) {
            if let Some(chain) = finding.chain.filter(|_| finding.requests.contains(&request.id)) {
                shown.entry(request.id).or_insert(chain);
            }
        }
    }
    for chain in &mut trace.chains {
        for attempt in &mut chain.attempts {
            let chain = chain.id;
            attempt.requests.retain(|it| *shown.entry(it.id).or_insert(chain) == chain);
        }
    }
}

struct Walks<'a> {
    asked: &'a Asked,
    made: Vec<Chain>,
    /// Questions that a chain has the answer of, by entry.
    reached: Vec<(usize, Question)>,
}

impl Walks<'_> {
    fn entries(&mut self) {
        let asked = self.asked;
        for (module, subject) in asked.subjects.iter().enumerate() {
            if subject.private {
                continue;
            }
            for artifact in [Artifact::List, Artifact::Latest].into_iter().chain(NEEDED) {
                let question = (Some(module), artifact);
                if !subject.asks(artifact) {
                    continue;
                }
                // A chain whose answers are not all there would not be what go saw.
                let (steps, end) = asked.part(&asked.list.entries, question);
                let told = |step: &Step| {
                    self.evidence(step.place, question).is_some() || self.is_plain(step.place)
                };
                if steps.is_empty() || !steps.iter().all(told) {
                    continue;
                }
                let version = subject.version.clone();
                let version = version.filter(|_| NEEDED.contains(&artifact));
                let outcome = match end {
                    End::Served => Outcome::Ok,
                    End::Unasked | End::Late => Outcome::Unknown,
                    End::Failed(outcome) => outcome,
                };
                let attempts = steps.iter().map(|step| self.attempt(step, question)).collect();
                self.reached.extend(steps.iter().map(|step| (step.place, question)));
                self.push(WALKER, Some(subject.path.clone()), version, artifact, outcome, attempts);
                let by_go_sum = steps.iter().any(|step| self.by_go_sum(step.place, question));
                self.contradict(by_go_sum);
            }
        }
        self.sums();
    }

    /// Whether it is go.sum that says otherwise than an entry, rather than the checksum database.
    fn by_go_sum(&self, place: usize, question: Question) -> bool {
        let (Some(module), artifact) = question else { return false };
        let sums = &self.asked.sums;
        sums.differs(place, question)
            && match artifact {
                Artifact::Mod => sums.contradicted.contains(&(place, module)),
                _ => !self.asked.subjects[module].summed,
            }
    }

    /// Notes it of the chain that was made last.
    fn contradict(&mut self, by_go_sum: bool) {
        if let Some(last) = self.made.last_mut().filter(|_| by_go_sum) {
            last.contradicted_by = Some(Contradiction::GoSum);
        }
    }

    fn answer(&self, place: usize, question: Question) -> Option<&Answer> {
        self.asked.entries[place].by_question.get(&question)
    }

    /// The same, or what stands for it: who cannot be reached is not asked again.
    fn evidence(&self, place: usize, question: Question) -> Option<&Answer> {
        let entry = &self.asked.entries[place];
        let stands_for_all = |answer: &&Answer| entry.unreached == Some(answer.outcome);
        let any = || entry.by_question.values().find(stands_for_all);
        self.answer(place, question).or_else(any)
    }

    /// An entry that has an outcome without being asked.
    fn is_plain(&self, place: usize) -> bool {
        let entry = &self.asked.list.entries[place];
        let answers = &self.asked.entries[place];
        ends_list(&entry.proxy) || answers.invalid.is_some() || answers.barred.is_some()
    }

    fn attempt(&self, step: &Step, question: Question) -> Attempt {
        let entry = &self.asked.list.entries[step.place];
        let answer = self.evidence(step.place, question);
        let mut requests = answer.map_or_else(Vec::new, |answer| answer.requests.clone());
        let differs = self.asked.sums.differs(step.place, question);
        if differs && let Some(last) = requests.last_mut() {
            last.outcome = Outcome::Checksum;
        }
        let mut attempt = Attempt {
            proxy: redact::url(&entry.proxy).into_owned(),
            index: u32::try_from(step.place).ok(),
            separator: entry.separator,
            outcome: step.outcome,
            next: step.next,
            reason: String::new(),
            requests,
        };
        story::tell(&mut attempt, question.1, &self.asked.list);
        if entry.proxy == "direct" {
            "go asks the repository itself, which preflight does not"
                .clone_into(&mut attempt.reason);
        }
        if let Some(answer) = answer.filter(|_| step.outcome == Outcome::Unknown) {
            // Where the answer is known, it is its checksum that is not.
            let unverified = || "it is not known whether go could verify what came".to_owned();
            attempt.reason = answer.unknown().unwrap_or_else(unverified);
        }
        let answers = &self.asked.entries[step.place];
        if let Some(why) = answers.invalid.or(answers.barred.as_deref()) {
            attempt.reason = format!("{}: {why}", attempt.proxy);
        }
        attempt
    }

    fn push(
        &mut self,
        process: ProcessId,
        module: Option<String>,
        version: Option<String>,
        artifact: Artifact,
        outcome: Outcome,
        attempts: Vec<Attempt>,
    ) {
        let requests = || attempts.iter().flat_map(|attempt| &attempt.requests);
        let started_ns = requests().map(|request| request.started_ns).min().unwrap_or(0);
        let ended = requests().filter_map(|r| Some(r.started_ns + r.duration_ns?)).max();
        self.made.push(Chain {
            id: ChainId::try_from(self.made.len()).unwrap_or(ChainId::MAX),
            process,
            module,
            version,
            artifact,
            outcome,
            started_ns,
            duration_ns: ended.map(|ended| ended.saturating_sub(started_ns)),
            commands: Vec::new(),
            contradicted_by: None,
            attempts,
        });
    }

    /// Whether entries forward the checksum database, and what it said.
    fn sums(&mut self) {
        let asked = self.asked;
        let Some(base) = &asked.sums.base else { return };
        let question = (None, Artifact::SumdbSupported);
        let words = |entry: &Entry| is_keyword(&entry.proxy);
        let to = asked.list.entries.iter().position(|entry| ends_list(&entry.proxy));
        let to = to.unwrap_or(asked.list.entries.len());
        let entries = &asked.list.entries[..to];
        let (mut steps, end) = asked.walk(entries, question);
        steps.retain(|step| asked.sums.through && !words(&asked.list.entries[step.place]));
        let failed = matches!(base, Base::Failed);
        if let Some(last) = steps.last_mut()
            && !failed
            && last.next == Some(Next::Stop)
        {
            // go asks the database itself.
            last.next = Some(Next::Direct);
        }
        let told = steps.iter().all(|step| self.answer(step.place, question).is_some());
        if !steps.is_empty() && told {
            let outcome = match end {
                End::Served => Outcome::Ok,
                End::Unasked | End::Late if matches!(base, Base::Unasked) => Outcome::Unknown,
                End::Failed(outcome) if failed => outcome,
                _ => Outcome::NotFound,
            };
            let attempts = steps.iter().map(|step| self.attempt(step, question)).collect();
            self.reached.extend(steps.iter().map(|step| (step.place, question)));
            self.push(WALKER, None, None, Artifact::SumdbSupported, outcome, attempts);
        }
        for (module, subject) in asked.subjects.iter().enumerate() {
            let Some(answer) = asked.sums.lookups.get(&module) else { continue };
            let (path, version) = (Some(subject.path.clone()), subject.version.clone());
            let attempts = vec![self.of_database(base, answer, Artifact::SumdbLookup)];
            self.push(WALKER, path, version, Artifact::SumdbLookup, answer.outcome, attempts);
        }
        for answer in &asked.sums.tiles {
            let attempts = vec![self.of_database(base, answer, Artifact::SumdbTile)];
            self.push(WALKER, None, None, Artifact::SumdbTile, answer.outcome, attempts);
        }
    }

    /// What the checksum database answered, or who stands for it.
    fn of_database(&self, base: &Base, answer: &Answer, artifact: Artifact) -> Attempt {
        let list = &self.asked.list;
        let (proxy, index, separator) = if let Base::Entry(place, _) = base {
            let entry = &list.entries[*place];
            (redact::url(&entry.proxy).into_owned(), Some(*place), entry.separator)
        } else {
            let direct = list.entries.iter().position(|entry| entry.proxy == "direct");
            ("direct".to_owned(), direct, None)
        };
        let mut attempt = Attempt {
            proxy,
            index: index.and_then(|index| u32::try_from(index).ok()),
            separator,
            outcome: answer.outcome,
            next: (answer.outcome != Outcome::Ok).then_some(Next::Stop),
            reason: String::new(),
            requests: answer.requests.clone(),
        };
        story::tell(&mut attempt, artifact, list);
        attempt
    }

    /// A chain for each failure of an entry that no walk came to, and for what such an entry served:
    /// it speaks for it. The entries, and their processes.
    fn beyond(&mut self) -> Vec<(usize, ProcessId)> {
        let asked = self.asked;
        let mut processes = Vec::new();
        for (place, entry) in asked.entries.iter().enumerate() {
            let fails = |(question, answer): &(&Question, &Answer)| {
                let counts = asked.counts(place, **question);
                counts && fails(answer.outcome) && !self.reached.contains(&(place, **question))
            };
            // What stands for all of who cannot be reached is in the walks.
            let is_told = entry.unreached.is_some()
                && self.reached.iter().any(|(reached, _)| *reached == place);
            if is_told || !entry.by_question.iter().any(|one| fails(&one)) {
                continue;
            }
            let told = |one: &(&Question, &Answer)| fails(one) || one.1.outcome == Outcome::Ok;
            let told: Vec<(&Question, &Answer)> = entry.by_question.iter().filter(told).collect();
            let id =
                WALKER + 1 + ProcessId::try_from(processes.len()).unwrap_or(ProcessId::MAX - 1);
            processes.push((place, id));
            for (&question, answer) in told {
                let next = (answer.outcome != Outcome::Ok).then_some(Next::Stop);
                let step = Step { place, outcome: answer.outcome, next };
                let attempt =
                    Attempt { index: Some(0), separator: None, ..self.attempt(&step, question) };
                let subject = question.0.map(|module| &asked.subjects[module]);
                let module = subject.map(|subject| subject.path.clone());
                let version = subject.and_then(|subject| subject.version.clone());
                let version = version.filter(|_| NEEDED.contains(&question.1));
                self.push(id, module, version, question.1, answer.outcome, vec![attempt]);
                self.contradict(self.by_go_sum(place, question));
            }
        }
        processes
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::preflight::walk::tests::{ALL, two};

    /// The trace, with next to nothing around it.
    pub(in crate::preflight) fn bare(asked: &Asked) -> Trace {
        let frame = Frame {
            argv: Vec::new(),
            config: BTreeMap::new(),
            kernel: String::new(),
            started_at: String::new(),
            duration_ns: 0,
            succeeded: true,
        };
        trace(asked, Book::default(), &frame)
    }

    /// A list that is asked for to see whether somebody is there is nothing to warn of.
    #[test]
    fn what_go_does_not_ask_is_not_told_of() {
        let listed = |outcome| [&[(Artifact::List, outcome)][..], &ALL].concat();
        for (query, processes) in [("v1.0.0", 1), ("v1", 2)] {
            let asked = two(",", query, [&listed(Outcome::Ok), &listed(Outcome::HttpError)]);
            let trace = bare(&asked);
            assert_eq!(trace.processes.len(), processes, "{query}");
        }
    }
}
