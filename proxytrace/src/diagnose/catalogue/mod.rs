//! Everything that can be found, as data: one row a kind, in files by theme.
//!
//! From these rows come the findings, `proxytrace explain`, the list in the README and the codes of
//! the JSON schema.

mod access;
mod answers;
mod checksums;
mod configuration;
mod redirects;
mod run;
mod transport;
mod walk;

use crate::model::Severity;

/// A kind of finding.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// `PT006`; never used again for something else.
    pub code: &'static str,
    /// `redirect-target-status`.
    pub slug: &'static str,
    /// How bad it is; PT102 is a warning at times, others are lowered.
    pub severity: Severity,
    /// One line.
    pub title: &'static str,
    /// What go does, and why this is seen.
    pub explanation: &'static str,
    /// What to do.
    pub advice: &'static str,
    /// Where others have met it, or where it is documented.
    pub links: &'static [&'static str],
    /// At length, in Markdown: what is on the wire, why go behaves so, how to confirm it, how to
    /// repair it on the client and on the server.
    pub page: &'static str,
}

/// A row: code, slug, severity, title, explanation, advice, links. The page is the file of the code.
macro_rules! kind {
    (
        $code:literal, $slug:literal, $severity:ident, $title:literal, $explanation:literal,
        $advice:literal, [$($link:literal),*] $(,)?
    ) => {
        Kind {
            code: $code,
            slug: $slug,
            severity: $severity,
            title: $title,
            explanation: $explanation,
            advice: $advice,
            links: &[$($link),*],
            page: include_str!(concat!("../explain/", $code, ".md")),
        }
    };
}
use kind;

const PARTS: [&[Kind]; 8] = [
    redirects::KINDS,
    walk::KINDS,
    transport::KINDS,
    access::KINDS,
    answers::KINDS,
    checksums::KINDS,
    configuration::KINDS,
    run::KINDS,
];

const COUNT: usize = {
    let (mut count, mut part) = (0, 0);
    while part < PARTS.len() {
        count += PARTS[part].len();
        part += 1;
    }
    count
};

/// All kinds, by code.
pub const CATALOGUE: &[Kind] = &{
    let mut all = [PARTS[0][0]; COUNT];
    let (mut at, mut part) = (0, 0);
    while part < PARTS.len() {
        let mut row = 0;
        while row < PARTS[part].len() {
            all[at] = PARTS[part][row];
            at += 1;
            row += 1;
        }
        part += 1;
    }
    all
};

/// The kind with this code, in any case.
pub fn explain(code: &str) -> Option<&'static Kind> {
    CATALOGUE.iter().find(|kind| kind.code.eq_ignore_ascii_case(code))
}
