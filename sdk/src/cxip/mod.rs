//! CXIP, the protocol between a node and what is attached to it (T13, T14): messages, their form on the wire, and a
//! connection that carries them. Both sides use it: this crate's [`crate::Service`] and [`crate::Client`], and the node's
//! listener. The page `docs/protocols/cxip.md` says the same for people who write another implementation.
//!
//! [`encode`] and [`decode`] are pure; [`Wire`] adds a stream, message numbers, credit and the detection of dead peers.

mod administration;
mod envelope;
mod fragments;
mod header;
mod read;
pub mod session;
mod stream;
mod topics;
mod whereabouts;
mod wire;
mod write;

#[cfg(test)]
mod fragments_tests;
#[cfg(test)]
mod page_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod wire_tests;

pub use fragments::{Assembly, Budget};
pub use header::{HEADER_BYTES, Header, Kind, MAGIC, VERSION};
pub use stream::Stream;
pub use whereabouts::is_address;
pub use wire::{Ended, Incoming, Wire};

use bytes::BytesMut;
use fragments::Fragments;
use hansa_core::{
    code::{Code, Fault},
    document::Text,
    ident::{
        AccountName, City, DefinitionName, InvocationId, OrganizationName, PublicationId, ServiceName, SignalName,
        SubscriberName, TopicAddress, TopicName, TransactionId,
    },
    invocation::Invocation,
    limit, offer,
    session::{Notification, Response, Status, Tracking},
    transaction::OutcomeKind,
};
use std::fmt;

/// The namespace of the contents' root elements.
pub const NAMESPACE: &str = "urn:hansa:cxip:1";

/// A message's content.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Opens a connection; the first message of whoever attaches.
    Connect {
        /// What the node calls this end of the connection in its logs.
        name: String,
        /// The account that it comes as, where that has another name.
        account: Option<AccountName>,
        /// What proves that it may, where the node asks for that.
        password: Option<Password>,
    },
    /// This connection performs these operations under this name (T15).
    Register {
        /// The service.
        service: offer::Service,
        /// How many invocations it takes at once.
        credit: u32,
    },
    /// Begin a transaction; the reply comes when it has ended (T4).
    Submit {
        /// Which definition.
        definition: DefinitionName,
        /// The id, where the client chose one; with it a repetition is the same submission.
        transaction: Option<TransactionId>,
        /// The input document.
        document: Text,
    },
    /// Reply when this transaction has ended, or at once if it has.
    Await {
        /// Which.
        transaction: TransactionId,
    },
    /// Reply with how far this transaction is.
    Query {
        /// Which.
        transaction: TransactionId,
    },
    /// End this transaction.
    Cancel {
        /// Which.
        transaction: TransactionId,
    },
    /// What a transaction waits for from outside has come (T17).
    Signal {
        /// Which transaction.
        transaction: TransactionId,
        /// What has come.
        signal: SignalName,
        /// With this document.
        document: Text,
    },
    /// Publish to a topic (T13).
    Publish {
        /// Which topic.
        topic: TopicName,
        /// The id, where the publisher chose one; with it a repetition is the same publication.
        publication: Option<PublicationId>,
        /// Whether subscribers at peers get it too.
        public: bool,
        /// What is published.
        document: Text,
    },
    /// This connection takes publications for a subscriber, who is subscribed from now on if it was not before (T13).
    Subscribe {
        /// To which topic.
        topic: TopicAddress,
        /// Who subscribes.
        subscriber: SubscriberName,
        /// How many publications it takes at once.
        credit: u32,
    },
    /// End a subscription for good (T13).
    Unsubscribe {
        /// To which topic.
        topic: TopicAddress,
        /// Whose.
        subscriber: SubscriberName,
    },
    /// Node to subscriber: this was published (T13).
    Notify {
        /// The topic.
        topic: TopicAddress,
        /// The subscriber, of those that the connection takes publications for.
        subscriber: SubscriberName,
        /// What was published.
        notification: Notification,
    },
    /// Node to service: perform this.
    Perform {
        /// The service that shall do it, of those that the connection registered.
        service: ServiceName,
        /// What to do; its id is the idempotency key.
        invocation: Invocation,
    },
    /// Node to service: nobody waits any more for this invocation.
    Withdraw {
        /// Which.
        invocation: InvocationId,
    },
    /// An invocation was performed.
    Completed {
        /// Which.
        invocation: InvocationId,
        /// The service that did it.
        service: ServiceName,
        /// The answer.
        document: Text,
    },
    /// An invocation could not be performed.
    Failed {
        /// Which.
        invocation: InvocationId,
        /// The service that says so.
        service: ServiceName,
        /// Why not.
        fault: Fault,
    },
    /// Do this for the node's administrator (T14); on the administration port alone.
    Administer {
        /// What, in JSON.
        request: String,
    },
    /// Node to administrator: the answer, or a part of it.
    Administered {
        /// In JSON.
        answer: String,
        /// Whether it goes on in another of the same correlation.
        more: bool,
    },
    /// How a transaction ended.
    Response(Response),
    /// How far a transaction is.
    Status(Status),
    /// The message was taken; nothing will take that back.
    Acknowledged(Acknowledgement),
    /// The message was refused; nothing of it was done.
    Refused(Refusal),
    /// An Acknowledge without content. With correlation zero it asks for a sign of life; the answer is one with the number
    /// of the one that asked.
    Probe,
}

