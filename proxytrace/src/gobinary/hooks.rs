//! The functions that are probed and what is read there, as data: by Go's names for parameters,
//! results and fields, which [`offsets`](super::offsets) turns into registers and offsets.

use proxytrace_common::{
    plan::{self, OFFSETS_MAX, Operand, Read, Recipe},
    record::{Kind, Tag},
};

use super::layout::{Minors, Shape, Version};
use super::placement::Through;

/// Where in a function.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Point {
    /// After its stack check, with the arguments in their registers.
    Entry,
    /// At each return, with the results in their registers, or after each call, where they still
    /// can be read.
    Return,
}

/// One row: what to read at one point of one function.
#[derive(Debug)]
pub(super) struct Hook {
    /// The versions in which the function has this name and is not inlined.
    pub(super) go: Minors,
    pub(super) function: &'static str,
    pub(super) point: Point,
    pub(super) kind: Kind,
    /// How the function is called, if not by name.
    pub(super) through: Option<Through>,
    reads: &'static [Reading],
    /// The beginning of the names of those that call it, if its other calls are not meant: where its
    /// calls are known, only those are probed.
    pub(super) within: Option<&'static str>,
    /// What must be so for anything to be recorded.
    only: Option<Only>,
}

/// What decides whether there is a record.
#[derive(Clone, Copy, Debug)]
enum Only {
    /// A number that is this one.
    Number(Reading, u64),
    /// A string that begins with this text, of at most eight bytes.
    Text(Reading, &'static str),
}

/// One value to read.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// The versions that have it.
    go: Minors,
    tag: Tag,
    /// A parameter by its name, a result: `->` and its number, or [`KEPT`].
    from: &'static str,
    /// Fields, of which each but the last is a pointer that is followed, an interface that holds one,
    /// or a structure that holds the next. Without one, what is in the registers themselves; of a
    /// slice, that is its length, or for [`Tag::Text`] its bytes, or for [`Tag::Answer`] what it
    /// holds.
    path: &'static [&'static str],
}

/// What was kept for the goroutine: a pointer.
const KEPT: &str = "kept";

const TRY_PROXIES: &str = "cmd/go/internal/modfetch.TryProxies";
const LOOKUP: &str = "cmd/go/internal/modfetch.Lookup";
const LOOKUP_OF_FETCHER: &str = "cmd/go/internal/modfetch.(*Fetcher).Lookup";
const CHECK_SUM_DB: &str = "cmd/go/internal/modfetch.checkSumDB";
const INFO_FILE_OF_FETCHER: &str = "cmd/go/internal/modfetch.(*Fetcher).InfoFile";
const DIAL_CONN: &str = "net/http.(*Transport).dialConn";
const READ_RESPONSE: &str = "net/http.ReadResponse";
const ROUND_TRIP: &str = "net/http.(*Transport).roundTrip";

const LOOKUP_IP: &str = "net.(*Resolver).lookupIPAddr";
const GO_LOOKUP: &str = "net.(*Resolver).goLookupIPCNAMEOrder";
const EXCHANGE: &str = "net.(*Resolver).exchange";
const DIAL: &str = "net.(*sysDialer).dialSingle";
const ADD_TLS: &str = "net/http.(*persistConn).addTLS";
const TLS_STATE: &str = "crypto/tls.(*Conn).ConnectionState";
/// Bytes of a register, and of the first word of an interface, before what it holds.
const WORD: u16 = 8;

const URL: &str = "net/http.Request.URL";
const BODY: &str = "net/http.Response.Body";

