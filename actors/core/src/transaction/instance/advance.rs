//! Going forward: beginning what is ready, eliminating what no link leads to, ending at the tail, and what time does (T5, T6,
//! T7, T10, T11).

use super::{
    Answerer, Around, Effect, Input, Instance, Link, OperationState, Record, retry,
    state::{Begun, Leg, Part, Step, Timer},
    view::View,
};
use crate::{
    code::{Code, Fault},
    dice::Dice,
    document::Text,
    invocation::Outcome,
    machine::Decision,
    moment::Moment,
    session::Ending,
    transaction::{Definition, Work, request_document},
};
use std::collections::BTreeSet;

impl Instance {
    /// One step: eliminate one operation, begin one, or ask for one leg.
    pub(super) fn advance(
        &self,
        around: &Around,
        begun: &Begun,
        now: Moment,
        dice: &mut Dice,
    ) -> Result<Decision<Self>, Fault> {
        let definition = self.definition(around, begun)?;
        let step = Step { definition, around, begun, now };
        if begun.compensating.is_some() {
            return Ok(self.undo(step, dice));
        }
        let tail = definition.tail() as u32;
        if let Some(dead) = begun.dead.first() {
            if *dead == tail {
                let fault = begun
                    .cause
                    .clone()
                    .unwrap_or_else(|| Fault::new(Code::OperationFailed, "no link led to the end of the transaction"));
                return self.conclude(around, begun, now, Ending::Failed(fault));
            }
            let eliminated = OperationState::Eliminated;
            return Ok(Self::ended(definition, begun, *dead, eliminated, None, None, now));
        }
        if let Some(index) = begun.signalled.first() {
            return Ok(Self::ended(definition, begun, *index, OperationState::Completed, None, None, now));
        }
        if let Some(part) = begun.asking.first() {
            let mut decision = self.ask(step, dice, *part);
            decision.then.get_or_insert(Input::Advance);
            return Ok(decision);
        }
        let ready = begun.ready.first().copied();
        // The tail has ended and the transaction has not: the process ended between the two records.
        let Some(ready) = ready.or_else(|| begun.operations.contains_key(&tail).then_some(tail)) else {
            return Ok(Self::rest(begun, now));
        };
        if ready == 0 {
            return Ok(Self::ended(definition, begun, 0, OperationState::Completed, None, None, now));
        }
        if ready == tail {
            return match request_document(definition, tail as usize, &View::of(begun)) {
                Ok(output) => {
                    let mut decision = self.finish(begun, now, Ending::Completed(output));
                    if !begun.operations.contains_key(&tail) {
                        let ended = Self::ended(definition, begun, tail, OperationState::Completed, None, None, now);
                        decision.records.splice(0..0, ended.records);
                    }
                    Ok(decision)
                }
                Err(fault) => self.conclude(around, begun, now, Ending::Failed(begun.cause.clone().unwrap_or(fault))),
            };
        }
        let defined = &definition.operations[ready as usize];
        let mut decision = match (&defined.work, &defined.iteration) {
            (Work::Signal(signal), _) => Self::await_signal(defined, ready, signal, now),
            (_, Some(iteration)) => Self::iterate(definition, begun, now, ready, iteration),
            _ => self.ask(step, dice, Part::new(ready, 0)),
        };
        decision.then.get_or_insert(Input::Advance);
        Ok(decision)
    }

    /// Nothing is to be begun: go on with what is to be asked for or is due, if there is any.
    pub(super) fn rest(begun: &Begun, now: Moment) -> Decision<Self> {
        let is_due = begun.timers.first().is_some_and(|(at, _)| *at <= now);
        match (begun.asking.is_empty(), is_due) {
            (false, _) => Decision::nothing().then(Input::Advance),
            (true, true) => Decision::nothing().then(Input::Due),
            (true, false) => Decision::nothing(),
        }
    }

    /// A time has come: of the transaction, of an attempt or a pause, or of an operation.
    pub(super) fn due(
        &self,
        around: &Around,
        now: Moment,
        dice: &mut Dice,
        begun: &Begun,
    ) -> Result<Decision<Self>, Fault> {
        if begun.compensating.is_none() && begun.deadline.is_some_and(|deadline| deadline <= now) {
            return self.conclude(around, begun, now, Ending::TimedOut);
        }
        let timer = match begun.timers.first() {
            Some((at, timer)) if *at <= now => *timer,
            _ => return Ok(Decision::nothing().then(Input::Advance)),
        };
        let definition = self.definition(around, begun)?;
        let step = Step { definition, around, begun, now };
        let decision = match timer {
            Timer::Operation(index) => Self::out_of_time(definition, begun, index, now),
            Timer::Leg(part) => match begun.leg(part).filter(|leg| leg.is_open) {
                Some(leg) => Self::attempt_out_of_time(step, dice, leg, part),
                None => self.ask(step, dice, part),
            },
        };
        // What was judged goes on by itself, and comes back to what else is due.
        Ok(match decision.then {
            Some(Input::Judge { .. }) => decision,
            _ => decision.then(Input::Due),
        })
    }

    fn out_of_time(definition: &Definition, begun: &Begun, index: u32, now: Moment) -> Decision<Self> {
        let name = &definition.operations[index as usize].name;
        let fault = Fault::new(Code::OperationTimedOut, format!("operation {name} was not answered in time"));
        let mut decision = Self::ended(definition, begun, index, OperationState::TimedOut, None, Some(fault), now);
        decision.effects.extend(begun.withdrawals_of(index));
        decision
    }

    fn attempt_out_of_time(step: Step<'_>, dice: &mut Dice, leg: &Leg, part: Part) -> Decision<Self> {
        let defined = &step.definition.operations[part.operation as usize];
        let again = retry::again(step, dice, defined, part, &Outcome::Expired);
        let mut decision = Self::attempt_ended(part, Outcome::Expired, Answerer::Nobody, again, step.now);
        decision.effects.extend(leg.withdrawal());
        decision
    }

    /// The record of an operation's end, with the links that are followed and those that are not.
    pub(super) fn ended(
        definition: &Definition,
        begun: &Begun,
        index: u32,
        state: OperationState,
        output: Option<Text>,
        fault: Option<Fault>,
        at: Moment,
    ) -> Decision<Self> {
        let defined = &definition.operations[index as usize];
        let mut fault = fault;
        let followed: BTreeSet<usize> = match (&defined.split, state) {
            (_, OperationState::Eliminated) => BTreeSet::new(),
            (None, _) => defined.links.iter().copied().collect(),
            (Some(split), _) => {
                let followed = split.followed(&View::with(begun, index, output.as_ref())).unwrap_or_else(|unclear| {
                    fault.get_or_insert(unclear);
                    Vec::new()
                });
                followed.into_iter().collect()
            }
        };
        let link = |target: &usize| Link {
            operation: *target as u32,
            predecessors: definition.operations[*target].predecessors.len() as u32,
        };
        let (followed, passed): (Vec<_>, Vec<_>) = defined.links.iter().partition(|target| followed.contains(target));
        let followed = followed.into_iter().map(link).collect();
        let passed = passed.into_iter().map(link).collect();
        Decision::nothing()
            .record(Record::Ended { operation: index, state, output, fault, followed, passed, at })
            .then(Input::Advance)
    }
}

impl Begun {
    /// Tell everybody whom one operation asked that nobody waits any more.
    pub(super) fn withdrawals_of(&self, index: u32) -> Vec<Effect> {
        self.operations.get(&index).into_iter().flat_map(|operation| operation.withdrawals()).collect()
    }
}
