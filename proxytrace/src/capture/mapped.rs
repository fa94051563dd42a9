//! Files in memory that others may cut off while they are read.
//!
//! What is behind the new end of such a file is no memory any more, and to read there is SIGBUS: the
//! end of a process that watches a whole host, at the wish of anyone whose file it looks at. To copy
//! every file first would take longer than all that is read from it. So the signal is handled: there
//! are zeros there then, and the file is known to be none.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use memmap2::{Mmap, UncheckedAdvice};

/// So many at a time: several threads read a file or two.
const PLACES: usize = 16;

/// A file, as it was or with zeros in place of what was cut off.
pub(crate) struct Mapped {
    map: Mmap,
    place: &'static Place,
}

/// Where a file is in memory.
struct Place {
    is_taken: AtomicBool,
    /// Zero as long as there is none.
    start: AtomicUsize,
    end: AtomicUsize,
    is_cut: AtomicBool,
}

static ALL: [Place; PLACES] = [const {
    Place {
        is_taken: AtomicBool::new(false),
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        is_cut: AtomicBool::new(false),
    }
}; PLACES];

/// What was done about the signal before, and the size of a page: there before the handler is.
static BEFORE: OnceLock<(libc::sigaction, usize)> = OnceLock::new();
/// Whether the handler is there; otherwise why not, as an errno.
static HANDLED: OnceLock<Result<(), i32>> = OnceLock::new();

impl Mapped {
    pub(super) fn of(file: &File) -> io::Result<Self> {
        handle_bus_errors()?;
        let free = |place: &&Place| !place.is_taken.swap(true, Ordering::Acquire);
        let place = ALL.iter().find(free).ok_or(io::ErrorKind::ResourceBusy)?;
        // SAFETY: the mapping is private and read-only. That the file gets shorter is handled here;
        // that it is written to while it is read can make its bytes change, which whoever reads them
        // takes for bytes that are wrong.
        let map = unsafe { Mmap::map(file) }.inspect_err(|_| place.leave())?;
        let start = map.as_ptr() as usize;
        place.is_cut.store(false, Ordering::Relaxed);
        place.end.store(start + map.len(), Ordering::Relaxed);
        place.start.store(start, Ordering::Release);
        Ok(Self { map, place })
    }

    /// Lets go of the memory of some of its bytes. Who reads them again has them from the file.
    pub(super) fn release(&self, bytes: &[u8]) {
        let start = (bytes.as_ptr() as usize).wrapping_sub(self.map.as_ptr() as usize);
        if start.checked_add(bytes.len()).is_some_and(|end| end <= self.map.len()) {
            // SAFETY: nobody writes to the mapping, so there is nothing in it that can be lost.
            let advised = unsafe {
                self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, bytes.len())
            };
            // It saves memory, no more.
            drop(advised);
        }
    }

    /// Whether all that was read was in the file.
    pub(super) fn is_whole(&self) -> bool {
        !self.place.is_cut.load(Ordering::Relaxed)
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // Before the memory is another's.
        self.place.leave();
    }
}

impl Place {
    fn leave(&self) {
        self.start.store(0, Ordering::Release);
        self.is_taken.store(false, Ordering::Release);
    }

    fn has(&self, address: usize) -> bool {
        let start = self.start.load(Ordering::Acquire);
        start != 0 && (start..self.end.load(Ordering::Relaxed)).contains(&address)
    }
}

/// Has the signal handled, once; a new program image begins without. Whoever comes meanwhile waits
/// until it is.
fn handle_bus_errors() -> io::Result<()> {
    let handled = HANDLED
        .get_or_init(|| install().map_err(|error| error.raw_os_error().unwrap_or(libc::EINVAL)));
    handled.map_err(io::Error::from_raw_os_error)
}

fn install() -> io::Result<()> {
    let action = |new: *const libc::sigaction| {
        // SAFETY: integers and a function pointer, of which all zeros is a valid one.
        let mut old: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: `new` is null or a valid action, and `old` is written by the call.
        let failed = unsafe { libc::sigaction(libc::SIGBUS, new, &raw mut old) } != 0;
        if failed { Err(io::Error::last_os_error()) } else { Ok(old) }
    };
    // SAFETY: a helper without side effects.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let page = usize::try_from(page).map_err(io::Error::other)?;
    let before = action(std::ptr::null())?;
    BEFORE.get_or_init(|| (before, page));
    // SAFETY: as above.
    let mut new: libc::sigaction = unsafe { std::mem::zeroed() };
    new.sa_sigaction = on_bus_error as *const () as usize;
    new.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    action(&raw const new).map(drop)
}

/// Puts a page of zeros where a file has none. Calls nothing but what a handler may call
/// (signal-safety(7), and mmap, which is a plain system call).
extern "C" fn on_bus_error(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    let Some((before, page)) = BEFORE.get() else { return };
    // SAFETY: the kernel gave it, and for this signal it has an address.
    let address = unsafe { (*info).si_addr() } as usize;
    if let Some(place) = ALL.iter().find(|place| place.has(address)) {
        let start = (address & !(page - 1)) as *mut libc::c_void;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        // SAFETY: the page is one of a mapping of ours that is only read.
        let zeros = unsafe { libc::mmap(start, *page, libc::PROT_READ, flags, -1, 0) };
        if zeros == start {
            place.is_cut.store(true, Ordering::Relaxed);
            return;
        }
    }
    // None of ours: it comes again, and then means what it meant.
    // SAFETY: the action is one that was in force.
    unsafe { libc::sigaction(signal, before, std::ptr::null_mut()) };
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn what_is_cut_off_is_zeros() {
        let mut file = tempfile::tempfile().unwrap();
        // Of every size that a page has.
        file.write_all(&vec![7; 256 << 10]).unwrap();
        let (mapped, other) = (Mapped::of(&file).unwrap(), Mapped::of(&file).unwrap());
        assert!(mapped.iter().all(|&byte| byte == 7) && mapped.is_whole());
        file.set_len(64 << 10).unwrap();
        let (there, gone) = mapped.split_at(64 << 10);
        assert!(there.iter().all(|&byte| byte == 7) && gone.iter().all(|&byte| byte == 0));
        assert_eq!(mapped.len(), 256 << 10);
        assert!(!mapped.is_whole() && other.is_whole());
    }

    #[test]
    fn what_was_let_go_of_is_there_again() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; 256 << 10]).unwrap();
        let mapped = Mapped::of(&file).unwrap();
        assert!(mapped.iter().all(|&byte| byte == 7));
        mapped.release(&mapped[5..100_000]);
        mapped.release(&mapped);
        assert!(mapped.iter().all(|&byte| byte == 7) && mapped.is_whole());
        // None of its own.
        mapped.release(b"others'");
        // Nor is what is no more.
        file.set_len(64 << 10).unwrap();
        assert!(mapped[64 << 10..].iter().all(|&byte| byte == 0) && !mapped.is_whole());
        mapped.release(&mapped);
        assert!(mapped[64 << 10..].iter().all(|&byte| byte == 0) && !mapped.is_whole());
    }

    #[test]
    fn places_are_given_back() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"x").unwrap();
        for _ in 0..3 * PLACES {
            assert_eq!(&*Mapped::of(&file).unwrap(), b"x");
        }
    }
}
