//! `hansa testnet bench takeover`: a mirrored pair with three witnesses, the active sub-node killed with SIGKILL again and again
//! under load; how soon a client that knows nothing of pairs has its next request acknowledged, and whether anything that was
//! acknowledged got lost or happened twice (M2, M3, M4).

use super::samples::{Samples, rounded};
use crate::{
    cities::City,
    cluster::{Cluster, Member, Plan},
    pair::ensure_known,
    process::{Executable, Lifetime},
    screen::{Screen, table},
};
use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};
use futures::{StreamExt as _, stream};
use hansa_sdk::{Client, Ending, Request, Running, Service, Text, TransactionId};
use serde::Serialize;
use serde_json::json;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

const DEFINITION: &str = include_str!("../../data/bench-once.xml");
const DEFINITION_NAME: &str = "bench-once";
const OPERATION: &str = "bench-counted";
const COUNT_MAX: usize = 1_000;
const CLIENTS_MAX: usize = 64;
/// No request takes longer, whatever is killed meanwhile.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(60);
/// Between two requests of one client: the load shall be there and not be what is measured.
const THINKING: Duration = Duration::from_millis(10);
/// How long a pair that is whole works before its active sub-node is killed.
const PEACE_MS: std::ops::RangeInclusive<u64> = 200..=700;
/// Questions at the end that are under way at once.
const QUESTIONS_AT_ONCE: usize = 64;
/// Of what went wrong, so much is shown.
const WRONGS_SHOWN: usize = 10;

/// How far apart the two sub-nodes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// In two cities
    Default,
    /// In one building
    Lan,
}

impl Profile {
    const fn word(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Lan => "lan",
        }
    }

    /// Where the two sub-nodes are.
    const fn cities(self) -> [&'static str; 2] {
        match self {
            Self::Default => ["Rotterdam", "Hamburg"],
            Self::Lan => ["Rotterdam", "Rotterdam"],
        }
    }
}

/// Who decides on the next configuration, and where.
const WITNESSES: [(&str, &str); 3] =
    [("Witness Antwerp", "Antwerp"), ("Witness Bruges", "Bruges"), ("Witness London", "London")];

/// What to measure.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// How often the active sub-node is killed
    #[arg(long, default_value_t = 20)]
    pub count: usize,
    /// How far apart the two sub-nodes are, and how soon the one is to miss the other
    #[arg(long, value_enum, default_value_t = Profile::Default)]
    pub profile: Profile,
    /// Clients that submit meanwhile, each the next transaction when the last has ended
    #[arg(long, default_value_t = 4)]
    pub clients: usize,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// How often the active sub-node was killed.
    pub takeovers: usize,
    /// How far apart the two were.
    pub profile: Profile,
    /// From the kill until a request that was made after it was acknowledged: half of the takeovers took so long.
    pub takeover_ms_p50: f64,
    /// All but one in a hundred took at most so long.
    pub takeover_ms_p99: f64,
    /// The longest.
    pub takeover_ms_max: f64,
    /// From the start of the killed sub-node until it could take over in turn: half of them took so long.
    pub whole_again_ms_p50: f64,
    /// Transactions that were acknowledged.
    pub transactions: usize,
    /// Of these, those that are not there, have not completed, or had no effect.
    pub lost: usize,
    /// Effects that happened more than once.
    pub doubled: usize,
}

