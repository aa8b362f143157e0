//! The shell around the machines: it feeds them, keeps their journal, wakes them, and lets out what they cause.
//!
//! It decides nothing about the exchange. [`house`] recovers and runs the machines of a node in [`shard`]s, [`switchboard`]
//! finds the shard of each, [`journal`] makes records durable and then releases effects to a [`house::World`], [`store`]
//! keeps what is put away. It knows neither CXIP nor libp2p; `node` joins them to it.
#![warn(missing_docs)]

mod checkpoint;
pub mod clock;
mod common;
mod difference;
pub mod duties;
mod gathering;
pub mod history;
pub mod house;
pub mod journal;
pub mod listing;
mod poison;
mod recovery;
pub mod shard;
pub mod snapshot;
pub mod stage;
pub mod standby;
pub mod store;
mod stored;
pub mod supervisor;
pub mod switchboard;
pub mod trail;
pub mod upkeep;