#[rustfmt::skip]
pub(super) const HOOKS: &[Hook] = &[
    // One walk of GOPROXY.
    on_entry(Minors::ALL, TRY_PROXIES, Kind::WalkEnter, &[]),
    on_return(Minors::ALL, TRY_PROXIES, Kind::WalkReturn, &[value(Tag::Error, "->0")]),
    on_entry(Minors::to(25), LOOKUP, Kind::Lookup, LOOKED_UP),
    on_entry(Minors::from(26), LOOKUP_OF_FETCHER, Kind::Lookup, LOOKED_UP),
    // One send: its `uerr`, through which all its errors go. That it begins or ends well, and of which
    // fetch it is, its requests say.
    on_entry(Minors::ALL, "net/http.(*Client).do.func2", Kind::SendFailed, &[value(Tag::Error, "err")]),
    on_entry(Minors::ALL, ROUND_TRIP, Kind::RequestEnter, &[
        field(Tag::Method, "req", &["net/http.Request.Method"]),
        field(Tag::Scheme, "req", &[URL, "net/url.URL.Scheme"]),
        field(Tag::HasUser, "req", &[URL, "net/url.URL.User"]),
        field(Tag::Host, "req", &[URL, "net/url.URL.Host"]),
        field(Tag::Path, "req", &[URL, "net/url.URL.Path"]),
        field(Tag::RawPath, "req", &[URL, "net/url.URL.RawPath"]),
        field(Tag::RawQuery, "req", &[URL, "net/url.URL.RawQuery"]),
        headers("req", &["net/http.Request.Header"]),
    ]),
    Hook {
        through: Some(Through {
            wrapper: "net/http.(*Transport).RoundTrip",
            // `rt.RoundTrip(req)` in client.go, from Go 1.19 to 1.27: `rt` is the second parameter.
            caller: "net/http.send",
            parameter: 1,
        }),
        ..on_return(Minors::ALL, ROUND_TRIP, Kind::RequestReturn, &[
            field(Tag::Status, "->0", &["net/http.Response.StatusCode"]),
            field(Tag::Protocol, "->0", &["net/http.Response.Proto"]),
            field(Tag::ContentLength, "->0", &["net/http.Response.ContentLength"]),
            field(Tag::Body, "->0", &[BODY]),
            field(Tag::PackedBody, "->0", &[BODY, "net/http.gzipReader.body"]),
            within(Minors::to(26), field(Tag::PackedBody, "->0", &[BODY, "net/http.http2gzipReader.body"])),
            within(Minors::from(27), field(Tag::PackedBody, "->0", &[BODY, "net/http/internal/http2.gzipReader.body"])),
            headers("->0", &["net/http.Response.Header"]),
            value(Tag::Error, "->1"),
        ])
    },
    // Each time that a request is about to be written to a connection.
    on_entry(Minors::ALL, "net/http.(*persistConn).roundTrip", Kind::TryHttp1, &[
        field(Tag::Connection, "pc", &["net/http.persistConn.conn"]),
    ]),
    on_entry(Minors::to(22), "net/http.(*http2ClientConn).RoundTrip", Kind::TryHttp2, &[
        field(Tag::Connection, "cc", &["net/http.http2ClientConn.tconn"]),
    ]),
    on_entry(Minors::between(23, 26), "net/http.(*http2ClientConn).roundTrip", Kind::TryHttp2, &[
        field(Tag::Connection, "cc", &["net/http.http2ClientConn.tconn"]),
    ]),
    on_entry(Minors::from(27), "net/http/internal/http2.(*ClientConn).roundTrip", Kind::TryHttp2, &[
        field(Tag::Connection, "cc", &["net/http/internal/http2.ClientConn.tconn"]),
    ]),
    // There is no switching before Go 1.21.
    on_entry(Minors::from(21), "cmd/go/internal/toolchain.execGoToolchain", Kind::Toolchain, &[
        value(Tag::Executable, "exe"),
    ]),
    // CONNECT to a forward proxy: a dial, and a child that reads the answer to it.
    on_entry(Minors::ALL, DIAL_CONN, Kind::NewConnection, &[]),
    Hook {
        within: Some(DIAL_CONN),
        only: Some(Only::Text(field(Tag::Method, "req", &["net/http.Request.Method"]), "CONNECT")),
        ..on_entry(Minors::ALL, READ_RESPONSE, Kind::TunnelEnter, &[
            field(Tag::Host, "req", &["net/http.Request.Host"]),
            field(Tag::Connection, "r", &["bufio.Reader.rd"]),
        ])
    },
    Hook {
        within: Some(DIAL_CONN),
        only: Some(Only::Text(field(Tag::Method, "->0", &["net/http.Response.Request", "net/http.Request.Method"]), "CONNECT")),
        ..on_return(Minors::ALL, READ_RESPONSE, Kind::TunnelReturn, &[
            field(Tag::Status, "->0", &["net/http.Response.StatusCode"]),
            headers("->0", &["net/http.Response.Header"]),
        ])
    },
    // Other programs, those of version control among them.
    on_return(Minors::ALL, "os.StartProcess", Kind::Spawn, &[
        field(Tag::Child, "->0", &["os.Process.Pid"]),
    ]),
    // `codehost.run` has their stderr in a buffer, which lives until it returns.
    on_entry(Minors::ALL, "os/exec.(*Cmd).Start", Kind::CommandStart, &[
        field(Tag::Stdout, "c", &["os/exec.Cmd.Stdout"]),
        field(Tag::Connection, "c", &["os/exec.Cmd.Stderr"]),
    ]),
    on_return(Minors::ALL, "os/exec.(*Cmd).Wait", Kind::CommandReturn, &[
        field(Tag::Text, KEPT, &["bytes.Buffer.buf"]),
    ]),
    // Only where something is wrong with what an entry gave.
    on_entry(Minors::ALL, "cmd/go/internal/modfetch.(*proxyRepo).versionError", Kind::EntryError, &[
        value(Tag::Error, "err"),
    ]),
    // The end of a body: what `http.Response.Body` holds is the receiver.
    on_entry(Minors::ALL, "net/http.(*bodyEOFSignal).Close", Kind::BodyHttp1, &[
        value(Tag::Body, "es"),
        // Of a body whose length was announced.
        field(Tag::Remaining, "es", &["net/http.bodyEOFSignal.body", "net/http.body.src", "io.LimitedReader.N"]),
        field(Tag::Error, "es", &["net/http.bodyEOFSignal.rerr"]),
    ]),
    // The receiver is a structure of one pointer.
    on_entry(Minors::to(26), "net/http.http2transportResponseBody.Close", Kind::BodyHttp2, &[
        value(Tag::Body, "b"),
        field(Tag::Remaining, "b", &["net/http.http2transportResponseBody.cs", "net/http.http2clientStream.bytesRemain"]),
        field(Tag::Short, "b", &["net/http.http2transportResponseBody.cs", "net/http.http2clientStream.readErr"]),
        field(Tag::Error, "b", &["net/http.http2transportResponseBody.cs", "net/http.http2clientStream.bufPipe.err"]),
    ]),
    on_entry(Minors::from(27), "net/http/internal/http2.transportResponseBody.Close", Kind::BodyHttp2, &[
        value(Tag::Body, "b"),
        field(Tag::Remaining, "b", &["net/http/internal/http2.transportResponseBody.cs", "net/http/internal/http2.clientStream.bytesRemain"]),
        field(Tag::Short, "b", &["net/http/internal/http2.transportResponseBody.cs", "net/http/internal/http2.clientStream.readErr"]),
        field(Tag::Error, "b", &["net/http/internal/http2.transportResponseBody.cs", "net/http/internal/http2.clientStream.bufPipe.err"]),
    ]),
    // From here on: once for each connection, not for each request.
    on_entry(Minors::ALL, LOOKUP_IP, Kind::Resolve, &[value(Tag::Host, "host")]),
    on_return(Minors::ALL, LOOKUP_IP, Kind::Resolved, &[
        value(Tag::Answers, "->0"),
        value(Tag::Answer, "->0"),
        value(Tag::Error, "->1"),
    ]),
    on_entry(Minors::ALL, GO_LOOKUP, Kind::Query, &[value(Tag::Host, "name")]),
    on_entry(Minors::ALL, EXCHANGE, Kind::Exchange, &[value(Tag::Host, "server")]),
    on_entry(Minors::ALL, DIAL, Kind::Dial, &[
        field(Tag::Host, "sd", &["net.sysDialer.address"]),
        value(Tag::Connection, "ra"),
    ]),
    on_entry(Minors::ALL, ADD_TLS, Kind::TlsEnter, &[
        value(Tag::Host, "name"),
        field(Tag::Connection, "pconn", &["net/http.persistConn.conn"]),
    ]),
    // In the child that does the handshake, and only where the server asks for it.
    on_entry(Minors::ALL, "crypto/tls.(*Conn).getClientCertificate", Kind::CertificateWanted, &[]),
    on_return(Minors::ALL, ADD_TLS, Kind::TlsReturn, &[value(Tag::Error, "->0")]),
    on_entry(Minors::ALL, TLS_STATE, Kind::TlsState, &[
        field(Tag::TlsVersion, "c", &["crypto/tls.Conn.vers"]),
        field(Tag::Protocol, "c", &["crypto/tls.Conn.clientProtocol"]),
    ]),
    // What go has of a module, from wherever: a `.info` file, something with a line in go.sum.
    on_return(Minors::to(25), "cmd/go/internal/modfetch.InfoFile", Kind::InfoReturn, INFO_FILE),
    on_return(Minors::from(26), INFO_FILE_OF_FETCHER, Kind::InfoReturn, INFO_FILE),
    on_entry(Minors::ALL, "cmd/go/internal/modfetch.checkModSum", Kind::SumEnter, MODULE_VERSION),
    // A zip that came, but is none.
    on_return(Minors::to(25), "cmd/go/internal/modfetch.downloadZip", Kind::ZipReturn, ZIP),
    on_return(Minors::from(26), "cmd/go/internal/modfetch.(*Fetcher).downloadZip", Kind::ZipReturn, ZIP),
    // Asking the checksum database about it.
    on_entry(Minors::ALL, CHECK_SUM_DB, Kind::VerifyEnter, MODULE_VERSION),
    on_return(Minors::ALL, CHECK_SUM_DB, Kind::VerifyReturn, &[value(Tag::Error, "->0")]),
    // What goes to stderr.
    Hook {
        only: Some(Only::Number(field(Tag::Text, "f", &["os.File.file", "os.file.pfd", "internal/poll.FD.Sysfd"]), 2)),
        ..on_entry(Minors::ALL, "os.(*File).Write", Kind::Stderr, &[value(Tag::Text, "b")])
    },
    // The last one to be put in: where a process runs already, entering it says that all others were
    // there before.
    on_entry(Minors::ALL, "main.main", Kind::Start, &[]),
];

