//! Invariant 4: Epochs and ballots of a sub-node only grow, also across a restart.

use super::{Violation, hold};
use crate::simulation::site::Site;
use hansa_core::{ident::OrganizationId, mirror::MemberId};
use std::collections::BTreeMap;

/// The highest epoch of each member that its disk can know of, and of each witness.
#[derive(Default)]
pub struct Monotone {
    epochs: BTreeMap<MemberId, u64>,
    witnessed: BTreeMap<(MemberId, OrganizationId), u64>,
}

impl Monotone {
    pub fn check(&mut self, site: &Site) -> Result<(), Violation> {
        let member = site.member();
        let epoch = site.pair.certified().map_or(0, |certified| certified.epoch());
        let before = self.epochs.insert(member, epoch).unwrap_or_default();
        hold!(before <= epoch, "epochs only grow", "{member} went from epoch {before} to {epoch}");
        for (pair, witness) in site.witnesses() {
            let epoch = witness.base().map_or(0, |base| base.epoch());
            let before = self.witnessed.insert((site.witness_id(), *pair), epoch).unwrap_or_default();
            hold!(before <= epoch, "epochs only grow", "witness {member} went from epoch {before} to {epoch}");
        }
        Ok(())
    }

    /// What a process knew and its disk did not may be unknown again: nobody was told of it.
    pub fn started(&mut self, site: &Site) {
        let member = site.member();
        self.epochs.insert(member, site.pair.certified().map_or(0, |certified| certified.epoch()));
        let witness = site.witness_id();
        self.witnessed.retain(|(known, _), _| *known != witness);
    }
}
