//! Secrets wherever a user, a CI system or a server may put them, and texts that are to deceive: from
//! real builds through the agent into everything that it writes, sends, serves and logs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use proxytrace_tests::lab::Lab;
use proxytrace_tests::modules::Modules;
use proxytrace_tests::scenario::{Action, Host, Protocol, Rule, Scenario};
use serde_json::Value;

use crate::engines::{curl, free_port};
use crate::running::{Agent, alone, job};
use crate::sink::Sink;

/// What is looked for; each place has its own ending.
const CANARY: &str = "cAnArY";

const fn host(name: &'static str, rules: &'static [Rule]) -> Host {
    Host { name, protocol: Protocol::H2, rules, trouble: None }
}

/// A location that is signed, cookies, headers that tell too much.
const LEAKY: Scenario = Scenario {
    modules: Modules { prefix: "mod.lab/m", count: 2, others: &[] },
    hosts: &[
        host(
            "proxy.lab",
            &[
                Rule {
                    pattern: "*m01*.zip*",
                    action: Action::Status(
                        302,
                        &[
                            (
                                "Location",
                                "https://cAnArYuser:cAnArYpass@storage.lab/o?X-Goog-Signature=cAnArYsigned&sig=cAnArYsig&token=cAnArYtoken",
                            ),
                            ("Set-Cookie", "session=cAnArYcookie"),
                            ("WWW-Authenticate", "Bearer token=\"cAnArYchallenge\""),
                        ],
                    ),
                },
                Rule {
                    pattern: "*m02*.zip*",
                    action: Action::Status(403, &[("Set-Cookie", "session=cAnArYcookie")]),
                },
                Rule { pattern: "*", action: Action::Serve },
            ],
        ),
        host("storage.lab", &[Rule { pattern: "*", action: Action::Status(403, &[]) }]),
    ],
    succeeds: false,
    ..Scenario::BASE
};

/// Obeyed by terminals and by readers of lines: of a job's name, of an argument.
const HOSTILE: &str = "x\u{1b}[2J\u{9b}2J\r\nlevel=error msg=owned\u{202e}\"} 1\n# HELP a";

/// Everything that an agent has written, and what it was that wrote it.
fn all_of(dir: &Path, sink: &Sink, agent: &Agent, metrics: &str) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<(String, Vec<u8>)> =
        sink.posts().into_iter().map(|post| (post.path, post.body)).collect();
    let files = || -> io::Result<Vec<_>> {
        let files = files_below(dir).into_iter().chain(files_below(agent.dir()));
        files.map(|file| Ok((file.display().to_string(), fs::read(&file)?))).collect()
    };
    // One that gets its name meanwhile is read with all others once more.
    all.extend(loop {
        match files() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => break read.unwrap(),
        }
    });
    let served = curl(&[&format!("http://{metrics}/metrics")]).expect("it serves metrics");
    all.push(("metrics".to_owned(), served.into_bytes()));
    all.push(("log".to_owned(), agent.log().join("\n").into_bytes()));
    all.push(("stdout".to_owned(), agent.lines().join("\n").into_bytes()));
    all
}

/// That there is no secret in something, nor anything that is obeyed.
#[track_caller]
fn assert_inert(name: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).to_lowercase();
    if let Some(at) = text.find(&CANARY.to_lowercase()) {
        let from = text.floor_char_boundary(at.saturating_sub(200));
        panic!("{name}: …{}", &text[from..text.ceil_char_boundary(at + 60)]);
    }
    // Messages of OTLP are no text, and neither are queues of them.
    let is_text = !name.starts_with("/v1/") && !name.contains("/queue/");
    let obeyed = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    let found = String::from_utf8_lossy(bytes).find(obeyed).filter(|_| is_text);
    assert_eq!(found, None, "{name}: {:?}", String::from_utf8_lossy(bytes));
    assert!(!is_text || !text.contains("\n# help a"), "{name}");
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

