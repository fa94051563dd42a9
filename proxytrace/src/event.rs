//! What capture says and everything after it works on: decoded, redacted, in time order.
//!
//! Nothing here is secret any more: capture has redacted URLs, arguments and configuration before
//! it made an [`Event`]. The same types are what a recording holds (see [`crate::recording`]).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use litemap::LiteMap;
use serde::{Deserialize, Serialize};

/// One thing that happened.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Event {
    /// Nanoseconds since the trace began.
    #[serde(rename = "t")]
    pub time: u64,
    /// Process id (thread group).
    pub pid: u32,
    /// The goroutine, for what happened inside of Go.
    #[serde(rename = "g", default, skip_serializing_if = "Option::is_none")]
    pub goroutine: Option<Goroutine>,
    /// What happened.
    #[serde(rename = "e")]
    pub what: What,
}

/// A goroutine and the one that started it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Goroutine {
    /// `runtime.g.goid`.
    pub id: u64,
    /// `runtime.g.parentGoid`; zero if unknown (before Go 1.21).
    #[serde(default)]
    pub parent: u64,
}

/// The kinds of events.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// The process `pid` forked.
    Fork {
        /// The new process.
        child: u32,
    },
    /// The process `pid` became another program image.
    Exec {
        /// Path of the executable.
        exe: String,
        /// Arguments, redacted.
        argv: Vec<String>,
    },
    /// The process ended.
    Exit {
        /// Exit code, if it exited.
        code: Option<i32>,
        /// Signal, if one ended it.
        signal: Option<i32>,
    },
    /// A `go` command with probes in it entered `main.main`: from here on nothing of it is missed.
    GoStart {
        /// `go1.27.3`.
        go_version: String,
        /// Path of the executable.
        exe: String,
        /// Arguments, redacted.
        argv: Vec<String>,
        /// The effective configuration, by name.
        config: BTreeMap<String, Setting>,
        /// What surrounds it. Behind a pointer: every event is as large as the largest.
        #[serde(default, skip_serializing_if = "Surroundings::is_empty")]
        surroundings: Box<Surroundings>,
    },
    /// `modfetch.TryProxies` began: a walk through the GOPROXY list.
    WalkEnter,
    /// The walk ended.
    WalkReturn {
        /// The error it ended with; none means that an entry succeeded.
        error: Option<Failure>,
    },
    /// `modfetch.Lookup`: from here on this goroutine asks `proxy` about `module`.
    Lookup {
        /// The GOPROXY entry as go uses it, redacted; or `direct`, `noproxy`, `off`.
        proxy: Arc<str>,
        /// Module path.
        module: String,
    },
    /// `http.Client.do` gives up: one send, of a request and of what it was redirected to.
    SendFailed {
        /// A refused or an endless redirect, or what the transport said; none if it could not be read.
        error: Option<Failure>,
    },
    /// `http.Transport.roundTrip` began: one request, before it has a connection.
    RequestEnter {
        /// HTTP method.
        method: Cow<'static, str>,
        /// URL as go sends it, redacted.
        url: String,
        /// `User-Agent`, `Referer`.
        headers: Headers,
        /// Names of further headers that carry credentials, as far as their names tell; never a value.
        /// None in recordings of before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        credentials: Option<Vec<String>>,
        /// What was longer than its bound, by name (`url`, `headers`).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        cut: Vec<String>,
    },
    /// The request goes onto a connection. A second one inside of a request is a transport retry.
    Try {
        /// `HTTP/1.1` or `HTTP/2.0`.
        protocol: Cow<'static, str>,
        /// This end of the connection, as the server sees it.
        local: Option<SocketAddr>,
        /// The other end.
        remote: Option<SocketAddr>,
        /// Whether there is TLS on it.
        tls: bool,
    },
    /// The request ended: the head of the response, or an error.
    RequestReturn {
        /// Status code.
        status: Option<u16>,
        /// `HTTP/2.0`.
        protocol: Option<Cow<'static, str>>,
        /// Allow-listed headers of the response, redacted; `Location` among them.
        headers: Headers,
        /// Content length as net/http understood it.
        content_length: Option<u64>,
        /// Names the body until [`What::BodyEnd`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        body: Option<u64>,
        /// Why there is no response.
        error: Option<Failure>,
        /// What was longer than its bound, by name (`location`, `headers`).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        cut: Vec<String>,
    },
    /// The body of a response was closed: it was read to its end, or is of no interest any more.
    BodyEnd {
        /// Which.
        body: u64,
        /// Bytes that had not been read, where the length was announced.
        remaining: Option<u64>,
        /// Whether it ended before the announced length.
        short: bool,
        /// What reading it ended with, if not with its end.
        error: Option<Failure>,
    },
    /// A name is to be resolved (`net.(*Resolver).lookupIPAddr`), in the goroutine that dials.
    Resolve {
        /// The name.
        host: String,
    },
    /// The name was resolved, or was not.
    Resolved {
        /// How many addresses it has.
        addresses: u32,
        /// The first of them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        answers: Vec<IpAddr>,
        /// Why it has none.
        error: Option<Failure>,
    },
    /// Go's own resolver begins with a name (`net.(*Resolver).goLookupIPCNAMEOrder`), for all
    /// goroutines that want it now.
    Query {
        /// The name.
        host: String,
    },
    /// It is about to ask a name server (`net.(*Resolver).exchange`), in the goroutine of the query
    /// or in a child of it.
    Exchange {
        /// `ip:port`.
        server: String,
    },
    /// A TCP connection is about to be made (`net.(*sysDialer).dialSingle`), in the goroutine that
    /// dials or, where IPv6 and IPv4 race, in a child of it.
    Dial {
        /// What is meant: `host:port`.
        host: String,
        /// One of its addresses.
        remote: SocketAddr,
    },
    /// A TLS handshake begins (`net/http.(*persistConn).addTLS`), in the goroutine that dials.
    TlsEnter {
        /// The name that the certificate must be for.
        server_name: String,
        /// This end of the connection.
        local: Option<SocketAddr>,
        /// The other end.
        remote: Option<SocketAddr>,
    },
    /// Somebody asks what a TLS connection is like; first, when its handshake has succeeded, the
    /// goroutine that dials.
    TlsState {
        /// The version as on the wire: 0x0304 is TLS 1.3.
        version: u16,
        /// The protocol agreed upon (ALPN): `h2`.
        protocol: Option<String>,
    },
    /// The server wants a certificate from the client, in a goroutine that the handshake's started.
    CertificateWanted,
    /// The handshake ended.
    TlsReturn {
        /// Why it failed.
        error: Option<Failure>,
    },
    /// A TCP socket of the process changed state.
    Tcp {
        /// Names the socket for its lifetime.
        socket: u64,
        /// This end, if it is known yet.
        local: Option<SocketAddr>,
        /// The other end.
        remote: Option<SocketAddr>,
        /// What it came to.
        state: TcpState,
    },
    /// go has a `.info` file in the module cache: it was there, or has just been put there.
    InfoRead {
        /// Its path.
        file: String,
    },
    /// `modfetch.downloadZip` ended badly, for whatever reason: after its walk, a zip that is none.
    ZipFailed {
        /// Why.
        error: Failure,
    },
    /// `modfetch.checkModSum` began: go has a `go.mod` file or a zip, from wherever, and compares it
    /// with `go.sum`.
    SumEnter {
        /// Module path.
        module: String,
        /// Module version, with `/go.mod` after it if it is that file.
        version: String,
    },
    /// `modfetch.checkSumDB` began: contents are compared with the checksum database.
    VerifyEnter {
        /// Module path.
        module: String,
        /// Module version, with `/go.mod` after it if it is about that file alone.
        version: String,
    },
    /// The comparison ended.
    VerifyReturn {
        /// They differ, or the database could not be asked.
        error: Option<Failure>,
    },
    /// go is about to become another toolchain (`toolchain.execGoToolchain`).
    Toolchain {
        /// Path of the other `go`.
        exe: String,
    },
    /// `http.Transport.dialConn` began, in a goroutine started by the one with the request.
    NewConnection,
    /// CONNECT was sent to a forward proxy, in a goroutine started by the one that dials.
    TunnelEnter {
        /// `host:port`.
        target: String,
        /// This end of the connection to the forward proxy.
        local: Option<SocketAddr>,
        /// The forward proxy.
        remote: Option<SocketAddr>,
    },
    /// The forward proxy answered.
    TunnelReturn {
        /// Status code; 200 alone opens the tunnel.
        status: Option<u16>,
        /// Allow-listed headers of the response, redacted.
        headers: Headers,
    },
    /// The goroutine started another program (`os.StartProcess`).
    Spawn {
        /// Its pid.
        child: u32,
    },
    /// A program that the goroutine ran, a version control tool most often, has ended, and had
    /// something to say (`exec.(*Cmd).Wait`).
    #[serde(alias = "command-failed")]
    CommandEnded {
        /// What it wrote to its stderr, redacted; of much the end.
        stderr: String,
    },
    /// What an entry of GOPROXY gave in answer to the last fetch of the goroutine is of no use
    /// (`modfetch.(*proxyRepo).versionError`).
    EntryFailed {
        /// Why.
        error: Failure,
    },
    /// A `go` command wrote to its stderr.
    Stderr {
        /// What it wrote, redacted: usually a line or several.
        text: String,
    },
    /// A process wrote the head of a request of plain HTTP to a socket.
    WireRequest {
        /// The socket, as in [`What::Tcp`].
        socket: u64,
        /// Counts the requests on it.
        number: u32,
        /// HTTP method.
        method: String,
        /// URL as on the wire, redacted; of CONNECT, `host:port`.
        url: String,
        /// `User-Agent`, `Referer`.
        headers: Headers,
        /// What was longer than its bound, by name (`headers`).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        cut: Vec<String>,
    },
    /// A process read the head of the final response to it.
    WireResponse {
        /// The socket.
        socket: u64,
        /// Which request it answers.
        number: u32,
        /// Status code.
        status: u16,
        /// `HTTP/1.1`.
        protocol: String,
        /// Allow-listed headers, redacted.
        headers: Headers,
        /// The length of the body, as announced.
        content_length: Option<u64>,
        /// What was longer than its bound, by name (`headers`, `location`).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        cut: Vec<String>,
    },
    /// What follows on a socket that carried plain HTTP is not read.
    WireLost {
        /// The socket.
        socket: u64,
    },
    /// A line of a go.mod or go.work file that asked for a module which something is wrong with:
    /// looked up when the trace ended.
    Requirement(crate::model::Requirement),
    /// A line of a netrc file that go passed over, for a host that wants credentials: looked up when
    /// the trace ended.
    Netrc(crate::model::NetrcLine),
    /// An executable got its probes, or did not.
    Attach(Attach),
    /// The watch ended before the command did: what came after was not seen.
    WatchEnded {
        /// What failed.
        reason: String,
    },
    /// Events were lost between the kernel and here.
    Lost {
        /// How many, since the last time this was said.
        count: u64,
    },
}

