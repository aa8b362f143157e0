//! Two sub-nodes that become a pair, hand over, and take over, with disks and wires that do what they should.

use super::{
    super::{
        pair::{Alarm, Effect, Input, OnMirrorLost, Site, State, Timing},
        *,
    },
    *,
};
use crate::code::Code;
use std::collections::VecDeque;

struct Node {
    site: Site,
    pair: Pair,
    log: Vec<Entry>,
    committed: u64,
    serves: bool,
}

/// Sub-nodes 1 and 2, four witnesses, and two more that might be; a sub-node that is down hears nothing.
struct World {
    now: Moment,
    nodes: [Node; 2],
    down: [bool; 2],
    witnesses: Vec<Kept>,
    /// Witnesses that hear nothing any more.
    away: Vec<SubnodeId>,
    wires: VecDeque<(SubnodeId, SubnodeId, Message)>,
    /// The way to the follower has no room for entries.
    keeps_back: bool,
    /// How often a follower asked.
    questions: u64,
}

impl World {
    fn new(on_mirror_lost: OnMirrorLost) -> Self {
        let node = |number: u8| Node {
            site: Site {
                key: key(number),
                organization: key(200),
                member: member(number),
                partner: subnode(3 - number),
                timing: Timing::LAN,
                on_mirror_lost,
                flaw: None,
            },
            pair: Pair::default(),
            log: Vec::new(),
            committed: 0,
            serves: false,
        };
        let mut world = Self {
            now: Moment(10_000),
            nodes: [node(1), node(2)],
            down: [false; 2],
            witnesses: (11..17).map(Kept::new).collect(),
            away: Vec::new(),
            wires: VecDeque::new(),
            keeps_back: false,
            questions: 0,
        };
        let first = founded(Mode::Solo { active: member(1) }, four());
        for node in 0..2 {
            world.tell(node, Input::Configured(first.clone())).unwrap();
        }
        world
    }

    fn tell(&mut self, number: usize, input: Input) -> Result<(), Fault> {
        let Node { site, pair, .. } = &mut self.nodes[number];
        let mut effects = Vec::new();
        feed(pair, site, self.now, &mut Dice::new(1), input, |_, caused| effects.extend(caused))?;
        for effect in effects {
            self.effect(number, effect);
        }
        Ok(())
    }

    fn effect(&mut self, number: usize, effect: Effect) {
        let own = self.nodes[number].site.member.subnode;
        let node = &mut self.nodes[number];
        match effect {
            Effect::Send { to, message } => self.wires.push_back((own, to, message)),
            Effect::Ship { .. } if self.keeps_back => {}
            Effect::Ship { to, epoch, after, through, committed } => {
                let previous = node.position(after);
                let entries = node.log[after as usize..through as usize].to_vec();
                self.wires.push_back((own, to, Message::Append { epoch, previous, entries, committed }));
                let through = self.nodes[number].position(through);
                self.tell(number, Input::Shipped { through }).unwrap();
            }
            Effect::Answer { to, epoch, nonce, fork } => {
                let fork = node.position(fork.expect("both logs are short").sequence);
                self.wires.push_back((own, to, Message::Tail { epoch, fork, nonce }));
            }
            Effect::Cut { after } => {
                assert!(node.committed <= after.sequence, "what counts is never cut");
                node.log.truncate(after.sequence as usize);
            }
            Effect::Write { entries } => {
                node.log.extend(entries);
                let durable = node.tail();
                self.tell(number, Input::Synced { durable }).unwrap();
            }
            // What a write causes comes before what was decided beside it.
            Effect::Commit { through } => node.committed = node.committed.max(through),
            Effect::Serve { .. } => node.serves = true,
            Effect::Follow { tail } => {
                node.serves = false;
                node.log.truncate(tail.sequence as usize);
            }
            Effect::Install { .. } | Effect::Pause | Effect::Hold(_) | Effect::Alarm(_) => {}
        }
    }

