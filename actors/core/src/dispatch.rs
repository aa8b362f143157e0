//! From effects to deliveries: which effect is another machine's input, which leaves the node, and which redraws the picture
//! that machines look at. The shell and the simulator share it, so that the simulator runs what ships.

use crate::{
    access::{self, Access, Accounts},
    address::{KeyBytes, Kind},
    directory::{self, Directory, MemberRecord},
    ident::{OrganizationId, PublicationId, ServiceName, SubnodeId, TopicAddress, TransactionId},
    invocation::{Caller, Performer},
    link::{self, Link, Numbered},
    machine::Machine,
    mailbox::{self, Mailbox},
    membership::{self, Membership},
    offer::Offers,
    session::{Asker, Ending, FromSession, SessionId, Taken, ToSession, Tracking},
    signed::Signed,
    topic::{self, Recipient, Subscriber, Topic},
    transaction::{self, Catalogue, Definitions, Instance, Loader, catalogue},
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

/// What a node counts of what happens in it: for metrics, and for nothing that is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Tally {
    /// Transactions that began.
    Submitted,
    /// Transactions that ended with an output.
    Completed,
    /// Transactions that failed.
    Failed,
    /// Transactions that ran out of time.
    TimedOut,
    /// Transactions that were cancelled.
    Cancelled,
    /// Operations that were asked for.
    Requested,
    /// Answers that came and were not waited for.
    AnswersRefused,
    /// Requests that were put into the outbox of a peer.
    Forwarded,
    /// Frames that were accepted from peers.
    Accepted,
    /// Directory records that were taken in.
    Merged,
    /// Publications to topics.
    Published,
    /// Notifications that subscribers have had.
    Notified,
    /// Notifications that will never be, because a topic could keep no more.
    Missed,
}

impl Tally {
    /// Every tally with its name in metrics and what it counts.
    pub const ALL: [(Self, &'static str, &'static str); 13] = [
        (Self::Submitted, "transactions_submitted", "Transactions that began"),
        (Self::Completed, "transactions_completed", "Transactions that ended with an output document"),
        (Self::Failed, "transactions_failed", "Transactions that failed"),
        (Self::TimedOut, "transactions_timed_out", "Transactions that ran out of time"),
        (Self::Cancelled, "transactions_cancelled", "Transactions that were cancelled"),
        (Self::Requested, "operations_requested", "Operations that were asked for"),
        (Self::AnswersRefused, "answers_refused", "Answers that came and were not waited for"),
        (Self::Forwarded, "requests_forwarded", "Requests that were put into the outbox of a peer"),
        (Self::Accepted, "frames_accepted", "Frames that were accepted from peers"),
        (Self::Merged, "directory_records_merged", "Directory records that were taken in"),
        (Self::Published, "publications", "Publications to topics"),
        (Self::Notified, "notifications_acknowledged", "Notifications that subscribers have had"),
        (
            Self::Missed,
            "notifications_missed",
            "Notifications that will never be, because a topic could keep no more for a subscriber that was away or stood still",
        ),
    ];
}

/// A machine with its place in the node.
pub trait Housed: Machine<Key: KeyBytes> {
    /// Its kind.
    const KIND: Kind;
    /// Whether it may be put away while it has work open, and is woken by its next input.
    const PUT_AWAY: bool;
    /// What is counted when this happens.
    fn tally(_: &Self::Record) -> Option<Tally> {
        None
    }
    /// How many times it is counted.
    fn times(_: &Self::Record) -> u64 {
        1
    }
    /// What it keeps of documents, in bytes, where that is bounded over all machines of the kind.
    fn kept_bytes(&self) -> usize {
        0
    }
    /// The sessions that wait for it. They live as long as the process, so they are not stored with a machine that is put
    /// away: the shell keeps them beside.
    fn waiting(&self) -> &[Asker] {
        &[]
    }
    /// The record that gives a woken machine back one that waits.
    fn waits(_: Asker) -> Option<Self::Record> {
        None
    }
    /// Whether another machine still needs it, though nothing is open: it is not forgotten then, however old it is.
    fn is_needed(&self) -> bool {
        false
    }
    /// What it looks at.
    fn around(surroundings: &Surroundings) -> &Self::Around;
    /// What becomes of its effect.
    fn dispatch(key: &Self::Key, effect: Self::Effect) -> Delivery;
    /// Who is told if the input is refused.
    fn asker(input: &Self::Input) -> Option<Asker>;
}

