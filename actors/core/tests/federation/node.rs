//! A whole node: the shipped machines, joined by the shipped `dispatch`, over a journal whose tail a crash loses. What a shell
//! of actors does with threads, this does one input at a time. It knows no network and no clock of its own.

use ed25519_dalek::SigningKey;
use hansa_core::{
    address::{KeyBytes, Kind},
    code::Fault,
    dice::Dice,
    directory::{self, Directory, Own, Subnode},
    dispatch::{Delivery, Housed, Input, Outward, Surroundings},
    document::Text,
    ident::{OrganizationId, ServiceName, SubnodeId, TransactionId},
    link::{self, Link},
    machine::{Machine, feed},
    mailbox::{self, Mailbox},
    membership::{Admission, Certificate, Charter, Credentials},
    moment::Moment,
    session::{Asker, SessionId, ToSession},
    signed::{Purpose, Signed},
    transaction::{self, Catalogue, Instance, catalogue},
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// One entry of the journal.
#[derive(Clone)]
pub struct Entry {
    pub kind: Kind,
    pub key: Vec<u8>,
    pub record: Vec<u8>,
}

/// What the disk has, and what would be lost.
#[derive(Default)]
pub struct Journal {
    pub entries: Vec<Entry>,
    /// How many entries are durable.
    pub durable: usize,
    /// What leaves the node, each behind so many entries.
    outward: VecDeque<(usize, Outward)>,
}

#[derive(Default)]
struct Machines {
    transactions: BTreeMap<TransactionId, Instance>,
    mailboxes: BTreeMap<ServiceName, Mailbox>,
    links: BTreeMap<OrganizationId, Link>,
    directory: BTreeMap<(), Directory>,
    catalogue: BTreeMap<(), Catalogue>,
}

pub struct Node {
    key: SigningKey,
    pub id: OrganizationId,
    own: Own,
    pub is_up: bool,
    pub journal: Journal,
    machines: Machines,
    pub surroundings: Surroundings,
    /// Inputs from machine to machine; those for one machine keep their order, and nothing else is promised.
    inward: BTreeMap<(Kind, Vec<u8>), VecDeque<Input>>,
    /// The sessions that are connected, with the services that each registered.
    pub sessions: BTreeMap<SessionId, BTreeSet<ServiceName>>,
}

/// A machine's input is refused, and there is nobody to tell.
pub type Refused = Vec<(OrganizationId, Fault)>;

fn signing_key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

pub fn organization(number: u8) -> OrganizationId {
    OrganizationId(signing_key(number).verifying_key().to_bytes())
}

/// Member 1 founded the federation and admitted all others.
fn credentials(number: u8) -> Credentials {
    let charter = Charter { name: "Federation".parse().unwrap(), founder: organization(1), founded: Moment(1) };
    let charter = Signed::new(&signing_key(1), Purpose::Charter, &charter);
    let mut credentials = Credentials { charter, admissions: Vec::new() };
    if number > 1 {
        let admission = Admission {
            federation: credentials.federation(),
            organization: organization(number),
            name: name(number).parse().unwrap(),
            admitted: Moment(2),
        };
        credentials.admissions.push(Signed::new(&signing_key(1), Purpose::Admission, &admission));
    }
    credentials
}

/// The name of organization `number`.
pub fn name(number: u8) -> String {
    format!("org{number}")
}

impl Node {
    pub fn new(number: u8) -> Self {
        let key = signing_key(number);
        let certificate = Certificate {
            subnode: SubnodeId([number; 32]),
            name: name(number).parse().unwrap(),
            city: "Hamburg".parse().unwrap(),
            issued: Moment(3),
        };
        let certificate = Signed::new(&key, Purpose::Certificate, &certificate);
        let own = Own {
            organization: organization(number),
            name: name(number).parse().unwrap(),
            credentials: credentials(number),
            subnodes: vec![Subnode { certificate, addresses: Vec::new() }],
        };
        Self {
            id: own.organization,
            own,
            key,
            is_up: false,
            journal: Journal::default(),
            machines: Machines::default(),
            surroundings: Surroundings::default(),
            inward: BTreeMap::new(),
            sessions: BTreeMap::new(),
        }
    }

    /// Start: replay what is durable, then cause again whatever may have been lost.
    pub fn start(&mut self, now: Moment, dice: &mut Dice, definitions: &[Text]) {
        self.is_up = true;
        self.machines = Machines::default();
        for Entry { kind, key, record } in &self.journal.entries {
            match kind {
                Kind::Transaction => absorb(&mut self.machines.transactions, key, record),
                Kind::Link => absorb(&mut self.machines.links, key, record),
                Kind::Directory => absorb(&mut self.machines.directory, key, record),
                Kind::Catalogue => absorb(&mut self.machines.catalogue, key, record),
                Kind::Mailbox | Kind::Membership => panic!("{kind:?} writes nothing here"),
            }
        }
        // The surroundings first: transactions look at them.
        self.take(now, dice, Input::Catalogue(catalogue::Input::Resumed));
        self.take(now, dice, Input::Directory(directory::Input::Resumed));
        let nobody = Asker { session: SessionId(0), message: 0 };
        for text in definitions {
            let define = catalogue::Input::Define { asker: nobody, text: text.clone() };
            self.take(now, dice, Input::Catalogue(define));
        }
        self.take(now, dice, Input::Directory(directory::Input::Introduce(self.own.clone())));
        let mut open: Vec<_> = self.machines.links.keys().map(|key| Input::Link(*key, link::Input::Resumed)).collect();
        let transactions = self.machines.transactions.iter().filter(|(_, instance)| instance.is_open());
        open.extend(transactions.map(|(key, _)| Input::Transaction(*key, transaction::Input::Resumed)));
        while !open.is_empty() {
            let next = dice.below(open.len() as u64) as usize;
            self.take(now, dice, open.swap_remove(next));
        }
    }

    /// Crash: everything volatile is gone, and of the tail of the journal all but `kept` entries.
    pub fn crash(&mut self, kept: usize) {
        self.is_up = false;
        self.journal.entries.truncate(self.journal.durable + kept);
        self.journal.durable = self.journal.entries.len();
        self.journal.outward.clear();
        self.machines = Machines::default();
        self.surroundings = Surroundings::default();
        self.inward.clear();
        self.sessions.clear();
    }

    /// How many entries a crash may lose.
    pub fn undurable(&self) -> usize {
        self.journal.entries.len() - self.journal.durable
    }

    pub fn has_outward(&self) -> bool {
        !self.journal.outward.is_empty()
    }

    /// The disk has written so many entries more: what stood behind them may leave.
    pub fn sync(&mut self, entries: usize) -> Vec<Outward> {
        self.journal.durable = (self.journal.durable + entries).min(self.journal.entries.len());
        let mut released = Vec::new();
        while self.journal.outward.front().is_some_and(|(behind, _)| *behind <= self.journal.durable) {
            released.extend(self.journal.outward.pop_front().map(|(_, outward)| outward));
        }
        released
    }

    /// Sign this node's own record.
    pub fn sign(&self, record: &directory::MemberRecord) -> Signed {
        Signed::new(&self.key, Purpose::Directory, record)
    }

    /// When a machine next wants to be told the time.
    pub fn wakes_at(&self) -> Option<Moment> {
        let transactions = self.machines.transactions.values().filter_map(Machine::wakes_at);
        transactions.chain(self.machines.links.values().filter_map(Machine::wakes_at)).min()
    }

    /// Tell every machine whose time has come.
    pub fn wake(&mut self, now: Moment, dice: &mut Dice) -> Refused {
        let is_due = |at: Option<Moment>| at.is_some_and(|at| at <= now);
        let transactions = self.machines.transactions.iter().filter(|(_, instance)| is_due(instance.wakes_at()));
        let mut due: Vec<_> = transactions.map(|(key, _)| Input::Transaction(*key, transaction::Input::Due)).collect();
        let links = self.machines.links.iter().filter(|(_, link)| is_due(link.wakes_at()));
        due.extend(links.map(|(key, _)| Input::Link(*key, link::Input::Due)));
        due.into_iter().flat_map(|input| self.take(now, dice, input)).collect()
    }

    /// A session is gone.
    pub fn close(&mut self, now: Moment, dice: &mut Dice, session: SessionId) {
        for service in self.sessions.remove(&session).into_iter().flatten() {
            self.take(now, dice, Input::Mailbox(service, mailbox::Input::Detach { session }));
        }
    }

    /// Take an input in, and all that machines tell each other because of it, in any order that actors could have.
    pub fn take(&mut self, now: Moment, dice: &mut Dice, input: Input) -> Refused {
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
            refused.extend(self.step(now, dice, input));
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
        };
        self.inward.entry(address).or_default().push_back(input);
    }

    fn step(&mut self, now: Moment, dice: &mut Dice, input: Input) -> Option<(OrganizationId, Fault)> {
        let mut turn =
            Turn { surroundings: &self.surroundings, now, dice, journal: &mut self.journal, deliveries: vec![] };
        let machines = &mut self.machines;
        let (peer, refused) = match input {
            Input::Transaction(key, input) => (None, turn.feed(&mut machines.transactions, &key, input)),
            Input::Mailbox(key, input) => (None, turn.feed(&mut machines.mailboxes, &key, input)),
            Input::Link(key, input) => (Some(key), turn.feed(&mut machines.links, &key, input)),
            Input::Directory(input) => (None, turn.feed(&mut machines.directory, &(), input)),
            Input::Catalogue(input) => (None, turn.feed(&mut machines.catalogue, &(), input)),
            Input::Membership(_) => (None, Ok(())),
        };
        for delivery in turn.deliveries {
            match delivery {
                Delivery::Inward(input) => self.put(input),
                Delivery::Outward(_) => unreachable!("the turn has queued it"),
                Delivery::Redraw(change) => self.surroundings = self.surroundings.changed(change),
            }
        }
        Some((peer?, refused.err()?))
    }

    // What the checks look at.

    pub fn transaction(&self, id: TransactionId) -> Option<&Instance> {
        self.machines.transactions.get(&id)
    }

    /// What is left over where nothing should be.
    pub fn left_over(&self) -> Vec<String> {
        let mut left = Vec::new();
        for (id, link) in &self.machines.links {
            let counts = [("outbox", link.outbox()), ("asked", link.asked()), ("performing", link.performing())];
            left.extend(counts.iter().filter(|it| it.1 > 0).map(|it| format!("{} {} of {}", it.1, it.0, id.short())));
        }
        for (name, mailbox) in &self.machines.mailboxes {
            let counts = [("queued", mailbox.queued()), ("in flight", mailbox.in_flight())];
            left.extend(counts.iter().filter(|it| it.1 > 0).map(|it| format!("{} {} of {name}", it.1, it.0)));
        }
        let open = self.machines.transactions.iter().filter(|(_, instance)| instance.is_open());
        left.extend(open.map(|(id, _)| format!("transaction {id} is open")));
        left
    }
}

