//! What formats cost grows with the trace and no faster: memory and allocations are counted, not
//! timed. How long they take is in the benchmark (`cargo bench -p proxytrace -- formats`).

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io;

use proxytrace::model::Trace;
use proxytrace::report::terminal::{Options, render};
use proxytrace::report::{self, FORMATS};
use proxytrace_tests::golden;

use crate::traces::grown;

thread_local! {
    static NOW: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, which counts by thread.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(bytes: isize) {
    // A thread that is ending has nothing left to count with.
    let _ = NOW.try_with(|now| {
        now.set(now.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(now.get())));
    });
    if bytes > 0 {
        let _ = COUNT.try_with(|number| number.set(number.get() + 1));
    }
}

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Writes a trace somewhere.
type Write = Box<dyn Fn(&Trace)>;

/// Bytes that were in use at once beyond those before, and how many times some were asked for.
fn cost(work: impl FnOnce()) -> (isize, u64) {
    let (before, number) = (NOW.get(), COUNT.get());
    PEAK.set(before);
    work();
    (PEAK.get() - before, COUNT.get() - number)
}

/// Twice the requests cost at most so many hundredths of what they cost before: the memory of what
/// grows by doubling may double early.
const TWICE: u64 = 230;

#[test]
fn every_format_is_linear() {
    let golden = golden::named("redirect-403");
    let traces = [2500, 5000, 10_000].map(|requests| grown(&golden, requests));
    let write = |name: &'static str| {
        move |trace: &Trace| {
            let format = report::format(name).unwrap();
            report::write(format, trace, io::sink()).unwrap();
        }
    };
    let mut formats: Vec<(&str, Write)> =
        FORMATS.iter().map(|one| (one.name, Box::new(write(one.name)) as Write)).collect();
    for (name, verbose) in [("text", false), ("text -v", true)] {
        let options = Options { verbose, ..Options::default() };
        formats.push((name, Box::new(move |trace| drop(render(trace, &options)))));
    }
    for (name, write) in formats {
        let costs = traces.each_ref().map(|trace| cost(|| write(trace)));
        println!("{name}: bytes at once and allocations, of 2,500, 5,000, 10,000: {costs:?}");
        for [(less, fewer), (more, number)] in [[costs[0], costs[1]], [costs[1], costs[2]]] {
            let (less, more) = (less.unsigned_abs() as u64, more.unsigned_abs() as u64);
            let most = |before: u64| before * TWICE / 100;
            assert!(more <= most(less.max(1 << 20)), "{name}: {less}, then {more} bytes");
            assert!(number <= most(fewer) + 1000, "{name}: {fewer}, then {number} allocations");
        }
        // 5,000 requests are some megabytes of trace.
        assert!(costs[1].0 < 64 << 20, "{name}: {} bytes", costs[1].0);
    }
}