/// Measure and print.
///
/// # Errors
/// Something was lost or doubled, the nodes do not do what they must, or the options are out of bounds.
pub async fn run(executable: &Executable, options: &Options, screen: Screen) -> Result<()> {
    let figures = measure(executable, options, screen).await?;
    let row = |what: &str, figure: String| vec![what.to_owned(), figure];
    let in_words = |milliseconds: f64| format!("{milliseconds:.0} ms");
    let rows = [
        row("times that the active sub-node was killed", figures.takeovers.to_string()),
        row("until the next request was acknowledged, p50", in_words(figures.takeover_ms_p50)),
        row("… p99", in_words(figures.takeover_ms_p99)),
        row("… at most", in_words(figures.takeover_ms_max)),
        row("from its start until the killed one could take over, p50", in_words(figures.whole_again_ms_p50)),
        row("transactions acknowledged", figures.transactions.to_string()),
        row("… lost", figures.lost.to_string()),
        row("effects doubled", figures.doubled.to_string()),
    ];
    table(&rows).iter().for_each(|line| screen.say(line));
    screen.object(&figures);
    ensure!(figures.lost == 0, "{} acknowledged transactions were lost", figures.lost);
    ensure!(figures.doubled == 0, "{} effects happened more than once", figures.doubled);
    Ok(())
}

/// Measure.
///
/// # Errors
/// The nodes do not do what they must, or the options are out of bounds.
pub async fn measure(executable: &Executable, options: &Options, screen: Screen) -> Result<Figures> {
    ensure!((1..=COUNT_MAX).contains(&options.count), "--count is 1 to {COUNT_MAX}");
    ensure!((1..=CLIENTS_MAX).contains(&options.clients), "--clients is 1 to {CLIENTS_MAX}");
    ensure_known(executable).await?;
    screen.say("a pair and its three witnesses …");
    let mut cluster = open(executable, options.profile).await?;
    // Services and clients are told of one sub-node and of no other.
    let address = cluster.nodes[0].home.cxip.to_string();
    let counter = Counter::default();
    let service = counter.attach(&address).await?;
    let client = Client::connect(&address, "bench-takeover").await?;
    let load = Load::begin(&client, options.clients);
    let measured = kill_again_and_again(&mut cluster, options.count, &client, &load.numbers, screen).await;
    let Measured { takeovers, whole_again, mut requests } = match measured {
        Ok(measured) => measured,
        Err(error) => {
            let folder = cluster.keep_folder();
            return Err(error.context(format!("the nodes' logs are in {}", folder.display())));
        }
    };
    requests.extend(load.end().await?);
    let lost = lost(&client, &counter, &requests).await;
    let doubled = counter.doubled();
    for wrong in lost.iter().chain(&doubled).take(WRONGS_SHOWN) {
        screen.say(wrong);
    }
    drop(client);
    service.stop().await;
    cluster.stop().await?;
    let (takeovers, whole_again) = (Samples::new(takeovers), Samples::new(whole_again));
    Ok(Figures {
        takeovers: takeovers.count(),
        profile: options.profile,
        takeover_ms_p50: rounded(takeovers.percentile_ms(50.0)),
        takeover_ms_p99: rounded(takeovers.percentile_ms(99.0)),
        takeover_ms_max: rounded(takeovers.percentile_ms(100.0)),
        whole_again_ms_p50: rounded(whole_again.percentile_ms(50.0)),
        transactions: requests.len(),
        lost: lost.len(),
        doubled: doubled.len(),
    })
}

/// A pair that is whole, with its witnesses and the definition.
async fn open(executable: &Executable, profile: Profile) -> Result<Cluster> {
    let city = |name| City::named(name).with_context(|| format!("there is no city {name}"));
    let [first, second] = profile.cities();
    let mut members = vec![Member { organization: "Bench".into(), city: city(first)?, mirror: Some(city(second)?) }];
    for (name, place) in WITNESSES {
        members.push(Member::single(name, city(place)?));
    }
    let settings = toml::Table::try_from(json!({ "pair": { "profile": profile.word() } }))?;
    let plan = Plan { members, folder: None, lifetime: Lifetime::OfStarter, settings };
    let mut cluster = Cluster::prepare(executable, plan).await?;
    cluster.start().await?;
    cluster.federate().await?;
    cluster.make_pair(0, &WITNESSES.map(|(name, _)| name)).await?;
    cluster.nodes[0].ask("define", json!({ "text": DEFINITION })).await?;
    Ok(cluster)
}

