//! Who a pair's members are at an epoch, and what proves it: member ids, configurations, the witnesses that decide on the next
//! one, and their seals (M1, M3). Pair and witness hold what they hear against it. It must not know how a decision comes about.

use crate::{
    code::{Code, Fault},
    ident::{OrganizationId, SubnodeId},
};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt};

/// The most witnesses of a pair.
pub const WITNESSES_MAX: usize = 7;

/// One of a pair's members, or a witness: a transport key together with the journal that it remembers with. Whoever loses that
/// journal has promised and acknowledged things that it does not know of; with a new one it is somebody new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MemberId {
    /// The sub-node.
    pub subnode: SubnodeId,
    /// The journal, by the random number that it was given when it was made.
    pub journal: u64,
}

impl fmt::Display for MemberId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{:04x}", self.subnode.short(), self.journal & 0xffff)
    }
}

/// How many sites a pair's acknowledgements rest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// An entry counts when it is durable on both.
    Pair {
        /// Who serves.
        active: MemberId,
        /// Who follows, and takes over.
        mirror: MemberId,
    },
    /// An entry counts when it is durable on the active; the other is a learner.
    Solo {
        /// Who serves.
        active: MemberId,
    },
}

impl Mode {
    /// Who serves.
    #[must_use]
    pub fn active(&self) -> MemberId {
        match self {
            Self::Pair { active, .. } | Self::Solo { active } => *active,
        }
    }

    /// Who must have an entry before it counts, beside the active.
    #[must_use]
    pub fn mirror(&self) -> Option<MemberId> {
        match self {
            Self::Pair { mirror, .. } => Some(*mirror),
            Self::Solo { .. } => None,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pair { active, mirror } => write!(out, "pair, {active} active and {mirror} its mirror"),
            Self::Solo { active } => write!(out, "solo, {active} active"),
        }
    }
}

/// Who decides on a pair's next configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witnesses {
    /// The witnesses.
    pub members: Vec<MemberId>,
    /// How many of them decide.
    pub quorum: u8,
}

impl Witnesses {
    /// The usual quorum: any two quorums have in common one witness more than may lie or have lost its memory. With fewer than
    /// four that takes all of them.
    #[must_use]
    pub fn new(members: Vec<MemberId>) -> Self {
        let quorum = match members.len() {
            4.. => (members.len() + 2).div_ceil(2),
            few => few,
        };
        Self { quorum: u8::try_from(quorum).unwrap_or(u8::MAX), members }
    }

    /// Whether these are enough to decide.
    #[must_use]
    pub fn decide(&self, agreed: usize) -> bool {
        agreed >= usize::from(self.quorum)
    }

    /// Whether these may decide that those decide from then on: they are the same, or others with the usual quorum.
    fn are_followed_by(&self, next: &Self) -> bool {
        next == self || (next.is_sound() && *next == Self::new(next.members.clone()))
    }

    /// Whether a pair may have them: none is named twice, and they are neither too many nor too few for their quorum.
    pub(super) fn is_sound(&self) -> bool {
        let distinct: BTreeSet<_> = self.members.iter().collect();
        distinct.len() == self.members.len()
            && self.members.len() <= WITNESSES_MAX
            && (1..=self.members.len()).contains(&usize::from(self.quorum))
    }
}

/// What holds in a pair at an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// Whose pair it is.
    pub pair: OrganizationId,
    /// Its number; each is decided on the ground of the one before it.
    pub epoch: u64,
    /// Who does what.
    pub mode: Mode,
    /// Who decides on the next one.
    pub witnesses: Witnesses,
}

impl Configuration {
    /// The next one, with these roles and the same witnesses.
    #[must_use]
    pub fn next(&self, mode: Mode) -> Self {
        Self { epoch: self.epoch + 1, mode, ..self.clone() }
    }

    /// The next one, with the same roles and these witnesses.
    #[must_use]
    pub fn next_with(&self, witnesses: Witnesses) -> Self {
        Self { epoch: self.epoch + 1, witnesses, ..self.clone() }
    }

    /// Whether `next` may be decided on the ground of this one: the epoch behind it, of the same pair.
    pub(super) fn is_followed_by(&self, next: &Self) -> bool {
        let is_next = next.pair == self.pair && next.epoch == self.epoch + 1;
        is_next && self.witnesses.are_followed_by(&next.witnesses)
    }
}

/// A proposal's place among all proposals for an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ballot {
    /// Counted by the proposer, and never used twice.
    pub round: u64,
    /// Who proposes.
    pub by: MemberId,
}

/// For what a seal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// An organization says who its pair's witnesses are: it founds the pair, or others took their place.
    Founding,
    /// A member proposes.
    Proposal,
    /// A witness accepts.
    Acceptance,
}

impl Sealed {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Founding => b"hansa/1 pair founded\0",
            Self::Proposal => b"hansa/1 pair proposed\0",
            Self::Acceptance => b"hansa/1 pair accepted\0",
        }
    }
}

/// An ed25519 signature over a configuration, its ballot and a purpose.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal(#[serde(with = "serde_bytes")] Vec<u8>);

impl fmt::Debug for Seal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Seal({:02x?}…)", self.0.get(..4).unwrap_or_default())
    }
}

impl Seal {
    /// Seal a configuration; a founding has no ballot.
    #[must_use]
    pub fn new(key: &SigningKey, purpose: Sealed, ballot: Option<Ballot>, configuration: &Configuration) -> Self {
        Self(key.sign(&sealed_text(purpose, ballot, configuration)).to_bytes().to_vec())
    }

