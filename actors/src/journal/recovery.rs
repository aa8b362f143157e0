//! Decides, when a journal is opened, what of it counts: verifies the chain, hands every entry back, and cuts a torn
//! tail. `Journal::open` calls it before the writer starts; it must not know what entries mean.
//!
//! # What a crash may leave, and what it may not
//! A batch is one write, and sectors of an unsynced write reach the disk in any order or not at all. So after a crash the
//! *last* batch may have holes: its first entry torn, its fifth whole. None of it was acknowledged, and everything from
//! the first hole on is dropped. The same hole in front of a batch that *was* acknowledged is corruption and must never
//! be dropped silently. Every header therefore says `durable_before`: the sequence that was durable when it was written.
//! A hole at sequence *s* is a legal torn tail exactly if it lies in the last segment and no header behind it
//!
//! * says `durable_before` ≥ *s*: then *s* had been synced before that header was written; or
//! * has a sequence ≤ *s*: then it is not the hole's own batch that is torn, since entries lie in order.
//!
//! Headers are recognized behind a hole by their keyed check, without the chain, at every multiple of eight bytes.
//! A segment gets its name only after its header is synced, and a successor only after all its entries are, so a bad
//! header, a gap between names, or a hole in any segment but the last is always corruption.
//!
//! The last batch before a crash has no successor that could vouch for it; a mark, written when the journal is closed or
//! rests, vouches for it in the ordinary case.
//!
//! # A log that begins anew
//! A follower that is given a snapshot goes on behind it, in a segment that says that it begins anew. From the moment that this
//! segment has its name, what is before it is left over; recovery takes that away.
//!
//! # What is done to the tail
//! The torn rest is zeroed. What was read from the last batch is written again and synced before anything rests on it:
//! after a failed sync the page cache may show bytes that the disk does not have, and call them clean.

use super::{
    Entry, SegmentPlace,
    disk::{Disk, Segment},
    epochs,
    format::{self, FrameHeader, FrameKind, HeaderFlaw, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentKey, chain_hash},
};
use hansa_core::{
    code::{Code, Fault},
    mirror::{History, Position},
};
use std::{collections::VecDeque, io};

/// The name of the segment that is being prepared; never anything that was acknowledged.
pub(super) const PREPARED_NAME: &str = "next.prepared";
/// Longest segment file that is read; only one oversized record makes a segment longer than the configured length.
const SEGMENT_BYTES_MAX: u64 = 1 << 33;

/// The name of the segment whose first entry has `sequence`.
pub(super) fn segment_name(sequence: u64) -> String {
    format!("{sequence:020}.seg")
}

/// First sequences of the segments in the folder, ascending.
pub(super) fn segments(disk: &dyn Disk) -> Result<Vec<u64>, Fault> {
    let names = disk.list().map_err(|error| unreadable(disk, "", &error))?;
    let mut firsts: Vec<u64> = names
        .iter()
        .filter_map(|name| {
            let first = name.strip_suffix(".seg").filter(|digits| digits.len() == 20).and_then(|it| it.parse().ok());
            if first.is_none() && name != PREPARED_NAME {
                tracing::warn!(folder = disk.place(), name, "a file that is no segment lies among the segments");
            }
            first
        })
        .collect();
    firsts.sort_unstable();
    Ok(firsts)
}

/// The segments with the lengths of their files.
pub(super) fn places(disk: &dyn Disk, firsts: &[u64]) -> Result<VecDeque<SegmentPlace>, Fault> {
    let place = |&first: &u64| {
        let name = segment_name(first);
        let bytes = disk.open(&name).and_then(|segment| segment.length());
        Ok(SegmentPlace { first, bytes: bytes.map_err(|error| unreadable(disk, &name, &error))? })
    };
    firsts.iter().map(place).collect()
}

/// Where a recovered journal goes on.
pub(super) struct Recovered {
    /// First sequences of all segments; empty if the journal is new.
    pub segments: Vec<u64>,
    /// The segment to append to, its key and where; none if the journal is new.
    pub active: Option<(Box<dyn Segment>, SegmentKey, u64)>,
    /// The last entry.
    pub tail: Position,
    /// How long its epochs reach, as far back as entries are kept.
    pub history: History,
    /// Whether nothing vouches for the last entries yet.
    pub unmarked: bool,
}

