//! How records change a transaction: the only way in which it changes. Decides nothing, and looks at nothing but the record.

use super::{
    Again, Answerer, Asked, Record,
    state::{Begun, Compensating, Instance, Leg, Operation, OperationState, Part, Request, Timer, Undoing},
};
use crate::{invocation::Outcome, moment::Moment, session::Ending};
use std::collections::{BTreeMap, BTreeSet};

impl Instance {
    /// Take a record in.
    pub(super) fn take(&mut self, record: &Record) {
        match record {
            Record::Awaited { asker } => self.requesters.push(*asker),
            Record::Responded => self.requesters.clear(),
            Record::Purged => (self.begun, self.requesters) = (None, Vec::new()),
            Record::Submitted { organization, definition, hash, save, parent, input, at, deadline } => {
                self.begun = Some(Box::new(Begun {
                    organization: *organization,
                    definition: definition.clone(),
                    hash: *hash,
                    save: *save,
                    parent: parent.clone(),
                    settled: false,
                    input: input.clone(),
                    submitted: *at,
                    deadline: *deadline,
                    compensating: None,
                    ended: None,
                    forgotten: false,
                    requested_bytes: 0,
                    operations: BTreeMap::new(),
                    reached: BTreeMap::new(),
                    ready: BTreeSet::from([0]),
                    dead: BTreeSet::new(),
                    asking: BTreeSet::new(),
                    signalled: BTreeSet::new(),
                    invocations: BTreeMap::new(),
                    timers: BTreeSet::new(),
                    signals: BTreeMap::new(),
                    awaited: BTreeMap::new(),
                    completed: Vec::new(),
                    refused: Vec::new(),
                    cause: None,
                }));
            }
            _ => {
                if let Some(begun) = self.begun.as_deref_mut() {
                    begun.take(record);
                }
            }
        }
    }
}

