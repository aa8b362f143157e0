//! `hansa testnet bench recovery`: many transactions in flight, the node killed with SIGKILL and started again; how soon it
//! listens, how soon every held operation is delivered again, how soon every transaction has ended.

use super::{Laboratory, document_of, ensure_document_bytes, samples::rounded};
use crate::{
    demo::event::milliseconds,
    process::Executable,
    screen::{Screen, table},
};
use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use hansa_core::{ident::InvocationId, limit};
use hansa_sdk::{Client, Ending, Request, Running, Service, Submission, Text};
use serde::Serialize;
use serde_json::json;
use std::{
    collections::HashSet,
    future::pending,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{sync::watch, task::JoinSet, time::timeout};

const DEFINITION: &str = include_str!("../../data/bench-hold.xml");
const OPERATION: &str = "bench-held";
/// As many as the connections of one client hold without a response.
const SUBMISSIONS_PER_CLIENT: usize = limit::SUBMISSIONS_OPEN;
/// Submissions on their way at once.
const SUBMITTERS: usize = 256;
const IN_FLIGHT_MAX: usize = 100_000;
/// Bytes of a document that is there to fill the journal: still one that travels in the records.
const FILLING_BYTES: usize = 32 * 1024;
/// Nothing here takes longer.
const WAIT_MAX: Duration = Duration::from_secs(120);
const MIB: u64 = 1024 * 1024;
/// The most that a node's configuration takes for `journal.checkpoint_mib`.
const CHECKPOINT_MIB_MAX: u64 = 65_536;
const JOURNAL_BYTES_MAX: u64 = 16 * 1024 * MIB;

/// What to measure.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Transactions in flight when the node is killed
    #[arg(long, default_value_t = 10_000)]
    pub in_flight: usize,
    /// Fill the journal with so many bytes before, all of which the node then has to read again
    #[arg(long, default_value_t = 0)]
    pub journal_bytes: u64,
    /// Bytes of a document
    #[arg(long, default_value_t = 500)]
    pub document_bytes: usize,
}

/// What was measured, in milliseconds from the start of the new process.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Transactions that were in flight, each with one operation that its service held.
    pub in_flight: usize,
    /// The node listens again.
    pub ready_ms: f64,
    /// Every held operation has been delivered again to its service, and answered.
    pub all_resumed_ms: f64,
    /// The client has heard the end of every transaction.
    pub all_ended_ms: f64,
    /// Bytes of the journal when the node was killed.
    pub journal_bytes: u64,
    /// How long it took to submit all of them and to have all of them delivered, before the kill.
    pub submitted_ms: u64,
}

/// Measure and print.
///
/// # Errors
/// A transaction was lost, the node does not do what it must, or the options are out of bounds.
pub async fn run(executable: &Executable, options: &Options, screen: Screen) -> Result<()> {
    let figures = measure(executable, options, screen).await?;
    let row = |what: &str, figure: String| vec![what.to_owned(), figure];
    let rows = [
        row("transactions in flight when the node was killed", figures.in_flight.to_string()),
        row("bytes of its journal", figures.journal_bytes.to_string()),
        row("from the start of the new process until it listens", format!("{:.0} ms", figures.ready_ms)),
        row("… until every operation was delivered again", format!("{:.0} ms", figures.all_resumed_ms)),
        row("… until the client has heard the end of every one", format!("{:.0} ms", figures.all_ended_ms)),
    ];
    table(&rows).iter().for_each(|line| screen.say(line));
    screen.object(&figures);
    Ok(())
}

