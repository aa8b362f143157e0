//! Topics across two nodes (T13): a publisher at the one, a subscriber at each, and everything that goes wrong between them. When
//! faults stop, both have had every publication, in the order in which they were made.

use crate::node::{Node, organization};
use hansa_core::{
    dice::Dice,
    directory,
    dispatch::{Input, Outward, ToPeer, from_session},
    document::Text,
    ident::{OrganizationId, PublicationId, SubscriberName, TopicAddress, TransactionId},
    link,
    moment::Moment,
    session::{Asker, FromSession, SessionId, Taken, ToSession},
    topic,
};
use std::collections::VecDeque;

/// The session of the publisher; those of readers follow.
const PUBLISHER: SessionId = SessionId(1);

/// A subscriber at node `home`.
struct Reader {
    home: usize,
    topic: TopicAddress,
    session: Option<SessionId>,
    acknowledged: bool,
    holds: Vec<u64>,
    /// What it received, in the order of first receipt.
    first: Vec<u128>,
}

impl Reader {
    fn subscriber() -> SubscriberName {
        "audit".parse().expect("it is a name")
    }
}

struct World {
    dice: Dice,
    now: Moment,
    nodes: [Node; 2],
    connected: bool,
    /// Whether a link refused what came over the connection.
    broken: bool,
    /// What is on its way to each node.
    wires: [VecDeque<ToPeer>; 2],
    readers: [Reader; 2],
    last_session: u64,
    /// The publication that is not acknowledged.
    pending: Option<u128>,
    /// How many publications were acknowledged.
    published: u128,
}

impl World {
    fn new(seed: u64) -> Self {
        let name = || "prices".parse().expect("it is a name");
        let reader = |home, organization: Option<OrganizationId>| Reader {
            home,
            topic: TopicAddress { organization, name: name() },
            session: None,
            acknowledged: false,
            holds: Vec::new(),
            first: Vec::new(),
        };
        let mut world = Self {
            dice: Dice::new(seed),
            now: Moment(1_000_000),
            nodes: [Node::new(1), Node::new(2)],
            connected: false,
            broken: false,
            wires: [VecDeque::new(), VecDeque::new()],
            readers: [reader(0, None), reader(1, Some(organization(1)))],
            last_session: PUBLISHER.0,
            pending: None,
            published: 0,
        };
        for node in 0..2 {
            world.nodes[node].start(world.now, &mut world.dice, &[]);
        }
        world.connect();
        world.quiet();
        for reader in 0..2 {
            world.attach(reader);
        }
        world.quiet();
        assert!(world.readers.iter().all(|reader| reader.acknowledged), "nothing goes wrong yet");
        world
    }

    fn give(&mut self, node: usize, input: Input) {
        if self.nodes[node].is_up {
            // What a link refuses came over a connection before this one, and ends this one.
            self.broken |= !self.nodes[node].take(self.now, &mut self.dice, input).is_empty();
        }
    }

    fn say(&mut self, node: usize, session: SessionId, said: FromSession) {
        let input = from_session(Asker { session, message: 1 }, said, TransactionId(0));
        self.give(node, input);
    }

    fn sync(&mut self, node: usize, entries: usize) {
        for outward in self.nodes[node].sync(entries) {
            match outward {
                Outward::Session(session, said) => self.hear(session, said),
                Outward::Peer(_, said) if self.connected => self.wires[1 - node].push_back(said),
                Outward::Announce { signed, .. } if self.connected => {
                    self.wires[1 - node].push_back(ToPeer::Records(vec![signed]));
                }
                Outward::Sign(record) => {
                    let signed = self.nodes[node].sign(&record);
                    self.give(node, Input::Directory(directory::Input::Signed(signed)));
                }
                Outward::Peer(..) | Outward::Announce { .. } | Outward::Learn(_) => (),
            }
        }
    }

    fn hear(&mut self, session: SessionId, said: ToSession) {
        match said {
            ToSession::Acknowledged { tracking, .. } if session == PUBLISHER => {
                if self.pending.is_some() && tracking.publication.map(|it| it.0) == self.pending {
                    self.published = self.pending.take().unwrap_or_default();
                }
            }
            ToSession::Acknowledged { .. } => {
                let reader = self.readers.iter_mut().find(|reader| reader.session == Some(session));
                reader.into_iter().for_each(|reader| reader.acknowledged = true);
            }
            ToSession::Notify { notification, .. } => {
                let Some(reader) = self.readers.iter_mut().find(|reader| reader.session == Some(session)) else {
                    return;
                };
                reader.holds.push(notification.number);
                assert_eq!(notification.missed, 0, "there is room for all");
                if !reader.first.contains(&notification.publication.0) {
                    reader.first.push(notification.publication.0);
                }
            }
            other => panic!("{session:?} hears {other:?}"),
        }
    }

    fn arrive(&mut self, to: usize) {
        let Some(said) = self.wires[to].pop_front() else { return };
        let peer = self.nodes[1 - to].id;
        match said {
            ToPeer::Position { accepted_through } => {
                self.give(to, Input::Link(peer, link::Input::Connected { accepted_through }));
            }
            ToPeer::Frames(frames) => {
                for frame in frames {
                    self.give(to, Input::Link(peer, link::Input::Arrived(frame)));
                }
            }
            ToPeer::Confirm { accepted_through, .. } => {
                self.give(to, Input::Link(peer, link::Input::Confirmed { accepted_through }));
            }
            ToPeer::Digest(versions) => {
                self.give(to, Input::Directory(directory::Input::Digest { from: peer, versions }));
            }
            ToPeer::Records(records) => {
                for signed in records {
                    self.give(to, Input::Directory(directory::Input::Arrived { from: peer, signed }));
                }
            }
        }
    }

