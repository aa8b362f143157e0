//! The journal of a node: one chain of entries in preallocated segment files, synced in groups, and the one place that
//! decides when an effect may leave the node: when everything appended before it is durable (T12, invariant 1).
//!
//! The shell appends what machines recorded, together with the effects that rest on it, and goes on at once. One writer
//! ([`writer`], on the thread that [`seat`] says) takes all that has queued up, writes it with one write, syncs once, and hands the
//! effects to the [`Release`] when what they rest on counts ([`gate`]). When a journal is opened, [`recovery`] verifies the chain and
//! hands every entry back ([`epochs`] finds how long its epochs reach); [`reading`] finds single ones again while it runs.
//! [`mod@format`] says how entries lie in a file, [`disk`] how a file is reached, [`spare`] prepares the next one.
//!
//! In a pair both sub-nodes have the same log: [`orders`] says which of them writes it, [`cutting`] takes off what did not count,
//! and [`recent`] feeds the one that follows.
//!
//! Addresses and records are bytes here; what they mean, the journal must not know.

mod cutting;
pub mod disk;
mod epochs;
mod format;
mod gate;
mod orders;
mod reading;
mod recent;
mod recovery;
mod seat;
mod spare;
mod statistics;
#[cfg(test)]
mod tests;
mod writer;

pub use blake3::Hash;
pub use orders::Watch;
pub use reading::OnEntry;
pub use seat::Waking;
pub use statistics::{DiskState, Statistics};

use disk::{Disk, FolderDisk};
use format::{OPEN_EPOCH, SEGMENT_HEADER_BYTES};
use gate::{Gate, Outbox, Waiters};
use hansa_core::{
    code::{Code, Fault},
    durability::Durability,
    mirror::{History, Position},
    moment::Moment,
};
use orders::{Mode, Order};
use recent::{Begun, Recent};
use seat::{Seat, WriterIs};
use spare::Spares;
use std::{
    collections::VecDeque,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};
use writer::Writer;

/// How a journal is kept.
#[derive(Clone, Debug)]
pub struct JournalOptions {
    /// The folder of the segment files; made if it is not there.
    pub folder: PathBuf,
    /// Length of a segment file.
    pub segment_bytes: u64,
    /// The epoch that new entries carry until [`Journal::lead`] names another; a later one that the log has goes before it.
    pub epoch: u64,
    /// Entries not yet durable, or effects that wait until what they rest on counts, at which [`Journal::admits`] answers busy.
    pub queue_entries_max: u64,
    /// Bytes that wait for the writer at which [`Journal::admits`] answers busy.
    pub queue_bytes_max: usize,
    /// Pause between two attempts while the disk is full.
    pub full_retry_delay_ms: u64,
    /// Rest after which a mark vouches for the last batch.
    pub idle_mark_delay_ms: u64,
    /// Bytes of the newest entries that are kept in memory while the journal is watched; those that are not durable yet are kept
    /// in any case.
    pub recent_bytes_max: usize,
}

impl JournalOptions {
    /// The usual values for a journal in `folder`.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            segment_bytes: 32 << 20,
            epoch: 1,
            queue_entries_max: 1 << 18,
            queue_bytes_max: 64 << 20,
            full_retry_delay_ms: 1_000,
            idle_mark_delay_ms: 1_000,
            recent_bytes_max: 32 << 20,
        }
    }
}

/// One entry, as recovery hands it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the journal, from one.
    pub sequence: u64,
    /// The epoch it was written in.
    pub epoch: u64,
    /// When it was appended, by the clock of whoever appended it.
    pub moment: Moment,
    /// Whose record it is.
    pub address: Vec<u8>,
    /// What happened.
    pub record: Vec<u8>,
    /// The hash of the entry before it; zeros before the first.
    pub previous: Hash,
    /// Its own hash, which covers everything above.
    pub hash: Hash,
}

/// Who lets effects out once they may.
pub trait Release: Send + 'static {
    /// What leaves the node.
    type Effect: Send + 'static;
    /// Called in the order of appending, when everything before `effects` counts: on its own what is durable, in a pair what is
    /// committed, too; `durability` says on how many sites that is. It is called by the writer, which stands still until it
    /// returns, or by whoever said what counts. It may append, but not close the journal.
    fn release(&mut self, effects: Vec<Self::Effect>, durability: Durability);
}

/// What is called, once and on the writer thread, when nothing can be made durable any more; a node exits here.
pub type Fatal = Box<dyn FnOnce(Fault) + Send>;

