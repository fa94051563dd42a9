//! What is wrong with the effective configuration, against what was asked with it.
//!
//! Of processes alone that asked somebody, or failed without asking: a setting that nobody used
//! harms nobody.

use crate::correlate::story::failed;
use crate::event::Setting;
use crate::goenv::OF_THE_WAY;
use crate::goproxy::{Entry, List, ends_list, is_keyword, refusal};
use crate::model::{Attempt, Chain, ChainId, Next, Outcome, Process, Severity};
use crate::redact::REDACTED;
use crate::url::{Url, split_port};

use super::sent::last_walk;
use super::sign::Sign;
use super::view::{View, culprit};

/// Looks at one process and its failed chains.
type Rule = fn(&Process, &[&Chain]) -> Vec<Sign>;

const RULES: &[Rule] =
    &[entry_unreachable, broken_list, user_file_shadowed, lost_to_sudo, insecure_useless];

/// A failed chain of which an entry of GOPROXY is no entry: configuration before everything else.
pub(super) fn root(view: &View<'_>, chain: &Chain) -> Option<Sign> {
    let list = view.list(chain)?;
    let (attempt, message) = broken_entry(list, chain)?;
    let entry = list.entries.get(attempt.index? as usize)?;
    let requests = attempt.requests.iter().map(|request| request.id).collect();
    Some(advised(Sign::of("PT604", chain, message).with(requests), entry))
}

/// Whether a chain ended at an entry whose port is none: go has no outcome of its own for that.
pub(super) fn ended_at_no_port(view: &View<'_>, chain: &Chain) -> bool {
    let ended = chain.attempts.last().filter(|last| is_untold_end(last));
    let entry = ended.and_then(|last| view.list(chain)?.entries.get(last.index? as usize));
    entry.is_some_and(|entry| wrong_port(entry).is_some())
}

/// Whether a walk ended at an attempt for a reason that the outcome does not tell.
fn is_untold_end(attempt: &Attempt) -> bool {
    attempt.outcome == Outcome::Unknown && attempt.next == Some(Next::Stop)
}

/// What is wrong with the configuration of each process.
pub(super) fn signs(view: &View<'_>) -> Vec<Sign> {
    let mut signs = Vec::new();
    for process in view.trace.processes.iter().filter(|process| process.go_version.is_some()) {
        let own = view.chains_of(process.id);
        let asked = own.iter().any(|chain| !chain.attempts.is_empty());
        let failed: Vec<&Chain> = own.iter().copied().filter(|it| view.failed(it)).collect();
        if asked || ended_badly(process) {
            signs.extend(RULES.iter().flat_map(|rule| rule(process, &failed)));
        }
    }
    signs
}

fn ended_badly(process: &Process) -> bool {
    process.exit_code.is_some_and(|code| code != 0)
}

/// PT105.
fn entry_unreachable(process: &Process, failed: &[&Chain]) -> Vec<Sign> {
    let Some(list) = value(process, "GOPROXY") else { return Vec::new() };
    let mut words = list.split([',', '|']).map(str::trim).filter(|word| !word.is_empty());
    let Some(end) = words.find(|word| ends_list(word)) else { return Vec::new() };
    let after: Vec<&str> = words.collect();
    if after.is_empty() {
        return Vec::new();
    }
    let message = format!(
        "GOPROXY is `{list}`: go never asks what comes after `{end}` ({})",
        after.join(", ")
    );
    vec![about("PT105", failed, message)]
}

/// PT604, of lists that kept go from asking at all, or did no harm yet.
fn broken_list(process: &Process, failed: &[&Chain]) -> Vec<Sign> {
    let list = List::of(&process.config);
    // What failed for it has it as its root.
    if failed.iter().any(|chain| broken_entry(&list, chain).is_some()) {
        return Vec::new();
    }
    let broken = list.entries.iter().filter_map(|entry| Some((entry, lint(entry)?)));
    let sign =
        |(entry, message)| advised(about("PT604", &[], message).at_most(Severity::Warning), entry);
    broken.map(sign).collect()
}

