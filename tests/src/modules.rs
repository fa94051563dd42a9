//! The modules that the proxies serve, and the main module that requires them.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Cursor, Write as _};
use std::path::Path;

use anyhow::Result;
use bytes::Bytes;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// The one version that every module has.
pub const VERSION: &str = "v1.0.0";

/// Numbered modules: `mod.lab/m01`, `mod.lab/m02`, …
#[derive(Clone, Copy, Debug)]
pub struct Modules {
    /// Module path without its number.
    pub prefix: &'static str,
    /// How many there are.
    pub count: usize,
    /// Paths of further ones.
    pub others: &'static [&'static str],
}

impl Modules {
    /// The module paths.
    pub fn paths(&self) -> impl Iterator<Item = String> {
        let numbered = (1..=self.count).map(|number| format!("{}{number:02}", self.prefix));
        numbered.chain(self.others.iter().map(|path| (*path).to_owned()))
    }

    /// Everything that a module proxy serves for them, by the path below its root
    /// (<https://go.dev/ref/mod#goproxy-protocol>).
    pub fn files(&self) -> Result<HashMap<String, Bytes>> {
        let mut files = HashMap::new();
        for path in self.paths() {
            let base = escape(&path);
            let info =
                Bytes::from(format!(r#"{{"Version":"{VERSION}","Time":"2024-01-01T00:00:00Z"}}"#));
            files.insert(format!("{base}/@v/list"), Bytes::from(format!("{VERSION}\n")));
            files.insert(format!("{base}/@latest"), info.clone());
            files.insert(format!("{base}/@v/{VERSION}.info"), info);
            files.insert(format!("{base}/@v/{VERSION}.mod"), Bytes::from(go_mod(&path)));
            files.insert(format!("{base}/@v/{VERSION}.zip"), zip(&path)?);
        }
        Ok(files)
    }

    /// Writes a main module into `dir` that requires and imports all of them.
    pub fn write_main_module(&self, dir: &Path) -> Result<()> {
        let mut go_mod = go_mod("main.lab/main");
        let mut main = String::from("package main\n\n");
        for path in self.paths() {
            writeln!(go_mod, "require {path} {VERSION}")?;
            writeln!(main, "import _ \"{path}\"")?;
        }
        main.push_str("\nfunc main() {}\n");
        fs::write(dir.join("go.mod"), go_mod)?;
        fs::write(dir.join("main.go"), main)?;
        Ok(())
    }
}

/// The beginning of a `go.mod`; the version is the oldest of our toolchains.
pub(crate) fn go_mod(path: &str) -> String {
    format!("module {path}\n\ngo 1.19\n\n")
}

/// What a module zip holds: every name in it begins with `path@version/`.
pub(crate) fn zip_entries(path: &str) -> [(String, String); 3] {
    let command = "package main\n\nfunc main() {}\n".to_owned();
    [("cmd/main.go", command), ("go.mod", go_mod(path)), ("lab.go", "package lab\n".to_owned())]
        .map(|(name, content)| (format!("{path}@{VERSION}/{name}"), content))
}

fn zip(path: &str) -> Result<Bytes> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, content) in zip_entries(path) {
        archive.start_file(name, options)?;
        archive.write_all(content.as_bytes())?;
    }
    Ok(archive.finish()?.into_inner().into())
}

/// Case-encoding of module paths: `A` becomes `!a` (`module.EscapePath` of golang.org/x/mod).
pub(crate) fn escape(path: &str) -> String {
    path.chars().fold(String::new(), |mut escaped, letter| {
        if letter.is_ascii_uppercase() {
            escaped.push('!');
        }
        escaped.push(letter.to_ascii_lowercase());
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upper_case_is_escaped() {
        assert_eq!(escape("mod.lab/UpperCase01"), "mod.lab/!upper!case01");
    }

    #[test]
    fn every_module_has_its_five_files() {
        let files = Modules { prefix: "mod.lab/M", count: 2, others: &[] }.files().unwrap();
        assert_eq!(files.len(), 10);
        assert!(files["mod.lab/!m02/@v/v1.0.0.mod"].starts_with(b"module mod.lab/M02\n"));
        assert!(files["mod.lab/!m01/@v/v1.0.0.zip"].starts_with(b"PK"));
    }
}
