//! The in-memory node, as a test of a service uses it.

use super::Node;
use crate::{Answer, Client, Code, Ending, Fault, Request, Running, Service, Text, test::Outcome};
use hansa_core::{
    ident::LibraryHash,
    transaction::{Library, Load, Loader, Signature, Value, catalogue},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::sync::Semaphore;

fn text(xml: &str) -> Text {
    Text::parse(xml.as_bytes()).unwrap()
}

/// A service with one operation, which counts its calls.
async fn attach<F>(
    node: &Node,
    name: &str,
    operation: &str,
    handler: impl Fn(Request) -> F + Send + Sync + 'static,
) -> Running
where
    F: Future<Output = Answer> + Send + 'static,
{
    Service::new(name).unwrap().operation(operation, handler).unwrap().attach_to(node).await.unwrap()
}

async fn attach_fixed(node: &Node, name: &str, operation: &str, answer: &'static str) -> Running {
    attach(node, name, operation, move |_| async move { Ok(text(answer)) }).await
}

/// A definition out of operations, each with its id, what stands in it besides, and where it links to.
fn definition(name: &str, operations: &[(&str, u32, &str, &[u32])]) -> String {
    let operations = operations.iter().map(|(name, id, more, links)| {
        let links = links.iter().map(|to| format!("<OPLINK><SRCOPID>{id}</SRCOPID><DSTOPID>{to}</DSTOPID></OPLINK>"));
        format!("<OPERATION><NAME>{name}</NAME><OPID>{id}</OPID>{}{more}</OPERATION>", links.collect::<String>())
    });
    let operations = operations.collect::<String>();
    format!("<TRANSACTION xmlns:hx='urn:hansa:transaction:1'><NAME>{name}</NAME>{operations}</TRANSACTION>")
}

const ANY: &str = "<CXCNAME>ANY</CXCNAME>";

fn credit() -> String {
    let tail = "<JOIN><DOCUMENT><OPID>1</OPID><OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE></DOCUMENT></JOIN>";
    definition("purchase", &[("CXtsHeadOp", 0, "", &[1]), ("check-credit", 1, ANY, &[2]), ("CXtsTailOp", 2, tail, &[])])
}

// T15: the whole way of a test, as the page on developing has it.
#[tokio::test]
async fn a_service_is_asked_and_its_answer_comes_back() {
    let node = Node::start().await;
    let running = attach(&node, "credit", "check-credit", |request: Request| async move {
        let order = request.document().tree()?;
        let total: u32 = order.root.attribute("total").unwrap_or_default().parse().unwrap_or_default();
        if total == 0 {
            return Err(Fault::new(Code::OperationFailed, "the order has no total"));
        }
        Ok(text(&format!("<Credit granted='{}'/>", total <= 1_000)))
    })
    .await;
    assert_eq!(
        node.perform("check-credit", text("<Order total='250'/>")).await.unwrap().as_str(),
        "<Credit granted='true'/>"
    );
    let refused = node.perform("check-credit", text("<Order/>")).await.unwrap_err();
    assert_eq!((refused.code, refused.message.contains("no total")), (Code::OperationFailed, true));

    let asked = node.invocations("check-credit");
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].document.as_str(), "<Order total='250'/>");
    assert_eq!(asked[0].outcome, Some(Outcome::Completed(text("<Credit granted='true'/>"))));
    assert_eq!((asked[0].service.as_str(), asked[0].deliveries, asked[0].withdrawn), ("credit", 1, false));
    assert!(matches!(asked[1].outcome, Some(Outcome::Failed(_))));
    assert!(node.left_over().is_empty(), "{:?}", node.left_over());
    running.stop().await;
    let nobody = node.invocations("fly");
    assert!(nobody.is_empty());
}

#[tokio::test]
async fn what_nobody_is_signed_up_for_is_said_at_once() {
    let node = Node::start().await;
    assert_eq!(node.perform("fly", text("<Order/>")).await.unwrap_err().code, Code::NoPerformer);
    assert_eq!(node.submit("fly", text("<Order/>")).await.unwrap_err().code, Code::DefinitionUnknown);
}

