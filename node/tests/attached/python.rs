//! The service and the requester in Python, which were written from the protocol's page alone, against a real node (X4).

use super::node::{Node, Process, done, hansa, said};
use hansa_sdk::{
    Code, Fault,
    cxip::{Incoming, Refusal, Stream, Wire},
};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::net::TcpListener;

fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Python; none where there is none that is new enough.
fn interpreter() -> Option<Command> {
    let check = "import sys; sys.exit(sys.version_info < (3, 9))";
    let there = Command::new("python3").args(["-c", check]).status().is_ok_and(|status| status.success());
    if !there {
        assert!(std::env::var_os("HANSA_PYTHON_REQUIRED").is_none(), "python3, 3.9 or later, is not here");
        eprintln!("SKIPPED: there is no python3, 3.9 or later, so the client in Python was not tried");
        return None;
    }
    let mut command = Command::new("python3");
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    Some(command)
}

/// A program of the examples.
fn python(program: &str) -> Option<Command> {
    let mut command = interpreter()?;
    command.arg(workspace("sdk/examples/python").join(program));
    Some(command)
}

/// What the database of the service says: one line a grant, its invocation and the number of the order.
fn grants(database: &Path) -> Vec<(String, String)> {
    let select = "import sqlite3, sys\n\
        for row in sqlite3.connect(sys.argv[1]).execute('SELECT invocation, number FROM grants'): print(*row)";
    let output = said(Command::new("python3").args(["-c", select]).arg(database));
    let text = String::from_utf8(output.stdout).unwrap();
    let row = |line: &str| line.split_once(' ').map(|(id, number)| (id.to_owned(), number.to_owned()));
    text.lines().filter_map(row).collect()
}

