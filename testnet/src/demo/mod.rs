//! `hansa testnet demo`: five organizations in five cities trade, and two of their processes are killed in the middle of
//! it. It prints what happens as it happens, checks what must hold, ends by itself, and leaves nothing behind.

pub mod event;
pub mod failover;
pub mod watch;

use crate::{
    cluster::{Peer, State},
    process::{Executable, Lifetime},
    screen::Screen,
    stage::{PURCHASE_ORDER_NAME, Stage},
    trade::{order::order_of, response::Summary},
};
use anyhow::{Context as _, Result, bail, ensure};
use event::{Event, Teller, latencies, milliseconds};
use hansa_sdk::{Client, Ending};
use serde_json::{Value, json};
use std::{collections::BTreeSet, path::PathBuf, time::Duration};
use tokio::time::timeout;
use watch::{TransactionSeen, follow};

/// The whole demo ends within this time, one way or the other.
const DEMO_TIME_MAX: Duration = Duration::from_secs(58);
/// One order is answered within this time, a kill and a restart included.
const ORDER_TIME_MAX: Duration = Duration::from_secs(25);
/// Orders that the suppliers have enough for.
const ORDERS_IN_STOCK: u32 = 9;

/// Play the demo; with a folder in `keep` the federation stays there when it is over.
///
/// # Errors
/// Something did not happen as it must; the reason is said.
pub async fn run(executable: &Executable, keep: Option<PathBuf>, screen: Screen) -> Result<()> {
    let teller = Teller::new(screen);
    // A dropped future drops the nodes, which kills them.
    timeout(DEMO_TIME_MAX, play(executable, keep, teller))
        .await
        .with_context(|| format!("the demo did not end within {} s", DEMO_TIME_MAX.as_secs()))?
}

async fn play(executable: &Executable, keep: Option<PathBuf>, teller: Teller) -> Result<()> {
    let lifetime = if keep.is_some() { Lifetime::Own } else { Lifetime::OfStarter };
    let mut stage = Stage::set(executable, keep, lifetime, ORDERS_IN_STOCK, 0).await?;
    gather(&mut stage, &teller).await?;

    let address = stage.buyer().home.cxip.to_string();
    let client = Client::connect(&address, "purchasing-department").await?;
    let mut house = House { stage, client, teller, transactions: Vec::new(), killed: 0 };

    teller.tell(&Event::Act { title: "An order that is in stock" });
    house.order("an order of ten lines", 1, "AP", "confirm-order").await?;
    teller.tell(&Event::Act { title: "An order of ten times the size, which nobody has" });
    house.order("the same ten times", 10, "CA", "book-back-order").await?;
    teller.tell(&Event::Act { title: "An order beyond the buyer's credit" });
    house.order("the same twenty times", 20, "RE", "write-response").await?;
    teller.tell(&Event::Act { title: "The supplier's node is killed while it confirms" });
    house.order_with_kill("an order", Victim::Supplier).await?;
    teller.tell(&Event::Act { title: "The buyer's own node is killed while a supplier confirms" });
    house.order_with_kill("another order", Victim::Buyer).await?;

    let House { stage, client, transactions, killed, .. } = house;
    let doubled = stage.doubled();
    ensure!(doubled.is_empty(), "effects happened more than once: {}", doubled.join("; "));
    drop(client);
    let repeated_deliveries = stage.repeated();
    let kept = lifetime == Lifetime::Own;
    if kept {
        let folder = stage.leave().await;
        farewell(teller.screen(), &folder)?;
    } else {
        stage.close().await?;
    }
    let duration_ms = milliseconds(teller.elapsed());
    teller.tell(&Event::Act { title: "The end" });
    teller.tell(&Event::Summary { transactions: transactions.len(), killed, repeated_deliveries, duration_ms });
    Ok(())
}

