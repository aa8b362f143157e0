//! Answers: whether one is still waited for, whether it counts, and whether an operation has all that it needs (T8).

use super::{
    Answerer, Around, Effect, Input, Instance, OperationState, OutcomeKind, Record, Refusal, Refused, retry,
    state::{Begun, Operation, Part, Step},
    view::View,
};
use crate::{
    code::{Code, Fault},
    dice::Dice,
    ident::InvocationId,
    invocation::{Outcome, Performer},
    limit,
    machine::Decision,
    moment::Moment,
    session::Asker,
    transaction::{Definition, Response, responses_document},
};

/// An outcome that came.
pub(super) struct Answer {
    pub(super) invocation: InvocationId,
    pub(super) outcome: Outcome,
    pub(super) from: Performer,
    pub(super) asker: Option<Asker>,
}

impl Instance {
    /// Record an answer, if it is waited for; if not, record that it came, and refuse it.
    pub(super) fn answer(
        &self,
        around: &Around,
        begun: Option<&Begun>,
        now: Moment,
        dice: &mut Dice,
        answer: Answer,
    ) -> Result<Decision<Self>, Fault> {
        let Answer { invocation, outcome, from, asker } = answer;
        let is_kept_elsewhere = !matches!(from, Performer::Local(_));
        let settle = is_kept_elsewhere.then(|| Effect::Settle { performer: from.clone(), invocation });
        let Some(begun) = begun else {
            // Whoever keeps the answer may forget it all the same.
            return match settle {
                Some(settle) => Ok(Decision::nothing().effect(settle)),
                None => Err(Self::not_waiting(invocation)),
            };
        };
        let part = begun.waiting_for(invocation).filter(|part| begun.is_asked(*part, &from));
        let mut decision = match part {
            Some(part) => {
                let definition = self.definition(around, begun)?;
                Self::taken(Step { definition, around, begun, now }, dice, part, outcome, &from)
            }
            None if begun.has_answer(invocation, &outcome, &from) => Decision::nothing(),
            None => {
                let mut decision = Self::refused(begun, now, invocation, &outcome, &from);
                let fault = Self::not_waiting(invocation);
                decision.effects.extend(settle);
                decision.effects.extend(asker.map(|asker| Effect::Refuse { asker, fault }));
                return Ok(decision);
            }
        };
        decision.effects.extend(settle);
        decision.effects.extend(asker.map(|asker| Effect::Acknowledge {
            asker,
            invocation: Some(invocation),
            word: "answered",
        }));
        Ok(decision)
    }

    fn taken(step: Step<'_>, dice: &mut Dice, part: Part, outcome: Outcome, from: &Performer) -> Decision<Self> {
        let Step { definition, begun, now, .. } = step;
        let Part { operation, leg } = part;
        let defined = &definition.operations[operation as usize];
        let counted = match (&outcome, &defined.broadcast) {
            (Outcome::Completed(_), _) if part.is_compensation() => true,
            // A response that cannot be judged does not count; it is there to be looked at all the same.
            (Outcome::Completed(document), Some(broadcast)) => {
                broadcast.counts(operation as usize, &View::of(begun), document).unwrap_or(false)
            }
            (Outcome::Completed(_), _) => true,
            _ => false,
        };
        let again = retry::again(step, dice, defined, part, &outcome);
        let asked = begun.leg(part).and_then(|leg| leg.performer.as_ref());
        let from = match from {
            Performer::Peer { service: Some(service), .. } if asked != Some(from) => Answerer::Service(service.clone()),
            _ => Answerer::Asked,
        };
        let then = if part.is_compensation() { Input::Advance } else { Input::Judge { operation } };
        Decision::nothing()
            .record(Record::Answered { operation, leg, outcome, from, counted, again, at: now })
            .then(then)
    }

