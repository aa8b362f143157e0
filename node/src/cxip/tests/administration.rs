//! The administration port over real sockets (T14): who is let in, several requests at once, long answers, nonsense.

use super::{
    Desk, Listener, Office, Security, soon,
    wire::{answers_until_the_end, header, message, refusal},
};
use crate::{
    admin::{
        client::Client as AdminClient,
        pretended::Pretended,
        protocol::{DefinitionSource, Request, Status, Stopping},
    },
    shutdown::Shutdown,
};
use hansa_core::{
    code::{Code, Fault},
    ident::TransactionId,
    limit,
};
use hansa_sdk::{
    Client, Welcome,
    cxip::session::{Entrance, Unwelcome, Visitor},
    cxip::{Acknowledgement, HEADER_BYTES, Incoming, Message, NAMESPACE, Wire},
};
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::net::TcpStream;

/// An office that lets in whoever knows the password, and lets the operator administer until that is taken back.
struct Guarded {
    revoked: AtomicBool,
    /// Whether it is a follower, who lets in nobody but administrators.
    follows: AtomicBool,
}

impl Entrance for Guarded {
    type Guest = String;

    async fn welcome(&self, visitor: Visitor<'_>) -> Result<(Welcome, String), Unwelcome> {
        if self.follows.load(Ordering::SeqCst) {
            return Err(Fault::new(Code::NotActive, "this sub-node follows").into());
        }
        self.receive(visitor).await
    }
}

impl Office for Guarded {
    type Administration = Pretended;

    fn administration(&self) -> &Pretended {
        &Pretended
    }

    async fn receive(&self, visitor: Visitor<'_>) -> Result<(Welcome, String), Unwelcome> {
        if visitor.password.is_none_or(|password| password.0 != "open sesame") {
            return Err(Fault::new(Code::AccessDenied, "not let in").into());
        }
        Ok((Welcome { organization: "Acme BV".parse().ok(), ..Welcome::default() }, visitor.name.to_owned()))
    }

    fn may_administer(&self, guest: &String) -> Result<(), Fault> {
        if guest == "operator" && !self.revoked.load(Ordering::SeqCst) {
            return Ok(());
        }
        Err(Fault::new(Code::AccessDenied, format!("{guest} may not administer")))
    }
}

struct Port {
    office: Arc<Guarded>,
    shutdown: Shutdown,
    listener: Listener,
}

impl Port {
    async fn open() -> Self {
        let office = Arc::new(Guarded { revoked: AtomicBool::new(false), follows: AtomicBool::new(false) });
        let shutdown = Shutdown::new();
        let desk = Desk::new(Arc::clone(&office), shutdown.clone());
        let listener = Listener::start_with("127.0.0.1:0", Security::None, desk, Arc::default()).await.unwrap();
        Self { office, shutdown, listener }
    }

    fn address(&self) -> String {
        self.listener.address().to_string()
    }

    async fn administrator(&self) -> AdminClient {
        let operator = Client::named("operator").password("open sesame");
        AdminClient::through(operator.administer(&self.address()).await.unwrap())
    }

    /// A raw connection that has said who it is.
    async fn by_hand(&self) -> Wire<TcpStream> {
        let mut wire = Wire::new(TcpStream::connect(self.address()).await.unwrap(), 16);
        let password = Some(hansa_sdk::cxip::Password("open sesame".to_owned()));
        wire.send(0, &Message::Connect { name: "operator".to_owned(), account: None, password }).unwrap();
        assert!(matches!(soon(wire.receive()).await, Ok(Incoming::Acknowledged { message: 1, .. })));
        wire
    }
}

fn administer(json: &str) -> Message {
    Message::Administer { request: json.to_owned() }
}

fn await_for(ms: u64) -> Message {
    let request = Request::AwaitResponse { id: TransactionId(1), timeout_ms: ms };
    administer(&serde_json::to_string(&request).unwrap())
}

