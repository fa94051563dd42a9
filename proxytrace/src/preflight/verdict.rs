//! What the answers say of each entry, and how go fares with them.

use std::collections::BTreeSet;

use super::choose::{self, Choice};
use super::probe::{Base, Subject, fails};
use super::settings;
use super::walk::{Asked, End};
use super::{AnswerReport, EntryReport, Fare, ModuleReport, Options, Report, SCHEMA, Verdict};
use crate::correlate::story::words;
use crate::goproxy::Entry;
use crate::model::{Artifact, Connection, Outcome, Separator, Trace};
use crate::redact;

/// How go fares with all modules, and with the entries themselves if there are none.
pub(super) fn fare(asked: &Asked, entries: &[Entry]) -> Fare {
    if is_refused(entries) {
        return Fare::Fails;
    }
    let public = asked.subjects.iter().enumerate().filter(|(_, subject)| !subject.private);
    let ends: Vec<Fare> = public.map(|(place, _)| module_fare(asked, entries, place)).collect();
    if !ends.is_empty() {
        return worst(ends);
    }
    if !asked.subjects.is_empty() {
        // All of them are private: go asks their repositories, and preflight nobody.
        return Fare::Unknown;
    }
    // Nothing was asked for, so what counts is who would be asked first.
    let first = entries.iter().find(|entry| entry.proxy != "noproxy");
    let Some(first) = first else { return Fare::Fails };
    let place = asked.list.entries.iter().position(|entry| entry == first);
    let Some(place) = place else { return Fare::Unknown };
    match first.proxy.as_str() {
        "direct" => Fare::Unknown,
        "off" => Fare::Fails,
        _ => match standing(asked, place) {
            Fare::Fails if first.separator == Some(Separator::Pipe) => {
                let rest = entries.iter().position(|entry| entry == first).map_or(0, |at| at + 1);
                fare(asked, &entries[rest..])
            }
            standing => standing,
        },
    }
}

/// How go fares with an entry that it has nothing to ask yet: by what it asks for the checksum
/// database, as far as it does.
fn standing(asked: &Asked, place: usize) -> Fare {
    if asked.entries[place].invalid.is_some() {
        return Fare::Fails;
    }
    let question = (None, Artifact::SumdbSupported);
    let counts = asked.counts(place, question);
    match asked.outcome(place, question) {
        Some(outcome) if fails(outcome) && counts => Fare::Fails,
        Some(Outcome::Unknown) if counts && asked.is_late(place, question) => Fare::Late,
        // A failure that go would not see says nothing of what it would.
        Some(outcome) if fails(outcome) || outcome == Outcome::Unknown => Fare::Unknown,
        _ => Fare::Works,
    }
}

/// Whether go refuses the list before it asks anyone.
fn is_refused(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| settings::spoils(&entry.proxy))
}

fn module_fare(asked: &Asked, entries: &[Entry], module: usize) -> Fare {
    if is_refused(entries) {
        return Fare::Fails;
    }
    match asked.end(entries, module) {
        End::Served => Fare::Works,
        End::Unasked => Fare::Unknown,
        End::Late => Fare::Late,
        End::Failed(_) => Fare::Fails,
    }
}

fn worst(fares: impl IntoIterator<Item = Fare>) -> Fare {
    fares.into_iter().max_by_key(|fare| *fare as u8).unwrap_or(Fare::Works)
}

/// A list to use.
pub(super) struct Proposal {
    pub(super) choice: Choice,
    /// How go would fare with it.
    pub(super) works: Fare,
    /// What was asked, where with this list go has another way to the checksum database.
    pub(super) otherwise: Option<Asked>,
}

/// The list that is set, without what fails.
pub(super) fn choice(asked: &Asked, options: &Options) -> Choice {
    choose::choose(&asked.list.entries, &failing(asked, options), options.allowed)
}

/// Of each entry whether it has failed often enough to be left out.
fn failing(asked: &Asked, options: &Options) -> Vec<bool> {
    (0..asked.entries.len()).map(|place| may_be_left_out(asked, place, options)).collect()
}

