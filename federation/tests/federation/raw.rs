//! A peer that speaks libp2p and then whatever a test wants: the packets of `docs/protocols/federation.md`, or none.

use crate::world::{Node, Organization, PATIENCE, TCP, TERMS, knowing, options};
use ed25519_dalek::SigningKey;
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use hansa_core::{
    code::{Code, Fault},
    ident::{FederationId, OrganizationId, SubnodeId},
    membership::{Certificate, Credentials},
    moment::Moment,
    signed::{Purpose, Signed},
};
use hansa_federation::Options;
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol, Swarm, SwarmBuilder, identity::Keypair, multiaddr::Protocol, noise, tcp,
    yamux,
};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use tokio::time::timeout;

/// The packets, written down once more: a change of the wire must be noticed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Packet {
    Hello(Box<Hello>),
    Refuse(Fault),
    Welcome,
    Open { link: u64 },
    Superseded,
    Goodbye,
    Frame(Frame),
    Grant { frames: u32, bytes: u64 },
    Serving { epoch: u64 },
    Attend { round: u64 },
    Begin { round: u64 },
    Duty { part: ByteBuf, last: bool },
    DutyGrant { parts: u32, bytes: u64 },
    Here,
    Paired(ByteBuf),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Frame {
    Digest(Vec<(OrganizationId, u64)>),
    Position { accepted_through: u64 },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hello {
    pub protocol_version: u16,
    pub federation: FederationId,
    #[serde(with = "serde_bytes")]
    pub terms_hash: [u8; 32],
    pub certificate: Signed,
    pub incarnation: u64,
    pub ended_link: Option<u64>,
    pub standing: Standing,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Standing {
    Member(Credentials),
    Newcomer(Signed),
    Partner { secret: ByteBuf },
}

/// A transport key without a node behind it.
pub struct Raw {
    pub key: SigningKey,
}

impl Raw {
    pub fn new(seed: u8) -> Self {
        Self { key: SigningKey::from_bytes(&[seed; 32]) }
    }

    /// One with a larger id than `other`, so that the other decides which connection becomes the link.
    pub fn larger_than(other: SubnodeId) -> Self {
        Self::that(|own| own > other)
    }

    /// One with a smaller id than `other`, so that it decides.
    pub fn smaller_than(other: SubnodeId) -> Self {
        Self::that(|own| own < other)
    }

    /// The other's id may be nearly the largest, or the smallest; another key is only a hash away.
    fn that(is_wanted: impl Fn(SubnodeId) -> bool) -> Self {
        let numbered = |number: u32| {
            let mut seed = [100; 32];
            seed[..4].copy_from_slice(&number.to_be_bytes());
            Self { key: SigningKey::from_bytes(&seed) }
        };
        (0..1_000_000).map(numbered).find(|raw| is_wanted(raw.subnode())).expect("one of a million ids is")
    }

    pub fn subnode(&self) -> SubnodeId {
        SubnodeId(self.key.verifying_key().to_bytes())
    }

    /// What `organization` would sign for `subnode`.
    pub fn certificate(organization: &SigningKey, subnode: SubnodeId) -> Signed {
        let (name, city) = ("Raw".parse().unwrap(), "Bergen".parse().unwrap());
        Signed::new(organization, Purpose::Certificate, &Certificate { subnode, name, city, issued: Moment(1) })
    }

    /// Connect to a node and open the link stream.
    pub async fn connect(&self, address: &Multiaddr) -> Connection {
        let keypair = Keypair::ed25519_from_bytes(self.key.to_bytes()).unwrap();
        let mut swarm: Swarm<libp2p_stream::Behaviour> = SwarmBuilder::with_existing_identity(keypair)
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|_| libp2p_stream::Behaviour::new())
            .unwrap()
            .build();
        let Some(Protocol::P2p(peer)) = address.iter().last() else { panic!("{address} has no peer id") };
        let peer: PeerId = peer;
        swarm.dial(address.clone()).unwrap();
        let mut control = swarm.behaviour().new_control();
        let swarm = tokio::spawn(async move { while swarm.next().await.is_some() {} });
        let protocol = StreamProtocol::new("/hansa/link/1");
        let stream = timeout(PATIENCE, control.open_stream(peer, protocol)).await.unwrap().unwrap();
        Connection { stream, swarm }
    }
}

/// A link stream, with nothing said yet.
pub struct Connection {
    stream: Stream,
    swarm: tokio::task::JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.swarm.abort();
    }
}

impl Connection {
    pub async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    pub async fn send(&mut self, packet: &Packet) {
        let mut bytes = Vec::new();
        ciborium::into_writer(packet, &mut bytes).unwrap();
        self.write(&framed(&bytes)).await;
    }

