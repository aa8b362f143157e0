//! The node's side of one connection of a service or a client, from its Connect to its end: one task that drives a [`Wire`]
//! and a [`Door`] to the machines. The node's listener runs one for each connection that it accepts, the in-memory node of
//! [`crate::test`] one for each stream. What a message brings about is the machines' business, and what carries the bytes
//! the caller's.

use super::{Acknowledgement, Budget, Ended, Incoming, Message, Password, Refusal, Stream, Unread, Wire};
use crate::reach::Welcome;
use hansa_core::{
    code::{Code, Fault},
    ident::{AccountName, InvocationId, ServiceName, SubscriberName, TopicAddress},
    invocation::Outcome,
    limit,
    session::{Asker, Ending, FromSession, SessionId, Taken, ToSession, Tracking},
    transaction::{OutcomeKind, Refusal as Why},
};
use std::{
    collections::{HashMap, VecDeque},
    fmt,
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

/// How many of the machines' words are taken from the channel at once.
const BATCH_MAX: usize = 256;
/// What a queued message counts besides its document.
const MESSAGE_BYTES: usize = 512;
/// So much of what may wait for all connections is each connection's own share.
const SHARE_BYTES: usize = limit::CXIP_QUEUES_BYTES_MAX / limit::CXIP_CONNECTIONS_MAX;

/// Who stands at the door.
#[derive(Clone, Copy, Debug)]
pub struct Visitor<'a> {
    /// What it calls itself, for logs.
    pub name: &'a str,
    /// The account that it comes as, where that is not its name.
    pub account: Option<&'a AccountName>,
    /// The password that it shows.
    pub password: Option<&'a Password>,
    /// The name in the certificate that its connection has proved.
    pub certified: Option<&'a str>,
    /// Whether it comes through something on this machine that may let in anybody from elsewhere.
    pub proxied: bool,
}

/// Why somebody is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwelcome {
    /// The reason.
    pub fault: Fault,
    /// Where to go instead, host and port; with [`Code::NotActive`].
    pub address: Option<String>,
}

impl From<Fault> for Unwelcome {
    fn from(fault: Fault) -> Self {
        Self { fault, address: None }
    }
}

/// Who is let in.
pub trait Entrance: Send + Sync + 'static {
    /// What is remembered of somebody who is let in.
    type Guest: Send;

    /// Whether somebody may attach, and to whom. This alone may take its time: a password is checked slowly on purpose.
    ///
    /// # Errors
    /// [`Code::AccessDenied`], or another reason for the one who tries; [`Code::NotActive`] where the other sub-node of the
    /// pair serves, with its address if that is known.
    fn welcome(&self, visitor: Visitor<'_>) -> impl Future<Output = Result<(Welcome, Self::Guest), Unwelcome>> + Send;
}

/// The way from connections to the machines. None of its methods waits.
pub trait Door: Entrance {
    /// A session begins; what it is to be told goes to `to_session`. The session drains that channel without waiting for
    /// its connection, and ends when more than [`limit::CXIP_QUEUE_BYTES_MAX`] wait for a connection that is slow.
    /// When the last sender is dropped the session ends.
    fn open(&self, guest: Self::Guest, to_session: mpsc::UnboundedSender<ToSession>) -> SessionId;

    /// A session has something to say. Taken, it is answered later in [`ToSession`], with `asker.message`; an asker with
    /// message 0 hears no answer.
    ///
    /// # Errors
    /// Why it is refused at once; [`Code::Busy`] where it may be tried again.
    fn deliver(&self, asker: Asker, input: FromSession) -> Result<(), Fault>;

    /// A session is over; what it held unanswered goes to others.
    fn close(&self, session: SessionId);

    /// Messages are read or written by `work`; whoever counts what that costs does it here.
    fn coding<T>(&self, work: impl FnOnce() -> T) -> T {
        work()
    }
}

/// What the connections of a node share: how much may be in memory for all of them.
#[derive(Debug)]
pub struct Room {
    /// For messages that have come in part.
    assembly: Budget,
    /// Bytes that wait to be sent.
    queued_bytes: AtomicUsize,
}

impl Room {
    /// Bytes of messages that have come in part.
    #[must_use]
    pub fn assembly_bytes(&self) -> usize {
        self.assembly.used()
    }

    /// Bytes that wait to be sent.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes.load(Ordering::Relaxed)
    }
}

