//! All machines of a node together, fed one input at a time: what a shell of actors does with threads, without them. It
//! joins the machines by the shipped [`crate::dispatch`] and decides nothing itself. The simulation and the SDK's in-memory
//! node stand on it; it knows no journal, no network and no clock, but hands all that happens to a [`Scribe`].

use crate::{
    access::Access,
    address::{KeyBytes, Kind},
    code::Fault,
    dice::Dice,
    directory::Directory,
    dispatch::{Delivery, Housed, Input, Outward, Surroundings},
    ident::{OrganizationId, TopicAddress, TransactionId},
    link::Link,
    machine::{Machine, feed},
    mailbox::Mailbox,
    membership::Membership,
    moment::Moment,
    session::ToSession,
    topic::Topic,
    transaction::{Catalogue, Instance, Loader},
};
use serde_bytes::ByteBuf;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Who writes down what happens, and sends what leaves.
pub trait Scribe {
    /// A record that outlives the process; the machine has absorbed it.
    fn append<M: Housed>(&mut self, key: &M::Key, record: &M::Record);
    /// Something that may leave the node when everything that was appended before is durable.
    fn release(&mut self, outward: Outward);
}

/// Inputs that a link refused: there is nobody to tell but the peer's connection.
pub type Refused = Vec<(OrganizationId, Fault)>;

/// The machines of one node.
#[derive(Debug, Default)]
pub struct Ensemble {
    machines: Machines,
    surroundings: Surroundings,
    /// Inputs from machine to machine; those for one machine keep their order, and nothing else is promised.
    inward: BTreeMap<(Kind, Vec<u8>), VecDeque<Input>>,
}

#[derive(Debug, Default)]
struct Machines {
    transactions: Room<Instance>,
    mailboxes: Room<Mailbox>,
    links: Room<Link>,
    directory: Room<Directory>,
    catalogue: Room<Catalogue>,
    membership: Room<Membership>,
    topics: Room<Topic>,
    access: Room<Access>,
}

/// Kind, key and machine.
type Page = (u8, ByteBuf, ByteBuf);

/// The machines of one kind, and when each wants to be told the time.
#[derive(Debug)]
struct Room<M: Housed> {
    machines: BTreeMap<M::Key, M>,
    wakes: BTreeSet<(Moment, M::Key)>,
}

impl<M: Housed> Default for Room<M> {
    fn default() -> Self {
        Self { machines: BTreeMap::new(), wakes: BTreeSet::new() }
    }
}

impl Ensemble {
    /// The machines of a node that has this to run libraries of functions with.
    #[must_use]
    pub fn new(loader: Loader) -> Self {
        Self { surroundings: Surroundings::new(loader), ..Self::default() }
    }

    /// Take in a record of an earlier life, as [`Scribe::append`] was given it, in CBOR.
    ///
    /// # Panics
    /// Key or record are none that this node wrote.
    pub fn absorb(&mut self, kind: Kind, key: &[u8], record: &[u8]) {
        let machines = &mut self.machines;
        match kind {
            Kind::Transaction => machines.transactions.absorb(key, record),
            Kind::Link => machines.links.absorb(key, record),
            Kind::Directory => machines.directory.absorb(key, record),
            Kind::Catalogue => machines.catalogue.absorb(key, record),
            Kind::Membership => machines.membership.absorb(key, record),
            Kind::Topic => machines.topics.absorb(key, record),
            Kind::Access => machines.access.absorb(key, record),
            Kind::Mailbox => machines.mailboxes.absorb(key, record),
        }
    }

    /// The machines as a process finds them that was started anew: what is stored of each, and nothing that lived with the
    /// process. Then [`Ensemble::redraw`] and [`Ensemble::resume`] are to be called.
    #[must_use]
    pub fn restarted(&self) -> Self {
        let Machines { transactions, mailboxes: _, links, directory, catalogue, membership, topics, access } =
            &self.machines;
        let machines = Machines {
            transactions: transactions.stored(),
            mailboxes: Room::default(),
            links: links.stored(),
            directory: directory.stored(),
            catalogue: catalogue.stored(),
            membership: membership.stored(),
            topics: topics.stored(),
            access: access.stored(),
        };
        let surroundings = Surroundings::new(self.surroundings.loader().clone());
        Self { machines, surroundings, inward: BTreeMap::new() }
    }

    /// What is stored of every machine, in CBOR: kind, key and machine of each.
    #[must_use]
    pub fn stored(&self) -> Vec<u8> {
        let Machines { transactions, mailboxes: _, links, directory, catalogue, membership, topics, access } =
            &self.machines;
        let mut pages: Vec<Page> = Vec::new();
        transactions.store(&mut pages);
        links.store(&mut pages);
        directory.store(&mut pages);
        catalogue.store(&mut pages);
        membership.store(&mut pages);
        topics.store(&mut pages);
        access.store(&mut pages);
        let mut stored = Vec::new();
        ciborium::into_writer(&pages, &mut stored).expect("encoding into memory cannot fail");
        stored
    }

