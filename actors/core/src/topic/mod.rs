//! A topic: publications in order, and what each of its subscribers has had of them (T13).
//!
//! A publication is kept once, from the moment it is durable until every subscriber has had it. A subscription is durable
//! and has a name; the sessions that take publications for it come and go, and share the work. What a subscriber has
//! acknowledged is journaled, so it gets every publication at least once, and none again after a crash that it is known
//! to have had. A topic without subscribers keeps nothing and is nothing: see [`Topic::absorb`].
//!
//! How much a topic keeps is bounded. Where there is no room, a publisher is told `busy` while a subscriber that needs the
//! oldest publication is there and on its way; subscribers that are away, or stand still, lose the oldest instead, and are
//! told how many they missed.
//!
//! A topic of a peer is a topic here too, with subscribers of its own; the link brings it what the peer publishes. And a
//! peer is a subscriber whose only recipient is its link; it gets public publications alone.

mod giving;
mod publishing;
mod subscription;
mod words;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use subscription::Recipient;
pub use words::{Effect, Input, Record};

use crate::{
    code::{Code, Fault},
    dice::Dice,
    document::Text,
    ident::{OrganizationId, PublicationId, SubscriberName, TopicAddress},
    limit,
    machine::{Decision, Machine},
    moment::Moment,
    offer::Offers,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use subscription::Subscription;

/// What a publication counts besides its document.
const PUBLICATION_BYTES: usize = 512;

/// Who subscribes to a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Subscriber {
    /// Somebody who is attached to this node.
    Named(SubscriberName),
    /// A peer, for subscribers of its own.
    Peer(OrganizationId),
}

/// One topic.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Topic {
    address: TopicAddress,
    /// Publications that not every subscriber has had, without gaps; the last of them is number `last`.
    kept: VecDeque<Kept>,
    /// How many publications there were.
    last: u64,
    /// Bytes of those that are kept.
    bytes: usize,
    /// Recent publications by the ids that their publishers chose, and the order of these, the oldest first.
    remembered: BTreeMap<PublicationId, u64>,
    remembered_order: VecDeque<PublicationId>,
    subscriptions: BTreeMap<Subscriber, Subscription>,
    /// How many subscribers have had everything up to which number.
    positions: BTreeMap<u64, u32>,
    /// Of a peer's topic: the frame of the last publication that the link brought.
    heard_through: u64,
    /// When what was put off is given again.
    #[serde(skip)]
    pauses: BTreeSet<(Moment, Subscriber, u64)>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    publication: PublicationId,
    published: Moment,
    document: Text,
}

/// A subscriber as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriberPicture {
    /// Who.
    pub subscriber: Subscriber,
    /// Since when.
    pub subscribed: Moment,
    /// How many recipients it has: its presence.
    pub recipients: usize,
    /// How many publications it has not had.
    pub lag: u64,
    /// How many of them are under way to it.
    pub in_flight: usize,
    /// How many it missed, since it subscribed.
    pub missed: u64,
    /// How many it refused, since it subscribed.
    pub refused: u64,
}

impl Topic {
    /// How many publications there were since somebody first subscribed.
    #[must_use]
    pub fn published(&self) -> u64 {
        self.last
    }

