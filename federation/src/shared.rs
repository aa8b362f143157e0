//! What the swarm loop, its sessions and every handle see in common: who this node is, which links there are, and which of an
//! organization's sub-nodes serves it.
//!
//! Locks are held for a lookup or an insertion, never across a wait.

use crate::{
    event::{Counters, DiscoveredBy, Event, Peer},
    hello::{Expected, Identity},
    link::{
        attendance::{Attendance, Order},
        queue::{Closing, Queue},
    },
    random_u64,
};
use hansa_core::{
    ident::{City, OrganizationId, OrganizationName, SubnodeId},
    limit,
    membership::Credentials,
    moment::Moment,
};
use libp2p::{Multiaddr, swarm::ConnectionId};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// See above.
pub(crate) struct Shared {
    pub(crate) identity: Identity,
    pub(crate) terms_hash: [u8; 32],
    /// Another one after each start, so that peers can tell.
    pub(crate) incarnation: u64,
    pub(crate) hello_timeout: Duration,
    pub(crate) counts: Counts,
    credentials: Mutex<Option<Credentials>>,
    links: Mutex<Links>,
    refused: Mutex<HashMap<SubnodeId, u64>>,
    addresses: Mutex<Vec<Multiaddr>>,
}

/// See [`Counters`].
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) links_opened: AtomicU64,
    pub(crate) refused_here: AtomicU64,
    pub(crate) refused_by_peer: AtomicU64,
    pub(crate) dials_failed: AtomicU64,
    pub(crate) frames_dropped: AtomicU64,
}

#[derive(Default)]
struct Links {
    /// At which epoch this node serves its organization, or zero.
    serving: u64,
    by_subnode: BTreeMap<SubnodeId, Arc<Link>>,
    by_organization: HashMap<OrganizationId, Organization>,
}

/// What is known of an organization's sub-nodes.
#[derive(Default)]
struct Organization {
    /// Those that are linked, the oldest link first.
    links: Vec<Arc<Link>>,
    /// The highest epoch at which any of them was heard to serve. It stays when the link goes: who was active before that does
    /// not come up again.
    epoch: u64,
    /// The one that this node takes for the one that serves, while this node serves too.
    chosen: Option<Arc<Link>>,
    order: Order,
}

/// A link.
pub(crate) struct Link {
    /// Its random name, chosen by the sub-node with the smaller id.
    pub(crate) id: u64,
    pub(crate) connection: ConnectionId,
    /// The peer's incarnation.
    pub(crate) incarnation: u64,
    pub(crate) organization: OrganizationId,
    pub(crate) name: OrganizationName,
    pub(crate) city: City,
    pub(crate) subnode: SubnodeId,
    pub(crate) address: Multiaddr,
    pub(crate) dialed: bool,
    pub(crate) discovered_by: DiscoveredBy,
    pub(crate) connected: Moment,
    /// After so long without a word, the peer is taken for dead.
    pub(crate) silence_max: Duration,
    /// Zero while it has not been measured.
    pub(crate) round_trip_us: AtomicU64,
    /// At which epoch the peer serves; zero where it does not, or has not said yet.
    pub(crate) serving: AtomicU64,
    pub(crate) queue: Arc<Queue>,
    pub(crate) attendance: Attendance,
}

impl Link {
    pub(crate) fn up(&self) -> Event {
        Event::PeerUp {
            organization: self.organization,
            name: self.name.clone(),
            city: self.city.clone(),
            subnode: self.subnode,
            address: self.address.clone(),
            dialed: self.dialed,
            discovered_by: self.discovered_by,
        }
    }
}

impl Shared {
    pub(crate) fn new(
        identity: Identity,
        terms_hash: [u8; 32],
        credentials: Option<Credentials>,
        hello_timeout: Duration,
        serving: u64,
    ) -> Self {
        Self {
            identity,
            terms_hash,
            incarnation: random_u64(),
            hello_timeout,
            counts: Counts::default(),
            credentials: Mutex::new(credentials),
            links: Mutex::new(Links { serving, ..Links::default() }),
            refused: Mutex::default(),
            addresses: Mutex::default(),
        }
    }

