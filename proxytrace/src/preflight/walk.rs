//! The walk that go would make with these answers, and the trace of it.
//!
//! Every entry was asked; the chains of the trace end where go would end. An entry beyond that which
//! fails has a process of its own, whose list it is alone, so that it is judged by itself.

use std::collections::BTreeMap;

use super::client::Book;
use super::probe::{Answer, Answers, Base, Question, Subject, fails};
use crate::correlate::goproxy::{Entry, List};
use crate::correlate::story;
use crate::event::{Origin, Setting, Surroundings};
use crate::model::{
    Artifact, Attempt, Capture, Chain, ChainId, Command, Next, Outcome, Process, ProcessId, SCHEMA,
    Separator, Trace,
};
use crate::redact;

/// Everything that was asked and answered.
pub(super) struct Asked {
    pub(super) list: List,
    pub(super) entries: Vec<Answers>,
    pub(super) subjects: Vec<Subject>,
    pub(super) sums: Sums,
}

/// What became of the checksum database.
#[derive(Default)]
pub(super) struct Sums {
    /// None if nobody has to be asked.
    pub(super) base: Option<Base>,
    /// What it said of each module.
    pub(super) lookups: BTreeMap<usize, Answer>,
    /// Whether it could not be reached, and so was not asked about the rest.
    pub(super) silent: bool,
    /// Entries whose `go.mod` of a module has another sum.
    pub(super) mismatches: Vec<(usize, usize)>,
    /// The same of their zips.
    pub(super) zips: Vec<(usize, usize)>,
    /// Entries and modules whose zip has a sum to be compared with, and none of its own that is known.
    pub(super) unverified: Vec<(usize, usize)>,
}

impl Sums {
    /// Entries and modules of which something has another sum.
    pub(super) fn differing(&self) -> impl Iterator<Item = (usize, usize)> {
        self.mismatches.iter().chain(&self.zips).copied()
    }

    /// Whether what an entry answered to a question has another sum.
    fn differs(&self, place: usize, question: Question) -> bool {
        let list = match question.1 {
            Artifact::Mod => &self.mismatches,
            Artifact::Zip => &self.zips,
            _ => return false,
        };
        question.0.is_some_and(|module| list.contains(&(place, module)))
    }
}

/// How a walk ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    Served,
    Failed(Outcome),
    /// At who is not asked here: `direct`, or a proxy that is not in the list.
    Unasked,
}

struct Step {
    place: usize,
    outcome: Outcome,
    next: Option<Next>,
}

/// What go needs of a module.
const NEEDED: [Artifact; 3] = [Artifact::Info, Artifact::Mod, Artifact::Zip];

impl Asked {
    /// How go would fare with a module if it walked these entries.
    pub(super) fn end(&self, entries: &[Entry], module: usize) -> End {
        let mut worst = End::Served;
        if self.subjects[module].version.is_none() {
            return match self.walk(entries, (Some(module), Artifact::List)).1 {
                // Who is there may know one.
                End::Unasked => End::Unasked,
                end => end.max(End::Failed(Outcome::NotFound)),
            };
        }
        // A version that another entry knows is not what go would find.
        if self.subjects[module].asks(Artifact::List)
            && let (_, end @ End::Failed(outcome)) =
                self.walk(entries, (Some(module), Artifact::List))
            && outcome != Outcome::NotFound
        {
            worst = end;
        }
        for artifact in NEEDED {
            worst = worst.max(self.walk(entries, (Some(module), artifact)).1);
        }
        worst
    }

    /// What an entry came to for a question; none if it was not asked.
    pub(super) fn outcome(&self, place: usize, question: Question) -> Option<Outcome> {
        let entry = &self.entries[place];
        if entry.invalid.is_some() {
            return Some(Outcome::Unknown);
        }
        let answered = entry.by_question.get(&question).map(|answer| answer.outcome);
        let outcome = answered.or(entry.unreached)?;
        if question.1 == Artifact::Zip && self.sums.differs(place, question) {
            return Some(Outcome::Checksum);
        }
        // go compares the sum first, and would look into the file later.
        let (Some(module), Artifact::Mod, Outcome::Ok | Outcome::BadContent) =
            (question.0, question.1, outcome)
        else {
            return Some(outcome);
        };
        let differs = self.sums.differs(place, question);
        let unverified = self.subjects[module].summed && !self.is_verified(module);
        Some(if !differs && !unverified { outcome } else { Outcome::Checksum })
    }

    fn is_verified(&self, module: usize) -> bool {
        let said = self.sums.lookups.get(&module).map(|answer| answer.outcome);
        match self.sums.base {
            None => true,
            Some(Base::Failed | Base::Nobody) => false,
            Some(_) => said.map_or(!self.sums.silent, |said| said == Outcome::Ok),
        }
    }

