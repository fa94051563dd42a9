//! What changes between Go minor versions: the table of [`offsets`](super::offsets), by [`Version`].
//!
//! Go changes no struct layout within a minor version.

use proxytrace_common::plan::{Layout, MapKind, NONE};

use super::Error;
use super::offsets::{PLACES, RELEASES};

/// The versions of [`RELEASES`], for people.
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

/// What is at a [`Place`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Shape {
    String,
    Slice,
    Interface,
    Pointer,
    Map,
    /// Of so many bytes.
    Number(u8),
    /// A structure or an array, of so many bytes.
    Struct(u16),
}

/// A row of the table: where something is, in each version.
#[derive(Debug)]
pub(super) struct Place {
    /// A field of a structure, a structure itself, a parameter of a function, or its result.
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    /// The minor version since which it is there, and where: an offset in bytes, or a register in
    /// Go's order. [`NONE`] where it is no more.
    pub(super) since: &'static [(u16, u16)],
}

/// A minor version that is in the table: 27 for Go 1.27.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Version(u16);

impl Version {
    /// All of them, ascending.
    pub(super) fn all() -> impl DoubleEndedIterator<Item = Self> {
        RELEASES.iter().map(|release| {
            let minor = release.strip_prefix("1.").and_then(|rest| rest.split('.').next());
            Self(minor.and_then(|minor| minor.parse().ok()).expect("RELEASES are releases of Go"))
        })
    }

    pub(super) fn minor(self) -> u16 {
        self.0
    }

    /// Where something is, if this version has it.
    pub(super) fn find(self, name: &str) -> Option<(u16, Shape)> {
        let place = PLACES.iter().find(|place| place.name == name)?;
        let (_, at) = place.since.iter().rev().find(|(since, _)| *since <= self.0)?;
        (*at != NONE).then_some((*at, place.shape))
    }

    /// Where something is that this version has.
    pub(super) fn place(self, name: &str) -> (u16, Shape) {
        self.find(name).unwrap_or_else(|| panic!("go1.{}: no {name} in offsets.rs", self.0))
    }

    /// What the probe program needs everywhere.
    pub(super) fn layout(self) -> Layout {
        let offset = |name| self.find(name).map_or(NONE, |(offset, _)| offset);
        let swiss = self.find("internal/runtime/maps.Map.dirPtr").is_some();
        Layout {
            goid: self.place("runtime.g.goid").0,
            parent_goid: offset("runtime.g.parentGoid"),
            map: if swiss { MapKind::Swiss } else { MapKind::Buckets } as u32,
        }
    }
}

/// A version, and whether it is only the nearest to what was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    pub(super) version: Version,
    pub(super) is_nearest: bool,
}

/// The version for a version string of the build info.
///
/// A later minor version gets the newest; a release candidate or a vendor's build
/// (`go1.24.6 (Red Hat …)`) that of its minor version. Both are only the nearest.
pub(super) fn choose(go_version: &str) -> Result<Choice, Error> {
    let refused = || Error::Version { go_version: go_version.to_owned() };
    let (minor, is_release) = parse(go_version).ok_or_else(refused)?;
    let newest = Version::all().next_back().ok_or_else(refused)?;
    if minor > newest.0 {
        return Ok(Choice { version: newest, is_nearest: true });
    }
    let version = Version::all().find(|version| version.0 == minor).ok_or_else(refused)?;
    Ok(Choice { version, is_nearest: !is_release })
}

/// Values of GOEXPERIMENT with which maps are not as in the table: of Go 1.24 and 1.25, of Go 1.27.
const OTHER_MAPS: [&str; 2] = ["noswissmap", "mapsplitgroup"];

