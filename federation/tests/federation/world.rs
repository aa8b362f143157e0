//! Nodes for the tests: real transports on ephemeral ports, and waiting for what must happen.

use ed25519_dalek::SigningKey;
use hansa_core::{
    code::Fault,
    ident::{OrganizationId, SubnodeId},
    membership::{Admission, Charter, Credentials, Invite, InviteText},
    moment::Moment,
    signed::{Purpose, Signed},
};
use hansa_federation::{Attend, DutyEvent, Event, Frame, Handle, Identity, Keys, Multiaddr, Options, Start, start};
use std::{sync::Arc, time::Duration};
use tokio::{sync::mpsc, time::timeout};

/// Only there so that a broken promise ends a test; nothing is measured with it.
pub const PATIENCE: Duration = Duration::from_secs(60);
pub const TERMS: [u8; 32] = [7; 32];
pub const TCP: &str = "/ip4/127.0.0.1/tcp/0";
pub const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

/// Someone who could run a node.
pub struct Organization {
    pub keys: Keys,
    pub name: &'static str,
    pub credentials: Option<Credentials>,
}

impl Organization {
    pub fn new(name: &'static str) -> Self {
        Self { keys: Keys::generate(), name, credentials: None }
    }

    /// The founder of a federation of its own.
    pub fn founder(name: &'static str) -> Self {
        let mut founder = Self::new(name);
        let charter = Charter { name: "Grain Exchange".parse().unwrap(), founder: founder.id(), founded: Moment(1) };
        let charter = Signed::new(&founder.keys.organization, Purpose::Charter, &charter);
        founder.credentials = Some(Credentials { charter, admissions: vec![] });
        founder
    }

    pub fn id(&self) -> OrganizationId {
        self.keys.organization_id()
    }

    /// The credentials with which this member admits another organization.
    pub fn admit(&self, organization: OrganizationId, name: &str) -> Credentials {
        admit(&self.keys.organization, self.credentials.as_ref().unwrap(), organization, name)
    }

    /// A member of the same federation.
    pub fn with_member(&self, name: &'static str) -> Self {
        let mut member = Self::new(name);
        member.credentials = Some(self.admit(member.id(), name));
        member
    }

    pub fn identity(&self) -> Identity {
        Identity::new(&self.keys, self.name.parse().unwrap(), "Lübeck".parse().unwrap(), Moment(5))
    }

    pub fn invite(&self, addresses: &[Multiaddr]) -> InviteText {
        let invite = Invite {
            credentials: self.credentials.clone().unwrap(),
            name: self.name.parse().unwrap(),
            addresses: addresses.iter().map(ToString::to_string).collect(),
            secret: vec![5; 16],
            expires: Moment(u64::MAX),
        };
        InviteText::new(Signed::new(&self.keys.organization, Purpose::Invite, &invite)).unwrap()
    }

    pub fn start(&self, options: Options) -> Node {
        self.start_with(TERMS, options)
    }

    pub fn start_with(&self, terms_hash: [u8; 32], options: Options) -> Node {
        self.start_serving(1, terms_hash, options)
    }

    /// One of a pair, which serves at that epoch, or does not.
    pub fn start_serving(&self, serving: u64, terms_hash: [u8; 32], options: Options) -> Node {
        let (identity, credentials) = (self.identity(), self.credentials.clone());
        let (told, duties) = mpsc::unbounded_channel();
        let start_with =
            Start { identity, credentials, terms_hash, options, serving, duties: Arc::new(Attendant(told)) };
        let (handle, events) = start(start_with).unwrap();
        Node { id: self.id(), subnode: self.keys.subnode_id(), handle, events, duties }
    }

    /// The other sub-node of the same organization.
    pub fn partner(&self) -> Self {
        let organization = self.keys.organization.clone();
        let keys = Keys { organization, node: Keys::generate().node };
        Self { keys, name: self.name, credentials: self.credentials.clone() }
    }
}

pub fn admit(by: &SigningKey, credentials: &Credentials, organization: OrganizationId, name: &str) -> Credentials {
    let mut longer = credentials.clone();
    let federation = credentials.federation();
    let admission = Admission { federation, organization, name: name.parse().unwrap(), admitted: Moment(2) };
    longer.admissions.push(Signed::new(by, Purpose::Admission, &admission));
    longer
}

