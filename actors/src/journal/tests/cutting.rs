//! The log is cut, or put in another's place: at every entry, and with a crash at every step (M2, M3).

use super::*;
use fastrand::Rng;

const SEGMENT_BYTES: u64 = 1_024;

/// A closed journal of 20 entries of two epochs in some segments, one of which is of the size of its only record.
fn closed() -> MemoryDisk {
    let disk = MemoryDisk::new();
    let (journal, _) = watched(&disk, SEGMENT_BYTES, &Witness::default());
    for number in 1..=20 {
        if number == 1 || number == 9 {
            journal.lead(number, OneSite).unwrap();
        }
        let sequence = append(&journal, &[item(number, if number == 13 { 1_400 } else { 150 })]);
        if number % 3 > 0 {
            journal.wait_durable(sequence).unwrap();
        }
    }
    assert!(journal.statistics().segments > 4);
    journal.close().unwrap();
    // What a loss of power leaves of it is all of it.
    disk.after_power_loss(1, &mut || false)
}

fn positions(entries: &[Entry]) -> Vec<Position> {
    let position = |entry: &Entry| Position { sequence: entry.sequence, epoch: entry.epoch, hash: entry.hash.into() };
    std::iter::once(Position::default()).chain(entries.iter().map(position)).collect()
}

/// It takes what another wrote behind its end, and keeps it.
fn goes_on(disk: &MemoryDisk, before: &[Entry]) {
    let journal = open(disk, SEGMENT_BYTES, &Witness::default()).unwrap();
    let tail = positions(before).pop().unwrap();
    assert_eq!(journal.follow(tail).unwrap(), tail);
    journal.write(foreign(tail, 30, 5)).unwrap();
    journal.close().unwrap();
    let after = recover_twice(&disk.after_power_loss(1, &mut || false)).unwrap();
    assert_eq!((&after[..before.len()], after.len()), (before, before.len() + 5));
}

#[test]
fn a_log_is_cut_at_any_entry_and_goes_on_there() {
    let whole = closed();
    let entries = recover(&whole, 0).unwrap();
    for (after, position) in positions(&entries).into_iter().enumerate() {
        for segment_bytes in [SEGMENT_BYTES, 8_192] {
            let disk = whole.copy();
            let witness = Witness::of(&disk);
            let (journal, _) = watched(&disk, segment_bytes, &witness);
            assert_eq!(journal.cut(position).unwrap(), position);
            assert_eq!((journal.tail(), journal.durable()), (after as u64, after as u64));
            assert_eq!(journal.position(after as u64 + 1).unwrap(), None);
            assert_eq!(journal.entries(0, u64::MAX, usize::MAX).unwrap().len(), after);
            assert_eq!(journal.history().tail(), position);
            let others = foreign(position, 12, 9);
            journal.write(others.clone()).unwrap();
            journal.wait_durable(after as u64 + 9).unwrap();
            // Once more, into what came behind the first cut.
            let again = others[4].position;
            assert_eq!(journal.cut(again).unwrap(), again);
            let history = journal.history();
            journal.close().unwrap();
            let left = disk.after_power_loss(1, &mut || false);
            let found = recover_twice(&left).unwrap();
            assert_eq!(found[..after], entries[..after]);
            assert_eq!(positions(&found).last(), Some(&again));
            assert_eq!(open(&left, segment_bytes, &witness).unwrap().history(), history);
            assert_eq!(witness.fatal(), []);
        }
    }
}

#[test]
fn a_log_is_not_cut_where_it_is_not_what_somebody_thinks() {
    let disk = closed();
    let places = positions(&recover(&disk, 0).unwrap());
    let (journal, _) = watched(&disk, SEGMENT_BYTES, &Witness::default());
    let refused = |journal: &Journal<u64>, after: Position| {
        let fault = journal.cut(after).unwrap_err();
        assert_eq!(fault.code, Code::JournalBroken, "{fault}");
        assert_eq!((journal.durable(), journal.tail()), (20, 20));
    };
    for sequence in [3, 13, 20] {
        refused(&journal, Position { epoch: 2, ..places[sequence] });
        refused(&journal, Position { hash: [7; 32], ..places[sequence] });
    }
    refused(&journal, Position { sequence: 21, ..places[20] });
    journal.truncate_before(9, 0).unwrap();
    let first = journal.first() as usize;
    assert!(first > 2);
    refused(&journal, places[first - 2]);
    refused(&journal, Position::default());
    // What was committed is never cut.
    journal.cut(places[20]).unwrap();
    journal.commit(15);
    refused(&journal, places[14]);
    assert_eq!(journal.cut(places[15]).unwrap(), places[15]);
    journal.close().unwrap();
    let found = recover_twice(&disk).unwrap();
    assert_eq!((found[0].sequence as usize, found.last().unwrap().sequence), (first, 15));
    // All that is kept may go, for the first segment says what was before it.
    let (journal, _) = watched(&disk, SEGMENT_BYTES, &Witness::default());
    assert_eq!(journal.cut(places[first - 1]).unwrap(), places[first - 1]);
    assert_eq!(journal.first() as usize, first);
    journal.write(foreign(places[first - 1], 9, 2)).unwrap();
    journal.close().unwrap();
    assert_eq!(recover_twice(&disk).unwrap().len(), 2);
}

