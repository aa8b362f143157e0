//! How a snapshot goes to a sub-node that needs more than the active's journal keeps: in parts, while work goes on, over lines that
//! break and lose, and onto a disk that is left in the middle.

use crate::pair_fixture::{Lines, Node, folder, found, happened, hashes, join, joined, organization};
use hansa_actors::{
    duties::{Happening, PART_BYTES_MAX, Parcel, RECEIVED, SENT, Stage, UNDER_WAY_BYTES_MAX, Word},
    house::HouseOptions,
    snapshot::{FORMAT, Label},
    standby::Ground,
    store::{Changes, Position, RedbStore, Store as _},
    supervisor::Fatal,
};
use hansa_core::{
    ident::{OrganizationId, SubnodeId},
    mirror::{
        History, Message,
        pair::{State, Timing},
    },
    moment::Moment,
};
use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};
use tempfile::TempDir;
use tokio::sync::mpsc;

/// Bytes of each value in the store.
const VALUE_BYTES: usize = 32 << 10;

/// An active that is alone, with a store of so many values, and a journal that does not reach back to its beginning; its witnesses; and
/// what a snapshot of it is known by.
async fn active_with(lines: &Lines, values: u32) -> (Node, Vec<Node>, Label) {
    let place = folder();
    let node = Node::start(lines, 1, 0, Arc::clone(&place), None);
    let record = vec![7; 100_000];
    for number in 0..40 {
        node.append(b"\x03address", &record, number);
    }
    node.until_released(40).await;
    node.duties.end();
    node.journal.close().unwrap();
    drop(node);
    fill(place.path(), values, 40);
    let active = Node::start(lines, 1, 0, place, None);
    let witnesses = found(lines, &active).await;
    let label = active.ground.snapshot(&active.folder.path().join("compared")).unwrap().label;
    active.journal.keep_from(None);
    active.write(10);
    active.until_released(10).await;
    assert!(active.journal.truncate_before(41, 0).unwrap() > 0 && active.journal.first() > 1);
    (active, witnesses, label)
}

/// Values that no two of are the same, as of a checkpoint at this entry.
fn fill(place: &Path, values: u32, applied: u64) {
    let store = RedbStore::open(&place.join("lookup.redb")).unwrap();
    let mut dice = fastrand::Rng::with_seed(9);
    let mut value = || std::iter::repeat_with(|| dice.u8(..)).take(VALUE_BYTES).collect();
    let changes: Changes = (0..values).map(|key| ((3, key.to_be_bytes().to_vec()), Some(value()))).collect();
    store.commit(&changes, Position { applied }).unwrap();
}

/// Does what the duties want of the machines; tells how often a snapshot was made.
fn attend(node: &mut Node) -> Arc<Mutex<u64>> {
    let mut happenings = std::mem::replace(&mut node.happenings, mpsc::unbounded_channel().1);
    let (ground, duties, made) = (Arc::clone(&node.ground), Arc::clone(&node.duties), Arc::<Mutex<u64>>::default());
    let counted = Arc::clone(&made);
    tokio::spawn(async move {
        while let Some(happening) = happenings.recv().await {
            match happening {
                Happening::MakeSnapshot { path } => {
                    *counted.lock().unwrap() += 1;
                    duties.snapshot_made(Some(ground.snapshot(&path).unwrap()));
                }
                Happening::Install { history, snapshot } => {
                    duties.installed(ground.install(&history, &snapshot).map(|()| history));
                }
                _ => {}
            }
        }
    });
    made
}

/// Both have the same store and, as far as both have it, the same log; and nothing is left lying.
async fn assert_same(active: &Node, mirror: &Node, label: Label) {
    active.until("a pair", |status| status.state == State::ActivePair && status.snapshot.is_none()).await;
    let tail = active.journal.tail();
    mirror.until("a mirror", |status| status.state == State::Mirror && status.tail == tail).await;
    let (ours, theirs) = (active.entries(), mirror.entries());
    assert_eq!(theirs.first().unwrap().position.sequence, 41);
    assert!(hashes(&theirs).ends_with(&hashes(&ours)[ours.len().saturating_sub(theirs.len())..]));
    for node in [active, mirror] {
        for name in [SENT, RECEIVED] {
            assert!(!node.folder.path().join(name).exists(), "{name} is not wanted any more");
        }
    }
    let taken = mirror.ground.snapshot(&mirror.folder.path().join("compared")).unwrap();
    assert_eq!(taken.label, label);
    assert!(label.bytes > VALUE_BYTES as u64);
}

