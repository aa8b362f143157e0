//! What happened to a transaction, in words: for its history on screens. Decides nothing.

use super::{Again, Answerer, COMPENSATION, Link, OperationState, OutcomeKind, Record, Refusal, Refused, Request};
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
    asked: BTreeMap<(u32, u32), Performer>,
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
            Record::Submitted { definition, hash, save, parent, input, deadline, .. } => {
                let deadline = deadline.map(|at| format!(", to end by {at}")).unwrap_or_default();
                let save = if *save { "" } else { ", not kept after its end" };
                let size = input.as_str().len();
                let parent = parent.as_ref().map(|parent| format!(", for transaction {}", parent.transaction));
                let parent = parent.unwrap_or_default();
                format!(
                    "submitted: {definition} version {}, input of {size} bytes{parent}{deadline}{save}",
                    hash.short()
                )
            }
            Record::Awaited { .. } => "somebody waits for the response".to_owned(),
            Record::Responded => "whoever waited for the response has it".to_owned(),
            Record::Sought { operation, leg, again_at, .. } => {
                format!("{}: nobody performs it; to be looked for again at {again_at}", self.what(*operation, *leg))
            }
            Record::Iterated { operation, requests, concurrent, .. } => {
                let operation = self.operation(*operation);
                format!("{operation}: {} lines, {concurrent} at once", requests.len())
            }
            Record::Waited { operation, signal, deadline, .. } => {
                let deadline = deadline.map(|at| format!(", until {at}")).unwrap_or_default();
                format!("{}: waits for signal {signal}{deadline}", self.operation(*operation))
            }
            Record::Requested { operation, asked, request, deadline, .. } => {
                let (who, what) = match asked.as_slice() {
                    [one] => {
                        let attempt = match one.attempt {
                            1 => String::new(),
                            attempt => format!(", attempt {attempt}"),
                        };
                        (format!("{}{attempt}", self.performer(&one.performer)), self.what(*operation, one.leg))
                    }
                    several => (format!("{} recipients", several.len()), self.operation(*operation)),
                };
                self.asked.extend(asked.iter().map(|asked| ((*operation, asked.leg), asked.performer.clone())));
                let with = match request {
                    None => String::new(),
                    Some(Request::Input) => " with the transaction's input".to_owned(),
                    Some(Request::Output(source)) => format!(" with the output of {}", self.operation(*source)),
                    Some(Request::Made(text)) => format!(" with a document of {} bytes", text.as_str().len()),
                };
                let deadline = deadline.map(|at| format!(", to be answered by {at}")).unwrap_or_default();
                format!("{what}: asked of {who}{with}{deadline}")
            }
            Record::Signalled { signal, document, .. } => {
                format!("signal {signal} came, with a document of {} bytes", document.as_str().len())
            }
            Record::Answered { operation, leg, outcome, from, counted, again, .. } => {
                let who = match from {
                    Answerer::Nobody => "nobody".to_owned(),
                    Answerer::Service(service) => format!("{service} of {}", self.leg(*operation, *leg)),
                    Answerer::Asked => self.leg(*operation, *leg),
                };
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
                let again = again.as_ref().map(|again| self.again(again)).unwrap_or_default();
                format!("{}: {who} {said}{counted}{again}", self.what(*operation, *leg))
            }
            Record::AnswerRefused(Refused { leg, from, outcome, refusal, .. }) => {
                let what = leg.map(|(operation, leg)| self.what(operation, leg));
                let said = match outcome {
                    OutcomeKind::Completed => "that it was done",
                    OutcomeKind::Failed => "that it failed",
                    OutcomeKind::Expired => "that its time was over",
                    OutcomeKind::Cancelled => "that it was withdrawn",
                };
                let why = match refusal {
                    Refusal::Late => "nobody waited any more",
                    Refusal::Duplicate => "another answer came before",
                    Refusal::Foreign => "it was not asked",
                    Refusal::Malformed => "what it says cannot be read",
                };
                let what = what.unwrap_or_else(|| "no operation".to_owned());
                format!("{what}: {} said {said}, which was refused: {why}", self.performer(from))
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
            Record::CompensationBegan { ending, operations, .. } => {
                let word = ending.word();
                format!("the transaction will end as {word}; {} operations are undone before", operations.len())
            }
            Record::Settled => "the transaction that waited for this one has recorded its end".to_owned(),
            Record::Forgotten => "the time in which the response could be asked for is over".to_owned(),
            Record::Purged => "it was purged".to_owned(),
        }
    }

    /// The operation, and which leg of it where it is not the only one.
    fn what(&self, operation: u32, leg: u32) -> String {
        let defined = self.definition.and_then(|definition| definition.operations.get(operation as usize));
        let name = self.operation(operation);
        match leg {
            COMPENSATION => format!("undoing {name}"),
            leg if defined.is_some_and(|defined| defined.iteration.is_some()) => format!("{name}, line {}", leg + 1),
            _ => name,
        }
    }

    fn again(&self, again: &Again) -> String {
        let when = again.at.map_or_else(|| " at once".to_owned(), |at| format!(" at {at}"));
        let without = again.excluded.map(|peer| format!(", without {}", self.organization(peer)));
        format!("; to be asked for again{when}{}", without.unwrap_or_default())
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
        match self.asked.get(&(operation, leg)) {
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
            Performer::Transaction(id) => format!("transaction {id}"),
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
