//! Breaks texts into lines for a terminal.

/// The least that a line holds, however narrow the terminal.
const LEAST: usize = 20;

/// `text` on lines of at most `width` characters, of which the first has `taken` already and each
/// other begins with `indent`. A word that is longer than a line, such as a URL, stays whole, to be
/// copied.
pub(crate) fn wrap(text: &str, width: usize, taken: usize, indent: &str) -> String {
    let mut wrapped = String::with_capacity(text.len());
    let mut left = width.saturating_sub(taken).max(LEAST);
    let room = width.saturating_sub(indent.chars().count()).max(LEAST);
    let mut at = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if at > 0 && at + 1 + length > left {
            wrapped.push('\n');
            wrapped.push_str(indent);
            (at, left) = (0, room);
        } else if at > 0 {
            wrapped.push(' ');
            at += 1;
        }
        wrapped.push_str(word);
        at += length;
    }
    wrapped
}

#[cfg(test)]
mod tests {
    use super::wrap;

    #[test]
    fn lines_fit_and_words_stay_whole() {
        assert_eq!(wrap("a short text", 40, 10, "  "), "a short text");
        assert_eq!(
            wrap("one two three four five six seven eight", 24, 4, "    "),
            "one two three four\n    five six seven eight"
        );
        let url = "https://proxy.example/a/very/long/path/to/something";
        assert_eq!(wrap(&format!("see {url} there"), 30, 0, ""), format!("see\n{url}\nthere"));
        assert_eq!(wrap("", 30, 0, ""), "");
    }

    #[test]
    fn nothing_is_lost() {
        let text = "ä bb  ccc `d e` https://h/ f".repeat(9);
        for width in 0..60 {
            let wrapped = wrap(&text, width, 7, "   ");
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(words(&wrapped), words(&text), "{width}");
            let fits = |line: &str| line.chars().count() <= width.max(20 + 7);
            assert!(wrapped.lines().all(fits), "{width}: {wrapped}");
        }
    }
}
