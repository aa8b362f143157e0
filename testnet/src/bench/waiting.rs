//! `hansa testnet bench waiting`: so many transactions waiting at once on one node, every second one for a signal and the
//! others for a service: its memory, how soon one that is woken has ended, and how soon the node is there again after
//! SIGKILL with all of them.

use super::{
    Laboratory,
    choir::{Choir, Part},
    document_of, ensure_document_bytes,
    samples::{Samples, rounded},
    usage::Memory,
};
use crate::{
    demo::event::milliseconds,
    process::Executable,
    screen::{Screen, Tone, table},
};
use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use hansa_core::{document::Text, ident::TransactionId, limit};
use hansa_sdk::{Client, Ending, Submission};
use serde::Serialize;
use serde_json::json;
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

const DEFINITION: &str = include_str!("../../data/bench-hold.xml");
const OPERATION: &str = "bench-held";
const SIGNAL_DEFINITION: &str = include_str!("../../data/bench-signal.xml");
const SIGNAL: &str = "bench-go";
/// As many as a node takes, less those that would be refused while the last are on their way.
const INSTANCES_MAX: usize = limit::SERVICE_SESSIONS_MAX * limit::SESSION_CREDIT_MAX as usize;
/// Submissions on their way at once.
const SUBMITTERS: usize = 512;
/// Clients that share the submitting.
const CLIENTS: usize = 8;
/// A node puts away what has rested for two seconds, and looks every second; then its memory is what waiting costs.
const SETTLING: Duration = Duration::from_secs(5);
/// Nothing here takes longer.
const WAIT_MAX: Duration = Duration::from_secs(1_800);
/// One that is woken takes no longer.
const WAKE_MAX: Duration = Duration::from_secs(20);
/// The memory that a node with a million of them may have, and how soon one of them that is woken must have ended.
const MEMORY_LIMIT_BYTES: u64 = 4 << 30;
const WAKE_LIMIT_MS: f64 = 5.0;
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// What to measure.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Transactions that wait at once
    #[arg(long, default_value_t = 1_000_000)]
    pub instances: usize,
    /// How many of them, taken at random, are woken one by one
    #[arg(long, default_value_t = 1_000)]
    pub woken: usize,
    /// Bytes of a document
    #[arg(long, default_value_t = 500)]
    pub document_bytes: usize,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Transactions that waited, each for a service that has taken its operation and does not answer, or for a signal, and
    /// each with a TIMEOUT that has not come.
    pub waiting: usize,
    /// Those of them that waited for a signal.
    pub waiting_for_signals: usize,
    /// Transactions that were taken a second while they were submitted.
    pub submitted_per_second: f64,
    /// Memory of the node while all of them wait and nothing else happens.
    pub memory_bytes: u64,
    /// What it may have.
    pub memory_limit_bytes: u64,
    /// The one over the other.
    pub memory_ratio: f64,
    /// The most that it had until then.
    pub memory_bytes_max: u64,
    /// What one that waits takes.
    pub memory_bytes_per_transaction: f64,
    /// How many were woken, one by one.
    pub woken: usize,
    /// From the service's answer, or the client's signal, until the client has heard the end: half of those that were woken
    /// took so long.
    pub wake_ms_p50: f64,
    /// How long that may take.
    pub wake_limit_ms: f64,
    /// The half of them over that.
    pub wake_ratio_p50: f64,
    /// The longest over that.
    pub wake_ratio_max: f64,
    /// All but one in a hundred took at most so long.
    pub wake_ms_p99: f64,
    /// The longest.
    pub wake_ms_max: f64,
    /// How many of those that were woken waited for a signal.
    pub signalled: usize,
    /// The same times for these alone.
    pub signal_ms_p50: f64,
    /// All but one in a hundred took at most so long.
    pub signal_ms_p99: f64,
    /// The longest.
    pub signal_ms_max: f64,
    /// From the start of the new process after SIGKILL until it listens.
    pub restart_ready_ms: f64,
    /// … until every transaction was told of the restart.
    pub restart_resumed_ms: f64,
    /// … until every operation was delivered again to its service.
    pub restart_delivered_ms: f64,
    /// Bytes of a document.
    pub document_bytes: usize,
}