#[tokio::test]
async fn every_fault_of_a_definition_is_told() {
    let node = Node::start().await;
    let links_to_nowhere = definition(
        "purchase",
        &[("CXtsHeadOp", 0, "", &[7]), ("check-credit", 1, ANY, &[8]), ("CXtsTailOp", 2, "", &[])],
    );
    let fault = node.define(links_to_nowhere).unwrap_err();
    assert!(fault.message.lines().count() >= 2, "{}", fault.message);
    assert!(fault.message.contains('7') && fault.message.contains('8'), "{}", fault.message);
    assert_eq!(node.define("<TRANSACTION>").unwrap_err().code, Code::DocumentMalformed);
}

// T5, T6, T7: it is the engine of the real node, so splits, eliminations and joins are those of the real node.
#[tokio::test]
async fn a_transaction_splits_and_joins_as_on_a_real_node() {
    let node = Node::start().await;
    let dear = "<SPLIT><STMT><EXPR><OPERATOR><OPNAME>GREATER</OPNAME>\
        <EXPR><VAR><VARNAME>@total</VARNAME><OPID>0</OPID><OPDOCIOTYPE>INPUT</OPDOCIOTYPE><VALTYPE>NUMVALUE</VALTYPE></VAR></EXPR>\
        <EXPR><VALUE>1000</VALUE><VALTYPE>NUMVALUE</VALTYPE></EXPR></OPERATOR></EXPR><OPID>1</OPID><OPID>2</OPID></STMT>\
        <STMT><EXPR><VALUE>true</VALUE><VALTYPE>BOOLVALUE</VALTYPE></EXPR><OPID>2</OPID></STMT></SPLIT>";
    let tail = "<JOIN><DOCUMENT><OPID>3</OPID><OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE></DOCUMENT></JOIN>";
    node.define(definition(
        "order",
        &[
            ("CXtsHeadOp", 0, dear, &[1, 2]),
            ("check-credit", 1, ANY, &[3]),
            ("check-stock", 2, ANY, &[3]),
            ("ship", 3, ANY, &[4]),
            ("CXtsTailOp", 4, tail, &[]),
        ],
    ))
    .unwrap();
    let _credit = attach_fixed(&node, "credit", "check-credit", "<Credit granted='true'/>").await;
    let _stock = attach_fixed(&node, "stock", "check-stock", "<Stock there='true'/>").await;
    let _depot = attach(&node, "depot", "ship", |request: Request| async move {
        let whole = request.document().as_str();
        assert!(whole.contains("Stock"), "the join has what came before: {whole}");
        Ok(text("<Shipped/>"))
    })
    .await;
    let states = async |total: &str| {
        let order = text(&format!("<Order total='{total}'/>"));
        let mut submission = node.submit("order", order).await.unwrap();
        assert_eq!(submission.response().await.unwrap().ending, Ending::Completed(text("<Shipped/>")));
        let picture = node.picture(submission.transaction()).unwrap();
        picture.operations.into_iter().map(|operation| operation.state).collect::<Vec<_>>()
    };
    assert_eq!(states("5000").await, ["completed"; 5]);
    assert_eq!(states("5").await, ["completed", "eliminated", "completed", "completed", "completed"]);
    assert_eq!(node.invocations("check-credit").len(), 1);
    assert_eq!(node.invocations("ship").len(), 2);
}

