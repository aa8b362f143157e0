//! What the disk below a folder can take, and how fast it makes things durable. The status and the doctor ask.

use crate::admin::protocol::Disk;
use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::Path,
    time::{Duration, Instant},
};

/// How much a node should always find free: below this, `hansa doctor` warns.
pub const FREE_BYTES_MIN: u64 = 512 * 1024 * 1024;
/// Syncs of which [`sync_time`] takes the middle one.
const SYNCS: usize = 21;

/// The room on the disk that holds `folder`.
///
/// # Errors
/// If the system does not tell.
pub fn space(folder: &Path) -> io::Result<Disk> {
    let numbers = rustix::fs::statvfs(folder)?;
    Ok(Disk {
        free_bytes: numbers.f_bavail.saturating_mul(numbers.f_frsize),
        total_bytes: numbers.f_blocks.saturating_mul(numbers.f_frsize),
    })
}

/// How long the disk takes to make one small write durable: the median of a few, on a file that is removed again.
///
/// # Errors
/// If `folder` takes no file.
pub fn sync_time(folder: &Path) -> io::Result<Duration> {
    let path = folder.join(format!("sync-probe-{}", std::process::id()));
    let measure = || {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        let mut times = Vec::with_capacity(SYNCS);
        for _ in 0..SYNCS {
            let begun = Instant::now();
            file.write_all(&[0x5a; 4_096])?;
            file.sync_data()?;
            times.push(begun.elapsed());
        }
        times.sort();
        Ok(times[SYNCS / 2])
    };
    let time = measure();
    let _ = fs::remove_file(&path);
    time
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_tells_its_room_and_its_sync_time_and_keeps_no_trace_of_the_measurement() {
        let folder = tempfile::tempdir().unwrap();
        let disk = space(folder.path()).unwrap();
        assert!(disk.free_bytes <= disk.total_bytes && disk.total_bytes > 0);
        assert!(sync_time(folder.path()).unwrap() > Duration::ZERO);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(sync_time(&folder.path().join("none")).is_err());
    }
}
