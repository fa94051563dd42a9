//! Asks the entries, all at a time, and repeats what fails.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::address::Address;
use super::archive;
use super::client::{Body, Client, KEPT, KEPT_ZIP};
use super::content::{self, file};
use super::settings::{Database, Target, target};
use super::{connect, settings};
use crate::correlate::goproxy::List;
use crate::correlate::story::failed;
use crate::model::{Artifact, Outcome, Request, RequestError};
use crate::redact;

/// What a question came to, the last time it was asked.
#[derive(Clone)]
pub(super) struct Answer {
    pub(super) requests: Vec<Request>,
    pub(super) outcome: Outcome,
    /// How often it failed, this time included.
    pub(super) failures: u32,
    /// The beginning of what came; of a zip its sum, or nothing where that is not known.
    pub(super) body: Body,
}

/// What is asked of an entry: about which module, if any, and for what.
pub(super) type Question = (Option<usize>, Artifact);

/// What one entry answered.
#[derive(Default)]
pub(super) struct Answers {
    pub(super) by_question: BTreeMap<Question, Answer>,
    /// Why it cannot be asked anything, if so.
    pub(super) unreached: Option<Outcome>,
    /// What go says of the entry itself.
    pub(super) invalid: Option<&'static str>,
}

/// A module, and the version that its query came to.
#[derive(Clone)]
pub(super) struct Subject {
    pub(super) path: String,
    pub(super) query: String,
    pub(super) version: Option<String>,
    /// No proxy is asked about it (GONOPROXY).
    pub(super) private: bool,
    /// The checksum database is asked about it.
    pub(super) summed: bool,
}

impl Subject {
    /// Whether go asks for it: for no list where it has been told the version.
    pub(super) fn asks(&self, artifact: Artifact) -> bool {
        !matches!(artifact, Artifact::List | Artifact::Latest)
            || !content::is_canonical(&self.query)
    }
}

impl Answer {
    /// Whether what was asked failed: absence is an answer.
    pub(super) fn failed(&self) -> bool {
        fails(self.outcome)
    }
}

pub(super) fn fails(outcome: Outcome) -> bool {
    (failed(outcome) && outcome != Outcome::NotFound)
        || matches!(outcome, Outcome::Unfinished | Outcome::Unknown)
}

/// A host that there is no use in asking anything else.
fn is_unreached(outcome: Outcome) -> bool {
    outcome.is_unreached() || matches!(outcome, Outcome::Unfinished | Outcome::Unknown)
}

/// Whether what failed is the entry itself, not a host that it redirected to.
fn at_once(answer: &Answer) -> bool {
    is_unreached(answer.outcome) && answer.requests.iter().all(|request| request.status.is_none())
}

/// Asks the entries of `list` about the modules, whose versions it finds out.
pub(super) async fn ask(
    client: &Arc<Client>,
    list: &List,
    database: Option<&Database>,
    subjects: &mut [Subject],
    tries: u32,
) -> Vec<Answers> {
    let mut entries: Vec<Answers> = list.entries.iter().map(|_| Answers::default()).collect();
    let supported = database
        .filter(|database| !database.given)
        .map(|database| format!("sumdb/{}/supported", database.name));
    // Where nothing else is to be asked, this tells whether somebody answers.
    let lone = subjects.iter().all(|subject| subject.private);
    let supported = supported.or_else(|| lone.then(|| "sumdb/sum.golang.org/supported".to_owned()));
    let first: Arc<[Subject]> = Arc::from(&*subjects);
    let round = |resolve: bool, subjects: Arc<[Subject]>| {
        let mut tasks = JoinSet::new();
        for (place, entry) in list.entries.iter().enumerate() {
            let (client, subjects) = (Arc::clone(client), Arc::clone(&subjects));
            let supported = supported.clone().filter(|_| resolve);
            let target = target(&entry.proxy);
            tasks.spawn(async move {
                (place, entry_round(&client, target, &subjects, resolve, supported, tries).await)
            });
        }
        tasks
    };
    gather(round(true, first), &mut entries).await;
    for (place, subject) in subjects.iter_mut().enumerate() {
        if content::is_canonical(&subject.query) {
            subject.version = Some(subject.query.clone());
            continue;
        }
        let said = |entry: &Answers| resolved(entry, place, &subject.query);
        subject.version = entries.iter().find_map(said);
    }
    // Who could not be asked the first question is not asked the others.
    let reached: Vec<bool> =
        entries.iter().map(|entry| entry.unreached.is_none() && entry.invalid.is_none()).collect();
    let second: Arc<[Subject]> = Arc::from(&*subjects);
    let mut tasks = JoinSet::new();
    for (place, entry) in list.entries.iter().enumerate().filter(|(place, _)| reached[*place]) {
        let (client, subjects) = (Arc::clone(client), Arc::clone(&second));
        let target = target(&entry.proxy);
        tasks.spawn(async move {
            (place, entry_round(&client, target, &subjects, false, None, tries).await)
        });
    }
    gather(tasks, &mut entries).await;
    entries
}

