//! What is written beside the report for people, and where.

use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, ensure};
use clap::Args;
use proxytrace::capture;
use proxytrace::model::Trace;
use proxytrace::report::{self, Format};

/// What else to write, and where: `-` is stdout, and then the report goes to stderr.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Outputs {
    /// Write the trace as JSON (proxytrace.trace/v1) to FILE.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the trace as JSON lines to FILE, each chain as soon as it has ended.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) ndjson: Option<PathBuf>,
    /// Write a page with everything in it, for a browser, to FILE.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Write all requests as HAR 1.2, for developer tools, to FILE.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) har: Option<PathBuf>,
    /// Write for a CI: github, gitlab, junit, sarif, markdown; or any of the above, or text alone.
    ///
    /// In GitHub Actions `github` is chosen where this option is not given: annotations and a job
    /// summary beside the report.
    #[arg(long, global = true, value_name = "FORMAT[=FILE]", value_parser = wanted)]
    pub(crate) format: Vec<Wanted>,
}

/// A format, and where it is to be written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) format: String,
    pub(crate) file: Option<PathBuf>,
}

/// The report for people and what GitHub Actions reads of a log.
pub(crate) const GITHUB: &str = "github";
/// What grows with the trace.
const NDJSON: &str = "ndjson";
/// The report for people, and nothing else.
pub(crate) const TEXT: &str = "text";

fn wanted(argument: &str) -> Result<Wanted, String> {
    let (format, file) = match argument.split_once('=') {
        Some((format, file)) => (format, Some(PathBuf::from(file))),
        None => (argument, None),
    };
    if report::format(format).is_none() && (format != TEXT || file.is_some()) {
        let names: Vec<&str> = report::FORMATS.iter().map(|format| format.name).collect();
        return Err(format!("the formats are {} and {TEXT}", names.join(", ")));
    }
    Ok(Wanted { format: format.to_owned(), file })
}

impl Outputs {
    /// Everything that is to be written to a file.
    pub(crate) fn all(&self) -> Vec<Wanted> {
        let short = [
            ("json", &self.json),
            ("ndjson", &self.ndjson),
            ("html", &self.html),
            ("har", &self.har),
        ];
        let named = short.into_iter().filter_map(|(format, file)| {
            Some(Wanted { format: format.to_owned(), file: Some(file.clone()?) })
        });
        named.chain(self.format.iter().cloned()).collect()
    }
}

/// What `-` is opened as.
pub(crate) const STDOUT: &str = "-";

/// Outputs that are open, from before the command starts.
#[derive(Default)]
pub(crate) struct Opened {
    files: Vec<(Output, &'static Format)>,
    /// Written while the trace grows.
    stream: Option<Output>,
    /// Whether stdout is taken.
    pub(crate) on_stdout: bool,
}

/// A file, and its name.
pub(crate) struct Output {
    file: File,
    path: PathBuf,
}

impl Opened {
    /// Creates the files. `stream`: whether the trace is still to be made. `other`: what is written
    /// besides.
    pub(crate) fn open(
        outputs: &Outputs,
        stream: bool,
        other: Option<&File>,
    ) -> anyhow::Result<Self> {
        let mut opened = Opened::default();
        let mut known: Vec<_> = other.and_then(identity).into_iter().collect();
        for Wanted { format, file } in outputs.all() {
            if file.is_none() && [TEXT, GITHUB].contains(&&*format) {
                continue;
            }
            let file = file.unwrap_or_else(|| STDOUT.into());
            opened.on_stdout |= file == Path::new(STDOUT);
            let output = Output::create(&file)?;
            let is_it = identity(&output.file);
            ensure!(
                is_it.is_none_or(|one| !known.contains(&one)),
                "two outputs name the same file; one of the names is {}",
                file.display()
            );
            known.extend(is_it);
            match report::format(&format) {
                Some(format) if stream && format.name == NDJSON => opened.stream = Some(output),
                Some(format) => opened.files.push((output, format)),
                None => {}
            }
        }
        Ok(opened)
    }

    /// The output that grows with the trace.
    pub(crate) fn take_stream(&mut self) -> Option<Output> {
        self.stream.take()
    }

    /// Writes everything; the first failure is told when all have been tried.
    pub(crate) fn write(self, trace: &Trace) -> anyhow::Result<()> {
        let written = self.files.into_iter().map(|(output, format)| {
            let path = output.path.clone();
            report::write(format, trace, output)
                .with_context(|| format!("cannot write {}", path.display()))
        });
        written.fold(Ok(()), anyhow::Result::and)
    }
}

/// Which file it is, by whatever name; none for what takes many writers, such as a terminal.
fn identity(file: &File) -> Option<(u64, u64)> {
    let metadata = file.metadata().ok().filter(Metadata::is_file)?;
    Some((metadata.dev(), metadata.ino()))
}

impl Output {
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        let file = if path == Path::new(STDOUT) {
            io::stdout().as_fd().try_clone_to_owned().map(File::from)
        } else {
            capture::create_output(path)
        };
        let file = file.map_err(|error| {
            anyhow!("cannot create {}: {error}; name a file that can be written", path.display())
        })?;
        Ok(Output { file, path: path.to_owned() })
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn into_file(self) -> File {
        self.file
    }

    /// What it is called in messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
