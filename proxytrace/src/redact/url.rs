//! Secrets in URLs, and in what a server sends in the place of one.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use memchr::{memchr2_iter, memchr3};

use super::places::{Places, is_left, replace};
use super::shape::{may_have_shape, shaped};
use super::{MAX_DEPTH, REDACTED, is_secret, percent_decode};

/// An URL (or what a server sent in the place of one) without its secrets.
///
/// Userinfo becomes `REDACTED@`; the values of secret parameters in the query, the fragment and
/// the path become `REDACTED`; so does any value that is itself an URL with a secret.
pub fn url(text: &str) -> Cow<'_, str> {
    replace(text, &secrets(text, Scheme::Written, 0))
}

/// Where the secrets of an URL are, in order and apart from each other.
pub(super) fn places(text: &str) -> Places {
    apart(text, secrets(text, Scheme::Written, 0))
}

/// Like [`places`], where go adds the scheme itself: `user@host/path`.
pub(super) fn places_host_first(text: &str) -> Places {
    apart(text, secrets(text, Scheme::Implied, 0))
}

fn apart(text: &str, mut secrets: Places) -> Places {
    secrets.retain(|secret| is_left(text, secret));
    secrets.dedup_by(|next, last| next.start < last.end);
    secrets
}

/// The secrets of an URL whose scheme may be implied, as they are written there.
pub(crate) fn secrets_of_url(text: &str) -> impl Iterator<Item = &str> {
    let secrets = secrets(text, Scheme::Implied, 0).into_iter().map(|secret| &text[secret]);
    secrets.filter(|secret| !secret.is_empty() && *secret != REDACTED)
}

/// Whether a text without a scheme begins with a host.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Scheme {
    Written,
    Implied,
}

/// Where the secrets are, in order. Two may overlap; the first one counts.
fn secrets(text: &str, scheme: Scheme, depth: u8) -> Places {
    let mut found = Vec::new();
    if is_plain(text) {
        return found;
    }
    let authorities = authorities(text, scheme);
    found.extend(authorities.iter().filter_map(|start| userinfo(text, *start)));
    let tail = text.find(['?', '#']).unwrap_or(text.len());
    found.extend(first_segments(text, tail));
    let is_url = !authorities.is_empty() || text.starts_with('/');
    path_secrets(text, tail, depth, is_url, &mut found);
    for_each_piece(text, tail..text.len(), '#', |part| {
        for_each_piece(text, part, '&', |segment| found.extend(pair(text, segment, depth)));
    });
    // Last: of those that begin in one place the first one counts, and no other is shorter.
    found.extend(shaped(text));
    found.sort_by_key(|secret| secret.start);
    found
}

/// Whether a glance tells that there is no secret: no parameter, nothing encoded, no userinfo. Of what
/// go asks for nearly all is so, the `/@v/` in it included.
fn is_plain(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut others = memchr2_iter(b'%', b'@', bytes);
    memchr3(b'?', b'#', b'=', bytes).is_none()
        && others.all(|at| bytes[at] == b'@' && is_of_go(text, at))
        && !TOKEN_HOSTS.iter().any(|host| host.find(bytes).is_some())
        && !may_have_shape(text)
}

/// Whether the `@` at this place is go's own, that of `/@v/list` or of `/@latest`. Any other may end
/// userinfo, as a password may end in a slash.
fn is_of_go(text: &str, at: usize) -> bool {
    let after = &text[at + 1..];
    let is_of_host = |c: char| c.is_alphanumeric() || "-._:@/".contains(c);
    let latest = after.strip_prefix("latest").is_some_and(|rest| !rest.starts_with(is_of_host));
    text[..at].ends_with('/') && (latest || after.starts_with("v/"))
}

