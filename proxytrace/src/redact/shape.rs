//! Tokens that are known by their shape, wherever they stand.

use memchr::{memchr2_iter, memmem};

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
    let ends = |at: usize| PREFIXES.iter().any(|prefix| bytes[..=at].ends_with(prefix.as_bytes()));
    memchr2_iter(b'_', b'-', bytes).any(ends) || memmem::find(bytes, b"AKCp").is_some()
}

fn is_of_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

#[cfg(test)]
mod tests {
    use super::{may_have_shape, shaped};

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
        for text in
            ["", "ghp_", "ghp_test", "my-ghp_0123456789abcdefghij", "ghp_ 0123456789abcdefghij"]
        {
            assert!(shaped(text).is_empty(), "{text}");
        }
    }
}
