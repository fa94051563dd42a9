//! go's rules, on answers that a script gave.

use super::*;
use crate::correlate::tests::scenarios::{A, B, probes, url, zip};
use crate::correlate::tests::script::{Hop, Script, Task, bad_status, config, hop};
use crate::event::What;

const C: &str = "https://third.lab";

/// A run in which `statuses` were the answers to one zip, from A on; the last one ends the walk.
fn recorded(statuses: &[u16]) -> Trace {
    let entries = [A, B, C];
    let list = entries[..statuses.len()].join("|");
    let mut script = Script::new(&list, i32::from(statuses.last() != Some(&200)));
    let mut task = Task::new(7).walk();
    for (entry, status) in entries.iter().zip(statuses) {
        let hops: Vec<Hop> = vec![hop(&zip(entry, "x.lab/m"), *status)];
        task = task.lookup(entry, "x.lab/m").fetch(&hops);
    }
    let task = match statuses.last() {
        Some(200) => task.found(),
        Some(status) => task.failed(bad_status(*status)),
        None => task,
    };
    script.run(&[task]);
    script.trace()
}

/// `proxy.lab 502 | next.lab ok: served by …`
fn story(trace: &Trace, list: &str) -> String {
    let prediction = rewalk(trace, list).unwrap();
    let [walk] = prediction.walks.as_slice() else { panic!("{:?}", prediction.walks) };
    let steps = walk.steps.iter().map(|step| {
        let outcome = step.outcome.map_or("?".to_owned(), |outcome| format!("{outcome:?}"));
        format!("{}={outcome}", step.proxy.trim_start_matches("https://"))
    });
    let steps: Vec<String> = steps.collect();
    let end = match &walk.end {
        End::Served { by } => format!("served by {by}"),
        End::Failed { prints, masks, .. } => format!("prints {prints}, masks {masks:?}"),
        End::Unknown { why } => format!("unknown: {why}"),
    };
    format!("{}: {end}", steps.join(" "))
}

#[test]
fn separators_decide_what_is_asked_next() {
    let trace = recorded(&[502, 404, 200]);
    for (list, expected) in [
        ("https://proxy.lab", "proxy.lab=HttpError: prints https://proxy.lab, masks None"),
        (
            "https://proxy.lab,https://third.lab",
            "proxy.lab=HttpError: prints https://proxy.lab, masks None",
        ),
        (
            "https://proxy.lab|https://third.lab",
            "proxy.lab=HttpError third.lab=Ok: served by https://third.lab",
        ),
        (
            "https://next.lab,https://third.lab",
            "next.lab=NotFound third.lab=Ok: served by https://third.lab",
        ),
        ("third.lab/", "third.lab/=Ok: served by https://third.lab/"),
        (
            "https://next.lab,https://proxy.lab",
            "next.lab=NotFound proxy.lab=HttpError: prints https://proxy.lab, masks None",
        ),
        (
            "https://proxy.lab|https://next.lab",
            "proxy.lab=HttpError next.lab=NotFound: prints https://proxy.lab, masks None",
        ),
        ("https://next.lab,off", "next.lab=NotFound off=NotFound: prints off, masks None"),
        (
            "https://proxy.lab|off,https://third.lab",
            "proxy.lab=HttpError off=NotFound: prints https://proxy.lab, masks None",
        ),
    ] {
        assert_eq!(story(&trace, list), expected, "{list}");
    }
}

#[test]
fn what_was_not_asked_is_not_known() {
    let trace = recorded(&[502, 200]);
    for (list, why) in [
        ("https://other.lab,https://next.lab", "unknown: https://other.lab was not asked for it"),
        ("https://proxy.lab|direct", "unknown: direct was not asked for it"),
        ("https://proxy.lab/x", "unknown: https://proxy.lab/x was not asked for it"),
    ] {
        let story = story(&trace, list);
        assert!(story.ends_with(why), "{list}: {story}");
    }
}

/// What go sends of an entry's credentials decides what the entry says.
#[test]
fn an_entry_with_other_credentials_is_another() {
    let other = "was asked with other credentials";
    let mut trace = recorded(&[200]);
    let unknown = "REDACTED@proxy.lab=?: unknown: https://REDACTED@proxy.lab";
    assert_eq!(story(&trace, "https://u:p@proxy.lab"), format!("{unknown} {other}"));
    assert_eq!(story(&recorded(&[401]), "https://u:p@proxy.lab"), format!("{unknown} {other}"));
    assert!(story(&trace, "https://proxy.lab/?token=x").ends_with(other));
    let mut asked_at = |entry: &str| {
        entry.clone_into(&mut trace.chains[0].attempts[0].proxy);
        trace.clone()
    };
    let with = asked_at("https://REDACTED@proxy.lab");
    assert_eq!(story(&with, A), format!("proxy.lab=?: unknown: {A} {other}"));
    assert!(story(&with, "https://v:q@proxy.lab").contains("=Ok: served by"));
    let over_http = asked_at("http://proxy.lab");
    let refused = "http://REDACTED@proxy.lab has credentials, which go does not send over http";
    assert!(story(&over_http, "http://u:p@proxy.lab").ends_with(refused));
    assert!(story(&over_http, "http://proxy.lab").contains("=Ok: served by"));
}

/// go.sum has what was not looked up, unless that was among what was lost.
#[test]
fn what_was_lost_is_not_taken_for_what_was_not_asked() {
    let mut trace = recorded(&[200]);
    trace.processes[0].config.extend(config(&[("GOSUMDB", "sum.golang.org")]));
    let told = |trace: &Trace| (rewalk(trace, A).unwrap().complete, story(trace, A));
    assert_eq!(told(&trace), (true, "proxy.lab=Ok: served by https://proxy.lab".to_owned()));
    trace.capture.complete = false;
    let unseen = "proxy.lab=?: unknown: whether it can be verified was not seen";
    assert_eq!(told(&trace), (false, unseen.to_owned()));
}

