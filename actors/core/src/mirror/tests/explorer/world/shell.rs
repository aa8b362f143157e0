//! What a node is around its machines, as small as it can be: a log of which a crash loses what was not synced, records that it keeps,
//! and wires. Machines are fed one input at a time; what they want done is done in order, at once.

use super::{
    super::truth::{NO_ALARM, TRUNCATED, Violation, hold},
    BEGIN, Node, SIDES, Wire, World,
};
use crate::{
    dice::Dice,
    ident::SubnodeId,
    machine::{Machine as _, feed},
    mirror::{
        Entry, Flaw, History, Message, Pair, Position,
        pair::{self, Alarm, Effect, Input},
        witness,
    },
};
use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    rc::Rc,
};

impl World {
    pub(super) fn id(&self, number: usize) -> SubnodeId {
        match number {
            0 | 1 => self.nodes[number].member.subnode,
            _ => self.cast.benches[number - 2].witness.subnode,
        }
    }

    pub(super) fn say(&mut self, from: usize, to: SubnodeId, message: Message) {
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

    pub(super) fn deliver(&mut self, wire: &Wire) -> Result<(), Violation> {
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

    pub(super) fn append(&mut self, side: usize, entries: u8) -> Result<(), Violation> {
        let node = Rc::make_mut(&mut self.nodes[side]);
        for _ in 0..entries {
            let before = node.log.last().copied().unwrap_or_default();
            let mut text = DefaultHasher::new();
            (before.hash, node.epoch, self.left.entries, side).hash(&mut text);
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&text.finish().to_le_bytes());
            node.log.push(Position { sequence: before.sequence + 1, epoch: node.epoch, hash });
        }
        let mut history = History::default();
        node.log[node.told..].iter().for_each(|position| history.extend(*position));
        node.told = node.log.len();
        self.tell(side, Input::Sealed { ends: history.0 })
    }

    pub(super) fn crash(&mut self, side: usize, kept: usize) {
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

    pub(super) fn start(&mut self, side: usize) -> Result<(), Violation> {
        self.starts += 1;
        let node = Rc::make_mut(&mut self.nodes[side]);
        (node.is_up, node.told) = (true, node.log.len());
        let mut history = History::default();
        node.log.iter().for_each(|position| history.extend(*position));
        self.tell(side, Input::Started { history })
    }

    /// The disk is replaced, and the operator tells the sub-node of what pair it is.
    pub(super) fn wipe(&mut self, side: usize) {
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
    pub(super) fn tell(&mut self, side: usize, input: Input) -> Result<(), Violation> {
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
                            pair::Record::GraceTold(_) | pair::Record::Lived(_) => {}
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
                let Some(previous) = node.position(after) else {
                    inputs.push_back(Input::Unshipped);
                    return Ok(());
                };
                let entries = node.log.iter().take(through as usize).skip(after as usize);
                let entries: Vec<_> = entries.map(|position| entry(*position)).collect();
                let Some(through) = entries.last().map(|entry| entry.position) else { return Ok(()) };
                self.say(side, to, Message::Append { epoch, previous, entries, committed });
                inputs.push_back(Input::Shipped { through });
            }
            Effect::Answer { to, epoch, nonce, fork } => {
                // There was no checkpoint yet, so a snapshot has nothing in it.
                let message = match fork.and_then(|fork| node.position(fork.sequence)) {
                    Some(fork) => Message::Tail { epoch, fork, nonce },
                    None => Message::Snapshot { epoch, history: History::default(), nonce, state: Vec::new() },
                };
                self.say(side, to, message);
            }
            Effect::Cut { after } => {
                let there = node.position(after.sequence) == Some(after);
                hold!(
                    there,
                    TRUNCATED,
                    "{} is to be cut behind {}, where it is not the other's",
                    SIDES[side],
                    after.sequence
                );
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
            Effect::Install { history, .. } => {
                let removed = std::mem::take(&mut node.log);
                (node.durable, node.told) = (0, 0);
                self.truth.cut(side, &removed)?;
                inputs.push_back(Input::Installed { history });
            }
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
}

/// What an entry says is nobody's business here.
fn entry(position: Position) -> Entry {
    Entry { position, moment: BEGIN, address: Default::default(), record: Default::default() }
}
