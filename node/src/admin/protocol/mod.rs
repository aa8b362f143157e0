//! What is asked and answered over the administration socket: plain data, one JSON object a line.
//!
//! `--json` prints the answers as they are, so their fields are a promise to scripts: add, do not rename. Durations are
//! whole milliseconds (`…_ms`), moments RFC 3339.

mod access;
mod history;
mod library;
mod list;
mod pair;
mod status;
mod topic;
mod transaction;
mod upkeep;

pub use access::{AccountChanged, AccountEntry, entries as account_entries};
pub use history::{DryRun, DryRunStep, HistoryEntry, HistoryPage, HistoryRecord, Replayed, UnansweredOperation};
pub use library::{LibraryAdded, LibraryEntry, LibraryFunction, LibraryRemoved, LibrarySource};
pub use list::{ListFilter, TransactionPage};
pub use pair::{
    Declined, PairAppointed, PairDuty, PairEnded, PairInitiated, PairMode, PairRole, PairSite, PairSnapshot,
    PairStatus, PairSwitched, PairWitness, SnapshotStage, Takeover,
};
pub use status::{
    Addresses, Disk, FederationStatus, Health, JournalStatus, NodeStatus, OrganizationStatus, Peer, PeerMirror,
    Reading, ReadingKind, Service, Status, TransactionCounts,
};
pub use topic::{Published, TopicEntry, TopicSubscriber};
pub use transaction::{
    Compensation, Operation, OperationPerformer, OperationState, RefusedAnswer, Show, ShownSignal, TransactionEntry,
    TransactionState,
};
pub use upkeep::{Purged, PurgedPart, Recovered, RecoveredPart, Signalled};

use super::time::Time;
use hansa_core::{
    access::{Rights, Verifier},
    code::Fault,
    durability::Durability,
    ident::{
        AccountName, City, DefinitionHash, DefinitionName, LibraryHash, LibraryName, OperationName, OrganizationId,
        OrganizationName, PublicationId, ServiceName, SignalName, TopicName, TransactionId,
    },
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    /// The topics that have subscribers.
    Topics,
    /// Publish to a topic of this organization.
    Publish {
        /// Which.
        topic: TopicName,
        /// What, XML.
        document: String,
        /// Whether peers that subscribed get it.
        #[serde(default)]
        public: bool,
        /// Its id, to be able to repeat the publication.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<PublicationId>,
    },
    /// Store a transaction definition.
    Define {
        /// Its XML.
        text: String,
    },
    /// The transaction definitions.
    Definitions,
    /// The versions of a definition.
    DefinitionVersions {
        /// Its name.
        name: DefinitionName,
    },
    /// The libraries of functions.
    Libraries,
    /// What a version of a library consists of, which a name or a definition means.
    LibrarySource {
        /// Which version.
        hash: LibraryHash,
    },
    /// Store a library of functions.
    AddLibrary {
        /// Its name.
        name: LibraryName,
        /// What it consists of, in base 64.
        bytes: String,
    },
    /// Forget the name of a library of functions.
    RemoveLibrary {
        /// Which.
        name: LibraryName,
    },
    /// The text of a definition.
    DefinitionSource {
        /// Its name.
        name: DefinitionName,
        /// This version; without it, the one that new transactions get.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<DefinitionHash>,
    },
    /// Transactions, newest first.
    List(Box<ListFilter>),
    /// Everything about one transaction.
    Show {
        /// Which.
        id: TransactionId,
    },
    /// What was recorded of a transaction.
    History {
        /// Which.
        id: TransactionId,
        /// Only behind this entry.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<u64>,
    },
    /// Make a transaction anew from its records, and compare.
    Replay {
        /// Which.
        id: TransactionId,
    },
    /// Send a signal to a transaction.
    Signal {
        /// Which.
        id: TransactionId,
        /// The signal's name.
        signal: SignalName,
        /// Its document, XML.
        document: String,
    },
    /// Ask once more whoever has not answered a transaction.
    Recover {
        /// Which.
        id: TransactionId,
    },
    /// The same for a part of all open transactions.
    RecoverAll {
        /// Only those with ids before this one: the last part's `next`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<TransactionId>,
    },
    /// Forget a transaction that has ended.
    Purge {
        /// Which.
        id: TransactionId,
    },
    /// Forget a part of the transactions that ended before a moment.
    PurgeEnded {
        /// Before when.
        before: Time,
        /// Only those with ids from this one on: the last part's `next`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<TransactionId>,
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
    /// Found a pair, and make the code with which another sub-node joins it.
    PairInit {
        /// Where that one shall stand.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        city: Option<City>,
        /// Who shall be witnesses, by name or id; without any, the connected members that offer it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        witnesses: Vec<String>,
    },
    /// How the pair is.
    PairStatus,
    /// Let the other sub-node serve.
    PairSwitch,
    /// Have others take the place of the pair's witnesses.
    PairAppoint {
        /// Members that shall be the witnesses, by name or id; none for those that are connected.
        #[serde(default)]
        witnesses: Vec<String>,
    },
    /// Go on without the pair from the next start on.
    PairEnd,
    /// The accounts of those who may attach.
    Accounts,
    /// Add an account, or change it.
    AddAccount {
        /// Its name.
        name: AccountName,
        /// What its password is checked against, made by whoever asks, so that no password travels.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        verifier: Option<Verifier>,
        /// What it may do.
        rights: Rights,
    },
    /// Remove an account.
    RemoveAccount {
        /// Its name.
        name: AccountName,
    },
    /// The numbers that `GET /metrics` shows.
    Metrics,
    /// Cut these of the lines of `emulation.link`, and no others; for testnets.
    CutLines {
        /// Their addresses.
        destinations: Vec<std::net::SocketAddr>,
    },
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
    /// To [`Request::Topics`].
    Topics(Vec<TopicEntry>),
    /// To [`Request::Publish`].
    Published(Published),
    /// To [`Request::Define`].
    Defined(Defined),
    /// To [`Request::Definitions`].
    Definitions(Vec<DefinitionEntry>),
    /// To [`Request::DefinitionVersions`].
    DefinitionVersions(Vec<DefinitionVersion>),
    /// To [`Request::DefinitionSource`].
    DefinitionSource(DefinitionSource),
    /// To [`Request::Libraries`].
    Libraries(Vec<LibraryEntry>),
    /// To [`Request::LibrarySource`].
    LibrarySource(LibrarySource),
    /// To [`Request::AddLibrary`].
    LibraryAdded(LibraryAdded),
    /// To [`Request::RemoveLibrary`].
    LibraryRemoved(LibraryRemoved),
    /// To [`Request::List`].
    Transactions(TransactionPage),
    /// To [`Request::Show`].
    Show(Box<Show>),
    /// To [`Request::History`].
    History(HistoryPage),
    /// To [`Request::Replay`].
    Replayed(Box<Replayed>),
    /// To [`Request::Signal`].
    Signalled(Signalled),
    /// To [`Request::Recover`].
    Recovered(Recovered),
    /// To [`Request::RecoverAll`].
    RecoveredPart(RecoveredPart),
    /// To [`Request::Purge`].
    Purged(Purged),
    /// To [`Request::PurgeEnded`].
    PurgedPart(PurgedPart),
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
    /// To [`Request::PairInit`].
    PairInitiated(PairInitiated),
    /// To [`Request::PairStatus`].
    PairStatus(Box<PairStatus>),
    /// To [`Request::PairSwitch`].
    PairSwitched(PairSwitched),
    /// To [`Request::PairAppoint`].
    PairAppointed(PairAppointed),
    /// To [`Request::PairEnd`].
    PairEnded(PairEnded),
    /// To [`Request::Accounts`].
    Accounts(Vec<AccountEntry>),
    /// To [`Request::AddAccount`] and [`Request::RemoveAccount`].
    AccountChanged(AccountChanged),
    /// To [`Request::Metrics`].
    Metrics(Vec<Reading>),
    /// To [`Request::CutLines`].
    LinesCut(LinesCut),
    /// To [`Request::Stop`].
    Stopping(Stopping),
}

/// Lines of a testnet were cut, and all others made whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinesCut {
    /// Lines that there are.
    pub lines: usize,
    /// Lines that are cut now.
    pub cut: usize,
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

/// A version of a definition in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinitionVersion {
    /// Which: the hash of its text.
    pub hash: DefinitionHash,
    /// When it was stored first.
    pub defined: Time,
    /// How many operations it has, head and tail included.
    pub operations: u64,
    /// Whether new transactions get it.
    pub current: bool,
}

