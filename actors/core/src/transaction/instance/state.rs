//! What a transaction instance remembers, and how records change it. Called by the machine alone.

use super::{Effect, Record};
use crate::{
    code::Fault,
    document::Text,
    ident::{DefinitionHash, DefinitionName, InvocationId, OrganizationId, SignalName, TransactionId},
    invocation::{Outcome, Performer},
    moment::Moment,
    session::{Asker, Ending},
    transaction::Definition,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One transaction (T4): the machine and its state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    pub(super) id: TransactionId,
    /// Nothing before the submission.
    pub(super) begun: Option<Box<Begun>>,
    /// Sessions that wait for the response; of this process's life only.
    #[serde(skip)]
    pub(super) requesters: Vec<Asker>,
}

/// A transaction that was submitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Begun {
    pub(super) organization: OrganizationId,
    pub(super) definition: DefinitionName,
    pub(super) hash: DefinitionHash,
    pub(super) save: bool,
    pub(super) input: Text,
    pub(super) submitted: Moment,
    pub(super) deadline: Option<Moment>,
    pub(super) ended: Option<(Moment, Ending)>,
    /// Operations that were considered, by index. Those that are not here still wait for a predecessor.
    pub(super) operations: BTreeMap<u32, Operation>,
    /// How many predecessors of an operation have ended, and whether one of them leads to it.
    pub(super) reached: BTreeMap<u32, Reached>,
    /// Operations to be performed next, and operations to be eliminated next.
    pub(super) ready: BTreeSet<u32>,
    pub(super) dead: BTreeSet<u32>,
    /// Which leg every invocation belongs to, also those that nobody waits for any more.
    pub(super) invocations: BTreeMap<InvocationId, (u32, u32)>,
    /// When which operation wants to be looked at.
    pub(super) timers: BTreeSet<(Moment, u32)>,
    /// The signals that came.
    pub(super) signals: BTreeMap<SignalName, Text>,
    /// The first thing that went wrong: why the transaction fails, should it fail.
    pub(super) cause: Option<Fault>,
}

/// How far the predecessors of an operation are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reached {
    pub(super) ended: u32,
    pub(super) followed: bool,
}

/// With which document an operation was asked for: the same as another one, if it is, so that no document is kept twice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// The transaction's input.
    Input,
    /// The output of the operation with this index.
    Output(u32),
    /// A document that was made for it.
    Made(Text),
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Operation {
    pub(super) state: OperationState,
    pub(super) attempt: u32,
    pub(super) started: Moment,
    pub(super) ended: Option<Moment>,
    pub(super) deadline: Option<Moment>,
    pub(super) timer: Option<Moment>,
    pub(super) request: Option<Request>,
    pub(super) legs: Vec<Leg>,
    /// How many legs answered, and how many of their answers count (T8).
    pub(super) answered: u32,
    pub(super) counted: u32,
    /// The output where it is not the answer of the only leg.
    pub(super) made: Option<Text>,
    pub(super) fault: Option<Fault>,
    /// Peers that were asked in vain.
    pub(super) excluded: Vec<OrganizationId>,
    /// How often nobody was found who performs it.
    pub(super) looks: u32,
}

/// The state of an operation (T5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperationState {
    /// Nobody is known yet who performs it.
    Seeking,
    /// Asked, not answered.
    Running,
    /// Answered.
    Completed,
    /// It could not be asked for, or was not performed.
    Failed,
    /// No answer came in time.
    TimedOut,
    /// The transaction ended before it.
    Cancelled,
    /// No link led to it.
    Eliminated,
}

/// One recipient of an operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Leg {
    pub(super) performer: Performer,
    pub(super) invocation: InvocationId,
    pub(super) asked: Moment,
    pub(super) answered: Option<Moment>,
    pub(super) counted: bool,
    pub(super) outcome: Option<Outcome>,
    pub(super) late: u32,
}

impl OperationState {
    /// Whether it will not change any more.
    #[must_use]
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Seeking | Self::Running)
    }
}

