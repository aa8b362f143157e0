//! How a machine lies in the look-up store, byte for byte. The house and the recovery call it; it decides nothing else.
//!
//! ```text
//!  0  the last sequence that it has applied, u64     8  bytes of its trail, u32    12  the trail
//!  …  bytes of its state, u64                        …  the state in CBOR, compressed
//! ```
//! All integers are big-endian. The state is compressed because business documents are mostly markup, and what is not
//! written need not be synced.

use crate::{shard::Slot, trail::Trail};
use hansa_core::{
    code::{Code, Fault},
    dispatch::Housed,
};

/// The most that a byte of the compression can stand for: what a stored machine claims beyond that is not believed.
const EXPANSION_MAX: u64 = 255;

/// What a state takes that is not large, so that the buffer for it seldom grows.
const STATE_BYTES_USUAL: usize = 4 << 10;

pub(crate) fn encode<M: Housed>(slot: &Slot<M>) -> Vec<u8> {
    let mut state = Vec::with_capacity(STATE_BYTES_USUAL);
    ciborium::into_writer(&slot.machine, &mut state).expect("encoding into memory cannot fail");
    let trail = slot.trail.bytes();
    let mut bytes = slot.applied.to_be_bytes().to_vec();
    bytes.extend(u32::try_from(trail.len()).expect("a trail is bounded").to_be_bytes());
    bytes.extend(trail);
    bytes.extend((state.len() as u64).to_be_bytes());
    bytes.extend(lz4_flex::block::compress(&state));
    bytes
}

pub(crate) fn decode<M: Housed>(bytes: &[u8]) -> Result<Slot<M>, Fault> {
    let unreadable = |what: String| {
        Fault::new(Code::StoreFailed, format!("a stored {:?} cannot be read: {what}", M::KIND))
            .help("the look-up store is damaged or of another version; remove it, and it is made anew from the journal")
    };
    let cut_off = || unreadable("it is cut off".to_owned());
    let (applied, rest) = bytes.split_first_chunk::<8>().ok_or_else(cut_off)?;
    let (trail_length, rest) = rest.split_first_chunk::<4>().ok_or_else(cut_off)?;
    let (trail, rest) = rest.split_at_checked(u32::from_be_bytes(*trail_length) as usize).ok_or_else(cut_off)?;
    let (length, compressed) = rest.split_first_chunk::<8>().ok_or_else(cut_off)?;
    let length = u64::from_be_bytes(*length);
    if length > (compressed.len() as u64).saturating_mul(EXPANSION_MAX) {
        return Err(unreadable(format!("it claims {length} bytes")));
    }
    let state = lz4_flex::block::decompress(compressed, usize::try_from(length).map_err(|_| cut_off())?)
        .map_err(|error| unreadable(error.to_string()))?;
    let machine = ciborium::from_reader(&state[..]).map_err(|error| unreadable(error.to_string()))?;
    let trail = Trail::read(trail).map_err(|fault| unreadable(fault.message))?;
    Ok(Slot::stored(machine, u64::from_be_bytes(*applied), trail))
}
