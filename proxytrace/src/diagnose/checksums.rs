//! PT502 to PT505, PT703: checksums that go could not have, and the toolchains that need them.

use crate::correlate::failure::{OTHER_KEY, OTHER_TILE, WANTS_CERTIFICATE};
use crate::correlate::story::{answer, last_asked};
use crate::event::Origin;
use crate::gomod::TOOLCHAIN;
use crate::goproxy::is_keyword;
use crate::gosumdb::has_key;
use crate::model::{Artifact, Attempt, Chain, Outcome};

use super::cause::is_unreached;
use super::sign::Sign;
use super::speaker::is_page;
use super::view::View;

/// PT502 to PT505: the checksum database, or the proxy that stands for it.
pub(super) fn root(
    view: &View<'_>,
    chain: &Chain,
    attempt: &Attempt,
) -> Option<(&'static str, String)> {
    let said = answer(attempt);
    let direct = is_keyword(&attempt.proxy);
    let supported = || view.supported(chain, &attempt.proxy);
    let page = || supported().is_some_and(is_page);
    let last = last_asked(&attempt.requests);
    let unreached = last.is_some_and(|last| is_unreached(view, attempt, last));
    let answered = last.is_some_and(|last| last.status.is_some());
    match (chain.artifact, attempt.outcome) {
        (Artifact::SumdbSupported, Outcome::HttpError) => Some((
            "PT503",
            format!("{said} when go asked whether it forwards the checksum database"),
        )),
        (Artifact::SumdbLookup | Artifact::SumdbTile, _)
            if direct && unreached && !is_of_certificate(view, chain, attempt) =>
        {
            Some(("PT502", format!("{said}; it is the checksum database, which go asks itself")))
        }
        (Artifact::SumdbLookup | Artifact::SumdbTile, outcome)
            if !direct
                && ((outcome == Outcome::BadContent && answered)
                    || (outcome == Outcome::NotFound && (page() || chain.module.is_none()))) =>
        {
            let forwards = supported().map(|_| {
                ("PT504", format!("{said}, though it says that it forwards the checksum database"))
            });
            forwards.or_else(|| missing_tile(chain, attempt))
        }
        (Artifact::SumdbTile, Outcome::NotFound) => missing_tile(chain, attempt),
        (Artifact::SumdbLookup, Outcome::NotFound) if toolchain(chain).is_none() => {
            Some(("PT505", format!("{said}: the checksum database does not know the module")))
        }
        _ => None,
    }
}

/// What to do where one of several tiles is not of the tree.
const TILES: &str = "go does not know which of its tiles is not of the tree: this one, or one that it \
                     has kept. Remove those (`rm -r \"$(go env GOMODCACHE)\"/cache/download/sumdb`) and \
                     trace again: if it fails as before, what answers here is wrong.";

/// PT401: a tile that the database says it has, and has not: nothing is wrong with the module.
fn missing_tile(chain: &Chain, attempt: &Attempt) -> Option<(&'static str, String)> {
    let absent = chain.artifact == Artifact::SumdbTile && attempt.outcome == Outcome::NotFound;
    let said = || format!("{} for a part of the checksum database's own tree", answer(attempt));
    absent.then(|| ("PT401", said()))
}

/// PT502: what came is signed by others than GOSUMDB has the key of, where it has one that go does
/// not know by itself: the database may have got another one, or somebody shows another database.
pub(super) fn other_key(view: &View<'_>, chain: &Chain, attempt: &Attempt) -> Option<Sign> {
    const ADVICE: &str = "Compare the key in GOSUMDB with that of who runs the database. If they are \
                          the same, what answers is not that database: find out who does, and do \
                          not take the key from there.";
    if !is_told(chain, attempt, OTHER_KEY) || !gosumdb(view, chain)?.contains('+') {
        return None;
    }
    let host = &last_asked(&attempt.requests)?.host;
    let message = format!(
        "what {host} answered for the checksum database is signed with another key than that of \
         GOSUMDB"
    );
    Some(Sign::of("PT502", chain, message).advising(ADVICE).possibly())
}

