//! Answers: whether one is still waited for, whether it counts, and whether an operation has all that it needs (T8).

use super::{
    Around, Effect, Input, Instance, OperationState, Record,
    advance::View,
    state::{Begun, Operation},
};
use crate::{
    code::{Code, Fault},
    ident::{InvocationId, OrganizationId},
    invocation::{Outcome, Performer},
    limit,
    machine::Decision,
    moment::Moment,
    offer::Offers,
    session::Asker,
    transaction::{Response, responses_document},
};

impl Instance {
    /// Record an answer, if anybody waits for it.
    pub(super) fn answered(
        &self,
        around: &Around,
        begun: &Begun,
        now: Moment,
        invocation: InvocationId,
        outcome: Outcome,
    ) -> Result<Decision<Self>, Fault> {
        let (index, number, waiting) = begun.leg_of(invocation).ok_or_else(|| Self::not_waiting(invocation))?;
        if !waiting {
            let leg = begun.operations.get(&index).and_then(|operation| operation.legs.get(number as usize));
            // The same answer once more, after a restart, says nothing new.
            if leg.is_some_and(|leg| leg.invocation == invocation && leg.outcome.as_ref() == Some(&outcome)) {
                return Ok(Decision::nothing());
            }
            return Ok(Decision::nothing().record(Record::AnsweredLate { operation: index, leg: number }));
        }
        let defined = &self.definition(around, begun)?.operations[index as usize];
        let counted = match (&outcome, &defined.broadcast) {
            // A response that cannot be judged does not count; it is there to be looked at all the same.
            (Outcome::Completed(document), Some(broadcast)) => {
                broadcast.counts(index as usize, &View::of(begun), document).unwrap_or(false)
            }
            (Outcome::Completed(_), _) => true,
            _ => false,
        };
        Ok(Decision::nothing()
            .record(Record::Answered { operation: index, leg: number, outcome, counted, at: now })
            .then(Input::Judge { operation: index }))
    }

    /// End an operation, or ask another peer, if nothing more is to be waited for.
    pub(super) fn judge(
        &self,
        around: &Around,
        begun: &Begun,
        now: Moment,
        index: u32,
    ) -> Result<Decision<Self>, Fault> {
        let definition = self.definition(around, begun)?;
        let running = begun.operations.get(&index).filter(|operation| operation.state == OperationState::Running);
        let Some(operation) = running else { return Ok(Decision::nothing()) };
        let defined = &definition.operations[index as usize];
        let ended = |state, output, fault| {
            Self::ended(definition, begun, index, state, output, fault, now).then(Input::Advance)
        };
        if let Some(broadcast) = &defined.broadcast {
            let all_answered = operation.answered as usize == operation.legs.len();
            let needed = broadcast.minimum.unwrap_or(1);
            let enough = operation.counted >= needed && (broadcast.minimum.is_some() || all_answered);
            if enough {
                let mut decision = match responses_document(&responses(&around.offers, operation)) {
                    Ok(output) => ended(OperationState::Completed, Some(output), None),
                    Err(fault) => ended(OperationState::Failed, None, Some(fault)),
                };
                decision.effects.extend(operation.withdrawals());
                return Ok(decision);
            }
            if all_answered {
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
            return Ok(Decision::nothing());
        }
        let Some(leg) = operation.legs.first() else { return Ok(Decision::nothing()) };
        let Some(outcome) = &leg.outcome else { return Ok(Decision::nothing()) };
        Ok(match (outcome, &leg.performer) {
            (Outcome::Completed(_), _) => ended(OperationState::Completed, None, None),
            // The peer did nothing at all, so another one may be asked (F6).
            (Outcome::Failed(fault), Performer::Peer { organization, .. })
                if defined.organization.is_none()
                    && operation.attempt < limit::OPERATION_ATTEMPTS_MAX
                    && matches!(fault.code, Code::NoPerformer | Code::Busy | Code::LimitReached) =>
            {
                Decision::nothing()
                    .record(Record::Retried { operation: index, excluded: Some(*organization) })
                    .then(Input::Advance)
            }
            (Outcome::Expired, _) => ended(OperationState::TimedOut, None, outcome.fault()),
            (Outcome::Failed(_) | Outcome::Cancelled, _) => ended(OperationState::Failed, None, outcome.fault()),
        })
    }

    /// Judge the first operation that has what it needs and was not judged, and so on; then go on as usual.
    ///
    /// Each answer is judged right after it is recorded, so this finds something only where the process ended in between:
    /// at most one operation.
    pub(super) fn judge_all(&self, around: &Around, begun: &Begun, now: Moment) -> Result<Decision<Self>, Fault> {
        let answered = begun.operations.iter().filter(|(_, operation)| operation.answered > 0);
        for (index, _) in answered {
            let decision = self.judge(around, begun, now, *index)?;
            if !decision.records.is_empty() {
                return Ok(Decision { then: Some(Input::JudgeAll), ..decision });
            }
        }
        Ok(Decision::nothing().then(Input::Due))
    }

    /// Whoever gave an answer may forget it once the decision on it is recorded.
    pub(super) fn settled(
        mut decision: Decision<Self>,
        invocation: InvocationId,
        asker: Option<Asker>,
        peer: Option<OrganizationId>,
    ) -> Decision<Self> {
        decision.effects.extend(peer.map(|organization| Effect::Settle { organization, invocation }));
        decision.effects.extend(asker.map(|asker| Effect::Acknowledge {
            asker,
            invocation: Some(invocation),
            word: "answered",
        }));
        decision
    }

    pub(super) fn not_waiting(invocation: InvocationId) -> Fault {
        Fault::new(Code::ResponseRefused, format!("nobody waits for invocation {invocation}"))
    }
}

/// The answers of a broadcast's recipients, as its output document shows them.
fn responses<'a>(offers: &'a Offers, operation: &'a Operation) -> Vec<Response<'a>> {
    let answers = operation.legs.iter().filter_map(|leg| {
        let Some(Outcome::Completed(document)) = &leg.outcome else { return None };
        let (organization_id, service) = match &leg.performer {
            Performer::Local(service) => (offers.own()?, Some(service)),
            Performer::Peer { organization, service } => (*organization, service.as_ref()),
        };
        let organization = offers.name(&organization_id)?;
        Some(Response { organization, organization_id, service, counted: leg.counted, document })
    });
    answers.collect()
}
