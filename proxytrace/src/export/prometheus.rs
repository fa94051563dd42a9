//! The text that Prometheus reads: exposition format 0.0.4.
//!
//! Scaled sums are no integers, which the crates for it want in buckets and counters; the format
//! takes any.

use std::io::{self, Write};

use super::metrics::{BUCKETS, Family, Histogram, Kind, Point, Registry};
use crate::report::escape::is_deceptive;

/// What it is, in `Content-Type`.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes all metrics.
pub fn write(registry: &Registry, output: &mut impl Write) -> io::Result<()> {
    for (family, series) in registry.families() {
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        writeln!(output, "# HELP {} {}", family.name, family.help)?;
        writeln!(output, "# TYPE {} {kind}", family.name)?;
        let names = registry.labels(family);
        for (values, point) in series {
            let labels = names.iter().copied().zip(values.iter().map(|value| &**value));
            lines(output, family, &labels.collect::<Vec<_>>(), point)?;
        }
    }
    Ok(())
}

/// How many lines a series takes, and how many bytes at most.
pub(super) fn size(family: &Family, labels: &[(&str, &str)]) -> (usize, usize) {
    /// Of a sum that is kept for years.
    const DIGITS: usize = 20;
    let (count, suffix) = match family.kind {
        Kind::Histogram => (BUCKETS.len() + 3, ("_bucket", ",le=\"+0.00\"")),
        Kind::Counter | Kind::Gauge => (1, ("", "")),
    };
    let mut text = Vec::new();
    line(&mut text, (family.name, suffix.0), labels.iter().copied(), 0.0)
        .expect("memory takes everything");
    (count, count * (text.len() + suffix.1.len() + DIGITS))
}

fn lines(
    output: &mut impl Write,
    family: &Family,
    labels: &[(&str, &str)],
    point: &Point,
) -> io::Result<()> {
    match point {
        Point::Value(value) => line(output, (family.name, ""), labels.iter().copied(), *value),
        Point::Histogram(durations) => histogram(output, family.name, labels, durations),
    }
}

fn histogram(
    output: &mut impl Write,
    name: &str,
    labels: &[(&str, &str)],
    durations: &Histogram,
) -> io::Result<()> {
    let mut within = 0.0;
    for (bound, count) in BUCKETS.iter().zip(durations.buckets) {
        within += count;
        let bound = bound.to_string();
        let labels = labels.iter().copied().chain([("le", bound.as_str())]);
        line(output, (name, "_bucket"), labels, within)?;
    }
    let all = within + durations.longer;
    line(output, (name, "_bucket"), labels.iter().copied().chain([("le", "+Inf")]), all)?;
    line(output, (name, "_sum"), labels.iter().copied(), durations.sum)?;
    line(output, (name, "_count"), labels.iter().copied(), all)
}

fn line<'a>(
    output: &mut impl Write,
    (name, suffix): (&str, &str),
    labels: impl Iterator<Item = (&'a str, &'a str)>,
    value: f64,
) -> io::Result<()> {
    write!(output, "{name}{suffix}")?;
    let mut before = '{';
    for (name, value) in labels {
        write!(output, "{before}{name}=\"")?;
        escape(output, value)?;
        output.write_all(b"\"")?;
        before = ',';
    }
    let end = if before == ',' { "}" } else { "" };
    writeln!(output, "{end} {value}")
}

/// The value of a label, in which nothing stands that a terminal obeys: what is counted may be asked
/// for by hand.
fn escape(output: &mut impl Write, value: &str) -> io::Result<()> {
    let special = |c: char| matches!(c, '\\' | '"') || c.is_control() || is_deceptive(c);
    let mut rest = value;
    while let Some((at, c)) = rest.char_indices().find(|(_, c)| special(*c)) {
        output.write_all(&rest.as_bytes()[..at])?;
        match c {
            '\n' => output.write_all(b"\\n")?,
            '"' => output.write_all(b"\\\"")?,
            '\\' if !rest[at + 1..].starts_with("u{") => output.write_all(b"\\\\")?,
            // As in the reports. What only looks so is spelled out, too: two values stay two.
            c => write!(output, "\\\\u{{{:x}}}", u32::from(c))?,
        }
        rest = &rest[at + c.len_utf8()..];
    }
    output.write_all(rest.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::Build;
    use crate::export::metrics::Limits;
    use crate::report::samples::forbidden;

    fn written(build: &Build) -> String {
        let mut registry = Registry::new(Limits::default(), 0.0);
        registry.observe(build);
        let mut bytes = Vec::new();
        write(&registry, &mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_for_each_series() {
        let build = Build { share: 0.05, ..Build::new(forbidden()) };
        let text = written(&build);
        assert!(text.contains("# TYPE go_mod_fetch_duration_seconds histogram\n"), "{text}");
        assert!(text.contains("\nproxytrace_builds_total{result=\"failure\"} 20\n"), "{text}");
        assert!(text.contains("\nproxytrace_builds_observed_total 1\n"), "{text}");
        assert!(text.contains(",le=\"+Inf\"} "), "{text}");
    }

    /// Nothing that a server or a user chooses ends a line or a value.
    #[test]
    fn values_stay_inside_of_their_quotes() {
        let mut trace = forbidden();
        trace.chains[0].attempts[0].proxy = "https://a\"} 1\nevil 1\n\\".to_owned();
        let text = written(&Build::new(trace));
        assert!(text.contains(r#"proxy="https://a\"} 1\nevil 1\n\\""#), "{text}");
        assert!(text.lines().all(|line| !line.starts_with("evil")), "{text}");
    }

    /// A server may send what looks like an escape.
    #[test]
    fn two_values_stay_two() {
        for (value, expected) in [
            ("x\u{202e}", r"x\\u{202e}"),
            (r"x\u{202e}", r"x\\u{5c}u{202e}"),
            (r"x\u{5c}u{202e}", r"x\\u{5c}u{5c}u{202e}"),
            ("x\\\u{202e}", r"x\\\\u{202e}"),
            (r"C:\users", r"C:\\users"),
        ] {
            let mut bytes = Vec::new();
            escape(&mut bytes, value).unwrap();
            assert_eq!(String::from_utf8(bytes).unwrap(), expected, "{value:?}");
        }
    }
}