#[test]
fn no_secret_leaves_and_nothing_deceives() {
    let Some((_alone, toolchain)) = alone() else { return };
    let lab = Lab::start(&LEAKY, &toolchain).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let headers = tempfile::NamedTempFile::new().unwrap();
    fs::write(headers.path(), "Authorization: Bearer cAnArYreceiver\n").unwrap();
    let headers = headers.path().to_str().unwrap();
    let sink = Sink::start(|_| 200);
    let metrics = format!("127.0.0.1:{}", free_port());
    let [files, queue, textfile] = ["files", "queue", "p.prom"].map(path);
    let (otlp, clickhouse) = (sink.url(), format!("{}/?database=p", sink.url()));
    let options = [
        ["--sample", "1"],
        ["--haste", "50"],
        ["--log-level", "debug"],
        ["--metrics", &metrics],
        ["--textfile", &textfile],
        ["--ndjson", &files],
        ["--queue", &queue],
        ["--otlp", &otlp],
        ["--otlp-headers", headers],
        ["--clickhouse", &clickhouse],
        ["--clickhouse-headers", headers],
    ];
    let mut options = options.concat();
    options.push("--label-module");
    let agent = Agent::start(&toolchain, &options);

    let secret = [
        ("GOPROXY", "https://cAnArYuser:cAnArYpass@proxy.lab/?token=cAnArYquery,https://proxy.lab"),
        ("GITHUB_TOKEN", "cAnArYjobtoken"),
        ("ACTIONS_RUNTIME_TOKEN", "cAnArYruntime"),
        ("GITHUB_JOB", HOSTILE),
        ("GITHUB_WORKFLOW", "https://me:cAnArYworkflow@ci.lab/?access_token=cAnArYaccess"),
        ("SECRET", "cAnArYenvironment"),
    ];
    for (name, arguments) in [
        ("download", &["mod", "download"][..]),
        ("argument", &["list", "-m", "https://me:cAnArYargument@mod.lab/m?token=cAnArYargument"]),
        ("hostile", &["list", "-m", HOSTILE]),
    ] {
        let mut command = lab.command("go");
        command.args(arguments).envs(secret).envs(job(name));
        assert!(!lab.output(command).unwrap().status.success());
        agent.until("seen the build", || agent.builds_of(name).len() == 1);
    }
    // The secrets were under way: without that, that none came out says nothing.
    let asked = lab.log();
    let leaked = asked.iter().filter_map(|entry| entry.location.as_deref());
    assert!(leaked.filter(|location| location.contains(CANARY)).count() > 0);
    let inserted = |table: &str| {
        let into = format!("INTO+{table}+");
        sink.posts().into_iter().filter(|post| post.path.contains(&into)).collect::<Vec<_>>()
    };
    let rows_of = |table: &str| -> Vec<Value> {
        let bodies = inserted(table).into_iter().map(|post| String::from_utf8(post.body).unwrap());
        let lines = bodies.flat_map(|body| body.lines().map(str::to_owned).collect::<Vec<_>>());
        lines.map(|line| serde_json::from_str(&line).expect("a row a line")).collect()
    };
    let ours = |row: &&Value| row["job"]["cicd.pipeline.run.id"].is_string();
    agent.until("sent all rows", || rows_of("builds").iter().filter(ours).count() == 3);
    agent.until("sent findings", || !inserted("findings").is_empty());
    agent.until("sent spans", || !sink.taken("/v1/traces").is_empty());
    agent.until("sent logs", || !sink.taken("/v1/logs").is_empty());
    agent.until("counted them", || {
        let text = fs::read_to_string(&textfile).unwrap_or_default();
        text.contains("go_mod_fetch_errors_total{")
    });

    let all = all_of(dir.path(), &sink, &agent, &metrics);
    let named =
        |part: &str| all.iter().any(|(name, bytes)| name.contains(part) && !bytes.is_empty());
    for part in ["builds.ndjson", "chains.ndjson", "findings.ndjson", "p.prom", "state.json"] {
        assert!(named(part), "no {part}");
    }
    for (name, bytes) in &all {
        assert_inert(name, bytes);
    }
    // A line of the log is one: each begins with its time.
    for line in agent.log() {
        assert!(line.starts_with("time="), "{line}");
    }
    // What is meant is still there: for those who group by it.
    let rows = rows_of("builds");
    let of_run = |run: &str| rows.iter().find(|row| row["job"]["cicd.pipeline.run.id"] == run);
    assert_eq!(of_run("hostile").unwrap()["job"]["cicd.pipeline.task.name"], HOSTILE);
    let spans = sink.taken("/v1/traces");
    let whole = |post: &crate::sink::Post| ExportTraceServiceRequest::decode(&*post.body).is_ok();
    assert!(spans.iter().all(whole));
    assert!(
        sink.posts().iter().all(|post| {
            post.headers.contains(&"authorization: Bearer cAnArYreceiver".to_owned())
        })
    );
    let (status, _, log) = agent.end();
    assert!(status.success(), "{log:#?}");
}