    /// How many publications are kept.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// Bytes of those that are kept.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.bytes
    }

    /// When the oldest publication that is kept was published.
    #[must_use]
    pub fn oldest(&self) -> Option<Moment> {
        self.kept.front().map(|kept| kept.published)
    }

    /// Who subscribes, and how far each is.
    pub fn subscribers(&self) -> impl Iterator<Item = SubscriberPicture> + '_ {
        self.subscriptions.iter().map(|(subscriber, subscription)| SubscriberPicture {
            subscriber: subscriber.clone(),
            subscribed: subscription.subscribed,
            recipients: subscription.recipients.len(),
            lag: subscription.lacks(self.last),
            in_flight: subscription.in_flight(),
            missed: subscription.missed,
            refused: subscription.refused,
        })
    }

    fn first(&self) -> u64 {
        self.last + 1 - self.kept.len() as u64
    }

    fn numbered(&self, number: u64) -> Option<&Kept> {
        self.kept.get(usize::try_from(number.checked_sub(self.first())?).ok()?)
    }

    fn check_owner(&self, offers: &Offers) -> Result<(), Fault> {
        let Some(owner) = self.address.organization else { return Ok(()) };
        if offers.own() == Some(owner) {
            let words = format!("{} is a topic of this organization itself", self.address.name);
            return Err(Fault::new(Code::MemberUnknown, words).help("name no organization for a topic of one's own"));
        }
        match offers.name(&owner) {
            Some(_) => Ok(()),
            None => Err(Fault::new(Code::MemberUnknown, format!("no member {} is known here", owner.short()))),
        }
    }

    fn subscribe(
        &self,
        now: Moment,
        subscriber: Subscriber,
        recipient: Recipient,
        credit: u32,
    ) -> Result<Decision<Self>, Fault> {
        let known = self.subscriptions.get(&subscriber);
        if known.is_none() && self.subscriptions.len() >= limit::TOPIC_SUBSCRIBERS_MAX {
            let words = format!("{} has {} subscribers already", self.address, self.subscriptions.len());
            return Err(Fault::new(Code::LimitReached, words));
        }
        let recipients = known.map_or(0, |subscription| subscription.recipients.len());
        let comes_again = known.is_some_and(|subscription| subscription.recipients.contains_key(&recipient));
        if !comes_again && recipients >= limit::SERVICE_SESSIONS_MAX {
            let words = format!("this subscriber of {} has {recipients} connections already", self.address);
            return Err(Fault::new(Code::LimitReached, words));
        }
        let mut decision = Decision::nothing();
        if known.is_none() {
            decision.records.push(Record::Subscribed { subscriber: subscriber.clone(), at: now });
            if self.address.organization.is_some() && self.subscriptions.is_empty() {
                decision.effects.push(Effect::Follow);
            }
        }
        let credit = credit.clamp(1, limit::SESSION_CREDIT_MAX);
        let only = Some(subscriber.clone());
        Ok(decision.record(Record::Attached { subscriber, recipient, credit, at: now }).then(Input::Give { only }))
    }

    fn unsubscribe(&self, subscriber: Subscriber) -> Decision<Self> {
        let mut decision = Decision::nothing();
        if self.subscriptions.contains_key(&subscriber) {
            decision.records.push(Record::Unsubscribed { subscriber });
            if self.address.organization.is_some() && self.subscriptions.len() == 1 {
                decision.effects.push(Effect::Unfollow);
            }
        }
        decision
    }

    /// Change a subscription, and drop what nobody needs any more.
    fn change(&mut self, subscriber: &Subscriber, change: impl FnOnce(&mut Subscription)) {
        if let Some(subscription) = self.subscriptions.get_mut(subscriber) {
            let before = subscription.had_through;
            change(subscription);
            let after = subscription.had_through;
            if before != after {
                self.leave(before);
                *self.positions.entry(after).or_default() += 1;
                self.trim();
            }
        }
    }

    fn leave(&mut self, position: u64) {
        if let Some(count) = self.positions.get_mut(&position) {
            *count -= 1;
            if *count == 0 {
                self.positions.remove(&position);
            }
        }
    }

    /// Keep nothing that every subscriber has had.
    fn trim(&mut self) {
        let had_by_all = self.positions.first_key_value().map_or(self.last, |(position, _)| *position);
        while self.first() <= had_by_all {
            let Some(kept) = self.kept.pop_front() else { break };
            self.bytes -= kept.bytes();
        }
    }

    fn remember(&mut self, publication: PublicationId, fingerprint: u64) {
        if self.remembered.insert(publication, fingerprint).is_none() {
            self.remembered_order.push_back(publication);
        }
        while self.remembered_order.len() > limit::TOPIC_REMEMBERED_MAX {
            let Some(oldest) = self.remembered_order.pop_front() else { break };
            self.remembered.remove(&oldest);
        }
    }
}

