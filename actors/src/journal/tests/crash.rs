//! Crashes at every step, with every kind of loss, and damage to every byte.

use super::*;
use fastrand::Rng;

const SEGMENT_BYTES: u64 = 1_024;

/// What a run is made of: batches of items.
fn script(rng: &mut Rng) -> Vec<Vec<Item>> {
    let batches = rng.u64(3..8);
    (0..batches)
        .map(|batch| {
            (0..rng.u64(1..5))
                .map(|place| {
                    // Some records are larger than a segment.
                    let record_bytes = if rng.u32(0..20) == 0 { rng.usize(900..1_500) } else { rng.usize(0..200) };
                    item(batch * 10 + place, record_bytes)
                })
                .collect()
        })
        .collect()
}

/// Plays the script until the disk stops; gives the last sequence that somebody was told is durable.
fn play(disk: &MemoryDisk, script: &[Vec<Item>], rng: &mut Rng) -> u64 {
    let witness = Witness::of(disk);
    let mut acknowledged = 0;
    if let Ok(journal) = open(disk, SEGMENT_BYTES, &witness) {
        for items in script {
            let sequence = append(&journal, items);
            if rng.bool() && journal.wait_durable(sequence).is_ok() {
                acknowledged = sequence;
            }
            if rng.u32(0..4) == 0 {
                let _ = journal.truncate_before(journal.durable() / 2, 0);
            }
        }
        let _ = journal.close();
    }
    assert_eq!(*witness.violations.lock().unwrap(), [0; 0], "an effect was released while writes were unsynced");
    let released = witness.released();
    assert!(released.is_sorted(), "effects are released in order");
    acknowledged.max(released.last().copied().unwrap_or(0))
}

/// T12: whatever was released is there after a crash at any step, in order, and nothing comes after a hole.
#[test]
fn whatever_was_released_survives_a_crash_at_any_step() {
    for seed in 0..12 {
        for crash_step in 1.. {
            let mut rng = Rng::with_seed(seed);
            let script = script(&mut rng);
            let appended: Vec<&Item> = script.iter().flatten().collect();
            let disk = MemoryDisk::new();
            disk.crash_after(crash_step);
            let acknowledged = play(&disk, &script, &mut rng);
            for _ in 0..4 {
                let left = disk.after_some_power_loss(&mut rng);
                let context = format!("seed {seed}, step {crash_step}, files {:?}", left.names());
                let entries = recover_twice(&left).unwrap_or_else(|fault| panic!("{context}: {fault}"));
                let tail = entries.last().map_or(0, |entry| entry.sequence);
                assert!(tail >= acknowledged, "{context}: {tail} of {acknowledged} acknowledged entries are left");
                for entry in &entries {
                    let (address, record) = appended[entry.sequence as usize - 1];
                    assert_eq!((&entry.address, &entry.record), (address, record), "{context}");
                }
                goes_on(&left, &entries, tail);
            }
            // The process alone may have died: what the next one then sees, and builds on, must not be lost with the power.
            let seen = recover_twice(&disk.copy()).unwrap();
            goes_on(&disk.copy(), &seen, seen.last().map_or(0, |entry| entry.sequence));
            if !disk.has_crashed() {
                break;
            }
        }
    }
}

/// A recovered journal takes more, and keeps what it had.
fn goes_on(disk: &MemoryDisk, entries: &[Entry], tail: u64) {
    let witness = Witness::of(disk);
    let journal = open(disk, SEGMENT_BYTES, &witness).unwrap();
    assert_eq!(journal.tail(), tail);
    let last = append(&journal, &[item(1, 40), item(2, 700)]);
    journal.close().unwrap();
    assert_eq!(witness.released(), [last]);
    let after = recover_twice(&disk.after_power_loss(1, &mut || false)).unwrap();
    assert_eq!(&after[..entries.len()], entries);
    assert_eq!(after.last().unwrap().sequence, last);
}

/// Crashes during recovery itself.
#[test]
fn a_crash_while_the_tail_is_cut_loses_nothing_more() {
    let mut rng = Rng::with_seed(7);
    let disk = MemoryDisk::new();
    let journal = open(&disk, 4_096, &Witness::of(&disk)).unwrap();
    let durable = append(&journal, &[item(1, 50), item(2, 50)]);
    journal.wait_durable(durable).unwrap();
    disk.crash_after(1);
    append(&journal, &[item(3, 300), item(4, 300), item(5, 300)]);
    assert!(journal.close().is_err());
    for _ in 0..200 {
        let torn = disk.after_some_power_loss(&mut rng);
        let whole = recover(&torn.copy(), 0).unwrap().len();
        torn.crash_after(rng.u64(1..4));
        let _ = recover(&torn, 0);
        let again = recover_twice(&torn.after_some_power_loss(&mut rng)).unwrap().len();
        assert!(whole >= 2 && again == whole, "{again} entries are left of {whole}");
    }
}

