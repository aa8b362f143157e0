//! A node's machines at work: the shards, how they are started and resumed, and what is admitted to them. It knows neither CXIP nor libp2p: what leaves the node goes to a [`World`].

use crate::{
    checkpoint,
    common::{Common, ENDING},
    journal::Statistics,
    recovery::{Recovered, Recovery},
    shard::{Shard, Sight, Start, is_at_work},
    standby::Ground,
    stored::decode,
    supervisor::Fatal,
    switchboard::{Connected, Line, Lines},
};
use hansa_core::{
    access::Access,
    address::{KeyBytes, Kind},
    code::{Code, Fault},
    directory::Directory,
    dispatch::{Housed, Input, Outward, Surroundings, Tally},
    ident::{OrganizationId, TopicAddress, TransactionId},
    limit,
    machine::Machine,
    topic::{self, Topic},
    transaction::{Catalogue, Instance, Loader},
};
use ractor::{Actor, ActorRef};
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::task::JoinHandle;

/// Where what leaves the node goes. Called on the journal's thread, in order, so it must not wait.
pub trait World: Send + Sync + 'static {
    /// Everything that this rests on is durable: let it go.
    fn outward(&self, effect: Outward);
}

/// How a house is kept.
#[derive(Clone, Debug)]
pub struct HouseOptions {
    /// The folder of journal and store.
    pub folder: PathBuf,
    /// The epoch of what it writes before another is named; a single node's log has no later one.
    pub epoch: u64,
    /// Length of a journal segment.
    pub segment_bytes: u64,
    /// Bytes of journal segments that are kept behind checkpoints, for the history of transactions.
    pub journal_keep_bytes: u64,
    /// Journal bytes after which a checkpoint is made.
    pub checkpoint_bytes: u64,
    /// Transactions that may be open at once.
    pub transactions_open_max: u64,
    /// How long transactions are kept after their end.
    pub finished_keep_ms: u64,
    /// Transactions that are not kept, and whose responses are remembered for a while.
    pub responses_kept_max: usize,
    /// Shards that share the transactions.
    pub transaction_shards: usize,
    /// How long a transaction rests before it is put away.
    pub rest_ms: u64,
    /// What runs the libraries of functions that definitions call.
    pub loader: Loader,
}

impl HouseOptions {
    /// The usual values for a house in `folder`.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            epoch: 1,
            segment_bytes: 32 << 20,
            journal_keep_bytes: 4 << 30,
            checkpoint_bytes: 128 << 20,
            transactions_open_max: limit::TRANSACTIONS_OPEN_MAX as u64,
            finished_keep_ms: 30 * 24 * 3_600_000,
            responses_kept_max: limit::RESPONSES_KEPT_MAX,
            transaction_shards: 1,
            rest_ms: 2_000,
            loader: Loader::default(),
        }
    }
}

/// Machines that a start resumes at once.
const RESUMED_AT_ONCE: usize = 256;

/// A picture of the house for status and metrics.
#[derive(Clone, Debug)]
pub struct HouseStatistics {
    /// The journal's figures.
    pub journal: Statistics,
    /// Transactions that are open.
    pub transactions_open: u64,
    /// Topics that have subscribers.
    pub topics: u64,
    /// Bytes of the publications that they keep.
    pub topics_bytes: u64,
    /// Inputs that machines refused.
    pub refused: u64,
    /// Of these, answers that no transaction records.
    pub strays: u64,
    /// What was counted since the start.
    pub tallies: Vec<(Tally, u64)>,
}

/// The running house.
pub struct House {
    pub(crate) common: Arc<Common>,
    pub(crate) options: HouseOptions,
    supervisor: ActorRef<()>,
    checkpoints: JoinHandle<()>,
    pub(crate) checkpointing: Arc<tokio::sync::Mutex<()>>,
}

impl House {
    /// Recover what journal and store hold, and start the shards. `fatal` is called when going on would be unsafe.
    ///
    /// # Errors
    /// What is wrong with journal or store, and what to do about it.
    pub async fn open(options: HouseOptions, world: Arc<dyn World>, fatal: Fatal) -> Result<Arc<Self>, Fault> {
        let (_, standby) = Ground::open(options, world, &fatal, true)?;
        standby.serve(fatal).await
    }

