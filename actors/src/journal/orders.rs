//! Decides what a journal does for a pair: whether it takes what this sub-node appends or what the other one wrote, at which
//! epoch, and who is told of it. The sub-node's side of the pair calls it; orders are carried out by the writer between two
//! batches, so that each finds everything sealed durable, and nothing comes in between. It must not know why somebody leads.
//!
//! While the disk is full the writer cannot come to an order; it refuses it then ([`Code::DiskFull`]), and whoever gave it may
//! give it again. No order may be given by a [`super::Release`] or a [`Watch`]: the writer may stand still until they return.

use super::{
    Journal, Queue, Shared,
    cutting::Refusal,
    format, locked,
    seat::{Waking, WriterIs},
    writer::{Stop, Writer},
};
use hansa_core::{
    code::{Code, Fault},
    durability::Durability,
    mirror::{Entry, History, Position},
};
use std::{
    sync::{
        Arc, MutexGuard, PoisonError,
        atomic::Ordering,
        mpsc::{SyncSender, sync_channel},
    },
    time::Duration,
};

/// Who is told what the log has. Called by the writer, which stands still until it returns, or by whoever appends while the writer rests;
/// so it must not wait, give no orders, and not close the journal.
pub trait Watch: Send + Sync + 'static {
    /// Entries of this sub-node's own up to here are sealed and on their way to the disk; [`Journal::entries`] has them. `ends`
    /// are the ends of the epochs that go on or begin with them, ascending.
    fn sealed(&self, ends: &[Position]);
    /// Whoever appended sealed what [`Self::sealed`] told of, and the writer rests. It writes when `waking` is dropped, which shall be as
    /// soon as what was sealed is on its way to the other sub-node: waking a thread takes longer than that. Whatever is
    /// appended next wakes it as well, and whoever waits for it.
    fn sealed_ahead(&self, waking: Waking) {
        drop(waking);
    }
    /// The disk has everything up to here.
    fn synced(&self, durable: Position);
}

/// Whose entries the journal takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// This sub-node's own; nobody has said anything else yet.
    Opened,
    /// This sub-node's own, and others say what counts.
    Leading,
    /// The other sub-node's.
    Following,
}

type Reply<T> = SyncSender<Result<T, Fault>>;

/// What the writer is to do between two batches.
pub(super) enum Order {
    Watch { watch: Arc<dyn Watch>, reply: Reply<History> },
    Lead { epoch: u64, durability: Durability, reply: Reply<()> },
    Follow { to: Position, must_reach: bool, reply: Reply<Position> },
    Install { history: History, reply: Reply<()> },
}

impl Order {
    /// Nobody carries it out.
    pub fn refuse(self, fault: &Fault) {
        // Whoever gave it may have stopped waiting.
        let _ = match self {
            Self::Watch { reply, .. } => reply.send(Err(fault.clone())).is_ok(),
            Self::Lead { reply, .. } | Self::Install { reply, .. } => reply.send(Err(fault.clone())).is_ok(),
            Self::Follow { reply, .. } => reply.send(Err(fault.clone())).is_ok(),
        };
    }
}

