//! `hansa testnet demo failover`: five organizations that are mirrored pairs, ten sub-nodes in ten cities, while orders come in without a
//! pause. One sub-node is killed, one cut off, one stands still, one loses its disk (M1 to M4); it prints what happens as it
//! happens, checks what must hold, ends by itself, and leaves nothing behind.

use super::{
    event::{Event, Teller, latencies, milliseconds},
    tell_ready,
};
use crate::{
    cities::City,
    cluster::Member,
    pair::{Side, ensure_known},
    process::{Executable, Lifetime, Node},
    screen::Screen,
    stage::{ORGANIZATIONS, Stage},
    storm::Load,
};
use anyhow::{Context as _, Result, ensure};
use clap::Args;
use hansa_sdk::{Client, Ending, Response};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// The whole demo ends within this time, one way or the other.
const DEMO_TIME_MAX: Duration = Duration::from_secs(300);
/// Whatever happens, the next orders are answered within this time.
const ORDERS_TIME_MAX: Duration = Duration::from_secs(60);
/// Orders under way at once.
const ORDERS_AT_ONCE: usize = 8;
/// So many orders are answered between two troubles, so that each comes in the middle of work.
const ORDERS_BETWEEN: usize = 8;
/// More goods than can be ordered here.
const ORDERS_IN_STOCK: u32 = 1_000_000;
/// Witnesses of a pair: the members that come behind it.
const WITNESSES: usize = 3;
/// Who is who in the stage's cast.
const BUYER: usize = 0;
const NEAREST_SUPPLIER: usize = 1;
const FAR_SUPPLIER: usize = 2;

/// How much of it to play.
#[derive(Clone, Copy, Debug, Args)]
pub struct Options {
    /// Only the buyer is a pair, and only what befalls it is shown
    #[arg(long)]
    pub brief: bool,
}

/// Play it.
///
/// # Errors
/// Something did not happen as it must; the reason is said.
pub async fn run(executable: &Executable, options: Options, screen: Screen) -> Result<()> {
    ensure_known(executable).await?;
    // A dropped future drops the nodes, which kills them.
    timeout(DEMO_TIME_MAX, play(executable, options, Teller::new(screen)))
        .await
        .with_context(|| format!("the demo did not end within {} s", DEMO_TIME_MAX.as_secs()))?
}

async fn play(executable: &Executable, Options { brief }: Options, teller: Teller) -> Result<()> {
    let pairs = if brief { 1 } else { ORGANIZATIONS };
    let mut stage = Stage::set(executable, None, Lifetime::OfStarter, ORDERS_IN_STOCK, pairs).await?;
    gather(&mut stage, teller).await?;
    teller.tell(&Event::Act { title: "Orders come in" });
    stage.open().await?;
    // It is told of one sub-node, and hears of the other by itself.
    let client = Client::connect(&stage.buyer().home.cxip.to_string(), "purchasing-department").await?;
    let load = Load::begin(&client, ORDERS_AT_ONCE);
    let mut drama = Drama { stage, load, teller, takeovers: Vec::new() };
    drama.orders_go_on().await?;

    teller.tell(&Event::Act { title: "The buyer's active sub-node is killed" });
    drama.kill(BUYER).await?;
    if !brief {
        teller.tell(&Event::Act { title: "A supplier's active sub-node is cut off from everybody" });
        drama.cut_off(NEAREST_SUPPLIER).await?;
        teller.tell(&Event::Act {
            title: "Another supplier's active sub-node stands still, and goes on as if nothing had happened",
        });
        drama.pause(FAR_SUPPLIER).await?;
    }
    teller.tell(&Event::Act { title: "The buyer's mirror loses its disk" });
    drama.lose_disk(BUYER).await?;

    let Drama { stage, load, takeovers, .. } = drama;
    let ended = timeout(ORDERS_TIME_MAX, load.end()).await.context("not every order was answered in the end")??;
    check(&stage, &client, &ended).await?;
    teller.tell(&Event::Checked { what: format!("{} orders were confirmed or booked exactly once each", ended.len()) });
    let (repeated_deliveries, subnodes) = (stage.repeated(), subnodes(&stage).count());
    drop(client);
    stage.close().await?;
    teller.tell(&Event::Act { title: "The end" });
    teller.tell(&Event::Survived {
        subnodes,
        transactions: ended.len(),
        takeovers: takeovers.len(),
        takeover_ms_max: takeovers.iter().max().copied().map_or(0, milliseconds),
        repeated_deliveries,
        duration_ms: milliseconds(teller.elapsed()),
    });
    Ok(())
}

