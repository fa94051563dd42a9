//! Where what was seen goes: one definition for flags and the configuration file.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::ensure;
use clap::Args;
use ring::digest::{Context, SHA256};
use serde::Deserialize;

use super::port::Access;
use super::post;
use crate::export::metrics::Limits;
use crate::roots;

/// Where Prometheus finds the metrics unless told otherwise.
const METRICS: &str = "127.0.0.1:9478";
/// How much a queue may hold unless told otherwise.
const QUEUE: Size = Size(64 << 20);
/// How much of its files of each kind is kept unless told otherwise.
const KEEP: Size = Size(1 << 30);

/// Where what was seen goes.
#[derive(Args, Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[command(next_help_heading = "Monitoring")]
pub struct Options {
    /// Serve metrics for Prometheus here, `off` for nowhere; 127.0.0.1:9478 if not given.
    ///
    /// Where others than this host can reach it, --metrics-certificate, --metrics-key and
    /// --metrics-token are needed.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub metrics: Option<Listen>,
    /// Certificates to serve metrics with, in PEM, the host's first.
    #[arg(long, value_name = "FILE")]
    pub metrics_certificate: Option<PathBuf>,
    /// The private key of the first certificate, in PEM.
    #[arg(long, value_name = "FILE")]
    pub metrics_key: Option<PathBuf>,
    /// The token that is to be sent as `Authorization: Bearer …` for metrics.
    #[arg(long, value_name = "FILE")]
    pub metrics_token: Option<PathBuf>,
    /// Give some metrics a label `module`: a series for each module, up to --label-values of them.
    #[arg(long)]
    pub label_module: bool,
    /// So many values of a label that comes from outside, and the rest is `other`; 100 if not given.
    #[arg(long, value_name = "N")]
    pub label_values: Option<usize>,
    /// Write the metrics to FILE, which ends in .prom, for the textfile collector of `node_exporter`.
    #[arg(long, value_name = "FILE")]
    pub textfile: Option<PathBuf>,
    /// Send spans, log records and metrics to this OTLP/HTTP collector, such as `http://localhost:4318`.
    #[arg(long, value_name = "URL")]
    pub otlp: Option<String>,
    /// Headers to send to the collector, `Name: value`, one a line.
    #[arg(long, value_name = "FILE")]
    pub otlp_headers: Option<PathBuf>,
    /// Write builds, chains and findings as lines of JSON into DIR; `-` for stdout.
    #[arg(long, value_name = "DIR")]
    pub ndjson: Option<PathBuf>,
    /// How much of the files of each kind to keep; 1GiB if not given.
    #[arg(long, value_name = "SIZE")]
    pub ndjson_keep: Option<Size>,
    /// Insert the same lines into `ClickHouse`: `http://localhost:8123/?database=proxytrace`.
    #[arg(long, value_name = "URL")]
    pub clickhouse: Option<String>,
    /// Headers to send to `ClickHouse`, such as `X-ClickHouse-Key: …`, one a line.
    #[arg(long, value_name = "FILE")]
    pub clickhouse_headers: Option<PathBuf>,
    /// Keep in DIR what could not be sent yet; in memory if not given.
    #[arg(long, value_name = "DIR")]
    pub queue: Option<PathBuf>,
    /// How much each of the queues may hold; 64MiB if not given, in memory 2MiB or the largest build.
    #[arg(long, value_name = "SIZE")]
    pub queue_size: Option<Size>,
    /// What this host is to be compared with others by: a pool, a site, an image.
    #[arg(long, value_name = "NAME")]
    pub host_group: Option<String>,
    /// Do what is done now and then so many times as often: for whoever has less time than an agent.
    #[arg(long, value_name = "N", hide = true)]
    #[serde(skip)]
    pub haste: Option<NonZeroU32>,
}

impl Options {
    /// These, and `other` where these say nothing: flags before the file.
    #[must_use]
    pub fn or(self, other: Options) -> Options {
        Options {
            metrics: self.metrics.or(other.metrics),
            metrics_certificate: self.metrics_certificate.or(other.metrics_certificate),
            metrics_key: self.metrics_key.or(other.metrics_key),
            metrics_token: self.metrics_token.or(other.metrics_token),
            label_module: self.label_module || other.label_module,
            label_values: self.label_values.or(other.label_values),
            textfile: self.textfile.or(other.textfile),
            otlp: self.otlp.or(other.otlp),
            otlp_headers: self.otlp_headers.or(other.otlp_headers),
            ndjson: self.ndjson.or(other.ndjson),
            ndjson_keep: self.ndjson_keep.or(other.ndjson_keep),
            clickhouse: self.clickhouse.or(other.clickhouse),
            clickhouse_headers: self.clickhouse_headers.or(other.clickhouse_headers),
            queue: self.queue.or(other.queue),
            queue_size: self.queue_size.or(other.queue_size),
            host_group: self.host_group.or(other.host_group),
            haste: self.haste.or(other.haste),
        }
    }

