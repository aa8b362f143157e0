//! Transactions as they are listed and shown: how far each is, and each of its operations.

use crate::admin::time::Time;
use hansa_core::{
    code::Fault,
    ident::{
        City, DefinitionHash, DefinitionName, InvocationId, OperationName, OrganizationId, OrganizationName,
        ServiceName, TransactionId,
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
    /// When it was submitted.
    pub submitted: Time,
    /// When it ended.
    pub ended: Option<Time>,
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
    /// How many documents of operations were left out, because all together are too large for one answer.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub documents_left_out: u32,
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
    /// Which attempt counts; zero before the first.
    pub attempt: u32,
    /// Who was asked.
    pub performers: Vec<OperationPerformer>,
    /// When it began.
    pub started: Option<Time>,
    /// When it ended.
    pub ended: Option<Time>,
    /// How long it took, or has taken so far.
    pub duration_ms: Option<u64>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
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

/// Who was asked to perform an operation; a broadcast asks several.
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
    /// How far it is.
    pub state: OperationState,
    /// How long it took.
    pub duration_ms: Option<u64>,
    /// Why it was not done there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// How many answers came when nobody waited any more.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub late: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}