/// What went over the lines of a snapshot.
#[derive(Default)]
struct Seen {
    parts: u64,
    part_bytes: u64,
    under_way: u64,
    under_way_max: u64,
    refused: u64,
    begun_again_at: Vec<u64>,
}

impl Seen {
    fn note(&mut self, word: &Word) {
        let Word::Snapshot(parcel) = word else { return };
        match &**parcel {
            Parcel::Offered { .. } => {}
            Parcel::Part { offset, bytes, .. } => {
                assert!(bytes.len() <= PART_BYTES_MAX);
                self.parts += 1;
                self.part_bytes += bytes.len() as u64;
                self.under_way = (offset + bytes.len() as u64).max(self.under_way);
            }
            Parcel::Had { through, again, .. } => {
                self.under_way_max = self.under_way_max.max(self.under_way - (*through).min(self.under_way));
                if *again {
                    self.begun_again_at.push(*through);
                    self.under_way = *through;
                }
            }
            Parcel::Refused { .. } => self.refused += 1,
        }
    }
}

// M4: a new disk gets everything, also where the other's journal does not reach back to the beginning; work goes on meanwhile, and what
// is behind the snapshot is kept until it has arrived.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_comes_in_parts_while_work_goes_on() {
    let lines = Lines::default();
    let (mut active, _witnesses, label) = active_with(&lines, 200).await;
    let seen = Arc::<Mutex<Seen>>::default();
    let (journal, noted) = (Arc::clone(&active.journal), Arc::clone(&seen));
    lines.befall(move |word| {
        noted.lock().unwrap().note(&word);
        if matches!(&word, Word::Snapshot(parcel) if matches!(**parcel, Parcel::Part { .. })) {
            // Of another machine each time, and large enough that segments end: a checkpoint would let them go.
            journal.append(&[(b"\x03other".as_slice(), &[1; 50_000][..])], Moment(1), Vec::new());
            journal.truncate_before(u64::MAX, 0).unwrap();
        }
        Some(word)
    });
    let made = attend(&mut active);
    let mut mirror = joined(&lines, &active, folder()).await;
    attend(&mut mirror);
    active.until("a pair", |status| status.state == State::ActivePair).await;
    // The mirror has it all: nothing is kept for it any more.
    active.until("no more kept", |_| active.journal.truncate_before(u64::MAX, 0).unwrap() > 0).await;
    assert_same(&active, &mirror, label).await;
    assert_eq!(*made.lock().unwrap(), 1, "it is made once");
    let seen = seen.lock().unwrap();
    assert!(seen.parts > 40 && seen.part_bytes < 2 * 200 * VALUE_BYTES as u64, "{} parts", seen.parts);
    assert!(seen.under_way_max > 0 && seen.under_way_max <= UNDER_WAY_BYTES_MAX, "{}", seen.under_way_max);
}

// M4: however long it takes to make one, and however often it is asked for meanwhile, it is made once; and it is told how far it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_takes_long_is_made_once() {
    let lines = Lines::default();
    let (mut active, _witnesses, _) = active_with(&lines, 100).await;
    let mut mirror = joined(&lines, &active, folder()).await;
    let Some(Happening::MakeSnapshot { path }) = first_made(&mut active).await else { panic!("the duties ended") };
    active.until("made", |status| status.snapshot.is_some_and(|it| it.stage == Stage::Making)).await;
    tokio::time::sleep(Duration::from_millis(10 * Timing::LAN.retry_ms)).await;
    // It goes as far as the line has it.
    let left = Arc::new(Mutex::new(5));
    lines.befall(move |word| {
        let is_part = matches!(&word, Word::Snapshot(parcel) if matches!(**parcel, Parcel::Part { .. }));
        let mut left = left.lock().unwrap();
        *left -= u64::from(is_part && *left > 0);
        (!is_part || *left > 0).then_some(word)
    });
    active.duties.snapshot_made(Some(active.ground.snapshot(&path).unwrap()));
    let half = 4 * PART_BYTES_MAX as u64;
    active
        .until("sent", |status| status.snapshot.is_some_and(|it| it.stage == Stage::Sending && it.bytes == half))
        .await;
    mirror
        .until("received", |status| {
            status.snapshot.is_some_and(|it| it.stage == Stage::Receiving && it.bytes == half && it.of > 2 * half)
        })
        .await;
    lines.befall(Some);
    assert!(happened(&mut mirror, |happening| matches!(happening, Happening::Install { .. })).await);
    mirror.until("put in place", |status| status.snapshot.is_some_and(|it| it.stage == Stage::Installing)).await;
    while let Ok(happening) = active.happenings.try_recv() {
        assert!(!matches!(happening, Happening::MakeSnapshot { .. }), "one is on its way");
    }
}

