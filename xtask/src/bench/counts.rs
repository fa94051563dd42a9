//! What one traced run took, in counts for each request: they repeat where times do not.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

/// A table of `proxytrace --cost`: hits by what they record, those of emulated instructions apart
/// from those that are single-stepped, which cost twenty times as much.
pub(crate) fn table(traced: &Value, requests: u32) -> String {
    let counts = &traced["counts"];
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN) / f64::from(requests);
    let mut rows: BTreeMap<&str, [f64; 2]> = BTreeMap::new();
    let mut all = [0.0; 2];
    for probe in counts["probes"].as_array().into_iter().flatten() {
        let column = usize::from(probe["emulated"] != true);
        let hits = number(&probe["hits"]);
        rows.entry(probe["kind"].as_str().unwrap_or("?")).or_default()[column] += hits;
        all[column] += hits;
    }
    let mut text = format!("{:<22}{:>12}{:>12}\n", "hits per request", "emulated", "stepped");
    let met = rows.into_iter().filter(|(_, [emulated, stepped])| emulated + stepped > 0.0);
    for (kind, [emulated, stepped]) in met.chain([("all", all)]) {
        writeln!(text, "{kind:<22}{emulated:>12.2}{stepped:>12.2}").expect("a string takes all");
    }
    let (records, bytes) = (number(&counts["records"]), number(&counts["bytes"]));
    writeln!(text, "records per request {records:.2}, of {bytes:.0} bytes in all")
        .expect("a string takes all");
    let peak = counts["peak_memory"].as_f64().unwrap_or(f64::NAN) / 1e6;
    let (events, lost) = (&traced["capture"]["events"], &traced["capture"]["lost"]);
    writeln!(text, "peak memory {peak:.1} MB; {events} events, {lost} lost")
        .expect("a string takes all");
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hits_are_added_up_by_what_they_record() {
        let probe =
            |kind, emulated, hits| json!({"kind": kind, "emulated": emulated, "hits": hits});
        let counts = json!({
            "probes": [probe("A", true, 4), probe("A", false, 1), probe("A", true, 2), probe("B", true, 0)],
            "records": 5, "bytes": 300, "turns": 1, "peak_memory": 20_500_000,
        });
        let counts = json!({"counts": counts, "capture": {"events": 9, "lost": 0}});
        let table = table(&counts, 2);
        let rows: Vec<Vec<&str>> =
            table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[1], ["A", "3.00", "0.50"]);
        assert_eq!(rows[2], ["all", "3.00", "0.50"]);
        let end = "records per request 2.50, of 150 bytes in all\n\
                   peak memory 20.5 MB; 9 events, 0 lost\n";
        assert!(table.ends_with(end), "{table}");
    }
}
