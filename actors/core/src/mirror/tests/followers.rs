//! What a follower asks, and which answers it takes: answers come late, twice, and of before a restart.

use super::{
    super::{
        pair::{Alarm, Effect, Input, OnMirrorLost, Site, State, Timing},
        *,
    },
    *,
};

struct Follower {
    site: Site,
    pair: Pair,
    dice: Dice,
    now: Moment,
}

fn position(sequence: u64) -> Position {
    Position { sequence, epoch: 1, hash: [sequence as u8; 32] }
}

fn history(sequence: u64) -> History {
    History(vec![position(sequence)])
}

impl Follower {
    fn new(mode: Mode, log: History) -> Self {
        let site = Site {
            key: key(2),
            organization: key(200),
            member: member(2),
            partner: subnode(1),
            timing: Timing::LAN,
            on_mirror_lost: OnMirrorLost::Solo,
            flaw: None,
        };
        let mut pair = Pair::default();
        pair.absorb(&pair::Record::Adopted(founded(mode, four())));
        let mut follower = Self { site, pair, dice: Dice::new(7), now: Moment(10_000) };
        follower.tell(Input::Started { history: log });
        follower
    }

    fn tell(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        feed(&mut self.pair, &self.site, self.now, &mut self.dice, input, |_, caused| effects.extend(caused)).unwrap();
        effects
    }

    fn hear(&mut self, message: Message) -> Vec<Effect> {
        self.tell(Input::Heard { from: subnode(1), message })
    }

    /// Wait until it asks, and give the number of its question.
    fn ask(&mut self) -> u64 {
        loop {
            self.now = self.pair.wakes_at().expect("it waits for something");
            let asked = self.tell(Input::Due).into_iter().find_map(|effect| question(&effect));
            if let Some(nonce) = asked {
                return nonce;
            }
        }
    }

    fn snapshot(&mut self, nonce: u64, sequence: u64) -> Vec<Effect> {
        self.hear(Message::Snapshot { epoch: 1, history: history(sequence), nonce, state: vec![1] })
    }
}

fn question(effect: &Effect) -> Option<u64> {
    match effect {
        Effect::Send { message: Message::Join { nonce, .. }, .. } => Some(*nonce),
        _ => None,
    }
}

fn installs(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Install { .. }))
}

fn alone() -> Mode {
    Mode::Solo { active: member(1) }
}

// M4: a snapshot takes longer to make and to send than a learner waits until it asks again.
#[test]
fn a_slow_snapshot_is_taken_once() {
    let mut follower = Follower::new(alone(), history(3));
    let asked = follower.ask();
    let again = follower.ask();
    assert!(installs(&follower.snapshot(asked, 90)), "it answers a question that was asked again");
    assert!(!installs(&follower.snapshot(again, 95)), "one is being put in place");
    assert!(
        follower.hear(Message::Tail { epoch: 1, fork: position(2), nonce: again }).is_empty(),
        "and cut is nothing"
    );

    let effects = follower.tell(Input::Installed { history: history(90) });
    let last = effects.iter().find_map(question).expect("it asks for the rest");
    assert!(!installs(&follower.snapshot(again, 95)), "it is of before");
    let effects = follower.hear(Message::Tail { epoch: 1, fork: position(90), nonce: last });
    assert!(effects.iter().any(|effect| matches!(effect,
        Effect::Send { message: Message::AppendAck { durable, .. }, .. } if *durable == position(90))));
    follower.tell(Input::Connected);
    assert!(!installs(&follower.snapshot(last, 90)), "it is of before what this log has by now");
}

#[test]
fn who_is_not_answered_asks_ever_less_often() {
    let mut follower = Follower::new(alone(), history(3));
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let before = follower.now;
        follower.ask();
        pauses.push(follower.now.since_ms(before));
    }
    assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 3_200, 3_200]);
    assert!(follower.tell(Input::Connected).iter().any(|effect| question(effect).is_some()));
    let before = follower.now;
    follower.ask();
    assert_eq!(follower.now.since_ms(before), 100, "somebody is there again");
}

// Invariant 6: what a mirror has acknowledged is what the active relies on.
#[test]
fn a_mirror_is_never_replaced_by_a_snapshot() {
    let mut follower = Follower::new(whole(), history(9));
    let asked = follower.ask();
    let effects = follower.snapshot(asked, 4);
    assert_eq!(effects, [Effect::Alarm(Alarm::Diverged)]);
}

// Invariant 6: an answer to the process before says nothing of what came into the log since.
#[test]
fn an_answer_of_before_a_restart_counts_for_nothing() {
    let mut follower = Follower::new(whole(), History::default());
    let asked = follower.ask();
    follower.tell(Input::Started { history: history(9) });
    follower.ask();
    follower.ask();
    for nonce in [asked - 1, asked, asked + 1] {
        let effects = follower.hear(Message::Tail { epoch: 1, fork: Position::default(), nonce });
        assert!(effects.is_empty(), "{effects:?}");
    }
}

// M3: a witness that lies about the floor cannot keep the only one that may serve from asking again.
#[test]
fn who_was_active_asks_again_after_a_false_floor() {
    let mut follower = Follower::new(Mode::Solo { active: member(2) }, history(9));
    assert_eq!(follower.pair.picture().state, State::Boot);
    let refused = |follower: &mut Follower, round: u64| {
        let floor = position(200);
        let promise = Message::Promise {
            pair: organization(),
            epoch: 2,
            ballot: ballot(round, 2),
            witness: member(11),
            accepted: None,
            floor,
        };
        follower.tell(Input::Heard { from: subnode(11), message: promise })
    };
    assert_eq!(refused(&mut follower, 1), [Effect::Alarm(Alarm::MemoryLost)]);
    follower.now = follower.pair.wakes_at().expect("it tries again");
    let asked = follower.tell(Input::Due);
    let prepares = |effect: &&Effect| matches!(effect, Effect::Send { message: Message::Prepare { .. }, .. });
    assert_eq!(asked.iter().filter(prepares).count(), 4);
    assert_eq!(refused(&mut follower, 2), [], "the operator knows");
}