/// Where authorities begin: after every `://` before the query (lists of URLs, URLs as paths),
/// after a leading `//`, and where a host comes first.
fn authorities(text: &str, scheme: Scheme) -> Vec<usize> {
    let head = &text[..text.find(['?', '#']).unwrap_or(text.len())];
    let begin = head.len() - head.trim_start().len();
    let first = &head[begin..];
    let mut starts: Vec<usize> = head.match_indices("://").map(|(at, _)| at + 3).collect();
    if let Some(slashes) = after_web_scheme(first) {
        // `https:/host` and `https:\\host` are URLs with an authority to many a parser.
        starts.push(begin + slashes);
    } else if first.starts_with("//") {
        starts.push(begin + 2);
    } else if !first.starts_with('/') && !first.contains("://") {
        let authority = &first[..first.find('/').unwrap_or(first.len())];
        // An image of a container may have a tag before its digest.
        let is_userinfo = |at: usize| {
            authority[..at].contains(':') && !authority[at + 1..].starts_with("sha256:")
        };
        let named = authority.rfind('@').is_some_and(is_userinfo);
        if named || scheme == Scheme::Implied {
            starts.push(begin);
        }
    }
    starts
}

/// Length of `http:` or `https:` and the slashes after it, of either kind and any number.
fn after_web_scheme(text: &str) -> Option<usize> {
    let (scheme, rest) = text.split_once(':')?;
    let web = ["http", "https"].iter().any(|web| scheme.eq_ignore_ascii_case(web));
    let slashes = rest.len() - rest.trim_start_matches(['/', '\\']).len();
    (web && slashes > 0).then_some(scheme.len() + 1 + slashes)
}

/// The userinfo of the authority that begins at `start`, if it has one.
fn userinfo(text: &str, start: usize) -> Option<Range<usize>> {
    let rest = &text[start..];
    let authority = &rest[..rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len())];
    // As net/url does: the last `@` of the authority ends the userinfo.
    let end = match authority.rfind('@') {
        Some(end) => end,
        // A port that is no number is the first half of a password with a `/`, `?` or `#` in it.
        None if !has_valid_port(authority, &rest[authority.len()..]) => {
            rest.match_indices('@').rfind(|(at, _)| !is_of_go(rest, *at))?.0
        }
        None => return None,
    };
    Some(start..start + end)
}

/// Whether what stands after the host, if there is a colon, is a port. `rest` is what follows. From the
/// first colon, unlike [`crate::url::split_port`]: a password may have more of them.
pub(super) fn has_valid_port(authority: &str, rest: &str) -> bool {
    let after_host = authority.rfind(']').map_or(authority, |at| &authority[at..]);
    let Some((_, port)) = after_host.split_once(':') else { return true };
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    // `https://a,https://b`: the scheme of the next URL in a list.
    digits || (authority.ends_with(':') && rest.starts_with("//"))
}

/// Hosts whose paths begin with a token, and what stands there in place of one.
const TOKEN_FIRST: &[(&str, &[&str])] = &[("dl.cloudsmith.io", &["basic", "public"])];
/// Finds these hosts: each URL is searched, and to prepare the search takes as long.
static TOKEN_HOSTS: LazyLock<Vec<Finder<'static>>> =
    LazyLock::new(|| TOKEN_FIRST.iter().map(|(host, _)| Finder::new(*host)).collect());

/// The tokens that are the first segment of a path, before `end`.
fn first_segments(text: &str, end: usize) -> impl Iterator<Item = Range<usize>> {
    TOKEN_FIRST.iter().flat_map(move |(host, words)| {
        text[..end].match_indices(host).filter_map(move |(at, _)| {
            let path = at + host.len();
            let path = path + port_length(&text[path..end]);
            let segment = text[path..end].strip_prefix('/')?.split('/').next()?;
            let is_host = text[..at].is_empty() || text[..at].ends_with(['/', '@']);
            let is_token = is_host && !words.contains(&segment);
            is_token.then(|| path + 1..path + 1 + segment.len())
        })
    })
}

/// Length of `:443` at the beginning, if that is there.
fn port_length(text: &str) -> usize {
    let digits =
        text.strip_prefix(':').map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    digits.map_or(0, |rest| text.len() - rest.len())
}

