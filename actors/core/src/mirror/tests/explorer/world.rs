//! One world of the explorer: two sub-nodes and their witnesses as the shipped machines have it, the shell around them as small as it
//! can be, and what is under way. It says what can happen next, and lets it happen; it does not know what is looked for.

use super::{
    super::{key, organization},
    truth::{NO_ALARM, TRUNCATED, Truth, Violation, hold},
};
use crate::{
    dice::Dice,
    ident::SubnodeId,
    machine::{Machine, feed},
    mirror::{
        Certified, Configuration, Entry, Flaw, MemberId, Message, Mode, Pair, Position, Witness, Witnesses,
        pair::{self, Alarm, Effect, Input, OnMirrorLost, Site, State, Timing, pictured::Numbers},
        witness::{self, Bench},
    },
    moment::Moment,
};
use std::{
    collections::VecDeque,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    rc::Rc,
};

/// What the two sub-nodes are called.
pub const SIDES: [&str; 2] = ["A", "B"];
/// Everything happens in these units: a beat each, a lease of two, a grace of three.
const TIMING: Timing = Timing {
    beat_ms: 1,
    lease_ms: 2,
    grace_ms: 3,
    retry_ms: 1,
    floor_ms: u64::MAX,
    window_entries: 8,
    near_entries: 0,
};
const BEGIN: Moment = Moment(1_000);

/// How a world is.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub witnesses: u8,
    pub quorum: u8,
    pub flaw: Option<Flaw>,
    pub on_mirror_lost: OnMirrorLost,
    /// The clocks of the two run alike, and time is the last thing to go on. Otherwise each has alarms whenever it may.
    pub alike: bool,
    /// Messages under way from one to another; of more the oldest is lost.
    pub wires: usize,
}

/// What may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Left {
    pub entries: u8,
    pub crashes: u8,
    pub switches: u8,
    /// Of each sub-node.
    pub alarms: [u8; 2],
    pub twice: u8,
    pub cuts: u8,
    pub wipes: u8,
    pub forgets: u8,
}

/// Who they are; what a world has in common with all that come of it.
#[derive(Debug)]
struct Cast {
    rules: Rules,
    sites: [Site; 2],
    benches: Vec<Bench>,
}

/// A sub-node. What is durable outlives a crash: the log's beginning, and its machine's journaled records.
#[derive(Clone, Debug)]
pub struct Node {
    pub pair: Pair,
    pub member: MemberId,
    adopted: Option<pair::Record>,
    /// Ballots that it used.
    pub rounds: u64,
    pub log: Vec<Position>,
    pub durable: usize,
    pub is_up: bool,
    pub serves: bool,
    takes_work: bool,
    /// The epoch that it writes at.
    epoch: u64,
    /// Entries of its own that its machine was told of.
    told: usize,
}

/// A witness with its journal: what it wrote down, and whether it promised since.
#[derive(Clone, Debug)]
struct Memory {
    witness: Witness,
    promised: Option<(u64, u64)>,
    /// Which journal it has.
    journal: u64,
}

/// Something under way. Sub-nodes are 0 and 1, witnesses 2 and more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wire {
    pub from: usize,
    pub to: usize,
    /// It is held up, and comes when nobody expects it.
    pub late: bool,
    pub message: Rc<Message>,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Deliver(usize),
    /// It comes, and will come again.
    Twice(usize),
    /// It is lost, or late.
    Late(usize),
    Append(usize, u8),
    /// So many entries more are durable.
    Sync(usize, usize),
    Alarm(usize),
    /// Time goes on to the next alarm.
    Pass,
    /// The process ends; so many entries that were not durable stay.
    Crash(usize, usize),
    Start(usize),
    Switch(usize),
    /// From here on nothing gets from the one sub-node to the other, or through again.
    Cut,
    Wipe(usize),
    Forget(usize),
}

