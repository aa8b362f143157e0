//! Order, durability, a full disk, a failing disk, truncation, reopening.

use super::*;
use std::{collections::BTreeSet, sync::Barrier};

#[test]
fn effects_without_records_queue_behind_every_earlier_record() {
    let disk = MemoryDisk::new();
    let witness = Witness::of(&disk);
    let journal = open(&disk, 4_096, &witness).unwrap();
    let none: [Item; 0] = [];
    let mut expected = Vec::new();
    for round in 0..50 {
        journal.append(&[item(round, 100)], Moment(round), vec![round * 10, round * 10 + 1]);
        journal.append(&none, Moment(round), vec![round * 10 + 2]);
        expected.extend([round * 10, round * 10 + 1, round * 10 + 2]);
    }
    journal.close().unwrap();
    assert_eq!(witness.released(), expected);
    assert_eq!(*witness.violations.lock().unwrap(), [0; 0]);
}

#[test]
fn many_appenders_share_one_order_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let witness = Witness::default();
    let options = JournalOptions { segment_bytes: 64 << 10, ..JournalOptions::new(folder.path().join("journal")) };
    let journal = Journal::open(options.clone(), witness.clone(), witness.hook(), 1, &mut |_| Ok(())).unwrap();
    let start = Barrier::new(4);
    thread::scope(|scope| {
        for appender in 0..4u64 {
            let (journal, start) = (&journal, &start);
            scope.spawn(move || {
                start.wait();
                for round in 0..200 {
                    let name = appender.to_string();
                    let sequence = journal.append(&[(&name, vec![1; 100])], Moment(round), vec![0]);
                    if round % 16 == 0 {
                        journal.wait_durable(sequence).unwrap();
                    }
                }
            });
        }
    });
    journal.close().unwrap();
    let statistics = journal.statistics();
    assert_eq!((statistics.entries, statistics.tail, statistics.durable), (800, 800, 800));
    assert!(statistics.segments > 1);
    assert_eq!(witness.released().len(), 800);
    let mut sequence = 0;
    let mut moments = [0u64; 4];
    let again = Journal::open(options, witness.clone(), witness.hook(), 1, &mut |entry| {
        sequence += 1;
        let appender: usize = String::from_utf8(entry.address).unwrap().parse().unwrap();
        assert_eq!((entry.sequence, entry.moment), (sequence, Moment(moments[appender])));
        moments[appender] += 1;
        Ok(())
    });
    assert_eq!(again.unwrap().tail(), 800);
    assert_eq!(moments, [200; 4]);
}

#[test]
fn a_failed_sync_is_final_and_no_effect_leaves_after_it() {
    let disk = MemoryDisk::new();
    let witness = Witness::of(&disk);
    let journal = open(&disk, 4_096, &witness).unwrap();
    let durable = append(&journal, &[item(1, 10)]);
    journal.wait_durable(durable).unwrap();
    disk.fail_syncs(true);
    let lost = append(&journal, &[item(2, 10)]);
    assert_eq!(code_of(journal.wait_durable(lost)), Code::JournalFailed);
    // A sync that would now succeed must not be believed.
    disk.fail_syncs(false);
    let later = append(&journal, &[item(3, 10)]);
    assert_eq!(code_of(journal.wait_durable(later)), Code::JournalFailed);
    assert_eq!(code_of(journal.admits()), Code::JournalFailed);
    assert_eq!(code_of(journal.close()), Code::JournalFailed);
    assert_eq!(witness.released(), [durable]);
    assert_eq!(witness.fatal().len(), 1, "the node is told once");
    assert_eq!((journal.durable(), journal.statistics().disk), (durable, super::super::DiskState::Failed));
}

#[test]
fn a_release_that_panics_is_as_final_as_a_failed_disk() {
    struct Panics;
    impl Release for Panics {
        type Effect = ();
        fn release(&mut self, _: Vec<()>, _: Durability) {
            panic!("a mistake of the shell");
        }
    }
    let witness = Witness::default();
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let journal = Journal::open_on(disk, options(4_096), Panics, witness.hook(), 0, &mut |_| Ok(())).unwrap();
    journal.append(&[item(1, 10)], Moment(1), vec![()]);
    assert_eq!(code_of(journal.close()), Code::Internal);
    assert_eq!(witness.fatal().len(), 1);
}