/// Tell of each organization's first sub-node, and how long it took to start.
fn tell_ready(stage: &Stage, teller: &Teller, ready: Vec<Duration>) {
    for (node, ready) in stage.cluster.nodes.iter().zip(ready) {
        teller.tell(&Event::Node {
            organization: &node.home.organization,
            city: &node.home.city,
            pid: node.pid().unwrap_or_default(),
            cxip: node.home.cxip.to_string(),
            ready_ms: milliseconds(ready),
        });
    }
}

/// Start the nodes, let them find each other, attach their services.
async fn gather(stage: &mut Stage, teller: &Teller) -> Result<()> {
    teller.tell(&Event::Act { title: "Five organizations in five cities" });
    let ready = stage.cluster.start().await?;
    tell_ready(stage, teller, ready);
    let members = stage.cluster.members();
    let cities = members.iter().map(|member| member.city.name).collect();
    teller.tell(&Event::Latencies { one_way_ms: latencies(members), cities });

    teller.tell(&Event::Act { title: "They find each other" });
    stage.cluster.federate().await?;
    for node in &stage.cluster.nodes {
        for peer in Peer::all_of(&node.ask("status", json!({})).await?)? {
            teller.tell(&Event::Discovered { organization: &node.home.organization, peer: &peer });
        }
    }

    teller.tell(&Event::Act { title: "Their services attach" });
    stage.open().await?;
    for entry in stage.directory().await?.as_array().into_iter().flatten() {
        tell_offer(teller, entry);
    }
    Ok(())
}

fn tell_offer(teller: &Teller, entry: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let services = entry["services"].as_array().into_iter().flatten();
    let operations: BTreeSet<_> =
        services.flat_map(|service| service["operations"].as_array().into_iter().flatten().map(text)).collect();
    teller.tell(&Event::Offer {
        organization: text(&entry["name"]),
        city: text(&entry["city"]),
        operations: operations.into_iter().collect(),
    });
}

/// Whose node is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Supplier,
    Buyer,
}

/// The buyer's house, from which orders go out.
struct House {
    stage: Stage,
    client: Client,
    teller: Teller,
    transactions: Vec<String>,
    killed: usize,
}

impl House {
    fn next_order(&self, factor: u32) -> Result<hansa_sdk::Text> {
        let number = u32::try_from(self.transactions.len()).unwrap_or_default() + 4_711;
        Ok(order_of(number, factor)?)
    }

    /// Submit an order and see it answered: with `code`, by way of `operation`.
    async fn order(&mut self, title: &str, factor: u32, code: &str, operation: &str) -> Result<()> {
        let mut submission = self.client.submit(PURCHASE_ORDER_NAME, self.next_order(factor)?).await?;
        let transaction = submission.transaction().to_string();
        self.transactions.push(transaction.clone());
        self.teller.tell(&Event::Submitted { order: title, transaction: &transaction });
        let watched = follow(self.stage.buyer().admin()?, transaction.clone(), self.teller);
        let both = async { tokio::join!(submission.response(), watched) };
        let (response, seen) = in_time(&transaction, both).await?;
        self.check(&transaction, response?.ending, &seen, code, operation)
    }

