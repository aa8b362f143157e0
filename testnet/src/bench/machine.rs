//! What this machine can do at best: how long a durable write takes in the folder that the node writes to, and how long a
//! message takes over loopback and back. Blocking; the benchmarks call it on a thread of its own, while nothing else runs.
//!
//! A write is measured twice: one after the other in a loop that does nothing else, which is the least that it can take; and as the
//! journal of a node with one client writes, which is another thing: the blocks of its file are reserved and never were written, which
//! the file system has to note of each as well, and between two writes the processor sleeps and does something else.

use super::samples::Samples;
use anyhow::{Context as _, Result};
use rustix::{
    fs::FallocateFlags,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};
use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::fs::FileExt as _,
    path::Path,
    time::{Duration, Instant},
};

/// Bytes of one write and of one message.
const BYTES: usize = 512;
const WRITES: usize = 500;
/// About what one step of a transaction records, with its documents.
const ENTRY_BYTES: usize = 1_024;
/// About as long as one client takes from one durable step to the next.
const ENTRY_PAUSE: Duration = Duration::from_micros(500);
const ROUND_TRIPS: usize = 3_000;
/// Neither measurement takes longer.
const TIME_MAX: Duration = Duration::from_secs(2);

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Half of all writes of 512 bytes were durable after so long.
    pub fdatasync_p50: Duration,
    /// Half of all writes of 1,024 bytes were durable after so long, in a reserved file, half a millisecond after the one before.
    pub journal_sync_p50: Duration,
    /// Half of all round trips of 512 bytes took so long, between two processors where there are two: two nodes that work at the same time
    /// have more than one, and within one a message is there at once.
    pub loopback_rtt_p50: Duration,
    /// Processors that this process may use.
    pub processors: usize,
}

impl Limits {
    /// Measure them; files go to `folder` and are removed again.
    ///
    /// # Errors
    /// The folder cannot be written to, or loopback does not work.
    pub fn measure(folder: &Path) -> Result<Self> {
        Ok(Self {
            fdatasync_p50: durable_writes(folder, BYTES, None)?.percentile(50.0),
            journal_sync_p50: durable_writes(folder, ENTRY_BYTES, Some(ENTRY_PAUSE))?.percentile(50.0),
            loopback_rtt_p50: round_trips()?.percentile(50.0),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
        })
    }
}

/// Write block after block into a file whose room is there already, each durable before the next: as fast as it goes over blocks that
/// were written before, or, with a pause between two, as a journal does.
fn durable_writes(folder: &Path, bytes: usize, pause: Option<Duration>) -> Result<Samples> {
    let file = tempfile::tempfile_in(folder).with_context(|| format!("could not write to {}", folder.display()))?;
    let room = (WRITES * bytes) as u64;
    // Where the file system reserves nothing, a journal fills its file with zeros.
    let is_reserved = pause.is_some() && rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, room).is_ok();
    if !is_reserved {
        file.write_all_at(&vec![0; WRITES * bytes], 0)?;
    }
    file.sync_all()?;
    let block = vec![0x5a; bytes];
    let began = Instant::now();
    let mut durations = Vec::with_capacity(WRITES);
    for place in 0..WRITES as u64 {
        pause.into_iter().for_each(std::thread::sleep);
        let start = Instant::now();
        file.write_all_at(&block, place * bytes as u64)?;
        file.sync_data()?;
        durations.push(start.elapsed());
        if began.elapsed() > TIME_MAX {
            break;
        }
    }
    Ok(Samples::new(durations))
}

/// Stay on the processor with this place among those that this process may use; where that cannot be, anywhere.
fn stay_on(place: usize) {
    let Ok(allowed) = sched_getaffinity(None) else { return };
    let mut processors = (0..CpuSet::MAX_CPU).filter(|processor| allowed.is_set(*processor));
    if let Some(processor) = processors.nth(place) {
        let mut only = CpuSet::new();
        only.set(processor);
        let _ = sched_setaffinity(None, &only);
    }
}

/// On two threads of its own, which stay where they are.
fn round_trips() -> Result<Samples> {
    std::thread::spawn(exchange).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn exchange() -> Result<Samples> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let echo = std::thread::spawn(move || -> std::io::Result<()> {
        stay_on(1);
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut message = [0; BYTES];
        // Ends when the other side closes.
        while stream.read_exact(&mut message).is_ok() {
            stream.write_all(&message)?;
        }
        Ok(())
    });
    // Behind the beginning of the other thread, which would have to stay here as well.
    stay_on(0);
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut message = [0x5a; BYTES];
    let began = Instant::now();
    let mut durations = Vec::with_capacity(ROUND_TRIPS);
    while durations.len() < ROUND_TRIPS && began.elapsed() < TIME_MAX {
        let start = Instant::now();
        stream.write_all(&message)?;
        stream.read_exact(&mut message)?;
        durations.push(start.elapsed());
    }
    drop(stream);
    // It has nothing more to say; its fault would have been ours as well.
    let _ = echo.join();
    Ok(Samples::new(durations))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_the_machine_are_measured_and_leave_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits::measure(folder.path()).unwrap();
        for limit in [limits.fdatasync_p50, limits.journal_sync_p50, limits.loopback_rtt_p50] {
            assert!(limit > Duration::ZERO, "{limits:?}");
        }
        assert!(limits.processors > 0);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
