//! The checksum database, and the module cache.

use crate::diagnose::diagnose;
use crate::event::{Goroutine, Origin, Setting, What};
use crate::model::{Artifact, Chain, Confidence, Contradiction, Next, Outcome, Role, Trace};

use super::scenarios::{self, A, B, got, url, zip};
use super::script::{
    GO, Script, Task, chain, config, draw, hop, label, mismatch, plain_error, unverified,
};

fn drawn(trace: &Trace, name: &str) -> Vec<String> {
    draw(chain(trace, name))
}

fn info_read(script: &mut Script, module: &str) {
    let file = format!("/c/cache/download/{module}/@v/v1.0.0.info");
    script.push(GO, None, What::InfoRead { file });
}

fn sum_entered(script: &mut Script, module: &str, version: &str) {
    let (module, version) = (module.into(), version.into());
    script.push(GO, None, What::SumEnter { module, version });
}

fn labels(trace: &Trace) -> Vec<String> {
    trace.chains.iter().map(label).collect()
}

#[test]
fn what_cannot_be_verified_fails_and_its_request_does_not() {
    let trace = scenarios::unverified("https://proxy.lab", 500).trace();
    let found = chain(&trace, "x.lab/m0@v1.0.0 mod");
    assert_eq!(draw(found), ["https://proxy.lab[0] checksum → stop: initial proxy.lab 200"]);
    assert_eq!(found.attempts[0].requests[0].outcome, Outcome::Ok);
    assert!(found.attempts[0].reason.contains("could not be verified"), "{found:?}");
    assert_eq!(
        drawn(&trace, "x.lab/m0@v1.0.0 sumdb-lookup"),
        ["https://proxy.lab[0] http-error → stop: initial proxy.lab 500"]
    );
}

#[test]
fn another_checksum_spoils_the_answer_itself() {
    let task = |version: &str, file: &str| {
        Task::new(7)
            .walk()
            .lookup(A, "x.lab/m")
            .fetch(&[hop(&url(A, "x.lab/m", file), 200)])
            .verify("x.lab/m", version, Some(mismatch()))
            .failed(mismatch())
    };
    for (version, file, name) in [
        ("v1.0.0/go.mod", "v1.0.0.mod", "x.lab/m@v1.0.0 mod"),
        ("v1.0.0", "v1.0.0.zip", "x.lab/m@v1.0.0 zip"),
    ] {
        let trace = Script::new(A, 1).run(&[task(version, file)]).trace();
        let found = chain(&trace, name);
        assert_eq!(found.outcome, Outcome::Checksum);
        assert_eq!(found.attempts[0].requests[0].outcome, Outcome::Checksum);
    }
}

/// go verifies a zip after its walk.
#[test]
fn a_zip_is_verified_after_its_walk() {
    let task = got(7, "x.lab/m", &[hop(&zip(A, "x.lab/m"), 200)]).verify(
        "x.lab/m",
        "v1.0.0",
        Some(mismatch()),
    );
    let trace = Script::new(A, 1).run(&[task]).trace();
    assert_eq!(chain(&trace, "x.lab/m@v1.0.0 zip").outcome, Outcome::Checksum);
}

/// go opens a zip after its walk, and before it is verified.
#[test]
fn a_zip_of_something_else_is_of_no_use() {
    let text = "zip for x.lab/m@v1.0.0 has unexpected file m-1.0.0/go.mod";
    let error = super::script::failure(&[("*errors.errorString", text)], None);
    let task = got(7, "x.lab/m", &[hop(&zip(A, "x.lab/m"), 200)]);
    let trace = Script::new(A, 1).run(&[task.step(What::ZipFailed { error })]).trace();
    assert_eq!(
        drawn(&trace, "x.lab/m@v1.0.0 zip"),
        ["https://proxy.lab[0] bad-content → stop: initial proxy.lab 200"]
    );
    let root = diagnose(&trace).into_iter().find(|finding| finding.role == Role::Root);
    assert_eq!(root.map(|finding| finding.code).as_deref(), Some("PT403"));
}

