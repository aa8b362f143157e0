//! Decides between which moments a link carries frames for the node, so that both sides mean the same stretch of time.
//!
//! Two sub-nodes serve their organizations and take each other for the ones that serve, or they do not; each learns of a change on
//! the other side later than of its own. So each names its stretch of time, its *round*, with a number: a link is up for the
//! node while both sides have one, and anew whenever either has another one. Frames count only behind the peer's word that they
//! are for this side's round; earlier ones belong to a round that is over. [`crate::shared`] says when a round begins and ends.

use super::{ledger::Credit, queue::Queue, transfer::Items};
use crate::frame::Frame;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, oneshot};

/// Ups that the node has not been told of. An honest peer has a handful in its life.
const UNTOLD_MAX: usize = 32;

/// What whoever tells the node has to tell, in order.
pub(super) enum Item {
    /// The link is up for the node.
    Up {
        /// Resolves when the node has been told everything of the organization's link that was up before.
        previous: Option<oneshot::Receiver<()>>,
        /// Dropped when the node has been told that this one is down.
        finished: oneshot::Sender<()>,
    },
    /// A frame came.
    Frame(Frame, Credit),
    /// The link is down for the node, for this reason.
    Down(String),
}

/// One link's part.
pub(crate) struct Attendance {
    queue: Arc<Queue>,
    state: Mutex<State>,
}

struct State {
    /// None once the link is over.
    items: Option<mpsc::UnboundedSender<Item>>,
    untold: usize,
    /// How many rounds this side had.
    rounds: u64,
    /// This side's round, or zero.
    own: u64,
    /// The peer's round, or zero.
    theirs: u64,
    up: bool,
    /// Whether the peer's frames are for this side's round.
    begun: bool,
}

impl Attendance {
    /// Of a link that is not up yet, and the items for whoever tells the node.
    pub(crate) fn new(queue: Arc<Queue>) -> (Self, Items) {
        // Bounded by the window of frames and by the number of ups that are not told.
        let (items, told) = mpsc::unbounded_channel();
        let state = State { items: Some(items), untold: 0, rounds: 0, own: 0, theirs: 0, up: false, begun: false };
        (Self { queue, state: Mutex::new(state) }, Items(told))
    }

    /// This side serves, and takes the peer for the one that serves.
    pub(crate) fn begin(&self, order: &mut Order) {
        let mut state = self.lock();
        state.rounds += 1;
        state.own = state.rounds;
        self.queue.tell_attend(state.own);
        self.settle(&mut state, order);
    }

    /// Not any more.
    pub(crate) fn end(&self, reason: &str) {
        let mut state = self.lock();
        if state.own > 0 {
            self.queue.tell_attend(0);
        }
        self.down(&mut state, reason);
        state.own = 0;
    }

    /// The peer tells its round.
    pub(crate) fn peer_attends(&self, round: u64, order: &mut Order) {
        let mut state = self.lock();
        if round != state.theirs {
            self.down(
                &mut state,
                "the peer does not serve its organization any more, or takes another for the one that serves",
            );
            state.theirs = round;
            self.settle(&mut state, order);
        }
    }

    /// The peer says that its next frames are for a round of this side.
    pub(super) fn peer_begins(&self, round: u64) {
        let mut state = self.lock();
        state.begun = state.up && state.own == round;
    }

    /// A frame came. Whether it was for the node; else it is dropped.
    pub(super) fn arrived(&self, frame: Frame, credit: Credit) -> bool {
        let state = self.lock();
        let Some(items) = state.items.as_ref().filter(|_| state.up && state.begun) else { return false };
        items.send(Item::Frame(frame, credit)).is_ok()
    }

    /// The link is over: it does not come up again.
    pub(crate) fn close(&self, reason: &str) {
        let mut state = self.lock();
        self.down(&mut state, reason);
        state.items = None;
    }

    /// The node has been told of an up.
    pub(super) fn told(&self) {
        self.lock().untold -= 1;
    }

    pub(crate) fn is_up(&self) -> bool {
        self.lock().up
    }

    fn settle(&self, state: &mut State, order: &mut Order) {
        if state.own == 0 || state.theirs == 0 {
            return;
        }
        let Some(items) = &state.items else { return };
        if state.untold >= UNTOLD_MAX {
            let reason = "the peer began and ceased to serve more often than the node could take note of";
            self.queue.close(super::queue::Closing::silent(reason));
            return;
        }
        let (previous, finished) = order.next();
        if items.send(Item::Up { previous, finished }).is_ok() {
            state.untold += 1;
            (state.up, state.begun) = (true, false);
            self.queue.begin(state.theirs);
        }
    }

