//! Connections by hand: bytes that are no messages, messages out of order, credit, and peers that take nothing.

use super::*;
use bytes::BytesMut;
use hansa_sdk::cxip::{Ended, Frame, HEADER_BYTES, MAGIC, NAMESPACE, decode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

pub(super) fn header(kind: u8, number: u64, content_bytes: u32) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, kind, 0, 0]);
    bytes.extend(number.to_be_bytes());
    bytes.extend(0u64.to_be_bytes());
    bytes.extend(content_bytes.to_be_bytes());
    bytes.extend(1u32.to_be_bytes());
    assert_eq!(bytes.len(), HEADER_BYTES);
    bytes
}

pub(super) fn message(kind: u8, number: u64, content: &str) -> Vec<u8> {
    [&header(kind, number, content.len() as u32), content.as_bytes()].concat()
}

/// Everything that the node answers to these bytes until it closes the connection.
pub(super) async fn answers_until_the_end(address: &str, bytes: &[u8]) -> Vec<Frame> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let (mut arrived, mut frames) = (BytesMut::new(), Vec::new());
    while soon(stream.read_buf(&mut arrived)).await.unwrap() > 0 {}
    while let Some(frame) = decode(&mut arrived).unwrap() {
        frames.push(frame);
    }
    frames
}

pub(super) fn refusal(frame: &Frame) -> (u64, Code) {
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
