//! Tokens that are known by their shape, wherever they stand.

use memchr::memchr3_iter;

use super::places::Places;

/// What they begin with: of `GitHub`, `GitLab`, `JFrog`, Docker and Slack.
const PREFIXES: &[&str] = &[
    "AKCp",
    "dckr_pat_",
    "ghp_",
    "gho_",
    "ghr_",
    "ghs_",
    "ghu_",
    "github_pat_",
    "glcbt-",
    "gldt-",
    "glpat-",
    "glptt-",
    "glrt-",
    "xoxb-",
    "xoxp-",
];

/// By byte: whether one of these has it before its last. That tells most dashes and underscores, of
/// which paths of modules are full, from those that one ends with.
const BEFORE_LAST: [bool; 256] = {
    let mut before = [false; 256];
    let mut at = 0;
    while at < PREFIXES.len() {
        let prefix = PREFIXES[at].as_bytes();
        before[prefix[prefix.len() - 2] as usize] = true;
        at += 1;
    }
    before
};

/// So many characters at least follow; all of these kinds have more.
const LENGTH_MIN: usize = 16;

/// Where such tokens are, in order.
pub(super) fn shaped(text: &str) -> Places {
    let mut found: Places = Vec::new();
    let mut start = 0;
    for word in text.split_inclusive(|c: char| !is_of_token(c)) {
        let token = word.trim_end_matches(|c: char| !is_of_token(c));
        let prefix = PREFIXES.iter().find(|prefix| token.starts_with(**prefix));
        if prefix.is_some_and(|prefix| token.len() >= prefix.len() + LENGTH_MIN) {
            found.push(start..start + token.len());
        }
        start += word.len();
    }
    found
}

/// Whether there may be one, at a glance.
pub(super) fn may_have_shape(text: &str) -> bool {
    let bytes = text.as_bytes();
    memchr3_iter(b'_', b'-', b'K', bytes).any(|at| {
        let (before, after) = bytes.split_at(at);
        if bytes[at] == b'K' {
            // The one that ends with neither.
            return before.ends_with(b"A") && after.starts_with(b"KCp");
        }
        before.last().is_some_and(|&last| BEFORE_LAST[usize::from(last)])
            && PREFIXES.iter().any(|prefix| bytes[..=at].ends_with(prefix.as_bytes()))
    })
}

fn is_of_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

#[cfg(test)]
mod tests {
    use super::{PREFIXES, may_have_shape, shaped};

    #[test]
    fn tokens() {
        let token = "ghp_0123456789abcdefghij";
        for text in [
            token.to_owned(),
            format!("login u password {token}\n"),
            format!("https://h/{token}/x"),
            format!("\"{token}\","),
            "a: glpat-0123456789-abcdef_ghij".to_owned(),
        ] {
            assert_eq!(shaped(&text).len(), 1, "{text}");
            assert!(may_have_shape(&text));
        }
        for prefix in PREFIXES {
            for text in [format!("{prefix}0"), format!("https://h/a-b/{prefix}0/c")] {
                assert!(may_have_shape(&text), "{text}");
            }
        }
        for text in ["-", "_", "K", "AKC", "https://h/go-x/a_b/git-c/@v/list"] {
            assert!(!may_have_shape(text), "{text}");
        }
        for text in
            ["", "ghp_", "ghp_test", "my-ghp_0123456789abcdefghij", "ghp_ 0123456789abcdefghij"]
        {
            assert!(shaped(text).is_empty(), "{text}");
        }
    }
}
