//! `hansa invite`, `hansa join`, `hansa directory`: what a node has to do with the other members.

use super::{Context, Failure, render};
use crate::admin::protocol::{DirectoryEntry, Invited, Joined, Request};
use clap::Args;
use hansa_core::{
    code::Code,
    ident::{City, OperationName},
    membership::InviteText,
};
use serde_json::json;

/// Make an invite, with which another organization can join the federation
///
/// Give it to that organization only: whoever has it can join once, until it expires. The first invite of a node that
/// belongs to no federation founds one.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  hansa invite\n  hansa invite --hours 2")]
pub struct Invite {
    /// For how many hours it opens
    #[arg(long, value_name = "N", default_value_t = 72, value_parser = clap::value_parser!(u32).range(1..=8_760))]
    hours: u32,
}

impl Invite {
    pub async fn perform(self, context: &Context) -> Result<(), Failure> {
        let invited: Invited = context.client().await?.ask(&Request::Invite { hours: self.hours }).await?;
        // The invite alone is on standard output, so that it can be piped; the rest is for the person.
        if !context.json {
            eprintln!(
                "An invite into the federation {}, which opens until {}. On the other machine:\n  hansa join INVITE\n",
                invited.federation.name, invited.expires
            );
        }
        context.show(&invited, |invited| invited.invite.clone());
        Ok(())
    }
}

/// Join the federation of an invite
///
/// Where no node runs yet, the invite is kept, and the next `hansa run` joins with it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  hansa join hansa-invite-…\n  ssh acme hansa invite | xargs hansa join")]
pub struct Join {
    /// The text that `hansa invite` printed
    #[arg(value_name = "INVITE")]
    invite: String,
}

impl Join {
    pub async fn perform(self, context: &Context) -> Result<(), Failure> {
        let invite = self.invite.trim().to_owned();
        // Checked here, so that a slip in copying is found whether a node runs or not.
        let checked: InviteText = invite.parse()?;
        let joined: Result<Joined, _> = match context.client().await {
            Ok(mut client) => client.ask(&Request::Join { invite }).await,
            Err(fault) if fault.code == Code::NodeStopped && !context.is_elsewhere() && !context.folder.is_in_use() => {
                context.folder.keep_invite(&invite)?;
                let by = checked.invite.name.to_string();
                context.show(&json!({ "kept": true, "invited_by": by }), |_| {
                    format!(
                        "No node runs here, so the invite of {by} is kept. The next start joins with it:\n  hansa run --data {}",
                        context.folder.path().display()
                    )
                });
                return Ok(());
            }
            Err(fault) => Err(fault),
        };
        context.show(&joined?, |joined| {
            let federation = &joined.federation;
            let word = if joined.repeated { "This node belonged to" } else { "Joined" };
            format!(
                "{word} the federation {} ({}): {}.",
                federation.name,
                federation.id.short(),
                render::count(federation.members, "member")
            )
        });
        Ok(())
    }
}

/// Show who offers what, and where
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hansa directory\n  hansa directory --operation check-stock\n  hansa directory --city Hamburg --json"
)]
pub struct Directory {
    /// Only who offers this operation
    #[arg(long, value_name = "OPERATION")]
    operation: Option<OperationName>,
    /// Only who is in this city
    #[arg(long, value_name = "CITY")]
    city: Option<City>,
}

impl Directory {
    pub async fn perform(self, context: &Context) -> Result<(), Failure> {
        let request = Request::Directory { operation: self.operation, city: self.city };
        let entries: Vec<DirectoryEntry> = context.client().await?.ask(&request).await?;
        context.show(&entries, |entries| render::directory(entries));
        Ok(())
    }
}
