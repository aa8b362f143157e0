//! The swarm loop: decides what becomes of connections, candidates and notes of sessions; waits for nobody.
//!
//! One task owns the swarm. Sessions have tasks of their own, and only they wait for the node to take events; what this loop has
//! to tell goes through a short backlog. Started by [`start`], asked through [`Handle`].

mod dial;
mod join;
mod listening;

use crate::{
    behaviour::{self, Behaviour, BehaviourEvent},
    dialing::{Candidates, is_stranger, split},
    emulation::{Emulation, Latency},
    event::{Attend, DiscoveredBy, Event},
    frame::{DutyLimits, Packet},
    handle::Handle,
    hello::Identity,
    identity::{keypair, peer_id, subnode_id},
    link::{
        attendance::Attendance,
        queue::{Closing, Queue},
        session::{Ending, LinkOpening, Note, Ready, Session},
        streams::{Opened, Outcome},
    },
    options::Options,
    random_u64,
    shared::{Link, Shared},
};
use futures::StreamExt;
use hansa_core::{
    code::{Code, Fault},
    dice::Dice,
    ident::SubnodeId,
    limit,
    membership::{Certificate, Credentials},
    moment::Moment,
    signed::Purpose,
};
use join::Join;
pub(crate) use join::{Errand, Reply};
use libp2p::{
    Multiaddr, PeerId, Swarm, identify, kad, mdns, ping,
    swarm::{ConnectionId, SwarmEvent, behaviour::toggle::Toggle},
};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, SystemTime},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// Events that wait for the node to take them; each link has a window of its own behind it.
const EVENTS_MAX: usize = 256;
/// Commands that wait for the loop.
const COMMANDS_MAX: usize = 256;
/// Notes of sessions that wait for the loop.
const NOTES_MAX: usize = 256;
/// Nodes of one organization that are linked at once.
const LINKS_PER_ORGANIZATION_MAX: usize = 8;
/// How long stopping may take.
const STOP_MAX: Duration = Duration::from_secs(3);

/// Everything that a node brings along.
pub struct Start {
    /// Who it is.
    pub identity: Identity,
    /// What it is a member of, if it is; without, it can only join.
    pub credentials: Option<Credentials>,
    /// The hash of everything that members must agree on.
    pub terms_hash: [u8; 32],
    /// How it is configured.
    pub options: Options,
    /// At which epoch it serves its organization from the start; zero where it does not, because it is one of a pair and has
    /// yet to find out.
    pub serving: u64,
    /// Who does its duties.
    pub duties: Arc<dyn Attend>,
}

/// What a handle asks for.
pub(crate) enum Command {
    Errand {
        errand: Errand,
        addresses: Vec<String>,
        asked: &'static str,
        answer: oneshot::Sender<Result<Reply, Fault>>,
    },
    Credentials(Box<Credentials>),
    Learn {
        subnode: SubnodeId,
        addresses: Vec<Multiaddr>,
    },
    Emulation(Vec<Latency>),
    Stop(oneshot::Sender<()>),
}

