//! What a transaction costs while a node stores few or many others: the same load on one node, whose store is filled up
//! between the points of the curve with transactions that have no operations.

use super::{
    Laboratory, document_of,
    samples::rounded,
    transactions::{self, Options, Window},
};
use crate::{
    process::Executable,
    screen::{Screen, table},
};
use anyhow::{Result, bail, ensure};
use hansa_core::document::Text;
use hansa_sdk::{Client, Ending};
use serde::Serialize;
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinSet;

const THREE: &str = include_str!("../../data/bench-three.xml");
const NONE: &str = include_str!("../../data/bench-none.xml");
/// Where the curve has its points, as far as it goes.
const POINTS: [u64; 4] = [1, 1_000, 100_000, 1_000_000];
const STORED_MAX: u64 = 10_000_000;
/// Transactions in flight while the store is filled.
const FILLERS: usize = 512;

/// What a transaction cost while others were stored.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// Transactions that the node had when the measurement began.
    pub stored: u64,
    /// Transactions that ended, a second.
    pub transactions_per_second: f64,
    /// Processor time a transaction, of node, services and clients.
    pub cpu_ms_per_transaction: f64,
    /// Of that, the node's.
    pub node_cpu_ms_per_transaction: f64,
    /// Bytes that the node had written to disk, a transaction.
    pub bytes_written_per_transaction: f64,
}

/// Measure the curve on a node of its own.
pub(super) async fn curve(
    executable: &Executable,
    options: &Options,
    stored_max: u64,
    screen: Screen,
) -> Result<Vec<Point>> {
    ensure!((1..=STORED_MAX).contains(&stored_max), "--stored is 1 to {STORED_MAX}");
    let laboratory = Laboratory::open(executable, toml::Table::new(), THREE).await?;
    laboratory.node().ask("define", json!({ "text": NONE })).await?;
    let address = laboratory.address();
    let _services = transactions::attach(&address).await?;
    let clients = transactions::clients(&address, FILLERS.max(options.concurrency)).await?;
    let document = document_of(options.document_bytes)?;
    // Long enough for a checkpoint or two at every point.
    let measured = Duration::from_secs(options.seconds).div_f64(2.0);
    let mut points = Vec::new();
    for stored in POINTS.into_iter().filter(|point| *point < stored_max).chain([stored_max]) {
        let before = submitted(&laboratory).await?;
        if before < stored {
            screen.say(&format!("filling the store up to {stored} transactions …"));
            fill(&clients, &document, stored - before).await?;
        }
        let before = submitted(&laboratory).await?;
        let window =
            Window::measure(&laboratory, &clients, options.concurrency, &document, measured / 5, measured).await?;
        points.push(point(before, &window));
    }
    Ok(points)
}

fn point(stored: u64, window: &Window) -> Point {
    let transactions = window.latencies.count() as f64;
    let per_transaction = |cpu: Duration| cpu.as_secs_f64() * 1_000.0 / transactions;
    Point {
        stored,
        transactions_per_second: rounded(transactions / window.seconds),
        cpu_ms_per_transaction: rounded(per_transaction(window.node.processor + window.bench.processor)),
        node_cpu_ms_per_transaction: rounded(per_transaction(window.node.processor)),
        bytes_written_per_transaction: rounded(window.node.bytes_written as f64 / transactions),
    }
}

/// As many transactions as the node has taken since it is there; none of them are gone yet.
async fn submitted(laboratory: &Laboratory) -> Result<u64> {
    let status = laboratory.node().ask("status", json!({})).await?;
    Ok(status["transactions"]["submitted"].as_u64().unwrap_or_default())
}

/// Run so many transactions without operations.
pub(super) async fn fill(clients: &[Client], document: &Text, transactions: u64) -> Result<()> {
    let begun = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for client in clients.iter().cycle().take(FILLERS) {
        let (client, document, begun) = (client.clone(), document.clone(), Arc::clone(&begun));
        tasks.spawn(async move {
            while begun.fetch_add(1, Ordering::Relaxed) < transactions {
                let response = client.submit("bench-none", document.clone()).await?.response().await?;
                let Ending::Completed(_) = response.ending else {
                    bail!("a transaction without operations ended as {}", response.ending.word())
                };
            }
            Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

/// Show the curve, if there is one.
pub(super) fn show(points: &[Point], screen: Screen) {
    if points.is_empty() {
        return;
    }
    let heading =
        ["stored", "a second", "cpu a transaction", "of it the node's", "bytes written"].map(str::to_owned).to_vec();
    let rows = points.iter().map(|point| {
        vec![
            point.stored.to_string(),
            format!("{:.0}", point.transactions_per_second),
            format!("{:.3} ms", point.cpu_ms_per_transaction),
            format!("{:.3} ms", point.node_cpu_ms_per_transaction),
            format!("{:.0}", point.bytes_written_per_transaction),
        ]
    });
    let rows: Vec<_> = std::iter::once(heading).chain(rows).collect();
    table(&rows).iter().for_each(|line| screen.say(line));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{samples::Samples, usage::Usage};

    #[test]
    fn a_point_is_what_one_transaction_cost() {
        let window = Window {
            latencies: Samples::new(vec![Duration::from_millis(1); 2_000]),
            seconds: 2.0,
            node: Usage { processor: Duration::from_millis(300), bytes_written: 8_000_000 },
            bench: Usage { processor: Duration::from_millis(100), bytes_written: 0 },
            stages: Vec::new(),
        };
        let point = point(7, &window);
        assert_eq!((point.stored, point.transactions_per_second), (7, 1_000.0));
        assert_eq!((point.cpu_ms_per_transaction, point.node_cpu_ms_per_transaction), (0.2, 0.15));
        assert_eq!(point.bytes_written_per_transaction, 4_000.0);
    }
}
