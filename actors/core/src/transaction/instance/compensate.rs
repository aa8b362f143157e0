//! Undoing: when a transaction does not complete, what it did is undone, the last completed operation first (T17).
//!
//! What undoes an operation is one leg more of it, with attempts, time-outs and answers like every other. One that fails for
//! good is told in the ending, and the others go on.

use super::{
    Answerer, Around, Effect, Input, Instance, Record,
    state::{Begun, COMPENSATION, Part, Step},
};
use crate::{
    code::{Code, Fault},
    dice::Dice,
    invocation::Outcome,
    machine::Decision,
    moment::Moment,
    session::Ending,
    transaction::Definition,
};

/// Operations that an ending's help names.
const NAMED_MAX: usize = 10;

impl Instance {
    /// The transaction is to end so: at once, or when what it did is undone.
    pub(super) fn conclude(
        &self,
        around: &Around,
        begun: &Begun,
        now: Moment,
        ending: Ending,
    ) -> Result<Decision<Self>, Fault> {
        let definition = self.definition(around, begun)?;
        let undone = |index: &&u32| definition.operations[**index as usize].compensation.is_some();
        let operations: Vec<u32> = begun.completed.iter().rev().filter(undone).copied().collect();
        if operations.is_empty() || matches!(ending, Ending::Completed(_)) {
            return Ok(self.finish(begun, now, ending));
        }
        let record = Record::CompensationBegan { ending, operations, at: now };
        Ok(Decision { records: vec![record], effects: begun.all_withdrawals(), then: Some(Input::Advance) })
    }

    /// One step of undoing.
    pub(super) fn undo(&self, step: Step<'_>, dice: &mut Dice) -> Decision<Self> {
        let Step { definition, begun, now, .. } = step;
        let Some(compensating) = &begun.compensating else { return Decision::nothing() };
        let Some(index) = compensating.left.front() else {
            let failed = &compensating.failed;
            return self.finish(begun, now, told(definition, begun, compensating.ending.clone(), failed));
        };
        let part = Part::new(*index, COMPENSATION);
        let is_under_way = begun.leg(part).is_some_and(|leg| leg.is_open || leg.timer.is_some());
        if is_under_way && !begun.asking.contains(&part) {
            return Self::rest(begun, now);
        }
        let mut decision = self.ask(step, dice, part);
        decision.then.get_or_insert(Input::Advance);
        decision
    }

    /// A compensation that cannot even be asked for has failed.
    pub(super) fn not_undone(part: Part, fault: Fault, now: Moment) -> Decision<Self> {
        Decision::nothing()
            .record(Record::Answered {
                operation: part.operation,
                leg: part.leg,
                outcome: Outcome::Failed(fault),
                from: Answerer::Nobody,
                counted: false,
                again: None,
                at: now,
            })
            .then(Input::Advance)
    }

    /// After a restart: whatever is being undone is asked for again.
    pub(super) fn undoing_again(&self, definition: &Definition, begun: &Begun) -> Option<Effect> {
        let part = Part::new(*begun.compensating.as_ref()?.left.front()?, COMPENSATION);
        self.asked_again(definition, begun, part)
    }
}

/// The ending, with what could not be undone.
fn told(definition: &Definition, begun: &Begun, ending: Ending, failed: &[u32]) -> Ending {
    if failed.is_empty() {
        return ending;
    }
    let mut words: Vec<String> = failed
        .iter()
        .take(NAMED_MAX)
        .map(|index| {
            let defined = &definition.operations[*index as usize];
            let leg = begun.leg(Part::new(*index, COMPENSATION));
            let why = leg.and_then(|leg| {
                leg.failed
                    .as_ref()
                    .map(|(_, fault)| fault.to_string())
                    .or_else(|| leg.outcome.as_ref().and_then(Outcome::fault).map(|fault| fault.to_string()))
            });
            format!("operation {} ({}): {}", defined.id, defined.name, why.unwrap_or_default())
        })
        .collect();
    if failed.len() > NAMED_MAX {
        words.push(format!("and {} more", failed.len() - NAMED_MAX));
    }
    let not_undone = format!("this was not undone, and needs somebody to look at it: {}", words.join("; "));
    let fault = match ending {
        Ending::Failed(fault) => fault,
        Ending::TimedOut => {
            Fault::new(Code::CompensationFailed, "the transaction ran out of time, and could not be undone whole")
        }
        Ending::Cancelled | Ending::Completed(_) => {
            Fault::new(Code::CompensationFailed, "the transaction was cancelled, and could not be undone whole")
        }
    };
    let help = match &fault.help {
        Some(help) => format!("{help}; {not_undone}"),
        None => not_undone,
    };
    Ending::Failed(fault.help(help))
}