    pub(crate) async fn populate(
        common: Arc<Common>,
        options: HouseOptions,
        supervisor: ActorRef<()>,
        recovery: Recovery,
        fatal: Fatal,
    ) -> Result<Arc<Self>, Fault> {
        let Recovery {
            transactions,
            mut links,
            mut directory,
            mut catalogue,
            mut membership,
            mut topics,
            mut access,
            entries,
        } = recovery;
        let recovered = transactions.len();
        // Machines that are never put away come from the store as well, whether the journal's tail names them or not.
        stored_too(&common, &mut links)?;
        stored_too(&common, &mut directory)?;
        stored_too(&common, &mut catalogue)?;
        stored_too(&common, &mut membership)?;
        stored_too(&common, &mut topics)?;
        // A topic whose last subscriber left is nothing, and its numbers begin anew.
        topics.retain(|address, slot| {
            let is_open = slot.machine.is_open();
            if !is_open {
                // The store may have it as it was before.
                common.keep(address, slot);
            }
            is_open
        });
        for slot in topics.values() {
            common.opened::<Topic>(true);
            common.kept::<Topic>(0, slot.machine.kept_bytes());
        }
        stored_too(&common, &mut access)?;

        let rest_ms = options.rest_ms;
        let shards = options.transaction_shards.max(1);
        let responses_kept_max = options.responses_kept_max.div_ceil(shards);
        let mut shared_out: Vec<Recovered<Instance>> = (0..shards).map(|_| HashMap::new()).collect();
        let mut open = Vec::new();
        for (id, mut slot) in transactions {
            // It was purged, or has ended and is not to be kept: nobody may meet it here. The store may have it as it was before, or the
            // one before it.
            let is_kept = slot.machine.is_kept();
            if !is_kept || slot.anew {
                common.keep(&id, &mut slot);
            }
            if !is_kept {
                continue;
            }
            if slot.machine.is_open() {
                open.push(id);
            }
            if is_at_work(&slot.machine) {
                common.opened::<Instance>(true);
            }
            shared_out[(id.0 % shards as u128) as usize].insert(id, slot);
        }
        let peers: Vec<_> = links.keys().copied().collect();
        let topic_addresses: Vec<_> = topics.keys().cloned().collect();
        let mut lines = Vec::new();
        for machines in shared_out {
            lines.push(spawn(&common, &supervisor, (rest_ms, responses_kept_max), machines).await?);
        }
        let others = (rest_ms, usize::MAX);
        common.switchboard.connect(Lines {
            transactions: lines,
            mailboxes: spawn(&common, &supervisor, others, HashMap::new()).await?,
            links: spawn(&common, &supervisor, others, links).await?,
            directory: spawn(&common, &supervisor, others, directory).await?,
            catalogue: spawn(&common, &supervisor, others, catalogue).await?,
            membership: spawn(&common, &supervisor, others, membership).await?,
            topics: spawn(&common, &supervisor, others, topics).await?,
            access: spawn(&common, &supervisor, others, access).await?,
        });
        let checkpointing = Arc::new(tokio::sync::Mutex::new(()));
        let house = Arc::new_cyclic(|house: &std::sync::Weak<Self>| {
            let house = house.clone();
            let checkpoints = tokio::spawn(async move {
                let mut last = (0, tokio::time::Instant::now());
                loop {
                    tokio::time::sleep(checkpoint::LOOK).await;
                    let Some(house) = house.upgrade() else { return };
                    house.checkpoint_if_due(&mut last).await;
                }
            });
            Self { common, options, supervisor, checkpoints, checkpointing }
        });
        house.resume(open, peers, topic_addresses, fatal).await;
        tracing::info!(entries, transactions = recovered, "recovered from journal and store");
        Ok(house)
    }

