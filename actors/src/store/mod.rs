//! The look-up store: machines that are put away, and whatever else is looked up by key, behind a narrow port. It decides
//! what a commit is: changes together with the journal [`Position`] that they reflect, all or nothing.
//!
//! The store lags behind the journal and is never the truth: lost, it begins anew and is rebuilt by replaying the journal
//! from [`Position::resume_from`]. If the journal no longer reaches back so far, `Journal::open` refuses. Keys should grow
//! with time and commits be large and late; [`WriteBehind`] makes them so. What keys and values mean, it must not know.

mod memory;
mod redb_store;
#[cfg(test)]
mod tests;
mod write_behind;

pub use memory::MemoryStore;
pub use redb_store::RedbStore;
pub use write_behind::{WriteBehind, WriteBehindOptions, WriteBehindStatistics};

use hansa_core::code::Fault;
use std::ops::Bound;

/// How far a store reflects the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The first sequence that must be replayed to be up to date; the journal is needed from here on.
    pub resume_from: u64,
    /// The last sequence that any value in the store reflects.
    pub applied: u64,
}

/// A store that reflects nothing: everything is replayed.
impl Default for Position {
    fn default() -> Self {
        Self { resume_from: 1, applied: 0 }
    }
}

/// One change of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The kind of machine or table.
    pub kind: u8,
    /// Its key; kinds are ordered by the bytes of their keys.
    pub key: Vec<u8>,
    /// The new value, or none to remove it.
    pub value: Option<Vec<u8>>,
}

/// A key with its value.
pub type KeyValue = (Vec<u8>, Vec<u8>);

/// The port. Reads see whole commits only and never wait for one.
pub trait Store: Send + Sync + 'static {
    /// The value of a key.
    fn get(&self, kind: u8, key: &[u8]) -> Result<Option<Vec<u8>>, Fault>;
    /// At most `limit` keys of a kind with their values, in order from `from` on; in reverse, from `from` downwards.
    fn scan(&self, kind: u8, from: Bound<&[u8]>, reverse: bool, limit: usize) -> Result<Vec<KeyValue>, Fault>;
    /// Applies changes and position durably, all or nothing; of two changes of one key the later counts.
    fn commit(&self, changes: &[Change], position: Position) -> Result<(), Fault>;
    /// The position of the last commit.
    fn position(&self) -> Result<Position, Fault>;
}

/// The range of keys that a scan goes through.
fn range(from: Bound<&[u8]>, reverse: bool) -> (Bound<&[u8]>, Bound<&[u8]>) {
    if reverse { (Bound::Unbounded, from) } else { (from, Bound::Unbounded) }
}