    pub(crate) fn credentials(&self) -> Option<Credentials> {
        lock(&self.credentials).clone()
    }

    pub(crate) fn is_member(&self) -> bool {
        lock(&self.credentials).is_some()
    }

    pub(crate) fn set_credentials(&self, credentials: Credentials) {
        *lock(&self.credentials) = Some(credentials);
    }

    /// What the hello of `peer` is held against.
    pub(crate) fn expected(&self, credentials: &Credentials, peer: SubnodeId) -> Expected {
        Expected {
            federation: credentials.federation(),
            terms_hash: self.terms_hash,
            organization: self.identity.organization(),
            own: self.identity.subnode(),
            peer,
        }
    }

    /// A link is there. It comes up for the node once both sides have said that they serve.
    pub(crate) fn insert(&self, link: Arc<Link>) {
        let mut links = lock(&self.links);
        if links.by_organization.len() >= 2 * limit::MEMBERS_MAX {
            // Rather an old epoch is believed for once than that memory grows with what organizations come and go.
            links.by_organization.retain(|_, organization| !organization.links.is_empty());
        }
        link.queue.tell_serving(links.serving);
        links.by_organization.entry(link.organization).or_default().links.push(Arc::clone(&link));
        links.by_subnode.insert(link.subnode, link);
        self.counts.links_opened.fetch_add(1, Relaxed);
    }

    /// Close and remove the link with `subnode`, if it runs over `connection`.
    pub(crate) fn remove(&self, subnode: SubnodeId, connection: ConnectionId, closing: Closing) -> Option<Arc<Link>> {
        let mut links = lock(&self.links);
        if links.by_subnode.get(&subnode)?.connection != connection {
            return None;
        }
        let link = links.by_subnode.remove(&subnode)?;
        link.queue.close(closing);
        self.detach(&mut links, &link);
        Some(link)
    }

    /// Nothing more comes over a link whose queue is closed.
    pub(crate) fn ended(&self, link: &Arc<Link>) {
        self.detach(&mut lock(&self.links), link);
    }

    /// The link is no more the way to its organization.
    fn detach(&self, links: &mut Links, link: &Arc<Link>) {
        link.attendance.close(&link.queue.closing().map_or_else(String::new, |closing| closing.reason));
        if let Some(organization) = links.by_organization.get_mut(&link.organization) {
            organization.links.retain(|other| !Arc::ptr_eq(other, link));
        }
        self.choose(links, link.organization);
    }

    /// This node serves its organization from now on, or with another epoch, or not any more.
    pub(crate) fn set_serving(&self, epoch: u64) {
        let mut links = lock(&self.links);
        if links.serving == epoch {
            return;
        }
        links.serving = epoch;
        for link in links.by_subnode.values() {
            link.queue.tell_serving(epoch);
        }
        for organization in links.by_organization.keys().copied().collect::<Vec<_>>() {
            self.choose(&mut links, organization);
        }
    }

    pub(crate) fn serving(&self) -> u64 {
        lock(&self.links).serving
    }

    /// The peer says at which epoch it serves.
    pub(crate) fn on_serving(&self, link: &Arc<Link>, epoch: u64) {
        let mut links = lock(&self.links);
        link.serving.store(epoch, Relaxed);
        let Some(organization) = links.by_organization.get_mut(&link.organization) else { return };
        if organization.links.iter().any(|other| Arc::ptr_eq(other, link)) {
            organization.epoch = organization.epoch.max(epoch);
            self.choose(&mut links, link.organization);
        }
    }

    /// The peer says in which round it attends this node.
    pub(crate) fn on_attend(&self, link: &Link, round: u64) {
        let mut links = lock(&self.links);
        if let Some(organization) = links.by_organization.get_mut(&link.organization) {
            link.attendance.peer_attends(round, &mut organization.order);
        }
    }

