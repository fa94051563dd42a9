//! Asks each entry of GOPROXY whether it works, as go would ask, and without privileges.
//!
//! [`run`] reads the settings that go would have here, asks every entry about some modules
//! ([`probe`]), and puts the answers together as go would walk them ([`walk`]): a [`trace`] like any
//! other, in which diagnosis finds what is wrong. Which GOPROXY to use is [`choose`]'s business.
//!
//! Some things differ from go on purpose: each request has a connection of its own, and where go
//! waits without limit, preflight does not. It does not look into the module cache. Of the tree of
//! the checksum database it asks for one part: whether that is still the tree of before, only who kept
//! it can tell.
#![forbid(unsafe_code)]

mod address;
mod archive;
mod choose;
mod client;
mod connect;
mod content;
mod failure;
mod forward;
mod here;
mod probe;
mod query;
mod settings;
mod table;
mod trace;
mod trust;
mod verdict;
mod walk;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use self::client::{Body, Client, Credentials, KEPT};
use self::connect::Tls;
use self::content::Tile;
use self::forward::Forward;
use self::here::Here;
use self::probe::{Answer, Answers, Base, Subject};
use self::settings::{Module, Settings};
use self::trace::{Frame, WALKER};
use self::verdict::Proposal;
use self::walk::{Asked, Sums};
use crate::diagnose;
use crate::model::{Artifact, Outcome, Severity, Trace};
use crate::redact;
use crate::roots;

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
    /// `path@version`, `path@query` or `path`; none for some of those that `go.mod` requires here.
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
    /// The go.mod and go.work files that go would be told by here, redacted.
    pub files: Vec<String>,
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
    /// It depends on who is not asked: `direct`, a public proxy that is not in the list, or a checksum
    /// database that go would come to with the list to use alone; or on an answer that to go may be
    /// another.
    Unknown,
    /// The time was over before that was known.
    Late,
    /// It does not get everything.
    Fails,
}

impl Fare {
    /// Whether nobody should go on with it: what there was no time to find out may as well fail.
    pub fn is_bad(self) -> bool {
        matches!(self, Self::Late | Self::Fails)
    }
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
    /// It was not asked: `direct`, `off`, a host whose name is not ASCII, behind a forward proxy that
    /// preflight does not speak to, or with a GOAUTH for which go since 1.24 ends.
    NotAsked,
    /// What it is worth to go is not known: it wants credentials that commands of GOAUTH or lines
    /// of netrc may have, or there was no time left.
    Unknown,
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
    /// An argument is no module, or asks for what go refuses to look for.
    #[error(
        "`{0}` is no version of a module: write path@version, such as golang.org/x/text@v0.3.0"
    )]
    NoModule(String),
    /// GOPROXY has no entries.
    #[error("GOPROXY has no entries: there is nobody to ask")]
    NoEntries,
    /// A file that go reads cannot be read.
    #[error("cannot read {}: {}; go could not, either", .0.display(), .1)]
    Unreadable(PathBuf, std::io::Error),
    /// Neither threads nor sockets could be had.
    #[error("cannot start: {0}")]
    Start(#[from] std::io::Error),
}

/// Asks, for as long as the limit lets it.
pub fn run(options: &Options) -> Result<Report, Error> {
    let settings = Settings::read();
    let here = Here::read(&settings, FROM_GO_MOD, !options.modules.is_empty())?;
    let modules = modules(options, &here)?;
    if settings.list.entries.iter().all(|entry| entry.proxy == "noproxy") {
        return Err(Error::NoEntries);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let began = std::time::Instant::now();
    let started_at = jiff::Timestamp::now().to_string();
    // Who says nothing must leave time for what is asked when all others have been.
    let step = options.limit * 9 / 10 / options.failures.max(1);
    let client = Arc::new(client(&settings, (options.limit, step)));
    let (asked, book, proposal) = runtime.block_on(async {
        let asked = ask(&settings, &client, (modules, &here.sums), options).await;
        // What is asked for the list to use is no part of the trace of the one that is set.
        let book = client.take_book();
        let proposal = propose(&settings, &client, &asked, options).await;
        (asked, book, proposal)
    });
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
        succeeded: !works.is_bad(),
    };
    let mut trace = trace::trace(&asked, book, &frame);
    trace.findings = findings(&trace);
    trace::tell_once(&mut trace);
    let files = here.files.iter().map(|file| redact::argument(&file.to_string_lossy())).collect();
    Ok(verdict::report(&asked, trace, works, proposal, (files, options)))
}