/// Measure.
///
/// # Errors
/// A transaction was lost, the node does not do what it must, or the options are out of bounds.
pub async fn measure(executable: &Executable, options: &Options, screen: Screen) -> Result<Figures> {
    ensure!((1..=IN_FLIGHT_MAX).contains(&options.in_flight), "--in-flight is 1 to {IN_FLIGHT_MAX}");
    ensure!(options.journal_bytes <= JOURNAL_BYTES_MAX, "--journal-bytes is at most {JOURNAL_BYTES_MAX}");
    ensure_document_bytes(options.document_bytes)?;
    let mut laboratory = Laboratory::open(executable, settings(options.journal_bytes)?, DEFINITION).await?;
    let address = laboratory.address();

    if options.journal_bytes > 0 {
        screen.say(&format!("filling the journal with {} bytes …", options.journal_bytes));
        fill(&laboratory, options.journal_bytes).await?;
    }
    screen.say(&format!("{} transactions, each with an operation that its service holds …", options.in_flight));
    let began = Instant::now();
    let held = Desk::new(true);
    let services = held.attach(&address, options.in_flight).await?;
    let submissions = submit_all(&address, options).await?;
    within("the operations were not all delivered", held.delivered(options.in_flight)).await?;
    let submitted_ms = milliseconds(began.elapsed());
    let journal_bytes = journal_bytes(&laboratory).await?;

    screen.say("SIGKILL, and start again …");
    laboratory.node_mut().kill().await?;
    // The services die with it, so that nothing but a new delivery can bring an answer.
    drop(services);
    let answered = Desk::new(false);
    let started = laboratory.node_mut().launch()?;
    laboratory.node_mut().wait_until_ready().await?;
    let ready = started.elapsed();
    let _services = answered.attach(&address, options.in_flight).await?;
    let resumed = async {
        within("the operations were not all delivered again", answered.delivered(options.in_flight)).await?;
        anyhow::Ok(started.elapsed())
    };
    let ended = async {
        within("the transactions did not all end", all_ended(submissions)).await??;
        anyhow::Ok(started.elapsed())
    };
    let (resumed, ended) = tokio::try_join!(resumed, ended)?;
    ensure!(answered.same_as(&held), "other operations were delivered after the restart than before it");
    let in_milliseconds = |duration: Duration| rounded(duration.as_secs_f64() * 1_000.0);
    Ok(Figures {
        in_flight: options.in_flight,
        ready_ms: in_milliseconds(ready),
        all_resumed_ms: in_milliseconds(resumed),
        all_ended_ms: in_milliseconds(ended),
        journal_bytes,
        submitted_ms,
    })
}

/// With a journal of a certain size wanted, no checkpoint may cut it off before.
fn settings(journal_bytes: u64) -> Result<toml::Table> {
    if journal_bytes == 0 {
        return Ok(toml::Table::new());
    }
    let checkpoint_mib = (journal_bytes.div_ceil(MIB) * 2 + 1_024).min(CHECKPOINT_MIB_MAX);
    Ok(toml::Table::try_from(json!({ "journal": { "checkpoint_mib": checkpoint_mib } }))?)
}

async fn within<T>(otherwise: &str, work: impl Future<Output = T>) -> Result<T> {
    timeout(WAIT_MAX, work).await.with_context(|| format!("{otherwise} within {} s", WAIT_MAX.as_secs()))
}

async fn journal_bytes(laboratory: &Laboratory) -> Result<u64> {
    let status = laboratory.node().ask("status", json!({})).await?;
    status["journal"]["bytes"].as_u64().context("the node does not say how large its journal is")
}

/// A service that notes what it is asked, and holds its answers or gives them.
#[derive(Clone, Debug)]
struct Desk(Arc<Notes>);

#[derive(Debug)]
struct Notes {
    holds: bool,
    seen: Mutex<HashSet<InvocationId>>,
    count: watch::Sender<usize>,
}

impl Desk {
    fn new(holds: bool) -> Self {
        Self(Arc::new(Notes { holds, seen: Mutex::default(), count: watch::Sender::new(0) }))
    }

    fn note(&self, invocation: InvocationId) {
        let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(invocation);
        self.0.count.send_replace(seen.len());
    }

    async fn perform(self, request: Request) -> Result<Text, hansa_sdk::Fault> {
        self.note(request.invocation());
        if self.0.holds {
            pending::<()>().await;
        }
        Ok(request.document().clone())
    }

