//! How a client keeps to what it promises, on a node in memory.

use super::Client;
use crate::{Code, Ending, Fault, Running, Service, Text, TransactionId, test::Node};
use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::sync::Semaphore;

fn text(xml: &str) -> Text {
    Text::parse(xml.as_bytes()).unwrap()
}

/// A definition with one operation, and a service that performs it when it is let.
async fn purchases(node: &Node) -> (Running, Arc<Semaphore>) {
    node.define(include_str!("../../../docs/examples/purchase.xml")).unwrap();
    let gate = Arc::new(Semaphore::new(0));
    let waits = Arc::clone(&gate);
    let handler = move |_| {
        let waits = Arc::clone(&waits);
        async move {
            waits.acquire().await.unwrap().forget();
            Ok(text("<Credit/>"))
        }
    };
    let service = Service::new("credit").unwrap().operation("check-credit", handler).unwrap();
    (service.attach_to(node).await.unwrap(), gate)
}

// T4: over a broken connection, and over a node that was killed, the response still comes.
#[tokio::test]
async fn what_was_submitted_is_answered_over_as_many_connections_as_that_takes() {
    let node = Node::start().await;
    let (_running, gate) = purchases(&node).await;
    let client = Client::named("erp").connect_to(&node).await.unwrap();
    let mut submissions = Vec::new();
    for _ in 0..20 {
        submissions.push(client.submit("purchase", text("<Order/>")).await.unwrap());
    }
    node.drop_connections().await;
    submissions.push(client.submit("purchase", text("<Order/>")).await.unwrap());
    node.restart().await;
    gate.add_permits(submissions.len());
    for mut submission in submissions {
        assert_eq!(submission.response().await.unwrap().ending, Ending::Completed(text("<Credit/>")));
        assert!(submission.response().await.is_ok(), "asked again, it says the same again");
    }
    assert_eq!(node.invocations("check-credit").len(), 21, "and nothing was begun twice");
}

#[tokio::test]
async fn a_submission_under_the_same_id_is_the_same_transaction() {
    let node = Node::start().await;
    let (_running, _gate) = purchases(&node).await;
    let client = Client::named("erp").connect_to(&node).await.unwrap();
    let id = TransactionId(7);
    let first = client.submit_as(id, "purchase", text("<Order/>")).await.unwrap();
    let again = client.submit_as(id, "purchase", text("<Order/>")).await.unwrap();
    assert_eq!((first.transaction(), again.transaction()), (id, id));
    assert_eq!(again.tracking().word.as_deref(), Some("repeated"));
    let other = client.submit_as(id, "purchase", text("<Other/>")).await.unwrap_err();
    assert_eq!(other.code, Code::TransactionConflict);
    assert_eq!(client.query(id).await.unwrap().state, "running");
    assert_eq!(node.invocations("check-credit").len(), 1);
}

/// Whether it waits still, after everything that can move has moved.
async fn waits<F: Future>(node: &Node, future: std::pin::Pin<&mut F>) -> bool {
    node.settle().await;
    matches!(future.poll(&mut Context::from_waker(Waker::noop())), Poll::Pending)
}

#[tokio::test]
async fn no_more_submissions_are_open_than_were_wanted() {
    let node = Node::start().await;
    let (_running, gate) = purchases(&node).await;
    let client = Client::named("erp").submissions_open_max(2).connect_to(&node).await.unwrap();
    let mut first = client.submit("purchase", text("<Order/>")).await.unwrap();
    let _second = client.submit("purchase", text("<Order/>")).await.unwrap();
    let mut third = Box::pin(client.submit("purchase", text("<Order/>")));
    assert!(waits(&node, third.as_mut()).await);
    gate.add_permits(1);
    first.response().await.unwrap();
    gate.add_permits(2);
    let mut third = third.await.unwrap();
    assert!(matches!(third.response().await.unwrap().ending, Ending::Completed(_)));
}

#[tokio::test]
async fn calls_wait_for_a_node_that_is_away_and_may_be_given_up() {
    let node = Node::start().await;
    let (_running, _gate) = purchases(&node).await;
    let client = Client::named("erp").connect_to(&node).await.unwrap();
    node.stop().await;
    {
        let mut given_up = Box::pin(client.submit("purchase", text("<Abandoned/>")));
        assert!(waits(&node, given_up.as_mut()).await);
    }
    let submits = {
        let client = client.clone();
        tokio::spawn(async move { client.submit("purchase", text("<Order/>")).await })
    };
    node.settle().await;
    assert!(!submits.is_finished());
    node.restart().await;
    submits.await.unwrap().unwrap();
    node.settle().await;
    let asked = node.invocations("check-credit");
    assert!(asked.iter().all(|asked| asked.document.as_str() == "<Order/>"), "what was given up was not submitted");
}

#[tokio::test]
async fn a_client_that_is_let_in_no_more_leaves_nobody_waiting() {
    let node = Node::start().await;
    let (_running, _gate) = purchases(&node).await;
    let client = Client::named("erp").connect_to(&node).await.unwrap();
    let mut submission = client.submit("purchase", text("<Order/>")).await.unwrap();
    node.require_password("open sesame");
    node.drop_connections().await;
    let denied = |fault: Fault| assert_eq!(fault.code, Code::AccessDenied);
    denied(submission.response().await.unwrap_err());
    denied(client.query(submission.transaction()).await.unwrap_err());
    denied(client.submit("purchase", text("<Order/>")).await.unwrap_err());
    assert!(!client.is_connected());
    let other = Client::named("erp").password("open sesame").connect_to(&node).await.unwrap();
    assert_eq!(other.query(submission.transaction()).await.unwrap().state, "running", "the transaction goes on");
}

#[tokio::test]
async fn whoever_is_not_there_yet_is_waited_for() {
    let node = Node::start().await;
    node.stop().await;
    let connects = {
        let node = node.clone();
        tokio::spawn(async move { Client::named("erp").patience(Duration::from_secs(60)).connect_to(&node).await })
    };
    node.settle().await;
    assert!(!connects.is_finished());
    node.restart().await;
    assert!(connects.await.unwrap().unwrap().is_connected());
}
