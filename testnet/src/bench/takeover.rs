//! `hansa testnet bench takeover`: a mirrored pair with three witnesses, the active sub-node killed with SIGKILL again and again
//! under load; how soon a client that knows nothing of pairs has its next request acknowledged, and whether anything that was
//! acknowledged got lost or happened twice (M2, M3, M4). With `--switch` the other sub-node is let serve as often by command; how
//! much later than usual such a client is acknowledged then.

mod load;

use super::samples::{Samples, rounded};
use crate::{
    cities::City,
    cluster::{Cluster, Distances, Member, Plan},
    pair::{Side, ensure_known, is_not_ready},
    process::{Executable, Lifetime},
    screen::{Screen, Tone, table},
};
use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};
use hansa_sdk::Client;
use load::{Counter, Load, Requests, Submitted, lost, submit};
use serde::Serialize;
use serde_json::json;
use std::{
    sync::atomic::AtomicU64,
    time::{Duration, Instant},
};
use tokio::time::{sleep, timeout};

const COUNT_MAX: usize = 1_000;
const CLIENTS_MAX: usize = 64;
/// How long a pair that is whole works before its active sub-node is killed, or the other let serve: long enough for one that has just
/// begun to follow to have put away what it took in.
const PEACE_MS: std::ops::RangeInclusive<u64> = 1_000..=2_000;
/// Who has not taken over by then does not.
const TAKEOVER_WAIT_MAX: Duration = Duration::from_secs(20);
/// Of what went wrong, so much is shown.
const WRONGS_SHOWN: usize = 10;
/// How much later than usual a client may be acknowledged in a planned switch.
const SWITCH_LIMIT_MS: f64 = 100.0;

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

    /// How soon half of all takeovers shall be over, if that is promised, and all but one in a hundred.
    const fn limits_ms(self) -> (Option<f64>, f64) {
        match self {
            Self::Default => (None, 6_000.0),
            Self::Lan => (Some(700.0), 1_500.0),
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
    #[arg(long, default_value_t = 50)]
    pub count: usize,
    /// How far apart the two sub-nodes are, and how soon the one is to miss the other
    #[arg(long, value_enum, default_value_t = Profile::Default)]
    pub profile: Profile,
    /// Clients that submit meanwhile, each the next transaction when the last has ended
    #[arg(long, default_value_t = 4)]
    pub clients: usize,
    /// After that, let the other sub-node serve as often by command
    #[arg(long)]
    pub switch: bool,
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
    /// How often the sub-node that serves was another than it should have been: takeovers that nobody caused.
    pub unasked: usize,
    /// How often nobody took over and the killed one had to be started again: where the active had given up its mirror a moment
    /// before it was killed, which it does on a machine that is too busy for the profile.
    pub not_taken_over: usize,
    /// Planned switches, where they were asked for.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub switches: Option<Switches>,
    /// Transactions that were acknowledged.
    pub transactions: usize,
    /// Of these, those that are not there, have not completed, are not answered as they must be, or had no effect.
    pub lost: usize,
    /// Orders whose effect happened more than once.
    pub doubled: usize,
    /// Requests that a client was told to have failed.
    pub failed: usize,
    /// Figures beside what is promised.
    pub limits: Vec<Limit>,
}

/// What was measured of planned switches.
#[derive(Clone, Debug, Serialize)]
pub struct Switches {
    /// How many were asked for.
    pub switches: usize,
    /// Those of them that did not come about, because the pair was not whole any more: the active goes on then.
    pub not_switched: usize,
    /// A request without a switch: half of them were acknowledged after so long.
    pub usual_ms_p50: f64,
    /// How much longer than that the slowest request took that a switch fell upon: in half of the switches so long.
    pub switch_ms_p50: f64,
    /// In all but one in a hundred at most so long.
    pub switch_ms_p99: f64,
    /// The longest.
    pub switch_ms_max: f64,
    /// The same, of the response instead of the acknowledgement: half.
    pub switch_answered_ms_p50: f64,
    /// All but one in a hundred.
    pub switch_answered_ms_p99: f64,
}

/// A figure beside the limit that it shall not exceed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Limit {
    /// The figure's name.
    pub figure: &'static str,
    /// The limit.
    pub limit: f64,
    /// Which part of it was needed.
    pub ratio: f64,
}

impl Figures {
    fn limits(&self) -> Vec<Limit> {
        let (half, most) = self.profile.limits_ms();
        let switch = self.switches.as_ref().map(|switches| switches.switch_ms_p99);
        let all = [
            half.map(|limit| ("takeover_ms_p50", self.takeover_ms_p50, limit)),
            Some(("takeover_ms_p99", self.takeover_ms_p99, most)),
            switch.map(|figure| ("switch_ms_p99", figure, SWITCH_LIMIT_MS)),
        ];
        let limit = |(figure, value, limit)| Limit { figure, limit, ratio: rounded(value / limit) };
        all.into_iter().flatten().map(limit).collect()
    }
}

