//! What the administrator asks of the machines: each request becomes inputs and looks, each answer a plain value.

use super::{Machines, views};
use crate::admin::{Administration, protocol::*, time::Time};
use hansa_actors::{clock, journal::DiskState};
use hansa_core::{
    access::{self, Rights, Verifier},
    code::{Code, Fault},
    directory::Directory,
    dispatch::{Input, Tally},
    document::Text,
    ident::{
        AccountName, City, DefinitionHash, DefinitionName, LibraryHash, LibraryName, OperationName, PublicationId,
        SignalName, TopicName, TransactionId,
    },
    mailbox::Mailbox,
    membership::{self, InviteKey, InviteText},
    signed::{Purpose, Signed},
    transaction::{Definition, Input as ToTransaction, catalogue},
};
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

/// Bytes of an invite's secret.
const SECRET_BYTES: usize = 16;

impl Machines {
    pub(super) fn findings(&self) -> Vec<Fault> {
        let statistics = self.statistics().journal;
        let mut findings = Vec::new();
        match statistics.disk {
            DiskState::Ready => {}
            DiskState::Full => findings.push(Fault::new(
                Code::DiskFull,
                format!("the disk of {} is full; new work is refused", self.start.folder.path().display()),
            )),
            DiskState::Failed => findings.push(Fault::new(Code::JournalFailed, "the journal cannot be written")),
        }
        findings
    }
}