struct Measured {
    takeovers: Vec<Duration>,
    whole_again: Vec<Duration>,
    requests: Vec<Submitted>,
}

async fn kill_again_and_again(
    cluster: &mut Cluster,
    count: usize,
    client: &Client,
    numbers: &AtomicU64,
    screen: Screen,
) -> Result<Measured> {
    let mut measured = Measured { takeovers: Vec::new(), whole_again: Vec::new(), requests: Vec::new() };
    let (mut active, _) = cluster.wait_until_whole(0).await?;
    for place in 1..=count {
        sleep(Duration::from_millis(fastrand::u64(PEACE_MS))).await;
        let victim = cluster.subnode_mut(0, active)?;
        let city = victim.home.city.clone();
        let killed = Instant::now();
        victim.kill().await?;
        // Made after the kill, so that the dead one cannot have acknowledged it.
        let (submitted, acknowledged) = submit(client, numbers).await?;
        let takeover = acknowledged.duration_since(killed);
        measured.requests.push(submitted);
        let started = Instant::now();
        cluster.subnode_mut(0, active)?.start().await?;
        let (now_active, _) = cluster.wait_until_whole(0).await?;
        let whole_again = started.elapsed();
        ensure!(
            now_active == active.other(),
            "the sub-node that was killed is active again, and nobody asked it to be"
        );
        active = now_active;
        screen.say(&format!(
            "{place}: killed in {city}, acknowledged again after {} ms, whole again {} ms after its start",
            takeover.as_millis(),
            whole_again.as_millis()
        ));
        measured.takeovers.push(takeover);
        measured.whole_again.push(whole_again);
    }
    Ok(measured)
}

/// A transaction that was acknowledged and whose response has come.
#[derive(Clone, Debug)]
struct Submitted {
    number: u64,
    transaction: TransactionId,
    /// What is wrong with the response.
    wrong: Option<String>,
}

fn order(number: u64) -> Result<Text> {
    Ok(Text::parse(format!("<Order number=\"{number}\"/>").as_bytes())?)
}

/// Submit the next order and wait for its response; also when it was acknowledged.
async fn submit(client: &Client, numbers: &AtomicU64) -> Result<(Submitted, Instant)> {
    let number = numbers.fetch_add(1, Ordering::Relaxed);
    let order = order(number)?;
    let answered = async {
        let mut submission = client.submit(DEFINITION_NAME, order.clone()).await?;
        let acknowledged = Instant::now();
        let response = submission.response().await?;
        anyhow::Ok((response, acknowledged))
    };
    let waited = ANSWER_WAIT_MAX.as_secs();
    let answered = timeout(ANSWER_WAIT_MAX, answered).await;
    let (response, acknowledged) =
        answered.with_context(|| format!("order {number} had no answer within {waited} s"))??;
    let wrong = match &response.ending {
        Ending::Completed(document) if *document == order => None,
        Ending::Completed(_) => Some("was answered with the document of another".to_owned()),
        Ending::Failed(fault) => Some(format!("failed: {fault}")),
        other => Some(format!("ended as {}", other.word())),
    };
    Ok((Submitted { number, transaction: response.transaction, wrong }, acknowledged))
}

/// Clients that each submit the next order when the last was answered.
struct Load {
    stop: Arc<AtomicBool>,
    numbers: Arc<AtomicU64>,
    tasks: JoinSet<Result<Vec<Submitted>>>,
}

impl Load {
    fn begin(client: &Client, clients: usize) -> Self {
        let (stop, numbers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(1)));
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            let (client, stop, numbers) = (client.clone(), Arc::clone(&stop), Arc::clone(&numbers));
            tasks.spawn(async move {
                let mut all = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    all.push(submit(&client, &numbers).await?.0);
                    sleep(THINKING).await;
                }
                Ok(all)
            });
        }
        Self { stop, numbers, tasks }
    }

    async fn end(mut self) -> Result<Vec<Submitted>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        while let Some(ended) = self.tasks.join_next().await {
            all.extend(ended??);
        }
        Ok(all)
    }
}

