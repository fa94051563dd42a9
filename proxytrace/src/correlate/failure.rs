//! What a chain of Go errors comes to.

use crate::event::{Failure, FailureStep};
use crate::model::{Outcome, RequestError};

use super::story;

/// One row of a table: every condition given must hold for one error of the chain.
struct Rule<T> {
    /// Go types, one of which it has; none means any.
    types: &'static [&'static str],
    text: Words,
    /// Its number: an errno, an alert.
    number: Option<u64>,
    means: T,
}

/// What its text must have.
#[derive(Clone, Copy)]
enum Words {
    Any,
    Within(&'static str),
    First(&'static str),
}

impl Words {
    fn are_in(self, text: Option<&str>) -> bool {
        match self {
            Self::Any => true,
            Self::Within(words) => text.is_some_and(|text| text.contains(words)),
            Self::First(words) => {
                let text = text.map(|text| text.strip_prefix(BROKEN).unwrap_or(text));
                text.is_some_and(|text| text.starts_with(words))
            }
        }
    }
}

/// What net/http puts before the error that a connection broke for. In old releases both are one
/// text (`transport.go:mapRoundTripError`).
const BROKEN: &str = "net/http: HTTP/1.x transport connection broken: ";

const fn types<T: Copy>(types: &'static [&'static str], means: T) -> Rule<T> {
    Rule { types, text: Words::Any, number: None, means }
}

const fn text<T: Copy>(text: &'static str, means: T) -> Rule<T> {
    Rule { types: &[], text: Words::Within(text), number: None, means }
}

const fn begins<T: Copy>(text: &'static str, means: T) -> Rule<T> {
    Rule { types: &[], text: Words::First(text), number: None, means }
}

const fn operation(text: &'static str, means: Outcome) -> Rule<Outcome> {
    Rule { types: &["*net.OpError"], text: Words::Within(text), number: None, means }
}

const fn errno(number: u64, means: Outcome) -> Rule<Outcome> {
    Rule { types: &["syscall.Errno"], text: Words::Any, number: Some(number), means }
}

const fn status(number: u64, means: Outcome) -> Rule<Outcome> {
    Rule { types: &["*web.HTTPError"], text: Words::Any, number: Some(number), means }
}

/// Errors whose text is a name, or what the other side sent: any words may be in it.
const OF_NAMES: [&str; 11] = [
    "*codehost.UnknownRevisionError",
    "*gover.TooNewError",
    "*modfetch.DownloadDirPartialError",
    "*modload.NoMatchingVersionError",
    "*module.InvalidVersionError",
    "*module.ModuleError",
    "*vcs.importError",
    "http.http2GoAwayError",
    "http2.GoAwayError",
    "textproto.ProtocolError",
    "x509.HostnameError",
];

/// Tried from top to bottom, each row on all errors of the chain: an earlier row is the more
/// telling one, wherever in the chain it holds.
const OUTCOMES: &[Rule<Outcome>] = &[
    // net/http/client.go:do and cmd/go/internal/web/http.go: before the transport is asked. First,
    // as what follows such a beginning is what the other side sent.
    begins("redirected from secure URL", Outcome::RedirectRefused),
    begins("stopped after 10 redirects", Outcome::RedirectLimit),
    begins("failed to parse Location header", Outcome::RedirectInvalid),
    // net/http/response.go:ReadResponse and transfer.go:fixLength, net/textproto/reader.go.
    begins("malformed HTTP", Outcome::BadContent),
    begins("bad Content-Length", Outcome::BadContent),
    begins("invalid empty Content-Length", Outcome::BadContent),
    begins("http: message cannot contain multiple Content-Length", Outcome::BadContent),
    begins("malformed MIME header", Outcome::BadContent),
    types(&["textproto.ProtocolError"], Outcome::BadContent),
    // cmd/go/internal/modfetch/fetch.go:checkSumDB. Any text may be in a checksum, too; what is
    // quoted of an answer `of_verification` leaves out.
    text("checksum mismatch\n", Outcome::Checksum),
    text(OTHER_RECORD, Outcome::Checksum),
    text("SECURITY ERROR\n", Outcome::Checksum),
    // cmd/go/internal/modfetch/fetch.go:downloadZip. Any text may be in the name of a file, too.
    text("has unexpected file", Outcome::BadContent),
    // net/http/transport.go:dialConn: the forward proxy, not the server, is what failed.
    operation("proxyconnect", Outcome::ProxyRefused),
    operation("socks connect", Outcome::ProxyRefused),
    text("Proxy Authentication Required", Outcome::ProxyRefused),
    types(&["*net.DNSError"], Outcome::Dns),
    types(&["x509.UnknownAuthorityError", "x509.SystemRootsError"], Outcome::TlsUnknownAuthority),
    types(
        &[
            "*tls.CertificateVerificationError",
            "x509.HostnameError",
            "x509.CertificateInvalidError",
            "tls.RecordHeaderError",
            ALERT,
            "http.tlsHandshakeTimeoutError",
        ],
        Outcome::TlsOther,
    ),
    text("server gave HTTP response to HTTPS client", Outcome::TlsOther),
    text("TLS handshake timeout", Outcome::TlsOther),
    text("tls: ", Outcome::TlsOther),
    // include/uapi/asm-generic/errno.h.
    errno(111, Outcome::ConnectRefused),
    errno(110, Outcome::ConnectTimeout),
    errno(113, Outcome::Unreachable),
    errno(101, Outcome::Unreachable),
    errno(99, Outcome::Unreachable),
    errno(100, Outcome::Unreachable),
    errno(112, Outcome::Unreachable),
    errno(104, Outcome::Reset),
    errno(103, Outcome::Reset),
    errno(32, Outcome::Reset),
    // An HTTP/2 stream or connection that the server ended.
    types(
        &[
            "http.http2StreamError",
            "http.http2ConnectionError",
            "http.http2GoAwayError",
            "http2.StreamError",
            "http2.ConnectionError",
            "http2.GoAwayError",
        ],
        Outcome::Reset,
    ),
    text("server closed idle connection", Outcome::Reset),
    text("client connection lost", Outcome::Reset),
    text("server sent GOAWAY", Outcome::Reset),
    text("Transport received GOAWAY", Outcome::Reset),
    text("graceful shutdown GOAWAY", Outcome::Reset),
    text("http2: frame too large", Outcome::Reset),
    text("looked like an HTTP/1.1 header", Outcome::Reset),
    // The connection ended before its first request, right after the handshake.
    text("client conn could not be established", Outcome::Reset),
    // net/http/internal/chunked.go; http2/transport.go:transportResponseBody.Read.
    text("chunked encoding", Outcome::Truncated),
    text("chunked line", Outcome::Truncated),
    text("chunk length", Outcome::Truncated),
    text("more than declared Content-Length", Outcome::Truncated),
    text("unexpected EOF", Outcome::Truncated),
    text("EOF", Outcome::Reset),
    // Contents.
    types(
        &[
            "*json.SyntaxError",
            "*json.UnmarshalTypeError",
            "*modfile.Error",
            "flate.CorruptInputError",
        ],
        Outcome::BadContent,
    ),
    // archive/zip/reader.go.
    text("not a valid zip file", Outcome::BadContent),
    text("zip: checksum error", Outcome::BadContent),
    text("zip: unsupported compression algorithm", Outcome::BadContent),
    text("zip: invalid comment length", Outcome::BadContent),
    text("missing module line", Outcome::BadContent),
    text("invalid response from proxy", Outcome::BadContent),
    text("proxy returned info for version", Outcome::BadContent),
    text("gzip: invalid header", Outcome::BadContent),
    text("gzip: invalid checksum", Outcome::BadContent),
    // Given up, or timed out: the dialer's deadline looks like any other.
    types(&["context.canceled", "*net.canceledError"], Outcome::Canceled),
    text("context canceled", Outcome::Canceled),
    // cmd/go/internal/web/api.go:HTTPError. That of a file has an errno in it.
    status(404, Outcome::NotFound),
    status(410, Outcome::NotFound),
    types(&["*web.HTTPError"], Outcome::HttpError),
    // This machine's own: a filter, a limit. The dialer's deadline has no errno.
    types(&["syscall.Errno"], Outcome::Unknown),
    // There was nothing to dial (`net/lookup.go:LookupPort`).
    types(&["*net.AddrError"], Outcome::Unknown),
    operation("dial", Outcome::ConnectTimeout),
    types(&["context.deadlineExceededError", "*http.timeoutError"], Outcome::Canceled),
    FORBIDDEN,
    // The entry has none of it: errors that equal fs.ErrNotExist.
    types(
        &[
            "modfetch.notExistError",
            "*modfetch.notExistError",
            "codehost.notExistError",
            "*codehost.UnknownRevisionError",
            "codehost.noCommitsError",
        ],
        Outcome::NotFound,
    ),
];

/// go may not use the tool that a repository needs, and so asked nobody: it takes that for absence
/// (`vcs/vcs.go:checkGOVCS`, `modfetch/repo.go:lookupDirect`).
const FORBIDDEN: Rule<Outcome> = text("GOVCS disallows using", Outcome::Unknown);

/// What is wrong with what came of the checksum database (`golang.org/x/mod/sumdb/{client,note,tlog}`).
const OF_SUMS: &[Rule<Outcome>] = &[
    // Whoever answers has said something of another version (`modfetch/fetch.go:checkSumDB`).
    text(OTHER_RECORD, Outcome::BadContent),
    text("malformed record data", Outcome::BadContent),
    text("cannot authenticate record data", Outcome::BadContent),
    text("cannot validate record", Outcome::BadContent),
    text("malformed note", Outcome::BadContent),
    text(OTHER_KEY, Outcome::BadContent),
    text("invalid signature for key", Outcome::BadContent),
    text("malformed tree", Outcome::BadContent),
    text(OTHER_TILE, Outcome::BadContent),
    text(SHORT_TILE, Outcome::BadContent),
];

/// A record without a line for what was looked up. go has kept it by then.
const OTHER_RECORD: &str = "checksum missing from sumdb response";

/// Whether an answer of the checksum database is well in itself, and of something else.
pub(super) fn is_of_another(failure: &Failure) -> bool {
    let has = |text: &String| text.contains(OTHER_RECORD);
    failure.steps.iter().any(|step| step.text.as_ref().is_some_and(has))
}

/// A note that is signed by others than GOSUMDB has the key of.
pub(crate) const OTHER_KEY: &str = "no verifiable signatures";

/// What a verification came to, of which nothing is quoted any more. A path may have any words.
pub(super) fn of_verification(failure: &Failure) -> Outcome {
    find(OF_SUMS, failure).unwrap_or_else(|| outcome(failure))
}

/// The failure of a verification without what its text quotes of an answer, which may be any:
/// `web/api.go:HTTPError`, net/http, `x/mod/sumdb/client.go:mergeLatestMem`.
pub(super) fn without_answer(failure: &Failure) -> Failure {
    const QUOTES: [&str; 5] =
        ["reading http", ": Get \"http", "\n\tserver response:", "\nnote:\n", "\ntree:\n"];
    let mut failure = failure.clone();
    for text in failure.steps.iter_mut().filter_map(|step| step.text.as_mut()) {
        let end = QUOTES.iter().filter_map(|quote| text.find(quote)).min();
        text.truncate(end.unwrap_or(text.len()));
    }
    failure
}

/// A tile that is not that of the tree, and one of another length, whose path follows
/// (`x/mod/sumdb/tlog/tile.go:ReadHashes`).
pub(crate) const OTHER_TILE: &str = "downloaded inconsistent tile";
const SHORT_TILE: &str = "TileReader returned bad result slice";

/// A tile of the checksum database that is no good.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum BadTile<'a> {
    /// The one with this path, such as `tile/8/0/000.p/5`.
    Named(&'a str),
    /// One of those that go has.
    Unnamed,
}

impl<'a> BadTile<'a> {
    pub(super) fn path(self) -> Option<&'a str> {
        match self {
            Self::Named(path) => Some(path),
            Self::Unnamed => None,
        }
    }
}

