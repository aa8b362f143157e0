//! The transaction instance: one run of a definition over one input document (T4 to T12, T17).
//!
//! It goes forward in small steps, each decided on the state that the one before left: perform what is ready, eliminate
//! what no link leads to, judge what has answered. Everything outside is asked for by effects and comes back as inputs;
//! everything that happened is a record. What can be computed from records again (an operation's request, for instance,
//! where it is another operation's document) is not recorded twice.
//!
//! Whatever an operation waits for is a leg with an outcome: a service that was asked, a recipient of a broadcast, a line
//! of an iteration, a sub-transaction, and what undoes the operation. Attempts, time-outs and answers are the same for all.

mod absorb;
mod advance;
mod answer;
mod ask;
mod compensate;
mod glance;
mod iterate;
mod picture;
mod record;
mod retry;
mod signal;
mod state;
mod submit;
mod subtransaction;
#[cfg(test)]
mod tests;
mod told;
mod view;

pub use glance::Glance;
pub use picture::{CompensationPicture, LegPicture, OperationPicture, Picture, SignalPicture};
pub use record::{Again, Answerer, Asked, Link, OutcomeKind, Parent, Record, Refusal, Refused};
pub use state::{COMPENSATION, Instance, OperationState, Request};
pub use told::Teller;

use crate::{
    code::{Code, Fault},
    dice::Dice,
    document::Text,
    ident::{DefinitionName, InvocationId, OrganizationId, ServiceName, SignalName, TransactionId},
    invocation::{Invocation, Outcome, Performer},
    machine::{Decision, Machine},
    moment::Moment,
    offer::Offers,
    session::{Asker, Response, Status},
    transaction::{Definition, Definitions},
};
use answer::Answer;
use state::Begun;
use std::sync::Arc;

/// What a transaction looks at while it decides.
#[derive(Clone, Debug, Default)]
pub struct Around {
    /// The definitions of this node.
    pub definitions: Definitions,
    /// Who offers what.
    pub offers: Offers,
    /// Only while what was recorded is computed anew: the record that came of this step when it was lived. From it comes
    /// what was chosen then: performers, and how long a pause was.
    pub lived: Option<Arc<Record>>,
}

