//! Where the writer sits: its own thread works there, and rests when there is nothing to do. Meanwhile whoever appends may seal what
//! they brought, so that the other sub-node of a pair is told of it before that thread has woken up; writing it, and everything that
//! may wait, is left to the thread, which is woken when that is on its way ([`Waking`]). Called by [`super::Journal`]; it must not know
//! what a batch is.
//!
//! Nobody waits for the seat but the writer's thread, and that only for as long as sealing a small batch takes. Whoever is in the seat
//! may lock the queue, and never waits for it the other way round.

use super::{
    Fatal, Queue, Shared, locked,
    orders::Watch,
    writer::{Stop, Work, Writer},
};
use hansa_core::code::{Code, Fault};
use std::{
    mem,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// None before the beginning, and behind the end.
pub(super) type Seat<E> = Mutex<Option<Writer<E>>>;

/// What the writer's thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriterIs {
    /// It works, or is woken and will look at the queue.
    AtWork,
    /// It sleeps.
    AtRest,
    /// It sleeps, has something to write, and somebody will wake it for that: a [`Waking`] is kept.
    Awaited,
}

/// Bytes that are sealed by whoever appends them. Sealing more takes longer than waking the writer.
const SEALED_BYTES_MAX: usize = 64 << 10;

impl<E: Send + 'static> Shared<E> {
    /// What the writer's thread does, until the journal is closed or cannot go on.
    pub(super) fn run_writer(&self, fatal: Fatal) {
        let worked = panic::catch_unwind(AssertUnwindSafe(|| self.work()));
        let ended = worked.unwrap_or_else(|_| Err(panicked()));
        let (ended, failure) = match ended {
            Ok(()) => (Ok(()), None),
            Err(Stop::Full(fault)) => (Err(fault), None),
            Err(Stop::Failed(fault)) => (Err(fault.clone()), Some(fault)),
        };
        // Its watch may hold on to the journal, as its release may.
        let writer = locked(&self.seat).take();
        {
            let mut queue = locked(&self.queue);
            queue.closed = true;
            queue.empty();
            let closed = || Fault::new(Code::JournalFailed, "the journal is closed");
            Self::refuse_orders(&mut queue, &ended.clone().err().unwrap_or_else(closed));
        }
        self.room.notify_all();
        locked(&self.progress).ended = Some(ended);
        self.progressed.notify_all();
        self.spares.end();
        let release = locked(&self.outbox).end();
        drop((writer, release));
        if let Some(fault) = failure {
            tracing::error!(%fault, "the journal failed; no effect leaves any more");
            fatal(fault);
        }
    }

    fn work(&self) -> Result<(), Stop> {
        loop {
            // What somebody began and did not end is of no use any more.
            let mut seat = self.seat.lock().map_err(|_| panicked())?;
            let writer = seat.as_mut().expect("the writer is in its seat until its thread ends");
            match writer.take_work() {
                Work::Order(order) => writer.obey(order)?,
                Work::Batch => writer.write_batch()?,
                Work::End => return writer.write_mark(),
                Work::None => {
                    let mark_delay = Duration::from_millis(self.options.idle_mark_delay_ms);
                    let rest = writer.unmarked.then_some(mark_delay);
                    drop(seat);
                    if !self.is_woken(rest)
                        && let Some(writer) = locked(&self.seat).as_mut()
                    {
                        writer.write_mark()?;
                    }
                }
            }
        }
    }

    /// Rest until there is something to do, or for that long; whether there is.
    fn is_woken(&self, rest: Option<Duration>) -> bool {
        let queue = locked(&self.queue);
        match rest {
            None => {
                let woken = self.queued.wait_while(queue, |queue| queue.writer == WriterIs::AtRest);
                woken.unwrap_or_else(PoisonError::into_inner).writer = WriterIs::AtWork;
                true
            }
            Some(rest) => {
                let waited = self.queued.wait_timeout_while(queue, rest, |queue| queue.writer == WriterIs::AtRest);
                let (mut queue, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                queue.writer = WriterIs::AtWork;
                !timeout.timed_out()
            }
        }
    }

    /// Wake the writer, unless it is at work, for something that was queued.
    pub(super) fn wake_writer(&self, mut queue: MutexGuard<'_, Queue<E>>) {
        let was = mem::replace(&mut queue.writer, WriterIs::AtWork);
        drop(queue);
        if was != WriterIs::AtWork {
            self.queued.notify_all();
        }
    }

    /// The same for what was appended; in a pair, where this is little, it is sealed first, and the watch says when the thread is woken.
    /// If there is more by then, it is woken for that.
    pub(super) fn wake_writer_with(&self, mut queue: MutexGuard<'_, Queue<E>>) {
        if queue.writer != WriterIs::AtRest {
            return self.wake_writer(queue);
        }
        queue.writer = WriterIs::AtWork;
        // Even if what is told of a seal panics.
        let waking = Waking(Arc::clone(&self.queued));
        if let Some(watch) = self.seal_ahead(queue) {
            watch.sealed_ahead(waking);
        }
    }

    /// Seals what was queued, if that may be done here, and gives who was told of it.
    fn seal_ahead(&self, mut queue: MutexGuard<'_, Queue<E>>) -> Option<Arc<dyn Watch>> {
        if !(1..=SEALED_BYTES_MAX).contains(&queue.frames.len()) {
            return None;
        }
        // Whoever lets effects out may append, and must not be told of that before they are done.
        if let Ok(mut seat) = self.seat.try_lock()
            && let Some(writer) = seat.as_mut().filter(|writer| writer.seals_ahead())
            && self.outbox.try_lock().is_ok()
        {
            writer.take_batch(&mut queue);
            if writer.has_room() {
                queue.writer = WriterIs::Awaited;
                drop(queue);
                writer.seal_ahead();
                return writer.watch.clone();
            }
        }
        None
    }
}

/// Wakes the writer's thread when it is dropped, for what somebody sealed. Whoever waits for the writer wakes it as well.
#[derive(Debug)]
pub struct Waking(Arc<Condvar>);

impl Drop for Waking {
    fn drop(&mut self) {
        self.0.notify_all();
    }
}

fn panicked() -> Stop {
    Stop::Failed(Fault::new(Code::Internal, "the journal's writer, its watch or its release panicked"))
}
