//! The checksum database: a signed, transparent log of what modules hash to.
//!
//! Formats: `golang.org/x/mod/sumdb/{dirhash,tlog,note}` and
//! <https://go.dev/design/25530-sumdb>; the tree is that of RFC 6962, section 2.1. The database is
//! complete before anybody asks, so that all it serves is files.

use std::collections::HashMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ring::digest::{Context, SHA256, digest};
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use crate::modules::{Modules, VERSION, escape, go_mod, zip_entries};
use crate::scenario::{GoSum, Sumdb};

/// Its name, and the host where go asks it directly.
const NAME: &str = "sum.lab";
/// The seed of its private key. It vouches for nothing outside of the lab.
const SEED: [u8; 32] = [7; 32];
/// What precedes an Ed25519 key in a note's key.
const ED25519: u8 = 1;
/// A tile is so many levels of the tree high, and so wide at its base.
const TILE_HEIGHT: usize = 8;
const TILE_WIDTH: usize = 1 << TILE_HEIGHT;

type Hash = [u8; 32];

/// The value of GOSUMDB that makes go trust it.
pub(crate) fn verifier_key() -> String {
    let key = public_key();
    format!("{NAME}+{}+{}", hex(&key_hash(&key)), STANDARD.encode(key))
}

/// All that the database serves about modules, by the path below its root: nothing if it is off.
/// Where it lies the hashes are wrong, and in the log all the same.
pub(crate) fn files(modules: &Modules, sumdb: Sumdb) -> HashMap<String, Bytes> {
    let paths: Vec<String> = modules.paths().collect();
    let before = || tree(&paths[..paths.len() - 1], |path| record(path, TRUTH));
    let now = |path: &str| match sumdb {
        Sumdb::Lying => record(path, LIES),
        Sumdb::Forked if Some(path) != paths.last().map(String::as_str) => record(path, LIES),
        _ => record(path, TRUTH),
    };
    match sumdb {
        Sumdb::Off => HashMap::new(),
        Sumdb::Honest | Sumdb::At(_) | Sumdb::Lying => tree(&paths, now),
        // Each lookup has the head of its time; the tiles of both times have different names.
        Sumdb::Grown | Sumdb::Forked => tree(&paths, now).into_iter().chain(before()).collect(),
    }
}

/// A database that holds these modules.
fn tree(paths: &[String], record: impl Fn(&str) -> String) -> HashMap<String, Bytes> {
    let records: Vec<String> = paths.iter().map(|path| record(path)).collect();
    let levels = levels(&records);
    let head = signed_head(records.len(), root(&levels));

    let mut files = HashMap::new();
    files.insert("supported".to_owned(), Bytes::new());
    files.insert("latest".to_owned(), Bytes::from(head.clone()));
    for (number, (path, record)) in paths.iter().zip(&records).enumerate() {
        let lookup = format!("{number}\n{record}\n{head}");
        files.insert(format!("lookup/{}@{VERSION}", escape(path)), lookup.into());
    }
    for (level, hashes) in levels.iter().step_by(TILE_HEIGHT).enumerate() {
        for (number, tile) in hashes.chunks(TILE_WIDTH).enumerate() {
            let width = tile.len();
            let part = if width < TILE_WIDTH { format!(".p/{width}") } else { String::new() };
            // Without the further directories that a database of 256,000 modules needs.
            let path = format!("tile/{TILE_HEIGHT}/{level}/{number:03}{part}");
            files.insert(path, tile.concat().into());
        }
    }
    files
}

/// What `go.sum` says of modules; nothing if there is none.
pub(crate) fn go_sum(modules: &Modules, what: GoSum) -> Option<String> {
    let truth = match what {
        GoSum::Absent => return None,
        GoSum::Right => TRUTH,
        GoSum::WrongMod => Truth { go_mod: false, ..TRUTH },
        GoSum::WrongZip => Truth { zip: false, ..TRUTH },
    };
    Some(modules.paths().map(|path| record(&path, truth)).collect())
}

/// Which hashes of a module are those of what the proxies have.
#[derive(Clone, Copy)]
struct Truth {
    go_mod: bool,
    zip: bool,
}

const TRUTH: Truth = Truth { go_mod: true, zip: true };
const LIES: Truth = Truth { go_mod: false, zip: false };

/// The lines of go.sum for a module (`dirhash.Hash1`).
fn record(path: &str, truth: Truth) -> String {
    let unless = |so: bool| if so { "" } else { "// Not what the proxies have.\n" };
    let go_mod = go_mod(path) + unless(truth.go_mod);
    let whole = zip_entries(path).map(|(name, content)| (name, content + unless(truth.zip)));
    let (whole, alone) = (hash1(whole), hash1([("go.mod".to_owned(), go_mod)]));
    format!("{path} {VERSION} {whole}\n{path} {VERSION}/go.mod {alone}\n")
}

