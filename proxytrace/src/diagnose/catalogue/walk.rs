//! The walk through GOPROXY.

use crate::model::Severity::{Error, Note, Warning};

use super::{Kind, kind};

pub(super) const KINDS: &[Kind] = &[
    kind!(
        "PT101",
        "comma-stops",
        Error,
        "`,` in GOPROXY kept go from asking the next entry",
        "After an entry that is followed by `,`, go asks the next one for 404 and 410 alone. Any other failure ends the search.",
        "Let the proxy answer 404 for what it does not have, or write `|` after the entry, so that go asks on after any error.",
        ["https://go.dev/issue/37367", "https://go.dev/ref/mod#goproxy-protocol"],
    ),
    kind!(
        "PT102",
        "fallback-404",
        Note,
        "go asked the next entry of GOPROXY after 404 or 410",
        "That is how proxies say that they do not have a module, and how the list is meant to work. Only where an entry has nothing at all, and go fails for want of something, may its path be wrong.",
        "Nothing needs to be done. Where an entry never has anything, not even its own modules, check its path in GOPROXY.",
        ["https://go.dev/ref/mod#environment-variables"],
    ),
    kind!(
        "PT103",
        "pipe-hides-outage",
        Warning,
        "an entry of GOPROXY fails, and `|` hides it",
        "After an entry that is followed by `|`, go asks the next one whatever the failure, and says nothing of it.",
        "Repair the entry, or take it out of GOPROXY: every fetch asks it first.",
        [],
    ),
    kind!(
        "PT104",
        "masked-root-cause",
        Warning,
        "go's message shows the last failure, not the first",
        "When `direct` fails as well, go reports its error in place of the proxy's, though the proxy's failure came first.",
        "Repair what failed first; ignore what go says about `direct`.",
        ["https://go.dev/ref/mod#environment-variables"],
    ),
    kind!(
        "PT105",
        "entry-unreachable-by-config",
        Warning,
        "entries of GOPROXY after `direct` or `off` are never asked",
        "`direct` and `off` end the list (`modfetch/proxy.go:proxyList`): whatever follows is dropped without a word.",
        "Put the entries before `direct`, or remove them.",
        ["https://go.dev/ref/mod#environment-variables"],
    ),
    kind!(
        "PT106",
        "prefix-probe-not-404",
        Error,
        "a proxy answers the probe of a shorter path with an error",
        "To find the module of a package go asks for every prefix of its path at once, and takes 404 and 410 alone for `there is none`. Any other answer to one of them can end the query, though the module itself is there.",
        "Let the proxy answer 404 for paths that are no modules.",
        ["https://go.dev/issue/33032"],
    ),
    kind!(
        "PT107",
        "fallback-fanout",
        Warning,
        "one failing entry sent go to many hosts at once",
        "After an entry that is followed by `|`, one failure is enough for go to ask `direct`: the host of every module by itself, and its repository.",
        "Repair the entry. Where only it may be reached from this machine, do not let `direct` follow it.",
        ["https://github.com/cloudposse/atmos/issues/3037"],
    ),
    kind!(
        "PT108",
        "error-from-off",
        Note,
        "`off` hides that the module was not found",
        "When the walk ends at `off`, go says `module lookup disabled by GOPROXY=off`. What it means here is that every entry before it answered 404 or 410.",
        "Look at what the entries before `off` answered.",
        ["https://go.dev/ref/mod#environment-variables"],
    ),
];
