//! The shell around the machines of `hansa-core`: what keeps their records, and what wakes them.
//!
//! [`journal`] is the one truth of a node: every record, in order, synced before its effects are released. [`store`]
//! keeps what is looked up and machines that are put away; it lags behind the journal and is rebuilt from it.
#![warn(missing_docs)]

pub mod journal;
pub mod store;
