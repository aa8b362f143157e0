//! The listener and the SDK together, over real sockets, with a door behind which the test itself plays the machines.

mod administration;
mod http;
mod notify;

use super::{Desk, Door, Listener, Office, Security};
use bytes::BytesMut;
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
    cxip::session::{Entrance, Visitor},
    cxip::{Ended, Frame, HEADER_BYTES, Incoming, MAGIC, Message, NAMESPACE, Wire, decode},
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
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    time::timeout,
};

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

    async fn welcome(&self, visitor: Visitor<'_>) -> Result<(Welcome, ()), Fault> {
        let name = visitor.name;
        if name == "burglar" || visitor.password.is_some_and(|password| password.0 != "open sesame") {
            return Err(Fault::new(Code::AccessDenied, format!("{name} has no key")));
        }
        let (organization, city) = ("Acme BV".parse().unwrap(), "Rotterdam".parse().unwrap());
        Ok((Welcome { organization: Some(organization), city: Some(city) }, ()))
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
        let response = Response { transaction, definition: "purchase".parse().unwrap(), ending };
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

/// A service whose handler counts its calls, and in which an order of 666 is bad luck.
fn counting(calls: &Arc<AtomicU32>) -> Service {
    let calls = Arc::clone(calls);
    Service::new("credit")
        .unwrap()
        .operation("check-credit", move |request: Request| {
            let calls = Arc::clone(&calls);
            async move {
                calls.fetch_add(1, Ordering::SeqCst);
                let order = request.document().tree()?;
                match order.root.attribute("total") {
                    Some("666") => panic!("bad luck"),
                    Some("13") => Err(Fault::new(Code::OperationFailed, "no credit")),
                    _ => Ok(text("<Credit granted='true'/>")),
                }
            }
        })
        .unwrap()
}

// T15: connect, register, sign up for operations, receive requests, answer.
#[tokio::test]
async fn a_service_registers_is_asked_and_answers() {
    let (mut node, calls) = (Node::start().await, Arc::new(AtomicU32::new(0)));
    let (address, service) = (node.address(), counting(&calls).public(true).credit(8));
    let attaching = tokio::spawn(async move { service.attach(&address).await });
    let (asker, input) = node.said().await;
    let FromSession::Register { service, credit } = input else { panic!("it registers first") };
    assert_eq!((service.name.as_str(), service.public, credit), ("credit", true, 8));
    assert_eq!(service.operations, ["check-credit".parse().unwrap()]);
    node.acknowledge(asker);
    let running = soon(attaching).await.unwrap().unwrap();
    assert!(running.is_connected());
    assert_eq!(running.welcome().organization, Some("Acme BV".parse().unwrap()));

    node.perform(asker.session, &invocation(1));
    let answered = node.answers().await;
    assert_eq!(answered, (asker.session, InvocationId(1), Outcome::Completed(text("<Credit granted='true'/>"))));

    // The handler's own refusal, its panic, and an operation that it does not have fail that one request.
    node.perform(asker.session, &Invocation { document: text("<Order total='13'/>"), ..invocation(2) });
    node.perform(asker.session, &Invocation { document: text("<Order total='666'/>"), ..invocation(3) });
    let target = Target { operation: "fly".parse().unwrap(), service: None };
    node.perform(asker.session, &Invocation { target, ..invocation(4) });
    let mut failed = HashMap::new();
    for _ in 0..3 {
        let (_, id, outcome) = node.answers().await;
        let Outcome::Failed(fault) = outcome else { panic!("they all fail") };
        failed.insert(id.0, fault.message);
    }
    assert_eq!(failed[&2], "no credit");
    assert!(failed[&3].contains("panicked") && failed[&4].contains("fly"), "{failed:?}");

    let stopping = tokio::spawn(running.stop());
    assert_eq!(node.closed().await, asker.session);
    soon(stopping).await.unwrap();
}

// T5, T15: the effect happens once, whatever becomes of the connection.
#[tokio::test]
async fn a_service_whose_connection_breaks_comes_back_and_performs_nothing_twice() {
    let (mut node, calls) = (Node::start().await, Arc::new(AtomicU32::new(0)));
    let (go, may_go) = tokio::sync::watch::channel(false);
    let counted = Arc::clone(&calls);
    let service = Service::new("credit")
        .unwrap()
        .operation("check-credit", move |_| {
            let (counted, mut may_go) = (Arc::clone(&counted), may_go.clone());
            async move {
                counted.fetch_add(1, Ordering::SeqCst);
                may_go.wait_for(|go| *go).await.unwrap();
                Ok(text("<Credit granted='true'/>"))
            }
        })
        .unwrap();
    let address = node.address();
    let attaching = tokio::spawn(async move { service.attach(&address).await });
    let first = node.registers().await;
    let running = soon(attaching).await.unwrap().unwrap();

    // In the middle of the work the connection breaks; the node asks again; the work is not done again.
    node.perform(first, &invocation(1));
    soon(async {
        while calls.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await
        }
    })
    .await;
    node.cut(first);
    let second = node.registers().await;
    node.perform(second, &invocation(1));
    go.send_replace(true);
    let (asker, input) = node.said().await;
    assert!(matches!(&input, FromSession::Answer { invocation: InvocationId(1), .. }), "{input:?}");
    assert_eq!(asker.session, second);

    // The answer is not acknowledged and the connection breaks again: it is sent again without being asked for.
    node.cut(second);
    let third = node.registers().await;
    let (session, id, _) = node.answers().await;
    assert_eq!((session, id), (third, InvocationId(1)));

    // Even what was acknowledged is answered from memory when it is asked once more.
    node.perform(third, &invocation(1));
    assert_eq!(node.answers().await.1, InvocationId(1));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    drop(running);
}