/// Every subset of the sectors of one unsynced batch.
#[test]
fn a_torn_batch_is_cut_at_its_first_hole_whatever_sectors_were_written() {
    let disk = MemoryDisk::new();
    let journal = open(&disk, 4_096, &Witness::of(&disk)).unwrap();
    journal.wait_durable(append(&journal, &[item(0, 20)])).unwrap();
    disk.crash_after(1);
    let batch: Vec<Item> = (1..6).map(|number| item(number, 24)).collect();
    append(&journal, &batch);
    assert!(journal.close().is_err());
    let mut tails = std::collections::BTreeSet::new();
    for subset in 0u32..1 << 11 {
        let mut sector = 0;
        let left = disk.after_power_loss(64, &mut || {
            sector += 1;
            subset & 1 << (sector - 1) != 0
        });
        let entries = recover_twice(&left).unwrap();
        tails.insert(entries.len());
        let kept = entries.iter().map(|entry| entry.sequence).collect::<Vec<_>>();
        assert_eq!(kept, (1..=entries.len() as u64).collect::<Vec<_>>());
    }
    assert_eq!(tails.into_iter().collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6], "every place to tear was met");
}

#[test]
fn a_torn_tail_is_cut_at_the_last_whole_entry_and_zeroed() {
    let disk = MemoryDisk::new();
    let journal = open(&disk, 4_096, &Witness::of(&disk)).unwrap();
    journal.wait_durable(append(&journal, &[item(1, 8)])).unwrap();
    disk.crash_after(1);
    append(&journal, &[item(2, 8), item(3, 500), item(4, 8)]);
    assert!(journal.close().is_err());
    let mut sector = 0;
    let left = disk.after_power_loss(64, &mut || {
        sector += 1;
        sector != 5
    });
    assert_eq!(recover_twice(&left).unwrap().len(), 2);
    let bytes = left.bytes("00000000000000000001.seg");
    let end = bytes.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    assert!(end <= 128 + 2 * 112, "bytes of the torn batch are left at {end}");
}

/// Bytes of the entries of each segment of a small journal, as (name, start, end).
fn closed_journal(disk: &MemoryDisk) -> Vec<(String, usize)> {
    let journal = open(disk, 700, &Witness::of(disk)).unwrap();
    for batch in 0..3 {
        let items: Vec<Item> = (0..3).map(|place| item(batch * 3 + place, 10 * place as usize)).collect();
        journal.wait_durable(append(&journal, &items)).unwrap();
    }
    journal.close().unwrap();
    let used = |name: &String| disk.bytes(name).iter().rposition(|&byte| byte != 0).unwrap() + 1;
    disk.names().into_iter().map(|name| (name.clone(), used(&name))).collect()
}

/// Invariant 3: a changed byte is refused, or lies where nothing was.
#[test]
fn a_change_of_any_byte_of_a_closed_journal_is_refused_and_never_drops_an_entry() {
    let disk = MemoryDisk::new();
    let segments = closed_journal(&disk);
    assert!(segments.len() > 1);
    let whole = recover(&disk.copy(), 0).unwrap();
    let last = segments.len() - 1;
    for (index, (name, used)) in segments.iter().enumerate() {
        // The last frame of the last segment is the mark itself: without it the entries are still whole.
        let entries_end =
            if index == last { used.next_multiple_of(8) - super::super::format::MARK_BYTES } else { *used };
        for offset in 0..disk.bytes(name).len() {
            for flip in [0x01, 0x80, 0xff] {
                let changed = disk.copy();
                changed.change(name, |bytes| bytes[offset] ^= flip);
                match recover(&changed, 0) {
                    Err(fault) => {
                        assert!(matches!(fault.code, Code::JournalBroken | Code::DataNewer), "{fault}");
                        assert!(fault.message.contains(name.as_str()), "the file is named: {fault}");
                    }
                    Ok(entries) => {
                        assert_eq!(entries, whole, "byte {offset} of {name}");
                        assert!(offset >= entries_end, "byte {offset} of {name} was changed and nobody noticed");
                    }
                }
            }
        }
    }
}

