//! Recovery: from the journal's entries to machines. The store has every machine as some checkpoint left it; the entries
//! after that bring it up to date. A machine that has applied an entry already passes it over.

use crate::{common::Common, journal, shard::Slot, store::WriteBehind, stored::decode, trail::Trail};
use hansa_core::{
    access::Access,
    address::{KeyBytes, Kind},
    code::{Code, Fault},
    directory::Directory,
    dispatch::Housed,
    ident::TransactionId,
    link::Link,
    machine::Machine,
    membership::Membership,
    topic::Topic,
    transaction::{Catalogue, Instance},
};
use std::collections::{HashMap, hash_map::Entry};

/// Machines of one kind that were recovered.
pub(crate) type Recovered<M> = HashMap<<M as Machine>::Key, Slot<M>>;

/// The machines that the journal's tail has records of.
#[derive(Default)]
pub(crate) struct Recovery {
    pub(crate) transactions: Recovered<Instance>,
    pub(crate) links: Recovered<Link>,
    pub(crate) directory: Recovered<Directory>,
    pub(crate) catalogue: Recovered<Catalogue>,
    pub(crate) membership: Recovered<Membership>,
    pub(crate) topics: Recovered<Topic>,
    pub(crate) access: Recovered<Access>,
    /// How many entries were taken in.
    pub(crate) entries: u64,
}

/// An entry that is taken in, from this sub-node's journal or the other's.
#[derive(Clone, Copy)]
pub(crate) struct Taken<'a> {
    pub(crate) sequence: u64,
    pub(crate) address: &'a [u8],
    pub(crate) record: &'a [u8],
}

impl<'a> From<&'a journal::Entry> for Taken<'a> {
    fn from(entry: &'a journal::Entry) -> Self {
        Self { sequence: entry.sequence, address: &entry.address, record: &entry.record }
    }
}

impl Recovery {
    /// Take one entry in.
    pub(crate) fn take(&mut self, store: &WriteBehind, entry: Taken<'_>) -> Result<(), Fault> {
        self.entries += 1;
        match entry.address.first().copied().and_then(Kind::numbered) {
            Some(Kind::Transaction) => absorb(&mut self.transactions, store, entry),
            Some(Kind::Link) => absorb(&mut self.links, store, entry),
            Some(Kind::Directory) => absorb(&mut self.directory, store, entry),
            Some(Kind::Catalogue) => absorb(&mut self.catalogue, store, entry),
            Some(Kind::Membership) => absorb(&mut self.membership, store, entry),
            Some(Kind::Topic) => absorb(&mut self.topics, store, entry),
            Some(Kind::Access) => absorb(&mut self.access, store, entry),
            Some(Kind::Mailbox) | None => {
                Err(unreadable(entry.sequence, "it is about a kind of machine that is not known"))
            }
        }
    }
}

impl Recovery {
    /// A transaction that has ended goes to the store at once: nothing more is expected of it, and memory need not grow with what a
    /// follower takes in between two checkpoints.
    pub(crate) fn put_away_ended(&mut self, common: &Common, address: &[u8]) {
        if address.first().copied().and_then(Kind::numbered) != Some(Kind::Transaction) {
            return;
        }
        if let Some(id) = TransactionId::from_bytes(&address[1..])
            && let Entry::Occupied(mut slot) = self.transactions.entry(id)
            && slot.get().machine.is_ended()
            && !slot.get().machine.is_open()
        {
            common.keep(&id, slot.get_mut());
            slot.remove();
        }
    }
}

fn absorb<M: Housed>(machines: &mut Recovered<M>, store: &WriteBehind, entry: Taken<'_>) -> Result<(), Fault> {
    let bytes = entry.address.get(1..).unwrap_or_default();
    let key = M::Key::from_bytes(bytes).ok_or_else(|| unreadable(entry.sequence, "its address is not a key"))?;
    let slot = match machines.entry(key) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(vacant) => {
            let slot = stored(store, bytes)?.unwrap_or_else(|| Slot::stored(M::new(vacant.key()), 0, Trail::default()));
            vacant.insert(slot)
        }
    };
    if entry.sequence <= slot.applied {
        return Ok(());
    }
    for record in &read::<M>(entry.sequence, entry.record)? {
        if M::begins(record) {
            slot.begin_anew();
        }
        slot.machine.absorb(record);
    }
    slot.note(entry.sequence);
    Ok(())
}

/// The records of an entry.
pub(crate) fn records<M: Housed>(entry: &journal::Entry) -> Result<Vec<M::Record>, Fault> {
    read::<M>(entry.sequence, &entry.record)
}

fn read<M: Housed>(sequence: u64, record: &[u8]) -> Result<Vec<M::Record>, Fault> {
    ciborium::from_reader(record).map_err(|error| unreadable(sequence, &error.to_string()))
}

/// A machine as the store has it.
pub(crate) fn stored<M: Housed>(store: &WriteBehind, key: &[u8]) -> Result<Option<Slot<M>>, Fault> {
    for kind in [M::KIND as u8, M::KIND as u8 | crate::common::ENDED] {
        if let Some(bytes) = store.get(kind, key)?
            && let Some(key) = M::Key::from_bytes(key)
        {
            return decode(&key, &bytes).map(Some);
        }
    }
    Ok(None)
}

fn unreadable(sequence: u64, what: &str) -> Fault {
    Fault::new(Code::DataNewer, format!("entry {sequence} of the journal cannot be read: {what}"))
}