const LOOKED_UP: &[Reading] = &[value(Tag::Proxy, "proxy"), value(Tag::Module, "path")];
const ZIP: &[Reading] = &[value(Tag::Error, "->0")];
const INFO_FILE: &[Reading] = &[value(Tag::File, "->1"), value(Tag::Error, "->2")];
const MODULE_VERSION: &[Reading] = &[
    field(Tag::Module, "mod", &["cmd/vendor/golang.org/x/mod/module.Version.Path"]),
    field(Tag::Version, "mod", &["cmd/vendor/golang.org/x/mod/module.Version.Version"]),
];

impl Hook {
    /// What the probe program does there, in one version.
    pub(super) fn recipe(&self, version: Version) -> Recipe {
        let mut recipe = Recipe::marker(self.kind);
        for reading in self.reads.iter().filter(|reading| reading.go.contain(version.minor())) {
            let operand = reading.operand(self.function, version);
            if [Read::HeaderMap as u8, Read::Addresses as u8].contains(&operand.read) {
                recipe.several = operand;
            } else if reading.tag == Tag::Error {
                recipe.error = operand;
            } else if reading.tag == Tag::Connection {
                recipe.interface = operand;
            } else {
                recipe.fields[usize::from(recipe.field_count)] = operand;
                recipe.field_count += 1;
            }
        }
        match self.only {
            None => {}
            Some(Only::Number(number, value)) => {
                recipe.filter = number.operand(self.function, version);
                recipe.filter_value = value;
            }
            Some(Only::Text(string, text)) => {
                let mut bytes = [0; size_of::<u64>()];
                bytes[..text.len()].copy_from_slice(text.as_bytes());
                // One pointer more: a string's first word is where its text is.
                recipe.filter = string.operand(self.function, version);
                recipe.filter.dereferences += 1;
                recipe.filter.read = Read::U64 as u8;
                recipe.filter_mask = u64::MAX >> (8 * (bytes.len() - text.len()));
                recipe.filter_value = u64::from_le_bytes(bytes);
            }
        }
        share(&mut recipe);
        recipe
    }
}

