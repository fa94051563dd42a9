//! Traces made larger, and what a format makes of a trace.

use proxytrace::diagnose::diagnose;
use proxytrace::model::Trace;
use proxytrace::report;

/// A trace with so many requests, or a few more: the same again and again, later each time.
pub(crate) fn grown(trace: &Trace, requests: usize) -> Trace {
    let chains: Vec<_> =
        trace.chains.iter().filter(|chain| !chain.attempts.is_empty()).cloned().collect();
    let requests_of = |chains: &[proxytrace::model::Chain]| {
        let attempts = chains.iter().flat_map(|chain| &chain.attempts);
        attempts.map(|attempt| attempt.requests.len()).sum::<usize>()
    };
    let once = requests_of(&chains);
    let mut grown = trace.clone();
    grown.chains.clear();
    let length = trace.command.duration_ns.unwrap();
    for turn in 0..u32::try_from(requests.div_ceil(once)).unwrap() {
        let later = length * u64::from(turn);
        let first = turn * 10_000;
        for mut chain in chains.clone() {
            chain.id += first;
            chain.started_ns += later;
            chain.module = chain.module.map(|module| format!("{module}/{turn}"));
            for request in chain.attempts.iter_mut().flat_map(|attempt| &mut attempt.requests) {
                request.id += first;
                request.follows = request.follows.map(|id| id + first);
                request.started_ns += later;
            }
            grown.chains.push(chain);
        }
    }
    grown.command.duration_ns = Some(length * requests.div_ceil(once) as u64);
    grown.findings = diagnose(&grown);
    grown
}

/// What a format makes of a trace.
pub(crate) fn written(format: &str, trace: &Trace) -> Vec<u8> {
    let mut bytes = Vec::new();
    report::write(report::format(format).unwrap(), trace, &mut bytes).unwrap();
    bytes
}
