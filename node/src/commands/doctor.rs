//! `hansa doctor`: shows what the checks found.

use super::{Context, Failure, render};
use crate::doctor;
use clap::Args;

/// Check configuration, data, disk, ports, clock, the running node and its peers, and say what to do
///
/// It changes nothing, and can be run while the node runs. Its exit code is 1 if something is wrong. Of a node elsewhere
/// (--node) it sees what that says of itself, and its clock.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hansa doctor --data ./acme")]
pub struct Doctor {}

impl Doctor {
    pub async fn perform(self, context: &Context) -> Result<(), Failure> {
        let findings = if context.is_elsewhere() {
            doctor::examine_elsewhere(context.client()).await
        } else {
            doctor::examine(&context.folder, &context.sources()).await
        };
        context.show(&findings, |findings| render::findings(findings));
        let wrong = findings.iter().any(|finding| finding.state == doctor::State::Wrong);
        if wrong { Err(Failure::Told) } else { Ok(()) }
    }
}
