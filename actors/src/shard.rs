//! One actor that houses many machines of a kind, and the law that it keeps: decide, absorb, append, release.
//!
//! A shard gives an input to its machine, appends the records of everything that followed to the journal together with
//! what leaves the node, and passes on what is for other machines of the node. It decides nothing itself. A machine that is
//! idle is put away into the store and costs no memory but its timer; its next input wakes it.

use crate::{clock, house::Common};
use hansa_core::{
    address::KeyBytes,
    dice::Dice,
    dispatch::{Delivery, Housed, Outward},
    machine::{self, Machine},
    moment::Moment,
    session::{Asker, ToSession},
};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::oneshot;

/// A machine rests this long before it is put away.
const REST_MS: u64 = 2_000;
/// How often resting machines are looked for.
const SWEEP_MS: u64 = 1_000;

/// What a shard is told.
pub enum Order<M: Housed> {
    /// An input for one of its machines.
    Input(M::Key, M::Input),
    /// These machines are told that the process has started again.
    Resume(Vec<M::Key>),
    /// A timer may have come.
    Tick,
    /// Put away what rests.
    Sweep,
    /// Give everything that changed to the store, and say so.
    Checkpoint(oneshot::Sender<()>),
    /// Look at machines, and change nothing.
    Look(Glance<M>),
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

    /// The machines that are awake.
    pub fn awake(&self) -> impl Iterator<Item = (&M::Key, &M)> {
        self.0.machines.iter().map(|(key, slot)| (key, &slot.machine))
    }
}

/// A machine in memory.
#[derive(Clone)]
pub struct Slot<M> {
    pub(crate) machine: M,
    /// The sequence of the last record of its own that it has absorbed.
    pub(crate) applied: u64,
    /// Whether the store has an older state of it, or none.
    pub(crate) changed: bool,
    /// Whether the store has any state of it.
    pub(crate) stored: bool,
    used: Moment,
    timer: Option<Moment>,
}

impl<M: Machine> Slot<M> {
    /// A machine as the store has it; with nothing applied, a new one.
    pub(crate) fn stored(machine: M, applied: u64) -> Self {
        Self { machine, applied, changed: false, stored: applied > 0, used: Moment(0), timer: None }
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
    pub(crate) seed: u64,
}

/// The machines of a shard, and what it needs to feed them.
pub struct State<M: Housed> {
    common: Arc<Common>,
    machines: HashMap<M::Key, Slot<M>>,
    /// Sessions that wait for a machine that is put away.
    beside: HashMap<M::Key, Vec<Asker>>,
    timers: BinaryHeap<Reverse<(Moment, M::Key)>>,
    /// When the next tick is ordered for.
    tick_at: Option<Moment>,
    dice: Dice,
    waiting: Arc<AtomicUsize>,
    buffer: Vec<u8>,
}

impl<M: Housed> Actor for Shard<M> {
    type Msg = Order<M>;
    type State = State<M>;
    type Arguments = Start<M>;

    async fn pre_start(&self, myself: ActorRef<Order<M>>, start: Start<M>) -> Result<State<M>, ActorProcessingErr> {
        let Start { common, machines, waiting, seed } = start;
        let mut state = State {
            common,
            machines,
            beside: HashMap::new(),
            timers: BinaryHeap::new(),
            tick_at: None,
            dice: Dice::new(seed),
            waiting,
            buffer: Vec::new(),
        };
        let wakes: Vec<_> = state
            .machines
            .iter_mut()
            .filter_map(|(key, slot)| {
                slot.timer = slot.machine.wakes_at();
                Some((slot.timer?, key.clone()))
            })
            .collect();
        state.timers.extend(wakes.into_iter().map(Reverse));
        state.order_tick(&myself);
        if M::PUT_AWAY {
            myself.send_interval(Duration::from_millis(SWEEP_MS), || Order::Sweep);
        }
        Ok(state)
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
                state.input(key, input);
            }
            Order::Resume(keys) => keys.into_iter().for_each(|key| state.input(key, M::resumed())),
            Order::Tick => state.tick(),
            Order::Sweep => state.sweep(),
            Order::Checkpoint(done) => {
                state.checkpoint();
                let _ = done.send(());
            }
            Order::Look(look) => look(&Sight(state)),
        }
        state.order_tick(&myself);
        Ok(())
    }
}