/// Measure and print.
///
/// # Errors
/// Something was lost or doubled, the nodes do not do what they must, or the options are out of bounds.
pub async fn run(executable: &Executable, options: &Options, screen: Screen) -> Result<()> {
    let figures = measure(executable, options, screen).await?;
    show(&figures, screen);
    screen.object(&figures);
    ensure!(figures.lost == 0, "{} acknowledged transactions were lost", figures.lost);
    ensure!(figures.doubled == 0, "{} orders had their effect more than once", figures.doubled);
    ensure!(figures.failed == 0, "{} requests failed", figures.failed);
    Ok(())
}

fn show(figures: &Figures, screen: Screen) {
    let beside = |name: &str| figures.limits.iter().find(|limit| limit.figure == name);
    let row = |what: &str, milliseconds: f64, name: &str| {
        let limit = beside(name).map(|it| format!("{:.0} ms", it.limit));
        let ratio = beside(name).map(|it| format!("{:.2}", it.ratio));
        vec![what.to_owned(), format!("{milliseconds:.0} ms"), limit.unwrap_or_default(), ratio.unwrap_or_default()]
    };
    let count = |what: &str, count: usize, limit: &str| {
        vec![what.to_owned(), count.to_string(), limit.to_owned(), String::new()]
    };
    let mut rows = vec![
        ["", "figure", "limit", "ratio"].map(str::to_owned).to_vec(),
        count("times that the active sub-node was killed", figures.takeovers, ""),
        row("  until the next request was acknowledged, p50", figures.takeover_ms_p50, "takeover_ms_p50"),
        row("  … p99", figures.takeover_ms_p99, "takeover_ms_p99"),
        row("  … at most", figures.takeover_ms_max, ""),
        row("  from its start until the killed one could take over, p50", figures.whole_again_ms_p50, ""),
    ];
    if let Some(switches) = &figures.switches {
        rows.extend([
            count("times that the other was let serve by command", switches.switches, ""),
            row("  a request was acknowledged so much later than usual, p50", switches.switch_ms_p50, ""),
            row("  … p99", switches.switch_ms_p99, "switch_ms_p99"),
            row("  … at most", switches.switch_ms_max, ""),
            row("  and answered so much later, p50", switches.switch_answered_ms_p50, ""),
            row("  … p99", switches.switch_answered_ms_p99, ""),
            row("  as usual, p50", switches.usual_ms_p50, ""),
            count("  of them, those that did not come about", switches.not_switched, "0"),
        ]);
    }
    rows.extend([
        count("transactions acknowledged", figures.transactions, ""),
        count("  lost", figures.lost, "0"),
        count("  effects doubled", figures.doubled, "0"),
        count("requests failed", figures.failed, "0"),
        count("takeovers that nobody caused", figures.unasked, "0"),
        count("takeovers that did not come about", figures.not_taken_over, "0"),
    ]);
    for (place, line) in table(&rows).iter().enumerate() {
        screen.say(&if place == 0 { screen.tone(Tone::Strong, line) } else { line.clone() });
    }
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
    let counter = Counter::default();
    let measured = under_load(&mut cluster, &counter, options, screen).await;
    let measured = match measured {
        Ok(measured) => measured,
        Err(error) => {
            let folder = cluster.keep_folder();
            return Err(error.context(format!("the nodes' logs are in {}", folder.display())));
        }
    };
    let Measured { takeovers, whole_again, unasked, not_taken_over, not_switched, switches, requests, lost } = measured;
    let doubled = counter.doubled();
    let wrongs = [&lost, &doubled, &requests.failed];
    for wrong in wrongs.into_iter().flatten().take(WRONGS_SHOWN) {
        screen.say(wrong);
    }
    if wrongs.into_iter().any(|wrong| !wrong.is_empty()) {
        screen.say(&format!("the nodes' logs are in {}", cluster.keep_folder().display()));
    }
    cluster.stop().await?;
    let (takeovers, whole_again) = (Samples::new(takeovers), Samples::new(whole_again));
    let mut figures = Figures {
        takeovers: takeovers.count(),
        profile: options.profile,
        takeover_ms_p50: rounded(takeovers.percentile_ms(50.0)),
        takeover_ms_p99: rounded(takeovers.percentile_ms(99.0)),
        takeover_ms_max: rounded(takeovers.percentile_ms(100.0)),
        whole_again_ms_p50: rounded(whole_again.percentile_ms(50.0)),
        unasked,
        not_taken_over,
        switches: options.switch.then(|| added(&switches, not_switched, &requests.acknowledged)),
        transactions: requests.acknowledged.len(),
        lost: lost.len(),
        doubled: doubled.len(),
        failed: requests.failed.len(),
        limits: Vec::new(),
    };
    figures.limits = figures.limits();
    Ok(figures)
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
    let plan = Plan { members, folder: None, lifetime: Lifetime::OfStarter, settings, distances: Distances::OfCities };
    let mut cluster = Cluster::prepare(executable, plan).await?;
    cluster.start().await?;
    cluster.federate().await?;
    cluster.make_pair(0, &WITNESSES.map(|(name, _)| name)).await?;
    cluster.nodes[0].ask("define", json!({ "text": load::DEFINITION })).await?;
    Ok(cluster)
}

