//! `hansa config`: the configuration in force, and who said each value.

use super::{Context, Failure, render};
use crate::config;
use clap::Args;
use hansa_core::code::{Code, Fault};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Show the configuration in force, and who said each value: the file, a variable, a flag, or nobody
#[derive(Debug, Args)]
#[command(name = "config", after_help = "Examples:\n  hansa config\n  hansa config --set log.level=debug --json")]
pub struct ConfigCommand {
    /// Write the reference page of all keys to this file instead
    #[arg(long, value_name = "FILE", hide = true)]
    write_reference: Option<PathBuf>,
}

impl ConfigCommand {
    pub fn perform(self, context: &Context) -> Result<(), Failure> {
        if let Some(path) = self.write_reference {
            return std::fs::write(&path, config::reference_page())
                .map_err(|error| Fault::new(Code::Internal, format!("{}: {error}", path.display())).into());
        }
        if context.config.is_none() {
            context.folder.check()?;
        }
        let (_, settings) = context.configuration()?;
        if context.json {
            let settings: serde_json::Map<String, Value> = settings
                .iter()
                .map(|(path, setting)| {
                    (path.clone(), json!({ "value": setting.value, "origin": setting.origin.to_string() }))
                })
                .collect();
            context.show(&settings, |_| String::new());
        } else {
            context.show(&Value::Null, |_| render::settings(&settings));
        }
        Ok(())
    }
}
