//! What the active does: ship entries, say what counts, beat, and change the configuration when its mirror is lost, comes back or
//! shall serve instead.

use super::{
    super::{
        configuration::{MemberId, Mode, Witnesses},
        flaw::Flaw,
        message::{History, Message, Position},
        register::Proposal,
    },
    Alarm, Effect, Partner, State,
    turn::Turn,
};
use crate::{
    code::{Code, Fault},
    moment::Moment,
};

/// Beats that are remembered until they are answered.
pub const BEATS_MAX: usize = 64;

impl Turn<'_> {
    pub(super) fn sealed(&mut self, ends: &[Position]) {
        if !self.life.state.serves() {
            return;
        }
        for end in ends {
            self.life.history.extend(*end);
        }
        self.ship();
    }

    /// Send the follower what it has not been sent, as far as its window reaches.
    fn ship(&mut self) {
        let partner = &self.life.partner;
        if partner.member.is_none() {
            return;
        }
        let after = partner.sent_through;
        let window_end = partner.acked.sequence.max(partner.fork) + self.site.timing.window_entries;
        let through = self.life.history.tail().sequence.min(window_end);
        if through > after {
            self.life.partner.sent_through = through;
            let (to, epoch) = (self.site.partner, self.epoch());
            let committed = self.life.committed.sequence;
            self.effect(Effect::Ship { to, epoch, after, through, committed });
        }
    }

    pub(super) fn shipped(&mut self, through: Position) {
        let partner = &mut self.life.partner;
        if partner.member.is_some() && partner.shipped.back().is_none_or(|last| last.sequence < through.sequence) {
            partner.shipped.push_back(through);
        }
    }

    /// The follower hears from the next beat that nothing is sent to it, and asks anew; perhaps it gets a snapshot.
    pub(super) fn unshipped(&mut self) {
        let Partner { heard, unfit, .. } = self.life.partner;
        self.life.partner = Partner { heard, unfit, ..Partner::default() };
    }

    pub(super) fn acknowledged(&mut self, member: MemberId, durable: Position) {
        let partner = &mut self.life.partner;
        partner.heard = Some(self.now);
        if partner.member.is_some_and(|asked| asked != member) {
            // Either this is of the disk before, or the question was: whoever is there now is to ask anew.
            *partner = Partner { heard: partner.heard, ..Partner::default() };
            return;
        }
        if partner.member.is_none() || durable.sequence < partner.acked.sequence {
            return;
        }
        while partner.shipped.front().is_some_and(|end| end.sequence < durable.sequence) {
            partner.shipped.pop_front();
        }
        match partner.shipped.front() {
            Some(end) if end.sequence == durable.sequence && *end != durable => {
                self.life.partner = Partner::default();
                return self.alarm(Alarm::Diverged);
            }
            Some(end) if *end == durable => {}
            // Where its log met this one, the chain of hashes proved it.
            _ if durable.sequence <= partner.fork || durable == partner.acked => {}
            // It has more than it was sent since a question that came late: what it was sent before is forgotten here, and nothing that it
            // says of that could be held against anything. It is to ask anew.
            _ if durable.sequence > partner.sent_through => {
                *partner = Partner { heard: partner.heard, ..Partner::default() };
                return;
            }
            // It has all that there is, whatever it was sent since a question that came late: so says the chain of hashes.
            _ if durable == self.life.history.tail() => {}
            // The end of a batch of before a question that came late; it will say more.
            _ => return,
        }
        partner.acked = durable;
        self.commit();
        self.ship();
        self.go_on_joining();
    }

    /// Say what counts.
    pub(super) fn commit(&mut self) {
        use State::{ActivePair, ActiveSolo, Joining, Reconfig, Suspect, Switching};
        let (durable, acked) = (self.life.durable, self.life.partner.acked);
        let alone = match self.life.state {
            ActiveSolo => true,
            Reconfig => self.has(Flaw::SoloBeforeRecorded),
            Joining => self.has(Flaw::SoloDuringJoin),
            _ => false,
        };
        let both = matches!(self.life.state, ActivePair | Suspect | Reconfig | Switching)
            && self.mode().is_some_and(|mode| mode.mirror() == self.life.partner.member && mode.mirror().is_some());
        let reached = match (alone, both) {
            (true, _) => durable,
            (false, true) if acked.sequence < durable.sequence => acked,
            (false, true) => durable,
            // Between two configurations nothing counts that did not before.
            (false, false) => return,
        };
        if reached.sequence > self.life.committed.sequence {
            self.life.committed = reached;
            self.effect(Effect::Commit { through: reached.sequence });
        }
    }

    pub(super) fn join(&mut self, member: MemberId, history: &History, nonce: u64) {
        let (to, epoch) = (self.site.partner, self.epoch());
        if member.subnode != to {
            return;
        }
        self.life.partner.heard = Some(self.now);
        if let Some(mirror) = self.mode().and_then(|mode| mode.mirror())
            && mirror != member
        {
            // The mirror's disk is another: what it had is gone, so it is lost as if it were silent. An active that must not serve
            // alone takes the new one in as it is.
            self.mirror_lost();
            if self.life.state != State::Suspect {
                return;
            }
        }
        let fork = self.life.history.fork(history);
        self.effect(Effect::Answer { to, epoch, nonce, fork });
        let Some(fork) = fork else {
            // What it was sent before is of no use to it, or it asked before that: then it hears from the next beat that it is to ask again.
            return self.unshipped();
        };
        let Partner { heard, unfit, .. } = self.life.partner;
        let (fork, sent_through) = (fork.sequence, fork.sequence);
        self.life.partner = Partner { member: Some(member), fork, sent_through, heard, unfit, ..Partner::default() };
        self.ship();
    }

    /// A learner that is near the end stops the active, which then waits until it has everything.
    pub(super) fn go_on_joining(&mut self) {
        let tail = self.life.history.tail().sequence;
        let Some(member) = self.life.partner.member else { return };
        let acked = self.life.partner.acked.sequence;
        match self.life.state {
            State::ActiveSolo | State::Suspect
                if (acked + self.site.timing.near_entries >= tail || self.has(Flaw::JoinWhileLagging))
                    && self.mode().is_some_and(|mode| mode.mirror() != Some(member)) =>
            {
                // From here on nothing counts that the other does not have.
                self.life.state = State::Joining;
                self.life.target = tail;
                self.life.patience_until = Some(self.now.plus_ms(self.site.timing.lease_ms));
                self.go_on_joining();
            }
            State::Joining => {
                let whole = acked >= self.life.target && self.life.durable.sequence >= self.life.target;
                if whole || self.has(Flaw::JoinWhileLagging) {
                    self.propose(Mode::Pair { active: self.site.member, mirror: member });
                }
            }
            State::Switching if acked >= self.life.target => {
                self.propose(Mode::Pair { active: member, mirror: self.site.member });
            }
            _ => {}
        }
    }

    pub(super) fn switch(&mut self) -> Result<(), Fault> {
        let is_proposing = self.life.proposal.is_some();
        let has_mirror = self.life.partner.member.is_some() && !self.life.partner.unfit;
        if self.life.state != State::ActivePair || is_proposing || !has_mirror {
            let message = match self.life.state {
                State::ActivePair if self.life.partner.unfit => {
                    "the mirror cannot take in an entry of the log, so it cannot serve".to_owned()
                }
                State::ActivePair if self.life.proposal.is_some() => {
                    "other witnesses are being appointed just now".to_owned()
                }
                State::ActivePair => "the mirror has not caught up yet".to_owned(),
                state if state.serves() => "there is no mirror that could take over".to_owned(),
                _ => "this sub-node is not the active one".to_owned(),
            };
            return Err(Fault::new(Code::PairNotReady, message));
        }
        self.life.state = State::Switching;
        self.life.target = self.life.history.tail().sequence;
        self.effect(Effect::Pause);
        self.go_on_joining();
        Ok(())
    }

    /// Other witnesses shall decide from the next configuration on. Those that there are decide on that, and nothing waits for it: it is
    /// asked for again and again, until it is decided, something else is, or the present ones are wanted again.
    pub(super) fn appoint(&mut self, witnesses: Vec<MemberId>) -> Result<(), Fault> {
        let not_ready = |message: &str| Err(Fault::new(Code::PairNotReady, message));
        let witnesses = Witnesses::new(witnesses);
        let is_held = self.configuration().is_none_or(|held| held.witnesses == witnesses);
        match self.life.state {
            State::ActivePair | State::ActiveSolo | State::Suspect => {}
            state if state.serves() => return not_ready("who serves is being decided on just now"),
            _ => return not_ready("this sub-node is not the active one"),
        }
        if !witnesses.is_sound() {
            return not_ready("a pair has one to seven witnesses, none of them twice");
        }
        if !is_held {
            self.propose_next(|base| base.next_with(witnesses));
        } else if self.life.proposal.as_ref().is_some_and(Proposal::may_be_decided) {
            // Either that is decided after all, or that all is as it was.
            self.propose_next(|base| base.next(base.mode));
        } else {
            (self.life.proposal, self.life.retry_at, self.life.outbid) = (None, None, None);
        }
        Ok(())
    }

    pub(super) fn beat_answered(&mut self, member: MemberId, nonce: u64, fit: bool, grace_ms: u64) {
        self.life.partner.heard = Some(self.now);
        self.life.partner.unfit = !fit;
        if self.mode().and_then(|mode| mode.mirror()).is_some_and(|mirror| mirror != member) {
            return;
        }
        let Some((_, sent)) = self.life.beats.iter().find(|(sent, _)| *sent == nonce).copied() else { return };
        self.life.beats.retain(|(sent, _)| *sent > nonce);
        let timing = self.site.timing.within(grace_ms);
        self.life.granted_ms = Some(grace_ms);
        let next_beat = self.now.plus_ms(timing.beat_ms);
        self.life.beat_at = self.life.beat_at.map(|at| at.min(next_beat));
        // From the sending on: the mirror's patience begins later, when it hears the beat.
        let until = sent.plus_ms(timing.lease_ms);
        if self.life.lease_until.is_none_or(|lease| lease < until) {
            self.life.lease_until = Some(until);
        }
        if matches!(self.life.state, State::ActivePair | State::Suspect) {
            self.life.patience_until = self.life.patience_until.max(self.life.lease_until);
        }
        if until > self.now {
            if self.life.state == State::Suspect {
                self.life.state = State::ActivePair;
            }
            if self.life.state == State::ActivePair {
                self.hold(false);
            }
        }
    }

    pub(super) fn active_due(&mut self) {
        let now = self.now;
        let timing = self.life.granted_ms.map_or(self.site.timing, |granted| self.site.timing.within(granted));
        let is_due = |at: Option<Moment>| at.is_some_and(|at| at <= now);
        if is_due(self.life.beat_at) {
            self.life.beat += 1;
            let (nonce, epoch, committed) = (self.life.beat, self.epoch(), self.life.committed.sequence);
            let (knows, sent) = (self.life.partner.member.is_some(), self.life.partner.sent());
            if self.life.beats.len() == BEATS_MAX {
                self.life.beats.pop_front();
            }
            self.life.beats.push_back((nonce, now));
            self.life.beat_at = Some(now.plus_ms(timing.beat_ms));
            self.tell_partner(Message::Beat { epoch, nonce, knows, sent, committed });
        }
        if is_due(self.life.floor_at) {
            self.life.floor_at = Some(now.plus_ms(timing.floor_ms));
            self.tell_floor();
        }
        if !is_due(self.life.patience_until) {
            return;
        }
        match self.life.state {
            State::ActivePair | State::Suspect => self.mirror_lost(),
            State::Switching if self.life.proposal.is_none() => {
                self.life.state = State::ActivePair;
                self.effect(Effect::Serve { epoch: self.epoch() });
                self.mirror_lost();
            }
            State::Switching => self.alone(),
            State::Joining => {
                let heard = self.life.partner.heard.is_some_and(|heard| now.since_ms(heard) < timing.lease_ms);
                if heard && self.life.proposal.is_some() {
                    // The witnesses are slow, not the learner.
                    self.life.patience_until = Some(now.plus_ms(timing.lease_ms));
                } else if self.has(Flaw::JoinTimesOut) {
                    (self.life.proposal, self.life.retry_at) = (None, None);
                    self.life.state = State::ActiveSolo;
                    self.commit();
                } else if self.mode().is_some_and(|mode| mode.mirror().is_some()) {
                    // It waits for a mirror again; what was proposed may still be decided, and harms nothing.
                    self.life.state = State::Suspect;
                    self.life.partner = Partner::default();
                } else {
                    // The pair may have been decided on already, so only the witnesses can say that it was not.
                    self.alone();
                }
            }
            _ => {}
        }
    }

    /// The mirror is silent, or another than it was.
    fn mirror_lost(&mut self) {
        if !matches!(self.life.state, State::ActivePair | State::Suspect) {
            return;
        }
        self.life.state = State::Suspect;
        self.hold(true);
        if self.may_serve_alone() {
            self.alone();
        }
    }

    fn alone(&mut self) {
        self.life.state = State::Reconfig;
        self.propose(Mode::Solo { active: self.site.member });
        self.commit();
    }

    fn tell_floor(&mut self) {
        let position = self.life.committed;
        if position.sequence <= self.life.floored {
            return;
        }
        self.life.floored = position.sequence;
        let Some(configuration) = self.configuration().cloned() else { return };
        for witness in &configuration.witnesses.members {
            let (pair, epoch) = (configuration.pair, configuration.epoch);
            self.send(witness.subnode, Message::Floor { pair, epoch, position });
        }
    }
}