fn advised(sign: Sign, entry: &Entry) -> Sign {
    const PORT: &str = "Correct the port of this entry in GOPROXY: ports end at 65535.";
    const URL: &str = "Write the entry as a URL: https://HOST/PATH, or for a directory file:///PATH. \
                       With one that is none go refuses the whole list.";
    if separator(&entry.proxy).is_some() {
        sign
    } else if wrong_port(entry).is_some() {
        sign.advising(PORT)
    } else if !is_bare(&entry.proxy) && refusal(&entry.proxy).is_some() {
        sign.advising(URL)
    } else {
        sign
    }
}

/// The first attempt of the last walk that failed at such an entry, and what is wrong with that.
/// After a 404 of it go asks on, and tells of another entry.
fn broken_entry<'a>(list: &List, chain: &'a Chain) -> Option<(&'a Attempt, String)> {
    let mut failures =
        last_walk(chain).iter().filter(|attempt| failed(attempt.outcome) || is_untold_end(attempt));
    failures.find_map(|attempt| Some((attempt, lint(list.entries.get(attempt.index? as usize)?)?)))
}

/// Why an entry is not what was meant: something in it looks like a separator, it is a bare word, or
/// go refuses it.
fn lint(entry: &Entry) -> Option<String> {
    let text = entry.proxy.as_str();
    if let Some(char) = separator(text) {
        return Some(match char {
            ' ' => format!("GOPROXY has a space within `{text}`, which go takes for one entry"),
            _ if char.is_whitespace() => {
                format!("GOPROXY has white space within `{text}`, which go takes for one entry")
            }
            _ => format!(
                "GOPROXY has `{char}` within `{text}`, which go takes for one entry: `,` and `|` separate"
            ),
        });
    }
    // There may be a `:` in what was taken out.
    let is_whole = text.contains("://") || !text.contains(REDACTED);
    if is_bare(text) && is_whole {
        return Some(format!("`{text}` in GOPROXY is neither a URL nor `direct` nor `off`"));
    }
    if let Some(why) = refusal(text).filter(|_| is_whole && !is_keyword(text)) {
        return Some(format!("`{text}` in GOPROXY is {why}"));
    }
    wrong_port(entry).map(|port| format!("`{text}` in GOPROXY has the port {port}, which is none"))
}

/// What looks like a separator in an entry, and is none (`modfetch/proxy.go:proxyList` knows `,` and
/// `|`).
fn separator(text: &str) -> Option<char> {
    let meant = text.split(['?', '#']).next().unwrap_or_default();
    let authority = meant.find("://").map_or(0, |at| at + 3);
    let path = meant[authority..].find('/').map_or(meant.len(), |at| authority + at);
    let separates = |(at, char): &(usize, char)| {
        let after = meant[at + char.len_utf8()..].trim_start();
        match char {
            '，' | '；' | '、' | '｜' => true,
            ';' => begins_an_entry(after),
            // Good in a path, and in no host; control characters nowhere (`net/url.parse`).
            _ if char.is_whitespace() => char.is_control() || *at < path || begins_an_entry(after),
            _ => false,
        }
    };
    meant.char_indices().find(separates).map(|(_, char)| char)
}

/// Whether it is a word, and no keyword.
fn is_bare(text: &str) -> bool {
    !is_keyword(text) && !text.contains(['.', ':', '/'])
}

/// The port of an entry, where it is none: `net/url` takes any digits, `net` no more than 65535.
fn wrong_port(entry: &Entry) -> Option<&str> {
    let (_, port) = split_port(Url::parse(&entry.proxy)?.host);
    let digits = port.filter(|port| !port.is_empty() && port.bytes().all(|it| it.is_ascii_digit()));
    digits.filter(|port| port.parse::<u16>().is_err())
}

