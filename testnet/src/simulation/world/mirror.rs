//! Pairs in the simulated world: they are founded, hear of each other and of their witnesses, and the checks look at what they did.

use super::{Event, LIVE, World, faults::WITNESSES, organization_id};
use crate::simulation::{
    invariants::{Violation, hold},
    papers::signing_key,
    site::{Did, Refused},
};
use hansa_core::mirror::{Certified, Configuration, Flaw, Message, Mode, Witnesses, pair, pair::State};
use std::rc::Rc;

impl World {
    /// The first sub-node of each pair is active alone; the second comes to it as a learner. Other organizations are witnesses.
    pub(super) fn found_pairs(&mut self) -> Result<(), Violation> {
        for organization in 0..usize::from(self.schedule.options.pairs) {
            let mut sites: Vec<_> = self.sites_of(organization).collect();
            sites.sort_unstable();
            let members = (0..usize::from(self.schedule.options.members)).filter(|other| *other != organization);
            let mut witnesses: Vec<_> = members
                .map(|other| self.sites_of(other).next().expect("an organization has a sub-node"))
                .map(|site| self.sites[site].witness_id())
                .collect();
            witnesses.truncate(WITNESSES);
            let mut witnesses = Witnesses::new(witnesses);
            if self.schedule.flaw == Some(Flaw::AmnesiacWitness) {
                witnesses.quorum = 2;
            }
            let configuration = Configuration {
                pair: organization_id(organization),
                epoch: 1,
                mode: Mode::Solo { active: self.sites[sites[0]].member() },
                witnesses,
            };
            let founded = Box::new(Certified::founded(&signing_key(organization as u8 + 1), configuration));
            for site in sites {
                self.configure(site, founded.clone())?;
            }
        }
        Ok(())
    }

    /// The operator tells a sub-node what pair it is of.
    fn configure(&mut self, site: usize, certified: Box<Certified>) -> Result<(), Violation> {
        let told = self.sites[site].pair_input(self.now, &mut self.dice, pair::Input::Configured(certified));
        self.unless_refused(site, told);
        self.settle(site)
    }

    pub(super) fn start(&mut self, site: usize) -> Result<(), Violation> {
        if self.sites[site].is_up {
            return Ok(());
        }
        self.note([10, site as u64], |world| format!("{} starts", world.names[site]));
        let started = self.sites[site].start(self.now, &mut self.dice);
        self.unless_refused(site, started);
        self.invariants.started(&self.sites[site]);
        let organization = usize::from(self.names[site].organization) - 1;
        if self.sites[site].is_single() {
            if organization < usize::from(self.schedule.options.pairs) {
                // Its disk is new: the operator has it join the pair again. At the very first start the pair is founded later.
                let decided = &self.invariants.truths[&organization_id(organization)].decided;
                if let Some((_, known)) = decided.last_key_value() {
                    let known = Box::new(known.clone());
                    self.configure(site, known)?;
                }
            } else {
                self.sites[site].serve(self.now, &mut self.dice);
            }
        }
        self.after(site, Refused::new())
    }

    /// Everything that the machines of a sub-node want done by now is done.
    pub(super) fn settle(&mut self, site: usize) -> Result<(), Violation> {
        if !self.sites[site].is_up {
            return Ok(());
        }
        loop {
            let sealed = self.sites[site].seal(self.now, &mut self.dice);
            self.unless_refused(site, sealed);
            let acted = self.sites[site].act(self.now, &mut self.dice);
            let did = self.unless_refused(site, acted);
            self.watch(site);
            for what in std::mem::take(&mut self.sites[site].seen) {
                self.count(what);
            }
            if self.sites[site].is_single() && self.sites[site].serves {
                let through = self.sites[site].committed as u64;
                self.invariants.committed(&self.sites[site], &self.sites, through, true)?;
            }
            if did.is_empty() {
                break;
            }
            for did in did {
                self.did(site, did)?;
            }
        }
        self.invariants.happened(&self.sites[site], &self.sites, self.now)?;
        self.release(site)?;
        if self.sites[site].checkpoint_if_due() {
            self.note([19, site as u64], |world| format!("{} makes a checkpoint", world.names[site]));
            self.count("checkpoint");
        }
        if !self.syncing[site] && self.sites[site].is_busy() {
            self.syncing[site] = true;
            let is_slow = self.slow_until[site] > self.now
                || (self.faulty && self.dice.below(100) < u64::from(self.schedule.options.slow));
            let delay = if is_slow { self.dice.below(500) } else { self.dice.below(5) };
            self.schedule(delay, Event::Sync { site });
        }
        Ok(())
    }

