//! Changes in memory in front of a store: they are seen at once, and reach the store when they are flushed. It decides
//! how the two layers are read as one. The house's shards change and read it, its checkpoints flush it.
//!
//! A flush takes the changes of the moment as a layer of its own, `committing`, which stays readable between the newer
//! changes and the store until the store has it. So nobody waits for a commit but the next flush, and it takes its time, unless
//! changes come faster than it brings them to the store.

use super::{Change, Changes, Page, Position, Store, locked};
use hansa_core::code::Fault;
use std::{
    collections::{BTreeMap, btree_map::Entry},
    mem,
    sync::{Arc, Mutex},
};

/// What a change takes in memory beyond its key and value, roughly.
const CHANGE_BYTES: usize = 96;
/// How often a scan that a flush crossed begins again before it holds flushes up.
const SCAN_ATTEMPTS: usize = 3;
/// How many entries more than asked for are read at once, because the overlay may hide them.
const HIDDEN_AHEAD_MAX: usize = 256;

#[derive(Default)]
struct Overlay {
    fresh: Changes,
    fresh_bytes: usize,
    committing: Option<Arc<Changes>>,
    committing_bytes: usize,
    /// How many flushes have taken their changes.
    taken: u64,
    /// How many wait for a flush.
    waiting: usize,
}

/// Somebody waits for a flush, as long as this is there.
pub struct Hurry<'a>(&'a WriteBehind);

impl Drop for Hurry<'_> {
    fn drop(&mut self) {
        locked(&self.0.overlay).waiting -= 1;
    }
}

/// A store and the changes that it does not have yet, read as one.
pub struct WriteBehind {
    overlay: Mutex<Overlay>,
    /// One flush at a time.
    flushing: Mutex<()>,
    store: Box<dyn Store>,
}

impl WriteBehind {
    /// Nothing is changed yet.
    #[must_use]
    pub fn new(store: Box<dyn Store>) -> Self {
        Self { overlay: Mutex::default(), flushing: Mutex::new(()), store }
    }

    /// The value of a key.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn get(&self, kind: u8, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        if let Some(value) = locked(&self.overlay).get(&(kind, key.to_vec())) {
            return Ok(value.clone());
        }
        // If the key is changed and flushed just now, the store answers with the change.
        self.store.get(kind, key)
    }

    /// At most `count_max` entries of a kind from `from` on, which is included: upwards, or downwards if `reverse`. It is
    /// what there was at one moment: a batch of changes is in it as a whole or not at all.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn scan(&self, kind: u8, from: &[u8], reverse: bool, count_max: usize) -> Result<Page, Fault> {
        for _ in 0..SCAN_ATTEMPTS {
            let (page, whole) = self.try_scan(kind, from, reverse, count_max)?;
            if whole {
                return Ok(page);
            }
        }
        let _no_flush = locked(&self.flushing);
        self.try_scan(kind, from, reverse, count_max).map(|(page, _)| page)
    }

    /// Changes entries, all at once and in memory only.
    pub fn change(&self, changes: Vec<Change>) {
        let mut overlay = locked(&self.overlay);
        for Change { kind, key, value } in changes {
            overlay.set((kind, key), value);
        }
        if overlay.is_behind() {
            self.store.hurry();
        }
    }

    /// Somebody waits: neither the flush that is under way nor one that begins meanwhile takes its time.
    pub fn hurry(&self) -> Hurry<'_> {
        locked(&self.overlay).waiting += 1;
        self.store.hurry();
        Hurry(self)
    }

    /// How much memory the changes take that no flush has brought to the store yet, roughly.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        let overlay = locked(&self.overlay);
        overlay.fresh_bytes + overlay.committing_bytes
    }

    /// Commits everything that was changed before, in one transaction with the position. What is changed meanwhile stays
    /// for the next flush. It waits for the disk.
    ///
    /// # Errors
    /// The store cannot be written. Every change is still here, and goes with the next flush.
    pub fn flush(&self, position: Position) -> Result<(), Fault> {
        self.flush_when(position, || Ok(()))
    }

    /// The same once `ready` has returned, which is called when it is settled which changes are committed. Whoever makes
    /// changes that rest on something else waits there until that is durable.
    ///
    /// # Errors
    /// The store cannot be written, or what `ready` says. Every change is still here, and goes with the next flush.
    pub fn flush_when(&self, position: Position, ready: impl FnOnce() -> Result<(), Fault>) -> Result<(), Fault> {
        let _one_at_a_time = locked(&self.flushing);
        // Declared before the lock below, so that many values are given back when nobody waits for it any more.
        let changes = {
            let mut overlay = locked(&self.overlay);
            // Under the lock, so that whoever begins to wait later is in a hurry later.
            if overlay.waiting == 0 {
                self.store.take_time();
            }
            overlay.take()
        };
        let nothing_new = changes.is_empty() && position == self.store.position();
        let committed = if nothing_new { Ok(()) } else { ready().and_then(|()| self.store.commit(&changes, position)) };
        self.store.hurry();
        let mut overlay = locked(&self.overlay);
        if committed.is_ok() {
            overlay.committing = None;
            overlay.committing_bytes = 0;
        } else {
            drop(changes);
            overlay.reclaim();
        }
        committed
    }

    /// A scan, and whether it is surely of one moment: if no flush has taken changes during it. A commit that ends during
    /// it does no harm, for what it brings to the store is in the overlay's part too.
    fn try_scan(&self, kind: u8, from: &[u8], reverse: bool, count_max: usize) -> Result<(Page, bool), Fault> {
        let (mut merged, taken) = {
            let overlay = locked(&self.overlay);
            (overlay.part(kind, from, reverse, count_max), overlay.taken)
        };
        // The overlay's part reaches to its `count_max`th value or is all of it. The store is read until it gave as many
        // values that the part does not hide, or has no more. So below the nearer of the two ends nothing is missing, and
        // the first `count_max` values are there.
        let ahead = merged.len().min(HIDDEN_AHEAD_MAX);
        let mut missing = count_max;
        let mut from = from.to_vec();
        while missing > 0 {
            let page_length = missing.saturating_add(ahead);
            let page = self.store.scan(kind, &from, reverse, page_length)?;
            let ended = page.len() < page_length;
            if let Some((last, _)) = page.last() {
                from.clone_from(last);
            }
            // The next page begins with the last key of this one, which is merged by then and does not count again. It
            // has more than that one entry, because pages are only repeated if something is hidden, so `ahead` is not 0.
            for (key, value) in page {
                if let Entry::Vacant(vacant) = merged.entry(key) {
                    vacant.insert(Some(value));
                    missing = missing.saturating_sub(1);
                }
            }
            if ended {
                break;
            }
        }
        let live = merged.into_iter().filter_map(|(key, value)| Some((key, value?)));
        let page = if reverse { live.rev().take(count_max).collect() } else { live.take(count_max).collect() };
        Ok((page, taken == locked(&self.overlay).taken))
    }
}

