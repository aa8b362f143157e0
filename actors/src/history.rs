//! The history of one transaction: its entries, found in the journal by its trail. The node's administration asks for it;
//! it says what was recorded and must not know how that is told.

use crate::{
    difference::first_difference,
    house::House,
    journal::{Entry, Hash, Journal, OnEntry},
    recovery,
    trail::Trail,
};
use hansa_core::{
    address::Kind,
    code::{Code, Fault},
    dispatch::Outward,
    ident::TransactionId,
    machine::Machine as _,
    moment::Moment,
    transaction::{Instance, Record},
};
use std::{
    ops::{ControlFlow, RangeInclusive},
    sync::Arc,
};

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

/// A transaction that was made anew from its records.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The moment and the records of each of its entries, in order.
    pub entries: Vec<(Moment, Vec<Record>)>,
    /// The first entry.
    pub first: u64,
    /// The last entry.
    pub last: u64,
    /// The transaction as it is stored.
    pub stored: Instance,
    /// The first difference between the two, if there is one.
    pub difference: Option<String>,
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
    /// [`Code::TransactionUnknown`]; [`Code::StoreFailed`]: it is stored and cannot be read.
    pub async fn trailed(&self, id: TransactionId) -> Result<Trailed, Fault> {
        let unknown = || Fault::new(Code::TransactionUnknown, format!("there is no transaction {id} here"));
        let seen = self.look::<Instance, _>(&id, move |sight| sight.trailed(&id)).await.transpose()?.flatten();
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
        self.reading(move |journal| {
            let (mut episodes, mut bytes, mut next) = (Vec::new(), 0, None);
            follow(journal, id, &wanted, &mut |entry| {
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
        })
        .await
    }

    /// Make a transaction anew from its records, and compare it with the one that is stored.
    ///
    /// # Errors
    /// [`Code::TransactionUnknown`], [`Code::HistoryIncomplete`] if the journal does not reach back to its first record,
    /// [`Code::JournalBroken`].
    pub async fn replay(&self, id: TransactionId) -> Result<Replay, Fault> {
        let Trailed { machine: stored, applied, trail } = self.trailed(id).await?;
        self.reading(move |journal| {
            let wanted = trail.ranges(applied);
            let incomplete = |first: u64| {
                let message = format!(
                    "the first record of transaction {id} is entry {first} of the journal, which begins at entry {} now",
                    journal.first()
                );
                Fault::new(Code::HistoryIncomplete, message)
            };
            let first = wanted.first().map_or(0, |range| *range.start());
            if first < journal.first() {
                return Err(incomplete(first));
            }
            let mut anew = Instance::new(&id);
            let mut replay =
                Replay { entries: Vec::new(), first, last: applied, stored, difference: None };
            follow(journal, id, &wanted, &mut |entry| {
                let records = recovery::records::<Instance>(&entry)?;
                records.iter().for_each(|record| anew.absorb(record));
                replay.entries.push((entry.moment, records));
                Ok(ControlFlow::Continue(()))
            })?;
            // Dropped while it was read.
            if first < journal.first() {
                return Err(incomplete(first));
            }
            replay.difference = first_difference(&replay.stored, &anew);
            Ok(replay)
        })
        .await
    }

    /// Read in the journal, on a thread that may wait for the disk.
    async fn reading<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Journal<Outward>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let journal = Arc::clone(&self.common.journal);
        let work = tokio::task::spawn_blocking(move || read(&journal));
        work.await.unwrap_or_else(|error| Err(Fault::new(Code::Internal, format!("the reading ended: {error}"))))
    }
}

/// Follow a trail through the journal. Every entry that it names and the journal keeps must be there.
fn follow(
    journal: &Journal<Outward>,
    id: TransactionId,
    wanted: &[RangeInclusive<u64>],
    on_entry: OnEntry<'_>,
) -> Result<(), Fault> {
    let address = Kind::Transaction.address(&id);
    let mut named = wanted.iter().filter(|range| range.start() == range.end()).map(|range| *range.start()).peekable();
    let strayed = |sequence: u64| {
        let message = format!("entry {sequence} of the journal should be of transaction {id}, and is not");
        Fault::new(Code::JournalBroken, message)
    };
    let mut stopped = false;
    journal.read(&address, wanted, &mut |entry| {
        while let Some(sequence) = named.next_if(|sequence| *sequence <= entry.sequence) {
            if sequence < entry.sequence && sequence >= journal.first() {
                return Err(strayed(sequence));
            }
        }
        let on = on_entry(entry)?;
        stopped = on.is_break();
        Ok(on)
    })?;
    match named.find(|sequence| *sequence >= journal.first()) {
        Some(sequence) if !stopped => Err(strayed(sequence)),
        _ => Ok(()),
    }
}

fn episode(entry: Entry) -> Result<Episode, Fault> {
    let records = recovery::records::<Instance>(&entry)?;
    let Entry { sequence, epoch, moment, previous, hash, .. } = entry;
    Ok(Episode { sequence, epoch, moment, previous, hash, records })
}
