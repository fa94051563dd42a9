//! The tables for clusters: two replicas, `ZooKeeper`, and an agent that hears no answers.
//!
//! `ClickHouse`'s engine in a process is no server: it carries out nothing `ON CLUSTER`, which is
//! left out, fetches no part of another replica, and does not reach another shard.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use proxytrace::agent::exporters::{Exporters, Options, Pace};
use proxytrace::export::Build;
use proxytrace_tests::cases::{not_here, skip};
use serde_json::json;
use tempfile::TempDir;

use crate::builds::{self, FAST};
use crate::clickhouse::{ClickHouse, SHARES, TABLES, statements};
use crate::engines::{Engine, curl, engines, free_port, monitoring, wait_for};
use crate::sink::{Post, Sink};

const ON_CLUSTER: &str = " ON CLUSTER '{cluster}'";
const JARS: [&str; 5] =
    ["zookeeper.jar", "zookeeper-jute.jar", "slf4j-api.jar", "metrics-core.jar", "snappy-java.jar"];

/// Where replicas agree on who has what.
struct ZooKeeper {
    port: u16,
    _engine: Engine,
}

impl ZooKeeper {
    /// Skips aloud where it is not to be had.
    fn start(engines: &Path, directory: &Path) -> Option<Self> {
        let jars = JARS.map(|jar| engines.join("usr/share/java").join(jar));
        let mut java = Command::new("java");
        java.arg("-version").stderr(Stdio::null());
        if !jars.iter().all(|jar| jar.is_file()) || java.output().is_err() {
            skip("no ZooKeeper: `cargo xtask test` installs it");
            return None;
        }
        let port = free_port();
        fs::create_dir_all(directory).unwrap();
        let configuration = directory.join("zoo.cfg");
        let text = format!(
            "dataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n",
            directory.display(),
        );
        fs::write(&configuration, text).unwrap();
        let mut java = Command::new("java");
        java.args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-cp"]);
        // It complains that it has nowhere to log to.
        java.stderr(Stdio::null());
        java.arg(std::env::join_paths(jars).unwrap());
        java.arg("org.apache.zookeeper.server.quorum.QuorumPeerMain").arg(configuration);
        let engine = Engine::start(&mut java);
        wait_for("ZooKeeper", || {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
            // Who asks while it starts may never be answered.
            stream.set_read_timeout(Some(Duration::from_millis(500))).ok()?;
            stream.write_all(b"srvr").ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            answer.contains("Mode: standalone").then_some(())
        });
        Some(ZooKeeper { port, _engine: engine })
    }

    /// The replica of this number, of two that are the only shard.
    fn replica(&self, engines: &Path, directory: &Path, number: u16) -> ClickHouse {
        // A replica knows itself by its port, where none of these listens.
        let replicas = [1, 2].map(|number| {
            format!("<replica><host>127.0.0.1</host><port>{number}</port></replica>")
        });
        // Servers end the sessions of those with their UUID, and those in a process have none.
        let configuration = format!(
            "<clickhouse>
                <zookeeper>
                    <node><host>127.0.0.1</host><port>{}</port></node>
                    <sessions_path>/clickhouse/sessions/{number}</sessions_path>
                </zookeeper>
                <tcp_port>{number}</tcp_port>
                <macros>
                    <cluster>ci</cluster><shard>1</shard><replica>{number}</replica>
                </macros>
                <remote_servers><ci><shard>
                    <internal_replication>true</internal_replication>{}
                </shard></ci></remote_servers>
            </clickhouse>",
            self.port,
            replicas.concat(),
        );
        fs::create_dir_all(directory).unwrap();
        let path = directory.join("config.xml");
        fs::write(&path, configuration).unwrap();
        let mut server = ClickHouse::start_as(engines, &directory.join("db"), Some(&path));
        for statement in statements(&monitoring().join("clickhouse/cluster.sql")) {
            assert!(statement.contains(ON_CLUSTER), "{statement}");
            server.run(&statement.replace(ON_CLUSTER, ""));
        }
        // It would end the engine, which has no credentials for that.
        server.run("SYSTEM STOP FETCHES");
        server.database = "proxytrace_cluster";
        server
    }
}

/// A batch comes so often until its sender hears that it was taken.
const TIMES: usize = 3;

/// Hands a batch to the first replica, and again, and at last to the second; of all these answers it
/// passes on the last one alone.
fn balancer(replicas: &[ClickHouse; 2]) -> Sink {
    let urls = replicas.each_ref().map(|replica| replica.url.clone());
    let times = Mutex::new(HashMap::new());
    Sink::listen(0, None, 0, move |_, post| {
        let mut times = times.lock().unwrap();
        let time: &mut usize = times.entry(token(post)).or_default();
        let is_last = *time + 1 == TIMES;
        let url = format!("{}{}", urls[usize::from(is_last)], post.path.trim_start_matches('/'));
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&post.body).unwrap();
        let body = format!("@{}", file.path().display());
        if curl(&["--data-binary", &body, &url]).is_none() {
            return 500;
        }
        *time += 1;
        if is_last { 200 } else { 503 }
    })
}