    /// Tell every machine that has work open that the process has started again: first those that others look at, then
    /// links, then transactions. Those that only the store knows are told in the background.
    async fn resume(
        self: &Arc<Self>,
        open: Vec<TransactionId>,
        peers: Vec<OrganizationId>,
        topics: Vec<TopicAddress>,
        fatal: Fatal,
    ) {
        let lines = self.common.switchboard.lines();
        for line in Catalogue::lines(lines) {
            line.resume(vec![()]);
        }
        for line in Directory::lines(lines) {
            line.resume(vec![()]);
        }
        for line in Access::lines(lines) {
            line.resume(vec![()]);
        }
        self.look::<Catalogue, ()>(&(), |_| ()).await;
        self.look::<Access, ()>(&(), |_| ()).await;
        self.look::<Directory, ()>(&(), |_| ()).await;
        lines.membership.resume(vec![()]);
        lines.links.resume(peers);
        lines.topics.resume(topics);
        for id in &open {
            lines.transaction(*id).resume(vec![*id]);
        }
        self.look_all::<Instance, ()>(|_| ()).await;
        let house = Arc::downgrade(self);
        let known: std::collections::HashSet<_> = open.into_iter().collect();
        tokio::spawn(async move {
            let (mut kind, mut from) = (Kind::Transaction as u8, Vec::new());
            loop {
                let Some(house) = house.upgrade() else { return };
                let page = match house.common.store.scan(kind, &from, false, RESUMED_AT_ONCE) {
                    Ok(page) => page,
                    // Whoever waits for one of these would wait for ever.
                    Err(fault) => return fatal(fault),
                };
                let lines = house.common.switchboard.lines();
                let Some((last, _)) = page.last() else {
                    if kind & ENDING == 0 {
                        (kind, from) = (kind | ENDING, Vec::new());
                        continue;
                    }
                    return Instance::lines(lines).into_iter().for_each(Line::all_resumed);
                };
                from = last.clone();
                from.push(0);
                for id in page.iter().filter_map(|(key, _)| KeyBytes::from_bytes(key)) {
                    if !known.contains(&id) {
                        lines.transaction(id).resume(vec![id]);
                    }
                }
                // The next page waits until this one is through, so that a start with a million sleepers stays calm.
                house.look_all::<Instance, ()>(|_| ()).await;
            }
        });
    }

    /// Deliver an input from outside, if there is room for it.
    ///
    /// # Errors
    /// [`Code::Busy`], [`Code::DiskFull`] or [`Code::LimitReached`]: nothing was delivered.
    pub fn admit(&self, input: Input) -> Result<(), Fault> {
        if let Input::Transaction(_, hansa_core::transaction::Input::Submit { .. }) = &input {
            self.common.journal.admits()?;
            let open = self.common.counters.open.load(Ordering::Relaxed);
            if open >= self.options.transactions_open_max {
                return Err(Fault::new(Code::LimitReached, format!("{open} transactions are open already")));
            }
        }
        self.admits_topic(&input)?;
        self.common.switchboard.admits(&input)?;
        self.common.switchboard.deliver(input);
        Ok(())
    }

    /// What all topics keep together is bounded; each has bounds of its own besides.
    fn admits_topic(&self, input: &Input) -> Result<(), Fault> {
        let counters = &self.common.counters;
        match input {
            Input::Topic(_, topic::Input::Publish { .. }) => {
                self.common.journal.admits()?;
                let kept = counters.topics_bytes.load(Ordering::Relaxed);
                if kept >= limit::TOPICS_BYTES_MAX as u64 {
                    return Err(Fault::new(
                        Code::Busy,
                        format!("topics keep {kept} bytes for their subscribers already"),
                    ));
                }
            }
            Input::Topic(_, topic::Input::Subscribe { .. }) => {
                let topics = counters.topics.load(Ordering::Relaxed);
                if topics >= limit::TOPICS_MAX as u64 {
                    return Err(Fault::new(Code::LimitReached, format!("{topics} topics have subscribers already")));
                }
            }
            _ => (),
        }
        Ok(())
    }

    /// Whether there is room for an input from outside.
    #[must_use]
    pub fn has_room(&self, input: &Input) -> bool {
        self.common.switchboard.admits(input).is_ok()
    }

    /// Deliver an input of the node's own, or one that has its own bound.
    pub fn deliver(&self, input: Input) {
        self.common.switchboard.deliver(input);
    }

    /// What machines look at now.
    #[must_use]
    pub fn surroundings(&self) -> Arc<Surroundings> {
        self.common.surroundings()
    }

