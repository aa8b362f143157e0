//! One decision of the pair machine, while it is made: what it sees, what it changes, and what both roles have in common, above
//! all the way to a new configuration.

use super::{
    super::{
        configuration::{Ballot, Certified, Configuration, MemberId, Mode},
        flaw::Flaw,
        message::{Accepted, Message, Position},
        register::{Outcome, Proposal},
    },
    Alarm, Effect, Input, Life, OnMirrorLost, Pair, Partner, Record, Site, State,
};
use crate::{
    code::{Code, Fault},
    dice::Dice,
    ident::SubnodeId,
    machine::Decision,
    moment::Moment,
};
use std::sync::Arc;

/// See above.
pub(super) struct Turn<'a> {
    pub(super) site: &'a Site,
    pub(super) now: Moment,
    dice: &'a mut Dice,
    before: &'a Life,
    pub(super) life: Life,
    certified: Option<Box<Certified>>,
    rounds: u64,
    pub(super) told_grace_ms: u64,
    pub(super) records: Vec<Record>,
    effects: Vec<Effect>,
}

impl<'a> Turn<'a> {
    pub(super) fn new(pair: &'a Pair, site: &'a Site, now: Moment, dice: &'a mut Dice) -> Self {
        let certified = pair.certified.clone();
        let (life, rounds, told_grace_ms) = ((*pair.life).clone(), pair.rounds, pair.told_grace_ms);
        let (records, effects) = (Vec::new(), Vec::new());
        Self { site, now, dice, before: &pair.life, life, certified, rounds, told_grace_ms, records, effects }
    }

    pub(super) fn end(mut self) -> Decision<Pair> {
        if self.life != *self.before {
            self.records.push(Record::Lived(Arc::new(self.life)));
        }
        Decision { records: self.records, effects: self.effects, then: None }
    }

    pub(super) fn has(&self, flaw: Flaw) -> bool {
        self.site.flaw == Some(flaw)
    }

    pub(super) fn configuration(&self) -> Option<&Configuration> {
        self.certified.as_ref().map(|certified| &certified.configuration)
    }

    pub(super) fn epoch(&self) -> u64 {
        self.configuration().map_or(0, |configuration| configuration.epoch)
    }

    fn witnesses(&self) -> Vec<MemberId> {
        self.configuration().map(|configuration| configuration.witnesses.members.clone()).unwrap_or_default()
    }

    pub(super) fn mode(&self) -> Option<Mode> {
        self.configuration().map(|configuration| configuration.mode)
    }

    pub(super) fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(super) fn send(&mut self, to: SubnodeId, message: Message) {
        self.effect(Effect::Send { to, message });
    }

    pub(super) fn tell_partner(&mut self, message: Message) {
        self.send(self.site.partner, message);
    }

    pub(super) fn alarm(&mut self, alarm: Alarm) {
        if self.life.alarm.replace(alarm) != Some(alarm) {
            self.effect(Effect::Alarm(alarm));
        }
    }

    pub(super) fn take(&mut self, input: Input) -> Result<(), Fault> {
        match input {
            Input::Started { history } => self.start(history),
            Input::Configured(certified) => self.learn(certified)?,
            Input::Sealed { ends } => self.sealed(&ends),
            Input::Synced { durable } => self.synced(durable),
            Input::Shipped { through } => self.shipped(through),
            Input::Unshipped => self.unshipped(),
            Input::Installed { history } => self.installed(history),
            Input::Heard { from, message } => self.heard(from, message)?,
            Input::Connected => self.connected(),
            Input::Fitness { fit } => self.fitness(fit),
            Input::Switch => self.switch()?,
            Input::Appoint(witnesses) => self.appoint(witnesses)?,
            Input::Due => self.due(),
        }
        Ok(())
    }

    fn start(&mut self, history: super::History) {
        let durable = history.tail();
        // A question's number must not be one of the process before, whose answers may still be on their way.
        let question = self.dice.below(1 << 48);
        self.life = Life { history, durable, question, answered: question, ..Life::default() };
        let Some(mode) = self.mode() else { return };
        if mode.active() == self.site.member && !self.has(Flaw::RestartKeepsEpoch) {
            // Another may have been made active meanwhile; and what this disk lost of the old epoch must not be written anew in it.
            self.life.state = State::Boot;
            self.propose(mode);
        } else {
            self.enter();
        }
    }