/// The same, where a page has said which proxy has the module.
#[test]
fn a_zip_of_something_else_that_a_page_led_to() {
    let error =
        super::script::failure(&[("*errors.errorString", "zip: not a valid zip file")], None);
    let asked = |entry| hop(&zip(entry, "x.lab/m"), 404);
    let task = Task::new(7)
        .walk()
        .lookup(A, "x.lab/m")
        .fetch(&[asked(A)])
        .lookup("direct", "x.lab/m")
        .fetch(&[hop("https://x.lab/m?go-get=1", 200)])
        .fetch(&[hop(&zip("https://mods.lab", "x.lab/m"), 200)])
        .found();
    let list = "https://proxy.lab,direct";
    let trace = Script::new(list, 1).run(&[task.step(What::ZipFailed { error })]).trace();
    assert_eq!(
        drawn(&trace, "x.lab/m@v1.0.0 zip")[1],
        "direct[1] bad-content → stop: initial mods.lab 200"
    );
}

fn summed(task: Task, version: &str, words: &str) -> Task {
    let (module, version) = ("x.lab/m".into(), version.into());
    task.step(What::SumEnter { module, version }).step(What::Stderr { text: words.into() })
}

fn mismatched(version: &str) -> String {
    format!("verifying x.lab/m@{version}: checksum mismatch\n\tdownloaded: h1:\n\nSECURITY ERROR\n")
}

/// go ends at once, within its walk or after it, and whatever the separator.
#[test]
fn go_sum_contradicts_what_came() {
    let list = "https://proxy.lab|https://next.lab";
    let within = Task::new(7)
        .walk()
        .lookup(A, "x.lab/m")
        .fetch(&[hop(&url(A, "x.lab/m", "v1.0.0.mod"), 200)]);
    let after = got(7, "x.lab/m", &[hop(&zip(A, "x.lab/m"), 200)]);
    for (task, version, name) in
        [(within, "v1.0.0/go.mod", "x.lab/m@v1.0.0 mod"), (after, "v1.0.0", "x.lab/m@v1.0.0 zip")]
    {
        let of_another = summed(task.clone(), version, &mismatched("v1.0.1"));
        let trace = Script::new(list, 1).run(&[of_another]).trace();
        assert_eq!(chain(&trace, name).outcome, Outcome::Ok);

        let task = summed(task, version, &mismatched(version));
        let trace = Script::new(list, 1).run(&[task]).trace();
        let found = chain(&trace, name);
        assert_eq!(draw(found), ["https://proxy.lab[0] checksum → stop: initial proxy.lab 200"]);
        assert_eq!(found.attempts[0].requests[0].outcome, Outcome::Checksum);
        assert_eq!(found.outcome, Outcome::Checksum);
        assert_eq!(found.contradicted_by, Some(Contradiction::GoSum));
    }
}

/// What the checksum database refused is what go compares with the sum of what the next entry sent.
#[test]
fn go_sum_contradicts_what_came_first() {
    let asked = |entry| hop(&url(entry, "x.lab/m", "v1.0.0.mod"), 200);
    let task = Task::new(7)
        .walk()
        .lookup(A, "x.lab/m")
        .fetch(&[asked(A)])
        .verify("x.lab/m", "v1.0.0/go.mod", Some(mismatch()))
        .lookup(B, "x.lab/m")
        .fetch(&[asked(B)])
        .verify("x.lab/m", "v1.0.0/go.mod", None)
        .found();
    let mut script = Script::new("https://proxy.lab|https://next.lab", 1);
    script.run(&[task]);
    let goroutine = Some(Goroutine { id: 1, parent: 0 });
    script.push(GO, goroutine, What::Stderr { text: mismatched("v1.0.0/go.mod") });
    let trace = script.trace();
    let found = chain(&trace, "x.lab/m@v1.0.0 mod");
    assert_eq!(
        draw(found),
        [
            "https://proxy.lab[0] checksum → next-entry: initial proxy.lab 200",
            "https://next.lab[1] ok → -: initial next.lab 200"
        ]
    );
    assert_eq!(found.outcome, Outcome::Checksum);
    assert_eq!(found.contradicted_by, Some(Contradiction::GoSum));
    let root = diagnose(&trace).into_iter().find(|finding| finding.role == Role::Root).unwrap();
    assert_eq!(root.code, "PT507");
    assert!(root.message.contains("proxy.lab"), "{}", root.message);
}

