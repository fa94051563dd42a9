use super::argument::argument;
use super::url::{has_valid_port, host_first_url};
use super::{REDACTED, is_secret};

/// Writes a value without its secrets.
pub(super) type Writing = fn(&str) -> String;

/// How the value of a setting is written, by name; lower-case names are go's alternatives.
const SETTINGS: &[(&str, Writing)] = &[
    ("GOPROXY", proxy_list),
    ("GOAUTH", commands),
    ("HTTP_PROXY", proxy_list),
    ("HTTPS_PROXY", proxy_list),
    ("ALL_PROXY", proxy_list),
    ("http_proxy", proxy_list),
    ("https_proxy", proxy_list),
    ("all_proxy", proxy_list),
];

/// The value of an environment variable or a go setting without its secrets.
///
/// Lists keep their separators and spaces; of `GOAUTH` the names of the commands are left.
pub fn setting(name: &str, value: &str) -> String {
    match writing(name) {
        Some(write) => write(value),
        None if is_secret(name) && !value.is_empty() => REDACTED.to_owned(),
        None => argument(value),
    }
}

/// How the value of the setting is written, if it has a writing of its own.
pub(super) fn writing(name: &str) -> Option<Writing> {
    SETTINGS.iter().find(|(known, _)| *known == name).map(|(_, write)| *write)
}

fn proxy_list(value: &str) -> String {
    map_pieces(value, &[',', '|'], proxy_entry)
}

fn proxy_entry(entry: &str) -> String {
    let clean = host_first_url(entry);
    let start = clean.find("://").map_or(0, |at| at + 3);
    let end = clean[start..].find(['/', '\\', '?', '#']).map_or(clean.len(), |at| start + at);
    let (authority, rest) = (&clean[start..end], &clean[end..]);
    match authority.split_once(':') {
        // A port that is no number is half a password: the other half is after a comma.
        Some((host, port))
            if !port.is_empty() && !authority.contains('@') && !has_valid_port(authority, rest) =>
        {
            format!("{}{host}:{REDACTED}{rest}", &clean[..start])
        }
        _ => clean.into_owned(),
    }
}

fn commands(value: &str) -> String {
    map_pieces(value, &[';'], |command| {
        let begin = command.len() - command.trim_start().len();
        let name = command.split_whitespace().next().unwrap_or_default();
        format!("{}{name}", &command[..begin])
    })
}

/// Maps what stands between separators; the separators stay.
fn map_pieces(text: &str, separators: &[char], map: impl Fn(&str) -> String) -> String {
    text.split_inclusive(separators)
        .map(|piece| {
            let content = piece.strip_suffix(separators).unwrap_or(piece);
            map(content) + &piece[content.len()..]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::setting;

    #[test]
    fn settings() {
        for (name, value, clean) in [
            ("GOPROXY", "https://proxy.golang.org,direct", "https://proxy.golang.org,direct"),
            (
                "GOPROXY",
                "https://u:p@a/x | user:pw@b/y, token@c|goproxy.cn,,off",
                "https://REDACTED@a/x | REDACTED@b/y, REDACTED@c|goproxy.cn,,off",
            ),
            ("GOPROXY", "https://a/?token=x,direct", "https://a/?token=REDACTED,direct"),
            ("GOPROXY", "https://user:pa,ss@host/p", "https://user:REDACTED,REDACTED@host/p"),
            ("GOPROXY", "https://u:pw/@a/x,direct", "https://REDACTED@a/x,direct"),
            ("GOPROXY", "https://a:8080,[::1]:80|direct", "https://a:8080,[::1]:80|direct"),
            (
                "GOPROXY",
                "https://a/x\u{ff0c}https://u:p@b",
                "https://a/x\u{ff0c}https://REDACTED@b",
            ),
            ("GOPROXY", "file:///srv/a@b", "file:///srv/a@b"),
            ("GOPROXY", "/srv/a:b@c", "/srv/a:b@c"),
            ("HTTPS_PROXY", "user:pw@squid:3128", "REDACTED@squid:3128"),
            ("https_proxy", "http://user:pw@squid:3128", "http://REDACTED@squid:3128"),
            ("HTTP_PROXY", "socks5h://u@squid", "socks5h://REDACTED@squid"),
            ("NO_PROXY", "10.0.0.0/8,.corp,[::1]:80", "10.0.0.0/8,.corp,[::1]:80"),
            ("GOAUTH", "netrc", "netrc"),
            ("GOAUTH", "git /home/me; /bin/cred -t x ;off", "git; /bin/cred;off"),
            (
                "GOFLAGS",
                "-mod=mod '-ldflags=-X main.token=x'",
                "-mod=mod '-ldflags=-X main.token=REDACTED'",
            ),
            ("GOSUMDB", "sum.x+ab+Ac=/+z https://u:p@s", "sum.x+ab+Ac=/+z https://REDACTED@s"),
            ("GOPRIVATE", "*.corp.example,x.y/z", "*.corp.example,x.y/z"),
            ("GITHUB_TOKEN", "x y", "REDACTED"),
            ("GITHUB_TOKEN", "", ""),
        ] {
            assert_eq!(setting(name, value), clean, "{name}={value}");
            assert_eq!(setting(name, clean), clean, "twice: {name}={value}");
        }
    }
}
