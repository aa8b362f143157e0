//! Decides whom to dial, and when: members that are known and not linked, soon after any sign of life, else with growing pauses.
//!
//! A table that the swarm loop asks; it reads no clock and dials nothing itself. What a candidate really is, only hello tells.

use crate::{event::DiscoveredBy, options::Options};
use hansa_core::{dice::Dice, limit};
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};
use tokio::time::Instant;

/// Candidates that neither the configuration nor an invite nor the directory names.
const STRANGERS_MAX: usize = 1_024;
/// Longest pause between two dials of a preferred candidate.
const PREFERRED_DELAY_MAX: Duration = Duration::from_secs(1);
/// Failed dials after which such a candidate is forgotten.
const STRANGER_ATTEMPTS_MAX: u32 = 12;

/// Whom to dial.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Target {
    /// A peer whose id is known.
    Peer(PeerId),
    /// Whoever answers at an address.
    Address(Multiaddr),
}

#[derive(Debug)]
struct Candidate {
    addresses: Vec<Multiaddr>,
    discovered_by: DiscoveredBy,
    /// It is dialed more often than others, and never forgotten.
    preferred: bool,
    attempts: u32,
    due: Instant,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Dialing,
    Connected,
}

/// The table.
pub(crate) struct Candidates {
    own: PeerId,
    dice: Dice,
    delay_min: Duration,
    delay_max: Duration,
    all: HashMap<Target, Candidate>,
    /// When each waiting candidate is due, in order.
    schedule: BTreeMap<(Instant, Target), ()>,
}

impl Candidates {
    pub(crate) fn new(own: PeerId, options: &Options, dice: Dice) -> Self {
        Self {
            own,
            dice,
            delay_min: Duration::from_millis(options.dial_delay_ms_min),
            delay_max: Duration::from_millis(options.dial_delay_ms_max),
            all: HashMap::new(),
            schedule: BTreeMap::new(),
        }
    }

    /// An address from the configuration, with or without a peer id.
    pub(crate) fn configure(&mut self, address: Multiaddr, now: Instant) {
        match split(&address) {
            (Some(peer), _) => self.learn(peer, [address], DiscoveredBy::Configured, now),
            (None, address) => {
                self.insert(Target::Address(address.clone()), vec![address], DiscoveredBy::Configured, now);
            }
        }
    }

    /// A peer is said to be at `addresses`. News about a peer make it due at once.
    pub(crate) fn learn(
        &mut self,
        peer: PeerId,
        addresses: impl IntoIterator<Item = Multiaddr>,
        discovered_by: DiscoveredBy,
        now: Instant,
    ) {
        if peer == self.own {
            return;
        }
        let addresses: Vec<_> = addresses
            .into_iter()
            .map(|address| split(&address))
            .filter(|(named, address)| named.is_none_or(|named| named == peer) && !address.is_empty())
            .map(|(_, address)| address)
            .take(limit::ADDRESSES_MAX)
            .collect();
        let target = Target::Peer(peer);
        let Some(candidate) = self.all.get_mut(&target) else {
            if self.has_room(discovered_by) && !addresses.is_empty() {
                self.insert(target, addresses, discovered_by, now);
            }
            return;
        };
        candidate.discovered_by = candidate.discovered_by.min(discovered_by);
        let mut news = false;
        for address in addresses {
            if !candidate.addresses.contains(&address) {
                news = true;
                candidate.addresses.insert(0, address);
                candidate.addresses.truncate(limit::ADDRESSES_MAX);
            }
        }
        if news {
            self.hasten(&target, now);
        }
    }

    /// There is a sign of life: no reason to wait any longer.
    pub(crate) fn alive(&mut self, peer: PeerId, now: Instant) {
        self.hasten(&Target::Peer(peer), now);
    }

    /// The network changed: everybody is due at once.
    pub(crate) fn all_alive(&mut self, now: Instant) {
        for target in self.all.keys().cloned().collect::<Vec<_>>() {
            self.hasten(&target, now);
        }
    }

    /// The next candidate that is due, with its addresses; it counts as being dialed from now on.
    pub(crate) fn next_due(&mut self, now: Instant) -> Option<(Target, Vec<Multiaddr>)> {
        let (due, _) = self.schedule.first_key_value()?.0;
        if *due > now {
            return None;
        }
        let ((_, target), ()) = self.schedule.pop_first()?;
        let candidate = self.all.get_mut(&target)?;
        candidate.state = State::Dialing;
        Some((target, candidate.addresses.clone()))
    }

