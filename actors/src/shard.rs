//! One actor that houses many machines of a kind, and the law that it keeps: decide, absorb, append, release.
//!
//! A shard gives an input to its machine, appends the records of everything that followed to the journal together with
//! what leaves the node, and passes on what is for other machines of the node. It decides nothing itself. A machine that is
//! idle is put away into the store and costs no memory but its timer; its next input wakes it.

use crate::{
    clock,
    common::Common,
    stage::{self, Stage},
    trail::Trail,
};
use hansa_core::{
    address::{KeyBytes, Kind},
    code::Fault,
    dice::Dice,
    dispatch::{Delivery, Housed, Outward},
    machine,
    moment::Moment,
    session::{Asker, ToSession},
};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap, HashMap, HashSet},
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::oneshot, task::JoinHandle};

/// The shortest pause between two looks for resting machines.
const SWEEP_MS_MIN: u64 = 10;
/// The longest time until the clock is looked at again while a timer is set: the clock may be set, and the machine may
/// sleep, which the runtime's timers do not notice.
const TICK_MS_MAX: u64 = 10_000;
/// After how long a machine is told of its time again that could not do what it wanted at that time.
const DUE_RETRY_MS: u64 = 1_000;

/// What a shard is told.
pub enum Order<M: Housed> {
    /// An input for one of its machines.
    Input(M::Key, M::Input),
    /// These machines are told that the process has started again.
    Resume(Vec<M::Key>),
    /// Every machine that the store knows was told that the process has started again.
    AllResumed,
    /// The timer may have come that this tick was ordered for.
    Tick(Moment),
    /// Put away what rests.
    Sweep,
    /// Give everything that changed to the store, and say so.
    Checkpoint(oneshot::Sender<()>),
    /// Forget these machines, if they have ended and nobody needs them, and say of each what became of it.
    Forget(Vec<M::Key>, oneshot::Sender<Vec<Result<Forgotten, Fault>>>),
    /// Look at machines, and change nothing.
    Look(Glance<M>),
}

/// What became of a machine that was to be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgotten {
    /// It is.
    Done,
    /// There is none.
    Unknown,
    /// It has work open.
    Open,
    /// Another machine needs it still.
    Needed,
}

/// What is done with a look.
pub type Glance<M> = Box<dyn FnOnce(&Sight<'_, M>) + Send>;

/// A look at the machines of a shard.
pub struct Sight<'a, M: Housed>(&'a State<M>);

impl<M: Housed> Sight<'_, M> {
    /// One machine, wherever it is.
    #[must_use]
    pub fn machine(&self, key: &M::Key) -> Option<M> {
        match self.0.machines.get(key) {
            Some(slot) => Some(slot.machine.clone()),
            None => self.0.stored(key).map(|slot| slot.machine),
        }
    }

    /// The same with the last sequence that it has applied, and where in the journal its entries are.
    ///
    /// # Errors
    /// It is stored and cannot be read.
    pub fn trailed(&self, key: &M::Key) -> Result<Option<(M, u64, Trail)>, Fault> {
        let slot = match self.0.machines.get(key) {
            Some(slot) => Some(slot.clone()),
            None => self.0.common.stored::<M>(&key.to_bytes())?,
        };
        Ok(slot.map(|slot| (slot.machine, slot.applied, slot.trail)))
    }

    /// How many times are waited for: one for each machine that waits for one, awake or not.
    #[must_use]
    pub fn timers(&self) -> usize {
        self.0.timers.len()
    }

    /// The newest machines that are awake and wanted, by their keys downwards: those before `before`, or of all.
    pub fn newest_before(
        &self,
        before: Option<&M::Key>,
        count_max: usize,
        wanted: impl Fn(&M) -> bool,
    ) -> Vec<(M::Key, M)> {
        let mut newest = BinaryHeap::new();
        for (key, slot) in &self.0.machines {
            if before.is_none_or(|before| key < before) && wanted(&slot.machine) {
                newest.push(Reverse(key));
                if newest.len() > count_max {
                    newest.pop();
                }
            }
        }
        // Ascending in what is reversed.
        let keys = newest.into_sorted_vec().into_iter().map(|Reverse(key)| key);
        keys.map(|key| (key.clone(), self.0.machines[key].machine.clone())).collect()
    }

    /// The machines that are awake.
    pub fn awake(&self) -> impl Iterator<Item = (&M::Key, &M)> {
        self.0.machines.iter().map(|(key, slot)| (key, &slot.machine))
    }
}

/// Whether what a machine has open is work, and not only an answer that it may give once more.
pub(crate) fn is_at_work<M: Housed>(machine: &M) -> bool {
    machine.is_open() && machine.lingers_until().is_none()
}