#[derive(Clone, Debug)]
pub struct World {
    cast: Rc<Cast>,
    now: [Moment; 2],
    pub nodes: [Rc<Node>; 2],
    witnesses: Vec<Rc<Memory>>,
    pub wires: Vec<Wire>,
    pub truth: Truth,
    pub left: Left,
    is_cut: bool,
    /// Processes that were started: each draws its own numbers.
    starts: u64,
}

impl Node {
    pub fn position(&self, sequence: u64) -> Option<Position> {
        match sequence {
            0 => Some(Position::default()),
            _ => self.log.get(sequence as usize - 1).copied(),
        }
    }

    fn durable_position(&self) -> Position {
        self.position(self.durable as u64).expect("what is durable is there")
    }

    pub fn state(&self) -> State {
        self.pair.picture().state
    }
}

impl World {
    /// A is active alone at the first epoch, and B comes to it.
    pub fn founded(rules: Rules) -> Self {
        let id = |number: u8| {
            let subnode = SubnodeId(key(number).verifying_key().to_bytes());
            MemberId { subnode, journal: u64::from(number) }
        };
        let members = [id(1), id(2)];
        let site = |side: usize| Site {
            key: key(side as u8 + 1),
            member: members[side],
            partner: members[1 - side].subnode,
            timing: TIMING,
            on_mirror_lost: rules.on_mirror_lost,
            flaw: rules.flaw,
        };
        let benches: Vec<_> =
            (11..11 + rules.witnesses).map(|it| Bench { key: key(it), witness: id(it), flaw: rules.flaw }).collect();
        let witnesses = Witnesses {
            members: benches.iter().map(|bench| bench.witness).collect(),
            quorum: rules.quorum,
        };
        let mode = Mode::Solo { active: members[0] };
        let first = Configuration { pair: organization(), epoch: 1, mode, witnesses };
        let first = Box::new(Certified::founded(&key(200), first));
        let node = |side: usize| {
            Rc::new(Node {
                pair: Pair::default(),
                member: members[side],
                adopted: None,
                rounds: 0,
                log: Vec::new(),
                durable: 0,
                is_up: true,
                serves: false,
                takes_work: false,
                epoch: 0,
                told: 0,
            })
        };
        let memory = |bench: &Bench| {
            Rc::new(Memory { witness: Witness::new(&organization()), promised: None, journal: bench.witness.journal })
        };
        let mut world = Self {
            now: [BEGIN; 2],
            nodes: [node(0), node(1)],
            witnesses: benches.iter().map(memory).collect(),
            cast: Rc::new(Cast { rules, sites: [site(0), site(1)], benches }),
            wires: Vec::new(),
            truth: Truth::default(),
            left: Left::default(),
            is_cut: false,
            starts: 0,
        };
        for side in 0..2 {
            let start = Input::Started { history: Default::default() };
            world.tell(side, start).expect("nothing is there yet");
            world.tell(side, Input::Configured(first.clone())).expect("it is the first configuration");
        }
        world.look().expect("nothing happened yet");
        world
    }

    pub fn rules(&self) -> &Rules {
        &self.cast.rules
    }

    // What can happen.

    /// What happens when nothing goes wrong: what is under way arrives in order, disks write, alarms ring, processes start, time passes.
    pub fn usual(&self) -> Option<Step> {
        let deliver = || self.wires.iter().position(|wire| !wire.late).map(Step::Deliver);
        let of = |is: &dyn Fn(usize) -> bool| (0..2).find(|side| is(*side));
        let sync = || of(&|side| self.undurable(side) > 0).map(|side| Step::Sync(side, self.undurable(side)));
        let alarm = || of(&|side| self.wakes_at(side).is_some_and(|at| at <= self.now[side])).map(Step::Alarm);
        let start = || of(&|side| !self.nodes[side].is_up).map(Step::Start);
        let pass = || (self.wakes_at(0).or(self.wakes_at(1))).map(|_| Step::Pass);
        deliver().or_else(sync).or_else(alarm).or_else(start).or_else(pass)
    }

