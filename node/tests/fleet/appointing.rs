//! A pair that loses a witness for good, and gets another in its place while it serves.

use super::{ALONE, executable, pair_among, until};
use hansa_testnet::{
    cluster::Cluster,
    pair::{PairStatus, Side},
};
use serde_json::json;
use std::time::Duration;

// M3: with one witness replaced another may be lost, and the mirror takes over all the same. The one in whose place there is another
// comes back, hears of it, and has the place for another pair.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_that_is_lost_is_replaced_and_then_one_more_may_be() {
    let _alone = ALONE.lock().await;
    let plan = pair_among("Besieged", &["Alder", "Birch", "Cedar", "Dogwood", "Elm"]);
    let mut cluster = Cluster::prepare(&executable(), plan).await.unwrap();
    cluster.start().await.unwrap();
    cluster.federate().await.unwrap();
    cluster.make_pair(0, &["Alder", "Birch", "Cedar", "Dogwood"]).await.unwrap();
    let (active, _) = cluster.wait_until_whole(0).await.unwrap();
    assert_eq!(active, Side::First);

    cluster.nodes[1].kill().await.unwrap();
    let appointed = loop {
        let appointed = cluster.nodes[0].ask("pair-appoint", json!({})).await.unwrap();
        // It may take a moment until it is known that one is lost.
        if appointed["changed"] == true {
            break appointed;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let witnesses = appointed["witnesses"].as_array().unwrap();
    let mut names: Vec<_> = witnesses.iter().map(|it| it["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["Birch", "Cedar", "Dogwood", "Elm"]);
    let refused = cluster.mirrors[0].node.ask("pair-appoint", json!({})).await.unwrap_err().to_string();
    assert!(refused.contains("node-not-active"), "{refused}");
    let stranger = json!({ "witnesses": ["Nobody"] });
    let refused = cluster.nodes[0].ask("pair-appoint", stranger).await.unwrap_err().to_string();
    assert!(refused.contains("not every named witness is connected"), "{refused}");
    cluster.wait_until_whole(0).await.unwrap();

    cluster.nodes[2].kill().await.unwrap();
    cluster.nodes[0].kill().await.unwrap();
    until(async || PairStatus::of(&cluster.mirrors[0].node).await.is_ok_and(|status| status.role == "active")).await;

    cluster.nodes[1].start().await.unwrap();
    let replaced = async || {
        let status = cluster.nodes[1].ask("pair-status", json!({})).await.ok()?;
        status["duties"][0]["replaced"].as_bool()
    };
    until(async || replaced().await == Some(true)).await;
    cluster.nodes[0].start().await.unwrap();
    cluster.wait_until_whole(0).await.unwrap();
    cluster.stop().await.unwrap();
}
