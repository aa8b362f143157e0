//! What a mirror costs (M1): the load of `hansa testnet bench transactions` on a node with a mirror, beside what the same load came to
//! without one, in turns, so that what else the machine does weighs on both alike. Both sub-nodes are on this machine, and share its
//! processors and its disk; then each has [processors of its own](super::sites). A second pair has a line between them that is as long as
//! between two cities.

use super::{
    Laboratory,
    machine::Limits,
    samples::{Samples, median, rounded},
    sites::{Halves, Sites},
    transactions::{Alone, DEFINITION, DURABLE_STEPS, Options, Staffed, Window},
    usage::Usage,
};
use crate::{
    cities::City,
    cluster::Distances,
    pair::Side,
    process::Executable,
    screen::{Screen, Tone, table},
};
use anyhow::{Context as _, Result, bail, ensure};
use hansa_core::document::Text;
use serde::Serialize;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Which part of the throughput without a mirror there shall be at least with one.
const THROUGHPUT_RATIO_MIN: f64 = 0.75;
/// How many times one sync and one round trip an acknowledgement may take longer.
const ADDED_RATIO_MAX: f64 = 1.2;

/// Where the mirror is not on this machine, as it were: where the two sub-nodes are.
const ACTIVE_CITY: &str = "Hamburg";
const MIRROR_CITY: &str = "London";
/// How long the node may take until it has measured the way to its witness.
const MEASURED_WAIT_MAX: Duration = Duration::from_secs(30);

/// Turns without a mirror and with one.
const ROUNDS: u32 = 5;

/// What was measured with a mirror: of each figure the median of all rounds.
#[derive(Clone, Debug, Serialize)]
pub struct Mirrored {
    /// How often it was measured, in turns with a node without a mirror.
    pub rounds: usize,
    /// Transactions that ended, a second.
    pub transactions_per_second: f64,
    /// The same without a mirror.
    pub transactions_per_second_alone: f64,
    /// Which part of those without a mirror, in the turn before it, that is.
    pub throughput_ratio: f64,
    /// In the round where it was the least.
    pub throughput_ratio_least: f64,
    /// In the round where it was the most.
    pub throughput_ratio_most: f64,
    /// Which part it shall be at least.
    pub throughput_ratio_min: f64,
    /// The throughput where each site has processors of its own; not where there is only one.
    pub sites: Option<Sites>,
    /// Half of them took so long.
    pub latency_ms_p50: f64,
    /// All but one in a hundred took at most so long.
    pub latency_ms_p99: f64,
    /// Half of the transactions of a client alone took so long.
    pub single_client_latency_ms_p50: f64,
    /// Half of them were acknowledged after so long.
    pub acknowledged_ms_p50: f64,
    /// The same without a mirror.
    pub acknowledged_alone_ms_p50: f64,
    /// How much longer an acknowledgement takes than without a mirror.
    pub added_ms_p50: f64,
    /// One sync, as a journal with one client makes it, and one round trip, as measured in this run.
    pub added_limit_ms: f64,
    /// How many times that it is.
    pub added_ratio: f64,
    /// How many times one sync in a loop that does nothing else, and one round trip, it is.
    pub added_ratio_bare: f64,
    /// How many times it shall be at most.
    pub added_ratio_max: f64,
    /// How long a word from one city to another and back takes, where the mirror is in another.
    pub apart_round_trip_ms: f64,
    /// How much longer an acknowledgement takes there than without a mirror.
    pub apart_added_ms_p50: f64,
    /// How many times one sync and one round trip that is.
    pub apart_added_ratio: f64,
    /// How much longer a whole transaction takes, for each of its durable steps, one after the other.
    pub added_each_step_ms_p50: f64,
    /// Processor time a transaction, of both sub-nodes and of services and clients.
    pub cpu_ms_per_transaction: f64,
    /// Of that, the mirror's.
    pub mirror_cpu_ms_per_transaction: f64,
    /// Processor time a transaction without a mirror.
    pub cpu_alone_ms_per_transaction: f64,
}

/// What was measured in one turn without a mirror and one with it.
struct Round {
    limits: Limits,
    without: (Window, Alone),
    with: (Window, Alone),
    /// Processor time of the mirror.
    mirror: Duration,
}

