//! The place of links: what goes to the peer, and what peers want of services, transactions and topics here.

use super::{Housed, acknowledge, noted};
use crate::{
    address::Kind,
    dispatch::{Delivery, Input, Outward, Surroundings, Tally, ToPeer},
    durability::Durability,
    ident::{OrganizationId, TopicAddress},
    invocation::{Caller, Performer},
    link::{self, Link},
    mailbox,
    offer::Offers,
    session::{Asker, Taken, Tracking},
    topic::{self, Recipient, Subscriber},
    transaction,
};

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
            Effect::Confirm { accepted_through } => Delivery::Outward(Outward::Peer(
                *key,
                ToPeer::Confirm { accepted_through, durability: Durability::OneSite },
            )),
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
                Tracking { invocation: Some(invocation), durability: Some(Durability::OneSite), ..noted("answered") },
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