    /// Decide which of an organization's sub-nodes is the one that serves, after anything that it depends on has changed.
    fn choose(&self, links: &mut Links, organization: OrganizationId) {
        let serving = links.serving;
        let Some(known) = links.by_organization.get_mut(&organization) else { return };
        let serves = |link: &&Arc<Link>| {
            let epoch = link.serving.load(Relaxed);
            serving > 0 && epoch > 0 && epoch == known.epoch
        };
        // Nobody is a peer of its own organization. Of two that claim one epoch, which honest ones never do, the first stays.
        let chosen = if organization == self.identity.organization() {
            None
        } else {
            let linked = |link: &&Arc<Link>| known.links.iter().any(|other| Arc::ptr_eq(other, link));
            let current = known.chosen.as_ref().filter(linked).filter(serves);
            current.or_else(|| known.links.iter().find(serves)).cloned()
        };
        let before = std::mem::replace(&mut known.chosen, chosen.clone());
        match (before, chosen) {
            (Some(before), Some(chosen)) if Arc::ptr_eq(&before, &chosen) => {}
            (before, chosen) => {
                if let Some(before) = before {
                    before.attendance.end(match &chosen {
                        Some(_) => "another sub-node of the organization serves it now",
                        None if serving == 0 => "this node does not serve its organization any more",
                        None => "the peer does not serve its organization any more",
                    });
                }
                if let Some(chosen) = chosen {
                    chosen.attendance.begin(&mut known.order);
                }
            }
        }
    }

    pub(crate) fn link(&self, subnode: SubnodeId) -> Option<Arc<Link>> {
        lock(&self.links).by_subnode.get(&subnode).cloned()
    }

    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        lock(&self.links).by_subnode.values().cloned().collect()
    }

    /// The nodes of `organization` that are linked.
    pub(crate) fn subnodes(&self, organization: OrganizationId) -> Vec<SubnodeId> {
        let links = lock(&self.links);
        let known = links.by_organization.get(&organization);
        known.into_iter().flat_map(|organization| &organization.links).map(|link| link.subnode).collect()
    }

    /// The queue to the sub-node that serves `organization`.
    pub(crate) fn queue(&self, organization: OrganizationId) -> Option<Arc<Queue>> {
        let links = lock(&self.links);
        links.by_organization.get(&organization)?.chosen.as_ref().map(|link| Arc::clone(&link.queue))
    }

    pub(crate) fn count_refusal(&self, subnode: SubnodeId, by_peer: bool) {
        let count = if by_peer { &self.counts.refused_by_peer } else { &self.counts.refused_here };
        count.fetch_add(1, Relaxed);
        let mut refused = lock(&self.refused);
        if refused.len() < limit::MEMBERS_MAX || refused.contains_key(&subnode) {
            *refused.entry(subnode).or_default() += 1;
        }
    }

    pub(crate) fn peers(&self) -> Vec<Peer> {
        let links = self.links();
        let refused = lock(&self.refused);
        let peer = |link: &Arc<Link>| Peer {
            organization: link.organization,
            name: link.name.clone(),
            city: link.city.clone(),
            subnode: link.subnode,
            address: link.address.clone(),
            dialed: link.dialed,
            discovered_by: link.discovered_by,
            serving: link.serving.load(Relaxed),
            up: link.attendance.is_up(),
            connected: link.connected,
            round_trip: Some(link.round_trip_us.load(Relaxed)).filter(|us| *us > 0).map(Duration::from_micros),
            traffic: link.queue.traffic(),
            refused: refused.get(&link.subnode).copied().unwrap_or_default(),
        };
        links.iter().map(peer).collect()
    }

    pub(crate) fn counters(&self) -> Counters {
        Counters {
            links_opened: self.counts.links_opened.load(Relaxed),
            refused_here: self.counts.refused_here.load(Relaxed),
            refused_by_peer: self.counts.refused_by_peer.load(Relaxed),
            dials_failed: self.counts.dials_failed.load(Relaxed),
            frames_dropped: self.counts.frames_dropped.load(Relaxed),
        }
    }

    pub(crate) fn addresses(&self) -> MutexGuard<'_, Vec<Multiaddr>> {
        lock(&self.addresses)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
