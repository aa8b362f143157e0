//! Invariant 1: Each acknowledged entry is durable on every member of the current configuration. A member whose disk is gone has nothing,
//! and is no member of any configuration that is decided later.

use super::{Truth, Violation, hold};
use crate::simulation::site::Site;
use hansa_core::{ident::OrganizationId, mirror::MemberId};
use std::collections::BTreeSet;

pub fn check(
    truth: &Truth,
    lost: &BTreeSet<MemberId>,
    organization: OrganizationId,
    sites: &[Site],
) -> Result<(), Violation> {
    let (Some((epoch, decided)), Some(last)) = (truth.decided.last_key_value(), truth.acknowledged.last()) else {
        return Ok(());
    };
    let mode = decided.configuration.mode;
    for site in sites.iter().filter(|site| site.organization == organization) {
        let member = site.member();
        if (member != mode.active() && Some(member) != mode.mirror()) || lost.contains(&member) {
            continue;
        }
        let disk = site.disk();
        hold!(
            disk.has(&truth.acknowledged),
            "acknowledged entries are durable on every member",
            "{member} has {} durable at epoch {epoch}, and entry {} of epoch {} was acknowledged",
            disk.durable,
            last.sequence,
            last.epoch
        );
    }
    Ok(())
}
