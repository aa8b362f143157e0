//! Asking: who performs a leg, with which document, and what is done while nobody does (T6, T8, T10, F6).

use super::{
    Answerer, Around, Asked, Effect, Input, Instance, OperationState, Parent, Record, Request, retry,
    state::{Begun, Operation, Part, Step},
    view::View,
};
use crate::{
    code::{Code, Fault},
    dice::Dice,
    document::Text,
    ident::{InvocationId, OperationName, OrganizationId, ServiceName, TransactionId},
    invocation::{Context, Invocation, Outcome, Performer, Target},
    limit,
    machine::Decision,
    moment::Moment,
    transaction::{Broadcast, Definition, Operation as Defined, Work, compensation_document, request_document},
};

/// Who shall be asked.
enum Choice {
    Asked(Vec<Performer>),
    Nobody(Fault),
    Impossible(Fault),
}

/// What a leg asks for: its operation, or what undoes it.
struct Task<'a> {
    performs: &'a OperationName,
    service: Option<&'a ServiceName>,
    timeout_ms: Option<u64>,
    /// Where it is one leg of many, chosen together.
    broadcast: Option<&'a Broadcast>,
    subtransaction: bool,
}

impl<'a> Task<'a> {
    fn of(defined: &'a Defined, part: Part) -> Self {
        match &defined.compensation {
            Some(compensation) if part.is_compensation() => Self {
                performs: &compensation.performs,
                service: compensation.service.as_ref(),
                timeout_ms: Some(compensation.timeout_ms.unwrap_or_else(|| {
                    limit::COMPENSATION_TIMEOUT_MS + compensation.retry.as_ref().map_or(0, retry::longest_ms)
                })),
                broadcast: None,
                subtransaction: false,
            },
            _ => Self {
                performs: &defined.performs,
                service: defined.service.as_ref(),
                timeout_ms: defined.timeout_ms,
                broadcast: defined.broadcast.as_ref(),
                subtransaction: matches!(defined.work, Work::Transaction(_)),
            },
        }
    }

    fn target(&self) -> Target {
        Target { operation: self.performs.clone(), service: self.service.cloned() }
    }
}

impl Instance {
    /// Ask for a leg, or look again later, or find that it cannot be asked for. Of a broadcast that was not asked for yet:
    /// for all its legs.
    pub(super) fn ask(&self, step: Step<'_>, dice: &mut Dice, part: Part) -> Decision<Self> {
        let Step { definition, around, begun, now } = step;
        let index = part.operation;
        let defined = &definition.operations[index as usize];
        let task = Task::of(defined, part);
        let impossible = |fault| {
            if part.is_compensation() {
                Self::not_undone(part, fault, now)
            } else {
                Self::ended(definition, begun, index, OperationState::Failed, None, Some(fault), now)
            }
        };
        let known = begun.request_of(part);
        let made = match known {
            Some(known) => Ok(known.clone()),
            None if part.is_compensation() => compensation_document(definition, index as usize, &View::of(begun)),
            None => request_document(definition, index as usize, &View::of(begun)),
        };
        let document = match made {
            Ok(document) => document,
            Err(fault) => return impossible(fault),
        };
        let request = match known {
            Some(_) => None,
            None => {
                Some(begun.same_as(definition, index, &document).unwrap_or_else(|| Request::Made(document.clone())))
            }
        };
        if let Some(fault) = request.as_ref().and_then(|request| begun.too_much(defined, part, request)) {
            return impossible(fault);
        }
        let before = begun.operations.get(&index);
        match self.choose(defined, &task, around, begun, dice, part) {
            Choice::Impossible(fault) => impossible(fault),
            Choice::Nobody(fault) => self.sought(step, dice, &task, part, fault),
            Choice::Asked(performers) => {
                let started = if part.is_compensation() {
                    before.and_then(|operation| operation.compensation.as_ref()).map_or(now, |undoing| undoing.started)
                } else {
                    before.map_or(now, |operation| operation.started)
                };
                let deadline = task.timeout_ms.map(|timeout_ms| started.plus_ms(timeout_ms));
                let attempt_timeout_ms = retry::policy(defined, part).and_then(|retry| retry.attempt_timeout_ms);
                let mut until = attempt_timeout_ms.map(|timeout_ms| now.plus_ms(timeout_ms));
                if part.is_compensation() {
                    until = until.into_iter().chain(deadline).min();
                }
                let asked: Vec<_> = (0..)
                    .zip(performers)
                    .map(|(offset, performer)| {
                        let part = Part::new(index, part.leg + offset);
                        self.asked(around, begun, defined, part, performer, until)
                    })
                    .collect();
                let effects = asked
                    .iter()
                    .filter_map(|asked| {
                        let until = match part.is_compensation() {
                            true => until,
                            false => until.into_iter().chain(deadline).chain(begun.deadline).min(),
                        };
                        self.invoke(begun, defined, asked, until, &document)
                    })
                    .collect();
                let deadline = deadline.filter(|_| {
                    let set = match part.is_compensation() {
                        true => before.and_then(|it| it.compensation.as_ref()).and_then(|undoing| undoing.deadline),
                        false => before.and_then(|operation| operation.deadline),
                    };
                    set.is_none()
                });
                let record = Record::Requested { operation: index, asked, request, at: now, deadline };
                Decision { records: vec![record], effects, then: None }
            }
        }
    }

