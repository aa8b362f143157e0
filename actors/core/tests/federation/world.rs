//! The world around the nodes: time, a network that loses, repeats, delays and reorders, disks that are slow, services and
//! clients that come and go. A seed decides everything, so that it happens again in the same way.

use crate::{
    checks::Checks,
    node::{Node, Refused, organization},
    people::{Client, Service, Spoken},
    plan::{DEFINITIONS, WISHED, Wish, definition},
};
use hansa_core::{
    dice::Dice,
    directory,
    dispatch::{Input, Outward, ToPeer, from_session},
    document::Text,
    ident::{OrganizationId, TransactionId},
    link,
    moment::Moment,
    session::{Asker, FromSession, SessionId, ToSession},
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
};

/// How long faults happen.
const FAULTS_MS: u64 = 20_000;
/// How long everything may take to come to rest behind them.
const REST_MS: u64 = 120_000;
/// Lines of the trace that are shown when something is wrong.
const TRACE_LINES: usize = 60;

/// What happens at a moment.
enum Event {
    /// Something of a peer's arrives, unless the connection that carried it is gone.
    Arrive {
        connection: u64,
        from: usize,
        to: usize,
        said: Rc<ToPeer>,
    },
    /// A directory record that a peer passes on.
    Sync {
        node: usize,
    },
    Connect {
        one: usize,
        other: usize,
    },
    Disconnect {
        connection: u64,
    },
    Start {
        node: usize,
    },
    /// A node tells a session something, or the other way.
    Hear {
        person: usize,
        session: SessionId,
        said: ToSession,
    },
    Say {
        person: usize,
        session: SessionId,
        message: u64,
        said: FromSession,
    },
    /// A person connects to its node, or does what it has to do next.
    Attach {
        person: usize,
    },
    Act {
        person: usize,
    },
    /// Something goes wrong.
    Mishap,
}

/// A client or a service.
enum Person {
    Client(Client),
    Service(Service),
}

struct Connection {
    one: usize,
    other: usize,
    /// When the last thing that was sent arrives: a connection keeps the order, unless it is at fault.
    last: [Moment; 2],
}

pub struct World {
    seed: u64,
    now: Moment,
    dice: Dice,
    queue: BTreeMap<(Moment, u64), Event>,
    scheduled: u64,
    nodes: Vec<Node>,
    syncing: Vec<bool>,
    connections: BTreeMap<u64, Connection>,
    people: Vec<Person>,
    /// Which session a person has, at which node.
    sessions: BTreeMap<SessionId, usize>,
    next_session: u64,
    definitions: Vec<Text>,
    checks: Checks,
    faulty: bool,
    trace: VecDeque<String>,
    /// A hash over all that happened: two runs of a seed must agree.
    pub hash: u64,
}

