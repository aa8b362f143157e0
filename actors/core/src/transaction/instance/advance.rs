//! Going forward: performing what is ready, eliminating what no link leads to, ending at the tail (T5, T6, T7, T10).

use super::{
    Around, Effect, Input, Instance, Link, OperationState, Record,
    state::{Begun, Operation, Request},
};
use crate::{
    code::{Code, Fault},
    dice::Dice,
    document::Text,
    ident::{InvocationId, OrganizationId},
    invocation::{Context, Invocation, Performer, Target},
    limit,
    machine::Decision,
    moment::Moment,
    session::Ending,
    transaction::{Definition, Documents, Operation as Defined, Side, request_document},
};
use std::collections::BTreeSet;

/// The documents of a transaction, as expressions and joins look at them.
pub(super) struct View<'a> {
    begun: &'a Begun,
    /// The output of a broadcast that is about to end.
    coming: Option<(usize, &'a Text)>,
}

impl<'a> View<'a> {
    pub(super) fn of(begun: &'a Begun) -> Self {
        Self { begun, coming: None }
    }
}

impl Documents for View<'_> {
    fn document(&self, operation: usize, side: Side) -> Option<&Text> {
        if operation == 0 {
            return Some(&self.begun.input);
        }
        if let (Side::Output, Some((coming, output))) = (side, self.coming)
            && coming == operation
        {
            return Some(output);
        }
        let state = self.begun.operations.get(&u32::try_from(operation).ok()?)?;
        match side {
            Side::Input => self.begun.request(state),
            Side::Output => state.output(),
        }
    }

    fn submitted(&self) -> Moment {
        self.begun.submitted
    }
}

/// Who shall be asked.
enum Choice {
    Asked(Vec<Performer>),
    Nobody(Fault),
    Impossible(Fault),
}

impl Instance {
    /// One step: eliminate one operation, or perform one.
    pub(super) fn advance(
        &self,
        around: &Around,
        begun: &Begun,
        now: Moment,
        dice: &mut Dice,
    ) -> Result<Decision<Self>, Fault> {
        let definition = self.definition(around, begun)?;
        let tail = definition.tail() as u32;
        if let Some(dead) = begun.dead.first() {
            if *dead == tail {
                let fault = begun
                    .cause
                    .clone()
                    .unwrap_or_else(|| Fault::new(Code::OperationFailed, "no link led to the end of the transaction"));
                return Ok(self.finish(begun, now, Ending::Failed(fault)));
            }
            let eliminated = OperationState::Eliminated;
            return Ok(Self::ended(definition, begun, *dead, eliminated, None, None, now).then(Input::Advance));
        }
        let ready = begun.ready.first().copied();
        // The tail has ended and the transaction has not: the process ended between the two records.
        let Some(ready) = ready.or_else(|| begun.operations.contains_key(&tail).then_some(tail)) else {
            return Ok(Decision::nothing());
        };
        Ok(match ready {
            0 => Self::ended(definition, begun, 0, OperationState::Completed, None, None, now).then(Input::Advance),
            _ if ready == tail => match request_document(definition, tail as usize, &View::of(begun)) {
                Ok(output) => {
                    let mut decision = self.finish(begun, now, Ending::Completed(output));
                    if !begun.operations.contains_key(&tail) {
                        let ended = Self::ended(definition, begun, tail, OperationState::Completed, None, None, now);
                        decision.records.splice(0..0, ended.records);
                    }
                    decision
                }
                Err(fault) => self.finish(begun, now, Ending::Failed(begun.cause.clone().unwrap_or(fault))),
            },
            _ => self.request(definition, around, begun, now, dice, ready).then(Input::Advance),
        })
    }

    /// Ask for an operation, or look again later, or find that it cannot be asked for.
    pub(super) fn request(
        &self,
        definition: &Definition,
        around: &Around,
        begun: &Begun,
        now: Moment,
        dice: &mut Dice,
        index: u32,
    ) -> Decision<Self> {
        let defined = &definition.operations[index as usize];
        let failed = |fault| Self::ended(definition, begun, index, OperationState::Failed, None, Some(fault), now);
        let document = match request_document(definition, index as usize, &View::of(begun)) {
            Ok(document) => document,
            Err(fault) => return failed(fault),
        };
        let before = begun.operations.get(&index);
        let started = before.map_or(now, |operation| operation.started);
        match self.choose(defined, around, begun, dice, before) {
            Choice::Impossible(fault) => failed(fault),
            Choice::Nobody(fault) => {
                let given_up = limit::PERFORMER_WAIT_MS_MAX.min(defined.timeout_ms.unwrap_or(u64::MAX));
                if now.since_ms(started) >= given_up {
                    return failed(fault);
                }
                let looks = before.map_or(0, |operation| operation.looks).min(16);
                let pause_ms = (limit::PERFORMER_RETRY_MS_MIN << looks).min(limit::PERFORMER_RETRY_MS_MAX);
                let again_at = now.plus_ms(pause_ms).min(started.plus_ms(given_up));
                Decision::nothing().record(Record::Sought { operation: index, at: now, again_at })
            }
            Choice::Asked(performers) => {
                let attempt = before.map_or(1, |operation| operation.attempt);
                let id = |leg| InvocationId::new(&begun.organization, self.id, defined.id, leg, attempt);
                let legs: Vec<_> = performers.into_iter().zip(0..).map(|(who, leg)| (who, id(leg))).collect();
                let deadline = defined.timeout_ms.map(|timeout_ms| started.plus_ms(timeout_ms));
                let effects = legs
                    .iter()
                    .zip(0..)
                    .map(|((performer, id), leg)| {
                        self.invoke(begun, defined, attempt, deadline, (performer, *id, leg), &document)
                    })
                    .collect();
                let request = begun.same_as(definition, index, &document).unwrap_or(Request::Made(document));
                let record = Record::Requested { operation: index, legs, request, at: now, deadline };
                Decision { records: vec![record], effects, then: None }
            }
        }
    }

