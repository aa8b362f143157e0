//! Joins the machines of a node and what surrounds them. A placeholder of the shape that `commands::run` relies on:
//! it knows who it is and where it listens, and refuses the rest.

use crate::{
    admin::{Administration, protocol::*, time::Time},
    config::Configuration,
    folder::Folder,
};
use hansa_core::{
    code::{Code, Fault},
    ident::{City, DefinitionName, OperationName, TransactionId},
};
use hansa_federation::Keys;
use std::{future, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

/// What a node is started with. The folder is locked by the caller for as long as the node lives.
#[derive(Debug)]
pub struct Start {
    /// The checked configuration.
    pub configuration: Configuration,
    /// The data folder: it exists, was checked, and is ours.
    pub folder: Folder,
    /// Where health and metrics are to be had; already bound.
    pub http: SocketAddr,
    /// Where the administration socket is; already bound.
    pub admin: PathBuf,
    /// When the process started.
    pub started: Time,
    /// Whether an invite waits: `commands::run` asks the node to join right after the start, so it founds no federation.
    pub invited: bool,
}

/// A running node.
pub struct Node {
    machines: Arc<Machines>,
}

impl Node {
    /// Recover, listen, and begin to work. It returns when the node takes requests.
    ///
    /// # Errors
    /// Why it cannot start; nothing of it is left running then.
    pub async fn start(start: Start) -> Result<Self, Fault> {
        let Start { configuration, invited, .. } = &start;
        let (federation, journal) = (configuration.federation(), configuration.journal());
        tracing::debug!(
            invited,
            federation = %federation.name(),
            mdns = federation.mdns(),
            announce = ?federation.announce(),
            segment_mib = journal.segment_mib(),
            checkpoint_mib = journal.checkpoint_mib(),
            open_max = configuration.transactions().open_max(),
            finished_keep_hours = configuration.transactions().finished_keep_hours(),
            emulated = ?configuration.emulation().iter().map(|link| (link.address(), link.one_way_ms(), link.jitter_ms())).collect::<Vec<_>>(),
            "starting"
        );
        let keys = Keys::open(start.folder.path())?;
        let (organization, node) = (keys.organization_id(), keys.subnode_id());
        Ok(Self { machines: Arc::new(Machines { start, organization, node }) })
    }

    /// What answers its administrator.
    pub fn administration(&self) -> Arc<Machines> {
        self.machines.clone()
    }

    /// Where services and clients attach.
    pub fn cxip(&self) -> SocketAddr {
        self.machines.start.configuration.cxip().listen()
    }

    /// Where other members reach it, each address with its peer id.
    pub fn federation(&self) -> Vec<String> {
        self.machines.start.configuration.federation().listen().iter().map(ToString::to_string).collect()
    }

    /// Resolves only if the node cannot go on: with the reason.
    pub async fn failed(&self) -> Fault {
        future::pending().await
    }

    /// Take nothing more, let what is under way become durable, and end.
    pub async fn stop(self) {}
}

/// The machines, as an administrator sees them.
pub struct Machines {
    start: Start,
    organization: hansa_core::ident::OrganizationId,
    node: hansa_core::ident::SubnodeId,
}

fn unwired<T>() -> Result<T, Fault> {
    Err(Fault::new(Code::Internal, "the machines of this node are not wired yet"))
}

impl Administration for Machines {
    async fn status(&self) -> Result<Status, Fault> {
        let configuration = &self.start.configuration;
        Ok(Status {
            organization: OrganizationStatus {
                name: configuration.organization().name().clone(),
                id: self.organization,
                city: configuration.organization().city().clone(),
            },
            federation: None,
            node: NodeStatus {
                id: self.node,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                started: self.start.started,
                uptime_ms: Time::now().0.since_ms(self.start.started.0),
            },
            addresses: Addresses {
                cxip: configuration.cxip().listen().to_string(),
                http: self.start.http.to_string(),
                federation: configuration.federation().listen().iter().map(ToString::to_string).collect(),
                admin: self.start.admin.clone(),
            },
            peers: Vec::new(),
            services: Vec::new(),
            journal: JournalStatus {
                sequence: 0,
                durable: 0,
                segments: 0,
                bytes: 0,
                sync_us_last: 0,
                disk: crate::disk::space(self.start.folder.path()).unwrap_or_default(),
            },
            transactions: TransactionCounts::default(),
            health: Health {
                ok: false,
                findings: vec![Fault::new(Code::Internal, "the machines of this node are not wired yet")],
            },
        })
    }

    async fn directory(&self, _: Option<OperationName>, _: Option<City>) -> Result<Vec<DirectoryEntry>, Fault> {
        unwired()
    }

    async fn services(&self) -> Result<Vec<Service>, Fault> {
        unwired()
    }

    async fn define(&self, _: String) -> Result<Defined, Fault> {
        unwired()
    }

    async fn definitions(&self) -> Result<Vec<DefinitionEntry>, Fault> {
        unwired()
    }

    async fn list(&self, _: Option<TransactionState>, _: u32) -> Result<Vec<TransactionEntry>, Fault> {
        unwired()
    }

    async fn show(&self, _: TransactionId) -> Result<Show, Fault> {
        unwired()
    }

    async fn submit(&self, _: DefinitionName, _: String, _: Option<TransactionId>) -> Result<Submitted, Fault> {
        unwired()
    }

    async fn await_response(&self, _: TransactionId, _: Duration) -> Result<Awaited, Fault> {
        unwired()
    }

    async fn cancel(&self, _: TransactionId) -> Result<Cancelled, Fault> {
        unwired()
    }

    async fn invite(&self, _: u32) -> Result<Invited, Fault> {
        unwired()
    }

    async fn join(&self, _: String) -> Result<Joined, Fault> {
        unwired()
    }

    async fn readings(&self) -> Vec<Reading> {
        let uptime_ms = Time::now().0.since_ms(self.start.started.0);
        vec![
            Reading::gauge("hansa_uptime_seconds", "Seconds since the process started.", uptime_ms as f64 / 1_000.0),
            Reading::counter("hansa_transactions_submitted", "Transactions submitted.", 0.0).label("definition", "any"),
        ]
    }
}
