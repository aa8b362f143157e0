//! The mailbox of one local service: which invocations wait for it, and which of its sessions holds which.
//!
//! A mailbox owns nothing. Every invocation in it belongs to a caller (a transaction, or a peer's link) that is journaled,
//! keeps it until an outcome is recorded, and offers it again after a restart. So no record of a mailbox is journaled,
//! and a service that dies, or a node that does, costs a redelivery under the same id and never a loss.

use crate::{
    code::{Code, Fault},
    dice::Dice,
    ident::{InvocationId, ServiceName, TransactionId},
    invocation::{Caller, Invocation, Outcome},
    limit,
    machine::{Decision, Machine},
    moment::Moment,
    session::{Asker, SessionId},
    transaction::{OutcomeKind, Refusal},
};
use serde::{Deserialize, Serialize};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, VecDeque},
};

#[cfg(test)]
mod tests;

/// The mailbox of one service.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mailbox {
    service: ServiceName,
    #[serde(skip)]
    sessions: BTreeMap<SessionId, Holding>,
    #[serde(skip)]
    entries: BTreeMap<InvocationId, Entry>,
    /// Invocations that no session holds, by their turn: the most urgent first, of one priority the oldest.
    #[serde(skip)]
    waiting: BTreeMap<Turn, InvocationId>,
    /// How many turns were given.
    #[serde(skip)]
    turns: u64,
    /// Invocations that left lately, the oldest first, and who waited for them.
    #[serde(skip)]
    left: BTreeMap<InvocationId, Caller>,
    #[serde(skip)]
    left_order: VecDeque<InvocationId>,
}

/// What one session may hold, and does.
#[derive(Clone, Debug)]
struct Holding {
    credit: u32,
    held: BTreeSet<InvocationId>,
}

impl Holding {
    fn free(&self) -> usize {
        (self.credit as usize).saturating_sub(self.held.len())
    }
}

/// When it is an invocation's turn.
type Turn = (Reverse<u8>, u64);

#[derive(Clone, Debug)]
struct Entry {
    caller: Caller,
    invocation: Invocation,
    /// Its place among those that wait; it keeps it when a session that held it goes.
    turn: Turn,
    holder: Option<SessionId>,
}

/// What is asked of a mailbox.
#[derive(Debug)]
pub enum Input {
    /// A caller wants this done. Offered again under the same id, it is one invocation still.
    Offer {
        /// Who waits for the outcome.
        caller: Caller,
        /// What is to be done.
        invocation: Invocation,
    },
    /// The caller waits no more.
    Withdraw {
        /// For which invocation.
        invocation: InvocationId,
    },
    /// A session performs this service.
    Attach {
        /// The session, and its message that is to be acknowledged.
        asker: Asker,
        /// How many invocations it takes at once.
        credit: u32,
    },
    /// A session is gone.
    Detach {
        /// Which.
        session: SessionId,
    },
    /// A session answers.
    Answer {
        /// The session, and its message that is to be acknowledged.
        asker: Asker,
        /// Which invocation.
        invocation: InvocationId,
        /// What came of it.
        outcome: Outcome,
    },
    /// A session's answer was refused before it came here: its content cannot be read, or it was given as another service.
    Strayed {
        /// Which session.
        session: SessionId,
        /// Which invocation it names.
        invocation: InvocationId,
        /// As which service it was given.
        from: ServiceName,
        /// What it seems to say.
        outcome: OutcomeKind,
        /// Why it was refused.
        refusal: Refusal,
    },
    /// Give waiting invocations to sessions that have credit.
    Assign,
    /// Nothing: a mailbox sets no timers.
    Due,
    /// Nothing: callers offer again.
    Resumed,
}

/// What happened in a mailbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// An invocation came in.
    Offered {
        /// Who waits for it.
        caller: Caller,
        /// The invocation.
        invocation: Invocation,
    },
    /// A session holds an invocation.
    Assigned {
        /// Which invocation.
        invocation: InvocationId,
        /// Which session.
        session: SessionId,
    },
    /// An invocation left: answered or withdrawn.
    Left {
        /// Which.
        invocation: InvocationId,
    },
    /// A session came.
    Attached {
        /// Which.
        session: SessionId,
        /// How many it takes at once.
        credit: u32,
    },
    /// A session went; what it held waits again, before all else.
    Detached {
        /// Which.
        session: SessionId,
    },
}

