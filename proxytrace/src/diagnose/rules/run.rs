//! PT603, PT606, PT702, PT704 where it is no root, PT900: about the run itself.

use crate::model::{Capture, Outcome, Process, Severity};

use super::super::cause::not_run;
use super::super::said::{Unused, unused};
use super::super::sign::Sign;
use super::super::view::View;
use super::counted;

/// PT603: one for each switch.
pub(super) fn toolchain_switch(view: &View<'_>) -> Vec<Sign> {
    let before = |process: &Process| {
        let before = view.process(process.parent?)?;
        (before.pid == process.pid && before.exe != process.exe).then_some(before)
    };
    let sign = |process: &Process| {
        let (from, to) = (before(process)?.go_version.as_deref()?, process.go_version.as_deref()?);
        let message = format!("{from} became {to} ({})", process.exe);
        (from != to).then(|| Sign::general("PT603", message))
    };
    view.trace.processes.iter().filter_map(sign).collect()
}

/// PT606. Not where something may have gone unseen.
pub(super) fn all_cached(view: &View<'_>) -> Vec<Sign> {
    let trace = view.trace;
    let asked = view.requests().next().is_some();
    let commands = trace.chains.iter().any(|chain| !chain.commands.is_empty());
    let cached: Vec<u32> = trace
        .chains
        .iter()
        .filter(|chain| chain.outcome == Outcome::Cached)
        .map(|chain| chain.id)
        .collect();
    let quiet = trace.capture.complete && trace.command.exit_code == Some(0);
    if !quiet || asked || commands || cached.is_empty() {
        return Vec::new();
    }
    let message = "everything was in the module cache: go asked nobody".to_owned();
    vec![Sign { chains: cached, ..Sign::general("PT606", message) }]
}

/// PT702: one for the whole trace.
pub(super) fn direct_vcs(view: &View<'_>) -> Vec<Sign> {
    let chains: Vec<u32> = view
        .trace
        .chains
        .iter()
        .filter(|chain| !chain.commands.is_empty())
        .map(|chain| chain.id)
        .collect();
    let commands: Vec<u32> =
        view.trace.chains.iter().flat_map(|chain| chain.commands.iter().copied()).collect();
    if chains.is_empty() {
        return Vec::new();
    }
    let tool = commands.first().and_then(|&id| view.process(id)?.argv.first().cloned());
    let tool = tool
        .as_deref()
        .map_or("a version control tool", |path| path.rsplit('/').next().unwrap_or(path));
    let message = format!(
        "go fetched from repositories itself: {} of {tool}",
        counted(commands.len(), "command", "commands")
    );
    vec![Sign { chains, ..Sign::general("PT702", message) }]
}

/// PT704: one for each go. Where the path of a module names its repository (github.com), go asks
/// nobody before it runs the tool: there is no chain to be the root of, and so no error. Other
/// programs than what fetches may not be there either.
pub(super) fn unused_tool(view: &View<'_>) -> Vec<Sign> {
    // Where go keeps repositories, and what later releases ask before they make one there.
    const OF_FETCH: [&str; 2] = ["/cache/vcs/", "failed to execute git version"];
    let sign = |process: &Process| {
        let own = view.chains_of(process.id);
        let told = own.iter().any(|chain| view.unused_tool(chain).is_some());
        let ended_badly = process.exit_code.is_some_and(|code| code != 0);
        let said = process.stderr_tail.as_deref().filter(|_| ended_badly && !told)?;
        let (tool, why) = said.lines().find_map(|line| {
            let of_fetch = || OF_FETCH.iter().any(|part| line.contains(part));
            unused(line).filter(|(_, why)| *why == Unused::Forbidden || of_fetch())
        })?;
        let (message, advice) = not_run(tool, why);
        Some(Sign::general("PT704", message).advising(advice).at_most(Severity::Warning))
    };
    view.trace.processes.iter().filter(|it| it.go_version.is_some()).filter_map(sign).collect()
}

/// Whether a go was read by the layouts of another release.
pub(in crate::diagnose) fn is_guessed(capture: &Capture) -> bool {
    capture.attach.iter().any(|attach| attach.nearest.is_some())
}

/// PT900: one for the whole trace.
pub(super) fn incomplete_capture(view: &View<'_>) -> Vec<Sign> {
    let capture = &view.trace.capture;
    let mut why = Vec::new();
    if capture.lost > 0 {
        let lost = usize::try_from(capture.lost).unwrap_or(usize::MAX);
        why.push(counted(lost, "event was lost", "events were lost"));
    }
    if let Some(reason) = &capture.watch_ended {
        why.push(format!("the watch ended before the command did ({reason})"));
    }
    let disagreed = capture.witnesses.as_ref().map_or(0, |witnesses| witnesses.disagreed);
    if disagreed > 0 {
        why.push(format!("go and its sockets disagree about requests: {disagreed}"));
    }
    for attach in &capture.attach {
        let missing: Vec<&str> = attach.missing.iter().map(|hook| hook.hook.as_str()).collect();
        if attach.hooks.is_empty() {
            why.push(format!("{} has no probes", attach.exe));
        } else if !missing.is_empty() {
            why.push(format!("{} has no probe in {}", attach.exe, missing.join(", ")));
        }
        if attach.late {
            why.push(format!("{} was running before it had its probes", attach.exe));
        }
        if let Some(nearest) = &attach.nearest {
            let version = attach.go_version.as_deref().unwrap_or("of no known version");
            why.push(format!("{} is {version}, and was read as if it were {nearest}", attach.exe));
        }
    }
    if capture.complete && !is_guessed(capture) {
        return Vec::new();
    }
    why.sort_unstable();
    why.dedup();
    vec![Sign::general("PT900", why.join("; "))]
}
