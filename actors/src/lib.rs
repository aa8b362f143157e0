//! The shell around the machines of a node.
#![warn(missing_docs)]

pub mod store;
