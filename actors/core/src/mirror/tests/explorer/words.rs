//! Messages and steps of the explorer, in words for people and as what distinguishes them for the explorer.

use super::world::{SIDES, Step, Wire, World};
use crate::mirror::{Accepted, Message, pair::pictured::*};
use std::hash::{Hash, Hasher};

/// Who that is.
pub fn name(number: usize) -> String {
    SIDES.get(number).map_or_else(|| format!("w{}", number - 1), |side| (*side).to_owned())
}

/// What will happen in this world, in words.
pub fn step(world: &World, step: Step) -> String {
    let wire = |number: usize| {
        let Wire { from, to, message, .. } = &world.wires[number];
        format!("from {} to {}: {}", name(*from), name(*to), message_of(message))
    };
    match step {
        Step::Deliver(number) => wire(number),
        Step::Twice(number) => format!("once, and again later, {}", wire(number)),
        Step::Late(number) => format!("lost, or late: {}", wire(number)),
        Step::Append(side, entries) => format!("{} appends {entries}", SIDES[side]),
        Step::Sync(side, entries) => format!("{} syncs {entries}", SIDES[side]),
        Step::Alarm(side) => format!("{}'s alarm", SIDES[side]),
        Step::Pass => "time passes".to_owned(),
        Step::Crash(side, kept) => format!("{} crashes; {kept} entries stay that were not durable", SIDES[side]),
        Step::Start(side) => format!("{} starts", SIDES[side]),
        Step::Switch(side) => format!("{} is told to hand over", SIDES[side]),
        Step::Cut => "the wire between A and B is cut, or mended".to_owned(),
        Step::Wipe(side) => format!("{} gets an empty disk", SIDES[side]),
        Step::Forget(witness) => format!("{} forgets everything", name(witness + 2)),
    }
}

fn message_of(message: &Message) -> String {
    match message {
        Message::Append { epoch, previous, entries, committed } => {
            format!("append {} behind {} at {epoch}, {committed} count", entries.len(), previous.sequence)
        }
        Message::AppendAck { epoch, durable, .. } => format!("has {} at {epoch}", durable.sequence),
        Message::Beat { epoch, knows, .. } => format!("beat at {epoch}{}", if *knows { "" } else { ", to nobody" }),
        Message::BeatAck { epoch, .. } => format!("heard the beat at {epoch}"),
        Message::Configured(certified) => {
            let (epoch, active, mirror) = word_of(certified);
            format!("epoch {epoch} is {}", mode_of(active, mirror))
        }
        Message::Behind { epoch } => format!("knows of nothing behind {epoch}"),
        Message::Join { epoch, history, .. } => format!("join at {epoch}, with {} entries", history.tail().sequence),
        Message::Tail { epoch, fork, .. } => format!("go on behind {} at {epoch}", fork.sequence),
        Message::Snapshot { epoch, .. } => format!("a snapshot at {epoch}"),
        Message::Prepare { base, ballot } => format!("prepare {} behind epoch {}", ballot.round, base.epoch()),
        Message::Promise { epoch, ballot, accepted, .. } => {
            let accepted = if accepted.is_some() { ", having accepted" } else { "" };
            format!("promise {} for epoch {epoch}{accepted}", ballot.round)
        }
        Message::Accept { proposed, .. } => {
            let (active, mirror) = sides(proposed.configuration.mode);
            let epoch = proposed.configuration.epoch;
            format!("accept {}: epoch {epoch} is {}", proposed.ballot.round, mode_of(active, mirror))
        }
        Message::Accepted { epoch, ballot, .. } => format!("accepted {} for epoch {epoch}", ballot.round),
        Message::Refused { epoch, promised, .. } => format!("promised {} for epoch {epoch}", promised.round),
        Message::Floor { position, .. } => format!("the log reaches {}", position.sequence),
    }
}

fn mode_of(active: u64, mirror: Option<u64>) -> String {
    let side = |journal: u64| match journal {
        1 | 2 => SIDES[journal as usize - 1].to_owned(),
        other => format!("{}'", SIDES[(other % 100) as usize - 1]),
    };
    match mirror {
        Some(mirror) => format!("{} active, {} its mirror", side(active), side(mirror)),
        None => format!("{} alone", side(active)),
    }
}

/// Hash what distinguishes a message: numbers of beats and questions only by what they are to whom they come.
pub fn picture(message: &Message, wire: &Wire, numbers: &[Numbers; 2], to: &mut impl Hasher) {
    std::mem::discriminant(message).hash(to);
    // Of a question and its answer: whether it is the last of the follower's that was not answered.
    let is_open =
        |follower: usize, nonce: u64| nonce > numbers[follower].answered && nonce <= numbers[follower].question;
    let is_last = |follower: usize, nonce: u64| nonce == numbers[follower].question;
    let beat = |active: usize, nonce: u64| {
        let Numbers { beats, beat, .. } = &numbers[active];
        beats.contains(&nonce).then(|| beat.wrapping_sub(nonce))
    };
    let word = |accepted: &Accepted| {
        let Accepted { ballot, configuration, .. } = accepted;
        (ballot.round, ballot.by.journal, told(configuration))
    };
    match message {
        Message::Append { epoch, previous, entries, committed } => {
            (epoch, previous, committed).hash(to);
            entries.iter().for_each(|entry| entry.position.hash(to));
        }
        Message::AppendAck { epoch, member, durable } => (epoch, member.journal, durable).hash(to),
        Message::Beat { epoch, nonce, knows, sent, committed } => {
            (epoch, beat(wire.from, *nonce), knows, sent, committed).hash(to);
        }
        Message::BeatAck { epoch, member, nonce, fit, grace_ms } => {
            (epoch, member.journal, beat(wire.to, *nonce), fit, grace_ms).hash(to);
        }
        Message::Configured(certified) => told(&certified.configuration).hash(to),
        Message::Behind { epoch } => epoch.hash(to),
        Message::Join { epoch, member, history, nonce } => {
            (epoch, member.journal, is_open(wire.from, *nonce), is_last(wire.from, *nonce)).hash(to);
            ends(history, to);
        }
        Message::Tail { epoch, fork, nonce } => (epoch, fork, is_last(wire.to, *nonce)).hash(to),
        Message::Snapshot { epoch, history, nonce, .. } => {
            (epoch, is_open(wire.to, *nonce)).hash(to);
            ends(history, to);
        }
        Message::Prepare { base, ballot } => (told(&base.configuration), ballot.round, ballot.by.journal).hash(to),
        Message::Promise { epoch, ballot, witness, accepted, floor, .. } => {
            (epoch, ballot.round, ballot.by.journal, witness.journal, accepted.as_deref().map(word), floor).hash(to);
        }
        Message::Accept { base, proposed } => (told(&base.configuration), word(proposed)).hash(to),
        Message::Accepted { epoch, ballot, witness, .. } => {
            (epoch, ballot.round, ballot.by.journal, witness.journal).hash(to);
        }
        Message::Refused { epoch, promised, .. } => (epoch, promised.round, promised.by.journal).hash(to),
        Message::Floor { epoch, position, .. } => (epoch, position).hash(to),
    }
}
