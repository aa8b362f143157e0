//! What the journal says of itself to metrics and to benchmarks. It decides nothing.

use std::time::Duration;

/// Classes of a [`Statistics`] histogram: class *n* counts values below 2ⁿ⁺¹ that no lower class counts.
pub const CLASSES: usize = 24;

/// Whether the disk takes what is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DiskState {
    /// It does.
    #[default]
    Ready,
    /// It has no room; new work is refused, and the journal tries again.
    Full,
    /// Nothing can be made durable any more.
    Failed,
}

/// Figures since the journal was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Entries made durable.
    pub entries: u64,
    /// Bytes written, headers and marks included.
    pub bytes_written: u64,
    /// Data syncs.
    pub syncs: u64,
    /// Microseconds that the last sync took.
    pub last_sync_us: u64,
    /// Microseconds that all syncs took.
    pub sync_us_total: u64,
    /// How many syncs took how many microseconds, in powers of two.
    pub sync_us: [u64; CLASSES],
    /// How many batches had how many entries, in powers of two.
    pub batch_entries: [u64; CLASSES],
    /// Segment files.
    pub segments: usize,
    /// Bytes of the segment files.
    pub segment_bytes: u64,
    /// Segments that were dropped, the oldest first, to keep within their room.
    pub segments_dropped: u64,
    /// The first entry kept.
    pub first: u64,
    /// The last entry appended.
    pub tail: u64,
    /// The last entry durable.
    pub durable: u64,
    /// The last entry that counts; the same on its own, in a pair what was committed.
    pub committed: u64,
    /// Bytes that wait for the writer.
    pub queued_bytes: usize,
    /// Whether the disk takes what is written.
    pub disk: DiskState,
}

impl Statistics {
    pub(super) fn count_sync(&mut self, bytes: usize, took: Duration) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.bytes_written += bytes as u64;
        self.syncs += 1;
        self.last_sync_us = took_us;
        self.sync_us_total += took_us;
        self.sync_us[class(took_us)] += 1;
    }

    pub(super) fn count_batch(&mut self, entries: u64) {
        self.entries += entries;
        self.batch_entries[class(entries)] += 1;
    }
}

fn class(value: u64) -> usize {
    (value.max(1).ilog2() as usize).min(CLASSES - 1)
}
