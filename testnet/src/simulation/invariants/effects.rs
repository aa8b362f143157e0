//! Invariant 7: No effect leaves before what it rests on counts; there is one content for each key; a receiver takes it in at most once. With
//! them what a transaction does in the end: everything acknowledged once, and undone in reverse (DESIGN invariants 1 and 4).

use super::{Violation, hold};
use crate::simulation::plan::undoable;
use hansa_core::{
    address::{KeyBytes, Kind},
    dispatch::{Outward, ToPeer},
    ident::{InvocationId, OrganizationId, TransactionId},
    invocation::{Invocation, Outcome},
    link::{self, Body, Numbered, Taken},
    mirror::Entry,
    session::{Ending, ToSession},
    transaction::{self, COMPENSATION, OperationState},
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

macro_rules! says {
    ($holds:expr, $($seen:tt)*) => {
        hold!($holds, "no effect leaves before it counts, and each happens once", $($seen)*)
    };
}

/// What the acknowledged part of one organization's log says.
#[derive(Default)]
pub struct Effects {
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

/// What is seen of all that is under way.
#[derive(Default)]
pub struct Traffic {
    /// Every frame that was under way, by sender, receiver and number.
    sent: BTreeMap<(usize, usize, u64), Body>,
    /// Every invocation as it was first handed to a service.
    performed: BTreeMap<InvocationId, (usize, Invocation)>,
}

impl Traffic {
    /// A number stands for one body, however often and after whatever crash it is sent.
    pub fn sent(&mut self, from: usize, to: usize, frame: &Numbered) -> Result<(), Violation> {
        let before = self.sent.entry((from, to, frame.sequence)).or_insert_with(|| frame.body.clone());
        says!(*before == frame.body, "frame {} from {from} to {to} has changed", frame.sequence);
        Ok(())
    }

    /// Invariant 4: the same invocation is the same act at the same place, however often it is delivered.
    pub fn performed(&mut self, node: usize, invocation: &Invocation) -> Result<(), Violation> {
        let before = self.performed.entry(invocation.id).or_insert_with(|| (node, invocation.clone()));
        says!((before.0, &before.1) == (node, invocation), "an invocation has changed");
        Ok(())
    }
}

impl Effects {
    /// Invariant 1: whatever leaves rests on durable records.
    pub fn released(&self, outward: &Outward) -> Result<(), Violation> {
        let durable = self;
        match outward {
            Outward::Session(_, ToSession::Acknowledged { tracking, .. }) => {
                if let (Some(transaction), Some("submitted" | "repeated")) =
                    (tracking.transaction, tracking.word.as_deref())
                {
                    says!(durable.submitted.contains(&transaction), "acknowledged before it was durable");
                }
                if let Some(invocation) = tracking.invocation {
                    says!(durable.answered.contains(&invocation), "an answer acknowledged before it was durable");
                }
            }
            Outward::Session(_, ToSession::Respond { response, .. }) => {
                says!(durable.ended.contains(&response.transaction), "responded before the end was durable");
            }
            Outward::Session(_, ToSession::Perform { invocation, .. }) => {
                says!(durable.asked.contains(&invocation.id), "performed before it was durable");
            }
            Outward::Peer(peer, ToPeer::Confirm { accepted_through, .. } | ToPeer::Position { accepted_through }) => {
                let accepted = durable.accepted.get(peer).copied().unwrap_or_default();
                says!(*accepted_through <= accepted, "confirmed {accepted_through}, and {accepted} are durable");
            }
            Outward::Peer(peer, ToPeer::Frames(frames)) => {
                let put = durable.put.get(peer).copied().unwrap_or_default();
                says!(frames.iter().all(|frame| frame.sequence <= put), "a frame left before it was durable");
            }
            _ => {}
        }
        Ok(())
    }

    /// Take in what was acknowledged.
    pub fn read(&mut self, Entry { address, record, .. }: &Entry) -> Result<(), Violation> {
        let (kind, key) = address.split_first().expect("an address begins with a kind");
        match Kind::numbered(*kind).expect("a kind") {
            Kind::Transaction => {
                let id = TransactionId::from_bytes(key).expect("a transaction's key");
                self.transaction(id, ciborium::from_reader(&record[..]).expect("a record"))
            }
            Kind::Link => {
                let peer = OrganizationId::from_bytes(key).expect("a link's key");
                self.link(peer, ciborium::from_reader(&record[..]).expect("a record"))
            }
            _ => Ok(()),
        }
    }

    fn transaction(&mut self, id: TransactionId, record: transaction::Record) -> Result<(), Violation> {
        use transaction::Record;
        match record {
            Record::Submitted { definition, .. } => {
                says!(self.submitted.insert(id), "submitted twice");
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
                says!(undoing.left == undoing.done, "undone is what was done, in reverse");
            }
            Record::Finished { ending, .. } => {
                says!(self.ended.insert(id), "ended twice");
                let undoing = self.undoing.entry(id).or_default();
                says!(undoing.left.is_empty(), "ended before all was undone");
                says!(
                    matches!(ending, Ending::Completed(_)) || undoing.done.is_empty(),
                    "ended without undoing what was done"
                );
            }
            Record::Requested { operation, asked, .. } => {
                for asked in asked {
                    self.requested.insert((id, operation, asked.leg), asked.invocation);
                    says!(self.asked.insert(asked.invocation), "asked twice under one id");
                }
            }
            Record::Answered { operation, leg: COMPENSATION, outcome, .. } => {
                self.answered.extend(self.requested.get(&(id, operation, COMPENSATION)));
                says!(matches!(outcome, Outcome::Completed(_)), "everybody can release");
                let undoing = self.undoing.entry(id).or_default();
                says!(undoing.left.pop_front() == Some(operation), "undone in order");
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
        Ok(())
    }

    fn link(&mut self, peer: OrganizationId, record: link::Record) -> Result<(), Violation> {
        let mut puts = 0;
        match record {
            link::Record::Accepted { frame, taken } => {
                let accepted = self.accepted.entry(peer).or_default();
                *accepted += 1;
                says!(frame.sequence == *accepted, "each frame is accepted once and in order");
                match (frame.body, taken) {
                    (Body::Request { invocation, .. }, Taken::By(_)) => {
                        says!(self.asked.insert(invocation.id), "a request was accepted twice");
                    }
                    (Body::Request { .. }, taken) => says!(false, "a request was not taken: {taken:?}"),
                    _ => {}
                }
            }
            link::Record::Asked { .. } | link::Record::Withdrawn { .. } => puts = 1,
            link::Record::Answered { invocation, .. } => {
                puts = 1;
                says!(self.answered.insert(invocation), "a request was answered twice");
            }
            _ => {}
        }
        // A withdrawal of what was answered puts nothing; the bound is good enough for the check.
        *self.put.entry(peer).or_default() += puts;
        Ok(())
    }
}
