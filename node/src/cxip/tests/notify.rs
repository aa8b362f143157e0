//! Publications on their way to subscribers over real sockets (T13): what each of a subscriber's words means to the topic.

use super::{Node, soon, text};
use hansa_core::{
    code::{Code, Fault},
    ident::{PublicationId, TopicAddress},
    moment::Moment,
    session::{FromSession, Notification, SessionId, Taken, ToSession},
};
use hansa_sdk::{
    Client,
    cxip::{Acknowledgement, Incoming, Message, Refusal, Wire},
};
use tokio::net::TcpStream;

impl Node {
    fn notify(&self, session: SessionId, notification: Notification) {
        let (topic, subscriber) = (TopicAddress::own("prices".parse().unwrap()), "audit".parse().unwrap());
        self.tell(session, ToSession::Notify { topic, subscriber, notification });
    }

    /// A subscription arrives and is acknowledged.
    async fn subscribes(&mut self) -> (SessionId, u32) {
        let (asker, input) = self.said().await;
        let FromSession::Subscribe { topic, subscriber, credit } = input else { panic!("{input:?}") };
        assert_eq!((topic.name.as_str(), subscriber.as_str()), ("prices", "audit"));
        self.acknowledge(asker);
        (asker.session, credit)
    }

    /// What a subscriber says to a notification.
    async fn taken(&mut self) -> (u64, Taken) {
        let (asker, input) = self.said().await;
        let FromSession::Taken { number, word, .. } = input else { panic!("{input:?}") };
        assert_eq!(asker.message, 0, "nobody waits for an answer to that");
        (number, word)
    }
}

fn notification(number: u64, bytes: usize) -> Notification {
    Notification {
        number,
        publication: PublicationId(u128::from(number)),
        published: Moment(7),
        missed: number - 1,
        document: text(&format!("<Price>{}</Price>", "8".repeat(bytes))),
    }
}

async fn notified(wire: &mut Wire<TcpStream>) -> (u64, Notification) {
    loop {
        match soon(wire.receive()).await.unwrap() {
            Incoming::Message { number, correlation: 0, message: Message::Notify { notification, .. } } => {
                return (number, notification);
            }
            Incoming::Acknowledged { .. } => (),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_subscriber_is_done_with_a_publication_puts_it_off_or_wants_it_not() {
    let mut node = Node::start().await;
    let mut wire = node.attach_by_hand(16).await;
    let (topic, subscriber) = (TopicAddress::own("prices".parse().unwrap()), "audit".parse().unwrap());
    wire.send(0, &Message::Subscribe { topic, subscriber, credit: 4 }).unwrap();
    let (session, credit) = tokio::select! {
        subscribed = node.subscribes() => subscribed,
        incoming = wire.receive() => panic!("{incoming:?}"),
    };
    assert_eq!(credit, 4);
    // The third travels in fragments.
    let sent = [notification(1, 10), notification(2, 10), notification(3, 3_000_000)];
    sent.iter().for_each(|each| node.notify(session, each.clone()));
    let mut arrived = Vec::new();
    for _ in &sent {
        arrived.push(notified(&mut wire).await);
    }
    assert!(arrived.iter().map(|(_, notification)| notification).eq(&sent));
    wire.refuse_with(
        arrived[1].0,
        Refusal { retry_after_ms: Some(500), ..Refusal::new(Fault::new(Code::Busy, "not now")) },
    );
    wire.refuse(arrived[2].0, Fault::new(Code::OperationFailed, "I cannot read this"));
    wire.acknowledge(arrived[0].0, Acknowledgement::default());
    let driven = tokio::spawn(async move { wire.receive().await });
    let words = [node.taken().await, node.taken().await, node.taken().await];
    assert_eq!(words, [(2, Taken::Later { pause_ms: 500 }), (3, Taken::Refused), (1, Taken::Had)]);
    driven.abort();
    assert_eq!(node.closed().await, session, "what it had in hand goes to others");
}

// T15: the SDK subscribes again by itself, and says that it is done when the program does.
#[tokio::test]
async fn a_subscription_of_the_sdk_comes_back_and_is_done_when_the_program_says_so() {
    let mut node = Node::start().await;
    let client = Client::connect(&node.address(), "audit").await.unwrap();
    let beginning = tokio::spawn(async move { client.subscribe("prices", "audit").await });
    let (first, _) = node.subscribes().await;
    let mut subscription = soon(beginning).await.unwrap().unwrap();
    node.notify(first, notification(1, 10));
    let publication = soon(subscription.next()).await.unwrap();
    assert_eq!((publication.number(), publication.missed()), (1, 0));
    publication.done();
    assert_eq!(node.taken().await, (1, Taken::Had));

    // The connection breaks while the program works; the same number comes again, and then the program has it once.
    node.notify(first, notification(2, 10));
    let publication = soon(subscription.next()).await.unwrap();
    node.cut(first);
    let (second, _) = node.subscribes().await;
    node.notify(second, notification(2, 10));
    publication.done();
    assert_eq!(node.taken().await, (2, Taken::Had));
    node.notify(second, notification(3, 10));
    assert_eq!(soon(subscription.next()).await.unwrap().number(), 3);
}
