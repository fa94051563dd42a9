//! What a request is about, read from its URL.
//!
//! The goroutine does not tell: `par.Cache` and singleflight let one module's fetch run on another
//! module's goroutine. Shapes of the URLs: `cmd/go/internal/modfetch/{proxy,sumdb}.go`,
//! `golang.org/x/mod/sumdb/client.go`, `cmd/go/internal/vcs/vcs.go:urlForImportPath`.

use std::borrow::Cow;
use std::sync::Arc;

use crate::gomod::path::unescape;
use crate::model::Artifact;

use crate::goproxy::{List, is_keyword};
use crate::url::Url;

/// What a request is about, and which entry of the list it asks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Target<'a> {
    pub(crate) artifact: Artifact,
    pub(crate) module: Option<Cow<'a, str>>,
    pub(crate) version: Option<Cow<'a, str>>,
    /// The entry, as go uses it.
    pub(crate) proxy: Cow<'a, str>,
    /// What tells two such artifacts apart where module and version do not: host and path.
    pub(crate) place: Option<String>,
}

/// What `modfetch.Lookup` said last.
#[derive(Clone, Debug)]
pub(crate) struct Lookup {
    pub(super) entry: Arc<Asked>,
    pub(super) module: String,
}

/// An entry of the list that is asked, taken apart once.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(super) proxy: String,
    /// Scheme, host, clean path; none for what is no URL.
    base: Option<(String, String, String)>,
}

impl Asked {
    pub(super) fn of(proxy: &str) -> Self {
        let base = Url::parse(proxy)
            .map(|url| (url.scheme.to_owned(), url.host.to_owned(), url.clean_path().into_owned()));
        Self { proxy: proxy.to_owned(), base }
    }

    /// What follows the base in a URL below it.
    fn rest<'p>(&self, url: &Url<'_>, path: &'p str) -> Option<&'p str> {
        let (scheme, host, base) = self.base.as_ref()?;
        below(url, path, (scheme, host, base))
    }
}

/// What follows a base (scheme, host, clean path) in a URL below it.
fn below<'p>(url: &Url<'_>, path: &'p str, base: (&str, &str, &str)) -> Option<&'p str> {
    let (scheme, host, base) = base;
    let same_host = scheme.eq_ignore_ascii_case(url.scheme) && host.eq_ignore_ascii_case(url.host);
    let rest = same_host.then(|| path.strip_prefix(base)).flatten()?;
    rest.starts_with('/').then_some(rest)
}

/// What is wanted, without the entry: artifact, module, version.
type What<'a> = (Artifact, Option<Cow<'a, str>>, Option<Cow<'a, str>>);

/// Reads the first URL of a fetch. What fits no protocol of go's is what the search for a
/// repository asks besides (`Artifact::Vcs`).
pub(crate) fn read<'a>(url: &'a str, lookup: Option<&'a Lookup>, list: &'a List) -> Target<'a> {
    let target = |(artifact, module, version): What<'a>, proxy: Cow<'a, str>| Target {
        artifact,
        module,
        version,
        proxy,
        place: (artifact == Artifact::SumdbTile).then(|| place(url)),
    };
    let beside = || {
        let word = lookup.filter(|lookup| is_keyword(&lookup.entry.proxy));
        Cow::Borrowed(word.map_or("direct", |lookup| &lookup.entry.proxy))
    };
    let repository = || {
        let module = lookup.map(|lookup| Cow::Borrowed(lookup.module.as_str()));
        // All that is asked of a module's repository is one chain.
        let place = module.is_none().then(|| place(url));
        Target { place, ..target((Artifact::Vcs, module, None), beside()) }
    };
    let Some(parts) = Url::parse(url) else { return repository() };
    let path = parts.clean_path();

    if parts.query.is_some_and(|query| query.split('&').any(|pair| pair == "go-get=1")) {
        let module = format!("{}{path}", parts.named_host());
        return target((Artifact::GoGet, Some(module.into()), None), beside());
    }
    let found = match path {
        Cow::Borrowed(path) => below_entry(&parts, path, lookup, list)
            .map(|(what, proxy)| (what, Cow::Borrowed(proxy))),
        Cow::Owned(path) => below_entry(&parts, &path, lookup, list).map(|(what, proxy)| {
            let (artifact, module, version) = what;
            let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
            ((artifact, module.map(owned), version.map(owned)), Cow::Owned(proxy.to_owned()))
        }),
    };
    found.map_or_else(repository, |(what, proxy)| target(what, proxy))
}