/// The tile of the checksum database that is no good, if that is what failed.
pub(super) fn bad_tile(failure: &Failure) -> Option<BadTile<'_>> {
    let mut texts = failure.steps.iter().filter_map(|step| step.text.as_deref());
    texts.find_map(|text| {
        let short = text.split_once(SHORT_TILE);
        let path = short.and_then(|(_, rest)| rest.strip_prefix(" (")?.split_once(" len="));
        match path {
            Some((path, _)) => Some(BadTile::Named(path)),
            None => (short.is_some() || text.contains(OTHER_TILE)).then_some(BadTile::Unnamed),
        }
    })
}

/// What an errno of a socket comes to.
pub(crate) fn of_errno(errno: i32) -> Outcome {
    let number = u64::try_from(errno).ok();
    let is_it = |rule: &&Rule<Outcome>| rule.types == ["syscall.Errno"] && rule.number == number;
    OUTCOMES.iter().find(is_it).map_or(Outcome::Unknown, |rule| rule.means)
}

/// What an error says beyond its outcome, in words that can follow the name of a host.
const REASONS: &[Rule<&str>] = &[
    // First, as what follows is quoted of the answer.
    begins("malformed HTTP", NO_HTTP),
    begins("bad Content-Length", BAD_HEAD),
    begins("invalid empty Content-Length", BAD_HEAD),
    begins("http: message cannot contain multiple Content-Length", BAD_HEAD),
    begins("malformed MIME header", BAD_HEAD),
    types(&["textproto.ProtocolError"], BAD_HEAD),
    // net/dnsclient_unix.go, net/net.go.
    dns("no such host", "has no address: its name does not exist"),
    dns("server misbehaving", "has no address: the name server failed"),
    dns("i/o timeout", "has no address: the name server did not answer"),
    dns("connection refused", "has no address: there is no name server"),
    // crypto/x509/verify.go; the first reason is zero, and so has no number here.
    types(&["x509.HostnameError"], "has a certificate for another name"),
    Rule {
        types: &["x509.CertificateInvalidError"],
        text: Words::Any,
        number: Some(1),
        means: "has a certificate that has expired or is not yet valid",
    },
    types(&["x509.CertificateInvalidError"], "has a certificate that is not valid"),
    // crypto/tls/alert.go.
    alert(116, WANTS_CERTIFICATE),
    // After the handshake it is put into words (`transport.go:readLoopPeekFailLocked`).
    text("tls: certificate required", WANTS_CERTIFICATE),
    alert(112, "does not know the name that was asked for (SNI)"),
    alert(70, "speaks no version of TLS that go speaks"),
    alert(42, "found the client's certificate missing or bad"),
    types(&[ALERT], "refused the TLS handshake"),
    // net/http/transport.go:dialConn.
    Rule {
        types: &["tls.RecordHeaderError"],
        text: Words::Any,
        number: Some(RECORD_HTTP),
        means: "speaks HTTP without TLS on this port",
    },
    types(&["tls.RecordHeaderError"], "does not speak TLS on this port"),
    types(&["http.tlsHandshakeTimeoutError"], "did not answer the TLS handshake in 10 seconds"),
    // net/http/internal/chunked.go.
    text("chunked encoding", BAD_CHUNKS),
    text("chunked line", BAD_CHUNKS),
    text("chunk length", BAD_CHUNKS),
    text("more than declared Content-Length", "sent more than it had announced"),
    // net/http/h2_bundle.go, net/http/internal/http2.
    Rule {
        types: &[
            "http.http2StreamError",
            "http2.StreamError",
            "http.http2GoAwayError",
            "http2.GoAwayError",
        ],
        text: Words::Any,
        number: Some(HTTP_1_1_REQUIRED),
        means: WANTS_HTTP_1_1,
    },
    types(&["http.http2StreamError", "http2.StreamError"], "reset the stream (HTTP/2)"),
    types(&["http.http2GoAwayError", "http2.GoAwayError"], GOAWAY),
    text("Transport received GOAWAY", GOAWAY),
    text("graceful shutdown GOAWAY", GOAWAY),
    text("looked like an HTTP/1.1 header", "agreed on HTTP/2, and then spoke HTTP/1.1"),
    // Before Go 1.25 that is all that is told of HTTP/1.1.
    text("http2: frame too large", "sent a frame larger than go takes, or no HTTP/2 at all"),
    text(
        "client conn could not be established",
        "closed the connection right after the TLS handshake",
    ),
];