/// What a compiler says go passes on, and it has what is in the sources.
#[test]
fn words_in_the_midst_of_others_are_not_gos() {
    let zip = [hop(&zip(A, "x.lab/m"), 200)];
    let of_compiler = |error: &str| format!("# x.lab/m\nm.c:1:2: error: #error {error}");
    for (words, expected) in [
        (mismatched("v1.0.0"), Outcome::Checksum),
        (format!("go: {}", mismatched("v1.0.0")), Outcome::Checksum),
        (of_compiler(&mismatched("v1.0.0")), Outcome::Ok),
    ] {
        let task = summed(got(7, "x.lab/m", &zip), "v1.0.0", &words);
        let trace = Script::new(A, 1).run(&[task]).trace();
        assert_eq!(chain(&trace, "x.lab/m@v1.0.0 zip").outcome, expected, "{words}");
    }
}

#[test]
fn go_sum_contradicts_the_module_cache() {
    let trace =
        Script::new(A, 1).run(&[summed(Task::new(7), "v1.0.0", &mismatched("v1.0.0"))]).trace();
    let found = chain(&trace, "x.lab/m@v1.0.0 zip");
    assert_eq!((found.outcome, found.attempts.len()), (Outcome::Checksum, 0));
    assert_eq!(found.contradicted_by, Some(Contradiction::GoSum));
}

/// A `go.mod` that is being verified.
fn verifying() -> Task {
    let (module, version) = ("x.lab/m".to_owned(), "v1.0.0/go.mod".to_owned());
    Task::new(7)
        .walk()
        .lookup(A, "x.lab/m")
        .fetch(&[hop(&url(A, "x.lab/m", "v1.0.0.mod"), 200)])
        .step(What::VerifyEnter { module, version })
}

/// What go says of a tree that has forked, and ends.
fn forked() -> What {
    let text = "SECURITY ERROR\ngo.sum database server misbehavior detected!\n";
    What::Stderr { text: text.into() }
}

/// The lookup is the failure; what it was made for is merely not verified.
#[test]
fn the_checksum_database_contradicts_itself() {
    let lookup = format!("{A}/sumdb/s.lab/lookup/x.lab/m@v1.0.0");
    let task = verifying().fetch(&[hop(&lookup, 200)]).step(forked());
    let trace = Script::new("https://proxy.lab,https://next.lab", 1).run(&[task]).trace();
    let lookup = chain(&trace, "x.lab/m@v1.0.0 sumdb-lookup");
    assert_eq!(lookup.contradicted_by, Some(Contradiction::SumdbBefore));
    assert_eq!(lookup.outcome, Outcome::Checksum);
    assert_eq!(lookup.attempts[0].requests[0].outcome, Outcome::Checksum);
    let what_came = chain(&trace, "x.lab/m@v1.0.0 mod");
    assert_eq!(what_came.outcome, Outcome::Checksum);
    assert_eq!(what_came.attempts[0].requests[0].outcome, Outcome::Ok);
    let found: Vec<_> = diagnose(&trace).into_iter().map(|f| (f.code, f.role)).collect();
    assert_eq!(found, [("PT507".to_owned(), Role::Root)]);
}

#[test]
fn a_failure_of_the_database_moves_go_on_behind_a_pipe() {
    let lookup = format!("{A}/sumdb/s.lab/lookup/x.lab/m@v1.0.0");
    let version = "v1.0.0/go.mod";
    let task = Task::new(7)
        .walk()
        .lookup(A, "x.lab/m")
        .fetch(&[hop(&url(A, "x.lab/m", "v1.0.0.mod"), 200)])
        .fetch(&[hop(&lookup, 500)])
        .verify("x.lab/m", version, Some(unverified()))
        .lookup(B, "x.lab/m")
        .fetch(&[hop(&url(B, "x.lab/m", "v1.0.0.mod"), 200)])
        .verify("x.lab/m", version, Some(unverified()))
        .failed(unverified());
    let trace = Script::new("https://proxy.lab|https://next.lab", 1).run(&[task]).trace();
    assert_eq!(
        drawn(&trace, "x.lab/m@v1.0.0 mod"),
        [
            "https://proxy.lab[0] checksum → next-entry: initial proxy.lab 200",
            "https://next.lab[1] checksum → stop: initial next.lab 200",
        ]
    );
}