/// The text of a definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinitionSource {
    /// Its name.
    pub name: DefinitionName,
    /// Which version.
    pub hash: DefinitionHash,
    /// Its XML.
    pub text: String,
    /// The versions of the libraries that it calls.
    pub libraries: BTreeMap<LibraryName, LibraryHash>,
}

/// A transaction was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// Which.
    pub transaction: TransactionId,
    /// Whether it had been submitted before with this id.
    pub repeated: bool,
    /// On how many sites it is durable: `one-site` or `two-sites`.
    #[serde(default)]
    pub durability: Option<Durability>,
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
    /// On how many sites the end is durable, if it has ended.
    #[serde(default)]
    pub durability: Option<Durability>,
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
            Request::List(Box::new(ListFilter { state: Some(TransactionState::TimedOut), ..ListFilter::default() }))
        );
        let id = "01JD5M6Q0000000000000000AB";
        assert_eq!(
            read(&format!(r#"{{"command":"await-response","id":"{id}","timeout_ms":5}}"#)).unwrap(),
            Request::AwaitResponse { id: id.parse().unwrap(), timeout_ms: 5 }
        );
        assert_eq!(read(r#"{"command":"list"}"#).unwrap(), Request::List(Box::default()));
        assert_eq!(
            read(r#"{"command":"pair-init","witnesses":["Birch GmbH"]}"#).unwrap(),
            Request::PairInit { city: None, witnesses: vec!["Birch GmbH".to_owned()] }
        );
        assert_eq!(read(r#"{"command":"pair-status"}"#).unwrap(), Request::PairStatus);
        assert!(read(r#"{"command":"list","colour":"red"}"#).is_err());
        assert!(read(r#"{"command":"fly"}"#).is_err());
        assert!(read(r#"{"command":"show","id":"x"}"#).is_err());
        assert!(read(r#"{"command":"show","id":"01JD5M6Q0000000000000000AB","also":1}"#).is_err());
    }
}
