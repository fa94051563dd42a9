//! What the probes say: a record is a [`Header`] and then fields, each a [`FieldHeader`] and its
//! bytes, without padding between them.

/// The longest string that is recorded whole; a longer one is cut and marked [`CUT`].
pub const STRING_MAX: usize = 4096;
/// Steps of an error chain that are recorded.
pub const ERROR_STEPS_MAX: usize = 10;
/// Addresses of a name that are recorded.
pub const ANSWERS_MAX: usize = 16;
/// Bytes of the environment in one [`Kind::Environment`] record.
pub const ENVIRONMENT_CHUNK: usize = STRING_MAX;
/// Bytes of the environment of a process that are read, in all.
pub const ENVIRONMENT_MAX: usize = 32 * ENVIRONMENT_CHUNK;

/// Bytes of one head of HTTP that are recorded.
pub const HEAD_MAX: usize = 2048;

/// Flag of a record or a field: something was longer than its bound.
pub const CUT: u8 = 1;
/// Flag of a record or a field: memory could not be read.
pub const FAULT: u8 = 2;

/// Declares a fieldless enum together with the checked conversion from its number.
macro_rules! numbered {
    ($(#[$meta:meta])* $name:ident: $repr:ty { $($(#[$doc:meta])* $variant:ident = $value:literal,)* }) => {
        $(#[$meta])*
        #[repr($repr)]
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum $name { $($(#[$doc])* $variant = $value,)* }

        impl $name {
            /// The value with this number, if there is one.
            #[must_use]
            pub const fn from_number(number: $repr) -> Option<Self> {
                match number { $($value => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

numbered! {
    /// What happened.
    Kind: u16 {
        /// A process was forked: [`Tag::Child`], [`Tag::OwnPid`].
        Fork = 1,
        /// A program image was executed: [`Tag::Executable`], [`Tag::Arguments`], [`Tag::RootsPid`];
        /// on a watched host [`Tag::Tree`], [`Tag::Threshold`], [`Tag::FileKey`],
        /// [`Tag::Mounts`], [`Tag::Ancestor`], [`Tag::Parent`].
        Exec = 2,
        /// A process ended (its last thread): [`Tag::Status`] is the wait status.
        Exit = 3,
        /// A TCP socket changed state: [`Tag::Connection`], [`Tag::Socket`], [`Tag::OldState`],
        /// [`Tag::NewState`], [`Tag::Errno`].
        TcpState = 4,
        /// `main.main` of a Go executable with probes was entered: [`Tag::Arguments`]. The pieces of
        /// its environment come before.
        Start = 5,
        /// A piece of the environment of a process that enters `main.main`: [`Tag::Environment`].
        Environment = 6,
        /// Bytes that may be of a head of HTTP were written to a TCP socket: [`Tag::Socket`],
        /// [`Tag::Position`], [`Tag::Length`], [`Tag::Opposite`], [`Tag::Bytes`].
        Sent = 7,
        /// The same, read from it.
        Received = 8,

        /// `modfetch.TryProxies` entered.
        WalkEnter = 16,
        /// `modfetch.TryProxies` returned: error.
        WalkReturn = 17,
        /// `modfetch.Lookup` entered: [`Tag::Proxy`], [`Tag::Module`].
        Lookup = 18,
        /// `http.(*Client).do` gives up one send, redirects included: error.
        SendFailed = 20,
        /// `http.(*Transport).roundTrip` entered: [`Tag::Method`], the URL, headers of the request.
        RequestEnter = 22,
        /// `http.(*Transport).roundTrip` returned: [`Tag::Status`], headers of the response, error.
        RequestReturn = 23,
        /// The request is about to be written to a connection, HTTP/1: [`Tag::Connection`].
        TryHttp1 = 24,
        /// The request is about to be written to a connection, HTTP/2: [`Tag::Connection`].
        TryHttp2 = 25,
        /// `toolchain.execGoToolchain` entered: [`Tag::Executable`].
        Toolchain = 26,
        /// `http.(*Transport).dialConn` entered, in a goroutine that the one with the request
        /// started.
        NewConnection = 27,
        /// `http.ReadResponse` entered for CONNECT, in a goroutine that the dial started:
        /// [`Tag::Host`] is its target, [`Tag::Connection`] that to the forward proxy.
        TunnelEnter = 28,
        /// `http.ReadResponse` returned for CONNECT: [`Tag::Status`], headers of the response.
        TunnelReturn = 29,
        /// `os.StartProcess` returned: [`Tag::Child`].
        Spawn = 30,
        /// `net.(*Resolver).lookupIPAddr` entered: [`Tag::Host`] is the name, or an address as text.
        Resolve = 31,
        /// `net.(*Resolver).lookupIPAddr` returned: [`Tag::Answers`], of these at most
        /// [`ANSWERS_MAX`] as [`Tag::Answer`], error.
        Resolved = 32,
        /// `net.(*sysDialer).dialSingle` entered, before each connect: [`Tag::Host`] is what was
        /// meant, with its port; of [`Tag::Connection`] there is the other end, if it speaks TCP.
        Dial = 33,
        /// `http.(*persistConn).addTLS` entered: [`Tag::Host`] is the server's name,
        /// [`Tag::Connection`].
        TlsEnter = 34,
        /// `tls.(*Conn).ConnectionState` entered, first when a handshake succeeded:
        /// [`Tag::TlsVersion`], [`Tag::Protocol`].
        TlsState = 35,
        /// `http.(*persistConn).addTLS` returned: error.
        TlsReturn = 36,
        /// The body of a response is closed, HTTP/1: [`Tag::Body`], [`Tag::Remaining`], error.
        BodyHttp1 = 37,
        /// The body of a response is closed, HTTP/2: [`Tag::Body`], [`Tag::Remaining`],
        /// [`Tag::Short`], error.
        BodyHttp2 = 38,

        /// `tls.(*Conn).getClientCertificate` entered: the server wants a certificate. In a goroutine
        /// that the one in `addTLS` started.
        CertificateWanted = 49,

        /// `net.(*Resolver).goLookupIPCNAMEOrder` entered, in a goroutine that resolves for whoever
        /// wants the name now: [`Tag::Host`].
        Query = 44,
        /// `net.(*Resolver).exchange` entered, in a goroutine that the query started, or itself:
        /// [`Tag::Host`] is the name server.
        Exchange = 45,

        /// `modfetch.downloadZip` returned with an error: error. There is no record of a zip that
        /// came well.
        ZipReturn = 39,

        /// `modfetch.InfoFile` returned: [`Tag::File`], error.
        InfoReturn = 40,
        /// `modfetch.checkModSum` entered: [`Tag::Module`], [`Tag::Version`].
        SumEnter = 41,
        /// `modfetch.checkSumDB` entered: [`Tag::Module`], [`Tag::Version`].
        VerifyEnter = 42,
        /// `modfetch.checkSumDB` returned: error.
        VerifyReturn = 43,
        /// `exec.(*Cmd).Wait` returned, in the goroutine that had started the command, whose stderr
        /// went into a buffer of its own: [`Tag::Text`] is what is in it.
        CommandReturn = 46,
        /// `modfetch.(*proxyRepo).versionError` entered: error. What an entry of GOPROXY gave is of
        /// no use.
        EntryError = 47,

        /// `os.(*File).Write` entered, on stderr: [`Tag::Text`].
        Stderr = 48,
        /// `exec.(*Cmd).Start` entered. No record is made: where its stderr goes is kept for
        /// [`Kind::CommandReturn`].
        CommandStart = 50,
    }
}

numbered! {
    /// What a field holds. Numbers are little-endian `u64`, strings are bytes as they were.
    Tag: u8 {
        /// Pid of a forked child.
        Child = 1,
        /// Path of an executable, as given to `execve`.
        Executable = 2,
        /// Arguments, each ended by a NUL.
        Arguments = 3,
        /// Environment variables, each ended by a NUL; pieces follow one another.
        Environment = 4,
        /// A wait status, or an HTTP status.
        Status = 5,
        /// An opaque number that names a socket for its lifetime.
        Socket = 6,
        /// TCP state before (`include/net/tcp_states.h`).
        OldState = 7,
        /// TCP state after.
        NewState = 8,
        /// `sk_err`: why the socket was closed; zero if for no error.
        Errno = 9,
        /// A [`ConnectionAddresses`].
        Connection = 10,
        /// The pid of a forked child in its own pid namespace.
        OwnPid = 11,
        /// The pid of the process in the pid namespace of the command's first process.
        RootsPid = 12,
        /// On a watched host: the tree that begins here ([`tree`](crate::host::tree)), zero if it is
        /// passed over.
        Tree = 13,
        /// The threshold by which it was chosen ([`Sampling`](crate::host::Sampling)).
        Threshold = 14,
        /// A file that was never told of before: a [`FileKey`](crate::host::FileKey).
        FileKey = 15,

        /// The GOPROXY entry: a URL, `direct`, `noproxy` or `off`.
        Proxy = 16,
        /// A module path.
        Module = 17,
        /// HTTP method; empty means GET.
        Method = 18,
        /// URL: scheme.
        Scheme = 19,
        /// A host, with the port if there is one; of a URL, where not said otherwise.
        Host = 20,
        /// URL: path, decoded.
        Path = 21,
        /// URL: path as it goes on the wire, where that is not the default encoding of `Path`.
        RawPath = 22,
        /// URL: query, without the question mark.
        RawQuery = 23,
        /// One if the URL has a user part. The part itself is never read.
        HasUser = 24,
        /// The protocol of a response, such as `HTTP/2.0`, or that of a TLS connection (ALPN), such
        /// as `h2`.
        Protocol = 25,
        /// `Content-Length` as net/http understood it; all ones if unknown.
        ContentLength = 26,
        /// One [`ErrorStep`].
        Error = 27,
        /// The text of the error step before it.
        ErrorText = 28,
        /// The second text of the error step before it (the name in a DNS error).
        ErrorName = 29,
        /// Headers were not read to their end.
        HeadersCut = 30,
        /// How many addresses a name has.
        Answers = 31,
        /// The version of TLS, in the low 16 bits (RFC 8446, 4.2.1).
        TlsVersion = 32,
        /// The third text of the error step before it (the name server in a DNS error).
        ErrorServer = 33,
        /// Names the body of a response as long as it is open.
        Body = 34,
        /// Bytes of a body that have not come, if its length was announced.
        Remaining = 35,
        /// Not zero if a body ended before its announced length.
        Short = 36,
        /// One address of a name: a [`SocketAddress`] without a port.
        Answer = 37,
        /// What names the body as it comes, where net/http unpacks it (gzip): that is what is closed.
        /// Any words, where it does not.
        PackedBody = 38,
        /// A path in the module cache.
        File = 40,
        /// A module version.
        Version = 41,
        /// On a watched host: the inode of the mount namespace of a process.
        Mounts = 42,
        /// On a watched host: the thread id of an ancestor that has the same mounts and the same
        /// root. There can be several, the nearest first.
        Ancestor = 43,
        /// On a watched host: the process that started one that nobody knows yet.
        Parent = 44,
        /// What is written; [`CUT`] if the beginning is missing.
        Text = 48,
        /// Where a command's stdout goes. Compared, never recorded.
        Stdout = 49,

        /// Where bytes stand in what goes one way over a connection, modulo 2^32.
        Position = 56,
        /// How many there are.
        Length = 57,
        /// How far the other way has been read, or written, modulo 2^32.
        Opposite = 58,
        /// Their beginning, at most [`HEAD_MAX`] of them; in pieces that follow one another.
        Bytes = 59,

        /// Header `Location`.
        Location = 64,
        /// Header `Content-Type`.
        ContentType = 65,
        /// Header `Content-Length`.
        ContentLengthHeader = 66,
        /// Header `Server`.
        Server = 67,
        /// Header `Via`.
        Via = 68,
        /// Header `Age`.
        Age = 69,
        /// Header `Cache-Control`.
        CacheControl = 70,
        /// Header `X-Cache`.
        XCache = 71,
        /// Header `CF-RAY`.
        CfRay = 72,
        /// Header `Retry-After`.
        RetryAfter = 73,
        /// Header `WWW-Authenticate`.
        WwwAuthenticate = 74,
        /// Header `Referer`.
        Referer = 75,
        /// Header `User-Agent`.
        UserAgent = 76,
        /// The name of a header of a request that is not on the allow-list; its value is never read.
        /// There can be several.
        OtherHeader = 77,
    }
}

/// The allow-list: the headers that are ever read, in Go's canonical spelling and in the order of
/// their names.
pub const HEADERS: [(&str, Tag); 13] = [
    ("Age", Tag::Age),
    ("Cache-Control", Tag::CacheControl),
    ("Cf-Ray", Tag::CfRay),
    ("Content-Length", Tag::ContentLengthHeader),
    ("Content-Type", Tag::ContentType),
    ("Location", Tag::Location),
    ("Referer", Tag::Referer),
    ("Retry-After", Tag::RetryAfter),
    ("Server", Tag::Server),
    ("User-Agent", Tag::UserAgent),
    ("Via", Tag::Via),
    ("Www-Authenticate", Tag::WwwAuthenticate),
    ("X-Cache", Tag::XCache),
];
/// Bytes of the longest of these names.
pub const HEADER_NAME_MAX: usize = 16;
/// A name as its words, padded with zeros, and its tag; no name where the tag is zero.
pub type HeaderName = ([u64; HEADER_NAME_MAX / 8], u64);
/// These names by their length: no more than two have the same, so that a program compares two and
/// looks nothing up.
pub const HEADERS_BY_LENGTH: [[HeaderName; 2]; HEADER_NAME_MAX + 1] = {
    let mut all = [[([0; HEADER_NAME_MAX / 8], 0); 2]; HEADER_NAME_MAX + 1];
    let mut i = 0;
    while i < HEADERS.len() {
        let (name, tag) = HEADERS[i];
        let (name, mut words, mut at) = (name.as_bytes(), [[0; 8]; HEADER_NAME_MAX / 8], 0);
        while at < name.len() {
            words[at / 8][at % 8] = name[at];
            at += 1;
        }
        let of_length = &mut all[name.len()];
        let place = if of_length[0].1 == 0 { 0 } else { 1 };
        assert!(of_length[place].1 == 0);
        of_length[place] =
            ([u64::from_ne_bytes(words[0]), u64::from_ne_bytes(words[1])], tag as u64);
        i += 1;
    }
    all
};

/// What every record begins with. 48 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// `CLOCK_MONOTONIC`, in nanoseconds.
    pub time: u64,
    /// Goroutine id, zero outside of Go.
    pub goroutine: u64,
    /// Id of the goroutine that started it; zero if unknown.
    pub parent_goroutine: u64,
    /// Process id (thread group) in the initial namespace.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// Size of the whole record in bytes.
    pub size: u32,
    /// Index of the executable; all ones outside of Go.
    pub executable: u32,
    /// A [`Kind`].
    pub kind: u16,
    /// [`CUT`], [`FAULT`].
    pub flags: u8,
    /// Zero.
    pub padding: [u8; 5],
}

/// What every field begins with. 4 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FieldHeader {
    /// A [`Tag`].
    pub tag: u8,
    /// [`CUT`], [`FAULT`].
    pub flags: u8,
    /// Bytes that follow.
    pub length: u16,
}

/// An address and a port. 24 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SocketAddress {
    /// The address: the first `length` bytes, in network order.
    pub ip: [u8; 16],
    /// 4, 16, or zero if unknown.
    pub length: u8,
    /// Zero.
    pub padding: [u8; 5],
    /// Port, host byte order.
    pub port: u16,
}

/// Both ends of a connection. 56 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ConnectionAddresses {
    /// This end.
    pub local: SocketAddress,
    /// The other end.
    pub remote: SocketAddress,
    /// One if there is TLS on it.
    pub tls: u8,
    /// Zero.
    pub padding: [u8; 7],
}

/// One error of a chain of wrapped errors. 40 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ErrorStep {
    /// Link-time address of the type descriptor.
    pub type_address: u64,
    /// The number that the type's rule names; zero if none.
    pub number: u64,
    /// The address that the type's rule names.
    pub address: SocketAddress,
}

const _: () = assert!(size_of::<Header>() == 48);
const _: () = assert!(size_of::<FieldHeader>() == 4);
const _: () = assert!(size_of::<SocketAddress>() == 24);
const _: () = assert!(size_of::<ConnectionAddresses>() == 56);
const _: () = assert!(size_of::<ErrorStep>() == 40);
