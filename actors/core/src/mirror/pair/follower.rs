//! What a mirror or a learner does: take entries in, say what its disk has, and, if it is a mirror, take over when the active has
//! been silent for longer than its lease can last.

use super::{
    super::{
        configuration::Mode,
        entry::Entry,
        flaw::Flaw,
        message::{History, Message, Position},
    },
    Alarm, Effect, Record, State,
    turn::Turn,
};
use crate::moment::Moment;

/// How often the pause between two questions doubles.
pub const UNANSWERED_MAX: u32 = 5;

impl Turn<'_> {
    /// Say what this log is, and ask for the rest.
    pub(super) fn ask(&mut self) {
        self.life.joined = false;
        self.life.behind_since = None;
        if self.life.installing {
            // It asks when it has what it got.
            self.life.ask_at = None;
            return;
        }
        self.life.question += 1;
        // To make a snapshot, and to send it, takes longer than any other answer: who asks all the time gets one after the other.
        let pause = self.site.timing.retry_ms << self.life.unanswered.min(UNANSWERED_MAX);
        self.life.unanswered += 1;
        self.life.ask_at = Some(self.now.plus_ms(pause));
        let (epoch, member, nonce) = (self.epoch(), self.site.member, self.life.question);
        self.tell_partner(Message::Join { epoch, member, history: self.life.history.clone(), nonce });
    }

    pub(super) fn tail(&mut self, fork: Position, nonce: u64) {
        // An answer that comes twice, or late, would cut what was acknowledged since.
        if self.life.joined || self.life.installing || nonce != self.life.question {
            return;
        }
        let log = self.life.history.tail();
        if fork.sequence < self.life.committed.sequence || fork.sequence > log.sequence {
            return self.alarm(Alarm::Diverged);
        }
        if log != fork {
            self.life.history.cut(fork);
            self.effect(Effect::Cut { after: fork });
        }
        if self.life.durable.sequence >= fork.sequence {
            self.life.durable = fork;
        }
        self.life.joined = true;
        (self.life.answered, self.life.unanswered) = (nonce, 0);
        self.life.acknowledged = None;
        self.life.received.clear();
        self.life.received.push_back(fork);
        self.life.ask_at = None;
        self.life.alarm = None;
        self.acknowledge();
    }

    pub(super) fn append(&mut self, previous: Position, entries: Vec<Entry>, committed: u64) {
        let tail = self.life.history.tail();
        let Some(last) = entries.last().map(|entry| entry.position) else { return };
        self.be_patient();
        if !self.life.joined && !self.has(Flaw::AnyEpochAppends) {
            return;
        }
        if last.sequence <= tail.sequence && previous != tail {
            // It comes again.
            return self.acknowledge();
        }
        let follow = entries.iter().zip(previous.sequence + 1..).all(|(entry, next)| entry.position.sequence == next);
        if previous != tail || !follow {
            return self.ask();
        }
        for entry in &entries {
            self.life.history.extend(entry.position);
        }
        self.life.received.push_back(last);
        self.life.behind_since = None;
        self.effect(Effect::Write { entries });
        if self.has(Flaw::AckBeforeSync) {
            let (epoch, member) = (self.epoch(), self.site.member);
            self.tell_partner(Message::AppendAck { epoch, member, durable: last });
        }
        self.counts(committed);
    }

    pub(super) fn follower_synced(&mut self) {
        self.acknowledge();
        let known = self.life.target;
        self.counts(known);
    }

    fn acknowledge(&mut self) {
        // What is not durable under this epoch's active says nothing.
        if !self.life.joined || self.has(Flaw::AckBeforeSync) {
            return;
        }
        while let Some(end) = self.life.received.front().copied()
            && end.sequence <= self.life.durable.sequence
        {
            self.life.received.pop_front();
            self.life.acknowledged = Some(end);
        }
        // After a question there is nothing to say before the place where the logs met is durable.
        if let Some(durable) = self.life.acknowledged {
            let (epoch, member) = (self.epoch(), self.site.member);
            self.tell_partner(Message::AppendAck { epoch, member, durable });
        }
    }

    /// Entries up to here count; what this disk has of them is taken in.
    fn counts(&mut self, committed: u64) {
        self.life.target = self.life.target.max(committed);
        let reached = self.life.target.min(self.life.durable.sequence);
        if self.life.joined && reached > self.life.committed.sequence {
            let epoch = self.life.history.epoch_of(reached).unwrap_or_default();
            self.life.committed = Position { sequence: reached, epoch, hash: [0; 32] };
            self.effect(Effect::Commit { through: reached });
        }
    }

    pub(super) fn beaten(&mut self, nonce: u64, knows: bool, sent: u64, committed: u64) {
        if self.life.state == State::Takeover {
            // It has asked to be active: from here on it grants no lease.
            return;
        }
        self.tell_grace();
        self.be_patient();
        let (epoch, member) = (self.epoch(), self.site.member);
        let (fit, grace_ms) = (!self.life.unfit, self.site.timing.grace_ms);
        self.tell_partner(Message::BeatAck { epoch, member, nonce, fit, grace_ms });
        self.counts(committed);
        if self.life.joined && !knows {
            // The active gave it up while it was silent.
            self.ask();
        } else if self.life.joined {
            // What was lost on the way, in either direction, is said again.
            self.acknowledge();
            let behind = sent > self.life.history.tail().sequence;
            let since = self.life.behind_since.get_or_insert(self.now);
            if !behind {
                self.life.behind_since = None;
            } else if self.now.since_ms(*since) >= self.site.timing.retry_ms {
                self.ask();
            }
        }
    }

    /// The grace that leases rest on is remembered before it is said. A shorter one than before takes its place when whoever waits as long
    /// as that outlasts every lease of before.
    fn tell_grace(&mut self) {
        let (told_ms, grace_ms) = (self.told_grace_ms, self.site.timing.grace_ms);
        let outlasts = self.life.grace_until <= Some(self.now.plus_ms(grace_ms));
        if grace_ms > told_ms || grace_ms < told_ms && outlasts {
            self.told_grace_ms = grace_ms;
            self.records.push(Record::GraceTold(grace_ms));
        }
    }

    fn be_patient(&mut self) {
        if matches!(self.life.state, State::Mirror | State::Learner) {
            self.life.grace_until = self.life.grace_until.max(Some(self.now.plus_ms(self.site.timing.grace_ms)));
            if self.life.alarm == Some(Alarm::ActiveSilent) {
                self.life.alarm = None;
                // The active is back, so that it answers soon.
                self.life.unanswered = 0;
                self.life.ask_at = self.life.ask_at.map(|at| at.min(self.now.plus_ms(self.site.timing.retry_ms)));
            }
        }
    }

    /// Its machines cannot take in what counts, or can again. The log goes on as it did.
    pub(super) fn fitness(&mut self, fit: bool) {
        let was_fit = !std::mem::replace(&mut self.life.unfit, !fit);
        if was_fit && !fit {
            self.effect(Effect::Alarm(Alarm::Unfit));
        }
    }

    pub(super) fn snapshot(&mut self, history: History, nonce: u64, state: Vec<u8>) {
        // It may have been asked for again meanwhile, for it takes long; what it reflects counts, and is a beginning of every later log.
        let is_answer = nonce > self.life.answered && nonce <= self.life.question;
        if self.life.joined || self.life.installing || !is_answer {
            return;
        }
        if self.mode().and_then(|mode| mode.mirror()) == Some(self.site.member) {
            // What a mirror has is what the other relies on: it is never replaced.
            return self.alarm(Alarm::Diverged);
        }
        (self.life.installing, self.life.ask_at) = (true, None);
        self.effect(Effect::Install { history, state });
    }

    pub(super) fn installed(&mut self, history: History) {
        self.life.durable = history.tail();
        self.life.committed = history.tail();
        self.life.history = history;
        self.life.installing = false;
        (self.life.answered, self.life.unanswered) = (self.life.question, 0);
        self.life.received.clear();
        if self.life.state.follows() {
            self.ask();
        }
    }

    pub(super) fn follower_due(&mut self) {
        let now = self.now;
        let is_due = |at: Option<Moment>| at.is_some_and(|at| at <= now);
        if is_due(self.life.ask_at) {
            self.ask();
        }
        if !is_due(self.life.grace_until) {
            return;
        }
        self.life.grace_until = None;
        match self.life.state {
            // It has everything, and its machines cannot go on from that. Whoever mends it starts it anew.
            State::Mirror if self.life.unfit => self.life.grace_until = Some(now.plus_ms(self.site.timing.grace_ms)),
            State::Mirror => self.take_over(),
            State::Learner if self.has(Flaw::LearnerTakesOver) => self.take_over(),
            State::Learner => {
                // It does not have everything that was acknowledged, so it must not serve, however long it waits.
                self.alarm(Alarm::ActiveSilent);
                self.life.grace_until = Some(now.plus_ms(self.site.timing.grace_ms));
            }
            _ => {}
        }
    }

    fn take_over(&mut self) {
        self.life.state = State::Takeover;
        self.propose(Mode::Solo { active: self.site.member });
    }
}
