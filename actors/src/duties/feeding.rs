//! The law of the duties: a machine decides and absorbs, the ledger has its records on the disk, and only then is done what it wants.
//! Called by [`super::desk`] and [`super::talking`].

use super::{Happening, Takeover, Word, desk::Desk, ledger::Kept};
use crate::clock;
use hansa_core::{
    code::{Code, Fault},
    ident::{OrganizationId, SubnodeId},
    machine::{Machine as _, feed},
    mirror::{Certified, MemberId, Message, Pair, pair, witness},
};

/// What the pair was before an input.
pub(super) struct Before {
    state: pair::State,
    epoch: u64,
    active: Option<MemberId>,
}

impl Desk {
    /// Feed the pair machine, and do what it wants done. A refusal is somebody else's mistake.
    pub(super) fn pair_input(&mut self, input: pair::Input) -> Result<(), Fault> {
        if let Err(fault) = self.pair_refusable(input)? {
            tracing::debug!(%fault, "the pair refused an input");
        }
        Ok(())
    }

    pub(super) fn unless_refused(&mut self, from: SubnodeId, input: pair::Input) -> Result<(), Fault> {
        if let Err(fault) = self.pair_refusable(input)? {
            tracing::warn!(subnode = %from.short(), %fault, "a message about the pair is refused");
        }
        Ok(())
    }

    pub(super) fn pair_refusable(&mut self, input: pair::Input) -> Result<Result<(), Fault>, Fault> {
        let fed = self.feed_pair(input)?;
        self.act()?;
        Ok(fed)
    }

    pub(super) fn feed_pair(&mut self, input: pair::Input) -> Result<Result<(), Fault>, Fault> {
        let before = Before { state: self.pair.picture().state, epoch: self.epoch(), active: self.active() };
        let (unkept, wanted) = (&mut self.unkept, &mut self.wanted);
        let now = clock::steady();
        let fed = feed(&mut self.pair, &self.site, now, &mut self.dice, input, |happened, effects| {
            unkept.extend(happened.into_iter().filter(Pair::is_journaled).map(Kept::Pair));
            wanted.extend(effects);
        });
        if self.light && !self.unkept.is_empty() {
            // The disk has it first.
            self.unsettled.get_or_insert(before);
        } else {
            self.settle(before)?;
        }
        Ok(fed)
    }

    /// The ledger has what was recorded, and then it is known what became of it.
    pub(super) fn settle(&mut self, before: Before) -> Result<(), Fault> {
        let records = std::mem::take(&mut self.unkept);
        if !records.is_empty() {
            self.ledger.keep(&records)?;
        }
        self.lease();
        self.changed(before)
    }

    /// The journal knows how long what counts may leave without another word: this thread may come too late to stop it.
    pub(super) fn lease(&self) {
        let picture = self.pair.picture();
        self.seen.set_paired(picture.state == pair::State::ActivePair);
        match picture.state {
            pair::State::ActivePair | pair::State::Switching => {
                self.journal.lease(Some(picture.lease_until.unwrap_or_default()));
            }
            pair::State::Single | pair::State::ActiveSolo | pair::State::Joining => self.journal.lease(None),
            // It is held already, or nothing leaves.
            _ => {}
        }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.pair.certified().map_or(0, Certified::epoch)
    }

    fn active(&self) -> Option<MemberId> {
        self.pair.certified().map(|certified| certified.configuration.mode.active())
    }

    /// Say what became of it, to people and to who waits.
    fn changed(&mut self, before: Before) -> Result<(), Fault> {
        let Before { state: before, epoch, active } = before;
        let state = self.pair.picture().state;
        if state == before && self.epoch() == epoch {
            return Ok(());
        }
        tracing::info!(was = ?before, is = ?state, epoch = self.epoch(), "the pair changed");
        if active.is_some() && self.active() != active {
            let why = match before {
                pair::State::Takeover => "the active was silent for longer than its lease",
                pair::State::Switching => "this sub-node handed over, as it was asked to",
                _ if state.serves() => "the other sub-node handed over, as it was asked to",
                _ => "the other sub-node took over: this one was silent for longer than its lease",
            };
            self.takeovers += u64::from(before == pair::State::Takeover);
            let took_over = Takeover { at: clock::now(), epoch: self.epoch(), why: why.to_owned() };
            self.ledger.keep(&[Kept::TookOver(took_over.clone())])?;
            self.took_over = Some(took_over);
        }
        if before == pair::State::Switching
            && let Some((_, answer)) = self.switching.take()
        {
            let switched = if state.follows() {
                Ok(())
            } else {
                let message = "the other sub-node was lost before it had taken over, and this one goes on";
                Err(Fault::new(Code::PairNotReady, message))
            };
            let _ = answer.send(switched);
        }
        let _ = self.happenings.send(Happening::Changed);
        Ok(())
    }

    pub(super) fn witness_input(
        &mut self,
        whose: OrganizationId,
        from: SubnodeId,
        message: Box<Message>,
    ) -> Result<(), Fault> {
        // Whoever was not agreed with costs nothing here, nor whoever was and comes too late.
        if !self.hears(whose) {
            return Ok(());
        }
        let Some(witness) = self.witnesses.get_mut(&whose) else { return Ok(()) };
        self.heard.insert(whose, clock::now());
        let (mut records, mut wanted) = (Vec::new(), Vec::new());
        let input = witness::Input::Heard { from, message };
        let fed = feed(witness, &self.bench, clock::steady(), &mut self.dice, input, |happened, effects| {
            records.extend(happened.into_iter().map(|record| Kept::Witness(whose, record)));
            wanted.extend(effects);
        });
        if let Err(fault) = fed {
            tracing::warn!(subnode = %from.short(), %fault, "a question to this witness is refused");
        }
        if !records.is_empty() {
            self.ledger.keep(&records)?;
        }
        for witness::Effect { to, message } in wanted {
            self.say(to, message);
        }
        Ok(())
    }

    pub(super) fn say(&self, to: SubnodeId, message: Message) {
        self.carrier.tell(to, &Word::Say(Box::new(message)));
    }
}
