//! Everything that can be found, as data.

use crate::model::Severity;

/// A kind of finding.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// `PT006`; never used again for something else.
    pub code: &'static str,
    /// `redirect-target-status`.
    pub slug: &'static str,
    /// How bad it is at its worst.
    pub severity: Severity,
    /// One line.
    pub title: &'static str,
    /// What go does, and why this is seen.
    pub explanation: &'static str,
    /// What to do.
    pub advice: &'static str,
}

/// All kinds, by code.
pub const CATALOGUE: &[Kind] = &[
    Kind {
        code: "PT001",
        slug: "redirect-then-origin-retry",
        severity: Severity::Warning,
        title: "after a redirect the same URL was asked of the first host again",
        explanation: "No go since 1.13 does this: it follows the redirect, and asks again only as the resend of a fetch that ended 4xx, or when a connection broke. Neither was the case here.",
        advice: "Look for a wrapper around go, a patched toolchain, or something on the way that answers in the name of the proxy.",
    },
    Kind {
        code: "PT002",
        slug: "goauth-resend",
        severity: Severity::Note,
        title: "go sent fetches that ended 4xx a second time",
        explanation: "Since Go 1.24 an https fetch that ends 4xx is sent once more, with what GOAUTH gives for its URL, even if that is nothing. `go -x` does not show it.",
        advice: "Nothing needs to be done. Each missing module costs its proxy two requests: count them so in its rate limits.",
    },
    Kind {
        code: "PT003",
        slug: "redirect-loop",
        severity: Severity::Error,
        title: "redirects that lead in a circle",
        explanation: "go gives up when a fetch was redirected ten times. Mirrors that redirect to each other, or a host that redirects to another spelling of its own URL, never end.",
        advice: "Make the last host of the circle answer the request itself: correct its canonical URL, or the upstream that it redirects to.",
    },
    Kind {
        code: "PT004",
        slug: "redirect-downgrade",
        severity: Severity::Error,
        title: "a redirect from https to http, which go refuses",
        explanation: "A fetch that began with https may not continue with http, whoever redirects it; the http URL is never asked. Most often TLS ends in front of a server that does not know it and builds http URLs.",
        advice: "Let the server behind the TLS terminator see `X-Forwarded-Proto: https`, or configure its public URL as https, so that its Location begins with https://.",
    },
    Kind {
        code: "PT005",
        slug: "redirect-no-location",
        severity: Severity::Error,
        title: "a redirect that leads nowhere",
        explanation: "A 301, 302, 303, 307 or 308 without a Location that can be read is a final answer for go, and an error.",
        advice: "Repair the proxy: it must send a Location, or the answer itself.",
    },
    Kind {
        code: "PT006",
        slug: "redirect-target-status",
        severity: Severity::Error,
        title: "the target of a redirect answered with an error",
        explanation: "go follows the redirect and gets an error from the other host, but its message has the URL that it asked first. So the wrong host is blamed.",
        advice: "Look at the host that answered: its access rules, its signed URLs, whether it lets this network in. Or let the proxy fetch the file itself instead of redirecting.",
    },
    Kind {
        code: "PT007",
        slug: "redirect-target-unreachable",
        severity: Severity::Error,
        title: "the target of a redirect could not be reached",
        explanation: "The proxy works, but it sends go on to a host that this machine cannot talk to.",
        advice: "Allow this machine to reach the target (firewall, egress allow-list, DNS, certificates), or let the proxy fetch the file itself instead of redirecting.",
    },
    Kind {
        code: "PT012",
        slug: "redirect-then-fallback",
        severity: Severity::Warning,
        title: "an entry redirected, and go asked the next one",
        explanation: "The redirect is not the reason: go follows redirects. The reason is the final answer behind it. 404 or 410 there is how proxies say that they do not have a module, and normal.",
        advice: "Look at the final answer, behind the redirect.",
    },
    Kind {
        code: "PT101",
        slug: "comma-stops",
        severity: Severity::Error,
        title: "`,` in GOPROXY kept go from asking the next entry",
        explanation: "After an entry that is followed by `,`, go asks the next one for 404 and 410 alone. Any other failure ends the search.",
        advice: "Let the proxy answer 404 for what it does not have, or write `|` after the entry, so that go asks on after any error.",
    },
    Kind {
        code: "PT103",
        slug: "pipe-hides-outage",
        severity: Severity::Warning,
        title: "an entry of GOPROXY fails, and `|` hides it",
        explanation: "After an entry that is followed by `|`, go asks the next one whatever the failure, and says nothing of it.",
        advice: "Repair the entry, or take it out of GOPROXY: every fetch asks it first.",
    },
    Kind {
        code: "PT104",
        slug: "masked-root-cause",
        severity: Severity::Warning,
        title: "go's message shows the last failure, not the first",
        explanation: "When `direct` fails as well, go reports its error in place of the proxy's, though the proxy's failure came first.",
        advice: "Repair what failed first; ignore what go says about `direct`.",
    },
    Kind {
        code: "PT201",
        slug: "dns-failure",
        severity: Severity::Error,
        title: "a host name could not be resolved",
        explanation: "No address was found for the host, so nothing was sent to it.",
        advice: "Check the spelling in GOPROXY, and the resolver of this machine or container (/etc/resolv.conf).",
    },
    Kind {
        code: "PT202",
        slug: "connect-refused",
        severity: Severity::Error,
        title: "the connection was refused",
        explanation: "The host is there, but nothing listens on the port, or a firewall rejects.",
        advice: "Start the proxy, or correct its port in GOPROXY.",
    },
    Kind {
        code: "PT203",
        slug: "connect-timeout",
        severity: Severity::Error,
        title: "no connection could be made",
        explanation: "The connection attempt was not answered, or there is no route. go waits 30 seconds for it.",
        advice: "Check routes and firewalls on the way; a network that needs a forward proxy wants HTTPS_PROXY.",
    },
    Kind {
        code: "PT204",
        slug: "tls-unknown-ca",
        severity: Severity::Error,
        title: "a certificate is signed by an authority that go does not know",
        explanation: "go trusts the system's certificates, or those of SSL_CERT_FILE and SSL_CERT_DIR. GOINSECURE does not change this for an entry of GOPROXY.",
        advice: "Install the authority's certificate on this machine, or name it in SSL_CERT_FILE. A company's TLS inspection needs this too.",
    },
    Kind {
        code: "PT205",
        slug: "tls-other",
        severity: Severity::Error,
        title: "the TLS handshake failed",
        explanation: "The certificate is for another name or has expired, the server does not speak TLS on that port, or the handshake took longer than 10 seconds.",
        advice: "Check the certificate's names and dates, the port, and the clock of this machine.",
    },
    Kind {
        code: "PT208",
        slug: "h2-reset",
        severity: Severity::Error,
        title: "the connection or the stream was broken off",
        explanation: "The other side closed or reset it in the middle of an exchange. go does not ask again by itself.",
        advice: "Run the command again; if it stays, look at the logs and time limits of the server and what stands in front of it.",
    },
    Kind {
        code: "PT210",
        slug: "body-truncated",
        severity: Severity::Error,
        title: "an answer ended early",
        explanation: "The connection was closed before the whole body had come. go does not resume.",
        advice: "Look at the time and size limits of the server and what stands in front of it.",
    },
    Kind {
        code: "PT211",
        slug: "forward-proxy-refused",
        severity: Severity::Error,
        title: "the forward proxy refused",
        explanation: "HTTPS_PROXY or HTTP_PROXY holds for all that go asks, and this forward proxy did not open the way.",
        advice: "Give it the credentials it wants, or name the host in NO_PROXY.",
    },
    Kind {
        code: "PT301",
        slug: "unauthorized",
        severity: Severity::Error,
        title: "a host wants credentials",
        explanation: "It answered 401 to everything that go had to offer.",
        advice: "Put the credentials for exactly this host, with its port if the URL has one, into ~/.netrc, or configure GOAUTH.",
    },
    Kind {
        code: "PT302",
        slug: "forbidden",
        severity: Severity::Error,
        title: "a host forbids the request",
        explanation: "It answered 403: a policy, a network rule or missing rights, not a missing module.",
        advice: "Ask who runs the host. If it is a policy, have the module approved rather than going round it.",
    },
    Kind {
        code: "PT401",
        slug: "html-on-protocol-path",
        severity: Severity::Error,
        title: "an answer is not what the protocol says",
        explanation: "A web page or something else came with status 200 where go expected a version, a go.mod file or a zip.",
        advice: "Correct the path in GOPROXY and look for a login page or a catch-all behind it; then delete what the module cache kept of it.",
    },
    Kind {
        code: "PT402",
        slug: "unexpected-status",
        severity: Severity::Error,
        title: "a status that go does not take for an answer",
        explanation: "go takes 200 alone for success, and 404 and 410 alone for absence.",
        advice: "Let the proxy answer 200 with the file, or 404.",
    },
    Kind {
        code: "PT408",
        slug: "rate-limited",
        severity: Severity::Error,
        title: "a host limits the rate of requests",
        explanation: "It answered 429. go neither waits nor heeds Retry-After.",
        advice: "Raise the limit for this client, put a caching proxy in front, or let go ask less at a time: GODEBUG=cmdgonetlimit=4.",
    },
    Kind {
        code: "PT409",
        slug: "upstream-5xx",
        severity: Severity::Error,
        title: "a server failed",
        explanation: "It answered with a status of 500 or more: it, or something behind it, is broken.",
        advice: "Look at the logs of the host that answered. A proxy that answers 5xx for a missing module should answer 404.",
    },
    Kind {
        code: "PT410",
        slug: "not-found",
        severity: Severity::Error,
        title: "nobody asked has the module or the version",
        explanation: "Every entry of GOPROXY that was asked answered 404 or 410. The list ends there, or `direct` has found nothing either.",
        advice: "Check the spelling of module and version. A private module wants GOPRIVATE; a version that is minutes old may still be cached as missing.",
    },
    Kind {
        code: "PT507",
        slug: "checksum-mismatch",
        severity: Severity::Error,
        title: "contents with another checksum than recorded",
        explanation: "What came is not what go.sum or the checksum database has for this version: a moved tag, or a proxy that keeps something else.",
        advice: "Compare what several proxies have for this version, and do not switch the check off before the difference is understood.",
    },
    Kind {
        code: "PT900",
        slug: "incomplete-capture",
        severity: Severity::Note,
        title: "not everything was seen",
        explanation: "Events were lost, a function has no probe, or a process was running before its probes were in place. What was not seen may contradict what was found.",
        advice: "Trace again, as root, which sees each go before it runs. Read every finding of this trace as a possibility.",
    },
];

/// The kind with this code, in any case.
pub fn explain(code: &str) -> Option<&'static Kind> {
    CATALOGUE.iter().find(|kind| kind.code.eq_ignore_ascii_case(code))
}
