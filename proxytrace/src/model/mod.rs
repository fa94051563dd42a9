//! The trace: what the JSON contract `proxytrace.trace/v1` says, as types.
//!
//! Times are nanoseconds since the trace began, durations too. Unknown is `None`, never a guess or
//! a zero. Fields may be added; a rename or another type is a new version of the schema.

mod network;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::network::{
    AfterRedirect, Cause, Connection, NameLookup, Request, RequestError, Tls, Witness,
};
use crate::event::{Attach, Setting, Surroundings};

/// The name and version of the contract.
pub const SCHEMA: &str = "proxytrace.trace/v1";

/// Names a request within its trace.
pub type RequestId = u32;
/// Names a chain within its trace.
pub type ChainId = u32;
/// Names a process within its trace. Not the pid: those come back.
pub type ProcessId = u32;
/// Names a connection within its trace.
pub type ConnectionId = u32;

/// One run of proxytrace.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Trace {
    /// [`SCHEMA`].
    pub schema: String,
    /// Version of proxytrace.
    pub proxytrace: String,
    /// `uname -r` of the traced machine.
    pub kernel: String,
    /// RFC 3339.
    pub started_at: String,
    /// The traced command.
    pub command: Command,
    /// Every program image of the command's tree.
    pub processes: Vec<Process>,
    /// What was fetched, or asked for.
    pub chains: Vec<Chain>,
    /// TCP connections.
    pub connections: Vec<Connection>,
    /// Names that were resolved. A name can be resolved several times at once: for each connection
    /// that is made go asks, and the answer is shared.
    #[serde(default)]
    pub lookups: Vec<NameLookup>,
    /// Where the modules of the findings were asked for.
    #[serde(default)]
    pub requirements: Vec<Requirement>,
    /// Lines of netrc files that go passed over, for hosts that want credentials.
    #[serde(default)]
    pub netrc: Vec<NetrcLine>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// How complete all this is.
    pub capture: Capture,
}

/// The traced command.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Command {
    /// Its arguments, redacted.
    pub argv: Vec<String>,
    /// Exit code; 128 + N after signal N.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// How long it ran; none if its end was not seen.
    pub duration_ns: Option<u64>,
}

/// One program image in the command's tree.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Process {
    /// Its name in this trace.
    pub id: ProcessId,
    /// Pid.
    pub pid: u32,
    /// The process that forked it, or the image it was before.
    pub parent: Option<ProcessId>,
    /// Arguments, redacted.
    pub argv: Vec<String>,
    /// Path of the executable.
    pub exe: String,
    /// `go1.27.3`, for a `go` command.
    pub go_version: Option<String>,
    /// Effective configuration of a `go` command.
    pub config: BTreeMap<String, Setting>,
    /// Where a `go` command ran, and what of the user's did not reach it.
    #[serde(default, skip_serializing_if = "Surroundings::is_empty")]
    pub surroundings: Surroundings,
    /// When it became this image.
    pub started_ns: u64,
    /// When it ended or became another image.
    pub ended_ns: Option<u64>,
    /// Exit code.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The last lines that a `go` command wrote to stderr, at most 4,096 bytes of them, or what a
    /// version control tool that it ran wrote before it failed; null if it wrote none, or was not
    /// seen to.
    pub stderr_tail: Option<String>,
}

/// What a chain is about.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Artifact {
    /// `@v/list`.
    List,
    /// `@latest`.
    Latest,
    /// `@v/<version>.info`.
    Info,
    /// `@v/<version>.mod`.
    Mod,
    /// `@v/<version>.zip`.
    Zip,
    /// `sumdb/<name>/supported`.
    SumdbSupported,
    /// `/lookup/<module>@<version>`.
    SumdbLookup,
    /// `/tile/…`.
    SumdbTile,
    /// `https://<path>?go-get=1`.
    GoGet,
    /// What a version-control tool fetched. Without a module: what any program that is not go
    /// fetched by plain HTTP for its own sake, a chain for each process.
    Vcs,
}

/// All that was done to get one artifact of one module in one process.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Chain {
    /// Its name in this trace.
    pub id: ChainId,
    /// The process.
    pub process: ProcessId,
    /// Module path; none for parts of the checksum database that belong to no module.
    pub module: Option<String>,
    /// Version or query; none for `list` and `latest`.
    pub version: Option<String>,
    /// What was wanted.
    pub artifact: Artifact,
    /// How it ended.
    pub outcome: Outcome,
    /// When it began.
    pub started_ns: u64,
    /// How long it took; none if it did not end.
    pub duration_ns: Option<u64>,
    /// What says otherwise than what go has, where the outcome is `checksum` and that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contradicted_by: Option<Contradiction>,
    /// What go ran to fetch it: version control tools.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<ProcessId>,
    /// The GOPROXY entries tried, in order; none for what was in the module cache.
    pub attempts: Vec<Attempt>,
}

/// What the checksum of a file is compared with.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Contradiction {
    /// The main module's `go.sum`, or `go.work.sum`.
    GoSum,
    /// What the checksum database itself said before: its tree has forked.
    SumdbBefore,
}

/// One entry of the GOPROXY list tried for a chain.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Attempt {
    /// The entry as go uses it (scheme added), redacted; or `direct`, `noproxy`, `off`.
    pub proxy: String,
    /// 0-based in the list go walks, the implicit `noproxy` counted; none if not in the list.
    pub index: Option<u32>,
    /// The separator after the entry in GOPROXY.
    pub separator: Option<Separator>,
    /// How it ended.
    pub outcome: Outcome,
    /// Where the walk went; none when it succeeded here.
    pub next: Option<Next>,
    /// Why, in words.
    pub reason: String,
    /// The HTTP requests made.
    pub requests: Vec<Request>,
}

