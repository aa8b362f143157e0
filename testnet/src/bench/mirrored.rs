//! What a mirror costs (M1): the load of `hansa testnet bench transactions` on a node with a mirror, beside what the same load came to
//! without one in the same run. Both sub-nodes are on this machine, and share its processors and its disk; a second pair has a line
//! between them that is as long as between two cities.

use super::{
    Laboratory, document_of,
    machine::Limits,
    samples::{Samples, rounded},
    transactions::{Alone, DEFINITION, DURABLE_STEPS, Options, Window, attach, clients},
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

/// What was measured with a mirror.
#[derive(Clone, Debug, Serialize)]
pub struct Mirrored {
    /// Transactions that ended, a second.
    pub transactions_per_second: f64,
    /// Which part of those without a mirror that is.
    pub throughput_ratio: f64,
    /// Which part it shall be at least.
    pub throughput_ratio_min: f64,
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
    /// One sync and one round trip, as measured in this run.
    pub added_limit_ms: f64,
    /// How many times that it is.
    pub added_ratio: f64,
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

/// Measure; `without` is what the same load came to on a node without a mirror.
pub(super) async fn measure(
    executable: &Executable,
    options: &Options,
    limits: &Limits,
    without: (&Window, &Alone),
) -> Result<Mirrored> {
    let laboratory = Laboratory::open_pair(executable, DEFINITION).await?;
    let address = laboratory.address();
    let services = attach(&address).await?;
    let document = document_of(options.document_bytes)?;
    let clients = clients(&address, options.concurrency).await?;
    let measured = Duration::from_secs(options.seconds);
    let aside = measured / 5;
    let mirror = laboratory.cluster.subnode(0, Side::Second)?.pid().context("the mirror does not run")?;
    let epoch = laboratory.pair().await?.epoch;
    let before = Usage::of(mirror)?;
    let window = Window::measure(&laboratory, &clients, options.concurrency, &document, aside, measured).await?;
    // Of the warm-up as well: that is part of the same load.
    let used = Usage::of(mirror)?.since(before).processor.mul_f64(measured.div_duration_f64(measured + aside));
    let alone = Alone::measure(&clients[0], &document, aside).await?;
    let pair = laboratory.pair().await?;
    ensure!(
        pair.mode == "pair" && pair.epoch == epoch,
        "the pair was not whole all the time, so that nothing was measured: {pair:?}"
    );
    drop((clients, services, laboratory));
    let apart = Apart::measure(executable, &document, aside).await?;
    Ok(figures(limits, without, (&window, &alone), used, &apart))
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
        let laboratory = Laboratory::open_pair_in(executable, DEFINITION, cities, Distances::OfCities).await?;
        let address = laboratory.address();
        let services = attach(&address).await?;
        let clients = clients(&address, 1).await?;
        let alone = Alone::measure(&clients[0], document, measured).await?;
        let began = Instant::now();
        let round_trip_ms = loop {
            match laboratory.round_trip_ms().await? {
                Some(measured) => break measured,
                None if began.elapsed() > MEASURED_WAIT_MAX => bail!("the node did not measure the way to its witness"),
                None => sleep(Duration::from_millis(100)).await,
            }
        };
        drop((clients, services, laboratory));
        Ok(Self { alone, round_trip_ms })
    }
}

fn figures(
    limits: &Limits,
    without: (&Window, &Alone),
    with: (&Window, &Alone),
    mirror: Duration,
    apart: &Apart,
) -> Mirrored {
    let rate = |window: &Window| window.latencies.count() as f64 / window.seconds;
    let p50 = |samples: &Samples| samples.percentile_ms(50.0);
    let each = |window: &Window, processor: Duration| {
        rounded(processor.as_secs_f64() * 1_000.0 / window.latencies.count() as f64)
    };
    let cpu = |window: &Window| window.node.processor + window.bench.processor;
    let ((window_alone, single_alone), (window, single)) = (without, with);
    let added = p50(&single.acknowledged) - p50(&single_alone.acknowledged);
    let added_limit = (limits.fdatasync_p50 + limits.loopback_rtt_p50).as_secs_f64() * 1_000.0;
    let apart_added = p50(&apart.alone.acknowledged) - p50(&single_alone.acknowledged);
    let apart_limit = limits.fdatasync_p50.as_secs_f64() * 1_000.0 + apart.round_trip_ms;
    let added_whole = p50(&single.answered) - p50(&single_alone.answered);
    Mirrored {
        transactions_per_second: rounded(rate(window)),
        throughput_ratio: rounded(rate(window) / rate(window_alone)),
        throughput_ratio_min: THROUGHPUT_RATIO_MIN,
        latency_ms_p50: rounded(p50(&window.latencies)),
        latency_ms_p99: rounded(window.latencies.percentile_ms(99.0)),
        single_client_latency_ms_p50: rounded(p50(&single.answered)),
        acknowledged_ms_p50: rounded(p50(&single.acknowledged)),
        acknowledged_alone_ms_p50: rounded(p50(&single_alone.acknowledged)),
        added_ms_p50: rounded(added),
        added_limit_ms: rounded(added_limit),
        added_ratio: rounded(added / added_limit),
        added_ratio_max: ADDED_RATIO_MAX,
        apart_round_trip_ms: rounded(apart.round_trip_ms),
        apart_added_ms_p50: rounded(apart_added),
        apart_added_ratio: rounded(apart_added / apart_limit),
        added_each_step_ms_p50: rounded(added_whole / f64::from(DURABLE_STEPS)),
        cpu_ms_per_transaction: each(window, cpu(window) + mirror),
        mirror_cpu_ms_per_transaction: each(window, mirror),
        cpu_alone_ms_per_transaction: each(window_alone, cpu(window_alone)),
    }
}

/// Print it, for a person.
pub(super) fn show(figures: &Mirrored, screen: Screen) {
    let row = |what: &str, figure: String, beside: String, ratio: String| vec![what.to_owned(), figure, beside, ratio];
    let none = String::new;
    let rows = [
        row("with a mirror on this machine", "figure".into(), "limit".into(), "ratio".into()),
        row(
            "transactions a second",
            format!("{:.0}", figures.transactions_per_second),
            format!("at least {:.2} of those without a mirror", figures.throughput_ratio_min),
            format!("{:.2}", figures.throughput_ratio),
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
                "{:.3} ms (one sync and one round trip), at most {:.1} times",
                figures.added_limit_ms, figures.added_ratio_max
            ),
            format!("{:.2}", figures.added_ratio),
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
            fdatasync_p50: Duration::from_micros(100),
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
        let without = (&window(0.5), &alone(300, 1_200));
        let apart = Apart { alone: alone(12_600, 50_000), round_trip_ms: 12.2 };
        let figures = figures(&limits, without, (&window(1.0), &alone(480, 2_000)), Duration::from_millis(100), &apart);
        assert_eq!((figures.apart_added_ms_p50, figures.apart_added_ratio), (12.3, 1.0));
        assert_eq!((figures.transactions_per_second, figures.throughput_ratio), (1_000.0, 0.5));
        assert_eq!((figures.added_ms_p50, figures.added_limit_ms, figures.added_ratio), (0.18, 0.15, 1.2));
        assert_eq!(figures.added_each_step_ms_p50, 0.2);
        let cpu = (figures.cpu_alone_ms_per_transaction, figures.cpu_ms_per_transaction);
        assert_eq!((cpu, figures.mirror_cpu_ms_per_transaction), ((0.2, 0.3), 0.1));
    }
}
