//! The look-up store: what was absorbed from the journal and must be found again by its key. It lags behind the journal
//! and says how far; whoever recovers replays the rest. The house writes to it through [`WriteBehind`] and commits at its
//! checkpoints. It decides how entries are kept and ordered; it must not know what keys and values mean.
//!
//! Entries have a kind, which is one byte, and a key; those of a kind are together and in the order of their keys.
//! Whoever chooses keys that begin with a time writes to one end, which costs the least.

mod leisure;
mod redb;
mod write_behind;

#[cfg(test)]
mod tests;

pub use self::{
    redb::RedbStore,
    write_behind::{Hurry, WriteBehind},
};

use hansa_core::code::Fault;
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// One entry, set or deleted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// What kind of thing the entry is.
    pub kind: u8,
    /// Its key within the kind.
    pub key: Vec<u8>,
    /// The new value; none deletes the entry.
    pub value: Option<Vec<u8>>,
}

/// How far the journal has gone into a store.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Position {
    /// The journal sequence up to which the store reflects everything; 0 is nothing.
    pub applied: u64,
}

/// Changes in the order of kind and key: a value sets, none deletes.
pub type Changes = BTreeMap<(u8, Vec<u8>), Option<Vec<u8>>>;

/// A key with its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Keys of one kind, each with its value.
pub type Page = Vec<Row>;

/// What keeps entries.
pub trait Store: Send + Sync + 'static {
    /// The value of a key.
    ///
    /// # Errors
    /// The store cannot be read.
    fn get(&self, kind: u8, key: &[u8]) -> Result<Option<Vec<u8>>, Fault>;

    /// At most `count_max` entries of a kind from `from` on, which is included: upwards, or downwards if `reverse`.
    ///
    /// # Errors
    /// The store cannot be read.
    fn scan(&self, kind: u8, from: &[u8], reverse: bool, count_max: usize) -> Result<Page, Fault>;

    /// Makes changes and position durable, all or none of them.
    ///
    /// # Errors
    /// The store cannot be written. Nothing was committed as a rule; a store that failed at the very end may have
    /// committed all. To commit the same again is right in both cases.
    fn commit(&self, changes: &Changes, position: Position) -> Result<(), Fault>;

    /// The position of the last commit.
    fn position(&self) -> Position;

    /// Nobody waits for the next commit: it may leave processors and disk to others now and then, until [`Store::hurry`].
    fn take_time(&self) {}

    /// Somebody waits for the commit that is under way.
    fn hurry(&self) {}
}

impl<S: Store> Store for std::sync::Arc<S> {
    fn get(&self, kind: u8, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        (**self).get(kind, key)
    }

    fn scan(&self, kind: u8, from: &[u8], reverse: bool, count_max: usize) -> Result<Page, Fault> {
        (**self).scan(kind, from, reverse, count_max)
    }

    fn commit(&self, changes: &Changes, position: Position) -> Result<(), Fault> {
        (**self).commit(changes, position)
    }

    fn position(&self) -> Position {
        (**self).position()
    }

    fn take_time(&self) {
        (**self).take_time();
    }

    fn hurry(&self) {
        (**self).hurry();
    }
}

/// A store that forgets: for tests, and for nodes that keep nothing.
#[derive(Default, Debug)]
pub struct MemoryStore {
    state: Mutex<Memory>,
}

#[derive(Default, Debug)]
struct Memory {
    entries: BTreeMap<(u8, Vec<u8>), Vec<u8>>,
    position: Position,
}

impl Store for MemoryStore {
    fn get(&self, kind: u8, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        Ok(locked(&self.state).entries.get(&(kind, key.to_vec())).cloned())
    }

    fn scan(&self, kind: u8, from: &[u8], reverse: bool, count_max: usize) -> Result<Page, Fault> {
        let state = locked(&self.state);
        let from = (kind, from.to_vec());
        let copied = |((_, key), value): (&(u8, Vec<u8>), &Vec<u8>)| (key.clone(), value.clone());
        Ok(if reverse {
            state.entries.range((kind, Vec::new())..=from).rev().take(count_max).map(copied).collect()
        } else {
            state.entries.range(from..).take_while(|((of, _), _)| *of == kind).take(count_max).map(copied).collect()
        })
    }

    fn commit(&self, changes: &Changes, position: Position) -> Result<(), Fault> {
        let mut state = locked(&self.state);
        for (key, value) in changes {
            match value {
                Some(value) => state.entries.insert(key.clone(), value.clone()),
                None => state.entries.remove(key),
            };
        }
        state.position = position;
        Ok(())
    }

    fn position(&self) -> Position {
        locked(&self.state).position
    }
}

/// A mutex is never left with something half done behind it here, so a panic elsewhere does not spoil it.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