impl Begun {
    fn take(&mut self, record: &Record) {
        match record {
            Record::Sought { operation, leg, at, again_at } => {
                let part = Part::new(*operation, *leg);
                self.asking.remove(&part);
                let leg = self.leg_at_work(part, *at);
                leg.looks += 1;
                leg.seeking_since.get_or_insert(*at);
                // By the next look a peer that had too much to do may have time again.
                leg.excluded.clear();
                self.set_timer(part, Some(*again_at));
            }
            Record::Iterated { operation, requests, concurrent, at, deadline } => {
                self.requested_bytes += requests.iter().map(Request::made_bytes).sum::<usize>();
                let state = self.at_work(*operation, *at);
                state.state = OperationState::Running;
                state.legs =
                    requests.iter().map(|request| Leg { request: Some(request.clone()), ..Leg::default() }).collect();
                state.begun = (requests.len() as u32).min(*concurrent);
                let begun = state.begun;
                self.asking.extend((0..begun).map(|leg| Part::new(*operation, leg)));
                self.set_deadline(*operation, *deadline);
            }
            Record::Requested { operation, asked, request, at, deadline } => {
                for asked in asked {
                    self.asked(*operation, asked, *at);
                }
                if asked.iter().any(|asked| Part::new(*operation, asked.leg).is_compensation()) {
                    let state = self.operations.get_mut(operation);
                    if let Some(undoing) = state.and_then(|state| state.compensation.as_mut()) {
                        undoing.deadline = undoing.deadline.or(*deadline);
                        undoing.leg.request = undoing.leg.request.take().or_else(|| request.clone());
                    }
                    return;
                }
                self.requested_bytes += request.as_ref().map_or(0, Request::made_bytes);
                let state = self.at_work(*operation, *at);
                state.state = OperationState::Running;
                if request.is_some() {
                    state.request.clone_from(request);
                }
                if deadline.is_some() {
                    self.set_deadline(*operation, *deadline);
                }
            }
            Record::Waited { operation, signal, at, deadline } => {
                let state = self.at_work(*operation, *at);
                state.state = OperationState::Running;
                state.signal = Some(signal.clone());
                self.set_deadline(*operation, *deadline);
                if self.signals.contains_key(signal) {
                    self.signalled.insert(*operation);
                } else {
                    self.awaited.entry(signal.clone()).or_default().insert(*operation);
                }
            }
            Record::Signalled { signal, document, at } => {
                self.signals.insert(signal.clone(), (*at, document.clone()));
                self.signalled.extend(self.awaited.remove(signal).into_iter().flatten());
            }
            Record::Answered { operation, leg, outcome, from, counted, again, at } => {
                let part = Part::new(*operation, *leg);
                self.answered(part, outcome, from, *counted, again.as_ref(), *at);
            }
            Record::AnswerRefused(refused) => self.refused.push(refused.clone()),
            Record::Ended { operation, state, output, fault, followed, passed, at } => {
                self.dead.remove(operation);
                self.signalled.remove(operation);
                let ended = self.at_work(*operation, *at);
                ended.state = *state;
                ended.ended = Some(*at);
                ended.made.clone_from(output);
                ended.fault.clone_from(fault);
                let signal = ended.signal.clone();
                self.stop(*operation);
                if let Some(waiting) = signal.as_ref().and_then(|signal| self.awaited.get_mut(signal)) {
                    waiting.remove(operation);
                }
                if *state == OperationState::Completed {
                    self.completed.push(*operation);
                }
                if self.cause.is_none() {
                    self.cause.clone_from(fault);
                }
                let followed = followed.iter().map(|link| (link, true));
                for (target, is_followed) in followed.chain(passed.iter().map(|link| (link, false))) {
                    let reached = self.reached.entry(target.operation).or_default();
                    reached.ended += 1;
                    reached.followed |= is_followed;
                    if reached.ended == target.predecessors {
                        let next = if reached.followed { &mut self.ready } else { &mut self.dead };
                        next.insert(target.operation);
                    }
                }
            }
            Record::CompensationBegan { ending, operations, at } => {
                self.stop_all(*at);
                let left = operations.iter().copied().collect();
                self.compensating = Some(Compensating { ending: ending.clone(), left, failed: Vec::new() });
            }
            Record::Finished { ending, at } => self.finish(ending, *at),
            Record::Settled => self.settled = true,
            Record::Forgotten => self.forgotten = true,
            Record::Awaited { .. } | Record::Submitted { .. } | Record::Responded | Record::Purged => {}
        }
    }

    fn finish(&mut self, ending: &Ending, at: Moment) {
        self.stop_all(at);
        self.ended = Some((at, ending.clone()));
    }

    /// Nothing is begun any more, and nobody is waited for.
    fn stop_all(&mut self, at: Moment) {
        self.ready.clear();
        self.dead.clear();
        self.asking.clear();
        self.signalled.clear();
        self.awaited.clear();
        self.timers.clear();
        for state in self.operations.values_mut().filter(|state| !state.state.is_final()) {
            state.state = OperationState::Cancelled;
            state.ended = Some(at);
            state.legs.iter_mut().for_each(Leg::stop);
        }
    }

    /// The legs of one operation are not waited for any more.
    fn stop(&mut self, operation: u32) {
        let Some(state) = self.operations.get_mut(&operation) else { return };
        if let Some(deadline) = state.deadline {
            self.timers.remove(&(deadline, Timer::Operation(operation)));
        }
        for (number, leg) in (0..).zip(&mut state.legs) {
            let part = Part::new(operation, number);
            if let Some(timer) = leg.timer {
                self.timers.remove(&(timer, Timer::Leg(part)));
            }
            if leg.outcome.is_none() {
                self.asking.remove(&part);
            }
            leg.stop();
        }
    }

    fn asked(&mut self, operation: u32, asked: &Asked, at: Moment) {
        let part = Part::new(operation, asked.leg);
        self.asking.remove(&part);
        self.invocations.insert(asked.invocation, part);
        let leg = self.leg_at_work(part, at);
        leg.attempt = asked.attempt;
        leg.performer = Some(asked.performer.clone());
        leg.organization.clone_from(&asked.organization);
        leg.invocation = Some(asked.invocation);
        leg.asked = Some(at);
        leg.is_open = true;
        self.set_timer(part, asked.until);
    }