struct Measured {
    takeovers: Vec<Duration>,
    whole_again: Vec<Duration>,
    unasked: usize,
    not_taken_over: usize,
    not_switched: usize,
    switches: Vec<Switch>,
    requests: Requests,
    /// What is wrong with what was acknowledged.
    lost: Vec<String>,
}

/// From when until when a switch may have held a request up.
#[derive(Clone, Copy, Debug)]
struct Switch {
    asked: Instant,
    over: Instant,
}

/// Kill and switch while orders come in, and ask for all of them in the end.
async fn under_load(cluster: &mut Cluster, counter: &Counter, options: &Options, screen: Screen) -> Result<Measured> {
    // Services and clients are told of one sub-node and of no other.
    let address = cluster.nodes[0].home.cxip.to_string();
    let service = counter.attach(&address).await?;
    let client = Client::connect(&address, "bench-takeover").await?;
    let load = Load::begin(&client, options.clients);
    let (mut expected, _) = cluster.wait_until_whole(0).await?;
    let (mut takeovers, mut whole_again, mut switches) = (Vec::new(), Vec::new(), Vec::new());
    let (mut requests, mut unasked, mut not_taken_over, mut not_switched) = (Requests::default(), 0, 0, 0);
    for place in 1..=options.count {
        let active = active_after_peace(cluster).await?;
        unasked += usize::from(active != expected);
        let Killed { at, submitted, whole, is_taken_over } = kill(cluster, active, &client, &load.numbers).await?;
        let takeover = submitted.acknowledged.duration_since(at);
        screen.say(&format!(
            "{place}: killed in {}, acknowledged again after {} ms, whole again {} ms after its start",
            cluster.subnode(0, active)?.home.city,
            takeover.as_millis(),
            whole.as_millis()
        ));
        takeovers.push(takeover);
        whole_again.push(whole);
        requests.acknowledged.push(submitted);
        not_taken_over += usize::from(!is_taken_over);
        expected = if is_taken_over { active.other() } else { active };
    }
    let planned = if options.switch { options.count } else { 0 };
    for place in 1..=planned {
        let active = active_after_peace(cluster).await?;
        unasked += usize::from(active != expected);
        let asked = Instant::now();
        let is_switched = match cluster.subnode(0, active)?.ask("pair-switch", json!({})).await {
            Ok(_) => true,
            Err(error) if is_not_ready(&error) => {
                screen.say(&format!("{place}: {error:#}"));
                false
            }
            Err(error) => return Err(error),
        };
        let submitted = submit(&client, &load.numbers).await.map_err(anyhow::Error::msg)?;
        let over = submitted.acknowledged;
        let took = over.duration_since(asked).as_millis();
        screen.say(&format!("{place}: let the other serve, and a request after that acknowledged, in {took} ms"));
        switches.push(Switch { asked, over });
        requests.acknowledged.push(submitted);
        not_switched += usize::from(!is_switched);
        expected = if is_switched { active.other() } else { active };
    }
    let (active, _) = cluster.wait_until_whole(0).await?;
    unasked += usize::from(active != expected);
    requests.extend(load.end().await?);
    let lost = lost(&client, counter, &requests.acknowledged).await;
    drop(client);
    service.stop().await;
    Ok(Measured { takeovers, whole_again, unasked, not_taken_over, not_switched, switches, requests, lost })
}

/// Let the pair work for a moment; which sub-node serves then, with the other one whole.
async fn active_after_peace(cluster: &Cluster) -> Result<Side> {
    sleep(Duration::from_millis(fastrand::u64(PEACE_MS))).await;
    Ok(cluster.wait_until_whole(0).await?.0)
}

struct Killed {
    at: Instant,
    /// The first order after it.
    submitted: Submitted,
    /// How long after its start the pair was whole.
    whole: Duration,
    is_taken_over: bool,
}

