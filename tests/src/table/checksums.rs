//! The checksum database and go.sum.

use super::prelude::*;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "sumdb-proxy",
        about: "the proxy supports the checksum database, so that go asks it alone",
        modules: modules(3),
        goproxy: "https://proxy.lab",
        sumdb: Honest,
        hosts: &[PROXY],
        answers: &[got("proxy.lab", 200, 9 + SUMS)],
        ..BASE
    },
    Scenario {
        name: "sumdb-direct",
        about: "the proxy does not support the checksum database, which go then asks itself",
        modules: modules(3),
        goproxy: "https://proxy.lab,direct",
        sumdb: Honest,
        hosts: &[UNSUPPORTING, SUM],
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
        answers: &[
            got("proxy.lab", 200, 9),
            resent("proxy.lab", 404, 1),
            got("mirror.lab", 200, SUMS),
        ],
        ..BASE
    },
    Scenario {
        name: "sumdb-alternate",
        about: "GOSUMDB names the URL of the checksum database, and no proxy is asked for it",
        modules: modules(3),
        goproxy: "https://proxy.lab",
        sumdb: At("https://sums.lab/db"),
        hosts: &[PROXY, host("sums.lab", H1, &[on("/db/*", Serve)])],
        answers: &[got("proxy.lab", 200, 9), got("sums.lab", 200, SUMS - 1)],
        ..BASE
    },
    Scenario {
        name: "sumdb-off",
        about: "GOSUMDB is off: neither the proxy nor the database is asked for checksums",
        modules: modules(3),
        goproxy: "https://proxy.lab",
        sumdb: Off,
        hosts: &[PROXY, SUM],
        answers: &[got("proxy.lab", 200, 9)],
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
        name: "sumdb-short-tile",
        about: "the proxy has something else for the tiles of the checksum database",
        modules: modules(1),
        goproxy: "https://proxy.lab",
        sumdb: Honest,
        hosts: &[host("proxy.lab", H2, &[on("*/tile/*", Body(&[], "no tile\n")), on("*", Serve)])],
        succeeds: false,
        answers: &[got("proxy.lab", 200, 4)],
        findings: &[("PT504", Error)],
        ..BASE
    },
    Scenario {
        name: "sumdb-no-tile",
        about: "the checksum database itself has no tiles",
        modules: modules(1),
        goproxy: "https://proxy.lab",
        sumdb: Honest,
        hosts: &[
            UNSUPPORTING,
            host("sum.lab", H2, &[on("/tile/*", Status(404, &[])), on("*", Serve)]),
        ],
        succeeds: false,
        answers: &[
            got("proxy.lab", 200, 1),
            resent("proxy.lab", 404, 1),
            got("sum.lab", 200, 1),
            resent("sum.lab", 404, 2),
        ],
        findings: &[("PT401", Error), ("PT501", Note)],
        ..BASE
    },
    Scenario {
        name: "sumdb-other-tile",
        about: "the checksum database itself has a tile that is not of its tree",
        modules: modules(1),
        goproxy: "https://proxy.lab",
        sumdb: Honest,
        hosts: &[
            UNSUPPORTING,
            host(
                "sum.lab",
                H2,
                &[on("/tile/*", Body(&[], "32 bytes, and not a hash of this")), on("*", Serve)],
            ),
        ],
        succeeds: false,
        answers: &[got("proxy.lab", 200, 1), resent("proxy.lab", 404, 1), got("sum.lab", 200, 2)],
        findings: &[("PT401", Error), ("PT501", Note)],
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
        // The other module, `/supported`, its lookup, a tile.
        answers: &[got("proxy.lab", 200, 3 + 3)],
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
        name: "sumdb-kept-lookup-cut",
        about: "an answer of the checksum database was cut short when it was put into the module \
                cache",
        modules: modules(2),
        goproxy: "https://proxy.lab,https://mirror.lab",
        sumdb: Honest,
        cached: &["mod.lab/m01@v1.0.0"],
        cut: &["mod/cache/download/sumdb/sum.lab/lookup/mod.lab/m01@v1.0.0"],
        hosts: &[PROXY, MIRROR],
        succeeds: false,
        // What is in no go.sum go asks for again. `/supported`, the lookup of the other module.
        answers: &[got("proxy.lab", 200, 2 + 2)],
        findings: &[("PT509", Error)],
        ..BASE
    },
    Scenario {
        name: "sumdb-kept-tile-cut",
        about: "a tile of the checksum database was cut short when it was put into the module cache",
        modules: modules(2),
        goproxy: "https://proxy.lab,https://mirror.lab",
        sumdb: Honest,
        cached: &["mod.lab/m01@v1.0.0"],
        cut: &["mod/cache/download/sumdb/sum.lab/tile/8/0/000.p/2"],
        hosts: &[PROXY, MIRROR],
        succeeds: false,
        answers: &[got("proxy.lab", 200, 2)],
        findings: &[("PT509", Error)],
        ..BASE
    },
    Scenario {
        name: "sumdb-latest-cut",
        about: "the newest tree of the checksum database that go has seen was cut short",
        modules: modules(2),
        goproxy: "https://proxy.lab|https://mirror.lab",
        sumdb: Honest,
        cached: &["mod.lab/m01@v1.0.0"],
        cut: &["gopath/pkg/sumdb/sum.lab/latest"],
        hosts: &[PROXY, MIRROR],
        succeeds: false,
        answers: &[got("proxy.lab", 200, 2), got("mirror.lab", 200, 2)],
        findings: &[("PT509", Error), ("PT506", Warning)],
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
        answers: &[got("proxy.lab", 200, 9)],
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
];