impl Overlay {
    fn get(&self, key: &(u8, Vec<u8>)) -> Option<&Option<Vec<u8>>> {
        self.fresh.get(key).or_else(|| self.committing.as_ref()?.get(key))
    }

    /// Whether what was changed since the last flush began is so much that the next one should not wait for it.
    fn is_behind(&self) -> bool {
        self.committing.is_some() && self.fresh_bytes > self.committing_bytes / 2
    }

    fn set(&mut self, key: (u8, Vec<u8>), value: Option<Vec<u8>>) {
        let key_bytes = key.1.len() + CHANGE_BYTES;
        self.fresh_bytes += key_bytes + bytes(&value);
        if let Some(old) = self.fresh.insert(key, value) {
            self.fresh_bytes -= key_bytes + bytes(&old);
        }
    }

    /// Makes all changes the layer that is committed.
    fn take(&mut self) -> Arc<Changes> {
        // Only there if a commit panicked.
        self.reclaim();
        self.taken += 1;
        let changes = Arc::new(mem::take(&mut self.fresh));
        self.committing_bytes = mem::take(&mut self.fresh_bytes);
        self.committing = Some(Arc::clone(&changes));
        changes
    }

    /// Makes what was not committed part of the changes again, where nothing newer is.
    fn reclaim(&mut self) {
        let Some(changes) = self.committing.take() else { return };
        self.committing_bytes = 0;
        let newer = mem::take(&mut self.fresh);
        self.fresh_bytes = 0;
        for (key, value) in Arc::unwrap_or_clone(changes).into_iter().chain(newer) {
            self.set(key, value);
        }
    }

    /// The changes of a kind from `from` on, up to the `count_max`th that sets a value or further.
    fn part(&self, kind: u8, from: &[u8], reverse: bool, count_max: usize) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
        let from = (kind, from.to_vec());
        let mut part = BTreeMap::new();
        // Each layer goes on until it alone has given enough values, so wherever the nearer one ends, there are enough.
        for layer in [Some(&self.fresh), self.committing.as_deref()].into_iter().flatten() {
            let changes: Box<dyn Iterator<Item = _>> = if reverse {
                Box::new(layer.range((kind, Vec::new())..=from.clone()).rev())
            } else {
                Box::new(layer.range(from.clone()..).take_while(|((of, _), _)| *of == kind))
            };
            let mut missing = count_max;
            for (key, value) in changes {
                if missing == 0 {
                    break;
                }
                if std::ptr::eq(layer, &self.fresh) || !self.fresh.contains_key(key) {
                    missing -= usize::from(value.is_some());
                    part.insert(key.1.clone(), value.clone());
                }
            }
        }
        part
    }
}

fn bytes(value: &Option<Vec<u8>>) -> usize {
    value.as_ref().map_or(0, Vec::len)
}
