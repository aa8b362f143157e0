//! What a process has used so far: processor time, bytes written and memory, as Linux counts them.

use anyhow::{Context as _, Result};
use std::{fs, path::Path, time::Duration};

/// What a process has used since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time, its own and the system's for it.
    pub processor: Duration,
    /// Bytes that went to disks.
    pub bytes_written: u64,
}

impl Usage {
    /// Of the process with this number.
    ///
    /// # Errors
    /// It does not run, or the system does not say.
    pub fn of(pid: u32) -> Result<Self> {
        Self::in_folder(Path::new(&format!("/proc/{pid}")))
    }

    /// Of this process.
    ///
    /// # Errors
    /// The system does not say.
    pub fn of_this_process() -> Result<Self> {
        Self::in_folder(Path::new("/proc/self"))
    }

    fn in_folder(folder: &Path) -> Result<Self> {
        let read = |name| {
            let path = folder.join(name);
            fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))
        };
        let ticks = ticks_in(&read("stat")?).context("the system tells processor time in an unknown form")?;
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        let bytes_written = bytes_written_in(&read("io")?).context("the system tells no written bytes")?;
        Ok(Self { processor: Duration::from_millis(ticks.saturating_mul(1_000) / per_second), bytes_written })
    }

    /// What was used after `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            processor: self.processor.saturating_sub(earlier.processor),
            bytes_written: self.bytes_written.saturating_sub(earlier.bytes_written),
        }
    }
}

/// The memory of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Bytes that are in memory now.
    pub resident_bytes: u64,
    /// The most that there were.
    pub resident_bytes_max: u64,
}

impl Memory {
    /// Of the process with this number.
    ///
    /// # Errors
    /// It does not run, or the system does not say.
    pub fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/status");
        let status = fs::read_to_string(&path).with_context(|| format!("could not read {path}"))?;
        Self::read(&status).context("the system tells memory in an unknown form")
    }

    fn read(status: &str) -> Option<Self> {
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1_024)
        };
        Some(Self { resident_bytes: bytes("VmRSS:")?, resident_bytes_max: bytes("VmHWM:")? })
    }
}

/// `utime` and `stime`, fields 14 and 15; the name in field 2 may contain spaces and parentheses.
fn ticks_in(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

fn bytes_written_in(io: &str) -> Option<u64> {
    io.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 123 456 789";
        assert_eq!(ticks_in(stat), Some(300));
        assert_eq!(ticks_in("7 (a) S 1"), None);
        assert_eq!(bytes_written_in("rchar: 1\nwrite_bytes: 4096\ncancelled_write_bytes: 0\n"), Some(4096));
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\thansa\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        let memory = Memory { resident_bytes: 1 << 20, resident_bytes_max: 2 << 20 };
        assert_eq!(Memory::read(status), Some(memory));
        assert_eq!(Memory::read("VmRSS: much"), None);
        assert!(Memory::of(std::process::id()).unwrap().resident_bytes > 0);
    }

    #[test]
    fn what_a_process_used_only_grows_whichever_way_it_is_asked() {
        let before = Usage::of_this_process().unwrap();
        let after = Usage::of(std::process::id()).unwrap();
        assert!(after.processor >= before.processor && after.bytes_written >= before.bytes_written);
    }
}