/// One machine at work.
struct Turn<'a> {
    surroundings: &'a Surroundings,
    now: Moment,
    dice: &'a mut Dice,
    journal: &'a mut Journal,
    deliveries: Vec<Delivery>,
}

impl Turn<'_> {
    /// Decide, absorb, append, release: the law of whoever feeds machines.
    fn feed<M: Housed>(
        &mut self,
        machines: &mut BTreeMap<M::Key, M>,
        key: &M::Key,
        input: M::Input,
    ) -> Result<(), Fault> {
        let asker = M::asker(&input);
        let machine = machines.entry(key.clone()).or_insert_with(|| M::new(key));
        let (journal, deliveries) = (&mut *self.journal, &mut self.deliveries);
        let fed = feed(machine, M::around(self.surroundings), self.now, self.dice, input, |records, effects| {
            for record in records.iter().filter(|record| M::is_journaled(record)) {
                let mut bytes = Vec::new();
                ciborium::into_writer(record, &mut bytes).expect("encoding into memory cannot fail");
                journal.entries.push(Entry { kind: M::KIND, key: key.to_bytes(), record: bytes });
            }
            for effect in effects {
                match M::dispatch(key, effect) {
                    Delivery::Outward(outward) => journal.outward.push_back((journal.entries.len(), outward)),
                    other => deliveries.push(other),
                }
            }
        });
        if !machine.is_open() && !machine.is_kept() {
            machines.remove(key);
        }
        if let (Err(fault), Some(asker)) = (&fed, asker) {
            let refusal = ToSession::Refused { message: asker.message, fault: fault.clone() };
            journal.outward.push_back((journal.entries.len(), Outward::Session(asker.session, refusal)));
        }
        fed
    }
}

fn absorb<M: Housed>(machines: &mut BTreeMap<M::Key, M>, key: &[u8], record: &[u8]) {
    let key = M::Key::from_bytes(key).expect("a key that this node wrote");
    let record = ciborium::from_reader(record).expect("a record that this node wrote");
    machines.entry(key.clone()).or_insert_with(|| M::new(&key)).absorb(&record);
}