/// The service: counts what it does, by order.
#[derive(Clone, Debug, Default)]
struct Counter(Arc<Mutex<BTreeMap<u64, u32>>>);

impl Counter {
    async fn attach(&self, address: &str) -> Result<Running> {
        let counter = self.clone();
        let service = Service::new(OPERATION)?.operation(OPERATION, move |request: Request| {
            let counter = counter.clone();
            async move { counter.perform(request.document()) }
        })?;
        Ok(service.attach(address).await?)
    }

    fn perform(&self, order: &Text) -> Result<Text, hansa_sdk::Fault> {
        let tree = order.tree()?;
        let number = tree.root.attribute("number").and_then(|number| number.parse().ok());
        let number = number.ok_or_else(|| hansa_sdk::Fault::new(hansa_sdk::Code::OperationFailed, "no order"))?;
        *self.effects().entry(number).or_default() += 1;
        Ok(order.clone())
    }

    fn effects(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every order that had its effect more than once, in words.
    fn doubled(&self) -> Vec<String> {
        let effects = self.effects();
        let doubled = effects.iter().filter(|(_, count)| **count > 1);
        doubled.map(|(number, count)| format!("order {number} had its effect {count} times")).collect()
    }
}

/// Ask for every transaction that was acknowledged; what is wrong with those that are not as they must be, in words.
async fn lost(client: &Client, counter: &Counter, requests: &[Submitted]) -> Vec<String> {
    let questions = stream::iter(requests).map(|submitted| async move {
        let asked = timeout(ANSWER_WAIT_MAX, client.query(submitted.transaction)).await;
        let wrong = match (&submitted.wrong, asked) {
            (Some(wrong), _) => Some(wrong.clone()),
            (None, Err(_)) => Some("is not answered for".to_owned()),
            (None, Ok(Err(fault))) => Some(format!("is not there: {fault}")),
            (None, Ok(Ok(status))) if status.state != "completed" => Some(format!("is shown as {}", status.state)),
            (None, Ok(Ok(_))) => None,
        };
        let wrong = wrong.or_else(|| counter.lacks(submitted.number).then(|| "had no effect".to_owned()))?;
        Some(format!("transaction {} of order {} {wrong}", submitted.transaction, submitted.number))
    });
    questions.buffer_unordered(QUESTIONS_AT_ONCE).filter_map(std::future::ready).collect().await
}

impl Counter {
    fn lacks(&self, number: u64) -> bool {
        !self.effects().contains_key(&number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hansa_sdk::test;

    // M2: the benchmark finds what it is there to find.
    #[tokio::test]
    async fn what_is_lost_or_doubled_is_counted() {
        let node = test::Node::start().await;
        node.define(DEFINITION).unwrap();
        let counter = Counter::default();
        let performs = counter.clone();
        let service = Service::new(OPERATION).unwrap().operation(OPERATION, move |request: Request| {
            let counter = performs.clone();
            async move { counter.perform(request.document()) }
        });
        let _running = service.unwrap().attach_to(&node).await.unwrap();
        let client = Client::named("bench").connect_to(&node).await.unwrap();
        let numbers = AtomicU64::new(1);
        let mut requests = Vec::new();
        for _ in 0..3 {
            requests.push(submit(&client, &numbers).await.unwrap().0);
        }
        assert!(lost(&client, &counter, &requests).await.is_empty() && counter.doubled().is_empty());
        counter.perform(&order(2).unwrap()).unwrap();
        assert_eq!(counter.doubled(), ["order 2 had its effect 2 times"]);
        counter.effects().remove(&1);
        requests[2].transaction = TransactionId(7);
        let lost = lost(&client, &counter, &requests).await.join("\n");
        assert!(lost.contains("order 1 had no effect") && lost.contains("order 3 is not there"), "{lost}");
    }
}