/// Reads the journal from `replay_from` on; zero means from the first entry that is kept.
pub(super) fn recover(
    disk: &dyn Disk,
    replay_from: u64,
    on_entry: &mut dyn FnMut(Entry) -> Result<(), Fault>,
) -> Result<Recovered, Fault> {
    if disk.list().map_err(|error| unreadable(disk, "", &error))?.iter().any(|name| name == PREPARED_NAME) {
        disk.remove(PREPARED_NAME).map_err(|error| unreadable(disk, PREPARED_NAME, &error))?;
    }
    // A name that a crashed process saw need not be durable; from here on it is.
    disk.sync_folder().map_err(|error| unreadable(disk, "", &error))?;
    let segments = without_left_over(disk, segments(disk)?)?;
    let mut state = Walk { marked: true, ..Walk::default() };
    let mut active = None;
    if let Some(&first) = segments.first() {
        if replay_from != 0 && first > replay_from {
            return Err(missing(disk, replay_from, &format!("begins at entry {first}")));
        }
        let start = segments.partition_point(|&first| first <= replay_from).saturating_sub(1);
        let mut buffer = Vec::new();
        for (index, &first) in segments.iter().enumerate().skip(start) {
            let name = segment_name(first);
            let segment = read_segment(disk, &name, &mut buffer)?;
            let header = parse_header(disk, &name, &buffer)?;
            if index == start {
                state.tail = header.previous;
                state.history = epochs::before(disk, &segments[..start], header.previous);
            }
            if header.previous != state.tail || state.tail.sequence + 1 != first {
                return Err(broken(disk, &name, 0, first, "it does not continue the segment before it"));
            }
            state.walk(&buffer, &header.key, replay_from, on_entry)?;
            match segments.get(index + 1) {
                Some(&next) if next == state.tail.sequence + 1 => {
                    if buffer[state.offset..].iter().any(|&byte| byte != 0) {
                        tracing::warn!(
                            folder = disk.place(),
                            name,
                            "there are bytes behind the last entry of a segment"
                        );
                    }
                }
                Some(&next) => {
                    let why =
                        format!("the entry is not whole, but later ones follow: the next segment begins at {next}");
                    return Err(broken(disk, &name, state.offset as u64, state.tail.sequence + 1, &why));
                }
                None => {
                    state.cut_tail(disk, &name, segment.as_ref(), &mut buffer, &header.key)?;
                    active = Some((segment, header.key, state.offset as u64));
                }
            }
        }
    }
    let Walk { tail, history, marked, .. } = state;
    if replay_from > tail.sequence + 1 {
        return Err(missing(disk, replay_from - 1, &format!("ends at entry {}", tail.sequence)));
    }
    Ok(Recovered { segments, active, tail, history, unmarked: !marked })
}

/// The place of the last segment that begins anew, if there is something left over before it.
fn begins_anew(disk: &dyn Disk, segments: &[u64]) -> Option<usize> {
    let is_first = |first: &u64| {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        // What cannot be read is refused when it is needed.
        let read = disk.open(&segment_name(*first)).and_then(|segment| segment.read(0, &mut bytes));
        read.is_ok() && SegmentHeader::parse(&bytes).is_ok_and(|header| header.begins_anew)
    };
    segments.iter().rposition(is_first).filter(|place| *place > 0)
}

fn without_left_over(disk: &dyn Disk, mut segments: Vec<u64>) -> Result<Vec<u64>, Fault> {
    let Some(place) = begins_anew(disk, &segments) else { return Ok(segments) };
    for first in segments.drain(..place) {
        let name = segment_name(first);
        tracing::info!(folder = disk.place(), name, "a segment of before a snapshot is left over, and removed");
        disk.remove(&name).map_err(|error| unreadable(disk, &name, &error))?;
    }
    disk.sync_folder().map_err(|error| unreadable(disk, "", &error))?;
    Ok(segments)
}

/// The first sequence that counts in this folder, which is not changed.
pub(super) fn first_kept(disk: &dyn Disk) -> Result<Option<u64>, Fault> {
    let segments = segments(disk)?;
    Ok(segments.get(begins_anew(disk, &segments).unwrap_or_default()).copied())
}

fn read_segment(disk: &dyn Disk, name: &str, buffer: &mut Vec<u8>) -> Result<Box<dyn Segment>, Fault> {
    let mut read = || -> io::Result<Box<dyn Segment>> {
        let segment = disk.open(name)?;
        let length = segment.length()?;
        if length > SEGMENT_BYTES_MAX {
            return Err(io::Error::other(format!("it is {length} bytes long, which no segment is")));
        }
        buffer.resize(usize::try_from(length).map_err(io::Error::other)?, 0);
        segment.read(0, buffer)?;
        Ok(segment)
    };
    read().map_err(|error| unreadable(disk, name, &error))
}

pub(super) fn parse_header(disk: &dyn Disk, name: &str, buffer: &[u8]) -> Result<SegmentHeader, Fault> {
    SegmentHeader::parse(buffer).map_err(|flaw| match flaw {
        HeaderFlaw::Newer(version) => Fault::new(
            Code::DataNewer,
            format!("the journal segment {}/{name} has format {version}, which this version cannot read", disk.place()),
        ),
        HeaderFlaw::Older(version) => Fault::new(
            Code::DataOlder,
            format!("the journal segment {}/{name} has format {version}, which this version does not read", disk.place()),
        )
        .help(
            "Nothing was changed. Go on with the version of hansa that wrote it, or begin with a new data directory and \
             submit again what is still to be done.",
        ),
        HeaderFlaw::Damaged => {
            broken(disk, name, 0, name[..20].parse().unwrap_or(0), "the segment's header is not what was written")
        }
    })
}