/// Has a pointer that several values are reached by be followed once.
fn share(recipe: &mut Recipe) {
    let step = |operand: &Operand| {
        (operand.dereferences > 0).then_some((operand.register, operand.offsets[0]))
    };
    let count = usize::from(recipe.field_count);
    let of = |recipe: &Recipe| {
        let others = [recipe.several, recipe.error, recipe.interface];
        recipe.fields[..count].iter().chain(&others).filter_map(step).collect::<Vec<_>>()
    };
    let steps = of(recipe);
    let uses = |step: &(u8, u16)| steps.iter().filter(|other| *other == step).count();
    let Some(&shared) = steps.iter().max_by_key(|step| uses(step)).filter(|step| uses(step) > 1)
    else {
        return;
    };
    let others = [&mut recipe.several, &mut recipe.error, &mut recipe.interface];
    for operand in recipe.fields[..count].iter_mut().chain(others) {
        if step(operand) == Some(shared) {
            operand.register = plan::BASE;
            operand.offsets.rotate_left(1);
            operand.offsets[OFFSETS_MAX - 1] = 0;
            operand.dereferences -= 1;
        }
    }
    let (register, offset) = shared;
    recipe.base = Operand::memory(Tag::Body, Read::U64, register, &[offset]);
}

impl Reading {
    /// Where it is, and how to read it there: that follows from what it is.
    fn operand(&self, function: &str, version: Version) -> Operand {
        let place = if self.from == KEPT {
            (plan::KEPT.into(), Shape::Pointer)
        } else if self.from.starts_with("->") {
            version.place(&format!("{function}{}", self.from))
        } else {
            version.place(&format!("{function}({})", self.from))
        };
        let ((mut register, mut shape), mut path) = (place, self.path);
        if let (Shape::Struct(_), [first, rest @ ..]) = (shape, path) {
            let (offset, of_field) = version.place(first);
            (register, shape, path) = (register + offset / WORD, of_field, rest);
        }
        let Some((last, before)) = path.split_last() else {
            return self.in_registers(register, shape);
        };
        if shape == Shape::Interface {
            // What it holds is in the second.
            register += 1;
        }
        let mut offsets = [0; OFFSETS_MAX];
        let mut followed = 0;
        for name in before {
            let (offset, shape) = version.place(name);
            offsets[followed] += offset;
            match shape {
                Shape::Struct(_) => continue,
                Shape::Interface => offsets[followed] += WORD,
                _ => {}
            }
            followed += 1;
        }
        let (offset, shape) = version.place(last);
        offsets[followed] += offset;
        let walked = matches!(self.tag, Tag::Error | Tag::Connection);
        if shape == Shape::Interface && !walked {
            // What it holds, as a number.
            offsets[followed] += WORD;
            return Operand::memory(self.tag, Read::U64, number(register), &offsets[..=followed]);
        }
        let read = match shape {
            Shape::String => Read::String,
            Shape::Slice if self.tag == Tag::Text => Read::StringEnd,
            Shape::Interface => Read::Interface,
            Shape::Map => Read::HeaderMap,
            Shape::Pointer if self.tag == Tag::HasUser => Read::NotNil,
            _ => Read::U64,
        };
        Operand::memory(self.tag, read, number(register), &offsets[..=followed])
    }

