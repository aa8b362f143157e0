//! What is asked and answered over the administration socket: plain data, one JSON object a line.
//!
//! `--json` prints the answers as they are, so their fields are a promise to scripts: add, do not rename. Durations are
//! whole milliseconds (`…_ms`), moments RFC 3339.

use super::time::Time;
use hansa_core::{
    code::Fault,
    ident::{
        City, DefinitionHash, DefinitionName, FederationId, InvocationId, OperationName, OrganizationId,
        OrganizationName, ServiceName, SubnodeId, TransactionId,
    },
};
use serde::{Deserialize, Serialize};
use std::{fmt, path::PathBuf};

/// How many transactions a list has, unless it is asked for another number.
pub const LIST_DEFAULT: u32 = 20;
/// The most that one list has.
pub const LIST_MAX: u32 = 10_000;
/// The longest that one request waits for a transaction; a client that waits longer asks again.
pub const AWAIT_MS_MAX: u64 = 60_000;

/// What a command asks of the running node: `{"command":"show","id":"01J…"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How the node is.
    Status,
    /// Who offers what.
    Directory {
        /// Only who offers this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        operation: Option<OperationName>,
        /// Only who is there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        city: Option<City>,
    },
    /// The services of this node.
    Services,
    /// Store a transaction definition.
    Define {
        /// Its XML.
        text: String,
    },
    /// The transaction definitions.
    Definitions,
    /// Transactions, newest first.
    List {
        /// Only those in this state.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        state: Option<TransactionState>,
        /// At most so many.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
    },
    /// Everything about one transaction.
    Show {
        /// Which.
        id: TransactionId,
    },
    /// Begin a transaction.
    Submit {
        /// By which definition.
        definition: DefinitionName,
        /// The input document, XML.
        document: String,
        /// Its id, to be able to repeat the submission.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<TransactionId>,
    },
    /// Wait for the end of a transaction.
    AwaitResponse {
        /// Which.
        id: TransactionId,
        /// How long.
        timeout_ms: u64,
    },
    /// End a transaction.
    Cancel {
        /// Which.
        id: TransactionId,
    },
    /// Make an invite.
    Invite {
        /// For how long it opens.
        hours: u32,
    },
    /// Join the federation of an invite.
    Join {
        /// Its text.
        invite: String,
    },
    /// The numbers that `GET /metrics` shows.
    Metrics,
    /// Stop the node.
    Stop,
}

/// The answer to each request; in JSON it is its content alone.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Directory`].
    Directory(Vec<DirectoryEntry>),
    /// To [`Request::Services`].
    Services(Vec<Service>),
    /// To [`Request::Define`].
    Defined(Defined),
    /// To [`Request::Definitions`].
    Definitions(Vec<DefinitionEntry>),
    /// To [`Request::List`].
    Transactions(Vec<TransactionEntry>),
    /// To [`Request::Show`].
    Show(Box<Show>),
    /// To [`Request::Submit`].
    Submitted(Submitted),
    /// To [`Request::AwaitResponse`].
    Awaited(Awaited),
    /// To [`Request::Cancel`].
    Cancelled(Cancelled),
    /// To [`Request::Invite`].
    Invited(Invited),
    /// To [`Request::Join`].
    Joined(Joined),
    /// To [`Request::Metrics`].
    Metrics(Vec<Reading>),
    /// To [`Request::Stop`].
    Stopping(Stopping),
}

/// What comes back: `{"ok":…}` or `{"fault":{…}}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply<T> {
    /// It was done.
    Ok(T),
    /// It was refused.
    Fault(Fault),
}

/// How a node is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Whom it belongs to.
    pub organization: OrganizationStatus,
    /// The federation, if it belongs to one.
    pub federation: Option<FederationStatus>,
    /// The process.
    pub node: NodeStatus,
    /// Where it listens.
    pub addresses: Addresses,
    /// The other members that it knows, whether connected or not.
    pub peers: Vec<Peer>,
    /// Its services.
    pub services: Vec<Service>,
    /// Its journal.
    pub journal: JournalStatus,
    /// Its transactions.
    pub transactions: TransactionCounts,
    /// Whether all is well.
    pub health: Health,
}

