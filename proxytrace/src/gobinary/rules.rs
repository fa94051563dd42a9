//! What is read of a value behind an interface, by the name of its type, as data: by Go's names for
//! fields, which [`offsets`](super::offsets) turns into offsets.
//!
//! A value whose type is no pointer is behind one too: offsets count from the interface's data word
//! either way.

use proxytrace_common::plan::{NONE, RULES_MAX, Role, TypeRule};

use super::layout::{Shape, Version};

/// One row.
#[derive(Debug)]
struct Rule {
    /// The type as Go prints it.
    name: &'static str,
    /// The same without the pointer and with the whole import path.
    type_name: &'static str,
    reads: Reads,
}

/// Fields, [`ITSELF`], or none (empty). What a version does not have is not read in it.
#[derive(Debug)]
struct Reads {
    role: Role,
    text: &'static str,
    /// A second text: the name asked for in a DNS error.
    name: &'static str,
    /// A third text: the name server in a DNS error.
    server: &'static str,
    /// Of an array, its first four bytes.
    number: &'static str,
    address: &'static str,
    next: &'static str,
}

/// In place of a field: the value is no structure.
const ITSELF: &str = "itself";

/// The rule for a type: named only, if it has no row.
pub(super) fn rule_for(name: &str, version: Version) -> TypeRule {
    let Some(Rule { type_name, reads, .. }) = RULES.iter().find(|row| row.name == name) else {
        return TypeRule::NAMED;
    };
    let find = |field: &str| match field {
        "" => None,
        ITSELF => version.find(type_name),
        _ => version.find(&format!("{type_name}.{field}")),
    };
    let offset = |field| find(field).map_or(NONE, |(offset, _)| offset);
    let number_size = match find(reads.number) {
        Some((_, Shape::Number(size))) => size,
        Some((_, Shape::Struct(_))) => 4,
        _ => 0,
    };
    TypeRule {
        role: reads.role as u8,
        number_size,
        string: offset(reads.text),
        number: offset(reads.number),
        address: offset(reads.address),
        next: offset(reads.next),
        second_string: offset(reads.name),
        third_string: offset(reads.server),
        padding: 0,
    }
}

const NAMED: Reads =
    Reads { role: Role::Other, text: "", name: "", server: "", number: "", address: "", next: "" };

const _: () = assert!(RULES.len() <= RULES_MAX as usize);

