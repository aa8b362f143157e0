//! Where the processor time of a node goes: a stopwatch for each stage of its work, cheap enough to run always.
//!
//! What it counts is processor time of the thread, not time on the clock, so that a busy machine does not change it. Work that
//! comes many times a millisecond is measured once in [`SAMPLED`] times and counted so often. The stopwatch is the process's, as
//! its threads are; metrics and benchmarks read it, and nothing decides by it.

use rustix::time::{ClockId, clock_gettime};
use std::{
    array,
    cell::Cell,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Of frequent work, one of so many is measured: a prime, so that it does not keep step with what repeats.
const SAMPLED: u32 = 17;

/// How often nothing is measured to find out what reading the clock takes.
const READINGS: usize = 65;

/// A stage of a node's work. What belongs to none of them is sockets, waking threads, and the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Stage {
    /// CXIP messages and the documents in them are read, checked and written.
    Parse,
    /// Machines decide and absorb; requests are joined from documents.
    Decide,
    /// Records are encoded, chained, written and synced.
    Journal,
    /// Machines are put away and checkpointed.
    Store,
}

impl Stage {
    /// Every stage, with its name in metrics.
    pub const ALL: [(Self, &'static str); 4] =
        [(Self::Parse, "parse"), (Self::Decide, "decide"), (Self::Journal, "journal"), (Self::Store, "store")];
}

static SPENT_NS: [AtomicU64; Stage::ALL.len()] = [const { AtomicU64::new(0) }; Stage::ALL.len()];

thread_local! {
    /// How often each stage comes on this thread until it is measured again.
    static UNTIL_MEASURED: [Cell<u32>; Stage::ALL.len()] = const { [const { Cell::new(0) }; Stage::ALL.len()] };
}

/// Do work of a stage that comes often: one in [`SAMPLED`] is measured, and stands for the others.
pub fn sampled<T>(stage: Stage, work: impl FnOnce() -> T) -> T {
    if is_measured(stage) { counted(stage, SAMPLED, work) } else { work() }
}

/// Whether it is this one's turn.
fn is_measured(stage: Stage) -> bool {
    UNTIL_MEASURED.with(|until| {
        let until = &until[stage as usize];
        let left = until.get();
        until.set(if left == 0 { SAMPLED - 1 } else { left - 1 });
        left == 0
    })
}

/// Do work of a stage that comes seldom, or is large: all of it is measured.
pub fn measured<T>(stage: Stage, work: impl FnOnce() -> T) -> T {
    counted(stage, 1, work)
}

fn counted<T>(stage: Stage, times: u32, work: impl FnOnce() -> T) -> T {
    let before = of_this_thread();
    let made = work();
    // Reading the clock is a system call, and with the work that was not measured there was none.
    let took = of_this_thread().saturating_sub(before).saturating_sub(of_reading()) * times;
    SPENT_NS[stage as usize].fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    made
}

/// The processor time that each stage has taken in this process.
#[must_use]
pub fn spent() -> [(&'static str, Duration); Stage::ALL.len()] {
    array::from_fn(|place| {
        let (stage, name) = Stage::ALL[place];
        (name, Duration::from_nanos(SPENT_NS[stage as usize].load(Ordering::Relaxed)))
    })
}

/// The processor time that the whole process has taken.
#[must_use]
pub fn of_process() -> Duration {
    duration(clock_gettime(ClockId::ProcessCPUTime))
}

/// What measuring nothing shows, found out once.
fn of_reading() -> Duration {
    static READING: OnceLock<Duration> = OnceLock::new();
    *READING.get_or_init(|| {
        let mut nothing: [Duration; READINGS] = array::from_fn(|_| {
            let before = of_this_thread();
            of_this_thread().saturating_sub(before)
        });
        nothing.sort_unstable();
        nothing[READINGS / 2]
    })
}

fn of_this_thread() -> Duration {
    duration(clock_gettime(ClockId::ThreadCPUTime))
}

fn duration(time: rustix::time::Timespec) -> Duration {
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy() -> u64 {
        (0..20_000u64).fold(1, |sum, number| std::hint::black_box(sum ^ number.wrapping_mul(sum)))
    }

    fn spent_on(stage: Stage) -> Duration {
        let (_, name) = Stage::ALL[stage as usize];
        spent().into_iter().find(|(of, _)| *of == name).map(|(_, spent)| spent).unwrap()
    }

    #[test]
    fn work_is_done_once_and_counted_for_its_stage() {
        let before = (spent_on(Stage::Parse), spent_on(Stage::Store));
        let mut done = 0;
        for _ in 0..SAMPLED * 3 {
            sampled(Stage::Parse, || done += usize::from(busy() != 7));
        }
        measured(Stage::Store, busy);
        assert_eq!(done, SAMPLED as usize * 3);
        assert!(spent_on(Stage::Parse) > before.0 && spent_on(Stage::Store) > before.1);
        assert!(of_process() > Duration::ZERO);
    }

    #[test]
    fn one_of_seventeen_is_measured_and_stands_for_the_others() {
        let turns: Vec<_> = (0..2 * SAMPLED).filter(|_| is_measured(Stage::Decide)).collect();
        assert_eq!(turns, [0, SAMPLED]);
        let before = spent_on(Stage::Decide);
        counted(Stage::Decide, SAMPLED, || std::hint::black_box(busy()));
        assert!(spent_on(Stage::Decide) > before);
    }
}