    /// Whatever can happen.
    pub fn steps(&self) -> Vec<Step> {
        let (alike, left) = (self.cast.rules.alike, self.left);
        let is_up = |side: usize| side >= 2 || self.nodes[side].is_up;
        let mut steps = Vec::new();
        for (number, wire) in self.wires.iter().enumerate() {
            if is_up(wire.to) {
                steps.push(Step::Deliver(number));
                if left.twice > 0 {
                    steps.push(Step::Twice(number));
                }
            }
            if alike && !wire.late {
                steps.push(Step::Late(number));
            }
        }
        for side in 0..2 {
            let node = &self.nodes[side];
            if !node.is_up {
                steps.push(Step::Start(side));
                continue;
            }
            if node.serves && node.takes_work {
                steps.extend((1..=left.entries.min(2)).map(|entries| Step::Append(side, entries)));
            }
            let undurable = self.undurable(side);
            steps.extend((1..=undurable).map(|entries| Step::Sync(side, entries)));
            if left.crashes > 0 {
                steps.extend((0..=undurable).map(|kept| Step::Crash(side, kept)));
            }
            let is_due = self.wakes_at(side).is_some_and(|at| !alike || at <= self.now[side]);
            if is_due && (alike || left.alarms[side] > 0) {
                steps.push(Step::Alarm(side));
            }
            if left.switches > 0 && node.state() == State::ActivePair {
                steps.push(Step::Switch(side));
            }
            if left.wipes > 0 && side == 1 {
                steps.push(Step::Wipe(side));
            }
        }
        if alike {
            let due = (0..2).any(|side| self.wakes_at(side).is_some_and(|at| at <= self.now[side]));
            if !due && (0..2).any(|side| self.wakes_at(side).is_some()) {
                steps.push(Step::Pass);
            }
            if self.is_cut || left.cuts > 0 {
                steps.push(Step::Cut);
            }
        }
        if left.forgets > 0 {
            steps.extend((0..self.witnesses.len()).map(Step::Forget));
        }
        steps
    }

    fn undurable(&self, side: usize) -> usize {
        let node = &self.nodes[side];
        if node.is_up { node.log.len() - node.durable } else { 0 }
    }

    fn wakes_at(&self, side: usize) -> Option<Moment> {
        let node = &self.nodes[side];
        node.pair.wakes_at().filter(|_| node.is_up)
    }

    // What happens.

    /// Let something happen, and look at what came of it.
    pub fn take(&mut self, step: Step) -> Result<(), Violation> {
        match step {
            Step::Deliver(number) => {
                let wire = self.wires.remove(number);
                self.deliver(&wire)?;
            }
            Step::Twice(number) => {
                self.left.twice -= 1;
                let wire = self.wires[number].clone();
                self.deliver(&wire)?;
            }
            Step::Late(number) => self.wires[number].late = true,
            Step::Append(side, entries) => {
                self.left.entries -= entries;
                self.append(side, entries)?;
            }
            Step::Sync(side, entries) => {
                Rc::make_mut(&mut self.nodes[side]).durable += entries;
                let durable = self.nodes[side].durable_position();
                self.tell(side, Input::Synced { durable })?;
            }
            Step::Alarm(side) => {
                if let Some(at) = self.wakes_at(side) {
                    self.now[side] = self.now[side].max(at);
                }
                if !self.cast.rules.alike {
                    self.left.alarms[side] -= 1;
                }
                self.tell(side, Input::Due)?;
            }
            Step::Pass => {
                let next = (0..2).filter_map(|side| self.wakes_at(side)).min();
                self.now = [next.unwrap_or(self.now[0]).max(self.now[0]); 2];
            }
            Step::Crash(side, kept) => {
                self.left.crashes -= 1;
                self.crash(side, kept);
            }
            Step::Start(side) => self.start(side)?,
            Step::Switch(side) => {
                self.left.switches -= 1;
                self.tell(side, Input::Switch)?;
            }
            Step::Cut => {
                self.left.cuts -= u8::from(!self.is_cut);
                self.is_cut = !self.is_cut;
            }
            Step::Wipe(side) => {
                self.left.wipes -= 1;
                self.wipe(side);
            }
            Step::Forget(witness) => {
                self.left.forgets -= 1;
                let memory = Rc::make_mut(&mut self.witnesses[witness]);
                (memory.witness, memory.promised) = (Witness::new(&organization()), None);
                if self.cast.rules.flaw != Some(Flaw::AmnesiacWitness) {
                    memory.journal += 100;
                }
            }
        }
        self.look()
    }

