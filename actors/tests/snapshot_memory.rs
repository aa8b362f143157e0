//! That neither to write a snapshot into a file nor to put one in the place of a store takes memory that grows with it. It asks the
//! system what the whole process has taken, so it is a process of its own, and has the store filled by another: what was freed
//! would be taken again unseen.

use hansa_actors::{
    house::{HouseOptions, World},
    snapshot::Received,
    standby::Ground,
    store::{Changes, Position, RedbStore, Store as _},
    supervisor::Fatal,
};
use hansa_core::{
    dispatch::Outward,
    mirror::{History, Position as Place},
};
use std::{path::Path, process::Command, sync::Arc};

struct Nowhere;

impl World for Nowhere {
    fn outward(&self, _: Outward) {}
}

/// Bytes of the store; in memory redb keeps up to 64 MiB of the file, and what is written at once is 16 MiB.
const STORE_BYTES: usize = 160 << 20;
const BOUND_BYTES: usize = 104 << 20;
const VALUE_BYTES: usize = 60_000;
const ENTRIES: u64 = 5;
/// Names the folder that a process of this test is to fill.
const FILLED: &str = "HANSA_TEST_FILLED";

fn ground(folder: &Path) -> Ground {
    let fatal: Fatal = Arc::new(|_| {});
    Ground::open(HouseOptions::new(folder), Arc::new(Nowhere), &fatal, false).unwrap().0
}

/// Bytes that the system says.
fn memory(name: &str) -> usize {
    let told = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = told.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    1_024 * line.trim().trim_end_matches(" kB").parse::<usize>().unwrap()
}

fn fill(folder: &Path, end: Place) {
    let ground = ground(folder);
    ground.journal().install(&History(vec![end])).unwrap();
    ground.close().unwrap();
    drop(ground);
    let store = RedbStore::open(&folder.join("lookup.redb")).unwrap();
    let values = STORE_BYTES / VALUE_BYTES;
    for part in 0..16 {
        let keys = (0..values).filter(|key| key * 16 / values == part);
        let change = |key: usize| ((3, (key as u64).to_be_bytes().to_vec()), Some(vec![key as u8; VALUE_BYTES]));
        let changes: Changes = keys.map(change).collect();
        store.commit(&changes, Position { applied: ENTRIES }).unwrap();
    }
}

#[test]
fn a_snapshot_takes_no_memory_that_grows_with_it() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let end = Place { sequence: ENTRIES, epoch: 1, hash: [3; 32] };
    if let Some(folder) = std::env::var_os(FILLED) {
        return fill(Path::new(&folder), end);
    }
    let mut filling = Command::new(std::env::current_exe().unwrap());
    assert!(filling.env(FILLED, ours.path()).status().unwrap().success());
    let before = memory("VmRSS:");
    let path = ours.path().join("snapshot");
    let sender = ground(ours.path());
    let snapshot = sender.snapshot(&path).unwrap();
    assert!(snapshot.label.bytes > (STORE_BYTES - (1 << 20)) as u64);
    drop(sender);

    let receiver = ground(theirs.path());
    let received = Received { path: path.clone(), label: snapshot.label };
    receiver.install(&snapshot.history, &received).unwrap();
    let taken = memory("VmHWM:") - before;
    assert!(taken < BOUND_BYTES, "{} bytes took {taken}", snapshot.label.bytes);
    assert_eq!(receiver.journal().position(ENTRIES).unwrap(), Some(end));
    assert_eq!(receiver.snapshot(&path).unwrap().label, snapshot.label);
}
