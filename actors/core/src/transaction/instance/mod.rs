//! The transaction instance: one run of a definition over one input document (T4 to T12).
//!
//! It goes forward in small steps, each decided on the state that the one before left: perform what is ready, eliminate
//! what no link leads to, judge what has answered. Everything outside is asked for by effects and comes back as inputs;
//! everything that happened is a record. What can be computed from records again (an operation's request, for instance,
//! where it is another operation's document) is not recorded twice.

mod advance;
mod answer;
mod picture;
mod signal;
mod state;
#[cfg(test)]
mod tests;
mod told;

pub use picture::{LegPicture, OperationPicture, Picture};
pub use state::{Instance, OperationState, Request};
pub use told::Teller;

use crate::{
    code::{Code, Fault},
    dice::Dice,
    document::Text,
    ident::{DefinitionHash, DefinitionName, InvocationId, OrganizationId, ServiceName, SignalName, TransactionId},
    invocation::{Invocation, Outcome, Performer},
    limit,
    machine::{Decision, Machine},
    moment::Moment,
    offer::Offers,
    session::{Asker, Ending, Response, Status},
    transaction::{Definition, Definitions},
};
use serde::{Deserialize, Serialize};
use state::Begun;
use std::sync::Arc;

/// What a transaction looks at while it decides.
#[derive(Clone, Debug, Default)]
pub struct Around {
    /// The definitions of this node.
    pub definitions: Definitions,
    /// Who offers what.
    pub offers: Offers,
}

/// What is asked of a transaction, or arrives for it.
#[derive(Debug)]
pub enum Input {
    /// Begin. Submitted again with the same content, it is one transaction still.
    Submit {
        /// Whom to acknowledge, and to answer at the end.
        asker: Asker,
        /// Which definition.
        definition: DefinitionName,
        /// The input document.
        document: Text,
    },
    /// Answer at the end, or at once if it has come.
    Await {
        /// Whom.
        asker: Asker,
    },
    /// Tell how far it is.
    Query {
        /// Whom.
        asker: Asker,
    },
    /// End now.
    Cancel {
        /// Whom to acknowledge.
        asker: Asker,
    },
    /// What an operation waits for has happened outside.
    Signal {
        /// Whom to acknowledge.
        asker: Asker,
        /// Its name.
        signal: SignalName,
        /// What there is to say about it.
        document: Text,
    },
    /// An outcome came.
    Answer {
        /// Of which invocation.
        invocation: InvocationId,
        /// What came of it.
        outcome: Outcome,
        /// Whom to acknowledge once it is recorded.
        asker: Option<Asker>,
        /// The peer whose link keeps the answer until it is settled.
        peer: Option<OrganizationId>,
    },
    /// A link asks, after a restart, whether this is still waited for.
    Inquire {
        /// Which invocation.
        invocation: InvocationId,
        /// The peer that was asked.
        peer: OrganizationId,
    },
    /// Perform what is ready.
    Advance,
    /// Look whether an operation has all the answers that it needs.
    Judge {
        /// Its index.
        operation: u32,
    },
    /// Judge every operation whose last answer was recorded and not judged before the process ended.
    JudgeAll,
    /// A time that was asked for has come.
    Due,
    /// The process has started again.
    Resumed,
}

/// A link to an operation, as the record of its source's end names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The index of the operation that it leads to.
    pub operation: u32,
    /// How many predecessors that operation has.
    pub predecessors: u32,
}

