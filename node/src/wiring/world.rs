//! What leaves the machines: to sessions, to peers, to the directory's signer. Called on the journal's thread, so nothing
//! here waits; what takes time (signatures, sockets) is done by the tasks that it hands over to.

use super::{peers::Peers, sessions::Sessions};
use ed25519_dalek::SigningKey;
use hansa_actors::house::{House, World};
use hansa_core::{
    directory,
    dispatch::{Input, Outward},
    mailbox,
    session::ToSession,
    signed::{Purpose, Signed},
};
use std::sync::{Arc, PoisonError, RwLock, Weak};

/// The ways out of the node.
pub struct Ways {
    pub sessions: Arc<Sessions>,
    pub peers: Peers,
    pub organization: SigningKey,
    /// The house, while this sub-node serves: some of what leaves comes back.
    pub house: RwLock<Weak<House>>,
}

impl Ways {
    fn deliver(&self, input: Input) {
        let house = self.house.read().unwrap_or_else(PoisonError::into_inner).upgrade();
        if let Some(house) = house {
            house.deliver(input);
        }
    }
}

impl World for Ways {
    fn outward(&self, effect: Outward) {
        match effect {
            Outward::Session(session, message) => {
                // A session can end while work is on its way to it: its mailbox is told, and gives the work to another.
                if let Some(ToSession::Perform { service, .. }) = self.sessions.tell(session, message) {
                    self.deliver(Input::Mailbox(service, mailbox::Input::Detach { session }));
                }
            }
            Outward::Peer(peer, message) => self.peers.send(peer, message),
            Outward::Announce { signed, except } => self.peers.announce(signed, except),
            Outward::Learn(subnodes) => self.peers.learn(subnodes),
            Outward::Sign(record) => {
                let signed = Signed::new(&self.organization, Purpose::Directory, &*record);
                self.deliver(Input::Directory(directory::Input::Signed(signed)));
            }
        }
    }
}