async fn first_made(node: &mut Node) -> Option<Happening> {
    loop {
        let happening = node.happenings.recv().await?;
        if matches!(happening, Happening::MakeSnapshot { .. }) {
            return Some(happening);
        }
    }
}

// M4: a line that loses words, and one that is cut in the middle: it goes on where it was, and is never wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_goes_on_where_the_line_broke() {
    let lines = Lines::default();
    let (mut active, _witnesses, label) = active_with(&lines, 300).await;
    let seen = Arc::<Mutex<Seen>>::default();
    let noted = Arc::clone(&seen);
    lines.befall(move |word| {
        let mut seen = noted.lock().unwrap();
        seen.note(&word);
        let is_snapshots = matches!(word, Word::Snapshot(_));
        // From here on nothing of it arrives, until the line is another.
        (!is_snapshots || seen.parts < 30).then_some(word)
    });
    let made = attend(&mut active);
    let mut mirror = joined(&lines, &active, folder()).await;
    attend(&mut mirror);
    let had = 29 * PART_BYTES_MAX as u64;
    mirror.until("the beginning", |status| status.snapshot.is_some_and(|it| it.bytes == had)).await;
    mirror.cut();
    let noted = Arc::clone(&seen);
    let mut dice = fastrand::Rng::with_seed(3);
    lines.befall(move |word| {
        noted.lock().unwrap().note(&word);
        (!matches!(word, Word::Snapshot(_)) || dice.u8(..) < 230).then_some(word)
    });
    mirror.mend();
    assert_same(&active, &mirror, label).await;
    let seen = seen.lock().unwrap();
    assert_eq!(*made.lock().unwrap(), 1);
    assert_eq!(seen.begun_again_at.iter().filter(|through| **through == 0).count(), 1, "{:?}", seen.begun_again_at);
    assert!(seen.begun_again_at.contains(&had), "{:?}", seen.begun_again_at);
}

// M2: what does not arrive as it was sent is not taken, and asked for again.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_which_a_byte_was_changed_is_refused_and_asked_for_again() {
    let lines = Lines::default();
    let (mut active, _witnesses, label) = active_with(&lines, 100).await;
    let seen = Arc::<Mutex<Seen>>::default();
    let noted = Arc::clone(&seen);
    lines.befall(move |mut word| {
        let mut seen = noted.lock().unwrap();
        seen.note(&word);
        if let Word::Snapshot(parcel) = &mut word
            && let Parcel::Part { bytes, .. } = &mut **parcel
            && seen.parts == 7
        {
            bytes[5_000] ^= 1;
        }
        Some(word)
    });
    let made = attend(&mut active);
    let mut mirror = joined(&lines, &active, folder()).await;
    attend(&mut mirror);
    assert_same(&active, &mirror, label).await;
    assert_eq!((*made.lock().unwrap(), seen.lock().unwrap().refused), (2, 1));
}

// M1: a process that ends while it puts a snapshot in place has a disk that counts as empty, and comes back as somebody new.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_on_which_a_snapshot_was_half_in_place_counts_as_empty() {
    let lines = Lines::default();
    // More than goes into the store at once.
    let (mut active, _witnesses, label) = active_with(&lines, 700).await;
    attend(&mut active);
    let place = folder();
    let mut mirror = joined(&lines, &active, Arc::clone(&place)).await;
    let (history, snapshot) = loop {
        if let Happening::Install { history, snapshot } = mirror.happenings.recv().await.unwrap() {
            break (history, snapshot);
        }
    };
    // The disk gives the last byte back otherwise than it was written: so far it had gone when the process ended.
    let mut bytes = std::fs::read(&snapshot.path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&snapshot.path, bytes).unwrap();
    let fault = mirror.ground.install(&history, &snapshot).unwrap_err();
    assert!(fault.message.contains("is not what was sent"), "{fault}");
    mirror.duties.installed(Err(fault));
    mirror.until_failed().await;
    mirror.duties.end();
    mirror.journal.close().unwrap();
    let certified = active.duties.partnered(mirror.subnode).await.unwrap();
    drop(mirror);

    let fatal: Fatal = Arc::new(|_| {});
    let world = Arc::<crate::pair_fixture::Counting>::default();
    assert!(RedbStore::open(&place.path().join("lookup.redb")).unwrap().get(3, &0u32.to_be_bytes()).unwrap().is_some());
    let (ground, _) = Ground::open(HouseOptions::new(place.path()), world, &fatal, false).unwrap();
    assert!(ground.is_blank());
    ground.close().unwrap();
    drop(ground);
    let mut mirror = join(&lines, &active, certified, place);
    attend(&mut mirror);
    assert_same(&active, &mirror, label).await;
}

