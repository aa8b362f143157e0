//! How a machine lies in the look-up store, byte for byte. The house and the recovery call it; it decides nothing else.
//!
//! ```text
//!  0  the last sequence that it has applied, u64     8  bytes of its trail, u32    12  the trail
//!  …  bytes of its state, u64                        …  the state in CBOR, compressed
//! ```
//! All integers are big-endian. The state is compressed because business documents are mostly markup, and what is not
//! written need not be synced. With the highest bit of its bytes set it is not the state but what made it: the entries of the machine
//! from its first, each as the journal has it, one behind the other. So a mirror puts away what it has never read.

use crate::{shard::Slot, trail::Trail};
use bytes::Bytes;
use hansa_core::{
    code::{Code, Fault},
    dispatch::Housed,
};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The most that a byte of the compression can stand for: what a stored machine claims beyond that is not believed.
const EXPANSION_MAX: u64 = 255;

/// What a state takes that is not large, so that the buffer for it seldom grows.
const STATE_BYTES_USUAL: usize = 4 << 10;

/// Set in the bytes of a state that is told by its entries.
const TOLD: u64 = 1 << 63;

pub(crate) fn encode<M: Housed>(slot: &Slot<M>) -> Vec<u8> {
    let mut state = Vec::with_capacity(STATE_BYTES_USUAL);
    ciborium::into_writer(&slot.machine, &mut state).expect("encoding into memory cannot fail");
    written(slot.applied, &slot.trail, 0, &state)
}

/// A machine of which these are the first entries, and all of them.
pub(crate) fn encode_told(entries: &[(u64, Bytes)]) -> Vec<u8> {
    let mut trail = Trail::default();
    entries.iter().for_each(|(sequence, _)| trail.note(*sequence));
    let mut state = Vec::with_capacity(entries.iter().map(|(_, entry)| entry.len()).sum());
    entries.iter().for_each(|(_, entry)| state.extend_from_slice(entry));
    written(entries.last().map_or(0, |(sequence, _)| *sequence), &trail, TOLD, &state)
}

fn written(applied: u64, trail: &Trail, form: u64, state: &[u8]) -> Vec<u8> {
    let trail = trail.bytes();
    let compressed = lz4_flex::block::compress(state);
    // It stays in memory until the next checkpoint, so it has no room that it does not need.
    let mut bytes = Vec::with_capacity(8 + 4 + trail.len() + 8 + compressed.len());
    bytes.extend_from_slice(&applied.to_be_bytes());
    bytes.extend_from_slice(&u32::try_from(trail.len()).expect("a trail is bounded").to_be_bytes());
    bytes.extend_from_slice(trail);
    bytes.extend_from_slice(&(state.len() as u64 | form).to_be_bytes());
    bytes.extend_from_slice(&compressed);
    bytes
}

pub(crate) fn decode<M: Housed>(key: &M::Key, bytes: &[u8]) -> Result<Slot<M>, Fault> {
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
    let (is_told, length) = (length & TOLD != 0, length & !TOLD);
    if length > (compressed.len() as u64).saturating_mul(EXPANSION_MAX) {
        return Err(unreadable(format!("it claims {length} bytes")));
    }
    let state = lz4_flex::block::decompress(compressed, usize::try_from(length).map_err(|_| cut_off())?)
        .map_err(|error| unreadable(error.to_string()))?;
    let machine =
        if is_told { told(key, &state) } else { ciborium::from_reader(&state[..]).map_err(|error| error.to_string()) };
    let machine = machine.map_err(unreadable)?;
    let trail = Trail::read(trail).map_err(|fault| unreadable(fault.message))?;
    Ok(Slot::stored(machine, u64::from_be_bytes(*applied), trail))
}

/// The machine that these entries make. Nobody has read them before: one that cannot be taken in must do no harm to whoever does it first.
fn told<M: Housed>(key: &M::Key, mut entries: &[u8]) -> Result<M, String> {
    let absorbed = catch_unwind(AssertUnwindSafe(|| {
        let mut machine = M::new(key);
        while !entries.is_empty() {
            let records: Vec<M::Record> = ciborium::from_reader(&mut entries).map_err(|error| error.to_string())?;
            records.iter().for_each(|record| machine.absorb(record));
        }
        Ok(machine)
    }));
    absorbed.unwrap_or_else(|_| Err("it panicked on one of its entries".to_owned()))
}
