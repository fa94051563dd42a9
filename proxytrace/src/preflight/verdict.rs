//! What the answers say of each entry, and how go fares with them.

use std::collections::BTreeSet;

use super::choose;
use super::probe::{Answers, Base, Question, Subject, fails};
use super::settings;
use super::walk::{Asked, End};
use super::{AnswerReport, EntryReport, Fare, ModuleReport, Options, Report, SCHEMA, Verdict};
use crate::correlate::goproxy::Entry;
use crate::correlate::story::words;
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
    let entry = &asked.entries[place];
    match asked.list.entries[place].proxy.as_str() {
        "direct" => Fare::Unknown,
        "off" => Fare::Fails,
        _ if entry.unreached.is_some() || entry.invalid.is_some() => {
            let on = asked.list.entries[place].separator == Some(Separator::Pipe);
            let rest = entries.iter().position(|entry| entry == first).map_or(0, |at| at + 1);
            if on { fare(asked, &entries[rest..]) } else { Fare::Fails }
        }
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
        End::Failed(_) => Fare::Fails,
    }
}

fn worst(fares: impl IntoIterator<Item = Fare>) -> Fare {
    fares.into_iter().max_by_key(|fare| *fare as u8).unwrap_or(Fare::Works)
}

/// All of it put together.
pub(super) fn report(asked: &Asked, trace: Trace, works: Fare, options: &Options) -> Report {
    let entries: Vec<EntryReport> = (0..asked.entries.len())
        .filter(|place| asked.list.entries[*place].proxy != "noproxy")
        .map(|place| entry_report(asked, &trace, place))
        .collect();
    let failing: Vec<bool> =
        (0..asked.entries.len()).map(|place| may_be_left_out(asked, place, options)).collect();
    let choice = choose::choose(&asked.list.entries, &failing, options.allowed);
    let own: Vec<Entry> =
        asked.list.entries.iter().filter(|e| e.proxy != "noproxy").cloned().collect();
    // What fails for one may be all that another has.
    let choice = match fare(asked, &choice.entries) {
        with if choice.entries == own || with as u8 <= works as u8 => choice,
        _ => choose::all(&asked.list.entries, &failing),
    };
    let visible = |places: &[usize]| {
        let shift = usize::from(asked.list.entries.first().is_some_and(|e| e.proxy == "noproxy"));
        places.iter().map(|place| place - shift).collect()
    };
    let secret = choose::text(&choice.entries);
    Report {
        schema: SCHEMA,
        works,
        works_with: if choice.entries == own { works } else { fare(asked, &choice.entries) },
        goproxy: redact::setting("GOPROXY", &choose::text(&own)),
        goproxy_to_use: redact::setting("GOPROXY", &secret),
        left_out: visible(&choice.left_out),
        kept: visible(&choice.kept),
        entries,
        modules: module_reports(asked),
        database: database_report(asked, &trace),
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
            counts(asked, entry, *question)
                && answer.failed()
                && answer.failures >= options.failures
        })
}

/// Whether an answer says something of the entry: a question that go would not ask tells only
/// whether somebody is there.
fn counts(asked: &Asked, entry: &Answers, (module, artifact): Question) -> bool {
    let is_asked = match module {
        Some(module) => asked.subjects[module].asks(artifact),
        None => asked.sums.base.is_some(),
    };
    is_asked || entry.unreached.is_some()
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
        // What the database lacks is not the entry's doing.
        Outcome::Checksum => 2,
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
    let mut questions: Vec<_> =
        entry.by_question.keys().filter(|question| counts(asked, entry, **question)).collect();
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
    if let Some((verdict, reason)) = sums_verdict(asked, place) {
        return (verdict, reason);
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
    let modules: Vec<Outcome> = questions
        .iter()
        .filter(|question| question.0.is_some() && question.1 != Artifact::Latest)
        .filter_map(|question| asked.outcome(place, **question))
        .collect();
    let absent = modules.iter().filter(|outcome| **outcome == Outcome::NotFound).count();
    match (absent, modules.len()) {
        (_, 0) => (Verdict::Works, "it answers".to_owned()),
        (0, _) if modules.contains(&Outcome::Checksum) => {
            (Verdict::Works, "it has everything, which could not be verified".to_owned())
        }
        (0, _) => (Verdict::Works, "it has everything".to_owned() + &unverified(asked, place)),
        (absent, all) if absent == all => (Verdict::Absent, words(Outcome::NotFound).to_owned()),
        _ => (Verdict::Partly, "it has some of it".to_owned()),
    }
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
    let (module, answer) =
        asked.sums.lookups.iter().max_by_key(|(_, answer)| badness(answer.outcome))?;
    match answer.outcome {
        Outcome::Ok => None,
        Outcome::NotFound => {
            let path = &asked.subjects[*module].path;
            Some((Verdict::Partly, format!("the checksum database does not know {path}")))
        }
        outcome => {
            Some((Verdict::Fails, format!("the checksum database through it {}", words(outcome))))
        }
    }
}

/// The row of the checksum database, if go asks it itself.
fn database_report(asked: &Asked, trace: &Trace) -> Option<EntryReport> {
    let Some(Base::Itself(url)) = &asked.sums.base else { return None };
    let answer = asked.sums.lookups.values().max_by_key(|answer| badness(answer.outcome))?;
    let last = answer.requests.last();
    let host = last.map(|request| request.host.clone());
    let times = Times::of(&trace.connections, host.as_deref());
    let chain = trace
        .chains
        .iter()
        .find(|chain| chain.artifact == Artifact::SumdbLookup && chain.outcome == answer.outcome);
    let reason =
        chain.and_then(|chain| chain.attempts.first()).map(crate::correlate::story::answer);
    let (verdict, reason) = match answer.outcome {
        Outcome::Ok => (Verdict::Works, "it has everything".to_owned()),
        Outcome::NotFound => (Verdict::Absent, words(Outcome::NotFound).to_owned()),
        outcome => (Verdict::Fails, reason.unwrap_or_else(|| words(outcome).to_owned())),
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
            artifact: Artifact::SumdbLookup,
            outcome: answer.outcome,
            status: last.and_then(|request| request.status),
            host,
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{RequestError, Tls};

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
