//! Kills processes at random while orders are on their way, and says afterwards whether anything acknowledged was lost or
//! done twice. The fault tests with real processes call it.

use crate::{
    demo::watch::TransactionSeen,
    process::{Executable, Lifetime},
    stage::{PURCHASE_ORDER_NAME, Stage},
    trade::order::order_of,
};
use anyhow::{Context as _, Result, ensure};
use hansa_sdk::{Client, Ending, Fault, Response};
use serde_json::json;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

/// After the last kill everything acknowledged must have ended within this time.
const CALM_TIME_MAX: Duration = Duration::from_secs(90);
/// How long a node lives at least, and at most, before the next is killed: from the middle of its start to full work.
const LIFE_MS: std::ops::RangeInclusive<u64> = 20..=1_500;
/// More goods than the storm can order, so that stock decides nothing.
const ORDERS_IN_STOCK: u32 = 1_000_000;

/// What the storm shall be.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many processes are killed, one after the other.
    pub kills: usize,
    /// Orders on their way at once.
    pub orders_at_once: usize,
    /// Which processes are killed and when: the same seed makes the same choices.
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Transactions that the buyer's node acknowledged; each has ended.
    pub acknowledged: usize,
    /// How they ended, by word.
    pub endings: BTreeMap<&'static str, usize>,
    /// Why those failed that did.
    pub faults: Vec<String>,
    /// Invocations that came again and had no second effect.
    pub repeated_deliveries: u32,
    /// How often each organization's node was killed.
    pub killed: BTreeMap<String, usize>,
    /// Effects that happened more than once, and orders that were confirmed other than once though they were completed.
    pub wrong_effects: Vec<String>,
}

/// Raise the storm.
///
/// # Errors
/// A node does not come up again, or something acknowledged has not ended when it must have.
pub async fn raise(executable: &Executable, options: &Options) -> Result<Report> {
    let mut stage = Stage::set(executable, None, Lifetime::OfStarter, ORDERS_IN_STOCK, 0).await?;
    stage.cluster.start().await?;
    stage.cluster.federate().await?;
    stage.open().await?;
    let client = Client::connect(&stage.buyer().home.cxip.to_string(), "storm").await?;
    let load = Load::begin(&client, options.orders_at_once);

    let mut dice = fastrand::Rng::with_seed(options.seed);
    let mut killed: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..options.kills {
        sleep(Duration::from_millis(dice.u64(LIFE_MS))).await;
        let node = dice.choice(&mut stage.cluster.nodes).context("the stage has no nodes")?;
        node.kill().await?;
        *killed.entry(node.home.organization.clone()).or_default() += 1;
        // Not waited for: the next may be killed while this one is still reading its journal.
        node.launch()?;
    }
    for node in &mut stage.cluster.nodes {
        node.wait_until_ready().await?;
    }
    let calm = timeout(CALM_TIME_MAX, load.end()).await;
    let ended = match calm {
        Ok(ended) => ended?,
        Err(_) => {
            let stuck = stuck(&stage).await?;
            let folder = stage.cluster.keep_folder();
            let waited = CALM_TIME_MAX.as_secs();
            anyhow::bail!(
                "not everything ended within {waited} s after the last kill; logs in {}:\n{stuck}",
                folder.display()
            );
        }
    };
    let mut report = Report {
        acknowledged: ended.len(),
        endings: BTreeMap::new(),
        faults: Vec::new(),
        repeated_deliveries: stage.repeated(),
        killed,
        wrong_effects: stage.doubled(),
    };
    for response in ended {
        *report.endings.entry(response.ending.word()).or_default() += 1;
        let transaction = response.transaction.to_string();
        match &response.ending {
            Ending::Completed(_) => {
                let confirmed = stage.effects_of(&transaction, "confirm-order");
                let booked = stage.effects_of(&transaction, "book-back-order");
                if confirmed + booked != 1 {
                    let words = format!("{transaction} was confirmed {confirmed} times and booked {booked} times");
                    report.wrong_effects.push(words);
                }
            }
            Ending::Failed(fault) => report.faults.push(format!("{transaction}: {fault}")),
            other => report.faults.push(format!("{transaction}: {}", other.word())),
        }
        // What the response says must be what the node shows.
        let seen = TransactionSeen::look(&stage.buyer().admin()?, &transaction).await?;
        ensure!(seen.is_ended(), "{transaction} was answered and is shown as {}", seen.state);
    }
    drop(client);
    stage.close().await?;
    Ok(report)
}

/// What is still open, who was asked for it, and how everybody is: to find out why.
async fn stuck(stage: &Stage) -> Result<String> {
    let mut lines = Vec::new();
    let open = stage.buyer().ask("list", json!({ "state": "running" })).await?;
    for transaction in open["transactions"].as_array().into_iter().flatten().filter_map(|entry| entry["id"].as_str()) {
        let seen = TransactionSeen::look(&stage.buyer().admin()?, transaction).await?;
        for operation in seen.operations.iter().filter(|operation| operation.state == "running") {
            lines.push(format!("{transaction} {}: {:?}", operation.name, operation.performers));
        }
    }
    for node in &stage.cluster.nodes {
        let status = node.ask("status", json!({})).await?;
        lines.push(format!("{}: peers {} services {}", node.home.organization, status["peers"], status["services"]));
    }
    Ok(lines.join("\n"))
}

/// Buyers that each order again when the last order was answered.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    answered: watch::Sender<usize>,
    tasks: JoinSet<Result<Vec<Response>, Fault>>,
}

impl Load {
    pub(crate) fn begin(client: &Client, at_once: usize) -> Self {
        let (stop, number) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(1)));
        let answered = watch::Sender::new(0);
        let mut tasks = JoinSet::new();
        for _ in 0..at_once {
            let (stop, number) = (Arc::clone(&stop), Arc::clone(&number));
            tasks.spawn(order_until(client.clone(), stop, number, answered.clone()));
        }
        Self { stop, answered, tasks }
    }

    /// Wait until so many more orders were answered.
    pub(crate) async fn goes_on(&self, more: usize) {
        let mut answered = self.answered.subscribe();
        let before = *answered.borrow();
        // The sender lives in `self`, so the wait cannot fail.
        let _ = answered.wait_for(|answered| *answered >= before + more).await;
    }

    /// Order nothing more; every order that was acknowledged, answered.
    pub(crate) async fn end(mut self) -> Result<Vec<Response>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        while let Some(ended) = self.tasks.join_next().await {
            all.extend(ended??);
        }
        Ok(all)
    }
}

async fn order_until(
    client: Client,
    stop: Arc<AtomicBool>,
    number: Arc<AtomicU32>,
    answered: watch::Sender<usize>,
) -> Result<Vec<Response>, Fault> {
    let mut ended = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let order = order_of(number.fetch_add(1, Ordering::Relaxed), 1)?;
        // Acknowledged from here on: it must end.
        let mut submission = client.submit(PURCHASE_ORDER_NAME, order).await?;
        ended.push(submission.response().await?);
        answered.send_modify(|answered| *answered += 1);
    }
    Ok(ended)
}
