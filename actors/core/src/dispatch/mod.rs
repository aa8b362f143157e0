//! From effects to deliveries: which effect is another machine's input, which leaves the node, and which redraws the picture
//! that machines look at. The shell and the simulator share it, so that the simulator runs what ships.
//!
//! Here is what is delivered, and what machines look at; `housed` says for each kind of machine what becomes of its effects.

mod housed;
mod tally;

pub use housed::Housed;
pub use tally::Tally;

use crate::{
    access::{self, Accounts},
    directory::{self, MemberRecord},
    durability::Durability,
    ident::{OrganizationId, PublicationId, ServiceName, SubnodeId, TopicAddress, TransactionId},
    link::{self, Numbered},
    mailbox, membership,
    offer::Offers,
    session::{Asker, FromSession, SessionId, ToSession},
    signed::Signed,
    topic::{self, Recipient, Subscriber},
    transaction::{self, Definitions, Loader, catalogue},
};

/// An input with the machine that it is for.
#[derive(Debug)]
pub enum Input {
    /// For a transaction.
    Transaction(TransactionId, transaction::Input),
    /// For the mailbox of a service.
    Mailbox(ServiceName, mailbox::Input),
    /// For the link to a peer.
    Link(OrganizationId, link::Input),
    /// For the directory.
    Directory(directory::Input),
    /// For the catalogue of definitions.
    Catalogue(catalogue::Input),
    /// For the membership.
    Membership(membership::Input),
    /// For a topic.
    Topic(TopicAddress, topic::Input),
    /// For the accounts of those who may attach.
    Access(access::Input),
}

/// What leaves the node once everything before it is durable.
#[derive(Debug)]
pub enum Outward {
    /// For a session.
    Session(SessionId, ToSession),
    /// For a peer, if it is connected. What must arrive is kept by the peer's link.
    Peer(OrganizationId, ToPeer),
    /// A member's record for all connected peers but one.
    Announce {
        /// The record.
        signed: Signed,
        /// Whoever it came from.
        except: Option<OrganizationId>,
    },
    /// Where sub-nodes of members can be reached.
    Learn(Vec<(SubnodeId, Vec<String>)>),
    /// This node's own record, to be signed and handed back to the directory.
    Sign(Box<MemberRecord>),
}

impl Outward {
    /// What it rests on is durable on so many sites: what tells others that something is durable says so.
    pub fn rest_on(&mut self, durability: Durability) {
        match self {
            Self::Session(_, ToSession::Acknowledged { tracking, .. }) => {
                tracking.durability = tracking.durability.map(|_| durability);
            }
            Self::Session(_, ToSession::Respond { response, .. }) => response.durability = Some(durability),
            Self::Peer(_, ToPeer::Confirm { durability: said, .. }) => *said = durability,
            _ => {}
        }
    }
}

/// What is sent to a peer.
#[derive(Debug)]
pub enum ToPeer {
    /// The first word on a new connection: the journal has the peer's frames up to this number.
    Position {
        /// The number.
        accepted_through: u64,
    },
    /// Frames of the link, to be signed.
    Frames(Vec<Numbered>),
    /// The journal has the peer's frames up to this number: a receipt, to be signed.
    Confirm {
        /// The number.
        accepted_through: u64,
        /// On how many sites.
        durability: Durability,
    },
    /// What the directory has.
    Digest(Vec<(OrganizationId, u64)>),
    /// Records that are newer than the peer's.
    Records(Vec<Signed>),
}

/// A change of what machines look at.
#[derive(Debug)]
pub enum Change {
    /// The definitions.
    Definitions(Definitions),
    /// Who offers what.
    Offers(Offers),
    /// Who may attach.
    Accounts(Accounts),
}

/// What becomes of an effect.
#[derive(Debug)]
pub enum Delivery {
    /// Another machine's input, at once.
    Inward(Input),
    /// Something that leaves the node, when durable.
    Outward(Outward),
    /// A change of the surroundings, at once.
    Redraw(Change),
}

/// Everything that machines look at while they decide.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    around: transaction::Around,
    accounts: Accounts,
    loader: Loader,
}

impl Surroundings {
    /// Surroundings of which nothing is known yet but what runs libraries of functions.
    #[must_use]
    pub fn new(loader: Loader) -> Self {
        Self { loader, ..Self::default() }
    }

    /// The surroundings after a change.
    #[must_use]
    pub fn changed(&self, change: Change) -> Self {
        let mut after = self.clone();
        match change {
            Change::Definitions(definitions) => after.around.definitions = definitions,
            Change::Offers(offers) => after.around.offers = offers,
            Change::Accounts(accounts) => after.accounts = accounts,
        }
        after
    }

    /// What transactions look at.
    #[must_use]
    pub fn transactions(&self) -> &transaction::Around {
        &self.around
    }

    /// The definitions of this node.
    #[must_use]
    pub fn definitions(&self) -> &Definitions {
        &self.around.definitions
    }

    /// Who may attach, and what each may do.
    #[must_use]
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// Who offers what.
    #[must_use]
    pub fn offers(&self) -> &Offers {
        &self.around.offers
    }

    /// What runs libraries of functions.
    #[must_use]
    pub fn loader(&self) -> &Loader {
        &self.loader
    }
}

/// The input that a session's message is, and the machine that it is for. `fresh` is the id of a transaction or
/// a publication for which the client chose none.
#[must_use]
pub fn from_session(asker: Asker, message: FromSession, fresh: TransactionId) -> Input {
    use transaction::Input as ToTransaction;
    match message {
        FromSession::Register { service, credit } => {
            Input::Directory(directory::Input::Register { asker, service, credit })
        }
        FromSession::Submit { transaction, definition, document } => {
            Input::Transaction(transaction.unwrap_or(fresh), ToTransaction::Submit { asker, definition, document })
        }
        FromSession::Await { transaction } => Input::Transaction(transaction, ToTransaction::Await { asker }),
        FromSession::Query { transaction } => Input::Transaction(transaction, ToTransaction::Query { asker }),
        FromSession::Cancel { transaction } => Input::Transaction(transaction, ToTransaction::Cancel { asker }),
        FromSession::Signal { transaction, signal, document } => {
            Input::Transaction(transaction, ToTransaction::Signal { asker, signal, document })
        }
        FromSession::Answer { invocation, service, outcome } => {
            Input::Mailbox(service, mailbox::Input::Answer { asker, invocation, outcome })
        }
        FromSession::Strayed { invocation, service, from, outcome, refusal } => {
            let session = asker.session;
            Input::Mailbox(service, mailbox::Input::Strayed { session, invocation, from, outcome, refusal })
        }
        FromSession::Publish { topic, publication, public, document } => {
            let publication = publication.unwrap_or(PublicationId(fresh.0));
            let input = topic::Input::Publish { asker, publication, public, document };
            Input::Topic(TopicAddress::own(topic), input)
        }
        FromSession::Subscribe { topic, subscriber, credit } => {
            Input::Topic(topic, topic::Input::Subscribe { asker, subscriber, credit })
        }
        FromSession::Unsubscribe { topic, subscriber } => {
            Input::Topic(topic, topic::Input::Unsubscribe { asker, subscriber })
        }
        FromSession::Taken { topic, subscriber, number, word } => {
            let (subscriber, recipient) = (Subscriber::Named(subscriber), Recipient::Session(asker.session));
            Input::Topic(topic, topic::Input::Taken { subscriber, recipient, number, word })
        }
    }
}
