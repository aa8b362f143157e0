//! How a node is: the answer to `status`, and the numbers that monitoring reads.

use super::pair::{PairRole, PairStatus};
use crate::admin::time::Time;
use hansa_core::{
    code::Fault,
    durability::Durability,
    ident::{City, FederationId, OperationName, OrganizationId, OrganizationName, ServiceName, SubnodeId},
};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

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
    /// What it is in its pair; `single` where there is none.
    #[serde(default)]
    pub role: PairRole,
    /// How the pair is, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<Box<PairStatus>>,
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
    /// The administration port, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cxip_admin: Option<String>,
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
    /// On how many of its sites that lies which it confirmed last, since this node started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
    /// Its sub-nodes that are connected and do not serve.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<PeerMirror>,
}

impl Peer {
    /// One that is known and not connected.
    pub fn away(organization: OrganizationId, name: OrganizationName, city: City) -> Self {
        Self {
            organization,
            name,
            city,
            connected: false,
            since: None,
            rtt_ms: None,
            clock_ahead_ms: None,
            address: None,
            discovered_by: None,
            outbox: 0,
            durability: None,
            mirrors: Vec::new(),
        }
    }
}

/// A sub-node of another member that is connected and does not serve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerMirror {
    /// Where it is.
    pub city: City,
    /// Which it is.
    pub subnode: SubnodeId,
    /// The address in use.
    pub address: String,
    /// Round trip, as last measured.
    pub rtt_ms: Option<f64>,
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
