//! Asks the entries, all at a time, and repeats what fails.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::{fs, future};

use bytes::Bytes;
use tokio::task::JoinSet;

use super::address::{Address, is_international};
use super::archive;
use super::client::{Body, Client, KEPT, KEPT_ZIP, is_bare};
use super::content;
use super::query::{Query, newest_commit};
use super::settings::{Target, target};
use super::{connect, settings};
use crate::correlate::story::failed;
use crate::goproxy::{Entry, List};
use crate::gosumdb::Database;
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
    /// Whether it is not known because the time was over.
    pub(super) late: bool,
}

/// What is asked of an entry: about which module, if any, and for what.
pub(super) type Question = (Option<usize>, Artifact);

/// What one entry answered.
#[derive(Clone, Default)]
pub(super) struct Answers {
    pub(super) by_question: BTreeMap<Question, Answer>,
    /// Why it cannot be asked anything, if so.
    pub(super) unreached: Option<Outcome>,
    /// What go says of the entry itself.
    pub(super) invalid: Option<&'static str>,
    /// Why preflight does not ask it, though go would.
    pub(super) barred: Option<String>,
}

impl Answers {
    /// Whether there is use in asking more of it.
    fn is_reached(&self) -> bool {
        self.unreached.is_none() && self.invalid.is_none() && self.barred.is_none()
    }

    /// Adds the answers of another round.
    fn add(&mut self, more: Self) {
        self.by_question.extend(more.by_question);
        self.unreached = self.unreached.or(more.unreached);
        self.invalid = self.invalid.or(more.invalid);
        self.barred = self.barred.take().or(more.barred);
        self.believe();
    }

    /// Who serves a module without credentials hides nothing of it behind a 404, nor what is of no
    /// module: there the commands of GOAUTH change nothing.
    fn believe(&mut self) {
        let served = self
            .by_question
            .iter()
            .filter(|(_, answer)| answer.outcome == Outcome::Ok && is_bare(&answer.requests));
        let open: BTreeSet<usize> = served.filter_map(|((module, _), _)| *module).collect();
        let is_open = |module: Option<usize>| match module {
            Some(module) => open.contains(&module),
            None => !open.is_empty(),
        };
        let unknown = self.by_question.iter_mut().filter_map(|((module, _), answer)| {
            (answer.outcome == Outcome::Unknown && is_open(*module)).then_some(answer)
        });
        for answer in unknown {
            // What was cut short has no such outcome.
            let last = answer.requests.last_mut();
            if let Some(last) = last.filter(|last| last.outcome == Outcome::NotFound) {
                last.error = None;
                answer.outcome = Outcome::NotFound;
            }
        }
    }

    /// The commit that go takes for the latest version of a module where the entry has neither a
    /// version nor `@latest` (`modfetch/proxy.go:Latest`).
    pub(super) fn newest_commit(&self, module: usize) -> Option<String> {
        let answer = |artifact| self.by_question.get(&(Some(module), artifact));
        let list = answer(Artifact::List).filter(|list| list.outcome == Outcome::Ok)?;
        answer(Artifact::Latest).filter(|latest| latest.outcome == Outcome::NotFound)?;
        newest_commit(&list.body.bytes)
    }
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
    /// What its query is. One that go refuses was refused before (`Module::parse`).
    pub(super) fn kind(&self) -> Query {
        Query::parse(&self.query).unwrap_or(Query::Revision)
    }

    /// Whether go asks for it (`modload/query.go:queryProxy`). What a branch or a commit stands for is
    /// its `.info`, and a question for `@latest` here.
    pub(super) fn asks(&self, artifact: Artifact) -> bool {
        match artifact {
            Artifact::List => matches!(self.kind(), Query::Latest | Query::Range(_)),
            Artifact::Latest => matches!(self.kind(), Query::Latest | Query::Revision),
            _ => true,
        }
    }

    /// Whether a list came that has no version for it.
    pub(super) fn is_not_in(&self, list: &Answer) -> bool {
        list.outcome == Outcome::Ok && self.kind().choose(&list.body.bytes).is_none()
    }