/// Quick to notice and to dial again, so that tests are short.
pub fn options(listen: &str) -> Options {
    Options {
        listen: vec![listen.parse().unwrap()],
        dial_delay_ms_min: 20,
        dial_delay_ms_max: 500,
        keep_alive_interval_ms: 200,
        // Peers that a test plays say only what it is about.
        silence_ms_max: 300_000,
        ..Options::default()
    }
}

/// The same, and dials these.
pub fn knowing(listen: &str, known_peers: &[Multiaddr]) -> Options {
    Options { known_peers: known_peers.to_vec(), ..options(listen) }
}

/// Wait for what only a snapshot shows.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let held = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, held).await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

/// Keeps what concerns duties until the test asks.
struct Attendant(mpsc::UnboundedSender<DutyEvent>);

impl Attend for Attendant {
    fn attend(&self, event: DutyEvent) {
        // A test that is over does not ask any more.
        let _ = self.0.send(event);
    }
}

/// A running node.
pub struct Node {
    pub id: OrganizationId,
    pub subnode: SubnodeId,
    pub handle: Handle,
    pub events: mpsc::Receiver<Event>,
    pub duties: mpsc::UnboundedReceiver<DutyEvent>,
}

impl Node {
    /// The first event that `wanted` makes something of.
    pub async fn wait<T>(&mut self, what: &str, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
        let found = async {
            loop {
                let event = self.events.recv().await.expect("the node runs");
                if let Some(found) = wanted(event) {
                    return found;
                }
            }
        };
        timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
    }

    /// The first duty event that `wanted` makes something of.
    pub async fn wait_duty<T>(&mut self, what: &str, mut wanted: impl FnMut(DutyEvent) -> Option<T>) -> T {
        let found = async {
            loop {
                let event = self.duties.recv().await.expect("the node runs");
                if let Some(found) = wanted(event) {
                    return found;
                }
            }
        };
        timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
    }

    /// A link with that sub-node, whoever serves.
    pub async fn pair_up(&mut self, subnode: SubnodeId) -> OrganizationId {
        self.wait_duty("a link with a sub-node", |event| match event {
            DutyEvent::PairUp { subnode: up, organization, .. } if up == subnode => Some(organization),
            _ => None,
        })
        .await
    }

    pub async fn pair_down(&mut self, subnode: SubnodeId) {
        self.wait_duty("the end of a link with a sub-node", |event| match event {
            DutyEvent::PairDown { subnode: down } if down == subnode => Some(()),
            _ => None,
        })
        .await;
    }

    /// The next duty message.
    pub async fn told(&mut self) -> (SubnodeId, Vec<u8>) {
        self.wait_duty("a duty message", |event| match event {
            DutyEvent::Told { subnode, bytes, .. } => Some((subnode, bytes)),
            _ => None,
        })
        .await
    }

    /// Where it listens.
    pub async fn listening(&mut self) -> Multiaddr {
        self.wait("listening", |event| match event {
            Event::Listening { address } => Some(address),
            _ => None,
        })
        .await
    }

    pub async fn up(&mut self, organization: OrganizationId) {
        self.wait("a link", |event| match event {
            Event::PeerUp { organization: up, .. } if up == organization => Some(()),
            _ => None,
        })
        .await;
    }

    pub async fn down(&mut self, organization: OrganizationId) -> String {
        self.wait("the end of a link", |event| match event {
            Event::PeerDown { organization: down, reason, .. } if down == organization => Some(reason),
            _ => None,
        })
        .await
    }

    pub async fn frame(&mut self) -> (OrganizationId, Frame) {
        self.wait("a frame", |event| match event {
            Event::Arrived { organization, frame, .. } => Some((organization, frame)),
            _ => None,
        })
        .await
    }

    /// The next refusal: the fault, and whether the peer refused.
    pub async fn refused(&mut self) -> (Fault, bool) {
        self.wait("a refusal", |event| match event {
            Event::Refused { fault, by_peer, .. } => Some((fault, by_peer)),
            _ => None,
        })
        .await
    }

    pub fn position(&self, to: OrganizationId, accepted_through: u64) {
        self.handle.send(to, Frame::Position { accepted_through }).unwrap();
    }
}

/// A founder and a member, linked.
pub async fn pair(listen: &str) -> (Node, Node) {
    let founder = Organization::founder("Founder");
    let member = founder.with_member("Member");
    let mut one = founder.start(options(listen));
    let address = one.listening().await;
    let mut other = member.start(knowing(listen, &[address]));
    one.up(other.id).await;
    other.up(one.id).await;
    (one, other)
}
