//! The place of topics: publications go to sessions, and through links to peers.

use super::{Housed, acknowledge, noted};
use crate::{
    address::Kind,
    dispatch::{Delivery, Input, Outward, Surroundings, Tally},
    durability::Durability,
    ident::TopicAddress,
    link,
    offer::Offers,
    session::{Asker, ToSession, Tracking},
    topic::{self, Topic},
};

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
                Tracking { publication, moment: Some(moment), durability: Some(Durability::OneSite), ..noted(word) },
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