impl Default for Room {
    fn default() -> Self {
        Self { assembly: Budget::new(limit::CXIP_ASSEMBLY_BYTES_MAX), queued_bytes: AtomicUsize::new(0) }
    }
}

/// A connection that has come.
#[derive(Debug)]
pub struct Arrival {
    stream: Stream,
    /// What logs call the other side.
    peer: String,
    /// The name in the certificate that it has proved.
    certified: Option<String>,
    proxied: bool,
}

impl Arrival {
    /// Over this stream, from whom logs shall call `peer`.
    pub fn new(stream: impl Into<Stream>, peer: impl fmt::Display) -> Self {
        Self { stream: stream.into(), peer: peer.to_string(), certified: None, proxied: false }
    }

    /// From somebody who has proved a certificate of this name.
    #[must_use]
    pub fn certified(mut self, certified: Option<String>) -> Self {
        self.certified = certified;
        self
    }

    /// Through something on this machine that may let in anybody from elsewhere.
    #[must_use]
    pub fn proxied(mut self) -> Self {
        self.proxied = true;
        self
    }
}

/// A connection whose other side was let in.
#[derive(Debug)]
pub struct Opened<G> {
    /// The connection.
    pub wire: Wire<Stream>,
    /// What logs call the other side.
    pub peer: String,
    /// What the other side calls itself.
    pub name: String,
    /// What the entrance remembers of it.
    pub guest: G,
}

/// Wait for the first message of a connection, and let in whoever sent it, or end it. It may have `granted` messages
/// unacknowledged.
pub async fn open<E: Entrance>(
    arrival: Arrival,
    entrance: &E,
    room: &Room,
    granted: u32,
    stop: &CancellationToken,
) -> Option<Opened<E::Guest>> {
    let Arrival { stream, peer, certified, proxied } = arrival;
    let mut wire = Wire::within(room.assembly.clone(), stream, granted);
    let patience = Duration::from_millis(limit::CXIP_CONNECT_MS_MAX);
    let connected = tokio::select! {
        () = stop.cancelled() => None,
        connected = timeout(patience, connect(&mut wire, certified.as_deref(), proxied, entrance)) => {
            connected.unwrap_or_else(|_| {
                let words = "the connection did not begin with a Connect in time";
                wire.refuse_all(Fault::new(Code::MessageOutOfOrder, words));
                None
            })
        }
    };
    let Some((name, guest)) = connected else {
        tracing::info!(%peer, "a CXIP connection was not admitted");
        wire.finish().await;
        return None;
    };
    Some(Opened { wire, peer, name, guest })
}

/// Serve one connection, from its first message to its end, or until `stop`. Dropped, it ends at once, and the door is told.
pub async fn serve<D: Door>(arrival: Arrival, door: &D, room: &Room, stop: &CancellationToken) {
    let Some(opened) = open(arrival, door, room, limit::CXIP_CREDIT, stop).await else { return };
    let Opened { wire, peer, name, guest } = opened;
    let (to_session, from_machines) = mpsc::unbounded_channel();
    let id = door.open(guest, to_session);
    tracing::info!(%peer, name, session = id.0, "CXIP session begins");
    // Closed whatever happens, also when this task is aborted or panics.
    let open = Open { door, id };
    let mut session = Session {
        id,
        door,
        wire,
        small: VecDeque::new(),
        large: VecDeque::new(),
        waiting: Waiting { room, bytes: 0 },
        performs: HashMap::new(),
        given: HashMap::new(),
        notifies: HashMap::new(),
    };
    let end = session.serve(from_machines, stop).await;
    tracing::info!(%peer, name, session = id.0, %end, "CXIP session ends");
    let Session { wire, .. } = session;
    drop(open);
    wire.finish().await;
}

