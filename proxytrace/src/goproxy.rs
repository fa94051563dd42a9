//! The list that go walks, as it makes it of GOPROXY and GONOPROXY.
//!
//! `cmd/go/internal/modfetch/proxy.go:proxyList`, Go 1.13 to 1.27, and
//! `golang.org/x/mod/module.MatchPrefixPatterns`.

use std::collections::BTreeMap;

use crate::event::Setting;
use crate::model::{Next, Outcome, Separator};
use crate::url::{self, Url};

/// Whether a line of go's says that a list ended with `off`, and not for which module
/// (`cmd/go/internal/modfetch/repo.go:errProxyOff`).
pub(crate) fn is_off_alone(line: &str) -> bool {
    line.strip_prefix("go: ").unwrap_or(line).trim_end() == "module lookup disabled by GOPROXY=off"
}

/// One entry of the list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    /// As go uses it: a URL with its scheme, `direct`, `off` or `noproxy`.
    pub(crate) proxy: String,
    /// What stands after it.
    pub(crate) separator: Option<Separator>,
}

impl Entry {
    /// Where go turns when this entry came to a failure, and `following` stands after it
    /// (`modfetch/proxy.go:TryProxies`).
    pub(crate) fn next(&self, failure: Outcome, following: Option<&Self>) -> Next {
        match following {
            Some(entry) if asks_on(failure, self.separator) => match entry.proxy.as_str() {
                "direct" => Next::Direct,
                _ => Next::NextEntry,
            },
            _ => Next::Stop,
        }
    }
}

/// Whether an entry is a keyword, not a URL: `noproxy` is go's own, and stands in no list.
pub(crate) fn is_keyword(proxy: &str) -> bool {
    asks_repositories(proxy) || ends_list(proxy)
}

/// Whether go asks no proxy there, but the repository of the module.
pub(crate) fn asks_repositories(proxy: &str) -> bool {
    matches!(proxy, "direct" | "noproxy")
}

/// Whether go looks at nothing that stands behind it.
pub(crate) fn ends_list(proxy: &str) -> bool {
    matches!(proxy, "direct" | "off")
}

/// Whether a failure lets go ask the entry that stands behind this separator.
pub(crate) fn asks_on(failure: Outcome, separator: Option<Separator>) -> bool {
    failure == Outcome::NotFound || separator == Some(Separator::Pipe)
}

/// The list, and the modules that it does not hold for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct List {
    pub(crate) entries: Vec<Entry>,
    noproxy: String,
}

impl List {
    /// The list of a process with this configuration; empty if GOPROXY is not known.
    pub(crate) fn of(config: &BTreeMap<String, Setting>) -> Self {
        let value = |name: &str| config.get(name).map_or("", |setting| setting.value.as_str());
        let noproxy = match value("GONOPROXY") {
            "" => value("GOPRIVATE"),
            patterns => patterns,
        };
        Self { entries: entries(value("GOPROXY"), noproxy), noproxy: noproxy.to_owned() }
    }

    /// Where `proxy` stands in the list, searched from `from` on; a URL also by what it means.
    pub(crate) fn position(&self, proxy: &str, from: usize) -> Option<usize> {
        let tail = self.entries.get(from..)?;
        let place = tail.iter().position(|entry| entry.proxy == proxy).or_else(|| {
            let wanted = Url::parse(proxy)?;
            tail.iter()
                .position(|entry| Url::parse(&entry.proxy).is_some_and(|e| same(&e, &wanted)))
        });
        Some(from + place?)
    }

    /// The entry that begins so; none where two do that are not the same.
    pub(crate) fn that_begins(&self, beginning: &str) -> Option<&str> {
        let mut those = self.entries.iter().filter(|entry| entry.proxy.starts_with(beginning));
        let first = those.next()?;
        those.all(|entry| entry.proxy == first.proxy).then_some(first.proxy.as_str())
    }

    /// Whether go asks no proxy about `module`.
    pub(crate) fn passes_by(&self, module: &str) -> bool {
        matches(&self.noproxy, module)
    }
}

/// Whether two entries mean the same.
pub(crate) fn same_entry(one: &str, other: &str) -> bool {
    let urls = || Some((Url::parse(one)?, Url::parse(other)?));
    one == other || urls().is_some_and(|(one, other)| same(&one, &other))
}

/// Whether one of the patterns, as in GOPRIVATE, matches `module`.
pub(crate) fn matches(patterns: &str, module: &str) -> bool {
    let mut globs = patterns.split(',').map(|glob| glob.strip_suffix('/').unwrap_or(glob));
    globs.any(|glob| matches_prefix(glob, module))
}

fn same(one: &Url<'_>, other: &Url<'_>) -> bool {
    one.scheme.eq_ignore_ascii_case(other.scheme)
        && one.host.eq_ignore_ascii_case(other.host)
        && one.clean_path() == other.clean_path()
}