fn begins_an_entry(text: &str) -> bool {
    let ends = |c: char| matches!(c, ';' | '/') || c.is_whitespace();
    let word = text.split(ends).next().unwrap_or_default();
    ends_list(word)
        || matches!(word, "http:" | "https:" | "file:")
        || word.rsplit_once('.').is_some_and(|(_, last)| {
            last.starts_with(|c: char| c.is_ascii_alphabetic()) && !word.contains('=')
        })
}

/// PT601.
fn user_file_shadowed(process: &Process, failed: &[&Chain]) -> Vec<Sign> {
    let file = value(process, "GOENV").unwrap_or("the user's file");
    let hidden = process.surroundings.user_file.iter();
    // Of other settings a difference is nobody's trouble.
    let of_the_way = hidden.filter(|(name, _)| OF_THE_WAY.contains(&name.as_str()));
    let sign = |(name, theirs): (&String, &String)| {
        let ours = value(process, name)?;
        let message = format!(
            "{name} is `{ours}` by the environment, which hides `{theirs}` in {file} (`go env -w`)"
        );
        Some(warning_if_failed("PT601", failed, message))
    };
    of_the_way.filter_map(sign).collect()
}

/// PT602.
fn lost_to_sudo(process: &Process, failed: &[&Chain]) -> Vec<Sign> {
    let Some(sudo) = process.surroundings.sudo.as_ref().filter(|sudo| !sudo.lost.is_empty()) else {
        return Vec::new();
    };
    let user = sudo.user.as_deref().unwrap_or("the user who called it");
    let lost = |(name, theirs): (&String, &Setting)| {
        let ours = value(process, name)
            .map_or_else(|| "is not set".to_owned(), |ours| format!("is `{ours}`"));
        format!("{name} {ours} (for {user} `{}`)", theirs.value)
    };
    let lost: Vec<String> = sudo.lost.iter().map(lost).collect();
    let message = format!("go ran under sudo, without the settings of {user}: {}", lost.join("; "));
    vec![warning_if_failed("PT602", failed, message)]
}

/// PT605.
fn insecure_useless(process: &Process, failed: &[&Chain]) -> Vec<Sign> {
    let Some(globs) = value(process, "GOINSECURE") else { return Vec::new() };
    let sign = |chain: &&Chain| {
        let attempt = culprit(chain)?;
        let certificate = attempt.outcome == Outcome::TlsUnknownAuthority;
        if !certificate || is_keyword(&attempt.proxy) {
            return None;
        }
        let proxy = &attempt.proxy;
        let message = format!(
            "GOINSECURE=`{globs}` does nothing for {proxy}: certificates of proxies are always verified"
        );
        let ids = attempt.requests.iter().map(|request| request.id).collect();
        Some(Sign::of("PT605", chain, message).with(ids))
    };
    failed.iter().filter_map(sign).collect()
}

/// The value of a setting that is in force.
fn value<'a>(process: &'a Process, name: &str) -> Option<&'a str> {
    process.config.get(name).map(|setting| setting.value.as_str()).filter(|value| !value.is_empty())
}

fn about(code: &str, failed: &[&Chain], message: String) -> Sign {
    let chains: Vec<ChainId> = failed.iter().map(|chain| chain.id).collect();
    Sign { chains, ..Sign::general(code, message) }
}

/// What may be meant so is worth a warning only where something failed.
fn warning_if_failed(code: &str, failed: &[&Chain], message: String) -> Sign {
    let most = if failed.is_empty() { Severity::Note } else { Severity::Warning };
    about(code, failed, message).at_most(most)
}

#[cfg(test)]
mod tests {
    use super::super::{Class, class, diagnose};
    use super::*;
    use crate::correlate::tests::scenarios::{self, A, failing, got};
    use crate::correlate::tests::script::{
        Hop, Script, Task, bad_status, broken, config, failure, hop, no_such_host, setting,
    };
    use crate::event::{Sudo, Surroundings, What};
    use crate::model::{Finding, Role};

