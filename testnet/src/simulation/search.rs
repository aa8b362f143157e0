//! Looks for seeds that break something, side by side on all processors, and makes a schedule that does as short as it can.

use super::{
    Report, Schedule, Violation,
    options::{Options, WINDOW},
};
use hansa_core::mirror::{Flaw, pair::State};
use std::{
    collections::BTreeMap,
    panic::{self, AssertUnwindSafe},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How often as long a story may become.
const TIMES_MAX: u64 = 100;
/// What it is called when a machine panics. It says that something is wrong, and not that an invariant would have seen it.
pub const PANIC: &str = "no machine panics";
/// Runs that a schedule may cost to be made shorter.
const SHRINK_RUNS_MAX: usize = 400;

/// A schedule that broke something.
#[derive(Clone, Debug)]
pub struct Broken {
    /// The schedule.
    pub schedule: Schedule,
    /// What it broke.
    pub violation: Violation,
    /// What happened.
    pub report: Report,
}

/// What a search found.
#[derive(Debug, Default)]
pub struct Found {
    /// Schedules that ran.
    pub seeds: u64,
    /// What happened in all of them, in number.
    pub events: u64,
    /// Transactions that ended in them.
    pub transactions: u64,
    /// Transitions of pairs, with how often.
    pub transitions: BTreeMap<(State, State), u64>,
    /// What went wrong in them, and other things that matter, with how often.
    pub happened: BTreeMap<&'static str, u64>,
    /// What was broken, by seed.
    pub broken: Vec<Broken>,
    /// How long it took.
    pub took: Duration,
}

/// How long to look.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// The first seed.
    pub first: u64,
    /// How many seeds at most.
    pub seeds: u64,
    /// How long at most.
    pub time_max: Duration,
    /// How many events each seed must make at least: where it makes fewer, its story is drawn longer.
    pub events_min: u64,
    /// After how many violations to stop.
    pub broken_max: usize,
}

/// Let a schedule happen; a panic of a machine is a violation like others.
///
/// # Errors
/// What it broke.
pub fn attempt(schedule: &Schedule, traced: bool) -> Result<Report, Box<Broken>> {
    let ran = panic::catch_unwind(AssertUnwindSafe(|| super::run(schedule, traced)));
    let (violation, report) = match ran {
        Ok(Ok(report)) => return Ok(report),
        Ok(Err(broken)) => *broken,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
            (Violation { invariant: PANIC, seen: text.to_owned() }, Report::default())
        }
    };
    Err(Box::new(Broken { schedule: schedule.clone(), violation, report }))
}

/// Let a seed's story happen, and where that makes too few events, a longer one of that seed.
///
/// # Errors
/// What it broke.
pub fn lengthened(
    seed: u64,
    flaw: Option<Flaw>,
    events_min: u64,
    attempt: impl Fn(&Schedule) -> Result<Report, Box<Broken>>,
) -> Result<Report, Box<Broken>> {
    let mut times = 1;
    loop {
        let report = attempt(&Schedule::drawn_long(seed, flaw, times))?;
        if report.events >= events_min || times >= TIMES_MAX {
            return Ok(report);
        }
        // A fourth more than in proportion: the beginning and the end of a story do not grow with it.
        times = (times * events_min * 5 / (report.events * 4).max(1)).clamp(times + 1, TIMES_MAX);
    }
}

