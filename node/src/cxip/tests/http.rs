//! CXIP over HTTP as somebody writes it who has the page and a socket: requests by hand, a service and a client, and what
//! goes wrong.

use super::{super::HttpListener, Node, invocation, soon, text};
use bytes::BytesMut;
use hansa_core::{
    code::Code,
    ident::{InvocationId, TransactionId},
    session::FromSession,
};
use hansa_sdk::cxip::{Assembly, Frame, Message, encode};
use std::sync::Arc;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// A session by hand: it counts its messages, and keeps its token.
struct Hand {
    address: String,
    token: Option<String>,
    sent: u64,
    assembly: Assembly,
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Hand {
    fn new(listener: &HttpListener) -> Self {
        Self { address: listener.address().to_string(), token: None, sent: 0, assembly: Assembly::default() }
    }

    fn message(&mut self, correlation: u64, message: &Message) -> BytesMut {
        let mut bytes = BytesMut::new();
        self.sent += 1;
        encode(&mut bytes, self.sent, correlation, 16, message).unwrap();
        bytes
    }

    async fn post(&mut self, wait: u64, body: &[u8]) -> (u16, Vec<Frame>) {
        let token = self.token.clone().map(|token| format!("Cxip-Session: {token}\r\n")).unwrap_or_default();
        let head = format!("Content-Type: application/x-cxip-v10\r\nCxip-Wait: {wait}\r\n{token}");
        let answer = ask(&self.address, "/cxip", &head, body).await;
        if let Some(token) = answer.head.lines().find_map(|line| line.strip_prefix("cxip-session: ")) {
            self.token = Some(token.to_owned());
        }
        let (mut arrived, mut frames) = (BytesMut::from(&answer.body[..]), Vec::new());
        if answer.head.contains("content-type: application/x-cxip-v10") {
            while let Some(frame) = self.assembly.decode(&mut arrived).unwrap() {
                frames.push(frame);
            }
            assert!(arrived.is_empty(), "a response ends with a message or a fragment");
        }
        (answer.status, frames)
    }

    async fn connect(&mut self, name: &str) -> (u16, Vec<Frame>) {
        let connect = self.message(0, &Message::Connect { name: name.to_owned(), account: None, password: None });
        self.post(20, &connect).await
    }
}

async fn ask(address: &str, path: &str, head: &str, body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n{head}Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    let mut bytes = Vec::new();
    soon(stream.read_to_end(&mut bytes)).await.unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head, body: bytes.split_off(end) }
}

async fn listening() -> (Node, HttpListener) {
    let node = Node::start().await;
    let address = "127.0.0.1:0".parse().unwrap();
    let listener = HttpListener::start(address, Arc::clone(&node.door), Arc::default()).await.unwrap();
    (node, listener)
}

fn acknowledged(frame: &Frame) -> u64 {
    assert!(matches!(frame.message, Ok(Message::Acknowledged(_))), "{frame:?}");
    frame.header.correlation
}

// T14: the same messages over HTTP.
#[tokio::test]
async fn a_service_is_given_work_in_responses_and_answers_in_requests() {
    let (mut node, listener) = listening().await;
    let mut hand = Hand::new(&listener);
    let (status, frames) = hand.connect("credit").await;
    assert_eq!((status, acknowledged(&frames[0])), (200, 1));
    let service = hansa_core::offer::Service {
        name: "credit".parse().unwrap(),
        operations: vec!["check-credit".parse().unwrap()],
        public: false,
    };
    let register = hand.message(0, &Message::Register { service, credit: 4 });
    // Whoever only brings something need not wait.
    assert_eq!(hand.post(0, &register).await.0, 204);
    let (asker, input) = node.said().await;
    assert!(matches!(input, FromSession::Register { .. }));
    node.acknowledge(asker);
    let (_, frames) = hand.post(20, b"").await;
    assert_eq!(acknowledged(&frames[0]), 2);

    // It waits for work in a response, and work that is too large for one message comes in as many responses as it needs.
    let large = text(&format!("<Order>{}</Order>", "x".repeat(3_000_000)));
    let work = hansa_core::invocation::Invocation { document: large.clone(), ..invocation(1) };
    node.perform(asker.session, &work);
    let perform = loop {
        let (status, mut frames) = hand.post(20, b"").await;
        assert_eq!(status, 200);
        if let Some(frame) = frames.pop() {
            break frame;
        }
    };
    let Ok(Message::Perform { invocation, service, .. }) = perform.message else { panic!("a Perform") };
    assert_eq!(invocation.document, large);
    let mut answer = hand.message(perform.header.number, &Message::Acknowledged(Default::default()));
    let completed = Message::Completed { invocation: invocation.id, service, document: large };
    answer.unsplit(hand.message(perform.header.number, &completed));
    hand.post(0, &answer).await;
    let (asker, input) = node.said().await;
    assert!(matches!(input, FromSession::Answer { invocation: InvocationId(1), .. }), "{input:?}");
    node.acknowledge(asker);
    assert_eq!(acknowledged(&hand.post(20, b"").await.1[0]), asker.message);
}

