//! Names, connections, TLS, and how they break.

use super::prelude::*;

const CLOSE: &[(&str, &str)] = &[("Connection", "close")];

const FORWARD_PROXY_407: Scenario = Scenario {
    name: "forward-proxy-407",
    about: "the forward proxy wants credentials",
    environment: &[("HTTPS_PROXY", "http://forward.lab:3128")],
    modules: modules(1),
    goproxy: "https://proxy.lab",
    hosts: &[
        PROXY,
        host(
            "forward.lab",
            Protocol::Forward,
            &[on("*", Status(407, &[("Proxy-Authenticate", "Basic")]))],
        ),
    ],
    succeeds: false,
    answers: &[some("forward.lab", 407)],
    findings: &[("PT211", Error), ("PT212", Note)],
    ..BASE
};

const FORWARD_PROXY_403: Scenario = Scenario {
    name: "forward-proxy-403",
    about: "the forward proxy forbids the proxy",
    environment: &[("HTTPS_PROXY", "http://forward.lab:3128")],
    modules: modules(1),
    goproxy: "https://proxy.lab",
    hosts: &[PROXY, host("forward.lab", Protocol::Forward, &[on("*", Status(403, &[]))])],
    succeeds: false,
    answers: &[some("forward.lab", 403)],
    findings: &[("PT211", Error), ("PT212", Note)],
    ..BASE
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "retry-h1",
        about: "connections are closed when used again, so that net/http retries unseen",
        modules: modules(6),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H1, &[on("*", ServeOncePerConnection)])],
        answers: &[got("proxy.lab", 200, 18), closed("proxy.lab")],
        sometimes: &["PT802"],
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
        name: "dns-slow",
        about: "the name server takes its time, HTTP/2",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[with(Trouble::SlowName, PROXY)],
        answers: &[got("proxy.lab", 200, 6)],
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
        answers: &[got("proxy.lab", 200, 12)],
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
        findings: &[("PT206", Error)],
        ..BASE
    },
    Scenario {
        name: "tls-client-cert-optional",
        about: "the proxy would take a certificate from the client, and breaks off at a zip",
        modules: modules(1),
        goproxy: "https://proxy.lab",
        hosts: &[with(
            Trouble::TakesCertificate,
            host("proxy.lab", H1, &[on("*.zip", Close), on("*", Serve)]),
        )],
        succeeds: false,
        answers: &[got("proxy.lab", 200, 2), closed("proxy.lab")],
        findings: &[("PT208", Error)],
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
        name: "truncated-gzip-h1",
        about: "compressed zips are shorter than their Content-Length, HTTP/1.1",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H1, &[on("*.zip", TruncateGzip), on("*", Serve)])],
        succeeds: false,
        answers: &[got("proxy.lab", 200, 6)],
        findings: &[("PT210", Error)],
        ..BASE
    },
    Scenario {
        name: "truncated-gzip-h2",
        about: "streams of compressed zips are reset in the middle of the body",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H2, &[on("*.zip", TruncateGzip), on("*", Serve)])],
        succeeds: false,
        answers: &[got("proxy.lab", 200, 6)],
        findings: &[("PT208", Error)],
        ..BASE
    },
    Scenario {
        name: "goaway",
        about: "the proxy retires connections after a while, as it may",
        modules: modules(6),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H2, &[on("*.zip", ServeLast), on("*", Serve)])],
        // A request may be on its way when the connection retires: net/http sends it again.
        answers: &[got("proxy.lab", 200, 18)],
        sometimes: &["PT209"],
        ..BASE
    },
    Scenario {
        name: "truncated-body-pipe",
        about: "the first proxy's zips are shorter than their Content-Length; `|` hides it",
        modules: modules(2),
        goproxy: "https://proxy.lab|https://mirror.lab",
        hosts: &[host("proxy.lab", H1, &[on("*.zip", Truncate), on("*", Serve)]), MIRROR],
        answers: &[got("proxy.lab", 200, 6), got("mirror.lab", 200, 2)],
        findings: &[("PT103", Warning)],
        ..BASE
    },
    FORWARD_PROXY_407,
    Scenario {
        name: "forward-proxy-407-two",
        about: "the same, for two modules at once",
        ..of_two(&FORWARD_PROXY_407)
    },
    FORWARD_PROXY_403,
    Scenario {
        name: "forward-proxy-403-two",
        about: "the same, for two modules at once",
        ..of_two(&FORWARD_PROXY_403)
    },
    Scenario {
        name: "forward-proxy-plain-407",
        about: "the forward proxy wants credentials, without TLS",
        environment: &[("HTTP_PROXY", "http://forward.lab:3128")],
        modules: modules(2),
        goproxy: "http://proxy.lab",
        hosts: &[
            host("proxy.lab", Plain, &[on("*", Serve)]),
            host("forward.lab", Protocol::Forward, &[on("*", Status(407, &[]))]),
        ],
        succeeds: false,
        answers: &[some("forward.lab", 407)],
        findings: &[("PT211", Error), ("PT212", Note)],
        ..BASE
    },
    Scenario {
        name: "ipv6-stalls",
        about: "the proxy has an IPv6 address where nothing is answered",
        modules: modules(1),
        goproxy: "https://proxy.lab",
        hosts: &[with(Trouble::SilentIpv6, PROXY)],
        succeeds: false,
        findings: &[("PT205", Error), ("PT207", Warning)],
        ..BASE
    },
    Scenario {
        name: "goinsecure",
        about: "GOINSECURE is set, and the proxy has a certificate of another authority",
        environment: &[("GOINSECURE", "*")],
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[with(Trouble::UnknownAuthority, PROXY)],
        succeeds: false,
        findings: &[("PT204", Error), ("PT605", Warning)],
        ..BASE
    },
    Scenario {
        name: "silent-wait",
        about: "each first answer takes eleven seconds",
        modules: modules(1),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H2, &[on("*.info", Slow(11_000)), on("*", Serve)])],
        answers: &[got("proxy.lab", 200, 3)],
        findings: &[("PT508", Warning)],
        ..BASE
    },
    Scenario {
        name: "slow",
        about: "every answer takes more than four seconds",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", H2, &[on("*", Slow(4_500))])],
        answers: &[got("proxy.lab", 200, 6)],
        findings: &[("PT801", Warning)],
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
        name: "connect-refused",
        about: "nobody listens on the proxy's port",
        modules: modules(2),
        goproxy: "https://proxy.lab",
        hosts: &[host("proxy.lab", Plain, &[])],
        succeeds: false,
        findings: &[("PT202", Error)],
        ..BASE
    },
    Scenario {
        name: "connection-each",
        about: "nearly every answer closes its connection",
        command: &[
            "go",
            "list",
            "-m",
            "-versions",
            "mod.lab/m01",
            "mod.lab/m02",
            "mod.lab/m03",
            "mod.lab/m04",
            "mod.lab/m05",
            "mod.lab/m06",
            "mod.lab/m07",
            "mod.lab/m08",
            "mod.lab/m09",
            "mod.lab/m10",
        ],
        modules: modules(10),
        goproxy: "https://proxy.lab",
        hosts: &[host(
            "proxy.lab",
            H1,
            &[
                on("*/list", Body(CLOSE, "v1.0.0\n")),
                on("*.info", Body(CLOSE, r#"{"Version":"v1.0.0"}"#)),
                on("*", Serve),
            ],
        )],
        answers: &[some("proxy.lab", 200)],
        findings: &[("PT802", Note)],
        ..BASE
    },
];
