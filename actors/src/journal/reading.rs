//! Decides how single entries are found again while the journal runs, for whoever looks back (history, audit, replay):
//! the segment by its first sequence, and in it every entry up to the last that is wanted, each checked against the
//! chain. `Journal::read` alone calls it. It changes nothing, and must not know what entries mean.
//!
//! A segment is read through a window, so memory does not grow with its length. What is read is durable before the
//! reading begins, so the writer, which appends behind it, is never in the way.

use super::{
    Entry,
    disk::{Disk, Segment},
    format::{FRAME_HEADER_BYTES, FrameHeader, FrameKind, HASH_BYTES, SEGMENT_HEADER_BYTES, chain_hash},
    recovery::{self, broken, segment_name},
};
use blake3::Hash;
use hansa_core::code::Fault;
use std::{
    io,
    ops::{ControlFlow, RangeInclusive},
};

/// Bytes that are read from a segment at once.
const WINDOW_BYTES: u64 = 256 << 10;

/// What is done with an entry that was wanted: whether to go on.
pub type OnEntry<'a> = &'a mut dyn FnMut(Entry) -> Result<ControlFlow<()>, Fault>;

/// The part of a segment that is in memory.
struct Window {
    segment: Box<dyn Segment>,
    length: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    fn open(disk: &dyn Disk, name: &str) -> io::Result<Self> {
        let segment = disk.open(name)?;
        let length = segment.length()?;
        Ok(Self { segment, length, start: 0, bytes: Vec::new() })
    }

    /// `count` bytes from `offset` on; none if the segment ends before.
    fn at(&mut self, offset: u64, count: u64) -> io::Result<Option<&[u8]>> {
        let Some(end) = offset.checked_add(count).filter(|end| *end <= self.length) else { return Ok(None) };
        if offset < self.start || end > self.start + self.bytes.len() as u64 {
            let size = count.max(WINDOW_BYTES).min(self.length - offset);
            self.bytes.resize(usize::try_from(size).map_err(io::Error::other)?, 0);
            self.segment.read(offset, &mut self.bytes)?;
            self.start = offset;
        }
        let from = usize::try_from(offset - self.start).map_err(io::Error::other)?;
        let count = usize::try_from(count).map_err(io::Error::other)?;
        Ok(Some(&self.bytes[from..from + count]))
    }
}

/// Hand those entries of `address` to `on_entry` that lie in `wanted`, which ascends, and in a segment of `segments`.
/// A segment that is dropped meanwhile is passed over like those that were dropped before.
pub(super) fn read(
    disk: &dyn Disk,
    segments: &[u64],
    address: &[u8],
    wanted: &[RangeInclusive<u64>],
    on_entry: OnEntry<'_>,
) -> Result<(), Fault> {
    for (index, &first) in segments.iter().enumerate() {
        let last = segments.get(index + 1).map_or(u64::MAX, |next| next - 1);
        let from = wanted.partition_point(|range| *range.end() < first);
        let until = wanted.partition_point(|range| *range.start() <= last);
        let Some(here) = wanted.get(from..until).filter(|here| !here.is_empty()) else { continue };
        let name = segment_name(first);
        match read_segment(disk, &name, first, address, here, last, on_entry) {
            Ok(Ok(ControlFlow::Continue(()))) => {}
            Ok(Ok(ControlFlow::Break(()))) => return Ok(()),
            Ok(Err(fault)) => return Err(fault),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(recovery::unreadable(disk, &name, &error)),
        }
    }
    Ok(())
}

/// Follow the chain of one segment up to the last entry that is wanted of it.
fn read_segment(
    disk: &dyn Disk,
    name: &str,
    first: u64,
    address: &[u8],
    wanted: &[RangeInclusive<u64>],
    last: u64,
    on_entry: OnEntry<'_>,
) -> io::Result<Result<ControlFlow<()>, Fault>> {
    let mut window = Window::open(disk, name)?;
    let header = window.at(0, SEGMENT_HEADER_BYTES as u64)?.unwrap_or_default();
    let header = match recovery::parse_header(disk, name, header) {
        Ok(header) => header,
        Err(fault) => return Ok(Err(fault)),
    };
    let last = wanted.last().map_or(last, |range| last.min(*range.end()));
    let (mut sequence, mut previous, mut offset) = (first - 1, header.previous, SEGMENT_HEADER_BYTES as u64);
    while sequence < last {
        let parsed = window.at(offset, FRAME_HEADER_BYTES as u64)?.and_then(|it| FrameHeader::parse(it, &header.key));
        let frame = match &parsed {
            Some(frame) => window.at(offset, frame.frame_bytes())?,
            None => None,
        };
        let (Some(parsed), Some(frame)) = (parsed, frame) else {
            let why = "the segment ends, or is damaged, before the entry that is looked for";
            return Ok(Err(broken(disk, name, offset, sequence + 1, why)));
        };
        offset += parsed.frame_bytes();
        if parsed.kind == FrameKind::Mark {
            continue;
        }
        let (content, hash) = frame.split_at(frame.len() - HASH_BYTES);
        let expected = chain_hash(&previous, content);
        if parsed.sequence != sequence + 1 || expected.as_bytes() != hash {
            let why = "the entry does not continue the chain of those before it";
            return Ok(Err(broken(disk, name, offset, sequence + 1, why)));
        }
        sequence = parsed.sequence;
        if let Some(entry) = entry(&parsed, content, previous, expected, address)
            && is_wanted(wanted, sequence)
        {
            match on_entry(entry) {
                Ok(ControlFlow::Continue(())) => {}
                done => return Ok(done),
            }
        }
        previous = expected;
    }
    Ok(Ok(ControlFlow::Continue(())))
}

fn is_wanted(wanted: &[RangeInclusive<u64>], sequence: u64) -> bool {
    let place = wanted.partition_point(|range| *range.end() < sequence);
    wanted.get(place).is_some_and(|range| range.contains(&sequence))
}

/// The entry, if it is one of `wanted`.
fn entry(header: &FrameHeader, content: &[u8], previous: Hash, hash: Hash, wanted: &[u8]) -> Option<Entry> {
    let (address, rest) = content[FRAME_HEADER_BYTES..].split_at_checked(header.address_bytes as usize)?;
    (address == wanted).then(|| Entry {
        sequence: header.sequence,
        epoch: header.epoch,
        moment: header.moment,
        address: address.to_vec(),
        record: rest[..header.record_bytes as usize].to_vec(),
        previous,
        hash,
    })
}
