//! What is sent elsewhere: a queue each, and who empties it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use hyper::Uri;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use ring::digest::{SHA256, digest};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::ledger::{Ledger, lock};
use super::options::Options;
use super::post::{self, Answer, Receiver};
use super::spool::{Batch, Spool};
use super::{Pace, stop::Stop};
use crate::export::rows::Record;
use crate::export::{hex, otlp};
use crate::redact;

const PROTOBUF: &str = "application/x-protobuf";
const LINES: &str = "application/x-ndjson";
/// So much of a receiver's message is told, in characters.
const WHY: usize = 200;

/// What is sent, and so how.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Signal {
    Spans,
    Logs,
    Metrics,
    Rows(Record),
}

impl Signal {
    /// The name of its exporter and of its queue.
    pub(super) fn name(self) -> &'static str {
        match self {
            Signal::Spans => "otlp-spans",
            Signal::Logs => "otlp-logs",
            Signal::Metrics => "otlp-metrics",
            Signal::Rows(Record::Build) => "clickhouse-builds",
            Signal::Rows(Record::Chain) => "clickhouse-chains",
            Signal::Rows(Record::Finding) => "clickhouse-findings",
        }
    }

    /// Whether it may go better another time. OTLP says which statuses (specification, "Failures"), but
    /// for 408, by which servers and what stands before them say that they are busy;
    /// `ClickHouse` answers 4xx also for what its operators mend: a table, a user, a grant.
    fn passes(self, status: u16) -> bool {
        match self {
            Signal::Spans | Signal::Logs | Signal::Metrics => is_of_the_way(status),
            Signal::Rows(_) => status != 400 && status != 413,
        }
    }

    /// Records that the receiver took and threw away, and why.
    fn rejected(self, answer: &Bytes) -> Option<(u64, String)> {
        let (rejected, why) = match self {
            Signal::Spans => {
                let said = ExportTraceServiceResponse::decode(&**answer).ok()?.partial_success?;
                (said.rejected_spans, said.error_message)
            }
            Signal::Logs => {
                let said = ExportLogsServiceResponse::decode(&**answer).ok()?.partial_success?;
                (said.rejected_log_records, said.error_message)
            }
            Signal::Metrics => {
                let said = ExportMetricsServiceResponse::decode(&**answer).ok()?.partial_success?;
                (said.rejected_data_points, said.error_message)
            }
            Signal::Rows(_) => return None,
        };
        // A message without a number is advice.
        let rejected = u64::try_from(rejected).ok().filter(|rejected| *rejected > 0)?;
        // It may have in it what was sent; a secret that is cut is not known as one any more.
        let why: String = redact::text(&why).chars().take(WHY).collect();
        Some((rejected, format!("took a part alone: {why}")))
    }
}

/// Whether a status says that a server, or who stands before it, is busy or away.
fn is_of_the_way(status: u16) -> bool {
    matches!(status, 408 | 429 | 502 | 503 | 504)
}

/// Counts what of something that was sent the receiver threw away.
fn correct(ledger: &Ledger, signal: Signal, sent: u64, said: &Bytes) {
    let Some((rejected, why)) = signal.rejected(said) else { return };
    let rejected = rejected.min(sent);
    ledger.refused(why);
    let mut book = ledger.book();
    book.sent -= rejected;
    book.dropped.refused += rejected;
}

/// A queue, and where it leads to.
pub(super) struct Remote {
    pub(super) signal: Signal,
    pub(super) spool: Arc<Mutex<Spool>>,
    ledger: Ledger,
    receiver: Receiver,
    to: Uri,
}

/// Where everything is to be sent: what is in files has been read.
#[derive(Clone, Default)]
pub(super) struct Destinations {
    queues: Vec<(Signal, Receiver, Uri)>,
    metrics: Option<(Receiver, Uri)>,
}

impl Destinations {
    /// As the options have it.
    pub(super) fn read(options: &Options, pace: Pace) -> anyhow::Result<Self> {
        let mut all = Destinations::default();
        if let Some(text) = &options.otlp {
            let base = post::url("otlp", text)?;
            let receiver = Receiver::new(options.otlp_headers.as_deref(), pace.post)?;
            for (signal, path) in [(Signal::Spans, "/v1/traces"), (Signal::Logs, "/v1/logs")] {
                all.queues.push((signal, receiver.clone(), below(&base, path)?));
            }
            all.metrics = Some((receiver, below(&base, "/v1/metrics")?));
        }
        if let Some(text) = &options.clickhouse {
            let base = post::url("clickhouse", text)?;
            let receiver = Receiver::new(options.clickhouse_headers.as_deref(), pace.post)?;
            for record in Record::ALL {
                let to = insert(&base, record)?;
                all.queues.push((Signal::Rows(record), receiver.clone(), to));
            }
        }
        Ok(all)
    }
}

/// All queues, and where metrics go.
pub(super) struct Remotes {
    pub(super) queues: Vec<Remote>,
    pub(super) metrics: Option<(Receiver, Uri, Ledger)>,
}