/// What a mailbox wants done.
#[derive(Debug)]
pub enum Effect {
    /// Hand an invocation to a session.
    Perform {
        /// Which session.
        session: SessionId,
        /// What.
        invocation: Invocation,
    },
    /// Tell a session that nobody waits for an invocation any more.
    Withdraw {
        /// Which session.
        session: SessionId,
        /// Which invocation.
        invocation: InvocationId,
    },
    /// Give an outcome to the caller, who acknowledges it to the asker once it is recorded.
    Return {
        /// Who waits.
        caller: Caller,
        /// For which invocation.
        invocation: InvocationId,
        /// What came of it.
        outcome: Outcome,
        /// Whom to acknowledge.
        asker: Option<Asker>,
    },
    /// Tell the caller that an answer came which is none.
    Stray {
        /// Which transaction waits, or waited.
        caller: TransactionId,
        /// For which invocation.
        invocation: InvocationId,
        /// As which service it was given.
        from: ServiceName,
        /// What it seems to say.
        outcome: OutcomeKind,
        /// Why it is refused.
        refusal: Refusal,
    },
    /// Refuse an answer.
    Refuse {
        /// Whose.
        asker: Asker,
        /// Why.
        fault: Fault,
    },
    /// Acknowledge the attaching.
    Acknowledge {
        /// To whom.
        asker: Asker,
    },
}

impl Mailbox {
    /// How many sessions perform the service.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// How many invocations wait for a session.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.waiting.len()
    }

    /// How many invocations sessions hold.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.entries.len() - self.waiting.len()
    }

    /// The session with the most credit left, if any has some.
    fn freest(&self) -> Option<SessionId> {
        let free = self.sessions.iter().filter(|(_, holding)| holding.free() > 0);
        free.max_by_key(|(_, holding)| holding.free()).map(|(session, _)| *session)
    }

    /// The most urgent invocation that no session holds, and of those the oldest.
    fn first_waiting(&self) -> Option<&Entry> {
        self.waiting.first_key_value().and_then(|(_, id)| self.entries.get(id))
    }

    fn offer(&self, caller: Caller, invocation: Invocation) -> Decision<Self> {
        if self.entries.contains_key(&invocation.id) {
            return Decision::nothing();
        }
        if self.entries.len() >= limit::MAILBOX_QUEUE_MAX {
            let fault = Fault::new(
                Code::LimitReached,
                format!("{} invocations wait for service {} already", self.entries.len(), self.service),
            );
            return Decision::nothing().effect(Effect::Return {
                caller,
                invocation: invocation.id,
                outcome: Outcome::Failed(fault),
                asker: None,
            });
        }
        Decision::nothing().record(Record::Offered { caller, invocation }).then(Input::Assign)
    }

    fn assign(&self) -> Decision<Self> {
        let (Some(session), Some(entry)) = (self.freest(), self.first_waiting()) else {
            return Decision::nothing();
        };
        Decision::nothing()
            .record(Record::Assigned { invocation: entry.invocation.id, session })
            .effect(Effect::Perform { session, invocation: entry.invocation.clone() })
            .then(Input::Assign)
    }

    fn answer(&self, asker: Asker, invocation: InvocationId, outcome: Outcome) -> Result<Decision<Self>, Fault> {
        let is_registered = self.sessions.contains_key(&asker.session);
        if let (None, true, Some(caller)) = (self.entries.get(&invocation), is_registered, self.left.get(&invocation)) {
            // Whoever waited for it says whether it is the same answer once more, or comes too late.
            let caller = caller.clone();
            return Ok(Decision::nothing().effect(Effect::Return { caller, invocation, outcome, asker: Some(asker) }));
        }
        if !is_registered {
            let fault = Fault::new(
                Code::ResponseRefused,
                format!("this connection is not registered as service {}, so it cannot answer for it", self.service),
            );
            // Whoever waits for it learns that somebody else answered.
            let (from, kind) = (self.service.clone(), OutcomeKind::of(&outcome));
            let stray = self.strayed(asker.session, invocation, from, kind, Refusal::Foreign);
            return stray
                .map(|decision| decision.effect(Effect::Refuse { asker, fault: fault.clone() }))
                .map_err(|_| fault);
        }
        let entry = self.entries.get(&invocation).ok_or_else(|| self.not_asked(invocation))?;
        let mut decision = Decision::nothing().record(Record::Left { invocation }).then(Input::Assign);
        // A session that came back may answer what another was given meanwhile: that one need not go on.
        let other = entry.holder.filter(|holder| *holder != asker.session);
        decision.effects.extend(other.map(|session| Effect::Withdraw { session, invocation }));
        Ok(decision.effect(Effect::Return { caller: entry.caller.clone(), invocation, outcome, asker: Some(asker) }))
    }
}

impl Mailbox {
    fn not_asked(&self, invocation: InvocationId) -> Fault {
        let service = &self.service;
        let message =
            format!("service {service} was not asked for invocation {invocation}, or nobody waits for it any more");
        Fault::new(Code::ResponseRefused, message)
    }

    /// An answer that is none goes to the transaction that waits for the right one. Of a peer's, this node has none.
    fn strayed(
        &self,
        session: SessionId,
        invocation: InvocationId,
        from: ServiceName,
        outcome: OutcomeKind,
        refusal: Refusal,
    ) -> Result<Decision<Self>, Fault> {
        let caller = self.entries.get(&invocation).map(|entry| &entry.caller).or_else(|| self.left.get(&invocation));
        let Some(Caller::Transaction(caller)) = caller else { return Err(self.not_asked(invocation)) };
        let refusal = if self.sessions.contains_key(&session) { refusal } else { Refusal::Foreign };
        Ok(Decision::nothing().effect(Effect::Stray { caller: *caller, invocation, from, outcome, refusal }))
    }
}