fn entries(goproxy: &str, noproxy: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    if goproxy.is_empty() {
        return entries;
    }
    if !noproxy.is_empty() && goproxy != "direct" {
        entries.push(Entry { proxy: "noproxy".into(), separator: None });
    }
    let mut rest = goproxy;
    while !rest.is_empty() {
        let (word, separator, tail) = match rest.find([',', '|']) {
            Some(at) if rest.as_bytes()[at] == b'|' => {
                (&rest[..at], Some(Separator::Pipe), &rest[at + 1..])
            }
            Some(at) => (&rest[..at], Some(Separator::Comma), &rest[at + 1..]),
            None => (rest, None, ""),
        };
        rest = tail;
        let word = word.trim();
        if word.is_empty() {
            continue;
        }
        entries.push(Entry { proxy: with_scheme(word), separator });
        if ends_list(word) {
            break;
        }
    }
    entries
}

fn with_scheme(word: &str) -> String {
    if word.contains(['.', ':', '/']) && !word.contains(":/") && !word.starts_with('/') {
        format!("https://{word}")
    } else {
        word.to_owned()
    }
}

/// Whether `glob` matches as many leading elements of `module` as it has itself.
fn matches_prefix(glob: &str, module: &str) -> bool {
    let mut elements = module.split('/');
    !glob.is_empty()
        && glob.split('/').all(|glob| {
            elements
                .next()
                .is_some_and(|element| matches_element(glob.as_bytes(), element.as_bytes()))
        })
}

/// `path.Match` within one element. Remembers the last `*` alone, so it never takes more than
/// `glob.len() * text.len()` steps.
fn matches_element(mut glob: &[u8], mut text: &[u8]) -> bool {
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', after @ ..] = glob {
            star = Some((after, text));
            glob = after;
            continue;
        }
        if text.is_empty() && glob.is_empty() {
            return true;
        }
        if let Some((after, rest)) = text
            .split_first()
            .and_then(|(&byte, rest)| one_byte(glob, byte).map(|after| (after, rest)))
        {
            (glob, text) = (after, rest);
            continue;
        }
        match star {
            Some((after, [_, rest @ ..])) => {
                star = Some((after, rest));
                (glob, text) = (after, rest);
            }
            _ => return false,
        }
    }
}

/// What is left of `glob` if its first unit matches `byte`.
fn one_byte(glob: &[u8], byte: u8) -> Option<&[u8]> {
    match glob {
        [b'?', after @ ..] => Some(after),
        [b'[', class @ ..] => {
            let end = class.iter().position(|&b| b == b']')?;
            let (class, after) = (&class[..end], &class[end + 1..]);
            let (negated, class) = match class {
                [b'^', class @ ..] => (true, class),
                class => (false, class),
            };
            (in_class(class, byte) != negated).then_some(after)
        }
        [b'\\', literal, after @ ..] | [literal, after @ ..] => (*literal == byte).then_some(after),
        [] => None,
    }
}

fn in_class(mut class: &[u8], byte: u8) -> bool {
    loop {
        class = match class {
            [low, b'-', high, after @ ..] => {
                if (*low..=*high).contains(&byte) {
                    return true;
                }
                after
            }
            [one, after @ ..] => {
                if *one == byte {
                    return true;
                }
                after
            }
            [] => return false,
        }
    }
}

/// Why go takes an entry for no proxy, and so refuses the whole list (`modfetch/proxy.go:newProxyRepo`).
/// What `net/url` makes of the rest of a URL is another matter.
pub(crate) fn refusal(entry: &str) -> Option<&'static str> {
    match scheme(entry).map(str::to_ascii_lowercase).as_deref() {
        None => Some("no URL: its scheme is missing"),
        Some("http" | "https") => None,
        Some("file") if file(entry).is_some() => None,
        Some("file") => Some("no valid URL: go wants file:// and a path, and nothing else"),
        Some(_) => Some("no valid URL: go wants https, http or file"),
    }
}

/// The scheme of an entry, as `net/url:getScheme` finds it.
pub(crate) fn scheme(entry: &str) -> Option<&str> {
    let (scheme, _) = entry.split_once(':')?;
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let begins = scheme.starts_with(|first: char| first.is_ascii_alphabetic());
    (begins && scheme.bytes().all(sound)).then_some(scheme)
}

