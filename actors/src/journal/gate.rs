//! Decides what counts: on its own what is durable; in a pair what is durable and was said to count, by `Journal::commit`. Effects wait
//! here until what they rest on counts, and whoever needs an entry to be durable or to count waits here, too. Effects are let out by the
//! writer, or by whoever says that they count. It must not know who says what counts, and why.

use super::{Journal, Release, Shared, locked};
use crate::clock;
use hansa_core::{
    code::{Code, Fault},
    durability::Durability,
    moment::Moment,
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// What lets effects out.
#[derive(Default)]
pub(super) struct Gate {
    /// Somebody says what counts; durable is not enough.
    told: AtomicBool,
    /// Up to where it was said that entries count.
    through: AtomicU64,
    /// What leaves must wait although it counts.
    held: AtomicBool,
    /// When it must wait if nothing is said meanwhile, in milliseconds of the steady clock; none is zero.
    lease_until: AtomicU64,
}

impl Gate {
    /// Up to where entries count.
    pub fn reached(&self, durable: u64) -> u64 {
        if self.told.load(Ordering::Acquire) { self.through.load(Ordering::Acquire).min(durable) } else { durable }
    }

    /// Whether somebody says what counts.
    pub fn is_told(&self) -> bool {
        self.told.load(Ordering::Acquire)
    }

    /// Up to where what rests on entries may leave.
    pub fn opens_through(&self, durable: u64) -> Option<u64> {
        let is_held = self.held.load(Ordering::Acquire) || self.has_lapsed();
        (!is_held).then(|| self.reached(durable))
    }

    /// From now on only what is said counts.
    pub fn listen(&self) {
        self.told.store(true, Ordering::Release);
    }

    fn has_lapsed(&self) -> bool {
        let lease_until = self.lease_until.load(Ordering::Acquire);
        lease_until != 0 && lease_until <= clock::steady().0
    }

    fn hold(&self, hold: bool) {
        self.held.store(hold, Ordering::Release);
    }

    /// The log was cut behind `after`: what was said of more was of what is gone.
    pub fn cut(&self, after: u64) {
        self.through.fetch_min(after, Ordering::AcqRel);
    }

    /// Nothing waits, so nothing is held.
    pub fn let_go(&self) {
        self.lease_until.store(0, Ordering::Release);
        self.hold(false);
    }

    /// The log is what a snapshot reflects, and all of that counts.
    pub fn restart(&self, at: u64) {
        self.through.store(at, Ordering::Release);
    }
}

/// What waits until it may leave. Whoever has the lock lets out, so that it leaves in order, whoever that is; `queue` may be locked
/// meanwhile, for what leaves may lead to more, and never the other way round.
pub(super) struct Outbox<E> {
    /// None behind the end of the journal.
    release: Option<Box<dyn Release<Effect = E>>>,
    effects: VecDeque<E>,
    /// For each append with effects: the last sequence before them, and how many they are.
    groups: VecDeque<(u64, usize)>,
    /// On how many sites what counts is.
    pub durability: Durability,
}

impl<E: Send + 'static> Outbox<E> {
    pub fn new(release: Box<dyn Release<Effect = E>>) -> Self {
        let (effects, groups) = (VecDeque::new(), VecDeque::new());
        Self { release: Some(release), effects, groups, durability: Durability::OneSite }
    }

    /// More waits, behind everything else.
    pub fn push(&mut self, effects: Vec<E>, mut groups: VecDeque<(u64, usize)>) {
        if self.groups.is_empty() {
            (self.effects, self.groups) = (effects.into(), groups);
        } else {
            self.groups.append(&mut groups);
            self.effects.extend(effects);
        }
    }

    /// Let go of everything, whatever it waits for.
    pub fn clear(&mut self) {
        self.groups.clear();
        self.effects.clear();
    }

    /// Nothing leaves any more.
    pub fn end(&mut self) -> Option<Box<dyn Release<Effect = E>>> {
        self.clear();
        self.release.take()
    }

    /// Takes what waits for nothing behind this entry.
    fn take_through(&mut self, through: u64) -> Vec<E> {
        let mut count = 0;
        while let Some((_, effects)) = self.groups.pop_front_if(|(sequence, _)| *sequence <= through) {
            count += effects;
        }
        if self.groups.is_empty() {
            std::mem::take(&mut self.effects).into()
        } else {
            self.effects.drain(..count).collect()
        }
    }
}

impl<E: Send + 'static> Shared<E> {
    /// Lets out the effects before which everything counts.
    pub(super) fn release_counting(&self) {
        let mut outbox = locked(&self.outbox);
        if let Some(through) = self.gate.opens_through(self.durable.load(Ordering::Acquire)) {
            let (effects, durability) = (outbox.take_through(through), outbox.durability);
            if let Some(release) = outbox.release.as_mut().filter(|_| !effects.is_empty()) {
                release.release(effects, durability);
            }
        }
        self.kept_effects.store(outbox.effects.len(), Ordering::Relaxed);
    }
}

