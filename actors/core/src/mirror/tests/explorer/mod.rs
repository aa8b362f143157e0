//! The whole small protocol, world by world: the shipped pair machine on two sub-nodes and the shipped witnesses, from nine beginnings, with every
//! invariant of the protocol's page that speaks of a moment looked at in each world. Other checks draw at random; this one leaves nothing
//! out within its bounds. `exhaustive` does the same with the register alone, and goes further there.
//!
//! What can happen: any message arrives, out of order, twice, or never; entries are appended, one or two at a time; the disk syncs one or
//! all; the next alarm rings; a process ends, with any number of the entries that were not durable, and starts again; the active
//! is told to hand over; the wire between the two is cut and mended. Of messages under way from one to another there are three at most (of
//! more the oldest is lost), and one that says the same as another is the same.
//!
//! - *Every order*: all worlds within five steps of a beginning, whatever the steps, with one witness; where rivals ask them also five with two
//!   witnesses and four with three. The clocks are apart: any alarm rings before or after anything. At most two entries, one crash,
//!   one switch, one message twice, four alarms of each; no wire is cut, for every message may be late.
//! - *One mishap*: all worlds to which a single thing leads that does not happen usually, at any place of a story that then goes
//!   on as usual for ever; with the clocks alike, so that leases are looked at too; with one witness, and from the whole pair, and
//!   where others are appointed, also with an active that must not serve alone. One entry comes at any place, and is no mishap.
//!
//! Not here: floors, snapshots with something in them, logs with a window or that are not kept, an active's machine that hears late of what
//! was appended, a crash between a record and what it causes (it is the same as one before both), witnesses that crash, and liveness; the
//! simulation has those. `HANSA_WORLDS` lifts the bound on how far, and says at how many worlds each search ends instead.

mod search;
mod truth;
mod words;
mod world;

use super::super::{
    Flaw, Message,
    pair::{OnMirrorLost, State},
};
use search::{Extent, Far, Found, search};
use truth::*;
use world::{Left, Rules, Step, Wire, World};

/// One witness is a register that nothing can go wrong with; with fewer than four all decide together.
fn rules(witnesses: u8, far: Far) -> Rules {
    let alike = far == Far::Mishaps;
    Rules { witnesses, quorum: witnesses, flaw: None, on_mirror_lost: OnMirrorLost::Solo, alike, wires: 3 }
}

/// Go on as usual until something is so.
fn until(mut world: World, is: impl Fn(&World) -> bool) -> World {
    world.left.alarms = [100; 2];
    for _ in 0..100 {
        if is(&world) {
            return world;
        }
        let step = world.usual().expect("something always happens");
        world.take(step).expect("nothing goes wrong yet");
    }
    panic!("it does not come to that: {world}");
}

fn states(world: &World) -> [State; 2] {
    [0, 1].map(|side| world.nodes[side].state())
}

fn happen(mut world: World, steps: &[Step]) -> World {
    world.left = Left { entries: 2, crashes: 1, alarms: [100; 2], ..Left::default() };
    for step in steps {
        world.take(*step).expect("nothing goes wrong yet");
    }
    world
}

/// The next alarm of one of them.
fn ring(world: World, side: usize) -> World {
    let pass: &[Step] = if world.rules().alike { &[Step::Pass, Step::Alarm(side)] } else { &[Step::Alarm(side)] };
    happen(world, pass)
}

/// A is active alone, B comes to it, and nothing is written.
fn founded(rules: Rules) -> World {
    World::founded(rules)
}

/// A is alone with an entry that counts, and B has not asked yet.
fn lagging(rules: Rules) -> World {
    happen(founded(rules), &[Step::Append(0, 1), Step::Sync(0, 1)])
}

/// A has stopped for B, and the witnesses are about to make them a pair.
fn joining(rules: Rules) -> World {
    let is_accept = |wire: &Wire| matches!(&*wire.message, Message::Accept { .. });
    until(founded(rules), |world| states(world)[0] == State::Joining && world.wires.iter().all(is_accept))
}

/// A pair, with an entry that counts, and nothing under way.
fn whole(rules: Rules) -> World {
    let world = until(founded(rules), |world| states(world) == [State::ActivePair, State::Mirror]);
    let world = happen(until(world, |world| world.wires.is_empty()), &[Step::Append(0, 1)]);
    until(world, |world| world.wires.is_empty() && world.truth.acknowledged.len() == 1)
}