    /// A snapshot is in the place of everything else.
    pub(super) fn installed(&mut self, site: usize) -> Result<(), Violation> {
        if !self.sites[site].is_up {
            return Ok(());
        }
        self.note([26, site as u64], |world| format!("{} has a snapshot", world.names[site]));
        self.count("snapshot installed");
        let installed = self.sites[site].installed(self.now, &mut self.dice);
        self.unless_refused(site, installed);
        self.settle(site)
    }

    /// Count from which state the pair machine went to which.
    fn watch(&mut self, site: usize) {
        let picture = self.sites[site].pair.picture();
        let (before, state) = (self.states[site], picture.state);
        let (beats, unanswered) = (picture.beats, picture.unanswered);
        let near = picture.acknowledged + self.sites[site].timing.near_entries >= picture.tail.sequence;
        if state == State::ActiveSolo && picture.acknowledged > 0 && !near {
            self.count("follower far behind");
        }
        if beats == pair::BEATS_MAX {
            self.count("beats forgotten");
        }
        if unanswered > pair::UNANSWERED_MAX {
            self.count("longest pause");
        }
        if before != state {
            self.states[site] = state;
            *self.report.transitions.entry((before, state)).or_default() += 1;
            self.note([11, site as u64], |world| {
                let epoch = world.sites[site].pair.certified().map_or(0, Certified::epoch);
                format!("{} was {before:?} and is {state:?} at epoch {epoch}", world.names[site])
            });
        }
    }

    fn did(&mut self, site: usize, did: Did) -> Result<(), Violation> {
        match did {
            Did::Say { to, message } => {
                if let Some(to) = self.site_of(to) {
                    self.say_of_pair(site, to, message);
                }
            }
            Did::Serve { epoch } => {
                self.note([12, epoch], |world| format!("{} serves at epoch {epoch}", world.names[site]));
            }
            Did::Follow => {
                self.note([13, site as u64], |world| format!("{} follows", world.names[site]));
                self.let_go(site)?;
            }
            Did::Commit { through, served } => {
                self.note([14, through], |world| format!("{}: entries up to {through} count", world.names[site]));
                self.invariants.committed(&self.sites[site], &self.sites, through, served)?;
            }
            Did::Install => {
                self.note([18, site as u64], |world| format!("{} begins to install a snapshot", world.names[site]));
                let most = if self.dice.below(4) == 0 { 500 } else { 20 };
                let delay = self.dice.below(most);
                self.schedule(delay, Event::Installed { site });
            }
            Did::Cut { removed } => {
                self.note([15, removed.len() as u64], |world| {
                    format!("{} cuts {} entries off", world.names[site], removed.len())
                });
                self.invariants.cut(&self.sites[site], &removed)?;
            }
            Did::Alarm(alarm) => {
                self.note([16, site as u64], |world| format!("{} alarms: {alarm:?}", world.names[site]));
                hold!(alarm != pair::Alarm::Diverged, LIVE, "{} says that the logs differ", self.names[site]);
                self.count(match alarm {
                    pair::Alarm::MemoryLost => "alarm floor",
                    pair::Alarm::Diverged => "alarm diverged",
                    pair::Alarm::ActiveSilent => "alarm silent",
                    pair::Alarm::Unfit => "alarm unfit",
                });
            }
        }
        Ok(())
    }

