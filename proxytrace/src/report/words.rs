//! What go itself said of a failure, where that leads astray.

use crate::correlate::story::last_asked;
use crate::diagnose::culprit;
use crate::model::{Chain, Finding, Role, Trace};

/// The last line that go printed about the chain of a root cause, and the host that failed, if the
/// line names another host that was asked on the way there. What it says of another entry is true:
/// that one failed as well.
pub(super) fn misleading<'a>(trace: &'a Trace, finding: &Finding) -> Option<(&'a str, &'a str)> {
    if finding.role != Role::Root {
        return None;
    }
    let chain = trace.chains.iter().find(|chain| Some(chain.id) == finding.chain)?;
    let requests = &culprit(chain)?.requests;
    let host = last_asked(requests).map(|last| last.host.as_str())?;
    let process = trace.processes.iter().find(|process| process.id == chain.process)?;
    let mut lines = process.stderr_tail.as_deref()?.lines();
    let line = lines.rfind(|line| line.contains("://") && is_about(line, chain))?;
    let names = |host: &str| !host.is_empty() && line.contains(host);
    let leads_astray = requests.iter().any(|request| names(&request.host)) && !names(host);
    (leads_astray && !host.is_empty()).then_some((line, host))
}

/// Whether a line names the module, with its version where that is known.
fn is_about(line: &str, chain: &Chain) -> bool {
    let Some(module) = &chain.module else { return false };
    match &chain.version {
        Some(version) => line.contains(&format!("{module}@{version}:")),
        None => line.contains(&format!("{module}: ")),
    }
}

#[cfg(test)]
mod tests {
    use super::misleading;
    use crate::model::{Next, Outcome};
    use crate::report::samples;

    const LINE: &str = "go: example.com/m00@v1.0.0: reading \
                        https://proxy.example/example.com/m00/@v/v1.0.0.zip: 403 Forbidden";

    fn forbidden() -> crate::model::Trace {
        let mut trace = samples::forbidden();
        trace.chains[0].attempts[0].requests[1].host = "storage.example".to_owned();
        trace
    }

    #[test]
    fn a_line_that_names_another_host_leads_astray() {
        let mut trace = forbidden();
        assert_eq!(misleading(&trace, &trace.findings[0]), None);
        trace.processes[0].stderr_tail = Some(format!("go: downloading\n{LINE}\nexit\n"));
        let found = misleading(&trace, &trace.findings[0]);
        assert_eq!(found, Some((LINE, "storage.example")));
    }

    /// After `|` go asks the next entry, too, and prints the first failure if that has nothing.
    #[test]
    fn an_entry_that_was_asked_later_is_not_what_failed() {
        let mut trace = forbidden();
        let attempts = &mut trace.chains[0].attempts;
        let mut later = attempts[0].clone();
        attempts[0].next = Some(Next::NextEntry);
        later.outcome = Outcome::NotFound;
        for request in &mut later.requests {
            "later.example".clone_into(&mut request.host);
        }
        attempts.push(later);
        for (host, astray) in
            [("storage.example", false), ("proxy.example", true), ("later.example", false)]
        {
            let line = LINE.replace("proxy.example", host);
            trace.processes[0].stderr_tail = Some(line.clone());
            let expected = astray.then_some((&*line, "storage.example"));
            assert_eq!(misleading(&trace, &trace.findings[0]), expected, "{host}");
        }
    }

    #[test]
    fn a_line_about_something_else_does_not() {
        let mut trace = forbidden();
        for line in [
            LINE.replace("m00", "m01"),
            LINE.replace("proxy.example", "storage.example"),
            LINE.replace("https://", ""),
        ] {
            trace.processes[0].stderr_tail = Some(line);
            assert_eq!(misleading(&trace, &trace.findings[0]), None);
        }
        trace.processes[0].stderr_tail = Some(LINE.to_owned());
        trace.findings[0].role = crate::model::Role::Contributing;
        assert_eq!(misleading(&trace, &trace.findings[0]), None);
    }
}
