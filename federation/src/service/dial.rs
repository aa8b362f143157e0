//! Dialing whoever is due, and what is learned from dials that fail.

use super::Service;
use crate::dialing::{Target, split};
use libp2p::{
    PeerId,
    swarm::{
        DialError,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use std::sync::atomic::Ordering::Relaxed;
use tokio::time::Instant;

impl Service {
    pub(super) fn dial_due(&mut self) {
        let now = Instant::now();
        while let Some((target, addresses)) = self.candidates.next_due(now) {
            let options = match &target {
                Target::Peer(peer) => DialOpts::peer_id(*peer)
                    // There may still be a connection that ends, or one over which the peer has yet to say hello.
                    .condition(PeerCondition::NotDialing)
                    .addresses(addresses)
                    // Two nodes that dial each other from their listening ports would meet in one TCP connection without acceptor.
                    .allocate_new_port()
                    .build(),
                Target::Address(address) => {
                    DialOpts::unknown_peer_id().address(address.clone()).allocate_new_port().build()
                }
            };
            if let Err(error) = self.swarm.dial(options) {
                tracing::debug!(?target, %error, "dialing is not possible now");
                self.candidates.failed(&target, now);
            }
        }
    }

    pub(super) fn on_dial_failed(&mut self, peer: Option<PeerId>, error: &DialError) {
        let now = Instant::now();
        self.shared.counts.dials_failed.fetch_add(1, Relaxed);
        let reasons = match error {
            DialError::Transport(tried) => {
                tried.iter().map(|(address, error)| format!("{}: {}", split(address).1, innermost(error))).collect()
            }
            other => vec![other.to_string()],
        };
        tracing::debug!(?peer, ?reasons, "dialing failed");
        match (peer, error) {
            (Some(peer), _) => {
                if let DialError::WrongPeerId { obtained, address } = error {
                    self.candidates.answered_instead(peer, *obtained, address, now);
                }
                let target = Target::Peer(peer);
                self.candidates.failed(&target, now);
                if self.candidates.is_lost(&target)
                    && let Some(kademlia) = self.swarm.behaviour_mut().kademlia.as_mut()
                {
                    kademlia.get_closest_peers(peer);
                }
                for reason in reasons {
                    self.note_join_failure(&peer, reason);
                }
                self.forget_asked(&peer);
            }
            (None, DialError::Transport(tried)) => {
                for (address, _) in tried {
                    self.candidates.failed(&Target::Address(split(address).1), now);
                }
            }
            (None, DialError::WrongPeerId { address, .. } | DialError::LocalPeerId { address }) => {
                self.candidates.failed(&Target::Address(split(address).1), now);
            }
            (None, _) => {}
        }
    }
}

/// The transports wrap each other's errors; the innermost says what happened.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