/// What waits for the writer.
struct Queue<E> {
    /// Pushed frames, not sealed.
    frames: Vec<u8>,
    effects: Vec<E>,
    /// For each append with effects: the last sequence before them, and how many they are.
    groups: VecDeque<(u64, usize)>,
    /// The last sequence assigned.
    tail: u64,
    /// The last entry, as long as it is known: until something is appended, whose place in the chain is only known when it is sealed.
    last: Option<Position>,
    mode: Mode,
    /// For the writer to do before anything else. Whoever gave one waits for it.
    orders: VecDeque<Order>,
    /// More may leave than before.
    gate_changed: bool,
    /// Somebody waits until the writer takes what is queued.
    room_wanted: bool,
    writer: WriterIs,
    /// No more is to come: the writer ends when the queue is empty.
    closing: bool,
    /// The writer has ended; what is appended now goes nowhere.
    closed: bool,
}

impl<E> Queue<E> {
    /// Let go of what waits.
    fn empty(&mut self) {
        (self.frames, self.effects, self.groups) = (Vec::new(), Vec::new(), VecDeque::new());
    }

    /// Whether there is something to write or to let out.
    fn has_work(&self) -> bool {
        !self.frames.is_empty() || !self.groups.is_empty() || self.gate_changed
    }
}

/// What the writer has done.
struct Progress {
    statistics: Statistics,
    /// Set when the writer has ended: without a fault, if everything became durable.
    ended: Option<Result<(), Fault>>,
    waiters: Waiters,
}

struct Shared<E> {
    options: JournalOptions,
    disk: Arc<dyn Disk>,
    queue: Mutex<Queue<E>>,
    queued: Arc<Condvar>,
    seat: Seat<E>,
    /// The writer took what was queued.
    room: Condvar,
    progress: Mutex<Progress>,
    progressed: Condvar,
    /// Copies of the queue's tail and of what is durable, for readers that take no lock.
    tail: AtomicU64,
    durable: AtomicU64,
    gate: Gate,
    outbox: Mutex<Outbox<E>>,
    /// Another number each time that this sub-node begins or ends to write the log, and even while it does; changed with the lock on
    /// `queue`.
    reign: AtomicU64,
    /// Effects that the writer keeps until what they rest on counts.
    kept_effects: AtomicUsize,
    /// How long the epochs of what is durable reach.
    history: Mutex<History>,
    recent: Mutex<Recent>,
    cursor: Mutex<Begun>,
    /// The writer itself met a full disk, and tries again.
    write_full: AtomicBool,
    spares: Spares,
    /// The segments on disk, the oldest first.
    segments: Mutex<VecDeque<SegmentPlace>>,
    segments_dropped: AtomicU64,
    /// Somebody needs the entries from here on.
    kept_from: AtomicU64,
    /// How often the log was cut: changed with the lock on `segments`, before anything is taken away.
    cuts: AtomicU64,
    /// Only one removes segments at a time.
    removing: Mutex<()>,
}

/// A segment on disk.
#[derive(Clone, Copy, Debug)]
struct SegmentPlace {
    /// The sequence of its first entry.
    first: u64,
    /// The length of its file.
    bytes: u64,
}

/// The journal of one node. Shared by reference; the last to let go of it closes it.
pub struct Journal<E: Send + 'static> {
    shared: Arc<Shared<E>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// The first entry that a journal keeps, without opening it; none if there is no journal. A look-up store that lies
/// before it cannot be brought up to date from this journal.
pub fn first_kept_sequence(folder: &Path) -> Result<Option<u64>, Fault> {
    if !folder.is_dir() {
        return Ok(None);
    }
    let disk = FolderDisk::new(folder).map_err(|error| no_folder(folder, &error))?;
    recovery::first_kept(&disk)
}

