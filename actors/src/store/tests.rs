//! What a store promises: every implementation the same, whole commits, reads that see what waits.

use super::*;
use hansa_core::code::Code;
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

fn change(kind: u8, key: &[u8], value: Option<&[u8]>) -> Change {
    Change { kind, key: key.to_vec(), value: value.map(<[u8]>::to_vec) }
}

fn at(applied: u64) -> Position {
    Position { resume_from: applied + 1, applied }
}

/// Never commits by itself in the time a test takes.
fn patient() -> WriteBehindOptions {
    WriteBehindOptions { commit_delay_ms: 3_600_000, retry_delay_ms: 1, ..WriteBehindOptions::default() }
}

/// A store that can be held up in the middle of a commit, and can refuse it.
#[derive(Default)]
struct Gate {
    store: MemoryStore,
    closed: Mutex<bool>,
    opened: Condvar,
    inside: AtomicBool,
    refuses: AtomicBool,
}

impl Gate {
    fn set_closed(&self, closed: bool) {
        *self.closed.lock().unwrap() = closed;
        self.opened.notify_all();
    }
}

impl Store for Gate {
    fn get(&self, kind: u8, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        self.store.get(kind, key)
    }

    fn scan(&self, kind: u8, from: Bound<&[u8]>, reverse: bool, limit: usize) -> Result<Vec<KeyValue>, Fault> {
        self.store.scan(kind, from, reverse, limit)
    }

    fn commit(&self, changes: &[Change], position: Position) -> Result<(), Fault> {
        self.inside.store(true, Ordering::SeqCst);
        let closed = self.closed.lock().unwrap();
        drop(self.opened.wait_while(closed, |closed| *closed).unwrap());
        self.inside.store(false, Ordering::SeqCst);
        if self.refuses.load(Ordering::SeqCst) {
            return Err(Fault::new(Code::DiskFull, "no room"));
        }
        self.store.commit(changes, position)
    }

    fn position(&self) -> Result<Position, Fault> {
        self.store.position()
    }
}

/// Everything a store can be asked, on any of them.
fn behaves(store: &dyn Store) {
    assert_eq!(store.position().unwrap(), Position { resume_from: 1, applied: 0 });
    assert_eq!(store.get(1, b"a").unwrap(), None);
    let keys: [&[u8]; 4] = [b"", b"a", b"ab", b"b"];
    let mut changes: Vec<_> = keys.iter().map(|key| change(1, key, Some(key))).collect();
    changes.extend([
        change(0, b"zz", Some(b"lower")),
        change(2, b"", Some(b"upper")),
        change(255, b"q", Some(b"last")),
    ]);
    changes.extend([change(1, b"c", Some(b"gone")), change(1, b"c", None)]);
    store.commit(&changes, at(7)).unwrap();
    assert_eq!(store.position().unwrap(), at(7));
    assert_eq!(store.get(1, b"ab").unwrap().unwrap(), b"ab");
    let scan = |from, reverse, limit| -> Vec<Vec<u8>> {
        store.scan(1, from, reverse, limit).unwrap().into_iter().map(|(key, _)| key).collect()
    };
    assert_eq!(scan(Bound::Unbounded, false, 9), keys);
    assert_eq!(scan(Bound::Unbounded, true, 2), [b"b".to_vec(), b"ab".to_vec()]);
    assert_eq!(scan(Bound::Included(b"a"), false, 9), keys[1..]);
    assert_eq!(scan(Bound::Excluded(b"a"), false, 1), keys[2..3]);
    assert_eq!(scan(Bound::Included(b"ab"), true, 9), [b"ab".to_vec(), b"a".to_vec(), b"".to_vec()]);
    assert_eq!(scan(Bound::Excluded(b"a"), true, 9), [b"".to_vec()]);
    assert_eq!(store.scan(255, Bound::Unbounded, false, 9).unwrap(), [(b"q".to_vec(), b"last".to_vec())]);
}

#[test]
fn every_store_means_the_same() {
    let folder = tempfile::tempdir().unwrap();
    behaves(&MemoryStore::default());
    behaves(&RedbStore::open(&folder.path().join("lookup.redb")).unwrap());
}

#[test]
fn a_store_on_disk_comes_back_with_its_position() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lookup.redb");
    for round in 0..5u64 {
        let store = RedbStore::open(&path).unwrap();
        assert_eq!(store.position().unwrap().applied, round);
        assert_eq!(store.scan(1, Bound::Unbounded, false, 100).unwrap().len(), round as usize);
        assert_eq!(store.moved_aside(), None);
        store.commit(&[change(1, &round.to_be_bytes(), Some(b"x"))], at(round + 1)).unwrap();
    }
}

