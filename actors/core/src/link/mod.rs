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
    document::Text,
    ident::{InvocationId, OrganizationId, ServiceName, TransactionId},
    invocation::{Invocation, Outcome},
    limit,
    machine::{Decision, Machine},
    moment::Moment,
    offer::Offers,
    session::Asker,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[cfg(test)]
mod tests;
pub mod topics;

/// Recent outcomes that a link remembers for repeated requests.
const ANSWERED_MAX: usize = 1_024;
/// Bytes of the documents in them.
const ANSWERED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What travels in one frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Body {
    /// Perform this for us.
    Request {
        /// What.
        invocation: Invocation,
        /// Which leg of its operation it is: with it the receiver can tell that the id is this invocation's and that of
        /// no other organization's (F7).
        leg: u32,
    },
    /// This is what came of your request.
    Answer {
        /// Which request.
        invocation: InvocationId,
        /// The service that performed it, where one did.
        service: Option<ServiceName>,
        /// What came of it.
        outcome: Outcome,
    },
    /// We wait for this request no more.
    Withdraw {
        /// Which request.
        invocation: InvocationId,
    },
    /// About topics.
    Topic(topics::Body),
}

/// A numbered frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Numbered {
    /// Its number, from one, without gaps.
    pub sequence: u64,
    /// What it says.
    pub body: Body,
}

/// What the receiver of frames signs once its journal has them (X1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Whose frames they are.
    pub from: OrganizationId,
    /// Who has accepted them.
    pub to: OrganizationId,
    /// All up to this number.
    pub accepted_through: u64,
}

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

/// What is asked of a link, or arrives on it.
#[derive(Debug)]
pub enum Input {
    /// A transaction wants the peer to do this. Asked again under the same id, it is one request still.
    Ask {
        /// Which transaction.
        caller: TransactionId,
        /// What.
        invocation: Invocation,
        /// Which leg of its operation it is.
        leg: u32,
    },
    /// The transaction waits no more.
    Withdraw {
        /// For which request.
        invocation: InvocationId,
    },
    /// The transaction has recorded the answer; the link may forget it.
    Settle {
        /// Of which request.
        invocation: InvocationId,
    },
    /// A local service answered the peer's request.
    Answer {
        /// Which request.
        invocation: InvocationId,
        /// What came of it.
        outcome: Outcome,
        /// Whom to acknowledge.
        asker: Option<Asker>,
    },
    /// A connection to the peer is up: tell the peer how far its frames were accepted.
    Opened,
    /// The peer says on a new connection how far it has accepted: sending goes on from there.
    Connected {
        /// The number of the last of our frames in the peer's journal.
        accepted_through: u64,
    },
    /// The connection is gone.
    Disconnected,
    /// A frame of the peer's, its signature checked.
    Arrived(Numbered),
    /// The peer's journal has our frames up to this number.
    Confirmed {
        /// The number.
        accepted_through: u64,
    },
    /// Hand frames to the connection as far as the window allows.
    Transmit,
    /// About topics.
    Topic(topics::Input),
    /// The earliest deadline of the peer's requests has come.
    Due,
    /// The process has started again.
    Resumed,
}

/// What becomes of an accepted frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Taken {
    /// What its body says. A request that was answered before gets its original answer; one that is open stays open.
    Plainly,
    /// A request: this local service performs it.
    By(ServiceName),
    /// A request that is answered with this fault.
    Refused(Fault),
}

/// What happened on a link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// A request of ours was put into the outbox.
    Asked {
        /// Whose.
        caller: TransactionId,
        /// The request.
        invocation: Invocation,
        /// Which leg of its operation it is.
        leg: u32,
    },
    /// A request of ours was withdrawn.
    Withdrawn {
        /// Which.
        invocation: InvocationId,
    },
    /// The caller has recorded the answer to a request of ours.
    Settled {
        /// Which.
        invocation: InvocationId,
    },
    /// A frame of the peer's was accepted.
    Accepted {
        /// The frame.
        frame: Numbered,
        /// What becomes of it; in the same record, so that no crash can come between.
        taken: Taken,
    },
    /// A request of the peer's was answered.
    Answered {
        /// Which.
        invocation: InvocationId,
        /// By whom.
        service: Option<ServiceName>,
        /// What came of it.
        outcome: Outcome,
    },
    /// The peer's journal has our frames up to this number.
    Confirmed {
        /// The number.
        accepted_through: u64,
    },
    /// About topics.
    Topic(topics::Record),
    /// A connection came up; of this process's life only.
    Connected {
        /// Where sending goes on.
        accepted_through: u64,
    },
    /// The connection went; of this process's life only.
    Disconnected,
    /// Frames were handed to the connection; of this process's life only.
    Transmitted {
        /// Up to this number.
        through: u64,
    },
}