    fn asked(
        &self,
        around: &Around,
        begun: &Begun,
        defined: &Defined,
        part: Part,
        performer: Performer,
        until: Option<Moment>,
    ) -> Asked {
        let attempt = begun.leg(part).map_or(0, |leg| leg.attempt) + 1;
        let invocation = InvocationId::new(&begun.organization, self.id, defined.id, part.leg, attempt);
        let performer = match performer {
            Performer::Transaction(_) => Performer::Transaction(TransactionId::of_subtransaction(self.id, invocation)),
            performer => performer,
        };
        let is_shown = (defined.broadcast.is_some() || defined.iteration.is_some()) && !part.is_compensation();
        let organization = is_shown.then(|| match around.lived.as_deref() {
            Some(Record::Requested { asked, .. }) => {
                asked.iter().find(|asked| asked.leg == part.leg).and_then(|asked| asked.organization.clone())
            }
            _ => match &performer {
                Performer::Local(_) | Performer::Transaction(_) => around.offers.name(&begun.organization).cloned(),
                Performer::Peer { organization, .. } => around.offers.name(organization).cloned(),
            },
        });
        Asked { leg: part.leg, attempt, performer, organization: organization.flatten(), invocation, until }
    }

    /// Nobody performs a leg: look again later, or give the attempt up.
    fn sought(&self, step: Step<'_>, dice: &mut Dice, task: &Task<'_>, part: Part, fault: Fault) -> Decision<Self> {
        let Step { definition, begun, now, .. } = step;
        let index = part.operation;
        let defined = &definition.operations[index as usize];
        let leg = begun.leg(part);
        let since = leg.and_then(|leg| leg.seeking_since).unwrap_or(now);
        let given_up_ms = limit::PERFORMER_WAIT_MS_MAX.min(task.timeout_ms.unwrap_or(u64::MAX));
        if now.since_ms(since) < given_up_ms {
            let looks = leg.map_or(0, |leg| leg.looks).min(16);
            let pause_ms = (limit::PERFORMER_RETRY_MS_MIN << looks).min(limit::PERFORMER_RETRY_MS_MAX);
            let again_at = now.plus_ms(pause_ms).min(since.plus_ms(given_up_ms));
            return Decision::nothing().record(Record::Sought { operation: index, leg: part.leg, at: now, again_at });
        }
        let outcome = Outcome::Failed(fault);
        let again = retry::again(step, dice, defined, part, &outcome);
        let is_whole = !part.is_compensation() && defined.iteration.is_none();
        if let (None, true, Outcome::Failed(fault)) = (&again, is_whole, &outcome) {
            let fault = Some(fault.clone());
            return Self::ended(definition, begun, index, OperationState::Failed, None, fault, now);
        }
        Self::attempt_ended(part, outcome, Answerer::Nobody, again, now)
    }

    /// The record of an attempt that did not come to an answer that counts.
    pub(super) fn attempt_ended(
        part: Part,
        outcome: Outcome,
        from: Answerer,
        again: Option<super::Again>,
        at: Moment,
    ) -> Decision<Self> {
        let Part { operation, leg } = part;
        let then = if part.is_compensation() { Input::Advance } else { Input::Judge { operation } };
        Decision::nothing()
            .record(Record::Answered { operation, leg, outcome, from, counted: false, again, at })
            .then(then)
    }