    fn codes(script: &Script) -> Vec<(String, Severity)> {
        let findings = diagnose(&script.trace());
        findings.into_iter().map(|finding| (finding.code, finding.severity)).collect()
    }

    fn one(script: &Script, code: &str) -> Finding {
        let findings = diagnose(&script.trace());
        findings.into_iter().find(|finding| finding.code == code).expect("it was found")
    }

    /// A script whose go has these settings and these surroundings, and asks [`A`] for a zip.
    fn with(
        settings: &[(&str, &str)],
        surroundings: &Surroundings,
        hop: &Hop,
        exit: i32,
    ) -> Script {
        let mut script = Script::new(A, exit);
        for event in &mut script.events {
            if let What::GoStart { config: theirs, surroundings: around, .. } = &mut event.what {
                theirs.extend(config(settings));
                **around = surroundings.clone();
            }
        }
        let task = match hop.error() {
            None => got(7, "x.lab/m", std::slice::from_ref(hop)),
            Some(error) => Task::new(7)
                .walk()
                .lookup(A, "x.lab/m")
                .fetch(std::slice::from_ref(hop))
                .failed(error.clone()),
        };
        script.run(&[task]);
        script
    }

    fn zip() -> String {
        scenarios::zip(A, "x.lab/m")
    }

    fn refused() -> Hop {
        broken(&zip(), crate::correlate::tests::script::refused(), false)
    }

    #[test]
    fn pt604_knows_what_looks_like_a_separator() {
        for (list, broken) in [
            ("https://a.lab/x，https://b.lab", true),
            ("https://a.lab；direct", true),
            ("https://a.lab;https://b.lab", true),
            ("https://a.lab;direct", true),
            ("https://a.lab direct", true),
            ("https://a.lab\thttps://b.lab", true),
            ("https://a.lab/x b.lab/y", true),
            ("https://nexus.corp/repository/go proxy,direct", false),
            ("file:///srv/my modules", false),
            ("https://nexus.corp/repository/go v1.2/y", false),
            ("https://a.lab b", true),
            ("https://a.lab/x\ty", true),
            ("foo", true),
            ("https://a.lab , direct", false),
            ("https://a.lab|direct", false),
            ("https://a.lab/x;v=1.2/y", false),
            ("https://a.lab/?a=b;c.d", false),
            ("https://a.lab:84433/x", true),
            ("https://a.lab:65535/x", false),
            ("https://[::1]/x", false),
            ("goproxy.cn,off", false),
            ("file:///srv/x", false),
            ("file:/srv/x", false),
            ("HTTPS://a.lab", false),
            ("localhost:3000", false),
            ("REDACTED@nexus", false),
            ("/srv/x", true),
            ("file://host/x", true),
            ("ftp://a.lab", true),
            ("direct", false),
            ("off", false),
        ] {
            let list = List::of(&config(&[("GOPROXY", list), ("GOPRIVATE", "x.lab")]));
            assert_eq!(list.entries.iter().any(|entry| lint(entry).is_some()), broken, "{list:?}");
        }
    }

    /// An entry that is two has no good scheme either, and is helped by a separator.
    #[test]
    fn pt604_advises_by_what_is_wrong() {
        for (entry, advice) in [
            ("a.lab，https://b.lab", "Write the entries one after the other"),
            ("a.lab;https://b.lab", "Write the entries one after the other"),
            ("foo", "Write the entries one after the other"),
            ("/srv/x", "Write the entry as a URL"),
            ("https://a.lab:84433", "Correct the port"),
        ] {
            let finding = one(&Script::new(entry, 1), "PT604");
            assert!(finding.advice.starts_with(advice), "{entry}: {}", finding.advice);
        }
    }

