//! What a transaction promises, by example, over random definitions, and at size.

mod broadcasts;
mod endings;
mod extensions;
mod glances;
mod performers;
mod properties;
mod recovery;
mod size;
mod steps;

use super::*;
use crate::{
    fixture::{Came, Fed, asker, organization, service, text},
    ident::OrganizationId,
    limit,
    offer::PeerOffer,
    session::Ending,
    transaction::{Catalogue, Loader, catalogue},
};

/// The transaction of most tests.
const ID: TransactionId = TransactionId(7);

/// A definition from lines like `1 check > 2 3 | <TIMEOUT>5</TIMEOUT>`: OPID, name, links, and whatever else it has.
fn define(name: &str, head: &str, lines: &[&str]) -> Text {
    let operations: String = lines.iter().map(|line| operation(line)).collect();
    text(&format!(
        "<TRANSACTION xmlns:hx=\"urn:hansa:transaction:1\"><NAME>{name}</NAME>{head}{operations}</TRANSACTION>"
    ))
}

fn operation(line: &str) -> String {
    let (graph, rest) = line.split_once('|').unwrap_or((line, ""));
    let (who, links) = graph.split_once('>').unwrap_or((graph, ""));
    let (id, name) = who.trim().split_once(' ').unwrap();
    let link = |to: &str| format!("<OPLINK><SRCOPID>{id}</SRCOPID><DSTOPID>{to}</DSTOPID></OPLINK>");
    let links: String = links.split_whitespace().map(link).collect();
    let performer =
        if ["CXCNAME", "hx:TRANSACTION", "hx:SIGNAL"].iter().any(|it| rest.contains(it)) || name.starts_with("CXts") {
            ""
        } else {
            "<CXCNAME>ANY</CXCNAME>"
        };
    format!("<OPERATION><NAME>{name}</NAME><OPID>{id}</OPID>{performer}{rest}{links}</OPERATION>")
}

/// A condition: the output of operation `id` has an element `name`.
fn has(id: u32, name: &str) -> String {
    format!(
        "<EXPR><FUNCTION><FUNCNAME>EXISTS</FUNCNAME><EXPR><VAR><VARNAME>{name}</VARNAME><OPID>{id}</OPID>\
         <OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE><VALTYPE>STRVALUE</VALTYPE></VAR></EXPR></FUNCTION></EXPR>"
    )
}

/// A SPLIT of operation `id`: to each target where its output has the element `to` and the target's OPID.
fn split(id: u32, targets: &[u32]) -> String {
    let statement = |to: &u32| format!("<STMT>{}<OPID>{to}</OPID></STMT>", has(id, &format!("to{to}")));
    format!("<SPLIT>{}</SPLIT>", targets.iter().map(statement).collect::<String>())
}

/// The definitions that a catalogue has taken in.
fn definitions(texts: &[Text]) -> Definitions {
    let mut catalogue = Fed::<Catalogue>::new((), Loader::default()).uncompared();
    let mut drawn = Definitions::default();
    for text in texts {
        let came = catalogue.give(catalogue::Input::Define { asker: asker(1, 1), text: text.clone() });
        for effect in came.effects {
            if let catalogue::Effect::Redraw(picture) = effect {
                drawn = picture;
            }
        }
    }
    drawn
}

/// This node, organization 1, with one service `desk` that performs `local`, and peers that perform what they are said to.
fn offers(local: &[&str], peers: &[(u8, &str, &[&str])]) -> Offers {
    let peer = |(number, name, operations): &(u8, &str, &[&str])| PeerOffer {
        organization: organization(*number),
        name: name.parse().unwrap(),
        city: "Hamburg".parse().unwrap(),
        services: vec![service("depot", operations)],
    };
    let desk = (!local.is_empty()).then(|| service("desk", local));
    Offers::new(organization(1), "Acme".parse().unwrap(), desk, peers.iter().map(peer))
}

/// A transaction under test, not submitted yet.
fn run(definition: Text, offers: Offers) -> Fed<Instance> {
    Fed::new(ID, Around { definitions: definitions(&[definition]), offers, lived: None })
}

fn submit_as(message: u64, definition: &str, document: &str) -> Input {
    Input::Submit { asker: asker(1, message), definition: definition.parse().unwrap(), document: text(document) }
}

fn submit() -> Input {
    submit_as(1, "purchase", "<Order/>")
}

fn completed(xml: &str) -> Outcome {
    Outcome::Completed(text(xml))
}

fn failed() -> Outcome {
    Outcome::Failed(Fault::new(Code::OperationFailed, "out of paper"))
}

impl Fed<Instance> {
    fn begun(&self) -> &Begun {
        self.machine.begun.as_ref().expect("it was submitted")
    }

    fn definition(&self) -> Arc<Definition> {
        Arc::clone(self.around.definitions.version(&self.begun().hash).unwrap())
    }

    /// What operation `id` is doing.
    fn state(&self, id: u32) -> Option<OperationState> {
        let index = self.definition().index_of(id).unwrap() as u32;
        self.begun().operations.get(&index).map(|operation| operation.state)
    }

    /// The id of the invocation of leg `leg` of operation `id`.
    fn invocation(&self, id: u32, leg: usize) -> InvocationId {
        let index = self.definition().index_of(id).unwrap() as u32;
        self.begun().operations[&index].legs[leg].invocation.expect("it was asked")
    }

    /// Answer leg `leg` of operation `id`.
    #[track_caller]
    fn answer_leg(&mut self, id: u32, leg: usize, outcome: Outcome) -> Came<Instance> {
        let invocation = self.invocation(id, leg);
        self.give(self.answer_to(invocation, outcome))
    }

