//! `hansa testnet bench catchup`: the mirror of a pair is away while so many entries are written, comes back, and catches up while the
//! active sub-node serves at half of what it carries with its mirror; how fast it is, and what whoever is served meanwhile feels of it
//! (M1). A mirror stands on a machine of its own; here, where it shares processors with the active, its process has them only while
//! nobody else wants them (`chrt --idle`), until it has nearly everything, unless there is so little to catch up with that nobody feels
//! it. Its files are in memory, where there is room, or in a folder on another disk: two journals on one disk wait for each other's
//! syncs, which two machines never do.
//! Now and then it stands still: a machine that others use is not as fast all the time, so that what requests take beside a mirror that
//! catches up is held against what they take in the same minutes without one.

use super::{
    Laboratory, document_of, ensure_document_bytes,
    samples::{Samples, rounded},
    transactions::{DEFINITION, Ended, Load, attach, clients, submit},
};
use crate::{
    cities::CITIES,
    cluster::Distances,
    pair::Side,
    process::Executable,
    screen::{Screen, Tone, table},
};
use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use hansa_core::document::Text;
use hansa_sdk::Client;
use serde::Serialize;
use std::{
    ops::Range,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, sleep_until},
};

const ENTRIES_MAX: u64 = 50_000_000;
const CONCURRENCY_MAX: usize = 4_096;
const SECONDS_MAX: u64 = 60;
/// How long the active sub-node may take to go on alone.
const ALONE_WAIT_MAX: Duration = Duration::from_secs(30);
/// While entries are written, there must be new ones within this time.
const STALL_MAX: Duration = Duration::from_secs(30);
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// Transactions of the steady load that may be under way: more would say that it is no half load.
const UNDER_WAY_MAX: usize = 4_096;
/// How often the mirror stands still while it catches up, if it has much to catch up with.
const PAUSES: u64 = 4;
/// How long.
const PAUSE: Duration = Duration::from_secs(2);
/// How long until nothing is under way to one that stands still, and what was late because of it has ended.
const SETTLE: Duration = Duration::from_secs(1);
/// With fewer entries it would be whole before it stood still, or anybody felt it.
const PAUSE_ENTRIES_MIN: u64 = 20_000;
/// With so few the mirror is nearly one again.
const NEAR_ENTRIES: u64 = 4_000;
/// A file system in memory, where the system has one.
const MEMORY_FOLDER: &str = "/dev/shm";
/// What a mirror takes there without any entries, at most.
const MIRROR_BYTES: u64 = 1 << 30;
/// And more for each that it catches up with.
const MIRROR_BYTES_AN_ENTRY: u64 = 5 << 10;
/// How many times as long requests may take while the mirror catches up.
const RATIO_MAX: f64 = 2.0;

/// What to measure.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Journal entries that are written while the mirror is away
    #[arg(long, default_value_t = 1_000_000)]
    pub entries: u64,
    /// Transactions in flight while they are written
    #[arg(long, default_value_t = 256)]
    pub concurrency: usize,
    /// How long the full load is measured before the mirror goes, and the half before it comes back
    #[arg(long, default_value_t = 5)]
    pub seconds: u64,
    /// Bytes of a document
    #[arg(long, default_value_t = 500)]
    pub document_bytes: usize,
    /// Folder on another disk, in which the mirror keeps its files: as on a machine of its own, its disk is in nobody's way then
    /// [default: /dev/shm if that has room, else the folder for temporary files, beside the active's]
    #[arg(long)]
    pub mirror_folder: Option<PathBuf>,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Entries that the mirror had not when it was started.
    pub entries_behind: u64,
    /// Entries that were written while it caught up.
    pub entries_meanwhile: u64,
    /// From its start until it could take over, but for the time that it stood still.
    pub whole_ms: f64,
    /// Of that, until its process listened.
    pub ready_ms: f64,
    /// How often it stood still.
    pub pauses: usize,
    /// Entries that it took in, a second, from when it listened until it could take over, but for the time that it stood still.
    pub entries_per_second: f64,
    /// Transactions a second that the active sub-node carried at full load with its mirror, as it works all the time. Alone it carries
    /// more here, where the mirror takes its share of the same processors.
    pub full_transactions_per_second: f64,
    /// Those that it carried at full load while the mirror was away.
    pub alone_transactions_per_second: f64,
    /// Those that it was asked for while the mirror caught up: half of what both carry.
    pub half_transactions_per_second: f64,
    /// At that load, while the mirror was away or stood still: half of the transactions took so long.
    pub latency_before_ms_p50: f64,
    /// All but one in a hundred took at most so long.
    pub latency_before_ms_p99: f64,
    /// While it caught up: half of them took so long.
    pub latency_during_ms_p50: f64,
    /// All but one in a hundred took at most so long.
    pub latency_during_ms_p99: f64,
    /// How many times as long as while it was away or stood still that is.
    pub latency_ratio: f64,
    /// How many times it shall be at most.
    pub latency_ratio_max: f64,
    /// Transactions while it caught up.
    pub transactions_during: usize,
    /// Where the mirror had its files, if not beside the active's.
    pub mirror_folder: Option<PathBuf>,
}