impl<M: Housed> State<M> {
    /// The law: decide, absorb, append, release.
    fn input(&mut self, key: M::Key, input: M::Input) {
        let asker = M::asker(&input);
        let mut slot = self.machines.remove(&key).unwrap_or_else(|| self.woken(&key));
        let was_open = slot.machine.is_open();
        let (mut records, mut outward, mut inward) = (Vec::new(), Vec::new(), Vec::new());
        let surroundings = self.common.surroundings();
        let now = clock::now();
        let fed = machine::feed(
            &mut slot.machine,
            M::around(&surroundings),
            now,
            &mut self.dice,
            input,
            |happened, effects| {
                records.extend(happened.into_iter().filter(M::is_journaled));
                for effect in effects {
                    match M::dispatch(&key, effect) {
                        Delivery::Inward(input) => inward.push(input),
                        Delivery::Outward(effect) => outward.push(effect),
                        Delivery::Redraw(change) => self.common.redraw(change),
                    }
                }
            },
        );
        if let Err(fault) = fed {
            tracing::debug!(kind = ?M::KIND, ?key, %fault, "refused");
            self.common.refused();
            outward
                .extend(asker.map(|asker| {
                    Outward::Session(asker.session, ToSession::Refused { message: asker.message, fault })
                }));
        }
        if !records.is_empty() {
            records.iter().filter_map(M::tally).for_each(|tally| self.common.count(tally));
            self.buffer.clear();
            ciborium::into_writer(&records, &mut self.buffer).expect("encoding into memory cannot fail");
            slot.applied = self.common.append::<M>(&key, &self.buffer, now, outward);
            slot.changed = true;
        } else if !outward.is_empty() {
            self.common.release_later(now, outward);
        }
        for input in inward {
            self.common.switchboard.deliver(input);
        }
        slot.used = now;
        self.settle(key, slot, was_open);
    }

    /// Keep the machine awake, put it away, or forget it.
    fn settle(&mut self, key: M::Key, mut slot: Slot<M>, was_open: bool) {
        let is_open = slot.machine.is_open();
        if was_open != is_open {
            self.common.opened::<M>(is_open);
        }
        if !is_open {
            if slot.applied > 0 {
                self.put_away(&key, &mut slot);
            }
            return;
        }
        let wakes_at = slot.machine.wakes_at();
        if let Some(wakes_at) = wakes_at
            && slot.timer.is_none_or(|timer| timer > wakes_at)
        {
            slot.timer = Some(wakes_at);
            self.timers.push(Reverse((wakes_at, key.clone())));
        }
        self.machines.insert(key, slot);
    }

    /// A machine that is not in memory: from the store, or new.
    fn woken(&mut self, key: &M::Key) -> Slot<M> {
        let Some(mut slot) = self.stored(key) else { return Slot::stored(M::new(key), 0) };
        for asker in self.beside.remove(key).into_iter().flatten() {
            if let Some(record) = M::waits(asker) {
                slot.machine.absorb(&record);
            }
        }
        slot
    }

    fn stored(&self, key: &M::Key) -> Option<Slot<M>> {
        self.common.stored::<M>(&key.to_bytes())
    }

    fn put_away(&mut self, key: &M::Key, slot: &mut Slot<M>) {
        if std::mem::take(&mut slot.changed) {
            self.common.keep(key, slot);
        }
    }

    fn tick(&mut self) {
        let now = clock::now();
        self.tick_at = None;
        while let Some(Reverse((at, _))) = self.timers.peek()
            && *at <= now
        {
            let Some(Reverse((_, key))) = self.timers.pop() else { return };
            let is_waited_for = match self.machines.get_mut(&key) {
                Some(slot) => {
                    slot.timer = None;
                    true
                }
                // A machine that is put away is woken only if it still waits for a time.
                None => self.stored(&key).is_some_and(|slot| slot.machine.wakes_at().is_some()),
            };
            if is_waited_for {
                self.input(key, M::due());
            }
        }
    }

    /// See to it that a tick comes when the next timer is due.
    fn order_tick(&mut self, myself: &ActorRef<Order<M>>) {
        let Some(Reverse((at, _))) = self.timers.peek() else { return };
        if self.tick_at.is_none_or(|tick_at| *at < tick_at) {
            self.tick_at = Some(*at);
            myself.send_after(Duration::from_millis(at.since_ms(clock::now())), || Order::Tick);
        }
    }

    fn sweep(&mut self) {
        let now = clock::now();
        let resting: Vec<_> = self
            .machines
            .iter()
            .filter(|(_, slot)| now.since_ms(slot.used) >= REST_MS && slot.applied > 0)
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

    fn checkpoint(&mut self) {
        for (key, slot) in self.machines.iter_mut().filter(|(_, slot)| slot.changed) {
            slot.changed = false;
            self.common.keep(key, slot);
        }
    }
}
