//! What happened to a transaction, in words: for its history on screens. Decides nothing.

use super::{Link, OperationState, Record, Request};
use crate::{
    ident::OrganizationId,
    invocation::{Outcome, Performer},
    offer::Offers,
    session::Ending,
    transaction::Definition,
};
use std::collections::BTreeMap;

/// Tells the records of one transaction in their order. It remembers whom each operation was asked of.
pub struct Teller<'a> {
    definition: Option<&'a Definition>,
    offers: &'a Offers,
    asked: BTreeMap<u32, Vec<Performer>>,
}

impl<'a> Teller<'a> {
    /// A teller of a transaction that runs `definition`, where that is known.
    #[must_use]
    pub fn new(definition: Option<&'a Definition>, offers: &'a Offers) -> Self {
        Self { definition, offers, asked: BTreeMap::new() }
    }

    /// What a record says.
    pub fn tell(&mut self, record: &Record) -> String {
        match record {
            Record::Submitted { definition, hash, save, input, deadline, .. } => {
                let deadline = deadline.map(|at| format!(", to end by {at}")).unwrap_or_default();
                let save = if *save { "" } else { ", not kept after its end" };
                let size = input.as_str().len();
                format!("submitted: {definition} version {}, input of {size} bytes{deadline}{save}", hash.short())
            }
            Record::Awaited { .. } => "somebody waits for the response".to_owned(),
            Record::Responded => "whoever waited for the response has it".to_owned(),
            Record::Sought { operation, again_at, .. } => {
                format!("{}: nobody performs it; to be looked for again at {again_at}", self.operation(*operation))
            }
            Record::Requested { operation, legs, request, deadline, .. } => {
                let performers: Vec<_> = legs.iter().map(|(performer, _)| performer.clone()).collect();
                let who = match performers.as_slice() {
                    [one] => self.performer(one),
                    several => format!("{} recipients", several.len()),
                };
                self.asked.insert(*operation, performers);
                let with = match request {
                    Request::Input => "the transaction's input".to_owned(),
                    Request::Output(source) => format!("the output of {}", self.operation(*source)),
                    Request::Made(text) => format!("a document of {} bytes", text.as_str().len()),
                };
                let deadline = deadline.map(|at| format!(", to be answered by {at}")).unwrap_or_default();
                format!("{}: asked of {who} with {with}{deadline}", self.operation(*operation))
            }
            Record::Signalled { signal, document, .. } => {
                format!("signal {signal} came, with a document of {} bytes", document.as_str().len())
            }
            Record::Answered { operation, leg, outcome, counted, .. } => {
                let who = self.leg(*operation, *leg);
                let said = match outcome {
                    Outcome::Completed(text) => format!("completed it, with {} bytes", text.as_str().len()),
                    Outcome::Failed(fault) => format!("failed: {fault}"),
                    Outcome::Expired => "gave no answer before the deadline".to_owned(),
                    Outcome::Cancelled => "had it withdrawn".to_owned(),
                };
                let counted = match outcome {
                    Outcome::Completed(_) if !counted => ", which does not count",
                    _ => "",
                };
                format!("{}: {who} {said}{counted}", self.operation(*operation))
            }
            Record::AnsweredLate { operation, leg } => {
                format!(
                    "{}: {} answered when nobody waited any more",
                    self.operation(*operation),
                    self.leg(*operation, *leg)
                )
            }
            Record::Retried { operation, excluded } => {
                let without = excluded.map(|peer| format!(", without {}", self.organization(peer)));
                format!("{}: to be asked for again{}", self.operation(*operation), without.unwrap_or_default())
            }
            Record::Ended { operation, state, fault, followed, passed, .. } => {
                let mut text = format!("{}: {}", self.operation(*operation), word(*state));
                if let Some(fault) = fault {
                    text.push_str(&format!(" ({fault})"));
                }
                for (links, done) in [(followed, "goes on to"), (passed, "does not go on to")] {
                    if !links.is_empty() {
                        text.push_str(&format!("; {done} {}", self.links(links)));
                    }
                }
                text
            }
            Record::Finished { ending, .. } => match ending {
                Ending::Failed(fault) => format!("the transaction failed: {fault}"),
                Ending::Completed(output) => {
                    format!("the transaction completed, with an output of {} bytes", output.as_str().len())
                }
                Ending::TimedOut => "the transaction timed out".to_owned(),
                Ending::Cancelled => "the transaction was cancelled".to_owned(),
            },
        }
    }

    fn operation(&self, index: u32) -> String {
        match self.definition.and_then(|definition| definition.operations.get(index as usize)) {
            Some(operation) => format!("operation {} {}", operation.id, operation.name),
            None => format!("operation at place {index}"),
        }
    }

    fn links(&self, links: &[Link]) -> String {
        links.iter().map(|link| self.operation(link.operation)).collect::<Vec<_>>().join(", ")
    }

    fn leg(&self, operation: u32, leg: u32) -> String {
        match self.asked.get(&operation).and_then(|asked| asked.get(leg as usize)) {
            Some(performer) => self.performer(performer),
            None => format!("recipient {}", leg + 1),
        }
    }

    fn performer(&self, performer: &Performer) -> String {
        match performer {
            Performer::Local(service) => service.to_string(),
            Performer::Peer { organization, service: Some(service) } => {
                format!("{service} at {}", self.organization(*organization))
            }
            Performer::Peer { organization, service: None } => self.organization(*organization),
        }
    }

    fn organization(&self, organization: OrganizationId) -> String {
        self.offers.name(&organization).map_or_else(|| organization.short(), ToString::to_string)
    }
}

const fn word(state: OperationState) -> &'static str {
    match state {
        OperationState::Seeking => "looked for",
        OperationState::Running => "running",
        OperationState::Completed => "completed",
        OperationState::Failed => "failed",
        OperationState::TimedOut => "timed out",
        OperationState::Cancelled => "cancelled",
        OperationState::Eliminated => "eliminated",
    }
}
