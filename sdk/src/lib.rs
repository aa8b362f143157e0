//! What a developer of a hansa service or client needs: [`Service`] performs operations for a node, [`Client`] submits
//! transactions to one. Both keep their connection by themselves and lose nothing when it breaks.
//!
//! The protocol is CXIP; [`cxip`] has its messages, for those who go without the two. What is told to a person is always
//! a [`Fault`]: what is wrong, where, and what to do.
//!
//! [`test::Node`] is a node in memory, with which a service's test needs no process and no network.
#![warn(missing_docs)]

mod administrator;
mod client;
pub mod cxip;
mod over_http;
mod reach;
mod service;
mod subscription;
pub mod test;
mod tls;

pub use administrator::Administrator;
pub use client::{Client, Connecting, Submission};
pub use hansa_core::{
    code::{Code, Fault},
    document::{Document, Element, Text},
    durability::Durability,
    ident::{
        DefinitionName, InvocationId, OperationName, OrganizationId, PublicationId, ServiceName, SignalName,
        SubscriberName, TopicName, TransactionId,
    },
    moment::Moment,
    session::{Ending, Response, Status, Tracking},
};
pub use reach::Welcome;
pub use service::{Answer, Cancellation, Request, Running, Service};
pub use subscription::{Publication, Subscribing, Subscription};
pub use tls::Tls;