    #[test]
    fn pt604_is_the_root_of_what_failed_for_it() {
        let entry = "https://a.lab/x，https://b.lab";
        let asked = "https://a.lab/x%EF%BC%8Chttps:/b.lab/x.lab/m/@v/v1.0.0.zip";
        let task = Task::new(7)
            .walk()
            .lookup(entry, "x.lab/m")
            .fetch(&[hop(asked, 404)])
            .failed(bad_status(404));
        let mut script = Script::new(entry, 1);
        script.run(&[task]);
        assert_eq!(codes(&script), [("PT604".to_owned(), Severity::Error)]);
        assert_eq!(one(&script, "PT604").role, Role::Root);
        // Where nobody was asked there is no chain, and so no error.
        assert_eq!(codes(&Script::new("foo", 1)), [("PT604".to_owned(), Severity::Warning)]);
        // Of a go that asked nobody and was well, nothing is said.
        assert!(codes(&Script::new("foo", 0)).is_empty());
    }

    /// After a 404 of what is no entry go asks on, and tells of the next.
    #[test]
    fn pt604_is_the_root_where_the_next_entry_failed_as_well() {
        let entry = "https://a.lab/x，https://b.lab";
        let asked = "https://a.lab/x%EF%BC%8Chttps:/b.lab/x.lab/m/@v/v1.0.0.zip";
        let page = "https://x.lab/m?go-get=1";
        let steps = [("modfetch.notExistError", ""), ("*net.DNSError", "")];
        let script = |status| {
            let task = Task::new(7)
                .walk()
                .lookup(entry, "x.lab/m")
                .fetch(&[hop(asked, status)])
                .lookup("direct", "x.lab/m")
                .fetch(&[broken(page, no_such_host(), false)])
                .failed(failure(&steps, None));
            let mut script = Script::new(&format!("{entry}|direct"), 1);
            script.run(&[task]);
            script
        };
        for status in [404, 503] {
            let script = script(status);
            let found = codes(&script);
            assert!(found.contains(&("PT604".to_owned(), Severity::Error)), "{found:?}");
            assert!(!found.iter().any(|(code, _)| code == "PT201"), "{found:?}");
            // It will be none the next time.
            let mut trace = script.trace();
            trace.findings = diagnose(&trace);
            assert_eq!(class(&trace), Some(Class::Permanent), "{status}");
        }
        // What failed for something else silences nothing.
        let other = failing("https://proxy.lab,https://b.lab;direct", 1, |module| {
            vec![hop(&scenarios::zip(A, module), 502)]
        });
        let found = codes(&other);
        assert!(found.contains(&("PT604".to_owned(), Severity::Warning)), "{found:?}");
        assert!(found.contains(&("PT409".to_owned(), Severity::Error)), "{found:?}");
    }

    /// go dials nobody there, and has no outcome for that.
    #[test]
    fn pt604_is_a_port_that_is_none() {
        let entry = "https://a.lab:84433/x";
        let error = failure(
            &[("*url.Error", "Get"), ("*net.OpError", "dial"), ("*net.AddrError", "invalid port")],
            None,
        );
        let asked = broken(&scenarios::zip(entry, "x.lab/m"), error.clone(), false);
        let task = Task::new(7).walk().lookup(entry, "x.lab/m").fetch(&[asked]).failed(error);
        let mut script = Script::new(entry, 1);
        script.run(&[task]);
        assert_eq!(codes(&script), [("PT604".to_owned(), Severity::Error)]);
        let finding = one(&script, "PT604");
        assert_eq!(
            finding.message,
            "`https://a.lab:84433/x` in GOPROXY has the port 84433, which is none"
        );
        assert!(finding.advice.contains("65535"), "{}", finding.advice);
        let mut trace = script.trace();
        trace.findings = diagnose(&trace);
        assert_eq!(class(&trace), Some(Class::Permanent));
    }

