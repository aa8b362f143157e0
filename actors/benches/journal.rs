//! Measures the journal on the disk of the working directory: entries a second in batches, microseconds of one commit,
//! and seconds to recover. `cargo bench -p hansa-actors --bench journal`; an argument names another folder.

use hansa_actors::journal::{Journal, JournalOptions, Release, Statistics};
use hansa_core::{durability::Durability, moment::Moment};
use std::{path::Path, time::Instant};

struct Silent;

impl Release for Silent {
    type Effect = ();
    fn release(&mut self, _: Vec<()>, _: Durability) {}
}

const ADDRESS: [u8; 24] = [7; 24];
const RECORD: [u8; 512] = [9; 512];

fn open(folder: &Path, entries: &mut u64) -> Journal<()> {
    let fatal = Box::new(|fault| panic!("{fault}"));
    let count = &mut |_| {
        *entries += 1;
        Ok(())
    };
    Journal::open(JournalOptions::new(folder), Silent, fatal, 1, count).expect("the journal opens")
}

fn sync_us_p50(statistics: &Statistics) -> String {
    let mut seen = 0;
    let median = statistics.sync_us.iter().position(|&count| {
        seen += count;
        seen * 2 >= statistics.syncs
    });
    median.map_or_else(|| "-".into(), |class| format!("{}..{}", 1u64 << class, 2u64 << class))
}

/// Appends batches, each waited for.
fn batches(folder: &Path, entries_each: usize, rounds: usize) {
    let journal = open(folder, &mut 0);
    let items = vec![(ADDRESS, RECORD); entries_each];
    let mut took_us: Vec<u128> = Vec::with_capacity(rounds);
    let begun = Instant::now();
    for _ in 0..rounds {
        let one = Instant::now();
        let sequence = journal.append(&items, Moment(1), Vec::new());
        journal.wait_durable(sequence).expect("the disk takes it");
        took_us.push(one.elapsed().as_micros());
    }
    let rate = (entries_each * rounds) as f64 / begun.elapsed().as_secs_f64();
    took_us.sort_unstable();
    let (p50, p99) = (took_us[rounds / 2], took_us[rounds * 99 / 100]);
    let sync = sync_us_p50(&journal.statistics());
    println!("{entries_each:5} an append: {rate:9.0} entries/s, commit p50 {p50} µs, p99 {p99} µs, sync p50 {sync} µs");
}

/// Appends without waiting; the writer groups by itself.
fn stream(folder: &Path, entries: usize) {
    let journal = open(folder, &mut 0);
    let begun = Instant::now();
    for _ in 0..entries {
        while journal.tail() - journal.durable() > 4_096 {
            journal.wait_durable(journal.tail() - 2_048).expect("the disk takes it");
        }
        journal.append(&[(ADDRESS, RECORD)], Moment(1), Vec::new());
    }
    journal.wait_durable(journal.tail()).expect("the disk takes it");
    let rate = entries as f64 / begun.elapsed().as_secs_f64();
    let statistics = journal.statistics();
    println!(
        "at most 4,096 under way: {rate:9.0} entries/s in {} syncs, {} bytes an entry",
        statistics.syncs,
        statistics.bytes_written / statistics.entries
    );
}

fn main() {
    let parent = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_else(|| ".".into());
    let folder = tempfile::tempdir_in(parent).expect("the folder can be written");
    batches(&folder.path().join("1"), 1, 5_000);
    batches(&folder.path().join("16"), 16, 3_000);
    batches(&folder.path().join("256"), 256, 1_500);
    let long = folder.path().join("stream");
    stream(&long, 1_000_000);
    let mut entries = 0;
    let begun = Instant::now();
    drop(open(&long, &mut entries));
    println!("recovery: {entries} entries in {:.2} s", begun.elapsed().as_secs_f64());
}