/// All of it put together.
pub(super) fn report(
    asked: &Asked,
    trace: Trace,
    works: Fare,
    proposal: Proposal,
    (files, options): (Vec<String>, &Options),
) -> Report {
    let entries: Vec<EntryReport> = (0..asked.entries.len())
        .filter(|place| asked.list.entries[*place].proxy != "noproxy")
        .map(|place| entry_report(asked, &trace, place))
        .collect();
    let own: Vec<Entry> =
        asked.list.entries.iter().filter(|e| e.proxy != "noproxy").cloned().collect();
    let Proposal { choice, works: with, otherwise } = proposal;
    // What fails for one may be all that another has, and what was not tried in time is no better.
    let is_better = choice.entries != own && with != Fare::Late && with as u8 <= works as u8;
    let choice = if is_better || choice.entries == own {
        choice
    } else {
        choose::all(&asked.list.entries, &failing(asked, options))
    };
    let of_choice = otherwise.as_ref().filter(|_| is_better);
    let database = database_report(asked, Some(&trace))
        .or_else(|| of_choice.and_then(|choice| database_report(choice, None)));
    let visible = |places: &[usize]| {
        let shift = usize::from(asked.list.entries.first().is_some_and(|e| e.proxy == "noproxy"));
        places.iter().map(|place| place - shift).collect()
    };
    let secret = choose::text(&choice.entries);
    Report {
        schema: SCHEMA,
        works,
        works_with: if is_better { with } else { works },
        goproxy: redact::setting("GOPROXY", &choose::text(&own)),
        goproxy_to_use: redact::setting("GOPROXY", &secret),
        left_out: visible(&choice.left_out),
        kept: visible(&choice.kept),
        entries,
        modules: module_reports(asked),
        files,
        database,
        trace,
        secret,
    }
}

fn module_reports(asked: &Asked) -> Vec<ModuleReport> {
    let report = |(place, subject): (usize, &Subject)| ModuleReport {
        path: subject.path.clone(),
        query: subject.query.clone(),
        version: subject.version.clone(),
        works: if subject.private {
            Fare::Unknown
        } else {
            module_fare(asked, &asked.list.entries, place)
        },
        private: subject.private,
    };
    asked.subjects.iter().enumerate().map(report).collect()
}

/// Whether an entry has failed often enough.
fn may_be_left_out(asked: &Asked, place: usize, options: &Options) -> bool {
    let entry = &asked.entries[place];
    entry.invalid.is_some()
        || entry.by_question.iter().any(|(question, answer)| {
            asked.counts(place, *question) && answer.failed() && answer.failures >= options.failures
        })
}

const ORDER: [Artifact; 6] = [
    Artifact::List,
    Artifact::Latest,
    Artifact::Info,
    Artifact::Mod,
    Artifact::Zip,
    Artifact::SumdbSupported,
];

fn entry_report(asked: &Asked, trace: &Trace, place: usize) -> EntryReport {
    let entry = &asked.entries[place];
    let proxy = &asked.list.entries[place].proxy;
    let mut answers = Vec::new();
    for artifact in ORDER {
        let of = entry.by_question.keys().filter(|question| question.1 == artifact);
        let outcomes =
            of.filter_map(|question| Some((*question, asked.outcome(place, *question)?)));
        let Some((question, outcome)) = outcomes.max_by_key(|(q, outcome)| (badness(*outcome), *q))
        else {
            continue;
        };
        let last = entry.by_question[&question].requests.last();
        let outcome = match outcome {
            Outcome::Checksum if !asked.sums.differing().any(|(entry, _)| entry == place) => {
                Outcome::Ok
            }
            // It may be the database that is not known.
            Outcome::Unknown => entry.by_question[&question].outcome,
            outcome => outcome,
        };
        answers.push(AnswerReport {
            artifact,
            outcome,
            status: last.and_then(|request| request.status),
            host: last.map(|request| request.host.clone()),
        });
    }
    let requests = || entry.by_question.values().flat_map(|answer| &answer.requests);
    let first = requests().min_by_key(|request| request.started_ns);
    let host = first.map(|request| request.host.clone());
    let times = Times::of(&trace.connections, host.as_deref());
    let (verdict, reason) = verdict(asked, trace, place);
    EntryReport {
        proxy: redact::setting("GOPROXY", proxy),
        verdict,
        reason,
        failures: entry.by_question.values().map(|answer| answer.failures).max().unwrap_or(0),
        dns_ns: times.dns,
        connect_ns: times.connect,
        tls_ns: times.tls,
        answers,
    }
}

/// How long it took to get to a host, in nanoseconds; none for what was never done, and for TLS
/// that failed.
struct Times {
    dns: Option<u64>,
    connect: Option<u64>,
    tls: Option<u64>,
}

impl Times {
    fn of(connections: &[Connection], host: Option<&str>) -> Self {
        let all = || connections.iter().filter(|connection| connection.host.as_deref() == host);
        let secured = |c: &&Connection| c.tls.as_ref().is_some_and(|tls| tls.error.is_none());
        Self {
            dns: all().find_map(|connection| connection.dns_ns),
            connect: all().find_map(|connection| connection.connect_ns),
            tls: all().filter(secured).find_map(|connection| connection.tls_ns),
        }
    }
}

