//! The supervisor of the shards: a shard that fails takes the process with it.
//!
//! A shard's state runs ahead of what is durable, so a shard that failed cannot be started alone: the others have acted on
//! inputs that the journal may not have. The process ends, and its next start is a replay.

use hansa_core::code::{Code, Fault};
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use std::sync::Arc;

/// The actor.
pub struct Supervisor;

/// What is called when a shard fails.
pub type Fatal = Arc<dyn Fn(Fault) + Send + Sync>;

impl Actor for Supervisor {
    type Msg = ();
    type State = Fatal;
    type Arguments = Fatal;

    async fn pre_start(&self, _: ActorRef<()>, fatal: Fatal) -> Result<Fatal, ActorProcessingErr> {
        Ok(fatal)
    }

    // Overridden because by default a supervisor stops quietly when a child exits.
    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<()>,
        event: SupervisionEvent,
        fatal: &mut Fatal,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(_, error) = event {
            fatal(Fault::new(Code::Internal, format!("a shard failed: {error}")));
        }
        Ok(())
    }
}
