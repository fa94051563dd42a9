//! The GOPROXY to use: the one that is set, without the entries that fail.
//!
//! It never sends to `direct` or to a public proxy what would not have gone there: behind an entry
//! with `,` go stops when it fails, so to leave it out is to ask the next one in its place.

use crate::goproxy::Entry;
use crate::model::Separator;
use crate::url::decode;
use crate::{public, redact};

/// The public proxy that `--allow-public` falls back to.
const FALLBACK: &str = "https://proxy.golang.org";

/// What may be widened to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowed {
    /// `direct`.
    pub direct: bool,
    /// Public proxies.
    pub public: bool,
}

/// The list to use, and which entries, though they fail, had to stay in it.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Choice {
    pub(super) entries: Vec<Entry>,
    pub(super) left_out: Vec<usize>,
    pub(super) kept: Vec<usize>,
}

fn is_public(entry: &Entry) -> bool {
    let rest = entry.proxy.split_once("://").map_or(entry.proxy.as_str(), |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    public::is_public(host)
}

/// Chooses of `entries`, of which `failing` says whether they may be left out.
pub(super) fn choose(entries: &[Entry], failing: &[bool], allowed: Allowed) -> Choice {
    let real = |place: &usize| entries[*place].proxy != "noproxy";
    let mut kept: Vec<usize> = (0..entries.len()).filter(real).collect();
    let (mut left_out, mut forced) = (Vec::new(), Vec::new());
    // From the end, so that what follows an entry is decided before it is.
    for place in (0..entries.len()).rev().filter(|place| failing[*place]) {
        let later = kept.iter().filter(|later| **later > place);
        let later = later.map(|later| (&entries[*later], failing[*later]));
        if widens(&entries[place], later, allowed) {
            forced.push(place);
        } else {
            kept.retain(|other| *other != place);
            left_out.push(place);
        }
    }
    left_out.reverse();
    forced.reverse();
    let asked = |place: &usize| entries[*place].proxy != "off";
    if !left_out.is_empty() && !kept.iter().any(asked) {
        let fallback = match allowed {
            Allowed { public: true, direct } => {
                let separator = direct.then_some(Separator::Comma);
                let public = Entry { proxy: FALLBACK.to_owned(), separator };
                let more = direct.then(|| Entry { proxy: "direct".to_owned(), separator: None });
                Some(std::iter::once(public).chain(more).collect())
            }
            Allowed { public: false, direct: true } => {
                Some(vec![Entry { proxy: "direct".to_owned(), separator: None }])
            }
            // An empty list would be no list to go, which then takes its default.
            Allowed { .. } => None,
        };
        return match fallback {
            Some(entries) => Choice { entries, left_out, kept: Vec::new() },
            None => all(entries, failing),
        };
    }
    let entries = kept.iter().map(|place| entries[*place].clone()).collect();
    Choice { entries, left_out, kept: forced }
}

/// The list as it is.
pub(super) fn all(entries: &[Entry], failing: &[bool]) -> Choice {
    Choice {
        entries: entries.iter().filter(|e| e.proxy != "noproxy").cloned().collect(),
        left_out: Vec::new(),
        kept: (0..entries.len()).filter(|place| failing[*place]).collect(),
    }
}

/// Whether leaving an entry out sends its questions where they may not go, by way of `later` ones, of
/// which is said whether they fail.
fn widens<'a>(
    entry: &Entry,
    later: impl Iterator<Item = (&'a Entry, bool)>,
    allowed: Allowed,
) -> bool {
    // With `|` go asks the next one in any case.
    if entry.separator == Some(Separator::Pipe) {
        return false;
    }
    for (next, fails) in later {
        match next.proxy.as_str() {
            "direct" => return !allowed.direct,
            "off" => return false,
            _ if is_public(next) => return !is_public(entry) && !allowed.public,
            // go stops there.
            _ if fails && next.separator != Some(Separator::Pipe) => return false,
            // It may not have what is asked for.
            _ => {}
        }
    }
    false
}

/// The list as GOPROXY has it.
pub(super) fn text(entries: &[Entry]) -> String {
    let mut text = String::new();
    for (place, entry) in entries.iter().enumerate() {
        text += &entry.proxy;
        if place + 1 < entries.len() {
            text += if entry.separator == Some(Separator::Pipe) { "|" } else { "," };
        }
    }
    text
}

/// What could be found in a log of an entry that has secrets: all of it, its user part, its password,
/// and what else is secret in it. go puts the path of a file in between.
pub(super) fn secrets(entry: &str) -> Vec<String> {
    let rest = entry.split_once("://").map_or(entry, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let user = authority.rsplit_once('@').map(|(user, _)| user).unwrap_or_default();
    // A user without a password is a token; beside one it is a name, and may be any word.
    let (token, password) = match user.split_once(':') {
        Some((token, "")) => (token, ""),
        Some((_, password)) => (user, password),
        None => (user, ""),
    };
    let mut secrets = vec![entry.to_owned()];
    let others = redact::secrets_of_url(entry).filter(|secret| *secret != user);
    for part in [token, password].into_iter().chain(others) {
        secrets.extend([part.to_owned(), decode(part).into_owned()]);
    }
    let mut seen = Vec::new();
    secrets.retain(|one| {
        let new = !one.is_empty() && !seen.contains(one);
        seen.push(one.clone());
        new
    });
    secrets
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Allowed, choose, secrets, text};
    use crate::event::{Origin, Setting};
    use crate::goproxy::List;

    const NOTHING: Allowed = Allowed { direct: false, public: false };

    /// The list to use for `goproxy`, where the entries that have `bad` in them fail.
    fn chosen(goproxy: &str, allowed: Allowed) -> String {
        let setting = |value: &str| Setting { value: value.into(), origin: Origin::Environment };
        let config = BTreeMap::from([
            ("GOPROXY".to_owned(), setting(goproxy)),
            ("GONOPROXY".to_owned(), setting("corp.example")),
        ]);
        let entries = List::of(&config).entries;
        let failing: Vec<bool> = entries.iter().map(|e| e.proxy.contains("bad")).collect();
        text(&choose(&entries, &failing, allowed).entries)
    }

    #[test]
    fn every_part_of_an_entry_that_is_secret_is_named() {
        for (entry, expected) in [
            (
                "https://u%40x:p%25w@h/x",
                &["https://u%40x:p%25w@h/x", "u%40x:p%25w", "u@x:p%w", "p%25w", "p%w"][..],
            ),
            ("https://token@h", &["https://token@h", "token"]),
            ("token:@h", &["token:@h", "token"]),
            // go says `https://h/x/mod.lab/m/@v/list?token=abc`.
            (
                "https://h/a@b?token=a%2Bc&x=y&sig=z",
                &["https://h/a@b?token=a%2Bc&x=y&sig=z", "a%2Bc", "a+c", "z"],
            ),
            ("https://u:p@h/x;token=abc/y", &["https://u:p@h/x;token=abc/y", "u:p", "p", "abc"]),
            ("https://h/?to=https://u:p@i", &["https://h/?to=https://u:p@i", "https://u:p@i"]),
        ] {
            assert_eq!(secrets(entry), expected, "{entry}");
        }
    }

    #[test]
    fn what_fails_is_left_out_and_nothing_is_widened() {
        let direct = Allowed { direct: true, public: false };
        let public = Allowed { direct: false, public: true };
        let both = Allowed { direct: true, public: true };
        for (goproxy, allowed, expected) in [
            ("https://a,https://b", NOTHING, "https://a,https://b"),
            ("https://bad,https://b", NOTHING, "https://b"),
            ("https://a,https://bad|https://c", NOTHING, "https://a,https://c"),
            ("https://a,https://bad", NOTHING, "https://a"),
            // `,` kept go from asking these.
            ("https://bad,direct", NOTHING, "https://bad,direct"),
            ("https://bad,direct", direct, "direct"),
            (
                "https://bad,https://proxy.golang.org,direct",
                NOTHING,
                "https://bad,https://proxy.golang.org,direct",
            ),
            (
                "https://bad,https://proxy.golang.org,direct",
                public,
                "https://proxy.golang.org,direct",
            ),
            (
                "https://bad,https://u:p@Proxy.golang.org:443/,off",
                NOTHING,
                "https://bad,https://u:p@Proxy.golang.org:443/,off",
            ),
            // `|` let it.
            (
                "https://bad|https://proxy.golang.org|direct",
                NOTHING,
                "https://proxy.golang.org|direct",
            ),
            // Whoever comes next may not have it, and then these are asked.
            ("https://bad,https://b,direct", NOTHING, "https://bad,https://b,direct"),
            ("https://bad,https://b,direct", direct, "https://b,direct"),
            (
                "https://bad,https://b,https://proxy.golang.org",
                NOTHING,
                "https://bad,https://b,https://proxy.golang.org",
            ),
            ("https://bad,https://b,off", NOTHING, "https://b,off"),
            // Two in a row: what comes after both counts.
            ("https://bad1,https://bad2,direct", NOTHING, "https://bad2,direct"),
            ("https://bad1,https://bad2,https://c", NOTHING, "https://c"),
            // Nothing would be left.
            ("https://bad", NOTHING, "https://bad"),
            ("https://bad", direct, "direct"),
            ("https://bad", public, "https://proxy.golang.org"),
            ("https://bad", both, "https://proxy.golang.org,direct"),
            ("https://bad,off", NOTHING, "https://bad,off"),
        ] {
            assert_eq!(chosen(goproxy, allowed), expected, "{goproxy} {allowed:?}");
        }
    }
}
