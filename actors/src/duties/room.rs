//! Decides on which thread the desk's work is done. What comes often and never waits (entries of the log, their acknowledgements,
//! beats, and what the journal's writer did) is done at once by whoever brings it, if nobody else is at the desk: waking another
//! thread for it would take longer than the work, twice for each acknowledgement on each side of a pair. Everything else, and what
//! turns out to need the disk or the journal's writer, is left to the duties' own thread.
//!
//! Nobody ever waits for the desk but that thread. Whoever finds it taken leaves what they brought: who has it looks again after
//! they let go of it. Arrivals are dealt with in their order, whoever deals with them. What the work means it must not know.

use crate::clock;
use hansa_core::{
    code::{Code, Fault},
    moment::Moment,
};
use std::{
    collections::VecDeque,
    panic::{self, AssertUnwindSafe},
    sync::{Condvar, Mutex, MutexGuard, PoisonError, TryLockError},
    time::Duration,
};

/// The longest sleep: the clock may be set, and the machine may be suspended, which a sleep does not notice.
const SLEEP_MS_MAX: u64 = 250;

/// What is done in the room.
pub(super) trait Work {
    /// What comes.
    type Arrival;

    /// Whether anybody may deal with it, because it hardly ever makes them wait.
    fn is_light(arrival: &Self::Arrival) -> bool;
    /// Whether it is the last.
    fn is_end(arrival: &Self::Arrival) -> bool;

    /// Deal with it as far as nothing waits; what is left makes the desk [burdened](Self::is_burdened).
    fn take_lightly(&mut self, arrival: Self::Arrival) -> Result<(), Fault>;
    /// Whether something was left for the room's own thread, before anything else.
    fn is_burdened(&self) -> bool;

    /// Do what was left.
    fn unburden(&mut self) -> Result<(), Fault>;
    /// Deal with it.
    fn take(&mut self, arrival: Self::Arrival) -> Result<(), Fault>;
    /// Do what is due, and the next part of what goes on for long; whether there is another.
    fn go_on(&mut self) -> Result<bool, Fault>;

    /// When something will be due, if nothing comes before.
    fn wakes_at(&self) -> Option<Moment>;
}

/// See above.
pub(super) struct Room<W: Work> {
    /// None behind the end: who waits for an answer then hears that there is none.
    arrivals: Mutex<Option<VecDeque<W::Arrival>>>,
    /// None before the beginning, and behind the end.
    desk: Mutex<Option<W>>,
    bell: Mutex<Bell>,
    rung: Condvar,
}

/// What wakes the room's own thread.
#[derive(Default)]
struct Bell {
    rung: bool,
    /// Until when it sleeps, or is about to, if it is not at the desk.
    sleeps_until: Option<Moment>,
    /// Why nobody can go on.
    failed: Option<Fault>,
}

impl<W: Work> Room<W> {
    pub(super) fn new() -> Self {
        let arrivals = Mutex::new(Some(VecDeque::new()));
        Self { arrivals, desk: Mutex::new(None), bell: Mutex::default(), rung: Condvar::new() }
    }

    /// Something came.
    pub(super) fn arrive(&self, arrival: W::Arrival) {
        if let Some(arrivals) = &mut *locked(&self.arrivals) {
            arrivals.push_back(arrival);
        }
        self.work_at_once();
    }

    /// The desk is there; [`Self::run`] follows.
    pub(super) fn open(&self, desk: W) {
        *locked(&self.desk) = Some(desk);
    }

    /// Do what there is to do, as far as nothing waits and nobody else does it.
    fn work_at_once(&self) {
        loop {
            let mut desk = match self.desk.try_lock() {
                Ok(desk) => desk,
                Err(TryLockError::WouldBlock) => return,
                Err(TryLockError::Poisoned(_)) => return self.ring(),
            };
            // Its own thread comes as soon as it is open; behind its end nobody needs anything.
            let Some(at_desk) = &mut *desk else { return };
            let worked = caught(|| self.work_lightly(at_desk));
            let (wakes_at, is_burdened) = (at_desk.wakes_at(), at_desk.is_burdened());
            if let Err(fault) = worked {
                // The room's own thread tells of that.
                *desk = None;
                locked(&self.bell).failed.get_or_insert(fault);
            }
            drop(desk);
            let next = self.is_next_light();
            let needs_thread = {
                let bell = locked(&self.bell);
                let is_late = bell.sleeps_until.zip(wakes_at).is_some_and(|(until, at)| at < until);
                is_burdened || is_late || next == Some(false) || bell.failed.is_some()
            };
            if needs_thread {
                return self.ring();
            }
            if next.is_none() {
                return;
            }
        }
    }