/// What happened to a transaction. Operations are named by their index in the definition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// It began.
    Submitted {
        /// This node's organization.
        organization: OrganizationId,
        /// The name of the definition.
        definition: DefinitionName,
        /// The version that it runs to its end (T3).
        hash: DefinitionHash,
        /// Whether it is kept after its end (T12).
        save: bool,
        /// The input document.
        input: Text,
        /// When.
        at: Moment,
        /// When it times out.
        deadline: Option<Moment>,
    },
    /// A session waits for the response; of this process's life only.
    Awaited {
        /// Which.
        asker: Asker,
    },
    /// The waiting sessions were answered; of this process's life only.
    Responded,
    /// Nobody was found who performs an operation.
    Sought {
        /// Which.
        operation: u32,
        /// When.
        at: Moment,
        /// When to look again.
        again_at: Moment,
    },
    /// An operation was asked for.
    Requested {
        /// Which.
        operation: u32,
        /// Of whom, each under its own id.
        legs: Vec<(Performer, InvocationId)>,
        /// With which document.
        request: Request,
        /// When.
        at: Moment,
        /// When it times out.
        deadline: Option<Moment>,
    },
    /// A signal came. It may come before the operation that waits for it, and counts once.
    Signalled {
        /// Its name.
        signal: SignalName,
        /// What it says.
        document: Text,
        /// When.
        at: Moment,
    },
    /// A recipient answered.
    Answered {
        /// Which operation.
        operation: u32,
        /// Which recipient.
        leg: u32,
        /// What came of it.
        outcome: Outcome,
        /// Whether it counts towards what a broadcast needs (T8).
        counted: bool,
        /// When.
        at: Moment,
    },
    /// A recipient answered when nobody waited any more.
    AnsweredLate {
        /// Which operation.
        operation: u32,
        /// Which recipient.
        leg: u32,
    },
    /// An operation is asked for again.
    Retried {
        /// Which.
        operation: u32,
        /// The peer that is not asked again.
        excluded: Option<OrganizationId>,
    },
    /// An operation ended.
    Ended {
        /// Which.
        operation: u32,
        /// How.
        state: OperationState,
        /// Its output, where that is not the one answer that it got.
        output: Option<Text>,
        /// What went wrong.
        fault: Option<Fault>,
        /// Links that are followed.
        followed: Vec<Link>,
        /// Links that are not.
        passed: Vec<Link>,
        /// When.
        at: Moment,
    },
    /// The transaction ended.
    Finished {
        /// How.
        ending: Ending,
        /// When.
        at: Moment,
    },
}

/// What a transaction wants done.
#[derive(Debug)]
pub enum Effect {
    /// Offer an invocation to a local service.
    Offer {
        /// Which service.
        service: ServiceName,
        /// The invocation.
        invocation: Invocation,
    },
    /// Ask a peer.
    Ask {
        /// Which peer.
        organization: OrganizationId,
        /// The invocation.
        invocation: Invocation,
        /// Which leg of its operation it is.
        leg: u32,
    },
    /// Tell a performer that nobody waits any more.
    Withdraw {
        /// Which performer.
        performer: Performer,
        /// For which invocation.
        invocation: InvocationId,
    },
    /// Tell the link to a peer that its answer is recorded.
    Settle {
        /// Which peer.
        organization: OrganizationId,
        /// Which invocation.
        invocation: InvocationId,
    },
    /// Acknowledge what was asked.
    Acknowledge {
        /// To whom.
        asker: Asker,
        /// Of which invocation, where it is an answer.
        invocation: Option<InvocationId>,
        /// What was done.
        word: &'static str,
    },
    /// Tell how far the transaction is.
    Report {
        /// Whom.
        asker: Asker,
        /// How far.
        status: Status,
    },
    /// Answer a requester.
    Respond {
        /// Whom.
        asker: Asker,
        /// With what.
        response: Response,
    },
}

impl Instance {
    /// Whether it has ended.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.begun.as_ref().is_some_and(|begun| begun.ended.is_some())
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn ending(&self) -> Option<&Ending> {
        self.begun.as_ref()?.ended.as_ref().map(|(_, ending)| ending)
    }

    /// When it ended, if it has.
    #[must_use]
    pub fn ended_at(&self) -> Option<Moment> {
        self.begun.as_ref()?.ended.as_ref().map(|(at, _)| *at)
    }

    /// The sessions that wait for the response.
    #[must_use]
    pub fn requesters(&self) -> &[Asker] {
        &self.requesters
    }

    fn unknown(&self) -> Fault {
        Fault::new(Code::TransactionUnknown, format!("there is no transaction {} here", self.id))
    }