    /// The path of the file that a question asks for.
    fn file(&self, artifact: Artifact) -> String {
        let artifact = match artifact {
            Artifact::Latest if matches!(self.kind(), Query::Revision) => Artifact::Info,
            artifact => artifact,
        };
        content::file(&self.path, artifact, self.version.as_deref().unwrap_or(&self.query))
    }
}

impl Answer {
    /// Whether what was asked failed: absence is an answer.
    pub(super) fn failed(&self) -> bool {
        fails(self.outcome)
    }

    /// Why it is not known what go would be answered, in words; none where it is known.
    pub(super) fn unknown(&self) -> Option<String> {
        let last = self.requests.last();
        let reason = last.and_then(|last| last.error.as_ref()?.reason.as_deref());
        (self.outcome == Outcome::Unknown).then(|| match (last, reason) {
            (Some(last), Some(reason)) => format!("{} {reason}", last.host),
            _ => "the time was over before it was asked".to_owned(),
        })
    }
}

/// Whether an outcome is a failure: what is not known is none.
pub(super) fn fails(outcome: Outcome) -> bool {
    (failed(outcome) && outcome != Outcome::NotFound) || outcome == Outcome::Unfinished
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
    for subject in &mut *subjects {
        subject.version = matches!(subject.kind(), Query::Version).then(|| subject.query.clone());
    }
    // Where no version has to be found, nobody waits for the slowest.
    let told = subjects.iter().all(|subject| subject.private || subject.version.is_some());
    let first: Arc<[Subject]> = Arc::from(&*subjects);
    let mut tasks = JoinSet::new();
    for (place, entry) in list.entries.iter().enumerate() {
        let (client, subjects) = (Arc::clone(client), Arc::clone(&first));
        let (proxy, supported) = (entry.proxy.clone(), supported.clone());
        tasks.spawn(async move {
            let first = entry_round(&client, target(&proxy), &subjects, true, supported, tries);
            let mut found = first.await;
            if told && found.is_reached() {
                let second = entry_round(&client, target(&proxy), &subjects, false, None, tries);
                found.add(second.await);
            }
            (place, found)
        });
    }
    gather(tasks, &mut entries).await;
    if told {
        return entries;
    }
    for (place, subject) in subjects.iter_mut().enumerate() {
        let query = subject.kind();
        let found = || entries.iter().find_map(|entry| resolved(entry, place, &query));
        subject.version = subject.version.take().or_else(found);
    }
    // Who could not be asked the first question is not asked the others.
    let reached: Vec<bool> = entries.iter().map(Answers::is_reached).collect();
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
        entries[place].add(answers);
    }
}

/// The version that an entry says a query stands for.
fn resolved(entry: &Answers, place: usize, query: &Query) -> Option<String> {
    let good = |artifact| {
        let answer = entry.by_question.get(&(Some(place), artifact))?;
        (answer.outcome == Outcome::Ok).then_some(&answer.body.bytes)
    };
    good(Artifact::List)
        .and_then(|list| query.choose(list))
        .or_else(|| content::version_of(good(Artifact::Latest)?))
        .or_else(|| entry.newest_commit(place))
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
        Target::Barred(why) => {
            found.barred = Some(why.to_owned());
            return found;
        }
        Target::File(base) => {
            for (place, subject) in asked_about(subjects) {
                let read = |artifact| future::ready(from_file(&base, subject, artifact));
                for &artifacts in questions(subject, first) {
                    found.by_question.extend(in_turn((place, subject), artifacts, read).await);
                }
            }
            return found;
        }
        Target::Url(base) => Arc::new(base),
    };
    if let Some(why) = client.barred(&base) {
        found.barred = Some(why);
        return found;
    }
    if let Some(supported) = supported {
        let answer = repeat(client, &base.below(&supported), (tries, KEPT), |_| Outcome::Ok).await;
        if at_once(&answer) {
            found.unreached = Some(answer.outcome);
        }
        found.by_question.insert((None, Artifact::SumdbSupported), answer);
    }
    let mut tasks = JoinSet::new();
    for (place, subject) in asked_about(subjects) {
        for &artifacts in questions(subject, first) {
            if found.unreached.is_some() {
                break;
            }
            let (client, base, subject) = (Arc::clone(client), Arc::clone(&base), subject.clone());
            let ask = async move {
                let ask = |artifact| about(&client, &base, &subject, artifact, tries);
                in_turn((place, &subject), artifacts, ask).await
            };
            // The first answer tells whether the others are worth asking for.
            if found.by_question.is_empty() && first {
                let answers = ask.await;
                let unreached = answers.iter().find(|(_, answer)| at_once(answer));
                found.unreached = unreached.map(|(_, answer)| answer.outcome);
                found.by_question.extend(answers);
            } else {
                tasks.spawn(ask);
            }
        }
    }
    while let Some(done) = tasks.join_next().await {
        found.by_question.extend(done.into_iter().flatten());
    }
    found
}

