//! What the journal promises, shown on a disk that lies (T12, invariants 1 and 3).

mod crash;
mod cutting;
mod history;
mod memory_disk;
mod pair;
mod promises;
mod reading;
mod seat;

use super::{Entry, Fatal, Journal, JournalOptions, Release, Watch, disk::Disk};
use hansa_core::{
    code::{Code, Fault},
    durability::Durability::{self, OneSite, TwoSites},
    mirror::{self, History, Position},
    moment::Moment,
};
use memory_disk::MemoryDisk;
use std::{
    sync::{Arc, Mutex},
    thread,
};

/// What is appended in tests: address and record.
type Item = (Vec<u8>, Vec<u8>);

/// Sees what is released, and looks at the disk while it is.
#[derive(Clone, Default)]
struct Witness {
    disk: Option<MemoryDisk>,
    released: Arc<Mutex<Vec<u64>>>,
    durability: Arc<Mutex<Vec<Durability>>>,
    violations: Arc<Mutex<Vec<u64>>>,
    fatal: Arc<Mutex<Vec<Fault>>>,
}

impl Release for Witness {
    /// The sequence that the effect rests on.
    type Effect = u64;

    fn release(&mut self, effects: Vec<u64>, durability: Durability) {
        self.durability.lock().unwrap().extend(effects.iter().map(|_| durability));
        if self.disk.as_ref().is_some_and(MemoryDisk::has_unsynced_data) {
            self.violations.lock().unwrap().extend(&effects);
        }
        self.released.lock().unwrap().extend(effects);
    }
}

impl Witness {
    fn of(disk: &MemoryDisk) -> Self {
        Self { disk: Some(disk.clone()), ..Self::default() }
    }

    fn hook(&self) -> Fatal {
        let fatal = Arc::clone(&self.fatal);
        Box::new(move |fault| fatal.lock().unwrap().push(fault))
    }

    fn released(&self) -> Vec<u64> {
        self.released.lock().unwrap().clone()
    }

    fn fatal(&self) -> Vec<Fault> {
        self.fatal.lock().unwrap().clone()
    }
}

fn options(segment_bytes: u64) -> JournalOptions {
    JournalOptions { segment_bytes, full_retry_delay_ms: 1, idle_mark_delay_ms: 3_600_000, ..JournalOptions::new("") }
}

fn open(disk: &MemoryDisk, segment_bytes: u64, witness: &Witness) -> Result<Journal<u64>, Fault> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Journal::open_on(disk, options(segment_bytes), witness.clone(), witness.hook(), 0, &mut |_| Ok(()))
}

/// Sees what a pair is told of its log.
#[derive(Default)]
struct Told {
    sealed: Mutex<Vec<Vec<Position>>>,
    synced: Mutex<Vec<Position>>,
}

impl Watch for Told {
    fn sealed(&self, ends: &[Position]) {
        self.sealed.lock().unwrap().push(ends.to_vec());
    }

    fn synced(&self, durable: Position) {
        self.synced.lock().unwrap().push(durable);
    }
}

/// An open journal that is watched, and what its watch is told.
fn watched(disk: &MemoryDisk, segment_bytes: u64, witness: &Witness) -> (Journal<u64>, Arc<Told>) {
    let journal = open(disk, segment_bytes, witness).unwrap();
    let told = Arc::new(Told::default());
    journal.watch(told.clone()).unwrap();
    (journal, told)
}

/// Hands the other journal what it lacks, so many bytes at once.
fn feed(from: &Journal<u64>, to: &Journal<u64>, bytes_max: usize) {
    loop {
        let entries = from.entries(to.tail(), u64::MAX, bytes_max).unwrap();
        if entries.is_empty() {
            return to.wait_durable(to.tail()).unwrap();
        }
        to.write(entries).unwrap();
    }
}

/// The entries of an epoch behind a position, as another sub-node would have written them.
fn foreign(behind: Position, epoch: u64, count: u64) -> Vec<mirror::Entry> {
    let disk = MemoryDisk::new();
    let (journal, _) = watched(&disk, 4_096, &Witness::default());
    journal.install(&History(vec![behind])).unwrap();
    journal.lead(epoch, OneSite).unwrap();
    for number in 0..count {
        append(&journal, &[item(number + 100 * epoch, 30)]);
    }
    journal.wait_durable(journal.tail()).unwrap();
    journal.entries(behind.sequence, u64::MAX, usize::MAX).unwrap()
}

fn position(journal: &Journal<u64>, sequence: u64) -> Position {
    journal.position(sequence).unwrap().unwrap()
}

/// What recovery finds, without a writer that would change anything but the tail.
fn recover(disk: &MemoryDisk, replay_from: u64) -> Result<Vec<Entry>, Fault> {
    let mut entries = Vec::new();
    super::recovery::recover(disk, replay_from, &mut |entry| {
        entries.push(entry);
        Ok(())
    })?;
    Ok(entries)
}

/// Two recoveries in a row, which must agree; the entries hang together.
fn recover_twice(disk: &MemoryDisk) -> Result<Vec<Entry>, Fault> {
    let entries = recover(disk, 0)?;
    assert_eq!(entries, recover(disk, 0)?, "a second recovery finds the same");
    for pair in entries.windows(2) {
        assert_eq!(pair[0].sequence + 1, pair[1].sequence);
        assert_eq!(pair[0].hash, pair[1].previous);
    }
    Ok(entries)
}

fn item(number: u64, record_bytes: usize) -> Item {
    (format!("machine-{number}").into_bytes(), vec![number as u8 | 1; record_bytes])
}

/// Appends `items` as one batch with one effect that rests on them.
fn append(journal: &Journal<u64>, items: &[Item]) -> u64 {
    let sequence = journal.tail() + items.len() as u64;
    assert_eq!(journal.append(items, Moment(sequence), vec![sequence]), sequence);
    sequence
}

/// Waits for something that another thread is about to do.
fn eventually(mut holds: impl FnMut() -> bool) {
    while !holds() {
        thread::yield_now();
    }
}

fn code_of<T>(outcome: Result<T, Fault>) -> Code {
    match outcome {
        Ok(_) => panic!("this should have been refused"),
        Err(fault) => fault.code,
    }
}