const GOAWAY: &str = "ended the connection (GOAWAY)";
/// Another service has the port; or what was left of the answer before came first.
const NO_HTTP: &str = "answered with what is no HTTP/1.1";
const BAD_HEAD: &str = "sent a head that go cannot read";
const BAD_CHUNKS: &str = "sent a body whose chunks are broken";

/// What the alert `certificate_required` says (RFC 8446, 6.2).
pub(crate) const WANTS_CERTIFICATE: &str = "wants a certificate from the client";

/// What go refuses with the alert `no_renegotiation` (`crypto/tls/conn.go:handleRenegotiation`).
pub(crate) const NEGOTIATES_ANEW: &str =
    "wants to negotiate TLS anew, as for a certificate from the client, which go does not do";
const NO_RENEGOTIATION: u64 = 100;

/// What a stream or a connection of HTTP/2 is ended with by who has no use for it (RFC 9113, 7).
/// net/http asks no other way then.
pub(crate) const WANTS_HTTP_1_1: &str =
    "wants HTTP/1.1 for this, which go does not turn to by itself";
const HTTP_1_1_REQUIRED: u64 = 13;

/// `HTTP`, where the header of a TLS record should be.
const RECORD_HTTP: u64 = u32::from_le_bytes(*b"HTTP") as u64;

