//! Joins the machines of a node and what surrounds them: journal and shards, CXIP, the federation, the administration.
//!
//! Here alone do the parts that do not know each other meet. Nothing is decided here: what comes in becomes an input of a
//! machine, what a machine causes goes out through [`world`].

mod administration;
mod pair;
mod peering;
mod peers;
mod readings;
pub mod role;
mod serving;
mod sessions;
mod succession;
#[cfg(test)]
mod tests;
mod topics;
mod transactions;
pub mod views;
mod world;

use crate::{
    access::{Doorkeeper, Policy},
    admin::time::Time,
    config::Configuration,
    cxip::{Desk, HttpListener, Listener, Office, secure::Security},
    folder::Folder,
    pairing::Outstanding,
    shutdown::Shutdown,
};
use hansa_actors::{
    clock,
    duties::{Duties, Opened},
    house::{House, HouseOptions},
    journal::Journal,
    stage::{self, Stage},
    standby::Ground,
    supervisor::Fatal,
};
use hansa_core::{
    access::{Accounts, Rights},
    code::{Code, Fault},
    dispatch::{self, Input, Outward},
    ident::{AccountName, OrganizationId, TransactionId},
    mailbox,
    membership::Credentials,
    session::{Asker, FromSession, SessionId, ToSession},
    topic,
};
use hansa_federation::{Identity, Keys, Latency, Options};
use hansa_sdk::{
    Welcome,
    cxip::session::{Door, Entrance, Room, Unwelcome, Visitor},
};
use peers::Peers;
use role::{Part, Role};
use sessions::Sessions;
use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, OnceLock, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use succession::{Hearing, Succession};
use tokio::sync::{mpsc, watch};
use world::Ways;

/// How long a node waits at its start until it listens for members.
const LISTEN_WAIT_MAX: Duration = Duration::from_secs(5);

/// How long a node that stops waits until the other sub-node of its pair has everything.
const REST_WAIT_MAX: Duration = Duration::from_secs(5);

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
    /// Triggered when the node shall stop; an administrator may ask for that.
    pub shutdown: Shutdown,
    /// Whether an invite waits: `commands::run` asks the node to join right after the start, so it founds no federation.
    pub invited: bool,
}

/// A running node.
pub struct Node {
    machines: Arc<Machines>,
    listeners: Listeners,
    failed: watch::Receiver<Option<Fault>>,
}

/// Where one can attach to a node.
struct Listeners {
    attaching: Listener,
    administering: Option<Listener>,
    over_http: Option<HttpListener>,
}

/// The machines of a node, and the ways to and from them.
pub struct Machines {
    start: Start,
    keys: Keys,
    identity: Identity,
    doorkeeper: Doorkeeper,
    /// What serves; none while this sub-node follows.
    house: RwLock<Option<Arc<House>>>,
    /// What this sub-node is to the organization, and where the other one is.
    role: Role,
    /// The log of a follower.
    followed: RwLock<Option<Arc<Journal<Outward>>>>,
    /// The accounts in the log of a follower.
    heard_accounts: RwLock<Accounts>,
    /// The code that opens the pair to one more sub-node.
    pairings: Outstanding,
    /// The papers that were heard of last.
    papers: RwLock<Option<Credentials>>,
    /// The duties of this sub-node, and what it stands on; none before it has started.
    pair: OnceLock<(Arc<Duties>, Arc<Ground>)>,
    /// Whether no new work is taken, because another sub-node is about to serve.
    paused: AtomicBool,
    ways: Arc<Ways>,
    cxip: OnceLock<SocketAddr>,
    cxip_admin: OnceLock<SocketAddr>,
    /// What all CXIP connections together have in memory.
    room: OnceLock<Arc<Room>>,
    frames_refused: AtomicU64,
}

