//! Rehearsals: what a transaction would do, and whether one that ended does it again (T17). Pure; the shell asks for them.
//!
//! [`dry_run()`] drives the real machine through virtual time against scripted answers, with no service at all. [`replay()`]
//! drives a fresh machine with what came to a recorded transaction from outside, in the recorded order, and proves that it
//! decides the same. Neither knows the journal, files or services.

mod dry_run;
#[cfg(test)]
mod reference;
mod replay;
mod script;
#[cfg(test)]
mod tests;

pub use dry_run::{Rehearsal, Unanswered, dry_run};
pub use replay::{Difference, Replayed, replay};
pub use script::{Script, ScriptedAnswer, ScriptedFailure, ScriptedOperation, ScriptedSignal, Unknown};
