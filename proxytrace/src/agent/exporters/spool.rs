//! A queue of what is to be sent, bounded, in memory or on disk.
//!
//! On disk it is a directory of files of frames (see `frame`). What is on disk outlives the agent,
//! however it ends, though not a loss of power: nothing waits for the disk. A file is removed when
//! the receiver has taken it; should the agent end in between, it is sent again.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::disk::{is_at, is_full, open_file};
use super::frame::{HEADER, frame, frames};
use super::ledger::Ledger;

/// A file that has grown so large is complete: no message is much longer.
const SEGMENT: u64 = 512 << 10;
const EXTENSION: &str = "queue";
const LOCK: &str = "lock";

/// The queue.
pub(super) struct Spool {
    place: Option<PathBuf>,
    limit: u64,
    complete: VecDeque<Segment>,
    open: Option<(Segment, Option<File>)>,
    next: u64,
    /// Keeps others from the directory.
    lock: Option<File>,
    /// Is being sent, and stays until that is known.
    in_flight: Option<u64>,
    ledger: Ledger,
}

struct Segment {
    number: u64,
    records: u64,
    bytes: u64,
    /// Its frames, where it is in memory.
    frames: Vec<u8>,
}

/// What is to be sent in one message.
pub(super) struct Batch {
    pub(super) number: u64,
    pub(super) records: u64,
    pub(super) payload: Vec<u8>,
}

impl Spool {
    /// The queue in a directory, with what is left in it from before; or one in memory.
    pub(super) fn open(place: Option<PathBuf>, limit: u64, ledger: Ledger) -> io::Result<Self> {
        let (mut lock, mut before) = (None, (VecDeque::new(), 0));
        if let Some(place) = &place {
            lock = match take(place) {
                Ok(lock) => Some(lock),
                // It is tried again with each file.
                Err(error) if is_full(&error) => {
                    ledger.failed(error.to_string());
                    None
                }
                Err(error) => return Err(error),
            };
            if place.is_dir() {
                before = left(place, &ledger)?;
            }
        }
        let (complete, next) = before;
        let (open, in_flight) = (None, None);
        let spool = Self { place, limit, complete, open, next, lock, in_flight, ledger };
        spool.tell();
        Ok(spool)
    }