    fn walk(&self, entries: &[Entry], question: Question) -> (Vec<Step>, End) {
        let mut steps = Vec::new();
        let mut last = Outcome::NotFound;
        let mut following = entries.iter().peekable();
        while let Some(entry) = following.next() {
            let Some(place) = self.list.entries.iter().position(|other| other == entry) else {
                return (steps, End::Unasked);
            };
            let outcome = match entry.proxy.as_str() {
                "noproxy" => continue,
                "direct" => {
                    steps.push(Step { place, outcome: Outcome::Unknown, next: None });
                    return (steps, End::Unasked);
                }
                "off" => Outcome::NotFound,
                _ => match self.outcome(place, question) {
                    Some(outcome) => outcome,
                    None => Outcome::NotFound,
                },
            };
            if outcome == Outcome::Ok {
                steps.push(Step { place, outcome, next: None });
                return (steps, End::Served);
            }
            // A zip is looked at, and its sum compared, after the walk (`fetch.go:downloadZip`), and
            // a `go.mod` that has no checksum to be compared with is looked at then.
            let unsummed = question.0.is_some_and(|module| !self.subjects[module].summed);
            let settled = match outcome {
                Outcome::BadContent => {
                    question.1 == Artifact::Zip || question.1 == Artifact::Mod && unsummed
                }
                Outcome::Checksum => question.1 == Artifact::Zip,
                _ => false,
            };
            let on = outcome == Outcome::NotFound || entry.separator == Some(Separator::Pipe);
            let next =
                match following.peek() {
                    Some(next) if on && !settled && entry.proxy != "off" => {
                        if next.proxy == "direct" { Next::Direct } else { Next::NextEntry }
                    }
                    _ => Next::Stop,
                };
            steps.push(Step { place, outcome, next: Some(next) });
            // Of several failures the last other than absence is the one that is told.
            if outcome != Outcome::NotFound || last == Outcome::NotFound {
                last = outcome;
            }
            if next == Next::Stop {
                break;
            }
        }
        (steps, End::Failed(last))
    }
}

impl Ord for End {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let rank = |end: &Self| match end {
            Self::Served => 0,
            Self::Unasked => 1,
            Self::Failed(_) => 2,
        };
        rank(self).cmp(&rank(other))
    }
}

