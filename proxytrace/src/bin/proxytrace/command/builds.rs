//! `replay --by-build`: the builds of a recording, one after the other.

use std::fs::File;
use std::io::{BufReader, Seek as _, Write};
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use proxytrace::model::{Severity, Trace};
use proxytrace::recording::Reader;
use proxytrace::replay::{Survey, builds};
use proxytrace::report::builds::{heading, total};
use proxytrace::report::{self, ndjson, terminal};

use super::files::say_broken;
use crate::audience::Audience;
use crate::cli::Report;
use crate::outputs::{Claims, Output, STDOUT, Stderr, Stdout, TEXT, Wanted};
use crate::{People, class_code, complain, exit, first_failure};

/// Reports each build of a recording, and then how many there were.
pub(crate) fn replay(path: &Path, report: &Report) -> u8 {
    let opened = survey(path).and_then(|(file, survey)| {
        let people = People::without_ci(report, &Audience::find());
        let reader = reader(&file, path)?;
        Ok((Told::open(report, &file)?, people, survey, reader))
    });
    let (mut told, people, mut survey, reader) = match opened {
        Ok(opened) => opened,
        Err(error) => return complain(&error, exit::USAGE),
    };
    let broken = say_broken(path, survey.broken.take().map(Into::into));
    let failed = if told.on_stdout {
        let stderr = Stderr::open();
        told.all(reader, survey, &people.options(&stderr), stderr)
    } else {
        let stdout = Stdout::open();
        told.all(reader, survey, &people.options(&stdout), stdout)
    };
    let failed = failed.map_or_else(|error| complain(&error, exit::FAILED), |()| 0);
    first_failure([told.class, told.found, failed, broken])
}

fn survey(path: &Path) -> anyhow::Result<(File, Survey)> {
    let survey = || {
        let file = File::open(path)?;
        ensure!(file.metadata()?.is_file(), "it is read twice, so it must be a file");
        let survey = Survey::of(Reader::new(BufReader::new(&file))?);
        Ok((file, survey))
    };
    survey().with_context(|| format!("cannot read {}", path.display()))
}

/// The same recording from its beginning.
fn reader(mut file: &File, path: &Path) -> anyhow::Result<Reader<BufReader<File>>> {
    let mut again = || {
        file.rewind()?;
        anyhow::Ok(Reader::new(BufReader::new(file.try_clone()?))?)
    };
    again().with_context(|| format!("cannot read {} once more", path.display()))
}

/// What has been told so far, and where.
struct Told {
    lines: Vec<Output>,
    on_stdout: bool,
    quiet: bool,
    fail_on: Option<Severity>,
    exit_class: bool,
    builds: usize,
    /// Exit codes.
    found: u8,
    class: u8,
}

impl Told {
    fn open(report: &Report, recording: &File) -> anyhow::Result<Self> {
        let (mut lines, mut claims) = (Vec::new(), Claims::beside([recording.metadata()]));
        for Wanted { format, file } in report.outputs.all() {
            match &*format {
                TEXT => {}
                format if format == ndjson::FORMAT.name => {
                    lines.push(claims.open(&file.unwrap_or_else(|| STDOUT.into()))?);
                }
                other => bail!(
                    "there is no {other} of builds, as it is of the whole: only a text, and --ndjson"
                ),
            }
        }
        claims.settle()?;
        Ok(Self {
            on_stdout: lines.iter().any(Output::is_stdout),
            lines,
            quiet: report.quiet,
            fail_on: report.fail_on.map(Severity::from),
            exit_class: report.exit_class,
            builds: 0,
            found: 0,
            class: 0,
        })
    }

    fn all(
        &mut self,
        reader: Reader<BufReader<File>>,
        survey: Survey,
        options: &terminal::Options,
        mut people: impl Write,
    ) -> anyhow::Result<()> {
        let outside = builds(reader, survey, |trace| self.build(&trace, options, &mut people))?;
        if self.quiet {
            return Ok(());
        }
        people.write_all(total(self.builds, outside).as_bytes()).context("cannot write the report")
    }

    fn build(
        &mut self,
        trace: &Trace,
        options: &terminal::Options,
        people: &mut impl Write,
    ) -> anyhow::Result<()> {
        self.builds += 1;
        let text = terminal::render(trace, options);
        if !text.is_empty() {
            let text = heading(self.builds, trace) + &text + "\n";
            people
                .write_all(text.as_bytes())
                .and_then(|()| people.flush())
                .context("cannot write the report")?;
        }
        for output in &mut self.lines {
            report::write(&ndjson::FORMAT, trace, &mut *output)
                .with_context(|| format!("cannot write {}", output.path().display()))?;
        }
        if self.fail_on.is_some_and(|limit| trace.findings.iter().any(|one| one.severity >= limit))
        {
            self.found = exit::FINDINGS;
        }
        if self.exit_class {
            // One that another try does not help is enough.
            self.class = self.class.max(class_code(trace).unwrap_or(0));
        }
        Ok(())
    }
}
