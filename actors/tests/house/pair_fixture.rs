//! Two sub-nodes and their witnesses without doors: duties, with real journals on disks that can fail. Words are carried in memory, and
//! lines can be cut.

use crate::faulty_disk::{FaultyDisk, Switch};

use ed25519_dalek::SigningKey;
use hansa_actors::{
    duties::{Carrier, Duties, Happening, Opened, Paired, Start, Word},
    house::{HouseOptions, World},
    journal::{Journal, JournalOptions},
    standby::Ground,
};
use hansa_core::{
    code::Fault,
    dispatch::{Outward, ToPeer},
    durability::Durability,
    ident::{OrganizationId, SubnodeId},
    mirror::{
        Entry,
        pair::{OnMirrorLost, State, Timing},
    },
    moment::Moment,
};
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::mpsc;

/// The words on their way: who is there, and which lines are cut.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Wires>>);

#[derive(Default)]
struct Wires {
    there: HashMap<SubnodeId, (OrganizationId, Arc<Duties>)>,
    cut: HashSet<SubnodeId>,
    /// What becomes of each word on its way.
    fate: Option<Box<dyn FnMut(Word) -> Option<Word> + Send>>,
    /// A lease that does not run out in a test.
    is_patient: bool,
}

impl Lines {
    /// Nobody is taken for lost because it says nothing.
    pub fn patient() -> Self {
        let lines = Self::default();
        lines.0.lock().unwrap().is_patient = true;
        lines
    }

    fn timing(&self) -> Timing {
        let is_patient = self.0.lock().unwrap().is_patient;
        if is_patient { Timing { lease_ms: 3_600_000, grace_ms: 4_000_000, ..Timing::LAN } } else { Timing::LAN }
    }

    /// From now on every word arrives as this makes it, if it gives any.
    pub fn befall(&self, fate: impl FnMut(Word) -> Option<Word> + Send + 'static) {
        self.0.lock().unwrap().fate = Some(Box::new(fate));
    }
}

struct Wire {
    lines: Lines,
    from: SubnodeId,
    organization: OrganizationId,
}

impl Carrier for Wire {
    fn tell(&self, to: SubnodeId, word: &Word) {
        let mut wires = self.lines.0.lock().unwrap();
        if wires.cut.contains(&self.from) || wires.cut.contains(&to) {
            return;
        }
        let word = Word::read(&word.bytes()).expect("it was written as one");
        let Some(word) = wires.fate.as_mut().map_or_else(|| Some(word.clone()), |fate| fate(word.clone())) else {
            return;
        };
        let duties = wires.there.get(&to).map(|(_, duties)| Arc::clone(duties));
        // What is said may be answered at once.
        drop(wires);
        if let Some(duties) = duties {
            duties.told(self.from, self.organization, word, ());
        }
    }
}

/// Counts what leaves, and keeps on how many sites that said to be.
#[derive(Default)]
pub struct Counting(pub AtomicU64, Mutex<Vec<Durability>>);

