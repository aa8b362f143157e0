//! What the look-up store promises, so that every open instance goes on where it was (T12): the overlay and the store
//! read as one, position and changes go together, damage and failing disks lose nothing.

use super::{redb::RedbStore, *};
use ::redb::{Database, StorageBackend, TableDefinition, backends::FileBackend};
use hansa_core::code::Code;
use proptest::{collection::vec, prelude::*};
use std::{
    fs::{self, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};
use tempfile::TempDir;

const KIND: u8 = 3;

fn set(kind: u8, key: &[u8], value: &[u8]) -> Change {
    Change { kind, key: key.to_vec(), value: Some(value.to_vec()) }
}

fn delete(kind: u8, key: &[u8]) -> Change {
    Change { kind, key: key.to_vec(), value: None }
}

fn changes(changes: impl IntoIterator<Item = Change>) -> Changes {
    changes.into_iter().map(|change| ((change.kind, change.key), change.value)).collect()
}

fn at(applied: u64) -> Position {
    Position { applied }
}

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("lookup.redb");
    (folder, path)
}

/// A store of some hundred entries at position 7, closed again.
fn filled(path: &Path) {
    let store = RedbStore::open(path).unwrap();
    let entries = (0..500u32).map(|number| set(KIND, &number.to_be_bytes(), &[number as u8; 300]));
    store.commit(&changes(entries), at(7)).unwrap();
}

fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.write_all(bytes).unwrap();
}

/// What can happen to a store with changes in front of it.
#[derive(Clone, Debug)]
enum Step {
    Change(Vec<Change>),
    Flush,
    FlushFails,
    Get(u8, Vec<u8>),
    Scan(u8, Vec<u8>, bool, usize),
}

fn step() -> impl Strategy<Value = Step> {
    // Few keys, of different lengths, so that they meet; the last kind has no kind above it.
    let kind = prop_oneof![Just(0u8), Just(1), Just(254), Just(255)];
    let key = vec(prop_oneof![Just(0u8), Just(1), Just(255)], 0..3);
    let change = (kind.clone(), key.clone(), prop::option::of(vec(any::<u8>(), 0..4)))
        .prop_map(|(kind, key, value)| Change { kind, key, value });
    let count = prop_oneof![4 => 0usize..6, 1 => Just(usize::MAX)];
    prop_oneof![
        4 => vec(change, 0..8).prop_map(Step::Change),
        1 => Just(Step::Flush),
        1 => Just(Step::FlushFails),
        1 => (kind.clone(), key.clone()).prop_map(|(kind, key)| Step::Get(kind, key)),
        4 => (kind, key, any::<bool>(), count).prop_map(|(kind, from, down, count)| Step::Scan(kind, from, down, count)),
    ]
}

/// What a scan means, said in the simplest way.
fn naive_scan(model: &BTreeMap<(u8, Vec<u8>), Vec<u8>>, kind: u8, from: &[u8], reverse: bool, count: usize) -> Page {
    let mut page: Page = model
        .iter()
        .filter(|((of, key), _)| *of == kind && if reverse { key.as_slice() <= from } else { key.as_slice() >= from })
        .map(|((_, key), value)| (key.clone(), value.clone()))
        .collect();
    if reverse {
        page.reverse();
    }
    page.truncate(count);
    page
}

/// A store whose commits fail, or wait, when the test wants it.
#[derive(Default)]
struct Moody {
    inner: MemoryStore,
    failing: AtomicBool,
    /// A commit tells here that it has begun, then waits until it may go on.
    gate: Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>>,
    /// Whether the commit may leave the processors to others.
    takes_time: AtomicBool,
}

/// A store whose commits wait: where they tell that they have begun, and where they are told to go on.
fn gated() -> (Arc<Moody>, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (begun, has_begun) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel();
    let below = Moody { gate: Mutex::new(Some((begun, may_go_on))), ..Moody::default() };
    (Arc::new(below), has_begun, go_on)
}

impl Store for Arc<Moody> {
    fn get(&self, kind: u8, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        self.inner.get(kind, key)
    }
    fn scan(&self, kind: u8, from: &[u8], reverse: bool, count_max: usize) -> Result<Page, Fault> {
        self.inner.scan(kind, from, reverse, count_max)
    }
    fn commit(&self, changes: &Changes, position: Position) -> Result<(), Fault> {
        if let Some((begun, go_on)) = &*locked(&self.gate) {
            begun.send(()).unwrap();
            go_on.recv().unwrap();
        }
        if self.failing.load(Ordering::Relaxed) {
            return Err(Fault::new(Code::StoreFailed, "the test wants it"));
        }
        self.inner.commit(changes, position)
    }
    fn position(&self) -> Position {
        self.inner.position()
    }
    fn take_time(&self) {
        self.takes_time.store(true, Ordering::Relaxed);
    }
    fn hurry(&self) {
        self.takes_time.store(false, Ordering::Relaxed);
    }
}

