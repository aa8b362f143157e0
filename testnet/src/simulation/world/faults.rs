//! What goes wrong in the simulated world, and how it heals.

use super::{Event, Person, World, subnode_of, timing};
use crate::simulation::{
    invariants::Violation,
    options::{Fault, SiteName},
    site::Site,
};
use hansa_core::mirror::{MemberId, Message, pair::Input};

/// Witnesses of a pair: four decide with three.
pub(super) const WITNESSES: usize = 4;

impl World {
    fn place(&self, name: SiteName) -> usize {
        self.site_of(subnode_of(name)).expect("a schedule names sub-nodes that there are")
    }

    pub(super) fn go_wrong(&mut self, index: usize) -> Result<(), Violation> {
        if !self.faulty {
            return Ok(());
        }
        let fault = self.schedule.faults[index].1.clone();
        self.note([40, index as u64], |_| format!("-- {fault}"));
        self.count(fault.word());
        match fault {
            Fault::Crash { site, tenths, ms } => {
                let site = self.place(site);
                let kept = self.sites[site].undurable() * usize::from(tenths) / 10;
                self.end(site, ms, |site| site.crash(kept))?;
            }
            Fault::Stop { site, ms } => {
                let site = self.place(site);
                let until = self.now.plus_ms(ms);
                self.sites[site].stopped_until = self.sites[site].stopped_until.max(until);
            }
            Fault::Cut { from, to, ms } => {
                let (from, to) = (self.place(from), self.place(to));
                self.cut(from, to, ms);
            }
            Fault::Isolate { site, ms } => {
                let site = self.place(site);
                for other in (0..self.sites.len()).filter(|other| *other != site) {
                    self.cut(site, other, ms);
                    self.cut(other, site, ms);
                }
            }
            Fault::Wipe { site, ms } => {
                let site = self.place(site);
                if self.may_lose_disk(site) {
                    self.invariants.lost.insert(self.sites[site].member());
                    let journal = self.next_journal;
                    self.next_journal += 1;
                    self.end(site, ms, |site| site.wipe(journal))?;
                    if self.schedule.flaw.is_some() {
                        // What goes on under its id says that it has what it lost.
                        self.invariants.lost.remove(&self.sites[site].member());
                    }
                }
            }
            Fault::Forget { site, ms } => {
                let site = self.place(site);
                if self.may_forget(site) {
                    self.forgotten = true;
                    let journal = self.next_journal;
                    self.next_journal += 1;
                    self.end(site, ms, |site| site.forget(journal))?;
                }
            }
            Fault::Switch { organization } => {
                if let Some(site) = self.serving(usize::from(organization) - 1) {
                    let switched = self.sites[site].pair_input(self.now, &mut self.dice, Input::Switch);
                    self.unless_refused(site, switched);
                    self.settle(site)?;
                }
            }
            Fault::Appoint { organization, without } => self.appoint(organization, without)?,
            Fault::Slow { site, ms } => {
                let site = self.place(site);
                self.slow_until[site] = self.now.plus_ms(ms);
            }
            Fault::Lie { site, ms } => {
                let site = self.place(site);
                if self.may_lie(site) {
                    self.liar = Some(site);
                    self.sites[site].lying_until = self.now.plus_ms(ms);
                }
            }
            Fault::Set { site, back, ms } => {
                let site = self.place(site);
                let by_ms = i64::try_from(ms).expect("a schedule's times are short");
                self.sites[site].set_clock(if back { -by_ms } else { by_ms });
            }
            Fault::Retime { site, half, ms } => {
                let site = self.place(site);
                let kept = self.sites[site].undurable();
                let timing = timing(self.schedule.options.window, half);
                self.end(site, ms, |site| {
                    site.crash(kept);
                    site.timing = timing;
                })?;
            }
            Fault::Poison { site, ms } => {
                let site = self.place(site);
                self.fitness(site, false)?;
                self.schedule(ms, Event::Heal { site });
            }
            Fault::Disconnect => self.drop_stale()?,
            Fault::Detach => {
                for person in 0..self.people.len() {
                    if self.dice.below(2) == 0 {
                        self.detach(person)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The operator asks members to be witnesses, as they are now: one whose memory was lost is another than before. Four of those that
    /// are there take the place of the ones before; without four nothing is changed, for fewer could not lose one.
    fn appoint(&mut self, organization: u8, without: u8) -> Result<(), Violation> {
        let Some(active) = self.serving(usize::from(organization) - 1).filter(|_| self.schedule.flaw.is_none()) else {
            return Ok(());
        };
        let others = (0..self.sites.len()).filter(|site| {
            let SiteName { organization: of, side } = self.names[*site];
            side == 1 && ![organization, without].contains(&of) && self.sites[*site].is_up
        });
        let witnesses: Vec<_> = others.map(|site| self.sites[site].witness_id()).take(WITNESSES).collect();
        if witnesses.len() == WITNESSES {
            let appointed = self.sites[active].pair_input(self.now, &mut self.dice, Input::Appoint(witnesses));
            self.unless_refused(active, appointed);
            self.settle(active)?;
        }
        Ok(())
    }

    /// Whether the machines of a sub-node take in what counts.
    pub(super) fn fitness(&mut self, site: usize, fit: bool) -> Result<(), Violation> {
        let told = self.sites[site].set_fit(self.now, &mut self.dice, fit);
        self.unless_refused(site, told);
        self.settle(site)
    }

    /// A process ends, in some way, and is back later.
    fn end(&mut self, site: usize, ms: u64, how: impl FnOnce(&mut Site)) -> Result<(), Violation> {
        let was_up = self.sites[site].is_up;
        how(&mut self.sites[site]);
        self.states[site] = Default::default();
        if was_up {
            self.let_go(site)?;
            self.schedule(ms, Event::Start { site });
        }
        Ok(())
    }

    fn cut(&mut self, from: usize, to: usize, ms: u64) {
        *self.cuts.entry((from, to)).or_default() += 1;
        self.schedule(ms, Event::Mend { from, to });
    }

    pub(super) fn mend(&mut self, from: usize, to: usize) {
        if let Some(cuts) = self.cuts.get_mut(&(from, to)) {
            *cuts = cuts.saturating_sub(1);
        }
    }

    /// A pair promises to lose nothing while one member's disk lives: the other must have everything, and a witness's memory is on
    /// the same disk.
    fn may_lose_disk(&self, site: usize) -> bool {
        let SiteName { organization, side } = self.names[site];
        if side == 1 || organization > self.schedule.options.pairs {
            return false;
        }
        let decided = &self.invariants.truths[&self.sites[site].organization].decided;
        let Some((_, latest)) = decided.last_key_value() else { return false };
        // What a witness that is down has accepted is not seen from here.
        let witnesses = &latest.configuration.witnesses.members;
        let is_up =
            |witness: &MemberId| self.sites.iter().any(|site| site.is_up && site.member().subnode == witness.subnode);
        if !witnesses.iter().all(is_up) || self.may_change(site, latest.epoch()) {
            return false;
        }
        let mode = latest.configuration.mode;
        let others = self.sites_of(usize::from(organization) - 1).filter(|other| *other != site);
        let other = others.map(|other| self.sites[other].member()).next();
        match mode.mirror() {
            Some(mirror) => other.is_some_and(|other| other == mode.active() || other == mirror),
            None => mode.active() != self.sites[site].member(),
        }
    }

    /// Whether another configuration is under way that may be decided: the disk that it makes the only one must not be lost.
    fn may_change(&self, site: usize, epoch: u64) -> bool {
        use hansa_core::mirror::pair::State::{ActivePair, ActiveSolo, Learner, Mirror, Single, Suspect};
        let pair = self.sites[site].organization;
        let settled = |site: &Site| {
            matches!(site.pair.picture().state, ActivePair | ActiveSolo | Learner | Mirror | Single | Suspect)
        };
        let accepted = |site: &Site| {
            let mut witnesses = site.witnesses().filter(|(whose, _)| **whose == pair);
            witnesses.any(|(_, witness)| witness.accepted().is_some_and(|next| next.epoch > epoch))
        };
        let is_proposal = |event: &Event| matches!(event, Event::Mirror { message, .. } if matches!(&**message, Message::Accept { proposed, .. } if proposed.configuration.pair == pair));
        let all_settled =
            self.sites.iter().filter(|site| site.organization == pair).all(|site| site.is_up && settled(site));
        !all_settled || self.sites.iter().any(accepted) || self.queue.values().any(is_proposal)
    }

    /// One of four witnesses may forget.
    fn may_forget(&self, site: usize) -> bool {
        let amnesiac = self.schedule.flaw == Some(hansa_core::mirror::Flaw::AmnesiacWitness);
        self.names[site].side == 1 && (amnesiac || (!self.forgotten && self.schedule.options.members >= 5))
    }

    /// One of two or more witnesses may lie: all of two or three decide together, and three of four.
    fn may_lie(&self, site: usize) -> bool {
        self.names[site].side == 1
            && self.schedule.flaw.is_none()
            && self.schedule.options.members >= 3
            && self.liar.is_none_or(|liar| liar == site)
    }

    /// Everything that was broken is mended; services that forgot what they were asked come anew.
    pub(super) fn heal(&mut self) -> Result<(), Violation> {
        self.note([41, 0], |_| "-- all is healed".to_owned());
        self.cuts.clear();
        for site in 0..self.sites.len() {
            self.sites[site].stopped_until = self.sites[site].stopped_until.min(self.now);
            self.slow_until[site] = self.now;
            self.sites[site].lying_until = self.now;
            self.start(site)?;
            self.fitness(site, true)?;
        }
        self.queue.retain(|_, event| !matches!(event, Event::Start { .. } | Event::Mend { .. } | Event::Fault { .. }));
        // What was lost without a trace shows now at the latest.
        self.drop_stale()?;
        let members = usize::from(self.schedule.options.members);
        for other in 0..members {
            for one in 0..other {
                self.schedule(10, Event::Connect { one, other });
            }
        }
        for person in 0..self.people.len() {
            if matches!(self.people[person], Person::Service(_)) {
                self.detach(person)?;
            }
        }
        Ok(())
    }
}
