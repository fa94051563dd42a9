//! Builds to hand over: of the golden recordings, as if they ran now.

use std::path::PathBuf;
use std::time::Duration;

use proxytrace::agent::exporters::Pace;
use proxytrace::export::{Build, Origin};
use proxytrace::model::{Artifact, Attempt, Chain, Next, Outcome};
use proxytrace_tests::golden;

/// Fast enough for a test.
pub(crate) const FAST: Pace = Pace {
    flush: Duration::from_millis(50),
    look: Duration::from_millis(20),
    textfile: Duration::from_millis(100),
    metrics: Duration::from_millis(200),
    youth: Duration::from_millis(500),
    post: Duration::from_secs(10),
    backoff: Duration::from_millis(20),
    backoff_most: Duration::from_millis(200),
    file_age: Duration::from_hours(1),
    file_bytes: 64 << 10,
    end: Duration::from_secs(20),
};

/// A build of every golden recording.
pub(crate) fn all() -> Vec<Build> {
    let origin = Origin {
        container: Some("c0ffee".to_owned()),
        pod: Some("0e9b7d6e-0000-4000-8000-000000000000".to_owned()),
        job: [("cicd.pipeline.name", "nightly".to_owned())].into(),
    };
    let build =
        |file: &PathBuf| Build { origin: origin.clone(), ..Build::new(golden::replay(file)) };
    golden::recordings().iter().map(build).collect()
}

/// The same builds, begun at this time (RFC 3339), and so other ones.
pub(crate) fn at(builds: &[Build], started_at: &str) -> Vec<Build> {
    let mut builds = builds.to_vec();
    for (number, build) in builds.iter_mut().enumerate() {
        started_at.clone_into(&mut build.trace.started_at);
        build.trace.processes[0].pid = 100_000 + u32::try_from(number).unwrap();
    }
    builds
}

/// What stands behind the path of a module where nothing is.
const NO_MODULE: &str = "/no-module";

/// Of which a longer path was looked for at once with that of a module, with `direct` at last, and is
/// none: go fetched nothing.
pub(crate) fn probed(golden: &[Build]) -> Build {
    let is_query = |chain: &&Chain| {
        let falls = chain.attempts.iter().any(|attempt| attempt.next == Some(Next::Direct));
        falls
            && matches!(chain.artifact, Artifact::List | Artifact::Latest | Artifact::Info)
            && chain.outcome == Outcome::Ok
    };
    let of = |build: &Build| build.trace.chains.iter().find(is_query).cloned();
    let (build, found) = golden.iter().find_map(|build| Some((build, of(build)?))).unwrap();
    let mut build = build.clone();
    let module = found.module.as_ref().map(|module| module.clone() + NO_MODULE);
    let mut none = Chain { id: 1_000_000, module, outcome: Outcome::NotFound, ..found };
    for attempt in &mut none.attempts {
        (attempt.outcome, attempt.requests) = (Outcome::NotFound, Vec::new());
    }
    build.trace.chains.push(none);
    build
}

/// Whether it is about a path that is no module.
pub(crate) fn is_of_none(chain: &Chain) -> bool {
    chain.module.as_deref().is_some_and(|module| module.ends_with(NO_MODULE))
}

/// Now, and some seconds ago.
pub(crate) fn ago(seconds: u64) -> String {
    let output = std::process::Command::new("date")
        .args(["--utc", "--date", &format!("{seconds} seconds ago"), "+%Y-%m-%dT%H:%M:%S.%NZ"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// All attempts of builds at modules that there are.
pub(crate) fn attempts(builds: &[Build]) -> impl Iterator<Item = &Attempt> {
    let chains = builds.iter().flat_map(|build| &build.trace.chains);
    chains.filter(|chain| !is_of_none(chain)).flat_map(|chain| &chain.attempts)
}
