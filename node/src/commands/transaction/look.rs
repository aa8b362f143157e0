//! `hansa transaction show`, `history` and `replay`: into one transaction, and back at what was recorded of it.

use super::super::{Context, Failure, print, render};
use crate::admin::protocol::{HistoryPage, Replayed, Request, Show};
use clap::Args;
use hansa_core::{
    code::{Code, Fault},
    ident::TransactionId,
};

/// Show a transaction: each operation's state, who performed it and how long it took, and the documents
#[derive(Debug, Args)]
#[command(
    name = "show",
    after_help = "Examples:\n  \
    hansa transaction show 01JD5M6Q0000000000000000AB\n  \
    hansa transaction show 01JD5M6Q0000000000000000AB --operation 2\n  \
    hansa transaction show 01JD5M6Q0000000000000000AB --brief --json"
)]
pub struct ShowCommand {
    /// The transaction
    #[arg(value_name = "ID")]
    id: TransactionId,
    /// Leave the documents out
    #[arg(long)]
    brief: bool,
    /// Only the documents of the operation with this OPID
    #[arg(long, value_name = "OPID", conflicts_with = "brief")]
    operation: Option<u32>,
}

impl ShowCommand {
    pub async fn perform(self, context: &Context) -> Result<(), Failure> {
        let mut show: Show = context.client().await?.ask(&Request::Show { id: self.id }).await?;
        if self.brief || self.operation.is_some() {
            (show.input, show.output, show.documents_left_out) = (None, None, 0);
            for operation in show.operations.iter_mut().filter(|one| Some(one.id) != self.operation) {
                (operation.input, operation.output) = (None, None);
            }
        }
        context.show(&show, render::show);
        Ok(())
    }
}

/// Show everything that was recorded of a transaction, with the entry of the journal and its hash
///
/// The journal keeps its entries for as long as journal.keep_mib lets it. What is read is checked against the chain of
/// hashes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    hansa transaction history 01JD5M6Q0000000000000000AB\n  \
    hansa transaction history 01JD5M6Q0000000000000000AB --json")]
pub struct History {
    /// The transaction
    #[arg(value_name = "ID")]
    id: TransactionId,
}

impl History {
    pub async fn perform(self, context: &Context) -> Result<(), Failure> {
        let mut client = context.client().await?;
        let mut whole: HistoryPage = client.ask(&Request::History { id: self.id, after: None }).await?;
        // A long history comes in parts.
        while let Some(after) = whole.next {
            let part: HistoryPage = client.ask(&Request::History { id: self.id, after: Some(after) }).await?;
            whole.entries.extend(part.entries);
            (whole.next, whole.state) = (part.next, part.state);
        }
        context.show(&whole, render::history);
        Ok(())
    }
}

/// Make a transaction anew from the journal, and prove that it comes to the same
///
/// All its entries are read and checked against the chain of hashes; a new machine takes in their records and is compared
/// with the transaction that is stored. The exit code is 1 if anything differs; the first difference is told.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hansa transaction replay 01JD5M6Q0000000000000000AB")]
pub struct Replay {
    /// The transaction
    #[arg(value_name = "ID")]
    id: TransactionId,
}

impl Replay {
    pub async fn perform(self, context: &Context) -> Result<(), Failure> {
        let replayed: Replayed = context.client().await?.ask(&Request::Replay { id: self.id }).await?;
        context.show(&replayed, |replayed| {
            let mut text = format!("{} {} is {}.\n", replayed.definition, replayed.id, replayed.state);
            replayed.proven.iter().for_each(|proven| text.push_str(&format!("  ✔ {proven}\n")));
            text
        });
        match replayed.difference {
            None => Ok(()),
            Some(_) if context.json => Err(Failure::Told),
            Some(difference) => {
                print(&format!("  ✘ {difference}"));
                let message = format!("transaction {} is not what its records make", replayed.id);
                Err(Fault::new(Code::ReplayDiffers, message).into())
            }
        }
    }
}
