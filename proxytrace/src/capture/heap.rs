//! The heap of a process that lives for months.
//!
//! glibc keeps what was freed for later, in a heap for each thread. After one large build an agent
//! would have the memory of that build for ever, twice.

/// One heap for all threads. Before there are any.
pub fn share() {
    #[cfg(target_env = "gnu")]
    // SAFETY: a setting; it fails for numbers that there are none of.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives what is not needed back to the system: takes some tenths of a millisecond.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: without arguments that could be wrong; other threads wait meanwhile.
    unsafe {
        libc::malloc_trim(0);
    }
}