    fn answered(
        &mut self,
        part: Part,
        outcome: &Outcome,
        from: &Answerer,
        counted: bool,
        again: Option<&Again>,
        at: Moment,
    ) {
        self.asking.remove(&part);
        let leg = self.leg_at_work(part, at);
        leg.is_open = false;
        leg.answered = Some(at);
        leg.counted = counted;
        if let Answerer::Service(service) = from {
            leg.service = Some(service.clone());
        }
        if let (Some(invocation), Some(fault)) = (leg.invocation, outcome.fault()) {
            leg.failed = Some((invocation, fault));
        }
        let Some(again) = again else {
            leg.outcome = Some(outcome.clone());
            self.set_timer(part, None);
            return self.leg_ended(part, outcome, counted);
        };
        match again.excluded {
            Some(organization) => leg.excluded.push(organization),
            None => {
                leg.failures += 1;
                (leg.looks, leg.seeking_since) = (0, None);
            }
        }
        self.set_timer(part, again.at);
        if again.at.is_none() {
            self.asking.insert(part);
        }
        if let Some(state) = self.operations.get_mut(&part.operation)
            && state.legs.len() == 1
            && !part.is_compensation()
        {
            state.state = OperationState::Seeking;
        }
    }

    fn leg_ended(&mut self, part: Part, outcome: &Outcome, counted: bool) {
        let is_completed = matches!(outcome, Outcome::Completed(_));
        if part.is_compensation() {
            if let Some(compensating) = &mut self.compensating {
                if compensating.left.front() == Some(&part.operation) {
                    compensating.left.pop_front();
                }
                if !is_completed {
                    compensating.failed.push(part.operation);
                }
            }
            return;
        }
        let Some(state) = self.operations.get_mut(&part.operation) else { return };
        state.answered += 1;
        state.counted += u32::from(counted);
        if !is_completed {
            state.failed.get_or_insert(part.leg);
        }
        if (state.begun as usize) < state.legs.len() && state.begun > 0 {
            self.asking.insert(Part::new(part.operation, state.begun));
            state.begun += 1;
        }
    }

    fn at_work(&mut self, operation: u32, now: Moment) -> &mut Operation {
        self.ready.remove(&operation);
        self.operations.entry(operation).or_insert_with(|| Operation::new(now))
    }

    fn leg_at_work(&mut self, part: Part, now: Moment) -> &mut Leg {
        let operation = self.at_work(part.operation, now);
        if part.is_compensation() {
            let new = || Box::new(Undoing { leg: Leg::default(), started: now, deadline: None });
            return &mut operation.compensation.get_or_insert_with(new).leg;
        }
        let number = part.leg as usize;
        if operation.legs.len() <= number {
            operation.legs.resize_with(number + 1, Leg::default);
        }
        &mut operation.legs[number]
    }

    fn set_timer(&mut self, part: Part, timer: Option<Moment>) {
        let Some(leg) = self.leg_mut(part) else { return };
        if let Some(before) = std::mem::replace(&mut leg.timer, timer) {
            self.timers.remove(&(before, Timer::Leg(part)));
        }
        self.timers.extend(timer.map(|timer| (timer, Timer::Leg(part))));
    }

    fn set_deadline(&mut self, operation: u32, deadline: Option<Moment>) {
        let Some(state) = self.operations.get_mut(&operation) else { return };
        if let Some(before) = std::mem::replace(&mut state.deadline, deadline) {
            self.timers.remove(&(before, Timer::Operation(operation)));
        }
        self.timers.extend(deadline.map(|deadline| (deadline, Timer::Operation(operation))));
    }

    fn leg_mut(&mut self, part: Part) -> Option<&mut Leg> {
        let operation = self.operations.get_mut(&part.operation)?;
        if part.is_compensation() {
            operation.compensation.as_mut().map(|undoing| &mut undoing.leg)
        } else {
            operation.legs.get_mut(part.leg as usize)
        }
    }
}

impl Leg {
    fn stop(&mut self) {
        self.timer = None;
        self.is_open = false;
    }
}
