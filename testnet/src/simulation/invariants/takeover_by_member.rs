//! Invariant 8: Only a member of the configuration before becomes active.

use super::{Truth, Violation, hold};
use hansa_core::mirror::Certified;

pub fn check(truth: &Truth, certified: &Certified) -> Result<(), Violation> {
    let Some(before) = certified.epoch().checked_sub(1).and_then(|epoch| truth.decided.get(&epoch)) else {
        return Ok(());
    };
    let (active, mode) = (certified.configuration.mode.active(), before.configuration.mode);
    hold!(
        active == mode.active() || Some(active) == mode.mirror(),
        "only a member takes over",
        "{active} is active at epoch {}, and epoch {} was {mode}",
        certified.epoch(),
        before.epoch()
    );
    Ok(())
}
