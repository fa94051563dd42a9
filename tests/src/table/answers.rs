//! Answers that go cannot use, and who gives them.

use super::prelude::*;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "html-page",
        about: "the proxy answers everything with a page for people",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H2, &[on("*", Html)])],
        succeeds: false,
        answers: &[got("proxy.lab", 200, 2)],
        findings: &[("PT401", Error), ("PT404", Error)],
        ..BASE
    },
    Scenario {
        name: "html-mod",
        about: "go.mod files are pages for people",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H2, &[on("*.mod", Html), on("*", Serve)])],
        succeeds: false,
        answers: &[some("proxy.lab", 200)],
        findings: &[("PT401", Error), ("PT404", Error)],
        ..BASE
    },
    Scenario {
        name: "html-mod-sumdb",
        about: "the same, with the checksum database",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        sumdb: Honest,
        hosts: &[host("proxy.lab", H2, &[on("*.mod", Html), on("*", Serve)])],
        succeeds: false,
        answers: &[some("proxy.lab", 200)],
        findings: &[("PT507", Error)],
        ..BASE
    },
    Scenario {
        name: "html-info",
        about: "versions are pages for people",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H2, &[on("*.info", Html), on("*", Serve)])],
        succeeds: false,
        answers: &[some("proxy.lab", 200)],
        findings: &[("PT401", Error)],
        ..BASE
    },
    Scenario {
        name: "html-info-pipe",
        about: "versions are pages for people; after it stands `|` so go goes on",
        modules: modules(2),
        goproxy: "https://proxy.lab|https://mirror.lab",
        hosts: &[host("proxy.lab", H2, &[on("*.info", Html), on("*", Serve)]), MIRROR],
        answers: &[got("proxy.lab", 200, 6), got("mirror.lab", 200, 2)],
        findings: &[("PT103", Warning)],
        ..BASE
    },
    Scenario {
        name: "wrong-version",
        about: "the file of a version tells of another",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[host(
            "proxy.lab",
            H2,
            &[
                on(
                    "*.info",
                    Body(&[], "{\"Version\":\"v1.0.1\",\"Time\":\"2024-01-01T00:00:00Z\"}"),
                ),
                on("*", Serve),
            ],
        )],
        succeeds: false,
        answers: &[some("proxy.lab", 200)],
        findings: &[("PT405", Error)],
        ..BASE
    },
    Scenario {
        name: "capitals-missing",
        about: "the first proxy does not decode %21",
        modules: named(&["mod.lab/Upper1", "mod.lab/Upper2", "mod.lab/lower"]),
        goproxy: "https://proxy.lab,https://mirror.lab",
        hosts: &[host("proxy.lab", H2, &[on("*%21*", Status(404, &[])), on("*", Serve)]), MIRROR],
        answers: &[
            resent("proxy.lab", 404, 6),
            got("proxy.lab", 200, 3),
            got("mirror.lab", 200, 6),
        ],
        findings: &[("PT102", Note), ("PT406", Warning)],
        ..BASE
    },
    Scenario {
        name: "private-proxy-first",
        about: "the first proxy has modules of its own alone, and none of the others, capitals or not",
        modules: named(&["mod.lab/Upper1", "mod.lab/Upper2", "mod.lab/lower", "mod.lab/own"]),
        goproxy: "https://proxy.lab,https://mirror.lab",
        hosts: &[host("proxy.lab", H2, &[on("*/own/*", Serve), on("*", Status(404, &[]))]), MIRROR],
        answers: &[
            resent("proxy.lab", 404, 9),
            got("proxy.lab", 200, 3),
            got("mirror.lab", 200, 9),
        ],
        findings: &[("PT102", Note)],
        ..BASE
    },
    Scenario {
        name: "cached-404",
        about: "the 404 of a version comes out of a cache",
        modules: modules(1),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H2, &[on("*", Status(404, &[("Age", "600")]))])],
        succeeds: false,
        answers: &[resent("proxy.lab", 404, 1)],
        findings: &[("PT407", Warning), ("PT410", Error)],
        ..BASE
    },
    Scenario {
        name: "cached-404-until-later",
        about: "the same, and go finds it when it asks again",
        since: 24,
        modules: modules(1),
        goproxy: "https://proxy.lab",
        hosts: &[host(
            "proxy.lab",
            H1,
            &[on("*.mod", First(&Status(404, &[("Age", "600")]))), on("*", Serve)],
        )],
        answers: &[some("proxy.lab", 200), some_resent("proxy.lab", 404)],
        findings: &[("PT407", Warning)],
        ..BASE
    },
    Scenario {
        name: "unauthorized",
        about: "the proxy wants credentials, and go has none",
        modules: modules(2),
        goproxy: "https://proxy.lab,https://mirror.lab",
        hosts: &[host("proxy.lab", H2, &[on("*", ServeUser)]), MIRROR],
        succeeds: false,
        answers: &[resent("proxy.lab", 401, 2)],
        findings: &[("PT101", Error), ("PT301", Error)],
        ..BASE
    },
    Scenario {
        name: "netrc-without-port",
        about: "the same on another port, which the line in ~/.netrc lacks",
        // Before, go looks for the name alone.
        since: 21,
        home: &[(".netrc", "machine proxy.lab login user password secret\n")],
        modules: modules(2),
        goproxy: "https://proxy.lab:8443",
        hosts: &[host("proxy.lab", H2At8443, &[on("*", ServeUser)])],
        succeeds: false,
        answers: &[resent("proxy.lab", 401, 2)],
        findings: &[("PT301", Error), ("PT303", Warning)],
        ..BASE
    },
    Scenario {
        name: "wrong-password",
        about: "the proxy wants other credentials than those of ~/.netrc",
        home: &[(".netrc", "machine proxy.lab login user password wrong\n")],
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H2, &[on("*", ServeUser)])],
        succeeds: false,
        answers: &[resent("proxy.lab", 401, 2)],
        findings: &[("PT301", Error)],
        ..BASE
    },
    Scenario {
        name: "forbidden",
        about: "the proxy forbids a module",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H2, &[on("*/m01/*", Status(403, &[])), on("*", Serve)])],
        succeeds: false,
        answers: &[resent("proxy.lab", 403, 1), some("proxy.lab", 200)],
        findings: &[("PT302", Error)],
        ..BASE
    },
    Scenario {
        name: "forbidden-by-cdn",
        about: "what stands in front of the proxy forbids everything",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H2, &[on("*", Page(403, &[("CF-RAY", "8f3a-FRA")]))])],
        succeeds: false,
        answers: &[resent("proxy.lab", 403, 2)],
        findings: &[("PT302", Error)],
        ..BASE
    },
    Scenario {
        name: "user-over-http",
        about: "an entry without TLS has a password in it",
        modules: modules(2),
        goproxy: "http://user:secret@proxy.lab",
        hosts: &[host("proxy.lab", Plain, &[on("*", Serve)])],
        succeeds: false,
        findings: &[("PT304", Warning)],
        ..BASE
    },
    Scenario {
        name: "user-in-url",
        about: "an entry has a password in it",
        modules: modules(2),
        goproxy: "https://user:secret@proxy.lab",
        hosts: &[host("proxy.lab", H2, &[on("*", ServeUser)])],
        answers: &[got("proxy.lab", 200, 6)],
        findings: &[("PT305", Warning)],
        ..BASE
    },
    Scenario {
        name: "teapot",
        about: "the proxy answers a status that says nothing",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H2, &[on("*", Status(418, &[]))])],
        succeeds: false,
        answers: &[resent("proxy.lab", 418, 2)],
        findings: &[("PT402", Error)],
        ..BASE
    },
    Scenario {
        name: "no-content",
        about: "the proxy answers 204",
        modules: modules(1),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H2, &[on("*", Status(204, &[]))])],
        succeeds: false,
        answers: &[got("proxy.lab", 204, 1)],
        findings: &[("PT402", Error)],
        ..BASE
    },
    Scenario {
        name: "rate-limited",
        about: "the proxy answers 429",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H2, &[on("*", Status(429, &[("Retry-After", "7")]))])],
        succeeds: false,
        answers: &[resent("proxy.lab", 429, 2)],
        findings: &[("PT408", Error)],
        ..BASE
    },
    Scenario {
        name: "overloaded",
        about: "the proxy answers 503 and when to come back",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H2, &[on("*", Status(503, &[("Retry-After", "7")]))])],
        succeeds: false,
        answers: &[got("proxy.lab", 503, 2)],
        findings: &[("PT408", Error)],
        ..BASE
    },
    Scenario {
        name: "html-zip",
        about: "zips are pages for people",
        modules: modules(2),
        goproxy: "https://proxy.lab,https://mirror.lab",
        hosts: &[host("proxy.lab", H2, &[on("*.zip", Html), on("*", Serve)]), MIRROR],
        succeeds: false,
        answers: &[got("proxy.lab", 200, 6)],
        findings: &[("PT401", Error)],
        ..BASE
    },
    Scenario {
        name: "bad-zip",
        about: "zips are none",
        modules: modules(2),
        goproxy: "https://proxy.lab|https://mirror.lab",
        hosts: &[
            host(
                "proxy.lab",
                H2,
                &[
                    on("*.zip", Body(&[("Content-Type", "application/zip")], "gone")),
                    on("*", Serve),
                ],
            ),
            MIRROR,
        ],
        succeeds: false,
        answers: &[got("proxy.lab", 200, 6)],
        findings: &[("PT403", Error)],
        ..BASE
    },
];
