//! The table: an entry a line, what it answered, what it is worth.

use super::{AnswerReport, EntryReport, Fare, Report, Verdict};
use crate::goproxy::is_keyword;
use crate::model::{Artifact, Outcome};
use crate::report::escape::{LONG, NAME, escape};
use crate::report::wrap;

const HEADS: [&str; 10] =
    ["entry", "DNS", "TCP", "TLS", "list", "info", "mod", "zip", "sumdb", "verdict"];

/// What stands between columns.
const GAP: &str = "  ";
/// Where the lines begin that belong to the one before.
const INDENT: &str = "  ";

/// The table and what follows from it: complete lines, of so many characters where that is given.
pub fn render(report: &Report, width: Option<usize>) -> String {
    let rows: Vec<[String; 10]> = report.entries.iter().chain(&report.database).map(row).collect();
    let mut text = table(&rows, width);
    for module in report.modules.iter().filter(|module| module.private) {
        let path = escape(&module.path, NAME);
        let private = format!("{path}: private (GONOPROXY); go asks its repository itself");
        text += &paragraph(&private, width, "", INDENT);
    }
    text.push('\n');
    text += &conclusion(report, width);
    text += &nothing_asked(report, width);
    text
}

/// In columns; what each entry is worth beneath it where that makes lines too long, and everything
/// where even the columns do.
fn table(rows: &[[String; 10]], width: Option<usize>) -> String {
    let widest = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([HEADS[column].len()]).max().unwrap_or_default()
    };
    let widths: [usize; 10] = std::array::from_fn(widest);
    let fits = |columns: usize| {
        let all = widths[..columns].iter().sum::<usize>() + (columns - 1) * GAP.len();
        width.is_none_or(|width| all <= width)
    };
    let columns = if fits(HEADS.len()) { HEADS.len() } else { HEADS.len() - 1 };
    let line = |cells: &[&str]| {
        let cells = cells[..columns].iter().zip(&widths);
        let cells: Vec<String> = cells.map(|(cell, &width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join(GAP).trim_end())
    };
    let in_columns = fits(columns);
    let mut text = if in_columns { line(&HEADS) } else { String::new() };
    for row in rows {
        let cells = row.each_ref().map(String::as_str);
        let [entry, .., verdict] = cells;
        let first = if in_columns { line(&cells) } else { format!("{entry}\n") };
        text += &first;
        if !in_columns {
            text += &paragraph(&pairs(&cells), width, INDENT, INDENT).replace(JOINED, " ");
        }
        if columns < HEADS.len() {
            text += &paragraph(verdict, width, INDENT, INDENT);
        }
    }
    text
}

/// A space at which no line ends.
const JOINED: &str = "\u{a0}";

/// What stands between the entry and its verdict, as text: `DNS 17 ms, TCP 0.8 ms`.
fn pairs(cells: &[&str; 10]) -> String {
    let all = HEADS.iter().zip(cells).skip(1).take(HEADS.len() - 2);
    let pairs = all.filter(|(_, cell)| **cell != dash());
    let pairs = pairs.map(|(head, cell)| format!("{head} {cell}").replace(' ', JOINED));
    pairs.collect::<Vec<_>>().join(", ")
}

/// A text on lines that fit.
fn paragraph(text: &str, width: Option<usize>, first: &str, others: &str) -> String {
    let text = match width {
        Some(width) => wrap(text, width, first.len(), others),
        None => text.to_owned(),
    };
    format!("{first}{text}\n")
}

