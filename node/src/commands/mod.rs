//! The command line: what can be said, how answers and faults are shown, and which exit code each has.
//!
//! 0: done. 1: refused or failed; the fault is on standard error, or with `--json` an object on standard output.
//! 2: wrong usage.

mod access;
mod attach;
mod configuration;
mod doctor;
mod document;
mod explain;
mod federation;
mod init;
mod library;
mod pair;
mod render;
mod run;
mod service;
mod service_new;
mod status;
mod topic;
mod transaction;

pub use render::{bytes as render_bytes, pair_concerns};

use crate::{
    admin::{
        client::Client,
        protocol::{Request, Status},
    },
    config::{Configuration, Settings, Sources},
    folder::Folder,
};
use clap::{Args, Parser, Subcommand};
use hansa_core::code::{Code, Fault};
use hansa_testnet::{command::TestnetCommand, process::Executable};
use serde::Serialize;
use serde_json::json;
use std::{
    fs,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

/// How long threads that are still at something may take when all is done.
const THREADS_END: Duration = Duration::from_secs(1);

/// A node of a federation of exchange nodes.
///
/// Organizations run one node each. Services and clients attach to their own node; the nodes find each other, know who
/// offers what, and carry transactions across organizations, with nobody in the middle.
#[derive(Debug, Parser)]
#[command(
    name = "hansa",
    version,
    disable_help_subcommand = true,
    after_help = "Begin with:\n  \
                  hansa init --organization \"Acme BV\" --city Rotterdam\n  \
                  hansa run\n  \
                  hansa status\n\n\
                  A node on another machine, over its administration port:\n  \
                  hansa --node acme.example:4001 --account operator --password-file operator.password \\\n        \
                  --authority authority.pem status\n\n\
                  `hansa COMMAND --help` tells more, with examples; `hansa explain CODE` explains an error code."
)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(flatten)]
    elsewhere: Elsewhere,
    #[command(subcommand)]
    command: Command,
}

/// What every command understands.
#[derive(Debug, Args)]
#[command(next_help_heading = "For every command")]
struct Global {
    /// The node's data folder [default: $XDG_DATA_HOME/hansa, or ~/.local/share/hansa]
    #[arg(long, global = true, value_name = "DIR", env = "HANSA_DATA", hide_env_values = true)]
    data: Option<PathBuf>,
    /// The configuration file [default: hansa.toml in the data folder]
    #[arg(long, global = true, value_name = "FILE", env = "HANSA_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// Set a key of the configuration, over the file and the environment; can be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Answer with JSON on standard output, faults too
    #[arg(long, global = true)]
    json: bool,
}

/// A node on another machine, asked over its administration port. It is named before the command, since commands have
/// credentials of their own.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Before the command, for a node elsewhere")]
struct Elsewhere {
    /// Ask the node at this administration port (its cxip.admin_listen), and not that in the data folder
    #[arg(long, value_name = "HOST:PORT")]
    node: Option<String>,
    #[command(flatten)]
    credentials: attach::Credentials,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Init),
    Run(run::Run),
    Stop(status::Stop),
    Status(status::StatusCommand),
    Invite(federation::Invite),
    Join(federation::Join),
    Directory(federation::Directory),
    Pair(pair::PairArguments),
    Access(access::AccessArguments),
    Service(service::ServiceArguments),
    Topic(topic::TopicArguments),
    Transaction(transaction::TransactionArguments),
    Library(library::LibraryArguments),
    Doctor(doctor::Doctor),
    Config(configuration::ConfigCommand),
    Explain(explain::Explain),
    /// Federations of real nodes on this machine: try things out, watch the demo, measure
    Testnet {
        #[command(subcommand)]
        command: TestnetCommand,
    },
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// For one reason.
    Fault(Fault),
    /// For several, which the first sums up.
    Faults(Fault, Vec<Fault>),
    /// For a reason that the answer already tells.
    Told,
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// What a command does its work with.
#[derive(Debug)]
pub struct Context {
    folder: Folder,
    config: Option<PathBuf>,
    set: Vec<String>,
    json: bool,
    elsewhere: Elsewhere,
}

