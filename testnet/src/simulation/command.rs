//! `hansa testnet simulate`: what it is told, and how it tells what it found.

use super::{
    Report, Schedule,
    scenarios::{SCENARIOS, scenario},
    search::{Broken, Extent, Found, HAPPENINGS, PANIC, TRANSITIONS, attempt, lengthened, search, shrink},
};
use crate::screen::{Screen, Tone, table};
use anyhow::{Context as _, Result, bail};
use clap::Args;
use hansa_core::mirror::Flaw;
use serde_json::json;
use std::{fs, path::PathBuf, time::Duration};

/// Seeds within which every built-in flaw must be found.
pub const MUTANT_SEEDS_MAX: u64 = 400;
/// Violations after which a search ends.
const BROKEN_MAX: usize = 3;

/// What to simulate.
#[derive(Args, Clone, Debug, Default)]
pub struct Options {
    /// One seed, told step by step if it breaks something
    #[arg(long, conflicts_with_all = ["seeds", "schedule"])]
    pub seed: Option<u64>,
    /// How many seeds to try
    #[arg(long, value_name = "COUNT")]
    pub seeds: Option<u64>,
    /// The first of them; without it seeds that were never tried
    #[arg(long, value_name = "SEED")]
    pub first_seed: Option<u64>,
    /// How many seconds to try seeds for
    #[arg(long)]
    pub seconds: Option<u64>,
    /// How many events each seed makes at least: where it makes fewer, its story is drawn longer
    #[arg(long, value_name = "COUNT", default_value_t = 0, conflicts_with_all = ["schedule", "scenario"])]
    pub events_min: u64,
    /// Fail if a transition of the pair's states, a fault or a limit was never seen
    #[arg(long, conflicts_with = "mutants")]
    pub cover: bool,
    /// Do not look for the least of a schedule that breaks something
    #[arg(long)]
    pub whole: bool,
    /// A schedule that was printed, and perhaps edited
    #[arg(long, value_name = "FILE", conflicts_with_all = ["mutants", "scenario"])]
    pub schedule: Option<PathBuf>,
    /// One of the named interleavings; `all` for all of them, `list` to list them
    #[arg(long, value_name = "NAME", conflicts_with = "mutants")]
    pub scenario: Option<String>,
    /// Show that each fault that can be built into the pair would be found
    #[arg(long)]
    pub mutants: bool,
}

/// Run it. Something that broke is an error, after it was told.
///
/// # Errors
/// Something broke, or what was asked for is not there.
pub async fn run(options: &Options, screen: Screen) -> Result<()> {
    let options = options.clone();
    tokio::task::spawn_blocking(move || simulate(&options, screen)).await.context("the simulation ended")?
}

fn simulate(options: &Options, screen: Screen) -> Result<()> {
    if options.mutants {
        return mutants(options, screen);
    }
    if let Some(path) = &options.schedule {
        let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let schedule =
            Schedule::parse(&text).map_err(anyhow::Error::msg).with_context(|| path.display().to_string())?;
        return one(&schedule, options, screen);
    }
    if let Some(name) = &options.scenario {
        return scenarios(name, options, screen);
    }
    if let Some(seed) = options.seed {
        return told(options, screen, || {
            lengthened(seed, None, options.events_min, |schedule| attempt(schedule, true))
        });
    }
    let first = options.first_seed.unwrap_or_else(|| fastrand::u64(0..1 << 48));
    let seeds = match (options.seeds, options.seconds) {
        (Some(seeds), _) => seeds,
        (None, Some(_)) => u64::MAX,
        (None, None) => 100,
    };
    let time_max = options.seconds.map_or(Duration::MAX, Duration::from_secs);
    screen.say(&format!("seeds from {first} on …"));
    let extent = Extent { first, seeds, time_max, events_min: options.events_min, broken_max: BROKEN_MAX };
    let found = search(extent, None);
    tell(&found, options, screen)
}

fn one(schedule: &Schedule, options: &Options, screen: Screen) -> Result<()> {
    told(options, screen, || attempt(schedule, true))
}

/// One story, told step by step if it breaks something.
fn told(options: &Options, screen: Screen, story: impl Fn() -> Result<Report, Box<Broken>>) -> Result<()> {
    let mut found = Found { seeds: 1, ..Found::default() };
    let begun = std::time::Instant::now();
    match story() {
        Ok(report) => {
            screen.say(&format!("trace hash {:016x}", report.hash));
            found.take(&report);
        }
        Err(broken) => found.broken.push(*broken),
    }
    found.took = begun.elapsed();
    tell(&found, options, screen)
}

fn scenarios(name: &str, options: &Options, screen: Screen) -> Result<()> {
    if name == "list" {
        for (name, text) in SCENARIOS {
            let why = text.lines().next().unwrap_or_default().trim_start_matches("# ");
            screen.say(&format!("{name}\n    {why}"));
        }
        return Ok(());
    }
    let chosen: Vec<_> =
        SCENARIOS.iter().map(|(known, _)| *known).filter(|known| name == "all" || name == *known).collect();
    if chosen.is_empty() {
        bail!("there is no scenario '{name}'; see `hansa testnet simulate --scenario list`");
    }
    let first = options.first_seed.or(options.seed).unwrap_or(1);
    let mut found = Found::default();
    let begun = std::time::Instant::now();
    for name in chosen {
        for seed in first..first + options.seeds.unwrap_or(1) {
            let schedule = scenario(name, seed).context("the scenario is there")?;
            found.seeds += 1;
            match attempt(&schedule, true) {
                Ok(report) => found.take(&report),
                Err(broken) => {
                    screen.say(&format!("in the scenario {name}:"));
                    found.broken.push(*broken);
                }
            }
        }
    }
    found.took = begun.elapsed();
    tell(&found, options, screen)
}

