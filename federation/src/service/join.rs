//! What becomes of a node that wants in, into a federation or a pair: whom it is waiting for, and what is answered when nobody
//! can be reached.

use super::Service;
use crate::{dialing::split, event::DiscoveredBy, frame::PairingSecret, handle::unreachable};
use hansa_core::{
    code::{Code, Fault},
    membership::{Credentials, InviteText},
};
use libp2p::{
    Multiaddr, PeerId,
    swarm::dial_opts::{DialOpts, PeerCondition},
};
use std::{collections::HashMap, fmt};
use tokio::sync::oneshot;

/// With what a node comes that is no member yet.
#[derive(Clone)]
pub(crate) enum Errand {
    /// With an invite.
    Join(Box<InviteText>),
    /// With a pairing code.
    Pair(PairingSecret),
}

/// What it gets.
pub(crate) enum Reply {
    /// Credentials, checked.
    Admitted(Box<Credentials>),
    /// Whatever the active sub-node tells its new partner.
    Paired(Vec<u8>),
}

impl fmt::Debug for Reply {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Admitted(_) => "admitted",
            Self::Paired(_) => "paired",
        })
    }
}

/// An errand that is under way.
pub(super) struct Join {
    errand: Errand,
    /// Who that is, for people.
    whom: &'static str,
    /// The nodes that could still answer.
    asked: HashMap<PeerId, Vec<Multiaddr>>,
    failures: Vec<String>,
    answer: oneshot::Sender<Result<Reply, Fault>>,
}

impl Join {
    pub(super) fn asks(&self, peer: &PeerId) -> bool {
        self.asked.contains_key(peer)
    }

    pub(super) fn errand(&self) -> Errand {
        self.errand.clone()
    }
}

impl Service {
    /// A node that belongs to a federation may join another as well: whether it may leave its own is for the node to
    /// decide, before it asks.
    pub(super) fn begin_to_join(
        &mut self,
        errand: Errand,
        addresses: &[String],
        whom: &'static str,
        answer: oneshot::Sender<Result<Reply, Fault>>,
    ) {
        if self.join.as_ref().is_some_and(|join| !join.answer.is_closed()) {
            let _ = answer.send(Err(Fault::new(Code::Busy, "this node is joining a federation or a pair already")));
            return;
        }
        let mut asked: HashMap<PeerId, Vec<Multiaddr>> = HashMap::new();
        let mut failures = Vec::new();
        for text in addresses {
            match text.parse::<Multiaddr>().map(|address| split(&address)) {
                Ok((Some(peer), address)) => asked.entry(peer).or_default().push(address),
                Ok((None, _)) => failures.push(format!("{text}: it does not end in the member's /p2p/ id")),
                Err(error) => failures.push(format!("{text}: {error}")),
            }
        }
        let mut join = Join { errand, whom, asked, failures, answer };
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

    /// A node that was asked cannot answer.
    pub(super) fn on_join_failed(&mut self, peer: &PeerId, reason: String) {
        self.note_join_failure(peer, reason);
        self.forget_asked(peer);
    }

    /// There is an answer. Where it admits this node, the inviter's addresses are worth remembering.
    pub(super) fn on_join_answered(&mut self, result: Result<Reply, Fault>) {
        let Some(join) = self.join.take() else { return };
        if matches!(result, Ok(Reply::Admitted(_))) {
            for (peer, addresses) in join.asked {
                self.learn(peer, addresses, DiscoveredBy::Invite);
            }
        }
        let _ = join.answer.send(result);
    }

    pub(super) fn note_join_failure(&mut self, peer: &PeerId, reason: String) {
        if let Some(join) = self.join.as_mut().filter(|join| join.asks(peer)) {
            join.failures.push(reason);
        }
    }

    pub(super) fn forget_asked(&mut self, peer: &PeerId) {
        if let Some(join) = &mut self.join {
            join.asked.remove(peer);
            self.end_join_if_nobody_is_left();
        }
    }

    fn end_join_if_nobody_is_left(&mut self) {
        if let Some(join) = self.join.take_if(|join| join.asked.is_empty()) {
            let tried = join.failures.join("; ");
            let fault = unreachable(format!("{} cannot be reached: {tried}", join.whom));
            let _ = join.answer.send(Err(fault));
        }
    }
}