fn token(post: &Post) -> String {
    let (_, token) = post.path.split_once("insert_deduplication_token=").unwrap();
    token.split('&').next().unwrap().to_owned()
}

fn deliver(options: &Options, builds: &[Build]) {
    // Batches as large as they are, one after the other: each is a program that inserts it, three
    // times, and a sender that gives up would not hear of the last.
    let pace = Pace {
        flush: Duration::from_secs(1),
        post: Duration::from_secs(90),
        end: Duration::from_mins(3),
        ..FAST
    };
    let exporters = Exporters::start_at(options, pace).unwrap();
    for build in builds {
        exporters.observe(build.clone());
    }
    for (name, delivery) in exporters.finish() {
        assert_eq!(delivery.dropped.all(), 0, "{name}: {delivery:?}");
    }
}

#[test]
fn a_batch_that_comes_to_two_replicas_is_stored_once() {
    if cfg!(not(target_arch = "x86_64")) {
        return not_here("replicas run in the engine for x86-64 alone");
    }
    let Some(engines) = engines() else { return };
    let directory = TempDir::new().unwrap();
    let directory = directory.path();
    let Some(keeper) = ZooKeeper::start(&engines, &directory.join("zookeeper")) else { return };
    let replicas =
        [1, 2].map(|number| keeper.replica(&engines, &directory.join(number.to_string()), number));
    for replica in &replicas {
        let state = "SELECT count(), sum(is_readonly), min(active_replicas) FROM system.replicas";
        let awake = vec![vec![json!(TABLES.len()), json!(0), json!(replicas.len())]];
        wait_for("both replicas of each table", || {
            (replica.rows("", state) == awake).then_some(())
        });
    }

    let golden = builds::all();
    let mut builds = builds::at(&golden[..6], &builds::ago(30 * 60));
    builds.extend(builds::at(&golden, &builds::ago(60)));
    for (build, share) in builds.iter_mut().zip(SHARES.into_iter().cycle()) {
        build.share = share;
    }
    let balancer = balancer(&replicas);
    let mut url = balancer.url();
    write!(url, "/?database={}&distributed_foreground_insert=1", replicas[0].database).unwrap();
    let files = directory.join("files");
    let options = replicas[0].options(&files);
    deliver(&Options { clickhouse: Some(url), ndjson: None, ..options }, &builds);
    let posts = balancer.posts();
    let batches: HashSet<String> = posts.iter().map(token).collect();
    assert!(batches.len() >= TABLES.len());
    assert_eq!(posts.len(), TIMES * batches.len(), "each batch comes so often");

    // The second stored nothing of what the first has, and knows all that it has to fetch.
    let [mut first, second] = replicas;
    assert_eq!(TABLES.map(|table| second.count(table)), [0; TABLES.len()]);
    let inserted = "SELECT table, name FROM system.parts
        WHERE database = 'proxytrace_local' AND level = 0 ORDER BY ALL";
    let queued = "SELECT table, new_part_name FROM system.replication_queue
        WHERE type = 'GET_PART' AND source_replica = '1' ORDER BY ALL";
    let inserted = first.rows("", inserted);
    assert!(inserted.len() >= TABLES.len(), "{inserted:?}");
    wait_for("the queue", || (second.rows("", queued) == inserted).then_some(()));

    // The first has what tables of one server have.
    let change = builds::ago(15 * 60)[..19].replace('T', " ");
    let has =
        |server: &ClickHouse| (TABLES.map(|table| server.count(table)), server.queries(&change));
    let of_cluster = has(&first);
    assert_eq!(of_cluster.0[0], builds.len() as u64);
    first.database = "proxytrace";
    deliver(&Options { ndjson: None, ..first.options(&files) }, &builds);
    assert_eq!(of_cluster, has(&first));
}

/// `ON CLUSTER` and all.
#[test]
fn the_schema_for_clusters_can_be_parsed() {
    let Some(engines) = engines() else { return };
    let directory = TempDir::new().unwrap();
    let server = ClickHouse::start(&engines, &directory.path().join("db"));
    let cluster = statements(&monitoring().join("clickhouse/cluster.sql"));
    assert_eq!(cluster.len(), 2 + 2 * TABLES.len());
    for statement in &cluster {
        let tree = server.run(&format!("EXPLAIN AST {statement}"));
        assert!(tree.contains("CreateQuery"), "{tree}");
    }
    // Keys and times to live are those of the tables of one server.
    let single = statements(&monitoring().join("clickhouse/schema.sql"));
    let clause = |statement: &str, begin: &str| {
        statement.lines().find(|line| line.starts_with(begin)).map(str::to_owned)
    };
    for table in TABLES {
        let of = |all: &[String], name: &str| {
            all.iter().find(|one| one.contains(name)).cloned().unwrap()
        };
        let one = of(&single, &format!("proxytrace.{table}"));
        let many = of(&cluster, &format!("proxytrace_local.{table}"));
        for begin in ["PARTITION BY", "ORDER BY", "TTL"] {
            assert_eq!(clause(&one, begin), clause(&many, begin), "{table}");
            assert!(clause(&one, begin).is_some());
        }
    }
}
