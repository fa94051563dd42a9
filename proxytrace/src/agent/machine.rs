//! Which machine this is.

use std::fs;
use std::sync::LazyLock;

/// Where its id is (machine-id(5)): in a container that shares the host's pids it is the host's that
/// counts, and its image may have none.
const IDS: [&str; 2] = ["/proc/1/root/etc/machine-id", "/etc/machine-id"];

/// Read once: later there may be no right to.
static ID: LazyLock<Option<String>> = LazyLock::new(|| first_of(&IDS));

/// Its id, which is not for others; none if it has none.
pub(super) fn id() -> Option<&'static str> {
    ID.as_deref()
}

/// Its name; empty if it has none.
pub(super) fn name() -> String {
    read("/proc/sys/kernel/hostname").unwrap_or_default()
}

fn first_of(paths: &[&str]) -> Option<String> {
    paths.iter().find_map(|path| read(path))
}

/// What an image says that is to get its id when it is first booted (machine-id(5)).
const NONE_YET: &str = "uninitialized";

/// What a file says; none if that is nothing, or there is no such file.
fn read(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty() && text != NONE_YET)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_says_something_counts() {
        let dir = tempfile::tempdir().expect("a directory");
        let [missing, empty, none, id, other] = ["missing", "empty", "none", "id", "other"]
            .map(|name| dir.path().join(name).to_str().expect("text").to_owned());
        let texts =
            [(&empty, "\n"), (&none, "uninitialized\n"), (&id, "0123\n"), (&other, "4567\n")];
        for (path, text) in texts {
            fs::write(path, text).expect("a file");
        }
        assert_eq!(first_of(&[&missing, &empty, &none, &id, &other]).as_deref(), Some("0123"));
        assert_eq!(first_of(&[&missing, &empty]), None);
    }
}
