//! The lines of go.mod and go.work files that ask for something.
//!
//! As `golang.org/x/mod/modfile` reads them, but forgiving: what is no line of theirs is skipped, so
//! that a broken file still says what it asks for.
#![forbid(unsafe_code)]

pub(crate) mod path;
pub mod sources;

use std::collections::HashSet;

/// What a line asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Asked {
    /// 1-based.
    pub line: u32,
    /// Module path, or the directory of a `use`.
    pub path: String,
    /// Version; none for `use`.
    pub version: Option<String>,
}

/// The module that toolchains are versions of.
pub const TOOLCHAIN: &str = "golang.org/toolchain";

/// The longest file that is read, in lines.
const MAX_LINES: usize = 1 << 16;

/// What a go.mod or a go.work is to go, and so which of its lines count.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// It is the main module's, or the workspace's.
    Main,
    /// The same for a go that builds what is in no module of its own: it says which toolchain is
    /// used, and nothing else (`toolchain/select.go:Select`).
    Toolchain,
    /// It is a dependency's, whose `replace` and `toolchain` lines are for itself alone.
    Dependency,
}

impl Role {
    fn counts(self, verb: &str) -> bool {
        match self {
            Self::Main => true,
            Self::Toolchain => matches!(verb, "go" | "toolchain"),
            Self::Dependency => matches!(verb, "go" | "require"),
        }
    }
}

/// What the `require` lines, the right sides of `replace`, and the lines `go` and `toolchain` (which
/// ask for the module `golang.org/toolchain`) of a go.mod or a go.work ask for, as far as they count.
pub fn requirements(text: &str, role: Role) -> Vec<Asked> {
    let mut asked = Vec::new();
    each(text, |line, verb, words| match (verb, words) {
        _ if !role.counts(verb) => {}
        ("require", [path, version, ..]) if path != "(" && version != "(" => {
            asked.push(module(line, path, version));
        }
        ("replace", words) => {
            let right = words.iter().position(|word| word == "=>").map(|at| &words[at + 1..]);
            if let Some([path, version]) = right {
                asked.push(module(line, path, version));
            }
        }
        ("toolchain" | "go", [version]) => {
            asked.push(module(line, TOOLCHAIN, version));
        }
        _ => {}
    });
    asked
}

/// The modules that a go.mod requires, and does not replace.
pub fn required(text: &str) -> Vec<Asked> {
    let (mut required, mut replaced) = (Vec::new(), HashSet::new());
    each(text, |line, verb, words| match (verb, words) {
        ("require", [path, version, ..]) if path != "(" && version != "(" => {
            required.push(module(line, path, version));
        }
        ("replace", [path, ..]) => _ = replaced.insert(path.clone()),
        _ => {}
    });
    required.retain(|asked| !replaced.contains(&asked.path));
    required
}

/// The directories that a go.work uses.
pub fn uses(text: &str) -> Vec<Asked> {
    let mut asked = Vec::new();
    each(text, |line, verb, words| {
        if let ("use", [path]) = (verb, words) {
            asked.push(Asked { line, path: path.clone(), version: None });
        }
    });
    asked
}

fn module(line: u32, path: &str, version: &str) -> Asked {
    Asked { line, path: path.to_owned(), version: Some(version.to_owned()) }
}

/// Calls `take` with each line that says something: its number, its verb (that of its block within
/// one), and its other words.
fn each(text: &str, mut take: impl FnMut(u32, &str, &[String])) {
    let mut block: Option<String> = None;
    for (number, line) in (1..).zip(text.lines().take(MAX_LINES)) {
        let words = words(line);
        match (&block, words.as_slice()) {
            (_, []) => {}
            (Some(_), [end]) if end == ")" => block = None,
            (None, [verb, open]) if open == "(" => block = Some(verb.clone()),
            (Some(verb), words) | (None, [verb, words @ ..]) => take(number, verb, words),
        }
    }
}

/// The words of a line, without its comment. A word may be quoted, with `"` or with `` ` ``.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        if rest.starts_with("//") {
            break;
        }
        let (word, after) = match first {
            '"' | '`' => {
                let inner = &rest[1..];
                let end = inner.find(first).unwrap_or(inner.len());
                (&inner[..end], inner.get(end + 1..).unwrap_or_default())
            }
            '(' | ')' => rest.split_at(1),
            _ => {
                let end = rest
                    .char_indices()
                    .find(|(at, c)| {
                        c.is_whitespace() || matches!(c, '(' | ')') || rest[*at..].starts_with("//")
                    })
                    .map_or(rest.len(), |(at, _)| at);
                rest.split_at(end)
            }
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(asked: &[Asked]) -> Vec<String> {
        let version = |asked: &Asked| asked.version.clone().unwrap_or_default();
        asked.iter().map(|a| format!("{} {}@{}", a.line, a.path, version(a))).collect()
    }

    #[test]
    fn every_way_to_ask() {
        let text = "module x.lab/main // the one\n\ngo 1.22.0\ntoolchain go1.22.3\n\
                    require a.lab/a v1.0.0\nrequire (\n\tb.lab/b v1.2.3 // indirect\n\n\t// c\n\
                    \t\"c.lab/c\" `v0.0.1`\n)\nrequire(d.lab/d v1.0.0)\n\
                    replace e.lab/e v1.0.0 => f.lab/f v1.1.0\nreplace g.lab/g => ../g\n\
                    exclude h.lab/h v1.0.0\n";
        assert_eq!(
            told(&requirements(text, Role::Main)),
            [
                "3 golang.org/toolchain@1.22.0",
                "4 golang.org/toolchain@go1.22.3",
                "5 a.lab/a@v1.0.0",
                "7 b.lab/b@v1.2.3",
                "10 c.lab/c@v0.0.1",
                "13 f.lab/f@v1.1.0",
            ]
        );
        assert_eq!(
            told(&requirements(text, Role::Toolchain)),
            ["3 golang.org/toolchain@1.22.0", "4 golang.org/toolchain@go1.22.3"]
        );
        assert_eq!(
            told(&requirements(text, Role::Dependency)),
            [
                "3 golang.org/toolchain@1.22.0",
                "5 a.lab/a@v1.0.0",
                "7 b.lab/b@v1.2.3",
                "10 c.lab/c@v0.0.1",
            ]
        );
        let text = "go 1.22\nuse ./a\nuse (\n  ./b // c\n  \"./d d\"\n)\n";
        assert_eq!(told(&uses(text)), ["2 ./a@", "4 ./b@", "5 ./d d@"]);
    }

    #[test]
    fn nonsense_is_skipped() {
        for text in [
            "",
            "(",
            ")",
            "require",
            "require (",
            "require \"",
            "require \"a",
            "require ((",
            "`",
            "require a.lab/a\n",
            "replace => =>",
            "\u{1b}é( //",
            "require (\nrequire (\n)\n)",
        ] {
            assert!(requirements(text, Role::Main).is_empty(), "{text:?}");
            assert!(uses(text).is_empty(), "{text:?}");
        }
        // What follows a broken line is read.
        let text = "require a.lab/a\n<<<<<<< HEAD\nrequire b.lab/b v1.0.0\n";
        assert_eq!(told(&requirements(text, Role::Main)), ["3 b.lab/b@v1.0.0"]);
        let many = "require a.lab/a v1.0.0\n".repeat(1 << 17);
        assert_eq!(requirements(&many, Role::Main).len(), MAX_LINES);
    }
}
