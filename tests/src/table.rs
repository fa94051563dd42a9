//! The scenarios. A new one is a new row.

use crate::modules::Modules;
use crate::scenario::Action::{
    self, Close, GoImport, Hang, Html, Redirect, Serve, ServeLast, ServeOncePerConnection, Status,
    Truncate,
};
use crate::scenario::Protocol::{self, H1, H2, Plain};
use crate::scenario::Severity::{Error, Note, Warning};
use crate::scenario::Sumdb::{At, Forked, Grown, Honest, Lying, Off};
use crate::scenario::{Answers, GoSum, Host, Rule, Scenario, Trouble};

const fn modules(count: usize) -> Modules {
    Modules { prefix: "mod.lab/m", count }
}

const fn host(name: &'static str, protocol: Protocol, rules: &'static [Rule]) -> Host {
    Host { name, protocol, rules, trouble: None }
}

const fn with(trouble: Trouble, host: Host) -> Host {
    Host { trouble: Some(trouble), ..host }
}

const fn on(pattern: &'static str, action: Action) -> Rule {
    Rule { pattern, action }
}

/// So many answers of a status.
const fn got(host: &'static str, status: u16, count: usize) -> Answers {
    Answers { host, status: Some(status), count: Some(count), resent: false }
}

/// So many answers within sends that ended 4xx over https.
const fn resent(host: &'static str, status: u16, count: usize) -> Answers {
    Answers { host, status: Some(status), count: Some(count), resent: true }
}

/// Some requests without an answer.
const fn closed(host: &'static str) -> Answers {
    Answers { host, status: None, count: None, resent: false }
}

const PROXY: Host = host("proxy.lab", H2, &[on("*", Serve)]);
const MIRROR: Host = host("mirror.lab", H2, &[on("*", Serve)]);
const STORAGE: Host = host("storage.lab", H2, &[on("*", Serve)]);

const SUM: Host = host("sum.lab", H2, &[on("*", Serve)]);
/// A proxy without the checksum database.
const UNSUPPORTING: Host =
    host("proxy.lab", H2, &[on("/sumdb/*", Status(404, &[])), on("*", Serve)]);
/// What is asked of the checksum database for three modules: `/supported`, each of them, one tile.
const SUMS: usize = 5;

/// Sends everyone for a zip to `location`, and serves the rest itself.
const fn redirecting(location: &'static str) -> [Rule; 2] {
    [on("*.zip", Redirect(302, location)), on("*", Serve)]
}

const TO_STORAGE: &[Rule] = &redirecting("https://storage.lab{path}");

/// What most scenarios have in common.
const BASE: Scenario = Scenario {
    name: "",
    about: "",
    modules: modules(0),
    goproxy: "",
    sumdb: Off,
    go_sum: GoSum::Absent,
    cached: &[],
    hosts: &[],
    succeeds: true,
    answers: &[],
    findings: &[],
};

