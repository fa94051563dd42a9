//! The checksum database, and waiting.

use crate::model::Severity::{Error, Note, Warning};

use super::{Kind, kind};

pub(super) const KINDS: &[Kind] = &[
    kind!(
        "PT501",
        "sumdb-unsupported",
        Note,
        "go asks the checksum database itself",
        "Where no entry of GOPROXY answers 200 to `/sumdb/<name>/supported`, go connects to the checksum database. 404 and 410 there are how proxies say that they do not forward it.",
        "Nothing needs to be done where this machine may connect to the checksum database. Otherwise let the proxy forward it.",
        ["https://go.dev/ref/mod#checksum-database"],
    ),
    kind!(
        "PT502",
        "sumdb-blocked",
        Error,
        "the checksum database cannot be reached",
        "No entry of GOPROXY says that it forwards the checksum database, so go connects to it directly, and this machine cannot; or GOSUMDB names none, or has another key than what answers. The modules themselves may have come.",
        "Allow this machine to reach the checksum database, use a proxy that forwards it (`/sumdb/<name>/supported` answers 200), or name another address of it: GOSUMDB=\"sum.golang.org https://…\".",
        ["https://go.dev/ref/mod#checksum-database"],
    ),
    kind!(
        "PT503",
        "supported-error",
        Error,
        "a proxy fails when asked whether it forwards the checksum database",
        "200 to `/sumdb/<name>/supported` means yes, 404 and 410 mean no. After anything else go takes the checksum database for unavailable, unless the entry is followed by `|` and a later one answers.",
        "Let the proxy answer 404 to `/sumdb/<name>/supported` if it does not forward the checksum database.",
        ["https://go.dev/ref/mod#checksum-database"],
    ),
    kind!(
        "PT504",
        "sumdb-false-supported",
        Error,
        "a proxy says that it forwards the checksum database, and does not",
        "go reads nothing of the answer to `/sumdb/<name>/supported` but that it is 200, and then never asks the database itself. A page for every path, as logins and catch-all rules have it, says 200 too.",
        "Let the proxy answer 404 below `/sumdb/`, or forward it.",
        ["https://go.dev/ref/mod#checksum-database"],
    ),
    kind!(
        "PT505",
        "private-in-sumdb",
        Warning,
        "the checksum database does not know a module that a proxy has",
        "The checksum database knows public modules alone: it fetches them itself. go asks it about every module that is not in go.sum, unless GONOSUMDB or GOPRIVATE matches.",
        "If the module is private, name it in GOPRIVATE (or in GONOSUMDB, where the proxy serves it). If it is public and its version minutes old, try again later.",
        ["https://go.dev/issue/35164", "https://go.dev/ref/mod#private-modules"],
    ),
    kind!(
        "PT506",
        "sumdb-triggered-fallback",
        Warning,
        "an entry served, and go asked the next one because of the checksum database",
        "go verifies within the walk through GOPROXY. After an entry that is followed by `|` a failure of the checksum database is an error like any other, and go asks the next entry for the same file.",
        "Repair the way to the checksum database; the entry itself is well.",
        [],
    ),
    kind!(
        "PT507",
        "checksum-mismatch",
        Error,
        "contents with another checksum than recorded",
        "What came is not what go.sum or the checksum database has for this version: a moved tag, a proxy that keeps something else, or a go.sum line that was made from something else. Where the checksum database contradicts itself, somebody shows this machine another database than others see.",
        "Compare what several proxies have for this version, and do not switch the check off before the difference is understood.",
        ["https://go.dev/ref/mod#authenticating"],
    ),
    kind!(
        "PT508",
        "silent-wait",
        Warning,
        "a long wait without a byte",
        "go has no time limit for an answer, once connected: it waits as long as the connection stands, and says nothing meanwhile.",
        "Look at what the host does before it answers, and at the connection to it. `timeout 300 go mod download` ends the wait.",
        ["https://go.dev/issue/28194"],
    ),
    kind!(
        "PT509",
        "sumdb-kept-broken",
        Error,
        "what go has kept of the checksum database is of no use",
        "go keeps the answers of the checksum database in the module cache, and the newest tree that it has seen beside it, and reads them without asking anybody. A file that was cut short, or that another key has signed, makes every later run fail.",
        "If GOSUMDB names another key than before, compare it with that of who runs the database. Otherwise remove what is kept: `rm -r \"$(go env GOMODCACHE)\"/cache/download/sumdb`, and where go says `initializing sumdb.Client`, `\"$(go env GOPATH)\"/pkg/sumdb/NAME`.",
        [],
    ),
];