/// What a path is about, and the entry that was asked for it.
fn below_entry<'a>(
    url: &Url<'_>,
    path: &'a str,
    lookup: Option<&'a Lookup>,
    list: &'a List,
) -> Option<(What<'a>, &'a str)> {
    let found = of_entry(url, path, lookup, list);
    if found.is_some() {
        return found;
    }
    if let Some((_, file)) = split_module(path) {
        let what = lookup
            .and_then(|lookup| module_of(path, &lookup.module))
            .or_else(|| first_module(path))
            .and_then(|module| file_of(file).map(|(a, version)| (a, Some(module), version)));
        if let Some(what) = what {
            return Some((what, lookup.map_or("direct", |lookup| &lookup.entry.proxy)));
        }
    }
    Some((checksums(path)?, "direct"))
}

/// What a version control tool fetches for the module that was looked up.
pub(super) fn repository(lookup: &Lookup) -> Target<'_> {
    Target {
        artifact: Artifact::Vcs,
        module: Some(lookup.module.as_str().into()),
        version: None,
        proxy: lookup.entry.proxy.as_str().into(),
        place: None,
    }
}

/// What go asks for no module.
pub(super) fn aside(url: &str) -> Target<'static> {
    Target {
        artifact: Artifact::Vcs,
        module: None,
        version: None,
        proxy: "direct".into(),
        place: Some(place(url)),
    }
}

fn place(url: &str) -> String {
    Url::parse(url)
        .map_or_else(|| url.to_owned(), |u| format!("{}{}", u.named_host(), u.clean_path()))
}

/// The entry whose base the URL begins with, and what it is asked for. The entry that was looked up
/// comes first, then the longest; where bases lie within one another, what follows the wrong one may
/// mean nothing.
fn of_entry<'p, 'l>(
    url: &Url<'_>,
    path: &'p str,
    lookup: Option<&'l Lookup>,
    list: &'l List,
) -> Option<(What<'p>, &'l str)> {
    // Looked up as `direct`, a module file comes from the proxy that a `mod` go-import named, even
    // where that proxy is in the list as well. The checksum database is still asked by the list.
    let direct = lookup.is_some_and(|l| is_keyword(&l.entry.proxy)) && split_module(path).is_some();
    if direct {
        return None;
    }
    let by_lookup = lookup.and_then(|lookup| {
        let rest = lookup.entry.rest(url, path)?;
        Some((below_proxy(rest)?, lookup.entry.proxy.as_str()))
    });
    by_lookup.or_else(|| {
        let entries = list.entries.iter().filter_map(|entry| {
            let base = Url::parse(&entry.proxy)?;
            let rest = below(url, path, (base.scheme, base.host, &base.clean_path()))?;
            Some((rest.len(), below_proxy(rest)?, entry.proxy.as_str()))
        });
        let longest = entries.min_by_key(|(rest, ..)| *rest);
        longest.map(|(_, what, proxy)| (what, proxy))
    })
}

/// What a proxy is asked for with this path.
fn below_proxy(rest: &str) -> Option<What<'_>> {
    checksums_via(rest).or_else(|| module_file(rest))
}

/// `/sumdb/<name>/…` below a proxy.
fn checksums_via(rest: &str) -> Option<What<'_>> {
    let rest = rest.strip_prefix("/sumdb/")?;
    if rest.ends_with("/supported") {
        return Some((Artifact::SumdbSupported, None, None));
    }
    checksums(rest)
}

/// `…/lookup/<module>@<version>`, `…/tile/<height>/…`. A repository may have such words in its path,
/// or end in `/latest`, which go asks nobody for.
fn checksums(path: &str) -> Option<What<'_>> {
    if let Some((_, record)) = path.split_once("/lookup/") {
        let (module, version) = record.rsplit_once('@')?;
        return Some((Artifact::SumdbLookup, Some(unescape(module)), Some(unescape(version))));
    }
    let (height, _) = path.rsplit_once("/tile/")?.1.split_once('/')?;
    let is_number = !height.is_empty() && height.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some((Artifact::SumdbTile, None, None))
}