    /// Whether the holder of this key sealed that.
    #[must_use]
    pub fn is_by(
        &self,
        key: &[u8; 32],
        purpose: Sealed,
        ballot: Option<Ballot>,
        configuration: &Configuration,
    ) -> bool {
        let (Ok(key), Ok(signature)) = (VerifyingKey::from_bytes(key), Signature::from_slice(&self.0)) else {
            return false;
        };
        key.verify_strict(&sealed_text(purpose, ballot, configuration), &signature).is_ok()
    }
}

fn sealed_text(purpose: Sealed, ballot: Option<Ballot>, configuration: &Configuration) -> Vec<u8> {
    let mut text = purpose.label().to_vec();
    ciborium::into_writer(&(ballot, configuration), &mut text).expect("encoding into memory cannot fail");
    text
}

/// A configuration with the proof that it was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certified {
    /// What was decided.
    pub configuration: Configuration,
    /// Why that is believed.
    pub proof: Proof,
}

/// Why a configuration is believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Proof {
    /// The first one: the organization says so.
    Founded(Seal),
    /// A quorum of the witnesses accepted it at one ballot: its epoch certificate. Whoever sees it needs to know nothing before: the
    /// organization itself said who its witnesses are.
    Decided {
        /// The configuration that named these witnesses: the pair's first one, or, if others were in their place before, the one that was
        /// decided by those.
        founding: Box<Configuration>,
        /// The organization's seal on it.
        founded: Seal,
        /// The ballot.
        ballot: Ballot,
        /// The witnesses that decided.
        seals: Vec<(MemberId, Seal)>,
    },
}

impl Certified {
    /// The first configuration of a pair, by its organization.
    #[must_use]
    pub fn founded(organization: &SigningKey, configuration: Configuration) -> Self {
        let seal = Seal::new(organization, Sealed::Founding, None, &configuration);
        Self { configuration, proof: Proof::Founded(seal) }
    }

    /// The epoch.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.configuration.epoch
    }

    /// What this one is proved by, with the organization's seal on it: the configuration that named the witnesses who decided on it.
    #[must_use]
    pub fn founding(&self) -> (&Configuration, &Seal) {
        match &self.proof {
            Proof::Founded(seal) => (&self.configuration, seal),
            Proof::Decided { founding, founded, .. } => (founding, founded),
        }
    }

    /// What the next one is proved by: the same, or, if this one names other witnesses, this one, with the organization's seal.
    pub(super) fn founding_of_next(&self, organization: &SigningKey) -> (Configuration, Seal) {
        let (founding, founded) = self.founding();
        if self.configuration.witnesses == founding.witnesses {
            return (founding.clone(), founded.clone());
        }
        let seal = Seal::new(organization, Sealed::Founding, None, &self.configuration);
        (self.configuration.clone(), seal)
    }

    /// At which epoch the witnesses were named who decide on the next one.
    fn witnesses_since(&self) -> u64 {
        let (founding, _) = self.founding();
        if self.configuration.witnesses == founding.witnesses { founding.epoch } else { self.epoch() }
    }

    /// Check that this is what it says, and of the same pair as `known`.
    ///
    /// # Errors
    /// [`Code::PairForged`].
    pub fn verify(&self, known: Option<&Configuration>) -> Result<(), Fault> {
        self.verify_with(known, false)
    }

    /// The same, for one who has verified an earlier one of the pair before: the organization's seal, if it is the same, is not looked at
    /// again; and witnesses in whose place there were others then decide no more.
    ///
    /// # Errors
    /// [`Code::PairForged`].
    pub fn verify_behind(&self, known: Option<&Self>) -> Result<(), Fault> {
        let founding_known = known.is_some_and(|known| known.founding() == self.founding());
        self.verify_with(known.map(|known| &known.configuration), founding_known)?;
        match known.filter(|known| self.epoch() > known.epoch()) {
            Some(known) if self.founding().0.epoch < known.witnesses_since() => {
                self.forged("it was decided by witnesses that there were others in the place of")
            }
            _ => Ok(()),
        }
    }

    fn forged(&self, why: &str) -> Result<(), Fault> {
        let message = format!("epoch {} of a pair of {}: {why}", self.epoch(), self.configuration.pair.short());
        Err(Fault::new(Code::PairForged, message))
    }

    fn verify_with(&self, known: Option<&Configuration>, founding_known: bool) -> Result<(), Fault> {
        let (founding, founded) = self.founding();
        if known.is_some_and(|known| known.pair != self.configuration.pair) || founding.pair != self.configuration.pair
        {
            return self.forged("it is another organization's");
        }
        if !founding.witnesses.is_sound() {
            return self.forged("its witnesses are named twice, are too many or too few for their quorum");
        }
        let is_founded = || founding_known || founded.is_by(&founding.pair.0, Sealed::Founding, None, founding);
        if founding.epoch == 0 || !is_founded() {
            return self.forged("its witnesses are not named by the organization");
        }
        match &self.proof {
            Proof::Founded(_) if founding.epoch > 1 => {
                return self.forged("no witnesses decided on it, and it is not the first");
            }
            Proof::Founded(_) => {}
            Proof::Decided { ballot, seals, .. } => {
                if founding.epoch >= self.epoch() || !founding.witnesses.are_followed_by(&self.configuration.witnesses)
                {
                    return self.forged("it names other witnesses than it may, or is before those who decided on it");
                }
                let sealed = |(witness, seal): &&(MemberId, Seal)| {
                    founding.witnesses.members.contains(witness)
                        && seal.is_by(&witness.subnode.0, Sealed::Acceptance, Some(*ballot), &self.configuration)
                };
                let agreed: BTreeSet<_> = seals.iter().filter(sealed).map(|(witness, _)| *witness).collect();
                if !founding.witnesses.decide(agreed.len()) {
                    return self.forged("fewer witnesses sealed it than decide");
                }
            }
        }
        Ok(())
    }
}
