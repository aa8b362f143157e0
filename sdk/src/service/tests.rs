//! How a service treats its handlers, and how it ends.

use super::{Answer, Request, Running, Service};
use crate::{Code, Fault, Text, test::Node};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::sync::Semaphore;

fn text(xml: &str) -> Text {
    Text::parse(xml.as_bytes()).unwrap()
}

fn credit<F>(handler: impl Fn(Request) -> F + Send + Sync + 'static) -> Service
where
    F: Future<Output = Answer> + Send + 'static,
{
    Service::new("credit").unwrap().operation("check-credit", handler).unwrap()
}

/// A request under way to a service, in a task of its own.
fn ask(node: &Node) -> tokio::task::JoinHandle<Answer> {
    let node = node.clone();
    tokio::spawn(async move { node.perform("check-credit", text("<Order/>")).await })
}

/// Wait until the handler has begun.
async fn begun(begins: &Semaphore) {
    begins.acquire().await.unwrap().forget();
}

#[tokio::test]
async fn a_handler_that_panics_fails_its_request_and_nothing_else_wherever_it_panics() {
    let node = Node::start().await;
    let panics = AtomicU32::new(0);
    let _running = credit(move |_| {
        let turn = panics.fetch_add(1, Ordering::SeqCst);
        assert_ne!(turn, 0, "before its first await");
        async move {
            assert_ne!(turn, 1, "in its future");
            Ok(text("<Yes/>"))
        }
    })
    .attach_to(&node)
    .await
    .unwrap();
    for _ in 0..2 {
        let fault = ask(&node).await.unwrap().unwrap_err();
        assert!(fault.code == Code::OperationFailed && fault.message.contains("panicked"), "{fault}");
    }
    assert_eq!(ask(&node).await.unwrap().unwrap().as_str(), "<Yes/>");
}

/// A service whose one handler tells that it has begun, waits to be let on, and tells that it has come to its end.
struct Slow {
    begins: Arc<Semaphore>,
    goes_on: Arc<Semaphore>,
    ended: Arc<AtomicBool>,
}

impl Slow {
    fn new() -> Self {
        let closed = || Arc::new(Semaphore::new(0));
        Self { begins: closed(), goes_on: closed(), ended: Arc::default() }
    }

    fn service(&self) -> Service {
        let (begins, goes_on, ended) = (self.begins.clone(), self.goes_on.clone(), self.ended.clone());
        credit(move |_| {
            begins.add_permits(1);
            let (goes_on, ended) = (goes_on.clone(), ended.clone());
            async move {
                goes_on.acquire().await.unwrap().forget();
                ended.store(true, Ordering::SeqCst);
                Ok(text("<Yes/>"))
            }
        })
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }
}

async fn stopping(running: Running, node: &Node) -> tokio::task::JoinHandle<()> {
    let stopping = tokio::spawn(running.stop());
    node.settle().await;
    assert!(!stopping.is_finished(), "it waits for the handler");
    stopping
}

#[tokio::test]
async fn a_service_that_stops_hands_over_what_it_was_at() {
    let (node, slow) = (Node::start().await, Slow::new());
    let running = slow.service().attach_to(&node).await.unwrap();
    let answer = ask(&node);
    begun(&slow.begins).await;
    let stopping = stopping(running, &node).await;
    slow.goes_on.add_permits(1);
    assert_eq!(answer.await.unwrap().unwrap().as_str(), "<Yes/>");
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_service_that_stops_while_the_node_is_away_lets_its_handlers_finish() {
    let (node, slow) = (Node::start().await, Slow::new());
    let running = slow.service().attach_to(&node).await.unwrap();
    let _answer = ask(&node);
    begun(&slow.begins).await;
    node.stop().await;
    let stopping = stopping(running, &node).await;
    slow.goes_on.add_permits(1);
    stopping.await.unwrap();
    assert!(slow.has_ended());
}

#[tokio::test]
async fn a_service_that_loses_its_connection_while_it_stops_lets_its_handlers_finish() {
    let (node, slow) = (Node::start().await, Slow::new());
    let running = slow.service().attach_to(&node).await.unwrap();
    let _answer = ask(&node);
    begun(&slow.begins).await;
    let stopping = stopping(running, &node).await;
    node.drop_connections().await;
    node.settle().await;
    slow.goes_on.add_permits(1);
    stopping.await.unwrap();
    assert!(slow.has_ended());
}

#[tokio::test(start_paused = true)]
async fn a_service_waits_for_its_handlers_no_longer_than_it_was_told() {
    let (node, slow) = (Node::start().await, Slow::new());
    let running = slow.service().attach_to(&node).await.unwrap();
    let _answer = ask(&node);
    begun(&slow.begins).await;
    // The handler is never let on; under a paused clock the patience passes by itself.
    running.stop_within(Duration::from_secs(3_600)).await;
    assert!(!slow.has_ended());
}

#[tokio::test]
async fn a_withdrawn_request_ends_its_handler_where_that_is_wanted() {
    let (node, slow) = (Node::start().await, Slow::new());
    let _running = slow.service().credit(1).stop_withdrawn(true).attach_to(&node).await.unwrap();
    let answer = ask(&node);
    begun(&slow.begins).await;
    node.cancel(node.invocations("check-credit")[0].transaction).await.unwrap();
    assert_eq!(answer.await.unwrap().unwrap_err().code, Code::TransactionCancelled);
    // There is credit for one handler only, so the next one begins because the first is gone.
    let answer = ask(&node);
    begun(&slow.begins).await;
    assert!(!slow.has_ended());
    slow.goes_on.add_permits(1);
    assert!(answer.await.unwrap().is_ok());
}

// Refused, a request would count as failed; so what there is no room for waits.
#[tokio::test]
async fn what_there_is_no_room_for_waits_and_is_answered() {
    let (node, slow) = (Node::start().await, Slow::new());
    let _running = slow.service().credit(1).attach_to(&node).await.unwrap();
    // Withdrawn requests whose handlers run on, or have not begun, take room that the node knows nothing of.
    for number in 0..6 {
        let answer = ask(&node);
        node.settle().await;
        node.cancel(node.invocations("check-credit")[number].transaction).await.unwrap();
        assert_eq!(answer.await.unwrap().unwrap_err().code, Code::TransactionCancelled);
    }
    let answer = ask(&node);
    node.settle().await;
    assert!(!answer.is_finished() && !slow.has_ended());
    slow.goes_on.add_permits(10);
    assert_eq!(answer.await.unwrap().unwrap().as_str(), "<Yes/>");
    assert_eq!(node.left_over(), Vec::<String>::new());
}

#[tokio::test]
async fn no_more_handlers_run_than_there_is_credit_and_all_requests_are_answered() {
    let node = Node::start().await;
    let (now, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let counts = (Arc::clone(&now), Arc::clone(&most));
    let running = credit(move |_| {
        let (now, most) = counts.clone();
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            now.fetch_sub(1, Ordering::SeqCst);
            Err(Fault::new(Code::OperationFailed, "no"))
        }
    });
    let _running = running.credit(3).attach_to(&node).await.unwrap();
    for answer in (0..50).map(|_| ask(&node)).collect::<Vec<_>>() {
        assert_eq!(answer.await.unwrap().unwrap_err().code, Code::OperationFailed);
    }
    assert_eq!((now.load(Ordering::SeqCst), most.load(Ordering::SeqCst)), (0, 3));
}