#[test]
fn a_database_that_is_asked_directly_has_no_place_in_the_list() {
    let task = Task::new(7)
        .walk()
        .lookup(A, "x.lab/m")
        .fetch(&[hop(&url(A, "x.lab/m", "v1.0.0.mod"), 200)])
        .fetch(&[hop("https://s.lab/lookup/x.lab/m@v1.0.0", 403)])
        .verify("x.lab/m", "v1.0.0/go.mod", Some(unverified()))
        .failed(unverified());
    let trace = Script::new("https://proxy.lab,https://next.lab", 1).run(&[task]).trace();
    let lookup = chain(&trace, "x.lab/m@v1.0.0 sumdb-lookup");
    assert_eq!(draw(lookup), ["direct[-] http-error → stop: initial s.lab 403"]);
    assert_eq!(lookup.attempts[0].reason, "s.lab answered 403; there is nothing left to ask");
}

#[test]
fn an_answer_that_is_no_record_is_bad_content() {
    let (bad, fine) = (Outcome::BadContent, Outcome::Ok);
    for (path, error, lookup) in [
        ("x.lab/m", "malformed record data", bad),
        // That of another version.
        ("x.lab/m", "checksum missing from sumdb response", bad),
        // A path may have any words, and what is quoted of the answer.
        ("x.lab/EOF", "x.lab/EOF@v1.0.0/go.mod: malformed record data", bad),
        ("x.lab/m", "reading tree note: malformed note\nnote:\nEOF, checksum mismatch\n", bad),
        (
            "x.lab/m",
            "reading https://s.lab/: 500\n\tserver response:\n\tchecksum mismatch\n\tmalformed note",
            fine,
        ),
        ("x.lab/m", "reading https://s.lab/: 500 malformed note", fine),
    ] {
        let error = plain_error(&format!("verifying go.mod: {error}"));
        let task = Task::new(7)
            .walk()
            .lookup(A, path)
            .fetch(&[hop(&url(A, path, "v1.0.0.mod"), 200)])
            .fetch(&[hop(
                &format!("{A}/sumdb/s.lab/lookup/{}@v1.0.0", path.replace("EOF", "!e!o!f")),
                200,
            )])
            .verify(path, "v1.0.0/go.mod", Some(error.clone()))
            .failed(error.clone());
        let trace = Script::new(A, 1).run(&[task]).trace();
        let asked = chain(&trace, &format!("{path}@v1.0.0 sumdb-lookup"));
        assert_eq!(asked.outcome, lookup, "{error:?}");
        let came = chain(&trace, &format!("{path}@v1.0.0 mod"));
        assert_eq!(came.outcome, Outcome::Checksum);
        assert_eq!(came.attempts[0].requests[0].outcome, Outcome::Ok, "{error:?}");
    }
}

/// go keeps tiles, so that one which is not of the tree is why all fails that is verified.
#[test]
fn one_tile_is_blamed_for_all_that_it_failed() {
    let error = plain_error("checking tree#1: downloaded inconsistent tile");
    let tiles = ["tile/8/0/001.p/1", "tile/8/1/000.p/1", "tile/8/0/000"];
    let mut script = Script::new(A, 1);
    for (id, module) in [(7, "x.lab/m"), (8, "x.lab/n")] {
        let mut task = Task::new(id)
            .walk()
            .lookup(A, module)
            .fetch(&[hop(&url(A, module, "v1.0.0.mod"), 200)])
            .fetch(&[hop(&format!("{A}/sumdb/s.lab/lookup/{module}@v1.0.0"), 200)]);
        for tile in tiles.iter().filter(|_| id == 7) {
            task = task.fetch(&[hop(&format!("{A}/sumdb/s.lab/{tile}"), 200)]);
        }
        script.run(&[task
            .verify(module, "v1.0.0/go.mod", Some(error.clone()))
            .failed(error.clone())]);
    }
    let trace = script.trace();
    let bad = trace.chains.iter().filter(|chain| chain.outcome == Outcome::BadContent);
    assert_eq!(bad.map(|chain| chain.artifact).collect::<Vec<_>>(), [Artifact::SumdbTile]);
}

