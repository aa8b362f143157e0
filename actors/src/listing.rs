//! Transactions by their ids, the newest first, wherever they are: awake, put away, or ended. The node's administration
//! looks through them page by page; it decides how three places are read as one, and must not know what is looked for.

use crate::{common::ENDED, house::House, stored::decode};
use hansa_core::{
    address::{KeyBytes as _, Kind},
    code::Fault,
    ident::TransactionId,
    transaction::Instance,
};
use std::collections::BTreeMap;

/// Which transactions are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those that have not ended.
    Open,
    /// Those that have.
    Ended,
    /// All.
    All,
}

impl Which {
    fn has(self, ended: bool) -> bool {
        self == Self::All || (self == Self::Ended) == ended
    }
}

/// Some transactions, the newest first.
#[derive(Clone, Debug)]
pub struct Page {
    /// They; and why one that is stored cannot be read. It has its place, and keeps nobody from the others.
    pub transactions: Vec<(TransactionId, Result<Instance, Fault>)>,
    /// Before which the next page begins; none if this is the last.
    pub next: Option<TransactionId>,
}

impl House {
    /// At most `count_max` transactions with ids before `before`, or of all, the newest first. No more than three times as
    /// many are in memory at once.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn transactions_before(
        &self,
        before: Option<TransactionId>,
        which: Which,
        count_max: usize,
    ) -> Result<Page, Fault> {
        let count_max = count_max.max(1);
        // Awake ones first: one that is put away, or ends, before the store is read is found there once more.
        let seen = self.look_all::<Instance, _>(move |sight| {
            sight.newest_before(before.as_ref(), count_max, |machine| which.has(machine.is_ended()))
        });
        let seen: Vec<Vec<_>> = seen.await;
        let readable = |page: Vec<(TransactionId, Instance)>| page.into_iter().map(|(id, it)| (id, Ok(it))).collect();
        let mut pages: Vec<Vec<_>> = seen.into_iter().map(readable).collect();
        let from = before.map_or_else(|| vec![0xff; 17], |id| id.to_bytes());
        for (ended, kind) in [(false, 0), (true, ENDED)] {
            if which.has(ended) {
                // One more, for `from` itself is in it if it is there.
                let page = self.common.store.scan(Kind::Transaction as u8 | kind, &from, true, count_max + 1)?;
                let others = page.into_iter().filter(|(key, _)| *key != from).take(count_max);
                let read = others.filter_map(|(key, bytes)| {
                    let id = TransactionId::from_bytes(&key)?;
                    Some((id, decode::<Instance>(&id, &bytes).map(|stored| stored.machine)))
                });
                pages.push(read.collect());
            }
        }
        // Where a page is full, there may be more behind its last, so nothing behind that may be told yet.
        let floor = pages.iter().filter(|page| page.len() == count_max).filter_map(|page| page.last()).map(|it| it.0);
        let floor = floor.max();
        let mut found = BTreeMap::new();
        for (id, machine) in pages.into_iter().flatten() {
            if floor.is_none_or(|floor| id >= floor) {
                found.entry(id).or_insert(machine);
            }
        }
        let more = floor.is_some() || found.len() > count_max;
        let transactions: Vec<_> = found.into_iter().rev().take(count_max).collect();
        let next = if more { transactions.last().map(|(id, _)| *id) } else { None };
        Ok(Page { transactions, next })
    }
}
