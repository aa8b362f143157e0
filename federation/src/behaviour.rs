//! Decides which libp2p behaviours run, with which limits; and over which transports.
//!
//! Addresses that they find are candidates for dialing and nothing more. Used by the swarm loop only.

use crate::{
    emulation::{EmulatedTransport, Emulation},
    link::streams,
    options::Options,
};
use hansa_core::{
    code::{Code, Fault},
    ident::FederationId,
};
use libp2p::{
    PeerId, StreamProtocol, Swarm, Transport,
    connection_limits::{self, ConnectionLimits},
    core::{muxing::StreamMuxerBox, transport::Boxed, upgrade::Version},
    dns, identify,
    identity::Keypair,
    kad, mdns, noise, ping, quic,
    swarm::{self, NetworkBehaviour, behaviour::toggle::Toggle},
    tcp, yamux,
};
use std::{io, time::Duration};

/// What identify shows of this protocol family.
const PROTOCOL_FAMILY: &str = "/hansa/1.0.0";
/// How long a connection that nothing uses is kept: enough for its link stream to be opened.
const IDLE_MAX: Duration = Duration::from_secs(15);
/// Streams of one connection: one is the link's, the rest is for the behaviours. Every stream may fill a receive window before
/// anybody has read it.
const STREAMS_MAX: usize = 128;
/// How long setting up a connection may take.
const SETUP_MAX: Duration = Duration::from_secs(10);

/// Everything that runs in the swarm.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    /// First, so that nothing else is asked about a connection that is too many.
    pub(crate) limits: connection_limits::Behaviour,
    /// Keeps slots free for members: they pass it by.
    pub(crate) stranger_limits: connection_limits::Behaviour,
    pub(crate) streams: streams::Behaviour,
    pub(crate) identify: identify::Behaviour,
    pub(crate) ping: ping::Behaviour,
    /// Off until the node is a member, because its protocol carries the federation's id.
    pub(crate) kademlia: Toggle<kad::Behaviour<kad::store::MemoryStore>>,
    pub(crate) mdns: Toggle<mdns::tokio::Behaviour>,
}

impl Behaviour {
    fn new(keypair: &Keypair, federation: Option<FederationId>, options: &Options) -> Self {
        let peer = keypair.public().to_peer_id();
        let limits = ConnectionLimits::default()
            .with_max_established(Some(options.connections_max))
            .with_max_established_per_peer(Some(options.connections_per_peer_max))
            .with_max_pending_incoming(Some(options.connections_pending_max))
            .with_max_pending_outgoing(Some(options.connections_pending_max));
        let for_strangers = options.connections_max.saturating_sub(options.connections_for_members);
        let stranger_limits = ConnectionLimits::default().with_max_established(Some(for_strangers));
        let mdns = options.mdns.then(|| mdns::tokio::Behaviour::new(mdns::Config::default(), peer));
        let mdns = mdns.and_then(|created| {
            created.inspect_err(|error| tracing::warn!(%error, "members in the local network are not looked for")).ok()
        });
        let identify = identify::Config::new(PROTOCOL_FAMILY.into(), keypair.public())
            .with_agent_version(format!("hansa/{}", env!("CARGO_PKG_VERSION")))
            .with_push_listen_addr_updates(true)
            .with_cache_size(0);
        let ping = ping::Config::new()
            .with_interval(Duration::from_millis(options.keep_alive_interval_ms))
            .with_timeout(Duration::from_millis(options.keep_alive_timeout_ms));
        Self {
            limits: connection_limits::Behaviour::new(limits),
            stranger_limits: connection_limits::Behaviour::new(stranger_limits),
            streams: streams::Behaviour::default(),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping),
            kademlia: Toggle::from(federation.map(|federation| kademlia(peer, federation))),
            mdns: Toggle::from(mdns),
        }
    }
}

/// The routing table of one federation: addresses only, nobody can store anything in it.
pub(crate) fn kademlia(peer: PeerId, federation: FederationId) -> kad::Behaviour<kad::store::MemoryStore> {
    let protocol = format!("/hansa/kad/{}/1", federation.short());
    let protocol = StreamProtocol::try_from_owned(protocol).expect("the protocol's name begins with a slash");
    let mut config = kad::Config::new(protocol);
    config
        .set_query_timeout(Duration::from_secs(20))
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_provider_publication_interval(None);
    let mut kademlia = kad::Behaviour::with_config(peer, kad::store::MemoryStore::new(peer), config);
    kademlia.set_mode(Some(kad::Mode::Server));
    kademlia
}

/// A swarm that neither listens nor dials yet.
pub(crate) fn swarm(
    keypair: &Keypair,
    federation: Option<FederationId>,
    options: &Options,
    emulation: Emulation,
) -> Result<Swarm<Behaviour>, Fault> {
    let transport = transport(keypair, &emulation)
        .map_err(|error| Fault::new(Code::Internal, format!("the transports cannot be set up: {error}")))?;
    let behaviour = Behaviour::new(keypair, federation, options);
    let config = swarm::Config::with_tokio_executor().with_idle_connection_timeout(IDLE_MAX);
    Ok(Swarm::new(transport, behaviour, keypair.public().to_peer_id(), config))
}

/// QUIC and TCP, with names looked up where the system says how.
fn transport(keypair: &Keypair, emulation: &Emulation) -> io::Result<Boxed<(PeerId, StreamMuxerBox)>> {
    match dns::tokio::Transport::system(unresolved(keypair, emulation)?) {
        Ok(resolved) => Ok(resolved.boxed()),
        Err(error) => {
            tracing::warn!(%error, "host names in addresses cannot be looked up");
            unresolved(keypair, emulation)
        }
    }
}

fn unresolved(keypair: &Keypair, emulation: &Emulation) -> io::Result<Boxed<(PeerId, StreamMuxerBox)>> {
    let mut yamux = yamux::Config::default();
    yamux.set_max_num_streams(STREAMS_MAX);
    let mut quic = quic::Config::new(keypair);
    quic.max_concurrent_stream_limit = u32::try_from(STREAMS_MAX).expect("a small number");
    let tcp = EmulatedTransport::new(tcp::tokio::Transport::new(tcp::Config::default()), emulation.clone())
        .upgrade(Version::V1)
        .authenticate(noise::Config::new(keypair).map_err(io::Error::other)?)
        .multiplex(yamux)
        .timeout(SETUP_MAX)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let quic = quic::tokio::Transport::new(quic).map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    Ok(quic.or_transport(tcp).map(|either, _| either.into_inner()).boxed())
}