/// Asks for one artifact after the other, and for `@latest` only where the list has no version.
async fn in_turn<F: Future<Output = Answer>>(
    (place, subject): (usize, &Subject),
    artifacts: &[Artifact],
    ask: impl Fn(Artifact) -> F,
) -> Vec<(Question, Answer)> {
    let mut answers: Vec<(Question, Answer)> = Vec::new();
    for &artifact in artifacts {
        if answers.last().is_some_and(|(_, list)| !subject.is_not_in(list)) {
            break;
        }
        answers.push(((Some(place), artifact), ask(artifact).await));
    }
    answers
}

fn asked_about(subjects: &[Subject]) -> impl Iterator<Item = (usize, &Subject)> {
    subjects.iter().enumerate().filter(|(_, subject)| !subject.private)
}

/// What is asked for at a time, each in its turn. The list of a module whose version is told says
/// whether somebody is there.
fn questions(subject: &Subject, first: bool) -> &'static [&'static [Artifact]] {
    match (first, subject.kind(), &subject.version) {
        (true, Query::Version | Query::Range(_), _) => &[&[Artifact::List]],
        (true, Query::Latest, _) => &[&[Artifact::List, Artifact::Latest]],
        (true, Query::Revision, _) => &[&[Artifact::Latest]],
        (false, _, Some(_)) => &[&[Artifact::Info], &[Artifact::Mod], &[Artifact::Zip]],
        (false, _, None) => &[],
    }
}

async fn about(
    client: &Client,
    base: &Address,
    subject: &Subject,
    artifact: Artifact,
    tries: u32,
) -> Answer {
    let version = subject.version.as_deref();
    let url = base.file(&subject.file(artifact));
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
    let mut before: Option<Answer> = None;
    loop {
        let send = client.get(url, kept).await;
        let outcome = match send.outcome {
            Outcome::Ok => check(&send.body.bytes),
            outcome => outcome,
        };
        let failures = before.as_ref().map_or(0, |answer| answer.failures);
        let late = outcome == Outcome::Unknown && client.is_over();
        // What the end of our time cut short takes nothing back.
        if late && let Some(failed) = before {
            return failed;
        }
        let failures = failures + u32::from(fails(outcome));
        let answer = Answer { requests: send.requests, outcome, failures, body: send.body, late };
        if !answer.failed() || failures >= tries || client.is_over() {
            return answer;
        }
        before = Some(answer);
        connect::pause(failures).await;
    }
}

/// An entry `file://` (`web/http.go:getFile`).
fn from_file(base: &Path, subject: &Subject, artifact: Artifact) -> Answer {
    let version = subject.version.as_deref();
    let name = subject.file(artifact).replace("%21", "!");
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
    let failures = u32::from(fails(outcome));
    Answer { requests: Vec::new(), outcome, failures, body, late: false }
}

/// Who stands for the checksum database.
#[derive(Clone, Eq, PartialEq)]
pub(super) enum Base {
    /// An entry of the list.
    Entry(usize, Address),
    /// The database itself.
    Itself(Address),
    /// An entry that failed keeps go from finding out.
    Failed,
    /// That depends on an entry that is not known, or it is a directory.
    Unasked,
    /// Its URL is none, or nothing names it.
    Nobody,
}

