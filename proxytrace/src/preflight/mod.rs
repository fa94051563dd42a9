//! Asks each entry of GOPROXY whether it works, as go would ask, and without privileges.
//!
//! [`run`] reads the settings that go would have here, asks every entry about some modules
//! ([`probe`]), and puts the answers together as go would walk them ([`walk`]): a trace like any
//! other, in which diagnosis finds what is wrong. Which GOPROXY to use is [`choose`]'s business.
//!
//! Some things differ from go on purpose: each request has a connection of its own, and where go
//! waits without limit, preflight does not. It does not look into the module cache, and does not check
//! the tree of the checksum database: whether that is still the one of before, only who kept it can
//! tell.
#![forbid(unsafe_code)]

mod address;
mod archive;
mod choose;
mod client;
mod connect;
mod content;
mod failure;
mod forward;
mod probe;
pub(crate) mod roots;
mod settings;
mod table;
mod verdict;
mod walk;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use self::client::{Body, Client, KEPT};
use self::connect::Tls;
use self::forward::Forward;
use self::probe::{Answer, Answers, Base, Subject, fails};
use self::settings::{Module, Settings};
use self::walk::{Asked, Frame, Sums};
use crate::diagnose;
use crate::model::{Artifact, Outcome, Severity, Trace};
use crate::redact;

pub use self::choose::Allowed;
pub use self::table::render;

/// The name and version of the document that `--json` writes.
pub const SCHEMA: &str = "proxytrace.preflight/v1";

/// What its trace says of how it was made, in place of the kind of probes.
pub const BACKEND: &str = "preflight";

/// How many of the modules that `go.mod` requires are asked about.
const FROM_GO_MOD: usize = 5;

/// What to ask, and how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// `path@version`, `path@query` or `path`; none for some of those that `go.mod` requires.
    pub modules: Vec<String>,
    /// How often an entry fails before it is left out.
    pub failures: u32,
    /// For all of it.
    pub limit: Duration,
    /// What the GOPROXY to use may be widened to.
    pub allowed: Allowed,
    /// The arguments, for the trace.
    pub argv: Vec<String>,
}

/// What preflight found.
#[derive(Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Whether go gets what was asked for with the GOPROXY that is set.
    pub works: Fare,
    /// The same for the GOPROXY to use.
    pub works_with: Fare,
    /// The list that go has, redacted.
    pub goproxy: String,
    /// The list to use, redacted; the same if nothing is to be left out.
    pub goproxy_to_use: String,
    /// Entries, by index, that were left out of it.
    pub left_out: Vec<usize>,
    /// Entries that fail and stay in it, as leaving them out would ask somebody who was not asked.
    pub kept: Vec<usize>,
    /// The entries, in the order of the list.
    pub entries: Vec<EntryReport>,
    /// The modules asked about.
    pub modules: Vec<ModuleReport>,
    /// The checksum database, where it is asked itself.
    pub database: Option<EntryReport>,
    /// What was asked and answered, as a trace, with the findings.
    pub trace: Trace,
    /// The list to use with its secrets; it leaves only on request.
    #[serde(skip)]
    secret: String,
}

/// How go fares.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fare {
    /// It gets everything.
    Works,
    /// It depends on who is not asked: `direct`, or a public proxy that is not in the list.
    Unknown,
    /// It does not get everything.
    Fails,
}

/// What an entry is worth.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It has all that it was asked for, or, where nothing was asked of it, answers.
    Works,
    /// It has some of it.
    Partly,
    /// It has none of it.
    Absent,
    /// It fails.
    Fails,
    /// It was not asked: `direct`, `off`.
    NotAsked,
}

/// One entry.
#[derive(Serialize)]
pub struct EntryReport {
    /// As go uses it, redacted.
    pub proxy: String,
    /// What it is worth.
    pub verdict: Verdict,
    /// Why, in words.
    pub reason: String,
    /// How often it failed in a row, at the question where it failed most.
    pub failures: u32,
    /// How long its name took.
    pub dns_ns: Option<u64>,
    /// How long TCP took.
    pub connect_ns: Option<u64>,
    /// How long TLS took.
    pub tls_ns: Option<u64>,
    /// The worst answer to each kind of question, by the name of the artifact.
    pub answers: Vec<AnswerReport>,
}

/// The worst answer to a kind of question.
#[derive(Serialize)]
pub struct AnswerReport {
    /// What was asked for.
    pub artifact: Artifact,
    /// How it ended.
    pub outcome: Outcome,
    /// The last status.
    pub status: Option<u16>,
    /// The host that answered last.
    pub host: Option<String>,
}