impl Context {
    fn new(global: Global, elsewhere: Elsewhere) -> Result<Self, Fault> {
        let folder = match global.data {
            Some(path) => path,
            None => default_folder()?,
        };
        Ok(Self { folder: Folder::new(&folder)?, config: global.config, set: global.set, json: global.json, elsewhere })
    }

    /// The configuration file.
    fn configuration_path(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(|| self.folder.configuration())
    }

    /// What the configuration is made of.
    fn sources(&self) -> Result<Sources, Fault> {
        let path = self.configuration_path();
        let text = fs::read_to_string(&path).map_err(|error| {
            Fault::new(Code::ConfigurationInvalid, format!("'{}' cannot be read: {error}", path.display()))
                .help("name the file with --config, or make one with `hansa init`")
        })?;
        // A variable that is no text cannot be one of ours.
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Ok(Sources { file: Some((path, text)), environment, flags: self.set.clone() })
    }

    /// The configuration in force.
    fn configuration(&self) -> Result<(Configuration, Settings), Failure> {
        Configuration::load(&self.sources()?).map_err(|faults| match <[Fault; 1]>::try_from(faults) {
            Ok([fault]) => Failure::Fault(fault),
            Err(faults) => Failure::Faults(
                Fault::new(Code::ConfigurationInvalid, format!("the configuration has {} faults", faults.len())),
                faults,
            ),
        })
    }

    /// The node that is asked: that of `--node`, or that which runs in the data folder.
    async fn client(&self) -> Result<Client, Fault> {
        let Some(address) = &self.elsewhere.node else { return Client::of(&self.folder).await };
        let administrator = self.elsewhere.credentials.of_client(hansa_sdk::Client::named("hansa"))?;
        Ok(Client::through(administrator.administer(address).await?))
    }

    /// Whether that is another than the one in the data folder.
    fn is_elsewhere(&self) -> bool {
        self.elsewhere.node.is_some()
    }

    /// Where services and clients attach to it.
    async fn cxip(&self) -> Result<String, Fault> {
        let status: Status = self.client().await?.ask(&Request::Status).await?;
        let address = status.addresses.cxip;
        let Some(administered) = &self.elsewhere.node else { return Ok(address) };
        // What the node calls all its addresses, or its own machine, is somewhere else from here.
        let (host, _) = administered.rsplit_once(':').unwrap_or((administered, ""));
        Ok(match address.parse::<std::net::SocketAddr>() {
            Ok(socket) if socket.ip().is_unspecified() || socket.ip().is_loopback() => {
                format!("{host}:{}", socket.port())
            }
            _ => address,
        })
    }

    /// Show an answer: as JSON, or as the text that `text` makes of it.
    fn show<T: Serialize + ?Sized>(&self, value: &T, text: impl FnOnce(&T) -> String) {
        if self.json {
            print(&serde_json::to_string_pretty(value).expect("answers are JSON"));
        } else {
            print(text(value).trim_end());
        }
    }

    fn show_failure(&self, failure: &Failure) {
        let (first, all) = match failure {
            Failure::Fault(fault) => (fault, None),
            Failure::Faults(fault, faults) => (fault, Some(faults)),
            Failure::Told => return,
        };
        if self.json {
            // Whoever reads JSON has no `hansa explain` at hand: the advice goes along.
            let advised = |fault: &Fault| fault.clone().help(fault.advice());
            let mut answer = json!({ "fault": advised(first) });
            if let Some(faults) = all {
                answer["faults"] = faults.iter().map(|fault| json!(advised(fault))).collect();
            }
            print(&serde_json::to_string_pretty(&answer).expect("faults are JSON"));
        } else {
            eprint!("{}", render::faults(first, all.map_or(&[], Vec::as_slice)));
        }
    }
}