impl<E: Send + 'static> Journal<E> {
    /// From now on `watch` is told of what the log has; another that watched is not any more. Gives the history, in which
    /// everything is durable; what `watch` is told first goes on right behind it.
    ///
    /// What counts does not change by this: until the journal is first told to lead or to follow it is what is durable.
    pub fn watch(&self, watch: Arc<dyn Watch>) -> Result<History, Fault> {
        self.order(None, |reply| Order::Watch { watch, reply })
    }

    /// Takes what is appended and writes it at this epoch, from the next batch on. From now on only what is committed counts, and
    /// what leaves says that it is on so many sites. So whoever names more than before must know that all that was committed is
    /// there, and whoever names less must say so before they commit what is not.
    ///
    /// # Errors
    /// The log has entries of a later epoch, or the writer has ended.
    pub fn lead(&self, epoch: u64, durability: Durability) -> Result<(), Fault> {
        self.order(None, |reply| Order::Lead { epoch, durability, reply })
    }

    /// Takes what is appended no more, at once; drops what waits, and cuts the log behind `tail` if it is longer. From now on only
    /// what is committed counts. Gives what the disk has then.
    ///
    /// # Errors
    /// The log's entry at `tail` is another ([`Code::JournalBroken`]), or it cannot be cut there, or the writer has ended.
    pub fn follow(&self, tail: Position) -> Result<Position, Fault> {
        self.order(Some(Mode::Following), |reply| Order::Follow { to: tail, must_reach: false, reply })
    }

    /// While this sub-node writes the log, a number that stands for this stretch of time; none while it follows. Machines that took
    /// in the log in one stretch may not go on in another: it may have been cut, and gone on otherwise, in between.
    #[must_use]
    pub fn reign(&self) -> Option<u64> {
        let reign = self.shared.reign.load(Ordering::Acquire);
        reign.is_multiple_of(2).then_some(reign)
    }

    /// The same, but the log must reach up to `after`.
    pub fn cut(&self, after: Position) -> Result<Position, Fault> {
        self.order(Some(Mode::Following), |reply| Order::Follow { to: after, must_reach: true, reply })
    }

    /// Empties the log and goes on behind what a snapshot reflects, all of which counts; it follows from now on. A crash leaves the
    /// old log, perhaps without its last segments, or the new one.
    pub fn install(&self, history: &History) -> Result<(), Fault> {
        let history = history.clone();
        self.order(Some(Mode::Following), |reply| Order::Install { history, reply })
    }

    fn order<T>(&self, mode: Option<Mode>, order: impl FnOnce(Reply<T>) -> Order) -> Result<T, Fault> {
        let ended = || match &locked(&self.shared.progress).ended {
            Some(Err(fault)) => fault.clone(),
            _ => Fault::new(Code::JournalFailed, "the journal is closed"),
        };
        let (reply, done) = sync_channel(1);
        {
            let mut queue = locked(&self.shared.queue);
            if let Some(mode) = mode {
                self.shared.set_mode(&mut queue, mode);
            }
            if queue.closed {
                drop(queue);
                return Err(ended());
            }
            queue.orders.push_back(order(reply));
            queue.writer = WriterIs::AtWork;
        }
        self.shared.queued.notify_all();
        self.shared.spares.look_again();
        done.recv().unwrap_or_else(|_| Err(ended()))
    }

    /// Whether [`Self::write`] would find room now, without waiting for any.
    #[must_use]
    pub fn has_room(&self) -> bool {
        locked(&self.shared.queue).frames.len() < self.shared.options.queue_bytes_max
    }

    /// Queues entries that the other sub-node wrote, after they were held against the chain; none of them, if one does not fit.
    /// They are synced like others. Waits while too much is queued.
    ///
    /// # Errors
    /// They do not continue the log ([`Code::JournalBroken`]), this sub-node leads, the disk is full, or the writer has ended.
    pub fn write(&self, entries: Vec<Entry>) -> Result<(), Fault> {
        let mut queue = self.shared.room()?;
        if queue.closed || queue.closing {
            return Err(Fault::new(Code::JournalFailed, "the journal is closed"));
        }
        let Some(mut last) = queue.last.filter(|_| queue.mode != Mode::Leading) else {
            let message = "entries of the other sub-node came while this one's own may be written";
            return Err(Fault::new(Code::PairNotReady, message));
        };
        let start = queue.frames.len();
        for entry in entries {
            let Entry { position, moment, address, record } = &entry;
            let follows = position.sequence == last.sequence + 1 && position.epoch >= last.epoch.max(1);
            let begin = queue.frames.len();
            format::push_entry(&mut queue.frames, position.sequence, position.epoch, *moment, address, record);
            let header = format::pushed_entry(&queue.frames[begin..]);
            if !follows || format::chain_hash(&last.hash, &header, address, record) != position.hash {
                queue.frames.truncate(start);
                let message = format!(
                    "entry {} of epoch {} came from the other sub-node and does not continue the journal in {}, which ends \
                     with entry {} of epoch {}",
                    position.sequence,
                    position.epoch,
                    self.shared.disk.place(),
                    last.sequence,
                    last.epoch
                );
                return Err(Fault::new(Code::JournalBroken, message));
            }
            format::note_hash(&mut queue.frames, &position.hash);
            last = *position;
        }
        self.shared.set_mode(&mut queue, Mode::Following);
        (queue.last, queue.tail) = (Some(last), last.sequence);
        self.shared.gate.listen();
        self.shared.tail.store(last.sequence, Ordering::Release);
        self.shared.wake_writer(queue);
        Ok(())
    }
}

