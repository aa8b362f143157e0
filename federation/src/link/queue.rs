//! Decides how much may wait for a peer, how much may be under way to it, and how much of it this node has taken.
//!
//! Shared by the handle, which queues, the writer, which sends, the reader, which hears what the peer granted, and the node,
//! which drops [`Credit`]s. Nothing here waits.

use crate::{
    event::Traffic,
    frame::{Frame, PACKET_BYTES_MAX, Packet, WINDOW_BYTES, WINDOW_FRAMES},
};
use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};
use tokio::sync::Notify;

/// Frames that may wait for one peer.
pub const QUEUE_FRAMES_MAX: usize = 4_096;
/// Bytes that may wait for one peer; one frame of any permitted size always may.
pub const QUEUE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Why a frame was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// The queue is full; [`crate::Event::Writable`] tells when it is not any more.
    Full,
    /// No link to that organization is up.
    Disconnected,
    /// The frame is larger than a packet may be, or has too many entries.
    TooLarge,
}

impl fmt::Display for Unsent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Full => "the queue for the peer is full",
            Self::Disconnected => "no link to the peer is up",
            Self::TooLarge => "the frame is too large",
        })
    }
}

impl std::error::Error for Unsent {}

/// The sending half of a link.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// Wakes the writer.
    pub(super) work: Notify,
    /// Wakes whoever tells the node that there is room again.
    pub(super) writable: Notify,
    /// Wakes everything when the queue closes.
    closing: Notify,
    pub(super) counts: Counts,
}

#[derive(Default)]
struct State {
    frames: VecDeque<(Frame, usize)>,
    bytes: usize,
    closed: Option<Closing>,
    answered_full: bool,
    granted_frames: u64,
    granted_bytes: i64,
}

/// Why and how a link ends.
#[derive(Clone, Debug)]
pub(crate) struct Closing {
    /// For people.
    pub(crate) reason: String,
    /// What the peer is told last, if it can still be told.
    pub(crate) last: Option<Packet>,
}

impl Closing {
    pub(crate) fn silent(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), last: None }
    }
}

/// What went over the link.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) frames_in: AtomicU64,
    pub(super) frames_out: AtomicU64,
    pub(super) bytes_in: AtomicU64,
    pub(super) bytes_out: AtomicU64,
}

impl Queue {
    /// A queue to a peer that has granted a whole window.
    pub(crate) fn new() -> Self {
        let queue = Self::default();
        queue.grant(WINDOW_FRAMES, WINDOW_BYTES);
        queue
    }

    /// Queue `frame`.
    pub(crate) fn push(&self, frame: Frame) -> Result<(), Unsent> {
        let bytes = frame.bytes_max();
        if bytes > PACKET_BYTES_MAX || !frame.within_limits() {
            return Err(Unsent::TooLarge);
        }
        let mut state = self.lock();
        if state.closed.is_some() {
            return Err(Unsent::Disconnected);
        }
        let fits = state.frames.len() < QUEUE_FRAMES_MAX && state.bytes + bytes <= QUEUE_BYTES_MAX;
        if !fits && !state.frames.is_empty() {
            state.answered_full = true;
            return Err(Unsent::Full);
        }
        state.bytes += bytes;
        state.frames.push_back((frame, bytes));
        let was_empty = state.frames.len() == 1;
        drop(state);
        if was_empty {
            self.work.notify_one();
        }
        Ok(())
    }

    /// The next frame that the peer has room for.
    pub(super) fn pop(&self) -> Option<Frame> {
        let mut state = self.lock();
        if state.granted_frames == 0 || state.granted_bytes <= 0 || state.closed.is_some() {
            return None;
        }
        let (frame, bytes) = state.frames.pop_front()?;
        state.bytes -= bytes;
        state.granted_frames -= 1;
        if state.answered_full && state.frames.len() <= QUEUE_FRAMES_MAX / 2 && state.bytes <= QUEUE_BYTES_MAX / 2 {
            state.answered_full = false;
            self.writable.notify_one();
        }
        Some(frame)
    }

    /// A popped frame took that many bytes as a packet.
    pub(super) fn sent(&self, bytes: usize) {
        self.lock().granted_bytes -= bytes as i64;
        self.counts.frames_out.fetch_add(1, Relaxed);
    }

    /// The peer has taken as much. Whether that can be.
    pub(super) fn grant(&self, frames: u32, bytes: u64) -> bool {
        let mut state = self.lock();
        state.granted_frames = state.granted_frames.saturating_add(frames.into());
        state.granted_bytes = state.granted_bytes.saturating_add_unsigned(bytes);
        let honest = state.granted_frames <= WINDOW_FRAMES.into() && state.granted_bytes <= WINDOW_BYTES as i64;
        drop(state);
        self.work.notify_one();
        honest
    }

    /// Accept nothing more, and drop what waits. The first reason counts.
    pub(crate) fn close(&self, closing: Closing) {
        let mut state = self.lock();
        state.closed.get_or_insert(closing);
        state.frames = VecDeque::new();
        state.bytes = 0;
        drop(state);
        self.work.notify_one();
        self.closing.notify_waiters();
    }

    /// Why the queue is closed, if it is.
    pub(super) fn closing(&self) -> Option<Closing> {
        self.lock().closed.clone()
    }

    /// Resolves when the queue is closed.
    pub(super) async fn closed(&self) -> Closing {
        loop {
            let closing = self.closing.notified();
            if let Some(closing) = self.closing() {
                return closing;
            }
            closing.await;
        }
    }

