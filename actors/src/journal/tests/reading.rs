//! Looking back: single entries are found again in whatever segment they lie, each checked, while the journal runs.

use super::*;
use std::ops::{ControlFlow, RangeInclusive};

const SEGMENT_BYTES: u64 = 1_024;

/// A journal of `entries`, whose machines take turns by `machines`.
fn filled(disk: &MemoryDisk, entries: u64, machines: u64) -> Journal<u64> {
    let journal = open(disk, SEGMENT_BYTES, &Witness::default()).unwrap();
    for number in 1..=entries {
        append(&journal, &[item(number % machines, 100)]);
    }
    journal
}

fn read(journal: &Journal<u64>, machine: u64, wanted: &[RangeInclusive<u64>]) -> Result<Vec<Entry>, Fault> {
    let mut found = Vec::new();
    journal.read(&item(machine, 0).0, wanted, &mut |entry| {
        found.push(entry);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

fn sequences(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.sequence).collect()
}

#[test]
fn entries_are_found_by_their_sequences_as_recovery_finds_them() {
    let disk = MemoryDisk::new();
    let journal = filled(&disk, 60, 3);
    let wanted = [1..=1, 4..=4, 31..=31, 58..=58];
    let found = read(&journal, 1, &wanted).unwrap();
    assert_eq!(sequences(&found), [1, 4, 31, 58]);
    assert!(journal.statistics().segments > 3, "they lie in several segments");
    journal.close().unwrap();
    let all = recover(&disk, 0).unwrap();
    assert!(found.iter().all(|entry| all.contains(entry)));
}

#[test]
fn only_what_the_machine_itself_recorded_is_found_in_a_range() {
    let journal = filled(&MemoryDisk::new(), 60, 3);
    assert_eq!(sequences(&read(&journal, 2, &[2..=2, 10..=40]).unwrap()), [2, 11, 14, 17, 20, 23, 26, 29, 32, 35, 38]);
    assert_eq!(read(&journal, 2, &[1..=1]).unwrap(), []);
    assert_eq!(read(&journal, 2, &[]).unwrap(), []);
}

#[test]
fn a_reader_stops_when_it_is_told_to() {
    let journal = filled(&MemoryDisk::new(), 60, 1);
    let mut seen = 0;
    journal
        .read(&item(0, 0).0, &[1..=60], &mut |_| {
            seen += 1;
            Ok(if seen == 7 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })
        .unwrap();
    assert_eq!(seen, 7);
}

#[test]
fn what_was_dropped_is_passed_over_and_what_is_kept_is_found() {
    let disk = MemoryDisk::new();
    let journal = filled(&disk, 60, 1);
    journal.wait_durable(60).unwrap();
    let dropped = journal.truncate_before(40, 0).unwrap();
    assert!(dropped > 1);
    let found = sequences(&read(&journal, 0, &[1..=1, 30..=60]).unwrap());
    assert_eq!(found, (journal.first()..=60).collect::<Vec<_>>());
    assert_eq!(journal.statistics().segments_dropped, dropped as u64);
}

#[test]
fn segments_are_kept_up_to_their_room_and_the_oldest_go_first() {
    let disk = MemoryDisk::new();
    let journal = filled(&disk, 60, 1);
    journal.wait_durable(60).unwrap();
    let before = journal.statistics();
    assert_eq!(before.segment_bytes, before.segments as u64 * SEGMENT_BYTES);
    assert_eq!(journal.truncate_before(u64::MAX, before.segment_bytes).unwrap(), 0);
    assert_eq!(journal.truncate_before(u64::MAX, 3 * SEGMENT_BYTES).unwrap(), before.segments - 3);
    assert_eq!(journal.statistics().segment_bytes, 3 * SEGMENT_BYTES);
    drop(journal);
    // Another process counts what it finds.
    let journal = open(&disk, SEGMENT_BYTES, &Witness::default()).unwrap();
    assert_eq!(journal.statistics().segment_bytes, 3 * SEGMENT_BYTES);
    assert_eq!(journal.truncate_before(journal.first(), 0).unwrap(), 0, "what a checkpoint does not have is kept");
}

#[test]
fn an_entry_that_was_changed_is_refused_and_never_shown() {
    let whole = MemoryDisk::new();
    filled(&whole, 60, 1).close().unwrap();
    let first = super::super::recovery::segment_name(1);
    let written = whole.bytes(&first).iter().rposition(|&byte| byte != 0).unwrap();
    for offset in (0..written).step_by(13) {
        let disk = whole.copy();
        disk.change(&first, |bytes| bytes[offset] ^= 0x10);
        // As a node opens it that has a checkpoint, so that nothing else looks at the first segment.
        let (shared, witness): (Arc<dyn Disk>, _) = (Arc::new(disk), Witness::default());
        let options = options(SEGMENT_BYTES);
        let opened = Journal::open_on(shared, options, witness.clone(), witness.hook(), 60, &mut |_| Ok(()));
        let fault = read(&opened.unwrap(), 0, &[1..=60]).unwrap_err();
        assert!(matches!(fault.code, Code::JournalBroken | Code::DataNewer), "byte {offset}: {fault}");
    }
}