/// The file as a crash leaves it: copied while the store is open, after each commit.
#[test]
fn changes_and_position_are_committed_together() {
    let folder = tempfile::tempdir().unwrap();
    let store = RedbStore::open(&folder.path().join("lookup.redb")).unwrap();
    for round in 1..=10u64 {
        store.commit(&[change(1, b"key", Some(&round.to_be_bytes()))], at(round)).unwrap();
        let copy = folder.path().join(format!("crashed-{round}.redb"));
        fs::copy(folder.path().join("lookup.redb"), &copy).unwrap();
        let crashed = RedbStore::open(&copy).unwrap();
        assert_eq!(crashed.moved_aside(), None);
        assert_eq!(crashed.position().unwrap(), at(round));
        assert_eq!(crashed.get(1, b"key").unwrap().unwrap(), round.to_be_bytes());
    }
}

fn filled_file(path: &Path) {
    let store = RedbStore::open(path).unwrap();
    let changes: Vec<_> = (0..200u64).map(|key| change(1, &key.to_be_bytes(), Some(&[7; 300]))).collect();
    store.commit(&changes, at(200)).unwrap();
}

#[test]
fn a_file_that_is_no_store_is_moved_aside_and_an_empty_one_begins() {
    let folder = tempfile::tempdir().unwrap();
    let spoil: [fn(&Path); 3] = [
        |path| fs::write(path, "this is no store").unwrap(),
        |path| fs::write(path, vec![0xa5; 1 << 20]).unwrap(),
        |path| {
            let mut bytes = fs::read(path).unwrap();
            bytes[..512].fill(0x33);
            fs::write(path, bytes).unwrap();
        },
    ];
    for (case, spoil) in spoil.into_iter().enumerate() {
        let path = folder.path().join(format!("lookup-{case}.redb"));
        filled_file(&path);
        spoil(&path);
        let spoiled = fs::read(&path).unwrap();
        let store = RedbStore::open(&path).unwrap();
        let aside: PathBuf = store.moved_aside().expect("it was moved aside").to_owned();
        assert!(aside.to_str().unwrap().contains(".redb.broken-"));
        assert_eq!(fs::read(aside).unwrap(), spoiled, "nothing is deleted");
        assert_eq!(store.position().unwrap(), Position::default(), "everything is to be replayed");
        assert_eq!(store.get(1, &0u64.to_be_bytes()).unwrap(), None);
        store.commit(&[change(1, b"new", Some(b"x"))], at(1)).unwrap();
    }
}

#[test]
fn a_store_that_is_open_elsewhere_is_not_moved_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lookup.redb");
    let _open = RedbStore::open(&path).unwrap();
    assert_eq!(RedbStore::open(&path).unwrap_err().code, Code::DataInUse);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn reads_see_what_waits_and_do_not_wait_for_a_commit_under_way() {
    let gate = Arc::new(Gate::default());
    gate.store.commit(&[change(1, b"a", Some(b"old")), change(1, b"b", Some(b"old"))], at(1)).unwrap();
    let behind = WriteBehind::new(Arc::clone(&gate) as Arc<dyn Store>, patient()).unwrap();
    gate.set_closed(true);
    behind.put(&mut vec![change(1, b"a", Some(b"new")), change(1, b"b", None), change(1, b"c", Some(b"new"))]).unwrap();
    std::thread::scope(|scope| {
        let flush = scope.spawn(|| behind.flush(at(5)));
        while !gate.inside.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        // The commit hangs; the store itself still has the old values.
        assert_eq!(behind.get(1, b"a").unwrap().unwrap(), b"new");
        assert_eq!(behind.get(1, b"b").unwrap(), None);
        behind.put(&mut vec![change(1, b"c", None), change(1, b"d", Some(b"newer"))]).unwrap();
        assert_eq!(behind.get(1, b"c").unwrap(), None);
        let keys: Vec<_> =
            behind.scan(1, Bound::Unbounded, false, 9).unwrap().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, [b"a", b"d"]);
        assert_eq!(behind.position().unwrap(), at(1));
        gate.set_closed(false);
        flush.join().unwrap().unwrap();
    });
    assert_eq!(gate.store.position().unwrap(), at(5));
    assert_eq!(gate.store.get(1, b"c").unwrap().unwrap(), b"new", "what was put later is not part of the commit");
    assert_eq!(behind.get(1, b"c").unwrap(), None);
    behind.close().unwrap();
    assert_eq!(gate.store.get(1, b"c").unwrap(), None);
    assert_eq!(gate.store.get(1, b"d").unwrap().unwrap(), b"newer");
}