/// A learner, and its partner, for which the test speaks from now on.
async fn learner(lines: &Lines) -> (Node, Node, Vec<Node>) {
    let (active, witnesses, _) = active_with(lines, 1).await;
    let mirror = joined(lines, &active, folder()).await;
    active.cut();
    mirror.until("a learner", |status| status.state == State::Learner).await;
    (mirror, active, witnesses)
}

async fn told(
    node: &Node,
    from: SubnodeId,
    owner: OrganizationId,
    word: Word,
) -> Option<hansa_actors::duties::Progress> {
    node.duties.told(from, owner, word, ());
    node.duties.status().await.unwrap().snapshot
}

fn offered(label: Label) -> Word {
    Word::Snapshot(Box::new(Parcel::Offered { epoch: 1, nonce: u64::MAX, history: History::default(), label }))
}

fn part(label: Label, offset: u64, bytes: usize) -> Word {
    Word::Snapshot(Box::new(Parcel::Part { hash: label.hash, offset, bytes: vec![1; bytes].into() }))
}

// What a faulty partner says costs no more of the disk than it announced, and that only where there is room.
#[tokio::test(flavor = "multi_thread")]
async fn a_partner_fills_the_disk_with_no_more_than_it_announced() {
    let lines = Lines::default();
    let (mut mirror, active, _witnesses) = learner(&lines).await;
    let (partner, owner) = (active.subnode, OrganizationId(organization(1).verifying_key().to_bytes()));
    let file = mirror.folder.path().join(RECEIVED);
    let length = || std::fs::metadata(&file).unwrap().len();
    let label = |bytes, seed| Label { format: FORMAT, bytes, hash: [seed; 32] };

    let huge = label(u64::MAX / 4, 1);
    let progress = told(&mirror, partner, owner, offered(huge)).await.unwrap();
    assert_eq!((progress.stage, file.exists()), (Stage::NoRoom, false));
    told(&mirror, partner, owner, part(huge, 0, 100)).await;
    assert!(!file.exists());
    // Of a form that this version does not know.
    told(&mirror, partner, owner, offered(Label { format: FORMAT + 1, ..label(7, 2) })).await;
    assert!(!file.exists());

    let small = label(1_000, 3);
    told(&mirror, SubnodeId([9; 32]), owner, offered(small)).await;
    assert!(!file.exists(), "it is not from the partner");
    let progress = told(&mirror, partner, owner, offered(small)).await.unwrap();
    assert_eq!((progress.stage, progress.bytes, progress.of), (Stage::Receiving, 0, 1_000));
    for refused in [part(small, 0, 1_001), part(small, 1, 10), part(label(1_000, 4), 0, 10), part(small, 0, 0)] {
        assert_eq!(told(&mirror, partner, owner, refused).await.unwrap().bytes, 0);
    }
    assert_eq!(told(&mirror, partner, owner, part(small, 0, 600)).await.unwrap().bytes, 600);
    assert_eq!(told(&mirror, partner, owner, part(small, 0, 600)).await.unwrap().bytes, 600);
    assert_eq!(told(&mirror, partner, owner, part(small, 600, 401)).await.unwrap().bytes, 600);
    assert_eq!(length(), 600);
    // Another takes its place.
    told(&mirror, partner, owner, offered(label(50, 5))).await;
    assert_eq!(length(), 0);
    // All of it is there, and is not what was announced.
    told(&mirror, partner, owner, part(label(50, 5), 0, 50)).await;
    assert!(!file.exists());

    // One that comes as a message is none.
    let whole = Message::Snapshot { epoch: 1, history: History::default(), nonce: u64::MAX, state: small.to_bytes() };
    assert_eq!(told(&mirror, partner, owner, Word::Say(Box::new(whole))).await, None);
    while let Ok(happening) = mirror.happenings.try_recv() {
        assert!(!matches!(happening, Happening::Install { .. }));
    }
    assert!(mirror.fatal.lock().unwrap().is_empty());
}

// What a process before left lying is taken away.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_takes_left_overs_away() {
    let place: Arc<TempDir> = folder();
    for name in [SENT, RECEIVED] {
        std::fs::write(place.path().join(name), "half of it").unwrap();
    }
    let node = Node::start(&Lines::default(), 1, 0, Arc::clone(&place), None);
    assert!([SENT, RECEIVED].iter().all(|name| !place.path().join(name).exists()));
    node.duties.end();
}
