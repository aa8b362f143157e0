//! Decides how the log is cut at its end, or put in another's place, so that a crash at any step leaves a whole log: the old one,
//! perhaps without its last segments, or the new one. The writer does it between two batches, when a sub-node follows another.
//! It must not know why.
//!
//! Segments behind the cut are removed, the newest first and each for good before the next. The one that the cut lies in is
//! written anew, with the salt of its own that every segment has, and takes its place by its name at once: so nothing of what was
//! cut can ever be taken for a part of what comes after it. A mark vouches for what was kept, for all of it is synced then.

use super::{
    SegmentPlace,
    disk::{Segment, is_full},
    format::{self, MARK_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentKey},
    locked,
    reading::{self, Chain},
    recovery::{PREPARED_NAME, segment_name},
    spare::Spare,
    writer::{Stop, Writer, salt},
};
use hansa_core::{
    code::{Code, Fault},
    mirror::{History, Position},
    moment::Moment,
};
use std::{
    io,
    sync::{Arc, atomic::Ordering},
};

/// Bytes that are written anew at once.
const PART_BYTES: usize = 1 << 20;

/// Why an order is not carried out.
pub(super) enum Refusal {
    /// It cannot be; nothing has changed.
    Fault(Fault),
    /// The journal ends with it.
    Stop(Stop),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Stop> for Refusal {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

impl<E: Send + 'static> Writer<E> {
    /// Cut the log behind `after`, which lies before its end.
    pub(super) fn cut(&mut self, after: Position) -> Result<(), Refusal> {
        let shared = Arc::clone(&self.shared);
        let disk = shared.disk.as_ref();
        let _one_at_a_time = locked(&shared.removing);
        let segments: Vec<u64> = locked(&shared.segments).iter().map(|segment| segment.first).collect();
        let Some(place) = reading::segment_behind(&segments, after.sequence) else {
            return Err(self.elsewhere(after, "it is not kept any more").into());
        };
        let first = segments[place];
        let lost = |lost: reading::Lost| Refusal::Fault(lost.fault(disk));
        let mut chain = Chain::open(disk, first).map_err(lost)?;
        let mut bytes = (SEGMENT_HEADER_BYTES + MARK_BYTES) as u64;
        while chain.last.sequence < after.sequence {
            bytes += chain.next().map_err(lost)?.header.frame_bytes();
        }
        if chain.last != after {
            return Err(self.elsewhere(after, "that entry is another there").into());
        }
        let spare = self.spare(bytes)?;
        let chain = Chain::open(disk, first).map_err(lost)?;
        let (key, offset) = self.prepared(rewrite(spare.segment.as_ref(), chain, after))?;
        {
            // Nobody looks for what is cut from here on.
            let _segments = locked(&shared.segments);
            shared.cuts.fetch_add(1, Ordering::AcqRel);
            shared.durable.store(after.sequence, Ordering::Release);
            locked(&shared.recent).cut(after.sequence);
            locked(&shared.history).cut(after);
        }
        for &first in segments[place + 1..].iter().rev() {
            locked(&shared.segments).pop_back();
            self.done(disk.remove(&segment_name(first)).and_then(|()| disk.sync_folder()))?;
        }
        self.done(disk.rename(PREPARED_NAME, &segment_name(first)).and_then(|()| disk.sync_folder()))?;
        if let Some(last) = locked(&shared.segments).back_mut() {
            last.bytes = spare.bytes;
        }
        self.go_on_in(spare, key, offset, after);
        Ok(())
    }

    /// Put an empty log in the place of what is there, which goes on behind this history.
    pub(super) fn begin_anew(&mut self, history: History) -> Result<(), Refusal> {
        let shared = Arc::clone(&self.shared);
        let disk = shared.disk.as_ref();
        let _one_at_a_time = locked(&shared.removing);
        let tail = history.tail();
        let spare = self.spare(SEGMENT_HEADER_BYTES as u64)?;
        let (header, bytes) = SegmentHeader::create(tail, true, salt()?);
        let written = spare.segment.write_at(0, &bytes).and_then(|()| spare.segment.sync_data());
        self.prepared(written.map_err(NotRewritten::Disk))?;
        // Held to the end: nobody can read in between.
        let mut segments = locked(&shared.segments);
        shared.cuts.fetch_add(1, Ordering::AcqRel);
        shared.durable.store(tail.sequence, Ordering::Release);
        locked(&shared.recent).clear();
        *locked(&shared.history) = history;
        let first = tail.sequence + 1;
        while let Some(later) = segments.pop_back_if(|segment| segment.first > first) {
            self.done(disk.remove(&segment_name(later.first)).and_then(|()| disk.sync_folder()))?;
        }
        // With its name the new log is there, and what is before it is left over.
        self.done(disk.rename(PREPARED_NAME, &segment_name(first)).and_then(|()| disk.sync_folder()))?;
        for earlier in segments.drain(..).filter(|segment| segment.first < first) {
            self.done(disk.remove(&segment_name(earlier.first)))?;
        }
        self.done(disk.sync_folder())?;
        segments.push_back(SegmentPlace { first, bytes: spare.bytes });
        drop(segments);
        self.go_on_in(spare, header.key, SEGMENT_HEADER_BYTES as u64, tail);
        Ok(())
    }

    /// A segment to write into. While the disk is full there is none.
    fn spare(&self, bytes: u64) -> Result<Spare, Refusal> {
        self.shared.spares.take(bytes, &|_| false).map_err(|fault| match fault.code {
            Code::DiskFull => Refusal::Fault(fault),
            _ => Refusal::Stop(Stop::Failed(fault)),
        })
    }

    /// What could not be prepared is taken away; nothing else has changed.
    fn prepared<T>(&self, outcome: Result<T, NotRewritten>) -> Result<T, Refusal> {
        outcome.map_err(|why| {
            let refusal = match why {
                NotRewritten::Lost(lost) => Refusal::Fault(lost.fault(self.shared.disk.as_ref())),
                NotRewritten::Disk(error) if is_full(&error) => Refusal::Fault(self.full(&error)),
                NotRewritten::Disk(error) => return Refusal::Stop(self.failed("cut", &error)),
                NotRewritten::Fault(fault) => Refusal::Stop(Stop::Failed(fault)),
            };
            // Only its room is wanted back; opening removes it, too.
            let _ = self.shared.disk.remove(PREPARED_NAME);
            refusal
        })
    }

    /// From the first change on there is no way back but by recovery.
    fn done(&self, outcome: io::Result<()>) -> Result<(), Refusal> {
        outcome.map_err(|error| Refusal::Stop(self.failed("cut", &error)))
    }

    fn go_on_in(&mut self, spare: Spare, key: SegmentKey, offset: u64, tail: Position) {
        (self.segment, self.length, self.key, self.offset) = (spare.segment, spare.bytes, key, offset);
        (self.tail, self.durable, self.unmarked) = (tail, tail.sequence, false);
    }
}

/// Why a segment was not written anew.
enum NotRewritten {
    Lost(reading::Lost),
    Disk(io::Error),
    Fault(Fault),
}

/// Write what `chain` has up to `after` into `segment`, and a mark, and sync it; give its key and where it goes on.
fn rewrite(segment: &dyn Segment, mut chain: Chain<'_>, after: Position) -> Result<(SegmentKey, u64), NotRewritten> {
    let salt = salt().map_err(NotRewritten::Fault)?;
    let (header, bytes) = SegmentHeader::create(chain.last, false, salt);
    let (mut part, mut offset, mut moment) = (bytes.to_vec(), 0, Moment(0));
    let has_entries = chain.last.sequence < after.sequence;
    while chain.last.sequence < after.sequence {
        let link = chain.next().map_err(NotRewritten::Lost)?;
        let (begin, epoch) = (part.len(), link.position.epoch);
        moment = link.header.moment;
        format::push_entry(&mut part, link.position.sequence, epoch, moment, link.address, link.record);
        format::seal(&mut part[begin..], epoch, link.header.durable_before, &header.key, &link.previous);
        if part.len() >= PART_BYTES {
            segment.write_at(offset, &part).map_err(NotRewritten::Disk)?;
            offset += part.len() as u64;
            part.clear();
        }
    }
    if has_entries {
        part.extend_from_slice(&format::mark(after.sequence, after.epoch, moment, &header.key));
    }
    segment.write_at(offset, &part).and_then(|()| segment.sync_data()).map_err(NotRewritten::Disk)?;
    Ok((header.key, offset + part.len() as u64))
}