    /// All at once, so that a refusal cannot come in between.
    pub async fn send_all(&mut self, packets: &[Packet]) {
        let mut all = Vec::new();
        for packet in packets {
            let mut bytes = Vec::new();
            ciborium::into_writer(packet, &mut bytes).unwrap();
            all.extend(framed(&bytes));
        }
        self.write(&all).await;
    }

    /// The next packet, or nothing when the stream has ended.
    pub async fn receive(&mut self) -> Option<Packet> {
        let read = async {
            let mut prefix = [0; 4];
            self.stream.read_exact(&mut prefix).await.ok()?;
            let mut bytes = vec![0; u32::from_be_bytes(prefix) as usize];
            self.stream.read_exact(&mut bytes).await.ok()?;
            Some(ciborium::from_reader(&bytes[..]).unwrap())
        };
        timeout(PATIENCE, read).await.expect("an answer, or the end")
    }

    /// Say nothing more.
    pub async fn end(&mut self) {
        let _ = self.stream.close().await;
    }

    /// Say hello as the dialer, and answer until the link is up.
    pub async fn link(&mut self, hello: Hello, decides: bool) {
        self.open(hello, decides).await;
        self.attend().await;
    }

    /// Say that this side serves and attends, wait until the other does, and begin its round.
    pub async fn attend(&mut self) {
        self.send(&Packet::Serving { epoch: 1 }).await;
        self.send(&Packet::Attend { round: 5 }).await;
        loop {
            match self.receive().await.expect("the other side attends") {
                Packet::Attend { round } => return self.send(&Packet::Begin { round }).await,
                Packet::Serving { .. } | Packet::Here => {}
                other => panic!("instead of its round: {other:?}"),
            }
        }
    }

    /// Say hello as the dialer, and answer until there is a link.
    pub async fn open(&mut self, hello: Hello, decides: bool) {
        self.send(&Packet::Hello(Box::new(hello))).await;
        assert!(matches!(self.receive().await, Some(Packet::Hello(_))));
        if decides {
            self.send(&Packet::Open { link: 77 }).await;
        } else {
            self.send(&Packet::Welcome).await;
            assert!(matches!(self.receive().await, Some(Packet::Open { .. })));
        }
    }
}

/// A founder's node, and the means to lie to it.
pub struct Scene {
    pub founder: Organization,
    pub node: Node,
    pub address: Multiaddr,
    /// The key of a member whose node a test plays.
    pub member: SigningKey,
}

impl Scene {
    pub async fn new() -> Self {
        Self::with(options(TCP)).await
    }

    pub async fn with(options: Options) -> Self {
        let founder = Organization::founder("Founder");
        let mut node = founder.start(options);
        let address = node.listening().await;
        Self { founder, node, address, member: SigningKey::from_bytes(&[30; 32]) }
    }

    pub fn hello(&self, certificate: Signed, credentials: Credentials) -> Hello {
        Hello {
            protocol_version: 2,
            federation: self.founder.credentials.as_ref().unwrap().federation(),
            terms_hash: TERMS,
            certificate,
            incarnation: 1,
            ended_link: None,
            standing: Standing::Member(credentials),
        }
    }

    pub fn member_id(&self) -> OrganizationId {
        OrganizationId(self.member.verifying_key().to_bytes())
    }

    /// The hello of an honest member behind `raw`.
    pub fn honest(&self, raw: &Raw, member: &SigningKey) -> Hello {
        let id = OrganizationId(member.verifying_key().to_bytes());
        self.hello(Raw::certificate(member, raw.subnode()), self.founder.admit(id, "Raw"))
    }

    /// The node refuses, says so to both sides and counts it.
    pub async fn expect_refusal(&mut self, connection: &mut Connection, code: Code, refused_before: u64) -> Fault {
        let fault = loop {
            match connection.receive().await {
                Some(Packet::Refuse(fault)) => break fault,
                Some(
                    Packet::Grant { .. }
                    | Packet::Serving { .. }
                    | Packet::Attend { .. }
                    | Packet::Begin { .. }
                    | Packet::Here,
                ) => {}
                other => panic!("instead of a refusal: {other:?}"),
            }
        };
        assert!(connection.receive().await.is_none(), "and the stream ends");
        connection.end().await;
        assert_eq!(fault.code, code, "{fault}");
        assert_eq!(self.node.refused().await, (fault.clone(), false));
        assert_eq!(self.node.handle.counters().refused_here, refused_before + 1);
        fault
    }

    /// The node still accepts who belongs.
    pub async fn expect_alive(mut self) {
        let mut member = self.founder.with_member("Member").start(knowing(TCP, &[self.address]));
        member.up(self.node.id).await;
        self.node.up(member.id).await;
        member.position(self.node.id, 1);
        assert_eq!(self.node.frame().await, (member.id, hansa_federation::Frame::Position { accepted_through: 1 }));
    }
}

/// Bytes with their length before them.
pub fn framed(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}