    fn connect(&mut self) {
        if self.connected || self.nodes.iter().any(|node| !node.is_up) {
            return;
        }
        self.connected = true;
        for node in 0..2 {
            let peer = self.nodes[1 - node].id;
            self.give(node, Input::Link(peer, link::Input::Opened));
            self.give(node, Input::Directory(directory::Input::Connected { peer }));
        }
    }

    fn disconnect(&mut self) {
        (self.connected, self.broken) = (false, false);
        self.wires.iter_mut().for_each(VecDeque::clear);
        for node in 0..2 {
            let peer = self.nodes[1 - node].id;
            self.give(node, Input::Link(peer, link::Input::Disconnected));
        }
    }

    fn crash(&mut self, node: usize) {
        self.disconnect();
        let undurable = self.nodes[node].undurable() as u64;
        let kept = self.dice.below(undurable + 1) as usize;
        self.nodes[node].crash(kept);
        for reader in self.readers.iter_mut().filter(|reader| reader.home == node) {
            (reader.session, reader.acknowledged) = (None, false);
            reader.holds.clear();
        }
        self.nodes[node].start(self.now, &mut self.dice, &[]);
    }

    fn attach(&mut self, reader: usize) {
        self.detach(reader);
        self.last_session += 1;
        let session = SessionId(self.last_session);
        self.readers[reader].session = Some(session);
        let (home, topic) = (self.readers[reader].home, self.readers[reader].topic.clone());
        let credit = 1 + self.dice.below(4) as u32;
        self.say(home, session, FromSession::Subscribe { topic, subscriber: Reader::subscriber(), credit });
    }

    fn detach(&mut self, reader: usize) {
        let Reader { home, topic, session, acknowledged, holds, .. } = &mut self.readers[reader];
        let (home, topic) = (*home, topic.clone());
        holds.clear();
        *acknowledged = false;
        if let Some(session) = session.take() {
            self.give(home, Input::Topic(topic, topic::Input::Detach { session }));
        }
    }

    fn read(&mut self, reader: usize, word: Taken) {
        let Reader { home, topic, session, holds, .. } = &mut self.readers[reader];
        let (Some(session), false) = (*session, holds.is_empty()) else { return };
        let (home, topic, number) = (*home, topic.clone(), holds.remove(0));
        self.say(home, session, FromSession::Taken { topic, subscriber: Reader::subscriber(), number, word });
    }

    /// The next publication, or the one again that was not acknowledged.
    fn publish(&mut self) {
        let id = *self.pending.get_or_insert(self.published + 1);
        let document = Text::parse(format!("<Price>{id}</Price>").as_bytes()).expect("it is a document");
        let topic = self.readers[0].topic.name.clone();
        let publish = FromSession::Publish { topic, publication: Some(PublicationId(id)), public: true, document };
        self.say(0, PUBLISHER, publish);
    }

    fn step(&mut self) {
        if self.broken {
            self.disconnect();
        }
        let (either, other) = (self.dice.below(2) as usize, self.dice.below(2) as usize);
        match self.dice.below(40) {
            0..=7 => self.publish(),
            8..=15 => {
                let entries = self.dice.below(4) as usize;
                self.sync(either, entries);
            }
            16..=23 => self.arrive(either),
            24..=29 => self.read(other, Taken::Had),
            30 => self.read(other, Taken::Later { pause_ms: 50 }),
            31..=32 => self.attach(other),
            33 => self.detach(other),
            34 => self.crash(either),
            35 => self.disconnect(),
            36..=37 => self.connect(),
            _ => self.pass(),
        }
    }

    fn pass(&mut self) {
        self.now = self.now.plus_ms(60);
        for node in 0..2 {
            self.broken |= !self.nodes[node].wake(self.now, &mut self.dice).is_empty();
        }
    }

    /// Everything that is on its way arrives, and becomes durable.
    fn quiet(&mut self) {
        while self.nodes.iter().any(|node| node.has_outward() || node.undurable() > 0)
            || self.wires.iter().any(|wire| !wire.is_empty())
        {
            for node in 0..2 {
                self.sync(node, usize::MAX / 2);
                while !self.wires[node].is_empty() {
                    self.arrive(node);
                }
            }
            if self.broken {
                self.disconnect();
                self.connect();
            }
        }
    }

    /// Faults stop; everybody comes back and takes what there is.
    fn settle(&mut self) {
        self.connect();
        if self.pending.is_some() {
            self.publish();
        }
        for reader in 0..2 {
            self.attach(reader);
        }
        self.quiet();
        loop {
            self.pass();
            for reader in 0..2 {
                self.read(reader, Taken::Had);
            }
            self.quiet();
            if self.readers.iter().all(|reader| reader.holds.is_empty()) {
                break;
            }
        }
        assert_eq!(self.pending, None, "the publisher was answered");
    }
}

// DESIGN invariants 1 and 4; T12, T13.
#[test]
fn every_publication_reaches_subscribers_here_and_at_a_peer_in_order_whatever_goes_wrong() {
    for seed in 0..60 {
        let mut world = World::new(seed);
        for _ in 0..600 {
            world.step();
        }
        world.settle();
        let all: Vec<u128> = (1..=world.published).collect();
        assert!(world.published > 0, "seed {seed}");
        for reader in &world.readers {
            assert_eq!(reader.first, all, "seed {seed}, the reader at node {}", reader.home);
        }
        for (node, reader) in world.nodes.iter().zip(&world.readers) {
            assert_eq!(node.topic(&reader.topic).map(topic::Topic::kept), Some(0), "seed {seed}: all have had all");
            assert!(node.left_over().is_empty(), "seed {seed}: {:?}", node.left_over());
        }
    }
}