/// A seed that fails tells which it is and what happened last.
impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {} failed at {}; the last events:", self.seed, self.now.0);
            for line in &self.trace {
                eprintln!("  {line}");
            }
        }
    }
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let members = 2 + dice.below(3) as u8;
        let mut people = Vec::new();
        for home in 0..usize::from(members) {
            people.push(Person::Service(Service::new(home)));
            let wishes = (0..1 + dice.below(4)).map(|_| Wish {
                definition: DEFINITIONS[dice.below(WISHED) as usize].parse().expect("it is a name"),
                home: home as u8 + 1,
                at: 1 + dice.below(u64::from(members)) as u8,
                members,
                yes: dice.below(2) == 0,
                can: dice.below(4) > 0,
            });
            let wishes: Vec<_> = wishes.collect();
            for wish in wishes {
                let id = TransactionId::new(Moment(1_000_000), dice.bytes());
                people.push(Person::Client(Client::new(home, id, wish, dice.below(8) == 0)));
            }
        }
        let nodes: Vec<_> = (1..=members).map(Node::new).collect();
        Self {
            seed,
            now: Moment(1_000_000),
            queue: BTreeMap::new(),
            scheduled: 0,
            syncing: vec![false; nodes.len()],
            checks: Checks::new(nodes.len()),
            nodes,
            connections: BTreeMap::new(),
            people,
            sessions: BTreeMap::new(),
            next_session: 1,
            definitions: DEFINITIONS.map(definition).to_vec(),
            faulty: false,
            trace: VecDeque::new(),
            hash: seed,
            dice,
        }
    }

    /// The whole story: meet, work while things go wrong, heal, come to rest.
    pub fn run(&mut self) {
        for node in 0..self.nodes.len() {
            self.schedule(0, Event::Start { node });
            for other in 0..node {
                self.schedule(10, Event::Connect { one: other, other: node });
            }
        }
        for person in 0..self.people.len() {
            if matches!(self.people[person], Person::Service(_)) {
                self.schedule(20, Event::Attach { person });
            }
        }
        self.until(self.now.plus_ms(5_000), |world| world.everybody_knows_everybody());
        assert!(self.everybody_knows_everybody(), "the directories did not become one");

        self.faulty = true;
        for person in 0..self.people.len() {
            if matches!(self.people[person], Person::Client(_)) {
                let delay = self.dice.below(FAULTS_MS / 2);
                self.schedule(delay, Event::Attach { person });
            }
        }
        self.schedule(100, Event::Mishap);
        self.until(self.now.plus_ms(FAULTS_MS), |_| false);

        self.faulty = false;
        self.heal();
        self.until(self.now.plus_ms(REST_MS), Self::is_at_rest);
        self.check_rest();
    }

    fn until(&mut self, end: Moment, done: impl Fn(&Self) -> bool) {
        while !done(self) && self.step(end) {}
        if !done(self) {
            self.now = self.now.max(end);
        }
    }

    /// The next thing that happens before `end`.
    fn step(&mut self, end: Moment) -> bool {
        let next = self.queue.first_key_value().map(|((at, _), _)| *at);
        let wakes = self.nodes.iter().enumerate().filter(|(_, node)| node.is_up);
        let wake = wakes.filter_map(|(number, node)| Some((node.wakes_at()?, number))).min();
        let Some(at) = next.into_iter().chain(wake.map(|(at, _)| at)).min().filter(|at| *at <= end) else {
            return false;
        };
        self.now = self.now.max(at);
        match wake.filter(|(wake, _)| next.is_none_or(|next| *wake < next)) {
            Some((_, node)) => {
                self.note(|| format!("node {node} wakes"));
                let refused = self.nodes[node].wake(self.now, &mut self.dice);
                self.after(node, refused);
            }
            None => {
                let (_, event) = self.queue.pop_first().expect("it was there");
                self.happen(event);
            }
        }
        true
    }

    fn schedule(&mut self, delay_ms: u64, event: Event) {
        self.scheduled += 1;
        self.queue.insert((self.now.plus_ms(delay_ms), self.scheduled), event);
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        let line = format!("{} {}", self.now.0, line());
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
        if self.trace.len() == TRACE_LINES {
            self.trace.pop_front();
        }
        self.trace.push_back(line);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive { connection, from, to, said } => {
                if self.connections.contains_key(&connection) {
                    self.arrive(from, to, &said);
                }
            }
            Event::Sync { node } => self.sync(node),
            Event::Connect { one, other } => self.connect(one, other),
            Event::Disconnect { connection } => self.disconnect(connection),
            Event::Start { node } => {
                self.note(|| format!("node {node} starts"));
                self.nodes[node].start(self.now, &mut self.dice, &self.definitions);
                self.after(node, Refused::new());
            }
            Event::Hear { person, session, said } => {
                if self.sessions.get(&session) == Some(&person) {
                    self.hear(person, session, said);
                }
            }
            Event::Say { person, session, message, said } => {
                let node = self.home(person);
                if self.sessions.contains_key(&session) && self.nodes[node].is_up {
                    self.note(|| format!("person {person} says {message} to node {node}: {}", word(&said)));
                    if let FromSession::Register { service, .. } = &said {
                        let registered = self.nodes[node].sessions.entry(session).or_default();
                        registered.insert(service.name.clone());
                    }
                    let fresh = TransactionId::new(self.now, self.dice.bytes());
                    let input = from_session(Asker { session, message }, said, fresh);
                    self.give(node, input);
                }
            }
            Event::Attach { person } => self.attach(person),
            Event::Act { person } => {
                let said = match &mut self.people[person] {
                    Person::Client(client) => client.act(),
                    Person::Service(_) => Vec::new(),
                };
                self.say(person, said);
            }
            Event::Mishap => self.mishap(),
        }
    }

    fn give(&mut self, node: usize, input: Input) {
        let refused = self.nodes[node].take(self.now, &mut self.dice, input);
        self.after(node, refused);
    }

    /// Behind every input: the disk has something to write; a link that refuses loses its connection.
    fn after(&mut self, node: usize, refused: Refused) {
        for (peer, fault) in refused {
            self.note(|| format!("node {node} refuses: {fault}"));
            let peer = self.number(peer);
            let broken = self.connection(node, peer);
            broken.into_iter().for_each(|connection| self.disconnect(connection));
        }
        if !self.syncing[node] && (self.nodes[node].undurable() > 0 || self.nodes[node].has_outward()) {
            self.syncing[node] = true;
            let delay = if self.faulty && self.dice.below(10) == 0 { self.dice.below(500) } else { self.dice.below(5) };
            self.schedule(delay, Event::Sync { node });
        }
    }

    fn sync(&mut self, node: usize) {
        self.syncing[node] = false;
        if !self.nodes[node].is_up {
            return;
        }
        // A batch is what has come so far, or a part of it.
        let undurable = self.nodes[node].undurable() as u64;
        let batch = if self.faulty { undurable - self.dice.below(undurable.min(3) + 1) } else { undurable };
        let released = self.nodes[node].sync(batch as usize);
        self.checks.durable(node, &self.nodes[node].journal);
        for outward in released {
            self.checks.released(node, &outward);
            self.release(node, outward);
        }
        self.after(node, Refused::new());
    }

    fn release(&mut self, node: usize, outward: Outward) {
        match outward {
            Outward::Session(session, said) => {
                if let Some(person) = self.sessions.get(&session).copied() {
                    let delay = self.dice.below(5);
                    self.schedule(delay, Event::Hear { person, session, said });
                }
            }
            Outward::Peer(peer, said) => {
                let peer = self.number(peer);
                self.send(node, peer, Rc::new(said));
            }
            Outward::Announce { signed, except } => {
                let said = Rc::new(ToPeer::Records(vec![signed]));
                for peer in (0..self.nodes.len()).filter(|peer| *peer != node) {
                    if Some(self.nodes[peer].id) != except {
                        self.send(node, peer, Rc::clone(&said));
                    }
                }
            }
            Outward::Learn(_) => {}
            Outward::Sign(record) => {
                let signed = self.nodes[node].sign(&record);
                self.give(node, Input::Directory(directory::Input::Signed(signed)));
            }
        }
    }

    // The network.

    fn number(&self, id: OrganizationId) -> usize {
        (0..self.nodes.len()).find(|number| self.nodes[*number].id == id).expect("a member")
    }

    fn connection(&self, one: usize, other: usize) -> Option<u64> {
        let pair = (one.min(other), one.max(other));
        self.connections.iter().find(|(_, it)| (it.one, it.other) == pair).map(|(connection, _)| *connection)
    }

    fn connect(&mut self, one: usize, other: usize) {
        if self.connection(one, other).is_some() || !self.nodes[one].is_up || !self.nodes[other].is_up {
            return;
        }
        self.note(|| format!("nodes {one} and {other} connect"));
        self.scheduled += 1;
        self.connections.insert(self.scheduled, Connection { one, other, last: [self.now; 2] });
        for (node, peer) in [(one, other), (other, one)] {
            let peer = self.nodes[peer].id;
            self.give(node, Input::Link(peer, link::Input::Opened));
            self.give(node, Input::Directory(directory::Input::Connected { peer }));
        }
    }

    fn disconnect(&mut self, connection: u64) {
        let Some(Connection { one, other, .. }) = self.connections.remove(&connection) else { return };
        self.note(|| format!("nodes {one} and {other} are disconnected"));
        for (node, peer) in [(one, other), (other, one)] {
            if self.nodes[node].is_up {
                let peer = self.nodes[peer].id;
                self.give(node, Input::Link(peer, link::Input::Disconnected));
            }
        }
        let delay = 1 + self.dice.below(if self.faulty { 1_000 } else { 50 });
        self.schedule(delay, Event::Connect { one, other });
    }

    fn send(&mut self, from: usize, to: usize, said: Rc<ToPeer>) {
        let Some(connection) = self.connection(from, to) else { return };
        let mishap = if self.faulty { self.dice.below(100) } else { 99 };
        if mishap < 2 {
            // A stream that loses something is broken, which shows after a while.
            self.note(|| format!("node {from} to {to}: lost"));
            let delay = self.dice.below(500);
            self.schedule(delay, Event::Disconnect { connection });
            return;
        }
        let delay = 1 + self.dice.below(if mishap < 10 { 300 } else { 10 });
        let mut at = self.now.plus_ms(delay);
        if mishap >= 5 {
            let stream = self.connections.get_mut(&connection).expect("it is up");
            let last = &mut stream.last[usize::from(from > to)];
            *last = at.max(*last);
            at = *last;
        }
        let arrive = |said| Event::Arrive { connection, from, to, said };
        self.schedule(at.since_ms(self.now), arrive(Rc::clone(&said)));
        if (5..9).contains(&mishap) {
            let delay = self.dice.below(200);
            self.schedule(at.since_ms(self.now) + delay, arrive(said));
        }
    }

    fn arrive(&mut self, from: usize, to: usize, said: &ToPeer) {
        let peer = self.nodes[from].id;
        match said {
            ToPeer::Position { accepted_through } => {
                self.note(|| format!("node {to} hears from {from}: position {accepted_through}"));
                let connected = link::Input::Connected { accepted_through: *accepted_through };
                self.give(to, Input::Link(peer, connected));
            }
            ToPeer::Frames(frames) => {
                for frame in frames {
                    self.note(|| format!("node {to} hears from {from}: frame {}", frame.sequence));
                    self.checks.sent(from, to, frame);
                    self.give(to, Input::Link(peer, link::Input::Arrived(frame.clone())));
                }
            }
            ToPeer::Confirm { accepted_through } => {
                let confirmed = link::Input::Confirmed { accepted_through: *accepted_through };
                self.give(to, Input::Link(peer, confirmed));
            }
            ToPeer::Digest(versions) => {
                let digest = directory::Input::Digest { from: peer, versions: versions.clone() };
                self.give(to, Input::Directory(digest));
            }
            ToPeer::Records(records) => {
                for signed in records {
                    let arrived = directory::Input::Arrived { from: peer, signed: signed.clone() };
                    self.give(to, Input::Directory(arrived));
                }
            }
        }
    }

    // People.

    fn home(&self, person: usize) -> usize {
        match &self.people[person] {
            Person::Client(client) => client.home,
            Person::Service(service) => service.home,
        }
    }

    /// A person connects, if it wants to and can.
    fn attach(&mut self, person: usize) {
        let node = self.home(person);
        if self.sessions.values().any(|attached| *attached == person) {
            return;
        }
        if !self.nodes[node].is_up {
            self.schedule(100, Event::Attach { person });
            return;
        }
        let session = SessionId(self.next_session);
        self.next_session += 1;
        self.sessions.insert(session, person);
        self.nodes[node].sessions.insert(session, BTreeSet::new());
        let said = match &mut self.people[person] {
            Person::Client(client) => client.attached(),
            Person::Service(service) => service.attached(&mut self.dice),
        };
        self.say(person, said);
    }

    fn detach(&mut self, person: usize) {
        let Some(session) = self.sessions.iter().find(|(_, it)| **it == person).map(|(session, _)| *session) else {
            return;
        };
        self.sessions.remove(&session);
        let node = self.home(person);
        if self.nodes[node].is_up {
            self.nodes[node].close(self.now, &mut self.dice, session);
            self.after(node, Refused::new());
        }
        let delay = 1 + self.dice.below(if self.faulty { 2_000 } else { 50 });
        self.schedule(delay, Event::Attach { person });
    }

    fn say(&mut self, person: usize, said: Vec<Spoken>) {
        let session = self.sessions.iter().find(|(_, it)| **it == person).map(|(session, _)| *session);
        for spoken in said {
            match (spoken, session) {
                (Spoken::Say { message, delay_ms, said }, Some(session)) => {
                    self.schedule(delay_ms, Event::Say { person, session, message, said });
                }
                (Spoken::Act { delay_ms }, _) => self.schedule(delay_ms, Event::Act { person }),
                (Spoken::Say { .. }, None) => {}
                (Spoken::Crash, _) => self.detach(person),
            }
        }
    }

    fn hear(&mut self, person: usize, session: SessionId, said: ToSession) {
        self.note(|| format!("person {person} in session {} hears {}", session.0, heard(&said)));
        let faulty = self.faulty;
        let said = match &mut self.people[person] {
            Person::Client(client) => client.hear(said),
            Person::Service(service) => service.hear(said, &mut self.dice, faulty, &mut self.checks),
        };
        self.say(person, said);
    }

    // What goes wrong.

    fn mishap(&mut self) {
        if !self.faulty {
            return;
        }
        let delay = 50 + self.dice.below(600);
        self.schedule(delay, Event::Mishap);
        let node = self.dice.below(self.nodes.len() as u64) as usize;
        match self.dice.below(4) {
            0 => self.crash(node),
            1 => {
                let connections: Vec<_> = self.connections.keys().copied().collect();
                if let Some(connection) = connections.get(self.dice.below(connections.len() as u64) as usize) {
                    self.disconnect(*connection);
                }
            }
            2 => {
                let person = self.dice.below(self.people.len() as u64) as usize;
                if self.sessions.values().any(|attached| *attached == person) {
                    self.note(|| format!("person {person} is gone"));
                    self.detach(person);
                }
            }
            _ => {}
        }
    }

    fn crash(&mut self, node: usize) {
        if !self.nodes[node].is_up {
            return;
        }
        let undurable = self.nodes[node].undurable() as u64;
        let kept = self.dice.below(undurable + 1);
        self.note(|| format!("node {node} crashes, and keeps {kept} of {undurable} entries"));
        self.nodes[node].crash(kept as usize);
        self.checks.durable(node, &self.nodes[node].journal);
        let gone: Vec<_> =
            self.sessions.iter().filter(|(_, it)| self.home(**it) == node).map(|(id, it)| (*id, *it)).collect();
        for (session, person) in gone {
            self.sessions.remove(&session);
            let delay = 1 + self.dice.below(2_000);
            self.schedule(delay, Event::Attach { person });
        }
        let broken = self.connections.iter().filter(|(_, it)| it.one == node || it.other == node);
        let broken: Vec<_> = broken.map(|(connection, _)| *connection).collect();
        broken.into_iter().for_each(|connection| self.disconnect(connection));
        let delay = 1 + self.dice.below(2_000);
        self.schedule(delay, Event::Start { node });
    }

    /// Everything that was broken is mended; services that forgot what they were asked come anew.
    fn heal(&mut self) {
        self.note(|| "all is healed".to_owned());
        for node in (0..self.nodes.len()).filter(|node| !self.nodes[*node].is_up).collect::<Vec<_>>() {
            self.happen(Event::Start { node });
        }
        self.queue.retain(|_, event| !matches!(event, Event::Start { .. }));
        // What was lost without a trace shows now at the latest.
        for connection in self.connections.keys().copied().collect::<Vec<_>>() {
            self.disconnect(connection);
        }
        for other in 0..self.nodes.len() {
            for one in 0..other {
                self.schedule(10, Event::Connect { one, other });
            }
        }
        for person in 0..self.people.len() {
            if matches!(self.people[person], Person::Service(_)) {
                self.detach(person);
            }
        }
    }

    // What must be.

    fn everybody_knows_everybody(&self) -> bool {
        self.nodes.iter().all(|node| {
            let offers = node.surroundings().offers();
            node.undurable() == 0
                && offers.local().count() == 1
                && offers.peers().filter(|peer| peer.services.len() == 1).count() == self.nodes.len() - 1
        })
    }

    fn is_at_rest(&self) -> bool {
        let clients_done = self.people.iter().all(|person| match person {
            Person::Client(client) => client.response.is_some(),
            Person::Service(_) => true,
        });
        clients_done
            && self
                .nodes
                .iter()
                .all(|node| node.is_up && node.undurable() == 0 && !node.has_outward() && node.left_over().is_empty())
    }

    /// Everything acknowledged has ended as the model says, everybody who asked was answered, and nothing is left over.
    fn check_rest(&self) {
        for node in &self.nodes {
            let left = node.left_over();
            assert!(left.is_empty(), "{} has left over: {left:?}", node.id.short());
        }
        for person in &self.people {
            let Person::Client(client) = person else { continue };
            let response = client.response.as_ref().expect("a client was never answered");
            let ending = &response.ending;
            assert!(client.wish.allows(ending, client.cancels), "{:?} cannot end as {ending:?}", client.wish);
            let instance = self.nodes[client.home].transaction(client.id).expect("what was answered is there");
            assert_eq!(instance.ending(), Some(ending));
            assert_eq!(organization(client.wish.home), self.nodes[client.home].id);
        }
    }
}

fn word(said: &FromSession) -> &'static str {
    match said {
        FromSession::Register { .. } => "register",
        FromSession::Submit { .. } => "submit",
        FromSession::Await { .. } => "await",
        FromSession::Query { .. } => "query",
        FromSession::Cancel { .. } => "cancel",
        FromSession::Signal { .. } => "signal",
        FromSession::Publish { .. } => "publish",
        FromSession::Subscribe { .. } => "subscribe",
        FromSession::Unsubscribe { .. } => "unsubscribe",
        FromSession::Taken { .. } => "taken",
        FromSession::Answer { .. } => "answer",
    }
}

fn heard(said: &ToSession) -> String {
    match said {
        ToSession::Acknowledged { message, .. } => format!("that {message} was taken"),
        ToSession::Refused { message, fault } => format!("that {message} was refused: {fault}"),
        ToSession::Perform { invocation, .. } => format!("to perform {}", invocation.target.operation),
        ToSession::Notify { subscriber, notification, .. } => format!("{subscriber} of {}", notification.number),
        ToSession::Withdraw { .. } => "to stop".to_owned(),
        ToSession::Status { .. } => "a status".to_owned(),
        ToSession::Respond { response, .. } => format!("the end: {}", response.ending.word()),
    }
}
