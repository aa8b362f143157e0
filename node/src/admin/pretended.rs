//! A node that is only pretended, for tests of what surrounds one: it answers, and has done nothing.

use super::{Administration, protocol::*, time::Time};
use hansa_core::{
    access::{Rights, Verifier},
    code::{Code, Fault},
    durability::Durability,
    ident::{
        AccountName, City, DefinitionHash, DefinitionName, FederationId, LibraryHash, LibraryName, OperationName,
        OrganizationId, PublicationId, SignalName, SubnodeId, TopicName, TransactionId,
    },
    moment::Moment,
};
use std::time::Duration;

/// The pretended node.
pub struct Pretended;

/// A moment that all its answers share.
pub const NOW: Time = Time(Moment(1_795_219_200_000));

/// How long the definition `large` is: more than fits into a message.
pub const LARGE_BYTES: usize = 18_000_000;

/// A status with something in every part.
pub fn status() -> Status {
    Status {
        organization: OrganizationStatus {
            name: "Acme BV".parse().unwrap(),
            id: OrganizationId([1; 32]),
            city: "Rotterdam".parse().unwrap(),
        },
        federation: Some(federation()),
        node: NodeStatus {
            id: SubnodeId([2; 32]),
            version: "0.1.0".into(),
            pid: 4711,
            started: NOW,
            uptime_ms: 93_784_000,
        },
        addresses: Addresses {
            cxip: "127.0.0.1:4000".into(),
            http: "127.0.0.1:4080".into(),
            federation: vec!["/ip4/127.0.0.1/tcp/4100".into()],
            admin: "/data/admin.sock".into(),
            cxip_admin: None,
        },
        peers: vec![
            Peer {
                organization: OrganizationId([3; 32]),
                name: "Birch GmbH".parse().unwrap(),
                city: "Hamburg".parse().unwrap(),
                connected: true,
                since: Some(NOW),
                rtt_ms: Some(12.34),
                clock_ahead_ms: Some(-3),
                address: Some("/ip4/10.0.0.2/tcp/4100".into()),
                discovered_by: Some("mdns".into()),
                outbox: 0,
                durability: Some(Durability::TwoSites),
                mirrors: vec![PeerMirror {
                    city: "Bremen".parse().unwrap(),
                    subnode: SubnodeId([30; 32]),
                    address: "/ip4/10.0.0.3/tcp/4100".into(),
                    rtt_ms: Some(9.0),
                }],
            },
            Peer {
                organization: OrganizationId([4; 32]),
                name: "Cedar Pte".parse().unwrap(),
                city: "Singapore".parse().unwrap(),
                connected: false,
                since: None,
                rtt_ms: None,
                clock_ahead_ms: None,
                address: None,
                discovered_by: Some("directory".into()),
                outbox: 7,
                durability: None,
                mirrors: Vec::new(),
            },
        ],
        services: vec![Service {
            name: "credit".parse().unwrap(),
            operations: vec!["check-credit".parse().unwrap(), "book".parse().unwrap()],
            public: false,
            sessions: 2,
            queued: 1,
            in_flight: 3,
        }],
        journal: JournalStatus {
            sequence: 1_234,
            durable: 1_230,
            segments: 2,
            bytes: 64 << 20,
            sync_us_last: 120,
            disk: Disk { free_bytes: 5 << 30, total_bytes: 10 << 30 },
        },
        transactions: TransactionCounts { open: 1, submitted: 5, completed: 3, failed: 1, timed_out: 0, cancelled: 0 },
        role: PairRole::Active,
        pair: Some(Box::new(pair_status())),
        health: Health { ok: true, findings: vec![Fault::new(Code::PeerUnreachable, "Cedar Pte is away")] },
    }
}

