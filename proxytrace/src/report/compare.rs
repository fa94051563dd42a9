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
    let began = match side.started_at.as_str() {
        // A log does not say when it was.
        "" => String::new(),
        time => format!(", {}", escape(time, NAME)),
    };
    let exit = match side.exit_code {
        Some(code) => format!(" exited with {code}"),
        None => "; how the command ended is not known".to_owned(),
    };
    let complete = if side.complete { "" } else { "; not everything was seen of it" };
    format!("{}{began}: `{argv}`{exit}{complete}", escape(name, NAME))
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

#[cfg(test)]
mod tests {
    use super::{Options, render};
    use crate::compare::compare;
    use crate::report::samples::healthy;

    #[test]
    fn what_is_not_known_is_not_made_up() {
        let known = healthy();
        let mut log = known.clone();
        log.started_at.clear();
        (log.command.exit_code, log.capture.complete) = (None, false);
        let text = render(&compare(&known, &log), ("run", "log"), &Options::default());
        let heads: Vec<&str> = text.lines().take(2).collect();
        assert_eq!(
            heads,
            [
                "a: run, 2026-01-02T03:04:05Z: `go mod download` exited with 0",
                "b: log: `go mod download`; how the command ended is not known; not everything was \
                 seen of it",
            ]
        );
    }
}
