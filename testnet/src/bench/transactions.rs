//! `hansa testnet bench transactions`: how many three-operation transactions a second one node carries, each step durable
//! before it is acted on, and how long one takes with many in flight and with one.

use super::{
    Laboratory, document_of, ensure_document_bytes,
    machine::Limits,
    mirrored::{self, Mirrored},
    samples::{Samples, rounded},
    stages::{self, Spent, Stage},
    stored::{self, Point},
    usage::Usage,
};
use crate::{
    process::Executable,
    screen::{Screen, Tone, table},
};
use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use hansa_core::document::Text;
use hansa_sdk::{Client, Ending, Request, Running, Service};
use serde::Serialize;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

pub(super) const DEFINITION: &str = include_str!("../../data/bench-three.xml");
const OPERATIONS: [&str; 3] = ["bench-first", "bench-second", "bench-third"];
/// Durable steps of one transaction, one after the other: its submission and three answers.
pub(super) const DURABLE_STEPS: u32 = 4;
/// Round trips of one transaction, one after the other: its submission with its response, and three performances.
const ROUND_TRIPS: u32 = 4;
/// Transactions of one connection at once; more clients share the load.
const IN_FLIGHT_PER_CONNECTION: usize = 64;
const CONNECTIONS_MAX: usize = 8;
const CONCURRENCY_MAX: usize = 4_096;
const SECONDS_MAX: u64 = 30;
/// No transaction of a benchmark takes longer.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(20);

/// What to measure.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Transactions in flight
    #[arg(long, default_value_t = 256)]
    pub concurrency: usize,
    /// How long to measure; before it the node warms up for a fifth of that, after it one client alone is measured for a
    /// fifth. With --pair, as long in turns with a mirror and without
    #[arg(long, default_value_t = 12)]
    pub seconds: u64,
    /// Bytes of a document
    #[arg(long, default_value_t = 500)]
    pub document_bytes: usize,
    /// After that, show what a transaction costs while the node stores 1, 1,000, 100,000 … up to so many others
    #[arg(long, value_name = "TRANSACTIONS")]
    pub stored: Option<u64>,
    /// After that, the same again in turns with a node that has a mirror and with this one
    #[arg(long)]
    pub pair: bool,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Transactions that ended, a second.
    pub transactions_per_second: f64,
    /// Half of them took so long.
    pub latency_ms_p50: f64,
    /// All but one in a hundred took at most so long.
    pub latency_ms_p99: f64,
    /// How many were in flight.
    pub in_flight: usize,
    /// Half of the transactions of a client alone took so long.
    pub single_client_latency_ms_p50: f64,
    /// All but one in a hundred of them took at most so long.
    pub single_client_latency_ms_p99: f64,
    /// Processor time a transaction, of the node and of the services and clients.
    pub cpu_ms_per_transaction: f64,
    /// Of that, the node's.
    pub node_cpu_ms_per_transaction: f64,
    /// Bytes that the node had written to disk, a transaction.
    pub bytes_written_per_transaction: f64,
    /// A durable write of 512 bytes on this machine.
    pub fdatasync_us_p50: f64,
    /// A durable write of 1,024 bytes as the journal of a node with one client makes it.
    pub journal_sync_us_p50: f64,
    /// A round trip of 512 bytes over loopback on this machine.
    pub loopback_rtt_us_p50: f64,
    /// What the durable writes and round trips of one transaction take on this machine at least.
    pub single_client_limit_ms: f64,
    /// How many times that the single client's transactions took.
    pub single_client_ratio: f64,
    /// How many transactions a second this machine's processors would allow if they did nothing else.
    pub processor_limit_transactions_per_second: f64,
    /// Which part of that was reached.
    pub processor_ratio: f64,
    /// Processors.
    pub processors: usize,
    /// Bytes of a document.
    pub document_bytes: usize,
    /// Transactions that were counted.
    pub transactions: usize,
    /// How long they were counted.
    pub seconds: f64,
    /// What the processor time goes into.
    pub stages: Vec<Stage>,
    /// What a transaction costs while others are stored, where that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stored: Vec<Point>,
    /// The same with a mirror, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pair: Option<Mirrored>,
}

