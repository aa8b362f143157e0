//! Two real nodes that follow each other's topics (T13): what is public crosses the federation, each publication once and in
//! order, also when the one that publishes or the one that follows is killed meanwhile.

use crate::node::{Node, PATIENCE};
use hansa_sdk::{Client, Code, OrganizationId, Subscription, Text};
use hansa_testnet::ports::free_ports;
use serde_json::Value;
use std::time::{Duration, Instant};

fn status(node: &Node<'_>) -> Value {
    serde_json::from_str(&node.say(["status", "--json"])).unwrap()
}

fn organization(node: &Node<'_>) -> OrganizationId {
    status(node)["organization"]["id"].as_str().unwrap().parse().unwrap()
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn is_connected(node: &Node<'_>) -> bool {
    status(node)["peers"].as_array().unwrap().iter().any(|peer| peer["connected"] == true)
}

/// The peer that follows a topic of this node is subscribed to it.
fn is_followed(node: &Node<'_>) -> bool {
    let topics: Value = serde_json::from_str(&node.say(["topic", "list", "--json"])).unwrap();
    let own = topics.as_array().unwrap().iter().find(|topic| topic["organization"].is_null());
    own.is_some_and(|topic| {
        topic["subscribers"].as_array().unwrap().iter().any(|subscriber| subscriber["organization"].is_string())
    })
}

async fn publish(client: &Client, public: bool, price: u32) {
    let document = Text::parse(format!("<Price>{price}</Price>").as_bytes()).unwrap();
    let publication = hansa_sdk::PublicationId(u128::from(price));
    client.publish_as(publication, "prices", public, document).await.unwrap();
}

async fn next(subscription: &mut Subscription) -> String {
    let publication = tokio::time::timeout(PATIENCE, subscription.next()).await.expect("it comes").unwrap();
    let document = publication.document().as_str().to_owned();
    publication.done();
    document
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_that_follow_each_other_get_what_is_public_once_and_in_order() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    // Members find each other again at the same address after a kill.
    let ports = free_ports(2).unwrap();
    let listen = |port: u16| vec![format!("federation.listen=/ip4/127.0.0.1/tcp/{port}")];
    let mut acme = Node::of("Acme BV", folders[0].path(), listen(ports[0]));
    let mut birch = Node::of("Birch GmbH", folders[1].path(), listen(ports[1]));
    let invite: Value = serde_json::from_str(&acme.say(["invite", "--json"])).unwrap();
    birch.say(["join", invite["invite"].as_str().unwrap()]);
    until("they are connected", || is_connected(&acme) && is_connected(&birch)).await;

    let at_acme = Client::connect(&acme.address(), "acme").await.unwrap();
    let at_birch = Client::connect(&birch.address(), "birch").await.unwrap();
    // A member is connected a moment before its papers are in the directory.
    let follow = async |client: &Client, of| loop {
        match client.subscription("prices", "audit").unwrap().of(of).begin().await {
            Err(fault) if fault.code == Code::MemberUnknown => tokio::time::sleep(Duration::from_millis(50)).await,
            begun => break begun.unwrap(),
        }
    };
    let mut of_birch = follow(&at_acme, organization(&birch)).await;
    let mut of_acme = follow(&at_birch, organization(&acme)).await;
    until("each follows the other", || is_followed(&acme) && is_followed(&birch)).await;

    for price in 0..10 {
        publish(&at_acme, true, 100 + price).await;
        publish(&at_acme, false, 300 + price).await;
        publish(&at_birch, true, 200 + price).await;
    }
    for price in 0..10 {
        assert_eq!(next(&mut of_acme).await, format!("<Price>{}</Price>", 100 + price), "what is not public stays");
        assert_eq!(next(&mut of_birch).await, format!("<Price>{}</Price>", 200 + price));
    }

    birch.kill_and_start();
    publish(&at_acme, true, 110).await;
    publish(&at_birch, true, 210).await;
    assert_eq!(next(&mut of_acme).await, "<Price>110</Price>", "who follows was killed");
    acme.kill_and_start();
    publish(&at_acme, true, 111).await;
    assert_eq!(next(&mut of_acme).await, "<Price>111</Price>", "who publishes was killed");
    assert_eq!(next(&mut of_birch).await, "<Price>210</Price>");
}