    pub(super) fn heard_of_pair(&mut self, from: usize, to: usize, message: &Rc<Message>) -> Result<(), Violation> {
        if !self.sites[to].is_up {
            return Ok(());
        }
        self.note([17, (from << 8 | to) as u64], |world| {
            format!("{} hears from {}: {}", world.names[to], world.names[from], word(message))
        });
        let from = self.sites[from].subnode;
        let heard = self.sites[to].hear(self.now, &mut self.dice, from, (**message).clone());
        self.unless_refused(to, heard);
        self.settle(to)
    }

    /// Both sub-nodes of every pair are members, and know it.
    pub(super) fn pairs_are_whole(&self) -> bool {
        (0..usize::from(self.schedule.options.pairs)).all(|organization| {
            let mut sites = self.sites_of(organization).map(|site| &self.sites[site]);
            let (Some(one), Some(other)) = (sites.next(), sites.next()) else { return false };
            let states = [one, other].map(|site| site.pair.picture().state);
            let whole = [pair::State::ActivePair, pair::State::Mirror];
            let same = one.pair.certified().map(Certified::epoch) == other.pair.certified().map(Certified::epoch);
            same && whole.iter().all(|state| states.contains(state))
        })
    }

    /// Both have the same log, and nothing of it is open.
    pub(super) fn pairs_are_level(&self) -> bool {
        (0..usize::from(self.schedule.options.pairs)).all(|organization| {
            let mut tails = self.sites_of(organization).map(|site| self.sites[site].disk().tail());
            tails.next() == tails.next()
        })
    }

    pub(super) fn pairs(&self) -> String {
        let word = |site: usize| {
            let picture = self.sites[site].pair.picture();
            let epoch = picture.configuration.map_or(0, |configuration| configuration.epoch);
            format!("{} is {:?} at epoch {epoch}", self.names[site], picture.state)
        };
        let sites = 0..self.sites.len();
        sites.filter(|site| !self.sites[*site].is_single()).map(word).collect::<Vec<_>>().join(", ")
    }
}

fn word(message: &Message) -> String {
    match message {
        Message::Append { epoch, previous, entries, committed } => {
            format!("append {} behind {} at {epoch}, {committed} count", entries.len(), previous.sequence)
        }
        Message::AppendAck { epoch, durable, .. } => format!("has {} at {epoch}", durable.sequence),
        Message::Beat { epoch, nonce, .. } => format!("beat {nonce} at {epoch}"),
        Message::BeatAck { epoch, nonce, .. } => format!("heard beat {nonce} at {epoch}"),
        Message::Configured(certified) => {
            format!("epoch {} is {}", certified.epoch(), certified.configuration.mode)
        }
        Message::Behind { epoch } => format!("knows of nothing behind {epoch}"),
        Message::Join { epoch, nonce, history, .. } => {
            format!("join {nonce} at {epoch}, with {} entries", history.tail().sequence)
        }
        Message::Tail { epoch, fork, nonce } => format!("answer {nonce} at {epoch}: go on behind {}", fork.sequence),
        Message::Snapshot { epoch, nonce, .. } => format!("answer {nonce} at {epoch}: a snapshot"),
        Message::Prepare { base, ballot } => {
            format!("prepare {} by {} behind {}", ballot.round, ballot.by, base.epoch())
        }
        Message::Promise { epoch, ballot, .. } => format!("promise {} for {epoch}", ballot.round),
        Message::Accept { proposed, .. } => {
            let wanted = &proposed.configuration;
            format!("accept {}: epoch {} {}", proposed.ballot.round, wanted.epoch, wanted.mode)
        }
        Message::Accepted { epoch, ballot, .. } => format!("accepted {} for {epoch}", ballot.round),
        Message::Refused { epoch, promised, .. } => format!("promised {} for {epoch}", promised.round),
        Message::Floor { position, .. } => format!("the log reaches {}", position.sequence),
    }
}