impl Node {
    /// Recover, listen, and begin to work. It returns when the node takes requests.
    ///
    /// # Errors
    /// Why it cannot start; nothing of it is left running then.
    pub async fn start(start: Start) -> Result<Self, Fault> {
        let keys = Keys::open(start.folder.path())?;
        let name = start.configuration.organization().name().clone();
        let city = start.configuration.organization().city().clone();
        let identity = Identity::new(&keys, name, city, clock::now());
        let cxip = start.configuration.cxip();
        let policy = match (cxip.client_authority(), cxip.open(), cxip.listen().ip().is_loopback()) {
            (None, true, _) => Policy::Open,
            (None, false, true) => Policy::OpenToThisMachine,
            _ => Policy::AccountsOnly,
        };
        let doorkeeper = Doorkeeper::new(policy)?;
        let ways = Arc::new(Ways {
            sessions: Arc::new(Sessions::default()),
            peers: Peers::new(keys.organization.clone()),
            organization: keys.organization.clone(),
            house: RwLock::default(),
        });
        let (fail, failed) = watch::channel(None);
        let fatal: Fatal = Arc::new(move |fault: Fault| {
            // Going on could lose what was acknowledged, so the process ends; `commands::run` says why.
            fail.send_replace(Some(fault));
        });
        let options = house_options(&start)?;
        let machines = Arc::new(Machines {
            start,
            keys,
            identity,
            doorkeeper,
            house: RwLock::default(),
            role: Role::default(),
            followed: RwLock::default(),
            heard_accounts: RwLock::default(),
            pairings: Outstanding::default(),
            papers: RwLock::default(),
            pair: OnceLock::new(),
            paused: AtomicBool::new(false),
            ways: Arc::clone(&ways),
            cxip: OnceLock::new(),
            cxip_admin: OnceLock::new(),
            room: OnceLock::new(),
            frames_refused: AtomicU64::new(0),
        });
        let papers = pair::pending(&machines.start.folder)?;
        let opened = Opened::open(&machines.start.folder.duty(), papers.as_ref().map(pair::paired), &fatal)?;
        if let Some(papers) = papers {
            machines.take_up(papers);
        }
        let is_paired = opened.is_paired();
        // Members let nobody up who serves at an older epoch than they know of.
        let epoch_alone = opened.epoch_alone();
        let options = HouseOptions { epoch: epoch_alone, ..options };
        let (ground, standby) = Ground::open(options, ways as _, &fatal, !is_paired)?;
        let ground = Arc::new(ground);
        let (happen, happenings) = mpsc::unbounded_channel();
        let duties = Duties::start(machines.duties_start(opened, &ground, happen, &fatal))?;
        let duties = Arc::new(duties);
        assert!(machines.pair.set((Arc::clone(&duties), Arc::clone(&ground))).is_ok(), "a node starts once");
        let started = async {
            let standby = if is_paired {
                // Whether it serves, the witnesses say; its log says where they are, and that it may speak to them.
                machines.hear_of_members(&standby)?;
                machines.follow_with(Some(Arc::clone(ground.journal())));
                Some(standby)
            } else {
                let house = standby.serve(Arc::clone(&fatal)).await?;
                machines.role.set(Part::Serving { epoch: epoch_alone });
                machines.begin_serving(house).await?;
                None
            };
            let listeners = machines.listen(if is_paired { 0 } else { epoch_alone }, &fatal).await?;
            machines.introduce_to_partner();
            let (poisoned, on_fatal) = (None, Arc::clone(&fatal));
            let machines = Arc::clone(&machines);
            let succession = Succession { machines, ground, duties, happenings, standby, poisoned, fatal: on_fatal };
            watched(&fatal, "what serves and follows", succession.run());
            Ok(listeners)
        };
        match started.await {
            Ok(listeners) => Ok(Self { machines, listeners, failed }),
            Err(fault) => {
                machines.close().await;
                Err(fault)
            }
        }
    }

    /// What answers its administrator.
    pub fn administration(&self) -> Arc<Machines> {
        Arc::clone(&self.machines)
    }

    /// Where services and clients attach.
    pub fn cxip(&self) -> SocketAddr {
        self.listeners.attaching.address()
    }

    /// Where administrators do, if they can.
    pub fn cxip_admin(&self) -> Option<SocketAddr> {
        self.listeners.administering.as_ref().map(Listener::address)
    }

    /// Where other members reach it, each address with its peer id.
    pub fn federation(&self) -> Vec<String> {
        self.machines.addresses()
    }

    /// Resolves only if the node cannot go on: with the reason.
    pub async fn failed(&self) -> Fault {
        let mut failed = self.failed.clone();
        let reason = failed.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        match reason {
            Some(fault) => fault,
            // The house is gone without a reason: it is being stopped.
            None => std::future::pending().await,
        }
    }