    fn work_lightly(&self, desk: &mut W) -> Result<(), Fault> {
        while !desk.is_burdened()
            && let Some(arrival) = self.next_if(W::is_light)
        {
            desk.take_lightly(arrival)?;
        }
        Ok(())
    }

    fn next_if(&self, is_wanted: impl FnOnce(&W::Arrival) -> bool) -> Option<W::Arrival> {
        locked(&self.arrivals).as_mut()?.pop_front_if(|next| is_wanted(next))
    }

    /// Whether anybody may deal with the next arrival, if there is one.
    fn is_next_light(&self) -> Option<bool> {
        locked(&self.arrivals).as_ref()?.front().map(W::is_light)
    }

    fn ring(&self) {
        locked(&self.bell).rung = true;
        self.rung.notify_one();
    }

    /// What the room's own thread does, until the end.
    pub(super) fn run(&self) -> Result<(), Fault> {
        let ended = self.work();
        // Everything that waits here hears that nothing comes of it.
        drop(locked(&self.arrivals).take());
        ended
    }

    fn work(&self) -> Result<(), Fault> {
        loop {
            let mut desk = self.desk.lock().map_err(|_| panicked())?;
            if let Some(fault) = locked(&self.bell).failed.take() {
                return Err(fault);
            }
            let Some(at_desk) = &mut *desk else { return Ok(()) };
            match caught(|| self.work_through(at_desk)) {
                Ok(Some(wakes_at)) => {
                    locked(&self.bell).sleeps_until = Some(wakes_at);
                    drop(desk);
                    self.sleep(wakes_at);
                }
                ended => {
                    *desk = None;
                    return ended.map(|_| ());
                }
            }
        }
    }

    /// Do everything; gives when there will be more to do, or none at the end.
    fn work_through(&self, desk: &mut W) -> Result<Option<Moment>, Fault> {
        desk.unburden()?;
        loop {
            match self.next_if(|_| true) {
                Some(arrival) if W::is_end(&arrival) => return Ok(None),
                Some(arrival) => desk.take(arrival)?,
                None => {}
            }
            if !desk.go_on()? && self.is_next_light().is_none() {
                let latest = clock::steady().plus_ms(SLEEP_MS_MAX);
                return Ok(Some(desk.wakes_at().map_or(latest, |at| at.min(latest))));
            }
        }
    }

    fn sleep(&self, until: Moment) {
        // Whoever came while the desk was taken left what they brought; who comes from now on finds it free.
        let is_more = self.is_next_light().is_some();
        let mut bell = locked(&self.bell);
        if !bell.rung && !is_more {
            let sleep = Duration::from_millis(until.since_ms(clock::steady()));
            let slept = self.rung.wait_timeout_while(bell, sleep, |bell| !bell.rung);
            bell = slept.unwrap_or_else(PoisonError::into_inner).0;
        }
        (bell.rung, bell.sleeps_until) = (false, None);
    }
}

fn caught<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(panicked()))
}

