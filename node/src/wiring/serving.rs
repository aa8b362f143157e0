//! Whether this sub-node serves: the house comes when it begins to, and goes when it stops. What the federation is told of
//! it is here too: the papers, the founding of a federation, and the introduction in the directory.
//!
//! Everything in the wiring that needs the machines asks [`Machines::house`], and so hears where the active sub-node is
//! while this one follows. Who serves is not decided here; whoever runs the pair says it.

use super::{Machines, role::Partner};
use crate::access::Policy;
use hansa_actors::{
    clock,
    house::{House, HouseStatistics},
    journal::Journal,
};
use hansa_core::{
    access::Accounts,
    code::{Code, Fault},
    directory::{self, Own, Subnode},
    dispatch::{Input, Outward},
    ident::{OrganizationId, OrganizationName},
    membership::{self, Admission, Charter, Credentials, Membership},
    signed::{Purpose, Signed},
};
use std::sync::{Arc, PoisonError};

impl Machines {
    /// The machines that serve.
    ///
    /// # Errors
    /// [`Code::NotActive`], with where the active sub-node is.
    pub fn house(&self) -> Result<Arc<House>, Fault> {
        self.housed().ok_or_else(|| self.role.not_active())
    }

    /// The same where their absence is no fault.
    pub(super) fn housed(&self) -> Option<Arc<House>> {
        self.house.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Serve with these machines from now on: services and clients are let in, and where there are no papers yet a
    /// federation is founded. Whoever calls it has set the [`role`](super::role) before, and tells the federation
    /// afterwards.
    ///
    /// # Errors
    /// Why that cannot be; the house is in place all the same, and ends with [`Machines::stop_serving`].
    pub async fn begin_serving(&self, house: Arc<House>) -> Result<(), Fault> {
        *self.ways.house.write().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&house);
        *self.house.write().unwrap_or_else(PoisonError::into_inner) = Some(house);
        self.ways.sessions.let_in();
        self.warn_of_closed_doors();
        let credentials = match self.credentials().await {
            // An invite waits: whoever has it asks to join as soon as this has begun.
            None if self.start.invited => return Ok(()),
            None => self.found().await?,
            Some(credentials) => credentials,
        };
        self.remember(credentials.clone());
        // At the start of a single node the federation comes later, and is told then.
        if let Some(federation) = self.ways.peers.federation() {
            federation.set_credentials(credentials).await?;
            self.introduce().await;
        }
        Ok(())
    }

    /// Serve no more: every session is cut, what waits for peers is dropped, and questions of the node's own are answered
    /// with where to go. Whoever calls it has set the [`role`](super::role) and told the federation before, and stops the
    /// house that it gets.
    pub fn stop_serving(&self) -> Option<Arc<House>> {
        let house = self.house.write().unwrap_or_else(PoisonError::into_inner).take();
        *self.ways.house.write().unwrap_or_else(PoisonError::into_inner) = std::sync::Weak::new();
        self.ways.sessions.close_all(&self.role.not_active());
        self.ways.peers.forget_ways();
        house
    }

    /// The log that this sub-node has while it follows, for its figures.
    pub fn follow_with(&self, journal: Option<Arc<Journal<Outward>>>) {
        *self.followed.write().unwrap_or_else(PoisonError::into_inner) = journal;
    }

    /// These may attach, as far as a follower has heard.
    pub fn admit_accounts(&self, accounts: Accounts) {
        *self.heard_accounts.write().unwrap_or_else(PoisonError::into_inner) = accounts;
    }

