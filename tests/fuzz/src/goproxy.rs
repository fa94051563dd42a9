//! The GOPROXY list, and what it means for a walk along it.

use std::collections::BTreeMap;

use proxytrace::correlate::Correlator;
use proxytrace::event::{End, Event, Goroutine, Headers, Origin, Setting, Start, What};

use crate::replay::report;

/// Entries of a walk that are made of the input.
const ENTRIES_MAX: usize = 8;

/// Texts separated by NULs: GOPROXY, GONOPROXY, a module, and the entries that are asked for it.
pub(crate) fn any(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut texts = text.split('\0').map(str::to_owned);
    let mut text = || texts.next().unwrap_or_default();
    let (goproxy, gonoproxy, module) = (text(), text(), text());

    let mut correlator = Correlator::new(&Start::default());
    let mut push = |what| {
        let goroutine = Some(Goroutine { id: 1, parent: 0 });
        correlator.push(Event { time: 0, pid: 1, goroutine, what });
    };
    let setting = |value| Setting { value, origin: Origin::Environment };
    push(What::GoStart {
        go_version: "go1.27.3".to_owned(),
        exe: String::new(),
        argv: Vec::new(),
        config: BTreeMap::from([
            ("GOPROXY".to_owned(), setting(goproxy)),
            ("GONOPROXY".to_owned(), setting(gonoproxy)),
        ]),
        surroundings: Box::default(),
    });
    push(What::WalkEnter);
    for proxy in texts.take(ENTRIES_MAX) {
        let url = format!("{proxy}/{module}/@v/v1.0.0.zip");
        push(What::Lookup { proxy: proxy.into(), module: module.clone() });
        let (headers, cut) = (Headers::new(), Vec::new());
        let method = "GET".into();
        push(What::RequestEnter { method, url, headers, credentials: None, cut });
        push(What::RequestReturn {
            status: Some(404),
            protocol: None,
            headers: Headers::new(),
            content_length: None,
            body: None,
            error: None,
            cut: Vec::new(),
        });
    }
    push(What::WalkReturn { error: None });
    report(correlator.finish(&End::default()));
}
