//! The words of a topic: what it is asked, what happens in it, and what it wants done. [`super::Topic`] gives them meaning.

use super::{Recipient, Subscriber};
use crate::{
    document::Text,
    ident::{OrganizationId, PublicationId, SubscriberName},
    moment::Moment,
    session::{Asker, Notification, SessionId, Taken},
};
use serde::{Deserialize, Serialize};

/// What is asked of a topic, or arrives for it.
#[derive(Debug)]
pub enum Input {
    /// Publish this. Published again under the same id, it is one publication still.
    Publish {
        /// Whom to acknowledge.
        asker: Asker,
        /// The id that the publisher chose.
        publication: PublicationId,
        /// Whether peers that subscribed get it.
        public: bool,
        /// What is published.
        document: Text,
    },
    /// The link brings what the peer whose topic it is published.
    Heard {
        /// The frame that brought it.
        sequence: u64,
        /// The publication.
        notification: Notification,
    },
    /// A session takes publications for this subscriber, who is subscribed from now on if it was not before.
    Subscribe {
        /// The session, and its message that is to be acknowledged.
        asker: Asker,
        /// Who subscribes.
        subscriber: SubscriberName,
        /// How many publications the session takes at once.
        credit: u32,
    },
    /// End a subscription.
    Unsubscribe {
        /// Whom to acknowledge.
        asker: Asker,
        /// Whose.
        subscriber: SubscriberName,
    },
    /// A peer subscribes.
    Follow {
        /// Which.
        peer: OrganizationId,
    },
    /// A peer subscribes no more.
    Unfollow {
        /// Which.
        peer: OrganizationId,
    },
    /// The link to the peer whose topic it is asks whether anybody here is subscribed.
    Inquire,
    /// A subscriber says what it does with a publication that a recipient holds.
    Taken {
        /// Which subscriber.
        subscriber: Subscriber,
        /// Which recipient.
        recipient: Recipient,
        /// Which publication.
        number: u64,
        /// What it says.
        word: Taken,
    },
    /// A session is gone.
    Detach {
        /// Which.
        session: SessionId,
    },
    /// Give what waits to recipients that have credit.
    Give {
        /// Of this subscriber alone.
        only: Option<Subscriber>,
    },
    /// A pause is over, or a publication was kept for as long as one is.
    Due,
    /// The process has started again.
    Resumed,
}

/// What happened in a topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// Somebody subscribed: what is published from now on is for it.
    Subscribed {
        /// Who.
        subscriber: Subscriber,
        /// When.
        at: Moment,
    },
    /// A subscription ended.
    Unsubscribed {
        /// Whose.
        subscriber: Subscriber,
    },
    /// Something was published.
    Published {
        /// The id that its publisher chose.
        publication: PublicationId,
        /// When.
        at: Moment,
        /// Whether peers get it.
        public: bool,
        /// What tells whether a repetition is the same.
        fingerprint: u64,
        /// The frame that brought it, where a peer published it.
        heard: Option<u64>,
        /// How many before it the peer's topic had lost for this node.
        missed: u64,
        /// What was published.
        document: Text,
    },
    /// There was no room, or no time, to keep publications any longer for those that had not had them.
    Dropped {
        /// Up to this number.
        through: u64,
        /// How many notifications that will never be, over all subscribers.
        missed: u64,
    },
    /// A subscriber has had a publication, or refused it.
    Had {
        /// Which subscriber.
        subscriber: Subscriber,
        /// Who held it for the subscriber.
        recipient: Recipient,
        /// Which publication.
        number: u64,
        /// How many missed ones it was told of with it.
        told: u64,
        /// Whether it was refused.
        refused: bool,
        /// When.
        at: Moment,
    },
    /// A recipient came; of this process's life only, as all that follow.
    Attached {
        /// Whose.
        subscriber: Subscriber,
        /// Which.
        recipient: Recipient,
        /// How many it takes at once.
        credit: u32,
        /// When.
        at: Moment,
    },
    /// A recipient went; what it held waits again.
    Detached {
        /// Whose.
        subscriber: Subscriber,
        /// Which.
        recipient: Recipient,
    },
    /// A recipient holds a publication.
    Given {
        /// Whose.
        subscriber: Subscriber,
        /// Which.
        recipient: Recipient,
        /// Which publication.
        number: u64,
        /// How many missed ones it is told of with it.
        told: u64,
        /// When.
        at: Moment,
    },
    /// A subscriber put a publication off.
    Postponed {
        /// Which.
        subscriber: Subscriber,
        /// Who held it for the subscriber.
        recipient: Recipient,
        /// Which publication.
        number: u64,
        /// Until when.
        until: Moment,
    },
    /// What was put off until then waits again.
    Woken {
        /// Until when.
        until: Moment,
    },
}

/// What a topic wants done.
#[derive(Debug)]
pub enum Effect {
    /// Notify a session.
    Notify {
        /// Which session.
        session: SessionId,
        /// For which subscriber.
        subscriber: SubscriberName,
        /// Of what.
        notification: Notification,
    },
    /// Hand a publication to the link of a peer that subscribed.
    Forward {
        /// Which peer.
        peer: OrganizationId,
        /// What.
        notification: Notification,
    },
    /// Subscribe to the topic at the peer whose it is.
    Follow,
    /// Subscribe there no more.
    Unfollow,
    /// Ask the link of a peer that subscribed whether it still does.
    Inquire {
        /// Which peer.
        peer: OrganizationId,
    },
    /// Tell the link that what it brought is in the journal.
    Settle {
        /// The frame that brought it.
        sequence: u64,
    },
    /// Acknowledge a message.
    Acknowledge {
        /// To whom.
        asker: Asker,
        /// The publication that it was, if it was one.
        publication: Option<PublicationId>,
        /// When it was taken.
        moment: Moment,
        /// What was done.
        word: &'static str,
    },
}