    /// Record that an answer came which nobody waits for, as long as that does not become too many.
    fn refused(
        begun: &Begun,
        now: Moment,
        invocation: InvocationId,
        outcome: &Outcome,
        from: &Performer,
    ) -> Decision<Self> {
        let part = begun.invocations.get(&invocation).copied();
        // A sub-transaction that was called off says that it was.
        let is_expected = matches!((from, outcome), (Performer::Transaction(_), Outcome::Cancelled)) && part.is_some();
        if is_expected || begun.refused.len() >= limit::ANSWERS_REFUSED_MAX {
            return Decision::nothing();
        }
        let leg = part.and_then(|part| begun.leg(part));
        let refusal = match leg {
            Some(leg) if leg.performer.as_ref().is_some_and(|asked| is_same(asked, from)) => {
                let is_answered = leg.invocation == Some(invocation) && leg.outcome.is_some();
                if is_answered { Refusal::Duplicate } else { Refusal::Late }
            }
            _ => Refusal::Foreign,
        };
        Decision::nothing().record(Record::AnswerRefused(Refused {
            invocation,
            leg: part.map(|part| (part.operation, part.leg)),
            from: from.clone(),
            outcome: OutcomeKind::of(outcome),
            refusal,
            at: now,
        }))
    }

    /// Record that an answer came which is none, as long as that does not become too many.
    pub(super) fn strayed(
        begun: Option<&Begun>,
        now: Moment,
        invocation: InvocationId,
        from: Performer,
        outcome: OutcomeKind,
        refusal: Refusal,
    ) -> Result<Decision<Self>, Fault> {
        let begun = begun.ok_or_else(|| Self::not_waiting(invocation))?;
        let part = begun.invocations.get(&invocation).copied().ok_or_else(|| Self::not_waiting(invocation))?;
        let is_alike = |refused: &&Refused| {
            matches!(refused.refusal, Refusal::Foreign | Refusal::Malformed)
                && refused.leg.is_some_and(|(operation, _)| operation == part.operation)
        };
        let alike = begun.refused.iter().filter(is_alike).count();
        if alike >= limit::ANSWERS_STRAYED_MAX || begun.refused.len() >= limit::ANSWERS_REFUSED_MAX {
            let message = format!("{alike} answers to this operation that are none are recorded already");
            return Err(Fault::new(Code::ResponseRefused, message));
        }
        let leg = Some((part.operation, part.leg));
        let refused = Refused { invocation, leg, from, outcome, refusal, at: now };
        Ok(Decision::nothing().record(Record::AnswerRefused(refused)))
    }

    /// End an operation, if nothing more is to be waited for.
    pub(super) fn judge(
        &self,
        around: &Around,
        begun: &Begun,
        now: Moment,
        index: u32,
    ) -> Result<Decision<Self>, Fault> {
        let definition = self.definition(around, begun)?;
        let goes_on = || Self::rest(begun, now);
        let running = begun.operations.get(&index).filter(|operation| !operation.state.is_final());
        let Some(operation) = running else { return Ok(goes_on()) };
        let defined = &definition.operations[index as usize];
        let ended = |state, output, fault| {
            let mut decision = Self::ended(definition, begun, index, state, output, fault, now);
            decision.effects.extend(operation.withdrawals());
            decision
        };
        let with_responses = || match responses_document(&responses(begun, operation, defined.iteration.is_some())) {
            Ok(output) => ended(OperationState::Completed, Some(output), None),
            Err(fault) => ended(OperationState::Failed, None, Some(fault)),
        };
        let all_answered = operation.answered as usize == operation.legs.len();
        if defined.iteration.is_some() {
            return Ok(match operation.failed {
                Some(leg) => ended(OperationState::Failed, None, Some(line_fault(definition, operation, index, leg))),
                None if all_answered && operation.answered > 0 => with_responses(),
                None => goes_on(),
            });
        }
        if let Some(broadcast) = &defined.broadcast {
            let needed = broadcast.minimum.unwrap_or(1);
            let enough = operation.counted >= needed && (broadcast.minimum.is_some() || all_answered);
            if enough {
                return Ok(with_responses());
            }
            if all_answered && operation.answered > 0 {
                let fault = Fault::new(
                    Code::BroadcastTooFew,
                    format!(
                        "{} of {} recipients answered operation {} as required, and {needed} are needed",
                        operation.counted,
                        operation.legs.len(),
                        defined.name
                    ),
                );
                return Ok(ended(OperationState::Failed, None, Some(fault)));
            }
            return Ok(goes_on());
        }
        let outcome = operation.legs.first().and_then(|leg| leg.outcome.as_ref());
        Ok(match outcome {
            None => goes_on(),
            Some(Outcome::Completed(_)) => ended(OperationState::Completed, None, None),
            Some(outcome @ Outcome::Expired) => ended(OperationState::TimedOut, None, outcome.fault()),
            Some(outcome) => ended(OperationState::Failed, None, outcome.fault()),
        })
    }

