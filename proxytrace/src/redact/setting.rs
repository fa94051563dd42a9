//! Values of settings and of environment variables.

use super::argument::argument;
use super::places::{Places, moved, replace_all, rest};
use super::url::{has_valid_port, places_host_first};
use super::{REDACTED, is_secret};

/// Where the secrets of a value are.
pub(super) type Secrets = fn(&str) -> Places;

/// The settings whose values are not like arguments, by name; lower-case names are go's alternatives.
const SETTINGS: &[(&str, Secrets)] = &[
    ("GOPROXY", of_list),
    ("GOAUTH", of_commands),
    // One proxy each: a comma is a part of its password.
    ("HTTP_PROXY", of_entry),
    ("HTTPS_PROXY", of_entry),
    ("ALL_PROXY", of_entry),
    ("http_proxy", of_entry),
    ("https_proxy", of_entry),
    ("all_proxy", of_entry),
];

/// The value of an environment variable or a go setting without its secrets.
///
/// Lists keep their separators and spaces; of `GOAUTH` the names of the commands are left.
pub fn setting(name: &str, value: &str) -> String {
    match secrets_of(name) {
        Some(secrets) => replace_all(value, secrets(value)).into_owned(),
        None if is_secret(name) && !value.is_empty() => REDACTED.to_owned(),
        None => argument(value),
    }
}

/// Where the secrets of the setting's values are, if it is none like others.
pub(super) fn secrets_of(name: &str) -> Option<Secrets> {
    SETTINGS.iter().find(|(known, _)| *known == name).map(|(_, secrets)| *secrets)
}

fn of_list(value: &str) -> Places {
    of_pieces(value, &[',', '|'], of_entry)
}

fn of_entry(entry: &str) -> Places {
    let mut found = places_host_first(entry);
    let start = entry.find("://").map_or(0, |at| at + 3);
    let end = entry[start..].find(['/', '\\', '?', '#']).map_or(entry.len(), |at| start + at);
    let (authority, rest) = (&entry[start..end], &entry[end..]);
    // A port that is no number is half a password: the other half is after a comma.
    if let Some((_, port)) = authority.split_once(':')
        && !authority.contains('@')
        && !has_valid_port(authority, rest)
    {
        found.push(end - port.len()..end);
    }
    found
}

/// What follows the name of each command.
pub(super) fn of_commands(value: &str) -> Places {
    of_pieces(value, &[';'], |command| {
        let command = command.trim_end();
        let name = command.trim_start().find(char::is_whitespace);
        let name = name.map(|name| command.len() - command.trim_start().len() + name);
        let arguments = name.map(|end| command.len() - command[end..].trim_start().len());
        arguments.map(|start| rest(command, start)).unwrap_or_default()
    })
}

/// Secrets of what stands between separators.
fn of_pieces(text: &str, separators: &[char], secrets: impl Fn(&str) -> Places) -> Places {
    let mut start = 0;
    let mut found = Vec::new();
    for piece in text.split_inclusive(separators) {
        let content = piece.strip_suffix(separators).unwrap_or(piece);
        found.extend(moved(secrets(content), start));
        start += piece.len();
    }
    found
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
            ("HTTPS_PROXY", "http://ci:2024,Sommer@squid:3128", "http://REDACTED@squid:3128"),
            ("NO_PROXY", "10.0.0.0/8,.corp,[::1]:80", "10.0.0.0/8,.corp,[::1]:80"),
            ("GOAUTH", "netrc", "netrc"),
            (
                "GOAUTH",
                "git /home/me; /bin/cred -t x ;off",
                "git REDACTED; /bin/cred REDACTED ;off",
            ),
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
