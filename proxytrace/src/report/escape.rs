//! Makes text that came from the network, or from anybody else, safe to print.

use std::fmt::Write as _;

/// Room for any URL a person wants to see whole.
pub const LONG: usize = 1000;
/// Room for a name: a module path, a host, a proxy.
pub const NAME: usize = 200;

/// `text` in at most `room` characters, with nothing in it that a terminal obeys.
///
/// Control characters and characters that reorder or hide text become `\n`, `\x1b`, `\u{202e}`;
/// of a text that is too long the middle is left out (`…`). The bracket of `##[`, `##vso[` and
/// `##teamcity[`, which the runners of GitHub, Azure Pipelines and `TeamCity` obey anywhere in a line
/// of a log, becomes `\x5b`. All else stays.
pub fn escape(text: &str, room: usize) -> String {
    shorten(&escape_controls(text, room), room)
}

/// Escapes what is within `room` characters of either end; the middle does not matter.
fn escape_controls(text: &str, room: usize) -> String {
    let mut safe = String::with_capacity(text.len().min(8 * room));
    let mut push = |c: char| {
        let _ = match c {
            '[' if calls_a_runner(&safe) => safe.write_str("\\x5b"),
            '\n' => safe.write_str("\\n"),
            '\r' => safe.write_str("\\r"),
            '\t' => safe.write_str("\\t"),
            c if c.is_ascii_control() => write!(safe, "\\x{:02x}", u32::from(c)),
            c if is_deceptive(c) => write!(safe, "\\u{{{:x}}}", u32::from(c)),
            c => safe.write_char(c),
        };
    };
    match (text.char_indices().nth(room), text.char_indices().nth_back(room)) {
        (Some((head, _)), Some((tail, _))) if head < tail => {
            text[..head].chars().chain(text[tail..].chars()).for_each(&mut push);
        }
        _ => text.chars().for_each(&mut push),
    }
    safe
}

/// What a `[` follows where a command to a runner begins.
const RUNNERS: [&str; 3] = ["##", "##vso", "##teamcity"];

/// Whether a `[` after this begins a command. Azure's agent compares as a language does, not byte by
/// byte (`Command.cs:TryParse`): the case is left open.
fn calls_a_runner(before: &str) -> bool {
    RUNNERS.iter().any(|word| {
        let at = before.len().checked_sub(word.len());
        at.is_some_and(|at| before.as_bytes()[at..].eq_ignore_ascii_case(word.as_bytes()))
    })
}

/// Leaves out the middle of a text of more than `room` characters.
pub(super) fn shorten(text: &str, room: usize) -> String {
    let Some(excess) = text.chars().count().checked_sub(room).filter(|excess| *excess > 0) else {
        return text.to_owned();
    };
    let head = room.saturating_sub(1).div_ceil(2);
    let kept_head: String = text.chars().take(head).collect();
    let kept_tail: String = text.chars().skip(head + excess + 1).collect();
    format!("{kept_head}…{kept_tail}")
}

/// C1 controls, and what Unicode has to reorder, hide or break text: bidirectional controls,
/// zero-width and invisible characters, line separators, tags (UTS #39, UAX #9).
pub(crate) fn is_deceptive(c: char) -> bool {
    matches!(c,
        '\u{80}'..='\u{9f}'
        | '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{fffe}'..='\u{ffff}'
        | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::{LONG, escape};

    #[test]
    fn ordinary_text_stays() {
        for text in ["", "https://h/ä/模块?a=b%20", "back\\slash", "e\u{301}", "\u{fffd}"] {
            assert_eq!(escape(text, LONG), text);
        }
    }

    #[test]
    fn what_a_terminal_obeys_is_spelled_out() {
        assert_eq!(
            escape("a\u{1b}[31m\u{7}\0\r\n\t\u{7f}", LONG),
            "a\\x1b[31m\\x07\\x00\\r\\n\\t\\x7f"
        );
        assert_eq!(
            escape("\u{9b}2J\u{202e}\u{2066}\u{200b}\u{feff}", LONG),
            "\\u{9b}2J\\u{202e}\\u{2066}\\u{200b}\\u{feff}"
        );
    }

    #[test]
    fn what_a_runner_obeys_is_spelled_out() {
        assert_eq!(escape("a##[error]b #[x] ###[y", LONG), "a##\\x5berror]b #[x] ###\\x5by");
        assert_eq!(
            escape("##vso[task.complete]a ä###VsO[b", LONG),
            "##vso\\x5btask.complete]a ä###VsO\\x5bb"
        );
        assert_eq!(
            escape("ä##teamcity[setParameter name='A'] ##TeamCity[b", LONG),
            "ä##teamcity\\x5bsetParameter name='A'] ##TeamCity\\x5bb"
        );
        for text in ["#vso[x]", "vso[x]", "##vs[x]", "##vso [x]", "ävso[x]", "#teamcity[x]"] {
            assert_eq!(escape(text, LONG), text);
        }
    }

    #[test]
    fn no_control_character_survives() {
        let all: String = (0..=0x0010_ffff).filter_map(char::from_u32).collect();
        let safe = escape(&all, usize::MAX / 16);
        assert!(!safe.chars().any(char::is_control));
    }

    #[test]
    fn long_text_loses_its_middle() {
        assert_eq!(escape("abcdefghij", 10), "abcdefghij");
        assert_eq!(escape("abcdefghijk", 10), "abcde…hijk");
        assert_eq!(escape("ääääääää", 5), "ää…ää");
        assert_eq!(escape("abc", 1), "…");
        assert_eq!(escape("\n\n\n", 5), "\\n…\\n");
        for length in 0..40 {
            let text: String = ('a'..='z').cycle().take(length).collect();
            assert_eq!(escape(&text, 12).chars().count(), length.min(12));
        }
        let huge = "\u{1b}".repeat(1 << 20);
        assert_eq!(escape(&huge, 100).chars().count(), 100);
    }
}