// T11: hours of a time limit in no time.
#[tokio::test]
async fn time_is_moved_and_whatever_was_to_happen_on_the_way_happens() {
    let node = Node::start().await;
    node.define(credit().replace(ANY, "<CXCNAME>ANY</CXCNAME><TIMEOUT>7200</TIMEOUT>")).unwrap();
    let withdrawn = Arc::new(Semaphore::new(0));
    let tells = Arc::clone(&withdrawn);
    let _thinker = attach(&node, "thinker", "check-credit", move |request: Request| {
        let tells = Arc::clone(&tells);
        async move {
            request.cancellation().cancelled().await;
            tells.add_permits(1);
            Err(Fault::new(Code::OperationFailed, "nobody waits"))
        }
    })
    .await;
    let mut submission = node.submit("purchase", text("<Order/>")).await.unwrap();
    let before = node.now();
    node.advance(Duration::from_secs(7_199)).await;
    assert_eq!(node.picture(submission.transaction()).unwrap().state, "running");
    node.advance(Duration::from_secs(1)).await;
    assert!(node.now().since_ms(before) >= 7_200_000);
    let ending = submission.response().await.unwrap().ending;
    assert!(matches!(&ending, Ending::Failed(fault) if fault.code == Code::OperationTimedOut), "{ending:?}");
    assert!(withdrawn.acquire().await.is_ok(), "and the handler was told");
    assert!(node.invocations("check-credit")[0].withdrawn);
}

#[tokio::test(start_paused = true)]
async fn under_a_paused_clock_time_limits_come_by_themselves() {
    let node = Node::start().await;
    node.define(credit().replace(ANY, "<CXCNAME>ANY</CXCNAME><TIMEOUT>3600</TIMEOUT>")).unwrap();
    let _never = attach(&node, "credit", "check-credit", |_| std::future::pending()).await;
    let mut submission = node.submit("purchase", text("<Order/>")).await.unwrap();
    let ending = submission.response().await.unwrap().ending;
    assert!(matches!(ending, Ending::Failed(fault) if fault.code == Code::OperationTimedOut));
}

