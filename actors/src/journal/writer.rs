//! The writer: decides what goes into a batch, when it is durable, and with it when effects are let out. It works between
//! `Journal::open` and `Journal::close`, on the thread that [`super::seat`] says, and must not know what records and effects mean.
//!
//! An error of a sync, or of a write on a disk that is not full, is final: what the disk holds is unknown from then on,
//! and a sync that is repeated may succeed without having written anything. On a full disk the writer waits; nothing is
//! lost and nothing is let out.

use super::{
    Queue, SegmentPlace, Shared,
    disk::{Segment, is_full},
    epochs,
    format::{self, MARK_BYTES, OPEN_EPOCH, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentKey},
    locked,
    orders::{Order, Watch},
    recovery::{PREPARED_NAME, Recovered, segment_name},
    seat::WriterIs,
};
use crate::stage::{self, Stage};
use bytes::Bytes;
use hansa_core::{
    code::{Code, Fault},
    mirror::{Entry, Position},
    moment::Moment,
};
use std::{
    collections::VecDeque,
    io, mem,
    sync::{Arc, PoisonError, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

/// Buffers that one huge batch has blown up are let go of.
const KEPT_BUFFER_BYTES_MAX: usize = 8 << 20;

/// Behind a batch of so many entries the writer of a sub-node of a pair lets whoever else wants the processor have it, before it takes
/// the next: each batch costs a sync and a message on both sides, and what the others do meanwhile goes along. Where nobody wants it,
/// nothing waits. Fewer entries may be those of a few clients, each of whom waits for the last.
const CROWD_ENTRIES: u64 = 16;

/// Entries of the last batch up to which the next is sealed ahead.
const FEW_ENTRIES: u64 = 2;

/// Why the writer cannot go on.
pub(super) enum Stop {
    /// The disk failed.
    Failed(Fault),
    /// The journal closes, but the disk is full.
    Full(Fault),
}

impl Stop {
    pub fn fault(&self) -> &Fault {
        match self {
            Self::Failed(fault) | Self::Full(fault) => fault,
        }
    }
}

/// What the writer found when it looked at the queue.
pub(super) enum Work {
    Order(Order),
    Batch,
    None,
    End,
}

pub(super) struct Writer<E> {
    pub shared: Arc<Shared<E>>,
    pub watch: Option<Arc<dyn Watch>>,
    /// What this sub-node's own entries carry.
    pub epoch: u64,
    pub segment: Box<dyn Segment>,
    pub key: SegmentKey,
    pub offset: u64,
    pub length: u64,
    /// The last sealed entry.
    pub tail: Position,
    pub durable: u64,
    /// The batch: what was in the queue.
    frames: Vec<u8>,
    /// Its first part, if that was sealed before it is written.
    sealed: Option<Part>,
    effects: Vec<E>,
    groups: VecDeque<(u64, usize)>,
    /// Entries were written that no mark vouches for.
    pub unmarked: bool,
    /// Entries of the last batch.
    batch_entries: u64,
    /// Others have not been let go before the next batch, although there were many in the last.
    is_crowded: bool,
    moment: Moment,
}

/// A part of a batch that fits into the segment, sealed.
struct Part {
    end: usize,
    /// The ends of the epochs in it.
    ends: Vec<Position>,
}

impl<E: Send + 'static> Writer<E> {
    /// A writer that goes on where recovery ended; a new journal gets its first segment here.
    pub fn create(shared: Arc<Shared<E>>, recovered: Recovered) -> Result<Self, Fault> {
        let Recovered { active, tail, unmarked, .. } = recovered;
        let failed = |error: io::Error| {
            let code = if is_full(&error) { Code::DiskFull } else { Code::JournalFailed };
            Fault::new(code, format!("the journal in {} cannot be begun: {error}", shared.disk.place()))
        };
        let (segment, key, offset) = match active {
            Some(active) => active,
            None => {
                let first = tail.sequence + 1;
                let segment =
                    shared.disk.create_preallocated(PREPARED_NAME, shared.options.segment_bytes).map_err(failed)?;
                let (header, bytes) = SegmentHeader::create(tail, false, salt()?);
                segment
                    .write_at(0, &bytes)
                    .and_then(|()| segment.sync_data())
                    .and_then(|()| shared.disk.rename(PREPARED_NAME, &segment_name(first)))
                    .and_then(|()| shared.disk.sync_folder())
                    .map_err(failed)?;
                locked(&shared.segments).push_back(SegmentPlace { first, bytes: shared.options.segment_bytes });
                (segment, header.key, SEGMENT_HEADER_BYTES as u64)
            }
        };
        let length = segment.length().map_err(failed)?;
        // A log that had another epoch never goes back behind it.
        let epoch = shared.options.epoch.max(tail.epoch);
        Ok(Self {
            shared,
            watch: None,
            epoch,
            segment,
            key,
            offset,
            length,
            tail,
            durable: tail.sequence,
            frames: Vec::new(),
            sealed: None,
            effects: Vec::new(),
            groups: VecDeque::new(),
            unmarked,
            batch_entries: 0,
            is_crowded: false,
            moment: Moment(0),
        })
    }

    /// Takes an order, or all that is queued; if there is neither, the queue says that the writer waits.
    pub fn take_work(&mut self) -> Work {
        if !self.frames.is_empty() {
            // Somebody else sealed it.
            return Work::Batch;
        }
        let shared = Arc::clone(&self.shared);
        let mut queue = locked(&shared.queue);
        let is_batch_next = queue.orders.is_empty() && queue.has_work() && !queue.closing;
        if is_batch_next && mem::take(&mut self.is_crowded) && self.watch.is_some() {
            drop(queue);
            thread::yield_now();
            queue = locked(&shared.queue);
        }
        if let Some(order) = queue.orders.pop_front() {
            return Work::Order(order);
        }
        if queue.has_work() {
            self.take_batch(&mut queue);
            return Work::Batch;
        }
        if queue.closing {
            queue.closed = true;
            return Work::End;
        }
        queue.writer = WriterIs::AtRest;
        Work::None
    }

    pub fn take_batch(&mut self, queue: &mut Queue<E>) {
        queue.gate_changed = false;
        mem::swap(&mut queue.frames, &mut self.frames);
        mem::swap(&mut queue.groups, &mut self.groups);
        mem::swap(&mut queue.effects, &mut self.effects);
        if mem::take(&mut queue.room_wanted) {
            self.shared.room.notify_all();
        }
    }

    /// Whether somebody waits to be told of entries, and few come: of many, those that come while the writer wakes up go along with the
    /// first, with one message and one sync for all of them.
    pub fn seals_ahead(&self) -> bool {
        self.watch.is_some() && self.batch_entries <= FEW_ENTRIES
    }

    /// Whether the segment has room for the batch.
    pub fn has_room(&self) -> bool {
        self.frames.len() as u64 <= self.length - self.offset
    }

    /// Seals the batch before it is written, for which the segment has room.
    pub fn seal_ahead(&mut self) {
        // Whoever appends is at that stage already.
        self.sealed = Some(self.seal_part(0));
    }

    /// Whether there is something that was sealed ahead and is not written.
    #[cfg(test)]
    pub fn is_sealed(&self) -> bool {
        self.sealed.is_some()
    }

    /// Makes the batch durable, in as many parts as it needs segments, and lets those effects out that may leave.
    pub fn write_batch(&mut self) -> Result<(), Stop> {
        let before = self.durable;
        locked(&self.shared.outbox).push(mem::take(&mut self.effects), mem::take(&mut self.groups));
        // Effects without items, when nothing earlier is under way, need no disk.
        self.shared.release_counting();
        let mut start = 0;
        while start < self.frames.len() {
            if self.sealed.is_none() {
                let next_bytes = format::pushed_entry(&self.frames[start..]).frame_bytes();
                if next_bytes > self.length - self.offset {
                    self.roll(next_bytes)?;
                }
            }
            let (Part { end, ends }, took) = stage::measured(Stage::Journal, || {
                let part = self.sealed.take().unwrap_or_else(|| self.seal_part(start));
                let took = self.write_part(start, part.end)?;
                Ok((part, took))
            })?;
            self.offset += (end - start) as u64;
            self.unmarked = true;
            if self.offset > self.length / 2 {
                self.shared.spares.prepare();
            }
            self.publish(&ends, end - start, took);
            self.shared.release_counting();
            start = end;
        }
        self.batch_entries = self.durable - before;
        self.is_crowded = self.batch_entries >= CROWD_ENTRIES;
        self.frames.clear();
        self.frames.shrink_to(KEPT_BUFFER_BYTES_MAX);
        Ok(())
    }

    /// Seals the frames from `start` on that fit into the segment, and tells of them.
    fn seal_part(&mut self, start: usize) -> Part {
        let room = usize::try_from(self.length - self.offset).unwrap_or(usize::MAX);
        let (mut end, mut ends, mut own_ends) = (start, Vec::new(), Vec::new());
        let mut places = Vec::new();
        while end < self.frames.len() {
            let header = format::pushed_entry(&self.frames[end..]);
            let bytes = usize::try_from(header.frame_bytes()).expect("the frame is in memory");
            if end - start + bytes > room {
                break;
            }
            let is_own = header.epoch == OPEN_EPOCH;
            let epoch = if is_own { self.epoch } else { header.epoch };
            let frame = &mut self.frames[end..end + bytes];
            // What the other sub-node wrote was held against the chain when it was queued.
            let hash = if is_own {
                format::seal(frame, epoch, self.durable, &self.key, &self.tail.hash)
            } else {
                format::seal_noted(frame, self.durable, &self.key)
            };
            self.tail = Position { sequence: header.sequence, epoch, hash };
            self.moment = header.moment;
            epochs::extend(&mut ends, self.tail);
            if is_own {
                epochs::extend(&mut own_ends, self.tail);
            }
            if self.watch.is_some() {
                places.push((self.tail, header, end - start));
            }
            end += bytes;
        }
        if let Some(watch) = &self.watch {
            // One copy for all of them.
            let part = Bytes::copy_from_slice(&self.frames[start..end]);
            let entries = places.into_iter().map(|(position, header, offset)| {
                let (address, record) = header.body_places(offset);
                let (address, record) = (part.slice(address), part.slice(record));
                Entry { position, moment: header.moment, address, record }
            });
            locked(&self.shared.recent).push(entries, self.durable, self.shared.options.recent_bytes_max);
            if !own_ends.is_empty() {
                watch.sealed(&own_ends);
            }
        }
        Part { end, ends }
    }

    fn write_part(&self, start: usize, end: usize) -> Result<Duration, Stop> {
        self.write_retrying(self.segment.as_ref(), self.offset, &self.frames[start..end])?;
        self.sync(self.segment.as_ref())
    }

    /// Writes, and as long as the disk is full tries again.
    fn write_retrying(&self, segment: &dyn Segment, offset: u64, bytes: &[u8]) -> Result<(), Stop> {
        let retry_delay = Duration::from_millis(self.shared.options.full_retry_delay_ms);
        loop {
            match segment.write_at(offset, bytes) {
                Ok(()) => {
                    self.shared.write_full.store(false, Ordering::Release);
                    return Ok(());
                }
                Err(error) if is_full(&error) => {
                    if !self.shared.write_full.swap(true, Ordering::AcqRel) {
                        tracing::error!(folder = self.shared.disk.place(), "the disk is full; the journal waits");
                    }
                    let fault = self.full(&error);
                    let queue = locked(&self.shared.queue);
                    let wait = self.shared.queued.wait_timeout_while(queue, retry_delay, |queue| {
                        // It cannot come to them.
                        Shared::refuse_orders(queue, &fault);
                        !queue.closing
                    });
                    if wait.unwrap_or_else(PoisonError::into_inner).0.closing {
                        return Err(Stop::Full(fault));
                    }
                }
                Err(error) => return Err(self.failed("written", &error)),
            }
        }
    }

    fn sync(&self, segment: &dyn Segment) -> Result<Duration, Stop> {
        let begun = Instant::now();
        segment.sync_data().map_err(|error| self.failed("synced", &error))?;
        Ok(begun.elapsed())
    }

    fn publish(&mut self, ends: &[Position], bytes: usize, took: Duration) {
        let entries = self.tail.sequence - self.durable;
        self.durable = self.tail.sequence;
        {
            let mut history = locked(&self.shared.history);
            for end in ends {
                history.extend(*end);
            }
        }
        let mut progress = locked(&self.shared.progress);
        progress.statistics.count_sync(bytes, took);
        progress.statistics.count_batch(entries);
        self.shared.durable.store(self.durable, Ordering::Release);
        let waiters = !progress.waiters.is_empty();
        drop(progress);
        if waiters {
            self.shared.progressed.notify_all();
        }
        if let Some(watch) = &self.watch {
            watch.synced(self.tail);
        }
    }

    /// Goes on in a new segment. Its name comes last: whoever sees the name may rely on the header.
    fn roll(&mut self, frame_bytes: u64) -> Result<(), Stop> {
        let waits = |fault: &Fault| {
            Shared::refuse_orders(&mut locked(&self.shared.queue), fault);
            true
        };
        let spare =
            self.shared.spares.take(SEGMENT_HEADER_BYTES as u64 + frame_bytes, &waits).map_err(
                |fault| match fault.code {
                    Code::DiskFull => Stop::Full(fault),
                    _ => Stop::Failed(fault),
                },
            )?;
        let first = self.durable + 1;
        let (header, bytes) = SegmentHeader::create(self.tail, false, salt().map_err(Stop::Failed)?);
        self.write_retrying(spare.segment.as_ref(), 0, &bytes)?;
        let took = self.sync(spare.segment.as_ref())?;
        let disk = &self.shared.disk;
        let named = disk.rename(PREPARED_NAME, &segment_name(first)).and_then(|()| disk.sync_folder());
        named.map_err(|error| self.failed("continued in a new segment", &error))?;
        locked(&self.shared.segments).push_back(SegmentPlace { first, bytes: spare.bytes });
        locked(&self.shared.progress).statistics.count_sync(bytes.len(), took);
        (self.segment, self.key, self.offset, self.length) =
            (spare.segment, header.key, SEGMENT_HEADER_BYTES as u64, spare.bytes);
        Ok(())
    }

    /// Vouches for the last batch. Without room for it the next segment's header will.
    pub fn write_mark(&mut self) -> Result<(), Stop> {
        if !mem::take(&mut self.unmarked) || self.length - self.offset < MARK_BYTES as u64 {
            return Ok(());
        }
        let mark = format::mark(self.durable, self.tail.epoch, self.moment, &self.key);
        match self.segment.write_at(self.offset, &mark) {
            Ok(()) => {}
            // Only a safeguard: it does not wait for room.
            Err(error) if is_full(&error) => return Ok(()),
            Err(error) => return Err(self.failed("written", &error)),
        }
        let took = self.sync(self.segment.as_ref())?;
        self.offset += MARK_BYTES as u64;
        locked(&self.shared.progress).statistics.count_sync(MARK_BYTES, took);
        Ok(())
    }

    pub fn full(&self, error: &io::Error) -> Fault {
        Fault::new(Code::DiskFull, format!("the disk of {} is full: {error}", self.shared.disk.place()))
    }

    pub fn failed(&self, what: &str, error: &io::Error) -> Stop {
        let message = format!(
            "the journal in {} cannot be {what} behind entry {}: {error}",
            self.shared.disk.place(),
            self.durable
        );
        Stop::Failed(Fault::new(Code::JournalFailed, message))
    }
}

/// What makes the header checks of a segment unforgeable.
pub(super) fn salt() -> Result<[u8; 16], Fault> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt)
        .map_err(|error| Fault::new(Code::JournalFailed, format!("the system gives no random bytes: {error}")))?;
    Ok(salt)
}