// X4, T4, T5, T12: node and service are killed in the middle; every order is answered, none is granted twice.
#[test]
fn a_service_and_a_requester_in_python_lose_nothing_and_double_nothing() {
    const ORDERS: usize = 300;
    let (Some(mut service), Some(mut requester)) = (python("service.py"), python("requester.py")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("grants.sqlite");
    let mut node = Node::start(folder.path());
    node.say(["transaction", "define", workspace("docs/examples/purchase.xml").to_str().unwrap()]);
    service.arg(node.address()).arg(&database);
    let mut serving = Process::start(&mut service);
    assert!(serving.line().is_some_and(|line| line.contains("check-credit")));

    let requesting = Process::start(requester.arg(node.address()).arg("purchase").arg(ORDERS.to_string()));
    let submitted = |line: Option<String>| line.is_some_and(|line| line.starts_with("submitted "));
    (0..ORDERS / 3).for_each(|_| assert!(submitted(requesting.line())));
    node.kill_and_start();
    (0..ORDERS / 3).for_each(|_| assert!(submitted(requesting.line())));
    serving.kill();
    serving = Process::start(&mut service);
    let ended: Vec<_> = requesting.finish().into_iter().filter(|line| line.starts_with("ended ")).collect();

    assert_eq!(ended.len(), ORDERS);
    for (line, number) in ended.iter().zip(1..) {
        let credit = format!("completed <Credit number=\"{number}\" granted=\"{}\" />", number <= 100);
        assert!(line.starts_with(&format!("ended {number} ")) && line.ends_with(&credit), "{line}");
    }
    let grants = grants(&database);
    let numbers: BTreeSet<_> = grants.iter().map(|(_, number)| number).collect();
    assert_eq!((grants.len(), numbers.len()), (ORDERS, ORDERS), "one grant an order");
    drop(serving);
}

// T14: documents that travel in fragments, in every direction, among others that do not.
#[test]
fn large_documents_reach_a_service_in_python_and_come_back() {
    const BYTES: usize = 3_000_000;
    let (Some(mut service), Some(mut requester)) = (python("service.py"), python("requester.py")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(folder.path());
    node.say(["transaction", "define", workspace("docs/examples/purchase.xml").to_str().unwrap()]);
    let serving = Process::start(service.arg(node.address()).arg(folder.path().join("grants.sqlite")));
    assert!(serving.line().is_some_and(|line| line.contains("check-credit")));
    let requesting = Process::start(requester.arg(node.address()).args(["purchase", "3", &BYTES.to_string()]));
    let ended: Vec<_> = requesting.finish().into_iter().filter(|line| line.starts_with("ended ")).collect();
    assert_eq!(ended.len(), 3);
    for line in ended {
        let (start, rest) = line.split_once('>').expect("an answer with a remark in it");
        assert!(start.contains(" completed <Credit "), "{start}");
        assert_eq!(rest.len(), BYTES + "</Credit>".len());
    }
}

// T14, T15: the same three over TLS, as accounts: with passwords, and with a client certificate.
#[test]
fn in_python_accounts_are_let_in_over_tls_and_nobody_else() {
    let requester = || python("requester.py");
    let (Some(mut service), Some(mut subscriber)) = (python("service.py"), python("subscriber.py")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let tls = folder.path().join("tls");
    let hosts = ["access", "certificate", "--host", "127.0.0.1", "--client", "audit", "--out"];
    done(hansa().args(hosts).arg(&tls));
    let file = |name: &str| tls.join(name).display().to_string();
    let node = Node::start_with(
        folder.path(),
        vec![
            format!("cxip.tls_certificate={}", file("node.pem")),
            format!("cxip.tls_key={}", file("node.key")),
            format!("cxip.client_authority={}", file("authority.pem")),
        ],
    );
    let password = folder.path().join("password").display().to_string();
    fs::write(&password, "open sesame\n").unwrap();
    let purchase = workspace("docs/examples/purchase.xml");
    node.say(["transaction", "define", purchase.to_str().unwrap()]);
    node.say(["access", "add", "credit-desk", "--service", "credit", "--password-file", &password]);
    node.say(["access", "add", "erp", "--definition", "*", "--topic", "*", "--password-file", &password]);
    node.say(["access", "add", "audit", "--topic", "prices"]);

    let (address, authority) = (node.address(), file("authority.pem"));
    let as_account =
        |name| ["--account", name, "--password-file", &password, "--authority", &authority].map(String::from);
    service.args([&*address, folder.path().join("grants.sqlite").to_str().unwrap()]).args(as_account("credit-desk"));
    let serving = Process::start(&mut service);
    assert!(serving.line().is_some_and(|line| line.contains("check-credit")));
    let ended = done(requester().unwrap().args([&*address, "purchase", "3"]).args(as_account("erp")));
    assert_eq!(ended.matches(" completed <Credit ").count(), 3, "{ended}");

    subscriber.args([&*address, "prices", "audit"]).arg(folder.path().join("publications.sqlite"));
    let certificate = ["--authority", &authority, "--certificate", &file("audit.pem"), "--key", &file("audit.key")];
    let subscribed = Process::start(subscriber.args(certificate));
    assert!(subscribed.line().is_some_and(|line| line.contains("subscribed to prices")));
    done(requester().unwrap().args([&*address, "--publish", "prices", "<Price>1</Price>"]).args(as_account("erp")));
    assert!(subscribed.line().is_some_and(|line| line.ends_with(" <Price>1</Price>")));

    let refused = said(requester().unwrap().args([&*address, "purchase"]).args(as_account("stranger")));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("access-denied"), "{refused:?}");
    let other = folder.path().join("other");
    done(hansa().args(["access", "certificate", "--host", "127.0.0.1", "--out"]).arg(&other));
    let foreign = other.join("authority.pem");
    let untrusted = said(requester().unwrap().args([&*address, "purchase", "--authority"]).arg(foreign));
    assert!(
        !untrusted.status.success() && String::from_utf8_lossy(&untrusted.stderr).contains("CERTIFICATE"),
        "{untrusted:?}"
    );
}

// T13: what is published while the node is killed and the subscriber is away comes, once, in order.
#[test]
fn a_subscriber_in_python_takes_every_publication_once_and_in_order() {
    let publisher = || python("requester.py");
    let (Some(mut subscriber), Some(mut before), Some(mut after)) = (python("subscriber.py"), publisher(), publisher())
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::start(folder.path());
    subscriber.arg(node.address()).args(["prices", "audit"]).arg(folder.path().join("publications.sqlite"));
    let mut subscribed = Process::start(&mut subscriber);
    assert!(subscribed.line().is_some_and(|line| line.contains("subscribed to prices")));
    // What waited for it may come before it has said that it is subscribed.
    let said_took = |subscribed: &Process| {
        let mut lines = std::iter::from_fn(|| subscribed.line());
        lines.find(|line| !line.contains("subscribed to prices")).expect("it runs")
    };
    let took = |subscribed: &Process, price: u32| {
        let line = said_took(subscribed);
        assert!(line.starts_with("took ") && line.ends_with(&format!(" <Price>{price}</Price>")), "{price}: {line}");
    };
    let address = node.address();
    let prices = |command: &mut Command, numbers: std::ops::Range<u32>| {
        let documents = numbers.map(|price| format!("<Price>{price}</Price>"));
        super::node::done(command.args([&address, "--publish", "prices"]).args(documents));
    };
    prices(&mut before, 0..20);
    (0..20).for_each(|price| took(&subscribed, price));
    subscribed.kill();
    prices(&mut after, 20..40);
    node.kill_and_start();
    subscribed = Process::start(&mut subscriber);
    // The last one before the kill may come once more, if its acknowledgement was lost.
    let first = said_took(&subscribed);
    if first.ends_with(" <Price>19</Price>") {
        took(&subscribed, 20);
    } else {
        assert!(first.ends_with(" <Price>20</Price>"), "{first}");
    }
    (21..40).for_each(|price| took(&subscribed, price));
}

/// Asks for what a node refuses, and prints the codes.
const REFUSALS: &str = "
import sys
sys.path.insert(0, sys.argv[1])
import cxip

address = sys.argv[2]
client = cxip.Client(address, 'client')
for ask in (
    lambda: cxip.Service(address, 'ANY', {'check-credit': None}),
    lambda: client.submit('nothing', '<Order/>'),
    lambda: client.submit('purchase', '<Order>'),
    lambda: client.submit('purchase', '<Order/>', transaction='no id'),
    lambda: client.ending(cxip.fresh_id()),
):
    try:
        ask()
        print('nothing was refused')
    except cxip.Fault as fault:
        print(fault.code)
";

#[test]
fn what_the_node_refuses_is_told_in_python() {
    let Some(mut script) = interpreter() else { return };
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(folder.path());
    node.say(["transaction", "define", workspace("docs/examples/purchase.xml").to_str().unwrap()]);
    script.args(["-c", REFUSALS]).arg(workspace("sdk/examples/python"));
    let told = super::node::done(script.arg(node.address()));
    let codes =
        ["service-conflict", "definition-unknown", "document-malformed", "identity-malformed", "transaction-unknown"];
    assert_eq!(told.lines().collect::<Vec<_>>(), codes);
}

// T4: a transaction that waits is queried and cancelled.
#[test]
fn a_requester_in_python_asks_how_far_a_transaction_is_and_cancels_it() {
    let requester = || python("requester.py");
    let (Some(mut query), Some(mut cancel), Some(mut unknown)) = (requester(), requester(), requester()) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(folder.path());
    let input = folder.path().join("order.xml");
    fs::write(&input, "<Order number=\"1\" total=\"10\"/>").unwrap();
    let purchase = workspace("docs/examples/purchase.xml");
    let words = ["--json", "transaction", "submit", "purchase", "--define", purchase.to_str().unwrap(), "--input"];
    let told: serde_json::Value =
        serde_json::from_str(&node.say(words.into_iter().chain([input.to_str().unwrap()]))).unwrap();
    let id = told["transaction"].as_str().unwrap();

    assert_eq!(super::node::done(query.args([&node.address(), "--query", id])).trim(), "running 1 of 3");
    assert_eq!(super::node::done(cancel.args([&node.address(), "--cancel", id])).trim(), "cancelled");
    assert_eq!(super::node::done(&mut query).trim(), "cancelled 2 of 3");
    assert_eq!(super::node::done(&mut cancel).trim(), "cancelled", "asked again, the same is said again");
    let output = said(unknown.args([&node.address(), "--cancel", "01M7XPE6070W3GE1R70W3GE1R7"]));
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("transaction-unknown"), "{output:?}");
}

/// A mirror: it sends on everybody who comes to the address that it says, and counts them.
async fn mirror(active: String, sent_on: Arc<AtomicUsize>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut wire = Wire::new(Stream::from(stream), 1);
            let Ok(Incoming::Message { number, .. }) = wire.receive().await else { continue };
            let fault = Fault::new(Code::NotActive, "this sub-node is the mirror");
            wire.refuse_with(number, Refusal { address: Some(active.clone()), ..Refusal::new(fault) });
            wire.finish().await;
            sent_on.fetch_add(1, Ordering::SeqCst);
        }
    });
    address
}

