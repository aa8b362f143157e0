//! The one notion of asking somebody for something: deliver this document, in this context, to that service or to whoever
//! performs that operation; one outcome comes back before a deadline.
//!
//! A transaction's operation, a broadcast's leg and (later) a leg of a message's route are all an [`Invocation`]. Forwarded
//! to a peer it is the same invocation one hop further.

use crate::{
    code::{Code, Fault},
    document::Text,
    ident::{DefinitionName, InvocationId, OperationName, OrganizationId, ServiceName, TransactionId},
    moment::Moment,
};
use serde::{Deserialize, Serialize};

/// One act asked of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invocation {
    /// Its id and idempotency key.
    pub id: InvocationId,
    /// Within what it is asked.
    pub context: Context,
    /// Who shall do it.
    pub target: Target,
    /// What the one who does it works on.
    pub document: Text,
    /// After this moment nobody waits for the outcome.
    pub deadline: Option<Moment>,
}

/// Within what an invocation is asked: constant over all its hops, but for `hops`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// The organization whose transaction it is.
    pub organization: OrganizationId,
    /// The transaction.
    pub transaction: TransactionId,
    /// The definition of the transaction.
    pub definition: DefinitionName,
    /// Which operation of the transaction.
    pub operation: u32,
    /// Which attempt at it, from one.
    pub attempt: u32,
    /// How urgent it is, from 0 to 9: a service is given what is more urgent first.
    pub priority: u8,
    /// How many nodes it has crossed (F7).
    pub hops: u8,
}

/// Who shall perform an invocation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Target {
    /// What is to be done.
    pub operation: OperationName,
    /// The service that shall do it; without one, any that signed up for the operation (T10).
    pub service: Option<ServiceName>,
}

/// What came of an invocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Done; here is the answer.
    Completed(Text),
    /// Not done, for this reason.
    Failed(Fault),
    /// Not done before the deadline.
    Expired,
    /// Withdrawn by whoever asked.
    Cancelled,
}

impl Outcome {
    /// The outcome as a fault, if it is not [`Outcome::Completed`].
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Self::Completed(_) => None,
            Self::Failed(fault) => Some(fault.clone()),
            Self::Expired => Some(Fault::new(Code::OperationTimedOut, "no answer came before the deadline")),
            Self::Cancelled => Some(Fault::new(Code::TransactionCancelled, "the operation was withdrawn")),
        }
    }
}

/// The machine of this node that owns an invocation and waits for its outcome.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Caller {
    /// A transaction of this node.
    Transaction(TransactionId),
    /// A peer, for a transaction of its own.
    Peer(OrganizationId),
}

/// Who performs a leg of an operation: what the router chose, as the caller records it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Performer {
    /// A service of this node.
    Local(ServiceName),
    /// A service of a peer, or whichever of its services signed up for the operation.
    Peer {
        /// The peer.
        organization: OrganizationId,
        /// Its service, where a certain one is meant.
        service: Option<ServiceName>,
    },
    /// A transaction of this node, which runs in the operation's place (T17).
    Transaction(TransactionId),
}