#[tokio::test]
async fn a_service_repeats_an_answer_for_which_the_node_was_busy_and_forgets_one_that_nobody_waits_for() {
    let (mut node, calls) = (Node::start().await, Arc::new(AtomicU32::new(0)));
    let (address, service) = (node.address(), counting(&calls));
    let attaching = tokio::spawn(async move { service.attach(&address).await });
    let session = node.registers().await;
    let running = soon(attaching).await.unwrap().unwrap();
    node.door.busy.store(2, Ordering::SeqCst);
    node.perform(session, &invocation(1));
    assert_eq!(node.answers().await.1, InvocationId(1), "the third attempt gets through");

    node.perform(session, &invocation(2));
    let (asker, _) = node.said().await;
    node.refuse(asker, Fault::new(Code::ResponseRefused, "nobody waits for it"));
    node.perform(session, &invocation(3));
    assert_eq!(node.answers().await.1, InvocationId(3));
    drop(running);
}

#[tokio::test]
async fn a_withdrawn_invocation_tells_its_handler_and_brings_no_answer() {
    let mut node = Node::start().await;
    let (told, mut hears) = mpsc::unbounded_channel();
    let service = Service::new("credit")
        .unwrap()
        .operation("check-credit", move |request: Request| {
            let told = told.clone();
            async move {
                told.send("begun").unwrap();
                request.cancellation().cancelled().await;
                told.send("cancelled").unwrap();
                Ok(text("<Late/>"))
            }
        })
        .unwrap();
    let address = node.address();
    let attaching = tokio::spawn(async move { service.attach(&address).await });
    let session = node.registers().await;
    let running = soon(attaching).await.unwrap().unwrap();
    node.perform(session, &invocation(1));
    assert_eq!(soon(hears.recv()).await, Some("begun"));
    node.tell(session, ToSession::Withdraw { invocation: InvocationId(1) });
    assert_eq!(soon(hears.recv()).await, Some("cancelled"));
    soon(running.stop()).await;
    while let Ok(heard) = node.hears.try_recv() {
        assert!(!matches!(heard, Heard::Said(..)), "no answer came: {heard:?}");
    }
}

#[tokio::test]
async fn whoever_is_refused_is_told_why() {
    let (mut node, calls) = (Node::start().await, Arc::new(AtomicU32::new(0)));
    let fault = Client::connect(&node.address(), "burglar").await.unwrap_err();
    assert_eq!(fault.code, Code::AccessDenied);
    let fault = Client::named("erp").password("guess").connect(&node.address()).await.unwrap_err();
    assert_eq!(fault.code, Code::AccessDenied);
    Client::named("erp").password("open sesame").connect(&node.address()).await.unwrap();

    let (address, service) = (node.address(), counting(&calls));
    let attaching = tokio::spawn(async move { service.attach(&address).await });
    let (asker, _) = node.said().await;
    node.refuse(asker, Fault::new(Code::ServiceConflict, "the name is reserved"));
    assert_eq!(soon(attaching).await.unwrap().unwrap_err().code, Code::ServiceConflict);

    let address = node.address();
    node.listener.stop().await;
    let fault = counting(&calls).attach(&address).await.unwrap_err();
    assert_eq!(fault.code, Code::NodeStopped);
    assert!(fault.message.contains(&address), "{fault}");
}

