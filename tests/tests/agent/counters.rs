//! What Prometheus is told of fetches, redirects, fallbacks and second requests is what the servers
//! saw.

use std::collections::BTreeMap;
use std::fs;

use proxytrace::model::{Cause, Next};
use proxytrace_tests::lab::Lab;
use proxytrace_tests::log::Entry;
use proxytrace_tests::scenario::Scenario;

use crate::running::{Agent, Build, RUN, alone, job};

/// Two entries of GOPROXY each; go asks them for nothing but what it wants.
const SCENARIOS: [&str; 3] = ["redirect-404-next", "redirect-403-pipe", "bad-gateway-pipe"];
const ENTRIES: [&str; 2] = ["https://proxy.lab", "https://mirror.lab"];

/// Sums, by what they are of.
#[derive(Debug, Default, PartialEq)]
struct Sums {
    fetches: BTreeMap<String, usize>,
    redirects: usize,
    fallbacks: usize,
    resends: usize,
}

impl Sums {
    /// A URL that comes again is sent again: each is wanted once, and a second request begins with
    /// the same.
    fn count(&mut self, log: &[Entry]) {
        let mut urls: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
        for entry in log {
            urls.entry(&entry.url).or_default().push(entry);
        }
        for (url, answers) in urls {
            self.redirects += usize::from(answers[0].status.is_some_and(|it| it / 100 == 3));
            let Some(entry) = ENTRIES.into_iter().find(|entry| url.starts_with(entry)) else {
                continue;
            };
            *self.fetches.entry(entry.to_owned()).or_default() += 1;
            self.resends += answers.len() - 1;
            self.fallbacks += usize::from(entry == ENTRIES[1]);
        }
    }

    /// What else was built on this machine meanwhile was seen, too, and is in no log.
    fn add(&mut self, build: &Build) {
        for attempt in build.trace.chains.iter().flat_map(|chain| &chain.attempts) {
            if ENTRIES.contains(&&*attempt.proxy) {
                *self.fetches.entry(attempt.proxy.clone()).or_default() += 1;
            }
            let goes_on = matches!(attempt.next, Some(Next::NextEntry | Next::Direct));
            self.fallbacks += usize::from(goes_on);
            let again = attempt.requests.iter().position(|one| one.cause == Cause::AuthResend);
            let first = &attempt.requests[..again.unwrap_or(attempt.requests.len())];
            self.redirects += first.iter().filter(|one| one.location.is_some()).count();
            let resent = attempt.requests.iter().filter(|one| one.cause == Cause::AuthResend);
            self.resends += resent.count();
        }
    }

    fn read(metrics: &str) -> Self {
        let of = |name: &'static str| {
            metrics.lines().filter_map(move |line| {
                let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']))?;
                let (labels, value) = rest.rsplit_once(' ').unwrap();
                Some((labels.to_owned(), value.parse::<usize>().expect("a whole number")))
            })
        };
        let sum = |name| of(name).map(|(_, value)| value).sum();
        let mut fetches = BTreeMap::new();
        for (labels, value) in of("go_mod_fetch_total") {
            let is_of = |entry: &&str| labels.contains(&format!("proxy=\"{entry}\""));
            if let Some(entry) = ENTRIES.into_iter().find(is_of) {
                *fetches.entry(entry.to_owned()).or_default() += value;
            }
        }
        Sums {
            fetches,
            redirects: sum("go_mod_redirects_total"),
            fallbacks: sum("go_mod_fallbacks_total"),
            resends: sum("go_mod_goauth_resends_total"),
        }
    }
}

#[test]
fn what_is_counted_is_what_the_servers_saw() {
    let Some((_alone, toolchain)) = alone() else { return };
    let directory = tempfile::tempdir().unwrap();
    let textfile = directory.path().join("proxytrace.prom");
    let options = ["--sample", "1", "--metrics", "off", "--textfile", textfile.to_str().unwrap()];
    let agent = Agent::start(&toolchain, &options);
    let mut expected = Sums::default();
    for name in SCENARIOS {
        let scenario = Scenario::find(name).expect("it is in the table");
        let lab = Lab::start(scenario, &toolchain).unwrap();
        let mut command = lab.command("go");
        command.args(["mod", "download"]).envs(job(name));
        let output = lab.output(command).unwrap();
        assert_eq!(output.status.success(), scenario.succeeds, "{output:?}");
        agent.until("seen the build", || agent.builds_of(name).len() == 1);
        assert!(agent.builds_of(name)[0].trace.capture.complete);
        expected.count(&lab.log());
    }
    assert!(expected.redirects > 0 && expected.fallbacks > 0 && expected.resends > 0);
    let (status, builds, log) = agent.end();
    assert!(status.success(), "{log:#?}");
    let is_ours =
        |build: &&Build| build.job.get(RUN).is_some_and(|run| SCENARIOS.contains(&&**run));
    builds.iter().filter(|build| !is_ours(build)).for_each(|build| expected.add(build));
    assert_eq!(Sums::read(&fs::read_to_string(&textfile).unwrap()), expected);
}
