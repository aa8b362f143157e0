//! Decides how two nodes come from a new stream to a link: hello, checks, and one connection of the two where there are more.
//!
//! One session runs for each connection. The dialer says hello first, so that a node shows its papers only to who has shown
//! some. Of two connections, the node with the smaller id decides which becomes the link: its swarm loop answers
//! [`Note::Ready`]. Everything is over within the hello time.

use super::{
    transfer::{self, FAREWELL_MAX, Opening, Told},
    wire::{PacketReader, Unreadable, encode},
};
use crate::{
    event::{Attend, Event},
    frame::{
        HELLO_BYTES_MAX, Hello, PAIRED_BYTES_MAX, PROTOCOL_VERSION, Packet, PairingSecret, Sealed, Standing, readable,
    },
    hello::{self, Proved},
    service::{Errand, Reply},
    shared::Shared,
};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use hansa_core::{
    code::{Code, Fault},
    ident::{FederationId, OrganizationId, SubnodeId},
    membership::{Certificate, InviteText},
};
use libp2p::{Multiaddr, Stream, swarm::ConnectionId};
use serde_bytes::ByteBuf;
use std::sync::Arc;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

pub(crate) use super::transfer::Opening as LinkOpening;

/// What a session tells the swarm loop.
pub(crate) enum Note {
    /// Hello is done on both sides. The answer is the link, or why there is none.
    Ready { ready: Ready, answer: oneshot::Sender<Result<Opening, Ending>> },
    /// The session, or its link, is over; the connection is of no further use.
    Over { connection: ConnectionId, peer: SubnodeId, ending: Ending },
}

/// A peer that could be linked.
pub(crate) struct Ready {
    pub(crate) peer: SubnodeId,
    pub(crate) connection: ConnectionId,
    pub(crate) address: Multiaddr,
    pub(crate) dialed: bool,
    pub(crate) organization: OrganizationId,
    pub(crate) certificate: Certificate,
    pub(crate) incarnation: u64,
    /// The last link with this node that the peer knows to have ended.
    pub(crate) ended_link: Option<u64>,
    /// The link's name, where the peer decides.
    pub(crate) decided: Option<u64>,
}

/// How a session ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// This side refused, or the other.
    Refused { fault: Fault, by_peer: bool },
    /// There is another link with the same peer.
    Superseded,
    /// A link was up and ended without fault.
    Down,
    /// The stream broke before there was a link.
    Broken(String),
    /// Whoever was asked to let this node in answered.
    Answered(Result<Reply, Fault>),
    /// A node that wanted in was answered.
    Knocked,
}

/// A session's view of its connection.
pub(crate) struct Session {
    pub(crate) shared: Arc<Shared>,
    pub(crate) notes: mpsc::Sender<Note>,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) duties: Arc<dyn Attend>,
    pub(crate) peer: SubnodeId,
    pub(crate) connection: ConnectionId,
    pub(crate) address: Multiaddr,
    pub(crate) dialed: bool,
    /// With what this node, as one that wants in, comes to the peer.
    pub(crate) errand: Option<Errand>,
    pub(crate) ended_link: Option<u64>,
}

impl Session {
    /// Run it to its end.
    pub(crate) async fn run(self, stream: Stream) {
        let (read, mut writer) = stream.split();
        let mut reader = PacketReader::new(read, HELLO_BYTES_MAX);
        let introduced = timeout(self.shared.hello_timeout, self.introduce(&mut reader, &mut writer)).await;
        let late = || Err(Ending::Broken("the peer took too long to say hello".into()));
        match introduced.unwrap_or_else(|_| late()) {
            Ok(opening) => {
                let Self { shared, notes, events, duties, peer, connection, .. } = self;
                let queue = Arc::clone(&opening.link.queue);
                let ended = async move {
                    let ending = match queue.closed().await.last {
                        Some(Packet::Refuse(fault)) => Ending::Refused { fault, by_peer: false },
                        _ => Ending::Down,
                    };
                    let _ = notes.send(Note::Over { connection, peer, ending }).await;
                };
                transfer::run(opening, reader, writer, shared, Told { events, duties }, ended).await;
            }
            Err(ending) => {
                let last = match &ending {
                    Ending::Refused { fault, by_peer: false } => Some(Packet::Refuse(fault.clone())),
                    Ending::Superseded => Some(Packet::Superseded),
                    _ => None,
                };
                // The peer must have read the last packet before the connection goes.
                let farewell = async {
                    if let Some(last) = last {
                        send(&mut writer, &last).await?;
                    }
                    writer.close().await.map_err(broken)?;
                    reader.drain().await;
                    Ok::<_, Ending>(())
                };
                let _ = timeout(FAREWELL_MAX, farewell).await;
                let _ = self.notes.send(Note::Over { connection: self.connection, peer: self.peer, ending }).await;
            }
        }
    }

