//! A transaction as people look at it: for the command line, the console and the protocol. Decides nothing.

use super::{
    Instance, OperationState,
    state::{Begun, Operation},
};
use crate::{
    code::Fault,
    document::Text,
    ident::{DefinitionHash, DefinitionName, InvocationId, OperationName, TransactionId},
    invocation::{Outcome, Performer},
    moment::Moment,
    session::{Ending, Status},
    transaction::Definition,
};
use serde::Serialize;

/// A whole transaction.
#[derive(Clone, Debug, Serialize)]
pub struct Picture {
    /// Its id.
    pub id: TransactionId,
    /// Its definition.
    pub definition: DefinitionName,
    /// The version of the definition.
    pub hash: DefinitionHash,
    /// `running`, or the word of its ending.
    pub state: String,
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
    /// Why it failed.
    pub fault: Option<Fault>,
    /// Its operations, in the order of the definition.
    pub operations: Vec<OperationPicture>,
}

/// One operation.
#[derive(Clone, Debug, Serialize)]
pub struct OperationPicture {
    /// Its OPID.
    pub id: u32,
    /// Its name.
    pub name: OperationName,
    /// `waiting`, or the word of its state.
    pub state: String,
    /// Which attempt it is at.
    pub attempt: u32,
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
    /// Who was asked.
    pub legs: Vec<LegPicture>,
    /// The document that it was asked with.
    pub input: Option<Text>,
    /// The document that came of it.
    pub output: Option<Text>,
    /// What went wrong.
    pub fault: Option<Fault>,
}

/// One recipient of an operation.
#[derive(Clone, Debug, Serialize)]
pub struct LegPicture {
    /// Who.
    pub performer: Performer,
    /// Under which id.
    pub invocation: InvocationId,
    /// When.
    pub asked: Moment,
    /// When the answer was recorded.
    pub answered: Option<Moment>,
    /// Whether the answer counts.
    pub counted: bool,
    /// `asked`, `completed`, `failed`, `expired` or `cancelled`.
    pub state: String,
    /// What went wrong there.
    pub fault: Option<Fault>,
    /// How many answers came when nobody waited any more.
    pub late: u32,
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

    /// The whole transaction as people look at it; nothing before it was submitted.
    #[must_use]
    pub fn picture(&self, definition: &Definition) -> Option<Picture> {
        let begun = self.begun.as_deref()?;
        let (ended, ending) = match &begun.ended {
            Some((at, ending)) => (Some(*at), Some(ending)),
            None => (None, None),
        };
        let (output, fault) = match ending {
            Some(Ending::Completed(output)) => (Some(output.clone()), None),
            Some(Ending::Failed(fault)) => (None, Some(fault.clone())),
            _ => (None, None),
        };
        Some(Picture {
            id: self.id,
            definition: begun.definition.clone(),
            hash: begun.hash,
            state: self.word().to_owned(),
            submitted: begun.submitted,
            ended,
            deadline: begun.deadline,
            input: begun.input.clone(),
            output,
            fault,
            operations: (0u32..)
                .zip(&definition.operations)
                .map(|(index, defined)| {
                    let state = begun.operations.get(&index);
                    OperationPicture {
                        id: defined.id,
                        name: defined.name.clone(),
                        state: operation_word(begun, index, state).to_owned(),
                        attempt: state.map_or(0, |state| state.attempt),
                        started: state.map(|state| state.started),
                        ended: state.and_then(|state| state.ended),
                        deadline: state.and_then(|state| state.deadline),
                        links: defined.links.iter().map(|link| definition.operations[*link].id).collect(),
                        broadcast: defined.broadcast.is_some(),
                        legs: state.map(legs).unwrap_or_default(),
                        input: state.and_then(|state| begun.request(state)).cloned(),
                        output: state.and_then(Operation::output).cloned(),
                        fault: state.and_then(|state| state.fault.clone()),
                    }
                })
                .collect(),
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
        self.ending().map_or("running", Ending::word)
    }
}

fn operation_word(begun: &Begun, index: u32, state: Option<&Operation>) -> &'static str {
    match state.map(|state| state.state) {
        None if begun.ended.is_some() && index != 0 => "not-reached",
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

fn legs(operation: &Operation) -> Vec<LegPicture> {
    let pictures = operation.legs.iter().map(|leg| LegPicture {
        performer: leg.performer.clone(),
        invocation: leg.invocation,
        asked: leg.asked,
        answered: leg.answered,
        counted: leg.counted,
        state: match &leg.outcome {
            None => "asked",
            Some(Outcome::Completed(_)) => "completed",
            Some(Outcome::Failed(_)) => "failed",
            Some(Outcome::Expired) => "expired",
            Some(Outcome::Cancelled) => "cancelled",
        }
        .to_owned(),
        fault: leg.outcome.as_ref().and_then(Outcome::fault),
        late: leg.late,
    });
    pictures.collect()
}