    fn heard(&mut self, from: SubnodeId, message: Message) -> Result<(), Fault> {
        let is_partner = from == self.site.partner;
        match message {
            Message::Promise { epoch, ballot, witness, accepted, floor, .. } if witness.subnode == from => {
                self.promised(epoch, ballot, witness, accepted, floor);
            }
            Message::Accepted { epoch, ballot, witness, seal, .. } if witness.subnode == from => {
                let proposal = self.life.proposal.as_mut().filter(|proposal| proposal.base.epoch() + 1 == epoch);
                if let Some(Outcome::Decided(certified)) =
                    proposal.map(|it| it.accepted(&self.site.organization, ballot, witness, seal))
                {
                    self.adopt(certified);
                }
            }
            Message::Refused { epoch, promised, .. } => self.refused(epoch, promised),
            Message::Configured(certified) => self.learn(certified)?,
            Message::Behind { epoch } => {
                if epoch < self.epoch() {
                    self.tell(from);
                }
            }
            Message::Append { epoch, .. }
            | Message::AppendAck { epoch, .. }
            | Message::Beat { epoch, .. }
            | Message::BeatAck { epoch, .. }
            | Message::Join { epoch, .. }
            | Message::Tail { epoch, .. }
            | Message::Snapshot { epoch, .. }
                if is_partner =>
            {
                let any_epoch = self.has(Flaw::AnyEpochAppends) && matches!(message, Message::Append { .. });
                if epoch == self.epoch() || any_epoch {
                    self.of_partner(message);
                } else if epoch < self.epoch() {
                    // An old active learns from the first answer that it is none any more.
                    self.tell(from);
                } else {
                    self.send(from, Message::Behind { epoch: self.epoch() });
                }
            }
            _ => {
                let message = format!("{} says what is not its to say in a pair", from.short());
                return Err(Fault::new(Code::PairForged, message));
            }
        }
        Ok(())
    }

    fn of_partner(&mut self, message: Message) {
        let serves = self.life.state.serves();
        match message {
            Message::AppendAck { member, durable, .. } if serves => self.acknowledged(member, durable),
            Message::BeatAck { member, nonce, fit, grace_ms, .. } if serves => {
                self.beat_answered(member, nonce, fit, grace_ms);
            }
            Message::Join { member, history, nonce, .. } if serves => self.join(member, &history, nonce),
            Message::Append { previous, entries, committed, .. } if self.life.state.follows() => {
                self.append(previous, entries, committed);
            }
            Message::Beat { nonce, knows, sent, committed, .. } if self.life.state.follows() => {
                self.beaten(nonce, knows, sent, committed);
            }
            Message::Tail { fork, nonce, .. } if self.life.state.follows() => self.tail(fork, nonce),
            Message::Snapshot { history, nonce, state, .. } if self.life.state.follows() => {
                self.snapshot(history, nonce, state);
            }
            // Of a role that it or this sub-node had a moment ago.
            _ => {}
        }
    }

    fn tell(&mut self, to: SubnodeId) {
        if let Some(certified) = self.certified.clone() {
            self.send(to, Message::Configured(certified));
        }
    }

    // The way to a configuration.

    fn learn(&mut self, certified: Box<Certified>) -> Result<(), Fault> {
        if certified.epoch() <= self.epoch() {
            return Ok(());
        }
        certified.verify_behind(self.certified.as_deref())?;
        self.adopt(certified);
        Ok(())
    }

    fn adopt(&mut self, certified: Box<Certified>) {
        let own = self.life.proposal.as_ref().is_some_and(|proposal| proposal.base.epoch() + 1 == certified.epoch());
        let before = self.witnesses();
        self.records.push(Record::Adopted(certified.clone()));
        self.certified = Some(certified.clone());
        let witnesses = self.witnesses();
        if witnesses != before {
            // Those who are new know of no floor.
            self.life.floored = 0;
        }
        if own {
            // Those in whose place others are as well: nobody is to ask them any more.
            let gone = before.into_iter().filter(|one| !witnesses.contains(one));
            for witness in witnesses.iter().copied().chain(gone) {
                self.send(witness.subnode, Message::Configured(certified.clone()));
            }
        }
        self.tell_partner(Message::Configured(certified));
        self.enter();
    }

    /// Be what the configuration says.
    fn enter(&mut self) {
        let Some(mode) = self.mode() else { return };
        let (me, now, timing) = (self.site.member, self.now, self.site.timing);
        let life = &mut self.life;
        (life.proposal, life.retry_at, life.outbid) = (None, None, None);
        (life.partner, life.joined, life.target) = (Partner::default(), false, 0);
        life.received.clear();
        (life.beats, life.beat_at, life.granted_ms) = (Default::default(), None, None);
        (life.lease_until, life.patience_until, life.grace_until) = (None, None, None);
        (life.ask_at, life.floor_at, life.unanswered) = (None, None, 0);
        if mode.active() == me {
            let solo = mode.mirror().is_none();
            life.state = if solo { State::ActiveSolo } else { State::ActivePair };
            life.beat_at = Some(now);
            life.floor_at = Some(now.plus_ms(timing.floor_ms));
            // A new active has to hear of its mirror first, and may not suspect it before.
            life.patience_until = Some(now.plus_ms(timing.lease_ms));
            self.hold(!solo);
            self.effect(Effect::Serve { epoch: self.epoch() });
            self.commit();
        } else {
            let served = self.life.state.serves() || self.life.state == State::Boot;
            let life = &mut self.life;
            life.state = if mode.mirror() == Some(me) { State::Mirror } else { State::Learner };
            // The active may hold a lease that rests on what this sub-node said before it was started with another profile.
            life.grace_until = Some(now.plus_ms(timing.grace_ms.max(self.told_grace_ms)));
            life.held = false;
            if served {
                let tail = self.life.history.tail();
                self.effect(Effect::Follow { tail });
            }
            self.ask();
        }
    }