    /// Who performs a leg: all for a broadcast, one at a certain organization, or one by the offers' policy.
    fn choose(
        &self,
        defined: &Defined,
        task: &Task<'_>,
        around: &Around,
        begun: &Begun,
        dice: &mut Dice,
        part: Part,
    ) -> Choice {
        let leg = begun.leg(part);
        if task.subtransaction {
            let depth = begun.parent.as_ref().map_or(0, |parent| parent.depth) + 1;
            if depth > limit::SUBTRANSACTION_DEPTH_MAX {
                let message = format!(
                    "operation {} would run a transaction in {} others, one inside the other",
                    defined.name, depth
                );
                return Choice::Impossible(Fault::new(Code::SubtransactionTooDeep, message));
            }
            // Which one it is follows from the invocation.
            return Choice::Asked(vec![Performer::Transaction(TransactionId(0))]);
        }
        let target = task.target();
        let organization = match part.is_compensation() {
            true => Ok(None),
            false => defined.organization(&View::of(begun)),
        };
        let organization = match organization {
            Ok(organization) => organization,
            Err(fault) => return Choice::Impossible(fault),
        };
        if let Some(lived) = around.lived.as_deref() {
            return chosen_then(lived);
        }
        let nobody = |what: String| Choice::Nobody(Fault::new(Code::NoPerformer, what));
        if let Some(broadcast) = task.broadcast {
            // One recipient that failed is asked again, and no other in its place.
            if let Some(performer) = leg.and_then(|leg| leg.performer.clone()) {
                return Choice::Asked(vec![performer]);
            }
            let performers = recipients(around, &target, broadcast);
            let needed = broadcast.minimum.unwrap_or(1).max(1);
            return if performers.len() < needed as usize {
                let known = performers.len();
                nobody(format!("operation {} needs {needed} that perform it, and {known} are known", defined.name))
            } else {
                Choice::Asked(performers)
            };
        }
        if let Some(named) = organization {
            let performer = around
                .offers
                .organization(&named)
                .and_then(|organization| around.offers.performer_at(&organization, &target, dice.any()));
            return match performer {
                Some(performer) => Choice::Asked(vec![performer]),
                None => nobody(format!("nobody at '{named}' performs operation {}", task.performs)),
            };
        }
        let excluded: &[OrganizationId] = leg.map_or(&[], |leg| &leg.excluded);
        match around.offers.performer(&target, dice.any(), excluded) {
            Some(performer) => Choice::Asked(vec![performer]),
            None => {
                let at = target.service.map(|service| format!(" as service {service}")).unwrap_or_default();
                nobody(format!("nobody performs operation {}{at}", task.performs))
            }
        }
    }

    /// The effect that asks one performer, under the id of its leg.
    fn invoke(
        &self,
        begun: &Begun,
        defined: &Defined,
        asked: &Asked,
        deadline: Option<Moment>,
        document: &Text,
    ) -> Option<Effect> {
        let task = Task::of(defined, Part::new(0, asked.leg));
        let priority = begun.parent.as_ref().map_or(0, |parent| parent.priority).max(defined.priority);
        let service = match &asked.performer {
            Performer::Local(service) => Some(service.clone()),
            Performer::Peer { service, .. } => service.clone(),
            Performer::Transaction(transaction) => {
                let Work::Transaction(definition) = &defined.work else { return None };
                let parent = Parent {
                    transaction: self.id,
                    invocation: asked.invocation,
                    depth: begun.parent.as_ref().map_or(0, |parent| parent.depth) + 1,
                    priority,
                };
                return Some(Effect::Begin {
                    transaction: *transaction,
                    parent,
                    definition: definition.clone(),
                    document: document.clone(),
                });
            }
        };
        let invocation = Invocation {
            id: asked.invocation,
            context: Context {
                organization: begun.organization,
                transaction: self.id,
                definition: begun.definition.clone(),
                operation: defined.id,
                attempt: asked.attempt,
                priority,
                hops: 0,
            },
            target: Target { operation: task.performs.clone(), service },
            document: document.clone(),
            deadline,
        };
        Some(match &asked.performer {
            Performer::Peer { organization, .. } => {
                Effect::Ask { organization: *organization, invocation, leg: asked.leg }
            }
            _ => Effect::Offer { service: invocation.target.service.clone()?, invocation },
        })
    }

