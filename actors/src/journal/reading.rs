//! Decides how single entries are found again while the journal runs, for whoever looks back (history, audit, replay) or is
//! behind (a follower): the segment by its first sequence, and in it every entry up to the last that is wanted, each checked
//! against the chain. It changes nothing, and must not know what entries mean.
//!
//! A segment is read through a window, so memory does not grow with its length. What is read is durable before the
//! reading begins, so the writer, which appends behind it, is never in the way.

use super::{
    Entry,
    disk::{Disk, Segment},
    format::{self, FRAME_HEADER_BYTES, FrameHeader, FrameKind, SEGMENT_HEADER_BYTES, SegmentKey, chain_hash},
    recent::bytes_of,
    recovery::{self, broken, segment_name},
};
use bytes::Bytes;
use hansa_core::{
    code::Fault,
    mirror::{self, Position},
};
use std::{
    io,
    ops::{ControlFlow, RangeInclusive},
};

/// Bytes that are read from a segment at once.
const WINDOW_BYTES: u64 = 256 << 10;

/// What is done with an entry that was wanted: whether to go on.
pub type OnEntry<'a> = &'a mut dyn FnMut(Entry) -> Result<ControlFlow<()>, Fault>;

/// Why a segment could not be followed.
pub(super) enum Lost {
    /// The file of this name is gone, or cannot be read.
    Unreadable(String, io::Error),
    /// It is not what was written.
    Broken(Fault),
}

impl Lost {
    pub fn fault(self, disk: &dyn Disk) -> Fault {
        match self {
            Self::Unreadable(name, error) => recovery::unreadable(disk, &name, &error),
            Self::Broken(fault) => fault,
        }
    }
}

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

    /// The first `count` bytes, or all that there are. They are read alone: whoever goes on in a segment wants none of what follows them.
    fn first(&self, count: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(count.min(self.length)).map_err(io::Error::other)?];
        self.segment.read(0, &mut bytes)?;
        Ok(bytes)
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

/// The chain of one segment, followed entry by entry.
pub(super) struct Chain<'a> {
    disk: &'a dyn Disk,
    name: String,
    window: Window,
    key: SegmentKey,
    /// The last entry that was followed; before the first, the last of the segment before.
    pub last: Position,
    offset: u64,
}

/// An entry that continues the chain.
pub(super) struct Link<'a> {
    pub header: FrameHeader,
    pub position: Position,
    pub previous: [u8; 32],
    pub address: &'a [u8],
    pub record: &'a [u8],
}

impl<'a> Chain<'a> {
    /// Begin with the segment whose first entry is `first`.
    pub fn open(disk: &'a dyn Disk, first: u64) -> Result<Self, Lost> {
        let name = segment_name(first);
        let opened = Window::open(disk, &name).and_then(|window| {
            let header = recovery::parse_header(disk, &name, &window.first(SEGMENT_HEADER_BYTES as u64)?);
            Ok((window, header))
        });
        let (window, header) = opened.map_err(|error| Lost::Unreadable(name.clone(), error))?;
        let header = header.map_err(Lost::Broken)?;
        if header.previous.sequence + 1 != first {
            return Err(Lost::Broken(broken(disk, &name, 0, first, "the segment's header is of another segment")));
        }
        let (last, offset) = (header.previous, SEGMENT_HEADER_BYTES as u64);
        Ok(Self { disk, name, window, key: header.key, last, offset })
    }

    /// The next entry, which must be there.
    pub fn next(&mut self) -> Result<Link<'_>, Lost> {
        let (name, sequence) = (&self.name, self.last.sequence + 1);
        let unreadable = |error| Lost::Unreadable(name.clone(), error);
        let missing = |offset| {
            let why = "the segment ends, or is damaged, before the entry that is looked for";
            Err(Lost::Broken(broken(self.disk, name, offset, sequence, why)))
        };
        let header = loop {
            let bytes = self.window.at(self.offset, FRAME_HEADER_BYTES as u64).map_err(unreadable)?;
            match bytes.and_then(|bytes| FrameHeader::parse(bytes, &self.key)) {
                Some(mark) if mark.kind == FrameKind::Mark => self.offset += mark.frame_bytes(),
                Some(header) => break header,
                None => return missing(self.offset),
            }
        };
        let (offset, previous) = (self.offset, self.last.hash);
        let Some(frame) = self.window.at(offset, header.frame_bytes()).map_err(unreadable)? else {
            return missing(offset);
        };
        let body = format::body(frame, &header).filter(|body| {
            header.sequence == sequence && chain_hash(&previous, &header, body.address, body.record) == body.hash
        });
        let Some(format::Body { address, record, hash }) = body else {
            let why = "the entry does not continue the chain of those before it";
            return Err(Lost::Broken(broken(self.disk, name, offset, sequence, why)));
        };
        let hash = hash.try_into().expect("a hash was cut");
        let position = Position { sequence, epoch: header.epoch, hash };
        self.last = position;
        self.offset += header.frame_bytes();
        Ok(Link { header, position, previous, address, record })
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
        match read_segment(disk, first, address, here, last, on_entry) {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => return Ok(()),
            Err(Lost::Unreadable(_, error)) if error.kind() == io::ErrorKind::NotFound => {}
            Err(lost) => return Err(lost.fault(disk)),
        }
    }
    Ok(())
}