/// How bad an outcome is, to show the worst of several.
fn badness(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Ok => 0,
        Outcome::NotFound => 1,
        // What the database lacks is not the entry's doing, and what is not known nobody's.
        Outcome::Checksum | Outcome::Unknown => 2,
        _ => 3,
    }
}

fn verdict(asked: &Asked, trace: &Trace, place: usize) -> (Verdict, String) {
    let entry = &asked.entries[place];
    match asked.list.entries[place].proxy.as_str() {
        "direct" => {
            return (Verdict::NotAsked, "go asks the repositories themselves".to_owned());
        }
        "off" => return (Verdict::NotAsked, "the list ends here".to_owned()),
        _ => {}
    }
    if let Some(why) = entry.invalid {
        return (Verdict::Fails, why.to_owned());
    }
    if let Some(why) = &entry.barred {
        return (Verdict::NotAsked, why.clone());
    }
    let mut questions: Vec<_> =
        entry.by_question.keys().filter(|question| asked.counts(place, **question)).collect();
    questions.sort();
    let outcome = |question: &&&(Option<usize>, Artifact)| asked.outcome(place, ***question);
    // What could not be verified is the database's failure, not that of who served it.
    let own = |question: &&&(Option<usize>, Artifact)| {
        outcome(question).is_some_and(fails) && entry.by_question[**question].failed()
    };
    let worst = questions
        .iter()
        .filter(own)
        .max_by_key(|question| (outcome(question).map(badness), std::cmp::Reverse(***question)));
    // What is not known hides no failure.
    let hidden = |said: &(Verdict, String)| said.0 == Verdict::Unknown && worst.is_some();
    if let Some(said) = sums_verdict(asked, place).filter(|said| !hidden(said)) {
        return said;
    }
    if let Some(question) = worst {
        let answer = &entry.by_question[*question];
        let said = trace
            .chains
            .iter()
            .flat_map(|chain| &chain.attempts)
            .find(|attempt| {
                !answer.requests.is_empty()
                    && attempt.requests.first().map(|r| r.id)
                        == answer.requests.first().map(|r| r.id)
            })
            .map_or_else(|| words(answer.outcome).to_owned(), crate::correlate::story::answer);
        return (Verdict::Fails, said);
    }
    if let Some(why) = questions.iter().find_map(|question| entry.by_question[*question].unknown())
    {
        return (Verdict::Unknown, why);
    }
    if questions.is_empty()
        && let Some(answer) = entry.by_question.values().find(|answer| answer.failed())
    {
        let why = format!("it {} to what go does not ask it", words(answer.outcome));
        return (Verdict::Unknown, why);
    }
    let answered = |question: &&(Option<usize>, Artifact)| {
        let (module, outcome) = (question.0?, asked.outcome(place, **question)?);
        Some(match question.1 {
            Artifact::List if asked.has_no_match(place, module) => Outcome::NotFound,
            // go does without it.
            Artifact::Latest if entry.newest_commit(module).is_some() => Outcome::Ok,
            _ => outcome,
        })
    };
    let modules: Vec<Outcome> = questions.iter().filter_map(answered).collect();
    let absent = modules.iter().filter(|outcome| **outcome == Outcome::NotFound).count();
    match (absent, modules.len()) {
        (_, 0) => (Verdict::Works, "it answers".to_owned()),
        (0, _) if modules.iter().any(|it| matches!(it, Outcome::Checksum | Outcome::Unknown)) => {
            (Verdict::Works, "it has everything, which could not be verified".to_owned())
        }
        (0, _) => (Verdict::Works, "it has everything".to_owned() + &unverified(asked, place)),
        (absent, all) if absent == all => {
            let lacks_all = || words(Outcome::NotFound).to_owned();
            (Verdict::Absent, unmatched(asked, place).unwrap_or_else(lacks_all))
        }
        _ => {
            let why = unmatched(asked, place).map(|why| format!(", and {why}"));
            (Verdict::Partly, "it has some of it".to_owned() + &why.unwrap_or_default())
        }
    }
}

/// What an entry that has a list has no version for, if so.
fn unmatched(asked: &Asked, place: usize) -> Option<String> {
    let mut subjects = asked.subjects.iter().enumerate();
    let (_, subject) = subjects.find(|(module, _)| asked.has_no_match(place, *module))?;
    Some(format!("has no version for `{}`", subject.query))
}