/// What is counted of a machine, as it was before an input.
struct Before {
    is_at_work: bool,
    lingers_until: Option<Moment>,
    kept_bytes: usize,
}

/// A machine in memory.
#[derive(Clone)]
pub struct Slot<M> {
    pub(crate) machine: M,
    /// The sequence of the last record of its own that it has absorbed.
    pub(crate) applied: u64,
    /// Where in the journal its entries are, if it is a transaction: the others' would grow without end.
    pub(crate) trail: Trail,
    /// Whether the store has an older state of it, or none.
    pub(crate) changed: bool,
    /// Whether the store has any state of it.
    pub(crate) stored: bool,
    /// Whether what the store has is of one before it, which had the same key and was forgotten.
    pub(crate) anew: bool,
    used: Moment,
    /// Its entry among the shard's timers.
    timer: Option<Moment>,
}

impl<M: Housed> Slot<M> {
    /// A machine as the store has it; with nothing applied, a new one.
    pub(crate) fn stored(machine: M, applied: u64, trail: Trail) -> Self {
        let stored = applied > 0;
        Self { machine, applied, trail, changed: false, stored, anew: false, used: Moment(0), timer: None }
    }

    /// Whatever was under its key before is forgotten: what comes now is of another one.
    pub(crate) fn begin_anew(&mut self) {
        self.trail = Trail::default();
        self.anew = self.stored;
    }

    /// It has absorbed the entry with this sequence.
    pub(crate) fn note(&mut self, sequence: u64) {
        self.applied = sequence;
        self.changed = true;
        if M::KIND == Kind::Transaction {
            self.trail.note(sequence);
        }
    }
}

/// The actor.
pub struct Shard<M>(PhantomData<fn(M)>);

impl<M> Default for Shard<M> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

/// What a shard starts with.
pub struct Start<M: Housed> {
    pub(crate) common: Arc<Common>,
    pub(crate) machines: HashMap<M::Key, Slot<M>>,
    /// How many orders wait in the shard's mailbox.
    pub(crate) waiting: Arc<AtomicUsize>,
    /// How long a machine rests before it is put away.
    pub(crate) rest_ms: u64,
    /// How many machines may linger.
    pub(crate) lingering_max: usize,
    pub(crate) seed: u64,
}

/// The machines of a shard, and what it needs to feed them.
pub struct State<M: Housed> {
    common: Arc<Common>,
    machines: HashMap<M::Key, Slot<M>>,
    /// Sessions that wait for a machine that is put away.
    beside: HashMap<M::Key, Vec<Asker>>,
    /// One entry for every machine that waits for a time, awake or not; none for those that are done.
    timers: BTreeSet<(Moment, M::Key)>,
    /// The machines that linger, awake or not, by when they no longer do.
    lingering: BTreeSet<(Moment, M::Key)>,
    lingering_max: usize,
    /// The tick that is ordered, and what it is ordered for.
    tick: Option<(Moment, JoinHandle<()>)>,
    /// Until the store's machines were all resumed: those that are counted as open, or are known not to be.
    counted: Option<HashSet<M::Key>>,
    rest_ms: u64,
    dice: Dice,
    waiting: Arc<AtomicUsize>,
    buffer: Vec<u8>,
}

impl<M: Housed> Actor for Shard<M> {
    type Msg = Order<M>;
    type State = State<M>;
    type Arguments = Start<M>;

