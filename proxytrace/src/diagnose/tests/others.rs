//! What other programs than go ask: go's rules are not theirs.

use crate::correlate::tests::scenarios::{A, url, zip};
use crate::correlate::tests::script::{Hop, Script, Task, hop};
use crate::model::Witness;

use super::found;

/// One walk of one module, in which these are fetched.
fn script(fetches: &[&[Hop]]) -> Script {
    let task = Task::new(7).walk().lookup(A, "x.lab/m");
    let task = fetches.iter().fold(task, |task, hops| task.fetch(hops));
    let mut script = Script::new(A, 0);
    script.run(&[task.found()]);
    script
}

/// What is found where go asked, and where another program did, which sockets alone tell of.
fn by_either(script: &Script) -> [Vec<String>; 2] {
    let mut trace = script.trace();
    let by_go = found(&trace);
    let attempts = trace.chains.iter_mut().flat_map(|chain| &mut chain.attempts);
    for request in attempts.flat_map(|attempt| &mut attempt.requests) {
        request.witness = Witness::Wire;
    }
    [by_go, found(&trace)]
}

#[test]
fn what_go_does_is_said_of_go_alone() {
    let (asked, cdn) = (zip(A, "x.lab/m"), "https://cdn.lab/m");
    let redirected = [hop(&asked, 302).to(cdn), hop(cdn, 200)];
    let at = |n: usize| format!("https://h{n}.lab/m");
    let long = [
        hop(&asked, 302).to(&at(0)),
        hop(&at(0), 302).to(&at(1)),
        hop(&at(1), 302).to(&at(2)),
        hop(&at(2), 200),
    ];
    let info = url(A, "x.lab/m", "v1.0.0.info");
    let (old, there) = ([hop(&info, 404).with("Age", "600")], [hop(&info, 200)]);
    let late = [hop(&asked, 200).after(11)];
    for (script, code) in [
        // `git ls-remote` and then `git fetch` are redirected, each for itself.
        (script(&[&redirected, &redirected]), "PT001"),
        (script(&[&long]), "PT020"),
        (script(&[&old, &there]), "PT407"),
        // A test that waits for its own server.
        (script(&[&late]), "PT508"),
    ] {
        let [by_go, by_another] = by_either(&script);
        assert!(by_go.iter().any(|line| line.starts_with(code)), "{code}: {by_go:?}");
        assert_eq!(by_another, [""; 0], "{code}");
    }
}