/// Of which zips of an entry it is not known whether they are what they should be.
fn unverified(asked: &Asked, place: usize) -> String {
    let of_entry = asked.sums.unverified.iter().filter(|(entry, _)| *entry == place);
    let modules: BTreeSet<usize> = of_entry.map(|(_, module)| *module).collect();
    let Some(first) = modules.first() else { return String::new() };
    let more = match modules.len() {
        1 => String::new(),
        all => format!(" and of {} more", all - 1),
    };
    let path = &asked.subjects[*first].path;
    format!("; the zip of {path}{more} could not be verified: it is too large for that, or no zip")
}

/// What the checksum database makes of an entry: it forwards it badly, or serves something else.
fn sums_verdict(asked: &Asked, place: usize) -> Option<(Verdict, String)> {
    let differs = asked.sums.differing().find(|(entry, _)| *entry == place);
    if let Some((_, module)) = differs {
        let path = &asked.subjects[module].path;
        return Some((Verdict::Fails, format!("{path} has another checksum than it should")));
    }
    if !matches!(&asked.sums.base, Some(Base::Entry(base, _)) if *base == place) {
        return None;
    }
    let (artifact, answer) = asked.sums.worst(badness)?;
    match (answer.outcome, artifact) {
        (Outcome::Ok, _) => None,
        (Outcome::Unknown, _) => answer.unknown().map(|why| (Verdict::Unknown, why)),
        (Outcome::NotFound, Artifact::SumdbLookup) => {
            let mut lookups = asked.sums.lookups.iter();
            let (module, _) = lookups.find(|(_, it)| it.outcome == Outcome::NotFound)?;
            let path = &asked.subjects[*module].path;
            Some((Verdict::Partly, format!("the checksum database does not know {path}")))
        }
        (outcome, _) => {
            Some((Verdict::Fails, format!("the checksum database through it {}", words(outcome))))
        }
    }
}

