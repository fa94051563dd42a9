//! What is read of a value behind an interface, by the name of its type, as data.
//!
//! Offsets were checked against the DWARF of `cmd/go` built by Go 1.21, 1.24 and 1.27 and the
//! sources of all supported versions. A value whose type is no pointer is behind one too: offsets
//! count from the interface's data word either way.

use proxytrace_common::plan::{NONE, Role, TypeRule};

use super::layout::Minors;

/// One row.
#[derive(Debug)]
struct Rule {
    go: Minors,
    /// The type as Go prints it.
    name: &'static str,
    reads: TypeRule,
}

/// The rule for a type: named only, if it has no row.
pub(super) fn rule_for(name: &str, minor: u16) -> TypeRule {
    let row = RULES.iter().find(|row| row.name == name && row.go.contain(minor));
    row.map_or(NAMED, |row| row.reads)
}

const NAMED: TypeRule = TypeRule {
    id: 0,
    role: Role::Other as u8,
    number_size: 0,
    string: NONE,
    number: NONE,
    address: NONE,
    next: NONE,
    second_string: NONE,
    third_string: NONE,
    padding: 0,
};

#[rustfmt::skip]
const RULES: &[Rule] = &[
    // The network, from the request down to the system call.
    row("*url.Error", TypeRule { string: 0, next: 32, ..NAMED }),
    row("url.EscapeError", TypeRule { string: 0, ..NAMED }),
    row("url.InvalidHostError", TypeRule { string: 0, ..NAMED }),
    row("*net.OpError", TypeRule { string: 0, address: 48, next: 64, ..NAMED }),
    row("*os.SyscallError", TypeRule { string: 0, next: 16, ..NAMED }),
    row("syscall.Errno", TypeRule { number: 0, number_size: 8, ..NAMED }),
    rule(Minors::to(22), "*net.DNSError", TypeRule { string: 0, second_string: 16, third_string: 32, ..NAMED }),
    rule(Minors::from(23), "*net.DNSError", TypeRule { string: 16, second_string: 32, third_string: 48, next: 0, ..NAMED }),
    row("*net.notFoundError", TypeRule { string: 0, ..NAMED }),
    row("*net.temporaryError", TypeRule { string: 0, ..NAMED }),
    row("*net.AddrError", TypeRule { string: 0, second_string: 16, ..NAMED }),
    row("*net.ParseError", TypeRule { string: 0, second_string: 16, ..NAMED }),
    row("net.UnknownNetworkError", TypeRule { string: 0, ..NAMED }),
    // TLS.
    row("*tls.CertificateVerificationError", TypeRule { next: 24, ..NAMED }),
    row("*tls.permanentError", TypeRule { next: 0, ..NAMED }),
    row("tls.RecordHeaderError", TypeRule { string: 0, number: 16, number_size: 4, ..NAMED }),
    row("tls.alert", TypeRule { number: 0, number_size: 1, ..NAMED }),
    row("x509.HostnameError", TypeRule { string: 8, ..NAMED }),
    row("x509.CertificateInvalidError", TypeRule { number: 8, number_size: 8, string: 16, ..NAMED }),
    row("x509.SystemRootsError", TypeRule { next: 0, ..NAMED }),
    // HTTP/1.
    row("*http.httpError", TypeRule { string: 0, ..NAMED }),
    row("*http.timeoutError", TypeRule { string: 0, ..NAMED }),
    row("http.nothingWrittenError", TypeRule { next: 0, ..NAMED }),
    row("http.transportReadFromServerError", TypeRule { next: 0, ..NAMED }),
    row("*http.ProtocolError", TypeRule { string: 0, ..NAMED }),
    row("textproto.ProtocolError", TypeRule { string: 0, ..NAMED }),
    // HTTP/2; in net/http itself to Go 1.26.
    row("http.http2StreamError", STREAM_ERROR),
    row("http2.StreamError", STREAM_ERROR),
    row("http.http2GoAwayError", GO_AWAY_ERROR),
    row("http2.GoAwayError", GO_AWAY_ERROR),
    row("http.http2ConnectionError", TypeRule { number: 0, number_size: 4, ..NAMED }),
    row("http2.ConnectionError", TypeRule { number: 0, number_size: 4, ..NAMED }),
    row("http.http2connError", CONNECTION_ERROR),
    row("http2.connError", CONNECTION_ERROR),
    row("*http.http2httpError", TypeRule { string: 0, ..NAMED }),
    row("*http2.httpError", TypeRule { string: 0, ..NAMED }),
    // What carries other errors, and plain texts.
    row("*errors.errorString", TypeRule { string: 0, ..NAMED }),
    row("*fmt.wrapError", TypeRule { string: 0, next: 16, ..NAMED }),
    row("*fmt.wrapErrors", TypeRule { string: 0, ..NAMED }),
    row("*fs.PathError", TypeRule { string: 0, second_string: 16, next: 32, ..NAMED }),
    row("*os.LinkError", TypeRule { string: 0, next: 48, ..NAMED }),
    row("*exec.Error", TypeRule { string: 0, next: 16, ..NAMED }),
    row("*json.SyntaxError", TypeRule { string: 0, ..NAMED }),
    row("*json.UnmarshalTypeError", TypeRule { string: 0, second_string: 56, ..NAMED }),
    row("*jsontext.SyntacticError", TypeRule { next: 24, ..NAMED }),
    // The go command.
    row("*web.HTTPError", TypeRule { number: 32, number_size: 8, next: 40, ..NAMED }),
    row("*module.ModuleError", TypeRule { string: 0, second_string: 16, next: 32, ..NAMED }),
    row("*module.InvalidVersionError", TypeRule { string: 0, next: 24, ..NAMED }),
    row("*module.InvalidPathError", TypeRule { string: 0, second_string: 16, next: 32, ..NAMED }),
    row("modfetch.notExistError", TypeRule { next: 0, ..NAMED }),
    row("*modfetch.DownloadDirPartialError", TypeRule { string: 0, next: 16, ..NAMED }),
    row("codehost.notExistError", TypeRule { next: 0, ..NAMED }),
    row("*codehost.VCSError", TypeRule { next: 0, ..NAMED }),
    // Not its command line, which can hold a password.
    row("*codehost.RunError", TypeRule { next: 16, ..NAMED }),
    row("*codehost.UnknownRevisionError", TypeRule { string: 0, ..NAMED }),
    row("*modload.NoMatchingVersionError", TypeRule { string: 0, ..NAMED }),
    row("*vcs.importError", TypeRule { string: 0, next: 16, ..NAMED }),
    row("*gover.TooNewError", TypeRule { string: 0, second_string: 16, ..NAMED }),
    row("*zip.zipError", TypeRule { string: 0, second_string: 16, next: 32, ..NAMED }),
    // Connections.
    row("*tls.Conn", TypeRule { role: Role::TlsConn as u8, next: 0, ..NAMED }),
    row("*net.TCPConn", TypeRule { role: Role::TcpConn as u8, ..NAMED }),
    row("*net.TCPAddr", TypeRule { role: Role::TcpAddr as u8, ..NAMED }),
];

