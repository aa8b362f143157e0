//! That neither to write a snapshot into a file nor to put one in the place of a store takes memory that grows with it. It asks the
//! system what the whole process has taken, so it is a process of its own.

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
use std::{path::Path, sync::Arc};

struct Nowhere;

impl World for Nowhere {
    fn outward(&self, _: Outward) {}
}

/// Bytes of the store; in memory redb keeps up to 64 MiB of the file, and what is written at once is 16.
const STORE_BYTES: usize = 256 << 20;
const BOUND_BYTES: usize = 112 << 20;
const VALUE_BYTES: usize = 60_000;
const ENTRIES: u64 = 5;

fn ground(folder: &Path) -> Ground {
    let fatal: Fatal = Arc::new(|_| {});
    Ground::open(HouseOptions::new(folder), Arc::new(Nowhere), &fatal, false).unwrap().0
}

/// What the work takes at most, besides what there was.
fn taken<T>(work: impl FnOnce() -> T) -> (T, usize) {
    // Forgets the most that there was before.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status("VmRSS:");
    let done = work();
    (done, status("VmHWM:").saturating_sub(before))
}

/// Bytes that the system says.
fn status(name: &str) -> usize {
    let told = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = told.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    1_024 * line.trim().trim_end_matches(" kB").parse::<usize>().unwrap()
}

#[test]
fn a_snapshot_takes_no_memory_that_grows_with_it() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let end = Place { sequence: ENTRIES, epoch: 1, hash: [3; 32] };
    {
        let ground = ground(ours.path());
        ground.journal().install(&History(vec![end])).unwrap();
        ground.close().unwrap();
        drop(ground);
        let store = RedbStore::open(&ours.path().join("lookup.redb")).unwrap();
        let values = STORE_BYTES / VALUE_BYTES;
        for part in 0..16 {
            let keys = (0..values).filter(|key| key * 16 / values == part);
            let change = |key: usize| ((3, (key as u64).to_be_bytes().to_vec()), Some(vec![key as u8; VALUE_BYTES]));
            let changes: Changes = keys.map(change).collect();
            store.commit(&changes, Position { applied: ENTRIES }).unwrap();
        }
    }
    let path = ours.path().join("snapshot");
    let sender = ground(ours.path());
    let (snapshot, bytes) = taken(|| sender.snapshot(&path).unwrap());
    assert!(snapshot.label.bytes > (STORE_BYTES - (1 << 20)) as u64);
    println!("{bytes} bytes to write it");
    assert!(bytes < BOUND_BYTES, "to write {} bytes takes {bytes}", snapshot.label.bytes);
    drop(sender);

    let receiver = ground(theirs.path());
    let received = Received { path: path.clone(), label: snapshot.label };
    let ((), bytes) = taken(|| receiver.install(&snapshot.history, &received).unwrap());
    println!("{bytes} bytes to put it in place");
    assert!(bytes < BOUND_BYTES, "to read {} bytes takes {bytes}", snapshot.label.bytes);
    assert_eq!(receiver.journal().position(ENTRIES).unwrap(), Some(end));
    assert_eq!(receiver.snapshot(&path).unwrap().label, snapshot.label);
}
