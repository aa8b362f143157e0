//! Whatever the order, and wherever the process ends: what was acknowledged to a publisher reaches every subscriber, in order,
//! and nothing comes again that a subscriber is known to have had (T13).

use super::{
    tests::{publish, subscribe},
    *,
};
use crate::{
    fixture::{Fed, asker, organization},
    session::{SessionId, Taken},
};
use proptest::{collection::vec, prelude::*};

const NAMES: [&str; 3] = ["audit", "stock", "sales"];

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// The next publication, or a repetition of this one.
    Publish { repeat: Option<u8> },
    /// A session comes for a subscriber.
    Attach { subscriber: usize, credit: u32 },
    /// A session goes.
    Detach { session: u8 },
    /// A session acknowledges, the oldest that it holds or another.
    Acknowledge { session: u8, which: u8 },
    /// A session wants it later.
    Later { session: u8 },
    /// Time goes on.
    Pass,
    /// The process ends, and loses so many records.
    Restart { lost: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => proptest::option::weighted(0.2, any::<u8>()).prop_map(|repeat| Step::Publish { repeat }),
        2 => (0..NAMES.len(), 1..4u32).prop_map(|(subscriber, credit)| Step::Attach { subscriber, credit }),
        1 => any::<u8>().prop_map(|session| Step::Detach { session }),
        6 => (any::<u8>(), any::<u8>()).prop_map(|(session, which)| Step::Acknowledge { session, which }),
        1 => any::<u8>().prop_map(|session| Step::Later { session }),
        1 => Just(Step::Pass),
        1 => (0..4u8).prop_map(|lost| Step::Restart { lost }),
    ]
}

/// What the world has seen.
struct World {
    topic: Fed<Topic>,
    /// Who is connected for whom, and holds what.
    sessions: BTreeMap<u64, (usize, Vec<u64>)>,
    last_session: u64,
    /// The ids of what was published, in order.
    published: Vec<u128>,
    next_id: u128,
    /// What each subscriber was given that it had not had before, in the order of first receipt.
    first: [Vec<u64>; 3],
    /// What each has durably acknowledged.
    had: [BTreeSet<u64>; 3],
}

impl World {
    fn new() -> Self {
        let offers = Offers::new(organization(1), "Acme".parse().unwrap(), [], []);
        let mut world = Self {
            topic: Fed::new(TopicAddress::own("prices".parse().unwrap()), offers),
            sessions: BTreeMap::new(),
            last_session: 0,
            published: Vec::new(),
            next_id: 0,
            first: Default::default(),
            had: Default::default(),
        };
        // All are subscribed from the beginning, so that each is to get everything.
        for name in NAMES {
            world.topic.give(subscribe(1_000, name, 1));
            world.topic.give(Input::Detach { session: SessionId(1_000) });
        }
        world
    }

    fn give(&mut self, input: Input) {
        let came = self.topic.give(input);
        self.see(came.effects);
    }

