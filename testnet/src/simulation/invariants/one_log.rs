//! Invariant 12: Within an epoch there is one log: it has one writer, which only adds to it, so of what two disks have of the same epoch
//! the shorter is a beginning of the longer. Where logs part is looked for by this alone.

use super::{Violation, hold};
use crate::simulation::site::Site;

pub fn check(site: &Site, sites: &[Site]) -> Result<(), Violation> {
    let others = sites.iter().filter(|other| other.organization == site.organization && other.subnode != site.subnode);
    for other in others {
        let ends = [site.disk().end(), other.disk().end()];
        let both = (1..=ends[0].min(ends[1]) as u64).rev();
        let both = both.map_while(|sequence| Some((site.disk().position(sequence)?, other.disk().position(sequence)?)));
        // The hash of an entry covers all before it.
        if let Some((one, two)) = { both }.find(|(one, two)| one.epoch == two.epoch) {
            hold!(
                one == two,
                "within an epoch there is one log",
                "{} and {} have different entries {} of epoch {}",
                site.member(),
                other.member(),
                one.sequence,
                one.epoch
            );
        }
    }
    Ok(())
}
