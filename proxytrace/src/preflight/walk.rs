//! The walk that go would make with these answers. Everybody was asked; it ends where go would end.

use std::collections::BTreeMap;

use super::probe::{Answer, Answers, Base, Question, Subject};
use super::query::Query;
use crate::goproxy::{Entry, List, is_keyword};
use crate::model::{Artifact, Next, Outcome};

/// Everything that was asked and answered.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) list: List,
    pub(super) entries: Vec<Answers>,
    pub(super) subjects: Vec<Subject>,
    pub(super) sums: Sums,
}

/// What became of the checksum database, and of what `go.sum` says.
#[derive(Clone, Default)]
pub(super) struct Sums {
    /// None if nobody has to be asked.
    pub(super) base: Option<Base>,
    /// Whether go asks the entries of the list for it: not where GOSUMDB says where it is.
    pub(super) through: bool,
    /// What it said of each module.
    pub(super) lookups: BTreeMap<usize, Answer>,
    /// What came for a part of its tree: the tile of one of these modules, and all of it where the part
    /// that go wants did not come.
    pub(super) tiles: Vec<Answer>,
    /// Whose tile that is; none if go needs it for all, as the tree ends in it.
    pub(super) tile_of: Option<usize>,
    /// Why it could not be asked about the rest, if so.
    pub(super) silent: Option<Outcome>,
    /// Entries whose `go.mod` of a module has another sum than the database has for it.
    pub(super) mismatches: Vec<(usize, usize)>,
    /// The same of `go.sum`, where go ends at once, whatever follows (`fetch.go:haveModSumLocked`).
    pub(super) contradicted: Vec<(usize, usize)>,
    /// Entries whose zip of a module has another sum than either has for it.
    pub(super) zips: Vec<(usize, usize)>,
    /// Entries and modules whose zip has a sum to be compared with, and none of its own that is known.
    pub(super) unverified: Vec<(usize, usize)>,
}

impl Sums {
    /// As it is before anybody is asked for the checksum database.
    pub(super) fn without_answers(self) -> Self {
        let (lookups, tiles) = (BTreeMap::new(), Vec::new());
        Self { lookups, tiles, tile_of: None, silent: None, ..self }
    }

    /// What came for a tile in the end: go tells of the part where nothing came.
    fn tile(&self) -> Option<&Answer> {
        let of = |outcomes: &[Outcome]| self.tiles.iter().find(|it| outcomes.contains(&it.outcome));
        of(&[Outcome::Ok, Outcome::BadContent])
            .or_else(|| of(&[Outcome::Unknown]))
            .or_else(|| self.tiles.first())
    }

    /// The worst of what the database answered, and whether that was for a tile.
    pub(super) fn worst(&self, badness: impl Fn(Outcome) -> u8) -> Option<(Artifact, &Answer)> {
        let lookups = self.lookups.values().map(|answer| (Artifact::SumdbLookup, answer));
        let tile = self.tile().map(|answer| (Artifact::SumdbTile, answer));
        lookups.chain(tile).max_by_key(|(_, answer)| badness(answer.outcome))
    }

    /// Entries and modules of which something has another sum.
    pub(super) fn differing(&self) -> impl Iterator<Item = (usize, usize)> {
        self.mismatches.iter().chain(&self.contradicted).chain(&self.zips).copied()
    }

    /// Whether what an entry answered to a question has another sum.
    pub(super) fn differs(&self, place: usize, question: Question) -> bool {
        let lists: &[&[(usize, usize)]] = match question.1 {
            Artifact::Mod => &[&self.mismatches, &self.contradicted],
            Artifact::Zip => &[&self.zips],
            _ => &[],
        };
        question.0.is_some_and(|module| lists.iter().any(|list| list.contains(&(place, module))))
    }

    /// Whether go ends with this answer, and does not look at the separator.
    fn ends(&self, place: usize, (module, artifact): Question) -> bool {
        artifact == Artifact::Zip
            || module.is_some_and(|module| self.contradicted.contains(&(place, module)))
    }
}

/// How a walk ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    Served,
    Failed(Outcome),
    /// At who is not asked here, `direct` or a proxy that is not in the list, or whose answer to go
    /// is not known.
    Unasked,
    /// At who there was no time to ask.
    Late,
}

/// One entry of a walk, and what go would do after it.
pub(super) struct Step {
    pub(super) place: usize,
    pub(super) outcome: Outcome,
    pub(super) next: Option<Next>,
}