async fn gather(mut tasks: JoinSet<(usize, Answers)>, entries: &mut [Answers]) {
    while let Some(done) = tasks.join_next().await {
        let Ok((place, answers)) = done else { continue };
        let entry = &mut entries[place];
        entry.by_question.extend(answers.by_question);
        entry.unreached = entry.unreached.or(answers.unreached);
        entry.invalid = entry.invalid.or(answers.invalid);
    }
}

/// The version that an entry says a query stands for.
fn resolved(entry: &Answers, place: usize, query: &str) -> Option<String> {
    let good = |artifact| {
        let answer = entry.by_question.get(&(Some(place), artifact))?;
        (answer.outcome == Outcome::Ok).then_some(&answer.body.bytes)
    };
    good(Artifact::List)
        .and_then(|list| content::newest(list, query))
        .or_else(|| content::version_of(good(Artifact::Latest)?))
}

/// The first round finds out whether the entry can be reached and what versions it has; the second
/// asks for the files of the versions.
async fn entry_round(
    client: &Arc<Client>,
    target: Target,
    subjects: &Arc<[Subject]>,
    first: bool,
    supported: Option<String>,
    tries: u32,
) -> Answers {
    let mut found = Answers::default();
    let base = match target {
        Target::Word => return found,
        Target::Invalid(why) => {
            found.invalid = Some(why);
            return found;
        }
        Target::File(base) => {
            for (place, subject) in asked_about(subjects) {
                let files = questions(subject, first).into_iter().map(|artifact| {
                    let version = subject.version.as_deref();
                    ((Some(place), artifact), from_file(&base, subject, artifact, version))
                });
                found.by_question.extend(files);
            }
            return found;
        }
        Target::Url(base) => Arc::new(base),
    };
    if let Some(supported) = supported {
        let answer = repeat(client, &base.below(&supported), (tries, KEPT), |_| Outcome::Ok).await;
        if at_once(&answer) {
            found.unreached = Some(answer.outcome);
        }
        found.by_question.insert((None, Artifact::SumdbSupported), answer);
    }
    let mut tasks = JoinSet::new();
    for (place, subject) in asked_about(subjects) {
        for artifact in questions(subject, first) {
            if found.unreached.is_some() {
                break;
            }
            let (client, base, subject) = (Arc::clone(client), Arc::clone(&base), subject.clone());
            let ask = async move {
                let answer = about(&client, &base, &subject, artifact, tries).await;
                ((Some(place), artifact), answer)
            };
            // The first answer tells whether the others are worth asking for.
            if found.by_question.is_empty() && first {
                let (question, answer) = ask.await;
                if at_once(&answer) {
                    found.unreached = Some(answer.outcome);
                }
                found.by_question.insert(question, answer);
            } else {
                tasks.spawn(ask);
            }
        }
    }
    while let Some(done) = tasks.join_next().await {
        found.by_question.extend(done);
    }
    found
}

fn asked_about(subjects: &[Subject]) -> impl Iterator<Item = (usize, &Subject)> {
    subjects.iter().enumerate().filter(|(_, subject)| !subject.private)
}

fn questions(subject: &Subject, first: bool) -> Vec<Artifact> {
    match (first, &subject.version) {
        (true, _) if content::is_canonical(&subject.query) => vec![Artifact::List],
        (true, _) => vec![Artifact::List, Artifact::Latest],
        (false, Some(_)) => vec![Artifact::Info, Artifact::Mod, Artifact::Zip],
        (false, None) => Vec::new(),
    }
}

