//! How a commit that nobody waits for leaves the processors and the disk to others: it works for a moment and rests for longer, and
//! what it wrote goes to the disk in pieces, so that whoever syncs meanwhile waits for a piece and not for all of it. It decides when
//! to rest and when to sync. [`RedbStore`](super::RedbStore) works by it; why somebody is in a hurry it must not know.
//!
//! Without it a commit of a few hundred milliseconds takes a processor for itself, and on a machine with few of them every answer of
//! that time is late.

use super::locked;
use redb::{BackendError, StorageBackend};
use std::{
    io,
    ops::Bound,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How long it works before it rests.
const WORK: Duration = Duration::from_millis(2);
/// How long it rests.
const REST: Duration = Duration::from_millis(5);
/// After so long it rests no more: what is changed meanwhile waits for it, and takes memory.
const LEISURE_MAX: Duration = Duration::from_secs(3);
/// Bytes that are synced before more are written.
const PIECE_BYTES: u64 = 1 << 20;

/// See above. It is in a hurry until it is told otherwise, for one commit.
#[derive(Debug, Default)]
pub(super) struct Leisure(Mutex<Option<Spell>>);

/// What may take its time.
#[derive(Debug)]
struct Spell {
    until: Instant,
    works_since: Instant,
}

impl Leisure {
    /// What is done until [`Self::hurry`] may take its time.
    pub fn take_time(&self) {
        let now = Instant::now();
        *locked(&self.0) = Some(Spell { until: now + LEISURE_MAX, works_since: now });
    }

    /// Somebody waits for it, or nothing more is to be done.
    pub fn hurry(&self) {
        *locked(&self.0) = None;
    }

    /// Whether a rest is due.
    fn is_due(&self, now: Instant) -> bool {
        let is_due = |spell: &Spell| now < spell.until && now.saturating_duration_since(spell.works_since) >= WORK;
        locked(&self.0).as_ref().is_some_and(is_due)
    }

    fn rest(&self) {
        thread::sleep(REST);
        if let Some(spell) = locked(&self.0).as_mut() {
            spell.works_since = Instant::now();
        }
    }

    /// Rest if it has worked long enough.
    pub fn rest_if_due(&self) {
        if self.is_due(Instant::now()) {
            self.rest();
        }
    }
}

/// A file that is written so.
#[derive(Debug)]
pub(super) struct LeisurelyFile {
    file: Box<dyn StorageBackend>,
    leisure: Arc<Leisure>,
    unsynced_bytes: AtomicU64,
    /// A sync failed: what the disk has is not known any more, and another one that succeeds would say nothing of it.
    failed: AtomicBool,
}

impl LeisurelyFile {
    pub fn new(file: Box<dyn StorageBackend>, leisure: Arc<Leisure>) -> Self {
        Self { file, leisure, unsynced_bytes: AtomicU64::new(0), failed: AtomicBool::new(false) }
    }
}

impl StorageBackend for LeisurelyFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.failed.load(Ordering::Acquire) {
            return Err(io::Error::other("an earlier sync failed"));
        }
        self.unsynced_bytes.store(0, Ordering::Relaxed);
        self.file.sync_data().inspect_err(|_| self.failed.store(true, Ordering::Release))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)?;
        let unsynced_bytes = self.unsynced_bytes.fetch_add(data.len() as u64, Ordering::Relaxed) + data.len() as u64;
        if self.leisure.is_due(Instant::now()) {
            if unsynced_bytes >= PIECE_BYTES {
                self.sync_data()?;
            }
            self.leisure.rest();
        }
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rests_after_some_work_unless_somebody_is_in_a_hurry_or_it_has_taken_long_enough() {
        let (leisure, now) = (Leisure::default(), Instant::now());
        assert!(!leisure.is_due(now + WORK), "it was not told that it may");
        leisure.take_time();
        assert!(!leisure.is_due(now));
        assert!(leisure.is_due(now + 2 * WORK));
        assert!(!leisure.is_due(now + 2 * LEISURE_MAX));
        leisure.hurry();
        assert!(!leisure.is_due(now + 2 * WORK));
    }

    #[test]
    fn a_rest_begins_the_work_anew() {
        let leisure = Leisure::default();
        leisure.take_time();
        let before = Instant::now();
        leisure.rest();
        assert!(!leisure.is_due(before + WORK));
        assert!(leisure.is_due(Instant::now() + WORK));
    }

    /// A disk whose first sync fails.
    #[derive(Debug, Default)]
    struct Faltering {
        syncs: AtomicU64,
    }

    impl StorageBackend for Faltering {
        fn len(&self) -> io::Result<u64> {
            Ok(0)
        }
        fn read(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
            Ok(())
        }
        fn set_len(&self, _: u64) -> io::Result<()> {
            Ok(())
        }
        fn sync_data(&self) -> io::Result<()> {
            let is_first = self.syncs.fetch_add(1, Ordering::Relaxed) == 0;
            if is_first { Err(io::Error::other("the first fails")) } else { Ok(()) }
        }
        fn write(&self, _: u64, _: &[u8]) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_piece_that_could_not_be_synced_is_never_taken_for_one_that_was() {
        let leisure = Arc::new(Leisure::default());
        let file = LeisurelyFile::new(Box::new(Faltering::default()), Arc::clone(&leisure));
        let piece = vec![0; usize::try_from(PIECE_BYTES).unwrap()];
        file.write(0, &piece).unwrap();
        leisure.take_time();
        thread::sleep(WORK);
        assert!(file.write(PIECE_BYTES, &piece).is_err());
        // The disk itself would say now that all is well.
        assert!(file.sync_data().is_err());
    }
}
