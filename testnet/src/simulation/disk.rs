//! The disk of a simulated sub-node: the log that a pair has in common, the sub-node's own records, and how much of both a crash would
//! lose. Machines write to it as to a journal. It knows nothing of time or of other sub-nodes.

use hansa_core::{
    address::KeyBytes as _,
    dispatch::{Housed, Outward},
    ensemble::Scribe,
    ident::OrganizationId,
    mirror::{Entry, Position, pair, witness},
    moment::Moment,
};
use std::collections::VecDeque;

/// A record of the sub-node's own, which its partner has no part in.
#[derive(Clone, Debug)]
pub(super) enum Duty {
    Pair(pair::Record),
    Witness(OrganizationId, witness::Record),
}

/// What the disk has, and what would be lost.
#[derive(Debug)]
pub struct Disk {
    /// The journal's number: another disk has another.
    pub journal: u64,
    /// The same of what it remembers as a witness.
    pub(super) memory: u64,
    /// The log that the pair has in common.
    pub log: Vec<Entry>,
    /// How many entries are durable.
    pub durable: usize,
    pub(super) duty: Vec<Duty>,
    pub(super) duty_durable: usize,
}

impl Disk {
    pub(super) fn new(journal: u64) -> Self {
        Self { journal, memory: journal, log: Vec::new(), durable: 0, duty: Vec::new(), duty_durable: 0 }
    }

    /// The place of an entry.
    pub fn position(&self, sequence: u64) -> Position {
        let index = usize::try_from(sequence).expect("it is in memory");
        if index == 0 { Position::default() } else { self.log[index - 1].position }
    }

    pub fn tail(&self) -> Position {
        self.position(self.log.len() as u64)
    }
}

/// What machines write and let out while they are fed.
#[derive(Debug)]
pub(super) struct Writing {
    pub(super) epoch: u64,
    pub(super) now: Moment,
    pub(super) disk: Disk,
    /// What leaves the node, each behind so many entries.
    pub(super) outward: VecDeque<(usize, Outward)>,
}

impl Scribe for Writing {
    fn append<M: Housed>(&mut self, key: &M::Key, record: &M::Record) {
        let mut bytes = Vec::new();
        ciborium::into_writer(record, &mut bytes).expect("encoding into memory cannot fail");
        let mut address = key.to_bytes();
        address.insert(0, M::KIND as u8);
        let before = self.disk.tail();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&before.hash).update(&self.epoch.to_le_bytes()).update(&address).update(&bytes);
        let position = Position { sequence: before.sequence + 1, epoch: self.epoch, hash: hasher.finalize().into() };
        self.disk.log.push(Entry { position, moment: self.now, address, record: bytes });
    }

    fn release(&mut self, outward: Outward) {
        self.outward.push_back((self.disk.log.len(), outward));
    }
}
