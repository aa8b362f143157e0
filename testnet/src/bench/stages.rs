//! Which part of a transaction's processor time goes into which stage of the work. The node counts its stages itself, by the
//! processor time of its threads; the time of services and clients is that of this process.

use super::samples::rounded;
use crate::process::Node;
use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

/// What the node does outside of the stages that it counts: sockets, waking threads, the runtime.
const NETWORK: &str = "network";
/// What is not the node.
const BESIDE: &str = "beside";

/// One stage of a transaction.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stage {
    /// `parse`, `decide`, `journal`, `store` and `network` of the node, and `beside` for services and clients.
    pub stage: String,
    /// Processor time a transaction.
    pub cpu_ms_per_transaction: f64,
    /// Its part of all processor time a transaction takes.
    pub share: f64,
}

/// What a node has spent since its start.
#[derive(Clone, Debug, Default)]
pub struct Spent {
    process: Duration,
    stages: BTreeMap<String, Duration>,
}

impl Spent {
    /// Ask the node.
    ///
    /// # Errors
    /// It does not answer, or counts in another way.
    pub async fn of(node: &Node) -> Result<Self> {
        Self::read(&node.ask("metrics", json!({})).await?)
    }

    fn read(readings: &Value) -> Result<Self> {
        let mut spent = Self::default();
        for reading in readings.as_array().context("the node's metrics are no list")? {
            let value = || Duration::try_from_secs_f64(reading["value"].as_f64().unwrap_or_default());
            match reading["name"].as_str() {
                Some("hansa_processor_seconds") => spent.process = value()?,
                Some("hansa_stage_seconds") => {
                    let name = reading["labels"][0][1].as_str().context("a stage of the node has no name")?;
                    spent.stages.insert(name.to_owned(), value()?);
                }
                _ => {}
            }
        }
        Ok(spent)
    }

    /// The stages of the work since `earlier`, and beside the node's what this process spent meanwhile.
    #[must_use]
    pub fn shares_since(&self, earlier: &Self, beside: Duration, transactions: usize) -> Vec<Stage> {
        let process = self.process.saturating_sub(earlier.process);
        let since =
            |name: &String, now: &Duration| now.saturating_sub(earlier.stages.get(name).copied().unwrap_or_default());
        let mut parts: Vec<(String, Duration)> =
            self.stages.iter().map(|(name, now)| (name.clone(), since(name, now))).collect();
        let counted = parts.iter().map(|(_, spent)| *spent).sum();
        parts.push((NETWORK.to_owned(), process.saturating_sub(counted)));
        parts.push((BESIDE.to_owned(), beside));
        let whole = (process.max(counted) + beside).as_secs_f64();
        parts
            .into_iter()
            .map(|(stage, spent)| Stage {
                stage,
                cpu_ms_per_transaction: rounded(spent.as_secs_f64() * 1_000.0 / transactions.max(1) as f64),
                share: rounded(spent.as_secs_f64() / whole),
            })
            .collect()
    }
}

/// "parse 6 %, decide 5 % …".
#[must_use]
pub fn in_words(stages: &[Stage]) -> String {
    let part = |stage: &Stage| format!("{} {:.0} %", stage.stage, stage.share * 100.0);
    stages.iter().map(part).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_stage_has_is_the_networks_and_all_shares_are_one() {
        let at = |process: f64, parse: f64, journal: f64| {
            Spent::read(&json!([
                { "name": "hansa_processor_seconds", "value": process, "labels": [] },
                { "name": "hansa_stage_seconds", "value": parse, "labels": [["stage", "parse"]] },
                { "name": "hansa_stage_seconds", "value": journal, "labels": [["stage", "journal"]] },
                { "name": "hansa_sessions", "value": 3.0 },
            ]))
            .unwrap()
        };
        let shares = at(3.0, 0.5, 0.75).shares_since(&at(1.0, 0.25, 0.25), Duration::from_secs(2), 1_000);
        let part = |name: &str| shares.iter().find(|stage| stage.stage == name).unwrap();
        assert_eq!((part("parse").share, part("journal").share), (0.063, 0.125));
        assert_eq!((part("network").share, part("beside").share), (0.313, 0.5));
        assert_eq!(part("network").cpu_ms_per_transaction, 1.25);
        assert!(in_words(&shares).contains("beside 50 %"));
        assert!(Spent::read(&json!({})).is_err());
    }
}