/// An organization.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrganizationStatus {
    /// Its name.
    pub name: OrganizationName,
    /// Its identity.
    pub id: OrganizationId,
    /// Where its node stands.
    pub city: City,
}

/// A federation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FederationStatus {
    /// Its name.
    pub name: OrganizationName,
    /// Its identity.
    pub id: FederationId,
    /// How many members this node knows, itself included.
    pub members: u64,
}

/// The process of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The identity of its transport.
    pub id: SubnodeId,
    /// The program's version.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// Since when.
    pub started: Time,
    /// For how long.
    pub uptime_ms: u64,
}

/// Where a node listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// Services and clients.
    pub cxip: String,
    /// Health and metrics.
    pub http: String,
    /// Other members.
    pub federation: Vec<String>,
    /// The administration socket.
    pub admin: PathBuf,
}

/// Another member.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// Its identity.
    pub organization: OrganizationId,
    /// Its name.
    pub name: OrganizationName,
    /// Where it is.
    pub city: City,
    /// Whether there is a connection.
    pub connected: bool,
    /// Since when there has been one, or none.
    pub since: Option<Time>,
    /// Round trip, as last measured.
    pub rtt_ms: Option<f64>,
    /// How far its clock is ahead of ours, where that is known.
    #[serde(default)]
    pub clock_ahead_ms: Option<i64>,
    /// The address in use, or the one to be tried next.
    pub address: Option<String>,
    /// How we learned of it: `mdns`, `invite`, `directory`, `known-peer`, `inbound` ….
    pub discovered_by: Option<String>,
    /// Frames that wait here until it takes them.
    pub outbox: u64,
}

/// A service of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// What it performs.
    pub operations: Vec<OperationName>,
    /// Whether the federation may know it.
    pub public: bool,
    /// Connections that share its work.
    pub sessions: u64,
    /// Invocations that wait for one of them.
    pub queued: u64,
    /// Invocations that one of them is at.
    pub in_flight: u64,
}

/// The journal of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalStatus {
    /// Number of the last entry.
    pub sequence: u64,
    /// Number of the last entry that is durable.
    pub durable: u64,
    /// Files.
    pub segments: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// How long the last sync took.
    pub sync_us_last: u64,
    /// The disk it lies on.
    pub disk: Disk,
}

/// A disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Bytes that can still be written.
    pub free_bytes: u64,
    /// Bytes it has.
    pub total_bytes: u64,
}

/// Transactions by state: open ones, and those that ended since the node started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionCounts {
    /// Open now.
    pub open: u64,
    /// Submitted.
    pub submitted: u64,
    /// Ended with an output document.
    pub completed: u64,
    /// Ended without one.
    pub failed: u64,
    /// Ended by their TIMEOUT.
    pub timed_out: u64,
    /// Ended by request.
    pub cancelled: u64,
}

/// Whether all is well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether the node does its work.
    pub ok: bool,
    /// What is wrong, or soon will be.
    pub findings: Vec<Fault>,
}

/// What one organization offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryEntry {
    /// Who.
    pub organization: OrganizationId,
    /// Its name.
    pub name: OrganizationName,
    /// Where.
    pub city: City,
    /// Whether it is this node's own.
    pub own: bool,
    /// Whether it is connected now; one's own always is.
    pub connected: bool,
    /// When its record was made.
    pub updated: Option<Time>,
    /// Its services that match.
    pub services: Vec<OfferedService>,
}

/// A service as it is offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferedService {
    /// Its name.
    pub name: ServiceName,
    /// What it performs.
    pub operations: Vec<OperationName>,
    /// Whether the federation knows it.
    pub public: bool,
}

/// A definition was stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Defined {
    /// Its name.
    pub name: DefinitionName,
    /// Which version.
    pub hash: DefinitionHash,
    /// How many operations it has, head and tail included.
    pub operations: u64,
    /// Whether this very version was there before.
    pub unchanged: bool,
}

