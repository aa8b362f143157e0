//! Late, large commits in front of any [`Store`]: decides when changes are committed, and lets reads see them before. The
//! shell puts machines away through it. It must not know what they are.
//!
//! Changes lie in two layers: `young` takes new ones, `leaving` is being committed. A read looks into both under a lock
//! that is held for the look only, then into the store, so it never waits for a commit.
//!
//! A commit that the background makes by itself repeats the last position that [`WriteBehind::flush`] was given, for only
//! the caller knows which position the changes add up to. So a value may be newer than the position: it must itself say
//! which sequence it reflects, and whoever replays skips what it reflects already.

use super::{Change, KeyValue, Position, Store, range};
use hansa_core::code::{Code, Fault};
use std::{
    collections::BTreeMap,
    mem,
    ops::Bound,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

/// When changes are committed, and how many may wait.
#[derive(Clone, Copy, Debug)]
pub struct WriteBehindOptions {
    /// Changes from which on a commit begins.
    pub commit_changes: usize,
    /// Bytes from which on a commit begins.
    pub commit_bytes: usize,
    /// Changes that may wait; more are refused with `busy`.
    pub changes_max: usize,
    /// Bytes that may wait; more are refused with `busy`.
    pub bytes_max: usize,
    /// Longest rest of a change before it is committed.
    pub commit_delay_ms: u64,
    /// Pause after a commit that failed.
    pub retry_delay_ms: u64,
}

impl Default for WriteBehindOptions {
    fn default() -> Self {
        Self {
            commit_changes: 16_384,
            commit_bytes: 16 << 20,
            changes_max: 131_072,
            bytes_max: 128 << 20,
            commit_delay_ms: 1_000,
            retry_delay_ms: 1_000,
        }
    }
}

/// Figures since the start, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteBehindStatistics {
    /// Commits made.
    pub commits: u64,
    /// Changes committed.
    pub changes_committed: u64,
    /// Changes that wait.
    pub changes_waiting: usize,
    /// Bytes that wait.
    pub bytes_waiting: usize,
}

/// Changes by kind and key; of two of one key the later is kept.
type Layer = BTreeMap<u8, BTreeMap<Vec<u8>, Option<Vec<u8>>>>;

#[derive(Default)]
struct State {
    young: Layer,
    leaving: Arc<Layer>,
    young_size: Size,
    leaving_size: Size,
    position: Position,
    /// Flushes asked for, and done.
    flushes_asked: u64,
    flushes_done: u64,
    /// Why the last commit failed; none once one succeeds.
    fault: Option<Fault>,
    /// Commits that failed; a flush that sees it grow gives up.
    failures: u64,
    statistics: WriteBehindStatistics,
    closing: bool,
    ended: bool,
}

#[derive(Clone, Copy, Default)]
struct Size {
    changes: usize,
    bytes: usize,
}

struct Shared {
    store: Arc<dyn Store>,
    options: WriteBehindOptions,
    state: Mutex<State>,
    changed: Condvar,
}

/// A store whose commits come late.
pub struct WriteBehind {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl WriteBehind {
    /// Puts write-behind in front of `store`.
    pub fn new(store: Arc<dyn Store>, options: WriteBehindOptions) -> Result<Self, Fault> {
        let state = State { position: store.position()?, ..State::default() };
        let shared = Arc::new(Shared { store, options, state: Mutex::new(state), changed: Condvar::new() });
        let thread = thread::Builder::new().name("store".into()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.commit_batches()
        });
        let thread =
            thread.map_err(|error| Fault::new(Code::Internal, format!("no thread can be started: {error}")))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Takes `changes`, which reads see from now on and a later commit makes durable. Never waits for a commit: when too
    /// much waits already it answers busy and leaves `changes` as they are.
    pub fn put(&self, changes: &mut Vec<Change>) -> Result<(), Fault> {
        let options = &self.shared.options;
        let mut state = self.shared.locked();
        if state.ended || state.closing {
            return Err(Fault::new(Code::StoreFailed, "the look-up store is closed"));
        }
        let waiting = Size {
            changes: state.young_size.changes + state.leaving_size.changes,
            bytes: state.young_size.bytes + state.leaving_size.bytes,
        };
        if waiting.changes >= options.changes_max || waiting.bytes >= options.bytes_max {
            let message = format!("{} changes of {} bytes wait for the look-up store", waiting.changes, waiting.bytes);
            return Err(state.fault.clone().unwrap_or_else(|| Fault::new(Code::Busy, message)));
        }
        let was_empty = state.young_size.changes == 0;
        for Change { kind, key, value } in changes.drain(..) {
            let (key_bytes, value_bytes) = (key.len(), value.as_ref().map_or(0, Vec::len));
            let State { young, young_size, .. } = &mut *state;
            match young.entry(kind).or_default().insert(key, value) {
                Some(replaced) => young_size.bytes -= replaced.map_or(0, |value| value.len()),
                None => {
                    young_size.changes += 1;
                    young_size.bytes += key_bytes;
                }
            }
            young_size.bytes += value_bytes;
        }
        // The thread sleeps without a time limit while there is nothing, and until the commit is due otherwise.
        if was_empty || state.is_due(options) {
            self.shared.changed.notify_all();
        }
        Ok(())
    }