fn acknowledge(asker: Asker, tracking: Tracking) -> Delivery {
    Delivery::Outward(Outward::Session(asker.session, ToSession::Acknowledged { message: asker.message, tracking }))
}

fn done(asker: Asker, word: impl Into<String>) -> Delivery {
    acknowledge(asker, Tracking { word: Some(word.into()), ..Tracking::default() })
}

impl Housed for Instance {
    const KIND: Kind = Kind::Transaction;
    const PUT_AWAY: bool = true;

    fn tally(record: &transaction::Record) -> Option<Tally> {
        use transaction::Record;
        Some(match record {
            Record::Submitted { .. } => Tally::Submitted,
            Record::Requested { .. } => Tally::Requested,
            Record::AnswerRefused(_) => Tally::AnswersRefused,
            Record::Finished { ending: Ending::Completed(_), .. } => Tally::Completed,
            Record::Finished { ending: Ending::Failed(_), .. } => Tally::Failed,
            Record::Finished { ending: Ending::TimedOut, .. } => Tally::TimedOut,
            Record::Finished { ending: Ending::Cancelled, .. } => Tally::Cancelled,
            _ => return None,
        })
    }

    fn is_needed(&self) -> bool {
        Self::is_needed(self)
    }

    fn waiting(&self) -> &[Asker] {
        self.requesters()
    }

    fn waits(asker: Asker) -> Option<transaction::Record> {
        Some(transaction::Record::Awaited { asker })
    }

    fn around(surroundings: &Surroundings) -> &transaction::Around {
        &surroundings.around
    }

    fn dispatch(key: &TransactionId, effect: transaction::Effect) -> Delivery {
        use transaction::Effect;
        match effect {
            Effect::Offer { service, invocation } => Delivery::Inward(Input::Mailbox(
                service,
                mailbox::Input::Offer { caller: Caller::Transaction(*key), invocation },
            )),
            Effect::Ask { organization, invocation, leg } => {
                Delivery::Inward(Input::Link(organization, link::Input::Ask { caller: *key, invocation, leg }))
            }
            Effect::Withdraw { performer: Performer::Local(service), invocation } => {
                Delivery::Inward(Input::Mailbox(service, mailbox::Input::Withdraw { invocation }))
            }
            Effect::Withdraw { performer: Performer::Peer { organization, .. }, invocation } => {
                Delivery::Inward(Input::Link(organization, link::Input::Withdraw { invocation }))
            }
            Effect::Withdraw { performer: Performer::Transaction(id), invocation } => {
                Delivery::Inward(Input::Transaction(id, transaction::Input::Withdraw { invocation }))
            }
            Effect::Settle { performer: Performer::Peer { organization, .. }, invocation } => {
                Delivery::Inward(Input::Link(organization, link::Input::Settle { invocation }))
            }
            Effect::Settle { performer: Performer::Transaction(id), invocation } => {
                Delivery::Inward(Input::Transaction(id, transaction::Input::Settle { invocation }))
            }
            // A mailbox keeps no answer; there it means that nobody waits any more.
            Effect::Settle { performer: Performer::Local(service), invocation } => {
                Delivery::Inward(Input::Mailbox(service, mailbox::Input::Withdraw { invocation }))
            }
            Effect::Begin { transaction, parent, definition, document } => Delivery::Inward(Input::Transaction(
                transaction,
                transaction::Input::Begin { parent, definition, document },
            )),
            Effect::Return { parent, invocation, outcome } => Delivery::Inward(Input::Transaction(
                parent,
                transaction::Input::Answer { invocation, outcome, from: Performer::Transaction(*key), asker: None },
            )),
            Effect::Inquire { parent, invocation } => Delivery::Inward(Input::Transaction(
                parent,
                transaction::Input::Inquire { invocation, performer: Performer::Transaction(*key) },
            )),
            Effect::Refuse { asker, fault } => {
                Delivery::Outward(Outward::Session(asker.session, ToSession::Refused { message: asker.message, fault }))
            }
            Effect::Acknowledge { asker, invocation, word } => acknowledge(
                asker,
                Tracking { transaction: Some(*key), invocation, word: Some(word.to_owned()), ..Tracking::default() },
            ),
            Effect::Report { asker, status } => {
                Delivery::Outward(Outward::Session(asker.session, ToSession::Status { message: asker.message, status }))
            }
            Effect::Respond { asker, response } => Delivery::Outward(Outward::Session(
                asker.session,
                ToSession::Respond { message: asker.message, response },
            )),
        }
    }