/// What was whole asks to be alone on either side.
fn rivals(rules: Rules) -> World {
    let mut world = whole(rules);
    for (side, state) in [(0, State::Reconfig), (1, State::Takeover)] {
        while states(&world)[side] != state {
            world.wires.retain(|wire| wire.to >= 2);
            world = ring(world, side);
        }
    }
    world.wires.retain(|wire| wire.to >= 2);
    assert_eq!(states(&world), [State::Reconfig, State::Takeover]);
    world
}

/// B took over, and A, which has an entry more, is about to start.
fn returning(rules: Rules) -> World {
    let mut world = happen(whole(rules), &[Step::Append(0, 1)]);
    world.wires.clear();
    let mut world = happen(world, &[Step::Sync(0, 1), Step::Crash(0, 0)]);
    while states(&world)[1] != State::ActiveSolo {
        world.wires.retain(|wire| wire.to != 0);
        world = if world.wires.is_empty() { ring(world, 1) } else { happen(world, &[Step::Deliver(0)]) };
    }
    assert_eq!(states(&world), [State::Single, State::ActiveSolo]);
    world
}

/// A is alone by two of three witnesses, and nobody else knows of it; B asks to be alone.
fn decided(rules: Rules) -> World {
    let mut world = rivals(rules);
    let epoch = world.truth.decided.len();
    while world.truth.decided.len() == epoch {
        let of_two = |wire: &Wire| wire.from.max(wire.to) < 4 && wire.from.min(wire.to) == 0;
        let next = world.wires.iter().position(of_two).expect("A goes on asking");
        world = happen(world, &[Step::Deliver(next)]);
    }
    world.wires.retain(|wire| wire.from == 1);
    world
}

/// A pair that never wrote: the first entry is lost with A's process, and B alone has it.
fn emptied(rules: Rules) -> World {
    let world = until(founded(rules), |world| states(world) == [State::ActivePair, State::Mirror]);
    let world = happen(until(world, |world| world.wires.is_empty()), &[Step::Append(0, 1)]);
    let mut world = happen(until(world, |world| world.nodes[1].log.len() == 1), &[Step::Sync(1, 1), Step::Crash(0, 0)]);
    world.wires.clear();
    world
}

/// Others are being appointed in the place of the first witness; and, where clocks are apart, B asks to be alone meanwhile. With clocks
/// alike A would have suspected it before.
fn replacing(rules: Rules) -> World {
    let mut world = whole(rules);
    world.appoint(0);
    if rules.alike {
        return world;
    }
    while states(&world)[1] != State::Takeover {
        world.wires.retain(|wire| wire.to >= 2);
        world = ring(world, 1);
    }
    world.wires.retain(|wire| wire.to >= 2);
    assert_eq!(states(&world), [State::ActivePair, State::Takeover]);
    world
}

/// A must not serve alone and misses B, and others are being appointed meanwhile.
fn waiting(rules: Rules) -> World {
    let mut world = whole(rules);
    while states(&world)[0] != State::Suspect {
        world.wires.retain(|wire| wire.to >= 2);
        world = ring(world, 0);
    }
    world.appoint(0);
    world
}

type Start = fn(Rules) -> World;
const STARTS: [(&str, Start); 8] = [
    ("founded", founded),
    ("lagging", lagging),
    ("joining", joining),
    ("whole", whole),
    ("rivals", rivals),
    ("returning", returning),
    ("emptied", emptied),
    ("replacing", replacing),
];

/// What may still happen. A message that comes twice is the least of mishaps.
fn left(far: Far) -> Left {
    let (entries, twice) = if far == Far::Steps { (2, 1) } else { (1, 0) };
    Left { entries, crashes: 1, switches: 1, alarms: [4; 2], twice, cuts: 1, wipes: 0, forgets: 0 }
}

fn explored(start: Start, rules: Rules, left: Left, far: Far, most: usize) -> Found {
    let mut world = start(rules);
    world.left = left;
    let worlds_max = super::worlds();
    let most = if worlds_max.is_some() && rules.flaw.is_none() { 40 } else { most };
    let worlds_max = worlds_max.filter(|_| rules.flaw.is_none());
    search(&world, Extent { far, most, worlds_max: worlds_max.unwrap_or(usize::MAX) })
}

