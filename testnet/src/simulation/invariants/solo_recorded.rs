//! Invariant 5: Nothing is acknowledged by one site alone before the witnesses hold that it is alone, at that epoch.

use super::{Truth, Violation, hold};
use crate::simulation::site::Site;
use hansa_core::mirror::{MemberId, Mode};
use std::collections::BTreeSet;

pub fn check(
    site: &Site,
    sites: &[Site],
    truth: &Truth,
    lost: &BTreeSet<MemberId>,
    through: u64,
) -> Result<(), Violation> {
    let picture = site.pair.picture();
    let Some(configuration) = picture.configuration else { return Ok(()) };
    // A mirror whose disk was lost after it said that it has the entry said the truth.
    let entry = site.disk().position(through.min(site.disk().end() as u64));
    let has = |other: &Site| other.disk().durable as u64 >= through && other.disk().position(through) == entry;
    let mut others = sites.iter().filter(|it| it.organization == site.organization && it.subnode != site.subnode);
    if through <= truth.acknowledged.len() as u64
        || others.any(has)
        || configuration.mode.mirror().is_some_and(|mirror| lost.contains(&mirror))
    {
        return Ok(());
    }
    let alone = matches!(configuration.mode, Mode::Solo { active } if active == site.member());
    hold!(
        alone && truth.decided.contains_key(&configuration.epoch),
        "nothing is acknowledged alone before that is recorded",
        "{} acknowledged entry {through} alone at epoch {}, which is {}",
        site.member(),
        configuration.epoch,
        configuration.mode
    );
    Ok(())
}
