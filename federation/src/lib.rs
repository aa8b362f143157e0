//! The federation's part of a node: it finds other members, proves who they are, and carries frames to and from them.
//!
//! It knows nothing of transactions, services, journals or machines: what is signed, kept and sent again is decided by the
//! node, which feeds a [`Handle`] and takes [`Event`]s. Everything durable is elsewhere; whatever waits here may be lost when a
//! link goes down. Nothing is global, so several federations run in one process.
//!
//! - [`Keys`], [`Identity`]: the keys on disk, and the certificate that binds them.
//! - [`start`], [`Start`], [`Options`]: a running federation.
//! - [`Handle`], [`Event`], [`Frame`]: what goes in and out. `docs/protocols/federation.md` describes the wire.
//! - [`Latency`]: lines of a test network.
#![warn(missing_docs)]

mod behaviour;
mod dialing;
mod emulation;
mod event;
mod frame;
mod handle;
mod hello;
mod identity;
mod link;
mod options;
mod service;
mod shared;

pub use emulation::Latency;
pub use event::{Attend, Counters, DiscoveredBy, DutyEvent, Event, Peer, Traffic};
pub use frame::{ForwardBody, Frame, PACKET_BYTES_MAX, PairingSecret};
pub use handle::Handle;
pub use hello::Identity;
pub use identity::{Keys, NODE_KEY_FILE, ORGANIZATION_KEY_FILE, peer_id, subnode_id};
pub use libp2p::{Multiaddr, PeerId};
pub use link::{Credit, QUEUE_BYTES_MAX, QUEUE_FRAMES_MAX, Unsent};
pub use options::Options;
pub use service::{Start, start};

/// A number from the operating system's randomness, for names and seeds.
fn random_u64() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    u64::from_be_bytes(bytes)
}