    /// When the next one is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.schedule.first_key_value().map(|((due, _), ())| *due)
    }

    /// A dial failed. Where the peer has come by itself meanwhile, that is of no interest.
    pub(crate) fn failed(&mut self, target: &Target, now: Instant) {
        if self.all.get(target).is_some_and(|candidate| candidate.state != State::Connected) {
            self.postpone(target, |attempts| attempts.saturating_add(1), now);
        }
    }

    /// One side refused the other: no sense in asking again soon.
    pub(crate) fn refused(&mut self, peer: PeerId, now: Instant) {
        self.postpone(&Target::Peer(peer), |attempts| attempts.saturating_add(1).max(8), now);
    }

    /// A link is up.
    pub(crate) fn connected(&mut self, peer: PeerId) {
        self.set_state(Target::Peer(peer), State::Connected);
    }

    /// It is this organization's other sub-node: while it is away nothing is safe from the next failure.
    pub(crate) fn prefer(&mut self, peer: PeerId) {
        if let Some(candidate) = self.all.get_mut(&Target::Peer(peer)) {
            candidate.preferred = true;
        }
    }

    /// Whoever was dialed at a configured address turned out to be `peer`, and is dialed as such from now on.
    pub(crate) fn answered(&mut self, address: &Multiaddr, peer: PeerId, now: Instant) {
        let address = split(address).1;
        let target = Target::Address(address.clone());
        if let Some(candidate) = self.all.remove(&target) {
            self.schedule.remove(&(candidate.due, target));
            self.learn(peer, [address], DiscoveredBy::Configured, now);
            self.set_state(Target::Peer(peer), State::Dialing);
        }
    }

    /// Another peer than `expected` answered at an address: it may have taken its place.
    pub(crate) fn answered_instead(&mut self, expected: PeerId, peer: PeerId, address: &Multiaddr, now: Instant) {
        if let Some(discovered_by) = self.discovered_by(expected) {
            self.learn(peer, [split(address).1], discovered_by, now);
        }
    }

    /// The last connection to a peer ended without a link, or its link went down.
    pub(crate) fn disconnected(&mut self, peer: PeerId, now: Instant) {
        let target = Target::Peer(peer);
        match self.all.get(&target).map(|candidate| candidate.state) {
            // The first try after a link was lost comes soon.
            Some(State::Connected) => self.postpone(&target, |_| 0, now),
            Some(State::Dialing) => self.failed(&target, now),
            Some(State::Waiting) | None => {}
        }
    }

    /// How this node came to know of `peer`.
    pub(crate) fn discovered_by(&self, peer: PeerId) -> Option<DiscoveredBy> {
        self.all.get(&Target::Peer(peer)).map(|candidate| candidate.discovered_by)
    }

    /// Whether so many dials failed that others should be asked where the peer is.
    pub(crate) fn is_lost(&self, target: &Target) -> bool {
        self.all.get(target).is_some_and(|candidate| candidate.attempts >= 3 && candidate.attempts % 3 == 0)
    }

    fn has_room(&self, discovered_by: DiscoveredBy) -> bool {
        if is_stranger(discovered_by) {
            self.all.values().filter(|candidate| is_stranger(candidate.discovered_by)).count() < STRANGERS_MAX
        } else {
            self.all.len() < 2 * limit::MEMBERS_MAX
        }
    }

    fn insert(&mut self, target: Target, addresses: Vec<Multiaddr>, discovered_by: DiscoveredBy, now: Instant) {
        let state = State::Waiting;
        let candidate = Candidate { addresses, discovered_by, preferred: false, attempts: 0, due: now, state };
        if self.all.insert(target.clone(), candidate).is_none() {
            self.schedule.insert((now, target), ());
        }
    }

    fn set_state(&mut self, target: Target, state: State) {
        if let Some(candidate) = self.all.get_mut(&target) {
            (candidate.state, candidate.attempts) = (state, 0);
            self.schedule.remove(&(candidate.due, target));
        }
    }

    fn hasten(&mut self, target: &Target, now: Instant) {
        let Some(candidate) = self.all.get_mut(target) else { return };
        if candidate.state == State::Waiting && candidate.due > now {
            self.schedule.remove(&(candidate.due, target.clone()));
            (candidate.due, candidate.attempts) = (now, candidate.attempts.min(1));
            self.schedule.insert((now, target.clone()), ());
        }
    }

    fn postpone(&mut self, target: &Target, attempts: impl FnOnce(u32) -> u32, now: Instant) {
        let Some(candidate) = self.all.get_mut(target) else { return };
        self.schedule.remove(&(candidate.due, target.clone()));
        candidate.attempts = attempts(candidate.attempts);
        if is_stranger(candidate.discovered_by) && !candidate.preferred && candidate.attempts > STRANGER_ATTEMPTS_MAX {
            self.all.remove(target);
            return;
        }
        let doubled = self.delay_min.saturating_mul(1 << candidate.attempts.saturating_sub(1).min(20));
        let most = if candidate.preferred { self.delay_max.min(PREFERRED_DELAY_MAX) } else { self.delay_max };
        let delay = doubled.min(most);
        // A quarter of jitter, so that members that lost each other do not dial at the same moment for ever.
        let delay = delay * 3 / 4 + Duration::from_millis(self.dice.below(delay.as_millis() as u64 / 2));
        (candidate.due, candidate.state) = (now + delay, State::Waiting);
        self.schedule.insert((candidate.due, target.clone()), ());
    }
}