fn subnodes(stage: &Stage) -> impl Iterator<Item = &Node> {
    stage.cluster.nodes.iter().chain(stage.cluster.mirrors.iter().map(|mirror| &mirror.node))
}

/// Start the first sub-nodes, let them find each other, and let the second ones join them.
async fn gather(stage: &mut Stage, teller: Teller) -> Result<()> {
    teller.tell(&Event::Act { title: &cast(subnodes(stage).count()) });
    let ready = stage.cluster.start().await?;
    tell_ready(stage, &teller, ready);
    let placed = |node: &Node| City::named(&node.home.city).map(|city| Member::single(&node.home.organization, city));
    let places: Vec<Member> = subnodes(stage).filter_map(placed).collect();
    let cities = places.iter().map(|place| place.city.name).collect();
    teller.tell(&Event::Latencies { one_way_ms: latencies(&places), cities });
    stage.cluster.federate().await?;
    let names: Vec<String> = stage.cluster.members().iter().map(|member| member.organization.clone()).collect();
    let witnesses = |place: usize| {
        let behind = (1..=WITNESSES).map(|behind| names[(place + behind) % names.len()].as_str());
        behind.collect::<Vec<_>>()
    };
    let pairs: Vec<_> = (0..stage.cluster.mirrors.len()).map(|place| (place, witnesses(place))).collect();
    let whole = stage.cluster.make_pairs(&pairs).await?;
    for ((place, _), after) in pairs.iter().zip(whole) {
        tell_whole(stage, teller, *place, Side::First, after)?;
    }
    Ok(())
}

/// Who plays; each sub-node has a city of its own.
fn cast(subnodes: usize) -> String {
    format!("{ORGANIZATIONS} organizations, {subnodes} sub-nodes in as many cities")
}

fn tell_whole(stage: &Stage, teller: Teller, place: usize, active: Side, after: Duration) -> Result<()> {
    let (active, mirror) = (stage.cluster.subnode(place, active)?, stage.cluster.subnode(place, active.other())?);
    let after_ms = milliseconds(after);
    let (active_home, mirror_home) = (&active.home, &mirror.home);
    let organization = &active_home.organization;
    teller.tell(&Event::Whole { organization, active: &active_home.city, mirror: &mirror_home.city, after_ms });
    Ok(())
}

/// Every order that was acknowledged ended well, and had its effect once.
async fn check(stage: &Stage, client: &Client, ended: &[Response]) -> Result<()> {
    let doubled = stage.doubled();
    ensure!(doubled.is_empty(), "effects happened more than once: {}", doubled.join("; "));
    for response in ended {
        let transaction = response.transaction.to_string();
        let Ending::Completed(_) = response.ending else {
            anyhow::bail!("transaction {transaction} ended as {}", response.ending.word())
        };
        let effects = ["confirm-order", "book-back-order"].map(|it| stage.effects_of(&transaction, it));
        ensure!(
            effects.iter().sum::<u32>() == 1,
            "transaction {transaction} was confirmed and booked {effects:?} times"
        );
        let status = client.query(response.transaction).await?;
        ensure!(status.state == "completed", "transaction {transaction} was answered and is shown as {}", status.state);
    }
    Ok(())
}

/// What goes on while things go wrong.
struct Drama {
    stage: Stage,
    load: Load,
    teller: Teller,
    takeovers: Vec<Duration>,
}

impl Drama {
    /// Orders are answered, whatever is broken just now.
    async fn orders_go_on(&self) -> Result<()> {
        let waited = ORDERS_TIME_MAX.as_secs();
        let answered = timeout(ORDERS_TIME_MAX, self.load.goes_on(ORDERS_BETWEEN)).await;
        answered.with_context(|| format!("no {ORDERS_BETWEEN} orders were answered within {waited} s"))?;
        self.teller.tell(&Event::Checked { what: "orders are answered".to_owned() });
        Ok(())
    }

