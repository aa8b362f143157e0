//! `hansa testnet …`: the commands, as the node's command line embeds them.

use crate::{
    bench::{catchup, recovery, size, takeover, transactions, waiting},
    cities::{CITIES, City},
    cluster::{Cluster, Distances, Member, Plan, State},
    demo,
    process::{Executable, Lifetime, Listening, end_node_of, is_node_of},
    screen::{Screen, Tone, table},
    simulation,
};
use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use hansa_core::code::{Code, Fault};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tokio::signal::unix::{SignalKind, signal};

/// Federations of several cities on this machine: a demo, benchmarks, and a playground.
#[derive(Clone, Debug, Subcommand)]
pub enum TestnetCommand {
    /// Start a federation of organizations in several cities, with the latency between those cities
    #[command(after_help = "Examples:\n  hansa testnet up --cities Rotterdam,Hamburg,Singapore")]
    Up {
        /// The cities, one organization in each
        #[arg(long, value_delimiter = ',', required = true, value_parser = city)]
        cities: Vec<&'static City>,
        /// Names of the organizations, in the order of the cities
        #[arg(long, value_delimiter = ',')]
        organizations: Vec<String>,
        /// Where the nodes keep their data; an empty or a new folder
        #[arg(long)]
        folder: Option<PathBuf>,
    },
    /// Show the nodes of a federation that `up` or `demo --keep` started
    #[command(after_help = "Examples:\n  hansa testnet status")]
    Status {
        /// Its folder
        #[arg(long)]
        folder: Option<PathBuf>,
    },
    /// End that federation and remove its folder
    #[command(after_help = "Examples:\n  hansa testnet down")]
    Down {
        /// Its folder
        #[arg(long)]
        folder: Option<PathBuf>,
        /// Leave the data where it is
        #[arg(long)]
        keep_data: bool,
    },
    /// Watch a purchase order cross five organizations in five cities and survive killed processes
    #[command(
        args_conflicts_with_subcommands = true,
        after_help = "Examples:\n  hansa testnet demo\n  hansa testnet demo --keep\n  hansa testnet demo failover"
    )]
    Demo {
        /// Another demo
        #[command(subcommand)]
        other: Option<DemoCommand>,
        /// Leave the federation running and print how to talk to it
        #[arg(long)]
        keep: bool,
        /// Where the nodes of a kept federation keep their data
        #[arg(long, requires = "keep")]
        folder: Option<PathBuf>,
    },
    /// Let whole federations happen in one process, with everything that can go wrong, and check what must hold
    #[command(
        after_help = "Examples:\n  hansa testnet simulate --seeds 1000\n  hansa testnet simulate --seed 42\n  hansa testnet simulate --scenario all\n  hansa testnet simulate --mutants --json"
    )]
    Simulate(simulation::command::Options),
    /// Measure this machine and a node on it
    #[command(subcommand)]
    Bench(BenchCommand),
}

/// What else can be watched.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum DemoCommand {
    /// Five organizations that are pairs, ten sub-nodes in ten cities, under load: one is killed, one cut off, one stands still,
    /// one loses its disk
    #[command(after_help = "Examples:\n  hansa testnet demo failover\n  hansa testnet demo failover --brief --json")]
    Failover(demo::failover::Options),
}

/// What can be measured.
#[derive(Clone, Debug, Subcommand)]
pub enum BenchCommand {
    /// Transactions a second: three operations one after the other, every step durable before it is acted on
    #[command(
        after_help = "Examples:\n  hansa testnet bench transactions\n  hansa testnet bench transactions --concurrency 1 --json\n  hansa testnet bench transactions --stored 1000000\n  hansa testnet bench transactions --pair"
    )]
    Transactions(transactions::Options),
    /// How soon a killed node goes on with its transactions
    #[command(
        after_help = "Examples:\n  hansa testnet bench recovery\n  hansa testnet bench recovery --journal-bytes 1000000000 --json"
    )]
    Recovery(recovery::Options),
    /// What an operation costs in small and in large transactions
    #[command(
        after_help = "Examples:\n  hansa testnet bench size\n  hansa testnet bench size --operations 1000 --shapes row,broadcast --json"
    )]
    Size(size::Options),
    /// Many transactions waiting at once: memory, how soon one wakes, how soon the node is there again
    #[command(
        after_help = "Examples:\n  hansa testnet bench waiting\n  hansa testnet bench waiting --instances 100000 --json"
    )]
    Waiting(waiting::Options),
    /// How soon a mirror that was away has caught up, and what whoever is served meanwhile feels of it
    #[command(
        after_help = "Examples:\n  hansa testnet bench catchup\n  hansa testnet bench catchup --entries 100000 --json"
    )]
    Catchup(catchup::Options),
    /// How soon the mirror of a pair serves when its active sub-node is killed, and whether anything is lost or done twice
    #[command(
        after_help = "Examples:\n  hansa testnet bench takeover\n  hansa testnet bench takeover --count 50 --profile lan --switch --json"
    )]
    Takeover(takeover::Options),
}

