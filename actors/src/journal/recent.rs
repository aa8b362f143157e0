//! Decides which of the newest entries are kept in memory, so that a follower is fed without the disk, and looks entries and
//! positions up, here or in the segments, for `Journal::entries` and `Journal::position`. It is filled by the writer while the
//! journal is watched. It changes nothing on the disk, and must not know who asks.
//!
//! What is sealed and not durable yet is always here, for nowhere else could it be found.

use super::{
    Journal, Shared, locked,
    reading::{self, Cursor},
};
use hansa_core::{
    code::{Code, Fault},
    mirror::{Entry, Position},
};
use std::{collections::VecDeque, sync::atomic::Ordering};

/// What an entry takes beside its address and record.
const ENTRY_BYTES: usize = size_of::<Entry>();

/// What one takes with its address and record, if it is not large.
const ENTRY_BYTES_USUAL: usize = 512;

/// The newest entries, without a gap.
#[derive(Default)]
pub(super) struct Recent {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Recent {
    /// Entries were sealed; of those up to `durable`, the oldest make room.
    pub fn push(&mut self, entries: impl Iterator<Item = Entry>, durable: u64, bytes_max: usize) {
        for entry in entries {
            self.bytes += bytes_of(&entry);
            self.entries.push_back(entry);
        }
        while self.bytes > bytes_max
            && let Some(oldest) = self.entries.front()
            && oldest.position.sequence <= durable
        {
            self.bytes -= bytes_of(oldest);
            self.entries.pop_front();
        }
    }

    /// Nothing behind `after` counts.
    pub fn cut(&mut self, after: u64) {
        while let Some(newest) = self.entries.back()
            && newest.position.sequence > after
        {
            self.bytes -= bytes_of(newest);
            self.entries.pop_back();
        }
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn place(&self, sequence: u64) -> Option<usize> {
        let first = self.entries.front()?.position.sequence;
        let place = usize::try_from(sequence.checked_sub(first)?).ok()?;
        (place < self.entries.len()).then_some(place)
    }

    fn position(&self, sequence: u64) -> Option<Position> {
        self.place(sequence).map(|place| self.entries[place].position)
    }

    /// See [`Journal::entries`]; none if the first of them is not here.
    fn entries(&self, after: u64, through: u64, bytes_max: usize) -> Option<Vec<Entry>> {
        let place = self.place(after + 1)?;
        let count = through.saturating_sub(after).min((self.entries.len() - place) as u64);
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(bytes_max / ENTRY_BYTES_USUAL + 1);
        let (mut entries, mut bytes) = (Vec::with_capacity(count), 0);
        for entry in self.entries.range(place..).take_while(|entry| entry.position.sequence <= through) {
            bytes += bytes_of(entry);
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        Some(entries)
    }
}

pub(super) fn bytes_of(entry: &Entry) -> usize {
    ENTRY_BYTES + entry.address.len() + entry.record.len()
}

/// What the segments were when somebody began to look into them.
struct View {
    cuts: u64,
    durable: u64,
    segments: Vec<u64>,
}

impl<E> Shared<E> {
    fn view(&self) -> View {
        // Under one lock, under which a cut says so before it takes anything away: what is cut is never looked for.
        let segments = locked(&self.segments);
        let firsts = segments.iter().map(|segment| segment.first).collect();
        let (cuts, durable) = (self.cuts.load(Ordering::Acquire), self.durable.load(Ordering::Acquire));
        View { cuts, durable, segments: firsts }
    }

    /// Whether what was read may be another log's, or was dropped meanwhile.
    fn has_changed(&self, view: &View) -> bool {
        let segments = locked(&self.segments);
        let first = segments.front().map(|segment| segment.first);
        self.cuts.load(Ordering::Acquire) != view.cuts || first != view.segments.first().copied()
    }
}

impl<E: Send + 'static> Journal<E> {
    /// Whether this entry is in memory, so that [`Self::entries`] begins with it without reading the disk.
    #[must_use]
    pub fn has_recent(&self, sequence: u64) -> bool {
        locked(&self.shared.recent).place(sequence).is_some()
    }

    /// Where this entry is in the chain; none if it is not kept any more, or not there. It may read the disk.
    ///
    /// # Errors
    /// The disk cannot be read, or the chain is broken ([`Code::JournalBroken`]).
    pub fn position(&self, sequence: u64) -> Result<Option<Position>, Fault> {
        let shared = &self.shared;
        loop {
            if let Some(position) = locked(&shared.recent).position(sequence) {
                return Ok(Some(position));
            }
            let view = shared.view();
            if sequence > view.durable || view.segments.first().is_none_or(|first| sequence + 1 < *first) {
                return Ok(None);
            }
            let ends = locked(&shared.history).0.iter().find(|end| end.sequence == sequence).copied();
            let found = match ends {
                Some(end) => Ok(end),
                None => reading::position(shared.disk.as_ref(), &view.segments, sequence),
            };
            match found {
                _ if shared.has_changed(&view) => {}
                Ok(position) => return Ok(Some(position)),
                Err(lost) => return Err(lost.fault(shared.disk.as_ref())),
            }
        }
    }

    /// Entries behind `after` up to `through` at most, as many as fit into `bytes_max`, but at least one; none if there are
    /// none (yet). Those that are sealed and on their way to the disk are among them while the journal is watched.
    ///
    /// # Errors
    /// The first of them is not kept any more ([`Code::HistoryIncomplete`]), the disk cannot be read, or the chain is broken
    /// ([`Code::JournalBroken`]).
    pub fn entries(&self, after: u64, through: u64, bytes_max: usize) -> Result<Vec<Entry>, Fault> {
        let shared = &self.shared;
        if through <= after {
            return Ok(Vec::new());
        }
        loop {
            if let Some(entries) = locked(&shared.recent).entries(after, through, bytes_max) {
                return Ok(entries);
            }
            let view = shared.view();
            let first = view.segments.first().copied().unwrap_or(1);
            if after + 1 < first {
                let place = shared.disk.place();
                let message =
                    format!("entry {} was asked for, and the journal in {place} begins at {first}", after + 1);
                return Err(Fault::new(Code::HistoryIncomplete, message));
            }
            let through = through.min(view.durable);
            if through <= after {
                return Ok(Vec::new());
            }
            // Whoever reads on from where the last one ended need not follow the segment from its beginning.
            let begun = locked(&shared.cursor).take();
            let begun = begun.filter(|(cuts, cursor)| *cuts == view.cuts && cursor.last.sequence == after);
            let begun = begun.map(|(_, cursor)| cursor);
            let read = reading::entries(shared.disk.as_ref(), &view.segments, begun, after, through, bytes_max);
            match read {
                _ if shared.has_changed(&view) => {}
                Ok((entries, cursor)) => {
                    *locked(&shared.cursor) = Some((view.cuts, cursor));
                    return Ok(entries);
                }
                Err(lost) => return Err(lost.fault(shared.disk.as_ref())),
            }
        }
    }
}

/// Where the last reader of entries ended, and how often the log had been cut then.
pub(super) type Begun = Option<(u64, Cursor)>;
