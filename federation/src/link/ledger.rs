//! Decides how much of what a peer sent this node has taken, and when the peer is told that it may send as much again.
//!
//! Shared by the reader, which notes what comes, the node, which drops [`Credit`]s, and the writer, which grants. A link has two:
//! one for frames, one for the parts of duty messages. Nothing here waits.

use super::queue::Queue;
use crate::frame::Window;
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What the node has taken and the peer has not been told yet.
pub(super) struct Ledger {
    window: Window,
    state: Mutex<State>,
    queue: Arc<Queue>,
}

#[derive(Default)]
struct State {
    outstanding: Amount,
    taken: Amount,
    /// A message that is larger than the window allows for is with the node.
    large: bool,
    /// Parts of the message behind it, for which the peer gets nothing until the node has taken the large one.
    deferred: Amount,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Amount {
    count: u32,
    bytes: u64,
}

impl Amount {
    fn add(&mut self, other: Amount) {
        self.count += other.count;
        self.bytes += other.bytes;
    }
}

impl Ledger {
    pub(super) fn new(window: Window, queue: Arc<Queue>) -> Self {
        Self { window, state: Mutex::default(), queue }
    }

    /// Note that a frame came; nothing where the peer had no right to send it.
    pub(super) fn arrived(self: &Arc<Self>, bytes: usize) -> Option<Credit> {
        let amount = self.note(&mut self.lock(), bytes)?;
        Some(Credit { ledger: Arc::clone(self), amount, large: false })
    }

    /// Note that a part of a message came that does not end with it. The message is put together here, where its size is
    /// bounded, so the peer may send as much again, unless a message in parts is with the node already: of these there is one
    /// at a time. Whether the peer had a right to send it.
    pub(super) fn arrived_part(&self, bytes: usize) -> bool {
        let mut state = self.lock();
        let Some(amount) = self.note(&mut state, bytes) else { return false };
        if state.large {
            state.deferred.add(amount);
        } else {
            state.taken.add(amount);
        }
        let due = state.is_due(self.window);
        drop(state);
        if due {
            self.queue.work.notify_one();
        }
        true
    }

    /// Note the last part of a message of several.
    pub(super) fn arrived_last_part(self: &Arc<Self>, bytes: usize) -> Option<Credit> {
        let mut state = self.lock();
        let mut amount = self.note(&mut state, bytes)?;
        let large = !state.large;
        if large {
            state.large = true;
        } else {
            // Its parts are within the window as long as the node has it.
            amount.add(std::mem::take(&mut state.deferred));
        }
        drop(state);
        Some(Credit { ledger: Arc::clone(self), amount, large })
    }

    fn note(&self, state: &mut State, bytes: usize) -> Option<Amount> {
        if state.outstanding.count >= self.window.count || state.outstanding.bytes >= self.window.bytes {
            return None;
        }
        let amount = Amount { count: 1, bytes: bytes as u64 };
        state.outstanding.add(amount);
        Some(amount)
    }

    /// What to grant now: nothing until it is worth a packet.
    pub(super) fn due(&self) -> Option<(u32, u64)> {
        let mut state = self.lock();
        if !state.is_due(self.window) {
            return None;
        }
        let Amount { count, bytes } = std::mem::take(&mut state.taken);
        state.outstanding.count -= count;
        state.outstanding.bytes -= bytes;
        Some((count, bytes))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_due(&self, window: Window) -> bool {
        self.taken.count >= window.count / 4 || self.taken.bytes >= window.bytes / 4
    }
}

/// The room that something arrived takes. Dropping it lets the peer send as much again.
pub struct Credit {
    ledger: Arc<Ledger>,
    amount: Amount,
    large: bool,
}

impl Drop for Credit {
    fn drop(&mut self) {
        let mut state = self.ledger.lock();
        state.taken.add(self.amount);
        if self.large {
            state.large = false;
            let deferred = std::mem::take(&mut state.deferred);
            state.taken.add(deferred);
        }
        let due = state.is_due(self.ledger.window);
        drop(state);
        if due {
            self.ledger.queue.work.notify_one();
        }
    }
}

impl fmt::Debug for Credit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "credit for {} bytes", self.amount.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{DutyLimits, FRAMES};

    fn ledger(window: Window) -> Arc<Ledger> {
        Arc::new(Ledger::new(window, Arc::new(Queue::new(DutyLimits::MEMBER))))
    }

    #[test]
    fn a_peer_that_sends_beyond_its_window_is_found_out() {
        let ledger = ledger(FRAMES);
        let mut credits: Vec<_> = (0..FRAMES.count).map(|_| ledger.arrived(10).unwrap()).collect();
        assert!(ledger.arrived(10).is_none());
        credits.truncate(10);
        let (frames, _) = ledger.due().unwrap();
        assert_eq!(frames, FRAMES.count - 10);
        assert!(ledger.arrived(FRAMES.bytes as usize).is_some(), "the last frame may reach beyond the window of bytes");
        assert!(ledger.arrived(1).is_none());
    }

    #[test]
    fn a_message_of_any_size_passes_a_small_window_and_the_next_waits_until_the_node_has_taken_it() {
        let ledger = ledger(Window { count: 4, bytes: 400 });
        for _ in 0..100 {
            assert!(ledger.arrived_part(100), "its parts are put together, so they are granted again");
            assert_eq!(ledger.due(), Some((1, 100)));
        }
        let first = ledger.arrived_last_part(100).unwrap();
        assert!((0..3).all(|_| ledger.arrived_part(100)));
        assert_eq!(ledger.due(), None, "what comes behind it is not");
        assert!(!ledger.arrived_part(100), "so there is no more of it than the window");
        drop(first);
        assert_eq!(ledger.due(), Some((4, 400)));
        let second = ledger.arrived_last_part(100).unwrap();
        assert!(ledger.arrived_part(100));
        let third = ledger.arrived_last_part(100).unwrap();
        drop(third);
        assert_eq!(ledger.due(), Some((2, 200)), "a message within the window is credited as a whole");
        drop(second);
        assert_eq!(ledger.due(), Some((1, 100)));
    }
}
