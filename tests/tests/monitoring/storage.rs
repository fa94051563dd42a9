//! What it takes to keep it, measured.
#![expect(clippy::cast_precision_loss, reason = "counts of a test are small")]

use std::collections::BTreeMap;
use std::time::Duration;

use proxytrace::agent::exporters::{Exporters, Options, Pace};
use proxytrace::export::{Host, otlp};
use tempfile::TempDir;

use crate::builds::{self, FAST};
use crate::clickhouse::{ClickHouse, number, of_table, read};
use crate::engines::{engines, monitoring, wait_for};

/// What `planning.md` counts with, measured; the same text says how.
#[test]
fn storage_is_as_planned() {
    let Some(engines) = engines() else { return };
    let directory = TempDir::new().unwrap();
    let server = ClickHouse::start(&engines, &directory.path().join("db"));
    let files = directory.path().join("files");
    let queue = Some(directory.path().join("queue"));
    let options = Options { queue, ..server.options(&files) };
    // Batches as large as they are in an hour of an agent.
    let (flush, end) = (Duration::from_secs(1), Duration::from_mins(1));
    let exporters = Exporters::start_at(&options, Pace { flush, end, ..FAST }).unwrap();
    let golden = builds::all();
    let (mut chains, mut requests, mut spans, mut noise) = (0_u64, 0_u64, 0, Noise(1));
    for copy in 0..40_u64 {
        let mut builds = builds::at(&golden, &builds::ago(60 * copy + copy * 7 % 60));
        for build in &mut builds {
            for chain in &mut build.trace.chains {
                chains += 1;
                let number = noise.next(400);
                chain.module =
                    Some(format!("github.com/organization{}/repository{number}", number % 40));
                chain.version = Some(format!("v1.{}.{}", number % 7, copy % 3));
                chain.started_ns += noise.next(1 << 33);
                noise.spoil(&mut chain.duration_ns);
                for request in chain.attempts.iter_mut().flat_map(|one| &mut one.requests) {
                    requests += 1;
                    request.remote_addr = Some(format!("192.0.2.{}:443", noise.next(16)));
                    request.started_ns += noise.next(1 << 30);
                    noise.spoil(&mut request.duration_ns);
                    noise.spoil(&mut request.ttfb_ns);
                    noise.spoil(&mut request.body_ns);
                    noise.spoil(&mut request.body_bytes);
                }
            }
            // No more at once than there is room for.
            wait_for("room", || {
                let sent = exporters.deliveries()[0].1.sent;
                (sent + 100 > copy * golden.len() as u64).then_some(())
            });
            exporters.observe(build.clone());
            spans += otlp::spans(build, &Host::default())
                .iter()
                .map(|one| one.bytes.len())
                .sum::<usize>();
        }
    }
    let deliveries: BTreeMap<_, _> = exporters.finish().into_iter().collect();
    assert!(deliveries.values().all(|one| one.dropped.all() == 0), "{deliveries:#?}");
    let plain: usize = of_table(&files, "chains").iter().map(|path| read(path).len()).sum();
    let packed: u64 = of_table(&files, "chains")
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "gz"))
        .map(|path| path.metadata().unwrap().len())
        .sum();
    server.run("OPTIMIZE TABLE proxytrace.chains FINAL");
    let stored = server.rows(
        "",
        "SELECT sum(data_compressed_bytes), sum(rows) FROM system.parts WHERE active AND database = 'proxytrace' AND table = 'chains'",
    );
    let (stored, rows) = (number(&stored[0][0]), number(&stored[0][1]));
    let per = |bytes: f64| bytes / chains as f64;
    eprintln!(
        "{chains} chains, {:.2} requests each: {:.0} bytes as lines, {:.0} packed, {:.0} in ClickHouse; \
         {:.0} as spans",
        requests as f64 / chains as f64,
        per(plain as f64),
        per(packed as f64),
        per(stored),
        per(spans as f64),
    );
    assert_eq!(Some(rows), Some(chains as f64));
    for (what, measured) in [
        ("line of JSON", per(plain as f64)),
        ("the same in files", per(packed as f64)),
        ("in ClickHouse, merged", per(stored)),
        ("spans of OTLP", per(spans as f64)),
    ] {
        let planned = planned(what);
        let close = (measured / planned - 1.0).abs() < 0.05;
        assert!(close, "planning.md says {planned} of `{what}`, and measured are {measured:.0}");
    }
}

/// The first number of a row of the table in `planning.md`.
pub(crate) fn planned(what: &str) -> f64 {
    let text = std::fs::read_to_string(monitoring().join("planning.md")).unwrap();
    let row = text.lines().find(|line| line.starts_with(&format!("| {what}")));
    let cell = row.and_then(|row| row.split(" | ").nth(1)).unwrap_or_else(|| panic!("{what}"));
    cell.split(' ').next().unwrap().replace(',', "").parse().unwrap()
}

/// Numbers that cannot be packed: times and sizes of real ones are as good as that.
struct Noise(u64);

impl Noise {
    fn next(&mut self, below: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % below
    }

    fn spoil(&mut self, value: &mut Option<u64>) {
        if let Some(value) = value {
            *value += self.next(1 << 27);
        }
    }
}