/// One module.
#[derive(Serialize)]
pub struct ModuleReport {
    /// Its path.
    pub path: String,
    /// What was asked for.
    pub query: String,
    /// The version that it came to.
    pub version: Option<String>,
    /// How go fares with it.
    pub works: Fare,
    /// Whether GONOPROXY keeps it from every proxy.
    pub private: bool,
}

/// Why there is nothing to report.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An argument is no module.
    #[error("`{0}` is no module: write path@version, such as golang.org/x/text@v0.3.0")]
    NoModule(String),
    /// GOPROXY has no entries.
    #[error("GOPROXY has no entries: there is nobody to ask")]
    NoEntries,
    /// Neither threads nor sockets could be had.
    #[error("cannot start: {0}")]
    Start(#[from] std::io::Error),
}

/// Asks, for as long as the limit lets it.
pub fn run(options: &Options) -> Result<Report, Error> {
    let settings = Settings::read();
    let modules = modules(options)?;
    if settings.list.entries.iter().all(|entry| entry.proxy == "noproxy") {
        return Err(Error::NoEntries);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let began = std::time::Instant::now();
    let started_at = jiff::Timestamp::now().to_string();
    let step = options.limit / options.failures.max(1);
    let client = Arc::new(client(&settings, (options.limit, step)));
    let asked = runtime.block_on(ask(&settings, &client, modules, options));
    // A name server that says nothing must not hold us up.
    runtime.shutdown_background();
    let everything = &asked.list.entries;
    let works = verdict::fare(&asked, everything);
    let frame = Frame {
        argv: redact::arguments(&options.argv),
        config: settings.redacted(),
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
            .map_or_else(|_| String::new(), |release| release.trim().to_owned()),
        started_at,
        duration_ns: u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX),
        succeeded: works != Fare::Fails,
    };
    let mut trace = walk::trace(&asked, client.take_book(), &frame);
    trace.findings = findings(&trace);
    Ok(verdict::report(&asked, trace, works, options))
}

fn modules(options: &Options) -> Result<Vec<Module>, Error> {
    if options.modules.is_empty() {
        let go_mod = fs::read_to_string("go.mod").unwrap_or_default();
        return Ok(settings::required(&go_mod, FROM_GO_MOD));
    }
    let parse = |text: &String| Module::parse(text).ok_or_else(|| Error::NoModule(text.clone()));
    options.modules.iter().map(parse).collect()
}

fn client(settings: &Settings, limits: (Duration, Duration)) -> Client {
    let file = settings.variable("SSL_CERT_FILE");
    let tls = Tls::new(roots::load(file, settings.variable("SSL_CERT_DIR")));
    let forward = Forward::new(
        settings.get("HTTP_PROXY"),
        settings.get("HTTPS_PROXY"),
        settings.get("NO_PROXY"),
    );
    Client::new(tls, forward, settings.netrc(), limits)
}

async fn ask(
    settings: &Settings,
    client: &Arc<Client>,
    modules: Vec<Module>,
    options: &Options,
) -> Asked {
    let list = settings.list.clone();
    let database = settings.database();
    let go_sum = fs::read_to_string("go.sum").unwrap_or_default();
    let mut subjects: Vec<Subject> = modules
        .into_iter()
        .map(|Module { path, query }| Subject {
            private: list.passes_by(&path),
            summed: database.is_some()
                && !settings.is_unsummed(&path)
                && !settings::has_sums(&go_sum, &path, &query),
            version: None,
            path,
            query,
        })
        .collect();
    let wanted = database.filter(|_| {
        subjects.is_empty() || subjects.iter().any(|subject| subject.summed && !subject.private)
    });
    let entries = probe::ask(client, &list, wanted.as_ref(), &mut subjects, options.failures).await;
    let mut sums = Sums::default();
    compare_zips(&entries, &subjects, |_| Some(go_sum.as_str()), &mut sums);
    for (entry, answers) in entries.iter().enumerate() {
        let contradicted = subjects.iter().enumerate().filter(|(module, subject)| {
            let answer = answers.by_question.get(&(Some(*module), Artifact::Mod));
            let came = answer.filter(|answer| came(answer) && answer.body.whole);
            came.zip(subject.version.as_deref()).is_some_and(|(answer, version)| {
                content::contradicts(&go_sum, &subject.path, version, &answer.body.bytes)
            })
        });
        sums.mismatches.extend(contradicted.map(|(module, _)| (entry, module)));
    }
    if let Some(database) = &wanted {
        let base = probe::base(&list, &entries, database);
        look_up(client, &base, &subjects, &entries, options.failures, &mut sums).await;
        sums.base = Some(base);
    }
    Asked { list, entries, subjects, sums }
}

