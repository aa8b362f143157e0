//! Twenty kills in a row while orders are on their way: nothing acknowledged is lost, nothing is done twice.

use super::{ALONE, executable, number};
use hansa_testnet::storm::{self, Options};

const KILLS: usize = 20;

// Bad input and faults: SIGKILL of any process at any moment, 20 times in a row; T4, T5, DESIGN invariants 1 and 4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_lose_nothing_that_was_acknowledged_and_do_nothing_twice() {
    let _alone = ALONE.lock().await;
    let seed = number("HANSA_TEST_SEED").unwrap_or(4711);
    let options = Options { kills: KILLS, orders_at_once: 8, seed };
    let report = storm::raise(&executable(), &options).await.unwrap_or_else(|error| panic!("seed {seed}: {error:#}"));
    println!("seed {seed}: {report:?}");
    assert_eq!(report.killed.values().sum::<usize>(), KILLS);
    assert!(report.acknowledged > 0, "orders were on their way");
    assert!(report.wrong_effects.is_empty(), "seed {seed}: {:?}", report.wrong_effects);
    assert_eq!(report.endings.get("completed"), Some(&report.acknowledged), "seed {seed}: {:?}", report.faults);
}