    /// Take nothing more, let what is under way become durable, and end.
    pub async fn stop(self) {
        let Listeners { attaching, administering, over_http } = self.listeners;
        if let Some(administering) = administering {
            administering.stop().await;
        }
        self.machines.hand_over().await;
        attaching.stop().await;
        if let Some(over_http) = over_http {
            over_http.stop().await;
        }
        self.machines.close().await;
    }
}

/// Run a task without which the node is none: a panic in it ends the node.
fn watched(fatal: &Fatal, what: &'static str, task: impl Future<Output = ()> + Send + 'static) {
    let (fatal, running) = (Arc::clone(fatal), tokio::spawn(task));
    tokio::spawn(async move {
        if running.await.is_err_and(|ended| ended.is_panic()) {
            fatal(Fault::new(Code::Internal, format!("{what} ended in a panic")));
        }
    });
}

fn house_options(start: &Start) -> Result<HouseOptions, Fault> {
    let configuration = &start.configuration;
    Ok(HouseOptions {
        segment_bytes: configuration.journal().segment_mib() << 20,
        checkpoint_bytes: configuration.journal().checkpoint_mib() << 20,
        journal_keep_bytes: configuration.journal().keep_mib() << 20,
        transactions_open_max: configuration.transactions().open_max(),
        finished_keep_ms: configuration.transactions().finished_keep_hours().saturating_mul(3_600_000),
        loader: hansa_library::Runtime::new()?.loader(),
        ..HouseOptions::new(start.folder.path())
    })
}

impl Machines {
    /// Listen for members, then for services and clients, whether this sub-node serves, at some epoch, or follows.
    async fn listen(self: &Arc<Self>, serving: u64, fatal: &Fatal) -> Result<Listeners, Fault> {
        let (handle, events) = hansa_federation::start(hansa_federation::Start {
            serving,
            identity: self.identity.clone(),
            credentials: self.credentials().await,
            terms_hash: terms_hash(),
            options: self.federation_options()?,
            duties: Arc::new(Hearing(self.duties())),
        })?;
        self.ways.peers.connect(handle);
        let events = self.listening(events).await?;
        self.introduce().await;
        watched(fatal, "what hears members", peers::attend(Arc::clone(self), events));
        let address = self.start.configuration.cxip().listen().to_string();
        let security = Security::configured(self.start.configuration.cxip())?;
        let attaching = Listener::start(&address, security.clone(), Arc::clone(self)).await?;
        let _ = self.cxip.set(attaching.address());
        let _ = self.room.set(attaching.room());
        let administering = self.administered(security, attaching.room()).await?;
        let over_http = match self.start.configuration.cxip().http_listen() {
            Some(address) => Some(HttpListener::start(address, Arc::clone(self), attaching.room()).await?),
            None => None,
        };
        if let Some(over_http) = &over_http {
            tracing::info!(address = %over_http.address(), "CXIP can be spoken over HTTP");
        }
        Ok(Listeners { attaching, administering, over_http })
    }

    /// Listen for administrators, if that is configured.
    async fn administered(self: &Arc<Self>, security: Security, room: Arc<Room>) -> Result<Option<Listener>, Fault> {
        let Some(address) = self.start.configuration.cxip().admin_listen() else { return Ok(None) };
        if !address.ip().is_loopback() && matches!(security, Security::None) {
            tracing::warn!(
                %address,
                "administrators' passwords can be read on their way here: set cxip.tls_certificate and cxip.tls_key"
            );
        }
        let desk = Desk::new(Arc::clone(self), self.start.shutdown.clone());
        let listener = Listener::start_with(&address.to_string(), security, desk, room).await?;
        let address = listener.address();
        let _ = self.cxip_admin.set(address);
        tracing::info!(%address, "the node can be administered over CXIP");
        Ok(Some(listener))
    }

    /// Wait until the node listens for members at every configured address, or fails to.
    async fn listening(
        &self,
        mut events: mpsc::Receiver<hansa_federation::Event>,
    ) -> Result<mpsc::Receiver<hansa_federation::Event>, Fault> {
        use hansa_federation::Event;
        let mut awaited = self.start.configuration.federation().listen().len();
        let wait = async {
            while awaited > 0 {
                match events.recv().await {
                    Some(Event::Listening { address }) => {
                        tracing::info!(%address, "members can reach this node");
                        awaited -= 1;
                    }
                    Some(Event::ListenFailed { fault, .. }) => return Err(fault),
                    Some(_) => {}
                    None => return Ok(()),
                }
            }
            Ok(())
        };
        match tokio::time::timeout(LISTEN_WAIT_MAX, wait).await {
            Ok(listening) => listening?,
            Err(_) => tracing::warn!("not every address for members is listened at yet"),
        }
        Ok(events)
    }