impl Operation {
    /// Its output document, if it has one.
    pub(super) fn output(&self) -> Option<&Text> {
        let answer = match self.legs.as_slice() {
            [Leg { outcome: Some(Outcome::Completed(output)), .. }] => Some(output),
            _ => None,
        };
        self.made.as_ref().or(answer)
    }

    /// The effects that tell everybody who was asked and has not answered that nobody waits any more.
    pub(super) fn withdrawals(&self) -> impl Iterator<Item = Effect> {
        self.legs
            .iter()
            .filter(|leg| leg.answered.is_none())
            .map(|leg| Effect::Withdraw { performer: leg.performer.clone(), invocation: leg.invocation })
    }
}

impl Begun {
    /// The document with which an operation was asked for.
    pub(super) fn request<'a>(&'a self, operation: &'a Operation) -> Option<&'a Text> {
        match operation.request.as_ref()? {
            Request::Input => Some(&self.input),
            Request::Output(source) => self.operations.get(source)?.output(),
            Request::Made(text) => Some(text),
        }
    }

    /// The operation and the leg that an invocation was made for, and whether its answer is still waited for.
    pub(super) fn leg_of(&self, invocation: InvocationId) -> Option<(u32, u32, bool)> {
        let (index, number) = *self.invocations.get(&invocation)?;
        let operation = self.operations.get(&index)?;
        let waiting = operation.state == OperationState::Running
            && operation
                .legs
                .get(number as usize)
                .is_some_and(|leg| leg.invocation == invocation && leg.answered.is_none());
        Some((index, number, waiting))
    }

    /// Whether the answer to an invocation is still waited for.
    pub(super) fn waits_for(&self, invocation: InvocationId) -> bool {
        self.leg_of(invocation).is_some_and(|(.., waiting)| waiting)
    }

    /// Where a request document is the transaction's input or a predecessor's output: that.
    pub(super) fn same_as(&self, definition: &Definition, operation: u32, document: &Text) -> Option<Request> {
        let same = |other: &Text| std::ptr::eq(other.as_str(), document.as_str());
        if same(&self.input) {
            return Some(Request::Input);
        }
        let predecessors = definition.operations.get(operation as usize)?.predecessors.iter();
        predecessors.map(|index| *index as u32).find_map(|index| {
            let output = self.operations.get(&index)?.output()?;
            same(output).then_some(Request::Output(index))
        })
    }

    fn at_work(&mut self, operation: u32, now: Moment) -> &mut Operation {
        self.ready.remove(&operation);
        self.operations.entry(operation).or_insert_with(|| Operation {
            state: OperationState::Seeking,
            attempt: 1,
            started: now,
            ended: None,
            deadline: None,
            timer: None,
            request: None,
            legs: Vec::new(),
            answered: 0,
            counted: 0,
            made: None,
            fault: None,
            excluded: Vec::new(),
            looks: 0,
        })
    }

    fn set_timer(&mut self, operation: u32, timer: Option<Moment>) {
        let Some(state) = self.operations.get_mut(&operation) else { return };
        if let Some(before) = std::mem::replace(&mut state.timer, timer) {
            self.timers.remove(&(before, operation));
        }
        self.timers.extend(timer.map(|timer| (timer, operation)));
    }
}