#[rustfmt::skip]
const RULES: &[Rule] = &[
    // The network, from the request down to the system call.
    row("*url.Error", "net/url.Error", Reads { text: "Op", next: "Err", ..NAMED }),
    row("url.EscapeError", "net/url.EscapeError", PLAIN_TEXT),
    row("url.InvalidHostError", "net/url.InvalidHostError", PLAIN_TEXT),
    row("*net.OpError", "net.OpError", Reads { text: "Op", address: "Addr", next: "Err", ..NAMED }),
    row("*os.SyscallError", "os.SyscallError", Reads { text: "Syscall", next: "Err", ..NAMED }),
    row("syscall.Errno", "syscall.Errno", PLAIN_NUMBER),
    // It wraps nothing before Go 1.23.
    row("*net.DNSError", "net.DNSError", Reads { text: "Err", name: "Name", server: "Server", next: "UnwrapErr", ..NAMED }),
    row("*net.notFoundError", "net.notFoundError", Reads { text: "s", ..NAMED }),
    row("*net.temporaryError", "net.temporaryError", Reads { text: "s", ..NAMED }),
    row("*net.AddrError", "net.AddrError", Reads { text: "Err", name: "Addr", ..NAMED }),
    row("*net.ParseError", "net.ParseError", Reads { text: "Type", name: "Text", ..NAMED }),
    row("net.UnknownNetworkError", "net.UnknownNetworkError", PLAIN_TEXT),
    // TLS.
    row("*tls.CertificateVerificationError", "crypto/tls.CertificateVerificationError", Reads { next: "Err", ..NAMED }),
    row("*tls.permanentError", "crypto/tls.permanentError", Reads { next: "err", ..NAMED }),
    row("tls.RecordHeaderError", "crypto/tls.RecordHeaderError", Reads { text: "Msg", number: "RecordHeader", ..NAMED }),
    row("tls.alert", "crypto/tls.alert", PLAIN_NUMBER),
    row("x509.HostnameError", "crypto/x509.HostnameError", Reads { text: "Host", ..NAMED }),
    row("x509.CertificateInvalidError", "crypto/x509.CertificateInvalidError", Reads { number: "Reason", text: "Detail", ..NAMED }),
    row("x509.SystemRootsError", "crypto/x509.SystemRootsError", Reads { next: "Err", ..NAMED }),
    // HTTP/1.
    row("*http.httpError", "net/http.httpError", Reads { text: "err", ..NAMED }),
    row("*http.timeoutError", "net/http.timeoutError", Reads { text: "err", ..NAMED }),
    row("http.nothingWrittenError", "net/http.nothingWrittenError", Reads { next: "error", ..NAMED }),
    row("http.transportReadFromServerError", "net/http.transportReadFromServerError", Reads { next: "err", ..NAMED }),
    row("*http.ProtocolError", "net/http.ProtocolError", Reads { text: "ErrorString", ..NAMED }),
    row("textproto.ProtocolError", "net/textproto.ProtocolError", PLAIN_TEXT),
    // HTTP/2; in net/http itself to Go 1.26.
    row("http.http2StreamError", "net/http.http2StreamError", STREAM_ERROR),
    row("http2.StreamError", "net/http/internal/http2.StreamError", STREAM_ERROR),
    row("http.http2GoAwayError", "net/http.http2GoAwayError", GO_AWAY_ERROR),
    row("http2.GoAwayError", "net/http/internal/http2.GoAwayError", GO_AWAY_ERROR),
    row("http.http2ConnectionError", "net/http.http2ConnectionError", PLAIN_NUMBER),
    row("http2.ConnectionError", "net/http/internal/http2.ConnectionError", PLAIN_NUMBER),
    row("http.http2connError", "net/http.http2connError", CONNECTION_ERROR),
    row("http2.connError", "net/http/internal/http2.connError", CONNECTION_ERROR),
    row("*http.http2httpError", "net/http.http2httpError", Reads { text: "msg", ..NAMED }),
    row("*http2.httpError", "net/http/internal/http2.httpError", Reads { text: "msg", ..NAMED }),
    // What carries other errors, and plain texts.
    row("*errors.errorString", "errors.errorString", Reads { text: "s", ..NAMED }),
    row("*fmt.wrapError", "fmt.wrapError", Reads { text: "msg", next: "err", ..NAMED }),
    row("*fmt.wrapErrors", "fmt.wrapErrors", Reads { text: "msg", ..NAMED }),
    row("*fs.PathError", "io/fs.PathError", Reads { text: "Op", name: "Path", next: "Err", ..NAMED }),
    row("*os.LinkError", "os.LinkError", Reads { text: "Op", next: "Err", ..NAMED }),
    row("*exec.Error", "os/exec.Error", Reads { text: "Name", next: "Err", ..NAMED }),
    row("*json.SyntaxError", "encoding/json.SyntaxError", Reads { text: "msg", ..NAMED }),
    row("*json.UnmarshalTypeError", "encoding/json.UnmarshalTypeError", Reads { text: "Value", name: "Field", ..NAMED }),
    row("*jsontext.SyntacticError", "encoding/json/jsontext.SyntacticError", Reads { next: "Err", ..NAMED }),
    // The go command.
    row("*web.HTTPError", "cmd/go/internal/web.HTTPError", Reads { number: "StatusCode", next: "Err", ..NAMED }),
    row("*module.ModuleError", "cmd/vendor/golang.org/x/mod/module.ModuleError", Reads { text: "Path", name: "Version", next: "Err", ..NAMED }),
    row("*module.InvalidVersionError", "cmd/vendor/golang.org/x/mod/module.InvalidVersionError", Reads { text: "Version", next: "Err", ..NAMED }),
    row("*module.InvalidPathError", "cmd/vendor/golang.org/x/mod/module.InvalidPathError", Reads { text: "Kind", name: "Path", next: "Err", ..NAMED }),
    row("modfetch.notExistError", "cmd/go/internal/modfetch.notExistError", Reads { next: "err", ..NAMED }),
    row("*modfetch.DownloadDirPartialError", "cmd/go/internal/modfetch.DownloadDirPartialError", Reads { text: "Dir", next: "Err", ..NAMED }),
    row("codehost.notExistError", "cmd/go/internal/modfetch/codehost.notExistError", Reads { next: "err", ..NAMED }),
    row("*codehost.VCSError", "cmd/go/internal/modfetch/codehost.VCSError", Reads { next: "Err", ..NAMED }),
    // Not its command line, which can hold a password.
    row("*codehost.RunError", "cmd/go/internal/modfetch/codehost.RunError", Reads { next: "Err", ..NAMED }),
    row("*codehost.UnknownRevisionError", "cmd/go/internal/modfetch/codehost.UnknownRevisionError", Reads { text: "Rev", ..NAMED }),
    row("*modload.NoMatchingVersionError", "cmd/go/internal/modload.NoMatchingVersionError", Reads { text: "query", ..NAMED }),
    row("*vcs.importError", "cmd/go/internal/vcs.importError", Reads { text: "importPath", next: "err", ..NAMED }),
    row("*gover.TooNewError", "cmd/go/internal/gover.TooNewError", Reads { text: "What", name: "GoVersion", ..NAMED }),
    row("*zip.zipError", "cmd/vendor/golang.org/x/mod/zip.zipError", Reads { text: "verb", name: "path", next: "err", ..NAMED }),
    // Connections, and what ReadResponse reads them through since Go 1.27.
    row("*io.LimitedReader", "io.LimitedReader", Reads { next: "R", ..NAMED }),
    row("*tls.Conn", "crypto/tls.Conn", Reads { role: Role::TlsConn, next: "conn", ..NAMED }),
    row("*net.TCPConn", "net.TCPConn", Reads { role: Role::TcpConn, ..NAMED }),
    row("*net.TCPAddr", "net.TCPAddr", Reads { role: Role::TcpAddr, ..NAMED }),
    // What the stderr of commands goes into.
    row("*bytes.Buffer", "bytes.Buffer", Reads { role: Role::Buffer, ..NAMED }),
];

