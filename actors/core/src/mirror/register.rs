//! A proposal to the witnesses: the proposer's half of the register, one configuration further than the last. It lives with the
//! process; only the ballots that it used outlive it, in the pair's own records. The pair machine drives it, and sends what it says.

use super::{
    configuration::{Ballot, Certified, Configuration, MemberId, Proof, Seal, Sealed},
    message::{Accepted, Message},
};
use ed25519_dalek::SigningKey;
use std::collections::BTreeMap;

/// See above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// What it goes out from.
    pub base: Box<Certified>,
    /// What its proposer wants.
    pub wanted: Configuration,
    ballot: Ballot,
    phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Preparing { promises: BTreeMap<MemberId, Option<Box<Accepted>>> },
    Accepting { proposed: Box<Accepted>, seals: BTreeMap<MemberId, Seal> },
}

/// What came of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Wait on.
    Waiting,
    /// A quorum promised: the proposal goes on, and is to be sent.
    Promised,
    /// A quorum accepted: it is decided.
    Decided(Box<Certified>),
}

impl Proposal {
    /// Begin, at a ballot that was never used.
    #[must_use]
    pub fn new(base: Box<Certified>, wanted: Configuration, ballot: Ballot) -> Self {
        let phase = Phase::Preparing { promises: BTreeMap::new() };
        Self { base, wanted, ballot, phase }
    }

    /// The ballot.
    #[must_use]
    pub fn ballot(&self) -> Ballot {
        self.ballot
    }

    /// Whether a witness may have accepted it: then it may be decided, whatever becomes of it here.
    #[must_use]
    pub fn may_be_decided(&self) -> bool {
        matches!(self.phase, Phase::Accepting { .. })
    }

    /// What to send to whom has not answered yet.
    pub fn questions(&self) -> impl Iterator<Item = (MemberId, Message)> {
        let base = &self.base;
        base.configuration.witnesses.members.iter().filter_map(move |witness| {
            let message = match &self.phase {
                Phase::Preparing { promises } if !promises.contains_key(witness) => {
                    Message::Prepare { base: base.clone(), ballot: self.ballot }
                }
                Phase::Accepting { proposed, seals } if !seals.contains_key(witness) => {
                    Message::Accept { base: base.clone(), proposed: proposed.clone() }
                }
                _ => return None,
            };
            Some((*witness, message))
        })
    }

    /// A witness promised. With a quorum of promises the proposal is for what was accepted at the highest ballot, or else for
    /// what its proposer wants.
    pub fn promised(
        &mut self,
        key: &SigningKey,
        ballot: Ballot,
        witness: MemberId,
        accepted: Option<Box<Accepted>>,
    ) -> Outcome {
        let witnesses = &self.base.configuration.witnesses;
        let Phase::Preparing { promises } = &mut self.phase else { return Outcome::Waiting };
        if ballot != self.ballot || !witnesses.members.contains(&witness) {
            return Outcome::Waiting;
        }
        // A witness may lie, so what it says it accepted counts only with the seal of one who could propose it.
        let mode = self.base.configuration.mode;
        let is_sound = |accepted: &Accepted| {
            let by = accepted.ballot.by;
            (by == mode.active() || Some(by) == mode.mirror())
                && self.base.configuration.is_followed_by(&accepted.configuration)
                && accepted.seal.is_by(&by.subnode.0, Sealed::Proposal, Some(accepted.ballot), &accepted.configuration)
        };
        if accepted.as_deref().is_some_and(|accepted| !is_sound(accepted)) {
            return Outcome::Waiting;
        }
        promises.insert(witness, accepted);
        if !witnesses.decide(promises.len()) {
            return Outcome::Waiting;
        }
        let highest = promises.values().flatten().max_by_key(|accepted| accepted.ballot);
        let configuration = highest.map_or_else(|| self.wanted.clone(), |accepted| accepted.configuration.clone());
        let seal = Seal::new(key, Sealed::Proposal, Some(self.ballot), &configuration);
        let proposed = Box::new(Accepted { ballot: self.ballot, configuration, seal });
        self.phase = Phase::Accepting { proposed, seals: BTreeMap::new() };
        Outcome::Promised
    }

    /// A witness accepted. `organization` is the key of the organization whose pair it is: if the configuration that this goes out from
    /// named other witnesses, its proof says so.
    pub fn accepted(&mut self, organization: &SigningKey, ballot: Ballot, witness: MemberId, seal: Seal) -> Outcome {
        let witnesses = &self.base.configuration.witnesses;
        let Phase::Accepting { proposed, seals } = &mut self.phase else { return Outcome::Waiting };
        let is_sound = ballot == self.ballot
            && witnesses.members.contains(&witness)
            && !seals.contains_key(&witness)
            && seal.is_by(&witness.subnode.0, Sealed::Acceptance, Some(ballot), &proposed.configuration);
        if !is_sound {
            return Outcome::Waiting;
        }
        seals.insert(witness, seal);
        if !witnesses.decide(seals.len()) {
            return Outcome::Waiting;
        }
        let seals = seals.iter().map(|(witness, seal)| (*witness, seal.clone())).collect();
        let (founding, founded) = self.base.founding_of_next(organization);
        let proof = Proof::Decided { founding: Box::new(founding), founded, ballot, seals };
        Outcome::Decided(Box::new(Certified { configuration: proposed.configuration.clone(), proof }))
    }

    /// Hash what distinguishes it from others, for the explorer among the tests.
    #[cfg(test)]
    pub fn pictured(&self, to: &mut impl std::hash::Hasher) {
        use super::pair::pictured::told;
        use std::hash::Hash as _;
        let Self { base, wanted, ballot, phase } = self;
        (base.epoch(), told(wanted), ballot.round, ballot.by.journal).hash(to);
        let word = |accepted: &Accepted| {
            let Accepted { ballot, configuration, seal: _ } = accepted;
            (ballot.round, ballot.by.journal, told(configuration))
        };
        match phase {
            Phase::Preparing { promises } => {
                for (witness, accepted) in promises {
                    (1, witness.journal, accepted.as_deref().map(word)).hash(to);
                }
            }
            Phase::Accepting { proposed, seals } => {
                word(proposed).hash(to);
                for witness in seals.keys() {
                    (2, witness.journal).hash(to);
                }
            }
        }
    }
}
