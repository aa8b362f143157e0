//! An entry of the log as it goes from one sub-node to the other, and the form in which many of them travel: packed one behind the
//! other, so that who reads them copies and allocates once for all. It must not know what an entry means.
//!
//! Packed, little-endian: sequence u64 ‖ epoch u64 ‖ hash, 32 bytes ‖ moment u64 ‖ address bytes u32 ‖ record bytes u32 ‖ address ‖
//! record. In CBOR all of them are one byte string.

use super::message::Position;
use crate::moment::Moment;
use bytes::Bytes;

/// Bytes before an entry's address.
const FIXED_BYTES: usize = 8 + 8 + 32 + 8 + 4 + 4;

/// One entry of the log, as the active wrote it. Its bytes are shared with whoever has a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub position: Position,
    /// When it was written.
    pub moment: Moment,
    /// Which machine it is of.
    pub address: Bytes,
    /// What happened.
    pub record: Bytes,
}

impl Entry {
    /// Bytes that it takes among others, packed.
    #[must_use]
    pub fn packed_bytes(&self) -> usize {
        FIXED_BYTES + self.address.len() + self.record.len()
    }

    fn pack(&self, packed: &mut Vec<u8>) {
        let length = |bytes: &Bytes| u32::try_from(bytes.len()).expect("an entry is smaller than 4 GiB").to_le_bytes();
        packed.extend_from_slice(&self.position.sequence.to_le_bytes());
        packed.extend_from_slice(&self.position.epoch.to_le_bytes());
        packed.extend_from_slice(&self.position.hash);
        packed.extend_from_slice(&self.moment.0.to_le_bytes());
        packed.extend_from_slice(&length(&self.address));
        packed.extend_from_slice(&length(&self.record));
        packed.extend_from_slice(&self.address);
        packed.extend_from_slice(&self.record);
    }

    /// Takes the first one away from `packed`; none if it is not whole.
    fn unpack(packed: &mut Bytes) -> Option<Self> {
        let fixed = packed.get(..FIXED_BYTES)?;
        let long = |at: usize| u64::from_le_bytes(fixed[at..at + 8].try_into().expect("eight bytes were cut"));
        let short = |at: usize| u32::from_le_bytes(fixed[at..at + 4].try_into().expect("four bytes were cut")) as usize;
        let hash = fixed[16..48].try_into().expect("32 bytes were cut");
        let position = Position { sequence: long(0), epoch: long(8), hash };
        let (moment, address_bytes, record_bytes) = (Moment(long(48)), short(56), short(60));
        let end = FIXED_BYTES.checked_add(address_bytes)?.checked_add(record_bytes)?;
        if packed.len() < end {
            return None;
        }
        let whole = packed.split_to(end);
        let (address, record) = (FIXED_BYTES..FIXED_BYTES + address_bytes, FIXED_BYTES + address_bytes..end);
        Some(Self { position, moment, address: whole.slice(address), record: whole.slice(record) })
    }
}

/// How a row of entries is written with serde.
pub(super) mod packed {
    use super::Entry;
    use bytes::Bytes;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};
    use serde_bytes::ByteBuf;

    pub fn serialize<S: Serializer>(entries: &[Entry], serializer: S) -> Result<S::Ok, S::Error> {
        let mut packed = Vec::with_capacity(entries.iter().map(Entry::packed_bytes).sum());
        for entry in entries {
            entry.pack(&mut packed);
        }
        serializer.serialize_bytes(&packed)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Entry>, D::Error> {
        let mut packed = Bytes::from(ByteBuf::deserialize(deserializer)?.into_vec());
        let mut entries = Vec::new();
        while !packed.is_empty() {
            let Some(entry) = Entry::unpack(&mut packed) else {
                return Err(D::Error::custom("the last of the entries is cut off"));
            };
            entries.push(entry);
        }
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Row(#[serde(with = "packed")] Vec<Entry>);

    prop_compose! {
        fn an_entry()(
            (sequence, epoch, moment) in any::<(u64, u64, u64)>(),
            hash in any::<[u8; 32]>(),
            address in proptest::collection::vec(any::<u8>(), 0..40),
            record in proptest::collection::vec(any::<u8>(), 0..200),
        ) -> Entry {
            let position = Position { sequence, epoch, hash };
            Entry { position, moment: Moment(moment), address: address.into(), record: record.into() }
        }
    }

    proptest! {
        // M1: what the mirror reads is what the active wrote, byte for byte; and less is told from all.
        #[test]
        fn entries_come_out_as_they_went_in_and_none_is_believed_that_is_cut_off(
            entries in proptest::collection::vec(an_entry(), 0..5), cut in any::<prop::sample::Index>(),
        ) {
            let mut packed = Vec::new();
            entries.iter().for_each(|entry| entry.pack(&mut packed));
            let mut bytes = Vec::new();
            ciborium::into_writer(&Row(entries.clone()), &mut bytes).unwrap();
            prop_assert_eq!(ciborium::from_reader::<Row, _>(&bytes[..]).unwrap(), Row(entries.clone()));

            let ends: Vec<_> = entries
                .iter()
                .scan(0, |end, entry| { *end += entry.packed_bytes(); Some(*end) })
                .collect();
            let kept = cut.index(packed.len() + 1);
            let mut row = Vec::new();
            ciborium::into_writer(&serde_bytes::Bytes::new(&packed[..kept]), &mut row).unwrap();
            let read = ciborium::from_reader::<Row, _>(&row[..]);
            match kept == 0 || ends.contains(&kept) {
                true => prop_assert_eq!(read.unwrap().0.len(), ends.iter().filter(|end| **end <= kept).count()),
                false => prop_assert!(read.unwrap_err().to_string().contains("cut off")),
            }
        }
    }
}
