//! Entries of transactions that began a moment ago, gathered unread: most end before anybody asks for them here, and then lie in the
//! look-up store as what happened to them, which whoever wants one makes its state of. It decides which may be gathered, and for how
//! long. A standby fills it; what entries say it knows by a glance only.

use crate::{common::ENDING, store::WriteBehind};
use bytes::Bytes;
use hansa_core::{
    address::{KeyBytes as _, Kind},
    code::Fault,
    ident::TransactionId,
    mirror::Entry,
    moment::Moment,
    transaction::{Glance, Instance},
};
use std::collections::{HashMap, VecDeque};

/// How long after its beginning a transaction may end to be gathered until then: what is gathered is read before this sub-node serves,
/// so that it must be little.
const GATHERED_MS_MAX: u64 = 250;
/// Bytes of entries that are gathered at most.
const GATHERED_BYTES_MAX: usize = 16 << 20;
/// Entries of a short transaction.
const ENTRIES_USUAL: usize = 4;
/// More than any key of a transaction.
const BEHIND_ALL: [u8; 32] = [0xff; 32];

/// The entries of a transaction, in their order: the sequence of each, and its records.
pub(crate) type Story = Vec<(u64, Bytes)>;

/// What becomes of an entry.
pub(crate) enum Fate {
    /// It waits here for the end of its transaction.
    Gathered,
    /// Its transaction has ended, and this is all of it.
    Ended(TransactionId, Story),
    /// It is to be read, behind these of its transaction.
    Read(Story),
}

/// See above.
pub(crate) struct Gathering {
    young: HashMap<TransactionId, (Moment, Story)>,
    /// In the order of their beginnings; some are not young any more.
    begun: VecDeque<(Moment, TransactionId)>,
    bytes: usize,
    /// The last transaction of which the store may have a state that is not its end.
    last_stored: Vec<u8>,
}

impl Gathering {
    /// # Errors
    /// The store cannot be read.
    pub fn new(store: &WriteBehind) -> Result<Self, Fault> {
        let mut last_stored = Vec::new();
        for state in [0, ENDING] {
            let kind = Kind::Transaction as u8 | state;
            let last = store.scan(kind, &BEHIND_ALL, true, 1)?.pop();
            last_stored = last_stored.max(last.map(|(key, _)| key).unwrap_or_default());
        }
        Ok(Self { young: HashMap::new(), begun: VecDeque::new(), bytes: 0, last_stored })
    }

    /// An entry comes. `is_read` says whether there is a machine already that has read what came before.
    pub fn take(&mut self, entry: &Entry, is_read: impl FnOnce(&TransactionId) -> bool) -> Fate {
        let is_of_transaction = entry.address.first() == Some(&(Kind::Transaction as u8));
        let key = entry.address.get(1..).filter(|_| is_of_transaction).unwrap_or_default();
        let Some(id) = TransactionId::from_bytes(key) else { return Fate::Read(Story::new()) };
        let sequence = entry.position.sequence;
        if let Some((_, story)) = self.young.get_mut(&id) {
            let seen = Instance::glance(&entry.record);
            if matches!(seen, Some(Glance::GoesOn | Glance::Ends)) {
                story.push((sequence, entry.record.clone()));
                self.bytes += entry.record.len();
            }
            return match seen {
                Some(Glance::GoesOn) => Fate::Gathered,
                Some(Glance::Ends) => Fate::Ended(id, self.remove(&id)),
                Some(Glance::Begins) | None => Fate::Read(self.remove(&id)),
            };
        }
        let is_new = key > &self.last_stored[..] && !is_read(&id);
        if is_new && Instance::glance(&entry.record) == Some(Glance::Begins) {
            self.bytes += entry.record.len();
            let mut story = Story::with_capacity(ENTRIES_USUAL);
            story.push((sequence, entry.record.clone()));
            self.young.insert(id, (entry.moment, story));
            self.begun.push_back((entry.moment, id));
            return Fate::Gathered;
        }
        Fate::Read(Story::new())
    }

    /// One that has been gathered for long enough at this moment of the log: it is to be read.
    pub fn next_old(&mut self, now: Moment) -> Option<(TransactionId, Story)> {
        while let Some((begun, id)) = self.begun.front().copied() {
            let is_young = self.young.get(&id).is_some_and(|(since, _)| *since == begun);
            // One that began later than now is of a clock that was set back: who knows how long ago it was.
            let is_recent = (begun..=begun.plus_ms(GATHERED_MS_MAX)).contains(&now);
            if is_young && is_recent && self.bytes <= GATHERED_BYTES_MAX {
                return None;
            }
            self.begun.pop_front();
            if is_young {
                return Some((id, self.remove(&id)));
            }
        }
        None
    }

    /// Any one.
    pub fn next(&mut self) -> Option<(TransactionId, Story)> {
        let id = *self.young.keys().next()?;
        Some((id, self.remove(&id)))
    }

    /// Nothing of what is gathered is wanted.
    pub fn clear(&mut self) {
        self.young.clear();
        self.begun.clear();
        self.bytes = 0;
    }

    fn remove(&mut self, id: &TransactionId) -> Story {
        let story = self.young.remove(id).map(|(_, story)| story).unwrap_or_default();
        self.bytes -= story.iter().map(|(_, record)| record.len()).sum::<usize>();
        story
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Change, MemoryStore};
    use hansa_core::mirror::Position;
    use std::collections::BTreeMap;

    const BEGAN: Moment = Moment(5_000);

    fn store() -> WriteBehind {
        WriteBehind::new(Box::new(MemoryStore::default()))
    }

    fn id(number: u64) -> TransactionId {
        TransactionId::new(Moment(number), [0; 16])
    }

    fn begins(id: TransactionId) -> Entry {
        let mut record = Vec::new();
        let submitted = BTreeMap::from([("Submitted", BTreeMap::from([("save", true)]))]);
        ciborium::into_writer(&[submitted], &mut record).unwrap();
        let position = Position { sequence: 1, ..Position::default() };
        Entry { position, moment: BEGAN, address: Kind::Transaction.address(&id).into(), record: record.into() }
    }

    // M2: what has to be read before a takeover is little, whatever clocks do.
    #[test]
    fn a_transaction_is_gathered_for_a_moment_of_the_log_and_not_longer_if_a_clock_is_set_back() {
        let last = BEGAN.plus_ms(GATHERED_MS_MAX);
        for (now, is_old) in [(BEGAN, false), (last, false), (last.plus_ms(1), true), (Moment(4_999), true)] {
            let mut gathering = Gathering::new(&store()).unwrap();
            assert!(matches!(gathering.take(&begins(id(1)), |_| false), Fate::Gathered));
            assert_eq!(gathering.next_old(now).is_some(), is_old, "at {}", now.0);
            assert_eq!(gathering.next().is_none(), is_old);
        }
    }

    #[test]
    fn what_a_machine_has_read_or_the_store_may_have_is_not_gathered() {
        let store = store();
        let (kind, key) = (Kind::Transaction as u8, id(7).to_bytes());
        store.change(vec![Change { kind, key, value: Some(Vec::new()) }]);
        let mut gathering = Gathering::new(&store).unwrap();
        let mut is_gathered = |number, is_read| {
            let fate = gathering.take(&begins(id(number)), |_| is_read);
            matches!(fate, Fate::Gathered)
        };
        assert!(!is_gathered(6, false) && !is_gathered(7, false) && !is_gathered(8, true));
        assert!(is_gathered(8, false));
    }
}
