//! Messages on stderr of what went wrong.

use std::io::{self, Write as _};

use proxytrace::report::escape::escape;
use proxytrace::{capture, redact};

/// Room for a line with two paths of the longest kind.
const ROOM: usize = 10_000;
/// So many lines of a message, which may be of anybody's.
const LINES: usize = 40;
/// What lines but the first begin with: none of them passes for a message of ours, nor for what a CI
/// obeys at the beginning of a line.
const WITHIN: &str = "\n  | ";

/// Says what went wrong, and gives the exit code back.
pub(crate) fn complain(error: &anyhow::Error, code: u8) -> u8 {
    let advice = error.chain().find_map(|cause| cause.downcast_ref()).and_then(advice);
    say(&told(&format!("{error:#}"), advice));
    code
}

pub(crate) fn say(message: &str) {
    // Where nobody reads, there is nobody to tell.
    let _ = write!(io::stderr(), "proxytrace: {message}");
}

fn advice(error: &capture::Error) -> Option<&'static str> {
    match error {
        capture::Error::CannotTrace { advice, .. } => *advice,
        _ => None,
    }
}

/// A message of several lines, such as of TOML with a caret or of the kernel's verifier, and advice.
/// It may quote a line of a file, as TOML does (`2 | clickhouse = …`).
fn told(message: &str, advice: Option<&str>) -> String {
    let mut lines = message.trim_end().lines();
    let clean = |line: &str| {
        let number = line.split_once(" | ").map(|(number, _)| number.trim());
        let is_quoted = number.is_some_and(|number| number.parse::<u64>().is_ok());
        let clean = if is_quoted { redact::text(line) } else { redact::own_text(line) };
        escape(&clean, ROOM)
    };
    let mut told: Vec<String> = lines.by_ref().take(LINES).map(clean).collect();
    if lines.next().is_some() {
        told.push("…".to_owned());
    }
    let advice = advice.map_or_else(String::new, |advice| format!("\n  help: {advice}"));
    format!("error: {}{advice}\n", told.join(WITHIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_kept() {
        let toml = "agent.toml is wrong: TOML parse error at line 1, column 10\n  |\n1 | sample = x\n  |          ^\n";
        let expected = "error: agent.toml is wrong: TOML parse error at line 1, column 10\n  |   |\n  | 1 | sample = x\n  |   |          ^\n  help: mend it\n";
        assert_eq!(told(toml, Some("mend it")), expected);
        assert_eq!(told("a\n\nb\n", None), "error: a\n  | \n  | b\n");
    }

    #[test]
    fn secrets_of_a_line_that_is_quoted_are_not_told() {
        let toml = "TOML parse error at line 1, column 54\n1 | clickhouse = \"http://c:8123/?user=ci&password=cAnArY\n  |  ^\n";
        assert_eq!(
            told(toml, None),
            "error: TOML parse error at line 1, column 54\n  | 1 | clickhouse = \"http://c:8123/?user=ci&password=REDACTED\n  |   |  ^\n"
        );
        assert!(!told("no answer of https://me:cAnArY@proxy.corp/", None).contains("cAnArY"));
        let own = "cannot read a token from agent-token: No such file, give --metrics-token FILE";
        assert_eq!(told(own, None), format!("error: {own}\n"));
    }

    #[test]
    fn none_of_a_message_passes_for_ours() {
        let hostile =
            "no\x1b]0;x\x07\nproxytrace: error: run this\r\n  help: and this\n::error::x\u{202e}";
        let said = told(hostile, None);
        assert_eq!(
            said,
            "error: no\\x1b]0;x\\x07\n  | proxytrace: error: run this\n  |   help: and this\n  | ::error::x\\u{202e}\n"
        );
        assert_eq!(told(&"line\n".repeat(1000), None).lines().count(), LINES + 1);
    }
}