impl Administration for Machines {
    async fn status(&self) -> Result<Status, Fault> {
        let configuration = &self.start.configuration;
        let statistics = self.statistics();
        let tallies: BTreeMap<usize, u64> =
            statistics.tallies.iter().map(|(tally, count)| (*tally as usize, *count)).collect();
        let tally = |tally: Tally| tallies.get(&(tally as usize)).copied().unwrap_or_default();
        let findings = self.findings();
        // Duties that do not answer are those of a node that stops.
        let pair = Self::pair_status(self).await.ok();
        Ok(Status {
            organization: OrganizationStatus {
                name: configuration.organization().name().clone(),
                id: self.own(),
                city: configuration.organization().city().clone(),
            },
            federation: self.federation_status().await,
            node: NodeStatus {
                id: self.keys.subnode_id(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                started: self.start.started,
                uptime_ms: clock::now().since_ms(self.start.started.0),
            },
            addresses: Addresses {
                cxip: self.cxip.get().map(ToString::to_string).unwrap_or_default(),
                http: self.start.http.to_string(),
                federation: self.addresses(),
                admin: self.start.admin.clone(),
                cxip_admin: self.cxip_admin.get().map(ToString::to_string),
            },
            peers: self.peers().await,
            services: if self.housed().is_some() { self.services().await? } else { Vec::new() },
            journal: JournalStatus {
                sequence: statistics.journal.tail,
                durable: statistics.journal.durable,
                segments: statistics.journal.segments as u64,
                bytes: statistics.journal.segment_bytes,
                sync_us_last: statistics.journal.last_sync_us,
                disk: crate::disk::space(self.start.folder.path()).unwrap_or_default(),
            },
            transactions: TransactionCounts {
                open: statistics.transactions_open,
                submitted: tally(Tally::Submitted),
                completed: tally(Tally::Completed),
                failed: tally(Tally::Failed),
                timed_out: tally(Tally::TimedOut),
                cancelled: tally(Tally::Cancelled),
            },
            role: pair.as_ref().map_or(PairRole::Starting, |pair| pair.role),
            pair: pair.filter(|pair| pair.role != PairRole::Single).map(Box::new),
            health: Health { ok: findings.is_empty(), findings },
        })
    }

    async fn directory(
        &self,
        operation: Option<OperationName>,
        city: Option<City>,
    ) -> Result<Vec<DirectoryEntry>, Fault> {
        let connected: Vec<_> = self.connected_members().into_iter().collect();
        let own = self.own();
        let house = self.house()?;
        let entries = house.look::<Directory, _>(&(), move |sight| {
            sight.machine(&()).map(|directory| views::directory(&directory, own, &connected))
        });
        let mut entries = entries.await.flatten().unwrap_or_default();
        if let Some(city) = city {
            entries.retain(|entry| entry.city == city);
        }
        if let Some(operation) = operation {
            for entry in &mut entries {
                entry.services.retain(|service| service.operations.contains(&operation));
            }
            entries.retain(|entry| !entry.services.is_empty());
        }
        Ok(entries)
    }

    async fn services(&self) -> Result<Vec<Service>, Fault> {
        let house = self.house()?;
        let busy = house.look_all::<Mailbox, _>(|sight| {
            sight
                .awake()
                .map(|(name, mailbox)| (name.clone(), (mailbox.sessions(), mailbox.queued(), mailbox.in_flight())))
                .collect::<Vec<_>>()
        });
        let busy: BTreeMap<_, _> = busy.await.into_iter().flatten().collect();
        let surroundings = house.surroundings();
        let services = surroundings.offers().local().map(|service| {
            let (sessions, queued, in_flight) = busy.get(&service.name).copied().unwrap_or_default();
            Service {
                name: service.name.clone(),
                operations: service.operations.clone(),
                public: service.public,
                sessions: sessions as u64,
                queued: queued as u64,
                in_flight: in_flight as u64,
            }
        });
        Ok(services.collect())
    }

    async fn topics(&self) -> Result<Vec<TopicEntry>, Fault> {
        self.topic_entries().await
    }

    async fn publish(
        &self,
        topic: TopicName,
        document: String,
        public: bool,
        id: Option<PublicationId>,
    ) -> Result<Published, Fault> {
        self.publish_own(topic, document, public, id).await
    }

    async fn define(&self, text: String) -> Result<Defined, Fault> {
        let text = Text::parse(text.as_bytes())?;
        let surroundings = self.house()?.surroundings();
        let callable = surroundings.definitions().callable();
        let definition = Definition::parse_with(&text, callable).map_err(views::all_faults)?;
        let tracking = self.ask(|asker| Input::Catalogue(catalogue::Input::Define { asker, text })).await?;
        Ok(Defined {
            name: definition.name,
            hash: definition.hash,
            operations: definition.operations.len() as u64,
            unchanged: tracking.word.is_some_and(|word| word.starts_with("unchanged")),
        })
    }

    async fn libraries(&self) -> Result<Vec<LibraryEntry>, Fault> {
        let surroundings = self.house()?.surroundings();
        let definitions = surroundings.definitions();
        Ok(definitions.libraries().iter().map(|library| views::library(library, definitions)).collect())
    }

    async fn library_source(&self, hash: LibraryHash) -> Result<LibrarySource, Fault> {
        let surroundings = self.house()?.surroundings();
        let bytes = surroundings
            .definitions()
            .library_version(&hash)
            .ok_or_else(|| Fault::new(Code::LibraryUnknown, format!("there is no library {hash} here")))?;
        Ok(LibrarySource { hash, bytes: data_encoding::BASE64.encode(bytes.as_slice()) })
    }

    async fn add_library(&self, name: LibraryName, bytes: String) -> Result<LibraryAdded, Fault> {
        let bytes = data_encoding::BASE64
            .decode(bytes.as_bytes())
            .map_err(|error| Fault::new(Code::LibraryInvalid, format!("the library is not in base 64: {error}")))?;
        // Reading takes a while, so the machine is not the first to find that it is none.
        self.house()?.surroundings().loader().load(&bytes)?;
        let bytes = catalogue::Bytes::new(&bytes);
        let hash = bytes.hash();
        let stored = name.clone();
        let tracking =
            self.ask(|asker| Input::Catalogue(catalogue::Input::AddLibrary { asker, name: stored, bytes })).await?;
        Ok(LibraryAdded { name, hash, unchanged: tracking.word.is_some_and(|word| word.starts_with("unchanged")) })
    }

    async fn remove_library(&self, name: LibraryName) -> Result<LibraryRemoved, Fault> {
        let libraries = self.libraries().await?;
        let removed = name.clone();
        self.ask(|asker| Input::Catalogue(catalogue::Input::RemoveLibrary { asker, name: removed })).await?;
        let library = libraries.into_iter().find(|library| library.name == name);
        Ok(LibraryRemoved { name, definitions: library.map(|library| library.definitions).unwrap_or_default() })
    }

    async fn definitions(&self) -> Result<Vec<DefinitionEntry>, Fault> {
        let surroundings = self.house()?.surroundings();
        let definitions = surroundings.definitions();
        let entries = definitions.current().map(|(definition, defined)| DefinitionEntry {
            name: definition.name.clone(),
            hash: definition.hash,
            defined: defined.into(),
            versions: definitions.versions_of(&definition.name) as u64,
            operations: definition.operations.len() as u64,
        });
        Ok(entries.collect())
    }

    async fn definition_versions(&self, name: DefinitionName) -> Result<Vec<DefinitionVersion>, Fault> {
        self.versions_of_definition(&name)
    }

    async fn definition_source(
        &self,
        name: DefinitionName,
        version: Option<DefinitionHash>,
    ) -> Result<DefinitionSource, Fault> {
        self.source_of_definition(name, version)
    }

    async fn list(&self, filter: ListFilter) -> Result<TransactionPage, Fault> {
        self.transactions_listed(filter).await
    }

    async fn show(&self, id: TransactionId) -> Result<Show, Fault> {
        self.transaction_shown(id).await
    }

    async fn history(&self, id: TransactionId, after: u64) -> Result<HistoryPage, Fault> {
        self.history_page(id, after).await
    }

    async fn replay(&self, id: TransactionId) -> Result<Replayed, Fault> {
        self.replayed(id).await
    }

    async fn signal(&self, id: TransactionId, signal: SignalName, document: String) -> Result<Signalled, Fault> {
        self.signalled(id, signal, document).await
    }

    async fn recover(&self, id: TransactionId) -> Result<Recovered, Fault> {
        self.recovered(id).await
    }

    async fn recover_all(&self, before: Option<TransactionId>) -> Result<RecoveredPart, Fault> {
        self.all_recovered(before).await
    }

    async fn purge(&self, id: TransactionId) -> Result<Purged, Fault> {
        self.house()?.purge(id).await?;
        Ok(Purged { transaction: id })
    }

    async fn purge_ended(&self, before: Time, from: Option<TransactionId>) -> Result<PurgedPart, Fault> {
        self.ended_purged(before, from).await
    }

    async fn submit(
        &self,
        definition: DefinitionName,
        document: String,
        id: Option<TransactionId>,
    ) -> Result<Submitted, Fault> {
        let document = Text::parse(document.as_bytes())?;
        let transaction = match id {
            Some(id) => id,
            None => self.fresh_transaction()?,
        };
        let tracking = self
            .ask(|asker| Input::Transaction(transaction, ToTransaction::Submit { asker, definition, document }))
            .await?;
        let repeated = tracking.word.as_deref() == Some("repeated");
        Ok(Submitted { transaction, repeated, durability: tracking.durability })
    }

    async fn await_response(&self, id: TransactionId, timeout: Duration) -> Result<Awaited, Fault> {
        let house = self.house()?;
        let response = self
            .ways
            .sessions
            .response(id, |asker| house.admit(Input::Transaction(id, ToTransaction::Await { asker })));
        match tokio::time::timeout(timeout, response).await {
            Ok(response) => Ok(views::awaited(response?)),
            Err(_) => {
                let instance = self.transaction(id).await?;
                let definition = instance.definition_name().cloned().ok_or_else(|| {
                    Fault::new(Code::TransactionUnknown, format!("there is no transaction {id} here"))
                })?;
                // It may be on its way back.
                let state = match self.transaction_shown(id).await?.state {
                    TransactionState::Compensating => TransactionState::Compensating,
                    _ => TransactionState::Running,
                };
                Ok(Awaited { transaction: id, definition, state, document: None, fault: None, durability: None })
            }
        }
    }

    async fn cancel(&self, id: TransactionId) -> Result<Cancelled, Fault> {
        self.transaction_cancelled(id).await
    }

    async fn accounts(&self) -> Result<Vec<AccountEntry>, Fault> {
        Ok(account_entries(self.house()?.surroundings().accounts()))
    }

    async fn add_account(
        &self,
        name: AccountName,
        verifier: Option<Verifier>,
        rights: Rights,
    ) -> Result<AccountChanged, Fault> {
        let added = name.clone();
        let tracking =
            self.ask(|asker| Input::Access(access::Input::Add { asker, name: added, verifier, rights })).await?;
        Ok(AccountChanged { name, done: tracking.word.unwrap_or_default() })
    }

    async fn remove_account(&self, name: AccountName) -> Result<AccountChanged, Fault> {
        let removed = name.clone();
        let tracking = self.ask(|asker| Input::Access(access::Input::Remove { asker, name: removed })).await?;
        Ok(AccountChanged { name, done: tracking.word.unwrap_or_default() })
    }

    async fn invite(&self, hours: u32) -> Result<Invited, Fault> {
        let credentials = self.credentials().await.ok_or_else(|| {
            Fault::new(Code::MemberUnknown, "this node belongs to no federation yet, so it cannot invite into one")
        })?;
        let addresses = self.addresses();
        if addresses.is_empty() {
            return Err(Fault::new(Code::PeerUnreachable, "this node listens for members nowhere")
                .help("set federation.listen, or federation.announce"));
        }
        let mut secret = vec![0; SECRET_BYTES];
        getrandom::fill(&mut secret)
            .map_err(|error| Fault::new(Code::Internal, format!("the system gives no randomness: {error}")))?;
        let key = InviteKey::new(&secret);
        let expires = clock::now().plus_ms(u64::from(hours) * 3_600_000);
        self.ask(|asker| Input::Membership(membership::Input::Invite { asker, key, expires })).await?;
        let name = self.start.configuration.organization().name().clone();
        let invite = membership::Invite { credentials, name, addresses, secret, expires };
        let text = InviteText::new(Signed::new(&self.keys.organization, Purpose::Invite, &invite))?;
        let federation = self.federation_status().await;
        Ok(Invited {
            invite: text.to_string(),
            federation: federation.unwrap_or_else(|| Self::federation_of(&invite.credentials, 1)),
            expires: expires.into(),
        })
    }

    async fn join(&self, invite: String) -> Result<Joined, Fault> {
        let invite: InviteText = invite.parse()?;
        let federation = invite.invite.credentials.federation();
        if let Some(credentials) = self.credentials().await
            && credentials.federation() == federation
        {
            let status = self.federation_status().await;
            return Ok(Joined {
                federation: status.unwrap_or_else(|| Self::federation_of(&credentials, 1)),
                repeated: true,
            });
        }
        self.may_join().await?;
        let handle = self
            .ways
            .peers
            .federation()
            .ok_or_else(|| Fault::new(Code::NodeStopped, "the node is starting; try again"))?;
        let credentials = handle.join(invite).await?;
        self.belong(credentials.clone()).await?;
        handle.set_credentials(credentials.clone()).await?;
        self.introduce().await;
        Ok(Joined { federation: Self::federation_of(&credentials, 2), repeated: false })
    }

    async fn pair_init(&self, city: Option<City>, witnesses: Vec<String>) -> Result<PairInitiated, Fault> {
        Self::pair_init(self, city, witnesses).await
    }

    async fn pair_status(&self) -> Result<PairStatus, Fault> {
        Self::pair_status(self).await
    }

    async fn pair_switch(&self) -> Result<PairSwitched, Fault> {
        Self::pair_switch(self).await
    }

    async fn pair_appoint(&self, witnesses: Vec<String>) -> Result<PairAppointed, Fault> {
        Self::pair_appoint(self, witnesses).await
    }

    async fn pair_end(&self) -> Result<PairEnded, Fault> {
        Self::pair_end(self).await
    }

    async fn cut_lines(&self, destinations: Vec<SocketAddr>) -> Result<LinesCut, Fault> {
        let table = self.emulated(&destinations);
        if let Some(unknown) = destinations.iter().find(|cut| !table.iter().any(|line| line.destination == **cut)) {
            return Err(Fault::new(Code::ConfigurationInvalid, format!("{unknown} is no line of emulation.link"))
                .help("only a testnet cuts lines, and only those that it emulates"));
        }
        let cut = LinesCut { lines: table.len(), cut: table.iter().filter(|line| line.cut).count() };
        let federation = self.ways.peers.federation();
        let federation = federation.ok_or_else(|| Fault::new(Code::NodeStopped, "the federation does not run yet"))?;
        federation.set_emulation(table).await?;
        Ok(cut)
    }

    async fn readings(&self) -> Vec<Reading> {
        self.all_readings().await
    }
}
