//! Headers of requests and responses: Go's maps from names to values.

use proxytrace_common::plan::{MapKind, bucket_map, swiss_map};
use proxytrace_common::record::{HEADER_NAME_MAX, HEADERS_BY_LENGTH, HeaderName, Kind, Tag};

use crate::scratch::{FOUND_MAX, PIECE, Scratch};
use crate::user::{read_pair, read_to, read_u8, read_u64};
use crate::verifier::{Step, bound, repeat};

/// Places for entries of a header map that are looked at: enough for fifty headers. If there are
/// more, `HeadersCut` is recorded.
const ENTRIES_MAX: u32 = 64;

/// Sizes of the headers of a string (pointer, length) and a slice (pointer, length, capacity).
const STRING_SIZE: u64 = 16;
const SLICE_SIZE: u64 = 24;

/// Where a `map[string][]string` keeps its entries, in groups of eight. Kept in the scratch buffer:
/// the verifier would follow each of these numbers through every turn of the loop.
#[repr(C)]
pub struct Groups {
    /// The group that is being looked at.
    group: u64,
    /// Groups still to be looked at, this one included.
    left: u64,
    /// Entries still to be found, as the map counts them.
    entries: u64,
    /// From a group to the key of its first entry, and to its value; from an entry to the next.
    key: u64,
    key_stride: u64,
    value: u64,
    value_stride: u64,
    /// Bytes from a group to the next.
    stride: u64,
    /// One if these are buckets (Go ≤ 1.23), which chain to others.
    buckets: u64,
    /// The first group of those whose turn it is.
    first: u64,
    /// While a map of buckets grows, some entries are still in its old ones.
    old: u64,
    old_count: u64,
}

impl Groups {
    #[inline(always)]
    fn of(map: u64, kind: u32, entries: u64) -> Option<Self> {
        if kind == MapKind::Swiss as u32 {
            Self::swiss(map, entries)
        } else {
            Self::buckets(map, entries)
        }
    }

    /// `internal/runtime/maps.Map` (Go ≥ 1.24): groups of a control word and eight slots. Of several
    /// tables (more than 896 headers), the first.
    #[inline(always)]
    fn swiss(map: u64, entries: u64) -> Option<Self> {
        let [directory, length] = read_pair(map + swiss_map::DIRECTORY)?;
        let (group, left) = if length == 0 {
            (directory, 1)
        } else {
            let [groups, mask] = read_pair(read_u64(directory)? + swiss_map::GROUPS)?;
            (groups, mask + 1)
        };
        Some(Self {
            group,
            left,
            entries,
            key: swiss_map::SLOTS,
            key_stride: swiss_map::SLOT_SIZE,
            value: swiss_map::SLOTS + STRING_SIZE,
            value_stride: swiss_map::SLOT_SIZE,
            stride: swiss_map::GROUP_SIZE,
            buckets: 0,
            first: group,
            old: 0,
            old_count: 0,
        })
    }

    /// `runtime.hmap` (Go ≤ 1.23): buckets of eight hashes, eight keys, eight values, a pointer to an
    /// overflow bucket.
    #[inline(always)]
    fn buckets(map: u64, entries: u64) -> Option<Self> {
        let bits = bound::<15>(u64::from(read_u8(map + bucket_map::B)?));
        let group = read_u64(map + bucket_map::BUCKETS)?;
        Some(Self {
            group,
            left: 1 << bits,
            entries,
            key: bucket_map::KEYS,
            key_stride: STRING_SIZE,
            value: bucket_map::VALUES,
            value_stride: SLICE_SIZE,
            stride: bucket_map::BUCKET_SIZE,
            buckets: 1,
            first: group,
            old: read_u64(map + bucket_map::OLD_BUCKETS)?,
            // A map that doubles had half as many.
            old_count: (1 << bits) >> 1,
        })
    }

    /// Whether the slot that this byte of the control word stands for is used.
    #[inline(always)]
    fn is_used(&self, control: u64) -> bool {
        // The high bit: empty or deleted. Below five: empty or moved.
        if self.buckets != 0 { control >= 5 } else { control & 0x80 == 0 }
    }
}

/// Goes to the next group; says whether there is one.
#[inline(always)]
fn advance(scratch: &mut Scratch) -> bool {
    let groups = &mut scratch.groups;
    if groups.buckets != 0 {
        let Some(overflow) = read_u64(groups.group + bucket_map::OVERFLOW) else { return false };
        if overflow != 0 {
            groups.group = overflow;
            return true;
        }
    }
    groups.left -= 1;
    if groups.left != 0 {
        groups.first += groups.stride;
    } else if groups.old != 0 {
        groups.first = groups.old;
        groups.left = if groups.old_count == 0 { 1 } else { groups.old_count };
        groups.old = 0;
    } else {
        return false;
    }
    groups.group = groups.first;
    true
}

