//! From machines to what the administration shows. Nothing is decided here.

use crate::admin::{protocol::*, time::Time};
use hansa_core::{
    code::{Code, Fault},
    directory::Directory,
    document::Text,
    ident::{OrganizationId, TransactionId},
    invocation::Performer,
    limit,
    offer::Offers,
    session::{Ending, Response},
    transaction::{Definition, Definitions, LegPicture, OperationPicture, Picture, Refused, catalogue::LibraryPicture},
};

/// A connected peer.
pub fn peer(link: hansa_federation::Peer) -> Peer {
    use hansa_federation::DiscoveredBy;
    let discovered_by = match link.discovered_by {
        DiscoveredBy::Configured => "known-peer",
        DiscoveredBy::Invite => "invite",
        DiscoveredBy::Directory => "directory",
        DiscoveredBy::Mdns => "mdns",
        DiscoveredBy::Kademlia => "kademlia",
        DiscoveredBy::Inbound => "inbound",
    };
    Peer {
        connected: true,
        since: Some(link.connected.into()),
        rtt_ms: link.round_trip.map(|round_trip| round_trip.as_secs_f64() * 1_000.0),
        address: Some(link.address.to_string()),
        discovered_by: Some(discovered_by.to_owned()),
        ..Peer::away(link.organization, link.name, link.city)
    }
}

/// The directory's members; this node's own services with the private ones.
pub fn directory(directory: &Directory, own: OrganizationId, connected: &[OrganizationId]) -> Vec<DirectoryEntry> {
    let offered = |service: &hansa_core::offer::Service| OfferedService {
        name: service.name.clone(),
        operations: service.operations.clone(),
        public: service.public,
    };
    directory
        .members()
        .filter_map(|member| {
            let is_own = member.record.organization == own;
            Some(DirectoryEntry {
                organization: member.record.organization,
                name: member.record.name.clone(),
                city: member.certificates.first()?.city.clone(),
                own: is_own,
                connected: is_own || connected.contains(&member.record.organization),
                updated: Some(Time(hansa_core::moment::Moment(member.record.version))),
                services: if is_own {
                    directory.services().map(offered).collect()
                } else {
                    member.record.services.iter().map(offered).collect()
                },
            })
        })
        .collect()
}

/// A library, and who calls it.
pub fn library(library: &LibraryPicture, definitions: &Definitions) -> LibraryEntry {
    let calls = |definition: &Definition| definition.libraries.get(&library.name) == Some(&library.hash);
    LibraryEntry {
        name: library.name.clone(),
        hash: library.hash,
        added: library.added.into(),
        bytes: library.bytes,
        functions: library.functions.iter().map(LibraryFunction::from).collect(),
        definitions: definitions
            .current()
            .filter(|(definition, _)| calls(definition))
            .map(|(definition, _)| definition.name.clone())
            .collect(),
    }
}

/// All faults of a definition as one: the first with its place, and the others in the message.
pub fn all_faults(faults: Vec<Fault>) -> Fault {
    let mut faults = faults.into_iter();
    let Some(mut first) = faults.next() else {
        return Fault::new(Code::DefinitionInvalid, "the document is no transaction definition");
    };
    for fault in faults {
        first.message.push_str("\nand: ");
        first.message.push_str(&fault.to_string());
    }
    first
}

/// How far a transaction is, from its word.
pub fn state(word: &str) -> TransactionState {
    match word {
        "compensating" => TransactionState::Compensating,
        "completed" => TransactionState::Completed,
        "failed" => TransactionState::Failed,
        "timed-out" => TransactionState::TimedOut,
        "cancelled" => TransactionState::Cancelled,
        _ => TransactionState::Running,
    }
}

fn duration_ms(picture: &Picture) -> u64 {
    picture.ended.unwrap_or_else(|| Time::now().0).since_ms(picture.submitted)
}