impl Instance {
    /// Take a record in; the only way in which a transaction changes.
    pub(super) fn take(&mut self, record: &Record) {
        match record {
            Record::Awaited { asker } => {
                self.requesters.push(*asker);
                return;
            }
            Record::Submitted { organization, definition, hash, save, input, at, deadline } => {
                self.begun = Some(Box::new(Begun {
                    organization: *organization,
                    definition: definition.clone(),
                    hash: *hash,
                    save: *save,
                    input: input.clone(),
                    submitted: *at,
                    deadline: *deadline,
                    ended: None,
                    operations: BTreeMap::new(),
                    reached: BTreeMap::new(),
                    ready: BTreeSet::from([0]),
                    dead: BTreeSet::new(),
                    invocations: BTreeMap::new(),
                    timers: BTreeSet::new(),
                    signals: BTreeMap::new(),
                    cause: None,
                }));
                return;
            }
            Record::Responded => {
                self.requesters.clear();
                return;
            }
            _ => {}
        }
        let Some(begun) = self.begun.as_deref_mut() else { return };
        match record {
            Record::Sought { operation, at, again_at } => {
                let state = begun.at_work(*operation, *at);
                state.looks += 1;
                // By the next look a peer that had too much to do may have time again.
                state.excluded.clear();
                begun.set_timer(*operation, Some(*again_at));
            }
            Record::Requested { operation, legs, request, at, deadline } => {
                let state = begun.at_work(*operation, *at);
                state.state = OperationState::Running;
                state.deadline = *deadline;
                state.request = Some(request.clone());
                state.legs = legs
                    .iter()
                    .map(|(performer, invocation)| Leg {
                        performer: performer.clone(),
                        invocation: *invocation,
                        asked: *at,
                        answered: None,
                        counted: false,
                        outcome: None,
                        late: 0,
                    })
                    .collect();
                let legs = (0..).zip(legs).map(|(leg, (_, invocation))| (*invocation, (*operation, leg)));
                begun.invocations.extend(legs);
                begun.set_timer(*operation, *deadline);
            }
            Record::Answered { operation, leg, outcome, counted, at } => {
                let Some(state) = begun.operations.get_mut(operation) else { return };
                if let Some(leg) = state.legs.get_mut(*leg as usize) {
                    leg.answered = Some(*at);
                    leg.counted = *counted;
                    leg.outcome = Some(outcome.clone());
                    state.answered += 1;
                    state.counted += u32::from(*counted);
                }
            }
            Record::Signalled { signal, document, .. } => {
                begun.signals.insert(signal.clone(), document.clone());
            }
            Record::AnsweredLate { operation, leg } => {
                let leg = begun.operations.get_mut(operation).and_then(|state| state.legs.get_mut(*leg as usize));
                if let Some(leg) = leg {
                    leg.late += 1;
                }
            }
            Record::Retried { operation, excluded } => {
                let Some(state) = begun.operations.get_mut(operation) else { return };
                state.attempt += 1;
                state.excluded.extend(*excluded);
                state.state = OperationState::Seeking;
                state.legs.clear();
                (state.answered, state.counted) = (0, 0);
                begun.set_timer(*operation, None);
                begun.ready.insert(*operation);
            }
            Record::Ended { operation, state, output, fault, followed, passed, at } => {
                begun.dead.remove(operation);
                let ended = begun.at_work(*operation, *at);
                ended.state = *state;
                ended.ended = Some(*at);
                ended.made.clone_from(output);
                ended.fault.clone_from(fault);
                begun.set_timer(*operation, None);
                if begun.cause.is_none() {
                    begun.cause.clone_from(fault);
                }
                for (target, is_followed) in
                    followed.iter().map(|link| (link, true)).chain(passed.iter().map(|link| (link, false)))
                {
                    let reached = begun.reached.entry(target.operation).or_default();
                    reached.ended += 1;
                    reached.followed |= is_followed;
                    if reached.ended == target.predecessors {
                        let next = if reached.followed { &mut begun.ready } else { &mut begun.dead };
                        next.insert(target.operation);
                    }
                }
            }
            Record::Finished { ending, at } => {
                begun.ended = Some((*at, ending.clone()));
                begun.ready.clear();
                begun.dead.clear();
                begun.timers.clear();
                for state in begun.operations.values_mut().filter(|state| !state.state.is_final()) {
                    state.state = OperationState::Cancelled;
                    state.ended = Some(*at);
                    state.timer = None;
                }
            }
            Record::Awaited { .. } | Record::Submitted { .. } | Record::Responded => {}
        }
    }
}
