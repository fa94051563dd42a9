//! Files that exporters read are renewed, not all at once, and places are gone for a while: what
//! works goes on, and what cannot is tried again and counted.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use proxytrace::agent::exporters::{Exporters, Options};
use tempfile::TempDir;

use crate::builds::{self, FAST};
use crate::clickhouse::read;
use crate::engines::{curl, free_port, wait_for};
use crate::otlp::to;
use crate::sink::Sink;

const TOKEN: &str = "cAnArY-0123456789";

/// As a signal has the agent do it.
fn reload(exporters: &Exporters, options: &Options) -> anyhow::Result<()> {
    let (sender, receiver) = std::sync::mpsc::channel();
    exporters.reload(options.clone(), move |result| sender.send(result).unwrap());
    receiver.recv_timeout(Duration::from_secs(30)).unwrap()
}

fn served(address: &str, token: &str) -> Option<String> {
    let header = format!("Authorization: Bearer {token}");
    curl(&["--header", &header, &format!("http://{address}/metrics")])
}

fn lines(dir: &Path) -> usize {
    read(&dir.join("builds.ndjson")).lines().count()
}

#[test]
fn a_file_that_is_half_renewed_ends_nothing() {
    let directory = TempDir::new().unwrap();
    let (token, files) = (directory.path().join("token"), directory.path().join("files"));
    fs::write(&token, TOKEN).unwrap();
    let sink = Sink::start(|_| 200);
    let options = Options {
        metrics: Some("127.0.0.1:0".parse().unwrap()),
        metrics_token: Some(token.clone()),
        ndjson: Some(files.clone()),
        ..to(sink.url())
    };
    let exporters = Exporters::start_at(&options, FAST).unwrap();
    let address = exporters.metrics_address().unwrap().to_string();
    assert!(served(&address, TOKEN).is_some());
    // Somebody writes it, and has not come far.
    fs::write(&token, "x").unwrap();
    let error = reload(&exporters, &options).expect_err("no token is so short");
    assert!(format!("{error:#}").contains("token"), "{error:#}");
    let golden = builds::all();
    for build in &golden {
        exporters.observe(build.clone());
    }
    let expected = format!("proxytrace_builds_observed_total {}\n", golden.len());
    wait_for("the old port", || served(&address, TOKEN).filter(|text| text.contains(&expected)));
    wait_for("spans", || (!sink.taken("/v1/traces").is_empty()).then_some(()));
    // Now it is there.
    let renewed = TOKEN.replace('0', "9");
    fs::write(&token, &renewed).unwrap();
    reload(&exporters, &options).unwrap();
    let address = exporters.metrics_address().unwrap().to_string();
    assert!(served(&address, &renewed).is_some() && served(&address, TOKEN).is_none());
    let deliveries: BTreeMap<_, _> = exporters.finish().into_iter().collect();
    assert!(deliveries.values().all(|one| one.dropped.all() == 0), "{deliveries:#?}");
    assert_eq!(lines(&files), golden.len());
}

/// Neither what is new can be opened, nor again what was there before.
#[test]
fn what_cannot_be_opened_again_is_tried_again() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let metrics = format!("127.0.0.1:{}", free_port());
    let options = |queue: &str| Options {
        metrics: Some(metrics.parse().unwrap()),
        queue: Some(path(queue)),
        ndjson: Some(path("files")),
        ..to(nobody.clone())
    };
    let exporters = Exporters::start_at(&options("q"), FAST).unwrap();
    fs::rename(path("q"), path("elsewhere")).unwrap();
    fs::write(path("q"), "no directory").unwrap();
    fs::write(path("other"), "no directory either").unwrap();
    reload(&exporters, &options("other")).expect_err("there is no place for a queue");
    assert_eq!(served(&metrics, TOKEN), None);
    let golden = builds::all();
    for build in &golden {
        exporters.observe(build.clone());
    }
    let of = |name: &str| exporters.deliveries().into_iter().find(|one| one.0 == name).unwrap().1;
    let all = golden.len() as u64;
    wait_for("a count", || (of("intake").dropped.closed == all).then_some(()));
    assert!(exporters.failures().iter().any(|(_, _, why)| why.contains("queue")));
    fs::remove_file(path("q")).unwrap();
    let expected = format!("proxytrace_builds_observed_total {all}\n");
    wait_for("the port", || served(&metrics, TOKEN).filter(|text| text.contains(&expected)));
    exporters.observe(golden[0].clone());
    wait_for("a queue", || (of("otlp-spans").queued_bytes > Some(0)).then_some(()));
    exporters.finish();
    // Files have nothing to do with it.
    assert_eq!(lines(&path("files")), golden.len() + 1);
}