impl<E: Send + 'static> Journal<E> {
    /// Opens the journal in `options.folder`: verifies the chain, hands every entry from `replay_from` on to `on_entry`
    /// (zero: every entry kept), and starts the writer. Refuses a broken chain, and one that does not reach
    /// `replay_from`.
    pub fn open<R: Release<Effect = E>>(
        options: JournalOptions,
        release: R,
        fatal: Fatal,
        replay_from: u64,
        on_entry: &mut dyn FnMut(Entry) -> Result<(), Fault>,
    ) -> Result<Self, Fault> {
        Self::open_on(folder_disk(&options.folder)?, options, release, fatal, replay_from, on_entry)
    }

    /// The same on any disk.
    pub fn open_on<R: Release<Effect = E>>(
        disk: Arc<dyn Disk>,
        options: JournalOptions,
        release: R,
        fatal: Fatal,
        replay_from: u64,
        on_entry: &mut dyn FnMut(Entry) -> Result<(), Fault>,
    ) -> Result<Self, Fault> {
        if options.segment_bytes < 2 * SEGMENT_HEADER_BYTES as u64 || options.segment_bytes > 1 << 30 {
            let message = format!("a journal segment cannot be {} bytes long", options.segment_bytes);
            return Err(Fault::new(Code::ConfigurationInvalid, message).help("Choose between 256 bytes and 1 GiB."));
        }
        let recovered = recovery::recover(disk.as_ref(), replay_from, on_entry)?;
        let retry_delay = Duration::from_millis(options.full_retry_delay_ms);
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue {
                frames: Vec::new(),
                effects: Vec::new(),
                groups: VecDeque::new(),
                tail: recovered.tail.sequence,
                last: Some(recovered.tail),
                mode: Mode::Opened,
                orders: VecDeque::new(),
                gate_changed: false,
                room_wanted: false,
                writer: WriterIs::AtWork,
                closing: false,
                closed: false,
            }),
            queued: Arc::default(),
            seat: Seat::default(),
            room: Condvar::new(),
            progress: Mutex::new(Progress {
                statistics: Statistics::default(),
                ended: None,
                waiters: Waiters::default(),
            }),
            progressed: Condvar::new(),
            tail: AtomicU64::new(recovered.tail.sequence),
            durable: AtomicU64::new(recovered.tail.sequence),
            gate: Gate::default(),
            outbox: Mutex::new(Outbox::new(Box::new(release))),
            reign: AtomicU64::new(0),
            kept_effects: AtomicUsize::new(0),
            history: Mutex::new(recovered.history.clone()),
            recent: Mutex::default(),
            cursor: Mutex::default(),
            write_full: AtomicBool::new(false),
            spares: Spares::start(Arc::clone(&disk), options.segment_bytes, retry_delay)?,
            segments: Mutex::new(recovery::places(disk.as_ref(), &recovered.segments)?),
            segments_dropped: AtomicU64::new(0),
            kept_from: AtomicU64::new(u64::MAX),
            cuts: AtomicU64::new(0),
            removing: Mutex::default(),
            options,
            disk,
        });
        let started = Writer::create(Arc::clone(&shared), recovered).and_then(|writer| {
            *locked(&shared.seat) = Some(writer);
            let working = Arc::clone(&shared);
            let thread = thread::Builder::new().name("journal".into()).spawn(move || working.run_writer(fatal));
            thread.map_err(|error| Fault::new(Code::Internal, format!("no thread can be started: {error}")))
        });
        match started {
            Ok(thread) => Ok(Self { shared, thread: Mutex::new(Some(thread)) }),
            Err(fault) => {
                drop(locked(&shared.seat).take());
                shared.spares.end();
                Err(fault)
            }
        }
    }

    /// Appends `items`, pairs of address and record, and behind them `effects`; gives the last sequence assigned so far.
    /// Never waits for the disk. Effects without items queue behind every earlier item.
    ///
    /// A crash before they are durable may keep the first of the items and lose the rest: what must be kept or lost
    /// together belongs into one item.
    ///
    /// What is appended to a journal that was closed or has failed is lost, and its effects are never released. One that follows
    /// another takes nothing: it gives what its tail is.
    pub fn append<A: AsRef<[u8]>, B: AsRef<[u8]>>(&self, items: &[(A, B)], moment: Moment, effects: Vec<E>) -> u64 {
        self.append_if(None, items, moment, effects)
    }

    /// The same for machines that began when [`Self::reign`] was this: where it is another, nothing is taken of them.
    pub fn append_in<A: AsRef<[u8]>, B: AsRef<[u8]>>(
        &self,
        reign: u64,
        items: &[(A, B)],
        moment: Moment,
        effects: Vec<E>,
    ) -> u64 {
        self.append_if(Some(reign), items, moment, effects)
    }

    fn append_if<A: AsRef<[u8]>, B: AsRef<[u8]>>(
        &self,
        reign: Option<u64>,
        items: &[(A, B)],
        moment: Moment,
        effects: Vec<E>,
    ) -> u64 {
        let mut queue = locked(&self.shared.queue);
        if queue.mode == Mode::Following || reign.is_some_and(|reign| !self.shared.reigns(reign)) {
            return queue.tail;
        }
        if queue.closed {
            queue.tail += items.len() as u64;
            self.shared.tail.store(queue.tail, Ordering::Release);
            return queue.tail;
        }
        if !items.is_empty() {
            queue.last = None;
        }
        for (address, record) in items {
            queue.tail += 1;
            let Queue { frames, tail, .. } = &mut *queue;
            format::push_entry(frames, *tail, OPEN_EPOCH, moment, address.as_ref(), record.as_ref());
        }
        let tail = queue.tail;
        if !effects.is_empty() {
            queue.groups.push_back((tail, effects.len()));
            if queue.effects.is_empty() {
                queue.effects = effects;
            } else {
                queue.effects.extend(effects);
            }
        }
        self.shared.tail.store(tail, Ordering::Release);
        self.shared.wake_writer_with(queue);
        tail
    }

    /// Whether new work may come: not while the disk is full, the queue is, or nothing can be made durable.
    pub fn admits(&self) -> Result<(), Fault> {
        let options = &self.shared.options;
        if let Some(fault) = self.shared.obstacle() {
            return Err(fault);
        }
        let entries = self.tail().saturating_sub(self.durable());
        if entries >= options.queue_entries_max {
            return Err(Fault::new(Code::Busy, format!("{entries} journal entries wait for the disk")));
        }
        let kept = self.shared.kept_effects.load(Ordering::Relaxed);
        if kept as u64 >= options.queue_entries_max {
            return Err(Fault::new(
                Code::Busy,
                format!("{kept} effects wait until the other sub-node has what they rest on"),
            ));
        }
        let queue = locked(&self.shared.queue);
        if queue.closed || queue.closing {
            return Err(Fault::new(Code::JournalFailed, "the journal is closed"));
        }
        if queue.mode == Mode::Following {
            return Err(Fault::new(Code::PairNotReady, "this sub-node follows the other one of its pair"));
        }
        if queue.frames.len() >= options.queue_bytes_max {
            return Err(Fault::new(Code::Busy, format!("{} journal bytes wait for the disk", queue.frames.len())));
        }
        Ok(())
    }

    /// Whether there is no room for what is written, or will be next.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.shared.obstacle().is_some_and(|fault| fault.code == Code::DiskFull)
    }

    /// The last sequence that is durable.
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.shared.durable.load(Ordering::Acquire)
    }

    /// The last sequence assigned.
    #[must_use]
    pub fn tail(&self) -> u64 {
        self.shared.tail.load(Ordering::Acquire)
    }

    /// The first sequence that is kept.
    #[must_use]
    pub fn first(&self) -> u64 {
        locked(&self.shared.segments).front().map_or(1, |segment| segment.first)
    }

    /// How long the epochs of what is durable reach: for each that wrote entries, the last of them, as far back as entries are kept.
    #[must_use]
    pub fn history(&self) -> History {
        locked(&self.shared.history).clone()
    }

    /// From now on entries from here on are not dropped, unless the disk is full; with none, nothing is kept for anybody. What was
    /// dropped before, or is being dropped, is gone all the same: see [`Self::first`].
    pub fn keep_from(&self, sequence: Option<u64>) {
        self.shared.kept_from.store(sequence.unwrap_or(u64::MAX), Ordering::Release);
    }

    /// Drops whole segments whose entries all lie before `sequence`, and before what is kept for somebody, oldest first, until all
    /// that are left take at most `keep_bytes`; gives how many.
    pub fn truncate_before(&self, sequence: u64, keep_bytes: u64) -> Result<usize, Fault> {
        let _one_at_a_time = locked(&self.shared.removing);
        let kept_from = if self.is_full() { u64::MAX } else { self.shared.kept_from.load(Ordering::Acquire) };
        let sequence = sequence.min(kept_from);
        let mut dropped = 0;
        loop {
            let oldest = {
                let mut segments = locked(&self.shared.segments);
                let kept_bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
                match segments.get(1) {
                    // Out of the list first: whoever finds a file gone sees that it is meant to be.
                    Some(next) if next.first <= sequence && kept_bytes > keep_bytes => segments.pop_front(),
                    _ => None,
                }
            };
            let Some(oldest) = oldest else { return Ok(dropped) };
            // Synced one by one: a crash must never leave a gap, which recovery refuses.
            let disk = &self.shared.disk;
            let name = recovery::segment_name(oldest.first);
            disk.remove(&name).and_then(|()| disk.sync_folder()).map_err(|error| {
                locked(&self.shared.segments).push_front(oldest);
                let message = format!("the journal segment {}/{name} cannot be removed: {error}", disk.place());
                Fault::new(Code::JournalFailed, message)
            })?;
            self.shared.segments_dropped.fetch_add(1, Ordering::Relaxed);
            dropped += 1;
        }
    }

    /// Hands those entries of `address` that lie in the ranges of `wanted`, which ascend, to `on_entry`, until that says
    /// to stop. Entries that are no longer kept are passed over. Every entry on the way is checked against the chain of
    /// its segment. It waits until they count, and blocks.
    ///
    /// # Errors
    /// What is wanted never counts, the disk cannot be read, or the chain is broken ([`Code::JournalBroken`]).
    pub fn read(&self, address: &[u8], wanted: &[RangeInclusive<u64>], on_entry: OnEntry<'_>) -> Result<(), Fault> {
        let Some(last) = wanted.last() else { return Ok(()) };
        self.wait_committed(*last.end())?;
        let segments: Vec<u64> = locked(&self.shared.segments).iter().map(|segment| segment.first).collect();
        reading::read(self.shared.disk.as_ref(), &segments, address, wanted, on_entry)
    }

    /// Bytes written since it was opened, headers and marks included.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        locked(&self.shared.progress).statistics.bytes_written
    }

    /// What the journal has done so far, for metrics.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let mut statistics = locked(&self.shared.progress).statistics.clone();
        let (first, segments, segment_bytes) = {
            let segments = locked(&self.shared.segments);
            let bytes = segments.iter().map(|segment| segment.bytes).sum();
            (segments.front().map_or(1, |segment| segment.first), segments.len(), bytes)
        };
        let failed = matches!(locked(&self.shared.progress).ended, Some(Err(_)));
        statistics.disk = match self.shared.obstacle() {
            _ if failed => DiskState::Failed,
            Some(_) => DiskState::Full,
            None => DiskState::Ready,
        };
        (statistics.first, statistics.segments, statistics.segment_bytes) = (first, segments, segment_bytes);
        statistics.segments_dropped = self.shared.segments_dropped.load(Ordering::Relaxed);
        (statistics.tail, statistics.durable, statistics.committed) = (self.tail(), self.durable(), self.committed());
        statistics.queued_bytes = locked(&self.shared.queue).frames.len();
        statistics
    }

    /// Makes everything appended durable, lets those effects out that may leave and ends the writer; in a pair, effects whose
    /// entries do not count yet are dropped. An error says what became of the rest: on a full disk it is lost, but nobody was told
    /// of it.
    pub fn close(&self) -> Result<(), Fault> {
        {
            let mut queue = locked(&self.shared.queue);
            (queue.closing, queue.writer) = (true, WriterIs::AtWork);
        }
        self.shared.queued.notify_all();
        self.shared.spares.close();
        let mut thread = locked(&self.thread);
        if let Some(writer) = thread.take() {
            if writer.thread().id() == thread::current().id() {
                // The release itself let go of the journal: the writer ends after this batch, and cannot wait for itself.
                return Ok(());
            }
            writer.join().map_err(|_| Fault::new(Code::Internal, "the journal's writer ended in a panic"))?;
        }
        drop(thread);
        locked(&self.shared.progress).ended.clone().unwrap_or(Ok(()))
    }
}

