//! `hansa service …`: the services of this node.

use super::{Context, Failure, render};
use crate::admin::protocol::{Request, Service};
use clap::{Args, Subcommand};

/// Look at the services of this node
#[derive(Debug, Args)]
pub struct ServiceArguments {
    #[command(subcommand)]
    command: ServiceCommand,
}

#[derive(Debug, Subcommand)]
enum ServiceCommand {
    List(List),
}

/// List the services that are registered at this node
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hansa service list")]
struct List {}

impl ServiceArguments {
    pub async fn perform(self, context: &Context) -> Result<(), Failure> {
        match self.command {
            ServiceCommand::List(List {}) => {
                let services: Vec<Service> = context.client().await?.ask(&Request::Services).await?;
                context.show(&services, |services| render::services(services));
                Ok(())
            }
        }
    }
}