    fn asker(input: &transaction::Input) -> Option<Asker> {
        use transaction::Input;
        match input {
            Input::Submit { asker, .. }
            | Input::Await { asker }
            | Input::Query { asker }
            | Input::Cancel { asker }
            | Input::Signal { asker, .. } => Some(*asker),
            Input::Answer { asker, .. } => *asker,
            Input::Begin { .. }
            | Input::Inquire { .. }
            | Input::Withdraw { .. }
            | Input::Settle { .. }
            | Input::Advance
            | Input::Judge { .. }
            | Input::JudgeAll
            | Input::Due
            | Input::Resumed => None,
        }
    }
}

impl Housed for Mailbox {
    const KIND: Kind = Kind::Mailbox;
    const PUT_AWAY: bool = false;

    fn around(_: &Surroundings) -> &() {
        &()
    }

    fn dispatch(key: &ServiceName, effect: mailbox::Effect) -> Delivery {
        use mailbox::Effect;
        match effect {
            Effect::Perform { session, invocation } => {
                Delivery::Outward(Outward::Session(session, ToSession::Perform { service: key.clone(), invocation }))
            }
            Effect::Withdraw { session, invocation } => {
                Delivery::Outward(Outward::Session(session, ToSession::Withdraw { invocation }))
            }
            Effect::Return { caller: Caller::Transaction(id), invocation, outcome, asker } => {
                Delivery::Inward(Input::Transaction(
                    id,
                    transaction::Input::Answer { invocation, outcome, from: Performer::Local(key.clone()), asker },
                ))
            }
            Effect::Return { caller: Caller::Peer(organization), invocation, outcome, asker } => {
                Delivery::Inward(Input::Link(organization, link::Input::Answer { invocation, outcome, asker }))
            }
            Effect::Acknowledge { asker } => done(asker, "registered"),
        }
    }

    fn asker(input: &mailbox::Input) -> Option<Asker> {
        match input {
            mailbox::Input::Attach { asker, .. } | mailbox::Input::Answer { asker, .. } => Some(*asker),
            _ => None,
        }
    }
}

impl Housed for Link {
    const KIND: Kind = Kind::Link;
    const PUT_AWAY: bool = false;

    fn tally(record: &link::Record) -> Option<Tally> {
        match record {
            link::Record::Asked { .. } => Some(Tally::Forwarded),
            link::Record::Accepted { .. } => Some(Tally::Accepted),
            _ => None,
        }
    }

    fn around(surroundings: &Surroundings) -> &Offers {
        &surroundings.around.offers
    }

    fn dispatch(key: &OrganizationId, effect: link::Effect) -> Delivery {
        use link::Effect;
        match effect {
            Effect::Position { accepted_through } => {
                Delivery::Outward(Outward::Peer(*key, ToPeer::Position { accepted_through }))
            }
            Effect::Transmit { frames } => Delivery::Outward(Outward::Peer(*key, ToPeer::Frames(frames))),
            Effect::Confirm { accepted_through } => {
                Delivery::Outward(Outward::Peer(*key, ToPeer::Confirm { accepted_through }))
            }
            Effect::Offer { service, invocation } => Delivery::Inward(Input::Mailbox(
                service,
                mailbox::Input::Offer { caller: Caller::Peer(*key), invocation },
            )),
            Effect::Withdraw { service, invocation } => {
                Delivery::Inward(Input::Mailbox(service, mailbox::Input::Withdraw { invocation }))
            }
            Effect::Inquire { caller, invocation } => Delivery::Inward(Input::Transaction(
                caller,
                transaction::Input::Inquire {
                    invocation,
                    performer: Performer::Peer { organization: *key, service: None },
                },
            )),
            Effect::Return { caller, invocation, service, outcome } => Delivery::Inward(Input::Transaction(
                caller,
                transaction::Input::Answer {
                    invocation,
                    outcome,
                    from: Performer::Peer { organization: *key, service },
                    asker: None,
                },
            )),
            Effect::Acknowledge { asker, invocation } => acknowledge(
                asker,
                Tracking { invocation: Some(invocation), word: Some("answered".to_owned()), ..Tracking::default() },
            ),
            Effect::Topic(effect) => from_link(*key, effect),
        }
    }

