//! What a machine is. Every behaviour of a node is a value of this trait; the shell and the simulator only feed it.

use crate::{code::Fault, dice::Dice, moment::Moment};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;

/// A deterministic machine: it decides, its records change it, its effects change the world.
///
/// The law of whoever feeds it: *decide → absorb → append → release*. Records are absorbed at once, so that state runs
/// ahead; what leaves the node waits until every record before it is durable (DESIGN invariant 1).
pub trait Machine: Clone + Debug + Send + Serialize + DeserializeOwned + Sized + 'static {
    /// Which machine of its kind it is.
    type Key: Clone + Debug + Ord + std::hash::Hash + Send + Sync + Serialize + DeserializeOwned + 'static;
    /// What may be asked of it or has arrived for it.
    type Input: Debug + Send + 'static;
    /// What has happened: the only thing that changes it.
    type Record: Clone + Debug + PartialEq + Send + Serialize + DeserializeOwned + 'static;
    /// What it wants done.
    type Effect: Debug + Send + 'static;
    /// What it may look at while it decides, and never while it absorbs: an immutable picture of its surroundings.
    type Around: Send + Sync;

    /// Whether a record outlives the process. One that speaks of the life of this process alone (a session, a connection)
    /// is not journaled, and what it changes is left out when the machine is serialized.
    fn is_journaled(record: &Self::Record) -> bool;

    /// The machine before its first record.
    fn new(key: &Self::Key) -> Self;

    /// What to record and to cause. A fault is a refusal: nothing happened.
    ///
    /// # Errors
    /// The reason why the input is refused, for whoever gave it.
    fn decide(
        &self,
        around: &Self::Around,
        now: Moment,
        dice: &mut Dice,
        input: Self::Input,
    ) -> Result<Decision<Self>, Fault>;

    /// Take a record in. Deterministic, total, and the only mutation: live, on replay and on a mirror alike.
    fn absorb(&mut self, record: &Self::Record);

    /// When it next wants to be told the time, if ever: the shell then gives it [`Machine::due`].
    fn wakes_at(&self) -> Option<Moment>;

    /// The input that says: the time that you asked for has come.
    fn due() -> Self::Input;

    /// The input that says: the process has started again; cause once more whatever may have been lost on the way.
    fn resumed() -> Self::Input;

    /// Whether it has work open. One that has not is put away at once, and is not told of restarts. Of a kind of which
    /// there is one, or one for each peer, every machine is always at work.
    fn is_open(&self) -> bool {
        true
    }

    /// Whether it is worth keeping once nothing is open any more.
    fn is_kept(&self) -> bool {
        true
    }
}

/// What a machine decided.
#[derive(Debug)]
pub struct Decision<M: Machine> {
    /// What happened; absorbed in this order before anything else is decided.
    pub records: Vec<M::Record>,
    /// What to cause, in this order.
    pub effects: Vec<M::Effect>,
    /// The machine's own next input, decided before any other on the state that the records make. With it a machine
    /// takes a long way in small steps, each of which sees the state that the one before it left.
    pub then: Option<M::Input>,
}

impl<M: Machine> Default for Decision<M> {
    fn default() -> Self {
        Self { records: Vec::new(), effects: Vec::new(), then: None }
    }
}

impl<M: Machine> Decision<M> {
    /// Nothing to record, nothing to cause.
    #[must_use]
    pub fn nothing() -> Self {
        Self::default()
    }

    /// The same with one more record.
    #[must_use]
    pub fn record(mut self, record: M::Record) -> Self {
        self.records.push(record);
        self
    }

    /// The same with one more effect.
    #[must_use]
    pub fn effect(mut self, effect: M::Effect) -> Self {
        self.effects.push(effect);
        self
    }

    /// The same, followed by an input of the machine's own.
    #[must_use]
    pub fn then(mut self, input: M::Input) -> Self {
        self.then = Some(input);
        self
    }
}

/// Feed one input and all that follows from it: the loop of the shell, the simulator and the tests.
///
/// `each` gets every step's records and effects after the records are absorbed.
///
/// # Errors
/// The machine's refusal of the input. Later steps are the machine's own and are not refused.
pub fn feed<M: Machine>(
    machine: &mut M,
    around: &M::Around,
    now: Moment,
    dice: &mut Dice,
    input: M::Input,
    mut each: impl FnMut(Vec<M::Record>, Vec<M::Effect>),
) -> Result<(), Fault> {
    let mut decision = machine.decide(around, now, dice, input)?;
    loop {
        for record in &decision.records {
            machine.absorb(record);
        }
        each(decision.records, decision.effects);
        let Some(input) = decision.then else { return Ok(()) };
        decision = machine.decide(around, now, dice, input).unwrap_or_else(|fault| {
            // A refusal of its own input would be a mistake of the machine's; the state is whole, so go on without.
            debug_assert!(false, "a machine refused its own next input: {fault}");
            Decision::nothing()
        });
    }
}
