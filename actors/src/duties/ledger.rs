//! What the duties of a sub-node must remember: who it is, its part in its own pair, and what it promised as a witness of others'
//! (M3). It is a small journal of its own, never mirrored: a promise is one disk's. [`super`] alone writes and reads it.
//!
//! It decides how it is kept short: after many entries, all that they come to is written once more, and what is before that is
//! dropped.

use super::{status::Takeover, word::Introduction};
use crate::{
    clock,
    journal::{Entry, Journal, JournalOptions, Release},
};
use hansa_core::{
    code::{Code, Fault},
    durability::Durability,
    ident::{OrganizationId, SubnodeId},
    machine::Machine as _,
    mirror::{Pair, Witness, pair, witness},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::Path};

/// Entries after which a ledger is written anew.
const ENTRIES_MAX: u64 = 1_000;
const SEGMENT_BYTES: u64 = 1 << 20;

/// One thing to remember.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Kept {
    /// The numbers of the node's journal and of this ledger: with another of either it is somebody else.
    Numbered { member: u64, witness: u64 },
    /// Who the other sub-node of this pair is.
    Partnered(SubnodeId),
    /// Where it said that it is.
    Introduced(Box<Introduction>),
    /// This sub-node agreed to be a witness of this organization's pair.
    Agreed(OrganizationId),
    /// At this epoch, while that holds, the pair of this organization is ended, of which this sub-node is a witness; or it goes on.
    Ended(OrganizationId, Option<u64>),
    /// At this epoch, while that holds, the pair is ended for this sub-node; or it is taken up again.
    Retired(Option<u64>),
    /// The other sub-node began to serve in the place of this one, or this one in that of the other.
    TookOver(Takeover),
    /// Of its own pair.
    Pair(pair::Record),
    /// Of another's.
    Witness(OrganizationId, witness::Record),
    /// All of its own pair.
    PairWhole(Box<Pair>),
    /// All of another's.
    WitnessWhole(OrganizationId, Box<Witness>),
}

/// What the ledger comes to.
#[derive(Default)]
pub(super) struct Known {
    pub(super) member: u64,
    pub(super) witness: u64,
    pub(super) partner: Option<SubnodeId>,
    pub(super) introduced: Option<Box<Introduction>>,
    pub(super) took_over: Option<Takeover>,
    pub(super) retired: Option<u64>,
    pub(super) pair: Pair,
    pub(super) witnesses: BTreeMap<OrganizationId, Witness>,
    pub(super) ended: BTreeMap<OrganizationId, Option<u64>>,
}

impl Known {
    fn take(&mut self, kept: Kept) {
        match kept {
            Kept::Numbered { member, witness } => (self.member, self.witness) = (member, witness),
            Kept::Partnered(partner) => {
                if self.partner != Some(partner) {
                    self.introduced = None;
                }
                self.partner = Some(partner);
            }
            Kept::Introduced(introduction) => self.introduced = Some(introduction),
            Kept::Agreed(pair) => {
                self.witnesses.entry(pair).or_insert_with(|| Witness::new(&pair));
            }
            Kept::Ended(pair, epoch) => drop(self.ended.insert(pair, epoch)),
            Kept::Retired(retired) => self.retired = retired,
            Kept::TookOver(took_over) => self.took_over = Some(took_over),
            Kept::Pair(record) => self.pair.absorb(&record),
            Kept::Witness(pair, record) => {
                self.witnesses.entry(pair).or_insert_with(|| Witness::new(&pair)).absorb(&record);
            }
            Kept::PairWhole(pair) => self.pair = *pair,
            Kept::WitnessWhole(pair, witness) => {
                self.witnesses.insert(pair, *witness);
            }
        }
    }

    /// The epoch at which the pair is ended for this sub-node, if it is.
    pub(super) fn retired(&self) -> Option<u64> {
        self.retired.filter(|epoch| self.pair.certified().is_some_and(|certified| certified.epoch() == *epoch))
    }

    fn whole(&self) -> Vec<Kept> {
        let mut all = vec![Kept::Numbered { member: self.member, witness: self.witness }];
        all.extend(self.partner.map(Kept::Partnered));
        all.extend(self.introduced.clone().map(Kept::Introduced));
        all.extend(self.took_over.clone().map(Kept::TookOver));
        all.extend(self.retired.map(|epoch| Kept::Retired(Some(epoch))));
        all.extend(self.ended.iter().map(|(pair, epoch)| Kept::Ended(*pair, *epoch)));
        all.push(Kept::PairWhole(Box::new(self.pair.clone())));
        all.extend(self.witnesses.iter().map(|(pair, witness)| Kept::WitnessWhole(*pair, Box::new(witness.clone()))));
        all
    }
}