    async fn introduce(
        &self,
        reader: &mut PacketReader<impl AsyncRead + Unpin>,
        writer: &mut (impl AsyncWrite + Unpin),
    ) -> Result<Opening, Ending> {
        if let Some(errand) = &self.errand {
            return Err(self.run_errand(errand, reader, writer).await?);
        }
        let Some(credentials) = self.shared.credentials() else {
            return Err(refuse(
                Fault::new(Code::MemberUnknown, "this node is not a member of any federation yet")
                    .help("let it join with an invite, then it can be reached"),
            ));
        };
        let expected = self.shared.expected(&credentials, self.peer);
        let federation = expected.federation;
        let own = Packet::Hello(Box::new(self.hello(federation, Standing::Member(credentials))));
        if self.dialed {
            send(writer, &own).await?;
        }
        let theirs = match receive(reader).await? {
            Packet::Hello(theirs) => theirs,
            _ => return Err(out_of_order()),
        };
        let (organization, certificate) = match hello::prove(&theirs, &expected).map_err(refuse)? {
            Proved::Member { organization, certificate } => (organization, certificate),
            Proved::Newcomer { organization, certificate, invite } if !self.dialed => {
                return Err(self.answer_knock(organization, certificate, invite, writer).await?);
            }
            Proved::Partner { certificate, secret } if !self.dialed => {
                return Err(self.answer_partner(certificate, secret, writer).await?);
            }
            Proved::Newcomer { .. } | Proved::Partner { .. } => return Err(out_of_order()),
        };
        if !self.dialed {
            send(writer, &own).await?;
        }
        let mut ready = Ready {
            peer: self.peer,
            connection: self.connection,
            address: self.address.clone(),
            dialed: self.dialed,
            organization,
            certificate,
            incarnation: theirs.incarnation,
            ended_link: theirs.ended_link,
            decided: None,
        };
        let decides = self.shared.identity.subnode() < self.peer;
        match (self.dialed, decides) {
            (true, false) => send(writer, &Packet::Welcome).await?,
            (false, true) => match receive(reader).await? {
                Packet::Welcome => {}
                _ => return Err(out_of_order()),
            },
            _ => {}
        }
        if !decides {
            match receive(reader).await? {
                Packet::Open { link } => ready.decided = Some(link),
                Packet::Superseded => return Err(Ending::Broken("there is another link".into())),
                _ => return Err(out_of_order()),
            }
        }
        let opening = self.decide(ready).await?;
        if decides {
            send(writer, &Packet::Open { link: opening.link.id }).await?;
        }
        Ok(opening)
    }

    /// Ask the swarm loop.
    async fn decide(&self, ready: Ready) -> Result<Opening, Ending> {
        let (answer, answered) = oneshot::channel();
        let stopping = || Ending::Broken("the node stops".into());
        self.notes.send(Note::Ready { ready, answer }).await.map_err(|_| stopping())?;
        answered.await.map_err(|_| stopping())?
    }

    fn hello(&self, federation: FederationId, standing: Standing) -> Hello {
        Hello {
            protocol_version: PROTOCOL_VERSION,
            federation,
            terms_hash: self.shared.terms_hash,
            certificate: self.shared.identity.certificate.clone(),
            incarnation: self.shared.incarnation,
            ended_link: self.ended_link,
            standing,
        }
    }

