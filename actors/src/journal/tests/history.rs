//! What a follower is fed with: entries and positions out of memory and out of segments, and how long epochs reach, over restarts.

use super::*;
use std::ops::RangeInclusive;

const SEGMENT_BYTES: u64 = 1_024;

/// Entries of some epochs, in some segments; each epoch as often as it is named, with so many entries.
fn write_epochs(journal: &Journal<u64>, epochs: &[(u64, u64)]) {
    for (epoch, entries) in epochs {
        journal.lead(*epoch, OneSite).unwrap();
        for number in 0..*entries {
            append(journal, &[item(number, 10 + (number * 53 % 300) as usize)]);
        }
        journal.wait_durable(journal.tail()).unwrap();
    }
}

fn open_from(disk: &MemoryDisk, replay_from: u64) -> Journal<u64> {
    let (disk, witness): (Arc<dyn Disk>, _) = (Arc::new(disk.clone()), Witness::default());
    Journal::open_on(disk, options(SEGMENT_BYTES), witness.clone(), witness.hook(), replay_from, &mut |_| Ok(()))
        .unwrap()
}

#[test]
fn entries_are_the_same_out_of_memory_and_out_of_segments() {
    for recent_bytes_max in [0, 2_000, 1 << 20] {
        let (disk, witness) = (MemoryDisk::new(), Witness::default());
        let options = JournalOptions { recent_bytes_max, ..options(SEGMENT_BYTES) };
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let journal = Journal::open_on(shared, options, witness.clone(), witness.hook(), 0, &mut |_| Ok(())).unwrap();
        journal.watch(Arc::new(Told::default())).unwrap();
        write_epochs(&journal, &[(1, 13), (2, 1), (5, 16)]);
        let all = recover(&disk, 0).unwrap();
        let expected = |range: RangeInclusive<u64>| -> Vec<mirror::Entry> {
            let of_it = all.iter().filter(|entry| range.contains(&entry.sequence)).cloned();
            of_it
                .map(|Entry { sequence, epoch, moment, address, record, hash, .. }| {
                    let position = Position { sequence, epoch, hash: hash.into() };
                    mirror::Entry { position, moment, address: address.into(), record: record.into() }
                })
                .collect()
        };
        for after in 0..=31 {
            for through in [0, 1, after, after + 1, after + 7, 29, 30, u64::MAX] {
                let found = journal.entries(after, through, usize::MAX).unwrap();
                assert_eq!(found, expected(after + 1..=through), "behind {after} through {through}");
                let some = journal.entries(after, through, 1_000).unwrap();
                let bytes: usize = some.iter().map(|entry| entry.address.len() + entry.record.len()).sum();
                assert_eq!(some, expected(after + 1..=through.min(after + some.len() as u64)));
                assert!(bytes <= 1_000 && some.is_empty() == found.is_empty());
            }
            let expected = expected(after..=after).first().map(|entry| entry.position);
            assert_eq!(journal.position(after).unwrap(), expected.or((after == 0).then(Position::default)));
        }
        // From place to place, as a follower is fed.
        let mut fed = Vec::new();
        loop {
            let more = journal.entries(fed.len() as u64, u64::MAX, 700).unwrap();
            if more.is_empty() {
                break;
            }
            fed.extend(more);
        }
        assert_eq!(fed, expected(1..=30));
    }
}

#[test]
fn entries_that_are_not_kept_are_named() {
    let journal = open_from(&MemoryDisk::new(), 0);
    write_epochs(&journal, &[(1, 30)]);
    let end = position(&journal, 20);
    journal.truncate_before(20, 0).unwrap();
    let first = journal.first();
    assert_eq!(code_of(journal.entries(first - 2, 30, usize::MAX)), Code::HistoryIncomplete);
    assert_eq!(journal.position(first - 2).unwrap(), None);
    assert_eq!(journal.entries(first - 1, 30, usize::MAX).unwrap().len() as u64, 31 - first);
    assert_eq!(journal.position(20).unwrap(), Some(end));
    assert!(journal.position(first - 1).unwrap().is_some(), "the first segment says what is before it");
}

#[test]
fn whoever_is_fed_while_segments_are_dropped_gets_a_whole_answer_or_none() {
    let journal = open_from(&MemoryDisk::new(), 0);
    journal.lead(1, OneSite).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..300 {
                journal.wait_durable(append(&journal, &[item(number, 150)])).unwrap();
                journal.truncate_before(number.saturating_sub(6), 0).unwrap();
            }
        });
        let mut seen = 0;
        while journal.durable() < 300 {
            let after = journal.first() - 1;
            match journal.entries(after, u64::MAX, 2_000) {
                Ok(entries) => {
                    let sequences: Vec<u64> = entries.iter().map(|entry| entry.position.sequence).collect();
                    assert_eq!(sequences, (after + 1..=after + entries.len() as u64).collect::<Vec<_>>());
                    seen += 1;
                }
                Err(fault) => assert_eq!(fault.code, Code::HistoryIncomplete, "{fault}"),
            }
            if let Some(position) = journal.position(after).unwrap() {
                assert_eq!(position.sequence, after);
            }
        }
        assert!(seen > 0);
    });
}

#[test]
fn the_history_survives_a_restart_wherever_replay_begins() {
    let disk = MemoryDisk::new();
    let journal = open_from(&disk, 0);
    write_epochs(&journal, &[(1, 9), (2, 1), (3, 1), (6, 11), (7, 4), (9, 12)]);
    let history = journal.history();
    let ends: Vec<(u64, u64)> = history.0.iter().map(|end| (end.sequence, end.epoch)).collect();
    assert_eq!(ends, [(9, 1), (10, 2), (11, 3), (22, 6), (26, 7), (38, 9)]);
    assert!(journal.statistics().segments > 6);
    journal.close().unwrap();
    for replay_from in 0..=39 {
        let journal = open_from(&disk, replay_from);
        assert_eq!(journal.history(), history, "replay from {replay_from}");
        // Nothing is ever written at an epoch before the last.
        assert_eq!(code_of(journal.lead(8, OneSite)), Code::Internal);
    }
    let journal = open_from(&disk, 0);
    journal.truncate_before(20, 0).unwrap();
    let first = journal.first();
    assert!(first > 12);
    assert_eq!(journal.history(), history, "what was known stays known");
    let before = position(&journal, first - 1);
    journal.close().unwrap();
    // The entry before the first is known by its segment's header; here its epoch goes on.
    assert_eq!(before.epoch, 6);
    let kept = History(history.0.iter().filter(|end| end.sequence >= first).copied().collect());
    for replay_from in [0, 30, 39] {
        assert_eq!(open_from(&disk, replay_from).history(), kept);
    }
}

#[test]
fn a_damaged_segment_that_nobody_needs_hides_only_what_is_before_it() {
    let disk = MemoryDisk::new();
    let journal = open_from(&disk, 0);
    write_epochs(&journal, &[(1, 9), (2, 9), (3, 9), (4, 9)]);
    let history = journal.history();
    journal.close().unwrap();
    disk.change(&super::super::recovery::segment_name(1), |bytes| bytes[90] ^= 1);
    let found = open_from(&disk, 36).history();
    assert!(found.0.len() >= 3 && history.0.ends_with(&found.0[1..]), "{found:?}");
}