/// `/<module>/@v/<file>` or `/<module>/@latest`.
pub(super) fn module_file(rest: &str) -> Option<What<'_>> {
    let (module, file) = split_module(rest)?;
    let (artifact, version) = file_of(file)?;
    Some((artifact, Some(unescape(module.strip_prefix('/')?)), version))
}

/// What stands between a module and its files.
const FILES: &[u8] = b"/@v/";

fn split_module(path: &str) -> Option<(&str, &str)> {
    let latest = path.strip_suffix("/@latest").map(|module| (module, "@latest"));
    latest.or_else(|| {
        // The last: from the end it is near.
        let at = path.as_bytes().windows(FILES.len()).rposition(|it| it == FILES)?;
        Some((&path[..at], &path[at + FILES.len()..]))
    })
}

fn file_of(file: &str) -> Option<(Artifact, Option<Cow<'_, str>>)> {
    match file {
        "@latest" => return Some((Artifact::Latest, None)),
        "list" => return Some((Artifact::List, None)),
        _ => {}
    }
    let (version, extension) = file.rsplit_once('.')?;
    let artifact = match extension {
        "info" => Artifact::Info,
        "mod" => Artifact::Mod,
        "zip" => Artifact::Zip,
        _ => return None,
    };
    Some((artifact, Some(unescape(version))))
}

/// `module`, if the path is of one of its files below whatever base.
fn module_of<'a>(path: &str, module: &'a str) -> Option<Cow<'a, str>> {
    let asked = unescape(split_module(path)?.0);
    asked.strip_suffix(module)?.ends_with('/').then_some(Cow::Borrowed(module))
}

