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
    transaction::{LegPicture, OperationPicture, Picture},
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
        organization: link.organization,
        name: link.name,
        city: link.city,
        connected: true,
        since: Some(link.connected.into()),
        rtt_ms: link.round_trip.map(|round_trip| round_trip.as_secs_f64() * 1_000.0),
        clock_ahead_ms: None,
        address: Some(link.address.to_string()),
        discovered_by: Some(discovered_by.to_owned()),
        outbox: 0,
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
    let mut shown = |document: &Option<Text>| {
        let text = document.as_ref()?.as_str();
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
        let (input, output) = (shown(&one.input), shown(&one.output));
        Operation { input, output, ..operation(one, offers) }
    });
    let operations = operations.collect();
    Show {
        id: picture.id,
        definition: picture.definition.clone(),
        hash: picture.hash,
        state: state(&picture.state),
        ending: None,
        parent: None,
        deadline: picture.deadline.map(Time),
        signals: Vec::new(),
        refused: Vec::new(),
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

fn operation(picture: &OperationPicture, offers: &Offers) -> Operation {
    Operation {
        id: picture.id,
        name: picture.name.clone(),
        state: operation_state(&picture.state),
        attempt: picture.attempt,
        performers: picture.legs.iter().map(|leg| performer(leg, offers)).collect(),
        started: picture.started.map(Time),
        ended: picture.ended.map(Time),
        duration_ms: picture.started.map(|started| picture.ended.unwrap_or_else(|| Time::now().0).since_ms(started)),
        fault: picture.fault.clone(),
        links: picture.links.clone(),
        performs: None,
        subtransaction: None,
        signal: None,
        attempts_max: 1,
        priority: 0,
        broadcast: picture.broadcast,
        iteration: false,
        deadline: picture.deadline.map(Time),
        compensation: None,
        input: None,
        output: None,
    }
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
    let (organization, service) = match &leg.performer {
        Some(Performer::Local(service)) => (None, Some(service.clone())),
        Some(Performer::Peer { organization, service }) => (Some(*organization), service.clone()),
        Some(Performer::Transaction(_)) | None => (None, None),
    };
    let peer = organization.and_then(|organization| offers.peers().find(|peer| peer.organization == organization));
    OperationPerformer {
        service,
        organization,
        organization_name: peer.map(|peer| peer.name.clone()),
        city: peer.map(|peer| peer.city.clone()),
        invocation: leg.invocation,
        state: match leg.state.as_str() {
            "completed" => OperationState::Completed,
            "failed" => OperationState::Failed,
            "expired" => OperationState::TimedOut,
            "cancelled" => OperationState::Cancelled,
            _ => OperationState::Running,
        },
        duration_ms: leg.answered.zip(leg.asked).map(|(answered, asked)| answered.since_ms(asked)),
        fault: leg.fault.clone(),
        late: leg.late,
        transaction: None,
        line: None,
        attempt: 1,
        again_at: None,
        input: None,
        output: None,
    }
}

/// The end of a transaction.
pub fn awaited(response: Response) -> Awaited {
    let state = state(response.ending.word());
    let (document, fault) = match response.ending {
        Ending::Completed(document) => (Some(document.as_str().to_owned()), None),
        Ending::Failed(fault) => (None, Some(fault)),
        Ending::TimedOut => {
            (None, Some(Fault::new(Code::TransactionTimedOut, "the transaction did not end within its TIMEOUT")))
        }
        Ending::Cancelled => (None, Some(Fault::new(Code::TransactionCancelled, "the transaction was cancelled"))),
    };
    Awaited { transaction: response.transaction, definition: response.definition, state, document, fault }
}