impl Remotes {
    /// Opens the queues.
    pub(super) fn open(
        destinations: &Destinations,
        options: &Options,
        ledger: impl Fn(&'static str) -> Ledger,
    ) -> anyhow::Result<Self> {
        let open = |(signal, receiver, to): &(Signal, Receiver, Uri)| {
            let (signal, ledger) = (*signal, ledger(signal.name()));
            let place = options.queue.as_ref().map(|place| place.join(signal.name()));
            let spool = Spool::open(place, options.queue_size(), ledger.clone());
            let spool = spool.with_context(|| {
                format!("cannot keep a queue for {}; name another --queue", signal.name())
            })?;
            let spool = Arc::new(Mutex::new(spool));
            Ok(Remote { signal, spool, ledger, receiver: receiver.clone(), to: to.clone() })
        };
        let queues = destinations.queues.iter().map(open).collect::<anyhow::Result<_>>()?;
        let metrics = destinations.metrics.clone();
        let metrics = metrics.map(|(receiver, to)| (receiver, to, ledger(Signal::Metrics.name())));
        Ok(Remotes { queues, metrics })
    }
}

impl Remote {
    /// Sends what is in the queue, until it is told to stop and the queue is empty, or the time for
    /// that is over.
    pub(super) async fn run(self, pace: Pace, mut stop: Stop) {
        let mut backoff = Backoff::new(pace);
        loop {
            // Of its own, so that nobody waits for the lock while something is sent.
            let batch = lock(&self.spool).first();
            let Some(batch) = batch else {
                if stop.is_set() {
                    return;
                }
                stop.wait(pace.look).await;
                continue;
            };
            let Some(answer) = stop.bound(self.send(&batch)).await else { return };
            match answer {
                Answer::Taken(said) => {
                    backoff = Backoff::new(pace);
                    lock(&self.spool).taken(&batch);
                    correct(&self.ledger, self.signal, batch.records, &said);
                }
                Answer::Failed { status: Some(status), why, .. } if !self.signal.passes(status) => {
                    self.ledger.refused(why);
                    lock(&self.spool).refused(&batch);
                }
                Answer::Failed { status, why, retry_after } => {
                    self.ledger.failed(why);
                    // Others say that somebody is busy, whatever is in it.
                    let may_be_its = status.is_some_and(|status| !is_of_the_way(status));
                    lock(&self.spool).failed(&batch, may_be_its);
                    if Instant::now() >= stop.deadline() {
                        return;
                    }
                    stop.wait(backoff.next(retry_after, &batch.payload)).await;
                    if stop.is_set() {
                        sleep(pace.backoff.min(Duration::from_millis(100))).await;
                    }
                }
            }
        }
    }

    async fn send(&self, batch: &Batch) -> Answer {
        match self.signal {
            Signal::Spans | Signal::Logs | Signal::Metrics => {
                self.receiver.post(&self.to, PROTOBUF, &batch.payload).await
            }
            Signal::Rows(_) => {
                // Should it come twice, ClickHouse knows it by this.
                let token = hex(&digest(&SHA256, &batch.payload).as_ref()[..16]);
                let to = format!("{}&insert_deduplication_token={token}", self.to);
                match to.parse() {
                    Ok(to) => self.receiver.post(&to, LINES, &batch.payload).await,
                    Err(_) => Answer::none("its URL is none with a token"),
                }
            }
        }
    }
}

/// Hands the sums over, again and again. They are sums: one that fails is made good by the next.
pub(super) async fn metrics(
    (receiver, to, ledger): (Receiver, Uri, Ledger),
    sums: impl Fn() -> otlp::Message,
    pace: Pace,
    mut stop: Stop,
) {
    let mut wait = pace.metrics;
    loop {
        stop.wait(wait).await;
        wait = pace.metrics;
        // Sums from before the end lack what comes with it: builds, values of new series.
        let is_last = stop.is_set();
        let message = sums();
        let answer = stop.bound(receiver.post(&to, PROTOBUF, &message.bytes)).await;
        match answer.unwrap_or_else(|| Answer::none("not before the agent ended")) {
            Answer::Taken(said) => {
                ledger.book().sent += message.count;
                correct(&ledger, Signal::Metrics, message.count, &said);
            }
            Answer::Failed { why, retry_after, .. } => {
                ledger.failed(why);
                if let Some(asked) = retry_after {
                    wait = wait.max(asked) + spread(&message.bytes, asked);
                }
            }
        }
        if is_last || Instant::now() >= stop.deadline() {
            return;
        }
    }
}

/// How long to wait after failures that follow one another.
struct Backoff {
    pause: Duration,
    most: Duration,
}

impl Backoff {
    fn new(pace: Pace) -> Self {
        Backoff { pause: pace.backoff, most: pace.backoff_most }
    }

    /// After one more, and no shorter than the receiver asks for.
    fn next(&mut self, asked: Option<Duration>, payload: &[u8]) -> Duration {
        let wait = asked.unwrap_or_default().max(self.pause);
        self.pause = (self.pause * 2).min(self.most);
        // Many agents lose the same collector at once; they are not to come back as one.
        wait + spread(payload, wait)
    }
}

/// Up to a half of a time, by what is sent.
fn spread(payload: &[u8], wait: Duration) -> Duration {
    let part = payload
        .iter()
        .fold(std::process::id(), |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte)));
    wait * (part % 512) / 1_024
}