    /// Have the machines that [`Ensemble::stored`] gave, as a process finds them that was started anew.
    ///
    /// # Panics
    /// It did not give that.
    pub fn restore(&mut self, stored: &[u8]) {
        let pages: Vec<Page> = ciborium::from_reader(stored).expect("what was stored can be read");
        let machines = &mut self.machines;
        for (kind, key, machine) in &pages {
            match Kind::numbered(*kind).expect("a kind") {
                Kind::Transaction => machines.transactions.restore(key, machine),
                Kind::Link => machines.links.restore(key, machine),
                Kind::Directory => machines.directory.restore(key, machine),
                Kind::Catalogue => machines.catalogue.restore(key, machine),
                Kind::Membership => machines.membership.restore(key, machine),
                Kind::Topic => machines.topics.restore(key, machine),
                Kind::Access => machines.access.restore(key, machine),
                Kind::Mailbox => machines.mailboxes.restore(key, machine),
            }
        }
    }

    /// After a start: have the surroundings drawn, at which everything else looks.
    pub fn redraw(&mut self, now: Moment, dice: &mut Dice, scribe: &mut impl Scribe) {
        self.take(now, dice, Input::Catalogue(Catalogue::resumed()), scribe);
        self.take(now, dice, Input::Directory(Directory::resumed()), scribe);
        self.take(now, dice, Input::Access(Access::resumed()), scribe);
    }

    /// After a start: have everything caused once more that may have been lost, in any order.
    pub fn resume(&mut self, now: Moment, dice: &mut Dice, scribe: &mut impl Scribe) {
        let mut open: Vec<_> = self.machines.links.open().map(|key| Input::Link(*key, Link::resumed())).collect();
        open.extend(self.machines.transactions.open().map(|key| Input::Transaction(*key, Instance::resumed())));
        open.extend(self.machines.topics.open().map(|key| Input::Topic(key.clone(), Topic::resumed())));
        while !open.is_empty() {
            let next = dice.below(open.len() as u64) as usize;
            self.take(now, dice, open.swap_remove(next), scribe);
        }
    }

