//! The walk through GOPROXY.

use super::prelude::*;

/// A host that says where its modules are.
const fn vanity(name: &'static str) -> Host {
    host(name, H2, TO_MIRROR)
}

const TO_MIRROR: &[Rule] = &[on("*?go-get=1", GoImport("https://mirror.lab"))];

const VANITY_1: Host = vanity("v1.lab");
const VANITY_2: Host = vanity("v2.lab");
const VANITY_3: Host = vanity("v3.lab");
const VANITY_4: Host = vanity("v4.lab");
const VANITY_5: Host = vanity("v5.lab");

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "not-found-next",
        about: "the first proxy has nothing (404), the second everything",
        modules: modules(6),
        goproxy: "https://proxy.lab,https://mirror.lab",
        hosts: &[host("proxy.lab", H2, &[]), MIRROR],
        answers: &[resent("proxy.lab", 404, 18), got("mirror.lab", 200, 18)],
        findings: &[("PT102", Note)],
        ..BASE
    },
    Scenario {
        name: "gone-next",
        about: "the first proxy says 410 to everything, the second has it",
        modules: modules(6),
        goproxy: "https://proxy.lab,https://mirror.lab",
        hosts: &[host("proxy.lab", H2, &[on("*", Status(410, &[]))]), MIRROR],
        answers: &[resent("proxy.lab", 410, 18), got("mirror.lab", 200, 18)],
        findings: &[("PT102", Note)],
        ..BASE
    },
    Scenario {
        name: "same-host-next",
        about: "two entries on one host that differ in the path alone",
        modules: modules(4),
        goproxy: "https://proxy.lab/a,https://proxy.lab/b",
        hosts: &[host("proxy.lab", H2, &[on("/b/*", Serve)])],
        answers: &[resent("proxy.lab", 404, 12), got("proxy.lab", 200, 12)],
        findings: &[("PT102", Note)],
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
        findings: &[("PT101", Error), ("PT409", Error)],
        ..BASE
    },
    Scenario {
        name: "default-list",
        about: "GOPROXY is not set: the first entry of go's own list says 502, so go stops",
        environment: &[("GOPROXY", "")],
        modules: modules(2),
        goproxy: "https://proxy.golang.org,direct",
        hosts: &[host("proxy.golang.org", H2, &[on("*", Status(502, &[]))])],
        succeeds: false,
        answers: &[got("proxy.golang.org", 502, 2)],
        findings: &[("PT101", Error), ("PT409", Error)],
        ..BASE
    },
    Scenario {
        name: "bad-gateway-pipe",
        about: "the first proxy says 502; after it stands `|` so go goes on",
        modules: modules(4),
        goproxy: "https://proxy.lab|https://mirror.lab",
        hosts: &[host("proxy.lab", H2, &[on("*", Status(502, &[]))]), MIRROR],
        answers: &[got("proxy.lab", 502, 12), got("mirror.lab", 200, 12)],
        findings: &[("PT103", Warning)],
        ..BASE
    },
    Scenario {
        name: "all-direct",
        about: "the proxy has nothing, and `direct` finds another proxy by go-import",
        modules: Modules { prefix: "vanity.lab/m", count: 4, others: &[] },
        goproxy: "https://proxy.lab,direct",
        hosts: &[
            host("proxy.lab", H2, &[]),
            host("vanity.lab", H2, &[on("*?go-get=1", GoImport("https://mirror.lab"))]),
            MIRROR,
        ],
        answers: &[
            resent("proxy.lab", 404, 12),
            got("vanity.lab", 200, 4),
            got("mirror.lab", 200, 12),
        ],
        findings: &[("PT102", Note)],
        ..BASE
    },
    Scenario {
        name: "all-direct-fails",
        about: "the proxy has nothing, and `direct` finds nothing either",
        modules: Modules { prefix: "vanity.lab/m", count: 4, others: &[] },
        goproxy: "https://proxy.lab,direct",
        hosts: &[host("proxy.lab", H2, &[]), host("vanity.lab", H2, &[])],
        succeeds: false,
        answers: &[resent("proxy.lab", 404, 4), resent("vanity.lab", 404, 4)],
        findings: &[("PT102", Note), ("PT410", Error)],
        ..BASE
    },
    Scenario {
        name: "wrong-path",
        about: "the first entry never has anything, and the second has all: it may be for others",
        modules: modules(7),
        goproxy: "https://proxy.lab/wrong,https://mirror.lab",
        hosts: &[host("proxy.lab", H2, &[]), MIRROR],
        answers: &[resent("proxy.lab", 404, 21), got("mirror.lab", 200, 21)],
        findings: &[("PT102", Note)],
        ..BASE
    },
    Scenario {
        name: "wrong-path-fails",
        about: "the path of the first entry is wrong, and the second lacks what it might have had",
        modules: modules(20),
        goproxy: "https://proxy.lab/wrong,https://mirror.lab",
        hosts: &[
            host("proxy.lab", H2, &[]),
            host("mirror.lab", H2, &[on("*/m20/*", Status(404, &[])), on("*", Serve)]),
        ],
        succeeds: false,
        answers: &[
            resent("proxy.lab", 404, 20),
            got("mirror.lab", 200, 19),
            resent("mirror.lab", 404, 1),
        ],
        findings: &[("PT102", Warning), ("PT410", Error)],
        ..BASE
    },
    Scenario {
        name: "off",
        about: "the proxy has nothing, and then comes `off`",
        modules: modules(2),
        goproxy: "https://proxy.lab,off",
        hosts: &[host("proxy.lab", H2, &[])],
        succeeds: false,
        answers: &[resent("proxy.lab", 404, 2)],
        findings: &[("PT108", Note), ("PT410", Error), ("PT102", Note)],
        ..BASE
    },
    Scenario {
        name: "after-direct",
        about: "an entry stands after `direct`",
        modules: modules(2),
        goproxy: "https://proxy.lab,direct,https://mirror.lab",
        hosts: &[PROXY, MIRROR],
        answers: &[got("proxy.lab", 200, 6)],
        findings: &[("PT105", Warning)],
        ..BASE
    },
    Scenario {
        name: "fan-out",
        about: "the proxy fails, and `|` sends go to the hosts of all modules",
        modules: named(&["v1.lab/m", "v2.lab/m", "v3.lab/m", "v4.lab/m", "v5.lab/m"]),
        goproxy: "https://proxy.lab|direct",
        hosts: &[
            host("proxy.lab", H2, &[on("*", Status(500, &[]))]),
            VANITY_1,
            VANITY_2,
            VANITY_3,
            VANITY_4,
            VANITY_5,
            MIRROR,
        ],
        answers: &[
            some("proxy.lab", 500),
            got("v1.lab", 200, 1),
            got("v2.lab", 200, 1),
            got("v3.lab", 200, 1),
            got("v4.lab", 200, 1),
            got("v5.lab", 200, 1),
            got("mirror.lab", 200, 15),
        ],
        findings: &[("PT103", Warning), ("PT107", Warning)],
        ..BASE
    },
    Scenario {
        name: "probe-500",
        about: "a package path is answered 500, though its module is there",
        command: &["go", "get", "mod.lab/m01/cmd@v1.0.0"],
        modules: modules(1),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H2, &[on("*/cmd/@*", Status(500, &[])), on("*", Serve)])],
        succeeds: false,
        answers: &[some("proxy.lab", 200), some_resent("proxy.lab", 404), some("proxy.lab", 500)],
        findings: &[("PT106", Error)],
        ..BASE
    },
    Scenario {
        name: "probe-500-bare",
        about: "a host alone is answered 500, and the module does not exist",
        command: &["go", "get", "mod.lab/none@v1.0.0"],
        modules: modules(1),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H2, &[on("/mod.lab/@*", Status(500, &[])), on("*", Serve)])],
        succeeds: false,
        answers: &[some("proxy.lab", 200), some_resent("proxy.lab", 404), some("proxy.lab", 500)],
        findings: &[("PT106", Error)],
        ..BASE
    },
    Scenario {
        name: "go-get-401",
        about: "each path of a query wants credentials: go reports the longest's, which is the module's",
        command: &["go", "get", "mod.lab/none@v1.0.0"],
        modules: modules(1),
        goproxy: "https://proxy.lab",
        hosts: &[host(
            "proxy.lab",
            H2,
            &[
                on("/mod.lab/none/@*", Status(401, &[])),
                on("/mod.lab/@*", Status(401, &[])),
                on("*", Serve),
            ],
        )],
        succeeds: false,
        answers: &[some("proxy.lab", 200), some_resent("proxy.lab", 401)],
        findings: &[("PT301", Error)],
        ..BASE
    },
    Scenario {
        name: "canceled-siblings",
        about: "one module fails while others are on their way",
        modules: modules(6),
        goproxy: "https://proxy.lab",
        hosts: &[host(
            "proxy.lab",
            H2,
            &[on("*/m01/*.mod", Status(500, &[])), on("*.mod", Slow(300)), on("*", Serve)],
        )],
        succeeds: false,
        answers: &[got("proxy.lab", 500, 1), some("proxy.lab", 200)],
        findings: &[("PT409", Error)],
        ..BASE
    },
    Scenario {
        name: "private-leak",
        about: "a module with an internal name is asked of a public proxy first",
        modules: named(&["git.corp.internal/m"]),
        goproxy: "https://proxy.golang.org,https://mirror.lab",
        hosts: &[host("proxy.golang.org", H2, &[]), MIRROR],
        answers: &[resent("proxy.golang.org", 404, 3), got("mirror.lab", 200, 3)],
        findings: &[("PT102", Note), ("PT701", Warning)],
        ..BASE
    },
    Scenario {
        name: "git-fails",
        about: "`direct` finds a repository that git cannot fetch",
        // Before, go asks the server itself where git has failed.
        since: 26,
        modules: named(&["vanity.lab/m"]),
        goproxy: "direct",
        hosts: &[
            host("vanity.lab", H2, &[on("*?go-get=1", GoImportGit("https://git.lab/m.git"))]),
            host("git.lab", H2, &[]),
        ],
        succeeds: false,
        answers: &[got("vanity.lab", 200, 1), some("git.lab", 404)],
        findings: &[("PT702", Note), ("PT704", Error)],
        ..BASE
    },
    Scenario {
        name: "private-not-found",
        about: "the host of a private module does not know it, and no proxy is asked for it",
        environment: &[("GOPRIVATE", "vanity.lab")],
        modules: named(&["vanity.lab/m"]),
        goproxy: "https://proxy.lab",
        hosts: &[PROXY, host("vanity.lab", H2, &[])],
        succeeds: false,
        answers: &[resent("vanity.lab", 404, 1)],
        findings: &[("PT410", Error)],
        ..BASE
    },
    Scenario {
        name: "private-login",
        about: "`direct` finds a login in place of a page that names a repository",
        modules: named(&["vanity.lab/m"]),
        goproxy: "direct",
        hosts: &[host(
            "vanity.lab",
            H2,
            &[on("*?go-get=1", Redirect(302, "/login")), on("/login", Html)],
        )],
        succeeds: false,
        answers: &[got("vanity.lab", 302, 1), got("vanity.lab", 200, 1)],
        findings: &[("PT401", Error)],
        ..BASE
    },
    Scenario {
        name: "no-git",
        about: "`direct` finds a repository, and there is no git to fetch it with",
        command: &["sh", "-c", "PATH=$(dirname \"$(command -v go)\") go mod download"],
        modules: named(&["vanity.lab/m"]),
        goproxy: "direct",
        hosts: &[host("vanity.lab", H2, &[on("*?go-get=1", GoImportGit("https://git.lab/m.git"))])],
        succeeds: false,
        answers: &[got("vanity.lab", 200, 1)],
        findings: &[("PT704", Error)],
        ..BASE
    },
    Scenario {
        name: "toolchain-missing",
        about: "go wants a toolchain that the proxy does not have",
        environment: &[("GOTOOLCHAIN", "go1.99.0")],
        since: 21,
        modules: modules(1),
        goproxy: "https://proxy.lab",
        hosts: &[PROXY],
        succeeds: false,
        answers: &[resent("proxy.lab", 404, 1)],
        findings: &[("PT703", Error)],
        ..BASE
    },
    Scenario {
        name: "full-width-comma",
        about: "a full-width comma makes one entry of two",
        modules: modules(2),
        goproxy: "https://proxy.lab/x，https://mirror.lab",
        hosts: &[host("proxy.lab", H2, &[]), MIRROR],
        succeeds: false,
        answers: &[resent("proxy.lab", 404, 2)],
        findings: &[("PT604", Error)],
        ..BASE
    },
    Scenario {
        name: "shadowed",
        about: "the environment hides another GOPROXY in the user's file",
        environment: &[("GOENV", "{home}/goenv")],
        home: &[("goenv", "GOPROXY=https://mirror.lab\n")],
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H2, &[]), MIRROR],
        succeeds: false,
        answers: &[resent("proxy.lab", 404, 2)],
        findings: &[("PT410", Error), ("PT601", Warning)],
        ..BASE
    },
    Scenario {
        name: "sudo-env",
        about: "a program called sudo hides GOPROXY from go",
        command: &[
            "sh",
            "-c",
            "cp -L /bin/sh ./sudo && exec ./sudo -c \
             'SUDO_UID=65534 GOPROXY=https://mirror.lab go mod download; exit $?'",
        ],
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[
            PROXY,
            // Who looks at a process once it has started has time for it.
            host("mirror.lab", H2, &[on("*.mod", Slow(300)), on("*", Status(403, &[]))]),
        ],
        succeeds: false,
        answers: &[some("mirror.lab", 200), some_resent("mirror.lab", 403)],
        findings: &[("PT302", Error), ("PT602", Warning)],
        ..BASE
    },
    Scenario {
        name: "masked",
        about: "the proxy fails, `|` goes on to `direct`, and that fails as well",
        modules: named(&["vanity.lab/m"]),
        goproxy: "https://proxy.lab|direct",
        hosts: &[
            host("proxy.lab", H2, &[on("*", Status(500, &[]))]),
            with(Trouble::NoSuchName, host("vanity.lab", H2, &[])),
        ],
        succeeds: false,
        answers: &[got("proxy.lab", 500, 1)],
        findings: &[("PT103", Warning), ("PT104", Warning), ("PT409", Error)],
        ..BASE
    },
];