/// The minor version, and whether nothing follows it but a patch number.
fn parse(go_version: &str) -> Option<(u16, bool)> {
    let mut words = go_version.split(|c: char| !c.is_ascii_alphanumeric());
    if words.any(|word| OTHER_MAPS.contains(&word)) {
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
    use proxytrace_common::plan::{bucket_map, ip_addr, net_fd, swiss_map, tcp_addr};

    use super::super::types::{
        INTERFACE_METHOD_COUNT, ITAB_HEADER, ITAB_TYPE, TYPE_FLAGS, TYPE_STRING,
    };
    use super::*;

    /// Of an interface, behind its type word.
    const DATA_WORD: u64 = 8;

    #[test]
    fn releases_have_their_own_row() {
        for (go_version, minor) in [("go1.21.13", 21), ("go1.24", 24), ("go1.27.3", 27)] {
            let choice = choose(go_version).expect("supported");
            assert_eq!((choice.version.minor(), choice.is_nearest), (minor, false), "{go_version}");
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
            ("go1.27.3-X:nomapsplitgroup", 27),
        ] {
            let choice = choose(go_version).expect("tried");
            assert_eq!((choice.version.minor(), choice.is_nearest), (minor, true), "{go_version}");
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
            "go1.25.5-X:aliastypeparams,noswissmap",
            "go1.27.3-X:mapsplitgroup",
            "go1.27.3-vendor X:jsonv2,mapsplitgroup",
        ] {
            assert!(matches!(choose(go_version), Err(Error::Version { .. })), "{go_version}");
        }
    }

    #[test]
    fn people_are_told_the_right_versions() {
        let minors: Vec<_> = Version::all().map(Version::minor).collect();
        assert!(minors.is_sorted());
        let [first, second, .., last] = minors[..] else { panic!("{minors:?}") };
        assert_eq!(SUPPORTED, format!("go1.{first}, go1.{second} to go1.{last}"));
    }

    #[test]
    fn a_place_is_there_from_its_first_version_to_its_last() {
        let at = |minor, name| Version(minor).find(name).map(|(at, _)| at);
        for (minor, raw_path, hmap, swiss) in [
            (19, Some(72), Some(16), None),
            (23, Some(72), Some(16), None),
            (24, Some(72), None, Some(16)),
            (27, Some(104), None, Some(16)),
        ] {
            assert_eq!(at(minor, "net/url.URL.RawPath"), raw_path, "go1.{minor}");
            assert_eq!(at(minor, "runtime.hmap.buckets"), hmap, "go1.{minor}");
            assert_eq!(at(minor, "internal/runtime/maps.Map.dirPtr"), swiss, "go1.{minor}");
        }
        assert_eq!(at(27, "net/url.URL.Nonsense"), None);
    }

    #[test]
    fn the_layout_is_that_of_the_version() {
        let layout = |minor| Version(minor).layout();
        let (buckets, swiss) = (MapKind::Buckets as u32, MapKind::Swiss as u32);
        assert_eq!(layout(19), Layout { goid: 152, parent_goid: NONE, map: buckets });
        assert_eq!(layout(23), Layout { goid: 160, parent_goid: 280, map: buckets });
        assert_eq!(layout(25), Layout { goid: 152, parent_goid: 272, map: swiss });
    }

    /// What code takes for the same in all versions, is. A structure that has been renamed stands
    /// here by both names.
    #[test]
    fn what_is_constant_has_not_changed() {
        let constants: &[(&str, u64)] = &[
            ("net.TCPConn.conn", 0),
            ("net.conn.fd", 0),
            ("net.netFD.laddr", net_fd::LOCAL - DATA_WORD),
            ("net.netFD.raddr", net_fd::REMOTE - DATA_WORD),
            ("net.TCPAddr.IP", 0),
            ("net.IPAddr.IP", 0),
            ("net.TCPAddr.Port", tcp_addr::PORT),
            ("runtime.hmap.B", bucket_map::B),
            ("runtime.hmap.buckets", bucket_map::BUCKETS),
            ("runtime.hmap.oldbuckets", bucket_map::OLD_BUCKETS),
            ("bucket<string,[]string>.keys", bucket_map::KEYS),
            ("bucket<string,[]string>.values", bucket_map::VALUES),
            ("bucket<string,[]string>.overflow", bucket_map::OVERFLOW),
            ("internal/runtime/maps.Map.dirPtr", swiss_map::DIRECTORY),
            ("internal/runtime/maps.Map.dirLen", swiss_map::DIRECTORY + 8),
            ("internal/runtime/maps.table.groups", swiss_map::GROUPS),
            ("internal/runtime/maps.groupsReference.data", 0),
            ("internal/runtime/maps.groupsReference.lengthMask", 8),
            ("noalg.map.group[string][]string.ctrl", 0),
            ("noalg.map.group[string][]string.slots", swiss_map::SLOTS),
            ("runtime.itab._type", ITAB_TYPE),
            ("internal/abi.ITab.Type", ITAB_TYPE),
            ("runtime.itab.fun", ITAB_HEADER),
            ("internal/abi.ITab.Fun", ITAB_HEADER),
            ("runtime._type.tflag", TYPE_FLAGS),
            ("internal/abi.Type.TFlag", TYPE_FLAGS),
            ("runtime._type.str", TYPE_STRING),
            ("internal/abi.Type.Str", TYPE_STRING),
            ("runtime.interfacetype.mhdr", INTERFACE_METHOD_COUNT - 8),
            ("internal/abi.InterfaceType.Methods", INTERFACE_METHOD_COUNT - 8),
        ];
        let mut found = 0;
        for version in Version::all() {
            for (name, constant) in constants {
                if let Some((at, _)) = version.find(name) {
                    found += 1;
                    assert_eq!(u64::from(at), *constant, "go1.{}: {name}", version.minor());
                }
            }
        }
        assert!(found > 8 * 15, "{found}");
        let shape = |minor, name| Version(minor).place(name).1;
        let of = |size| Shape::Struct(u16::try_from(size).expect("small"));
        assert_eq!(shape(19, "net.IPAddr"), of(ip_addr::SIZE));
        assert_eq!(shape(27, "net.IPAddr"), of(ip_addr::SIZE));
        assert_eq!(shape(19, "bucket<string,[]string>"), of(bucket_map::BUCKET_SIZE));
        let group = "noalg.map.group[string][]string";
        assert_eq!(shape(27, group), of(swiss_map::GROUP_SIZE));
        assert_eq!(shape(27, &format!("{group}.slots")), of(8 * swiss_map::SLOT_SIZE));
    }
}
