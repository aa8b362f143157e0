//! What other sub-nodes say to this one, and what the duties say to that: of pairs, of where a partner is, of being a witness. Called by
//! [`super::desk`]; whoever carries the words has proved which sub-node each comes from.

use super::{Happening, Introduction, Word, desk::Desk, ledger::Kept};
use crate::clock;
use hansa_core::{
    code::{Code, Fault},
    ident::{OrganizationId, SubnodeId},
    machine::Machine as _,
    membership::Certificate,
    mirror::{Message, Witness, pair},
    signed::Purpose,
};

/// How long a pair has a place with a witness that agreed, until it says something as one of which that is a witness.
const AGREED_MS: u64 = 600_000;
/// Characters of another's reason that are shown.
const REASON_CHARACTERS_MAX: usize = 200;

impl Desk {
    pub(super) fn told(&mut self, from: SubnodeId, organization: OrganizationId, word: Word) -> Result<(), Fault> {
        match word {
            Word::Say(message) if matches!(*message, Message::Snapshot { .. }) => {
                // One comes in parts; what the machine is told of it says this sub-node itself.
                tracing::warn!(subnode = %from.short(), "a snapshot that comes in one message is refused");
                Ok(())
            }
            Word::Say(message) => {
                let whose = match &*message {
                    Message::Prepare { base, .. } | Message::Accept { base, .. } | Message::Configured(base) => {
                        base.configuration.pair
                    }
                    Message::Floor { pair, .. } => *pair,
                    _ => self.organization,
                };
                if whose == self.organization {
                    if self.is_out() || (self.is_retired() && from == self.site.partner) {
                        return Ok(());
                    }
                    let input = pair::Input::Heard { from, message: *message };
                    self.unless_refused(from, input)
                } else if whose == organization {
                    self.witness_input(whose, from, message)
                } else {
                    let (subnode, whose) = (from.short(), whose.short());
                    tracing::warn!(%subnode, %whose, "a member speaks for the pair of another, and is not heard");
                    Ok(())
                }
            }
            Word::Snapshot(parcel) => self.parcel(from, *parcel),
            Word::Introduce(introduction) => self.introduced(from, introduction),
            Word::Alone { by, is_ended } => self.hear_of_end(from, organization, by, is_ended),
            Word::Ask => {
                let word = match self.agree(organization)? {
                    Ok(()) => Word::Agree { witness: self.bench.witness },
                    Err(reason) => Word::Decline { reason },
                };
                self.carrier.tell(from, &word);
                Ok(())
            }
            Word::Agree { witness } => {
                if let Some(asking) = &mut self.asking
                    && witness.subnode == from
                    && asking.unanswered.remove(&from)
                {
                    asking.asked.agreed.push(witness);
                }
                Ok(())
            }
            Word::Decline { reason } => {
                if let Some(asking) = &mut self.asking
                    && asking.unanswered.remove(&from)
                {
                    let reason = reason.chars().filter(|one| !one.is_control()).take(REASON_CHARACTERS_MAX).collect();
                    asking.asked.declined.push((from, reason));
                }
                Ok(())
            }
        }
    }

    /// Whether a pair has a place with this witness. Of one that is ended, or that others are the witnesses of, it remembers what it
    /// promised, and that is all; of one that asked it and took others it has nothing to remember.
    pub(super) fn has_place(&self, organization: &OrganizationId, witness: &Witness) -> bool {
        let decides = witness.base().is_some() && witness.is_needed(self.bench.witness);
        let decides = decides && !self.is_ended(organization, witness);
        decides || self.agreed_until.get(organization).is_some_and(|until| *until > clock::steady())
    }

    /// How many other pairs have a place with this witness.
    fn places_of_others(&self, organization: OrganizationId) -> usize {
        let others = self.witnesses.iter().filter(|(whose, _)| **whose != organization);
        others.filter(|(whose, witness)| self.has_place(whose, witness)).count()
    }

    /// Whether what a pair says to a witness of it is heard: not if it comes so late that its place was given to another.
    pub(super) fn hears(&self, organization: OrganizationId) -> bool {
        let has_place = |witness: &Witness| witness.base().is_some() || self.has_place(&organization, witness);
        let witness = self.witnesses.get(&organization);
        witness.is_some_and(|witness| has_place(witness) || self.places_of_others(organization) < self.witnessed_max)
    }

    /// Whether this sub-node will be a witness of that organization's pair; it remembers before it says so.
    pub(super) fn agree(&mut self, organization: OrganizationId) -> Result<Result<(), String>, Fault> {
        if organization == self.organization {
            return Ok(Err("nobody witnesses for itself".to_owned()));
        }
        let others = self.places_of_others(organization);
        let has_place = self.witnesses.get(&organization).is_some_and(|witness| self.has_place(&organization, witness));
        if others >= self.witnessed_max && !has_place {
            return Ok(Err(format!("this member is a witness of {others} pairs, and offers no more")));
        }
        self.agreed_until.insert(organization, clock::steady().plus_ms(AGREED_MS));
        if self.witnesses.contains_key(&organization) {
            return Ok(Ok(()));
        }
        self.ledger.keep(&[Kept::Agreed(organization)])?;
        self.witnesses.insert(organization, Witness::new(&organization));
        tracing::info!(organization = %organization.short(), "this sub-node is a witness of a member's pair");
        Ok(Ok(()))
    }

    /// There is a link to a member of a pair that this sub-node is a witness of. Each may have missed what was decided: this one, that
    /// others took its place, say, for nobody would tell it unasked; the other, who decides now.
    pub(super) fn ask_of_duties(&self, subnode: SubnodeId) {
        for base in self.witnesses.values().filter_map(Witness::base) {
            let mode = base.configuration.mode;
            if [Some(mode.active()), mode.mirror()].into_iter().flatten().any(|member| member.subnode == subnode) {
                self.say(subnode, Message::Configured(Box::new(base.clone())));
                self.say(subnode, Message::Behind { epoch: base.epoch() });
            }
        }
    }

    pub(super) fn introduced(&mut self, from: SubnodeId, introduction: Box<Introduction>) -> Result<(), Fault> {
        let signed = &introduction.certificate;
        let certificate: Certificate = match signed.open(Purpose::Certificate, Code::CertificateForged) {
            Ok(certificate) => certificate,
            Err(fault) => {
                tracing::warn!(%fault, "the other sub-node shows a certificate that is none");
                return Ok(());
            }
        };
        if from != self.site.partner || signed.by != self.organization || certificate.subnode != from {
            return Ok(());
        }
        if self.introduced.as_ref() != Some(&introduction) {
            self.ledger.keep(&[Kept::Introduced(introduction.clone())])?;
            self.introduced = Some(introduction);
            let _ = self.happenings.send(Happening::Changed);
        }
        Ok(())
    }
}
