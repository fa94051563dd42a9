//! About the run itself.

use crate::correlate::tests::scenarios::{A, failing, got, redirect_to_forbidden, zip};
use crate::correlate::tests::script::{GO, Script, config, hop};
use crate::event::What;
use crate::model::Confidence;

use super::{of_script, only};

#[test]
fn pt603_needs_another_release() {
    let mut script = Script::new(A, 0);
    script.go(GO, "/mod/go/bin/go", &config(&[("GOPROXY", A)]));
    // The script's go is of one version, wherever it is.
    assert!(of_script(&script).is_empty());
    for event in &mut script.events {
        if let What::GoStart { go_version, exe, .. } = &mut event.what
            && exe == "/mod/go/bin/go"
        {
            *go_version = "go1.99.0".to_owned();
        }
    }
    assert_eq!(of_script(&script), ["PT603 note contributing ×0"]);
    assert_eq!(only(&script, "PT603").message, "go1.27.3 became go1.99.0 (/mod/go/bin/go)");
}

#[test]
fn pt606_is_a_run_that_asked_nobody() {
    let file = "/mod/cache/download/x.lab/m/@v/v1.0.0.info";
    let read = || What::InfoRead { file: file.to_owned() };
    let mut script = Script::new(A, 0);
    script.push(GO, None, read());
    assert_eq!(of_script(&script), ["PT606 note contributing ×1"]);
    script.run(&[got(7, "x.lab/n", &[hop(&zip(A, "x.lab/n"), 200)])]);
    assert!(of_script(&script).is_empty());
    // Where something was lost, or failed, nothing is said.
    let mut script = Script::new(A, 0);
    script.push(GO, None, read()).lose();
    assert_eq!(of_script(&script), ["PT900 note contributing ×0"]);
}

/// It is complete as far as can be said, and nothing of it is certain.
#[test]
fn a_go_that_was_read_by_other_layouts_is_named() {
    let mut script = failing(A, 1, redirect_to_forbidden);
    let mut trace = script.attach(&[], false).trace();
    let certain = |trace: &crate::model::Trace| {
        let findings = crate::diagnose::diagnose(trace);
        let others = findings.iter().filter(|finding| finding.code != "PT900");
        others.map(|finding| finding.confidence == Confidence::Certain).collect::<Vec<_>>()
    };
    assert_eq!(certain(&trace), [true]);
    trace.capture.attach[0].nearest = Some("go1.27".to_owned());
    assert!(trace.capture.complete);
    assert_eq!(certain(&trace), [false]);
    let findings = crate::diagnose::diagnose(&trace);
    let said = findings.iter().find(|finding| finding.code == "PT900").expect("it is said");
    assert_eq!(said.message, "/go/bin/go is go1.27.3, and was read as if it were go1.27");
}

#[test]
fn one_event_is_no_plural() {
    let mut trace = Script::new("https://proxy.lab", 0).trace();
    trace.capture.complete = false;
    for (lost, message) in [(1, "1 event was lost"), (2, "2 events were lost")] {
        trace.capture.lost = lost;
        assert_eq!(crate::diagnose::diagnose(&trace)[0].message, message);
    }
}

#[test]
fn witnesses_that_disagree_are_named() {
    let mut trace = Script::new("https://proxy.lab", 0).trace();
    trace.capture.witnesses =
        Some(crate::model::Witnesses { disagreed: 2, ..crate::model::Witnesses::default() });
    trace.capture.complete = false;
    let findings = crate::diagnose::diagnose(&trace);
    let messages: Vec<&str> = findings.iter().map(|finding| finding.message.as_str()).collect();
    assert_eq!(messages, ["go and its sockets disagree about requests: 2"]);
}