/// A pair with something in every part.
pub fn pair_status() -> PairStatus {
    let site = |city: &str, seed: u8, cxip: &str| PairSite {
        city: Some(city.parse().unwrap()),
        subnode: SubnodeId([seed; 32]),
        cxip: Some(cxip.to_owned()),
    };
    let witness = |seed: u8, name: Option<&str>, linked| PairWitness {
        name: name.map(|name| name.parse().unwrap()),
        subnode: SubnodeId([seed + 100; 32]),
        linked,
    };
    PairStatus {
        role: PairRole::Active,
        epoch: 7,
        mode: PairMode::Pair,
        active: site("Rotterdam", 2, "10.0.0.1:4000"),
        mirror: Some(site("Hamburg", 12, "10.0.0.2:4000")),
        lag_entries: 3,
        committed: 1_231,
        tail: 1_234,
        witnesses: vec![witness(3, Some("Birch GmbH"), true), witness(5, None, false)],
        witnesses_needed: 2,
        duties: vec![PairDuty {
            organization: OrganizationId([3; 32]),
            name: Some("Birch GmbH".parse().unwrap()),
            epoch: 2,
            replaced: false,
            ended: false,
            heard: Some(NOW),
        }],
        last_takeover: Some(Takeover { at: NOW, epoch: 6, why: "the active in Hamburg was not heard for 4 s".into() }),
        mirror_fit: true,
        snapshot: None,
        alarm: None,
    }
}

fn unknown(id: TransactionId) -> Fault {
    Fault::new(Code::TransactionUnknown, format!("there is no transaction {id}"))
}

fn federation() -> FederationStatus {
    FederationStatus { name: "hansa".parse().unwrap(), id: FederationId([9; 32]), members: 3 }
}

impl Administration for Pretended {
    async fn status(&self) -> Result<Status, Fault> {
        Ok(status())
    }

    async fn directory(&self, _: Option<OperationName>, _: Option<City>) -> Result<Vec<DirectoryEntry>, Fault> {
        Ok(Vec::new())
    }

    async fn services(&self) -> Result<Vec<Service>, Fault> {
        Ok(status().services)
    }

    async fn topics(&self) -> Result<Vec<TopicEntry>, Fault> {
        Ok(Vec::new())
    }

    async fn publish(
        &self,
        topic: TopicName,
        _: String,
        _: bool,
        id: Option<PublicationId>,
    ) -> Result<Published, Fault> {
        Ok(Published {
            topic,
            publication: id.unwrap_or(PublicationId(1)),
            repeated: id.is_some(),
            durability: Some(Durability::TwoSites),
        })
    }

    async fn define(&self, text: String) -> Result<Defined, Fault> {
        let operations = text.matches("<OPERATION>").count() as u64;
        Ok(Defined { name: "d".parse()?, hash: DefinitionHash([0; 32]), operations, unchanged: false })
    }

    async fn definitions(&self) -> Result<Vec<DefinitionEntry>, Fault> {
        Ok(Vec::new())
    }

    async fn definition_versions(&self, _: DefinitionName) -> Result<Vec<DefinitionVersion>, Fault> {
        Ok(Vec::new())
    }

    async fn definition_source(
        &self,
        name: DefinitionName,
        _: Option<DefinitionHash>,
    ) -> Result<DefinitionSource, Fault> {
        if name.as_str() == "large" {
            let (hash, text) = (DefinitionHash([0; 32]), "x".repeat(LARGE_BYTES));
            return Ok(DefinitionSource { name, hash, text, libraries: Default::default() });
        }
        Err(Fault::new(Code::DefinitionUnknown, format!("there is no transaction definition {name}")))
    }

    async fn libraries(&self) -> Result<Vec<LibraryEntry>, Fault> {
        Ok(Vec::new())
    }

    async fn library_source(&self, hash: LibraryHash) -> Result<LibrarySource, Fault> {
        Err(Fault::new(Code::LibraryUnknown, format!("there is no library {hash}")))
    }

    async fn add_library(&self, name: LibraryName, _: String) -> Result<LibraryAdded, Fault> {
        Ok(LibraryAdded { name, hash: LibraryHash([0; 32]), unchanged: false })
    }

    async fn remove_library(&self, name: LibraryName) -> Result<LibraryRemoved, Fault> {
        Ok(LibraryRemoved { name, definitions: Vec::new() })
    }

    async fn list(&self, _: ListFilter) -> Result<TransactionPage, Fault> {
        Ok(TransactionPage { transactions: Vec::new(), unreadable: Vec::new(), next: None })
    }

    async fn history(&self, id: TransactionId, _: u64) -> Result<HistoryPage, Fault> {
        Err(unknown(id))
    }

    async fn replay(&self, id: TransactionId) -> Result<Replayed, Fault> {
        Err(unknown(id))
    }

    async fn signal(&self, transaction: TransactionId, signal: SignalName, _: String) -> Result<Signalled, Fault> {
        Ok(Signalled { transaction, signal, repeated: false })
    }

