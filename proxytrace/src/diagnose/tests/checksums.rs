//! The checksum database, and who stands for it.

use crate::correlate::tests::scenarios::{self, A, B, url};
use crate::correlate::tests::script::{
    Hop, Script, Task, bad_status, broken, failure, hop, no_such_host, plain_error, refused,
    setting, unverified,
};
use crate::diagnose::{Class, class, diagnose};
use crate::event::What;
use crate::model::Confidence;

use super::{brief, of_script, only};

/// Two modules come; the lookups of both end like this, at the checksum database itself.
fn looked_up_directly(supported: &[Hop], hop_of: impl Fn(&str) -> Hop) -> Script {
    let mut script = Script::new("https://proxy.lab,direct", 1);
    if !supported.is_empty() {
        script.run(&[Task::new(6).walk().fetch(supported).failed(bad_status(404))]);
    }
    let task = |n: u64| {
        let module = format!("x.lab/m{n}");
        Task::new(n + 10)
            .walk()
            .lookup(A, &module)
            .fetch(&[hop(&url(A, &module, "v1.0.0.mod"), 200)])
            .fetch(&[hop_of(&format!("https://s.lab/lookup/{module}@v1.0.0"))])
            .verify(&module, "v1.0.0/go.mod", Some(unverified()))
            .failed(unverified())
    };
    script.run(&[task(0), task(1)]);
    script
}

#[test]
fn pt501_is_told_where_direct_lookups_work() {
    let supported = [hop(&scenarios::sums("supported"), 404)];
    let asked = |lookup: u16| {
        let task = Task::new(7)
            .walk()
            .fetch(&supported)
            .failed(bad_status(404))
            .fetch(&[hop("https://s.lab/lookup/x.lab/m@v1.0.0", lookup)])
            .verify("x.lab/m", "v1.0.0/go.mod", None);
        of_script(Script::new(A, 0).run(&[task]))
    };
    assert_eq!(asked(200), ["PT501 note contributing ×1"]);
    assert!(asked(500).is_empty());
}

#[test]
fn pt502_is_the_database_itself_out_of_reach() {
    let unsupported = [hop(&scenarios::sums("supported"), 404)];
    let ways: [fn(&str) -> Hop; 5] = [
        |url| broken(url, refused(), false),
        |url| broken(url, no_such_host(), false),
        // A filter that goes by the name lets TCP through.
        |url| broken(url, failure(&[("http.tlsHandshakeTimeoutError", "")], None), false),
        |url| broken(url, failure(&[("tls.RecordHeaderError", "")], None), false),
        |url| broken(url, plain_error("EOF"), false),
    ];
    for broken_by in ways {
        let script = looked_up_directly(&unsupported, broken_by);
        assert_eq!(of_script(&script), ["PT502 error root ×4"]);
        assert_eq!(only(&script, "PT502").modules, ["x.lab/m0@v1.0.0", "x.lab/m1@v1.0.0"]);
    }
    // Reached, it is like any other host.
    let forbidden = looked_up_directly(&unsupported, |url| hop(url, 403));
    assert_eq!(of_script(&forbidden), ["PT302 error root ×4"]);
    let reset = looked_up_directly(&unsupported, |url| broken(url, plain_error("EOF"), true));
    assert_eq!(of_script(&reset), ["PT208 error root ×4"]);
    // Somebody answered with a certificate: another address would not help.
    for (error, number, code) in [
        ("x509.UnknownAuthorityError", None, "PT204"),
        ("x509.HostnameError", None, "PT205"),
        ("tls.alert", Some(116), "PT206"),
    ] {
        let broken_by = |url: &str| broken(url, failure(&[(error, "")], number), false);
        let inspected = looked_up_directly(&unsupported, broken_by);
        assert_eq!(of_script(&inspected), [format!("{code} error root ×4")]);
    }
}

#[test]
fn pt503_is_an_answer_to_supported_that_is_neither_yes_nor_no() {
    let script = |goproxy: &str| {
        let task = Task::new(7)
            .walk()
            .lookup(A, "x.lab/m")
            .fetch(&[hop(&url(A, "x.lab/m", "v1.0.0.mod"), 200)])
            .walk()
            .fetch(&[hop(&scenarios::sums("supported"), 500)])
            .failed(bad_status(500))
            .verify("x.lab/m", "v1.0.0/go.mod", Some(unverified()))
            .failed(unverified());
        let mut script = Script::new(goproxy, 1);
        script.run(&[task]);
        script
    };
    assert_eq!(of_script(&script(A)), ["PT503 error root ×2"]);
    assert_eq!(only(&script(A), "PT503").module.as_deref(), Some("x.lab/m"));
    let with_next = script("https://proxy.lab,https://next.lab");
    assert_eq!(of_script(&with_next), ["PT503 error root ×2", "PT101 error contributing ×1"]);
}

