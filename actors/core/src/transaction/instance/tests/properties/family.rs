//! A transaction and those that run in it, as one node has them: one journal for all, messages from one to the other that
//! a crash loses, and one clock. The properties say what happens to them; this decides nothing about transactions.

use super::*;
use crate::dispatch::{self, Delivery, Housed};
use std::collections::BTreeMap;

pub(super) struct Family {
    members: BTreeMap<TransactionId, Fed<Instance>>,
    around: Around,
    now: Moment,
    /// Messages that have not come, with sender and receiver. Those between the same two come in their order.
    underway: Vec<(TransactionId, TransactionId, Input)>,
    /// Whose each record is.
    journal: Vec<TransactionId>,
    /// How much of the journal no crash takes back.
    synced: usize,
    /// What the transaction asks for under which invocation: operation, leg, attempt.
    errands: BTreeMap<InvocationId, (u32, u32, u32)>,
}

impl Family {
    pub(super) fn new(around: Around) -> Self {
        let mut family = Self {
            members: BTreeMap::new(),
            now: Fed::<Instance>::new(ID, around.clone()).now,
            around,
            underway: Vec::new(),
            journal: Vec::new(),
            synced: 0,
            errands: BTreeMap::new(),
        };
        family.member(ID);
        family
    }

    /// The transaction itself.
    pub(super) fn head(&self) -> &Fed<Instance> {
        &self.members[&ID]
    }

    /// All of them that have begun.
    pub(super) fn members(&self) -> impl Iterator<Item = (TransactionId, &Fed<Instance>)> {
        self.members.iter().filter(|(_, member)| member.machine.begun.is_some()).map(|(id, member)| (*id, member))
    }

    pub(super) fn get(&self, id: TransactionId) -> Option<&Fed<Instance>> {
        self.members.get(&id)
    }

    /// What an operation of the transaction asked of a transaction in it, or of one in that.
    pub(super) fn errand(&self, id: TransactionId) -> (u32, u32, u32) {
        let parent = self.members[&id].machine.parent().expect("it is in another");
        if parent.transaction == ID { self.errands[&parent.invocation] } else { self.errand(parent.transaction) }
    }

    /// Whether nothing happens any more.
    pub(super) fn is_done(&self) -> bool {
        self.underway.is_empty()
            && self.head().machine.is_ended()
            && self.members().all(|(_, it)| !it.machine.is_open())
    }

    fn member(&mut self, id: TransactionId) -> &mut Fed<Instance> {
        let (around, now) = (&self.around, self.now);
        self.members.entry(id).or_insert_with(|| {
            let mut member = Fed::new(id, around.clone());
            member.now = now;
            member
        })
    }

    pub(super) fn give(&mut self, id: TransactionId, input: Input) -> Result<(), Fault> {
        let came = self.member(id).try_give(input)?;
        self.follow(id, came);
        Ok(())
    }

    fn follow(&mut self, id: TransactionId, came: Came<Instance>) {
        let journaled = came.records.iter().filter(|record| Instance::is_journaled(record));
        self.journal.extend(journaled.map(|_| id));
        for record in &came.records {
            if let Record::Requested { operation, asked, .. } = record
                && id == ID
            {
                self.errands.extend(asked.iter().map(|it| (it.invocation, (*operation, it.leg, it.attempt))));
            }
        }
        for effect in came.effects {
            if let Delivery::Inward(dispatch::Input::Transaction(to, input)) = Instance::dispatch(&id, effect) {
                self.underway.push((id, to, input));
            }
        }
    }

    /// The messages that can come next.
    pub(super) fn arrivals(&self) -> Vec<usize> {
        let ways: Vec<_> = self.underway.iter().map(|(from, to, _)| (from, to)).collect();
        (0..ways.len()).filter(|place| !ways[..*place].contains(&ways[*place])).collect()
    }

    /// Let one of them come.
    pub(super) fn arrive(&mut self, place: usize) {
        let (_, to, input) = self.underway.remove(place);
        self.give(to, input).expect("one transaction does not refuse another");
    }

    /// Let time go on to the next moment that somebody waits for. All that happened before has become durable by then.
    pub(super) fn pass(&mut self) {
        let wake = self.members.values().filter_map(|member| member.machine.wakes_at()).min();
        let wake = wake.expect("nothing can happen, and it waits for no time either");
        self.synced = self.journal.len();
        let milliseconds = wake.since_ms(self.now);
        self.now = wake.max(self.now);
        for id in self.members.keys().copied().collect::<Vec<_>>() {
            let came = self.member(id).pass(milliseconds);
            self.follow(id, came);
        }
    }

    /// The process ends, as much of the last `lost` records as is not durable is gone, and it starts again.
    pub(super) fn crash(&mut self, lost: usize) {
        self.journal.truncate(self.journal.len().saturating_sub(lost).max(self.synced));
        let kept = self.journal.clone();
        self.underway.clear();
        for id in self.members.keys().copied().collect::<Vec<_>>() {
            let durable = kept.iter().filter(|it| **it == id).count();
            let came = self.member(id).restart_with(durable);
            self.follow(id, came);
        }
    }

    /// The process ends with everything in its store, and starts again.
    pub(super) fn restart(&mut self) {
        self.underway.clear();
        for id in self.members.keys().copied().collect::<Vec<_>>() {
            let came = self.member(id).restart();
            self.follow(id, came);
        }
    }
}
