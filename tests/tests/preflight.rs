//! What preflight says of each entry is what go meets there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use proxytrace::model::{Artifact, Confidence, Outcome, Role, Severity, Trace};
use proxytrace_tests::cases;
use proxytrace_tests::lab::Lab;
use proxytrace_tests::modules::VERSION;
use proxytrace_tests::scenario::{Action, Host, Protocol, Rule, Scenario, Trouble};
use proxytrace_tests::toolchain::{Toolchain, VERSIONS};
use serde_json::Value;

/// go is run under proxytrace, whose trace is what the servers logged (`trace_equals_log`), and then
/// preflight asks the same servers about the same modules.
#[test]
fn preflight_says_what_go_meets() {
    let Some(proxytrace) = cases::built() else { return };
    for name in ELSEWHERE.map(|(name, _)| name).into_iter().chain(AGAIN) {
        assert!(Scenario::find(name).is_some(), "{name} is no scenario any more");
    }
    let newest = &VERSIONS[VERSIONS.len() - 1..];
    cases::for_each_of(Scenario::all(), newest, |scenario, toolchain| {
        if ELSEWHERE.iter().any(|(name, _)| *name == scenario.name)
            || scenario.command != Scenario::BASE.command
        {
            return Ok(());
        }
        compare(&proxytrace, scenario, toolchain, false)
    });
}

/// How many are drawn.
const DRAWN: usize = 40;

/// The same of what is drawn.
#[test]
fn preflight_says_what_go_meets_in_what_is_drawn() {
    let Some(proxytrace) = cases::built() else { return };
    let newest = &VERSIONS[VERSIONS.len() - 1..];
    let suits = |scenario: &Scenario| {
        scenario.is_repeatable()
            && scenario.cached.is_empty()
            && !scenario.is_up_to_connections()
            && (!scenario.has_wrong_sums() || !scenario.goproxy.contains('|'))
    };
    cases::for_each_drawn(DRAWN, newest, suits, |scenario, toolchain| {
        compare(&proxytrace, scenario, toolchain, true).with_context(|| format!("{scenario:#?}"))
    });
}

const KEPT: &str = "preflight does not look at what go has kept of the checksum database";

/// The scenarios in which preflight cannot say what go says, and why.
const ELSEWHERE: [(&str, &str); 6] = [
    (
        "sumdb-forked",
        "whether the checksum database still has the tree of before, only a machine that was there \
         before can tell, by what go keeps of it in GOPATH/pkg/sumdb",
    ),
    (
        "toolchain-missing",
        "go asks for a toolchain, and not for what preflight was told to ask about",
    ),
    ("sumdb-kept-lookup-cut", KEPT),
    ("sumdb-kept-tile-cut", KEPT),
    ("sumdb-latest-cut", KEPT),
    (
        "cached-404-until-later",
        "go asks again after each 404, and here the second answer is another; preflight takes the \
         first one, as it would stand for any go before 1.24",
    ),
];

/// The scenarios in which go asks again by itself what fails once, and preflight as often as it is told.
const AGAIN: [&str; 1] = ["refused-stream"];

