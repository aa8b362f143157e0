//! The administration port (T14): a second CXIP listener, on which accounts that have the right ask what the
//! administration socket answers. One task a connection: it takes requests as they come, has a few worked on at once, and
//! sends each answer when it is there. What is asked and answered is [`crate::admin`]'s business, who may ask the
//! [`Office`]'s.

use super::Attendant;
use crate::{
    admin::{self, Administration, protocol::Request},
    shutdown::Shutdown,
};
use hansa_core::{
    code::{Code, Fault},
    limit,
    session::Tracking,
};
use hansa_sdk::{
    Welcome,
    cxip::{
        Acknowledgement, Incoming, Message, Stream, Wire,
        session::{self, Arrival, Entrance, Opened, Room, Unwelcome, Visitor},
    },
};
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What the administration port is the port of.
pub trait Office: Entrance {
    /// What answers there.
    type Administration: Administration;

    /// That.
    fn administration(&self) -> &Self::Administration;

    /// Let somebody in who comes to the administration port: also while this sub-node follows, and lets in nobody else.
    ///
    /// # Errors
    /// Why not.
    fn receive(&self, visitor: Visitor<'_>) -> impl Future<Output = Result<(Welcome, Self::Guest), Unwelcome>> + Send;

    /// Whether somebody who was let in may administer, now.
    ///
    /// # Errors
    /// [`Code::AccessDenied`], with what would have to be granted.
    fn may_administer(&self, guest: &Self::Guest) -> Result<(), Fault>;
}

/// Serves the connections of the administration port.
pub struct Desk<O> {
    office: Arc<O>,
    /// Triggered when somebody asks the node to stop.
    shutdown: Shutdown,
    /// Bytes of requests that wait or are worked on.
    requests_bytes: Arc<AtomicUsize>,
}

impl<O: Office> Desk<O> {
    /// A desk of this office.
    pub fn new(office: Arc<O>, shutdown: Shutdown) -> Self {
        Self { office, shutdown, requests_bytes: Arc::default() }
    }
}

impl<O: Office> Entrance for Desk<O> {
    type Guest = O::Guest;