/// Measure and print.
///
/// # Errors
/// The node does not do what it must, or the options are out of bounds.
pub async fn run(executable: &Executable, options: &Options, screen: Screen) -> Result<()> {
    let figures = measure(executable, options, screen).await?;
    show(&figures, screen);
    screen.object(&figures);
    Ok(())
}

/// Measure.
///
/// # Errors
/// The node does not do what it must, or the options are out of bounds.
pub async fn measure(executable: &Executable, options: &Options, screen: Screen) -> Result<Figures> {
    ensure!((1..=CONCURRENCY_MAX).contains(&options.concurrency), "--concurrency is 1 to {CONCURRENCY_MAX}");
    ensure!((1..=SECONDS_MAX).contains(&options.seconds), "--seconds is 1 to {SECONDS_MAX}");
    ensure_document_bytes(options.document_bytes)?;
    let laboratory = Laboratory::open(executable, toml::Table::new(), DEFINITION).await?;
    let staffed = Staffed::with(laboratory, options.concurrency).await?;
    // With everything else at rest.
    let limits = staffed.limits().await?;
    let document = document_of(options.document_bytes)?;
    let measured = Duration::from_secs(options.seconds);
    let aside = measured / 5;
    screen.say(&format!("{} transactions in flight for {} s …", options.concurrency, options.seconds));
    let (window, alone) = staffed.measure(options.concurrency, &document, aside, measured).await?;
    let mut figures = figures(options, &limits, &window, &alone.answered);
    if options.pair {
        screen.say("the same with a mirror and without, in turns …");
        figures.pair = Some(mirrored::measure(executable, options, &document, &staffed).await?);
    }
    drop(staffed);
    if let Some(transactions) = options.stored {
        figures.stored = stored::curve(executable, options, transactions, screen).await?;
    }
    Ok(figures)
}

/// A node with services and clients.
pub(super) struct Staffed {
    pub clients: Vec<Client>,
    _services: Vec<Running>,
    pub laboratory: Laboratory,
}

impl Staffed {
    /// As many clients as share so many transactions in flight.
    pub(super) async fn with(laboratory: Laboratory, concurrency: usize) -> Result<Self> {
        let address = laboratory.address();
        let services = attach(&address).await?;
        Ok(Self { clients: clients(&address, concurrency).await?, _services: services, laboratory })
    }

    /// What this machine can do, as it is now.
    pub(super) async fn limits(&self) -> Result<Limits> {
        let folder = self.laboratory.node().home.data.clone();
        tokio::task::spawn_blocking(move || Limits::measure(&folder)).await?
    }

    /// Measure with so many transactions in flight, after a warm-up of `aside`, and then for as long one client alone.
    pub(super) async fn measure(
        &self,
        concurrency: usize,
        document: &Text,
        aside: Duration,
        measured: Duration,
    ) -> Result<(Window, Alone)> {
        let window = Window::measure(&self.laboratory, &self.clients, concurrency, document, aside, measured).await?;
        Ok((window, Alone::measure(&self.clients[0], document, aside).await?))
    }
}

/// As many clients as share so many transactions in flight.
pub(super) async fn clients(address: &str, concurrency: usize) -> Result<Vec<Client>> {
    let connections = concurrency.div_ceil(IN_FLIGHT_PER_CONNECTION).clamp(1, CONNECTIONS_MAX);
    let mut clients = Vec::with_capacity(connections);
    for number in 1..=connections {
        clients.push(Client::connect(address, &format!("bench-{number}")).await?);
    }
    Ok(clients)
}

