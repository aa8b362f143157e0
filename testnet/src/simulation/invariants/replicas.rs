//! Invariant 10: Replicas at the same sequence have the same state.

use super::{Violation, hold};
use crate::simulation::site::Site;

pub fn check(site: &Site, sites: &[Site]) -> Result<(), Violation> {
    let others = sites.iter().filter(|other| other.organization == site.organization && other.subnode > site.subnode);
    for other in others.filter(|other| other.taken_in() == site.taken_in()) {
        let differences = site.differences(other);
        hold!(
            differences.is_empty(),
            "replicas have the same state",
            "{} and {} differ at entry {} in {differences:x?}",
            site.member(),
            other.member(),
            site.taken_in()
        );
    }
    Ok(())
}
