//! Decides how entries lie in a segment file, byte for byte. The writer seals frames with it, recovery reads them back.
//! It must not know files, threads or what an address and a record mean.
//!
//! All integers are little-endian. A segment begins with a header of [`SEGMENT_HEADER_BYTES`]:
//! ```text
//!   0  magic "HANSAJRN"      8  format version u32   12  begins anew u32    16  first sequence u64
//!  24  salt, 16 bytes       40  hash of the entry before the first, 32 bytes   72  epoch of that entry u64
//!  80  BLAKE3 of bytes 0..80, 32 bytes: also the key of this segment's header checks   112  zeros up to 128
//! ```
//! A segment that begins anew stands for all that was before it (see `recovery`). Frames follow, each aligned to eight bytes:
//! ```text
//!   0  magic "ENTR"/"MARK"   4  address bytes u32     8  record bytes u32   12  zero u32
//!  16  sequence u64         24  epoch u64            32  moment u64         40  durable_before u64
//!  48  header check: the first 8 bytes of BLAKE3 over bytes 0..48, keyed with the segment's key
//!  56  address, record, zeros up to eight bytes, then (entries only) the hash:
//!      BLAKE3(hash of the entry before ‖ sequence ‖ epoch ‖ moment ‖ address bytes ‖ record bytes ‖ address ‖ record)
//! ```
//! The hash covers what both sub-nodes of a pair have in common, and nothing of how one of them wrote it down: two logs with
//! the same hash are the same up to there, in whatever segments and batches they lie.
//!
//! No magic is zero, so zeros are the end. The header check makes a header recognizable *without* the entry before it,
//! which is what tells a torn tail from corruption (see `recovery`); because its key holds a salt that never leaves the
//! segment, no document that somebody has journaled can look like a header.
//!
//! A mark is a frame without address, record and hash. It says only "everything up to `durable_before` was durable when
//! I was written", so that the last batch before a pause is protected as if another batch had followed.

use blake3::Hasher;
use hansa_core::{mirror::Position, moment::Moment};
use std::ops::Range;

pub(super) const FORMAT_VERSION: u32 = 2;
pub(super) const SEGMENT_HEADER_BYTES: usize = 128;
pub(super) const FRAME_HEADER_BYTES: usize = 56;
pub(super) const HASH_BYTES: usize = 32;
pub(super) const MARK_BYTES: usize = FRAME_HEADER_BYTES;

const SEGMENT_MAGIC: &[u8; 8] = b"HANSAJRN";
const SEGMENT_CHECKED_BYTES: usize = 80;
const SEGMENT_KEY_END: usize = SEGMENT_CHECKED_BYTES + HASH_BYTES;
const ENTRY_MAGIC: &[u8; 4] = b"ENTR";
const MARK_MAGIC: &[u8; 4] = b"MARK";
const CHECKED_BYTES: usize = 48;
const EPOCH_OFFSET: usize = 24;
const DURABLE_BEFORE_OFFSET: usize = 40;

/// In place of the epoch of a pushed entry: the writer stamps its own when it seals.
pub(super) const OPEN_EPOCH: u64 = 0;

/// What keys the header checks of one segment.
pub(super) type SegmentKey = [u8; 32];

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// The entry before the first.
    pub previous: Position,
    /// What lies in segments before this one is left over and does not count.
    pub begins_anew: bool,
    pub key: SegmentKey,
}

/// Why bytes are no segment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderFlaw {
    /// Written by a newer format.
    Newer(u32),
    /// Written by an older format.
    Older(u32),
    /// Not what was written.
    Damaged,
}

impl SegmentHeader {
    /// The bytes of a new header, and the header as recovery will read it.
    pub fn create(previous: Position, begins_anew: bool, salt: [u8; 16]) -> (Self, [u8; SEGMENT_HEADER_BYTES]) {
        let mut bytes = [0u8; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&u32::from(begins_anew).to_le_bytes());
        bytes[16..24].copy_from_slice(&(previous.sequence + 1).to_le_bytes());
        bytes[24..40].copy_from_slice(&salt);
        bytes[40..72].copy_from_slice(&previous.hash);
        bytes[72..80].copy_from_slice(&previous.epoch.to_le_bytes());
        let key: SegmentKey = blake3::hash(&bytes[..SEGMENT_CHECKED_BYTES]).into();
        bytes[SEGMENT_CHECKED_BYTES..SEGMENT_KEY_END].copy_from_slice(&key);
        (Self { previous, begins_anew, key }, bytes)
    }

