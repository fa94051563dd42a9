//! The page, in a browser: it shows what the trace has, it filters, keys move in it, and nothing
//! that others chose runs.

use std::fs;
use std::path::PathBuf;

use proxytrace::diagnose::diagnose;
use proxytrace::model::{RequestError, Trace};
use proxytrace_tests::golden;
use tempfile::TempDir;

use crate::devtools::{Browser, is_there};
use crate::hostile;
use crate::traces::{grown, written};

/// Pictures of the page are left in this directory, for who wants to look.
const PICTURES_VAR: &str = "PROXYTRACE_PICTURES";

struct Page {
    browser: Browser,
    directory: TempDir,
}

impl Page {
    fn new() -> Self {
        Page { browser: Browser::start(), directory: TempDir::new().unwrap() }
    }

    fn open(&mut self, trace: &Trace) {
        let file = self.directory.path().join("page.html");
        fs::write(&file, written("html", trace)).unwrap();
        self.browser.open(&file);
    }

    fn number(&mut self, expression: &str) -> i64 {
        let value = self.browser.evaluate(expression);
        value.as_i64().unwrap_or_else(|| panic!("{expression} is {value}"))
    }

    fn text(&mut self, selector: &str) -> String {
        let value =
            self.browser.evaluate(&format!("document.querySelector('{selector}').innerText"));
        value.as_str().unwrap_or_default().to_owned()
    }

    /// Chooses in a list, or types.
    fn set(&mut self, id: &str, value: &str, event: &str) {
        self.browser.evaluate(&format!(
            "{{ const e = document.getElementById('{id}'); e.value = '{value}'; \
             e.dispatchEvent(new Event('{event}')); \
             new Promise((done) => setTimeout(done, 200)) }}"
        ));
    }
}

fn requests(trace: &Trace) -> usize {
    let attempts = trace.chains.iter().flat_map(|chain| &chain.attempts);
    attempts.map(|attempt| attempt.requests.len()).sum()
}

#[test]
fn every_recording_is_shown() {
    if !is_there() {
        return;
    }
    let mut page = Page::new();
    for file in golden::recordings() {
        let trace = golden::replay(&file);
        page.open(&trace);
        assert_eq!(page.browser.misdeeds(), Vec::<&serde_json::Value>::new(), "{}", file.display());
        let shown = page.number("document.querySelectorAll('.finding').length");
        assert_eq!(shown, i64::try_from(trace.findings.len()).unwrap(), "{}", file.display());
        for finding in &trace.findings {
            assert!(page.text("#findings").contains(&finding.message), "{}", finding.message);
        }
        let count = page.text("#shown");
        assert!(count.starts_with(&format!("{} request", requests(&trace))), "{count}");
        let hosts = page.number("document.querySelectorAll('#hosts tbody tr').length");
        assert_eq!(hosts > 0, requests(&trace) > 0);
    }
}

/// Whatever was missed: there is more than events and probes.
#[test]
fn what_was_missed_is_said() {
    if !is_there() {
        return;
    }
    let mut page = Page::new();
    let mut trace = golden::named("redirect-403");
    trace.capture.watch_ended = Some("no room".to_owned());
    trace.capture.complete = false;
    for (diagnosed, said) in [
        (false, "The capture is not complete: 0 events lost, 0 probes missing."),
        (true, "The capture is not complete: the watch ended before the command did (no room)."),
    ] {
        if diagnosed {
            trace.findings = diagnose(&trace);
        }
        page.open(&trace);
        assert!(page.text("#about").contains(said), "{}", page.text("#about"));
    }
}

#[test]
fn it_filters_and_obeys_keys() {
    if !is_there() {
        return;
    }
    let mut page = Page::new();
    let mut trace = golden::named("redirect-403");
    let attempts = trace.chains.iter_mut().flat_map(|chain| &mut chain.attempts);
    for request in attempts.flat_map(|attempt| &mut attempt.requests) {
        // Of what has more lines than fit it is said that there are more.
        let detail: Vec<String> = (1..=50).map(|number| format!("line {number}")).collect();
        request.error = Some(RequestError {
            kind: request.outcome,
            types: Vec::new(),
            detail: Some(detail.join("\n")),
            reason: None,
        });
    }
    page.open(&trace);
    assert_eq!(page.text("#shown"), "24 requests");
    assert!(page.number("document.querySelectorAll('.rows svg path.across').length") >= 8);
    page.set("search", "m01 storage.lab", "input");
    assert_eq!(page.text("#shown"), "4 of 24 requests");
    page.set("search", "", "input");
    page.set("kind", "redirects", "change");
    assert_eq!(page.text("#shown"), "16 of 24 requests");
    page.set("kind", "failed", "change");
    page.set("host", "storage.lab", "change");
    assert_eq!(page.text("#shown"), "8 of 24 requests");
    page.browser.evaluate("document.querySelector('.finding button').click()");
    assert!(page.text("#shown").contains("of 24"), "{}", page.text("#shown"));
    page.browser.evaluate("document.getElementById('clear').click()");
    // A group is shown alone, with the times to its scale, and Escape brings the others back.
    page.browser.evaluate("document.getElementById('list').focus()");
    page.browser.press("ArrowDown");
    page.browser.press("Enter");
    assert_eq!(page.text("#shown"), "6 of 24 requests");
    page.browser.press("Escape");
    assert_eq!(page.text("#shown"), "24 requests");
    page.set("group", "connection", "change");
    assert_eq!(page.text("#shown"), "24 requests");
    page.browser.evaluate("document.getElementById('list').focus()");
    page.browser.press("ArrowDown");
    page.browser.press("ArrowDown");
    let active = "document.getElementById('list').getAttribute('aria-activedescendant')";
    assert_eq!(page.browser.evaluate(active), "item1");
    page.browser.press("Enter");
    let details = page.text("#details");
    assert!(details.contains("https://") && details.contains("line 40\n…"), "{details}");
    assert!(!details.contains("line 41"), "{details}");
    page.browser.press("Escape");
    assert_eq!(page.browser.evaluate("document.getElementById('details').hidden"), true);
    // Whoever listens to the page hears what a row says, and every control has a name.
    let label =
        page.browser.evaluate("document.getElementById('item1').getAttribute('aria-label')");
    assert!(label.as_str().unwrap().contains("GET https://"), "{label}");
    let nameless = "[...document.querySelectorAll('input, select, button:not([hidden])')]\
                    .filter((e) => !e.labels?.length && !e.textContent.trim()).length";
    assert_eq!(page.number(nameless), 0);
    assert!(page.browser.misdeeds().is_empty(), "{:?}", page.browser.misdeeds());
}