/// Follow the chain of one segment up to the last entry that is wanted of it.
fn read_segment(
    disk: &dyn Disk,
    first: u64,
    address: &[u8],
    wanted: &[RangeInclusive<u64>],
    last: u64,
    on_entry: OnEntry<'_>,
) -> Result<ControlFlow<()>, Lost> {
    let mut chain = Chain::open(disk, first)?;
    let last = wanted.last().map_or(last, |range| last.min(*range.end()));
    while chain.last.sequence < last {
        let link = chain.next()?;
        if link.address == address && is_wanted(wanted, link.position.sequence) {
            match on_entry(link.to_entry()).map_err(Lost::Broken)? {
                ControlFlow::Continue(()) => {}
                done => return Ok(done),
            }
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn is_wanted(wanted: &[RangeInclusive<u64>], sequence: u64) -> bool {
    let place = wanted.partition_point(|range| *range.end() < sequence);
    wanted.get(place).is_some_and(|range| range.contains(&sequence))
}

impl Link<'_> {
    fn to_entry(&self) -> Entry {
        Entry {
            sequence: self.position.sequence,
            epoch: self.position.epoch,
            moment: self.header.moment,
            address: self.address.to_vec(),
            record: self.record.to_vec(),
            previous: self.previous.into(),
            hash: self.position.hash.into(),
        }
    }

    fn to_mirrored(&self) -> mirror::Entry {
        let (address, record) = (Bytes::copy_from_slice(self.address), Bytes::copy_from_slice(self.record));
        mirror::Entry { position: self.position, moment: self.header.moment, address, record }
    }
}

/// Which segment has the entry behind this one, or will have it.
pub(super) fn segment_behind(segments: &[u64], sequence: u64) -> Option<usize> {
    segments.partition_point(|first| *first <= sequence + 1).checked_sub(1)
}

/// Where an entry is that lies in one of `segments`, or right before them.
pub(super) fn position(disk: &dyn Disk, segments: &[u64], sequence: u64) -> Result<Position, Lost> {
    let place = segment_behind(segments, sequence).unwrap_or_default();
    let mut chain = Chain::open(disk, segments[place])?;
    while chain.last.sequence < sequence {
        chain.next()?;
    }
    Ok(chain.last)
}

/// Where a reader of entries ended.
pub(super) struct Cursor {
    segment: u64,
    offset: u64,
    pub last: Position,
}

/// Entries behind `after` up to `through`, which are in `segments`, as many as fit into `bytes_max`, but at least one.
pub(super) fn entries(
    disk: &dyn Disk,
    segments: &[u64],
    begun: Option<Cursor>,
    after: u64,
    through: u64,
    bytes_max: usize,
) -> Result<(Vec<mirror::Entry>, Cursor), Lost> {
    let mut place = segment_behind(segments, after).unwrap_or_default();
    let mut chain = Chain::open(disk, segments[place])?;
    if let Some(begun) = begun.filter(|begun| begun.segment == segments[place]) {
        (chain.offset, chain.last) = (begun.offset, begun.last);
    }
    let (mut entries, mut bytes) = (Vec::new(), 0);
    loop {
        let (offset, last) = (chain.offset, chain.last);
        let cursor = Cursor { segment: segments[place], offset, last };
        if last.sequence >= through {
            return Ok((entries, cursor));
        }
        if segments.get(place + 1).is_some_and(|next| *next == last.sequence + 1) {
            place += 1;
            chain = Chain::open(disk, segments[place])?;
            continue;
        }
        let link = chain.next()?;
        if link.position.sequence > after {
            let entry = link.to_mirrored();
            bytes += bytes_of(&entry);
            if bytes > bytes_max && !entries.is_empty() {
                return Ok((entries, cursor));
            }
            entries.push(entry);
        }
    }
}