#[test]
fn a_full_disk_refuses_new_work_keeps_what_was_admitted_and_recovers_by_itself() {
    let disk = MemoryDisk::new();
    disk.set_room(Some(2_000));
    let witness = Witness::of(&disk);
    let journal = open(&disk, 1_024, &witness).unwrap();
    journal.admits().unwrap();
    // Over half of the only segment: the next one is wanted, and there is no room for it.
    let first = append(&journal, &[item(1, 500)]);
    journal.wait_durable(first).unwrap();
    eventually(|| journal.admits().is_err());
    let fault = journal.admits().unwrap_err();
    assert_eq!((fault.code, journal.statistics().disk), (Code::DiskFull, super::super::DiskState::Full));
    // What is still appended uses the room that is left.
    let second = append(&journal, &[item(2, 100)]);
    journal.wait_durable(second).unwrap();
    // This finds none: it waits, and its effect with it.
    let third = append(&journal, &[item(3, 600)]);
    let fourth = append(&journal, &[item(4, 600)]);
    eventually(|| witness.released() == [first, second]);
    assert_eq!(journal.durable(), second);
    disk.set_room(None);
    journal.wait_durable(fourth).unwrap();
    eventually(|| journal.admits().is_ok());
    journal.close().unwrap();
    assert_eq!(witness.released(), [first, second, third, fourth]);
    assert_eq!(recover_twice(&disk).unwrap().len(), 4);
    assert_eq!(witness.fatal(), []);
}

#[test]
fn a_journal_on_a_full_disk_can_be_closed_and_has_told_nobody_of_what_is_lost() {
    let disk = MemoryDisk::new();
    disk.set_room(Some(1_024));
    let witness = Witness::of(&disk);
    let journal = open(&disk, 1_024, &witness).unwrap();
    let first = append(&journal, &[item(1, 500)]);
    let lost = append(&journal, &[item(2, 600)]);
    assert_eq!(code_of(journal.close()), Code::DiskFull);
    assert_eq!(code_of(journal.wait_durable(lost)), Code::DiskFull);
    assert_eq!(witness.released(), [first]);
    assert_eq!(recover_twice(&disk).unwrap().len(), 1);
}

#[test]
fn a_full_disk_that_refuses_even_reserved_room_is_waited_for() {
    let disk = MemoryDisk::new();
    let witness = Witness::of(&disk);
    let journal = open(&disk, 4_096, &witness).unwrap();
    disk.set_write_full(true);
    let sequence = append(&journal, &[item(1, 10)]);
    eventually(|| journal.admits().is_err());
    assert_eq!(code_of(journal.admits()), Code::DiskFull);
    disk.set_write_full(false);
    journal.wait_durable(sequence).unwrap();
    journal.admits().unwrap();
    assert_eq!(witness.fatal(), []);
}

#[test]
fn a_disk_that_is_full_from_the_start_is_named() {
    let disk = MemoryDisk::new();
    disk.set_room(Some(10));
    assert_eq!(code_of(open(&disk, 1_024, &Witness::of(&disk))), Code::DiskFull);
}

#[test]
fn a_queue_at_its_limit_answers_busy() {
    let disk = MemoryDisk::new();
    let witness = Witness::of(&disk);
    let options = JournalOptions { queue_entries_max: 3, ..options(4_096) };
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let journal = Journal::open_on(shared, options, witness.clone(), witness.hook(), 0, &mut |_| Ok(())).unwrap();
    disk.set_write_full(true);
    append(&journal, &[item(1, 10), item(2, 10), item(3, 10)]);
    eventually(|| journal.statistics().disk == super::super::DiskState::Full);
    disk.set_write_full(false);
    journal.wait_durable(3).unwrap();
    journal.admits().unwrap();
    let queued = journal.tail();
    assert_eq!(queued, 3);
}

/// A journal of some segments.
fn long_journal(disk: &MemoryDisk) -> Journal<u64> {
    let journal = open(disk, 1_024, &Witness::of(disk)).unwrap();
    for number in 0..20 {
        journal.wait_durable(append(&journal, &[item(number, 200)])).unwrap();
    }
    journal
}

#[test]
fn truncation_drops_whole_segments_and_nothing_that_may_be_needed() {
    let disk = MemoryDisk::new();
    let journal = long_journal(&disk);
    let before = journal.statistics().segments;
    assert_eq!(journal.truncate_before(1, 0).unwrap(), 0);
    let dropped = journal.truncate_before(10, 0).unwrap();
    assert!(dropped > 0 && journal.statistics().segments == before - dropped);
    assert!(journal.first() <= 10);
    let first = journal.first();
    // Even without a further sync the folder keeps what it became.
    let entries = recover(&disk.after_power_loss(1, &mut || false), first).unwrap();
    assert_eq!(entries.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), (first..=20).collect::<Vec<_>>());
    assert!(journal.truncate_before(u64::MAX, 0).unwrap() > 0);
    assert_eq!(journal.statistics().segments, 1, "the segment that is written stays");
    let last = append(&journal, &[item(1, 10)]);
    journal.close().unwrap();
    assert_eq!(recover(&disk, 0).unwrap().last().unwrap().sequence, last);
}