const PLAIN_TEXT: Reads = Reads { text: ITSELF, ..NAMED };
const PLAIN_NUMBER: Reads = Reads { number: ITSELF, ..NAMED };
const STREAM_ERROR: Reads = Reads { number: "Code", next: "Cause", ..NAMED };
const GO_AWAY_ERROR: Reads = Reads { number: "ErrCode", text: "DebugData", ..NAMED };
const CONNECTION_ERROR: Reads = Reads { number: "Code", text: "Reason", ..NAMED };

const fn row(name: &'static str, type_name: &'static str, reads: Reads) -> Rule {
    Rule { name, type_name, reads }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_has_one_rule() {
        let mut names: Vec<_> = RULES.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), RULES.len());
    }

    /// A misspelt field would be read nowhere, in silence.
    #[test]
    fn every_field_is_in_the_table_as_what_it_is_read_as() {
        for Rule { name, type_name, reads } in RULES {
            let is = |field: &str, expected: fn(Shape) -> bool| {
                let place = match field {
                    "" => return,
                    ITSELF => (*type_name).to_owned(),
                    _ => format!("{type_name}.{field}"),
                };
                let mut found = Version::all().filter_map(|version| version.find(&place));
                let (_, shape) = found.next().unwrap_or_else(|| panic!("{name}: no {place}"));
                assert!(expected(shape), "{name}: {place} is {shape:?}");
            };
            is(reads.text, |shape| shape == Shape::String);
            is(reads.name, |shape| shape == Shape::String);
            is(reads.server, |shape| shape == Shape::String);
            is(reads.address, |shape| shape == Shape::Interface);
            is(reads.next, |shape| shape == Shape::Interface);
            is(reads.number, |shape| {
                matches!(shape, Shape::Number(1 | 2 | 4 | 8) | Shape::Struct(4..))
            });
        }
    }

    #[test]
    fn offsets_and_sizes_follow_the_version() {
        let rule = |name, minor| {
            let mut versions = Version::all();
            rule_for(name, versions.find(|version| version.minor() == minor).expect("known"))
        };
        let dns = |minor| {
            let rule = rule("*net.DNSError", minor);
            (rule.string, rule.second_string, rule.next)
        };
        assert_eq!((dns(22), dns(23)), ((0, 16, NONE), (16, 32, 0)));
        let alert = rule("tls.alert", 27);
        assert_eq!((alert.number, alert.number_size), (0, 1));
        assert_eq!(rule("*net.timeoutError", 27), TypeRule::NAMED);
    }
}