/// What one client alone has to wait for.
#[derive(Clone, Debug)]
pub(super) struct Alone {
    /// Until the node has its transaction for good.
    pub acknowledged: Samples,
    /// Until the response.
    pub answered: Samples,
}

impl Alone {
    /// Let a client submit one transaction after the other for so long.
    pub(super) async fn measure(client: &Client, document: &Text, measured: Duration) -> Result<Self> {
        let mut load = Load::begin(std::slice::from_ref(client), 1, document);
        load.run_for(measured.max(Duration::from_millis(500))).await?;
        let ended = load.end().await?;
        ensure!(!ended.is_empty(), "no transaction ended in the time that was measured");
        Ok(Self {
            acknowledged: Samples::new(ended.iter().map(|it| it.acknowledged).collect()),
            answered: Samples::new(ended.iter().map(|it| it.answered).collect()),
        })
    }
}

/// What happened in a stretch of time under load.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub latencies: Samples,
    pub seconds: f64,
    pub node: Usage,
    pub bench: Usage,
    pub stages: Vec<Stage>,
}

impl Window {
    /// Transactions that ended, a second.
    pub(super) fn rate(&self) -> f64 {
        self.latencies.count() as f64 / self.seconds
    }

    /// Let the clients keep so many transactions in flight, warm up, and measure.
    pub(super) async fn measure(
        laboratory: &Laboratory,
        clients: &[Client],
        concurrency: usize,
        document: &Text,
        warm_up: Duration,
        measured: Duration,
    ) -> Result<Self> {
        let pid = laboratory.node().pid().context("the node does not run")?;
        let usage = || anyhow::Ok((Usage::of(pid)?, Usage::of_this_process()?, Instant::now()));
        let mut load = Load::begin(clients, concurrency, document);
        load.run_for(warm_up).await?;
        let spent = Spent::of(laboratory.node()).await?;
        let before = usage()?;
        load.run_for(measured).await?;
        let after = usage()?;
        let spent_after = Spent::of(laboratory.node()).await?;
        let ended = load.end().await?.into_iter().filter(|it| (before.2..after.2).contains(&it.at));
        let latencies = Samples::new(ended.map(|it| it.answered).collect());
        ensure!(latencies.count() > 0, "no transaction ended in the time that was measured");
        let bench = after.1.since(before.1);
        Ok(Self {
            stages: spent_after.shares_since(&spent, bench.processor, latencies.count()),
            seconds: after.2.duration_since(before.2).as_secs_f64(),
            node: after.0.since(before.0),
            latencies,
            bench,
        })
    }
}

fn figures(options: &Options, limits: &Limits, window: &Window, alone: &Samples) -> Figures {
    let Window { latencies, seconds, node, bench, stages } = window;
    let transactions = latencies.count();
    let per_transaction = |amount: f64| rounded(amount / transactions as f64);
    let node_cpu_ms = node.processor.as_secs_f64() * 1_000.0;
    let cpu_ms = node_cpu_ms + bench.processor.as_secs_f64() * 1_000.0;
    let rate = transactions as f64 / seconds;
    let limit = limits.fdatasync_p50 * DURABLE_STEPS + limits.loopback_rtt_p50 * ROUND_TRIPS;
    let limit_ms = limit.as_secs_f64() * 1_000.0;
    let processor_limit = limits.processors as f64 * 1_000.0 / (cpu_ms / transactions as f64);
    Figures {
        transactions_per_second: rounded(rate),
        latency_ms_p50: rounded(latencies.percentile_ms(50.0)),
        latency_ms_p99: rounded(latencies.percentile_ms(99.0)),
        in_flight: options.concurrency,
        single_client_latency_ms_p50: rounded(alone.percentile_ms(50.0)),
        single_client_latency_ms_p99: rounded(alone.percentile_ms(99.0)),
        cpu_ms_per_transaction: per_transaction(cpu_ms),
        node_cpu_ms_per_transaction: per_transaction(node_cpu_ms),
        bytes_written_per_transaction: per_transaction(node.bytes_written as f64),
        fdatasync_us_p50: rounded(limits.fdatasync_p50.as_secs_f64() * 1e6),
        journal_sync_us_p50: rounded(limits.journal_sync_p50.as_secs_f64() * 1e6),
        loopback_rtt_us_p50: rounded(limits.loopback_rtt_p50.as_secs_f64() * 1e6),
        single_client_limit_ms: rounded(limit_ms),
        single_client_ratio: rounded(alone.percentile_ms(50.0) / limit_ms),
        processor_limit_transactions_per_second: rounded(processor_limit),
        processor_ratio: rounded(rate / processor_limit),
        processors: limits.processors,
        document_bytes: options.document_bytes,
        transactions,
        seconds: rounded(*seconds),
        stages: stages.clone(),
        stored: Vec::new(),
        pair: None,
    }
}