fn city(name: &str) -> Result<&'static City, String> {
    City::named(name).ok_or_else(|| {
        let known: Vec<_> = CITIES.iter().map(|city| city.name).collect();
        format!(
            "'{}' is no city that is known here; there are {}",
            name.chars().take(60).collect::<String>(),
            known.join(", ")
        )
    })
}

impl TestnetCommand {
    /// Run the command with this executable as the nodes. It prints what there is to tell, with `json` one object a line;
    /// an interrupt ends it and what it started.
    ///
    /// Call it on a runtime of several threads, from a thread that lives as long as the process: nodes end when the
    /// thread that started them does.
    ///
    /// # Errors
    /// What went wrong, to be shown to whoever called it.
    pub async fn run(self, executable: Executable, json: bool) -> Result<(), Fault> {
        tokio::select! {
            result = self.work(&executable, Screen::new(json)) => result.map_err(into_fault),
            interrupt = interrupted() => Err(into_fault(interrupt)),
        }
    }

    async fn work(self, executable: &Executable, screen: Screen) -> Result<()> {
        match self {
            Self::Up { cities, organizations, folder } => {
                up(executable, &cities, organizations, kept_folder(folder)?, screen).await
            }
            Self::Status { folder } => status(&kept_folder(folder)?, screen).await,
            Self::Down { folder, keep_data } => down(&kept_folder(folder)?, keep_data, screen).await,
            Self::Demo { other: Some(DemoCommand::Failover(options)), .. } => {
                demo::failover::run(executable, options, screen).await
            }
            Self::Demo { other: None, keep, folder } => {
                let keep = if keep { Some(kept_folder(folder)?) } else { None };
                demo::run(executable, keep, screen).await
            }
            Self::Simulate(options) => simulation::command::run(&options, screen).await,
            Self::Bench(BenchCommand::Transactions(options)) => transactions::run(executable, &options, screen).await,
            Self::Bench(BenchCommand::Recovery(options)) => recovery::run(executable, &options, screen).await,
            Self::Bench(BenchCommand::Size(options)) => size::run(executable, &options, screen).await,
            Self::Bench(BenchCommand::Waiting(options)) => waiting::run(executable, &options, screen).await,
            Self::Bench(BenchCommand::Catchup(options)) => catchup::run(executable, &options, screen).await,
            Self::Bench(BenchCommand::Takeover(options)) => takeover::run(executable, &options, screen).await,
        }
    }
}

/// The first interrupt, as an error.
async fn interrupted() -> anyhow::Error {
    let wait = async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        anyhow::Ok(())
    };
    match wait.await {
        Ok(()) => anyhow::anyhow!("interrupted; the nodes were ended"),
        Err(error) => error.context("cannot listen for interrupts"),
    }
}

/// An error as the fault that a person or a program is shown: the node's own where one is at the bottom of it.
fn into_fault(error: anyhow::Error) -> Fault {
    let message = format!("{error:#}");
    match error.downcast::<Fault>() {
        Ok(fault) => Fault { message: without_code(&message, &fault), ..fault },
        Err(_) => Fault::new(Code::TestnetFailed, message),
    }
}

/// The chain of words around a fault, without the code and place that its text form ends with.
fn without_code(message: &str, fault: &Fault) -> String {
    message
        .strip_suffix(&fault.to_string())
        .map_or_else(|| message.to_owned(), |around| format!("{around}{}", fault.message))
}

