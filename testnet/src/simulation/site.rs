//! One sub-node: the shipped machines over a disk whose unsynced tail a crash loses. It does what the machines say, one input at a
//! time, where a node has threads; what concerns others it hands to the world. It knows no network and no clock of its own.

mod machines;
mod shipping;

use super::{
    clock::Clock,
    disk::{Disk, Duty, Writing},
    lies::Lies,
    papers::{credentials, name, organization, signing_key, subnode, transport_key},
};
use ed25519_dalek::SigningKey;
use hansa_core::{
    address::Kind,
    code::Fault,
    dice::Dice,
    directory::{Own, Subnode},
    dispatch::Surroundings,
    document::Text,
    ensemble::Ensemble,
    ident::{OrganizationId, ServiceName, SubnodeId, TransactionId},
    machine::{Machine, feed},
    membership::Certificate,
    mirror::{
        Certified, Flaw, History, MemberId, Message, Pair, Position, Witness,
        pair::{self, OnMirrorLost, Site as PairSite, State, Timing},
        witness::{self, Bench},
    },
    moment::Moment,
    session::SessionId,
    signed::{Purpose, Signed},
    transaction::Instance,
};
use shipping::{Shipping, Way};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
};

pub use hansa_core::ensemble::Refused;

/// What waits for the sub-node's own records.
#[derive(Clone, Debug)]
enum Pending {
    Pair(pair::Effect),
    Witness(witness::Effect),
}

/// What a sub-node did that concerns others.
#[derive(Debug)]
pub enum Did {
    /// It says something to another sub-node.
    Say { to: SubnodeId, message: Message },
    /// It serves from now on, or at another epoch.
    Serve { epoch: u64 },
    /// It does not serve any more.
    Follow,
    /// Entries count up to here.
    Commit {
        through: u64,
        /// Whether it served when it said so: what came of that later in the same moment is not to be confused with it.
        served: bool,
    },
    /// It begins to put a snapshot in place.
    Install,
    /// It cut these entries off its log.
    Cut { removed: Vec<Position> },
    /// It tells its operator.
    Alarm(pair::Alarm),
}

/// A sub-node.
pub struct Site {
    key: SigningKey,
    organization_key: SigningKey,
    /// Whose it is.
    pub organization: OrganizationId,
    /// Which it is.
    pub subnode: SubnodeId,
    partner: SubnodeId,
    own: Own,
    pub is_up: bool,
    /// It is stopped until then, and its process does not know.
    pub stopped_until: Moment,
    /// It lies as a witness until then.
    pub lying_until: Moment,
    clock: Clock,
    writing: Writing,
    pub pair: Pair,
    witnesses: BTreeMap<OrganizationId, Witness>,
    lies: Lies,
    pending: VecDeque<(usize, Pending)>,
    /// The machines: of one that serves ahead of its log, of one that follows behind.
    ensemble: Ensemble,
    /// How many entries a follower's machines have taken in.
    taken_in: usize,
    pub serves: bool,
    pub takes_work: bool,
    held: bool,
    /// Until when what counts may leave, as the journal of a node knows it, too; by its own steady clock.
    lease_until: Option<Moment>,
    /// A snapshot is being put in the place of everything.
    installing: Option<(History, Vec<u8>)>,
    /// How many entries count, as far as it knows.
    pub committed: usize,
    /// Entries that the pair machine was told of.
    told: usize,
    /// What happened here that a search should have seen.
    pub seen: Vec<&'static str>,
    /// The sessions that are connected, with the services that each registered.
    pub sessions: BTreeMap<SessionId, BTreeSet<ServiceName>>,
    /// What every node defines at its start.
    definitions: Rc<Vec<Text>>,
    pub timing: Timing,
    on_mirror_lost: OnMirrorLost,
    /// Its machines cannot take in what counts, until somebody mends that.
    poisoned: bool,
    way: Way,
    /// Messages with entries that may be under way at once; without it as many as there are.
    under_way_max: Option<u8>,
    /// Entries that are kept behind a checkpoint; without it all are, and there is none.
    keep: Option<usize>,
    flaw: Option<Flaw>,
}

