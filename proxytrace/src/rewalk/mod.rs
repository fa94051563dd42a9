//! The same answers, walked under another GOPROXY: what a recorded run would have come to.
//!
//! go's rules (`cmd/go/internal/modfetch/proxy.go:TryProxies`, `repo.go:lookup`), per artifact: 404
//! and 410 let it go on, after `|` any error does; `direct` and `off` end the list; GONOPROXY puts
//! the implicit `noproxy` first, and its modules ask no proxy at all. What an entry would have said
//! is known where the recorded run asked it for the same artifact, with the same credentials;
//! elsewhere the prediction ends, and says why.
//!
//! A prediction holds for a chain if go asks for it at all: it may not, where another fails first. What
//! go asked for and did without, as the prefixes of a path that are no modules, is left out where the
//! same would come of it.
#![forbid(unsafe_code)]

mod answers;

#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::correlate::story::{failed, walks_the_list};
use crate::diagnose;
use crate::event::{Origin, Setting};
use crate::goproxy::{self, Entry, List, asks_repositories, is_keyword, same_entry};
use crate::model::{Artifact, Chain, ChainId, Next, Outcome, Process, ProcessId, Separator, Trace};
use crate::redact;

use self::answers::{Answers, Said};

/// The name and version of the JSON form.
pub const SCHEMA: &str = "proxytrace.rewalk/v1";

/// What would have happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// [`SCHEMA`].
    pub schema: String,
    /// The list, redacted.
    pub goproxy: String,
    /// The lists of the recorded processes, redacted, without repetitions.
    pub recorded: Vec<String>,
    /// Whether everything was seen of the recorded run; of what was not nothing is told.
    pub complete: bool,
    /// Each chain that walks the list, in the order of the trace, but for those that go did without
    /// and would again.
    pub walks: Vec<Walk>,
}

/// The walk for one artifact.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Walk {
    /// The chain in the recorded trace.
    pub chain: ChainId,
    /// Its process.
    pub process: ProcessId,
    /// Module path.
    pub module: Option<String>,
    /// Version or query.
    pub version: Option<String>,
    /// What is wanted.
    pub artifact: Artifact,
    /// How it ended in fact.
    pub recorded: Outcome,
    /// The entry that it ended at in fact.
    pub recorded_at: Option<String>,
    /// The entries that would have been tried.
    pub steps: Vec<Step>,
    /// What would have come of it.
    pub end: End,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// As go uses it, redacted.
    pub proxy: String,
    /// What stands after it.
    pub separator: Option<Separator>,
    /// What it answered; none where the recording does not know.
    pub outcome: Option<Outcome>,
    /// Where the walk would have gone; none where it succeeded or is not known.
    pub next: Option<Next>,
}

/// What comes of a walk.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum End {
    /// An entry serves it.
    Served {
        /// The entry.
        by: String,
    },
    /// It fails.
    Failed {
        /// The entry whose error go prints: of `direct`, or else the last that is not an absence,
        /// or else the last.
        prints: String,
        /// That error.
        outcome: Outcome,
        /// The first entry that failed for another reason than absence, where go prints another.
        masks: Option<String>,
    },
    /// The recording cannot know.
    Unknown {
        /// Why not.
        why: String,
    },
}

/// Why there is no prediction.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// No entries at all.
    #[error("GOPROXY={0:?} has no entries; an empty one means go's own default: write that out")]
    Empty(String),
    /// An entry that go refuses, and with it the whole list.
    #[error("go refuses this list before it asks anybody: {0:?} {1}")]
    Entry(String, &'static str),
}

/// What would have come of the recorded run under this GOPROXY.
pub fn rewalk(trace: &Trace, goproxy: &str) -> Result<Prediction, Refused> {
    check(goproxy)?;
    let mut recorded: Vec<String> = Vec::new();
    let mut walks = Vec::new();
    let idle = diagnose::done_without(trace);
    for process in trace.processes.iter().filter(|process| process.go_version.is_some()) {
        let list = list_of(process, goproxy);
        let answers = Answers::of(trace, process, &list);
        let before = walks.len();
        let own = trace.chains.iter().filter(|chain| chain.process == process.id);
        let walked = own.filter(|c| walks_the_list(c.artifact) && !c.attempts.is_empty());
        let walked = walked.map(|chain| walk(chain, &answers));
        walks.extend(walked.filter(|walk| walk.differs() || !idle.contains(&walk.chain)));
        if let Some(list) = process.config.get("GOPROXY")
            && walks.len() > before
            && !recorded.contains(&list.value)
        {
            recorded.push(list.value.clone());
        }
    }
    walks.sort_by_key(|walk| walk.chain);
    Ok(Prediction {
        schema: SCHEMA.to_owned(),
        goproxy: redact::setting("GOPROXY", goproxy),
        recorded,
        complete: trace.capture.complete,
        walks,
    })
}

/// The list that a process would walk: its GONOPROXY stays.
fn list_of(process: &Process, goproxy: &str) -> List {
    let mut config = process.config.clone();
    let value = redact::setting("GOPROXY", goproxy);
    config.insert("GOPROXY".to_owned(), Setting { value, origin: Origin::Environment });
    List::of(&config)
}

