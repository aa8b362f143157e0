//! A pair that ends: its active goes on as a single node. Called by [`super::desk`].
//!
//! The witnesses need not forget anything for that, and must not. They hold that this sub-node is active alone, and whoever is not a member
//! of the configuration that holds can propose no other: so nobody but this sub-node will ever change it. It asks for no other one
//! any more, does not hear its partner, and needs no lease, for nobody else can be active. The configuration is kept: so peers take
//! this sub-node for no older one, and the pair can be taken up where it was. If another one holds after all, nothing is ended.
//!
//! Both take effect with the next start: then the journal is opened as that of a single node, or as that of a pair.

use super::{Word, desk::Desk, ledger::Kept};
use hansa_core::{
    code::{Code, Fault},
    ident::{OrganizationId, SubnodeId},
    mirror::{Certified, Configuration, Message, Mode, Witness, pair::State},
};

impl Desk {
    /// Whether the pair is ended for this sub-node.
    pub(super) fn is_retired(&self) -> bool {
        self.retired.is_some_and(|epoch| epoch == self.epoch())
    }

    /// Whether this sub-node was started as a single node because it is.
    pub(super) fn is_out(&self) -> bool {
        self.retired.is_some() && self.pair.picture().state == State::Single
    }

    /// End it. From here on the other sub-node is not heard: one that joined now could be a mirror, and take over.
    pub(super) fn retire(&mut self) -> Result<u64, Fault> {
        let refused = |message: &str, help: &str| Err(Fault::new(Code::PairNotReady, message).help(help));
        if self.is_single() {
            return refused("there is no pair to end", "`hansa pair init` begins one");
        }
        let is_linked = !self.is_out() && self.linked.contains(&self.site.partner);
        match self.pair.picture().state {
            // With the first it is ended already, or is to be taken up again and was not yet.
            State::ActiveSolo if self.pair.picture().proposes => {
                return refused(
                    "the witnesses are being asked for another configuration just now",
                    "ask again when they have answered; if they do not, restart this sub-node first",
                );
            }
            State::Single | State::ActiveSolo if !is_linked => {}
            state if state.serves() => {
                return refused(
                    "this sub-node does not serve alone: the other one is there, or is missed only just now",
                    "stop the other sub-node, and wait until `hansa pair status` says solo; with `pair.on_mirror_lost = \"halt\"` it never \
                     does: set that to \"solo\" and restart this one",
                );
            }
            _ => {
                return refused(
                    "this sub-node does not serve, so it cannot go on alone",
                    "ask the active one; `hansa pair status` says which that is",
                );
            }
        }
        let epoch = self.epoch();
        self.ledger.keep(&[Kept::Retired(Some(epoch))])?;
        self.retired = Some(epoch);
        tracing::info!(epoch, "the pair is ended: from its next start on this sub-node is a single node");
        self.tell_of_end(None);
        Ok(epoch)
    }

    /// The witnesses of an active that is alone hear whether it has ended the pair, when that changes and whenever one is met: they keep
    /// no place for one that is ended.
    pub(super) fn tell_of_end(&self, met: Option<SubnodeId>) {
        let is_alone = |certified: &&Certified| certified.configuration.mode == Mode::Solo { active: self.site.member };
        let Some(certified) = self.pair.certified().filter(is_alone) else { return };
        let is_ended = self.is_retired();
        for witness in &certified.configuration.witnesses.members {
            if met.is_none_or(|met| met == witness.subnode) {
                let by = Box::new(certified.clone());
                self.carrier.tell(witness.subnode, &Word::Alone { by, is_ended });
            }
        }
    }

    /// The pair of a member that this sub-node is a witness of is ended, or is not any more. What it promised stays remembered; the place
    /// of one that is ended is free, until that pair goes on after all, at this epoch or another.
    pub(super) fn hear_of_end(
        &mut self,
        from: SubnodeId,
        organization: OrganizationId,
        certified: Box<Certified>,
        is_ended: bool,
    ) -> Result<(), Fault> {
        let said = certified.configuration.clone();
        let Configuration { pair, epoch, mode, .. } = said;
        let is_its_to_say = pair == organization && mode.mirror().is_none() && mode.active().subnode == from;
        if !is_its_to_say {
            tracing::warn!(subnode = %from.short(), "a member says that a pair is ended, which is not its to say");
            return Ok(());
        }
        // It may have missed the last configuration; one that is not proved it does not take.
        self.witness_input(organization, from, Box::new(Message::Configured(certified)))?;
        let Some(witness) = self.witnesses.get(&organization) else { return Ok(()) };
        let is_held = witness.base().is_some_and(|held| held.configuration == said);
        if is_held && self.is_ended(&organization, witness) != is_ended {
            let at = is_ended.then_some(epoch);
            self.ledger.keep(&[Kept::Ended(organization, at)])?;
            self.ended.insert(organization, at);
            tracing::info!(organization = %organization.short(), epoch, is_ended, "the pair of a member is ended, or taken up again");
        }
        Ok(())
    }

    /// Whether the pair of a member is ended that this sub-node is a witness of.
    pub(super) fn is_ended(&self, organization: &OrganizationId, witness: &Witness) -> bool {
        let ended = self.ended.get(organization).copied().flatten();
        ended.is_some() && ended == witness.base().map(Certified::epoch)
    }

    /// Take it up again where it was: with the witnesses that it has, who know of no other configuration.
    pub(super) fn resume(&mut self) -> Result<(), Fault> {
        if self.retired.is_none() {
            return Ok(());
        }
        self.ledger.keep(&[Kept::Retired(None)])?;
        if self.is_out() {
            let message = "the pair that was ended here is taken up again with the next start of this sub-node";
            return Err(Fault::new(Code::PairNotReady, message)
                .help("restart it, with its witnesses connected; when it serves, `hansa pair init` makes the code"));
        }
        // It was not started anew since: nothing has changed but whom it hears.
        self.retired = None;
        self.tell_of_end(None);
        Ok(())
    }
}
