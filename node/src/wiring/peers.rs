//! Between links and the federation: frames are signed on their way out and checked on their way in, in order, one task a
//! peer. What a queue has no room for waits here; what a connection loses is sent again by the link that keeps it.

use super::Machines;
use ciborium::de::from_reader_with_recursion_limit;
use ed25519_dalek::SigningKey;
use hansa_core::{
    code::{Code, Fault},
    directory,
    dispatch::{Input, ToPeer},
    ident::{OrganizationId, SubnodeId},
    link::{self, Body, Numbered, Receipt},
    signed::{Purpose, Signed},
};
use hansa_federation::{Event, ForwardBody, Frame, Handle, Unsent};
use serde_bytes::ByteBuf;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};
use tokio::sync::mpsc;

/// Bytes of frames that travel in one packet, unless a single one is larger.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// How long a full queue is left alone.
const FULL_PAUSE: Duration = Duration::from_millis(5);
/// Nesting of a frame's CBOR: an invocation is a handful of levels.
const FRAME_DEPTH_MAX: usize = 32;

/// Sub-nodes, and where each can be reached.
type Whereabouts = Vec<(SubnodeId, Vec<String>)>;

/// The way to one peer. What still waits on it is lost with it.
struct Way {
    messages: mpsc::UnboundedSender<ToPeer>,
    sending: tokio::task::AbortHandle,
}

impl Drop for Way {
    fn drop(&mut self) {
        self.sending.abort();
    }
}

/// The way to the peers.
pub struct Peers {
    organization: SigningKey,
    federation: Arc<OnceLock<Handle>>,
    /// Where sub-nodes are, as the recovered directory tells before the federation is there; none once it is.
    learned_early: Mutex<Option<Whereabouts>>,
    ways: Mutex<HashMap<OrganizationId, Way>>,
    /// The last receipt of each peer since the process started.
    receipts: Mutex<HashMap<OrganizationId, Receipt>>,
    runtime: tokio::runtime::Handle,
}

impl Peers {
    /// Nobody can be reached before [`Peers::connect`].
    pub fn new(organization: SigningKey) -> Self {
        Self {
            organization,
            federation: Arc::default(),
            learned_early: Mutex::new(Some(Vec::new())),
            ways: Mutex::default(),
            receipts: Mutex::default(),
            runtime: tokio::runtime::Handle::current(),
        }
    }

    /// The federation is there.
    pub fn connect(&self, handle: Handle) {
        assert!(self.federation.set(handle).is_ok(), "a node has one federation");
        let early = self.learned_early.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.learn(early.unwrap_or_default());
    }

    /// The federation, once it is there.
    pub fn federation(&self) -> Option<&Handle> {
        self.federation.get()
    }

    /// Send to one peer, in order. A link's window bounds what waits.
    pub fn send(&self, peer: OrganizationId, message: ToPeer) {
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        let way = ways.entry(peer).or_insert_with(|| {
            let (way, messages) = mpsc::unbounded_channel();
            let sending = Sending {
                peer,
                own: OrganizationId(self.organization.verifying_key().to_bytes()),
                organization: self.organization.clone(),
                federation: Arc::clone(&self.federation),
            };
            let sending = self.runtime.spawn(sending.run(messages)).abort_handle();
            Way { messages: way, sending }
        });
        let _ = way.messages.send(message);
    }

    /// A peer has signed this, and it was checked.
    fn receipt(&self, receipt: Receipt) {
        self.receipts.lock().unwrap_or_else(PoisonError::into_inner).insert(receipt.to, receipt);
    }