/// Whether go said this of what came of the checksum database.
fn is_told(chain: &Chain, attempt: &Attempt, words: &str) -> bool {
    let of_sums = matches!(chain.artifact, Artifact::SumdbLookup | Artifact::SumdbTile);
    let last = last_asked(&attempt.requests).filter(|last| last.status == Some(200));
    let detail = last.and_then(|last| last.error.as_ref()?.detail.as_deref());
    of_sums && detail.is_some_and(|detail| detail.contains(words))
}

fn gosumdb<'a>(view: &View<'a>, chain: &Chain) -> Option<&'a str> {
    Some(&view.process(chain.process)?.config.get("GOSUMDB")?.value)
}

/// Whether GOSUMDB says where the checksum database is, so that go asks nobody else.
fn is_given(view: &View<'_>, chain: &Chain) -> bool {
    gosumdb(view, chain).is_some_and(|value| value.split_whitespace().nth(1).is_some())
}

/// A proxy that forwarded nothing of the checksum database yet may as well not forward it at all, and
/// a URL that GOSUMDB gives may be wrong: that the database does not know a module, or a toolchain,
/// is then a hypothesis. So is, of several tiles that came or were kept, which one is not of the tree.
pub(super) fn doubt(view: &View<'_>, chain: &Chain, attempt: &Attempt, sign: Sign) -> Sign {
    let forwarded = |other: &Chain| {
        other.process == chain.process
            && matches!(other.artifact, Artifact::SumdbLookup | Artifact::SumdbTile)
            && other.outcome == Outcome::Ok
            && other.attempts.last().is_some_and(|last| last.proxy == attempt.proxy)
    };
    let is_named = is_keyword(&attempt.proxy) && !is_given(view, chain);
    let sure = !matches!(sign.kind.code, "PT505" | "PT703")
        || chain.artifact != Artifact::SumdbLookup
        || is_named
        || view.trace.chains.iter().any(forwarded);
    if is_told(chain, attempt, OTHER_TILE) {
        return sign.possibly().advising(TILES);
    }
    if sure { sign } else { sign.possibly() }
}

/// The advice where the checksum database itself was asked: what helps a proxy is of no use.
pub(super) fn of_database(view: &View<'_>, chain: &Chain, attempt: &Attempt, sign: Sign) -> Sign {
    const ADVICE: &str = "go asked the checksum database itself. Look for what answers in its place \
                          on the way to it (`curl -i URL`), or use a proxy that forwards it \
                          (`/sumdb/<name>/supported` answers 200).";
    const GIVEN: &str = "go asked the checksum database at the URL that GOSUMDB gives. Look whether \
                         that is right, and for what answers there (`curl -i URL`).";
    let asked = matches!(chain.artifact, Artifact::SumdbLookup | Artifact::SumdbTile);
    let is_plain = matches!(sign.kind.code, "PT401" | "PT402");
    match (asked && is_plain, is_given(view, chain)) {
        (true, true) => sign.advising(GIVEN),
        (true, false) if is_keyword(&attempt.proxy) => sign.advising(ADVICE),
        _ => sign,
    }
}

/// PT703: a toolchain that the checksum database does not know. go asks it whatever GONOSUMDB and
/// GOPRIVATE are (`modfetch/sumdb.go:useSumDB`), and looks for the toolchain in PATH before
/// (`toolchain/select.go:Exec`).
pub(super) fn unknown_toolchain(chain: &Chain, attempt: &Attempt) -> Option<Sign> {
    const ADVICE: &str = "No setting keeps go from verifying a toolchain. Let the proxy forward the \
                          checksum database, or name one in GOSUMDB that has the toolchain; or \
                          install it in PATH under its name, or set GOTOOLCHAIN=local.";
    let unknown = chain.artifact == Artifact::SumdbLookup && attempt.outcome == Outcome::NotFound;
    let what = toolchain(chain).filter(|_| unknown)?;
    let message = format!(
        "{what} cannot be had: {}: the checksum database does not know it, and go verifies every \
         toolchain",
        answer(attempt)
    );
    Some(Sign::of("PT703", chain, message).advising(ADVICE))
}

