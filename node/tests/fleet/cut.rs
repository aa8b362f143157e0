//! Lines of a testnet that are cut and made whole while its nodes run.

use super::{ALONE, executable};
use hansa_core::code::{Code, Fault};
use hansa_testnet::{
    cities::City,
    cluster::{Cluster, Distances, Member, Peer, Plan},
    process::Lifetime,
};
use serde_json::json;

// M3: who is cut off hears of nobody, and nobody of it, until the line is whole again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_cut_off_is_alone_until_its_lines_are_whole_again() {
    let _alone = ALONE.lock().await;
    let member = |name: &str| Member::single(name, City::named("Rotterdam").unwrap());
    let members = vec![member("Acme BV"), member("Birch GmbH")];
    let (settings, distances) = (toml::Table::new(), Distances::OfCities);
    let plan = Plan { members, folder: None, lifetime: Lifetime::OfStarter, settings, distances };
    let mut cluster = Cluster::prepare(&executable(), plan).await.unwrap();
    cluster.start().await.unwrap();
    cluster.federate().await.unwrap();
    let [one, other] = &cluster.nodes[..] else { panic!("there are two") };
    for (here, there) in [(one, other), (other, one)] {
        let cut = here.ask("cut-lines", json!({ "destinations": [there.home.federation] })).await.unwrap();
        assert_eq!((&cut["lines"], &cut["cut"]), (&json!(1), &json!(1)));
    }
    for node in &cluster.nodes {
        while Peer::all_of(&node.ask("status", json!({})).await.unwrap()).unwrap().iter().any(|peer| peer.connected) {
            tokio::task::yield_now().await;
        }
    }
    let refused = one.ask("cut-lines", json!({ "destinations": ["127.0.0.1:1"] })).await.unwrap_err();
    assert_eq!(refused.downcast_ref::<Fault>().unwrap().code, Code::ConfigurationInvalid);
    for node in &cluster.nodes {
        node.ask("cut-lines", json!({ "destinations": [] })).await.unwrap();
    }
    cluster.wait_until_acquainted().await.unwrap();
    cluster.stop().await.unwrap();
}
