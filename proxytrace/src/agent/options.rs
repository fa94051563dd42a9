//! What the agent is asked to do: the same words on the command line and in its file.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde::Deserialize;

use super::exporters::{self, Listen};

/// Where the file is looked for if none is named.
pub const CONFIG: &str = "/etc/proxytrace/agent.toml";
/// Where the agent says how it does, for `proxytrace agent status`.
pub const STATE: &str = "/run/proxytrace/agent.json";
/// The share of builds that are chosen if nothing is said.
const SAMPLE: f64 = 0.05;

/// A share, from 0 to 1: `0.05` or `5%`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(try_from = "Number")]
pub struct Share(f64);

impl Share {
    /// None if it is no share.
    pub fn new(share: f64) -> Option<Self> {
        (0.0..=1.0).contains(&share).then_some(Self(share))
    }

    /// From 0 to 1.
    pub fn get(self) -> f64 {
        self.0
    }
}

/// How much of a processor: `1%` or `0.01`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(try_from = "Number")]
pub struct Processor(f64);

/// Events a second: `500/s` or `500`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(try_from = "Number")]
pub struct Rate(f64);

/// A number as a file may have it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Integer(u32),
    Float(f64),
    Text(String),
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let share = part(text).and_then(Self::new);
        share.ok_or_else(|| "a share is a number from 0 to 1, or 0% to 100%".to_owned())
    }
}

impl FromStr for Processor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let part = part(text).filter(|part| *part > 0.0);
        part.map(Self).ok_or_else(|| "a part of a processor is like 1% or 0.01".to_owned())
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix("/s").unwrap_or(text).trim().parse().ok();
        let rate = number.filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
        rate.map(Self).ok_or_else(|| "a rate is like 500/s".to_owned())
    }
}

/// `5%` or `0.05`.
fn part(text: &str) -> Option<f64> {
    let (number, unit) = match text.strip_suffix('%') {
        Some(percent) => (percent, 0.01),
        None => (text, 1.0),
    };
    let number: f64 = number.trim().parse().ok()?;
    Some(number * unit).filter(|part| part.is_finite())
}

macro_rules! from_number {
    ($($name:ident)*) => {$(
        impl TryFrom<Number> for $name {
            type Error = String;

            fn try_from(number: Number) -> Result<Self, String> {
                match number {
                    Number::Integer(number) => number.to_string(),
                    Number::Float(number) => number.to_string(),
                    Number::Text(text) => text,
                }
                .parse()
            }
        }
    )*};
}

from_number!(Share Processor Rate);

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// `level=info msg="…" key=value`.
    #[default]
    Logfmt,
    /// An object of JSON a line.
    Json,
}

/// Which log lines are written.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// What ends the agent.
    Error,
    /// What is lost or lowered, too.
    Warn,
    /// What changes, too.
    #[default]
    Info,
    /// Every build, too.
    Debug,
}

/// What can be said in the file, and on the command line, which is the stronger.
#[derive(Args, Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Choose this share of all builds: 0.05 or 5%, which it is if not given. The same host and process
    /// are always chosen alike; a build and all that it starts are chosen together.
    #[arg(long, value_name = "SHARE")]
    pub sample: Option<Share>,
    /// Choose less, as long as the agent takes more of a processor than this, such as 1%; no bound if
    /// not given.
    #[arg(long, value_name = "PART")]
    pub max_cpu: Option<Processor>,
    /// Choose less, as long as more events come in than this, such as 500/s; no bound if not given.
    #[arg(long, value_name = "RATE")]
    pub max_events: Option<Rate>,
    /// As long as this file exists, watch nothing, and take all probes out.
    #[arg(long, value_name = "FILE")]
    pub kill_switch: Option<PathBuf>,
    /// Where to write how the agent does, for `agent status`; /run/proxytrace/agent.json if not given.
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// Makes the choice another one; that of a host is made from its name and its machine id.
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// How to write log lines; logfmt if not given.
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Which log lines to write; info if not given.
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<LogLevel>,
    /// Where builds go: in the file, the table `export`.
    #[command(flatten)]
    pub export: exporters::Options,
}

