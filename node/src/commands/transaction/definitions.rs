//! `hansa transaction definitions`: what is defined.

use super::super::{Context, Failure, render};
use crate::admin::protocol::{DefinitionEntry, Request};
use clap::Args;

/// List the transaction definitions
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hansa transaction definitions")]
pub struct Definitions {}

impl Definitions {
    pub async fn perform(self, context: &Context) -> Result<(), Failure> {
        let definitions: Vec<DefinitionEntry> = context.client().await?.ask(&Request::Definitions).await?;
        context.show(&definitions, |definitions| render::definitions(definitions));
        Ok(())
    }
}