/// Write a line to standard output; a reader that has gone away is not our fault.
fn print(text: &str) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

fn default_folder() -> Result<PathBuf, Fault> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_DATA_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| set("HOME").map(|home| home.join(".local/share")))
        .map(|path| path.join("hansa"))
        .ok_or_else(|| {
            Fault::new(Code::DataMissing, "there is no home folder to keep the data in").help("name one with --data")
        })
}

/// This very program, which the testnet starts as nodes.
fn executable() -> Result<Executable, Fault> {
    let path = std::env::current_exe()
        .map_err(|error| Fault::new(Code::Internal, format!("the program cannot find itself: {error}")))?;
    Ok(Executable(path))
}

/// Read the command line, do what it says, and tell how it went.
pub fn main() -> ExitCode {
    let Arguments { global, elsewhere, command } = Arguments::parse();
    let json = global.json;
    let context = match Context::new(global, elsewhere) {
        Ok(context) => context,
        Err(fault) => {
            let folder = Folder::new(std::path::Path::new("/")).expect("the root is absolute");
            let elsewhere = Elsewhere::default();
            let context = Context { folder, config: None, set: Vec::new(), json, elsewhere };
            context.show_failure(&Failure::Fault(fault));
            return ExitCode::FAILURE;
        }
    };
    let mut runtime = match &command {
        Command::Run(_) | Command::Testnet { .. } => tokio::runtime::Builder::new_multi_thread(),
        Command::Pair(pair) if pair.runs() => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let done = match runtime.enable_all().build() {
        Ok(runtime) => {
            let done = runtime.block_on(perform(&context, command));
            runtime.shutdown_timeout(THREADS_END);
            done
        }
        Err(error) => Err(Fault::new(Code::Internal, format!("the process cannot have its threads: {error}")).into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            context.show_failure(&failure);
            ExitCode::FAILURE
        }
    }
}

async fn perform(context: &Context, command: Command) -> Result<(), Failure> {
    let is_of_this_machine = match &command {
        Command::Init(_) | Command::Run(_) | Command::Config(_) | Command::Testnet { .. } => true,
        Command::Pair(pair) => pair.is_of_this_machine(),
        _ => false,
    };
    if context.is_elsewhere() && is_of_this_machine {
        let message = "--node names a node that runs elsewhere, and this command is for this machine";
        return Err(Fault::new(Code::ConfigurationInvalid, message).help("leave --node out").into());
    }
    match command {
        Command::Init(init) => init.perform(context),
        Command::Run(run) => run.perform(context).await,
        Command::Stop(stop) => stop.perform(context).await,
        Command::Status(status) => status.perform(context).await,
        Command::Invite(invite) => invite.perform(context).await,
        Command::Join(join) => join.perform(context).await,
        Command::Pair(pair) => pair.perform(context).await,
        Command::Access(access) => access.perform(context).await,
        Command::Directory(directory) => directory.perform(context).await,
        Command::Service(service) => service.perform(context).await,
        Command::Topic(topic) => topic.perform(context).await,
        Command::Transaction(transaction) => transaction.perform(context).await,
        Command::Library(library) => library.perform(context).await,
        Command::Doctor(doctor) => doctor.perform(context).await,
        Command::Config(config) => config.perform(context),
        Command::Explain(explain) => explain.perform(context),
        Command::Testnet { command } => Ok(command.run(executable()?, context.json).await?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_says_what_it_does_and_shows_an_example() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            assert!(command.get_about().is_some(), "{path} says nothing about itself");
            if command.get_subcommands().next().is_none() {
                let example = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(example.contains("hansa "), "{path} shows no example");
            }
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                assert!(argument.get_help().is_some(), "{path}: {} has no help", argument.get_id());
            }
            command.get_subcommands().for_each(|command| check(command, &path));
        }
        Arguments::command().get_subcommands().for_each(|command| check(command, "hansa"));
    }
}
