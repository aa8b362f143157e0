//! A link: the one long-lived stream between two nodes that have said hello to each other.

pub(crate) mod attendance;
mod ledger;
pub(crate) mod queue;
pub(crate) mod session;
pub(crate) mod streams;
mod transfer;
mod wire;

pub use ledger::Credit;
pub use queue::{QUEUE_BYTES_MAX, QUEUE_FRAMES_MAX, Unsent};
