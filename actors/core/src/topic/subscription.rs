//! One subscription to a topic: what its subscriber has had, which of its recipients holds what, and what comes next.
//! [`super::Topic`] asks and tells; what a publication is, and how long it is kept, is the topic's business.

use crate::{limit, moment::Moment, session::SessionId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Who takes the publications of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Recipient {
    /// A session of the subscriber; several share the work.
    Session(SessionId),
    /// The link to the peer that subscribed.
    Link,
}

/// A subscription. What is not serialized speaks of the life of this process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Subscription {
    pub(super) subscribed: Moment,
    /// Everything up to this number was had, refused or missed.
    pub(super) had_through: u64,
    /// What was had beyond that.
    pub(super) had_beyond: BTreeSet<u64>,
    /// How many publications it missed, since it subscribed.
    pub(super) missed: u64,
    /// How many of them it was not told of.
    pub(super) untold: u64,
    /// How many publications it refused.
    pub(super) refused: u64,
    #[serde(skip)]
    pub(super) recipients: BTreeMap<Recipient, Holding>,
    /// Everything up to this number was given to a recipient at some time.
    #[serde(skip)]
    given_through: u64,
    /// What was given, came back, and waits again.
    #[serde(skip)]
    returned: BTreeSet<u64>,
    /// What was put off.
    #[serde(skip)]
    pub(super) postponed: BTreeSet<u64>,
    /// How many missed ones the notifications under way tell of.
    #[serde(skip)]
    telling: u64,
    /// When it last took or acknowledged something.
    #[serde(skip)]
    stirred: Moment,
}

/// What one recipient may hold, and does.
#[derive(Clone, Debug, Default)]
pub(super) struct Holding {
    credit: u32,
    held: BTreeMap<u64, Held>,
    bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    bytes: usize,
    told: u64,
}

/// How much more a recipient may be given in this decision.
pub(super) struct Room {
    pub(super) recipient: Recipient,
    pub(super) credit: usize,
    bytes: usize,
    holds: bool,
}

impl Room {
    /// Take room for a publication, if there is some. One alone may be as large as it likes.
    pub(super) fn take(&mut self, bytes: usize) {
        self.credit -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
        self.holds = true;
    }

    pub(super) fn fits(&self, bytes: usize) -> bool {
        self.credit > 0 && (!self.holds || bytes <= self.bytes)
    }
}

impl Subscription {
    /// A subscription that begins after publication `last`.
    pub(super) fn new(subscribed: Moment, last: u64) -> Self {
        Self {
            subscribed,
            had_through: last,
            had_beyond: BTreeSet::new(),
            missed: 0,
            untold: 0,
            refused: 0,
            recipients: BTreeMap::new(),
            given_through: last,
            returned: BTreeSet::new(),
            postponed: BTreeSet::new(),
            telling: 0,
            stirred: Moment::default(),
        }
    }

    /// Whether it keeps publishers waiting that the topic has no room for: it is there, and on its way.
    pub(super) fn is_active(&self, now: Moment) -> bool {
        !self.recipients.is_empty() && now.since_ms(self.stirred) < limit::SUBSCRIBER_STALL_MS_MAX
    }

    pub(super) fn holds(&self, recipient: Recipient, number: u64) -> Option<u64> {
        self.recipients.get(&recipient)?.held.get(&number).map(|held| held.told)
    }

    /// How many publications recipients hold.
    pub(super) fn in_flight(&self) -> usize {
        self.recipients.values().map(|holding| holding.held.len()).sum()
    }

