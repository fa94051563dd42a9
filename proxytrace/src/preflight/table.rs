//! The table: an entry a line, what it answered, what it is worth.

use std::fmt::Write as _;

use super::{AnswerReport, EntryReport, Fare, Report, Verdict};
use crate::model::{Artifact, Outcome};
use crate::report::escape::{LONG, NAME, escape};

const HEADS: [&str; 10] =
    ["entry", "DNS", "TCP", "TLS", "list", "info", "mod", "zip", "sumdb", "verdict"];

/// The table and what follows from it: complete lines.
pub fn render(report: &Report) -> String {
    let rows: Vec<[String; 10]> = report.entries.iter().chain(&report.database).map(row).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([HEADS[column].len()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..HEADS.len()).map(width).collect();
    let mut text = String::new();
    let mut line = |cells: &[&str]| {
        let cells = cells.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    };
    line(&HEADS);
    for row in &rows {
        line(&row.each_ref().map(String::as_str));
    }
    for module in report.modules.iter().filter(|module| module.private) {
        let path = escape(&module.path, NAME);
        let _ = writeln!(text, "{path}: private (GONOPROXY); go asks its repository itself");
    }
    text.push('\n');
    text += &conclusion(report);
    text
}

fn row(entry: &EntryReport) -> [String; 10] {
    let cell = |artifacts: &[Artifact]| {
        let of = |artifact| entry.answers.iter().find(|answer| answer.artifact == artifact);
        artifacts.iter().copied().find_map(of).map_or_else(dash, answer)
    };
    let time = |ns: Option<u64>| ns.map_or_else(dash, crate::report::milliseconds);
    let failed = |step: Outcome| entry.answers.iter().any(|answer| answer.outcome == step);
    let name = if failed(Outcome::Dns) { "fails".to_owned() } else { time(entry.dns_ns) };
    let refused = [Outcome::ConnectRefused, Outcome::ConnectTimeout, Outcome::Unreachable];
    let tcp = match entry.connect_ns {
        None if refused.into_iter().any(failed) => "fails".to_owned(),
        ns => time(ns),
    };
    let tls = match entry.tls_ns {
        None if failed(Outcome::TlsOther) || failed(Outcome::TlsUnknownAuthority) => {
            "fails".to_owned()
        }
        ns => time(ns),
    };
    let again = match (entry.verdict, entry.failures) {
        (Verdict::Fails, times @ 2..) => format!(" ({times} times)"),
        (Verdict::Works | Verdict::Partly, 1) => " (after a failure)".to_owned(),
        (Verdict::Works | Verdict::Partly, times @ 2..) => format!(" (after {times} failures)"),
        _ => String::new(),
    };
    let verdict = match entry.verdict {
        Verdict::Works => "works",
        Verdict::Partly => "partly",
        Verdict::Absent => "absent",
        Verdict::Fails => "fails",
        Verdict::NotAsked => "not asked",
    };
    let reason = escape(&entry.reason, LONG);
    [
        escape(&entry.proxy, NAME),
        name,
        tcp,
        tls,
        cell(&[Artifact::List, Artifact::Latest]),
        cell(&[Artifact::Info]),
        cell(&[Artifact::Mod]),
        cell(&[Artifact::Zip]),
        cell(&[Artifact::SumdbSupported, Artifact::SumdbLookup]),
        format!("{verdict}{again}: {reason}"),
    ]
}

fn dash() -> String {
    "-".to_owned()
}

fn answer(answer: &AnswerReport) -> String {
    match (answer.status, answer.outcome) {
        (Some(status), Outcome::Ok | Outcome::NotFound | Outcome::HttpError) => status.to_string(),
        (Some(status), _) => format!("{status}!"),
        (None, Outcome::Ok) => "ok".to_owned(),
        (None, Outcome::NotFound) => "absent".to_owned(),
        (None, _) => "fails".to_owned(),
    }
}

/// What go makes of it, and what to set.
fn conclusion(report: &Report) -> String {
    let mut text = String::new();
    let names = |places: &[usize]| {
        let names = places.iter().filter_map(|place| report.entries.get(*place));
        names.map(|entry| escape(&entry.proxy, NAME)).collect::<Vec<_>>().join(", ")
    };
    let say = match (report.works, report.modules.is_empty()) {
        (Fare::Works, true) => "the first entry that go asks answers",
        (Fare::Works, false) => "go gets everything that was asked for",
        (Fare::Unknown, _) => "it depends on `direct`, where go asks the repositories themselves",
        (Fare::Fails, true) => "go cannot get anything with this GOPROXY",
        (Fare::Fails, false) => "go does not get everything with this GOPROXY",
    };
    let _ = writeln!(text, "proxytrace: {say}");
    if !report.kept.is_empty() {
        let _ = writeln!(
            text,
            "  kept: {}, as without it go would ask whom it does not ask now, or nobody \
             (--allow-direct, --allow-public)",
            names(&report.kept)
        );
    }
    if report.goproxy_to_use != report.goproxy {
        let fares = match report.works_with {
            Fare::Works => "go gets everything",
            Fare::Unknown => "it depends on `direct`",
            Fare::Fails => "go still does not get everything",
        };
        let list = escape(&report.goproxy_to_use, LONG);
        let _ = writeln!(text, "  without {}: GOPROXY={list} ({fares})", names(&report.left_out));
    }
    text
}