/// How a sub-node is made.
#[derive(Clone, Debug)]
pub struct Making {
    /// The number of the organization, from 1 on.
    pub organization: u8,
    /// Which of its two.
    pub side: u8,
    pub journal: u64,
    pub clock: Clock,
    pub definitions: Rc<Vec<Text>>,
    pub timing: Timing,
    pub on_mirror_lost: OnMirrorLost,
    pub under_way_max: Option<u8>,
    pub keep: Option<usize>,
    pub flaw: Option<Flaw>,
}

impl Site {
    pub fn new(making: Making) -> Self {
        let Making { organization: number, side, journal, clock, definitions, .. } = making;
        let Making { timing, on_mirror_lost, under_way_max, keep, flaw, .. } = making;
        let organization_key = signing_key(number);
        let certificate = Certificate {
            subnode: subnode(number, side),
            name: name(number).parse().expect("it is a name"),
            city: "Hamburg".parse().expect("it is a name"),
            issued: Moment(3),
        };
        let certificate = Signed::new(&organization_key, Purpose::Certificate, &certificate);
        let own = Own {
            organization: organization(number),
            name: name(number).parse().expect("it is a name"),
            credentials: credentials(number),
            subnodes: vec![Subnode { certificate, addresses: Vec::new() }],
        };
        Self {
            key: transport_key(number, side),
            organization_key,
            organization: own.organization,
            subnode: subnode(number, side),
            partner: subnode(number, 1 - side),
            own,
            is_up: false,
            stopped_until: Moment(0),
            lying_until: Moment(0),
            clock,
            writing: Writing { epoch: 0, now: Moment(0), disk: Disk::new(journal), outward: VecDeque::new() },
            pair: Pair::default(),
            witnesses: BTreeMap::new(),
            lies: Lies::default(),
            pending: VecDeque::new(),
            ensemble: Ensemble::default(),
            taken_in: 0,
            serves: false,
            takes_work: false,
            held: false,
            lease_until: None,
            installing: None,
            committed: 0,
            told: 0,
            seen: Vec::new(),
            sessions: BTreeMap::new(),
            definitions,
            timing,
            on_mirror_lost,
            poisoned: false,
            way: Way::default(),
            under_way_max,
            keep,
            flaw,
        }
    }

    pub fn disk(&self) -> &Disk {
        &self.writing.disk
    }

    pub fn member(&self) -> MemberId {
        MemberId { subnode: self.subnode, journal: self.disk().journal }
    }

    /// Whether there is no pair.
    pub fn is_single(&self) -> bool {
        self.pair.certified().is_none()
    }