    /// As many connections as it takes to hold so many operations at once.
    async fn attach(&self, address: &str, operations: usize) -> Result<Vec<Running>> {
        let credit = limit::SESSION_CREDIT_MAX;
        let mut running = Vec::new();
        for _ in 0..=operations.div_ceil(credit as usize) {
            let desk = self.clone();
            let service = Service::new(OPERATION)?.credit(credit).patience(WAIT_MAX);
            let service = service.operation(OPERATION, move |request| desk.clone().perform(request))?;
            running.push(service.attach(address).await?);
        }
        Ok(running)
    }

    /// Wait until so many different operations have arrived.
    async fn delivered(&self, operations: usize) {
        // The sender lives in `self`, so the wait cannot fail.
        let _ = self.0.count.subscribe().wait_for(|count| *count >= operations).await;
    }

    fn same_as(&self, other: &Self) -> bool {
        let seen = |desk: &Self| desk.0.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        seen(self) == seen(other)
    }
}

/// Submit them all; every one is acknowledged when this returns.
async fn submit_all(address: &str, options: &Options) -> Result<Vec<Submission>> {
    let document = document_of(options.document_bytes)?;
    let mut clients = Vec::new();
    for number in 0..options.in_flight.div_ceil(SUBMISSIONS_PER_CLIENT) {
        clients.push(Client::connect(address, &format!("bench-{number}")).await?);
    }
    let mut tasks = JoinSet::new();
    let mut submissions = Vec::with_capacity(options.in_flight);
    for number in 0..options.in_flight {
        if tasks.len() == SUBMITTERS
            && let Some(submission) = tasks.join_next().await
        {
            submissions.push(submission??);
        }
        // Each client has as many as it can hold open.
        let client = clients[number / SUBMISSIONS_PER_CLIENT].clone();
        let document = document.clone();
        tasks.spawn(async move { client.submit("bench-hold", document).await });
    }
    while let Some(submission) = tasks.join_next().await {
        submissions.push(submission??);
    }
    Ok(submissions)
}

async fn all_ended(submissions: Vec<Submission>) -> Result<()> {
    for mut submission in submissions {
        let response = submission.response().await?;
        let Ending::Completed(_) = response.ending else {
            bail!("transaction {} ended as {}", response.transaction, response.ending.word())
        };
    }
    Ok(())
}

/// Run transactions with large documents until the journal has so many bytes.
async fn fill(laboratory: &Laboratory, journal_bytes_wanted: u64) -> Result<()> {
    let address = laboratory.address();
    let _services = Desk::new(false).attach(&address, SUBMITTERS).await?;
    let client = Client::connect(&address, "filling").await?;
    let document = document_of(FILLING_BYTES)?;
    let began = Instant::now();
    while journal_bytes(laboratory).await? < journal_bytes_wanted {
        ensure!(began.elapsed() < WAIT_MAX, "the journal was not full within {} s", WAIT_MAX.as_secs());
        let one = || async { client.submit("bench-hold", document.clone()).await?.response().await };
        for response in futures::future::try_join_all((0..SUBMITTERS).map(|_| one())).await? {
            ensure!(
                matches!(response.ending, Ending::Completed(_)),
                "a transaction ended as {}",
                response.ending.word()
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_checkpoint_cuts_a_journal_that_shall_grow() {
        assert!(settings(0).unwrap().is_empty());
        let checkpoint_mib = settings(1_000_000_000).unwrap()["journal"]["checkpoint_mib"].as_integer().unwrap();
        assert!(checkpoint_mib as u64 * MIB > 1_000_000_000);
    }

    #[tokio::test]
    async fn a_desk_counts_each_operation_once() {
        let desk = Desk::new(false);
        for id in [1, 2, 2, 3] {
            desk.note(InvocationId(id));
        }
        desk.delivered(3).await;
        assert_eq!(*desk.0.count.borrow(), 3);
        assert!(!desk.same_as(&Desk::new(true)));
    }
}
