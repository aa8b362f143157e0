//! Transactions as operations of others: how one begins, is called off, and hands on what came of it (T17).
//!
//! Its id follows from the invocation that it is begun for, so that beginning it again finds the one that is there. It
//! keeps its outcome until its parent has recorded that, whatever either of the two processes' lives does in between.

use super::{Around, Effect, Input, Instance, Parent, Record, state::Begun};
use crate::{
    code::{Code, Fault},
    document::Text,
    ident::{DefinitionName, InvocationId},
    invocation::Outcome,
    machine::Decision,
    moment::Moment,
    session::Ending,
};

impl Instance {
    /// Begin for a parent; if it has begun already, give the outcome once more as soon as there is one.
    pub(super) fn begin(
        &self,
        around: &Around,
        now: Moment,
        parent: Parent,
        definition: DefinitionName,
        document: Text,
    ) -> Decision<Self> {
        let refuse = |fault| {
            let outcome = Outcome::Failed(fault);
            Decision::nothing().effect(Effect::Return {
                parent: parent.transaction,
                invocation: parent.invocation,
                outcome,
            })
        };
        if let Some(begun) = &self.begun {
            return match &begun.parent {
                Some(own) if (own.transaction, own.invocation) == (parent.transaction, parent.invocation) => {
                    let effects =
                        if begun.ended.is_some() { Self::returning(begun).into_iter().collect() } else { Vec::new() };
                    Decision { effects, ..Decision::nothing() }
                }
                _ => refuse(Fault::new(
                    Code::TransactionConflict,
                    format!("the id of sub-transaction {} is another transaction's already", self.id),
                )),
            };
        }
        let Some(defined) = around.meant(&definition) else {
            return refuse(Fault::new(
                Code::DefinitionUnknown,
                format!("there is no transaction definition {definition} here, which an operation runs"),
            ));
        };
        match self.submitted_record(around, now, defined, document, Some(parent.clone())) {
            Ok(record) => Decision::nothing().record(record).then(Input::Advance),
            Err(fault) => refuse(fault),
        }
    }

    /// The parent waits no more: what was done is undone.
    pub(super) fn withdrawn(
        &self,
        around: &Around,
        begun: &Begun,
        now: Moment,
        invocation: InvocationId,
    ) -> Result<Decision<Self>, Fault> {
        if begun.compensating.is_some() || begun.parent.as_ref().is_none_or(|parent| parent.invocation != invocation) {
            return Ok(Decision::nothing());
        }
        self.conclude(around, begun, now, Ending::Cancelled)
    }

    /// The parent has recorded the outcome, which may now be forgotten.
    pub(super) fn settled(&self, begun: Option<&Begun>, invocation: InvocationId) -> Decision<Self> {
        match begun {
            Some(begun)
                if begun.waits_to_be_settled()
                    && begun.parent.as_ref().is_some_and(|parent| parent.invocation == invocation) =>
            {
                Decision::nothing().record(Record::Settled)
            }
            _ => Decision::nothing(),
        }
    }

    /// What is told to the parent after a restart: the outcome, if it is not settled.
    pub(super) fn outcome_for_parent(&self, begun: &Begun) -> Vec<Effect> {
        if begun.waits_to_be_settled() { Self::returning(begun).into_iter().collect() } else { Vec::new() }
    }

    /// The effect that gives the outcome to the parent.
    fn returning(begun: &Begun) -> Option<Effect> {
        let (_, ending) = begun.ended.as_ref()?;
        Self::returning_as(begun, ending)
    }

    pub(super) fn returning_as(begun: &Begun, ending: &Ending) -> Option<Effect> {
        let parent = begun.parent.as_ref()?;
        let outcome = match ending {
            Ending::Completed(output) => Outcome::Completed(output.clone()),
            Ending::Failed(fault) => Outcome::Failed(fault.clone()),
            Ending::TimedOut => Outcome::Expired,
            Ending::Cancelled => Outcome::Cancelled,
        };
        Some(Effect::Return { parent: parent.transaction, invocation: parent.invocation, outcome })
    }
}

impl Begun {
    /// Whether it has ended and its parent has not recorded that yet.
    pub(super) fn waits_to_be_settled(&self) -> bool {
        self.ended.is_some() && self.parent.is_some() && !self.settled
    }
}