    async fn pre_start(&self, myself: ActorRef<Order<M>>, start: Start<M>) -> Result<State<M>, ActorProcessingErr> {
        let Start { common, machines, waiting, rest_ms, lingering_max, seed } = start;
        if M::PUT_AWAY {
            let pause_ms = (rest_ms / 2).max(SWEEP_MS_MIN);
            myself.send_interval(Duration::from_millis(pause_ms), || Order::Sweep);
        }
        // No timers yet: a machine's time may have come while the process was not there, and what it then looks at is
        // drawn only by the time when it is resumed.
        Ok(State {
            common,
            counted: M::PUT_AWAY.then(|| machines.keys().cloned().collect()),
            machines,
            beside: HashMap::new(),
            timers: BTreeSet::new(),
            lingering: BTreeSet::new(),
            lingering_max,
            tick: None,
            rest_ms,
            dice: Dice::new(seed),
            waiting,
            buffer: Vec::new(),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Order<M>>,
        order: Order<M>,
        state: &mut State<M>,
    ) -> Result<(), ActorProcessingErr> {
        match order {
            Order::Input(key, input) => {
                state.waiting.fetch_sub(1, Ordering::Relaxed);
                state.input(key, input)?;
            }
            Order::Resume(keys) => {
                for key in keys {
                    state.input(key, M::resumed())?;
                }
            }
            Order::AllResumed => state.counted = None,
            Order::Tick(at) => state.tick(at)?,
            Order::Sweep => state.sweep(),
            Order::Checkpoint(done) => {
                state.checkpoint();
                let _ = done.send(());
            }
            Order::Forget(keys, done) => {
                let _ = done.send(keys.iter().map(|key| state.forget(key)).collect());
            }
            Order::Look(look) => look(&Sight(state)),
        }
        state.bound_lingering()?;
        state.order_tick(&myself);
        Ok(())
    }
}

impl<M: Housed> State<M> {
    /// The law: decide, absorb, append, release.
    ///
    /// # Errors
    /// The machine cannot be read from the store. The shard must not go on as if there were no such machine.
    fn input(&mut self, key: M::Key, input: M::Input) -> Result<(), Fault> {
        let asker = M::asker(&input);
        let mut slot = match self.machines.remove(&key) {
            Some(slot) => slot,
            None => self.woken(&key)?,
        };
        let before = Before {
            is_at_work: is_at_work(&slot.machine),
            lingers_until: slot.machine.lingers_until(),
            kept_bytes: slot.machine.kept_bytes(),
        };
        let (mut records, mut outward, mut inward, mut redrawn) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let surroundings = self.common.surroundings();
        let now = clock::now();
        let each = |happened: Vec<M::Record>, effects: Vec<M::Effect>| {
            records.extend(happened.into_iter().filter(M::is_journaled));
            for effect in effects {
                match M::dispatch(&key, effect) {
                    Delivery::Inward(input) => inward.push(input),
                    Delivery::Outward(effect) => outward.push(effect),
                    Delivery::Redraw(change) => redrawn.push(change),
                }
            }
        };
        let (around, dice) = (M::around(&surroundings), &mut self.dice);
        let fed = stage::sampled(Stage::Decide, || machine::feed(&mut slot.machine, around, now, dice, input, each));
        if let Err(fault) = fed {
            self.common.refused(now, &(M::KIND, &key), &fault);
            outward
                .extend(asker.map(|asker| {
                    Outward::Session(asker.session, ToSession::Refused { message: asker.message, fault })
                }));
        }
        if !records.is_empty() {
            for record in &records {
                if let Some(tally) = M::tally(record) {
                    self.common.count(tally, M::times(record));
                }
            }
            let buffer = &mut self.buffer;
            slot.note(stage::sampled(Stage::Journal, || {
                buffer.clear();
                ciborium::into_writer(&records, &mut *buffer).expect("encoding into memory cannot fail");
                self.common.append::<M>(&key, buffer, now, outward)
            }));
        } else if !outward.is_empty() {
            self.common.release_later(now, outward);
        }
        // After the append, so that no other machine's record rests on one that comes later in the journal.
        for change in redrawn {
            self.common.redraw(change);
        }
        for input in inward {
            self.common.switchboard.deliver(input);
        }
        slot.used = now;
        self.common.kept::<M>(before.kept_bytes, slot.machine.kept_bytes());
        self.settle(key, slot, &before);
        Ok(())
    }

    /// Keep the machine awake, put it away, or forget it.
    fn settle(&mut self, key: M::Key, mut slot: Slot<M>, before: &Before) {
        let is_open = slot.machine.is_open();
        let is_at_work = is_at_work(&slot.machine);
        if before.is_at_work != is_at_work {
            self.common.opened::<M>(is_at_work);
            if let Some(counted) = &mut self.counted {
                counted.insert(key.clone());
            }
        }
        let lingers_until = slot.machine.lingers_until();
        if let Some(until) = before.lingers_until.filter(|_| before.lingers_until != lingers_until) {
            self.lingering.remove(&(until, key.clone()));
        }
        // Also where nothing changed: it may be the first time that this process sees it.
        self.lingering.extend(lingers_until.map(|until| (until, key.clone())));
        // A time that has come and is still waited for could not be used: that is no reason to tell it without end.
        let overdue_until = slot.used.plus_ms(DUE_RETRY_MS);
        let timer = slot.machine.wakes_at().filter(|_| is_open);
        let timer = timer.map(|at| if at <= slot.used { overdue_until } else { at });
        if timer != slot.timer
            && let Some(before) = std::mem::replace(&mut slot.timer, timer)
        {
            self.timers.remove(&(before, key.clone()));
        }
        self.timers.extend(timer.map(|at| (at, key.clone())));
        if is_open && lingers_until.is_none() {
            self.machines.insert(key, slot);
        } else if slot.applied > 0 {
            self.put_away(&key, &mut slot);
        }
    }

    /// A machine that is not in memory: from the store, or new.
    fn woken(&mut self, key: &M::Key) -> Result<Slot<M>, Fault> {
        let Some(mut slot) = self.common.stored::<M>(&key.to_bytes())? else {
            return Ok(Slot::stored(M::new(key), 0, Trail::default()));
        };
        if is_at_work(&slot.machine) && self.counted.as_mut().is_some_and(|counted| counted.insert(key.clone())) {
            self.common.opened::<M>(true);
        }
        slot.timer = slot.machine.wakes_at();
        for asker in self.beside.remove(key).into_iter().flatten() {
            if let Some(record) = M::waits(asker) {
                slot.machine.absorb(&record);
            }
        }
        Ok(slot)
    }

    /// For a look only: what cannot be read is not there.
    fn stored(&self, key: &M::Key) -> Option<Slot<M>> {
        self.common.stored::<M>(&key.to_bytes()).unwrap_or_else(|fault| {
            tracing::error!(%fault, "a machine cannot be read from the store");
            None
        })
    }

    fn put_away(&mut self, key: &M::Key, slot: &mut Slot<M>) {
        if std::mem::take(&mut slot.changed) {
            stage::sampled(Stage::Store, || self.common.keep(key, slot));
        }
    }

    /// Where too many linger, those that would be done first are done now.
    fn bound_lingering(&mut self) -> Result<(), Fault> {
        while self.lingering.len() > self.lingering_max {
            let Some((_, key)) = self.lingering.pop_first() else { break };
            if let Some(input) = M::forget() {
                self.input(key, input)?;
            }
        }
        Ok(())
    }

    fn tick(&mut self, ordered_for: Moment) -> Result<(), Fault> {
        if self.tick.as_ref().is_some_and(|(at, _)| *at == ordered_for) {
            self.tick = None;
        }
        let now = clock::now();
        while let Some((at, _)) = self.timers.first()
            && *at <= now
        {
            let Some((_, key)) = self.timers.pop_first() else { break };
            if let Some(slot) = self.machines.get_mut(&key) {
                slot.timer = None;
            }
            self.input(key, M::due())?;
        }
        Ok(())
    }

    /// See to it that one tick, and no other, is on its way for the next timer.
    fn order_tick(&mut self, myself: &ActorRef<Order<M>>) {
        let Some((at, _)) = self.timers.first() else { return };
        let at = *at;
        if let Some((ordered_for, tick)) = &self.tick {
            if *ordered_for <= at {
                return;
            }
            tick.abort();
        }
        let pause = Duration::from_millis(at.since_ms(clock::now()).min(TICK_MS_MAX));
        let myself = myself.clone();
        let tick = tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            // A shard that is gone needs no tick.
            let _ = myself.send_message(Order::Tick(at));
        });
        self.tick = Some((at, tick));
    }

