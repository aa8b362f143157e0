//! How fast a follower that is far behind is fed: the busier this sub-node is, the less there is for that beside what it writes anyway,
//! so that those whom it serves feel little of it; and always more than it writes, so that the follower comes nearer. Asked by
//! [`super::acting`] when there is more to send than goes into one message; what is sent it must not know.

use std::time::{Duration, Instant};

/// Bytes a second that are sent beside what is written meanwhile, where nothing is.
const BESIDE_BYTES_MAX: u64 = 64 << 20;
/// The same where very much is.
const BESIDE_BYTES_MIN: u64 = 8 << 20;
/// How long it is looked how much is written.
const LOOK: Duration = Duration::from_millis(500);
/// What was not sent in time is sent later, as far as this goes back.
const LATE_MAX: Duration = Duration::from_millis(50);

/// See above.
pub(super) struct Pace {
    next: Option<Instant>,
    looked: Instant,
    written: u64,
    /// None while it is not known.
    written_per_second: Option<u64>,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { next: None, looked: Instant::now(), written: 0, written_per_second: None }
    }

    /// How long to wait before the next message.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        self.next?.checked_duration_since(now).filter(|wait| !wait.is_zero())
    }

    /// So many bytes were sent; `written` says how many the journal has written since it was opened.
    pub(super) fn sent(&mut self, now: Instant, bytes: u64, written: u64) {
        let looked = now.duration_since(self.looked);
        if looked >= LOOK {
            let more = written.saturating_sub(self.written);
            // What was written while nobody looked says nothing of now.
            self.written_per_second = (looked <= 4 * LOOK).then(|| per_second(more, looked));
            (self.looked, self.written) = (now, written);
        }
        let takes = Duration::from_secs_f64(bytes as f64 / bytes_per_second(self.written_per_second) as f64);
        let due = self.next.unwrap_or(now).max(now.checked_sub(LATE_MAX).unwrap_or(now));
        self.next = Some(due + takes);
    }
}

fn per_second(bytes: u64, time: Duration) -> u64 {
    (bytes as f64 / time.as_secs_f64()) as u64
}

/// Bytes a second that are sent while so many are written.
fn bytes_per_second(written: Option<u64>) -> u64 {
    written.map_or(BESIDE_BYTES_MIN, |written| {
        written + BESIDE_BYTES_MAX.saturating_sub(4 * written).max(BESIDE_BYTES_MIN)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds until so many bytes are sent in messages, while so many are written in a second.
    fn seconds(bytes: u64, written_per_second: u64) -> f64 {
        let (begun, mut pace) = (Instant::now(), Pace::new());
        let (mut now, mut sent) = (begun, 0);
        while sent < bytes {
            now += pace.wait(now).unwrap_or(Duration::from_micros(10));
            sent += 128 << 10;
            let written = now.duration_since(begun).as_secs_f64() * written_per_second as f64;
            pace.sent(now, 128 << 10, written as u64);
        }
        now.duration_since(begun).as_secs_f64()
    }

    // M1: the lag shrinks under any load, by so much that it ends, and by less the more is written.
    #[test]
    fn a_follower_comes_nearer_however_much_is_written_and_slower_the_more_that_is() {
        let mebibytes = |count: u64| count << 20;
        for (written, beside) in [(0, 64), (8, 32), (14, 8), (100, 8)] {
            let took = seconds(mebibytes(2_000), mebibytes(written));
            let gained = 2_000.0 / took - written as f64;
            // It takes half a second to notice what is written.
            assert!((gained - beside as f64).abs() < 0.05 * (written + beside) as f64 + 0.5, "{written}: {gained}");
        }
    }

    #[test]
    fn what_was_not_sent_in_time_is_sent_later_but_not_all_of_it_at_once() {
        let (begun, mut pace) = (Instant::now(), Pace::new());
        pace.sent(begun, 1 << 20, 0);
        let late = begun + Duration::from_secs(60);
        assert_eq!(pace.wait(late), None);
        // At 8 MiB a second, for it is not known how much is written.
        pace.sent(late, 1 << 20, 0);
        assert_eq!(pace.wait(late), Some(Duration::from_millis(125) - LATE_MAX));
    }
}
