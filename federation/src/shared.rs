//! What the swarm loop, its sessions and every handle see in common: who this node is, and which links are up.
//!
//! Locks are held for a lookup or an insertion, never across a wait.

use crate::{
    event::{Counters, DiscoveredBy, Event, Peer},
    hello::{Expected, Identity},
    link::queue::Queue,
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
}

#[derive(Default)]
struct Links {
    by_subnode: BTreeMap<SubnodeId, Arc<Link>>,
    by_organization: HashMap<OrganizationId, Vec<Arc<Link>>>,
}

/// A link that is up.
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
    /// Zero while it has not been measured.
    pub(crate) round_trip_us: AtomicU64,
    pub(crate) queue: Arc<Queue>,
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
    ) -> Self {
        Self {
            identity,
            terms_hash,
            incarnation: random_u64(),
            hello_timeout,
            counts: Counts::default(),
            credentials: Mutex::new(credentials),
            links: Mutex::default(),
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
            peer,
        }
    }

    pub(crate) fn insert(&self, link: Arc<Link>) {
        let mut links = lock(&self.links);
        links.by_organization.entry(link.organization).or_default().push(Arc::clone(&link));
        links.by_subnode.insert(link.subnode, link);
        self.counts.links_opened.fetch_add(1, Relaxed);
    }

    /// Remove the link with `subnode`, if it runs over `connection`.
    pub(crate) fn remove(&self, subnode: SubnodeId, connection: ConnectionId) -> Option<Arc<Link>> {
        let mut links = lock(&self.links);
        if links.by_subnode.get(&subnode)?.connection != connection {
            return None;
        }
        let link = links.by_subnode.remove(&subnode)?;
        if let Some(all) = links.by_organization.get_mut(&link.organization) {
            all.retain(|other| !Arc::ptr_eq(other, &link));
            if all.is_empty() {
                links.by_organization.remove(&link.organization);
            }
        }
        Some(link)
    }

    pub(crate) fn link(&self, subnode: SubnodeId) -> Option<Arc<Link>> {
        lock(&self.links).by_subnode.get(&subnode).cloned()
    }

    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        lock(&self.links).by_subnode.values().cloned().collect()
    }

    /// The nodes of `organization` that are linked.
    pub(crate) fn subnodes(&self, organization: OrganizationId) -> impl Iterator<Item = SubnodeId> {
        let links = lock(&self.links).by_organization.get(&organization).cloned().unwrap_or_default();
        links.into_iter().map(|link| link.subnode)
    }

    /// The queue of the oldest link with `organization`.
    pub(crate) fn queue(&self, organization: OrganizationId) -> Option<Arc<Queue>> {
        lock(&self.links).by_organization.get(&organization)?.first().map(|link| Arc::clone(&link.queue))
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
        }
    }

    pub(crate) fn addresses(&self) -> MutexGuard<'_, Vec<Multiaddr>> {
        lock(&self.addresses)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
