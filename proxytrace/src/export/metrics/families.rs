//! Every metric: its name, what it says, its labels.

/// What kind of numbers a family has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// It grows, until the agent starts again.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Durations in seconds, in [`BUCKETS`].
    Histogram,
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its name; ends in `_total` for counters.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// Whether it has a label `module` where one asks for it.
    pub by_module: bool,
}

/// Upper bounds of the buckets of durations in seconds: 10 ms doubled until a minute is in it, as
/// there are proxies that answer 404 after 60 s.
pub const BUCKETS: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family { name, help, kind: Kind::Counter, labels, by_module: false }
}

const fn by_module(family: Family) -> Family {
    Family { by_module: true, ..family }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family { name, help, kind: Kind::Gauge, labels, by_module: false }
}

macro_rules! families {
    ($($id:ident: $family:expr,)*) => {
        /// Names a family.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub(crate) enum Id { $($id),* }

        /// Every family, in the order of [`Id`].
        pub static FAMILIES: &[Family] = &[$($family),*];
    };
}

families! {
    Fetches: by_module(counter("go_mod_fetch_total", &["proxy", "kind", "outcome"],
        "Entries of GOPROXY asked for an artifact. Scaled by the share of builds that are watched. \
         Without probes of other paths and without what go sends again after a 4xx.")),
    Successes: by_module(counter("go_mod_fetch_success_total", &["proxy", "kind"],
        "Entries of GOPROXY that served an artifact. Scaled by the share of builds that are watched.")),
    Errors: by_module(counter("go_mod_fetch_errors_total", &["proxy", "error_type"],
        "Entries of GOPROXY that failed otherwise than by 404 or 410, which go takes for an answer. \
         Scaled by the share of builds that are watched.")),
    Durations: Family { kind: Kind::Histogram, ..counter("go_mod_fetch_duration_seconds",
        &["proxy", "kind"],
        "From the first request to the end of the last body of a fetch, without what go sends again \
         after a 4xx to get one again. Scaled by the share of builds that are watched.") },
    Requests: Family { kind: Kind::Histogram, ..counter("http_client_request_duration_seconds",
        &["server_address", "server_port", "http_response_status_code", "error_type"],
        "Until the head of the response, by the host that was asked: all requests, probes, redirects \
         and what go sends again included; error_type where there was no response, and no \
         server_port where it is one of loopback that the system gave. Scaled by the share of builds \
         that are watched.") },
    AskedBy: counter("go_mod_fetch_builds_observed_total", &["proxy"],
        "Builds in which go asked the entry, each counted once, not scaled: how sure the scaled sums \
         of the entry are."),
    Operations: counter("go_mod_operations_total", &["kind", "outcome"],
        "Artifacts that go wanted, by what came of all entries together; cached: nobody was asked. \
         Scaled by the share of builds that are watched."),
    Redirects: counter("go_mod_redirects_total", &["proxy", "target_host"],
        "Redirects, by the entry that was asked and the host that they lead to. Scaled by the share \
         of builds that are watched."),
    Fallbacks: counter("go_mod_fallbacks_total", &["from", "to", "reason"],
        "How often go went on to the next entry of GOPROXY, and why: a status or a word. Scaled by \
         the share of builds that are watched."),
    Resends: counter("go_mod_goauth_resends_total", &[],
        "Fetches that go sent again because they ended 4xx (GOAUTH). Scaled by the share of builds \
         that are watched."),
    Findings: by_module(counter("proxytrace_findings_total", &["code", "severity"],
        "Findings, each counted once a build. Scaled by the share of builds that are watched.")),
    FindingsObserved: counter("proxytrace_findings_observed_total", &["code", "severity"],
        "Builds that were seen and have such findings, not scaled: how sure the scaled ones are."),
    Builds: counter("proxytrace_builds_total", &["result"],
        "Commands with go in them that ended: success, failure, unknown. Scaled by the share of \
         builds that are watched."),
    BuildsObserved: counter("proxytrace_builds_observed_total", &[],
        "Builds that were seen and are counted here, not scaled: how sure the scaled sums are."),
    BuildsIncomplete: counter("proxytrace_builds_incomplete_total", &[],
        "Builds of which something was missed, not scaled."),
    Info: gauge("proxytrace_build_info", &["version"], "1, for the version of proxytrace."),
    Share: gauge("proxytrace_sample_share", &[], "The share of builds that are watched now."),
    Wished: gauge("proxytrace_sample_share_wished", &[],
        "The share of builds that is asked for. Fewer are watched to keep within budgets, and none while \
         the kill switch is on."),
    Chosen: counter("proxytrace_builds_chosen_total", &[], "Builds that were chosen to be watched."),
    PassedOver: counter("proxytrace_builds_passed_over_total", &[],
        "Builds that were not chosen to be watched."),
    Running: gauge("proxytrace_builds_running", &[], "Watched builds that have not ended."),
    Events: counter("proxytrace_events_total", &[], "Events that came from the kernel."),
    Lost: counter("proxytrace_events_dropped_total", &[],
        "Events that were lost between the kernel and the agent."),
    Executables: gauge("proxytrace_executables", &[], "Go commands that have probes."),
    Refused: counter("proxytrace_executables_refused_total", &["reason"],
        "Go commands that could not be given probes: release (no such release is known), room (others \
         have it; the next time there may be some), machine (it is for another one), kernel (it took \
         no probes, or did not let the file be read, or watched for changes)."),
    Late: counter("proxytrace_builds_late_total", &[], "Builds of which the beginning was missed."),
    Missed: counter("proxytrace_builds_missed_total", &[],
        "Builds that are not seen: they were running already when the watch began, or were gone before \
         their go command was known."),
    Abandoned: counter("proxytrace_builds_abandoned_total", &[],
        "Builds that were given up, because they were too many or too large, or of which nothing came."),
    Unwatched: counter("proxytrace_builds_unwatched_total", &[],
        "Builds that were chosen between two agents, or by one that was killed, and that none tells of. \
         Counted under systemd."),
    UnwatchedTime: counter("proxytrace_unwatched_seconds_total", &[],
        "How long no agent ran between one and the next, since the machine started."),
    Cpu: counter("proxytrace_cpu_seconds_total", &[], "Processor time of the agent."),
    Resident: gauge("proxytrace_resident_memory_bytes", &[], "Resident memory of the agent."),
    Started: gauge("proxytrace_start_time_seconds", &[],
        "When the agent started, in seconds since 1970."),
    Sent: counter("proxytrace_export_records_total", &["exporter"],
        "Records that were handed over."),
    Dropped: counter("proxytrace_export_dropped_total", &["exporter", "reason"],
        "Records that were given up: busy (the agent's own queue was full), full (the queue was), \
         refused (by the receiver), disk (writing failed), torn (a file was cut off), ended (the \
         agent ended before), closed (port or queue could not be opened again after new settings)."),
    Failures: counter("proxytrace_export_failures_total", &["exporter"],
        "Attempts to hand records over that failed; they are tried again."),
    Queued: gauge("proxytrace_export_queue_bytes", &["exporter"], "Bytes that wait to be sent."),
    Overflows: counter("proxytrace_label_overflows_total", &["label"],
        "How often a label became other, because there were too many values or series."),
}

/// What an agent goes on to count from where the one before it ended.
pub(crate) const HANDED_ON: [Id; 2] = [Id::Unwatched, Id::UnwatchedTime];

impl Id {
    /// What it names.
    pub(crate) fn family(self) -> &'static Family {
        &FAMILIES[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_prometheus_wants_them() {
        for family in FAMILIES {
            assert_eq!(family.name.ends_with("_total"), family.kind == Kind::Counter);
            assert!(family.help.ends_with('.') && !family.help.contains(['\n', '\\']));
            assert_eq!(FAMILIES.iter().filter(|other| other.name == family.name).count(), 1);
        }
        assert_eq!(Id::Overflows as usize, FAMILIES.len() - 1);
    }
}
