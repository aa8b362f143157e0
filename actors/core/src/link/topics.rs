//! The part of a link that carries topics (T13): which topics of the peer this node follows, which of ours the peer
//! follows, and publications both ways.
//!
//! A topic hands over a few publications at a time and takes the next when the peer has confirmed one, so a peer that is
//! away fills the topic's bounds and not the outbox. What the peer publishes is kept here until the topic has it in the
//! journal. After a restart both sides ask each other again; numbers make that harmless. [`super::Link`] decides when.

use super::{Link, Numbered};
use crate::{code::Fault, document::Text, ident::TopicName, limit, machine::Decision, session::Notification};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What a frame says about topics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Body {
    /// Send us what is published to this topic of yours.
    Follow {
        /// Which.
        topic: TopicName,
    },
    /// Send it no more.
    Unfollow {
        /// Which.
        topic: TopicName,
    },
    /// This was published to a topic that you follow.
    Published {
        /// Which.
        topic: TopicName,
        /// What.
        notification: Notification,
    },
}

/// What topics ask of a link.
#[derive(Debug)]
pub enum Input {
    /// Somebody here subscribes to a topic of the peer.
    Follow {
        /// Which.
        topic: TopicName,
    },
    /// Nobody here does any more.
    Unfollow {
        /// Which.
        topic: TopicName,
    },
    /// A topic of ours asks whether the peer still follows it.
    Inquire {
        /// Which.
        topic: TopicName,
    },
    /// A topic of ours hands over a publication.
    Forward {
        /// Which.
        topic: TopicName,
        /// What.
        notification: Notification,
    },
    /// What a frame of the peer's brought is in the topic's journal.
    Settle {
        /// The frame.
        sequence: u64,
    },
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// This node follows a topic of the peer.
    Followed {
        /// Which.
        topic: TopicName,
    },
    /// It does so no more.
    Unfollowed {
        /// Which.
        topic: TopicName,
    },
    /// A publication was put into the outbox.
    Forwarded {
        /// Of which topic of ours.
        topic: TopicName,
        /// What.
        notification: Notification,
    },
    /// A topic has what the peer published.
    Settled {
        /// The frame that brought it.
        sequence: u64,
    },
}

/// What a link wants of topics.
#[derive(Debug)]
pub enum Effect {
    /// The peer follows a topic of ours.
    Follow {
        /// Which.
        topic: TopicName,
    },
    /// The peer does so no more.
    Unfollow {
        /// Which.
        topic: TopicName,
    },
    /// Ask a topic of the peer's whether anybody here is subscribed to it.
    Inquire {
        /// Which.
        topic: TopicName,
    },
    /// The peer has a publication of a topic of ours.
    Had {
        /// Which topic.
        topic: TopicName,
        /// Which publication.
        number: u64,
    },
    /// The peer published this.
    Heard {
        /// To which topic of its own.
        topic: TopicName,
        /// The frame that brought it.
        sequence: u64,
        /// What.
        notification: Notification,
    },
}

/// What a link knows of topics.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Topics {
    /// Topics of the peer that this node follows.
    following: BTreeSet<TopicName>,
    /// Topics of ours that the peer follows.
    followed: BTreeMap<TopicName, Forwarded>,
    /// What the peer published and a topic has not settled, by frame.
    heard: BTreeMap<u64, (TopicName, Notification)>,
}

/// How far the publications of a topic have come, by number.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Forwarded {
    /// In the outbox, or on.
    through: u64,
    /// In the peer's journal.
    confirmed_through: u64,
}

impl Topics {
    /// The peer's journal has this frame of ours.
    pub(super) fn confirmed(&mut self, body: &Body) {
        if let Body::Published { topic, notification } = body
            && let Some(forwarded) = self.followed.get_mut(topic)
        {
            forwarded.confirmed_through = forwarded.confirmed_through.max(notification.number);
        }
    }

    /// A frame of the peer's was accepted.
    pub(super) fn accepted(&mut self, sequence: u64, body: &Body) {
        match body {
            Body::Follow { topic } => {
                if self.has_room_for(topic) {
                    self.followed.entry(topic.clone()).or_default();
                }
            }
            Body::Unfollow { topic } => drop(self.followed.remove(topic)),
            Body::Published { topic, notification } => {
                self.heard.insert(sequence, (topic.clone(), notification.clone()));
            }
        }
    }