    /// Judge the first operation that has what it needs and was not judged, and so on; then go on as usual.
    ///
    /// Each answer is judged right after it is recorded, so this finds something only where the process ended in between:
    /// at most one operation.
    pub(super) fn judge_all(&self, around: &Around, begun: &Begun, now: Moment) -> Result<Decision<Self>, Fault> {
        let open = begun.operations.iter().filter(|(_, operation)| !operation.state.is_final());
        for (index, _) in open.filter(|(_, operation)| operation.answered > 0) {
            let decision = self.judge(around, begun, now, *index)?;
            if !decision.records.is_empty() {
                return Ok(Decision { then: Some(Input::JudgeAll), ..decision });
            }
        }
        Ok(Decision::nothing().then(Input::Due))
    }

    fn not_waiting(invocation: InvocationId) -> Fault {
        Fault::new(Code::ResponseRefused, format!("nobody waits for invocation {invocation}"))
    }
}

impl Begun {
    /// Whether a leg was asked of this performer.
    fn is_asked(&self, part: Part, from: &Performer) -> bool {
        self.leg(part).and_then(|leg| leg.performer.as_ref()).is_some_and(|asked| is_same(asked, from))
    }

    /// Whether this very answer was taken before: told once more, after a restart, it says nothing new.
    fn has_answer(&self, invocation: InvocationId, outcome: &Outcome, from: &Performer) -> bool {
        let part = self.invocations.get(&invocation).copied().filter(|part| self.is_asked(*part, from));
        part.and_then(|part| self.leg(part)).is_some_and(|leg| {
            let failed = leg.failed.as_ref().map(|(failed, fault)| (*failed, Some(fault)));
            leg.invocation == Some(invocation) && leg.outcome.as_ref() == Some(outcome)
                || failed.is_some_and(|(failed, fault)| failed == invocation && fault == outcome.fault().as_ref())
        })
    }
}

/// Whether an answer comes from whom it was asked: of a peer, any of its services may give it.
fn is_same(asked: &Performer, from: &Performer) -> bool {
    match (asked, from) {
        (Performer::Peer { organization: asked, .. }, Performer::Peer { organization: from, .. }) => asked == from,
        _ => asked == from,
    }
}

fn line_fault(definition: &Definition, operation: &Operation, index: u32, leg: u32) -> Fault {
    let fault = operation.legs.get(leg as usize).and_then(|leg| leg.outcome.as_ref()).and_then(Outcome::fault);
    let mut fault = fault.unwrap_or_else(|| Fault::new(Code::OperationFailed, "it was not performed"));
    let name = &definition.operations[index as usize].name;
    fault.message = format!("line {} of operation {name}: {}", leg + 1, fault.message);
    fault
}

/// The answers of an operation's legs, as its output document shows them.
fn responses<'a>(begun: &'a Begun, operation: &'a Operation, has_lines: bool) -> Vec<Response<'a>> {
    let answers = (1..).zip(&operation.legs).filter_map(|(line, leg)| {
        let Some(Outcome::Completed(document)) = &leg.outcome else { return None };
        let (organization_id, service) = match leg.performer.as_ref()? {
            Performer::Local(service) => (begun.organization, Some(service)),
            Performer::Peer { organization, service } => (*organization, service.as_ref().or(leg.service.as_ref())),
            Performer::Transaction(_) => (begun.organization, None),
        };
        let organization = leg.organization.as_ref();
        let line = has_lines.then_some(line);
        Some(Response { line, organization, organization_id, service, counted: leg.counted, document })
    });
    answers.collect()
}