#[test]
fn a_full_overlay_answers_busy_and_keeps_what_it_refused() {
    let gate = Arc::new(Gate::default());
    gate.set_closed(true);
    let options = WriteBehindOptions { changes_max: 2, ..patient() };
    let behind = WriteBehind::new(Arc::clone(&gate) as Arc<dyn Store>, options).unwrap();
    behind.put(&mut vec![change(1, b"a", Some(b"1")), change(1, b"b", Some(b"2"))]).unwrap();
    let mut refused = vec![change(1, b"c", Some(b"3"))];
    assert_eq!(behind.put(&mut refused).unwrap_err().code, Code::Busy);
    assert_eq!(refused.len(), 1);
    gate.set_closed(false);
    behind.flush(at(1)).unwrap();
    behind.put(&mut refused).unwrap();
    assert_eq!((refused.len(), behind.get(1, b"c").unwrap()), (0, Some(b"3".to_vec())));
}

#[test]
fn enough_changes_are_committed_without_being_asked_for_and_repeat_the_last_position() {
    let store = Arc::new(MemoryStore::default());
    let options = WriteBehindOptions { commit_changes: 10, ..patient() };
    let behind = WriteBehind::new(Arc::clone(&store) as Arc<dyn Store>, options).unwrap();
    behind.flush(at(3)).unwrap();
    for key in 0..10u8 {
        behind.put(&mut vec![change(1, &[key], Some(b"x"))]).unwrap();
    }
    while store.get(1, &[9]).unwrap().is_none() {
        std::thread::yield_now();
    }
    assert_eq!(store.position().unwrap(), at(3));
}

#[test]
fn a_commit_that_fails_is_told_to_who_waits_and_tried_again_with_all_it_had() {
    let gate = Arc::new(Gate::default());
    gate.refuses.store(true, Ordering::SeqCst);
    let behind = WriteBehind::new(Arc::clone(&gate) as Arc<dyn Store>, patient()).unwrap();
    behind.put(&mut vec![change(1, b"a", Some(b"1")), change(1, b"b", Some(b"1"))]).unwrap();
    assert_eq!(behind.flush(at(1)).unwrap_err().code, Code::DiskFull);
    behind.put(&mut vec![change(1, b"b", Some(b"2"))]).unwrap();
    assert_eq!(behind.get(1, b"a").unwrap().unwrap(), b"1");
    gate.refuses.store(false, Ordering::SeqCst);
    // The attempt under way when the disk was mended may still have been refused.
    while behind.flush(at(2)).is_err() {}
    assert_eq!(gate.store.position().unwrap(), at(2));
    assert_eq!(gate.store.get(1, b"a").unwrap().unwrap(), b"1");
    assert_eq!(gate.store.get(1, b"b").unwrap().unwrap(), b"2");
    assert_eq!(behind.statistics().bytes_waiting, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever of it is committed, the write-behind store reads like a plain map.
    #[test]
    fn a_store_with_write_behind_reads_like_a_map(
        steps in prop::collection::vec((0u8..10, 0u8..12, any::<u8>()), 1..60),
        probes in prop::collection::vec((0u8..13, any::<bool>(), any::<bool>(), 0usize..6), 1..8),
    ) {
        let gate = Arc::new(Gate::default());
        let behind = WriteBehind::new(Arc::clone(&gate) as Arc<dyn Store>, patient()).unwrap();
        let mut expected = BTreeMap::new();
        let mut hold = false;
        for (act, key, value) in steps {
            match act {
                0 if !hold => behind.flush(at(1)).unwrap(),
                // From here on a commit hangs, so that both layers and the store have something.
                1 if !hold => {
                    gate.set_closed(true);
                    hold = true;
                    if behind.statistics().changes_waiting > 0 {
                        behind.begin_commit();
                        while !gate.inside.load(Ordering::SeqCst) {
                            std::thread::yield_now();
                        }
                    }
                }
                0..5 => {
                    behind.put(&mut vec![change(1, &[key], None)]).unwrap();
                    expected.remove(&vec![key]);
                }
                _ => {
                    behind.put(&mut vec![change(1, &[key], Some(&[value]))]).unwrap();
                    expected.insert(vec![key], vec![value]);
                }
            }
        }
        for (key, included, reverse, limit) in probes {
            let from = [key];
            let from = if included { Bound::Included(&from[..]) } else { Bound::Excluded(&from[..]) };
            let found = behind.scan(1, from, reverse, limit).unwrap();
            let mut plain: Vec<_> = expected
                .range::<[u8], _>(range(from, reverse))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            if reverse {
                plain.reverse();
            }
            plain.truncate(limit);
            prop_assert_eq!(found, plain);
            prop_assert_eq!(behind.get(1, &[key]).unwrap(), expected.get(&vec![key]).cloned());
        }
        gate.set_closed(false);
    }
}