impl Around {
    /// The version that a name means: now, or when what is computed anew was lived.
    fn meant(&self, name: &DefinitionName) -> Option<&Arc<Definition>> {
        match self.lived.as_deref() {
            Some(Record::Submitted { hash, .. }) => self.definitions.version(hash),
            _ => self.definitions.named(name),
        }
    }
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
    /// Begin as an operation of another transaction.
    Begin {
        /// Of which.
        parent: Parent,
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
        /// Who says so. What is not of this node keeps the answer until it is settled.
        from: Performer,
        /// Whom to acknowledge once it is recorded.
        asker: Option<Asker>,
    },
    /// An answer came that is none, and was refused already: it is recorded, and nothing else.
    Strayed {
        /// Which invocation it names.
        invocation: InvocationId,
        /// As whom it was given.
        from: Performer,
        /// What it seems to say.
        outcome: OutcomeKind,
        /// Why it was refused.
        refusal: Refusal,
    },
    /// A link or a sub-transaction asks, after a restart, whether this is still waited for.
    Inquire {
        /// Which invocation.
        invocation: InvocationId,
        /// Who asks.
        performer: Performer,
    },
    /// The transaction that it is an operation of waits no more.
    Withdraw {
        /// For which invocation.
        invocation: InvocationId,
    },
    /// The transaction that it is an operation of has recorded what came of it.
    Settle {
        /// Of which invocation.
        invocation: InvocationId,
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
    /// Of a transaction that is not kept: there is no room to remember its response any longer.
    Forget,
    /// A time that was asked for has come.
    Due,
    /// The process has started again.
    Resumed,
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
    /// Begin a sub-transaction.
    Begin {
        /// Its id.
        transaction: TransactionId,
        /// What it is an operation of.
        parent: Parent,
        /// Its definition.
        definition: DefinitionName,
        /// Its input document.
        document: Text,
    },
    /// Give the outcome of a sub-transaction to the transaction that it is an operation of.
    Return {
        /// Which transaction.
        parent: TransactionId,
        /// The invocation that it was begun for.
        invocation: InvocationId,
        /// What came of it.
        outcome: Outcome,
    },
    /// Ask the transaction that it is an operation of whether it still waits.
    Inquire {
        /// Which transaction.
        parent: TransactionId,
        /// The invocation that it was begun for.
        invocation: InvocationId,
    },
    /// Tell a performer that nobody waits any more.
    Withdraw {
        /// Which performer.
        performer: Performer,
        /// For which invocation.
        invocation: InvocationId,
    },
    /// Tell whoever keeps an answer that it is recorded.
    Settle {
        /// Who.
        performer: Performer,
        /// To which invocation.
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
    /// Refuse what was asked; that it came is recorded.
    Refuse {
        /// Whom.
        asker: Asker,
        /// Why.
        fault: Fault,
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
    /// Whether two are the same transaction in the same state, whoever waits for them.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.id == other.id && self.begun == other.begun
    }

    /// The operation (by index), the leg and the attempt that an invocation was made for, while it is the last of its leg.
    pub(in crate::transaction) fn leg_of(&self, invocation: InvocationId) -> Option<(u32, u32, u32)> {
        let begun = self.begun.as_deref()?;
        let part = *begun.invocations.get(&invocation)?;
        Some((part.operation, part.leg, begun.leg(part)?.attempt))
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
            Input::Begin { parent, definition, document } => Ok(self.begin(around, now, parent, definition, document)),
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
            Input::Cancel { asker } => self.cancel(around, begun.ok_or_else(|| self.unknown())?, now, asker),
            Input::Signal { asker, signal, document } => self.signal(around, begun, now, asker, signal, document),
            Input::Answer { invocation, outcome, from, asker } => {
                self.answer(around, begun, now, dice, Answer { invocation, outcome, from, asker })
            }
            Input::Strayed { invocation, from, outcome, refusal } => {
                Self::strayed(begun, now, invocation, from, outcome, refusal)
            }
            Input::Inquire { invocation, performer } => {
                let waiting = open.is_some_and(|open| open.waiting_for(invocation).is_some());
                let withdraw = (!waiting).then_some(Effect::Withdraw { performer, invocation });
                Ok(Decision { effects: withdraw.into_iter().collect(), ..Decision::nothing() })
            }
            Input::Withdraw { invocation } => match open {
                Some(open) => self.withdrawn(around, open, now, invocation),
                None => Ok(Decision::nothing()),
            },
            Input::Settle { invocation } => Ok(self.settled(begun, invocation)),
            Input::Forget => Ok(begun.map_or_else(Decision::nothing, Self::forget)),
            Input::Due => match (open, begun) {
                (Some(open), _) => self.due(around, now, dice, open),
                (None, Some(begun)) => Ok(Self::forget_in_time(begun, now)),
                (None, None) => Ok(Decision::nothing()),
            },
            Input::Resumed => match (open, begun) {
                (Some(open), _) => self.resumed(around, open),
                (None, Some(begun)) => Ok(Decision { effects: self.outcome_for_parent(begun), ..Decision::nothing() }),
                (None, None) => Ok(Decision::nothing()),
            },
            Input::Advance => {
                open.map_or_else(|| Ok(Decision::nothing()), |open| self.advance(around, open, now, dice))
            }
            Input::Judge { operation } => {
                open.map_or_else(|| Ok(Decision::nothing()), |open| self.judge(around, open, now, operation))
            }
            Input::JudgeAll => open.map_or_else(|| Ok(Decision::nothing()), |open| self.judge_all(around, open, now)),
        }
    }

    fn absorb(&mut self, record: &Record) {
        self.take(record);
    }

    fn wakes_at(&self) -> Option<Moment> {
        let begun = self.begun.as_deref()?;
        if begun.ended.is_some() {
            return begun.forgets_at();
        }
        let timer = begun.timers.first().map(|(timer, _)| *timer);
        let deadline = begun.deadline.filter(|_| begun.compensating.is_none());
        deadline.into_iter().chain(timer).min()
    }

    fn due() -> Input {
        Input::Due
    }

    fn resumed() -> Input {
        Input::Resumed
    }

    fn is_open(&self) -> bool {
        self.begun
            .as_ref()
            .is_some_and(|begun| begun.ended.is_none() || begun.waits_to_be_settled() || begun.forgets_at().is_some())
    }

    fn is_kept(&self) -> bool {
        self.begun.as_ref().is_some_and(|begun| begun.save) || self.is_open()
    }
}