    /// The answer to an invocation, from whom it was asked of.
    fn answer_to(&self, invocation: InvocationId, outcome: Outcome) -> Input {
        let part = self.begun().invocations.get(&invocation);
        let asked = part.and_then(|part| self.begun().leg(*part)).and_then(|leg| leg.performer.clone());
        let from = asked.unwrap_or_else(|| Performer::Local("desk".parse().unwrap()));
        let asker = matches!(from, Performer::Local(_)).then(|| asker(5, 9));
        Input::Answer { invocation, outcome, from, asker }
    }

    /// Answer operation `id`.
    #[track_caller]
    fn answer(&mut self, id: u32, outcome: Outcome) -> Came<Instance> {
        self.answer_leg(id, 0, outcome)
    }

    /// The legs that are asked and have not answered: OPID, leg, invocation.
    fn open_legs(&self) -> Vec<(u32, usize, InvocationId)> {
        let definition = self.definition();
        let running = self.begun().operations.iter().filter(|(_, it)| it.state == OperationState::Running);
        running
            .flat_map(|(index, operation)| {
                let id = definition.operations[*index as usize].id;
                let open = operation.legs.iter().enumerate().filter(|(_, leg)| leg.is_open);
                open.filter_map(move |(number, leg)| Some((id, number, leg.invocation?)))
            })
            .collect()
    }

    /// The effects in words.
    fn told(&self, came: &Came<Instance>) -> Vec<String> {
        let who = |performer: &Performer| match performer {
            Performer::Local(service) => service.to_string(),
            Performer::Peer { organization, .. } => format!("peer {}", organization.0[0]),
            Performer::Transaction(_) => "child".to_owned(),
        };
        let words = came.effects.iter().map(|effect| match effect {
            Effect::Offer { service, invocation } => format!("{service} does {}", invocation.target.operation),
            Effect::Ask { organization, invocation, .. } => {
                format!("peer {} does {}", organization.0[0], invocation.target.operation)
            }
            Effect::Withdraw { performer, .. } => format!("{} stops", who(performer)),
            Effect::Begin { definition, .. } => format!("child does {definition}"),
            Effect::Return { outcome, .. } => format!("return {:?}", OutcomeKind::of(outcome)).to_lowercase(),
            Effect::Inquire { .. } => "inquire".to_owned(),
            Effect::Refuse { fault, .. } => format!("refuse {}", fault.code),
            Effect::Settle { .. } => "settle".to_owned(),
            Effect::Acknowledge { word, .. } => (*word).to_owned(),
            Effect::Report { status, .. } => {
                format!("{} {}/{}", status.state, status.operations_ended, status.operations)
            }
            Effect::Respond { asker, response } => format!("respond {} {}", asker.message, response.ending.word()),
        });
        words.collect()
    }

    /// The output document, once it has completed.
    #[track_caller]
    fn output(&self) -> &str {
        match self.machine.ending() {
            Some(Ending::Completed(output)) => output.as_str(),
            other => panic!("not completed but {other:?}"),
        }
    }

    /// Why it failed.
    #[track_caller]
    fn failure(&self) -> Code {
        match self.machine.ending() {
            Some(Ending::Failed(fault)) => fault.code,
            other => panic!("not failed but {other:?}"),
        }
    }
}

fn answer(invocation: InvocationId, outcome: Outcome) -> Input {
    let from = Performer::Local("desk".parse().unwrap());
    Input::Answer { invocation, outcome, from, asker: Some(asker(5, 9)) }
}

/// The answer of a peer.
fn answer_of_peer(number: u8, invocation: InvocationId, outcome: Outcome) -> Input {
    let from = Performer::Peer { organization: organization(number), service: None };
    Input::Answer { invocation, outcome, from, asker: None }
}

/// The records in words, with OPIDs.
fn recorded(came: &Came<Instance>) -> Vec<String> {
    let words = came.records.iter().map(|record| match record {
        Record::Submitted { .. } => "submitted".to_owned(),
        Record::Awaited { .. } => "awaited".to_owned(),
        Record::Responded => "responded".to_owned(),
        Record::Sought { operation, .. } => format!("sought {operation}"),
        Record::Requested { operation, asked, .. } if asked.iter().any(|asked| asked.leg == COMPENSATION) => {
            format!("requested to undo {operation}")
        }
        Record::Requested { operation, asked, .. } => format!("requested {operation} of {}", asked.len()),
        Record::Iterated { operation, requests, .. } => format!("iterated {operation} over {}", requests.len()),
        Record::Waited { operation, signal, .. } => format!("waited {operation} for {signal}"),
        Record::CompensationBegan { ending, operations, .. } => {
            format!("undoing {operations:?} before {}", ending.word())
        }
        Record::Settled => "settled".to_owned(),
        Record::Forgotten => "forgotten".to_owned(),
        Record::Purged => "purged".to_owned(),
        Record::Answered { operation, leg, counted, again, outcome, .. } => {
            let what = match leg {
                &COMPENSATION if matches!(outcome, Outcome::Completed(_)) => format!("undone {operation}"),
                &COMPENSATION => format!("not undone {operation}"),
                leg => format!("answered {operation}.{leg}{}", if *counted { "" } else { " uncounted" }),
            };
            format!("{what}{}", if again.is_some() { ", again" } else { "" })
        }
        Record::AnswerRefused(Refused { leg, refusal, .. }) => match leg {
            Some((operation, leg)) => format!("{refusal:?} {operation}.{leg}").to_lowercase(),
            None => format!("{refusal:?}").to_lowercase(),
        },
        Record::Signalled { signal, .. } => format!("signalled {signal}"),
        Record::Ended { operation, state, .. } => format!("ended {operation} {state:?}").to_lowercase(),
        Record::Finished { ending, .. } => format!("finished {}", ending.word()),
    });
    words.collect()
}

fn nothing() -> Vec<String> {
    Vec::new()
}