    /// Whether exporters can start with these, as far as it depends on nothing else: a file may be
    /// there later, and a port be free.
    pub fn check(&self) -> anyhow::Result<()> {
        for (option, text) in [("otlp", &self.otlp), ("clickhouse", &self.clickhouse)] {
            if let Some(text) = text {
                post::url(option, text)?;
            }
        }
        let is_read = |file: &PathBuf| file.as_os_str().as_encoded_bytes().ends_with(b".prom");
        ensure!(
            self.textfile.as_ref().is_none_or(is_read),
            "--textfile does not end in .prom: node_exporter would not read it"
        );
        Access::check(self)
    }

    /// What is in the files that are read when exporters start, as one sum: it changes with them.
    /// Those of the authorities are among them where somebody has to be known by these.
    pub(in crate::agent) fn contents(&self) -> Box<[u8]> {
        let (file, directories) = post::authorities();
        self.contents_with(&file, &directories)
    }

    fn contents_with(&self, file: &str, directories: &str) -> Box<[u8]> {
        let mut sum = Context::new(&SHA256);
        let mut urls = [&self.otlp, &self.clickhouse].into_iter().flatten();
        if urls.any(|url| url.starts_with("https:")) {
            roots::files(file, directories).for_each(|pem| sum.update(&pem));
        }
        for path in [
            &self.metrics_certificate,
            &self.metrics_key,
            &self.metrics_token,
            &self.otlp_headers,
            &self.clickhouse_headers,
        ] {
            // What is in a pipe can be read once alone, by who uses it.
            let file = path.as_ref().filter(|path| path.is_file());
            let bytes = file.and_then(|path| fs::read(path).ok());
            // Where one ends, and whether there is one, is part of it.
            sum.update(&bytes.as_ref().map_or(u64::MAX, |bytes| bytes.len() as u64).to_le_bytes());
            sum.update(&bytes.unwrap_or_default());
        }
        sum.finish().as_ref().into()
    }

    pub(super) fn listen(&self) -> Option<SocketAddr> {
        let default = || METRICS.parse().expect("an address");
        self.metrics.clone().unwrap_or_else(default).0
    }

    pub(super) fn limits(&self) -> Limits {
        let values = self.label_values.unwrap_or(Limits::default().values);
        let modules = self.label_module.then_some(values);
        Limits { values, modules, ..Limits::default() }
    }

    pub(super) fn queue_size(&self) -> u64 {
        /// In memory, where the agent is to be small.
        const MEMORY: Size = Size(2 << 20);
        let default = if self.queue.is_some() { QUEUE } else { MEMORY };
        self.queue_size.unwrap_or(default).0
    }

    pub(super) fn keep(&self) -> u64 {
        self.ndjson_keep.unwrap_or(KEEP).0
    }
}

/// An address to listen at, or none.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub struct Listen(pub Option<SocketAddr>);

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Listen(None));
        }
        let address = text.parse().map_err(|_| {
            format!("{text:?} is no address with a port, such as 127.0.0.1:9478, nor `off`")
        })?;
        Ok(Listen(Some(address)))
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub struct Size(pub u64);