    /// After a restart: a leg that has not answered is asked again, under the same id.
    pub(super) fn asked_again(&self, definition: &Definition, begun: &Begun, part: Part) -> Option<Effect> {
        let leg = begun.leg(part).filter(|leg| leg.is_open)?;
        let document = begun.request_of(part)?;
        let defined = &definition.operations[part.operation as usize];
        let asked = Asked {
            leg: part.leg,
            attempt: leg.attempt,
            performer: leg.performer.clone()?,
            organization: None,
            invocation: leg.invocation?,
            until: leg.timer,
        };
        self.invoke(begun, defined, &asked, begun.deadline_of(part, leg.timer), document)
    }

    /// After a restart: whoever has not answered is asked again, under the same ids.
    pub(super) fn resumed(&self, around: &Around, begun: &Begun) -> Result<Decision<Self>, Fault> {
        let definition = self.definition(around, begun)?;
        let mut decision = Decision::nothing().then(Input::JudgeAll);
        decision.effects.extend(
            begun
                .parent
                .as_ref()
                .map(|parent| Effect::Inquire { parent: parent.transaction, invocation: parent.invocation }),
        );
        let running =
            begun.operations.iter().filter(|(_, it): &(&u32, &Operation)| it.state == OperationState::Running);
        for (index, operation) in running {
            let legs = (0..operation.legs.len() as u32).map(|leg| Part::new(*index, leg));
            decision.effects.extend(legs.filter_map(|part| self.asked_again(definition, begun, part)));
        }
        decision.effects.extend(self.undoing_again(definition, begun));
        Ok(decision)
    }
}

impl Begun {
    /// Why a request is one too many, if it is: the documents that were made for all operations are kept until the end.
    /// What undoes an operation is asked for all the same.
    fn too_much(&self, defined: &Defined, part: Part, request: &Request) -> Option<Fault> {
        let bytes = self.requested_bytes + request.made_bytes();
        if part.is_compensation() || bytes <= limit::TRANSACTION_REQUESTS_BYTES_MAX {
            return None;
        }
        let message = format!(
            "with the request of operation {} ({}), the requests that were made in this transaction are {bytes} bytes, \
             and {} are the most",
            defined.id,
            defined.name,
            limit::TRANSACTION_REQUESTS_BYTES_MAX
        );
        let help = "an operation without a JOIN is asked with everything that the operations before it were asked and \
                    answered, which adds up in a long row; pick the documents or sections that are needed in a JOIN";
        Some(Fault::new(Code::DocumentTooLarge, message).at(defined.place).help(help))
    }
}

/// Everybody whom a broadcast asks.
fn recipients(around: &Around, target: &Target, broadcast: &Broadcast) -> Vec<Performer> {
    let mut performers = around.offers.performers(&target.operation, broadcast.federation);
    let service_of = |performer: &Performer| match performer {
        Performer::Local(service) => Some(service.clone()),
        Performer::Peer { service, .. } => service.clone(),
        Performer::Transaction(_) => None,
    };
    if let Some(wanted) = &target.service {
        performers.retain(|performer| service_of(performer).as_ref() == Some(wanted));
    }
    if !broadcast.services.is_empty() {
        let wanted: std::collections::BTreeSet<_> = broadcast.services.iter().collect();
        performers.retain(|performer| service_of(performer).is_some_and(|service| wanted.contains(&service)));
    }
    performers.truncate(limit::BROADCAST_LEGS_MAX);
    performers
}

/// What was chosen when a step was lived that is now computed anew.
fn chosen_then(lived: &Record) -> Choice {
    match lived {
        Record::Requested { asked, .. } => Choice::Asked(asked.iter().map(|asked| asked.performer.clone()).collect()),
        Record::Ended { fault: Some(fault), .. } => Choice::Nobody(fault.clone()),
        Record::Answered { outcome, .. } => {
            Choice::Nobody(outcome.fault().unwrap_or_else(|| Fault::new(Code::NoPerformer, "somebody answered")))
        }
        _ => Choice::Nobody(Fault::new(Code::NoPerformer, "nobody was found then")),
    }
}
