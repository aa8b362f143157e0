//! Follows a transaction through its node's administration socket and tells each change of each operation.

use super::event::{Event, Teller};
use crate::admin::Admin;
use anyhow::{Context as _, Result};
use hansa_core::code::Fault;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::sleep;

/// Pause between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// A transaction, as far as a watcher wants to know.
#[derive(Clone, Debug, Deserialize)]
pub struct TransactionSeen {
    /// How far it is.
    pub state: String,
    /// How long it took, or has taken so far.
    #[serde(default)]
    pub duration_ms: u64,
    /// Why it failed.
    #[serde(default)]
    pub fault: Option<Fault>,
    /// Its operations in the order of the definition.
    pub operations: Vec<OperationSeen>,
}

/// One of its operations.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct OperationSeen {
    /// Its OPID.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// How far it is.
    pub state: String,
    /// Who was asked.
    #[serde(default)]
    pub performers: Vec<PerformerSeen>,
    /// When it ended.
    #[serde(default)]
    pub ended: Option<String>,
    /// How long it took, or has taken so far.
    #[serde(default)]
    pub duration_ms: Option<u64>,
    /// Why it failed.
    #[serde(default)]
    pub fault: Option<Fault>,
    /// The OPIDs that it links to.
    #[serde(default)]
    pub links: Vec<u32>,
}

/// Who was asked to perform it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct PerformerSeen {
    /// The service, where it is known.
    #[serde(default)]
    pub service: Option<String>,
    /// The organization, if it is another one.
    #[serde(default)]
    pub organization_name: Option<String>,
    /// Where that is.
    #[serde(default)]
    pub city: Option<String>,
    /// How far it is.
    #[serde(default)]
    pub state: String,
    /// How long it took.
    #[serde(default)]
    pub duration_ms: Option<u64>,
}

/// What of an operation is worth a line when it changes: not how long it has been at it.
type Face = (String, Vec<(Option<String>, String)>);

fn face(operation: &OperationSeen) -> Face {
    let legs = operation.performers.iter().map(|it| (it.organization_name.clone(), it.state.clone()));
    (operation.state.clone(), legs.collect())
}

impl TransactionSeen {
    /// Look at a transaction.
    ///
    /// # Errors
    /// The node does not answer, or does not know it.
    pub async fn look(admin: &Admin, transaction: &str) -> Result<Self> {
        let shown = admin.ask("show", json!({ "id": transaction })).await?;
        serde_json::from_value(shown).context("a transaction has an unknown shape")
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        !matches!(self.state.as_str(), "running" | "compensating")
    }
}

/// Tell every change of a transaction until it has ended, also across a death of its node; returns its last state.
/// It waits without end: whoever calls it sets the limit.
pub async fn follow(admin: Admin, transaction: String, teller: Teller) -> TransactionSeen {
    let mut seen: BTreeMap<u32, Face> = BTreeMap::new();
    loop {
        // A node that was killed does not answer for a while.
        if let Ok(now) = TransactionSeen::look(&admin, &transaction).await {
            for operation in now.operations.iter().filter(|operation| operation.state != "waiting") {
                let face = face(operation);
                if seen.get(&operation.id) != Some(&face) {
                    teller.tell(&Event::Operation { transaction: &transaction, operation });
                    seen.insert(operation.id, face);
                }
            }
            if now.is_ended() {
                let (operations, duration_ms) = (&now.operations, now.duration_ms);
                teller.tell(&Event::Graph { transaction: &transaction, operations, duration_ms });
                return now;
            }
        }
        sleep(LOOK_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_transaction_is_read_by_name_and_may_say_more() {
        let shown: TransactionSeen = serde_json::from_value(json!({
            "id": "01J", "state": "running", "submitted": "2026-11-23T00:00:00Z", "duration_ms": 7,
            "operations": [{
                "id": 4, "name": "confirm-order", "state": "running", "attempt": 1, "links": [6],
                "performers": [{ "organization_name": "Cedar Supply", "city": "Singapore", "state": "running" }],
                "started": null, "ended": null, "duration_ms": null,
            }],
        }))
        .unwrap();
        assert!(!shown.is_ended());
        assert_eq!(shown.operations[0].performers[0].city.as_deref(), Some("Singapore"));
    }
}
