//! A transaction in virtual time, against a script, without any service.
//!
//! The machines are the real ones, and so is what they decide. In place of mailboxes and peers stands the script: for every
//! invocation it says what is answered and when. Sub-transactions are run too, unless the script answers for them.

use super::script::{Script, pick};
use crate::{
    code::{Code, Fault},
    dice::Dice,
    document::Text,
    ident::{DefinitionName, InvocationId, OperationName, OrganizationId, ServiceName, TransactionId},
    invocation::Performer,
    limit,
    machine::{Machine, feed},
    moment::Moment,
    offer::{Offers, PeerOffer, Service},
    session::{Asker, SessionId},
    transaction::{Around, COMPENSATION, Definition, Definitions, Effect, Input, Instance, Picture, Record, Work},
};
use std::collections::{BTreeMap, BTreeSet};

/// Nobody hears the answers of a dry run.
const NOBODY: Asker = Asker { session: SessionId(0), message: 0 };

/// What a dry run came to.
#[derive(Clone, Debug)]
pub struct Rehearsal {
    /// The transaction in the end, with its documents and times.
    pub picture: Picture,
    /// Everything that happened, in order.
    pub records: Vec<Record>,
    /// What the script has no answer for, and where the transaction therefore still waits.
    pub unanswered: Vec<Unanswered>,
    /// What of the script was refused: a signal that nobody waits for, say.
    pub refused: Vec<Fault>,
    /// The sub-transactions, in the order in which they began.
    pub transactions: Vec<Rehearsal>,
}

/// An invocation that the script has no answer for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// The OPID.
    pub operation: u32,
    /// The name of the operation.
    pub name: OperationName,
    /// Which recipient or line, from one; nothing for what undoes the operation.
    pub leg: Option<u32>,
    /// Which attempt, from one.
    pub attempt: u32,
}

/// Run the definition that `name` means on `input`, beginning at `begins`.
///
/// Of `around`, the definitions are used, and which organizations there are.
///
/// # Errors
/// There is no such definition, or the run takes more steps than the limit.
pub fn dry_run(
    around: &Around,
    name: &DefinitionName,
    input: Text,
    script: &Script,
    begins: Moment,
) -> Result<Rehearsal, Fault> {
    let root = TransactionId::new(begins, [0; 16]);
    let mut stage = Stage {
        around: Around {
            definitions: around.definitions.clone(),
            offers: cast(&around.offers, &around.definitions, name, script),
            ..Around::default()
        },
        now: begins,
        dice: Dice::new(0),
        scheduled: 0,
        queue: BTreeMap::new(),
        actors: BTreeMap::new(),
        order: Vec::new(),
    };
    stage.enter(root, None, script);
    stage.schedule(0, root, Input::Submit { asker: NOBODY, definition: name.clone(), document: input });
    for signal in &script.signals {
        let (signal, document, after_ms) = (signal.name.clone(), signal.document.clone(), signal.after_ms);
        stage.schedule(after_ms, root, Input::Signal { asker: NOBODY, signal, document });
    }
    if let Some(after_ms) = script.cancel_after_ms {
        stage.schedule(after_ms, root, Input::Cancel { asker: NOBODY });
    }
    stage.play(root)?;
    stage.told(root).ok_or_else(|| {
        let refusal = stage.actors.get(&root).and_then(|actor| actor.refused.first().cloned());
        refusal.unwrap_or_else(|| Fault::new(Code::Internal, "the transaction of a dry run did not begin"))
    })
}

/// One transaction on stage.
struct Player<'a> {
    instance: Instance,
    script: &'a Script,
    parent: Option<TransactionId>,
    records: Vec<Record>,
    unanswered: Vec<(InvocationId, Unanswered)>,
    refused: Vec<Fault>,
    /// How many answers of an operation were used that name neither leg nor attempt; and of what undoes it.
    used: BTreeMap<(u32, bool), usize>,
}

struct Stage<'a> {
    around: Around,
    now: Moment,
    dice: Dice,
    scheduled: u64,
    queue: BTreeMap<(Moment, u64), (TransactionId, Input)>,
    actors: BTreeMap<TransactionId, Player<'a>>,
    order: Vec<TransactionId>,
}

impl<'a> Stage<'a> {
    fn enter(&mut self, id: TransactionId, parent: Option<TransactionId>, script: &'a Script) {
        let (records, unanswered, refused) = (Vec::new(), Vec::new(), Vec::new());
        let instance = Instance::new(&id);
        let player = Player { instance, script, parent, records, unanswered, refused, used: BTreeMap::new() };
        self.actors.insert(id, player);
        self.order.push(id);
    }