// T11: attempts and the pauses between them, in no time.
#[tokio::test]
async fn attempts_with_an_hour_between_them_take_no_time() {
    let node = Node::start().await;
    let retried = "<CXCNAME>ANY</CXCNAME>\
        <hx:RETRY><hx:ATTEMPTS>3</hx:ATTEMPTS><hx:PAUSE>3600</hx:PAUSE><hx:PAUSEMAX>3600</hx:PAUSEMAX></hx:RETRY>";
    node.define(credit().replace(ANY, retried)).unwrap();
    let _flaky = attach(&node, "credit", "check-credit", |request: Request| async move {
        match request.attempt() {
            3 => Ok(text("<Credit granted='true'/>")),
            attempt => Err(Fault::new(Code::OperationFailed, format!("attempt {attempt} fails"))),
        }
    })
    .await;
    let mut submission = node.submit("purchase", text("<Order/>")).await.unwrap();
    node.advance(Duration::from_secs(3 * 3_600)).await;
    assert!(matches!(submission.response().await.unwrap().ending, Ending::Completed(_)));
    let asked = node.invocations("check-credit");
    assert_eq!(asked.iter().map(|asked| asked.attempt).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(asked[0].id != asked[1].id, "another attempt is another act");
}

// T17: what undoes an operation is performed when a later one fails.
#[tokio::test]
async fn what_was_done_is_undone_when_a_later_operation_fails() {
    let node = Node::start().await;
    let undone = "<CXCNAME>ANY</CXCNAME><hx:COMPENSATION><NAME>release</NAME></hx:COMPENSATION>";
    let tail = "<JOIN><DOCUMENT><OPID>2</OPID><OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE></DOCUMENT></JOIN>";
    node.define(definition(
        "order",
        &[
            ("CXtsHeadOp", 0, "", &[1]),
            ("reserve", 1, undone, &[2]),
            ("pay", 2, ANY, &[3]),
            ("CXtsTailOp", 3, tail, &[]),
        ],
    ))
    .unwrap();
    let _stock = attach_fixed(&node, "stock", "reserve", "<Reserved/>").await;
    let _release = attach_fixed(&node, "releases", "release", "<Released/>").await;
    let _bank =
        attach(&node, "bank", "pay", |_| async { Err(Fault::new(Code::OperationFailed, "the account is empty")) })
            .await;
    let mut submission = node.submit("order", text("<Order/>")).await.unwrap();
    let ending = submission.response().await.unwrap().ending;
    assert!(matches!(&ending, Ending::Failed(fault) if fault.message.contains("empty")), "{ending:?}");
    assert_eq!(node.invocations("release").len(), 1);
    assert_eq!(node.left_over(), Vec::<String>::new());
}

// T17: a definition within a definition, and a signal that the inner one waits for.
#[tokio::test]
async fn a_signal_lets_a_transaction_within_a_transaction_go_on() {
    let node = Node::start().await;
    let tail = "<JOIN><DOCUMENT><OPID>1</OPID><OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE></DOCUMENT></JOIN>";
    let around = |name: &str, work: &str| {
        definition(name, &[("CXtsHeadOp", 0, "", &[1]), ("work", 1, work, &[2]), ("CXtsTailOp", 2, tail, &[])])
    };
    node.define(around("payment", "<hx:SIGNAL>paid</hx:SIGNAL>")).unwrap();
    let mut paid = node.submit("payment", text("<Invoice/>")).await.unwrap();
    node.signal(paid.transaction(), "paid", text("<Paid amount='12'/>")).unwrap();
    assert_eq!(paid.response().await.unwrap().ending, Ending::Completed(text("<Paid amount='12'/>")));
    assert!(node.signal(paid.transaction(), "lost", text("<Lost/>")).is_err(), "no operation waits for that");

    node.define(around("check", ANY)).unwrap();
    node.define(around("order", "<hx:TRANSACTION>check</hx:TRANSACTION>")).unwrap();
    let _worker = attach_fixed(&node, "worker", "work", "<Done/>").await;
    let mut order = node.submit("order", text("<Order/>")).await.unwrap();
    assert_eq!(order.response().await.unwrap().ending, Ending::Completed(text("<Done/>")));
    assert_ne!(node.invocations("work")[0].transaction, order.transaction(), "it is the inner one's");
}

// T4: a cancelled transaction withdraws what it asked for.
#[tokio::test]
async fn a_cancelled_transaction_withdraws_what_it_asked_for() {
    let node = Node::start().await;
    node.define(credit()).unwrap();
    let begun = Arc::new(Semaphore::new(0));
    let tells = Arc::clone(&begun);
    let _credit = attach(&node, "credit", "check-credit", move |request: Request| {
        tells.add_permits(1);
        async move {
            request.cancellation().cancelled().await;
            Err(Fault::new(Code::OperationFailed, "nobody waits"))
        }
    })
    .await;
    let mut submission = node.submit("purchase", text("<Order/>")).await.unwrap();
    begun.acquire().await.unwrap().forget();
    node.cancel(submission.transaction()).await.unwrap();
    assert_eq!(submission.response().await.unwrap().ending, Ending::Cancelled);
    assert!(node.invocations("check-credit")[0].withdrawn);
    assert!(node.cancel(submission.transaction()).await.is_ok(), "asked again, the same is said again");
}

/// A service that holds each request until it is let go, and counts how often its handler is called.
async fn attach_held(node: &Node, calls: &Arc<AtomicU32>, gate: &Arc<Semaphore>) -> Running {
    let (calls, gate) = (Arc::clone(calls), Arc::clone(gate));
    attach(node, "credit", "check-credit", move |_| {
        let (calls, gate) = (Arc::clone(&calls), Arc::clone(&gate));
        async move {
            calls.fetch_add(1, Ordering::SeqCst);
            gate.acquire().await.unwrap().forget();
            Ok(text("<Credit granted='true'/>"))
        }
    })
    .await
}

// T5: a broken connection is made again, and nothing is performed twice.
#[tokio::test]
async fn a_broken_connection_loses_nothing_and_doubles_nothing() {
    let node = Node::start().await;
    node.define(credit()).unwrap();
    let (calls, gate) = (Arc::default(), Arc::new(Semaphore::new(0)));
    let mut running = attach_held(&node, &calls, &gate).await;
    let mut submission = node.submit("purchase", text("<Order/>")).await.unwrap();
    while calls.load(Ordering::SeqCst) == 0 {
        node.settle().await;
    }
    node.drop_connections().await;
    gate.add_permits(1);
    running.connected().await;
    assert!(matches!(submission.response().await.unwrap().ending, Ending::Completed(_)));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert_eq!(node.invocations("check-credit").len(), 1, "the same invocation, however often it was delivered");
}

// T12: what a node had written down it goes on with, under the same ids.
#[tokio::test]
async fn a_restarted_node_asks_again_under_the_same_id() {
    let node = Node::start().await;
    node.define(credit()).unwrap();
    let (calls, gate) = (Arc::default(), Arc::new(Semaphore::new(0)));
    let running = attach_held(&node, &calls, &gate).await;
    let mut submission = node.submit("purchase", text("<Order/>")).await.unwrap();
    while calls.load(Ordering::SeqCst) == 0 {
        node.settle().await;
    }
    // The service's process dies as well, so it remembers nothing and its handler is called again.
    drop(running);
    node.stop().await;
    assert_eq!(Client::named("late").connect_to(&node).await.unwrap_err().code, Code::NodeStopped);
    node.restart().await;
    let _again = attach_held(&node, &calls, &gate).await;
    gate.add_permits(2);
    assert!(matches!(submission.response().await.unwrap().ending, Ending::Completed(_)));
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    let asked = node.invocations("check-credit");
    assert_eq!((asked.len(), asked[0].deliveries), (1, 2));
}

// X4, T15: how to test that a handler does nothing twice.
#[tokio::test]
async fn an_invocation_that_is_delivered_again_has_no_second_effect() {
    let node = Node::start().await;
    // What the service keeps in its database: ids with their answers.
    let booked: Arc<Mutex<BTreeMap<u128, Text>>> = Arc::default();
    let calls = Arc::new(AtomicU32::new(0));
    let service = || {
        let (booked, calls) = (Arc::clone(&booked), Arc::clone(&calls));
        attach(&node, "ledger", "book", move |request: Request| {
            calls.fetch_add(1, Ordering::SeqCst);
            let mut booked = booked.lock().unwrap();
            let number = booked.len() + 1;
            let answer =
                booked.entry(request.invocation().0).or_insert_with(|| text(&format!("<Booked number='{number}'/>")));
            std::future::ready(Ok(answer.clone()))
        })
    };
    let running = service().await;
    let first = node.perform("book", text("<Amount>12</Amount>")).await.unwrap();
    let id = node.invocations("book")[0].id;

    assert_eq!(node.redeliver(id).await.unwrap(), first, "the service remembers what it answered");
    assert_eq!(calls.load(Ordering::SeqCst), 1);

    running.stop().await;
    assert_eq!(node.redeliver(id).await.unwrap_err().code, Code::ServiceUnknown);
    let _again = service().await;
    assert_eq!(node.redeliver(id).await.unwrap(), first, "and so does its database");
    assert_eq!((calls.load(Ordering::SeqCst), booked.lock().unwrap().len()), (2, 1));
}

#[tokio::test]
async fn who_shows_the_wrong_password_is_refused() {
    let node = Node::start().await;
    node.require_password("open sesame");
    let service =
        || Service::new("credit").unwrap().operation("check-credit", |_| async { Ok(text("<Yes/>")) }).unwrap();
    assert_eq!(service().attach_to(&node).await.unwrap_err().code, Code::AccessDenied);
    assert_eq!(service().password("sesame").attach_to(&node).await.unwrap_err().code, Code::AccessDenied);
    let _running = service().password("open sesame").attach_to(&node).await.unwrap();
    assert!(node.perform("check-credit", text("<Order/>")).await.is_ok(), "the node's own client needs none");
}

// T11: however often an operation has nobody to do it, the time until it is given up is passed in no time.
#[tokio::test]
async fn an_operation_that_nobody_performs_is_given_up_in_the_end() {
    let node = Node::start().await;
    node.define(credit()).unwrap();
    let mut submission = node.submit("purchase", text("<Order/>")).await.unwrap();
    node.advance(Duration::from_millis(hansa_core::limit::PERFORMER_WAIT_MS_MAX)).await;
    let ending = submission.response().await.unwrap().ending;
    assert!(matches!(&ending, Ending::Failed(fault) if fault.code == Code::NoPerformer), "{ending:?}");
    let unknown = node.signal(crate::TransactionId(7), "paid", text("<Paid/>")).unwrap_err();
    assert_eq!(unknown.code, Code::TransactionUnknown);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_works_with_many_threads_as_well() {
    let node = Node::start().await;
    let _running = attach_fixed(&node, "credit", "check-credit", "<Yes/>").await;
    // Each may be the first: the one who has the operation defined, and whoever comes meanwhile.
    let answers = (0..100).map(|_| {
        let node = node.clone();
        tokio::spawn(async move { node.perform("check-credit", text("<Order/>")).await })
    });
    for answer in answers.collect::<Vec<_>>() {
        assert_eq!(answer.await.unwrap().unwrap().as_str(), "<Yes/>");
    }
    assert_eq!(node.invocations("check-credit").len(), 100);
}

#[tokio::test]
async fn with_the_last_handle_the_node_is_gone() {
    let node = Node::start().await;
    let copy = node.clone();
    let running = attach_fixed(&node, "credit", "check-credit", "<Yes/>").await;
    drop(node);
    assert!(copy.perform("check-credit", text("<Order/>")).await.is_ok());
    drop(copy);
    while running.is_connected() {
        tokio::task::yield_now().await;
    }
}

/// Pretends to run libraries: whatever the bytes, it is one function, which puts a text in an element.
#[derive(Debug)]
struct Pretended;

#[derive(Debug)]
struct Labels([Signature; 1], LibraryHash);

impl Load for Pretended {
    fn load(&self, bytes: &[u8]) -> Result<Arc<dyn Library>, Fault> {
        let hash = catalogue::Bytes::new(bytes).hash();
        Ok(Arc::new(Labels(["shout(STRVALUE)STRVALUE".parse().unwrap()], hash)))
    }
}

impl Library for Labels {
    fn hash(&self) -> LibraryHash {
        self.1
    }

    fn functions(&self) -> &[Signature] {
        &self.0
    }

    fn call(&self, _: usize, arguments: &[Value], _: &mut u64) -> Result<Value, String> {
        match arguments {
            [Value::Text(text)] => Ok(Value::Text(text.to_uppercase())),
            _ => Err("it takes one text".to_owned()),
        }
    }
}

// T9: definitions that call libraries can be tested too, by whoever brings what runs them; and over a restart.
#[tokio::test]
async fn definitions_call_the_libraries_that_a_test_brings() {
    let join = "<JOIN><ARG><NAME>x</NAME><VALTYPE>STRVALUE</VALTYPE><EXPR><FUNCTION><FUNCNAME>shout</FUNCNAME>\
        <LIBNAME>voice</LIBNAME><EXPR><VALUE>ahoy</VALUE><VALTYPE>STRVALUE</VALTYPE></EXPR></FUNCTION></EXPR></ARG></JOIN>";
    let definition = definition("call", &[("CXtsHeadOp", 0, "", &[1]), ("CXtsTailOp", 1, join, &[])]);

    let without = Node::start().await;
    assert_eq!(without.define(&definition).unwrap_err().code, Code::LibraryUnknown);
    let fault = without.add_library("voice", b"any").unwrap_err();
    assert_eq!(fault.code, Code::LibraryInvalid);
    assert!(fault.advice().contains("loader"), "{fault}");

    let node = Node::start_with(Loader::new(Arc::new(Pretended))).await;
    node.add_library("voice", b"any").unwrap();
    node.define(&definition).unwrap();
    for _ in 0..2 {
        let response = node.submit("call", text("<a/>")).await.unwrap().response().await.unwrap();
        let Ending::Completed(output) = &response.ending else { panic!("{response:?}") };
        assert!(output.as_str().contains(r#"<Variable name="x">AHOY</Variable>"#), "{output:?}");
        node.restart().await;
    }
}
