//! `proxytrace preflight`.

use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use proxytrace::capture;
use proxytrace::preflight::{self, Allowed, Options};
use proxytrace::report::{github, json, terminal};

use crate::audience::Audience;
use crate::cli::Report;
use crate::outputs::{Claims, Opened, Output, Outputs, STDOUT, Stderr, Stdout, Wanted};
use crate::{People, class_code, complain, exit, first_failure, write_with};

/// Ask each GOPROXY entry whether it works, as go would, without privileges.
///
/// Prints a line for each entry, and what is wrong. Exits with 0 if go would get everything, or if
/// that depends on who is not asked (`direct`), or on what cannot be known: what is behind SOCKS or
/// a host whose name is not ASCII, what commands of GOAUTH would let in, or lines of netrc that only
/// some releases of go find, certificates that preflight cannot verify, ciphers that it does not
/// speak. Exits with 1 if go would not get everything, or if the time was over before that was
/// known. With --shell or --github-env it is the GOPROXY handed on that counts.
#[derive(Args, Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "flags, each of which is there or not")]
#[command(override_usage = "proxytrace preflight [OPTIONS] [MODULE@VERSION]...")]
pub(crate) struct Preflight {
    /// What to ask about; without it, some of the modules that go.mod requires, or the go.mod files
    /// that go.work uses: those that go finds here or above, or is told by GOWORK and by -modfile in
    /// GOFLAGS. If they require none, whether each entry answers.
    #[arg(value_name = "MODULE@VERSION")]
    modules: Vec<String>,
    /// Ask a failing entry so often, and leave it out of the GOPROXY to use if it always fails.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    failures: u32,
    /// Give up after so long; each try has its share.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// Let the GOPROXY to use ask `direct` what an entry left out would have been asked.
    #[arg(long)]
    allow_direct: bool,
    /// The same for public proxies, such as proxy.golang.org.
    #[arg(long)]
    allow_public: bool,
    /// Append the GOPROXY to use, credentials and all, to the file that `$GITHUB_ENV` names.
    #[arg(long)]
    github_env: bool,
    /// Print the GOPROXY to use as shell code, for `eval`, and all else to stderr.
    #[arg(long)]
    pub(crate) shell: bool,
}

/// Asks and reports; the exit code.
pub(crate) fn run(preflight: &Preflight, report: &Report) -> u8 {
    let found = open(report).and_then(|(people, outputs, documents, claims)| {
        let found = preflight::run(&options(preflight))?;
        claims.settle()?;
        Ok((people, outputs, documents, found))
    });
    let (people, outputs, documents, found) = match found {
        Ok(found) => found,
        Err(error) => return complain(&error, exit::USAGE),
    };
    let on_stderr = preflight.shell || outputs.on_stdout || documents.iter().any(Output::is_stdout);
    let render = |options: &terminal::Options| {
        let findings =
            terminal::render(&found.trace, &terminal::Options { quiet: true, ..*options });
        let width = options.width.filter(|_| !options.verbose);
        let table = if options.quiet { String::new() } else { preflight::render(&found, width) };
        let blocks = [findings, table].into_iter().filter(|block| !block.is_empty());
        blocks.collect::<Vec<_>>().join("\n")
    };
    let (trace, render) = (&found.trace, &render);
    let reported = if on_stderr {
        write_with(trace, outputs, people, report, render, &mut Stderr::open())
    } else {
        write_with(trace, outputs, people, report, render, &mut Stdout::open())
    };
    let written = documents.into_iter().map(|document| {
        let context = format!("cannot write {}", document.path().display());
        write_json(document, &found).context(context)
    });
    let written = written.fold(Ok(()), anyhow::Result::and);
    let failed = written.and(hand_on(preflight, &found)).err();
    let failed = failed.map_or(0, |error| complain(&error, exit::FAILED));
    let fare = if preflight.shell || preflight.github_env { found.works_with } else { found.works };
    let class = || report.exit_class.then(|| class_code(trace)).flatten();
    let fares = if fare.is_bad() { class().unwrap_or(exit::FAILED) } else { 0 };
    first_failure([failed, fares, reported])
}

fn options(preflight: &Preflight) -> Options {
    Options {
        modules: preflight.modules.clone(),
        failures: preflight.failures,
        limit: Duration::from_secs(preflight.timeout),
        allowed: Allowed { direct: preflight.allow_direct, public: preflight.allow_public },
        argv: std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect(),
    }
}

/// The outputs, in which all is still there. What is JSON here is more than the trace, and is written
/// apart.
fn open(report: &Report) -> anyhow::Result<(People, Opened, Vec<Output>, Claims)> {
    let people = People::open(report, &Audience::find())?;
    let is_document = |one: &Wanted| one.format == json::FORMAT.name;
    let (documents, others): (Vec<_>, Vec<_>) =
        report.outputs.all().into_iter().partition(is_document);
    let mut claims = Claims::default();
    let documents = documents
        .into_iter()
        .map(|one| claims.open(&one.file.unwrap_or_else(|| STDOUT.into())))
        .collect::<anyhow::Result<Vec<Output>>>()?;
    let others = Outputs { format: others, ..Outputs::default() };
    let opened = Opened::open(&others, false, &mut claims)?;
    Ok((people, opened, documents, claims))
}

fn write_json(output: Output, found: &preflight::Report) -> anyhow::Result<()> {
    let mut file = BufWriter::new(output);
    json::value(found, &mut file)?;
    file.write_all(b"\n")?;
    Ok(file.flush()?)
}

/// Gives the GOPROXY to use to whoever asked for it.
fn hand_on(preflight: &Preflight, found: &preflight::Report) -> anyhow::Result<()> {
    if !preflight.shell && !preflight.github_env {
        return Ok(());
    }
    let goproxy = found.secret_goproxy().ok_or_else(|| anyhow!("GOPROXY has line breaks in it"))?;
    if preflight.shell {
        if found.has_secrets() && io::stdout().is_terminal() {
            bail!("GOPROXY has credentials in it: not printed to a terminal");
        }
        let quoted = goproxy.replace('\'', r"'\''");
        writeln!(io::stdout(), "export GOPROXY='{quoted}'")?;
    }
    if preflight.github_env {
        let around = Audience::find();
        let path = around
            .github_env()
            .context("$GITHUB_ENV names no file: this is no job of GitHub Actions")?;
        if around.in_github() {
            // What later steps have in their environment stands in their logs. The runner reads both
            // streams, and stdout may be for a shell or a file.
            let masks: String = found.secrets().iter().map(|one| github::mask(one)).collect();
            Stderr::open().write_all(masks.as_bytes())?;
        }
        let file = capture::append_output(&path);
        let write = file.and_then(|mut file| writeln!(file, "GOPROXY={goproxy}"));
        write.with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
