//! What a proxy serves, and what go makes of it: names of files, and whether their content is one.

use std::fmt::{self, Write as _};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::digest::{SHA256, digest};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::gomod::path::escape;
use crate::model::{Artifact, Outcome};

/// The path of a file below a proxy, as on the wire (`module.EscapePath`, `modfetch.pathEscape`).
pub(super) fn file(module: &str, artifact: Artifact, version: &str) -> String {
    let module = encode(&escape(module));
    let version = encode(&escape(version));
    match artifact {
        Artifact::List => format!("{module}/@v/list"),
        Artifact::Latest => format!("{module}/@latest"),
        Artifact::Info => format!("{module}/@v/{version}.info"),
        Artifact::Mod => format!("{module}/@v/{version}.mod"),
        _ => format!("{module}/@v/{version}.zip"),
    }
}

/// The path of a lookup in the checksum database; its `!` stay as they are.
pub(super) fn lookup(module: &str, version: &str) -> String {
    format!("lookup/{}@{}", escape(module), escape(version))
}

fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+=:@/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

/// Whether what came is what was asked for: `.info` of the version (`modfetch/proxy.go:Stat`), a
/// `go.mod`, a zip. A list may be anything: go takes the lines that are versions.
pub(super) fn check(artifact: Artifact, version: Option<&str>, body: &[u8]) -> Outcome {
    let sound = match artifact {
        Artifact::Info | Artifact::Latest => {
            let said = version_of(body);
            said.is_some_and(|said| version.map_or(!said.is_empty(), |version| said == version))
        }
        Artifact::Mod => String::from_utf8_lossy(body).lines().any(|line| {
            line.trim_start().strip_prefix("module").is_some_and(|rest| {
                rest.starts_with(|c: char| c.is_whitespace() || c == '"' || c == '(' || c == '`')
            })
        }),
        Artifact::Zip => body.starts_with(b"PK"),
        _ => true,
    };
    if sound { Outcome::Ok } else { Outcome::BadContent }
}

/// The version that an `.info` names; empty, as go has it, where it names none.
pub(super) fn version_of(body: &[u8]) -> Option<String> {
    Some(serde_json::from_slice::<Info>(body).ok()?.0.unwrap_or_default())
}

/// The version of an `.info`, read as `encoding/json` reads it: the name in any case, and the last of
/// several.
struct Info(Option<String>);

impl<'de> Deserialize<'de> for Info {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Info;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Info, A::Error> {
        let mut version = None;
        while let Some(name) = fields.next_key::<String>()? {
            if name.eq_ignore_ascii_case("Version") {
                // `null` changes nothing.
                version = fields.next_value::<Option<String>>()?.or(version);
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Info(version))
    }
}

/// Whether the answer to a lookup says the sum of this `go.mod` (`sumdb.Client.Lookup`,
/// `modfetch.checkSumDB`). The signature is not looked at.
pub(super) fn verify(record: &[u8], module: &str, version: &str, go_mod: Option<&[u8]>) -> Outcome {
    let text = String::from_utf8_lossy(record);
    let mut lines = text.split('\n');
    if lines.next().is_none_or(|id| id.is_empty() || !id.bytes().all(|b| b.is_ascii_digit())) {
        return Outcome::BadContent;
    }
    let of = format!("{module} {version}/go.mod ");
    let sum = lines.take_while(|line| !line.is_empty()).find_map(|line| line.strip_prefix(&of));
    match (sum, go_mod) {
        (None, _) => Outcome::Checksum,
        (Some(sum), Some(go_mod)) if sum != hash(go_mod) => Outcome::Checksum,
        _ => Outcome::Ok,
    }
}

/// The tile of the checksum database's tree that has the hash of a record
/// (`golang.org/x/mod/sumdb/tlog/tile.go`).
pub(super) struct Tile {
    number: u64,
    /// How many hashes it has in the tree that came with the record.
    width: usize,
    place: usize,
    hash: [u8; HASH],
}

/// Bytes of a hash.
const HASH: usize = 32;
/// Hashes of a tile that is full: go has tiles of eight levels.
const FULL: usize = 256;

impl Tile {
    /// That of an answer to a lookup; none where it does not tell, or the record is not in its tree.
    pub(super) fn of(answer: &[u8]) -> Option<Self> {
        let (record, tree) = str::from_utf8(answer).ok()?.split_once("\n\n")?;
        let (id, text) = record.split_once('\n')?;
        let id: u64 = id.parse().ok()?;
        let size = tree.strip_prefix("go.sum database tree\n")?.split('\n').next()?;
        let behind = size.parse::<u64>().ok()?.checked_sub(id / FULL as u64 * FULL as u64)?;
        let width = usize::try_from(behind.min(FULL as u64)).ok()?;
        let place = usize::try_from(id % FULL as u64).ok()?;
        let leaf = [&[0], text.as_bytes(), b"\n"].concat();
        let hash = digest(&SHA256, &leaf).as_ref().try_into().ok()?;
        (place < width).then_some(Self { number: id / FULL as u64, width, place, hash })
    }

