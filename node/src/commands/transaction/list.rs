//! `hansa transaction list`: which transactions there are.

use super::super::{Context, Failure, render};
use crate::admin::{
    protocol::{
        LIST_DEFAULT, LIST_MAX, ListFilter, OperationState, Request, TransactionEntry, TransactionPage,
        TransactionState,
    },
    time::Time,
};
use clap::{Args, ValueEnum as _};
use hansa_core::ident::{DefinitionName, OperationName, TransactionId};

/// List transactions, the newest first
///
/// What is said is combined: listed are those that fit all of it. A time is RFC 3339, or how long ago: 90s, 30m, 2h, 7d.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    hansa transaction list\n  \
    hansa transaction list --state running --limit 100\n  \
    hansa transaction list --definition purchase --since 2h\n  \
    hansa transaction list --operation check-credit=timed-out --organization 'Birch GmbH'\n  \
    hansa transaction list --text PO-4711")]
pub struct List {
    /// Only those in this state
    #[arg(long, value_name = "STATE")]
    state: Option<TransactionState>,
    /// Only those of this definition
    #[arg(long, value_name = "NAME")]
    definition: Option<DefinitionName>,
    /// Only those of which a service of this organization was asked: its name or its id
    #[arg(long, value_name = "ORGANIZATION")]
    organization: Option<String>,
    /// Only those that were submitted then or later
    #[arg(long, value_name = "TIME", value_parser = Time::point)]
    since: Option<Time>,
    /// Only those that were submitted before
    #[arg(long, value_name = "TIME", value_parser = Time::point)]
    until: Option<Time>,
    /// Only those with this operation, or with it in this state: NAME, NAME=STATE, or =STATE for any
    #[arg(long, value_name = "NAME[=STATE]", value_parser = operation)]
    operation: Option<SoughtOperation>,
    /// Only those with a document in which this text stands, as XML writes it
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = LIST_DEFAULT, value_parser = clap::value_parser!(u32).range(1..=i64::from(LIST_MAX)))]
    limit: u32,
}

/// What an operation that is looked for is like.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SoughtOperation {
    name: Option<OperationName>,
    state: Option<OperationState>,
}

fn operation(text: &str) -> Result<SoughtOperation, String> {
    let (name, state) = match text.split_once('=') {
        Some((name, state)) => (name, Some(OperationState::from_str(state, false)?)),
        None => (text, None),
    };
    let name = if name.is_empty() && state.is_some() {
        None
    } else {
        Some(name.parse::<OperationName>().map_err(|fault| fault.to_string())?)
    };
    Ok(SoughtOperation { name, state })
}

impl List {
    pub async fn perform(self, context: &Context) -> Result<(), Failure> {
        let operation = self.operation.unwrap_or(SoughtOperation { name: None, state: None });
        let mut filter = ListFilter {
            state: self.state,
            definition: self.definition,
            organization: self.organization,
            since: self.since,
            until: self.until,
            operation: operation.name,
            operation_state: operation.state,
            text: self.text,
            limit: Some(self.limit),
            before: None,
        };
        let mut client = context.client().await?;
        let (mut found, mut unreadable): (Vec<TransactionEntry>, Vec<TransactionId>) = Default::default();
        // Each request looks at a bounded number, and says where to go on.
        loop {
            let page: TransactionPage = client.ask(&Request::List(Box::new(filter.clone()))).await?;
            found.extend(page.transactions);
            unreadable.extend(page.unreadable);
            let missing = self.limit.saturating_sub(u32::try_from(found.len()).unwrap_or(u32::MAX));
            if page.next.is_none() || missing == 0 {
                break;
            }
            (filter.before, filter.limit) = (page.next, Some(missing));
        }
        context.show(&found, |found| render::transactions(found));
        if let Some(warning) = left_out(&unreadable) {
            eprintln!("{warning}");
            // Whoever reads only what is listed hears by that that it is not all.
            return Err(Failure::Told);
        }
        Ok(())
    }
}

/// What a list does not have that there is.
fn left_out(unreadable: &[TransactionId]) -> Option<String> {
    let ids = unreadable.iter().map(|id| format!("\n  {id}")).collect::<String>();
    (!unreadable.is_empty()).then(|| {
        format!("Left out, for what is stored of them cannot be read (`hansa transaction show ID` says why):{ids}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_looked_for_by_its_name_its_state_or_both() {
        let sought = |text: &str| operation(text).map(|it| (it.name.map(|name| name.to_string()), it.state));
        assert_eq!(sought("credit"), Ok((Some("credit".into()), None)));
        assert_eq!(sought("credit=timed-out"), Ok((Some("credit".into()), Some(OperationState::TimedOut))));
        assert_eq!(sought("=failed"), Ok((None, Some(OperationState::Failed))));
        assert!(sought("credit=gone").is_err() && sought("").is_err());
    }

    #[test]
    fn what_cannot_be_read_is_named_and_nothing_is_said_without_any() {
        let id = TransactionId::new(hansa_core::moment::Moment(1), [7; 16]);
        assert_eq!(left_out(&[]), None);
        assert!(left_out(&[id]).is_some_and(|warning| warning.contains(&id.to_string())));
    }
}