/// Nothing breaks, and no world is left out.
fn holds(name: &str, start: Start, rules: Rules, far: Far, most: usize) {
    let found = explored(start, rules, left(far), far, most);
    println!("{far:?} from {name} with {} witnesses: {found}", rules.witnesses);
    assert_eq!(found.broken, None, "from {name}: {found}");
    assert!(found.worlds > 400, "from {name}: {found}");
}

// M1 to M4, X2.
#[test]
fn in_no_order_of_anything_does_what_must_hold_not_hold() {
    for (name, start) in STARTS {
        holds(name, start, rules(1, Far::Steps), Far::Steps, 5);
    }
    let halting = Rules { on_mirror_lost: OnMirrorLost::Halt, ..rules(1, Far::Steps) };
    holds("waiting", waiting, halting, Far::Steps, 5);
}

// M3, X2.
#[test]
fn in_no_order_do_several_witnesses_let_rivals_break_what_must_hold() {
    holds("rivals", rivals, rules(2, Far::Steps), Far::Steps, 5);
    holds("rivals", rivals, rules(3, Far::Steps), Far::Steps, 4);
    holds("replacing", replacing, rules(2, Far::Steps), Far::Steps, 5);
    holds("replacing", replacing, rules(3, Far::Steps), Far::Steps, 4);
}

// M1 to M4, X2.
#[test]
fn no_single_mishap_breaks_what_must_hold() {
    for (name, start) in STARTS {
        holds(name, start, rules(1, Far::Mishaps), Far::Mishaps, 1);
    }
    let halting = Rules { on_mirror_lost: OnMirrorLost::Halt, ..rules(1, Far::Mishaps) };
    holds("whole", whole, halting, Far::Mishaps, 1);
    holds("replacing", replacing, halting, Far::Mishaps, 1);
    holds("waiting", waiting, halting, Far::Mishaps, 1);
}

/// What is built in wrong, from where that shows, how far away, and as what.
fn flaws() -> [(Flaw, Start, Far, usize, &'static [&'static str]); 10] {
    use Flaw::*;
    [
        (SoloBeforeRecorded, whole, Far::Steps, 6, &[RECORDED]),
        (SoloDuringJoin, founded, Far::Mishaps, 1, &[DURABLE]),
        (RestartKeepsEpoch, whole, Far::Steps, 6, &[ONE_LOG]),
        (AckBeforeSync, founded, Far::Mishaps, 1, &[RECORDED, DURABLE]),
        (LearnerTakesOver, lagging, Far::Mishaps, 1, &[BY_MEMBER]),
        (AnyEpochAppends, founded, Far::Mishaps, 1, &[TRUNCATED]),
        (JoinWhileLagging, lagging, Far::Mishaps, 1, &[DURABLE]),
        (JoinTimesOut, joining, Far::Steps, 6, &[DURABLE]),
        (WipedKeepsIdentity, whole, Far::Steps, 1, &[DURABLE]),
        (AmnesiacWitness, decided, Far::Steps, 7, &[ONE_CONFIGURATION]),
    ]
}

// X2: who never found anything proves nothing by finding nothing.
#[test]
fn what_is_built_in_wrong_is_found() {
    for (flaw, start, far, most, invariants) in flaws() {
        let mut rules = Rules { flaw: Some(flaw), ..rules(1, far) };
        let mut left = left(far);
        left.wipes = u8::from(flaw == Flaw::WipedKeepsIdentity);
        if flaw == Flaw::AnyEpochAppends {
            left.entries = 2;
        }
        if flaw == Flaw::AmnesiacWitness {
            (rules.witnesses, rules.quorum) = (3, 2);
            left = Left { forgets: 1, ..Left::default() };
        }
        let found = explored(start, rules, left, far, most);
        println!("{flaw:?}: {found}\n");
        let (violation, trail) = found.broken.unwrap_or_else(|| panic!("{flaw:?} was not found"));
        assert!(invariants.contains(&violation.invariant), "{flaw:?} was found as {violation}\n{}", trail.join("\n"));
    }
}
