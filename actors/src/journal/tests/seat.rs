//! Whoever appends seals what they brought while the writer rests, and nothing else changes by it (M1).

use super::{
    super::{seat::Waking, writer::Writer},
    *,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Weak,
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

/// Notes what was sealed, by whom, and up to where the disk had it.
#[derive(Default)]
struct Seals(Mutex<Vec<(Position, ThreadId)>>);

impl Watch for Seals {
    fn sealed(&self, ends: &[Position]) {
        let by = thread::current().id();
        self.0.lock().unwrap().extend(ends.iter().map(|end| (*end, by)));
    }

    fn synced(&self, _: Position) {}
}

impl Seals {
    fn watch(journal: &Journal<u64>) -> Arc<Self> {
        let seals = Arc::new(Self::default());
        journal.watch(seals.clone()).unwrap();
        seals
    }

    fn last(&self) -> Option<(Position, ThreadId)> {
        self.0.lock().unwrap().last().copied()
    }
}

/// Appends until the writer was found at rest, so that this thread sealed.
fn append_sealing(journal: &Journal<u64>, seals: &Seals) -> u64 {
    loop {
        let sequence = append(journal, &[item(1, 50)]);
        let by_this = |(sealed, by): (Position, _)| sealed.sequence == sequence && by == thread::current().id();
        if seals.last().is_some_and(by_this) {
            return sequence;
        }
        journal.wait_durable(sequence).unwrap();
        thread::yield_now();
    }
}

#[test]
fn while_the_writer_rests_whoever_appends_has_the_pair_told_before_they_go_on() {
    let disk = MemoryDisk::new();
    let witness = Witness::of(&disk);
    let journal = open(&disk, 4_096, &witness).unwrap();
    let seals = Seals::watch(&journal);
    // Beyond several segments.
    let mut sequence = 0;
    while sequence < 300 {
        sequence = append_sealing(&journal, &seals);
        assert_eq!(seals.last().unwrap().0.sequence, sequence);
        assert_eq!(seals.last().unwrap().0, position(&journal, sequence));
        journal.wait_durable(sequence).unwrap();
    }
    journal.close().unwrap();
    assert_eq!(witness.released(), (1..=sequence).collect::<Vec<_>>());
    assert_eq!(recover_twice(&disk).unwrap().len() as u64, sequence);
    assert_eq!(witness.violations.lock().unwrap().len(), 0, "nothing leaves before the disk has it");
}

#[test]
fn a_node_on_its_own_leaves_all_of_it_to_the_writer() {
    let disk = MemoryDisk::new();
    let journal = open(&disk, 4_096, &Witness::of(&disk)).unwrap();
    for _ in 0..50 {
        let sequence = append(&journal, &[item(1, 50)]);
        assert!(!is_sealed_ahead(&journal));
        journal.wait_durable(sequence).unwrap();
    }
}

/// Whether something was sealed that the writer has not come to.
fn is_sealed_ahead(journal: &Journal<u64>) -> bool {
    journal.shared.seat.try_lock().is_ok_and(|seat| seat.as_ref().is_some_and(Writer::is_sealed))
}

/// Keeps the writer at rest for as long as it likes.
#[derive(Default)]
struct Keeping(Mutex<Vec<Waking>>);

impl Watch for Keeping {
    fn sealed(&self, _: &[Position]) {}

    fn sealed_ahead(&self, waking: Waking) {
        self.0.lock().unwrap().push(waking);
    }

    fn synced(&self, _: Position) {}
}

/// A journal with an entry that is sealed and not written, for the watch keeps its writer at rest; and the entry.
fn put_off(disk: &MemoryDisk) -> (Journal<u64>, Arc<Keeping>, u64) {
    let journal = open(disk, 4_096, &Witness::of(disk)).unwrap();
    let keeping = Arc::new(Keeping::default());
    journal.watch(keeping.clone()).unwrap();
    loop {
        let sequence = append(&journal, &[item(1, 50)]);
        // It may have been on its way to its rest, and not asleep.
        thread::sleep(Duration::from_millis(20));
        if !keeping.0.lock().unwrap().is_empty() && journal.durable() < sequence {
            return (journal, keeping, sequence);
        }
        journal.wait_durable(sequence).unwrap();
        keeping.0.lock().unwrap().clear();
    }
}

#[test]
fn the_writer_writes_what_was_sealed_when_the_watch_has_it_woken() {
    let (journal, keeping, sequence) = put_off(&MemoryDisk::new());
    assert!(is_sealed_ahead(&journal), "it rests");
    keeping.0.lock().unwrap().clear();
    until_durable(&journal, sequence);
}

/// Waits without waking the writer.
fn until_durable(journal: &Journal<u64>, sequence: u64) {
    let began = Instant::now();
    while journal.durable() < sequence {
        assert!(began.elapsed() < Duration::from_secs(30), "the writer is not woken");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn the_writer_is_woken_at_once_when_more_comes_or_more_may_leave() {
    let (journal, _keeping, _) = put_off(&MemoryDisk::new());
    let next = append(&journal, &[item(1, 50)]);
    until_durable(&journal, next);

    let (journal, _keeping, sequence) = put_off(&MemoryDisk::new());
    journal.hold(false);
    until_durable(&journal, sequence);
}

#[test]
fn whoever_waits_for_the_writer_waits_for_no_watch() {
    let (journal, _keeping, sequence) = put_off(&MemoryDisk::new());
    journal.wait_durable(sequence).unwrap();

    let (journal, _keeping, sequence) = put_off(&MemoryDisk::new());
    assert_eq!(journal.follow(position(&journal, sequence)).unwrap().sequence, sequence, "an order");

    let disk = MemoryDisk::new();
    let (journal, _keeping, sequence) = put_off(&disk);
    journal.close().unwrap();
    assert_eq!(recover_twice(&disk).unwrap().len() as u64, sequence);
}

#[test]
fn the_log_is_one_chain_however_many_append_and_seal_at_once() {
    let disk = MemoryDisk::new();
    let witness = Witness::of(&disk);
    let journal = open(&disk, 2_048, &witness).unwrap();
    let seals = Seals::watch(&journal);
    thread::scope(|scope| {
        for writer in 0..4_u64 {
            let journal = &journal;
            scope.spawn(move || {
                for round in 0..400 {
                    let last = journal.append(&[item(writer, 40)], Moment(round), vec![writer]);
                    if round % 5 == writer {
                        journal.wait_durable(last).unwrap();
                    }
                }
            });
        }
    });
    journal.close().unwrap();
    assert_eq!(witness.released().len(), 1_600);
    assert_eq!(recover_twice(&disk).unwrap().len(), 1_600);
    let seals = seals.0.lock().unwrap();
    assert!(seals.is_sorted_by(|one, next| one.0.sequence < next.0.sequence), "told in order, and once");
    assert_eq!(seals.last().unwrap().0.sequence, 1_600);
}

#[test]
fn what_was_sealed_ahead_is_written_before_the_writer_does_what_it_was_ordered_to() {
    let disk = MemoryDisk::new();
    let journal = open(&disk, 4_096, &Witness::of(&disk)).unwrap();
    let seals = Seals::watch(&journal);
    for _ in 0..50 {
        let sequence = append_sealing(&journal, &seals);
        let (sealed, _) = seals.last().unwrap();
        let durable = journal.follow(sealed).unwrap();
        assert_eq!((durable, journal.durable()), (sealed, sequence));
        journal.lead(1, OneSite).unwrap();
    }
}

#[test]
fn a_watch_that_panics_under_whoever_appends_is_as_final_as_one_that_panics_under_the_writer() {
    struct Panics;
    impl Watch for Panics {
        fn sealed(&self, _: &[Position]) {
            panic!("a mistake of the shell");
        }
        fn synced(&self, _: Position) {}
    }
    for _ in 0..20 {
        let witness = Witness::default();
        let journal = open(&MemoryDisk::new(), 4_096, &witness).unwrap();
        journal.watch(Arc::new(Panics)).unwrap();
        // Whichever of the two it is.
        let _ = catch_unwind(AssertUnwindSafe(|| journal.append(&[item(1, 10)], Moment(1), vec![1])));
        assert_eq!(code_of(journal.close()), Code::Internal);
        assert_eq!(witness.fatal().len(), 1);
        assert_eq!(witness.released(), []);
    }
}

#[test]
fn what_a_release_appends_is_told_when_it_is_done_whoever_said_what_counts() {
    /// Appends once more behind what leaves.
    struct Appends(Arc<Mutex<Weak<Journal<u64>>>>);
    impl Release for Appends {
        type Effect = u64;
        fn release(&mut self, effects: Vec<u64>, _: Durability) {
            let journal = self.0.lock().unwrap().upgrade().unwrap();
            for effect in effects.into_iter().filter(|effect| *effect < 1_000) {
                journal.append(&[item(effect, 20)], Moment(effect), vec![effect + 1_000]);
            }
        }
    }
    /// Says of every second entry that it counts as soon as it is sealed.
    struct Counts(Mutex<Weak<Journal<u64>>>);
    impl Watch for Counts {
        fn sealed(&self, ends: &[Position]) {
            let journal = self.0.lock().unwrap().upgrade().unwrap();
            let sealed = ends[ends.len() - 1].sequence;
            if sealed.is_multiple_of(2) {
                journal.commit(sealed);
            }
        }
        fn synced(&self, _: Position) {}
    }
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let held = Arc::new(Mutex::new(Weak::new()));
    let release = Appends(Arc::clone(&held));
    let journal = Arc::new(
        Journal::open_on(disk, options(4_096), release, Witness::default().hook(), 0, &mut |_| Ok(())).unwrap(),
    );
    *held.lock().unwrap() = Arc::downgrade(&journal);
    journal.lead(1, TwoSites).unwrap();
    journal.watch(Arc::new(Counts(Mutex::new(Arc::downgrade(&journal))))).unwrap();
    for number in 1..=200 {
        let sequence = journal.append(&[item(number, 20)], Moment(number), vec![number]);
        journal.wait_durable(sequence).unwrap();
        thread::yield_now();
        // As whoever hears of the other sub-node would; what leaves has the next one appended.
        journal.commit(sequence);
        eventually(|| journal.durable() == 2 * number);
    }
    journal.close().unwrap();
    assert_eq!(journal.durable(), 400);
}