    #[test]
    fn pt105_names_what_is_never_asked() {
        let list = "https://proxy.lab, direct ,https://b.lab|https://c.lab";
        let mut script = Script::new(list, 0);
        script.run(&[got(7, "x.lab/m", &[hop(&zip(), 200)])]);
        assert_eq!(codes(&script), [("PT105".to_owned(), Severity::Warning)]);
        let message = one(&script, "PT105").message;
        assert!(message.ends_with("after `direct` (https://b.lab, https://c.lab)"), "{message}");
        let mut script = Script::new("https://proxy.lab,direct,", 0);
        script.run(&[got(7, "x.lab/m", &[hop(&zip(), 200)])]);
        assert!(codes(&script).is_empty());
    }

    #[test]
    fn pt601_warns_where_something_failed() {
        let user_file = [("GOPROXY".to_owned(), "https://b.lab".to_owned())].into();
        let around = Surroundings { user_file, ..Surroundings::default() };
        let file = [("GOENV", "/home/me/.config/go/env")];
        let script = with(&file, &around, &hop(&zip(), 200), 0);
        assert_eq!(codes(&script), [("PT601".to_owned(), Severity::Note)]);
        let script = with(&file, &around, &refused(), 1);
        let finding = one(&script, "PT601");
        assert_eq!((finding.severity, finding.chains.len()), (Severity::Warning, 1));
        assert_eq!(
            finding.message,
            "GOPROXY is `https://proxy.lab` by the environment, which hides `https://b.lab` in \
             /home/me/.config/go/env (`go env -w`)"
        );
        // A setting that has nothing to do with the way is hidden at nobody's cost.
        let user_file = [("GOFLAGS".to_owned(), "-v".to_owned())].into();
        let around = Surroundings { user_file, ..Surroundings::default() };
        let script = with(&[("GOFLAGS", "-x")], &around, &hop(&zip(), 200), 0);
        assert!(codes(&script).is_empty());
    }

    #[test]
    fn pt602_names_what_sudo_took() {
        let lost = [("GOPRIVATE".to_owned(), setting("corp.lab"))].into();
        let sudo = Some(Sudo { user: Some("me".to_owned()), lost });
        let around = Surroundings { sudo, ..Surroundings::default() };
        let finding = one(&with(&[], &around, &refused(), 1), "PT602");
        assert_eq!(finding.severity, Severity::Warning);
        assert_eq!(
            finding.message,
            "go ran under sudo, without the settings of me: GOPRIVATE is not set (for me `corp.lab`)"
        );
        // Nothing is said of a sudo that took nothing.
        let sudo = Some(Sudo::default());
        let around = Surroundings { sudo, ..Surroundings::default() };
        assert!(codes(&with(&[], &around, &hop(&zip(), 200), 0)).is_empty());
    }

    #[test]
    fn pt605_is_about_proxies_alone() {
        let unknown = failure(
            &[
                ("*url.Error", "Get"),
                ("*tls.CertificateVerificationError", ""),
                ("x509.UnknownAuthorityError", ""),
            ],
            None,
        );
        let settings = [("GOINSECURE", "x.lab")];
        let around = Surroundings::default();
        let script = with(&settings, &around, &broken(&zip(), unknown.clone(), false), 1);
        let found = codes(&script);
        assert!(found.contains(&("PT605".to_owned(), Severity::Warning)), "{found:?}");
        assert!(found.contains(&("PT204".to_owned(), Severity::Error)), "{found:?}");
        let script = with(&[], &around, &broken(&zip(), unknown, false), 1);
        assert!(!codes(&script).iter().any(|(code, _)| code == "PT605"));
        let script = with(&settings, &around, &refused(), 1);
        assert!(!codes(&script).iter().any(|(code, _)| code == "PT605"));
    }

    #[test]
    fn one_setting_of_many_modules_is_one_finding() {
        let script =
            failing("https://proxy.lab,direct,https://b.lab", 40, scenarios::redirect_to_forbidden);
        assert_eq!(one(&script, "PT105").chains.len(), 40);
    }
}