/// However many requests there are, the document has those in view alone.
#[test]
fn many_requests_are_few_elements() {
    if !is_there() {
        return;
    }
    let mut page = Page::new();
    page.open(&grown(&golden::named("redirect-403"), 5000));
    assert!(page.text("#shown").starts_with("5,0"), "{}", page.text("#shown"));
    let elements = page.number("document.getElementsByTagName('*').length");
    assert!(elements < 2000, "{elements} elements");
    let ready = page.number("Number(document.documentElement.dataset.ready)");
    println!("ready after {ready} ms");
    page.browser.evaluate("document.getElementById('list').focus()");
    page.browser.press("End");
    let last = "document.querySelector('.chosen').getAttribute('aria-posinset') \
                === document.querySelector('.chosen').getAttribute('aria-setsize')";
    assert_eq!(page.browser.evaluate(last), true);
}

#[test]
fn nothing_hostile_runs() {
    if !is_there() {
        return;
    }
    let mut page = Page::new();
    let mut trace = golden::named("redirect-403");
    hostile::spoil(&mut trace, &hostile::markup());
    page.open(&trace);
    for (id, value, event) in
        [("search", "x", "input"), ("search", "", "input"), ("group", "none", "change")]
    {
        page.set(id, value, event);
    }
    page.browser.evaluate("document.getElementById('list').focus()");
    page.browser.press("ArrowDown");
    page.browser.press("Enter");
    page.browser
        .evaluate("document.querySelectorAll('details').forEach((e) => { e.open = true; })");
    assert_eq!(page.browser.evaluate("typeof window.hit"), "undefined");
    assert_eq!(page.number("document.querySelectorAll('img, iframe, a[href^=java]').length"), 0);
    assert_eq!(page.number("document.scripts.length"), 2);
    assert!(page.browser.misdeeds().is_empty(), "{:?}", page.browser.misdeeds());
    // Nor would it if it were markup: the policy refuses what the page did not come with.
    page.browser.evaluate(
        "document.body.append(Object.assign(document.createElement('img'), {src: 'http://x.lab/'}))",
    );
    page.browser.evaluate("new Promise((done) => setTimeout(done, 100))");
    assert!(!page.browser.misdeeds().is_empty(), "a policy that refuses nothing");
}

/// On a phone and at a desk, by day and by night: nothing is wider than the window.
#[test]
fn it_fits_and_can_be_read() {
    if !is_there() {
        return;
    }
    let pictures = std::env::var_os(PICTURES_VAR).map(PathBuf::from);
    let mut page = Page::new();
    let failing = golden::named("redirect-403");
    let many = grown(&failing, 5000);
    let traces = [
        ("failing", failing),
        ("direct", golden::named("all-direct")),
        ("healthy", golden::named("retry-h1")),
        ("many", many),
    ];
    for (name, trace) in traces {
        for (width, height) in [(390, 1800), (1440, 1600)] {
            for colors in ["light", "dark"] {
                page.browser.look(width, height, colors);
                page.open(&trace);
                let wide = page.number("document.documentElement.scrollWidth");
                assert!(wide <= i64::from(width), "{name}: {wide} in {width}");
                let contrast = page.browser.evaluate(CONTRAST);
                assert!(contrast.as_f64().unwrap() >= 4.5, "{name} {colors}: {contrast}");
                let picture = page.browser.picture();
                if let Some(directory) = &pictures {
                    fs::create_dir_all(directory).unwrap();
                    fs::write(directory.join(format!("{name}-{width}-{colors}.png")), picture)
                        .unwrap();
                }
            }
        }
    }
}

/// The least contrast of any text with what is behind it (WCAG 2.2, 1.4.3).
const CONTRAST: &str = r"(() => {
  const parse = (color) => color.match(/[\d.]+/g).map(Number);
  const light = (color) => {
    const [r, g, b] = parse(color).map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (e) => {
    for (let at = e; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color.length < 4 || color[3] > 0) return getComputedStyle(at).backgroundColor;
    }
    return getComputedStyle(document.documentElement).colorScheme.includes('dark') ? 'rgb(0,0,0)' : 'rgb(255,255,255)';
  };
  let least = 21;
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !e.checkVisibility() || ['SCRIPT', 'NOSCRIPT', 'OPTION'].includes(e.tagName)) continue;
    const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x);
    least = Math.min(least, (a + 0.05) / (b + 0.05));
  }
  return least;
})()";
