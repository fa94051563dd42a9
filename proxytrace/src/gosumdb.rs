//! The checksum database that go makes of GOSUMDB.
//!
//! `cmd/go/internal/modfetch/sumdb.go:dbDial`, Go 1.13 to 1.27.

/// A checksum database: its name, and where it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Database {
    pub(crate) name: String,
    pub(crate) url: String,
    /// Whether the URL is given, so that go asks there alone; or nothing is, and it asks nobody.
    pub(crate) given: bool,
}

impl Database {
    /// None if it is off. Where nothing names one, or go makes no key of it, go refuses what it has
    /// to verify: that is one without a URL.
    pub(crate) fn parse(gosumdb: &str) -> Option<Self> {
        let setting = match gosumdb {
            "off" => return None,
            setting if !has_key(setting) => "",
            "sum.golang.google.cn" => "sum.golang.org https://sum.golang.google.cn",
            setting => setting,
        };
        let mut words = setting.split_whitespace();
        let name = words.next().unwrap_or_default().split('+').next()?.to_owned();
        let url = words.next();
        Some(Self {
            given: url.is_some() || name.is_empty(),
            url: url.map_or_else(|| format!("https://{name}"), str::to_owned),
            name,
        })
    }
}

/// Whether go may make a key of this GOSUMDB, or needs none: a name that it knows, or a key as
/// `x/mod/sumdb/note:NewVerifier` reads it, and at most a URL. With `off` and the mirror in China it
/// compares all of it, white space too. What an empty one means is up to the release.
pub(crate) fn has_key(gosumdb: &str) -> bool {
    let mut words = gosumdb.split_whitespace();
    let Some(key) = words.next() else { return true };
    let known = key == "sum.golang.org" || matches!(gosumdb, "off" | "sum.golang.google.cn");
    (known || key.matches('+').count() > 1) && words.nth(1).is_none()
}

#[cfg(test)]
mod tests {
    use super::Database;

    #[test]
    fn a_database_is_named_or_given() {
        let found = |name: &str, url: &str, given| {
            Some(Database { name: name.into(), url: url.into(), given })
        };
        assert_eq!(Database::parse("off"), None);
        for (gosumdb, expected) in [
            ("sum.golang.org", found("sum.golang.org", "https://sum.golang.org", false)),
            ("sum.golang.org\r", found("sum.golang.org", "https://sum.golang.org", false)),
            ("sum.lab+1a2b+key", found("sum.lab", "https://sum.lab", false)),
            ("sum.lab+1a2b+key https://sums.lab/db", found("sum.lab", "https://sums.lab/db", true)),
            ("sum.golang.google.cn", found("sum.golang.org", "https://sum.golang.google.cn", true)),
        ] {
            assert_eq!(Database::parse(gosumdb), expected, "{gosumdb:?}");
        }
        // Nothing names one, or go makes no key of these.
        for broken in [
            "",
            " ",
            "sum.lab",
            "sum.lab https://sums.lab",
            "sum.golang.org https://a.lab b",
            "off ",
            "off\r",
            "off https://a.lab",
            "sum.golang.google.cn\r",
        ] {
            assert_eq!(Database::parse(broken), found("", "https://", true), "{broken:?}");
        }
    }
}