    fn look(&mut self) -> Result<(), Violation> {
        let now = self.cast.rules.alike.then_some(self.now[0]);
        self.truth.check(&self.nodes, now)
    }

    fn id(&self, number: usize) -> SubnodeId {
        match number {
            0 | 1 => self.nodes[number].member.subnode,
            _ => self.cast.benches[number - 2].witness.subnode,
        }
    }

    fn say(&mut self, from: usize, to: SubnodeId, message: Message) {
        let everybody = 2 + self.witnesses.len();
        let Some(to) = (0..everybody).find(|number| self.id(*number) == to) else { return };
        let late = self.is_cut && from < 2 && to < 2;
        let wire = Wire { from, to, late, message: Rc::new(message) };
        if self.wires.contains(&wire) {
            return;
        }
        let same = |other: &Wire| (other.from, other.to) == (from, to);
        if self.wires.iter().filter(|other| same(other)).count() == self.cast.rules.wires {
            let oldest = self.wires.iter().position(same).expect("there are some");
            self.wires.remove(oldest);
        }
        self.wires.push(wire);
    }

    fn deliver(&mut self, wire: &Wire) -> Result<(), Violation> {
        let (from, message) = (self.id(wire.from), (*wire.message).clone());
        if wire.to < 2 {
            return if self.nodes[wire.to].is_up { self.tell(wire.to, Input::Heard { from, message }) } else { Ok(()) };
        }
        let number = wire.to - 2;
        let memory = Rc::make_mut(&mut self.witnesses[number]);
        let mut bench = self.cast.benches[number].clone();
        bench.witness.journal = memory.journal;
        let (mut said, mut accepted, mut promised) = (Vec::new(), Vec::new(), memory.promised);
        let input = witness::Input::Heard { from, message: Box::new(message) };
        // What it refuses changes nothing.
        let _ = feed(&mut memory.witness, &bench, BEGIN, &mut Dice::new(1), input, |records, effects| {
            for record in records {
                match record {
                    witness::Record::Learned(_) => promised = None,
                    witness::Record::Promised(ballot) => promised = Some((ballot.round, ballot.by.journal)),
                    witness::Record::Accepted(it) => {
                        promised = Some((it.ballot.round, it.ballot.by.journal));
                        accepted.push(it);
                    }
                    witness::Record::Floored(_) => {}
                }
            }
            said.extend(effects);
        });
        memory.promised = promised;
        for accepted in accepted {
            self.truth.accepted(number, &accepted)?;
        }
        for witness::Effect { to, message } in said {
            self.say(wire.to, to, message);
        }
        Ok(())
    }

