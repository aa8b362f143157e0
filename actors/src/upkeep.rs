//! What an administrator does to single transactions, or to all: offer once more what may have been lost (T12), and forget
//! what has ended (T11). The node's administration asks for it. It decides nothing about transactions.

use crate::{
    common::ENDED,
    house::House,
    listing::Which,
    shard::{Forgotten, Order},
    stored::decode,
    switchboard::Connected as _,
};
use hansa_core::{
    address::{KeyBytes as _, Kind},
    code::{Code, Fault},
    ident::TransactionId,
    link::Link,
    moment::Moment,
    transaction::Instance,
};
use tokio::sync::oneshot;

/// Transactions that are resumed, or looked at to be purged, at once.
const AT_ONCE: usize = 256;
/// Transactions that one call resumes, or looks at to purge them.
pub const UPKEEP_MAX: usize = 10_000;

/// What was done to a part of all transactions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upkeep {
    /// How many were looked at.
    pub looked: u64,
    /// To how many something was done.
    pub done: u64,
    /// Where the next part begins; none if this was the last.
    pub next: Option<TransactionId>,
}

impl House {
    /// Tell an open transaction that the process has started again, so that it asks once more whoever has not answered.
    /// Whoever has the invocation already takes it for what it is. It returns when that was done.
    ///
    /// # Errors
    /// [`Code::TransactionUnknown`], [`Code::TransactionEnded`].
    pub async fn recover(&self, id: TransactionId) -> Result<(), Fault> {
        let machine = self.trailed(id).await?.machine;
        if let Some(ending) = machine.ending() {
            let message = format!("transaction {id} has ended already: {}", ending.word());
            return Err(Fault::new(Code::TransactionEnded, message));
        }
        self.resume_these(&[id]).await;
        Ok(())
    }

    /// The same for a part of all open transactions: those before `before`, or the newest of all. The first part takes the
    /// links to peers with it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn recover_all(&self, before: Option<TransactionId>) -> Result<Upkeep, Fault> {
        if before.is_none() {
            let peers: Vec<_> = self.look_all::<Link, _>(|sight| sight.awake().map(|(peer, _)| *peer).collect()).await;
            let peers: Vec<Vec<_>> = peers;
            self.common.switchboard.lines().links.resume(peers.into_iter().flatten().collect());
        }
        let mut upkeep = Upkeep { next: before, ..Upkeep::default() };
        while (upkeep.looked as usize) < UPKEEP_MAX {
            let page = self.transactions_before(upkeep.next, Which::Open, AT_ONCE).await?;
            upkeep.looked += page.transactions.len() as u64;
            // One that cannot be read cannot go on, and whoever tried would end the node.
            let readable = page.transactions.iter().filter(|(_, read)| read.is_ok());
            let ids: Vec<_> = readable.map(|(id, _)| *id).collect();
            self.resume_these(&ids).await;
            upkeep.done += ids.len() as u64;
            upkeep.next = page.next;
            if upkeep.next.is_none() {
                break;
            }
        }
        Ok(upkeep)
    }

    async fn resume_these(&self, ids: &[TransactionId]) {
        let lines = self.common.switchboard.lines();
        for id in ids {
            lines.transaction(*id).resume(vec![*id]);
        }
        // A look comes after what was told before.
        self.look_all::<Instance, ()>(|_| ()).await;
    }

    /// Forget a transaction that has ended; durable when this returns.
    ///
    /// # Errors
    /// [`Code::TransactionUnknown`], [`Code::TransactionOpen`], [`Code::TransactionNeeded`]: it is as it was. Other faults
    /// leave open whether it is forgotten.
    pub async fn purge(&self, id: TransactionId) -> Result<(), Fault> {
        match self.forget(&[id]).await?.first() {
            Some(Forgotten::Done) => self.checkpoint().await,
            Some(Forgotten::Open) => Err(Fault::new(Code::TransactionOpen, format!("transaction {id} has not ended"))),
            Some(Forgotten::Needed) => Err(Fault::new(
                Code::TransactionNeeded,
                format!("transaction {id} has ended, and the one that it belongs to has not recorded that yet"),
            )),
            Some(Forgotten::Unknown) | None => {
                Err(Fault::new(Code::TransactionUnknown, format!("there is no transaction {id} here")))
            }
        }
    }

    /// Forget a part of the transactions that ended before a moment: of those from `from` on, or from the oldest. Durable
    /// when this returns.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub async fn purge_ended_before(&self, ended_before: Moment, from: Option<TransactionId>) -> Result<Upkeep, Fault> {
        let kind = Kind::Transaction as u8 | ENDED;
        let mut upkeep = Upkeep::default();
        let mut from = from.map(|id| id.to_bytes()).unwrap_or_default();
        while (upkeep.looked as usize) < UPKEEP_MAX {
            let mut page = self.common.store.scan(kind, &from, false, AT_ONCE + 1)?;
            let next = if page.len() > AT_ONCE { page.pop() } else { None };
            upkeep.looked += page.len() as u64;
            // What cannot be read is left to whoever can.
            let old = page.iter().filter_map(|(key, value)| {
                let id = TransactionId::from_bytes(key)?;
                let ended = decode::<Instance>(&id, value).ok()?.machine.ended_at()?;
                (ended < ended_before).then_some(id)
            });
            let old: Vec<_> = old.collect();
            let forgotten = self.forget(&old).await?;
            upkeep.done += forgotten.iter().filter(|one| **one == Forgotten::Done).count() as u64;
            upkeep.next = next.as_ref().and_then(|(key, _)| TransactionId::from_bytes(key));
            match next {
                Some((key, _)) => from = key,
                None => break,
            }
        }
        if upkeep.done > 0 {
            self.checkpoint().await?;
        }
        Ok(upkeep)
    }

    /// Let the shards forget transactions, so that none is forgotten while something happens to it.
    async fn forget(&self, ids: &[TransactionId]) -> Result<Vec<Forgotten>, Fault> {
        let lines = self.common.switchboard.lines();
        let gone = || Fault::new(Code::NodeStopped, "the node is stopping");
        let mut forgotten = Vec::with_capacity(ids.len());
        for id in ids {
            let (done, waiting) = oneshot::channel();
            Instance::line(lines, id).actor.send_message(Order::Forget(vec![*id], done)).map_err(|_| gone())?;
            forgotten.push(waiting);
        }
        let mut all = Vec::with_capacity(ids.len());
        for waiting in forgotten {
            for one in waiting.await.map_err(|_| gone())? {
                all.push(one?);
            }
        }
        Ok(all)
    }
}
