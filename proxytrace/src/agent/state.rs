//! How the agent does, in a file for whoever asks.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use nix::time::ClockId;
use serde::{Deserialize, Serialize};

use super::replace::replace;
use crate::export::Health;

/// From this age on nobody seems to write it any more.
const STALE: SignedDuration = SignedDuration::from_secs(30);

/// What the file says.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct State {
    /// Version of proxytrace.
    pub version: String,
    /// Pid of the agent.
    pub pid: u32,
    /// When it began, and when this was written: RFC 3339.
    pub started_at: Timestamp,
    /// See `started_at`.
    pub written_at: Timestamp,
    /// How long it had run when this was written, in nanoseconds: clocks may be set.
    #[serde(default)]
    pub uptime_ns: u64,
    /// The boot in which that was (`/proc/sys/kernel/random/boot_id`), and when, by
    /// `CLOCK_BOOTTIME`, in nanoseconds.
    #[serde(default)]
    pub boot_id: String,
    /// See `boot_id`.
    #[serde(default)]
    pub written_ns: u64,
    /// Whether the kill switch is on.
    pub is_off: bool,
    /// Whether the agent has ended, and said so.
    #[serde(default)]
    pub has_ended: bool,
    /// Builds that were handed on.
    pub handed_on: u64,
    /// What the agent says of itself.
    pub health: Health,
}

impl State {
    /// Writes it, as a whole.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        replace(path, &serde_json::to_vec(self)?)
    }

    /// Reads it.
    pub fn read(path: &Path) -> io::Result<Self> {
        Ok(serde_json::from_str(&fs::read_to_string(path)?)?)
    }

    /// How long ago it was written; none if the machine was started since.
    pub(super) fn age(&self) -> Option<Duration> {
        let now = since_boot().checked_sub(Duration::from_nanos(self.written_ns))?;
        (!self.boot_id.is_empty() && self.boot_id == boot_id()).then_some(now)
    }

    /// Whether the agent seems to be running, at this time; `lives` says whether its process exists.
    pub fn is_running(&self, now: Timestamp, lives: bool) -> bool {
        lives && !self.has_ended && now.duration_since(self.written_at) < STALE
    }

    /// What a service manager shows of one that runs, in a line.
    pub(super) fn line(&self) -> String {
        if self.is_off {
            return "the kill switch is on: nothing is watched".to_owned();
        }
        let Health { share, lost, executables, refused, .. } = self.health;
        let handed_on = self.handed_on;
        let blind = if executables == 0 && refused > 0 {
            "; no go command could be given probes, see the log"
        } else {
            ""
        };
        let share = percent(share);
        format!("watching {share} of builds: {handed_on} handed on, {lost} events lost{blind}")
    }

    /// For a person.
    pub fn render(&self, now: Timestamp, lives: bool) -> String {
        let age = Duration::from_nanos(self.uptime_ns);
        let mut text = String::new();
        let is_running = self.is_running(now, lives);
        let running = if self.has_ended {
            format!("not running: ended at {}", self.written_at)
        } else if !is_running {
            format!("not running: last heard of at {}", self.written_at)
        } else if self.is_off {
            "off: the kill switch is on, nothing is watched".to_owned()
        } else {
            let age = SignedDuration::from_secs(age.as_secs().cast_signed());
            format!("running for {age:#}")
        };
        // Where nothing is watched, it is for other reasons.
        let is_watching = !self.is_off && !self.has_ended;
        let lowered = if is_watching && self.health.share < self.health.wished {
            let wished = percent(self.health.wished);
            format!(" (lowered from {wished} to keep within the budgets)")
        } else {
            String::new()
        };
        let seconds = age.as_secs_f64().max(1.0);
        #[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
        let (cpu, memory) = (
            self.health.cpu_ns as f64 / 1e9 / seconds,
            self.health.resident as f64 / f64::from(1 << 20),
        );
        let unwatched = Duration::from_nanos(self.health.unwatched_ns).as_secs_f64();
        let unwatched = if unwatched > 0.0 {
            format!(", {} in {unwatched:.0} s between agents", self.health.unwatched)
        } else {
            String::new()
        };
        for (name, value) in [
            ("agent", format!("{running} (pid {}, version {})", self.pid, self.version)),
            ("share", format!("{} of builds{lowered}", percent(self.health.share))),
            (
                "builds",
                format!(
                    "{} chosen, {} passed over; {} running, {} handed on",
                    self.health.chosen,
                    self.health.passed_over,
                    self.health.running,
                    self.handed_on
                ),
            ),
            (
                "missed",
                format!(
                    "{} events lost, {} builds met late, {} given up, {} that ran before{unwatched}",
                    self.health.lost, self.health.late, self.health.abandoned, self.health.missed
                ),
            ),
            (
                "go commands",
                format!("{} with probes, {} refused", self.health.executables, self.health.refused),
            ),
            (
                "cost",
                format!(
                    "{} of a processor, {memory:.1} MiB, {} events",
                    percent(cpu),
                    self.health.events
                ),
            ),
        ] {
            let _ = writeln!(text, "{name:>11}  {value}");
        }
        text
    }
}

