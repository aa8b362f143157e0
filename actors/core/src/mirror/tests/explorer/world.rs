//! One world of the explorer: two sub-nodes and their witnesses as the shipped machines have it, the shell around them as small as it
//! can be, and what is under way. It says what can happen next, and lets it happen; it does not know what is looked for.

mod shell;

use super::{
    super::{key, organization},
    truth::{Truth, Violation},
};
use crate::{
    ident::SubnodeId,
    machine::Machine as _,
    mirror::{
        Certified, Configuration, Flaw, MemberId, Message, Mode, Pair, Position, Witness, Witnesses,
        pair::{self, Input, OnMirrorLost, Site, State, Timing, pictured::Numbers},
        witness::Bench,
    },
    moment::Moment,
};
use std::{
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
            organization: key(200),
            member: members[side],
            partner: members[1 - side].subnode,
            timing: TIMING,
            on_mirror_lost: rules.on_mirror_lost,
            flaw: rules.flaw,
        };
        // One more than there are, who is nothing until it is appointed.
        let benches: Vec<_> =
            (11..=11 + rules.witnesses).map(|it| Bench { key: key(it), witness: id(it), flaw: rules.flaw }).collect();
        let members_of = |benches: &[Bench]| benches.iter().map(|bench| bench.witness).collect();
        let witnesses =
            Witnesses { members: members_of(&benches[..usize::from(rules.witnesses)]), quorum: rules.quorum };
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

    /// The operator has the one that was left out be a witness, in the place of the first.
    pub fn appoint(&mut self, side: usize) {
        let others = self.cast.benches[1..].iter().map(|bench| bench.witness).collect();
        self.tell(side, Input::Appoint(others)).expect("nothing goes wrong yet");
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
            steps.extend((0..usize::from(self.cast.rules.witnesses)).map(Step::Forget));
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

    // What it looks like.

    /// What distinguishes this world from others, as far as anything that can happen in it goes.
    pub fn picture(&self) -> u64 {
        let mut to = DefaultHasher::new();
        (self.left, self.is_cut).hash(&mut to);
        let mut numbers = [Numbers::default(), Numbers::default()];
        for (side, node) in self.nodes.iter().enumerate() {
            numbers[side] = node.pair.pictured(self.now[side], TIMING.lease_ms, &mut to);
            let Node { member, log, durable, is_up, serves, takes_work, epoch, told, rounds, pair: _, adopted: _ } =
                &**node;
            (member.journal, log, durable, is_up, serves, takes_work, epoch, told, rounds).hash(&mut to);
        }
        for memory in &self.witnesses {
            let Memory { witness, promised, journal } = &**memory;
            let base = witness.base().map(|base| pair::pictured::told(&base.configuration));
            let accepted = witness.accepted().map(pair::pictured::told);
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