/// Headers by their canonical names, such as `Location`: a few of many requests, for which a tree would
/// be ten times too large.
pub type Headers = LiteMap<Cow<'static, str>, String>;

/// A configuration value that was in force, and where it came from.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Setting {
    /// The value, redacted.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

/// Where a `go` command runs, and what of the user's does not reach it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Surroundings {
    /// Its working directory when it began (`go -C` changes it later), redacted; none if it is not
    /// known, or not what this path leads to for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// What the user's file says of settings to which the environment gives another value,
    /// redacted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub user_file: BTreeMap<String, String>,
    /// Who called the sudo that it runs under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sudo: Option<Sudo>,
    /// The netrc file that go takes credentials from, redacted, be it there or not; none if it takes
    /// none from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netrc: Option<String>,
}

impl Surroundings {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The user who called sudo, and what sudo kept from the command.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Sudo {
    /// Name of the user; none if it has none.
    #[serde(default)]
    pub user: Option<String>,
    /// Settings that would be in force without sudo, and are not; redacted.
    #[serde(default)]
    pub lost: BTreeMap<String, Setting>,
}

/// Where a configuration value came from, strongest first (`cmd/go/internal/cfg`).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The environment of the process.
    Environment,
    /// The user's `go/env` file.
    UserFile,
    /// `$GOROOT/go.env`.
    GorootFile,
    /// Built into go.
    Default,
}