/// The path of a `file:` entry, which need not be UTF-8; none where go wants no such URL, as there
/// is more in it than a path (`modfetch/proxy.go:newProxyRepo`), or a `%` that begins no encoding.
pub(crate) fn file(entry: &str) -> Option<Vec<u8>> {
    let (scheme, rest) = entry.split_once(':')?;
    let rest = scheme.eq_ignore_ascii_case("file").then_some(rest)?;
    let path = rest.strip_prefix("//").unwrap_or(rest);
    let alone = path.starts_with('/') && !path.contains(['?', '#']);
    url::unescape(path).filter(|_| alone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(goproxy: &str, noproxy: &str) -> Vec<String> {
        let mark = |separator| match separator {
            Some(Separator::Comma) => ",",
            Some(Separator::Pipe) => "|",
            None => "",
        };
        entries(goproxy, noproxy)
            .into_iter()
            .map(|entry| format!("{}{}", entry.proxy, mark(entry.separator)))
            .collect()
    }

    #[test]
    fn reads_the_list_as_go_does() {
        for (goproxy, noproxy, expected) in [
            (
                "https://a|goproxy.cn,direct",
                "",
                &["https://a|", "https://goproxy.cn,", "direct"][..],
            ),
            (" https://a , ,off,https://b", "", &["https://a,", "off,"]),
            ("direct,https://b", "", &["direct,"]),
            ("https://a", "corp.lab/*", &["noproxy", "https://a"]),
            ("direct", "corp.lab/*", &["direct"]),
            ("foo,file:///x", "", &["foo,", "file:///x"]),
            ("/srv/x", "", &["/srv/x"]),
            ("", "corp.lab", &[]),
        ] {
            assert_eq!(words(goproxy, noproxy), expected, "{goproxy}");
        }
    }

    #[test]
    fn a_file_is_a_path_whose_encoding_is_whole() {
        for (entry, path) in [
            ("file:///srv/a%20b", Some(&b"/srv/a b"[..])),
            ("file:/srv/%e4", Some(&b"/srv/\xe4"[..])),
            ("file:///srv/100%", None),
            ("file:///srv/%zz", None),
            ("file:///srv?x", None),
        ] {
            assert_eq!(file(entry).as_deref(), path, "{entry}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused() {
        for (entry, refused) in [
            ("https://a.lab", ""),
            ("HTTP://a.lab", ""),
            ("https:/a.lab", ""),
            ("file:///srv/x y", ""),
            ("FILE:/srv/x", ""),
            ("/srv/x", "scheme is missing"),
            ("//a.lab/x", "scheme is missing"),
            ("foo", "scheme is missing"),
            ("1a://x", "scheme is missing"),
            ("file://host/x", "and a path"),
            ("file:///srv?x", "and a path"),
            ("ftp://a.lab", "https, http or file"),
            ("s3:/bucket", "https, http or file"),
        ] {
            let found = refusal(entry);
            assert_eq!(found.is_none(), refused.is_empty(), "{entry}: {found:?}");
            assert!(found.unwrap_or_default().contains(refused), "{entry}: {found:?}");
        }
    }

    #[test]
    fn matches_private_modules_by_prefix() {
        for (glob, module, expected) in [
            ("corp.lab", "corp.lab/a/b", true),
            ("corp.lab/a", "corp.lab", false),
            ("*.corp.lab", "git.corp.lab/x", true),
            ("*.corp.lab", "corp.lab/x", false),
            ("*/team", "git.lab/team/x", true),
            ("git.lab/[a-c]?", "git.lab/b1/x", true),
            ("git.lab/[^a-c]*", "git.lab/b1", false),
            ("a*b*c", "aXbYbZc", true),
            ("a\\*", "a*", true),
            ("[", "a", false),
            ("none", "corp.lab", false),
            ("", "corp.lab", false),
        ] {
            assert_eq!(matches_prefix(glob, module), expected, "{glob} {module}");
        }
        for (patterns, expected) in
            [("corp.lab/", true), ("a.lab,,corp.lab", true), ("corp.lab//", false), ("/", false)]
        {
            assert_eq!(matches(patterns, "corp.lab/a"), expected, "{patterns}");
        }
    }

    #[test]
    fn finds_an_entry_by_what_it_means() {
        let list =
            List { entries: entries("HTTPS://a/x/,https://b,direct", ""), ..List::default() };
        assert_eq!(list.position("https://u:p@a/x", 0), Some(0));
        assert_eq!(list.position("direct", 0), Some(2));
        assert_eq!(list.position("https://a/x", 1), None);
        assert_eq!(list.position("https://a/x", 9), None);
    }

    #[test]
    fn finds_an_entry_by_its_beginning_where_there_is_one() {
        let goproxy = "https://REDACTED@a,https://b/x|https://b/y,https://REDACTED@a,direct";
        let list = List { entries: entries(goproxy, ""), ..List::default() };
        for (beginning, entry) in [
            ("https://REDACTED@", Some("https://REDACTED@a")),
            ("https://b/x", Some("https://b/x")),
            ("https://b/", None),
            ("https://c", None),
        ] {
            assert_eq!(list.that_begins(beginning), entry, "{beginning}");
        }
    }
}