    fn schedule(&mut self, after_ms: u64, to: TransactionId, input: Input) {
        self.scheduled += 1;
        self.queue.insert((self.now.plus_ms(after_ms), self.scheduled), (to, input));
    }

    /// Let things happen until the transaction and all in it have ended, or nothing can happen any more.
    fn play(&mut self, root: TransactionId) -> Result<(), Fault> {
        for _ in 0..limit::REHEARSAL_STEPS_MAX {
            let is_over = |player: &Player<'_>| player.instance.is_ended() && !player.instance.is_needed();
            if self.actors.values().all(is_over) && self.actors.contains_key(&root) {
                return Ok(());
            }
            let next = self.queue.first_key_value().map(|((at, _), _)| *at);
            let open = self.actors.iter().filter(|(_, player)| !player.instance.is_ended());
            let wake = open.filter_map(|(id, player)| Some((player.instance.wakes_at()?, *id))).min();
            match (next, wake) {
                (Some(next), Some((wake, id))) if wake < next => self.wake(wake, id),
                (None, Some((wake, id))) => self.wake(wake, id),
                (Some(next), _) => {
                    self.now = self.now.max(next);
                    if let Some((_, (to, input))) = self.queue.pop_first() {
                        self.give(to, input);
                    }
                }
                (None, None) => return Ok(()),
            }
        }
        Err(Fault::new(Code::LimitReached, format!("a dry run takes at most {} steps", limit::REHEARSAL_STEPS_MAX)))
    }

    fn wake(&mut self, at: Moment, id: TransactionId) {
        self.now = self.now.max(at);
        self.give(id, Input::Due);
    }

    fn give(&mut self, to: TransactionId, input: Input) {
        let Some(player) = self.actors.get_mut(&to) else { return };
        let mut effects = Vec::new();
        let fed = feed(&mut player.instance, &self.around, self.now, &mut self.dice, input, |records, caused| {
            player.records.extend(records.into_iter().filter(Instance::is_journaled));
            effects.extend(caused);
        });
        player.refused.extend(fed.err());
        for effect in effects {
            self.cause(to, effect);
        }
    }

    fn cause(&mut self, by: TransactionId, effect: Effect) {
        match effect {
            Effect::Offer { service, invocation } => self.asked(by, invocation.id, Performer::Local(service)),
            Effect::Ask { organization, invocation, .. } => {
                self.asked(by, invocation.id, Performer::Peer { organization, service: None });
            }
            Effect::Begin { transaction, parent, definition, document } => {
                let Some(player) = self.actors.get(&by) else { return };
                let script = player.script;
                let is_scripted = player
                    .defined(&self.around.definitions, parent.invocation)
                    .and_then(|(definition, operation, ..)| {
                        script.operation(&definition.operations[operation as usize])
                    })
                    .is_some_and(|scripted| !scripted.answers.is_empty());
                if is_scripted {
                    return self.asked(by, parent.invocation, Performer::Transaction(transaction));
                }
                if !self.actors.contains_key(&transaction) {
                    let of_child = script.transactions.get(&definition).unwrap_or(script);
                    self.enter(transaction, Some(by), of_child);
                }
                self.schedule(0, transaction, Input::Begin { parent, definition, document });
            }
            Effect::Return { parent, invocation, outcome } => {
                let from = Performer::Transaction(by);
                self.schedule(0, parent, Input::Answer { invocation, outcome, from, asker: None });
            }
            Effect::Withdraw { performer: Performer::Transaction(child), invocation } => {
                self.schedule(0, child, Input::Withdraw { invocation });
            }
            Effect::Settle { performer: Performer::Transaction(child), invocation } => {
                self.schedule(0, child, Input::Settle { invocation });
            }
            Effect::Inquire { .. }
            | Effect::Withdraw { .. }
            | Effect::Settle { .. }
            | Effect::Acknowledge { .. }
            | Effect::Refuse { .. }
            | Effect::Report { .. }
            | Effect::Respond { .. } => {}
        }
    }

    /// Somebody is asked: the script answers, or nobody does.
    fn asked(&mut self, by: TransactionId, invocation: InvocationId, from: Performer) {
        let Some(player) = self.actors.get_mut(&by) else { return };
        let Some((definition, index, leg, attempt)) = player.defined(&self.around.definitions, invocation) else {
            return;
        };
        let defined = &definition.operations[index as usize];
        let is_undoing = leg == COMPENSATION;
        let scripted = player.script.operation(defined);
        let answers = scripted.map(|scripted| if is_undoing { &scripted.compensation } else { &scripted.answers });
        let used = player.used.entry((index, is_undoing)).or_default();
        let picked = answers.and_then(|answers| pick(answers, leg.wrapping_add(1), attempt, used));
        match picked {
            None => {
                let leg = (!is_undoing).then(|| leg + 1);
                let (operation, name) = (defined.id, defined.name.clone());
                player.unanswered.push((invocation, Unanswered { operation, name, leg, attempt }));
            }
            Some(answer) => {
                if let Some(outcome) = answer.outcome() {
                    let after_ms = answer.after_ms;
                    self.schedule(after_ms, by, Input::Answer { invocation, outcome, from, asker: None });
                }
            }
        }
    }

