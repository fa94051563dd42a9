//! What changes between Go minor versions, as data: one [`Version`] each.
//!
//! Offsets were read from the DWARF of `cmd/go` built by the last patch release of each version.
//! Go changes no struct layout within a minor version.

use proxytrace_common::plan::{Layout, MapKind, NONE};

use super::Error;

/// The versions of [`VERSIONS`], for people.
pub(super) const SUPPORTED: &str = "go1.19, go1.21 to go1.27";

/// A range of Go minor versions, both ends included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Minors {
    first: u16,
    last: u16,
}

impl Minors {
    /// Every version.
    pub(super) const ALL: Self = Self::from(0);

    /// This version and all later ones.
    pub(super) const fn from(first: u16) -> Self {
        Self { first, last: u16::MAX }
    }

    /// All versions up to this one.
    pub(super) const fn to(last: u16) -> Self {
        Self { first: 0, last }
    }

    /// The versions from the first to the last.
    pub(super) const fn between(first: u16, last: u16) -> Self {
        Self { first, last }
    }

    pub(super) const fn contain(self, minor: u16) -> bool {
        self.first <= minor && minor <= self.last
    }
}

/// Where `runtime.moduledata` says the linker's itabs are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Itabs {
    /// A slice of pointers to them, at this offset.
    Links(u64),
    /// One after the other in the type section; the offsets of `itaboffset` and `itabsize`.
    Table { start: u64, size: u64 },
}

/// One Go minor version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Version {
    /// 27 for Go 1.27.
    pub(super) minor: u16,
    /// For the probe program.
    pub(super) layout: Layout,
    /// `runtime.moduledata.types`.
    pub(super) types: u64,
    /// `runtime.moduledata.itablinks` and what followed it.
    pub(super) itabs: Itabs,
}

const fn version(
    minor: u16,
    goid: u16,
    parent_goid: u16,
    map: MapKind,
    types: u64,
    itabs: Itabs,
) -> Version {
    Version { minor, layout: Layout { goid, parent_goid, map: map as u32 }, types, itabs }
}

/// Ascending; Go 1.20 was never measured.
const VERSIONS: [Version; 8] = [
    //      minor goid parent map               types itabs
    version(19, 152, NONE, MapKind::Buckets, 280, Itabs::Links(360)),
    version(21, 152, 272, MapKind::Buckets, 296, Itabs::Links(376)),
    version(22, 152, 272, MapKind::Buckets, 296, Itabs::Links(376)),
    version(23, 160, 280, MapKind::Buckets, 296, Itabs::Links(376)),
    version(24, 160, 280, MapKind::Swiss, 296, Itabs::Links(376)),
    version(25, 152, 272, MapKind::Swiss, 296, Itabs::Links(376)),
    version(26, 152, 280, MapKind::Swiss, 296, Itabs::Links(384)),
    version(27, 152, 280, MapKind::Swiss, 296, Itabs::Table { start: 320, size: 328 }),
];

/// A row of the table, and whether it is only the nearest to what was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    pub(super) version: Version,
    pub(super) is_nearest: bool,
}

/// The row for a version string of the build info.
///
/// A later minor version gets the newest row; a release candidate or a vendor's build
/// (`go1.24.6 (Red Hat …)`) that of its minor version. Both are only the nearest.
pub(super) fn choose(go_version: &str) -> Result<Choice, Error> {
    let refused = || Error::Version { go_version: go_version.to_owned() };
    let (minor, is_release) = parse(go_version).ok_or_else(refused)?;
    let newest = VERSIONS[VERSIONS.len() - 1];
    if minor > newest.minor {
        return Ok(Choice { version: newest, is_nearest: true });
    }
    let row = VERSIONS.iter().find(|row| row.minor == minor).ok_or_else(refused)?;
    Ok(Choice { version: *row, is_nearest: !is_release })
}

/// The minor version, and whether nothing follows it but a patch number.
fn parse(go_version: &str) -> Option<(u16, bool)> {
    // GOEXPERIMENT=noswissmap, of Go 1.24 and 1.25: maps are not as in the table.
    if go_version.contains("swissmap") {
        return None;
    }
    let rest = go_version.strip_prefix("go1.")?;
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (minor, rest) = rest.split_at(digits(rest));
    let patch = rest.strip_prefix('.').map_or(0, |patch| 1 + digits(patch));
    Some((minor.parse().ok()?, patch == rest.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_have_their_own_row() {
        for (go_version, minor) in [("go1.21.13", 21), ("go1.24", 24), ("go1.27.3", 27)] {
            let choice = choose(go_version).expect("supported");
            assert_eq!((choice.version.minor, choice.is_nearest), (minor, false), "{go_version}");
        }
    }

    #[test]
    fn what_is_newer_or_changed_has_the_nearest_row() {
        for (go_version, minor) in [
            ("go1.28", 27),
            ("go1.100.1", 27),
            ("go1.27rc1", 27),
            ("go1.24.6 (Red Hat 1.24.6-1.el9) X:strictfipsruntime", 24),
            ("go1.26.1-fork", 26),
        ] {
            let choice = choose(go_version).expect("tried");
            assert_eq!((choice.version.minor, choice.is_nearest), (minor, true), "{go_version}");
        }
    }

    #[test]
    fn the_rest_is_refused() {
        for go_version in [
            "go1.18.10",
            "go1.20.14",
            "devel go1.28-0123456789",
            "go2.1",
            "go1.",
            "",
            "go1.99999",
            "go1.24.3 X:noswissmap",
        ] {
            assert!(matches!(choose(go_version), Err(Error::Version { .. })), "{go_version}");
        }
    }

    #[test]
    fn people_are_told_the_right_versions() {
        let minors = VERSIONS.map(|version| version.minor);
        assert!(minors.is_sorted());
        assert_eq!(SUPPORTED, format!("go1.{}, go1.{} to go1.{}", minors[0], minors[1], minors[7]));
    }
}
