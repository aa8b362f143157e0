//! The interleavings that the protocol's page names, as schedules: what goes wrong is written down, the rest comes from the seed.

use super::Schedule;

macro_rules! scenarios {
    ($($name:literal),* $(,)?) => {
        /// Name and text of each.
        pub const SCENARIOS: &[(&str, &str)] = &[$(($name, include_str!(concat!("scenarios/", $name, ".txt")))),*];
    };
}

scenarios![
    "active-cut-from-mirror",
    "both-crash",
    "crash-at-any-step-of-a-write",
    "crash-between-effect-and-its-record",
    "crash-while-joining",
    "cut-from-witnesses-then-from-each-other",
    "decision-lands-after-an-abort",
    "disk-of-the-mirror-is-replaced",
    "full-disk",
    "lying-witness",
    "mirror-comes-back-in-a-hurry",
    "mirror-lags-after-solo",
    "one-way",
    "pause-between-lease-check-and-effect",
    "reply-of-the-witnesses-is-lost",
    "second-crash-during-recovery",
    "slow-and-not-dead",
    "stale-doubled-and-reordered",
    "switch-under-load",
    "sync-error",
    "witness-amnesia",
    "witnesses-change-during-takeover",
];

/// The scenario of this name, with a seed for all that it does not say.
#[must_use]
pub fn scenario(name: &str, seed: u64) -> Option<Schedule> {
    let (_, text) = SCENARIOS.iter().find(|(known, _)| *known == name)?;
    let schedule = Schedule::parse(text).expect("a scenario that is built in can be read");
    Some(Schedule { seed, ..schedule })
}