#[test]
fn what_another_wrote_and_the_disk_does_not_have_yet_is_cut_in_the_queue() {
    let disk = MemoryDisk::new();
    let (journal, _) = watched(&disk, SEGMENT_BYTES, &Witness::default());
    let entries = foreign(Position::default(), 1, 6);
    disk.set_write_full(true);
    journal.write(entries[..1].to_vec()).unwrap();
    eventually(|| journal.statistics().disk == super::super::DiskState::Full);
    journal.write(entries[1..].to_vec()).unwrap();
    disk.set_write_full(false);
    let at = entries[2].position;
    eventually(|| journal.cut(at).is_ok());
    journal.write(foreign(at, 2, 2)).unwrap();
    journal.close().unwrap();
    let found = recover_twice(&disk).unwrap();
    assert_eq!(found.iter().map(|entry| entry.epoch).collect::<Vec<_>>(), [1, 1, 1, 2, 2]);
}

/// M3: whatever step a crash comes at, the log is whole: it ends where it ended, or at the cut, or at the end of a segment between.
#[test]
fn a_crash_at_any_step_of_a_cut_leaves_a_whole_log() {
    let whole = closed();
    let entries = recover(&whole, 0).unwrap();
    let places = positions(&entries);
    for seed in 0..16 {
        let mut rng = Rng::with_seed(seed);
        let after = rng.usize(0..20);
        for crash_step in 1.. {
            let disk = whole.copy();
            let (journal, _) = watched(&disk, SEGMENT_BYTES, &Witness::default());
            let others = foreign(places[after], 12, 4);
            disk.crash_after(crash_step);
            let cut = journal.cut(places[after]);
            let written =
                cut.is_ok() && journal.write(others.clone()).is_ok() && journal.wait_durable(after as u64 + 4).is_ok();
            let closed = journal.close();
            for _ in 0..4 {
                let left = disk.after_some_power_loss(&mut rng);
                let context = format!("cut behind {after}, step {crash_step}, files {:?}", left.names());
                let found = recover_twice(&left).unwrap_or_else(|fault| panic!("{context}: {fault}"));
                let common = found.iter().zip(&entries).take_while(|(found, old)| found == old).count();
                assert!(common >= after, "{context}: only {common} are left");
                if cut.is_err() {
                    assert_eq!(common, found.len(), "{context}: nobody wrote anything else");
                } else {
                    assert_eq!(common, after, "{context}: what was cut came back");
                    assert!(found[after..].iter().zip(&others).all(|(found, other)| found.hash == other.position.hash));
                    assert!(!written || found.len() == after + 4, "{context}: what was durable is lost");
                }
                goes_on(&left, &found);
            }
            if !disk.has_crashed() {
                assert!(written && closed.is_ok());
                break;
            }
        }
    }
}

#[test]
fn a_mark_vouches_for_what_a_cut_left_and_for_nothing_else() {
    let disk = closed();
    let places = positions(&recover(&disk, 0).unwrap());
    let (journal, _) = watched(&disk, SEGMENT_BYTES, &Witness::default());
    journal.cut(places[11]).unwrap();
    // The process dies: nothing more is written.
    let left = disk.copy();
    let name = left.names().into_iter().rfind(|name| name.ends_with(".seg")).unwrap();
    let used = left.bytes(&name).iter().rposition(|&byte| byte != 0).unwrap() + 1;
    let entries_end = used.next_multiple_of(8) - super::super::format::MARK_BYTES;
    assert_eq!(recover_twice(&left).unwrap().len(), 11);
    for offset in (0..entries_end).step_by(7) {
        let changed = left.copy();
        changed.change(&name, |bytes| bytes[offset] ^= 0x10);
        assert!(matches!(code_of(recover(&changed, 0)), Code::JournalBroken | Code::DataNewer), "byte {offset}");
    }
    // A torn batch behind the cut is no damage, though entries of the same numbers had been durable once.
    disk.crash_after(1);
    journal.write(foreign(places[11], 12, 3)).unwrap();
    assert!(journal.close().is_err());
    let mut rng = Rng::with_seed(3);
    for _ in 0..50 {
        let torn = disk.after_some_power_loss(&mut rng);
        assert!((11..=14).contains(&recover_twice(&torn).unwrap().len()));
    }
}

