//! The beginning of a transaction, its requesters, and its end (T4, T11, T12).

use super::{Around, Effect, Input, Instance, Parent, Record, state::Begun};
use crate::{
    code::{Code, Fault},
    document::Text,
    ident::DefinitionName,
    limit,
    machine::Decision,
    moment::Moment,
    session::{Asker, Ending, Response},
    transaction::Definition,
};

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

    pub(super) fn submit(
        &self,
        around: &Around,
        now: Moment,
        asker: Asker,
        name: DefinitionName,
        document: Text,
    ) -> Result<Decision<Self>, Fault> {
        let acknowledge = |word| Effect::Acknowledge { asker, invocation: None, word };
        if let Some(begun) = &self.begun {
            if begun.definition != name || begun.input != document || begun.parent.is_some() {
                return Err(Fault::new(
                    Code::TransactionConflict,
                    format!("transaction {} exists with another definition or input", self.id),
                ));
            }
            let mut decision = self.wait(asker)?;
            decision.effects.insert(0, acknowledge("repeated"));
            return Ok(decision);
        }
        let definition = around.meant(&name).ok_or_else(|| {
            Fault::new(Code::DefinitionUnknown, format!("there is no transaction definition {name} here"))
        })?;
        Ok(Decision::nothing()
            .record(self.submitted_record(around, now, definition, document, None)?)
            .record(Record::Awaited { asker })
            .effect(acknowledge("submitted"))
            .then(Input::Advance))
    }

    /// The record of the beginning.
    pub(super) fn submitted_record(
        &self,
        around: &Around,
        now: Moment,
        definition: &Definition,
        document: Text,
        parent: Option<Parent>,
    ) -> Result<Record, Fault> {
        let own = match around.lived.as_deref() {
            Some(Record::Submitted { organization, .. }) => Some(*organization),
            _ => around.offers.own(),
        };
        let organization =
            own.ok_or_else(|| Fault::new(Code::Busy, "the node is starting and does not take transactions yet"))?;
        Ok(Record::Submitted {
            organization,
            definition: definition.name.clone(),
            hash: definition.hash,
            save: definition.save,
            parent,
            input: document,
            at: now,
            deadline: definition.timeout_ms.map(|timeout_ms| now.plus_ms(timeout_ms)),
        })
    }

    pub(super) fn wait(&self, asker: Asker) -> Result<Decision<Self>, Fault> {
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
        Some(Response {
            transaction: self.id,
            definition: begun.definition.clone(),
            ending: ending.clone(),
            durability: None,
        })
    }

    pub(super) fn cancel(
        &self,
        around: &Around,
        begun: &Begun,
        now: Moment,
        asker: Asker,
    ) -> Result<Decision<Self>, Fault> {
        let acknowledge = Effect::Acknowledge { asker, invocation: None, word: "cancelled" };
        let ended = |word| Fault::new(Code::TransactionEnded, format!("transaction {} {word}", self.id));
        match (&begun.ended, &begun.compensating) {
            // Asked once more, perhaps because the acknowledgement was lost.
            (Some((_, Ending::Cancelled)), _) => Ok(Decision::nothing().effect(acknowledge)),
            (Some((_, ending)), _) => Err(ended(format!("has ended already: {}", ending.word()))),
            (None, Some(compensating)) if compensating.ending == Ending::Cancelled => {
                Ok(Decision::nothing().effect(acknowledge))
            }
            (None, Some(compensating)) => Err(ended(format!(
                "is ending already, and what it did is being undone: {}",
                compensating.ending.word()
            ))),
            (None, None) => {
                let mut decision = self.conclude(around, begun, now, Ending::Cancelled)?;
                decision.effects.insert(0, acknowledge);
                Ok(decision)
            }
        }
    }

    /// The end of the transaction: everybody who waits is answered, everybody who works is told.
    pub(super) fn finish(&self, begun: &Begun, now: Moment, ending: Ending) -> Decision<Self> {
        let mut decision = Decision::nothing().record(Record::Finished { ending: ending.clone(), at: now });
        decision.effects = begun.all_withdrawals();
        decision.effects.extend(Self::returning_as(begun, &ending));
        if !self.requesters.is_empty() {
            decision.records.push(Record::Responded);
            decision.effects.extend(self.requesters.iter().map(|asker| Effect::Respond {
                asker: *asker,
                response: Response {
                    transaction: self.id,
                    definition: begun.definition.clone(),
                    ending: ending.clone(),
                    durability: None,
                },
            }));
        }
        decision
    }

    /// Until when it is there for nothing but its response: it has ended, is not kept, and is no open work any more.
    #[must_use]
    pub fn lingers_until(&self) -> Option<Moment> {
        self.begun.as_ref()?.forgets_at()
    }

    /// The time in which the response of a transaction that is not kept may be asked for is over.
    pub(super) fn forget_in_time(begun: &Begun, now: Moment) -> Decision<Self> {
        match begun.forgets_at() {
            Some(at) if at <= now => Self::forget(begun),
            _ => Decision::nothing(),
        }
    }

    /// The response of a transaction that is not kept is remembered no longer.
    pub(super) fn forget(begun: &Begun) -> Decision<Self> {
        match begun.forgets_at() {
            Some(_) => Decision::nothing().record(Record::Forgotten),
            None => Decision::nothing(),
        }
    }
}

impl Begun {
    /// The effects that tell everybody who was asked and has not answered that nobody waits any more.
    pub(super) fn all_withdrawals(&self) -> Vec<Effect> {
        let open = self.operations.values().filter(|operation| !operation.state.is_final());
        open.flat_map(|operation| operation.withdrawals()).collect()
    }

    /// Until when a transaction that is not kept is, so that a requester whose connection broke at the end still learns it,
    /// and the same submission does not begin anew.
    pub(super) fn forgets_at(&self) -> Option<Moment> {
        let (ended, _) = self.ended.as_ref()?;
        let is_remembered = !self.save && !self.forgotten && self.parent.is_none();
        is_remembered.then(|| ended.plus_ms(limit::RESPONSE_KEEP_MS))
    }
}
