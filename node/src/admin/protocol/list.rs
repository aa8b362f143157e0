//! Which transactions a list has.

use super::{OperationState, TransactionEntry, TransactionState};
use crate::admin::time::Time;
use hansa_core::ident::{DefinitionName, OperationName, TransactionId};
use serde::{Deserialize, Serialize};

/// Which transactions are listed: those that fit everything that is said here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListFilter {
    /// Only those in this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<TransactionState>,
    /// Only those of this definition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub definition: Option<DefinitionName>,
    /// Only those of which a service of this organization was asked: its name or its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// Only those that were submitted then or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Only those that were submitted before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// Only those with an operation of this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationName>,
    /// With that operation, or any, in this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_state: Option<OperationState>,
    /// Only those with a document in which this text stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// At most so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Only those with ids before this one: the last part's `next`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<TransactionId>,
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionPage {
    /// Those that fit, the newest first.
    pub transactions: Vec<TransactionEntry>,
    /// Those among them that are stored and cannot be read, so nobody knows whether they fit. To ask for one says why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<TransactionId>,
    /// Ask again with `before` for what follows; none if that was all. A part may be empty and have a next one: each
    /// request looks at a bounded number of transactions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<TransactionId>,
}
