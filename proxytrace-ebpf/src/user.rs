//! Reading the memory of the process that a probe is in. The helpers check the address.

use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::helpers::generated::bpf_probe_read_user as read_bytes;

#[inline(always)]
pub fn read_u64(address: u64) -> Option<u64> {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_user(address as *const u64) }.ok()
}

#[inline(always)]
pub fn read_u8(address: u64) -> Option<u8> {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_user(address as *const u8) }.ok()
}

#[inline(always)]
pub fn read_pair(address: u64) -> Option<[u64; 2]> {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_user(address as *const [u64; 2]) }.ok()
}

/// Reads so many bytes to a place; says whether that went well.
///
/// # Safety
///
/// There must be room for them.
#[inline(always)]
pub unsafe fn read_to(place: *mut u8, address: u64, length: u32) -> bool {
    // SAFETY: the helper checks the source, and the caller the place.
    unsafe { read_bytes(place.cast(), length, address as *const _) == 0 }
}
