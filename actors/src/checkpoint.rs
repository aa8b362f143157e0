//! Checkpoints: when what changed is written to the store, which lets a start read less, and what is dropped then, of the
//! journal and of what ended long ago (T11). The house makes one now and then, and when it stops.

use crate::{
    clock,
    common::{Common, ENDED},
    house::House,
    journal::DiskState,
    shard::Order,
    stage::{self, Stage},
    store::{Change, Position},
    stored::decode,
    switchboard::{Connected as _, Line},
};
use hansa_core::{
    access::Access,
    address::{KeyBytes as _, Kind},
    code::{Code, Fault},
    directory::Directory,
    dispatch::Housed,
    ident::TransactionId,
    link::Link,
    machine::Machine as _,
    membership::Membership,
    moment::Moment,
    topic::Topic,
    transaction::{Catalogue, Instance},
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{sync::oneshot, time::Instant};

/// How long the longest pause between two checkpoints is while anything changes.
const PAUSE: Duration = Duration::from_secs(30);
/// How often it is looked whether a checkpoint is due.
pub(crate) const LOOK: Duration = Duration::from_millis(250);
/// After a checkpoint that failed, how long until the next attempt.
const RETRY: Duration = Duration::from_secs(5);
/// Bytes of put-away machines that wait for a checkpoint before one is made.
const PUT_AWAY_BYTES_MAX: usize = 64 << 20;
/// Ended transactions that are looked at at once to be purged.
const PURGED_AT_ONCE: usize = 1_000;
/// Ended transactions that one checkpoint looks at to purge them.
const PURGED_MAX: usize = 200_000;

impl House {
    pub(crate) async fn checkpoint_if_due(&self, last: &mut (u64, Instant)) {
        let statistics = self.common.journal.statistics();
        if statistics.disk == DiskState::Full {
            self.make_room();
        }
        let written = statistics.bytes_written;
        let grown = written.saturating_sub(last.0);
        let full = grown >= self.options.checkpoint_bytes || self.common.store.waiting_bytes() >= PUT_AWAY_BYTES_MAX;
        if full || (grown > 0 && last.1.elapsed() >= PAUSE) {
            if let Err(fault) = self.checkpoint_at_leisure().await {
                tracing::error!(%fault, "no checkpoint could be made; it is tried again");
                return tokio::time::sleep(RETRY).await;
            }
            *last = (written, Instant::now());
        }
    }

    /// Write to the store what changed, and drop the part of the journal that is behind it and beyond what is kept for
    /// those who look back. Somebody waits for it.
    ///
    /// # Errors
    /// Journal or store failed. The journal still has everything.
    pub async fn checkpoint(&self) -> Result<(), Fault> {
        let _hurry = self.common.store.hurry();
        self.checkpoint_at_leisure().await
    }

    async fn checkpoint_at_leisure(&self) -> Result<(), Fault> {
        let one_at_a_time = Arc::clone(&self.checkpointing).lock_owned().await;
        // Every record up to here was absorbed before the shard that it is of comes to its checkpoint.
        let applied = self.common.journal.tail();
        let lines = self.common.switchboard.lines();
        checkpoint_along(Instance::lines(lines)).await?;
        checkpoint_along(Link::lines(lines)).await?;
        checkpoint_along(Directory::lines(lines)).await?;
        checkpoint_along(Catalogue::lines(lines)).await?;
        checkpoint_along(Membership::lines(lines)).await?;
        checkpoint_along(Topic::lines(lines)).await?;
        checkpoint_along(Access::lines(lines)).await?;
        let common = Arc::clone(&self.common);
        let (keep_ms, keep_bytes) = (self.options.finished_keep_ms, self.options.journal_keep_bytes);
        let work = tokio::task::spawn_blocking(move || {
            // Held until the end even if nobody waits for it any more: an older checkpoint must not overtake a newer one.
            let _one_at_a_time = one_at_a_time;
            stage::measured(Stage::Store, || {
                common.purge(clock::now(), keep_ms)?;
                // What the store is given has absorbed records up to the tail of that moment, and shards go on putting
                // machines away; the store must never be ahead of what counts.
                common.store.flush_when(Position { applied }, || common.wait_committed())?;
                common.behind.store(applied, Ordering::Release);
                common.journal.truncate_before(applied + 1, keep_bytes).map(|_| ())
            })
        });
        work.await.unwrap_or_else(|error| Err(Fault::new(Code::Internal, format!("the checkpoint ended: {error}"))))
    }

    /// On a full disk new work comes before looking back: drop everything of the journal that the store has.
    fn make_room(&self) {
        let behind = self.common.behind.load(Ordering::Acquire);
        match self.common.journal.truncate_before(behind + 1, 0) {
            Ok(0) => {}
            Ok(segments) => tracing::warn!(
                segments,
                "the disk is full: journal segments that were kept for the history of transactions are dropped"
            ),
            Err(fault) => tracing::error!(%fault, "the disk is full, and no room could be made"),
        }
    }
}

impl Common {
    /// Forget transactions that ended long ago (T11).
    pub(crate) fn purge(&self, now: Moment, keep_ms: u64) -> Result<(), Fault> {
        let kind = Kind::Transaction as u8 | ENDED;
        let before = Moment(now.0.saturating_sub(keep_ms));
        // One that began later cannot have ended earlier.
        let end = TransactionId::new(before, [0; 16]).to_bytes();
        let (mut from, mut looked, mut purged) = (Vec::new(), 0, 0);
        while looked < PURGED_MAX {
            let page = self.store.scan(kind, &from, false, PURGED_AT_ONCE)?;
            let Some((last, _)) = page.last() else { break };
            from.clone_from(last);
            from.push(0);
            looked += page.len();
            let mut old = Vec::new();
            for (key, value) in page.into_iter().take_while(|(key, _)| *key < end) {
                // What cannot be read is left to whoever can; the others need not wait for that.
                let slot = TransactionId::from_bytes(&key).and_then(|id| decode::<Instance>(&id, &value).ok());
                let ended = slot.filter(|slot| !slot.machine.is_open()).and_then(|slot| slot.machine.ended_at());
                if ended.is_some_and(|ended| ended < before) {
                    old.push(Change { kind, key, value: None });
                }
            }
            purged += old.len();
            self.store.change(old);
            if from >= end {
                break;
            }
        }
        if purged > 0 {
            tracing::info!(transactions = purged, "purged transactions that ended long ago");
        }
        Ok(())
    }
}

async fn checkpoint_along<M: Housed>(lines: Vec<&Line<M>>) -> Result<(), Fault> {
    // Without what this shard has, the store would not be as far as it said, and the journal would be cut too early.
    let gone = || Fault::new(Code::Internal, format!("a shard of kind {:?} has ended", M::KIND));
    for line in lines {
        let (done, waiting) = oneshot::channel();
        line.actor.send_message(Order::Checkpoint(done)).map_err(|_| gone())?;
        waiting.await.map_err(|_| gone())?;
    }
    Ok(())
}