    fn definition<'a>(&self, around: &'a Around, begun: &Begun) -> Result<&'a Arc<Definition>, Fault> {
        around.definitions.version(&begun.hash).ok_or_else(|| {
            let name = &begun.definition;
            Fault::new(Code::Internal, format!("the version of {name} that transaction {} runs is not here", self.id))
        })
    }

    fn submit(
        &self,
        around: &Around,
        now: Moment,
        asker: Asker,
        name: DefinitionName,
        document: Text,
    ) -> Result<Decision<Self>, Fault> {
        let acknowledge = |word| Effect::Acknowledge { asker, invocation: None, word };
        if let Some(begun) = &self.begun {
            if begun.definition != name || begun.input != document {
                return Err(Fault::new(
                    Code::TransactionConflict,
                    format!("transaction {} exists with another definition or input", self.id),
                ));
            }
            let mut decision = self.wait(asker)?;
            decision.effects.insert(0, acknowledge("repeated"));
            return Ok(decision);
        }
        let definition = around.definitions.named(&name).ok_or_else(|| {
            Fault::new(Code::DefinitionUnknown, format!("there is no transaction definition {name} here"))
        })?;
        let organization = around
            .offers
            .own()
            .ok_or_else(|| Fault::new(Code::Busy, "the node is starting and does not take transactions yet"))?;
        Ok(Decision::nothing()
            .record(Record::Submitted {
                organization,
                definition: name,
                hash: definition.hash,
                save: definition.save,
                input: document,
                at: now,
                deadline: definition.timeout_ms.map(|timeout_ms| now.plus_ms(timeout_ms)),
            })
            .record(Record::Awaited { asker })
            .effect(acknowledge("submitted"))
            .then(Input::Advance))
    }

    fn wait(&self, asker: Asker) -> Result<Decision<Self>, Fault> {
        if self.begun.is_none() {
            return Err(self.unknown());
        }
        match self.response() {
            Some(response) => Ok(Decision::nothing().effect(Effect::Respond { asker, response })),
            None if self.requesters.contains(&asker) => Ok(Decision::nothing()),
            None if self.requesters.len() >= limit::REQUESTERS_MAX => Err(Fault::new(
                Code::LimitReached,
                format!("{} wait for transaction {} already", self.requesters.len(), self.id),
            )),
            None => Ok(Decision::nothing().record(Record::Awaited { asker })),
        }
    }

    fn response(&self) -> Option<Response> {
        let begun = self.begun.as_ref()?;
        let (_, ending) = begun.ended.as_ref()?;
        Some(Response { transaction: self.id, definition: begun.definition.clone(), ending: ending.clone() })
    }

    /// The end of the transaction: everybody who waits is answered, everybody who works is told.
    fn finish(&self, begun: &Begun, now: Moment, ending: Ending) -> Decision<Self> {
        let mut decision = Decision::nothing().record(Record::Finished { ending: ending.clone(), at: now });
        for operation in begun.operations.values().filter(|operation| !operation.state.is_final()) {
            decision.effects.extend(operation.withdrawals());
        }
        if !self.requesters.is_empty() {
            decision.records.push(Record::Responded);
            decision.effects.extend(self.requesters.iter().map(|asker| Effect::Respond {
                asker: *asker,
                response: Response {
                    transaction: self.id,
                    definition: begun.definition.clone(),
                    ending: ending.clone(),
                },
            }));
        }
        decision
    }

    fn due(&self, around: &Around, now: Moment, dice: &mut Dice, begun: &Begun) -> Result<Decision<Self>, Fault> {
        if begun.deadline.is_some_and(|deadline| deadline <= now) {
            return Ok(self.finish(begun, now, Ending::TimedOut));
        }
        match begun.timers.first() {
            Some((timer, operation)) if *timer <= now => {
                let definition = self.definition(around, begun)?;
                let decision = match begun.operations.get(operation) {
                    Some(state) if state.state == OperationState::Running => {
                        let fault = Fault::new(
                            Code::OperationTimedOut,
                            format!(
                                "operation {} was not answered in time",
                                definition.operations[*operation as usize].name
                            ),
                        );
                        let mut decision = Self::ended(
                            definition,
                            begun,
                            *operation,
                            OperationState::TimedOut,
                            None,
                            Some(fault),
                            now,
                        );
                        decision.effects.extend(state.withdrawals());
                        decision
                    }
                    _ => self.request(definition, around, begun, now, dice, *operation),
                };
                Ok(decision.then(Input::Due))
            }
            _ => Ok(Decision::nothing().then(Input::Advance)),
        }
    }

    /// After a restart: whoever has not answered is asked again, under the same ids.
    fn resumed(&self, around: &Around, begun: &Begun) -> Result<Decision<Self>, Fault> {
        let definition = self.definition(around, begun)?;
        let mut decision = Decision::nothing().then(Input::JudgeAll);
        for (index, operation) in &begun.operations {
            let Some(document) = begun.request(operation) else { continue };
            if operation.state != OperationState::Running {
                continue;
            }
            let defined = &definition.operations[*index as usize];
            decision.effects.extend((0..).zip(&operation.legs).filter(|(_, leg)| leg.answered.is_none()).map(
                |(number, leg)| {
                    let who = (&leg.performer, leg.invocation, number);
                    self.invoke(begun, defined, operation.attempt, operation.deadline, who, document)
                },
            ));
        }
        Ok(decision)
    }
}

