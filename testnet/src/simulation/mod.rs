//! The simulation: whole federations of the shipped machines, with their pairs and witnesses, in a seeded world of faults (X2). A
//! schedule says what goes wrong; after every event the invariants are checked; then all is healed, and everything that was
//! accepted must have been answered. `hansa testnet simulate` runs it.

mod clock;
pub mod command;
mod disk;
mod invariants;
mod lies;
mod options;
mod papers;
mod people;
mod plan;
mod scenarios;
mod search;
mod site;
mod world;

pub use invariants::Violation;
pub use options::{Fault, Options, Schedule, SiteName};
pub use world::Report;

/// When each story begins.
const BEGIN: hansa_core::moment::Moment = hansa_core::moment::Moment(1_000_000);

/// Let one schedule happen.
///
/// # Errors
/// What did not hold, with what happened until then.
pub fn run(schedule: &Schedule, traced: bool) -> Result<Report, Box<(Violation, Report)>> {
    let mut world = world::World::new(schedule, traced);
    match world.run() {
        Ok(()) => Ok(world.report().clone()),
        Err(violation) => Err(Box::new((violation, world.report().clone()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(schedule: &Schedule) -> Report {
        run(schedule, true).unwrap_or_else(|broken| {
            let (violation, report) = *broken;
            panic!("{schedule}{violation}\n{}", report.trace.join("\n"))
        })
    }

    // DESIGN invariants 1 to 4; M1 to M4, F5, F6, T4, T10, T11, T12, X2.
    #[test]
    fn everything_acknowledged_ends_as_it_should_whatever_goes_wrong() {
        let number = |name: &str| -> Option<u64> {
            let number = std::env::var(name).ok()?;
            Some(number.parse().unwrap_or_else(|_| panic!("{name} is '{number}', and no number")))
        };
        let first = number("HANSA_SEED_FIRST").unwrap_or(0);
        for seed in first..first + number("HANSA_SEEDS").unwrap_or(20) {
            told(&Schedule::drawn(seed, None));
        }
    }

    // Each was found by a search, and is what it is named for.
    #[test]
    fn what_broke_once_does_not_break_again() {
        for (seed, _what) in [
            (67, "what a disk said of entries that were cut was taken for those in their place"),
            (5_184, "what an active wrote behind its decision to follow was taken for its log"),
            (1_000_385, "an active that must not serve alone gave up a mirror with a new disk, which waited for ever"),
            (1_000_885, "the same, after a switch"),
            (
                2_000_463,
                "a question that came late left an active with a follower that had more than it would ever be sent",
            ),
            (2_000_496, "the same, without an active that may serve alone"),
            (2_000_536, "what a disk that was replaced had acknowledged was taken for the new one's"),
            (777_003, "a lease outlasted the patience of a mirror whose operator had chosen other times"),
        ] {
            // As it was found, and with what came to the stories later.
            told(&Schedule::drawn(seed, None).plain());
            told(&Schedule::drawn(seed, None));
        }
        let found = include_str!("found/everything-and-not-heard.txt");
        told(&Schedule::parse(found).expect("what was found can be read"));
    }

    // X2: a flaw is found by the harm that it does.
    #[test]
    fn the_harm_is_found_and_not_a_panic() {
        use hansa_core::mirror::Flaw;
        for (flaw, seeds, invariant) in [
            (Flaw::RestartKeepsEpoch, 60, "within an epoch there is one log"),
            (Flaw::AmnesiacWitness, 60, "one configuration for each epoch"),
        ] {
            let mut broken =
                (0..seeds).filter_map(|seed| search::attempt(&Schedule::drawn(seed, Some(flaw)), false).err());
            let found = broken.next().map(|broken| broken.violation.invariant);
            assert_eq!(found, Some(invariant), "{flaw:?}");
        }
    }

    // X2: a story is as long as it is asked to be.
    #[test]
    fn a_seed_can_be_made_longer() {
        let attempt = |schedule: &Schedule| Ok(told(schedule));
        let report = search::lengthened(11, None, 20_000, attempt).expect("nothing breaks");
        assert!(report.events >= 20_000, "{} events", report.events);
    }

    // X2: a failing seed is worth something only if it fails again.
    #[test]
    fn a_seed_always_tells_the_same_story() {
        for seed in 100..103 {
            let schedule = Schedule::drawn(seed, None);
            assert_eq!(told(&schedule).hash, told(&schedule).hash, "seed {seed}");
        }
    }
}