    /// The value of a key, as the last `put` left it.
    pub fn get(&self, kind: u8, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        {
            let state = self.shared.locked();
            for layer in [&state.young, &*state.leaving] {
                if let Some(value) = layer.get(&kind).and_then(|table| table.get(key)) {
                    return Ok(value.clone());
                }
            }
        }
        self.shared.store.get(kind, key)
    }

    /// Like [`Store::scan`], over what is committed and what waits.
    pub fn scan(&self, kind: u8, from: Bound<&[u8]>, reverse: bool, limit: usize) -> Result<Vec<KeyValue>, Fault> {
        let (mut waiting, removals) = self.shared.locked().waiting(kind, from, reverse, limit);
        // As many of the store's keys as may turn out to be removed are asked for on top.
        let committed = self.shared.store.scan(kind, from, reverse, limit.saturating_add(removals))?;
        for (key, value) in committed {
            waiting.entry(key).or_insert(Some(value));
        }
        let found = waiting.into_iter().filter_map(|(key, value)| Some((key, value?)));
        Ok(if reverse { found.rev().take(limit).collect() } else { found.take(limit).collect() })
    }

    /// Commits everything put so far, with `position`, and returns when it is durable.
    pub fn flush(&self, position: Position) -> Result<(), Fault> {
        let mut state = self.shared.locked();
        state.position = position;
        self.shared.flush(state)
    }

    /// Begins a commit as a flush does, and does not wait for it.
    #[cfg(test)]
    pub(super) fn begin_commit(&self) {
        self.shared.locked().flushes_asked += 1;
        self.shared.changed.notify_all();
    }

    /// The position of the last commit.
    pub fn position(&self) -> Result<Position, Fault> {
        self.shared.store.position()
    }

    /// Figures for metrics.
    #[must_use]
    pub fn statistics(&self) -> WriteBehindStatistics {
        let state = self.shared.locked();
        WriteBehindStatistics {
            changes_waiting: state.young_size.changes + state.leaving_size.changes,
            bytes_waiting: state.young_size.bytes + state.leaving_size.bytes,
            ..state.statistics
        }
    }

    /// Commits everything with the last position and ends the thread. What an error leaves behind is in the journal.
    pub fn close(&self) -> Result<(), Fault> {
        let outcome = {
            let mut state = self.shared.locked();
            state.closing = true;
            if state.young_size.changes + state.leaving_size.changes == 0 { Ok(()) } else { self.shared.flush(state) }
        };
        self.shared.locked().ended = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            thread.join().map_err(|_| Fault::new(Code::Internal, "the look-up store's writer ended in a panic"))?;
        }
        outcome
    }
}

impl Drop for WriteBehind {
    fn drop(&mut self) {
        if let Err(fault) = self.close() {
            tracing::warn!(%fault, "the look-up store lags behind; it catches up from the journal");
        }
    }
}

impl State {
    fn is_due(&self, options: &WriteBehindOptions) -> bool {
        self.flushes_asked > self.flushes_done
            || self.young_size.changes >= options.commit_changes
            || self.young_size.bytes >= options.commit_bytes
    }

