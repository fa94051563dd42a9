//! The words of a shell script, with the place in it of each of their bytes.

use std::ops::Range;

use super::places::Places;

/// Where words end, besides at spaces.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Apart {
    /// Nowhere: operators are parts of words, as those of an URL are that nobody has put in quotes.
    Spaces,
    /// At the operators of the shell.
    Operators,
}

/// A word as the shell hands it on: without its quotes and backslashes.
#[derive(Default)]
pub(super) struct Word {
    pub text: String,
    /// Whether quotes are around it, or around a part of it.
    pub is_quoted: bool,
    /// Operators since the word before, and ends of lines.
    pub before: Vec<char>,
    /// Where in the script each byte of the text is, its backslash included.
    places: Vec<Range<usize>>,
}

impl Word {
    /// Where in the script a part of the word is: without the quotes that are in between.
    pub(super) fn places(&self, script: &str, part: Range<usize>) -> Places {
        let mut found: Places = Vec::new();
        // By bytes, as a place may begin within a character.
        let quotes = |between: Range<usize>| {
            script.as_bytes()[between].iter().any(|byte| is_quote(char::from(*byte)))
        };
        for place in &self.places[part] {
            match found.last_mut() {
                Some(last) if !quotes(last.end..place.start) => last.end = place.end,
                _ => found.push(place.clone()),
            }
        }
        found
    }

    /// The same for several parts.
    pub(super) fn places_of(&self, script: &str, parts: Places) -> Places {
        parts.into_iter().flat_map(|part| self.places(script, part)).collect()
    }

    fn push(&mut self, at: usize, c: char) {
        self.text.push(c);
        self.places.extend((at..at + c.len_utf8()).map(|byte| byte..byte + 1));
    }

    fn push_escaped(&mut self, backslash: usize, at: usize, c: char) {
        let first = self.places.len();
        self.push(at, c);
        self.places[first].start = backslash;
    }

    fn is_there(&self) -> bool {
        self.is_quoted || !self.text.is_empty()
    }
}

pub(super) fn is_quote(c: char) -> bool {
    matches!(c, '\'' | '"' | '`')
}

/// Whether this is an operator of the shell, or a part of one: the `$` of `$(`, too.
fn is_operator(c: char, next: Option<char>) -> bool {
    matches!(c, ';' | '&' | '|' | '(' | ')' | '<' | '>') || c == '$' && next == Some('(')
}

/// The words of a script. What is in backquotes is a word, like what is in quotes. A quote that is not
/// closed goes on to the end.
pub(super) fn words(script: &str, apart: Apart) -> Vec<Word> {
    let mut words = Vec::new();
    let mut word = Word::default();
    let mut quote = None;
    let mut signs = script.char_indices().peekable();
    while let Some((at, c)) = signs.next() {
        let next = signs.peek().map(|(_, next)| *next);
        let mut ends = false;
        if quote == Some(c) {
            quote = None;
        } else if c == '\\' && next.is_some_and(|next| is_escaped(next, quote)) {
            // The backslash and the end of a line are nothing to the shell.
            if let Some((place, next)) = signs.next().filter(|(_, next)| *next != '\n') {
                word.push_escaped(at, place, next);
            }
        } else if quote.is_none() && is_quote(c) {
            quote = Some(c);
            word.is_quoted = true;
        } else {
            let is_between = apart == Apart::Operators && is_operator(c, next);
            ends = quote.is_none() && (c.is_whitespace() || is_between);
            if !ends {
                word.push(at, c);
            }
        }
        if ends {
            if word.is_there() {
                words.push(std::mem::take(&mut word));
            }
            if c == '\n' || !c.is_whitespace() {
                word.before.push(c);
            }
        }
    }
    if word.is_there() {
        words.push(word);
    }
    words
}

/// Whether a backslash takes the meaning from this sign. Before any other it stays: `printf` makes
/// lines of what is `\n` here.
fn is_escaped(c: char, quote: Option<char>) -> bool {
    match quote {
        Some('\'') => false,
        Some(_) => matches!(c, '\\' | '"' | '`' | '$' | '\n'),
        None => c.is_whitespace() || is_quote(c) || is_operator(c, None) || matches!(c, '\\' | '$'),
    }
}

#[cfg(test)]
mod tests {
    use super::{Apart, words};

    /// Words in the form `text`, those in quotes in brackets.
    fn texts(script: &str, apart: Apart) -> Vec<String> {
        let words = words(script, apart).into_iter();
        words
            .map(|word| if word.is_quoted { format!("[{}]", word.text) } else { word.text })
            .collect()
    }

    #[test]
    fn as_a_shell_sees_them() {
        for (script, expected) in [
            ("", &[][..]),
            (" \t\n", &[]),
            ("a  b\nc", &["a", "b", "c"]),
            ("'a b'c \"d\"", &["[a bc]", "[d]"]),
            (r#"a\ b "c\"d\e" 'f\'g"#, &["a b", r#"[c"d\e]"#, r"[f\g]"]),
            ("a\\\nb \"c\\\nd\"", &["ab", "[cd]"]),
            ("a;b&&c|d>e", &["a", "b", "c", "d", "e"]),
            ("X=$(a b) (c)", &["X=", "a", "b", "c"]),
            ("\"$(a 'b')\" `c d`", &["[$(a 'b')]", "[c d]"]),
            ("''", &["[]"]),
            ("a 'b c", &["a", "[b c]"]),
            (r"\n\", &[r"\n\"]),
            ("ä'ö ü'", &["[äö ü]"]),
        ] {
            assert_eq!(texts(script, Apart::Operators), expected, "{script}");
        }
        assert_eq!(texts("h/?a=1&b=(2);", Apart::Spaces), ["h/?a=1&b=(2);"]);
    }

    #[test]
    fn operators_stand_before_their_words() {
        let before: Vec<String> = words("a && b $(c d) \n e;", Apart::Operators)
            .into_iter()
            .map(|word| word.before.into_iter().collect())
            .collect();
        assert_eq!(before, ["", "&&", "$(", "", ")\n"]);
    }

    #[test]
    fn a_part_of_a_word_has_its_place() {
        let script = r#" x -H"a: \"b"c 'dä€'"#;
        let words = words(script, Apart::Operators);
        let parts = |word: usize, part| -> Vec<&str> {
            words[word].places(script, part).into_iter().map(|place| &script[place]).collect()
        };
        assert_eq!(words[1].text, r#"-Ha: "bc"#);
        assert_eq!(parts(1, 0..2), ["-H"]);
        assert_eq!(parts(1, 4..8), [r#" \"b"#, "c"]);
        assert_eq!(parts(2, 1..6), ["ä€"]);
        assert!(parts(0, 0..0).is_empty());
    }
}