/// A transaction in a list.
pub fn entry(id: TransactionId, picture: &Picture) -> TransactionEntry {
    let ended = |operation: &&OperationPicture| operation.ended.is_some();
    TransactionEntry {
        id,
        definition: picture.definition.clone(),
        state: state(&picture.state),
        submitted: picture.submitted.into(),
        ended: picture.ended.map(Time),
        duration_ms: duration_ms(picture),
        requester: None,
        operations_ended: picture.operations.iter().filter(ended).count() as u64,
        operations: picture.operations.len() as u64,
    }
}

/// A transaction whole.
pub fn show(picture: &Picture, offers: &Offers) -> Show {
    let (mut room, mut documents_left_out) = (limit::SHOWN_DOCUMENTS_BYTES_MAX, 0);
    let mut shown = |document: Option<&Text>| {
        let text = document?.as_str();
        match room.checked_sub(text.len()) {
            Some(left) => {
                room = left;
                Some(text.to_owned())
            }
            None => {
                documents_left_out += 1;
                None
            }
        }
    };
    let operations = picture.operations.iter().map(|one| {
        let mut operation = operation(one, offers);
        operation.input = shown(one.input.as_ref());
        for (performer, leg) in operation.performers.iter_mut().zip(&one.legs) {
            (performer.input, performer.output) = (shown(leg.input.as_ref()), shown(leg.output.as_ref()));
        }
        operation.output = shown(one.output.as_ref());
        let undoing = one.compensation.as_ref().and_then(|it| it.leg.as_ref());
        if let (Some(leg), Some(compensation)) = (undoing, &mut operation.compensation)
            && let Some(performer) = &mut compensation.performer
        {
            (performer.input, performer.output) = (shown(leg.input.as_ref()), shown(leg.output.as_ref()));
        }
        operation
    });
    let operations = operations.collect();
    let signals = picture.signals.iter().map(|signal| ShownSignal {
        name: signal.name.clone(),
        at: signal.at.into(),
        document: shown(Some(&signal.document)),
    });
    let signals = signals.collect();
    Show {
        id: picture.id,
        definition: picture.definition.clone(),
        hash: picture.hash,
        state: state(&picture.state),
        ending: picture.ending.as_deref().map(state),
        parent: picture.parent,
        deadline: picture.deadline.map(Time),
        signals,
        refused: picture.refused.iter().map(|refused| self::refused(refused, picture, offers)).collect(),
        submitted: picture.submitted.into(),
        ended: picture.ended.map(Time),
        duration_ms: duration_ms(picture),
        requester: None,
        input: Some(picture.input.as_str().to_owned()),
        output: picture.output.as_ref().map(|output| output.as_str().to_owned()),
        fault: picture.fault.clone(),
        operations,
        documents_left_out,
    }
}

fn refused(refused: &Refused, picture: &Picture, offers: &Offers) -> RefusedAnswer {
    let word = |word: Result<serde_json::Value, _>| match word {
        Ok(serde_json::Value::String(word)) => word,
        other => format!("{other:?}"),
    };
    let organization = |id: &OrganizationId| offers.name(id).map_or_else(|| id.short(), ToString::to_string);
    RefusedAnswer {
        at: refused.at.into(),
        operation: refused.leg.and_then(|(index, _)| picture.operations.get(index as usize)).map(|it| it.id),
        from: match &refused.from {
            Performer::Local(service) => service.to_string(),
            Performer::Peer { organization: peer, service: Some(service) } => {
                format!("{service} at {}", organization(peer))
            }
            Performer::Peer { organization: peer, service: None } => organization(peer),
            Performer::Transaction(id) => format!("transaction {id}"),
        },
        outcome: word(serde_json::to_value(refused.outcome)),
        why: word(serde_json::to_value(refused.refusal)),
        invocation: refused.invocation,
    }
}