    /// What waits in the range, the younger before the older; and how many of the store's keys it may hide.
    ///
    /// No more than `limit` values are needed of each layer, but every removal among the keys that are passed.
    fn waiting(
        &self,
        kind: u8,
        from: Bound<&[u8]>,
        reverse: bool,
        limit: usize,
    ) -> (BTreeMap<Vec<u8>, Option<Vec<u8>>>, usize) {
        let mut waiting = BTreeMap::new();
        let mut removals = 0;
        for layer in [&self.young, &*self.leaving] {
            let Some(table) = layer.get(&kind) else { continue };
            let mut range = table.range::<[u8], _>(range(from, reverse));
            let mut values = 0;
            while values < limit {
                let Some((key, value)) = (if reverse { range.next_back() } else { range.next() }) else { break };
                if waiting.contains_key(key) {
                    continue;
                }
                match value {
                    Some(_) => values += 1,
                    None => removals += 1,
                }
                waiting.insert(key.clone(), value.clone());
            }
        }
        (waiting, removals)
    }
}

impl Shared {
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush(&self, mut state: MutexGuard<'_, State>) -> Result<(), Fault> {
        state.flushes_asked += 1;
        let (asked, failures) = (state.flushes_asked, state.failures);
        self.changed.notify_all();
        loop {
            if state.flushes_done >= asked {
                return Ok(());
            }
            if state.failures > failures || state.ended {
                let closed = || Fault::new(Code::StoreFailed, "the look-up store is closed");
                return Err(state.fault.clone().unwrap_or_else(closed));
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn commit_batches(&self) {
        let commit_delay = Duration::from_millis(self.options.commit_delay_ms);
        let retry_delay = Duration::from_millis(self.options.retry_delay_ms);
        let mut state = self.locked();
        while !state.ended {
            let idle = state.young_size.changes + state.leaving_size.changes == 0;
            if idle && !state.is_due(&self.options) {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let due = |state: &mut State| !state.ended && !state.is_due(&self.options);
            state = self.changed.wait_timeout_while(state, commit_delay, due).unwrap_or_else(PoisonError::into_inner).0;
            if state.ended {
                return;
            }
            state = self.commit(state);
            if state.fault.is_some() {
                let asked = state.flushes_asked;
                let rests = |state: &mut State| !state.ended && state.flushes_asked == asked;
                state = self
                    .changed
                    .wait_timeout_while(state, retry_delay, rests)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
        }
    }

    /// Commits what waits; without the lock while the disk is at work.
    fn commit<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let young = mem::take(&mut state.young);
        let size = mem::take(&mut state.young_size);
        state.leaving_size =
            Size { changes: state.leaving_size.changes + size.changes, bytes: state.leaving_size.bytes + size.bytes };
        if state.leaving.is_empty() {
            state.leaving = Arc::new(young);
        } else {
            // A commit had failed: what it held leaves together with what came after. Nobody else holds the layer now.
            let leaving = Arc::make_mut(&mut state.leaving);
            for (kind, table) in young {
                leaving.entry(kind).or_default().extend(table);
            }
        }
        let (leaving, position, asked) = (Arc::clone(&state.leaving), state.position, state.flushes_asked);
        drop(state);
        let changes: Vec<Change> = leaving
            .iter()
            .flat_map(|(&kind, table)| {
                table.iter().map(move |(key, value)| Change { kind, key: key.clone(), value: value.clone() })
            })
            .collect();
        drop(leaving);
        let outcome = self.store.commit(&changes, position);
        let mut state = self.locked();
        match outcome {
            Ok(()) => {
                state.leaving = Arc::default();
                state.leaving_size = Size::default();
                state.fault = None;
                state.flushes_done = asked;
                state.statistics.commits += 1;
                state.statistics.changes_committed += changes.len() as u64;
            }
            Err(fault) => {
                if state.fault.is_none() {
                    tracing::error!(%fault, "the look-up store takes no changes; it is tried again");
                }
                state.fault = Some(fault);
                state.failures += 1;
            }
        }
        self.changed.notify_all();
        state
    }
}