    /// Adds records that belong together, in pieces. Where there is no room for them, the oldest
    /// have to go. In memory, where they are already, what is more than the room for all gets in
    /// alone; on disk as much of it as there may be.
    pub(super) fn push<'a>(&mut self, pieces: impl Iterator<Item = (&'a [u8], u64)> + Clone) {
        let length = |piece: &[u8]| (piece.len() + HEADER) as u64;
        let all = pieces.clone().map(|(piece, _)| length(piece)).sum();
        let is_whole = self.make_room(all);
        for (piece, records) in pieces {
            if is_whole || self.make_room(length(piece)) {
                self.add(piece, records);
            } else {
                self.ledger.book().dropped.full += records;
            }
        }
        self.tell();
    }

    fn add(&mut self, piece: &[u8], records: u64) {
        if records == 0 {
            return;
        }
        if let Err(error) = self.append(piece, records) {
            self.ledger.book().dropped.disk += records;
            self.ledger.refused(error.to_string());
            // Nothing is added to a file that may have half a frame at its end.
            self.give_up_open();
        }
        if self.open.as_ref().is_some_and(|(open, _)| open.bytes >= SEGMENT) {
            self.complete();
        }
    }

    /// What has been added may be sent, though it is little.
    pub(super) fn complete(&mut self) {
        if let Some((mut segment, _)) = self.open.take() {
            // It may wait in memory for long.
            segment.frames.shrink_to_fit();
            self.complete.push_back(segment);
        }
    }

    /// The oldest, which stays until [`Spool::taken`] or [`Spool::refused`].
    pub(super) fn first(&mut self) -> Option<Batch> {
        while let Some(first) = self.complete.front() {
            let (number, records, bytes) = (first.number, first.records, first.bytes);
            let read = match &self.place {
                Some(place) => content(&file(place, number)),
                None => Ok(first.frames.clone()),
            };
            let read = match read {
                Ok(read) => read,
                // Somebody has removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                Err(error) => {
                    self.ledger.failed(error.to_string());
                    // It may be read later, as where there were too many open files.
                    if error.raw_os_error() != Some(libc::EIO) {
                        return None;
                    }
                    // Nothing else waits for what the disk has lost. The next start tries it again.
                    self.ledger.book().dropped.torn += records;
                    self.leave(number);
                    continue;
                }
            };
            let frames = frames(&read);
            let lost = records.saturating_sub(frames.records);
            if lost > 0 {
                self.ledger.book().dropped.torn += lost;
                // It is booked, and is not again with the next try, or where the rest has to go.
                if let Some(first) = self.complete.front_mut() {
                    first.records = frames.records;
                }
            }
            if frames.payload.is_empty() {
                self.remove(number);
                continue;
            }
            debug_assert!(bytes > 0);
            self.in_flight = Some(number);
            return Some(Batch { number, records: frames.records, payload: frames.payload });
        }
        None
    }

    /// The receiver has the batch.
    pub(super) fn taken(&mut self, batch: &Batch) {
        self.ledger.book().sent += batch.records;
        self.remove(batch.number);
    }

    /// The receiver will never take the batch.
    pub(super) fn refused(&mut self, batch: &Batch) {
        self.ledger.book().dropped.refused += batch.records;
        self.remove(batch.number);
    }

    /// The receiver does not have the batch, and may take it another time: until then it may have to
    /// go, as the others. Where it may be for what is in it, others are sent first.
    pub(super) fn failed(&mut self, batch: &Batch, may_be_its: bool) {
        self.in_flight = None;
        let place = self.complete.iter().position(|segment| segment.number == batch.number);
        if may_be_its && let Some(segment) = place.and_then(|at| self.complete.remove(at)) {
            self.complete.push_back(segment);
        }
    }

    /// The agent ends: what is in memory is lost.
    pub(super) fn end(&mut self) {
        self.complete();
        if self.place.is_none() {
            let lost: u64 = self.complete.drain(..).map(|segment| segment.records).sum();
            self.ledger.book().dropped.ended += lost;
        }
        self.tell();
    }

    fn bytes(&self) -> u64 {
        let open = self.open.as_ref().map_or(0, |(open, _)| open.bytes);
        self.complete.iter().map(|segment| segment.bytes).sum::<u64>() + open
    }

    fn make_room(&mut self, length: u64) -> bool {
        let limit = if self.place.is_some() {
            self.limit
        } else {
            let under_way = self.complete.iter().find(|one| Some(one.number) == self.in_flight);
            self.limit.max(under_way.map_or(0, |one| one.bytes) + length)
        };
        if length > limit {
            return false;
        }
        while self.bytes() + length > limit {
            let others = self.complete.iter().filter(|one| Some(one.number) != self.in_flight);
            let oldest = others.min_by_key(|one| one.number);
            let Some((number, records)) = oldest.map(|one| (one.number, one.records)) else {
                if self.open.is_none() {
                    return false;
                }
                self.complete();
                continue;
            };
            self.ledger.book().dropped.full += records;
            self.remove(number);
        }
        true
    }

    fn append(&mut self, payload: &[u8], records: u64) -> io::Result<()> {
        if self.open.is_none() {
            let number = self.next;
            // Whatever comes of it: should there be such a file, the next one has another number.
            self.next += 1;
            let file = self.begin(number)?;
            let segment = Segment { number, records: 0, bytes: 0, frames: Vec::new() };
            self.open = Some((segment, file));
        }
        let (segment, file) = self.open.as_mut().expect("it was opened above");
        let frame = frame(payload, records)?;
        match file {
            Some(file) => {
                if let Err(error) = file.write_all(&frame) {
                    // What there is of it must not spoil what comes after.
                    file.set_len(segment.bytes)?;
                    return Err(error);
                }
            }
            None => segment.frames.extend(&frame),
        }
        segment.bytes += frame.len() as u64;
        segment.records += records;
        Ok(())
    }

    fn begin(&mut self, number: u64) -> io::Result<Option<File>> {
        let Some(place) = &self.place else { return Ok(None) };
        // Somebody may have removed the directory, or what is in it.
        if self.lock.as_ref().is_none_or(|lock| !is_at(lock, &place.join(LOCK))) {
            self.lock = Some(take(place)?);
        }
        create(&file(place, number)).map(Some)
    }

    fn give_up_open(&mut self) {
        match self.open.take() {
            Some((segment, _)) if segment.bytes > 0 => self.complete.push_back(segment),
            Some((segment, _)) => self.remove(segment.number),
            None => {}
        }
    }

    fn remove(&mut self, number: u64) {
        if let Some(place) = &self.place {
            // Should it stay, it is sent again after the next start.
            let _ = fs::remove_file(file(place, number));
        }
        self.leave(number);
    }

    /// It is not to be sent; its file stays where it is.
    fn leave(&mut self, number: u64) {
        self.complete.retain(|segment| segment.number != number);
        if self.in_flight == Some(number) {
            self.in_flight = None;
        }
        self.tell();
    }

    fn tell(&self) {
        self.ledger.book().queued_bytes = Some(self.bytes());
    }
}

