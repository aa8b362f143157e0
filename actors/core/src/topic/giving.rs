//! Giving what is kept to the recipients of each subscription, and taking back what they say of it.

use super::{Effect, Input, Kept, Recipient, Record, Subscriber, Subscription, Topic};
use crate::{
    limit,
    machine::Decision,
    moment::Moment,
    session::{Notification, Taken},
};

impl Topic {
    pub(super) fn taken(
        &self,
        now: Moment,
        subscriber: Subscriber,
        recipient: Recipient,
        number: u64,
        word: Taken,
    ) -> Decision<Self> {
        let holds = self.subscriptions.get(&subscriber).and_then(|known| known.holds(recipient, number));
        let Some(told) = holds else { return Decision::nothing() };
        let only = Some(subscriber.clone());
        let record = match word {
            Taken::Had | Taken::Refused => {
                let refused = word == Taken::Refused;
                Record::Had { subscriber, recipient, number, told, refused, at: now }
            }
            Taken::Later { pause_ms } => {
                let until = now.plus_ms(pause_ms.clamp(1, limit::NOTIFY_PAUSE_MS_MAX));
                Record::Postponed { subscriber, recipient, number, until }
            }
        };
        Decision::nothing().record(record).then(Input::Give { only })
    }

    pub(super) fn give(&self, now: Moment, only: Option<&Subscriber>) -> Decision<Self> {
        let mut decision = Decision::nothing();
        match only {
            Some(subscriber) => {
                if let Some(subscription) = self.subscriptions.get(subscriber) {
                    self.give_to(now, subscriber, subscription, &mut decision);
                }
            }
            None => {
                for (subscriber, subscription) in &self.subscriptions {
                    self.give_to(now, subscriber, subscription, &mut decision);
                }
            }
        }
        decision
    }

    fn give_to(
        &self,
        now: Moment,
        subscriber: &Subscriber,
        subscription: &Subscription,
        decision: &mut Decision<Self>,
    ) {
        // What was put off comes first, so that the order is kept.
        if subscription.recipients.is_empty() || !subscription.postponed.is_empty() {
            return;
        }
        let mut rooms = subscription.rooms();
        let mut told = subscription.to_tell();
        for number in subscription.waiting(self.last) {
            let Some(kept) = self.numbered(number) else { continue };
            let bytes = kept.bytes();
            let fitting = rooms.iter_mut().filter(|room| room.fits(bytes));
            let Some(room) = fitting.max_by_key(|room| room.credit) else { return };
            room.take(bytes);
            let recipient = room.recipient;
            let notification = Notification {
                number,
                publication: kept.publication,
                published: kept.published,
                missed: told,
                document: kept.document.clone(),
            };
            decision.records.push(Record::Given { subscriber: subscriber.clone(), recipient, number, told, at: now });
            decision.effects.extend(match (recipient, subscriber) {
                (Recipient::Session(session), Subscriber::Named(subscriber)) => {
                    Some(Effect::Notify { session, subscriber: subscriber.clone(), notification })
                }
                (_, Subscriber::Peer(peer)) => Some(Effect::Forward { peer: *peer, notification }),
                (Recipient::Link, Subscriber::Named(_)) => None,
            });
            told = 0;
        }
    }

    /// Pauses that are over; then what was kept long enough.
    pub(super) fn due(&self, now: Moment) -> Decision<Self> {
        if self.pauses.first().is_some_and(|(until, ..)| *until <= now) {
            return Decision::nothing().record(Record::Woken { until: now }).then(Input::Due);
        }
        let outlived = |kept: &&Kept| now.since_ms(kept.published) >= limit::TOPIC_KEEP_MS_MAX;
        let count = self.kept.iter().take_while(outlived).count() as u64;
        let mut decision = Decision::nothing().then(Input::Give { only: None });
        decision.records.extend(self.dropped(count));
        decision
    }

    /// Peers take publications again; whatever a link may not know is told once more.
    pub(super) fn resumed(&self, now: Moment) -> Decision<Self> {
        let mut decision = Decision::nothing().then(Input::Give { only: None });
        for subscriber in self.subscriptions.keys() {
            if let Subscriber::Peer(peer) = subscriber {
                decision.effects.push(Effect::Inquire { peer: *peer });
                decision.records.push(Record::Attached {
                    subscriber: subscriber.clone(),
                    recipient: Recipient::Link,
                    credit: limit::TOPIC_PEER_CREDIT,
                    at: now,
                });
            }
        }
        if self.address.organization.is_some() && !self.subscriptions.is_empty() {
            decision.effects.push(Effect::Follow);
        }
        decision
    }
}
