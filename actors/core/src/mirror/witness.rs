//! The witness of one pair: an acceptor of the small register that says who is active (M3). It promises, accepts and remembers,
//! and must remember across a crash whatever it answered; so its answers wait for its records like everything else. Witnesses
//! know nothing of leases or logs but a floor, and losing all of them never stops a healthy pair.

use super::{
    configuration::{Ballot, Certified, Configuration, MemberId, Seal, Sealed},
    flaw::Flaw,
    message::{Accepted, Message, Position},
};
use crate::{
    code::{Code, Fault},
    dice::Dice,
    ident::{OrganizationId, SubnodeId},
    machine::{Decision, Machine},
    moment::Moment,
};
use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};

/// What a witness looks at: who it is.
#[derive(Clone, Debug)]
pub struct Bench {
    /// The key that it seals with: its sub-node's.
    pub key: SigningKey,
    /// Who it is; with another journal it is another.
    pub witness: MemberId,
    /// A fault that is built in on purpose, in the simulation alone.
    pub flaw: Option<Flaw>,
}

/// See above.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    pair: OrganizationId,
    /// The latest configuration that it knows to be decided; it helps to decide on the next.
    base: Option<Box<Certified>>,
    promised: Option<Ballot>,
    accepted: Option<Box<Accepted>>,
    floor: Position,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// A configuration was decided; what was promised for its epoch is done with.
    Learned(Box<Certified>),
    /// Nothing below this ballot will be accepted.
    Promised(Ballot),
    /// This was accepted.
    Accepted(Box<Accepted>),
    /// The pair's log reached to here.
    Floored(Position),
}

/// What a witness is asked.
#[derive(Clone, Debug)]
pub enum Input {
    /// A member of the pair says something.
    Heard {
        /// The sub-node that it came from, proved by whoever carried it.
        from: SubnodeId,
        /// What.
        message: Box<Message>,
    },
    /// See [`Machine::due`].
    Due,
    /// See [`Machine::resumed`].
    Resumed,
}

/// What a witness wants sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// To whom.
    pub to: SubnodeId,
    /// What.
    pub message: Message,
}

impl Witness {
    /// The latest configuration that it knows of.
    #[must_use]
    pub fn base(&self) -> Option<&Certified> {
        self.base.as_deref()
    }

    /// What it accepted for the next epoch, and may be decided.
    #[must_use]
    pub fn accepted(&self) -> Option<&Configuration> {
        self.accepted.as_ref().map(|accepted| &accepted.configuration)
    }

    /// How far the pair's log reached at least.
    #[must_use]
    pub fn floor(&self) -> Position {
        self.floor
    }

    /// Whether the pair may still ask it, as far as it knows: it was not told that others took the place of `own`, this very witness.
    #[must_use]
    pub fn is_needed(&self, own: MemberId) -> bool {
        self.base.as_ref().is_none_or(|base| base.configuration.witnesses.members.contains(&own))
    }

    fn epoch(&self) -> u64 {
        self.base.as_ref().map_or(0, |base| base.epoch())
    }

    /// What a proposer goes out from is as far as this witness, or further: then this witness learns of it.
    fn meet(&self, base: Box<Certified>, decision: &mut Decision<Self>) -> Result<Met, Fault> {
        if base.epoch() < self.epoch() {
            return Ok(Met::Behind);
        }
        if let Some(own) = self.base.as_ref().filter(|own| own.epoch() == base.epoch()) {
            // Its proof is not looked at again, so it must be the very one.
            return if own.configuration == base.configuration {
                Ok(Met::Same)
            } else {
                refuse("a proposer goes out from another configuration than was decided for its epoch")
            };
        }
        base.verify_behind(self.base.as_deref())?;
        decision.records.push(Record::Learned(base));
        Ok(Met::Ahead)
    }
}

enum Met {
    Behind,
    Same,
    Ahead,
}

fn refuse<T>(what: &str) -> Result<T, Fault> {
    Err(Fault::new(Code::PairForged, what))
}

impl Machine for Witness {
    type Key = OrganizationId;
    type Input = Input;
    type Record = Record;
    type Effect = Effect;
    type Around = Bench;

    fn is_journaled(_: &Record) -> bool {
        true
    }

    fn new(pair: &OrganizationId) -> Self {
        Self { pair: *pair, base: None, promised: None, accepted: None, floor: Position::default() }
    }