/// Wait for the Connect that a connection begins with; says who connected. All else is refused.
async fn connect<E: Entrance>(
    wire: &mut Wire<Stream>,
    certified: Option<&str>,
    proxied: bool,
    entrance: &E,
) -> Option<(String, E::Guest)> {
    match wire.receive().await {
        Ok(Incoming::Message { number, message: Message::Connect { name, account, password }, .. }) => {
            let (account, password) = (account.as_ref(), password.as_ref());
            let visitor = Visitor { name: &name, account, password, certified, proxied };
            match entrance.welcome(visitor).await {
                Ok((Welcome { organization, city, mut alternates }, guest)) => {
                    if proxied {
                        // Who needs a proxy cannot go there.
                        alternates.clear();
                    }
                    let tracking = Tracking { word: Some("connected".to_owned()), ..Tracking::default() };
                    wire.acknowledge(number, Acknowledgement { tracking, organization, city, alternates });
                    Some((name, guest))
                }
                Err(Unwelcome { fault, address: Some(address) }) if !proxied => {
                    wire.refuse_with(number, Refusal { address: Some(address), ..Refusal::new(fault) });
                    None
                }
                Err(Unwelcome { fault, .. }) => {
                    wire.refuse(number, fault);
                    None
                }
            }
        }
        Ok(Incoming::Message { number, .. }) => {
            wire.refuse(number, Fault::new(Code::MessageOutOfOrder, "the first message of a connection is a Connect"));
            None
        }
        // What was no message has been refused already.
        Ok(_) | Err(_) => None,
    }
}

/// A session that the machines know of.
struct Open<'d, D: Door> {
    door: &'d D,
    id: SessionId,
}

impl<D: Door> Drop for Open<'_, D> {
    fn drop(&mut self) {
        self.door.close(self.id);
    }
}

/// How a session ended.
enum End {
    Stopped,
    Released,
    Slow,
    Over(Ended),
}

impl fmt::Display for End {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => out.write_str("the node stops"),
            Self::Released => out.write_str("the node let go of it"),
            Self::Slow => write!(out, "more than {} bytes wait for it", limit::CXIP_QUEUE_BYTES_MAX),
            Self::Over(ended) => ended.fmt(out),
        }
    }
}

/// A message that waits to be sent.
struct Queued {
    correlation: u64,
    message: Message,
    bytes: usize,
}

/// What waits for one connection, counted among what waits for all.
struct Waiting<'d> {
    room: &'d Room,
    bytes: usize,
}

impl Waiting<'_> {
    fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.room.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn remove(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.room.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn is_too_much(&self) -> bool {
        self.bytes > limit::CXIP_QUEUE_BYTES_MAX
            || self.bytes > SHARE_BYTES && self.room.queued_bytes() > limit::CXIP_QUEUES_BYTES_MAX
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.remove(self.bytes);
    }
}

struct Session<'d, D: Door> {
    id: SessionId,
    door: &'d D,
    wire: Wire<Stream>,
    /// Messages that wait for the other side's credit, or for room on the wire.
    small: VecDeque<Queued>,
    /// Those that travel in fragments: they must not hold up the others.
    large: VecDeque<Queued>,
    waiting: Waiting<'d>,
    /// Performs that are not acknowledged, by number.
    performs: HashMap<u64, (InvocationId, ServiceName)>,
    /// Invocations that were given to this session, and are neither answered nor withdrawn: of which services.
    given: HashMap<InvocationId, ServiceName>,
    /// Notifications that are not acknowledged, by number: of which topic, to whom, and the publication's number.
    notifies: HashMap<u64, (TopicAddress, SubscriberName, u64)>,
}