/// Whether a handshake failed for a certificate: somebody answered it, and what helps is what helps
/// with any other host.
fn is_of_certificate(view: &View<'_>, chain: &Chain, attempt: &Attempt) -> bool {
    let last = last_asked(&attempt.requests);
    let told = || {
        last.and_then(|last| last.error.as_ref()).is_some_and(|error| {
            let mut types = error.types.iter();
            types.any(|it| it.contains("x509.") || it == "*tls.CertificateVerificationError")
                || error.reason.as_deref() == Some(WANTS_CERTIFICATE)
        })
    };
    // Before TLS 1.3 the alert is one of many.
    let wanted = || {
        last.is_some_and(|last| {
            view.wants_certificate(chain, last) && !view.is_served(chain.process, &last.host)
        })
    };
    match attempt.outcome {
        Outcome::TlsUnknownAuthority => true,
        Outcome::TlsOther | Outcome::Reset => told() || wanted(),
        _ => false,
    }
}

/// PT502 where go can ask no database, as it has no GOSUMDB or makes no key of it. PT703: go
/// verifies toolchains whatever GOSUMDB is, and has nobody to ask where it is `off`
/// (`modfetch/sumdb.go:useSumDB`, `dbDial`).
pub(super) fn unverifiable(view: &View<'_>, chain: &Chain) -> Option<Sign> {
    const KEY: &str = "Write the key of the database in full, `name+hash+key`, and behind it, if \
                       need be, its URL; or unset GOSUMDB for sum.golang.org.";
    const MISSING: &str = "Set GOSUMDB to sum.golang.org, to the key of your own database or to \
                           `off`; or take out of your go/env what empties it: `go env -u GOSUMDB`.";
    const OF_TOOLCHAIN: &str = "Set GOSUMDB to sum.golang.org, or to the key of a database that \
                                has toolchains; or take out of your go/env what empties it: `go \
                                env -u GOSUMDB`.";
    const ADVICE: &str = "Leave GOSUMDB as it is by default, and name your own modules in \
                          GONOSUMDB; or install the release and set GOTOOLCHAIN=local.";
    let config = &view.process(chain.process)?.config;
    let set = config.get("GOSUMDB");
    let gosumdb = set.map_or("", |set| set.value.as_str());
    // The default stands in go.env: where that was not read, it may be there.
    let is_read = || config.values().any(|set| set.origin == Origin::GorootFile);
    if gosumdb.trim().is_empty() && (set.is_some() || is_read()) {
        let message = "GOSUMDB is empty: it names no checksum database that go could ask";
        let advice = if toolchain(chain).is_some() { OF_TOOLCHAIN } else { MISSING };
        return Some(Sign::of("PT502", chain, message.to_owned()).advising(advice));
    }
    if !has_key(gosumdb) {
        let message =
            format!("GOSUMDB is `{gosumdb}`, of which go makes no key of a checksum database");
        return Some(Sign::of("PT502", chain, message).advising(KEY));
    }
    let what = toolchain(chain)?;
    (gosumdb == "off").then(|| {
        let message =
            format!("{what} cannot be had: GOSUMDB is `off`, and go verifies every toolchain");
        Sign::of("PT703", chain, message).advising(ADVICE)
    })
}

/// What a chain wants of the toolchains, in words; none if that is something else. Which there are
/// has no version.
pub(super) fn toolchain(chain: &Chain) -> Option<String> {
    if chain.module.as_deref() != Some(TOOLCHAIN) {
        return None;
    }
    Some(match chain.version.as_deref() {
        Some(version) => {
            let name = version.split_once('-').map_or(version, |(_, name)| name);
            format!("the toolchain {name}")
        }
        None if chain.artifact == Artifact::List => "the list of toolchains".to_owned(),
        None => TOOLCHAIN.to_owned(),
    })
}
