//! What a sub-node does whose disk takes nothing any more, although it reports no error: it is full, or it hangs. [`super`] asks after
//! every input. To the protocol such a sub-node is one that is not there; this decides only after how long, and how that is done:
//! a follower says nothing more, so the active gives it up and goes on alone; an active hands over while its mirror answers, and ends
//! where that does not help. One that serves alone waits: nobody else could serve.

use super::desk::Desk;
use crate::clock;
use hansa_core::{
    code::{Code, Fault},
    mirror::pair::{Input, State},
    moment::Moment,
};

/// What the disk did last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stall {
    durable: u64,
    since: Moment,
    /// The other sub-node was asked to serve instead.
    handed_over: bool,
    /// The partner and the witnesses hear nothing of this sub-node as long as this lasts.
    pub(super) is_silent: bool,
}

impl Stall {
    pub(super) fn new() -> Self {
        Self { durable: 0, since: clock::steady(), handed_over: false, is_silent: false }
    }
}

impl Desk {
    /// See above.
    ///
    /// # Errors
    /// This sub-node must end, so that the other one serves.
    pub(super) fn watch_disk(&mut self) -> Result<(), Fault> {
        let (now, durable) = (clock::steady(), self.journal.durable());
        let is_full = self.journal.is_full();
        let waits = is_full || self.journal.tail() > durable;
        if !waits || durable != self.stall.durable {
            if self.stall.is_silent {
                tracing::info!("the disk takes entries again, and the other sub-node hears of this one again");
            }
            self.stall = Stall { durable, since: now, ..Stall::new() };
            return Ok(());
        }
        let waited_ms = now.since_ms(self.stall.since);
        if waited_ms < self.disk_patience_ms || self.stall.is_silent {
            return Ok(());
        }
        let state = self.pair.picture().state;
        let code = if is_full { Code::DiskFull } else { Code::JournalFailed };
        let what = format!("the disk has taken no entry of the journal behind {durable} for {waited_ms} ms");
        match state {
            State::Mirror | State::Learner => {
                tracing::error!(%code, "{what}: this sub-node keeps silent, and the other one goes on without it");
                self.stall.is_silent = true;
                Ok(())
            }
            State::ActivePair if is_full && !self.stall.handed_over => {
                tracing::error!(%code, "{what}: the other sub-node is to serve");
                (self.stall.handed_over, self.stall.since) = (true, now);
                match self.pair_refusable(Input::Switch)? {
                    Ok(()) => Ok(()),
                    Err(fault) => {
                        tracing::warn!(%fault, "the other sub-node cannot serve");
                        Ok(())
                    }
                }
            }
            State::ActivePair | State::Switching => {
                let message =
                    format!("{what}, and the other sub-node of the pair answers: this one ends so that it serves");
                Err(Fault::new(code, message)
                    .help("see to the disk, then start the node again: it comes back as the mirror"))
            }
            _ => Ok(()),
        }
    }
}