impl Message {
    /// The message type that carries this content.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Connect { .. }
            | Self::Register { .. }
            | Self::Submit { .. }
            | Self::Await { .. }
            | Self::Query { .. }
            | Self::Signal { .. }
            | Self::Administer { .. }
            | Self::Perform { .. } => Kind::Request,
            Self::Completed { .. }
            | Self::Failed { .. }
            | Self::Administered { .. }
            | Self::Response(_)
            | Self::Status(_) => Kind::Reply,
            Self::Cancel { .. } | Self::Withdraw { .. } => Kind::Cancel,
            Self::Publish { .. } => Kind::Publish,
            Self::Notify { .. } => Kind::Notify,
            Self::Subscribe { .. } => Kind::Subscribe,
            Self::Unsubscribe { .. } => Kind::Unsubscribe,
            Self::Acknowledged(_) | Self::Refused(_) | Self::Probe => Kind::Acknowledge,
        }
    }
}

/// A secret that no log shows (DESIGN invariant 7).
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub String);

impl fmt::Debug for Password {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Password(…)")
    }
}

/// What comes with the acknowledgement of a message that was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Tracking data (T13).
    pub tracking: Tracking,
    /// Of a Connect: whose node it is.
    pub organization: Option<OrganizationName>,
    /// Of a Connect: where that organization is.
    pub city: Option<City>,
    /// Of a Connect: where the other sub-node of the node's pair listens, host and port each (M2).
    pub alternates: Vec<String>,
}

/// Why a message was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason.
    pub fault: Fault,
    /// If the same message may be taken later: after how long to try again.
    pub retry_after_ms: Option<u64>,
    /// Where the same message would be taken: at the active sub-node, host and port (M2).
    pub address: Option<String>,
}

impl Refusal {
    /// A refusal for this reason, and nothing else.
    #[must_use]
    pub fn new(fault: Fault) -> Self {
        Self { fault, retry_after_ms: None, address: None }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::new(fault)
    }
}

/// A message as it was read. Its frame is whole even where its content is not.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// The header.
    pub header: Header,
    /// The content, or what is wrong with it. The connection goes on either way.
    pub message: Result<Message, Fault>,
    /// Of a content that cannot be read: what it was to answer, as far as it says.
    pub unread: Option<Unread>,
}

/// What an answer was to answer whose content cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// The invocation that it names.
    pub invocation: InvocationId,
    /// As which service it was given.
    pub service: ServiceName,
    /// What it seems to say.
    pub outcome: OutcomeKind,
}

/// Bytes that are no message. Nobody knows where the next one would begin, so the connection ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Framing {
    /// The number of the message, as far as the header has one; else zero.
    pub number: u64,
    /// What is wrong.
    pub fault: Fault,
}

/// Write a message behind what `buffer` holds, in one piece or in as many fragments as its content needs.
///
/// # Errors
/// The message has more content than a message can; `buffer` is as before.
pub fn encode(
    buffer: &mut BytesMut,
    number: u64,
    correlation: u64,
    credit: u32,
    message: &Message,
) -> Result<(), Fault> {
    if let Some(mut fragments) = encode_piece(buffer, number, correlation, credit, message)? {
        while fragments.put(buffer, credit) {}
    }
    Ok(())
}

/// Write a message behind what `buffer` holds, if it is one piece; otherwise say its fragments and write nothing.
fn encode_piece(
    buffer: &mut BytesMut,
    number: u64,
    correlation: u64,
    credit: u32,
    message: &Message,
) -> Result<Option<Fragments>, Fault> {
    let start = buffer.len();
    buffer.resize(start + HEADER_BYTES, 0);
    write::content(buffer, message);
    let content_bytes = buffer.len() - start - HEADER_BYTES;
    let mut header =
        Header { kind: message.kind(), number, correlation, more: false, content_bytes: content_bytes as u32, credit };
    if content_bytes <= limit::CXIP_FRAGMENT_BYTES_MAX {
        buffer[start..start + HEADER_BYTES].copy_from_slice(&header.encode());
        return Ok(None);
    }
    let content = buffer.split_off(start + HEADER_BYTES);
    buffer.truncate(start);
    let bytes_max = match message.kind() {
        // What needs no credit and is never refused travels whole.
        Kind::Acknowledge => limit::CXIP_FRAGMENT_BYTES_MAX,
        _ => limit::CXIP_CONTENT_BYTES_MAX,
    };
    if content_bytes > bytes_max {
        let message = format!("the message has {content_bytes} bytes of content; at most {bytes_max} can be");
        return Err(Fault::new(Code::MessageTooLarge, message));
    }
    header.content_bytes = 0;
    Ok(Some(Fragments::new(header, content.freeze())))
}

/// Take the first message out of `buffer`; none while it is not whole. For streams in which nothing comes in fragments;
/// others need an [`Assembly`].
///
/// # Errors
/// The bytes are no message, as soon as that shows.
pub fn decode(buffer: &mut BytesMut) -> Result<Option<Frame>, Framing> {
    Assembly::default().decode(buffer)
}
