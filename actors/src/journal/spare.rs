//! Decides when the next segment is made: ahead of time, on a thread of its own, so that the writer does not stall when
//! it rolls, and again every while as long as the disk is full. Only the writer and `Journal` call it. It must not know
//! entries.

use super::{
    disk::{Disk, Segment, is_full},
    locked,
    recovery::PREPARED_NAME,
};
use hansa_core::code::{Code, Fault};
use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

/// A segment that waits for its header and its name.
pub(super) struct Spare {
    pub segment: Box<dyn Segment>,
    pub bytes: u64,
}

#[derive(Default)]
struct State {
    wanted_bytes: Option<u64>,
    ready: Option<Spare>,
    /// Why the last attempt failed; none once one succeeds.
    obstacle: Option<Fault>,
    /// The journal closes: whoever waits for a spare that cannot be made waits no longer.
    closing: bool,
    /// The thread is to end.
    ended: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    disk: Arc<dyn Disk>,
    segment_bytes: u64,
    retry_delay: Duration,
}

/// The maker of the next segment.
pub(super) struct Spares {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Spares {
    pub fn start(disk: Arc<dyn Disk>, segment_bytes: u64, retry_delay: Duration) -> Result<Self, Fault> {
        let shared =
            Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), disk, segment_bytes, retry_delay });
        let thread = thread::Builder::new().name("journal-spare".into()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.make_spares()
        });
        let thread =
            thread.map_err(|error| Fault::new(Code::Internal, format!("no thread can be started: {error}")))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Asks for a spare; returns at once.
    pub fn prepare(&self) {
        let mut state = locked(&self.shared.state);
        if state.ready.is_none() && state.wanted_bytes.is_none() {
            state.wanted_bytes = Some(self.shared.segment_bytes);
            self.shared.changed.notify_all();
        }
    }

    /// Waits for a spare of at least `bytes`; while the disk is full, as long as `waits` says so. A fault says that the disk is
    /// full and nobody waits (any more), or that it fails in another way.
    pub fn take(&self, bytes: u64, waits: &dyn Fn(&Fault) -> bool) -> Result<Spare, Fault> {
        let mut state = locked(&self.shared.state);
        loop {
            match state.ready.take() {
                Some(spare) if spare.bytes >= bytes => return Ok(spare),
                // An oversized record needs a segment of its own size; the spare file is overwritten.
                _ => {}
            }
            let wanted = state.wanted_bytes.unwrap_or(self.shared.segment_bytes).max(bytes);
            state.wanted_bytes = Some(wanted);
            self.shared.changed.notify_all();
            if let Some(fault) = state.obstacle.clone()
                && (state.closing || fault.code != Code::DiskFull || !waits(&fault))
            {
                return Err(fault);
            }
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whoever waits for a spare looks again whether it still does.
    pub fn look_again(&self) {
        let _state = locked(&self.shared.state);
        self.shared.changed.notify_all();
    }

    /// Why no spare could be made, if none could.
    pub fn obstacle(&self) -> Option<Fault> {
        locked(&self.shared.state).obstacle.clone()
    }

    /// From now on nobody waits for room on a full disk.
    pub fn close(&self) {
        locked(&self.shared.state).closing = true;
        self.shared.changed.notify_all();
    }

    /// Ends the thread and gives the spare's room back.
    pub fn end(&self) {
        locked(&self.shared.state).ended = true;
        self.shared.changed.notify_all();
        if let Some(thread) = locked(&self.thread).take() {
            // It neither panics nor matters any more.
            let _ = thread.join();
        }
        if locked(&self.shared.state).ready.take().is_some() {
            // Opening removes it, too.
            let _ = self.shared.disk.remove(PREPARED_NAME);
        }
    }
}

impl Shared {
    fn make_spares(&self) {
        let mut state = locked(&self.state);
        while !state.ended {
            let Some(bytes) = state.wanted_bytes else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            // What is ready was judged too small.
            state.ready = None;
            drop(state);
            let made = self.disk.create_preallocated(PREPARED_NAME, bytes);
            state = locked(&self.state);
            match made {
                Ok(segment) => {
                    if state.obstacle.take().is_some() {
                        tracing::info!(folder = self.disk.place(), "the next journal segment could be made after all");
                    }
                    // A larger one may have been asked for meanwhile.
                    if state.wanted_bytes == Some(bytes) {
                        state.wanted_bytes = None;
                        state.ready = Some(Spare { segment, bytes });
                    }
                    self.changed.notify_all();
                }
                Err(error) => {
                    let code = if is_full(&error) { Code::DiskFull } else { Code::JournalFailed };
                    let message = format!(
                        "the next journal segment of {bytes} bytes in {} cannot be made: {error}",
                        self.disk.place()
                    );
                    if state.obstacle.is_none() {
                        tracing::error!(%message, "new work is refused until the next journal segment can be made");
                    }
                    state.obstacle = Some(Fault::new(code, message));
                    self.changed.notify_all();
                    let retry = self.changed.wait_timeout_while(state, self.retry_delay, |state| !state.ended);
                    state = retry.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }
}
