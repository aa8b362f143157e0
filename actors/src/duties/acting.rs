//! What the pair machine wants done, done: in order, on the journal, on the network, and as happenings for the machines of the
//! exchange. Called by [`super::feeding`] after every input; it decides nothing but how entries are cut into messages.

use super::{Happening, desk::Desk};
use crate::{clock, journal::Journal};
use hansa_core::{
    code::{Code, Fault},
    dispatch::Outward,
    durability::Durability,
    ident::SubnodeId,
    mirror::{Message, Position, pair},
};
use std::time::{Duration, Instant};

/// Bytes of entries that travel in one message, unless a single one is larger. With more, what arrives meanwhile would wait longer.
const APPEND_BYTES_MAX: usize = 128 << 10;

/// Whether it can be done by anybody, at once: it needs neither the disk nor the journal's writer, and does not wait.
fn is_light(effect: &pair::Effect, journal: &Journal<Outward>) -> bool {
    match effect {
        pair::Effect::Write { .. } => journal.has_room(),
        pair::Effect::Send { .. }
        | pair::Effect::Ship { .. }
        | pair::Effect::Commit { .. }
        | pair::Effect::Hold(_)
        | pair::Effect::Alarm(_) => true,
        pair::Effect::Answer { .. }
        | pair::Effect::Cut { .. }
        | pair::Effect::Install { .. }
        | pair::Effect::Serve { .. }
        | pair::Effect::Pause
        | pair::Effect::Follow { .. } => false,
    }
}

/// Entries that are to be sent to the follower: behind one, through another.
#[derive(Clone, Copy)]
pub(super) struct Shipping {
    epoch: u64,
    after: u64,
    through: u64,
    committed: u64,
}

impl Desk {
    /// Do all that is wanted, and what comes of that.
    ///
    /// # Errors
    /// The journal or the ledger failed.
    pub(super) fn act(&mut self) -> Result<(), Fault> {
        // Nothing is done about what is not remembered yet.
        while self.unkept.is_empty()
            && let Some(effect) = self.wanted.pop_front_if(|effect| !self.light || is_light(effect, &self.journal))
        {
            self.effect(effect)?;
        }
        Ok(())
    }

    /// The machine is told of something that was done for it; what it wants then comes behind what it wanted before.
    fn done(&mut self, input: pair::Input) -> Result<(), Fault> {
        if let Err(fault) = self.feed_pair(input)? {
            tracing::error!(%fault, "the pair refused what was done for it");
        }
        Ok(())
    }

    fn effect(&mut self, effect: pair::Effect) -> Result<(), Fault> {
        match effect {
            pair::Effect::Send { to, message } => {
                self.say_of_pair(to, message);
            }
            pair::Effect::Ship { epoch, after, through, committed, .. } => {
                let goes_on = |shipping: &Shipping| shipping.epoch == epoch && shipping.through == after;
                let after = self.shipping.filter(goes_on).map_or(after, |shipping| shipping.after);
                self.shipping = Some(Shipping { epoch, after, through, committed });
            }
            pair::Effect::Answer { to, epoch, nonce, fork } => {
                // What was on its way is not wanted any more: it goes on where the logs met.
                self.shipping = None;
                self.under_way.clear();
                let fork = match fork {
                    Some(fork) => self.journal.position(fork.sequence)?,
                    None => None,
                };
                match fork.filter(|fork| fork.sequence + 1 >= self.journal.first()) {
                    Some(fork) => {
                        self.want_no_snapshot();
                        self.say_of_pair(to, Message::Tail { epoch, fork, nonce });
                    }
                    None => self.want_snapshot(epoch, nonce),
                }
            }
            pair::Effect::Cut { after } => {
                let durable = self.journal.cut(after)?;
                self.forget();
                self.done(pair::Input::Synced { durable })?;
            }
            pair::Effect::Write { entries } => {
                // The machine counts them as a part of the log already. After a start it knows again what the log has.
                self.journal.write(entries)?;
            }
            pair::Effect::Install { history, state } => self.install_snapshot(history, &state)?,
            pair::Effect::Commit { through } => {
                self.journal.commit(through);
                self.committed.send_replace(through);
            }
            pair::Effect::Serve { epoch } => {
                let durability = self.durability();
                // Before anything is committed under this configuration. With a mirror all that counted is on both: it joined only
                // when it had everything, and nothing counted meanwhile.
                self.journal.lead(epoch, durability)?;
                self.happen(Happening::Serve { epoch, durability });
            }
            pair::Effect::Pause => self.happen(Happening::Pause),
            pair::Effect::Follow { tail } => {
                let durable = self.journal.follow(tail)?;
                self.forget();
                self.happen(Happening::Follow);
                self.done(pair::Input::Synced { durable })?;
            }
            pair::Effect::Hold(hold) => self.journal.hold(hold),
            pair::Effect::Alarm(alarm) => {
                tracing::error!(?alarm, at = %clock::now().0, "the pair needs its operator");
                self.happen(Happening::Alarm(alarm));
            }
        }
        Ok(())
    }