    /// Look at the shard of one machine, after everything that it was told before.
    pub async fn look<M: Connected, T: Send + 'static>(
        &self,
        key: &M::Key,
        look: impl FnOnce(&Sight<'_, M>) -> T + Send + 'static,
    ) -> Option<T> {
        self.common.switchboard.look(key, look).await
    }

    /// Look at all shards of a kind.
    pub async fn look_all<M: Connected, T: Send + 'static>(
        &self,
        look: impl Fn(&Sight<'_, M>) -> T + Clone + Send + 'static,
    ) -> Vec<T> {
        self.common.switchboard.look_all(look).await
    }

    /// Figures for status and metrics.
    #[must_use]
    pub fn statistics(&self) -> HouseStatistics {
        let counters = &self.common.counters;
        HouseStatistics {
            journal: self.common.journal.statistics(),
            transactions_open: counters.open.load(Ordering::Relaxed),
            topics: counters.topics.load(Ordering::Relaxed),
            topics_bytes: counters.topics_bytes.load(Ordering::Relaxed),
            refused: counters.refused.load(Ordering::Relaxed),
            strays: counters.strays.count.load(Ordering::Relaxed),
            tallies: Tally::ALL
                .iter()
                .map(|(tally, _, _)| (*tally, counters.tallies[*tally as usize].load(Ordering::Relaxed)))
                .collect(),
        }
    }

    /// Stop the shards at once, and leave journal and store as they are: another sub-node serves, and what these machines know that does
    /// not count is dropped with them. The journal must not take appends any more; it goes on without this house.
    pub async fn leave(&self) {
        self.checkpoints.abort();
        let _hurry = self.common.store.hurry();
        self.supervisor.stop_children_and_wait(None, None).await;
        if let Err(error) = self.supervisor.stop_and_wait(None, None).await {
            tracing::warn!(%error, "the supervisor of the shards did not end well");
        }
        // A checkpoint that is being made either has all that it needs, or fails because that does not count.
        drop(self.checkpointing.lock().await);
    }

    /// Stop the shards after what they were told, make everything durable, and leave a fresh checkpoint.
    ///
    /// # Errors
    /// Journal or store failed; what was acknowledged is in the journal.
    pub async fn stop(&self) -> Result<(), Fault> {
        self.checkpoints.abort();
        let made = self.checkpoint().await;
        self.supervisor.stop_children(None);
        self.supervisor.stop(None);
        let journal = Arc::clone(&self.common.journal);
        let closed = tokio::task::spawn_blocking(move || journal.close()).await;
        made.and(closed.unwrap_or_else(|error| Err(Fault::new(Code::Internal, error.to_string()))))
    }
}

/// The seed of a shard's dice.
fn seed() -> Result<u64, Fault> {
    getrandom::u64().map_err(|error| Fault::new(Code::Internal, format!("the system gives no randomness: {error}")))
}

/// Start a shard.
async fn spawn<M: Housed>(
    common: &Arc<Common>,
    supervisor: &ActorRef<()>,
    (rest_ms, lingering_max): (u64, usize),
    machines: Recovered<M>,
) -> Result<Line<M>, Fault> {
    let waiting = Arc::new(AtomicUsize::new(0));
    let (common, seed) = (Arc::clone(common), seed()?);
    let start = Start { common, machines, waiting: Arc::clone(&waiting), rest_ms, lingering_max, seed };
    let (actor, _) = Actor::spawn_linked(None, Shard::<M>::default(), start, supervisor.get_cell())
        .await
        .map_err(|error| Fault::new(Code::Internal, format!("a shard did not start: {error}")))?;
    Ok(Line { actor, waiting })
}

/// Add the machines of a kind that the store has and the journal's tail does not name.
fn stored_too<M: Housed>(common: &Common, machines: &mut Recovered<M>) -> Result<(), Fault> {
    for (bytes, value) in common.store.scan(M::KIND as u8, &[], false, usize::MAX)? {
        if let Some(key) = M::Key::from_bytes(&bytes)
            && !machines.contains_key(&key)
        {
            let slot = decode(&key, &value)?;
            machines.insert(key, slot);
        }
    }
    Ok(())
}