fn row(entry: &EntryReport) -> [String; 10] {
    let cell = |artifacts: &[Artifact]| {
        let of = |artifact| entry.answers.iter().find(|answer| answer.artifact == artifact);
        artifacts.iter().copied().find_map(of).map_or_else(dash, answer)
    };
    let time = |ns: Option<u64>| ns.map_or_else(dash, crate::report::milliseconds);
    let failed = |step: Outcome| entry.answers.iter().any(|answer| answer.outcome == step);
    // What fails behind a redirect is none of the entry's host.
    let reached = entry.connect_ns.is_some();
    let name = match entry.dns_ns {
        _ if failed(Outcome::Dns) && !reached => "fails".to_owned(),
        ns => time(ns),
    };
    let refused = [Outcome::ConnectRefused, Outcome::ConnectTimeout, Outcome::Unreachable];
    let tcp = match entry.connect_ns {
        None if refused.into_iter().any(failed) => "fails".to_owned(),
        ns => time(ns),
    };
    let tls = match entry.tls_ns {
        None if entry.proxy.to_ascii_lowercase().starts_with("https:")
            && (failed(Outcome::TlsOther) || failed(Outcome::TlsUnknownAuthority)) =>
        {
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
        Verdict::Unknown => "not known",
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
        (Some(status), Outcome::Unknown) => format!("{status}?"),
        (Some(status), _) => format!("{status}!"),
        (None, Outcome::Ok) => "ok".to_owned(),
        (None, Outcome::NotFound) => "absent".to_owned(),
        (None, Outcome::Unknown) => "?".to_owned(),
        (None, _) => "fails".to_owned(),
    }
}

/// What go makes of it, and what to set.
fn conclusion(report: &Report, width: Option<usize>) -> String {
    let names = |places: &[usize]| {
        let names = places.iter().filter_map(|place| report.entries.get(*place));
        names.map(|entry| escape(&entry.proxy, NAME)).collect::<Vec<_>>().join(", ")
    };
    let open = report.entries.iter().chain(&report.database).any(is_open);
    let depends_with = depends(open, &report.goproxy_to_use);
    let depends = depends(open, &report.goproxy);
    let say = match (report.works, report.modules.is_empty()) {
        (Fare::Works, true) => "the first entry that go asks answers",
        (Fare::Works, false) => "go gets everything that was asked for",
        (Fare::Unknown, _) if depends == DIRECT => {
            "it depends on `direct`, where go asks the repositories themselves"
        }
        (Fare::Unknown, _) => depends,
        (Fare::Late, _) => LATE,
        (Fare::Fails, true) => "go cannot get anything with this GOPROXY",
        (Fare::Fails, false) => "go does not get everything with this GOPROXY",
    };
    let mut text = paragraph(&format!("proxytrace: {say}"), width, "", INDENT);
    let more = INDENT.repeat(2);
    if !report.kept.is_empty() {
        let kept = format!(
            "kept: {}, as without it go would ask whom it does not ask now, or nobody \
             (--allow-direct, --allow-public)",
            names(&report.kept)
        );
        text += &paragraph(&kept, width, INDENT, &more);
    }
    if report.goproxy_to_use != report.goproxy {
        let fares = match report.works_with {
            Fare::Works => "go gets everything",
            Fare::Unknown => depends_with,
            Fare::Late => LATE,
            Fare::Fails => "go still does not get everything",
        };
        let list = escape(&report.goproxy_to_use, LONG);
        let without = format!("without {}: GOPROXY={list} ({fares})", names(&report.left_out));
        text += &paragraph(&without, width, INDENT, &more);
    }
    text
}

/// Why no module was asked about, where none was.
fn nothing_asked(report: &Report, width: Option<usize>) -> String {
    let why = match (&*report.modules, &*report.files) {
        ([_, ..], _) => return String::new(),
        ([], []) => "there is no go.mod here, nor above".to_owned(),
        ([], files) => format!("{} requires nothing of others", escape(&files.join(", "), LONG)),
    };
    let said = format!("no module was asked about: {why}; name some (path@version)");
    paragraph(&said, width, INDENT, &INDENT.repeat(2))
}

const DIRECT: &str = "it depends on `direct`";
const LATE: &str = "the time was over before that was known (--timeout)";

/// Whether it is not known what an entry is worth.
fn is_open(entry: &EntryReport) -> bool {
    match entry.verdict {
        Verdict::Unknown => true,
        Verdict::NotAsked => !is_keyword(&entry.proxy),
        _ => false,
    }
}

/// What it depends on how go fares with `list`, where that is not known; `open` if that is so of an
/// entry.
fn depends(open: bool, list: &str) -> &'static str {
    if open {
        "it depends on what preflight cannot know, as it says above"
    } else if list.split([',', '|']).any(|entry| entry.trim() == "direct") {
        DIRECT
    } else {
        "it depends on whom preflight does not ask"
    }
}

