//! What becomes of a request to join: whom it is waiting for, and what is answered when nobody can be reached.

use super::Service;
use crate::{dialing::split, event::DiscoveredBy};
use hansa_core::{
    code::{Code, Fault},
    membership::{Credentials, InviteText},
};
use libp2p::{
    Multiaddr, PeerId,
    swarm::{
        ConnectionId, DialError,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use std::{collections::HashMap, sync::atomic::Ordering::Relaxed};
use tokio::{sync::oneshot, time::Instant};

use crate::dialing::Target;

/// A request to join that is under way.
pub(super) struct Join {
    invite: InviteText,
    /// The nodes of the inviter that could still answer.
    asked: HashMap<PeerId, Vec<Multiaddr>>,
    failures: Vec<String>,
    answer: oneshot::Sender<Result<Credentials, Fault>>,
}

impl Join {
    pub(super) fn asks(&self, peer: &PeerId) -> bool {
        self.asked.contains_key(peer)
    }

    pub(super) fn invite(&self) -> InviteText {
        self.invite.clone()
    }
}

impl Service {
    pub(super) fn begin_to_join(&mut self, invite: InviteText, answer: oneshot::Sender<Result<Credentials, Fault>>) {
        if self.shared.credentials().is_some() {
            let _ = answer.send(Err(Fault::new(Code::InviteForeign, "this node belongs to a federation already")));
            return;
        }
        if self.join.as_ref().is_some_and(|join| !join.answer.is_closed()) {
            let _ = answer.send(Err(Fault::new(Code::Busy, "this node is joining a federation already")));
            return;
        }
        let mut asked: HashMap<PeerId, Vec<Multiaddr>> = HashMap::new();
        let mut failures = Vec::new();
        for text in &invite.invite.addresses {
            match text.parse::<Multiaddr>().map(|address| split(&address)) {
                Ok((Some(peer), address)) => asked.entry(peer).or_default().push(address),
                Ok((None, _)) => failures.push(format!("{text}: it does not end in the member's /p2p/ id")),
                Err(error) => failures.push(format!("{text}: {error}")),
            }
        }
        let mut join = Join { invite, asked, failures, answer };
        let dials: Vec<_> = join.asked.iter().map(|(peer, addresses)| (*peer, addresses.clone())).collect();
        for (peer, addresses) in dials {
            let options = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(addresses);
            if let Err(error) = self.swarm.dial(options.allocate_new_port().build()) {
                join.asked.remove(&peer);
                join.failures.push(error.to_string());
            }
        }
        self.join = Some(join);
        self.end_join_if_nobody_is_left();
    }

    pub(super) fn on_dial_failed(&mut self, _: ConnectionId, peer: Option<PeerId>, error: &DialError) {
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

    /// A node of the inviter cannot answer.
    pub(super) fn on_join_failed(&mut self, peer: &PeerId, reason: String) {
        self.note_join_failure(peer, reason);
        self.forget_asked(peer);
    }

    /// The inviter answered. Where it admits this node, its addresses are worth remembering.
    pub(super) fn on_join_answered(&mut self, result: Result<Credentials, Fault>) {
        let Some(join) = self.join.take() else { return };
        if result.is_ok() {
            for (peer, addresses) in join.asked {
                self.learn(peer, addresses, DiscoveredBy::Invite);
            }
        }
        let _ = join.answer.send(result);
    }

    fn note_join_failure(&mut self, peer: &PeerId, reason: String) {
        if let Some(join) = self.join.as_mut().filter(|join| join.asks(peer)) {
            join.failures.push(reason);
        }
    }

    fn forget_asked(&mut self, peer: &PeerId) {
        if let Some(join) = &mut self.join {
            join.asked.remove(peer);
            self.end_join_if_nobody_is_left();
        }
    }

    fn end_join_if_nobody_is_left(&mut self) {
        if let Some(join) = self.join.take_if(|join| join.asked.is_empty()) {
            let tried = join.failures.join("; ");
            let fault = Fault::new(Code::PeerUnreachable, format!("the inviting member cannot be reached: {tried}"))
                .help("make sure that the member's node runs and that no firewall is in between, then try again");
            let _ = join.answer.send(Err(fault));
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
