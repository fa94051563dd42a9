//! With `-v`: names that were resolved, and connections that were made, with their times.

use super::chain::word;
use super::escape::{LONG, NAME, escape};
use super::paint::{FAILED, FRAME, Paint, STRONG};
use super::summary::{count, milliseconds};
use crate::correlate::failure::errno_words;
use crate::model::{Connection, NameLookup, RequestError, Trace};

/// What failed, if anything, stands in the last column.
struct Row {
    columns: Vec<String>,
    failure: String,
}

/// A block of names and one of connections; none where there were none.
pub(super) fn blocks(trace: &Trace, paint: Paint) -> Vec<String> {
    let names = trace.lookups.iter().map(name).collect();
    let connections = trace.connections.iter().map(connection).collect();
    [("names", names), ("connections", connections)]
        .into_iter()
        .filter(|(_, rows): &(_, Vec<Row>)| !rows.is_empty())
        .map(|(title, rows)| format!("{}\n{}", paint.on(STRONG, title), aligned(&rows, paint)))
        .collect()
}

fn name(lookup: &NameLookup) -> Row {
    let addresses = lookup.addresses.filter(|_| lookup.error.is_none());
    Row {
        columns: vec![
            escape(&lookup.host, NAME),
            lookup.duration_ns.map_or_else(|| "no answer".to_owned(), milliseconds),
            addresses.map_or_else(String::new, |number| match number {
                1 => "1 address".to_owned(),
                number => format!("{number} addresses"),
            }),
        ],
        failure: lookup.error.as_ref().map_or_else(String::new, why),
    }
}

fn connection(connection: &Connection) -> Row {
    let time = |what: &str, ns: Option<u64>| {
        ns.map_or_else(String::new, |ns| format!("{what} {}", milliseconds(ns)))
    };
    let tls = connection.tls.as_ref();
    let version = tls.and_then(|tls| tls.version.as_deref()).unwrap_or("TLS");
    let failure = match (tls.and_then(|tls| tls.error.as_ref()), connection.errno) {
        (Some(error), _) => why(error),
        (None, Some(errno)) => errno_words(errno),
        (None, None) => String::new(),
    };
    Row {
        columns: vec![
            escape(connection.host.as_deref().unwrap_or("?"), NAME),
            escape(connection.remote_addr.as_deref().unwrap_or("?"), NAME),
            time("name", connection.dns_ns),
            match connection.connect_ns {
                None => "never connected".to_owned(),
                some => time("connect", some),
            },
            time(&escape(version, NAME), connection.tls_ns),
            escape(connection.protocol.as_deref().unwrap_or(""), NAME),
            count(connection.requests as usize, "request"),
        ],
        failure,
    }
}

fn why(error: &RequestError) -> String {
    let detail = error.detail.as_deref().or(error.reason.as_deref());
    match detail.filter(|detail| !detail.is_empty()) {
        Some(detail) => escape(detail, LONG),
        None => word(&error.kind),
    }
}

/// Rows with their columns under each other; a column in which nothing stands takes no room.
fn aligned(rows: &[Row], paint: Paint) -> String {
    let columns = rows.iter().map(|row| row.columns.len()).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.columns.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let bar = paint.on(FRAME, "|");
    let mut text = String::new();
    for row in rows {
        let cells = row.columns.iter().zip(&widths).filter(|(_, width)| **width > 0);
        let cells: Vec<String> = cells.map(|(cell, width)| format!("{cell:width$}")).collect();
        let failure = paint.on(FAILED, &row.failure);
        let failure = if row.failure.is_empty() { String::new() } else { format!("  {failure}") };
        text += format!("   {bar} {}{failure}", cells.join("  ")).trim_end();
        text.push('\n');
    }
    text
}