    /// A value that begins in this register.
    fn in_registers(&self, register: u16, shape: Shape) -> Operand {
        let register = number(register);
        match shape {
            Shape::String => Operand::register(self.tag, Read::RegisterString, register),
            Shape::Interface => Operand::register(self.tag, Read::RegisterInterface, register),
            Shape::Slice if self.tag == Tag::Text => {
                Operand::register(self.tag, Read::RegisterStringEnd, register)
            }
            Shape::Slice if self.tag == Tag::Answer => {
                Operand::register(self.tag, Read::Addresses, register)
            }
            Shape::Slice => Operand::register(self.tag, Read::Register, register + 1),
            _ => Operand::register(self.tag, Read::Register, register),
        }
    }
}

fn number(register: u16) -> u8 {
    u8::try_from(register).expect("a register, of which there are nine")
}

/// What a parameter or a result is.
const fn value(tag: Tag, from: &'static str) -> Reading {
    Reading { go: Minors::ALL, tag, from, path: &[] }
}

/// What is in a structure to which a parameter or a result points, or in one of words and strings
/// that is passed in registers.
const fn field(tag: Tag, from: &'static str, path: &'static [&'static str]) -> Reading {
    assert!(!path.is_empty() && path.len() <= OFFSETS_MAX);
    Reading { go: Minors::ALL, tag, from, path }
}

/// What only these versions have.
const fn within(go: Minors, reading: Reading) -> Reading {
    Reading { go, ..reading }
}

/// An `http.Header`. The tag stands for all: each header is recorded under its own.
const fn headers(from: &'static str, path: &'static [&'static str]) -> Reading {
    field(Tag::HeadersCut, from, path)
}

const fn on_entry(
    go: Minors,
    function: &'static str,
    kind: Kind,
    reads: &'static [Reading],
) -> Hook {
    Hook { go, function, point: Point::Entry, kind, through: None, reads, within: None, only: None }
}

const fn on_return(
    go: Minors,
    function: &'static str,
    kind: Kind,
    reads: &'static [Reading],
) -> Hook {
    Hook {
        go,
        function,
        point: Point::Return,
        kind,
        through: None,
        reads,
        within: None,
        only: None,
    }
}

#[cfg(test)]
mod tests {
    use proxytrace_common::plan::FIELDS_MAX;

    use super::*;

    #[test]
    fn what_several_values_are_reached_by_is_followed_once() {
        let mut recipe = Recipe::marker(Kind::RequestEnter);
        recipe.fields[0] = Operand::memory(Tag::Host, Read::String, 1, &[16, 40]);
        recipe.fields[1] = Operand::memory(Tag::Method, Read::String, 1, &[0]);
        recipe.fields[2] = Operand::memory(Tag::Path, Read::String, 0, &[16, 56]);
        recipe.field_count = 3;
        recipe.error = Operand::memory(Tag::Error, Read::Interface, 1, &[16, 8, 24]);
        let alone = Recipe { error: Operand::ABSENT, ..recipe };
        let mut same = alone;
        share(&mut same);
        assert_eq!(same, alone);
        share(&mut recipe);
        assert_eq!(recipe.base.offsets, [16, 0, 0, 0]);
        assert_eq!((recipe.base.register, recipe.base.dereferences), (1, 0));
        assert_eq!(recipe.fields[0], Operand::memory(Tag::Host, Read::String, plan::BASE, &[40]));
        assert_eq!(recipe.fields[1..3], alone.fields[1..3]);
        let error = Operand::memory(Tag::Error, Read::Interface, plan::BASE, &[8, 24]);
        assert_eq!(recipe.error, error);
    }

    /// With GODEBUG=fips140=on that code checks its own bytes, and a probe would end the program.
    #[test]
    fn self_checking_code_is_left_alone() {
        assert!(HOOKS.iter().all(|hook| !hook.function.starts_with("crypto/internal/fips140")));
    }

    #[test]
    fn every_version_has_each_kind_once() {
        for minor in 21..=28 {
            let rows = HOOKS.iter().filter(|hook| hook.go.contain(minor));
            let mut kinds: Vec<_> = rows.map(|hook| hook.kind as u16).collect();
            kinds.sort_unstable();
            let of_go = |kind: &Kind| *kind == Kind::Start || *kind >= Kind::WalkEnter;
            let kinds_of_go = (0..=u16::MAX).filter_map(Kind::from_number).filter(of_go);
            let expected: Vec<_> = kinds_of_go.map(|kind| kind as u16).collect();
            assert_eq!(kinds, expected, "go1.{minor}");
        }
    }

    /// Everything that a hook reads is in the table, and can be read as what it is.
    #[test]
    fn every_version_has_all_that_is_read() {
        for version in Version::all() {
            for hook in HOOKS.iter().filter(|hook| hook.go.contain(version.minor())) {
                let reads = || hook.reads.iter().filter(|read| read.go.contain(version.minor()));
                let fields = reads().filter(|reading| {
                    !matches!(
                        reading.tag,
                        Tag::Error | Tag::Connection | Tag::HeadersCut | Tag::Answer
                    )
                });
                assert!(fields.count() <= FIELDS_MAX, "{}", hook.function);
                for reading in reads() {
                    let operand = reading.operand(hook.function, version);
                    let interface = [Read::RegisterInterface as u8, Read::Interface as u8];
                    let fits = match reading.tag {
                        Tag::Error | Tag::Connection => interface.contains(&operand.read),
                        Tag::HeadersCut => operand.read == Read::HeaderMap as u8,
                        _ => !interface.contains(&operand.read),
                    };
                    assert!(fits, "go1.{}: {}: {reading:?}", version.minor(), hook.function);
                }
                // Does not panic.
                assert_eq!(hook.recipe(version).kind, hook.kind as u16);
            }
        }
    }

    #[test]
    fn registers_and_offsets_follow_the_version() {
        let recipe = |kind, point, minor| {
            let version = Version::all().find(|version| version.minor() == minor).expect("known");
            let mut rows = HOOKS.iter().filter(|hook| hook.kind == kind && hook.point == point);
            rows.find(|hook| hook.go.contain(minor)).expect("a hook").recipe(version)
        };
        for (minor, proxy, module) in [(19, 0, 2), (21, 2, 4), (25, 2, 4), (26, 3, 5)] {
            let lookup = recipe(Kind::Lookup, Point::Entry, minor);
            let expected = [
                Operand::register(Tag::Proxy, Read::RegisterString, proxy),
                Operand::register(Tag::Module, Read::RegisterString, module),
            ];
            assert_eq!(lookup.fields[..2], expected, "go1.{minor}");
            assert_eq!(lookup.field_count, 2);
        }
        for (minor, module) in [(19, 0), (25, 0), (26, 1)] {
            let sum = recipe(Kind::SumEnter, Point::Entry, minor);
            let expected = [
                Operand::register(Tag::Module, Read::RegisterString, module),
                Operand::register(Tag::Version, Read::RegisterString, module + 2),
            ];
            assert_eq!(sum.fields[..2], expected, "go1.{minor}");
        }
        let info = recipe(Kind::InfoReturn, Point::Return, 27);
        assert_eq!(info.fields[0], Operand::register(Tag::File, Read::RegisterString, 1));
        assert_eq!(info.error, Operand::register(Tag::Error, Read::RegisterInterface, 3));
        for (minor, raw_path) in [(25, 72), (26, 104)] {
            let request = recipe(Kind::RequestEnter, Point::Entry, minor);
            let expected = Operand::memory(Tag::RawPath, Read::String, plan::BASE, &[raw_path]);
            assert_eq!(request.fields[5], expected, "go1.{minor}");
            assert_eq!((request.base.register, request.base.offsets[0]), (1, 16));
        }
        let response = recipe(Kind::RequestReturn, Point::Return, 27);
        assert_eq!(response.error, Operand::register(Tag::Error, Read::RegisterInterface, 1));
        assert_eq!(response.several, Operand::memory(Tag::HeadersCut, Read::HeaderMap, 0, &[56]));
        let tunnel = recipe(Kind::TunnelReturn, Point::Return, 27);
        let method = Operand::memory(Tag::Method, Read::U64, 0, &[128, 0, 0]);
        assert_eq!((tunnel.filter, tunnel.field_count), (method, 1));
        assert_eq!(tunnel.filter_value.to_le_bytes(), *b"CONNECT\0");
        assert_eq!(tunnel.filter_mask, u64::MAX >> 8);
        let connection = recipe(Kind::TryHttp2, Point::Entry, 27).interface;
        assert_eq!(connection, Operand::memory(Tag::Connection, Read::Interface, 0, &[8]));
        let written = recipe(Kind::Stderr, Point::Entry, 27);
        assert_eq!(written.fields[0], Operand::register(Tag::Text, Read::RegisterStringEnd, 1));
        let command = recipe(Kind::CommandReturn, Point::Return, 27);
        assert_eq!(
            command.fields[0],
            Operand::memory(Tag::Text, Read::StringEnd, plan::KEPT, &[0])
        );
        let started = recipe(Kind::CommandStart, Point::Entry, 27);
        assert_eq!(started.fields[0], Operand::memory(Tag::Stdout, Read::U64, 0, &[104]));
        let stderr = Operand::memory(Tag::Connection, Read::Interface, 0, &[112]);
        assert_eq!(started.interface, stderr);
        let resolved = recipe(Kind::Resolved, Point::Return, 27);
        assert_eq!(resolved.several, Operand::register(Tag::Answer, Read::Addresses, 0));
        // Through `file` to the `Sysfd` of its `pfd`.
        assert_eq!(written.filter, Operand::memory(Tag::Text, Read::U64, 0, &[0, 16]));
    }
}
