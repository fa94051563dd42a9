//! The output of `go mod download -x`, as anybody may have written it.

use proxytrace::golog;
use proxytrace::report::terminal;

use crate::assert_printable;

pub(crate) fn any(data: &[u8]) {
    let (trace, lines) = golog::read(data).expect("a slice can be read");
    let options = terminal::Options { verbose: true, ..terminal::Options::default() };
    assert_printable(&terminal::render(&trace, &options));
    let requests = trace.chains.iter().flat_map(|c| &c.attempts).flat_map(|a| &a.requests).count();
    // A line can reveal one redirect.
    assert!(requests <= 2 * lines, "{requests} requests from {lines} lines");
    serde_json::to_vec(&trace).expect("a trace is JSON");
}