fn operation(picture: &OperationPicture, offers: &Offers) -> Operation {
    Operation {
        id: picture.id,
        name: picture.name.clone(),
        state: operation_state(&picture.state),
        attempt: picture.attempt,
        performers: picture.legs.iter().filter(|leg| is_shown(leg)).map(|leg| performer(leg, offers)).collect(),
        started: picture.started.map(Time),
        ended: picture.ended.map(Time),
        duration_ms: picture.started.map(|started| picture.ended.unwrap_or_else(|| Time::now().0).since_ms(started)),
        fault: picture.fault.clone(),
        links: picture.links.clone(),
        performs: (picture.performs != picture.name).then(|| picture.performs.clone()),
        subtransaction: picture.subtransaction.clone(),
        signal: picture.signal.clone(),
        attempts_max: picture.attempts_max,
        priority: picture.priority,
        broadcast: picture.broadcast,
        iteration: picture.iteration,
        deadline: picture.deadline.map(Time),
        compensation: picture.compensation.as_ref().map(|compensation| Compensation {
            performs: compensation.performs.clone(),
            state: compensation.state.clone(),
            started: compensation.started.map(Time),
            deadline: compensation.deadline.map(Time),
            performer: compensation.leg.as_ref().map(|leg| performer(leg, offers)),
        }),
        input: None,
        output: None,
    }
}

/// Whether a leg says who is, or was, or will be asked. One that only waits for its signal does not.
fn is_shown(leg: &LegPicture) -> bool {
    leg.performer.is_some() || leg.line.is_some() || leg.attempt > 0
}

/// How far an operation is, from its word.
pub fn operation_state(word: &str) -> OperationState {
    match word {
        "running" => OperationState::Running,
        "completed" => OperationState::Completed,
        "failed" => OperationState::Failed,
        "timed-out" => OperationState::TimedOut,
        "cancelled" => OperationState::Cancelled,
        "eliminated" | "not-reached" => OperationState::Eliminated,
        _ => OperationState::Waiting,
    }
}

fn performer(leg: &LegPicture, offers: &Offers) -> OperationPerformer {
    let (organization, service, transaction) = match &leg.performer {
        Some(Performer::Local(service)) => (None, Some(service.clone()), None),
        Some(Performer::Peer { organization, service }) => (Some(*organization), service.clone(), None),
        Some(Performer::Transaction(id)) => (None, None, Some(*id)),
        None => (None, None, None),
    };
    let peer = organization.and_then(|organization| offers.peers().find(|peer| peer.organization == organization));
    let state = match leg.state.as_str() {
        "waiting" => OperationState::Waiting,
        "completed" => OperationState::Completed,
        "failed" => OperationState::Failed,
        "expired" => OperationState::TimedOut,
        "cancelled" | "withdrawn" => OperationState::Cancelled,
        _ => OperationState::Running,
    };
    OperationPerformer {
        service,
        organization,
        organization_name: peer.map(|peer| peer.name.clone()),
        city: peer.map(|peer| peer.city.clone()),
        invocation: leg.invocation,
        transaction,
        line: leg.line,
        attempt: leg.attempt,
        state,
        duration_ms: leg.answered.zip(leg.asked).map(|(answered, asked)| answered.since_ms(asked)),
        again_at: leg.timer.filter(|_| state == OperationState::Waiting && leg.attempt > 0).map(Time),
        fault: leg.fault.clone(),
        late: leg.late,
        input: None,
        output: None,
    }
}

/// The end of a transaction.
pub fn awaited(response: Response) -> Awaited {
    let Response { transaction, definition, ending, durability } = response;
    let state = state(ending.word());
    let (document, fault) = match ending {
        Ending::Completed(document) => (Some(document.as_str().to_owned()), None),
        Ending::Failed(fault) => (None, Some(fault)),
        Ending::TimedOut => {
            (None, Some(Fault::new(Code::TransactionTimedOut, "the transaction did not end within its TIMEOUT")))
        }
        Ending::Cancelled => (None, Some(Fault::new(Code::TransactionCancelled, "the transaction was cancelled"))),
    };
    Awaited { transaction, definition, state, document, fault, durability }
}