const ALERT: &str = "tls.alert";

/// The alerts about certificates: under TLS 1.3 they come after the handshake as well.
const OF_CERTIFICATES: [u64; 8] = [42, 43, 44, 45, 46, 48, 49, 116];

const fn dns(text: &'static str, means: &'static str) -> Rule<&'static str> {
    Rule { types: &["*net.DNSError"], text: Words::Within(text), number: None, means }
}

const fn alert(number: u64, means: &'static str) -> Rule<&'static str> {
    Rule { types: &[ALERT], text: Words::Any, number: Some(number), means }
}

/// What `failure` comes to; `unknown` if the table does not tell.
pub(super) fn outcome(failure: &Failure) -> Outcome {
    match find(OUTCOMES, failure).unwrap_or(Outcome::Unknown) {
        // TCP gives up connections that were there, too (`ETIMEDOUT`): nobody answered any more.
        // Or the way to the other end is gone.
        Outcome::ConnectTimeout | Outcome::Unreachable if was_connected(failure) => Outcome::Reset,
        // This machine has no port left for it.
        Outcome::Unreachable if lacks_a_port(failure) => Outcome::Unknown,
        // The page came whole, and ends within a tag: its parser says so in words of a connection.
        Outcome::Truncated if path_of_page(failure).is_some() => Outcome::NotFound,
        outcome => outcome,
    }
}

/// Whether what failed was reading from a connection, or writing to it.
fn was_connected(failure: &Failure) -> bool {
    failure.steps.iter().any(|step| {
        step.type_name == "*net.OpError" && matches!(step.text.as_deref(), Some("read" | "write"))
    })
}

/// Whether it is `EADDRNOTAVAIL` of IPv4, which says that all ports at this end are taken
/// (`net/ipv4/inet_hashtables.c:__inet_hash_connect`); of IPv6, there may be no address.
fn lacks_a_port(failure: &Failure) -> bool {
    let mut steps = failure.steps.iter();
    let mut addresses = failure.steps.iter().filter_map(|step| step.address);
    steps.any(|step| step.type_name == "syscall.Errno" && step.number == Some(99))
        && addresses.any(|address| address.is_ipv4())
}

/// The alert that ended a connection, and whether it was go's own, for something wrong in what came
/// over TLS (`crypto/tls/conn.go:sendAlertLocked`).
fn alert_of(failure: &Failure) -> Option<(u64, bool)> {
    let mut steps = failure.steps.iter();
    let is_own = steps.any(|step| {
        step.type_name == "*net.OpError" && step.text.as_deref() == Some("local error")
    });
    let alert = failure.steps.iter().find(|step| step.type_name == ALERT)?;
    Some((alert.number?, is_own))
}

/// Whether a request that waited for CONNECT may have failed for that: not where it was given up
/// for something else, nor for what comes before CONNECT, or inside of the tunnel alone.
pub(super) fn may_be_of_tunnel(failure: &Failure) -> bool {
    match outcome(failure) {
        Outcome::Reset | Outcome::Truncated | Outcome::BadContent | Outcome::Unknown => true,
        Outcome::Canceled => {
            failure.steps.iter().any(|step| step.type_name == "context.deadlineExceededError")
        }
        _ => false,
    }
}

/// What `failure` says beyond its outcome, and who said it.
fn reason(failure: &Failure) -> Option<String> {
    // It is said of the forward proxy, whose name is not that of the host.
    let of_proxy = outcome(failure) == Outcome::ProxyRefused;
    let way = way_to_proxy(failure).filter(|_| of_proxy);
    let known = |outcome: &Outcome| *outcome != Outcome::Unknown;
    let of_way = || way.as_ref().map(outcome).filter(known).map(story::words);
    let words = find(REASONS, failure).or_else(of_way)?;
    let server = failure.steps.iter().find_map(|step| step.server.as_deref());
    let words =
        server.map_or_else(|| words.to_owned(), |server| format!("{words} (asked {server})"));
    if !of_proxy {
        return Some(words);
    }
    let address = way.and_then(|way| way.steps.iter().find_map(|step| step.address));
    let named = address.map_or_else(String::new, |address| format!(" {address}"));
    Some(format!("was not reached: the forward proxy{named} {words}"))
}

/// What failed on the way to the forward proxy (`net/http/transport.go:dialConn`).
fn way_to_proxy(failure: &Failure) -> Option<Failure> {
    let of_proxy = |step: &FailureStep| step.text.as_deref() == Some("proxyconnect");
    let at = failure.steps.iter().position(of_proxy)?;
    Some(Failure { steps: failure.steps[at + 1..].to_vec() })
}

fn find<T: Copy>(rules: &[Rule<T>], failure: &Failure) -> Option<T> {
    let rule = rules.iter().find(|rule| failure.steps.iter().any(|step| rule.holds(step)));
    rule.map(|rule| rule.means)
}

/// Whether a query found modules, and in them not what was asked for
/// (`cmd/go/internal/modload/query.go:queryPrefixModules`): what failed beside those it did without.
pub(super) fn is_of_query(failure: &Failure) -> bool {
    const TYPES: [&str; 3] = [
        "*modload.PackageNotInModuleError",
        "*modload.NoMatchingVersionError",
        "*modload.NoPatchBaseError",
    ];
    failure.steps.iter().any(|step| TYPES.contains(&step.type_name.as_str()))
}

/// Whether a request failed before it was answered (`net/http/client.go:do`). Of a body that cannot
/// be read go makes such an error as well (`modfetch/proxy.go:(*proxyRepo).getBytes`).
pub(super) fn is_of_send(failure: &Failure) -> bool {
    let is_it =
        |step: &FailureStep| step.type_name == "*url.Error" && step.text.as_deref() != Some("read");
    failure.steps.iter().any(is_it)
}

/// The path of the page that came well, and in which no repository is named, or nothing can be read
/// (`cmd/go/internal/vcs/vcs.go:repoRootForImportDynamic`). go takes that for absence.
pub(super) fn path_of_page(failure: &Failure) -> Option<&str> {
    let absent = |step: &FailureStep| step.type_name.ends_with("modfetch.notExistError");
    if !failure.steps.iter().any(absent) {
        return None;
    }
    let mut steps = failure.steps.iter();
    let path = steps.find(|step| step.type_name == "*vcs.importError")?.text.as_deref()?;
    let unread = format!("parsing {path}: ");
    // What `encoding/xml` says itself; what broke off is handed through as it is.
    let of_parser = |why: &str| why.starts_with("XML ") || why.starts_with("xml: ");
    let of_page = |text: &str| {
        text.contains("no go-import meta tags")
            || text.split_once(&unread).is_some_and(|(_, why)| of_parser(why))
    };
    steps.filter_map(|step| step.text.as_deref()).any(of_page).then_some(path)
}

/// Whether a file failed, or is not there.
pub(super) fn is_of_file(failure: &Failure) -> bool {
    failure.steps.iter().any(|step| step.type_name == "*fs.PathError")
}

/// Whether go takes `failure` for absence and asks on: it equals `fs.ErrNotExist`
/// (`cmd/go/internal/web/api.go:HTTPError.Is`).
pub(super) fn is_absence(failure: &Failure) -> bool {
    let says = |step: &FailureStep| {
        let status = step.type_name == "*web.HTTPError" && matches!(step.number, Some(404 | 410));
        status || FORBIDDEN.holds(step)
    };
    outcome(failure) == Outcome::NotFound || failure.steps.iter().any(says)
}

impl<T> Rule<T> {
    fn holds(&self, step: &FailureStep) -> bool {
        let name = step.type_name.as_str();
        let fits = if self.types.is_empty() {
            !OF_NAMES.contains(&name)
        } else {
            self.types.contains(&name)
        };
        fits && self.text.are_in(step.text.as_deref())
            && self.number.is_none_or(|number| step.number == Some(number))
    }
}

/// The error as the model has it.
pub(super) fn error(failure: &Failure) -> RequestError {
    RequestError {
        kind: outcome(failure),
        types: failure.steps.iter().map(|step| step.type_name.clone()).collect(),
        detail: detail(failure),
        reason: reason(failure),
    }
}

/// The error of a request that was on a connection, or of its answer: after the handshake, what is
/// wrong with TLS ends the connection, unless it is a certificate that the other side wants.
pub(super) fn error_under_way(failure: &Failure) -> RequestError {
    const NOT_ALLOWED: &str = "sent what TLS does not allow, so that go ended the connection";
    let error = error(failure);
    let (kind, reason) = match alert_of(failure).filter(|_| error.kind == Outcome::TlsOther) {
        Some((NO_RENEGOTIATION, true)) => (Outcome::TlsOther, Some(NEGOTIATES_ANEW)),
        Some((_, true)) => (Outcome::Reset, Some(NOT_ALLOWED)),
        Some((alert, false)) if !OF_CERTIFICATES.contains(&alert) => (Outcome::Reset, None),
        _ => return error,
    };
    RequestError { kind, reason: reason.map(str::to_owned), ..error }
}

/// The error of a request whose tunnel was not opened: what it says is said of the forward proxy.
pub(super) fn error_of_tunnel(failure: &Failure) -> RequestError {
    let reason = "was not reached: the forward proxy opened no tunnel";
    let (kind, reason) = (Outcome::ProxyRefused, Some(reason.to_owned()));
    RequestError { kind, reason, ..error(failure) }
}

/// Texts, names, addresses and numbers, outermost first. What wraps an error often says what that
/// says, and then it is said once.
fn detail(failure: &Failure) -> Option<String> {
    let mut words: Vec<String> = Vec::new();
    for word in failure.steps.iter().flat_map(said) {
        if !words.iter().any(|before| before.contains(&word)) {
            words.push(word);
        }
    }
    (!words.is_empty()).then(|| words.join(": "))
}

/// `include/uapi/asm-generic/errno.h`, as Go has it (`syscall/zerrors_linux_amd64.go`).
const ERRNOS: &[(u64, &str)] = &[
    (1, "operation not permitted"),
    (13, "permission denied"),
    (24, "too many open files"),
    (32, "broken pipe"),
    (99, "cannot assign requested address"),
    (101, "network is unreachable"),
    (103, "software caused connection abort"),
    (104, "connection reset by peer"),
    (105, "no buffer space available"),
    (110, "connection timed out"),
    (111, "connection refused"),
    (112, "host is down"),
    (113, "no route to host"),
];

/// RFC 9113, 7.
const HTTP2_CODES: &[(u64, &str)] = &[
    (0, "NO_ERROR"),
    (1, "PROTOCOL_ERROR"),
    (2, "INTERNAL_ERROR"),
    (3, "FLOW_CONTROL_ERROR"),
    (4, "SETTINGS_TIMEOUT"),
    (5, "STREAM_CLOSED"),
    (6, "FRAME_SIZE_ERROR"),
    (7, "REFUSED_STREAM"),
    (8, "CANCEL"),
    (9, "COMPRESSION_ERROR"),
    (10, "CONNECT_ERROR"),
    (11, "ENHANCE_YOUR_CALM"),
    (12, "INADEQUATE_SECURITY"),
    (HTTP_1_1_REQUIRED, "HTTP_1_1_REQUIRED"),
];

/// An errno of a socket in words.
pub(crate) fn errno_words(errno: i32) -> String {
    let known = ERRNOS.iter().find(|(number, _)| i64::try_from(*number) == Ok(i64::from(errno)));
    known.map_or_else(|| format!("errno {errno}"), |(_, words)| (*words).to_owned())
}

/// A number of an error in words; none where it tells nothing.
fn numbered(type_name: &str, number: u64) -> Option<String> {
    let name = |table: &[(u64, &'static str)]| {
        table.iter().find(|(of, _)| *of == number).map(|(_, name)| *name)
    };
    match type_name {
        "syscall.Errno" => Some(match name(ERRNOS) {
            Some(name) => format!("{name} (errno {number})"),
            None => format!("errno {number}"),
        }),
        // Four bytes of an answer; a reason that the text gives.
        "tls.RecordHeaderError" | "x509.CertificateInvalidError" => None,
        ALERT => Some(format!("alert {number}")),
        _ if type_name.starts_with("http.http2") || type_name.starts_with("http2.") => {
            Some(name(HTTP2_CODES).map_or_else(|| format!("code {number}"), str::to_owned))
        }
        _ => Some(number.to_string()),
    }
}

fn said(step: &FailureStep) -> impl Iterator<Item = String> + '_ {
    let number = step.number.and_then(|number| numbered(&step.type_name, number));
    let address = step.address.map(|address| address.to_string());
    let server = step.server.as_ref().map(|server| format!("asked {server}"));
    [step.text.clone(), step.name.clone(), server, address, number].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(type_name: &str, text: Option<&str>, number: Option<u64>) -> FailureStep {
        FailureStep {
            type_name: type_name.into(),
            text: text.map(Into::into),
            number,
            ..FailureStep::default()
        }
    }

    fn disallowed() -> FailureStep {
        let text = "GOVCS disallows using svn for public x.lab/m; see 'go help vcs'";
        step("*errors.errorString", Some(text), None)
    }

    #[test]
    fn names_what_go_errors_come_to() {
        let url = || step("*url.Error", Some("Get"), None);
        let dial = || step("*net.OpError", Some("dial"), None);
        let plain = |text| step("*errors.errorString", Some(text), None);
        let errno = |number| step("syscall.Errno", None, Some(number));
        let http = |number| step("*web.HTTPError", None, Some(number));
        let file = || step("*fs.PathError", Some("open"), None);
        let module = || step("*module.ModuleError", Some("github.com/GEOF/x"), None);
        for (steps, expected) in [
            (
                vec![url(), dial(), step("*os.SyscallError", Some("connect"), None), errno(111)],
                Outcome::ConnectRefused,
            ),
            (vec![url(), dial(), step("*net.DNSError", Some("no such host"), None)], Outcome::Dns),
            (vec![plain("gzip: invalid checksum")], Outcome::BadContent),
            (
                vec![url(), dial(), step("*poll.DeadlineExceededError", None, None)],
                Outcome::ConnectTimeout,
            ),
            (
                vec![url(), dial(), step("*os.SyscallError", Some("connect"), None), errno(113)],
                Outcome::Unreachable,
            ),
            (vec![url(), step("*net.OpError", Some("read"), None), errno(104)], Outcome::Reset),
            // Of a connection that was there, and of one that was not.
            (vec![url(), step("*net.OpError", Some("read"), None), errno(110)], Outcome::Reset),
            (vec![url(), step("*net.OpError", Some("write"), None), errno(110)], Outcome::Reset),
            (vec![url(), dial(), errno(110)], Outcome::ConnectTimeout),
            (vec![url(), step("*net.OpError", Some("read"), None), errno(113)], Outcome::Reset),
            // A port that is none: nothing was dialled.
            (
                vec![url(), dial(), step("*net.AddrError", Some("invalid port"), None)],
                Outcome::Unknown,
            ),
            (
                vec![url(), step("*net.OpError", Some("proxyconnect"), None), errno(111)],
                Outcome::ProxyRefused,
            ),
            (
                vec![
                    url(),
                    step("*tls.CertificateVerificationError", None, None),
                    step("x509.UnknownAuthorityError", None, None),
                ],
                Outcome::TlsUnknownAuthority,
            ),
            (
                vec![
                    url(),
                    step("*tls.CertificateVerificationError", None, None),
                    step("x509.HostnameError", None, None),
                ],
                Outcome::TlsOther,
            ),
            (vec![url(), step("http2.StreamError", None, Some(2))], Outcome::Reset),
            (vec![url(), plain("EOF")], Outcome::Reset),
            (vec![url(), plain("unexpected EOF")], Outcome::Truncated),
            (vec![url(), plain("stopped after 10 redirects")], Outcome::RedirectLimit),
            (
                vec![url(), plain("redirected from secure URL https://a to insecure URL http://b")],
                Outcome::RedirectRefused,
            ),
            (
                vec![
                    step("*module.ModuleError", None, None),
                    step("*json.SyntaxError", None, None),
                ],
                Outcome::BadContent,
            ),
            // Of a file, and of what go remembers.
            (vec![http(404), file(), errno(2)], Outcome::NotFound),
            (vec![http(403), file(), errno(13)], Outcome::HttpError),
            (vec![http(410)], Outcome::NotFound),
            (vec![http(500)], Outcome::HttpError),
            (vec![plain("zip for x.lab/EOF@v1 has unexpected file m/EOF")], Outcome::BadContent),
            (vec![plain("zip: checksum error")], Outcome::BadContent),
            (vec![plain("zip: unsupported compression algorithm")], Outcome::BadContent),
            (vec![plain("zip: invalid comment length")], Outcome::BadContent),
            (vec![step("flate.CorruptInputError", None, None)], Outcome::BadContent),
            // A name says nothing.
            (vec![module(), step("*codehost.RunError", None, None)], Outcome::Unknown),
            (
                vec![module(), step("*codehost.UnknownRevisionError", Some("EOF"), None)],
                Outcome::NotFound,
            ),
            (
                vec![
                    module(),
                    step("codehost.notExistError", None, None),
                    step("*codehost.RunError", None, None),
                ],
                Outcome::NotFound,
            ),
            // Nobody looked.
            (vec![step("modfetch.notExistError", None, None), disallowed()], Outcome::Unknown),
            (vec![module(), plain("unexpected EOF")], Outcome::Truncated),
            (vec![step("", None, None)], Outcome::Unknown),
            (vec![], Outcome::Unknown),
        ] {
            let failure = Failure { steps };
            assert_eq!(outcome(&failure), expected, "{failure:?}");
        }
    }

    /// A location, a status line, a head, the last words of a connection.
    #[test]
    fn what_the_other_side_sent_is_no_word_of_go() {
        let plain = |text: &str| step("*errors.errorString", Some(text), None);
        let broken = "net/http: HTTP/1.x transport connection broken: ";
        let head = "malformed MIME header line: \"checksum mismatch\"";
        for (steps, expected) in [
            (
                vec![plain("redirected from secure URL https://a to insecure URL http://b/?tls: ")],
                Outcome::RedirectRefused,
            ),
            (vec![plain("malformed HTTP response \"EOF\"")], Outcome::BadContent),
            // Of an old release.
            (vec![plain(&format!("{broken}malformed HTTP response \"EOF\""))], Outcome::BadContent),
            (vec![plain(&format!("{broken}{head}"))], Outcome::BadContent),
            (vec![plain("malformed HTTP status code \"checksum\"")], Outcome::BadContent),
            (vec![plain("bad Content-Length \"context canceled\"")], Outcome::BadContent),
            (
                vec![
                    step("*fmt.wrapError", Some(&format!("{broken}{head}")), None),
                    step("textproto.ProtocolError", Some(head), None),
                ],
                Outcome::BadContent,
            ),
            (vec![step("http2.GoAwayError", Some("checksum mismatch\n"), Some(2))], Outcome::Reset),
            (vec![plain(&format!("verifying go.mod: Get: {head}"))], Outcome::Unknown),
            (vec![plain("verifying go.mod: checksum mismatch\n\th1:EOF")], Outcome::Checksum),
        ] {
            let failure = Failure { steps };
            assert_eq!(outcome(&failure), expected, "{failure:?}");
        }
        let words = plain("malformed HTTP response \"tls: certificate required\"");
        assert_eq!(reason(&Failure { steps: vec![words] }).as_deref(), Some(NO_HTTP));
    }

    #[test]
    fn knows_a_body_that_is_not_as_long_as_it_says() {
        for (text, reason) in [
            ("malformed chunked encoding", "sent a body whose chunks are broken"),
            ("chunked line ends with bare LF", "sent a body whose chunks are broken"),
            ("invalid byte in chunk length", "sent a body whose chunks are broken"),
            (
                "net/http: server replied with more than declared Content-Length; truncated",
                "sent more than it had announced",
            ),
        ] {
            let failure = Failure { steps: vec![step("*errors.errorString", Some(text), None)] };
            let error = error_under_way(&failure);
            assert_eq!((error.kind, error.reason.as_deref()), (Outcome::Truncated, Some(reason)));
        }
    }

    /// One that ends within a tag, and one that broke off.
    #[test]
    fn knows_a_page_that_came_whole() {
        let page = |why: &str| {
            let text = format!("unrecognized import path \"x.lab/m\": parsing x.lab/m: {why}");
            vec![
                step("modfetch.notExistError", None, None),
                step("*vcs.importError", Some("x.lab/m"), None),
                step("*errors.errorString", Some(&text), None),
            ]
        };
        for (why, expected) in [
            ("XML syntax error on line 7: unexpected EOF", Outcome::NotFound),
            ("unexpected EOF", Outcome::Truncated),
        ] {
            assert_eq!(outcome(&Failure { steps: page(why) }), expected, "{why}");
        }
    }

    #[test]
    fn knows_the_end_of_an_http2_connection() {
        for text in [
            "http2: Transport received GOAWAY from server ErrCode:PROTOCOL_ERROR",
            "http2: Transport received Server's graceful shutdown GOAWAY",
            "http2: frame too large",
        ] {
            let failure = Failure { steps: vec![step("*errors.errorString", Some(text), None)] };
            assert_eq!(outcome(&failure), Outcome::Reset, "{text}");
        }
    }

    #[test]
    fn knows_what_go_takes_for_absence() {
        let of = |steps| is_absence(&Failure { steps });
        assert!(of(vec![step("*web.HTTPError", None, Some(404))]));
        assert!(!of(vec![step("*web.HTTPError", None, Some(500))]));
        assert!(of(vec![step("modfetch.notExistError", None, None), disallowed()]));
        assert!(!of(vec![step("*codehost.RunError", None, None)]));
    }

    #[test]
    fn knows_the_page_that_names_no_repository() {
        let of = |why: &str| {
            let text = format!("unrecognized import path \"x.lab/m\": {why}");
            let steps = vec![
                step("modfetch.notExistError", None, None),
                step("*vcs.importError", Some("x.lab/m"), None),
                step("*errors.errorString", Some(&text), None),
            ];
            path_of_page(&Failure { steps }).map(str::to_owned)
        };
        for (why, is_it) in [
            ("parse https://x.lab/login: no go-import meta tags ()", true),
            ("parsing x.lab/m: XML syntax error on line 3: invalid element name", true),
            ("parsing x.lab/m: XML syntax error on line 7: unexpected EOF", true),
            ("parsing x.lab/m: xml: opening charset \"koi8-r\": can't decode XML", true),
            ("parsing x.lab/m: unexpected EOF", false),
            ("parsing x.lab/m: stream error: stream ID 1; INTERNAL_ERROR", false),
            ("parsing https://x.lab/?go-get=1: XML syntax error on line 3", false),
            ("reading https://x.lab/m?go-get=1: 404 Not Found", false),
            ("GOVCS disallows using svn for private x.lab/m; see 'go help vcs'", false),
        ] {
            assert_eq!(of(why).as_deref(), is_it.then_some("x.lab/m"), "{why}");
        }
    }

    #[test]
    fn says_more_than_the_outcome_where_it_can() {
        let dial = || step("*net.OpError", Some("dial"), None);
        let name = |text| FailureStep {
            server: Some("10.0.0.1:53".into()),
            ..step("*net.DNSError", Some(text), None)
        };
        let alert = |number| step("tls.alert", None, Some(number));
        let record = |bytes: [u8; 4]| {
            step("tls.RecordHeaderError", None, Some(u32::from_le_bytes(bytes).into()))
        };
        let invalid = |number| step("x509.CertificateInvalidError", None, number);
        for (steps, outcome, reason) in [
            (
                vec![dial(), name("no such host")],
                Outcome::Dns,
                Some("has no address: its name does not exist (asked 10.0.0.1:53)"),
            ),
            (
                vec![dial(), name("read udp 10.0.0.9:4->10.0.0.1:53: i/o timeout")],
                Outcome::Dns,
                Some("has no address: the name server did not answer (asked 10.0.0.1:53)"),
            ),
            (
                vec![step("x509.HostnameError", None, None)],
                Outcome::TlsOther,
                Some("has a certificate for another name"),
            ),
            (
                vec![invalid(Some(1))],
                Outcome::TlsOther,
                Some("has a certificate that has expired or is not yet valid"),
            ),
            (vec![invalid(None)], Outcome::TlsOther, Some("has a certificate that is not valid")),
            (vec![alert(116)], Outcome::TlsOther, Some("wants a certificate from the client")),
            (
                vec![step(
                    "*errors.errorString",
                    Some("readLoopPeekFailLocked: remote error: tls: certificate required"),
                    None,
                )],
                Outcome::TlsOther,
                Some("wants a certificate from the client"),
            ),
            (vec![alert(40)], Outcome::TlsOther, Some("refused the TLS handshake")),
            (
                vec![record(*b"HTTP")],
                Outcome::TlsOther,
                Some("speaks HTTP without TLS on this port"),
            ),
            (vec![record(*b"SSH-")], Outcome::TlsOther, Some("does not speak TLS on this port")),
            (
                vec![step(
                    "*errors.errorString",
                    Some("http2: Transport received GOAWAY from server ErrCode:PROTOCOL_ERROR"),
                    None,
                )],
                Outcome::Reset,
                Some("ended the connection (GOAWAY)"),
            ),
            (
                vec![step(
                    "*fmt.wrapError",
                    Some(
                        "http2: failed reading the frame payload: http2: frame too large, note \
                         that the frame header looked like an HTTP/1.1 header",
                    ),
                    None,
                )],
                Outcome::Reset,
                Some("agreed on HTTP/2, and then spoke HTTP/1.1"),
            ),
            (vec![dial(), step("syscall.Errno", None, Some(111))], Outcome::ConnectRefused, None),
        ] {
            let told = error(&Failure { steps });
            assert_eq!((told.kind, told.reason.as_deref()), (outcome, reason), "{told:?}");
        }
    }

    /// A handshake that fails for the same is none of these; a certificate is wanted after it, too.
    #[test]
    fn an_alert_ends_a_connection_that_was_there() {
        let not_allowed = "sent what TLS does not allow, so that go ended the connection";
        for (operation, alert, kind, reason) in [
            ("local error", 20, Outcome::Reset, Some(not_allowed)),
            ("local error", 100, Outcome::TlsOther, Some(NEGOTIATES_ANEW)),
            ("remote error", 20, Outcome::Reset, None),
            ("remote error", 40, Outcome::Reset, None),
            ("remote error", 80, Outcome::Reset, None),
            ("remote error", 48, Outcome::TlsOther, Some("refused the TLS handshake")),
            ("remote error", 116, Outcome::TlsOther, Some(WANTS_CERTIFICATE)),
        ] {
            let steps = vec![
                step("*tls.permanentError", None, None),
                step("*net.OpError", Some(operation), None),
                step("tls.alert", None, Some(alert)),
            ];
            let failure = Failure { steps };
            assert_eq!(error(&failure).kind, Outcome::TlsOther);
            let told = error_under_way(&failure);
            assert_eq!((told.kind, told.reason.as_deref()), (kind, reason), "{alert}");
        }
    }

    #[test]
    fn tells_what_the_errors_carry() {
        let address = "127.0.0.1:9".parse().ok();
        let dial = FailureStep { address, ..step("*net.OpError", Some("dial"), None) };
        let failure = Failure { steps: vec![dial, step("syscall.Errno", None, Some(111))] };
        let error = error(&failure);
        assert_eq!(error.types, ["*net.OpError", "syscall.Errno"]);
        assert_eq!(
            error.detail.as_deref(),
            Some("dial: 127.0.0.1:9: connection refused (errno 111)")
        );
    }

    #[test]
    fn says_everything_once() {
        let outer = "invalid response from proxy: invalid character '<'";
        let steps = vec![
            step("*fmt.wrapError", Some(outer), None),
            step("*json.SyntaxError", Some("invalid character '<'"), None),
        ];
        assert_eq!(error(&Failure { steps }).detail.as_deref(), Some(outer));
        let stream = step("http2.StreamError", None, Some(2));
        assert_eq!(
            error(&Failure { steps: vec![stream] }).detail.as_deref(),
            Some("INTERNAL_ERROR")
        );
        let stream = step("http.http2StreamError", None, Some(99));
        assert_eq!(error(&Failure { steps: vec![stream] }).detail.as_deref(), Some("code 99"));
        let stream = step("http2.StreamError", None, Some(12));
        let detail = error(&Failure { steps: vec![stream] }).detail;
        assert_eq!(detail.as_deref(), Some("INADEQUATE_SECURITY"));
    }
}