impl Machine for Mailbox {
    type Key = ServiceName;
    type Input = Input;
    type Record = Record;
    type Effect = Effect;
    type Around = ();

    fn is_journaled(_: &Record) -> bool {
        false
    }

    fn new(service: &ServiceName) -> Self {
        Self {
            service: service.clone(),
            sessions: BTreeMap::new(),
            entries: BTreeMap::new(),
            waiting: BTreeMap::new(),
            turns: 0,
            left: BTreeMap::new(),
            left_order: VecDeque::new(),
        }
    }

    fn decide(&self, (): &(), _: Moment, _: &mut Dice, input: Input) -> Result<Decision<Self>, Fault> {
        Ok(match input {
            Input::Offer { caller, invocation } => self.offer(caller, invocation),
            Input::Withdraw { invocation } => match self.entries.get(&invocation) {
                None => Decision::nothing(),
                Some(entry) => {
                    let mut decision = Decision::nothing().record(Record::Left { invocation }).then(Input::Assign);
                    decision.effects.extend(entry.holder.map(|session| Effect::Withdraw { session, invocation }));
                    decision
                }
            },
            Input::Attach { asker, credit } => {
                let known = self.sessions.contains_key(&asker.session);
                if !known && self.sessions.len() >= limit::SERVICE_SESSIONS_MAX {
                    return Err(Fault::new(
                        Code::ServiceConflict,
                        format!("service {} has {} connections already", self.service, self.sessions.len()),
                    ));
                }
                let credit = credit.clamp(1, limit::SESSION_CREDIT_MAX);
                Decision::nothing()
                    .record(Record::Attached { session: asker.session, credit })
                    .effect(Effect::Acknowledge { asker })
                    .then(Input::Assign)
            }
            Input::Detach { session } if self.sessions.contains_key(&session) => {
                Decision::nothing().record(Record::Detached { session }).then(Input::Assign)
            }
            Input::Answer { asker, invocation, outcome } => self.answer(asker, invocation, outcome)?,
            Input::Strayed { session, invocation, from, outcome, refusal } => {
                self.strayed(session, invocation, from, outcome, refusal)?
            }
            Input::Assign => self.assign(),
            Input::Detach { .. } | Input::Due | Input::Resumed => Decision::nothing(),
        })
    }

    fn absorb(&mut self, record: &Record) {
        match record {
            Record::Offered { caller, invocation } => {
                self.turns += 1;
                let turn = (Reverse(invocation.context.priority.min(limit::PRIORITY_MAX)), self.turns);
                self.waiting.insert(turn, invocation.id);
                let entry = Entry { caller: caller.clone(), invocation: invocation.clone(), turn, holder: None };
                self.entries.insert(invocation.id, entry);
            }
            Record::Assigned { invocation, session } => {
                let Some(entry) = self.entries.get_mut(invocation) else { return };
                entry.holder = Some(*session);
                self.waiting.remove(&entry.turn);
                if let Some(holding) = self.sessions.get_mut(session) {
                    holding.held.insert(*invocation);
                }
            }
            Record::Left { invocation } => {
                let Some(entry) = self.entries.remove(invocation) else { return };
                self.left.insert(*invocation, entry.caller.clone());
                self.left_order.push_back(*invocation);
                if self.left_order.len() > limit::MAILBOX_LEFT_MAX {
                    let oldest = self.left_order.pop_front();
                    oldest.map(|oldest| self.left.remove(&oldest));
                }
                self.waiting.remove(&entry.turn);
                if let Some(holding) = entry.holder.and_then(|session| self.sessions.get_mut(&session)) {
                    holding.held.remove(invocation);
                }
            }
            Record::Attached { session, credit } => {
                let holding = Holding { credit: *credit, held: BTreeSet::new() };
                self.sessions.entry(*session).or_insert(holding).credit = *credit;
            }
            Record::Detached { session } => {
                let held = self.sessions.remove(session).map(|holding| holding.held);
                for id in held.into_iter().flatten() {
                    if let Some(entry) = self.entries.get_mut(&id) {
                        entry.holder = None;
                        self.waiting.insert(entry.turn, id);
                    }
                }
            }
        }
    }

    fn wakes_at(&self) -> Option<Moment> {
        None
    }

    fn due() -> Input {
        Input::Due
    }

    fn resumed() -> Input {
        Input::Resumed
    }

    fn is_open(&self) -> bool {
        !self.sessions.is_empty() || !self.entries.is_empty()
    }

    fn is_kept(&self) -> bool {
        false
    }
}
