//! Lines of JSON in files that are changed, compressed and at last removed.
//!
//! `chains.ndjson` grows; from a size or an age on it is `chains-20260102T030405.678901Z.ndjson.gz`.
//! What is compressed is complete; what is not, ends with a whole line. By their names files are in
//! the order in which they were written, however the clock was set.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;

use super::disk::{is_at, is_full, open_file};
use super::ledger::Ledger;
use crate::export::rows::{Lines, Record};

/// Whoever else may write there must not lead us to other files.
const NO_LINKS: i32 = libc::O_NOFOLLOW;

/// Names are no nearer to one another.
const STEP: Duration = Duration::from_micros(1);

/// When a file is changed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rotation {
    pub(super) bytes: u64,
    pub(super) age: Duration,
    /// How much of compressed files of a kind is kept, in bytes.
    pub(super) keep: u64,
}

/// The files, of each kind one that grows.
pub(super) struct Files {
    place: PathBuf,
    rotation: Rotation,
    open: [Option<Open>; Record::ALL.len()],
    ledger: Ledger,
}

struct Open {
    file: File,
    bytes: u64,
    since: Instant,
}

impl Files {
    /// Goes on with the files that there are. What takes time is left to [`Files::tidy`].
    pub(super) fn open(place: PathBuf, rotation: Rotation, ledger: Ledger) -> io::Result<Self> {
        let mut files = Files { place, rotation, open: Default::default(), ledger };
        for record in Record::ALL {
            match files.begin(record) {
                // That passes: it is tried again with each line.
                Err(error) if is_full(&error) => files.ledger.failed(error.to_string()),
                begun => begun?,
            }
        }
        Ok(files)
    }

    /// Compresses what is complete, and removes what is more than is kept. What fails is told, and
    /// tried again with the next change of a file.
    pub(super) fn tidy(&self) {
        for record in Record::ALL {
            if let Err(error) = self.compress_all(record) {
                self.ledger.failed(error.to_string());
            }
        }
    }

    /// Other bounds of what is kept, from now on: whoever lowers them may need the room.
    pub(super) fn keep(&mut self, bytes: u64) {
        self.rotation.keep = bytes;
        self.tidy();
    }

    /// Lets go of files that are gone, and changes those that are old enough.
    pub(super) fn tick(&mut self) {
        for record in Record::ALL {
            self.let_go(record);
            let due = self.open[record as usize]
                .as_ref()
                .is_some_and(|open| open.bytes > 0 && open.since.elapsed() >= self.rotation.age);
            if due && let Err(error) = self.change(record) {
                self.ledger.failed(error.to_string());
            }
        }
    }

    /// Adds lines of a kind: all of them, or none.
    pub(super) fn write(&mut self, record: Record, lines: &Lines) -> io::Result<()> {
        if lines.count == 0 {
            return Ok(());
        }
        self.let_go(record);
        if self.open[record as usize].is_none() {
            self.begin(record)?;
        }
        let open = self.open[record as usize].as_mut().expect("it was opened above");
        if let Err(error) = open.file.write_all(&lines.bytes) {
            // Half a line must not spoil the next one.
            open.file.set_len(open.bytes)?;
            return Err(error);
        }
        open.bytes += lines.bytes.len() as u64;
        if open.bytes >= self.rotation.bytes
            && let Err(error) = self.change(record)
        {
            // The lines are written; that the file is too long is tried to be mended later.
            self.ledger.failed(error.to_string());
        }
        Ok(())
    }

    /// Closes a file that somebody has removed or moved: what is written to it nobody would see. So
    /// with one that somebody has emptied: its last line ends elsewhere than it did.
    fn let_go(&mut self, record: Record) {
        let path = self.growing(record);
        self.open[record as usize].take_if(|open| {
            let is_whole = open.file.metadata().is_ok_and(|now| now.len() >= open.bytes);
            !is_whole || !is_at(&open.file, &path)
        });
    }

