//! The one place in the shell that reads the clock.

use hansa_core::moment::Moment;
use std::{
    sync::LazyLock,
    time::{SystemTime, UNIX_EPOCH},
};

/// Now.
#[must_use]
pub fn now() -> Moment {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

/// Now, by a clock that nobody sets and that goes on while the machine is suspended: for leases, which must end whatever
/// happens. It began with the process at the time of the other one.
#[must_use]
pub fn steady() -> Moment {
    static START: LazyLock<(u64, Moment)> = LazyLock::new(|| (since_boot_ms(), now()));
    let (boot_ms, began) = *START;
    began.plus_ms(since_boot_ms().saturating_sub(boot_ms))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn since_boot_ms() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let milliseconds = time.tv_sec.saturating_mul(1_000).saturating_add(time.tv_nsec / 1_000_000);
    u64::try_from(milliseconds).unwrap_or_default()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn since_boot_ms() -> u64 {
    static START: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX)
}
