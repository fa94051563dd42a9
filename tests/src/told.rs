//! What can be said of a run of which only its servers' log and its end are known.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context as _, Result, ensure};
use proxytrace::model::{Finding, Outcome, Request, RequestId, Role, Severity, Trace};

use crate::check;
use crate::log::Entry;
use crate::scenario::{Action, GoSum, Rule, Scenario, Sumdb, Trouble};
use crate::toolchain::Toolchain;

/// What decides whether a finding can be.
struct Facts<'a> {
    log: &'a [Entry],
    scenario: &'a Scenario,
    toolchain: &'a Toolchain,
}

/// Whether the findings are such as the log and the end of the command allow.
pub(crate) fn check(
    trace: &Trace,
    log: &[Entry],
    stderr: &str,
    scenario: &Scenario,
    toolchain: &Toolchain,
) -> Result<()> {
    // It may have ended when it was killed.
    let is_killed = scenario.command[0] == "timeout"
        && (trace.command.signal.is_some() || trace.command.exit_code == Some(124));
    ensure!(scenario.succeeds || is_killed || check::failed(trace), "no go of the trace failed");
    let found = check::found(trace);
    let facts = Facts { log, scenario, toolchain };
    let errors = || trace.findings.iter().filter(|finding| finding.severity == Severity::Error);
    // That the checksum database does not know a module is a warning, whatever comes of it.
    let is_root = |it: &&Finding| {
        it.role == Role::Root && (it.severity == Severity::Error || it.code == "PT505")
    };
    let roots = || trace.findings.iter().filter(is_root);
    ensure!(!scenario.succeeds || errors().next().is_none(), "it succeeded: {found:?}");
    // A package that a module does not have is nobody's fault, whatever go says of it.
    let in_vain = stderr.contains("found, but does not contain package")
        || stderr.contains("missing go.sum entry")
        || stderr.contains("non-semver module version")
        || stderr.contains("is not a main package")
        || stderr.contains("no existing version is required")
        || (stderr.contains("loading module retractions") && stderr.contains("no such file"))
        || scenario.command.contains(&"mod.lab/m02/deeper@v1.0.0");
    let unsent = stderr.contains(UNSENT) && found.iter().any(|(code, _)| *code == "PT304");
    let has_root = in_vain || unsent || is_killed || roots().next().is_some();
    ensure!(scenario.succeeds || has_root, "no root: {found:?}");
    let all_well = scenario.succeeds && facts.all_well();
    ensure!(!all_well || found.is_empty(), "all was well: {found:?}");
    let downloads = scenario.command == Scenario::BASE.command;
    let is_refused = |entry: &&Entry| entry.status >= Some(400) && !entry.url.contains("/sumdb/");
    let refused = downloads && log.iter().any(|entry| is_refused(&entry));
    ensure!(!refused || !found.is_empty(), "something went wrong, and nothing is said");
    let requests: HashMap<RequestId, &Request> =
        check::requests(trace).map(|request| (request.id, request)).collect();
    for finding in &trace.findings {
        ensure!(facts.allow(&finding.code), "nothing was like it: {finding:?}");
        let of = |id: &RequestId| requests.get(id).copied().with_context(|| format!("no {id}"));
        let evidence = finding.requests.iter().map(of).collect::<Result<Vec<_>>>()?;
        ensure!(shows(finding, &evidence), "its evidence shows something else: {finding:?}");
    }
    let failed = named(stderr);
    let blamed: BTreeSet<&str> = roots()
        .flat_map(|finding| &finding.modules)
        .map(|module| module.split('@').next().unwrap_or(module))
        .collect();
    // Of several that failed go may name one alone.
    ensure!(in_vain || failed.is_subset(&blamed), "go names {failed:?}, and we {blamed:?}");
    Ok(())
}

/// Where go asks nobody, there is nothing for an error to be about.
const UNSENT: &str = "refusing to pass credentials to insecure URL";

/// The modules of which go says that they failed.
fn named(stderr: &str) -> BTreeSet<&str> {
    let lines = stderr.lines().take_while(|line| !line.starts_with("error["));
    let named = lines.filter_map(|line| {
        let rest = line.strip_prefix("go: ").or_else(|| line.strip_prefix("verifying "))?;
        // It names the package that it looked for.
        if rest.contains("zip: not a valid zip file") || rest.contains(UNSENT) {
            return None;
        }
        // The last of several is the one that failed for the others.
        let is_one = |word: &&str| word.contains('@') && !word.contains(' ');
        let last = rest.split(": ").take_while(is_one).last()?;
        last.split('@').next()
    });
    named.collect()
}

