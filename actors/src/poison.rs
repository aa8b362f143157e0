//! Entries that cannot be taken in: a record that this version cannot read, or on which a machine panics (decision 0032). It decides
//! which faults are such ones. [`crate::standby`] stops before them and goes on to have the log; whoever is told decides what follows.

use crate::{
    recovery::{Recovery, Taken},
    store::WriteBehind,
};
use hansa_core::code::{Code, Fault};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The first entry that cannot be taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poison {
    /// Which.
    pub sequence: u64,
    /// Why not.
    pub fault: Fault,
}

/// What became of an entry.
pub(crate) enum Outcome {
    /// Its machine has taken it in.
    Taken,
    /// It cannot; the machine may be anything now.
    Poisoned(Poison),
}

/// Take an entry in.
///
/// # Errors
/// What is no fault of the entry: the store cannot be read.
pub(crate) fn take(recovery: &mut Recovery, store: &WriteBehind, entry: Taken<'_>) -> Result<Outcome, Fault> {
    let sequence = entry.sequence;
    judge(sequence, || recovery.take(store, entry))
}

fn judge(sequence: u64, work: impl FnOnce() -> Result<(), Fault>) -> Result<Outcome, Fault> {
    // Whoever hears of a poisoned entry lets go of everything that the work may have left halfway.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => Ok(Outcome::Taken),
        Ok(Err(fault)) if fault.code == Code::DataNewer => Ok(Outcome::Poisoned(Poison { sequence, fault })),
        Ok(Err(fault)) => Err(fault),
        Err(panic) => {
            let words = panic.downcast_ref::<&str>().copied().map(str::to_owned);
            let words = words.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            let message = format!("a machine panicked on entry {sequence} of the journal: {words}");
            Ok(Outcome::Poisoned(Poison { sequence, fault: Fault::new(Code::Internal, message) }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // M2: what is wrong with an entry is told from what is wrong with the disk.
    #[test]
    fn an_entry_is_poison_if_it_cannot_be_read_or_a_machine_panics_and_not_if_the_disk_fails() {
        let judged = |work: fn() -> Result<(), Fault>| match judge(7, work) {
            Ok(Outcome::Taken) => "taken".to_owned(),
            Ok(Outcome::Poisoned(poison)) => format!("{} {}", poison.sequence, poison.fault.code),
            Err(fault) => format!("failed {}", fault.code),
        };
        assert_eq!(judged(|| Ok(())), "taken");
        assert_eq!(judged(|| Err(Fault::new(Code::DataNewer, "what is that"))), "7 data-newer");
        assert_eq!(judged(|| Err(Fault::new(Code::JournalFailed, "no disk"))), "failed journal-failed");
        assert_eq!(judged(|| panic!("at the {}", "disco")), "7 internal");
    }
}
