//! The machines of the exchange at a sub-node: of one that serves ahead of its log, of one that follows behind; and the checkpoints that
//! they begin from. It knows nothing of why a sub-node serves or follows.

use super::{Refused, Site};
use hansa_core::{
    address::Kind,
    code::Fault,
    dice::Dice,
    directory,
    dispatch::{Input, Outward},
    ensemble::Ensemble,
    mailbox,
    mirror::{Entry, pair},
    moment::Moment,
    session::{Asker, SessionId},
    signed::{Purpose, Signed},
    transaction::catalogue,
};

impl Site {
    /// The machines are as the last checkpoint has them.
    pub(super) fn forget_machines(&mut self) {
        let store = &self.writing.disk.store;
        self.taken_in = store.applied.sequence as usize;
        self.ensemble = Ensemble::default();
        if !store.state.is_empty() {
            self.ensemble.restore(&store.state);
        }
    }

    /// The machines of a follower take in what counts.
    pub(super) fn take_in(&mut self) {
        if self.poisoned {
            return;
        }
        self.take_in_through(self.committed.min(self.writing.disk.end()));
    }

    fn take_in_through(&mut self, through: usize) {
        for Entry { address, record, .. } in self.writing.disk.entries(self.taken_in, through) {
            let (kind, key) = address.split_first().expect("an address begins with a kind");
            self.ensemble.absorb(Kind::numbered(*kind).expect("a kind"), key, record);
        }
        self.taken_in = self.taken_in.max(through);
    }

    /// Write down how the machines are, where all that they did counts, and let the log go that is behind that and more than is kept.
    pub fn checkpoint_if_due(&mut self) -> bool {
        let Some(keep) = self.keep else { return false };
        let disk = &self.writing.disk;
        let applied = self.taken_in();
        let counts = applied <= self.committed && applied <= disk.durable && self.installing.is_none();
        if !self.is_up || !counts || applied < disk.base().sequence as usize + 2 * keep {
            return false;
        }
        let position = disk.position(applied as u64).expect("what was taken in is there");
        self.writing.disk.checkpoint(position, self.ensemble.stored(), keep);
        true
    }

    /// The snapshot is in place, and durable.
    pub fn installed(&mut self, now: Moment, dice: &mut Dice) -> Result<(), Fault> {
        let Some((history, state)) = self.installing.take() else { return Ok(()) };
        self.writing.disk.install(history.clone(), state);
        self.forget_machines();
        (self.told, self.committed) = (self.taken_in, self.taken_in);
        self.pair_input(now, dice, pair::Input::Installed { history })
    }

    /// Serve: take in the rest of the log, then cause again whatever may have been lost.
    pub fn serve(&mut self, now: Moment, dice: &mut Dice) {
        self.takes_work = true;
        if self.serves {
            return;
        }
        self.serves = true;
        // A switch that was asked for before it was known: it serves when its machines can.
        self.poisoned = false;
        self.take_in_through(self.writing.disk.end());
        let now = self.clock.told(now);
        self.writing.now = now;
        // The surroundings first: transactions look at them.
        self.ensemble.redraw(now, dice, &mut self.writing);
        let nobody = Asker { session: SessionId(0), message: 0 };
        for text in &*self.definitions {
            let define = catalogue::Input::Define { asker: nobody, text: text.clone() };
            self.ensemble.take(now, dice, Input::Catalogue(define), &mut self.writing);
        }
        let introduce = directory::Input::Introduce(self.own.clone());
        self.ensemble.take(now, dice, Input::Directory(introduce), &mut self.writing);
        self.ensemble.resume(now, dice, &mut self.writing);
    }

    /// What may leave, because all before it counts. Without a pair, what is durable counts.
    pub fn released(&mut self, now: Moment) -> Vec<Outward> {
        let mut released = Vec::new();
        let has_lapsed = self.lease_until.is_some_and(|until| until <= self.clock.steady(now));
        if self.held || has_lapsed || !self.serves {
            return released;
        }
        while self.writing.outward.front().is_some_and(|(behind, _)| *behind <= self.committed) {
            released.extend(self.writing.outward.pop_front().map(|(_, outward)| outward));
        }
        released
    }

    /// Whether something waits to leave.
    pub fn has_outward(&self) -> bool {
        !self.writing.outward.is_empty()
    }

    /// Sign the organization's own record.
    pub fn sign(&self, record: &directory::MemberRecord) -> Signed {
        Signed::new(&self.organization_key, Purpose::Directory, record)
    }

    /// A session is gone.
    pub fn close(&mut self, now: Moment, dice: &mut Dice, session: SessionId) {
        for service in self.sessions.remove(&session).into_iter().flatten() {
            self.take(now, dice, Input::Mailbox(service, mailbox::Input::Detach { session }));
        }
    }

    /// Take an input in, and all that machines tell each other because of it, in any order that actors could have.
    pub fn take(&mut self, now: Moment, dice: &mut Dice, input: Input) -> Refused {
        if !self.serves {
            return Refused::new();
        }
        let now = self.clock.told(now);
        self.writing.now = now;
        self.ensemble.take(now, dice, input, &mut self.writing)
    }
}
