//! What all shards of a house share: journal, store, the ways to each other, what machines look at, and what is counted. It decides
//! how a machine lies in the store. Shards, checkpoints and standby use it; it knows no actor.

use crate::{
    gathering::Story,
    house::World,
    journal::{Journal, Release},
    recovery,
    shard::Slot,
    store::{Change, RedbStore, Store as _, WriteBehind},
    stored::{encode, encode_told},
    switchboard::Switchboard,
};
use hansa_core::{
    address::{KeyBytes as _, Kind},
    code::{Code, Fault},
    dispatch::{Change as Redrawn, Housed, Outward, Surroundings, Tally},
    durability::Durability,
    ident::TransactionId,
    moment::Moment,
    transaction::Loader,
};
use std::{
    fmt::Debug,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// Ended machines are kept under a kind of their own, so that a start need not look through them.
pub(crate) const ENDED: u8 = 0x80;
/// Of those that ended and are not done yet, a start must know: their keys are under this kind as well.
pub(crate) const ENDING: u8 = 0x40;

const NO_REIGN: u64 = u64::MAX;

/// What all shards share.
pub struct Common {
    pub(crate) journal: Arc<Journal<Outward>>,
    /// The stretch of time in which these machines may write the journal; [`NO_REIGN`] if there is none.
    reign: AtomicU64,
    pub(crate) store: WriteBehind,
    /// The sequence up to which the store has everything.
    pub(crate) behind: AtomicU64,
    pub(crate) switchboard: Switchboard,
    pub(crate) surroundings: RwLock<Arc<Surroundings>>,
    pub(crate) counters: Counters,
}

/// Answers that nothing can be recorded of. Whoever sends them can send many, so only some are logged.
#[derive(Default)]
pub(crate) struct Strays {
    pub(crate) count: AtomicU64,
    /// The minute in which some were logged last, and how many.
    logged: Mutex<(u64, u64)>,
}

impl Strays {
    const LOGGED_MAX: u64 = 10;

    /// Count one; says whether it is to be logged.
    fn add(&self, now: Moment) -> bool {
        self.count.fetch_add(1, Ordering::Relaxed);
        let minute = now.0 / 60_000;
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.0 != minute {
            *logged = (minute, 0);
        }
        logged.1 += 1;
        logged.1 <= Self::LOGGED_MAX
    }
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) tallies: [AtomicU64; Tally::ALL.len()],
    pub(crate) refused: AtomicU64,
    pub(crate) strays: Strays,
    pub(crate) open: AtomicU64,
    pub(crate) topics: AtomicU64,
    pub(crate) topics_bytes: AtomicU64,
}

/// Lets out what the journal releases.
pub(crate) struct Gate(pub(crate) Arc<dyn World>);

impl Release for Gate {
    type Effect = Outward;
    fn release(&mut self, effects: Vec<Outward>, durability: Durability) {
        for mut effect in effects {
            effect.rest_on(durability);
            self.0.outward(effect);
        }
    }
}

impl Common {
    /// What a house begins with: nothing but what journal and store have.
    pub(crate) fn new(journal: Arc<Journal<Outward>>, store: Arc<RedbStore>, loader: Loader) -> Arc<Self> {
        let behind = AtomicU64::new(store.position().applied);
        Arc::new(Self {
            reign: AtomicU64::new(journal.reign().unwrap_or(NO_REIGN)),
            journal,
            store: WriteBehind::new(Box::new(store)),
            behind,
            switchboard: Switchboard::default(),
            surroundings: RwLock::new(Arc::new(Surroundings::new(loader))),
            counters: Counters::default(),
        })
    }

