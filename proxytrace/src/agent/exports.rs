//! The exporters of an agent: started anew when what they work with has changed, and their failures
//! told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::exporters::{Exporters, Options};
use super::log::{Fields, Log};
use crate::export::{Build, Health};

/// How often the log tells that the same exporter fails.
const FAILING: Duration = Duration::from_mins(10);

/// The exporters.
pub(super) struct Exports {
    exporters: Exporters,
    /// What they work with; none where that could not be had, and is to be tried again.
    has: Arc<Mutex<Option<Wanted>>>,
    /// Failures that the log tells of already, and when it did.
    told: BTreeMap<&'static str, (u64, Instant)>,
}

/// Options, and what is in the files that they name.
#[derive(Eq, PartialEq)]
struct Wanted {
    options: Options,
    contents: Box<[u8]>,
}

impl Wanted {
    fn of(options: &Options) -> Self {
        Wanted { options: options.clone(), contents: options.contents() }
    }
}

impl Exports {
    pub(super) fn start(options: &Options) -> anyhow::Result<Self> {
        let wanted = Wanted::of(options);
        let exporters = Exporters::start(options)?;
        let has = Arc::new(Mutex::new(Some(wanted)));
        Ok(Self { exporters, has, told: BTreeMap::new() })
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
        let (wanted, has) = (Wanted::of(options), Arc::clone(&self.has));
        // Without need they are left alone: what waits in memory would be given up.
        if lock(&has).as_ref() == Some(&wanted) {
            return;
        }
        self.exporters.reload(options.clone(), move |changed| match changed {
            Ok(()) => {
                *lock(&has) = Some(wanted);
                log.info("exporters have other settings", &[]);
            }
            Err(error) => {
                *lock(&has) = None;
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
