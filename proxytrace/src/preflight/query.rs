//! What go makes of the word behind `@` (`modload/query.go:newQueryMatcher`).

use std::cmp::Ordering;

use jiff::Timestamp;
use semver::Version;

/// Which version of a module is wanted.
#[derive(Debug)]
pub(super) enum Query {
    /// One in full, which go takes as it is.
    Version,
    /// The newest of the list, and what `@latest` says where that has none.
    Latest,
    /// One of the list, and nothing else: `v1`, `<v2`.
    Range(Range),
    /// A branch, a tag or a commit.
    Revision,
}

/// Versions to choose from.
#[derive(Debug)]
pub(super) struct Range {
    /// What they begin with.
    prefix: String,
    /// How they compare with `bound`.
    holds: fn(Ordering) -> bool,
    bound: Version,
    /// Whether the lowest is wanted, not the highest.
    lowest: bool,
}

/// What may stand before a version.
struct Operator {
    sign: &'static str,
    holds: fn(Ordering) -> bool,
    lowest: bool,
    /// Whether `v1` may stand behind it: go does not say whether `<=v1` has v1.2.
    before_prefix: bool,
}

/// The longer ones first.
const OPERATORS: &[Operator] = &[
    Operator { sign: "<=", holds: Ordering::is_le, lowest: false, before_prefix: false },
    Operator { sign: "<", holds: Ordering::is_lt, lowest: false, before_prefix: true },
    Operator { sign: ">=", holds: Ordering::is_ge, lowest: true, before_prefix: true },
    Operator { sign: ">", holds: Ordering::is_gt, lowest: true, before_prefix: false },
];

impl Query {
    /// None for what go refuses: a range of what is no version, and `patch`, as there is no version
    /// that it would be a patch of.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut operators = OPERATORS.iter();
        let range = operators.find_map(|operator| {
            let rest = text.strip_prefix(operator.sign)?;
            Some((operator, rest))
        });
        if let Some((Operator { holds, lowest, before_prefix, .. }, rest)) = range {
            let (bound, whole) = version(rest)?;
            let range = Range { prefix: String::new(), holds: *holds, bound, lowest: *lowest };
            return (whole || *before_prefix).then_some(Self::Range(range));
        }
        match (text, version(text)) {
            ("patch", _) => None,
            // Of a module that nothing requires go upgrades to the latest.
            ("latest" | "upgrade", _) => Some(Self::Latest),
            (_, Some((_, true))) => Some(Self::Version),
            (_, Some((bound, false))) => {
                // Not what comes before the first of them.
                let (prefix, holds) = (format!("{text}."), Ordering::is_ge);
                Some(Self::Range(Range { prefix, holds, bound, lowest: false }))
            }
            (_, None) => Some(Self::Revision),
        }
    }

    /// The version of a list that this stands for: a release if there is one.
    pub(super) fn choose(&self, list: &[u8]) -> Option<String> {
        let range = match self {
            Self::Latest => None,
            Self::Range(range) => Some(range),
            Self::Version | Self::Revision => return None,
        };
        let text = String::from_utf8_lossy(list);
        let versions = text.lines().filter_map(|line| {
            let line = line.split_whitespace().next()?;
            let version = Version::parse(line.strip_prefix('v')?).ok()?;
            let fits = range.is_none_or(|range| range.has(line, &version));
            (fits && !is_pseudo(&version)).then(|| (version, line.to_owned()))
        });
        let (releases, others): (Vec<_>, Vec<_>) =
            versions.partition(|(version, _)| version.pre.is_empty());
        let left = if releases.is_empty() { others } else { releases }.into_iter();
        let lowest = range.is_some_and(|range| range.lowest);
        let chosen = if lowest { left.min() } else { left.max() };
        chosen.map(|(_, line)| line)
    }
}

impl Range {
    fn has(&self, line: &str, version: &Version) -> bool {
        line.starts_with(&self.prefix) && (self.holds)(version.cmp_precedence(&self.bound))
    }
}

/// A version, and whether it is one in full: `v1` stands for v1.0.0 (`semver.Compare`).
fn version(text: &str) -> Option<(Version, bool)> {
    let text = text.strip_prefix('v')?;
    if let Ok(version) = Version::parse(text) {
        return Some((version, true));
    }
    let missing = match text.matches('.').count() {
        0 => ".0.0",
        1 => ".0",
        _ => return None,
    };
    Some((Version::parse(&format!("{text}{missing}")).ok()?, false))
}

/// The newest commit of a list, by the time that it tells or the version has in it; of equal ones the
/// first. go takes it where there are neither versions nor `@latest`
/// (`modfetch/proxy.go:latestFromList`).
pub(super) fn newest_commit(list: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(list);
    let dated = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        let version = Version::parse(name.strip_prefix('v')?).ok()?;
        let time = words.next().map(str::to_owned).or_else(|| stamp(&version).map(written))?;
        Some((time.parse::<Timestamp>().ok()?, name.to_owned()))
    });
    dated.reduce(|best, one| if best.0 < one.0 { one } else { best }).map(|(_, name)| name)
}

/// A stamp as RFC 3339 has times.
fn written(stamp: &str) -> String {
    let (date, time) = stamp.split_at(8);
    let (month, day) = (&date[4..6], &date[6..]);
    format!("{}-{month}-{day}T{}:{}:{}Z", &date[..4], &time[..2], &time[2..4], &time[4..])
}

