//! What was done to transactions by their administrator.

use super::TransactionState;
use hansa_core::ident::{SignalName, TransactionId};
use serde::{Deserialize, Serialize};

/// A signal was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signalled {
    /// To which transaction.
    pub transaction: TransactionId,
    /// Which signal.
    pub signal: SignalName,
    /// Whether it had come before with this document.
    pub repeated: bool,
}

/// A transaction was told to ask once more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovered {
    /// Which.
    pub transaction: TransactionId,
    /// How far it is.
    pub state: TransactionState,
    /// Who was asked once more: an operation and its performer each.
    pub asked_again: Vec<String>,
}

/// A part of all open transactions were told to ask once more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveredPart {
    /// How many.
    pub recovered: u64,
    /// Ask again with `before` for the next part; none if that was all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<TransactionId>,
}

/// A transaction was forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purged {
    /// Which.
    pub transaction: TransactionId,
}

/// Transactions were forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgedPart {
    /// How many.
    pub purged: u64,
    /// How many ended ones were looked at.
    pub looked: u64,
    /// Ask again with `from` for the next part; none if that was all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<TransactionId>,
}