/// Measure and print.
///
/// # Errors
/// A transaction was lost, the node does not do what it must, or the options are out of bounds.
pub async fn run(executable: &Executable, options: &Options, screen: Screen) -> Result<()> {
    let figures = measure(executable, options, screen).await?;
    let row = |what: &str, figure: String| vec![what.to_owned(), figure, String::new(), String::new()];
    let mib = |bytes: u64| format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20));
    let limited = |what: &str, figure: String, limit: String, ratio: f64| {
        vec![what.to_owned(), figure, limit, format!("{ratio:.2}")]
    };
    let wake = |what: &str, ms: f64| {
        limited(what, format!("{ms:.2} ms"), format!("{:.0} ms", figures.wake_limit_ms), ms / figures.wake_limit_ms)
    };
    let rows = [
        vec![String::new(), "figure".into(), "limit".into(), "ratio".into()],
        row("transactions that wait", figures.waiting.to_string()),
        row("  of them for a signal", figures.waiting_for_signals.to_string()),
        row("taken a second while they came", format!("{:.0}", figures.submitted_per_second)),
        limited("memory of the node", mib(figures.memory_bytes), mib(figures.memory_limit_bytes), figures.memory_ratio),
        row("  the most it had", mib(figures.memory_bytes_max)),
        row("  a transaction", format!("{:.0} B", figures.memory_bytes_per_transaction)),
        wake("woken, p50", figures.wake_ms_p50),
        wake("  p99", figures.wake_ms_p99),
        wake("  the longest", figures.wake_ms_max),
        wake("  by a signal, p50", figures.signal_ms_p50),
        row("restart after SIGKILL: listens", format!("{:.0} ms", figures.restart_ready_ms)),
        row("  every transaction was told", format!("{:.0} ms", figures.restart_resumed_ms)),
        row("  every operation is at its service again", format!("{:.0} ms", figures.restart_delivered_ms)),
    ];
    for (place, line) in table(&rows).iter().enumerate() {
        screen.say(&if place == 0 { screen.tone(Tone::Strong, line) } else { line.clone() });
    }
    screen.object(&figures);
    Ok(())
}

/// Measure.
///
/// # Errors
/// A transaction was lost, the node does not do what it must, or the options are out of bounds.
pub async fn measure(executable: &Executable, options: &Options, screen: Screen) -> Result<Figures> {
    let Options { instances, woken, document_bytes } = *options;
    ensure!((1..=INSTANCES_MAX).contains(&instances), "--instances is 1 to {INSTANCES_MAX}");
    ensure!((1..=instances).contains(&woken), "--woken is 1 to the number of instances");
    ensure_document_bytes(document_bytes)?;
    let mut laboratory = Laboratory::open(executable, toml::Table::new(), DEFINITION).await?;
    laboratory.define(SIGNAL_DEFINITION).await?;
    let pid = laboratory.node().pid().context("the node does not run")?;
    let address = laboratory.address();
    let document = document_of(document_bytes)?;
    let idle = Memory::of(pid)?;

    screen.say(&format!("{instances} transactions that will wait …"));
    let for_signals = (0..instances).filter(|number| waits_for(*number) == Cause::Signal).count();
    let for_services = instances - for_signals;
    let mut choir = Choir::attach(&address, desks(for_services)).await?;
    let began = Instant::now();
    let mut sample = submit_all(&address, instances, woken, &document).await?;
    let submitted = began.elapsed();
    within("the operations were not all delivered", choir.delivered(for_services)).await??;
    sleep(SETTLING).await;
    let memory = Memory::of(pid)?;

    screen.say(&format!("waking {woken} of them, one by one …"));
    let client = Client::connect(&address, "bench-signals").await?;
    let (mut latencies, mut of_signals) = (Vec::with_capacity(woken), Vec::new());
    for (transaction, (cause, submission)) in &mut sample {
        let began = Instant::now();
        match cause {
            Cause::Service => choir.answer(*transaction, document.clone())?,
            Cause::Signal => drop(client.signal(*transaction, SIGNAL, document.clone()).await?),
        }
        let response = timeout(WAKE_MAX, submission.response()).await.context("one that was woken did not end")??;
        let latency = began.elapsed();
        latencies.push(latency);
        if *cause == Cause::Signal {
            of_signals.push(latency);
        }
        let Ending::Completed(_) = response.ending else { bail!("one ended as {}", response.ending.word()) };
    }
    drop((sample, client));
    let signalled = of_signals.len();
    let (latencies, of_signals) = (Samples::new(latencies), Samples::new(of_signals));

    screen.say("SIGKILL, and start again …");
    laboratory.node_mut().kill().await?;
    drop(choir);
    let (left, left_to_services) = (instances - woken, for_services - (woken - signalled));
    let started = laboratory.node_mut().launch()?;
    laboratory.node_mut().wait_until_ready().await?;
    let ready = started.elapsed();
    let mut choir = Choir::attach(&address, desks(left_to_services.max(1))).await?;
    within("the transactions were not all told of the restart", resumed(&laboratory, left)).await??;
    let told = started.elapsed();
    within("the operations were not all delivered again", choir.delivered(left_to_services)).await??;
    let delivered = started.elapsed();
    let each = memory.resident_bytes.saturating_sub(idle.resident_bytes) as f64 / instances as f64;
    Ok(Figures {
        waiting: instances,
        waiting_for_signals: for_signals,
        submitted_per_second: rounded(instances as f64 / submitted.as_secs_f64()),
        memory_bytes: memory.resident_bytes,
        memory_limit_bytes: MEMORY_LIMIT_BYTES,
        memory_ratio: rounded(memory.resident_bytes as f64 / MEMORY_LIMIT_BYTES as f64),
        memory_bytes_max: memory.resident_bytes_max,
        memory_bytes_per_transaction: rounded(each),
        woken,
        wake_ms_p50: rounded(latencies.percentile_ms(50.0)),
        wake_limit_ms: WAKE_LIMIT_MS,
        wake_ratio_p50: rounded(latencies.percentile_ms(50.0) / WAKE_LIMIT_MS),
        wake_ratio_max: rounded(latencies.percentile_ms(100.0) / WAKE_LIMIT_MS),
        wake_ms_p99: rounded(latencies.percentile_ms(99.0)),
        wake_ms_max: rounded(latencies.percentile_ms(100.0)),
        signalled,
        signal_ms_p50: rounded(of_signals.percentile_ms(50.0)),
        signal_ms_p99: rounded(of_signals.percentile_ms(99.0)),
        signal_ms_max: rounded(of_signals.percentile_ms(100.0)),
        restart_ready_ms: milliseconds(ready) as f64,
        restart_resumed_ms: milliseconds(told) as f64,
        restart_delivered_ms: milliseconds(delivered) as f64,
        document_bytes,
    })
}