/// What go checks before it walks (`modfetch/proxy.go:proxyList`, `newProxyRepo`).
fn check(goproxy: &str) -> Result<(), Refused> {
    let config = [("GOPROXY", goproxy)].map(|(name, value)| {
        (name.to_owned(), Setting { value: value.to_owned(), origin: Origin::Environment })
    });
    let list = List::of(&config.into());
    if list.entries.is_empty() {
        return Err(Refused::Empty(goproxy.to_owned()));
    }
    for Entry { proxy, .. } in list.entries.iter().filter(|entry| !is_keyword(&entry.proxy)) {
        let refused = |why| Err(Refused::Entry(redact::url(proxy).into_owned(), why));
        match proxy.split_once(':') {
            None => return refused("has no scheme"),
            Some(("file", _)) if goproxy::file(proxy).is_none() => {
                return refused("is no file:// URL of a path alone");
            }
            Some(("http" | "https" | "file", _)) => {}
            Some(_) => return refused("has a scheme other than https, http and file"),
        }
    }
    Ok(())
}

/// One chain, walked along the list of `answers`.
pub(crate) fn walk(chain: &Chain, answers: &Answers<'_>) -> Walk {
    let list = answers.list();
    let private = chain.module.as_deref().is_some_and(|module| list.passes_by(module));
    let mut steps: Vec<Step> = Vec::new();
    let mut end = None;
    for (place, entry) in list.entries.iter().enumerate() {
        // `noproxy` is for private modules alone, the proxies for the others.
        let word = matches!(entry.proxy.as_str(), "noproxy" | "direct");
        if entry.proxy == "noproxy" && !private || private && !word && entry.proxy != "off" {
            continue;
        }
        let mut step = Step {
            proxy: entry.proxy.clone(),
            separator: entry.separator,
            outcome: None,
            next: None,
        };
        let (outcome, fatal) = match answers.ask(chain, &entry.proxy) {
            Said::Known(outcome) => (outcome, false),
            Said::Fatal(outcome) => (outcome, true),
            Said::Unknown(why) => {
                steps.push(step);
                end = Some(End::Unknown { why });
                break;
            }
        };
        step.outcome = Some(outcome);
        if !failed(outcome) {
            steps.push(step);
            end = Some(End::Served { by: entry.proxy.clone() });
            break;
        }
        let settled = fatal || is_settled(chain.artifact, outcome);
        let following = list.entries.get(place + 1).filter(|_| !settled);
        let next = entry.next(outcome, following);
        step.next = Some(next);
        steps.push(step);
        if next == Next::Stop {
            break;
        }
    }
    let end = end.unwrap_or_else(|| failure(&steps));
    let end = if chain.artifact == Artifact::SumdbSupported {
        for_checksums(&mut steps, end)
    } else {
        end
    };
    Walk {
        chain: chain.id,
        process: chain.process,
        module: chain.module.clone(),
        version: chain.version.clone(),
        artifact: chain.artifact,
        recorded: chain.outcome,
        recorded_at: chain.attempts.last().map(|attempt| attempt.proxy.clone()),
        end,
        steps,
    }
}

/// Whether the walk is over when go finds this. A zip is opened, and its checksum compared, after the
/// walk (`fetch.go:downloadZip`, `hashZip`); the checksum of a go.mod file within it
/// (`cache.go:cachingRepo.GoMod`).
fn is_settled(artifact: Artifact, outcome: Outcome) -> bool {
    artifact == Artifact::Zip && matches!(outcome, Outcome::BadContent | Outcome::Checksum)
}

/// What go prints of several failures (`TryProxies`: `bestErr`). That of `off` is an absence
/// (`repo.go:errProxyOff`).
fn failure(steps: &[Step]) -> End {
    let rank = |step: &Step| {
        let of_repository = asks_repositories(&step.proxy);
        if of_repository { 2 } else { u8::from(step.outcome != Some(Outcome::NotFound)) }
    };
    let printed = steps.iter().max_by_key(|step| rank(step));
    let serious = |step: &&Step| step.outcome.is_some_and(|o| o != Outcome::NotFound);
    let first = steps.iter().find(serious);
    match printed {
        None => End::Unknown { why: "no entry of the list is for this module".to_owned() },
        Some(printed) => End::Failed {
            prints: printed.proxy.clone(),
            outcome: printed.outcome.unwrap_or(Outcome::Unknown),
            masks: first.map(|step| step.proxy.clone()).filter(|first| *first != printed.proxy),
        },
    }
}

/// Words are no entries to ask for the checksum database; where nobody has it, go asks the database
/// itself (`sumdb.go:initBase`).
fn for_checksums(steps: &mut Vec<Step>, end: End) -> End {
    steps.retain(|step| !is_keyword(&step.proxy));
    let itself = matches!(&end, End::Failed { outcome: Outcome::NotFound, .. });
    if let Some(last) = steps.last_mut().filter(|last| last.next.is_some()) {
        last.next = Some(if itself { Next::Direct } else { Next::Stop });
    }
    if itself { End::Served { by: "direct".to_owned() } } else { end }
}

impl Walk {
    /// Whether the prediction differs from what was recorded, or cannot tell.
    pub fn differs(&self) -> bool {
        match &self.end {
            End::Served { by } => {
                failed(self.recorded)
                    || self.recorded_at.as_ref().is_none_or(|at| !same_entry(at, by))
            }
            End::Failed { outcome, .. } => *outcome != self.recorded,
            End::Unknown { .. } => true,
        }
    }
}
