//! A transaction as people look at it: for the command line, the console and the protocol. Decides nothing.

use super::{
    Instance, OperationState, Parent, Refused,
    state::{Begun, COMPENSATION, Leg, Operation, Part},
};
use crate::{
    code::Fault,
    document::Text,
    ident::{DefinitionHash, DefinitionName, InvocationId, OperationName, OrganizationId, SignalName, TransactionId},
    invocation::{Outcome, Performer},
    moment::Moment,
    session::{Ending, Status},
    transaction::{Definition, Operation as Defined, Work},
};
use serde::Serialize;
use std::collections::BTreeMap;

/// A whole transaction.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Picture {
    /// Its id.
    pub id: TransactionId,
    /// Its definition.
    pub definition: DefinitionName,
    /// The version of the definition.
    pub hash: DefinitionHash,
    /// The organization whose transaction it is.
    pub organization: OrganizationId,
    /// `running`, `compensating`, or the word of its ending.
    pub state: String,
    /// While it is compensating: the word of the ending that it will have.
    pub ending: Option<String>,
    /// The transaction that it is an operation of.
    pub parent: Option<TransactionId>,
    /// When it was submitted.
    pub submitted: Moment,
    /// When it ended.
    pub ended: Option<Moment>,
    /// When it times out.
    pub deadline: Option<Moment>,
    /// The input document.
    pub input: Text,
    /// The output document.
    pub output: Option<Text>,
    /// Why it failed, or while it is compensating, fails.
    pub fault: Option<Fault>,
    /// Its operations, in the order of the definition.
    pub operations: Vec<OperationPicture>,
    /// The signals that came.
    pub signals: Vec<SignalPicture>,
    /// The answers that were refused.
    pub refused: Vec<Refused>,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OperationPicture {
    /// Its OPID.
    pub id: u32,
    /// Its name.
    pub name: OperationName,
    /// What services sign up for.
    pub performs: OperationName,
    /// The definition of the transaction that runs in its place.
    pub subtransaction: Option<DefinitionName>,
    /// The signal that it waits for.
    pub signal: Option<SignalName>,
    /// `waiting`, or the word of its state.
    pub state: String,
    /// Which attempt it is at; of several legs, the most.
    pub attempt: u32,
    /// How many attempts it may have.
    pub attempts_max: u32,
    /// How urgent it is.
    pub priority: u8,
    /// When it was begun.
    pub started: Option<Moment>,
    /// When it ended.
    pub ended: Option<Moment>,
    /// When it times out.
    pub deadline: Option<Moment>,
    /// The OPIDs of the operations that it links to.
    pub links: Vec<u32>,
    /// Whether it is a broadcast.
    pub broadcast: bool,
    /// Whether it is performed for each line of a document.
    pub iteration: bool,
    /// Who was asked.
    pub legs: Vec<LegPicture>,
    /// The document that it was asked with.
    pub input: Option<Text>,
    /// The document that came of it.
    pub output: Option<Text>,
    /// What went wrong.
    pub fault: Option<Fault>,
    /// What undoes it.
    pub compensation: Option<CompensationPicture>,
}

/// One leg of an operation: a recipient, a line, or the only one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LegPicture {
    /// Who was asked last, if anybody was.
    pub performer: Option<Performer>,
    /// Under which id.
    pub invocation: Option<InvocationId>,
    /// Of an iteration: the number of the line, from one.
    pub line: Option<u32>,
    /// Which attempt it is at, from one; zero before the first.
    pub attempt: u32,
    /// When it was asked.
    pub asked: Option<Moment>,
    /// When the answer was recorded.
    pub answered: Option<Moment>,
    /// When it is asked again, or given up.
    pub timer: Option<Moment>,
    /// Whether the answer counts.
    pub counted: bool,
    /// `waiting`, `asked`, `completed`, `failed`, `expired` or `cancelled`; `withdrawn` if nobody waits for it any more.
    pub state: String,
    /// What went wrong there, or in the last attempt.
    pub fault: Option<Fault>,
    /// The document of its own that it was asked with.
    pub input: Option<Text>,
    /// What it answered, where the operation's output is another document.
    pub output: Option<Text>,
    /// How many answers came that were refused.
    pub late: u32,
}

/// What undoes an operation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CompensationPicture {
    /// What services sign up for.
    pub performs: OperationName,
    /// `not-needed` unless it is or was to be performed; else `waiting`, or the word of its leg.
    pub state: String,
    /// When it was begun.
    pub started: Option<Moment>,
    /// While it is under way: when it is given up, so that the transaction can end.
    pub deadline: Option<Moment>,
    /// How it went, once it has begun.
    pub leg: Option<LegPicture>,
}