// T4: submit, response, status, cancel.
#[tokio::test]
async fn a_client_submits_asks_and_hears_how_it_ended() {
    let mut node = Node::start().await;
    let client = Client::connect(&node.address(), "erp").await.unwrap();
    let submitting = tokio::spawn({
        let client = client.clone();
        async move { client.submit("purchase", text("<Order/>")).await }
    });
    let (submitted, input) = node.said().await;
    let FromSession::Submit { transaction: Some(id), definition, document } = input else { panic!("it submits") };
    assert_eq!((definition.as_str(), document.as_str()), ("purchase", "<Order/>"));
    node.acknowledge(submitted);
    let mut submission = soon(submitting).await.unwrap().unwrap();
    assert_eq!((submission.transaction(), submission.tracking().word.as_deref()), (id, Some("taken")));

    let asking = tokio::spawn({
        let client = client.clone();
        async move { (client.query(id).await, client.cancel(id).await, client.query(TransactionId(1)).await) }
    });
    let (asker, input) = node.said().await;
    assert_eq!(input, FromSession::Query { transaction: id });
    node.acknowledge(asker);
    let status = Status {
        transaction: id,
        definition: "purchase".parse().unwrap(),
        state: "running".to_owned(),
        operations_ended: 1,
        operations: 4,
    };
    node.tell(asker.session, ToSession::Status { message: asker.message, status: status.clone() });
    let (asker, input) = node.said().await;
    assert_eq!(input, FromSession::Cancel { transaction: id });
    node.acknowledge(asker);
    let (asker, _) = node.said().await;
    node.refuse(asker, Fault::new(Code::TransactionUnknown, "there is no such transaction"));
    let (queried, cancelled, unknown) = soon(asking).await.unwrap();
    assert_eq!((queried, cancelled), (Ok(status), Ok(())));
    assert_eq!(unknown.unwrap_err().code, Code::TransactionUnknown);

    node.respond(submitted, id);
    let response = soon(submission.response()).await.unwrap();
    assert_eq!(response.ending, Ending::Completed(text("<Done/>")));
    assert_eq!(soon(submission.response()).await.unwrap(), response, "asked again it says the same");
    drop((client, submission));
    assert_eq!(node.closed().await, submitted.session, "the last handle takes the connection along");
}

// T4: accepted once, answered once, over any number of connections.
#[tokio::test]
async fn a_submission_survives_broken_connections_under_one_id() {
    let mut node = Node::start().await;
    let client = Client::connect(&node.address(), "erp").await.unwrap();
    let submitting = tokio::spawn(async move { client.submit("purchase", text("<Order/>")).await });
    let (first, input) = node.said().await;
    node.cut(first.session);
    let (second, again) = node.said().await;
    assert_eq!(input, again, "the same submission, under the same id");
    node.acknowledge(second);
    let mut submission = soon(submitting).await.unwrap().unwrap();
    node.cut(second.session);
    let (third, input) = node.said().await;
    assert_eq!(input, FromSession::Await { transaction: submission.transaction() }, "it is taken, so it only waits");
    node.acknowledge(third);

    // Also over a node that is stopped and started again.
    let address = node.address();
    node.listener.stop().await;
    node.listener = Listener::start(&address, Security::None, Arc::clone(&node.door)).await.unwrap();
    let (fourth, _) = node.said().await;
    node.acknowledge(fourth);
    node.respond(fourth, submission.transaction());
    assert_eq!(soon(submission.response()).await.unwrap().ending.word(), "completed");
}

