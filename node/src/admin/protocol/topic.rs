//! Topics as they are listed and shown: what each keeps, and how far each of its subscribers is.

use crate::admin::time::Time;
use hansa_core::{
    durability::Durability,
    ident::{OrganizationId, OrganizationName, PublicationId, SubscriberName, TopicName},
};
use serde::{Deserialize, Serialize};

/// A topic that has subscribers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicEntry {
    /// Its name.
    pub topic: TopicName,
    /// Whose it is; none for one of this organization's own.
    pub organization: Option<OrganizationId>,
    /// The name of that organization, if it is known.
    pub organization_name: Option<OrganizationName>,
    /// How many publications there were since somebody subscribed first.
    pub published: u64,
    /// How many are kept for subscribers that have not had them.
    pub kept: u64,
    /// Bytes of those.
    pub kept_bytes: u64,
    /// When the oldest of them was published.
    pub oldest: Option<Time>,
    /// Who subscribes.
    pub subscribers: Vec<TopicSubscriber>,
}

/// A subscriber of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicSubscriber {
    /// Its name; none for a peer.
    pub subscriber: Option<SubscriberName>,
    /// The peer, if it is one.
    pub organization: Option<OrganizationId>,
    /// The name of that organization, if it is known.
    pub organization_name: Option<OrganizationName>,
    /// Since when.
    pub subscribed: Time,
    /// Whether it is there. For a peer: whether its link takes publications, which goes on while the peer is away.
    pub connected: bool,
    /// How many connections share its work.
    pub sessions: u64,
    /// How many publications it has not had.
    pub lag: u64,
    /// How many of them are under way to it.
    pub in_flight: u64,
    /// How many it missed, because the topic could keep no more.
    pub missed: u64,
    /// How many it refused.
    pub refused: u64,
}

/// Something was published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// To which topic.
    pub topic: TopicName,
    /// The id of the publication.
    pub publication: PublicationId,
    /// Whether it had been published before with this id.
    pub repeated: bool,
    /// On how many sites it is durable: `one-site` or `two-sites`.
    #[serde(default)]
    pub durability: Option<Durability>,
}