fn modules(options: &Options, here: &Here) -> Result<Vec<Module>, Error> {
    if options.modules.is_empty() {
        return Ok(here.modules.clone());
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
    let credentials = Credentials {
        netrc: settings.netrc(),
        commands: settings.has_credential_commands(),
        fault: settings.goauth_fault(),
    };
    Client::new(tls, forward, credentials, limits)
}

async fn ask(
    settings: &Settings,
    client: &Arc<Client>,
    (modules, go_sum): (Vec<Module>, &str),
    options: &Options,
) -> Asked {
    let list = settings.list.clone();
    let database = settings.database();
    let mut subjects: Vec<Subject> = modules
        .into_iter()
        .map(|Module { path, query }| Subject {
            private: list.passes_by(&path),
            summed: database.is_some()
                && !settings.is_unsummed(&path)
                && !settings::has_sums(go_sum, &path, &query),
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
    compare_zips(&entries, &subjects, |_| Some(go_sum), &mut sums);
    for (entry, answers) in entries.iter().enumerate() {
        let contradicted = subjects.iter().enumerate().filter(|(module, subject)| {
            let answer = answers.by_question.get(&(Some(*module), Artifact::Mod));
            let came = answer.filter(|answer| came(answer) && answer.body.whole);
            came.zip(subject.version.as_deref()).is_some_and(|(answer, version)| {
                content::contradicts(go_sum, &subject.path, version, &answer.body.bytes)
            })
        });
        sums.contradicted.extend(contradicted.map(|(module, _)| (entry, module)));
    }
    if let Some(database) = &wanted {
        let base = probe::base(&list.entries, (&list, &entries), database);
        look_up(client, &base, &subjects, &entries, options.failures, &mut sums).await;
        (sums.base, sums.through) = (Some(base), !database.given);
    }
    Asked { list, entries, subjects, sums }
}

/// What to set in place of the list, and how go would fare with it. Where it would find another way to
/// the checksum database, that is asked there as well; but not the database itself, which with the list
/// that is set would not be told of the modules.
async fn propose(
    settings: &Settings,
    client: &Arc<Client>,
    asked: &Asked,
    options: &Options,
) -> Proposal {
    let choice = verdict::choice(asked, options);
    let database = settings.database().filter(|_| asked.sums.base.is_some());
    let answers = (&asked.list, &*asked.entries);
    let base = database.map(|database| probe::base(&choice.entries, answers, &database));
    let base = base.filter(|base| asked.sums.base.as_ref() != Some(base)).map(|base| match base {
        Base::Itself(_) if !options.allowed.public => Base::Unasked,
        base => base,
    });
    let Some(base) = base else {
        let works = verdict::fare(asked, &choice.entries);
        return Proposal { choice, works, otherwise: None };
    };
    let mut sums = asked.sums.clone().without_answers();
    look_up(client, &base, &asked.subjects, &asked.entries, options.failures, &mut sums).await;
    sums.base = Some(base);
    let otherwise = Asked { sums, ..asked.clone() };
    let works = verdict::fare(&otherwise, &choice.entries);
    Proposal { choice, works, otherwise: Some(otherwise) }
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

/// Asks the checksum database about every module that somebody has, and for a part of its tree.
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
        let silent = answer.requests.iter().all(|request| request.status.is_none());
        sums.silent = silent.then_some(answer.outcome);
        sums.lookups.insert(place, answer);
        if silent {
            break;
        }
    }
    let mut records = sums.lookups.iter().filter(|(_, answer)| answer.outcome == Outcome::Ok);
    let tile = records.find_map(|(place, answer)| Some((*place, Tile::of(&answer.body.bytes)?)));
    let Some((place, tile)) = tile.filter(|_| sums.silent.is_none()) else { return };
    sums.tile_of = (!tile.is_part()).then_some(place);
    for path in tile.paths() {
        let check = |body: &[u8]| tile.check(&path, body);
        let answer = probe::repeat(client, &url.below(&path), (tries, KEPT), check).await;
        // Where nothing ends, go waits.
        let is_last =
            matches!(answer.outcome, Outcome::Ok | Outcome::BadContent | Outcome::Unfinished);
        sums.tiles.push(answer);
        if is_last {
            break;
        }
    }
}

/// The findings. What is true of an entry that go does not come to has made nothing fail yet.
fn findings(trace: &Trace) -> Vec<crate::model::Finding> {
    let mut findings = diagnose::diagnose(trace);
    let walked = |id: &u32| trace.chains.iter().any(|c| c.id == *id && c.process == WALKER);
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

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;
    use std::path::Path;
    use std::thread;

    use super::*;

    /// A proxy that answers a path so; its URL.
    fn serve(answer: fn(&str) -> (u16, &'static str)) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let head: Vec<String> =
                    lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
                let path = head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or("");
                let (status, body) = answer(path);
                let length = body.len();
                let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {length}\r\n\r\n");
                let _ = stream.write_all((head + body).as_bytes());
            }
        });
        url
    }

    /// One that has a module and the checksum database.
    fn well(path: &str) -> (u16, &'static str) {
        match path.rsplit('/').next().unwrap_or("") {
            "supported" => (200, ""),
            "list" => (200, "v1.0.0\n"),
            "v1.0.0.info" => (200, r#"{"Version":"v1.0.0"}"#),
            "v1.0.0.mod" => (200, "module golang.org/x/text\n"),
            "v1.0.0.zip" => (200, "PK"),
            "m@v1.0.0" => (
                200,
                "1\nmod.lab/m v1.0.0/go.mod h1:NqM8EUOU14njkJ3fqMW+pc6Ldnwhi/IjpwHt7yyuwOQ=\n\n",
            ),
            _ => (404, ""),
        }
    }

    /// A checksum database where nobody listens.
    const NOBODY: &str = "127.0.0.1:1+033de0ae+Ac4zctda";

    fn options() -> Options {
        Options {
            modules: Vec::new(),
            failures: 1,
            limit: Duration::from_mins(1),
            allowed: Allowed::default(),
            argv: Vec::new(),
        }
    }

    /// What was learned of a module with these settings, and by whom.
    fn asked(settings: &Settings) -> (Asked, Arc<Client>) {
        let options = options();
        let client = Arc::new(client(settings, (options.limit, options.limit)));
        let modules = vec![Module::parse("mod.lab/m@v1.0.0").unwrap()];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let asked = runtime.block_on(ask(settings, &client, (modules, ""), &options));
        (asked, client)
    }

    /// What becomes of a module with this list and this checksum database: with the list that is set,
    /// and with that to use.
    fn fares(goproxy: &str, gosumdb: &str, options: &Options) -> (Fare, String, Fare) {
        let environment = [("GOPROXY", goproxy), ("GOSUMDB", gosumdb), ("GOAUTH", "off")];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let settings = Settings::of(environment.into(), Path::new(""), &|_| None);
        let client = Arc::new(client(&settings, (options.limit, options.limit)));
        let module = Module::parse("mod.lab/m@v1.0.0").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let asked = ask(&settings, &client, (vec![module], ""), options).await;
            let proposal = propose(&settings, &client, &asked, options).await;
            let works = verdict::fare(&asked, &asked.list.entries);
            (works, choose::text(&proposal.choice.entries), proposal.works)
        })
    }

    /// An entry that fails keeps go from the database that it finds without it.
    #[test]
    fn the_list_to_use_has_its_own_way_to_the_database() {
        let (broken, good) = (serve(|_| (502, "")), serve(well));
        let fares = fares(&format!("{broken},{good}"), NOBODY, &options());
        assert_eq!(fares, (Fare::Fails, good, Fare::Works));
    }

    /// One that forwards the database and has no zips: the next one does not forward it, so that go
    /// would ask the database itself. Unless that is allowed, nobody does it here.
    #[test]
    fn who_forwards_the_database_may_not_be_left_out_unseen() {
        let first = serve(|path| if path.contains("v1.0.0.zip") { (500, "") } else { well(path) });
        let next = serve(|path| if path.contains("/sumdb/") { (404, "") } else { well(path) });
        let goproxy = format!("{first},{next}");
        for (public, expected) in [(false, Fare::Unknown), (true, Fare::Fails)] {
            let allowed = Allowed { direct: false, public };
            let fares = fares(&goproxy, NOBODY, &Options { allowed, ..options() });
            assert_eq!(fares, (Fare::Fails, next.clone(), expected), "{public}");
        }
    }

    /// Nothing else says why go gets nothing from who has everything.
    #[test]
    fn a_database_that_go_cannot_ask_is_found() {
        let goproxy = serve(well);
        for (user, gosumdb, is_found) in [
            ("GOSUMDB=\n", "", true),
            ("GOSUMDB= \n", "", true),
            ("", "sum.lab", true),
            ("GOSUMDB=off\n", "", false),
        ] {
            let environment =
                [("HOME", "/h"), ("GOPROXY", &*goproxy), ("GOSUMDB", gosumdb), ("GOAUTH", "off")];
            let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let read = |path: &Path| match path.to_str() {
                Some("/h/.config/go/env") => Some(user.to_owned()),
                Some("/usr/lib/go/go.env") => {
                    Some("GOSUMDB=sum.golang.org\nGOTOOLCHAIN=auto\n".to_owned())
                }
                _ => None,
            };
            let go = Path::new("/usr/lib/go/bin/go");
            let settings = Settings::of(environment.into(), go, &read);
            let (asked, client) = asked(&settings);
            let frame = Frame {
                argv: Vec::new(),
                config: settings.redacted(),
                kernel: String::new(),
                started_at: String::new(),
                duration_ns: 0,
                succeeded: !is_found,
            };
            let trace = trace::trace(&asked, client.take_book(), &frame);
            let found = findings(&trace).iter().any(|finding| finding.code == "PT502");
            assert_eq!(found, is_found, "{user:?} {gosumdb}");
        }
    }

    /// One entry that go cannot read is the end of all; one that is not asked here is not.
    #[test]
    fn what_go_cannot_read_spoils_the_list() {
        let good = serve(well);
        let with = |entry: &str| format!("{entry},{good}");
        let unread = fares(&with("https://ci:100%@proxy.lab"), "off", &options());
        assert_eq!(unread, (Fare::Fails, good.clone(), Fare::Works));
        let list = with("https://bücher.example");
        let unasked = fares(&list, "off", &options());
        assert_eq!(unasked, (Fare::Unknown, list, Fare::Unknown));
    }

    /// Since Go 1.24 it ends for such a GOAUTH before it asks anybody over https.
    #[test]
    fn a_goauth_for_which_go_ends_leaves_it_open() {
        let fares = |goauth: &str, scheme: &str| {
            let goproxy = serve(well).replace("http", scheme);
            let environment = [("GOPROXY", &*goproxy), ("GOSUMDB", "off"), ("GOAUTH", goauth)];
            let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let settings = Settings::of(environment.into(), Path::new(""), &|_| None);
            let (asked, _) = asked(&settings);
            (verdict::fare(&asked, &asked.list.entries), asked.entries[0].barred.clone())
        };
        let (fare, why) = fares("netrc;", "https");
        assert_eq!(fare, Fare::Unknown);
        assert_eq!(why.as_deref(), Some("go since 1.24 ends first: GOAUTH has an empty command"));
        // Over http it does not look at it.
        assert_eq!(fares("netrc;", "http"), (Fare::Works, None));
    }

    /// Who says nothing takes all the time that there is.
    #[test]
    fn what_there_was_no_time_for_is_no_success() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = serve(well);
        let goproxy = format!("http://{}|{good}", listener.local_addr().unwrap());
        let options = Options { limit: Duration::from_secs(2), ..options() };
        // The database is asked when everybody else has been.
        assert_eq!(fares(&goproxy, NOBODY, &options), (Fare::Late, good, Fare::Late));
        // The others do not wait to be asked for a version that is told.
        assert_eq!(fares(&goproxy, "off", &options).0, Fare::Works);
    }
}
