//! Redirects, followed and refused.

use super::prelude::*;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "cross-host-redirect",
        about: "every zip is redirected to another host, with a query",
        modules: modules(12),
        goproxy: "https://proxy.lab",
        hosts: &[
            host("proxy.lab", H2, &redirecting("https://storage.lab{path}?generation=7")),
            STORAGE,
        ],
        answers: &[
            got("proxy.lab", 200, 24),
            got("proxy.lab", 302, 12),
            got("storage.lab", 200, 12),
        ],
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
        answers: &[
            got("proxy.lab", 200, 8),
            got("proxy.lab", 302, 4),
            got("one.lab", 307, 4),
            got("two.lab", 301, 4),
            got("storage.lab", 200, 4),
        ],
        findings: &[("PT020", Note)],
        ..BASE
    },
    Scenario {
        name: "redirect-404-next",
        about: "zips are redirected to a host without them; the second proxy has them",
        modules: modules(4),
        goproxy: "https://proxy.lab,https://mirror.lab",
        hosts: &[host("proxy.lab", H2, TO_STORAGE), host("storage.lab", H2, &[]), MIRROR],
        answers: &[
            got("proxy.lab", 200, 8),
            resent("proxy.lab", 302, 4),
            resent("storage.lab", 404, 4),
            got("mirror.lab", 200, 4),
        ],
        findings: &[("PT012", Note), ("PT102", Note)],
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
        name: "redirect-downgrade-pipe",
        about: "the same, and `|` lets go ask the second proxy",
        modules: modules(2),
        goproxy: "https://proxy.lab|https://mirror.lab",
        hosts: &[
            host("proxy.lab", H2, &redirecting("http://storage.lab{path}")),
            host("storage.lab", Plain, &[on("*", Serve)]),
            MIRROR,
        ],
        answers: &[got("proxy.lab", 200, 4), got("proxy.lab", 302, 2), got("mirror.lab", 200, 2)],
        findings: &[("PT103", Warning)],
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
        findings: &[("PT005", Error)],
        ..BASE
    },
    Scenario {
        name: "redirect-empty-location",
        about: "zips are answered 302 with an empty Location",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[host(
            "proxy.lab",
            H2,
            &[on("*.zip", Status(302, &[("Location", "")])), on("*", Serve)],
        )],
        succeeds: false,
        answers: &[got("proxy.lab", 200, 4), got("proxy.lab", 302, 2)],
        findings: &[("PT005", Error)],
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
        findings: &[("PT005", Error)],
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
        name: "redirect-301",
        about: "zips are redirected by 301",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[
            host(
                "proxy.lab",
                H2,
                &[on("*.zip", Redirect(301, "https://storage.lab{path}")), on("*", Serve)],
            ),
            STORAGE,
        ],
        answers: &[got("proxy.lab", 200, 4), got("proxy.lab", 301, 2), got("storage.lab", 200, 2)],
        ..BASE
    },
    Scenario {
        name: "redirect-303",
        about: "zips are redirected by 303",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[
            host(
                "proxy.lab",
                H2,
                &[on("*.zip", Redirect(303, "https://storage.lab{path}")), on("*", Serve)],
            ),
            STORAGE,
        ],
        answers: &[got("proxy.lab", 200, 4), got("proxy.lab", 303, 2), got("storage.lab", 200, 2)],
        ..BASE
    },
    Scenario {
        name: "redirect-307",
        about: "zips are redirected by 307",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[
            host(
                "proxy.lab",
                H2,
                &[on("*.zip", Redirect(307, "https://storage.lab{path}")), on("*", Serve)],
            ),
            STORAGE,
        ],
        answers: &[got("proxy.lab", 200, 4), got("proxy.lab", 307, 2), got("storage.lab", 200, 2)],
        ..BASE
    },
    Scenario {
        name: "redirect-308",
        about: "zips are redirected by 308",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[
            host(
                "proxy.lab",
                H2,
                &[on("*.zip", Redirect(308, "https://storage.lab{path}")), on("*", Serve)],
            ),
            STORAGE,
        ],
        answers: &[got("proxy.lab", 200, 4), got("proxy.lab", 308, 2), got("storage.lab", 200, 2)],
        ..BASE
    },
    Scenario {
        name: "redirect-to-https",
        about: "everything is redirected from http to https",
        modules: modules(2),
        goproxy: "http://proxy.lab",
        hosts: &[
            host("proxy.lab", Plain, &[on("*", Redirect(301, "https://storage.lab{path}"))]),
            STORAGE,
        ],
        answers: &[got("proxy.lab", 301, 6), got("storage.lab", 200, 6)],
        ..BASE
    },
    Scenario {
        name: "redirect-within",
        about: "zips are redirected within the host",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[host(
            "proxy.lab",
            H2,
            &[on("/store/*", Serve), on("*.zip", Redirect(302, "/store{path}")), on("*", Serve)],
        )],
        answers: &[got("proxy.lab", 200, 6), got("proxy.lab", 302, 2)],
        ..BASE
    },
    Scenario {
        name: "redirect-login",
        about: "everything is redirected to a login, which answers 200",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[
            host("proxy.lab", H2, &[on("*", Redirect(302, "https://login.lab/sso"))]),
            host("login.lab", H2, &[on("*", Html)]),
        ],
        succeeds: false,
        answers: &[some("proxy.lab", 302), some("login.lab", 200)],
        findings: &[("PT008", Error), ("PT404", Error)],
        ..BASE
    },
    Scenario {
        name: "captive-portal",
        about: "the network redirects everything to its login",
        modules: modules(2),
        goproxy: "http://proxy.lab",
        hosts: &[
            host("proxy.lab", Plain, &[on("*", Redirect(302, "http://portal.lab/"))]),
            host("portal.lab", Plain, &[on("*", Html)]),
        ],
        succeeds: false,
        answers: &[some("proxy.lab", 302), some("portal.lab", 200)],
        findings: &[("PT008", Error), ("PT404", Error)],
        ..BASE
    },
    Scenario {
        name: "redirect-storage-403",
        about: "zips are redirected to a storage that forbids them",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[
            host("proxy.lab", H2, TO_STORAGE),
            host(
                "storage.lab",
                H2,
                &[on(
                    "*",
                    Status(403, &[("Server", "UploadServer"), ("Content-Type", "application/xml")]),
                )],
            ),
        ],
        succeeds: false,
        answers: &[
            got("proxy.lab", 200, 4),
            resent("proxy.lab", 302, 2),
            resent("storage.lab", 403, 2),
        ],
        findings: &[("PT006", Error)],
        ..BASE
    },
    Scenario {
        name: "redirect-credentials",
        about: "zips are redirected to a host that wants the credentials, too",
        home: &[(".netrc", "machine proxy.lab login user password secret\n")],
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[
            host(
                "proxy.lab",
                H2,
                &[on("*.zip", Redirect(302, "https://storage.lab{path}")), on("*", ServeUser)],
            ),
            host("storage.lab", H2, &[on("*", ServeUser)]),
        ],
        succeeds: false,
        answers: &[
            got("proxy.lab", 200, 4),
            resent("proxy.lab", 302, 2),
            resent("storage.lab", 401, 2),
        ],
        findings: &[("PT010", Error)],
        ..BASE
    },
    Scenario {
        name: "redirect-token",
        about: "zips are redirected to another host, and a header of GOAUTH goes with them",
        since: 24,
        environment: &[("GOAUTH", "{home}/goauth")],
        home: &[(
            "goauth",
            "#!/bin/sh\nprintf 'https://proxy.lab\\n\\nPrivate-Token: secret\\n\\n'\n",
        )],
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H2, TO_STORAGE), STORAGE],
        answers: &[got("proxy.lab", 200, 4), got("proxy.lab", 302, 2), got("storage.lab", 200, 2)],
        findings: &[("PT009", Warning)],
        ..BASE
    },
];
