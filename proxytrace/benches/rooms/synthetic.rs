//! A trace as large as one likes, made of what go does in the lab's scenario `cross-host-redirect`.

use std::net::SocketAddr;

use proxytrace::event::{
    End, Event, Failure, FailureStep, Goroutine, Headers, Origin, Setting, Start, What,
};

/// Modules that one go command downloads.
const MODULES: u64 = 200;
/// Of so many modules, one is forbidden where its zip is redirected to.
const FORBIDDEN: u64 = 25;
/// Modules at a time, as with `GOMAXPROCS`.
const WORKERS: u64 = 8;

const ORIGIN: &str = "https://proxy.lab";
const TARGET: &str = "https://storage.lab";

/// What a trace begins with.
pub fn start() -> Start {
    Start {
        proxytrace: env!("CARGO_PKG_VERSION").into(),
        argv: vec!["make".into()],
        backend: "uprobe-multi".into(),
        ..Start::default()
    }
}

/// What it ends with.
pub const END: End = End { time: u64::MAX / 2, exit_code: Some(1), signal: None };

/// At least `count` events: one go command after another, each with its modules.
pub fn events(count: usize) -> Vec<Event> {
    let mut made = Maker { events: Vec::with_capacity(count + 8000), time: 0, pid: 1000, body: 0 };
    while made.events.len() < count {
        made.go_command();
    }
    made.events
}

struct Maker {
    events: Vec<Event>,
    time: u64,
    pid: u32,
    body: u64,
}

impl Maker {
    fn push(&mut self, goroutine: u64, what: What) {
        self.time += 10_000;
        let goroutine = (goroutine != 0).then_some(Goroutine { id: goroutine, parent: 1 });
        self.events.push(Event { time: self.time, pid: self.pid, goroutine, what });
    }

    fn go_command(&mut self) {
        self.pid += 1;
        let (exe, argv) = ("/usr/local/go/bin/go", ["go", "mod", "download"].map(String::from));
        self.push(0, What::Exec { exe: exe.into(), argv: argv.to_vec() });
        let list = Setting {
            value: format!("{ORIGIN},https://mirror.lab,direct"),
            origin: Origin::Environment,
        };
        self.push(
            1,
            What::GoStart {
                go_version: "go1.27.3".into(),
                exe: exe.into(),
                argv: argv.to_vec(),
                config: [("GOPROXY".to_owned(), list)].into(),
                surroundings: Box::default(),
            },
        );
        for module in 0..MODULES {
            let goroutine = 20 + module % WORKERS;
            let path = format!("mod.lab/group{}/module{module:03}", module % 7);
            for artifact in ["info", "mod", "zip"] {
                self.artifact(goroutine, &path, artifact, module % FORBIDDEN == 3);
            }
        }
        self.push(0, What::Exit { code: Some(1), signal: None });
    }

    fn artifact(&mut self, goroutine: u64, module: &str, artifact: &str, forbidden: bool) {
        let path = format!("/{module}/@v/v1.2.3.{artifact}");
        let (url, refused) = (format!("{ORIGIN}{path}"), forbidden && artifact == "zip");
        self.push(goroutine, What::WalkEnter);
        self.push(goroutine, What::Lookup { proxy: ORIGIN.into(), module: module.to_owned() });
        if artifact == "zip" {
            let target = format!("{TARGET}{path}");
            self.request(goroutine, &url, 302, Some(&target));
            self.request(goroutine, &target, if refused { 403 } else { 200 }, None);
        } else {
            self.request(goroutine, &url, 200, None);
        }
        let body = What::BodyEnd { body: self.body, remaining: Some(0), short: false, error: None };
        self.push(goroutine, body);
        let error = refused.then(|| Failure {
            steps: vec![FailureStep { type_name: "*web.HTTPError".into(), ..Default::default() }],
        });
        self.push(goroutine, What::WalkReturn { error });
        match artifact {
            "info" => {
                let file = format!("/home/user/go/pkg/mod/cache/download{path}");
                self.push(goroutine, What::InfoRead { file });
            }
            _ if refused => {}
            _ => {
                let version = if artifact == "zip" { "v1.2.3" } else { "v1.2.3/go.mod" };
                let (module, version) = (module.to_owned(), version.to_owned());
                self.push(goroutine, What::SumEnter { module, version });
            }
        }
    }

    fn request(&mut self, goroutine: u64, url: &str, status: u16, location: Option<&str>) {
        let header = |name: &'static str, value: &str| (name.into(), value.to_owned());
        let agent = header("User-Agent", "GoCommand/1 (+https://go.dev/cmd/go)");
        self.push(
            goroutine,
            What::RequestEnter {
                method: "GET".into(),
                url: url.to_owned(),
                headers: Headers::from_iter([agent]),
                credentials: Some(Vec::new()),
                cut: Vec::new(),
            },
        );
        let port = if url.starts_with(TARGET) { 2 } else { 1 };
        self.push(
            goroutine,
            What::Try {
                protocol: "HTTP/2.0".into(),
                local: Some(SocketAddr::from(([127, 0, 0, 1], 40_000 + port))),
                remote: Some(SocketAddr::from(([127, 0, 0, 2], 443))),
                tls: true,
            },
        );
        self.body += 1;
        let mut headers = Headers::from_iter([header("Content-Type", "application/octet-stream")]);
        headers.extend(location.map(|location| header("Location", location)));
        self.push(
            goroutine,
            What::RequestReturn {
                status: Some(status),
                protocol: Some("HTTP/2.0".into()),
                headers,
                content_length: Some(4321),
                body: location.is_none().then_some(self.body),
                error: None,
                cut: Vec::new(),
            },
        );
    }
}