/// What stands after an entry of GOPROXY.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Separator {
    /// Go on after 404 and 410 alone.
    #[serde(rename = ",")]
    Comma,
    /// Go on after any error.
    #[serde(rename = "|")]
    Pipe,
}

/// Where the walk went after an attempt that did not succeed.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Next {
    /// It ended here.
    Stop,
    /// To the next entry.
    NextEntry,
    /// To the entry `direct`.
    Direct,
}

/// How a request, an attempt or a chain ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It succeeded.
    Ok,
    /// 404 or 410.
    NotFound,
    /// Another status that is a failure.
    HttpError,
    /// A redirect that go does not follow (https to http).
    RedirectRefused,
    /// More than ten redirects.
    RedirectLimit,
    /// A redirect without a Location, or with a broken one.
    RedirectInvalid,
    /// The name could not be resolved.
    Dns,
    /// Connection refused.
    ConnectRefused,
    /// No answer to the connection attempt.
    ConnectTimeout,
    /// No route.
    Unreachable,
    /// The certificate's authority is not known.
    TlsUnknownAuthority,
    /// Another failure of TLS.
    TlsOther,
    /// The forward proxy refused.
    ProxyRefused,
    /// The connection or the stream was reset.
    Reset,
    /// The body ended early.
    Truncated,
    /// The body is not what it should be.
    BadContent,
    /// The checksum does not match, or could not be verified (then the request is `ok`).
    Checksum,
    /// It was given up.
    Canceled,
    /// It came from the module cache.
    Cached,
    /// It had not ended when the process did.
    Unfinished,
    /// Not known.
    Unknown,
}

impl Outcome {
    /// Whether a host could not be asked, as opposed to one that answered badly.
    pub(crate) fn is_unreached(self) -> bool {
        matches!(
            self,
            Self::Dns
                | Self::ConnectRefused
                | Self::ConnectTimeout
                | Self::Unreachable
                | Self::TlsUnknownAuthority
                | Self::TlsOther
                | Self::ProxyRefused
        )
    }
}

/// A line of a go.mod or go.work file.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Requirement {
    /// The file.
    pub file: String,
    /// 1-based.
    pub line: u32,
    /// The module that it asks for; `golang.org/toolchain` for the lines `go` and `toolchain`.
    pub module: String,
    /// The version, as it stands there.
    pub version: String,
    /// The file from the root of the repository, as CIs want it; none where there is none.
    #[serde(default)]
    pub path: Option<String>,
}

/// A line of a netrc file for a host without a port, which go does not take for the same host with
/// one.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NetrcLine {
    /// The file.
    pub file: String,
    /// 1-based.
    pub line: u32,
    /// The host. Nothing else of the line is kept.
    pub host: String,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Something is wrong, though nothing failed for it.
    Warning,
    /// A chain failed for it.
    Error,
}

/// What a finding is to the chain that failed.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The reason.
    Root,
    /// Also true of it.
    Contributing,
}

/// How sure a finding is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// The capture was complete.
    Certain,
    /// It was not, or the catalogue calls this a hypothesis.
    Possible,
}

/// Something worth saying, with its evidence.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Finding {
    /// `PT006`.
    pub code: String,
    /// `redirect-target-status`.
    pub slug: String,
    /// How bad it is.
    pub severity: Severity,
    /// What it is to the failure.
    pub role: Role,
    /// The first chain it is about.
    pub chain: Option<ChainId>,
    /// All chains it is about.
    pub chains: Vec<ChainId>,
    /// Module of the first chain.
    pub module: Option<String>,
    /// Version of the first chain.
    pub version: Option<String>,
    /// All modules, as `module@version`, or `module` where there is no version.
    pub modules: Vec<String>,
    /// The evidence.
    pub requests: Vec<RequestId>,
    /// What happened.
    pub message: String,
    /// What to do.
    pub advice: String,
    /// How sure it is.
    pub confidence: Confidence,
    /// The lines that asked for its modules, as far as they were found.
    #[serde(default)]
    pub sources: Vec<Requirement>,
}

/// How complete the trace is.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Capture {
    /// Events read.
    pub events: u64,
    /// Events lost.
    pub lost: u64,
    /// Executables with probes.
    pub attach: Vec<Attach>,
    /// How the probes were attached: `uprobe-multi` or `perf`; `log` or `preflight` where there were
    /// none.
    pub backend: String,
    /// What ended the watch before the command ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch_ended: Option<String>,
    /// Nothing lost, nothing missing, nothing late, watched to the end, and the two witnesses do not
    /// disagree.
    pub complete: bool,
    /// How plain HTTP was read from sockets: `socket` (each send and receive), `kprobe` (the same,
    /// before Linux 6.3) or `syscall` (each system call); none if it was not.
    #[serde(default)]
    pub wire: Option<String>,
    /// How far go and its sockets say the same of plain HTTP; none if only one was asked.
    #[serde(default)]
    pub witnesses: Option<Witnesses>,
}

/// The requests of `go` commands that go and its sockets could both see: those over plain HTTP, and
/// CONNECT.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Witnesses {
    /// Requests with the same method, URL and status.
    pub agreed: u64,
    /// Requests that only the socket saw.
    pub wire_only: u64,
    /// Requests that only go saw.
    pub go_only: u64,
    /// Requests of which they say different things.
    pub disagreed: u64,
    /// Connections, of any program, whose plain HTTP could not be read to its end.
    pub unread: u32,
}
