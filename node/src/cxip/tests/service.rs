//! A service of the SDK at the listener: what it is asked and answers, and what it does when its connection breaks.

use super::*;

/// A service whose handler counts its calls, and in which an order of 666 is bad luck.
fn counting(calls: &Arc<AtomicU32>) -> Service {
    let calls = Arc::clone(calls);
    Service::new("credit")
        .unwrap()
        .operation("check-credit", move |request: Request| {
            let calls = Arc::clone(&calls);
            async move {
                calls.fetch_add(1, Ordering::SeqCst);
                let order = request.document().tree()?;
                match order.root.attribute("total") {
                    Some("666") => panic!("bad luck"),
                    Some("13") => Err(Fault::new(Code::OperationFailed, "no credit")),
                    _ => Ok(text("<Credit granted='true'/>")),
                }
            }
        })
        .unwrap()
}

// T15: connect, register, sign up for operations, receive requests, answer.
#[tokio::test]
async fn a_service_registers_is_asked_and_answers() {
    let (mut node, calls) = (Node::start().await, Arc::new(AtomicU32::new(0)));
    let (address, service) = (node.address(), counting(&calls).public(true).credit(8));
    let attaching = tokio::spawn(async move { service.attach(&address).await });
    let (asker, input) = node.said().await;
    let FromSession::Register { service, credit } = input else { panic!("it registers first") };
    assert_eq!((service.name.as_str(), service.public, credit), ("credit", true, 8));
    assert_eq!(service.operations, ["check-credit".parse().unwrap()]);
    node.acknowledge(asker);
    let running = soon(attaching).await.unwrap().unwrap();
    assert!(running.is_connected());
    assert_eq!(running.welcome().organization, Some("Acme BV".parse().unwrap()));

    node.perform(asker.session, &invocation(1));
    let answered = node.answers().await;
    assert_eq!(answered, (asker.session, InvocationId(1), Outcome::Completed(text("<Credit granted='true'/>"))));

    // The handler's own refusal, its panic, and an operation that it does not have fail that one request.
    node.perform(asker.session, &Invocation { document: text("<Order total='13'/>"), ..invocation(2) });
    node.perform(asker.session, &Invocation { document: text("<Order total='666'/>"), ..invocation(3) });
    let target = Target { operation: "fly".parse().unwrap(), service: None };
    node.perform(asker.session, &Invocation { target, ..invocation(4) });
    let mut failed = HashMap::new();
    for _ in 0..3 {
        let (_, id, outcome) = node.answers().await;
        let Outcome::Failed(fault) = outcome else { panic!("they all fail") };
        failed.insert(id.0, fault.message);
    }
    assert_eq!(failed[&2], "no credit");
    assert!(failed[&3].contains("panicked") && failed[&4].contains("fly"), "{failed:?}");

    let stopping = tokio::spawn(running.stop());
    assert_eq!(node.closed().await, asker.session);
    soon(stopping).await.unwrap();
}

// T5, T15: the effect happens once, whatever becomes of the connection.
#[tokio::test]
async fn a_service_whose_connection_breaks_comes_back_and_performs_nothing_twice() {
    let (mut node, calls) = (Node::start().await, Arc::new(AtomicU32::new(0)));
    let (go, may_go) = tokio::sync::watch::channel(false);
    let counted = Arc::clone(&calls);
    let service = Service::new("credit")
        .unwrap()
        .operation("check-credit", move |_| {
            let (counted, mut may_go) = (Arc::clone(&counted), may_go.clone());
            async move {
                counted.fetch_add(1, Ordering::SeqCst);
                may_go.wait_for(|go| *go).await.unwrap();
                Ok(text("<Credit granted='true'/>"))
            }
        })
        .unwrap();
    let address = node.address();
    let attaching = tokio::spawn(async move { service.attach(&address).await });
    let first = node.registers().await;
    let running = soon(attaching).await.unwrap().unwrap();

    // In the middle of the work the connection breaks; the node asks again; the work is not done again.
    node.perform(first, &invocation(1));
    soon(async {
        while calls.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await
        }
    })
    .await;
    node.cut(first);
    let second = node.registers().await;
    node.perform(second, &invocation(1));
    go.send_replace(true);
    let (asker, input) = node.said().await;
    assert!(matches!(&input, FromSession::Answer { invocation: InvocationId(1), .. }), "{input:?}");
    assert_eq!(asker.session, second);

    // The answer is not acknowledged and the connection breaks again: it is sent again without being asked for.
    node.cut(second);
    let third = node.registers().await;
    let (session, id, _) = node.answers().await;
    assert_eq!((session, id), (third, InvocationId(1)));

    // Even what was acknowledged is answered from memory when it is asked once more.
    node.perform(third, &invocation(1));
    assert_eq!(node.answers().await.1, InvocationId(1));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    drop(running);
}