    /// The lines that a testnet emulates, of which these are cut.
    fn emulated(&self, cut: &[SocketAddr]) -> Vec<Latency> {
        let line = |link: &crate::config::EmulatedLink| Latency {
            destination: link.address(),
            one_way_ms: u32::try_from(link.one_way_ms()).unwrap_or(u32::MAX),
            jitter_ms: u32::try_from(link.jitter_ms()).unwrap_or(u32::MAX),
            cut: cut.contains(&link.address()),
        };
        self.start.configuration.emulation().iter().map(line).collect()
    }

    fn federation_options(&self) -> Result<Options, Fault> {
        let configuration = &self.start.configuration;
        let federation = configuration.federation();
        let addresses = |addresses: &[multiaddr::Multiaddr]| -> Result<Vec<hansa_federation::Multiaddr>, Fault> {
            addresses
                .iter()
                .map(|address| {
                    address.to_string().parse().map_err(|error| {
                        Fault::new(Code::ConfigurationInvalid, format!("'{address}' is no address: {error}"))
                    })
                })
                .collect()
        };
        Ok(Options {
            listen: addresses(federation.listen())?,
            announce: addresses(federation.announce())?,
            known_peers: addresses(federation.known_peers())?,
            mdns: federation.mdns(),
            latency_emulation: self.emulated(&[]),
            ..Options::default()
        })
    }

    fn own(&self) -> OrganizationId {
        self.keys.organization_id()
    }

    fn addresses(&self) -> Vec<String> {
        let addresses = self.ways.peers.federation().map(hansa_federation::Handle::addresses).unwrap_or_default();
        addresses.iter().map(ToString::to_string).collect()
    }

    fn name_of(&self, organization: &OrganizationId) -> String {
        let surroundings = self.housed().map(|house| house.surroundings());
        let name = surroundings.as_ref().and_then(|surroundings| surroundings.offers().name(organization));
        name.map_or_else(|| organization.short(), ToString::to_string)
    }

    fn frame_refused(&self) {
        self.frames_refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Ask a machine as the node itself, and wait until the answer is durable.
    async fn ask(&self, question: impl FnOnce(Asker) -> Input) -> Result<hansa_core::session::Tracking, Fault> {
        let house = self.house()?;
        self.ways.sessions.ask(|asker| house.admit(question(asker))).await
    }

    async fn close(&self) {
        // What leaves in a pair waits for the other sub-node, so the federation is needed until the machines are at rest.
        let stopped = match (self.housed(), self.pair.get()) {
            (Some(house), pair) => tokio::select! {
                stopped = house.stop() => stopped,
                () = rested(pair.map(|(duties, _)| duties)) => {
                    tracing::warn!("the other sub-node does not have everything; it stays in this one's journal");
                    Ok(())
                }
            },
            (None, Some((_, ground))) => ground.close(),
            (None, None) => Ok(()),
        };
        if let Err(fault) = stopped {
            tracing::error!(code = %fault.code, "{}", fault.message);
        }
        if let Some((duties, _)) = self.pair.get() {
            let duties = Arc::clone(duties);
            let _ = tokio::task::spawn_blocking(move || duties.end()).await;
        }
        if let Some(federation) = self.ways.peers.federation() {
            federation.stop().await;
        }
    }
}

/// Resolves when a node that stops has waited for the other sub-node of its pair as long as that is worth it.
async fn rested(duties: Option<&Arc<Duties>>) {
    match duties {
        Some(duties) => {
            // Only that it is over matters.
            let _ = tokio::time::timeout(REST_WAIT_MAX, duties.waits_in_vain()).await;
        }
        None => tokio::time::sleep(REST_WAIT_MAX).await,
    }
}

/// The hash of what members must agree on: the protocols' versions and the limits that one can hit another with.
pub fn terms_hash() -> [u8; 32] {
    let limits = hansa_core::limit::HOPS_MAX;
    *blake3::hash(format!("hansa terms 1: forward 1, directory 1, hops {limits}").as_bytes()).as_bytes()
}

impl Entrance for Machines {
    type Guest = Option<AccountName>;