impl Round {
    async fn measure(options: &Options, document: &Text, without: &Staffed, with: &Staffed) -> Result<Self> {
        let measured = Duration::from_secs(options.seconds) / ROUNDS;
        let aside = measured / 5;
        let limits = without.limits().await?;
        let alone = without.measure(options.concurrency, document, aside, measured).await?;
        let mirror = with.laboratory.cluster.subnode(0, Side::Second)?.pid().context("the mirror does not run")?;
        let before = Usage::of(mirror)?;
        let (laboratory, clients) = (&with.laboratory, &with.clients);
        let window = Window::measure(laboratory, clients, options.concurrency, document, aside, measured).await?;
        // Of the warm-up as well: that is part of the same load.
        let used = Usage::of(mirror)?.since(before).processor.mul_f64(measured.div_duration_f64(measured + aside));
        let single = Alone::measure(&clients[0], document, aside).await?;
        Ok(Self { limits, without: alone, with: (window, single), mirror: used })
    }

    /// One sync and one round trip, in milliseconds.
    fn added_limit(&self) -> f64 {
        (self.limits.journal_sync_p50 + self.limits.loopback_rtt_p50).as_secs_f64() * 1_000.0
    }

    /// The same, if the disk did nothing but sync.
    fn added_limit_bare(&self) -> f64 {
        (self.limits.fdatasync_p50 + self.limits.loopback_rtt_p50).as_secs_f64() * 1_000.0
    }

    /// How much later an acknowledgement comes, in milliseconds.
    fn added(&self) -> f64 {
        p50(&self.with.1.acknowledged) - p50(&self.without.1.acknowledged)
    }
}

/// Measure, in turns with `without`, a node that has no mirror: a machine that others use is not as fast all the time.
pub(super) async fn measure(
    executable: &Executable,
    options: &Options,
    document: &Text,
    without: &Staffed,
) -> Result<Mirrored> {
    let with = Staffed::with(Laboratory::open_pair(executable, DEFINITION).await?, options.concurrency).await?;
    let epoch = with.laboratory.pair().await?.epoch;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push(Round::measure(options, document, without, &with).await?);
    }
    let sites = measure_sites(options, document, without, &with).await?;
    let pair = with.laboratory.pair().await?;
    ensure!(
        pair.mode == "pair" && pair.epoch == epoch,
        "the pair was not whole all the time, so that nothing was measured: {pair:?}"
    );
    drop(with);
    let apart = Apart::measure(executable, document, Duration::from_secs(options.seconds) / 5).await?;
    Ok(figures(&rounds, sites, &apart))
}

/// The throughput of both, in turns, where the mirror has processors of its own.
async fn measure_sites(options: &Options, document: &Text, without: &Staffed, with: &Staffed) -> Result<Option<Sites>> {
    let Some(halves) = Halves::of_this_machine() else { return Ok(None) };
    let measured = Duration::from_secs(options.seconds) / ROUNDS;
    let pid =
        |staffed: &Staffed, side| staffed.laboratory.cluster.subnode(0, side)?.pid().context("a node does not run");
    let users = [std::process::id(), pid(without, Side::First)?, pid(with, Side::First)?];
    let _confined = halves.confine(&users, &[pid(with, Side::Second)?])?;
    let rate = async |Staffed { laboratory, clients, .. }: &Staffed| {
        let window = Window::measure(laboratory, clients, options.concurrency, document, measured / 5, measured);
        window.await.map(|window| window.rate())
    };
    let mut turns = Vec::new();
    for _ in 0..ROUNDS {
        turns.push((rate(without).await?, rate(with).await?));
    }
    Ok(Some(Sites::of(halves.processors, &turns)))
}

/// One client alone, whose node has its mirror in another city.
struct Apart {
    alone: Alone,
    round_trip_ms: f64,
}

impl Apart {
    async fn measure(executable: &Executable, document: &Text, measured: Duration) -> Result<Self> {
        let city = |name| City::named(name).with_context(|| format!("{name} is no city that is known here"));
        let cities = [city(ACTIVE_CITY)?, city(MIRROR_CITY)?];
        let laboratory = Laboratory::open_pair_in(executable, DEFINITION, cities, Distances::OfCities, None).await?;
        let staffed = Staffed::with(laboratory, 1).await?;
        let alone = Alone::measure(&staffed.clients[0], document, measured).await?;
        let began = Instant::now();
        let round_trip_ms = loop {
            match staffed.laboratory.round_trip_ms().await? {
                Some(measured) => break measured,
                None if began.elapsed() > MEASURED_WAIT_MAX => bail!("the node did not measure the way to its witness"),
                None => sleep(Duration::from_millis(100)).await,
            }
        };
        Ok(Self { alone, round_trip_ms })
    }
}

