//! The SDK over HTTP against a real node (T14, T15): the same service and client, with another address.

use crate::node::Node;
use hansa_sdk::{Client, Code, Ending, Request, Service, Text};
use hansa_testnet::ports::free_ports;
use std::{fs, time::Duration};

const DEFINITION: &str = include_str!("../../../docs/examples/purchase.xml");

fn service() -> Service {
    let granted = |request: Request| async move {
        let order = request.document().as_str().len();
        Text::parse(format!("<Credit><Granted>yes</Granted><Remark>{}</Remark></Credit>", "x".repeat(order)).as_bytes())
    };
    Service::new("credit").unwrap().operation("check-credit", granted).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_a_client_and_a_subscriber_of_the_sdk_work_over_http_as_over_tcp() {
    let folder = tempfile::tempdir().unwrap();
    let port = format!("127.0.0.1:{}", free_ports(1).unwrap()[0]);
    let mut node = Node::start_with(folder.path(), vec![format!("cxip.http_listen={port}")]);
    let definition = folder.path().join("purchase.xml");
    fs::write(&definition, DEFINITION).unwrap();
    node.say(["transaction", "define", definition.to_str().unwrap()]);
    let url = format!("http://{port}");
    drop(Client::connect(&node.address(), "anybody").await.expect("without accounts this machine is welcome"));
    let proxied = Client::connect(&url, "anybody").await.unwrap_err();
    assert_eq!(proxied.code, Code::AccessDenied, "what a proxy brings may come from anywhere");

    let password = folder.path().join("password");
    fs::write(&password, "open sesame\n").unwrap();
    let file = password.to_str().unwrap();
    node.say(["access", "add", "credit", "--service", "credit", "--password-file", file]);
    node.say(["access", "add", "erp", "--definition", "*", "--topic", "prices", "--password-file", file]);
    let running = service().password("open sesame").attach(&url).await.unwrap();
    let patience = Duration::from_secs(60);
    let client = Client::named("erp").password("open sesame").patience(patience).connect(&url).await.unwrap();
    // Small ones beside one that travels in many fragments, and many requests, both ways.
    let order =
        |remark: usize| Text::parse(format!("<Order total='7'>{}</Order>", "x".repeat(remark)).as_bytes()).unwrap();
    let mut submissions = Vec::new();
    for remark in [0, 3_000_000].into_iter().chain([10; 50]) {
        submissions.push((remark, client.submit("purchase", order(remark)).await.unwrap()));
    }
    for (remark, mut submission) in submissions {
        let ending = submission.response().await.unwrap().ending;
        let Ending::Completed(document) = ending else { panic!("{remark}: {ending:?}") };
        assert!(document.as_str().len() > remark && document.as_str().contains("<Granted>yes</Granted>"));
    }

    // The session breaks with the node, and another is begun.
    let mut subscription = client.subscription("prices", "audit").unwrap().begin().await.unwrap();
    node.kill_and_start();
    client.publish("prices", Text::parse(b"<Price>1</Price>").unwrap()).await.unwrap();
    let publication = subscription.next().await.expect("it comes after the break");
    assert_eq!(publication.document().as_str(), "<Price>1</Price>");
    publication.done();
    let response = client.submit("purchase", order(1)).await.unwrap().response().await.unwrap();
    assert!(matches!(response.ending, Ending::Completed(_)));
    running.stop().await;
}

#[tokio::test]
async fn a_url_at_which_no_cxip_is_spoken_is_named_as_that() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(folder.path());
    let port = |words: &str| {
        let status: serde_json::Value = serde_json::from_str(&node.say(["status", "--json"])).unwrap();
        status["addresses"][words].as_str().unwrap().to_owned()
    };
    let url = format!("http://{}", port("http"));
    let fault = Client::connect(&url, "erp").await.unwrap_err();
    assert!(fault.code == Code::NodeStopped && fault.message.contains(&url), "{fault}");
}