/// Three services, one for each operation, each on a connection of its own; they answer with what they are given.
pub(super) async fn attach(address: &str) -> Result<Vec<Running>> {
    let mut running = Vec::new();
    for operation in OPERATIONS {
        let service = Service::new(operation)?.credit(hansa_core::limit::SESSION_CREDIT_MAX);
        let service = service.operation(operation, |request: Request| async move { Ok(request.document().clone()) })?;
        running.push(service.attach(address).await?);
    }
    Ok(running)
}

/// Clients that each submit the next transaction when the last has ended.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Result<Vec<Ended>>>,
}

/// A transaction that was answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    /// When.
    pub at: Instant,
    /// How long after its submission it was acknowledged.
    pub acknowledged: Duration,
    /// How long after its submission it was answered.
    pub answered: Duration,
}

impl Load {
    pub(super) fn begin(clients: &[Client], in_flight: usize, document: &Text) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for client in clients.iter().cycle().take(in_flight) {
            tasks.spawn(submit_until(client.clone(), document.clone(), Arc::clone(&stop)));
        }
        Self { stop, tasks }
    }

    /// Let it go on for so long.
    pub(super) async fn run_for(&mut self, duration: Duration) -> Result<()> {
        tokio::select! {
            () = sleep(duration) => Ok(()),
            // None ends before it is asked to, unless it failed.
            Some(ended) = self.tasks.join_next() => ended?.map(|_| ()),
        }
    }

    /// Submit nothing more and wait for what is in flight.
    pub(super) async fn end(mut self) -> Result<Vec<Ended>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        while let Some(ended) = self.tasks.join_next().await {
            all.extend(ended??);
        }
        Ok(all)
    }
}

async fn submit_until(client: Client, document: Text, stop: Arc<AtomicBool>) -> Result<Vec<Ended>> {
    let mut ended = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        ended.push(submit(&client, &document, Instant::now()).await?);
    }
    Ok(ended)
}

/// Run one transaction, which was to begin at `began`.
pub(super) async fn submit(client: &Client, document: &Text, began: Instant) -> Result<Ended> {
    let answered = async {
        let mut submission = client.submit("bench-three", document.clone()).await?;
        let acknowledged = began.elapsed();
        anyhow::Ok((submission.response().await?, acknowledged))
    };
    let answered = timeout(ANSWER_WAIT_MAX, answered).await.context("a transaction was not answered in time")?;
    let (response, acknowledged) = answered?;
    let Ending::Completed(_) = response.ending else {
        bail!("transaction {} ended as {}", response.transaction, response.ending.word())
    };
    let at = Instant::now();
    Ok(Ended { at, acknowledged, answered: at.duration_since(began) })
}