impl PartialOrd for End {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

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

/// The trace, without findings.
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
                let unreached = |entry: &Answers| entry.unreached.is_some();
                if !subject.asks(artifact) && !asked.entries.iter().any(unreached) {
                    continue;
                }
                // A chain whose answers are not all there would not be what go saw.
                let (steps, end) = asked.walk(&asked.list.entries, question);
                let told = |step: &Step| {
                    self.answer(step.place, question).is_some() || self.is_plain(step.place)
                };
                if steps.is_empty() || !steps.iter().all(told) {
                    continue;
                }
                let version = subject.version.clone();
                let version = version.filter(|_| NEEDED.contains(&artifact));
                let outcome = match end {
                    End::Served => Outcome::Ok,
                    End::Unasked => Outcome::Unknown,
                    End::Failed(outcome) => outcome,
                };
                let attempts = steps.iter().map(|step| self.attempt(step, question)).collect();
                self.reached.extend(steps.iter().map(|step| (step.place, question)));
                self.push(WALKER, Some(subject.path.clone()), version, artifact, outcome, attempts);
            }
        }
        self.sums();
    }

    fn answer(&self, place: usize, question: Question) -> Option<&Answer> {
        self.asked.entries[place].by_question.get(&question)
    }

    /// An entry that has an outcome without being asked.
    fn is_plain(&self, place: usize) -> bool {
        let entry = &self.asked.list.entries[place];
        matches!(entry.proxy.as_str(), "direct" | "off")
            || self.asked.entries[place].invalid.is_some()
    }

    fn attempt(&self, step: &Step, question: Question) -> Attempt {
        let entry = &self.asked.list.entries[step.place];
        let answer = self.answer(step.place, question);
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
        if let Some(why) = self.asked.entries[step.place].invalid {
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
        let words = |entry: &Entry| matches!(entry.proxy.as_str(), "direct" | "off" | "noproxy");
        let to =
            asked.list.entries.iter().position(|e| matches!(e.proxy.as_str(), "direct" | "off"));
        let to = to.unwrap_or(asked.list.entries.len());
        let entries = &asked.list.entries[..to];
        let (mut steps, end) = asked.walk(entries, question);
        steps.retain(|step| !words(&asked.list.entries[step.place]));
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
                End::Failed(outcome) if failed => outcome,
                _ => Outcome::NotFound,
            };
            let attempts = steps.iter().map(|step| self.attempt(step, question)).collect();
            self.reached.extend(steps.iter().map(|step| (step.place, question)));
            self.push(WALKER, None, None, Artifact::SumdbSupported, outcome, attempts);
        }
        for (module, subject) in asked.subjects.iter().enumerate() {
            let Some(answer) = asked.sums.lookups.get(&module) else { continue };
            let (proxy, index, separator) = if let Base::Entry(place, _) = base {
                let entry = &asked.list.entries[*place];
                (redact::url(&entry.proxy).into_owned(), Some(*place), entry.separator)
            } else {
                let direct = asked.list.entries.iter().position(|e| e.proxy == "direct");
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
            story::tell(&mut attempt, Artifact::SumdbLookup, &asked.list);
            let (path, version) = (Some(subject.path.clone()), subject.version.clone());
            self.push(WALKER, path, version, Artifact::SumdbLookup, answer.outcome, vec![attempt]);
        }
    }

    /// A chain for each failure of an entry that no walk came to, and for what such an entry served:
    /// it speaks for it. The entries, and their processes.
    fn beyond(&mut self) -> Vec<(usize, ProcessId)> {
        let asked = self.asked;
        let mut processes = Vec::new();
        for (place, entry) in asked.entries.iter().enumerate() {
            let fails = |(question, answer): &(&Question, &Answer)| {
                let probe = asked.sums.base.is_none() && question.0.is_none();
                let matters = !probe || entry.unreached.is_some();
                fails(answer.outcome) && matters && !self.reached.contains(&(place, **question))
            };
            if !entry.by_question.iter().any(|one| fails(&one)) {
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
            }
        }
        processes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::Fare;
    use crate::preflight::choose::{Allowed, choose};
    use crate::preflight::client::Body;
    use crate::preflight::probe::base;
    use crate::preflight::settings::Database;
    use crate::preflight::verdict::fare;

    /// A list of one entry that cannot be reached, and a module of this version.
    fn unreached(version: Option<&str>) -> Asked {
        let setting =
            Setting { value: "https://bad.example".to_owned(), origin: Origin::Environment };
        let subject = Subject {
            path: "example.com/m".to_owned(),
            query: version.unwrap_or("latest").to_owned(),
            version: version.map(str::to_owned),
            private: false,
            summed: false,
        };
        Asked {
            list: List::of(&BTreeMap::from([("GOPROXY".to_owned(), setting)])),
            entries: vec![Answers {
                unreached: Some(Outcome::ConnectRefused),
                ..Answers::default()
            }],
            subjects: vec![subject],
            sums: Sums::default(),
        }
    }

    /// Who was not asked neither works nor fails.
    #[test]
    fn what_depends_on_who_was_not_asked_is_not_known() {
        for version in [Some("v1.0.0"), None] {
            let mut asked = unreached(version);
            for with_modules in [true, false] {
                if !with_modules {
                    asked.subjects.clear();
                }
                assert_eq!(fare(&asked, &asked.list.entries), Fare::Fails);
                for (public, direct) in [(true, false), (false, true), (true, true)] {
                    let choice = choose(&asked.list.entries, &[true], Allowed { direct, public });
                    assert_eq!(choice.left_out, [0]);
                    assert_eq!(fare(&asked, &choice.entries), Fare::Unknown, "{version:?}");
                }
            }
        }
    }

    /// What two entries answered: `https://a` and `https://b`, in this order.
    fn two(separator: &str, query: &str, answers: [&[(Artifact, Outcome)]; 2]) -> Asked {
        let asked = unreached(Some("v1.0.0"));
        let value = format!("https://a{separator}https://b");
        let setting = Setting { value, origin: Origin::Environment };
        let entries = answers.map(|answers| Answers {
            by_question: answers
                .iter()
                .map(|&(artifact, outcome)| {
                    let module = (artifact != Artifact::SumdbSupported).then_some(0);
                    let failures = u32::from(fails(outcome)) * 3;
                    let (requests, body) = (Vec::new(), Body::default());
                    ((module, artifact), Answer { requests, outcome, failures, body })
                })
                .collect(),
            ..Answers::default()
        });
        let mut subjects = asked.subjects;
        subjects[0].query = query.to_owned();
        Asked {
            list: List::of(&BTreeMap::from([("GOPROXY".to_owned(), setting)])),
            entries: entries.into(),
            subjects,
            sums: Sums::default(),
        }
    }

    const ALL: [(Artifact, Outcome); 3] =
        [(Artifact::Info, Outcome::Ok), (Artifact::Mod, Outcome::Ok), (Artifact::Zip, Outcome::Ok)];

    /// go walks the list for the version, too; one that it is told it takes.
    #[test]
    fn a_version_is_what_go_would_find() {
        let failing = [&[(Artifact::List, Outcome::HttpError)][..], &ALL].concat();
        let serving = [&[(Artifact::List, Outcome::Ok)][..], &ALL].concat();
        for (query, expected) in [("latest", Fare::Fails), ("v1.0.0", Fare::Works)] {
            let asked = two(",", query, [&failing, &serving]);
            assert_eq!(fare(&asked, &asked.list.entries), expected, "{query}");
        }
    }

    /// `sumdb.go:initBase` ends with what failed, where nothing else was found.
    #[test]
    fn a_failure_that_is_passed_over_keeps_go_from_the_database() {
        let database = Database { name: "s.lab".into(), url: "https://s.lab".into(), given: false };
        let supported = |outcome| [(Artifact::SumdbSupported, outcome)];
        let base = |first| {
            let asked = two("|", "v1.0.0", [&supported(first), &supported(Outcome::NotFound)]);
            base(&asked.list, &asked.entries, &database)
        };
        assert!(matches!(base(Outcome::HttpError), Base::Failed));
        assert!(matches!(base(Outcome::NotFound), Base::Itself(_)));
    }
}
