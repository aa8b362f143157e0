//! Invariant 9: With clocks that run nearly alike, nobody serves at a later epoch while another holds a valid lease.

use super::{Violation, hold};
use crate::simulation::site::Site;
use hansa_core::{mirror::pair::State, moment::Moment};

pub fn check(site: &Site, sites: &[Site], now: Moment) -> Result<(), Violation> {
    let holds = |site: &Site| {
        let picture = site.pair.picture();
        picture.state == State::ActivePair && picture.lease_until.is_some_and(|until| until > site.clock().steady(now))
    };
    let epoch = |site: &Site| site.pair.certified().map_or(0, |certified| certified.epoch());
    let others = sites.iter().filter(|other| other.organization == site.organization && other.subnode != site.subnode);
    for other in others {
        for (leased, later) in [(site, other), (other, site)] {
            // A switch is agreed on, and whoever hands over knows it before the other does.
            let usurps =
                later.serves && epoch(later) > epoch(leased) && later.pair.picture().state == State::ActiveSolo;
            hold!(
                !(holds(leased) && usurps),
                "no two hold a lease",
                "{} holds a lease at epoch {}, and {} serves at epoch {}",
                leased.member(),
                epoch(leased),
                later.member(),
                epoch(later)
            );
        }
    }
    Ok(())
}
