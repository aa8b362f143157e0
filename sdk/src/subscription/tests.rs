//! What a subscription promises, against a node in memory: nothing is lost, nothing that was done with comes again (T13, T15).

use crate::{Client, Code, Fault, Text, test::Node};
use std::time::Duration;

fn price(number: u32) -> Text {
    Text::parse(format!("<Price number='{number}'/>").as_bytes()).unwrap()
}

async fn client(node: &Node) -> Client {
    Client::named("tests").connect_to(node).await.unwrap()
}

#[tokio::test]
async fn publications_come_in_order_and_are_done_with_once_over_sessions_and_restarts() {
    let node = Node::start().await;
    let client = client(&node).await;
    let mut subscription = client.subscribe("prices", "audit").await.unwrap();
    for number in 1..=3 {
        let tracking = client.publish("prices", price(number)).await.unwrap();
        assert!(tracking.publication.is_some() && tracking.word.as_deref() == Some("published"));
    }
    for number in 1..=2 {
        let publication = subscription.next().await.unwrap();
        assert_eq!((publication.number(), publication.document()), (u64::from(number), &price(number)));
        publication.done();
    }
    let third = subscription.next().await.unwrap();
    node.restart().await;
    third.done();
    client.publish("prices", price(4)).await.unwrap();
    let fourth = subscription.next().await.unwrap();
    assert_eq!((fourth.number(), fourth.missed()), (4, 0), "the third was in hand, and does not come twice");
    drop(fourth);
    drop(subscription);
    client.publish("prices", price(5)).await.unwrap();
    let mut again = client.subscribe("prices", "audit").await.unwrap();
    assert_eq!(again.next().await.unwrap().number(), 4, "it was dropped without a word");
}

#[tokio::test]
async fn a_publication_under_the_same_id_is_made_once() {
    let node = Node::start().await;
    let client = client(&node).await;
    let mut subscription = client.subscribe("prices", "audit").await.unwrap();
    let first = client.publish("prices", price(1)).await.unwrap();
    let id = first.publication.unwrap();
    let again = client.publish_as(id, "prices", false, price(1)).await.unwrap();
    assert_eq!(again.word.as_deref(), Some("repeated"));
    let other = client.publish_as(id, "prices", false, price(2)).await.unwrap_err();
    assert_eq!(other.code, Code::PublicationConflict);
    client.publish("prices", price(3)).await.unwrap();
    subscription.next().await.unwrap().done();
    assert_eq!(subscription.next().await.unwrap().document(), &price(3));
}

#[tokio::test]
async fn a_handler_that_fails_gets_it_again_and_an_ended_subscription_gets_nothing() {
    let node = Node::start().await;
    let client = client(&node).await;
    let subscription = client.subscription("prices", "audit").unwrap().credit(1).begin().await.unwrap();
    client.publish("prices", price(1)).await.unwrap();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let mut failures = 1;
    let handling = tokio::spawn(subscription.each(move |document| {
        let fails = std::mem::take(&mut failures) > 0;
        tell.send((document, fails)).unwrap();
        async move { if fails { Err(Fault::new(Code::OperationFailed, "not now")) } else { Ok(()) } }
    }));
    assert_eq!(told.recv().await.unwrap(), (price(1), true));
    node.advance(Duration::from_secs(2)).await;
    assert_eq!(told.recv().await.unwrap(), (price(1), false));
    handling.abort();
    let mut subscription = client.subscribe("prices", "audit").await.unwrap();
    client.publish("prices", price(2)).await.unwrap();
    subscription.next().await.unwrap().done();
    subscription.unsubscribe().await.unwrap();
    client.publish("prices", price(3)).await.unwrap();
    let mut anew = client.subscribe("prices", "audit").await.unwrap();
    client.publish("prices", price(4)).await.unwrap();
    assert_eq!(anew.next().await.unwrap().document(), &price(4));
}
