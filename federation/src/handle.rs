//! What the node can ask of the federation. Cheap to clone; the federation ends with the last handle, or at [`Handle::stop`].

use crate::{
    emulation::Latency,
    event::{Counters, Peer},
    frame::Frame,
    link::Unsent,
    service::Command,
    shared::Shared,
};
use hansa_core::{
    code::{Code, Fault},
    ident::{OrganizationId, SubnodeId},
    membership::{Credentials, InviteText},
};
use libp2p::Multiaddr;
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
    /// Queue a frame for a member. Never waits.
    ///
    /// # Errors
    /// What [`Unsent`] says; the frame is dropped then.
    pub fn send(&self, organization: OrganizationId, frame: Frame) -> Result<(), Unsent> {
        self.shared.queue(organization).ok_or(Unsent::Disconnected)?.push(frame)
    }

    /// Join the federation that an invite leads to. The credentials are checked, but not yet used: once they are durable,
    /// call [`Handle::set_credentials`].
    ///
    /// # Errors
    /// [`Code::PeerUnreachable`] with every address that was tried and why it failed; or what the inviter answered.
    pub async fn join(&self, invite: InviteText) -> Result<Credentials, Fault> {
        let addresses = invite.invite.addresses.join(", ");
        let (answer, answered) = oneshot::channel();
        self.command(Command::Join { invite: Box::new(invite), answer }).await?;
        match timeout(self.shared.hello_timeout, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(stopped()),
            Err(_) => Err(Fault::new(
                Code::PeerUnreachable,
                format!(
                    "the inviting member did not answer within {} s at {addresses}",
                    self.shared.hello_timeout.as_secs_f32()
                ),
            )
            .help("make sure that the member's node runs and that no firewall is in between, then try again")),
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

fn stopped() -> Fault {
    Fault::new(Code::NodeStopped, "the federation part of the node has stopped")
}