/// What go needs of a module.
pub(super) const NEEDED: [Artifact; 3] = [Artifact::Info, Artifact::Mod, Artifact::Zip];

impl Asked {
    /// How go would fare with a module if it walked these entries.
    pub(super) fn end(&self, entries: &[Entry], module: usize) -> End {
        let subject = &self.subjects[module];
        let mut worst = match subject.kind() {
            Query::Version => End::Served,
            // A version that another entry knows is not what go would find.
            _ => self.search(entries, module).1,
        };
        if subject.version.is_none() {
            return worst;
        }
        for artifact in NEEDED {
            worst = worst.max(self.walk(entries, (Some(module), artifact)).1);
        }
        worst
    }

    /// What an entry came to for a question; none if it was not asked.
    pub(super) fn outcome(&self, place: usize, question: Question) -> Option<Outcome> {
        let entry = &self.entries[place];
        if entry.invalid.is_some() || entry.barred.is_some() {
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
        if self.sums.differs(place, question) {
            return Some(Outcome::Checksum);
        }
        let verified =
            if self.subjects[module].summed { self.verified(module) } else { Outcome::Ok };
        Some(if verified == Outcome::Ok { outcome } else { verified })
    }

    /// What it came to to verify a module: `Ok`, `Checksum` where that failed, or `Unknown`.
    fn verified(&self, module: usize) -> Outcome {
        let said = self.sums.lookups.get(&module).map(|answer| answer.outcome);
        // Who has not been asked was not wanted: nobody has the module.
        let said = match said.or(self.sums.silent).unwrap_or(Outcome::Ok) {
            Outcome::Ok if self.sums.tile_of.is_none_or(|of| of == module) => {
                self.sums.tile().map_or(Outcome::Ok, |tile| tile.outcome)
            }
            said => said,
        };
        match &self.sums.base {
            None => Outcome::Ok,
            Some(Base::Unasked) => Outcome::Unknown,
            Some(Base::Entry(..) | Base::Itself(_))
                if matches!(said, Outcome::Ok | Outcome::Unknown) =>
            {
                said
            }
            Some(_) => Outcome::Checksum,
        }
    }

    /// Whether an answer says something of the entry: a question that go would not ask tells only
    /// whether somebody is there.
    pub(super) fn counts(&self, place: usize, (module, artifact): Question) -> bool {
        let is_asked = match module {
            Some(module) => self.subjects[module].asks(artifact),
            None => self.sums.through,
        };
        is_asked || self.entries[place].unreached.is_some()
    }

    pub(super) fn walk(&self, entries: &[Entry], question: Question) -> (Vec<Step>, End) {
        self.walk_by(entries, question, |place| self.outcome(place, question))
    }

    /// How go finds out which version of a module is wanted (`modload/query.go:queryProxy`): it asks an
    /// entry for all that this takes before it turns to the next.
    fn search(&self, entries: &[Entry], module: usize) -> (Vec<Step>, End) {
        self.walk_by(entries, (Some(module), Artifact::List), |place| self.found(place, module))
    }

    /// What an entry came to in this search; none if it was not asked.
    fn found(&self, place: usize, module: usize) -> Option<Outcome> {
        let outcome = |artifact| self.outcome(place, (Some(module), artifact));
        if matches!(self.subjects[module].kind(), Query::Revision) {
            return outcome(Artifact::Latest);
        }
        if !self.lists_none(place, module) {
            return outcome(Artifact::List);
        }
        if self.has_no_match(place, module) {
            // To go that is not absence (`NoMatchingVersionError`).
            return Some(Outcome::BadContent);
        }
        let latest = outcome(Artifact::Latest);
        // What is not there is made up for by a commit of the list.
        latest.map(|said| if said == Outcome::NotFound { Outcome::Ok } else { said })
    }

    /// Whether the list of an entry came, and has no version for a module.
    fn lists_none(&self, place: usize, module: usize) -> bool {
        let list = self.entries[place].by_question.get(&(Some(module), Artifact::List));
        list.is_some_and(|list| self.subjects[module].is_not_in(list))
    }

    /// Whether an entry answers what go asks it for a version of a module, and has none.
    pub(super) fn has_no_match(&self, place: usize, module: usize) -> bool {
        let latest = || self.outcome(place, (Some(module), Artifact::Latest));
        let nothing = match self.subjects[module].kind() {
            Query::Range(_) => true,
            Query::Latest => {
                matches!(latest(), None | Some(Outcome::NotFound))
                    && self.entries[place].newest_commit(module).is_none()
            }
            Query::Version | Query::Revision => false,
        };
        nothing && self.lists_none(place, module)
    }

    /// Whether what an entry would answer is not known because the time was over: before it was asked
    /// about the module, or before the checksum database was.
    pub(super) fn is_late(&self, place: usize, (module, _): Question) -> bool {
        let entry = &self.entries[place];
        // Of who cannot be reached one answer stands for all.
        let own = entry.by_question.iter().any(|((about, _), answer)| {
            answer.late && (*about == module || entry.unreached.is_some())
        });
        let supported = |entry: &Answers| {
            let answer = entry.by_question.get(&(None, Artifact::SumdbSupported));
            answer.is_some_and(|answer| answer.late)
        };
        let database = || {
            self.sums.lookups.values().chain(&self.sums.tiles).any(|answer| answer.late)
                || matches!(self.sums.base, Some(Base::Unasked))
                    && self.entries.iter().any(supported)
        };
        own || module.is_some_and(|module| self.subjects[module].summed) && database()
    }

    /// The part of a walk in which one question is asked: of a search the steps at entries that are
    /// asked it.
    pub(super) fn part(&self, entries: &[Entry], question: Question) -> (Vec<Step>, End) {
        let (Some(module), Artifact::List | Artifact::Latest) = question else {
            return self.walk(entries, question);
        };
        if !self.subjects[module].asks(question.1) {
            return self.walk(entries, question);
        }
        let (mut steps, end) = self.search(entries, module);
        // After a list nobody comes to `direct` to ask for `@latest`.
        let words =
            question.1 == Artifact::List || matches!(self.subjects[module].kind(), Query::Revision);
        steps.retain_mut(|step| {
            if is_keyword(&self.list.entries[step.place].proxy) {
                return words;
            }
            let answered = self.outcome(step.place, question);
            step.outcome = answered.unwrap_or(step.outcome);
            answered.is_some()
        });
        // Where nothing is asked after the list, that ends without a version.
        let is_no_use = |step: &Step| {
            !self.subjects[module].asks(Artifact::Latest) && self.has_no_match(step.place, module)
        };
        let mut failures = steps.iter().rev().map(|step| step.outcome);
        let end = match (steps.last(), end) {
            // Also without `@latest`, where the list has a commit.
            (Some(last), End::Served) if last.next.is_none() => End::Served,
            (Some(last), _) if last.outcome == Outcome::Ok && !is_no_use(last) => End::Served,
            (_, End::Unasked | End::Late) => end,
            _ => {
                let told = failures.find(|it| !matches!(it, Outcome::Ok | Outcome::NotFound));
                End::Failed(told.unwrap_or(Outcome::NotFound))
            }
        };
        (steps, end)
    }

    /// The steps through `entries` for a question, to which they have come as `outcome` says, and how
    /// it ends.
    fn walk_by(
        &self,
        entries: &[Entry],
        question: Question,
        outcome: impl Fn(usize) -> Option<Outcome>,
    ) -> (Vec<Step>, End) {
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
                _ => outcome(place).unwrap_or(Outcome::NotFound),
            };
            if outcome == Outcome::Unknown && self.entries[place].invalid.is_none() {
                steps.push(Step { place, outcome, next: None });
                let late = self.is_late(place, question);
                return (steps, if late { End::Late } else { End::Unasked });
            }
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
                Outcome::Checksum => self.sums.ends(place, question),
                _ => false,
            };
            let next = entry.next(outcome, following.peek().copied().filter(|_| !settled));
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
            Self::Late => 2,
            Self::Failed(_) => 3,
        };
        rank(self).cmp(&rank(other))
    }
}