/// What can stand behind a number.
const UNITS: [(&str, u32); 4] = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("B", 0)];

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unit = UNITS.iter().find_map(|(unit, bits)| Some((text.strip_suffix(unit)?, *bits)));
        let (number, bits) = unit.unwrap_or((text, 0));
        let number: Option<u64> = number.trim_end().parse().ok();
        let bytes = number.and_then(|number| number.checked_mul(1 << bits));
        bytes.map(Size).ok_or_else(|| format!("{text:?} is no size, such as 64MiB"))
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |bits: &u32| self.0 != 0 && self.0.trailing_zeros() >= *bits;
        let unit = UNITS.iter().rev().filter(|(_, bits)| whole(bits)).max_by_key(|(_, bits)| bits);
        let (unit, bits) = unit.unwrap_or(&("B", 0));
        write!(f, "{}{unit}", self.0 >> bits)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;

    use super::*;
    use crate::export::metrics::BUCKETS;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [("0", 0), ("7B", 7), ("64MiB", 64 << 20), ("1 GiB", 1 << 30)] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for broken in ["", "MiB", "-1", "1.5GiB", "1MB", "99999999999GiB"] {
            assert!(broken.parse::<Size>().is_err(), "{broken}");
        }
        assert_eq!(Size(64 << 20).to_string(), "64MiB");
        assert_eq!(Size(1000).to_string(), "1000B");
    }

    #[test]
    fn what_can_never_start_is_known_before() {
        let path = || Some(PathBuf::from("/nowhere"));
        let off = || Options { metrics: Some(Listen(None)), ..Options::default() };
        let open = || Options { metrics: Some("0.0.0.0:9478".parse().unwrap()), ..off() };
        let secured = || Options {
            metrics_certificate: path(),
            metrics_key: path(),
            metrics_token: path(),
            ..open()
        };
        for (options, is_right) in [
            (Options::default(), true),
            (off(), true),
            (open(), false),
            // What is not there may come.
            (secured(), true),
            (Options { metrics_token: None, ..secured() }, false),
            (Options { metrics_key: None, ..secured() }, false),
            (Options { metrics_key: path(), ..Options::default() }, false),
            (Options { otlp: Some("http://collector:4318".to_owned()), ..off() }, true),
            (Options { otlp: Some("collector:4318".to_owned()), ..off() }, false),
            (Options { clickhouse: Some("http://me:x@h:8123".to_owned()), ..off() }, false),
            (Options { textfile: Some("/srv/proxytrace.prom".into()), ..off() }, true),
            (Options { textfile: Some("/srv/proxytrace".into()), ..off() }, false),
        ] {
            assert_eq!(options.check().is_ok(), is_right, "{options:?}");
        }
    }

    #[test]
    fn renewed_files_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| Some(dir.path().join(name));
        let options = Options {
            metrics_certificate: file("certificate"),
            metrics_key: file("key"),
            metrics_token: file("token"),
            otlp_headers: file("otlp"),
            clickhouse_headers: file("clickhouse"),
            ..Options::default()
        };
        let mut seen = vec![options.contents()];
        for name in ["certificate", "key", "token", "otlp", "clickhouse"] {
            for contents in ["", "a", "b"] {
                std::fs::write(dir.path().join(name), contents).unwrap();
                assert!(!seen.contains(&options.contents()), "{name} {contents:?}");
                assert_eq!(options.contents(), options.contents());
                seen.push(options.contents());
            }
        }
    }

    /// As the shell makes one for `<(…)`.
    #[test]
    fn what_is_in_a_pipe_is_left_to_who_uses_it() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"A: b\n").unwrap();
        drop(writer);
        let path = PathBuf::from(format!("/proc/self/fd/{}", reader.as_raw_fd()));
        let options = Options { otlp_headers: Some(path.clone()), ..Options::default() };
        assert_eq!(options.contents(), options.contents());
        assert_eq!(fs::read_to_string(path).unwrap(), "A: b\n");
    }

    #[test]
    fn renewed_authorities_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("authorities");
        let to = |url: &str| Options { otlp: Some(url.to_owned()), ..Options::default() };
        let now = |url: &str| to(url).contents_with(file.to_str().unwrap(), "/nowhere");
        std::fs::write(&file, "a").unwrap();
        let before = [now("https://c"), now("http://c")];
        std::fs::write(&file, "b").unwrap();
        assert_ne!(now("https://c"), before[0]);
        assert_eq!(now("http://c"), before[1]);
    }

    /// `planning.md` counts with 4,000 chains a day, and measures what the spans of one take.
    #[test]
    fn queues_last_as_long_as_planned() {
        let text = include_str!("../../../monitoring/planning.md");
        let spans = text.lines().find(|line| line.starts_with("| spans of OTLP")).unwrap();
        let spans = spans.split(" | ").nth(1).unwrap().split(' ').next().unwrap();
        let a_day = 4_000 * spans.replace(',', "").parse::<u64>().unwrap();
        let on_disk = Options { queue: Some("q".into()), ..Options::default() }.queue_size();
        let in_memory = Options::default().queue_size();
        let (disk, memory) = (on_disk >> 20, in_memory >> 20);
        for said in [
            format!("the {disk} MiB of `--queue` last for {} days of spans.", on_disk / a_day),
            format!("In memory ({memory} MiB) for {} hours;", in_memory * 24 / a_day),
        ] {
            assert!(text.contains(&said), "{said}");
        }
    }

    /// `planning.md` says which bounds there are, and that options change one of them alone.
    #[test]
    fn labels_are_bounded_as_planned() {
        let text = include_str!("../../../monitoring/planning.md");
        let options =
            Options { label_values: Some(7), label_module: true, ..Options::default() }.limits();
        let Limits { values, series, bytes, .. } = Options::default().limits();
        assert_eq!(options, Limits { values: 7, modules: Some(7), series, bytes });
        let (thousands, mebibytes) = (series / 1_000, bytes >> 20);
        let histogram = BUCKETS.len() + ["+Inf", "sum", "count"].len();
        for said in [
            format!(
                "{thousands},000 series (a histogram is {histogram}) and {mebibytes} MiB of text"
            ),
            format!("`--label-values` ({values}) is how many values"),
        ] {
            assert!(text.contains(&said), "{said}");
        }
    }

    #[test]
    fn a_file_says_the_same_as_flags() {
        let file = serde_json::json!({
            "metrics": "off", "label-module": true, "queue-size": "1MiB", "host-group": "ci"
        });
        let file: Options = serde_json::from_value(file).unwrap();
        let flags = Options { host_group: Some("mine".to_owned()), ..Options::default() };
        let both = flags.or(file);
        assert_eq!((both.listen(), both.queue_size()), (None, 1 << 20));
        assert_eq!((both.host_group.as_deref(), both.label_module), (Some("mine"), true));
        assert_eq!(Options::default().listen().unwrap().to_string(), METRICS);
        let unknown = serde_json::from_value::<Options>(serde_json::json!({"metric": "off"}));
        assert!(unknown.is_err());
    }
}