/// M3: a snapshot takes the place of the log.
#[test]
fn a_log_goes_on_behind_a_snapshot() {
    let whole = closed();
    let places = positions(&recover(&whole, 0).unwrap());
    let elsewhere = |sequence| Position { sequence, epoch: 15, hash: [5; 32] };
    let segment_border = whole.names()[2][..20].parse::<u64>().unwrap() - 1;
    for tail in [elsewhere(500), elsewhere(20), elsewhere(12), elsewhere(segment_border), elsewhere(1), places[20]] {
        let disk = whole.copy();
        let (journal, _) = watched(&disk, SEGMENT_BYTES, &Witness::of(&disk));
        let history = History(vec![Position { sequence: 1, epoch: 1, hash: [1; 32] }, tail]);
        let history = if tail.sequence == 1 { History(vec![tail]) } else { history };
        journal.install(&history).unwrap();
        assert_eq!(
            (journal.first(), journal.tail(), journal.durable()),
            (tail.sequence + 1, tail.sequence, tail.sequence)
        );
        assert_eq!(
            (journal.history(), journal.committed()),
            (history, tail.sequence),
            "what a snapshot reflects counts"
        );
        assert_eq!(journal.position(tail.sequence).unwrap(), Some(tail));
        assert_eq!(journal.entries(tail.sequence, u64::MAX, 1).unwrap(), []);
        assert_eq!(journal.statistics().segments, 1);
        let others = foreign(tail, 16, 8);
        journal.write(others.clone()).unwrap();
        journal.wait_durable(tail.sequence + 8).unwrap();
        assert_eq!(journal.entries(tail.sequence, u64::MAX, usize::MAX).unwrap(), others);
        assert_eq!(journal.cut(tail).unwrap(), tail, "it can be cut where it begins");
        journal.close().unwrap();
        let left = disk.after_power_loss(1, &mut || false);
        let journal = open(&left, SEGMENT_BYTES, &Witness::default()).unwrap();
        assert_eq!((journal.history(), journal.tail()), (History(vec![tail]), tail.sequence));
        journal.write(others).unwrap();
        journal.close().unwrap();
        assert_eq!(recover_twice(&left).unwrap().len(), 8);
    }
}

#[test]
fn a_crash_at_any_step_of_an_installation_leaves_the_old_log_or_the_new_one() {
    let whole = closed();
    let entries = recover(&whole, 0).unwrap();
    for sequence in [500, 20, 12, 1] {
        let tail = Position { sequence, epoch: 15, hash: [5; 32] };
        for crash_step in 1.. {
            let mut rng = Rng::with_seed(crash_step);
            let disk = whole.copy();
            let (journal, _) = watched(&disk, SEGMENT_BYTES, &Witness::default());
            disk.crash_after(crash_step);
            let installed = journal.install(&History(vec![tail]));
            let _ = journal.close();
            for _ in 0..4 {
                let left = disk.after_some_power_loss(&mut rng);
                let context = format!("snapshot of {sequence}, step {crash_step}, files {:?}", left.names());
                let found = recover_twice(&left).unwrap_or_else(|fault| panic!("{context}: {fault}"));
                let journal = open(&left, SEGMENT_BYTES, &Witness::default()).unwrap();
                if journal.history().tail() == tail {
                    assert_eq!((found.len(), journal.first()), (0, sequence + 1), "{context}");
                    assert_eq!(journal.statistics().segments, 1, "{context}: nothing is left over");
                } else {
                    assert!(installed.is_err(), "{context}");
                    assert_eq!(found, entries[..found.len()], "{context}");
                }
                let tail = journal.history().tail();
                journal.write(foreign(tail, 30, 3)).unwrap();
                journal.close().unwrap();
                assert_eq!(recover_twice(&left).unwrap().len(), found.len() + 3, "{context}");
            }
            if !disk.has_crashed() {
                assert!(installed.is_ok());
                break;
            }
        }
    }
}