    /// This node is the one that wants in.
    async fn run_errand(
        &self,
        errand: &Errand,
        reader: &mut PacketReader<impl AsyncRead + Unpin>,
        writer: &mut (impl AsyncWrite + Unpin),
    ) -> Result<Ending, Ending> {
        let (federation, standing) = match errand {
            Errand::Join(invite) => (invite.invite.credentials.federation(), Standing::Newcomer(invite.signed.clone())),
            // It learns in the answer which federation that is.
            Errand::Pair(secret) => (FederationId([0; 32]), Standing::Partner { secret: *secret }),
        };
        send(writer, &Packet::Hello(Box::new(self.hello(federation, standing)))).await?;
        let answer = match (receive(reader).await, errand) {
            (Ok(Packet::Admitted(credentials)), Errand::Join(invite)) => {
                let organization = self.shared.identity.organization();
                hello::prove_admission(&credentials, invite, organization).map(|()| Reply::Admitted(credentials))
            }
            (Ok(Packet::Paired(sealed)), Errand::Pair(_)) => Ok(Reply::Paired(sealed.0.into_vec())),
            (Ok(_), _) => return Err(out_of_order()),
            (Err(Ending::Refused { fault, .. }), _) => Err(fault),
            (Err(ending), _) => return Err(ending),
        };
        Ok(Ending::Answered(answer))
    }

    /// The peer is the newcomer: the node decides.
    async fn answer_knock(
        &self,
        organization: OrganizationId,
        certificate: Certificate,
        invite: Box<InviteText>,
        writer: &mut (impl AsyncWrite + Unpin),
    ) -> Result<Ending, Ending> {
        let (answer, answered) = oneshot::channel();
        let stopping = || refuse(Fault::new(Code::NodeStopped, "the member that was asked to admit this node stops"));
        let knock = Event::Knock { organization, certificate, invite, answer };
        self.events.send(knock).await.map_err(|_| stopping())?;
        let credentials = answered.await.map_err(|_| stopping())?.map_err(refuse)?;
        send(writer, &Packet::Admitted(Box::new(credentials))).await?;
        Ok(Ending::Knocked)
    }

    /// The peer comes with a pairing code: the node decides.
    async fn answer_partner(
        &self,
        certificate: Certificate,
        secret: PairingSecret,
        writer: &mut (impl AsyncWrite + Unpin),
    ) -> Result<Ending, Ending> {
        let (answer, answered) = oneshot::channel();
        let stopping =
            || refuse(Fault::new(Code::NodeStopped, "the sub-node that was asked to pair with this one stops"));
        let pairing = Event::Pairing { subnode: self.peer, secret, certificate, answer };
        self.events.send(pairing).await.map_err(|_| stopping())?;
        let bytes = answered.await.map_err(|_| stopping())?.map_err(refuse)?;
        if bytes.len() > PAIRED_BYTES_MAX {
            let message =
                format!("the answer to a pairing code has {} bytes, and {PAIRED_BYTES_MAX} are the most", bytes.len());
            return Err(refuse(Fault::new(Code::LimitReached, message)));
        }
        send(writer, &Packet::Paired(Sealed(ByteBuf::from(bytes)))).await?;
        Ok(Ending::Knocked)
    }
}

async fn send(writer: &mut (impl AsyncWrite + Unpin), packet: &Packet) -> Result<(), Ending> {
    let mut bytes = Vec::new();
    encode(packet, &mut bytes);
    writer.write_all(&bytes).await.map_err(broken)?;
    writer.flush().await.map_err(broken)
}

/// The next packet; a refusal by the peer, or what is no packet, is an ending.
async fn receive(reader: &mut PacketReader<impl AsyncRead + Unpin>) -> Result<Packet, Ending> {
    match reader.next().await {
        Ok((Packet::Refuse(fault), _)) => Err(Ending::Refused { fault: readable(fault), by_peer: true }),
        Ok((packet, _)) => Ok(packet),
        Err(Unreadable::Wrong(fault)) => Err(refuse(fault)),
        Err(Unreadable::End) => Err(Ending::Broken("the peer closed the stream".into())),
        Err(Unreadable::Broken(error)) => Err(broken(error)),
    }
}

fn refuse(fault: Fault) -> Ending {
    Ending::Refused { fault, by_peer: false }
}

fn broken(error: std::io::Error) -> Ending {
    Ending::Broken(error.to_string())
}

fn out_of_order() -> Ending {
    refuse(Fault::new(Code::FrameRefused, "the peer sent a packet that does not belong in hello"))
}