fn file(place: &Path, number: u64) -> PathBuf {
    place.join(format!("{number:016x}.{EXTENSION}"))
}

/// For our own eyes: what is in it says what people build.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)
}

/// What is in a file of the queue.
fn content(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_file(OpenOptions::new().read(true), 0, path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Makes a directory one's own. With two agents on it, everything would be sent twice.
fn take(place: &Path) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(place)?;
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(false).mode(0o600);
    let lock = open_file(options, libc::O_NOFOLLOW, &place.join(LOCK))?;
    lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => io::Error::other("another agent has it"),
        TryLockError::Error(error) => error,
    })?;
    Ok(lock)
}

/// What is left in a directory from before, oldest first, and the number after all that are there.
fn left(place: &Path, ledger: &Ledger) -> io::Result<(VecDeque<Segment>, u64)> {
    let (mut segments, mut next) = (Vec::new(), 0);
    for entry in fs::read_dir(place)? {
        let path = entry?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let number = stem.and_then(|stem| u64::from_str_radix(stem, 16).ok());
        let Some(number) = number.filter(|_| path.extension().is_some_and(|it| it == EXTENSION))
        else {
            continue;
        };
        next = next.max(number.wrapping_add(1));
        let bytes = match content(&path) {
            Ok(bytes) => bytes,
            // All others are sent. It stays where it is: the next start tries it again.
            Err(error) => {
                ledger.book().dropped.torn += 1;
                ledger.failed(format!("{}: {error}", path.display()));
                continue;
            }
        };
        let frames = frames(&bytes);
        ledger.book().dropped.torn += frames.torn;
        if frames.records == 0 {
            // Should it stay, it comes to nothing the next time, too.
            let _ = fs::remove_file(&path);
            continue;
        }
        let bytes = frames.length as u64;
        segments.push(Segment { number, records: frames.records, bytes, frames: Vec::new() });
    }
    segments.sort_by_key(|segment| segment.number);
    Ok((segments.into(), next))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::Delivery;
    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use tempfile::TempDir;

    fn spool(place: Option<&TempDir>, limit: u64) -> (Spool, Ledger) {
        let ledger = Ledger::default();
        let place = place.map(|dir| dir.path().join("q"));
        (Spool::open(place, limit, ledger.clone()).unwrap(), ledger)
    }

    fn one(piece: &[u8], records: u64) -> impl Iterator<Item = (&[u8], u64)> + Clone {
        std::iter::once((piece, records))
    }

    fn drain(spool: &mut Spool) -> Vec<(u64, Vec<u8>)> {
        let mut all = Vec::new();
        while let Some(batch) = spool.first() {
            spool.taken(&batch);
            all.push((batch.records, batch.payload));
        }
        all
    }

    #[test]
    fn what_goes_in_comes_out_in_order() {
        let dir = TempDir::new().unwrap();
        for place in [None, Some(&dir)] {
            let (mut spool, ledger) = spool(place, 1 << 20);
            spool.push(one(b"ab", 2));
            spool.push(one(b"c", 1));
            assert!(spool.first().is_none(), "it is not complete");
            spool.complete();
            spool.push(one(b"d", 1));
            spool.complete();
            assert_eq!(drain(&mut spool), [(3, b"abc".to_vec()), (1, b"d".to_vec())]);
            let expected = Delivery { sent: 4, queued_bytes: Some(0), ..Delivery::default() };
            assert_eq!(ledger.now(), expected);
        }
        assert_eq!(fs::read_dir(dir.path().join("q")).unwrap().count(), 1, "the lock alone");
    }

    #[test]
    fn what_is_on_disk_outlives_the_agent() {
        let dir = TempDir::new().unwrap();
        let (mut before, _) = spool(Some(&dir), 1 << 20);
        before.push(one(b"a", 1));
        before.complete();
        before.push(one(b"b", 1));
        drop(before);
        let (mut after, ledger) = spool(Some(&dir), 1 << 20);
        assert!(ledger.now().queued_bytes.unwrap() > 0);
        after.push(one(b"c", 1));
        after.complete();
        let payloads: Vec<_> = drain(&mut after).into_iter().map(|(_, payload)| payload).collect();
        assert_eq!(payloads, [b"a", b"b", b"c"]);
    }

    /// As where there are too many open files: it is all there when that has passed.
    #[test]
    fn what_cannot_be_read_now_is_read_later() {
        let dir = TempDir::new().unwrap();
        let (mut spool, ledger) = spool(Some(&dir), 1 << 20);
        for piece in [b"a", b"b"] {
            spool.push(one(piece, 1));
            spool.complete();
        }
        let path = file(&dir.path().join("q"), 0);
        let away = dir.path().join("away");
        fs::rename(&path, &away).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(spool.first().is_none());
        assert_eq!((ledger.failures().0, ledger.now().dropped.all()), (1, 0));
        fs::remove_dir(&path).unwrap();
        fs::rename(&away, &path).unwrap();
        assert_eq!(drain(&mut spool), [(1, b"a".to_vec()), (1, b"b".to_vec())]);
    }

    /// It may be read another time; what comes after it does not wait for that.
    #[test]
    fn what_the_disk_has_lost_is_left_aside() {
        let dir = TempDir::new().unwrap();
        let path = file(&dir.path().join("q"), 1);
        let away = dir.path().join("away");
        let (mut running, ledger) = spool(Some(&dir), 1 << 20);
        for piece in [b"a", b"b", b"c"] {
            running.push(one(piece, 2));
            running.complete();
        }
        fs::rename(&path, &away).unwrap();
        // At its beginning it cannot be read: EIO.
        symlink("/proc/self/mem", &path).unwrap();
        assert_eq!(drain(&mut running), [(2, b"a".to_vec()), (2, b"c".to_vec())]);
        assert_eq!((ledger.failures().0, ledger.now().dropped.torn), (1, 2));
        drop(running);

        let (mut next, ledger) = spool(Some(&dir), 1 << 20);
        // Nobody knows how much is in it.
        assert_eq!((ledger.failures().0, ledger.now().dropped.torn), (1, 1));
        for piece in [b"d", b"e"] {
            next.push(one(piece, 1));
            next.complete();
        }
        assert_eq!(drain(&mut next), [(1, b"d".to_vec()), (1, b"e".to_vec())]);
        assert_eq!(ledger.now().dropped.disk, 0);
        drop(next);

        fs::rename(&away, &path).unwrap();
        let (mut last, _) = spool(Some(&dir), 1 << 20);
        assert_eq!(drain(&mut last), [(2, b"b".to_vec())]);
    }

    /// Of a FIFO nobody may ever have the other end.
    #[test]
    fn a_fifo_holds_nothing_up() {
        let dir = TempDir::new().unwrap();
        let place = dir.path().join("q");
        let put = |path: &Path| {
            fs::remove_file(path).unwrap();
            mkfifo(path, Mode::S_IRWXU).unwrap();
        };
        let (mut running, ledger) = spool(Some(&dir), 1 << 20);
        running.push(one(b"a", 1));
        running.complete();
        put(&file(&place, 0));
        assert!(running.first().is_none());
        assert_eq!((ledger.failures().0, ledger.now().dropped.all()), (1, 0));
        drop(running);

        let (mut next, ledger) = spool(Some(&dir), 1 << 20);
        assert_eq!((ledger.failures().0, ledger.now().dropped.torn), (1, 1));
        next.push(one(b"b", 1));
        next.complete();
        assert_eq!(drain(&mut next), [(1, b"b".to_vec())]);
        drop(next);

        put(&place.join(LOCK));
        assert!(Spool::open(Some(place), 1 << 20, Ledger::default()).is_err());
    }

    #[test]
    fn a_directory_that_was_removed_is_made_again() {
        let dir = TempDir::new().unwrap();
        let place = dir.path().join("q");
        let (mut spool, ledger) = spool(Some(&dir), 1 << 20);
        spool.push(one(b"a", 1));
        spool.complete();
        fs::remove_dir_all(&place).unwrap();
        spool.push(one(b"b", 1));
        spool.complete();
        assert_eq!(drain(&mut spool), [(1, b"b".to_vec())]);
        let dropped = ledger.now().dropped;
        assert_eq!((dropped.disk, dropped.torn), (0, 1));
        assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o700);
        // It is nobody else's.
        assert!(Spool::open(Some(place), 1 << 20, Ledger::default()).is_err());
    }

    #[test]
    fn the_oldest_have_to_go_and_are_counted() {
        let dir = TempDir::new().unwrap();
        for place in [None, Some(&dir)] {
            let (mut spool, ledger) = spool(place, 10 * (100 + HEADER as u64));
            for number in 0..25_u8 {
                spool.push(one(&[number; 100], 3));
                spool.complete();
            }
            let kept = drain(&mut spool);
            assert_eq!(kept.len(), 10);
            assert_eq!(kept[0].1[0], 15);
            assert_eq!((ledger.now().dropped.full, ledger.now().sent), (45, 30));
            spool.complete();
            assert!(drain(&mut spool).is_empty());
            // What belongs together, and is more than the whole queue holds.
            spool.push([[0; 600], [1; 600], [2; 600]].iter().map(|piece| (&piece[..], 7)));
            spool.complete();
            let kept: u64 = drain(&mut spool).iter().map(|(records, _)| records).sum();
            assert_eq!(kept, if place.is_some() { 7 } else { 21 });
            assert_eq!(ledger.now().dropped.full, 45 + 21 - kept);
        }
    }

    /// What is being sent is not given up: it would be counted twice.
    #[test]
    fn what_is_under_way_stays() {
        let (mut spool, ledger) = spool(None, 3 * (100 + HEADER as u64));
        for number in 0..3_u8 {
            spool.push(one(&[number; 100], 1));
            spool.complete();
        }
        let first = spool.first().unwrap();
        spool.push(one(&[3; 100], 1));
        spool.taken(&first);
        let delivery = ledger.now();
        assert_eq!((first.payload[0], delivery.sent, delivery.dropped.full), (0, 1, 1));
    }

    /// A receiver may never take one of them, for what is in it.
    #[test]
    fn what_fails_keeps_nobody_back() {
        let (mut spool, ledger) = spool(None, 2 * (100 + HEADER as u64));
        for number in 0..2_u8 {
            spool.push(one(&[number; 100], 1));
            spool.complete();
        }
        let first = |spool: &mut Spool| spool.first().map(|batch| (batch.payload[0], batch));
        let (number, batch) = first(&mut spool).unwrap();
        assert_eq!(number, 0);
        // Who does not answer gets it again.
        spool.failed(&batch, false);
        let (number, batch) = first(&mut spool).unwrap();
        assert_eq!(number, 0);
        spool.failed(&batch, true);
        let (number, batch) = first(&mut spool).unwrap();
        assert_eq!(number, 1);
        spool.taken(&batch);
        for number in 2..4_u8 {
            spool.push(one(&[number; 100], 1));
            spool.complete();
        }
        // It is the oldest still.
        let rest: Vec<u8> = drain(&mut spool).into_iter().map(|(_, payload)| payload[0]).collect();
        assert_eq!((rest, ledger.now().dropped.full), (vec![2, 3], 1));
    }

    #[test]
    fn a_file_that_was_cut_off_loses_its_end_alone() {
        let dir = TempDir::new().unwrap();
        let (mut before, _) = spool(Some(&dir), 1 << 20);
        before.push(one(b"whole", 2));
        before.push(one(b"cut off", 5));
        drop(before);
        let path = dir.path().join("q/0000000000000000.queue");
        let bytes = fs::read(&path).unwrap();
        for length in 0..bytes.len() {
            fs::write(&path, &bytes[..length]).unwrap();
            let (mut spool, ledger) = spool(Some(&dir), 1 << 20);
            let came = drain(&mut spool);
            let first = b"whole".len() + HEADER;
            assert_eq!(came.first().map(|(records, _)| *records), (length >= first).then_some(2));
            let torn = ledger.now().dropped.torn;
            let expected = match length {
                0 => 0,
                _ if length == first => 0,
                _ if length < HEADER => 1,
                _ if length < first => 2,
                _ if length < first + HEADER => 1,
                _ => 5,
            };
            assert_eq!(torn, expected, "{length}");
        }
    }

    /// However often the rest is tried, and whatever becomes of it.
    #[test]
    fn what_is_damaged_is_counted_once() {
        let dir = TempDir::new().unwrap();
        let (mut spool, ledger) = spool(Some(&dir), 100);
        spool.push([(&b"whole"[..], 2), (&b"damaged"[..], 5)].into_iter());
        spool.complete();
        let path = file(&dir.path().join("q"), 0);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        for _ in 0..3 {
            let batch = spool.first().unwrap();
            assert_eq!((batch.records, ledger.now().dropped.torn), (2, 5));
            spool.failed(&batch, false);
        }
        spool.push(one(&[0; 80], 1));
        assert_eq!((ledger.now().dropped.torn, ledger.now().dropped.full), (5, 2));
    }

    #[test]
    fn a_directory_has_one_agent() {
        let dir = TempDir::new().unwrap();
        let (first, _) = spool(Some(&dir), 1 << 20);
        let second = || Spool::open(Some(dir.path().join("q")), 1 << 20, Ledger::default());
        assert!(second().is_err());
        drop(first);
        assert!(second().is_ok());
    }

    #[test]
    fn nonsense_is_no_panic() {
        let dir = TempDir::new().unwrap();
        let place = dir.path().join("q");
        fs::create_dir(&place).unwrap();
        fs::write(place.join("0000000000000001.queue"), [0xff; 64]).unwrap();
        fs::write(place.join("zz.queue"), "x").unwrap();
        fs::write(place.join("notes.txt"), "x").unwrap();
        let (mut spool, ledger) = spool(Some(&dir), 1 << 20);
        assert!(spool.first().is_none());
        assert_eq!(ledger.now().dropped.torn, 1);
    }
}