#[test]
fn pt504_is_a_yes_without_a_database_and_pt505_a_database_without_the_module() {
    assert_eq!(of_script(&scenarios::unverified(A, 410)), ["PT505 warning root ×4"]);
    assert_eq!(of_script(&scenarios::unverified(A, 503)), ["PT409 error root ×4"]);
    let direct = looked_up_directly(&[], |url| hop(url, 404));
    assert_eq!(of_script(&direct), ["PT505 warning root ×4"]);
    // A proxy that forwarded nothing yet may not forward at all.
    let doubtful = only(&scenarios::unverified(A, 410), "PT505");
    assert_eq!(doubtful.confidence, Confidence::Possible);
    assert_eq!(only(&direct, "PT505").confidence, Confidence::Certain);

    let record = failure(&[("*errors.errorString", "verifying: malformed record data")], None);
    let task = |supported: u16| {
        let supported = Task::new(6).walk().fetch(&[hop(&scenarios::sums("supported"), supported)]);
        let lookup = scenarios::sums("lookup/x.lab/m@v1.0.0");
        let task = Task::new(7)
            .walk()
            .lookup(A, "x.lab/m")
            .fetch(&[hop(&url(A, "x.lab/m", "v1.0.0.mod"), 200)])
            .fetch(&[hop(&lookup, 200)])
            .verify("x.lab/m", "v1.0.0/go.mod", Some(record.clone()))
            .failed(record.clone());
        (supported.found(), task)
    };
    let (supported, task) = task(200);
    let mut script = Script::new(A, 1);
    script.run(&[supported]).run(std::slice::from_ref(&task));
    assert_eq!(of_script(&script), ["PT504 error root ×2"]);
    // Without its yes there is no false one.
    assert_eq!(of_script(Script::new(A, 1).run(&[task])), ["PT401 error root ×2"]);
}

/// What helps a proxy does not help where the database itself was asked.
#[test]
fn advice_is_of_who_was_asked() {
    let direct = looked_up_directly(&[], |url| hop(url, 400));
    let forwarded = scenarios::unverified(A, 400);
    for (script, expected) in [(direct, "go asked the checksum database"), (forwarded, "Let the")] {
        let finding = only(&script, "PT402");
        assert!(finding.advice.starts_with(expected), "{}", finding.advice);
    }
}

fn set_gosumdb(script: &mut Script, value: &str) {
    for event in &mut script.events {
        if let What::GoStart { config, .. } = &mut event.what {
            config.insert("GOSUMDB".into(), setting(value));
        }
    }
}

/// Where GOSUMDB has a URL, no proxy is asked, and that may be wrong.
#[test]
fn a_database_at_a_given_url_is_doubted() {
    let given = |status: u16| {
        let mut script = looked_up_directly(&[], |url| hop(url, status));
        set_gosumdb(&mut script, "s.lab+1a2b+key https://s.lab");
        script
    };
    let advice = only(&given(400), "PT402").advice;
    assert!(advice.contains("at the URL that GOSUMDB gives"), "{advice}");
    assert_eq!(only(&given(404), "PT505").confidence, Confidence::Possible);
}

