//! Organizations in their cities: who is there is served there, and at a pair wherever the active sub-node is.

use super::{ALONE, executable, pair_among, until};
use hansa_sdk::{Client, Text};
use hansa_testnet::{
    cities::City,
    cluster::{Cluster, Member},
    pair::Side,
};
use serde_json::json;
use std::time::Duration;

fn price() -> Text {
    Text::parse(b"<Price/>").unwrap()
}

// M1, M5: whoever knows the sub-node in its own city alone is served by the organization's node, in whichever city that is active, and
// hears which that is; another organization's node serves those of its own city.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_participant_finds_the_node_of_its_region_by_the_address_in_its_city() {
    let _alone = ALONE.lock().await;
    let mut plan = pair_among("Acme", &["Alder", "Birch", "Cedar", "Dogwood"]);
    let [hamburg, riga] = ["Hamburg", "Riga"].map(|city| City::named(city).unwrap());
    plan.members[0] = Member { organization: "Acme".into(), city: hamburg, mirror: Some(riga) };
    let mut cluster = Cluster::prepare(&executable(), plan).await.unwrap();
    cluster.start().await.unwrap();
    cluster.federate().await.unwrap();
    cluster.make_pair(0, &["Alder", "Birch", "Cedar", "Dogwood"]).await.unwrap();
    assert_eq!(cluster.wait_until_whole(0).await.unwrap().0, Side::First);

    let served_by = async |address: &str| {
        // Right behind a switch the other one may be about to serve.
        let client = Client::named("erp").patience(Duration::from_secs(60)).connect(address).await.unwrap();
        client.publish("prices", price()).await.unwrap();
        let welcome = client.welcome();
        (welcome.organization.as_ref().unwrap().to_string(), welcome.city.as_ref().unwrap().to_string())
    };
    let addresses = [Side::First, Side::Second].map(|side| cluster.subnode(0, side).unwrap().home.cxip.to_string());
    for address in &addresses {
        assert_eq!(served_by(address).await, ("Acme".to_owned(), "Hamburg".to_owned()));
    }
    let clients =
        [Client::connect(&addresses[0], "shop").await.unwrap(), Client::connect(&addresses[1], "till").await.unwrap()];
    cluster.nodes[0].ask("pair-switch", json!({})).await.unwrap();
    for address in &addresses {
        assert_eq!(served_by(address).await, ("Acme".to_owned(), "Riga".to_owned()));
    }
    for client in &clients {
        // It hears of the switch by losing its connection, and finds its way.
        until(async || client.publish("prices", price()).await.is_ok()).await;
    }
    let alder = cluster.nodes[1].home.cxip.to_string();
    assert_eq!(served_by(&alder).await, ("Alder".to_owned(), "Antwerp".to_owned()));
    cluster.stop().await.unwrap();
}