#[tokio::test]
async fn a_client_repeats_what_the_node_was_too_busy_for_and_reports_every_other_refusal() {
    let mut node = Node::start().await;
    node.door.busy.store(3, Ordering::SeqCst);
    let client = Client::connect(&node.address(), "erp").await.unwrap();
    let submitting = tokio::spawn(async move { client.submit("purchase", text("<Order/>")).await });
    let (asker, _) = node.said().await;
    assert_eq!(asker.message, 5, "the Connect, three that found the node busy, and this one");
    let fault = Fault::new(Code::DefinitionUnknown, "there is no definition purchase");
    node.refuse(asker, fault.clone());
    assert_eq!(soon(submitting).await.unwrap().unwrap_err(), fault);
}

#[tokio::test]
async fn a_client_has_no_more_submissions_open_than_it_may() {
    let mut node = Node::start().await;
    let client = Client::named("erp").submissions_open_max(1).connect(&node.address()).await.unwrap();
    let (one, other) = (client.clone(), client);
    let first = tokio::spawn(async move { one.submit("purchase", text("<Order/>")).await });
    let (asker, input) = node.said().await;
    let FromSession::Submit { transaction: Some(id), .. } = input else { panic!("it submits") };
    node.acknowledge(asker);
    drop(soon(first).await.unwrap().unwrap());
    let second = tokio::spawn(async move { other.submit("purchase", text("<Order/>")).await });
    tokio::task::yield_now().await;
    assert!(node.hears.try_recv().is_err(), "the next one waits");
    node.respond(asker, id);
    let (asker, _) = node.said().await;
    node.acknowledge(asker);
    soon(second).await.unwrap().unwrap();
}

fn header(kind: u8, number: u64, content_bytes: u32) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, kind, 0, 0]);
    bytes.extend(number.to_be_bytes());
    bytes.extend(0u64.to_be_bytes());
    bytes.extend(content_bytes.to_be_bytes());
    bytes.extend(1u32.to_be_bytes());
    assert_eq!(bytes.len(), HEADER_BYTES);
    bytes
}

fn message(kind: u8, number: u64, content: &str) -> Vec<u8> {
    [&header(kind, number, content.len() as u32), content.as_bytes()].concat()
}

/// Everything that the node answers to these bytes until it closes the connection.
async fn answers_until_the_end(address: &str, bytes: &[u8]) -> Vec<Frame> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let (mut arrived, mut frames) = (BytesMut::new(), Vec::new());
    while soon(stream.read_buf(&mut arrived)).await.unwrap() > 0 {}
    while let Some(frame) = decode(&mut arrived).unwrap() {
        frames.push(frame);
    }
    frames
}

fn refusal(frame: &Frame) -> (u64, Code) {
    match &frame.message {
        Ok(Message::Refused(refusal)) => (frame.header.correlation, refusal.fault.code),
        other => panic!("a refusal, not {other:?}"),
    }
}

// DESIGN invariant 5: bytes from outside never hurt.
#[tokio::test]
async fn what_is_no_message_is_answered_clearly_and_the_listener_lives_on() {
    let node = Node::start().await;
    let mut newer = header(1, 1, 0);
    newer[4] = 2;
    let mut flagged = header(1, 1, 0);
    flagged[7] = 2;
    for (bytes, answer) in [
        (b"GET / HTTP/1.1\r\nHost: node\r\n\r\n".to_vec(), (0, Code::MessageMalformed)),
        (newer, (0, Code::VersionUnknown)),
        (header(77, 1, 0), (1, Code::MessageMalformed)),
        (flagged, (1, Code::MessageMalformed)),
        (header(1, 0, 0), (0, Code::MessageMalformed)),
        (header(1, 1, u32::MAX), (1, Code::MessageTooLarge)),
    ] {
        let answers = answers_until_the_end(&node.address(), &bytes).await;
        assert_eq!(answers.iter().map(refusal).collect::<Vec<_>>(), [answer]);
    }
    Client::connect(&node.address(), "erp").await.unwrap();
}

#[tokio::test]
async fn a_connection_begins_with_a_connect() {
    let node = Node::start().await;
    let query = format!("<Query xmlns='{NAMESPACE}' transaction='{}'/>", TransactionId(5));
    let answers = answers_until_the_end(&node.address(), &message(1, 1, &query)).await;
    assert_eq!(answers.iter().map(refusal).collect::<Vec<_>>(), [(1, Code::MessageOutOfOrder)]);
}

