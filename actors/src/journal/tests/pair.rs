//! Two journals with one log: what the other wrote is the same here, nothing leaves before it counts, and whoever follows lets go
//! of what did not count (M1, M2).

use super::*;
use bytes::Bytes;
use std::sync::{Weak, mpsc};

/// Entries of many sizes, one larger than a segment.
fn items(count: u64) -> Vec<Item> {
    (0..count).map(|number| item(number, if number == 7 { 1_500 } else { (number * 37 % 300) as usize })).collect()
}

/// M1: hashes cover what both have in common, and nothing of how one of them keeps it.
#[test]
fn two_logs_are_the_same_over_other_segments_and_batches() {
    let (disk, witness) = (MemoryDisk::new(), Witness::default());
    let (active, told) = watched(&disk, 1_024, &witness);
    for (number, item) in items(40).into_iter().enumerate() {
        if number % 15 == 0 {
            // What is still queued would be written at the new epoch.
            active.wait_durable(active.tail()).unwrap();
            active.lead(1 + number as u64 / 15, OneSite).unwrap();
        }
        let sequence = append(&active, &[item]);
        if number % 3 == 0 {
            active.wait_durable(sequence).unwrap();
        }
    }
    active.wait_durable(40).unwrap();
    let ends: Vec<(u64, u64)> = active.history().0.iter().map(|end| (end.sequence, end.epoch)).collect();
    assert_eq!(ends, [(15, 1), (30, 2), (40, 3)]);
    for segment_bytes in [700, 1_024, 65_536] {
        let mirror_disk = MemoryDisk::new();
        let (mirror, mirror_told) = watched(&mirror_disk, segment_bytes, &witness);
        mirror.follow(Position::default()).unwrap();
        feed(&active, &mirror, 900);
        assert_eq!(mirror.history(), active.history());
        for sequence in 0..=40 {
            assert_eq!(mirror.position(sequence).unwrap(), active.position(sequence).unwrap());
        }
        assert_eq!(
            *mirror_told.sealed.lock().unwrap(),
            [] as [Vec<Position>; 0],
            "what another wrote is not sealed here"
        );
        eventually(|| mirror_told.synced.lock().unwrap().last() == Some(&position(&active, 40)));
        mirror.close().unwrap();
        assert_eq!(recover_twice(&mirror_disk).unwrap(), recover(&disk, 0).unwrap());
    }
    assert_eq!(told.sealed.lock().unwrap().last().unwrap().last(), Some(&position(&active, 40)));
    assert!(told.synced.lock().unwrap().is_sorted());
}

#[test]
fn the_watch_joins_the_history_without_a_gap() {
    let disk = MemoryDisk::new();
    let journal = open(&disk, 1_024, &Witness::default()).unwrap();
    let mut watches: Vec<(History, Arc<Told>)> = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            for item in items(300) {
                append(&journal, &[item]);
            }
        });
        for goal in (0..300).step_by(15) {
            eventually(|| journal.durable() >= goal);
            let told = Arc::new(Told::default());
            watches.push((journal.watch(told.clone()).unwrap(), told));
        }
    });
    let end = journal.watch(Arc::new(Told::default())).unwrap();
    let next = watches.iter().skip(1).map(|(history, _)| history).chain([&end]);
    for ((history, told), next) in watches.iter().zip(next) {
        let sealed: Vec<Position> = told.sealed.lock().unwrap().iter().map(|ends| ends[0]).collect();
        let synced = told.synced.lock().unwrap();
        assert_eq!(sealed, *synced);
        assert!(synced.first().is_none_or(|first| first.sequence > history.tail().sequence));
        assert_eq!(synced.last().copied().unwrap_or(history.tail()), next.tail(), "no batch is told to nobody");
    }
}

/// M1: the writer tells of a batch, and has it, before the disk does.
#[test]
fn what_is_sealed_can_be_shipped_before_it_is_durable() {
    #[derive(Default)]
    struct Ships {
        journal: Mutex<Weak<Journal<u64>>>,
        seen: Mutex<Vec<(u64, u64)>>,
    }
    impl Watch for Ships {
        fn sealed(&self, ends: &[Position]) {
            let journal = self.journal.lock().unwrap().upgrade().unwrap();
            let end = ends[ends.len() - 1];
            let entries = journal.entries(journal.durable(), end.sequence, usize::MAX).unwrap();
            assert_eq!(entries.last().unwrap().position, end);
            assert_eq!(journal.position(end.sequence).unwrap(), Some(end));
            self.seen.lock().unwrap().push((journal.durable(), end.sequence));
        }
        fn synced(&self, _: Position) {}
    }
    let (disk, witness) = (MemoryDisk::new(), Witness::default());
    // Room for nothing: what is not durable is kept all the same.
    let options = JournalOptions { recent_bytes_max: 0, ..options(1_024) };
    let shared: Arc<dyn Disk> = Arc::new(disk);
    let journal = Journal::open_on(shared, options, witness.clone(), witness.hook(), 0, &mut |_| Ok(())).unwrap();
    let (journal, ships) = (Arc::new(journal), Arc::new(Ships::default()));
    *ships.journal.lock().unwrap() = Arc::downgrade(&journal);
    journal.watch(ships.clone()).unwrap();
    for item in items(30) {
        append(&journal, &[item]);
    }
    journal.wait_durable(30).unwrap();
    let seen = ships.seen.lock().unwrap().clone();
    assert!(seen.iter().all(|(durable, sealed)| durable < sealed), "{seen:?}");
    assert_eq!(seen.last().unwrap().1, 30);
}