/// How far the verified chain reaches.
#[derive(Default)]
struct Walk {
    /// The last whole entry.
    tail: Position,
    history: History,
    /// Where in the current segment the next frame would be.
    offset: usize,
    /// Where the last batch begins.
    batch_offset: usize,
    /// Whether a mark is the last frame.
    marked: bool,
}

impl Walk {
    /// Follows the chain through one segment up to the first frame that does not continue it.
    fn walk(
        &mut self,
        buffer: &[u8],
        key: &SegmentKey,
        replay_from: u64,
        on_entry: &mut dyn FnMut(Entry) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        (self.offset, self.batch_offset) = (SEGMENT_HEADER_BYTES, SEGMENT_HEADER_BYTES);
        while let Some(header) = FrameHeader::parse(&buffer[self.offset..], key) {
            let Some(end) = usize::try_from(header.frame_bytes()).ok().and_then(|bytes| self.offset.checked_add(bytes))
            else {
                return Ok(());
            };
            let Some(frame) = buffer.get(self.offset..end) else { return Ok(()) };
            let before = self.tail.sequence;
            if header.kind == FrameKind::Mark {
                if header.durable_before != before {
                    return Ok(());
                }
                (self.batch_offset, self.marked) = (self.offset, true);
            } else {
                let Some(body) = format::body(frame, &header) else { return Ok(()) };
                let hash = chain_hash(&self.tail.hash, &header, body.address, body.record);
                let continues = header.sequence == before + 1 && header.durable_before <= before;
                if !continues || hash != body.hash {
                    return Ok(());
                }
                if header.durable_before == before {
                    self.batch_offset = self.offset;
                }
                if header.sequence >= replay_from {
                    on_entry(Entry {
                        sequence: header.sequence,
                        epoch: header.epoch,
                        moment: header.moment,
                        address: body.address.to_vec(),
                        record: body.record.to_vec(),
                        previous: self.tail.hash.into(),
                        hash: hash.into(),
                    })?;
                }
                self.tail = Position { sequence: header.sequence, epoch: header.epoch, hash };
                self.history.extend(self.tail);
                self.marked = false;
            }
            self.offset = end;
        }
        Ok(())
    }

    /// Makes the end of the last segment what recovery says it is, or refuses.
    fn cut_tail(
        &self,
        disk: &dyn Disk,
        name: &str,
        segment: &dyn Segment,
        buffer: &mut [u8],
        key: &SegmentKey,
    ) -> Result<(), Fault> {
        let hole = self.tail.sequence + 1;
        for offset in (self.offset..buffer.len()).step_by(8) {
            let Some(later) = FrameHeader::parse(&buffer[offset..], key) else { continue };
            let vouches = later.durable_before >= hole;
            let out_of_order = offset > self.offset && later.sequence <= hole;
            if vouches || out_of_order {
                let why = format!(
                    "the entry is not whole, but was durable before entry {} at byte {offset} was written",
                    later.sequence
                );
                return Err(broken(disk, name, self.offset as u64, hole, &why));
            }
        }
        let torn_end = buffer.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1).max(self.offset);
        if torn_end > self.offset {
            tracing::info!(
                folder = disk.place(),
                name,
                sequence = hole,
                bytes = torn_end - self.offset,
                "a torn batch, which nobody was told of, is cut off the journal"
            );
        }
        buffer[self.offset..torn_end].fill(0);
        let rewritten = &buffer[self.batch_offset..torn_end];
        let written = segment.write_at(self.batch_offset as u64, rewritten).and_then(|()| segment.sync_data());
        written.map_err(|error| {
            let message = format!("the end of the journal segment {}/{name} cannot be written: {error}", disk.place());
            Fault::new(Code::JournalFailed, message)
        })
    }
}

pub(super) fn broken(disk: &dyn Disk, name: &str, offset: u64, sequence: u64, why: &str) -> Fault {
    let place = format!("{}/{name}, byte {offset}, entry {sequence}", disk.place());
    Fault::new(Code::JournalBroken, format!("the journal is broken at {place}: {why}"))
}

fn missing(disk: &dyn Disk, needed: u64, fact: &str) -> Fault {
    let message = format!("the journal in {} {fact}, but entry {needed} is needed", disk.place());
    Fault::new(Code::JournalBroken, message).help(
        "Journal and look-up store do not belong together, or one of them was lost. Do not delete anything. Restore \
         both from the same backup, or from the mirror.",
    )
}

pub(super) fn unreadable(disk: &dyn Disk, name: &str, error: &io::Error) -> Fault {
    Fault::new(Code::JournalBroken, format!("the journal file {}/{name} cannot be read: {error}", disk.place()))
}
