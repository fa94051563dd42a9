//! Credentials for a host, from netrc.
//!
//! `cmd/go/internal/auth/netrc.go:parseNetrc` and, since Go 1.24, `auth.go:loadCredential`: a
//! machine is the host as the URL has it, with the port if one is written there.

/// Name and password for `host` in the text of a netrc file; the first of two counts.
pub(super) fn find(text: &str, host: &str) -> Option<(String, String)> {
    let (mut machine, mut login, mut password) = ("", "", "");
    let mut in_macro = false;
    for line in text.lines() {
        if in_macro {
            in_macro = !line.is_empty();
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let (pairs, odd) = words.as_chunks::<2>();
        for [name, value] in pairs {
            match *name {
                "machine" => (machine, login, password) = (value, "", ""),
                "login" => login = value,
                "password" => password = value,
                "macdef" => in_macro = true,
                _ => {}
            }
            if ![machine, login, password].contains(&"") {
                if machine == host {
                    return Some((login.to_owned(), password.to_owned()));
                }
                (machine, login, password) = ("", "", "");
            }
        }
        // Nothing after it counts.
        if odd == ["default"] {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn a_machine_is_the_host_as_written() {
        let text = "machine a.example login u password p\nmacdef init\nmachine b login x password y\n\nmachine b:8443\n login v\n password q\nmachine a.example login late password late\ndefault\nmachine c login c password c";
        let found = |host| find(text, host).map(|(name, password)| format!("{name}:{password}"));
        assert_eq!(found("a.example").as_deref(), Some("u:p"));
        assert_eq!(found("a.example:443"), None);
        assert_eq!(found("b"), None);
        assert_eq!(found("b:8443").as_deref(), Some("v:q"));
        assert_eq!(found("c"), None);
    }
}