/// Secrets in the path: matrix parameters (`;token=…`), pairs, and what is packed into one segment. The
/// userinfo is found already.
fn path_secrets(text: &str, end: usize, depth: u8, is_url: bool, found: &mut Places) {
    let known = found.len();
    for_each_piece(text, 0..end, '/', |segment| {
        if let Some(at) = text[segment.clone()].find(';') {
            found.extend(pair(text, segment.start + at + 1..segment.end, depth));
        }
        // As CDNs have them: `/bcdn_token=…&expires=1/x.zip`. Paths alone may have others, such as
        // those of benchmarks and of `-trimpath` (`m@v1=>m`).
        let pairs = &text[segment.clone()];
        if is_url && segment.start > 0 && pairs.contains('=') && !pairs.contains("=>") {
            for_each_piece(text, segment.clone(), '&', |field| {
                found.extend(pair(text, field, depth));
            });
        }
        if packs_a_secret(&text[segment.clone()], depth) {
            let apart = |one: &Range<usize>| one.end <= segment.start || segment.end <= one.start;
            if found[..known].iter().all(apart) {
                found.push(segment);
            }
        }
    });
}

/// Whether a segment of a path has a secret in what it encodes: in an URL, a query, or parameters.
/// What is encoded more than once [`has_secret`] decodes further, as far down as it goes.
fn packs_a_secret(segment: &str, depth: u8) -> bool {
    let decoded = percent_decode(segment);
    if decoded == segment {
        return false;
    }
    let may_have = decoded.contains("://") || decoded.contains(['%', '?', '#', ';', '&']);
    let mut found = may_have && has_secret(&decoded, depth);
    for_each_piece(&decoded, 0..decoded.len(), '&', |field| {
        let secret = pair(&decoded, field, depth);
        found |= secret.is_some_and(|secret| is_left(&decoded, &secret));
    });
    found
}

/// The secret in one `name=value` segment. Some servers end a value at `;`, some do not: names are
/// looked for after `;` (and after `?`, for URLs in values), but a secret value goes on to the end.
pub(super) fn pair(text: &str, segment: Range<usize>, depth: u8) -> Option<Range<usize>> {
    let mut start = segment.start;
    for piece in text[segment.clone()].split_inclusive([';', '?']) {
        if let Some((name, _)) = piece.split_once('=')
            && is_secret(name)
        {
            return Some(start + name.len() + 1..segment.end);
        }
        start += piece.len();
    }
    let value = segment.start + text[segment.clone()].find('=')? + 1;
    has_secret(&percent_decode(&text[value..segment.end]), depth).then_some(value..segment.end)
}

/// Whether a decoded value has a secret inside. What is nested too deep counts as one.
fn has_secret(decoded: &str, depth: u8) -> bool {
    if depth + 1 >= MAX_DEPTH {
        return decoded.contains(['=', '@', '%']);
    }
    secrets(decoded, Scheme::Written, depth + 1).iter().any(|secret| is_left(decoded, secret))
}