    pub(crate) fn surroundings(&self) -> Arc<Surroundings> {
        Arc::clone(&self.surroundings.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn redraw(&self, change: Redrawn) {
        let mut surroundings = self.surroundings.write().unwrap_or_else(PoisonError::into_inner);
        *surroundings = Arc::new(surroundings.changed(change));
    }

    pub(crate) fn append<M: Housed>(&self, key: &M::Key, record: &[u8], now: Moment, effects: Vec<Outward>) -> u64 {
        let address = M::KIND.address(key);
        self.journal.append_in(self.reign(), &[(&address[..], record)], now, effects)
    }

    fn reign(&self) -> u64 {
        self.reign.load(Ordering::Acquire)
    }

    /// These machines have taken in the whole log and go on from there, as long as this stretch of time lasts.
    pub(crate) fn begin_reign(&self, reign: u64) {
        self.reign.store(reign, Ordering::Release);
    }

    /// Wait until everything counts that these machines have told the journal.
    ///
    /// # Errors
    /// It never will: another sub-node writes the log now, or did in between.
    pub(crate) fn wait_committed(&self) -> Result<(), Fault> {
        self.journal.wait_committed_in(self.reign())
    }

    pub(crate) fn release_later(&self, now: Moment, effects: Vec<Outward>) {
        self.journal.append_in::<&[u8], &[u8]>(self.reign(), &[], now, effects);
    }

    pub(crate) fn count(&self, tally: Tally, times: u64) {
        self.counters.tallies[tally as usize].fetch_add(times, Ordering::Relaxed);
    }

    /// A machine refused an input.
    pub(crate) fn refused(&self, now: Moment, by: &dyn Debug, fault: &Fault) {
        self.counters.refused.fetch_add(1, Ordering::Relaxed);
        if fault.code == Code::ResponseRefused && self.counters.strays.add(now) {
            let max = Strays::LOGGED_MAX;
            tracing::warn!(?by, %fault, "an answer was refused that no transaction records (at most {max} a minute are shown)");
        } else {
            tracing::debug!(?by, %fault, "refused");
        }
    }

    pub(crate) fn opened<M: Housed>(&self, is_open: bool) {
        let counter = match M::KIND {
            Kind::Transaction => &self.counters.open,
            Kind::Topic => &self.counters.topics,
            _ => return,
        };
        if is_open {
            counter.fetch_add(1, Ordering::Relaxed);
        } else {
            counter.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A machine keeps more than before, or less.
    pub(crate) fn kept<M: Housed>(&self, before: usize, after: usize) {
        if M::KIND == Kind::Topic && before != after {
            // One shard houses all topics, so nobody adds and subtracts at the same time.
            let kept = self.counters.topics_bytes.load(Ordering::Relaxed);
            let kept = (kept + after as u64).saturating_sub(before as u64);
            self.counters.topics_bytes.store(kept, Ordering::Relaxed);
        }
    }

    /// The machine as the store has it.
    ///
    /// # Errors
    /// The store cannot be read, or holds what is no machine.
    pub(crate) fn stored<M: Housed>(&self, key: &[u8]) -> Result<Option<Slot<M>>, Fault> {
        recovery::stored(&self.store, key)
    }

    /// Put a transaction that has ended into the store as it was told: nothing of it was there before but what was the same.
    pub(crate) fn keep_told(&self, id: &TransactionId, story: &Story) {
        let kind = Kind::Transaction as u8 | ENDED;
        self.store.change(vec![Change { kind, key: id.to_bytes(), value: Some(encode_told(story)) }]);
    }

    /// Take the machine out of the store; durable with the next checkpoint.
    pub(crate) fn forget<M: Housed>(&self, key: &M::Key) {
        let kinds = [0, ENDED, ENDING].map(|state| M::KIND as u8 | state);
        self.store.change(kinds.map(|kind| Change { kind, key: key.to_bytes(), value: None }).to_vec());
    }

    /// Put the machine's state into the store; it is written with the next checkpoint.
    pub(crate) fn keep<M: Housed>(&self, key: &M::Key, slot: &mut Slot<M>) {
        let kind = M::KIND as u8;
        let key = key.to_bytes();
        let (is_open, is_ended) = (slot.machine.is_open(), slot.machine.is_ended());
        let mut changes = Vec::with_capacity(3);
        let mut change = |state, value| changes.push(Change { kind: kind | state, key: key.clone(), value });
        if std::mem::take(&mut slot.anew) || (slot.stored && !slot.machine.is_kept()) {
            [0, ENDED, ENDING].into_iter().for_each(|state| change(state, None));
        } else if is_ended && slot.stored {
            change(0, None);
        }
        if is_ended && is_open {
            change(ENDING, Some(Vec::new()));
        } else if is_ended && slot.stored {
            change(ENDING, None);
        }
        if slot.machine.is_kept() {
            change(if is_ended { ENDED } else { 0 }, Some(encode(slot)));
        }
        self.store.change(changes);
        slot.stored = true;
    }
}
