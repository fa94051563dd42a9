//! The CI job that a `go` command runs for, by an allow-list: nothing else of its environment leaves.

use std::collections::BTreeMap;

use crate::capture::environment::parse_environment;
use crate::redact;

/// The longest value that is kept, in bytes.
const VALUE_MAX: usize = 256;

/// Attributes by OpenTelemetry's names (semantic conventions, `cicd.*` and `vcs.*`).
pub type Job = BTreeMap<&'static str, String>;

const PIPELINE: &str = "cicd.pipeline.name";
const RUN: &str = "cicd.pipeline.run.id";
const RUN_URL: &str = "cicd.pipeline.run.url.full";
const TASK: &str = "cicd.pipeline.task.name";
const TASK_RUN: &str = "cicd.pipeline.task.run.id";
const TASK_URL: &str = "cicd.pipeline.task.run.url.full";
const WORKER: &str = "cicd.worker.name";
const OWNER: &str = "vcs.owner.name";
const REPOSITORY: &str = "vcs.repository.name";
const REPOSITORY_URL: &str = "vcs.repository.url.full";
const REFERENCE: &str = "vcs.ref.head.name";
const REVISION: &str = "vcs.ref.head.revision";

/// A CI system: the variable by which it is known, and what its variables say.
type System = (&'static str, &'static [(&'static str, &'static str)]);

const SYSTEMS: [System; 6] = [
    (
        "GITHUB_ACTIONS",
        &[
            ("GITHUB_WORKFLOW", PIPELINE),
            ("GITHUB_RUN_ID", RUN),
            ("GITHUB_JOB", TASK),
            ("RUNNER_NAME", WORKER),
            ("GITHUB_REPOSITORY", REPOSITORY),
            ("GITHUB_REF_NAME", REFERENCE),
            ("GITHUB_SHA", REVISION),
        ],
    ),
    (
        "GITLAB_CI",
        &[
            ("CI_PIPELINE_NAME", PIPELINE),
            ("CI_PIPELINE_ID", RUN),
            ("CI_PIPELINE_URL", RUN_URL),
            ("CI_JOB_NAME", TASK),
            ("CI_JOB_ID", TASK_RUN),
            ("CI_JOB_URL", TASK_URL),
            ("CI_RUNNER_DESCRIPTION", WORKER),
            ("CI_PROJECT_PATH", REPOSITORY),
            ("CI_PROJECT_URL", REPOSITORY_URL),
            ("CI_COMMIT_REF_NAME", REFERENCE),
            ("CI_COMMIT_SHA", REVISION),
        ],
    ),
    (
        "JENKINS_URL",
        &[
            ("JOB_NAME", PIPELINE),
            ("BUILD_ID", RUN),
            ("BUILD_URL", RUN_URL),
            ("STAGE_NAME", TASK),
            ("NODE_NAME", WORKER),
            ("GIT_URL", REPOSITORY_URL),
            ("GIT_BRANCH", REFERENCE),
            ("GIT_COMMIT", REVISION),
        ],
    ),
    (
        "CIRCLECI",
        &[
            ("CIRCLE_WORKFLOW_ID", RUN),
            ("CIRCLE_JOB", TASK),
            ("CIRCLE_WORKFLOW_JOB_ID", TASK_RUN),
            ("CIRCLE_BUILD_URL", TASK_URL),
            ("CIRCLE_PROJECT_USERNAME", OWNER),
            ("CIRCLE_PROJECT_REPONAME", REPOSITORY),
            ("CIRCLE_REPOSITORY_URL", REPOSITORY_URL),
            ("CIRCLE_BRANCH", REFERENCE),
            ("CIRCLE_SHA1", REVISION),
        ],
    ),
    (
        "BUILDKITE",
        &[
            ("BUILDKITE_PIPELINE_SLUG", PIPELINE),
            ("BUILDKITE_BUILD_ID", RUN),
            ("BUILDKITE_BUILD_URL", RUN_URL),
            ("BUILDKITE_LABEL", TASK),
            ("BUILDKITE_JOB_ID", TASK_RUN),
            ("BUILDKITE_AGENT_NAME", WORKER),
            ("BUILDKITE_REPO", REPOSITORY_URL),
            ("BUILDKITE_BRANCH", REFERENCE),
            ("BUILDKITE_COMMIT", REVISION),
        ],
    ),
    (
        "TF_BUILD",
        &[
            ("BUILD_DEFINITIONNAME", PIPELINE),
            ("BUILD_BUILDID", RUN),
            ("SYSTEM_JOBDISPLAYNAME", TASK),
            ("SYSTEM_JOBID", TASK_RUN),
            ("AGENT_NAME", WORKER),
            ("BUILD_REPOSITORY_NAME", REPOSITORY),
            ("BUILD_REPOSITORY_URI", REPOSITORY_URL),
            ("BUILD_SOURCEBRANCHNAME", REFERENCE),
            ("BUILD_SOURCEVERSION", REVISION),
        ],
    ),
];

