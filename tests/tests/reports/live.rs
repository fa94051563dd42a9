//! The line about a run that goes on, on a terminal that the command writes to as well.

use std::io::Read as _;
use std::num::NonZero;
use std::process::Stdio;

use nix::pty::Winsize;
use proxytrace_tests::cases;
use proxytrace_tests::lab::Lab;
use proxytrace_tests::modules::Modules;
use proxytrace_tests::scenario::{Action, Host, Protocol, Rule, Scenario};
use proxytrace_tests::terminal;
use proxytrace_tests::toolchain::Toolchain;

/// A proxy that takes its time.
const SLOW: Scenario = Scenario {
    name: "live",
    about: "a proxy that takes six seconds for a file",
    modules: Modules { prefix: "mod.lab/m", count: 1, others: &[] },
    goproxy: "https://proxy.lab",
    hosts: &[Host {
        name: "proxy.lab",
        protocol: Protocol::H2,
        rules: &[
            Rule { pattern: "*.zip", action: Action::Hang(6000) },
            Rule { pattern: "*", action: Action::Serve },
        ],
        trouble: None,
    }],
    succeeds: false,
    ..Scenario::BASE
};

const SIZE: Winsize = Winsize { ws_row: 24, ws_col: 160, ws_xpixel: 0, ws_ypixel: 0 };

/// What came to the terminal, in pieces.
fn run(lab: &Lab, options: &[&str], script: &str, environment: &[(&str, &str)]) -> Vec<Vec<u8>> {
    let (mut master, slave) = terminal::open().unwrap();
    terminal::resize(&slave, &SIZE).unwrap();
    let mut command = lab.command("setsid");
    command.args(["--ctty", "--wait"]).arg(cases::proxytrace()).args(options);
    command.args(["--", "sh", "-c", script]).env("TERM", "xterm");
    command.envs(environment.iter().copied());
    let end = || Stdio::from(slave.try_clone().unwrap());
    command.stdin(end()).stdout(end()).stderr(end());
    let reader = std::thread::spawn(move || {
        let (mut pieces, mut buffer) = (Vec::new(), [0; 1 << 12]);
        // Ends with an error when nobody has the other end any more.
        while let Ok(length @ 1..) = master.read(&mut buffer) {
            pieces.push(buffer[..length].to_vec());
        }
        pieces
    });
    let _ = lab.status(command).unwrap();
    drop(slave);
    reader.join().unwrap()
}

fn screen(pieces: &[Vec<u8>]) -> String {
    let [rows, columns] = [SIZE.ws_row, SIZE.ws_col].map(|size| NonZero::new(size).unwrap());
    let mut terminal = vt100::Parser::new(rows, columns, 0);
    for piece in pieces {
        terminal.process(piece);
    }
    terminal.screen().contents()
}

fn is_drawn(pieces: &[Vec<u8>]) -> bool {
    (0..=pieces.len()).any(|end| screen(&pieces[..end]).contains("waiting"))
}

#[test]
fn a_line_comes_and_goes_and_leaves_nothing() {
    if !cases::can_start() {
        return;
    }
    let lab = Lab::start(&SLOW, &Toolchain::newest().unwrap()).unwrap();
    // A prompt that waits in the middle of a line, and lines enough to scroll.
    let script = "seq 30; printf 'prompt: '; go mod download 2>/dev/null; \
                  echo answer; sleep 0.5; echo last";
    let pieces = run(&lab, &[], script, &[]);
    let during = (0..=pieces.len()).map(|end| screen(&pieces[..end]));
    let drawn: Vec<String> = during.filter(|screen| screen.contains("waiting")).collect();
    let shown = drawn.last().unwrap_or_else(|| panic!("no line in {}", screen(&pieces)));
    assert!(
        shown.contains("s for proxy.lab, go has no timeout here; 0 of 1 module done"),
        "{shown}"
    );
    for screen in &drawn {
        // It is below what the command wrote, and that is whole.
        let lines: Vec<&str> = screen.lines().collect();
        let place = lines.iter().position(|line| line.contains("waiting")).unwrap();
        assert_eq!(lines[place - 2], "30", "{screen}");
        // The answer may stand there for as long as we take to notice.
        assert!(["prompt: ", "prompt: answer"].contains(&lines[place - 1]), "{screen}");
        assert_eq!(place + 1, lines.len(), "{screen}");
    }
    let after = screen(&pieces);
    assert!(!after.contains("waiting"), "{after}");
    let lines: Vec<&str> = after.lines().collect();
    let place = lines.iter().position(|line| *line == "30").unwrap();
    assert_eq!(lines[place + 1..place + 3], ["prompt: answer", "last"], "{after}");
}

#[test]
fn no_line_where_none_is_welcome() {
    if !cases::can_start() {
        return;
    }
    let lab = Lab::start(&SLOW, &Toolchain::newest().unwrap()).unwrap();
    let download = "go mod download 2>/dev/null";
    for (options, script, environment) in [
        (&["-q"][..], download.to_owned(), &[][..]),
        (&[], download.to_owned(), &[("CI", "true")]),
        (&[], download.to_owned(), &[("TERM", "dumb")]),
        // Somebody reads keys, a password.
        (&[], format!("stty -icanon; {download}"), &[]),
        (&[], format!("stty -echo; {download}"), &[]),
    ] {
        let asked = || lab.log().iter().filter(|entry| entry.url.contains(".zip")).count();
        let before = asked();
        let pieces = run(&lab, options, &script, environment);
        assert!(asked() > before, "{script} {environment:?}: nobody has waited for anything");
        assert!(!is_drawn(&pieces), "{script} {environment:?}: {}", screen(&pieces));
        let bytes = pieces.concat();
        assert!(!bytes.windows(2).any(|two| two == b"\x1b7"), "{script} {environment:?}");
    }
}
