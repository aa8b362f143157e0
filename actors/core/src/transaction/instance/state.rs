//! What a transaction instance remembers. Called by the machine alone; `absorb` changes it.
//!
//! An operation consists of *legs*: one for a plain operation, one for each recipient of a broadcast, one for each line of
//! an iteration; what undoes an operation is one leg more, [`COMPENSATION`]. Each leg has attempts of its own, each under
//! an invocation id of its own.

use super::{Around, Effect, Parent, Refused};
use crate::{
    code::Fault,
    document::Text,
    ident::{
        DefinitionHash, DefinitionName, InvocationId, OrganizationId, OrganizationName, ServiceName, SignalName,
        TransactionId,
    },
    invocation::{Outcome, Performer},
    moment::Moment,
    session::{Asker, Ending},
    transaction::Definition,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The number of the leg that undoes an operation.
pub const COMPENSATION: u32 = u32::MAX;

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
    /// The transaction that it is an operation of, and whether that has recorded what came of it.
    pub(super) parent: Option<Parent>,
    pub(super) settled: bool,
    pub(super) input: Text,
    pub(super) submitted: Moment,
    pub(super) deadline: Option<Moment>,
    /// While completed operations are undone.
    pub(super) compensating: Option<Compensating>,
    pub(super) ended: Option<(Moment, Ending)>,
    /// Of a transaction that is not kept: whether the time is over in which its response may be asked for.
    pub(super) forgotten: bool,
    /// Bytes of the request documents that were made for it and are kept.
    #[serde(default)]
    pub(super) requested_bytes: usize,
    /// Operations that were considered, by index. Those that are not here still wait for a predecessor.
    pub(super) operations: BTreeMap<u32, Operation>,
    /// How many predecessors of an operation have ended, and whether one of them leads to it.
    pub(super) reached: BTreeMap<u32, Reached>,
    /// Operations to be begun next, and operations to be eliminated next.
    pub(super) ready: BTreeSet<u32>,
    pub(super) dead: BTreeSet<u32>,
    /// Legs to be asked for next, and operations whose signal has come.
    pub(super) asking: BTreeSet<Part>,
    pub(super) signalled: BTreeSet<u32>,
    /// Which leg every invocation belongs to, also those that nobody waits for any more.
    pub(super) invocations: BTreeMap<InvocationId, Part>,
    /// When what wants to be looked at.
    pub(super) timers: BTreeSet<(Moment, Timer)>,
    /// The signals that came, and the operations that wait for one.
    pub(super) signals: BTreeMap<SignalName, (Moment, Text)>,
    pub(super) awaited: BTreeMap<SignalName, BTreeSet<u32>>,
    /// The operations that completed, in that order.
    pub(super) completed: Vec<u32>,
    /// Answers that were refused.
    pub(super) refused: Vec<Refused>,
    /// The first thing that went wrong: why the transaction fails, should it fail.
    pub(super) cause: Option<Fault>,
}

/// What a step is decided on.
#[derive(Clone, Copy)]
pub(super) struct Step<'a> {
    pub(super) definition: &'a Definition,
    pub(super) around: &'a Around,
    pub(super) begun: &'a Begun,
    pub(super) now: Moment,
}

/// How a transaction will end once what it did is undone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Compensating {
    pub(super) ending: Ending,
    /// The operations that are still to be undone, in this order.
    pub(super) left: VecDeque<u32>,
    /// Those that could not be.
    pub(super) failed: Vec<u32>,
}

/// How far the predecessors of an operation are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reached {
    pub(super) ended: u32,
    pub(super) followed: bool,
}

/// One leg of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) operation: u32,
    pub(super) leg: u32,
}

impl Part {
    pub(super) fn new(operation: u32, leg: u32) -> Self {
        Self { operation, leg }
    }

    pub(super) fn is_compensation(self) -> bool {
        self.leg == COMPENSATION
    }
}

/// What wants to be looked at. At one moment legs come first, so that why an attempt failed is known before the operation
/// runs out of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Timer {
    Leg(Part),
    Operation(u32),
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
    pub(super) started: Moment,
    pub(super) ended: Option<Moment>,
    pub(super) deadline: Option<Moment>,
    pub(super) request: Option<Request>,
    pub(super) legs: Vec<Leg>,
    /// Of an iteration: how many lines were begun. All legs of other operations are begun at once.
    pub(super) begun: u32,
    /// How many legs have ended, and how many of their answers count (T8).
    pub(super) answered: u32,
    pub(super) counted: u32,
    /// The first leg that failed for good.
    pub(super) failed: Option<u32>,
    /// The signal that it waits for.
    pub(super) signal: Option<SignalName>,
    /// The output where it is not the answer of the only leg.
    pub(super) made: Option<Text>,
    pub(super) fault: Option<Fault>,
    /// What undoes it, once that has begun.
    pub(super) compensation: Option<Box<Undoing>>,
}

/// The undoing of one operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Undoing {
    pub(super) leg: Leg,
    pub(super) started: Moment,
    pub(super) deadline: Option<Moment>,
}

/// The state of an operation (T5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperationState {
    /// Nobody is known yet who performs it, or its next attempt is still to come.
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

