//! Decides how much may wait for a peer, what of it goes first, and how much may be under way.
//!
//! Shared by the handle, which queues, the writer, which sends, and the reader, which hears what the peer granted. What a link
//! says about itself goes first, then duty messages, then frames. Nothing here waits.

use crate::{
    event::Traffic,
    frame::{DutyLimits, FRAMES, Frame, PACKET_BYTES_MAX, PART_BYTES_MAX, Packet, Window},
};
use bytes::Bytes;
use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};
use tokio::sync::Notify;

/// Frames that may wait for one peer.
pub const QUEUE_FRAMES_MAX: usize = 4_096;
/// Bytes that may wait for one peer; one frame of any permitted size always may.
pub const QUEUE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What a duty message counts beside its bytes, so that many small ones take no more room than few large ones.
const DUTY_OVERHEAD_BYTES: usize = 64;

/// Why a frame or a message was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// The queue is full; for frames, [`crate::Event::Writable`] tells when it is not any more.
    Full,
    /// No link to that organization, or to that sub-node, is up.
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
pub(crate) struct Queue {
    limits: DutyLimits,
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
    closed: Option<Closing>,
    /// What the peer has to be told about this side. Only the latest of each counts, so it takes no room.
    serving: Option<u64>,
    attend: Option<u64>,
    begin: Option<u64>,
    /// Whether frames may be queued.
    attended: bool,
    frames: VecDeque<(Frame, usize)>,
    bytes: usize,
    answered_full: bool,
    granted: Granted,
    duties: VecDeque<Bytes>,
    duty_bytes: usize,
    duty_granted: Granted,
}

/// What the peer has room for.
#[derive(Default)]
struct Granted {
    count: u64,
    bytes: i64,
}

impl Granted {
    fn is_there(&self) -> bool {
        self.count > 0 && self.bytes > 0
    }

    /// Add what the peer took. Whether it can have taken as much.
    fn add(&mut self, count: u32, bytes: u64, window: Window) -> bool {
        self.count = self.count.saturating_add(count.into());
        self.bytes = self.bytes.saturating_add_unsigned(bytes);
        self.count <= window.count.into() && self.bytes <= window.bytes as i64
    }
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
    /// A queue to a peer that has granted whole windows.
    pub(crate) fn new(limits: DutyLimits) -> Self {
        let mut state = State::default();
        state.granted.add(FRAMES.count, FRAMES.bytes, FRAMES);
        state.duty_granted.add(limits.window.count, limits.window.bytes, limits.window);
        Self {
            limits,
            state: Mutex::new(state),
            work: Notify::new(),
            writable: Notify::new(),
            closing: Notify::new(),
            counts: Counts::default(),
        }
    }

    pub(crate) fn limits(&self) -> DutyLimits {
        self.limits
    }

    /// Tell the peer at which epoch this node serves.
    pub(crate) fn tell_serving(&self, epoch: u64) {
        self.lock().serving = Some(epoch);
        self.work.notify_one();
    }

    /// Tell the peer whether it is attended, and in which round.
    pub(super) fn tell_attend(&self, round: u64) {
        self.lock().attend = Some(round);
        self.work.notify_one();
    }

    /// Take frames from now on, for a round of the peer.
    pub(super) fn begin(&self, round: u64) {
        let mut state = self.lock();
        state.begin = Some(round);
        state.attended = true;
        drop(state);
        self.work.notify_one();
    }