/// Compares the sums of zips with what `lines` says of a module, where it says one.
fn compare_zips<'a>(
    entries: &[Answers],
    subjects: &[Subject],
    lines: impl Fn(usize) -> Option<&'a str>,
    sums: &mut Sums,
) {
    for (entry, answers) in entries.iter().enumerate() {
        for (module, subject) in subjects.iter().enumerate() {
            let answer = answers.by_question.get(&(Some(module), Artifact::Zip));
            let answer = answer.filter(|answer| answer.outcome == Outcome::Ok);
            let (Some(answer), Some(version), Some(lines)) =
                (answer, subject.version.as_deref(), lines(module))
            else {
                continue;
            };
            let sum = str::from_utf8(&answer.body.bytes).ok().filter(|sum| sum.starts_with("h1:"));
            // None of a module's sums is empty.
            if content::has_other(lines, &subject.path, version, sum.unwrap_or_default()) {
                let list = if sum.is_some() { &mut sums.zips } else { &mut sums.unverified };
                list.push((entry, module));
            }
        }
    }
}

/// Whether something came for a `go.mod`, whatever it is: go compares its sum before it reads it.
fn came(answer: &Answer) -> bool {
    matches!(answer.outcome, Outcome::Ok | Outcome::BadContent)
}

/// Asks the checksum database about every module that somebody has.
async fn look_up(
    client: &Arc<Client>,
    base: &Base,
    subjects: &[Subject],
    entries: &[Answers],
    tries: u32,
    sums: &mut Sums,
) {
    let (Base::Entry(_, url) | Base::Itself(url)) = base else { return };
    for (place, subject) in subjects.iter().enumerate() {
        let Some(version) = subject.version.as_deref().filter(|_| subject.summed) else { continue };
        let question = (Some(place), Artifact::Mod);
        let having: Vec<(usize, &Body)> = entries
            .iter()
            .enumerate()
            .filter_map(|(entry, answers)| Some((entry, answers.by_question.get(&question)?)))
            .filter(|(_, answer)| came(answer))
            .map(|(entry, answer)| (entry, &answer.body))
            .collect();
        if having.is_empty() {
            continue;
        }
        let url = url.below(&content::lookup(&subject.path, version));
        let check = |record: &[u8]| content::verify(record, &subject.path, version, None);
        let answer = probe::repeat(client, &url, (tries, KEPT), check).await;
        if answer.outcome == Outcome::Ok {
            let record = &answer.body.bytes;
            let differs = |go_mod: &Body| {
                let said = content::verify(record, &subject.path, version, Some(&go_mod.bytes));
                go_mod.whole && said != Outcome::Ok
            };
            let differing = having.iter().filter(|(_, go_mod)| differs(go_mod));
            sums.mismatches.extend(differing.map(|(entry, _)| (*entry, place)));
            let record = String::from_utf8_lossy(record);
            let lines = |module| (module == place).then_some(&*record);
            compare_zips(entries, subjects, lines, sums);
        }
        sums.silent = fails(answer.outcome) && answer.requests.iter().all(|r| r.status.is_none());
        sums.lookups.insert(place, answer);
        if sums.silent {
            break;
        }
    }
}

/// The findings. What is true of an entry that go does not come to has made nothing fail yet.
fn findings(trace: &Trace) -> Vec<crate::model::Finding> {
    let mut findings = diagnose::diagnose(trace);
    let walked = |id: &u32| trace.chains.iter().any(|c| c.id == *id && c.process == walk::WALKER);
    for finding in &mut findings {
        if !finding.chains.is_empty() && !finding.chains.iter().any(walked) {
            finding.severity = finding.severity.min(Severity::Warning);
        }
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

impl Report {
    /// The list to use, with the secrets that it needs to be of use; none if it cannot be handed on
    /// in a line.
    pub fn secret_goproxy(&self) -> Option<&str> {
        let sound = !self.secret.is_empty() && !self.secret.contains(['\n', '\r', '\0']);
        sound.then_some(self.secret.as_str())
    }

    /// What of the list to use is secret: entries as they are written, and credentials in them.
    pub fn secrets(&self) -> Vec<String> {
        let entries = self.secret.split([',', '|']).map(str::trim);
        let secret = entries.filter(|entry| redact::setting("GOPROXY", entry) != *entry);
        secret.flat_map(choose::secrets).collect()
    }

    /// Whether the list to use has secrets in it.
    pub fn has_secrets(&self) -> bool {
        self.secret != self.goproxy_to_use
    }
}
