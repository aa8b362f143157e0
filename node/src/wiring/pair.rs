//! The administration's way to the pair: how it is, who joins it, who serves. What the machines of the pair decide is their
//! business; here it is asked and shown.

use super::{Machines, role::Part};
use crate::{
    admin::protocol::{PairDuty, PairInitiated, PairMode, PairRole, PairSite, PairStatus, PairSwitched, PairWitness},
    folder::Folder,
    pairing::{CODE_MS, PairingCode, Papers, Secret, Whereabouts},
};
use hansa_actors::clock;
use hansa_core::{
    code::{Code, Fault},
    ident::{City, OrganizationId, OrganizationName, SubnodeId},
    mirror::{
        MemberId,
        pair::{Alarm, Site, State},
    },
};

/// What the administration shows of a pair machine's state.
pub fn role(state: State) -> PairRole {
    match state {
        State::Single => PairRole::Single,
        State::Boot => PairRole::Starting,
        State::ActivePair | State::ActiveSolo => PairRole::Active,
        State::Suspect => PairRole::Suspect,
        State::Reconfig => PairRole::Reconfiguring,
        State::Joining => PairRole::Joining,
        State::Switching => PairRole::Switching,
        State::Mirror => PairRole::Mirror,
        State::Takeover => PairRole::TakingOver,
        State::Learner => PairRole::Learner,
    }
}

/// What an operator is told. `docs/pairs.md` says under these words what to do.
pub fn alarm(alarm: Alarm) -> &'static str {
    match alarm {
        Alarm::MemoryLost => "this sub-node's disk lost entries that it had: it does not take over",
        Alarm::Diverged => "the two logs differ where they must not: one of the disks returned what was not written",
        Alarm::ActiveSilent => "the active is silent, and this sub-node has not everything: it does not take over",
    }
}

/// The papers with which this sub-node came to a pair, until its part of that has taken them up.
///
/// # Errors
/// What lies there are none.
pub fn pending(folder: &Folder) -> Result<Option<Papers>, Fault> {
    folder.pending_papers().map(|bytes| Papers::from_bytes(&bytes)).transpose()
}

fn not_there_yet() -> Fault {
    Fault::new(Code::PairNotReady, "this version runs no pairs yet")
        .help("use a version of hansa whose nodes ship their journals")
}

impl Machines {
    /// Found a pair with these witnesses, named by name or id, or with the members that are connected and offer it; or, where
    /// it is founded already, make the code anew.
    ///
    /// # Errors
    /// [`Code::PairNotReady`]: too few agreed, or it has its two sub-nodes; [`Code::NotActive`].
    pub async fn pair_init(&self, city: Option<City>, witnesses: Vec<String>) -> Result<PairInitiated, Fault> {
        self.house()?;
        tracing::debug!(?city, ?witnesses, "a pair is asked for");
        Err(not_there_yet())
    }

    /// How the pair is.
    ///
    /// # Errors
    /// The part that runs it does not answer.
    pub async fn pair_status(&self) -> Result<PairStatus, Fault> {
        let Part::Serving { epoch } = self.role.part() else { return Err(not_there_yet()) };
        let journal = self.statistics().journal;
        Ok(PairStatus {
            role: PairRole::Single,
            epoch,
            mode: PairMode::Single,
            active: self.this_site(),
            mirror: None,
            lag_entries: 0,
            committed: journal.durable,
            tail: journal.tail,
            witnesses: Vec::new(),
            witnesses_needed: 0,
            duties: Vec::new(),
            last_takeover: None,
            alarm: None,
        })
    }

    /// Let the other sub-node serve, and wait until it does.
    ///
    /// # Errors
    /// [`Code::PairNotReady`]: there is no mirror that has everything; [`Code::NotActive`].
    pub async fn pair_switch(&self) -> Result<PairSwitched, Fault> {
        self.house()?;
        Err(not_there_yet())
    }

    /// What this sub-node is, in one word.
    pub(super) async fn pair_role(&self) -> PairRole {
        match (Self::pair_status(self).await, self.role.part()) {
            (Ok(status), _) => status.role,
            (Err(_), Part::Serving { .. }) => PairRole::Active,
            (Err(_), Part::Starting | Part::Following) => PairRole::Starting,
        }
    }

    /// This sub-node, as the administration shows it.
    pub(super) fn this_site(&self) -> PairSite {
        PairSite {
            city: Some(self.start.configuration.organization().city().clone()),
            subnode: self.keys.subnode_id(),
            cxip: Some(self.announced_cxip()),
        }
    }