// M3: what was written from the page alone passes over a dead address, goes where a mirror sends it, and finds its way again.
#[tokio::test(flavor = "multi_thread")]
async fn a_requester_in_python_passes_over_a_dead_address_and_is_sent_on_by_a_mirror() {
    const ORDERS: usize = 100;
    let (Some(mut service), Some(mut requester)) = (python("service.py"), python("requester.py")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::start(folder.path());
    node.say(["transaction", "define", workspace("docs/examples/purchase.xml").to_str().unwrap()]);
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let sent_on = Arc::new(AtomicUsize::new(0));
    let addresses = format!("{dead},{}", mirror(node.address(), Arc::clone(&sent_on)).await);
    service.arg(&addresses).arg(folder.path().join("grants.sqlite"));
    let serving = Process::start(&mut service);
    assert!(serving.line().is_some_and(|line| line.contains("check-credit")));
    let requesting = Process::start(requester.arg(&addresses).arg("purchase").arg(ORDERS.to_string()));
    (0..ORDERS / 2).for_each(|_| assert!(requesting.line().is_some_and(|line| line.starts_with("submitted "))));
    node.kill_and_start();
    let ended = requesting.finish().into_iter().filter(|line| line.starts_with("ended ")).count();
    assert_eq!(ended, ORDERS);
    assert!(sent_on.load(Ordering::SeqCst) >= 2, "neither was told where the node is but by the mirror");
    drop(serving);
}