/// The journal, open.
pub(super) struct Ledger {
    journal: Journal<()>,
    /// Entries since it was written anew.
    entries: u64,
}

struct Nothing;

impl Release for Nothing {
    type Effect = ();
    fn release(&mut self, _: Vec<()>, _: Durability) {}
}

impl Ledger {
    /// Open it, or begin it.
    ///
    /// # Errors
    /// The disk, or what cannot be read on it.
    pub(super) fn open(folder: &Path, fatal: crate::journal::Fatal) -> Result<(Self, Known), Fault> {
        let options = JournalOptions { segment_bytes: SEGMENT_BYTES, ..JournalOptions::new(folder) };
        let (mut known, mut entries) = (Known::default(), 0);
        let journal = Journal::open(options, Nothing, fatal, 0, &mut |entry: Entry| {
            entries += 1;
            known.take(read(&entry)?);
            Ok(())
        })?;
        let mut ledger = Self { journal, entries };
        if known.member == 0 {
            known.member = number()?;
            known.witness = number()?;
            ledger.keep(&[Kept::Numbered { member: known.member, witness: known.witness }])?;
        } else if ledger.is_long() {
            ledger.shorten(&known)?;
        }
        Ok((ledger, known))
    }

    /// Whether it is time for [`Ledger::shorten`].
    pub(super) fn is_long(&self) -> bool {
        self.entries > ENTRIES_MAX
    }

    /// Write once more what all entries come to, and drop them.
    ///
    /// # Errors
    /// The disk.
    pub(super) fn shorten(&mut self, known: &Known) -> Result<(), Fault> {
        let whole = known.whole();
        let before = self.journal.tail() + 1;
        self.keep(&whole)?;
        self.journal.truncate_before(before, 0)?;
        self.entries = whole.len() as u64;
        Ok(())
    }

    /// Remember this, across a crash, before it returns.
    ///
    /// # Errors
    /// The disk.
    pub(super) fn keep(&mut self, all: &[Kept]) -> Result<(), Fault> {
        let items: Vec<_> = all.iter().map(|kept| ([0u8; 0], bytes(kept))).collect();
        self.entries += items.len() as u64;
        let tail = self.journal.append(&items, clock::now(), Vec::new());
        self.journal.wait_durable(tail)
    }
}

fn bytes(kept: &Kept) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(kept, &mut bytes).expect("encoding into memory cannot fail");
    bytes
}

fn read(entry: &Entry) -> Result<Kept, Fault> {
    ciborium::from_reader(&entry.record[..]).map_err(|error| {
        let message = format!("entry {} of the sub-node's duties cannot be read: {error}", entry.sequence);
        Fault::new(Code::DataNewer, message)
    })
}

/// A number that nobody else has, and that is not zero.
pub(super) fn number() -> Result<u64, Fault> {
    let random = getrandom::u64()
        .map_err(|error| Fault::new(Code::Internal, format!("the system gives no randomness: {error}")))?;
    Ok(random.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    // M3: a witness remembers for years, and its ledger does not grow with them.
    #[test]
    fn a_ledger_stays_short_and_keeps_what_its_entries_come_to() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Ledger::open(folder.path(), Box::new(|fault| panic!("{fault}"))).unwrap();
        let (mut ledger, mut known) = open();
        let long: Vec<_> = (0..=ENTRIES_MAX).map(|_| Kept::Partnered(SubnodeId([7; 32]))).collect();
        for round in 0..60 {
            let kept = [Kept::Agreed(OrganizationId([round; 32])), Kept::Ended(OrganizationId([round; 32]), Some(3))];
            for kept in [&long[..], &kept[..]] {
                ledger.keep(kept).unwrap();
                kept.iter().cloned().for_each(|kept| known.take(kept));
            }
            assert!(ledger.is_long());
            ledger.shorten(&known).unwrap();
            assert!(!ledger.is_long());
        }
        drop(ledger);
        let files = std::fs::read_dir(folder.path()).unwrap().count();
        assert!(files <= 2, "{files} files");
        let (_ledger, again) = open();
        assert_eq!((again.member, again.witness, again.partner), (known.member, known.witness, known.partner));
        assert_eq!((again.witnesses, again.ended), (known.witnesses, known.ended));
    }
}
