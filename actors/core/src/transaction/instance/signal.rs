//! Signals from outside: which are taken, and that each counts once (T17).

use super::{Around, Effect, Input, Instance, Record, state::Begun};
use crate::{
    code::{Code, Fault},
    document::Text,
    ident::SignalName,
    machine::Decision,
    moment::Moment,
    session::Asker,
    transaction::{Operation as Defined, Work},
};

impl Instance {
    /// Keep a signal for the operation that waits for it or will; one that came before is only acknowledged once more.
    pub(super) fn signal(
        &self,
        around: &Around,
        begun: Option<&Begun>,
        now: Moment,
        asker: Asker,
        signal: SignalName,
        document: Text,
    ) -> Result<Decision<Self>, Fault> {
        let begun = begun.ok_or_else(|| self.unknown())?;
        let acknowledge = |word| Effect::Acknowledge { asker, invocation: None, word };
        match begun.signals.get(&signal) {
            Some((_, before)) if *before == document => {
                return Ok(Decision::nothing().effect(acknowledge("repeated")));
            }
            Some(_) => {
                let message =
                    format!("signal {signal} of transaction {} has come already, with another document", self.id);
                return Err(Fault::new(Code::SignalConflict, message));
            }
            None => {}
        }
        let ending = begun.compensating.as_ref().map(|compensating| &compensating.ending);
        if let Some(ending) = self.ending().or(ending) {
            let message = format!("transaction {} has ended already: {}", self.id, ending.word());
            return Err(Fault::new(Code::TransactionEnded, message));
        }
        let waits = |work: &Work| matches!(work, Work::Signal(name) if *name == signal);
        if !self.definition(around, begun)?.operations.iter().any(|operation| waits(&operation.work)) {
            let message = format!("no operation of {} waits for signal {signal}", begun.definition);
            return Err(Fault::new(Code::SignalUnknown, message));
        }
        Ok(Decision::nothing()
            .record(Record::Signalled { signal, document, at: now })
            .effect(acknowledge("signalled"))
            .then(Input::Advance))
    }

    /// An operation that waits for a signal begins to.
    pub(super) fn await_signal(defined: &Defined, index: u32, signal: &SignalName, now: Moment) -> Decision<Self> {
        let deadline = defined.timeout_ms.map(|timeout_ms| now.plus_ms(timeout_ms));
        Decision::nothing()
            .record(Record::Waited { operation: index, signal: signal.clone(), at: now, deadline })
            .then(Input::Advance)
    }
}
