//! What the duties of two sub-nodes and their witnesses do with real journals on disk: found, join, count on both, take over, switch,
//! come back. Words are carried in memory, and lines can be cut.

use ed25519_dalek::SigningKey;
use hansa_actors::{
    duties::{Carrier, Duties, Happening, Opened, Paired, Start, Word},
    house::{HouseOptions, World},
    journal::Journal,
    standby::Ground,
};
use hansa_core::{
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
}

struct Wire {
    lines: Lines,
    from: SubnodeId,
    organization: OrganizationId,
}

impl Carrier for Wire {
    fn tell(&self, to: SubnodeId, word: &Word) {
        let wires = self.lines.0.lock().unwrap();
        if wires.cut.contains(&self.from) || wires.cut.contains(&to) {
            return;
        }
        if let Some((_, duties)) = wires.there.get(&to) {
            let word = Word::read(&word.bytes()).expect("it was written as one");
            duties.told(self.from, self.organization, word, ());
        }
    }
}

/// Counts what leaves, and keeps on how many sites that said to be.
#[derive(Default)]
struct Counting(AtomicU64, Mutex<Vec<Durability>>);

impl World for Counting {
    fn outward(&self, effect: Outward) {
        if let Outward::Peer(_, ToPeer::Confirm { durability, .. }) = effect {
            self.1.lock().unwrap().push(durability);
        }
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

pub struct Node {
    subnode: SubnodeId,
    lines: Lines,
    pub duties: Arc<Duties>,
    pub ground: Ground,
    happenings: mpsc::UnboundedReceiver<Happening>,
    released: Arc<Counting>,
    _folder: Arc<tempfile::TempDir>,
}

fn organization(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

fn transport(organization: u8, side: u8) -> SigningKey {
    SigningKey::from_bytes(&[100 + 2 * organization + side; 32])
}

fn id(key: &SigningKey) -> [u8; 32] {
    key.verifying_key().to_bytes()
}

impl Node {
    fn start(lines: &Lines, number: u8, side: u8, folder: Arc<tempfile::TempDir>, paired: Option<Paired>) -> Self {
        let released = Arc::<Counting>::default();
        let fatal: Arc<dyn Fn(hansa_core::code::Fault) + Send + Sync> = Arc::new(|fault| panic!("{fault}"));
        let options = HouseOptions { segment_bytes: 1 << 20, ..HouseOptions::new(folder.path()) };
        let opened = Opened::open(&folder.path().join("duty"), paired, &fatal).unwrap();
        let counts_alone = !opened.is_paired();
        let (ground, _) = Ground::open(options, Arc::clone(&released) as _, &fatal, counts_alone).unwrap();
        let key = transport(number, side);
        let subnode = SubnodeId(id(&key));
        let owner = OrganizationId(id(&organization(number)));
        let (happen, happenings) = mpsc::unbounded_channel();
        let duties = Duties::start(Start {
            opened,
            journal: Arc::clone(ground.journal()),
            is_blank: ground.is_blank(),
            organization: organization(number),
            key,
            timing: Timing::LAN,
            on_mirror_lost: OnMirrorLost::Solo,
            witnessed_max: 2,
            carrier: Box::new(Wire { lines: lines.clone(), from: subnode, organization: owner }),
            happenings: happen,
            fatal,
        });
        let duties = Arc::new(duties.unwrap());
        lines.0.lock().unwrap().there.insert(subnode, (owner, Arc::clone(&duties)));
        Self { subnode, lines: lines.clone(), duties, ground, happenings, released, _folder: folder }
    }

    fn journal(&self) -> &Journal<Outward> {
        self.ground.journal()
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
        let (mut entries, mut after) = (Vec::new(), 0);
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
    fn mend(&self) {
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

fn folder() -> Arc<tempfile::TempDir> {
    Arc::new(tempfile::tempdir().unwrap())
}

/// An active and its mirror, both whole, and their four witnesses. The active has ten entries.
async fn pair(lines: &Lines) -> (Node, Node, Vec<Node>) {
    pair_behind(lines, |active| active.write(10)).await
}

/// The same behind what is written at first, ten times that something leaves.
pub async fn pair_behind(lines: &Lines, write: impl FnOnce(&Node)) -> (Node, Node, Vec<Node>) {
    let active = Node::start(lines, 1, 0, folder(), None);
    let witnesses: Vec<_> = (2..6).map(|number| Node::start(lines, number, 0, folder(), None)).collect();
    write(&active);
    active.until_released(10).await;
    assert_eq!(active.said(), Some(Durability::OneSite), "a single node");
    for node in witnesses.iter().chain([&active]) {
        node.mend();
    }
    let asked = active.duties.ask_witnesses(witnesses.iter().map(|witness| witness.subnode).collect()).await.unwrap();
    assert_eq!((asked.agreed.len(), asked.declined.len()), (4, 0));
    active.duties.found(asked.agreed).await.unwrap();
    active.until("serving alone", |status| status.state == State::ActiveSolo).await;
    let partner = SubnodeId(id(&transport(1, 1)));
    let certified = active.duties.partnered(partner).await.unwrap();
    let mirror = join(lines, &active, certified, folder());
    active.until("a pair", |status| status.state == State::ActivePair).await;
    mirror.until("a mirror", |status| status.state == State::Mirror && status.joined).await;
    (active, mirror, witnesses)
}

fn join(
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

// M1, M2: the mirror has the active's log, entry for entry, and nothing leaves that only one of them has.
#[tokio::test(flavor = "multi_thread")]
async fn what_leaves_the_active_is_in_both_logs() {
    let lines = Lines::default();
    let (active, mirror, _witnesses) = pair(&lines).await;
    active.write(1_000);
    active.until_released(1_010).await;
    assert_eq!(active.said(), Some(Durability::TwoSites));
    let (ours, theirs) = (active.entries(), mirror.entries());
    assert_eq!(ours.len(), 1_010);
    assert_eq!(hashes(&ours), hashes(&theirs));

    // The mirror is not there: what is appended is held until the witnesses say that the active is alone.
    mirror.cut();
    active.write(10);
    active.until("serving alone", |status| status.state == State::ActiveSolo).await;
    active.until_released(1_020).await;
    assert_eq!(active.said(), Some(Durability::OneSite));
    assert_eq!(mirror.entries().len(), 1_010);

    // It comes back, catches up while more is written, and counts again.
    active.write(5_000);
    mirror.mend();
    active.until("a pair again", |status| status.state == State::ActivePair).await;
    active.until_released(6_020).await;
    active.write(1);
    active.until_released(6_021).await;
    assert_eq!(active.said(), Some(Durability::TwoSites));
    mirror.until("the whole log", |status| status.tail == 6_021).await;
    assert_eq!(hashes(&active.entries()), hashes(&mirror.entries()));
}

// M2, M3, M4: the mirror takes over with everything that left the active; the old active drops what did not count, and follows.
#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_takes_over_with_everything_that_left_and_the_old_active_follows() {
    let lines = Lines::default();
    let (mut active, mut mirror, _witnesses) = pair(&lines).await;
    active.write(100);
    active.until_released(110).await;
    active.cut();
    // This never leaves: the mirror does not have it.
    active.write(7);
    mirror.until("serving alone", |status| status.state == State::ActiveSolo).await;
    assert!(mirror.duties.status().await.unwrap().took_over.is_some());
    assert_eq!(mirror.entries().len(), 110);
    assert!(served(&mut mirror).await);
    mirror.write(50);
    mirror.until_released(50).await;

    active.mend();
    mirror.until("a pair again", |status| status.state == State::ActivePair).await;
    active.until("the mirror", |status| status.state == State::Mirror && status.tail == 160).await;
    assert!(followed(&mut active).await);
    assert_eq!(hashes(&active.entries()), hashes(&mirror.entries()));
    assert_eq!(active.released.0.load(Ordering::Relaxed), 110);

    // And back again, as planned: nobody is alone in between.
    mirror.duties.switch().await.unwrap();
    active.until("the active", |status| status.state == State::ActivePair).await;
    assert!(served(&mut active).await);
    active.write(5);
    active.until_released(115).await;
    assert_eq!(hashes(&active.entries()), hashes(&mirror.entries()));
}

// M3: after both were stopped, they find out between them who serves; neither does before.
#[tokio::test(flavor = "multi_thread")]
async fn a_pair_that_was_stopped_as_a_whole_goes_on_where_it_was() {
    let lines = Lines::default();
    let (active, mirror, _witnesses) = pair(&lines).await;
    active.write(100);
    active.until_released(110).await;
    let folders = [&active, &mirror].map(|node| {
        node.duties.end();
        node.ground.close().unwrap();
        Arc::clone(&node._folder)
    });
    let before = hashes(&active.entries());
    drop((active, mirror));
    let [first, second] = folders;
    let mirror = Node::start(&lines, 1, 1, second, None);
    mirror.mend();
    let active = Node::start(&lines, 1, 0, first, None);
    active.mend();
    for node in [&active, &mirror] {
        node.until("whole", |status| {
            matches!(status.state, State::ActivePair | State::Mirror) && status.epoch > Some(2)
        })
        .await;
    }
    let serving = if active.duties.status().await.unwrap().state.serves() { &active } else { &mirror };
    serving.write(1);
    serving.until_released(1).await;
    assert_eq!(hashes(&active.entries())[..110], before[..]);
    assert_eq!(hashes(&active.entries()), hashes(&mirror.entries()));
}

// M1: a disk that was lost is another member: it gets everything anew and does not take over before.
#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_whose_disk_was_wiped_gets_everything_anew() {
    let lines = Lines::default();
    let (active, mirror, _witnesses) = pair(&lines).await;
    active.write(500);
    active.until_released(510).await;
    mirror.duties.end();
    mirror.ground.close().unwrap();
    mirror.cut();
    drop(mirror);
    active.until("serving alone", |status| status.state == State::ActiveSolo).await;
    let certified = active.duties.partnered(SubnodeId(id(&transport(1, 1)))).await.unwrap();
    let mirror = join(&lines, &active, certified, folder());
    active.until("a pair again", |status| status.state == State::ActivePair).await;
    mirror.until("the whole log", |status| status.state == State::Mirror && status.tail == 510).await;
    assert_eq!(hashes(&active.entries()), hashes(&mirror.entries()));
}

async fn served(node: &mut Node) -> bool {
    happened(node, |happening| matches!(happening, Happening::Serve { .. })).await
}

async fn followed(node: &mut Node) -> bool {
    happened(node, |happening| matches!(happening, Happening::Follow)).await
}

async fn happened(node: &mut Node, wanted: impl Fn(&Happening) -> bool) -> bool {
    while let Some(happening) = node.happenings.recv().await {
        if wanted(&happening) {
            return true;
        }
    }
    false
}