#[tokio::test]
async fn a_client_brings_something_while_another_request_waits_for_what_the_node_says() {
    let (mut node, listener) = listening().await;
    let mut hand = Hand::new(&listener);
    hand.connect("erp").await;
    let mut waiting = Hand { address: hand.address.clone(), token: hand.token.clone(), ..Hand::new(&listener) };
    let query = hand.message(0, &Message::Query { transaction: TransactionId(5) });
    let (answered, (status, brought)) = tokio::join!(async { waiting.post(20, b"").await }, async {
        let posted = hand.post(0, &query).await;
        let (asker, _) = node.said().await;
        node.acknowledge(asker);
        posted
    });
    // Whichever of the two came first, one of them heard it, or the next one does.
    let mut heard = answered.1;
    heard.extend(brought);
    while heard.is_empty() {
        heard.extend(hand.post(20, b"").await.1);
    }
    assert_eq!((status / 100, acknowledged(&heard[0])), (2, 2));
}

#[tokio::test]
async fn a_session_that_is_refused_says_why_and_is_over() {
    let (_node, listener) = listening().await;
    let mut hand = Hand::new(&listener);
    let (status, frames) = hand.connect("burglar").await;
    let Ok(Message::Refused(refusal)) = &frames[0].message else { panic!("{frames:?}") };
    assert_eq!((status, refusal.fault.code), (200, Code::AccessDenied));
    let mut status = hand.post(20, b"").await.0;
    while status == 204 {
        status = hand.post(20, b"").await.0;
    }
    assert!([404, 410].contains(&status), "{status}");
    assert_eq!(hand.post(0, b"").await.0, 404);
}

#[tokio::test]
async fn requests_that_cannot_be_are_refused_in_the_words_of_http() {
    let (_node, listener) = listening().await;
    let address = listener.address().to_string();
    let mime = "Content-Type: application/x-cxip-v10\r\n";
    for (path, head, status) in [
        ("/", mime.to_owned(), 404),
        ("/cxip", "Content-Type: text/xml\r\n".to_owned(), 415),
        ("/cxip", format!("{mime}Cxip-Wait: soon\r\n"), 400),
        ("/cxip", format!("{mime}Cxip-Session: 00000000000000000000000000000000\r\n"), 404),
    ] {
        assert_eq!(ask(&address, path, &head, b"").await.status, status, "{path} {head}");
    }
}

// DESIGN invariant 5.
#[tokio::test]
async fn what_is_no_message_ends_the_session_and_a_body_that_breaks_off_does_too() {
    let (mut node, listener) = listening().await;
    let mut hand = Hand::new(&listener);
    hand.connect("erp").await;
    let (_, frames) = hand.post(20, b"<Connect/> and what else comes to mind").await;
    let Ok(Message::Refused(refusal)) = &frames[0].message else { panic!("{frames:?}") };
    assert_eq!(refusal.fault.code, Code::MessageMalformed);
    node.closed().await;

    let mut hand = Hand::new(&listener);
    hand.connect("erp").await;
    let mut stream = TcpStream::connect(&hand.address).await.unwrap();
    let token = hand.token.clone().unwrap();
    let head = format!(
        "POST /cxip HTTP/1.1\r\nHost: node\r\nContent-Type: application/x-cxip-v10\r\nCxip-Session: {token}\r\nContent-Length: 100\r\n\r\nCXIP"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    drop(stream);
    node.closed().await;
}

#[tokio::test]
async fn a_listener_that_stops_ends_its_sessions() {
    let (mut node, listener) = listening().await;
    let mut hand = Hand::new(&listener);
    hand.connect("erp").await;
    soon(listener.stop()).await;
    node.closed().await;
}

#[tokio::test]
async fn responses_say_where_they_belong_and_who_has_nothing_more_to_say_is_gone_at_once() {
    let (mut node, listener) = listening().await;
    let mut hand = Hand::new(&listener);
    hand.connect("erp").await;
    let (mut offset, session) = (0, hand.token.clone().unwrap());
    let query = hand.message(0, &Message::Query { transaction: TransactionId(5) });
    hand.post(0, &query).await;
    let (asker, _) = node.said().await;
    let head = format!("Content-Type: application/x-cxip-v10\r\nCxip-Session: {session}\r\n");
    let says = |answer: &Answer| -> u64 {
        answer.head.lines().find_map(|line| line.strip_prefix("cxip-offset: ")).unwrap().parse().unwrap()
    };
    for _ in 0..2 {
        node.acknowledge(asker);
        let probe = hand.message(0, &Message::Probe);
        let answer = ask(&hand.address, "/cxip", &head, &probe).await;
        assert!(answer.status == 200 && says(&answer) > 0, "behind the answer to the Connect: {}", answer.head);
        assert!(offset == 0 || says(&answer) == offset, "and behind each other");
        offset = says(&answer) + answer.body.len() as u64;
    }
    let mut answer = ask(&hand.address, "/cxip", &format!("{head}Cxip-End: true\r\n"), b"").await;
    // What was still to be said is said.
    while !answer.head.contains("cxip-end: true") {
        assert_eq!((answer.status, says(&answer)), (200, offset));
        offset += answer.body.len() as u64;
        answer = ask(&hand.address, "/cxip", &head, b"").await;
    }
    assert_eq!(node.closed().await, asker.session);
}