/// Which boot of the machine this is.
pub(super) fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.map_or_else(|_| String::new(), |id| id.trim_end().to_owned())
}

/// Time since then, sleep included.
pub(super) fn since_boot() -> Duration {
    ClockId::CLOCK_BOOTTIME.now().map_or(Duration::ZERO, Duration::from)
}

fn percent(share: f64) -> String {
    format!("{:.3}%", share * 100.0)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn state() -> State {
        let at: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        State {
            version: "0.1.0".into(),
            pid: 7,
            started_at: at,
            written_at: at + SignedDuration::from_secs(100),
            uptime_ns: 100_000_000_000,
            boot_id: boot_id(),
            written_ns: since_boot().as_nanos().try_into().unwrap(),
            is_off: false,
            has_ended: false,
            handed_on: 3,
            health: Health {
                share: 0.025,
                wished: 0.05,
                cpu_ns: 1_000_000_000,
                ..Health::default()
            },
        }
    }

    #[test]
    fn a_person_sees_whether_it_runs() {
        let state = state();
        let now = state.written_at;
        let text = state.render(now, true);
        assert!(text.contains("running for 1m 40s (pid 7"), "{text}");
        assert!(text.contains("2.500% of builds (lowered from 5.000%"), "{text}");
        assert!(text.contains("1.000% of a processor"), "{text}");
        let off = State { is_off: true, ..state.clone() }.render(now, true);
        assert!(off.contains("kill switch") && !off.contains("lowered"), "{off}");
        let ended = State { has_ended: true, ..state.clone() };
        let text = ended.render(now, true);
        assert!(text.contains("not running: ended at 2026-01-02T03:05:45Z"), "{text}");
        assert!(!text.contains("lowered") && !ended.is_running(now, true), "{text}");
        for (now, lives) in [(now, false), (now + SignedDuration::from_secs(31), true)] {
            assert!(state.render(now, lives).contains("not running"));
        }
    }

    #[test]
    fn a_service_manager_is_told_in_a_line() {
        let state = state();
        assert_eq!(state.line(), "watching 2.500% of builds: 3 handed on, 0 events lost");
        let blind = Health { refused: 1, ..state.health.clone() };
        let blind = State { health: blind, ..state.clone() }.line();
        assert!(blind.ends_with("no go command could be given probes, see the log"), "{blind}");
        let off = State { is_off: true, ..state };
        assert!(off.line().contains("kill switch"), "{}", off.line());
    }

    #[test]
    fn its_age_is_known_within_a_boot() {
        let state = state();
        assert!(state.age().unwrap() < Duration::from_mins(1));
        let later = State { written_ns: u64::MAX, ..state.clone() };
        let other = State { boot_id: "another".into(), ..state.clone() };
        let old = State { boot_id: String::new(), ..state };
        assert_eq!([later.age(), other.age(), old.age()], [None; 3]);
    }

    #[test]
    fn a_gap_is_shown() {
        let mut state = state();
        assert!(!state.render(state.written_at, true).contains("between agents"));
        (state.health.unwatched, state.health.unwatched_ns) = (2, 12_300_000_000);
        let text = state.render(state.written_at, true);
        assert!(text.contains(", 2 in 12 s between agents\n"), "{text}");
    }

    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/agent.json");
        for pid in [1, 2] {
            let state = State { pid, ..state() };
            state.write(&path).unwrap();
            assert_eq!(State::read(&path).unwrap(), state);
        }
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn nothing_is_left_of_what_cannot_be_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.json");
        fs::create_dir(&path).unwrap();
        state().write(&path).unwrap_err();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
