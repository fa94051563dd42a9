//! The functions that are probed and what is read there, as data.
//!
//! Registers are counted in the order of Go's register ABI: a pointer takes one, a string or an
//! interface two, a slice three, receivers come first. Offsets in structs are those of all versions
//! of the row.

use proxytrace_common::{
    plan::{FIELDS_MAX, Operand, Read, Recipe},
    record::{Kind, Tag},
};

use super::layout::Minors;

/// Where in a function.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Point {
    /// After its stack check, with the arguments in their registers.
    Entry,
    /// At each return, with the results in their registers.
    Return,
}

/// One row: what to read at one point of one function.
#[derive(Debug)]
pub(super) struct Hook {
    /// The versions in which the function has this name, these arguments and these offsets.
    pub(super) go: Minors,
    pub(super) function: &'static str,
    pub(super) point: Point,
    pub(super) recipe: Recipe,
}

const TRY_PROXIES: &str = "cmd/go/internal/modfetch.TryProxies";
const LOOKUP: &str = "cmd/go/internal/modfetch.Lookup";
const CLIENT_DO: &str = "net/http.(*Client).do";
const ROUND_TRIP: &str = "net/http.(*Transport).roundTrip";
const LOOKUP_IP: &str = "net.(*Resolver).lookupIPAddr";
const DIAL: &str = "net.(*sysDialer).dialSingle";
const ADD_TLS: &str = "net/http.(*persistConn).addTLS";
const TLS_STATE: &str = "crypto/tls.(*Conn).ConnectionState";

pub(super) const HOOKS: &[Hook] = &[
    // func main()
    on_entry(Minors::ALL, "main.main", Recipe::marker(Kind::Start)),
    // func TryProxies(f func(proxy string) error) error
    on_entry(Minors::ALL, TRY_PROXIES, Recipe::marker(Kind::WalkEnter)),
    on_return(Minors::ALL, TRY_PROXIES, failing(Recipe::marker(Kind::WalkReturn), 0)),
    // func Lookup(proxy, path string) Repo
    on_entry(Minors::to(20), LOOKUP, lookup(0, 2)),
    // func Lookup(ctx context.Context, proxy, path string) Repo
    on_entry(Minors::between(21, 25), LOOKUP, lookup(2, 4)),
    // func (f *Fetcher) Lookup(ctx context.Context, proxy, path string) Repo
    on_entry(Minors::from(26), "cmd/go/internal/modfetch.(*Fetcher).Lookup", lookup(3, 5)),
    // func get(security SecurityMode, url *url.URL) (*Response, error)
    on_entry(Minors::ALL, "cmd/go/internal/web.get", Recipe::marker(Kind::FetchEnter)),
    // func (c *Client) do(req *Request) (retres *Response, reterr error)
    on_entry(Minors::ALL, CLIENT_DO, Recipe::marker(Kind::SendEnter)),
    on_return(Minors::ALL, CLIENT_DO, failing(reading(Kind::SendReturn, &[STATUS]), 1)),
    // func (t *Transport) roundTrip(req *Request) (*Response, error)
    on_entry(Minors::to(25), ROUND_TRIP, request(72, 96)),
    on_entry(Minors::from(26), ROUND_TRIP, request(104, 88)),
    on_return(Minors::ALL, ROUND_TRIP, RESPONSE),
    // func (pc *persistConn) roundTrip(req *transportRequest) (*Response, error); conn
    on_entry(Minors::ALL, "net/http.(*persistConn).roundTrip", connected(Kind::TryHttp1, 80)),
    // func (cc *http2ClientConn) RoundTrip(req *Request) (*Response, error); tconn
    on_entry(Minors::to(22), "net/http.(*http2ClientConn).RoundTrip", connected(Kind::TryHttp2, 8)),
    // func (cc *http2ClientConn) roundTrip(req *Request, …) (*Response, error); tconn
    on_entry(
        Minors::between(23, 26),
        "net/http.(*http2ClientConn).roundTrip",
        connected(Kind::TryHttp2, 8),
    ),
    // func (cc *ClientConn) roundTrip(req *ClientRequest, …) (*ClientResponse, error); tconn
    on_entry(
        Minors::from(27),
        "net/http/internal/http2.(*ClientConn).roundTrip",
        connected(Kind::TryHttp2, 8),
    ),
    // func execGoToolchain(gotoolchain, dir, exe string); there is no switching before Go 1.21
    on_entry(
        Minors::from(21),
        "cmd/go/internal/toolchain.execGoToolchain",
        reading(Kind::Toolchain, &[string(Tag::Executable, 4)]),
    ),
    // func (es *bodyEOFSignal) Close() error; rerr
    on_entry(
        Minors::ALL,
        "net/http.(*bodyEOFSignal).Close",
        body(Kind::BodyHttp1, &[BODY, HTTP1_REMAINING], 32),
    ),
    // func (b http2transportResponseBody) Close() error; its one field is a *http2clientStream, of
    // which bytesRemain and readErr
    on_entry(Minors::to(20), "net/http.http2transportResponseBody.Close", http2_body(296, 304)),
    on_entry(
        Minors::between(21, 26),
        "net/http.http2transportResponseBody.Close",
        http2_body(288, 296),
    ),
    // func (b transportResponseBody) Close() error
    on_entry(
        Minors::from(27),
        "net/http/internal/http2.transportResponseBody.Close",
        http2_body(288, 296),
    ),
    // From here on: once for each connection, not for each request.
    // func (r *Resolver) lookupIPAddr(ctx context.Context, network, host string) ([]IPAddr, error)
    on_entry(Minors::ALL, LOOKUP_IP, reading(Kind::Resolve, &[string(Tag::Host, 5)])),
    on_return(Minors::ALL, LOOKUP_IP, failing(reading(Kind::Resolved, &[ANSWERS]), 3)),
    // func (sd *sysDialer) dialSingle(ctx context.Context, ra Addr) (c Conn, err error)
    on_entry(Minors::to(20), DIAL, dial(112)),
    on_entry(Minors::between(21, 22), DIAL, dial(128)),
    on_entry(Minors::from(23), DIAL, dial(160)),
    // func (pconn *persistConn) addTLS(ctx context.Context, name string, …) error; conn
    on_entry(Minors::ALL, ADD_TLS, handshake(80)),
    on_return(Minors::ALL, ADD_TLS, failing(Recipe::marker(Kind::TlsReturn), 0)),
    // func (c *Conn) ConnectionState() ConnectionState; vers, clientProtocol
    on_entry(Minors::to(20), TLS_STATE, tls_state(64, 328)),
    on_entry(Minors::between(21, 22), TLS_STATE, tls_state(72, 360)),
    on_entry(Minors::between(23, 24), TLS_STATE, tls_state(72, 368)),
    on_entry(Minors::between(25, 26), TLS_STATE, tls_state(72, 352)),
    on_entry(Minors::from(27), TLS_STATE, tls_state(72, 376)),
];

