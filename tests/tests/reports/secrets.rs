//! Secrets wherever a user or a server may put them: not one byte of them is in any output of a run
//! with a real go, the recording included.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use proxytrace_tests::cases;
use proxytrace_tests::lab::Lab;
use proxytrace_tests::modules::Modules;
use proxytrace_tests::scenario::{Action, Host, Protocol, Rule, Scenario};
use proxytrace_tests::toolchain::Toolchain;
use tempfile::TempDir;

use crate::outputs;

/// What is looked for; each place has its own ending.
const CANARY: &str = "cAnArY";

/// Every place that a server has: a location that is signed, one with a user, cookies, headers.
const LEAKY: Scenario = Scenario {
    name: "secrets",
    about: "secrets in every place that has one",
    modules: Modules { prefix: "mod.lab/m", count: 2, others: &[] },
    goproxy: "https://cAnArYuser:cAnArYpassword@proxy.lab/?token=cAnArYproxyquery,https://mirror.lab",
    hosts: &[
        Host {
            name: "proxy.lab",
            protocol: Protocol::H2,
            rules: &[
                Rule {
                    pattern: "*m01*.zip*",
                    action: Action::Status(
                        302,
                        &[
                            (
                                "Location",
                                "https://cAnArYlocuser:cAnArYlocpass@storage.lab/o?X-Goog-Signature=cAnArYsigned&X-Amz-Security-Token=cAnArYamz&sig=cAnArYsig",
                            ),
                            ("Set-Cookie", "session=cAnArYcookie"),
                            ("X-Custom-Secret", "cAnArYheader"),
                            ("WWW-Authenticate", "Bearer token=\"cAnArYchallenge\""),
                        ],
                    ),
                },
                Rule {
                    pattern: "*m02*.zip*",
                    action: Action::Status(403, &[("Set-Cookie", "session=cAnArYcookie2")]),
                },
                Rule { pattern: "*", action: Action::Serve },
            ],
            trouble: None,
        },
        Host {
            name: "storage.lab",
            protocol: Protocol::H2,
            rules: &[Rule {
                pattern: "*",
                action: Action::Status(403, &[("Authorization", "cAnArYecho")]),
            }],
            trouble: None,
        },
        Host {
            name: "mirror.lab",
            protocol: Protocol::H2,
            rules: &[Rule { pattern: "*", action: Action::Serve }],
            trouble: None,
        },
    ],
    succeeds: false,
    ..Scenario::BASE
};

#[test]
fn no_secret_leaves() {
    if !cases::can_start() {
        return;
    }
    let lab = Lab::start(&LEAKY, &Toolchain::newest().unwrap()).unwrap();
    let home = TempDir::new().unwrap();
    let netrc = home.path().join("netrc");
    fs::write(&netrc, "machine proxy.lab login cAnArYlogin password cAnArYnetrc\n").unwrap();
    // What GOAUTH runs: headers for every host that asks.
    let helper = home.path().join("helper");
    let headers =
        "Authorization: Bearer cAnArYbearer\nX-Custom-Token: cAnArYgoauth\nCookie: a=cAnArYsent";
    let answer = |host: &str| format!("https://{host}/\n\n{headers}\n\n");
    let script =
        format!("#!/bin/sh\ncat <<'E'\n{}{}E\n", answer("storage.lab"), answer("mirror.lab"));
    fs::write(&helper, script).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();

    let goauth = format!("netrc;{}", helper.display());
    for goproxy in [LEAKY.goproxy, "https://proxy.lab?key=cAnArYquery"] {
        let environment = [
            ("GOPROXY", goproxy),
            ("NETRC", netrc.to_str().unwrap()),
            ("GOAUTH", &goauth),
            ("HTTPS_PROXY", ""),
            ("SECRET_TOKEN", "cAnArYenvironment"),
        ];
        let outputs = outputs::of_download(&lab, &["-x"], &environment);
        assert!(outputs::named(&outputs, "report").contains("proxytrace:"));
        for (name, text) in &outputs {
            assert_clean(name, text);
        }
    }
    // The secrets were under way: without that, that none came out says nothing.
    let asked = lab.log();
    let leaked = asked.iter().filter_map(|entry| entry.location.as_deref());
    assert!(leaked.filter(|location| location.contains(CANARY)).count() > 0);
    assert!(asked.iter().any(|entry| entry.host == "storage.lab"));
}

/// A secret that was taken apart, or cut, would still begin with its canary.
#[track_caller]
fn assert_clean(name: &str, text: &str) {
    let text = text.to_lowercase();
    if let Some(at) = text.find(&CANARY.to_lowercase()) {
        let from = text.floor_char_boundary(at.saturating_sub(200));
        panic!("{name}: …{}", &text[from..text.ceil_char_boundary(at + 60)]);
    }
}