    /// The active writes an entry, and its disk has it.
    fn write(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        let epoch = node.pair.certified().unwrap().epoch();
        let sequence = node.log.len() as u64 + 1;
        let position = Position { sequence, epoch, hash: [sequence as u8 ^ epoch as u8; 32] };
        node.log.push(Entry { position, moment: Moment(0), address: vec![1].into(), record: vec![2].into() });
        self.tell(number, Input::Sealed { ends: vec![position] }).unwrap();
        self.tell(number, Input::Synced { durable: position }).unwrap();
    }

    /// So much time goes by, and everything that is said is heard.
    fn pass(&mut self, ms: u64) {
        let end = self.now.plus_ms(ms);
        while self.now < end {
            self.now = self.now.plus_ms(10);
            for number in 0..2 {
                if !self.down[number] && self.nodes[number].pair.wakes_at().is_some_and(|at| at <= self.now) {
                    self.tell(number, Input::Due).unwrap();
                }
            }
            while let Some((from, to, message)) = self.wires.pop_front() {
                self.hear(from, to, message);
            }
        }
    }

    fn hear(&mut self, from: SubnodeId, to: SubnodeId, message: Message) {
        let number = |subnode| self.nodes.iter().position(|node| node.site.member.subnode == subnode);
        if number(from).is_some_and(|number| self.down[number]) {
            return;
        }
        self.questions += u64::from(matches!(message, Message::Join { .. }));
        match number(to) {
            Some(number) if self.down[number] => {}
            None if self.away.contains(&to) => {}
            Some(number) => self.tell(number, Input::Heard { from, message }).unwrap(),
            None => {
                let by = number(from).map_or(0, |number| number as u8 + 1);
                let witness = self.witnesses.iter_mut().find(|it| it.bench.witness.subnode == to).unwrap();
                let said = witness.hear(by, message).unwrap();
                self.wires.extend(said.map(|said| (to, from, said)));
            }
        }
    }

    /// A process that ended starts again with what its disk has.
    fn restart(&mut self, number: usize) {
        self.down[number] = false;
        let node = &mut self.nodes[number];
        let mut history = History::default();
        node.log.iter().for_each(|entry| history.extend(entry.position));
        (node.serves, node.committed) = (false, 0);
        self.tell(number, Input::Started { history }).unwrap();
    }

    fn states(&self) -> [State; 2] {
        [0, 1].map(|number| self.nodes[number].pair.picture().state)
    }
}

impl Node {
    fn position(&self, sequence: u64) -> Position {
        if sequence == 0 { Position::default() } else { self.log[sequence as usize - 1].position }
    }

    fn tail(&self) -> Position {
        self.position(self.log.len() as u64)
    }
}

fn whole_pair(on_mirror_lost: OnMirrorLost) -> World {
    let mut world = World::new(on_mirror_lost);
    world.pass(1_000);
    assert_eq!(world.states(), [State::ActivePair, State::Mirror]);
    world
}

// M1, M2
#[test]
fn in_a_pair_an_entry_counts_when_both_have_it() {
    let mut world = whole_pair(OnMirrorLost::Solo);
    world.write(0);
    assert_eq!(world.nodes[0].committed, 0, "the mirror has not said so");
    world.pass(200);
    assert_eq!((world.nodes[0].committed, world.nodes[1].committed, world.nodes[1].log.len()), (1, 1, 1));
}

// Invariant 1: what a disk that was replaced had acknowledged says nothing of the one in its place.
#[test]
fn what_another_disk_acknowledged_does_not_count() {
    let mut world = whole_pair(OnMirrorLost::Solo);
    world.write(0);
    let (epoch, durable) = (world.nodes[0].pair.certified().unwrap().epoch(), world.nodes[0].tail());
    let before = MemberId { journal: 99, ..member(2) };
    let message = Message::AppendAck { epoch, member: before, durable };
    world.tell(0, Input::Heard { from: subnode(2), message }).unwrap();
    assert_eq!(world.nodes[0].committed, 0);
    world.pass(500);
    assert_eq!(world.nodes[0].committed, 1, "the mirror is asked anew, and says so itself");
}

