//! Nothing is wrong, and nothing may be found that is more than a note.

use super::prelude::*;

const FORWARD_PROXY: Scenario = Scenario {
    name: "forward-proxy",
    about: "everything goes through a forward proxy",
    environment: &[("HTTPS_PROXY", "http://forward.lab:3128")],
    modules: modules(1),
    goproxy: "https://proxy.lab",
    hosts: &[PROXY, host("forward.lab", Protocol::Forward, &[on("*", Forward)])],
    answers: &[got("proxy.lab", 200, 3), some("forward.lab", 200)],
    findings: &[("PT212", Note)],
    ..BASE
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "healthy-40",
        about: "one proxy that has everything, HTTP/2",
        modules: modules(40),
        goproxy: "https://proxy.lab",
        hosts: &[PROXY],
        answers: &[got("proxy.lab", 200, 120)],
        ..BASE
    },
    Scenario {
        name: "healthy-h1",
        about: "one proxy that has everything, HTTP/1.1 over TLS",
        modules: modules(12),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H1, &[on("*", Serve)])],
        answers: &[got("proxy.lab", 200, 36)],
        ..BASE
    },
    Scenario {
        name: "healthy-plain",
        about: "one proxy that has everything, without TLS",
        modules: modules(12),
        goproxy: "http://proxy.lab",
        hosts: &[host("proxy.lab", Plain, &[on("*", Serve)])],
        answers: &[got("proxy.lab", 200, 36)],
        ..BASE
    },
    Scenario {
        name: "case-encoded",
        about: "module paths with capitals, asked for as %21",
        modules: Modules { prefix: "mod.lab/Upper", count: 2, others: &[] },
        goproxy: "https://proxy.lab",
        hosts: &[PROXY],
        answers: &[got("proxy.lab", 200, 6)],
        ..BASE
    },
    Scenario {
        name: "bench",
        about: "every zip answered 302 to another host; for measuring, with --modules",
        modules: modules(200),
        goproxy: "https://proxy.lab",
        // The last is for who measures beside it what a network takes.
        hosts: &[
            host("proxy.lab", H2, TO_STORAGE),
            STORAGE,
            host("far.lab", H2, &[on("*", Slow(5))]),
        ],
        answers: &[
            got("proxy.lab", 200, 400),
            got("proxy.lab", 302, 200),
            got("storage.lab", 200, 200),
        ],
        ..BASE
    },
    Scenario {
        name: "bench-plain",
        about: "the same over HTTP/1.1 without TLS",
        modules: modules(200),
        goproxy: "http://proxy.lab",
        hosts: &[
            host("proxy.lab", Plain, &redirecting("http://storage.lab{path}")),
            host("storage.lab", Plain, &[on("*", Serve)]),
        ],
        answers: &[
            got("proxy.lab", 200, 400),
            got("proxy.lab", 302, 200),
            got("storage.lab", 200, 200),
        ],
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
        answers: &[
            got("proxy.lab", 200, 5),
            got("proxy.lab", 302, 1),
            got("storage.lab", 200, 1),
            resent("proxy.lab", 404, 3),
            got("mirror.lab", 200, 3),
        ],
        findings: &[("PT102", Note)],
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
        answers: &[],
        findings: &[("PT606", Note)],
        ..BASE
    },
    Scenario {
        name: "cached-part",
        about: "one module of three is in the module cache already",
        modules: modules(3),
        goproxy: "https://proxy.lab",
        cached: &["mod.lab/m02@v1.0.0"],
        hosts: &[PROXY],
        answers: &[got("proxy.lab", 200, 6)],
        ..BASE
    },
    Scenario {
        name: "gzip",
        about: "everything comes compressed",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H1, &[on("*", Gzip)])],
        answers: &[got("proxy.lab", 200, 6)],
        ..BASE
    },
    Scenario {
        name: "gzip-h2",
        about: "everything comes compressed, over HTTP/2",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H2, &[on("*", Gzip)])],
        answers: &[got("proxy.lab", 200, 6)],
        ..BASE
    },
    Scenario {
        name: "slow-but-fine",
        about: "every answer takes a second",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H2, &[on("*", Slow(1000))])],
        answers: &[got("proxy.lab", 200, 6)],
        ..BASE
    },
    Scenario {
        name: "private-next",
        about: "one module of six is private, and only at the second proxy",
        modules: modules(6),
        goproxy: "https://proxy.lab,https://mirror.lab",
        hosts: &[host("proxy.lab", H2, &[on("*/m06/*", Status(404, &[])), on("*", Serve)]), MIRROR],
        answers: &[
            got("proxy.lab", 200, 15),
            resent("proxy.lab", 404, 3),
            got("mirror.lab", 200, 3),
        ],
        findings: &[("PT102", Note)],
        ..BASE
    },
    Scenario {
        name: "gonoproxy",
        about: "a module that GONOPROXY matches is fetched past the proxy",
        environment: &[("GONOPROXY", "vanity.lab")],
        modules: Modules { prefix: "vanity.lab/m", count: 2, others: &[] },
        goproxy: "https://proxy.lab",
        hosts: &[
            PROXY,
            host("vanity.lab", H2, &[on("*?go-get=1", GoImport("https://mirror.lab"))]),
            MIRROR,
        ],
        answers: &[got("vanity.lab", 200, 2), got("mirror.lab", 200, 6)],
        ..BASE
    },
    Scenario {
        name: "file-proxy",
        about: "the second go has a directory for its proxy",
        command: &[
            "sh",
            "-c",
            "go mod download && GOPROXY=file://$GOMODCACHE/cache/download GOMODCACHE=$GOPATH/other \
             go mod download",
        ],
        environment: &[("GOFLAGS", "-mod=mod -modcacherw")],
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[PROXY],
        answers: &[got("proxy.lab", 200, 6)],
        ..BASE
    },
    Scenario {
        name: "go-get",
        about: "a package of a module, for which go asks for every prefix of its path",
        command: &["go", "get", "mod.lab/m01/cmd@v1.0.0"],
        modules: modules(1),
        goproxy: "https://proxy.lab",
        hosts: &[PROXY],
        answers: &[some("proxy.lab", 200), some_resent("proxy.lab", 404)],
        ..BASE
    },
    Scenario {
        name: "no-such-package",
        about: "a package that its module does not have: go says so, and no proxy is to blame",
        command: &["go", "get", "mod.lab/m01/none@v1.0.0"],
        modules: modules(1),
        goproxy: "https://proxy.lab",
        hosts: &[PROXY],
        succeeds: false,
        answers: &[some("proxy.lab", 200), some_resent("proxy.lab", 404)],
        ..BASE
    },
    Scenario {
        name: "no-such-package-500",
        about: "the same, and a shorter path is answered 500, which go passes over",
        command: &["go", "get", "mod.lab/m01/none@v1.0.0"],
        modules: modules(1),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H2, &[on("/mod.lab/@*", Status(500, &[])), on("*", Serve)])],
        succeeds: false,
        answers: &[some("proxy.lab", 200), some_resent("proxy.lab", 404), some("proxy.lab", 500)],
        ..BASE
    },
    Scenario {
        name: "go-get-ended",
        about: "a go that is ended while it waits for the zip: no path that is no module is to blame",
        command: &["sh", "-c", "timeout 6 go get mod.lab/m01/cmd@v1.0.0"],
        modules: modules(1),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H2, &[on("*.zip", Slow(30_000)), on("*", Serve)])],
        succeeds: false,
        answers: &[some("proxy.lab", 200), some_resent("proxy.lab", 404)],
        ..BASE
    },
    Scenario {
        name: "go-get-latest",
        about: "a package of a module, without a version",
        command: &["go", "get", "mod.lab/m01/cmd@latest"],
        modules: modules(1),
        goproxy: "https://proxy.lab",
        hosts: &[PROXY],
        answers: &[some("proxy.lab", 200), some_resent("proxy.lab", 404)],
        ..BASE
    },
    Scenario {
        name: "versions",
        about: "the versions of a module",
        command: &["go", "list", "-m", "-versions", "mod.lab/m01"],
        modules: modules(1),
        goproxy: "https://proxy.lab",
        hosts: &[PROXY],
        answers: &[some("proxy.lab", 200)],
        ..BASE
    },
    Scenario {
        name: "list-then-latest",
        about: "a proxy without lists, so that go asks for the latest version",
        command: &["go", "list", "-m", "mod.lab/m01@latest"],
        modules: modules(1),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H2, &[on("*/list", Body(&[], "")), on("*", Serve)])],
        answers: &[some("proxy.lab", 200)],
        ..BASE
    },
    Scenario {
        name: "build",
        about: "a program is built",
        command: &["go", "build", "./..."],
        modules: modules(3),
        goproxy: "https://proxy.lab",
        hosts: &[PROXY],
        answers: &[got("proxy.lab", 200, 9)],
        ..BASE
    },
    Scenario {
        name: "tidy",
        about: "the main module is tidied",
        command: &["go", "mod", "tidy"],
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[PROXY],
        answers: &[some("proxy.lab", 200)],
        ..BASE
    },
    Scenario {
        name: "graph",
        about: "the graph of modules",
        command: &["go", "mod", "graph"],
        modules: modules(3),
        goproxy: "https://proxy.lab",
        hosts: &[PROXY],
        answers: &[got("proxy.lab", 200, 3)],
        ..BASE
    },
    Scenario {
        name: "netrc",
        about: "the proxy wants credentials, which ~/.netrc has",
        home: &[(".netrc", "machine proxy.lab login user password secret\n")],
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H2, &[on("*", ServeUser)])],
        answers: &[got("proxy.lab", 200, 6)],
        ..BASE
    },
    Scenario {
        name: "netrc-port",
        about: "the same on another port, which ~/.netrc has",
        since: 21,
        home: &[(".netrc", "machine proxy.lab:8443 login user password secret\n")],
        modules: modules(2),
        goproxy: "https://proxy.lab:8443",
        hosts: &[host("proxy.lab", H2At8443, &[on("*", ServeUser)])],
        answers: &[got("proxy.lab", 200, 6)],
        ..BASE
    },
    FORWARD_PROXY,
    Scenario {
        name: "forward-proxy-two",
        about: "the same, for two modules at once",
        answers: &[got("proxy.lab", 200, 6), some("forward.lab", 200)],
        ..of_two(&FORWARD_PROXY)
    },
    Scenario {
        name: "forward-proxy-plain",
        about: "the same without TLS",
        environment: &[("HTTP_PROXY", "http://forward.lab:3128")],
        modules: modules(2),
        goproxy: "http://proxy.lab",
        hosts: &[
            host("proxy.lab", Plain, &[on("*", Serve)]),
            host("forward.lab", Protocol::Forward, &[on("*", Forward)]),
        ],
        answers: &[got("proxy.lab", 200, 6)],
        findings: &[("PT212", Note)],
        ..BASE
    },
    Scenario {
        name: "no-proxy",
        about: "a forward proxy that NO_PROXY keeps go from",
        environment: &[("HTTPS_PROXY", "http://forward.lab:3128"), ("NO_PROXY", ".lab")],
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[PROXY, host("forward.lab", Protocol::Forward, &[])],
        answers: &[got("proxy.lab", 200, 6)],
        ..BASE
    },
    Scenario {
        name: "toolchain-switch",
        about: "go becomes another toolchain, which is on this machine",
        command: &[
            "sh",
            "-c",
            "mkdir tools && ln -s $OTHER/bin/go tools/$OTHER_VERSION && \
             PATH=$PWD/tools:$PATH GOTOOLCHAIN=$OTHER_VERSION+path go mod download",
        ],
        environment: &[("OTHER", "{other}"), ("OTHER_VERSION", "{other_version}")],
        since: 21,
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[PROXY],
        answers: &[got("proxy.lab", 200, 6)],
        findings: &[("PT603", Note)],
        ..BASE
    },
    Scenario {
        name: "refused-stream",
        about: "the proxy refuses the first stream of each zip, so that net/http asks again",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H2, &[on("*.zip", First(&Action::Refuse)), on("*", Serve)])],
        answers: &[got("proxy.lab", 200, 6), closed("proxy.lab")],
        findings: &[("PT209", Note)],
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
        answers: &[
            got("proxy.lab", 200, 4),
            got("proxy.lab", 302, 2),
            got("proxy.lab", 404, 3),
            got("proxy.lab", 410, 3),
            got("mirror.lab", 200, 6),
            got("storage.lab", 200, 2),
        ],
        findings: &[("PT102", Note)],
        ..BASE
    },
    Scenario {
        name: "plain-once",
        about: "without TLS: each connection serves once and cuts the next request off",
        modules: modules(4),
        goproxy: "http://proxy.lab",
        hosts: &[host("proxy.lab", Plain, &[on("*", ServeOncePerConnection)])],
        answers: &[got("proxy.lab", 200, 12), closed("proxy.lab")],
        sometimes: &["PT802"],
        ..BASE
    },
];