impl Machine for Instance {
    type Key = TransactionId;
    type Input = Input;
    type Record = Record;
    type Effect = Effect;
    type Around = Around;

    fn is_journaled(record: &Record) -> bool {
        !matches!(record, Record::Awaited { .. } | Record::Responded)
    }

    fn new(id: &TransactionId) -> Self {
        Self { id: *id, begun: None, requesters: Vec::new() }
    }

    fn decide(&self, around: &Around, now: Moment, dice: &mut Dice, input: Input) -> Result<Decision<Self>, Fault> {
        let begun = self.begun.as_deref();
        let open = begun.filter(|begun| begun.ended.is_none());
        match input {
            Input::Submit { asker, definition, document } => self.submit(around, now, asker, definition, document),
            Input::Await { asker } => {
                let mut decision = self.wait(asker)?;
                decision.effects.insert(0, Effect::Acknowledge { asker, invocation: None, word: "awaiting" });
                Ok(decision)
            }
            Input::Query { asker } => {
                let begun = begun.ok_or_else(|| self.unknown())?;
                let status = self.status(begun, self.definition(around, begun)?);
                Ok(Decision::nothing()
                    .effect(Effect::Acknowledge { asker, invocation: None, word: "queried" })
                    .effect(Effect::Report { asker, status }))
            }
            Input::Cancel { asker } => {
                let begun = begun.ok_or_else(|| self.unknown())?;
                if let Some(ending) = self.ending() {
                    let word = ending.word();
                    return Err(Fault::new(
                        Code::TransactionEnded,
                        format!("transaction {} has ended already: {word}", self.id),
                    ));
                }
                let mut decision = self.finish(begun, now, Ending::Cancelled);
                decision.effects.insert(0, Effect::Acknowledge { asker, invocation: None, word: "cancelled" });
                Ok(decision)
            }
            Input::Signal { asker, signal, document } => self.signal(around, begun, now, asker, signal, document),
            Input::Answer { invocation, outcome, asker, peer } => {
                let known = begun.filter(|begun| begun.invocations.contains_key(&invocation));
                let decision = match known {
                    Some(begun) => self.answered(around, begun, now, invocation, outcome)?,
                    // The link that keeps the answer may forget it all the same.
                    None if peer.is_some() => Decision::nothing(),
                    None => return Err(Self::not_waiting(invocation)),
                };
                Ok(Self::settled(decision, invocation, asker, peer))
            }
            Input::Inquire { invocation, peer } => {
                let waiting = open.is_some_and(|open| open.waits_for(invocation));
                let performer = Performer::Peer { organization: peer, service: None };
                Ok(if waiting {
                    Decision::nothing()
                } else {
                    Decision::nothing().effect(Effect::Withdraw { performer, invocation })
                })
            }
            Input::Advance => match open {
                Some(open) => self.advance(around, open, now, dice),
                None => Ok(Decision::nothing()),
            },
            Input::Judge { operation } => match open {
                Some(open) => self.judge(around, open, now, operation),
                None => Ok(Decision::nothing()),
            },
            Input::JudgeAll => match open {
                Some(open) => self.judge_all(around, open, now),
                None => Ok(Decision::nothing()),
            },
            Input::Due => match open {
                Some(open) => self.due(around, now, dice, open),
                None => Ok(Decision::nothing()),
            },
            Input::Resumed => open.map_or_else(|| Ok(Decision::nothing()), |open| self.resumed(around, open)),
        }
    }

    fn absorb(&mut self, record: &Record) {
        self.take(record);
    }

    fn wakes_at(&self) -> Option<Moment> {
        let begun = self.begun.as_ref().filter(|begun| begun.ended.is_none())?;
        let timer = begun.timers.first().map(|(timer, _)| *timer);
        begun.deadline.into_iter().chain(timer).min()
    }

    fn due() -> Input {
        Input::Due
    }

    fn resumed() -> Input {
        Input::Resumed
    }

    fn is_open(&self) -> bool {
        self.begun.as_ref().is_some_and(|begun| begun.ended.is_none())
    }

    fn is_kept(&self) -> bool {
        self.begun.as_ref().is_some_and(|begun| begun.save || begun.ended.is_none())
    }
}
