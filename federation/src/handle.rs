//! What the node can ask of the federation. Cheap to clone; the federation ends with the last handle, or at [`Handle::stop`].

use crate::{
    dialing::split,
    emulation::Latency,
    event::{Counters, Peer},
    frame::{Frame, PairingSecret},
    identity::peer_id,
    link::Unsent,
    service::{Command, Errand, Reply},
    shared::Shared,
};
use bytes::Bytes;
use hansa_core::{
    code::{Code, Fault},
    ident::{OrganizationId, SubnodeId},
    membership::{Credentials, InviteText},
};
use libp2p::{Multiaddr, multiaddr::Protocol};
use std::sync::Arc;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

/// See above.
#[derive(Clone)]
pub struct Handle {
    pub(crate) shared: Arc<Shared>,
    pub(crate) commands: mpsc::Sender<Command>,
}

impl Handle {
    /// Queue a frame for the sub-node that serves a member. Never waits.
    ///
    /// # Errors
    /// What [`Unsent`] says; the frame is dropped then.
    pub fn send(&self, organization: OrganizationId, frame: Frame) -> Result<(), Unsent> {
        self.shared.queue(organization).ok_or(Unsent::Disconnected)?.push(frame)
    }

    /// Queue a duty message for a sub-node, this organization's other one or a member's, whoever serves. It goes before frames.
    /// Never waits.
    ///
    /// # Errors
    /// What [`Unsent`] says; the message is dropped then.
    pub fn tell(&self, subnode: SubnodeId, message: impl Into<Bytes>) -> Result<(), Unsent> {
        self.shared.link(subnode).ok_or(Unsent::Disconnected)?.queue.push_duty(message.into())
    }

    /// Serve the organization at this epoch from now on; zero: not any more. Every peer is told. [`crate::Event::PeerUp`] and
    /// [`crate::Event::PeerDown`] follow from it.
    pub fn set_serving(&self, epoch: u64) {
        self.shared.set_serving(epoch);
    }

    /// At which epoch this node serves, as far as its peers were told.
    #[must_use]
    pub fn serving(&self) -> u64 {
        self.shared.serving()
    }

    /// Join the federation that an invite leads to. The credentials are checked, but not yet used: once they are durable,
    /// call [`Handle::set_credentials`].
    ///
    /// # Errors
    /// [`Code::PeerUnreachable`] with every address that was tried and why it failed; or what the inviter answered.
    pub async fn join(&self, invite: InviteText) -> Result<Credentials, Fault> {
        let asked = "the inviting member";
        let addresses = invite.invite.addresses.clone();
        match self.errand(Errand::Join(Box::new(invite)), addresses, asked).await? {
            Reply::Admitted(credentials) => Ok(*credentials),
            Reply::Paired(_) => Err(Fault::new(Code::FrameRefused, "the inviting member answered something else")),
        }
    }

    /// Ask the active sub-node of an organization, which is at one of `addresses`, to take this node in as its other one. This
    /// node's certificate tells its name and city, and may be signed by any key. The transport proves that whoever answers holds
    /// the sub-node's key, and shows the answer to nobody else. Nothing of it is used.
    ///
    /// # Errors
    /// [`Code::PeerUnreachable`] with every address that was tried and why it failed; or what the sub-node answered.
    pub async fn pair(
        &self,
        active: SubnodeId,
        addresses: Vec<Multiaddr>,
        secret: PairingSecret,
    ) -> Result<Vec<u8>, Fault> {
        let asked = "the organization's active sub-node";
        let peer = peer_id(active)?;
        let addresses =
            addresses.into_iter().map(|address| split(&address).1.with(Protocol::P2p(peer)).to_string()).collect();
        match self.errand(Errand::Pair(secret), addresses, asked).await? {
            Reply::Paired(bytes) => Ok(bytes),
            Reply::Admitted(_) => Err(Fault::new(Code::FrameRefused, "the active sub-node answered something else")),
        }
    }

    async fn errand(&self, errand: Errand, addresses: Vec<String>, asked: &'static str) -> Result<Reply, Fault> {
        let tried = addresses.join(", ");
        let (answer, answered) = oneshot::channel();
        self.command(Command::Errand { errand, addresses, asked, answer }).await?;
        match timeout(self.shared.hello_timeout, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(stopped()),
            Err(_) => Err(unreachable(format!(
                "{asked} did not answer within {} s at {tried}",
                self.shared.hello_timeout.as_secs_f32()
            ))),
        }
    }

    /// Be a member from now on, or with these credentials from now on.
    ///
    /// # Errors
    /// Where they do not prove this organization a member.
    pub async fn set_credentials(&self, credentials: Credentials) -> Result<(), Fault> {
        credentials.verify(credentials.federation(), self.shared.identity.organization())?;
        self.command(Command::Credentials(Box::new(credentials))).await
    }

    /// A member's node is said to be at these addresses; those that cannot be read are passed over.
    ///
    /// # Errors
    /// [`Code::NodeStopped`].
    pub async fn learn(&self, subnode: SubnodeId, addresses: &[String]) -> Result<(), Fault> {
        let addresses = addresses.iter().filter_map(|address| address.parse().ok()).collect();
        self.command(Command::Learn { subnode, addresses }).await
    }

    /// Replace the table of emulated lines.
    ///
    /// # Errors
    /// [`Code::NodeStopped`].
    pub async fn set_emulation(&self, table: Vec<Latency>) -> Result<(), Fault> {
        self.command(Command::Emulation(table)).await
    }

    /// The links that are up.
    #[must_use]
    pub fn peers(&self) -> Vec<Peer> {
        self.shared.peers()
    }

    /// What happened since the start.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.counters()
    }

    /// Where this node can be reached, with its peer id at the end: what is announced, else where it listens.
    #[must_use]
    pub fn addresses(&self) -> Vec<Multiaddr> {
        self.shared.addresses().clone()
    }

    /// Say goodbye to every peer and end.
    pub async fn stop(&self) {
        let (done, ended) = oneshot::channel();
        if self.commands.send(Command::Stop(done)).await.is_ok() {
            let _ = ended.await;
        }
    }

    async fn command(&self, command: Command) -> Result<(), Fault> {
        self.commands.send(command).await.map_err(|_| stopped())
    }
}

/// Whoever was to be asked cannot be reached.
pub(crate) fn unreachable(message: String) -> Fault {
    Fault::new(Code::PeerUnreachable, message)
        .help("make sure that its node runs and that no firewall is in between, then try again")
}

fn stopped() -> Fault {
    Fault::new(Code::NodeStopped, "the federation part of the node has stopped")
}