// M1: a question that comes late has the active send again what the mirror has, and its window may not reach further.
#[test]
fn a_question_that_comes_late_leaves_nobody_waiting() {
    let mut world = whole_pair(OnMirrorLost::Solo);
    world.nodes.iter_mut().for_each(|node| node.site.timing.window_entries = 2);
    (0..6).for_each(|_| world.write(0));
    world.pass(500);
    assert_eq!(world.nodes[0].committed, 6);
    let epoch = world.nodes[0].pair.certified().unwrap().epoch();
    let late = Message::Join { epoch, member: member(2), history: History::default(), nonce: 1 };
    world.tell(0, Input::Heard { from: subnode(2), message: late }).unwrap();
    world.write(0);
    world.pass(1_000);
    assert_eq!(world.nodes[0].committed, 7);
}

// M3
#[test]
fn the_mirror_takes_over_with_everything_that_counted_and_the_old_active_comes_back_as_mirror() {
    let mut world = whole_pair(OnMirrorLost::Solo);
    (0..5).for_each(|_| world.write(0));
    world.pass(200);
    world.down[0] = true;
    // What the old active wrote and nobody was told of.
    world.write(0);
    world.pass(1_000);
    assert_eq!(world.states()[1], State::ActiveSolo);
    assert_eq!((world.nodes[1].committed, world.nodes[1].serves), (5, true));
    world.write(1);
    // M4
    world.restart(0);
    world.pass(1_000);
    assert_eq!(world.states(), [State::Mirror, State::ActivePair]);
    assert_eq!(world.nodes[0].log, world.nodes[1].log);
    // And it can take over in turn.
    world.down[1] = true;
    world.pass(1_000);
    assert_eq!(world.states()[0], State::ActiveSolo);
}

// M4
#[test]
fn a_planned_switch_loses_nothing_and_a_sub_node_that_cannot_hand_over_says_why() {
    let mut world = whole_pair(OnMirrorLost::Solo);
    world.write(0);
    assert_eq!(world.tell(1, Input::Switch).unwrap_err().code, Code::PairNotReady);
    world.tell(0, Input::Switch).unwrap();
    world.pass(500);
    assert_eq!(world.states(), [State::Mirror, State::ActivePair]);
    assert_eq!([world.nodes[0].serves, world.nodes[1].serves], [false, true]);
    world.write(1);
    world.pass(200);
    assert_eq!(world.nodes[1].committed, 2);
}

// M2, M4: what the mirror's machines cannot take in is in both logs and counts, and does not make it serve what it cannot.
#[test]
fn a_mirror_that_cannot_take_an_entry_in_follows_and_does_not_serve_before_it_can() {
    let mut world = whole_pair(OnMirrorLost::Solo);
    world.tell(1, Input::Fitness { fit: false }).unwrap();
    assert_eq!(world.nodes[1].pair.picture().alarm, Some(Alarm::Unfit));
    world.write(0);
    world.pass(500);
    assert_eq!((world.nodes[0].committed, world.nodes[1].committed, world.nodes[1].log.len()), (1, 1, 1));
    assert!(!world.nodes[0].pair.picture().follower_fit, "it says so with every beat");
    assert_eq!(world.tell(0, Input::Switch).unwrap_err().code, Code::PairNotReady);
    world.down[0] = true;
    world.pass(2_000);
    assert_eq!((world.states()[1], world.nodes[1].serves), (State::Mirror, false));
    // Mended: what it waits for comes about.
    world.tell(1, Input::Fitness { fit: true }).unwrap();
    assert_eq!(world.nodes[1].pair.picture().alarm, None);
    world.pass(1_000);
    assert_eq!((world.states()[1], world.nodes[1].serves), (State::ActiveSolo, true));
}

// M2
#[test]
fn an_active_without_its_mirror_goes_on_alone_or_waits_as_its_operator_chose() {
    for (policy, state, counts) in [(OnMirrorLost::Solo, State::ActiveSolo, 1), (OnMirrorLost::Halt, State::Suspect, 0)]
    {
        let mut world = whole_pair(policy);
        world.down[1] = true;
        world.write(0);
        world.pass(1_000);
        assert_eq!((world.states()[0], world.nodes[0].committed), (state, counts));
        world.restart(1);
        world.pass(1_000);
        assert_eq!(world.states(), [State::ActivePair, State::Mirror]);
        assert_eq!(world.nodes[0].committed, 1);
    }
}