#[tokio::test]
async fn a_message_that_is_wrong_in_itself_is_refused_and_the_connection_goes_on() {
    let mut node = Node::start().await;
    let torn = format!("<Submit xmlns='{NAMESPACE}' definition='purchase'><Order></Submit>");
    let query = format!("<Query xmlns='{NAMESPACE}' transaction='{}'/>", TransactionId(5));
    let connect = format!("<Connect xmlns='{NAMESPACE}' name='by hand' version='1'/>");
    let withdraw = format!("<Withdraw xmlns='{NAMESPACE}' invocation='{}'/>", InvocationId(5));
    let bytes = [
        message(1, 1, &connect),
        message(1, 2, &torn),
        message(4, 3, &format!("<Broadcast xmlns='{NAMESPACE}'/>")),
        message(1, 4, &connect),
        message(3, 5, &withdraw),
        message(1, 6, &query),
        // The count of messages goes back, and so the connection ends.
        message(1, 6, &query),
    ]
    .concat();
    let answers = answers_until_the_end(&node.address(), &bytes).await;
    assert!(matches!(&answers[0].message, Ok(Message::Acknowledged(connected)) if connected.city.is_some()));
    let refusals: Vec<_> = answers[1..].iter().map(refusal).collect();
    let expected = [
        (2, Code::DocumentMalformed),
        (3, Code::MessageUnsupported),
        (4, Code::MessageOutOfOrder),
        (5, Code::MessageOutOfOrder),
        (6, Code::MessageOutOfOrder),
    ];
    assert_eq!(refusals, expected);
    let (asker, input) = node.said().await;
    assert_eq!((asker.message, input), (6, FromSession::Query { transaction: TransactionId(5) }));
}

// T13, and the credit of the header: what is unacknowledged is bounded, both ways.
#[tokio::test]
async fn the_node_keeps_to_the_credit_it_was_granted_and_holds_others_to_the_one_it_grants() {
    let mut node = Node::start().await;
    let mut wire = node.attach_by_hand(1).await;
    let service = hansa_core::offer::Service {
        name: "credit".parse().unwrap(),
        operations: vec!["check-credit".parse().unwrap()],
        public: false,
    };
    wire.send(0, &Message::Register { service, credit: 100 }).unwrap();
    let registering = tokio::spawn(async move {
        assert!(matches!(soon(wire.receive()).await, Ok(Incoming::Acknowledged { .. })));
        wire
    });
    let session = node.registers().await;
    let mut wire = soon(registering).await.unwrap();
    for id in 1..=3 {
        node.perform(session, &invocation(id));
    }
    for id in 1..=3 {
        let Ok(Incoming::Message { number, message: Message::Perform { invocation, .. }, .. }) =
            soon(wire.receive()).await
        else {
            panic!("a Perform")
        };
        assert_eq!(invocation.id, InvocationId(id));
        let next = timeout(Duration::from_millis(50), wire.receive()).await;
        assert!(next.is_err(), "nothing comes while one is unacknowledged: {next:?}");
        wire.acknowledge(number, Default::default());
    }

    for _ in 0..limit::CXIP_CREDIT {
        wire.send(0, &Message::Query { transaction: TransactionId(5) }).unwrap();
    }
    assert!(!wire.may_send());
    wire.send(0, &Message::Query { transaction: TransactionId(5) }).unwrap();
    let Ok(Incoming::Refused { refusal, .. }) = soon(wire.receive()).await else { panic!("one too many") };
    assert_eq!(refusal.fault.code, Code::CreditExceeded);
}

// DESIGN invariant 6.
#[tokio::test]
async fn a_connection_that_takes_nothing_is_cut_when_too_much_waits_for_it() {
    let mut node = Node::start().await;
    let wire = node.attach_by_hand(limit::CXIP_CREDIT).await;
    let session = *node.door.sessions.lock().unwrap().keys().next().unwrap();
    let large = text(&format!("<a>{}</a>", "x".repeat(1024 * 1024)));
    let asker = Asker { session, message: 1 };
    for _ in 0..limit::CXIP_QUEUE_BYTES_MAX / large.as_str().len() + 48 {
        node.respond_with(asker, TransactionId(5), large.clone());
    }
    assert_eq!(node.closed().await, session);
    drop(wire);
    Client::connect(&node.address(), "erp").await.unwrap();
}