fn compare(
    proxytrace: &Path,
    scenario: &Scenario,
    toolchain: &Toolchain,
    is_any: bool,
) -> Result<()> {
    let lab = Lab::start(scenario, toolchain)?;
    let file = lab.dir().join("trace.json");
    let mut go = lab.command(proxytrace);
    go.arg("--json").arg(&file).args(["--", "go", "mod", "download"]);
    let went = lab.output(go)?.status.success();
    let went_so: Trace = serde_json::from_slice(&fs::read(&file)?)?;
    // Another lab: what go wrote to go.sum would tell preflight that nothing has to be verified.
    drop(lab);
    let lab = Lab::start(scenario, toolchain)?;
    let file = lab.dir().join("preflight.json");
    let mut preflight = lab.command(proxytrace);
    let tries = if AGAIN.contains(&scenario.name) { "3" } else { "1" };
    preflight.args(["preflight", "--failures", tries, "--json"]).arg(&file);
    preflight.args(scenario.modules.paths().map(|path| format!("{path}@{VERSION}")));
    let output = lab.output(preflight)?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let document: Value = serde_json::from_slice(&fs::read(&file)?)?;
    let trace: Trace = serde_json::from_value(document["trace"].clone()).context("the trace")?;

    let check = || {
        let works = document["works"] != "fails" && document["works"] != "late";
        ensure!(output.status.success() == works, "{}", output.status);
        if document["works"] == "unknown" {
            let modules = document["modules"].as_array().context("modules")?;
            let private = modules.iter().all(|module| module["private"] == true);
            let direct = private || scenario.goproxy.contains("direct");
            ensure!(direct, "only `direct` and private modules leave anything open");
        } else {
            ensure!((document["works"] == "works") == went, "go went otherwise");
        }
        outcomes(&went_so, &trace, &document)?;
        // What it asks repositories for, preflight does not.
        let is_drawn = is_any && !scenario.goproxy.contains("direct");
        if document["works"] != "unknown" && (is_drawn || !is_any) {
            let (go, ours) = (roots(&went_so), roots(&trace));
            // Where go read a page for a `go.mod`, only the page itself tells why it then failed. And
            // of much that is wrong it may have met only some before it ended.
            ensure!(
                (go.is_empty() && !went) || go == ours || (is_drawn && fewer(&go, &ours, &trace)),
                "go failed for {go:?}, preflight says {ours:?}"
            );
        }
        Ok(())
    };
    check().with_context(|| said.clone())
}

/// Whether go met nothing but what preflight tells of: or a page for a `go.mod` that it could not
/// verify, either.
fn fewer(go: &BTreeSet<String>, ours: &BTreeSet<String>, trace: &Trace) -> bool {
    let sums = |chain: &proxytrace::model::Chain| chain.artifact == Artifact::SumdbSupported;
    let unverified = trace.chains.iter().any(sums);
    // An entry that nobody reaches is not asked again for each file: go blames it, and preflight says
    // that `|` hides it, and blames the last.
    let warns = |of: &str| trace.findings.iter().any(|finding| finding.code == of);
    let may_lack = |code: &String| {
        (unverified && code == "PT401")
            || warns(code)
            || (warns("PT103") && code.starts_with("PT2"))
    };
    ours.is_empty() == go.is_empty() && go.difference(ours).all(may_lack)
}

/// Each question that go asked an entry has the same answer from preflight.
fn outcomes(went: &Trace, trace: &Trace, document: &Value) -> Result<()> {
    let mut compared = 0;
    for chain in &went.chains {
        // A go that fails ends whatever else it has asked for.
        let given_up = |it: &proxytrace::model::Attempt| it.outcome == Outcome::Unfinished;
        if went.command.exit_code != Some(0) && chain.attempts.iter().any(given_up) {
            continue;
        }
        if matches!(chain.artifact, Artifact::GoGet | Artifact::Vcs | Artifact::SumdbTile) {
            continue;
        }
        for attempt in chain.attempts.iter().filter(|attempt| attempt.proxy.contains("://")) {
            let same = |other: &&proxytrace::model::Chain| {
                (&other.module, other.artifact) == (&chain.module, chain.artifact)
            };
            let mut attempts = trace.chains.iter().filter(same).flat_map(|other| &other.attempts);
            let ours = attempts.find(|other| other.proxy == attempt.proxy).map(|a| a.outcome);
            // One answer stands for all where there is no use in asking again.
            let ours = ours.or_else(|| of_entry(document, &attempt.proxy, chain.artifact));
            // go looks into a `go.mod` later, if it comes to that.
            let unread = went.command.exit_code != Some(0)
                && chain.artifact == Artifact::Mod
                && attempt.outcome == Outcome::Ok
                && matches!(ours, Some(Outcome::BadContent | Outcome::Checksum));
            // Where one is known to fail, it looks up no more.
            let unasked = chain.artifact == Artifact::SumdbLookup
                && ours.is_none()
                && document["works"] == "fails";
            let about = format!("{:?} {:?} of {}", chain.module, chain.artifact, attempt.proxy);
            ensure!(
                unread || unasked || ours == Some(attempt.outcome),
                "{about}: {:?} to go, {ours:?} to preflight",
                attempt.outcome
            );
            compared += 1;
        }
    }
    let attempts = || went.chains.iter().flat_map(|chain| &chain.attempts);
    let asked = attempts().any(|attempt| attempt.proxy.contains("://"));
    ensure!(compared > 0 || !asked, "nothing was compared");
    Ok(())
}