/// Measure and print.
///
/// # Errors
/// The nodes do not do what they must, or the options are out of bounds.
pub async fn run(executable: &Executable, options: &Options, screen: Screen) -> Result<()> {
    let figures = measure(executable, options, screen).await?;
    let row =
        |what: &str, figure: String, limit: &str, ratio: String| vec![what.to_owned(), figure, limit.into(), ratio];
    let none = String::new;
    let limit = format!("{:.0} times that", figures.latency_ratio_max);
    let rows = [
        row("", "figure".into(), "limit", "ratio".into()),
        row("entries that the mirror had not", figures.entries_behind.to_string(), "", none()),
        row("  written while it caught up", figures.entries_meanwhile.to_string(), "", none()),
        row("  taken in a second", format!("{:.0}", figures.entries_per_second), "", none()),
        row("from its start until it could take over", format!("{:.0} ms", figures.whole_ms), "", none()),
        row("  of that, until it listened", format!("{:.0} ms", figures.ready_ms), "", none()),
        row(
            "transactions a second at full load, with the mirror",
            format!("{:.0}", figures.full_transactions_per_second),
            "",
            none(),
        ),
        row("  without it", format!("{:.0}", figures.alone_transactions_per_second), "", none()),
        row(
            "at half of what both carry, without the mirror, latency p50",
            format!("{:.2} ms", figures.latency_before_ms_p50),
            "",
            none(),
        ),
        row("  p99", format!("{:.2} ms", figures.latency_before_ms_p99), "", none()),
        row("  while the mirror catches up, p50", format!("{:.2} ms", figures.latency_during_ms_p50), "", none()),
        row(
            "  p99",
            format!("{:.2} ms", figures.latency_during_ms_p99),
            &limit,
            format!("{:.2}", figures.latency_ratio),
        ),
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
/// The nodes do not do what they must, or the options are out of bounds.
pub async fn measure(executable: &Executable, options: &Options, screen: Screen) -> Result<Figures> {
    ensure!((1..=ENTRIES_MAX).contains(&options.entries), "--entries is 1 to {ENTRIES_MAX}");
    ensure!((1..=CONCURRENCY_MAX).contains(&options.concurrency), "--concurrency is 1 to {CONCURRENCY_MAX}");
    ensure!((1..=SECONDS_MAX).contains(&options.seconds), "--seconds is 1 to {SECONDS_MAX}");
    ensure_document_bytes(options.document_bytes)?;
    let (city, folder) = (&CITIES[0], mirror_folder(options));
    match &folder {
        Some(folder) => screen.say(&format!("the mirror keeps its files in {}", folder.display())),
        None => screen.say("the mirror shares the active's disk, and both wait for each other's syncs"),
    }
    let distances = Distances::None;
    let mut laboratory =
        Laboratory::open_pair_in(executable, DEFINITION, [city; 2], distances, folder.as_deref()).await?;
    let measured =
        stages(&mut laboratory, options, screen).await.map(|figures| Figures { mirror_folder: folder, ..figures });
    measured.map_err(|error| {
        let folder = laboratory.keep_folder();
        error.context(format!("the nodes' logs are in {}", folder.display()))
    })
}

async fn stages(laboratory: &mut Laboratory, options: &Options, screen: Screen) -> Result<Figures> {
    let address = laboratory.address();
    let services = attach(&address).await?;
    let document = document_of(options.document_bytes)?;
    let clients = clients(&address, options.concurrency).await?;
    screen.say("what both sub-nodes carry …");
    let full = carried(&clients, options, &document).await?;
    let pair = laboratory.pair().await?;
    ensure!(pair.mode == "pair", "the pair was not whole all the time, so that nothing was measured: {pair:?}");
    laboratory.cluster.subnode_mut(0, Side::Second)?.kill().await?;
    wait_until_alone(laboratory).await?;

    screen.say(&format!("{} entries are written while the mirror is away …", options.entries));
    let had = laboratory.pair().await?.tail;
    let alone = write(laboratory, &clients, options, &document, had + options.entries).await?;

    let half = full / 2.0;
    screen.say(&format!("{half:.0} transactions a second are half of what both carry …"));
    let steady = Steady::begin(clients.clone(), half, document);
    let seconds = Duration::from_secs(options.seconds);
    sleep(seconds / 5).await;
    let before = Instant::now();
    sleep(seconds).await;

    screen.say("the mirror comes back …");
    let tail = laboratory.pair().await?.tail;
    let started = Instant::now();
    let mirror = laboratory.cluster.subnode_mut(0, Side::Second)?;
    // With few entries nobody feels anything; and where others have the processors all the time, it would not come to work at all.
    mirror.set_yields(options.entries >= PAUSE_ENTRIES_MIN);
    let ready = mirror.start().await?;
    let (mut without, mut with) = (vec![before..started], Vec::new());
    let mut begun = started;
    let behind = laboratory.pair().await?.lag_entries;
    for left in (1..=PAUSES).rev() {
        if !is_nearer_than(laboratory, behind * left / (PAUSES + 1)).await? {
            break;
        }
        with.push(begun..Instant::now());
        let stood_still = stand_still(laboratory).await?;
        begun = stood_still.end;
        without.push(stood_still);
    }
    // Acknowledgements are about to wait for it, and with it for whoever has its processors.
    come_near(laboratory, NEAR_ENTRIES).await?;
    laboratory.cluster.subnode_mut(0, Side::Second)?.stop_yielding().await?;
    laboratory.cluster.wait_until_whole(0).await?;
    with.push(begun..Instant::now());
    let tail_whole = laboratory.pair().await?.tail;
    let ended = steady.end().await?;
    drop((clients, services));
    laboratory.cluster.stop().await?;

    let took = with.iter().map(|time| time.end - time.start).sum::<Duration>();
    let pauses = without.len() - 1;
    let within = |times: &[Range<Instant>]| {
        let of_these = ended.iter().filter(|it| times.iter().any(|time| time.contains(&it.at)));
        Samples::new(of_these.map(|it| it.answered).collect())
    };
    let (before, during) = (within(&without), within(&with));
    ensure!(before.count() > 0 && during.count() > 0, "no transaction ended in the time that was measured");
    let (entries_behind, entries_meanwhile) = (tail.saturating_sub(had), tail_whole.saturating_sub(tail));
    let taking = took.saturating_sub(ready).as_secs_f64();
    Ok(Figures {
        entries_behind,
        entries_meanwhile,
        whole_ms: rounded(took.as_secs_f64() * 1_000.0),
        ready_ms: rounded(ready.as_secs_f64() * 1_000.0),
        pauses,
        entries_per_second: rounded((entries_behind + entries_meanwhile) as f64 / taking),
        full_transactions_per_second: rounded(full),
        alone_transactions_per_second: rounded(alone),
        half_transactions_per_second: rounded(half),
        latency_before_ms_p50: rounded(before.percentile_ms(50.0)),
        latency_before_ms_p99: rounded(before.percentile_ms(99.0)),
        latency_during_ms_p50: rounded(during.percentile_ms(50.0)),
        latency_during_ms_p99: rounded(during.percentile_ms(99.0)),
        latency_ratio: rounded(during.percentile_ms(99.0) / before.percentile_ms(99.0)),
        latency_ratio_max: RATIO_MAX,
        transactions_during: during.count(),
        mirror_folder: None,
    })
}

/// Where the mirror has its files, if not beside the active's.
fn mirror_folder(options: &Options) -> Option<PathBuf> {
    let in_memory = || {
        let free = rustix::fs::statvfs(MEMORY_FOLDER).ok()?;
        let bytes = free.f_bavail.saturating_mul(free.f_frsize).min(free_memory_bytes()? / 2);
        (bytes >= MIRROR_BYTES + options.entries * MIRROR_BYTES_AN_ENTRY).then(|| PathBuf::from(MEMORY_FOLDER))
    };
    options.mirror_folder.clone().or_else(in_memory)
}

/// Memory that the system would give without taking it from anybody.
fn free_memory_bytes() -> Option<u64> {
    let told = std::fs::read_to_string("/proc/meminfo").ok()?;
    let available = told.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    available.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1_024)
}

/// Wait until the mirror has at most so many entries to catch up with; whether there are enough left then for it to stand still.
async fn is_nearer_than(laboratory: &Laboratory, entries: u64) -> Result<bool> {
    Ok(entries >= PAUSE_ENTRIES_MIN && come_near(laboratory, entries).await? >= PAUSE_ENTRIES_MIN)
}

/// Wait until the mirror has at most so many entries to catch up with, or is one again; how many are left then.
async fn come_near(laboratory: &Laboratory, entries: u64) -> Result<u64> {
    let (mut least, mut seen) = (u64::MAX, Instant::now());
    loop {
        let pair = laboratory.pair().await?;
        if pair.mode != "solo" {
            return Ok(0);
        }
        if pair.lag_entries <= entries {
            return Ok(pair.lag_entries);
        }
        if pair.lag_entries < least {
            (least, seen) = (pair.lag_entries, Instant::now());
        }
        ensure!(seen.elapsed() < STALL_MAX, "the mirror came no nearer in {} s: {pair:?}", STALL_MAX.as_secs());
        sleep(LOOK_PAUSE).await;
    }
}

/// Let the mirror stand still; from when to when nobody felt anything of it.
async fn stand_still(laboratory: &Laboratory) -> Result<Range<Instant>> {
    let mirror = laboratory.cluster.subnode(0, Side::Second)?;
    mirror.pause()?;
    sleep(SETTLE).await;
    let began = Instant::now();
    sleep(PAUSE).await;
    mirror.resume()?;
    Ok(began..Instant::now())
}

/// Wait until the active sub-node goes on without its mirror.
async fn wait_until_alone(laboratory: &Laboratory) -> Result<()> {
    let began = Instant::now();
    loop {
        let pair = laboratory.pair().await?;
        if pair.role == "active" && pair.mode == "solo" {
            return Ok(());
        }
        if began.elapsed() > ALONE_WAIT_MAX {
            bail!("the active sub-node did not go on alone within {} s: {pair:?}", ALONE_WAIT_MAX.as_secs());
        }
        sleep(LOOK_PAUSE).await;
    }
}

/// Load it fully for so long; how many transactions a second that were, but for the time in which it came to that.
async fn carried(clients: &[Client], options: &Options, document: &Text) -> Result<f64> {
    let mut load = Load::begin(clients, options.concurrency, document);
    let seconds = Duration::from_secs(options.seconds);
    load.run_for(seconds / 5).await?;
    let began = Instant::now();
    load.run_for(seconds).await?;
    let within = began..Instant::now();
    let count = load.end().await?.iter().filter(|it| within.contains(&it.at)).count();
    Ok(count as f64 / seconds.as_secs_f64())
}

/// Load it fully until its log has so many entries; how many transactions a second that were.
async fn write(
    laboratory: &Laboratory,
    clients: &[Client],
    options: &Options,
    document: &Text,
    entries: u64,
) -> Result<f64> {
    let began = Instant::now();
    let mut load = Load::begin(clients, options.concurrency, document);
    let (mut newest, mut seen) = (0, Instant::now());
    while newest < entries {
        load.run_for(LOOK_PAUSE).await?;
        let tail = laboratory.pair().await?.tail;
        if tail > newest {
            (newest, seen) = (tail, Instant::now());
        }
        ensure!(seen.elapsed() < STALL_MAX, "no entry was written in {} s", STALL_MAX.as_secs());
    }
    let ended = load.end().await?;
    Ok(ended.len() as f64 / began.elapsed().as_secs_f64())
}

/// A load of so many transactions a second, whether those before have ended or not; how long each takes counts from when it was due,
/// so that one that waits for others is not forgotten.
struct Steady {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Result<Vec<Ended>>>,
}

impl Steady {
    fn begin(clients: Vec<Client>, a_second: f64, document: Text) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let began = Instant::now();
            let (mut under_way, room) = (JoinSet::new(), Arc::new(Semaphore::new(UNDER_WAY_MAX)));
            let mut ended = Vec::new();
            for (number, client) in (0_u32..).zip(clients.iter().cycle()) {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let due = began + Duration::from_secs_f64(f64::from(number) / a_second);
                sleep_until(due.into()).await;
                while let Some(one) = under_way.try_join_next() {
                    ended.push(one??);
                }
                let permit = Arc::clone(&room).try_acquire_owned();
                let permit = permit.context("half of the full load is more than the node carries")?;
                let (client, document) = (client.clone(), document.clone());
                under_way.spawn(async move {
                    let _permit = permit;
                    submit(&client, &document, due).await
                });
            }
            while let Some(one) = under_way.join_next().await {
                ended.push(one??);
            }
            Ok(ended)
        });
        Self { stop, task }
    }

    async fn end(self) -> Result<Vec<Ended>> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await?
    }
}
