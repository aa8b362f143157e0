//! A store in memory, for tests and for the simulator: the meaning of the port in its plainest form.

use super::{Change, KeyValue, Position, Store, range};
use hansa_core::code::Fault;
use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

#[derive(Debug, Default)]
struct Content {
    kinds: BTreeMap<u8, BTreeMap<Vec<u8>, Vec<u8>>>,
    position: Position,
}

/// A store that forgets everything when it is dropped.
#[derive(Debug, Default)]
pub struct MemoryStore(RwLock<Content>);

impl MemoryStore {
    fn content(&self) -> RwLockReadGuard<'_, Content> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn get(&self, kind: u8, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.content().kinds.get(&kind).and_then(|table| table.get(key)).cloned())
    }

    fn scan(&self, kind: u8, from: Bound<&[u8]>, reverse: bool, limit: usize) -> Result<Vec<KeyValue>, Fault> {
        let content = self.content();
        let Some(table) = content.kinds.get(&kind) else { return Ok(Vec::new()) };
        let found = table.range::<[u8], _>(range(from, reverse)).map(|(key, value)| (key.clone(), value.clone()));
        Ok(if reverse { found.rev().take(limit).collect() } else { found.take(limit).collect() })
    }

    fn commit(&self, changes: &[Change], position: Position) -> Result<(), Fault> {
        let mut content = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for Change { kind, key, value } in changes {
            let table = content.kinds.entry(*kind).or_default();
            match value {
                Some(value) => table.insert(key.clone(), value.clone()),
                None => table.remove(key),
            };
        }
        content.position = position;
        Ok(())
    }

    fn position(&self) -> Result<Position, Fault> {
        Ok(self.content().position)
    }
}
