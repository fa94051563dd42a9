//! Who looks after the exporters of an agent: starts them anew when what they work with has changed,
//! and tells of their failures.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::exporters::{Exporters, Options};
use super::log::{Fields, Log};
use crate::export::{Build, Health};

/// How often the log tells that the same thing fails.
pub(super) const FAILING: Duration = Duration::from_mins(10);

/// The exporters, and what is known of them.
pub(super) struct Supervisor {
    exporters: Exporters,
    /// What they were asked last to work with; none where that could not be had, and is to be tried
    /// again.
    asked: Arc<Mutex<Option<Wanted>>>,
    /// Failures that the log tells of already, and when it did.
    told: BTreeMap<&'static str, (u64, Instant)>,
}

/// Options, and what is in the files that they name.
#[derive(Clone, Eq, PartialEq)]
struct Wanted {
    options: Options,
    contents: Box<[u8]>,
}

impl Wanted {
    fn of(options: &Options) -> Self {
        Wanted { options: options.clone(), contents: options.contents() }
    }
}

impl Supervisor {
    pub(super) fn start(options: &Options, health: &Health) -> anyhow::Result<Self> {
        let wanted = Wanted::of(options);
        let exporters = Exporters::start(options, health)?;
        let asked = Arc::new(Mutex::new(Some(wanted)));
        Ok(Self { exporters, asked, told: BTreeMap::new() })
    }

    pub(super) fn observe(&self, build: Build) {
        self.exporters.observe(build);
    }

    /// How the agent is; and what of it cannot be handed over, which metrics tell only to those who
    /// get them.
    pub(super) fn health(&mut self, health: Health, log: Log) {
        self.exporters.health(health);
        for (exporter, all, why) in self.exporters.failures() {
            let (told, at) = self.told.get(exporter).copied().unzip();
            if told == Some(all) || at.is_some_and(|at| at.elapsed() < FAILING) {
                continue;
            }
            let count = all - told.unwrap_or(0);
            let fields: Fields<'_> = &[("by", &exporter), ("failures", &count), ("error", &why)];
            log.warn("records could not be handed over", fields);
            self.told.insert(exporter, (all, Instant::now()));
        }
    }

    /// Goes on with these options, or with what is in their files now, on their own thread: the
    /// watch does not wait.
    pub(super) fn reload(&self, options: &Options, log: Log) {
        let wanted = Wanted::of(options);
        // Without need they are left alone: what waits in memory would be given up.
        if lock(&self.asked).replace(wanted.clone()).as_ref() == Some(&wanted) {
            return;
        }
        let asked = Arc::clone(&self.asked);
        self.exporters.reload(options.clone(), move |changed| match changed {
            Ok(()) => log.info("exporters have other settings", &[]),
            Err(error) => {
                // Unless something else has been asked for since.
                lock(&asked).take_if(|asked| *asked == wanted);
                let error = format!("{error:#}");
                log.error("exporters go on as before", &[("error", &error)]);
            }
        });
    }

    pub(super) fn finish(self, log: Log) {
        for (name, delivery) in self.exporters.finish() {
            let dropped = delivery.dropped.all();
            if dropped > 0 {
                log.warn("records were dropped", &[("by", &name), ("count", &dropped)]);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::options::{LogFormat, LogLevel};
    use crate::report::samples::healthy;

    #[test]
    fn what_was_asked_for_last_is_what_they_have() {
        let home = tempfile::tempdir().unwrap();
        let to = |name: &str| Options {
            metrics: Some("off".parse().unwrap()),
            ndjson: Some(home.path().join(name)),
            ..Options::default()
        };
        let log = Log { format: LogFormat::Logfmt, level: LogLevel::Error };
        for _ in 0..5 {
            let exporters = Supervisor::start(&to("a"), &Health::default()).unwrap();
            // The second comes while the first is still being done.
            exporters.reload(&to("b"), log);
            exporters.reload(&to("a"), log);
            exporters.observe(Build::new(healthy()));
            exporters.finish(log);
        }
        let lines = |name: &str| {
            let text = std::fs::read_to_string(home.path().join(name).join("builds.ndjson"));
            text.unwrap_or_default().lines().count()
        };
        assert_eq!((lines("a"), lines("b")), (5, 0));
    }
}
