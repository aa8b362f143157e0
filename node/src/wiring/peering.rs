//! The other members as the administration shows them: what the directory knows, what the links say, what their receipts tell. It
//! decides how the several sub-nodes of one member become one line. [`super::administration`] asks.

use super::{Machines, views};
use crate::admin::protocol::{FederationStatus, Peer, PeerMirror};
use hansa_actors::shard::Sight;
use hansa_core::{
    code::{Code, Fault},
    directory::Directory,
    ident::OrganizationId,
    link::Link,
    membership::{Charter, Credentials},
    signed::Purpose,
};
use std::collections::{BTreeMap, BTreeSet};

impl Machines {
    pub(super) async fn federation_status(&self) -> Option<FederationStatus> {
        let credentials = self.credentials().await?;
        let members = match self.housed() {
            Some(house) => {
                let count = |sight: &Sight<'_, Directory>| sight.machine(&()).map_or(0, |all| all.members().count());
                house.look::<Directory, _>(&(), count).await
            }
            // A follower counts who is connected.
            None => Some(self.connected_members().len() + 1),
        };
        Some(Self::federation_of(&credentials, members.unwrap_or_default() as u64))
    }

    pub(super) fn federation_of(credentials: &Credentials, members: u64) -> FederationStatus {
        let charter: Result<Charter, Fault> = credentials.charter.open(Purpose::Charter, Code::CertificateForged);
        let name = charter.map(|charter| charter.name);
        FederationStatus {
            name: name.unwrap_or_else(|_| "unnamed".parse().expect("a word is a name")),
            id: credentials.federation(),
            members: members.max(1),
        }
    }

    async fn outboxes(&self) -> BTreeMap<OrganizationId, u64> {
        let Some(house) = self.housed() else { return BTreeMap::new() };
        let all = house.look_all::<Link, _>(|sight| {
            sight.awake().map(|(peer, link)| (*peer, link.outbox() as u64)).collect::<Vec<_>>()
        });
        all.await.into_iter().flatten().collect()
    }

    /// The links to other members: where this sub-node serves, those over which frames go, and else all, for a follower sends none.
    fn links(&self) -> (Vec<hansa_federation::Peer>, bool) {
        let links = self.ways.peers.federation().map(hansa_federation::Handle::peers).unwrap_or_default();
        let own = self.own();
        (links.into_iter().filter(|link| link.organization != own).collect(), self.housed().is_some())
    }

    /// The other members that are connected.
    pub(super) fn connected_members(&self) -> BTreeSet<OrganizationId> {
        let (links, serves) = self.links();
        links.iter().filter(|link| link.up || !serves).map(|link| link.organization).collect()
    }

    pub(super) async fn peers(&self) -> Vec<Peer> {
        let outboxes = self.outboxes().await;
        let own = self.own();
        let look = move |sight: &Sight<'_, Directory>| {
            let directory = sight.machine(&())?;
            Some(
                directory
                    .members()
                    .filter(|member| member.record.organization != own)
                    .map(|member| {
                        let city = member.certificates.first().map(|certificate| certificate.city.clone());
                        let address = member.record.subnodes.first().and_then(|subnode| subnode.addresses.first());
                        (member.record.organization, member.record.name.clone(), city, address.cloned())
                    })
                    .collect::<Vec<_>>(),
            )
        };
        // A follower knows who is connected to it, and no more.
        let known = match self.housed() {
            Some(house) => house.look::<Directory, _>(&(), look).await.flatten(),
            None => None,
        };
        let mut peers: BTreeMap<_, _> = known
            .unwrap_or_default()
            .into_iter()
            .filter_map(|(organization, name, city, address)| {
                let peer = Peer { address, ..Peer::away(organization, name, city?) };
                Some((organization, peer))
            })
            .collect();
        let (links, serves) = self.links();
        join(&mut peers, links, serves);
        for (organization, outbox) in outboxes {
            if let Some(peer) = peers.get_mut(&organization) {
                peer.outbox = outbox;
            }
        }
        for (organization, receipt) in self.ways.peers.receipts() {
            if let Some(peer) = peers.get_mut(&organization) {
                peer.durability = Some(receipt.durability);
            }
        }
        peers.into_values().collect()
    }
}

/// Put the links to the members that they go to: the one that serves is the member, others are its mirrors.
fn join(peers: &mut BTreeMap<OrganizationId, Peer>, mut links: Vec<hansa_federation::Peer>, serves: bool) {
    // The one that serves comes first.
    links.sort_by_key(|link| (link.organization, !link.up, u64::MAX - link.serving));
    let mut met = BTreeSet::new();
    for link in links {
        let is_first = met.insert(link.organization);
        if is_first && (link.up || !serves) {
            peers.insert(link.organization, views::peer(link));
            continue;
        }
        // A member of which only the mirror is connected takes no frames.
        let peer = peers
            .entry(link.organization)
            .or_insert_with(|| Peer::away(link.organization, link.name.clone(), link.city.clone()));
        peer.mirrors.push(PeerMirror {
            city: link.city,
            subnode: link.subnode,
            address: link.address.to_string(),
            rtt_ms: link.round_trip.map(|round_trip| round_trip.as_secs_f64() * 1_000.0),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hansa_core::{ident::SubnodeId, moment::Moment};
    use hansa_federation::{DiscoveredBy, Peer as Linked};

    fn link(organization: u8, subnode: u8, city: &str, serving: u64, up: bool) -> Linked {
        Linked {
            organization: OrganizationId([organization; 32]),
            name: "Birch GmbH".parse().unwrap(),
            city: city.parse().unwrap(),
            subnode: SubnodeId([subnode; 32]),
            address: "/ip4/10.0.0.2/tcp/4100".parse().unwrap(),
            dialed: true,
            discovered_by: DiscoveredBy::Directory,
            serving,
            up,
            connected: Moment(1),
            round_trip: None,
            traffic: Default::default(),
            refused: 0,
        }
    }

    // M4: a member is one line, whichever of its sub-nodes serves.
    #[test]
    fn the_sub_nodes_of_a_member_are_one_line_and_its_mirrors_are_told_as_such() {
        let links =
            || vec![link(1, 3, "Hamburg", 0, false), link(1, 4, "Bremen", 5, true), link(2, 5, "Oslo", 0, false)];
        let joined = |links, serves| {
            let mut peers = BTreeMap::new();
            join(&mut peers, links, serves);
            let told = peers.into_values().map(|peer| {
                let mirrors: Vec<_> = peer.mirrors.iter().map(|mirror| mirror.city.to_string()).collect();
                (peer.city.to_string(), peer.connected, mirrors.join(" "))
            });
            told.collect::<Vec<_>>()
        };
        let text = |city: &str, connected, mirrors: &str| (city.to_owned(), connected, mirrors.to_owned());
        assert_eq!(joined(links(), true), [text("Bremen", true, "Hamburg"), text("Oslo", false, "Oslo")]);
        // A follower has frames with nobody; it sees who serves all the same.
        let followed = links().into_iter().map(|link| Linked { up: false, ..link }).collect();
        assert_eq!(joined(followed, false), [text("Bremen", true, "Hamburg"), text("Oslo", true, "")]);
    }
}
