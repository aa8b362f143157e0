//! The listener and the SDK together, over real sockets, with a door behind which the test itself plays the machines.

mod administration;
mod client;
mod http;
mod notify;
mod service;
mod wire;

use super::{Desk, Door, Listener, Office, Security};
use hansa_core::{
    code::{Code, Fault},
    document::Text,
    ident::{InvocationId, OrganizationId, TransactionId},
    invocation::{Context, Invocation, Outcome, Target},
    limit,
    moment::Moment,
    session::{Asker, Ending, FromSession, Response, SessionId, Status, ToSession, Tracking},
};
use hansa_sdk::{
    Client, Request, Service, Welcome,
    cxip::session::{Entrance, Unwelcome, Visitor},
    cxip::{Incoming, Message, Wire},
};
use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{net::TcpStream, sync::mpsc, time::timeout};

/// What the machines would hear.
#[derive(Debug)]
enum Heard {
    Said(Asker, FromSession),
    Closed(SessionId),
}

/// The door, and the test behind it.
struct Pretended {
    sessions: Mutex<HashMap<SessionId, mpsc::UnboundedSender<ToSession>>>,
    last: AtomicU64,
    /// How many deliveries to refuse as busy.
    busy: AtomicU32,
    hears: mpsc::UnboundedSender<Heard>,
}

impl Entrance for Pretended {
    type Guest = ();

    async fn welcome(&self, visitor: Visitor<'_>) -> Result<(Welcome, ()), Unwelcome> {
        let name = visitor.name;
        if name == "burglar" || visitor.password.is_some_and(|password| password.0 != "open sesame") {
            return Err(Fault::new(Code::AccessDenied, format!("{name} has no key")).into());
        }
        let (organization, city) = ("Acme BV".parse().unwrap(), "Rotterdam".parse().unwrap());
        Ok((Welcome { organization: Some(organization), city: Some(city), alternates: Vec::new() }, ()))
    }
}

impl Door for Pretended {
    fn open(&self, (): (), to_session: mpsc::UnboundedSender<ToSession>) -> SessionId {
        let id = SessionId(self.last.fetch_add(1, Ordering::SeqCst) + 1);
        self.sessions.lock().unwrap().insert(id, to_session);
        id
    }

    fn deliver(&self, asker: Asker, input: FromSession) -> Result<(), Fault> {
        if self.busy.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |busy| busy.checked_sub(1)).is_ok() {
            return Err(Fault::new(Code::Busy, "the node is busy"));
        }
        self.hears.send(Heard::Said(asker, input)).unwrap();
        Ok(())
    }

    fn close(&self, session: SessionId) {
        self.sessions.lock().unwrap().remove(&session);
        // A test that is over hears nothing any more.
        let _ = self.hears.send(Heard::Closed(session));
    }
}

struct Node {
    door: Arc<Pretended>,
    hears: mpsc::UnboundedReceiver<Heard>,
    listener: Listener,
}

impl Node {
    async fn start() -> Self {
        let (hears, heard) = mpsc::unbounded_channel();
        let door =
            Arc::new(Pretended { sessions: Mutex::default(), last: AtomicU64::new(0), busy: AtomicU32::new(0), hears });
        let listener = Listener::start("127.0.0.1:0", Security::None, Arc::clone(&door)).await.unwrap();
        Self { door, hears: heard, listener }
    }

    fn address(&self) -> String {
        self.listener.address().to_string()
    }

    /// What the machines are told next, closed sessions aside.
    async fn said(&mut self) -> (Asker, FromSession) {
        loop {
            if let Heard::Said(asker, input) = soon(self.hears.recv()).await.unwrap() {
                return (asker, input);
            }
        }
    }

    async fn closed(&mut self) -> SessionId {
        loop {
            if let Heard::Closed(session) = soon(self.hears.recv()).await.unwrap() {
                return session;
            }
        }
    }

    fn tell(&self, session: SessionId, words: ToSession) {
        // A session that is over hears nothing any more.
        let _ = self.door.sessions.lock().unwrap()[&session].send(words);
    }

    fn acknowledge(&self, asker: Asker) {
        let tracking = Tracking { word: Some("taken".to_owned()), ..Tracking::default() };
        self.tell(asker.session, ToSession::Acknowledged { message: asker.message, tracking });
    }

    fn refuse(&self, asker: Asker, fault: Fault) {
        self.tell(asker.session, ToSession::Refused { message: asker.message, fault });
    }

    fn perform(&self, session: SessionId, invocation: &Invocation) {
        let (service, invocation) = ("credit".parse().unwrap(), invocation.clone());
        self.tell(session, ToSession::Perform { service, invocation });
    }

    fn respond(&self, asker: Asker, transaction: TransactionId) {
        self.respond_with(asker, transaction, text("<Done/>"));
    }

    fn respond_with(&self, asker: Asker, transaction: TransactionId, document: Text) {
        let ending = Ending::Completed(document);
        let response = Response { transaction, definition: "purchase".parse().unwrap(), ending, durability: None };
        self.tell(asker.session, ToSession::Respond { message: asker.message, response });
    }

    /// Break a connection the hard way.
    fn cut(&self, session: SessionId) {
        self.door.sessions.lock().unwrap().remove(&session);
    }

    /// A registration arrives and is acknowledged.
    async fn registers(&mut self) -> SessionId {
        let (asker, input) = self.said().await;
        assert!(matches!(input, FromSession::Register { .. }), "{input:?}");
        self.acknowledge(asker);
        asker.session
    }

    /// An answer arrives and is acknowledged.
    async fn answers(&mut self) -> (SessionId, InvocationId, Outcome) {
        let (asker, input) = self.said().await;
        let FromSession::Answer { invocation, outcome, .. } = input else { panic!("an answer, not {input:?}") };
        self.acknowledge(asker);
        (asker.session, invocation, outcome)
    }

    /// A raw connection that has said who it is.
    async fn attach_by_hand(&self, granted: u32) -> Wire<TcpStream> {
        let mut wire = Wire::new(TcpStream::connect(self.address()).await.unwrap(), granted);
        wire.send(0, &Message::Connect { name: "by hand".to_owned(), account: None, password: None }).unwrap();
        assert!(matches!(soon(wire.receive()).await, Ok(Incoming::Acknowledged { message: 1, .. })));
        wire
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), future).await.expect("it takes no half a minute")
}

fn text(xml: &str) -> Text {
    Text::parse(xml.as_bytes()).unwrap()
}

fn invocation(id: u128) -> Invocation {
    Invocation {
        id: InvocationId(id),
        context: Context {
            organization: OrganizationId([7; 32]),
            transaction: TransactionId(5),
            definition: "purchase".parse().unwrap(),
            operation: 2,
            attempt: 1,
            priority: 0,
            hops: 3,
        },
        target: Target { operation: "check-credit".parse().unwrap(), service: None },
        document: text("<Order total='250'/>"),
        deadline: Some(Moment(9)),
    }
}