#[cfg(test)]
mod tests {
    use super::{DIRECT, answer, depends, table};
    use crate::model::{Artifact, Outcome};
    use crate::preflight::AnswerReport;

    fn rows() -> Vec<[String; 10]> {
        let row = |cells: [&str; 10]| cells.map(str::to_owned);
        let (entry, mirror) = ("https://proxy.example", "https://mirror.example");
        let reason = "fails (3 times): proxy.example answered 502";
        vec![
            row([entry, "17 ms", "0.8 ms", "14 ms", "502", "502", "502", "502", "-", reason]),
            row([mirror, "0.9 ms", "0.1 ms", "2.5 ms", "200", "200", "200", "200", "-", "works"]),
        ]
    }

    #[test]
    fn what_is_not_known_has_not_failed() {
        for (status, outcome, expected) in [
            (Some(200), Outcome::Ok, "200"),
            (Some(401), Outcome::Unknown, "401?"),
            (Some(200), Outcome::BadContent, "200!"),
            (None, Outcome::Unknown, "?"),
            (None, Outcome::Reset, "fails"),
        ] {
            let report = AnswerReport { artifact: Artifact::List, outcome, status, host: None };
            assert_eq!(answer(&report), expected, "{status:?} {outcome:?}");
        }
    }

    #[test]
    fn nothing_depends_on_direct_where_it_is_not_in_the_list() {
        for (open, list, expected) in [
            (false, "https://a|direct", true),
            (false, "https://a,https://direct", false),
            (true, "https://a,direct", false),
        ] {
            assert_eq!(depends(open, list) == DIRECT, expected, "{open} {list}");
        }
    }

    #[test]
    fn what_has_no_room_goes_beneath() {
        insta::assert_snapshot!(table(&rows(), None), @r"
        entry                   DNS     TCP     TLS     list  info  mod  zip  sumdb  verdict
        https://proxy.example   17 ms   0.8 ms  14 ms   502   502   502  502  -      fails (3 times): proxy.example answered 502
        https://mirror.example  0.9 ms  0.1 ms  2.5 ms  200   200   200  200  -      works
        ");
        insta::assert_snapshot!(table(&rows(), Some(90)), @r"
        entry                   DNS     TCP     TLS     list  info  mod  zip  sumdb
        https://proxy.example   17 ms   0.8 ms  14 ms   502   502   502  502  -
          fails (3 times): proxy.example answered 502
        https://mirror.example  0.9 ms  0.1 ms  2.5 ms  200   200   200  200  -
          works
        ");
        insta::assert_snapshot!(table(&rows(), Some(44)), @r"
        https://proxy.example
          DNS 17 ms, TCP 0.8 ms, TLS 14 ms,
          list 502, info 502, mod 502, zip 502
          fails (3 times): proxy.example answered
          502
        https://mirror.example
          DNS 0.9 ms, TCP 0.1 ms, TLS 2.5 ms,
          list 200, info 200, mod 200, zip 200
          works
        ");
        for width in 44..160 {
            let table = table(&rows(), Some(width));
            assert!(table.lines().all(|line| line.chars().count() <= width), "{width}: {table}");
            for cell in rows().iter().flatten().flat_map(|cell| cell.split(' ')) {
                assert!(cell == "-" || table.contains(cell), "{width}: {cell}");
            }
        }
    }
}