    /// What waits to be given, of publications up to `last`, in order.
    pub(super) fn waiting(&self, last: u64) -> impl Iterator<Item = u64> + '_ {
        let from = self.given_through.max(self.had_through) + 1;
        let returned = self.returned.iter().copied().filter(|number| *number > self.had_through);
        returned.chain((from..=last).filter(|number| !self.had_beyond.contains(number)))
    }

    /// Missed ones that no notification under way tells of.
    pub(super) fn to_tell(&self) -> u64 {
        self.untold.saturating_sub(self.telling)
    }

    pub(super) fn rooms(&self) -> Vec<Room> {
        self.recipients
            .iter()
            .map(|(recipient, holding)| Room {
                recipient: *recipient,
                credit: (holding.credit as usize).saturating_sub(holding.held.len()),
                bytes: limit::NOTIFY_BYTES_MAX.saturating_sub(holding.bytes),
                holds: !holding.held.is_empty(),
            })
            .collect()
    }

    /// How many publications up to `through` it would miss.
    pub(super) fn lacks(&self, through: u64) -> u64 {
        through.saturating_sub(self.had_through) - self.had_beyond.range(..=through).count() as u64
    }

    pub(super) fn attach(&mut self, recipient: Recipient, credit: u32, at: Moment) {
        self.recipients.entry(recipient).or_default().credit = credit;
        self.stirred = at;
    }

    pub(super) fn detach(&mut self, recipient: Recipient) {
        let Some(holding) = self.recipients.remove(&recipient) else { return };
        for (number, held) in holding.held {
            self.telling = self.telling.saturating_sub(held.told);
            self.returned.insert(number);
        }
        if self.recipients.is_empty() {
            // Whoever comes back takes it at once.
            self.returned.append(&mut self.postponed);
        }
    }

    pub(super) fn give(&mut self, recipient: Recipient, number: u64, bytes: usize, told: u64, at: Moment) {
        self.given_through = self.given_through.max(number);
        self.returned.remove(&number);
        self.telling = self.telling.saturating_add(told);
        if let Some(holding) = self.recipients.get_mut(&recipient) {
            if holding.held.is_empty() {
                self.stirred = at;
            }
            holding.held.insert(number, Held { bytes, told });
            holding.bytes += bytes;
        }
    }

    /// The recipient holds it no more.
    fn release(&mut self, recipient: Recipient, number: u64) {
        let Some(holding) = self.recipients.get_mut(&recipient) else { return };
        if let Some(held) = holding.held.remove(&number) {
            holding.bytes = holding.bytes.saturating_sub(held.bytes);
            self.telling = self.telling.saturating_sub(held.told);
        }
    }

    pub(super) fn had(&mut self, recipient: Recipient, number: u64, told: u64, refused: bool, at: Moment) {
        self.release(recipient, number);
        self.stirred = at;
        self.untold = self.untold.saturating_sub(told);
        self.refused += u64::from(refused && number > self.had_through);
        self.passed(number);
    }

    /// It needs this one no more.
    pub(super) fn passed(&mut self, number: u64) {
        if number > self.had_through {
            self.had_beyond.insert(number);
            self.advance();
        }
    }

    pub(super) fn postpone(&mut self, recipient: Recipient, number: u64) {
        self.release(recipient, number);
        if number > self.had_through {
            self.postponed.insert(number);
        }
    }

    /// What was put off waits again.
    pub(super) fn wants_again(&mut self, number: u64) {
        if self.postponed.remove(&number) {
            self.returned.insert(number);
        }
    }

    /// It will never get what it lacks up to `through`.
    pub(super) fn lose(&mut self, through: u64) {
        let lacks = self.lacks(through);
        self.miss(lacks);
        self.had_through = self.had_through.max(through);
        self.had_beyond = self.had_beyond.split_off(&(self.had_through + 1));
        self.returned = self.returned.split_off(&(self.had_through + 1));
        self.postponed = self.postponed.split_off(&(self.had_through + 1));
        self.advance();
    }

    pub(super) fn miss(&mut self, count: u64) {
        // A peer says how many were lost on its side, and can say anything.
        self.missed = self.missed.saturating_add(count);
        self.untold = self.untold.saturating_add(count);
    }

    fn advance(&mut self) {
        while self.had_beyond.remove(&(self.had_through + 1)) {
            self.had_through += 1;
        }
    }
}
