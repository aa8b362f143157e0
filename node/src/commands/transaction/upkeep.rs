//! `hansa transaction signal`, `cancel`, `recover` and `purge`: what is done to transactions from outside.

use super::super::{Context, Failure, document::read_document, render};
use crate::admin::{
    protocol::{Cancelled, Purged, PurgedPart, Recovered, RecoveredPart, Request, Signalled, TransactionState},
    time::Time,
};
use clap::Args;
use hansa_core::{
    code::Code,
    ident::{SignalName, TransactionId},
};
use std::path::PathBuf;

/// The document of a signal that brings none.
const EMPTY_SIGNAL: &str = "<Signal/>";

/// Send a signal to a transaction, for the operation that waits for it or will
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    hansa transaction signal 01JD5M6Q0000000000000000AB approved\n  \
    hansa transaction signal 01JD5M6Q0000000000000000AB approved --document approval.xml")]
pub struct Signal {
    /// The transaction
    #[arg(value_name = "ID")]
    id: TransactionId,
    /// The signal
    #[arg(value_name = "NAME")]
    name: SignalName,
    /// Its document, XML, which becomes the operation's output; - reads standard input [default: an empty element Signal]
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
}

impl Signal {
    pub async fn perform(self, context: &Context) -> Result<(), Failure> {
        let document = match &self.document {
            Some(file) => read_document(file, Code::DocumentMalformed)?,
            None => EMPTY_SIGNAL.to_owned(),
        };
        let request = Request::Signal { id: self.id, signal: self.name, document };
        let signalled: Signalled = context.client().await?.ask(&request).await?;
        context.show(&signalled, |signalled| {
            let word = if signalled.repeated { "had it already" } else { "has it" };
            format!("{} {word}: signal {}.", signalled.transaction, signalled.signal)
        });
        Ok(())
    }
}

/// Cancel a transaction
///
/// It cannot be taken back. Operations that have a compensation and are complete are undone first, the last one first; the
/// transaction is `compensating` meanwhile.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hansa transaction cancel 01JD5M6Q0000000000000000AB")]
pub struct Cancel {
    /// The transaction
    #[arg(value_name = "ID")]
    id: TransactionId,
}

impl Cancel {
    pub async fn perform(self, context: &Context) -> Result<(), Failure> {
        let cancelled: Cancelled = context.client().await?.ask(&Request::Cancel { id: self.id }).await?;
        context.show(&cancelled, |cancelled| {
            let id = cancelled.transaction;
            match cancelled.state {
                TransactionState::Compensating => {
                    format!(
                        "{id} is cancelled, and compensating: what was done is undone now. See `hansa transaction show {id}`."
                    )
                }
                state => format!("{id} is {state}."),
            }
        });
        Ok(())
    }
}

/// Let open transactions ask once more whoever has not answered them
///
/// A node does so itself when it starts. On a running node it helps where an operator knows that work was lost outside of
/// it. Services are asked under the same ids, so whoever has the work already does nothing twice.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    hansa transaction recover 01JD5M6Q0000000000000000AB\n  \
    hansa transaction recover --all")]
pub struct Recover {
    /// The transaction
    #[arg(value_name = "ID", required_unless_present = "all")]
    id: Option<TransactionId>,
    /// All open transactions, and the links to other members
    #[arg(long, conflicts_with = "id")]
    all: bool,
}

impl Recover {
    pub async fn perform(self, context: &Context) -> Result<(), Failure> {
        let mut client = context.client().await?;
        if let Some(id) = self.id {
            let recovered: Recovered = client.ask(&Request::Recover { id }).await?;
            context.show(&recovered, |recovered| {
                let mut text = format!("{} is {}.\n", recovered.transaction, recovered.state);
                match recovered.asked_again.as_slice() {
                    [] => text.push_str("Nobody was to be asked once more.\n"),
                    asked => asked.iter().for_each(|one| text.push_str(&format!("  asked once more: {one}\n"))),
                }
                text
            });
            return Ok(());
        }
        let mut whole = RecoveredPart { recovered: 0, next: None };
        loop {
            let part: RecoveredPart = client.ask(&Request::RecoverAll { before: whole.next }).await?;
            whole = RecoveredPart { recovered: whole.recovered + part.recovered, next: part.next };
            if whole.next.is_none() {
                break;
            }
        }
        context.show(&whole, |whole| {
            format!(
                "{} told to ask once more whoever has not answered.",
                render::count(whole.recovered, "open transaction")
            )
        });
        Ok(())
    }
}

/// Remove transactions that have ended
///
/// A node does so itself after transactions.finished_keep_hours. What the journal recorded of them stays in it until its
/// segments are dropped, and is no longer found by their ids.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    hansa transaction purge 01JD5M6Q0000000000000000AB\n  \
    hansa transaction purge --ended-before 30d\n  \
    hansa transaction purge --ended-before 2026-11-01T00:00:00Z")]
pub struct Purge {
    /// The transaction
    #[arg(value_name = "ID", required_unless_present = "ended_before")]
    id: Option<TransactionId>,
    /// All that ended before then: RFC 3339, or how long ago: 30m, 2h, 7d
    #[arg(long, value_name = "TIME", conflicts_with = "id", value_parser = Time::point)]
    ended_before: Option<Time>,
}

impl Purge {
    pub async fn perform(self, context: &Context) -> Result<(), Failure> {
        let mut client = context.client().await?;
        if let Some(id) = self.id {
            let purged: Purged = client.ask(&Request::Purge { id }).await?;
            context.show(&purged, |purged| format!("{} is purged.", purged.transaction));
            return Ok(());
        }
        let before = self.ended_before.unwrap_or_default();
        let mut whole = PurgedPart { purged: 0, looked: 0, next: None };
        loop {
            let part: PurgedPart = client.ask(&Request::PurgeEnded { before, from: whole.next }).await?;
            whole =
                PurgedPart { purged: whole.purged + part.purged, looked: whole.looked + part.looked, next: part.next };
            if whole.next.is_none() {
                break;
            }
        }
        context.show(&whole, |whole| {
            format!("{} of {} purged.", whole.purged, render::count(whole.looked, "ended transaction"))
        });
        Ok(())
    }
}