#[test]
fn replay_begins_where_the_store_left_off() {
    let disk = MemoryDisk::new();
    long_journal(&disk).close().unwrap();
    for replay_from in 1..=21 {
        let entries = recover(&disk, replay_from).unwrap();
        assert_eq!(
            entries.iter().map(|entry| entry.sequence).collect::<Vec<_>>(),
            (replay_from..=20).collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_journal_that_does_not_reach_what_is_needed_is_refused() {
    let disk = MemoryDisk::new();
    let journal = long_journal(&disk);
    journal.truncate_before(10, 0).unwrap();
    journal.close().unwrap();
    let early = recover(&disk, 1).unwrap_err();
    assert_eq!(early.code, Code::JournalBroken);
    assert!(early.message.contains("begins at entry") && early.help.is_some(), "{early}");
    let late = recover(&disk, 22).unwrap_err();
    assert_eq!(late.code, Code::JournalBroken);
    assert!(late.message.contains("ends at entry 20, but entry 21 is needed"), "{late}");
    assert_eq!(code_of(recover(&MemoryDisk::new(), 2)), Code::JournalBroken);
}

#[test]
fn a_lost_segment_is_refused() {
    let disk = MemoryDisk::new();
    long_journal(&disk).close().unwrap();
    let names = disk.names();
    for name in &names[1..names.len() - 1] {
        let gap = disk.copy();
        gap.lose(name);
        assert_eq!(code_of(recover(&gap, 0)), Code::JournalBroken);
    }
}

#[test]
fn a_segment_of_another_journal_is_refused() {
    let (disk, other) = (MemoryDisk::new(), MemoryDisk::new());
    long_journal(&disk).close().unwrap();
    let journal = open(&other, 1_024, &Witness::of(&other)).unwrap();
    for number in 0..20 {
        journal.wait_durable(append(&journal, &[item(number + 1, 200)])).unwrap();
    }
    journal.close().unwrap();
    let name = &disk.names()[1];
    disk.change(name, |bytes| *bytes = other.bytes(name));
    assert_eq!(code_of(recover(&disk, 0)), Code::JournalBroken);
}

#[test]
fn a_segment_of_a_newer_format_is_left_alone() {
    let disk = MemoryDisk::new();
    long_journal(&disk).close().unwrap();
    let name = disk.names().pop().unwrap();
    disk.change(&name, |bytes| bytes[8] = 3);
    let before = disk.bytes(&name);
    assert_eq!(code_of(recover(&disk, 0)), Code::DataNewer);
    assert_eq!(disk.bytes(&name), before);
}

#[test]
fn a_segment_of_an_older_format_is_refused_and_it_is_said_what_to_do() {
    let disk = MemoryDisk::new();
    long_journal(&disk).close().unwrap();
    let name = disk.names().pop().unwrap();
    disk.change(&name, |bytes| bytes[8] = 1);
    let before = disk.bytes(&name);
    let fault = recover(&disk, 0).unwrap_err();
    assert_eq!((fault.code, fault.help.is_some()), (Code::DataOlder, true), "{fault}");
    assert_eq!(disk.bytes(&name), before);
}

#[test]
fn a_fault_of_the_replay_ends_it() {
    let disk = MemoryDisk::new();
    long_journal(&disk).close().unwrap();
    let mut seen = 0;
    let outcome = super::super::recovery::recover(&disk, 0, &mut |_| {
        seen += 1;
        if seen == 5 { Err(Fault::new(Code::Internal, "the machine does not know this record")) } else { Ok(()) }
    });
    assert_eq!((code_of(outcome.map(|_| ())), seen), (Code::Internal, 5));
}

#[test]
fn a_journal_opened_a_thousand_times_keeps_every_entry() {
    let disk = MemoryDisk::new();
    for round in 0..1_000u64 {
        let journal = open(&disk, 16 << 10, &Witness::of(&disk)).unwrap();
        assert_eq!(journal.tail(), round);
        append(&journal, &[item(round, 20)]);
        drop(journal);
    }
    let entries = recover_twice(&disk).unwrap();
    assert_eq!(entries.len(), 1_000);
    assert_eq!(entries.iter().map(|entry| *entry.hash.as_bytes()).collect::<BTreeSet<_>>().len(), 1_000);
}

#[test]
fn opening_and_closing_writes_nothing_new() {
    let disk = MemoryDisk::new();
    long_journal(&disk).close().unwrap();
    let name = disk.names().pop().unwrap();
    let before = disk.bytes(&name);
    for _ in 0..10 {
        open(&disk, 1_024, &Witness::of(&disk)).unwrap().close().unwrap();
    }
    assert_eq!(disk.bytes(&name), before);
}

#[test]
fn a_real_folder_shows_its_first_sequence_without_being_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    assert_eq!(super::super::first_kept_sequence(&path).unwrap(), None);
    let witness = Witness::default();
    let options = JournalOptions { segment_bytes: 4_096, ..JournalOptions::new(&path) };
    let journal = Journal::open(options, witness.clone(), witness.hook(), 1, &mut |_| Ok(())).unwrap();
    for number in 0..40 {
        append(&journal, &[item(number, 500)]);
    }
    journal.wait_durable(40).unwrap();
    journal.truncate_before(30, 0).unwrap();
    assert_eq!(super::super::first_kept_sequence(&path).unwrap(), Some(journal.first()));
    assert!(journal.first() > 1);
}