// M3: found by the simulator: the mirror took over while the lease that it had granted still ran, for its operator had chosen another
// profile than the active's.
#[test]
fn a_lease_never_lasts_longer_than_the_mirror_waits_whatever_their_operators_chose() {
    for (active, mirror) in [(Timing::DEFAULT, Timing::LAN), (Timing::LAN, Timing::DEFAULT)] {
        let mut world = World::new(OnMirrorLost::Solo);
        (world.nodes[0].site.timing, world.nodes[1].site.timing) = (active, mirror);
        world.pass(5_000);
        assert_eq!(world.states(), [State::ActivePair, State::Mirror]);
        let epoch = world.nodes[0].pair.certified().unwrap().epoch();
        for _ in 0..200 {
            world.pass(50);
            let lease = world.nodes[0].pair.picture().lease_until.expect("the mirror answers every beat");
            assert!(
                lease > world.now && lease <= world.now.plus_ms(Timing::LAN.lease_ms),
                "a lease of the shorter kind"
            );
        }
        assert_eq!(world.states(), [State::ActivePair, State::Mirror], "beats come as often as the mirror expects");
        assert_eq!(world.nodes[0].pair.certified().unwrap().epoch(), epoch, "nobody took over in between");
    }
}

#[test]
fn times_are_shortened_in_proportion_and_never_lengthened() {
    let within = |grace_ms| {
        let Timing { beat_ms, lease_ms, .. } = Timing::DEFAULT.within(grace_ms);
        (beat_ms, lease_ms)
    };
    assert_eq!([4_000, 400, 40_000, 0].map(within), [(500, 3_000), (50, 300), (500, 3_000), (1, 0)]);
    assert_eq!(Timing { grace_ms: 0, ..Timing::LAN }.within(u64::MAX).lease_ms, 0, "who does not wait grants nothing");
}

// M3: it stood still, and was replaced.
#[test]
fn an_old_active_learns_from_the_first_answer_that_it_is_none_any_more() {
    let mut world = whole_pair(OnMirrorLost::Solo);
    world.down[0] = true;
    world.pass(1_000);
    world.down[0] = false;
    assert!(world.nodes[0].serves);
    world.write(0);
    world.pass(50);
    assert!(!world.nodes[0].serves);
    assert_eq!(world.nodes[0].committed, 0, "what it wrote never counted");
}

// M4: between deciding to follow and following, an active's disk still writes what nobody will ever count.
#[test]
fn what_is_written_behind_the_decision_to_follow_is_no_part_of_the_log() {
    let mut world = whole_pair(OnMirrorLost::Solo);
    world.write(0);
    world.down[0] = true;
    world.pass(1_000);
    let latest = Box::new(world.nodes[1].pair.certified().unwrap().clone());
    world.tell(0, Input::Configured(latest)).unwrap();
    let late = Position { sequence: 2, epoch: 1, hash: [7; 32] };
    world.tell(0, Input::Sealed { ends: vec![late] }).unwrap();
    world.tell(0, Input::Synced { durable: late }).unwrap();
    let picture = world.nodes[0].pair.picture();
    assert_eq!((picture.tail.sequence, picture.durable.sequence), (1, 1));
}

#[test]
fn an_answer_that_comes_twice_cuts_nothing() {
    let mut world = whole_pair(OnMirrorLost::Solo);
    let epoch = world.nodes[0].pair.certified().unwrap().epoch();
    (0..3).for_each(|_| world.write(0));
    world.pass(200);
    for nonce in 0..20 {
        let message = Message::Tail { epoch, fork: Position::default(), nonce };
        world.hear(subnode(1), subnode(2), message);
    }
    assert_eq!(world.nodes[1].log.len(), 3);
}

fn witnesses(world: &World, number: usize) -> Vec<MemberId> {
    world.nodes[number].pair.certified().unwrap().configuration.witnesses.members.clone()
}

fn others() -> Vec<MemberId> {
    (13..17).map(member).collect()
}

