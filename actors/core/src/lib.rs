//! The machines of a hansa node, and the vocabulary that they share.
//!
//! Everything that a node *decides* is decided here, by values that never wait, read no clock and do no I/O: given an
//! input, a [`machine::Machine`] says which records to write and which effects to cause, and only records change it.
//! The shell (`hansa-actors`) and the simulator feed the same machines through the same [`dispatch`].
//!
//! Vocabulary: [`ident`], [`moment`], [`dice`], [`limit`], [`code`], [`document`], [`durability`], [`invocation`], [`session`],
//! [`offer`], [`signed`], [`machine`], [`address`]. Rooms, which know the vocabulary and not each other:
//! [`transaction`], [`topic`], [`mailbox`], [`link`], [`directory`], [`membership`], [`access`], [`mirror`] (but the directory opens the
//! papers that membership defines). [`dispatch`] knows them all, and [`ensemble`] joins them to a node in one thread.
#![warn(missing_docs)]

pub mod access;
pub mod address;
pub mod code;
pub mod dice;
pub mod directory;
pub mod dispatch;
pub mod document;
pub mod durability;
pub mod ensemble;
#[cfg(test)]
mod fixture;
pub mod ident;
pub mod invocation;
pub mod limit;
pub mod link;
pub mod machine;
pub mod mailbox;
pub mod membership;
pub mod mirror;
pub mod moment;
pub mod offer;
pub mod session;
pub mod signed;
pub mod topic;
pub mod transaction;
