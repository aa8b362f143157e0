//! What a sub-node does that stops to serve, and serves again: with a real house, real listeners and a real client.

use super::*;
use crate::{admin::Administration as _, config::Sources};
use hansa_sdk::Client;

const DEFINITION: &str = include_str!("../../../docs/examples/purchase.xml");

fn start(folder: &Folder) -> Start {
    let text = "[organization]\nname = \"Acme BV\"\ncity = \"Rotterdam\"\n[cxip]\nlisten = \"127.0.0.1:0\"\n\
                [federation]\nlisten = [\"/ip4/127.0.0.1/tcp/0\"]\nmdns = false\n";
    let sources = Sources { file: Some((PathBuf::from("hansa.toml"), text.to_owned())), ..Sources::default() };
    Start {
        configuration: Configuration::load(&sources).unwrap().0,
        folder: folder.clone(),
        http: "127.0.0.1:0".parse().unwrap(),
        admin: folder.path().join("admin.sock"),
        started: Time::now(),
        shutdown: Shutdown::new(),
        invited: false,
    }
}

/// The house once more, from journal and store, which stay.
async fn reopened(machines: &Machines) -> Arc<House> {
    let (_, ground) = machines.pair.get().expect("it has started");
    let mut standby = ground.standby().unwrap();
    let tail = ground.journal().tail();
    ground.journal().wait_durable(tail).unwrap();
    standby.take_through(tail).unwrap();
    standby.serve(Arc::new(|fault: Fault| panic!("{fault}"))).await.unwrap()
}

// M4: a sub-node that stops to serve cuts whoever is connected and says so to whoever asks; nothing is lost on the way.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_stops_to_serve_and_serves_again_with_everything_that_it_had() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = Folder::new(&temporary.path().join("data")).unwrap();
    folder.create().unwrap();
    Keys::ensure(folder.path()).unwrap();
    folder.seal().unwrap();
    let node = Node::start(start(&folder)).await.unwrap();
    let machines = node.administration();
    let federation = machines.status().await.unwrap().federation.expect("it founded one");
    machines.define(DEFINITION.to_owned()).await.unwrap();
    let cxip = node.cxip().to_string();
    let _client = Client::named("erp").connect(&cxip).await.unwrap();
    assert_eq!(machines.ways.sessions.count(), 1);

    machines.role.set(Part::Following);
    let house = machines.stop_serving().expect("it served");
    house.leave().await;
    drop(house);
    assert_eq!(machines.ways.sessions.count(), 0);
    let refusals = [
        machines.definitions().await.err(),
        machines.define(DEFINITION.to_owned()).await.err(),
        machines.invite(1).await.err(),
        machines.services().await.err(),
    ];
    assert!(refusals.iter().flatten().all(|fault| fault.code == Code::NotActive), "{refusals:?}");
    assert_eq!(refusals.iter().flatten().count(), 4);
    let visitor = Visitor { name: "erp", account: None, password: None, certified: None, proxied: false };
    let refused = machines.welcome(visitor).await.expect_err("nobody is let in");
    assert_eq!(refused.fault.code, Code::NotActive);
    // What an operator must see of a follower works.
    let status = machines.status().await.unwrap();
    assert_eq!(status.federation.map(|federation| federation.id), Some(federation.id));
    assert!(!machines.readings().await.is_empty());

    let house = reopened(&machines).await;
    machines.role.set(Part::Serving { epoch: 2 });
    machines.begin_serving(house).await.unwrap();
    assert_eq!(machines.definitions().await.unwrap().len(), 1, "and everything is there");
    let _client = Client::named("erp").connect(&cxip).await.unwrap();
    let again = machines.status().await.unwrap().federation.expect("it is a member");
    assert_eq!(again.id, federation.id, "no second federation was founded");
    node.stop().await;
}
