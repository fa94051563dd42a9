//! What Prometheus is told of fetches and how they ended, of redirects, fallbacks and second requests is
//! what the servers saw.

use std::collections::BTreeMap;
use std::{fs, iter};

use proxytrace::export::metrics::Limits;
use proxytrace_tests::lab::Lab;
use proxytrace_tests::log::Entry;
use proxytrace_tests::scenario::{Action, Rule, Scenario, Sumdb};

use crate::running::{Agent, Build, RUN, alone, job};
use crate::truth::told_of;

/// How many values a label may have: other builds of this machine have theirs.
const VALUES: usize = 10_000;

const ENTRIES: [&str; 2] = ["https://proxy.lab", "https://mirror.lab"];

/// Whether the log of the servers tells by itself what became of each fetch: both entries are asked,
/// nobody but proxies is, and answers are whole, or a status.
fn is_told_by_its_log(scenario: &Scenario) -> bool {
    let plain = |rule: &Rule| match rule.action {
        Action::Serve | Action::Status(..) => true,
        Action::Redirect(_, to) => to.starts_with("https://") && to.ends_with("{path}"),
        _ => false,
    };
    let rules = || scenario.hosts.iter().flat_map(|host| host.rules);
    let entries = scenario.goproxy.split([',', '|']);
    scenario.is_plain()
        && entries.eq(ENTRIES)
        && scenario.since == Scenario::BASE.since
        && scenario.sumdb == Sumdb::Off
        && scenario.cached.is_empty()
        && scenario.hosts.iter().all(|host| host.trouble.is_none())
        && rules().all(plain)
}

/// Sums, by what they are of.
#[derive(Debug, Default, PartialEq)]
struct Sums {
    fetches: BTreeMap<String, usize>,
    successes: BTreeMap<String, usize>,
    /// Fetches by module.
    modules: BTreeMap<String, usize>,
    /// By the entry, and the status in the end.
    errors: BTreeMap<(String, String), usize>,
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
        for (url, answers) in &urls {
            self.redirects += usize::from(answers[0].status.is_some_and(|it| it / 100 == 3));
            let Some(entry) = ENTRIES.into_iter().find(|entry| url.starts_with(entry)) else {
                continue;
            };
            *self.fetches.entry(entry.to_owned()).or_default() += 1;
            let (module, _) = url[entry.len() + 1..].split_once("/@").expect("a file of a module");
            *self.modules.entry(unescaped(module)).or_default() += 1;
            self.resends += answers.len() - 1;
            self.fallbacks += usize::from(entry == ENTRIES[1]);
            let follow = |entry: &&Entry| Some(urls.get(entry.location.as_deref()?)?[0]);
            let last = iter::successors(Some(answers[0]), follow).take(urls.len()).last().unwrap();
            match last.status.expect("all answer") {
                200 => *self.successes.entry(entry.to_owned()).or_default() += 1,
                // To go that is absence.
                404 | 410 => {}
                status => {
                    let of = (entry.to_owned(), status.to_string());
                    *self.errors.entry(of).or_default() += 1;
                }
            }
        }
    }

    fn add(&mut self, more: Self) {
        let Sums { fetches, successes, modules, errors, redirects, fallbacks, resends } = more;
        let of_fetches = [
            (&mut self.fetches, fetches),
            (&mut self.successes, successes),
            (&mut self.modules, modules),
        ];
        for (sums, more) in of_fetches {
            for (entry, count) in more {
                *sums.entry(entry).or_default() += count;
            }
        }
        for (of, count) in errors {
            *self.errors.entry(of).or_default() += count;
        }
        self.redirects += redirects;
        self.fallbacks += fallbacks;
        self.resends += resends;
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
        let entry = |labels: &str| {
            let is_of = |entry: &&str| labels.contains(&format!("proxy=\"{entry}\""));
            ENTRIES.into_iter().find(is_of).map(str::to_owned)
        };
        let by_entry = |name| {
            let mut sums: BTreeMap<String, usize> = BTreeMap::new();
            for (entry, value) in of(name).filter_map(|(labels, n)| Some((entry(&labels)?, n))) {
                *sums.entry(entry).or_default() += value;
            }
            sums
        };
        let mut modules = BTreeMap::new();
        for (labels, value) in of("go_mod_fetch_total").filter(|it| entry(&it.0).is_some()) {
            let (_, module) = labels.split_once("module=\"").expect("it is asked for");
            let module = module.split('"').next().unwrap().to_owned();
            *modules.entry(module).or_default() += value;
        }
        let mut errors: BTreeMap<(String, String), usize> = BTreeMap::new();
        for (labels, value) in of("go_mod_fetch_errors_total") {
            let Some(entry) = entry(&labels) else { continue };
            let (_, kind) = labels.split_once("error_type=\"").unwrap();
            let kind = kind.split('"').next().unwrap().to_owned();
            *errors.entry((entry, kind)).or_default() += value;
        }
        Sums {
            fetches: by_entry("go_mod_fetch_total"),
            successes: by_entry("go_mod_fetch_success_total"),
            modules,
            errors,
            redirects: sum("go_mod_redirects_total"),
            fallbacks: sum("go_mod_fallbacks_total"),
            resends: sum("go_mod_goauth_resends_total"),
        }
    }
}

