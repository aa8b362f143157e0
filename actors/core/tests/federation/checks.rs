//! What must hold after every event, whatever goes wrong (DESIGN invariants 1 and 4): nothing leaves before what it rests on is
//! durable, frames are accepted once and in order, an invocation is always the same, and what is durable stays.

use crate::{
    node::{Entry, Journal},
    plan::undoable,
};
use hansa_core::{
    address::{KeyBytes, Kind},
    dispatch::{Outward, ToPeer},
    ident::{InvocationId, OrganizationId, TransactionId},
    invocation::{Invocation, Outcome},
    link::{self, Body, Numbered, Taken},
    session::{Ending, ToSession},
    transaction::{self, COMPENSATION, OperationState},
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What the durable part of one journal says.
#[derive(Default)]
struct Durable {
    entries: usize,
    submitted: BTreeSet<TransactionId>,
    ended: BTreeSet<TransactionId>,
    /// Invocations that are asked of somebody here, and those whose outcome is recorded.
    asked: BTreeSet<InvocationId>,
    answered: BTreeSet<InvocationId>,
    /// The invocation of the last attempt at each leg.
    requested: BTreeMap<(TransactionId, u32, u32), InvocationId>,
    undoing: BTreeMap<TransactionId, Undoing>,
    accepted: BTreeMap<OrganizationId, u64>,
    put: BTreeMap<OrganizationId, u64>,
}

/// What one transaction did and can undo, the last first, and what of it is to be undone.
#[derive(Default)]
struct Undoing {
    undoable: &'static [u32],
    done: VecDeque<u32>,
    left: VecDeque<u32>,
}

pub struct Checks {
    durable: Vec<Durable>,
    /// Every frame that was under way, by sender, receiver and number.
    sent: BTreeMap<(usize, usize, u64), Body>,
    /// Every invocation as it was first handed to a service.
    performed: BTreeMap<InvocationId, (usize, Invocation)>,
}

impl Checks {
    pub fn new(nodes: usize) -> Self {
        Self {
            durable: (0..nodes).map(|_| Durable::default()).collect(),
            sent: BTreeMap::new(),
            performed: BTreeMap::new(),
        }
    }

    /// More of a journal has become durable; what was durable before must still be there.
    pub fn durable(&mut self, node: usize, journal: &Journal) {
        let durable = &mut self.durable[node];
        assert!(durable.entries <= journal.durable, "node {node} lost what was durable");
        for entry in &journal.entries[durable.entries..journal.durable] {
            durable.read(entry);
        }
        durable.entries = journal.durable;
    }

    /// Invariant 1: whatever leaves rests on durable records.
    pub fn released(&self, node: usize, outward: &Outward) {
        let durable = &self.durable[node];
        match outward {
            Outward::Session(_, ToSession::Acknowledged { tracking, .. }) => {
                if let (Some(transaction), Some("submitted" | "repeated")) =
                    (tracking.transaction, tracking.word.as_deref())
                {
                    assert!(durable.submitted.contains(&transaction), "acknowledged before it was durable");
                }
                if let Some(invocation) = tracking.invocation {
                    assert!(durable.answered.contains(&invocation), "an answer acknowledged before it was durable");
                }
            }
            Outward::Session(_, ToSession::Respond { response, .. }) => {
                assert!(durable.ended.contains(&response.transaction), "responded before the end was durable");
            }
            Outward::Session(_, ToSession::Perform { invocation, .. }) => {
                assert!(durable.asked.contains(&invocation.id), "performed before it was durable");
            }
            Outward::Peer(peer, ToPeer::Confirm { accepted_through } | ToPeer::Position { accepted_through }) => {
                let accepted = durable.accepted.get(peer).copied().unwrap_or_default();
                assert!(*accepted_through <= accepted, "confirmed {accepted_through}, and {accepted} are durable");
            }
            Outward::Peer(peer, ToPeer::Frames(frames)) => {
                let put = durable.put.get(peer).copied().unwrap_or_default();
                assert!(frames.iter().all(|frame| frame.sequence <= put), "a frame left before it was durable");
            }
            _ => {}
        }
    }

    /// A number stands for one body, however often and after whatever crash it is sent.
    pub fn sent(&mut self, from: usize, to: usize, frame: &Numbered) {
        let before = self.sent.entry((from, to, frame.sequence)).or_insert_with(|| frame.body.clone());
        assert_eq!(before, &frame.body, "frame {} from {from} to {to} has changed", frame.sequence);
    }

    /// Invariant 4: the same invocation is the same act at the same place, however often it is delivered.
    pub fn performed(&mut self, node: usize, invocation: &Invocation) {
        let before = self.performed.entry(invocation.id).or_insert_with(|| (node, invocation.clone()));
        assert_eq!((before.0, &before.1), (node, invocation), "an invocation has changed");
    }
}

impl Durable {
    fn read(&mut self, Entry { kind, key, record }: &Entry) {
        match kind {
            Kind::Transaction => {
                let id = TransactionId::from_bytes(key).expect("a transaction's key");
                self.transaction(id, ciborium::from_reader(&record[..]).expect("a record"));
            }
            Kind::Link => {
                let peer = OrganizationId::from_bytes(key).expect("a link's key");
                self.link(peer, ciborium::from_reader(&record[..]).expect("a record"));
            }
            _ => {}
        }
    }

    fn transaction(&mut self, id: TransactionId, record: transaction::Record) {
        use transaction::Record;
        match record {
            Record::Submitted { definition, .. } => {
                assert!(self.submitted.insert(id), "submitted twice");
                self.undoing.entry(id).or_default().undoable = undoable(definition.as_str());
            }
            Record::Ended { operation, state: OperationState::Completed, .. } => {
                let undoing = self.undoing.entry(id).or_default();
                if undoing.undoable.contains(&operation) {
                    undoing.done.push_front(operation);
                }
            }
            Record::CompensationBegan { operations, .. } => {
                let undoing = self.undoing.entry(id).or_default();
                undoing.left = operations.into();
                assert_eq!(undoing.left, undoing.done, "undone is what was done, in reverse");
            }
            Record::Finished { ending, .. } => {
                assert!(self.ended.insert(id), "ended twice");
                let undoing = self.undoing.entry(id).or_default();
                assert!(undoing.left.is_empty(), "ended before all was undone");
                assert!(
                    matches!(ending, Ending::Completed(_)) || undoing.done.is_empty(),
                    "ended without undoing what was done"
                );
            }
            Record::Requested { operation, asked, .. } => {
                for asked in asked {
                    self.requested.insert((id, operation, asked.leg), asked.invocation);
                    assert!(self.asked.insert(asked.invocation), "asked twice under one id");
                }
            }
            Record::Answered { operation, leg: COMPENSATION, outcome, .. } => {
                self.answered.extend(self.requested.get(&(id, operation, COMPENSATION)));
                assert!(matches!(outcome, Outcome::Completed(_)), "everybody can release");
                let undoing = self.undoing.entry(id).or_default();
                assert_eq!(undoing.left.pop_front(), Some(operation), "undone in order");
                undoing.done.pop_front();
            }
            Record::Answered { operation, leg, .. } => {
                self.answered.extend(self.requested.get(&(id, operation, leg)));
            }
            Record::AnswerRefused(refused) => {
                self.answered.insert(refused.invocation);
            }
            _ => {}
        }
    }

    fn link(&mut self, peer: OrganizationId, record: link::Record) {
        let mut puts = 0;
        match record {
            link::Record::Accepted { frame, taken } => {
                let accepted = self.accepted.entry(peer).or_default();
                *accepted += 1;
                assert_eq!(frame.sequence, *accepted, "each frame is accepted once and in order");
                match (frame.body, taken) {
                    (Body::Request { invocation, .. }, Taken::By(_)) => {
                        assert!(self.asked.insert(invocation.id), "a request was accepted twice");
                    }
                    (Body::Request { .. }, taken) => panic!("a request was not taken: {taken:?}"),
                    _ => {}
                }
            }
            link::Record::Asked { .. } | link::Record::Withdrawn { .. } => puts = 1,
            link::Record::Answered { invocation, .. } => {
                puts = 1;
                assert!(self.answered.insert(invocation), "a request was answered twice");
            }
            _ => {}
        }
        // A withdrawal of what was answered puts nothing; the bound is good enough for the check.
        *self.put.entry(peer).or_default() += puts;
    }
}