    /// The active sub-node of a pair that is whole.
    async fn active_of(&self, place: usize) -> Result<Side> {
        Ok(self.stage.cluster.wait_until_whole(place).await?.0)
    }

    fn tell(&self, what: &str, place: usize, side: Side) -> Result<()> {
        let home = &self.stage.cluster.subnode(place, side)?.home;
        self.teller.tell(&Event::Trouble { what, organization: &home.organization, city: &home.city });
        Ok(())
    }

    /// Wait until this sub-node serves instead of the other, and orders go on.
    async fn taken_over(&mut self, place: usize, by: Side, began: Instant) -> Result<()> {
        self.stage.cluster.wait_until_active(place, by).await?;
        let after = began.elapsed();
        self.takeovers.push(after);
        let home = &self.stage.cluster.subnode(place, by)?.home;
        let after_ms = milliseconds(after);
        self.teller.tell(&Event::TakenOver { organization: &home.organization, city: &home.city, after_ms });
        self.orders_go_on().await
    }

    /// Wait until the pair is whole again, with this sub-node active.
    async fn whole_again(&self, place: usize, active: Side) -> Result<()> {
        let (side, after) = self.stage.cluster.wait_until_whole(place).await?;
        ensure!(side == active, "the sub-node that came back took over, and nobody asked it to");
        tell_whole(&self.stage, self.teller, place, active, after)?;
        self.orders_go_on().await
    }

    async fn kill(&mut self, place: usize) -> Result<()> {
        let active = self.active_of(place).await?;
        let began = Instant::now();
        self.stage.cluster.subnode_mut(place, active)?.kill().await?;
        self.tell("SIGKILL:", place, active)?;
        self.taken_over(place, active.other(), began).await?;
        self.stage.cluster.subnode_mut(place, active)?.start().await?;
        self.whole_again(place, active.other()).await
    }

    async fn cut_off(&mut self, place: usize) -> Result<()> {
        let active = self.active_of(place).await?;
        let began = Instant::now();
        self.cut_lines_of(Some((place, active))).await?;
        self.tell("every line is cut:", place, active)?;
        self.taken_over(place, active.other(), began).await?;
        self.cut_lines_of(None).await?;
        self.whole_again(place, active.other()).await
    }

    /// Cut every line from and to a sub-node, or make all lines whole.
    async fn cut_lines_of(&self, victim: Option<(usize, Side)>) -> Result<()> {
        let victim = victim.map(|(place, side)| self.stage.cluster.subnode(place, side)).transpose()?;
        let victim = victim.map(|node| node.home.federation);
        let all: Vec<_> = subnodes(&self.stage).map(|node| node.home.federation).collect();
        for node in subnodes(&self.stage) {
            let own = node.home.federation;
            let cut: Vec<_> = match victim {
                None => Vec::new(),
                Some(victim) if victim == own => all.iter().copied().filter(|other| *other != own).collect(),
                Some(victim) => vec![victim],
            };
            node.ask("cut-lines", json!({ "destinations": cut })).await?;
        }
        Ok(())
    }

    async fn pause(&mut self, place: usize) -> Result<()> {
        let active = self.active_of(place).await?;
        let began = Instant::now();
        self.stage.cluster.subnode(place, active)?.pause()?;
        self.tell("SIGSTOP:", place, active)?;
        self.taken_over(place, active.other(), began).await?;
        self.stage.cluster.subnode(place, active)?.resume()?;
        self.whole_again(place, active.other()).await
    }

    async fn lose_disk(&mut self, place: usize) -> Result<()> {
        let active = self.active_of(place).await?;
        self.stage.cluster.subnode_mut(place, active.other())?.kill().await?;
        self.tell("killed, and its disk is gone:", place, active.other())?;
        self.orders_go_on().await?;
        self.stage.cluster.replace(place, active.other()).await?;
        self.whole_again(place, active).await
    }
}