fn tell(found: &Found, options: &Options, screen: Screen) -> Result<()> {
    for broken in &found.broken {
        if options.whole {
            tell_broken(broken, options, screen);
        } else {
            tell_broken(&shrink(broken), options, screen);
        }
    }
    let seen = TRANSITIONS.iter().filter(|transition| found.transitions.contains_key(transition)).count();
    let coverage = seen as f64 / TRANSITIONS.len() as f64;
    let events_per_second = found.events as f64 / found.took.as_secs_f64().max(0.001);
    screen.say(&format!(
        "{} seeds, {} violations, {} events ({events_per_second:.0} a second), {} transactions ended as they should",
        found.seeds,
        found.broken.len(),
        found.events,
        found.transactions,
    ));
    screen.say(&format!("transitions of pairs seen: {seen} of {}", TRANSITIONS.len()));
    let missing: Vec<_> = TRANSITIONS.iter().filter(|transition| !found.transitions.contains_key(transition)).collect();
    for (from, to) in &missing {
        screen.say(&screen.tone(Tone::Faint, &format!("  never from {from:?} to {to:?}")));
    }
    let happened = HAPPENINGS.map(|what| format!("{what} {}", found.happened.get(what).copied().unwrap_or_default()));
    screen.say(&format!("what happened in them: {}", happened.join(", ")));
    let unseen: Vec<_> = HAPPENINGS.iter().filter(|what| !found.happened.contains_key(*what)).collect();
    for what in &unseen {
        screen.say(&screen.tone(Tone::Faint, &format!("  never: {what}")));
    }
    screen.object(&json!({
        "seeds": found.seeds,
        "happened": found.happened,
        "never": unseen,
        "violations": found.broken.len(),
        "events": found.events,
        "events_per_second": events_per_second.round(),
        "coverage": (coverage * 1_000.0).round() / 1_000.0,
        "transactions": found.transactions,
    }));
    match found.broken.first() {
        None if options.cover && !(missing.is_empty() && unseen.is_empty()) => {
            let transitions = missing.iter().map(|(from, to)| format!("from {from:?} to {to:?}"));
            let never: Vec<_> = transitions.chain(unseen.iter().map(ToString::to_string)).collect();
            bail!("these seeds never showed: {}", never.join(", "))
        }
        None => Ok(()),
        Some(broken) => bail!("seed {} broke something: {}", broken.schedule.seed, broken.violation),
    }
}

/// What a person needs to find the fault: where it is from, how to see it again, and what happened.
fn tell_broken(broken: &Broken, options: &Options, screen: Screen) {
    let longer = if options.events_min > 0 { format!(" --events-min {}", options.events_min) } else { String::new() };
    let command = format!("hansa testnet simulate --seed {}{longer}", broken.schedule.seed);
    screen.say(&screen.tone(Tone::Bad, &broken.violation.to_string()));
    screen.say(&format!("hansa {}, commit {}", env!("CARGO_PKG_VERSION"), commit()));
    screen.say(&format!("the whole of it: {command}"));
    screen.say("what of it is needed, for `hansa testnet simulate --schedule FILE`:\n");
    screen.say(&broken.schedule.to_string());
    for line in &broken.report.trace {
        screen.say(&format!("# {line}"));
    }
    screen.object(&json!({
        "seed": broken.schedule.seed,
        "commit": commit(),
        "command": command,
        "invariant": broken.violation.invariant,
        "seen": broken.violation.seen,
        "schedule": broken.schedule.to_string(),
    }));
}

/// The commit of the checkout that the command is run in, if it is one.
fn commit() -> String {
    let asked = std::process::Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    let told = asked.ok().filter(|output| output.status.success());
    let told = told.and_then(|output| String::from_utf8(output.stdout).ok());
    told.map_or_else(|| "unknown".to_owned(), |commit| commit.trim().to_owned())
}

fn mutants(options: &Options, screen: Screen) -> Result<()> {
    let seeds = options.seeds.unwrap_or(MUTANT_SEEDS_MAX);
    let first = options.first_seed.unwrap_or(0);
    let mut caught = 0;
    let mut rows = Vec::new();
    for (flaw, name) in Flaw::ALL {
        let extent = Extent { first, seeds, time_max: Duration::MAX, events_min: 0, broken_max: 1 };
        let found = search(extent, Some(flaw));
        let by = found.broken.first();
        // Harm is what an invariant names; a panic may be the simulation's own.
        let is_caught = by.is_some_and(|broken| broken.violation.invariant != PANIC);
        caught += usize::from(is_caught);
        screen.object(&json!({
            "mutant": name,
            "caught": is_caught,
            "seeds": found.seeds,
            "invariant": by.map(|broken| broken.violation.invariant),
        }));
        let verdict = match by {
            Some(broken) if !is_caught => format!("a panic after {} seeds: {}", found.seeds, broken.violation.seen),
            Some(broken) => format!("caught after {} seeds: {}", found.seeds, broken.violation.invariant),
            None => format!("not caught within {} seeds", found.seeds),
        };
        rows.push(vec![name.to_owned(), verdict]);
    }
    for line in table(&rows) {
        screen.say(&line);
    }
    screen.object(&json!({ "mutants_total": Flaw::ALL.len(), "mutants_caught": caught }));
    if caught < Flaw::ALL.len() {
        bail!("{} of {} faults that were built in were not found", Flaw::ALL.len() - caught, Flaw::ALL.len());
    }
    Ok(())
}