/// Start a federation's part of a node: how to ask it, and what happens. Must be called within a tokio runtime.
///
/// # Errors
/// The first of the options that does not fit, or what is wrong with the identity. An address that cannot be listened at is
/// an [`Event::ListenFailed`].
pub fn start(start: Start) -> Result<(Handle, mpsc::Receiver<Event>), Fault> {
    let Start { identity, credentials, terms_hash, options, serving, duties } = start;
    if let Some(fault) = options.validate().into_iter().next() {
        return Err(fault);
    }
    let certificate: Certificate = identity.certificate.open(Purpose::Certificate, Code::CertificateForged)?;
    if certificate.subnode != identity.subnode() {
        return Err(Fault::new(
            Code::CertificateForged,
            "the node's own certificate is for another key than the node's",
        ));
    }
    if let Some(credentials) = &credentials {
        credentials.verify(credentials.federation(), identity.organization())?;
    }
    let keypair = keypair(&identity.node);
    let own = keypair.public().to_peer_id();
    let emulation = Emulation::new(options.latency_emulation.clone());
    let federation = credentials.as_ref().map(Credentials::federation);
    let swarm = behaviour::swarm(&keypair, federation, &options, emulation.clone())?;
    let hello_timeout = Duration::from_millis(options.hello_timeout_ms);
    let shared = Arc::new(Shared::new(identity, terms_hash, credentials, hello_timeout, serving));
    let (events, taken) = mpsc::channel(EVENTS_MAX);
    let (commands, commanded) = mpsc::channel(COMMANDS_MAX);
    let (notes, noted) = mpsc::channel(NOTES_MAX);
    let service = Service {
        swarm,
        own,
        shared: Arc::clone(&shared),
        candidates: Candidates::new(own, &options, Dice::new(random_u64())),
        emulation,
        options,
        events,
        duties,
        backlog: VecDeque::new(),
        notes,
        sessions: JoinSet::new(),
        connections: HashMap::new(),
        identified: HashMap::new(),
        running: HashMap::new(),
        ended_links: HashMap::new(),
        join: None,
        stopping: None,
    };
    tokio::spawn(service.run(commanded, noted));
    Ok((Handle { shared, commands }, taken))
}

struct Service {
    swarm: Swarm<Behaviour>,
    own: PeerId,
    shared: Arc<Shared>,
    candidates: Candidates,
    emulation: Emulation,
    options: Options,
    events: mpsc::Sender<Event>,
    duties: Arc<dyn Attend>,
    backlog: VecDeque<Event>,
    notes: mpsc::Sender<Note>,
    sessions: JoinSet<()>,
    /// Where the other end of each connection is.
    connections: HashMap<ConnectionId, Multiaddr>,
    /// Where connected peers say that they listen.
    identified: HashMap<PeerId, Vec<Multiaddr>>,
    /// Resolves when the session of the latest link with a peer has told the node everything about duties.
    running: HashMap<SubnodeId, oneshot::Receiver<()>>,
    /// The last link with each peer that ended.
    ended_links: HashMap<SubnodeId, u64>,
    join: Option<Join>,
    stopping: Option<(Instant, Vec<oneshot::Sender<()>>)>,
}