    async fn welcome(&self, visitor: Visitor<'_>) -> Result<(Welcome, Self::Guest), Unwelcome> {
        self.house().map_err(|fault| Unwelcome { fault, address: self.role.active_cxip() })?;
        self.receive(visitor).await
    }
}

impl Office for Machines {
    type Administration = Self;

    fn administration(&self) -> &Self {
        self
    }

    async fn receive(&self, visitor: Visitor<'_>) -> Result<(Welcome, Self::Guest), Unwelcome> {
        let account = self.doorkeeper.admit(&self.accounts(), visitor).await?;
        let organization = self.start.configuration.organization();
        let (name, city) = (organization.name().clone(), organization.city().clone());
        Ok((Welcome { organization: Some(name), city: Some(city), alternates: self.alternates() }, account))
    }

    fn may_administer(&self, account: &Option<AccountName>) -> Result<(), Fault> {
        let Some(account) = account else {
            return Err(Fault::new(Code::AccessDenied, "only accounts may administer the node from here")
                .help("add one on the node's own machine: `hansa access add NAME --administer --password-file FILE`"));
        };
        self.with_account(account, |rights| rights.permit_to_administer(account))
    }
}

impl Door for Machines {
    fn open(&self, account: Self::Guest, to_session: mpsc::UnboundedSender<ToSession>) -> SessionId {
        self.ways.sessions.open(account, to_session)
    }

    fn deliver(&self, asker: Asker, input: FromSession) -> Result<(), Fault> {
        if let Some(account) = self.ways.sessions.account(asker.session) {
            self.permit(&account, &input)?;
        }
        if self.paused.load(Ordering::Acquire)
            && matches!(input, FromSession::Submit { .. } | FromSession::Publish { .. })
        {
            // Soon this connection is cut, and the other sub-node takes it.
            return Err(Fault::new(Code::Busy, "another sub-node is about to serve"));
        }
        match &input {
            FromSession::Register { service, .. } => self.ways.sessions.performs(asker.session, &service.name),
            FromSession::Subscribe { topic, .. } => self.ways.sessions.subscribes(asker.session, topic),
            // There are only as many as there were notifications; lost, one would be held up for as long as the session lives.
            FromSession::Taken { .. } => {
                self.house()?.deliver(dispatch::from_session(asker, input, TransactionId(0)));
                return Ok(());
            }
            _ => (),
        }
        // Randomness is a system call, and seldom needed: most clients choose the id themselves.
        let chooses = matches!(input, FromSession::Submit { transaction: None, .. });
        let fresh = if chooses { self.fresh_transaction()? } else { TransactionId(0) };
        self.house()?.admit(dispatch::from_session(asker, input, fresh))
    }

    fn close(&self, session: SessionId) {
        let (services, topics) = self.ways.sessions.close(session);
        let Some(house) = self.housed() else { return };
        for service in services {
            house.deliver(Input::Mailbox(service, mailbox::Input::Detach { session }));
        }
        for topic in topics {
            house.deliver(Input::Topic(topic, topic::Input::Detach { session }));
        }
    }

    fn coding<T>(&self, work: impl FnOnce() -> T) -> T {
        stage::sampled(Stage::Parse, work)
    }
}

impl Machines {
    /// Whether an account may say this: by the rights that it has now, not those that it had when it connected.
    fn permit(&self, account: &AccountName, input: &FromSession) -> Result<(), Fault> {
        self.with_account(account, |rights| rights.permit(account, input))
    }

    fn with_account(
        &self,
        account: &AccountName,
        permit: impl FnOnce(&Rights) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        match self.accounts().named(account) {
            Some(known) => permit(&known.rights),
            None => Err(Fault::new(Code::AccessDenied, format!("the account {account} was removed"))
                .help("the node's operator adds accounts with `hansa access add`")),
        }
    }

    fn fresh_transaction(&self) -> Result<TransactionId, Fault> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)
            .map_err(|error| Fault::new(Code::Internal, format!("the system gives no randomness: {error}")))?;
        Ok(TransactionId::new(clock::now(), random))
    }
}
