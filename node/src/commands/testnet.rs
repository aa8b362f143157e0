//! `hansa testnet …`: hands over to the testnet, which starts this very executable as its nodes.

use super::{Context, Failure};
use clap::Args;
use hansa_core::code::{Code, Fault};
use hansa_testnet::{command::TestnetCommand, process::Executable};

/// Federations of several cities on this machine: a demo, benchmarks, and a playground
///
/// Every node is a process of its own with its own data folder; the latency between the cities is added to their links.
#[derive(Debug, Args)]
pub struct Testnet {
    #[command(subcommand)]
    command: TestnetCommand,
}

impl Testnet {
    pub async fn perform(self, context: &Context) -> Result<(), Failure> {
        let executable = std::env::current_exe()
            .map_err(|error| Fault::new(Code::Internal, format!("the path of this program cannot be had: {error}")))?;
        Ok(self.command.run(Executable(executable), context.json).await?)
    }
}