#[test]
fn what_off_said_is_not_what_direct_says() {
    let mut script = Script::new("https://proxy.lab,off", 1);
    let task = Task::new(7)
        .walk()
        .lookup(A, "x.lab/m")
        .fetch(&[hop(&zip(A, "x.lab/m"), 404)])
        .lookup("off", "x.lab/m")
        .failed(bad_status(404));
    script.run(&[task]);
    assert_eq!(
        story(&script.trace(), "https://proxy.lab|direct"),
        "proxy.lab=NotFound direct=?: unknown: direct was not asked for it"
    );
}

#[test]
fn an_error_of_direct_masks_all_others() {
    let mut script = Script::new("https://proxy.lab|direct", 1);
    let task = Task::new(7)
        .walk()
        .lookup(A, "x.lab/m")
        .fetch(&[hop(&zip(A, "x.lab/m"), 500)])
        .lookup("direct", "x.lab/m")
        .fetch(&[hop("https://x.lab/m?go-get=1", 404)])
        .failed(bad_status(404));
    script.run(&[task]);
    let prediction = rewalk(&script.trace(), "https://proxy.lab|direct").unwrap();
    let masks = Some("https://proxy.lab".to_owned());
    let found = prediction.walks.iter().any(|walk| match &walk.end {
        End::Failed { prints, masks: masked, .. } => prints == "direct" && *masked == masks,
        _ => false,
    });
    assert!(found, "{:?}", prediction.walks);
}

#[test]
fn private_modules_ask_no_proxy() {
    let mut trace = recorded(&[200]);
    trace.processes[0].config.extend(config(&[("GOPRIVATE", "x.lab")]));
    let story = story(&trace, "https://proxy.lab,direct");
    assert_eq!(story, "noproxy=?: unknown: noproxy was not asked for it");
}

#[test]
fn contents_that_are_bad_stop_a_zip_and_nothing_else() {
    for (artifact, goes_on) in [("zip", false), ("mod", true)] {
        let file = format!("v1.0.0.{artifact}");
        let task = Task::new(7)
            .walk()
            .lookup(A, "x.lab/m")
            .fetch(&[hop(&url(A, "x.lab/m", &file), 200)])
            .failed(bad_status(200));
        let mut script = Script::new(A, 1);
        script.run(&[task]);
        let mut trace = script.trace();
        for outcome in [Outcome::BadContent, Outcome::Checksum] {
            trace.chains[0].attempts[0].outcome = outcome;
            let list = "https://proxy.lab|https://next.lab";
            let walk = rewalk(&trace, list).unwrap().walks.remove(0);
            assert_eq!(walk.steps.len() == 2, goes_on, "{artifact} {outcome:?}");
        }
    }
}

/// `go get x.lab/a/b@latest`, where the module is x.lab/a.
#[test]
fn prefixes_that_go_did_without_are_left_out_where_nothing_changes() {
    let trace = probes([404, 200, 404], 0).trace();
    let modules = |trace: &Trace, list: &str| -> Vec<Option<String>> {
        rewalk(trace, list).unwrap().walks.into_iter().map(|walk| walk.module).collect()
    };
    assert_eq!(modules(&trace, A), [Some("x.lab/a".to_owned())]);
    // What was passed over once is passed over again, and what is not known may matter.
    assert_eq!(modules(&probes([200, 500, 404], 0).trace(), A), [Some("x.lab/a/b".to_owned())]);
    assert_eq!(modules(&trace, B).len(), 3);
    // An error would end the query (`modload/query.go:queryPrefixModules`).
    let mut trace = trace;
    for chain in trace.chains.iter_mut().filter(|chain| chain.module.as_deref() != Some("x.lab/a"))
    {
        let mut before = chain.attempts[0].clone();
        before.proxy = B.to_owned();
        before.outcome = Outcome::HttpError;
        chain.attempts.insert(0, before);
    }
    assert_eq!(modules(&trace, "https://next.lab,https://proxy.lab").len(), 3);
    // Where go failed for want of them, all are told.
    assert_eq!(modules(&probes([404, 404, 404], 1).trace(), A).len(), 3);
}

#[test]
fn what_gave_up_is_no_answer() {
    let mut trace = recorded(&[200]);
    for outcome in [Outcome::Canceled, Outcome::Unfinished, Outcome::Unknown] {
        trace.chains[0].attempts[0].outcome = outcome;
        assert!(story(&trace, "https://proxy.lab").contains("unknown"), "{outcome:?}");
    }
}

#[test]
fn lists_that_go_refuses_are_refused() {
    let trace = recorded(&[200]);
    for list in ["", " , ", "foo", "ftp://a.lab", "https://a.lab,foo"] {
        assert!(rewalk(&trace, list).is_err(), "{list:?}");
    }
    for list in ["off", "direct", "https://a.lab, ,direct,foo", "a.lab", "file:///srv/x"] {
        assert!(rewalk(&trace, list).is_ok(), "{list:?}");
    }
    // Secrets of the list are not repeated.
    let shown = rewalk(&trace, "https://u:hunter2@a.lab").unwrap();
    assert!(!serde_json::to_string(&shown).unwrap().contains("hunter2"));
    let shown = rewalk(&trace, "ftp://u:hunter2@a.lab").unwrap_err().to_string();
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_trace_that_walked_nowhere_predicts_nothing() {
    let mut script = Script::new(A, 0);
    script.push(100, None, What::Lost { count: 1 });
    assert!(rewalk(&script.trace(), B).unwrap().walks.is_empty());
}