    /// The last that each peer has confirmed, and on how many of its sites.
    pub fn receipts(&self) -> HashMap<OrganizationId, Receipt> {
        self.receipts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Drop what waits for peers: this sub-node does not serve any more. What was not taken in, the links of the one that
    /// does send again.
    pub fn forget_ways(&self) {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Pass a directory record on to all connected peers but one.
    pub fn announce(&self, signed: Signed, except: Option<OrganizationId>) {
        let Some(federation) = self.federation.get() else { return };
        for peer in federation.peers() {
            if peer.up && Some(peer.organization) != except && peer.organization != signed.by {
                self.send(peer.organization, ToPeer::Records(vec![signed.clone()]));
            }
        }
    }

    /// Tell the federation where sub-nodes are.
    pub fn learn(&self, subnodes: Whereabouts) {
        if let Some(early) = &mut *self.learned_early.lock().unwrap_or_else(PoisonError::into_inner) {
            // Without these a node whose peers were all started anew with it would never find one again.
            early.extend(subnodes);
            return;
        }
        let federation = Arc::clone(&self.federation);
        self.runtime.spawn(async move {
            let Some(federation) = federation.get() else { return };
            for (subnode, addresses) in subnodes {
                if let Err(fault) = federation.learn(subnode, &addresses).await {
                    tracing::debug!(%fault, "addresses could not be passed on");
                }
            }
        });
    }
}

/// What sends to one peer.
struct Sending {
    peer: OrganizationId,
    own: OrganizationId,
    organization: SigningKey,
    federation: Arc<OnceLock<Handle>>,
}

impl Sending {
    async fn run(self, mut messages: mpsc::UnboundedReceiver<ToPeer>) {
        let mut waiting = Vec::new();
        while messages.recv_many(&mut waiting, 256).await > 0 {
            // Of several receipts that wait the last says all.
            let last_receipt = waiting.iter().rposition(|message| matches!(message, ToPeer::Confirm { .. }));
            for (place, message) in waiting.drain(..).enumerate() {
                match message {
                    ToPeer::Confirm { .. } if Some(place) != last_receipt => {}
                    message => self.send(message).await,
                }
            }
        }
    }

    async fn send(&self, message: ToPeer) {
        match message {
            ToPeer::Digest(versions) => self.send_frame(Frame::Digest(versions)).await,
            ToPeer::Records(records) => {
                for record in records {
                    self.send_frame(Frame::Records(vec![record])).await;
                }
            }
            ToPeer::Position { accepted_through } => self.send_frame(Frame::Position { accepted_through }).await,
            ToPeer::Confirm { accepted_through, durability } => {
                let receipt = Receipt { from: self.peer, to: self.own, accepted_through, durability };
                self.send_frame(Frame::Confirm(Signed::new(&self.organization, Purpose::Receipt, &receipt))).await;
            }
            ToPeer::Frames(frames) => {
                let (mut batch, mut bytes) = (Vec::new(), 0);
                for Numbered { sequence, body } in frames {
                    let mut encoded = Vec::new();
                    ciborium::into_writer(&body, &mut encoded).expect("encoding into memory cannot fail");
                    if bytes + encoded.len() > BATCH_BYTES_MAX && !batch.is_empty() {
                        self.send_frame(Frame::Forward(std::mem::take(&mut batch))).await;
                        bytes = 0;
                    }
                    bytes += encoded.len();
                    let forward = ForwardBody { to: self.peer, sequence, body: ByteBuf::from(encoded) };
                    batch.push(forward.sign(&self.organization));
                }
                if !batch.is_empty() {
                    self.send_frame(Frame::Forward(batch)).await;
                }
            }
        }
    }

    async fn send_frame(&self, frame: Frame) {
        let Some(federation) = self.federation.get() else { return };
        let mut attempt = frame.clone();
        loop {
            match federation.send(self.peer, attempt) {
                Ok(()) => return,
                Err(Unsent::Full) => {
                    tokio::time::sleep(FULL_PAUSE).await;
                    attempt = frame.clone();
                }
                Err(unsent) => {
                    tracing::debug!(peer = %self.peer.short(), %unsent, "a frame was not sent");
                    return;
                }
            }
        }
    }
}

/// Take what the federation tells, until it ends.
pub async fn attend(machines: Arc<Machines>, mut events: mpsc::Receiver<Event>) {
    while let Some(event) = events.recv().await {
        match event {
            Event::PeerUp { organization, name, city, address, discovered_by, dialed, .. } => {
                tracing::info!(peer = %name, %city, %address, ?discovered_by, dialed, "connected to a member");
                machines.peer_up(organization);
            }
            Event::PeerDown { organization, reason, .. } => {
                tracing::info!(peer = %machines.name_of(&organization), reason, "a member is not connected any more");
                if let Some(house) = machines.housed() {
                    house.deliver(Input::Link(organization, link::Input::Disconnected));
                }
            }
            Event::Arrived { organization, frame, credit, .. } => {
                match arrived(&machines, organization, frame).await {
                    Ok(()) => {}
                    // Sent before the peer heard that this sub-node follows; it sends it again to the one that serves.
                    Err(fault) if fault.code == Code::NotActive => {
                        tracing::debug!(peer = %machines.name_of(&organization), "not taken in by a follower");
                    }
                    Err(fault) => {
                        tracing::warn!(peer = %machines.name_of(&organization), code = %fault.code, "refused: {}", fault.message);
                        machines.frame_refused();
                    }
                }
                drop(credit);
            }
            Event::Refused { subnode, address, fault, by_peer } => {
                tracing::warn!(peer = %subnode.short(), %address, by_peer, code = %fault.code, "{}", fault.message);
            }
            Event::Knock { organization, certificate, invite, answer } => {
                let machines = Arc::clone(&machines);
                tokio::spawn(async move {
                    let admitted = machines.knock(organization, certificate.name, invite.signed).await;
                    let _ = answer.send(admitted);
                });
            }
            Event::Pairing { secret, certificate, answer, .. } => {
                let machines = Arc::clone(&machines);
                tokio::spawn(async move {
                    let paired = machines.pairing(&secret.0, &certificate).await;
                    if let Err(fault) = &paired {
                        tracing::warn!(code = %fault.code, "a node came to pair, and is refused: {}", fault.message);
                    }
                    let _ = answer.send(paired);
                });
            }
            Event::Listening { address } => {
                tracing::info!(%address, "members can reach this node");
                machines.introduce().await;
            }
            Event::ListenFailed { address, fault } => {
                tracing::error!(%address, code = %fault.code, "{}", fault.message);
            }
            Event::Writable { .. } => {}
        }
    }
}

async fn arrived(machines: &Machines, from: OrganizationId, frame: Frame) -> Result<(), Fault> {
    match frame {
        Frame::Position { accepted_through } => {
            machines.house()?.deliver(Input::Link(from, link::Input::Connected { accepted_through }));
        }
        Frame::Digest(versions) => {
            machines.admit(Input::Directory(directory::Input::Digest { from, versions })).await?;
        }
        Frame::Records(records) => {
            for signed in records {
                machines.admit(Input::Directory(directory::Input::Arrived { from, signed })).await?;
            }
        }
        Frame::Confirm(signed) => {
            let receipt: Receipt = signed.open(Purpose::Receipt, Code::FrameRefused)?;
            if signed.by != from || receipt.to != from || receipt.from != machines.own() {
                return Err(Fault::new(Code::FrameRefused, "a receipt is not the sender's own, or not for this node"));
            }
            let accepted_through = receipt.accepted_through;
            machines.ways.peers.receipt(receipt);
            machines.admit(Input::Link(from, link::Input::Confirmed { accepted_through })).await?;
        }
        Frame::Forward(frames) => {
            for signed in frames {
                let ForwardBody { sequence, body, .. } = ForwardBody::open(&signed, from, machines.own())?;
                let frame = Numbered { sequence, body: read_body(&body)? };
                machines.admit(Input::Link(from, link::Input::Arrived(frame))).await?;
            }
        }
    }
    Ok(())
}

/// Read what a peer forwarded. Whether its documents are ones, the link checks.
fn read_body(bytes: &[u8]) -> Result<Body, Fault> {
    from_reader_with_recursion_limit(bytes, FRAME_DEPTH_MAX)
        .map_err(|error| Fault::new(Code::FrameRefused, format!("a forwarded frame cannot be read: {error}")))
}

impl Machines {
    /// A member is connected: its link says how far its frames were accepted, and the directories are compared.
    fn peer_up(&self, peer: OrganizationId) {
        let Some(house) = self.housed() else { return };
        house.deliver(Input::Link(peer, link::Input::Opened));
        house.deliver(Input::Directory(directory::Input::Connected { peer }));
    }

    /// Deliver what a peer sent as soon as there is room. Meanwhile the peer's credit is used up, and it waits.
    async fn admit(&self, input: Input) -> Result<(), Fault> {
        loop {
            // Asked each time: it may stop to serve meanwhile.
            let house = self.house()?;
            if house.has_room(&input) {
                house.deliver(input);
                return Ok(());
            }
            tokio::time::sleep(FULL_PAUSE).await;
        }
    }
}
