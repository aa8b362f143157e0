//! What the federation tells the node, and what the node can see of its peers.

use crate::{
    frame::{Frame, PairingSecret},
    link::Credit,
};
use hansa_core::{
    code::Fault,
    ident::{City, OrganizationId, OrganizationName, SubnodeId},
    membership::{Certificate, Credentials, InviteText},
    moment::Moment,
};
use libp2p::Multiaddr;
use std::time::Duration;
use tokio::sync::oneshot;

/// Something that happened. While the node does not take events, its peers come to a halt, and nothing else does.
#[derive(Debug)]
pub enum Event {
    /// A member can be spoken to: this node serves its organization, the peer serves the other one, with the highest epoch
    /// known, and takes this node for the one that serves. Frames can be sent. There is one such peer of an organization at a
    /// time, and it is never of this node's own.
    PeerUp {
        /// Whose node it is.
        organization: OrganizationId,
        /// The name in its certificate.
        name: OrganizationName,
        /// The city in its certificate.
        city: City,
        /// The node itself.
        subnode: SubnodeId,
        /// Where it is.
        address: Multiaddr,
        /// Whether this side dialed.
        dialed: bool,
        /// How this node came to know of it.
        discovered_by: DiscoveredBy,
    },
    /// That has ended, with the link or without it. What was queued is dropped; what is durable goes out again after the next
    /// [`Event::PeerUp`].
    PeerDown {
        /// Whose node it is.
        organization: OrganizationId,
        /// The node itself.
        subnode: SubnodeId,
        /// Why, for people.
        reason: String,
    },
    /// A frame came in.
    Arrived {
        /// Who sent it, proved.
        organization: OrganizationId,
        /// Through which of its nodes.
        subnode: SubnodeId,
        /// What it sent.
        frame: Frame,
        /// The room that the frame takes; the peer may send as much again once this is dropped. Keep it until the frame is
        /// dealt with.
        credit: Credit,
    },
    /// There is room again in a queue that answered [`crate::Unsent::Full`].
    Writable {
        /// For whom.
        organization: OrganizationId,
    },
    /// A connection was refused, here or by the other side.
    Refused {
        /// The peer, proved by the transport and by nothing else.
        subnode: SubnodeId,
        /// Where it is.
        address: Multiaddr,
        /// Why.
        fault: Fault,
        /// Whether the peer refused; else this node did.
        by_peer: bool,
    },
    /// A newcomer shows an invite of this organization. The invite and the certificate are whole and fit together; whether the
    /// invite is still open is for the node to decide.
    Knock {
        /// Who wants to join: who signed the certificate.
        organization: OrganizationId,
        /// Its name, city and node.
        certificate: Certificate,
        /// The invite that it shows.
        invite: Box<InviteText>,
        /// Its new credentials, or why it gets none.
        answer: oneshot::Sender<Result<Credentials, Fault>>,
    },
    /// A node shows a pairing code and wants to be the other sub-node of this organization. Whether the code is open is for the
    /// node to decide.
    Pairing {
        /// Which node, proved by the transport.
        subnode: SubnodeId,
        /// The secret that it shows.
        secret: PairingSecret,
        /// Its name, city and node, as it says.
        certificate: Certificate,
        /// What it needs to know, or why it is refused. The bytes may hold keys: they are encrypted on their way, and shown
        /// nowhere.
        answer: oneshot::Sender<Result<Vec<u8>, Fault>>,
    },
    /// This node listens.
    Listening {
        /// Where, with the node's peer id at the end.
        address: Multiaddr,
    },
    /// This node cannot listen at a configured address, or not any more.
    ListenFailed {
        /// Where.
        address: Multiaddr,
        /// Why.
        fault: Fault,
    },
}

/// Who is told of what concerns pairs and their witnesses.
pub trait Attend: Send + Sync + 'static {
    /// Called on the task that reads the link, so that a beat or an entry of the log has no further way to go: it must not wait.
    /// The events of one sub-node come one after the other, in order.
    fn attend(&self, event: DutyEvent);
}

/// A node without duties: the room of a message is back at once.
impl Attend for () {
    fn attend(&self, _: DutyEvent) {}
}

/// Something that concerns pairs and their witnesses, whoever serves. These events have a way of their own, so that beats pass by
/// a node that is slow to take frames.
#[derive(Debug)]
pub enum DutyEvent {
    /// A link with a member's sub-node, or this organization's other one, is up; duty messages can be sent.
    PairUp {
        /// The sub-node.
        subnode: SubnodeId,
        /// Whose it is.
        organization: OrganizationId,
        /// Where it is.
        address: Multiaddr,
    },
    /// The link is down. What was queued for it is dropped.
    PairDown {
        /// The sub-node.
        subnode: SubnodeId,
    },
    /// A duty message came in, whole.
    Told {
        /// Which sub-node said it, proved.
        subnode: SubnodeId,
        /// Whose it is.
        organization: OrganizationId,
        /// What it said.
        bytes: Vec<u8>,
        /// The room that the message takes; the peer may send as much again once this is dropped.
        credit: Credit,
    },
}

/// How a node came to know of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiscoveredBy {
    /// It was in the configuration.
    Configured,
    /// It was in the invite.
    Invite,
    /// The directory had its addresses.
    Directory,
    /// Multicast in the local network.
    Mdns,
    /// Another node's routing table.
    Kademlia,
    /// It came by itself.
    Inbound,
}

/// A connected peer, for the node's status.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Whose node it is.
    pub organization: OrganizationId,
    /// The name in its certificate.
    pub name: OrganizationName,
    /// The city in its certificate.
    pub city: City,
    /// The node itself.
    pub subnode: SubnodeId,
    /// Where it is.
    pub address: Multiaddr,
    /// Whether this side dialed.
    pub dialed: bool,
    /// How this node came to know of it.
    pub discovered_by: DiscoveredBy,
    /// At which epoch it serves its organization; zero where it does not, or has not said yet.
    pub serving: u64,
    /// Whether frames go over the link: see [`Event::PeerUp`].
    pub up: bool,
    /// Since when the link is up.
    pub connected: Moment,
    /// The last measured round trip.
    pub round_trip: Option<Duration>,
    /// What went over the link so far.
    pub traffic: Traffic,
    /// How often this node was refused here since it was started, or refused this one.
    pub refused: u64,
}

/// What went over a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Frames received.
    pub frames_in: u64,
    /// Frames sent.
    pub frames_out: u64,
    /// Bytes of packets received.
    pub bytes_in: u64,
    /// Bytes of packets sent.
    pub bytes_out: u64,
    /// Frames that wait to be sent.
    pub frames_queued: u64,
    /// Duty messages that wait to be sent.
    pub duties_queued: u64,
}

/// What happened since the start, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Links that came up.
    pub links_opened: u64,
    /// Peers that this node refused.
    pub refused_here: u64,
    /// Peers that refused this node.
    pub refused_by_peer: u64,
    /// Dials that failed.
    pub dials_failed: u64,
    /// Frames that came from a sub-node that does not serve, or while this one does not.
    pub frames_dropped: u64,
}
