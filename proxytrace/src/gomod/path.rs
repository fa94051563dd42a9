//! Paths and versions of modules, as URLs and the module cache write them: `!a` stands for `A`, so
//! that no two differ in case alone (`golang.org/x/mod/module.EscapePath`, `EscapeVersion`).
#![forbid(unsafe_code)]

use std::borrow::Cow;

/// With `!a` for `A`. What go would refuse, such as a `!` of its own, stays.
pub(crate) fn escape(plain: &str) -> String {
    plain.chars().fold(String::with_capacity(plain.len()), |mut escaped, letter| {
        if letter.is_ascii_uppercase() {
            escaped.push('!');
        }
        escaped.push(letter.to_ascii_lowercase());
        escaped
    })
}

/// With `A` for `!a`; any other `!` stays.
pub(crate) fn unescape(escaped: &str) -> Cow<'_, str> {
    if !escaped.as_bytes().contains(&b'!') {
        return Cow::Borrowed(escaped);
    }
    let mut plain = String::with_capacity(escaped.len());
    let mut chars = escaped.chars().peekable();
    while let Some(c) = chars.next() {
        match chars.peek() {
            Some(next) if c == '!' && next.is_ascii_lowercase() => {
                plain.push(next.to_ascii_uppercase());
                chars.next();
            }
            _ => plain.push(c),
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::{escape, unescape};

    #[test]
    fn capitals_are_written_as_small_letters_with_a_mark() {
        for (plain, escaped) in [
            ("", ""),
            ("x.lab/m", "x.lab/m"),
            ("github.com/Azure/goAMQP", "github.com/!azure/go!a!m!q!p"),
            ("v1.0.0-RC.1+incompatible", "v1.0.0-!r!c.1+incompatible"),
            ("x.lab/É", "x.lab/É"),
        ] {
            assert_eq!(escape(plain), escaped);
            assert_eq!(unescape(escaped), plain);
        }
        for (broken, plain) in [("!", "!"), ("a!", "a!"), ("!A!1", "!A!1"), ("!!a", "!A")] {
            assert_eq!(unescape(broken), plain);
        }
    }
}
