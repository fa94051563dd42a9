//! Who speaks: what the headers and the kind of an answer tell of the one who gave it, and what a
//! status means coming from there.
//!
//! Nothing of this decides whether there is a finding: it is said beside one.

use crate::model::Request;

/// What kind of thing has put its name into an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Role {
    /// It passes on what others say, unless it says no itself.
    Cdn,
    /// It filters what passes.
    Firewall,
    /// It was told to fetch.
    ForwardProxy,
    /// It passed on what somebody else answered, or answered itself: `Via` does not tell which.
    Passed,
    /// It keeps files.
    Storage,
    /// It is a module proxy, among other things.
    Repository,
    /// It spreads requests among servers.
    Balancer,
}

/// A header, what stands in it (in lower case; nothing: that it is there is enough), and whose sign
/// that is. The first that fits: who gave the answer before whoever passed it on.
const SIGNS: &[(&str, &str, Role, &str)] = &[
    ("Server", "zscaler", Role::Firewall, "Zscaler"),
    ("Server", "bluecoat", Role::Firewall, "Blue Coat ProxySG"),
    ("Server", "fortigate", Role::Firewall, "FortiGate"),
    ("Server", "squid", Role::ForwardProxy, "Squid"),
    ("Server", "artifactory", Role::Repository, "Artifactory"),
    ("Server", "nexus", Role::Repository, "Nexus"),
    ("Server", "uploadserver", Role::Storage, "Google Cloud Storage"),
    ("Server", "amazons3", Role::Storage, "Amazon S3"),
    ("Server", "windows-azure-blob", Role::Storage, "Azure Blob Storage"),
    ("Server", "aliyunoss", Role::Storage, "Alibaba Cloud OSS"),
    ("Server", "minio", Role::Storage, "MinIO"),
    ("Server", "cloudflare", Role::Cdn, "Cloudflare"),
    ("Cf-Ray", "", Role::Cdn, "Cloudflare"),
    ("Server", "cloudfront", Role::Cdn, "Amazon CloudFront"),
    ("Via", "cloudfront", Role::Cdn, "Amazon CloudFront"),
    ("X-Cache", "cloudfront", Role::Cdn, "Amazon CloudFront"),
    ("Server", "akamaighost", Role::Cdn, "Akamai"),
    ("Via", "varnish", Role::Cdn, "Varnish"),
    ("Via", "google", Role::Balancer, "a Google load balancer"),
    ("Server", "awselb", Role::Balancer, "an AWS load balancer"),
    ("Via", "bluecoat", Role::Passed, "Blue Coat ProxySG"),
    ("Via", "mcafee web gateway", Role::Passed, "McAfee Web Gateway"),
    ("Via", "skyhigh", Role::Passed, "Skyhigh Web Gateway"),
    ("Via", "(squid", Role::Passed, "Squid"),
    ("Via", "apachetrafficserver", Role::Passed, "Apache Traffic Server"),
];