// T14: the same requests and answers as over the socket.
#[tokio::test]
async fn whoever_may_administer_is_answered_and_nobody_else_is_let_in() {
    let port = Port::open().await;
    let mut client = port.administrator().await;
    let status: Status = soon(client.ask(&Request::Status)).await.unwrap();
    assert_eq!(status, crate::admin::pretended::status());
    let unknown = soon(client.ask::<Status>(&Request::Recover { id: TransactionId(5) })).await.unwrap_err();
    assert_eq!(unknown.code, Code::TransactionUnknown, "what was asked fails, and nothing else");
    soon(client.ask::<Status>(&Request::Status)).await.unwrap();

    for stranger in [
        Client::named("operator"),
        Client::named("operator").password("open barley"),
        Client::named("erp").password("open sesame"),
    ] {
        assert_eq!(soon(stranger.administer(&port.address())).await.unwrap_err().code, Code::AccessDenied);
    }
}

#[tokio::test]
async fn what_is_taken_back_counts_for_those_who_are_connected() {
    let port = Port::open().await;
    let mut client = port.administrator().await;
    soon(client.ask::<Status>(&Request::Status)).await.unwrap();
    port.office.revoked.store(true, Ordering::SeqCst);
    let refused = soon(client.ask::<Stopping>(&Request::Stop)).await.unwrap_err();
    assert_eq!(refused.code, Code::AccessDenied);
    port.office.revoked.store(false, Ordering::SeqCst);
    soon(client.ask::<Status>(&Request::Status)).await.expect("the connection goes on");
}