#[test]
fn nothing_leaves_before_it_is_committed_and_all_that_was_in_order() {
    let (disk, witness) = (MemoryDisk::new(), Witness::default());
    let (journal, _) = watched(&disk, 1_024, &witness);
    // Until somebody leads or follows, what is durable counts.
    let first = append(&journal, &[item(1, 20)]);
    journal.wait_committed(first).unwrap();
    eventually(|| witness.released() == [1]);
    journal.lead(2, OneSite).unwrap();
    for number in 2..=6 {
        journal.wait_durable(append(&journal, &[item(number, 20)])).unwrap();
    }
    journal.append::<&[u8], &[u8]>(&[], Moment(9), vec![60]);
    assert_eq!((journal.committed(), journal.durable(), witness.released()), (0, 6, vec![1]));
    // The writer sleeps, and is woken.
    journal.commit(3);
    eventually(|| witness.released() == [1, 2, 3]);
    assert_eq!(journal.committed(), 3);
    journal.commit(2);
    // What counts before it is durable leaves when it is.
    journal.commit(8);
    eventually(|| witness.released() == [1, 2, 3, 4, 5, 6, 60]);
    assert_eq!(journal.committed(), 6);
    journal.wait_committed(append(&journal, &[item(7, 20)])).unwrap();
    let last = append(&journal, &[item(8, 20), item(9, 20)]);
    journal.wait_durable(last).unwrap();
    journal.close().unwrap();
    assert_eq!(witness.released(), [1, 2, 3, 4, 5, 6, 60, 7], "the end of a group is what counts");
}

#[test]
fn what_is_held_waits_though_it_counts() {
    let (disk, witness) = (MemoryDisk::new(), Witness::default());
    let (journal, _) = watched(&disk, 1_024, &witness);
    journal.hold(true);
    journal.lead(1, OneSite).unwrap();
    append(&journal, &[item(1, 20)]);
    journal.commit(1);
    journal.wait_committed(1).unwrap();
    // The writer has looked at the gate when this is durable.
    journal.wait_durable(append(&journal, &[item(2, 20)])).unwrap();
    assert_eq!(witness.released(), []);
    journal.hold(false);
    eventually(|| witness.released() == [1]);
    journal.hold(true);
    journal.commit(2);
    journal.close().unwrap();
    assert_eq!(witness.released(), [1]);
}

#[test]
fn what_was_said_of_a_log_before_it_was_cut_lets_nothing_out_after_it() {
    let (disk, witness) = (MemoryDisk::new(), Witness::default());
    let (journal, _) = watched(&disk, 1_024, &witness);
    journal.lead(1, OneSite).unwrap();
    journal.wait_durable(append(&journal, &[item(1, 20)])).unwrap();
    // It counts before the disk has it; it never will.
    journal.hold(true);
    journal.commit(2);
    journal.follow(position(&journal, 1)).unwrap();
    journal.lead(2, OneSite).unwrap();
    for number in 2..=4 {
        journal.wait_durable(append(&journal, &[item(number, 20)])).unwrap();
    }
    assert_eq!((witness.released(), journal.committed()), (vec![], 1));
    journal.commit(3);
    eventually(|| witness.released() == [2, 3]);
}

#[test]
fn a_journal_closes_though_nobody_says_that_its_entries_count() {
    let (disk, witness) = (MemoryDisk::new(), Witness::default());
    let (journal, _) = watched(&disk, 1_024, &witness);
    journal.lead(1, OneSite).unwrap();
    let last = append(&journal, &[item(1, 20), item(2, 600), item(3, 600)]);
    thread::scope(|scope| {
        let waits = scope.spawn(|| journal.wait_committed(last));
        journal.close().unwrap();
        assert_eq!(code_of(waits.join().unwrap()), Code::JournalFailed);
    });
    assert_eq!(witness.released(), []);
    assert_eq!(recover_twice(&disk).unwrap().len(), 3);
    assert_eq!(code_of(journal.lead(2, OneSite)), Code::JournalFailed);
    assert_eq!(code_of(journal.follow(Position::default())), Code::JournalFailed);
    assert_eq!(code_of(journal.watch(Arc::new(Told::default()))), Code::JournalFailed);
}