    fn begin(&mut self, record: Record) -> io::Result<()> {
        // Somebody may have removed it, too.
        fs::create_dir_all(&self.place)?;
        let path = self.growing(record);
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o640);
        let mut file = open_file(&mut options, NO_LINKS, &path)?;
        let bytes = whole_lines(&mut file)?;
        if bytes < file.metadata()?.len() {
            self.ledger.book().dropped.torn += 1;
            file.set_len(bytes)?;
        }
        self.open[record as usize] = Some(Open { file, bytes, since: Instant::now() });
        Ok(())
    }

    fn growing(&self, record: Record) -> PathBuf {
        self.place.join(record.table()).with_extension("ndjson")
    }

    fn change(&mut self, record: Record) -> io::Result<()> {
        self.open[record as usize] = None;
        let at = self.later_than_all(record)?.strftime("%Y%m%dT%H%M%S%.6fZ");
        let name = format!("{}-{at}.ndjson", record.table());
        fs::rename(self.growing(record), self.place.join(name))?;
        self.compress_all(record)
    }

    /// Now, or where the clock was ahead before, right after what the names there say.
    fn later_than_all(&self, record: Record) -> io::Result<Timestamp> {
        let mut at = Timestamp::now();
        for entry in fs::read_dir(&self.place)? {
            let name = entry?.file_name();
            let last = name.to_str().and_then(|name| changed_at(name, record));
            // Nothing is later than the last time that there is.
            if let Some(next) = last.and_then(|last| last.checked_add(STEP).ok()) {
                at = at.max(next);
            }
        }
        Ok(at)
    }

    fn compress_all(&self, record: Record) -> io::Result<()> {
        let prefix = format!("{}-", record.table());
        let (mut plain, mut complete) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&self.place)? {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if !name.starts_with(&prefix) {
                continue;
            }
            if name.ends_with(".ndjson") {
                plain.push(path);
            } else if name.ends_with(".ndjson.gz") {
                complete.push(path);
            } else if name.ends_with(".partial") {
                self.remove(&path);
            }
        }
        // Before anything else: there may be no room for it.
        let mut complete = self.prune(complete);
        for path in plain {
            // One that cannot be compressed counts as it is.
            complete.push(compress(&path).unwrap_or_else(|error| {
                self.ledger.failed(format!("{}: {error}", path.display()));
                path
            }));
        }
        self.prune(complete);
        Ok(())
    }

    /// Removes the oldest, where there is more than is kept; yields what stays.
    fn prune(&self, mut complete: Vec<PathBuf>) -> Vec<PathBuf> {
        complete.sort();
        complete.dedup();
        let mut kept = 0;
        let beyond = complete.iter().rposition(|path| {
            kept += fs::symlink_metadata(path).map_or(0, |file| file.len());
            kept > self.rotation.keep
        });
        for path in complete.drain(..beyond.map_or(0, |last| last + 1)) {
            self.remove(&path);
        }
        complete
    }

    fn remove(&self, path: &Path) {
        if let Err(error) = fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            self.ledger.failed(format!("{}: {error}", path.display()));
        }
    }
}

/// When a file of a kind was changed, as its name says.
fn changed_at(name: &str, record: Record) -> Option<Timestamp> {
    let at = name.strip_prefix(record.table())?.strip_prefix('-')?;
    at.split_once(".ndjson")?.0.parse().ok()
}

/// Up to where there are whole lines.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let mut end = length;
    let mut block = [0; 1 << 12];
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        file.seek(SeekFrom::Start(start))?;
        let part = &mut block[..usize::try_from(end - start).expect("a block")];
        file.read_exact(part)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