impl<E> Shared<E> {
    /// Whether this sub-node writes the log in this stretch of time.
    pub(super) fn reigns(&self, reign: u64) -> bool {
        self.reign.load(Ordering::Acquire) == reign
    }

    pub(super) fn set_mode(&self, queue: &mut Queue<E>, mode: Mode) {
        if (queue.mode == Mode::Following) != (mode == Mode::Following) {
            // Under the lock, so that whoever is about to wait does not miss it.
            let _progress = locked(&self.progress);
            self.reign.fetch_add(1, Ordering::AcqRel);
            self.progressed.notify_all();
        }
        queue.mode = mode;
    }

    /// The queue, when there is room in it.
    fn room(&self) -> Result<MutexGuard<'_, Queue<E>>, Fault> {
        loop {
            let mut queue = locked(&self.queue);
            if queue.frames.len() < self.options.queue_bytes_max || queue.closed {
                return Ok(queue);
            }
            queue.room_wanted = true;
            // Somebody may have put off waking it.
            self.queued.notify_all();
            let retry_delay = Duration::from_millis(self.options.full_retry_delay_ms);
            drop(self.room.wait_timeout(queue, retry_delay).unwrap_or_else(PoisonError::into_inner));
            if let Some(fault) = self.obstacle() {
                return Err(fault);
            }
        }
    }

    /// The writer cannot come to what was ordered.
    pub(super) fn refuse_orders(queue: &mut Queue<E>, fault: &Fault) {
        for order in queue.orders.drain(..) {
            order.refuse(fault);
        }
    }
}

