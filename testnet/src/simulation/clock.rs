//! The clocks of a simulated sub-node: a steady one that nobody sets, for leases, and the one that tells the time, which people set. Both
//! run a little fast or slow. It knows nothing but the world's time.

use super::BEGIN;
use hansa_core::moment::Moment;

/// See above.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// What it is ahead of the world's, from the beginning.
    ahead_ms: u64,
    /// Of a thousand milliseconds so many more pass here, or fewer.
    fast: i64,
    /// By how much it was set.
    set_ms: i64,
}

impl Clock {
    pub fn new(ahead_ms: u64, fast: i64) -> Self {
        Self { ahead_ms, fast, set_ms: 0 }
    }

    pub fn set(&mut self, by_ms: i64) {
        self.set_ms += by_ms;
    }

    /// The steady clock.
    pub fn steady(&self, now: Moment) -> Moment {
        let since = now.since_ms(BEGIN);
        BEGIN.plus_ms(self.ahead_ms + since * self.pace() / 1_000)
    }

    /// The clock that tells the time.
    pub fn told(&self, now: Moment) -> Moment {
        Moment(self.steady(now).0.saturating_add_signed(self.set_ms))
    }

    /// When, in the world, the steady clock shows this.
    pub fn when_steady(&self, at: Moment) -> Moment {
        let since = at.0.saturating_sub(BEGIN.0 + self.ahead_ms);
        BEGIN.plus_ms((since * 1_000).div_ceil(self.pace()))
    }

    /// When, in the world, the other clock shows this, unless it is set.
    pub fn when_told(&self, at: Moment) -> Moment {
        self.when_steady(Moment(at.0.saturating_add_signed(-self.set_ms)))
    }

    fn pace(&self) -> u64 {
        1_000_u64.saturating_add_signed(self.fast)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // X2: whoever sleeps until a moment has it when it wakes, and not a millisecond before.
    #[test]
    fn a_moment_comes_when_it_was_said_to_come() {
        for fast in -10..=10 {
            let mut clock = Clock::new(77, fast);
            clock.set(-33);
            for ms in 0..3_000 {
                let at = BEGIN.plus_ms(ms * 7 + 500);
                let when = clock.when_told(at);
                assert!(clock.told(when) >= at && clock.told(Moment(when.0 - 1)) < at, "{fast} {ms}");
            }
        }
    }
}