/// What an entry answered at worst to a kind of question; if it was asked one alone, because that
/// went unanswered, this stands for all.
fn of_entry(document: &Value, proxy: &str, artifact: Artifact) -> Option<Outcome> {
    let entries = document["entries"].as_array()?;
    let answers =
        entries.iter().find(|entry| entry["proxy"] == proxy)?["answers"].as_array()?.as_slice();
    let same = |answer: &&Value| {
        serde_json::from_value::<Artifact>(answer["artifact"].clone()).ok() == Some(artifact)
    };
    let answer = match answers {
        [answer] => answer,
        answers => answers.iter().find(same)?,
    };
    serde_json::from_value(answer["outcome"].clone()).ok()
}

/// Why it failed.
fn roots(trace: &Trace) -> BTreeSet<String> {
    let root = |finding: &&proxytrace::model::Finding| {
        finding.role == Role::Root && finding.severity == Severity::Error
    };
    trace.findings.iter().filter(root).map(|finding| finding.code.clone()).collect()
}

trait OutputOf {
    /// Exit code, stdout, stderr.
    fn output_of(&self, command: &mut Command) -> (i32, Vec<u8>, Vec<u8>);
}

impl OutputOf for Lab {
    fn output_of(&self, command: &mut Command) -> (i32, Vec<u8>, Vec<u8>) {
        let command = std::mem::replace(command, Command::new("true"));
        let output = self.output(command).expect("it runs");
        (output.status.code().expect("no signal"), output.stdout, output.stderr)
    }
}

/// A lab of the scenario `name`, and the program in it.
fn alone(name: &str) -> Option<(Lab, std::path::PathBuf)> {
    alone_in(Scenario::find(name).expect("a scenario"))
}

fn alone_in(scenario: &Scenario) -> Option<(Lab, std::path::PathBuf)> {
    let proxytrace = cases::built()?;
    let newest = VERSIONS[VERSIONS.len() - 1];
    let toolchain = Toolchain::find(newest)
        .inspect_err(|error| cases::skip(&format!("Go {newest}: {error:#}")))
        .ok()?;
    if !cases::can_start() {
        return None;
    }
    let lab = Lab::start(scenario, &toolchain).expect("a lab");
    Some((lab, proxytrace))
}

/// The GOPROXY to use is without what fails; what it may not be widened to stays closed; and it is
/// handed on as the shell and GitHub want it.
#[test]
fn the_goproxy_to_use_is_handed_on() {
    let Some((lab, proxytrace)) = alone("bad-gateway-comma") else { return };
    let handed = |goproxy: &str, more: &[&str]| {
        let file = lab.dir().join("github-env");
        let _ = fs::remove_file(&file);
        let mut command = lab.command(&proxytrace);
        command.args(["preflight", "--failures", "2", "--shell", "--github-env"]).args(more);
        let output = lab.output_of(command.env("GOPROXY", goproxy).env("GITHUB_ENV", &file));
        let written = fs::read_to_string(&file).unwrap_or_default();
        (output.0, String::from_utf8(output.1).expect("UTF-8"), written)
    };
    let (code, shell, github) = handed("https://proxy.lab,https://mirror.lab", &[]);
    assert_eq!((code, shell.as_str()), (0, "export GOPROXY='https://mirror.lab'\n"));
    assert_eq!(github, "GOPROXY=https://mirror.lab\n");
    // go stops at the first entry: nobody else may be asked in its place.
    for closed in ["https://proxy.lab,direct", "https://proxy.lab,https://proxy.golang.org"] {
        let (code, shell, _) = handed(closed, &[]);
        assert_eq!((code, shell), (1, format!("export GOPROXY='{closed}'\n")), "{closed}");
    }
    let (code, shell, _) = handed("https://proxy.lab,direct", &["--allow-direct"]);
    assert_eq!((code, shell.as_str()), (0, "export GOPROXY='direct'\n"));
}