    pub(crate) fn traffic(&self) -> Traffic {
        Traffic {
            frames_in: self.counts.frames_in.load(Relaxed),
            frames_out: self.counts.frames_out.load(Relaxed),
            bytes_in: self.counts.bytes_in.load(Relaxed),
            bytes_out: self.counts.bytes_out.load(Relaxed),
            frames_queued: self.lock().frames.len() as u64,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the node has taken of a peer's frames and the peer has not been told yet.
pub(super) struct Ledger {
    state: Mutex<LedgerState>,
    queue: Arc<Queue>,
}

#[derive(Default)]
struct LedgerState {
    outstanding_frames: u32,
    outstanding_bytes: u64,
    taken_frames: u32,
    taken_bytes: u64,
}

impl Ledger {
    pub(super) fn new(queue: Arc<Queue>) -> Self {
        Self { state: Mutex::default(), queue }
    }

    /// Note that a frame came; nothing where the peer had no right to send it.
    pub(super) fn arrived(self: &Arc<Self>, bytes: usize) -> Option<Credit> {
        let mut state = self.lock();
        if state.outstanding_frames >= WINDOW_FRAMES || state.outstanding_bytes >= WINDOW_BYTES {
            return None;
        }
        state.outstanding_frames += 1;
        state.outstanding_bytes += bytes as u64;
        drop(state);
        Some(Credit { ledger: Arc::clone(self), bytes: bytes as u64 })
    }

    /// What to grant now: nothing until it is worth a packet.
    pub(super) fn due(&self) -> Option<(u32, u64)> {
        let mut state = self.lock();
        if !state.worth_a_packet() {
            return None;
        }
        let (frames, bytes) = (state.taken_frames, state.taken_bytes);
        (state.taken_frames, state.taken_bytes) = (0, 0);
        state.outstanding_frames -= frames;
        state.outstanding_bytes -= bytes;
        Some((frames, bytes))
    }

    fn lock(&self) -> MutexGuard<'_, LedgerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LedgerState {
    fn worth_a_packet(&self) -> bool {
        self.taken_frames >= WINDOW_FRAMES / 4 || self.taken_bytes >= WINDOW_BYTES / 4
    }
}

/// The room that an arrived frame takes. Dropping it lets the peer send as much again.
pub struct Credit {
    ledger: Arc<Ledger>,
    bytes: u64,
}

impl Drop for Credit {
    fn drop(&mut self) {
        let mut state = self.ledger.lock();
        state.taken_frames += 1;
        state.taken_bytes += self.bytes;
        let worth_a_packet = state.worth_a_packet();
        drop(state);
        if worth_a_packet {
            self.ledger.queue.work.notify_one();
        }
    }
}

impl fmt::Debug for Credit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "credit for {} bytes", self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hansa_core::{ident::OrganizationId, signed::Signed};

    fn position(accepted_through: u64) -> Frame {
        Frame::Position { accepted_through }
    }

    // Invariant 6: reaching the bound is an answer.
    #[tokio::test]
    async fn a_full_queue_says_so_and_tells_when_there_is_room() {
        let queue = Queue::new();
        for number in 0..QUEUE_FRAMES_MAX as u64 {
            queue.push(position(number)).unwrap();
        }
        assert_eq!(queue.push(position(0)), Err(Unsent::Full));
        for expected in 0..u64::from(WINDOW_FRAMES) {
            assert_eq!(queue.pop(), Some(position(expected)), "in order");
            queue.sent(10);
        }
        assert_eq!(queue.pop(), None, "the window is used up");
        queue.grant(WINDOW_FRAMES, 10 * u64::from(WINDOW_FRAMES));
        while queue.pop().is_some() {}
        queue.writable.notified().await;
        assert!(queue.push(position(0)).is_ok());
    }

    #[test]
    fn one_frame_of_any_permitted_size_is_taken_and_a_larger_one_never() {
        let signed = |bytes| Signed { by: OrganizationId([1; 32]), bytes: vec![0; bytes], signature: vec![0; 64] };
        let queue = Queue::new();
        assert_eq!(queue.push(Frame::Confirm(signed(PACKET_BYTES_MAX))), Err(Unsent::TooLarge));
        let large = Frame::Confirm(signed(PACKET_BYTES_MAX - 1_000));
        queue.push(large.clone()).unwrap();
        assert_eq!(queue.push(large), Err(Unsent::Full));
        queue.close(Closing::silent("over"));
        assert_eq!(queue.push(position(1)), Err(Unsent::Disconnected));
    }

    #[test]
    fn a_peer_that_sends_beyond_its_window_or_grants_beyond_it_is_found_out() {
        let queue = Arc::new(Queue::new());
        assert!(!queue.grant(1, 0), "more was granted than was ever sent");
        let ledger = Arc::new(Ledger::new(Arc::new(Queue::new())));
        let mut credits: Vec<_> = (0..WINDOW_FRAMES).map(|_| ledger.arrived(10).unwrap()).collect();
        assert!(ledger.arrived(10).is_none());
        credits.truncate(10);
        let (frames, _) = ledger.due().unwrap();
        assert_eq!(frames, WINDOW_FRAMES - 10);
        assert!(ledger.arrived(WINDOW_BYTES as usize).is_some(), "the last frame may reach beyond the window of bytes");
        assert!(ledger.arrived(1).is_none());
    }
}
