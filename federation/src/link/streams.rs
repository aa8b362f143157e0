//! Decides that each connection has exactly one link stream, opened by whoever dialed.
//!
//! A small network behaviour of our own: what libp2p offers for streams picks any connection of a peer and drops inbound streams
//! silently when a channel is full. Used by the swarm loop; knows nothing of what goes over the stream.

use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol,
    core::{Endpoint, transport::PortUse, upgrade::ReadyUpgrade},
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
        SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use std::{
    collections::VecDeque,
    convert::Infallible,
    fmt,
    task::{Context, Poll, Waker},
    time::Duration,
};

/// The protocol of the link stream.
pub(crate) const LINK_PROTOCOL: StreamProtocol = StreamProtocol::new("/hansa/link/1");

/// How long the peer may take to agree on the protocol.
const NEGOTIATION_MAX: Duration = Duration::from_secs(10);

#[derive(Debug)]
/// The link stream of a new connection.
pub(crate) struct Opened {
    pub(crate) peer: PeerId,
    pub(crate) connection: ConnectionId,
    pub(crate) outcome: Outcome,
}

/// The stream, or why there is none.
pub(crate) enum Outcome {
    Stream { stream: Stream, dialed: bool },
    Failed(String),
}

impl fmt::Debug for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream { dialed, .. } => write!(out, "a stream (dialed: {dialed})"),
            Self::Failed(why) => write!(out, "no stream: {why}"),
        }
    }
}

/// The behaviour.
#[derive(Default)]
pub(crate) struct Behaviour {
    opened: VecDeque<Opened>,
    waker: Option<Waker>,
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Opened;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new(Stage::Awaited))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new(Stage::Wanted))
    }

    fn on_swarm_event(&mut self, _: FromSwarm) {}

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, outcome: THandlerOutEvent<Self>) {
        self.opened.push_back(Opened { peer, connection, outcome });
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ToSwarm<Opened, THandlerInEvent<Self>>> {
        if let Some(opened) = self.opened.pop_front() {
            return Poll::Ready(ToSwarm::GenerateEvent(opened));
        }
        self.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// This side dialed and has yet to ask for the stream.
    Wanted,
    /// This side dialed and asked.
    Asked,
    /// The other side dialed and has yet to open the stream.
    Awaited,
    /// There is, or was, a stream, and there will be no other.
    Done,
}

/// The behaviour's part in one connection.
pub(crate) struct Handler {
    stage: Stage,
    outcome: Option<Outcome>,
    waker: Option<Waker>,
}

impl Handler {
    fn new(stage: Stage) -> Self {
        Self { stage, outcome: None, waker: None }
    }

    fn settle(&mut self, outcome: Outcome) {
        self.stage = Stage::Done;
        self.outcome = Some(outcome);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

type Protocol = SubstreamProtocol<ReadyUpgrade<StreamProtocol>>;

fn protocol() -> Protocol {
    SubstreamProtocol::new(ReadyUpgrade::new(LINK_PROTOCOL), ()).with_timeout(NEGOTIATION_MAX)
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Outcome;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> Protocol {
        protocol()
    }

    // Once there is a stream, the stream keeps the connection; whoever dialed and opens none is let go.
    fn connection_keep_alive(&self) -> bool {
        matches!(self.stage, Stage::Wanted | Stage::Asked) || self.outcome.is_some()
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Outcome>> {
        if let Some(outcome) = self.outcome.take() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(outcome));
        }
        if self.stage == Stage::Wanted {
            self.stage = Stage::Asked;
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol: protocol() });
        }
        self.waker = Some(context.waker().clone());
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol, (), ()>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: stream, .. })
                if self.stage == Stage::Awaited =>
            {
                self.settle(Outcome::Stream { stream, dialed: false });
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: stream, .. }) => {
                self.settle(Outcome::Stream { stream, dialed: true });
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, .. }) => {
                self.settle(Outcome::Failed(error.to_string()));
            }
            // A second stream, or one from the side that did not dial, is dropped and thereby reset.
            _ => {}
        }
    }
}