    fn down(&self, state: &mut State, reason: &str) {
        if std::mem::take(&mut state.up) {
            self.queue.end();
            if let Some(items) = &state.items {
                let _ = items.send(Item::Down(reason.to_owned()));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In which order the node is told of an organization's links: down before the next is up.
#[derive(Default)]
pub(crate) struct Order(Option<oneshot::Receiver<()>>);

impl Order {
    fn next(&mut self) -> (Option<oneshot::Receiver<()>>, oneshot::Sender<()>) {
        let (finished, running) = oneshot::channel();
        (self.0.replace(running), finished)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        frame::{DutyLimits, FRAMES, Packet},
        link::ledger::Ledger,
    };

    struct Side {
        attendance: Attendance,
        items: mpsc::UnboundedReceiver<Item>,
        ledger: Arc<Ledger>,
        order: Order,
    }

    impl Side {
        fn new() -> Self {
            let queue = Arc::new(Queue::new(DutyLimits::MEMBER));
            let (attendance, items) = Attendance::new(Arc::clone(&queue));
            Self { attendance, items: items.0, ledger: Arc::new(Ledger::new(FRAMES, queue)), order: Order::default() }
        }

        fn say(&self, number: u64) {
            let _ = self.attendance.queue.push(Frame::Position { accepted_through: number });
        }

        /// Everything that this side has to send, in the order of the writer.
        fn sends(&self) -> Vec<Packet> {
            let queue = &self.attendance.queue;
            std::iter::from_fn(|| queue.pop_word().or_else(|| queue.pop().map(Packet::Frame))).collect()
        }

        fn hears(&mut self, packets: Vec<Packet>) {
            for packet in packets {
                match packet {
                    Packet::Attend { round } => self.attendance.peer_attends(round, &mut self.order),
                    Packet::Begin { round } => self.attendance.peer_begins(round),
                    Packet::Frame(frame) => {
                        let credit = self.ledger.arrived(10).unwrap();
                        self.attendance.arrived(frame, credit);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }

        fn told(&mut self) -> String {
            let mut told = String::new();
            while let Ok(item) = self.items.try_recv() {
                match item {
                    Item::Up { .. } => {
                        self.attendance.told();
                        told.push('^');
                    }
                    Item::Frame(Frame::Position { accepted_through }, _) => {
                        told.push_str(&accepted_through.to_string())
                    }
                    Item::Frame(..) => panic!("nobody sent that"),
                    Item::Down(_) => told.push('v'),
                }
            }
            told
        }
    }

    #[test]
    fn a_link_is_up_once_both_attend_and_frames_follow() {
        let (mut one, mut other) = (Side::new(), Side::new());
        one.attendance.begin(&mut one.order);
        one.say(1);
        assert!(!one.attendance.is_up(), "the other has not said anything");
        other.hears(one.sends());
        other.attendance.begin(&mut other.order);
        other.say(2);
        one.hears(other.sends());
        one.say(3);
        other.hears(one.sends());
        assert_eq!((one.told(), other.told()), ("^2".into(), "^3".into()));
    }

    // Whatever the interleaving, in the end both are in the same pair of rounds, and no frame of an earlier one gets in.
    #[test]
    fn a_side_that_ceases_and_begins_starts_anew_on_both_and_frames_from_before_do_not_count() {
        let (mut one, mut other) = (Side::new(), Side::new());
        one.attendance.begin(&mut one.order);
        other.attendance.begin(&mut other.order);
        other.hears(one.sends());
        one.hears(other.sends());
        other.hears(one.sends());
        one.hears(other.sends());
        assert_eq!((one.told(), other.told()), ("^".into(), "^".into()));
        one.say(1);
        other.say(2);
        // Both are under way while one ceases and begins, of which its peer hears at once.
        let (from_one, from_other) = (one.sends(), other.sends());
        one.attendance.end("it does not serve");
        one.attendance.begin(&mut one.order);
        one.say(3);
        one.hears(from_other);
        other.hears(from_one);
        other.hears(one.sends());
        other.say(4);
        one.hears(other.sends());
        assert_eq!((one.told(), other.told()), ("v^4".into(), "1v^3".into()));
        // Both at once.
        for side in [&mut one, &mut other] {
            side.attendance.end("it does not serve");
            side.attendance.begin(&mut side.order);
            side.say(5);
        }
        let (from_one, from_other) = (one.sends(), other.sends());
        one.hears(from_other);
        other.hears(from_one);
        one.say(6);
        other.say(7);
        let (from_one, from_other) = (one.sends(), other.sends());
        one.hears(from_other);
        other.hears(from_one);
        let (told_one, told_other) = (one.told(), other.told());
        assert!(told_one.ends_with("^7") && told_other.ends_with("^6"), "{told_one} {told_other}");
        assert!(one.attendance.is_up() && other.attendance.is_up());
    }

    // Invariant 6: a peer that flickers while the node takes nothing fills no memory.
    #[test]
    fn a_peer_that_flickers_is_given_up() {
        let mut side = Side::new();
        side.attendance.begin(&mut side.order);
        for round in 1..=10 * UNTOLD_MAX as u64 {
            side.attendance.peer_attends(round, &mut side.order);
        }
        assert!(side.attendance.queue.closing().is_some());
        assert!(side.told().matches('^').count() == UNTOLD_MAX);
        side.attendance.close("over");
        assert!(side.items.try_recv().is_err());
    }
}
