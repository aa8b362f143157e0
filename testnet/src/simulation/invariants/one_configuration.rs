//! Invariant 3: At most one configuration is decided for an epoch, and with it there is one active.

use super::{Truth, Violation, hold};
use hansa_core::mirror::Certified;

/// Whether it is news.
pub fn check(truth: &mut Truth, certified: &Certified) -> Result<bool, Violation> {
    match truth.decided.get(&certified.epoch()) {
        None => {
            truth.decided.insert(certified.epoch(), certified.clone());
            Ok(true)
        }
        Some(known) => {
            hold!(
                known.configuration == certified.configuration,
                "one configuration for each epoch",
                "epoch {} is {} and {}",
                certified.epoch(),
                known.configuration.mode,
                certified.configuration.mode
            );
            Ok(false)
        }
    }
}
