//! Who offers what: the picture of local services and of peers' services that routing looks at. The directory draws it;
//! transactions and links read it.

use crate::{
    ident::{City, OperationName, OrganizationId, OrganizationName, ServiceName},
    invocation::{Performer, Target},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// A service as it is offered: its name and the operations that it signed up for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its name, unique in its organization.
    pub name: ServiceName,
    /// What it performs.
    pub operations: Vec<OperationName>,
    /// Whether the federation may know it (F5).
    pub public: bool,
}

/// What one peer offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerOffer {
    /// Who.
    pub organization: OrganizationId,
    /// Its name.
    pub name: OrganizationName,
    /// Its city.
    pub city: City,
    /// Its public services.
    pub services: Vec<Service>,
}

/// The picture: immutable, shared, replaced whole when something changes.
#[derive(Clone, Debug, Default)]
pub struct Offers(Arc<Picture>);

#[derive(Debug, Default)]
struct Picture {
    own: Option<(OrganizationId, OrganizationName)>,
    local: BTreeMap<ServiceName, Service>,
    local_by_operation: BTreeMap<OperationName, Vec<ServiceName>>,
    peers: BTreeMap<OrganizationId, PeerOffer>,
    peers_by_operation: BTreeMap<OperationName, Vec<OrganizationId>>,
}

impl Offers {
    /// Draw the picture for `own` organization.
    #[must_use]
    pub fn new(
        own: OrganizationId,
        name: OrganizationName,
        local: impl IntoIterator<Item = Service>,
        peers: impl IntoIterator<Item = PeerOffer>,
    ) -> Self {
        let mut picture = Picture { own: Some((own, name)), ..Picture::default() };
        for service in local {
            for operation in &service.operations {
                picture.local_by_operation.entry(operation.clone()).or_default().push(service.name.clone());
            }
            picture.local.insert(service.name.clone(), service);
        }
        for peer in peers {
            for operation in peer.services.iter().flat_map(|service| &service.operations) {
                let offering = picture.peers_by_operation.entry(operation.clone()).or_default();
                if offering.last() != Some(&peer.organization) {
                    offering.push(peer.organization);
                }
            }
            picture.peers.insert(peer.organization, peer);
        }
        Self(Arc::new(picture))
    }

    /// This node's organization; none before the directory has drawn its first picture.
    #[must_use]
    pub fn own(&self) -> Option<OrganizationId> {
        self.0.own.as_ref().map(|(own, _)| *own)
    }

    /// The local services.
    pub fn local(&self) -> impl Iterator<Item = &Service> {
        self.0.local.values()
    }

    /// The peers and what they offer.
    pub fn peers(&self) -> impl Iterator<Item = &PeerOffer> {
        self.0.peers.values()
    }

    /// The name of this node's organization, or of a peer.
    #[must_use]
    pub fn name(&self, organization: &OrganizationId) -> Option<&OrganizationName> {
        match &self.0.own {
            Some((own, name)) if own == organization => Some(name),
            _ => self.0.peers.get(organization).map(|peer| &peer.name),
        }
    }

    /// The organization that `text` names: by its id, or by its name where only one bears it.
    #[must_use]
    pub fn organization(&self, text: &str) -> Option<OrganizationId> {
        if let Ok(id) = text.parse::<OrganizationId>() {
            return (self.own() == Some(id) || self.0.peers.contains_key(&id)).then_some(id);
        }
        let peers = self.0.peers.values().map(|peer| (peer.organization, &peer.name));
        let own = self.0.own.iter().map(|(own, name)| (*own, name));
        let mut named = own.chain(peers).filter(|(_, name)| name.as_str() == text);
        match (named.next(), named.next()) {
            (Some((organization, _)), None) => Some(organization),
            _ => None,
        }
    }

    /// The local service that performs `target`, if there is one. Of several signed up, `turn` picks.
    #[must_use]
    pub fn local_performer(&self, target: &Target, turn: u64) -> Option<ServiceName> {
        self.local_performer_where(target, turn, |_| true)
    }

    /// The same among the services that the federation may know: who performs what a peer asks for (F5).
    #[must_use]
    pub fn public_performer(&self, target: &Target, turn: u64) -> Option<ServiceName> {
        self.local_performer_where(target, turn, |service| service.public)
    }

    fn local_performer_where(
        &self,
        target: &Target,
        turn: u64,
        fits: impl Fn(&Service) -> bool,
    ) -> Option<ServiceName> {
        let fits = |name: &&ServiceName| self.0.local.get(*name).is_some_and(&fits);
        if let Some(name) = &target.service {
            let service = self.0.local.get(name)?;
            return (service.operations.contains(&target.operation) && fits(&name)).then(|| name.clone());
        }
        let signed_up: Vec<_> = self.0.local_by_operation.get(&target.operation)?.iter().filter(fits).collect();
        let name = signed_up.get((turn.checked_rem(signed_up.len() as u64)?) as usize)?;
        Some((*name).clone())
    }

