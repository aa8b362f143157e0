//! A client of the SDK at the listener: what it submits and hears, over broken connections too.

use super::*;

// T4: submit, response, status, cancel.
#[tokio::test]
async fn a_client_submits_asks_and_hears_how_it_ended() {
    let mut node = Node::start().await;
    let client = Client::connect(&node.address(), "erp").await.unwrap();
    let submitting = tokio::spawn({
        let client = client.clone();
        async move { client.submit("purchase", text("<Order/>")).await }
    });
    let (submitted, input) = node.said().await;
    let FromSession::Submit { transaction: Some(id), definition, document } = input else { panic!("it submits") };
    assert_eq!((definition.as_str(), document.as_str()), ("purchase", "<Order/>"));
    node.acknowledge(submitted);
    let mut submission = soon(submitting).await.unwrap().unwrap();
    assert_eq!((submission.transaction(), submission.tracking().word.as_deref()), (id, Some("taken")));

    let asking = tokio::spawn({
        let client = client.clone();
        async move { (client.query(id).await, client.cancel(id).await, client.query(TransactionId(1)).await) }
    });
    let (asker, input) = node.said().await;
    assert_eq!(input, FromSession::Query { transaction: id });
    node.acknowledge(asker);
    let status = Status {
        transaction: id,
        definition: "purchase".parse().unwrap(),
        state: "running".to_owned(),
        operations_ended: 1,
        operations: 4,
    };
    node.tell(asker.session, ToSession::Status { message: asker.message, status: status.clone() });
    let (asker, input) = node.said().await;
    assert_eq!(input, FromSession::Cancel { transaction: id });
    node.acknowledge(asker);
    let (asker, _) = node.said().await;
    node.refuse(asker, Fault::new(Code::TransactionUnknown, "there is no such transaction"));
    let (queried, cancelled, unknown) = soon(asking).await.unwrap();
    assert_eq!((queried, cancelled), (Ok(status), Ok(())));
    assert_eq!(unknown.unwrap_err().code, Code::TransactionUnknown);

    node.respond(submitted, id);
    let response = soon(submission.response()).await.unwrap();
    assert_eq!(response.ending, Ending::Completed(text("<Done/>")));
    assert_eq!(soon(submission.response()).await.unwrap(), response, "asked again it says the same");
    drop((client, submission));
    assert_eq!(node.closed().await, submitted.session, "the last handle takes the connection along");
}

// T4: accepted once, answered once, over any number of connections.
#[tokio::test]
async fn a_submission_survives_broken_connections_under_one_id() {
    let mut node = Node::start().await;
    let client = Client::connect(&node.address(), "erp").await.unwrap();
    let submitting = tokio::spawn(async move { client.submit("purchase", text("<Order/>")).await });
    let (first, input) = node.said().await;
    node.cut(first.session);
    let (second, again) = node.said().await;
    assert_eq!(input, again, "the same submission, under the same id");
    node.acknowledge(second);
    let mut submission = soon(submitting).await.unwrap().unwrap();
    node.cut(second.session);
    let (third, input) = node.said().await;
    assert_eq!(input, FromSession::Await { transaction: submission.transaction() }, "it is taken, so it only waits");
    node.acknowledge(third);

    // Also over a node that is stopped and started again.
    let address = node.address();
    node.listener.stop().await;
    node.listener = Listener::start(&address, Security::None, Arc::clone(&node.door)).await.unwrap();
    let (fourth, _) = node.said().await;
    node.acknowledge(fourth);
    node.respond(fourth, submission.transaction());
    assert_eq!(soon(submission.response()).await.unwrap().ending.word(), "completed");
}

#[tokio::test]
async fn a_client_repeats_what_the_node_was_too_busy_for_and_reports_every_other_refusal() {
    let mut node = Node::start().await;
    node.door.busy.store(3, Ordering::SeqCst);
    let client = Client::connect(&node.address(), "erp").await.unwrap();
    let submitting = tokio::spawn(async move { client.submit("purchase", text("<Order/>")).await });
    let (asker, _) = node.said().await;
    assert_eq!(asker.message, 5, "the Connect, three that found the node busy, and this one");
    let fault = Fault::new(Code::DefinitionUnknown, "there is no definition purchase");
    node.refuse(asker, fault.clone());
    assert_eq!(soon(submitting).await.unwrap().unwrap_err(), fault);
}

#[tokio::test]
async fn a_client_has_no_more_submissions_open_than_it_may() {
    let mut node = Node::start().await;
    let client = Client::named("erp").submissions_open_max(1).connect(&node.address()).await.unwrap();
    let (one, other) = (client.clone(), client);
    let first = tokio::spawn(async move { one.submit("purchase", text("<Order/>")).await });
    let (asker, input) = node.said().await;
    let FromSession::Submit { transaction: Some(id), .. } = input else { panic!("it submits") };
    node.acknowledge(asker);
    drop(soon(first).await.unwrap().unwrap());
    let second = tokio::spawn(async move { other.submit("purchase", text("<Order/>")).await });
    tokio::task::yield_now().await;
    assert!(node.hears.try_recv().is_err(), "the next one waits");
    node.respond(asker, id);
    let (asker, _) = node.said().await;
    node.acknowledge(asker);
    soon(second).await.unwrap().unwrap();
}