pub(crate) static SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "healthy-40",
        about: "one proxy that has everything, HTTP/2",
        modules: modules(40),
        goproxy: "https://proxy.lab",
        hosts: &[PROXY],
        succeeds: true,
        answers: &[got("proxy.lab", 200, 120)],
        findings: &[],
        ..BASE
    },
    Scenario {
        name: "healthy-h1",
        about: "one proxy that has everything, HTTP/1.1 over TLS",
        modules: modules(12),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H1, &[on("*", Serve)])],
        succeeds: true,
        answers: &[got("proxy.lab", 200, 36)],
        findings: &[],
        ..BASE
    },
    Scenario {
        name: "healthy-plain",
        about: "one proxy that has everything, without TLS",
        modules: modules(12),
        goproxy: "http://proxy.lab",
        hosts: &[host("proxy.lab", Plain, &[on("*", Serve)])],
        succeeds: true,
        answers: &[got("proxy.lab", 200, 36)],
        findings: &[],
        ..BASE
    },
    Scenario {
        name: "plain-redirects",
        about: "without TLS: a host that redirects zips, and one that has only a part",
        modules: modules(4),
        goproxy: "http://proxy.lab,http://mirror.lab",
        hosts: &[
            host(
                "proxy.lab",
                Plain,
                &[
                    on("*/m02/*", Status(404, &[])),
                    on("*/m03/*", Status(410, &[])),
                    on("*.zip", Redirect(302, "http://storage.lab{path}?generation=7")),
                    on("*", Serve),
                ],
            ),
            host("mirror.lab", Plain, &[on("*", Serve)]),
            host("storage.lab", Plain, &[on("*", Serve)]),
        ],
        succeeds: true,
        answers: &[
            got("proxy.lab", 200, 4),
            got("proxy.lab", 302, 2),
            got("proxy.lab", 404, 3),
            got("proxy.lab", 410, 3),
            got("mirror.lab", 200, 6),
            got("storage.lab", 200, 2),
        ],
        findings: &[],
        ..BASE
    },
    Scenario {
        name: "plain-once",
        about: "without TLS: each connection serves once and cuts the next request off",
        modules: modules(4),
        goproxy: "http://proxy.lab",
        hosts: &[host("proxy.lab", Plain, &[on("*", ServeOncePerConnection)])],
        succeeds: true,
        answers: &[got("proxy.lab", 200, 12), closed("proxy.lab")],
        findings: &[],
        ..BASE
    },
    Scenario {
        name: "plain-truncated",
        about: "without TLS: zips are shorter than their Content-Length",
        modules: modules(2),
        goproxy: "http://proxy.lab",
        hosts: &[host("proxy.lab", Plain, &[on("*.zip", Truncate), on("*", Serve)])],
        succeeds: false,
        answers: &[got("proxy.lab", 200, 6)],
        findings: &[("PT210", Error)],
        ..BASE
    },
    Scenario {
        name: "case-encoded",
        about: "module paths with capitals, asked for as %21",
        modules: Modules { prefix: "mod.lab/Upper", count: 2 },
        goproxy: "https://proxy.lab",
        hosts: &[PROXY],
        succeeds: true,
        answers: &[got("proxy.lab", 200, 6)],
        findings: &[],
        ..BASE
    },
    Scenario {
        name: "bench",
        about: "every zip answered 302 to another host; for measuring, with --modules",
        modules: modules(200),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H2, TO_STORAGE), STORAGE],
        succeeds: true,
        answers: &[
            got("proxy.lab", 200, 400),
            got("proxy.lab", 302, 200),
            got("storage.lab", 200, 200),
        ],
        findings: &[],
        ..BASE
    },
    Scenario {
        name: "demo",
        about: "one zip is redirected, one module is only at the second proxy",
        modules: modules(3),
        goproxy: "https://proxy.lab,https://mirror.lab",
        hosts: &[
            host(
                "proxy.lab",
                H2,
                &[
                    on("*/m02/*.zip", Redirect(302, "https://storage.lab{path}")),
                    on("*/m03/*", Status(404, &[])),
                    on("*", Serve),
                ],
            ),
            MIRROR,
            STORAGE,
        ],
        succeeds: true,
        answers: &[
            got("proxy.lab", 200, 5),
            got("proxy.lab", 302, 1),
            got("storage.lab", 200, 1),
            resent("proxy.lab", 404, 3),
            got("mirror.lab", 200, 3),
        ],
        findings: &[],
        ..BASE
    },
    Scenario {
        name: "not-found-next",
        about: "the first proxy has nothing (404), the second everything",
        modules: modules(6),
        goproxy: "https://proxy.lab,https://mirror.lab",
        hosts: &[host("proxy.lab", H2, &[]), MIRROR],
        succeeds: true,
        answers: &[resent("proxy.lab", 404, 18), got("mirror.lab", 200, 18)],
        findings: &[],
        ..BASE
    },
    Scenario {
        name: "gone-next",
        about: "the first proxy says 410 to everything, the second has it",
        modules: modules(6),
        goproxy: "https://proxy.lab,https://mirror.lab",
        hosts: &[host("proxy.lab", H2, &[on("*", Status(410, &[]))]), MIRROR],
        succeeds: true,
        answers: &[resent("proxy.lab", 410, 18), got("mirror.lab", 200, 18)],
        findings: &[],
        ..BASE
    },
    Scenario {
        name: "same-host-next",
        about: "two entries on one host that differ in the path alone",
        modules: modules(4),
        goproxy: "https://proxy.lab/a,https://proxy.lab/b",
        hosts: &[host("proxy.lab", H2, &[on("/b/*", Serve)])],
        succeeds: true,
        answers: &[resent("proxy.lab", 404, 12), got("proxy.lab", 200, 12)],
        findings: &[],
        ..BASE
    },
    Scenario {
        name: "cross-host-redirect",
        about: "every zip is redirected to another host, with a query",
        modules: modules(12),
        goproxy: "https://proxy.lab",
        hosts: &[
            host("proxy.lab", H2, &redirecting("https://storage.lab{path}?generation=7")),
            STORAGE,
        ],
        succeeds: true,
        answers: &[
            got("proxy.lab", 200, 24),
            got("proxy.lab", 302, 12),
            got("storage.lab", 200, 12),
        ],
        findings: &[],
        ..BASE
    },
    Scenario {
        name: "redirect-chain-3",
        about: "three redirects, of three kinds, before the zip comes",
        modules: modules(4),
        goproxy: "https://proxy.lab",
        hosts: &[
            host("proxy.lab", H2, &redirecting("https://one.lab{path}")),
            host("one.lab", H1, &[on("*", Redirect(307, "https://two.lab{path}"))]),
            host("two.lab", H2, &[on("*", Redirect(301, "https://storage.lab{path}"))]),
            STORAGE,
        ],
        succeeds: true,
        answers: &[
            got("proxy.lab", 200, 8),
            got("proxy.lab", 302, 4),
            got("one.lab", 307, 4),
            got("two.lab", 301, 4),
            got("storage.lab", 200, 4),
        ],
        findings: &[],
        ..BASE
    },
    Scenario {
        name: "redirect-404-next",
        about: "zips are redirected to a host without them; the second proxy has them",
        modules: modules(4),
        goproxy: "https://proxy.lab,https://mirror.lab",
        hosts: &[host("proxy.lab", H2, TO_STORAGE), host("storage.lab", H2, &[]), MIRROR],
        succeeds: true,
        answers: &[
            got("proxy.lab", 200, 8),
            resent("proxy.lab", 302, 4),
            resent("storage.lab", 404, 4),
            got("mirror.lab", 200, 4),
        ],
        findings: &[("PT012", Note)],
        ..BASE
    },
    Scenario {
        name: "redirect-403",
        about: "zips are redirected to a host that refuses them",
        modules: modules(4),
        goproxy: "https://proxy.lab",
        hosts: &[
            host("proxy.lab", H2, TO_STORAGE),
            host("storage.lab", H2, &[on("*", Status(403, &[("Via", "1.1 cdn.lab")]))]),
        ],
        succeeds: false,
        answers: &[
            got("proxy.lab", 200, 8),
            resent("proxy.lab", 302, 4),
            resent("storage.lab", 403, 4),
        ],
        findings: &[("PT006", Error)],
        ..BASE
    },
    Scenario {
        name: "redirect-403-pipe",
        about: "zips are redirected to a host that refuses them; `|` hides it",
        modules: modules(4),
        goproxy: "https://proxy.lab|https://mirror.lab",
        hosts: &[
            host("proxy.lab", H2, TO_STORAGE),
            host("storage.lab", H2, &[on("*", Status(403, &[]))]),
            MIRROR,
        ],
        succeeds: true,
        answers: &[
            got("proxy.lab", 200, 8),
            resent("proxy.lab", 302, 4),
            resent("storage.lab", 403, 4),
            got("mirror.lab", 200, 4),
        ],
        findings: &[("PT012", Warning), ("PT103", Warning)],
        ..BASE
    },
    Scenario {
        name: "redirect-downgrade",
        about: "zips are redirected from https to http, which go refuses",
        modules: modules(4),
        goproxy: "https://proxy.lab",
        hosts: &[
            host("proxy.lab", H2, &redirecting("http://storage.lab{path}")),
            host("storage.lab", Plain, &[on("*", Serve)]),
        ],
        succeeds: false,
        answers: &[got("proxy.lab", 200, 8), got("proxy.lab", 302, 4)],
        findings: &[("PT004", Error)],
        ..BASE
    },
    Scenario {
        name: "redirect-loop",
        about: "two hosts redirect zips to each other",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[
            host("proxy.lab", H2, TO_STORAGE),
            host("storage.lab", H2, &[on("*", Redirect(302, "https://proxy.lab{path}"))]),
        ],
        succeeds: false,
        answers: &[
            got("proxy.lab", 200, 4),
            got("proxy.lab", 302, 10),
            got("storage.lab", 302, 10),
        ],
        findings: &[("PT003", Error)],
        ..BASE
    },
    Scenario {
        name: "redirect-closed-port",
        about: "zips are redirected to a port where nobody listens",
        modules: modules(4),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H2, &redirecting("https://storage.lab:4443{path}")), STORAGE],
        succeeds: false,
        answers: &[got("proxy.lab", 200, 8), got("proxy.lab", 302, 4)],
        findings: &[("PT007", Error)],
        ..BASE
    },
    Scenario {
        name: "redirect-no-location",
        about: "zips are answered 302 without a Location",
        modules: modules(4),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H2, &[on("*.zip", Status(302, &[])), on("*", Serve)])],
        succeeds: false,
        answers: &[got("proxy.lab", 200, 8), got("proxy.lab", 302, 4)],
        findings: &[],
        ..BASE
    },
    Scenario {
        name: "redirect-broken-location",
        about: "zips are answered 302 with a Location that is no URL",
        modules: modules(4),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H2, &redirecting("https://[::1/"))],
        succeeds: false,
        answers: &[got("proxy.lab", 200, 8), got("proxy.lab", 302, 4)],
        findings: &[],
        ..BASE
    },
    Scenario {
        name: "bad-gateway-comma",
        about: "the first proxy says 502; after it stands `,` so go stops",
        modules: modules(4),
        goproxy: "https://proxy.lab,https://mirror.lab",
        hosts: &[host("proxy.lab", H2, &[on("*", Status(502, &[("Retry-After", "7")]))]), MIRROR],
        succeeds: false,
        answers: &[got("proxy.lab", 502, 4)],
        findings: &[("PT101", Error)],
        ..BASE
    },
    Scenario {
        name: "bad-gateway-pipe",
        about: "the first proxy says 502; after it stands `|` so go goes on",
        modules: modules(4),
        goproxy: "https://proxy.lab|https://mirror.lab",
        hosts: &[host("proxy.lab", H2, &[on("*", Status(502, &[]))]), MIRROR],
        succeeds: true,
        answers: &[got("proxy.lab", 502, 12), got("mirror.lab", 200, 12)],
        findings: &[("PT103", Warning)],
        ..BASE
    },
    Scenario {
        name: "all-direct",
        about: "the proxy has nothing, and `direct` finds another proxy by go-import",
        modules: Modules { prefix: "vanity.lab/m", count: 4 },
        goproxy: "https://proxy.lab,direct",
        hosts: &[
            host("proxy.lab", H2, &[]),
            host("vanity.lab", H2, &[on("*?go-get=1", GoImport("https://mirror.lab"))]),
            MIRROR,
        ],
        succeeds: true,
        answers: &[
            resent("proxy.lab", 404, 12),
            got("vanity.lab", 200, 4),
            got("mirror.lab", 200, 12),
        ],
        findings: &[],
        ..BASE
    },
    Scenario {
        name: "all-direct-fails",
        about: "the proxy has nothing, and `direct` finds nothing either",
        modules: Modules { prefix: "vanity.lab/m", count: 4 },
        goproxy: "https://proxy.lab,direct",
        hosts: &[host("proxy.lab", H2, &[]), host("vanity.lab", H2, &[])],
        succeeds: false,
        answers: &[resent("proxy.lab", 404, 4), resent("vanity.lab", 404, 4)],
        findings: &[],
        ..BASE
    },
    Scenario {
        name: "retry-h1",
        about: "connections are closed when used again, so that net/http retries unseen",
        modules: modules(6),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H1, &[on("*", ServeOncePerConnection)])],
        succeeds: true,
        answers: &[got("proxy.lab", 200, 18), closed("proxy.lab")],
        findings: &[],
        ..BASE
    },
    Scenario {
        name: "early-close",
        about: "zips are answered by closing the connection",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H2, &[on("*.zip", Close), on("*", Serve)])],
        succeeds: false,
        answers: &[got("proxy.lab", 200, 4), closed("proxy.lab")],
        findings: &[("PT208", Error)],
        ..BASE
    },
    Scenario {
        name: "html-page",
        about: "the proxy answers everything with a page for people",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H2, &[on("*", Html)])],
        succeeds: false,
        answers: &[got("proxy.lab", 200, 2)],
        findings: &[],
        ..BASE
    },
    Scenario {
        name: "sumdb-proxy",
        about: "the proxy supports the checksum database, so that go asks it alone",
        modules: modules(3),
        goproxy: "https://proxy.lab",
        sumdb: Honest,
        hosts: &[PROXY],
        succeeds: true,
        answers: &[got("proxy.lab", 200, 9 + SUMS)],
        findings: &[],
        ..BASE
    },
    Scenario {
        name: "sumdb-direct",
        about: "the proxy does not support the checksum database, which go then asks itself",
        modules: modules(3),
        goproxy: "https://proxy.lab,direct",
        sumdb: Honest,
        hosts: &[UNSUPPORTING, SUM],
        succeeds: true,
        answers: &[
            got("proxy.lab", 200, 9),
            resent("proxy.lab", 404, 1),
            got("sum.lab", 200, SUMS - 1),
        ],
        findings: &[("PT501", Note)],
        ..BASE
    },
    Scenario {
        name: "sumdb-next",
        about: "the first proxy does not support the checksum database, the second does",
        modules: modules(3),
        goproxy: "https://proxy.lab,https://mirror.lab",
        sumdb: Honest,
        hosts: &[UNSUPPORTING, MIRROR],
        succeeds: true,
        answers: &[
            got("proxy.lab", 200, 9),
            resent("proxy.lab", 404, 1),
            got("mirror.lab", 200, SUMS),
        ],
        findings: &[],
        ..BASE
    },
    Scenario {
        name: "sumdb-alternate",
        about: "GOSUMDB names the URL of the checksum database, and no proxy is asked for it",
        modules: modules(3),
        goproxy: "https://proxy.lab",
        sumdb: At("https://sums.lab/db"),
        hosts: &[PROXY, host("sums.lab", H1, &[on("/db/*", Serve)])],
        succeeds: true,
        answers: &[got("proxy.lab", 200, 9), got("sums.lab", 200, SUMS - 1)],
        findings: &[],
        ..BASE
    },
    Scenario {
        name: "sumdb-off",
        about: "GOSUMDB is off: neither the proxy nor the database is asked for checksums",
        modules: modules(3),
        goproxy: "https://proxy.lab",
        sumdb: Off,
        hosts: &[PROXY, SUM],
        succeeds: true,
        answers: &[got("proxy.lab", 200, 9)],
        findings: &[],
        ..BASE
    },
    Scenario {
        name: "sumdb-410-private",
        about: "the checksum database knows nothing of modules that the proxy has",
        modules: modules(3),
        goproxy: "https://proxy.lab",
        sumdb: Honest,
        hosts: &[host("proxy.lab", H2, &[on("*/lookup/*", Status(410, &[])), on("*", Serve)])],
        succeeds: false,
        answers: &[got("proxy.lab", 200, 4), resent("proxy.lab", 410, 3)],
        findings: &[("PT505", Warning)],
        ..BASE
    },
    Scenario {
        name: "sumdb-refused",
        about: "go asks the checksum database itself, and its port is closed",
        modules: modules(3),
        goproxy: "https://proxy.lab",
        sumdb: Honest,
        hosts: &[UNSUPPORTING, host("sum.lab", Plain, &[])],
        succeeds: false,
        answers: &[got("proxy.lab", 200, 3), resent("proxy.lab", 404, 1)],
        findings: &[("PT502", Error)],
        ..BASE
    },
    Scenario {
        name: "sumdb-forbidden",
        about: "go asks the checksum database itself, which says 403",
        modules: modules(3),
        goproxy: "https://proxy.lab",
        sumdb: Honest,
        hosts: &[UNSUPPORTING, host("sum.lab", H2, &[on("*", Status(403, &[]))])],
        succeeds: false,
        answers: &[
            got("proxy.lab", 200, 3),
            resent("proxy.lab", 404, 1),
            resent("sum.lab", 403, 3),
        ],
        findings: &[("PT302", Error)],
        ..BASE
    },
    Scenario {
        name: "sumdb-hangs",
        about: "the checksum database breaks off after a while of silence",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        sumdb: Honest,
        hosts: &[UNSUPPORTING, host("sum.lab", H2, &[on("*", Hang(200))])],
        succeeds: false,
        answers: &[got("proxy.lab", 200, 2), resent("proxy.lab", 404, 1), closed("sum.lab")],
        findings: &[("PT208", Error)],
        ..BASE
    },
    Scenario {
        name: "sumdb-lies",
        about: "the checksum database has other hashes than those of what the proxy serves",
        modules: modules(3),
        goproxy: "https://proxy.lab",
        sumdb: Lying,
        hosts: &[PROXY],
        succeeds: false,
        answers: &[got("proxy.lab", 200, 3 + SUMS)],
        findings: &[("PT507", Error)],
        ..BASE
    },
    Scenario {
        name: "sumdb-false-supported",
        about: "the proxy answers /supported and all below it with a page for people",
        modules: modules(3),
        goproxy: "https://proxy.lab",
        sumdb: Honest,
        hosts: &[host("proxy.lab", H2, &[on("/sumdb/*", Html), on("*", Serve)])],
        succeeds: false,
        answers: &[got("proxy.lab", 200, 3 + 1 + 3)],
        findings: &[("PT504", Error)],
        ..BASE
    },
    Scenario {
        name: "sumdb-false-404",
        about: "the proxy answers /supported with a page for people, and lookups 404",
        modules: modules(3),
        goproxy: "https://proxy.lab",
        sumdb: Honest,
        hosts: &[host(
            "proxy.lab",
            H2,
            &[on("*/supported", Html), on("*/lookup/*", Status(404, &[])), on("*", Serve)],
        )],
        succeeds: false,
        answers: &[got("proxy.lab", 200, 3 + 1), resent("proxy.lab", 404, 3)],
        findings: &[("PT504", Error)],
        ..BASE
    },
    Scenario {
        name: "sumdb-supported-500",
        about: "the proxy fails when asked whether it supports the checksum database",
        modules: modules(3),
        goproxy: "https://proxy.lab,direct",
        sumdb: Honest,
        hosts: &[
            host("proxy.lab", H2, &[on("*/supported", Status(500, &[])), on("*", Serve)]),
            SUM,
        ],
        succeeds: false,
        answers: &[got("proxy.lab", 200, 3), got("proxy.lab", 500, 1)],
        findings: &[("PT101", Error), ("PT503", Error)],
        ..BASE
    },
    Scenario {
        name: "sumdb-pipe-fallback",
        about: "the checksum database fails, and `|` makes go ask the next proxy for the same",
        modules: modules(3),
        goproxy: "https://proxy.lab|https://mirror.lab",
        sumdb: Honest,
        hosts: &[
            host("proxy.lab", H2, &[on("*/lookup/*", Status(500, &[])), on("*", Serve)]),
            MIRROR,
        ],
        succeeds: false,
        answers: &[got("proxy.lab", 200, 4), got("proxy.lab", 500, 3), got("mirror.lab", 200, 3)],
        findings: &[("PT409", Error), ("PT506", Warning)],
        ..BASE
    },
    Scenario {
        name: "sumdb-grown",
        about: "the checksum database has got a module since it was asked last",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        sumdb: Grown,
        cached: &["mod.lab/m01@v1.0.0"],
        hosts: &[PROXY],
        succeeds: true,
        // The other module, `/supported`, its lookup, a tile.
        answers: &[got("proxy.lab", 200, 3 + 3)],
        findings: &[],
        ..BASE
    },
    Scenario {
        name: "sumdb-forked",
        about: "the checksum database is not any more what it was when it was asked last",
        modules: modules(2),
        goproxy: "https://proxy.lab,https://mirror.lab",
        sumdb: Forked,
        cached: &["mod.lab/m01@v1.0.0"],
        hosts: &[PROXY, MIRROR],
        succeeds: false,
        answers: &[got("proxy.lab", 200, 1 + 3)],
        findings: &[("PT507", Error)],
        ..BASE
    },
    Scenario {
        name: "go-sum",
        about: "all is in go.sum, so that nobody asks the checksum database",
        modules: modules(3),
        goproxy: "https://proxy.lab",
        sumdb: Lying,
        go_sum: GoSum::Right,
        hosts: &[PROXY],
        succeeds: true,
        answers: &[got("proxy.lab", 200, 9)],
        findings: &[],
        ..BASE
    },
    Scenario {
        name: "go-sum-other-mod",
        about: "go.sum has another checksum of a go.mod file",
        modules: modules(1),
        goproxy: "https://proxy.lab,https://mirror.lab",
        sumdb: Honest,
        go_sum: GoSum::WrongMod,
        hosts: &[PROXY, MIRROR],
        succeeds: false,
        answers: &[got("proxy.lab", 200, 1)],
        findings: &[("PT507", Error)],
        ..BASE
    },
    Scenario {
        name: "go-sum-other-zip",
        about: "go.sum has another checksum of a zip, which came through a redirect",
        modules: modules(1),
        goproxy: "https://proxy.lab|https://mirror.lab",
        sumdb: Honest,
        go_sum: GoSum::WrongZip,
        hosts: &[host("proxy.lab", H2, TO_STORAGE), MIRROR, STORAGE],
        succeeds: false,
        answers: &[got("proxy.lab", 200, 2), got("proxy.lab", 302, 1), got("storage.lab", 200, 1)],
        findings: &[("PT507", Error)],
        ..BASE
    },
    Scenario {
        name: "go-sum-other-cached",
        about: "go.sum has another checksum of what is in the module cache",
        modules: modules(1),
        goproxy: "https://proxy.lab",
        go_sum: GoSum::WrongZip,
        cached: &["all"],
        hosts: &[PROXY],
        succeeds: false,
        answers: &[],
        findings: &[("PT507", Error)],
        ..BASE
    },
    Scenario {
        name: "cached",
        about: "all is in the module cache already",
        modules: modules(3),
        goproxy: "https://proxy.lab",
        sumdb: Honest,
        cached: &["all"],
        hosts: &[PROXY],
        succeeds: true,
        answers: &[],
        findings: &[],
        ..BASE
    },
    Scenario {
        name: "cached-part",
        about: "one module of three is in the module cache already",
        modules: modules(3),
        goproxy: "https://proxy.lab",
        cached: &["mod.lab/m02@v1.0.0"],
        hosts: &[PROXY],
        succeeds: true,
        answers: &[got("proxy.lab", 200, 6)],
        findings: &[],
        ..BASE
    },
    Scenario {
        name: "dns-slow",
        about: "the name server takes its time, HTTP/2",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[with(Trouble::SlowName, PROXY)],
        succeeds: true,
        answers: &[got("proxy.lab", 200, 6)],
        findings: &[],
        ..BASE
    },
    Scenario {
        name: "dns-nxdomain",
        about: "the proxy's name does not exist",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[with(Trouble::NoSuchName, PROXY)],
        succeeds: false,
        answers: &[],
        findings: &[("PT201", Error)],
        ..BASE
    },
    Scenario {
        name: "dns-servfail",
        about: "the name server fails",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[with(Trouble::NameServerFails, PROXY)],
        succeeds: false,
        answers: &[],
        findings: &[("PT201", Error)],
        ..BASE
    },
    Scenario {
        name: "dns-timeout",
        about: "the name server does not answer",
        modules: modules(1),
        goproxy: "https://proxy.lab",
        hosts: &[with(Trouble::NameServerSilent, PROXY)],
        succeeds: false,
        answers: &[],
        findings: &[("PT201", Error)],
        ..BASE
    },
    Scenario {
        name: "dns-nxdomain-pipe",
        about: "the first proxy's name does not exist; `|` hides it",
        modules: modules(2),
        goproxy: "https://proxy.lab|https://mirror.lab",
        hosts: &[with(Trouble::NoSuchName, PROXY), MIRROR],
        succeeds: true,
        answers: &[got("mirror.lab", 200, 6)],
        findings: &[("PT103", Warning)],
        ..BASE
    },
    Scenario {
        name: "happy-eyeballs",
        about: "the proxy has an IPv6 address where nobody listens, and an IPv4 address",
        modules: modules(4),
        goproxy: "https://proxy.lab",
        hosts: &[with(Trouble::DeadIpv6, PROXY)],
        succeeds: true,
        answers: &[got("proxy.lab", 200, 12)],
        findings: &[],
        ..BASE
    },
    Scenario {
        name: "connect-no-route",
        about: "there is no route to the proxy",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[with(Trouble::NoRoute, PROXY)],
        succeeds: false,
        answers: &[],
        findings: &[("PT203", Error)],
        ..BASE
    },
    Scenario {
        name: "connect-timeout",
        about: "the proxy does not answer to SYN",
        modules: modules(1),
        goproxy: "https://proxy.lab",
        hosts: &[with(Trouble::Deaf, PROXY)],
        succeeds: false,
        answers: &[],
        findings: &[("PT203", Error)],
        ..BASE
    },
    Scenario {
        name: "tls-unknown-ca",
        about: "the proxy's certificate is from another authority",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[with(Trouble::UnknownAuthority, PROXY)],
        succeeds: false,
        answers: &[],
        findings: &[("PT204", Error)],
        ..BASE
    },
    Scenario {
        name: "tls-wrong-name",
        about: "the proxy's certificate is for another name",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[with(Trouble::WrongName, PROXY)],
        succeeds: false,
        answers: &[],
        findings: &[("PT205", Error)],
        ..BASE
    },
    Scenario {
        name: "tls-expired",
        about: "the proxy's certificate has expired",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[with(Trouble::Expired, PROXY)],
        succeeds: false,
        answers: &[],
        findings: &[("PT205", Error)],
        ..BASE
    },
    Scenario {
        name: "tls-client-cert-required",
        about: "the proxy wants a certificate from the client",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[with(Trouble::WantsCertificate, host("proxy.lab", H1, &[]))],
        succeeds: false,
        answers: &[],
        findings: &[("PT205", Error)],
        ..BASE
    },
    Scenario {
        name: "http-on-tls-port",
        about: "the proxy speaks HTTP without TLS on port 443",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[with(Trouble::NoTls, PROXY)],
        succeeds: false,
        answers: &[],
        findings: &[("PT205", Error)],
        ..BASE
    },
    Scenario {
        name: "tls-timeout",
        about: "the proxy accepts connections and says nothing",
        modules: modules(1),
        goproxy: "https://proxy.lab",
        hosts: &[with(Trouble::Silent, PROXY)],
        succeeds: false,
        answers: &[],
        findings: &[("PT205", Error)],
        ..BASE
    },
    Scenario {
        name: "redirect-tls-unknown-ca",
        about: "zips are redirected to a host with a certificate of another authority",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H2, TO_STORAGE), with(Trouble::UnknownAuthority, STORAGE)],
        succeeds: false,
        answers: &[got("proxy.lab", 200, 4), got("proxy.lab", 302, 2)],
        findings: &[("PT007", Error)],
        ..BASE
    },
    Scenario {
        name: "redirect-nxdomain",
        about: "zips are redirected to a name that does not exist",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H2, TO_STORAGE), with(Trouble::NoSuchName, STORAGE)],
        succeeds: false,
        answers: &[got("proxy.lab", 200, 4), got("proxy.lab", 302, 2)],
        findings: &[("PT007", Error)],
        ..BASE
    },
    Scenario {
        name: "reset",
        about: "zips are answered by resetting the connection",
        modules: modules(2),
        goproxy: "http://proxy.lab",
        hosts: &[with(
            Trouble::Resets,
            host("proxy.lab", Plain, &[on("*.zip", Close), on("*", Serve)]),
        )],
        succeeds: false,
        answers: &[got("proxy.lab", 200, 4), closed("proxy.lab")],
        findings: &[("PT208", Error)],
        ..BASE
    },
    Scenario {
        name: "truncated-body-h1",
        about: "zips are shorter than their Content-Length, HTTP/1.1",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H1, &[on("*.zip", Truncate), on("*", Serve)])],
        succeeds: false,
        answers: &[got("proxy.lab", 200, 6)],
        findings: &[("PT210", Error)],
        ..BASE
    },
    Scenario {
        name: "truncated-body-h2",
        about: "streams of zips are reset in the middle of the body",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H2, &[on("*.zip", Truncate), on("*", Serve)])],
        succeeds: false,
        answers: &[got("proxy.lab", 200, 6)],
        findings: &[("PT208", Error)],
        ..BASE
    },
    Scenario {
        name: "truncated-info-h1",
        about: "versions are shorter than their Content-Length, HTTP/1.1",
        modules: modules(1),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H1, &[on("*.info", Truncate), on("*", Serve)])],
        succeeds: false,
        answers: &[got("proxy.lab", 200, 2)],
        findings: &[("PT210", Error)],
        ..BASE
    },
    Scenario {
        name: "goaway",
        about: "the proxy retires connections after a while, as it may",
        modules: modules(6),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H2, &[on("*.zip", ServeLast), on("*", Serve)])],
        succeeds: true,
        answers: &[got("proxy.lab", 200, 18)],
        findings: &[],
        ..BASE
    },
    Scenario {
        name: "truncated-body-pipe",
        about: "the first proxy's zips are shorter than their Content-Length; `|` hides it",
        modules: modules(2),
        goproxy: "https://proxy.lab|https://mirror.lab",
        hosts: &[host("proxy.lab", H1, &[on("*.zip", Truncate), on("*", Serve)]), MIRROR],
        succeeds: true,
        answers: &[got("proxy.lab", 200, 6), got("mirror.lab", 200, 2)],
        findings: &[("PT103", Warning)],
        ..BASE
    },
];