// T14: requests and responses are multiplexed, in any order.
#[tokio::test]
async fn a_short_request_is_answered_before_a_long_one_that_came_earlier() {
    let port = Port::open().await;
    let mut wire = port.by_hand().await;
    let long = wire.send(0, &await_for(600_000)).unwrap();
    let short = wire.send(0, &administer("{\"command\":\"status\"}")).unwrap();
    let mut acknowledged = BTreeSet::new();
    loop {
        match soon(wire.receive()).await.unwrap() {
            Incoming::Acknowledged { message, .. } => assert!(acknowledged.insert(message)),
            Incoming::Message { correlation, message: Message::Administered { answer, more }, .. } => {
                assert_eq!((correlation, more), (short, false));
                assert!(answer.starts_with("{\"ok\":{\"organization\""), "{answer}");
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(acknowledged, BTreeSet::from([long, short]), "an acknowledgement comes before its reply");
}

#[tokio::test]
async fn only_so_many_requests_are_worked_on_and_only_so_many_may_wait() {
    let port = Port::open().await;
    let mut wire = port.by_hand().await;
    let credit = u64::from(limit::ADMIN_CREDIT);
    let at_work = limit::ADMIN_REQUESTS_MAX as u64;
    for _ in 0..credit {
        wire.send(0, &await_for(600_000)).unwrap();
    }
    for expected in 2..2 + at_work {
        let next = soon(wire.receive()).await.unwrap();
        assert!(matches!(next, Incoming::Acknowledged { message, .. } if message == expected), "{next:?}");
    }
    // Those that wait are not acknowledged; with as many more, one is beyond the credit.
    for _ in 0..=at_work {
        wire.send(0, &await_for(600_000)).unwrap();
    }
    let next = soon(wire.receive()).await.unwrap();
    let Incoming::Refused { message, refusal } = next else { panic!("{next:?}") };
    assert_eq!((message, refusal.fault.code), (1 + credit + at_work + 1, Code::CreditExceeded));
    // What is given up with its connection is not worked on any more, and others are answered.
    drop(wire);
    soon(port.administrator().await.ask::<Status>(&Request::Status)).await.unwrap();
}

#[tokio::test]
async fn requests_that_wait_are_begun_when_others_are_answered() {
    let port = Port::open().await;
    let mut wire = port.by_hand().await;
    let asked: BTreeSet<u64> = (0..limit::ADMIN_CREDIT).map(|_| wire.send(0, &await_for(1)).unwrap()).collect();
    let mut answered = BTreeSet::new();
    while answered.len() < asked.len() {
        if let Incoming::Message { number, correlation, .. } = soon(wire.receive()).await.unwrap() {
            answered.insert(correlation);
            wire.acknowledge(number, Acknowledgement::default());
        }
    }
    assert_eq!(answered, asked);
}

#[tokio::test]
async fn a_long_answer_comes_in_parts_and_a_long_request_in_fragments() {
    let port = Port::open().await;
    let mut client = port.administrator().await;
    let text = "<a/>".repeat(limit::CXIP_FRAGMENT_BYTES_MAX);
    soon(client.ask::<serde_json::Value>(&Request::Define { text })).await.unwrap();
    let large = Request::DefinitionSource { name: "large".parse().unwrap(), version: None };
    let source: DefinitionSource = soon(client.ask(&large)).await.unwrap();
    // No message is so large.
    const { assert!(crate::admin::pretended::LARGE_BYTES > limit::CXIP_CONTENT_BYTES_MAX) };
    assert_eq!(source.text.len(), crate::admin::pretended::LARGE_BYTES);
}

#[tokio::test]
async fn nonsense_is_refused_clearly_and_the_port_lives_on() {
    let port = Port::open().await;
    let mut wire = port.by_hand().await;
    let query = Message::Query { transaction: TransactionId(5) };
    for (message, code) in [
        (administer("status"), Code::MessageMalformed),
        (administer("{\"command\":\"dance\"}"), Code::MessageMalformed),
        (administer(&"[".repeat(100_000)), Code::MessageMalformed),
        (query, Code::MessageOutOfOrder),
        (Message::Administered { answer: "{}".to_owned(), more: false }, Code::MessageOutOfOrder),
    ] {
        let number = wire.send(0, &message).unwrap();
        match soon(wire.receive()).await.unwrap() {
            Incoming::Refused { message, refusal } => assert_eq!((message, refusal.fault.code), (number, code)),
            other => panic!("{other:?}"),
        }
    }
    for (bytes, code) in [
        (b"GET / HTTP/1.1\r\nHost: node\r\n\r\n".to_vec(), Code::MessageMalformed),
        (header(1, 1, u32::MAX)[..HEADER_BYTES].to_vec(), Code::MessageTooLarge),
        (message(1, 1, &format!("<Administer xmlns='{NAMESPACE}'>{{}}</Administer>")), Code::MessageOutOfOrder),
    ] {
        let answers = answers_until_the_end(&port.address(), &bytes).await;
        assert_eq!(answers.iter().map(refusal).map(|(_, code)| code).collect::<Vec<_>>(), [code]);
    }
    soon(port.administrator().await.ask::<Status>(&Request::Status)).await.unwrap();
}

#[tokio::test]
async fn administration_is_not_spoken_where_services_and_clients_attach() {
    let node = super::Node::start().await;
    let mut wire = node.attach_by_hand(16).await;
    let number = wire.send(0, &administer("{\"command\":\"stop\"}")).unwrap();
    match soon(wire.receive()).await.unwrap() {
        Incoming::Refused { message, refusal } => {
            assert_eq!((message, refusal.fault.code), (number, Code::MessageOutOfOrder));
            assert!(refusal.fault.message.contains("cxip.admin_listen"));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_node_is_stopped_when_the_answer_is_on_its_way() {
    let port = Port::open().await;
    let mut client = port.administrator().await;
    let stopping = tokio::spawn(async move { client.ask::<Stopping>(&Request::Stop).await });
    soon(port.shutdown.triggered()).await;
    soon(port.listener.stop()).await;
    assert_eq!(soon(stopping).await.unwrap().unwrap().pid, std::process::id());
}

// M4: a sub-node that follows lets in no service and no client, and its administrators all the same.
#[tokio::test]
async fn a_follower_is_administered_while_it_lets_in_nobody_else() {
    let port = Port::open().await;
    port.office.follows.store(true, Ordering::SeqCst);
    let status: Status = port.administrator().await.ask(&Request::Status).await.unwrap();
    assert_eq!(status.role, crate::admin::protocol::PairRole::Active, "the pretended node answers");
    let visitor = Visitor { name: "operator", account: None, password: None, certified: None, proxied: false };
    let Err(unwelcome) = port.office.welcome(visitor).await else { panic!("it follows") };
    assert_eq!(unwelcome.fault.code, Code::NotActive);
}