/// `StreamID`, `Code`, `Cause`.
const STREAM_ERROR: TypeRule = TypeRule { number: 4, number_size: 4, next: 8, ..NAMED };
/// `LastStreamID`, `ErrCode`, `DebugData`.
const GO_AWAY_ERROR: TypeRule = TypeRule { number: 4, number_size: 4, string: 8, ..NAMED };
/// `Code`, `Reason`.
const CONNECTION_ERROR: TypeRule = TypeRule { number: 0, number_size: 4, string: 8, ..NAMED };

const fn row(name: &'static str, reads: TypeRule) -> Rule {
    rule(Minors::ALL, name, reads)
}

const fn rule(go: Minors, name: &'static str, reads: TypeRule) -> Rule {
    Rule { go, name, reads }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_has_one_rule_a_version() {
        for minor in 19..=27 {
            let mut names: Vec<_> =
                RULES.iter().filter(|row| row.go.contain(minor)).map(|row| row.name).collect();
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "go1.{minor}");
        }
    }

    #[test]
    fn a_number_has_a_size() {
        for row in RULES {
            assert_eq!(row.reads.number == NONE, row.reads.number_size == 0, "{}", row.name);
        }
    }

    #[test]
    fn offsets_follow_the_version() {
        assert_eq!(rule_for("*net.DNSError", 22).second_string, 16);
        assert_eq!(rule_for("*net.DNSError", 23).second_string, 32);
        assert_eq!(rule_for("*net.timeoutError", 27), NAMED);
    }
}
