//! What takes secrets out of texts, and what makes texts printable.

use proxytrace::{redact, report, url};

use crate::assert_printable;

/// Names with rules of their own.
const HEADERS: [&str; 4] = ["Location", "Www-Authenticate", "Via", "Cookie"];
const SETTINGS: [&str; 5] = ["GOPROXY", "GOFLAGS", "GOAUTH", "NO_PROXY", "GOSUMDB"];
/// Follows a user part that is to go.
const HOST: &str = "@host.example/";
const SECRET: &str = "s3cr3t";

/// A text that may be a URL, a header, an argument or a setting.
pub(crate) fn any(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = (redact::url(&text), redact::text(&text));
    let _ = (redact::own_text(&text), redact::argument(&text));
    let arguments: Vec<&str> = text.split(' ').collect();
    assert_eq!(redact::arguments(&arguments).len(), arguments.len());
    for name in HEADERS {
        let _ = redact::header(name, &text);
    }
    for name in SETTINGS {
        let _ = redact::setting(name, &text);
    }
    // Whatever follows, a password goes; whatever came before, a token.
    assert_redacted(&format!("https://user:{SECRET}{HOST}{text}"), &text);
    if !text.contains(['?', '#', '&', ';']) {
        assert_redacted(&format!("https://host.example/{text}?x=1&token={SECRET}"), &text);
    }

    assert_printable(&report::escape::escape(&text, 64));
    if let Some(path) = url::unescape(&text) {
        // Go's own encoding of a path is undone to the same path.
        let parts = url::Parts { scheme: "https", path: &path, ..url::Parts::default() };
        let written = parts.join();
        let encoded = written.strip_prefix("https://").expect("the scheme first");
        assert_eq!(url::unescape(encoded), Some(path));
    }
}

fn assert_redacted(url: &str, input: &str) {
    let redacted = redact::url(url);
    assert!(!redacted.contains(SECRET) || input.contains(SECRET), "{redacted}");
}