    fn asker(input: &link::Input) -> Option<Asker> {
        match input {
            link::Input::Answer { asker, .. } => *asker,
            _ => None,
        }
    }
}

/// What a link wants of topics: of this node's own, or of the peer's as this node hears them.
fn from_link(peer: OrganizationId, effect: link::topics::Effect) -> Delivery {
    use link::topics::Effect;
    let heard = |name| TopicAddress { organization: Some(peer), name };
    Delivery::Inward(match effect {
        Effect::Follow { topic } => Input::Topic(TopicAddress::own(topic), topic::Input::Follow { peer }),
        Effect::Unfollow { topic } => Input::Topic(TopicAddress::own(topic), topic::Input::Unfollow { peer }),
        Effect::Inquire { topic } => Input::Topic(heard(topic), topic::Input::Inquire),
        Effect::Had { topic, number } => {
            let (subscriber, recipient, word) = (Subscriber::Peer(peer), Recipient::Link, Taken::Had);
            Input::Topic(TopicAddress::own(topic), topic::Input::Taken { subscriber, recipient, number, word })
        }
        Effect::Heard { topic, sequence, notification } => {
            Input::Topic(heard(topic), topic::Input::Heard { sequence, notification })
        }
    })
}

impl Housed for Directory {
    const KIND: Kind = Kind::Directory;
    const PUT_AWAY: bool = false;

    fn tally(record: &directory::Record) -> Option<Tally> {
        matches!(record, directory::Record::Merged { .. }).then_some(Tally::Merged)
    }

    fn around(_: &Surroundings) -> &() {
        &()
    }

    fn dispatch((): &(), effect: directory::Effect) -> Delivery {
        use directory::Effect;
        match effect {
            Effect::Sign(record) => Delivery::Outward(Outward::Sign(Box::new(record))),
            Effect::Announce { signed, except } => Delivery::Outward(Outward::Announce { signed, except }),
            Effect::SendDigest { to, versions } => Delivery::Outward(Outward::Peer(to, ToPeer::Digest(versions))),
            Effect::SendRecords { to, records } => Delivery::Outward(Outward::Peer(to, ToPeer::Records(records))),
            Effect::Learn { subnodes } => Delivery::Outward(Outward::Learn(subnodes)),
            Effect::Redraw(offers) => Delivery::Redraw(Change::Offers(offers)),
            Effect::Attach { asker, service, credit } => {
                Delivery::Inward(Input::Mailbox(service, mailbox::Input::Attach { asker, credit }))
            }
            Effect::Acknowledge { asker, word } => done(asker, word),
        }
    }

    fn asker(input: &directory::Input) -> Option<Asker> {
        match input {
            directory::Input::Register { asker, .. } | directory::Input::Remove { asker, .. } => Some(*asker),
            _ => None,
        }
    }
}

impl Housed for Catalogue {
    const KIND: Kind = Kind::Catalogue;
    const PUT_AWAY: bool = false;

    fn around(surroundings: &Surroundings) -> &Loader {
        &surroundings.loader
    }

    fn dispatch((): &(), effect: catalogue::Effect) -> Delivery {
        match effect {
            catalogue::Effect::Redraw(definitions) => Delivery::Redraw(Change::Definitions(definitions)),
            catalogue::Effect::Acknowledge { asker, hash, new } => {
                done(asker, if new { format!("defined {hash}") } else { format!("unchanged {hash}") })
            }
            catalogue::Effect::AcknowledgeLibrary { asker, word, hash } => done(asker, format!("{word} {hash}")),
        }
    }

