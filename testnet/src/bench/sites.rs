//! What a mirror costs where each site has processors of its own, as it has where it is meant to be: in two cities. A node and those who
//! use it have one half of this machine's processors, its mirror the other half; without a mirror the same half for node and users, and
//! nobody on the other. The benchmark of a pair calls it; what the load is it must not know.

use super::samples::{median, rounded};
use anyhow::{Context as _, Result};
use rustix::{
    io::Errno,
    thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity},
};
use serde::Serialize;
use std::fs;

/// What was measured: of each figure the median of all turns.
#[derive(Clone, Debug, Serialize)]
pub struct Sites {
    /// Processors of each site.
    pub processors: usize,
    /// Transactions that ended with a mirror, a second.
    pub transactions_per_second: f64,
    /// The same without one.
    pub transactions_per_second_alone: f64,
    /// Which part of those without a mirror, in the turn before it, that is.
    pub throughput_ratio: f64,
    /// In the turn where it was the least.
    pub throughput_ratio_least: f64,
    /// In the turn where it was the most.
    pub throughput_ratio_most: f64,
}

impl Sites {
    /// From the rates of each turn, without a mirror and with one.
    pub(super) fn of(processors: usize, turns: &[(f64, f64)]) -> Self {
        let ratios = || turns.iter().map(|(without, with)| with / without);
        Self {
            processors,
            transactions_per_second: rounded(median(turns.iter().map(|(_, with)| *with))),
            transactions_per_second_alone: rounded(median(turns.iter().map(|(without, _)| *without))),
            throughput_ratio: rounded(median(ratios())),
            throughput_ratio_least: rounded(ratios().fold(f64::INFINITY, f64::min)),
            throughput_ratio_most: rounded(ratios().fold(0.0, f64::max)),
        }
    }
}

/// The processors that this process may use, in two halves of one size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Halves {
    all: CpuSet,
    halves: [CpuSet; 2],
    /// In each.
    pub processors: usize,
}

impl Halves {
    /// Of this machine; none if it has one processor, or does not say.
    pub(super) fn of_this_machine() -> Option<Self> {
        let all = sched_getaffinity(None).ok()?;
        let mut allowed: Vec<_> = (0..CpuSet::MAX_CPU).filter(|processor| all.is_set(*processor)).collect();
        // Those of one core beside each other, so that no core is in both halves where there is more than one.
        allowed.sort_by_key(|processor| (core_of(*processor), *processor));
        let processors = allowed.len() / 2;
        let mut halves = [CpuSet::new(); 2];
        for (half, of_half) in halves.iter_mut().zip(allowed.chunks_exact(processors.max(1))) {
            of_half.iter().for_each(|processor| half.set(*processor));
        }
        (processors > 0).then_some(Self { all, halves, processors })
    }

    /// Until the answer is dropped, the first of these processes stay on the first half, the others on the second.
    ///
    /// # Errors
    /// The system refuses it, or a process is gone.
    pub(super) fn confine(self, first: &[u32], second: &[u32]) -> Result<Confined> {
        let mut confined = Confined { all: self.all, processes: Vec::new() };
        for (processes, half) in [(first, &self.halves[0]), (second, &self.halves[1])] {
            for process in processes {
                confined.processes.push(*process);
                keep_on(*process, half)?;
            }
        }
        Ok(confined)
    }
}

/// The first of the processors that share a core with this one, as far as the system says.
fn core_of(processor: usize) -> usize {
    let path = format!("/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list");
    let first = fs::read_to_string(path).ok().and_then(|list| {
        let end = list.find(|one: char| !one.is_ascii_digit()).unwrap_or(list.len());
        list[..end].parse().ok()
    });
    first.unwrap_or(processor)
}

/// Processes that stay on some processors.
#[derive(Debug)]
pub(super) struct Confined {
    all: CpuSet,
    processes: Vec<u32>,
}

impl Drop for Confined {
    fn drop(&mut self) {
        for process in &self.processes {
            // One that is gone needs nothing.
            let _ = keep_on(*process, &self.all);
        }
    }
}

/// All threads of a process, also those that begin meanwhile.
fn keep_on(process: u32, processors: &CpuSet) -> Result<()> {
    let mut seen = Vec::new();
    loop {
        let folder = format!("/proc/{process}/task");
        let threads = fs::read_dir(&folder).with_context(|| format!("could not read {folder}"))?;
        let threads = threads.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
        let new: Vec<_> = threads.filter(|thread| !seen.contains(thread)).collect();
        if new.is_empty() {
            return Ok(());
        }
        for thread in &new {
            match sched_setaffinity(Pid::from_raw(*thread), processors) {
                // It has ended.
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => return Err(error).context("the system does not keep a process on some processors"),
            }
        }
        seen.extend(new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_that_of_one_turn_and_the_median_is_told() {
        let sites = Sites::of(1, &[(100.0, 80.0), (200.0, 180.0), (50.0, 10.0)]);
        assert_eq!(
            (sites.throughput_ratio, sites.throughput_ratio_least, sites.throughput_ratio_most),
            (0.8, 0.2, 0.9)
        );
        assert_eq!((sites.transactions_per_second, sites.transactions_per_second_alone), (80.0, 100.0));
    }

    #[test]
    fn who_is_confined_stays_on_its_half_until_it_is_not_any_more() {
        let Some(halves) = Halves::of_this_machine() else { return };
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let allowed = || sched_getaffinity(Pid::from_raw(child.id().cast_signed())).unwrap();
        let confined = halves.confine(&[], &[child.id()]).unwrap();
        assert_eq!(allowed(), halves.halves[1]);
        drop(confined);
        assert_eq!(allowed(), halves.all);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(halves.confine(&[child.id()], &[]).is_err(), "it is gone");
    }
}