fn panicked() -> Fault {
    Fault::new(Code::Internal, "the duties of this sub-node ended in a panic")
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        sync::{Arc, mpsc},
        thread::{self, ThreadId},
    };

    /// What comes: something light, something for the room's own thread, something light that turns out to wait, or the end.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Brought {
        Light(u64),
        Heavy(u64),
        Burdening(u64),
        Panicking,
        End,
    }

    /// Notes what was done, and on which thread.
    struct Bench {
        left: Option<Brought>,
        done: Arc<Mutex<Vec<(Brought, ThreadId)>>>,
        due: Option<Moment>,
        dues: mpsc::Sender<Moment>,
    }

    impl Bench {
        fn note(&self, brought: Brought) {
            self.done.lock().unwrap().push((brought, thread::current().id()));
        }
    }

    impl Work for Bench {
        type Arrival = Brought;

        fn is_light(arrival: &Brought) -> bool {
            matches!(arrival, Brought::Light(_) | Brought::Burdening(_) | Brought::Panicking)
        }

        fn is_end(arrival: &Brought) -> bool {
            *arrival == Brought::End
        }

        fn take_lightly(&mut self, arrival: Brought) -> Result<(), Fault> {
            assert!(self.left.is_none(), "what was left comes first");
            match arrival {
                Brought::Burdening(_) => self.left = Some(arrival),
                Brought::Panicking => panic!("at the desk"),
                _ => self.note(arrival),
            }
            Ok(())
        }

        fn is_burdened(&self) -> bool {
            self.left.is_some()
        }

        fn unburden(&mut self) -> Result<(), Fault> {
            self.left.take().into_iter().for_each(|left| self.note(left));
            Ok(())
        }

        fn take(&mut self, arrival: Brought) -> Result<(), Fault> {
            assert!(self.left.is_none(), "what was left comes first");
            self.note(arrival);
            // Whoever waits for a light one meanwhile would wait for ever.
            if let Brought::Heavy(number) = arrival
                && number == u64::MAX
            {
                self.due = Some(clock::steady().plus_ms(30));
            }
            Ok(())
        }

        fn go_on(&mut self) -> Result<bool, Fault> {
            if let Some(due) = self.due.take_if(|due| *due <= clock::steady()) {
                let _ = self.dues.send(due);
            }
            Ok(false)
        }

        fn wakes_at(&self) -> Option<Moment> {
            self.due
        }
    }

    struct Opened {
        room: Arc<Room<Bench>>,
        done: Arc<Mutex<Vec<(Brought, ThreadId)>>>,
        dues: mpsc::Receiver<Moment>,
        own: thread::JoinHandle<Result<(), Fault>>,
    }

    fn opened() -> Opened {
        let (done, room) = (Arc::default(), Arc::new(Room::new()));
        let (tell, dues) = mpsc::channel();
        room.open(Bench { left: None, done: Arc::clone(&done), due: None, dues: tell });
        let working = Arc::clone(&room);
        Opened { room, done, dues, own: thread::spawn(move || working.run()) }
    }

    #[test]
    fn whoever_brings_something_light_does_it_and_the_rest_is_left_to_the_rooms_own_thread_in_order() {
        let Opened { room, done, own, .. } = opened();
        let own_id = own.thread().id();
        let brought: Vec<_> = (0..400)
            .map(|number| match number % 4 {
                0 => Brought::Heavy(number),
                1 => Brought::Burdening(number),
                _ => Brought::Light(number),
            })
            .collect();
        brought.iter().for_each(|one| room.arrive(*one));
        room.arrive(Brought::End);
        own.join().unwrap().unwrap();
        let done = done.lock().unwrap();
        assert_eq!(done.iter().map(|(one, _)| *one).collect::<Vec<_>>(), brought);
        for (one, by) in done.iter() {
            assert!(matches!(one, Brought::Light(_)) || *by == own_id, "{one:?}");
        }
    }

    #[test]
    fn nothing_is_lost_and_each_keeps_its_order_however_many_come_at_once() {
        let Opened { room, done, own, .. } = opened();
        thread::scope(|scope| {
            for bringer in 0..4_u64 {
                let room = &room;
                scope.spawn(move || {
                    for number in 0..5_000 {
                        let number = bringer * 10_000 + number;
                        room.arrive(match number % 97 {
                            0 => Brought::Heavy(number),
                            1 => Brought::Burdening(number),
                            _ => Brought::Light(number),
                        });
                    }
                });
            }
        });
        room.arrive(Brought::End);
        own.join().unwrap().unwrap();
        let done = done.lock().unwrap();
        let mut last = [None; 4];
        for (one, _) in done.iter() {
            let (Brought::Light(number) | Brought::Heavy(number) | Brought::Burdening(number)) = one else { continue };
            let last = &mut last[(number / 10_000) as usize];
            assert!(last.is_none_or(|last| last < *number), "{number} behind {last:?}");
            *last = Some(*number);
        }
        assert_eq!(done.len(), 20_000);
    }

    #[test]
    fn what_is_due_is_done_though_nothing_comes_and_what_comes_late_is_let_go_of() {
        let Opened { room, done, dues, own } = opened();
        room.arrive(Brought::Heavy(u64::MAX));
        dues.recv().unwrap();
        room.arrive(Brought::End);
        own.join().unwrap().unwrap();
        room.arrive(Brought::Light(7));
        assert_eq!(done.lock().unwrap().len(), 1);
    }

    #[test]
    fn a_panic_of_whoever_works_at_the_desk_ends_the_work_and_not_theirs() {
        let Opened { room, own, .. } = opened();
        room.arrive(Brought::Panicking);
        assert_eq!(own.join().unwrap().unwrap_err().code, Code::Internal);
    }
}