impl<E: Send + 'static> Drop for Journal<E> {
    fn drop(&mut self) {
        if let Err(fault) = self.close() {
            tracing::error!(%fault, "the journal did not close well");
        }
    }
}

impl<E> Shared<E> {
    /// Why nothing more can be written at the moment.
    fn obstacle(&self) -> Option<Fault> {
        if let Some(Err(fault)) = &locked(&self.progress).ended {
            return Some(fault.clone());
        }
        if self.write_full.load(Ordering::Acquire) {
            return Some(Fault::new(Code::DiskFull, format!("the disk of {} is full", self.disk.place())));
        }
        self.spares.obstacle()
    }
}

/// The disk that a folder is; it is made if it is not there.
///
/// # Errors
/// It cannot be made.
pub fn folder_disk(folder: &Path) -> Result<Arc<dyn Disk>, Fault> {
    Ok(Arc::new(FolderDisk::new(folder).map_err(|error| no_folder(folder, &error))?))
}

fn no_folder(folder: &Path, error: &std::io::Error) -> Fault {
    let code = if disk::is_full(error) { Code::DiskFull } else { Code::JournalFailed };
    Fault::new(code, format!("the journal's folder {} cannot be made: {error}", folder.display()))
}

/// A lock that outlives a panic elsewhere: what it guards is changed in single steps only.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