/// What a status means from whom: from, to, whose, in a page or not (none: whichever), what to do.
type Meaning = (u16, u16, Option<Role>, Option<bool>, &'static str);

/// The first that fits.
const MEANINGS: &[Meaning] = &[
    (
        511,
        511,
        None,
        None,
        "This network wants a login before it lets anything through: sign in with a browser, then run go again.",
    ),
    (
        401,
        401,
        Some(Role::Repository),
        None,
        "Create a token for the repository and put it into ~/.netrc for exactly this host: `machine HOST login USER password TOKEN`.",
    ),
    (
        403,
        403,
        Some(Role::Firewall),
        None,
        "A filter on the way forbids it: ask its operator to allow the host for build machines.",
    ),
    // For credentials of its own it would ask with 407.
    (
        403,
        403,
        Some(Role::ForwardProxy),
        None,
        "The forward proxy forbids it: ask for the host to be allowed, or name it in NO_PROXY if it may be asked directly.",
    ),
    (
        403,
        403,
        Some(Role::Storage),
        None,
        "The storage refuses: the signed URL has expired or is for another network, or a perimeter (VPC service controls, a bucket policy) keeps this one out. Let this network in, or let the proxy fetch the file itself instead of redirecting.",
    ),
    (
        403,
        403,
        Some(Role::Cdn),
        Some(true),
        "The page is of the CDN or its firewall, not of a module proxy: look at its security events for this client, and let build machines and the user agents `Go-http-client` and `GoCommand` through.",
    ),
    (
        403,
        403,
        Some(Role::Repository),
        None,
        "The repository manager refuses: the user may not read there, or a curation policy blocks the version. Have it approved rather than going round it.",
    ),
    (
        401,
        403,
        None,
        Some(true),
        "A module proxy says no in plain text, and this is a page for people: a login or a filter in front of the proxy sends it. Let it pass what go sends, or answer 401 with `WWW-Authenticate: Basic`.",
    ),
    (
        429,
        429,
        Some(Role::Cdn),
        None,
        "The CDN may count, not the proxy behind it: raise its limit for this client. go neither waits nor heeds Retry-After; GODEBUG=cmdgonetlimit=4 lets it ask less at a time.",
    ),
    (
        502,
        504,
        Some(Role::Cdn),
        None,
        "The CDN got no answer from the server behind it, or not in time: look there.",
    ),
    (
        502,
        504,
        Some(Role::Balancer),
        None,
        "The load balancer got no answer from the servers behind it, or not in time: look there, and at its time limit.",
    ),
    (
        502,
        504,
        Some(Role::ForwardProxy),
        None,
        "The forward proxy got no answer from the host: look whether it may reach it, and at its time limit.",
    ),
    (
        502,
        504,
        None,
        Some(true),
        "A page for people: the reverse proxy in front got no answer from the module proxy behind it. Look there, and at `proxy_read_timeout`.",
    ),
];

/// Whether an answer is a page for people, going by its Content-Type.
pub(super) fn is_page(request: &Request) -> bool {
    const PAGE: &[u8] = b"text/html";
    let kind = request.headers.get("Content-Type").map(|kind| kind.trim_start().as_bytes());
    kind.and_then(|kind| kind.get(..PAGE.len())).is_some_and(|it| it.eq_ignore_ascii_case(PAGE))
}

fn sign(request: &Request) -> Option<(Role, &'static str)> {
    let holds = |header: &str, part: &str| {
        let value = request.headers.get(header);
        value.is_some_and(|value| value.to_ascii_lowercase().contains(part))
    };
    let row = SIGNS.iter().find(|(header, part, ..)| holds(header, part))?;
    Some((row.2, row.3))
}

/// Who has put a name into the answer, in words that can end a message; nothing if nobody has.
pub(super) fn remark(request: &Request) -> String {
    let page = is_page(request);
    let named = sign(request).map(|(role, name)| match role {
        Role::Storage | Role::Repository => format!("; it is {name}"),
        _ => format!("; it came through {name}"),
    });
    match (named, page) {
        (Some(named), true) => format!("{named}, as a page for people"),
        (Some(named), false) => named,
        (None, true) => "; it is a page for people, as no module proxy sends".to_owned(),
        (None, false) => String::new(),
    }
}

/// What to do about a status that a forward proxy gave.
pub(super) fn of_forward_proxy(status: u16) -> Option<&'static str> {
    let row = MEANINGS.iter().find(|(from, to, whose, ..)| {
        (*from..=*to).contains(&status) && *whose == Some(Role::ForwardProxy)
    })?;
    Some(row.4)
}

/// What to do about a status, where it is known who gave it.
pub(super) fn advice(request: &Request) -> Option<&'static str> {
    let status = request.status?;
    let (role, page) = (sign(request).map(|(role, _)| role), is_page(request));
    let row = MEANINGS.iter().find(|(from, to, whose, paged, _)| {
        (*from..=*to).contains(&status)
            && whose.is_none_or(|whose| role == Some(whose))
            && paged.is_none_or(|paged| page == paged)
    })?;
    Some(row.4)
}