/// Capitals are `!` and the small letter in paths.
fn unescaped(module: &str) -> String {
    let mut parts = module.split("%21");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |path, part| path + &part[..1].to_uppercase() + &part[1..])
}

fn named(scenario: &Scenario) -> String {
    format!("counters-{}", scenario.name)
}

#[test]
fn what_is_counted_is_what_the_servers_saw() {
    let Some((_alone, toolchain)) = alone() else { return };
    let directory = tempfile::tempdir().unwrap();
    let textfile = directory.path().join("proxytrace.prom");
    let values = VALUES.to_string();
    let options =
        ["--sample", "1", "--metrics", "off", "--label-module", "--label-values", &values];
    let agent = Agent::start(
        &toolchain,
        &[&options[..], &["--textfile", textfile.to_str().unwrap()]].concat(),
    );
    let mut expected = Sums::default();
    let scenarios: Vec<&Scenario> =
        Scenario::all().iter().filter(|scenario| is_told_by_its_log(scenario)).collect();
    for scenario in &scenarios {
        let lab = Lab::start(scenario, &toolchain).unwrap();
        let mut command = lab.command("go");
        command.args(["mod", "download"]).envs(job(&named(scenario)));
        let output = lab.output(command).unwrap();
        assert_eq!(output.status.success(), scenario.succeeds, "{output:?}");
        agent.until("seen the build", || agent.builds_of(&named(scenario)).len() == 1);
        assert!(agent.builds_of(&named(scenario))[0].trace.capture.complete);
        expected.count(&lab.log());
    }
    eprintln!("{} scenarios: {expected:?}", scenarios.len());
    assert!(scenarios.len() >= 8 && expected.errors.len() >= 2, "{expected:?}");
    assert!(expected.redirects > 0 && expected.fallbacks > 0 && expected.resends > 0);
    let (status, builds, log) = agent.end();
    assert!(status.success(), "{log:#?}");
    let is_ours = |build: &&Build| {
        build.job.get(RUN).is_some_and(|run| scenarios.iter().any(|it| *run == named(it)))
    };
    // What else was built on this machine meanwhile was seen, too, and is in no log.
    let others: Vec<Build> = builds.into_iter().filter(|build| !is_ours(&build)).collect();
    let limits = Limits { values: VALUES, modules: Some(VALUES), ..Limits::default() };
    expected.add(Sums::read(&told_of(&others, limits)));
    assert_eq!(Sums::read(&fs::read_to_string(&textfile).unwrap()), expected);
}