/// Whoever waits for an entry to be durable or to count.
#[derive(Default)]
pub(super) struct Waiters {
    next: u64,
    waiters: BTreeMap<u64, Waiter>,
}

struct Waiter {
    sequence: u64,
    /// The entry was cut off, or will never be written.
    gone: bool,
}

impl Waiters {
    pub fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// Nothing behind `after` will come as it was.
    pub fn cut(&mut self, after: u64) {
        for waiter in self.waiters.values_mut() {
            waiter.gone |= waiter.sequence > after;
        }
    }

    fn begin(&mut self, sequence: u64) -> u64 {
        self.next += 1;
        self.waiters.insert(self.next, Waiter { sequence, gone: false });
        self.next
    }
}

impl<E: Send + 'static> Journal<E> {
    /// Entries up to here count: lets out what waits for them, as soon as they are durable, too.
    pub fn commit(&self, through: u64) {
        {
            // Under the lock, so that whoever is about to wait does not miss it.
            let progress = locked(&self.shared.progress);
            self.shared.gate.through.fetch_max(through, Ordering::AcqRel);
            if !progress.waiters.is_empty() {
                self.shared.progressed.notify_all();
            }
        }
        self.shared.release_counting();
    }

    /// Whether what leaves must wait although it counts.
    pub fn hold(&self, hold: bool) {
        self.shared.gate.hold(hold);
        if !hold {
            self.look_at_gate();
        }
    }

    /// Until when what counts may leave, if nothing else is said before; none: as long as it is not held. The writer looks itself, so
    /// a process that stood still lets nothing out when it goes on.
    pub fn lease(&self, until: Option<Moment>) {
        let gate = &self.shared.gate;
        let had_lapsed = gate.has_lapsed();
        gate.lease_until.store(until.map_or(0, |until| until.0.max(1)), Ordering::Release);
        if had_lapsed {
            self.look_at_gate();
        }
    }

    /// The writer, which may sleep, looks what may leave now.
    fn look_at_gate(&self) {
        let mut queue = locked(&self.shared.queue);
        queue.gate_changed = true;
        self.shared.wake_writer(queue);
    }

    /// The last sequence that counts: what is durable, until the journal was first told to lead or to follow; since then what is
    /// durable and was committed.
    #[must_use]
    pub fn committed(&self) -> u64 {
        self.shared.gate.reached(self.durable())
    }

    /// Blocks until `sequence` is durable; an error says that it never will be.
    pub fn wait_durable(&self, sequence: u64) -> Result<(), Fault> {
        self.wait(sequence, &|| self.durable(), &|| true)
    }

    /// Blocks until `sequence` counts; an error says that it never will: the journal ended, or what was waited for was cut off.
    pub fn wait_committed(&self, sequence: u64) -> Result<(), Fault> {
        self.wait(sequence, &|| self.committed(), &|| true)
    }

    /// Blocks until everything counts that was appended in this [`Self::reign`]; an error says that it never will: another sub-node
    /// writes the log, and what counts may be its own in the place of that.
    pub fn wait_committed_in(&self, reign: u64) -> Result<(), Fault> {
        self.wait(self.tail(), &|| self.committed(), &|| self.shared.reigns(reign))
    }

    fn wait(&self, sequence: u64, reached: &dyn Fn() -> u64, reigns: &dyn Fn() -> bool) -> Result<(), Fault> {
        let mut progress = locked(&self.shared.progress);
        if reached() >= sequence && reigns() {
            return Ok(());
        }
        let waiter = progress.waiters.begin(sequence);
        // Somebody may have put off waking the writer.
        self.shared.queued.notify_all();
        let outcome = loop {
            if !reigns() || progress.waiters.waiters.get(&waiter).is_none_or(|waiter| waiter.gone) {
                let message = format!("entry {sequence} of the journal did not count, and was dropped");
                break Err(Fault::new(Code::PairNotReady, message).help(
                    "The other sub-node of the pair serves now; what was not acknowledged has to be sent to it again.",
                ));
            }
            if reached() >= sequence {
                break Ok(());
            }
            if let Some(ended) = &progress.ended {
                let closed = || format!("the journal was closed before entry {sequence} counted");
                break Err(ended.clone().err().unwrap_or_else(|| Fault::new(Code::JournalFailed, closed())));
            }
            progress = self.shared.progressed.wait(progress).unwrap_or_else(PoisonError::into_inner);
        };
        progress.waiters.waiters.remove(&waiter);
        outcome
    }
}