impl Kept {
    fn bytes(&self) -> usize {
        self.document.as_str().len() + PUBLICATION_BYTES
    }
}

impl Machine for Topic {
    type Key = TopicAddress;
    type Input = Input;
    type Record = Record;
    type Effect = Effect;
    type Around = Offers;

    fn is_journaled(record: &Record) -> bool {
        matches!(
            record,
            Record::Subscribed { .. }
                | Record::Unsubscribed { .. }
                | Record::Published { .. }
                | Record::Dropped { .. }
                | Record::Had { .. }
        )
    }

    fn new(address: &TopicAddress) -> Self {
        Self {
            address: address.clone(),
            kept: VecDeque::new(),
            last: 0,
            bytes: 0,
            remembered: BTreeMap::new(),
            remembered_order: VecDeque::new(),
            subscriptions: BTreeMap::new(),
            positions: BTreeMap::new(),
            heard_through: 0,
            pauses: BTreeSet::new(),
        }
    }

    fn decide(&self, offers: &Offers, now: Moment, _: &mut Dice, input: Input) -> Result<Decision<Self>, Fault> {
        Ok(match input {
            Input::Publish { asker, publication, public, document } => {
                self.publish(now, asker, publication, public, document)?
            }
            Input::Heard { sequence, notification } => self.heard(now, sequence, notification),
            Input::Subscribe { asker, subscriber, credit } => {
                self.check_owner(offers)?;
                let subscriber = Subscriber::Named(subscriber);
                let word = if self.subscriptions.contains_key(&subscriber) { "resumed" } else { "subscribed" };
                let decision = self.subscribe(now, subscriber, Recipient::Session(asker.session), credit)?;
                decision.effect(Effect::Acknowledge { asker, publication: None, moment: now, word })
            }
            Input::Unsubscribe { asker, subscriber } => {
                let decision = self.unsubscribe(Subscriber::Named(subscriber));
                let word = if decision.records.is_empty() { "not-subscribed" } else { "unsubscribed" };
                decision.effect(Effect::Acknowledge { asker, publication: None, moment: now, word })
            }
            Input::Follow { peer } => {
                let subscribed = self.subscribe(now, Subscriber::Peer(peer), Recipient::Link, limit::TOPIC_PEER_CREDIT);
                // A peer too many hears nothing: there is nobody to tell.
                subscribed.unwrap_or_default()
            }
            Input::Unfollow { peer } => self.unsubscribe(Subscriber::Peer(peer)),
            Input::Inquire => {
                let nobody =
                    (self.address.organization.is_some() && self.subscriptions.is_empty()).then_some(Effect::Unfollow);
                Decision { effects: nobody.into_iter().collect(), ..Decision::nothing() }
            }
            Input::Taken { subscriber, recipient, number, word } => {
                self.taken(now, subscriber, recipient, number, word)
            }
            Input::Detach { session } => {
                let recipient = Recipient::Session(session);
                let theirs = self
                    .subscriptions
                    .iter()
                    .filter(|(_, subscription)| subscription.recipients.contains_key(&recipient))
                    .map(|(subscriber, _)| Record::Detached { subscriber: subscriber.clone(), recipient });
                Decision { records: theirs.collect(), ..Decision::nothing() }.then(Input::Give { only: None })
            }
            Input::Give { only } => self.give(now, only.as_ref()),
            Input::Due => self.due(now),
            Input::Resumed => self.resumed(now),
        })
    }