/// A transaction definition in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinitionEntry {
    /// Its name.
    pub name: DefinitionName,
    /// The version that new transactions get.
    pub hash: DefinitionHash,
    /// When that was stored.
    pub defined: Time,
    /// How many versions are kept.
    pub versions: u64,
    /// How many operations it has, head and tail included.
    pub operations: u64,
}

/// How far a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum TransactionState {
    /// On its way.
    Running,
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
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::TimedOut => "timed-out",
            Self::Cancelled => "cancelled",
        }
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
}

/// How far an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
}

/// A transaction was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// Which.
    pub transaction: TransactionId,
    /// Whether it had been submitted before with this id.
    pub repeated: bool,
}

/// How a transaction ended, or that it has not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Awaited {
    /// Which.
    pub transaction: TransactionId,
    /// Its definition.
    pub definition: DefinitionName,
    /// How it ended; `running` if it has not.
    pub state: TransactionState,
    /// The output document, XML.
    pub document: Option<String>,
    /// Why it failed.
    pub fault: Option<Fault>,
}

/// A transaction was cancelled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancelled {
    /// Which.
    pub transaction: TransactionId,
    /// How it is now.
    pub state: TransactionState,
}

/// An invite was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invited {
    /// Its text.
    pub invite: String,
    /// Into which federation.
    pub federation: FederationStatus,
    /// Until when it opens.
    pub expires: Time,
}

/// The node has joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// Which federation.
    pub federation: FederationStatus,
    /// Whether it belonged to it before.
    pub repeated: bool,
}

/// The node will stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopping {
    /// The process that will end.
    pub pid: u32,
}

/// One number of the node. Readings of one name lie together and have the same help, kind and unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Its name, as OpenMetrics wants it: `hansa_transactions_open`. A counter's has no `_total`; that is added.
    pub name: String,
    /// What it says.
    pub help: String,
    /// What kind it is.
    pub kind: ReadingKind,
    /// The value.
    pub value: f64,
    /// What tells it from others of the name.
    #[serde(default)]
    pub labels: Vec<(String, String)>,
}

/// What kind of number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadingKind {
    /// It goes up and down.
    Gauge,
    /// It only goes up, from the start of the process.
    Counter,
}

impl Reading {
    /// A number that goes up and down.
    pub fn gauge(name: &str, help: &str, value: f64) -> Self {
        Self { name: name.into(), help: help.into(), kind: ReadingKind::Gauge, value, labels: Vec::new() }
    }

    /// A number that only goes up.
    pub fn counter(name: &str, help: &str, value: f64) -> Self {
        Self { kind: ReadingKind::Counter, ..Self::gauge(name, help, value) }
    }

    /// The same with a label.
    pub fn label(mut self, name: &str, value: impl Into<String>) -> Self {
        self.labels.push((name.into(), value.into()));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_the_contract_writes_them() {
        let read = |text: &str| serde_json::from_str::<Request>(text);
        assert_eq!(read(r#"{"command":"status"}"#).unwrap(), Request::Status);
        assert_eq!(
            read(r#"{"command":"directory","operation":"check-stock"}"#).unwrap(),
            Request::Directory { operation: Some("check-stock".parse().unwrap()), city: None }
        );
        assert_eq!(
            read(r#"{"command":"list","state":"timed-out"}"#).unwrap(),
            Request::List { state: Some(TransactionState::TimedOut), limit: None }
        );
        let id = "01JD5M6Q0000000000000000AB";
        assert_eq!(
            read(&format!(r#"{{"command":"await-response","id":"{id}","timeout_ms":5}}"#)).unwrap(),
            Request::AwaitResponse { id: id.parse().unwrap(), timeout_ms: 5 }
        );
        assert!(read(r#"{"command":"fly"}"#).is_err());
        assert!(read(r#"{"command":"show","id":"x"}"#).is_err());
        assert!(read(r#"{"command":"show","id":"01JD5M6Q0000000000000000AB","also":1}"#).is_err());
    }
}
