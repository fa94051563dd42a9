//! What the log tells of `go` commands that get no probes.

use std::collections::BTreeSet;

use super::log::{Fields, Log};
use crate::event::Attach;

/// So many kinds are told of; all are counted.
const TOLD_MAX: usize = 64;

/// The kinds that were told of: version and reason. On a host of containers each may come again and
/// again.
#[derive(Default)]
pub(super) struct Refused(BTreeSet<(String, String)>);

impl Refused {
    /// Tells of each kind once.
    pub(super) fn tell(&mut self, refused: Vec<Attach>, log: Log) {
        for (exe, kind) in self.news(refused) {
            let fields: Fields<'_> = &[("exe", &exe), ("go_version", &kind.0), ("reason", &kind.1)];
            log.warn("a go command gets no probes", fields);
        }
    }

    /// Those of a kind that was not told of, with it.
    fn news(&mut self, refused: Vec<Attach>) -> Vec<(String, (String, String))> {
        let mut news = Vec::new();
        for Attach { exe, go_version, missing, .. } in refused {
            let reasons: Vec<String> = missing.into_iter().map(|hook| hook.reason).collect();
            let kind = (go_version.unwrap_or_default(), reasons.join("; "));
            if self.0.len() < TOLD_MAX && self.0.insert(kind.clone()) {
                news.push((exe, kind));
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::MissingHook;

    fn refused(exe: &str, reason: String) -> Attach {
        let missing = vec![MissingHook { hook: "*".to_owned(), reason }];
        Attach {
            exe: exe.to_owned(),
            go_version: None,
            hooks: Vec::new(),
            missing,
            late: false,
            nearest: None,
        }
    }

    #[test]
    fn each_kind_is_told_of_once_and_no_more_than_some() {
        let mut told = Refused::default();
        let both = ["/a/go", "/b/go"].map(|exe| refused(exe, "old".to_owned()));
        let news = told.news(both.into());
        assert_eq!(news, [("/a/go".to_owned(), (String::new(), "old".to_owned()))]);
        let many = (0..1000).map(|number| refused("/c/go", number.to_string()));
        assert_eq!(told.news(many.collect()).len(), TOLD_MAX - 1);
        assert!(told.news(vec![refused("/a/go", "old".to_owned())]).is_empty());
    }
}