    /// Who it is as a witness.
    pub fn witness_id(&self) -> MemberId {
        MemberId { subnode: self.subnode, journal: self.disk().memory }
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Somebody sets the clock that it tells the time by.
    pub fn set_clock(&mut self, by_ms: i64) {
        self.clock.set(by_ms);
    }

    // Life and death.

    /// The process starts: it reads what its disk has. A sub-node without a pair serves at once.
    pub fn start(&mut self, now: Moment, dice: &mut Dice) -> Result<(), Fault> {
        self.is_up = true;
        let history = self.writing.disk.history();
        for duty in &self.writing.disk.duty {
            match duty {
                Duty::Pair(record) => self.pair.absorb(record),
                Duty::Witness(pair, record) => {
                    self.witnesses.entry(*pair).or_insert_with(|| Witness::new(pair)).absorb(record);
                }
            }
        }
        self.told = self.writing.disk.end();
        self.forget_machines();
        if self.is_single() {
            self.committed = self.disk().durable;
        }
        self.pair_input(now, dice, pair::Input::Started { history })?;
        if self.poisoned { self.pair_input(now, dice, pair::Input::Fitness { fit: false }) } else { Ok(()) }
    }

    /// Whether the machines of a sub-node that follows can take in what counts; it says so to the pair.
    pub fn set_fit(&mut self, now: Moment, dice: &mut Dice, fit: bool) -> Result<(), Fault> {
        self.poisoned = !fit && !self.serves;
        if !self.is_up {
            return Ok(());
        }
        self.pair_input(now, dice, pair::Input::Fitness { fit: !self.poisoned })?;
        if !self.poisoned && !self.serves {
            self.take_in();
        }
        Ok(())
    }

    /// Everything volatile is gone, and of what was not durable all but so many entries.
    pub fn crash(&mut self, kept: usize) {
        let disk = &mut self.writing.disk;
        disk.cut(disk.durable + kept);
        disk.durable = disk.end();
        disk.duty.truncate(disk.duty_durable);
        self.writing.outward.clear();
        self.writing.epoch = 0;
        self.pair = Pair::default();
        self.witnesses.clear();
        self.lies = Lies::default();
        self.pending.clear();
        self.way = Way::default();
        self.ensemble = Ensemble::default();
        self.sessions.clear();
        (self.taken_in, self.committed, self.told) = (0, 0, 0);
        (self.is_up, self.serves, self.takes_work, self.held) = (false, false, false, false);
        self.lease_until = None;
        self.stopped_until = Moment(0);
        if self.installing.take().is_some() {
            // A snapshot that was not put in place wholly has left nothing that could be gone on from.
            self.writing.disk.install(History::default(), Vec::new());
        }
    }

    /// The disk is replaced by an empty one: what the sub-node is then is somebody else.
    pub fn wipe(&mut self, journal: u64) {
        self.crash(0);
        self.poisoned = false;
        let journal = match self.flaw {
            Some(Flaw::WipedKeepsIdentity) => self.writing.disk.journal,
            _ => journal,
        };
        let duty = std::mem::take(&mut self.writing.disk.duty);
        self.writing.disk = Disk::new(journal);
        if self.flaw == Some(Flaw::WipedKeepsIdentity) {
            // It is told again what the pair is, and believes that it is the member that it was.
            let own = duty.into_iter().filter(|duty| matches!(duty, Duty::Pair(_)));
            self.writing.disk.duty.extend(own);
            self.writing.disk.duty_durable = self.writing.disk.duty.len();
        }
    }

    /// As a witness it forgets everything; its own log stays.
    pub fn forget(&mut self, journal: u64) {
        self.crash(0);
        self.writing.disk.duty.retain(|duty| matches!(duty, Duty::Pair(_)));
        self.writing.disk.duty_durable = self.writing.disk.duty.len();
        if self.flaw != Some(Flaw::AmnesiacWitness) {
            self.writing.disk.memory = journal;
        }
    }

    // The machines of the pair.

    fn site(&self) -> PairSite {
        PairSite {
            key: self.key.clone(),
            organization: self.organization_key.clone(),
            member: self.member(),
            partner: self.partner,
            timing: self.timing,
            on_mirror_lost: self.on_mirror_lost,
            flaw: self.flaw,
        }
    }

    /// Give the pair machine an input.
    pub fn pair_input(&mut self, now: Moment, dice: &mut Dice, input: pair::Input) -> Result<(), Fault> {
        let (site, clock) = (self.site(), self.clock.steady(now));
        let epoch = self.pair.certified().map_or(0, Certified::epoch);
        let Self { pair, writing, pending, .. } = self;
        feed(pair, &site, clock, dice, input, |records, effects| {
            let journaled = records.into_iter().filter(Pair::is_journaled);
            writing.disk.duty.extend(journaled.map(Duty::Pair));
            let behind = writing.disk.duty.len();
            pending.extend(effects.into_iter().map(|effect| (behind, Pending::Pair(effect))));
        })?;
        let named_others =
            |held: &&Certified| held.epoch() > epoch && held.founding().0.witnesses != held.configuration.witnesses;
        if self.pair.certified().filter(named_others).is_some() {
            self.seen.push("witnesses replaced");
        }
        let picture = self.pair.picture();
        match picture.state {
            State::ActivePair | State::Switching => self.lease_until = Some(picture.lease_until.unwrap_or_default()),
            State::Single | State::ActiveSolo | State::Joining => self.lease_until = None,
            // It is held already, or nothing leaves.
            _ => {}
        }
        Ok(())
    }

    fn witness_input(
        &mut self,
        now: Moment,
        dice: &mut Dice,
        whose: OrganizationId,
        input: witness::Input,
    ) -> Result<(), Fault> {
        let bench = Bench { key: self.key.clone(), witness: self.witness_id(), flaw: self.flaw };
        let clock = self.clock.steady(now);
        if self.lying_until > now
            && let Some(said) = self.lies.told(&bench, clock, dice, whose, &input)
        {
            self.seen.push("lie told");
            self.pending.extend(said.into_iter().map(|said| (0, Pending::Witness(said))));
            return Ok(());
        }
        let Self { witnesses, writing, pending, .. } = self;
        let witness = witnesses.entry(whose).or_insert_with(|| Witness::new(&whose));
        feed(witness, &bench, clock, dice, input, |records, effects| {
            writing.disk.duty.extend(records.into_iter().map(|record| Duty::Witness(whose, record)));
            let behind = writing.disk.duty.len();
            pending.extend(effects.into_iter().map(|effect| (behind, Pending::Witness(effect))));
        })
    }

    /// Another sub-node says something about this pair, or about its own.
    pub fn hear(&mut self, now: Moment, dice: &mut Dice, from: SubnodeId, message: Message) -> Result<(), Fault> {
        let whose = match &message {
            Message::Prepare { base, .. } | Message::Accept { base, .. } | Message::Configured(base) => {
                base.configuration.pair
            }
            Message::Floor { pair, .. } => *pair,
            _ => self.organization,
        };
        if whose == self.organization {
            self.pair_input(now, dice, pair::Input::Heard { from, message })
        } else {
            self.witness_input(now, dice, whose, witness::Input::Heard { from, message: Box::new(message) })
        }
    }

    /// The pair machine is told of what was appended since.
    pub fn seal(&mut self, now: Moment, dice: &mut Dice) -> Result<(), Fault> {
        let disk = &self.writing.disk;
        if !self.serves || self.told >= disk.end() {
            return Ok(());
        }
        let mut ends: Vec<Position> = Vec::new();
        for entry in disk.entries(self.told, disk.end()) {
            match ends.last_mut() {
                Some(end) if end.epoch == entry.position.epoch => *end = entry.position,
                _ => ends.push(entry.position),
            }
        }
        self.told = disk.end();
        self.pair_input(now, dice, pair::Input::Sealed { ends })
    }

    /// Do what waits for nothing any more.
    pub fn act(&mut self, now: Moment, dice: &mut Dice) -> Result<Vec<Did>, Fault> {
        let mut did = Vec::new();
        while self.pending.front().is_some_and(|(behind, _)| *behind <= self.writing.disk.duty_durable) {
            let Some((_, pending)) = self.pending.pop_front() else { break };
            match pending {
                Pending::Witness(witness::Effect { to, message }) => did.push(Did::Say { to, message }),
                Pending::Pair(effect) => self.effect(now, dice, effect, &mut did)?,
            }
        }
        if self.pending.is_empty() {
            self.ship(now, dice, &mut did)?;
        }
        Ok(did)
    }

    fn effect(&mut self, now: Moment, dice: &mut Dice, effect: pair::Effect, did: &mut Vec<Did>) -> Result<(), Fault> {
        match effect {
            pair::Effect::Send { to, message } => did.push(Did::Say { to, message }),
            pair::Effect::Ship { to, epoch, after, through, committed } => {
                if (through as usize) < self.disk().end() {
                    self.seen.push("window full");
                }
                self.way.want(Shipping { to, epoch, after, through, committed });
            }
            pair::Effect::Answer { to, epoch, nonce, fork } => {
                // What was on its way is not wanted any more: it goes on where the logs met.
                self.way = Way::default();
                let message = match fork.and_then(|fork| self.writing.disk.position(fork.sequence)) {
                    Some(fork) => Message::Tail { epoch, fork, nonce },
                    None => {
                        let (history, state) = self.writing.disk.snapshot();
                        Message::Snapshot { epoch, history, nonce, state }
                    }
                };
                did.push(Did::Say { to, message });
            }
            pair::Effect::Cut { after } => {
                let sequence = after.sequence as usize;
                let there = self.writing.disk.position(after.sequence);
                assert_eq!(there, Some(after), "a log is cut where it is not the other's");
                let removed = self.writing.disk.cut(sequence);
                self.way = Way::default();
                self.told = self.told.min(sequence);
                if self.taken_in > sequence {
                    self.forget_machines();
                }
                did.push(Did::Cut { removed });
                let durable = self.disk().durable_position();
                self.pair_input(now, dice, pair::Input::Synced { durable })?;
            }
            pair::Effect::Write { entries } => {
                for entry in entries {
                    if entry.position.sequence == self.writing.disk.end() as u64 + 1 {
                        self.writing.disk.push(entry);
                    }
                }
                self.told = self.writing.disk.end();
            }
            pair::Effect::Install { history, state } => {
                self.installing = Some((history, state));
                did.push(Did::Install);
            }
            pair::Effect::Commit { through } => {
                self.committed = self.committed.max(through as usize);
                if !self.serves {
                    self.take_in();
                }
                did.push(Did::Commit { through, served: self.serves });
            }
            pair::Effect::Serve { epoch } => {
                self.writing.epoch = epoch;
                self.serve(now, dice);
                did.push(Did::Serve { epoch });
            }
            pair::Effect::Pause => self.takes_work = false,
            pair::Effect::Follow { tail } => {
                // Its machines ran ahead of what counts.
                (self.serves, self.takes_work, self.held) = (false, false, false);
                self.lease_until = None;
                self.forget_machines();
                self.writing.outward.clear();
                self.sessions.clear();
                self.way = Way::default();
                let disk = &mut self.writing.disk;
                disk.cut(tail.sequence as usize);
                self.told = disk.end();
                did.push(Did::Follow);
                let durable = self.disk().durable_position();
                self.pair_input(now, dice, pair::Input::Synced { durable })?;
            }
            pair::Effect::Hold(hold) => self.held = hold,
            pair::Effect::Alarm(alarm) => did.push(Did::Alarm(alarm)),
        }
        Ok(())
    }

    // The disk.

    /// How many entries a crash may lose.
    pub fn undurable(&self) -> usize {
        self.disk().end() - self.disk().durable
    }

    /// Whether the disk has something to do, or something waits for it.
    pub fn is_busy(&self) -> bool {
        let disk = self.disk();
        self.undurable() > 0 || disk.duty_durable < disk.duty.len()
    }

    /// The disk has written so many entries more, and all that is the sub-node's own.
    pub fn sync(&mut self, entries: usize, now: Moment, dice: &mut Dice) -> Result<(), Fault> {
        let disk = &mut self.writing.disk;
        disk.durable = (disk.durable + entries).min(disk.end());
        disk.duty_durable = disk.duty.len();
        let durable = disk.durable_position();
        if self.is_single() {
            // Nobody else has a say in what counts.
            self.committed = self.disk().durable;
            return Ok(());
        }
        if entries == 0 {
            return Ok(());
        }
        self.pair_input(now, dice, pair::Input::Synced { durable })
    }

    // The machines at work.

    /// When a machine next wants to be told the time, by the world's clock.
    pub fn wakes_at(&self) -> Option<Moment> {
        let machines = self.ensemble.wakes_at().filter(|_| self.serves).map(|at| self.clock.when_told(at));
        let pair = self.pair.wakes_at().map(|at| self.clock.when_steady(at));
        let wake = machines.into_iter().chain(pair).min()?;
        Some(wake.max(self.stopped_until))
    }

    /// Tell every machine whose time has come.
    pub fn wake(&mut self, now: Moment, dice: &mut Dice) -> Result<Refused, Fault> {
        let (told, steady) = (self.clock.told(now), self.clock.steady(now));
        let mut refused = Refused::new();
        if self.serves && self.ensemble.wakes_at().is_some_and(|at| at <= told) {
            self.writing.now = told;
            refused = self.ensemble.wake(told, dice, &mut self.writing);
        }
        if self.pair.wakes_at().is_some_and(|at| at <= steady) {
            self.pair_input(now, dice, pair::Input::Due)?;
        }
        Ok(refused)
    }

    // What the checks look at.

    pub fn surroundings(&self) -> &Surroundings {
        self.ensemble.surroundings()
    }

    pub fn transaction(&self, id: TransactionId) -> Option<&Instance> {
        self.ensemble.transaction(id)
    }

    pub fn witnesses(&self) -> impl Iterator<Item = (&OrganizationId, &Witness)> {
        self.witnesses.iter()
    }

    /// Which machines are in another state than the other sub-node's.
    pub fn differences(&self, other: &Self) -> Vec<(Kind, Vec<u8>)> {
        self.ensemble.differences(&other.ensemble)
    }

    /// How many entries the machines have taken in.
    pub fn taken_in(&self) -> usize {
        if self.serves { self.disk().end() } else { self.taken_in }
    }

    /// What is left over where nothing should be.
    pub fn left_over(&self) -> Vec<String> {
        self.ensemble.left_over()
    }
}