/// What is wrong with the database is said of it, and not of who forwards it, nor of the module.
#[test]
fn a_database_that_fails_by_itself_is_told_of() {
    let script = |error: &str, tiles: &[(&str, u16)]| {
        let error = plain_error(&format!("verifying go.mod: {error}"));
        let supported = Task::new(6).walk().fetch(&[hop(&scenarios::sums("supported"), 200)]);
        let mut task = Task::new(7)
            .walk()
            .lookup(A, "x.lab/m")
            .fetch(&[hop(&url(A, "x.lab/m", "v1.0.0.mod"), 200)])
            .fetch(&[hop(&scenarios::sums("lookup/x.lab/m@v1.0.0"), 200)]);
        for (tile, status) in tiles {
            task = task.fetch(&[hop(&format!("https://s.lab/tile/8/0/{tile}"), *status)]);
        }
        let task = task.verify("x.lab/m", "v1.0.0/go.mod", Some(error.clone())).failed(error);
        let mut script = Script::new(A, 1);
        script.run(&[supported.found()]).run(&[task]);
        script
    };
    // Another key is wrong where it is not one that go has, and where those are not quoted words.
    let other = "reading tree note: note has no verifiable signatures\nnote:\n";
    let quoted = "reading tree note: malformed note\nnote:\nno verifiable signatures\n";
    for (error, gosumdb, expected) in [
        (other, "s.lab+1a2b+key", "PT502"),
        (other, "sum.golang.org", "PT504"),
        (quoted, "s.lab+1a2b+key", "PT504"),
    ] {
        let mut script = script(error, &[]);
        set_gosumdb(&mut script, gosumdb);
        assert_eq!(of_script(&script), [format!("{expected} error root ×2")]);
        let possible = only(&script, expected).confidence == Confidence::Possible;
        assert_eq!(possible, expected == "PT502");
    }
    let missing = script("reading tile: 404", &[("000.p/7", 404), ("000", 404)]);
    assert_eq!(of_script(&missing), ["PT401 error root ×2"]);
    let doubtful = script("downloaded inconsistent tile", &[("000.p/7", 200)]);
    assert_eq!(only(&doubtful, "PT401").confidence, Confidence::Possible);
    let sure = script(
        "TileReader returned bad result slice (tile/8/0/000.p/7 len=9, want 224)",
        &[("000.p/7", 200)],
    );
    assert_eq!(only(&sure, "PT401").confidence, Confidence::Certain);
}

#[test]
fn pt506_clears_the_entry_that_served() {
    let version = "v1.0.0/go.mod";
    let task = Task::new(7)
        .walk()
        .lookup(A, "x.lab/m")
        .fetch(&[hop(&url(A, "x.lab/m", "v1.0.0.mod"), 200)])
        .fetch(&[hop(&scenarios::sums("lookup/x.lab/m@v1.0.0"), 500)])
        .verify("x.lab/m", version, Some(unverified()))
        .lookup(B, "x.lab/m")
        .fetch(&[hop(&url(B, "x.lab/m", "v1.0.0.mod"), 200)])
        .verify("x.lab/m", version, Some(unverified()))
        .failed(unverified());
    let mut script = Script::new("https://proxy.lab|https://next.lab", 1);
    script.run(&[task]);
    assert_eq!(of_script(&script), ["PT409 error root ×2", "PT506 warning contributing ×1"]);
}

/// A part of a tile that is whole by now is gone; go asks for the whole one.
#[test]
fn the_part_of_a_tile_may_be_gone() {
    let tile = |path: &str, status| {
        let url = format!("https://s.lab/tile/8/0/{path}");
        Task::new(7).fetch(&[hop(&url, status)])
    };
    let mut script = Script::new(A, 1);
    script.run(&[tile("000.p/7", 404)]).run(&[tile("000", 200)]);
    assert!(of_script(&script).is_empty());
}

/// Whatever a part failed for, go asks for the whole tile, which at the end of the tree does not
/// exist; what it tells of is the part.
#[test]
fn of_a_tile_one_failure_counts() {
    let tile = |path: &str| scenarios::sums(&format!("tile/8/0/{path}"));
    for (part, whole, expected, repeated) in [
        (502, 404, &["PT409 error root ×2"][..], Some(Class::Transient)),
        (404, 503, &["PT409 error root ×2"], Some(Class::Transient)),
        (404, 404, &["PT504 error root ×2"], Some(Class::Permanent)),
        (502, 200, &[], None),
    ] {
        let supported = Task::new(6).walk().fetch(&[hop(&scenarios::sums("supported"), 200)]);
        let task = Task::new(7)
            .walk()
            .lookup(A, "x.lab/m")
            .fetch(&[hop(&url(A, "x.lab/m", "v1.0.0.mod"), 200)])
            .fetch(&[hop(&scenarios::sums("lookup/x.lab/m@v1.0.0"), 200)])
            .fetch(&[hop(&tile("x000/123.p/45"), part)])
            .fetch(&[hop(&tile("x000/123"), whole)])
            .verify("x.lab/m", "v1.0.0/go.mod", Some(unverified()))
            .failed(unverified());
        let mut script = Script::new(A, 1);
        let mut trace = script.run(&[supported.found()]).run(&[task]).trace();
        trace.findings = diagnose(&trace);
        assert_eq!(brief(&trace.findings), expected, "{part} {whole}");
        assert_eq!(class(&trace), repeated, "{part} {whole}");
    }
}
