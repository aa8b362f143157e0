//! `hansa transaction …`: definitions, and the transactions that follow them.

mod check;
mod definitions;
mod list;
mod look;
mod rehearse;
mod upkeep;

use super::{Context, Failure, document::read_document, library, render};
use crate::admin::{
    client::Client,
    protocol::{AWAIT_MS_MAX, Awaited, Defined, Request, Show, Submitted, TransactionState},
};
use clap::{Args, Subcommand};
use hansa_core::{
    code::{Code, Fault},
    ident::{DefinitionName, TransactionId},
    transaction::Libraries,
};
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// Define transactions, submit them, and look at them
#[derive(Debug, Args)]
pub struct TransactionArguments {
    #[command(subcommand)]
    command: TransactionCommand,
}

#[derive(Debug, Subcommand)]
enum TransactionCommand {
    Check(check::Check),
    Define(Define),
    Definitions(definitions::Definitions),
    Definition(definitions::DefinitionCommand),
    Diff(definitions::Diff),
    Submit(Submit),
    List(list::List),
    Show(look::ShowCommand),
    History(look::History),
    Replay(look::Replay),
    DryRun(rehearse::DryRunCommand),
    Signal(upkeep::Signal),
    Cancel(upkeep::Cancel),
    Recover(upkeep::Recover),
    Purge(upkeep::Purge),
}

/// Check a transaction definition, and store it under its name
///
/// A definition of the same name becomes its next version; transactions on their way keep the one they began with.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hansa transaction define purchase.xml")]
struct Define {
    /// The definition, XML; - reads standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Begin a transaction
///
/// When this returns, the transaction is durable, and its id is printed. With --wait the output document is printed
/// instead when the transaction has ended.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    hansa transaction submit purchase --input order.xml --wait\n  \
    hansa transaction submit purchase --define purchase.xml --input order.xml --wait\n  \
    hansa transaction submit purchase --input - < order.xml")]
struct Submit {
    /// The definition
    #[arg(value_name = "NAME")]
    definition: DefinitionName,
    /// The input document, XML; - reads standard input
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Define what this file says first
    #[arg(long, value_name = "FILE")]
    define: Option<PathBuf>,
    /// Wait for its end, and print the output document
    #[arg(long)]
    wait: bool,
    /// Its id: a submission that is repeated with the same id begins nothing new
    #[arg(long, value_name = "ID")]
    id: Option<TransactionId>,
    /// How long to wait, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300, requires = "wait")]
    timeout_s: u64,
}

impl TransactionArguments {
    pub async fn perform(self, context: &Context) -> Result<(), Failure> {
        match self.command {
            TransactionCommand::Define(define) => define.perform(context).await,
            TransactionCommand::Check(check) => check.perform(context),
            TransactionCommand::Definitions(definitions) => definitions.perform(context).await,
            TransactionCommand::Definition(definition) => definition.perform(context).await,
            TransactionCommand::Diff(diff) => diff.perform(context).await,
            TransactionCommand::List(list) => list.perform(context).await,
            TransactionCommand::Show(show) => show.perform(context).await,
            TransactionCommand::History(history) => history.perform(context).await,
            TransactionCommand::Replay(replay) => replay.perform(context).await,
            TransactionCommand::Submit(submit) => submit.perform(context).await,
            TransactionCommand::DryRun(dry_run) => dry_run.perform(context).await,
            TransactionCommand::Signal(signal) => signal.perform(context).await,
            TransactionCommand::Cancel(cancel) => cancel.perform(context).await,
            TransactionCommand::Recover(recover) => recover.perform(context).await,
            TransactionCommand::Purge(purge) => purge.perform(context).await,
        }
    }
}

impl Define {
    async fn perform(self, context: &Context) -> Result<(), Failure> {
        // Faults are told also where no node runs; one that runs says which libraries it has.
        let mut client = context.client().await;
        let libraries = match &mut client {
            Ok(client) => library::known(client).await?,
            Err(_) => Libraries::default(),
        };
        let text = check::sound(&self.file, &libraries, context)?.0;
        let defined: Defined = client?.ask(&Request::Define { text }).await?;
        context.show(&defined, |defined| {
            let word = if defined.unchanged { "was defined so before" } else { "is defined" };
            let operations = render::count(defined.operations, "operation");
            format!("{} {word}: {operations}, version {}.", defined.name, defined.hash.short())
        });
        Ok(())
    }
}

impl Submit {
    async fn perform(self, context: &Context) -> Result<(), Failure> {
        let document = read_document(&self.input, Code::DocumentMalformed)?;
        let mut client = context.client().await?;
        if let Some(file) = &self.define {
            let libraries = library::known(&mut client).await?;
            let text = check::sound(file, &libraries, context)?.0;
            client.ask::<Defined>(&Request::Define { text }).await?;
        }
        let request = Request::Submit { definition: self.definition, document, id: self.id };
        let submitted: Submitted = client.ask(&request).await?;
        let safe =
            submitted.durability.map(|durability| format!(", safe on {}", durability.phrase())).unwrap_or_default();
        if !context.json {
            // On standard output is the id alone, or the document.
            eprintln!("{} is on its way{safe}.", submitted.transaction);
        }
        if !self.wait {
            context.show(&submitted, |submitted| submitted.transaction.to_string());
            return Ok(());
        }
        let awaited = wait(&mut client, submitted.transaction, Duration::from_secs(self.timeout_s)).await?;
        if context.json {
            context.show(&awaited, |_| String::new());
            return if awaited.state == TransactionState::Completed { Ok(()) } else { Err(Failure::Told) };
        }
        match (awaited.state, &awaited.document) {
            (TransactionState::Completed, document) => {
                super::print(document.as_deref().unwrap_or_default());
                let show: Show = client.ask(&Request::Show { id: awaited.transaction }).await?;
                for operation in &show.operations {
                    // The definition went on without it, and its document may lack what was expected.
                    if let Some(fault) = &operation.fault {
                        eprintln!(
                            "operation {} ({}) is {}: {fault}",
                            operation.id,
                            operation.name,
                            operation.state.word()
                        );
                    }
                }
                Ok(())
            }
            (TransactionState::Running | TransactionState::Compensating, _) => Err(Fault::new(
                Code::TransactionTimedOut,
                format!("{} has not ended within {} s", awaited.transaction, self.timeout_s),
            )
            .help(format!("it goes on; see `hansa transaction show {}`", awaited.transaction))
            .into()),
            (state, _) => Err(awaited.fault.unwrap_or_else(|| ended(awaited.transaction, state)).into()),
        }
    }
}

/// The fault of a transaction that ended without a document and without words of its own.
fn ended(transaction: TransactionId, state: TransactionState) -> Fault {
    let code = match state {
        TransactionState::TimedOut => Code::TransactionTimedOut,
        TransactionState::Cancelled => Code::TransactionCancelled,
        _ => Code::OperationFailed,
    };
    Fault::new(code, format!("{transaction} is {state}")).help(format!("see `hansa transaction show {transaction}`"))
}

/// Ask again until the transaction has ended or the time is up: one request waits only for a while.
async fn wait(client: &mut Client, id: TransactionId, limit: Duration) -> Result<Awaited, Fault> {
    let begun = Instant::now();
    loop {
        let left = limit.saturating_sub(begun.elapsed());
        let timeout_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).min(AWAIT_MS_MAX);
        let awaited: Awaited = client.ask(&Request::AwaitResponse { id, timeout_ms }).await?;
        if awaited.state.is_ended() || begun.elapsed() >= limit {
            return Ok(awaited);
        }
    }
}
