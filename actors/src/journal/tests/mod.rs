//! What the journal promises, shown on a disk that lies (T12, invariants 1 and 3).

mod crash;
mod memory_disk;
mod promises;
mod reading;

use super::{Entry, Fatal, Journal, JournalOptions, Release, disk::Disk};
use hansa_core::{
    code::{Code, Fault},
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
    violations: Arc<Mutex<Vec<u64>>>,
    fatal: Arc<Mutex<Vec<Fault>>>,
}

impl Release for Witness {
    /// The sequence that the effect rests on.
    type Effect = u64;

    fn release(&mut self, effects: Vec<u64>) {
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