/// The row of the checksum database, if go asks it itself; `trace` is that of what was asked, if there is
/// one.
fn database_report(asked: &Asked, trace: Option<&Trace>) -> Option<EntryReport> {
    let Some(Base::Itself(url)) = &asked.sums.base else { return None };
    let (artifact, answer) = asked.sums.worst(badness)?;
    let last = answer.requests.last();
    let host = last.map(|request| request.host.clone());
    let times = Times::of(trace.map_or(&[][..], |trace| &trace.connections[..]), host.as_deref());
    let mut chains = trace.into_iter().flat_map(|trace| &trace.chains);
    let chain = chains.find(|chain| chain.artifact == artifact && chain.outcome == answer.outcome);
    let reason =
        chain.and_then(|chain| chain.attempts.first()).map(crate::correlate::story::answer);
    let (verdict, reason) = match (answer.outcome, artifact) {
        (Outcome::Ok, _) => (Verdict::Works, "it has everything".to_owned()),
        (Outcome::NotFound, Artifact::SumdbLookup) => {
            (Verdict::Absent, words(Outcome::NotFound).to_owned())
        }
        (Outcome::Unknown, _) => (Verdict::Unknown, answer.unknown().unwrap_or_default()),
        (outcome, _) => (Verdict::Fails, reason.unwrap_or_else(|| words(outcome).to_owned())),
    };
    Some(EntryReport {
        proxy: format!("{} (checksums)", url.redacted().trim_end_matches('/')),
        verdict,
        reason,
        failures: answer.failures,
        dns_ns: times.dns,
        connect_ns: times.connect,
        tls_ns: times.tls,
        answers: vec![AnswerReport {
            artifact,
            outcome: answer.outcome,
            status: last.and_then(|request| request.status),
            host,
        }],
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::address::Address;
    use super::super::choose::Allowed;
    use super::super::trace::tests::bare;
    use super::super::walk::tests::{ALL, answer, two};
    use super::*;
    use crate::model::{RequestError, Tls};

    /// The report of what was asked, and of what was for the list to use, where that is something else.
    fn reported(asked: &Asked, otherwise: Option<Asked>) -> Report {
        let options = Options {
            modules: Vec::new(),
            failures: 3,
            limit: std::time::Duration::from_mins(1),
            allowed: Allowed::default(),
            argv: Vec::new(),
        };
        let choice = choice(asked, &options);
        let with = fare(otherwise.as_ref().unwrap_or(asked), &choice.entries);
        let works = fare(asked, &asked.list.entries);
        let proposal = Proposal { choice, works: with, otherwise };
        report(asked, bare(asked), works, proposal, (Vec::new(), &options))
    }

    /// What may fail as well.
    #[test]
    fn a_list_that_there_was_no_time_for_is_not_handed_on() {
        let silent = ALL.map(|(artifact, _)| (artifact, Outcome::Unfinished));
        let unknown = ALL.map(|(artifact, _)| (artifact, Outcome::Unknown));
        for (separator, late, works, with, to_use) in [
            (",", true, Fare::Fails, Fare::Fails, "https://a,https://b"),
            (",", false, Fare::Fails, Fare::Unknown, "https://b"),
            ("|", true, Fare::Late, Fare::Late, "https://a|https://b"),
            ("|", false, Fare::Unknown, Fare::Unknown, "https://b"),
        ] {
            let mut asked = two(separator, "v1.0.0", [&silent, &unknown]);
            for answer in asked.entries[1].by_question.values_mut() {
                answer.late = late;
            }
            let report = reported(&asked, None);
            let found = (report.works, report.works_with, &*report.goproxy_to_use);
            assert_eq!(found, (works, with, to_use), "{separator} {late}");
        }
        assert!(Fare::Late.is_bad() && !Fare::Unknown.is_bad());
    }

    /// Whose list matches nothing has nothing, and whose list has a commit needs no `@latest`.
    #[test]
    fn a_list_without_a_match_is_absence() {
        let list = (Artifact::List, Outcome::Ok);
        let latest = (Artifact::Latest, Outcome::NotFound);
        let commit = "v0.0.0-20240102030405-abcdefabcdef\n";
        let whole = [&[list, latest][..], &ALL].concat();
        let (absent, works) = (Verdict::Absent, Verdict::Works);
        for (query, listed, answers, expected) in [
            ("v9", "v1.0.0\n", &[list][..], (absent, "has no version for `v9`")),
            ("latest", "", &[list, latest], (absent, "has no version for `latest`")),
            ("latest", commit, &whole[..], (works, "it has everything")),
        ] {
            let mut asked = two(",", query, [answers, &ALL]);
            let found = asked.entries[0].by_question.get_mut(&(Some(0), Artifact::List)).unwrap();
            found.body.bytes = Bytes::from_static(listed.as_bytes());
            let report = reported(&asked, None);
            let entry = &report.entries[0];
            assert_eq!((entry.verdict, &*entry.reason), expected, "{query} {listed}");
        }
    }

    /// An entry that fails, and forwards a checksum database of which nothing is known.
    #[test]
    fn what_is_not_known_hides_no_failure() {
        let failing = [(Artifact::Mod, Outcome::HttpError)];
        let mut asked = two(",", "v1.0.0", [&failing, &ALL]);
        asked.subjects[0].summed = true;
        asked.sums.base = Address::parse("https://a/sumdb/s.lab").map(|url| Base::Entry(0, url));
        asked.sums.lookups.insert(0, answer(Outcome::Unknown));
        assert_eq!(reported(&asked, None).entries[0].verdict, Verdict::Fails);
        asked.entries[0].by_question.clear();
        assert_eq!(reported(&asked, None).entries[0].verdict, Verdict::Unknown);
    }

    /// The trace is that of the list that is set.
    #[test]
    fn the_database_of_another_list_is_not_told_of_in_the_words_of_this_one() {
        let mut asked = two(",", "v1.0.0", [&[(Artifact::Zip, Outcome::HttpError)], &ALL]);
        asked.subjects[0].summed = true;
        asked.sums.base = Address::parse("https://a/sumdb/s.lab").map(|url| Base::Entry(0, url));
        asked.sums.lookups.insert(0, answer(Outcome::ConnectRefused));
        let mut otherwise = asked.clone();
        otherwise.sums.base = Address::parse("https://s.lab").map(Base::Itself);
        let database = reported(&asked, Some(otherwise)).database.unwrap();
        assert_eq!(database.reason, words(Outcome::ConnectRefused));
    }

    /// What is shown of an entry and of the checksum database alike.
    #[test]
    fn a_handshake_that_failed_took_no_time() {
        let failed =
            RequestError { kind: Outcome::TlsOther, types: Vec::new(), detail: None, reason: None };
        let connection = |error| Connection {
            host: Some("h".to_owned()),
            connect_ns: Some(1),
            tls_ns: Some(2),
            tls: Some(Tls {
                server_name: "h".to_owned(),
                version: None,
                protocol: None,
                certificate_wanted: false,
                error,
            }),
            ..Connection::new(0, 0)
        };
        let times = |connections: &[Connection]| {
            let times = Times::of(connections, Some("h"));
            (times.connect, times.tls)
        };
        assert_eq!(times(&[connection(Some(failed.clone()))]), (Some(1), None));
        assert_eq!(times(&[connection(Some(failed)), connection(None)]), (Some(1), Some(2)));
    }
}