/// Kill the active sub-node, submit, and start it again.
async fn kill(cluster: &mut Cluster, active: Side, client: &Client, numbers: &AtomicU64) -> Result<Killed> {
    let at = Instant::now();
    cluster.subnode_mut(0, active)?.kill().await?;
    // Made after the kill, so that the dead one cannot have acknowledged it.
    let mut submission = std::pin::pin!(submit(client, numbers));
    let submitted = timeout(TAKEOVER_WAIT_MAX, &mut submission).await.ok();
    let is_taken_over = submitted.is_some();
    let started = Instant::now();
    cluster.subnode_mut(0, active)?.start().await?;
    let submitted = match submitted {
        Some(submitted) => submitted,
        None => submission.await,
    };
    let submitted = submitted.map_err(anyhow::Error::msg)?;
    cluster.wait_until_whole(0).await?;
    Ok(Killed { at, submitted, whole: started.elapsed(), is_taken_over })
}

/// How much longer than usual the slowest request took that was under way in each switch.
fn added(switches: &[Switch], not_switched: usize, requests: &[Submitted]) -> Switches {
    let is_within = |switch: &Switch, begun: Instant, end: Instant| begun < switch.over && end > switch.asked;
    let first = switches.first().map(|switch| switch.asked);
    let durations = |end: fn(&Submitted) -> Instant| {
        let since = move |it: &Submitted| end(it).duration_since(it.begun);
        let calm = requests.iter().filter(|it| first.is_some_and(|first| it.begun > first));
        let calm = calm.filter(|it| !switches.iter().any(|switch| is_within(switch, it.begun, end(it))));
        let usual = Samples::new(calm.map(since).collect()).percentile(50.0);
        let slowest = switches
            .iter()
            .filter_map(|switch| requests.iter().filter(|it| is_within(switch, it.begun, end(it))).map(since).max());
        (usual, Samples::new(slowest.map(|it| it.saturating_sub(usual)).collect()))
    };
    let ((usual, acknowledged), (_, answered)) = (durations(|it| it.acknowledged), durations(|it| it.ended));
    Switches {
        switches: switches.len(),
        not_switched,
        usual_ms_p50: rounded(usual.as_secs_f64() * 1_000.0),
        switch_ms_p50: rounded(acknowledged.percentile_ms(50.0)),
        switch_ms_p99: rounded(acknowledged.percentile_ms(99.0)),
        switch_ms_max: rounded(acknowledged.percentile_ms(100.0)),
        switch_answered_ms_p50: rounded(answered.percentile_ms(50.0)),
        switch_answered_ms_p99: rounded(answered.percentile_ms(99.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hansa_sdk::TransactionId;

    // M3: what a switch costs is what its slowest request took beyond the usual.
    #[test]
    fn the_slowest_request_of_each_switch_counts() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let request = |begun, acknowledged, ended| Submitted {
            number: 0,
            transaction: TransactionId(0),
            begun: at(begun),
            acknowledged: at(acknowledged),
            ended: at(ended),
            wrong: None,
        };
        let requests = [
            request(0, 90, 95),
            request(110, 115, 120),
            request(120, 125, 130),
            request(190, 240, 250),
            request(195, 205, 206),
            request(300, 305, 310),
            request(395, 420, 600),
        ];
        let switches = [Switch { asked: at(100), over: at(105) }, Switch { asked: at(200), over: at(230) }];
        let figures = added(&switches, 1, &requests);
        assert_eq!((figures.switches, figures.not_switched, figures.usual_ms_p50), (2, 1, 5.0));
        assert_eq!((figures.switch_ms_max, figures.switch_answered_ms_p99), (45.0, 50.0));
        let json = serde_json::to_value(&figures).unwrap();
        assert!(json["switch_ms_p50"].is_number() && json["switch_ms_p99"].is_number());
    }

    #[test]
    fn figures_stand_beside_what_is_promised() {
        let mut figures = Figures {
            takeovers: 50,
            profile: Profile::Lan,
            takeover_ms_p50: 350.0,
            takeover_ms_p99: 1_500.0,
            takeover_ms_max: 2_000.0,
            whole_again_ms_p50: 900.0,
            unasked: 0,
            not_taken_over: 0,
            switches: None,
            transactions: 1,
            lost: 0,
            doubled: 0,
            failed: 0,
            limits: Vec::new(),
        };
        let ratios = |figures: &Figures| figures.limits().iter().map(|it| it.ratio).collect::<Vec<_>>();
        assert_eq!(ratios(&figures), [0.5, 1.0]);
        figures.profile = Profile::Default;
        assert_eq!(ratios(&figures), [0.25]);
        assert!(serde_json::to_value(&figures).unwrap().get("switches").is_none(), "nobody asked for it");
    }
}