/// The pointer to a body, which is what `http.Response.Body` holds.
const BODY: Operand = Operand::register(Tag::Body, Read::Register, 0);

/// Of a `*http.bodyEOFSignal` with a length, by `body` (`*http.body`) and `src`
/// (`*io.LimitedReader`), the `N`.
const HTTP1_REMAINING: Operand = Operand::memory(Tag::Remaining, Read::U64, 0, &[8, 8, 16]);

/// The length of a slice in the first result registers.
const ANSWERS: Operand = Operand::register(Tag::Answers, Read::Register, 1);

/// `http.Response.StatusCode` of a `*http.Response` in the first result register.
const STATUS: Operand = Operand::memory(Tag::Status, Read::U64, 0, &[16]);

/// Results `(*http.Response, error)`: `StatusCode`, `Proto`, `ContentLength`, the pointer in `Body`,
/// `Header`.
const RESPONSE: Recipe = {
    let fields = [
        STATUS,
        Operand::memory(Tag::Protocol, Read::String, 0, &[24]),
        Operand::memory(Tag::ContentLength, Read::U64, 0, &[80]),
        Operand::memory(Tag::Body, Read::U64, 0, &[72]),
    ];
    let mut recipe = failing(reading(Kind::RequestReturn, &fields), 1);
    recipe.headers = header_map(0);
    recipe
};

/// Second argument `*http.Request`: `Method`, `Header`, and of its `URL` at 16 `Scheme`, `User`, `Host`,
/// `Path`, `RawPath`, `RawQuery`, of which the last two have moved.
const fn request(raw_path: u16, raw_query: u16) -> Recipe {
    let fields = [
        Operand::memory(Tag::Method, Read::String, 1, &[0]),
        Operand::memory(Tag::Scheme, Read::String, 1, &[16, 0]),
        Operand::memory(Tag::HasUser, Read::NotNil, 1, &[16, 32]),
        Operand::memory(Tag::Host, Read::String, 1, &[16, 40]),
        Operand::memory(Tag::Path, Read::String, 1, &[16, 56]),
        Operand::memory(Tag::RawPath, Read::String, 1, &[16, raw_path]),
        Operand::memory(Tag::RawQuery, Read::String, 1, &[16, raw_query]),
    ];
    let mut recipe = reading(Kind::RequestEnter, &fields);
    recipe.headers = header_map(1);
    recipe
}