impl Facts<'_> {
    fn any(&self, status: impl Fn(u16) -> bool) -> bool {
        self.log.iter().any(|entry| entry.status.is_some_and(&status))
    }

    fn has(&self, status: u16) -> bool {
        self.any(|it| it == status)
    }

    fn is_in_list(&self, text: &str) -> bool {
        self.scenario.goproxy.contains(text)
    }

    fn is_set(&self, name: &str) -> bool {
        self.scenario.environment.iter().any(|(it, _)| *it == name)
    }

    fn moved(&self) -> impl Iterator<Item = &Entry> {
        self.log.iter().filter(|entry| matches!(entry.status, Some(300..400)))
    }

    fn location(&self, is_such: impl Fn(Option<&str>) -> bool) -> bool {
        self.moved().any(|entry| is_such(entry.location.as_deref()))
    }

    fn trouble(&self, one_of: &[Trouble]) -> bool {
        self.scenario.hosts.iter().any(|host| host.trouble.is_some_and(|it| one_of.contains(&it)))
    }

    fn action(&self, is_such: impl Fn(&Action) -> bool) -> bool {
        fn inner(action: &Action) -> &Action {
            if let Action::First(first) = action { first } else { action }
        }
        let rules = || self.scenario.hosts.iter().flat_map(|host| host.rules);
        rules().any(|rule: &Rule| is_such(inner(&rule.action)))
    }

    fn all_well(&self) -> bool {
        use Action::{Gzip, Serve, Slow};
        let is_sound = self.scenario.hosts.iter().all(|host| host.trouble.is_none());
        let serves = |action: &Action| matches!(action, Serve | Slow(_) | Gzip);
        let is_usual = !self.is_in_list("@") && !self.is_set("HTTPS_PROXY");
        is_sound
            && is_usual
            && self.scenario.cached.is_empty()
            && !self.action(|it| !serves(it))
            && !self.any(|status| status != 200)
    }

    /// Whether a finding can be, of what is drawn.
    fn allow(&self, code: &str) -> bool {
        use Action::{
            Body, Close, Hang, Html, Page, Refuse, ServeLast, ServeOncePerConnection, Truncate,
            TruncateGzip,
        };
        use Trouble::{
            Expired, NameServerFails, NoRoute, NoSuchName, NoTls, Resets, TakesCertificate,
            UnknownAuthority, WantsCertificate, WrongName,
        };
        let is_vanity =
            self.is_in_list("direct") || self.is_set("GOPRIVATE") || self.is_set("GONOPROXY");
        let sumdb = self.scenario.sumdb != Sumdb::Off;
        let nameless = self.trouble(&[NoSuchName, NameServerFails])
            || self.location(|it| it.is_some_and(|it| it.contains("nowhere.lab")))
            || is_vanity;
        let page = self.action(|it| matches!(it, Html | Page(..) | Body(..)));
        let several = self.is_in_list(",") || self.is_in_list("|");
        match code {
            // The target may be a host that has no such port, too.
            "PT001" | "PT007" | "PT011" => self.moved().next().is_some(),
            "PT002" => self.toolchain.resends() && self.any(|status| (400..500).contains(&status)),
            "PT003" => self.moved().count() >= 10,
            "PT004" => self.location(|it| it.is_some_and(|it| it.starts_with("http:"))),
            "PT005" => self.location(|it| it.is_none_or(str::is_empty)),
            "PT006" | "PT010" => self.moved().next().is_some() && self.any(|status| status >= 400),
            "PT008" => self.moved().next().is_some() && page,
            "PT012" => self.moved().next().is_some() && several,
            "PT009" => self.is_set("GOAUTH"),
            "PT020" => self.moved().count() >= 3,
            "PT101" => self.is_in_list(","),
            "PT102" => several && (self.has(404) || self.has(410)),
            "PT103" => self.is_in_list("|"),
            "PT104" => is_vanity,
            "PT106" => {
                self.scenario.command.contains(&"get") || !self.scenario.modules.others.is_empty()
            }
            "PT108" => self.is_in_list("off"),
            "PT201" => nameless,
            "PT203" => self.trouble(&[NoRoute]),
            "PT204" => self.trouble(&[UnknownAuthority]),
            "PT205" => self.trouble(&[NoTls, WrongName, Expired]),
            "PT206" => self.trouble(&[WantsCertificate, TakesCertificate]),
            "PT208" => {
                let cuts = |it: &Action| {
                    matches!(
                        it,
                        Close | Hang(_) | Refuse | ServeOncePerConnection | Truncate | TruncateGzip
                    )
                };
                // Where the forward proxy finds nobody, it breaks off.
                self.trouble(&[Resets]) || self.action(cuts) || self.is_set("HTTP_PROXY")
            }
            "PT209" => self.action(|it| matches!(it, ServeLast | Refuse | ServeOncePerConnection)),
            "PT210" => self.action(|it| matches!(it, Truncate | TruncateGzip)),
            "PT211" | "PT212" => self.is_set("HTTPS_PROXY"),
            "PT301" => self.has(401),
            "PT302" => self.has(403),
            "PT304" => self.is_in_list("http://user"),
            "PT305" => self.is_in_list("@"),
            "PT401" => page || self.has(204),
            "PT402" => self.any(|status| status != 200),
            "PT403" | "PT404" | "PT405" => page || self.action(|it| matches!(it, TruncateGzip)),
            "PT406" => self.scenario.modules.others.contains(&"mod.lab/Upper"),
            // What both have beside them here is Retry-After.
            "PT408" => self.has(429) || self.has(503),
            "PT409" => self.any(|status| status >= 500),
            "PT410" => self.has(404) || self.has(410),
            "PT501" | "PT502" | "PT503" | "PT504" | "PT505" | "PT506" => sumdb,
            "PT507" => sumdb || self.scenario.go_sum != GoSum::Absent,
            "PT605" => self.is_set("GOINSECURE"),
            "PT606" => !self.scenario.cached.is_empty(),
            "PT802" => true,
            _ => false,
        }
    }
}