#[test]
fn a_change_in_front_of_a_later_batch_is_refused_though_no_mark_follows() {
    let disk = MemoryDisk::new();
    let journal = open(&disk, 4_096, &Witness::of(&disk)).unwrap();
    journal.wait_durable(append(&journal, &[item(1, 16), item(2, 16)])).unwrap();
    let name = "00000000000000000001.seg";
    let first_batch_end = disk.bytes(name).iter().rposition(|&byte| byte != 0).unwrap() + 1;
    journal.wait_durable(append(&journal, &[item(3, 16), item(4, 16)])).unwrap();
    for offset in 0..first_batch_end {
        let changed = disk.copy();
        changed.change(name, |bytes| bytes[offset] ^= 0x10);
        assert!(matches!(code_of(recover(&changed, 0)), Code::JournalBroken | Code::DataNewer), "byte {offset}");
    }
}

#[test]
fn a_damaged_mark_does_not_make_the_batch_behind_it_look_torn() {
    let disk = MemoryDisk::new();
    let journal = open(&disk, 4_096, &Witness::of(&disk)).unwrap();
    append(&journal, &[item(1, 16)]);
    journal.close().unwrap();
    let name = "00000000000000000001.seg";
    let mark_end = disk.bytes(name).iter().rposition(|&byte| byte != 0).unwrap().next_multiple_of(8);
    let journal = open(&disk, 4_096, &Witness::of(&disk)).unwrap();
    journal.wait_durable(append(&journal, &[item(2, 16)])).unwrap();
    for offset in mark_end - super::super::format::MARK_BYTES..mark_end {
        let changed = disk.copy();
        changed.change(name, |bytes| bytes[offset] ^= 0x10);
        assert_eq!(code_of(recover(&changed, 0)), Code::JournalBroken, "byte {offset}");
    }
}

#[test]
fn a_rest_is_enough_to_protect_the_last_batch() {
    let disk = MemoryDisk::new();
    let witness = Witness::of(&disk);
    let options = JournalOptions { idle_mark_delay_ms: 1, ..options(4_096) };
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let journal = Journal::open_on(shared, options, witness.clone(), witness.hook(), 0, &mut |_| Ok(())).unwrap();
    journal.wait_durable(append(&journal, &[item(1, 16)])).unwrap();
    eventually(|| journal.statistics().syncs == 2);
    let changed = disk.after_power_loss(1, &mut || false);
    changed.change("00000000000000000001.seg", |bytes| bytes[200] ^= 1);
    let fault = recover(&changed, 0).unwrap_err();
    assert_eq!(fault.code, Code::JournalBroken);
    assert!(fault.message.contains("byte 128, entry 1"), "{fault}");
}

#[test]
fn a_document_that_looks_like_a_journal_does_not_confuse_recovery() {
    let other = MemoryDisk::new();
    closed_journal(&other);
    let forged: Vec<u8> = other.names().iter().flat_map(|name| other.bytes(name)).collect();
    let disk = MemoryDisk::new();
    let journal = open(&disk, 8_192, &Witness::of(&disk)).unwrap();
    disk.crash_after(1);
    append(&journal, &[(b"12345678".to_vec(), vec![7; 64]), (b"12345678".to_vec(), forged)]);
    assert!(journal.close().is_err());
    let mut sector = 0;
    let left = disk.after_power_loss(64, &mut || {
        sector += 1;
        sector != 2
    });
    assert_eq!(recover_twice(&left).unwrap(), []);
}

/// After a failed sync the page cache shows what the disk does not have.
#[test]
fn what_recovery_hands_back_is_durable_even_if_the_sync_before_had_failed() {
    let disk = MemoryDisk::new();
    let journal = open(&disk, 4_096, &Witness::of(&disk)).unwrap();
    journal.wait_durable(append(&journal, &[item(1, 30)])).unwrap();
    disk.fail_syncs(true);
    append(&journal, &[item(2, 30), item(3, 30)]);
    assert_eq!(code_of(journal.close()), Code::JournalFailed);
    disk.fail_syncs(false);
    let seen = recover(&disk, 0).unwrap();
    assert_eq!(seen.len(), 3);
    assert_eq!(recover(&disk.after_power_loss(1, &mut || false), 0).unwrap(), seen);
}
