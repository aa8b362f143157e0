//! Invariant 6: What is cut off a log was never acknowledged.

use super::{Truth, Violation, hold};
use crate::simulation::site::Site;
use hansa_core::mirror::Position;

pub fn check(site: &Site, truth: &Truth, removed: &[Position]) -> Result<(), Violation> {
    for entry in removed {
        let acknowledged = truth.acknowledged.get(entry.sequence as usize - 1);
        hold!(
            acknowledged != Some(entry),
            "what is cut off was never acknowledged",
            "{} cut entry {} of epoch {} off",
            site.member(),
            entry.sequence,
            entry.epoch
        );
    }
    Ok(())
}