/// Whether only the peer itself, or another's word, speaks for it. Such a candidate may be forgotten.
pub(crate) fn is_stranger(discovered_by: DiscoveredBy) -> bool {
    match discovered_by {
        DiscoveredBy::Configured | DiscoveredBy::Invite | DiscoveredBy::Directory => false,
        DiscoveredBy::Mdns | DiscoveredBy::Kademlia | DiscoveredBy::Inbound => true,
    }
}

/// The peer id at the end of an address, and the address without it.
pub(crate) fn split(address: &Multiaddr) -> (Option<PeerId>, Multiaddr) {
    let mut address = address.clone();
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => {
            address.pop();
            (Some(peer), address)
        }
        _ => (None, address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates() -> (Candidates, Instant) {
        (Candidates::new(PeerId::random(), &Options::default(), Dice::new(7)), Instant::now())
    }

    fn address(port: u16) -> Multiaddr {
        format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()
    }

    // F6: a returning peer is dialed at once, not after a back-off.
    #[test]
    fn pauses_grow_to_their_maximum_and_end_with_a_sign_of_life() {
        let (mut candidates, mut now) = candidates();
        let peer = PeerId::random();
        candidates.learn(peer, [address(1)], DiscoveredBy::Directory, now);
        let mut pauses = Vec::new();
        for _ in 0..20 {
            let (target, addresses) = candidates.next_due(now).unwrap();
            assert_eq!(addresses, [address(1)]);
            assert!(candidates.next_due(now).is_none(), "it is dialed once at a time");
            candidates.failed(&target, now);
            let due = candidates.due().unwrap();
            pauses.push(due - now);
            now = due;
        }
        assert!(pauses[0] <= Duration::from_millis(313) && pauses[6] > pauses[0] * 10, "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= Duration::from_millis(37_500)));
        let target = candidates.next_due(now).unwrap().0;
        candidates.failed(&target, now);
        candidates.alive(peer, now);
        assert!(candidates.next_due(now).is_some());
    }

    #[test]
    fn a_linked_peer_is_not_dialed_and_soon_after_its_link_is_lost_it_is() {
        let (mut candidates, now) = candidates();
        let peer = PeerId::random();
        candidates.configure(address(7), now);
        let (target, _) = candidates.next_due(now).unwrap();
        assert_eq!(target, Target::Address(address(7)));
        candidates.answered(&address(7), peer, now);
        candidates.connected(peer);
        assert_eq!(candidates.due(), None);
        candidates.disconnected(peer, now);
        assert!(candidates.due().unwrap() - now < Duration::from_millis(400));
    }

    #[test]
    fn strangers_are_bounded_and_forgotten_and_members_are_neither() {
        let (mut candidates, mut now) = candidates();
        for _ in 0..STRANGERS_MAX + 5 {
            candidates.learn(PeerId::random(), [address(1)], DiscoveredBy::Mdns, now);
        }
        assert_eq!(candidates.all.len(), STRANGERS_MAX);
        let member = PeerId::random();
        candidates.learn(member, [address(2)], DiscoveredBy::Directory, now);
        for _ in 0..=STRANGER_ATTEMPTS_MAX {
            now += Duration::from_secs(60);
            while let Some((target, _)) = candidates.next_due(now) {
                candidates.failed(&target, now);
            }
        }
        assert_eq!(candidates.all.keys().collect::<Vec<_>>(), [&Target::Peer(member)]);
    }

    // M4: a partner that was away for long is found again soon.
    #[test]
    fn a_preferred_one_is_dialed_at_short_intervals_for_as_long_as_it_takes() {
        let (mut candidates, mut now) = candidates();
        let peer = PeerId::random();
        candidates.learn(peer, [address(1)], DiscoveredBy::Inbound, now);
        candidates.prefer(peer);
        for _ in 0..10 * STRANGER_ATTEMPTS_MAX {
            let (target, _) = candidates.next_due(now).unwrap();
            candidates.failed(&target, now);
            let due = candidates.due().unwrap();
            assert!(due - now <= PREFERRED_DELAY_MAX * 5 / 4);
            now = due;
        }
    }

    #[test]
    fn an_address_of_another_peer_or_of_this_node_is_not_taken() {
        let (mut candidates, now) = candidates();
        let (peer, other) = (PeerId::random(), PeerId::random());
        candidates.learn(peer, [address(1).with(Protocol::P2p(other))], DiscoveredBy::Directory, now);
        candidates.learn(candidates.own, [address(1)], DiscoveredBy::Mdns, now);
        assert!(candidates.all.is_empty());
    }
}