fn p50(samples: &Samples) -> f64 {
    samples.percentile_ms(50.0)
}

/// The median of all rounds, of everything.
fn figures(rounds: &[Round], sites: Option<Sites>, apart: &Apart) -> Mirrored {
    let of = |figure: &dyn Fn(&Round) -> f64| median(rounds.iter().map(figure));
    let rate = Window::rate;
    let each =
        |window: &Window, processor: Duration| processor.as_secs_f64() * 1_000.0 / window.latencies.count() as f64;
    let cpu = |window: &Window| window.node.processor + window.bench.processor;
    let acknowledged_alone = of(&|round| p50(&round.without.1.acknowledged));
    let apart_added = p50(&apart.alone.acknowledged) - acknowledged_alone;
    let apart_limit = of(&|round| round.limits.journal_sync_p50.as_secs_f64() * 1_000.0) + apart.round_trip_ms;
    let added_whole = of(&|round| p50(&round.with.1.answered) - p50(&round.without.1.answered));
    let ratios = || rounds.iter().map(|round| rate(&round.with.0) / rate(&round.without.0));
    Mirrored {
        rounds: rounds.len(),
        transactions_per_second: rounded(of(&|round| rate(&round.with.0))),
        transactions_per_second_alone: rounded(of(&|round| rate(&round.without.0))),
        throughput_ratio: rounded(median(ratios())),
        throughput_ratio_least: rounded(ratios().fold(f64::INFINITY, f64::min)),
        throughput_ratio_most: rounded(ratios().fold(0.0, f64::max)),
        throughput_ratio_min: THROUGHPUT_RATIO_MIN,
        sites,
        latency_ms_p50: rounded(of(&|round| p50(&round.with.0.latencies))),
        latency_ms_p99: rounded(of(&|round| round.with.0.latencies.percentile_ms(99.0))),
        single_client_latency_ms_p50: rounded(of(&|round| p50(&round.with.1.answered))),
        acknowledged_ms_p50: rounded(of(&|round| p50(&round.with.1.acknowledged))),
        acknowledged_alone_ms_p50: rounded(acknowledged_alone),
        added_ms_p50: rounded(of(&Round::added)),
        added_limit_ms: rounded(of(&Round::added_limit)),
        added_ratio: rounded(of(&|round| round.added() / round.added_limit())),
        added_ratio_bare: rounded(of(&|round| round.added() / round.added_limit_bare())),
        added_ratio_max: ADDED_RATIO_MAX,
        apart_round_trip_ms: rounded(apart.round_trip_ms),
        apart_added_ms_p50: rounded(apart_added),
        apart_added_ratio: rounded(apart_added / apart_limit),
        added_each_step_ms_p50: rounded(added_whole / f64::from(DURABLE_STEPS)),
        cpu_ms_per_transaction: rounded(of(&|round| each(&round.with.0, cpu(&round.with.0) + round.mirror))),
        mirror_cpu_ms_per_transaction: rounded(of(&|round| each(&round.with.0, round.mirror))),
        cpu_alone_ms_per_transaction: rounded(of(&|round| each(&round.without.0, cpu(&round.without.0)))),
    }
}

