//! The mirrored pair: two sub-nodes in two cities, of which one serves and the other follows and takes over (M1 to M4).
//!
//! `pair` is one sub-node's side, `witness` the memory of who is active, which other members lend, and `register` how a member
//! asks them. Safety rests on the configurations that a quorum of witnesses sealed and on the rule that an entry counts when it is
//! durable on every member of the current one; clocks only say how soon a failure is noticed. The room must not know what entries
//! mean. `docs/protocols/mirror.md` is its page.

mod configuration;
mod entry;
mod flaw;
mod message;
pub mod pair;
mod register;
#[cfg(test)]
mod tests;
pub mod witness;

pub use configuration::{
    Ballot, Certified, Configuration, MemberId, Mode, Proof, Seal, Sealed, WITNESSES_MAX, Witnesses,
};
pub use entry::Entry;
pub use flaw::Flaw;
pub use message::{Accepted, Fork, HISTORY_EPOCHS_MAX, History, Message, Position};
pub use pair::Pair;
pub use witness::Witness;
