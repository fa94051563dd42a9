//! The run itself: its modules and tools, what it cost, and whether all of it was seen.

use crate::model::Severity::{Error, Note, Warning};

use super::{Kind, kind};

pub(super) const KINDS: &[Kind] = &[
    kind!(
        "PT701",
        "private-leak",
        Warning,
        "a private module's path was sent to a public server",
        "The name of a module that is nobody else's business was asked of a server that is open to all. go asks every entry of GOPROXY in turn, and the checksum database, unless GOPRIVATE matches.",
        "Name the modules in GOPRIVATE.",
        ["https://go.dev/issue/33985", "https://go.dev/ref/mod#private-modules"],
    ),
    kind!(
        "PT702",
        "direct-vcs",
        Note,
        "go fetched from repositories itself",
        "`direct` leaves the fetch to git or another tool, with its own connections, credentials and proxies.",
        "Nothing needs to be done.",
        ["https://go.dev/ref/mod#vcs"],
    ),
    kind!(
        "PT703",
        "toolchain-missing",
        Error,
        "the toolchain that is asked for cannot be had",
        "go fetches toolchains as versions of the module golang.org/toolchain. The entries of GOPROXY that were asked do not have this one, or nobody verifies it: go asks the checksum database about every toolchain.",
        "Write the release in full (`go 1.22.0`, not `go 1.22`), let the proxy have golang.org/toolchain, or install the release and set GOTOOLCHAIN=local.",
        ["https://go.dev/issue/62278", "https://go.dev/doc/toolchain"],
    ),
    kind!(
        "PT704",
        "vcs-failed",
        Error,
        "a version control tool could not fetch a repository",
        "`direct` leaves the fetch to git or another tool, which ended with an error, or is not there. Later versions of go can go on after it and then complain of an unknown revision instead.",
        "Run the command by hand: it says why. Check the repository that the module's go-import names, and the credentials that the tool has for it.",
        ["https://go.dev/ref/mod#vcs"],
    ),
    kind!(
        "PT801",
        "slow",
        Warning,
        "a host is slow",
        "go waits for every answer, and for each module there are several, one after the other.",
        "Put a caching proxy in front, or nearer; look at the host's load and the way to it.",
        ["https://go.dev/issue/73403"],
    ),
    kind!(
        "PT802",
        "conn-churn",
        Note,
        "a connection for nearly every request",
        "Over HTTP/1.1 go keeps two idle connections a host. More than two requests at a time mean that most connections are made anew, each with its handshake.",
        "Offer HTTP/2 on the proxy.",
        [],
    ),
    kind!(
        "PT900",
        "incomplete-capture",
        Note,
        "not everything was seen",
        "Events were lost, a function has no probe, a process was running before its probes were in place, or a go was read by the layouts of another release. What was not seen may contradict what was found.",
        "Trace again, as root, which sees each go before it runs. Read every finding of this trace as a possibility.",
        [],
    ),
];
