//! Invariant 10: Replicas at the same sequence have the same state.
//!
//! It is looked at whenever both sub-nodes of a pair come to have the same log, once for each place in it, and of all at the end. To compare
//! all machines after every event would only compare most of them again with what they were.

use super::{Violation, hold};
use crate::simulation::site::Site;
use hansa_core::{ident::OrganizationId, mirror::Position};
use std::collections::BTreeMap;

/// Where the two of each organization were compared last.
#[derive(Default)]
pub struct Replicas(BTreeMap<OrganizationId, Position>);

impl Replicas {
    /// Its machines begin from what its disk has: wherever they come to, it is anew.
    pub fn started(&mut self, site: &Site) {
        self.0.remove(&site.organization);
    }

    /// Something happened at a sub-node.
    pub fn happened(&mut self, site: &Site, sites: &[Site]) -> Result<(), Violation> {
        let Some(place) = site.disk().position(site.taken_in() as u64) else { return Ok(()) };
        let is_other = |other: &&Site| other.organization == site.organization && other.subnode != site.subnode;
        let Some(other) = sites.iter().find(is_other) else { return Ok(()) };
        let is_there = other.taken_in() == site.taken_in() && other.disk().position(place.sequence) == Some(place);
        if is_there && self.0.insert(site.organization, place) != Some(place) {
            compare(site, other)?;
        }
        Ok(())
    }
}

/// All is quiet.
pub fn at_rest(site: &Site, sites: &[Site]) -> Result<(), Violation> {
    let others = sites.iter().filter(|other| other.organization == site.organization && other.subnode > site.subnode);
    others.filter(|other| other.taken_in() == site.taken_in()).try_for_each(|other| compare(site, other))
}

fn compare(site: &Site, other: &Site) -> Result<(), Violation> {
    let differences = site.differences(other);
    hold!(
        differences.is_empty(),
        "replicas have the same state",
        "{} and {} differ at entry {} in {differences:x?}",
        site.member(),
        other.member(),
        site.taken_in()
    );
    Ok(())
}