/// What is said of a tile is so of the tile, whatever it was fetched for; of one that go had, nobody
/// is blamed.
#[test]
fn a_tile_that_is_none_is_bad_content() {
    let short = "x.lab/m@v1.0.0/go.mod: TileReader returned bad result slice (tile/8/0/000.p/1 \
                 len=39, want 32)";
    let other = "x.lab/m@v1.0.0/go.mod: checking tree#1: downloaded inconsistent tile";
    let (part, whole) = ("tile/8/0/000.p/1", "tile/8/0/000");
    for (error, came, blamed) in [
        (short, &[(part, 200)][..], Some(part)),
        (short, &[(part, 200), ("tile/8/1/000.p/1", 200)], Some(part)),
        (short, &[(part, 404), (whole, 200)], Some(whole)),
        (short, &[("tile/8/1/000.p/1", 200)], None),
        (short, &[], None),
        (other, &[(part, 200)], Some(part)),
        (other, &[], None),
    ] {
        let is_other = error == other;
        let error = plain_error(error);
        let mut task = Task::new(7)
            .walk()
            .lookup(A, "x.lab/m")
            .fetch(&[hop(&url(A, "x.lab/m", "v1.0.0.mod"), 200)])
            .fetch(&[hop(&format!("{A}/sumdb/s.lab/lookup/x.lab/m@v1.0.0"), 200)]);
        for (path, status) in came {
            task = task.fetch(&[hop(&format!("{A}/sumdb/s.lab/{path}"), *status)]);
        }
        let task =
            task.verify("x.lab/m", "v1.0.0/go.mod", Some(error.clone())).failed(error.clone());
        let trace = Script::new(A, 1).run(&[task]).trace();
        let bad = trace.chains.iter().filter(|chain| chain.outcome == Outcome::BadContent);
        let asked = |chain: &Chain| Some(chain.attempts.first()?.requests[0].url.clone());
        let expected = blamed.map(|path| format!("{A}/sumdb/s.lab/{path}"));
        assert_eq!(bad.map(asked).collect::<Vec<_>>(), std::slice::from_ref(&expected));
        let root = diagnose(&trace).into_iter().find(|finding| finding.role == Role::Root).unwrap();
        let sure =
            if blamed.is_none() || is_other { Confidence::Possible } else { Confidence::Certain };
        let code = if blamed.is_none() { "PT509" } else { "PT401" };
        assert_eq!((&*root.code, root.confidence), (code, sure));
        assert_eq!(chain(&trace, "x.lab/m@v1.0.0 sumdb-lookup").outcome, Outcome::Ok);
        assert_eq!(chain(&trace, "x.lab/m@v1.0.0 mod").outcome, Outcome::Checksum);
    }
}

/// What is bad of what go has kept nobody has sent, and all that is verified with it fails.
#[test]
fn what_is_kept_of_the_database_may_be_bad() {
    let latest = "initializing sumdb.Client: reading tree note: malformed note\nnote:\ngo.sum dat";
    for words in ["malformed record data", "cannot authenticate record data", latest] {
        let error = plain_error(&format!("verifying module: x.lab@v1.0.0: {words}"));
        let of = |module| {
            Task::new(7)
                .walk()
                .lookup(A, module)
                .fetch(&[hop(&url(A, module, "v1.0.0.mod"), 200)])
                .verify(module, "v1.0.0/go.mod", Some(error.clone()))
                .verify(module, "v1.0.0", Some(error.clone()))
                .failed(error.clone())
        };
        let mut script = Script::new(A, 1);
        let mut trace = script.run(&[of("x.lab/m")]).run(&[of("x.lab/n")]).trace();
        for module in ["x.lab/m", "x.lab/n"] {
            let kept = chain(&trace, &format!("{module}@v1.0.0 sumdb-lookup"));
            assert_eq!((kept.outcome, kept.attempts.len()), (Outcome::BadContent, 0));
            let came = chain(&trace, &format!("{module}@v1.0.0 mod"));
            assert_eq!(came.attempts[0].requests[0].outcome, Outcome::Ok);
        }
        let found = diagnose(&trace);
        let found: Vec<_> =
            found.iter().map(|it| (&*it.code, it.role, it.confidence, it.chains.len())).collect();
        assert_eq!(found, [("PT509", Role::Root, Confidence::Certain, 4)]);
        // A directory that stands for the database is read anew each time.
        let value = "s.lab+1+a file:///srv/sums".to_owned();
        let origin = Origin::Environment;
        trace.processes[0].config.insert("GOSUMDB".to_owned(), Setting { value, origin });
        assert!(diagnose(&trace).is_empty());
    }
    // That was kept as it came, and may come again.
    let other = plain_error("x.lab/m@v1.0.0/go.mod: checksum missing from sumdb response");
    let task = Task::new(7)
        .walk()
        .lookup(A, "x.lab/m")
        .fetch(&[hop(&url(A, "x.lab/m", "v1.0.0.mod"), 200)])
        .verify("x.lab/m", "v1.0.0/go.mod", Some(other.clone()))
        .failed(other);
    assert!(diagnose(&Script::new(A, 1).run(&[task]).trace()).is_empty());
}

