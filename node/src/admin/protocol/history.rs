//! What was recorded of a transaction, and what came of making it anew.

use super::{Show, TransactionState};
use crate::admin::time::Time;
use hansa_core::{
    code::Fault,
    ident::{DefinitionHash, DefinitionName, OperationName, TransactionId},
};
use serde::{Deserialize, Serialize};

/// A part of what was recorded of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryPage {
    /// Which.
    pub id: TransactionId,
    /// Its definition.
    pub definition: DefinitionName,
    /// The version that it began with.
    pub version: DefinitionHash,
    /// How far it is.
    pub state: TransactionState,
    /// Its entries in the journal, in order.
    pub entries: Vec<HistoryEntry>,
    /// Whether its first entries are no longer in the journal.
    pub beginning_dropped: bool,
    /// The first entry of anybody's that the journal keeps.
    pub first_kept: u64,
    /// Ask again with `after` for what follows; none if that was all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// An entry of the journal: all that followed from one input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// Its place in the journal.
    pub sequence: u64,
    /// The epoch it was written in.
    pub epoch: u64,
    /// When it was written.
    pub moment: Time,
    /// BLAKE3 of itself and the hash before, which was checked.
    pub hash: String,
    /// The hash of the entry before it in the journal.
    pub previous: String,
    /// What happened, in order.
    pub records: Vec<HistoryRecord>,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryRecord {
    /// What it says, in words.
    pub words: String,
    /// The record itself.
    pub record: serde_json::Value,
}

/// A transaction was made anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    /// Which.
    pub id: TransactionId,
    /// Its definition.
    pub definition: DefinitionName,
    /// The version that it began with.
    pub version: DefinitionHash,
    /// How far it is.
    pub state: TransactionState,
    /// How many entries of the journal were read and checked.
    pub entries: u64,
    /// How many records they have.
    pub records: u64,
    /// The first entry.
    pub first: u64,
    /// The last entry.
    pub last: u64,
    /// What was shown, a sentence each.
    pub proven: Vec<String>,
    /// The first difference; none if all is the same.
    pub difference: Option<String>,
}

/// What came of a dry run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DryRun {
    /// The transaction as `show` would show it.
    pub transaction: Show,
    /// Those that ran as operations of it, and of each other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subtransactions: Vec<Show>,
    /// How long it would have taken.
    pub took_ms: u64,
    /// Who was asked and has no answer in the file, so that it still waits.
    pub unanswered: Vec<UnansweredOperation>,
    /// What of the file was refused: a signal that nobody waits for, for instance.
    pub refused: Vec<Fault>,
    /// What was recorded, if that was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<DryRunStep>,
}

/// An invocation without an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnansweredOperation {
    /// Of which definition.
    pub definition: DefinitionName,
    /// The OPID.
    pub operation: u32,
    /// The operation's name.
    pub name: OperationName,
    /// Which recipient or line, from one; none for what undoes it.
    pub leg: Option<u32>,
    /// Which attempt, from one.
    pub attempt: u32,
}

/// A record of a dry run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DryRunStep {
    /// How long after the beginning.
    pub after_ms: u64,
    /// What it says.
    pub words: String,
}