#[test]
fn effects_that_nobody_commits_do_not_pile_up_for_ever() {
    let (disk, witness) = (MemoryDisk::new(), Witness::default());
    let options = JournalOptions { queue_entries_max: 3, ..options(4_096) };
    let shared: Arc<dyn Disk> = Arc::new(disk);
    let journal = Journal::open_on(shared, options, witness.clone(), witness.hook(), 0, &mut |_| Ok(())).unwrap();
    journal.watch(Arc::new(Told::default())).unwrap();
    journal.lead(1, OneSite).unwrap();
    for number in 0..3 {
        journal.admits().unwrap();
        journal.wait_durable(append(&journal, &[item(number, 10)])).unwrap();
    }
    eventually(|| journal.admits().is_err());
    assert_eq!(code_of(journal.admits()), Code::Busy);
    journal.commit(3);
    eventually(|| journal.admits().is_ok());
}

/// M2: what did not count is dropped, wherever it was, and the log goes on with what the other wrote.
#[test]
fn whoever_follows_drops_what_did_not_count() {
    let (disk, witness) = (MemoryDisk::new(), Witness::default());
    let (journal, _) = watched(&disk, 1_024, &witness);
    journal.lead(1, OneSite).unwrap();
    for number in 1..=5 {
        journal.wait_durable(append(&journal, &[item(number, 200)])).unwrap();
    }
    journal.commit(2);
    eventually(|| witness.released() == [1, 2]);
    let fork = position(&journal, 3);
    thread::scope(|scope| {
        let of_what_is_cut = scope.spawn(|| journal.wait_committed(5));
        eventually(|| !super::super::locked(&journal.shared.progress).waiters.is_empty());
        assert_eq!(journal.follow(fork).unwrap(), fork);
        assert_eq!(code_of(of_what_is_cut.join().unwrap()), Code::PairNotReady);
    });
    assert_eq!((journal.tail(), journal.durable(), journal.committed()), (3, 3, 2));
    assert_eq!(journal.append(&[item(9, 10)], Moment(1), vec![9]), 3, "it takes nothing any more");
    assert_eq!(code_of(journal.admits()), Code::PairNotReady);
    let others = foreign(fork, 2, 4);
    journal.write(others.clone()).unwrap();
    journal.commit(7);
    journal.wait_committed(7).unwrap();
    assert_eq!(journal.entries(3, 7, usize::MAX).unwrap(), others);
    // It leads again, and what waits then is its own.
    journal.lead(3, OneSite).unwrap();
    let own = append(&journal, &[item(8, 10)]);
    journal.commit(own);
    eventually(|| witness.released() == [1, 2, 8]);
    let history = journal.history();
    journal.close().unwrap();
    assert_eq!(history.0.iter().map(|end| (end.sequence, end.epoch)).collect::<Vec<_>>(), [(3, 1), (7, 2), (8, 3)]);
    assert_eq!(recover_twice(&disk).unwrap().last().unwrap().hash.as_bytes(), &history.tail().hash);
}

#[test]
fn whoever_follows_takes_nothing_from_the_moment_that_it_is_told() {
    /// Stops the writer while it tells of what is durable.
    struct Stops(Mutex<mpsc::Receiver<()>>);
    impl Watch for Stops {
        fn sealed(&self, _: &[Position]) {}
        fn synced(&self, _: Position) {
            self.0.lock().unwrap().recv().unwrap();
        }
    }
    let (disk, witness) = (MemoryDisk::new(), Witness::default());
    let journal = open(&disk, 1_024, &witness).unwrap();
    let (go_on, stops) = mpsc::channel();
    journal.watch(Arc::new(Stops(Mutex::new(stops)))).unwrap();
    journal.lead(1, OneSite).unwrap();
    append(&journal, &[item(1, 20)]);
    journal.wait_durable(1).unwrap();
    let own = position(&journal, 1);
    // These are queued and never sealed.
    append(&journal, &[item(2, 20)]);
    append(&journal, &[item(3, 20)]);
    thread::scope(|scope| {
        let follows = scope.spawn(|| journal.follow(own));
        eventually(|| journal.append::<&[u8], &[u8]>(&[], Moment(1), vec![4]) == 3 && journal.admits().is_err());
        assert_eq!(journal.append(&[item(4, 20)], Moment(1), vec![4]), 3, "the writer has not come to it yet");
        go_on.send(()).unwrap();
        assert_eq!(follows.join().unwrap().unwrap(), own);
    });
    journal.commit(4);
    journal.close().unwrap();
    assert_eq!(witness.released(), []);
    assert_eq!(recover_twice(&disk).unwrap().len(), 1);
}