/// Who is asked for checksums where go walks `entries` (`modfetch/sumdb.go:initBase`), of which those
/// of `list` have given these answers.
pub(super) fn base(
    entries: &[Entry],
    (list, answers): (&List, &[Answers]),
    database: &Database,
) -> Base {
    let itself = || match Address::parse(&database.url) {
        Some(url) => Base::Itself(url),
        // A directory go reads, and asks nobody.
        None if is_international(&database.url) || database.url.starts_with("file:") => {
            Base::Unasked
        }
        None => Base::Nobody,
    };
    if database.given {
        return itself();
    }
    let supported = format!("sumdb/{}/supported", database.name);
    // A failure that `|` lets go pass over is what the walk ends with, unless `direct` is there.
    let mut failed = false;
    for entry in entries {
        let url = match settings::target(&entry.proxy) {
            Target::Url(url) => url,
            Target::Word if entry.proxy == "direct" => return itself(),
            Target::Word if entry.proxy == "off" => break,
            Target::Barred(_) => return Base::Unasked,
            Target::File(base) if base.join(&supported).is_file() => return Base::Unasked,
            _ => continue,
        };
        let place = list.entries.iter().position(|other| other == entry);
        let Some(place) = place.filter(|place| answers[*place].barred.is_none()) else {
            return Base::Unasked;
        };
        let answer = answers[place].by_question.get(&(None, Artifact::SumdbSupported));
        match answer.map(|answer| answer.outcome) {
            Some(Outcome::Ok) => {
                return Base::Entry(place, url.below(&format!("sumdb/{}", database.name)));
            }
            Some(Outcome::NotFound) => {}
            Some(Outcome::Unknown) => return Base::Unasked,
            _ if entry.separator == Some(crate::model::Separator::Pipe) => failed = true,
            _ => return Base::Failed,
        }
    }
    if failed { Base::Failed } else { itself() }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;
    use std::time::Duration;

    use rustls::RootCertStore;

    use super::super::client::Credentials;
    use super::super::connect::Tls;
    use super::super::forward::Forward;
    use super::*;

    fn subject(query: &str) -> Subject {
        Subject {
            path: "mod.lab/m".to_owned(),
            query: query.to_owned(),
            version: None,
            private: false,
            summed: false,
        }
    }

    fn answer(outcome: Outcome, body: &'static str) -> Answer {
        let body = Body { bytes: Bytes::from_static(body.as_bytes()), whole: true };
        Answer { requests: Vec::new(), outcome, failures: 0, body, late: false }
    }

    /// As `modload/query.go:queryProxy` asks.
    #[test]
    fn only_what_go_asks_for_counts() {
        use Artifact::{Latest, List};
        let ok = |list| answer(Outcome::Ok, list);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for (query, list, asked, counted) in [
            ("latest", ok("v1.0.0\n"), &[List][..], &[List, Latest][..]),
            ("latest", ok(""), &[List, Latest], &[List, Latest]),
            ("latest", answer(Outcome::NotFound, ""), &[List], &[List, Latest]),
            ("v1", ok(""), &[List], &[List]),
            ("<v2", ok(""), &[List], &[List]),
            ("main", ok(""), &[Latest], &[Latest]),
            ("v1.0.0", ok(""), &[List], &[]),
        ] {
            let subject = subject(query);
            let mut found = Vec::new();
            for &artifacts in questions(&subject, true) {
                let ask = |_| future::ready(list.clone());
                found.extend(runtime.block_on(in_turn((0, &subject), artifacts, ask)));
            }
            let found: Vec<Artifact> =
                found.into_iter().map(|((_, artifact), _)| artifact).collect();
            assert_eq!(found, asked, "{query}");
            let counts = [List, Latest].into_iter().filter(|it| subject.asks(*it));
            assert_eq!(counts.collect::<Vec<_>>(), counted, "{query}");
        }
    }

    /// As `modfetch/proxy.go:Latest` finds it.
    #[test]
    fn a_commit_of_the_list_is_the_latest_where_there_is_no_other() {
        const COMMIT: &str = "v0.0.0-20240102030405-abcdefabcdef";
        let found = |list, latest| {
            let answers = [(Artifact::List, answer(Outcome::Ok, list)), (Artifact::Latest, latest)];
            let by_question = answers.map(|(artifact, answer)| ((Some(0), artifact), answer));
            let entry = Answers { by_question: by_question.into(), ..Answers::default() };
            resolved(&entry, 0, &Query::Latest)
        };
        let absent = || answer(Outcome::NotFound, "");
        assert_eq!(found(COMMIT, absent()).as_deref(), Some(COMMIT));
        assert_eq!(found("", absent()), None);
        assert_eq!(found(COMMIT, answer(Outcome::HttpError, "")), None);
        let latest = answer(Outcome::Ok, r#"{"Version":"v0.0.0-20250102030405-abcdefabcdef"}"#);
        assert_ne!(found(COMMIT, latest).as_deref(), Some(COMMIT));
    }

    /// GOAUTH has nothing to add there.
    #[test]
    fn who_serves_without_credentials_is_believed_that_it_lacks_something() {
        let of = |outcome, status, credentials: &[&str]| {
            let mut request = Request::begun(1, "GET".into(), String::new(), String::new(), 0);
            (request.status, request.outcome) = (Some(status), outcome);
            request.credentials = Some(credentials.iter().map(|&name| name.to_owned()).collect());
            Answer { requests: vec![request], ..answer(outcome, "") }
        };
        let said = |module, credentials: &[&str], request| {
            let unknown = Answer { outcome: Outcome::Unknown, ..of(request, 404, &[]) };
            let mut entry = Answers::default();
            entry.by_question.insert((Some(0), Artifact::Info), unknown);
            let served = of(Outcome::Ok, 200, credentials);
            entry.by_question.insert((module, Artifact::List), served);
            entry.add(Answers::default());
            entry.by_question[&(Some(0), Artifact::Info)].outcome
        };
        let (absent, unknown) = (Outcome::NotFound, Outcome::Unknown);
        assert_eq!(said(Some(0), &[], absent), absent);
        assert_eq!(said(Some(0), &["Authorization"], absent), unknown);
        // Another module may be open to all.
        assert_eq!(said(Some(1), &[], absent), unknown);
        // The checksum database is open to all.
        assert_eq!(said(None, &[], absent), unknown);
        // A body that was cut short.
        assert_eq!(said(Some(0), &[], unknown), unknown);
    }

    /// What is not known for another reason is what was answered last.
    #[test]
    fn only_the_end_of_the_time_takes_nothing_back() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/m/@v/list", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            for head in ["502 x", "302 x\r\nLocation: https://proxy.lab/"] {
                let (mut stream, _) = listener.accept().unwrap();
                assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
                write!(stream, "HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n").unwrap();
            }
        });
        let forward = Forward::new("", "socks5://127.0.0.1:1", "");
        let limit = Duration::from_mins(1);
        let tls = Tls::new(RootCertStore::empty());
        let client = Client::new(tls, forward, Credentials::default(), (limit, limit));
        let url = Address::parse(&url).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answer = runtime.block_on(repeat(&client, &url, (3, KEPT), |_| Outcome::Ok));
        server.join().unwrap();
        assert_eq!((answer.outcome, answer.failures, answer.late), (Outcome::Unknown, 1, false));
    }

    /// What is asked for by its name is so in a directory, too.
    #[test]
    fn a_branch_has_an_info_of_its_name() {
        assert_eq!(subject("main").file(Artifact::Latest), "mod.lab/m/@v/main.info");
        assert_eq!(subject("latest").file(Artifact::Latest), "mod.lab/m/@latest");
        let directory = tempfile::tempdir().unwrap();
        let versions = directory.path().join("mod.lab/m/@v");
        fs::create_dir_all(&versions).unwrap();
        fs::write(versions.join("main.info"), r#"{"Version":"v1.0.0"}"#).unwrap();
        let answer = from_file(directory.path(), &subject("main"), Artifact::Latest);
        assert_eq!(answer.outcome, Outcome::Ok);
        assert_eq!(content::version_of(&answer.body.bytes).as_deref(), Some("v1.0.0"));
    }
}