    pub fn parse(bytes: &[u8]) -> Result<Self, HeaderFlaw> {
        let bytes = bytes.get(..SEGMENT_HEADER_BYTES).ok_or(HeaderFlaw::Damaged)?;
        if &bytes[..8] != SEGMENT_MAGIC {
            return Err(HeaderFlaw::Damaged);
        }
        // Magic and version are all that a later format promises to keep.
        match u32_at(bytes, 8) {
            FORMAT_VERSION => {}
            version @ 1.. if version < FORMAT_VERSION => return Err(HeaderFlaw::Older(version)),
            0 => return Err(HeaderFlaw::Damaged),
            version => return Err(HeaderFlaw::Newer(version)),
        }
        let key: SegmentKey = blake3::hash(&bytes[..SEGMENT_CHECKED_BYTES]).into();
        if bytes[SEGMENT_CHECKED_BYTES..SEGMENT_KEY_END] != key
            || bytes[SEGMENT_KEY_END..].iter().any(|&byte| byte != 0)
        {
            return Err(HeaderFlaw::Damaged);
        }
        let sequence = u64_at(bytes, 16).checked_sub(1).ok_or(HeaderFlaw::Damaged)?;
        let hash = bytes[40..72].try_into().expect("32 bytes were cut");
        let previous = Position { sequence, epoch: u64_at(bytes, 72), hash };
        Ok(Self { previous, begins_anew: u32_at(bytes, 12) != 0, key })
    }
}

/// What kind of frame a header begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameKind {
    Entry,
    Mark,
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub kind: FrameKind,
    pub address_bytes: u32,
    pub record_bytes: u32,
    pub sequence: u64,
    pub epoch: u64,
    pub moment: Moment,
    pub durable_before: u64,
}

impl FrameHeader {
    /// Reads a header whose check fits; anything else is none.
    pub fn parse(bytes: &[u8], key: &SegmentKey) -> Option<Self> {
        let bytes = bytes.get(..FRAME_HEADER_BYTES)?;
        let kind = match &bytes[..4] {
            magic if magic == ENTRY_MAGIC => FrameKind::Entry,
            magic if magic == MARK_MAGIC => FrameKind::Mark,
            _ => return None,
        };
        (bytes[CHECKED_BYTES..] == header_check(bytes, key)).then(|| Self::fields(bytes, kind))
    }

    fn fields(bytes: &[u8], kind: FrameKind) -> Self {
        Self {
            kind,
            address_bytes: u32_at(bytes, 4),
            record_bytes: u32_at(bytes, 8),
            sequence: u64_at(bytes, 16),
            epoch: u64_at(bytes, 24),
            moment: Moment(u64_at(bytes, 32)),
            durable_before: u64_at(bytes, DURABLE_BEFORE_OFFSET),
        }
    }

    /// Bytes of the whole frame.
    pub fn frame_bytes(&self) -> u64 {
        match self.kind {
            FrameKind::Mark => MARK_BYTES as u64,
            FrameKind::Entry => {
                let body = u64::from(self.address_bytes) + u64::from(self.record_bytes);
                FRAME_HEADER_BYTES as u64 + body.next_multiple_of(8) + HASH_BYTES as u64
            }
        }
    }

    /// Where address and record lie of an entry whose frame begins at `start`.
    pub fn body_places(&self, start: usize) -> (Range<usize>, Range<usize>) {
        let address = start + FRAME_HEADER_BYTES;
        let record = address + self.address_bytes as usize;
        (address..record, record..record + self.record_bytes as usize)
    }

    fn write(&self, buffer: &mut Vec<u8>) {
        buffer.extend_from_slice(match self.kind {
            FrameKind::Entry => ENTRY_MAGIC,
            FrameKind::Mark => MARK_MAGIC,
        });
        buffer.extend_from_slice(&self.address_bytes.to_le_bytes());
        buffer.extend_from_slice(&self.record_bytes.to_le_bytes());
        buffer.extend_from_slice(&[0; 4]);
        buffer.extend_from_slice(&self.sequence.to_le_bytes());
        buffer.extend_from_slice(&self.epoch.to_le_bytes());
        buffer.extend_from_slice(&self.moment.0.to_le_bytes());
        buffer.extend_from_slice(&self.durable_before.to_le_bytes());
        buffer.extend_from_slice(&[0; FRAME_HEADER_BYTES - CHECKED_BYTES]);
    }
}

/// Lays an entry behind what is in `buffer`; check, `durable_before`, hash and an [`OPEN_EPOCH`] stay open until [`seal`].
pub(super) fn push_entry(
    buffer: &mut Vec<u8>,
    sequence: u64,
    epoch: u64,
    moment: Moment,
    address: &[u8],
    record: &[u8],
) {
    let header = FrameHeader {
        kind: FrameKind::Entry,
        address_bytes: u32::try_from(address.len()).expect("an address is smaller than 4 GiB"),
        record_bytes: u32::try_from(record.len()).expect("a record is smaller than 4 GiB"),
        sequence,
        epoch,
        moment,
        durable_before: 0,
    };
    buffer.reserve(usize::try_from(header.frame_bytes()).expect("a frame fits into memory"));
    header.write(buffer);
    buffer.extend_from_slice(address);
    buffer.extend_from_slice(record);
    let padding = (address.len() + record.len()).next_multiple_of(8) - address.len() - record.len();
    buffer.extend_from_slice(&[0; 8][..padding]);
    buffer.extend_from_slice(&[0; HASH_BYTES]);
}