fn flipped(bytes: &[u8]) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[0] ^= 1;
    bytes.into()
}

#[test]
fn entries_that_do_not_continue_the_log_are_refused_whole() {
    let disk = MemoryDisk::new();
    let (journal, _) = watched(&disk, 1_024, &Witness::default());
    append(&journal, &[item(1, 20)]);
    assert_eq!(code_of(journal.write(Vec::new())), Code::PairNotReady, "its own may be on their way");
    journal.wait_durable(1).unwrap();
    let tail = position(&journal, 1);
    journal.follow(tail).unwrap();
    let good = foreign(tail, 2, 3);
    let refuse = |change: &dyn Fn(&mut Vec<mirror::Entry>)| {
        let mut entries = good.clone();
        change(&mut entries);
        assert_eq!(code_of(journal.write(entries)), Code::JournalBroken);
        assert_eq!(journal.tail(), 1);
    };
    refuse(&|entries| drop(entries.remove(1)));
    refuse(&|entries| drop(entries.remove(0)));
    refuse(&|entries| entries[2].record = flipped(&entries[2].record));
    refuse(&|entries| entries[2].address = flipped(&entries[2].address));
    refuse(&|entries| entries[1].moment.0 += 1);
    refuse(&|entries| entries[1].position.epoch += 1);
    refuse(&|entries| entries[1].position.hash[31] ^= 1);
    refuse(&|entries| {
        let (mut address, mut record) = (entries[0].address.to_vec(), entries[0].record.to_vec());
        record.insert(0, address.pop().unwrap());
        (entries[0].address, entries[0].record) = (address.into(), record.into());
    });
    let early = foreign(Position { epoch: 0, ..tail }, 1, 1);
    journal.write(good.clone()).unwrap();
    assert_eq!(code_of(journal.write(early)), Code::JournalBroken);
    journal.wait_durable(4).unwrap();
    journal.lead(3, OneSite).unwrap();
    assert_eq!(code_of(journal.write(foreign(good[2].position, 3, 1))), Code::PairNotReady);
    assert_eq!(code_of(journal.lead(1, OneSite)), Code::Internal, "epochs never go back");
}

#[test]
fn an_order_is_refused_while_the_disk_is_full_and_can_be_given_again() {
    let disk = MemoryDisk::new();
    let (journal, _) = watched(&disk, 1_024, &Witness::default());
    disk.set_write_full(true);
    append(&journal, &[item(1, 20)]);
    eventually(|| journal.admits().is_err());
    assert_eq!(code_of(journal.lead(2, OneSite)), Code::DiskFull);
    disk.set_write_full(false);
    journal.wait_durable(1).unwrap();
    // No room for a segment, which the writer waits for now; and none for one that is written anew.
    disk.set_room(Some(0));
    journal.wait_durable(append(&journal, &[item(2, 500)])).unwrap();
    let at = position(&journal, 1);
    append(&journal, &[item(3, 500)]);
    eventually(|| journal.statistics().queued_bytes == 0 && journal.admits().is_err());
    assert_eq!(code_of(journal.lead(2, OneSite)), Code::DiskFull);
    assert_eq!(code_of(journal.follow(at)), Code::DiskFull);
    disk.set_room(None);
    eventually(|| journal.follow(at).is_ok());
    journal.close().unwrap();
    assert_eq!(recover_twice(&disk).unwrap().len(), 1);
}

/// M1: what leaves says on how many sites it lies, by the configuration under which it counted.
#[test]
fn what_leaves_says_on_how_many_sites_it_is() {
    let (disk, witness) = (MemoryDisk::new(), Witness::default());
    let (journal, _) = watched(&disk, 1_024, &witness);
    journal.wait_durable(append(&journal, &[item(1, 20)])).unwrap();
    eventually(|| witness.released() == [1]);
    journal.lead(2, TwoSites).unwrap();
    journal.wait_durable(append(&journal, &[item(2, 20)])).unwrap();
    journal.wait_durable(append(&journal, &[item(3, 20)])).unwrap();
    journal.commit(2);
    eventually(|| witness.released() == [1, 2]);
    // The mirror is lost. What waits counts alone, and does not say more.
    journal.lead(3, OneSite).unwrap();
    journal.commit(3);
    eventually(|| witness.released() == [1, 2, 3]);
    journal.lead(4, TwoSites).unwrap();
    let last = append(&journal, &[item(4, 20)]);
    journal.commit(last);
    eventually(|| witness.released() == [1, 2, 3, 4]);
    assert_eq!(*witness.durability.lock().unwrap(), [OneSite, TwoSites, OneSite, TwoSites]);
}