    pub(super) fn hold(&mut self, hold: bool) {
        if self.life.held != hold {
            self.life.held = hold;
            self.effect(Effect::Hold(hold));
        }
    }

    /// Ask the witnesses for this to hold next.
    pub(super) fn propose(&mut self, mode: Mode) {
        self.propose_next(|base| base.next(mode));
    }

    pub(super) fn propose_next(&mut self, next: impl FnOnce(&Configuration) -> Configuration) {
        let Some(base) = self.certified.clone() else { return };
        let wanted = next(&base.configuration);
        if self.life.proposal.as_ref().is_some_and(|proposal| proposal.wanted == wanted) {
            return;
        }
        self.ballot(base, wanted);
    }

    fn ballot(&mut self, base: Box<Certified>, wanted: Configuration) {
        self.rounds = self.rounds.max(self.life.outbid.take().unwrap_or_default()) + 1;
        self.records.push(Record::Balloted(self.rounds));
        let ballot = Ballot { round: self.rounds, by: self.site.member };
        self.life.proposal = Some(Proposal::new(base, wanted, ballot));
        self.question_witnesses();
    }

    fn question_witnesses(&mut self) {
        self.life.retry_at = Some(self.now.plus_ms(self.site.timing.retry_ms));
        let questions: Vec<_> = self.life.proposal.iter().flat_map(Proposal::questions).collect();
        for (witness, question) in questions {
            self.send(witness.subnode, question);
        }
    }

    fn promised(
        &mut self,
        epoch: u64,
        ballot: Ballot,
        witness: MemberId,
        accepted: Option<Box<Accepted>>,
        floor: Position,
    ) {
        let Some(proposal) = self.life.proposal.as_mut().filter(|it| it.base.epoch() + 1 == epoch) else { return };
        if floor.sequence > self.life.durable.sequence && !self.life.state.serves() {
            // Its own disk had that once, for it was acknowledged: going on would lose it.
            self.life.proposal = None;
            // A witness may lie: who was active asks again later, for nobody else may be there to serve.
            let is_active = self.life.state == State::Boot;
            self.life.retry_at = is_active.then(|| self.now.plus_ms(self.site.timing.grace_ms));
            if self.life.state == State::Takeover {
                self.life.state = State::Mirror;
                self.life.grace_until = Some(self.now.plus_ms(self.site.timing.grace_ms));
            }
            return self.alarm(Alarm::MemoryLost);
        }
        if proposal.promised(&self.site.key, ballot, witness, accepted) == Outcome::Promised {
            self.question_witnesses();
        }
    }

    fn refused(&mut self, epoch: u64, promised: Ballot) {
        let Some(proposal) = &self.life.proposal else { return };
        if proposal.base.epoch() + 1 != epoch || promised <= proposal.ballot() {
            return;
        }
        let first = self.life.outbid.is_none();
        self.life.outbid = self.life.outbid.max(Some(promised.round));
        if first {
            // Two that outbid each other would go on for ever if neither ever waited.
            let pause = 1 + self.dice.below(self.site.timing.retry_ms);
            self.life.retry_at = Some(self.now.plus_ms(pause));
        }
    }

    /// What was asked and not answered is asked again.
    fn retry(&mut self) {
        let Some(proposal) = self.life.proposal.clone() else {
            self.life.retry_at = None;
            if let (State::Boot, Some(mode)) = (self.life.state, self.mode()) {
                self.propose(mode);
            }
            return;
        };
        if self.life.outbid.is_some() {
            self.ballot(proposal.base, proposal.wanted);
        } else {
            self.question_witnesses();
        }
    }

    fn due(&mut self) {
        let now = self.now;
        let is_due = |at: Option<Moment>| at.is_some_and(|at| at <= now);
        if is_due(self.life.retry_at) {
            self.retry();
        }
        if self.life.state.serves() {
            self.active_due();
        }
        if self.life.state.follows() {
            self.follower_due();
        }
    }

    fn connected(&mut self) {
        if self.life.state.follows() {
            self.life.unanswered = 0;
            self.ask();
        } else {
            self.tell(self.site.partner);
        }
    }

    fn synced(&mut self, durable: Position) {
        // The disk may speak of entries that this machine has decided to cut, or has replaced since: those of another epoch at the same
        // place, or behind the tail. It says again what it has when that is done.
        if durable.sequence > 0 && self.life.history.epoch_of(durable.sequence) != Some(durable.epoch) {
            return;
        }
        self.life.durable = durable;
        if self.life.state.follows() {
            self.follower_synced();
        } else {
            self.commit();
            self.go_on_joining();
        }
    }

    pub(super) fn may_serve_alone(&self) -> bool {
        self.site.on_mirror_lost == OnMirrorLost::Solo
    }
}
