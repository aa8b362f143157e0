//! Answers that are none, as a service might give them that was written by hand: each is refused, and leaves its trace in the
//! transaction that waits for the right one (T8).

use super::{Node, world::Pipe};
use crate::{
    Text,
    cxip::{Assembly, Frame, HEADER_BYTES, Header, Kind, Message, Stream},
};
use bytes::BytesMut;
use hansa_core::{code::Code, invocation::Invocation, limit, transaction::Refusal};
use std::collections::BTreeMap;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A connection on which whatever is wanted is written.
struct Hand {
    stream: Stream,
    sent: u64,
    assembly: Assembly,
    incoming: BytesMut,
}

impl Hand {
    async fn attach(node: &Node) -> Self {
        let stream = Pipe::to(&node.0.world).connect().unwrap();
        let mut hand = Self { stream, sent: 0, assembly: Assembly::default(), incoming: BytesMut::new() };
        hand.say(Kind::Request, "<Connect xmlns='urn:hansa:cxip:1' name='hand' version='1'/>").await;
        assert!(matches!(hand.hears().await, Message::Acknowledged(_)));
        hand
    }

    async fn say(&mut self, kind: Kind, content: &str) {
        self.sent += 1;
        let (number, content_bytes) = (self.sent, content.len() as u32);
        let header = Header { kind, number, correlation: 0, more: false, content_bytes, credit: 100 };
        let bytes = [&header.encode()[..HEADER_BYTES], content.as_bytes()].concat();
        self.stream.write_all(&bytes).await.unwrap();
    }

    async fn hears(&mut self) -> Message {
        loop {
            if let Some(Frame { message, .. }) = self.assembly.decode(&mut self.incoming).unwrap() {
                return message.unwrap();
            }
            assert_ne!(self.stream.read_buf(&mut self.incoming).await.unwrap(), 0, "the node hung up");
        }
    }

    async fn register(&mut self, service: &str) {
        let operations = "<Operation>check-credit</Operation>";
        let operations = if service == "credit" { operations } else { "<Operation>fly</Operation>" };
        self.say(
            Kind::Request,
            &format!("<Register xmlns='urn:hansa:cxip:1' service='{service}' public='false' credit='4'>{operations}</Register>"),
        )
        .await;
        assert!(matches!(self.hears().await, Message::Acknowledged(_)));
    }

    async fn is_asked(&mut self) -> Invocation {
        match self.hears().await {
            Message::Perform { invocation, .. } => invocation,
            other => panic!("not asked but {other:?}"),
        }
    }

    async fn answers(&mut self, service: &str, invocation: &Invocation, content: &str) -> Message {
        let id = invocation.id;
        let content =
            format!("<Completed xmlns='urn:hansa:cxip:1' invocation='{id}' service='{service}'>{content}</Completed>");
        self.say(Kind::Reply, &content).await;
        self.hears().await
    }
}

#[tokio::test]
async fn what_a_service_answers_wrongly_is_refused_and_recorded_and_the_right_answer_counts() {
    let node = Node::start().await;
    let mut hand = Hand::attach(&node).await;
    hand.register("credit").await;
    hand.register("other").await;
    let asking = tokio::spawn({
        let node = node.clone();
        async move { node.perform("check-credit", Text::parse(b"<Order/>").unwrap()).await }
    });
    let invocation = hand.is_asked().await;
    let transaction = invocation.context.transaction;

    for content in ["<W", "", "<a/><b/>"] {
        let said = hand.answers("credit", &invocation, content).await;
        assert!(matches!(said, Message::Refused(_)), "{content}: {said:?}");
    }
    let failed = format!(
        "<Failed xmlns='urn:hansa:cxip:1' invocation='{}' service='credit'><Words>m</Words></Failed>",
        invocation.id
    );
    hand.say(Kind::Reply, &failed).await;
    assert!(matches!(hand.hears().await, Message::Refused(_)));
    // As another service, and over a connection that performs nothing.
    let Message::Refused(foreign) = hand.answers("other", &invocation, "<A/>").await else { panic!("it was taken") };
    assert_eq!(foreign.fault.code, Code::ResponseRefused);
    let mut stranger = Hand::attach(&node).await;
    assert!(matches!(stranger.answers("credit", &invocation, "<A/>").await, Message::Refused(_)));
    assert!(matches!(stranger.answers("credit", &invocation, "<A").await, Message::Refused(_)));

    assert!(matches!(hand.answers("credit", &invocation, "<Yes/>").await, Message::Acknowledged(_)));
    assert_eq!(asking.await.unwrap().unwrap().as_str(), "<Yes/>");
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for refused in node.picture(transaction).unwrap().refused {
        let why = match refused.refusal {
            Refusal::Malformed => "malformed",
            Refusal::Foreign => "foreign",
            other => panic!("{other:?}"),
        };
        *counts.entry(why).or_default() += 1;
    }
    assert_eq!(counts, [("foreign", 3), ("malformed", 4)].into());

    // However many come, only some are recorded.
    for _ in 0..2 * limit::ANSWERS_STRAYED_MAX {
        assert!(matches!(hand.answers("credit", &invocation, "<W").await, Message::Refused(_)));
    }
    assert_eq!(node.picture(transaction).unwrap().refused.len(), limit::ANSWERS_STRAYED_MAX);
}