async fn about(
    client: &Client,
    base: &Address,
    subject: &Subject,
    artifact: Artifact,
    tries: u32,
) -> Answer {
    let query = match artifact {
        // A branch or a commit is asked for by its name.
        Artifact::Latest if subject.query != "latest" => Artifact::Info,
        artifact => artifact,
    };
    let version = subject.version.as_deref();
    let url = base.below(&file(&subject.path, query, version.unwrap_or(&subject.query)));
    let kept = if artifact == Artifact::Zip { KEPT_ZIP } else { KEPT };
    let check = |body: &[u8]| content::check(artifact, version, body);
    let mut answer = repeat(client, &url, (tries, kept), check).await;
    if artifact == Artifact::Zip {
        // All that is wanted of it.
        answer.body.bytes = sum(&answer).map(Bytes::from).unwrap_or_default();
    }
    if let (Artifact::Info, Outcome::BadContent, Some(version), Some(last)) =
        (artifact, answer.outcome, version, answer.requests.last_mut())
    {
        let other = content::version_of(&answer.body.bytes);
        last.error = other.map(|other| wrong_version(&subject.path, version, &other));
    }
    answer
}

/// The sum of a zip that came whole.
fn sum(answer: &Answer) -> Option<String> {
    let whole = answer.body.whole && answer.outcome == Outcome::Ok;
    whole.then(|| archive::sum(&answer.body.bytes)).flatten()
}

/// As go says it (`modfetch/proxy.go:(*proxyRepo).Stat`), so that it is found as with go.
fn wrong_version(path: &str, asked: &str, told: &str) -> RequestError {
    let detail = format!(
        "{path}@{asked}: proxy returned info for version {told} instead of requested version"
    );
    RequestError {
        kind: Outcome::BadContent,
        types: Vec::new(),
        detail: Some(redact::text(&detail).into_owned()),
        reason: None,
    }
}

/// Asks until there is an answer, or `tries` times; so many bytes of a body are kept.
pub(super) async fn repeat(
    client: &Client,
    url: &Address,
    (tries, kept): (u32, usize),
    check: impl Fn(&[u8]) -> Outcome,
) -> Answer {
    let mut failures = 0;
    loop {
        let send = client.get(url, kept).await;
        let outcome = match send.outcome {
            Outcome::Ok => check(&send.body.bytes),
            outcome => outcome,
        };
        failures += u32::from(fails(outcome));
        // What the end of our time cut short is no failure of theirs beyond this one.
        if !fails(outcome) || failures >= tries || client.is_over() {
            return Answer { requests: send.requests, outcome, failures, body: send.body };
        }
        connect::pause(failures).await;
    }
}

/// An entry `file://` (`web/http.go:getFile`).
fn from_file(base: &Path, subject: &Subject, artifact: Artifact, version: Option<&str>) -> Answer {
    let name = file(&subject.path, artifact, version.unwrap_or_default()).replace("%21", "!");
    let (outcome, body) = match fs::read(base.join(name)) {
        Ok(body) => {
            let outcome = content::check(artifact, version, &body);
            let sum = if artifact == Artifact::Zip { archive::sum(&body) } else { None };
            let bytes = sum.map_or_else(|| Bytes::from(body), Bytes::from);
            (outcome, Body { bytes, whole: true })
        }
        Err(error) if error.kind() == ErrorKind::NotFound => (Outcome::NotFound, Body::default()),
        Err(_) => (Outcome::HttpError, Body::default()),
    };
    Answer { requests: Vec::new(), outcome, failures: u32::from(fails(outcome)), body }
}

/// Who stands for the checksum database.
pub(super) enum Base {
    /// An entry of the list.
    Entry(usize, Address),
    /// The database itself.
    Itself(Address),
    /// An entry that failed keeps go from finding out.
    Failed,
    /// Its URL is none.
    Nobody,
}

/// Who is asked for checksums (`modfetch/sumdb.go:initBase`).
pub(super) fn base(list: &List, entries: &[Answers], database: &Database) -> Base {
    let itself = || Address::parse(&database.url).map_or(Base::Nobody, Base::Itself);
    if database.given {
        return itself();
    }
    // A failure that `|` lets go pass over is what the walk ends with, unless `direct` is there.
    let mut failed = false;
    for (place, entry) in list.entries.iter().enumerate() {
        let url = match settings::target(&entry.proxy) {
            Target::Url(url) => url,
            Target::Word if entry.proxy == "direct" => return itself(),
            Target::Word if entry.proxy == "off" => break,
            _ => continue,
        };
        match entries[place].by_question.get(&(None, Artifact::SumdbSupported)) {
            Some(answer) if answer.outcome == Outcome::Ok => {
                return Base::Entry(place, url.below(&format!("sumdb/{}", database.name)));
            }
            Some(answer) if answer.outcome == Outcome::NotFound => {}
            _ if entry.separator == Some(crate::model::Separator::Pipe) => failed = true,
            _ => return Base::Failed,
        }
    }
    if failed { Base::Failed } else { itself() }
}