/// A signal that came.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SignalPicture {
    /// Its name.
    pub name: SignalName,
    /// When it came.
    pub at: Moment,
    /// What it says.
    pub document: Text,
}

impl Instance {
    /// Whether there is a transaction at all, and when it was submitted.
    #[must_use]
    pub fn submitted(&self) -> Option<Moment> {
        self.begun.as_ref().map(|begun| begun.submitted)
    }

    /// The name of the definition that it runs.
    #[must_use]
    pub fn definition_name(&self) -> Option<&DefinitionName> {
        self.begun.as_ref().map(|begun| &begun.definition)
    }

    /// The version of the definition that it runs.
    #[must_use]
    pub fn definition_hash(&self) -> Option<DefinitionHash> {
        self.begun.as_ref().map(|begun| begun.hash)
    }

    /// What it is an operation of.
    #[must_use]
    pub fn parent(&self) -> Option<&Parent> {
        self.begun.as_ref()?.parent.as_ref()
    }

    /// Whether its parent has not recorded its outcome yet, so that it is needed, however old it is.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        self.begun.as_ref().is_some_and(|begun| begun.waits_to_be_settled())
    }

    /// The whole transaction as people look at it; nothing before it was submitted.
    #[must_use]
    pub fn picture(&self, definition: &Definition) -> Option<Picture> {
        let begun = self.begun.as_deref()?;
        let (ended, ending) = match (&begun.ended, &begun.compensating) {
            (Some((at, ending)), _) => (Some(*at), Some(ending)),
            (None, Some(compensating)) => (None, Some(&compensating.ending)),
            (None, None) => (None, None),
        };
        let (output, fault) = match ending {
            Some(Ending::Completed(output)) => (Some(output.clone()), None),
            Some(Ending::Failed(fault)) => (None, Some(fault.clone())),
            _ => (None, None),
        };
        let mut refused: BTreeMap<u32, BTreeMap<u32, u32>> = BTreeMap::new();
        for (operation, leg) in begun.refused.iter().filter_map(|refused| refused.leg) {
            *refused.entry(operation).or_default().entry(leg).or_default() += 1;
        }
        Some(Picture {
            id: self.id,
            definition: begun.definition.clone(),
            hash: begun.hash,
            organization: begun.organization,
            state: self.word().to_owned(),
            ending: ending.filter(|_| ended.is_none()).map(|ending| ending.word().to_owned()),
            parent: begun.parent.as_ref().map(|parent| parent.transaction),
            submitted: begun.submitted,
            ended,
            deadline: begun.deadline,
            input: begun.input.clone(),
            output,
            fault,
            operations: (0u32..)
                .zip(&definition.operations)
                .map(|(index, defined)| {
                    let late = refused.remove(&index).unwrap_or_default();
                    operation(definition, begun, index, defined, &late)
                })
                .collect(),
            signals: begun
                .signals
                .iter()
                .map(|(name, (at, document))| SignalPicture { name: name.clone(), at: *at, document: document.clone() })
                .collect(),
            refused: begun.refused.clone(),
        })
    }

    pub(super) fn status(&self, begun: &Begun, definition: &Definition) -> Status {
        Status {
            transaction: self.id,
            definition: begun.definition.clone(),
            state: self.word().to_owned(),
            operations_ended: begun.operations.values().filter(|operation| operation.state.is_final()).count() as u32,
            operations: definition.operations.len() as u32,
        }
    }

    fn word(&self) -> &'static str {
        let compensating = self.begun.as_ref().is_some_and(|begun| begun.compensating.is_some());
        self.ending().map_or(if compensating { "compensating" } else { "running" }, Ending::word)
    }
}

/// `late` is how many answers of each leg were refused.
fn operation(
    definition: &Definition,
    begun: &Begun,
    index: u32,
    defined: &Defined,
    late: &BTreeMap<u32, u32>,
) -> OperationPicture {
    let state = begun.operations.get(&index);
    let legs = state.map(|state| legs(begun, index, state, defined, late)).unwrap_or_default();
    OperationPicture {
        id: defined.id,
        name: defined.name.clone(),
        performs: defined.performs.clone(),
        subtransaction: match &defined.work {
            Work::Transaction(name) => Some(name.clone()),
            _ => None,
        },
        signal: match &defined.work {
            Work::Signal(name) => Some(name.clone()),
            _ => None,
        },
        state: operation_word(begun, index, state).to_owned(),
        attempt: legs.iter().map(|leg| leg.attempt).max().unwrap_or_default(),
        attempts_max: defined.retry.as_ref().map_or(1, |retry| retry.attempts_max),
        priority: defined.priority,
        started: state.map(|state| state.started),
        ended: state.and_then(|state| state.ended),
        deadline: state.and_then(|state| state.deadline),
        links: defined.links.iter().map(|link| definition.operations[*link].id).collect(),
        broadcast: defined.broadcast.is_some(),
        iteration: defined.iteration.is_some(),
        input: state.and_then(|state| begun.request(state)).cloned(),
        output: state.and_then(|state| begun.output(state)).cloned(),
        fault: state.and_then(|state| state.fault.clone()),
        compensation: compensation(begun, index, defined),
        legs,
    }
}