    fn see(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            if let Effect::Notify { session, subscriber, notification } = effect {
                let who = NAMES.iter().position(|name| *name == subscriber.as_str()).unwrap();
                let number = notification.number;
                assert!(!self.had[who].contains(&number), "{subscriber} had {number} already");
                assert_eq!(
                    notification.publication.0,
                    self.published[number as usize - 1],
                    "number {number} is what it was"
                );
                if !self.first[who].contains(&number) {
                    self.first[who].push(number);
                }
                let holds = &mut self.sessions.get_mut(&session.0).expect("only who is there is notified").1;
                assert!(!holds.contains(&number));
                holds.push(number);
            }
        }
    }

    fn session(&self, chosen: u8) -> Option<u64> {
        self.sessions.keys().nth(usize::from(chosen) % self.sessions.len().max(1)).copied()
    }

    fn take(&mut self, session: u64, which: u8, word: Taken) {
        let (who, holds) = self.sessions.get_mut(&session).unwrap();
        if holds.is_empty() {
            return;
        }
        let number = holds.remove(usize::from(which) % holds.len());
        let who = *who;
        if word == Taken::Had {
            self.had[who].insert(number);
        }
        let subscriber = Subscriber::Named(NAMES[who].parse().unwrap());
        self.give(Input::Taken { subscriber, recipient: Recipient::Session(SessionId(session)), number, word });
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Publish { repeat } => {
                let known = repeat.filter(|_| !self.published.is_empty());
                let id =
                    known.map_or(self.next_id + 1, |repeat| self.published[usize::from(repeat) % self.published.len()]);
                if known.is_none() {
                    self.next_id = id;
                    self.published.push(id);
                }
                self.give(publish(1, id));
            }
            Step::Attach { subscriber, credit } => {
                self.last_session += 1;
                self.sessions.insert(self.last_session, (subscriber, Vec::new()));
                self.give(subscribe(self.last_session, NAMES[subscriber], credit));
            }
            Step::Detach { session } => {
                if let Some(session) = self.session(session) {
                    self.sessions.remove(&session);
                    self.give(Input::Detach { session: SessionId(session) });
                }
            }
            Step::Acknowledge { session, which } => {
                if let Some(session) = self.session(session) {
                    self.take(session, which, Taken::Had);
                }
            }
            Step::Later { session } => {
                if let Some(session) = self.session(session) {
                    self.take(session, 0, Taken::Later { pause_ms: 50 });
                }
            }
            Step::Pass => {
                let came = self.topic.pass(60);
                self.see(came.effects);
            }
            Step::Restart { lost } => self.restart(lost),
        }
    }

    /// What is lost was acknowledged to nobody, so the world forgets it with the topic.
    fn restart(&mut self, lost: u8) {
        let durable = self.topic.journal.len().saturating_sub(usize::from(lost)).max(NAMES.len());
        self.sessions.clear();
        let came = self.topic.restart_with(durable);
        self.published.truncate(self.topic.machine.published() as usize);
        for (who, name) in NAMES.iter().enumerate() {
            let subscription = &self.topic.machine.subscriptions[&Subscriber::Named(name.parse().unwrap())];
            let known = |number: &u64| *number <= subscription.had_through || subscription.had_beyond.contains(number);
            self.had[who].retain(known);
            self.first[who].retain(|number| *number <= self.topic.machine.published());
        }
        self.see(came.effects);
    }

    /// Everybody comes back, with one session each, and takes what there is.
    fn settle(&mut self) {
        for session in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.step(Step::Detach { session: 0 });
            assert!(!self.sessions.contains_key(&session));
        }
        for subscriber in 0..NAMES.len() {
            self.step(Step::Attach { subscriber, credit: 2 });
        }
        self.step(Step::Pass);
        while let Some(session) =
            self.sessions.iter().find(|(_, (_, holds))| !holds.is_empty()).map(|(session, _)| *session)
        {
            self.take(session, 0, Taken::Had);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn everything_reaches_everybody_and_nothing_comes_again_that_was_had(steps in vec(step(), 1..80)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.settle();
        let all: Vec<u64> = (1..=world.published.len() as u64).collect();
        for (who, name) in NAMES.iter().enumerate() {
            let had: Vec<u64> = world.had[who].iter().copied().collect();
            prop_assert_eq!(&had, &all, "{} has had everything", name);
            prop_assert_eq!(&world.first[who], &all, "{} got it in order", name);
        }
        prop_assert_eq!(world.topic.machine.kept(), 0);
        prop_assert_eq!(world.topic.machine.kept_bytes(), 0);
        // A subscription that ends leaves nothing behind.
        for name in NAMES {
            world.give(Input::Unsubscribe { asker: asker(1, 1), subscriber: name.parse().unwrap() });
        }
        prop_assert!(!world.topic.machine.is_open());
    }
}
