//! One page with everything in it: findings, the way through GOPROXY, a waterfall of all requests,
//! hosts. It needs no network, and allows itself none.
//!
//! The trace is in it as JSON, in which no `<` stands (see [`super::json`]); the script makes text
//! nodes of it and nothing else, and the policy of the page lets no other script run.

use std::io::{self, Write};

use super::terminal::{Options, render};
use super::{Format, json};
use crate::model::Trace;

/// A page that needs nothing else.
pub const FORMAT: Format = Format { name: "html", write };

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// What may run and what may dress the page: the two files, by their SHA-256.
const SCRIPT_HASH: &str = "sha256-9NiGxMRrfBCAdbqfl43ds7IDZm5dJi0kn08UZqSbvLI=";
const STYLE_HASH: &str = "sha256-9+ZlzRgwnKpnU5U2WpWT1/ThBMwyYmNl6nHt9mk5YT0=";

fn write(trace: &Trace, output: &mut dyn Write) -> io::Result<()> {
    let mut rest = PAGE;
    while let Some((before, after)) = rest.split_once("{{") {
        output.write_all(before.as_bytes())?;
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        part(name, trace, output)?;
        rest = after;
    }
    output.write_all(rest.as_bytes())
}

/// Writes what stands for a name in the page.
fn part(name: &str, trace: &Trace, output: &mut dyn Write) -> io::Result<()> {
    match name {
        "policy" => write!(
            output,
            "default-src 'none'; script-src '{SCRIPT_HASH}'; style-src '{STYLE_HASH}'; \
             base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; \
             trusted-types 'none'"
        ),
        "style" => output.write_all(STYLE.as_bytes()),
        "script" => output.write_all(SCRIPT.as_bytes()),
        "data" => json::value(trace, output),
        // For whoever lets no script run.
        _ => output.write_all(text(&render(trace, &Options::default())).as_bytes()),
    }
}

/// Text between tags.
fn text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use ring::digest::{SHA256, digest};

    use super::{FORMAT, SCRIPT, SCRIPT_HASH, STYLE, STYLE_HASH};
    use crate::model::Trace;
    use crate::report::{samples, write};

    fn page(trace: &Trace) -> String {
        let mut bytes = Vec::new();
        write(&FORMAT, trace, &mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// After a change to the page the failure says what the constants have to be.
    #[test]
    fn the_policy_names_the_files() {
        let hash = |file: &str| {
            format!("sha256-{}", BASE64_STANDARD.encode(digest(&SHA256, file.as_bytes())))
        };
        assert_eq!([SCRIPT_HASH, STYLE_HASH], [hash(SCRIPT), hash(STYLE)]);
    }

    #[test]
    fn the_trace_is_in_it() {
        let trace = samples::hostile(10);
        let page = page(&trace);
        let (_, data) = page.split_once("id=\"trace\">").unwrap();
        let (data, _) = data.split_once("</script>").unwrap();
        assert_eq!(serde_json::from_str::<Trace>(data).unwrap(), trace);
        assert!(!page.contains("{{"), "every part is filled in");
    }

    #[test]
    fn markup_stays_text() {
        let mut trace = samples::forbidden();
        let evil = "</script><script>alert(1)</script><!--<img src=x onerror=alert(1)>{{data}}";
        trace.findings[0].message = evil.into();
        trace.chains[0].attempts[0].requests[1].url = evil.into();
        trace.command.argv = vec![evil.into()];
        let (page, plain) = (page(&trace), page(&samples::forbidden()));
        for tag in ["<script", "</script", "<img", "<!--"] {
            assert_eq!(page.matches(tag).count(), plain.matches(tag).count(), "{tag}");
        }
    }

    #[test]
    fn nothing_is_fetched() {
        let page = page(&samples::healthy());
        let (head, _) = page.split_once("id=\"trace\">").unwrap();
        for reference in ["src=", "url(", "@import", "<link"] {
            assert!(!head.contains(reference) && !SCRIPT.contains("fetch("), "{reference}");
        }
    }
}