/// Print it, for a person.
pub(super) fn show(figures: &Mirrored, screen: Screen) {
    let row = |what: &str, figure: String, beside: String, ratio: String| vec![what.to_owned(), figure, beside, ratio];
    let none = String::new;
    let mut rows = vec![
        row("with a mirror on this machine", "figure".into(), "limit".into(), "ratio".into()),
        row(
            "transactions a second",
            format!("{:.0}", figures.transactions_per_second),
            format!(
                "at least {:.2} of those without a mirror, {:.0}",
                figures.throughput_ratio_min, figures.transactions_per_second_alone
            ),
            format!(
                "{:.2} ({:.2} to {:.2} in {} rounds)",
                figures.throughput_ratio, figures.throughput_ratio_least, figures.throughput_ratio_most, figures.rounds
            ),
        ),
        row("  latency p50", format!("{:.2} ms", figures.latency_ms_p50), none(), none()),
        row("  latency p99", format!("{:.2} ms", figures.latency_ms_p99), none(), none()),
        row(
            "one client alone, latency p50",
            format!("{:.2} ms", figures.single_client_latency_ms_p50),
            format!("more than without, for each durable step: {:.3} ms", figures.added_each_step_ms_p50),
            none(),
        ),
        row(
            "  its acknowledgement comes later by, p50",
            format!("{:.3} ms", figures.added_ms_p50),
            format!(
                "{:.3} ms (one sync of a journal and one round trip), at most {:.1} times",
                figures.added_limit_ms, figures.added_ratio_max
            ),
            format!("{:.2} ({:.2} if the disk did nothing but sync)", figures.added_ratio, figures.added_ratio_bare),
        ),
        row(
            "  with and without a mirror, p50",
            format!("{:.3} ms", figures.acknowledged_ms_p50),
            format!("{:.3} ms", figures.acknowledged_alone_ms_p50),
            none(),
        ),
        row(
            "  the same with the mirror in another city, p50",
            format!("{:.3} ms", figures.apart_added_ms_p50),
            format!(
                "one sync and one round trip of {:.3} ms ({ACTIVE_CITY} to {MIRROR_CITY}), at most {:.1} times",
                figures.apart_round_trip_ms, figures.added_ratio_max
            ),
            format!("{:.2}", figures.apart_added_ratio),
        ),
        row(
            "processor time a transaction",
            format!("{:.3} ms", figures.cpu_ms_per_transaction),
            format!(
                "of it the mirror's: {:.3} ms; without a mirror {:.3} ms",
                figures.mirror_cpu_ms_per_transaction, figures.cpu_alone_ms_per_transaction
            ),
            none(),
        ),
    ];
    if let Some(sites) = &figures.sites {
        let (one, least) = (sites.processors, figures.throughput_ratio_min);
        let alone = sites.transactions_per_second_alone;
        let figures = row(
            &format!("  the same with {one} of the processors for each site"),
            format!("{:.0}", sites.transactions_per_second),
            format!("at least {least:.2} of those without a mirror, {alone:.0}"),
            format!(
                "{:.2} ({:.2} to {:.2})",
                sites.throughput_ratio, sites.throughput_ratio_least, sites.throughput_ratio_most
            ),
        );
        rows.insert(2, figures);
    }
    for (place, line) in table(&rows).iter().enumerate() {
        screen.say(&if place == 0 { screen.tone(Tone::Strong, line) } else { line.clone() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_mirror_costs_is_the_difference_to_the_same_load_without_one() {
        let limits = Limits {
            fdatasync_p50: Duration::from_micros(70),
            journal_sync_p50: Duration::from_micros(100),
            loopback_rtt_p50: Duration::from_micros(50),
            processors: 2,
        };
        let used = |ms| Usage { processor: Duration::from_millis(ms), bytes_written: 0 };
        let window = |seconds| Window {
            latencies: Samples::new(vec![Duration::from_millis(40); 1_000]),
            seconds,
            node: used(150),
            bench: used(50),
            stages: Vec::new(),
        };
        let alone = |acknowledged, answered| Alone {
            acknowledged: Samples::new(vec![Duration::from_micros(acknowledged)]),
            answered: Samples::new(vec![Duration::from_micros(answered)]),
        };
        let round = |seconds_with, acknowledged_with| Round {
            limits,
            without: (window(0.5), alone(300, 1_200)),
            with: (window(seconds_with), alone(acknowledged_with, 2_000)),
            mirror: Duration::from_millis(100),
        };
        // What a busy moment did to one round is not what is told.
        let rounds = [round(1.0, 480), round(9.0, 900), round(0.8, 450)];
        let apart = Apart { alone: alone(12_600, 50_000), round_trip_ms: 12.2 };
        let figures = figures(&rounds, None, &apart);
        assert_eq!((figures.apart_added_ms_p50, figures.apart_added_ratio), (12.3, 1.0));
        let rates = (figures.transactions_per_second, figures.transactions_per_second_alone);
        assert_eq!((rates, figures.throughput_ratio), ((1_000.0, 2_000.0), 0.5));
        assert_eq!((figures.throughput_ratio_least, figures.throughput_ratio_most), (0.056, 0.625));
        assert_eq!((figures.added_ms_p50, figures.added_limit_ms, figures.added_ratio), (0.18, 0.15, 1.2));
        assert_eq!(figures.added_ratio_bare, 1.5);
        assert_eq!(figures.added_each_step_ms_p50, 0.2);
        let cpu = (figures.cpu_alone_ms_per_transaction, figures.cpu_ms_per_transaction);
        assert_eq!((cpu, figures.mirror_cpu_ms_per_transaction), ((0.2, 0.3), 0.1));
    }
}