impl PartialOrd for End {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::event::{Origin, Setting};
    use crate::gosumdb::Database;
    use crate::preflight::Fare;
    use crate::preflight::address::Address;
    use crate::preflight::choose::{Allowed, choose};
    use crate::preflight::client::Body;
    use crate::preflight::probe::{base, fails};
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
    pub(in crate::preflight) fn two(
        separator: &str,
        query: &str,
        answers: [&[(Artifact, Outcome)]; 2],
    ) -> Asked {
        let asked = unreached(Some("v1.0.0"));
        let value = format!("https://a{separator}https://b");
        let setting = Setting { value, origin: Origin::Environment };
        let entries = answers.map(|answers| Answers {
            by_question: answers
                .iter()
                .map(|&(artifact, outcome)| {
                    let module = (artifact != Artifact::SumdbSupported).then_some(0);
                    ((module, artifact), answer(outcome))
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

    /// An answer that came to this, if need be three times.
    pub(in crate::preflight) fn answer(outcome: Outcome) -> Answer {
        let failures = u32::from(fails(outcome)) * 3;
        Answer { requests: Vec::new(), outcome, failures, body: Body::default(), late: false }
    }

    pub(in crate::preflight) const ALL: [(Artifact, Outcome); 3] =
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

    /// What go asks an entry to find a version: the list, and `@latest` where that has none.
    #[test]
    fn a_version_is_looked_for_in_one_entry_after_the_other() {
        let list = |outcome| (Artifact::List, outcome);
        let latest = |outcome| (Artifact::Latest, outcome);
        let (ok, absent, failed) = (Outcome::Ok, Outcome::NotFound, Outcome::HttpError);
        // Of the first entry; lists are empty here, and the second entry has all.
        for (query, separator, first, served) in [
            ("latest", ",", &[list(absent)][..], true),
            ("latest", ",", &[list(ok), latest(ok)], true),
            ("latest", ",", &[list(ok), latest(failed)], false),
            ("latest", "|", &[list(ok), latest(failed)], true),
            // It has no version, which is not absence.
            ("latest", ",", &[list(ok), latest(absent)], false),
            ("latest", "|", &[list(ok), latest(absent)], true),
            ("v1", ",", &[list(ok)], false),
            ("v1", "|", &[list(ok)], false),
            ("main", ",", &[latest(ok)], true),
            ("main", ",", &[latest(absent)], true),
            ("main", ",", &[latest(failed)], false),
            // Nobody asks for the list of a branch.
            ("main", ",", &[list(failed), latest(ok)], true),
        ] {
            let second = [list(ok), latest(ok)];
            let asked = two(separator, query, [first, &second]);
            let (_, end) = asked.search(&asked.list.entries, 0);
            assert_eq!(end == End::Served, served, "{query} {separator} {first:?}");
        }
        // The chain of `@latest` has who was asked it, and ends where go ends.
        let asked = two("|", "latest", [&[list(ok), latest(failed)], &[list(absent)]]);
        let (steps, end) = asked.part(&asked.list.entries, (Some(0), Artifact::Latest));
        assert_eq!((steps.len(), end), (1, End::Failed(failed)));
        let (steps, end) = asked.part(&asked.list.entries, (Some(0), Artifact::List));
        assert_eq!((steps.len(), end), (2, End::Failed(absent)));
    }

    /// Where `@latest` is missing go takes it from the list, and fails for nothing else.
    #[test]
    fn a_commit_of_the_list_will_do() {
        const COMMIT: &str = "v0.0.0-20240102030405-abcdefabcdef";
        let listed = [(Artifact::List, Outcome::Ok), (Artifact::Latest, Outcome::NotFound)];
        let answers = [&listed[..], &ALL].concat();
        let mut asked = two(",", "latest", [&answers, &answers]);
        let listed = asked.entries[0].by_question.get_mut(&(Some(0), Artifact::List)).unwrap();
        listed.body.bytes = Bytes::from_static(COMMIT.as_bytes());
        assert_eq!(fare(&asked, &asked.list.entries), Fare::Works);
        // Of the second the list is empty.
        assert_eq!(fare(&asked, &asked.list.entries[1..]), Fare::Fails);
        let (steps, end) = asked.part(&asked.list.entries, (Some(0), Artifact::Latest));
        let outcomes: Vec<Outcome> = steps.iter().map(|step| step.outcome).collect();
        assert_eq!((&*outcomes, end), (&[Outcome::NotFound][..], End::Served));
    }

    /// A list in which nothing matches is no success.
    #[test]
    fn a_list_without_a_match_does_not_serve() {
        let list = [(Artifact::List, Outcome::Ok)];
        for separator in [",", "|"] {
            let asked = two(separator, "v9", [&list, &list]);
            let (steps, end) = asked.part(&asked.list.entries, (Some(0), Artifact::List));
            let expected = if separator == "," { 1 } else { 2 };
            assert_eq!((steps.len(), end), (expected, End::Failed(Outcome::NotFound)));
        }
    }

    /// What there was no time for may as well fail.
    #[test]
    fn want_of_time_is_not_what_cannot_be_known() {
        let unknown = ALL.map(|(artifact, _)| (artifact, Outcome::Unknown));
        let supported = [(Artifact::SumdbSupported, Outcome::Unknown)];
        for (late, expected) in [(true, Fare::Late), (false, Fare::Unknown)] {
            let mark = |asked: &mut Asked| {
                let answers = asked.entries.iter_mut().flat_map(|it| it.by_question.values_mut());
                let lookups = asked.sums.lookups.values_mut();
                for answer in answers.chain(lookups) {
                    answer.late = late && answer.outcome == Outcome::Unknown;
                }
                fare(asked, &asked.list.entries)
            };
            assert_eq!(mark(&mut two(",", "v1.0.0", [&unknown, &ALL])), expected);
            // Of the first answer all that follow.
            let mut silent = two(",", "v1.0.0", [&[], &ALL]);
            silent.entries[0].unreached = Some(Outcome::Unknown);
            let question = (Some(1), Artifact::List);
            silent.entries[0].by_question.insert(question, answer(Outcome::Unknown));
            assert_eq!(mark(&mut silent), expected);
            // The checksum database, and who would forward it.
            let mut unverified = two(",", "v1.0.0", [&ALL, &ALL]);
            unverified.subjects[0].summed = true;
            unverified.sums.lookups.insert(0, answer(Outcome::Unknown));
            unverified.sums.base = Address::parse("https://s.lab").map(Base::Itself);
            assert_eq!(mark(&mut unverified), expected);
            unverified.sums.lookups.clear();
            unverified.sums.base = Some(Base::Unasked);
            let question = (None, Artifact::SumdbSupported);
            unverified.entries[1].by_question.insert(question, answer(Outcome::Unknown));
            assert_eq!(mark(&mut unverified), expected);
            // Without modules.
            let mut lone = two(",", "v1.0.0", [&supported, &supported]);
            lone.subjects.clear();
            lone.sums.through = true;
            assert_eq!(mark(&mut lone), expected);
            // Who is not come to is of no account.
            assert_eq!(mark(&mut two(",", "v1.0.0", [&ALL, &unknown])), Fare::Works);
        }
    }

    /// go needs the tile of a record for that alone, unless the tree ends in it.
    #[test]
    fn a_tile_is_of_its_module_or_of_all() {
        use Outcome::{BadContent, NotFound, Ok, Unknown};
        for (tiles, tile_of, expected) in [
            (&[Ok][..], None, Fare::Works),
            (&[NotFound, Ok], None, Fare::Works),
            (&[NotFound, NotFound], None, Fare::Fails),
            (&[NotFound, BadContent], None, Fare::Fails),
            (&[NotFound, Unknown], None, Fare::Unknown),
            (&[NotFound], Some(0), Fare::Fails),
            (&[NotFound], Some(1), Fare::Works),
        ] {
            let mut asked = two(",", "v1.0.0", [&ALL, &ALL]);
            asked.subjects[0].summed = true;
            asked.sums.base = Address::parse("https://s.lab").map(Base::Itself);
            asked.sums.lookups.insert(0, answer(Ok));
            asked.sums.tiles = tiles.iter().map(|&outcome| answer(outcome)).collect();
            asked.sums.tile_of = tile_of;
            assert_eq!(fare(&asked, &asked.list.entries), expected, "{tiles:?} {tile_of:?}");
            // There was no time for the rest.
            for tile in &mut asked.sums.tiles {
                tile.late = tile.outcome == Unknown;
            }
            let late = if expected == Fare::Unknown { Fare::Late } else { expected };
            assert_eq!(fare(&asked, &asked.list.entries), late, "{tiles:?}");
        }
    }

    /// go reads it, and asks nobody.
    #[test]
    fn a_database_in_a_directory_is_not_asked() {
        let directory = tempfile::tempdir().unwrap();
        let supported = directory.path().join("sumdb/s.lab/supported");
        let entry =
            Entry { proxy: format!("file://{}", directory.path().display()), separator: None };
        let asked = two(",", "v1.0.0", [&[], &[]]);
        let of = |url: &str, given| {
            let database = Database { name: "s.lab".into(), url: url.into(), given };
            base(std::slice::from_ref(&entry), (&asked.list, &asked.entries), &database)
        };
        assert!(matches!(of("file:///srv/sums", true), Base::Unasked));
        assert!(matches!(of("https://s.lab", false), Base::Itself(_)));
        std::fs::create_dir_all(supported.parent().unwrap()).unwrap();
        std::fs::write(supported, "").unwrap();
        assert!(matches!(of("https://s.lab", false), Base::Unasked));
    }

    /// go dies of what `go.sum` contradicts, and asks on after what the database does.
    #[test]
    fn what_go_sum_contradicts_is_the_end() {
        let mut asked = two("|", "v1.0.0", [&ALL, &ALL]);
        asked.sums.mismatches.push((0, 0));
        assert_eq!(fare(&asked, &asked.list.entries), Fare::Works);
        asked.sums.contradicted.push((0, 0));
        assert_eq!(fare(&asked, &asked.list.entries), Fare::Fails);
    }

    /// Who is not asked is not left out, and does not fail.
    #[test]
    fn who_cannot_be_asked_from_here_leaves_it_open() {
        let mut asked = two(",", "v1.0.0", [&[], &ALL]);
        asked.entries[0].barred = Some("preflight does not speak socks5".to_owned());
        assert_eq!(fare(&asked, &asked.list.entries), Fare::Unknown);
        let database = Database { name: "s.lab".into(), url: "https://s.lab".into(), given: false };
        let base = base(&asked.list.entries, (&asked.list, &asked.entries), &database);
        assert!(matches!(base, Base::Unasked));
        asked.subjects.clear();
        assert_eq!(fare(&asked, &asked.list.entries), Fare::Unknown);
        // Nor does who answered what to go may be something else.
        let unknown = [(Artifact::Info, Outcome::Unknown)];
        let asked = two("|", "v1.0.0", [&unknown, &ALL]);
        assert!(asked.entries[0].by_question.values().all(|answer| !answer.failed()));
        assert_eq!(fare(&asked, &asked.list.entries), Fare::Unknown);
    }

    /// Without modules an entry is what it answers to the question that go asks in any case.
    #[test]
    fn who_answers_badly_does_not_work() {
        let (bad, good) = (Outcome::HttpError, Outcome::Ok);
        for (separator, first, through, expected) in [
            (",", good, true, Fare::Works),
            (",", Outcome::NotFound, true, Fare::Works),
            (",", bad, true, Fare::Fails),
            ("|", bad, true, Fare::Works),
            (",", Outcome::Unknown, true, Fare::Unknown),
            // With GOSUMDB=off go does not ask.
            (",", bad, false, Fare::Unknown),
            (",", good, false, Fare::Works),
        ] {
            let supported = |outcome| [(Artifact::SumdbSupported, outcome)];
            let mut asked = two(separator, "v1.0.0", [&supported(first), &supported(good)]);
            asked.subjects.clear();
            asked.sums.through = through;
            let fare = fare(&asked, &asked.list.entries);
            assert_eq!(fare, expected, "{separator} {first:?} {through}");
        }
    }

    /// `sumdb.go:initBase` ends with what failed, where nothing else was found.
    #[test]
    fn a_failure_that_is_passed_over_keeps_go_from_the_database() {
        let database = Database { name: "s.lab".into(), url: "https://s.lab".into(), given: false };
        let supported = |outcome| [(Artifact::SumdbSupported, outcome)];
        let base = |first| {
            let asked = two("|", "v1.0.0", [&supported(first), &supported(Outcome::NotFound)]);
            base(&asked.list.entries, (&asked.list, &asked.entries), &database)
        };
        assert!(matches!(base(Outcome::HttpError), Base::Failed));
        assert!(matches!(base(Outcome::NotFound), Base::Itself(_)));
    }

    /// Another list has another one.
    #[test]
    fn the_database_is_looked_for_in_the_list_to_use() {
        let database = Database { name: "s.lab".into(), url: "https://s.lab".into(), given: false };
        let supported = |outcome| [(Artifact::SumdbSupported, outcome)];
        let (first, second) = (supported(Outcome::HttpError), supported(Outcome::NotFound));
        let asked = two(",", "v1.0.0", [&first, &second]);
        let base = |entries: &[Entry]| base(entries, (&asked.list, &asked.entries), &database);
        assert!(matches!(base(&asked.list.entries), Base::Failed));
        assert!(matches!(base(&asked.list.entries[1..]), Base::Itself(_)));
        let public = Entry { proxy: "https://proxy.golang.org".to_owned(), separator: None };
        assert!(matches!(base(&[public]), Base::Unasked));
    }
}