/// Where a kept federation is, unless a folder is named.
fn kept_folder(folder: Option<PathBuf>) -> Result<PathBuf> {
    if let Some(folder) = folder {
        return Ok(std::path::absolute(folder)?);
    }
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    variable("XDG_STATE_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".local/state")))
        .map(|state| state.join("hansa/testnet"))
        .context("there is no home folder; name one with --folder")
}

async fn up(
    executable: &Executable,
    cities: &[&'static City],
    organizations: Vec<String>,
    folder: PathBuf,
    screen: Screen,
) -> Result<()> {
    if !organizations.is_empty() && organizations.len() != cities.len() {
        bail!("there are {} organizations for {} cities", organizations.len(), cities.len());
    }
    let mut names = organizations.into_iter();
    let members: Vec<Member> = cities
        .iter()
        .map(|city| Member::single(names.next().unwrap_or_else(|| format!("{} Trading", city.name)), city))
        .collect();
    for (place, member) in members.iter().enumerate() {
        if members[..place].iter().any(|other| other.organization == member.organization) {
            bail!("two organizations are called {}; name them with --organizations", member.organization);
        }
    }
    let (settings, distances) = (toml::Table::new(), Distances::OfCities);
    let plan = Plan { members, folder: Some(folder), lifetime: Lifetime::Own, settings, distances };
    let mut cluster = Cluster::prepare(executable, plan).await?;
    let begun = async {
        cluster.start().await?;
        cluster.federate().await
    };
    if let Err(error) = begun.await {
        // What did not become a federation is not left behind.
        let folder = cluster.folder().to_owned();
        drop(cluster);
        let _ = fs::remove_dir_all(folder);
        return Err(error);
    }
    let folder = cluster.release();
    demo::farewell(screen, &folder)
}

async fn status(folder: &Path, screen: Screen) -> Result<()> {
    let state = State::read(folder)?;
    let mut rows = vec![
        ["ORGANIZATION", "CITY", "PROCESS", "SERVICES AT", "PEERS", "OPEN TRANSACTIONS"].map(str::to_owned).to_vec(),
    ];
    let mut nodes = Vec::new();
    for home in &state.nodes {
        let listening = Listening::read(&home.data).filter(|it| is_node_of(it.pid, &home.data));
        let status = match &listening {
            Some(listening) => crate::admin::Admin::at(&listening.admin).ask("status", json!({})).await.ok(),
            None => None,
        };
        let peers = status.as_ref().and_then(|status| status["peers"].as_array());
        let connected = peers.map(|peers| peers.iter().filter(|peer| peer["connected"] == Value::Bool(true)).count());
        let open = status.as_ref().and_then(|status| status["transactions"]["open"].as_u64());
        let process = listening.as_ref().map_or_else(|| "down".to_owned(), |it| it.pid.to_string());
        let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".into());
        rows.push(vec![
            home.organization.clone(),
            home.city.clone(),
            process,
            home.cxip.to_string(),
            or_dash(connected.map(|count| format!("{count} of {}", state.nodes.len() - 1))),
            or_dash(open.map(|count| count.to_string())),
        ]);
        nodes.push(json!({ "home": home, "pid": listening.map(|it| it.pid), "status": status }));
    }
    screen.object(&json!({ "folder": folder, "nodes": nodes }));
    for (place, line) in table(&rows).iter().enumerate() {
        screen.say(&if place == 0 { screen.tone(Tone::Strong, line) } else { line.clone() });
    }
    Ok(())
}

async fn down(folder: &Path, keep_data: bool, screen: Screen) -> Result<()> {
    let state = State::read(folder)?;
    let mut ended = 0;
    for home in &state.nodes {
        ended +=
            usize::from(end_node_of(&home.data).await.with_context(|| format!("the node of {}", home.organization))?);
    }
    if !keep_data {
        // Only what a testnet makes: the folder may have got other content since.
        for own in state.nodes.iter().filter_map(|home| home.data.parent()).filter(|own| own.starts_with(folder)) {
            fs::remove_dir_all(own).with_context(|| format!("could not remove {}", own.display()))?;
        }
        State::remove(folder)?;
    }
    screen.object(&json!({ "ended": ended, "folder": folder, "removed": !keep_data }));
    let removed = if keep_data { "its data stays in" } else { "and removed" };
    screen.say(&format!("ended {ended} nodes, {removed} {}", folder.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        command: TestnetCommand,
    }

    fn parse(words: &str) -> Result<TestnetCommand, clap::Error> {
        Line::try_parse_from(std::iter::once("testnet").chain(words.split(' '))).map(|line| line.command)
    }

    #[test]
    fn the_commands_are_read_as_the_documentation_writes_them() {
        use clap::CommandFactory as _;
        Line::command().debug_assert();
        for words in [
            "demo",
            "demo failover",
            "demo failover --brief",
            "bench transactions --pair",
            "bench catchup --entries 1000",
            "bench takeover --count 50 --profile lan --switch",
            "demo --keep --folder x",
            "status",
            "down --folder x",
            "bench transactions --concurrency 8",
        ] {
            assert!(parse(words).is_ok(), "{words}");
        }
        let Ok(TestnetCommand::Up { cities, organizations, .. }) =
            parse("up --cities Rotterdam,Hamburg,Singapore --organizations A,B,C")
        else {
            panic!("up is not read")
        };
        assert_eq!(cities.iter().map(|city| city.name).collect::<Vec<_>>(), ["Rotterdam", "Hamburg", "Singapore"]);
        assert_eq!(organizations, ["A", "B", "C"]);
    }

    #[test]
    fn a_city_that_is_not_known_is_answered_with_those_that_are() {
        let refusal = parse("up --cities Atlantis").unwrap_err().to_string();
        assert!(refusal.contains("Atlantis") && refusal.contains("Rotterdam"), "{refusal}");
    }

    #[test]
    fn a_fault_of_a_node_keeps_its_code_and_says_around_what_it_happened() {
        let fault = Fault::new(Code::DefinitionUnknown, "there is no 'x'");
        let shown = into_fault(anyhow::Error::from(fault).context("could not submit"));
        assert_eq!(
            (shown.code, shown.message.as_str()),
            (Code::DefinitionUnknown, "could not submit: there is no 'x'")
        );
        assert_eq!(into_fault(anyhow::anyhow!("no")).code, Code::TestnetFailed);
    }

    #[tokio::test]
    async fn a_testnet_that_is_not_there_is_said_to_be_none() {
        let folder = tempfile::tempdir().unwrap();
        let command = TestnetCommand::Status { folder: Some(folder.path().into()) };
        let fault = command.run(Executable("hansa".into()), false).await.unwrap_err();
        assert!(fault.message.contains("no testnet"), "{fault}");
    }
}