    /// The log is another than it was: what is remembered of it is not true any more.
    pub(super) fn forget(&mut self) {
        self.seen.clear();
        self.synced = None;
        self.shipped = Position::default();
        self.shipping = None;
        self.under_way.clear();
    }

    /// What an acknowledgement rests on, by the configuration that holds.
    pub(super) fn durability(&self) -> Durability {
        let mode = self.pair.certified().map(|certified| certified.configuration.mode);
        if mode.is_some_and(|mode| mode.mirror().is_some()) { Durability::TwoSites } else { Durability::OneSite }
    }

    /// Say what this sub-node has to say in its own pair.
    fn say_of_pair(&self, to: SubnodeId, message: Message) {
        // There may be no partner yet.
        if to.0 != [0; 32] && !self.stall.is_silent {
            self.say(to, message);
        }
    }

    pub(super) fn happen(&self, happening: Happening) {
        // Who does not listen any more stops the node.
        let _ = self.happenings.send(happening);
    }

    /// How long the entries that are to be shipped have to wait, if they do.
    pub(super) fn waits_to_ship(&self) -> Option<Duration> {
        let is_paced = self.shipping.is_some() && self.feeds_learner();
        is_paced.then(|| self.pace.wait(Instant::now())).flatten()
    }

    /// Whether what is shipped is for one that catches up. Nobody waits for it, as for what a mirror has to have, or the last that one
    /// has to have before it is a mirror.
    fn feeds_learner(&self) -> bool {
        self.pair.picture().state == pair::State::ActiveSolo
    }

    /// Whether it is known where the last entry is that was shipped.
    fn is_shipped(&self, after: u64) -> bool {
        self.shipped.sequence == after && after > 0
    }

    /// Send the follower the next of the entries that it shall have, in one message; what arrives meanwhile is not held up by many.
    ///
    /// # Errors
    /// The ledger failed, or the journal cannot be read.
    pub(super) fn ship(&mut self) -> Result<(), Fault> {
        let of_now = self.shipping.take().filter(|shipping| shipping.epoch == self.epoch());
        let Some(shipping @ Shipping { epoch, after, through, committed }) = of_now else { return Ok(()) };
        self.under_way.acknowledged(self.pair.picture().acknowledged);
        if !self.under_way.has_room() || self.waits_to_ship().is_some() {
            self.shipping = Some(shipping);
            return Ok(());
        }
        if self.light && !(self.is_shipped(after) && self.journal.has_recent(after + 1)) {
            // It would have to be read from the disk.
            self.shipping = Some(shipping);
            return Ok(());
        }
        let previous = if self.is_shipped(after) {
            self.shipped
        } else {
            match self.journal.position(after)? {
                Some(position) => position,
                None => return self.unshipped(),
            }
        };
        // What is not kept any more is not sent; the follower asks again, and gets a snapshot.
        let entries = match self.journal.entries(after, through, APPEND_BYTES_MAX) {
            Ok(entries) => entries,
            Err(fault) if fault.code == Code::HistoryIncomplete => return self.unshipped(),
            // Without them nothing counts any more; the mirror has everything that counts, and can read it.
            Err(fault) if self.durability() == Durability::TwoSites => return Err(fault),
            Err(fault) => {
                tracing::error!(%fault, "entries for the other sub-node cannot be read");
                return self.unshipped();
            }
        };
        let Some(last) = entries.last().map(|entry| entry.position) else { return self.unshipped() };
        if last.sequence < through {
            self.shipping = Some(Shipping { epoch, after: last.sequence, through, committed });
        }
        let bytes = entries.iter().map(|entry| (entry.address.len() + entry.record.len()) as u64).sum();
        self.under_way.sent(last.sequence, bytes);
        if self.feeds_learner() {
            self.pace.sent(Instant::now(), bytes, self.journal.bytes_written());
        }
        self.say_of_pair(self.site.partner, Message::Append { epoch, previous, entries, committed });
        self.shipped = last;
        self.done(pair::Input::Shipped { through: last })?;
        // It may be told once more what it has acknowledged already.
        self.under_way.acknowledged(self.pair.picture().acknowledged);
        self.act()
    }

    fn unshipped(&mut self) -> Result<(), Fault> {
        self.done(pair::Input::Unshipped)?;
        self.act()
    }
}
