//! Federations of real `hansa` processes on one machine: `hansa testnet up`, the demo, the benchmarks, and what the tests
//! with real processes stand on.
//!
//! The node's command line embeds [`command::TestnetCommand`]. This crate starts the executable that it is given and speaks to it
//! as anybody would, over CXIP and the administration socket; it never links the node.
#![warn(missing_docs)]

pub mod admin;
pub mod attach;
pub mod bench;
pub mod cities;
pub mod cluster;
pub mod command;
pub mod demo;
pub mod pair;
pub mod ports;
pub mod process;
pub mod screen;
pub mod simulation;
pub mod stage;
pub mod storm;
pub mod trade;
pub mod upheaval;