fn show(figures: &Figures, screen: Screen) {
    let row = |what: &str, figure: String, limit: String, ratio: String| vec![what.to_owned(), figure, limit, ratio];
    let none = String::new;
    let rows = [
        row("", "figure".into(), "limit of this machine, measured now".into(), "ratio".into()),
        row(
            &format!("transactions a second, {} in flight", figures.in_flight),
            format!("{:.0}", figures.transactions_per_second),
            format!(
                "{:.0} ({} processors doing nothing else)",
                figures.processor_limit_transactions_per_second, figures.processors
            ),
            format!("{:.2}", figures.processor_ratio),
        ),
        row("  latency p50", format!("{:.2} ms", figures.latency_ms_p50), none(), none()),
        row("  latency p99", format!("{:.2} ms", figures.latency_ms_p99), none(), none()),
        row(
            "one client alone, latency p50",
            format!("{:.2} ms", figures.single_client_latency_ms_p50),
            format!(
                "{:.2} ms ({DURABLE_STEPS} × {:.0} µs fdatasync + {ROUND_TRIPS} × {:.0} µs loopback round trip)",
                figures.single_client_limit_ms, figures.fdatasync_us_p50, figures.loopback_rtt_us_p50
            ),
            format!("{:.2}", figures.single_client_ratio),
        ),
        row(
            "processor time a transaction",
            format!("{:.3} ms", figures.cpu_ms_per_transaction),
            format!("of it the node's: {:.3} ms", figures.node_cpu_ms_per_transaction),
            none(),
        ),
        row(
            "bytes written a transaction",
            format!("{:.0}", figures.bytes_written_per_transaction),
            format!("four documents: {}", figures.document_bytes * 4),
            format!("{:.2}", figures.bytes_written_per_transaction / (figures.document_bytes * 4) as f64),
        ),
    ];
    for (place, line) in table(&rows).iter().enumerate() {
        screen.say(&if place == 0 { screen.tone(Tone::Strong, line) } else { line.clone() });
    }
    screen.say(&format!("of the processor time: {}", stages::in_words(&figures.stages)));
    stored::show(&figures.stored, screen);
    if let Some(pair) = &figures.pair {
        mirrored::show(pair, screen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_stand_beside_the_limits_of_the_same_run() {
        let limits = Limits {
            fdatasync_p50: Duration::from_micros(100),
            journal_sync_p50: Duration::from_micros(130),
            loopback_rtt_p50: Duration::from_micros(50),
            processors: 2,
        };
        let options = Options { concurrency: 256, seconds: 1, document_bytes: 500, stored: None, pair: false };
        let used = |ms, bytes_written| Usage { processor: Duration::from_millis(ms), bytes_written };
        let window = Window {
            latencies: Samples::new(vec![Duration::from_millis(40); 1_000]),
            seconds: 0.5,
            node: used(150, 3_000_000),
            bench: used(50, 0),
            stages: Spent::default().shares_since(&Spent::default(), Duration::from_millis(50), 1_000),
        };
        let alone = Samples::new(vec![Duration::from_micros(1_200)]);
        let figures = figures(&options, &limits, &window, &alone);
        assert_eq!((figures.transactions_per_second, figures.latency_ms_p50), (2_000.0, 40.0));
        assert_eq!((figures.single_client_limit_ms, figures.single_client_ratio), (0.6, 2.0));
        assert_eq!((figures.cpu_ms_per_transaction, figures.node_cpu_ms_per_transaction), (0.2, 0.15));
        assert_eq!((figures.processor_limit_transactions_per_second, figures.processor_ratio), (10_000.0, 0.2));
        assert_eq!(figures.bytes_written_per_transaction, 3_000.0);
        let json = serde_json::to_value(&figures).unwrap();
        let promised =
            ["in_flight", "latency_ms_p99", "fdatasync_us_p50", "journal_sync_us_p50", "loopback_rtt_us_p50"];
        for promised in promised {
            assert!(json[promised].is_number(), "{promised}");
        }
        assert_eq!(json["stages"][1]["share"], 1.0);
        assert!(json.get("stored").is_none(), "nobody asked for it");
    }
}
