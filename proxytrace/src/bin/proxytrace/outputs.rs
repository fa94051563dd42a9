//! What is written beside the report for people, and where.

use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, anyhow, ensure};
use clap::Args;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd;
use proxytrace::capture;
use proxytrace::model::Trace;
use proxytrace::report::{self, Format};

/// What else to write, and where: `-` is stdout, and then the report goes to stderr.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Outputs {
    /// Write the trace as JSON (proxytrace.trace/v1), or what else the command finds, to FILE.
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
    /// In GitHub Actions `github` is chosen beside what goes to a FILE: annotations and a job
    /// summary with the report. `text` leaves them out, and so does a format on stdout.
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
    /// Written while the trace grows: one, and any other when the trace is there.
    stream: Option<Output>,
    /// Whether stdout is taken.
    pub(crate) on_stdout: bool,
}

/// A file, and its name.
pub(crate) struct Output {
    file: File,
    path: PathBuf,
    /// Whether it is stdout, by whatever name.
    is_stdout: bool,
    /// Whether its reader may have seen enough.
    may_close: bool,
    /// Whether what was in it is still there, and cannot be removed.
    is_full: Arc<AtomicBool>,
}

/// The outputs of a command: no two of them are one file, and what is in the files stays until nothing
/// can refuse the command any more.
#[derive(Default)]
pub(crate) struct Claims {
    known: Vec<Identity>,
    /// What is read.
    inputs: Vec<Identity>,
    /// Whether nothing is lost with what nobody reads on stdout.
    only_reads: bool,
    files: Vec<Claimed>,
}

/// A file that is to be emptied.
struct Claimed {
    file: File,
    /// What says that this failed.
    is_full: Arc<AtomicBool>,
    /// Its path, where there was none before: who is refused leaves none behind.
    new: Option<PathBuf>,
}

impl Drop for Claimed {
    fn drop(&mut self) {
        if let Some(path) = &self.new {
            let _ = capture::remove_output(path, &self.file);
        }
    }
}

impl Claims {
    /// Those of a command that does nothing but read these: none of them is written, and whoever reads
    /// its stdout may have seen enough, as `head` has.
    pub(crate) fn beside(inputs: impl IntoIterator<Item = io::Result<Metadata>>) -> Self {
        let known = inputs.into_iter().filter_map(Result::ok);
        let inputs = known.filter_map(|input| identity(&input)).collect();
        Self { inputs, only_reads: true, ..Self::default() }
    }

    /// Opens an output, or says why it cannot be one.
    pub(crate) fn open(&mut self, path: &Path) -> anyhow::Result<Output> {
        let opened = || {
            let stream = |found: io::Result<Metadata>| {
                let streams = [duplicate(&io::stdout())?, duplicate(&io::stderr())?];
                let stream = found.ok().and_then(|found| stream_of(&found, streams));
                io::Result::Ok(stream.map(|(stream, is_stdout)| (stream, is_stdout, None)))
            };
            if path == Path::new(STDOUT) {
                return Ok((duplicate(&io::stdout())?, true, None));
            }
            // Nobody can open a socket again, nor the user what somebody else has opened.
            if let Some(stream) = stream(fs::metadata(path))? {
                return Ok(stream);
            }
            let (file, is_new) = capture::open_output(path)?;
            // Where only the user may look.
            if let Some(stream) = stream(file.metadata())? {
                return Ok(stream);
            }
            let again = file.try_clone()?;
            Ok((file, false, Some((again, is_new))))
        };
        let (file, is_stdout, again) = opened().map_err(|error: io::Error| {
            anyhow!("cannot create {}: {error}; name a file that can be written", path.display())
        })?;
        let is_full = Arc::<AtomicBool>::default();
        if let Some(one) = file.metadata().ok().as_ref().and_then(identity) {
            ensure!(!self.inputs.contains(&one), "{} is what is to be read", path.display());
            ensure!(
                !self.known.contains(&one),
                "two outputs name the same file; one of the names is {}",
                path.display()
            );
            self.known.push(one);
            self.files.extend(again.map(|(file, is_new)| Claimed {
                file,
                is_full: Arc::clone(&is_full),
                new: is_new.then(|| path.to_owned()),
            }));
        }
        let may_close = self.only_reads && is_stdout;
        Ok(Output { file, path: path.to_owned(), is_stdout, may_close, is_full })
    }