fn compress(path: &Path) -> io::Result<PathBuf> {
    let compressed = path.with_extension("ndjson.gz");
    let partial = path.with_extension("ndjson.gz.partial");
    let _ = fs::remove_file(&partial);
    let written = (|| -> io::Result<()> {
        let mut options = OpenOptions::new();
        let output = options.write(true).create_new(true).mode(0o640).open(&partial)?;
        let mut encoder = GzEncoder::new(output, Compression::default());
        let mut input = open_file(OpenOptions::new().read(true), NO_LINKS, path)?;
        io::copy(&mut input, &mut encoder)?;
        // Should the power fail, a disk may have the names and not yet the contents.
        encoder.finish()?.sync_all()?;
        fs::rename(&partial, &compressed)?;
        // Not every file system can do that of a directory.
        let _ = File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all();
        Ok(())
    })();
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written?;
    fs::remove_file(path)?;
    Ok(compressed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;
    use std::os::unix::fs::symlink;
    use tempfile::TempDir;

    const ROTATION: Rotation =
        Rotation { bytes: 1_000, age: Duration::from_hours(1), keep: 1 << 20 };

    fn line(number: usize) -> Lines {
        Lines { bytes: format!("{{\"n\":{number:090}}}\n").into_bytes(), count: 1 }
    }

    fn files(dir: &TempDir, rotation: Rotation) -> (Files, Ledger) {
        let ledger = Ledger::default();
        let files = Files::open(dir.path().to_owned(), rotation, ledger.clone()).unwrap();
        files.tidy();
        (files, ledger)
    }

    fn names(dir: &TempDir) -> Vec<String> {
        let entries = fs::read_dir(dir.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.starts_with("chains")).collect();
        names.sort();
        names
    }

    fn read(dir: &TempDir) -> String {
        let mut all = String::new();
        for name in names(dir) {
            let bytes = fs::read(dir.path().join(&name)).unwrap();
            if Path::new(&name).extension().is_some_and(|extension| extension == "gz") {
                GzDecoder::new(&*bytes).read_to_string(&mut all).unwrap();
            } else {
                all.push_str(std::str::from_utf8(&bytes).unwrap());
            }
        }
        all
    }

    #[test]
    fn every_line_is_in_one_file() {
        let dir = TempDir::new().unwrap();
        let (mut files, _) = files(&dir, ROTATION);
        for number in 0..95 {
            files.write(Record::Chain, &line(number)).unwrap();
        }
        let all = read(&dir);
        assert_eq!(all.lines().count(), 95);
        assert_eq!(names(&dir).len(), 9);
    }

    #[test]
    fn the_oldest_files_go() {
        let dir = TempDir::new().unwrap();
        let (mut files, _) = files(&dir, Rotation { keep: 300, ..ROTATION });
        for number in 0..200 {
            files.write(Record::Chain, &line(number)).unwrap();
        }
        assert!(names(&dir).len() < 6, "{:?}", names(&dir));
        assert!(read(&dir).ends_with("199}\n"));
    }

    /// It was ahead and is right again, or was behind; within a second there are several files.
    #[test]
    fn the_oldest_files_go_whatever_the_clock_says() {
        for before in ["20000101T000000.000000Z", "21000101T000000.999999Z"] {
            let dir = TempDir::new().unwrap();
            let oldest = dir.path().join(format!("chains-{before}.ndjson"));
            fs::write(oldest, line(0).bytes).unwrap();
            let (mut files, ledger) = files(&dir, ROTATION);
            for number in 1..95 {
                files.write(Record::Chain, &line(number)).unwrap();
            }
            let all: String = (0..95).map(|n| String::from_utf8(line(n).bytes).unwrap()).collect();
            assert_eq!(read(&dir), all, "{:?}", names(&dir));
            files.keep(300);
            let kept = read(&dir);
            assert!(all.ends_with(&kept) && kept.len() < all.len(), "{:?}", names(&dir));
            assert!(names(&dir).len() > 1, "{:?}", names(&dir));
            assert_eq!(ledger.failures().0, 0);
        }
    }

    /// Nothing comes after them; a file of another kind says nothing of this one.
    #[test]
    fn names_of_others_keep_no_file_from_being_changed() {
        let dir = TempDir::new().unwrap();
        let others = [
            "chains-99991230T220000.999999Z.ndjson.gz",
            "chains-99999999T999999.999999Z.ndjson.gz",
            "chains-.ndjson.gz",
            "chains-copy.ndjson.gz",
            "builds-21000101T000000.000000Z.ndjson.gz",
        ];
        for name in others {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let (mut files, ledger) = files(&dir, ROTATION);
        for number in 0..95 {
            files.write(Record::Chain, &line(number)).unwrap();
        }
        let ours = names(&dir).into_iter().filter(|name| name.starts_with("chains-2")).count();
        assert_eq!((ours, ledger.failures().0), (8, 0), "{:?}", names(&dir));
    }

    #[test]
    fn a_file_changes_with_age() {
        let dir = TempDir::new().unwrap();
        let (mut files, _) = files(&dir, Rotation { age: Duration::ZERO, ..ROTATION });
        files.tick();
        assert_eq!(names(&dir), ["chains.ndjson"]);
        files.write(Record::Chain, &line(0)).unwrap();
        files.tick();
        assert!(names(&dir)[0].ends_with(".ndjson.gz"), "{:?}", names(&dir));
    }

    #[test]
    fn what_was_left_half_done_is_made_whole() {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("chains.ndjson"), "{\"a\":1}\n{\"b\":").unwrap();
        fs::write(dir.path().join("chains-20260102T030405Z.ndjson"), "{\"c\":1}\n").unwrap();
        fs::write(dir.path().join("chains-20260101T000000Z.ndjson.gz.partial"), "x").unwrap();
        let (mut files, ledger) = files(&dir, ROTATION);
        files.write(Record::Chain, &Lines { bytes: b"{\"d\":1}\n".to_vec(), count: 1 }).unwrap();
        assert_eq!(read(&dir), "{\"c\":1}\n{\"a\":1}\n{\"d\":1}\n");
        assert_eq!(names(&dir), ["chains-20260102T030405Z.ndjson.gz", "chains.ndjson"]);
        assert_eq!(ledger.now().dropped.torn, 1);
    }

    /// As where the disk is full: neither the start nor what is kept depends on it.
    #[test]
    fn what_cannot_be_compressed_stays_until_it_is_too_much() {
        let dir = TempDir::new().unwrap();
        let (packed, plain) =
            ("chains-20260101T000000Z.ndjson.gz", "chains-20260102T000000Z.ndjson");
        fs::write(dir.path().join(packed), "x").unwrap();
        // A link is not followed.
        symlink("elsewhere", dir.path().join(plain)).unwrap();
        let (mut files, ledger) = files(&dir, ROTATION);
        assert_eq!(ledger.now().failures, 1);
        assert!(ledger.failures().1.contains(plain), "{:?}", ledger.failures());
        files.write(Record::Chain, &line(0)).unwrap();
        assert_eq!(names(&dir), [packed, plain, "chains.ndjson"]);
        files.keep(0);
        assert_eq!(names(&dir), ["chains.ndjson"]);
        assert_eq!(ledger.now().failures, 2);
    }

    /// Of a FIFO nobody may ever have the other end.
    #[test]
    fn a_fifo_holds_nothing_up() {
        let dir = TempDir::new().unwrap();
        let (plain, growing) = ("chains-20260102T000000Z.ndjson", "chains.ndjson");
        mkfifo(&dir.path().join(plain), Mode::S_IRWXU).unwrap();
        let (mut files, ledger) = files(&dir, ROTATION);
        assert_eq!(ledger.now().failures, 1);
        assert!(ledger.failures().1.contains(plain), "{:?}", ledger.failures());
        files.write(Record::Chain, &line(0)).unwrap();
        assert_eq!(names(&dir), [plain, growing]);
        // It would be full in the end.
        fs::remove_file(dir.path().join(growing)).unwrap();
        mkfifo(&dir.path().join(growing), Mode::S_IRWXU).unwrap();
        assert!(files.write(Record::Chain, &line(1)).is_err());
    }

    #[test]
    fn what_somebody_removed_is_made_again() {
        let dir = TempDir::new().unwrap();
        let (mut files, ledger) = files(&dir, ROTATION);
        files.write(Record::Chain, &line(0)).unwrap();
        fs::remove_file(dir.path().join("chains.ndjson")).unwrap();
        files.write(Record::Chain, &line(1)).unwrap();
        assert_eq!(read(&dir).as_bytes(), line(1).bytes);
        fs::remove_dir_all(dir.path()).unwrap();
        files.tick();
        files.write(Record::Chain, &line(2)).unwrap();
        assert_eq!(read(&dir).as_bytes(), line(2).bytes);
        assert_eq!(ledger.failures().0, 0);
    }

    /// As `copytruncate` of logrotate does.
    #[test]
    fn what_somebody_emptied_is_begun_anew() {
        let dir = TempDir::new().unwrap();
        let (mut files, ledger) = files(&dir, Rotation { age: Duration::ZERO, ..ROTATION });
        for number in 0..8 {
            files.write(Record::Chain, &line(number)).unwrap();
        }
        File::create(dir.path().join("chains.ndjson")).unwrap();
        files.tick();
        assert_eq!(names(&dir), ["chains.ndjson"], "there is nothing to compress");
        for number in 0..8 {
            files.write(Record::Chain, &line(number)).unwrap();
        }
        File::create(dir.path().join("chains.ndjson")).unwrap();
        for number in 10..18 {
            files.write(Record::Chain, &line(number)).unwrap();
        }
        assert_eq!(names(&dir), ["chains.ndjson"], "it is not long enough");
        let length = files.open[Record::Chain as usize].as_ref().unwrap().bytes;
        assert_eq!(length, read(&dir).len() as u64);
        assert_eq!((ledger.failures().0, ledger.now().dropped.torn), (0, 0));
    }
}