/// Arguments `proxy, path string`, by their first registers.
const fn lookup(proxy: u8, path: u8) -> Recipe {
    reading(Kind::Lookup, &[string(Tag::Proxy, proxy), string(Tag::Module, path)])
}

/// Receiver `clientStream`: the bytes that are left, whether the length was not kept (an error), and
/// of `bufPipe` at 48 the `err` at 88.
const fn http2_body(bytes_remain: u16, read_err: u16) -> Recipe {
    let remaining = Operand::memory(Tag::Remaining, Read::U64, 0, &[bytes_remain]);
    let short = Operand::memory(Tag::Short, Read::NotNil, 0, &[read_err]);
    body(Kind::BodyHttp2, &[BODY, remaining, short], 48 + 88)
}

/// Receiver with an `error` at this offset.
const fn body(kind: Kind, fields: &[Operand], error: u16) -> Recipe {
    let mut recipe = reading(kind, fields);
    recipe.error = Operand::memory(Tag::Error, Read::Interface, 0, &[error]);
    recipe
}

/// Receiver with a `net.Conn` at this offset.
const fn connected(kind: Kind, offset: u16) -> Recipe {
    let mut recipe = Recipe::marker(kind);
    recipe.connection = Operand::memory(Tag::Connection, Read::Interface, 0, &[offset]);
    recipe
}

/// Receiver `*net.sysDialer` with its `address` at this offset; second argument an `Addr`.
const fn dial(address: u16) -> Recipe {
    let host = Operand::memory(Tag::Host, Read::String, 0, &[address]);
    let mut recipe = reading(Kind::Dial, &[host]);
    recipe.connection = Operand::register(Tag::Connection, Read::RegisterInterface, 3);
    recipe
}

/// Receiver with a `net.Conn` at this offset; second argument the server's name.
const fn handshake(conn: u16) -> Recipe {
    let mut recipe = connected(Kind::TlsEnter, conn);
    recipe.fields[0] = string(Tag::Host, 3);
    recipe.field_count = 1;
    recipe
}

/// Receiver `*tls.Conn`.
const fn tls_state(vers: u16, client_protocol: u16) -> Recipe {
    let fields = [
        Operand::memory(Tag::Version, Read::U64, 0, &[vers]),
        Operand::memory(Tag::Protocol, Read::String, 0, &[client_protocol]),
    ];
    reading(Kind::TlsState, &fields)
}

/// With an `error` in this register and the next.
const fn failing(mut recipe: Recipe, register: u8) -> Recipe {
    recipe.error = Operand::register(Tag::Error, Read::RegisterInterface, register);
    recipe
}

const fn reading(kind: Kind, fields: &[Operand]) -> Recipe {
    assert!(fields.len() <= FIELDS_MAX);
    let mut recipe = Recipe::marker(kind);
    while (recipe.field_count as usize) < fields.len() {
        recipe.fields[recipe.field_count as usize] = fields[recipe.field_count as usize];
        recipe.field_count += 1;
    }
    recipe
}

/// `Header` of the `*http.Request` or `*http.Response` in this register. The tag stands for all:
/// each header is recorded under its own.
const fn header_map(register: u8) -> Operand {
    Operand::memory(Tag::HeadersCut, Read::HeaderMap, register, &[56])
}

const fn string(tag: Tag, register: u8) -> Operand {
    Operand::register(tag, Read::RegisterString, register)
}

const fn on_entry(go: Minors, function: &'static str, recipe: Recipe) -> Hook {
    Hook { go, function, point: Point::Entry, recipe }
}

const fn on_return(go: Minors, function: &'static str, recipe: Recipe) -> Hook {
    Hook { go, function, point: Point::Return, recipe }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With GODEBUG=fips140=on that code checks its own bytes, and a probe would end the program.
    #[test]
    fn self_checking_code_is_left_alone() {
        assert!(HOOKS.iter().all(|hook| !hook.function.starts_with("crypto/internal/fips140")));
    }

    #[test]
    fn every_version_has_each_kind_once() {
        for minor in 21..=28 {
            let rows = HOOKS.iter().filter(|hook| hook.go.contain(minor));
            let mut kinds: Vec<_> = rows.map(|hook| hook.recipe.kind).collect();
            kinds.sort_unstable();
            let mut expected: Vec<_> = (Kind::WalkEnter as u16..=Kind::BodyHttp2 as u16).collect();
            expected.insert(0, Kind::Start as u16);
            assert_eq!(kinds, expected, "go1.{minor}");
        }
    }
}