    async fn recover(&self, id: TransactionId) -> Result<Recovered, Fault> {
        Err(unknown(id))
    }

    async fn recover_all(&self, _: Option<TransactionId>) -> Result<RecoveredPart, Fault> {
        Ok(RecoveredPart { recovered: 0, next: None })
    }

    async fn purge(&self, id: TransactionId) -> Result<Purged, Fault> {
        Err(unknown(id))
    }

    async fn purge_ended(&self, _: Time, _: Option<TransactionId>) -> Result<PurgedPart, Fault> {
        Ok(PurgedPart { purged: 0, looked: 0, next: None })
    }

    async fn show(&self, id: TransactionId) -> Result<Show, Fault> {
        Err(unknown(id))
    }

    async fn submit(&self, _: DefinitionName, _: String, id: Option<TransactionId>) -> Result<Submitted, Fault> {
        Ok(Submitted {
            transaction: id.unwrap_or(TransactionId(1)),
            repeated: id.is_some(),
            durability: Some(Durability::TwoSites),
        })
    }

    async fn await_response(&self, transaction: TransactionId, timeout: Duration) -> Result<Awaited, Fault> {
        tokio::time::sleep(timeout).await;
        let state = TransactionState::Running;
        Ok(Awaited { transaction, definition: "d".parse()?, state, document: None, fault: None, durability: None })
    }

    async fn cancel(&self, transaction: TransactionId) -> Result<Cancelled, Fault> {
        Ok(Cancelled { transaction, state: TransactionState::Cancelled })
    }

    async fn accounts(&self) -> Result<Vec<AccountEntry>, Fault> {
        Ok(Vec::new())
    }

    async fn add_account(&self, name: AccountName, _: Option<Verifier>, _: Rights) -> Result<AccountChanged, Fault> {
        Ok(AccountChanged { name, done: "added".to_owned() })
    }

    async fn remove_account(&self, name: AccountName) -> Result<AccountChanged, Fault> {
        Ok(AccountChanged { name, done: "removed".to_owned() })
    }

    async fn invite(&self, _: u32) -> Result<Invited, Fault> {
        Ok(Invited { invite: "hansa-invite-x".into(), federation: federation(), expires: NOW })
    }

    async fn join(&self, _: String) -> Result<Joined, Fault> {
        Ok(Joined { federation: federation(), repeated: false })
    }

    async fn pair_init(&self, _: Option<City>, witnesses: Vec<String>) -> Result<PairInitiated, Fault> {
        let (mut agreed, mut declined) = (pair_status().witnesses, Vec::new());
        if !witnesses.is_empty() {
            agreed.retain(|witness| witness.name.as_ref().is_some_and(|name| witnesses.contains(&name.to_string())));
            let (organization, name) = (OrganizationId([4; 32]), Some("Cedar Pte".parse()?));
            declined.push(Declined { organization, name, why: "it is a witness of as many pairs as it takes".into() });
        }
        let (code, expires) = (crate::pairing::tests::code().to_string(), NOW);
        Ok(PairInitiated { code, expires, witnesses: agreed, declined, repeated: false })
    }

    async fn pair_status(&self) -> Result<PairStatus, Fault> {
        Ok(pair_status())
    }

    async fn pair_switch(&self) -> Result<PairSwitched, Fault> {
        let PairStatus { epoch, mirror, .. } = pair_status();
        Ok(PairSwitched { active: mirror.expect("there is one"), epoch: epoch + 1, took_ms: 310 })
    }

    async fn pair_appoint(&self, _: Vec<String>) -> Result<PairAppointed, Fault> {
        let PairStatus { epoch, witnesses, witnesses_needed, .. } = pair_status();
        Ok(PairAppointed { witnesses, witnesses_needed, declined: Vec::new(), epoch: epoch + 1, changed: true })
    }

    async fn pair_end(&self) -> Result<PairEnded, Fault> {
        Ok(PairEnded { epoch: pair_status().epoch })
    }

    async fn cut_lines(&self, destinations: Vec<std::net::SocketAddr>) -> Result<LinesCut, Fault> {
        Ok(LinesCut { lines: destinations.len(), cut: destinations.len() })
    }

    async fn readings(&self) -> Vec<Reading> {
        vec![Reading::gauge("hansa_transactions_open", "Open transactions.", 1.0)]
    }
}
