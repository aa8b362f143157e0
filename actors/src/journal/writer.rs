//! The writer thread: decides what goes into a batch, when it is durable, and with it when effects are let out. It runs
//! between `Journal::open` and `Journal::close`, and must not know what records and effects mean.
//!
//! An error of a sync, or of a write on a disk that is not full, is final: what the disk holds is unknown from then on,
//! and a sync that is repeated may succeed without having written anything. On a full disk the writer waits; nothing is
//! lost and nothing is let out.

use super::{
    Fatal, Queue, Release, SegmentPlace, Shared,
    disk::{Segment, is_full},
    format::{self, MARK_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentKey},
    locked,
    recovery::{PREPARED_NAME, Recovered, segment_name},
};
use crate::stage::{self, Stage};
use blake3::Hash;
use hansa_core::{
    code::{Code, Fault},
    moment::Moment,
};
use std::{
    collections::VecDeque,
    io, mem,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

/// Buffers that one huge batch has blown up are let go of.
const KEPT_BUFFER_BYTES_MAX: usize = 8 << 20;

/// Why the writer cannot go on.
enum Stop {
    /// The disk failed.
    Failed(Fault),
    /// The journal closes, but the disk is full.
    Full(Fault),
}

/// What the writer found when it looked at the queue.
enum Work {
    Batch,
    Rest,
    End,
}

pub(super) struct Writer<R: Release> {
    shared: Arc<Shared<R::Effect>>,
    release: R,
    segment: Box<dyn Segment>,
    key: SegmentKey,
    offset: u64,
    length: u64,
    /// Hash of the last sealed entry.
    hash: Hash,
    durable: u64,
    /// The batch: what was in the queue.
    frames: Vec<u8>,
    effects: Vec<R::Effect>,
    groups: VecDeque<(u64, usize)>,
    /// Entries were written that no mark vouches for.
    unmarked: bool,
    moment: Moment,
}

impl<R: Release> Writer<R> {
    /// A writer that goes on where recovery ended; a new journal gets its first segment here.
    pub fn create(shared: Arc<Shared<R::Effect>>, release: R, recovered: Recovered) -> Result<Self, Fault> {
        let Recovered { active, tail, hash, unmarked, .. } = recovered;
        let failed = |error: io::Error| {
            let code = if is_full(&error) { Code::DiskFull } else { Code::JournalFailed };
            Fault::new(code, format!("the journal in {} cannot be begun: {error}", shared.disk.place()))
        };
        let (segment, key, offset) = match active {
            Some(active) => active,
            None => {
                let segment =
                    shared.disk.create_preallocated(PREPARED_NAME, shared.options.segment_bytes).map_err(failed)?;
                let (header, bytes) = SegmentHeader::create(tail + 1, hash, salt()?);
                segment
                    .write_at(0, &bytes)
                    .and_then(|()| segment.sync_data())
                    .and_then(|()| shared.disk.rename(PREPARED_NAME, &segment_name(tail + 1)))
                    .and_then(|()| shared.disk.sync_folder())
                    .map_err(failed)?;
                locked(&shared.segments)
                    .push_back(SegmentPlace { first: tail + 1, bytes: shared.options.segment_bytes });
                (segment, header.key, SEGMENT_HEADER_BYTES as u64)
            }
        };
        let length = segment.length().map_err(failed)?;
        Ok(Self {
            shared,
            release,
            segment,
            key,
            offset,
            length,
            hash,
            durable: tail,
            frames: Vec::new(),
            effects: Vec::new(),
            groups: VecDeque::new(),
            unmarked,
            moment: Moment(0),
        })
    }

    /// Writes until the journal is closed or cannot go on.
    pub fn run(mut self, fatal: Fatal) {
        let ended = panic::catch_unwind(AssertUnwindSafe(|| self.write_batches()));
        let ended = ended.unwrap_or_else(|_| {
            Err(Stop::Failed(Fault::new(Code::Internal, "the journal's writer or its release panicked")))
        });
        {
            let mut queue = locked(&self.shared.queue);
            queue.closed = true;
            (queue.frames, queue.effects, queue.groups) = (Vec::new(), Vec::new(), VecDeque::new());
        }
        let (ended, failure) = match ended {
            Ok(()) => (Ok(()), None),
            Err(Stop::Full(fault)) => (Err(fault), None),
            Err(Stop::Failed(fault)) => (Err(fault.clone()), Some(fault)),
        };
        locked(&self.shared.progress).ended = Some(ended);
        self.shared.progressed.notify_all();
        self.shared.spares.end();
        if let Some(fault) = failure {
            tracing::error!(%fault, "the journal failed; no effect leaves any more");
            fatal(fault);
        }
    }

    fn write_batches(&mut self) -> Result<(), Stop> {
        loop {
            match self.take_work() {
                Work::Batch => {
                    self.write_batch()?;
                    self.frames.clear();
                    self.frames.shrink_to(KEPT_BUFFER_BYTES_MAX);
                }
                Work::Rest => self.write_mark()?,
                Work::End => return self.write_mark(),
            }
        }
    }

    /// Takes all that is queued, or waits for it.
    fn take_work(&mut self) -> Work {
        let idle_mark_delay = Duration::from_millis(self.shared.options.idle_mark_delay_ms);
        let mut queue = locked(&self.shared.queue);
        loop {
            if !queue.frames.is_empty() || !queue.groups.is_empty() {
                let Queue { frames, effects, groups, .. } = &mut *queue;
                mem::swap(frames, &mut self.frames);
                mem::swap(effects, &mut self.effects);
                mem::swap(groups, &mut self.groups);
                return Work::Batch;
            }
            if queue.closing {
                queue.closed = true;
                return Work::End;
            }
            queue.writer_waits = true;
            if self.unmarked {
                let waited = self.shared.queued.wait_timeout(queue, idle_mark_delay);
                let (woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                queue = woken;
                if timeout.timed_out() && queue.frames.is_empty() && queue.groups.is_empty() && !queue.closing {
                    queue.writer_waits = false;
                    return Work::Rest;
                }
            } else {
                queue = self.shared.queued.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            queue.writer_waits = false;
        }
    }

    /// Makes the batch durable, in as many parts as it needs segments, and lets its effects out.
    fn write_batch(&mut self) -> Result<(), Stop> {
        // Effects without items, when nothing earlier is under way, need no disk.
        self.release_durable();
        let mut start = 0;
        while start < self.frames.len() {
            let next_bytes = format::pushed_entry(&self.frames[start..]).frame_bytes();
            if next_bytes > self.length - self.offset {
                self.roll(next_bytes)?;
            }
            let (end, last, took) = stage::measured(Stage::Journal, || {
                let (end, last) = self.seal_part(start);
                Ok((end, last, self.write(start, end)?))
            })?;
            self.offset += (end - start) as u64;
            self.unmarked = true;
            if self.offset > self.length / 2 {
                self.shared.spares.prepare();
            }
            self.publish(last, end - start, took);
            self.release_durable();
            start = end;
        }
        Ok(())
    }

    /// Seals the frames from `start` on that fit into the segment; gives where they end, and the last sequence.
    fn seal_part(&mut self, start: usize) -> (usize, u64) {
        let room = usize::try_from(self.length - self.offset).unwrap_or(usize::MAX);
        let (mut end, mut last) = (start, self.durable);
        while end < self.frames.len() {
            let header = format::pushed_entry(&self.frames[end..]);
            let bytes = usize::try_from(header.frame_bytes()).expect("the frame is in memory");
            if end - start + bytes > room {
                break;
            }
            self.hash = format::seal(&mut self.frames[end..end + bytes], self.durable, &self.key, &self.hash);
            (last, self.moment) = (header.sequence, header.moment);
            end += bytes;
        }
        (end, last)
    }

    fn write(&self, start: usize, end: usize) -> Result<Duration, Stop> {
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
                    let queue = locked(&self.shared.queue);
                    let wait = self.shared.queued.wait_timeout_while(queue, retry_delay, |queue| !queue.closing);
                    if wait.unwrap_or_else(PoisonError::into_inner).0.closing {
                        let message = format!("the disk of {} is full: {error}", self.shared.disk.place());
                        return Err(Stop::Full(Fault::new(Code::DiskFull, message)));
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

    fn publish(&mut self, last: u64, bytes: usize, took: Duration) {
        let entries = last - self.durable;
        self.durable = last;
        let mut progress = locked(&self.shared.progress);
        progress.statistics.count_sync(bytes, took);
        progress.statistics.count_batch(entries);
        self.shared.durable.store(last, Ordering::Release);
        let waiters = progress.waiters > 0;
        drop(progress);
        if waiters {
            self.shared.progressed.notify_all();
        }
    }

    /// Lets out the effects before which everything is durable.
    fn release_durable(&mut self) {
        let mut count = 0;
        while let Some(&(sequence, effects)) = self.groups.front() {
            if sequence > self.durable {
                break;
            }
            count += effects;
            self.groups.pop_front();
        }
        if count == 0 {
            return;
        }
        let effects = if self.groups.is_empty() {
            mem::take(&mut self.effects)
        } else {
            let later = self.effects.split_off(count);
            mem::replace(&mut self.effects, later)
        };
        self.release.release(effects);
    }

    /// Goes on in a new segment. Its name comes last: whoever sees the name may rely on the header.
    fn roll(&mut self, frame_bytes: u64) -> Result<(), Stop> {
        let spare =
            self.shared.spares.take(SEGMENT_HEADER_BYTES as u64 + frame_bytes).map_err(|fault| match fault.code {
                Code::DiskFull => Stop::Full(fault),
                _ => Stop::Failed(fault),
            })?;
        let first = self.durable + 1;
        let (header, bytes) = SegmentHeader::create(first, self.hash, salt().map_err(Stop::Failed)?);
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
    fn write_mark(&mut self) -> Result<(), Stop> {
        if !mem::take(&mut self.unmarked) || self.length - self.offset < MARK_BYTES as u64 {
            return Ok(());
        }
        let mark = format::mark(self.durable, self.shared.options.epoch, self.moment, &self.key);
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

    fn failed(&self, what: &str, error: &io::Error) -> Stop {
        let message = format!(
            "the journal in {} cannot be {what} behind entry {}: {error}",
            self.shared.disk.place(),
            self.durable
        );
        Stop::Failed(Fault::new(Code::JournalFailed, message))
    }
}

/// What makes the header checks of a segment unforgeable.
fn salt() -> Result<[u8; 16], Fault> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt)
        .map_err(|error| Fault::new(Code::JournalFailed, format!("the system gives no random bytes: {error}")))?;
    Ok(salt)
}
