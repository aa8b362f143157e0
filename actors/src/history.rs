//! The history of one transaction: its entries, found in the journal by its trail. The node's administration asks for it;
//! it says what was recorded and must not know how that is told.

use crate::{house::House, journal::Entry, journal::Hash, recovery, trail::Trail};
use hansa_core::{
    address::{KeyBytes as _, Kind},
    code::{Code, Fault},
    ident::TransactionId,
    moment::Moment,
    transaction::{Instance, Record},
};
use std::{ops::ControlFlow, sync::Arc};

/// Entries of one page.
pub const HISTORY_ENTRIES_MAX: usize = 1_000;
/// Bytes of records after which a page ends.
pub const HISTORY_BYTES_MAX: usize = 8 << 20;

/// One entry of a transaction's history.
#[derive(Clone, Debug)]
pub struct Episode {
    /// Its place in the journal.
    pub sequence: u64,
    /// The epoch it was written in.
    pub epoch: u64,
    /// When it was written.
    pub moment: Moment,
    /// The hash of the journal's entry before it.
    pub previous: Hash,
    /// Its own hash, which was checked.
    pub hash: Hash,
    /// What happened, in order.
    pub records: Vec<Record>,
}

/// A part of a transaction's history.
#[derive(Clone, Debug)]
pub struct History {
    /// Its entries, ascending.
    pub episodes: Vec<Episode>,
    /// The sequence behind which the next part begins; none if this is the last.
    pub next: Option<u64>,
    /// The transaction's first entry is no longer in the journal.
    pub beginning_dropped: bool,
    /// The first sequence that the journal keeps.
    pub first_kept: u64,
}

/// A transaction at one moment, and where its entries are.
#[derive(Clone, Debug)]
pub struct Trailed {
    /// The machine.
    pub machine: Instance,
    /// The last sequence that it has applied.
    pub applied: u64,
    /// Where its entries are.
    pub trail: Trail,
}

impl House {
    /// A transaction, awake or put away, and where its entries are.
    ///
    /// # Errors
    /// [`Code::TransactionUnknown`].
    pub async fn trailed(&self, id: TransactionId) -> Result<Trailed, Fault> {
        let unknown = || Fault::new(Code::TransactionUnknown, format!("there is no transaction {id} here"));
        let seen = self.look::<Instance, _>(&id, move |sight| sight.trailed(&id)).await.flatten();
        let seen = seen.filter(|(machine, ..)| machine.submitted().is_some()).ok_or_else(unknown)?;
        Ok(Trailed { machine: seen.0, applied: seen.1, trail: seen.2 })
    }

    /// The entries of a transaction behind the sequence `after`; zero begins at the beginning.
    ///
    /// # Errors
    /// [`Code::JournalBroken`] if what was read is not what was written.
    pub async fn history(&self, id: TransactionId, trailed: &Trailed, after: u64) -> Result<History, Fault> {
        let wanted = trailed.trail.ranges(trailed.applied);
        let first = wanted.first().map_or(0, |range| *range.start());
        let wanted: Vec<_> = wanted
            .into_iter()
            .filter(|range| *range.end() > after)
            .map(|range| after.saturating_add(1).max(*range.start())..=*range.end())
            .collect();
        let journal = Arc::clone(&self.common.journal);
        let work = tokio::task::spawn_blocking(move || {
            let mut address = id.to_bytes();
            address.insert(0, Kind::Transaction as u8);
            let (mut episodes, mut bytes, mut next) = (Vec::new(), 0, None);
            journal.read(&address, &wanted, &mut |entry| {
                if episodes.len() >= HISTORY_ENTRIES_MAX || bytes >= HISTORY_BYTES_MAX {
                    next = episodes.last().map(|episode: &Episode| episode.sequence);
                    return Ok(ControlFlow::Break(()));
                }
                bytes += entry.record.len();
                episodes.push(episode(entry)?);
                Ok(ControlFlow::Continue(()))
            })?;
            let first_kept = journal.first();
            Ok(History { episodes, next, beginning_dropped: first < first_kept, first_kept })
        });
        work.await.unwrap_or_else(|error| Err(Fault::new(Code::Internal, format!("the reading ended: {error}"))))
    }
}

fn episode(entry: Entry) -> Result<Episode, Fault> {
    let records = recovery::records::<Instance>(&entry)?;
    let Entry { sequence, epoch, moment, previous, hash, .. } = entry;
    Ok(Episode { sequence, epoch, moment, previous, hash, records })
}