/// What a link wants done.
#[derive(Debug)]
pub enum Effect {
    /// Tell the peer, on a new connection, up to which number the journal has its frames.
    Position {
        /// The number.
        accepted_through: u64,
    },
    /// Hand frames to the connection.
    Transmit {
        /// The frames.
        frames: Vec<Numbered>,
    },
    /// Tell the peer that the journal has its frames up to this number.
    Confirm {
        /// The number.
        accepted_through: u64,
    },
    /// Offer a request of the peer's to a local service.
    Offer {
        /// Which service.
        service: ServiceName,
        /// The request.
        invocation: Invocation,
    },
    /// Tell a local service that nobody waits any more.
    Withdraw {
        /// Which service.
        service: ServiceName,
        /// For which invocation.
        invocation: InvocationId,
    },
    /// Ask a transaction whether it still waits for a request; if not, it withdraws it.
    Inquire {
        /// Which transaction.
        caller: TransactionId,
        /// Which request.
        invocation: InvocationId,
    },
    /// Give an answer to the transaction that asked.
    Return {
        /// Which transaction.
        caller: TransactionId,
        /// To which request.
        invocation: InvocationId,
        /// By whom.
        service: Option<ServiceName>,
        /// What came of it.
        outcome: Outcome,
    },
    /// Acknowledge an answer to the session that gave it.
    Acknowledge {
        /// To whom.
        asker: Asker,
        /// Which invocation it answered.
        invocation: InvocationId,
    },
    /// About topics.
    Topic(topics::Effect),
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

    fn arrived(&self, offers: &Offers, turn: u64, frame: Numbered) -> Result<Decision<Self>, Fault> {
        if frame.sequence <= self.accepted_through {
            return Ok(Decision::nothing().effect(Effect::Confirm { accepted_through: self.accepted_through }));
        }
        if frame.sequence != self.accepted_through + 1 {
            return Err(Fault::new(
                Code::FrameRefused,
                format!("{} sent frame {} after frame {}", self.peer.short(), frame.sequence, self.accepted_through),
            ));
        }
        let confirm = Effect::Confirm { accepted_through: frame.sequence };
        let frame = with_checked_answer(frame);
        let accepted = |taken| Decision::nothing().record(Record::Accepted { frame: frame.clone(), taken });
        Ok(match &frame.body {
            // A repetition: what was answered is answered once more, and nothing is performed again.
            Body::Request { invocation, .. } if self.answered.contains_key(&invocation.id) => {
                accepted(Taken::Plainly).effect(confirm).then(Input::Transmit)
            }
            Body::Request { invocation, .. } if self.performing.contains_key(&invocation.id) => {
                accepted(Taken::Plainly).effect(confirm)
            }
            Body::Request { invocation, leg } => match self.accept(offers, turn, invocation, *leg) {
                Ok(service) => accepted(Taken::By(service.clone()))
                    .effect(confirm)
                    .effect(Effect::Offer { service, invocation: one_hop_further(invocation) }),
                Err(fault) => accepted(Taken::Refused(fault)).effect(confirm).then(Input::Transmit),
            },
            Body::Answer { invocation, service, outcome } => {
                let decision = accepted(Taken::Plainly).effect(confirm);
                match self.asked.get(invocation) {
                    Some(Asked { caller, answer: None }) => decision.effect(Effect::Return {
                        caller: *caller,
                        invocation: *invocation,
                        service: service.clone(),
                        outcome: outcome.clone(),
                    }),
                    _ => decision,
                }
            }
            Body::Withdraw { invocation } => {
                let mut decision = accepted(Taken::Plainly).effect(confirm);
                if let Some(performing) = self.performing.get(invocation) {
                    let service = performing.service.clone();
                    decision.effects.push(Effect::Withdraw { service, invocation: *invocation });
                }
                decision
            }
            Body::Topic(body) => match topics::checked(body) {
                Ok(()) => {
                    let mut decision = accepted(Taken::Plainly).effect(confirm);
                    let arrived = self.topics.arrived(frame.sequence, body);
                    decision.effects.extend(arrived.map(Effect::Topic));
                    decision
                }
                Err(fault) => accepted(Taken::Refused(fault)).effect(confirm),
            },
        })
    }

    /// Which local service performs a request of the peer's.
    fn accept(&self, offers: &Offers, turn: u64, invocation: &Invocation, leg: u32) -> Result<ServiceName, Fault> {
        let context = &invocation.context;
        if context.organization != self.peer {
            return Err(Fault::new(Code::FrameRefused, "a peer may forward operations of its own transactions only"));
        }
        let id = InvocationId::new(&self.peer, context.transaction, context.operation, leg, context.attempt);
        if invocation.id != id {
            return Err(Fault::new(Code::FrameRefused, "the id of the invocation is not the one that its content has"));
        }
        if context.hops >= limit::HOPS_MAX {
            return Err(Fault::new(Code::LimitReached, "the invocation has crossed as many nodes as it may"));
        }
        if self.performing.len() >= limit::LINK_INVOCATIONS_OPEN_MAX {
            return Err(Fault::new(Code::Busy, format!("{} of your requests are open here", self.performing.len())));
        }
        Text::parse(invocation.document.as_str().as_bytes())?;
        offers.public_performer(&invocation.target, turn).ok_or_else(|| {
            let at = invocation.target.service.as_ref().map(|name| format!(" at service {name}")).unwrap_or_default();
            Fault::new(Code::NoPerformer, format!("nobody here performs {}{at}", invocation.target.operation))
        })
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

/// The same frame; an answer that is no document has become a failure. What a peer sends was decoded and not looked into.
fn with_checked_answer(mut frame: Numbered) -> Numbered {
    if let Body::Answer { outcome, .. } = &mut frame.body
        && let Outcome::Completed(document) = outcome
        && let Err(fault) = Text::parse(document.as_str().as_bytes())
    {
        *outcome = Outcome::Failed(fault);
    }
    frame
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

    fn is_open(&self) -> bool {
        true
    }

    fn is_kept(&self) -> bool {
        true
    }
}