impl Settings {
    /// These, and where they say nothing, `others`.
    #[must_use]
    pub fn over(self, others: Self) -> Self {
        Self {
            sample: self.sample.or(others.sample),
            max_cpu: self.max_cpu.or(others.max_cpu),
            max_events: self.max_events.or(others.max_events),
            kill_switch: self.kill_switch.or(others.kill_switch),
            state: self.state.or(others.state),
            seed: self.seed.or(others.seed),
            log_format: self.log_format.or(others.log_format),
            log_level: self.log_level.or(others.log_level),
            export: self.export.or(others.export),
        }
    }

    pub(super) fn sample(&self) -> Share {
        self.sample.unwrap_or(Share(SAMPLE))
    }

    pub(super) fn budgets(&self) -> Budgets {
        let (cpu, events) = (self.max_cpu.map(|it| it.0), self.max_events.map(|it| it.0));
        Budgets { cpu, events }
    }

    pub(super) fn state(&self) -> &Path {
        self.state.as_deref().unwrap_or(Path::new(STATE))
    }
}

/// What the agent may use.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Budgets {
    /// Of one processor.
    pub(super) cpu: Option<f64>,
    /// A second.
    pub(super) events: Option<f64>,
}

/// The command line of `proxytrace agent`.
#[derive(Args, Clone, Debug, Default)]
#[group(id = "agent")]
pub struct Options {
    /// Read settings from FILE, and again on SIGHUP; /etc/proxytrace/agent.toml if it is there.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Write builds to stdout, a JSON object with its trace each, and end after --for.
    #[arg(long, requires = "duration")]
    pub once: bool,
    /// How long to watch: 60s, 5m.
    #[arg(long = "for", value_name = "TIME", id = "duration", value_parser = duration)]
    pub duration: Option<Duration>,
    /// The settings.
    #[command(flatten)]
    pub settings: Settings,
}

impl Options {
    /// What is to be done: the command line's word, and the file's where that has none. What no agent
    /// could start with is an error: the next would end in the same way.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        let path = self.config.as_deref().unwrap_or(Path::new(CONFIG));
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if self.config.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                String::new()
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let file = parse(&text).with_context(|| format!("{} is wrong", path.display()))?;
        let settings = self.over(file);
        settings.export.check()?;
        Ok(settings)
    }

    fn over(&self, mut file: Settings) -> Settings {
        if self.once && self.config.is_none() {
            // Those are the service's, which may be running: its port, its queue, its files, and
            // what it says of itself.
            file.export = exporters::Options::default();
            file.state = None;
        }
        let mut settings = self.settings.clone().over(file);
        if self.once {
            // Whoever asks for it will find it; nobody expects it of a short run.
            settings.export.metrics.get_or_insert(Listen(None));
        }
        settings
    }
}

fn parse(text: &str) -> anyhow::Result<Settings> {
    Ok(toml::from_str(text)?)
}

/// No watch is longer: its end is a time that there is.
const LONGEST: Duration = Duration::from_hours(366 * 24);