    fn sweep(&mut self) {
        let now = clock::now();
        let resting: Vec<_> = self
            .machines
            .iter()
            .filter(|(_, slot)| now.since_ms(slot.used) >= self.rest_ms && slot.applied > 0)
            .map(|(key, _)| key.clone())
            .collect();
        for key in resting {
            let Some(mut slot) = self.machines.remove(&key) else { continue };
            self.put_away(&key, &mut slot);
            if !slot.machine.waiting().is_empty() {
                self.beside.insert(key, slot.machine.waiting().to_vec());
            }
        }
    }

    fn forget(&mut self, key: &M::Key) -> Result<Forgotten, Fault> {
        let state = |machine: &M| (is_at_work(machine), machine.is_needed(), machine.lingers_until());
        let state = match self.machines.get(key) {
            Some(slot) => Some(state(&slot.machine)),
            None => self.common.stored::<M>(&key.to_bytes())?.map(|slot| state(&slot.machine)),
        };
        let lingers_until = match state {
            None => return Ok(Forgotten::Unknown),
            Some((_, true, _)) => return Ok(Forgotten::Needed),
            Some((true, ..)) => return Ok(Forgotten::Open),
            Some((false, false, lingers_until)) => lingers_until,
        };
        if let Some(until) = lingers_until {
            let entry = (until, key.clone());
            self.lingering.remove(&entry);
            self.timers.remove(&entry);
        }
        self.machines.remove(key);
        self.beside.remove(key);
        // In the log before it is out of the store: the other sub-node, and whoever replays the log, forget it as well.
        if let Some(record) = M::purged() {
            self.buffer.clear();
            ciborium::into_writer(&[record], &mut self.buffer).expect("encoding into memory cannot fail");
            self.common.append::<M>(key, &self.buffer, clock::now(), Vec::new());
        }
        self.common.forget::<M>(key);
        Ok(Forgotten::Done)
    }

    fn checkpoint(&mut self) {
        for (key, slot) in self.machines.iter_mut().filter(|(_, slot)| slot.changed) {
            slot.changed = false;
            stage::sampled(Stage::Store, || self.common.keep(key, slot));
        }
    }
}