    /// Take no frames any more, and drop what waits.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.begin = None;
        state.drop_frames();
    }

    /// Queue `frame`.
    pub(crate) fn push(&self, frame: Frame) -> Result<(), Unsent> {
        let bytes = frame.bytes_max();
        if bytes > PACKET_BYTES_MAX || !frame.within_limits() {
            return Err(Unsent::TooLarge);
        }
        let mut state = self.lock();
        if state.closed.is_some() || !state.attended {
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

    /// Queue a duty message.
    pub(crate) fn push_duty(&self, message: Bytes) -> Result<(), Unsent> {
        if message.len() > self.limits.message_bytes {
            return Err(Unsent::TooLarge);
        }
        let mut state = self.lock();
        if state.closed.is_some() {
            return Err(Unsent::Disconnected);
        }
        let taken = message.len() + DUTY_OVERHEAD_BYTES;
        if state.duty_bytes + taken > self.limits.queue_bytes && !state.duties.is_empty() {
            return Err(Unsent::Full);
        }
        state.duty_bytes += taken;
        state.duties.push_back(message);
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    /// What the peer has to be told about this side, in this order.
    pub(super) fn pop_word(&self) -> Option<Packet> {
        let mut state = self.lock();
        if state.closed.is_some() {
            return None;
        }
        if let Some(epoch) = state.serving.take() {
            return Some(Packet::Serving { epoch });
        }
        if let Some(round) = state.attend.take() {
            return Some(Packet::Attend { round });
        }
        state.begin.take().map(|round| Packet::Begin { round })
    }

    /// The next part of a duty message that the peer has room for, and whether the message ends with it.
    pub(super) fn pop_duty(&self) -> Option<(Bytes, bool)> {
        let mut state = self.lock();
        if !state.duty_granted.is_there() {
            return None;
        }
        let message = state.duties.front_mut()?;
        let last = message.len() <= PART_BYTES_MAX;
        let part = message.split_to(message.len().min(PART_BYTES_MAX));
        if last {
            state.duties.pop_front();
        }
        state.duty_bytes -= part.len() + if last { DUTY_OVERHEAD_BYTES } else { 0 };
        state.duty_granted.count -= 1;
        Some((part, last))
    }

    /// A part took that many bytes as a packet.
    pub(super) fn sent_duty(&self, bytes: usize) {
        self.lock().duty_granted.bytes -= bytes as i64;
    }

    /// The next frame that the peer has room for.
    pub(super) fn pop(&self) -> Option<Frame> {
        let mut state = self.lock();
        // A frame must not go before the word that it is for this round.
        if !state.granted.is_there() || state.begin.is_some() {
            return None;
        }
        let (frame, bytes) = state.frames.pop_front()?;
        state.bytes -= bytes;
        state.granted.count -= 1;
        if state.answered_full && state.frames.len() <= QUEUE_FRAMES_MAX / 2 && state.bytes <= QUEUE_BYTES_MAX / 2 {
            state.answered_full = false;
            self.writable.notify_one();
        }
        Some(frame)
    }

    /// A popped frame took that many bytes as a packet.
    pub(super) fn sent(&self, bytes: usize) {
        self.lock().granted.bytes -= bytes as i64;
        self.counts.frames_out.fetch_add(1, Relaxed);
    }

    /// The peer has taken as much. Whether that can be.
    pub(super) fn grant(&self, frames: u32, bytes: u64) -> bool {
        let honest = self.lock().granted.add(frames, bytes, FRAMES);
        self.work.notify_one();
        honest
    }

    /// The peer has taken as much of duty messages. Whether that can be.
    pub(super) fn grant_duty(&self, parts: u32, bytes: u64) -> bool {
        let honest = self.lock().duty_granted.add(parts, bytes, self.limits.window);
        self.work.notify_one();
        honest
    }

    /// Accept nothing more, and drop what waits. The first reason counts.
    pub(crate) fn close(&self, closing: Closing) {
        let mut state = self.lock();
        state.closed.get_or_insert(closing);
        state.drop_frames();
        state.duties = VecDeque::new();
        state.duty_bytes = 0;
        drop(state);
        self.work.notify_one();
        self.closing.notify_waiters();
    }

    /// Why the queue is closed, if it is.
    pub(crate) fn closing(&self) -> Option<Closing> {
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
        let state = self.lock();
        Traffic {
            frames_in: self.counts.frames_in.load(Relaxed),
            frames_out: self.counts.frames_out.load(Relaxed),
            bytes_in: self.counts.bytes_in.load(Relaxed),
            bytes_out: self.counts.bytes_out.load(Relaxed),
            frames_queued: state.frames.len() as u64,
            duties_queued: state.duties.len() as u64,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn drop_frames(&mut self) {
        self.attended = false;
        self.frames = VecDeque::new();
        self.bytes = 0;
        self.answered_full = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hansa_core::{ident::OrganizationId, signed::Signed};

    fn position(accepted_through: u64) -> Frame {
        Frame::Position { accepted_through }
    }

    fn attended() -> Queue {
        let queue = Queue::new(DutyLimits::MEMBER);
        queue.begin(7);
        assert_eq!(queue.pop_word(), Some(Packet::Begin { round: 7 }));
        queue
    }

    // Invariant 6: reaching the bound is an answer.
    #[tokio::test]
    async fn a_full_queue_says_so_and_tells_when_there_is_room() {
        let queue = attended();
        for number in 0..QUEUE_FRAMES_MAX as u64 {
            queue.push(position(number)).unwrap();
        }
        assert_eq!(queue.push(position(0)), Err(Unsent::Full));
        for expected in 0..u64::from(FRAMES.count) {
            assert_eq!(queue.pop(), Some(position(expected)), "in order");
            queue.sent(10);
        }
        assert_eq!(queue.pop(), None, "the window is used up");
        queue.grant(FRAMES.count, 10 * u64::from(FRAMES.count));
        while queue.pop().is_some() {}
        queue.writable.notified().await;
        assert!(queue.push(position(0)).is_ok());
    }

    #[test]
    fn one_frame_of_any_permitted_size_is_taken_and_a_larger_one_never() {
        let signed = |bytes| Signed { by: OrganizationId([1; 32]), bytes: vec![0; bytes], signature: vec![0; 64] };
        let queue = attended();
        assert_eq!(queue.push(Frame::Confirm(signed(PACKET_BYTES_MAX))), Err(Unsent::TooLarge));
        let large = Frame::Confirm(signed(PACKET_BYTES_MAX - 1_000));
        queue.push(large.clone()).unwrap();
        assert_eq!(queue.push(large), Err(Unsent::Full));
        queue.close(Closing::silent("over"));
        assert_eq!(queue.push(position(1)), Err(Unsent::Disconnected));
        assert_eq!(queue.push_duty(Bytes::from_static(b"late")), Err(Unsent::Disconnected));
    }

    #[test]
    fn a_peer_that_grants_more_than_it_was_sent_is_found_out() {
        assert!(!attended().grant(1, 0));
        assert!(!attended().grant_duty(0, 1));
    }

    #[test]
    fn frames_are_taken_and_go_only_in_a_round_and_behind_the_word_for_it() {
        let queue = Queue::new(DutyLimits::MEMBER);
        assert_eq!(queue.push(position(1)), Err(Unsent::Disconnected));
        queue.begin(1);
        queue.push(position(1)).unwrap();
        queue.end();
        queue.begin(2);
        queue.push(position(2)).unwrap();
        assert_eq!(queue.pop(), None);
        assert_eq!(queue.pop_word(), Some(Packet::Begin { round: 2 }));
        assert_eq!((queue.pop(), queue.pop()), (Some(position(2)), None), "what waited for the round before is gone");
    }

    #[test]
    fn duty_messages_are_bounded_in_bytes_cut_in_parts_and_independent_of_the_frames_window() {
        let queue = Queue::new(DutyLimits::PARTNER);
        let DutyLimits { queue_bytes, window, .. } = DutyLimits::PARTNER;
        // One may be larger than the queue.
        queue.push_duty(Bytes::from(vec![1; queue_bytes + 1])).unwrap();
        assert_eq!(queue.push_duty(Bytes::from_static(b"beat")), Err(Unsent::Full));
        let mut parts = 0;
        loop {
            let Some((part, last)) = queue.pop_duty() else {
                assert_eq!(parts % (window.bytes / PART_BYTES_MAX as u64), 0, "the window is used up");
                assert!(queue.grant_duty(1, window.bytes));
                continue;
            };
            parts += 1;
            queue.sent_duty(part.len());
            assert_eq!(last, part.len() == 1);
            if last {
                break;
            }
        }
        assert_eq!(parts, (queue_bytes / PART_BYTES_MAX) as u64 + 1);
        queue.push_duty(Bytes::new()).unwrap();
        assert_eq!(queue.pop_duty(), Some((Bytes::new(), true)), "an empty one is one too");
        let member = Queue::new(DutyLimits::MEMBER);
        let largest = Bytes::from(vec![1; DutyLimits::MEMBER.message_bytes]);
        assert_eq!(member.push_duty(Bytes::from(vec![1; largest.len() + 1])), Err(Unsent::TooLarge));
        assert_eq!((0..10).filter(|_| member.push_duty(largest.clone()).is_ok()).count(), 3);
    }
}