/// What the README shows is what is printed, up to the times; what it leaves out it says (`…`).
#[test]
fn the_readme_shows_what_is_printed() {
    let Some((lab, proxytrace)) = alone("bad-gateway-comma") else { return };
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md"));
    let readme = readme.unwrap();
    let (_, shown) = readme.split_once("$ proxytrace preflight\n").expect("an example");
    let (shown, _) = shown.split_once("```").expect("its end");
    let mut command = lab.command(&proxytrace);
    let (_, stdout, _) = lab.output_of(command.arg("preflight"));
    let printed = timeless(&String::from_utf8(stdout).unwrap());
    let mut rest = &*printed;
    for part in timeless(shown).split("…\n") {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part} is not in {printed}"));
        rest = &rest[at + part.len()..];
    }
    assert!(rest.is_empty(), "{rest}");
}

/// A text without what differs each time: numbers of milliseconds, and the width of columns.
fn timeless(text: &str) -> String {
    let line = |line: &str| {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        for at in 1..words.len() {
            if words[at] == "ms" {
                words[at - 1] = "0";
            }
        }
        words.join(" ") + "\n"
    };
    text.lines().map(line).collect()
}

/// Nothing secret is shown, and what is secret goes where it belongs.
#[test]
fn secrets_stay_inside_and_private_modules_at_home() {
    const CANARY: &str = "c4nary";
    let Some((lab, proxytrace)) = alone("cross-host-redirect") else { return };
    let netrc = lab.dir().join("netrc");
    fs::write(&netrc, format!("machine proxy.lab login u password {CANARY}-netrc\n")).unwrap();
    let (json, har) = (lab.dir().join("p.json"), lab.dir().join("p.har"));
    for goproxy in [
        format!("https://u:{CANARY}-user@proxy.lab"),
        format!("https://proxy.lab?token={CANARY}-query"),
        "https://proxy.lab".to_owned(),
    ] {
        let mut command = lab.command(&proxytrace);
        command.args(["preflight", "-v", "--failures", "1", "--json"]).arg(&json);
        command.arg("--har").arg(&har).args(["mod.lab/m01@v1.0.0", "mod.lab/m02@v1.0.0"]);
        command.env("GOPROXY", &goproxy).env("NETRC", &netrc).env("GOPRIVATE", "mod.lab/m02");
        let before = lab.log().len();
        let (code, stdout, stderr) = lab.output_of(&mut command);
        let shown = [stdout, stderr, fs::read(&json).unwrap(), fs::read(&har).unwrap()].concat();
        let shown = String::from_utf8_lossy(&shown);
        assert!(code == 0 && !shown.contains(CANARY), "{code} {goproxy}: {shown}");
        assert!(shown.contains("private (GONOPROXY)"), "{shown}");
        let log = &lab.log()[before..];
        // The lab's rule for zips knows no query.
        let crossed = log.iter().any(|entry| entry.host == "storage.lab");
        assert!(crossed != goproxy.contains('?'), "{log:?}");
        let private = |entry: &&proxytrace_tests::log::Entry| entry.url.contains("m02");
        assert!(!log.iter().any(|entry| private(&entry)), "{log:?}");
    }
}

