//! Breaks the sub-nodes of a pair in every way that a machine, a line or a disk breaks, while requests and publications are on their
//! way, and says afterwards whether anything acknowledged was lost or done twice (M1 to M4). The fault tests with real
//! processes call it.
//!
//! It asks the nodes as an operator would and speaks to them as services and clients do; [`load`] is what they say, [`trouble`] what
//! is done to the processes.

mod load;
mod trouble;

use crate::{
    cities::City,
    cluster::{Cluster, Distances, Member, Plan},
    process::{Executable, Lifetime},
};
use anyhow::{Context as _, Result, ensure};
use hansa_sdk::Client;
use load::{DEFINITION, Load, Service};
use serde_json::json;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::{Instant, sleep, timeout};
pub use trouble::Trouble;
use trouble::Troublemaker;

/// After the last trouble everything that was begun is answered within this time.
const CALM_TIME_MAX: Duration = Duration::from_secs(120);
/// How long the pair has peace between two troubles.
const PEACE_MS: std::ops::RangeInclusive<u64> = 20..=900;
/// How long a planned switch at the end may take.
const SWITCH_TIME_MAX: Duration = Duration::from_secs(30);
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// The pair, by its place among the members.
const PAIR: usize = 0;
/// Who decides on the next configuration: of four, one may be lost.
const WITNESSES: [(&str, &str); 4] =
    [("Antwerp", "Antwerp"), ("Bruges", "Bruges"), ("London", "London"), ("Hamburg", "Hamburg")];

/// What is to be done to the pair.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many troubles, one after the other.
    pub troubles: usize,
    /// Clients that each order again when the last order was answered.
    pub clients: usize,
    /// Which troubles, and when: the same seed makes the same choices.
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Transactions that were acknowledged; each has ended.
    pub transactions: usize,
    /// Publications that were acknowledged.
    pub publications: usize,
    /// Invocations that came again and had no second effect.
    pub repeated_deliveries: u64,
    /// How often what was done.
    pub troubles: BTreeMap<Trouble, usize>,
    /// How often another configuration was decided on.
    pub epochs: u64,
    /// What was lost or done twice, in words.
    pub wrong: Vec<String>,
}

/// Do it.
///
/// # Errors
/// A node does not come up again or ends by itself, or something acknowledged is not answered when it must be.
pub async fn raise(executable: &Executable, options: &Options) -> Result<Report> {
    let mut cluster = open(executable).await?;
    let raised = raise_in(&mut cluster, options).await;
    if let Err(error) = raised {
        let folder = cluster.keep_folder();
        return Err(error.context(format!("seed {}; the nodes' logs are in {}", options.seed, folder.display())));
    }
    cluster.stop().await?;
    raised
}

/// A pair that is whole, with its witnesses and the definition.
async fn open(executable: &Executable) -> Result<Cluster> {
    let city = |name| City::named(name).with_context(|| format!("there is no city {name}"));
    let rotterdam = city("Rotterdam")?;
    let mut members = vec![Member { organization: "Besieged".into(), city: rotterdam, mirror: Some(rotterdam) }];
    for (name, place) in WITNESSES {
        members.push(Member::single(name, city(place)?));
    }
    let settings = toml::Table::try_from(json!({ "pair": { "profile": "lan" } }))?;
    let plan = Plan { members, folder: None, lifetime: Lifetime::OfStarter, settings, distances: Distances::OfCities };
    let mut cluster = Cluster::prepare(executable, plan).await?;
    cluster.start().await?;
    cluster.federate().await?;
    cluster.make_pair(PAIR, &WITNESSES.map(|(name, _)| name)).await?;
    cluster.nodes[PAIR].ask("define", json!({ "text": DEFINITION })).await?;
    Ok(cluster)
}

async fn raise_in(cluster: &mut Cluster, options: &Options) -> Result<Report> {
    let address = cluster.nodes[PAIR].home.cxip.to_string();
    let service = Service::default();
    let running = service.attach(&address).await?;
    let client = Client::named("siege").patience(CALM_TIME_MAX).connect(&address).await?;
    let load = Load::begin(&client, options.clients).await?;

    let mut maker = Troublemaker::new(cluster, PAIR, options.seed);
    let mut troubles: BTreeMap<Trouble, usize> = BTreeMap::new();
    for number in 0..options.troubles {
        let peace = maker.between(&PEACE_MS);
        sleep(peace).await;
        let trouble = maker.choose();
        maker.make(trouble).await.with_context(|| format!("trouble {number} ({trouble:?})"))?;
        *troubles.entry(trouble).or_default() += 1;
    }
    maker.heal().await?;
    let (active, _) = cluster.wait_until_whole(PAIR).await?;
    let ended = timeout(CALM_TIME_MAX, load.end(&client)).await;
    let waited = CALM_TIME_MAX.as_secs();
    let ended = ended.with_context(|| format!("not everything was answered within {waited} s of calm"))??;
    let epochs = crate::pair::PairStatus::of(cluster.subnode(PAIR, active)?).await?.epoch;

    let mut wrong = service.wrongs(&ended);
    wrong.extend(ended.wrongs());
    wrong.extend(ended.missing(&client).await);
    // The other one has everything as well: it is asked the same when it serves.
    switch(cluster).await?;
    wrong.extend(ended.missing(&client).await);
    drop(client);
    running.stop().await;
    let (transactions, publications) = ended.counts();
    Ok(Report { transactions, publications, repeated_deliveries: service.repeated(), troubles, epochs, wrong })
}

async fn switch(cluster: &Cluster) -> Result<()> {
    let (before, _) = cluster.wait_until_whole(PAIR).await?;
    let began = Instant::now();
    loop {
        // It may also have been taken for lost on a machine that has much to do.
        let (active, _) = cluster.wait_until_whole(PAIR).await?;
        if active != before {
            return Ok(());
        }
        let asked = cluster.subnode(PAIR, active)?.ask("pair-switch", json!({})).await;
        if let Err(error) = asked {
            ensure!(began.elapsed() < SWITCH_TIME_MAX, "the pair does not switch: {error:#}");
            sleep(LOOK_PAUSE).await;
        }
    }
}