// M3: a witness that is lost is replaced while the pair serves, and is needed for nothing any more.
#[test]
fn others_take_the_place_of_witnesses_and_then_decide_who_takes_over() {
    let mut world = whole_pair(OnMirrorLost::Solo);
    world.write(0);
    // One of the four is away for ever.
    world.witnesses.remove(0);
    world.away.push(subnode(11));
    world.tell(0, Input::Appoint(others())).unwrap();
    world.pass(500);
    assert_eq!(world.states(), [State::ActivePair, State::Mirror]);
    assert_eq!((witnesses(&world, 0), witnesses(&world, 1)), (others(), others()));
    world.write(0);
    world.pass(500);
    assert_eq!(world.nodes.each_ref().map(|node| node.committed), [2, 2]);

    // Nobody asks the ones before.
    world.witnesses.retain(|it| others().contains(&it.bench.witness));
    world.away.clear();
    world.down[0] = true;
    world.pass(2_000);
    assert_eq!(world.states()[1], State::ActiveSolo);
    world.write(1);
    world.restart(0);
    world.pass(2_000);
    assert_eq!(world.states(), [State::Mirror, State::ActivePair]);
    assert_eq!(witnesses(&world, 0), others());
    assert_eq!(world.nodes[0].log, world.nodes[1].log);
}

// Interleaving: the witnesses change while the mirror takes over. The active is lost after each step of the change in turn.
#[test]
fn a_takeover_amid_a_change_of_the_witnesses_ends_with_one_set_or_the_other() {
    let mut ended_with = [0, 0];
    for steps in 0..40 {
        let mut world = whole_pair(OnMirrorLost::Solo);
        world.write(0);
        world.pass(200);
        world.tell(0, Input::Appoint(others())).unwrap();
        for _ in 0..steps {
            if let Some((from, to, message)) = world.wires.pop_front() {
                world.hear(from, to, message);
            }
        }
        world.down[0] = true;
        world.pass(3_000);
        assert_eq!(world.states()[1], State::ActiveSolo, "lost after {steps} steps");
        world.write(1);
        world.restart(0);
        world.pass(3_000);
        assert_eq!(world.states(), [State::Mirror, State::ActivePair], "lost after {steps} steps");
        assert_eq!(world.nodes.each_ref().map(|node| node.committed), [2, 2]);
        assert_eq!(witnesses(&world, 0), witnesses(&world, 1));
        ended_with[usize::from(witnesses(&world, 0) == others())] += 1;
    }
    assert!(ended_with.iter().all(|count| *count > 5), "{ended_with:?}");
}

#[test]
fn witnesses_are_changed_by_the_active_alone_and_for_such_as_a_pair_can_have() {
    let mut world = whole_pair(OnMirrorLost::Solo);
    let epoch = world.nodes[0].pair.certified().unwrap().epoch();
    let refused = |told: Result<(), Fault>| assert_eq!(told.unwrap_err().code, Code::PairNotReady);
    refused(world.tell(1, Input::Appoint(others())));
    for unsound in [vec![], vec![member(13), member(13)], (11..19).map(member).collect()] {
        refused(world.tell(0, Input::Appoint(unsound)));
    }
    // The same again are no change.
    world.tell(0, Input::Appoint((11..15).map(member).collect())).unwrap();
    world.pass(500);
    assert_eq!(world.nodes[0].pair.certified().unwrap().epoch(), epoch);
}

// M3: whoever asks in vain can take it back; and what may have been decided already is decided before anything else.
#[test]
fn an_appointment_that_is_taken_back_is_asked_for_no_more_or_was_decided() {
    for steps in 0..24 {
        let mut world = whole_pair(OnMirrorLost::Solo);
        world.tell(0, Input::Appoint(others())).unwrap();
        assert_eq!(world.tell(0, Input::Switch).unwrap_err().code, Code::PairNotReady, "one thing after the other");
        let steps_of_the_change = |world: &mut World| {
            for _ in 0..steps {
                if let Some((from, to, message)) = world.wires.pop_front() {
                    world.hear(from, to, message);
                }
            }
        };
        steps_of_the_change(&mut world);
        let before = world.nodes[0].pair.certified().unwrap().configuration.witnesses.members.clone();
        world.tell(0, Input::Appoint(before)).unwrap();
        world.pass(2_000);
        assert!(!world.nodes[0].pair.picture().proposes, "after {steps} steps");
        assert_eq!(world.states(), [State::ActivePair, State::Mirror]);
        let named = witnesses(&world, 0);
        assert!(named == others() || named == (11..15).map(member).collect::<Vec<_>>());
        assert!(steps > 2 || named != others(), "nobody had accepted it after {steps} steps");
        world.tell(0, Input::Switch).unwrap();
        world.pass(1_000);
        assert_eq!(world.states(), [State::Mirror, State::ActivePair]);
    }
}