proptest! {
    #[test]
    fn changes_and_store_read_as_one(steps in vec(step(), 1..60)) {
        let below = Arc::new(Moody::default());
        let store = WriteBehind::new(Box::new(Arc::clone(&below)));
        let mut model = BTreeMap::new();
        let mut position = 0;
        for step in steps {
            match step {
                Step::Change(changes) => {
                    for change in &changes {
                        let key = (change.kind, change.key.clone());
                        match &change.value {
                            Some(value) => model.insert(key, value.clone()),
                            None => model.remove(&key),
                        };
                    }
                    store.change(changes);
                }
                Step::Flush => {
                    position += 1;
                    store.flush(at(position)).unwrap();
                    prop_assert_eq!(store.waiting_bytes(), 0);
                    prop_assert_eq!(below.position(), at(position));
                }
                Step::FlushFails => {
                    let waiting = store.waiting_bytes();
                    below.failing.store(true, Ordering::Relaxed);
                    prop_assert!(store.flush(at(position + 1)).is_err());
                    below.failing.store(false, Ordering::Relaxed);
                    prop_assert_eq!(store.waiting_bytes(), waiting);
                    prop_assert_eq!(below.position(), at(position));
                }
                Step::Get(kind, key) => prop_assert_eq!(&store.get(kind, &key).unwrap(), &model.get(&(kind, key)).cloned()),
                Step::Scan(kind, from, reverse, count) => prop_assert_eq!(
                    store.scan(kind, &from, reverse, count).unwrap(), naive_scan(&model, kind, &from, reverse, count)
                ),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_file_reads_as_memory_does(steps in vec(step(), 1..30)) {
        let (_folder, path) = folder();
        let file = RedbStore::open(&path).unwrap();
        let memory = MemoryStore::default();
        for step in steps {
            match step {
                Step::Change(batch) => {
                    let batch = changes(batch);
                    file.commit(&batch, at(1)).unwrap();
                    memory.commit(&batch, at(1)).unwrap();
                }
                Step::Get(kind, key) => prop_assert_eq!(file.get(kind, &key).unwrap(), memory.get(kind, &key).unwrap()),
                Step::Scan(kind, from, reverse, count) => prop_assert_eq!(
                    file.scan(kind, &from, reverse, count).unwrap(), memory.scan(kind, &from, reverse, count).unwrap()
                ),
                Step::Flush | Step::FlushFails => {}
            }
        }
    }
}

#[test]
fn a_scan_passes_many_deleted_entries() {
    let below = Arc::new(Moody::default());
    let store = WriteBehind::new(Box::new(Arc::clone(&below)));
    let key = |number: u32| number.to_be_bytes();
    store.change((0..5_000).map(|number| set(KIND, &key(number), b"old")).collect());
    store.flush(at(1)).unwrap();
    store.change((100..4_900).map(|number| delete(KIND, &key(number))).collect());
    let up = store.scan(KIND, &key(99), false, 2).unwrap();
    assert_eq!(up.iter().map(|(key, _)| key.as_slice()).collect::<Vec<_>>(), [key(99), key(4_900)]);
    let down = store.scan(KIND, &key(4_900), true, 2).unwrap();
    assert_eq!(down.iter().map(|(key, _)| key.as_slice()).collect::<Vec<_>>(), [key(4_900), key(99)]);
}

#[test]
fn nobody_waits_for_a_commit_in_progress_and_what_is_changed_meanwhile_stays_for_the_next() {
    let (below, has_begun, go_on) = gated();
    let store = WriteBehind::new(Box::new(Arc::clone(&below)));
    store.change(vec![set(KIND, b"a", b"1"), set(KIND, b"b", b"1"), set(KIND, b"c", b"1")]);
    thread::scope(|scope| {
        let flushing = scope.spawn(|| store.flush(at(1)));
        has_begun.recv().unwrap();
        // The commit stands still now; all of this would never end if it waited for it.
        store.change(vec![set(KIND, b"a", b"2"), delete(KIND, b"b"), set(KIND, b"d", b"2")]);
        let seen = [(b"a".to_vec(), b"2".to_vec()), (b"c".to_vec(), b"1".to_vec()), (b"d".to_vec(), b"2".to_vec())];
        assert_eq!(store.get(KIND, b"a").unwrap().as_deref(), Some(&b"2"[..]));
        assert_eq!(store.get(KIND, b"b").unwrap(), None);
        assert_eq!(store.get(KIND, b"c").unwrap().as_deref(), Some(&b"1"[..]));
        assert_eq!(store.scan(KIND, b"", false, 9).unwrap(), seen);
        assert!(store.waiting_bytes() > 0);
        go_on.send(()).unwrap();
        flushing.join().unwrap().unwrap();
        assert_eq!(below.inner.get(KIND, b"a").unwrap().as_deref(), Some(&b"1"[..]));
        assert_eq!(below.inner.get(KIND, b"b").unwrap().as_deref(), Some(&b"1"[..]));
        assert_eq!(store.scan(KIND, b"", false, 9).unwrap(), seen);
        go_on.send(()).unwrap();
        store.flush(at(2)).unwrap();
        assert_eq!(below.inner.scan(KIND, b"", false, 9).unwrap(), seen);
        assert_eq!(store.waiting_bytes(), 0);
    });
}

#[test]
fn a_flush_takes_its_time_until_changes_overtake_it_or_somebody_is_in_a_hurry() {
    let (below, has_begun, go_on) = gated();
    let store = WriteBehind::new(Box::new(Arc::clone(&below)));
    let takes_time = || below.takes_time.load(Ordering::Relaxed);
    let flush = |position, meanwhile: &dyn Fn()| {
        store.change(vec![set(KIND, b"a", &[1; 1_000])]);
        thread::scope(|scope| {
            let flushing = scope.spawn(|| store.flush(at(position)));
            has_begun.recv().unwrap();
            meanwhile();
            go_on.send(()).unwrap();
            flushing.join().unwrap().unwrap();
        });
        assert!(!takes_time(), "nothing is under way");
    };
    flush(1, &|| {
        store.change(vec![set(KIND, b"b", &[1; 100])]);
        assert!(takes_time());
        store.change(vec![set(KIND, b"c", &[1; 500])]);
        assert!(!takes_time(), "it is overtaken");
    });
    flush(2, &|| {
        assert!(takes_time());
        drop(store.hurry());
        assert!(!takes_time(), "somebody waited, even if they do not any more");
    });
    let hurry = store.hurry();
    flush(3, &|| assert!(!takes_time(), "somebody waits"));
    drop(hurry);
    flush(4, &|| assert!(takes_time()));
}

#[test]
fn what_is_committed_at_leisure_is_all_there() {
    let (_folder, path) = folder();
    let store = RedbStore::open(&path).unwrap();
    let entries = || (0..20_000u32).map(|number| set(KIND, &number.to_be_bytes(), &[number as u8; 200]));
    store.take_time();
    store.commit(&changes(entries()), at(7)).unwrap();
    drop(store);
    let store = RedbStore::open(&path).unwrap();
    let rows = store.scan(KIND, b"", false, usize::MAX).unwrap();
    let expected: Vec<_> = entries().map(|one| (one.key, one.value.unwrap())).collect();
    assert!(rows == expected, "{} rows", rows.len());
    assert_eq!(store.position(), at(7));
}

#[test]
fn a_failed_flush_loses_nothing_that_was_changed_before_or_during_it() {
    let (below, has_begun, go_on) = gated();
    below.failing.store(true, Ordering::Relaxed);
    let store = WriteBehind::new(Box::new(Arc::clone(&below)));
    store.change(vec![set(KIND, b"a", b"1"), set(KIND, b"b", b"1")]);
    thread::scope(|scope| {
        let flushing = scope.spawn(|| store.flush(at(1)));
        has_begun.recv().unwrap();
        store.change(vec![set(KIND, b"a", b"2")]);
        go_on.send(()).unwrap();
        assert_eq!(flushing.join().unwrap().unwrap_err().code, Code::StoreFailed);
    });
    *locked(&below.gate) = None;
    below.failing.store(false, Ordering::Relaxed);
    let seen = [(b"a".to_vec(), b"2".to_vec()), (b"b".to_vec(), b"1".to_vec())];
    assert_eq!(store.scan(KIND, b"", false, 9).unwrap(), seen);
    store.flush(at(1)).unwrap();
    assert_eq!(below.inner.scan(KIND, b"", false, 9).unwrap(), seen);
}

/// Invariant 1: what is committed is settled before its maker is asked to wait for what it rests on, so nothing that is
/// changed later slips in.
#[test]
fn what_is_changed_while_a_flush_waits_until_it_may_commit_stays_for_the_next() {
    let below = Arc::new(Moody::default());
    let store = WriteBehind::new(Box::new(Arc::clone(&below)));
    store.change(vec![set(KIND, b"early", b"1")]);
    let late = || {
        store.change(vec![set(KIND, b"late", b"2")]);
        Ok(())
    };
    store.flush_when(at(1), late).unwrap();
    assert_eq!(below.inner.get(KIND, b"early").unwrap(), Some(b"1".to_vec()));
    assert_eq!(below.inner.get(KIND, b"late").unwrap(), None);
    assert_eq!(store.get(KIND, b"late").unwrap(), Some(b"2".to_vec()));

    let fault = Fault::new(Code::JournalFailed, "nothing becomes durable any more");
    assert_eq!(store.flush_when(at(2), || Err(fault.clone())), Err(fault));
    assert_eq!((below.inner.position(), below.inner.get(KIND, b"late").unwrap()), (at(1), None));
    store.flush(at(3)).unwrap();
    assert_eq!(below.inner.get(KIND, b"late").unwrap(), Some(b"2".to_vec()));
}

#[test]
fn a_batch_is_seen_as_a_whole_or_not_at_all_while_flushes_go_on() {
    let (_folder, path) = folder();
    let store = WriteBehind::new(Box::new(RedbStore::open(&path).unwrap()));
    let batch = |round: u32| (0..40u8).map(|key| set(KIND, &[key], &round.to_be_bytes())).collect();
    let last = 400;
    store.change(batch(0));
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let flusher = scope.spawn(|| {
            let mut position = 0;
            while !ended.load(Ordering::Relaxed) {
                position += 1;
                store.flush(at(position)).unwrap();
            }
        });
        let reader = scope.spawn(|| {
            let mut newest = vec![0; 4];
            while !ended.load(Ordering::Relaxed) {
                let page = store.scan(KIND, b"", false, 100).unwrap();
                assert_eq!(page.len(), 40);
                assert!(page.iter().all(|(_, value)| *value == page[0].1), "a torn batch: {page:?}");
                assert!(page[0].1 >= newest, "an older batch came back");
                newest.clone_from(&page[0].1);
            }
        });
        for round in 1..=last {
            store.change(batch(round));
            assert_eq!(store.get(KIND, &[7]).unwrap().unwrap(), round.to_be_bytes());
        }
        ended.store(true, Ordering::Relaxed);
        flusher.join().unwrap();
        reader.join().unwrap();
    });
    store.flush(at(u64::MAX)).unwrap();
    drop(store);
    let store = RedbStore::open(&path).unwrap();
    assert_eq!(store.position(), at(u64::MAX));
    assert!(store.scan(KIND, b"", false, 100).unwrap().iter().all(|(_, value)| *value == last.to_be_bytes()));
}

#[test]
fn opened_again_a_store_has_everything_and_its_position() {
    let (folder, path) = folder();
    let path = folder.path().join("made").join(path.file_name().unwrap());
    assert_eq!(RedbStore::open(&path).unwrap().position(), Position::default());
    filled(&path);
    let store = RedbStore::open(&path).unwrap();
    assert_eq!(store.position(), at(7));
    assert_eq!(store.scan(KIND, b"", false, usize::MAX).unwrap().len(), 500);
    store.commit(&changes([delete(KIND, &3u32.to_be_bytes())]), at(9)).unwrap();
    drop(store);
    let store = RedbStore::open(&path).unwrap();
    assert_eq!(store.position(), at(9));
    assert_eq!(store.get(KIND, &3u32.to_be_bytes()).unwrap(), None);
    assert_eq!(store.get(KIND, &4u32.to_be_bytes()).unwrap().unwrap(), [4; 300]);
}

#[test]
fn only_its_owner_can_read_the_file() {
    let (_folder, path) = folder();
    filled(&path);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_file_in_use_is_left_alone() {
    let (folder, path) = folder();
    let store = RedbStore::open(&path).unwrap();
    let refused = RedbStore::open(&path).err().expect("it is in use");
    assert_eq!(refused.code, Code::DataInUse);
    store.commit(&changes([set(KIND, b"a", b"1")]), at(1)).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_damaged_file_is_moved_aside_and_the_store_begins_anew() {
    let (folder, path) = folder();
    for (number, damage) in [
        &(|path: &Path| fs::write(path, b"this is no database").unwrap()) as &dyn Fn(&Path),
        &|path| overwrite(path, 0, b"REDB"),
        // Both commit slots.
        &|path| overwrite(path, 64 + 8, &[0xa5; 248]),
        // Cut in the middle.
        &|path| OpenOptions::new().write(true).open(path).unwrap().set_len(5_000).unwrap(),
        &|path| overwrite(path, 4096, &vec![0xff; fs::metadata(path).unwrap().len() as usize - 4096]),
    ]
    .iter()
    .enumerate()
    {
        filled(&path);
        damage(&path);
        let damaged = fs::read(&path).unwrap();
        let store = RedbStore::open(&path).unwrap();
        assert_eq!(store.position(), Position::default(), "damage {number}");
        assert_eq!(store.scan(KIND, b"", false, 9).unwrap(), []);
        let aside = folder.path().join(format!("lookup.redb.broken-{}", number + 1));
        assert_eq!(fs::read(&aside).unwrap().len(), damaged.len(), "damage {number}");
    }
}

#[test]
fn a_database_of_something_else_is_moved_aside() {
    let (folder, path) = folder();
    let database = Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(TableDefinition::<u64, u64>::new("other")).unwrap().insert(1, 1).unwrap();
    transaction.commit().unwrap();
    drop(database);
    assert_eq!(RedbStore::open(&path).unwrap().position(), Position::default());
    assert!(folder.path().join("lookup.redb.broken-1").exists());
}

#[test]
fn a_file_of_a_newer_version_is_refused_and_left_alone() {
    let (folder, path) = folder();
    let refused = || RedbStore::open(&path).err().expect("it is newer").code;
    filled(&path);
    let database = Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(TableDefinition::<&str, u64>::new("meta")).unwrap().insert("format", 2).unwrap();
    transaction.commit().unwrap();
    drop(database);
    assert_eq!(refused(), Code::DataNewer);
    // A newer layout of redb itself, in both commit slots.
    overwrite(&path, 64, &[4]);
    overwrite(&path, 192, &[4]);
    assert_eq!(refused(), Code::DataNewer);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// A file on a disk that can be full, and can have crashed.
#[derive(Debug)]
struct Disk {
    file: FileBackend,
    full: Arc<AtomicBool>,
}

impl Disk {
    fn written<T>(&self, write: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if self.full.load(Ordering::Relaxed) { Err(io::ErrorKind::StorageFull.into()) } else { write() }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }
    fn set_len(&self, length: u64) -> io::Result<()> {
        self.written(|| self.file.set_len(length))
    }
    fn sync_data(&self) -> io::Result<()> {
        self.written(|| self.file.sync_data())
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.written(|| self.file.write(offset, data))
    }
}

fn on_a_disk(path: &Path, full: &Arc<AtomicBool>) -> RedbStore {
    let full = Arc::clone(full);
    RedbStore::open_through(
        path,
        Box::new(move |file| Ok(Box::new(Disk { file: FileBackend::new(file)?, full: Arc::clone(&full) }))),
    )
    .unwrap()
}

#[test]
fn a_full_disk_stops_commits_only_until_there_is_room_again() {
    let (folder, path) = folder();
    let full = Arc::new(AtomicBool::new(false));
    let below = on_a_disk(&path, &full);
    below.commit(&changes([set(KIND, b"a", b"1")]), at(1)).unwrap();
    let store = WriteBehind::new(Box::new(below));
    store.change(vec![set(KIND, b"a", b"2"), set(KIND, b"b", &[7; 100_000])]);
    full.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        assert_eq!(store.flush(at(2)).unwrap_err().code, Code::DiskFull);
        assert_eq!(store.get(KIND, b"a").unwrap().as_deref(), Some(&b"2"[..]));
    }
    full.store(false, Ordering::Relaxed);
    store.flush(at(2)).unwrap();
    drop(store);
    let store = RedbStore::open(&path).unwrap();
    assert_eq!(store.position(), at(2));
    assert_eq!(store.get(KIND, b"b").unwrap().unwrap(), [7; 100_000]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_a_killed_process_leaves_has_changes_and_position_of_one_commit() {
    let (folder, path) = folder();
    let store = RedbStore::open(&path).unwrap();
    let copy = folder.path().join("copy.redb");
    for position in 1..=20u64 {
        let entries = (0..50u8).map(|key| set(KIND, &[key], &position.to_be_bytes()));
        store.commit(&changes(entries), at(position)).unwrap();
        // The bytes of the file as they are while it is open, as after a SIGKILL.
        fs::copy(&path, &copy).unwrap();
        let left = RedbStore::open(&copy).unwrap();
        assert_eq!(left.position(), at(position));
        let page = left.scan(KIND, b"", false, 100).unwrap();
        assert!(page.len() == 50 && page.iter().all(|(_, value)| *value == position.to_be_bytes()));
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}
