//! Who may start an agent: it watches the builds of everybody.

use std::process::Stdio;

use proxytrace_tests::user::{Place, Who};

use crate::running::alone;

/// What cannot be traced has an exit code of its own.
const CANNOT_TRACE: i32 = 125;

/// Has somebody start an agent for a moment; yields its exit code, and what it said.
fn run(place: &Place, who: Who) -> (Option<i32>, String) {
    let mut agent = place.command(who);
    agent.args(["agent", "--once", "--for", "1s", "--metrics", "off"]);
    let output = agent.stdin(Stdio::null()).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Those that a program's file gives are of whoever starts it, and that may be anybody.
#[test]
fn rights_of_the_programs_file_are_not_enough() {
    let Some((_alone, _)) = alone() else { return };
    let Some(place) = Place::new().unwrap() else { return };
    let watches = |who| {
        let (code, said) = run(&place, who);
        assert!(code == Some(0) && said.contains("msg=watching"), "{who:?}: {code:?}: {said}");
    };
    // To whom they were given, they were given.
    watches(Who::Entitled);
    if !place.give_by_file().unwrap() {
        return;
    }
    let (code, said) = run(&place, Who::Nobody);
    assert_eq!(code, Some(CANNOT_TRACE), "{said}");
    for part in ["the rights that it has are of whoever starts this program", "start it as root"] {
        assert!(said.contains(part), "no {part}: {said}");
    }
    assert!(!said.contains("msg=watching"), "{said}");
    // Who has all rights has none of them from the file.
    watches(Who::Root);
}