    /// One performer for `target`, local first, then a peer; of several peers `turn` picks (T10, F6).
    /// `excluded` are peers that were tried in vain.
    #[must_use]
    pub fn performer(&self, target: &Target, turn: u64, excluded: &[OrganizationId]) -> Option<Performer> {
        if let Some(service) = self.local_performer(target, turn) {
            return Some(Performer::Local(service));
        }
        let candidates: Vec<_> = self
            .0
            .peers_by_operation
            .get(&target.operation)?
            .iter()
            .filter(|organization| !excluded.contains(organization))
            .filter(|organization| self.peer_performs(organization, target))
            .collect();
        let organization = **candidates.get((turn.checked_rem(candidates.len() as u64)?) as usize)?;
        Some(Performer::Peer { organization, service: target.service.clone() })
    }

    /// Whether a certain organization performs `target`, and who there.
    #[must_use]
    pub fn performer_at(&self, organization: &OrganizationId, target: &Target, turn: u64) -> Option<Performer> {
        if self.own() == Some(*organization) {
            return self.local_performer(target, turn).map(Performer::Local);
        }
        self.peer_performs(organization, target)
            .then(|| Performer::Peer { organization: *organization, service: target.service.clone() })
    }

    fn peer_performs(&self, organization: &OrganizationId, target: &Target) -> bool {
        self.0.peers.get(organization).is_some_and(|peer| {
            peer.services.iter().any(|service| {
                service.operations.contains(&target.operation)
                    && target.service.as_ref().is_none_or(|name| *name == service.name)
            })
        })
    }

    /// Everybody who signed up for `operation`: local services, and where `federation` asks for them the peers' (T8).
    #[must_use]
    pub fn performers(&self, operation: &OperationName, federation: bool) -> Vec<Performer> {
        let local = self.0.local_by_operation.get(operation).into_iter().flatten().cloned().map(Performer::Local);
        let peers = self.0.peers_by_operation.get(operation).filter(|_| federation).into_iter().flatten();
        local
            .chain(peers.flat_map(|organization| {
                self.0.peers[organization]
                    .services
                    .iter()
                    .filter(|service| service.operations.contains(operation))
                    .map(|service| Performer::Peer { organization: *organization, service: Some(service.name.clone()) })
            }))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, operations: &[&str]) -> Service {
        Service {
            name: name.parse().unwrap(),
            operations: operations.iter().map(|operation| operation.parse().unwrap()).collect(),
            public: true,
        }
    }

    fn peer(id: u8, name: &str, services: Vec<Service>) -> PeerOffer {
        PeerOffer {
            organization: OrganizationId([id; 32]),
            name: name.parse().unwrap(),
            city: "Hamburg".parse().unwrap(),
            services,
        }
    }

    fn target(operation: &str) -> Target {
        Target { operation: operation.parse().unwrap(), service: None }
    }

    fn offers() -> Offers {
        Offers::new(
            OrganizationId([1; 32]),
            "Acme BV".parse().unwrap(),
            [service("credit", &["check-credit"]), service("stock", &["check-stock"])],
            [
                peer(
                    2,
                    "Birch",
                    vec![service("depot", &["check-stock", "confirm"]), service("yard", &["check-stock"])],
                ),
                peer(3, "Cedar", vec![service("store", &["check-stock", "confirm"])]),
            ],
        )
    }

    // T10, F6: a local service comes first, then a peer that offers the operation, then the next one.
    #[test]
    fn the_performer_is_local_first_then_a_peer_then_the_next_peer() {
        let offers = offers();
        assert_eq!(offers.performer(&target("check-stock"), 9, &[]), Some(Performer::Local("stock".parse().unwrap())));
        let at = |turn, excluded: &[OrganizationId]| match offers.performer(&target("confirm"), turn, excluded) {
            Some(Performer::Peer { organization, .. }) => Some(organization.0[0]),
            _ => None,
        };
        assert_eq!((at(0, &[]), at(1, &[])), (Some(2), Some(3)));
        assert_eq!(at(0, &[OrganizationId([2; 32])]), Some(3));
        assert_eq!(at(0, &[OrganizationId([2; 32]), OrganizationId([3; 32])]), None);
        assert_eq!(offers.performer(&target("fly"), 0, &[]), None);
    }

    // T8: a broadcast goes to every service registered for the operation, at peers only when asked.
    #[test]
    fn a_broadcast_reaches_local_services_and_when_asked_those_of_peers() {
        let operation = "check-stock".parse().unwrap();
        assert_eq!(offers().performers(&operation, false).len(), 1);
        assert_eq!(offers().performers(&operation, true).len(), 4);
    }

    #[test]
    fn an_organization_is_found_by_id_or_by_a_name_that_only_it_bears() {
        let cedar = OrganizationId([3; 32]);
        assert_eq!(offers().organization("Cedar"), Some(cedar));
        assert_eq!(offers().organization(&cedar.to_string()), Some(cedar));
        assert_eq!(offers().organization("Nobody"), None);
        let twins = Offers::new(
            OrganizationId([1; 32]),
            "Acme BV".parse().unwrap(),
            [],
            [peer(2, "Elm", vec![]), peer(3, "Elm", vec![])],
        );
        assert_eq!(twins.organization("Elm"), None, "a name that two bear names neither");
    }
}