    fn decide(&self, bench: &Bench, _: Moment, _: &mut Dice, input: Input) -> Result<Decision<Self>, Fault> {
        let Input::Heard { from, message } = input else { return Ok(Decision::nothing()) };
        let mut decision = Decision::nothing();
        let pair = self.pair;
        let reply = match *message {
            Message::Prepare { base, ballot } => {
                let configuration = base.configuration.clone();
                if ballot.by.subnode != from || configuration.pair != pair {
                    return refuse("a proposer prepares another's ballot, or another pair's");
                }
                let (promised, accepted) = match self.meet(base, &mut decision)? {
                    Met::Behind => return Ok(decision.effect(self.tell(from))),
                    Met::Same => (self.promised, self.accepted.clone()),
                    Met::Ahead => (None, None),
                };
                self.serves(bench, &configuration, ballot.by)?;
                let epoch = configuration.epoch + 1;
                match promised.filter(|promised| *promised > ballot) {
                    Some(promised) => Message::Refused { pair, epoch, promised },
                    None => {
                        decision.records.push(Record::Promised(ballot));
                        let witness = bench.witness;
                        Message::Promise { pair, epoch, ballot, witness, accepted, floor: self.floor }
                    }
                }
            }
            Message::Accept { base, proposed } => {
                let configuration = base.configuration.clone();
                let Accepted { ballot, configuration: wanted, seal } = &*proposed;
                if ballot.by.subnode != from || configuration.pair != pair || wanted.pair != pair {
                    return refuse("a proposer proposes at another's ballot, or for another pair");
                }
                if !configuration.is_followed_by(wanted) {
                    return refuse("a proposal skips an epoch, or names witnesses that a pair cannot have");
                }
                if !seal.is_by(&from.0, Sealed::Proposal, Some(*ballot), wanted) {
                    return refuse("a proposal is not sealed by its proposer");
                }
                let promised = match self.meet(base, &mut decision)? {
                    Met::Behind => return Ok(decision.effect(self.tell(from))),
                    Met::Same => self.promised,
                    Met::Ahead => None,
                };
                self.serves(bench, &configuration, ballot.by)?;
                let epoch = wanted.epoch;
                match promised.filter(|promised| promised > ballot) {
                    Some(promised) => Message::Refused { pair, epoch, promised },
                    None => {
                        let (ballot, witness) = (*ballot, bench.witness);
                        let seal = Seal::new(&bench.key, Sealed::Acceptance, Some(ballot), wanted);
                        decision.records.push(Record::Accepted(proposed));
                        Message::Accepted { pair, epoch, ballot, witness, seal }
                    }
                }
            }
            Message::Configured(base) => {
                if base.configuration.pair != pair {
                    return refuse("a configuration is another pair's");
                }
                self.meet(base, &mut decision)?;
                return Ok(decision);
            }
            Message::Floor { epoch, position, .. } => {
                // Only whoever is active tells how far its log is.
                let active = self.base.as_ref().map(|base| base.configuration.mode.active().subnode);
                if epoch == self.epoch() && active == Some(from) && position.sequence > self.floor.sequence {
                    decision.records.push(Record::Floored(position));
                }
                if epoch <= self.epoch() {
                    return Ok(decision);
                }
                Message::Behind { epoch: self.epoch() }
            }
            _ => return refuse("that is nothing to tell a witness"),
        };
        Ok(decision.effect(Effect { to: from, message: reply }))
    }

    fn absorb(&mut self, record: &Record) {
        match record {
            Record::Learned(base) => {
                self.base = Some(base.clone());
                (self.promised, self.accepted) = (None, None);
            }
            Record::Promised(ballot) => self.promised = Some(*ballot),
            Record::Accepted(accepted) => {
                self.promised = Some(accepted.ballot);
                self.accepted = Some(accepted.clone());
            }
            Record::Floored(position) => self.floor = *position,
        }
    }

    fn wakes_at(&self) -> Option<Moment> {
        None
    }

    fn due() -> Input {
        Input::Due
    }

    fn resumed() -> Input {
        Input::Resumed
    }

    fn is_open(&self) -> bool {
        self.base.is_some()
    }

    fn is_kept(&self) -> bool {
        self.base.is_some()
    }
}

impl Witness {
    /// A witness with another memory than the one that was agreed on is out, until it is agreed on again; and only whose disk
    /// has everything that was acknowledged may propose.
    fn serves(&self, bench: &Bench, configuration: &Configuration, proposer: MemberId) -> Result<(), Fault> {
        if !configuration.witnesses.members.contains(&bench.witness) {
            let message = format!("{} is no witness of this pair at epoch {}", bench.witness, configuration.epoch);
            return Err(Fault::new(Code::WitnessUnknown, message));
        }
        let mode = configuration.mode;
        if proposer != mode.active() && Some(proposer) != mode.mirror() && bench.flaw != Some(Flaw::LearnerTakesOver) {
            let message = format!("{proposer} is no member of the pair at epoch {}", configuration.epoch);
            return Err(Fault::new(Code::PairForged, message));
        }
        Ok(())
    }

    fn tell(&self, to: SubnodeId) -> Effect {
        let message = match &self.base {
            Some(base) => Message::Configured(base.clone()),
            None => Message::Behind { epoch: 0 },
        };
        Effect { to, message }
    }
}
