//! The place of each kind of machine in the node: what it looks at, what becomes of its effects, what of it is counted, and
//! who is told when it refuses. One file a kind; [`super`] has what is delivered.

mod access;
mod catalogue;
mod directory;
mod link;
mod mailbox;
mod membership;
mod topic;
mod transaction;

use super::{Delivery, Outward, Surroundings, Tally};
use crate::{
    address::{KeyBytes, Kind},
    durability::Durability,
    machine::Machine,
    moment::Moment,
    session::{Asker, ToSession, Tracking},
};

/// A machine with its place in the node.
pub trait Housed: Machine<Key: KeyBytes> {
    /// Its kind.
    const KIND: Kind;
    /// Whether it may be put away while it has work open, and is woken by its next input.
    const PUT_AWAY: bool;
    /// What is counted when this happens.
    fn tally(_: &Self::Record) -> Option<Tally> {
        None
    }
    /// How many times it is counted.
    fn times(_: &Self::Record) -> u64 {
        1
    }
    /// What it keeps of documents, in bytes, where that is bounded over all machines of the kind.
    fn kept_bytes(&self) -> usize {
        0
    }
    /// The sessions that wait for it. They live as long as the process, so they are not stored with a machine that is put
    /// away: the shell keeps them beside.
    fn waiting(&self) -> &[Asker] {
        &[]
    }
    /// The record that gives a woken machine back one that waits.
    fn waits(_: Asker) -> Option<Self::Record> {
        None
    }
    /// Whether another machine still needs it, though nothing is open: it is not forgotten then, however old it is.
    fn is_needed(&self) -> bool {
        false
    }
    /// Whether it has ended, though it may still be open for a while.
    fn is_ended(&self) -> bool {
        !self.is_open()
    }
    /// Until when it is there only to answer once more what it has answered. That is no open work, and where there are too
    /// many of them the oldest are told [`Housed::forget`].
    fn lingers_until(&self) -> Option<Moment> {
        None
    }
    /// The input that says: linger no longer.
    fn forget() -> Option<Self::Input> {
        None
    }
    /// The record that says: this machine has ended, and is forgotten because somebody wants that. None where that cannot be wanted.
    fn purged() -> Option<Self::Record> {
        None
    }
    /// Whether a machine begins with this record: what one under the same key was before, if there was one, is forgotten by then.
    fn begins(_: &Self::Record) -> bool {
        false
    }
    /// What it looks at.
    fn around(surroundings: &Surroundings) -> &Self::Around;
    /// What becomes of its effect.
    fn dispatch(key: &Self::Key, effect: Self::Effect) -> Delivery;
    /// Who is told if the input is refused.
    fn asker(input: &Self::Input) -> Option<Asker>;
}

fn acknowledge(asker: Asker, tracking: Tracking) -> Delivery {
    Delivery::Outward(Outward::Session(asker.session, ToSession::Acknowledged { message: asker.message, tracking }))
}

/// What was asked is recorded.
fn done(asker: Asker, word: impl Into<String>) -> Delivery {
    acknowledge(asker, Tracking { durability: Some(Durability::OneSite), ..noted(word) })
}

/// What was asked needs no record.
fn noted(word: impl Into<String>) -> Tracking {
    Tracking { word: Some(word.into()), ..Tracking::default() }
}