fn hash1(files: impl IntoIterator<Item = (String, String)>) -> String {
    let mut files: Vec<_> = files.into_iter().collect();
    files.sort();
    let lines = files.iter().fold(String::new(), |mut lines, (name, content)| {
        let hash = hex(digest(&SHA256, content.as_bytes()).as_ref());
        writeln!(lines, "{hash}  {name}").expect("a string takes all");
        lines
    });
    format!("h1:{}", STANDARD.encode(digest(&SHA256, lines.as_bytes())))
}

/// The hashes of all complete subtrees, by their height.
fn levels(records: &[String]) -> Vec<Vec<Hash>> {
    let leaves = records.iter().map(|record| sha256(&[&[0], record.as_bytes()])).collect();
    let mut levels: Vec<Vec<Hash>> = vec![leaves];
    loop {
        let below = &levels[levels.len() - 1];
        let nodes: Vec<Hash> = below.chunks_exact(2).map(|pair| node(&pair[0], &pair[1])).collect();
        if nodes.is_empty() {
            return levels;
        }
        levels.push(nodes);
    }
}

/// The hash of the tree: that of the complete subtrees that it falls into, largest first.
fn root(levels: &[Vec<Hash>]) -> Hash {
    let odd =
        levels.iter().filter(|level| level.len() % 2 == 1).map(|level| level[level.len() - 1]);
    odd.reduce(|right, left| node(&left, &right)).unwrap_or_else(|| sha256(&[]))
}

fn node(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// The head of the tree as a note with one signature.
fn signed_head(count: usize, root: Hash) -> String {
    let text = format!("go.sum database tree\n{count}\n{}\n", STANDARD.encode(root));
    let mut signature = key_hash(&public_key()).to_vec();
    signature.extend_from_slice(key_pair().sign(text.as_bytes()).as_ref());
    format!("{text}\n— {NAME} {}\n", STANDARD.encode(signature))
}

fn key_pair() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&SEED).expect("a seed of 32 bytes")
}

fn public_key() -> Vec<u8> {
    [&[ED25519], key_pair().public_key().as_ref()].concat()
}

/// Tells the keys of one name apart.
fn key_hash(key: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = sha256(&[NAME.as_bytes(), b"\n", key]);
    [a, b, c, d]
}

fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree of RFC 6962, section 2.1.3: seven leaves fall into subtrees of four, two and one.
    #[test]
    fn a_tree_of_seven_is_as_in_the_rfc() {
        let records: Vec<String> = (0..7).map(|n| n.to_string()).collect();
        let leaf = |n: usize| sha256(&[&[0], records[n].as_bytes()]);
        let pair = |n| node(&leaf(n), &leaf(n + 1));
        let expected = node(&node(&pair(0), &pair(2)), &node(&pair(4), &leaf(6)));
        let levels = levels(&records);
        assert_eq!(root(&levels), expected);
        assert_eq!(levels.iter().map(Vec::len).collect::<Vec<_>>(), [7, 3, 1]);
    }

    #[test]
    fn tiles_hold_the_leaves_and_every_eighth_level() {
        let files = files(&Modules { prefix: "mod.lab/M", count: 600 }, Sumdb::Honest);
        let tile = |path: &str| files[path].len() / size_of::<Hash>();
        assert_eq!(tile("tile/8/0/000"), 256);
        assert_eq!(tile("tile/8/0/002.p/88"), 88);
        assert_eq!(tile("tile/8/1/000.p/2"), 2);
        assert!(files["lookup/mod.lab/!m600@v1.0.0"].starts_with(b"599\nmod.lab/M600 v1.0.0 h1:"));
    }

    #[test]
    fn a_lie_is_in_the_log_too() {
        let modules = Modules { prefix: "mod.lab/m", count: 2 };
        let [honest, lying] = [Sumdb::Honest, Sumdb::Lying].map(|sumdb| files(&modules, sumdb));
        assert_ne!(honest["latest"], lying["latest"]);
        assert_ne!(honest["lookup/mod.lab/m01@v1.0.0"], lying["lookup/mod.lab/m01@v1.0.0"]);
    }
    /// The tree of before is in that of now, unless the database has forked.
    #[test]
    fn a_database_that_grew_has_the_heads_of_both_times() {
        let modules = Modules { prefix: "mod.lab/m", count: 2 };
        let [grown, forked] = [Sumdb::Grown, Sumdb::Forked].map(|sumdb| files(&modules, sumdb));
        let of_both = ["lookup/mod.lab/m01@v1.0.0", "tile/8/0/000.p/1"];
        assert!(of_both.iter().all(|path| grown[*path] == forked[*path]));
        let leaf = |files: &HashMap<String, Bytes>| files["tile/8/0/000.p/2"].slice(..32);
        assert_eq!(leaf(&grown), grown["tile/8/0/000.p/1"]);
        assert_ne!(leaf(&forked), forked["tile/8/0/000.p/1"]);
    }
}