    /// Who may attach: as the machines say it, or while this sub-node follows, as the log does.
    pub(super) fn accounts(&self) -> Accounts {
        match self.housed() {
            Some(house) => house.surroundings().accounts().clone(),
            None => self.heard_accounts.read().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// The figures of the house; of a follower those of its log.
    pub(super) fn statistics(&self) -> HouseStatistics {
        match self.housed() {
            Some(house) => house.statistics(),
            None => {
                let followed = self.followed.read().unwrap_or_else(PoisonError::into_inner);
                HouseStatistics {
                    journal: followed.as_ref().map(|journal| journal.statistics()).unwrap_or_default(),
                    transactions_open: 0,
                    topics: 0,
                    topics_bytes: 0,
                    refused: 0,
                    strays: 0,
                    tallies: Vec::new(),
                }
            }
        }
    }

    fn warn_of_closed_doors(&self) {
        let Some(house) = self.housed() else { return };
        let (surroundings, cxip) = (house.surroundings(), self.start.configuration.cxip());
        let accounts = surroundings.accounts();
        if self.doorkeeper.policy() == Policy::AccountsOnly && accounts.is_empty() {
            let address = cxip.listen();
            tracing::warn!(%address, "no service or client is let in before there is an account: `hansa access add`");
        }
        if let Some(address) = cxip.admin_listen()
            && !accounts.all().any(|(_, account)| account.rights.administer)
        {
            tracing::warn!(%address, "no account may administer yet: `hansa access add NAME --administer`");
        }
    }

    /// The papers of this node, if it belongs to a federation: the machines', or while it follows the last that it heard of.
    pub(super) async fn credentials(&self) -> Option<Credentials> {
        let Some(house) = self.housed() else {
            return self.papers.read().unwrap_or_else(PoisonError::into_inner).clone();
        };
        let look = |sight: &hansa_actors::shard::Sight<'_, Membership>| sight.machine(&())?.credentials().cloned();
        house.look::<Membership, _>(&(), look).await.flatten()
    }

    /// These are the papers of the organization; says whether they are others than before.
    pub fn remember(&self, credentials: Credentials) -> bool {
        let mut papers = self.papers.write().unwrap_or_else(PoisonError::into_inner);
        papers.replace(credentials.clone()) != Some(credentials)
    }

    pub(super) async fn belong(&self, credentials: Credentials) -> Result<(), Fault> {
        let organization = self.own();
        let papers = credentials.clone();
        self.ask(|asker| Input::Membership(membership::Input::Belong { asker, organization, credentials })).await?;
        self.remember(papers);
        Ok(())
    }

    /// Whether this node is free to join another federation.
    pub(super) async fn may_join(&self) -> Result<(), Fault> {
        let look = |sight: &hansa_actors::shard::Sight<'_, Membership>| {
            sight.machine(&()).map_or(Ok(()), |membership| membership.may_leave())
        };
        self.house()?.look::<Membership, _>(&(), look).await.unwrap_or(Ok(()))
    }

    /// Found a federation: of one, until somebody is invited into it or this node joins another.
    async fn found(&self) -> Result<Credentials, Fault> {
        let charter = Charter {
            name: self.start.configuration.federation().name().clone(),
            founder: self.own(),
            founded: clock::now(),
        };
        let charter = Signed::new(&self.keys.organization, Purpose::Charter, &charter);
        let credentials = Credentials { charter, admissions: Vec::new() };
        self.belong(credentials.clone()).await?;
        Ok(credentials)
    }

    /// The other sub-node, as the directory shall know it.
    pub(super) fn partner(&self) -> Option<Subnode> {
        self.role.partner().map(|Partner { certified, .. }| certified)
    }

    /// Say in the directory who this organization is and where its sub-nodes can be reached now, this one first. Again
    /// whenever one of them is somewhere else.
    pub async fn introduce(&self) {
        let Some(house) = self.housed() else { return };
        let Some(credentials) = self.credentials().await else { return };
        let this = Subnode { certificate: self.identity.certificate.clone(), addresses: self.addresses() };
        let own = Own {
            organization: self.own(),
            name: self.start.configuration.organization().name().clone(),
            credentials,
            subnodes: std::iter::once(this).chain(self.partner()).collect(),
        };
        house.deliver(Input::Directory(directory::Input::Introduce(own)));
    }

    /// A newcomer shows an invite: the membership decides, and the organization signs.
    pub(super) async fn knock(
        &self,
        organization: OrganizationId,
        name: OrganizationName,
        invite: Signed,
    ) -> Result<Credentials, Fault> {
        let newcomer = name.clone();
        self.ask(|asker| Input::Membership(membership::Input::Knock { asker, invite, organization, name: newcomer }))
            .await?;
        let mut credentials = self
            .credentials()
            .await
            .ok_or_else(|| Fault::new(Code::MemberUnknown, "this node belongs to no federation itself"))?;
        let admission = Admission { federation: credentials.federation(), organization, name, admitted: clock::now() };
        credentials.admissions.push(Signed::new(&self.keys.organization, Purpose::Admission, &admission));
        Ok(credentials)
    }
}