    /// Who performs an operation: all for a broadcast, one at a certain organization, or one by the offers' policy.
    fn choose(
        &self,
        defined: &Defined,
        around: &Around,
        begun: &Begun,
        dice: &mut Dice,
        before: Option<&Operation>,
    ) -> Choice {
        let target = Target { operation: defined.performs.clone(), service: defined.service.clone() };
        let nobody = |what: String| Choice::Nobody(Fault::new(Code::NoPerformer, what));
        if let Some(broadcast) = &defined.broadcast {
            let mut performers = around.offers.performers(&target.operation, broadcast.federation);
            if let Some(wanted) = &target.service {
                performers.retain(|performer| match performer {
                    Performer::Local(service) => service == wanted,
                    Performer::Peer { service, .. } => service.as_ref() == Some(wanted),
                });
            }
            if !broadcast.services.is_empty() {
                performers.retain(|performer| match performer {
                    Performer::Local(service) => broadcast.services.contains(service),
                    Performer::Peer { service, .. } => {
                        service.as_ref().is_some_and(|service| broadcast.services.contains(service))
                    }
                });
            }
            performers.truncate(limit::BROADCAST_LEGS_MAX);
            let needed = broadcast.minimum.unwrap_or(1).max(1);
            return if performers.len() < needed as usize {
                nobody(format!(
                    "operation {} needs {needed} that perform it, and {} are known",
                    defined.name,
                    performers.len()
                ))
            } else {
                Choice::Asked(performers)
            };
        }
        match defined.organization(&View::of(begun)) {
            Err(fault) => return Choice::Impossible(fault),
            Ok(Some(named)) => {
                let performer = around
                    .offers
                    .organization(&named)
                    .and_then(|organization| around.offers.performer_at(&organization, &target, dice.any()));
                return match performer {
                    Some(performer) => Choice::Asked(vec![performer]),
                    None => nobody(format!("nobody at '{named}' performs operation {}", defined.name)),
                };
            }
            Ok(None) => {}
        }
        let excluded: &[OrganizationId] = before.map_or(&[], |operation| &operation.excluded);
        match around.offers.performer(&target, dice.any(), excluded) {
            Some(performer) => Choice::Asked(vec![performer]),
            None => {
                let at = target.service.map(|service| format!(" as service {service}")).unwrap_or_default();
                nobody(format!("nobody performs operation {}{at}", defined.name))
            }
        }
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
                let view = View { begun, coming: output.as_ref().map(|output| (index as usize, output)) };
                let followed = split.followed(&view).unwrap_or_else(|unclear| {
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
        Decision::nothing().record(Record::Ended { operation: index, state, output, fault, followed, passed, at })
    }

    /// The effect that asks one performer, under the id of its leg.
    pub(super) fn invoke(
        &self,
        begun: &Begun,
        defined: &Defined,
        attempt: u32,
        deadline: Option<Moment>,
        (performer, id, leg): (&Performer, InvocationId, u32),
        document: &Text,
    ) -> Effect {
        let service = match performer {
            Performer::Local(service) => Some(service.clone()),
            Performer::Peer { service, .. } => service.clone(),
        };
        let invocation = Invocation {
            id,
            context: Context {
                organization: begun.organization,
                transaction: self.id,
                definition: begun.definition.clone(),
                operation: defined.id,
                attempt,
                priority: defined.priority,
                hops: 0,
            },
            target: Target { operation: defined.performs.clone(), service },
            document: document.clone(),
            deadline: deadline.into_iter().chain(begun.deadline).min(),
        };
        match performer {
            Performer::Local(service) => Effect::Offer { service: service.clone(), invocation },
            Performer::Peer { organization, .. } => Effect::Ask { organization: *organization, invocation, leg },
        }
    }
}
