//! Invariant 2: There is one acknowledged value for each sequence, whoever says so.

use super::{Truth, Violation, hold};
use crate::simulation::site::Site;

pub fn check(site: &Site, truth: &Truth, through: u64, served: bool) -> Result<(), Violation> {
    let disk = site.disk();
    let known = truth.acknowledged.len() as u64;
    hold!(
        served || through <= known,
        "one acknowledged value for each sequence",
        "follower {} takes in entry {through}, and {known} are acknowledged",
        site.member()
    );
    let through = through.min(known).min(disk.end() as u64);
    if through > 0 {
        // The hash of an entry covers all before it.
        let there = truth.acknowledged[through as usize - 1];
        // What is not kept any more was looked at when it was there.
        let here = disk.position(through).unwrap_or(there);
        hold!(
            here == there,
            "one acknowledged value for each sequence",
            "{} says that entry {through} of epoch {} counts, and that of epoch {} does",
            site.member(),
            here.epoch,
            there.epoch
        );
    }
    Ok(())
}