/// Try seeds, with a flaw or without.
pub fn search(extent: Extent, flaw: Option<Flaw>) -> Found {
    let begun = Instant::now();
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let found = Mutex::new(Found::default());
    let work = || {
        while !stop.load(Ordering::Relaxed) && begun.elapsed() < extent.time_max {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= extent.seeds {
                return;
            }
            let seed = extent.first.wrapping_add(index);
            let ran = lengthened(seed, flaw, extent.events_min, |schedule| attempt(schedule, false));
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            found.seeds += 1;
            match ran {
                Ok(report) => found.take(&report),
                Err(broken) => {
                    found.take(&broken.report);
                    found.broken.push(*broken);
                    if found.broken.len() >= extent.broken_max {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            }
        }
    };
    let hook = panic::take_hook();
    // What panics is told of at the end, and not in the middle of a line.
    panic::set_hook(Box::new(|_| {}));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    panic::set_hook(hook);
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.broken.sort_by_key(|broken| broken.schedule.seed);
    found.took = begun.elapsed();
    found
}

impl Found {
    /// Take in what came of a schedule.
    pub fn take(&mut self, report: &Report) {
        self.events += report.events;
        self.transactions += report.transactions;
        for (transition, times) in &report.transitions {
            *self.transitions.entry(*transition).or_default() += times;
        }
        for (what, times) in &report.happened {
            *self.happened.entry(what).or_default() += times;
        }
    }
}

/// A schedule that breaks the same with less, and what it breaks, traced.
#[must_use]
pub fn shrink(broken: &Broken) -> Broken {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let mut runs = 0;
    let mut best = broken.schedule.clone();
    let mut breaks = |candidate: &Schedule| {
        runs += 1;
        let same = |again: &Broken| again.violation.invariant == broken.violation.invariant;
        runs <= SHRINK_RUNS_MAX && attempt(candidate, false).is_err_and(|again| same(&again))
    };
    // First what goes wrong, in ever smaller pieces.
    let mut piece = best.faults.len();
    while piece > 0 {
        let mut start = 0;
        while start < best.faults.len() {
            let mut candidate = best.clone();
            candidate.faults.drain(start..(start + piece).min(best.faults.len()));
            if breaks(&candidate) {
                best = candidate;
            } else {
                start += piece;
            }
        }
        piece /= 2;
    }
    // Then the wildness of the world, and how many there are in it.
    let calmer: [fn(&mut Options); 11] = [
        |options| options.drift = 0,
        |options| options.keep = 0,
        |options| options.window = WINDOW,
        |options| options.way = 0,
        |options| options.hasty = 0,
        |options| options.lost = 0,
        |options| options.twice = 0,
        |options| options.late = 0,
        |options| options.slow = 0,
        |options| options.clocks_ms = 0,
        |options| options.clients = options.clients.min(1),
    ];
    for calm in calmer {
        let mut candidate = best.clone();
        calm(&mut candidate.options);
        if candidate != best && breaks(&candidate) {
            best = candidate;
        }
    }
    let traced = attempt(&best, true);
    panic::set_hook(hook);
    match traced {
        Err(shrunk) => *shrunk,
        // Nothing shorter broke it, and what did is as it was.
        Ok(_) => broken.clone(),
    }
}

/// What a search must have seen beside: every fault, and every limit that a world reaches in so short a time.
pub const HAPPENINGS: [&str; 28] = [
    "alarm floor",
    "alarm silent",
    "alarm unfit",
    "append full",
    "appoint",
    "beats forgotten",
    "checkpoint",
    "crash",
    "cut",
    "detach",
    "disconnect",
    "follower far behind",
    "forget",
    "isolate",
    "lie",
    "lie told",
    "longest pause",
    "poison",
    "retime",
    "set",
    "slow",
    "snapshot installed",
    "stop",
    "switch",
    "way full",
    "window full",
    "wipe",
    "witnesses replaced",
];

/// Transitions that the table of states has; a search that never saw one of them proves nothing about it.
pub const TRANSITIONS: [(State, State); 28] = {
    use State::{
        ActivePair, ActiveSolo, Boot, Joining, Learner, Mirror, Reconfig, Single, Suspect, Switching, Takeover,
    };
    [
        (Single, ActiveSolo),
        (Single, Learner),
        (Single, Mirror),
        (Single, Boot),
        (Boot, ActivePair),
        (Boot, ActiveSolo),
        (Boot, Learner),
        (ActivePair, Suspect),
        (ActivePair, Reconfig),
        (ActivePair, Switching),
        (ActivePair, Learner),
        (Suspect, ActivePair),
        (Suspect, Joining),
        (Reconfig, ActiveSolo),
        (Reconfig, Learner),
        (Reconfig, ActivePair),
        (ActiveSolo, Joining),
        (Joining, ActivePair),
        (Joining, Reconfig),
        (Switching, Mirror),
        (Switching, Reconfig),
        (Mirror, Takeover),
        (Mirror, Learner),
        (Mirror, ActivePair),
        (Takeover, ActiveSolo),
        (Takeover, Mirror),
        (Takeover, Learner),
        (Learner, Mirror),
    ]
};
