//! `hansa status` and `hansa stop`: how the running node is, and its end.

use super::{Context, Failure, render};
use crate::admin::protocol::{Request, Status, Stopping};
use clap::Args;
use hansa_core::code::{Code, Fault};
use std::time::{Duration, Instant};

/// Show how the running node is: identity, federation, peers, services, journal, transactions, health
#[derive(Debug, Args)]
#[command(name = "status", after_help = "Examples:\n  hansa status\n  hansa status --json | jq .peers")]
pub struct StatusCommand {}

impl StatusCommand {
    pub async fn perform(self, context: &Context) -> Result<(), Failure> {
        let status: Status = context.client().await?.ask(&Request::Status).await?;
        context.show(&status, render::status);
        Ok(())
    }
}

/// Stop the running node, and wait until it has stopped
///
/// It takes nothing new, makes durable what is under way, and ends. Open transactions go on at the next start. One that is
/// asked over its administration port (--node) is not waited for.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hansa stop --data ./acme")]
pub struct Stop {
    /// How long to wait for it, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    timeout_s: u64,
}

impl Stop {
    pub async fn perform(self, context: &Context) -> Result<(), Failure> {
        let stopping: Stopping = context.client().await?.ask(&Request::Stop).await?;
        if context.is_elsewhere() {
            // Its port is closed before it has stopped, and of its process nothing can be seen from here.
            context.show(&stopping, |stopping| format!("The node (process {}) is stopping.", stopping.pid));
            return Ok(());
        }
        let limit = Duration::from_secs(self.timeout_s);
        let begun = Instant::now();
        while context.folder.is_in_use() {
            if begun.elapsed() >= limit {
                let message = format!("process {} has not stopped within {} s", stopping.pid, limit.as_secs());
                return Err(Fault::new(Code::DataInUse, message)
                    .help("look at its log; it is safe to end it with `kill -9`, the next start only takes longer")
                    .into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        context.show(&stopping, |stopping| format!("The node (process {}) has stopped.", stopping.pid));
        Ok(())
    }
}
