//! The disk of a simulated sub-node: the log that a pair has in common, the sub-node's own records, and how much of both a crash would
//! lose. Machines write to it as to a journal. It knows nothing of time or of other sub-nodes.

use hansa_core::{
    address::KeyBytes as _,
    dispatch::{Housed, Outward},
    ensemble::Scribe,
    ident::OrganizationId,
    mirror::{Entry, History, Position, pair, witness},
    moment::Moment,
};
use std::collections::VecDeque;

/// A record of the sub-node's own, which its partner has no part in.
#[derive(Clone, Debug)]
pub(super) enum Duty {
    Pair(pair::Record),
    Witness(OrganizationId, witness::Record),
}

/// The machines as they were when everything up to a place had been taken in: where a start begins, and what a snapshot is.
#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    /// Up to where.
    pub(super) applied: Position,
    /// Kind, key and state of each, in CBOR; empty where there is none.
    pub(super) state: Vec<u8>,
}

/// What the disk has, and what would be lost. Places in the log are counts of entries from its first on, kept or not.
#[derive(Debug)]
pub struct Disk {
    /// The journal's number: another disk has another.
    pub journal: u64,
    /// The same of what it remembers as a witness.
    pub(super) memory: u64,
    pub(super) store: Store,
    /// The log up to where it is not kept any more.
    before: History,
    /// The log that the pair has in common, behind that.
    log: Vec<Entry>,
    /// How many entries are durable.
    pub durable: usize,
    pub(super) duty: Vec<Duty>,
    pub(super) duty_durable: usize,
}

impl Disk {
    pub(super) fn new(journal: u64) -> Self {
        Self {
            journal,
            memory: journal,
            store: Store::default(),
            before: History::default(),
            log: Vec::new(),
            durable: 0,
            duty: Vec::new(),
            duty_durable: 0,
        }
    }

    /// The last entry that is not kept any more.
    pub fn base(&self) -> Position {
        self.before.tail()
    }

    fn gone(&self) -> usize {
        self.base().sequence as usize
    }

    /// How many entries the log has.
    pub fn end(&self) -> usize {
        self.gone() + self.log.len()
    }

    /// The place of an entry, if the log reaches there and still tells.
    pub fn position(&self, sequence: u64) -> Option<Position> {
        match (sequence as usize).checked_sub(self.gone())? {
            0 => Some(self.base()),
            index => self.log.get(index - 1).map(|entry| entry.position),
        }
    }

    pub fn tail(&self) -> Position {
        self.log.last().map_or_else(|| self.base(), |entry| entry.position)
    }

    /// The end of what is durable.
    pub fn durable_position(&self) -> Position {
        self.position(self.durable as u64).expect("what is durable is there")
    }

    /// The entries behind so many, through so many; fewer where they are not kept or not there.
    pub fn entries(&self, after: usize, through: usize) -> &[Entry] {
        let index = |count: usize| count.saturating_sub(self.gone()).min(self.log.len());
        &self.log[index(after)..index(through.max(after))]
    }

    /// Whether it has, durable, what was acknowledged up to the last of these.
    pub fn has(&self, acknowledged: &[Position]) -> bool {
        let Some(last) = acknowledged.last() else { return true };
        let base = self.base();
        let same = match base.sequence.checked_sub(last.sequence) {
            Some(1..) => true,
            _ => self.position(last.sequence) == Some(*last),
        };
        // What is not kept any more is what everybody has, or a snapshot of it.
        let sound =
            base.sequence > last.sequence || base.sequence == 0 || acknowledged[base.sequence as usize - 1] == base;
        self.durable as u64 >= last.sequence && same && sound
    }

    /// For each epoch that wrote entries, the last of them.
    pub(super) fn history(&self) -> History {
        let mut history = self.before.clone();
        for entry in &self.log {
            history.extend(entry.position);
        }
        history
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.log.push(entry);
    }

    /// Cut the log behind so many entries; gives what is gone.
    pub(super) fn cut(&mut self, count: usize) -> Vec<Position> {
        assert!(count >= self.gone(), "a log is cut where nothing is kept any more");
        let removed = self.log.split_off(self.log.len().min(count - self.gone()));
        self.durable = self.durable.min(self.end());
        removed.into_iter().map(|entry| entry.position).collect()
    }

    /// The machines as they were at a place, which counts; all but the last entries before it are dropped.
    pub(super) fn checkpoint(&mut self, applied: Position, state: Vec<u8>, keep: usize) {
        self.store = Store { applied, state };
        let dropped = (applied.sequence as usize).saturating_sub(keep).saturating_sub(self.gone());
        for entry in self.log.drain(..dropped) {
            self.before.extend(entry.position);
        }
    }

    /// A snapshot in the place of log and machines.
    pub(super) fn install(&mut self, history: History, state: Vec<u8>) {
        self.store = Store { applied: history.tail(), state };
        self.durable = history.tail().sequence as usize;
        self.before = history;
        self.log.clear();
    }

    /// A snapshot, and what log it reflects.
    pub(super) fn snapshot(&self) -> (History, Vec<u8>) {
        let mut history = self.history();
        history.cut(self.store.applied);
        (history, self.store.state.clone())
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
        self.disk.push(Entry { position, moment: self.now, address: address.into(), record: bytes.into() });
    }

    fn release(&mut self, outward: Outward) {
        self.outward.push_back((self.disk.end(), outward));
    }
}