/// Whether the evidence has what the finding says of a status, or else has something bad.
fn shows(finding: &Finding, evidence: &[&Request]) -> bool {
    if finding.code == "PT304" {
        return evidence.is_empty();
    }
    let any = |is_such: &dyn Fn(u16) -> bool| {
        evidence.iter().any(|request| request.status.is_some_and(is_such))
    };
    let one_of = |statuses: &[u16]| any(&|status| statuses.contains(&status));
    let is_bad = |it: &&Request| it.status != Some(200) || it.outcome != Outcome::Ok;
    match finding.code.as_str() {
        "PT001" | "PT003" | "PT004" | "PT005" | "PT007" | "PT008" | "PT011" | "PT012" | "PT020" => {
            any(&|status| (300..400).contains(&status))
        }
        "PT006" => any(&|status| (300..400).contains(&status)) && any(&|status| status >= 400),
        "PT102" | "PT410" => one_of(&[404, 410]),
        "PT301" => one_of(&[401]),
        "PT302" => one_of(&[403]),
        "PT408" => one_of(&[429, 503]),
        "PT409" => any(&|status| status >= 500),
        // What is in an answer can be wrong, too.
        code if code.starts_with("PT4") || code.starts_with("PT5") => true,
        _ => finding.severity != Severity::Error || evidence.iter().any(is_bad),
    }
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn what_failed_is_read_from_the_words_of_go() {
        for (line, expected) in [
            (
                "go: x.lab/m@v1.0.0: reading https://p.lab/x.lab/m/@v/v1.0.0.mod: 404",
                Some("x.lab/m"),
            ),
            (
                "go: x.lab/m/sub@v1.0.0: x.lab/m@v1.0.0: reading https://p.lab/: 401",
                Some("x.lab/m"),
            ),
            ("verifying x.lab/m@v1.0.0/go.mod: checksum mismatch", Some("x.lab/m")),
            ("go: downloading x.lab/m v1.0.0", None),
            ("go: x.lab/m@v1.0.0 requires", None),
            ("error[PT410]: proxy.lab answered 404\ngo: x.lab/m@v1.0.0: reading", None),
        ] {
            assert_eq!(named(line).into_iter().next(), expected, "{line}");
        }
    }
}