impl Service {
    async fn run(mut self, mut commanded: mpsc::Receiver<Command>, mut noted: mpsc::Receiver<Note>) {
        self.listen();
        for address in self.options.known_peers.clone() {
            self.candidates.configure(address, Instant::now());
        }
        let events = self.events.clone();
        loop {
            if self.stopping.is_some() && self.sessions.is_empty() {
                break;
            }
            let wake = match &self.stopping {
                Some((deadline, _)) => Some(*deadline),
                // Without credentials nobody would accept this node.
                None => self.candidates.due().filter(|_| self.shared.is_member()),
            };
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm_event(event),
                Some(note) = noted.recv() => self.on_note(note),
                command = commanded.recv(), if self.stopping.is_none() => match command {
                    Some(command) => self.on_command(command),
                    None => self.begin_to_stop(None),
                },
                // A node that listens no more would be told of nothing.
                () = events.closed(), if self.stopping.is_none() => self.begin_to_stop(None),
                Ok(permit) = events.reserve(), if !self.backlog.is_empty() => {
                    if let Some(event) = self.backlog.pop_front() {
                        permit.send(event);
                    }
                }
                Some(_) = self.sessions.join_next(), if !self.sessions.is_empty() => {}
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {
                    if self.stopping.is_some() {
                        break;
                    }
                    self.dial_due();
                }
            }
        }
        self.sessions.shutdown().await;
        drop(self.swarm);
        for done in self.stopping.into_iter().flat_map(|(_, waiting)| waiting) {
            let _ = done.send(());
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Errand { errand, addresses, asked, answer } => {
                self.begin_to_join(errand, &addresses, asked, answer);
            }
            Command::Credentials(credentials) => self.on_credentials(*credentials),
            Command::Learn { subnode, addresses } => {
                if let Ok(peer) = peer_id(subnode) {
                    self.favour(peer);
                    self.learn(peer, addresses, DiscoveredBy::Directory);
                }
            }
            Command::Emulation(table) => {
                self.emulation.set(table);
                self.candidates.all_alive(Instant::now());
            }
            Command::Stop(done) => self.begin_to_stop(Some(done)),
        }
    }

    fn on_credentials(&mut self, credentials: Credentials) {
        let federation = credentials.federation();
        let before = self.shared.credentials().map(|credentials| credentials.federation());
        self.shared.set_credentials(credentials);
        if before != Some(federation) {
            // Connections from before do not speak this federation's protocols.
            for connection in self.connections.keys().copied().collect::<Vec<_>>() {
                self.swarm.close_connection(connection);
            }
            let kademlia = behaviour::kademlia(self.own, federation);
            self.swarm.behaviour_mut().kademlia = Toggle::from(Some(kademlia));
        }
        self.candidates.all_alive(Instant::now());
    }

    fn begin_to_stop(&mut self, done: Option<oneshot::Sender<()>>) {
        for link in self.shared.links() {
            let last = Some(Packet::Goodbye);
            link.queue.close(Closing { reason: "this node stops".into(), last });
        }
        self.stopping = Some((Instant::now() + STOP_MAX, done.into_iter().collect()));
    }

    fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour_event(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                let address = split(endpoint.get_remote_address()).1;
                if endpoint.is_dialer() {
                    self.candidates.answered(&address, peer_id, Instant::now());
                }
                self.connections.insert(connection_id, address);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, cause, .. } => {
                self.connections.remove(&connection_id);
                if let Some(subnode) = subnode_id(&peer_id) {
                    let cause = cause.map_or("the peer closed it".into(), |cause| cause.to_string());
                    self.unlink(subnode, connection_id, Closing::silent(format!("the connection ended: {cause}")));
                }
                if num_established == 0 {
                    self.identified.remove(&peer_id);
                    if self.candidates.discovered_by(peer_id).is_none_or(is_stranger) {
                        self.swarm.behaviour_mut().stranger_limits.remove_peer_id(&peer_id);
                    }
                    self.candidates.disconnected(peer_id, Instant::now());
                }
            }
            SwarmEvent::OutgoingConnectionError { peer_id, error, .. } => self.on_dial_failed(peer_id, &error),
            SwarmEvent::NewListenAddr { address, .. } => self.on_listening(address),
            SwarmEvent::ExpiredListenAddr { address, .. } => self.on_listening_ended([address], None),
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                self.on_listening_ended(addresses, reason.err());
            }
            SwarmEvent::IncomingConnectionError { error, send_back_addr, .. } => {
                tracing::debug!(address = %send_back_addr, %error, "an incoming connection failed");
            }
            _ => {}
        }
    }

    fn on_behaviour_event(&mut self, event: BehaviourEvent) {
        let now = Instant::now();
        match event {
            BehaviourEvent::Streams(opened) => self.on_stream(opened),
            BehaviourEvent::Ping(ping::Event { peer, connection, result }) => match result {
                Ok(round_trip) => {
                    if let Some(link) = subnode_id(&peer).and_then(|subnode| self.shared.link(subnode)) {
                        let us = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX);
                        link.round_trip_us.store(us.max(1), Relaxed);
                    }
                }
                Err(ping::Failure::Unsupported) => {}
                Err(failure) => {
                    tracing::debug!(%peer, %failure, "a connection does not answer any more");
                    self.swarm.close_connection(connection);
                }
            },
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                let addresses: Vec<_> = info.listen_addrs.into_iter().take(limit::ADDRESSES_MAX).collect();
                let linked = subnode_id(&peer_id).is_some_and(|subnode| self.shared.link(subnode).is_some());
                self.identified.insert(peer_id, addresses);
                if linked {
                    self.learn_identified(peer_id);
                }
            }
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => {
                for (peer, address) in found {
                    self.learn(peer, vec![address], DiscoveredBy::Mdns);
                    self.candidates.alive(peer, now);
                }
            }
            BehaviourEvent::Kademlia(kad::Event::OutboundQueryProgressed {
                result: kad::QueryResult::GetClosestPeers(Ok(found)),
                ..
            }) => {
                for peer in found.peers {
                    self.learn(peer.peer_id, peer.addrs, DiscoveredBy::Kademlia);
                }
            }
            _ => {}
        }
    }

    fn on_stream(&mut self, opened: Opened) {
        let Opened { peer, connection, outcome } = opened;
        let known = self.connections.get(&connection).cloned();
        let (Some(address), Some(subnode), None) = (known, subnode_id(&peer), &self.stopping) else {
            self.swarm.close_connection(connection);
            return;
        };
        match outcome {
            Outcome::Stream { stream, dialed } => {
                let errand = self.join.as_ref().filter(|join| dialed && join.asks(&peer)).map(Join::errand);
                let session = Session {
                    shared: Arc::clone(&self.shared),
                    notes: self.notes.clone(),
                    events: self.events.clone(),
                    duties: Arc::clone(&self.duties),
                    peer: subnode,
                    connection,
                    address,
                    dialed,
                    errand,
                    ended_link: self.ended_links.get(&subnode).copied(),
                };
                self.sessions.spawn(session.run(stream));
            }
            Outcome::Failed(why) => {
                tracing::debug!(%peer, %address, %why, "a peer does not speak the link protocol");
                self.on_join_failed(&peer, format!("{address}: {why}"));
                self.swarm.close_connection(connection);
            }
        }
    }

    fn on_note(&mut self, note: Note) {
        match note {
            Note::Ready { ready, answer } => {
                let opening = self.accept(ready);
                if let Err(Ok(opening)) = answer.send(opening) {
                    let link = opening.link;
                    self.unlink(link.subnode, link.connection, Closing::silent("the session ended"));
                }
            }
            Note::Over { connection, peer, ending } => self.on_over(connection, peer, ending),
        }
    }

    /// Decide whether a peer that said hello becomes a link.
    fn accept(&mut self, ready: Ready) -> Result<LinkOpening, Ending> {
        if self.stopping.is_some() || !self.connections.contains_key(&ready.connection) {
            return Err(Ending::Broken("the node stops, or the connection has ended".into()));
        }
        let linked = self.shared.subnodes(ready.organization);
        let others = linked.into_iter().filter(|subnode| *subnode != ready.peer).count();
        if others >= LINKS_PER_ORGANIZATION_MAX {
            let message = format!("{} has {others} nodes linked here already, the maximum", ready.organization.short());
            return Err(Ending::Refused { fault: Fault::new(Code::LimitReached, message), by_peer: false });
        }
        if let Some(current) = self.shared.link(ready.peer) {
            // The peer decided, or started anew, or knows already that the current link is gone, which this side has not noticed.
            let gone = ready.incarnation != current.incarnation || ready.ended_link == Some(current.id);
            if ready.decided.is_none() && !gone {
                return Err(Ending::Superseded);
            }
            let closing = Closing { reason: "another link replaced it".into(), last: Some(Packet::Superseded) };
            self.unlink(ready.peer, current.connection, closing);
        }
        let peer = peer_id(ready.peer).map_err(|fault| Ending::Refused { fault, by_peer: false })?;
        let discovered_by = match self.candidates.discovered_by(peer) {
            Some(discovered_by) if ready.dialed => discovered_by,
            _ if ready.dialed => DiscoveredBy::Kademlia,
            _ => DiscoveredBy::Inbound,
        };
        let is_partner = ready.organization == self.shared.identity.organization();
        let queue = Arc::new(Queue::new(if is_partner { DutyLimits::PARTNER } else { DutyLimits::MEMBER }));
        let (attendance, items) = Attendance::new(Arc::clone(&queue));
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let link = Arc::new(Link {
            id: ready.decided.unwrap_or_else(random_u64),
            connection: ready.connection,
            incarnation: ready.incarnation,
            organization: ready.organization,
            name: ready.certificate.name,
            city: ready.certificate.city,
            subnode: ready.peer,
            address: ready.address,
            dialed: ready.dialed,
            discovered_by,
            connected: Moment(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)),
            silence_max: Duration::from_millis(if is_partner {
                self.options.partner_silence_ms_max
            } else {
                self.options.silence_ms_max
            }),
            round_trip_us: 0.into(),
            serving: 0.into(),
            queue,
            attendance,
        });
        self.shared.insert(Arc::clone(&link));
        self.favour(peer);
        self.learn_identified(peer);
        self.candidates.connected(peer);
        if is_partner {
            self.candidates.prefer(peer);
        }
        let (finished, running) = oneshot::channel();
        if self.running.len() >= 2 * limit::MEMBERS_MAX {
            self.running.retain(|_, running| matches!(running.try_recv(), Err(oneshot::error::TryRecvError::Empty)));
        }
        let previous = self.running.insert(ready.peer, running);
        Ok(LinkOpening { link, items, previous, finished })
    }

    fn on_over(&mut self, connection: ConnectionId, subnode: SubnodeId, ending: Ending) {
        let now = Instant::now();
        let address = self.connections.get(&connection).cloned().unwrap_or_else(Multiaddr::empty);
        let Ok(peer) = peer_id(subnode) else { return };
        self.unlink(subnode, connection, Closing::silent("the session ended"));
        match ending {
            Ending::Refused { fault, by_peer } => {
                tracing::info!(%subnode, %address, %fault, by_peer, "a peer was refused");
                self.shared.count_refusal(subnode, by_peer);
                if self.shared.link(subnode).is_none() {
                    self.candidates.refused(peer, now);
                }
                // What nobody takes is dropped: the counters have it, and a stranger must not fill the backlog.
                let _ = self.events.try_send(Event::Refused { subnode, address, fault, by_peer });
            }
            Ending::Broken(why) => {
                tracing::debug!(%subnode, %address, %why, "a connection ended before there was a link");
                self.on_join_failed(&peer, format!("{address}: {why}"));
            }
            Ending::Answered(answer) => self.on_join_answered(answer),
            // A connection whose other end is silent may take its time to end.
            Ending::Down if self.shared.link(subnode).is_none() => self.candidates.disconnected(peer, now),
            Ending::Superseded | Ending::Down | Ending::Knocked => {}
        }
        self.swarm.close_connection(connection);
    }

    /// The link over a connection is over, if there was one.
    fn unlink(&mut self, subnode: SubnodeId, connection: ConnectionId, closing: Closing) {
        let Some(link) = self.shared.remove(subnode, connection, closing) else { return };
        if self.ended_links.len() >= 2 * limit::MEMBERS_MAX {
            // They only spare a peer one superfluous try.
            self.ended_links.clear();
        }
        self.ended_links.insert(subnode, link.id);
    }

    fn learn(&mut self, peer: PeerId, addresses: Vec<Multiaddr>, discovered_by: DiscoveredBy) {
        self.candidates.learn(peer, addresses, discovered_by, Instant::now());
        if subnode_id(&peer).is_some_and(|subnode| self.shared.link(subnode).is_some()) {
            self.candidates.connected(peer);
        }
    }

    /// A linked peer's own addresses are worth keeping, for this node and for others that ask it.
    fn learn_identified(&mut self, peer: PeerId) {
        let Some(addresses) = self.identified.get(&peer).cloned() else { return };
        if let Some(kademlia) = self.swarm.behaviour_mut().kademlia.as_mut() {
            for address in &addresses {
                kademlia.add_address(&peer, address.clone());
            }
        }
        self.learn(peer, addresses, DiscoveredBy::Inbound);
    }

    /// Members may use the slots that are kept for them.
    fn favour(&mut self, peer: PeerId) {
        self.swarm.behaviour_mut().stranger_limits.bypass_peer_id(&peer);
    }
}
