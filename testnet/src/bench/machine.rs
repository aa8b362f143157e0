//! What this machine can do at best: how long a durable write takes in the folder that the node writes to, and how long a
//! message takes over loopback and back. Blocking; the benchmarks call it on a thread of its own, while nothing else runs.

use super::samples::Samples;
use anyhow::{Context as _, Result};
use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::fs::FileExt as _,
    path::Path,
    time::{Duration, Instant},
};

/// Bytes of one write and of one message: about what one step of a transaction records.
const BYTES: usize = 512;
const WRITES: usize = 500;
const ROUND_TRIPS: usize = 3_000;
/// Neither measurement takes longer.
const TIME_MAX: Duration = Duration::from_secs(2);

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Half of all writes of 512 bytes were durable after so long.
    pub fdatasync_p50: Duration,
    /// Half of all round trips of 512 bytes took so long.
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
            fdatasync_p50: durable_writes(folder)?.percentile(50.0),
            loopback_rtt_p50: round_trips()?.percentile(50.0),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
        })
    }
}

/// Write block after block into a file whose room is there already, as a journal does, each durable before the next.
fn durable_writes(folder: &Path) -> Result<Samples> {
    let file = tempfile::tempfile_in(folder).with_context(|| format!("could not write to {}", folder.display()))?;
    preallocate(&file)?;
    let block = [0x5a; BYTES];
    let began = Instant::now();
    let mut durations = Vec::with_capacity(WRITES);
    for place in 0..WRITES as u64 {
        let start = Instant::now();
        file.write_all_at(&block, place * BYTES as u64)?;
        file.sync_data()?;
        durations.push(start.elapsed());
        if began.elapsed() > TIME_MAX {
            break;
        }
    }
    Ok(Samples::new(durations))
}

fn preallocate(file: &File) -> Result<()> {
    file.write_all_at(&vec![0; WRITES * BYTES], 0)?;
    file.sync_all()?;
    Ok(())
}

fn round_trips() -> Result<Samples> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let echo = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut message = [0; BYTES];
        // Ends when the other side closes.
        while stream.read_exact(&mut message).is_ok() {
            stream.write_all(&message)?;
        }
        Ok(())
    });
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
        assert!(limits.fdatasync_p50 > Duration::ZERO && limits.loopback_rtt_p50 > Duration::ZERO);
        assert!(limits.processors > 0);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