/// One leg: whoever it is asked of, attempt after attempt, until there is an outcome.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Leg {
    /// Which attempt it is at, from one; zero before the first.
    pub(super) attempt: u32,
    /// How many attempts count against what its retry policy allows.
    pub(super) failures: u32,
    /// Who was asked last, and under which id.
    pub(super) performer: Option<Performer>,
    /// The name of the performer's organization, where an output document will show it.
    pub(super) organization: Option<OrganizationName>,
    pub(super) invocation: Option<InvocationId>,
    /// When it was asked for last, and whether that attempt is under way.
    pub(super) asked: Option<Moment>,
    pub(super) is_open: bool,
    pub(super) answered: Option<Moment>,
    /// The service that answered, where that was not known before.
    pub(super) service: Option<ServiceName>,
    pub(super) counted: bool,
    /// What came of it in the end.
    pub(super) outcome: Option<Outcome>,
    /// The last attempt that failed, and why.
    pub(super) failed: Option<(InvocationId, Fault)>,
    /// Its own request, where it is not the operation's.
    pub(super) request: Option<Request>,
    /// Peers that were asked in vain.
    pub(super) excluded: Vec<OrganizationId>,
    /// How often nobody was found who performs it, and since when.
    pub(super) looks: u32,
    pub(super) seeking_since: Option<Moment>,
    pub(super) timer: Option<Moment>,
}

impl Request {
    /// Bytes of the document that was made, if one was.
    pub(super) fn made_bytes(&self) -> usize {
        match self {
            Self::Made(document) => document.as_str().len(),
            Self::Input | Self::Output(_) => 0,
        }
    }
}

impl OperationState {
    /// Whether it will not change any more.
    #[must_use]
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Seeking | Self::Running)
    }
}

impl Leg {
    /// Tell whoever was asked and has not answered that nobody waits any more.
    pub(super) fn withdrawal(&self) -> Option<Effect> {
        match (&self.performer, self.invocation) {
            (Some(performer), Some(invocation)) if self.is_open => {
                Some(Effect::Withdraw { performer: performer.clone(), invocation })
            }
            _ => None,
        }
    }
}

impl Operation {
    pub(super) fn new(started: Moment) -> Self {
        Self {
            state: OperationState::Seeking,
            started,
            ended: None,
            deadline: None,
            request: None,
            legs: Vec::new(),
            begun: 0,
            answered: 0,
            counted: 0,
            failed: None,
            signal: None,
            made: None,
            fault: None,
            compensation: None,
        }
    }

    /// The effects that tell everybody who was asked and has not answered that nobody waits any more.
    pub(super) fn withdrawals(&self) -> impl Iterator<Item = Effect> {
        self.legs.iter().filter_map(Leg::withdrawal)
    }
}

impl Begun {
    /// The document with which an operation was asked for.
    pub(super) fn request<'a>(&'a self, operation: &'a Operation) -> Option<&'a Text> {
        self.requested(operation.request.as_ref()?)
    }

    fn requested<'a>(&'a self, request: &'a Request) -> Option<&'a Text> {
        match request {
            Request::Input => Some(&self.input),
            Request::Output(source) => self.output(self.operations.get(source)?),
            Request::Made(text) => Some(text),
        }
    }

    /// The document with which a leg is asked for, once it is made.
    pub(super) fn request_of(&self, part: Part) -> Option<&Text> {
        match &self.leg(part)?.request {
            Some(own) => self.requested(own),
            None if part.is_compensation() => None,
            None => self.request(self.operations.get(&part.operation)?),
        }
    }

    /// An operation's output document, if it has one.
    pub(super) fn output<'a>(&'a self, operation: &'a Operation) -> Option<&'a Text> {
        let answer = match (operation.legs.as_slice(), &operation.signal) {
            ([Leg { outcome: Some(Outcome::Completed(output)), .. }], None) => Some(output),
            (_, Some(signal)) => self.signals.get(signal).map(|(_, document)| document),
            _ => None,
        };
        operation.made.as_ref().or(answer)
    }

    /// One leg.
    pub(super) fn leg(&self, part: Part) -> Option<&Leg> {
        let operation = self.operations.get(&part.operation)?;
        if part.is_compensation() {
            operation.compensation.as_ref().map(|undoing| &undoing.leg)
        } else {
            operation.legs.get(part.leg as usize)
        }
    }

    /// The leg that still waits for the answer to an invocation.
    pub(super) fn waiting_for(&self, invocation: InvocationId) -> Option<Part> {
        let part = *self.invocations.get(&invocation)?;
        let leg = self.leg(part)?;
        let is_open = if part.is_compensation() {
            self.ended.is_none()
        } else {
            self.operations.get(&part.operation)?.state == OperationState::Running
        };
        (is_open && leg.invocation == Some(invocation) && leg.is_open).then_some(part)
    }

    /// The moment after which nobody waits for an attempt at a leg, where `until` is the attempt's own.
    pub(super) fn deadline_of(&self, part: Part, until: Option<Moment>) -> Option<Moment> {
        if part.is_compensation() {
            return until;
        }
        let operation = self.operations.get(&part.operation).and_then(|operation| operation.deadline);
        until.into_iter().chain(operation).chain(self.deadline).min()
    }

    /// Where a request document is the transaction's input or a predecessor's output: that.
    pub(super) fn same_as(&self, definition: &Definition, operation: u32, document: &Text) -> Option<Request> {
        let same = |other: &Text| std::ptr::eq(other.as_str(), document.as_str());
        if same(&self.input) {
            return Some(Request::Input);
        }
        let predecessors = definition.operations.get(operation as usize)?.predecessors.iter();
        predecessors.map(|index| *index as u32).find_map(|index| {
            let output = self.output(self.operations.get(&index)?)?;
            same(output).then_some(Request::Output(index))
        })
    }
}