    /// Submit an order, kill a node while the supplier is confirming it, start that node again, and see it answered.
    async fn order_with_kill(&mut self, title: &str, victim: Victim) -> Result<()> {
        let arrived = self.stage.gate.close();
        let mut submission = self.client.submit(PURCHASE_ORDER_NAME, self.next_order(1)?).await?;
        let transaction = submission.transaction().to_string();
        self.transactions.push(transaction.clone());
        self.teller.tell(&Event::Submitted { order: title, transaction: &transaction });
        let watched = tokio::spawn(follow(self.stage.buyer().admin()?, transaction.clone(), self.teller));
        in_time(&transaction, self.stage.gate.arrived_after(arrived)).await?;

        let seen = TransactionSeen::look(&self.stage.buyer().admin()?, &transaction).await?;
        let supplier = performer_of(&seen, "confirm-order");
        let supplier = supplier.context("nobody is shown as confirming the order")?;
        let name = match victim {
            Victim::Supplier => supplier.clone(),
            Victim::Buyer => self.stage.buyer().home.organization.clone(),
        };
        let mut nodes = self.stage.cluster.nodes.iter_mut();
        let node = nodes.find(|node| node.home.organization == name).with_context(|| format!("{name} has no node"))?;
        let pid = node.pid().unwrap_or_default();
        node.kill().await?;
        self.killed += 1;
        let during = format!("confirm-order, which {supplier} performs");
        let (organization, city) = (node.home.organization.clone(), node.home.city.clone());
        self.teller.tell(&Event::Killed { organization: &organization, city: &city, pid, during: &during });
        let ready_ms = milliseconds(node.start().await?);
        let pid = node.pid().unwrap_or_default();
        self.teller.tell(&Event::Restarted { organization: &organization, pid, ready_ms });
        self.stage.gate.open();

        let both = async { tokio::join!(submission.response(), watched) };
        let (response, seen) = in_time(&transaction, both).await?;
        self.check(&transaction, response?.ending, &seen?, "AP", "confirm-order")
    }

    /// Check what must hold of a transaction that has ended.
    fn check(
        &self,
        transaction: &str,
        ending: Ending,
        seen: &TransactionSeen,
        code: &str,
        operation: &str,
    ) -> Result<()> {
        let document = match ending {
            Ending::Completed(document) => document,
            Ending::Failed(fault) => return Err(fault).with_context(|| format!("transaction {transaction} failed")),
            other => bail!("transaction {transaction} ended as {}", other.word()),
        };
        let response = Summary::read(&document)?;
        self.teller.tell(&Event::Answered { transaction, response: &response });
        ensure!(response.code == code, "transaction {transaction} was answered with {}, not {code}", response.code);
        let states = seen.operations.iter().find(|it| it.name == operation).map(|it| it.state.as_str());
        ensure!(states == Some("completed"), "'{operation}' of transaction {transaction} is {states:?}");
        let effects = self.stage.effects_of(transaction, operation);
        ensure!(effects == 1, "'{operation}' of transaction {transaction} had its effect {effects} times");
        for it in ["confirm-order", "book-back-order"].into_iter().filter(|it| *it != operation) {
            let effects = self.stage.effects_of(transaction, it);
            ensure!(effects == 0, "'{it}' of transaction {transaction} had an effect and should have had none");
        }
        self.teller.tell(&Event::Checked { what: format!("{operation} had its effect exactly once") });
        Ok(())
    }
}

async fn in_time<T>(transaction: &str, work: impl Future<Output = T>) -> Result<T> {
    let done = timeout(ORDER_TIME_MAX, work).await;
    done.with_context(|| format!("transaction {transaction} did not go on for {} s", ORDER_TIME_MAX.as_secs()))
}

/// At which organization an operation is being performed.
fn performer_of(seen: &TransactionSeen, operation: &str) -> Option<String> {
    let operation = seen.operations.iter().find(|it| it.name == operation)?;
    operation.performers.last()?.organization_name.clone()
}

/// How to talk to a federation that was kept.
pub(crate) fn farewell(screen: Screen, folder: &std::path::Path) -> Result<()> {
    let state = State::read(folder)?;
    screen.say(&format!("The federation goes on in {}. Talk to it:", folder.display()));
    for home in &state.nodes {
        screen.say(&format!("  hansa status --data {}    # {}, {}", home.data.display(), home.organization, home.city));
    }
    let shown = folder.display();
    screen.say(&format!("  hansa testnet status --folder {shown}"));
    screen.say(&format!("  hansa testnet down --folder {shown}     # ends it and removes the folder"));
    screen.object(&json!({ "event": "kept", "folder": folder, "nodes": state.nodes }));
    Ok(())
}