    /// What came of a transaction and those in it.
    fn told(&self, id: TransactionId) -> Option<Rehearsal> {
        let player = self.actors.get(&id)?;
        let hash = player.instance.definition_hash()?;
        let picture = player.instance.picture(self.around.definitions.version(&hash)?)?;
        let waits = |invocation: &InvocationId| {
            picture.operations.iter().any(|operation| {
                let undoing = operation.compensation.as_ref().and_then(|compensation| compensation.leg.as_ref());
                let mut legs = operation.legs.iter().chain(undoing);
                legs.any(|leg| leg.invocation == Some(*invocation) && leg.state == "asked")
            })
        };
        let unanswered = player.unanswered.iter().filter(|(invocation, _)| waits(invocation));
        let children = self.order.iter().filter(|child| self.actors.get(child).is_some_and(|it| it.parent == Some(id)));
        Some(Rehearsal {
            unanswered: unanswered.map(|(_, unanswered)| unanswered.clone()).collect(),
            records: player.records.clone(),
            refused: player.refused.clone(),
            transactions: children.filter_map(|child| self.told(*child)).collect(),
            picture,
        })
    }
}

impl Player<'_> {
    /// What an invocation was made for: the definition, the index of the operation, the leg and the attempt.
    fn defined<'d>(
        &self,
        definitions: &'d Definitions,
        invocation: InvocationId,
    ) -> Option<(&'d Definition, u32, u32, u32)> {
        let definition = definitions.version(&self.instance.definition_hash()?)?;
        let (index, leg, attempt) = self.instance.leg_of(invocation)?;
        Some((definition, index, leg, attempt))
    }
}

/// The performers of a dry run: for everything that may be asked, a service here; and the organizations that there are, for
/// operations that name one.
fn cast(offers: &Offers, definitions: &Definitions, root: &DefinitionName, script: &Script) -> Offers {
    let mut services: BTreeMap<ServiceName, BTreeSet<OperationName>> = BTreeMap::new();
    let mut everything = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut next = vec![(root.clone(), script)];
    while let Some((name, script)) = next.pop() {
        let Some(definition) = definitions.named(&name).filter(|_| seen.insert(name.clone())) else { continue };
        for operation in &definition.operations {
            if let Work::Transaction(inner) = &operation.work {
                next.push((inner.clone(), script.transactions.get(inner).unwrap_or(script)));
            }
            let mut performs = |service: Option<ServiceName>, performs: &OperationName| {
                let service = service.or_else(|| performs.as_str().parse().ok());
                services
                    .entry(service.expect("an operation's name can be a service's"))
                    .or_default()
                    .insert(performs.clone());
            };
            if let Some(compensation) = &operation.compensation {
                performs(compensation.service.clone(), &compensation.performs);
                everything.insert(compensation.performs.clone());
            }
            let Some(broadcast) = &operation.broadcast else {
                performs(operation.service.clone(), &operation.performs);
                everything.insert(operation.performs.clone());
                continue;
            };
            let scripted = script.operation(operation).map_or(0, super::ScriptedOperation::recipients);
            let count = scripted.max(broadcast.minimum.unwrap_or(1)).min(limit::BROADCAST_LEGS_MAX as u32);
            if let Some(service) = &operation.service {
                performs(Some(service.clone()), &operation.performs);
            } else if broadcast.services.is_empty() {
                for number in 1..=count {
                    // In the order of the numbers, which is the order of the legs.
                    performs(format!("recipient-{number:05}").parse().ok(), &operation.performs);
                }
            } else {
                broadcast.services.iter().for_each(|service| performs(Some(service.clone()), &operation.performs));
            }
        }
    }
    let local = services.into_iter().map(|(name, operations)| Service {
        name,
        operations: operations.into_iter().collect(),
        public: true,
    });
    let peers = offers.peers().map(|peer| PeerOffer {
        services: vec![Service {
            name: "scripted".parse().expect("it is a name"),
            operations: everything.iter().cloned().collect(),
            public: true,
        }],
        ..peer.clone()
    });
    let own = offers.own().unwrap_or(OrganizationId([0; 32]));
    let name = offers.name(&own).cloned().unwrap_or_else(|| "here".parse().expect("it is a name"));
    Offers::new(own, name, local, peers)
}