// M3: an active that must not serve alone waits for its mirror, and must not need for that the witnesses that it has.
#[test]
fn witnesses_are_replaced_while_an_active_that_must_not_serve_alone_waits_for_its_mirror() {
    let mut world = whole_pair(OnMirrorLost::Halt);
    let before = witnesses(&world, 0);
    world.down[1] = true;
    world.pass(1_000);
    world.write(0);
    assert_eq!(world.states()[0], State::Suspect);
    // Taken back while nobody decides.
    world.away = before.iter().map(|it| it.subnode).collect();
    world.tell(0, Input::Appoint(others())).unwrap();
    world.pass(300);
    assert!(world.nodes[0].pair.picture().proposes);
    world.tell(0, Input::Appoint(before.clone())).unwrap();
    assert!(!world.nodes[0].pair.picture().proposes);
    // And decided.
    world.away.clear();
    world.tell(0, Input::Appoint(others())).unwrap();
    world.pass(1_000);
    assert_eq!((world.states()[0], witnesses(&world, 0)), (State::Suspect, others()));
    assert_eq!(world.nodes[0].committed, 0, "it still waits");
    world.restart(1);
    world.pass(1_000);
    assert_eq!((world.states(), world.nodes[0].committed), ([State::ActivePair, State::Mirror], 1));
    assert_eq!(witnesses(&world, 1), others());
}

// M3: a lease rests on what the mirror said that it waits, also if it was started with another profile since.
#[test]
fn a_mirror_that_comes_back_with_shorter_times_waits_for_what_it_granted_before() {
    let mut world = whole_pair(OnMirrorLost::Solo);
    let half = Timing { beat_ms: 50, lease_ms: 150, grace_ms: 200, retry_ms: 50, ..Timing::LAN };
    let takes_over = |world: &mut World| {
        let begun = world.now;
        world.down[0] = true;
        world.restart(1);
        while world.states()[1] == State::Mirror {
            world.pass(10);
        }
        world.now.since_ms(begun)
    };
    world.pass(Timing::LAN.beat_ms);
    let lease_until = world.nodes[0].pair.picture().lease_until.expect("the mirror answered");
    world.nodes[1].site.timing = half;
    takes_over(&mut world);
    assert!(world.now >= lease_until, "{:?} is before {lease_until:?}", world.now);

    // What it says now counts as soon as no lease of before can run.
    let mut world = whole_pair(OnMirrorLost::Solo);
    world.nodes[1].site.timing = half;
    world.restart(1);
    world.pass(1_000);
    let waited_ms = takes_over(&mut world);
    assert!((half.grace_ms..Timing::LAN.grace_ms).contains(&waited_ms), "{waited_ms} ms");
}

// X2: what the way has no room for yet is not lost, and what cannot be sent any more is not waited for.
#[test]
fn what_waits_for_room_on_the_way_is_not_asked_for_and_what_is_not_kept_is_asked_for_anew() {
    let mut world = whole_pair(OnMirrorLost::Solo);
    world.keeps_back = true;
    world.questions = 0;
    (0..3).for_each(|_| world.write(0));
    world.pass(2_000);
    assert_eq!((world.states(), world.questions), ([State::ActivePair, State::Mirror], 0));
    assert_eq!(world.nodes[0].committed, 0);
    world.keeps_back = false;
    world.tell(0, Input::Unshipped).unwrap();
    world.pass(500);
    assert_eq!((world.nodes[0].committed, world.questions), (3, 1));
}