impl<D: Door> Session<'_, D> {
    async fn serve(&mut self, mut from_machines: mpsc::UnboundedReceiver<ToSession>, stop: &CancellationToken) -> End {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let mut stopped = pin!(stop.cancelled());
        // Some may have come together with the Connect.
        if let Some(end) = self.take_in_all() {
            return end;
        }
        loop {
            self.send_queued();
            if self.waiting.is_too_much() {
                return End::Slow;
            }
            tokio::select! {
                () = &mut stopped => return End::Stopped,
                taken = from_machines.recv_many(&mut batch, BATCH_MAX) => {
                    if taken == 0 {
                        return End::Released;
                    }
                    batch.drain(..).for_each(|words| self.tell(words));
                }
                // What had come before is taken in already.
                waited = self.wire.wait() => {
                    if let Err(ended) = waited {
                        return End::Over(ended);
                    }
                    if let Some(end) = self.take_in_all() {
                        return end;
                    }
                }
            }
        }
    }

    /// Everything that has come and needs no waiting for.
    fn take_in_all(&mut self) -> Option<End> {
        loop {
            match self.door.coding(|| self.wire.received()) {
                Ok(Some(message)) => self.take_in(message),
                Ok(None) => return None,
                Err(ended) => return Some(End::Over(ended)),
            }
        }
    }

    /// What the machines say.
    fn tell(&mut self, words: ToSession) {
        match words {
            ToSession::Acknowledged { message, tracking } => {
                let acknowledgement = Acknowledgement { tracking, ..Acknowledgement::default() };
                self.door.coding(|| self.wire.acknowledge(message, acknowledgement));
            }
            ToSession::Refused { message, fault } => self.wire.refuse(message, fault),
            ToSession::Perform { service, invocation } => {
                // Its document is the mailbox's, which keeps it until it is answered, and gives no more than the credit.
                let is_large = is_large(invocation.document.as_str().len());
                self.enqueue(0, Message::Perform { service, invocation }, 0, is_large);
            }
            ToSession::Notify { topic, subscriber, notification } => {
                let bytes = notification.document.as_str().len();
                self.enqueue(0, Message::Notify { topic, subscriber, notification }, bytes, is_large(bytes));
            }
            ToSession::Withdraw { invocation } => self.enqueue(0, Message::Withdraw { invocation }, 0, false),
            ToSession::Status { message, status } => self.enqueue(message, Message::Status(status), 0, false),
            ToSession::Respond { message, response } => {
                let bytes = match &response.ending {
                    Ending::Completed(document) => document.as_str().len(),
                    _ => 0,
                };
                self.enqueue(message, Message::Response(response), bytes, is_large(bytes));
            }
        }
    }

    fn enqueue(&mut self, correlation: u64, message: Message, document_bytes: usize, is_large: bool) {
        let bytes = document_bytes + MESSAGE_BYTES;
        self.waiting.add(bytes);
        let queue = if is_large { &mut self.large } else { &mut self.small };
        queue.push_back(Queued { correlation, message, bytes });
    }

    fn send_queued(&mut self) {
        while self.wire.may_send_small() {
            let next = self.small.pop_front();
            let next = next.or_else(|| self.wire.may_send().then(|| self.large.pop_front()).flatten());
            let Some(Queued { correlation, message, bytes }) = next else { return };
            self.waiting.remove(bytes);
            let sent = self.door.coding(|| self.wire.send(correlation, &message));
            match (sent, message) {
                (Ok(number), Message::Perform { service, invocation }) => {
                    self.given.insert(invocation.id, service.clone());
                    self.performs.insert(number, (invocation.id, service));
                }
                (Ok(_), Message::Withdraw { invocation }) => drop(self.given.remove(&invocation)),
                (Ok(number), Message::Notify { topic, subscriber, notification }) => {
                    self.notifies.insert(number, (topic, subscriber, notification.number));
                }
                (Ok(_), _) => (),
                (Err(fault), Message::Notify { topic, subscriber, notification }) => {
                    tracing::error!(session = self.id.0, %topic, %subscriber, %fault, "a publication could not be sent");
                    self.taken(topic, subscriber, notification.number, Taken::Refused);
                }
                (Err(fault), Message::Perform { service, invocation }) => {
                    self.fail(invocation.id, service, fault);
                }
                // Only a document can be so large, and those in replies are bounded like those in requests.
                (Err(fault), _) => tracing::error!(session = self.id.0, %fault, "a message could not be sent"),
            }
        }
    }

    /// What the other side says.
    fn take_in(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Message { number, message, .. } => {
                let delivered = match input(message) {
                    Ok(FromSession::Answer { invocation, service, outcome })
                        if self.given.get(&invocation).is_some_and(|given| *given != service) =>
                    {
                        let what = Unread { invocation, service, outcome: OutcomeKind::of(&outcome) };
                        let fault = Fault::new(
                            Code::ResponseRefused,
                            format!("service {} was not asked for invocation {invocation}", what.service),
                        );
                        self.strayed(what, Why::Foreign);
                        Err(fault)
                    }
                    Ok(input) => {
                        if let FromSession::Answer { invocation, .. } = &input {
                            self.given.remove(invocation);
                        }
                        self.door.deliver(Asker { session: self.id, message: number }, input)
                    }
                    Err(fault) => Err(fault),
                };
                if let Err(fault) = delivered {
                    self.wire.refuse(number, fault);
                }
            }
            Incoming::Unread(unread) => self.strayed(unread, Why::Malformed),
            Incoming::Acknowledged { message, .. } => {
                self.performs.remove(&message);
                if let Some((topic, subscriber, number)) = self.notifies.remove(&message) {
                    self.taken(topic, subscriber, number, Taken::Had);
                }
            }
            Incoming::Refused { message, refusal: Refusal { fault, retry_after_ms, .. } } => {
                if let Some((invocation, service)) = self.performs.remove(&message) {
                    self.fail(invocation, service, fault);
                } else if let Some((topic, subscriber, number)) = self.notifies.remove(&message) {
                    let word = retry_after_ms.map_or(Taken::Refused, |pause_ms| Taken::Later { pause_ms });
                    self.taken(topic, subscriber, number, word);
                } else {
                    tracing::debug!(session = self.id.0, message, %fault, "a message was refused");
                }
            }
        }
    }

    /// What the other side says to a notification. There are only as many as it was given credit for, so a door takes them.
    fn taken(&self, topic: TopicAddress, subscriber: SubscriberName, number: u64, word: Taken) {
        let input = FromSession::Taken { topic, subscriber, number, word };
        if let Err(fault) = self.door.deliver(Asker { session: self.id, message: 0 }, input) {
            tracing::warn!(session = self.id.0, number, %fault, "a subscriber's word could not be delivered");
        }
    }

    /// An answer that is none was refused: whoever waits for the right one records it.
    fn strayed(&self, what: Unread, refusal: Why) {
        let Unread { invocation, service: from, outcome } = what;
        let (service, refusal) = match self.given.get(&invocation) {
            Some(given) if *given != from => (given.clone(), Why::Foreign),
            _ => (from.clone(), refusal),
        };
        let input = FromSession::Strayed { invocation, service, from, outcome, refusal };
        if let Err(fault) = self.door.deliver(Asker { session: self.id, message: 0 }, input) {
            tracing::warn!(session = self.id.0, %invocation, %fault, "an answer that is none could not be recorded");
        }
    }

    /// The session does not perform this: for the machines that is its answer.
    fn fail(&mut self, invocation: InvocationId, service: ServiceName, fault: Fault) {
        self.given.remove(&invocation);
        let answer = FromSession::Answer { invocation, service, outcome: Outcome::Failed(fault) };
        if let Err(fault) = self.door.deliver(Asker { session: self.id, message: 0 }, answer) {
            // Its owner asks again or gives up at the deadline.
            tracing::warn!(session = self.id.0, %invocation, %fault, "a service's refusal could not be delivered");
        }
    }
}

