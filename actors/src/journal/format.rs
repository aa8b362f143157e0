//! Decides how entries lie in a segment file, byte for byte. The writer seals frames with it, recovery reads them back.
//! It must not know files, threads or what an address and a record mean.
//!
//! All integers are little-endian. A segment begins with a header of [`SEGMENT_HEADER_BYTES`]:
//! ```text
//!   0  magic "HANSAJRN"      8  format version u32   12  zero u32      16  first sequence u64
//!  24  salt, 16 bytes       40  hash of the entry before the first, 32 bytes
//!  72  BLAKE3 of bytes 0..72, 32 bytes: also the key of this segment's header checks   104  zeros up to 128
//! ```
//! Frames follow, each aligned to eight bytes:
//! ```text
//!   0  magic "ENTR"/"MARK"   4  address bytes u32     8  record bytes u32   12  zero u32
//!  16  sequence u64         24  epoch u64            32  moment u64         40  durable_before u64
//!  48  header check: the first 8 bytes of BLAKE3 over bytes 0..48, keyed with the segment's key
//!  56  address, record, zeros up to eight bytes, then (entries only) the hash:
//!      BLAKE3(hash of the entry before ‖ everything of this frame before the hash)
//! ```
//! No magic is zero, so zeros are the end. The header check makes a header recognizable *without* the entry before it,
//! which is what tells a torn tail from corruption (see `recovery`); because its key holds a salt that never leaves the
//! segment, no document that somebody has journaled can look like a header.
//!
//! A mark is a frame without address, record and hash. It says only "everything up to `durable_before` was durable when
//! I was written", so that the last batch before a pause is protected as if another batch had followed.

use blake3::{Hash, Hasher};
use hansa_core::moment::Moment;

pub(super) const FORMAT_VERSION: u32 = 1;
pub(super) const SEGMENT_HEADER_BYTES: usize = 128;
pub(super) const FRAME_HEADER_BYTES: usize = 56;
pub(super) const HASH_BYTES: usize = 32;
pub(super) const MARK_BYTES: usize = FRAME_HEADER_BYTES;

const SEGMENT_MAGIC: &[u8; 8] = b"HANSAJRN";
const SEGMENT_CHECKED_BYTES: usize = 72;
const ENTRY_MAGIC: &[u8; 4] = b"ENTR";
const MARK_MAGIC: &[u8; 4] = b"MARK";
const CHECKED_BYTES: usize = 48;
const DURABLE_BEFORE_OFFSET: usize = 40;

/// What keys the header checks of one segment.
pub(super) type SegmentKey = [u8; 32];

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub first_sequence: u64,
    pub previous: Hash,
    pub key: SegmentKey,
}

/// Why bytes are no segment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderFlaw {
    /// Written by a newer format.
    Newer(u32),
    /// Not what was written.
    Damaged,
}

impl SegmentHeader {
    /// The bytes of a new header, and the header as recovery will read it.
    pub fn create(first_sequence: u64, previous: Hash, salt: [u8; 16]) -> (Self, [u8; SEGMENT_HEADER_BYTES]) {
        let mut bytes = [0u8; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&first_sequence.to_le_bytes());
        bytes[24..40].copy_from_slice(&salt);
        bytes[40..72].copy_from_slice(previous.as_bytes());
        let key: SegmentKey = blake3::hash(&bytes[..SEGMENT_CHECKED_BYTES]).into();
        bytes[72..104].copy_from_slice(&key);
        (Self { first_sequence, previous, key }, bytes)
    }

    pub fn parse(bytes: &[u8]) -> Result<Self, HeaderFlaw> {
        let bytes = bytes.get(..SEGMENT_HEADER_BYTES).ok_or(HeaderFlaw::Damaged)?;
        if &bytes[..8] != SEGMENT_MAGIC {
            return Err(HeaderFlaw::Damaged);
        }
        // Magic and version are all that a later format promises to keep.
        let version = u32_at(bytes, 8);
        if version > FORMAT_VERSION {
            return Err(HeaderFlaw::Newer(version));
        }
        let key: SegmentKey = blake3::hash(&bytes[..SEGMENT_CHECKED_BYTES]).into();
        if bytes[72..104] != key || bytes[104..].iter().any(|&byte| byte != 0) {
            return Err(HeaderFlaw::Damaged);
        }
        let previous: [u8; 32] = bytes[40..72].try_into().expect("32 bytes were cut");
        Ok(Self { first_sequence: u64_at(bytes, 16), previous: previous.into(), key })
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

/// Lays an entry behind what is in `buffer`; check, `durable_before` and hash stay open until [`seal`].
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

/// Completes a pushed entry, exactly `frame`, as the successor of `previous`; gives its hash.
pub(super) fn seal(frame: &mut [u8], durable_before: u64, key: &SegmentKey, previous: &Hash) -> Hash {
    frame[DURABLE_BEFORE_OFFSET..CHECKED_BYTES].copy_from_slice(&durable_before.to_le_bytes());
    let check = header_check(frame, key);
    frame[CHECKED_BYTES..FRAME_HEADER_BYTES].copy_from_slice(&check);
    let (content, hash_place) = frame.split_at_mut(frame.len() - HASH_BYTES);
    let hash = chain_hash(previous, content);
    hash_place.copy_from_slice(hash.as_bytes());
    hash
}

/// The hash of a frame that holds `content` before its hash.
pub(super) fn chain_hash(previous: &Hash, content: &[u8]) -> Hash {
    Hasher::new().update(previous.as_bytes()).update(content).finalize()
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
