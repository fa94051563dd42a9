//! What is different between two traces, for people.

use std::fmt::Write as _;

use super::chain::word;
use super::escape::{LONG, NAME, escape};
use super::paint::{FAILED, FAINT, FINE, Paint, STRONG};
use super::terminal::Options;
use crate::compare::{Comparison, Difference, Side, Topic};

/// How many further subjects of one difference are named.
const SUBJECTS: usize = 3;

/// The text: complete lines. `names` are those of the files.
pub fn render(comparison: &Comparison, names: (&str, &str), options: &Options) -> String {
    let paint = Paint(options.color);
    let mut text = String::new();
    for (letter, name, side) in [("a", names.0, &comparison.a), ("b", names.1, &comparison.b)] {
        let _ = writeln!(text, "{letter}: {}", head(name, side));
    }
    let Some(first) = comparison.differences.first() else {
        return text + "no difference\n";
    };
    let subject = escape(&first.subject, LONG);
    let first_words = match first.topic {
        Topic::Walk => format!("the way to {subject}"),
        Topic::Timing => format!("how long it took: {subject}"),
        topic => format!("{}: {subject}", word(&topic)),
    };
    let _ = writeln!(text, "changed first: {}", paint.on(STRONG, &first_words));
    let mut topic = None;
    for difference in &comparison.differences {
        if topic.replace(difference.topic) != Some(difference.topic) {
            let _ = writeln!(text, "\n{}", paint.on(STRONG, &word(&difference.topic)));
        }
        text += &line(difference, paint, options.verbose);
    }
    text
}

fn head(name: &str, side: &Side) -> String {
    let argv = escape(&side.argv.join(" "), NAME);
    let exit = match side.exit_code {
        Some(code) => format!("exited with {code}"),
        None => "did not end".to_owned(),
    };
    let complete = if side.complete { "" } else { "; not everything was seen of it" };
    format!("{}, {}: `{argv}` {exit}{complete}", escape(name, NAME), escape(&side.started_at, NAME))
}

fn line(difference: &Difference, paint: Paint, verbose: bool) -> String {
    let Difference { subject, also, a, b, .. } = difference;
    let room = if verbose { also.len() } else { SUBJECTS };
    let mut subjects = vec![escape(subject, LONG)];
    subjects.extend(also.iter().take(room).map(|subject| escape(subject, LONG)));
    if also.len() > room {
        subjects.push(format!("and {} more", also.len() - room));
    }
    let mut text = format!("  {}\n", subjects.join(", "));
    for (sign, style, value) in [("-", FAILED, a), ("+", FINE, b)] {
        let shown = match value {
            Some(value) => paint.on(style, &format!("{sign} {}", escape(value, 2 * LONG))),
            None => paint.on(FAINT, &format!("{sign} (not there)")),
        };
        let _ = writeln!(text, "    {shown}");
    }
    text
}