impl<E: Send + 'static> Writer<E> {
    pub(super) fn obey(&mut self, order: Order) -> Result<(), Stop> {
        match order {
            Order::Watch { watch, reply } => {
                self.watch = Some(watch);
                answer(&reply, Ok(locked(&self.shared.history).clone()))
            }
            Order::Lead { epoch, durability, reply } => answer(&reply, self.lead(epoch, durability)),
            Order::Follow { to, must_reach, reply } => answer(&reply, self.follow(to, must_reach)),
            Order::Install { history, reply } => answer(&reply, self.install(history)),
        }
    }

    fn lead(&mut self, epoch: u64, durability: Durability) -> Result<(), Refusal> {
        let mut queue = locked(&self.shared.queue);
        let last = queue.last.unwrap_or(self.tail);
        if epoch < last.epoch.max(1) {
            let message = format!(
                "entries cannot be written at epoch {epoch}: entry {} is of epoch {}",
                last.sequence, last.epoch
            );
            return Err(Fault::new(Code::Internal, message).into());
        }
        self.shared.set_mode(&mut queue, Mode::Leading);
        self.epoch = epoch;
        drop(queue);
        locked(&self.shared.outbox).durability = durability;
        self.shared.gate.listen();
        Ok(())
    }

    fn follow(&mut self, to: Position, must_reach: bool) -> Result<Position, Refusal> {
        self.drop_waiting();
        let gate = &self.shared.gate;
        if gate.is_told() && to.sequence < gate.reached(self.durable) {
            let why = format!("entries up to {} count, and it was to be cut there", gate.reached(self.durable));
            return Err(self.elsewhere(to, &why).into());
        }
        if to.sequence < self.tail.sequence {
            self.cut(to)?;
        } else if to.sequence == self.tail.sequence && to != self.tail {
            return Err(self.elsewhere(to, "its last entry is another").into());
        }
        let shared = Arc::clone(&self.shared);
        let end = {
            let mut queue = locked(&shared.queue);
            let end = self.keep_queued(&mut queue, to)?;
            if must_reach && end.sequence < to.sequence {
                return Err(self.elsewhere(to, "it does not reach there").into());
            }
            self.continue_behind(&mut queue, end);
            end
        };
        shared.gate.listen();
        shared.gate.cut(end.sequence);
        shared.gate.let_go();
        locked(&shared.progress).waiters.cut(end.sequence);
        shared.progressed.notify_all();
        Ok(self.tail)
    }

    fn install(&mut self, history: History) -> Result<(), Refusal> {
        self.drop_waiting();
        self.begin_anew(history)?;
        let shared = Arc::clone(&self.shared);
        {
            let mut queue = locked(&shared.queue);
            queue.frames.clear();
            self.continue_behind(&mut queue, self.tail);
        }
        shared.gate.listen();
        shared.gate.restart(self.tail.sequence);
        shared.gate.let_go();
        // What anybody waits for was of the old log.
        locked(&shared.progress).waiters.cut(0);
        shared.progressed.notify_all();
        Ok(())
    }

    /// Let go of effects, whatever they wait for.
    fn drop_waiting(&mut self) {
        let mut queue = locked(&self.shared.queue);
        queue.effects.clear();
        queue.groups.clear();
        drop(queue);
        locked(&self.shared.outbox).clear();
        self.shared.kept_effects.store(0, Ordering::Relaxed);
    }

    /// Keep what the other sub-node wrote up to here, of what is queued; give where that ends.
    fn keep_queued(&self, queue: &mut Queue<E>, to: Position) -> Result<Position, Fault> {
        let (mut end, mut kept) = (self.tail, 0);
        while kept < queue.frames.len() && end.sequence < to.sequence {
            let Some((position, bytes)) = format::pushed_position(&queue.frames[kept..]) else { break };
            (end, kept) = (position, kept + bytes);
        }
        if end.sequence == to.sequence && end != to {
            return Err(self.elsewhere(to, "that entry is another there"));
        }
        queue.frames.truncate(kept);
        Ok(end)
    }

    /// What comes next is the other sub-node's, behind `end`.
    fn continue_behind(&self, queue: &mut Queue<E>, end: Position) {
        self.shared.set_mode(queue, Mode::Following);
        (queue.last, queue.tail) = (Some(end), end.sequence);
        self.shared.tail.store(end.sequence, Ordering::Release);
    }

    /// The log is not what somebody thinks it is.
    pub(super) fn elsewhere(&self, at: Position, why: &str) -> Fault {
        let place = self.shared.disk.place();
        let message =
            format!("the journal in {place} has no entry {} of epoch {} to go on behind: {why}", at.sequence, at.epoch);
        Fault::new(Code::JournalBroken, message)
    }
}

fn answer<T>(reply: &Reply<T>, outcome: Result<T, Refusal>) -> Result<(), Stop> {
    let (outcome, stop) = match outcome {
        Ok(done) => (Ok(done), None),
        Err(Refusal::Fault(fault)) => (Err(fault), None),
        Err(Refusal::Stop(stop)) => (Err(stop.fault().clone()), Some(stop)),
    };
    // Whoever gave the order may have stopped waiting.
    let _ = reply.send(outcome);
    stop.map_or(Ok(()), Err)
}
