//! One kind of finding at length, or all of them in a line each: `proxytrace explain`.

use std::fmt::Write as _;

use super::chain::word;
use crate::diagnose::{CATALOGUE, Kind};

/// Everything there is to say of a kind, in Markdown.
pub fn page(kind: &Kind) -> String {
    let Kind { code, slug, title, explanation, advice, page, links, .. } = kind;
    let severity = word(&kind.severity);
    let mut text = format!("# {code} {slug} ({severity})\n\n{title}\n\n{explanation}\n");
    if !page.trim().is_empty() {
        let _ = write!(text, "\n{}\n", page.trim());
    }
    let _ = write!(text, "\n## In short\n\n{advice}\n");
    if !links.is_empty() {
        text += "\n## See also\n\n";
        for link in *links {
            let _ = writeln!(text, "- {link}");
        }
    }
    text
}

/// All kinds, a line each.
pub fn list() -> String {
    CATALOGUE.iter().fold(String::new(), |mut text, kind| {
        let _ = writeln!(text, "{}  {:7}  {}", kind.code, word(&kind.severity), kind.title);
        text
    })
}
