//! A pair that is stopped as a whole, and one that ends: its active goes on as a single node among members that knew the pair.

use super::{ALONE, executable, pair_among, until};
use hansa_testnet::{
    cluster::{Cluster, Peer},
    pair::{PairStatus, Side},
};
use serde_json::json;
use std::fs;

const PAIR: &str = "Besieged";

// M3, M4: both stop at once and neither waits for the other; then one is lost for good, and the other needs nobody to go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pair_stops_as_a_whole_and_ends_as_a_single_node_that_its_peers_still_know() {
    let _alone = ALONE.lock().await;
    let plan = pair_among(PAIR, &["Antwerp", "Bruges"]);
    let mut cluster = Cluster::prepare(&executable(), plan).await.unwrap();
    cluster.start().await.unwrap();
    cluster.federate().await.unwrap();
    cluster.make_pair(0, &["Antwerp", "Bruges"]).await.unwrap();

    let (first, second) = (&mut cluster.nodes[0], &mut cluster.mirrors[0].node);
    let (one, other) = tokio::join!(first.stop(), second.stop());
    one.and(other).unwrap();
    let log = fs::read_to_string(&first.home.log).unwrap() + &fs::read_to_string(&second.home.log).unwrap();
    assert!(!log.contains("did not take over in time"), "{log}");
    first.start().await.unwrap();
    second.start().await.unwrap();

    let (active, _) = cluster.wait_until_whole(0).await.unwrap();
    cluster.subnode_mut(0, active.other()).unwrap().kill().await.unwrap();
    let node = cluster.subnode(0, active).unwrap();
    until(async || PairStatus::of(node).await.is_ok_and(|status| status.mode == "solo")).await;
    let ended = node.ask("pair-end", json!({})).await.unwrap();
    let epoch = ended["epoch"].as_u64().unwrap();
    let status = PairStatus::of(node).await.unwrap();
    assert!(status.alarm.unwrap().contains("the pair is ended"));

    // Of two witnesses one is not enough to decide. The other one was there all the time, and remembers the epoch.
    cluster.subnode_mut(0, active).unwrap().stop().await.unwrap();
    cluster.nodes[1].stop().await.unwrap();
    cluster.subnode_mut(0, active).unwrap().start().await.unwrap();
    let status = PairStatus::of(cluster.subnode(0, active).unwrap()).await.unwrap();
    assert_eq!((&*status.role, &*status.mode, status.epoch, status.alarm), ("single", "single", epoch, None));
    let knows = async |place: usize| {
        let Ok(status) = cluster.nodes[place].ask("status", json!({})).await else { return false };
        Peer::all_of(&status).unwrap().iter().any(|peer| peer.name == PAIR && peer.connected)
    };
    until(async || knows(2).await).await;

    // The other one comes back: it does not serve, and the single node does.
    cluster.subnode_mut(0, active.other()).unwrap().start().await.unwrap();
    let other = cluster.subnode(0, active.other()).unwrap();
    until(async || PairStatus::of(other).await.is_ok_and(|status| status.alarm.is_some() || status.role == "learner"))
        .await;
    assert_eq!(cluster.active_of(0).await.unwrap(), None::<Side>, "nobody is the active of a pair");
    let refused = other.ask("pair-init", json!({})).await.unwrap_err().to_string();
    assert!(refused.contains("node-not-active"), "{refused}");
    assert_eq!(PairStatus::of(cluster.subnode(0, active).unwrap()).await.unwrap().epoch, epoch);
    cluster.stop().await.unwrap();
}