/// TCP states that matter here (`include/net/tcp_states.h`).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TcpState {
    /// A SYN is on its way.
    Connecting,
    /// The connection stands.
    Established,
    /// It ended: by an error if there is one, otherwise in order.
    Closed {
        /// The socket's error (`ECONNREFUSED` is 111); zero for none.
        errno: i32,
    },
}

/// A chain of wrapped errors, outermost first; never empty.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Failure {
    /// The errors.
    pub steps: Vec<FailureStep>,
}

/// One error of a chain.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct FailureStep {
    /// Go type: `*url.Error`, `*net.OpError`, `syscall.Errno`; empty if its name is not known.
    #[serde(rename = "type")]
    pub type_name: String,
    /// A text it carries: the operation of a `*net.OpError`, the message of an `*errors.errorString`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// A name it carries: the host of a `*net.DNSError`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The name server that a `*net.DNSError` is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// A number it carries: an errno, an HTTP status, an HTTP/2 error code, a TLS alert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// An address it carries: where a `*net.OpError` wanted to go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
}

/// What became of the probes in one executable.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Attach {
    /// Path of the executable.
    pub exe: String,
    /// `go1.27.3`; none if it could not be read.
    pub go_version: Option<String>,
    /// Names of the functions that have probes.
    pub hooks: Vec<String>,
    /// Functions that have none, and why.
    pub missing: Vec<MissingHook>,
    /// Whether a process was running in it before the probes were in place.
    pub late: bool,
    /// The release whose layouts were used, where there are none of its own (`go1.27`): all that can
    /// be proven was, and what it says is possible rather than certain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
}

/// A function without a probe.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MissingHook {
    /// The function.
    pub hook: String,
    /// Why it has no probe.
    pub reason: String,
}

/// What a trace begins with.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Start {
    /// Version of proxytrace.
    pub proxytrace: String,
    /// `uname -r`.
    pub kernel: String,
    /// RFC 3339.
    pub started_at: String,
    /// The traced command, redacted.
    pub argv: Vec<String>,
    /// How the probes are attached: `uprobe-multi` or `perf`.
    pub backend: String,
    /// How plain HTTP is read from sockets: `socket` (each send and receive), `kprobe` (the same,
    /// before Linux 6.3) or `syscall` (each system call); none if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wire: Option<String>,
}

/// What a trace ends with.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct End {
    /// Nanoseconds since the trace began.
    #[serde(rename = "t")]
    pub time: u64,
    /// Exit code of the command; 128 + N after signal N.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
}