fn duration(text: &str) -> Result<Duration, String> {
    let duration = text.parse::<jiff::SignedDuration>().ok();
    let duration = duration.and_then(|duration| Duration::try_from(duration).ok());
    let duration = duration.filter(|it| !it.is_zero()).ok_or("a time is like 60s or 5m")?;
    let duration = Some(duration).filter(|it| *it <= LONGEST);
    duration.ok_or_else(|| "a time is at most a year, 8784h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_with_units_or_without() {
        for (text, share) in [("0.05", 0.05), ("5%", 0.05), ("1", 1.0), ("0", 0.0), ("100%", 1.0)] {
            assert!((text.parse::<Share>().unwrap().get() - share).abs() < 1e-12, "{text}");
        }
        for text in ["", "2", "-0.1", "101%", "NaN", "inf", "5 %%", "x"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
        assert_eq!("1%".parse(), Ok(Processor(0.01)));
        assert_eq!("200%".parse(), Ok(Processor(2.0)));
        assert!("0".parse::<Processor>().is_err());
        assert_eq!("500/s".parse(), Ok(Rate(500.0)));
        assert_eq!("500".parse(), Ok(Rate(500.0)));
        assert!("500/m".parse::<Rate>().is_err());
        assert_eq!(duration("60s"), Ok(Duration::from_mins(1)));
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert!(duration("-1s").is_err() && duration("0s").is_err() && duration("60").is_err());
        assert_eq!(duration("8784h"), Ok(LONGEST));
        for text in ["8784h 1s", "9223372036854775807s"] {
            assert!(duration(text).unwrap_err().contains("at most a year"), "{text}");
        }
    }

    #[test]
    fn the_command_line_is_stronger_than_the_file() {
        let file = "sample = 0.1\nmax-cpu = \"2%\"\nmax-events = 100\nlog-format = \"json\"\n\
            kill-switch = \"/run/off\"\n[export]\nmetrics = \"off\"\n";
        let file = parse(file).unwrap();
        assert_eq!(file.budgets(), Budgets { cpu: Some(0.02), events: Some(100.0) });
        let flags = Settings { sample: Share::new(1.0), ..Settings::default() };
        let both = flags.over(file.clone());
        assert_eq!(both, Settings { sample: Share::new(1.0), ..file });
    }

    #[test]
    fn a_short_run_leaves_what_the_service_exports_to_the_service() {
        let file = "sample = 0.1\nstate = \"/run/a\"\n[export]\nndjson = \"/var/lib/a\"\n";
        let file = || parse(file).unwrap();
        let metrics = Some(Listen(None));
        let service = Options::default();
        assert_eq!(service.over(file()), file());
        let once = Options { once: true, ..Options::default() };
        let export = exporters::Options { metrics: metrics.clone(), ..Default::default() };
        assert_eq!(once.over(file()), Settings { export, state: None, ..file() });
        // It has been asked for.
        let named = Options { config: Some("mine.toml".into()), ..once };
        let export = exporters::Options { metrics, ..file().export };
        assert_eq!(named.over(file()), Settings { export, ..file() });
    }

    /// systemd takes the directories of a unit below /run away when it ends.
    #[test]
    fn the_shipped_kill_switch_outlives_a_restart() {
        let settings = parse(include_str!("../../agent/agent.toml")).unwrap();
        let unit = include_str!("../../agent/proxytrace-agent.service");
        let directories = unit.lines().filter_map(|line| line.strip_prefix("RuntimeDirectory="));
        let mut directories = directories.flat_map(str::split_whitespace).peekable();
        assert!(directories.peek().is_some());
        let switch = settings.kill_switch.unwrap();
        for directory in directories {
            assert!(!switch.starts_with(PathBuf::from("/run").join(directory)), "{switch:?}");
        }
    }

    #[test]
    fn a_wrong_file_says_where() {
        for (text, place) in [
            ("sampel = 1", "sampel"),
            ("sample = 2", "line 1"),
            ("sample = [", "line 1"),
            // A flag for tests alone.
            ("[export]\nhaste = 50", "haste"),
        ] {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains(place), "{text}: {error}");
        }
        assert_eq!(parse("").unwrap(), Settings::default());
    }

    /// A reload takes nothing with which the next agent would not start.
    #[test]
    fn what_could_not_start_is_not_taken_in_part() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let options = Options { config: Some(file.path().to_owned()), ..Options::default() };
        for (export, is_right) in [
            ("metrics = \"off\"", true),
            ("metrics = \"0.0.0.0:9478\"", false),
            ("otlp = \"collector:4318\"", false),
        ] {
            std::fs::write(file.path(), format!("sample = 1\n[export]\n{export}\n")).unwrap();
            assert_eq!(options.settings().is_ok(), is_right, "{export}");
        }
    }
}
