//! The words of a link: what travels in frames, what a link is asked, what happens on it, and what it wants done.
//! [`super::Link`] gives them meaning.

use super::topics;
use crate::{
    code::Fault,
    durability::Durability,
    ident::{InvocationId, OrganizationId, ServiceName, TransactionId},
    invocation::{Invocation, Outcome},
    session::Asker,
};
use serde::{Deserialize, Serialize};

/// What travels in one frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Body {
    /// Perform this for us.
    Request {
        /// What.
        invocation: Invocation,
        /// Which leg of its operation it is: with it the receiver can tell that the id is this invocation's and that of
        /// no other organization's (F7).
        leg: u32,
    },
    /// This is what came of your request.
    Answer {
        /// Which request.
        invocation: InvocationId,
        /// The service that performed it, where one did.
        service: Option<ServiceName>,
        /// What came of it.
        outcome: Outcome,
    },
    /// We wait for this request no more.
    Withdraw {
        /// Which request.
        invocation: InvocationId,
    },
    /// About topics.
    Topic(topics::Body),
}

/// A numbered frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Numbered {
    /// Its number, from one, without gaps.
    pub sequence: u64,
    /// What it says.
    pub body: Body,
}

/// What the receiver of frames signs once its journal has them (X1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Whose frames they are.
    pub from: OrganizationId,
    /// Who has accepted them.
    pub to: OrganizationId,
    /// All up to this number.
    pub accepted_through: u64,
    /// On how many sites (M1); a node that says nothing of it says: at least on one.
    #[serde(default)]
    pub durability: Durability,
}

/// What is asked of a link, or arrives on it.
#[derive(Debug)]
pub enum Input {
    /// A transaction wants the peer to do this. Asked again under the same id, it is one request still.
    Ask {
        /// Which transaction.
        caller: TransactionId,
        /// What.
        invocation: Invocation,
        /// Which leg of its operation it is.
        leg: u32,
    },
    /// The transaction waits no more.
    Withdraw {
        /// For which request.
        invocation: InvocationId,
    },
    /// The transaction has recorded the answer; the link may forget it.
    Settle {
        /// Of which request.
        invocation: InvocationId,
    },
    /// A local service answered the peer's request.
    Answer {
        /// Which request.
        invocation: InvocationId,
        /// What came of it.
        outcome: Outcome,
        /// Whom to acknowledge.
        asker: Option<Asker>,
    },
    /// A connection to the peer is up: tell the peer how far its frames were accepted.
    Opened,
    /// The peer says on a new connection how far it has accepted: sending goes on from there.
    Connected {
        /// The number of the last of our frames in the peer's journal.
        accepted_through: u64,
    },
    /// The connection is gone.
    Disconnected,
    /// A frame of the peer's, its signature checked.
    Arrived(Numbered),
    /// The peer's journal has our frames up to this number.
    Confirmed {
        /// The number.
        accepted_through: u64,
    },
    /// Hand frames to the connection as far as the window allows.
    Transmit,
    /// About topics.
    Topic(topics::Input),
    /// The earliest deadline of the peer's requests has come.
    Due,
    /// The process has started again.
    Resumed,
}

/// What becomes of an accepted frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Taken {
    /// What its body says. A request that was answered before gets its original answer; one that is open stays open.
    Plainly,
    /// A request: this local service performs it.
    By(ServiceName),
    /// A request that is answered with this fault.
    Refused(Fault),
}

/// What happened on a link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// A request of ours was put into the outbox.
    Asked {
        /// Whose.
        caller: TransactionId,
        /// The request.
        invocation: Invocation,
        /// Which leg of its operation it is.
        leg: u32,
    },
    /// A request of ours was withdrawn.
    Withdrawn {
        /// Which.
        invocation: InvocationId,
    },
    /// The caller has recorded the answer to a request of ours.
    Settled {
        /// Which.
        invocation: InvocationId,
    },
    /// A frame of the peer's was accepted.
    Accepted {
        /// The frame.
        frame: Numbered,
        /// What becomes of it; in the same record, so that no crash can come between.
        taken: Taken,
    },
    /// A request of the peer's was answered.
    Answered {
        /// Which.
        invocation: InvocationId,
        /// By whom.
        service: Option<ServiceName>,
        /// What came of it.
        outcome: Outcome,
    },
    /// The peer's journal has our frames up to this number.
    Confirmed {
        /// The number.
        accepted_through: u64,
    },
    /// About topics.
    Topic(topics::Record),
    /// A connection came up; of this process's life only.
    Connected {
        /// Where sending goes on.
        accepted_through: u64,
    },
    /// The connection went; of this process's life only.
    Disconnected,
    /// Frames were handed to the connection; of this process's life only.
    Transmitted {
        /// Up to this number.
        through: u64,
    },
}

/// What a link wants done.
#[derive(Debug)]
pub enum Effect {
    /// Tell the peer, on a new connection, up to which number the journal has its frames.
    Position {
        /// The number.
        accepted_through: u64,
    },
    /// Hand frames to the connection.
    Transmit {
        /// The frames.
        frames: Vec<Numbered>,
    },
    /// Tell the peer that the journal has its frames up to this number.
    Confirm {
        /// The number.
        accepted_through: u64,
    },
    /// Offer a request of the peer's to a local service.
    Offer {
        /// Which service.
        service: ServiceName,
        /// The request.
        invocation: Invocation,
    },
    /// Tell a local service that nobody waits any more.
    Withdraw {
        /// Which service.
        service: ServiceName,
        /// For which invocation.
        invocation: InvocationId,
    },
    /// Ask a transaction whether it still waits for a request; if not, it withdraws it.
    Inquire {
        /// Which transaction.
        caller: TransactionId,
        /// Which request.
        invocation: InvocationId,
    },
    /// Give an answer to the transaction that asked.
    Return {
        /// Which transaction.
        caller: TransactionId,
        /// To which request.
        invocation: InvocationId,
        /// By whom.
        service: Option<ServiceName>,
        /// What came of it.
        outcome: Outcome,
    },
    /// Acknowledge an answer to the session that gave it.
    Acknowledge {
        /// To whom.
        asker: Asker,
        /// Which invocation it answered.
        invocation: InvocationId,
    },
    /// About topics.
    Topic(topics::Effect),
}