// T14: what a service was given to do is the mailbox's and does not count, however slow the service reads.
#[tokio::test]
async fn a_slow_service_gets_more_work_than_may_wait_for_a_client_and_is_not_cut() {
    let node = Node::start().await;
    let mut wire = node.attach_by_hand(2).await;
    let session = *node.door.sessions.lock().unwrap().keys().next().unwrap();
    let large = text(&format!("<a>{}</a>", "x".repeat(1024 * 1024)));
    let performs = (limit::CXIP_QUEUE_BYTES_MAX / large.as_str().len() + 48) as u128;
    for id in 0..performs {
        node.perform(session, &Invocation { document: large.clone(), ..invocation(id) });
    }
    // That is all of it queued; the first two come, and nothing more while they are unacknowledged.
    for id in 0..2 {
        let Ok(Incoming::Message { message: Message::Perform { invocation, .. }, .. }) = soon(wire.receive()).await
        else {
            panic!("a Perform")
        };
        assert_eq!(invocation.id, InvocationId(id));
    }
    assert!(timeout(Duration::from_millis(50), wire.receive()).await.is_err());
    assert!(node.door.sessions.lock().unwrap().contains_key(&session));
}

// T14: fragments, over a real socket and both ways.
#[tokio::test]
async fn a_large_document_goes_to_a_service_and_back_while_small_ones_pass_it() {
    let mut node = Node::start().await;
    let service = Service::new("echo")
        .unwrap()
        .operation("check-credit", |request: Request| async move { Ok(request.document().clone()) })
        .unwrap();
    let address = node.address();
    let attaching = tokio::spawn(async move { service.attach(&address).await });
    let session = node.registers().await;
    let running = soon(attaching).await.unwrap().unwrap();
    let large = text(&format!("<a>{}</a>", "x".repeat(4 * 1024 * 1024)));
    let perform = |id, document: &Text| {
        let (service, invocation) =
            ("echo".parse().unwrap(), Invocation { document: document.clone(), ..invocation(id) });
        node.tell(session, ToSession::Perform { service, invocation });
    };
    perform(1, &large);
    perform(2, &text("<b/>"));
    let (mut first, mut answers) = (None, HashMap::new());
    while answers.len() < 2 {
        let (_, id, outcome) = node.answers().await;
        first.get_or_insert(id);
        answers.insert(id, outcome);
    }
    assert_eq!(first, Some(InvocationId(2)), "the small one is not held up");
    assert_eq!(answers[&InvocationId(1)], Outcome::Completed(large));
    drop(running);
}

#[tokio::test]
async fn a_service_that_refuses_to_perform_has_failed_the_operation() {
    let mut node = Node::start().await;
    let mut wire = node.attach_by_hand(8).await;
    let session = *node.door.sessions.lock().unwrap().keys().next().unwrap();
    node.perform(session, &invocation(1));
    let Ok(Incoming::Message { number, .. }) = soon(wire.receive()).await else { panic!("a Perform") };
    wire.refuse(number, Fault::new(Code::OperationFailed, "not today"));
    let sending = tokio::spawn(async move { wire.receive().await });
    let (asker, input) = node.said().await;
    let FromSession::Answer { invocation, outcome, .. } = input else { panic!("an answer") };
    assert_eq!((asker.message, invocation), (0, InvocationId(1)));
    assert_eq!(outcome, Outcome::Failed(Fault::new(Code::OperationFailed, "not today")));
    sending.abort();
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let node = Node::start().await;
    let fault = Listener::start(&node.address(), Security::None, Arc::clone(&node.door)).await.unwrap_err();
    assert_eq!(fault.code, Code::PortInUse);
    assert!(fault.message.contains(&node.address()), "{fault}");
    let fault = Listener::start("nowhere at all", Security::None, Arc::clone(&node.door)).await.unwrap_err();
    assert_eq!(fault.code, Code::ConfigurationInvalid);
}

#[tokio::test]
async fn a_listener_that_stops_ends_its_sessions() {
    let mut node = Node::start().await;
    let mut wire = node.attach_by_hand(1).await;
    let stopping = tokio::spawn(node.listener.stop());
    assert!(matches!(soon(wire.receive()).await, Err(Ended::Closed)));
    drop(wire);
    soon(stopping).await.unwrap();
    assert!(matches!(soon(node.hears.recv()).await, Some(Heard::Closed(_))));
}
