//! What happens to a transaction, as the journal keeps it.

use super::state::{OperationState, Request};
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
};
use serde::{Deserialize, Serialize};

/// A link to an operation, as the record of its source's end names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The index of the operation that it leads to.
    pub operation: u32,
    /// How many predecessors that operation has.
    pub predecessors: u32,
}

/// What a sub-transaction is an operation of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// The transaction that waits for it.
    pub transaction: TransactionId,
    /// The invocation that it was begun for.
    pub invocation: InvocationId,
    /// How many transactions are around it.
    pub depth: u32,
    /// The priority that its operations have at least.
    pub priority: u8,
}

/// One leg that is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// Its number; [`COMPENSATION`](super::COMPENSATION) for what undoes the operation.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub leg: u32,
    /// Which attempt it is, from one.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub attempt: u32,
    /// Of whom.
    pub performer: Performer,
    /// The name of their organization, where an output document will show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<OrganizationName>,
    /// Under which id.
    pub invocation: InvocationId,
    /// When the attempt is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Moment>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn one() -> u32 {
    1
}

fn is_one(number: &u32) -> bool {
    *number == 1
}

/// Who says what came of an attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answerer {
    /// Whoever was asked.
    #[default]
    Asked,
    /// This service of the peer that was asked.
    Service(ServiceName),
    /// Nobody: the time was over, or nobody was found.
    Nobody,
}

impl Answerer {
    fn is_asked(&self) -> bool {
        *self == Self::Asked
    }
}

/// That a leg is asked for once more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Again {
    /// When; without it, at once.
    pub at: Option<Moment>,
    /// The peer that is not asked again, where it had not even begun; such an attempt does not count.
    pub excluded: Option<OrganizationId>,
}

/// An answer that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The invocation that it answers.
    pub invocation: InvocationId,
    /// Whose answer it is: the index of an operation, and its leg; of a foreign answer, none.
    pub leg: Option<(u32, u32)>,
    /// Who gave it.
    pub from: Performer,
    /// What it says.
    pub outcome: OutcomeKind,
    /// Why it was refused.
    pub refusal: Refusal,
    /// When it came.
    pub at: Moment,
}

/// Why an answer is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// Nobody waited any more: the time was over, enough others had answered, or the transaction had ended.
    Late,
    /// Another answer to the same invocation was taken before.
    Duplicate,
    /// The transaction never asked for it, or asked somebody else.
    Foreign,
    /// It came from whom it was asked of, and what it says cannot be read.
    Malformed,
}

/// What an outcome is, without its document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutcomeKind {
    /// Done.
    Completed,
    /// Not done.
    Failed,
    /// Not done in time.
    Expired,
    /// Withdrawn.
    Cancelled,
}

impl OutcomeKind {
    /// What an outcome is.
    #[must_use]
    pub fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Completed(_) => Self::Completed,
            Outcome::Failed(_) => Self::Failed,
            Outcome::Expired => Self::Expired,
            Outcome::Cancelled => Self::Cancelled,
        }
    }
}

/// What happened to a transaction. Operations are named by their index in the definition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// It began.
    Submitted {
        /// This node's organization.
        organization: OrganizationId,
        /// The name of the definition.
        definition: DefinitionName,
        /// The version that it runs to its end (T3).
        hash: DefinitionHash,
        /// Whether it is kept after its end (T12).
        save: bool,
        /// What it is an operation of (T17).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<Parent>,
        /// The input document.
        input: Text,
        /// When.
        at: Moment,
        /// When it times out.
        deadline: Option<Moment>,
    },
    /// A session waits for the response; of this process's life only.
    Awaited {
        /// Which.
        asker: Asker,
    },
    /// The waiting sessions were answered; of this process's life only.
    Responded,
    /// Nobody was found who performs a leg.
    Sought {
        /// Of which operation.
        operation: u32,
        /// Which leg.
        leg: u32,
        /// When.
        at: Moment,
        /// When to look again.
        again_at: Moment,
    },
    /// The lines of an iteration were found.
    Iterated {
        /// Of which operation.
        operation: u32,
        /// What it is asked with for each line.
        requests: Vec<Request>,
        /// How many are under way at once.
        concurrent: u32,
        /// When.
        at: Moment,
        /// When it times out.
        deadline: Option<Moment>,
    },
    /// Legs of an operation were asked for.
    Requested {
        /// Which operation.
        operation: u32,
        /// Which legs, of whom.
        asked: Vec<Asked>,
        /// With which document, where that was not recorded before.
        request: Option<Request>,
        /// When.
        at: Moment,
        /// When the operation times out.
        deadline: Option<Moment>,
    },
    /// An operation waits for a signal.
    Waited {
        /// Which.
        operation: u32,
        /// For which signal.
        signal: SignalName,
        /// When.
        at: Moment,
        /// When it times out.
        deadline: Option<Moment>,
    },
    /// A signal came. It may come before the operation that waits for it, and counts once.
    Signalled {
        /// Its name.
        signal: SignalName,
        /// What it says.
        document: Text,
        /// When.
        at: Moment,
    },
    /// An attempt at a leg ended.
    Answered {
        /// Of which operation.
        operation: u32,
        /// Which leg.
        leg: u32,
        /// What came of it.
        outcome: Outcome,
        /// Who says so.
        #[serde(default, skip_serializing_if = "Answerer::is_asked")]
        from: Answerer,
        /// Whether it counts towards what a broadcast needs (T8).
        counted: bool,
        /// Whether the leg is asked for again; in the same record, so that no crash can come between (T11).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        again: Option<Again>,
        /// When.
        at: Moment,
    },
    /// An answer came that nobody waits for.
    AnswerRefused(Refused),
    /// An operation ended.
    Ended {
        /// Which.
        operation: u32,
        /// How.
        state: OperationState,
        /// Its output, where that is not the one answer that it got.
        output: Option<Text>,
        /// What went wrong.
        fault: Option<Fault>,
        /// Links that are followed.
        followed: Vec<Link>,
        /// Links that are not.
        passed: Vec<Link>,
        /// When.
        at: Moment,
    },
    /// The transaction will not complete, and what it did is undone.
    CompensationBegan {
        /// How it will end.
        ending: Ending,
        /// The operations that are undone, in this order.
        operations: Vec<u32>,
        /// When.
        at: Moment,
    },
    /// The transaction ended.
    Finished {
        /// How.
        ending: Ending,
        /// When.
        at: Moment,
    },
    /// The transaction that it is an operation of has recorded what came of it.
    Settled,
    /// Nobody can ask any more for the response of a transaction that is not kept.
    Forgotten,
    /// Somebody who may had it forgotten. Under the same id another may begin after it.
    Purged,
}

impl Record {
    /// When it happened, where the record says.
    #[must_use]
    pub fn at(&self) -> Option<Moment> {
        match self {
            Self::Submitted { at, .. }
            | Self::Sought { at, .. }
            | Self::Iterated { at, .. }
            | Self::Requested { at, .. }
            | Self::Waited { at, .. }
            | Self::Signalled { at, .. }
            | Self::Answered { at, .. }
            | Self::AnswerRefused(Refused { at, .. })
            | Self::Ended { at, .. }
            | Self::CompensationBegan { at, .. }
            | Self::Finished { at, .. } => Some(*at),
            Self::Awaited { .. } | Self::Responded | Self::Settled | Self::Forgotten | Self::Purged => None,
        }
    }
}