#[test]
fn what_is_kept_of_the_database_may_contradict_it() {
    let trace = Script::new(A, 1).run(&[verifying().step(forked())]).trace();
    let kept = chain(&trace, "x.lab/m@v1.0.0 sumdb-lookup");
    assert_eq!(kept.contradicted_by, Some(Contradiction::SumdbBefore));
    let found = diagnose(&trace);
    let found: Vec<_> = found.iter().map(|it| (&*it.code, &*it.message)).collect();
    let message = "what came from the module cache contradicts what the checksum database said \
                   before: its tree has forked";
    assert_eq!(found, [("PT507", message)]);
}

/// `|` after the entry: the question goes on to `direct`, which go takes for a no.
#[test]
fn an_error_to_supported_behind_a_pipe_leads_to_the_database_itself() {
    let off = super::script::failure(&[("modfetch.notExistError", "")], None);
    let task =
        Task::new(7).walk().fetch(&[hop(&format!("{A}/sumdb/s.lab/supported"), 500)]).failed(off);
    let trace = Script::new("https://proxy.lab|direct", 0).run(&[task]).trace();
    let supported = chain(&trace, "- sumdb-supported");
    assert_eq!(supported.attempts[0].next, Some(Next::Direct));
}

#[test]
fn what_was_in_the_module_cache_is_a_chain_without_attempts() {
    let mut script = Script::new(A, 0);
    info_read(&mut script, "x.lab/!m");
    for version in ["v1.0.0/go.mod", "v1.0.0/go.mod", "v1.0.0"] {
        sum_entered(&mut script, "x.lab/M", version);
    }
    let trace = script.trace();
    assert_eq!(labels(&trace), ["x.lab/M@v1.0.0 info", "x.lab/M@v1.0.0 mod", "x.lab/M@v1.0.0 zip"]);
    for chain in &trace.chains {
        assert_eq!((chain.outcome, chain.duration_ns), (Outcome::Cached, Some(0)));
        assert!(chain.attempts.is_empty());
    }
    // A fetch may have been lost.
    assert!(script.lose().trace().chains.is_empty());
}

#[test]
fn what_go_has_put_into_the_cache_itself_is_not_cached() {
    let mut script = Script::new("https://proxy.lab,direct", 0);
    script.run(&[got(7, "x.lab/m", &[hop(&url(A, "x.lab/m", "v1.0.0.info"), 200)])]);
    info_read(&mut script, "x.lab/m");
    // From a repository: no request was seen.
    script.run(&[Task::new(8).walk().lookup("direct", "y.lab/m").found()]);
    info_read(&mut script, "y.lab/m");
    sum_entered(&mut script, "y.lab/m", "v1.0.0");
    let trace = script.trace();
    assert_eq!(labels(&trace), ["x.lab/m@v1.0.0 info"]);
    assert_eq!(trace.chains[0].outcome, Outcome::Ok);
}

/// Another process, or what the first one became, has a cache that is full.
#[test]
fn each_process_has_its_own_view_of_the_cache() {
    let mut script = Script::new(A, 0);
    script.run(&[got(7, "x.lab/m", &[hop(&url(A, "x.lab/m", "v1.0.0.mod"), 200)])]);
    script.go(GO, "/mod/go/bin/go", &config(&[("GOPROXY", A)]));
    sum_entered(&mut script, "x.lab/m", "v1.0.0/go.mod");
    let trace = script.trace();
    let outcomes: Vec<_> =
        trace.chains.iter().map(|chain| (chain.artifact, chain.outcome)).collect();
    assert_eq!(outcomes, [(Artifact::Mod, Outcome::Ok), (Artifact::Mod, Outcome::Cached)]);
}
