//! A transaction from its request to its response, and when the world hears of it.

use crate::fixture::{CLIENT, DESK, Node, copied, definition, transaction};
use hansa_core::session::{Ending, ToSession};
use std::sync::{Arc, Mutex};

/// T12, invariant 1: request, acknowledgement, work, answer, response, each after what it rests on is durable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_goes_from_its_request_to_its_response() {
    let node = Node::found(&[definition("purchase", "", 1)], 8, |_| ()).await;
    let (before, said) = (node.house.statistics().journal.tail, node.left().len());
    let id = transaction(1);
    assert_eq!(node.submit(id, "purchase").await.unwrap(), "submitted");
    assert_eq!(node.house.statistics().transactions_open, 1);
    let invocation = node.performed(DESK, id, 1).await;
    assert_eq!(invocation.document.as_str(), format!("<Order>{id}</Order>"));
    node.answer(DESK, invocation.id).await.unwrap();
    assert!(matches!(node.responded(id).await.ending, Ending::Completed(output) if output.as_str() == "<Done/>"));

    let left = &node.left()[said..];
    let words: Vec<_> = left
        .iter()
        .map(|left| match &left.message {
            ToSession::Acknowledged { tracking, .. } => (left.session, tracking.word.as_deref().unwrap()),
            ToSession::Perform { .. } => (left.session, "perform"),
            ToSession::Respond { .. } => (left.session, "respond"),
            other => panic!("{other:?} was not expected"),
        })
        .collect();
    let (begun, ended) = (&words[..2], &words[2..]);
    assert_eq!(begun, [(CLIENT, "submitted"), (DESK, "perform")]);
    assert!(ended.contains(&(DESK, "answered")) && ended.contains(&(CLIENT, "respond")), "{ended:?}");
    assert_eq!(ended.len(), 2);
    assert!(left[..2].iter().all(|left| left.durable > before), "told before the submission was durable");
    assert!(left[2..].iter().all(|left| left.durable > before + 1), "told before the answer was durable");
    assert_eq!(node.house.statistics().transactions_open, 0);
    node.house.stop().await.unwrap();
}

/// T12: whoever was told that a submission is taken finds it, even if the process dies in the moment of telling.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_in_the_moment_of_the_acknowledgement_loses_nothing() {
    let node = Node::found(&[definition("purchase", "", 1)], 8, |_| ()).await;
    let copies = Arc::new(Mutex::new(Vec::new()));
    let (folder, made) = (node.folder.path().to_owned(), Arc::clone(&copies));
    node.watch(move |message| {
        let is_told = matches!(message, ToSession::Acknowledged { .. } | ToSession::Respond { .. });
        if is_told {
            made.lock().unwrap().push(copied(&folder));
        }
    });
    let id = transaction(1);
    node.submit(id, "purchase").await.unwrap();
    node.answer(DESK, node.performed(DESK, id, 1).await.id).await.unwrap();
    node.responded(id).await;
    node.house.stop().await.unwrap();

    let mut copies = std::mem::take(&mut *copies.lock().unwrap()).into_iter();
    let submitted = Node::open(copies.next().unwrap(), |_| ()).await;
    assert_eq!(submitted.submit(id, "purchase").await.unwrap(), "repeated");
    submitted.house.stop().await.unwrap();
    for copy in copies {
        let answered = Node::open(copy, |_| ()).await;
        assert!(matches!(answered.awaited(id).await.ending, Ending::Completed(_)));
        answered.house.stop().await.unwrap();
    }
}

/// T15: what a session held that ended is given to another session of the service.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_work_of_a_session_that_ended_is_given_to_another() {
    let node = Node::found(&[definition("purchase", "", 1)], 8, |_| ()).await;
    let id = transaction(1);
    node.submit(id, "purchase").await.unwrap();
    let first = node.performed(DESK, id, 1).await;
    node.register(3, 8).await;
    node.detach(DESK);
    let second = node.performed(3, id, 1).await;
    assert_eq!(second, first, "it is the same invocation still");
    node.answer(3, second.id).await.unwrap();
    node.responded(id).await;
    node.house.stop().await.unwrap();
}