/// Adds the allow-listed headers of the map at an address.
#[inline(always)]
pub fn headers<const HELPER: bool>(scratch: &mut Scratch, map: u64, map_kind: u32) {
    if map == 0 {
        return;
    }
    // Both kinds begin with the number of their entries (`hmap.count`, `Map.used`).
    let entries = read_u64(map);
    if entries == Some(0) {
        return;
    }
    let Some(groups) = entries.and_then(|entries| Groups::of(map, map_kind, entries)) else {
        // It is on a page that is not there now.
        scratch.put(Tag::HeadersCut, &1u64);
        return;
    };
    scratch.groups = groups;
    scratch.found_count = 0;
    // First find, then copy: the loop over all entries stays small.
    repeat::<FindHeader, HELPER>(scratch);
    repeat::<CopyHeader, HELPER>(scratch);
    if scratch.groups.entries != 0 || scratch.found_count > FOUND_MAX as u64 {
        scratch.put(Tag::HeadersCut, &1u64);
    }
}

/// Looks at the next place of a header map and notes the header there, if it is on the allow-list.
/// Of several values, the first.
struct FindHeader;

impl Step for FindHeader {
    const TURNS: u32 = ENTRIES_MAX;

    #[inline(always)]
    fn turn(scratch: &mut Scratch, turn: u64) -> bool {
        let slot = turn & 7;
        if slot == 0 && !read_group(scratch) {
            return false;
        }
        let groups = &scratch.groups;
        // What the group says of its places: a byte each.
        if groups.is_used(scratch.in_piece(0)[0] >> (8 * slot) & 0xff) {
            let key = groups.key + slot * groups.key_stride;
            let values = groups.value + slot * groups.value_stride;
            note_header(scratch, key, values);
            // What follows the last entry may be on a page that was never touched.
            scratch.groups.entries -= 1;
            if scratch.groups.entries == 0 {
                return false;
            }
        }
        slot != 7 || advance(scratch)
    }
}

/// Reads the group that is being looked at as far as it is used: what lies behind can be on a page that
/// is not there yet. Its control word, its first entry and its last are on pages that are.
#[inline(always)]
fn read_group(scratch: &mut Scratch) -> bool {
    let groups = &scratch.groups;
    let Some(control) = read_u64(groups.group) else { return false };
    let mut used = 0;
    for slot in 0..8 {
        if groups.is_used(control >> (8 * slot) & 0xff) {
            used = groups.value + slot * groups.value_stride + SLICE_SIZE;
        }
    }
    scratch.piece[0] = control;
    let size = bound::<{ PIECE as i32 - 1 }>(used);
    // SAFETY: the piece has room for more than the bounded size.
    size == 0
        || unsafe { read_to(scratch.piece.as_mut_ptr().cast(), scratch.groups.group, size as u32) }
}

#[inline(always)]
fn note_header(scratch: &mut Scratch, key: u64, values: u64) {
    let (tag, first, count) = match header_tag(scratch, key) {
        Some(tag) => {
            let [first, count] = scratch.in_piece(values);
            (tag, first, count)
        }
        // Of a request, that it is there: its name, which is a string like a value.
        None if scratch.header().kind == Kind::RequestEnter as u16 => {
            (Tag::OtherHeader as u64, scratch.groups.group + key, 1)
        }
        None => return,
    };
    if count == 0 {
        return;
    }
    let number = scratch.found_count;
    scratch.found_count = number + 1;
    if number < FOUND_MAX as u64
        && let Some(place) =
            scratch.found.get_mut(bound::<{ FOUND_MAX as i32 - 1 }>(number) as usize)
    {
        *place = (tag, first);
    }
}

/// Adds the next of the headers that were found.
struct CopyHeader;

impl Step for CopyHeader {
    const TURNS: u32 = FOUND_MAX as u32;

    #[inline(always)]
    fn turn(scratch: &mut Scratch, turn: u64) -> bool {
        if turn >= scratch.found_count {
            return false;
        }
        let place = bound::<{ FOUND_MAX as i32 - 1 }>(turn);
        let Some(&(tag, address)) = scratch.found.get(place as usize) else { return false };
        scratch.put_string(tag as u8, address);
        true
    }
}

/// The tag of the header whose name is so far into the piece, if it is on the allow-list.
#[inline(always)]
fn header_tag(scratch: &mut Scratch, key: u64) -> Option<u64> {
    static KNOWN: [[HeaderName; 2]; HEADER_NAME_MAX + 1] = HEADERS_BY_LENGTH;
    let [name, length] = scratch.in_piece(key);
    let [one, other] = KNOWN.get(length as usize)?;
    if one.1 == 0 {
        return None;
    }
    let length = bound::<{ 2 * HEADER_NAME_MAX as i32 - 1 }>(length);
    scratch.name.clear();
    // SAFETY: the masked length is within twice the longest name.
    if !unsafe { read_to((&raw mut scratch.name).cast(), name, length as u32) } {
        // It may be any of them: one more than will be found, so that `HeadersCut` is recorded.
        scratch.groups.entries += 1;
        return None;
    }
    let padded = scratch.name.0;
    let of = |known: &HeaderName| {
        if known.0[0] == padded[0] && known.0[1] == padded[1] { known.1 } else { 0 }
    };
    let tag = of(one) | of(other);
    (tag != 0).then_some(tag)
}