#[tokio::test]
async fn a_service_repeats_an_answer_for_which_the_node_was_busy_and_forgets_one_that_nobody_waits_for() {
    let (mut node, calls) = (Node::start().await, Arc::new(AtomicU32::new(0)));
    let (address, service) = (node.address(), counting(&calls));
    let attaching = tokio::spawn(async move { service.attach(&address).await });
    let session = node.registers().await;
    let running = soon(attaching).await.unwrap().unwrap();
    node.door.busy.store(2, Ordering::SeqCst);
    node.perform(session, &invocation(1));
    assert_eq!(node.answers().await.1, InvocationId(1), "the third attempt gets through");

    node.perform(session, &invocation(2));
    let (asker, _) = node.said().await;
    node.refuse(asker, Fault::new(Code::ResponseRefused, "nobody waits for it"));
    node.perform(session, &invocation(3));
    assert_eq!(node.answers().await.1, InvocationId(3));
    drop(running);
}

#[tokio::test]
async fn a_withdrawn_invocation_tells_its_handler_and_brings_no_answer() {
    let mut node = Node::start().await;
    let (told, mut hears) = mpsc::unbounded_channel();
    let service = Service::new("credit")
        .unwrap()
        .operation("check-credit", move |request: Request| {
            let told = told.clone();
            async move {
                told.send("begun").unwrap();
                request.cancellation().cancelled().await;
                told.send("cancelled").unwrap();
                Ok(text("<Late/>"))
            }
        })
        .unwrap();
    let address = node.address();
    let attaching = tokio::spawn(async move { service.attach(&address).await });
    let session = node.registers().await;
    let running = soon(attaching).await.unwrap().unwrap();
    node.perform(session, &invocation(1));
    assert_eq!(soon(hears.recv()).await, Some("begun"));
    node.tell(session, ToSession::Withdraw { invocation: InvocationId(1) });
    assert_eq!(soon(hears.recv()).await, Some("cancelled"));
    soon(running.stop()).await;
    while let Ok(heard) = node.hears.try_recv() {
        assert!(!matches!(heard, Heard::Said(..)), "no answer came: {heard:?}");
    }
}

#[tokio::test]
async fn whoever_is_refused_is_told_why() {
    let (mut node, calls) = (Node::start().await, Arc::new(AtomicU32::new(0)));
    let fault = Client::connect(&node.address(), "burglar").await.unwrap_err();
    assert_eq!(fault.code, Code::AccessDenied);
    let fault = Client::named("erp").password("guess").connect(&node.address()).await.unwrap_err();
    assert_eq!(fault.code, Code::AccessDenied);
    Client::named("erp").password("open sesame").connect(&node.address()).await.unwrap();

    let (address, service) = (node.address(), counting(&calls));
    let attaching = tokio::spawn(async move { service.attach(&address).await });
    let (asker, _) = node.said().await;
    node.refuse(asker, Fault::new(Code::ServiceConflict, "the name is reserved"));
    assert_eq!(soon(attaching).await.unwrap().unwrap_err().code, Code::ServiceConflict);

    let address = node.address();
    node.listener.stop().await;
    let fault = counting(&calls).attach(&address).await.unwrap_err();
    assert_eq!(fault.code, Code::NodeStopped);
    assert!(fault.message.contains(&address), "{fault}");
}

// T14: fragments, over a real socket and both ways.
#[tokio::test]
async fn a_large_document_goes_to_a_service_and_back_while_small_ones_pass_it() {
    let mut node = Node::start().await;
    let service = Service::new("echo")
        .unwrap()
        .operation("check-credit", |request: Request| async move { Ok(request.document().clone()) })
        .unwrap();
    let address = node.address();
    let attaching = tokio::spawn(async move { service.attach(&address).await });
    let session = node.registers().await;
    let running = soon(attaching).await.unwrap().unwrap();
    let large = text(&format!("<a>{}</a>", "x".repeat(4 * 1024 * 1024)));
    let perform = |id, document: &Text| {
        let (service, invocation) =
            ("echo".parse().unwrap(), Invocation { document: document.clone(), ..invocation(id) });
        node.tell(session, ToSession::Perform { service, invocation });
    };
    perform(1, &large);
    perform(2, &text("<b/>"));
    let (mut first, mut answers) = (None, HashMap::new());
    while answers.len() < 2 {
        let (_, id, outcome) = node.answers().await;
        first.get_or_insert(id);
        answers.insert(id, outcome);
    }
    assert_eq!(first, Some(InvocationId(2)), "the small one is not held up");
    assert_eq!(answers[&InvocationId(1)], Outcome::Completed(large));
    drop(running);
}

#[tokio::test]
async fn a_service_that_refuses_to_perform_has_failed_the_operation() {
    let mut node = Node::start().await;
    let mut wire = node.attach_by_hand(8).await;
    let session = *node.door.sessions.lock().unwrap().keys().next().unwrap();
    node.perform(session, &invocation(1));
    let Ok(Incoming::Message { number, .. }) = soon(wire.receive()).await else { panic!("a Perform") };
    wire.refuse(number, Fault::new(Code::OperationFailed, "not today"));
    let sending = tokio::spawn(async move { wire.receive().await });
    let (asker, input) = node.said().await;
    let FromSession::Answer { invocation, outcome, .. } = input else { panic!("an answer") };
    assert_eq!((asker.message, invocation), (0, InvocationId(1)));
    assert_eq!(outcome, Outcome::Failed(Fault::new(Code::OperationFailed, "not today")));
    sending.abort();
}