    /// When a machine next wants to be told the time.
    #[must_use]
    pub fn wakes_at(&self) -> Option<Moment> {
        let Machines { transactions, mailboxes, links, directory, catalogue, membership, topics, access } =
            &self.machines;
        [
            transactions.wakes_at(),
            mailboxes.wakes_at(),
            links.wakes_at(),
            directory.wakes_at(),
            catalogue.wakes_at(),
            membership.wakes_at(),
            topics.wakes_at(),
            access.wakes_at(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Tell every machine whose time has come.
    pub fn wake(&mut self, now: Moment, dice: &mut Dice, scribe: &mut impl Scribe) -> Refused {
        let Machines { transactions, mailboxes, links, directory, catalogue, membership, topics, access } =
            &self.machines;
        let mut due: Vec<Input> = Vec::new();
        due.extend(transactions.due(now).map(|key| Input::Transaction(key, Instance::due())));
        due.extend(mailboxes.due(now).map(|key| Input::Mailbox(key, Mailbox::due())));
        due.extend(links.due(now).map(|key| Input::Link(key, Link::due())));
        due.extend(directory.due(now).map(|()| Input::Directory(Directory::due())));
        due.extend(catalogue.due(now).map(|()| Input::Catalogue(Catalogue::due())));
        due.extend(membership.due(now).map(|()| Input::Membership(Membership::due())));
        due.extend(topics.due(now).map(|key| Input::Topic(key, Topic::due())));
        due.extend(access.due(now).map(|()| Input::Access(Access::due())));
        due.into_iter().flat_map(|input| self.take(now, dice, input, scribe)).collect()
    }

    /// Take an input in, and all that machines tell each other because of it, in any order that actors could have.
    pub fn take(&mut self, now: Moment, dice: &mut Dice, input: Input, scribe: &mut impl Scribe) -> Refused {
        self.put(input);
        let mut refused = Refused::new();
        while !self.inward.is_empty() {
            let next = dice.below(self.inward.len() as u64) as usize;
            let address = self.inward.keys().nth(next).cloned().expect("it is one of them");
            let queue = self.inward.get_mut(&address).expect("it is one of them");
            let input = queue.pop_front().expect("empty queues are removed");
            if queue.is_empty() {
                self.inward.remove(&address);
            }
            refused.extend(self.step(now, dice, input, scribe));
        }
        refused
    }

    fn put(&mut self, input: Input) {
        let address = match &input {
            Input::Transaction(key, _) => (Kind::Transaction, key.to_bytes()),
            Input::Mailbox(key, _) => (Kind::Mailbox, key.to_bytes()),
            Input::Link(key, _) => (Kind::Link, key.to_bytes()),
            Input::Directory(_) => (Kind::Directory, Vec::new()),
            Input::Catalogue(_) => (Kind::Catalogue, Vec::new()),
            Input::Membership(_) => (Kind::Membership, Vec::new()),
            Input::Topic(key, _) => (Kind::Topic, key.to_bytes()),
            Input::Access(_) => (Kind::Access, Vec::new()),
        };
        self.inward.entry(address).or_default().push_back(input);
    }

    fn step(
        &mut self,
        now: Moment,
        dice: &mut Dice,
        input: Input,
        scribe: &mut impl Scribe,
    ) -> Option<(OrganizationId, Fault)> {
        let mut turn = Turn { surroundings: &self.surroundings, now, dice, scribe, deliveries: vec![] };
        let machines = &mut self.machines;
        let (peer, fed) = match input {
            Input::Transaction(key, input) => (None, turn.feed(&mut machines.transactions, &key, input)),
            Input::Mailbox(key, input) => (None, turn.feed(&mut machines.mailboxes, &key, input)),
            Input::Link(key, input) => (Some(key), turn.feed(&mut machines.links, &key, input)),
            Input::Directory(input) => (None, turn.feed(&mut machines.directory, &(), input)),
            Input::Catalogue(input) => (None, turn.feed(&mut machines.catalogue, &(), input)),
            Input::Membership(input) => (None, turn.feed(&mut machines.membership, &(), input)),
            Input::Topic(key, input) => (None, turn.feed(&mut machines.topics, &key, input)),
            Input::Access(input) => (None, turn.feed(&mut machines.access, &(), input)),
        };
        for delivery in turn.deliveries {
            match delivery {
                Delivery::Inward(input) => self.put(input),
                Delivery::Outward(_) => unreachable!("the turn has released it"),
                Delivery::Redraw(change) => self.surroundings = self.surroundings.changed(change),
            }
        }
        Some((peer?, fed.err()?))
    }

    /// What machines look at while they decide.
    #[must_use]
    pub fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }

    /// A transaction.
    #[must_use]
    pub fn transaction(&self, id: TransactionId) -> Option<&Instance> {
        self.machines.transactions.machines.get(&id)
    }

    /// A topic that has subscribers.
    #[must_use]
    pub fn topic(&self, address: &TopicAddress) -> Option<&Topic> {
        self.machines.topics.machines.get(address)
    }

    /// The machines that are stored in another state here than there: none, where both took in the same records.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<(Kind, Vec<u8>)> {
        let Machines { transactions, mailboxes: _, links, directory, catalogue, membership, topics, access } =
            &self.machines;
        let there = &other.machines;
        let mut differences = Vec::new();
        transactions.compare(&there.transactions, &mut differences);
        links.compare(&there.links, &mut differences);
        directory.compare(&there.directory, &mut differences);
        catalogue.compare(&there.catalogue, &mut differences);
        membership.compare(&there.membership, &mut differences);
        topics.compare(&there.topics, &mut differences);
        access.compare(&there.access, &mut differences);
        differences
    }

    /// Everything that is still open, each in words: nothing, when everybody has been answered.
    #[must_use]
    pub fn left_over(&self) -> Vec<String> {
        let mut left = Vec::new();
        for (id, link) in &self.machines.links.machines {
            let counts = [("outbox", link.outbox()), ("asked", link.asked()), ("performing", link.performing())];
            left.extend(counts.iter().filter(|it| it.1 > 0).map(|it| format!("{} {} of {}", it.1, it.0, id.short())));
        }
        for (name, mailbox) in &self.machines.mailboxes.machines {
            let counts = [("queued", mailbox.queued()), ("in flight", mailbox.in_flight())];
            left.extend(counts.iter().filter(|it| it.1 > 0).map(|it| format!("{} {} of {name}", it.1, it.0)));
        }
        left.extend(self.machines.transactions.open().map(|id| format!("transaction {id} is open")));
        left
    }
}

/// One machine at work.
struct Turn<'a, S> {
    surroundings: &'a Surroundings,
    now: Moment,
    dice: &'a mut Dice,
    scribe: &'a mut S,
    deliveries: Vec<Delivery>,
}

