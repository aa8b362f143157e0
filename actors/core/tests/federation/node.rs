//! A whole node: the shipped machines as an [`Ensemble`], over a journal whose tail a crash loses. What a shell of actors does
//! with threads, this does one input at a time. It knows no network and no clock of its own.

use ed25519_dalek::SigningKey;
use hansa_core::{
    address::{KeyBytes, Kind},
    dice::Dice,
    directory::{self, Own, Subnode},
    dispatch::{Housed, Input, Outward},
    document::Text,
    ensemble::{Ensemble, Scribe},
    ident::{OrganizationId, ServiceName, SubnodeId, TopicAddress},
    membership::{Admission, Certificate, Charter, Credentials},
    moment::Moment,
    session::{Asker, SessionId},
    signed::{Purpose, Signed},
    topic::Topic,
    transaction::catalogue,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use hansa_core::ensemble::Refused;

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

impl Scribe for Journal {
    fn append<M: Housed>(&mut self, key: &M::Key, record: &M::Record) {
        let mut bytes = Vec::new();
        ciborium::into_writer(record, &mut bytes).expect("encoding into memory cannot fail");
        self.entries.push(Entry { kind: M::KIND, key: key.to_bytes(), record: bytes });
    }

    fn release(&mut self, outward: Outward) {
        self.outward.push_back((self.entries.len(), outward));
    }
}

pub struct Node {
    key: SigningKey,
    pub id: OrganizationId,
    own: Own,
    pub is_up: bool,
    pub journal: Journal,
    ensemble: Ensemble,
    /// The sessions that are connected, with the services that each registered.
    pub sessions: BTreeMap<SessionId, BTreeSet<ServiceName>>,
}

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
            ensemble: Ensemble::default(),
            sessions: BTreeMap::new(),
        }
    }

    /// Start: replay what is durable, then cause again whatever may have been lost.
    pub fn start(&mut self, now: Moment, dice: &mut Dice, definitions: &[Text]) {
        self.is_up = true;
        self.ensemble = Ensemble::default();
        for Entry { kind, key, record } in &self.journal.entries {
            self.ensemble.absorb(*kind, key, record);
        }
        // The surroundings first: transactions look at them.
        self.ensemble.redraw(now, dice, &mut self.journal);
        let nobody = Asker { session: SessionId(0), message: 0 };
        for text in definitions {
            let define = catalogue::Input::Define { asker: nobody, text: text.clone() };
            self.take(now, dice, Input::Catalogue(define));
        }
        self.take(now, dice, Input::Directory(directory::Input::Introduce(self.own.clone())));
        self.ensemble.resume(now, dice, &mut self.journal);
    }

    /// Crash: everything volatile is gone, and of the tail of the journal all but `kept` entries.
    pub fn crash(&mut self, kept: usize) {
        self.is_up = false;
        self.journal.entries.truncate(self.journal.durable + kept);
        self.journal.durable = self.journal.entries.len();
        self.journal.outward.clear();
        self.ensemble = Ensemble::default();
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

    /// Tell every machine whose time has come.
    pub fn wake(&mut self, now: Moment, dice: &mut Dice) -> Refused {
        self.ensemble.wake(now, dice, &mut self.journal)
    }

    /// Take an input in, and all that machines tell each other because of it, in any order that actors could have.
    pub fn take(&mut self, now: Moment, dice: &mut Dice, input: Input) -> Refused {
        self.ensemble.take(now, dice, input, &mut self.journal)
    }

    // What the checks look at.

    pub fn topic(&self, address: &TopicAddress) -> Option<&Topic> {
        self.ensemble.topic(address)
    }

    /// What is left over where nothing should be.
    pub fn left_over(&self) -> Vec<String> {
        self.ensemble.left_over()
    }
}