impl World for Counting {
    fn outward(&self, effect: Outward) {
        if let Outward::Peer(_, ToPeer::Confirm { durability, .. }) = effect {
            self.1.lock().unwrap().push(durability);
        }
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

pub struct Node {
    pub subnode: SubnodeId,
    pub lines: Lines,
    pub duties: Arc<Duties>,
    pub ground: Arc<Ground>,
    pub journal: Arc<Journal<Outward>>,
    pub happenings: mpsc::UnboundedReceiver<Happening>,
    pub released: Arc<Counting>,
    /// How the disk of the journal behaves.
    pub disk: Switch,
    /// Why it could not go on.
    pub fatal: Arc<Mutex<Vec<Fault>>>,
    pub folder: Arc<tempfile::TempDir>,
}

/// After how long a disk that takes nothing counts as lost.
pub const DISK_PATIENCE_MS: u64 = 1_500;

pub fn organization(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

pub fn transport(organization: u8, side: u8) -> SigningKey {
    SigningKey::from_bytes(&[100 + 2 * organization + side; 32])
}

pub fn id(key: &SigningKey) -> [u8; 32] {
    key.verifying_key().to_bytes()
}

impl Node {
    pub fn start(lines: &Lines, number: u8, side: u8, folder: Arc<tempfile::TempDir>, paired: Option<Paired>) -> Self {
        let key = transport(number, side);
        let subnode = SubnodeId(id(&key));
        let owner = OrganizationId(id(&organization(number)));
        let wire = Wire { lines: lines.clone(), from: subnode, organization: owner };
        Self::start_with(lines, number, side, folder, paired, Box::new(wire))
    }

    pub fn start_with(
        lines: &Lines,
        number: u8,
        side: u8,
        folder: Arc<tempfile::TempDir>,
        paired: Option<Paired>,
        carrier: Box<dyn Carrier>,
    ) -> Self {
        let (released, fatal) = (Arc::<Counting>::default(), Arc::<Mutex<Vec<Fault>>>::default());
        let on_fatal: Arc<dyn Fn(Fault) + Send + Sync> = {
            let fatal = Arc::clone(&fatal);
            Arc::new(move |fault| fatal.lock().unwrap().push(fault))
        };
        let opened = Opened::open(&folder.path().join("duty"), paired, &on_fatal).unwrap();
        let disk = Switch::default();
        let place = folder.path().join("journal");
        let options = JournalOptions {
            segment_bytes: 1 << 20,
            full_retry_delay_ms: 20,
            epoch: opened.epoch_alone(),
            ..JournalOptions::new(&place)
        };
        let (ground, _) = Ground::open_on(
            Arc::new(FaultyDisk::new(&place, disk.clone())),
            options,
            HouseOptions::new(folder.path()),
            Arc::clone(&released) as _,
            &on_fatal,
            !opened.is_paired(),
        )
        .unwrap();
        let journal = Arc::clone(ground.journal());
        let key = transport(number, side);
        let subnode = SubnodeId(id(&key));
        let owner = OrganizationId(id(&organization(number)));
        let (happen, happenings) = mpsc::unbounded_channel();
        let duties = Duties::start(Start {
            opened,
            folder: folder.path().to_owned(),
            is_blank: ground.is_blank(),
            journal: Arc::clone(&journal),
            organization: organization(number),
            key,
            timing: lines.timing(),
            on_mirror_lost: OnMirrorLost::Solo,
            disk_patience_ms: DISK_PATIENCE_MS,
            witnessed_max: 2,
            carrier,
            happenings: happen,
            fatal: on_fatal,
        });
        let duties = Arc::new(duties.unwrap());
        lines.0.lock().unwrap().there.insert(subnode, (owner, Arc::clone(&duties)));
        let ground = Arc::new(ground);
        Self { subnode, lines: lines.clone(), duties, ground, journal, happenings, released, disk, fatal, folder }
    }

    fn journal(&self) -> &Journal<Outward> {
        &self.journal
    }

    /// Wait until it cannot go on; says why. Then it is gone, as its process would be.
    pub async fn until_failed(&self) -> Fault {
        for _ in 0..3_000 {
            if let Some(fault) = self.fatal.lock().unwrap().first().cloned() {
                self.cut();
                return fault;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it went on");
    }

    /// Append so many entries, each with something that leaves behind it.
    pub fn write(&self, count: u64) {
        for number in 0..count {
            let record = format!("record {number} of {}", self.subnode.short());
            // Of a link, as the machines of the exchange would; it is no record that a link could read.
            self.append(b"\x03address", record.as_bytes(), number);
        }
    }

    /// Append an entry with something that leaves behind it.
    pub fn append(&self, address: &[u8], record: &[u8], number: u64) {
        let confirm = ToPeer::Confirm { accepted_through: number, durability: Durability::OneSite };
        let leaving = Outward::Peer(OrganizationId([9; 32]), confirm);
        self.journal().append(&[(address, record)], Moment(number), vec![leaving]);
    }

    /// On how many sites the last that left said to be.
    pub fn said(&self) -> Option<Durability> {
        self.released.1.lock().unwrap().last().copied()
    }

    pub fn entries(&self) -> Vec<Entry> {
        let (mut entries, mut after) = (Vec::new(), self.journal.first() - 1);
        loop {
            let more = self.journal().entries(after, u64::MAX, 1 << 20).unwrap();
            let Some(last) = more.last() else { return entries };
            after = last.position.sequence;
            entries.extend(more);
        }
    }

    pub fn cut(&self) {
        self.lines.0.lock().unwrap().cut.insert(self.subnode);
    }

    /// The line is whole again, and both ends hear of it.
    pub fn mend(&self) {
        let mut wires = self.lines.0.lock().unwrap();
        wires.cut.remove(&self.subnode);
        for (subnode, (_, duties)) in &wires.there {
            if *subnode != self.subnode {
                duties.linked(self.subnode);
                self.duties.linked(*subnode);
            }
        }
    }

    pub async fn until(&self, what: &str, is_so: impl Fn(&hansa_actors::duties::Status) -> bool) {
        for _ in 0..3_000 {
            let status = self.duties.status().await.unwrap();
            if is_so(&status) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what} did not come about: {:?}", self.duties.status().await.unwrap());
    }

    pub async fn until_released(&self, count: u64) {
        for _ in 0..3_000 {
            if self.released.0.load(Ordering::Relaxed) >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} of {count} were released", self.released.0.load(Ordering::Relaxed));
    }
}

pub fn folder() -> Arc<tempfile::TempDir> {
    Arc::new(tempfile::tempdir().unwrap())
}

/// An active and its mirror, both whole, and their four witnesses. The active has ten entries.
pub async fn pair(lines: &Lines) -> (Node, Node, Vec<Node>) {
    pair_behind(lines, |active| active.write(10)).await
}

/// The same behind what is written at first, ten times that something leaves.
pub async fn pair_behind(lines: &Lines, write: impl FnOnce(&Node)) -> (Node, Node, Vec<Node>) {
    let active = Node::start(lines, 1, 0, folder(), None);
    write(&active);
    active.until_released(10).await;
    assert_eq!(active.said(), Some(Durability::OneSite), "a single node");
    let witnesses = found(lines, &active).await;
    let mirror = joined(lines, &active, folder()).await;
    active.until("a pair", |status| status.state == State::ActivePair).await;
    mirror.until("a mirror", |status| status.state == State::Mirror && status.joined).await;
    (active, mirror, witnesses)
}

/// The witnesses of a pair that is founded with this node, which is alone.
pub async fn found(lines: &Lines, active: &Node) -> Vec<Node> {
    let witnesses: Vec<_> = (2..6).map(|number| Node::start(lines, number, 0, folder(), None)).collect();
    for node in witnesses.iter().chain([active]) {
        node.mend();
    }
    let asked = active.duties.ask_witnesses(witnesses.iter().map(|witness| witness.subnode).collect()).await.unwrap();
    assert_eq!((asked.agreed.len(), asked.declined.len()), (4, 0));
    active.duties.found(asked.agreed).await.unwrap();
    active.until("serving alone", |status| status.state == State::ActiveSolo).await;
    witnesses
}

/// The other sub-node, which has just come.
pub async fn joined(lines: &Lines, active: &Node, folder: Arc<tempfile::TempDir>) -> Node {
    let certified = active.duties.partnered(SubnodeId(id(&transport(1, 1)))).await.unwrap();
    join(lines, active, certified, folder)
}

pub fn join(
    lines: &Lines,
    active: &Node,
    certified: Box<hansa_core::mirror::Certified>,
    folder: Arc<tempfile::TempDir>,
) -> Node {
    let paired = Paired { partner: active.subnode, certified };
    let mirror = Node::start(lines, 1, 1, folder, Some(paired));
    mirror.mend();
    mirror
}

pub fn hashes(entries: &[Entry]) -> Vec<[u8; 32]> {
    entries.iter().map(|entry| entry.position.hash).collect()
}

pub async fn served(node: &mut Node) -> bool {
    happened(node, |happening| matches!(happening, Happening::Serve { .. })).await
}

pub async fn followed(node: &mut Node) -> bool {
    happened(node, |happening| matches!(happening, Happening::Follow)).await
}

pub async fn happened(node: &mut Node, wanted: impl Fn(&Happening) -> bool) -> bool {
    while let Some(happening) = node.happenings.recv().await {
        if wanted(&happening) {
            return true;
        }
    }
    false
}
