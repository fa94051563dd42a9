//! What the recorded run knows of each entry.

use std::collections::HashMap;

use crate::correlate::story::{failed, unverified};
use crate::goproxy::{List, asks_repositories, is_keyword, same_entry};
use crate::model::{Artifact, Attempt, Chain, Outcome, Process, Trace};
use crate::url::Url;

use super::{End, walk};

/// What an entry would have said.
pub(super) enum Said {
    Known(Outcome),
    /// It ends go itself, whatever stands in the list.
    Fatal(Outcome),
    Unknown(String),
}

/// The answers that one process got, and the list that it is to walk instead.
pub(crate) struct Answers<'a> {
    list: &'a List,
    /// Lookups in the checksum database, by module and version.
    lookups: HashMap<(&'a str, Option<&'a str>), &'a Chain>,
    /// Whether the checksum database is asked for what is not in go.sum.
    verifies: bool,
    /// Where it is asked under the other list; none if that is not walked for.
    place: Option<Result<String, String>>,
    /// Whether everything was seen: what is missing was not asked for then.
    complete: bool,
    /// What was asked where, for the chains that answer the same question.
    known: HashMap<Question<'a>, Vec<&'a Chain>>,
}

type Question<'a> = (Artifact, Option<&'a str>, Option<&'a str>);

fn question(chain: &Chain) -> Question<'_> {
    (chain.artifact, chain.module.as_deref(), chain.version.as_deref())
}

impl<'a> Answers<'a> {
    /// The answers that `process` got.
    pub(super) fn of(trace: &'a Trace, process: &Process, list: &'a List) -> Self {
        let own = || trace.chains.iter().filter(|chain| chain.process == process.id);
        let lookups = own()
            .filter(|chain| chain.artifact == Artifact::SumdbLookup)
            .filter_map(|chain| Some(((chain.module.as_deref()?, chain.version.as_deref()), chain)))
            .collect();
        let sumdb = process.config.get("GOSUMDB").map_or("", |setting| setting.value.as_str());
        let mut known: HashMap<_, Vec<&Chain>> = HashMap::new();
        // Two processes that ask for the same get the same.
        for chain in trace.chains.iter().filter(|chain| !chain.attempts.is_empty()) {
            known.entry(question(chain)).or_default().push(chain);
        }
        let verifies = !matches!(sumdb, "" | "off");
        let complete = trace.capture.complete;
        let mut answers = Self { list, lookups, verifies, place: None, complete, known };
        let supported = own().find(|chain| chain.artifact == Artifact::SumdbSupported);
        answers.place = supported.map(|chain| place(&walk(chain, &answers).end));
        answers
    }

    /// The list that is walked.
    pub(super) fn list(&self) -> &'a List {
        self.list
    }

    /// What `proxy` says when it is asked for what `chain` is about.
    pub(super) fn ask(&self, chain: &Chain, proxy: &str) -> Said {
        if proxy == "off" {
            return Said::Known(Outcome::NotFound);
        }
        if chain.artifact == Artifact::SumdbSupported && is_keyword(proxy) {
            // `initBase` looks no further: the database itself is asked.
            return Said::Known(Outcome::NotFound);
        }
        let same = self.known.get(&question(chain)).map_or(&[][..], Vec::as_slice);
        // `direct` and `noproxy` ask the same; `off` asks nobody.
        let fits = |attempt: &&Attempt| {
            if asks_repositories(proxy) {
                asks_repositories(&attempt.proxy)
            } else {
                same_entry(&attempt.proxy, proxy)
            }
        };
        let mut said: Option<&Attempt> = None;
        let mut as_another = false;
        for same in same {
            for attempt in same.attempts.iter().filter(fits) {
                if not_an_answer(attempt) {
                    continue;
                }
                if credentials(&attempt.proxy) != credentials(proxy) {
                    as_another = true;
                    continue;
                }
                // go.sum, or the database against itself (`fetch.go:checkModSum`,
                // `sumdb.go:SecurityError`).
                if attempt.outcome == Outcome::Checksum && same.contradicted_by.is_some() {
                    return Said::Fatal(attempt.outcome);
                }
                if said.is_some_and(|said| said.outcome != attempt.outcome) {
                    return Said::Unknown(format!("{proxy} answered now so, now otherwise"));
                }
                said = Some(attempt);
            }
        }
        match said {
            Some(attempt) => self.verified(chain, attempt),
            // `web/http.go:get`
            None if proxy.starts_with("http://") && credentials(proxy).0.is_some() => {
                Said::Unknown(format!("{proxy} has credentials, which go does not send over http"))
            }
            None if as_another => {
                Said::Unknown(format!("{proxy} was asked with other credentials"))
            }
            None => Said::Unknown(format!("{proxy} was not asked for it")),
        }
    }

    /// The answer, with what the checksum database says of it under the other list.
    fn verified(&self, chain: &Chain, attempt: &Attempt) -> Said {
        let good = !failed(attempt.outcome) || unverified(attempt);
        let verifiable = matches!(chain.artifact, Artifact::Mod | Artifact::Zip);
        if !(good && verifiable && self.verifies) {
            return Said::Known(attempt.outcome);
        }
        let module = chain.module.as_deref().unwrap_or_default();
        let Some(lookup) = self.lookups.get(&(module, chain.version.as_deref())) else {
            // Not looked up though it came: go.sum has it.
            return if failed(attempt.outcome) || !self.complete {
                Said::Unknown("whether it can be verified was not seen".to_owned())
            } else {
                Said::Known(attempt.outcome)
            };
        };
        let asked = lookup.attempts.last().map(|attempt| attempt.proxy.as_str());
        match (&self.place, asked) {
            (None, _) if !self.complete => {
                Said::Unknown("where the checksum database would be asked was not seen".to_owned())
            }
            (None, _) => Said::Known(attempt.outcome),
            (Some(Ok(place)), Some(asked))
                if same_entry(place, asked) && credentials(place) == credentials(asked) =>
            {
                Said::Known(attempt.outcome)
            }
            (Some(Ok(place)), _) => Said::Unknown(format!(
                "it would be verified with the checksum database through {place}, which was not asked"
            )),
            (Some(Err(why)), _) => {
                Said::Unknown(format!("where the checksum database would be asked: {why}"))
            }
        }
    }
}

/// What says who asks, and is no part of what an entry is the same by: its userinfo and its query,
/// which go sends with each request.
fn credentials(entry: &str) -> (Option<&str>, Option<&str>) {
    let rest = entry.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let userinfo = authority.rsplit_once('@').map(|(userinfo, _)| userinfo);
    let query = Url::parse(entry).and_then(|url| url.query).filter(|query| !query.is_empty());
    (userinfo, query)
}

/// Where the checksum database is asked after this walk for `supported`.
fn place(end: &End) -> Result<String, String> {
    match end {
        End::Served { by } => Ok(by.clone()),
        End::Failed { prints, .. } => Err(format!("{prints} fails")),
        End::Unknown { why } => Err(why.clone()),
    }
}

/// An attempt that says nothing of its entry: given up, or not seen to its end.
fn not_an_answer(attempt: &Attempt) -> bool {
    matches!(attempt.outcome, Outcome::Canceled | Outcome::Unfinished | Outcome::Unknown)
}