    /// A sub-node of this organization, as the administration shows it: this one, or the partner as far as it is known.
    pub(super) fn site(&self, subnode: SubnodeId) -> PairSite {
        if subnode == self.keys.subnode_id() {
            return self.this_site();
        }
        let partner = self.role.partner().filter(|partner| partner.subnode == subnode);
        let (city, cxip) = partner.map(|partner| (partner.city, partner.cxip)).unzip();
        PairSite { city, subnode, cxip }
    }

    /// Where services and clients attach to this sub-node, as others are told.
    pub fn announced_cxip(&self) -> String {
        let configured = self.start.configuration.cxip();
        let listens = || self.cxip.get().copied().unwrap_or_else(|| configured.listen()).to_string();
        configured.announce().map_or_else(listens, str::to_owned)
    }

    /// Where services and clients attach besides: what an acknowledged Connect tells as alternates.
    pub fn alternates(&self) -> Vec<String> {
        self.role.partner().map(|partner| partner.cxip).into_iter().collect()
    }

    /// This sub-node, as the papers for another tell of it.
    pub(super) fn whereabouts(&self) -> Whereabouts {
        Whereabouts {
            subnode: self.keys.subnode_id(),
            city: self.start.configuration.organization().city().clone(),
            federation: self.addresses(),
            cxip: self.announced_cxip(),
        }
    }

    /// A sub-node that is a witness of this pair, as the administration shows it.
    pub(super) fn witness(&self, organization: OrganizationId, subnode: SubnodeId) -> PairWitness {
        let links = self.ways.peers.federation().map(hansa_federation::Handle::peers).unwrap_or_default();
        let linked = links.iter().any(|link| link.subnode == subnode);
        PairWitness { organization, name: self.known_name(&organization), subnode, linked }
    }

    /// A pair that this sub-node is a witness of, as the administration shows it.
    pub(super) fn duty(&self, organization: OrganizationId, epoch: u64) -> PairDuty {
        PairDuty { organization, name: self.known_name(&organization), epoch }
    }

    /// The name of a member, from the directory or, on a follower, from the links.
    fn known_name(&self, organization: &OrganizationId) -> Option<OrganizationName> {
        let named = self.housed().and_then(|house| house.surroundings().offers().name(organization).cloned());
        let linked = || {
            let links = self.ways.peers.federation()?.peers();
            links.into_iter().find(|link| link.organization == *organization).map(|link| link.name)
        };
        named.or_else(linked)
    }

    /// Make the code that opens the pair to one more sub-node; the one before opens no more.
    ///
    /// # Errors
    /// This node listens for members nowhere, or the system gives no randomness.
    pub(super) fn pairing_code(&self, city: Option<City>) -> Result<PairingCode, Fault> {
        let addresses = self.addresses();
        if addresses.is_empty() {
            return Err(Fault::new(Code::PeerUnreachable, "this node listens for members nowhere")
                .help("set federation.listen, or federation.announce"));
        }
        let code = PairingCode {
            active: self.keys.subnode_id(),
            addresses,
            secret: Secret::random()?,
            expires: clock::now().plus_ms(CODE_MS),
            city,
        };
        self.pairings.issue(code.clone());
        Ok(code)
    }

    /// What the pair's machine looks at.
    pub(super) fn pair_site(&self, member: MemberId, partner: SubnodeId) -> Site {
        let configured = self.start.configuration.pair();
        Site {
            key: self.keys.node.clone(),
            member,
            partner,
            timing: configured.timing(),
            on_mirror_lost: configured.on_mirror_lost(),
            flaw: None,
        }
    }

    /// Whether this node is a witness of one more pair beside so many.
    pub(super) fn may_witness(&self, pairs: usize) -> bool {
        let configured = self.start.configuration.witness();
        configured.offer() && (pairs as u64) < configured.pairs_max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_page_has_each_alarm_in_the_words_in_which_it_is_told() {
        let page = include_str!("../../../docs/pairs.md");
        for told in [Alarm::MemoryLost, Alarm::Diverged, Alarm::ActiveSilent].map(alarm) {
            assert!(page.contains(&format!("**\"{told}\"**")), "{told}");
        }
    }

    #[test]
    fn a_role_that_serves_is_never_shown_as_one_that_follows() {
        for state in State::ALL {
            let follows = matches!(role(state), PairRole::Mirror | PairRole::Learner | PairRole::TakingOver);
            assert_eq!(follows, state.follows(), "{state:?}");
        }
    }
}