/// What an environment says of the job; nothing outside of the CI systems that are known.
pub(in crate::capture) fn of(environment: &[u8]) -> Job {
    let variables = parse_environment(environment);
    let value = |name: &str| {
        let (_, value) = variables.iter().find(|(key, _)| key == name)?;
        Some(value.to_string_lossy()).filter(|value| !value.is_empty())
    };
    let Some((_, names)) = SYSTEMS.iter().find(|(mark, _)| value(mark).is_some()) else {
        return Job::new();
    };
    let entry = |&(variable, attribute): &(&str, &'static str)| {
        let value = value(variable)?;
        let safe = if attribute.ends_with(".url.full") {
            redact::url(&value).into_owned()
        } else {
            redact::text(&value).into_owned()
        };
        Some((attribute, safe[..safe.floor_char_boundary(VALUE_MAX)].to_owned()))
    };
    let mut job: Job = names.iter().filter_map(entry).collect();
    // An organization or a group is no part of the name (semantic conventions, `vcs.*`).
    if let Some(path) = job.get(REPOSITORY).cloned()
        && let Some((owner, name)) = path.rsplit_once('/')
    {
        job.insert(REPOSITORY, name.to_owned());
        job.insert(OWNER, owner.to_owned());
    }
    job
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_allowed_is_told() {
        let environment = b"GITLAB_CI=true\0CI_JOB_NAME=test\0CI_JOB_TOKEN=hush\0CI_JOB_URL=\
            https://u:hush@ci.example/1?private_token=hush\0CI_COMMIT_REF_NAME=\0JOB_NAME=other\0";
        let job = of(environment);
        assert_eq!(job[TASK], "test");
        assert!(job[TASK_URL].starts_with("https://"), "{job:?}");
        assert_eq!(job.len(), 2);
        assert!(!format!("{job:?}").contains("hush"), "{job:?}");
    }

    #[test]
    fn outside_of_a_ci_there_is_no_job() {
        assert!(of(b"JOB_NAME=x\0GITHUB_SHA=1\0").is_empty());
        assert!(of(b"GITHUB_ACTIONS=\0GITHUB_SHA=1\0").is_empty());
        assert!(of(b"").is_empty());
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let mut environment = b"BUILDKITE=1\0BUILDKITE_LABEL=".to_vec();
        environment.extend("é".repeat(300).bytes());
        assert_eq!(of(&environment)[TASK].len(), VALUE_MAX);
    }

    #[test]
    fn a_repository_has_an_owner() {
        for (environment, owner, name) in [
            ("GITHUB_ACTIONS=true\0GITHUB_REPOSITORY=octo/hello\0", "octo", "hello"),
            ("GITLAB_CI=true\0CI_PROJECT_PATH=group/sub/project\0", "group/sub", "project"),
            (
                "CIRCLECI=true\0CIRCLE_PROJECT_USERNAME=octo\0CIRCLE_PROJECT_REPONAME=hello\0",
                "octo",
                "hello",
            ),
        ] {
            let job = of(environment.as_bytes());
            assert_eq!((&*job[OWNER], &*job[REPOSITORY]), (owner, name));
        }
        let plain = of(b"TF_BUILD=True\0BUILD_REPOSITORY_NAME=hello\0");
        assert_eq!((plain.get(OWNER), &*plain[REPOSITORY]), (None, "hello"));
    }

    #[test]
    fn each_system_names_an_attribute_once() {
        for (mark, names) in SYSTEMS {
            let attributes: std::collections::BTreeSet<_> =
                names.iter().map(|(_, to)| to).collect();
            assert_eq!(attributes.len(), names.len(), "{mark}");
        }
    }
}