    /// The same where it is wanted.
    pub(crate) fn open_any<'a>(
        &mut self,
        path: Option<&'a Path>,
    ) -> anyhow::Result<Option<(Output, &'a Path)>> {
        path.map(|path| Ok((self.open(path)?, path))).transpose()
    }

    /// Nothing refuses the command any more: what was in the files goes.
    pub(crate) fn settle(mut self) -> anyhow::Result<()> {
        let emptied = self.files.iter().try_for_each(|one| empty(&one.file));
        emptied.context("cannot empty an output")?;
        self.files.iter_mut().for_each(|one| one.new = None);
        Ok(())
    }

    /// The same where it is too late to refuse the command: what cannot be emptied stays as it is,
    /// which is told to whoever writes to it.
    pub(crate) fn settle_late(self) {
        for mut one in self.files {
            one.is_full.store(empty(&one.file).is_err(), Ordering::Relaxed);
            one.new = None;
        }
    }
}

/// Takes out what is in a file. Some file systems that are written to once refuse it of an empty one.
fn empty(file: &File) -> io::Result<()> {
    if file.metadata().is_ok_and(|now| now.len() == 0) { Ok(()) } else { file.set_len(0) }
}

impl Opened {
    /// Opens the files. `stream`: whether the trace is still to be made.
    pub(crate) fn open(
        outputs: &Outputs,
        stream: bool,
        claims: &mut Claims,
    ) -> anyhow::Result<Self> {
        let mut opened = Opened::default();
        for Wanted { format, file } in outputs.all() {
            if file.is_none() && [TEXT, GITHUB].contains(&&*format) {
                continue;
            }
            let output = claims.open(&file.unwrap_or_else(|| STDOUT.into()))?;
            opened.on_stdout |= output.is_stdout();
            match report::format(&format) {
                Some(format) if stream && format.name == NDJSON && opened.stream.is_none() => {
                    opened.stream = Some(output);
                }
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

/// A file, by whatever name.
type Identity = (u64, u64);

/// Which file it is; none for what takes many writers, such as a terminal.
fn identity(metadata: &Metadata) -> Option<Identity> {
    metadata.is_file().then(|| (metadata.dev(), metadata.ino()))
}

/// A standard stream as it is: what is written next comes behind what others have written there.
fn duplicate(stream: &impl AsFd) -> io::Result<File> {
    stream.as_fd().try_clone_to_owned().map(File::from)
}

/// Stdout or stderr, and whether it is stdout, where a file is one of them: `/dev/stdout`, or what
/// the shell has put there. As a file it is written from its beginning, over what is there.
fn stream_of(found: &Metadata, [stdout, stderr]: [File; 2]) -> Option<(File, bool)> {
    // On a terminal, and in /dev/null, nothing is written over, and both streams may be the same.
    let place = |metadata: &Metadata| {
        let kind = metadata.file_type();
        let is_one = kind.is_file() || kind.is_fifo() || kind.is_socket();
        is_one.then(|| (metadata.dev(), metadata.ino()))
    };
    let ours = place(found)?;
    let is_ours = |(stream, _): &(File, bool)| {
        stream.metadata().is_ok_and(|stream| place(&stream) == Some(ours))
    };
    [(stdout, true), (stderr, false)].into_iter().find(is_ours)
}

/// Writes to a stream that may not block, as others who share it may have it (node does): waits
/// until it takes more, as a write does that blocks.
fn patiently<W: AsFd, T>(
    stream: &mut W,
    mut write: impl FnMut(&mut W) -> io::Result<T>,
) -> io::Result<T> {
    loop {
        let error = match write(stream) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => error,
            done => return done,
        };
        let mut fds = [PollFd::new(stream.as_fd(), PollFlags::POLLOUT)];
        if poll(&mut fds, PollTimeout::NONE).is_err_and(|errno| errno != Errno::EINTR) {
            return Err(error);
        }
    }
}

/// Stderr, which may not block.
pub(crate) struct Stderr(io::Stderr);

impl Stderr {
    pub(crate) fn open() -> Self {
        Self(io::stderr())
    }
}

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        patiently(&mut self.0, |stderr| stderr.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        patiently(&mut self.0, io::Stderr::flush)
    }
}

impl AsFd for Stderr {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Stdout of a command that only reads: who has seen enough, as `head` has, is no failure.
pub(crate) struct Stdout(io::Stdout);

impl Stdout {
    pub(crate) fn open() -> Self {
        Self(io::stdout())
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = patiently(&mut self.0, |stdout| stdout.write(bytes));
        unless_closed(written, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        unless_closed(patiently(&mut self.0, io::Stdout::flush), ())
    }
}

impl AsFd for Stdout {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What became of a write; what nobody reads any more is as good as written.
fn unless_closed<T>(written: io::Result<T>, all: T) -> io::Result<T> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(all),
        written => written,
    }
}

impl Output {
    /// What it is called in messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is stdout, which then takes nothing else.
    pub(crate) fn is_stdout(&self) -> bool {
        self.is_stdout
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // What is longer than what comes would be taken for a part of it.
        if self.is_full.load(Ordering::Relaxed) {
            return Err(io::Error::other("what was in it cannot be removed"));
        }
        let written = patiently(&mut self.file, |file| file.write(bytes));
        if self.may_close { unless_closed(written, bytes.len()) } else { written }
    }

    fn flush(&mut self) -> io::Result<()> {
        // Where a server has it, what it has no room for is known when it is closed.
        if let Ok(again) = self.file.try_clone() {
            unistd::close(again)?;
        }
        Ok(())
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::{AsRawFd as _, OwnedFd};
    use std::os::unix::net::UnixStream;
    use std::thread;
    use std::time::Duration;

    use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl};
    use nix::sys::memfd::{MFdFlags, memfd_create};

    use super::*;

    /// Whoever is refused still has what was in the file.
    #[test]
    fn nothing_is_emptied_before_all_are_open() {
        let directory = tempfile::tempdir().unwrap();
        let (old, other) = (directory.path().join("old"), directory.path().join("other"));
        fs::write(&old, "old").unwrap();
        fs::hard_link(&old, &other).unwrap();
        let mut claims = Claims::default();
        let output = claims.open(&old).unwrap();
        for again in [&old, &other] {
            let refused = claims.open(again).err().unwrap().to_string();
            assert!(refused.contains("two outputs name the same file"), "{refused}");
        }
        drop((claims, output));
        assert_eq!(fs::read(&old).unwrap(), b"old");

        let mut claims = Claims::default();
        let mut output = claims.open(&old).unwrap();
        claims.settle().unwrap();
        output.write_all(b"n").unwrap();
        assert_eq!(fs::read(&old).unwrap(), b"n");
        // What is read stays.
        let inputs = [fs::metadata(directory.path()), fs::metadata(&old), fs::metadata("missing")];
        let refused = Claims::beside(inputs).open(&other).err().unwrap();
        assert!(refused.to_string().contains("is what is to be read"), "{refused}");
        // What has no content of its own takes any number.
        let mut claims = Claims::default();
        let null = Path::new("/dev/null");
        assert!(claims.open(null).is_ok() && claims.open(null).is_ok() && claims.settle().is_ok());
    }

    #[test]
    fn who_is_refused_leaves_no_file_behind() {
        let directory = tempfile::tempdir().unwrap();
        let [new, old, taken] = ["new", "old", "taken"].map(|name| directory.path().join(name));
        fs::write(&old, "").unwrap();
        let open = || {
            let mut claims = Claims::default();
            for path in [&new, &old, &taken] {
                claims.open(path).unwrap();
            }
            claims
        };
        let refused = open();
        fs::write(&taken, "of somebody else").unwrap();
        drop(refused);
        assert_eq!([&new, &old, &taken].map(|path| path.exists()), [false, true, true]);
        // Nobody is refused any more.
        open().settle().unwrap();
        assert!(new.exists());
        fs::remove_file(&new).unwrap();
        open().settle_late();
        assert!(new.exists());
    }

    /// A log, in which the command writes, too.
    #[test]
    fn a_file_that_is_a_stream_is_written_behind_what_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("other"), "").unwrap();
        for (name, found) in [("out", Some(true)), ("err", Some(false)), ("other", None)] {
            let streams = ["out", "err"].map(|name| File::create(path(name)).unwrap());
            for mut stream in &streams {
                stream.write_all(b"before\n").unwrap();
            }
            let stream = stream_of(&fs::metadata(path(name)).unwrap(), streams);
            assert_eq!(stream.as_ref().map(|(_, is_stdout)| *is_stdout), found, "{name}");
            if let Some((mut stream, _)) = stream {
                stream.write_all(b"behind\n").unwrap();
                assert_eq!(fs::read(path(name)).unwrap(), b"before\nbehind\n");
            }
        }
        let pipe = || File::from(OwnedFd::from(io::pipe().unwrap().1));
        let (out, err) = (pipe(), pipe());
        let again = err.metadata().unwrap();
        assert!(stream_of(&again, [out, err]).is_some_and(|(_, is_stdout)| !is_stdout));
        // It cannot be opened by any name.
        let socket = File::from(OwnedFd::from(UnixStream::pair().unwrap().0));
        let again = PathBuf::from(format!("/proc/self/fd/{}", socket.as_raw_fd()));
        assert!(File::options().write(true).open(&again).is_err());
        let found = stream_of(&fs::metadata(&again).unwrap(), [socket, pipe()]);
        assert!(found.is_some_and(|(_, is_stdout)| is_stdout));
        // What keeps nothing is no stream of ours.
        let null = || File::options().write(true).open("/dev/null").unwrap();
        assert!(stream_of(&null().metadata().unwrap(), [null(), null()]).is_none());
    }

    /// Whoever shares a stream with us may not want to be held up.
    #[test]
    fn what_does_not_block_is_waited_for() {
        let (mut reader, writer) = io::pipe().unwrap();
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let mut output = Claims::default().open(Path::new("/dev/null")).unwrap();
        output.file = OwnedFd::from(writer).into();
        let written = thread::spawn(move || output.write_all(&vec![b'x'; 1 << 20]));
        thread::sleep(Duration::from_millis(20));
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        written.join().unwrap().unwrap();
        assert_eq!(all.len(), 1 << 20);
    }

    /// As on a server that has gone meanwhile.
    #[test]
    fn what_cannot_be_emptied_is_not_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let other = directory.path().join("other");
        fs::write(&other, "of yesterday").unwrap();
        let mut memory = File::from(memfd_create(c"old", MFdFlags::MFD_ALLOW_SEALING).unwrap());
        memory.write_all(b"of yesterday").unwrap();
        fcntl(&memory, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK)).unwrap();
        let sealed = PathBuf::from(format!("/proc/self/fd/{}", memory.as_raw_fd()));
        let mut claims = Claims::default();
        let mut outputs = [&sealed, &other].map(|path| claims.open(path).unwrap());
        claims.settle_late();
        let written = outputs.each_mut().map(|output| output.write_all(b"new").is_ok());
        assert_eq!(written, [false, true]);
        assert_eq!(fs::read(&sealed).unwrap(), b"of yesterday");
        assert_eq!(fs::read(&other).unwrap(), b"new");
        // Whoever can still be refused is.
        let mut claims = Claims::default();
        assert!(claims.open(&sealed).is_ok() && claims.settle().is_err());
    }

    /// But of a file, or of what a run saw, nothing may be missing.
    #[test]
    fn a_reader_of_stdout_may_have_seen_enough() {
        for (path, mut claims, is_failure) in [
            (STDOUT, Claims::beside([]), false),
            (STDOUT, Claims::default(), true),
            ("/dev/null", Claims::beside([]), true),
        ] {
            let (reader, writer) = io::pipe().unwrap();
            drop(reader);
            let mut output = claims.open(Path::new(path)).unwrap();
            output.file = OwnedFd::from(writer).into();
            assert_eq!(output.write_all(b"x").is_err(), is_failure, "{path}");
        }
    }

    #[test]
    fn one_output_grows_and_no_other_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| directory.path().join(name));
        let again = Wanted { format: NDJSON.to_owned(), file: Some(second.clone()) };
        let outputs =
            Outputs { ndjson: Some(first.clone()), format: vec![again], ..Outputs::default() };
        let mut opened = Opened::open(&outputs, true, &mut Claims::default()).unwrap();
        assert_eq!(opened.take_stream().map(|output| output.path), Some(first));
        let others: Vec<&Path> = opened.files.iter().map(|(output, _)| output.path()).collect();
        assert_eq!(others, [second.as_path()]);
    }
}
