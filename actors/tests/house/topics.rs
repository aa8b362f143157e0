//! Topics over crashes of a node (T12, T13): what was acknowledged to a publisher reaches every subscriber, and what a
//! subscriber acknowledged durably does not come again.

use crate::fixture::{CLIENT, Node, text, until};
use hansa_core::{
    code::Code,
    dispatch::Input,
    ident::{PublicationId, SubscriberName, TopicAddress},
    session::{Notification, SessionId, Taken, ToSession},
    topic::{self, Recipient, Subscriber, Topic},
};

const READER: u64 = 3;

fn prices() -> TopicAddress {
    TopicAddress::own("prices".parse().unwrap())
}

fn audit() -> SubscriberName {
    "audit".parse().unwrap()
}

async fn publish(node: &Node, number: u128, what: &str) -> Result<String, Code> {
    let (publication, document) = (PublicationId(number), text(&format!("<Price>{what}</Price>")));
    let publish = |asker| Input::Topic(prices(), topic::Input::Publish { asker, publication, public: false, document });
    let tracking = node.ask(CLIENT, publish).await.map_err(|fault| fault.code)?;
    assert_eq!(tracking.publication, Some(publication));
    Ok(tracking.word.unwrap())
}

async fn subscribe(node: &Node) -> String {
    let subscribe = |asker| Input::Topic(prices(), topic::Input::Subscribe { asker, subscriber: audit(), credit: 2 });
    node.ask(READER, subscribe).await.unwrap().word.unwrap()
}

fn notifications(node: &Node) -> Vec<Notification> {
    let left = node.left().into_iter();
    left.filter_map(|left| match left.message {
        ToSession::Notify { notification, .. } => Some(notification),
        _ => None,
    })
    .collect()
}

async fn notified(node: &Node, number: u64) -> Notification {
    until("it is notified", || notifications(node).into_iter().find(|notification| notification.number == number)).await
}

fn had(node: &Node, number: u64) {
    let (subscriber, recipient) = (Subscriber::Named(audit()), Recipient::Session(SessionId(READER)));
    node.house.deliver(Input::Topic(prices(), topic::Input::Taken { subscriber, recipient, number, word: Taken::Had }));
}

async fn lag(node: &Node) -> u64 {
    let look = |sight: &hansa_actors::shard::Sight<'_, Topic>| {
        sight.machine(&prices()).and_then(|topic| topic.subscribers().next()).map_or(0, |picture| picture.lag)
    };
    node.house.look::<Topic, _>(&prices(), look).await.unwrap()
}

#[tokio::test]
async fn publications_survive_crashes_with_and_without_a_checkpoint_and_come_again_only_if_they_were_not_had() {
    let mut node = Node::found(&[], 1, |_| ()).await;
    assert_eq!(subscribe(&node).await, "subscribed");
    for number in 1..=6 {
        assert_eq!(publish(&node, number.into(), &format!("{number}")).await.unwrap(), "published");
        notified(&node, number).await;
        if number % 3 == 0 {
            node.house.checkpoint().await.unwrap();
        }
        node = node.crash(|_| ()).await;
        assert_eq!(publish(&node, number.into(), &format!("{number}")).await.unwrap(), "repeated");
        assert_eq!(publish(&node, number.into(), "other").await.unwrap_err(), Code::PublicationConflict);
        assert_eq!(subscribe(&node).await, "resumed");
        assert_eq!(notified(&node, number).await.publication, PublicationId(number.into()));
        assert!(notifications(&node).iter().all(|notification| notification.number == number), "the others were had");
        had(&node, number);
        assert_eq!(lag(&node).await, 0);
        // An acknowledged message behind it in the journal says that it is durable.
        publish(&node, number.into(), &format!("{number}")).await.unwrap();
        assert_eq!((node.house.statistics().topics, node.house.statistics().topics_bytes), (1, 0));
    }
    let unsubscribe = |asker| Input::Topic(prices(), topic::Input::Unsubscribe { asker, subscriber: audit() });
    node.ask(READER, unsubscribe).await.unwrap();
    assert_eq!(publish(&node, 7, "7").await.unwrap(), "published");
    node = node.crash(|_| ()).await;
    assert_eq!(node.house.statistics().topics, 0);
    assert_eq!(subscribe(&node).await, "subscribed");
    node.house.checkpoint().await.unwrap();
    node = node.crash(|_| ()).await;
    publish(&node, 8, "8").await.unwrap();
    assert_eq!(subscribe(&node).await, "resumed");
    assert_eq!(notified(&node, 1).await.publication, PublicationId(8), "the topic began anew");
    node.house.stop().await.unwrap();
}