/// Whether a message with such a document travels in fragments, or may.
fn is_large(document_bytes: usize) -> bool {
    document_bytes + MESSAGE_BYTES > limit::CXIP_FRAGMENT_BYTES_MAX
}

/// What a message asks of the node.
fn input(message: Message) -> Result<FromSession, Fault> {
    let out_of_order = |words: &str| Err(Fault::new(Code::MessageOutOfOrder, words));
    Ok(match message {
        Message::Register { service, credit } => {
            FromSession::Register { service, credit: credit.min(limit::SESSION_CREDIT_MAX) }
        }
        Message::Submit { definition, transaction, document } => {
            FromSession::Submit { transaction, definition, document }
        }
        Message::Await { transaction } => FromSession::Await { transaction },
        Message::Query { transaction } => FromSession::Query { transaction },
        Message::Cancel { transaction } => FromSession::Cancel { transaction },
        Message::Signal { transaction, signal, document } => FromSession::Signal { transaction, signal, document },
        Message::Publish { topic, publication, public, document } => {
            FromSession::Publish { topic, publication, public, document }
        }
        Message::Subscribe { topic, subscriber, credit } => {
            FromSession::Subscribe { topic, subscriber, credit: credit.min(limit::SESSION_CREDIT_MAX) }
        }
        Message::Unsubscribe { topic, subscriber } => FromSession::Unsubscribe { topic, subscriber },
        Message::Completed { invocation, service, document } => {
            FromSession::Answer { invocation, service, outcome: Outcome::Completed(document) }
        }
        Message::Failed { invocation, service, fault } => {
            FromSession::Answer { invocation, service, outcome: Outcome::Failed(fault) }
        }
        Message::Connect { .. } => return out_of_order("the connection is open already"),
        Message::Administer { .. } => {
            return out_of_order("administration is not spoken here, but at cxip.admin_listen");
        }
        Message::Perform { .. }
        | Message::Withdraw { .. }
        | Message::Administered { .. }
        | Message::Notify { .. }
        | Message::Response(_)
        | Message::Status(_) => {
            return out_of_order("only a node sends such a message");
        }
        Message::Acknowledged(_) | Message::Refused(_) | Message::Probe => {
            return out_of_order("an Acknowledge is not a request");
        }
    })
}