fn below(base: &Uri, path: &str) -> anyhow::Result<Uri> {
    let text = base.to_string();
    let (text, query) = text.split_at(text.find('?').unwrap_or(text.len()));
    format!("{}{path}{query}", text.trim_end_matches('/')).parse().context("--otlp is no URL")
}

/// The statement as `ClickHouse`'s HTTP interface takes it.
fn insert(base: &Uri, record: Record) -> anyhow::Result<Uri> {
    let text = base.to_string();
    let before = if base.query().is_some_and(|query| !query.is_empty()) { '&' } else { '?' };
    let (text, table) = (text.trim_end_matches('?'), record.table());
    let settings = "date_time_input_format=best_effort&input_format_skip_unknown_fields=1";
    format!("{text}{before}query=INSERT+INTO+{table}+FORMAT+JSONEachRow&{settings}")
        .parse()
        .context("--clickhouse is no URL")
}

/// Told to stop, with a time to do so.
pub(super) fn stop() -> (watch::Sender<Option<std::time::Instant>>, Stop) {
    let (sender, receiver) = watch::channel(None);
    (sender, Stop::new(receiver))
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsPartialSuccess;

    use super::*;

    #[test]
    fn urls_are_put_together() {
        let otlp: Uri = "http://c:4318/".parse().unwrap();
        assert_eq!(below(&otlp, "/v1/traces").unwrap(), "http://c:4318/v1/traces");
        let otlp: Uri = "https://c/otlp".parse().unwrap();
        assert_eq!(below(&otlp, "/v1/logs").unwrap(), "https://c/otlp/v1/logs");
        let otlp: Uri = "https://c/otlp/?key=a/b".parse().unwrap();
        assert_eq!(below(&otlp, "/v1/logs").unwrap(), "https://c/otlp/v1/logs?key=a/b");
        for (base, begin) in [
            ("http://c:8123", "http://c:8123/?query=INSERT+INTO+chains+"),
            ("http://c:8123/?", "http://c:8123/?query=INSERT+INTO+chains+"),
            ("http://c:8123/?database=p", "http://c:8123/?database=p&query=INSERT+INTO+chains+"),
        ] {
            let to = insert(&base.parse().unwrap(), Record::Chain).unwrap().to_string();
            assert!(to.starts_with(begin), "{to}");
        }
    }

    #[test]
    fn what_is_thrown_away_is_not_sent() {
        let said = ExportMetricsServiceResponse {
            partial_success: Some(ExportMetricsPartialSuccess {
                rejected_data_points: 7,
                error_message: "too old".to_owned(),
            }),
        };
        let ledger = Ledger::default();
        ledger.book().sent = 10;
        correct(&ledger, Signal::Metrics, 10, &said.encode_to_vec().into());
        assert_eq!((ledger.now().sent, ledger.now().dropped.refused), (3, 7));
        assert_eq!(ledger.failures(), (1, "took a part alone: too old".to_owned()));
        // Advice, or an answer of another kind.
        for said in [&[0x0a, 0x00][..], b"", b"<html>"] {
            correct(&ledger, Signal::Metrics, 10, &Bytes::copy_from_slice(said));
        }
        assert_eq!(ledger.failures().0, 1);
    }

    #[test]
    fn each_wait_is_longer_and_none_shorter_than_asked_for() {
        let mut backoff = Backoff::new(Pace::default());
        for (asked, least) in [
            (None, 1),
            (Some(0), 2),
            (None, 4),
            (Some(90), 90),
            // What was asked for once is not what it goes on from.
            (None, 16),
            (Some(1), 32),
            (None, 60),
            (Some(59), 60),
            (Some(600), 600),
            (None, 60),
        ] {
            let wait = backoff.next(asked.map(Duration::from_secs), b"rows");
            let least = Duration::from_secs(least);
            assert!(wait >= least && wait <= least * 3 / 2, "{asked:?}: {wait:?}, not {least:?}");
        }
    }

    /// By what agents have to send, of which no two have the same.
    #[test]
    fn agents_do_not_come_back_as_one() {
        let wait = |agent: u32| {
            let payload = format!("spans of host {agent:04}");
            Backoff::new(Pace::default()).next(None, payload.as_bytes()).as_millis()
        };
        // A second and up to a half: some come in each tenth of the half.
        let mut tenths = [0; 10];
        for agent in 0..10_000 {
            tenths[usize::try_from((wait(agent) - 1_000) / 50).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|count| (500..2_000).contains(count)), "{tenths:?}");
    }

    #[test]
    fn what_passes_is_tried_again() {
        assert!(Signal::Spans.passes(503) && Signal::Spans.passes(429));
        assert!(!Signal::Spans.passes(400) && !Signal::Spans.passes(401));
        let rows = Signal::Rows(Record::Chain);
        assert!(rows.passes(404) && rows.passes(500) && !rows.passes(400));
    }
}