    fn has_room_for(&self, topic: &TopicName) -> bool {
        self.followed.contains_key(topic) || self.followed.len() < limit::LINK_TOPICS_MAX
    }

    /// What a frame of the peer's brings about.
    pub(super) fn arrived(&self, sequence: u64, body: &Body) -> Option<Effect> {
        match body {
            Body::Follow { topic } => self.has_room_for(topic).then(|| Effect::Follow { topic: topic.clone() }),
            Body::Unfollow { topic } => Some(Effect::Unfollow { topic: topic.clone() }),
            Body::Published { topic, notification } => {
                let (topic, notification) = (topic.clone(), notification.clone());
                Some(Effect::Heard { topic, sequence, notification })
            }
        }
    }

    /// What topics may not know after a restart.
    pub(super) fn resumed(&self) -> impl Iterator<Item = Effect> + '_ {
        let followed = self.followed.keys().map(|topic| Effect::Follow { topic: topic.clone() });
        let following = self.following.iter().map(|topic| Effect::Inquire { topic: topic.clone() });
        let heard = self.heard.iter().map(|(sequence, (topic, notification))| Effect::Heard {
            topic: topic.clone(),
            sequence: *sequence,
            notification: notification.clone(),
        });
        followed.chain(following).chain(heard)
    }
}

/// What a peer sends was decoded and not looked into: a publication must be a document.
pub(super) fn checked(body: &Body) -> Result<(), Fault> {
    match body {
        Body::Published { notification, .. } => Text::parse(notification.document.as_str().as_bytes()).map(drop),
        Body::Follow { .. } | Body::Unfollow { .. } => Ok(()),
    }
}

/// The publications among frames that the peer has confirmed: their topics may hand over more.
pub(super) fn had<'f>(frames: impl Iterator<Item = &'f Numbered>) -> impl Iterator<Item = super::Effect> {
    let published = frames.filter_map(|frame| match &frame.body {
        super::Body::Topic(Body::Published { topic, notification }) => {
            Some(Effect::Had { topic: topic.clone(), number: notification.number })
        }
        _ => None,
    });
    published.map(super::Effect::Topic)
}

impl Link {
    pub(super) fn for_topics(&self, input: Input) -> Decision<Self> {
        let record = |record| Decision::nothing().record(super::Record::Topic(record)).then(super::Input::Transmit);
        let effect = |effect| Decision::nothing().effect(super::Effect::Topic(effect));
        match input {
            Input::Follow { topic } if !self.topics.following.contains(&topic) => record(Record::Followed { topic }),
            Input::Unfollow { topic } if self.topics.following.contains(&topic) => record(Record::Unfollowed { topic }),
            Input::Follow { .. } | Input::Unfollow { .. } => Decision::nothing(),
            Input::Inquire { topic } if self.topics.followed.contains_key(&topic) => Decision::nothing(),
            Input::Inquire { topic } => effect(Effect::Unfollow { topic }),
            Input::Forward { topic, notification } => match self.topics.followed.get(&topic) {
                // The topic hears of that by itself.
                None => Decision::nothing(),
                Some(forwarded) if notification.number > forwarded.through => {
                    record(Record::Forwarded { topic, notification })
                }
                Some(forwarded) if notification.number <= forwarded.confirmed_through => {
                    effect(Effect::Had { topic, number: notification.number })
                }
                Some(_) => Decision::nothing(),
            },
            Input::Settle { sequence } if self.topics.heard.contains_key(&sequence) => {
                Decision::nothing().record(super::Record::Topic(Record::Settled { sequence }))
            }
            Input::Settle { .. } => Decision::nothing(),
        }
    }

    pub(super) fn absorb_for_topics(&mut self, record: &Record) {
        match record {
            Record::Followed { topic } => {
                self.topics.following.insert(topic.clone());
                self.put(super::Body::Topic(Body::Follow { topic: topic.clone() }));
            }
            Record::Unfollowed { topic } => {
                self.topics.following.remove(topic);
                self.put(super::Body::Topic(Body::Unfollow { topic: topic.clone() }));
            }
            Record::Forwarded { topic, notification } => {
                let forwarded = self.topics.followed.entry(topic.clone()).or_default();
                forwarded.through = forwarded.through.max(notification.number);
                let (topic, notification) = (topic.clone(), notification.clone());
                self.put(super::Body::Topic(Body::Published { topic, notification }));
            }
            Record::Settled { sequence } => drop(self.topics.heard.remove(sequence)),
        }
    }
}