/// A whole mark.
pub(super) fn mark(durable_before: u64, epoch: u64, moment: Moment, key: &SegmentKey) -> Vec<u8> {
    let sequence = durable_before;
    let kind = FrameKind::Mark;
    let mut buffer = Vec::with_capacity(MARK_BYTES);
    FrameHeader { kind, address_bytes: 0, record_bytes: 0, sequence, epoch, moment, durable_before }.write(&mut buffer);
    let check = header_check(&buffer, key);
    buffer[CHECKED_BYTES..].copy_from_slice(&check);
    buffer
}

/// Header and bytes of the pushed entry at the start of `frames`, which need not be sealed yet.
pub(super) fn pushed_entry(frames: &[u8]) -> FrameHeader {
    FrameHeader::fields(&frames[..FRAME_HEADER_BYTES], FrameKind::Entry)
}

/// Where the pushed entry at the start of `frames` will be in the chain, and the bytes of its frame; none if that is open.
pub(super) fn pushed_position(frames: &[u8]) -> Option<(Position, usize)> {
    let header = pushed_entry(frames);
    let bytes = usize::try_from(header.frame_bytes()).ok()?;
    let hash = frames[bytes - HASH_BYTES..bytes].try_into().ok()?;
    let position = Position { sequence: header.sequence, epoch: header.epoch, hash };
    (header.epoch != OPEN_EPOCH).then_some((position, bytes))
}

/// Notes in the last frame of `buffer`, which is not sealed, what its hash will be.
pub(super) fn note_hash(buffer: &mut [u8], hash: &[u8; HASH_BYTES]) {
    let place = buffer.len() - HASH_BYTES;
    buffer[place..].copy_from_slice(hash);
}

/// Completes a pushed entry, exactly `frame`, at this epoch as the successor of `previous`; gives its hash.
pub(super) fn seal(
    frame: &mut [u8],
    epoch: u64,
    durable_before: u64,
    key: &SegmentKey,
    previous: &[u8; HASH_BYTES],
) -> [u8; HASH_BYTES] {
    frame[EPOCH_OFFSET..EPOCH_OFFSET + 8].copy_from_slice(&epoch.to_le_bytes());
    let header = FrameHeader::fields(frame, FrameKind::Entry);
    let Body { address, record, .. } = body(frame, &header).expect("a pushed entry is whole");
    let hash = chain_hash(previous, &header, address, record);
    note_hash(frame, &hash);
    seal_noted(frame, durable_before, key)
}

/// Completes a pushed entry, exactly `frame`, that has its epoch and its hash, see [`note_hash`]; gives that.
pub(super) fn seal_noted(frame: &mut [u8], durable_before: u64, key: &SegmentKey) -> [u8; HASH_BYTES] {
    frame[DURABLE_BEFORE_OFFSET..CHECKED_BYTES].copy_from_slice(&durable_before.to_le_bytes());
    let check = header_check(frame, key);
    frame[CHECKED_BYTES..FRAME_HEADER_BYTES].copy_from_slice(&check);
    frame[frame.len() - HASH_BYTES..].try_into().expect("a pushed entry is whole")
}

/// What an entry's frame holds behind its header.
pub(super) struct Body<'a> {
    pub address: &'a [u8],
    pub record: &'a [u8],
    pub hash: &'a [u8],
}

/// The parts of an entry's whole frame; none if anything but zeros fills it up, for the hash does not cover that.
pub(super) fn body<'a>(frame: &'a [u8], header: &FrameHeader) -> Option<Body<'a>> {
    let (address, rest) = frame[FRAME_HEADER_BYTES..].split_at_checked(header.address_bytes as usize)?;
    let (record, rest) = rest.split_at_checked(header.record_bytes as usize)?;
    let (padding, hash) = rest.split_at_checked(rest.len().checked_sub(HASH_BYTES)?)?;
    padding.iter().all(|&byte| byte == 0).then_some(Body { address, record, hash })
}

/// The hash of an entry behind the one with `previous`.
pub(super) fn chain_hash(
    previous: &[u8; HASH_BYTES],
    header: &FrameHeader,
    address: &[u8],
    record: &[u8],
) -> [u8; HASH_BYTES] {
    let mut fixed = [0u8; HASH_BYTES + 32];
    fixed[..32].copy_from_slice(previous);
    fixed[32..40].copy_from_slice(&header.sequence.to_le_bytes());
    fixed[40..48].copy_from_slice(&header.epoch.to_le_bytes());
    fixed[48..56].copy_from_slice(&header.moment.0.to_le_bytes());
    fixed[56..60].copy_from_slice(&header.address_bytes.to_le_bytes());
    fixed[60..].copy_from_slice(&header.record_bytes.to_le_bytes());
    Hasher::new().update(&fixed).update(address).update(record).finalize().into()
}

fn header_check(header: &[u8], key: &SegmentKey) -> [u8; 8] {
    let hash = blake3::keyed_hash(key, &header[..CHECKED_BYTES]);
    hash.as_bytes()[..8].try_into().expect("eight bytes were cut")
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().expect("four bytes were cut"))
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("eight bytes were cut"))
}