    /// Whether the tree ends in it: go needs it then whatever it verifies.
    pub(super) fn is_part(&self) -> bool {
        self.width < FULL
    }

    /// Where go asks for it: for the part that its tree has, and else for all of it
    /// (`client.go:readTile`).
    pub(super) fn paths(&self) -> Vec<String> {
        let mut path = format!("{:03}", self.number % 1000);
        let mut rest = self.number / 1000;
        while rest > 0 {
            path = format!("x{:03}/{path}", rest % 1000);
            rest /= 1000;
        }
        let full = format!("tile/8/0/{path}");
        let part = self.is_part().then(|| format!("{full}.p/{}", self.width));
        part.into_iter().chain([full]).collect()
    }

    /// Whether what came is the tile, as far as that is known: its length, and the hash of the record.
    pub(super) fn check(&self, path: &str, body: &[u8]) -> Outcome {
        let width = if path.contains(".p/") { self.width } else { FULL };
        let hash = body.chunks_exact(HASH).nth(self.place);
        let is_it = body.len() == width * HASH && hash == Some(&self.hash[..]);
        if is_it { Outcome::Ok } else { Outcome::BadContent }
    }
}

/// Whether `go.sum` has another sum for this `go.mod`.
pub(super) fn contradicts(go_sum: &str, module: &str, version: &str, go_mod: &[u8]) -> bool {
    has_other(go_sum, module, &format!("{version}/go.mod"), &hash(go_mod))
}

/// Whether lines of sums, in `go.sum` or of the checksum database, have another one for a version,
/// which ends in `/go.mod` if it is that file alone.
pub(super) fn has_other(sums: &str, module: &str, version: &str, sum: &str) -> bool {
    let of = format!("{module} {version} ");
    let mut lines = sums.lines().filter_map(|line| line.strip_prefix(&of)).peekable();
    lines.peek().is_some() && !lines.any(|line| line == sum)
}

/// `h1:` of a `go.mod` (`dirhash.Hash1`).
fn hash(go_mod: &[u8]) -> String {
    let content = digest(&SHA256, go_mod);
    let hex = content.as_ref().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    let line = format!("{hex}  go.mod\n");
    format!("h1:{}", BASE64_STANDARD.encode(digest(&SHA256, line.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::{SHA256, Tile, check, digest, file, hash, lookup, verify, version_of};
    use crate::model::{Artifact, Outcome};

    #[test]
    fn files_have_their_names_on_the_wire() {
        assert_eq!(
            file("a.lab/Up", Artifact::Zip, "v1.0.0-RC"),
            "a.lab/%21up/@v/v1.0.0-%21r%21c.zip"
        );
        assert_eq!(file("a.lab/x", Artifact::List, ""), "a.lab/x/@v/list");
        assert_eq!(lookup("a.lab/Up", "v1.0.0"), "lookup/a.lab/!up@v1.0.0");
    }

    #[test]
    fn content_is_looked_at_as_go_does() {
        use Artifact::{Info, List, Mod, Zip};
        let html = b"<!DOCTYPE html>\n<title>Sign in</title>";
        for (artifact, body, sound) in [
            (Info, &br#"{"Version":"v1.0.0"}"#[..], true),
            (Info, br#"{"Version":"v1.0.1"}"#, false),
            (Info, html, false),
            (Mod, b"// hi\nmodule a.lab/x\n", true),
            (Mod, b"modules\n", false),
            (Mod, html, false),
            (Zip, b"PK\x03\x04", true),
            (Zip, html, false),
            (List, html, true),
        ] {
            let outcome = check(artifact, Some("v1.0.0"), body);
            assert_eq!(outcome == Outcome::Ok, sound, "{artifact:?} {body:?}");
        }
    }

    #[test]
    fn the_version_is_found_in_any_case() {
        for (info, expected) in [
            (r#"{"Version":"v1.0.0","Time":"x"}"#, Some("v1.0.0")),
            (r#"{"version":"v1.0.0"}"#, Some("v1.0.0")),
            (r#"{"Version":"v1.0.0","VERSION":"v2.0.0","x":[{"Version":"y"}]}"#, Some("v2.0.0")),
            (r#"{"version":"v2.0.0","Version":"v1.0.0"}"#, Some("v1.0.0")),
            (r#"{"Version":"v1.0.0","Version":null}"#, Some("v1.0.0")),
            (r#"{"Version":1}"#, None),
            (r#"{"Versions":"v1.0.0"}"#, Some("")),
            (r#"{"Version":"v1.0.0"} x"#, None),
            (r#"["v1.0.0"]"#, None),
        ] {
            assert_eq!(version_of(info.as_bytes()).as_deref(), expected, "{info}");
        }
    }

    #[test]
    fn sums_are_those_of_go() {
        // golang.org/x/text v0.3.0, from any go.sum.
        let go_mod = b"module golang.org/x/text\n";
        assert_eq!(hash(go_mod), "h1:NqM8EUOU14njkJ3fqMW+pc6Ldnwhi/IjpwHt7yyuwOQ=");
        let record =
            "17\nm v1 h1:x=\nm v1/go.mod h1:NqM8EUOU14njkJ3fqMW+pc6Ldnwhi/IjpwHt7yyuwOQ=\n\nnote\n";
        let verify =
            |module, content: &[u8]| super::verify(record.as_bytes(), module, "v1", Some(content));
        assert_eq!(verify("m", go_mod), Outcome::Ok);
        assert_eq!(verify("m", b"other"), Outcome::Checksum);
        assert_eq!(verify("n", go_mod), Outcome::Checksum);
        assert_eq!(super::verify(b"<html>", "m", "v1", None), Outcome::BadContent);
    }

    #[test]
    fn a_record_without_a_go_mod_to_compare() {
        assert_eq!(verify(b"1\nm v1/go.mod h1:x\n\n", "m", "v1", None), Outcome::Ok);
    }

    /// `tlog.TilePath`, and a record of a tree of five: its tile is a part.
    #[test]
    fn the_tile_of_a_record_is_named_and_known() {
        let answer = |id: u64, size: u64| {
            format!(
                "{id}\nx.lab/m v1.0.0 h1:a=\n\ngo.sum database tree\n{size}\nhash=\n\n— s.lab b\n"
            )
        };
        let paths = |id, size| Tile::of(answer(id, size).as_bytes()).map(|tile| tile.paths());
        let of =
            |paths: &[&str]| Some(paths.iter().map(|&path| path.to_owned()).collect::<Vec<_>>());
        assert_eq!(paths(4, 5), of(&["tile/8/0/000.p/5", "tile/8/0/000"]));
        assert_eq!(paths(255, 256), of(&["tile/8/0/000"]));
        assert_eq!(paths(256, 257), of(&["tile/8/0/001.p/1", "tile/8/0/001"]));
        let last = 256 * 1_234_067;
        assert_eq!(paths(last, last + 256), of(&["tile/8/0/x001/x234/067"]));
        assert_eq!(paths(5, 5), None);
        for none in ["", "4\n\n", "x\na\n\ngo.sum database tree\n5\n", "4\na\n\nnote\n5\n"] {
            assert!(Tile::of(none.as_bytes()).is_none(), "{none:?}");
        }

        let tile = Tile::of(answer(1, 2).as_bytes()).unwrap();
        let leaf = digest(&SHA256, b"\0x.lab/m v1.0.0 h1:a=\n");
        let good = [&[7; 32], leaf.as_ref()].concat();
        let whole = [&good[..], &[7; 254 * 32]].concat();
        let part = "tile/8/0/000.p/2";
        for (path, body, expected) in [
            (part, &good[..], Outcome::Ok),
            (part, &good[..63], Outcome::BadContent),
            (part, &[&good[..], &[7; 32]].concat(), Outcome::BadContent),
            (part, &[7; 64], Outcome::BadContent),
            (part, b"<html>", Outcome::BadContent),
            ("tile/8/0/000", &whole, Outcome::Ok),
            ("tile/8/0/000", &good, Outcome::BadContent),
        ] {
            assert_eq!(tile.check(path, body), expected, "{path} {}", body.len());
        }
    }
}