    fn asker(input: &catalogue::Input) -> Option<Asker> {
        match input {
            catalogue::Input::Define { asker, .. }
            | catalogue::Input::AddLibrary { asker, .. }
            | catalogue::Input::RemoveLibrary { asker, .. } => Some(*asker),
            _ => None,
        }
    }
}

impl Housed for Membership {
    const KIND: Kind = Kind::Membership;
    const PUT_AWAY: bool = false;

    fn around(_: &Surroundings) -> &() {
        &()
    }

    fn dispatch((): &(), effect: membership::Effect) -> Delivery {
        let membership::Effect::Acknowledge { asker, word } = effect;
        done(asker, word)
    }

    fn asker(input: &membership::Input) -> Option<Asker> {
        match input {
            membership::Input::Belong { asker, .. }
            | membership::Input::Invite { asker, .. }
            | membership::Input::Knock { asker, .. } => Some(*asker),
            membership::Input::Due | membership::Input::Resumed => None,
        }
    }
}

impl Housed for Topic {
    const KIND: Kind = Kind::Topic;
    const PUT_AWAY: bool = false;

    fn tally(record: &topic::Record) -> Option<Tally> {
        match record {
            topic::Record::Published { .. } => Some(Tally::Published),
            topic::Record::Had { .. } => Some(Tally::Notified),
            topic::Record::Dropped { .. } => Some(Tally::Missed),
            _ => None,
        }
    }

    fn times(record: &topic::Record) -> u64 {
        match record {
            topic::Record::Dropped { missed, .. } => *missed,
            _ => 1,
        }
    }

    fn kept_bytes(&self) -> usize {
        Self::kept_bytes(self)
    }

    fn around(surroundings: &Surroundings) -> &Offers {
        &surroundings.around.offers
    }

    fn dispatch(key: &TopicAddress, effect: topic::Effect) -> Delivery {
        use topic::Effect;
        let to_link = |peer, input| Delivery::Inward(Input::Link(peer, link::Input::Topic(input)));
        let (topic, owner) = (key.name.clone(), key.organization);
        // Only a topic of a peer follows, and only its link brings it what is to be settled.
        let to_owner = |input| to_link(owner.expect("a topic of one's own has no owner elsewhere"), input);
        match effect {
            Effect::Forward { peer, notification } => {
                to_link(peer, link::topics::Input::Forward { topic, notification })
            }
            Effect::Inquire { peer } => to_link(peer, link::topics::Input::Inquire { topic }),
            Effect::Follow => to_owner(link::topics::Input::Follow { topic }),
            Effect::Unfollow => to_owner(link::topics::Input::Unfollow { topic }),
            Effect::Settle { sequence } => to_owner(link::topics::Input::Settle { sequence }),
            Effect::Notify { session, subscriber, notification } => Delivery::Outward(Outward::Session(
                session,
                ToSession::Notify { topic: key.clone(), subscriber, notification },
            )),
            Effect::Acknowledge { asker, publication, moment, word } => acknowledge(
                asker,
                Tracking { publication, moment: Some(moment), word: Some(word.to_owned()), ..Tracking::default() },
            ),
        }
    }

    fn asker(input: &topic::Input) -> Option<Asker> {
        use topic::Input;
        match input {
            Input::Publish { asker, .. } | Input::Subscribe { asker, .. } | Input::Unsubscribe { asker, .. } => {
                Some(*asker)
            }
            _ => None,
        }
    }
}

impl Housed for Access {
    const KIND: Kind = Kind::Access;
    const PUT_AWAY: bool = false;

    fn around(_: &Surroundings) -> &() {
        &()
    }

    fn dispatch((): &(), effect: access::Effect) -> Delivery {
        match effect {
            access::Effect::Redraw(accounts) => Delivery::Redraw(Change::Accounts(accounts)),
            access::Effect::Acknowledge { asker, word } => done(asker, word),
        }
    }

    fn asker(input: &access::Input) -> Option<Asker> {
        match input {
            access::Input::Add { asker, .. } | access::Input::Remove { asker, .. } => Some(*asker),
            access::Input::Due | access::Input::Resumed => None,
        }
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
