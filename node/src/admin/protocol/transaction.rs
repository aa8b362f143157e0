//! Transactions as they are listed and shown: how far each is, and each of its operations.

use crate::admin::time::Time;
use hansa_core::{
    code::Fault,
    ident::{
        City, DefinitionHash, DefinitionName, InvocationId, OperationName, OrganizationId, OrganizationName,
        ServiceName, SignalName, TransactionId,
    },
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How far a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum TransactionState {
    /// On its way.
    Running,
    /// On its way back: what was done is undone.
    Compensating,
    /// Ended with an output document.
    Completed,
    /// Ended without one.
    Failed,
    /// Ended by its TIMEOUT.
    TimedOut,
    /// Ended by request.
    Cancelled,
}

impl TransactionState {
    /// The word for it, as on screens and in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Compensating => "compensating",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::TimedOut => "timed-out",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more will come of it.
    pub const fn is_ended(self) -> bool {
        !matches!(self, Self::Running | Self::Compensating)
    }
}

impl fmt::Display for TransactionState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.word())
    }
}

/// A transaction in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionEntry {
    /// Which.
    pub id: TransactionId,
    /// Its definition.
    pub definition: DefinitionName,
    /// How far it is.
    pub state: TransactionState,
    /// When it was submitted.
    pub submitted: Time,
    /// When it ended.
    pub ended: Option<Time>,
    /// How long it took, or has taken so far.
    pub duration_ms: u64,
    /// Who submitted it.
    pub requester: Option<String>,
    /// How many of its operations have ended.
    pub operations_ended: u64,
    /// How many it has.
    pub operations: u64,
}

/// Everything about one transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Show {
    /// Which.
    pub id: TransactionId,
    /// Its definition.
    pub definition: DefinitionName,
    /// The version that it began with.
    pub hash: DefinitionHash,
    /// How far it is.
    pub state: TransactionState,
    /// While it is compensating: how it will end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<TransactionState>,
    /// The transaction that it is an operation of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<TransactionId>,
    /// When it was submitted.
    pub submitted: Time,
    /// When it ended.
    pub ended: Option<Time>,
    /// When it times out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Time>,
    /// How long it took, or has taken so far.
    pub duration_ms: u64,
    /// Who submitted it.
    pub requester: Option<String>,
    /// The input document, XML.
    pub input: Option<String>,
    /// The output document, XML.
    pub output: Option<String>,
    /// Why it failed.
    pub fault: Option<Fault>,
    /// Its operations in the order of the definition.
    pub operations: Vec<Operation>,
    /// The signals that came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<ShownSignal>,
    /// The answers that were refused: late, twice, or of somebody who was not asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<RefusedAnswer>,
    /// How many documents of operations were left out, because all together are too large for one answer.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub documents_left_out: u32,
}

/// A signal that came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownSignal {
    /// Its name.
    pub name: SignalName,
    /// When it came.
    pub at: Time,
    /// Its document, XML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
}

/// An answer that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedAnswer {
    /// When it came.
    pub at: Time,
    /// The OPID of the operation that it was for, if it was for any.
    pub operation: Option<u32>,
    /// Who gave it.
    pub from: String,
    /// What it says: `completed`, `failed`, `expired` or `cancelled`.
    pub outcome: String,
    /// Why it was refused: `late`, `duplicate`, `foreign` or `malformed`.
    pub why: String,
    /// The invocation that it names.
    pub invocation: InvocationId,
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Its OPID.
    pub id: u32,
    /// Its name.
    pub name: OperationName,
    /// How far it is.
    pub state: OperationState,
    /// What services sign up for, where that is not its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub performs: Option<OperationName>,
    /// The definition of the transaction that runs in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subtransaction: Option<DefinitionName>,
    /// The signal that it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<SignalName>,
    /// Which attempt counts; zero before the first.
    pub attempt: u32,
    /// How many attempts it may have.
    #[serde(default, skip_serializing_if = "is_at_most_one")]
    pub attempts_max: u32,
    /// How urgent it is.
    #[serde(default, skip_serializing_if = "is_zero_byte")]
    pub priority: u8,
    /// Whether every service that performs it is asked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub broadcast: bool,
    /// Whether it is performed for each line of a document.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub iteration: bool,
    /// Who was asked.
    pub performers: Vec<OperationPerformer>,
    /// When it began.
    pub started: Option<Time>,
    /// When it ended.
    pub ended: Option<Time>,
    /// When it times out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Time>,
    /// How long it took, or has taken so far.
    pub duration_ms: Option<u64>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// What undoes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensation: Option<Compensation>,
    /// The OPIDs that it links to.
    pub links: Vec<u32>,
    /// The document that it was asked with, XML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// The document that came of it, XML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

/// How far an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum OperationState {
    /// For operations before it, or for somebody who performs it.
    Waiting,
    /// Somebody is at it.
    Running,
    /// Done.
    Completed,
    /// Not done, and will not be.
    Failed,
    /// Not done within its TIMEOUT.
    TimedOut,
    /// Its transaction was cancelled.
    Cancelled,
    /// A SPLIT went another way.
    Eliminated,
}

impl OperationState {
    /// The word for it, as on screens and in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::TimedOut => "timed-out",
            Self::Cancelled => "cancelled",
            Self::Eliminated => "eliminated",
        }
    }

    /// Whether nothing more will come of it.
    pub const fn is_ended(self) -> bool {
        !matches!(self, Self::Waiting | Self::Running)
    }
}

/// What undoes an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compensation {
    /// What services sign up for.
    pub performs: OperationName,
    /// `not-needed`, or how far it is.
    pub state: String,
    /// When it began.
    pub started: Option<Time>,
    /// While it is under way: when it is given up, so that the transaction can end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Time>,
    /// Who was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub performer: Option<OperationPerformer>,
}

/// Who was asked to perform an operation; a broadcast asks several, an iteration somebody for each line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationPerformer {
    /// The service, where it is known.
    pub service: Option<ServiceName>,
    /// Whose, if not our own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<OrganizationId>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization_name: Option<OrganizationName>,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub city: Option<City>,
    /// The invocation, which is the idempotency key that the service sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invocation: Option<InvocationId>,
    /// The transaction that runs in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<TransactionId>,
    /// The number of the line, from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Which attempt it is at.
    #[serde(default, skip_serializing_if = "is_at_most_one")]
    pub attempt: u32,
    /// How far it is.
    pub state: OperationState,
    /// How long it took.
    pub duration_ms: Option<u64>,
    /// When it is asked again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again_at: Option<Time>,
    /// Why it was not done there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// How many answers came when nobody waited any more.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub late: u32,
    /// The document of its own that it was asked with, XML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// What it answered, where the operation's output is another document, XML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn is_zero_byte(number: &u8) -> bool {
    *number == 0
}

fn is_at_most_one(number: &u32) -> bool {
    *number <= 1
}
