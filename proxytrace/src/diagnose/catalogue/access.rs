//! Who may ask.

use crate::model::Severity::{Error, Warning};

use super::{Kind, kind};

pub(super) const KINDS: &[Kind] = &[
    kind!(
        "PT301",
        "unauthorized",
        Error,
        "a host wants credentials",
        "It answered 401 to everything that go had to offer.",
        "Put the credentials for exactly this host, with its port if the URL has one, into ~/.netrc, or configure GOAUTH.",
        ["https://go.dev/ref/mod#private-module-proxy-auth"],
    ),
    kind!(
        "PT302",
        "forbidden",
        Error,
        "a host forbids the request",
        "It answered 403: a policy, a network rule or missing rights, not a missing module.",
        "Ask who runs the host. If it is a policy, have the module approved rather than going round it.",
        ["https://go.dev/issue/37367"],
    ),
    kind!(
        "PT303",
        "netrc-port",
        Warning,
        "a line of netrc lacks the port, and go passes it over",
        "go looks for the host of the URL with the port that is written there. A line `machine HOST` is for the default port alone.",
        "Write the port into the line: `machine HOST:PORT login USER password TOKEN`.",
        ["https://go.dev/issue/81253"],
    ),
    kind!(
        "PT304",
        "creds-over-http",
        Error,
        "credentials in an http:// entry, which go refuses",
        "go sends no password in the clear: an entry `http://user:password@…` fails before anything is sent.",
        "Use https for the entry, or take the credentials out of it.",
        ["https://go.dev/ref/mod#private-module-proxy-auth"],
    ),
    kind!(
        "PT305",
        "secret-in-url",
        Warning,
        "GOPROXY has credentials in it",
        "A user, a password or a token in a URL is seen by everybody who sees the environment, `go env`, the logs of servers and go's own messages.",
        "Put the credentials into ~/.netrc (mode 600) or configure GOAUTH, and take them out of GOPROXY.",
        ["https://go.dev/ref/mod#private-module-proxy-auth"],
    ),
];