/// Whether go made it of a commit: such a one counts in no list.
fn is_pseudo(version: &Version) -> bool {
    stamp(version).is_some()
}

/// The time of the commit that go made a version of, 14 digits (`module.IsPseudoVersion`).
fn stamp(version: &Version) -> Option<&str> {
    let (stamp, revision) = version.pre.rsplit_once('-')?;
    let (before, time) = stamp.rsplit_once('.').unwrap_or(("", stamp));
    let stamped = match before {
        "" => version.minor == 0 && version.patch == 0,
        before => before == "0" || before.ends_with(".0"),
    };
    let digits = time.len() == 14 && time.bytes().all(|b| b.is_ascii_digit());
    let sound = stamped && digits && revision.bytes().all(|b| b.is_ascii_alphanumeric());
    sound.then_some(time)
}

#[cfg(test)]
mod tests {
    use super::{Query, newest_commit};

    fn kind(text: &str) -> &'static str {
        match Query::parse(text) {
            Some(Query::Version) => "version",
            Some(Query::Latest) => "latest",
            Some(Query::Range(_)) => "range",
            Some(Query::Revision) => "revision",
            None => "none",
        }
    }

    #[test]
    fn queries_are_told_apart_as_go_does() {
        for (text, expected) in [
            ("v1.2.3", "version"),
            ("v1.2.3-0.20240102030405-abcdefabcdef", "version"),
            ("v2.0.0+incompatible", "version"),
            ("latest", "latest"),
            ("upgrade", "latest"),
            ("v1", "range"),
            ("v1.2", "range"),
            ("<v2", "range"),
            ("<=v1.2.0", "range"),
            (">v1.2.0", "range"),
            (">=v1", "range"),
            ("main", "revision"),
            ("v1.2.3.4", "revision"),
            ("v1-rc", "revision"),
            ("0123abcd", "revision"),
            ("patch", "none"),
            ("<=v1.2", "none"),
            (">v1", "none"),
            ("<main", "none"),
            (">=", "none"),
        ] {
            assert_eq!(kind(text), expected, "{text}");
        }
    }

    #[test]
    fn a_release_of_the_list_is_chosen() {
        let list = "v1.9.0\nv1.10.0 2024-01-02T03:04:05Z\nv2.0.0-rc.1\nnonsense\nv1.10.0-pre\n\
                    v2.1.0-rc.1\nv3.0.0-20240102030405-abcdefabcdef\n";
        for (query, expected) in [
            ("latest", Some("v1.10.0")),
            ("upgrade", Some("v1.10.0")),
            ("v1", Some("v1.10.0")),
            ("v1.9", Some("v1.9.0")),
            // What comes before v2.0.0 is no v2.
            ("v2", Some("v2.1.0-rc.1")),
            ("v2.0", None),
            ("v3", None),
            ("<v1.10.0", Some("v1.9.0")),
            ("<=v1.10.0", Some("v1.10.0")),
            ("<v2", Some("v1.10.0")),
            (">=v1.2.0", Some("v1.9.0")),
            (">v1.9.0", Some("v1.10.0")),
            (">v1.10.0", Some("v2.0.0-rc.1")),
            (">=v3", None),
            ("main", None),
        ] {
            let chosen = Query::parse(query).unwrap().choose(list.as_bytes());
            assert_eq!(chosen.as_deref(), expected, "{query}");
        }
        assert_eq!(Query::Latest.choose(b""), None);
        // Versions of commits leave it to `@latest`.
        for pseudo in [
            "v0.0.0-20240102030405-abcdefabcdef",
            "v1.2.4-0.20240102030405-abcdefabcdef",
            "v1.2.3-pre.0.20240102030405-abcdefabcdef",
        ] {
            assert_eq!(Query::Latest.choose(pseudo.as_bytes()), None, "{pseudo}");
        }
        for tagged in ["v1.2.3-20240102030405-abcdef", "v1.2.3-rc.1-20240102030405-x"] {
            assert_eq!(Query::Latest.choose(tagged.as_bytes()).as_deref(), Some(tagged));
        }
    }

    #[test]
    fn the_newest_commit_is_so_by_its_time() {
        let (older, newer) =
            ("v1.2.4-0.20230102030405-abcdefabcdef", "v0.0.0-20240102030405-abcdefabcdef");
        let told = |version: &str, time: &str| format!("{version} {time}\n");
        for (list, expected) in [
            (format!("{older}\n{newer}\n"), Some(newer)),
            (format!("{newer}\n{older}\n"), Some(newer)),
            // What the list tells goes before what the version has in it.
            (told(older, "2025-01-02T03:04:05+01:00") + newer, Some(older)),
            (told(older, "yesterday") + newer, Some(newer)),
            // As many seconds, and no commits.
            (told(older, "2024-01-02T03:04:05Z") + newer, Some(older)),
            (format!("v0.0.0-20241302030405-abcdefabcdef\n{older}\n"), Some(older)),
            ("v1.0.0-rc.1\nnonsense\n\n".to_owned(), None),
        ] {
            assert_eq!(newest_commit(list.as_bytes()).as_deref(), expected, "{list}");
        }
    }
}