    /// Whoever may not administer has nothing to do here, and hears so at once.
    /// Where the other sub-node is reached is not said: those addresses are of the other port.
    async fn welcome(&self, visitor: Visitor<'_>) -> Result<(Welcome, Self::Guest), Unwelcome> {
        let (welcome, guest) = self.office.receive(visitor).await.map_err(|unwelcome| unwelcome.fault)?;
        self.office.may_administer(&guest)?;
        Ok((Welcome { alternates: Vec::new(), ..welcome }, guest))
    }
}

impl<O: Office> Attendant for Desk<O>
where
    O::Guest: Sync,
{
    const KEY: &'static str = "cxip.admin_listen";
    const CONNECTIONS_MAX: usize = limit::ADMIN_CONNECTIONS_MAX;

    async fn attend(&self, arrival: Arrival, room: &Room, stop: &CancellationToken) {
        let Some(opened) = session::open(arrival, self, room, limit::ADMIN_CREDIT, stop).await else { return };
        let Opened { wire, peer, name, guest } = opened;
        tracing::info!(%peer, name, "an administrator is connected");
        let (waiting, at_work, answers) = (VecDeque::new(), JoinSet::new(), VecDeque::new());
        let mut conversation = Conversation { desk: self, guest, wire, waiting, at_work, answers };
        let why = conversation.hold(stop).await;
        tracing::info!(%peer, name, why, "an administrator is gone");
        conversation.wire.finish().await;
    }
}

/// Bytes of a request, counted among those of all connections for as long as it waits or is worked on.
struct Held {
    all: Arc<AtomicUsize>,
    bytes: usize,
}

impl Held {
    fn take(all: &Arc<AtomicUsize>, bytes: usize) -> Result<Self, Fault> {
        let held = Self { all: Arc::clone(all), bytes };
        if all.fetch_add(bytes, Ordering::Relaxed) + bytes > limit::ADMIN_REQUESTS_BYTES_MAX {
            return Err(Fault::new(Code::Busy, "the node has as many large requests of administrators as it takes"));
        }
        Ok(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A request that nobody has begun with. It is not acknowledged.
struct Waiting {
    number: u64,
    request: String,
    held: Held,
}

/// An answer of which a part is still to be sent.
struct Answered {
    correlation: u64,
    json: String,
    /// Up to where it is sent.
    sent: usize,
    /// Whether the node stops when it is on its way.
    stops: bool,
}

struct Conversation<'d, O: Office> {
    desk: &'d Desk<O>,
    guest: O::Guest,
    wire: Wire<Stream>,
    waiting: VecDeque<Waiting>,
    /// Requests that are worked on; all are given up with the connection.
    at_work: JoinSet<Answered>,
    answers: VecDeque<Answered>,
}

impl<O: Office> Conversation<'_, O> {
    /// Until it is over; says why that is.
    async fn hold(&mut self, stop: &CancellationToken) -> String {
        loop {
            // Some may have come together with the Connect.
            loop {
                match self.wire.received() {
                    Ok(Some(incoming)) => self.take_in(incoming),
                    Ok(None) => break,
                    Err(ended) => return ended.to_string(),
                }
            }
            self.begin();
            self.send();
            tokio::select! {
                () = stop.cancelled() => return "the node stops".to_owned(),
                Some(done) = self.at_work.join_next(), if !self.at_work.is_empty() => match done {
                    Ok(answered) => self.answers.push_back(answered),
                    Err(error) => {
                        // Nobody knows which request it was.
                        tracing::error!(%error, "a request of an administrator did not come to its end");
                        return "a request did not come to its end".to_owned();
                    }
                },
                waited = self.wire.wait() => {
                    if let Err(ended) = waited {
                        return ended.to_string();
                    }
                }
            }
        }
    }

    fn take_in(&mut self, incoming: Incoming) {
        let Incoming::Message { number, message, .. } = incoming else { return };
        let taken = match message {
            Message::Administer { request } => Held::take(&self.desk.requests_bytes, request.len())
                .map(|held| self.waiting.push_back(Waiting { number, request, held })),
            Message::Connect { .. } => Err(Fault::new(Code::MessageOutOfOrder, "the connection is open already")),
            _ => Err(Fault::new(Code::MessageOutOfOrder, "at the administration port there is only Administer")
                .help("connect to the node's other CXIP port (cxip.listen) for everything else")),
        };
        if let Err(fault) = taken {
            self.wire.refuse(number, fault);
        }
    }

    /// Begin with as many requests as may be worked on. What cannot be sent keeps others waiting.
    fn begin(&mut self) {
        while self.at_work.len() + self.answers.len() < limit::ADMIN_REQUESTS_MAX {
            let Some(Waiting { number, request, held }) = self.waiting.pop_front() else { return };
            // By the rights that the account has now, not those that it had when it connected.
            let read = self.desk.office.may_administer(&self.guest).and_then(|()| admin::read(request.as_bytes()));
            match read {
                Err(fault) => self.wire.refuse(number, fault),
                Ok(request) => {
                    let tracking = Tracking { word: Some("begun".to_owned()), ..Tracking::default() };
                    self.wire.acknowledge(number, Acknowledgement { tracking, ..Acknowledgement::default() });
                    let office = Arc::clone(&self.desk.office);
                    self.at_work.spawn(async move {
                        let stops = matches!(request, Request::Stop);
                        let reply = admin::reply(office.administration(), request).await;
                        drop(held);
                        Answered { correlation: number, json: admin::write(&reply), sent: 0, stops }
                    });
                }
            }
        }
    }

    /// Send of the answers what the wire takes, each in order, the oldest first.
    fn send(&mut self) {
        while self.wire.may_send() {
            let Some(answered) = self.answers.front_mut() else { return };
            let rest = &answered.json[answered.sent..];
            let part = &rest[..part(rest)];
            let more = part.len() < rest.len();
            let message = Message::Administered { answer: part.to_owned(), more };
            answered.sent += part.len();
            if let Err(fault) = self.wire.send(answered.correlation, &message) {
                // A part is far smaller than a message may be.
                tracing::error!(%fault, "an answer to an administrator could not be sent");
            }
            if !more {
                if answered.stops {
                    tracing::info!("stopping, as asked at the administration port");
                    self.desk.shutdown.trigger();
                }
                self.answers.pop_front();
            }
        }
    }
}

/// How much of it fits into one message.
fn part(json: &str) -> usize {
    let mut end = json.len().min(limit::ADMIN_PART_BYTES_MAX);
    while !json.is_char_boundary(end) {
        end -= 1;
    }
    end
}