/// What a transaction waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Service,
    Signal,
}

/// What transaction `number` waits for: every second one for a signal.
fn waits_for(number: usize) -> Cause {
    if number % 2 == 1 { Cause::Signal } else { Cause::Service }
}

/// One service with as many connections as it takes to hold so many operations.
fn desks(instances: usize) -> Part {
    let connections = instances.div_ceil(limit::SESSION_CREDIT_MAX as usize).max(1);
    Part { connections: vec![vec!["bench-desk".to_owned()]; connections], operation: OPERATION, holds: true }
}

async fn within<T>(otherwise: &str, work: impl Future<Output = T>) -> Result<T> {
    timeout(WAIT_MAX, work).await.with_context(|| format!("{otherwise} within {} s", WAIT_MAX.as_secs()))
}

/// Submit them all; each is acknowledged when this returns. The client goes on listening to some of them, taken at random,
/// and forgets the others.
async fn submit_all(
    address: &str,
    instances: usize,
    woken: usize,
    document: &Text,
) -> Result<HashMap<TransactionId, (Cause, Submission)>> {
    let mut chosen = fastrand::Rng::new().choose_multiple(0..instances, woken);
    chosen.sort_unstable();
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let client = Client::named(&format!("bench-{number}")).submissions_open_max(instances);
        clients.push(client.connect(address).await?);
    }
    let mut tasks = JoinSet::new();
    let mut sample = HashMap::new();
    let mut chosen = chosen.into_iter().peekable();
    for number in 0..instances {
        if tasks.len() == SUBMITTERS
            && let Some(submission) = tasks.join_next().await
        {
            keep(&mut sample, submission??);
        }
        let is_chosen = chosen.next_if_eq(&number).is_some();
        let (client, document) = (clients[number % CLIENTS].clone(), document.clone());
        tasks.spawn(async move {
            let cause = waits_for(number);
            let definition = if cause == Cause::Signal { "bench-signal" } else { "bench-hold" };
            let submission = client.submit(definition, document).await?;
            anyhow::Ok(is_chosen.then_some((cause, submission)))
        });
    }
    while let Some(submission) = tasks.join_next().await {
        keep(&mut sample, submission??);
    }
    Ok(sample)
}

fn keep(sample: &mut HashMap<TransactionId, (Cause, Submission)>, submission: Option<(Cause, Submission)>) {
    sample.extend(submission.map(|(cause, submission)| (submission.transaction(), (cause, submission))));
}

/// Wait until the node counts so many open transactions: until then the restart is still going through the store.
async fn resumed(laboratory: &Laboratory, transactions: usize) -> Result<()> {
    loop {
        let status = laboratory.node().ask("status", json!({})).await?;
        if status["transactions"]["open"].as_u64() >= Some(transactions as u64) {
            return Ok(());
        }
        sleep(LOOK_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_connections_as_it_takes_to_hold_them_all() {
        assert_eq!(desks(1).connections.len(), 1);
        assert_eq!(desks(4_096).connections.len(), 1);
        assert_eq!(desks(4_097).connections.len(), 2);
        assert_eq!(desks(INSTANCES_MAX).connections.len(), limit::SERVICE_SESSIONS_MAX);
    }
}