/// The module of a path below a base that is not known: it begins at the first element with a dot
/// (`golang.org/x/mod/module.CheckPath`).
fn first_module(path: &str) -> Option<Cow<'_, str>> {
    let (asked, _) = split_module(path)?;
    let element = asked[..asked.find('.')?].rfind('/').map_or(0, |slash| slash + 1);
    Some(unescape(&asked[element..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Origin, Setting};

    fn list() -> List {
        let setting = Setting {
            value: "https://p.lab/go,https://p.lab,direct".into(),
            origin: Origin::Default,
        };
        List::of(&[("GOPROXY".to_owned(), setting)].into())
    }

    fn lookup(proxy: &str, module: &str) -> Lookup {
        Lookup { entry: Arc::new(Asked::of(proxy)), module: module.into() }
    }

    fn line(url: &str, lookup: Option<&Lookup>) -> String {
        let list = list();
        let target = read(url, lookup, &list);
        format!(
            "{:?} {} {} at {}",
            target.artifact,
            target.module.as_deref().unwrap_or("-"),
            target.version.as_deref().unwrap_or("-"),
            target.proxy
        )
    }

    #[test]
    fn reads_every_url_of_the_protocol() {
        let at = lookup("https://p.lab", "x.lab/M");
        for (url, expected) in [
            ("https://p.lab/x.lab/%21m/@v/list", "List x.lab/M - at https://p.lab"),
            ("https://p.lab/x.lab/%21m/@latest", "Latest x.lab/M - at https://p.lab"),
            (
                "https://p.lab/x.lab/!m/@v/v1.0.0-%21r%21c.info",
                "Info x.lab/M v1.0.0-RC at https://p.lab",
            ),
            (
                "https://p.lab/x.lab/y/@v/v2.0.0%2Bincompatible.mod",
                "Mod x.lab/y v2.0.0+incompatible at https://p.lab",
            ),
            ("https://p.lab//x.lab/y/@v/v1.0.0.zip?token=1", "Zip x.lab/y v1.0.0 at https://p.lab"),
            ("https://p.lab/sumdb/sum.golang.org/supported", "SumdbSupported - - at https://p.lab"),
            (
                "https://p.lab/sumdb/s.lab/db/lookup/x.lab/!m@v1.0.0",
                "SumdbLookup x.lab/M v1.0.0 at https://p.lab",
            ),
            ("https://p.lab/sumdb/sum.golang.org/tile/8/0/000", "SumdbTile - - at https://p.lab"),
            ("https://s.lab/tile/8/data/x001/234.p/5", "SumdbTile - - at direct"),
            ("https://git.lab/images/latest", "Vcs x.lab/M - at direct"),
            ("https://git.lab/tile/m.git", "Vcs x.lab/M - at direct"),
            ("https://git.lab/tile/m/info", "Vcs x.lab/M - at direct"),
            (
                "https://sum.golang.org/lookup/x.lab/y@v1.0.0",
                "SumdbLookup x.lab/y v1.0.0 at direct",
            ),
            ("https://x.lab/y/?go-get=1", "GoGet x.lab/y - at direct"),
            ("https://x.lab:443?go-get=1", "GoGet x.lab - at direct"),
            ("https://api.lab/2.0/y", "Vcs x.lab/M - at direct"),
            ("https://p.lab/x.lab/y/@v/v1.0.0.ziphash", "Vcs x.lab/M - at direct"),
            ("no url", "Vcs x.lab/M - at direct"),
        ] {
            assert_eq!(line(url, Some(&at)), expected, "{url}");
        }
    }

    #[test]
    fn the_entry_looked_up_comes_before_the_longest() {
        let url = "https://p.lab/go/x.lab/y/@v/list";
        assert_eq!(line(url, None), "List x.lab/y - at https://p.lab/go");
        let by_lookup = line(url, Some(&lookup("https://p.lab", "go/x.lab/y")));
        assert_eq!(by_lookup, "List go/x.lab/y - at https://p.lab");
    }

    /// go lowers a scheme when it asks, and says the entry as it is.
    #[test]
    fn the_scheme_of_an_entry_may_be_in_capitals() {
        let setting = Setting { value: "HTTPS://P.lab/go".into(), origin: Origin::Default };
        let list = List::of(&[("GOPROXY".to_owned(), setting)].into());
        let at = lookup("HTTPS://P.lab/go", "x.lab/y");
        for (url, artifact) in [
            ("https://P.lab/go/sumdb/sum.golang.org/supported", Artifact::SumdbSupported),
            ("https://P.lab/go/sumdb/s.lab/lookup/x.lab/y@v1.0.0", Artifact::SumdbLookup),
            ("https://P.lab/go/x.lab/y/@v/v1.0.0.zip", Artifact::Zip),
        ] {
            for lookup in [None, Some(&at)] {
                let found = read(url, lookup, &list);
                assert_eq!(
                    (found.artifact, &*found.proxy),
                    (artifact, "HTTPS://P.lab/go"),
                    "{url}"
                );
            }
        }
    }

    /// `sumdb.go:initBase` found it at another entry than the module came from.
    #[test]
    fn the_checksum_database_is_asked_at_the_entry_that_means_it() {
        let at = lookup("https://p.lab", "x.lab/y");
        for (url, expected) in [
            (
                "https://p.lab/go/sumdb/s.lab/lookup/x.lab/y@v1.0.0",
                "SumdbLookup x.lab/y v1.0.0 at https://p.lab/go",
            ),
            ("https://p.lab/go/sumdb/s.lab/tile/8/0/000", "SumdbTile - - at https://p.lab/go"),
            ("https://p.lab/sumdb/s.lab/tile/8/0/000", "SumdbTile - - at https://p.lab"),
        ] {
            assert_eq!(line(url, Some(&at)), expected, "{url}");
        }
    }

    #[test]
    fn a_proxy_named_by_go_import_belongs_to_direct() {
        let url = "https://mods.lab/base.d/x.lab/y/@v/v1.0.0.info";
        let known = line(url, Some(&lookup("direct", "x.lab/y")));
        assert_eq!(known, "Info x.lab/y v1.0.0 at direct");
        let url = "https://p.lab/x.lab/y/@v/v1.0.0.info";
        assert_eq!(line(url, Some(&lookup("direct", "x.lab/y"))), "Info x.lab/y v1.0.0 at direct");
        let url = "https://mods.lab/base/x.lab/y/@v/v1.0.0.info";
        assert_eq!(line(url, None), "Info x.lab/y v1.0.0 at direct");
    }
}
