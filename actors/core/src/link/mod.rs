//! The link to one peer organization: store-and-forward in both directions, each frame accepted exactly once (F6).
//!
//! Towards the peer, frames are numbered from one and kept until the peer has confirmed that its journal has them. From
//! the peer, the next number alone is accepted; what was accepted before is confirmed again and otherwise ignored. A
//! connection comes and goes: on each new one both sides say how far they have accepted, and sending goes on from there.
//!
//! A link is also the durable caller of the invocations that its peer sent: it offers them to local services, keeps them
//! until there is an outcome, and remembers recent outcomes, so that a repeated request gets its original answer.

use crate::{
    code::{Code, Fault},
    dice::Dice,
    ident::{InvocationId, OrganizationId, ServiceName, TransactionId},
    invocation::{Invocation, Outcome},
    limit,
    machine::{Decision, Machine},
    moment::Moment,
    offer::Offers,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

mod arrival;
#[cfg(test)]
mod tests;
pub mod topics;
mod words;

pub use words::{Body, Effect, Input, Numbered, Receipt, Record, Taken};

/// Recent outcomes that a link remembers for repeated requests.
const ANSWERED_MAX: usize = 1_024;
/// Bytes of the documents in them.
const ANSWERED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The link to one peer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Link {
    peer: OrganizationId,
    /// Frames that the peer has not confirmed, in order.
    outbox: VecDeque<Numbered>,
    /// The number of the last frame made.
    sent_through: u64,
    /// The number of the last frame accepted from the peer.
    accepted_through: u64,
    /// Our requests that the caller has not settled; with the outcome once the peer answered.
    asked: BTreeMap<InvocationId, Asked>,
    /// The peer's requests that are open here.
    performing: BTreeMap<InvocationId, Performing>,
    /// The deadlines of those that have one.
    deadlines: BTreeSet<(Moment, InvocationId)>,
    /// Recent answers to the peer's requests, and their order, the oldest first.
    answered: BTreeMap<InvocationId, Answered>,
    answered_order: VecDeque<InvocationId>,
    /// Bytes of the documents in them.
    answered_bytes: usize,
    topics: topics::Topics,
    /// While a connection is up: the number of the last frame that was handed to it.
    #[serde(skip)]
    transmitted_through: Option<u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Asked {
    caller: TransactionId,
    answer: Option<(Option<ServiceName>, Outcome)>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Performing {
    invocation: Invocation,
    service: ServiceName,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Answered {
    service: Option<ServiceName>,
    outcome: Outcome,
}

impl Link {
    /// How many frames wait for the peer's confirmation.
    #[must_use]
    pub fn outbox(&self) -> usize {
        self.outbox.len()
    }

    /// How many requests of the peer's are open here.
    #[must_use]
    pub fn performing(&self) -> usize {
        self.performing.len()
    }

    /// How many requests of ours are not settled.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.asked.len()
    }

    /// The number of the last frame accepted from the peer; it may not be durable yet, so a peer learns it by effects only.
    #[must_use]
    pub fn accepted_through(&self) -> u64 {
        self.accepted_through
    }

    /// Whether a connection to the peer is up.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.transmitted_through.is_some()
    }

    fn put(&mut self, body: Body) {
        self.sent_through += 1;
        self.outbox.push_back(Numbered { sequence: self.sent_through, body });
    }

    /// End a request of the peer's with this answer, and remember it for a repetition.
    fn answer_with(&mut self, invocation: InvocationId, service: Option<ServiceName>, outcome: Outcome) {
        self.end(invocation);
        if !self.answered.contains_key(&invocation) {
            self.answered_bytes += outcome_bytes(&outcome);
            self.answered_order.push_back(invocation);
            self.answered.insert(invocation, Answered { service: service.clone(), outcome: outcome.clone() });
        }
        while self.answered.len() > ANSWERED_MAX || self.answered_bytes > ANSWERED_BYTES_MAX {
            let Some(oldest) = self.answered_order.pop_front() else { break };
            let forgotten = self.answered.remove(&oldest).map_or(0, |answered| outcome_bytes(&answered.outcome));
            self.answered_bytes = self.answered_bytes.saturating_sub(forgotten);
        }
        self.put(Body::Answer { invocation, service, outcome });
    }

    fn begin(&mut self, invocation: &Invocation, service: &ServiceName) {
        self.deadlines.extend(invocation.deadline.map(|deadline| (deadline, invocation.id)));
        self.performing.insert(invocation.id, Performing { invocation: invocation.clone(), service: service.clone() });
    }

    fn end(&mut self, invocation: InvocationId) {
        let deadline = self.performing.remove(&invocation).and_then(|performing| performing.invocation.deadline);
        if let Some(deadline) = deadline {
            self.deadlines.remove(&(deadline, invocation));
        }
    }

    fn confirm(&mut self, accepted_through: u64) {
        while self.outbox.front().is_some_and(|frame| frame.sequence <= accepted_through) {
            if let Some(Numbered { body: Body::Topic(body), .. }) = self.outbox.pop_front() {
                self.topics.confirmed(&body);
            }
        }
    }

    /// The frames that a confirmation up to this number is about.
    fn confirmed_by(&self, accepted_through: u64) -> impl Iterator<Item = &Numbered> {
        self.outbox.iter().take_while(move |frame| frame.sequence <= accepted_through)
    }

    fn ask(&self, caller: TransactionId, invocation: Invocation, leg: u32) -> Decision<Self> {
        let answer_now = |outcome| Effect::Return { caller, invocation: invocation.id, service: None, outcome };
        match self.asked.get(&invocation.id) {
            Some(Asked { answer: Some((service, outcome)), .. }) => Decision::nothing().effect(Effect::Return {
                caller,
                invocation: invocation.id,
                service: service.clone(),
                outcome: outcome.clone(),
            }),
            Some(_) => Decision::nothing(),
            None if invocation.context.hops >= limit::HOPS_MAX => {
                let fault = Fault::new(Code::LimitReached, "the invocation has crossed as many nodes as it may");
                Decision::nothing().effect(answer_now(Outcome::Failed(fault)))
            }
            None if self.outbox.len() >= limit::LINK_OUTBOX_FRAMES_MAX => {
                let fault = Fault::new(Code::Busy, format!("{} frames wait for this peer already", self.outbox.len()));
                Decision::nothing().effect(answer_now(Outcome::Failed(fault)))
            }
            None => Decision::nothing().record(Record::Asked { caller, invocation, leg }).then(Input::Transmit),
        }
    }

    fn transmit(&self) -> Decision<Self> {
        let Some(transmitted) = self.transmitted_through else { return Decision::nothing() };
        let first = self.outbox.front().map_or(self.sent_through + 1, |frame| frame.sequence);
        let skipped = (transmitted + 1).saturating_sub(first) as usize;
        let room = limit::LINK_WINDOW_FRAMES_MAX.saturating_sub(skipped);
        let frames: Vec<_> = self.outbox.range(skipped.min(self.outbox.len())..).take(room).cloned().collect();
        match frames.last() {
            None => Decision::nothing(),
            Some(last) => Decision::nothing()
                .record(Record::Transmitted { through: last.sequence })
                .effect(Effect::Transmit { frames }),
        }
    }

    /// After a restart: what the peer asked for is offered again. Whoever of ours asked is given the answer again, or is
    /// asked whether it still waits: its own record of that may have come into the journal, and the link's may not.
    fn resumed(&self) -> Decision<Self> {
        let offers = self.performing.values().map(|performing| Effect::Offer {
            service: performing.service.clone(),
            invocation: one_hop_further(&performing.invocation),
        });
        let asked = self.asked.iter().map(|(invocation, asked)| match &asked.answer {
            Some((service, outcome)) => Effect::Return {
                caller: asked.caller,
                invocation: *invocation,
                service: service.clone(),
                outcome: outcome.clone(),
            },
            None => Effect::Inquire { caller: asked.caller, invocation: *invocation },
        });
        let topics = self.topics.resumed().map(Effect::Topic);
        Decision { effects: offers.chain(asked).chain(topics).collect(), ..Decision::nothing() }
    }
}

/// Bytes of what an outcome holds.
fn outcome_bytes(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Completed(document) => document.as_str().len(),
        Outcome::Failed(fault) => fault.message.len() + fault.help.as_ref().map_or(0, String::len),
        Outcome::Expired | Outcome::Cancelled => 0,
    }
}

fn one_hop_further(invocation: &Invocation) -> Invocation {
    let mut invocation = invocation.clone();
    invocation.context.hops += 1;
    invocation
}

impl Machine for Link {
    type Key = OrganizationId;
    type Input = Input;
    type Record = Record;
    type Effect = Effect;
    type Around = Offers;

    fn is_journaled(record: &Record) -> bool {
        !matches!(record, Record::Connected { .. } | Record::Disconnected | Record::Transmitted { .. })
    }

    fn new(peer: &OrganizationId) -> Self {
        Self {
            peer: *peer,
            outbox: VecDeque::new(),
            sent_through: 0,
            accepted_through: 0,
            asked: BTreeMap::new(),
            performing: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            answered: BTreeMap::new(),
            answered_order: VecDeque::new(),
            answered_bytes: 0,
            topics: topics::Topics::default(),
            transmitted_through: None,
        }
    }

    fn decide(&self, offers: &Offers, now: Moment, dice: &mut Dice, input: Input) -> Result<Decision<Self>, Fault> {
        Ok(match input {
            Input::Ask { caller, invocation, leg } => self.ask(caller, invocation, leg),
            Input::Withdraw { invocation } => match self.asked.get(&invocation) {
                Some(_) => Decision::nothing().record(Record::Withdrawn { invocation }).then(Input::Transmit),
                None => Decision::nothing(),
            },
            Input::Settle { invocation } => match self.asked.get(&invocation) {
                Some(_) => Decision::nothing().record(Record::Settled { invocation }),
                None => Decision::nothing(),
            },
            Input::Answer { invocation, outcome, asker } => {
                let Some(performing) = self.performing.get(&invocation) else {
                    return Err(Fault::new(
                        Code::ResponseRefused,
                        format!("nobody waits for invocation {invocation} any more"),
                    ));
                };
                let service = Some(performing.service.clone());
                let mut decision =
                    Decision::nothing().record(Record::Answered { invocation, service, outcome }).then(Input::Transmit);
                decision.effects.extend(asker.map(|asker| Effect::Acknowledge { asker, invocation }));
                decision
            }
            Input::Opened => {
                let position = Effect::Position { accepted_through: self.accepted_through };
                let mut decision = Decision::nothing().effect(position);
                // Whatever the last connection was handed and had not delivered goes out again on this one.
                decision.records.extend(self.transmitted_through.map(|_| Record::Disconnected));
                decision
            }
            Input::Connected { accepted_through } => {
                if accepted_through > self.sent_through {
                    return Err(Fault::new(
                        Code::FrameRefused,
                        format!(
                            "{} says it has {accepted_through} frames of ours, but only {} were ever sent",
                            self.peer.short(),
                            self.sent_through
                        ),
                    )
                    .help(
                        "one of the two nodes lost its data or runs on an old copy; restore it, or let it join anew",
                    ));
                }
                let confirmed_through = self.sent_through - self.outbox.len() as u64;
                if accepted_through < confirmed_through {
                    return Err(Fault::new(
                        Code::FrameRefused,
                        format!(
                            "{} says it has {accepted_through} frames of ours, but it has confirmed {confirmed_through}",
                            self.peer.short(),
                        ),
                    )
                    .help("the peer lost data that it had confirmed; it must restore it, or join anew"));
                }
                let mut decision =
                    Decision::nothing().record(Record::Connected { accepted_through }).then(Input::Transmit);
                if accepted_through > confirmed_through {
                    decision.records.insert(0, Record::Confirmed { accepted_through });
                    decision.effects.extend(topics::had(self.confirmed_by(accepted_through)));
                }
                decision
            }
            Input::Disconnected if self.transmitted_through.is_some() => {
                Decision::nothing().record(Record::Disconnected)
            }
            Input::Arrived(frame) => self.arrived(offers, dice.any(), frame)?,
            Input::Confirmed { accepted_through } => {
                let first = self.outbox.front().map(|frame| frame.sequence);
                if first.is_some_and(|first| first <= accepted_through) && accepted_through <= self.sent_through {
                    let mut decision =
                        Decision::nothing().record(Record::Confirmed { accepted_through }).then(Input::Transmit);
                    decision.effects.extend(topics::had(self.confirmed_by(accepted_through)));
                    decision
                } else {
                    Decision::nothing()
                }
            }
            Input::Transmit => self.transmit(),
            Input::Topic(input) => self.for_topics(input),
            Input::Due => {
                let past = self.deadlines.first().filter(|(deadline, _)| *deadline <= now);
                match past.and_then(|(_, invocation)| self.performing.get(invocation)) {
                    None => Decision::nothing().then(Input::Transmit),
                    Some(Performing { invocation, service }) => Decision::nothing()
                        .record(Record::Answered {
                            invocation: invocation.id,
                            service: Some(service.clone()),
                            outcome: Outcome::Expired,
                        })
                        .effect(Effect::Withdraw { service: service.clone(), invocation: invocation.id })
                        .then(Input::Due),
                }
            }
            Input::Resumed => self.resumed(),
            Input::Disconnected => Decision::nothing(),
        })
    }

    fn absorb(&mut self, record: &Record) {
        match record {
            Record::Asked { caller, invocation, leg } => {
                self.asked.insert(invocation.id, Asked { caller: *caller, answer: None });
                self.put(Body::Request { invocation: invocation.clone(), leg: *leg });
            }
            Record::Withdrawn { invocation } => {
                if self.asked.remove(invocation).is_some_and(|asked| asked.answer.is_none()) {
                    self.put(Body::Withdraw { invocation: *invocation });
                }
            }
            Record::Settled { invocation } => {
                self.asked.remove(invocation);
            }
            Record::Accepted { frame, taken } => {
                self.accepted_through = frame.sequence;
                match (&frame.body, taken) {
                    (Body::Request { invocation, .. }, Taken::By(service)) => self.begin(invocation, service),
                    (Body::Request { invocation, .. }, Taken::Refused(fault)) => {
                        self.answer_with(invocation.id, None, Outcome::Failed(fault.clone()));
                    }
                    (Body::Request { invocation, .. }, Taken::Plainly) => {
                        if let Some(Answered { service, outcome }) = self.answered.get(&invocation.id).cloned() {
                            self.put(Body::Answer { invocation: invocation.id, service, outcome });
                        }
                    }
                    (Body::Answer { invocation, service, outcome }, _) => {
                        if let Some(asked) = self.asked.get_mut(invocation) {
                            asked.answer.get_or_insert_with(|| (service.clone(), outcome.clone()));
                        }
                    }
                    (Body::Withdraw { invocation }, _) => self.end(*invocation),
                    (Body::Topic(_), Taken::Refused(_)) => (),
                    (Body::Topic(body), _) => self.topics.accepted(frame.sequence, body),
                }
            }
            Record::Answered { invocation, service, outcome } => {
                self.answer_with(*invocation, service.clone(), outcome.clone());
            }
            Record::Confirmed { accepted_through } => self.confirm(*accepted_through),
            Record::Topic(record) => self.absorb_for_topics(record),
            Record::Connected { accepted_through } => self.transmitted_through = Some(*accepted_through),
            Record::Disconnected => self.transmitted_through = None,
            Record::Transmitted { through } => {
                if let Some(transmitted) = &mut self.transmitted_through {
                    *transmitted = *through;
                }
            }
        }
    }

    fn wakes_at(&self) -> Option<Moment> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    fn due() -> Input {
        Input::Due
    }

    fn resumed() -> Input {
        Input::Resumed
    }
}