impl<S: Scribe> Turn<'_, S> {
    /// Decide, absorb, append, release: the law of whoever feeds machines.
    fn feed<M: Housed>(&mut self, room: &mut Room<M>, key: &M::Key, input: M::Input) -> Result<(), Fault> {
        let asker = M::asker(&input);
        let machine = room.machines.entry(key.clone()).or_insert_with(|| M::new(key));
        let woken = machine.wakes_at();
        let (scribe, deliveries) = (&mut *self.scribe, &mut self.deliveries);
        let fed = feed(machine, M::around(self.surroundings), self.now, self.dice, input, |records, effects| {
            for record in records.iter().filter(|record| M::is_journaled(record)) {
                scribe.append::<M>(key, record);
            }
            for effect in effects {
                match M::dispatch(key, effect) {
                    Delivery::Outward(outward) => scribe.release(outward),
                    other => deliveries.push(other),
                }
            }
        });
        room.tend(key, woken);
        if let (Err(fault), Some(asker)) = (&fed, asker) {
            let refusal = ToSession::Refused { message: asker.message, fault: fault.clone() };
            scribe.release(Outward::Session(asker.session, refusal));
        }
        fed
    }
}

impl<M: Housed> Room<M> {
    /// A machine has changed that wanted to be woken at `woken`: let go of it if it is done with, else mark its time.
    fn tend(&mut self, key: &M::Key, woken: Option<Moment>) {
        let Some(machine) = self.machines.get(key) else { return };
        let wakes = machine.wakes_at();
        let done = !machine.is_open() && !machine.is_kept();
        if done {
            self.machines.remove(key);
        }
        if done || wakes != woken {
            self.wakes.remove(&(woken.unwrap_or(Moment(0)), key.clone()));
            self.wakes.extend(wakes.filter(|_| !done).map(|at| (at, key.clone())));
        }
    }

    fn absorb(&mut self, key: &[u8], record: &[u8]) {
        let key = M::Key::from_bytes(key).expect("a key that this node wrote");
        let record = ciborium::from_reader(record).expect("a record that this node wrote");
        let machine = self.machines.entry(key.clone()).or_insert_with(|| M::new(&key));
        let woken = machine.wakes_at();
        machine.absorb(&record);
        let wakes = machine.wakes_at();
        if wakes != woken {
            self.wakes.remove(&(woken.unwrap_or(Moment(0)), key.clone()));
            self.wakes.extend(wakes.map(|at| (at, key)));
        }
    }

    /// Machines that are as new, and those that are done with, may be there or not, so they do not count.
    fn compare(&self, other: &Self, differences: &mut Vec<(Kind, Vec<u8>)>) {
        let bytes = |machine: &M| {
            let mut bytes = Vec::new();
            ciborium::into_writer(machine, &mut bytes).expect("encoding into memory cannot fail");
            bytes
        };
        let stored = |room: &Self, key: &M::Key| {
            let counts = |machine: &&M| machine.is_open() || machine.is_kept();
            room.machines.get(key).filter(counts).map(bytes).filter(|stored| *stored != bytes(&M::new(key)))
        };
        let keys: BTreeSet<_> = self.machines.keys().chain(other.machines.keys()).collect();
        let differ = keys.into_iter().filter(|key| stored(self, key) != stored(other, key));
        differences.extend(differ.map(|key| (M::KIND, key.to_bytes())));
    }

    fn store(&self, pages: &mut Vec<Page>) {
        for (key, machine) in self.machines.iter().filter(|(_, machine)| machine.is_open() || machine.is_kept()) {
            let mut bytes = Vec::new();
            ciborium::into_writer(machine, &mut bytes).expect("encoding into memory cannot fail");
            pages.push((M::KIND as u8, ByteBuf::from(key.to_bytes()), ByteBuf::from(bytes)));
        }
    }

    fn restore(&mut self, key: &[u8], machine: &[u8]) {
        let key = M::Key::from_bytes(key).expect("a key that this node wrote");
        let machine: M = ciborium::from_reader(machine).expect("what was stored can be read");
        self.wakes.extend(machine.wakes_at().map(|at| (at, key.clone())));
        self.machines.insert(key, machine);
    }

    fn stored(&self) -> Self {
        let again = |machine: &M| -> M {
            let mut bytes = Vec::new();
            ciborium::into_writer(machine, &mut bytes).expect("encoding into memory cannot fail");
            ciborium::from_reader(&bytes[..]).expect("what was stored can be read")
        };
        let machines: BTreeMap<_, _> =
            self.machines.iter().map(|(key, machine)| (key.clone(), again(machine))).collect();
        let wakes = machines.iter().filter_map(|(key, machine)| Some((machine.wakes_at()?, key.clone()))).collect();
        Self { machines, wakes }
    }

    fn open(&self) -> impl Iterator<Item = &M::Key> {
        self.machines.iter().filter(|(_, machine)| machine.is_open()).map(|(key, _)| key)
    }

    fn wakes_at(&self) -> Option<Moment> {
        self.wakes.first().map(|(at, _)| *at)
    }

    fn due(&self, now: Moment) -> impl Iterator<Item = M::Key> {
        self.wakes.iter().take_while(move |(at, _)| *at <= now).map(|(_, key)| key.clone())
    }
}
