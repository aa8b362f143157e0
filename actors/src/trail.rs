//! Where in the journal the entries of one transaction are, so that its history is read without the rest of the journal.
//! The shard notes every entry it appends and stores the trail with the machine; `history` follows it. It decides how
//! sequences are kept small, and must not know what entries say.
//!
//! The first sequence and the step from each to the next are whole numbers of seven bits a byte: a step takes one to
//! three bytes. From the [`NAMED_MAX`]th entry on they are not named one by one: they lie somewhere up to the last entry
//! that the machine has applied, and whoever wants them looks through that part of the journal.

use hansa_core::code::{Code, Fault};
use std::ops::RangeInclusive;

/// Entries of one machine that are named one by one.
pub const NAMED_MAX: u32 = 4_096;
/// Bytes that a whole number takes at most.
const NUMBER_BYTES_MAX: usize = 10;

/// The sequences of the entries of one machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trail {
    steps: Vec<u8>,
    named: u32,
    /// The last sequence that is named; zero before the first.
    last: u64,
}

impl Trail {
    /// An entry was appended.
    pub(crate) fn note(&mut self, sequence: u64) {
        if self.named == NAMED_MAX || sequence <= self.last {
            return;
        }
        let mut step = sequence - self.last;
        while step >= 0x80 {
            self.steps.push(step as u8 | 0x80);
            step >>= 7;
        }
        self.steps.push(step as u8);
        self.named += 1;
        self.last = sequence;
    }

    /// Where the entries are of a machine that has applied `applied` as its last: ranges that ascend, most of them of one
    /// sequence.
    #[must_use]
    pub fn ranges(&self, applied: u64) -> Vec<RangeInclusive<u64>> {
        let mut ranges = Vec::with_capacity(self.named as usize + 1);
        let (mut rest, mut sequence) = (&self.steps[..], 0);
        while let Some((step, behind)) = number(rest) {
            sequence += step;
            ranges.push(sequence..=sequence);
            rest = behind;
        }
        if applied > self.last {
            ranges.push(self.last + 1..=applied);
        }
        ranges
    }

    /// The bytes that [`Trail::read`] reads.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.steps
    }

    /// A trail from its bytes.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Fault> {
        let mut trail = Self { steps: bytes.to_vec(), ..Self::default() };
        let mut rest = bytes;
        while let Some((step, behind)) = number(rest) {
            rest = behind;
            trail.named += 1;
            trail.last = trail.last.checked_add(step).ok_or_else(unreadable)?;
        }
        if rest.is_empty() && trail.named <= NAMED_MAX { Ok(trail) } else { Err(unreadable()) }
    }
}

fn unreadable() -> Fault {
    Fault::new(Code::StoreFailed, "a stored trail is not what was written")
}

/// The number that bytes begin with, and what is behind it.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let end = bytes.iter().take(NUMBER_BYTES_MAX).position(|byte| byte & 0x80 == 0)? + 1;
    let (number, rest) = bytes.split_at(end);
    let value = number
        .iter()
        .rev()
        .try_fold(0u64, |value, byte| (value <= u64::MAX >> 7).then(|| value << 7 | u64::from(byte & 0x7f)))?;
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn trail(sequences: impl IntoIterator<Item = u64>) -> Trail {
        let mut trail = Trail::default();
        sequences.into_iter().for_each(|sequence| trail.note(sequence));
        trail
    }

    proptest! {
        #[test]
        fn every_sequence_that_was_noted_is_found_again(
            sequences in proptest::collection::btree_set(1..u64::MAX, 1..200)
        ) {
            let trail = trail(sequences.iter().copied());
            let last = *sequences.last().unwrap();
            let expected: Vec<_> = sequences.iter().map(|sequence| *sequence..=*sequence).collect();
            prop_assert_eq!(trail.ranges(last), expected);
            prop_assert_eq!(Trail::read(trail.bytes()).unwrap(), trail);
        }

        #[test]
        fn bytes_of_a_damaged_store_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(trail) = Trail::read(&bytes) {
                let _ = trail.ranges(u64::MAX);
            }
        }
    }

    #[test]
    fn a_trail_is_bounded_and_what_it_does_not_name_is_a_range() {
        let last = u64::from(NAMED_MAX) + 1_000;
        let trail = trail(1..=last);
        assert_eq!(trail.bytes().len(), NAMED_MAX as usize, "a byte for each step to the next");
        let ranges = trail.ranges(last);
        assert_eq!(ranges.len(), NAMED_MAX as usize + 1);
        assert_eq!(ranges.last(), Some(&(u64::from(NAMED_MAX) + 1..=last)));
    }
}