    fn absorb(&mut self, record: &Record) {
        match record {
            Record::Subscribed { subscriber, at } => {
                if !self.subscriptions.contains_key(subscriber) {
                    *self.positions.entry(self.last).or_default() += 1;
                    self.subscriptions.insert(subscriber.clone(), Subscription::new(*at, self.last));
                }
            }
            Record::Unsubscribed { subscriber } => {
                if let Some(subscription) = self.subscriptions.remove(subscriber) {
                    self.leave(subscription.had_through);
                    self.pauses.retain(|(_, whose, _)| whose != subscriber);
                    self.trim();
                }
                // Without subscribers it is what it was before the first came, so that it can be forgotten.
                if self.subscriptions.is_empty() {
                    *self = Self::new(&self.address);
                }
            }
            Record::Published { publication, at, public, fingerprint, heard, missed, document } => {
                if self.subscriptions.is_empty() {
                    return;
                }
                self.last += 1;
                let kept = Kept { publication: *publication, published: *at, document: document.clone() };
                self.bytes += kept.bytes();
                self.kept.push_back(kept);
                self.remember(*publication, *fingerprint);
                self.heard_through = heard.unwrap_or(self.heard_through);
                if *missed > 0 {
                    self.subscriptions.values_mut().for_each(|subscription| subscription.miss(*missed));
                }
                if !public {
                    let peers: Vec<_> =
                        self.subscriptions.keys().filter(|it| matches!(it, Subscriber::Peer(_))).cloned().collect();
                    let number = self.last;
                    for peer in peers {
                        self.change(&peer, |subscription| subscription.passed(number));
                    }
                }
            }
            Record::Dropped { through, .. } => {
                let late: Vec<_> = self
                    .subscriptions
                    .iter()
                    .filter(|(_, subscription)| subscription.had_through < *through)
                    .map(|(subscriber, _)| subscriber.clone())
                    .collect();
                for subscriber in late {
                    self.change(&subscriber, |subscription| subscription.lose(*through));
                }
                self.pauses.retain(|(_, _, number)| number > through);
            }
            Record::Had { subscriber, recipient, number, told, refused, at } => {
                self.change(subscriber, |subscription| subscription.had(*recipient, *number, *told, *refused, *at));
            }
            Record::Attached { subscriber, recipient, credit, at } => {
                self.change(subscriber, |subscription| subscription.attach(*recipient, *credit, *at));
            }
            Record::Detached { subscriber, recipient } => {
                self.change(subscriber, |subscription| subscription.detach(*recipient));
                let paused = self.subscriptions.get(subscriber).is_some_and(|it| !it.postponed.is_empty());
                if !paused {
                    self.pauses.retain(|(_, whose, _)| whose != subscriber);
                }
            }
            Record::Given { subscriber, recipient, number, told, at } => {
                let bytes = self.numbered(*number).map_or(0, Kept::bytes);
                self.change(subscriber, |subscription| subscription.give(*recipient, *number, bytes, *told, *at));
            }
            Record::Postponed { subscriber, recipient, number, until } => {
                self.change(subscriber, |subscription| subscription.postpone(*recipient, *number));
                if self.subscriptions.get(subscriber).is_some_and(|it| it.postponed.contains(number)) {
                    self.pauses.insert((*until, subscriber.clone(), *number));
                }
            }
            Record::Woken { until } => {
                while self.pauses.first().is_some_and(|(at, ..)| at <= until) {
                    let Some((_, subscriber, number)) = self.pauses.pop_first() else { break };
                    self.change(&subscriber, |subscription| subscription.wants_again(number));
                }
            }
        }
    }

    fn wakes_at(&self) -> Option<Moment> {
        let pause = self.pauses.first().map(|(until, ..)| *until);
        let outlived = self.oldest().map(|published| published.plus_ms(limit::TOPIC_KEEP_MS_MAX));
        pause.into_iter().chain(outlived).min()
    }

    fn due() -> Input {
        Input::Due
    }

    fn resumed() -> Input {
        Input::Resumed
    }

    fn is_open(&self) -> bool {
        !self.subscriptions.is_empty()
    }

    fn is_kept(&self) -> bool {
        !self.subscriptions.is_empty()
    }
}