pub(super) fn for_each_piece(
    text: &str,
    range: Range<usize>,
    separator: char,
    mut each: impl FnMut(Range<usize>),
) {
    let mut start = range.start;
    for piece in text[range].split(separator) {
        each(start..start + piece.len());
        start += piece.len() + separator.len_utf8();
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::{
        Scheme, authorities, is_plain, places_host_first, replace, secrets_of_url, url, userinfo,
    };

    /// Text, and what must be left of it.
    const SECRETS: &[(&str, &str)] = &[
        ("https://user:pw@host/p", "https://REDACTED@host/p"),
        ("https://token@host", "https://REDACTED@host"),
        ("HTTPS://User:PW@Host/P", "HTTPS://REDACTED@Host/P"),
        ("ssh://git:pw@host:22/p", "ssh://REDACTED@host:22/p"),
        ("//user@host/p", "//REDACTED@host/p"),
        ("user:pw@host/path", "REDACTED@host/path"),
        (" \thttps://u:p@host ", " \thttps://REDACTED@host "),
        // Userinfo with separators in it.
        ("https://u:p@ss@host/@v/list", "https://REDACTED@host/@v/list"),
        ("https://u:p:q@host:8080/", "https://REDACTED@host:8080/"),
        ("https://u:p/w@host/@v/list", "https://REDACTED@host/@v/list"),
        ("https://u:p?w@host/", "https://REDACTED@host/"),
        ("https://u:p#w@host/", "https://REDACTED@host/"),
        ("https://u:/pw@host/", "https://REDACTED@host/"),
        ("https://u:pw/@host/m/@v/list", "https://REDACTED@host/m/@v/list"),
        ("https://u:pw/@host:80/m/@latest", "https://REDACTED@host:80/m/@latest"),
        ("https://u:pw/@latest.host/", "https://REDACTED@latest.host/"),
        ("https://u:\\pw@host/", "https://REDACTED@host/"),
        ("https://u://pw@host/", "https://u://REDACTED@host/"),
        ("https://u%40corp:p%2Fw@host/", "https://REDACTED@host/"),
        ("https://u:p@[::1]:8080/", "https://REDACTED@[::1]:8080/"),
        ("https:/u:p@host/", "https:/REDACTED@host/"),
        ("https:///u:p@host/", "https:///REDACTED@host/"),
        ("http:\\\\u:p@host/", "http:\\\\REDACTED@host/"),
        // Lists, and URLs as paths.
        ("https://u:p@a,https://u:p@b", "https://REDACTED@a,https://REDACTED@b"),
        ("https://a/https://u:p@b/c", "https://a/https://REDACTED@b/c"),
        ("https://a/https%3A%2F%2Fu%3Ap%40b%2F/c", "https://a/REDACTED/c"),
        ("/https%253A%252F%252Fu%253Apw%2540h/", "/REDACTED/"),
        // Queries and parameters as paths.
        (
            "https://b.s3.example/x.zip%3FX-Amz-Signature%3Dabc%26X-Amz-Security-Token%3Dt",
            "https://b.s3.example/REDACTED",
        ),
        ("/x.zip%253FX-Amz-Signature%253Dabc/y", "/REDACTED/y"),
        ("/x%26token%3Dt/y", "/REDACTED/y"),
        ("/x%3Btoken%3Dt/y", "/REDACTED/y"),
        ("/x%23access_token%3Dt", "/REDACTED"),
        ("/x/token%3Dt", "/x/REDACTED"),
        ("https://h/bcdn_token=a&expires=1/x.zip", "https://h/bcdn_token=REDACTED&expires=1/x.zip"),
        // A token as the first segment.
        (
            "https://dl.cloudsmith.io/t0k3n/o/r/go/m/@v/list",
            "https://dl.cloudsmith.io/REDACTED/o/r/go/m/@v/list",
        ),
        (
            "https://u:p@dl.cloudsmith.io:443/t0k3n",
            "https://REDACTED@dl.cloudsmith.io:443/REDACTED",
        ),
        // By its shape.
        ("https://h/ghp_0123456789abcdefghij/go", "https://h/REDACTED/go"),
        ("https://h/?a=AKCp0123456789abcdefghij", "https://h/?a=REDACTED"),
        (
            "https://h/?private_token=glpat-0123456789abcdefghij.01.x",
            "https://h/?private_token=REDACTED",
        ),
        ("https://h/?auth=ghp_0123456789abcdefghij:pw&a=b", "https://h/?auth=REDACTED&a=b"),
        ("https://h/ghp_0123456789abcdefghij%3Ftoken%3Dabc/x", "https://h/REDACTED/x"),
        ("/bcdn_token=a/x", "/bcdn_token=REDACTED/x"),
        // Parameters.
        ("https://h/?token=abc", "https://h/?token=REDACTED"),
        ("https://h/?sign=abc&t=1", "https://h/?sign=REDACTED&t=1"),
        ("https://h/?md5=abc&expires=1", "https://h/?md5=REDACTED&expires=1"),
        ("https://h/?hdnea=exp=1~acl=/*~hmac=ab", "https://h/?hdnea=REDACTED"),
        ("https://h/p?a=1&Token=abc&b=2#f", "https://h/p?a=1&Token=REDACTED&b=2#f"),
        ("/p?go-get=1&access_token=x", "/p?go-get=1&access_token=REDACTED"),
        ("?sig=a%2Fb", "?sig=REDACTED"),
        ("/p?%74oken=x&to%6ben=y", "/p?%74oken=REDACTED&to%6ben=REDACTED"),
        ("/p?token=a;b;c", "/p?token=REDACTED"),
        ("/p?a=1;token=x&b=2", "/p?a=1;token=REDACTED&b=2"),
        ("/p?token=a=b=c", "/p?token=REDACTED"),
        ("/p?token=a?b", "/p?token=REDACTED"),
        ("/cb#access_token=x&state=1", "/cb#access_token=REDACTED&state=1"),
        ("/p;jsessionid=12/q", "/p;jsessionid=REDACTED/q"),
        (
            "https://b.example/o?X-Goog-Algorithm=A&X-Goog-Credential=c%2Fd&X-Goog-Date=1&X-Goog-Signature=ff",
            "https://b.example/o?X-Goog-Algorithm=A&X-Goog-Credential=REDACTED&X-Goog-Date=1&X-Goog-Signature=REDACTED",
        ),
        // URLs in values, as they are and packed once and twice.
        ("/l?to=https://u:p@h/&b=2", "/l?to=REDACTED&b=2"),
        ("/l?to=https://h/?token=x&b=2", "/l?to=https://h/?token=REDACTED&b=2"),
        ("/l?to=https%3A%2F%2Fh%2F%3Ftoken%3Dx&b=2", "/l?to=REDACTED&b=2"),
        ("/l?to=%2Fl%3Fto%3Dhttps%253A%252F%252Fu%253Ap%2540h", "/l?to=REDACTED"),
        // Broken ones.
        ("https://u:p%zz@host/%", "https://REDACTED@host/%"),
        ("https://u:\u{fffd}\u{0}@host", "https://REDACTED@host"),
        ("https://u:p@", "https://REDACTED@"),
    ];

    const CLEAN: &[&str] = &[
        "",
        "/",
        "@",
        "?",
        "#",
        ":",
        "://",
        "https://",
        "https://@host/",
        "https://host",
        "https://host:",
        "https://host:/p",
        "https://host:8080/example.com/m/@v/v1.0.0.zip",
        "https://host/golang.org/toolchain/@v/v0.0.1-go1.27.3.linux-amd64.zip",
        "https://host/github.com/%21azure/x/@latest?go-get=1",
        "https://host/%2521azure/x/@v/v1.0.0%252Bincompatible.zip",
        "https://host/group%2Fproject/100%25/%zz%41/@v/list",
        "https://host/x.zip%3Fgo-get%3D1%26v%3D2%23f/y%3Bz%3D1",
        "https://host/x.zip%3Ftoken%3DREDACTED",
        "https://host/design%25253Dx/y%26z%3D1",
        "https://host/https%253A%252F%252Fh%253A8080%252Fp/@v/list",
        "https://h/?a=1&b=%zz&&=&c;d#frag",
        "https://h/?token=&b=1",
        "https://h/?token",
        "https://[::1]:8080/@v/list",
        "https://h:port/m/@v/list",
        "https://h:port/m/@latest",
        "https://h/@scope/m/@v/list",
        "file:///srv/a@b/c",
        "../relative/m@v1.0.0.zip",
        "example.com/m@v1.2.3",
        "git@github.com:owner/repo.git",
        "https://a/x\u{ff0c}https:/b/y",
        "https://a,https://b|direct",
        "/l?to=https%3A%2F%2Fh%2F%3Fa%3Db&c=d",
        "/l?to=https://h:8080/p",
        "\u{fffd}\u{fffd}%ff%",
        "/p?response-content-disposition=attachment%3B+filename%3Dx.zip",
        "https://h/token/a=1&b=2/x;c=d",
        "https://dl.cloudsmith.io/public/o/r/go/m/@v/list",
        "https://dl.cloudsmith.io/",
        "https://h/x-dl.cloudsmith.io/p",
        "golang:1.22@sha256:0123abcd",
        "BenchmarkSign/key=2048",
        "key=https://h/x",
        "/go/pkg/mod/h/securecookie@v1.1.1=>h/securecookie@v1.1.1;/tmp/b001=>",
    ];

    #[test]
    fn secrets_go_and_the_rest_stays() {
        for (text, clean) in SECRETS {
            assert_eq!(url(text), *clean, "{text}");
        }
    }

    #[test]
    fn without_a_secret_nothing_changes() {
        for text in CLEAN {
            assert!(matches!(url(text), Cow::Borrowed(same) if same == *text), "{text}");
        }
    }

    #[test]
    fn twice_is_once() {
        for (text, _) in SECRETS {
            let once = url(text);
            assert_eq!(url(&once), once);
        }
    }

    #[test]
    fn a_host_comes_first_where_go_adds_the_scheme() {
        for (text, clean) in [
            ("token@host/p", "REDACTED@host/p"),
            ("user:pw@host:80", "REDACTED@host:80"),
            ("host:80/p@v", "host:80/p@v"),
        ] {
            assert_eq!(replace(text, &places_host_first(text)), clean);
        }
        assert_eq!(url("token@host/p"), "token@host/p");
    }

    /// Over all texts of a few pieces that mean something here.
    #[test]
    fn where_a_glance_tells_it_there_is_nothing() {
        const PIECES: &[&str] =
            &["a", ":", "/", "@", "//", "\\", "https", "]", ",", " ", "v/", "latest"];
        let mut texts = vec![String::new()];
        let mut plain = 0;
        for _ in 0..5 {
            texts = texts
                .iter()
                .flat_map(|text| PIECES.iter().map(move |piece| format!("{text}{piece}")))
                .collect();
            for text in texts.iter().filter(|text| is_plain(text)) {
                for scheme in [Scheme::Written, Scheme::Implied] {
                    let mut userinfo =
                        authorities(text, scheme).into_iter().filter_map(|at| userinfo(text, at));
                    assert!(userinfo.all(|secret| secret.is_empty()), "{text}");
                }
                plain += 1;
            }
        }
        assert!(plain > 10_000, "{plain}");
    }

    #[test]
    fn any_prefix_and_any_suffix_is_no_panic() {
        for (text, _) in SECRETS {
            for (at, _) in text.char_indices() {
                let _ = url(&text[at..]);
                let _ = url(&text[..at]);
            }
        }
    }

    /// The authority is no segment of a path, which would be a secret with the host in it.
    #[test]
    fn encoded_userinfo_ends_before_the_host() {
        for (text, userinfo) in [
            ("https://u:p%25w@h/x", "u:p%25w"),
            ("https://u:p%3Fa%26token%3Dw@h/%2541", "u:p%3Fa%26token%3Dw"),
        ] {
            let mut secrets: Vec<&str> = secrets_of_url(text).collect();
            secrets.dedup();
            assert_eq!(secrets, [userinfo]);
        }
    }

    #[test]
    fn packed_too_deep_is_redacted_whole() {
        let mut packed = "token%3Dx".to_owned();
        for _ in 0..8 {
            packed = packed.replace('%', "%25");
        }
        assert_eq!(url(&format!("/p?a=1&to={packed}")), "/p?a=1&to=REDACTED");
        assert_eq!(url(&format!("/p/{packed}/q")), "/p/REDACTED/q");
        let mut deep = "https://h/?token=x".to_owned();
        for _ in 0..8 {
            deep = format!(
                "https://h/?to={}",
                deep.replace('%', "%25").replace('?', "%3F").replace('=', "%3D")
            );
        }
        assert_eq!(url(&deep), "https://h/?to=REDACTED");
    }
}
