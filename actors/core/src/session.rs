//! What passes between the machines and a connected client or service, whatever protocol carries it: CXIP, the
//! administration port, and later HTTP and SOAP speak these words.

use crate::{
    code::Fault,
    document::Text,
    durability::Durability,
    ident::{
        DefinitionName, InvocationId, PublicationId, ServiceName, SignalName, SubscriberName, TopicAddress, TopicName,
        TransactionId,
    },
    invocation::{Invocation, Outcome},
    moment::Moment,
    offer::Service,
    transaction::{OutcomeKind, Refusal},
};
use serde::{Deserialize, Serialize};

/// A connection of a client or a service, unique in the life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub u64);

/// A message of a session that wants an acknowledgement: who is told when the node has taken it, or why it has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Asker {
    /// The session.
    pub session: SessionId,
    /// The number of its message.
    pub message: u64,
}

/// Tracking data of an acknowledgement (T13): what to ask for later.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tracking {
    /// The transaction that the message began or belongs to.
    pub transaction: Option<TransactionId>,
    /// The invocation that it belongs to.
    pub invocation: Option<InvocationId>,
    /// The publication that it is.
    pub publication: Option<PublicationId>,
    /// When the node took it.
    pub moment: Option<Moment>,
    /// A word on what was done: `submitted`, `repeated`, `registered` ….
    pub word: Option<String>,
    /// On how many sites that is durable (M1); none where nothing is to be kept.
    #[serde(default)]
    pub durability: Option<Durability>,
}

/// How a transaction ended (T4, T11).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// With this output document.
    Completed(Text),
    /// Without one, for this reason.
    Failed(Fault),
    /// After the definition's TIMEOUT.
    TimedOut,
    /// By request.
    Cancelled,
}

impl Ending {
    /// The word for it, as on screens and in the protocol.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Completed(_) => "completed",
            Self::Failed(_) => "failed",
            Self::TimedOut => "timed-out",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The response of a transaction to its requester.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// The transaction.
    pub transaction: TransactionId,
    /// Its definition.
    pub definition: DefinitionName,
    /// How it ended.
    pub ending: Ending,
    /// On how many sites the end is durable (M1), where that was said.
    #[serde(default)]
    pub durability: Option<Durability>,
}

/// A publication as a subscriber is notified of it (T13).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// Its number in its topic here: the order, and what is acknowledged.
    pub number: u64,
    /// The id that its publisher chose.
    pub publication: PublicationId,
    /// When it was published.
    pub published: Moment,
    /// How many publications before it the subscriber will never get, because the topic could keep no more of them.
    pub missed: u64,
    /// What was published.
    pub document: Text,
}

/// What a session asks of the node or answers it. Each is a message of its own and is acknowledged or refused.
#[derive(Clone, Debug, PartialEq)]
pub enum FromSession {
    /// This session performs these operations under this name (T15).
    Register {
        /// The service.
        service: Service,
        /// How many invocations it takes at once.
        credit: u32,
    },
    /// Begin a transaction and respond when it has ended (T4).
    Submit {
        /// The id, where the client chose one to be able to repeat the submission; else the node makes one.
        transaction: Option<TransactionId>,
        /// Which definition.
        definition: DefinitionName,
        /// The input document.
        document: Text,
    },
    /// Respond when this transaction has ended, or at once if it has.
    Await {
        /// Which.
        transaction: TransactionId,
    },
    /// Tell how far this transaction is.
    Query {
        /// Which.
        transaction: TransactionId,
    },
    /// End this transaction.
    Cancel {
        /// Which.
        transaction: TransactionId,
    },
    /// What this transaction waits for has happened outside (T17).
    Signal {
        /// Which transaction.
        transaction: TransactionId,
        /// The signal, by the name that its definition gives it.
        signal: SignalName,
        /// What there is to say about it: the output of the operation that waits.
        document: Text,
    },
    /// An answer came that is none, and was refused: whoever waits for the right one records that. It hears no answer.
    Strayed {
        /// Which invocation it names.
        invocation: InvocationId,
        /// Which service was asked for that.
        service: ServiceName,
        /// As which it was given.
        from: ServiceName,
        /// What it seems to say.
        outcome: OutcomeKind,
        /// Why it was refused.
        refusal: Refusal,
    },
    /// An invocation was performed, or could not be.
    Answer {
        /// Which.
        invocation: InvocationId,
        /// The service that answers, one that the session registered.
        service: ServiceName,
        /// What came of it.
        outcome: Outcome,
    },
    /// Publish to a topic of this organization.
    Publish {
        /// Which topic.
        topic: TopicName,
        /// The id, where the publisher chose one to be able to repeat the publication; else the node makes one.
        publication: Option<PublicationId>,
        /// Whether subscribers at peers get it too.
        public: bool,
        /// What is published.
        document: Text,
    },
    /// Subscribe, or go on with a subscription: this session takes publications for this subscriber.
    Subscribe {
        /// To which topic.
        topic: TopicAddress,
        /// Who subscribes.
        subscriber: SubscriberName,
        /// How many publications it takes at once.
        credit: u32,
    },
    /// End a subscription for good.
    Unsubscribe {
        /// To which topic.
        topic: TopicAddress,
        /// Whose.
        subscriber: SubscriberName,
    },
    /// A subscriber has taken a publication, or will not.
    Taken {
        /// Of which topic.
        topic: TopicAddress,
        /// Which subscriber.
        subscriber: SubscriberName,
        /// Which publication, by its number.
        number: u64,
        /// What the subscriber says.
        word: Taken,
    },
}

/// What a subscriber says to a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Taken {
    /// It has it.
    Had,
    /// It will not take it, now or later: it counts as had, and is counted.
    Refused,
    /// It wants it again later.
    Later {
        /// After how long.
        pause_ms: u64,
    },
}

/// How far a transaction is (T4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The transaction.
    pub transaction: TransactionId,
    /// Its definition.
    pub definition: DefinitionName,
    /// `running`, or the word of its [`Ending`].
    pub state: String,
    /// How many of its operations have ended, for any reason.
    pub operations_ended: u32,
    /// How many operations it has.
    pub operations: u32,
}

/// What the node tells a session. It leaves only when everything that it rests on is durable.
#[derive(Clone, Debug, PartialEq)]
pub enum ToSession {
    /// The message was taken; nothing will take that back.
    Acknowledged {
        /// Which message of the session.
        message: u64,
        /// What to ask for later.
        tracking: Tracking,
    },
    /// The message was refused; nothing of it was done.
    Refused {
        /// Which message of the session.
        message: u64,
        /// Why.
        fault: Fault,
    },
    /// Perform this. The same invocation may come again; its id is the idempotency key.
    Perform {
        /// The service that shall do it, of those that the session registered.
        service: ServiceName,
        /// What to do.
        invocation: Invocation,
    },
    /// Nobody waits any more for this invocation.
    Withdraw {
        /// Which.
        invocation: InvocationId,
    },
    /// A publication of a topic that this session takes for a subscriber. It may come again until it was acknowledged.
    Notify {
        /// The topic.
        topic: TopicAddress,
        /// The subscriber.
        subscriber: SubscriberName,
        /// The publication.
        notification: Notification,
    },
    /// How far a transaction is that this session asked about.
    Status {
        /// The message that asked.
        message: u64,
        /// How far it is.
        status: Status,
    },
    /// The response of a transaction that this session asked for.
    Respond {
        /// The message that asked.
        message: u64,
        /// How it ended.
        response: Response,
    },
}