fn operation_word(begun: &Begun, index: u32, state: Option<&Operation>) -> &'static str {
    let is_over = begun.ended.is_some() || begun.compensating.is_some();
    match state.map(|state| state.state) {
        None if is_over && index != 0 => "not-reached",
        None => "waiting",
        Some(OperationState::Seeking) => "seeking",
        Some(OperationState::Running) => "running",
        Some(OperationState::Completed) => "completed",
        Some(OperationState::Failed) => "failed",
        Some(OperationState::TimedOut) => "timed-out",
        Some(OperationState::Cancelled) => "cancelled",
        Some(OperationState::Eliminated) => "eliminated",
    }
}

fn legs(
    begun: &Begun,
    index: u32,
    operation: &Operation,
    defined: &Defined,
    late: &BTreeMap<u32, u32>,
) -> Vec<LegPicture> {
    let is_one = operation.legs.len() == 1 && operation.made.is_none();
    let legs = (1..).zip(&operation.legs);
    legs.map(|(line, leg)| LegPicture {
        line: defined.iteration.as_ref().map(|_| line),
        late: late.get(&(line - 1)).copied().unwrap_or_default(),
        output: if is_one { None } else { completed(leg) },
        ..self::leg(begun, Part::new(index, line - 1), leg, operation.state.is_final())
    })
    .collect()
}

fn completed(leg: &Leg) -> Option<Text> {
    match &leg.outcome {
        Some(Outcome::Completed(output)) => Some(output.clone()),
        _ => None,
    }
}

fn leg(begun: &Begun, part: Part, leg: &Leg, is_over: bool) -> LegPicture {
    LegPicture {
        performer: match (&leg.performer, &leg.service) {
            (Some(Performer::Peer { organization, service: None }), Some(service)) => {
                Some(Performer::Peer { organization: *organization, service: Some(service.clone()) })
            }
            (performer, _) => performer.clone(),
        },
        invocation: leg.invocation,
        line: None,
        attempt: leg.attempt,
        asked: leg.asked,
        answered: leg.answered,
        timer: leg.timer,
        counted: leg.counted,
        state: match &leg.outcome {
            None if is_over && leg.asked.is_some() => "withdrawn",
            None if leg.is_open => "asked",
            None => "waiting",
            Some(Outcome::Completed(_)) => "completed",
            Some(Outcome::Failed(_)) => "failed",
            Some(Outcome::Expired) => "expired",
            Some(Outcome::Cancelled) => "cancelled",
        }
        .to_owned(),
        fault: match &leg.outcome {
            Some(outcome) => outcome.fault(),
            None => leg.failed.as_ref().map(|(_, fault)| fault.clone()),
        },
        input: leg.request.as_ref().and_then(|_| begun.request_of(part)).cloned(),
        output: None,
        late: 0,
    }
}

fn compensation(begun: &Begun, index: u32, defined: &Defined) -> Option<CompensationPicture> {
    let compensation = defined.compensation.as_ref()?;
    let operation = begun.operations.get(&index);
    let undoing = operation.and_then(|operation| operation.compensation.as_deref());
    let part = Part::new(index, COMPENSATION);
    let leg = undoing.map(|undoing| LegPicture {
        output: completed(&undoing.leg),
        ..self::leg(begun, part, &undoing.leg, begun.ended.is_some())
    });
    // Everything that completed is undone, so whether this still waits for it need not be looked for among the others.
    let is_completed = operation.is_some_and(|operation| operation.state == OperationState::Completed);
    let is_left = is_completed && begun.compensating.is_some() && begun.ended.is_none();
    Some(CompensationPicture {
        performs: compensation.performs.clone(),
        state: match &leg {
            Some(leg) => leg.state.clone(),
            None if is_left => "waiting".to_owned(),
            None => "not-needed".to_owned(),
        },
        started: undoing.map(|undoing| undoing.started),
        deadline: undoing.filter(|undoing| undoing.leg.outcome.is_none()).and_then(|undoing| undoing.deadline),
        leg,
    })
}