    fn append(&mut self, side: usize, entries: u8) -> Result<(), Violation> {
        let node = Rc::make_mut(&mut self.nodes[side]);
        for _ in 0..entries {
            let before = node.log.last().copied().unwrap_or_default();
            let mut text = DefaultHasher::new();
            (before.hash, node.epoch, self.left.entries, side).hash(&mut text);
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&text.finish().to_le_bytes());
            node.log.push(Position { sequence: before.sequence + 1, epoch: node.epoch, hash });
        }
        let mut history = crate::mirror::History::default();
        node.log[node.told..].iter().for_each(|position| history.extend(*position));
        node.told = node.log.len();
        self.tell(side, Input::Sealed { ends: history.0 })
    }

    fn crash(&mut self, side: usize, kept: usize) {
        let node = Rc::make_mut(&mut self.nodes[side]);
        node.log.truncate(node.durable + kept);
        node.durable = node.log.len();
        (node.is_up, node.serves, node.takes_work, node.epoch) = (false, false, false, 0);
        node.pair = Pair::default();
        node.pair.absorb(&pair::Record::Balloted(node.rounds));
        if let Some(adopted) = &node.adopted {
            node.pair.absorb(adopted);
        }
    }

    fn start(&mut self, side: usize) -> Result<(), Violation> {
        self.starts += 1;
        let node = Rc::make_mut(&mut self.nodes[side]);
        (node.is_up, node.told) = (true, node.log.len());
        let mut history = crate::mirror::History::default();
        node.log.iter().for_each(|position| history.extend(*position));
        self.tell(side, Input::Started { history })
    }

    /// The disk is replaced, and the operator tells the sub-node of what pair it is.
    fn wipe(&mut self, side: usize) {
        self.crash(side, 0);
        let node = Rc::make_mut(&mut self.nodes[side]);
        (node.log, node.durable, node.rounds) = (Vec::new(), 0, 0);
        if self.cast.rules.flaw != Some(Flaw::WipedKeepsIdentity) {
            self.truth.lost.insert(node.member);
            node.member.journal += 100;
        }
        node.pair = Pair::default();
        if let Some(adopted) = &node.adopted {
            node.pair.absorb(adopted);
        }
    }

    /// A machine is told something, and all that it wants done is done.
    fn tell(&mut self, side: usize, input: Input) -> Result<(), Violation> {
        let mut waiting = VecDeque::from([input]);
        let mut effects = VecDeque::new();
        loop {
            if let Some(input) = waiting.pop_front() {
                let node = Rc::make_mut(&mut self.nodes[side]);
                let mut site = self.cast.sites[side].clone();
                site.member = node.member;
                let Node { pair, adopted, rounds, .. } = node;
                let dice = &mut Dice::new(self.starts * 2 + side as u64);
                // What it refuses changes nothing.
                let _ = feed(pair, &site, self.now[side], dice, input, |records, caused| {
                    for record in records {
                        match record {
                            pair::Record::Balloted(used) => *rounds = used,
                            pair::Record::Adopted(_) => *adopted = Some(record),
                            pair::Record::Lived(_) => {}
                        }
                    }
                    effects.extend(caused);
                });
            }
            let Some(effect) = effects.pop_front() else { return Ok(()) };
            self.effect(side, effect, &mut waiting)?;
        }
    }

    fn effect(&mut self, side: usize, effect: Effect, inputs: &mut VecDeque<Input>) -> Result<(), Violation> {
        let node = Rc::make_mut(&mut self.nodes[side]);
        match effect {
            Effect::Send { to, message } => self.say(side, to, message),
            Effect::Ship { to, epoch, after, through, committed } => {
                let Some(previous) = node.position(after) else { return Ok(()) };
                let entries = node.log.iter().take(through as usize).skip(after as usize);
                let entries: Vec<_> = entries.map(|position| entry(*position)).collect();
                let Some(through) = entries.last().map(|entry| entry.position) else { return Ok(()) };
                self.say(side, to, Message::Append { epoch, previous, entries, committed });
                inputs.push_back(Input::Shipped { through });
            }
            Effect::Answer { to, epoch, nonce, fork } => {
                let fork = fork.and_then(|fork| node.position(fork.sequence)).expect("both logs are short");
                self.say(side, to, Message::Tail { epoch, fork, nonce });
            }
            Effect::Cut { after } => {
                let there = node.position(after.sequence) == Some(after);
                hold!(there, TRUNCATED, "{} is to be cut behind {}, where it is not the other's", SIDES[side], after.sequence);
                self.shorten(side, after.sequence as usize, inputs)?;
            }
            Effect::Write { entries } => {
                for Entry { position, .. } in entries {
                    if position.sequence == node.log.len() as u64 + 1 {
                        node.log.push(position);
                    }
                }
                node.told = node.log.len();
            }
            Effect::Install { .. } => unreachable!("no log here is so long that it is not kept"),
            Effect::Commit { through } => self.truth.committed(side, &self.nodes, through)?,
            Effect::Serve { epoch } => (node.serves, node.takes_work, node.epoch) = (true, true, epoch),
            Effect::Pause => node.takes_work = false,
            Effect::Follow { tail } => {
                (node.serves, node.takes_work) = (false, false);
                self.shorten(side, tail.sequence as usize, inputs)?;
            }
            Effect::Hold(_) => {}
            Effect::Alarm(alarm) => {
                let is_none = alarm == Alarm::ActiveSilent || self.cast.rules.flaw.is_some();
                hold!(is_none || !self.truth.lost.is_empty(), NO_ALARM, "{} alarms: {alarm:?}", SIDES[side]);
            }
        }
        Ok(())
    }

    fn shorten(&mut self, side: usize, to: usize, inputs: &mut VecDeque<Input>) -> Result<(), Violation> {
        let node = Rc::make_mut(&mut self.nodes[side]);
        let removed = node.log.split_off(to.min(node.log.len()));
        (node.durable, node.told) = (node.durable.min(to), node.told.min(to));
        let durable = node.durable_position();
        inputs.push_back(Input::Synced { durable });
        self.truth.cut(side, &removed)
    }

    // What it looks like.

    /// What distinguishes this world from others, as far as anything that can happen in it goes.
    pub fn picture(&self) -> u64 {
        let mut to = DefaultHasher::new();
        (self.left, self.is_cut).hash(&mut to);
        let mut numbers = [Numbers::default(), Numbers::default()];
        for (side, node) in self.nodes.iter().enumerate() {
            numbers[side] = node.pair.pictured(self.now[side], &mut to);
            let Node { member, log, durable, is_up, serves, takes_work, epoch, told, rounds, pair: _, adopted: _ } = &**node;
            (member.journal, log, durable, is_up, serves, takes_work, epoch, told, rounds).hash(&mut to);
        }
        for memory in &self.witnesses {
            let Memory { witness, promised, journal } = &**memory;
            let base = witness.base().map(pair::pictured::word_of);
            let accepted = witness.accepted().map(|accepted| pair::pictured::sides(accepted.mode));
            (base, accepted, promised, journal, witness.floor()).hash(&mut to);
        }
        self.truth.picture(&mut to);
        // In what order they were sent matters only where they arrive in order.
        let mut sum = 0_u64;
        for wire in &self.wires {
            let mut one = DefaultHasher::new();
            (wire.from, wire.to, wire.late).hash(&mut one);
            super::words::picture(&wire.message, wire, &numbers, &mut one);
            sum = if self.cast.rules.alike { sum.rotate_left(7) } else { sum }.wrapping_add(one.finish());
        }
        (sum, self.wires.len()).hash(&mut to);
        to.finish()
    }
}

/// What an entry says is nobody's business here.
fn entry(position: Position) -> Entry {
    Entry { position, moment: BEGIN, address: Default::default(), record: Default::default() }
}

impl fmt::Display for World {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (side, node) in self.nodes.iter().enumerate() {
            let epoch = node.pair.certified().map_or(0, |certified| certified.epoch());
            let (name, state) = (SIDES[side], node.state());
            let down = if node.is_up { "" } else { " (down)" };
            write!(out, "{name} {state:?}{down} at {epoch}, {}/{} durable", node.durable, node.log.len())?;
            out.write_str(if side == 0 { "; " } else { "" })?;
        }
        write!(out, "; {} acknowledged", self.truth.acknowledged.len())
    }
}