/// A host that says nothing takes no longer than it may.
#[test]
fn there_is_an_end_to_waiting() {
    let Some((lab, proxytrace)) = alone("tls-timeout") else { return };
    let mut command = lab.command(&proxytrace);
    command.args(["preflight", "--failures", "2", "--timeout", "2", "mod.lab/m01@v1.0.0"]);
    let began = std::time::Instant::now();
    let (code, stdout, _) = lab.output_of(&mut command);
    let said = String::from_utf8_lossy(&stdout);
    // Of two tries the second is cut short by the end of all, however busy the machine is.
    let silent = "did not answer the TLS handshake in the time that was left";
    assert!(code == 1 && said.contains(silent), "{said}");
    // Without the limit each of them would take go's ten seconds.
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

/// A proxy that does this to every request.
const fn always(trouble: Option<Trouble>, rules: &'static [Rule; 1]) -> Host {
    Host { name: "proxy.lab", protocol: Protocol::H1, rules, trouble }
}

/// The module that the tests below ask about.
const MODULE: &str = "mod.lab/m01@v1.0.0";

/// What preflight writes of `MODULE` with these options.
fn document(lab: &Lab, proxytrace: &Path, options: &[&str]) -> Value {
    document_in(lab, proxytrace, options, &[])
}

/// The same where this is in the environment.
fn document_in(
    lab: &Lab,
    proxytrace: &Path,
    options: &[&str],
    environment: &[(&str, &str)],
) -> Value {
    let file = lab.dir().join("preflight.json");
    let mut command = lab.command(proxytrace);
    command.args(["preflight", "--failures", "1", MODULE, "--json"]).arg(&file).args(options);
    let (code, ..) = lab.output_of(command.envs(environment.iter().copied()));
    let document: Value =
        serde_json::from_slice(&fs::read(&file).expect("it is written")).expect("JSON");
    let is_bad = document["works"] == "fails" || document["works"] == "late";
    assert_eq!(code, i32::from(is_bad), "{}", document["works"]);
    document
}

/// Whether go gets everything, and what the first entry is worth and why.
fn verdict(document: &Value) -> [&str; 3] {
    let entry = &document["entries"][0];
    [&document["works"], &entry["verdict"], &entry["reason"]]
        .map(|value| value.as_str().expect("a text"))
}

/// Who asks for a certificate and breaks off may want one: it is as sure as where go is watched.
#[test]
fn who_asks_for_a_certificate_and_breaks_off_may_want_one() {
    const HOSTS: &[Host] =
        &[always(Some(Trouble::TakesCertificate), &[Rule { pattern: "*", action: Action::Close }])];
    let scenario =
        Scenario { name: "closes", goproxy: "https://proxy.lab", hosts: HOSTS, ..Scenario::BASE };
    let Some((lab, proxytrace)) = alone_in(&scenario) else { return };
    let document = document(&lab, &proxytrace, &[]);
    let trace: Trace = serde_json::from_value(document["trace"].clone()).unwrap();
    let wanted = |tls: &proxytrace::model::Tls| tls.certificate_wanted;
    assert!(trace.connections.iter().all(|one| one.tls.as_ref().is_some_and(wanted)), "{trace:?}");
    let requests = trace.chains.iter().flat_map(|c| &c.attempts).flat_map(|a| &a.requests);
    let outcomes: BTreeSet<String> = requests.map(|r| format!("{:?}", r.outcome)).collect();
    assert_eq!(outcomes, BTreeSet::from(["Reset".to_owned()]));
    let found: Vec<_> = trace.findings.iter().map(|one| (&*one.code, one.confidence)).collect();
    assert_eq!(found, [("PT206", Confidence::Possible)]);
}

/// One that serves others without a certificate wants none, also where go does not come to it.
#[test]
fn what_an_entry_served_speaks_for_it() {
    const HOSTS: &[Host] = &[
        Host {
            name: "mirror.lab",
            protocol: Protocol::H1,
            rules: &[Rule { pattern: "*", action: Action::Serve }],
            trouble: None,
        },
        Host {
            name: "proxy.lab",
            protocol: Protocol::H1,
            rules: &[
                Rule { pattern: "*.zip", action: Action::Close },
                Rule { pattern: "*", action: Action::Serve },
            ],
            trouble: Some(Trouble::TakesCertificate),
        },
    ];
    let optional = Scenario::find("tls-client-cert-optional").expect("a scenario");
    let goproxy = "https://mirror.lab,https://proxy.lab";
    let scenario = Scenario { name: "beyond", goproxy, hosts: HOSTS, ..*optional };
    let Some((lab, proxytrace)) = alone_in(&scenario) else { return };
    let document = document(&lab, &proxytrace, &[]);
    let trace: Trace = serde_json::from_value(document["trace"].clone()).unwrap();
    let found: Vec<_> = trace.findings.iter().map(|one| &*one.code).collect();
    assert_eq!((&document["works"], &found[..]), (&"works".into(), &["PT208"][..]));
}

/// go would wait on for who takes a request and says nothing, and preflight says so.
#[test]
fn silence_is_told_of() {
    const HOSTS: &[Host] = &[always(None, &[Rule { pattern: "*", action: Action::Hang(60_000) }])];
    let scenario =
        Scenario { name: "hangs", goproxy: "https://proxy.lab", hosts: HOSTS, ..Scenario::BASE };
    let Some((lab, proxytrace)) = alone_in(&scenario) else { return };
    // More than the ten seconds from which on it is told of.
    let document = document(&lab, &proxytrace, &["--timeout", "12"]);
    let findings = document["trace"]["findings"].as_array().unwrap();
    let silent = findings.iter().find(|finding| finding["code"] == "PT508");
    let message = silent.and_then(|finding| finding["message"].as_str()).unwrap_or_default();
    assert!(message.contains("proxy.lab had sent nothing"), "{findings:?}");
}

/// A zip is compared with its checksum however it comes.
#[test]
fn a_zip_that_comes_packed_is_verified() {
    let Some((lab, proxytrace)) = alone("gzip") else { return };
    assert_eq!(document(&lab, &proxytrace, &[])["works"], "works");
    let sum = format!("mod.lab/m01 {VERSION} h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n");
    fs::write(lab.module_dir().join("go.sum"), sum).unwrap();
    let document = document(&lab, &proxytrace, &[]);
    assert_eq!(document["works"], "fails");
    let reason = "mod.lab/m01 has another checksum than it should";
    assert_eq!(document["entries"][0]["reason"], reason);
}

/// What cannot be compared is not said to be well.
#[test]
fn a_zip_that_cannot_be_verified_is_told_of() {
    const HOSTS: &[Host] = &[Host {
        name: "proxy.lab",
        protocol: Protocol::H1,
        rules: &[
            Rule { pattern: "*.zip", action: Action::Body(&[], "PK, and nothing of a zip") },
            Rule { pattern: "*", action: Action::Serve },
        ],
        trouble: None,
    }];
    let healthy = Scenario::find("gzip").expect("a scenario");
    let scenario = Scenario { name: "no-zip", hosts: HOSTS, ..*healthy };
    let Some((lab, proxytrace)) = alone_in(&scenario) else { return };
    let sum = format!("mod.lab/m01 {VERSION} h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n");
    fs::write(lab.module_dir().join("go.sum"), sum).unwrap();
    let document = document(&lab, &proxytrace, &[]);
    let reason = document["entries"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("the zip of mod.lab/m01 could not be verified"), "{reason}");
}

/// A proxy that has everything.
const GOOD: Host = Host {
    name: "mirror.lab",
    protocol: Protocol::H2,
    rules: &[Rule { pattern: "*", action: Action::Serve }],
    trouble: None,
};

/// Who is behind a proxy that preflight does not speak to is not asked, and has not failed.
#[test]
fn who_is_behind_socks_is_not_asked() {
    const HOSTS: &[Host] = &[GOOD];
    let healthy = Scenario::find("gzip").expect("a scenario");
    let goproxy = "https://mirror.lab";
    let scenario = Scenario { name: "socks", goproxy, hosts: HOSTS, ..*healthy };
    let Some((lab, proxytrace)) = alone_in(&scenario) else { return };
    for (name, scheme, around, is_asked) in [
        ("HTTPS_PROXY", "socks5", "", false),
        ("HTTPS_PROXY", "socks5h", "other.lab", false),
        ("https_proxy", "socks5", "", false),
        ("HTTPS_PROXY", "socks5", ".lab", true),
        ("HTTP_PROXY", "socks5", "", true),
    ] {
        // Nobody has that name: who came to it all the same would fail.
        let proxy = format!("{scheme}://nowhere.lab:1080");
        let environment = [(name, &*proxy), ("NO_PROXY", around)];
        let before = lab.log().len();
        let document = document_in(&lab, &proxytrace, &[], &environment);
        let unspoken = format!("preflight does not speak {scheme} to a forward proxy");
        let expected = if is_asked {
            ["works", "works", "it has everything"]
        } else {
            ["unknown", "not-asked", &*unspoken]
        };
        assert_eq!(verdict(&document), expected, "{environment:?}");
        assert_eq!(lab.log().len() > before, is_asked, "{environment:?}");
    }
}

/// What commands of GOAUTH would let in is not known, as they are not run; what netrc does is.
#[test]
fn whom_goauth_lets_in() {
    const HOSTS: &[Host] = &[always(None, &[Rule { pattern: "*", action: Action::ServeUser }])];
    let healthy = Scenario::find("gzip").expect("a scenario");
    let home = &[("goauth", "#!/bin/sh\ntouch \"$0.ran\"\n")];
    let scenario = Scenario { name: "goauth", hosts: HOSTS, home, ..*healthy };
    let Some((lab, proxytrace)) = alone_in(&scenario) else { return };
    let command = lab.dir().join("home/goauth").display().to_string();
    let both = format!("netrc; {command}");
    let git = format!("git {}", lab.dir().display());
    let netrc = lab.dir().join("netrc");
    let works = ["works", "works", "it has everything"];
    let fails = ["fails", "fails", "proxy.lab answered 401"];
    let reason = "proxy.lab wants credentials, which the commands of GOAUTH may have: preflight \
                  does not run them";
    let unknown = ["unknown", "unknown", reason];
    let reason = "proxy.lab wants credentials, which only some releases of go find in netrc: its \
                  line is for more than a host";
    let by_some = ["unknown", "unknown", reason];
    for (goauth, machine, expected) in [
        ("netrc", "proxy.lab", works),
        ("off", "proxy.lab", fails),
        (&*command, "proxy.lab", unknown),
        (&*git, "proxy.lab", unknown),
        (&*both, "proxy.lab", works),
        (&*both, "other.lab", unknown),
        ("netrc", "other.lab", fails),
        ("netrc", "Proxy.lab", fails),
        ("netrc", "https://proxy.lab", by_some),
        ("netrc", "proxy.lab/mod.lab", by_some),
    ] {
        fs::write(&netrc, format!("machine {machine} login user password secret\n")).unwrap();
        let environment = [("GOAUTH", goauth), ("NETRC", netrc.to_str().expect("UTF-8"))];
        let document = document_in(&lab, &proxytrace, &[], &environment);
        assert_eq!(verdict(&document), expected, "{goauth} {machine}");
    }
    assert!(!lab.dir().join("home/goauth.ran").exists());
}

/// The authorities are those that go trusts with the same variables.
#[test]
fn whose_certificates_are_trusted() {
    const HOSTS: &[Host] =
        &[GOOD, Host { name: "proxy.lab", trouble: Some(Trouble::UnknownAuthority), ..GOOD }];
    let healthy = Scenario::find("gzip").expect("a scenario");
    let scenario = Scenario { name: "authorities", hosts: HOSTS, ..*healthy };
    let Some((lab, proxytrace)) = alone_in(&scenario) else { return };
    let authority = lab.dir().join("ca.pem");
    let directory = lab.dir().join("authorities");
    fs::create_dir(&directory).unwrap();
    fs::copy(&authority, directory.join("lab.pem")).unwrap();
    let [authority, directory] = [&authority, &directory].map(|path| path.to_str().expect("UTF-8"));
    let several = format!("/nowhere:{directory}");
    for (host, file, directories, is_trusted) in [
        ("mirror.lab", authority, "", true),
        ("mirror.lab", authority, "/nowhere", true),
        ("mirror.lab", "/nowhere", directory, true),
        ("mirror.lab", "/nowhere", &*several, true),
        ("mirror.lab", "/nowhere", "/nowhere", false),
        ("proxy.lab", authority, directory, false),
    ] {
        let goproxy = format!("https://{host}");
        let environment =
            [("GOPROXY", &*goproxy), ("SSL_CERT_FILE", file), ("SSL_CERT_DIR", directories)];
        let document = document_in(&lab, &proxytrace, &[], &environment);
        let unknown = format!("{host} has a certificate of an unknown authority");
        let expected = if is_trusted {
            ["works", "works", "it has everything"]
        } else {
            ["fails", "fails", &*unknown]
        };
        assert_eq!(verdict(&document), expected, "{environment:?}");
    }
}
